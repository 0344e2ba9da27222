"""Losses as Keras 3 defines them: first one value per sample, then a reduction.

y is the target, p the prediction; both (n, ..., k) unless said otherwise, and the values per sample are
(n, ...): the mean, or the sum, over the last axis. Probabilities are kept in [1e-7, 1 - 1e-7] before a
logarithm.
"""

import numpy as np
from numpy.typing import ArrayLike

from .activation import log_sigmoid, log_softmax, sigmoid, softmax, softplus
from .shape import Array, float64

EPSILON = 1e-7


def match_rank(y: ArrayLike, p: ArrayLike) -> tuple[Array, Array]:
    """(n,) against (n, 1) becomes (n, 1); else a last axis of length 1 that only one side has is dropped."""
    y, p = float64(y), float64(p)
    if y.ndim + 1 == p.ndim and p.shape[-1] == 1:
        return (y[:, None], p) if y.ndim == 1 else (y, p[..., 0])
    if p.ndim + 1 == y.ndim and y.shape[-1] == 1:
        return (y, p[:, None]) if p.ndim == 1 else (y[..., 0], p)
    return y, p


def align_weight(weight: ArrayLike, ndim: int) -> Array:
    """Weights of samples, (n,) or (n, 1), or of single values, shaped to multiply values with ndim axes."""
    weight = float64(weight)
    weight = weight[..., 0] if weight.ndim == ndim + 1 and weight.shape[-1] == 1 else weight
    return weight.reshape(weight.shape + (1,) * (ndim - weight.ndim))


def reduce_loss(
    values: ArrayLike,
    sample_weight: ArrayLike | None = None,
    reduction: str | None = "sum_over_batch_size",
    mask: ArrayLike | None = None,
) -> Array:
    """One number from the values per sample; "none" gives the weighted values themselves.

    weighted = values sample_weight, 0 where mask is False.
    sum: their sum. sum_over_batch_size, mean: sum / number of unmasked values, whatever they weigh.
    mean_with_sample_weight: sum / sum of the weights, as given, not broadcast; without weights, as mean.
    0 / 0 is 0.
    """
    values = float64(values)
    kept = np.ones(values.shape) if mask is None else float64(mask)
    weight = np.ones(values.shape) if sample_weight is None else align_weight(sample_weight, values.ndim)
    weighted = values * weight * kept
    if reduction in (None, "none"):
        return weighted
    if reduction == "sum":
        return np.asarray(weighted.sum())
    if reduction in ("mean", "sum_over_batch_size"):
        divisor = kept.sum()
    elif reduction == "mean_with_sample_weight":
        divisor = (weight if mask is None else weight * kept).sum()
    else:
        raise ValueError(f"unknown reduction {reduction!r}")
    return np.asarray(weighted.sum() / divisor if divisor else 0.0)


def mean_squared_error(y: ArrayLike, p: ArrayLike) -> Array:
    """mean (y - p)^2."""
    y, p = match_rank(y, p)
    return ((y - p) ** 2).mean(-1)


def mean_absolute_error(y: ArrayLike, p: ArrayLike) -> Array:
    """mean |y - p|."""
    y, p = match_rank(y, p)
    return np.abs(y - p).mean(-1)


def mean_absolute_percentage_error(y: ArrayLike, p: ArrayLike) -> Array:
    """100 mean |y - p| / max(|y|, 1e-7)."""
    y, p = match_rank(y, p)
    return 100.0 * (np.abs(y - p) / np.maximum(np.abs(y), EPSILON)).mean(-1)


def mean_squared_logarithmic_error(y: ArrayLike, p: ArrayLike) -> Array:
    """mean (log(1 + max(y, 1e-7)) - log(1 + max(p, 1e-7)))^2."""
    y, p = match_rank(y, p)
    return ((np.log1p(np.maximum(y, EPSILON)) - np.log1p(np.maximum(p, EPSILON))) ** 2).mean(-1)


