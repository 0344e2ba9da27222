"""Convolutions and their gradients on a CUDA device: implicit matrix products, by tiles in shared memory.

The matrices are those of `conv.py`: rows are pixels, columns taps and channels (`Sampling`), results land where a
`Landing` says. A block fills shared memory with rows of the implicit matrix, read from the image as they are needed;
columns are never stored. Weights are read as they are, or for the gradient of the input, by pixel class.
"""

import math
from collections.abc import Callable

import numpy as np

from fastcnn_kernels.conv import (
    ConvGeometry,
    Landing,
    backward_sampling,
    class_start,
    forward_sampling,
    taps_of,
)
from fastcnn_kernels.cuda import (
    THREADS,
    Shape,
    Tile,
    check_counts,
    covering,
    cuda,
    cuda_function,
    cuda_kernel,
    elements,
    filling_tile,
    fitting_tile,
    flat,
    of_cores,
    parts_of,
)
from fastcnn_kernels.cuda_intrinsics import (
    add_int32,
    divided,
    int32,
    is_aligned,
    is_inside,
    load_four,
    multiply_add,
)
from fastcnn_kernels.cuda_stages import ALIGNMENT, Stages, copier, stager_of_b, turns
from fastcnn_kernels.cuda_tiles import accumulator, clearer, storer
from fastcnn_kernels.moments_cuda import keep_moments

OUTSIDE = 1 << 29  # as a pixel's coordinate: no tap of it is in the image


def _shape(tile: Tile, rows: int, columns: int, layers: int) -> Shape:
    return Shape((covering(rows, tile.rows), covering(columns, tile.columns), layers), tile.threads)


def _forward_sizes(g: ConvGeometry) -> tuple[int, int, int]:
    """(rows, columns, layers): so many products of so many results."""
    check_counts(g.n * g.h * g.w, g.n * g.oh * g.ow)
    return g.n * g.oh * g.ow, g.f // g.groups, g.groups


def _backward_sizes(g: ConvGeometry) -> tuple[int, int, int]:
    check_counts(g.n * g.h * g.w, g.n * g.oh * g.ow)
    pixels = g.n * covering(g.h, g.sh) * covering(g.w, g.sw)
    return pixels, g.c // g.groups, g.groups * g.sh * g.sw


def _forward_tile(g: ConvGeometry, dtype) -> Tile:
    return filling_tile(*_forward_sizes(g), dtype)


def _backward_tile(g: ConvGeometry, dtype) -> Tile:
    return filling_tile(*_backward_sizes(g), dtype)


