"""Moving numbers without computing new ones (strided copies, gathers, casts), and resizing of images."""

import math
from typing import NamedTuple

import numpy as np

from fastcnn_kernels.elementwise import by_rows, flat, row_span
from fastcnn_kernels.jit import CHUNK, cpu_kernel, device_function, scalar, shape_function, span, stack_array

RANK = 6  # of a strided copy; shorter shapes are padded with ones in front


class StridedGeometry(NamedTuple):
    """A box of `shape` elements in two flat arrays: where it starts, and how far apart neighbours are, in elements.

    x strides may be zero (repeat) or negative (reverse).
    """

    shape: tuple[int, int, int, int, int, int]
    x_offset: int
    x_strides: tuple[int, int, int, int, int, int]
    y_offset: int
    y_strides: tuple[int, int, int, int, int, int]


def strided_geometry(
    shape: tuple[int, ...],
    x_strides: tuple[int, ...],
    y_strides: tuple[int, ...],
    x_offset: int = 0,
    y_offset: int = 0,
) -> StridedGeometry:
    """The geometry with as few, as long axes as possible: axes that follow each other in both arrays are one."""
    axes: list[tuple[int, int, int]] = []
    for size, xs, ys in zip(shape, x_strides, y_strides, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1:] == (size * xs, size * ys):
            axes[-1] = (axes[-1][0] * size, xs, ys)
        else:
            axes.append((size, xs, ys))
    axes = [(1, 0, 0)] * (RANK - len(axes)) + axes
    sizes, sources, targets = (tuple(column) for column in zip(*axes, strict=True))
    return StridedGeometry(sizes, x_offset, sources, y_offset, targets)


@shape_function
def line_count(g):
    """Lines (runs along the last axis) of the box."""
    return g.shape[0] * g.shape[1] * g.shape[2] * g.shape[3] * g.shape[4]


