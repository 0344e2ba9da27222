"""Pooling on a CUDA device: a block for every row of what is written. The windows are those of `pool.py`."""

import math

import numpy as np

from fastcnn_kernels.cuda import Shape, covering, cuda, cuda_function, cuda_kernel, elements, lines
from fastcnn_kernels.cuda_intrinsics import divided, load_one, store_one
from fastcnn_kernels.elementwise import larger
from fastcnn_kernels.pool import (
    WindowGeometry,
    cells_along,
    first_window,
    is_maximum,
    last_window,
    window_start,
    window_stop,
)


@cuda_kernel(lambda x, y, g: lines(g.n * g.oh, g.ow * g.c), flatten=True)
def max_pool_forward(x, y, g):
    """y[n,oy,ox,c] = max of x[n,iy,ix,c] over the window.  x (n,h,w,c) -> y (n,oh,ow,c).  NaN wins."""
    line, length = cuda.blockIdx.x, g.ow * g.c
    n, oy = divided(line, g.oh)
    top, bottom = window_start(oy, g.sh, g.pt), window_stop(oy, g.sh, g.pt, g.kh, g.h)
    for e in range(cuda.threadIdx.x, length, cuda.blockDim.x):
        (ox, ch), best = divided(e, g.c), x.dtype.type(-math.inf)
        left, right = window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)
        for iy in range(top, bottom):
            row = (n * g.h + iy) * g.w
            for ix in range(left, right):
                best = larger(best, x[(row + ix) * g.c + ch])
        y[line * length + e] = best


@cuda_function
def is_first(x, maximum, n, oy, ox, ch, iy, ix, g):
    """Whether no cell of a window before (iy, ix), in row-major order, is its maximum."""
    left = window_start(ox, g.sw, g.pl)
    for ky in range(window_start(oy, g.sh, g.pt), iy + 1):
        row, right = (n * g.h + ky) * g.w, window_stop(ox, g.sw, g.pl, g.kw, g.w) if ky < iy else ix
        for kx in range(left, right):
            if is_maximum(x[(row + kx) * g.c + ch], maximum):
                return False
    return True


@cuda_function
def gather_gradients(x, y, dy, dx, floor, g):
    """`max_pool_backward` by cells, each of which asks all windows that it is in."""
    line, length = cuda.blockIdx.x, g.w * g.c
    n, iy = divided(line, g.h)
    top, bottom = first_window(iy, g.sh, g.pt, g.kh), last_window(iy, g.sh, g.pt, g.oh)
    for e in range(cuda.threadIdx.x, length, cuda.blockDim.x):
        (ix, ch), value, total = divided(e, g.c), x[line * length + e], dx.dtype.type(0)
        left, right = first_window(ix, g.sw, g.pl, g.kw), last_window(ix, g.sw, g.pl, g.ow)
        for oy in range(top, bottom):
            row = (n * g.oh + oy) * g.ow
            for ox in range(left, right):
                window = (row + ox) * g.c + ch
                if is_maximum(value, y[window]) and not y[window] <= floor:
                    if is_first(x, y[window], n, oy, ox, ch, iy, ix, g):
                        total += dy[window]
        dx[line * length + e] = total


def _strides_along(size: int, before: int, stride: int) -> int:
    return covering(size + before, stride)


@cuda_function
def strides_along(size, before, stride):
    """How many strides there are from the first window to the end of the image."""
    return divided(size + before + stride - 1, stride)[0]


def _are_apart(g: WindowGeometry) -> bool:
    return g.kh <= g.sh and g.kw <= g.sw


are_apart = cuda_function(_are_apart)


@cuda_function
def first_maximum(x, maximum, first, rows, columns, g):
    """Where the first cell of a window that is its maximum is; -1 if there is none. The window begins at x[first]."""
    for _ in range(rows):
        place = first
        for _ in range(columns):
            if is_maximum(load_one(x, place), maximum):
                return place
            place += g.c
        first += g.w * g.c
    return -1


