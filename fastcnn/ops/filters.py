"""Colours, edges and likeness of images (n, h, w, c) or of one image (h, w, c)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.ops.arithmetic import log10, mod
from fastcnn.ops.conv import depthwise_conv
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.elementwise import absolute, clip, equal, square, where
from fastcnn.ops.reduction import max as largest
from fastcnn.ops.reduction import mean
from fastcnn.ops.reduction import min as smallest
from fastcnn.ops.reduction import sum as total
from fastcnn.ops.shape import expand_dims, floating, known, squeeze, stack
from fastcnn.ops.windows import check_format
from fastcnn.tensor import Tensor

__all__ = ["gaussian_blur", "hsv_to_rgb", "psnr", "rgb_to_grayscale", "rgb_to_hsv", "sobel_edges", "ssim"]


@op_function
def rgb_to_grayscale(images: Any, data_format: str | None = None) -> Any:
    """0.2989 red + 0.587 green + 0.114 blue, with one channel."""
    check_format("rgb_to_grayscale", data_format)
    x = floating(images)
    return total(x * np.array([0.2989, 0.587, 0.114], x.dtype), -1, keepdims=True)


@op_function
def rgb_to_hsv(images: Any, data_format: str | None = None) -> Any:
    """Hue, saturation and value in [0, 1] of colours in [0, 1]: the angle on the circle of colours, how far from grey,
    and the largest of red, green and blue.
    """
    check_format("rgb_to_hsv", data_format)
    x = floating(images)
    r, g, b = x[..., 0], x[..., 1], x[..., 2]
    value, range_ = largest(x, -1), largest(x, -1) - smallest(x, -1)
    grey = equal(range_, 0.0)
    span = where(grey, 1.0, range_)
    sixths = where(
        equal(value, r), (g - b) / span, where(equal(value, g), (b - r) / span + 2.0, (r - g) / span + 4.0)
    )
    hue = where(grey, 0.0, mod(sixths * (1.0 / 6.0), convert(np.ones((), x.dtype))))
    black = equal(value, 0.0)
    saturation = where(black, 0.0, range_ / where(black, 1.0, value))
    return stack([hue, saturation, value], -1)


@op_function
def hsv_to_rgb(images: Any, data_format: str | None = None) -> Any:
    """What `rgb_to_hsv` undoes: each colour is the value times 1 - saturation (1 - its share of the hue)."""
    check_format("hsv_to_rgb", data_format)
    x = floating(images)
    sixths, saturation, value = x[..., 0] * 6.0, x[..., 1], x[..., 2]
    red = clip(absolute(sixths - 3.0) - 1.0, 0.0, 1.0)
    green = clip(2.0 - absolute(sixths - 2.0), 0.0, 1.0)
    blue = clip(2.0 - absolute(sixths - 4.0), 0.0, 1.0)
    return stack([value * (1.0 - saturation * (1.0 - share)) for share in (red, green, blue)], -1)


def _filtered(x: Tensor, kernel: np.ndarray, padding: str) -> Tensor:
    """Every channel with one kernel (kh, kw)."""
    (c,) = known(x.shape[-1:])
    weights = np.repeat(kernel[:, :, None, None], c, 2).astype(x.dtype)
    return depthwise_conv(x, convert(np.ascontiguousarray(weights)), padding=padding)


def _bell(size: int, sigma: float) -> np.ndarray:
    """`size` numbers of sum 1 in the proportions of a normal distribution."""
    x = np.arange(size) - (size - 1) / 2.0
    shares = np.exp(-(x**2) / (2.0 * sigma**2))
    return np.asarray(shares / shares.sum())


@op_function
def gaussian_blur(
    images: Any, kernel_size: Sequence[int] = (3, 3), sigma: Sequence[float] = (1.0, 1.0),
    data_format: str | None = None,
) -> Any:  # fmt: skip
    """Every pixel as the mean of those around it, weighted by a normal distribution.

    kernel_size: (height, width) of what is around; sigma: the deviations along (width, height). Beyond the edge lie
    zeros.
    """
    check_format("gaussian_blur", data_format)
    x = floating(images)
    if x.ndim == 3:
        return squeeze(gaussian_blur(expand_dims(x, 0), kernel_size, sigma), 0)
    rows, columns = (_bell(size, width) for size, width in zip(kernel_size, reversed(sigma), strict=True))
    return _filtered(x, np.outer(rows, columns), "same")


SOBEL = np.array([[-1.0, -2.0, -1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 1.0]])


@op_function
def sobel_edges(images: Any, data_format: str | None = None) -> Any:
    """How fast images grow downwards and to the right: (n, h, w, c) -> (n, h, w, c, 2). Zeros lie beyond the edge."""
    check_format("sobel_edges", data_format)
    x = floating(images)
    return stack([_filtered(x, SOBEL, "same"), _filtered(x, np.ascontiguousarray(SOBEL.T), "same")], -1)


@op_function
def ssim(
    image1: Any, image2: Any, max_val: float = 1.0, filter_size: int = 11, filter_sigma: float = 1.5, k1: float = 0.01,
    k2: float = 0.03, data_format: str | None = None,
) -> Any:  # fmt: skip
    """How alike the structure of two images is, at most 1: the mean over pixels and channels of
    (2 m1 m2 + c1) (2 s12 + c2) / ((m1^2 + m2^2 + c1) (s1^2 + s2^2 + c2)), with means and variances of windows.

    Wang, Bovik, Sheikh & Simoncelli 2004, Image quality assessment.
    """
    check_format("ssim", data_format)
    x, y = floating(image1), floating(image2)
    kernel = np.outer(*[_bell(filter_size, filter_sigma)] * 2)
    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    mean_x, mean_y = _filtered(x, kernel, "valid"), _filtered(y, kernel, "valid")
    var_x = _filtered(square(x), kernel, "valid") - square(mean_x)
    var_y = _filtered(square(y), kernel, "valid") - square(mean_y)
    shared = _filtered(x * y, kernel, "valid") - mean_x * mean_y
    above = (2.0 * mean_x * mean_y + c1) * (2.0 * shared + c2)
    below = (square(mean_x) + square(mean_y) + c1) * (var_x + var_y + c2)
    return mean(above / below, (1, 2, 3))


@op_function
def psnr(x1: Any, x2: Any, max_val: float) -> Any:
    """10 log10(max_val^2 / mean of (x1 - x2)^2), in decibels."""
    error = mean(square(floating(x1) - floating(x2)))
    return 20.0 * np.log10(max_val) - 10.0 * log10(error)
