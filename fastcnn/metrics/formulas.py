"""The formulas of metrics: `fn(y_true, y_pred)` gives one value a sample, the mean over the last axis.

They are Keras's functions of the same names, in NumPy. (n,) against (n, 1) is expanded, never broadcast.
"""

from collections.abc import Callable, Sequence

import numpy as np

from fastcnn.config import epsilon, floatx
from fastcnn.errors import Error
from fastcnn.metrics.base import (
    Array,
    MetricFunction,
    Values,
    check_equal_shapes,
    divide,
    floats,
    pair,
    same_rank,
    spread,
)
from fastcnn.registry import registered

Formula = Callable[..., Array]

direction_of: dict[MetricFunction, str] = {}  # "up" or "down": the way that is better


def _formula(direction: str) -> Callable[[Formula], Formula]:
    """Register a function under its name, and which way it is better."""

    def register(function: Formula) -> Formula:
        direction_of[function] = direction
        return registered("metric function")(function)

    return register


def _labels_and_scores(y_true: Values, y_pred: Values) -> tuple[Array, Array]:
    """Labels (...), or (..., 1), and scores (..., classes) -> labels (...), scores."""
    labels, scores = np.asarray(y_true), np.asarray(y_pred)
    if labels.ndim == scores.ndim and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if labels.shape != scores.shape[:-1]:
        raise Error(
            f"labels of shape {np.shape(y_true)} do not go with scores of shape {scores.shape}; expected one "
            f"integer for each row of scores, shape {scores.shape[:-1]}. Are the labels one-hot? "
            "Then use the metric without 'sparse'"
        )
    return labels, scores


@_formula("up")
def accuracy(y_true: Values, y_pred: Values) -> Array:
    """1 where y_pred equals y_true, else 0."""
    true, predicted = same_rank(np.asarray(y_true), np.asarray(y_pred))
    check_equal_shapes(true, predicted)
    return (true == predicted).astype(floatx())


@_formula("up")
def binary_accuracy(y_true: Values, y_pred: Values, threshold: float = 0.5) -> Array:
    """1 where (y_pred > threshold) equals y_true, else 0."""
    true, predicted = same_rank(np.asarray(y_true), np.asarray(y_pred))
    check_equal_shapes(true, predicted)
    return ((predicted > threshold) == true).astype(floatx())


@_formula("up")
def categorical_accuracy(y_true: Values, y_pred: Values) -> Array:
    """1 where the largest score is at the largest target. y_true, y_pred (..., classes) -> (...)."""
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    check_equal_shapes(true, predicted)
    return (true.argmax(-1) == predicted.argmax(-1)).astype(floatx())


@_formula("up")
def sparse_categorical_accuracy(y_true: Values, y_pred: Values) -> Array:
    """1 where the largest score is at the label. y_true (...) or (..., 1), y_pred (..., classes) -> (...)."""
    labels, scores = _labels_and_scores(y_true, y_pred)
    return (scores.argmax(-1) == labels).astype(floatx())


@_formula("up")
def top_k_categorical_accuracy(y_true: Values, y_pred: Values, k: int = 5) -> Array:
    """1 where the largest target is among the k largest scores. y_true, y_pred (..., classes) -> (...)."""
    return sparse_top_k_categorical_accuracy(np.asarray(y_true).argmax(-1), y_pred, k)


@_formula("up")
def sparse_top_k_categorical_accuracy(
    y_true: Values, y_pred: Values, k: int = 5, from_sorted_ids: bool = False
) -> Array:
    """1 where the label is among the k largest scores. y_true (...) or (..., 1), y_pred (..., classes) -> (...).

    Scores equal to the k-th count as among them; a label whose score is not finite does not.
    from_sorted_ids: y_pred holds class numbers, the best first, instead of scores.
    """
    labels, scores = _labels_and_scores(y_true, y_pred)
    if from_sorted_ids:
        return (scores[..., :k] == labels[..., None]).any(-1).astype(floatx())
    index = labels.astype(np.intp)
    inside = (index >= 0) & (index < scores.shape[-1])
    score = np.take_along_axis(scores, np.where(inside, index, 0)[..., None], axis=-1)
    better = np.count_nonzero(scores > score, axis=-1)
    return (inside & (better < k) & np.isfinite(score[..., 0])).astype(floatx())


@_formula("down")
def mean_squared_error(y_true: Values, y_pred: Values) -> Array:
    """mean((y_true - y_pred)^2) over the last axis."""
    true, predicted = spread(y_true, y_pred)
    return np.square(predicted - true).mean(-1)


@_formula("down")
def mean_absolute_error(y_true: Values, y_pred: Values) -> Array:
    """mean(|y_true - y_pred|) over the last axis."""
    true, predicted = spread(y_true, y_pred)
    return np.abs(predicted - true).mean(-1)


