"""Images whose pixels come from other places: gathers along projective maps and along fields of coordinates.

A pixel is a sample at its index: the top left one lies at (0, 0), the bottom right one at (h - 1, w - 1). Where a place
lies between pixels, `nearest` takes the one next to it (of two equally near the even one), `bilinear` the four around
it, each with the share of the area that it covers. What lies beyond the edge is a matter of the border:

    constant   k k k k | a b c d | k k k k
    edge       a a a a | a b c d | d d d d
    reflect    d c b   | a b c d |   c b a
    symmetric  d c b a | a b c d | d c b a
    wrap       a b c d | a b c d | a b c d
"""

import math
from typing import NamedTuple

import numpy as np

from fastcnn_kernels.jit import cpu_kernel, device_function, scalar, stack_array

BLOCK = 64  # pixels of a row whose places are found together, by vectors
WHOLE = np.zeros(1, np.int64)
DOUBLE = np.zeros(1)  # places are computed in double precision: float32 would move pixels of large images
BORDERS = ("constant", "edge", "reflect", "symmetric", "wrap")
CONSTANT, EDGE, REFLECT, SYMMETRIC, WRAP = range(5)


class ResampleGeometry(NamedTuple):
    """Images (n, h, w, c), results (n, oh, ow, c), and the number of the border in BORDERS."""

    n: int
    h: int
    w: int
    c: int
    oh: int
    ow: int
    border: int


@scalar
def border_index(i, size, border):
    """The index in [0, size) of what lies at i; for a constant border, of the edge."""
    if border == WRAP:
        return i % size
    if border == REFLECT:
        period = max(2 * size - 2, 1)
        i = i % period
        return i if i < size else period - i
    if border == SYMMETRIC:
        i = i % (2 * size)
        return i if i < size else 2 * size - 1 - i
    return min(max(i, 0), size - 1)


@scalar
def is_inside(iy, ix, g):
    """Whether a place has a value of its own: all have, but with a constant border those beyond the edge."""
    return g.border != CONSTANT or (iy >= 0 and iy < g.h and ix >= 0 and ix < g.w)


@scalar
def half_even(x):
    """The whole number next to x; of two equally near the even one."""
    return round(x)


@scalar
def offset_of(iy, ix, g):
    """Where a pixel's numbers begin in its image; unsigned, which spares the kernel to look for negative indices."""
    return np.uint64((iy * g.w + ix) * g.c)


@device_function
def gather_nearest(xs, sy, sx, start, stop, fill, g, ys):
    """ys[p] = the pixel next to (sy[p - start], sx[p - start]).  xs (h w c,) an image, ys (ow c,) a row."""
    number = ys.dtype.type
    rows, columns = stack_array(WHOLE, BLOCK), stack_array(WHOLE, BLOCK)
    for i in range(stop - start):  # apart from the gather, so that it is done by vectors
        rows[i], columns[i] = half_even(sy[i]), half_even(sx[i])
    for i in range(stop - start):
        iy, ix, to = rows[i], columns[i], np.uint64((start + i) * g.c)
        if is_inside(iy, ix, g):
            at = offset_of(border_index(iy, g.h, g.border), border_index(ix, g.w, g.border), g)
            for ch in range(g.c):
                ys[to + np.uint64(ch)] = number(xs[at + np.uint64(ch)])
        else:
            for ch in range(g.c):
                ys[to + np.uint64(ch)] = fill


@scalar
def corner(xs, iy, ix, ch, fill, g, like):
    """The number of channel ch at a whole place, which may lie beyond the edge."""
    if not is_inside(iy, ix, g):
        return type(like)(fill)
    at = offset_of(border_index(iy, g.h, g.border), border_index(ix, g.w, g.border), g)
    return type(like)(xs[at + np.uint64(ch)])


@scalar
def blend(a, b, c, d, wy, wx):
    """(1-wy) ((1-wx) a + wx b) + wy ((1-wx) c + wx d)."""
    upper, lower = a + (b - a) * wx, c + (d - c) * wx
    return upper + (lower - upper) * wy


@scalar
def blend_inside(xs, at, ch, g, wy, wx):
    """`blend` of channel ch of the pixel that begins at `at` and of those to the right and below."""
    number = type(wy)
    here = at + np.uint64(ch)
    below = here + np.uint64(g.w * g.c)
    right = np.uint64(g.c)
    return blend(
        number(xs[here]), number(xs[here + right]), number(xs[below]), number(xs[below + right]), wy, wx
    )


