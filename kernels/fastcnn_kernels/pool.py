"""Pooling: each output cell sees the part of its window that lies in the image; padded cells count for nothing.

Window row `ky` of output row `oy` is input row `iy = oy * sh - pt + ky`; columns likewise. Images are NHWC.
"""

import math
from typing import NamedTuple

import numpy as np

from fastcnn_kernels.elementwise import larger
from fastcnn_kernels.jit import cpu_kernel, device_function, scalar, shape_function, stack_array

BLOCK = 256  # channels whose running results are kept on the stack
FEW = 12  # channels: with fewer, a loop over them is too short to be worth its start


class WindowGeometry(NamedTuple):
    """A window of kh x kw cells that moves by sh, sw over an image padded by pt above and pl on the left."""

    n: int
    h: int
    w: int
    c: int
    kh: int
    kw: int
    sh: int
    sw: int
    pt: int
    pl: int
    oh: int
    ow: int


@scalar
def window_start(o, stride, pad):
    """First input cell of window `o` that lies in the image."""
    return max(0, o * stride - pad)


@scalar
def window_stop(o, stride, pad, kernel, size):
    """One past the last input cell of window `o` that lies in the image."""
    return min(size, o * stride - pad + kernel)


@scalar
def first_window(i, stride, pad, kernel):
    """The first window that covers input cell `i` or a later one."""
    return max(0, (i + pad - kernel) // stride + 1)


@scalar
def last_window(i, stride, pad, out):
    """One past the last of `out` windows that cover input cell `i` or an earlier one."""
    return min(out, (i + pad) // stride + 1)


@scalar
def is_maximum(x, y):
    """Whether x is the maximum y of a set that holds it; the maximum of a set with a NaN is NaN."""
    return x == y or x != x


@cpu_kernel(lambda x, y, g: g.n * g.oh)
def max_pool_forward(x, y, g, first, last):
    """y[n,oy,ox,c] = max of x[n,iy,ix,c] over the window.  x (n,h,w,c) -> y (n,oh,ow,c).  NaN wins."""
    for item in range(first, last):
        n, oy = item // g.oh, item % g.oh
        for ox in range(g.ow):
            ys = y[n, oy, ox]
            for ch in range(g.c):
                ys[ch] = -math.inf
            for iy in range(window_start(oy, g.sh, g.pt), window_stop(oy, g.sh, g.pt, g.kh, g.h)):
                for ix in range(window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)):
                    xs = x[n, iy, ix]
                    for ch in range(g.c):
                        ys[ch] = larger(ys[ch], xs[ch])


@shape_function
def band_count(g):
    """The input rows fall into bands of sh rows, such that window row oy starts where band oy does."""
    return (g.h - 1 + g.pt) // g.sh + 1


@cpu_kernel(lambda x, y, dy, dx, floor, g: g.n * band_count(g))
def max_pool_backward(x, y, dy, dx, floor, g, first, last):
    """dx = dy at the first maximum of each window in row-major order, summed over windows, and 0 elsewhere.

    Windows whose maximum is not above `floor` count as if their dy were 0; none if it is NaN. x and y are input and
    output of the forward. x, dx (n,h,w,c); y, dy (n,oh,ow,c). An item writes one band of dx; it walks every window
    that reaches into the band from the window's top, so that "first" is known.
    """
    pending, flat_x, flat_dx = stack_array(dy, BLOCK), x.reshape(x.size), dx.reshape(dx.size)
    bands, floor = band_count(g), x.dtype.type(floor)
    for item in range(first, last):
        n, band = item // bands, item % bands
        top, bottom = window_start(band, g.sh, g.pt), window_stop(band, g.sh, g.pt, g.sh, g.h)
        clear(dx[n, top:bottom])
        for oy in range(first_window(top, g.sh, g.pt, g.kh), min(g.oh, band + 1)):
            for ox in range(g.ow):
                if g.c < FEW:
                    for ch in range(g.c):
                        maximum, gradient = y[n, oy, ox, ch], dy[n, oy, ox, ch]
                        if not maximum <= floor:
                            route_one(flat_x, maximum, gradient, flat_dx, n, oy, ox, ch, top, bottom, g)
                    continue
                for start in range(0, g.c, BLOCK):
                    maxima, gradients = y[n, oy, ox], dy[n, oy, ox]
                    route(x[n], maxima, gradients, dx[n], pending, floor, oy, ox, start, top, bottom, g)


@device_function
def clear(dx):
    """dx = 0."""
    flat = dx.reshape(dx.size)
    for i in range(flat.size):
        flat[i] = 0


@device_function
def route(x, y, dy, dx, pending, floor, oy, ox, start, top, bottom, g):
    """Add dy of one window to the first maximum of each channel from `start` on, if it is in rows [top, bottom).

    `pending` holds the gradient until the maximum is met, then zero.
    """
    nothing = dy.dtype.type(0)
    stop = min(g.c, start + BLOCK)
    ys, dys, wait = y[start:stop], dy[start:stop], pending[: stop - start]
    for j in range(wait.size):
        wait[j] = nothing if ys[j] <= floor else dys[j]
    for iy in range(window_start(oy, g.sh, g.pt), min(bottom, window_stop(oy, g.sh, g.pt, g.kh, g.h))):
        for ix in range(window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)):
            xs, dxs = x[iy, ix, start:stop], dx[iy, ix, start:stop]
            if iy < top:
                for j in range(wait.size):
                    wait[j] = nothing if is_maximum(xs[j], ys[j]) else wait[j]
            else:
                for j in range(wait.size):
                    hit = is_maximum(xs[j], ys[j])
                    dxs[j] += wait[j] if hit else nothing
                    wait[j] = nothing if hit else wait[j]