@_formula("down")
def mean_absolute_percentage_error(y_true: Values, y_pred: Values) -> Array:
    """100 mean(|y_true - y_pred| / max(|y_true|, epsilon)) over the last axis, in percent."""
    true, predicted = spread(y_true, y_pred)
    return 100.0 * (np.abs(true - predicted) / np.maximum(np.abs(true), epsilon())).mean(-1)


@_formula("down")
def mean_squared_logarithmic_error(y_true: Values, y_pred: Values) -> Array:
    """mean((log(1 + y_true) - log(1 + y_pred))^2) over the last axis; negative values count as epsilon."""
    true, predicted = spread(y_true, y_pred)
    logs = np.log1p(np.maximum(true, epsilon())) - np.log1p(np.maximum(predicted, epsilon()))
    return np.square(logs).mean(-1)


@_formula("down")
def huber(y_true: Values, y_pred: Values, delta: float = 1.0) -> Array:
    """mean(e^2 / 2 where |e| <= delta, else delta |e| - delta^2 / 2) over the last axis (Huber 1964)."""
    true, predicted = spread(y_true, y_pred)
    error = np.abs(predicted - true)
    return np.where(error <= delta, 0.5 * np.square(error), delta * (error - 0.5 * delta)).mean(-1)


@_formula("down")
def log_cosh(y_true: Values, y_pred: Values) -> Array:
    """mean(log(cosh(y_pred - y_true))) over the last axis."""
    true, predicted = spread(y_true, y_pred)
    error = np.abs(predicted - true)
    return (error + np.log1p(np.exp(-2.0 * error)) - np.log(2.0).astype(error.dtype)).mean(-1)


@_formula("up")
def cosine_similarity(y_true: Values, y_pred: Values, axis: int | Sequence[int] = -1) -> Array:
    """sum(y_true y_pred) / (|y_true| |y_pred|) over `axis`: 1 same direction, -1 opposite, 0 for zero vectors."""
    true, predicted = pair(y_true, y_pred)
    axes = axis if isinstance(axis, int) else tuple(axis)
    return (_unit(true, axes) * _unit(predicted, axes)).sum(axes)


@_formula("up")
def pearson_correlation(y_true: Values, y_pred: Values, axis: int = -1) -> Array:
    """covariance / (standard deviations' product) over `axis`, from -1 to 1; 0 where one does not vary."""
    true, predicted, covariance = _centred(*pair(y_true, y_pred), axis)
    return divide(covariance, np.sqrt(np.square(true).mean(axis) * np.square(predicted).mean(axis)))


@_formula("up")
def concordance_correlation(y_true: Values, y_pred: Values, axis: int = -1) -> Array:
    """2 covariance / (variances' sum + (difference of the means)^2) over `axis` (Lin 1989), from -1 to 1."""
    true, predicted = pair(y_true, y_pred)
    gap = true.mean(axis) - predicted.mean(axis)
    true, predicted, covariance = _centred(true, predicted, axis)
    spread = np.square(true).mean(axis) + np.square(predicted).mean(axis) + np.square(gap)
    return divide(2.0 * covariance, spread)


def _centred(true: Array, predicted: Array, axis: int) -> tuple[Array, Array, Array]:
    """Both minus their means over `axis`, and their covariance."""
    true = true - true.mean(axis, keepdims=True)
    predicted = predicted - predicted.mean(axis, keepdims=True)
    return true, predicted, (true * predicted).mean(axis)


def _unit(values: Array, axes: int | tuple[int, ...]) -> Array:
    norm = np.sqrt(np.square(values).sum(axes, keepdims=True))
    unit: Array = values / np.maximum(norm, epsilon())
    return unit


def _plus_minus_one(true: Array) -> Array:
    """Labels 0 and 1 become -1 and 1; anything else is left as it is."""
    return 2 * true - 1 if np.all((true == 0) | (true == 1)) else true


@_formula("down")
def hinge(y_true: Values, y_pred: Values) -> Array:
    """mean(max(1 - y_true y_pred, 0)) over the last axis; y_true is -1 or 1, or 0 or 1."""
    true, predicted = spread(y_true, y_pred)
    return np.maximum(1.0 - _plus_minus_one(true) * predicted, 0.0).mean(-1)


@_formula("down")
def squared_hinge(y_true: Values, y_pred: Values) -> Array:
    """mean(max(1 - y_true y_pred, 0)^2) over the last axis; y_true is -1 or 1, or 0 or 1."""
    true, predicted = spread(y_true, y_pred)
    return np.square(np.maximum(1.0 - _plus_minus_one(true) * predicted, 0.0)).mean(-1)


@_formula("down")
def categorical_hinge(y_true: Values, y_pred: Values) -> Array:
    """max(0, 1 + largest wrong score - right score) over the last axis; y_true is one-hot."""
    true, predicted = pair(y_true, y_pred)
    right = (true * predicted).sum(-1)
    wrong = ((1.0 - true) * predicted).max(-1)
    return np.maximum(wrong - right + 1.0, 0.0)


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow for any x."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def _log_probabilities(scores: Array, from_logits: bool, axis: int) -> Array:
    """Logarithms of scores made to sum to 1 along `axis`; probabilities are kept epsilon away from 0 and 1."""
    if from_logits:
        shifted = scores - scores.max(axis, keepdims=True)
        log_probabilities: Array = shifted - np.log(np.exp(shifted).sum(axis, keepdims=True))
        return log_probabilities
    return np.log(_clip(scores / scores.sum(axis, keepdims=True)))


