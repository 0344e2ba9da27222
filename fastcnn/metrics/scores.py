"""Scores of whole columns: F-beta of each class, R2 of each output."""

import warnings
from typing import Any

import numpy as np

from fastcnn.errors import Error
from fastcnn.metrics.base import Array, Metric, Values, choice, divide, expand_weights, pair


class FBetaScore(Metric):
    """(1 + beta^2) precision recall / (beta^2 precision + recall), of each class. y_true, y_pred (n, classes).

    average: None (one score for each class), "micro" (of all classes' counts together), "macro" (mean over
    classes), "weighted" (mean weighted by the number of samples of each class).
    threshold: scores above it are positive; None takes the largest score of each row.
    """

    _direction = "up"

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str = "fbeta_score",
        dtype: str | None = None,
    ):
        super().__init__(dtype, name)
        if average is not None:
            choice(f"{type(self).__name__}: average", average, ("micro", "macro", "weighted"))
        if not beta > 0:
            raise Error(f"{type(self).__name__}: beta must be positive, got {beta}")
        if threshold is not None and not 0 < threshold <= 1:
            raise Error(f"{type(self).__name__}: threshold must be above 0 and at most 1, got {threshold}")
        self.average = average
        self.beta = beta
        self.threshold = threshold
        self._built = False

    def _build(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2:
            raise Error(f"{self.name}: expected y_true and y_pred of shape (n, classes), got {shape}")
        size = () if self.average == "micro" else (shape[1],)
        self.true_positives = self._sum("true_positives", size)
        self.false_positives = self._sum("false_positives", size)
        self.false_negatives = self._sum("false_negatives", size)
        self.intermediate_weights = self._sum("intermediate_weights", size)
        self._built = True

    def update_state(self, y_true: Values, y_pred: Values, sample_weight: Values | None = None) -> None:
        true, scores = pair(y_true, y_pred)
        if not self._built:
            self._build(scores.shape)
        positive = self._positive(scores)
        weights = 1.0 if sample_weight is None else expand_weights(sample_weight, scores.shape)
        axis = None if self.average == "micro" else 0
        for state, values in (
            (self.true_positives, positive * true),
            (self.false_positives, positive * (1.0 - true)),
            (self.false_negatives, (1.0 - positive) * true),
            (self.intermediate_weights, true),
        ):
            state.value += (values * weights).sum(axis, dtype=np.float64)

    def _positive(self, scores: Array) -> Array:
        if self.threshold is not None:
            return (scores > self.threshold).astype(np.float64)
        largest = scores == scores.max(-1, keepdims=True)
        return (largest & (np.abs(scores) > 1e-9)).astype(np.float64)  # a row of zeros has no positive

    def result(self) -> Any:
        if not self._built:
            return np.float64(0.0)
        tp = self.true_positives.value
        precision = divide(tp, tp + self.false_positives.value)
        recall = divide(tp, tp + self.false_negatives.value)
        square = self.beta**2
        scores = divide((1.0 + square) * precision * recall, square * precision + recall)
        if self.average == "weighted":
            support = self.intermediate_weights.value
            return divide((scores * support).sum(), support.sum())
        return scores if self.average is None else np.mean(scores)


class F1Score(FBetaScore):
    """2 precision recall / (precision + recall). Arguments as for `FBetaScore`."""

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str = "f1_score",
        dtype: str | None = None,
    ):
        super().__init__(average, 1.0, threshold, name, dtype)


class R2Score(Metric):
    """1 - sum((y_true - y_pred)^2) / sum((y_true - mean(y_true))^2), of each output. y_true, y_pred (n, outputs).

    class_aggregation: "uniform_average", "variance_weighted_average", or None for one score an output.
    num_regressors: for the adjusted score 1 - (1 - R2)(n - 1) / (n - p - 1); 0 leaves it as it is.
    """

    _direction = "up"

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str = "r2_score",
        dtype: str | None = None,
    ):
        super().__init__(dtype, name)
        if class_aggregation is not None:
            choices = ("uniform_average", "variance_weighted_average")
            choice("R2Score: class_aggregation", class_aggregation, choices)
        if num_regressors < 0:
            raise Error(f"R2Score: num_regressors must not be negative, got {num_regressors}")
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors
        self.num_samples = self._sum("num_samples")
        self._built = False

    def _build(self, shape: tuple[int, ...]) -> None:
        if len(shape) != 2:
            raise Error(f"{self.name}: expected y_true and y_pred of shape (n, outputs), got {shape}")
        self.squared_sum = self._sum("squared_sum", shape[1:])
        self.sum = self._sum("sum", shape[1:])
        self.total_mse = self._sum("residual", shape[1:])
        self.count = self._sum("count", shape[1:])
        self._built = True

    def update_state(self, y_true: Values, y_pred: Values, sample_weight: Values | None = None) -> None:
        true, predicted = (values.astype(np.float64) for values in pair(y_true, y_pred))
        if not self._built:
            self._build(predicted.shape)
        weights = expand_weights(1.0 if sample_weight is None else sample_weight, predicted.shape)
        self.sum.value += (true * weights).sum(0)
        self.squared_sum.value += (true**2 * weights).sum(0)
        self.total_mse.value += ((true - predicted) ** 2 * weights).sum(0)
        self.count.value += weights.sum(0)
        self.num_samples.value += true.size

    def result(self) -> Any:
        if not self._built:
            return np.float64(0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = self.squared_sum.value - self.sum.value**2 / self.count.value
            scores = 1.0 - self.total_mse.value / total
        scores = np.where(np.isinf(scores), 0.0, scores)
        if self.class_aggregation == "uniform_average":
            scores = scores.mean(keepdims=True)[0]
        elif self.class_aggregation == "variance_weighted_average":
            scores = divide((total * scores).sum(), total.sum())
        return self._adjusted(scores)

    def _adjusted(self, score: Array) -> Array:
        samples, regressors = self.num_samples.value, self.num_regressors
        if regressors == 0:
            return score
        if regressors >= samples - 1:
            warnings.warn(
                f"R2Score: {regressors} regressors are too many for {int(samples)} samples; "
                "the score is not adjusted",
                stacklevel=3,
            )
            return score
        adjusted: Array = 1.0 - (1.0 - score) * (samples - 1.0) / (samples - regressors - 1.0)
        return adjusted