@device_function
def gather_bilinear(xs, sy, sx, start, stop, fill, g, ys):
    """ys[p] = the four pixels around (sy[p - start], sx[p - start]), blended.  xs (h w c,) an image, ys a row."""
    rows, columns = stack_array(WHOLE, BLOCK), stack_array(WHOLE, BLOCK)
    for i in range(stop - start):  # apart from the gather, so that it is done by vectors
        below_y, below_x = np.floor(sy[i]), np.floor(sx[i])
        rows[i], columns[i] = int(below_y), int(below_x)
        sy[i], sx[i] = sy[i] - below_y, sx[i] - below_x
    for i in range(stop - start):
        iy, ix, wy, wx = rows[i], columns[i], ys.dtype.type(sy[i]), ys.dtype.type(sx[i])
        to = np.uint64((start + i) * g.c)
        if iy < 0 or iy >= g.h - 1 or ix < 0 or ix >= g.w - 1:
            for ch in range(g.c):
                a, b = corner(xs, iy, ix, ch, fill, g, wy), corner(xs, iy, ix + 1, ch, fill, g, wy)
                c, d = corner(xs, iy + 1, ix, ch, fill, g, wy), corner(xs, iy + 1, ix + 1, ch, fill, g, wy)
                ys[to + np.uint64(ch)] = blend(a, b, c, d, wy, wx)
        elif g.c == 3:  # a loop of known length becomes straight code
            at = offset_of(iy, ix, g)
            for ch in range(3):
                ys[to + np.uint64(ch)] = blend_inside(xs, at, ch, g, wy, wx)
        else:
            at = offset_of(iy, ix, g)
            for ch in range(g.c):
                ys[to + np.uint64(ch)] = blend_inside(xs, at, ch, g, wy, wx)


# --- along a projective map ------------------------------------------------------------------------------------


@scalar
def map_of_row(transform, oy):
    """What row oy of the result leaves of a map: `place_in_row` takes it."""
    a0, a1, a2 = float(transform[0]), float(transform[1]) * oy + transform[2], float(transform[3])
    b1, c0, c1 = float(transform[4]) * oy + transform[5], float(transform[6]), float(transform[7]) * oy + 1.0
    return a0, a1, a2, b1, c0, c1


@scalar
def place_in_row(a0, a1, a2, b1, c0, c1, ox):
    """The place (row, column) that column ox comes from."""
    k = 1.0 / (c0 * ox + c1)
    return (a2 * ox + b1) * k, (a0 * ox + a1) * k


@device_function
def resample_row(xs, source, oy, ys, fill, g, places, gather):
    """ys = row oy of the image xs resampled: `places` finds in the source where pixels come from, `gather` reads."""
    sy, sx = stack_array(DOUBLE, BLOCK), stack_array(DOUBLE, BLOCK)
    for start in range(0, g.ow, BLOCK):
        stop = min(start + BLOCK, g.ow)
        places(source, oy, start, stop, sy, sx)
        gather(xs, sy, sx, start, stop, fill, g, ys)


@device_function
def row_of_map(transform, oy, start, stop, sy, sx):
    """sy, sx = the places that (oy, start) to (oy, stop - 1) come from."""
    a0, a1, a2, b1, c0, c1 = map_of_row(transform, float(oy))
    for i in range(stop - start):
        sy[i], sx[i] = place_in_row(a0, a1, a2, b1, c0, c1, float(start + i))


@cpu_kernel(lambda x, transform, y, fill, g: g.n * g.oh)
def affine_nearest_forward(x, transform, y, fill, g, first, last):
    """y[n,oy,ox] = x at ((b0 ox + b1 oy + b2) / k, (a0 ox + a1 oy + a2) / k), k = c0 ox + c1 oy + 1.

    x (n, h w c) of any numbers, transform (n,8): a0 a1 a2 b0 b1 b2 c0 c1 -> y (n,oh,ow c).
    """
    for item in range(first, last):
        n, oy = item // g.oh, item % g.oh
        resample_row(x[n], transform[n], oy, y[n, oy], fill, g, row_of_map, gather_nearest)


@cpu_kernel(lambda x, transform, y, fill, g: g.n * g.oh)
def affine_bilinear_forward(x, transform, y, fill, g, first, last):
    """y[n,oy,ox] = x around the place that `affine_nearest_forward` says, blended.  The same arrays."""
    for item in range(first, last):
        n, oy = item // g.oh, item % g.oh
        resample_row(x[n], transform[n], oy, y[n, oy], fill, g, row_of_map, gather_bilinear)


# --- along a field ---------------------------------------------------------------------------------------------


