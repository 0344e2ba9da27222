"""Area under the curves that true and false positives draw as the threshold moves."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import registry
from fastcnn.config import epsilon
from fastcnn.errors import Error
from fastcnn.metrics.base import Array, Values, choice, divide, expand_weights, fit_weights, pair
from fastcnn.metrics.counts import ALL_COUNTS, _ThresholdMetric, threshold_list
from fastcnn.metrics.formulas import sigmoid

_CURVES = ("ROC", "PR", "PRGAIN")
_SUMMATIONS = ("interpolation", "minoring", "majoring")


class AUC(_ThresholdMetric):
    """Area under a curve that runs through `num_thresholds` thresholds, evenly spread over [0, 1].

    curve: "ROC" (recall over false-positive rate), "PR" (precision over recall), or "PRGAIN" (Flach & Kull 2015).
    summation_method: "interpolation" (trapezoids; for PR, true and false positives are interpolated, Davis &
    Goadrich 2006), "minoring" or "majoring" (the lower or the upper of the two ends).
    thresholds: use these, in (0, 1), instead; both ends are added.
    multi_label: a curve for each column, averaged with `label_weights`; otherwise all columns make one curve, and
    `label_weights` weigh its columns.
    from_logits: y_pred are logits; scores are otherwise probabilities, and clipped to [0, 1].
    """

    _direction = "up"
    _counts = ALL_COUNTS

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: str | None = None,
        thresholds: Sequence[float] | None = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Sequence[float] | None = None,
        from_logits: bool = False,
    ):
        super().__init__(dtype, name)
        if num_labels and not multi_label:
            raise Error("AUC: num_labels needs multi_label=True")
        self.curve = choice("AUC: curve", curve.upper(), _CURVES)
        self.summation_method = choice("AUC: summation_method", summation_method.lower(), _SUMMATIONS)
        self.multi_label = multi_label
        self.num_labels = num_labels
        self.label_weights = None if label_weights is None else [float(weight) for weight in label_weights]
        self.from_logits = from_logits
        self.init_thresholds = thresholds
        self.num_thresholds, self._inner = self._inner_thresholds(num_thresholds, thresholds)
        self._built = False
        if num_labels or not multi_label:
            self._build(num_labels or 0)

    @staticmethod
    def _inner_thresholds(count: int, thresholds: Sequence[float] | None) -> tuple[int, list[float]]:
        if thresholds is not None:
            inner = sorted(threshold_list("AUC", thresholds, 0.5))
            return len(inner) + 2, inner
        if count < 2:
            raise Error(f"AUC: num_thresholds must be at least 2, got {count}")
        return count, [index / (count - 1) for index in range(1, count - 1)]

    @property
    def thresholds(self) -> list[float]:
        """All thresholds; the ends lie just outside [0, 1], so that the curve's ends do too."""
        return [-epsilon(), *self._inner, 1.0 + epsilon()]

    def _build(self, labels: int) -> None:
        self._start(self.thresholds, (self.num_thresholds, labels) if labels else (self.num_thresholds,))
        self._built = True

    def _standardize(
        self, y_true: Values, y_pred: Values, sample_weight: Values | None
    ) -> tuple[Array, Array, Array | None]:
        true, scores = pair(y_true, y_pred)
        scores = sigmoid(scores) if self.from_logits else np.clip(scores, 0.0, 1.0)
        if not self._built:
            if scores.ndim != 2:
                raise Error(f"{self.name}: multi_label needs y_pred of shape (n, labels), got {scores.shape}")
            self._build(scores.shape[1])
        weights = None if sample_weight is None else expand_weights(sample_weight, scores.shape)
        if self.label_weights is not None and not self.multi_label:
            label_weights = fit_weights(np.asarray(self.label_weights), scores.shape)
            weights = label_weights if weights is None else weights * label_weights
        columns = scores.shape[1] if self.multi_label else 1
        weights = None if weights is None else weights.reshape(-1, columns)
        return true.astype(bool).reshape(-1, columns), scores.reshape(-1, columns), weights

    def result(self) -> Any:
        if not self._built:
            return np.float64(0.0)
        interpolated = self.curve == "PR" and self.summation_method == "interpolation"
        areas = (self._interpolated_precision() if interpolated else self._strips()).sum(0)
        if not self.multi_label:
            return areas
        return _weighted_mean(areas, self.label_weights)

    def _strips(self) -> Array:
        """Areas between neighbouring thresholds, under the curve of y over x."""
        x, y = {"ROC": self._roc, "PR": self._precision_recall, "PRGAIN": self._gains}[self.curve]()
        left, right = y[:-1], y[1:]
        if self.summation_method == "interpolation":
            heights = (left + right) / 2
        else:
            heights = (
                np.minimum(left, right) if self.summation_method == "minoring" else np.maximum(left, right)
            )
        strips: Array = (x[:-1] - x[1:]) * heights
        return strips

    def _roc(self) -> tuple[Array, Array]:
        return self._ratio("false_positives", "true_negatives"), self._recall()

    def _precision_recall(self) -> tuple[Array, Array]:
        return self._recall(), self._precision()

    def _gains(self) -> tuple[Array, Array]:
        """Recall gain and precision gain: 1 - (positives / negatives) (errors / true positives).

        Without true positives the recall gain is 0 and the precision gain 1; a negative recall gain counts as 0.
        """
        tp, fp, tn, fn = (self._value(name) for name in ALL_COUNTS)
        odds = divide(tp + fn, tn + fp)
        recall_gain = np.where(tp == 0, 0.0, 1.0 - odds * divide(fn, tp))
        precision_gain = np.where(tp == 0, 1.0, 1.0 - odds * divide(fp, tp))
        return np.maximum(recall_gain, 0.0), precision_gain

    def _interpolated_precision(self) -> Array:
        """Areas under the PR curve when, between thresholds, TP and FP change in proportion to each other.

        With P = TP + FP and TP = intercept + slope P in a strip, the area over recall is
        slope (dTP + intercept log(P_left / P_right)) / positives (Davis & Goadrich 2006, section 4).
        """
        tp, fn = self._value("true_positives"), self._value("false_negatives")
        p = tp + self._value("false_positives")
        dtp = tp[:-1] - tp[1:]
        slope = divide(dtp, np.maximum(p[:-1] - p[1:], 0.0))
        intercept = tp[1:] - slope * p[1:]
        both = (p[:-1] > 0) & (p[1:] > 0)
        ratio = np.where(both, divide(p[:-1], p[1:]), 1.0)
        return divide(slope * (dtp + intercept * np.log(ratio)), tp[1:] + fn[1:])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "thresholds": registry.serialize(self.init_thresholds)}


def _weighted_mean(values: Array, weights: Sequence[float] | None) -> Any:
    if weights is None:
        return values.mean()
    if len(weights) != len(values):
        raise Error(f"AUC: {len(values)} labels need {len(values)} label_weights, got {len(weights)}")
    return divide((values * weights).sum(), np.sum(weights))
