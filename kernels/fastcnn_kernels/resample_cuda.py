"""Images whose pixels come from other places, on a CUDA device: the kernels of `resample.py`.

Forwards, a thread makes a pixel. Backwards, several places may take the same pixel: a block owns a square tile of
pixels and looks at one square tile of places after the other. Most tiles of places have no share in most tiles of
pixels, and are passed over; in the others every thread adds up what its own pixel has given, always in the same order.
"""

import math

import numpy as np

from fastcnn_kernels.cuda import THREADS, Shape, covering, cuda, cuda_function, cuda_kernel, elements
from fastcnn_kernels.resample import (
    blend,
    blend_inside,
    border_index,
    corner,
    field_slopes,
    half_even,
    is_inside,
    map_of_row,
    offset_of,
    place_in_row,
)

SIDE = math.isqrt(THREADS)  # of a tile
SHARES = 4 * THREADS  # of the places of a tile


# --- forwards --------------------------------------------------------------------------------------------------------


def each_place(x, places, y, fill, g) -> Shape:
    """Of a kernel with a thread a pixel of the result."""
    return elements(g.n * g.oh * g.ow)


@cuda_function
def take_nearest(xs, sy, sx, fill, g, ys, to):
    """ys[to:to+c] = the pixel of xs (h w c,) next to (sy, sx)."""
    iy, ix, number = half_even(sy), half_even(sx), ys.dtype.type
    if is_inside(iy, ix, g):
        at = offset_of(border_index(iy, g.h, g.border), border_index(ix, g.w, g.border), g)
        for ch in range(g.c):
            ys[to + ch] = number(xs[at + np.uint64(ch)])
    else:
        for ch in range(g.c):
            ys[to + ch] = fill


@cuda_function
def take_bilinear(xs, sy, sx, fill, g, ys, to):
    """ys[to:to+c] = the four pixels of xs (h w c,) around (sy, sx), blended."""
    iy, ix, number = int(math.floor(sy)), int(math.floor(sx)), ys.dtype.type
    wy, wx = number(sy - iy), number(sx - ix)
    if iy < 0 or iy >= g.h - 1 or ix < 0 or ix >= g.w - 1:
        for ch in range(g.c):
            a, b = corner(xs, iy, ix, ch, fill, g, wy), corner(xs, iy, ix + 1, ch, fill, g, wy)
            c, d = corner(xs, iy + 1, ix, ch, fill, g, wy), corner(xs, iy + 1, ix + 1, ch, fill, g, wy)
            ys[to + ch] = blend(a, b, c, d, wy, wx)
    else:
        at = offset_of(iy, ix, g)
        for ch in range(g.c):
            ys[to + ch] = blend_inside(xs, at, ch, g, wy, wx)


@cuda_function
def gather_map(take, x, transform, y, fill, g):
    """`take` at the places of a projective map."""
    e = cuda.grid(1)
    if e < g.n * g.oh * g.ow:
        n, oy, ox = e // g.ow // g.oh, e // g.ow % g.oh, e % g.ow
        a0, a1, a2, b1, c0, c1 = map_of_row(transform[n], float(oy))
        sy, sx = place_in_row(a0, a1, a2, b1, c0, c1, float(ox))
        take(x[n], sy, sx, fill, g, y[n, oy], ox * g.c)


@cuda_kernel(each_place)
def affine_nearest_forward(x, transform, y, fill, g):
    """y[n,oy,ox] = x at ((b0 ox + b1 oy + b2) / k, (a0 ox + a1 oy + a2) / k), k = c0 ox + c1 oy + 1.

    x (n, h w c) of any numbers, transform (n,8): a0 a1 a2 b0 b1 b2 c0 c1 -> y (n,oh,ow c).
    """
    gather_map(take_nearest, x, transform, y, fill, g)


@cuda_kernel(each_place)
def affine_bilinear_forward(x, transform, y, fill, g):
    """y[n,oy,ox] = x around the place that `affine_nearest_forward` says, blended.  The same arrays."""
    gather_map(take_bilinear, x, transform, y, fill, g)


@cuda_function
def gather_field(take, x, field, y, fill, g):
    """`take` at the places of a field."""
    e = cuda.grid(1)
    if e < g.n * g.oh * g.ow:
        n, oy, ox = e // g.ow // g.oh, e // g.ow % g.oh, e % g.ow
        sy, sx = float(field[n, oy, ox, 0]), float(field[n, oy, ox, 1])
        take(x[n], sy, sx, fill, g, y[n, oy], ox * g.c)


@cuda_kernel(each_place)
def field_nearest_forward(x, field, y, fill, g):
    """y[n,oy,ox] = x at (row, column) = field[n,oy,ox].  x (n, h w c), field (n,oh,ow,2) -> y (n,oh,ow c)."""
    gather_field(take_nearest, x, field, y, fill, g)


