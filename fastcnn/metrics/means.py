"""Means over samples of a formula: accuracies, errors, hinges, cross-entropies."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import registry
from fastcnn.errors import Error
from fastcnn.metrics import formulas
from fastcnn.metrics.base import (
    MetricFunction,
    Values,
    _Average,
    check_at_least_one,
    expand_weights,
    spread,
)


class MeanMetricWrapper(_Average):
    """Mean of fn(y_true, y_pred, **kwargs), a function that gives one value a sample."""

    def __init__(self, fn: MetricFunction, name: str | None = None, dtype: str | None = None, **kwargs: Any):
        super().__init__(name or registry.auto_name(type(self).__name__), dtype)
        self._fn = fn
        self._fn_kwargs = kwargs
        self._direction = _better(fn)

    def update_state(self, y_true: Values, y_pred: Values, sample_weight: Values | None = None) -> None:
        self._add(self._values(y_true, y_pred), sample_weight)

    def _values(self, y_true: Values, y_pred: Values) -> Any:
        try:
            return self._fn(np.asarray(y_true), np.asarray(y_pred), **self._fn_kwargs)
        except Error as problem:
            raise problem.at(f"metric {self.name!r}") from problem

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        if type(self).__init__ is not MeanMetricWrapper.__init__:  # its own constructor says what it computes
            return config
        return {**config, **registry.serialize(self._fn_kwargs)}


def _better(fn: MetricFunction) -> str | None:
    """Which way is better: losses should fall."""
    is_loss = getattr(fn, "_kind", "") == "loss" or registry.is_registered("loss", fn)
    return "down" if is_loss else formulas.direction_of.get(fn)


class Accuracy(MeanMetricWrapper):
    """Share of predictions that equal their targets."""

    def __init__(self, name: str = "accuracy", dtype: str | None = None):
        super().__init__(formulas.accuracy, name, dtype)


class BinaryAccuracy(MeanMetricWrapper):
    """Share of predictions on the right side of the threshold; targets are 0 and 1."""

    def __init__(self, name: str = "binary_accuracy", dtype: str | None = None, threshold: float = 0.5):
        super().__init__(formulas.binary_accuracy, name, dtype, threshold=threshold)
        self.threshold = threshold


class CategoricalAccuracy(MeanMetricWrapper):
    """Share of samples whose largest score is at the right class; targets are one-hot."""

    def __init__(self, name: str = "categorical_accuracy", dtype: str | None = None):
        super().__init__(formulas.categorical_accuracy, name, dtype)


class SparseCategoricalAccuracy(MeanMetricWrapper):
    """Share of samples whose largest score is at the right class; targets are class numbers."""

    def __init__(self, name: str = "sparse_categorical_accuracy", dtype: str | None = None):
        super().__init__(formulas.sparse_categorical_accuracy, name, dtype)


class TopKCategoricalAccuracy(MeanMetricWrapper):
    """Share of samples whose right class has one of the k largest scores; targets are one-hot."""

    def __init__(self, k: int = 5, name: str = "top_k_categorical_accuracy", dtype: str | None = None):
        check_at_least_one("TopKCategoricalAccuracy: k", k)
        super().__init__(formulas.top_k_categorical_accuracy, name, dtype, k=k)
        self.k = k


class SparseTopKCategoricalAccuracy(MeanMetricWrapper):
    """Share of samples whose right class has one of the k largest scores; targets are class numbers.

    from_sorted_ids: y_pred holds class numbers, the best first, instead of scores.
    """

    def __init__(
        self,
        k: int = 5,
        name: str = "sparse_top_k_categorical_accuracy",
        dtype: str | None = None,
        from_sorted_ids: bool = False,
    ):
        check_at_least_one("SparseTopKCategoricalAccuracy: k", k)
        options = {"k": k, "from_sorted_ids": from_sorted_ids}
        super().__init__(formulas.sparse_top_k_categorical_accuracy, name, dtype, **options)
        self.k = k
        self.from_sorted_ids = from_sorted_ids


class MeanSquaredError(MeanMetricWrapper):
    """Mean of (y_true - y_pred)^2."""

    _aliases = ("mse",)

    def __init__(self, name: str = "mean_squared_error", dtype: str | None = None):
        super().__init__(formulas.mean_squared_error, name, dtype)


class RootMeanSquaredError(_Average):
    """Square root of the mean of (y_true - y_pred)^2 over all samples."""

    _aliases = ("rmse",)
    _direction = "down"

    def __init__(self, name: str = "root_mean_squared_error", dtype: str | None = None):
        super().__init__(name, dtype)

    def update_state(self, y_true: Values, y_pred: Values, sample_weight: Values | None = None) -> None:
        true, predicted = spread(y_true, y_pred)
        self._add(np.square(predicted - true), sample_weight)

    def result(self) -> Any:
        return np.sqrt(super().result())


class MeanAbsoluteError(MeanMetricWrapper):
    """Mean of |y_true - y_pred|."""

    _aliases = ("mae",)

    def __init__(self, name: str = "mean_absolute_error", dtype: str | None = None):
        super().__init__(formulas.mean_absolute_error, name, dtype)


class MeanAbsolutePercentageError(MeanMetricWrapper):
    """Mean of 100 |y_true - y_pred| / |y_true|, in percent."""

    _aliases = ("mape",)

    def __init__(self, name: str = "mean_absolute_percentage_error", dtype: str | None = None):
        super().__init__(formulas.mean_absolute_percentage_error, name, dtype)


class MeanSquaredLogarithmicError(MeanMetricWrapper):
    """Mean of (log(1 + y_true) - log(1 + y_pred))^2."""

    _aliases = ("msle",)

    def __init__(self, name: str = "mean_squared_logarithmic_error", dtype: str | None = None):
        super().__init__(formulas.mean_squared_logarithmic_error, name, dtype)


class LogCoshError(MeanMetricWrapper):
    """Mean of log(cosh(y_pred - y_true))."""

    _aliases = ("log_cosh",)

    def __init__(self, name: str = "logcosh", dtype: str | None = None):
        super().__init__(formulas.log_cosh, name, dtype)


class CosineSimilarity(MeanMetricWrapper):
    """Mean cosine of the angle between y_true and y_pred."""

    def __init__(
        self,
        name: str = "cosine_similarity",
        dtype: str | None = None,
        axis: int | Sequence[int] = -1,
    ):
        super().__init__(formulas.cosine_similarity, name, dtype, axis=axis)
        self.axis = axis


class PearsonCorrelation(MeanMetricWrapper):
    """Mean of Pearson's correlation of y_true with y_pred over `axis`."""

    def __init__(self, name: str = "pearson_correlation", dtype: str | None = None, axis: int = -1):
        super().__init__(formulas.pearson_correlation, name, dtype, axis=axis)
        self.axis = axis