def huber(y: ArrayLike, p: ArrayLike, delta: float = 1.0) -> Array:
    """mean of e^2 / 2 where |e| <= delta, else delta |e| - delta^2 / 2, with e = p - y."""
    y, p = match_rank(y, p)
    e = np.abs(p - y)
    return np.where(e <= delta, 0.5 * e**2, delta * e - 0.5 * delta**2).mean(-1)


def log_cosh(y: ArrayLike, p: ArrayLike) -> Array:
    """mean log cosh(p - y) = e + log(1 + e^-2e) - log 2 with e = |p - y|."""
    y, p = match_rank(y, p)
    e = np.abs(p - y)
    return (e + softplus(-2.0 * e) - np.log(2.0)).mean(-1)


def signed_labels(y: Array) -> Array:
    """0, 1 -> -1, 1 when every label is 0 or 1; other labels as they are."""
    return 2.0 * y - 1.0 if np.isin(y, (0.0, 1.0)).all() else y


def hinge(y: ArrayLike, p: ArrayLike) -> Array:
    """mean max(0, 1 - y p), y in {-1, 1} or {0, 1}."""
    y, p = match_rank(y, p)
    return np.maximum(1.0 - signed_labels(y) * p, 0.0).mean(-1)


def squared_hinge(y: ArrayLike, p: ArrayLike) -> Array:
    """mean max(0, 1 - y p)^2, y in {-1, 1} or {0, 1}."""
    y, p = match_rank(y, p)
    return (np.maximum(1.0 - signed_labels(y) * p, 0.0) ** 2).mean(-1)


def categorical_hinge(y: ArrayLike, p: ArrayLike) -> Array:
    """max(0, max((1 - y) p) - sum(y p) + 1), y one-hot; the true class enters the first maximum as 0."""
    y, p = match_rank(y, p)
    return np.maximum(((1.0 - y) * p).max(-1) - (y * p).sum(-1) + 1.0, 0.0)


def kl_divergence(y: ArrayLike, p: ArrayLike) -> Array:
    """sum y log(y / p), both kept in [1e-7, 1]."""
    y, p = match_rank(y, p)
    y, p = np.clip(y, EPSILON, 1.0), np.clip(p, EPSILON, 1.0)
    return (y * np.log(y / p)).sum(-1)


def poisson(y: ArrayLike, p: ArrayLike) -> Array:
    """mean p - y log(p + 1e-7)."""
    y, p = match_rank(y, p)
    return (p - y * np.log(p + EPSILON)).mean(-1)


def cosine_similarity(y: ArrayLike, p: ArrayLike, axis: int = -1) -> Array:
    """-sum y p / (max(|y|, 1e-7) max(|p|, 1e-7)) along axis: -1 for parallel vectors."""
    y, p = match_rank(y, p)
    lengths = [np.maximum(np.sqrt((v**2).sum(axis, keepdims=True)), EPSILON) for v in (y, p)]
    return -(y / lengths[0] * p / lengths[1]).sum(axis)


def probabilities(p: ArrayLike, axis: int) -> Array:
    """p made to sum to 1 along axis, then kept in [1e-7, 1 - 1e-7]."""
    p = float64(p)
    return np.clip(p / p.sum(axis, keepdims=True), EPSILON, 1.0 - EPSILON)


def log_probabilities(p: ArrayLike, from_logits: bool, axis: int) -> Array:
    """log_softmax of logits, or the logarithm of the probabilities."""
    return log_softmax(p, axis) if from_logits else np.log(probabilities(p, axis))


def smooth_classes(y: ArrayLike, label_smoothing: float, axis: int) -> Array:
    """(1 - label_smoothing) y + label_smoothing / number of classes."""
    y = float64(y)
    return y * (1.0 - label_smoothing) + label_smoothing / y.shape[axis]


