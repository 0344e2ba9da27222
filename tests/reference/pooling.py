"""Pooling by definition: a window sees only the cells that lie in the image.

So padded cells count neither for the maximum (as if -inf) nor for the mean (they are not divided by).
x (n, h, w, c) -> (n, oh, ow, c). stride None is the window's own size; padding is smaller than the window.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from .shape import Array, Padding, Pair, float64, output_size, resolve_padding, spatial


def regions(
    size: Pair, pool: Pair, stride: Pair | None, padding: Padding
) -> Iterator[tuple[int, int, slice, slice]]:
    """(oy, ox, rows, columns): the part of the image under each window."""
    stride = stride or pool
    pads = resolve_padding(padding, size, pool, stride)
    if any(max(pair) >= extent for pair, extent in zip(pads, pool, strict=True)):
        raise ValueError(f"padding {pads} leaves a window of {pool} without a cell")
    oh, ow = output_size(padding, size, pool, stride)
    for oy in range(oh):
        for ox in range(ow):
            top, left = oy * stride[0] - pads[0][0], ox * stride[1] - pads[1][0]
            rows = slice(max(top, 0), min(top + pool[0], size[0]))
            columns = slice(max(left, 0), min(left + pool[1], size[1]))
            yield oy, ox, rows, columns


def pooled(x: Array, pool: Pair, stride: Pair | None, padding: Padding) -> Array:
    """An array of the output's shape, full of NaN so that a cell nobody writes shows."""
    oh, ow = output_size(padding, spatial(x), pool, stride or pool)
    return np.full((x.shape[0], oh, ow, x.shape[3]), np.nan)


def max_pool2d(x: ArrayLike, pool: Pair, stride: Pair | None = None, padding: Padding = "valid") -> Array:
    """y[n, oy, ox, c] = max of x over the window; NaN if the window holds one."""
    x = float64(x)
    y = pooled(x, pool, stride, padding)
    for oy, ox, rows, columns in regions(spatial(x), pool, stride, padding):
        y[:, oy, ox] = x[:, rows, columns].max(axis=(1, 2))
    return y


def first_maximum(window: Array) -> Pair:
    """(row, column) of the first maximum of a window, in row-major order; a NaN beats any number."""
    best = (0, 0)
    for cell in np.ndindex(*window.shape):
        if np.isnan(window[best]):
            break
        if np.isnan(window[cell]) or window[cell] > window[best]:
            best = cell
    return best


def max_pool2d_gradient(
    dy: ArrayLike, x: ArrayLike, pool: Pair, stride: Pair | None = None, padding: Padding = "valid"
) -> Array:
    """dx at the first maximum of each window, in row-major order, += dy.  x is the input of the forward."""
    dy, x = float64(dy), float64(x)
    dx = np.zeros_like(x)
    for oy, ox, rows, columns in regions(spatial(x), pool, stride, padding):
        for n, c in np.ndindex(x.shape[0], x.shape[3]):
            row, column = first_maximum(x[n, rows, columns, c])
            dx[n, rows.start + row, columns.start + column, c] += dy[n, oy, ox, c]
    return dx


def average_pool2d(x: ArrayLike, pool: Pair, stride: Pair | None = None, padding: Padding = "valid") -> Array:
    """y[n, oy, ox, c] = mean of x over the cells of the window that lie in the image."""
    x = float64(x)
    y = pooled(x, pool, stride, padding)
    for oy, ox, rows, columns in regions(spatial(x), pool, stride, padding):
        y[:, oy, ox] = x[:, rows, columns].mean(axis=(1, 2))
    return y


def average_pool2d_gradient(
    dy: ArrayLike, size: Pair, pool: Pair, stride: Pair | None = None, padding: Padding = "valid"
) -> Array:
    """Every cell of a window gets dy / (number of cells in the image).  dy (n, oh, ow, c), size (h, w)."""
    dy = float64(dy)
    dx = np.zeros((dy.shape[0], *size, dy.shape[3]))
    for oy, ox, rows, columns in regions(size, pool, stride, padding):
        count = (rows.stop - rows.start) * (columns.stop - columns.start)
        dx[:, rows, columns] += dy[:, oy, ox][:, None, None] / count
    return dx


def global_max_pool2d(x: ArrayLike, keepdims: bool = False) -> Array:
    """y[n, c] = max over h, w of x[n, h, w, c]; (n, 1, 1, c) with keepdims."""
    return np.asarray(float64(x).max(axis=(1, 2), keepdims=keepdims))


def global_max_pool2d_gradient(dy: ArrayLike, x: ArrayLike) -> Array:
    """dy[n, c] at the first maximum of x[n, :, :, c] in row-major order.  dy (n, c) or (n, 1, 1, c)."""
    x = float64(x)
    n, h, w, c = x.shape
    return max_pool2d_gradient(float64(dy).reshape(n, 1, 1, c), x, (h, w))


def global_average_pool2d(x: ArrayLike, keepdims: bool = False) -> Array:
    """y[n, c] = mean over h, w of x[n, h, w, c]; (n, 1, 1, c) with keepdims."""
    return np.asarray(float64(x).mean(axis=(1, 2), keepdims=keepdims))


def global_average_pool2d_gradient(dy: ArrayLike, size: Pair) -> Array:
    """dx[n, h, w, c] = dy[n, c] / (h w).  dy (n, c) or (n, 1, 1, c)."""
    dy = float64(dy)
    n, c, (h, w) = dy.shape[0], dy.shape[-1], size
    return np.broadcast_to(dy.reshape(n, 1, 1, c) / (h * w), (n, h, w, c)).copy()