def _clip(probabilities: Array) -> Array:
    return np.clip(probabilities, epsilon(), 1.0 - epsilon())


def _binary_crossentropies(true: Array, predicted: Array, from_logits: bool) -> Array:
    """-y log p - (1 - y) log(1 - p), element by element."""
    if from_logits:
        losses: Array = np.maximum(predicted, 0) - predicted * true + np.log1p(np.exp(-np.abs(predicted)))
        return losses
    p = _clip(predicted)
    return -(true * np.log(p) + (1.0 - true) * np.log(1.0 - p))


@_formula("down")
def binary_crossentropy(
    y_true: Values,
    y_pred: Values,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """mean(-y log p - (1 - y) log(1 - p)) over `axis`, y = y_true (1 - label_smoothing) + label_smoothing / 2."""
    true, predicted = pair(y_true, y_pred)
    true = true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    return _binary_crossentropies(true, predicted, from_logits).mean(axis)


@_formula("down")
def binary_focal_crossentropy(
    y_true: Values,
    y_pred: Values,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """mean((1 - p_t)^gamma crossentropy), p_t the probability given to the true class (Lin et al. 2017).

    With `apply_class_balancing`, class 1 weighs alpha and class 0 weighs 1 - alpha.
    """
    true, predicted = pair(y_true, y_pred)
    true = true * (1.0 - label_smoothing) + 0.5 * label_smoothing
    p = sigmoid(predicted) if from_logits else predicted
    focus = (1.0 - (true * p + (1.0 - true) * (1.0 - p))) ** gamma
    balance = true * alpha + (1.0 - true) * (1.0 - alpha) if apply_class_balancing else 1.0
    focal: Array = (balance * focus * _binary_crossentropies(true, predicted, from_logits)).mean(axis)
    return focal


@_formula("down")
def categorical_crossentropy(
    y_true: Values,
    y_pred: Values,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """-sum(y log p) over `axis`, y = y_true (1 - label_smoothing) + label_smoothing / classes."""
    true, predicted = pair(y_true, y_pred)
    true = true * (1.0 - label_smoothing) + label_smoothing / true.shape[axis]
    return -(true * _log_probabilities(predicted, from_logits, axis)).sum(axis)


@_formula("down")
def categorical_focal_crossentropy(
    y_true: Values,
    y_pred: Values,
    alpha: float | Sequence[float] = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """-sum(alpha (1 - p)^gamma y log p) over `axis` (Lin et al. 2017)."""
    true, predicted = pair(y_true, y_pred)
    true = true * (1.0 - label_smoothing) + label_smoothing / true.shape[axis]
    log_p = _log_probabilities(predicted, from_logits, axis)
    focal: Array = -(np.asarray(alpha, log_p.dtype) * (1.0 - np.exp(log_p)) ** gamma * true * log_p).sum(axis)
    return focal


@_formula("down")
def sparse_categorical_crossentropy(
    y_true: Values,
    y_pred: Values,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
) -> Array:
    """-log p[y_true]. y_true (...) or (..., 1), y_pred (..., classes) -> (...); 0 where y_true is `ignore_class`.

    axis: that of the classes in y_pred.
    """
    labels, scores = _labels_and_scores(y_true, np.moveaxis(floats(y_pred), axis, -1))
    index = labels.astype(np.intp)
    ignored = index == ignore_class if ignore_class is not None else np.zeros(index.shape, bool)
    index = np.where(ignored, 0, index)
    classes = scores.shape[-1]
    if index.size and not (0 <= index.min() and index.max() < classes):
        raise Error(
            f"labels from {index.min()} to {index.max()} do not fit {classes} scores; "
            f"expected integers from 0 to {classes - 1}"
        )
    log_p = np.take_along_axis(_log_probabilities(scores, from_logits, -1), index[..., None], axis=-1)
    return np.where(ignored, 0.0, -log_p[..., 0])


@_formula("down")
def kl_divergence(y_true: Values, y_pred: Values) -> Array:
    """sum(y_true log(y_true / y_pred)) over the last axis, both kept between epsilon and 1."""
    true, predicted = pair(y_true, y_pred)
    true, predicted = np.clip(true, epsilon(), 1.0), np.clip(predicted, epsilon(), 1.0)
    return (true * np.log(true / predicted)).sum(-1)


@_formula("down")
def poisson(y_true: Values, y_pred: Values) -> Array:
    """mean(y_pred - y_true log y_pred) over the last axis."""
    true, predicted = spread(y_true, y_pred)
    return (predicted - true * np.log(predicted + epsilon())).mean(-1)
