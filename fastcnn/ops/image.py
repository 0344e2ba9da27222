"""Images (n, h, w, c), or one image (h, w, c): other sizes, other colours, parts of them."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.errors import Error, did_you_mean, missing_name
from fastcnn.ops.arithmetic import saturate_cast
from fastcnn.ops.conv import conv
from fastcnn.ops.core import convert, dtype_kept, dtypes_of, is_floating, op_function
from fastcnn.ops.elementwise import round
from fastcnn.ops.filters import gaussian_blur, hsv_to_rgb, rgb_to_grayscale, rgb_to_hsv, sobel_edges, ssim
from fastcnn.ops.geometry import affine_transform, map_coordinates, perspective_transform
from fastcnn.ops.matmul import dense
from fastcnn.ops.shape import (
    expand_dims,
    floating,
    known,
    moveaxis,
    pad,
    reshape,
    squeeze,
    swapaxes,
    take,
    transpose,
)
from fastcnn.ops.shape import resize as resize_by_kernel
from fastcnn.ops.windows import check_format
from fastcnn.tensor import Tensor

__all__ = [
    "affine_transform", "crop_images", "extract_patches", "extract_patches_3d", "gaussian_blur", "hsv_to_rgb",
    "map_coordinates", "pad_images", "perspective_transform", "resize", "rgb_to_grayscale", "rgb_to_hsv",
    "scale_and_translate", "sobel_edges", "ssim",
]  # fmt: skip


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


def weights_of(
    n: int, size: int, interpolation: str, antialias: bool, scale: float | None = None, translation: float = 0.0
) -> np.ndarray:  # fmt: skip
    """(n, size): the share of each of n cells in each of `size` cells, as the kernel of their distance says.

    Cell x lies at scale x + translation, scale by default size / n. antialias: where cells become fewer, the kernel
    becomes as much wider.
    """
    step = n / size if scale is None else 1.0 / scale
    width = max(step, 1.0) if antialias else 1.0
    centers = (np.arange(size) + 0.5 - translation) * step
    weights = KERNELS[interpolation](np.abs(np.arange(n)[:, None] + 0.5 - centers) / width)
    total = weights.sum(0)
    inside = (centers >= 0) & (centers <= n) & (np.abs(total) > 1e-6)
    return np.asarray(np.where(inside, weights / np.where(inside, total, 1.0), 0.0))


def _along(x: Tensor, axis: int, weights: np.ndarray) -> Tensor:
    return swapaxes(dense(swapaxes(x, axis, -1), convert(weights.astype(x.dtype))), axis, -1)


def _as_given(y: Any, images: Any) -> Any:
    """y in the dtype of images: rounded, where these are whole."""
    dtypes = dtypes_of(images)
    return y if not dtypes or is_floating(dtypes[0]) else saturate_cast(round(y), dtypes[0])


def resize(
    images: Any, size: int | Sequence[int], interpolation: str = "bilinear", antialias: bool = False,
    crop_to_aspect_ratio: bool = False, pad_to_aspect_ratio: bool = False, fill_mode: str = "constant",
    fill_value: float = 0.0, data_format: str | None = None,
) -> Any:  # fmt: skip
    """Images of another size (height, width).

    interpolation: "nearest", "bilinear", "bicubic", "lanczos3" or "lanczos5"; pixel centres are at halves, and pixels
    beyond the edge have no weight. antialias: average over what a smaller image leaves out. Where the ratio of height
    and width changes, images are distorted, or first cropped or padded with fill_value around the middle.
    """
    if interpolation not in INTERPOLATIONS:
        raise Error(
            f"resize: interpolation {interpolation!r} is unknown{did_you_mean(interpolation, INTERPOLATIONS)}"
        )
    if fill_mode != "constant" or (crop_to_aspect_ratio and pad_to_aspect_ratio):
        raise Error("resize: fill_mode must be 'constant', and images are either cropped or padded")
    check_format("resize", data_format)
    sides = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    ratio = "crop" if crop_to_aspect_ratio else "pad" if pad_to_aspect_ratio else None
    return _as_given(_resized(images, sides, interpolation, antialias, ratio, float(fill_value)), images)


@op_function
def _resized(
    images: Any, size: tuple[int, int], interpolation: str, antialias: bool, ratio: str | None, value: float
) -> Any:
    x = floating(images)
    if x.ndim == 3:
        return squeeze(_resized(expand_dims(x, 0), size, interpolation, antialias, ratio, value), 0)
    x = x if ratio is None else _of_ratio(x, size, ratio, value)
    if interpolation == "nearest" or (interpolation == "bilinear" and not antialias):
        return resize_by_kernel(x, size, interpolation)
    for axis, length in enumerate(size, 1):
        (n,) = known(x.shape[axis : axis + 1])
        x = _along(x, axis, weights_of(n, length, interpolation, antialias))
    return x


def _of_ratio(x: Tensor, size: tuple[int, int], ratio: str, value: float) -> Tensor:
    """The largest part of images, or the smallest larger ones, whose height and width are as those of `size`."""
    h, w = known(x.shape[1:3])
    sides = (int(w * size[0] / size[1]), int(h * size[1] / size[0]))
    if ratio == "crop":
        height, width = max(min(h, sides[0]), 1), max(min(w, sides[1]), 1)
        top, left = (h - height) // 2, (w - width) // 2
        return x[:, top : top + height, left : left + width]
    height, width = max(h, sides[0]), max(w, sides[1])
    top, left = (height - h) // 2, (width - w) // 2
    return pad(x, [(0, 0), (top, top), (left, left), (0, 0)], constant_values=value)  # an odd row is left out


def scale_and_translate(
    images: Any, output_shape: Sequence[int], scale: Any, translation: Any, spatial_dims: Sequence[int], method: str,
    antialias: bool = True,
) -> Any:  # fmt: skip
    """Images whose cell x lies at scale x + translation of the output, along each of spatial_dims.

    method: "bilinear" (or "linear"), "bicubic" ("cubic"), "lanczos3" or "lanczos5".
    """
    kernel = {"linear": "bilinear", "triangle": "bilinear", "cubic": "bicubic"}.get(method, method)
    if kernel not in KERNELS:
        raise Error(f"scale_and_translate: method {method!r} is unknown{did_you_mean(method, KERNELS)}")
    steps, shifts = np.asarray(scale, float).tolist(), np.asarray(translation, float).tolist()
    moves = [
        (axis, output_shape[axis], *move) for axis, *move in zip(spatial_dims, steps, shifts, strict=True)
    ]
    return _moved(images, moves, kernel, antialias)


@op_function
def _moved(images: Any, moves: Sequence[tuple], kernel: str, antialias: bool) -> Any:
    x = floating(images)
    for axis, size, step, shift in moves:
        (n,) = known(x.shape[axis : axis + 1])
        x = _along(x, axis, weights_of(n, size, kernel, antialias, step, shift))
    return x


# --- parts and borders -----------------------------------------------------------------------------------------


def _border(what: str, before: int | None, after: int | None, rest: int | None) -> tuple[int, int]:
    """(before, after), of which at most one is None and follows from their sum."""
    if [before, after, rest].count(None) != 1:
        raise Error(
            f"{what}: for height and for width each give exactly two of the two sides and the target size"
        )
    if rest is not None and before is None:
        before = rest - (after or 0)
    elif rest is not None and after is None:
        after = rest - (before or 0)
    sides = before or 0, after or 0
    if min(sides) < 0:
        raise Error(f"{what}: the sides {sides} must not be negative; choose another target size")
    return sides


@dtype_kept
def pad_images(
    images: Any, top_padding: int | None = None, left_padding: int | None = None, bottom_padding: int | None = None,
    right_padding: int | None = None, target_height: int | None = None, target_width: int | None = None,
    data_format: str | None = None,
) -> Any:  # fmt: skip
    """Images with a border of zeros; of each direction two of both sides and of the new size are given."""
    check_format("pad_images", data_format)
    x = convert(images)
    h, w = known(x.shape[-3:-1])
    rows = _border("pad_images", top_padding, bottom_padding, target_height and target_height - h)
    columns = _border("pad_images", left_padding, right_padding, target_width and target_width - w)
    return pad(x, [*[(0, 0)] * (x.ndim - 3), rows, columns, (0, 0)])


@dtype_kept
def crop_images(
    images: Any, top_cropping: int | None = None, left_cropping: int | None = None, bottom_cropping: int | None = None,
    right_cropping: int | None = None, target_height: int | None = None, target_width: int | None = None,
    data_format: str | None = None,
) -> Any:  # fmt: skip
    """Images without a border; of each direction two of both sides and of the new size are given."""
    check_format("crop_images", data_format)
    x = convert(images)
    h, w = known(x.shape[-3:-1])
    top, bottom = _border("crop_images", top_cropping, bottom_cropping, target_height and h - target_height)
    left, right = _border("crop_images", left_cropping, right_cropping, target_width and w - target_width)
    return x[..., top : h - bottom, left : w - right, :]


@op_function
def extract_patches(
    images: Any, size: int | Sequence[int], strides: Any = None, dilation_rate: Any = 1, padding: str = "valid",
    data_format: str | None = None,
) -> Any:  # fmt: skip
    """Windows of `size` (height, width) side by side: (n, oh, ow, kh kw c). strides: default, the size."""
    check_format("extract_patches", data_format)
    if not isinstance(size, int) and len(size) == 3:
        return extract_patches_3d(images, size, strides, dilation_rate, padding, data_format)
    x = floating(images)
    if x.ndim == 3:
        return squeeze(extract_patches(expand_dims(x, 0), size, strides, dilation_rate, padding), 0)
    kh, kw = (size, size) if isinstance(size, int) else size
    (c,) = known(x.shape[-1:])
    kernel = np.eye(kh * kw * c, dtype=x.dtype).reshape(kh, kw, c, kh * kw * c)
    return conv(
        x, convert(kernel), (kh, kw) if strides is None else strides, padding, dilation_rate=dilation_rate
    )


@op_function
def extract_patches_3d(
    volumes: Any, size: int | Sequence[int], strides: Any = None, dilation_rate: Any = 1, padding: str = "valid",
    data_format: str | None = None,
) -> Any:  # fmt: skip
    """Boxes of `size` (depth, height, width) side by side: (n, od, oh, ow, kd kh kw c), without padding."""
    check_format("extract_patches_3d", data_format)
    if padding != "valid":
        raise Error("extract_patches_3d: padding must be 'valid'; pad the volumes before")
    x = floating(volumes)
    if x.ndim == 4:
        return squeeze(extract_patches_3d(expand_dims(x, 0), size, strides, dilation_rate), 0)
    kernel = [size] * 3 if isinstance(size, int) else list(size)
    steps = kernel if strides is None else [strides] * 3 if isinstance(strides, int) else list(strides)
    rates = [dilation_rate] * 3 if isinstance(dilation_rate, int) else list(dilation_rate)
    for axis, (taps, step, rate) in enumerate(zip(kernel, steps, rates, strict=True), 1):
        x = _windows(x, axis, taps, step, rate)  # the place in the window becomes the last axis
    rank = x.ndim
    x = transpose(x, (*range(rank - 4), *range(rank - 3, rank), rank - 4))
    return reshape(x, (-1, *known(x.shape[1:4]), int(np.prod(known(x.shape[4:])))))


def _windows(x: Tensor, axis: int, taps: int, step: int, rate: int) -> Tensor:
    (n,) = known(x.shape[axis : axis + 1])
    starts = np.arange(0, n - (taps - 1) * rate, step)
    return moveaxis(take(x, starts[:, None] + rate * np.arange(taps), axis), axis + 1, -1)


def __getattr__(name: str) -> Any:
    """Called for names that are not here."""
    raise missing_name(__name__, name, __all__)
