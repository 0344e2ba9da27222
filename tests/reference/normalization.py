"""Normalisations: subtract a mean, divide by a deviation, scale by gamma, shift by beta.

Variances are biased (divided by the number of values). gamma None stands for ones, beta None for zeros.
"""

import numpy as np
from numpy.typing import ArrayLike

from .shape import Array, float64


def along(values: ArrayLike | None, ndim: int, axes: tuple[int, ...], missing: float) -> Array:
    """values reshaped to broadcast along axes of an array with ndim dimensions."""
    if values is None:
        return np.full((1,) * ndim, missing)
    values, shape = float64(values), [1] * ndim
    for axis in axes:
        shape[axis] = -1 if len(axes) == 1 else values.shape[axes.index(axis)]
    return values.reshape(shape)


def other_axes(ndim: int, axis: int) -> tuple[int, ...]:
    """Every axis but the one given."""
    return tuple(i for i in range(ndim) if i != axis % ndim)


def batch_statistics(x: ArrayLike, axis: int = -1) -> tuple[Array, Array]:
    """mean[c], var[c] = mean of (x - mean[c])^2, over all axes but the channel's."""
    x = float64(x)
    channels = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
    mean = channels.mean(1)
    return mean, ((channels - mean[:, None]) ** 2).mean(1)


def batch_norm_inference(
    x: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    mean: ArrayLike,
    variance: ArrayLike,
    epsilon: float = 1e-3,
    axis: int = -1,
) -> Array:
    """y = gamma (x - mean) / sqrt(variance + epsilon) + beta.  x (..., c); the others (c,)."""
    x = float64(x)
    channel = (axis % x.ndim,)
    centred = x - along(mean, x.ndim, channel, 0.0)
    deviation = np.sqrt(along(variance, x.ndim, channel, 1.0) + epsilon)
    return along(gamma, x.ndim, channel, 1.0) * centred / deviation + along(beta, x.ndim, channel, 0.0)


def batch_norm_training(
    x: ArrayLike,
    gamma: ArrayLike | None,
    beta: ArrayLike | None,
    epsilon: float = 1e-3,
    axis: int = -1,
) -> tuple[Array, Array, Array]:
    """(y, mean, variance): normalised with this batch's statistics (Ioffe & Szegedy 2015, Algorithm 1)."""
    mean, variance = batch_statistics(x, axis)
    return batch_norm_inference(x, gamma, beta, mean, variance, epsilon, axis), mean, variance


def moving_average(moving: ArrayLike, batch: ArrayLike, momentum: float = 0.99) -> Array:
    """moving = momentum moving + (1 - momentum) batch, for the mean and for the (biased) variance alike."""
    return float64(moving) * momentum + float64(batch) * (1.0 - momentum)


def batch_norm_training_gradients(
    dy: ArrayLike, x: ArrayLike, gamma: ArrayLike | None, epsilon: float = 1e-3, axis: int = -1
) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta), the statistics depending on x.  Over the m values of a channel, with
    s = 1 / sqrt(var + epsilon), xhat = (x - mean) s:

    dgamma = sum dy xhat;  dbeta = sum dy;  dx = gamma s (dy - dbeta / m - xhat dgamma / m).
    """
    dy, x = float64(dy), float64(x)
    mean, variance = batch_statistics(x, axis)
    rest, channel, m = other_axes(x.ndim, axis), (axis % x.ndim,), x.size // x.shape[axis]
    scale = 1.0 / np.sqrt(along(variance, x.ndim, channel, 1.0) + epsilon)
    xhat = (x - along(mean, x.ndim, channel, 0.0)) * scale
    dgamma, dbeta = (dy * xhat).sum(rest, keepdims=True), dy.sum(rest, keepdims=True)
    dx = along(gamma, x.ndim, channel, 1.0) * scale * (dy - dbeta / m - xhat * dgamma / m)
    return dx, dgamma.reshape(-1), dbeta.reshape(-1)


def batch_norm_inference_gradients(
    dy: ArrayLike,
    x: ArrayLike,
    gamma: ArrayLike | None,
    mean: ArrayLike,
    variance: ArrayLike,
    epsilon: float = 1e-3,
    axis: int = -1,
) -> tuple[Array, Array, Array]:
    """(dx, dgamma, dbeta), the statistics constant, s and xhat as in training.

    dgamma = sum dy xhat;  dbeta = sum dy;  dx = gamma s dy.
    """
    dy, x = float64(dy), float64(x)
    rest, channel = other_axes(x.ndim, axis), (axis % x.ndim,)
    xhat = batch_norm_inference(x, None, None, mean, variance, epsilon, axis)
    scale = 1.0 / np.sqrt(along(variance, x.ndim, channel, 1.0) + epsilon)
    return along(gamma, x.ndim, channel, 1.0) * scale * dy, (dy * xhat).sum(rest), dy.sum(rest)


def layer_norm(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    axis: int | tuple[int, ...] = -1,
    epsilon: float = 1e-3,
) -> Array:
    """y = gamma (x - mean) / sqrt(var + epsilon) + beta, statistics over axis only (Ba et al. 2016).

    x (n, ..., c); gamma, beta have the shape of x along axis.
    """
    x = float64(x)
    axes = tuple(sorted(i % x.ndim for i in ((axis,) if isinstance(axis, int) else axis)))
    mean = x.mean(axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axes, keepdims=True)
    y = (x - mean) / np.sqrt(variance + epsilon)
    return along(gamma, x.ndim, axes, 1.0) * y + along(beta, x.ndim, axes, 0.0)


def group_norm(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    groups: int = 32,
    epsilon: float = 1e-3,
) -> Array:
    """As layer_norm, statistics over all pixels and c / groups neighbouring channels (Wu & He 2018).

    x (n, ..., c), gamma, beta (c,); groups -1: each channel its own group (instance normalisation).
    """
    x = float64(x)
    channels = x.shape[-1]
    width = 1 if groups == -1 else channels // groups
    y = np.empty_like(x)
    for n in range(x.shape[0]):
        for first in range(0, channels, width):
            group = x[n, ..., first : first + width]
            deviation = np.sqrt(((group - group.mean()) ** 2).mean() + epsilon)
            y[n, ..., first : first + width] = (group - group.mean()) / deviation
    return along(gamma, x.ndim, (x.ndim - 1,), 1.0) * y + along(beta, x.ndim, (x.ndim - 1,), 0.0)