@cuda_kernel(each_place)
def field_bilinear_forward(x, field, y, fill, g):
    """y[n,oy,ox] = x around (row, column) = field[n,oy,ox], blended.  The arrays of `field_nearest_forward`."""
    gather_field(take_bilinear, x, field, y, fill, g)


# --- backwards -------------------------------------------------------------------------------------------------------


def each_tile(dy, field, dx, g) -> Shape:
    """A block for every tile of every image."""
    return Shape((g.n * covering(g.h, SIDE) * covering(g.w, SIDE), 1, 1), THREADS)


@cuda_function
def share_in_nearest(sy, sx, k, g):
    """(row, column, weight) of the pixel that is taken; the row is -1 where there is none."""
    iy, ix = half_even(sy), half_even(sx)
    if k > 0 or not is_inside(iy, ix, g):
        return -1, -1, 0.0
    return border_index(iy, g.h, g.border), border_index(ix, g.w, g.border), 1.0


@cuda_function
def share_in_bilinear(sy, sx, k, g):
    """The same of the k-th of four pixels."""
    iy, ix = int(math.floor(sy)), int(math.floor(sx))
    wy = sy - iy if k // 2 == 1 else 1.0 - (sy - iy)
    wx = sx - ix if k % 2 == 1 else 1.0 - (sx - ix)
    iy, ix = iy + k // 2, ix + k % 2
    if not (wy * wx > 0 and is_inside(iy, ix, g)):  # 0 * NaN would spread to pixels that have no part in it
        return -1, -1, 0.0
    return border_index(iy, g.h, g.border), border_index(ix, g.w, g.border), wy * wx


@cuda_function
def find_shares(share, field, n, oy, ox, top, left, owners, weights, g):
    """owners[4 t + k] = which thread owns the k-th pixel that the place of thread t takes, -1 for another tile's.

    Returns whether there is one.
    """
    thread, found = cuda.threadIdx.x, False
    for k in range(4):
        owners[4 * thread + k] = -1
        if oy < g.oh and ox < g.ow:
            iy, ix, weight = share(float(field[n, oy, ox, 0]), float(field[n, oy, ox, 1]), k, g)
            if iy >= top and iy < top + SIDE and ix >= left and ix < left + SIDE:
                owners[4 * thread + k] = (iy - top) * SIDE + ix - left
                weights[4 * thread + k] = weight
                found = True
    return found


@cuda_function
def give_back(share, dy, field, dx, owners, weights, g):
    """dx = sum of dy times the share that the pixel had in it."""
    thread, columns, across = cuda.threadIdx.x, (g.w + SIDE - 1) // SIDE, (g.ow + SIDE - 1) // SIDE
    tiles = (g.h + SIDE - 1) // SIDE * columns
    n, tile = cuda.blockIdx.x // tiles, cuda.blockIdx.x % tiles
    top, left = tile // columns * SIDE, tile % columns * SIDE
    y, x = top + thread // SIDE, left + thread % SIDE
    is_pixel = y < g.h and x < g.w
    for ch in range(g.c if is_pixel else 0):
        dx[n, y, x, ch] = 0
    for places in range((g.oh + SIDE - 1) // SIDE * across):
        oy, ox = places // across * SIDE, places % across * SIDE
        found = find_shares(
            share, field, n, oy + thread // SIDE, ox + thread % SIDE, top, left, owners, weights, g
        )
        if cuda.syncthreads_or(np.int32(found)):
            for i in range(SHARES):
                if owners[i] == thread:
                    for ch in range(g.c):
                        dx[n, y, x, ch] += weights[i] * dy[n, oy + i // 4 // SIDE, ox + i // 4 % SIDE, ch]
        cuda.syncthreads()


@cuda_kernel(each_tile)
def field_nearest_backward(dy, field, dx, g):
    """dx = sum of dy over the places that took a pixel."""
    owners = cuda.shared.array(SHARES, np.int32)
    weights = cuda.shared.array(SHARES, dx.dtype)
    give_back(share_in_nearest, dy, field, dx, owners, weights, g)


@cuda_kernel(each_tile)
def field_bilinear_backward(dy, field, dx, g):
    """dx = sum of dy times the share that the pixel had in it."""
    owners = cuda.shared.array(SHARES, np.int32)
    weights = cuda.shared.array(SHARES, dx.dtype)
    give_back(share_in_bilinear, dy, field, dx, owners, weights, g)


@cuda_kernel(lambda dy, x, field, dfield, fill, g: elements(g.n * g.oh * g.ow))
def field_bilinear_field_backward(dy, x, field, dfield, fill, g):
    """dfield = sum over channels of dy times the slope of x along rows and along columns.  dy (n,oh,ow,c)."""
    e = cuda.grid(1)
    if e < g.n * g.oh * g.ow:
        n, oy, ox = e // g.ow // g.oh, e // g.ow % g.oh, e % g.ow
        field_slopes(dy[n, oy, ox], x[n], field[n, oy, ox], dfield[n, oy, ox], fill, g)
