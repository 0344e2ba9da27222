"""3 x 3 convolutions with stride 1 by Winograd's algorithm: 4 times fewer multiplications, F(4x4), or 2.25, F(2x2).

A tile of m x m outputs is a polynomial product, computed by evaluation at m + 1 points and infinity along each axis:

    y = A^T [ (G w G^T) * (B^T d B) ] A        d: (m+2) x (m+2) inputs, w: 3 x 3 weights, y: m x m outputs

(Lavin & Gray 2016, arXiv:1509.09308). The product in the brackets is one for every pair of points; over all tiles,
channels and filters it is a matrix product for each of the (m+2)^2 pairs. `transforms.py` has what is left and right of
it.

The gradient of the input is the same convolution with rotated weights, that of the weights the transposed map:

    dw = G^T [ sum over tiles of (B^T d B) * (A dy A^T) ] G

What is transformed lives in a thread's workspace, never in main memory: an item is a block of tiles whose transformed
channels fit the second-level cache, and some panels of filters.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.jit import (
    TILE_ROWS,
    TILE_VECTORS,
    cpu_kernel,
    device_function,
    items_wanted,
    shape_function,
    stack_array,
)
from fastcnn_kernels.microkernel import (
    FEW_ROWS,
    WIDEST,
    Epilogue,
    Matrix,
    blocks,
    clear,
    distance,
    flat,
    lanes,
    lanes_of,
    pack_columns,
    pack_rows,
    product_tile,
    tile_width,
)
from fastcnn_kernels.moments import Sums, add_run, keep_sums, run_of
from fastcnn_kernels.reduction import TILE
from fastcnn_kernels.transforms import (
    COLUMNS,
    EDGE,
    GRADIENT,
    INPUT,
    JUMP,
    OUTPUT,
    PLACE,
    RUN,
    STEP,
    TABLE,
    WEIGHTS,
    WEIGHTS_GRADIENT,
    from_points,
    transform_columns,
    transform_rows,
)

LINE = 16  # numbers; rows of the workspace begin at multiples of it
DEPTH_BLOCK = 16  # rows of weights that are transformed at once
WEIGHTS_BLOCK = 9 * DEPTH_BLOCK * WIDEST
CHANNEL_ROWS = (
    16 if TILE_ROWS > 8 else 8
)  # a register tile of one vector for as many channels as layers often have

BLOCK = (
    max(28 // TILE_ROWS, 1) * TILE_ROWS
)  # tiles of an item: what becomes of them fits a second-level cache
ITEMS = 16  # of a small convolution, for a few threads to share
FEW_ITEMS, SMALLEST_BLOCK = 4, 8  # of one that is smaller still; fewer tiles waste rows of products
MANY_CHANNELS = 256  # the tiles' transformed channels no longer fit beside those of more filters
GRADIENT_CHANNELS = 64  # of an item of the weights' gradient, whose sums take half a megabyte
GRADIENT_PANELS = 2
SMALLEST_PART = 128  # tiles; less is not worth a transform of the sums


class WinogradGeometry(NamedTuple):
    """A 3 x 3 convolution of stride 1 cut into tiles of size x size outputs; plain ints."""

    n: int
    h: int
    w: int
    c: int
    pt: int
    pl: int
    oh: int
    ow: int
    f: int
    groups: int
    size: int
    down: int  # tiles in a column
    across: int  # tiles in a row
    block: int  # tiles of a work item (for the gradient of the weights: at a time)
    width: int  # filters of a panel
    panels: int  # panels of a work item
    channels: int  # channels of a work item
    parts: int  # parts of the tiles whose contributions to the gradient of the weights are summed apart


# --- tiles in memory ---------------------------------------------------------------------------------------------


class Points(NamedTuple):
    """What is transformed: number j of a row (a tile, or a channel) at a point is data[at + row + point + j]."""

    data: Any
    at: int
    row: int  # from one row to the next
    pitch: int  # from one point to the next


class Pieces(NamedTuple):
    """How a thread's workspace is cut, in numbers."""

    zeros: int  # what is read outside an image and where there is no bias; as much again for results outside
    inputs: Points  # of tiles and channels
    products: Points  # of tiles and filters
    sums: Points  # of channels and filters, for the gradient of the weights
    size: int


class Images(NamedTuple):
    """Channels from `first` on of images (n, h, w, pitch), and the place that stands for pixels outside them."""

    data: Any
    h: int
    w: int
    pitch: int
    first: int
    outside: int