@cuda_function
def scatter_gradients(x, y, dy, dx, floor, g):
    """`max_pool_backward` by windows that do not overlap, each of which writes to all cells up to the next ones."""
    down, across = strides_along(g.h, g.pt, g.sh), strides_along(g.w, g.pl, g.sw)
    column, ch = divided(cuda.grid(1), g.c)
    row, ox = divided(column, across)
    n, oy = divided(row, down)
    if n < g.n:
        top, left = window_start(oy, g.sh, g.pt), window_start(ox, g.sw, g.pl)
        first, found, gradient = ((n * g.h + top) * g.w + left) * g.c + ch, -1, dx.dtype.type(0)
        if oy < g.oh and ox < g.ow:
            window = ((n * g.oh + oy) * g.ow + ox) * g.c + ch
            maximum = load_one(y, window)
            if not maximum <= floor:
                rows = window_stop(oy, g.sh, g.pt, g.kh, g.h) - top
                columns = window_stop(ox, g.sw, g.pl, g.kw, g.w) - left
                found, gradient = first_maximum(x, maximum, first, rows, columns, g), load_one(dy, window)
        columns = window_stop(ox, g.sw, g.pl, g.sw, g.w) - left
        for _ in range(window_stop(oy, g.sh, g.pt, g.sh, g.h) - top):
            place = first
            for _ in range(columns):
                store_one(dx, place, gradient if place == found else dx.dtype.type(0))
                place += g.c
            first += g.w * g.c


def _cells(x, y, dy, dx, floor, g: WindowGeometry) -> Shape:
    if _are_apart(g):
        return elements(g.n * _strides_along(g.h, g.pt, g.sh) * _strides_along(g.w, g.pl, g.sw) * g.c)
    return lines(g.n * g.h, g.w * g.c)


@cuda_kernel(_cells, flatten=True)
def max_pool_backward(x, y, dy, dx, floor, g):
    """dx = dy at the first maximum of each window in row-major order, summed over windows, and 0 elsewhere.

    Windows whose maximum is not above `floor` count as if their dy were 0; none if it is NaN. x and y are input and
    output of the forward. x, dx (n,h,w,c); y, dy (n,oh,ow,c).
    """
    if are_apart(g):
        scatter_gradients(x, y, dy, dx, floor, g)
    else:
        gather_gradients(x, y, dy, dx, floor, g)


@cuda_kernel(lambda x, y, g: lines(g.n * g.oh, g.ow * g.c), flatten=True)
def average_pool_forward(x, y, g):
    """y[n,oy,ox,c] = mean of x[n,iy,ix,c] over the window's cells in the image.  x (n,h,w,c) -> y (n,oh,ow,c).

    Sums in float64: a window may be the whole image.
    """
    line, length = cuda.blockIdx.x, g.ow * g.c
    n, oy = divided(line, g.oh)
    top, bottom = window_start(oy, g.sh, g.pt), window_stop(oy, g.sh, g.pt, g.kh, g.h)
    height = cells_along(oy, g.sh, g.pt, g.kh, g.h)
    for e in range(cuda.threadIdx.x, length, cuda.blockDim.x):
        (ox, ch), total = divided(e, g.c), 0.0
        left, right = window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)
        for iy in range(top, bottom):
            row = (n * g.h + iy) * g.w
            for ix in range(left, right):
                total += np.float64(x[(row + ix) * g.c + ch])
        y[line * length + e] = total / (height * cells_along(ox, g.sw, g.pl, g.kw, g.w))


@cuda_kernel(lambda dy, dx, g: lines(g.n * g.h, g.w * g.c), flatten=True)
def average_pool_backward(dy, dx, g):
    """dx[n,iy,ix,c] = sum of dy / (cells of the window in the image) over the windows that cover the cell.

    dy (n,oh,ow,c) -> dx (n,h,w,c).
    """
    line, length = cuda.blockIdx.x, g.w * g.c
    n, iy = divided(line, g.h)
    top, bottom = first_window(iy, g.sh, g.pt, g.kh), last_window(iy, g.sh, g.pt, g.oh)
    for e in range(cuda.threadIdx.x, length, cuda.blockDim.x):
        (ix, ch), total = divided(e, g.c), dx.dtype.type(0)
        left, right = first_window(ix, g.sw, g.pl, g.kw), last_window(ix, g.sw, g.pl, g.ow)
        for oy in range(top, bottom):
            row, height = (n * g.oh + oy) * g.ow, cells_along(oy, g.sh, g.pt, g.kh, g.h)
            for ox in range(left, right):
                scale = 1.0 / (height * cells_along(ox, g.sw, g.pl, g.kw, g.w))
                total += dy[(row + ox) * g.c + ch] * dx.dtype.type(scale)
        dx[line * length + e] = total
