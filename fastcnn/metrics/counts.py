"""Metrics made of true and false positives and negatives, counted at thresholds of the score."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn import registry
from fastcnn.errors import Error
from fastcnn.metrics.base import (
    Array,
    Metric,
    State,
    Values,
    check_at_least_one,
    divide,
    expand_weights,
    pair,
)

_TOP_K_THRESHOLD = -1e10  # below every score that top_k keeps


def _at_thresholds(true: Array, scores: Array, thresholds: Array, weights: Array | None) -> dict[str, Array]:
    """The four counts at every threshold, for each column. true, scores, weights (n, columns) -> (thresholds, columns).

    A score is positive when it is above the threshold; NaN is above none. Sorting the thresholds and counting how
    many each score exceeds costs n log(thresholds) instead of n thresholds.
    """
    bins, columns = len(thresholds) + 1, scores.shape[1]
    order = np.argsort(thresholds)
    exceeded = np.searchsorted(thresholds[order].astype(scores.dtype), scores, side="left")
    exceeded[np.isnan(scores)] = 0
    cell = exceeded + np.arange(columns) * bins

    def above(chosen: Array) -> tuple[Array, Array]:
        """Weight of the chosen samples above each threshold, and of all chosen ones."""
        chosen_weights = None if weights is None else weights[chosen]
        histogram = np.bincount(cell[chosen], chosen_weights, bins * columns).reshape(columns, bins)
        at_least = histogram[:, ::-1].cumsum(1)[:, ::-1].T.astype(np.float64)
        count = np.empty((bins - 1, columns))
        count[order] = at_least[1:]
        return count, at_least[0]

    (tp, positives), (fp, negatives) = above(true), above(~true)
    return {
        "true_positives": tp,
        "false_positives": fp,
        "true_negatives": negatives - fp,
        "false_negatives": positives - tp,
    }


def _keep_top_k(scores: Array, k: int) -> Array:
    """Scores with all but the k largest of each row set below every threshold; of equal ones the first stays."""
    kept = np.full_like(scores, _TOP_K_THRESHOLD)
    index = np.argsort(-scores, axis=-1, kind="stable")[..., :k]
    np.put_along_axis(kept, index, np.take_along_axis(scores, index, -1), -1)
    return kept


class _ThresholdMetric(Metric):
    """Keeps some of the four counts at each threshold: `_counts` names which."""

    _counts: ClassVar[tuple[str, ...]] = ()
    top_k: int | None = None
    class_id: int | None = None

    def _start(self, thresholds: Sequence[float], shape: tuple[int, ...]) -> None:
        self._thresholds = np.asarray(thresholds, np.float64)
        for name in self._counts:
            setattr(self, name, self._sum(name, shape))

    def update_state(self, y_true: Values, y_pred: Values, sample_weight: Values | None = None) -> None:
        true, scores, weights = self._standardize(y_true, y_pred, sample_weight)
        counts = _at_thresholds(true, scores, self._thresholds, weights)
        for name in self._counts:
            state: State = getattr(self, name)
            state.value += counts[name].reshape(state.shape)

    def _standardize(
        self, y_true: Values, y_pred: Values, sample_weight: Values | None
    ) -> tuple[Array, Array, Array | None]:
        """Targets as booleans, scores, and weights, all (n, columns); one column unless labels are kept apart."""
        true, scores = pair(y_true, y_pred)
        if self.top_k is not None:
            scores = _keep_top_k(scores, self.top_k)
        if self.class_id is not None:
            true, scores = self._column(true, self.class_id), self._column(scores, self.class_id)
        weights = None
        if sample_weight is not None:
            weights = expand_weights(sample_weight, scores.shape).reshape(-1, 1)
        return true.astype(bool).reshape(-1, 1), scores.reshape(-1, 1), weights

    def _column(self, values: Array, index: int) -> Array:
        if values.ndim < 2 or not 0 <= index < values.shape[-1]:
            raise Error(f"{self.name}: there is no class {index} in values of shape {values.shape}")
        return values[..., index, None]

    def _value(self, name: str) -> Array:
        state: State = getattr(self, name)
        return state.value

    def _ratio(self, part: str, rest: str) -> Array:
        """part / (part + rest), 0 where there is nothing."""
        return divide(self._value(part), self._value(part) + self._value(rest))

    def _precision(self) -> Array:
        return self._ratio("true_positives", "false_positives")

    def _recall(self) -> Array:
        return self._ratio("true_positives", "false_negatives")

    def _specificity(self) -> Array:
        return self._ratio("true_negatives", "false_positives")


def threshold_list(metric: str, thresholds: float | Sequence[float] | None, default: float) -> list[float]:
    """Thresholds as a list of numbers from 0 to 1; `Error` for anything else."""
    if thresholds is None:
        return [default]
    values = list(thresholds) if isinstance(thresholds, (Sequence, np.ndarray)) else [thresholds]
    if not values or not all(value is not None and 0 <= value <= 1 for value in values):
        raise Error(f"{metric}: thresholds must be numbers from 0 to 1, got {thresholds}")
    return [float(value) for value in values]


class _AtThresholds(_ThresholdMetric):
    """A number for each of the given thresholds; a plain number when there is one, 0.5 unless given."""

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(dtype, name)
        default = 0.5 if self.top_k is None else _TOP_K_THRESHOLD
        self.init_thresholds = thresholds
        self.thresholds = threshold_list(type(self).__name__, thresholds, default)
        self._start(self.thresholds, (len(self.thresholds),))

    def result(self) -> Any:
        values = self._at_each_threshold()
        return values[0] if len(values) == 1 else values

    def _at_each_threshold(self) -> Array:
        return self._value(self._counts[0]).copy()

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": registry.serialize(self.init_thresholds)}


class TruePositives(_AtThresholds):
    """Number of positives found: score above the threshold, target not 0."""

    _direction = "up"
    _counts = ("true_positives",)


class TrueNegatives(_AtThresholds):
    """Number of negatives left alone: score not above the threshold, target 0."""

    _direction = "up"
    _counts = ("true_negatives",)


class FalsePositives(_AtThresholds):
    """Number of false alarms: score above the threshold, target 0."""

    _direction = "down"
    _counts = ("false_positives",)


class FalseNegatives(_AtThresholds):
    """Number of positives missed: score not above the threshold, target not 0."""

    _direction = "down"
    _counts = ("false_negatives",)


class _OfClass(_AtThresholds):
    """At thresholds, of one class, or of the scores that are among the k largest of their row."""

    _direction = "up"

    def __init__(
        self,
        thresholds: float | Sequence[float] | None = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ):
        if top_k is not None:
            check_at_least_one(f"{type(self).__name__}: top_k", top_k)
        self.top_k = top_k
        self.class_id = class_id
        super().__init__(thresholds, name, dtype)


class Precision(_OfClass):
    """true positives / (true positives + false positives): the share of alarms that are right.

    thresholds: scores above it are positive; 0.5 unless given, or for `top_k` all of the k. A list gives a list.
    top_k: only the k largest scores of a row can be positive. class_id: only this column counts.
    """

    _counts = ("true_positives", "false_positives")

    def _at_each_threshold(self) -> Array:
        return self._precision()


class Recall(_OfClass):
    """true positives / (true positives + false negatives): the share of positives that are found.

    Arguments as for `Precision`.
    """

    _counts = ("true_positives", "false_negatives")

    def _at_each_threshold(self) -> Array:
        return self._recall()


ALL_COUNTS = ("true_positives", "false_positives", "true_negatives", "false_negatives")


class _BestUnderConstraint(_ThresholdMetric):
    """The largest value of one ratio over all thresholds at which another is at least a given one."""

    _direction = "up"
    _counts = ALL_COUNTS

    def __init__(
        self, least: float, num_thresholds: int, class_id: int | None, name: str | None, dtype: str | None
    ):
        super().__init__(dtype, name)
        if not 0 <= least <= 1:
            raise Error(f"{type(self).__name__}: expected a number from 0 to 1, got {least}")
        check_at_least_one(f"{type(self).__name__}: num_thresholds", num_thresholds)
        self.num_thresholds = num_thresholds
        self.class_id = class_id
        self._least = least
        thresholds = np.linspace(0.0, 1.0, num_thresholds) if num_thresholds > 1 else [0.5]
        self._start(list(thresholds), (num_thresholds,))

    def _best(self, constrained: Array, value: Array) -> Any:
        return np.where(constrained >= self._least, value, 0.0).max()


class SensitivityAtSpecificity(_BestUnderConstraint):
    """Best sensitivity (recall) among thresholds whose specificity is at least `specificity`."""

    def __init__(
        self,
        specificity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(specificity, num_thresholds, class_id, name, dtype)
        self.specificity = specificity

    def result(self) -> Any:
        return self._best(self._specificity(), self._recall())


class SpecificityAtSensitivity(_BestUnderConstraint):
    """Best specificity among thresholds whose sensitivity (recall) is at least `sensitivity`."""

    def __init__(
        self,
        sensitivity: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(sensitivity, num_thresholds, class_id, name, dtype)
        self.sensitivity = sensitivity

    def result(self) -> Any:
        return self._best(self._recall(), self._specificity())


class PrecisionAtRecall(_BestUnderConstraint):
    """Best precision among thresholds whose recall is at least `recall`."""

    def __init__(
        self,
        recall: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(recall, num_thresholds, class_id, name, dtype)
        self.recall = recall

    def result(self) -> Any:
        return self._best(self._recall(), self._precision())


class RecallAtPrecision(_BestUnderConstraint):
    """Best recall among thresholds whose precision is at least `precision`."""

    def __init__(
        self,
        precision: float,
        num_thresholds: int = 200,
        class_id: int | None = None,
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(precision, num_thresholds, class_id, name, dtype)
        self.precision = precision

    def result(self) -> Any:
        return self._best(self._precision(), self._recall())