class ConcordanceCorrelation(MeanMetricWrapper):
    """Mean of the concordance correlation of y_true with y_pred over `axis`: Pearson's, less the bias."""

    def __init__(self, name: str = "concordance_correlation", dtype: str | None = None, axis: int = -1):
        super().__init__(formulas.concordance_correlation, name, dtype, axis=axis)
        self.axis = axis


class Hinge(MeanMetricWrapper):
    """Mean of max(1 - y_true y_pred, 0)."""

    def __init__(self, name: str = "hinge", dtype: str | None = None):
        super().__init__(formulas.hinge, name, dtype)


class SquaredHinge(MeanMetricWrapper):
    """Mean of max(1 - y_true y_pred, 0)^2."""

    def __init__(self, name: str = "squared_hinge", dtype: str | None = None):
        super().__init__(formulas.squared_hinge, name, dtype)


class CategoricalHinge(MeanMetricWrapper):
    """Mean of max(0, 1 + largest wrong score - right score)."""

    def __init__(self, name: str = "categorical_hinge", dtype: str | None = None):
        super().__init__(formulas.categorical_hinge, name, dtype)


class KLDivergence(MeanMetricWrapper):
    """Mean of sum(y_true log(y_true / y_pred))."""

    _aliases = ("kld", "kullback_leibler_divergence")

    def __init__(self, name: str = "kl_divergence", dtype: str | None = None):
        super().__init__(formulas.kl_divergence, name, dtype)


class Poisson(MeanMetricWrapper):
    """Mean of y_pred - y_true log y_pred."""

    def __init__(self, name: str = "poisson", dtype: str | None = None):
        super().__init__(formulas.poisson, name, dtype)


class BinaryCrossentropy(MeanMetricWrapper):
    """Mean of -y log p - (1 - y) log(1 - p)."""

    _aliases = ("bce",)

    def __init__(
        self,
        name: str = "binary_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ):
        super().__init__(
            formulas.binary_crossentropy,
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
        )
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing


class CategoricalCrossentropy(MeanMetricWrapper):
    """Mean of -sum(y log p); targets are one-hot."""

    _aliases = ("cce",)

    def __init__(
        self,
        name: str = "categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ):
        options = {"from_logits": from_logits, "label_smoothing": label_smoothing, "axis": axis}
        super().__init__(formulas.categorical_crossentropy, name, dtype, **options)
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing
        self.axis = axis


class SparseCategoricalCrossentropy(MeanMetricWrapper):
    """Mean of -log p[y_true]; targets are class numbers, and those equal to `ignore_class` do not count."""

    def __init__(
        self,
        name: str = "sparse_categorical_crossentropy",
        dtype: str | None = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ):
        options = {"from_logits": from_logits, "ignore_class": ignore_class, "axis": axis}
        super().__init__(formulas.sparse_categorical_crossentropy, name, dtype, **options)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = axis

    def update_state(self, y_true: Values, y_pred: Values, sample_weight: Values | None = None) -> None:
        if (
            self.ignore_class is None or sample_weight is None
        ):  # Keras counts ignored values where nothing is weighed
            super().update_state(y_true, y_pred, sample_weight)
            return
        values = self._values(y_true, y_pred)
        counts = np.reshape(y_true, values.shape) != self.ignore_class
        self._add(values, counts * expand_weights(sample_weight, values.shape))