class Spare(NamedTuple):
    """Small memory on a thread's stack."""

    rows: Any  # where rows of pixels are, as `locate` leaves it
    added: Any  # the same of the residual
    columns: Any  # transformed columns of a run of tiles


@shape_function
def points(size):
    """Pairs of points of a tile."""
    return (size + 2) * (size + 2)


@shape_function
def padded(count):
    """Numbers in a row at one point: whole lines."""
    return blocks(count, LINE) * LINE


@shape_function
def apart(count):
    """Distance between rows: an odd number of lines, or all rows would meet in one set of the first-level cache."""
    return (blocks(count, LINE) | 1) * LINE


@shape_function
def pieces(memory, g, weights):
    """The workspace `memory`, cut. Rows are enough for whole register tiles. weights: for their gradient.

    All points of a row are neighbours: were they a block of tiles apart, each would be on a page of its own, more
    pages than the processor's table of them holds for writing.
    """
    channels, columns, number = padded(g.channels), g.panels * g.width, points(g.size)
    zeros, rows = max(channels, columns), g.block + TILE_ROWS
    row, column = apart(number * channels), apart(number * columns)
    inputs = Points(memory, 2 * zeros, row, channels)
    products = Points(memory, inputs.at + rows * row, column, columns)
    sums = Points(memory, products.at + rows * column, columns, apart((g.channels + TILE_ROWS) * columns))
    return Pieces(zeros, inputs, products, sums, sums.at + (number * sums.pitch if weights else 0))


def workspace_size(g: WinogradGeometry, weights: bool = False) -> int:
    """Numbers in a thread's workspace; weights: of `winograd_backward_weights`."""
    return pieces(None, g, weights).size


@device_function
def locate(rows, edge, images, line, left, g):
    """Where the rows of a line of tiles begin, at column `left`; a row outside its image is one place, again and again.

    rows[PLACE][i], rows[STEP][i], rows[JUMP][i]: a pixel of row i < edge, from it to the next, and to the next tile.
    line: (image, row of the first pixel).
    """
    n, top = line
    for i in range(edge):
        inside = 0 <= top + i < images.h
        place = ((n * images.h + top + i) * images.w + left) * images.pitch + images.first
        rows[PLACE * EDGE + i] = place if inside else images.outside
        rows[STEP * EDGE + i] = images.pitch if inside else 0
        rows[JUMP * EDGE + i] = images.pitch * g.size if inside else 0


@shape_function
def run_of_tiles(g, tile, left):
    """Tiles from `tile` on that are neighbours in a row, of so many left."""
    return min(left, g.across - tile % g.across, RUN)


# --- steps of the algorithm --------------------------------------------------------------------------------------


