"""3 x 3 convolutions with stride 1 by Winograd's algorithm: 4 times fewer multiplications, F(4x4), or 2.25, F(2x2).

A tile of m x m outputs is a polynomial product, computed by evaluation at m + 1 points and infinity along each axis:

    y = A^T [ (G w G^T) * (B^T d B) ] A        d: (m+2) x (m+2) inputs, w: 3 x 3 weights, y: m x m outputs

(Lavin & Gray 2016, arXiv:1509.09308). The product in the brackets is one for every pair of points; over all tiles,
channels and filters it is a matrix product for each of the (m+2)^2 pairs. Points are 0, 1, -1 and, for m = 4, 1/2 and
-2, whose rounding errors are half those of 2 and -2 (Barabasz et al. 2020, arXiv:1803.10986).

The gradient of the input is the same convolution with rotated weights, that of the weights the transposed map:

    dw = G^T [ sum over tiles of (B^T d B) * (A dy A^T) ] G

What is transformed lives in a thread's workspace, never in main memory: an item is a block of tiles whose transformed
channels fit the second-level cache, and some panels of filters.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.jit import (
    TILE_ROWS,
    TILE_VECTORS,
    VECTOR_BYTES,
    cpu_kernel,
    device_function,
    items_wanted,
    shape_function,
    stack_array,
)
from fastcnn_kernels.microkernel import (
    FEW_ROWS,
    WIDEST,
    WORD,
    Epilogue,
    Matrix,
    Vectors,
    blocks,
    choose,
    clear,
    distance,
    flat,
    function_once,
    itemsize_of,
    lanes,
    lanes_of,
    literal,
    pack_columns,
    pack_rows,
    pointer_to,
    product_tile,
    tile_width,
)

EDGE = 8  # at least as many as a tile has points along an axis
PLACE, STEP, JUMP = range(3)  # what is known of the rows of a line of tiles
TABLE = 3 * EDGE
RUN = 8  # tiles in a row that are transformed together; their columns fit a first-level cache
COLUMNS = (4 * RUN + 2) * 6 * VECTOR_BYTES // 4  # vectors of transformed columns of such a run
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

# What a transform makes: of pixels, of gradients, of weights; outputs, gradients of weights.
INPUT, GRADIENT, WEIGHTS, OUTPUT, WEIGHTS_GRADIENT = range(5)
SIZES = 4, 2  # of tiles


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


# --- formulas along one axis: numbers, arrays or emitted instructions --------------------------------------------


def input_2(d):
    """B^T d."""
    return d[0] - d[2], d[1] + d[2], d[2] - d[1], d[3] - d[1]


def weights_2(g):
    """G g."""
    both = g[0] + g[2]
    return g[0], (both + g[1]) * 0.5, (both - g[1]) * 0.5, g[2]


def output_2(m):
    """A^T m."""
    return m[0] + m[1] + m[2], m[1] - m[2] + m[3]


def gradient_2(dy):
    """A dy."""
    return dy[0], dy[0] + dy[1], dy[0] - dy[1], dy[1]


def weights_gradient_2(m):
    """G^T m."""
    total = (m[1] + m[2]) * 0.5
    return m[0] + total, (m[1] - m[2]) * 0.5, total + m[3]


def input_4(d):
    """B^T d: row j has the coefficients of the product of (x - p) over the other points p."""
    even, odd = d[4] - d[2], d[3] - d[1]
    ones, more = odd + d[2] * 1.5, even + d[3] * 1.5
    return (
        odd * 1.5 + (even + (d[0] - d[2])),
        more + ones,
        more - ones,
        odd * 2.0 + even,
        odd * -0.5 + even,
        even * 1.5 + (d[5] - d[3]) - odd,
    )


def weights_4(g):
    """G g: values at the points, divided by the products of the differences of the points."""
    both = g[0] + g[2]
    half, two = g[1] * 0.5 + g[2] * 0.25, g[2] * 4.0 - g[1] * 2.0
    return (
        g[0],
        (both + g[1]) * (1 / 3),
        (g[1] - both) * (1 / 3),
        (g[0] + half) * (-16 / 15),
        (g[0] + two) * (1 / 15),
        g[2],
    )


def output_4(m):
    """A^T m: row i has the i-th powers of the points."""
    total, difference = m[1] + m[2], m[1] - m[2]
    return (
        m[0] + total + (m[3] + m[4]),
        m[4] * -2.0 + (m[3] * 0.5 + difference),
        m[4] * 4.0 + (m[3] * 0.25 + total),
        m[4] * -8.0 + (m[3] * 0.125 + difference) + m[5],
    )


def gradient_4(dy):
    """A dy."""
    even, odd = dy[0] + dy[2], dy[1] + dy[3]
    return (
        dy[0],
        even + odd,
        even - odd,
        dy[3] * 0.125 + (dy[2] * 0.25 + (dy[1] * 0.5 + dy[0])),
        dy[3] * -8.0 + (dy[2] * 4.0 + (dy[1] * -2.0 + dy[0])),
        dy[3],
    )


def weights_gradient_4(m):
    """G^T m."""
    total, difference = (m[1] - m[2]) * (1 / 3), (m[1] + m[2]) * (1 / 3)
    half, two = m[3] * (-16 / 15), m[4] * (1 / 15)
    return (
        m[0] + total + (half + two),
        two * -2.0 + (half * 0.5 + difference),
        two * 4.0 + (half * 0.25 + total) + m[5],
    )


FORMULAS: dict[tuple[int, int], Callable] = {
    (INPUT, 2): input_2, (GRADIENT, 2): gradient_2, (WEIGHTS, 2): weights_2,
    (OUTPUT, 2): output_2, (WEIGHTS_GRADIENT, 2): weights_gradient_2,
    (INPUT, 4): input_4, (GRADIENT, 4): gradient_4, (WEIGHTS, 4): weights_4,
    (OUTPUT, 4): output_4, (WEIGHTS_GRADIENT, 4): weights_gradient_4,
}  # fmt: skip


def both_ways(formula: Callable, square: list[list]) -> list[list]:
    """M d M^T of a formula M: first every column, then every row."""
    columns = [formula(column) for column in zip(*square, strict=True)]
    return [list(formula(row)) for row in zip(*columns, strict=True)]


# --- formulas as vector code -----------------------------------------------------------------------------------


class Emitted:
    """A vector in a formula: `+`, `-` and `* number` emit instructions."""

    def __init__(self, builder, value):
        self.builder = builder
        self.value = value

    def __add__(self, other):
        return Emitted(self.builder, self.builder.fadd(self.value, other.value, flags=("contract",)))

    def __sub__(self, other):
        return Emitted(self.builder, self.builder.fsub(self.value, other.value, flags=("contract",)))

    def __mul__(self, number):
        constant = ir.Constant(self.value.type, [number] * self.value.type.count)
        return Emitted(self.builder, self.builder.fmul(self.value, constant, flags=("contract",)))


def edges(kind: int, size: int) -> tuple[int, int]:
    """(values along one axis that a formula takes, values that it gives)."""
    taken = {INPUT: size + 2, GRADIENT: size, WEIGHTS: 3, OUTPUT: size + 2, WEIGHTS_GRADIENT: size + 2}[kind]
    return taken, len(FORMULAS[kind, size]([1.0] * taken))


def _call(builder, name, kind, size, v, words, emit, part=False):
    """Call what `emit` writes for tiles of that size. part: its vectors have as many numbers as the last word."""
    function_type = ir.FunctionType(ir.VoidType(), [w.type for w in words])

    def call(shape):
        named = f"fastcnn_{name}_{shape[0]}_{shape[1]}_{v[1]}{'_part' * part}"
        function = function_once(builder.module, named, function_type, partial(emit, v, shape, part))
        builder.call(function, words)

    choose(builder, size, {number: partial(call, (kind, number)) for number in SIZES})


def _call_for(builder, name, kind, size, v, words, emit):
    """The same for whole vectors, unless the last word says that fewer numbers are present."""
    with builder.if_else(builder.icmp_signed("<", words[-1], WORD(v[2]))) as branches:
        for branch, part in zip(branches, (True, False), strict=True):
            with branch:
                _call(builder, name, kind, size, v, words, emit, part)


def _vectors_of(context, array):
    """What `Vectors` takes, but for the builder."""
    return context, array.dtype, lanes(itemsize_of(context, array))


@intrinsic(prefer_literal=True)
def transform_columns(typingctx, kind, size, source, rows, first, last, to, j, present):
    """to[x, p] = the vector that a formula makes of the column source[rows(i) + x * step(i) + j], i = 0, 1, ...

    For first <= x < last and every point p; `rows` as `locate` leaves it. Of a vector `present` numbers are read, or
    all; the rest is zero.
    """
    what, word = literal(kind, "kind"), types.intp
    signature = types.void(kind, word, source, rows, word, word, to, word, word)

    def codegen(context, builder, signature, args):
        kinds, start = signature.args, WORD(0)
        pointers = [
            pointer_to(context, builder, kinds[i], args[i], at)
            for i, at in ((2, args[7]), (3, start), (6, start))
        ]
        words = [*pointers, args[4], args[5], args[8]]
        _call_for(builder, "columns", what, args[1], _vectors_of(context, kinds[2]), words, _emit_columns)
        return context.get_dummy_value()

    return signature, codegen


def _emit_columns(v, shape, part, builder):
    source, rows, to, first, last, present = builder.function.args
    v = Vectors(v[0], builder, v[1], v[2], present if part else None)
    taken, given = edges(*shape)
    places, steps = ([_entry(builder, rows, k, i) for i in range(taken)] for k in (PLACE, STEP))
    with cgutils.for_range_slice(builder, first, last, WORD(1)) as (x, _):
        column = [builder.add(place, builder.mul(x, step)) for place, step in zip(places, steps, strict=True)]
        found = FORMULAS[shape]([Emitted(builder, v.read(source, place)) for place in column])
        for p, value in enumerate(found):
            at = builder.add(builder.mul(x, WORD(given)), WORD(p))
            v.store(value.value, to, builder.mul(at, WORD(v.count)))
    builder.ret_void()


def _entry(builder, rows, kind, i):
    return builder.load(builder.gep(rows, [WORD(kind * EDGE + i)]))


@intrinsic(prefer_literal=True)
def transform_rows(typingctx, kind, size, source, tiles, to, at, row, pitch):
    """to[at + t * row + (p * given + q) * pitch] = the points q that a formula makes of row p of tile t.

    source: what `transform_columns` left, of whose columns a tile has so many as the formula takes, from t * size on.
    """
    what, word = literal(kind, "kind"), types.intp
    signature = types.void(kind, word, source, word, to, word, word, word)

    def codegen(context, builder, signature, args):
        kinds = signature.args
        pointers = [
            pointer_to(context, builder, kinds[i], args[i], at) for i, at in ((2, WORD(0)), (4, args[5]))
        ]
        words = [*pointers, args[3], args[6], args[7]]
        _call(builder, "rows", what, args[1], _vectors_of(context, kinds[2]), words, _emit_rows)
        return context.get_dummy_value()

    return signature, codegen


def _emit_rows(v, shape, part, builder):
    source, to, tiles, row, pitch = builder.function.args
    v = Vectors(v[0], builder, v[1], v[2])
    taken, given = edges(*shape)
    with cgutils.for_range(builder, tiles) as tile, cgutils.for_range(builder, WORD(given)) as p:
        first = builder.add(builder.mul(tile.index, WORD(shape[1] * given)), p.index)
        places = [builder.mul(builder.add(first, WORD(k * given)), WORD(v.count)) for k in range(taken)]
        found = FORMULAS[shape]([Emitted(builder, v.load(source, place)) for place in places])
        point = builder.mul(builder.mul(p.index, WORD(given)), pitch)
        at = builder.add(builder.mul(tile.index, row), point)
        for q, value in enumerate(found):
            v.store(value.value, to, builder.add(at, builder.mul(pitch, WORD(q))))
    builder.ret_void()


@intrinsic(prefer_literal=True)
def from_points(
    typingctx, kind, size, points, tiles, columns, j, count, bias, bias_at, residual, added, lower, to, rows
):
    """to[rows(i) + q * step(i) + t * jump(i) + j] = max(result (i, q) of tile t + bias[bias_at] + more, lower).

    For as many vectors from j on as cover `count` numbers, of which no more are written. points: where tile 0 and
    number j are; the tiles have `columns` results in a row, of which the last tile may lack some; more is the residual
    at the places `added`, or nothing if that is empty.
    """
    what, word = literal(kind, "kind"), types.intp
    arrays = points, word, word, word, word, bias, word, residual, added, types.float64, to, rows
    signature = types.void(kind, word, *arrays)

    def codegen(context, builder, signature, args):
        kinds, start = signature.args, WORD(0)
        data, at, row, pitch = cgutils.unpack_tuple(builder, args[2])
        begins = ((7, args[8]), (9, args[5]), (10, start), (12, args[5]), (13, start))
        pointers = [pointer_to(context, builder, kinds[i], args[i], begin) for i, begin in begins]
        source = pointer_to(context, builder, kinds[2].types[0], data, at)
        plain = context.make_array(kinds[9])(context, builder, args[9]).nitems
        words = [source, *pointers, row, pitch, args[3], args[4], args[11], plain, args[6]]
        _call_for(
            builder, "from_points", what, args[1], _vectors_of(context, kinds[12]), words, _emit_from_points
        )
        return context.get_dummy_value()

    return signature, codegen


def _emit_from_points(v, shape, part, builder):
    source, bias, residual, added, to, rows, row, pitch, tiles, columns, lower, size, count = (
        builder.function.args
    )
    v = Vectors(v[0], builder, v[1], v[2], count if part else None)
    taken, given = edges(*shape)
    bound, nothing = v.splat(v.of_double(lower)), WORD(0)
    plain = builder.icmp_signed("==", size, nothing)
    with cgutils.for_range(builder, tiles) as tile:
        left = builder.sub(columns, builder.mul(tile.index, WORD(given)))
        with cgutils.for_range_slice(builder, nothing, count, WORD(v.count)) as (j, _):
            first = builder.gep(source, [builder.add(builder.mul(tile.index, row), j)])
            shift = Emitted(builder, v.read(bias, j))
            square = _square(v, first, pitch, taken)
            result = [[value + shift for value in line] for line in both_ways(FORMULAS[shape], square)]

            def store(more):
                """more: the beginnings of the rows of what is added, or nothing."""
                moved = tile.index, j
                pointers = [_row_of(builder, to, rows, rows, i, moved) for i in range(given)]
                for q in range(given):
                    with builder.if_then(builder.icmp_signed("<", WORD(q), left), likely=True):
                        for i, pointer in enumerate(pointers):
                            value = result[i][q]
                            if more:
                                value += Emitted(builder, v.read(more[i], nothing))
                            v.write(v.at_least(value.value, bound), pointer, nothing)
                    pointers, more = (
                        [builder.gep(line, [_entry(builder, rows, STEP, i)]) for i, line in enumerate(lines)]
                        for lines in (pointers, more)
                    )

            with builder.if_else(plain) as (without, with_residual):
                with without:
                    store([])
                with with_residual:
                    store([_row_of(builder, residual, added, rows, i, (tile.index, j)) for i in range(given)])
    builder.ret_void()


def _square(v, first, pitch, taken):
    """The points of a tile. From one line to the next in steps, or LLVM would keep 36 distances, most on the stack."""
    builder, line, found = v.builder, first, []
    for _ in range(taken):
        found.append([Emitted(builder, v.load(line, builder.mul(pitch, WORD(k)))) for k in range(taken)])
        line = builder.gep(line, [builder.mul(pitch, WORD(taken))])
    return found


def _row_of(builder, pointer, places, rows, i, moved):
    """Where row i of a tile begins, at vector j."""
    tile, j = moved
    along = builder.add(builder.mul(tile, _entry(builder, rows, JUMP, i)), j)
    return builder.gep(pointer, [builder.add(_entry(builder, places, PLACE, i), along)])


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
    return blocks(g.n * g.down * g.across, g.block) * g.groups * columns


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


@cpu_kernel(lambda x, transformed, bias, residual, y, workspace, lower, g: forward_items(g))
def winograd_forward(x, transformed, bias, residual, y, workspace, lower, g, first, last, thread):
    """y[n,oy,ox,f] = max(sum over ky,kx,c of x[n,iy,ix,c] w[ky,kx,c,f] + bias[f] + residual[n,oy,ox,f], lower).

    x (n,h,w,c), transformed as `winograd_weights` left it, bias (f,) or empty, residual flat or empty -> y (n,oh,ow,f).
    lower may be -inf. With the weights of `winograd_weights_rotated`, it takes dy to dx.
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
