"""Fourier transforms, correlations and windows of arrays. A complex array is a pair: real and imaginary parts."""

from typing import Any

import numpy as np

from fastcnn.errors import Error
from fastcnn.ops.core import convert
from fastcnn.ops.known import as_floating, on_arrays
from fastcnn.ops.matmul import matmul
from fastcnn.ops.shape import swapaxes
from fastcnn.tensor import Constant, Tensor, Variable

__all__ = [
    "bartlett", "blackman", "correlate", "fft", "fft2", "hamming", "hanning", "ifft2", "irfft", "kaiser", "rfft",
]  # fmt: skip

Pair = tuple[np.ndarray, np.ndarray]


def _complex(x: Any) -> np.ndarray:
    real, imaginary = (as_floating(part) for part in x)
    return np.asarray(real + 1j * imaginary)


def _pair(z: np.ndarray, like: Any) -> Pair:
    dtype = as_floating(like).dtype
    return z.real.astype(dtype), z.imag.astype(dtype)


def fft(x: Any) -> Any:
    """y_k = sum of x_n exp(-2 pi i k n / N), along the last axis.

    Of tensors in models it is a product with the matrix of these numbers: N^2 multiplications, and a gradient.
    """
    return _transformed(x, (-1,)) if _in_model(x) else _pair(np.fft.fft(_complex(x)), x[0])


def fft2(x: Any) -> Any:
    """`fft` along the last two axes."""
    return _transformed(x, (-1, -2)) if _in_model(x) else _pair(np.fft.fft2(_complex(x)), x[0])


def ifft2(x: Any) -> Any:
    """What `fft2` undoes."""
    return _transformed(x, (-1, -2), inverse=True) if _in_model(x) else _pair(np.fft.ifft2(_complex(x)), x[0])


def _in_model(parts: Any) -> bool:
    return any(isinstance(x, Tensor) and not isinstance(x, Variable | Constant) for x in parts)


def _transformed(parts: Any, axes: tuple[int, ...], inverse: bool = False) -> tuple[Tensor, Tensor]:
    """The transform of a pair of tensors along some axes, or its inverse."""
    real, imaginary = (convert(x) for x in parts)
    for axis in axes:
        n = real.shape[axis]
        if n is None:
            raise Error(
                f"fft: axis {axis} of shape {real.shape} is not known; give the model's Input its size"
            )
        angles = 2 * np.pi / n * (np.outer(np.arange(n), np.arange(n)) % n)
        scale, sign = (1 / n, 1) if inverse else (1.0, -1)
        cosine, sine = (scale * wave.astype(real.dtype) for wave in (np.cos(angles), sign * np.sin(angles)))
        real, imaginary = (swapaxes(x, axis, -1) for x in (real, imaginary))
        real, imaginary = (
            matmul(real, cosine) - matmul(imaginary, sine),
            matmul(real, sine) + matmul(imaginary, cosine),
        )
        real, imaginary = (swapaxes(x, axis, -1) for x in (real, imaginary))
    return real, imaginary


@on_arrays
def rfft(x: Any, fft_length: int | None = None) -> Pair:
    """The first half of `fft` of real numbers, cut or filled up with 0 to a length."""
    return _pair(np.fft.rfft(as_floating(x), fft_length), x)


def irfft(x: Any, fft_length: int | None = None) -> np.ndarray:
    """The real numbers of which `rfft` made x."""
    return np.fft.irfft(_complex(x), fft_length).astype(as_floating(x[0]).dtype)


@on_arrays
def correlate(x1: Any, x2: Any, mode: str = "valid") -> np.ndarray:
    """y_k = sum of x1[n + k] x2[n] of two vectors: wherever they meet ("full"), as many as the longer one has ("same"),
    or where the shorter one lies within ("valid").
    """
    return np.correlate(as_floating(x1), as_floating(x2), mode)  # type: ignore[call-overload]


def _window(make: Any, x: Any, *args: Any) -> np.ndarray:
    return np.asarray(make(int(x), *args), "float32")


def bartlett(x: int) -> np.ndarray:
    """A triangle of x numbers."""
    return _window(np.bartlett, x)


def blackman(x: int) -> np.ndarray:
    """Blackman's window of x numbers."""
    return _window(np.blackman, x)


def hamming(x: int) -> np.ndarray:
    """Hamming's window of x numbers."""
    return _window(np.hamming, x)


def hanning(x: int) -> np.ndarray:
    """Hann's window of x numbers."""
    return _window(np.hanning, x)


def kaiser(x: int, beta: float) -> np.ndarray:
    """Kaiser's window of x numbers; beta: how narrow."""
    return _window(np.kaiser, x, float(beta))
