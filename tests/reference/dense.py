"""The fully connected layer."""

import numpy as np
from numpy.typing import ArrayLike

from .shape import Array, float64


def dense(x: ArrayLike, w: ArrayLike, bias: ArrayLike | None = None) -> Array:
    """y[..., f] = sum_c x[..., c] w[c, f] + bias[f].  x (..., c), w (c, f) -> (..., f)."""
    x, w = float64(x), float64(w)
    y = np.zeros((*x.shape[:-1], w.shape[1]))
    for c in range(w.shape[0]):
        y += x[..., c, None] * w[c]
    return y if bias is None else y + float64(bias)


def dense_gradients(dy: ArrayLike, x: ArrayLike, w: ArrayLike) -> tuple[Array, Array, Array]:
    """(dx, dw, dbias): dx[..., c] = sum_f dy[..., f] w[c, f];  dw[c, f] = sum x[..., c] dy[..., f];
    dbias[f] = sum dy[..., f].
    """
    dy, x, w = float64(dy), float64(x), float64(w)
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for c in range(w.shape[0]):
        dx[..., c] = (dy * w[c]).sum(-1)
        for f in range(w.shape[1]):
            dw[c, f] = (x[..., c] * dy[..., f]).sum()
    return dx, dw, dy.reshape(-1, w.shape[1]).sum(0)
