"""Activations, element by element unless an axis is named. A NaN in is a NaN out."""

import math

import numpy as np
from numpy.typing import ArrayLike

from .shape import Array, float64

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


def relu(
    x: ArrayLike, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0
) -> Array:
    """min(x, max_value) where x > threshold, else negative_slope (x - threshold).

    threshold, max_value, negative_slope >= 0.
    """
    x = float64(x)
    above = x if max_value is None else np.minimum(x, max_value)
    below = negative_slope * (x - threshold) if negative_slope else np.zeros_like(x)
    return np.where(np.isnan(x) | (x > threshold), above, below)


def relu6(x: ArrayLike) -> Array:
    """min(max(x, 0), 6)."""
    return np.minimum(np.maximum(float64(x), 0.0), 6.0)


def leaky_relu(x: ArrayLike, negative_slope: float = 0.2) -> Array:
    """x where x > 0, else negative_slope x."""
    x = float64(x)
    return np.where(x > 0, x, negative_slope * x)


def prelu(x: ArrayLike, alpha: ArrayLike) -> Array:
    """x where x > 0, else alpha x.  x (n, ...), alpha broadcast against one sample."""
    x = float64(x)
    return np.where(x > 0, x, float64(alpha) * x)


def elu(x: ArrayLike, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha (e^x - 1) (Clevert et al. 2016)."""
    x = float64(x)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def selu(x: ArrayLike) -> Array:
    """scale elu(x, alpha), with the fixed point's constants (Klambauer et al. 2017)."""
    return SELU_SCALE * elu(x, SELU_ALPHA)


def celu(x: ArrayLike, alpha: float = 1.0) -> Array:
    """max(x, 0) + min(0, alpha (e^(x / alpha) - 1)) (Barron 2017)."""
    x = float64(x)
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) / alpha))


def gelu(x: ArrayLike, approximate: bool = False) -> Array:
    """x Phi(x); approximate: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) (Hendrycks & Gimpel 2016)."""
    x = float64(x)
    if approximate:
        return 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * np.vectorize(math.erfc, otypes=[np.float64])(-x / np.sqrt(2.0))


def softplus(x: ArrayLike) -> Array:
    """log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)."""
    x = float64(x)
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def log_sigmoid(x: ArrayLike) -> Array:
    """-log(1 + e^-x)."""
    return -softplus(-float64(x))


def sigmoid(x: ArrayLike) -> Array:
    """1 / (1 + e^-x), as the exponential of its logarithm, which cannot overflow."""
    return np.exp(log_sigmoid(x))


def silu(x: ArrayLike) -> Array:
    """x sigmoid(x) (swish)."""
    return float64(x) * sigmoid(x)


def mish(x: ArrayLike) -> Array:
    """x tanh(softplus(x)) (Misra 2019)."""
    return float64(x) * np.tanh(softplus(x))


def softsign(x: ArrayLike) -> Array:
    """x / (1 + |x|)."""
    x = float64(x)
    return x / (1.0 + np.abs(x))


def squareplus(x: ArrayLike, b: float = 4.0) -> Array:
    """(x + sqrt(x^2 + b)) / 2 (Barron 2021)."""
    x = float64(x)
    return (x + np.sqrt(x * x + b)) / 2.0


def hard_sigmoid(x: ArrayLike) -> Array:
    """relu6(x + 3) / 6."""
    return relu6(float64(x) + 3.0) / 6.0


def hard_silu(x: ArrayLike) -> Array:
    """x relu6(x + 3) / 6 (hard swish)."""
    return float64(x) * hard_sigmoid(x)


def tanh(x: ArrayLike) -> Array:
    """(e^x - e^-x) / (e^x + e^-x)."""
    return np.tanh(float64(x))


def hard_tanh(x: ArrayLike) -> Array:
    """min(max(x, -1), 1)."""
    return np.minimum(np.maximum(float64(x), -1.0), 1.0)


def tanh_shrink(x: ArrayLike) -> Array:
    """x - tanh(x)."""
    return float64(x) - tanh(x)


def soft_shrink(x: ArrayLike, threshold: float = 0.5) -> Array:
    """x moved towards zero by threshold, and 0 where |x| <= threshold."""
    x = float64(x)
    return np.sign(x) * np.maximum(np.abs(x) - threshold, 0.0)


def hard_shrink(x: ArrayLike, threshold: float = 0.5) -> Array:
    """0 where |x| <= threshold, else x."""
    x = float64(x)
    return np.where(np.abs(x) <= threshold, 0.0, x)


def exponential(x: ArrayLike) -> Array:
    """e^x."""
    return np.exp(float64(x))


def linear(x: ArrayLike) -> Array:
    """x."""
    return float64(x)


def glu(x: ArrayLike, axis: int = -1) -> Array:
    """a sigmoid(b), a and b the two halves of x along axis (Dauphin et al. 2017)."""
    a, b = np.split(float64(x), 2, axis=axis)
    return a * sigmoid(b)


def log_softmax(x: ArrayLike, axis: int | tuple[int, ...] = -1) -> Array:
    """x - log sum e^x along axis, shifted by the maximum so that nothing overflows."""
    x = float64(x)
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def softmax(x: ArrayLike, axis: int | tuple[int, ...] = -1) -> Array:
    """e^x / sum e^x along axis."""
    return np.exp(log_softmax(x, axis))