def _weights_tile(g: ConvGeometry, dtype) -> Tile:
    return fitting_tile(g.f // g.groups, dtype)


def _row_blocks(tile: Tile, g: ConvGeometry) -> int:
    return covering(_forward_sizes(g)[0], tile.rows)


def _forward(tile: Tile, *args) -> Shape:
    return _shape(tile, *_forward_sizes(args[-1]))


def _backward(tile: Tile, *args) -> Shape:
    return _shape(tile, *_backward_sizes(args[-1]))


def _weights(tile: Tile, x, dy, partials, g: ConvGeometry) -> Shape:
    check_counts(g.n * g.h * g.w, g.n * g.oh * g.ow)
    weights = g.kh * g.kw * (g.c // g.groups)
    return _shape(tile, weights, g.f // g.groups, g.groups * (partials.size // (weights * g.f)))


def _weight_parts(tile: Tile, g: ConvGeometry) -> int:
    blocks = _shape(tile, g.kh * g.kw * (g.c // g.groups), g.f // g.groups, g.groups).total
    return parts_of(blocks, g.n * g.oh * g.ow, tile)


def locator(tile: Tile):
    """The function that finds a thread's row of the implicit matrix."""
    rows = tile.rows

    @cuda_function
    def locate(s, o, count, spots, places):
        """Of the thread's row: (y, x, pixel, 0) of its tap (0, 0) from spots[4 r] on, and where its result goes."""
        r, y, x, pixel, place = cuda.threadIdx.x, OUTSIDE, 0, 0, -1
        row = cuda.blockIdx.x * rows + r
        if row < count:
            line, qx = divided(row, s.qw)
            n, qy = divided(line, s.qh)
            y, x = qy * s.my + s.by, qx * s.mx + s.bx
            pixel = (n * s.h + y) * s.w + x
            place = ((n * o.h + o.by + qy * o.my) * o.w + o.bx + qx * o.mx) * o.pitch + o.first
        spots[4 * r], spots[4 * r + 1], spots[4 * r + 2], spots[4 * r + 3] = y, x, pixel, 0
        places[r] = place

    return locate


def gatherer(tile: Tile, width: int):
    """The function that begins to fill a stage of a with rows of the implicit matrix, so many numbers at a time."""
    copy, pitch, beside = copier(tile, width), Stages(tile).a_pitch, tile.depth // width
    count, apart = turns(tile, tile.rows, beside)

    @cuda_function
    def gather(shared, to, source, s, spots, ty, tx, c):
        """Row r has the numbers of tap (ty, tx) from channel c on, in the thread's columns."""
        k, r = cuda.threadIdx.x % beside * width, cuda.threadIdx.x // beside
        dy, dx = ty * s.sy if ty < s.ny else OUTSIDE, tx * s.sx
        shift, first = ty * s.sy * s.w + dx, s.first + c
        for _ in range(count):
            y, x, pixel, _ = load_four(spots, 4 * r)
            inside = is_inside(y, dy, s.h) and is_inside(x, dx, s.w)
            place = multiply_add(add_int32(pixel, shift), s.pitch, first)
            copy(shared, to + r * pitch + k, source, place, inside)
            r += apart

    return gather


@cuda_function
def tap_of(weight, group, g):
    """(row, column, channel) that a row of weights sees, as of output pixel (0, 0)."""
    channels = divided(g.c, g.groups)[0]
    tap, c = divided(weight, channels)
    row, column = divided(tap, g.kw)
    return row * g.dh - g.pt if row < g.kh else OUTSIDE, column * g.dw - g.pl, group * channels + c


def pixel_gatherer(tile: Tile, width: int):
    """Two functions for columns of the implicit matrix, so many numbers at a time.

    One says which row of it a thread fills, and which of a stage's pixels first; the other begins to fill a stage.
    """
    copy, across, below = copier(tile, width), Stages(tile).a_across, tile.rows // width
    count = tile.depth * below // tile.threads
    rest = tile.depth - count

    @cuda_function
    def share():
        """(row, pixel) of the thread, of those of a stage."""
        return cuda.threadIdx.x % below * width, cuda.threadIdx.x // below * count

    @cuda_function
    def gather(shared, to, x, g, i, k, last, ky, kx, c, n, oy, ox):
        """Column k has what pixel (n, oy, ox) sees there, and so on; zeros from pixel `last` of the stage on.

        Returns the thread's pixel of the next stage.
        """
        for e in range(count):
            inside, pixel = pixel_seen(n, oy, ox, ky, kx, g)
            inside = inside and is_inside(k, e, last)
            copy(shared, to + (k + e) * across + i, x, multiply_add(pixel, g.c, c), inside)
            n, oy, ox = advanced(n, oy, ox, 1, g.oh, g.ow)
        return advanced(n, oy, ox, rest, g.oh, g.ow)

    return share, gather


@cuda_function
def pixel_of(place, g):
    """(image, row, column) of an output pixel, in 32 bits, from its place among all."""
    line, ox = divided(place, g.ow)
    n, oy = divided(line, g.oh)
    return int32(n), int32(oy), int32(ox)


@cuda_function
def pixel_seen(n, oy, ox, ky, kx, g):
    """Whether what a tap sees of output pixel (n, oy, ox) is in the image, and which of all its pixels that is."""
    y, x = oy * g.sh, ox * g.sw
    inside = is_inside(y, ky, g.h) and is_inside(x, kx, g.w)
    return inside, add_int32((n * g.h + y + ky) * g.w, x + kx)


@cuda_function
def advanced(a, b, c, count, b_end, c_end):
    """What (a, b, c) is `count` places on: c counts up to c_end, then b up to b_end, then a; in 32 bits."""
    c = add_int32(c, count)
    while c >= int32(c_end):
        c, b = add_int32(c, -c_end), add_int32(b, 1)
        if b == int32(b_end):
            b, a = int32(0), add_int32(a, 1)
    return a, b, c


def row_filler(tile: Tile):
    """The function that begins to fill a stage with rows of the implicit matrix and of weights; see `accumulator`."""
    depth, stage_b = tile.depth, stager_of_b(tile)
    gather_wide, gather_one = gatherer(tile, tile.width), gatherer(tile, 1)

    @cuda_function
    def fill(shared, a, b, step, state, source, s, spots, wide, weights, at, row, last, left, right, b_wide):
        ty, tx, c = state  # the thread's tap and channel
        if wide:
            gather_wide(shared, a, source, s, spots, ty, tx, c)
        else:
            gather_one(shared, a, source, s, spots, ty, tx, c)
        stage_b(shared, b, weights, at, row, 1, step * depth, last, left, right, b_wide)
        return advanced(ty, tx, c, depth, s.nx, s.channels)

    return fill


@cuda_function
def nothing(shared, rows, left, right, out, o):
    """What is done behind a tile that nobody asks more of."""


def convolver(tile: Tile, behind: Callable = nothing):
    """The function that computes a tile of a convolution; behind(shared, rows, left, right, out, o, *more) ends it."""
    columns, rows, depth, width, size = tile.columns, tile.rows, tile.depth, tile.width, Stages(tile).size
    results, clear, store, locate, numbers = (
        tile.results,
        clearer(tile),
        storer(tile),
        locator(tile),
        4 * rows,
    )
    accumulate = accumulator(tile, row_filler(tile))

    @cuda_function
    def convolve(source, s, weights, at, row, bias, residual, out, o, lower, count, right, *more):
        """out = max(implicit matrix * weights + bias + residual, lower) in a tile of `count` rows, `right` columns."""
        shared = cuda.shared.array(size, source.dtype, ALIGNMENT)
        spots = cuda.shared.array(numbers, np.int32, ALIGNMENT)
        places = cuda.shared.array(rows, np.int64)
        total = cuda.local.array(results, source.dtype)
        clear(total)
        locate(s, o, count, spots, places)
        left, last = cuda.blockIdx.y * columns, s.ny * s.nx * s.channels
        wide = (
            s.channels % width == 0 and s.pitch % width == 0 and s.first % width == 0 and is_aligned(source)
        )
        b_wide = row % width == 0 and at % width == 0 and right % width == 0 and is_aligned(weights)
        k = cuda.threadIdx.x % (depth // width) * width if wide else cuda.threadIdx.x % depth
        tap, c = divided(k, s.channels)
        ty, tx = divided(tap, s.nx) if s.nx > 0 else (s.ny, 0)
        steps, state = (last + depth - 1) // depth, (int32(ty), int32(tx), int32(c))
        cuda.syncthreads()
        accumulate(
            shared, steps, True, total, state, source, s, spots, wide, weights, at, row, last, left, right, b_wide
        )  # fmt: skip
        bias_at, adds, least = o.first if bias.size > 0 else -1, residual.size > 0, source.dtype.type(lower)
        store(total, True, out, places, left, right, bias, bias_at, residual, adds, least)
        behind(shared, min(count - cuda.blockIdx.x * rows, rows), left, right, out, o, *more)

    return convolve


def forward_convolver(tile: Tile, behind: Callable = nothing):
    """The function that computes a tile of a forward convolution; behind: as of `convolver`."""
    convolve = convolver(tile, behind)

    @cuda_function
    def forward(x, packed, bias, residual, y, lower, g, *more):
        filters, count = divided(g.f, g.groups)[0], g.n * g.oh * g.ow
        first = cuda.blockIdx.z * filters
        s, o = forward_sampling(g, cuda.blockIdx.z), Landing(g.oh, g.ow, g.f, first, 1, 1, 0, 0)
        convolve(x, s, packed, first, g.f, bias, residual, y, o, lower, count, filters, *more)

    return forward


def moment_keeper(tile: Tile):
    """The function that writes the moments of a tile of a forward convolution; see `convolver`."""
    columns, height = tile.columns, tile.rows

    @cuda_function
    def keep(shared, rows, left, right, out, o, moments):
        part, first = cuda.blockIdx.x, o.first + left
        at = part * height * o.pitch + first
        keep_moments(shared, out, at, rows, o.pitch, columns, right - left, moments, part, first)

    return keep


# --- kernels -----------------------------------------------------------------------------------------------------


@cuda_kernel(lambda weight, packed, g: elements(weight.size), flatten=True)
def conv_pack_weights(weight, packed, g):
    """Weights as `conv_forward` reads them: as they are, (kh kw c / groups, f)."""
    i = cuda.grid(1)
    if i < weight.size:
        packed[i] = weight[i]


SQUARE = min(THREADS, 32)  # weights that a block turns: so many channels and filters of a tap
LINE = SQUARE + 1  # apart in shared memory, so that lines and columns are both in different banks
ROOM = SQUARE * LINE
PART = THREADS // SQUARE  # lines at a time


def _squares(weight, packed, g: ConvGeometry) -> Shape:
    return Shape((covering(g.f, SQUARE), covering(g.c // g.groups, SQUARE), g.kh * g.kw), THREADS)


@cuda_function
def place_of_tap(tap, g):
    """Where a tap stands among those sorted by pixel class (`Taps`)."""
    ky, kx = tap // g.kw, tap % g.kw
    ry, rx = (ky * g.dh - g.pt) % g.sh, (kx * g.dw - g.pl) % g.sw
    rows, columns = taps_of(ry, g.pt, g.kh, g.sh, g.dh), taps_of(rx, g.pl, g.kw, g.sw, g.dw)
    ty, tx = (rows.highest - ky) // rows.period, (columns.highest - kx) // columns.period
    return class_start(g, ry, rx) + ty * columns.number + tx


@cuda_kernel(_squares, flatten=True)
def conv_pack_weights_transposed(weight, packed, g):
    """Weights as `conv_backward_data` reads them: packed[group][tap, f][c], taps sorted by pixel class (`Taps`)."""
    shared = cuda.shared.array(ROOM, weight.dtype)
    place = cuda.shared.array(1, np.int64)
    channels, filters, tap = g.c // g.groups, g.f // g.groups, cuda.blockIdx.z
    i, j = cuda.threadIdx.x % SQUARE, cuda.threadIdx.x // SQUARE
    c, f = cuda.blockIdx.y * SQUARE, cuda.blockIdx.x * SQUARE
    for line in range(j, min(SQUARE, channels - c), PART):
        if f + i < g.f:
            shared[line * LINE + i] = weight[(tap * channels + c + line) * g.f + f + i]
    if cuda.threadIdx.x == 0:
        place[0] = place_of_tap(tap, g)
    cuda.syncthreads()
    group, inside = (f + j) // filters, (f + j) % filters
    for line in range(j, min(SQUARE, g.f - f), PART):
        if c + i < channels:
            to = ((group * g.kh * g.kw + place[0]) * filters + inside) * channels + c + i
            packed[to] = shared[i * LINE + line]
        inside += PART
        while inside >= filters:
            group, inside = group + 1, inside - filters


@cuda_kernel(_forward, _forward_tile, True)
def conv_forward(tile):
    """y[n,oy,ox,f] = max(sum over ky,kx,c of x[n,iy,ix,c] w[ky,kx,c,f] + bias[f] + residual[n,oy,ox,f], lower).

    x (n,h,w,c), packed as `conv_pack_weights` left it, bias (f,) or empty, residual flat or empty -> y (n,oh,ow,f).
    lower may be -inf.
    """
    forward = forward_convolver(tile)

    def kernel(x, packed, bias, residual, y, lower, g):
        forward(x, packed, bias, residual, y, lower, g)

    return kernel


@cuda_kernel(_forward, _forward_tile, True, _row_blocks)
def conv_forward_moments(tile):
    """`conv_forward`, and the moments of what it stores, (parts,3,f) float64, for `combine_moments`."""
    forward = forward_convolver(tile, moment_keeper(tile))

    def kernel(x, packed, bias, residual, moments, y, lower, g):
        forward(x, packed, bias, residual, y, lower, g, moments)

    return kernel


@cuda_kernel(_backward, _backward_tile, True)
def conv_backward_data(tile):
    """dx[n,iy,ix,c] = max(sum over ky,kx,f of dy[n,oy,ox,f] w[ky,kx,c,f] + bias[c] + residual[n,iy,ix,c], lower).

    dy (n,oh,ow,f), packed as `conv_pack_weights_transposed` left it -> dx (n,h,w,c), of any size.
    """
    convolve = convolver(tile)

    def kernel(dy, packed, bias, residual, dx, lower, g):
        channels, filters = divided(g.c, g.groups)[0], divided(g.f, g.groups)[0]
        group, residue = divided(cuda.blockIdx.z, g.sh * g.sw)
        ry, rx = divided(residue, g.sw)
        s = backward_sampling(g, group, ry, rx)
        o = Landing(g.h, g.w, g.c, group * channels, g.sh, g.sw, ry, rx)
        at = (group * g.kh * g.kw + class_start(g, ry, rx)) * filters * channels
        convolve(dy, s, packed, at, channels, bias, residual, dx, o, lower, g.n * s.qh * s.qw, channels)

    return kernel


@cuda_function
def part_of_block(parts, g):
    """(part of the pixels, group) of this block, and the range of the part's pixels."""
    (group, part), pixels = divided(cuda.blockIdx.z, parts), g.n * g.oh * g.ow
    return part, group, divided(pixels * part, parts)[0], divided(pixels * (part + 1), parts)[0]


def pixel_filler(tile: Tile):
    """The function that begins to fill a stage with what pixels see and with their gradients; see `accumulator`."""
    depth, stage_b = tile.depth, stager_of_b(tile)
    (_, gather_wide), (_, gather_one) = pixel_gatherer(tile, tile.width), pixel_gatherer(tile, 1)

    @cuda_function
    def fill(
        shared, a, b, step, state, x, i, k, ky, kx, c, wide, dy, at, first, last, left, right, b_wide, g
    ):
        p, (n, oy, ox) = first + step * depth, state  # the thread's pixel
        stage_b(shared, b, dy, at, g.f, 1, p, last, left, right, b_wide)
        if wide:
            return gather_wide(shared, a, x, g, i, k, last - p, ky, kx, c, n, oy, ox)
        return gather_one(shared, a, x, g, i, k, last - p, ky, kx, c, n, oy, ox)

    return fill


@cuda_kernel(_weights, _weights_tile, True, _weight_parts)
def conv_backward_weights(tile):
    """partials[part] = sum over the pixels n,oy,ox of a part of x[n,iy,ix,c] dy[n,oy,ox,f], at [ky,kx,c,f].

    x (n,h,w,c), dy (n,oh,ow,f) -> partials (parts, kh*kw*(c/groups)*f); their sum is the gradient of the weights.
    """
    columns, rows, depth, width, size = tile.columns, tile.rows, tile.depth, tile.width, Stages(tile).size
    results, clear, store = tile.results, clearer(tile), storer(tile)
    accumulate = accumulator(tile, pixel_filler(tile))
    (share_wide, _), (share_one, _) = pixel_gatherer(tile, width), pixel_gatherer(tile, 1)

    def kernel(x, dy, partials, g):
        shared = cuda.shared.array(size, x.dtype, ALIGNMENT)
        places = cuda.shared.array(rows, np.int64)
        total = cuda.local.array(results, x.dtype)
        clear(total)
        channels, filters = divided(g.c, g.groups)[0], divided(g.f, g.groups)[0]
        weights = g.kh * g.kw * channels
        part, group, first, last = part_of_block(divided(partials.size, weights * g.f)[0], g)
        top, left = cuda.blockIdx.x * rows, cuda.blockIdx.y * columns
        steps, row, at = (last - first + depth - 1) // depth, top + cuda.threadIdx.x, group * filters
        places[cuda.threadIdx.x] = (part * weights + row) * g.f + at if row < weights else -1
        wide = channels % width == 0 and is_aligned(x)
        b_wide = g.f % width == 0 and filters % width == 0 and is_aligned(dy)
        i, k = share_wide() if wide else share_one()
        ky, kx, c = tap_of(top + i, group, g)
        state = pixel_of(first + k, g)
        accumulate(
            shared, steps, False, total, state, x, i, k, ky, kx, c, wide, dy, at, first, last, left, filters, b_wide, g
        )  # fmt: skip
        store(total, False, partials, places, left, filters, dy, -1, dy, False, x.dtype.type(-math.inf))

    return kernel


# --- on tensor cores, which round float32 numbers to TF32 (11 bits) before they multiply -----------------------------


@cuda_kernel(_forward, of_cores(_forward_tile), True)
def conv_forward_tf32(tile):
    """`conv_forward` in TF32."""
    return conv_forward.function(tile)


@cuda_kernel(_forward, of_cores(_forward_tile), True, _row_blocks)
def conv_forward_moments_tf32(tile):
    """`conv_forward_moments` in TF32."""
    return conv_forward_moments.function(tile)


@cuda_kernel(_backward, of_cores(_backward_tile), True)
def conv_backward_data_tf32(tile):
    """`conv_backward_data` in TF32."""
    return conv_backward_data.function(tile)


@cuda_kernel(_weights, of_cores(_weights_tile), True, _weight_parts)
def conv_backward_weights_tf32(tile):
    """`conv_backward_weights` in TF32."""
    return conv_backward_weights.function(tile)


# --- explicit columns ----------------------------------------------------------------------------------------------


@cuda_kernel(lambda x, columns, g: flat(columns), flatten=True)
def im2col(x, columns, g):
    """columns[group, (n,oy,ox), (ky,kx,c)] = x[n,iy,ix,c], zero outside.  x (n,h,w,c)."""
    channels = g.c // g.groups
    i = cuda.grid(1)
    if i < columns.size:
        c, tap = i % channels, i // channels % (g.kh * g.kw)
        pixel = i // channels // (g.kh * g.kw)
        ox, oy, rest = pixel % g.ow, pixel // g.ow % g.oh, pixel // g.ow // g.oh
        n, group = rest % g.n, rest // g.n
        iy, ix = oy * g.sh - g.pt + tap // g.kw * g.dh, ox * g.sw - g.pl + tap % g.kw * g.dw
        value = x.dtype.type(0)
        if 0 <= iy and iy < g.h and 0 <= ix and ix < g.w:
            value = x[((n * g.h + iy) * g.w + ix) * g.c + group * channels + c]
        columns[i] = value


@cuda_kernel(lambda columns, x, g: flat(x), flatten=True)
def col2im(columns, x, g):
    """x[n,iy,ix,c] = sum of columns[group, (n,oy,ox), (ky,kx,c)] over the taps that read it: im2col's adjoint."""
    channels = g.c // g.groups
    i = cuda.grid(1)
    if i < x.size:
        c, ix, iy, n = i % g.c, i // g.c % g.w, i // g.c // g.w % g.h, i // g.c // g.w // g.h
        group, total = c // channels, x.dtype.type(0)
        for tap in range(g.kh * g.kw):
            ty, tx = iy + g.pt - tap // g.kw * g.dh, ix + g.pl - tap % g.kw * g.dw
            if ty % g.sh == 0 and tx % g.sw == 0 and 0 <= ty < g.oh * g.sh and 0 <= tx < g.ow * g.sw:
                row = ((group * g.n + n) * g.oh + ty // g.sh) * g.ow + tx // g.sw
                total += columns[(row * g.kh * g.kw + tap) * channels + c % channels]
        x[i] = total
