"""Losses of probabilities: cross-entropies, their focal forms, and the Kullback-Leibler divergence.

Predictions are probabilities, or with `from_logits` the numbers that go into the softmax or sigmoid. Give
probabilities: those that come straight out of a softmax or sigmoid in the model are traced back to its inputs, so the
loss has full precision either way. Other probabilities are kept in [epsilon, 1 - epsilon], as in Keras.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import config, ops
from fastcnn.errors import Error
from fastcnn.losses.base import Loss, _FormulaLoss, loss_function, pair
from fastcnn.losses.targets import (
    check_classes,
    check_labels,
    check_one_hot,
    check_probabilities,
    check_samples,
    target_form,
)
from fastcnn.ops.activation import Sigmoid, Softmax
from fastcnn.ops.loss import logits_of
from fastcnn.ops.shape import known
from fastcnn.tensor import Shape, Tensor

# --- functions: y_pred (n, ..., classes) -> (n, ...) ----------------------------------------------------------


@loss_function("bce")
def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """mean over `axis` of -y log p - (1 - y) log(1 - p), y = y_true (1 - label_smoothing) + label_smoothing / 2."""
    check_logits(y_pred, from_logits)
    logits = logits_of(y_pred, Sigmoid)  # found before an axis is moved or dropped
    from_logits = from_logits or logits is not None
    y_true, y_pred = pair(y_true, y_pred if logits is None else logits)
    return ops.mean_binary_crossentropy(
        _last(y_true, axis), _last(y_pred, axis), from_logits=from_logits, label_smoothing=label_smoothing
    )


@loss_function()
def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """mean over `axis` of (1 - p_t)^gamma times the cross-entropy, p_t the probability of the true class.

    With `apply_class_balancing`, class 1 weighs alpha and class 0 weighs 1 - alpha. Lin et al. 2017, Focal loss.
    """
    check_logits(y_pred, from_logits)
    y, p = pair(y_true, y_pred)
    y = y * (1.0 - label_smoothing) + 0.5 * label_smoothing if label_smoothing else y
    p = ops.sigmoid(p) if from_logits else p
    q = ops.clip(p, config.epsilon(), 1.0 - config.epsilon())
    crossentropy = -(y * ops.log(q) + (1.0 - y) * ops.log(1.0 - q))
    focal = ops.power(1.0 - (y * p + (1.0 - y) * (1.0 - p)), gamma) * crossentropy
    return ops.mean(
        focal * (y * alpha + (1.0 - y) * (1.0 - alpha)) if apply_class_balancing else focal, axis=axis
    )


@loss_function()
def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Any:
    """-sum y log p over `axis`, y = y_true (1 - label_smoothing) + label_smoothing / classes, y_true one-hot."""
    y_true, y_pred = _classes(y_true, y_pred, from_logits, axis)
    return ops.categorical_crossentropy(
        y_true, y_pred, from_logits=from_logits, axis=axis, label_smoothing=label_smoothing
    )


@loss_function()
def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Any:
    """-sum alpha (1 - p)^gamma y log p over `axis`, alpha one number or one for each class.

    Lin et al. 2017, Focal loss, for several classes.
    """
    y, p = _classes(y_true, y_pred, from_logits, axis)
    y = y * (1.0 - label_smoothing) + label_smoothing / known([p.shape[axis]])[0] if label_smoothing else y
    p = ops.softmax(p, axis) if from_logits else p
    p = ops.clip(p / ops.sum(p, axis=axis, keepdims=True), config.epsilon(), 1.0 - config.epsilon())
    return -ops.sum(ops.multiply(ops.power(1.0 - p, gamma), alpha) * (y * ops.log(p)), axis=axis)


@loss_function()
def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
    label_smoothing: float = 0.0,
) -> Any:
    """-log p[y_true], y_true class numbers (n, ...) or with an axis of length 1; 0 where it is `ignore_class`.

    axis: that of the classes in y_pred. label_smoothing as in `categorical_crossentropy`.
    """
    check_logits(y_pred, from_logits)
    check_samples(y_true.shape, y_pred.shape)
    check_labels(y_true.shape, y_pred.shape, axis)
    return ops.sparse_categorical_crossentropy(
        y_true,
        y_pred,
        from_logits=from_logits,
        axis=axis,
        ignore_class=ignore_class,
        label_smoothing=label_smoothing,
    )


@loss_function()
def categorical_generalized_cross_entropy(y_true: Any, y_pred: Any, q: float = 0.5) -> Any:
    """(1 - p[y_true]^q) / q, y_true class numbers: less moved by wrong labels. Zhang & Sabuncu 2018.

    q in (0, 1): near 0 the cross-entropy, at 1 the mean absolute error.
    """
    check_samples(y_true.shape, y_pred.shape)
    check_labels(y_true.shape, y_pred.shape)
    labels = ops.squeeze(y_true, -1) if y_true.ndim == y_pred.ndim else y_true
    p = ops.sum(y_pred * ops.one_hot(labels, y_pred.shape[-1]), axis=-1)
    return (1.0 - ops.power(p, q)) / q


@loss_function("kld")
def kl_divergence(y_true: Any, y_pred: Any) -> Any:
    """sum y_true log(y_true / y_pred) over the last axis, both kept in [epsilon, 1]."""
    y, p = (ops.clip(value, config.epsilon(), 1.0) for value in pair(y_true, y_pred))
    return ops.sum(y * ops.log(y / p), axis=-1)


def check_logits(y_pred: Tensor, from_logits: bool) -> None:
    """Refuse to take the output of a softmax or sigmoid for logits."""
    operation = y_pred.node.operation if from_logits and y_pred.node is not None else None
    if isinstance(operation, Softmax | Sigmoid):
        name = type(operation).__name__.lower()
        raise Error(
            f"from_logits=True, but the predictions come out of a {name}, so it would be applied twice; leave out "
            f"from_logits (the loss is computed from the inputs of the {name} anyway) or the activation"
        )


def _classes(y_true: Tensor, y_pred: Tensor, from_logits: bool, axis: int) -> tuple[Tensor, Tensor]:
    check_logits(y_pred, from_logits)
    check_samples(y_true.shape, y_pred.shape)
    check_one_hot(y_true.shape, y_pred.shape, axis)
    return y_true, y_pred


def _last(x: Tensor, axis: int) -> Tensor:
    return x if axis in (-1, x.ndim - 1) else ops.moveaxis(x, axis, -1)


# --- classes -------------------------------------------------------------------------------------------------


class BinaryCrossentropy(_FormulaLoss):
    """-y log p - (1 - y) log(1 - p), targets in [0, 1]."""

    function = binary_crossentropy

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(reduction, name, dtype)
        self.from_logits = from_logits
        self.label_smoothing = check_smoothing(self, label_smoothing)
        self.axis = axis

    def check_values(self, y: np.ndarray, prediction_shape: Shape) -> None:
        check_probabilities(y)


class BinaryFocalCrossentropy(BinaryCrossentropy):
    """`BinaryCrossentropy` that gives less weight to what is predicted well already."""

    function = binary_focal_crossentropy

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.apply_class_balancing = apply_class_balancing
        self.alpha = alpha
        self.gamma = gamma


class CategoricalCrossentropy(_FormulaLoss):
    """-sum y log p, targets one-hot."""

    function = categorical_crossentropy

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(reduction, name, dtype)
        self.from_logits = from_logits
        self.label_smoothing = check_smoothing(self, label_smoothing)
        self.axis = axis

    def check_shapes(self, targets: Shape, predictions: Shape) -> None:
        check_one_hot(targets, predictions, self.axis)


class CategoricalFocalCrossentropy(CategoricalCrossentropy):
    """`CategoricalCrossentropy` that gives less weight to what is predicted well already."""

    function = categorical_focal_crossentropy

    def __init__(
        self,
        alpha: float | Sequence[float] = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(from_logits, label_smoothing, axis, reduction, name, dtype)
        self.alpha = alpha
        self.gamma = gamma


class SparseCategoricalCrossentropy(_FormulaLoss):
    """-log p[y], targets class numbers. Those that are `ignore_class` add nothing and do not count in means."""

    function = sparse_categorical_crossentropy

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = None,
        dtype: str | None = None,
        label_smoothing: float = 0.0,
    ):
        super().__init__(reduction, name, dtype)
        self.from_logits = from_logits
        self.ignore_class = ignore_class
        self.axis = axis
        self.label_smoothing = check_smoothing(self, label_smoothing)

    def target_shape(self, shape: Shape) -> Shape:
        axis = self.axis % len(shape)
        return (*shape[:axis], *shape[axis + 1 :])

    def mask(self, y_true: Tensor, y_pred: Tensor, values: Tensor) -> Tensor | None:
        if self.ignore_class is None:
            return None
        return ops.reshape(ops.not_equal(y_true, float(self.ignore_class)), values.shape)

    def check_shapes(self, targets: Shape, predictions: Shape) -> None:
        check_labels(targets, predictions, self.axis)

    def check_values(self, y: np.ndarray, prediction_shape: Shape) -> None:
        check_classes(y, known([prediction_shape[self.axis]])[0], self.ignore_class)


class CategoricalGeneralizedCrossEntropy(_FormulaLoss):
    """(1 - p[y]^q) / q, targets class numbers, some of which may be wrong."""

    function = categorical_generalized_cross_entropy

    def __init__(
        self,
        q: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(reduction, name, dtype)
        if not 0 < q < 1:
            raise Error(f"{type(self).__name__}: q must lie in (0, 1), got {q}")
        self.q = q

    def check_shapes(self, targets: Shape, predictions: Shape) -> None:
        check_labels(targets, predictions)

    def check_values(self, y: np.ndarray, prediction_shape: Shape) -> None:
        check_classes(y, known(prediction_shape[-1:])[0], None)


class KLDivergence(_FormulaLoss):
    """sum y log(y / p), targets distributions."""

    function = kl_divergence


class Crossentropy(Loss):
    """The cross-entropy that the shapes of targets and predictions ask for: binary, of labels, or of one-hot rows.

    What compile(loss="crossentropy") or "ce" stands for.
    """

    _aliases = ("ce",)

    def _fitting(self, targets: Shape, predictions: Shape) -> Loss:
        kinds = (BinaryCrossentropy, SparseCategoricalCrossentropy, CategoricalCrossentropy)
        return kinds[target_form(targets, predictions)](
            reduction=self.reduction, name=self.name, dtype=self.dtype
        )

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        return self._fitting(np.shape(y_true), np.shape(y_pred))(y_true, y_pred, sample_weight)

    def check_targets(self, y: np.ndarray, prediction_shape: Shape) -> None:
        self._fitting(y.shape, prediction_shape).check_targets(y, prediction_shape)


def check_smoothing(loss: _FormulaLoss, value: float) -> float:
    """`value`, a number in [0, 1]."""
    if not 0 <= value <= 1:
        raise Error(f"{type(loss).__name__}: label_smoothing must lie in [0, 1], got {value!r}")
    return value