@device_function
def route_one(x, maximum, gradient, dx, n, oy, ox, ch, top, bottom, g):
    """`route` of a single channel.  x, dx: the images in one dimension."""
    first, last = window_start(oy, g.sh, g.pt), min(bottom, window_stop(oy, g.sh, g.pt, g.kh, g.h))
    left, right = window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)
    for iy in range(first, last):
        at = ((n * g.h + iy) * g.w + left) * g.c + ch
        for i in range(right - left):
            if is_maximum(x[at + i * g.c], maximum):
                if iy >= top:
                    dx[at + i * g.c] += gradient
                return


@scalar
def cells_along(o, stride, pad, kernel, size):
    """How many cells of window `o` lie in the image."""
    return max(1, window_stop(o, stride, pad, kernel, size) - window_start(o, stride, pad))


@cpu_kernel(lambda x, y, g: g.n * g.oh)
def average_pool_forward(x, y, g, first, last):
    """y[n,oy,ox,c] = mean of x[n,iy,ix,c] over the window's cells in the image.  x (n,h,w,c) -> y (n,oh,ow,c).

    Sums in float64: a window may be the whole image.
    """
    total = stack_array(np.float64, BLOCK)
    for item in range(first, last):
        n, oy = item // g.oh, item % g.oh
        height = cells_along(oy, g.sh, g.pt, g.kh, g.h)
        for ox in range(g.ow):
            scale = 1.0 / (height * cells_along(ox, g.sw, g.pl, g.kw, g.w))
            for start in range(0, g.c, BLOCK):
                ys = y[n, oy, ox, start : min(g.c, start + BLOCK)]
                sum_window(x[n], total, oy, ox, start, g)
                for j in range(ys.size):
                    ys[j] = total[j] * scale


@device_function
def sum_window(x, total, oy, ox, start, g):
    """total[j] = sum of x over one window, for channels start + j."""
    stop = min(g.c, start + BLOCK)
    for j in range(stop - start):
        total[j] = 0.0
    for iy in range(window_start(oy, g.sh, g.pt), window_stop(oy, g.sh, g.pt, g.kh, g.h)):
        for ix in range(window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)):
            xs = x[iy, ix, start:stop]
            for j in range(xs.size):
                total[j] += xs[j]


@cpu_kernel(lambda dy, dx, g: g.n * g.h)
def average_pool_backward(dy, dx, g, first, last):
    """dx[n,iy,ix,c] = sum of dy / (cells of the window in the image) over the windows that cover the cell.

    dy (n,oh,ow,c) -> dx (n,h,w,c).
    """
    for item in range(first, last):
        n, iy = item // g.h, item % g.h
        clear(dx[n, iy])
        for ix in range(g.w):
            dxs = dx[n, iy, ix]
            for oy in range(first_window(iy, g.sh, g.pt, g.kh), last_window(iy, g.sh, g.pt, g.oh)):
                height = cells_along(oy, g.sh, g.pt, g.kh, g.h)
                for ox in range(first_window(ix, g.sw, g.pl, g.kw), last_window(ix, g.sw, g.pl, g.ow)):
                    scale = dx.dtype.type(1.0 / (height * cells_along(ox, g.sw, g.pl, g.kw, g.w)))
                    dys = dy[n, oy, ox]
                    for ch in range(g.c):
                        dxs[ch] += dys[ch] * scale
