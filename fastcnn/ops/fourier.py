"""Fourier transforms, correlations and windows of arrays. A complex array is a pair: real and imaginary parts."""

from typing import Any

import numpy as np

from fastcnn.ops.known import as_floating, on_arrays

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


def fft(x: Any) -> Pair:
    """y_k = sum of x_n exp(-2 pi i k n / N), along the last axis."""
    return _pair(np.fft.fft(_complex(x)), x[0])


def fft2(x: Any) -> Pair:
    """`fft` along the last two axes."""
    return _pair(np.fft.fft2(_complex(x)), x[0])


def ifft2(x: Any) -> Pair:
    """What `fft2` undoes."""
    return _pair(np.fft.ifft2(_complex(x)), x[0])


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
