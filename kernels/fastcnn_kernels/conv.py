"""Convolutions (cross-correlations), their gradients, transposed convolutions; any stride, dilation, groups, padding.

Images are (n, h, w, c), weights (kh, kw, c / groups, f). One formula maps output to input in every kernel:

    iy = oy * sh - pt + ky * dh,   ix = ox * sw - pl + kx * dw

All kernels multiply packed weights by an *implicit* matrix (`strips`), one row a pixel, one column a (tap, channel).
`im2col` and `col2im` store that matrix: the second algorithm, together with `gemm`.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from fastcnn_kernels.jit import (
    TILE_ROWS,
    TILE_VECTORS,
    cpu_kernel,
    device_function,
    shape_function,
    stack_array,
)
from fastcnn_kernels.microkernel import (
    TILE_SIZE,
    WIDEST,
    Epilogue,
    Matrix,
    add_rows,
    block_end,
    blocks,
    clear,
    copy,
    fill_row,
    flat,
    keep_row,
    lanes_of,
    lay_rows,
    multiply,
    pack_columns,
    pack_rows,
    row_blocks,
    rows_of_tile,
    tile_width,
)
from fastcnn_kernels.moments import keep_moments
from fastcnn_kernels.strips import (
    PIXEL_STRIP,
    PIXELS,
    STRIP,
    STRIP_ROWS,
    Part,
    Sampling,
    block_of_lines,
    copy_lines,
    copy_strip,
    cut_of,
    gather_run,
    is_matrix,
    lay_columns,
    lay_weights,
    lines_that_fit,
    part_at,
    place_of_column,
)

ITEMS = 64  # work items of a large convolution: enough to share out evenly over a dozen threads
TALLEST_ITEM = 8  # row tiles of an item; they meet a block of weights while it is in the second-level cache
WIDEST_ITEM = 16  # panels of an item; DEPTH rows of so many panels are half a megabyte
WEIGHT_ITEMS = 96
WEIGHT_PANELS = 8  # panels of an item of the weights' gradient
WEIGHTS = 192  # rows of an item of it
MOST_WEIGHTS = WEIGHTS + TILE_ROWS
PANEL_OF_PIXELS = PIXELS * WIDEST


class ConvGeometry(NamedTuple):
    """Everything a convolution kernel needs to know; plain ints. Padding below and right follows from oh, ow."""

    n: int
    h: int
    w: int
    c: int
    kh: int
    kw: int
    sh: int
    sw: int
    dh: int
    dw: int
    pt: int
    pl: int
    oh: int
    ow: int
    f: int
    groups: int


class Landing(NamedTuple):
    """Where results go: row (n, qy, qx), column j to [n, by + qy * my, bx + qx * mx, first + j] of h x w pixels."""

    h: int
    w: int
    pitch: int
    first: int
    my: int
    mx: int
    by: int
    bx: int


class Taps(NamedTuple):
    """Along one axis: the taps that reach the input cells i = residue (mod stride), from the highest down.

    Tap number t is highest - t * period; cell q * stride + residue meets output cell q + offset + t * step in it.
    """

    number: int
    highest: int
    period: int
    offset: int
    step: int


class Factor(NamedTuple):
    """Packed weights of a part of the columns, and whether the sums begin, and how they end, with this part."""

    weights: Any
    at: int  # of filter 0
    pitch: int  # from filter to filter
    depth: int  # columns
    begins: bool
    lower: float


class Workspace(NamedTuple):
    """Memory on a thread's stack."""

    strip: Any  # cells of the source
    rows: Any  # where rows of the implicit matrix begin in it
    columns: Any  # how far its columns are from there
    spare: Any  # a tile that is not full
    zeros: Any
    staging: Any  # a tile whose rows lie apart in the output
    places: Any  # of rows of the output


NUMBERS, WORDS = STRIP + 2 * TILE_SIZE + WIDEST, STRIP_ROWS + STRIP + TILE_ROWS  # of a workspace


