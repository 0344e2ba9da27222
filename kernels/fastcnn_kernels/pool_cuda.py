"""Pooling on a CUDA device: a block for every row of what is written. The windows are those of `pool.py`."""

import math

import numpy as np

from fastcnn_kernels.cuda import cuda, cuda_function, cuda_kernel, lines
from fastcnn_kernels.elementwise import larger
from fastcnn_kernels.pool import (
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
    n, oy = line // g.oh, line % g.oh
    top, bottom = window_start(oy, g.sh, g.pt), window_stop(oy, g.sh, g.pt, g.kh, g.h)
    for e in range(cuda.threadIdx.x, length, cuda.blockDim.x):
        ox, best = e // g.c, x.dtype.type(-math.inf)
        ch, left, right = e - ox * g.c, window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)
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


@cuda_kernel(lambda x, y, dy, dx, floor, g: lines(g.n * g.h, g.w * g.c), flatten=True)
def max_pool_backward(x, y, dy, dx, floor, g):
    """dx = dy at the first maximum of each window in row-major order, summed over windows, and 0 elsewhere.

    Windows whose maximum is not above `floor` count as if their dy were 0; none if it is NaN. x and y are input and
    output of the forward. x, dx (n,h,w,c); y, dy (n,oh,ow,c).
    """
    line, length = cuda.blockIdx.x, g.w * g.c
    n, iy = line // g.h, line % g.h
    top, bottom = first_window(iy, g.sh, g.pt, g.kh), last_window(iy, g.sh, g.pt, g.oh)
    for e in range(cuda.threadIdx.x, length, cuda.blockDim.x):
        ix, value, total = e // g.c, x[line * length + e], dx.dtype.type(0)
        ch, left, right = e - ix * g.c, first_window(ix, g.sw, g.pl, g.kw), last_window(ix, g.sw, g.pl, g.ow)
        for oy in range(top, bottom):
            row = (n * g.oh + oy) * g.ow
            for ox in range(left, right):
                window = (row + ox) * g.c + ch
                if is_maximum(value, y[window]) and not y[window] <= floor:
                    if is_first(x, y[window], n, oy, ox, ch, iy, ix, g):
                        total += dy[window]
        dx[line * length + e] = total


@cuda_kernel(lambda x, y, g: lines(g.n * g.oh, g.ow * g.c), flatten=True)
def average_pool_forward(x, y, g):
    """y[n,oy,ox,c] = mean of x[n,iy,ix,c] over the window's cells in the image.  x (n,h,w,c) -> y (n,oh,ow,c).

    Sums in float64: a window may be the whole image.
    """
    line, length = cuda.blockIdx.x, g.ow * g.c
    n, oy = line // g.oh, line % g.oh
    top, bottom = window_start(oy, g.sh, g.pt), window_stop(oy, g.sh, g.pt, g.kh, g.h)
    height = cells_along(oy, g.sh, g.pt, g.kh, g.h)
    for e in range(cuda.threadIdx.x, length, cuda.blockDim.x):
        ox, total = e // g.c, 0.0
        ch, left, right = e - ox * g.c, window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)
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
    n, iy = line // g.h, line % g.h
    top, bottom = first_window(iy, g.sh, g.pt, g.kh), last_window(iy, g.sh, g.pt, g.oh)
    for e in range(cuda.threadIdx.x, length, cuda.blockDim.x):
        ix, total = e // g.c, dx.dtype.type(0)
        ch, left, right = e - ix * g.c, first_window(ix, g.sw, g.pl, g.kw), last_window(ix, g.sw, g.pl, g.ow)
        for oy in range(top, bottom):
            row, height = (n * g.oh + oy) * g.ow, cells_along(oy, g.sh, g.pt, g.kh, g.h)
            for ox in range(left, right):
                scale = 1.0 / (height * cells_along(ox, g.sw, g.pl, g.kw, g.w))
                total += dy[(row + ox) * g.c + ch] * dx.dtype.type(scale)
        dx[line * length + e] = total
