"""Moving numbers on a CUDA device, and resizing of images: the kernels of `shape.py`, a thread an element."""

import math

from fastcnn_kernels.cuda import cuda, cuda_function, cuda_kernel, elements, flat
from fastcnn_kernels.shape import (
    first_linear,
    first_nearest,
    last_linear,
    linear_source,
    linear_weight,
    nearest_source,
    row_of,
)


@cuda_function
def box_size(shape):
    """Elements of a box."""
    return shape[0] * shape[1] * shape[2] * shape[3] * shape[4] * shape[5]


@cuda_kernel(lambda x, y, g: elements(math.prod(g.shape)))
def strided_copy(x, y, g):
    """y[y_offset + sum index y_strides] = x[x_offset + sum index x_strides] for each index in the box."""
    s, xs, ys = g.shape, g.x_strides, g.y_strides
    e = cuda.grid(1)
    if e < box_size(s):
        i5, e5 = e % s[5], e // s[5]
        i4, e4 = e5 % s[4], e5 // s[4]
        i3, e3 = e4 % s[3], e4 // s[3]
        i2, e2 = e3 % s[2], e3 // s[2]
        i1, i0 = e2 % s[1], e2 // s[1]
        source = i0 * xs[0] + i1 * xs[1] + i2 * xs[2] + i3 * xs[3] + i4 * xs[4] + i5 * xs[5]
        target = i0 * ys[0] + i1 * ys[1] + i2 * ys[2] + i3 * ys[3] + i4 * ys[4] + i5 * ys[5]
        y[g.y_offset + target] = x[g.x_offset + source]


@cuda_kernel(flat)
def cast(x, y):
    """y = x in the dtype of y. A fraction is cut off on the way to an integer, which must be able to hold it."""
    i = cuda.grid(1)
    if i < x.size:
        y[i] = x[i]


@cuda_kernel(lambda x, index, y: elements(y.size))
def take_rows(x, index, y):
    """y[k] = x[index[k]], cast to the dtype of y; NaN for an index that is out of range.

    x (r,c), index (k,) whole numbers of any dtype, y (k,c) floating.
    """
    c = y.shape[1]
    e = cuda.grid(1)
    if e < y.size:
        row = row_of(index[e // c], x.shape[0])
        if row < 0:
            y[e // c, e % c] = math.nan
        else:
            y[e // c, e % c] = x[row, e % c]


@cuda_kernel(lambda index, dy, dx: elements(dx.shape[1]))
def take_rows_backward(index, dy, dx):
    """dx[r] = sum of dy[k] over the k with index[k] = r.  index (k,), dy (k,c), dx (r,c).

    A thread owns a column of dx, so that rows may repeat without two threads writing one element.
    """
    j = cuda.grid(1)
    if j < dx.shape[1]:
        for r in range(dx.shape[0]):
            dx[r, j] = 0
        for k in range(index.size):
            row = row_of(index[k], dx.shape[0])
            if row >= 0:
                dx[row, j] += dy[k, j]


# --- resizing ------------------------------------------------------------------------------------------------


@cuda_kernel(lambda x, y, g: elements(y.size))
def resize_nearest_forward(x, y, g):
    """y[n,oy,ox] = x at the pixel under the centre of (oy, ox).  x (n,h,w,c) -> y (n,oh,ow,c)."""
    e = cuda.grid(1)
    if e < y.size:
        ch, ox, oy, n = e % g.c, e // g.c % g.ow, e // g.c // g.ow % g.oh, e // g.c // g.ow // g.oh
        y[n, oy, ox, ch] = x[n, nearest_source(oy, g.h, g.oh), nearest_source(ox, g.w, g.ow), ch]


@cuda_kernel(lambda dy, dx, g: elements(dx.size))
def resize_nearest_backward(dy, dx, g):
    """dx[n,iy,ix] = sum of dy over the output pixels that copied it.  dy (n,oh,ow,c) -> dx (n,h,w,c)."""
    e = cuda.grid(1)
    if e < dx.size:
        ch, ix, iy, n = e % g.c, e // g.c % g.w, e // g.c // g.w % g.h, e // g.c // g.w // g.h
        total = dx.dtype.type(0)
        for oy in range(first_nearest(iy, g.h, g.oh), first_nearest(iy + 1, g.h, g.oh)):
            for ox in range(first_nearest(ix, g.w, g.ow), first_nearest(ix + 1, g.w, g.ow)):
                total += dy[n, oy, ox, ch]
        dx[n, iy, ix, ch] = total


@cuda_kernel(lambda x, y, g: elements(y.size))
def resize_bilinear_forward(x, y, g):
    """y[n,oy,ox] = sum of wy wx x over the four pixels around the centre of (oy, ox).

    x (n,h,w,c) -> y (n,oh,ow,c); weights by `linear_weight`, edges repeated.
    """
    e = cuda.grid(1)
    if e < y.size:
        ch, ox, oy, n = e % g.c, e // g.c % g.ow, e // g.c // g.ow % g.oh, e // g.c // g.ow // g.oh
        sy, sx = linear_source(oy, g.h, g.oh), linear_source(ox, g.w, g.ow)
        iy, ix = int(sy), int(sx)
        jy, jx = min(iy + 1, g.h - 1), min(ix + 1, g.w - 1)
        fy, fx = x.dtype.type(sy - iy), x.dtype.type(sx - ix)
        upper = x[n, iy, ix, ch] + (x[n, iy, jx, ch] - x[n, iy, ix, ch]) * fx
        lower = x[n, jy, ix, ch] + (x[n, jy, jx, ch] - x[n, jy, ix, ch]) * fx
        y[n, oy, ox, ch] = upper + (lower - upper) * fy


@cuda_kernel(lambda dy, dx, g: elements(dx.size))
def resize_bilinear_backward(dy, dx, g):
    """dx[n,iy,ix] = sum of wy wx dy over the output pixels that have a share of it.

    dy (n,oh,ow,c) -> dx (n,h,w,c).
    """
    e = cuda.grid(1)
    if e < dx.size:
        ch, ix, iy, n = e % g.c, e // g.c % g.w, e // g.c // g.w % g.h, e // g.c // g.w // g.h
        total = dx.dtype.type(0)
        for oy in range(first_linear(iy, g.h, g.oh), last_linear(iy, g.h, g.oh)):
            wy = linear_weight(oy, iy, g.h, g.oh)
            for ox in range(first_linear(ix, g.w, g.ow), last_linear(ix, g.w, g.ow)):
                weight = dx.dtype.type(wy * linear_weight(ox, ix, g.w, g.ow))
                if weight > 0:  # 0 * NaN would spread to pixels that have no part in it
                    total += dy[n, oy, ox, ch] * weight
        dx[n, iy, ix, ch] = total