@device_function
def workspace_of(numbers, words):
    """The memory, cut; what is to be zero is. Numbers and integers of the kernel's: its stack ends with itself."""
    spare, zeros, rows = STRIP + TILE_SIZE, STRIP + 2 * TILE_SIZE, STRIP + STRIP_ROWS
    clear(numbers, zeros, WIDEST)
    return Workspace(
        numbers[:STRIP], words[STRIP:rows], words[:STRIP], numbers[STRIP:spare], numbers[zeros:],
        numbers[spare:zeros], words[rows:],
    )  # fmt: skip


# --- geometry, in Python and in kernels ------------------------------------------------------------------------


@shape_function
def work_block(tiles, panels, repeats):
    """(row tiles, column panels) of a work item of a product of tiles x panels that is done `repeats` times."""
    tall = min(max(tiles * repeats // ITEMS, 1), TALLEST_ITEM)
    wide = min(max(panels * repeats * blocks(tiles, tall) // ITEMS, 1), WIDEST_ITEM)
    return tall, wide


@shape_function
def forward_block(g, width):
    """(row tiles, column panels) of a work item of the forward pass."""
    return work_block(row_blocks(g.n * g.oh * g.ow, TILE_ROWS), blocks(g.f // g.groups, width), g.groups)


@shape_function
def backward_block(g, width):
    """(row tiles, column panels) of a work item of the gradient of the input: one of sh * sw pixel classes."""
    tiles = row_blocks(g.n * blocks(g.h, g.sh) * blocks(g.w, g.sw), TILE_ROWS)
    return work_block(tiles, blocks(g.c // g.groups, width), g.groups * g.sh * g.sw)


@shape_function
def cuts_of_weights(g):
    """(blocks of ky, of kx, of channels) that the gradient of one group's weights is cut into: neighbours in it."""
    channels = g.c // g.groups
    lines = WEIGHTS // (g.kw * channels)
    if lines > 0:
        return blocks(g.kh, lines), 1, 1
    return g.kh, blocks(g.kw, max(WEIGHTS // channels, 1)), blocks(channels, WEIGHTS)


@shape_function
def weight_parts(g, width):
    """Parts of the pixels whose contributions to the weights' gradient are summed apart: whole lines of the output."""
    tall, wide, deep = cuts_of_weights(g)
    items = g.groups * tall * wide * deep * blocks(g.f // g.groups, WEIGHT_PANELS * width)
    lines = g.n * g.oh
    return max(min(WEIGHT_ITEMS // items, lines, blocks(lines * g.ow, PIXELS)), 1)


def _forward_items(g: ConvGeometry, itemsize: int) -> int:
    width = tile_width(itemsize)
    _, wide = forward_block(g, width)
    return forward_parts(g, itemsize) * g.groups * blocks(g.f // g.groups, wide * width)


def forward_parts(g: ConvGeometry, itemsize: int) -> int:
    """Blocks of rows whose moments `conv_forward_moments` writes."""
    tall, _ = forward_block(g, tile_width(itemsize))
    return row_blocks(g.n * g.oh * g.ow, tall * TILE_ROWS)


def _backward_items(g: ConvGeometry, itemsize: int) -> int:
    width = tile_width(itemsize)
    tall, wide = backward_block(g, width)
    rows = row_blocks(g.n * blocks(g.h, g.sh) * blocks(g.w, g.sw), tall * TILE_ROWS)
    return rows * g.groups * blocks(g.c // g.groups, wide * width) * g.sh * g.sw


def _weight_items(g: ConvGeometry, itemsize: int) -> int:
    width = tile_width(itemsize)
    tall, wide, deep = cuts_of_weights(g)
    filter_blocks = blocks(g.f // g.groups, WEIGHT_PANELS * width)
    return weight_parts(g, width) * g.groups * tall * wide * deep * filter_blocks


def _panels(columns: int, packed: np.ndarray) -> int:
    return blocks(columns, tile_width(packed.itemsize))


def packed_size(g: ConvGeometry, itemsize: int) -> int:
    """Numbers in the weights packed for `conv_forward`."""
    width = tile_width(itemsize)
    return g.kh * g.kw * g.c * blocks(g.f // g.groups, width) * width


def packed_transposed_size(g: ConvGeometry, itemsize: int) -> int:
    """Numbers in the weights packed for `conv_backward_data`."""
    width = tile_width(itemsize)
    return g.kh * g.kw * g.f * blocks(g.c // g.groups, width) * width


@device_function
def forward_sampling(g, group):
    """Rows are output pixels, columns the taps and channels of x that they read."""
    channels = g.c // g.groups
    return Sampling(
        g.h, g.w, g.c, group * channels, channels, g.oh, g.ow, g.sh, g.sw, -g.pt, -g.pl, g.dh, g.dw, g.kh, g.kw
    )  # fmt: skip


@shape_function
def common_divisor(m, n):
    """The greatest one, as Euclid finds it; a CUDA device has no `math.gcd`."""
    while n > 0:
        m, n = n, m % n
    return m


@shape_function
def taps_of(residue, pad, kernel, stride, dilation):
    """The taps with residue + pad - k * dilation divisible by the stride."""
    if stride == 1:  # all; a device divides slowly
        return Taps(kernel, kernel - 1, 1, residue + pad - (kernel - 1) * dilation, dilation)
    period = stride // common_divisor(stride, dilation)
    for k in range(min(period, kernel)):
        if (residue + pad - k * dilation) % stride == 0:
            count = (kernel - 1 - k) // period + 1
            highest = k + (count - 1) * period
            offset = (residue + pad - highest * dilation) // stride
            return Taps(count, highest, period, offset, period * dilation // stride)
    return Taps(0, 0, period, 0, 0)


@device_function
def taps_before(residue, pad, kernel, stride, dilation):
    """How many taps belong to smaller residues."""
    count = 0
    for smaller in range(residue):
        count += taps_of(smaller, pad, kernel, stride, dilation).number
    return count


@device_function
def backward_sampling(g, group, ry, rx):
    """Rows are the input pixels of class (ry, rx), columns the taps and filters of dy that reached them."""
    rows, columns = taps_of(ry, g.pt, g.kh, g.sh, g.dh), taps_of(rx, g.pl, g.kw, g.sw, g.dw)
    filters = g.f // g.groups
    qh, qw = (g.h - ry + g.sh - 1) // g.sh, (g.w - rx + g.sw - 1) // g.sw
    return Sampling(
        g.oh, g.ow, g.f, group * filters, filters, qh, qw, 1, 1,
        rows.offset, columns.offset, rows.step, columns.step, rows.number, columns.number,
    )  # fmt: skip


# --- products by the implicit matrix ---------------------------------------------------------------------------


@device_function
def locate(o, s, pixel, rows, places):
    """places[i] = where row pixel + i of the result begins in the output."""
    for i in range(rows):
        qx, line = (pixel + i) % s.qw, (pixel + i) // s.qw
        qy, n = line % s.qh, line // s.qh
        places[i] = ((n * o.h + o.by + qy * o.my) * o.w + o.bx + qx * o.mx) * o.pitch + o.first


@device_function
def begin(end, o, j, rows, columns, work, into):
    """`into` = residual + bias, in the columns from j on of rows that begin at work.places of the output."""
    bias, at = (end.bias, o.first + j) if end.bias.size else (work.zeros, 0)
    for r in range(rows):
        add_rows(into.data, into.at + r * into.row, end.residual, work.places[r] + j, bias, at, columns)


@device_function
def convolve(source, s, cut, weights, weights_at, panel_pitch, end, out, o, block, work):
    """One block of out = max(implicit matrix * weights + bias + residual, lower).

    block: (top, bottom, left, right) rows and columns. The panel of columns j is at weights_at + j * panel_pitch.
    """
    for ty in range(0, max(s.ny, 1), cut.ny):  # where no tap reaches, the result is the bias
        for tx in range(0, max(s.nx, 1), cut.nx):
            for c in range(0, s.channels, cut.channels):
                part = part_at(s, cut, ty, tx, c)
                add_part(source, s, cut, part, weights, weights_at, panel_pitch, end, out, o, block, work)


@device_function
def add_part(source, s, cut, part, weights, weights_at, panel_pitch, end, out, o, block, work):
    """Add what the columns of a part give to a block of the result. The first part begins it, the last ends it."""
    top, bottom, left, right = block
    begins = part.ty == 0 and part.tx == 0 and part.c == 0
    ends = part.ty + part.ny == s.ny and part.tx + part.nx == s.nx and part.c + part.channels == s.channels
    depth, plain = part.ny * part.nx * part.channels, is_matrix(s)
    at = weights_at + place_of_column(s, cut, part.ty, part.tx, part.c) * lanes_of(out) * TILE_VECTORS
    factor = Factor(weights, at, panel_pitch, depth, begins, end.lower if ends else -math.inf)
    if not plain:
        lay_columns(s, cut, part, work.columns)
    first = top
    while first < bottom:
        stop = top + block_end(first - top, cut.height, bottom - top)
        if depth > 0 and not plain:
            copy_strip(source, s, first, stop - first, cut, part, work.strip, work.rows)
        i, rows = first, 0
        while i < stop:
            rows = rows_of_tile(stop - i)
            a, places = work.strip, work.rows[i - first :]
            if plain:
                a = source
                lay_rows(places, i * s.pitch + s.first + part.c, s.pitch, rows)
            add_tile(i, rows, a, places, factor, end, out, o, s, left, right, work)
            i += rows
        first = stop


@device_function
def add_tile(i, rows, a, places, factor, end, out, o, s, left, right, work):
    """The same for the pixels i, i + 1, ... of a tile, whose rows of the implicit matrix begin at `places` of a."""
    width, apart = lanes_of(out) * TILE_VECTORS, o.my > 1 or o.mx > 1
    if apart:
        locate(o, s, i, rows, work.places)
    elif end.residual.size:
        for r in range(rows):
            work.places[r] = (i + r) * o.pitch + o.first
    for j in range(left, right, width):
        columns = min(width, right - j)
        into = Matrix(out, i * o.pitch + o.first + j, o.pitch)
        if apart:
            into = Matrix(work.staging, 0, width)
            if not factor.begins:
                for r in range(rows):
                    fill_row(work.staging, r * width, out, work.places[r] + j, columns)
        start = into
        if factor.begins and end.residual.size:
            begin(end, o, j, rows, columns, work, into)
        elif factor.begins:
            start = Matrix(end.bias, o.first + j, 0) if end.bias.size else Matrix(work.zeros, 0, 0)
        b = Matrix(factor.weights, factor.at + j * factor.pitch, width)
        if is_matrix(s):
            multiply(rows, columns, factor.depth, a, places, 1, b, start, factor.lower, into, work.spare)
        else:
            multiply(
                rows, columns, factor.depth, a, places, work.columns, b, start, factor.lower, into, work.spare
            )
        if apart:
            for r in range(rows):
                keep_row(out, work.places[r] + j, work.staging, r * width, columns)


@device_function
def part_of_weights(g, i):
    """Block i of the weights; those of one direction differ by one at most."""
    tall, wide, deep = cuts_of_weights(g)
    channels = g.c // g.groups
    i, z = i // deep, i % deep
    i, x = i // wide, i % wide
    c, tx, ty = channels * z // deep, g.kw * x // wide, g.kh * i // tall
    size = g.kh * (i + 1) // tall - ty, g.kw * (x + 1) // wide - tx, channels * (z + 1) // deep - c
    return Part(ty, tx, c, size[0], size[1], size[2])


# --- kernels -----------------------------------------------------------------------------------------------------


@cpu_kernel(lambda weight, packed, g: g.kh * g.kw * g.groups * _panels(g.f // g.groups, packed))
def conv_pack_weights(weight, packed, g, first, last):
    """Weights as `conv_forward` reads them: packed[group][panel][column][filter of the panel], zero-filled. The columns
    (tap, c) of a part are neighbours: `place_of_column`."""
    weight, packed = flat(weight), flat(packed)
    width, taps = lanes_of(packed) * TILE_VECTORS, g.kh * g.kw
    channels, filters = g.c // g.groups, g.f // g.groups
    panels = blocks(filters, width)
    s = forward_sampling(g, 0)
    cut = cut_of(s)
    for item in range(first, last):
        tap, panel = item % taps, item // taps
        group, j = panel // panels, panel % panels * width
        for c in range(0, channels, cut.channels):
            at = (tap * channels + c) * g.f + group * filters + j
            to = (panel * taps * channels + place_of_column(s, cut, tap // g.kw, tap % g.kw, c)) * width
            pack_rows(
                weight, at, g.f, min(cut.channels, channels - c), min(width, filters - j), packed, to, width
            )


@cpu_kernel(lambda weight, packed, g: g.kh * g.kw * g.groups * _panels(g.c // g.groups, packed))
def conv_pack_weights_transposed(weight, packed, g, first, last):
    """Weights as `conv_backward_data` reads them: packed[group][panel][column][channel of the panel], zero-filled.

    Columns (tap, f) are sorted by the pixel class (`Taps`) that they reach, taps of a class from the highest down;
    within a class as `place_of_column` says.
    """
    weight, packed = flat(weight), flat(packed)
    width, taps = lanes_of(packed) * TILE_VECTORS, g.kh * g.kw
    channels, filters = g.c // g.groups, g.f // g.groups
    panels = blocks(channels, width)
    for item in range(first, last):
        ky, kx, panel = item // g.kw % g.kh, item % g.kw, item // taps
        group, j = panel // panels, panel % panels * width
        ry, rx = (ky * g.dh - g.pt) % g.sh, (kx * g.dw - g.pl) % g.sw
        rows, columns = taps_of(ry, g.pt, g.kh, g.sh, g.dh), taps_of(rx, g.pl, g.kw, g.sw, g.dw)
        ty, tx = (rows.highest - ky) // rows.period, (columns.highest - kx) // columns.period
        s = backward_sampling(g, group, ry, rx)
        cut = cut_of(s)
        for f in range(0, filters, cut.channels):
            at = ((ky * g.kw + kx) * channels + j) * g.f + group * filters + f
            row = (panel * taps + class_start(g, ry, rx)) * filters + place_of_column(s, cut, ty, tx, f)
            size = min(cut.channels, filters - f), min(width, channels - j)
            pack_columns(weight, at, g.f, size[0], size[1], packed, row * width, width)


@device_function
def class_start(g, ry, rx):
    """How many taps are packed before those of pixel class (ry, rx)."""
    above = taps_before(ry, g.pt, g.kh, g.sh, g.dh) * g.kw
    beside = taps_of(ry, g.pt, g.kh, g.sh, g.dh).number * taps_before(rx, g.pl, g.kw, g.sw, g.dw)
    return above + beside


@device_function
def forward_item(x, packed, end, y, g, cut, item, work):
    """An item of `conv_forward`: (rows of y that are stored before, rows, first filter, filters)."""
    width, filters, total = lanes_of(y) * TILE_VECTORS, g.f // g.groups, g.kh * g.kw * (g.c // g.groups)
    tall, wide = forward_block(g, width)
    height, breadth, rows = tall * TILE_ROWS, wide * width, g.n * g.oh * g.ow
    column_blocks, panels = blocks(filters, breadth), blocks(filters, width)
    left, group = item % column_blocks * breadth, item // column_blocks % g.groups
    top, right = item // column_blocks // g.groups * height, min(left + breadth, filters)
    bottom = block_end(top, height, rows)
    o, s = Landing(g.oh, g.ow, g.f, group * filters, 1, 1, 0, 0), forward_sampling(g, group)
    convolve(
        x, s, cut, packed, group * panels * total * width, total, end, y, o, (top, bottom, left, right), work
    )
    return top, bottom - top, group * filters + left, right - left


@cpu_kernel(lambda x, packed, bias, residual, y, lower, g: _forward_items(g, y.itemsize))
def conv_forward(x, packed, bias, residual, y, lower, g, first, last):
    """y[n,oy,ox,f] = max(sum over ky,kx,c of x[n,iy,ix,c] w[ky,kx,c,f] + bias[f] + residual[n,oy,ox,f], lower).

    x (n,h,w,c), packed as `conv_pack_weights` left it, bias (f,) or empty, residual flat or empty -> y (n,oh,ow,f).
    lower may be -inf.
    """
    x, packed, y, end = flat(x), flat(packed), flat(y), Epilogue(bias, residual, lower)
    work = workspace_of(stack_array(y, NUMBERS), stack_array(np.int64, WORDS))
    cut = cut_of(forward_sampling(g, 0))  # the same for all groups
    for item in range(first, last):
        forward_item(x, packed, end, y, g, cut, item, work)


@cpu_kernel(
    lambda x, packed, bias, residual, moments, y, lower, g: _forward_items(g, y.itemsize),
    lambda g, dtype: forward_parts(g, np.dtype(dtype).itemsize),
)
def conv_forward_moments(x, packed, bias, residual, moments, y, lower, g, first, last):
    """`conv_forward`, and the moments of what it stores, (parts,3,f) float64, for `combine_moments`."""
    x, packed, y, end = flat(x), flat(packed), flat(y), Epilogue(bias, residual, lower)
    work = workspace_of(stack_array(y, NUMBERS), stack_array(np.int64, WORDS))
    cut = cut_of(forward_sampling(g, 0))
    tall, _ = forward_block(g, lanes_of(y) * TILE_VECTORS)
    for item in range(first, last):
        top, rows, f, filters = forward_item(x, packed, end, y, g, cut, item, work)
        keep_moments(y, top * g.f + f, rows, filters, g.f, moments, top // (tall * TILE_ROWS), f)


@cpu_kernel(lambda dy, packed, bias, residual, dx, lower, g: _backward_items(g, dx.itemsize))
def conv_backward_data(dy, packed, bias, residual, dx, lower, g, first, last):
    """dx[n,iy,ix,c] = max(sum over ky,kx,f of dy[n,oy,ox,f] w[ky,kx,c,f] + bias[c] + residual[n,iy,ix,c], lower).

    dy (n,oh,ow,f), packed as `conv_pack_weights_transposed` left it -> dx (n,h,w,c), of any size. The gradient of
    `conv_forward` with an empty bias and lower = -inf; a transposed convolution otherwise. bias and residual as there.

    Input pixels with the same (iy mod sh, ix mod sw) are reached by the same taps: each such class is a dense
    product of its own, without the zeros that a strided convolution's gradient is often padded with.
    """
    dy, packed, dx, end = flat(dy), flat(packed), flat(dx), Epilogue(bias, residual, lower)
    work = workspace_of(stack_array(dx, NUMBERS), stack_array(np.int64, WORDS))
    width, channels, total = lanes_of(dx) * TILE_VECTORS, g.c // g.groups, g.kh * g.kw * (g.f // g.groups)
    tall, wide = backward_block(g, width)
    height, breadth, classes = tall * TILE_ROWS, wide * width, g.sh * g.sw
    column_blocks, panels = blocks(channels, breadth), blocks(channels, width)
    for item in range(first, last):
        ry, rx, rest = item % classes // g.sw, item % g.sw, item // classes
        left, group = rest % column_blocks * breadth, rest // column_blocks % g.groups
        top = rest // column_blocks // g.groups * height
        s = backward_sampling(g, group, ry, rx)
        block = top, block_end(top, height, g.n * s.qh * s.qw), left, min(left + breadth, channels)
        o = Landing(g.h, g.w, g.c, group * channels, g.sh, g.sw, ry, rx)
        at = (group * panels * total + class_start(g, ry, rx) * s.channels) * width
        convolve(dy, s, cut_of(s), packed, at, total, end, dx, o, block, work)


@cpu_kernel(
    lambda x, dy, partials, g: _weight_items(g, partials.itemsize),
    lambda g, dtype: weight_parts(g, tile_width(np.dtype(dtype).itemsize)),
)
def conv_backward_weights(x, dy, partials, g, first, last):
    """partials[part] = sum over the pixels n,oy,ox of a part of x[n,iy,ix,c] dy[n,oy,ox,f], at [ky,kx,c,f].

    x (n,h,w,c), dy (n,oh,ow,f) -> partials (parts, kh*kw*(c/groups)*f); their sum is the gradient of the weights.
    """
    x, dy, partials = flat(x), flat(dy), flat(partials)
    strip, panel = stack_array(x, PIXEL_STRIP), stack_array(x, PANEL_OF_PIXELS)
    rows, pixels = stack_array(np.int64, MOST_WEIGHTS), stack_array(np.int64, PIXELS)
    spare, zeros = stack_array(x, TILE_SIZE), stack_array(x, WIDEST)
    clear(zeros, 0, WIDEST)
    width, channels, filters = lanes_of(x) * TILE_VECTORS, g.c // g.groups, g.f // g.groups
    parts, lines, total = weight_parts(g, width), g.n * g.oh, g.kh * g.kw * channels
    tall, wide, deep = cuts_of_weights(g)
    cuts, filter_blocks = tall * wide * deep, blocks(filters, WEIGHT_PANELS * width)
    for item in range(first, last):
        left, rest = item % filter_blocks * WEIGHT_PANELS * width, item // filter_blocks
        part, rest = part_of_weights(g, rest % cuts), rest // cuts
        group, share = rest % g.groups, rest // g.groups
        s, right = forward_sampling(g, group), min(left + WEIGHT_PANELS * width, filters)
        block, weights = block_of_lines(s, part), part.ny * part.nx * part.channels
        lay_weights(part, block, rows)
        origin = (
            share * total * g.f + ((part.ty * g.kw + part.tx) * channels + part.c) * g.f + group * filters
        )
        begin, end = lines * share // parts, lines * (share + 1) // parts
        line, qx = begin, 0
        while line < end:
            across = min(block.across, g.ow - qx)
            down = 1 if across < g.ow else lines_that_fit(s, part, block, line, end)
            copy_lines(x, s, part, block, line, down, qx, across, strip, pixels)
            pixel, depth = line * g.ow + qx, down * across
            for j in range(left, right, width):
                breadth = min(width, right - j)
                b = Matrix(dy, pixel * g.f, width)
                if g.f > width or breadth < width:
                    pack_rows(dy, pixel * g.f + group * filters + j, g.f, depth, breadth, panel, 0, width)
                    b = Matrix(panel, 0, width)
                i, height = 0, 0
                while i < weights:
                    height = rows_of_tile(weights - i)
                    into = Matrix(partials, origin + i * g.f + j, g.f)
                    start = into if line > begin or qx > 0 else Matrix(zeros, 0, 0)
                    multiply(
                        height, breadth, depth, strip, rows[i:], pixels, b, start, -math.inf, into, spare
                    )
                    i += height
            qx += across
            if qx == g.ow:
                line, qx = line + down, 0


# --- explicit columns ----------------------------------------------------------------------------------------------


@device_function
def gather_row(source, s, n, y, x, ty, tx, c, depth, panel, at):
    """`depth` columns, from (ty, tx, c) on, of the row whose tap (0, 0) is at (y, x)."""
    connected = s.sx == 1 and s.channels == s.pitch  # neighbouring taps are neighbours in memory
    while depth > 0:
        taps = s.nx - tx if connected else 1
        run = min(taps * s.channels - c, depth)
        iy, ix = y + ty * s.sy, x + tx * s.sx
        line = (n * s.h + iy) * s.w * s.pitch
        if iy < 0 or iy >= s.h:
            clear(panel, at, run)
        elif connected:
            gather_run(source, line, s.w * s.pitch, ix * s.pitch + c, run, panel, at)
        elif ix < 0 or ix >= s.w:
            clear(panel, at, run)
        else:
            copy(panel, at, source, line + ix * s.pitch + s.first + c, run)
        depth, at, c, tx = depth - run, at + run, 0, tx + taps
        if tx == s.nx:
            ty, tx = ty + 1, 0


@device_function
def gather(source, s, pixel, rows, column, depth, panel, at, pitch):
    """panel[at + i * pitch + j] = implicit matrix [pixel + i, column + j] for i < rows, j < depth."""
    tap, c = column // s.channels, column % s.channels
    ty, tx = tap // s.nx, tap % s.nx
    qx, line = pixel % s.qw, pixel // s.qw
    qy, n = line % s.qh, line // s.qh
    for i in range(rows):
        y, x = qy * s.my + s.by, qx * s.mx + s.bx
        gather_row(source, s, n, y, x, ty, tx, c, depth, panel, at + i * pitch)
        qx += 1
        if qx == s.qw:
            qx, qy = 0, qy + 1
            if qy == s.qh:
                qy, n = 0, n + 1


@cpu_kernel(lambda x, columns, g: g.groups * g.n * g.oh)
def im2col(x, columns, g, first, last):
    """columns[group, (n,oy,ox), (ky,kx,c)] = x[n,iy,ix,c], zero outside.  x (n,h,w,c)."""
    x, columns = flat(x), flat(columns)
    total = g.kh * g.kw * (g.c // g.groups)
    for item in range(first, last):
        group, line = item // (g.n * g.oh), item % (g.n * g.oh)
        s, at = forward_sampling(g, group), item * g.ow * total
        gather(x, s, line * g.ow, g.ow, 0, total, columns, at, total)


@cpu_kernel(lambda columns, x, g: g.n * g.h)
def col2im(columns, x, g, first, last):
    """x[n,iy,ix,c] = sum of columns[group, (n,oy,ox), (ky,kx,c)] over the taps that read it: im2col's adjoint."""
    columns, x = flat(columns), flat(x)
    channels = g.c // g.groups
    for item in range(first, last):
        n, iy = item // g.h, item % g.h
        for ix in range(g.w):
            to = (item * g.w + ix) * g.c
            clear(x, to, g.c)
            for tap in range(g.kh * g.kw):
                ty, tx = iy + g.pt - tap // g.kw * g.dh, ix + g.pl - tap % g.kw * g.dw
                if ty % g.sh == 0 and tx % g.sw == 0 and 0 <= ty < g.oh * g.sh and 0 <= tx < g.ow * g.sw:
                    pixel = (n * g.oh + ty // g.sh) * g.ow + tx // g.sw
                    for group in range(g.groups):
                        row = group * g.n * g.oh * g.ow + pixel
                        at, into = (row * g.kh * g.kw + tap) * channels, to + group * channels
                        add_to(x[into : into + channels], columns[at : at + channels])


@device_function
def add_to(total, more):
    """total += more, element by element."""
    for i in range(total.size):
        total[i] += more[i]