@device_function
def transform_inputs(images, g, tile, count, channels, spare, into):
    """`into` = B^T d B of `count` tiles; the rows that complete a register tile are zero."""
    step, done, taken = lanes_of(images.data), 0, g.size + 2
    while done < count:
        tiles, line = run_of_tiles(g, tile + done, count - done), (tile + done) // g.across
        left = (tile + done) % g.across * g.size - g.pl
        locate(spare.rows, taken, images, (line // g.down, line % g.down * g.size - g.pt), left, g)
        columns = tiles * g.size + 2
        first = min(max(-left, 0), columns)
        last = max(min(columns, images.w - left), first)
        if first > 0:
            clear(spare.columns, 0, first * taken * step)
        if last < columns:
            clear(spare.columns, last * taken * step, (columns - last) * taken * step)
        for j in range(0, channels, step):
            start = max(min(j, channels - step), 0)  # the last vector overlaps the one before
            at = into.at + done * into.row + start
            transform_columns(
                INPUT, g.size, images.data, spare.rows, first, last, spare.columns, start, channels
            )
            transform_rows(INPUT, g.size, spare.columns, tiles, into.data, at, into.row, into.pitch)
        done += tiles
    clear(into.data, into.at + count * into.row, (covered(count) - count) * into.row)


@device_function
def transform_gradients(images, g, tile, count, filters, spare, into):
    """`into` = A dy A^T of `count` tiles."""
    step, done = lanes_of(images.data), 0
    while done < count:
        tiles, line = run_of_tiles(g, tile + done, count - done), (tile + done) // g.across
        left = (tile + done) % g.across * g.size
        locate(spare.rows, g.size, images, (line // g.down, line % g.down * g.size), left, g)
        columns, given = tiles * g.size, g.size + 2
        last = min(columns, images.w - left)
        if last < columns:
            clear(spare.columns, last * given * step, (columns - last) * given * step)
        for j in range(0, filters, step):
            start = max(min(j, filters - step), 0)
            at = into.at + done * into.row + start
            transform_columns(
                GRADIENT, g.size, images.data, spare.rows, 0, last, spare.columns, start, filters
            )
            transform_rows(GRADIENT, g.size, spare.columns, tiles, into.data, at, into.row, into.pitch)
        done += tiles


@device_function
def rows_of(left):
    """Rows of the next register tile where `left` rows are left."""
    return TILE_ROWS if left > 2 * FEW_ROWS else FEW_ROWS


@device_function
def covered(count):
    """Rows that the register tiles of `count` rows touch."""
    rows = 0
    while rows < count:
        rows += rows_of(count - rows)
    return rows


@device_function
def multiply_points(inputs, weights, at, g, columns, count, products):
    """products = inputs times the transformed weights of `columns` filters, at every point."""
    width, number = g.width, points(g.size)
    for point in range(number):
        for j in range(0, columns, width):
            b, i = Matrix(weights, at + (j * number + point * width) * g.channels, width), 0
            while i < count:
                a = Matrix(inputs.data, inputs.at + point * inputs.pitch + i * inputs.row, inputs.row)
                place = products.at + point * products.pitch + i * products.row + j
                rows, c = rows_of(count - i), Matrix(products.data, place, products.row)
                if columns - j > lanes_of(weights):
                    if rows > FEW_ROWS:
                        product_tile(TILE_ROWS, TILE_VECTORS, 0, g.channels, a, 1, b, c)
                    else:
                        product_tile(FEW_ROWS, TILE_VECTORS, 0, g.channels, a, 1, b, c)
                elif rows > FEW_ROWS:
                    product_tile(TILE_ROWS, 1, 0, g.channels, a, 1, b, c)
                else:
                    product_tile(FEW_ROWS, 1, 0, g.channels, a, 1, b, c)
                i += rows


@device_function
def add_products(inputs, gradients, g, channels, columns, count, sums):
    """sums += inputs^T gradients, summed over `count` tiles, at every point."""
    width = g.width
    for point in range(points(g.size)):
        for j in range(0, columns, width):
            b, i = Matrix(gradients.data, gradients.at + point * gradients.pitch + j, gradients.row), 0
            while i < channels:
                a = Matrix(inputs.data, inputs.at + point * inputs.pitch + i, 1)
                c = Matrix(sums.data, sums.at + point * sums.pitch + i * sums.row + j, sums.row)
                rows = rows_of(channels - i)
                if columns - j > lanes_of(sums.data):
                    if rows > FEW_ROWS:
                        product_tile(TILE_ROWS, TILE_VECTORS, 1, count, a, inputs.row, b, c)
                    else:
                        product_tile(FEW_ROWS, TILE_VECTORS, 1, count, a, inputs.row, b, c)
                elif channels - i == CHANNEL_ROWS:
                    rows = CHANNEL_ROWS
                    product_tile(CHANNEL_ROWS, 1, 1, count, a, inputs.row, b, c)
                elif rows > FEW_ROWS:
                    product_tile(TILE_ROWS, 1, 1, count, a, inputs.row, b, c)
                else:
                    product_tile(FEW_ROWS, 1, 1, count, a, inputs.row, b, c)
                i += rows


@device_function
def transform_outputs(products, end, images, more, g, tile, count, columns, spare, zeros):
    """y = max(A^T m A + bias + residual, lower) of `count` tiles and `columns` filters: all that writes results.

    images: of y; more: of the residual.
    """
    done, whole = 0, columns // lanes_of(images.data) * lanes_of(images.data)
    while done < count:
        tiles, line = run_of_tiles(g, tile + done, count - done), (tile + done) // g.across
        left = (tile + done) % g.across * g.size
        here = line // g.down, line % g.down * g.size
        locate(spare.rows, g.size, images, here, left, g)
        if more.data.size:
            locate(spare.added, g.size, more, here, left, g)
        wide = min(tiles * g.size, g.ow - left)
        shift, shift_at = (end.bias, images.first) if end.bias.size else (products.data, zeros)
        for j, some in ((0, whole), (whole, columns - whole)):
            at, shift_j = products.at + done * products.row + j, shift_at + j
            source = Points(products.data, at, products.row, products.pitch)
            from_points(
                OUTPUT, g.size, source, tiles, wide, j, some, shift, shift_j, more.data, spare.added, end.lower,
                images.data, spare.rows,
            )  # fmt: skip
        done += tiles


@device_function
def keep_tile_moments(y, g, tile, count, first, columns, moments, row):
    """Write a row of moments, of `columns` filters from `first` on: of the results of `count` tiles."""
    sums = Sums(stack_array(y, TILE), stack_array(np.float64, TILE), stack_array(np.float64, TILE))
    run, done, pixels = run_of(y, g.size * g.ow, 0, columns, g.f), 0, 0
    while done < count:
        line, left = (tile + done) // g.across, (tile + done) % g.across
        tiles, top = min(count - done, g.across - left), line % g.down * g.size
        wide, tall = min(tiles * g.size, g.ow - left * g.size), min(g.size, g.oh - top)
        if wide == g.ow:  # whole lines are neighbours in memory
            wide, tall = wide * tall, 1
        for i in range(tall):
            at = ((line // g.down * g.oh + top + i) * g.ow + left * g.size) * g.f + first
            pixels = add_run(sums, y, at, wide, g.f, run, pixels)
        done += tiles
    keep_sums(sums, pixels, run, moments, row, first)


@device_function
def transform_sums(sums, g, partials, at, channels, columns, spare, zeros):
    """partials[at + (tap * channels of a group + channel) * f + filter] = G^T s G of the sums over tiles."""
    whole, tap, memory = columns // lanes_of(partials) * lanes_of(partials), g.c // g.groups * g.f, sums.data
    for i in range(3):
        spare.rows[PLACE * EDGE + i] = at + i * 3 * tap
        spare.rows[STEP * EDGE + i] = tap
        spare.rows[JUMP * EDGE + i] = g.f  # channels follow each other as tiles do
    for j, some in ((0, whole), (whole, columns - whole)):
        source = Points(memory, sums.at + j, sums.row, sums.pitch)
        from_points(
            WEIGHTS_GRADIENT, g.size, source, channels, 3 * channels, j, some, memory, zeros, memory[:0], spare.added,
            -math.inf, partials, spare.rows,
        )  # fmt: skip


@device_function
def transform_weights(block, spare, g, count, transformed, at, pitch):
    """transformed[at + point * pitch] = G w G^T of `count` numbers of each of the 9 taps in a block."""
    step = lanes_of(transformed)
    for i in range(3):
        spare.rows[PLACE * EDGE + i] = i * 3 * count
        spare.rows[STEP * EDGE + i] = count
    for j in range(0, count, step):
        transform_columns(WEIGHTS, g.size, block, spare.rows, 0, 3, spare.columns, j, step)
        transform_rows(WEIGHTS, g.size, spare.columns, 1, transformed, at + j, 0, pitch)


# --- geometry ----------------------------------------------------------------------------------------------------


def winograd_geometry(g: ConvGeometry, itemsize: int, size: int) -> WinogradGeometry:
    """Of a forward pass with tiles of size x size outputs."""
    down, across, channels = blocks(g.oh, size), blocks(g.ow, size), g.c // g.groups
    tiles, filters = g.n * down * across, g.f // g.groups
    width = tile_width(itemsize) if filters > lanes(itemsize) else lanes(itemsize)
    panels = blocks(filters, width)
    share = blocks(tiles, blocks(items_wanted(FEW_ITEMS), g.groups * panels))  # of the tiles, if they are few
    block = min(tiles, BLOCK, max(share, SMALLEST_BLOCK))
    items = blocks(tiles, block) * g.groups * panels
    wide = max(1, min(items // items_wanted(ITEMS), 2 if channels < MANY_CHANNELS else 4))
    image, cut = (g.n, g.h, g.w, g.c, g.pt, g.pl, g.oh, g.ow, g.f, g.groups), (size, down, across, block)
    return WinogradGeometry(*image, *cut, width, min(wide, panels), channels, 1)


def backwards(g: ConvGeometry) -> ConvGeometry:
    """The convolution with rotated weights that takes dy to dx."""
    return g._replace(h=g.oh, w=g.ow, c=g.f, pt=2 - g.pt, pl=2 - g.pl, oh=g.h, ow=g.w, f=g.c)


def gradient_geometry(g: ConvGeometry, itemsize: int, size: int) -> WinogradGeometry:
    """Of the gradient of the weights. Parts are a power of two, which two or four threads share evenly."""
    whole, inner = winograd_geometry(g, itemsize, size), g.c // g.groups
    panels = min(GRADIENT_PANELS, blocks(g.f // g.groups, whole.width))
    channels = blocks(inner, blocks(inner, GRADIENT_CHANNELS))
    others = gradient_items(whole._replace(panels=panels, channels=channels))
    parts, tiles = 1, whole.n * whole.down * whole.across
    while parts * others < ITEMS and tiles // parts >= 2 * SMALLEST_PART:
        parts *= 2
    return whole._replace(panels=panels, channels=channels, parts=parts)


def forward_items(g: WinogradGeometry) -> int:
    """Work items of `winograd_forward`."""
    columns = blocks(g.f // g.groups, g.panels * g.width)
    return forward_parts(g) * g.groups * columns


def forward_parts(g: WinogradGeometry) -> int:
    """Blocks of tiles whose moments `winograd_forward` writes."""
    return blocks(g.n * g.down * g.across, g.block)


def gradient_items(g: WinogradGeometry) -> int:
    """Work items of `winograd_backward_weights`."""
    columns = blocks(g.f // g.groups, g.panels * g.width)
    return g.parts * g.groups * blocks(g.c // g.groups, g.channels) * columns


def weight_items(g: WinogradGeometry) -> int:
    """Work items of `winograd_weights`."""
    return g.groups * blocks(g.f // g.groups, g.width) * blocks(g.channels, DEPTH_BLOCK)


def transformed_size(g: WinogradGeometry) -> int:
    """Numbers in the transformed weights."""
    return points(g.size) * g.c * blocks(g.f // g.groups, g.width) * g.width


def partial_gradients_shape(g: WinogradGeometry) -> tuple[int, int]:
    """(parts, weights): what `winograd_backward_weights` writes, to be added up over the parts."""
    return g.parts, 9 * (g.c // g.groups) * g.f


# --- kernels -----------------------------------------------------------------------------------------------------


@cpu_kernel(lambda weight, transformed, g: weight_items(g))
def winograd_weights(weight, transformed, g, first, last):
    """transformed[group][panel][point][c][filter of the panel] = G w G^T, zero-filled.  weight (3,3,c/groups,f)."""
    weight, transformed = flat(weight), flat(transformed)
    block = stack_array(transformed, WEIGHTS_BLOCK)
    spare = Spare(
        stack_array(np.int64, TABLE), stack_array(np.int64, TABLE), stack_array(transformed, COLUMNS)
    )
    width, filters = g.width, g.f // g.groups
    panels, depths = blocks(filters, width), blocks(g.channels, DEPTH_BLOCK)
    for item in range(first, last):
        k, panel = item % depths * DEPTH_BLOCK, item // depths
        group, j = panel // panels, panel % panels * width
        depth, columns = min(DEPTH_BLOCK, g.channels - k), min(width, filters - j)
        for tap in range(9):
            at = (tap * g.channels + k) * g.f + group * filters + j
            pack_rows(weight, at, g.f, depth, columns, block, tap * depth * width, width)
        pitch = g.channels * width
        at = panel * points(g.size) * pitch + k * width
        transform_weights(block, spare, g, depth * width, transformed, at, pitch)


@cpu_kernel(lambda weight, transformed, g: weight_items(g))
def winograd_weights_rotated(weight, transformed, g, first, last):
    """The same for the gradient of the input, where `g` takes dy to dx.  weight (3,3,f/groups,c) of that `g`.

    Channels of the gradient are the filters of the forward pass and taps are met in the opposite order.
    """
    weight, transformed = flat(weight), flat(transformed)
    block = stack_array(transformed, WEIGHTS_BLOCK)
    spare = Spare(
        stack_array(np.int64, TABLE), stack_array(np.int64, TABLE), stack_array(transformed, COLUMNS)
    )
    width, filters = g.width, g.f // g.groups
    panels, depths = blocks(filters, width), blocks(g.channels, DEPTH_BLOCK)
    for item in range(first, last):
        k, panel = item % depths * DEPTH_BLOCK, item // depths
        group, j = panel // panels, panel % panels * width
        depth, columns = min(DEPTH_BLOCK, g.channels - k), min(width, filters - j)
        for tap in range(9):
            at = ((8 - tap) * filters + j) * g.c + group * g.channels + k
            pack_columns(weight, at, g.c, depth, columns, block, tap * depth * width, width)
        pitch = g.channels * width
        at = panel * points(g.size) * pitch + k * width
        transform_weights(block, spare, g, depth * width, transformed, at, pitch)


@cpu_kernel(lambda x, transformed, bias, residual, moments, y, workspace, lower, g: forward_items(g))
def winograd_forward(x, transformed, bias, residual, moments, y, workspace, lower, g, first, last, thread):
    """y[n,oy,ox,f] = max(sum over ky,kx,c of x[n,iy,ix,c] w[ky,kx,c,f] + bias[f] + residual[n,oy,ox,f], lower).

    x (n,h,w,c), transformed as `winograd_weights` left it, bias (f,) or empty, residual flat or empty -> y (n,oh,ow,f).
    lower may be -inf. moments of y, (`forward_parts`,3,f) float64 for `combine_moments`, or empty. With the weights of
    `winograd_weights_rotated`, it takes dy to dx.
    """
    x, transformed, y, memory = flat(x), flat(transformed), flat(y), workspace[thread]
    width, filters, tiles = g.width, g.f // g.groups, g.n * g.down * g.across
    end, nothing = Epilogue(bias, residual, lower), distance(residual, memory)
    spare = Spare(stack_array(np.int64, TABLE), stack_array(np.int64, TABLE), stack_array(y, COLUMNS))
    work = pieces(memory, g, False)
    clear(memory, 0, work.zeros)
    outside, dump = distance(x, memory), distance(y, memory) + work.zeros
    wide = g.panels * width
    columns, panels = blocks(filters, wide), blocks(filters, width)
    transformed_block = -1
    for item in range(first, last):
        j, block = item % columns * wide, item // columns
        group, tile = block % g.groups, block // g.groups * g.block
        count, breadth = min(g.block, tiles - tile), min(wide, filters - j)
        if block != transformed_block:  # items of one block follow each other
            images = Images(x, g.h, g.w, g.c, group * g.channels, outside)
            transform_inputs(images, g, tile, count, g.channels, spare, work.inputs)
            transformed_block = block
        chunk = (group * panels * width + j) * points(g.size) * g.channels
        multiply_points(work.inputs, transformed, chunk, g, breadth, count, work.products)
        results = Images(y, g.oh, g.ow, g.f, group * filters + j, dump)
        more = Images(residual, g.oh, g.ow, g.f, group * filters + j, nothing)
        transform_outputs(work.products, end, results, more, g, tile, count, breadth, spare, 0)
        if moments.size:
            keep_tile_moments(y, g, tile, count, results.first, breadth, moments, tile // g.block)


@cpu_kernel(lambda x, dy, partials, workspace, g: gradient_items(g))
def winograd_backward_weights(x, dy, partials, workspace, g, first, last, thread):
    """partials[part] = sum over the tiles of a part of G^T [(B^T d B) * (A dy A^T)] G, at [ky,kx,c,f].

    x (n,h,w,c), dy (n,oh,ow,f) -> partials (parts, 9*(c/groups)*f); their sum is the gradient of the weights.
    """
    x, dy, partials, memory = flat(x), flat(dy), flat(partials), workspace[thread]
    width, tiles = g.width, g.n * g.down * g.across
    inner, filters, wide = g.c // g.groups, g.f // g.groups, g.panels * width
    spare = Spare(stack_array(np.int64, TABLE), stack_array(np.int64, TABLE), stack_array(x, COLUMNS))
    work = pieces(memory, g, True)
    clear(memory, 0, work.zeros)
    rows, columns = blocks(inner, g.channels), blocks(filters, wide)
    for item in range(first, last):
        j, rest = item % columns * wide, item // columns
        c, rest = rest % rows * g.channels, rest // rows
        group, part = rest % g.groups, rest // g.groups
        channels, breadth = min(g.channels, inner - c), min(wide, filters - j)
        images = Images(x, g.h, g.w, g.c, group * inner + c, distance(x, memory))
        gradients = Images(dy, g.oh, g.ow, g.f, group * filters + j, distance(dy, memory))
        clear(memory, work.sums.at, points(g.size) * work.sums.pitch)
        end = tiles * (part + 1) // g.parts
        for tile in range(tiles * part // g.parts, end, g.block):
            count = min(g.block, end - tile)
            transform_inputs(images, g, tile, count, channels, spare, work.inputs)
            transform_gradients(gradients, g, tile, count, breadth, spare, work.products)
            add_products(work.inputs, work.products, g, channels, breadth, count, work.sums)
        at = (part * 9 * inner + c) * g.f + group * filters + j
        transform_sums(work.sums, g, partials, at, channels, breadth, spare, 0)