@shape_function
def lines_per_item(g):
    """An item copies several short lines or a piece of a long one, about CHUNK elements."""
    return max(1, CHUNK // max(1, g.shape[5]))


@shape_function
def pieces_per_line(g):
    """A line longer than CHUNK is shared out over several items."""
    return (g.shape[5] + CHUNK - 1) // CHUNK


@shape_function
def strided_items(g):
    """Number of items of a strided copy."""
    per_item = lines_per_item(g)
    return (line_count(g) + per_item - 1) // per_item * pieces_per_line(g)


@cpu_kernel(lambda x, y, g: strided_items(g))
def strided_copy(x, y, g, first, last):
    """y[y_offset + sum index y_strides] = x[x_offset + sum index x_strides] for each index in the box.

    x, y flat. Transposes, broadcasts, slices, flips, pads, concatenations and splits are this one copy.
    """
    index = stack_array(np.int64, RANK)
    pieces, per_item = pieces_per_line(g), lines_per_item(g)
    for item in range(first, last):
        line, start = item // pieces * per_item, item % pieces * CHUNK
        length = min(CHUNK, g.shape[5] - start)
        source, target = g.x_offset + start * g.x_strides[5], g.y_offset + start * g.y_strides[5]
        rest = line
        for step in range(RANK - 1):
            axis = RANK - 2 - step
            index[axis] = rest % g.shape[axis]
            rest //= g.shape[axis]
            source += index[axis] * g.x_strides[axis]
            target += index[axis] * g.y_strides[axis]
        for _ in range(line, min(line_count(g), line + per_item)):
            copy_line(x, y, source, target, length, g.x_strides[5], g.y_strides[5])
            for step in range(RANK - 1):  # the next line: count up the last axis that is not at its end
                axis = RANK - 2 - step
                index[axis] += 1
                source += g.x_strides[axis]
                target += g.y_strides[axis]
                if index[axis] < g.shape[axis]:
                    break
                index[axis] = 0
                source -= g.shape[axis] * g.x_strides[axis]
                target -= g.shape[axis] * g.y_strides[axis]


@device_function
def copy_line(x, y, source, target, length, x_stride, y_stride):
    """y[target + i y_stride] = x[source + i x_stride]."""
    if y_stride == 1 and x_stride == 1:
        xs, ys = x[source : source + length], y[target : target + length]
        for i in range(length):
            ys[i] = xs[i]
    elif y_stride == 1 and x_stride == 0:
        value, ys = x[source], y[target : target + length]
        for i in range(length):
            ys[i] = value
    else:
        for i in range(length):
            y[target + i * y_stride] = x[source + i * x_stride]


@cpu_kernel(flat)
def cast(x, y, first, last):
    """y = x in the dtype of y. A fraction is cut off on the way to an integer, which must be able to hold it."""
    lo, hi = span(first, last, x.size)
    xs, ys = x[lo:hi], y[lo:hi]
    for i in range(xs.size):
        ys[i] = xs[i]


@scalar
def row_of(index, rows):
    """The row an index means: negative ones count from the end; -1 when there is no such row."""
    row = int(index)
    row += rows if row < 0 else 0
    return row if 0 <= row < rows else -1


@cpu_kernel(lambda x, index, y: by_rows(y))
def take_rows(x, index, y, first, last):
    """y[k] = x[index[k]], cast to the dtype of y; NaN for an index that is out of range.

    x (r,c), index (k,) whole numbers of any dtype, y (k,c) floating.
    """
    lo, hi = row_span(first, last, y)
    for k in range(lo, hi):
        row, ys = row_of(index[k], x.shape[0]), y[k]
        if row < 0:
            for j in range(ys.size):
                ys[j] = math.nan
        else:
            xs = x[row]
            for j in range(ys.size):
                ys[j] = xs[j]


COLUMNS = 64  # of one item of take_rows_backward


@cpu_kernel(lambda index, dy, dx: -(-dx.shape[1] // COLUMNS))
def take_rows_backward(index, dy, dx, first, last):
    """dx[r] = sum of dy[k] over the k with index[k] = r.  index (k,), dy (k,c), dx (r,c).

    An item owns some columns of dx, so that rows may repeat without two threads writing one element.
    """
    start, stop = first * COLUMNS, min(last * COLUMNS, dx.shape[1])
    for r in range(dx.shape[0]):
        dxs = dx[r, start:stop]
        for j in range(dxs.size):
            dxs[j] = 0
    for k in range(index.size):
        row = row_of(index[k], dx.shape[0])
        if row >= 0:
            dxs, dys = dx[row, start:stop], dy[k, start:stop]
            for j in range(dxs.size):
                dxs[j] += dys[j]


# --- resizing ------------------------------------------------------------------------------------------------
# Pixels are areas: the centre of output pixel o, at o + 1/2, lies at (o + 1/2) size / out of the input.


class ResizeGeometry(NamedTuple):
    """Images of n x h x w x c to become n x oh x ow x c."""

    n: int
    h: int
    w: int
    c: int
    oh: int
    ow: int


@scalar
def nearest_source(o, size, out):
    """The input pixel in which the centre of output pixel o lies."""
    return (2 * o + 1) * size // (2 * out)


@scalar
def first_nearest(i, size, out):
    """The first output pixel whose centre lies in input pixel i or later: the inverse of `nearest_source`."""
    return max(0, -((size - 2 * out * i) // (2 * size)))


@scalar
def linear_source(o, size, out):
    """Where the centre of output pixel o lies between the centres of input pixels, edges repeated."""
    return min(max((o + 0.5) * size / out - 0.5, 0.0), size - 1.0)


@scalar
def linear_weight(o, i, size, out):
    """Share of input pixel i in output pixel o."""
    return max(0.0, 1.0 - abs(linear_source(o, size, out) - i))


@scalar
def first_linear(i, size, out):
    """An output pixel before which none has a share of input pixel i."""
    return max(0, int(math.floor((i - 0.5) * out / size - 0.5)))


@scalar
def last_linear(i, size, out):
    """One past an output pixel after which none has a share of input pixel i."""
    return min(out, int(math.ceil((i + 1.5) * out / size - 0.5)) + 1)


@cpu_kernel(lambda x, y, g: g.n * g.oh)
def resize_nearest_forward(x, y, g, first, last):
    """y[n,oy,ox] = x at the pixel under the centre of (oy, ox).  x (n,h,w,c) -> y (n,oh,ow,c)."""
    for item in range(first, last):
        n, oy = item // g.oh, item % g.oh
        row = x[n, nearest_source(oy, g.h, g.oh)]
        for ox in range(g.ow):
            xs, ys = row[nearest_source(ox, g.w, g.ow)], y[n, oy, ox]
            for ch in range(g.c):
                ys[ch] = xs[ch]


@cpu_kernel(lambda dy, dx, g: g.n * g.h)
def resize_nearest_backward(dy, dx, g, first, last):
    """dx[n,iy,ix] = sum of dy over the output pixels that copied it.  dy (n,oh,ow,c) -> dx (n,h,w,c)."""
    for item in range(first, last):
        n, iy = item // g.h, item % g.h
        for ix in range(g.w):
            dxs = dx[n, iy, ix]
            for ch in range(g.c):
                dxs[ch] = 0
            for oy in range(first_nearest(iy, g.h, g.oh), first_nearest(iy + 1, g.h, g.oh)):
                for ox in range(first_nearest(ix, g.w, g.ow), first_nearest(ix + 1, g.w, g.ow)):
                    dys = dy[n, oy, ox]
                    for ch in range(g.c):
                        dxs[ch] += dys[ch]


@cpu_kernel(lambda x, y, g: g.n * g.oh)
def resize_bilinear_forward(x, y, g, first, last):
    """y[n,oy,ox] = sum of wy wx x over the four pixels around the centre of (oy, ox).

    x (n,h,w,c) -> y (n,oh,ow,c); weights by `linear_weight`, edges repeated.
    """
    for item in range(first, last):
        n, oy = item // g.oh, item % g.oh
        sy = linear_source(oy, g.h, g.oh)
        iy = int(sy)
        top, bottom, fy = x[n, iy], x[n, min(iy + 1, g.h - 1)], x.dtype.type(sy - iy)
        for ox in range(g.ow):
            sx = linear_source(ox, g.w, g.ow)
            ix = int(sx)
            jx, fx, ys = min(ix + 1, g.w - 1), x.dtype.type(sx - ix), y[n, oy, ox]
            top_left, top_right, bottom_left, bottom_right = top[ix], top[jx], bottom[ix], bottom[jx]
            for ch in range(g.c):
                upper = top_left[ch] + (top_right[ch] - top_left[ch]) * fx
                lower = bottom_left[ch] + (bottom_right[ch] - bottom_left[ch]) * fx
                ys[ch] = upper + (lower - upper) * fy


@cpu_kernel(lambda dy, dx, g: g.n * g.h)
def resize_bilinear_backward(dy, dx, g, first, last):
    """dx[n,iy,ix] = sum of wy wx dy over the output pixels that have a share of it.

    dy (n,oh,ow,c) -> dx (n,h,w,c).
    """
    for item in range(first, last):
        n, iy = item // g.h, item % g.h
        for ix in range(g.w):
            dxs = dx[n, iy, ix]
            for ch in range(g.c):
                dxs[ch] = 0
            for oy in range(first_linear(iy, g.h, g.oh), last_linear(iy, g.h, g.oh)):
                wy = linear_weight(oy, iy, g.h, g.oh)
                for ox in range(first_linear(ix, g.w, g.ow), last_linear(ix, g.w, g.ow)):
                    weight, dys = dx.dtype.type(wy * linear_weight(ox, ix, g.w, g.ow)), dy[n, oy, ox]
                    if weight > 0:  # 0 * NaN would spread to pixels that have no part in it
                        for ch in range(g.c):
                            dxs[ch] += dys[ch] * weight
