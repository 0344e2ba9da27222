"""Images (n, h, w, c), or one image (h, w, c): other sizes, other colours, parts of them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.errors import Error, did_you_mean
from fastcnn.ops.conv import conv
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.matmul import dense
from fastcnn.ops.reduction import sum as total
from fastcnn.ops.shape import expand_dims, known, squeeze, swapaxes
from fastcnn.ops.shape import resize as resize_by_kernel
from fastcnn.tensor import Tensor

__all__ = ["extract_patches", "resize", "rgb_to_grayscale"]


def _cubic(x: np.ndarray) -> np.ndarray:
    """The cubic of Keys 1981 with a = -1/2, which vanishes from 2 on."""
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _lanczos(radius: int) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.where(x < radius, np.sinc(x) * np.sinc(x / radius), 0.0)


KERNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "bilinear": lambda x: np.maximum(1.0 - x, 0.0),
    "bicubic": _cubic,
    "lanczos3": _lanczos(3),
    "lanczos5": _lanczos(5),
}
INTERPOLATIONS = ("nearest", *KERNELS)


def weights_of(n: int, size: int, interpolation: str, antialias: bool) -> np.ndarray:
    """(n, size): the share of each of n cells in each of `size` cells, as the kernel of their distance says.

    antialias: where cells become fewer, the kernel becomes as much wider.
    """
    width = max(n / size, 1.0) if antialias else 1.0
    centers = (np.arange(size) + 0.5) * n / size
    weights = KERNELS[interpolation](np.abs(np.arange(n)[:, None] + 0.5 - centers) / width)
    return np.asarray(weights / weights.sum(0))


@op_function
def resize(
    images: Any, size: int | Sequence[int], interpolation: str = "bilinear", antialias: bool = False
) -> Any:
    """Images of another size (height, width).

    interpolation: "nearest", "bilinear", "bicubic", "lanczos3" or "lanczos5"; pixel centres are at halves, and pixels
    beyond the edge have no weight. antialias: average over what a smaller image leaves out.
    """
    if interpolation not in INTERPOLATIONS:
        raise Error(
            f"resize: interpolation {interpolation!r} is unknown{did_you_mean(interpolation, INTERPOLATIONS)}"
        )
    x = convert(images)
    if x.ndim == 3:
        return squeeze(resize(expand_dims(x, 0), size, interpolation, antialias), 0)
    h, w = (size, size) if isinstance(size, int) else size
    if interpolation == "nearest" or (interpolation == "bilinear" and not antialias):
        return resize_by_kernel(x, (h, w), interpolation)
    for axis, length in ((1, h), (2, w)):
        x = _along(x, axis, length, interpolation, antialias)
    return x


def _along(x: Tensor, axis: int, size: int, interpolation: str, antialias: bool) -> Tensor:
    (n,) = known(x.shape[axis : axis + 1])
    weights = weights_of(n, size, interpolation, antialias).astype(x.dtype)
    return swapaxes(dense(swapaxes(x, axis, -1), convert(weights)), axis, -1)


@op_function
def rgb_to_grayscale(images: Any) -> Any:
    """0.2989 red + 0.587 green + 0.114 blue, with one channel."""
    x = convert(images)
    return total(x * np.array([0.2989, 0.587, 0.114], x.dtype), -1, keepdims=True)


@op_function
def extract_patches(
    images: Any,
    size: int | Sequence[int],
    strides: Any = None,
    dilation_rate: Any = 1,
    padding: str = "valid",
) -> Any:
    """Windows of `size` (height, width) side by side: (n, oh, ow, kh kw c). strides: default, the size."""
    x = convert(images)
    kh, kw = (size, size) if isinstance(size, int) else size
    (c,) = known(x.shape[-1:])
    kernel = np.eye(kh * kw * c, dtype=x.dtype).reshape(kh, kw, c, kh * kw * c)
    return conv(
        x, convert(kernel), (kh, kw) if strides is None else strides, padding, dilation_rate=dilation_rate
    )
