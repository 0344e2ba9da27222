"""Derivatives by differences, and how far two arrays are apart."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from .shape import Array, float64


def numeric_gradient(f: Callable[[Array], float | Array], x: ArrayLike, eps: float = 1e-5) -> Array:
    """df/dx[i] = (f(x + eps e_i) - f(x - eps e_i)) / (2 eps), in float64.  f maps x to one number.

    Truncation costs eps^2 f'''/6 and rounding 1e-16 |f| / eps; 1e-5 balances the two for values near 1.
    """
    x = float64(x)
    gradient = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        above, below = x.copy(), x.copy()
        above[index] += eps
        below[index] -= eps
        gradient[index] = (float(f(above)) - float(f(below))) / (above[index] - below[index])
    return gradient


def relative_error(a: ArrayLike, b: ArrayLike) -> float:
    """||a - b|| / (||a|| + ||b||), 0 when both vanish; NaN if either holds a NaN."""
    a, b = float64(a), float64(b)
    if a.shape != b.shape:
        raise ValueError(f"shapes differ: {a.shape} and {b.shape}")
    distance, scale = np.linalg.norm(a - b), np.linalg.norm(a) + np.linalg.norm(b)
    return 0.0 if scale == 0 else float(distance / scale)