@device_function
def row_of_field(field, oy, start, stop, sy, sx):
    """sy, sx = the places in row oy, columns start to stop - 1, of a field (oh,ow,2)."""
    for i in range(stop - start):
        sy[i], sx[i] = field[oy, start + i, 0], field[oy, start + i, 1]


@cpu_kernel(lambda x, field, y, fill, g: g.n * g.oh)
def field_nearest_forward(x, field, y, fill, g, first, last):
    """y[n,oy,ox] = x at (row, column) = field[n,oy,ox].  x (n, h w c), field (n,oh,ow,2) -> y (n,oh,ow c)."""
    for item in range(first, last):
        n, oy = item // g.oh, item % g.oh
        resample_row(x[n], field[n], oy, y[n, oy], fill, g, row_of_field, gather_nearest)


@cpu_kernel(lambda x, field, y, fill, g: g.n * g.oh)
def field_bilinear_forward(x, field, y, fill, g, first, last):
    """y[n,oy,ox] = x around (row, column) = field[n,oy,ox], blended.  The arrays of `field_nearest_forward`."""
    for item in range(first, last):
        n, oy = item // g.oh, item % g.oh
        resample_row(x[n], field[n], oy, y[n, oy], fill, g, row_of_field, gather_bilinear)


@cpu_kernel(lambda dy, field, dx, g: g.n)
def field_nearest_backward(dy, field, dx, g, first, last):
    """dx = sum of dy over the places that took a pixel.  An item is an image: several places may take the same."""
    for n in range(first, last):
        dx[n, :, :, :] = 0
        for oy in range(g.oh):
            for ox in range(g.ow):
                iy, ix = half_even(float(field[n, oy, ox, 0])), half_even(float(field[n, oy, ox, 1]))
                if is_inside(iy, ix, g):
                    add_pixel(dx[n], iy, ix, dx.dtype.type(1), dy[n, oy, ox], g)


@device_function
def add_pixel(dx, iy, ix, weight, dys, g):
    """dx at a whole place += weight dys."""
    dxs = dx[border_index(iy, g.h, g.border), border_index(ix, g.w, g.border)]
    if weight > 0:  # 0 * NaN would spread to pixels that have no part in it
        for ch in range(g.c):
            dxs[ch] += weight * dys[ch]


@cpu_kernel(lambda dy, field, dx, g: g.n)
def field_bilinear_backward(dy, field, dx, g, first, last):
    """dx = sum of dy times the share that the pixel had in it.  An item is an image."""
    number = dx.dtype.type
    for n in range(first, last):
        dx[n, :, :, :] = 0
        for oy in range(g.oh):
            for ox in range(g.ow):
                sy, sx = float(field[n, oy, ox, 0]), float(field[n, oy, ox, 1])
                iy, ix = int(math.floor(sy)), int(math.floor(sx))
                for ky in range(2):
                    for kx in range(2):
                        wy = sy - iy if ky == 1 else 1.0 - (sy - iy)
                        wx = sx - ix if kx == 1 else 1.0 - (sx - ix)
                        if is_inside(iy + ky, ix + kx, g):
                            add_pixel(dx[n], iy + ky, ix + kx, number(wy * wx), dy[n, oy, ox], g)


@device_function
def field_slopes(dys, xs, place, slopes, fill, g):
    """slopes = sum over channels of dys times the slope of the image xs at a place, along rows and along columns."""
    sy, sx = float(place[0]), float(place[1])
    iy, ix = int(math.floor(sy)), int(math.floor(sx))
    wy, wx = sy - iy, sx - ix
    along_y = along_x = 0.0
    for ch in range(g.c):
        a, b = corner(xs, iy, ix, ch, fill, g, wy), corner(xs, iy, ix + 1, ch, fill, g, wy)
        c, d = corner(xs, iy + 1, ix, ch, fill, g, wy), corner(xs, iy + 1, ix + 1, ch, fill, g, wy)
        along_y += dys[ch] * ((c - a) * (1.0 - wx) + (d - b) * wx)
        along_x += dys[ch] * ((b - a) * (1.0 - wy) + (d - c) * wy)
    slopes[0], slopes[1] = along_y, along_x


@cpu_kernel(lambda dy, x, field, dfield, fill, g: g.n * g.oh)
def field_bilinear_field_backward(dy, x, field, dfield, fill, g, first, last):
    """dfield = sum over channels of dy times the slope of x along rows and along columns.  dy (n,oh,ow,c)."""
    for item in range(first, last):
        n, oy = item // g.oh, item % g.oh
        for ox in range(g.ow):
            field_slopes(dy[n, oy, ox], x[n], field[n, oy, ox], dfield[n, oy, ox], fill, g)
