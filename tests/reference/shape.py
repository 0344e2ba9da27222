"""Geometry of windows, and the operations that move numbers without computing new ones.

Images are (n, h, w, c). A padding is "same", "valid" or ((top, bottom), (left, right)).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Pair = tuple[int, int]
Padding = str | tuple[Pair, Pair]


def float64(x: ArrayLike) -> Array:
    """A float64 copy; the caller's array is never written."""
    return np.array(x, dtype=np.float64)


def spatial(x: Array) -> Pair:
    """(h, w) of an image (n, h, w, c)."""
    return x.shape[1], x.shape[2]


def effective_kernel(kernel: int, dilation: int) -> int:
    """k_eff = (k - 1) d + 1, the extent of a kernel with d - 1 holes between its taps."""
    return (kernel - 1) * dilation + 1


def same_padding(size: int, kernel: int, stride: int = 1, dilation: int = 1) -> Pair:
    """(before, after) such that the output has ceil(size / stride) cells.

    total = max((out - 1) s + k_eff - size, 0), before = total // 2: an odd cell goes to the end.
    """
    out = -(-size // stride)
    total = max((out - 1) * stride + effective_kernel(kernel, dilation) - size, 0)
    return total // 2, total - total // 2


def resolve_padding(
    padding: Padding, size: Pair, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1)
) -> tuple[Pair, Pair]:
    """((top, bottom), (left, right)) in cells, for an image of size (h, w)."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        rows, columns = (same_padding(*axis) for axis in zip(size, kernel, stride, dilation, strict=True))
        return rows, columns
    if isinstance(padding, str):
        raise ValueError(f"padding is 'same', 'valid' or ((top, bottom), (left, right)), got {padding!r}")
    return padding


def output_length(size: int, kernel: int, stride: int, dilation: int, pads: Pair) -> int:
    """floor((size + before + after - k_eff) / s) + 1."""
    room = size + sum(pads) - effective_kernel(kernel, dilation)
    if room < 0:
        raise ValueError(f"kernel {kernel} (dilation {dilation}) does not fit {size} cells padded by {pads}")
    return room // stride + 1


def output_size(
    padding: Padding, size: Pair, kernel: Pair, stride: Pair = (1, 1), dilation: Pair = (1, 1)
) -> Pair:
    """(oh, ow) of a window that slides over an image of size (h, w)."""
    pads = resolve_padding(padding, size, kernel, stride, dilation)
    oh, ow = (output_length(*axis) for axis in zip(size, kernel, stride, dilation, pads, strict=True))
    return oh, ow


def zero_pad(x: ArrayLike, pads: tuple[Pair, Pair], value: float = 0.0) -> Array:
    """x (n, h, w, c) -> (n, top + h + bottom, left + w + right, c), the border filled with value."""
    x = float64(x)
    (top, bottom), (left, right) = pads
    n, h, w, c = x.shape
    y = np.full((n, top + h + bottom, left + w + right, c), value)
    y[:, top : top + h, left : left + w] = x
    return y


def crop(x: ArrayLike, crops: tuple[Pair, Pair]) -> Array:
    """x (n, h, w, c) -> (n, h - top - bottom, w - left - right, c). The gradient of zero_pad."""
    x = float64(x)
    (top, bottom), (left, right) = crops
    return x[:, top : x.shape[1] - bottom, left : x.shape[2] - right]


def concatenate(xs: Sequence[ArrayLike], axis: int = -1) -> Array:
    """The arrays one after another along axis; all other dimensions agree."""
    return np.concatenate([float64(x) for x in xs], axis=axis)


def concatenate_gradient(dy: ArrayLike, lengths: Sequence[int], axis: int = -1) -> list[Array]:
    """dy cut into pieces of the given lengths along axis."""
    return np.split(float64(dy), np.cumsum(lengths)[:-1], axis=axis)


def upsample_nearest(x: ArrayLike, size: Pair) -> Array:
    """y[n, oy, ox] = x[n, oy // fy, ox // fx].  x (n, h, w, c), size (fy, fx) -> (n, h fy, w fx, c)."""
    x = float64(x)
    n, h, w, c = x.shape
    fy, fx = size
    y = np.empty((n, h * fy, w * fx, c))
    for oy in range(h * fy):
        for ox in range(w * fx):
            y[:, oy, ox] = x[:, oy // fy, ox // fx]
    return y


def upsample_nearest_gradient(dy: ArrayLike, size: Pair) -> Array:
    """dx[n, iy, ix] = sum of dy over the fy x fx cells that copied it."""
    dy = float64(dy)
    n, oh, ow, c = dy.shape
    fy, fx = size
    dx = np.zeros((n, oh // fy, ow // fx, c))
    for oy in range(oh):
        for ox in range(ow):
            dx[:, oy // fy, ox // fx] += dy[:, oy, ox]
    return dx


def bilinear_taps(out: int, size: int, factor: int) -> list[tuple[int, float]]:
    """The two (input cell, weight) that make output cell `out` along one axis.

    Cell centres lie at halves, so the source coordinate is (out + 1/2) / factor - 1/2; beyond the first and
    the last centre the edge cell is repeated.
    """
    source = (out + 0.5) / factor - 0.5
    first = int(np.floor(source))
    fraction = source - first
    cells = (min(max(cell, 0), size - 1) for cell in (first, first + 1))
    return list(zip(cells, (1.0 - fraction, fraction), strict=True))


def upsample_bilinear(x: ArrayLike, size: Pair) -> Array:
    """y[n, oy, ox] = sum_ij wy_i wx_j x[n, iy_i, ix_j], half-pixel centres.

    x (n, h, w, c), size (fy, fx) -> (n, h fy, w fx, c).
    """
    x = float64(x)
    n, h, w, c = x.shape
    fy, fx = size
    y = np.zeros((n, h * fy, w * fx, c))
    for oy in range(h * fy):
        for ox in range(w * fx):
            for iy, wy in bilinear_taps(oy, h, fy):
                for ix, wx in bilinear_taps(ox, w, fx):
                    y[:, oy, ox] += wy * wx * x[:, iy, ix]
    return y


def upsample_bilinear_gradient(dy: ArrayLike, size: Pair) -> Array:
    """Each dy[n, oy, ox] goes back to its four cells with the weights of the forward."""
    dy = float64(dy)
    n, oh, ow, c = dy.shape
    fy, fx = size
    h, w = oh // fy, ow // fx
    dx = np.zeros((n, h, w, c))
    for oy in range(oh):
        for ox in range(ow):
            for iy, wy in bilinear_taps(oy, h, fy):
                for ix, wx in bilinear_taps(ox, w, fx):
                    dx[:, iy, ix] += wy * wx * dy[:, oy, ox]
    return dx


Axes = int | tuple[int, ...] | None


def reduce_sum(x: ArrayLike, axis: Axes = None, keepdims: bool = False) -> Array:
    """The sum over axis (all axes when None)."""
    return np.asarray(np.sum(float64(x), axis=axis, keepdims=keepdims))


def reduce_mean(x: ArrayLike, axis: Axes = None, keepdims: bool = False) -> Array:
    """The mean over axis (all axes when None)."""
    return np.asarray(np.mean(float64(x), axis=axis, keepdims=keepdims))


def reduce_max(x: ArrayLike, axis: Axes = None, keepdims: bool = False) -> Array:
    """The maximum over axis (all axes when None); NaN if any is NaN."""
    return np.asarray(np.max(float64(x), axis=axis, keepdims=keepdims))


def reduce_min(x: ArrayLike, axis: Axes = None, keepdims: bool = False) -> Array:
    """The minimum over axis (all axes when None); NaN if any is NaN."""
    return np.asarray(np.min(float64(x), axis=axis, keepdims=keepdims))


def sum_to_shape(dy: ArrayLike, shape: tuple[int, ...]) -> Array:
    """The gradient of broadcasting `shape` to dy.shape: dy summed over every axis that was repeated."""
    dy = float64(dy)
    dx = np.zeros(shape)
    lead = dy.ndim - len(shape)
    for index in np.ndindex(*dy.shape):
        dx[tuple(0 if size == 1 else i for i, size in zip(index[lead:], shape, strict=True))] += dy[index]
    return dx