def categorical_crossentropy(
    y: ArrayLike, p: ArrayLike, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """-sum_k y_k log p_k along axis, y one-hot or any distribution."""
    return -(smooth_classes(y, label_smoothing, axis) * log_probabilities(p, from_logits, axis)).sum(axis)


def valid_labels(y: ArrayLike, p: ArrayLike, ignore_class: int | None, axis: int = -1) -> Array:
    """The mask of reduce_loss: labels, without a last axis of length 1, that are not ignore_class."""
    y, p = float64(y), np.asarray(p)
    y = np.squeeze(y, axis) if y.ndim == p.ndim else y
    return np.ones(y.shape, dtype=bool) if ignore_class is None else y != ignore_class


def sparse_categorical_crossentropy(
    y: ArrayLike,
    p: ArrayLike,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
    label_smoothing: float = 0.0,
) -> Array:
    """-log p[y]: the categorical cross-entropy of one-hot y, 0 where y is ignore_class.

    y integers (n, ...) or with an axis of length 1 in place of the classes; p (n, ..., k).
    Reduce with mask=valid_labels(...), so that ignored values do not count. label_smoothing (not in Keras) as
    in the categorical cross-entropy.
    """
    valid = valid_labels(y, p, ignore_class, axis)
    labels = float64(y).reshape(valid.shape).astype(int)
    p = np.moveaxis(float64(p), axis, -1)
    values = np.zeros(valid.shape)
    for index in np.ndindex(*valid.shape):
        if valid[index]:
            one_hot = np.zeros(p.shape[-1])
            one_hot[labels[index]] = 1.0
            values[index] = categorical_crossentropy(one_hot, p[index], from_logits, label_smoothing)
    return values


def binary_terms(y: Array, p: Array, from_logits: bool) -> Array:
    """-(y log q + (1 - y) log(1 - q)), q the probability, for every element."""
    if from_logits:
        return -(y * log_sigmoid(p) + (1.0 - y) * log_sigmoid(-p))
    q = np.clip(p, EPSILON, 1.0 - EPSILON)
    return -(y * np.log(q) + (1.0 - y) * np.log(1.0 - q))


def binary_crossentropy(
    y: ArrayLike, p: ArrayLike, from_logits: bool = False, label_smoothing: float = 0.0, axis: int = -1
) -> Array:
    """mean along axis of -(y log p + (1 - y) log(1 - p)), with y (1 - s) + s / 2 for label_smoothing s."""
    y, p = match_rank(y, p)
    return binary_terms(y * (1.0 - label_smoothing) + 0.5 * label_smoothing, p, from_logits).mean(axis)


def binary_focal_crossentropy(
    y: ArrayLike,
    p: ArrayLike,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """mean along axis of a_t (1 - p_t)^gamma bce, p_t = y p + (1 - y)(1 - p) (Lin et al. 2017).

    a_t = y alpha + (1 - y)(1 - alpha) with class balancing, else 1. Labels are smoothed before all of it;
    only the cross-entropy clips p.
    """
    y, p = match_rank(y, p)
    y = y * (1.0 - label_smoothing) + 0.5 * label_smoothing
    p = sigmoid(p) if from_logits else p
    focal = (1.0 - (y * p + (1.0 - y) * (1.0 - p))) ** gamma * binary_terms(y, p, from_logits=False)
    balance = y * alpha + (1.0 - y) * (1.0 - alpha) if apply_class_balancing else 1.0
    return (balance * focal).mean(axis)


def categorical_focal_crossentropy(
    y: ArrayLike,
    p: ArrayLike,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Array:
    """-sum_k alpha (1 - p_k)^gamma y_k log p_k along axis; logits pass through softmax and the clipping."""
    p = probabilities(softmax(p, axis) if from_logits else p, axis)
    y = smooth_classes(y, label_smoothing, axis)
    return -(alpha * (1.0 - p) ** gamma * y * np.log(p)).sum(axis)
