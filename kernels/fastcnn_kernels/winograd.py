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
    clear,
    copy,
    distance,
    flat,
    function_once,
    itemsize_of,
    keep_row,
    lanes,
    lanes_of,
    literal,
    pack_columns,
    pack_rows,
    pointer_to,
    product_tile,
    tile_width,
)

EDGE = 8  # places in a row of a table, at least as many as a tile has points
TABLE = EDGE * EDGE
LINE = 16  # numbers; rows of the workspace begin at multiples of it
PATCH = 36 * VECTOR_BYTES // 4  # one vector for each pixel of a tile
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
    panels: int  # panels of filters of a work item
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


@intrinsic(prefer_literal=True)
def to_points(typingctx, kind, size, source, table, count, to, at, pitch):
    """to[at + point * pitch + j] = the transform of source[table[i * EDGE + k] + j] over i, k, for j < count.

    count >= lanes; where it is no multiple of them, the last vector overlaps the one before.
    """
    shape = literal(kind, "kind"), literal(size, "size")
    word = types.intp
    signature = types.void(kind, size, source, table, word, to, word, word)

    def codegen(context, builder, signature, args):
        kinds = signature.args
        pointers = (
            pointer_to(context, builder, kinds[2], args[2], ir.Constant(WORD, 0)),
            pointer_to(context, builder, kinds[3], args[3], ir.Constant(WORD, 0)),
            pointer_to(context, builder, kinds[5], args[5], args[6]),
        )
        words = [*pointers, args[4], args[7]]
        v = (context, kinds[2].dtype, lanes(itemsize_of(context, kinds[2])))
        _call(builder, f"to_points_{kinds[2].dtype}", shape, words, lambda b: _emit_to_points(b, v, shape))
        return context.get_dummy_value()

    return signature, codegen


def _call(builder, name, shape, words, emit):
    kind = ir.FunctionType(ir.VoidType(), [w.type for w in words])
    name = f"fastcnn_{name}_{shape[0]}_{shape[1]}"
    builder.call(function_once(builder.module, name, kind, emit), words)


def _emit_to_points(builder, v, shape):
    source, table, to, count, pitch = builder.function.args
    v = Vectors(v[0], builder, v[1], v[2])
    taken, given = edges(*shape)
    with cgutils.for_range_slice(builder, WORD(0), count, WORD(v.count)) as (index, _):
        j = _last_of(builder, index, builder.sub(count, WORD(v.count)))
        square = [[_pixel(v, source, table, i, k, j) for k in range(taken)] for i in range(taken)]
        points = both_ways(FORMULAS[shape], square)
        for i in range(given):
            for k in range(given):
                v.store(points[i][k].value, to, builder.add(builder.mul(pitch, WORD(i * given + k)), j))
    builder.ret_void()


def _pixel(v, source, table, i, k, j):
    place = v.builder.load(v.builder.gep(table, [WORD(i * EDGE + k)]))
    return Emitted(v.builder, v.load(source, v.builder.add(place, j)))


def _last_of(builder, index, most):
    return builder.select(builder.icmp_signed("<", index, most), index, most)


@intrinsic(prefer_literal=True)
def from_points(
    typingctx, kind, size, source, at, pitch, count, bias, bias_at, residual, places, lower, to, table
):
    """to[table[q] + j] = max(transform of source[at + point * pitch + j] + bias[bias_at + j] + more, lower).

    q = i * EDGE + k; j < count, a multiple of the lanes; more is residual[places[q] + j], or nothing if that is empty.
    """
    shape = literal(kind, "kind"), literal(size, "size")
    word = types.intp
    arrays = source, word, word, word, bias, word, residual, places, types.float64, to, table
    signature = types.void(kind, size, *arrays)

    def codegen(context, builder, signature, args):
        kinds, start = signature.args, ir.Constant(WORD, 0)
        begins = ((2, args[3]), (6, args[7]), (8, start), (9, start), (11, start), (12, start))
        pointers = [pointer_to(context, builder, kinds[i], args[i], begin) for i, begin in begins]
        size = context.make_array(kinds[8])(context, builder, args[8]).nitems
        words = [*pointers, args[4], args[5], args[10], size]
        v = (context, kinds[2].dtype, lanes(itemsize_of(context, kinds[2])))
        _call(
            builder, f"from_points_{kinds[2].dtype}", shape, words, lambda b: _emit_from_points(b, v, shape)
        )
        return context.get_dummy_value()

    return signature, codegen


def _emit_from_points(builder, v, shape):
    source, bias, residual, places, to, table, pitch, count, lower, size = builder.function.args
    v = Vectors(v[0], builder, v[1], v[2])
    taken, given = edges(*shape)
    bound, plain = v.splat(v.of_double(lower)), builder.icmp_signed("==", size, WORD(0))
    with cgutils.for_range_slice(builder, WORD(0), count, WORD(v.count)) as (j, _):
        square = [[_point(v, source, pitch, i * taken + k, j) for k in range(taken)] for i in range(taken)]
        shift = Emitted(builder, v.load(bias, j))
        result = both_ways(FORMULAS[shape], square)
        pixels = [(WORD(i * EDGE + k), result[i][k] + shift) for i in range(given) for k in range(given)]

        def store(more):
            for q, value in pixels:
                place, value = builder.load(builder.gep(table, [q])), value + more(q) if more else value
                v.store(v.at_least(value.value, bound), to, builder.add(place, j))

        def residual_at(q):
            place = builder.load(builder.gep(places, [q]))
            return Emitted(builder, v.load(residual, builder.add(place, j)))

        if shape[0] == OUTPUT:
            with builder.if_else(plain) as (without, with_residual):
                with without:
                    store(None)
                with with_residual:
                    store(residual_at)
        else:
            store(None)
    builder.ret_void()


def _point(v, source, pitch, point, j):
    return Emitted(v.builder, v.load(source, v.builder.add(v.builder.mul(pitch, WORD(point)), j)))


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


class Stack(NamedTuple):
    """Small memory on a thread's stack."""

    table: Any  # places of pixels
    staged: Any  # places in the patch
    patch: Any  # pixels of fewer channels than a vector has lanes
    bias: Any
    added: Any  # places in the residual


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
def pieces(memory, g, width, weights):
    """The workspace `memory`, cut. Rows are enough for whole register tiles. weights: for their gradient.

    All points of a row are neighbours: were they a block of tiles apart, each would be on a page of its own, more
    pages than the processor's table of them holds for writing.
    """
    channels, columns, number = padded(g.channels), g.panels * width, points(g.size)
    zeros, rows = max(channels, columns), g.block + TILE_ROWS
    row, column = apart(number * channels), apart(number * columns)
    inputs = Points(memory, 2 * zeros, row, channels)
    products = Points(memory, inputs.at + rows * row, column, columns)
    sums = Points(memory, products.at + rows * column, columns, apart((g.channels + TILE_ROWS) * columns))
    return Pieces(zeros, inputs, products, sums, sums.at + (number * sums.pitch if weights else 0))


def workspace_size(g: WinogradGeometry, itemsize: int, weights: bool = False) -> int:
    """Numbers in a thread's workspace; weights: of `winograd_backward_weights`."""
    return pieces(None, g, tile_width(itemsize), weights).size


@intrinsic
def locate_pixels(typingctx, table, edge, line, row_pitch, pitch, top, left, h, w, outside):
    """table[i * EDGE + k] = line + i * row_pitch + k * pitch for i < edge, where (top + i, left + k) is in h x w.

    It is `outside` where it is not.
    """
    word = types.intp

    def codegen(context, builder, signature, args):
        edge, line, row_pitch, pitch, top, left, h, w, outside = args[1:]
        v = Vectors(context, builder, types.intp, EDGE)
        numbers = ir.Constant(v.kind, list(range(EDGE)))
        steps = builder.mul(numbers, v.splat(pitch))
        columns = builder.icmp_unsigned("<", builder.add(numbers, v.splat(left)), v.splat(w))
        into = pointer_to(context, builder, signature.args[0], args[0], WORD(0))
        with cgutils.for_range(builder, edge) as loop:
            start = builder.add(line, builder.mul(loop.index, row_pitch))
            row = builder.icmp_unsigned("<", builder.add(top, loop.index), h)
            here = builder.add(v.splat(start), steps)
            places = builder.select(columns, here, v.splat(outside))
            places = builder.select(row, places, v.splat(outside))
            v.store(places, into, builder.mul(loop.index, WORD(EDGE)))
        return context.get_dummy_value()

    return types.void(table, *[word] * 9), codegen


@device_function
def locate(table, edge, images, n, top, left):
    """table[i * EDGE + k] = place of pixel (top + i, left + k) of the n-th image."""
    line = ((n * images.h + top) * images.w + left) * images.pitch + images.first
    row_pitch = images.w * images.pitch
    locate_pixels(table, edge, line, row_pitch, images.pitch, top, left, images.h, images.w, images.outside)


@device_function
def load_patch(source, edge, count, stack):
    """Copies `count` channels of the pixels of a table, and makes it one of the copies, filled up with zeros."""
    step = lanes_of(source)
    for i in range(edge):
        for k in range(edge):
            at = (i * edge + k) * step
            clear(stack.patch, at, step)
            keep_row(stack.patch, at, source, stack.table[i * EDGE + k], count)
            stack.table[i * EDGE + k] = distance(source, stack.patch) + at


@device_function
def locate_patch(table, step):
    """The table of a patch with EDGE pixels a row."""
    for i in range(TABLE):
        table[i] = i * step


@device_function
def fill_patch(stack, edge, step, source, at, count):
    """Copies `count` numbers of the residual to such a patch, from `at` on of the pixels of stack.added."""
    for i in range(edge):
        for place in range(i * EDGE, i * EDGE + edge):
            keep_row(stack.patch, place * step, source, stack.added[place] + at, count)


@device_function
def store_patch(stack, edge, step, to, at, count):
    """Copies `count` channels of such a patch to the pixels of stack.table, `at` channels further on."""
    for i in range(edge):
        for place in range(i * EDGE, i * EDGE + edge):
            keep_row(to, stack.table[place] + at, stack.patch, place * step, count)


# --- steps of the algorithm --------------------------------------------------------------------------------------


@device_function
def transform_inputs(images, g, tile, count, channels, stack, into):
    """`into` = B^T d B of `count` tiles; the rows that complete a register tile are zero."""
    source = images.data
    for t in range(count):
        line, left = (tile + t) // g.across, (tile + t) % g.across * g.size - g.pl
        locate(stack.table, g.size + 2, images, line // g.down, line % g.down * g.size - g.pt, left)
        if channels < lanes_of(source):
            load_patch(source, g.size + 2, channels, stack)
        many, at = max(channels, lanes_of(source)), into.at + t * into.row
        if g.size == 4:
            to_points(INPUT, 4, source, stack.table, many, into.data, at, into.pitch)
        else:
            to_points(INPUT, 2, source, stack.table, many, into.data, at, into.pitch)
    clear(into.data, into.at + count * into.row, (covered(count) - count) * into.row)


@device_function
def transform_gradients(images, g, tile, count, filters, stack, into):
    """`into` = A dy A^T of `count` tiles."""
    source = images.data
    for t in range(count):
        line, left = (tile + t) // g.across, (tile + t) % g.across * g.size
        locate(stack.table, g.size, images, line // g.down, line % g.down * g.size, left)
        if filters < lanes_of(source):
            load_patch(source, g.size, filters, stack)
        many, at = max(filters, lanes_of(source)), into.at + t * into.row
        if g.size == 4:
            to_points(GRADIENT, 4, source, stack.table, many, into.data, at, into.pitch)
        else:
            to_points(GRADIENT, 2, source, stack.table, many, into.data, at, into.pitch)


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
    width, number = lanes_of(weights) * TILE_VECTORS, points(g.size)
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
    width = lanes_of(sums.data) * TILE_VECTORS
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
def transform_outputs(products, end, images, more, g, tile, count, columns, stack, zeros):
    """y = max(A^T m A + bias + residual, lower) of `count` tiles and `columns` filters: all that writes results.

    images: of y; more: of the residual.
    """
    step, source, target, added = lanes_of(images.data), products.data, images.data, more.data
    whole, rest, lower = columns // step * step, columns % step, end.lower
    shift, shift_at = (end.bias, images.first) if end.bias.size else (source, zeros)
    clear(stack.bias, 0, step)
    copy(stack.bias, 0, shift, shift_at + whole, rest)
    locate_patch(stack.staged, step)
    for t in range(count):
        line, left = (tile + t) // g.across, (tile + t) % g.across * g.size
        locate(stack.table, g.size, images, line // g.down, line % g.down * g.size, left)
        if added.size:
            locate(stack.added, g.size, more, line // g.down, line % g.down * g.size, left)
        at, pitch = products.at + t * products.row, products.pitch
        outputs(
            g.size, source, at, pitch, whole, shift, shift_at, added, stack.added, lower, target, stack.table
        )
        if rest > 0:
            patch, staged = stack.patch, stack.staged
            if added.size:
                fill_patch(stack, g.size, step, added, whole, rest)
            into = patch[: added.size]  # empty without a residual
            outputs(
                g.size, source, at + whole, pitch, step, stack.bias, 0, into, staged, lower, patch, staged
            )
            store_patch(stack, g.size, step, target, whole, rest)


@device_function
def outputs(size, source, at, pitch, count, shift, shift_at, added, places, lower, to, table):
    """`from_points` of outputs."""
    if size == 4:
        from_points(OUTPUT, 4, source, at, pitch, count, shift, shift_at, added, places, lower, to, table)
    else:
        from_points(OUTPUT, 2, source, at, pitch, count, shift, shift_at, added, places, lower, to, table)


@device_function
def transform_sums(sums, g, partials, at, channels, columns, stack, zeros):
    """partials[at + (tap * channels of a group + channel) * f + filter] = G^T s G of the sums over tiles."""
    step, source = lanes_of(partials), sums.data
    whole, rest, tap = columns // step * step, columns % step, g.c // g.groups * g.f
    locate_patch(stack.staged, step)
    for c in range(channels):
        for i in range(3):
            for k in range(3):
                stack.table[i * EDGE + k] = at + (i * 3 + k) * tap + c * g.f
        place, pitch = sums.at + c * sums.row, sums.pitch
        weights_of(g.size, source, place, pitch, whole, zeros, partials, stack.table)
        if rest > 0:
            weights_of(g.size, source, place + whole, pitch, step, zeros, stack.patch, stack.staged)
            store_patch(stack, 3, step, partials, whole, rest)


@device_function
def weights_of(size, source, at, pitch, count, zeros, to, table):
    """`from_points` of gradients of weights."""
    if size == 4:
        from_points(
            WEIGHTS_GRADIENT, 4, source, at, pitch, count, source, zeros, source, table, -math.inf, to, table
        )
    else:
        from_points(
            WEIGHTS_GRADIENT, 2, source, at, pitch, count, source, zeros, source, table, -math.inf, to, table
        )


@device_function
def transform_weights(block, table, g, count, transformed, panel, at, width):
    """Transforms `count` numbers of each of the 9 taps in a block."""
    for i in range(3):
        for k in range(3):
            table[i * EDGE + k] = (i * 3 + k) * count
    pitch = g.channels * width
    at += panel * points(g.size) * pitch
    if g.size == 4:
        to_points(WEIGHTS, 4, block, table, count, transformed, at, pitch)
    else:
        to_points(WEIGHTS, 2, block, table, count, transformed, at, pitch)


# --- geometry ----------------------------------------------------------------------------------------------------


def winograd_geometry(g: ConvGeometry, itemsize: int, size: int) -> WinogradGeometry:
    """Of a forward pass with tiles of size x size outputs."""
    down, across, channels = blocks(g.oh, size), blocks(g.ow, size), g.c // g.groups
    tiles, panels = g.n * down * across, blocks(g.f // g.groups, tile_width(itemsize))
    share = blocks(tiles, blocks(items_wanted(FEW_ITEMS), g.groups * panels))  # of the tiles, if they are few
    block = min(tiles, BLOCK, max(share, SMALLEST_BLOCK))
    items = blocks(tiles, block) * g.groups * panels
    wide = max(1, min(items // items_wanted(ITEMS), 2 if channels < MANY_CHANNELS else 4))
    image, cut = (g.n, g.h, g.w, g.c, g.pt, g.pl, g.oh, g.ow, g.f, g.groups), (size, down, across, block)
    return WinogradGeometry(*image, *cut, min(wide, panels), channels, 1)


def backwards(g: ConvGeometry) -> ConvGeometry:
    """The convolution with rotated weights that takes dy to dx."""
    return g._replace(h=g.oh, w=g.ow, c=g.f, pt=2 - g.pt, pl=2 - g.pl, oh=g.h, ow=g.w, f=g.c)


def gradient_geometry(g: ConvGeometry, itemsize: int, size: int) -> WinogradGeometry:
    """Of the gradient of the weights. Parts are a power of two, which two or four threads share evenly."""
    whole, inner = winograd_geometry(g, itemsize, size), g.c // g.groups
    panels = min(GRADIENT_PANELS, blocks(g.f // g.groups, tile_width(itemsize)))
    channels = blocks(inner, blocks(inner, GRADIENT_CHANNELS))
    others = gradient_items(whole._replace(panels=panels, channels=channels), itemsize)
    parts, tiles = 1, whole.n * whole.down * whole.across
    while parts * others < ITEMS and tiles // parts >= 2 * SMALLEST_PART:
        parts *= 2
    return whole._replace(panels=panels, channels=channels, parts=parts)


def forward_items(g: WinogradGeometry, itemsize: int) -> int:
    """Work items of `winograd_forward`."""
    columns = blocks(g.f // g.groups, g.panels * tile_width(itemsize))
    return blocks(g.n * g.down * g.across, g.block) * g.groups * columns


def gradient_items(g: WinogradGeometry, itemsize: int) -> int:
    """Work items of `winograd_backward_weights`."""
    columns = blocks(g.f // g.groups, g.panels * tile_width(itemsize))
    return g.parts * g.groups * blocks(g.c // g.groups, g.channels) * columns


def weight_items(g: WinogradGeometry, itemsize: int) -> int:
    """Work items of `winograd_weights`."""
    return g.groups * blocks(g.f // g.groups, tile_width(itemsize)) * blocks(g.channels, DEPTH_BLOCK)


def transformed_size(g: WinogradGeometry, itemsize: int) -> int:
    """Numbers in the transformed weights."""
    width = tile_width(itemsize)
    return points(g.size) * g.c * blocks(g.f // g.groups, width) * width


def partial_gradients_shape(g: WinogradGeometry) -> tuple[int, int]:
    """(parts, weights): what `winograd_backward_weights` writes, to be added up over the parts."""
    return g.parts, 9 * (g.c // g.groups) * g.f


# --- kernels -----------------------------------------------------------------------------------------------------


@cpu_kernel(lambda weight, transformed, g: weight_items(g, transformed.itemsize))
def winograd_weights(weight, transformed, g, first, last):
    """transformed[group][panel][point][c][filter of the panel] = G w G^T, zero-filled.  weight (3,3,c/groups,f)."""
    weight, transformed = flat(weight), flat(transformed)
    block, table = stack_array(transformed, WEIGHTS_BLOCK), stack_array(np.int64, TABLE)
    width, filters = lanes_of(transformed) * TILE_VECTORS, g.f // g.groups
    panels, depths = blocks(filters, width), blocks(g.channels, DEPTH_BLOCK)
    for item in range(first, last):
        k, panel = item % depths * DEPTH_BLOCK, item // depths
        group, j = panel // panels, panel % panels * width
        depth, columns = min(DEPTH_BLOCK, g.channels - k), min(width, filters - j)
        for tap in range(9):
            at = (tap * g.channels + k) * g.f + group * filters + j
            pack_rows(weight, at, g.f, depth, columns, block, tap * depth * width, width)
        transform_weights(block, table, g, depth * width, transformed, panel, k * width, width)


@cpu_kernel(lambda weight, transformed, g: weight_items(g, transformed.itemsize))
def winograd_weights_rotated(weight, transformed, g, first, last):
    """The same for the gradient of the input, where `g` takes dy to dx.  weight (3,3,f/groups,c) of that `g`.

    Channels of the gradient are the filters of the forward pass and taps are met in the opposite order.
    """
    weight, transformed = flat(weight), flat(transformed)
    block, table = stack_array(transformed, WEIGHTS_BLOCK), stack_array(np.int64, TABLE)
    width, filters = lanes_of(transformed) * TILE_VECTORS, g.f // g.groups
    panels, depths = blocks(filters, width), blocks(g.channels, DEPTH_BLOCK)
    for item in range(first, last):
        k, panel = item % depths * DEPTH_BLOCK, item // depths
        group, j = panel // panels, panel % panels * width
        depth, columns = min(DEPTH_BLOCK, g.channels - k), min(width, filters - j)
        for tap in range(9):
            at = ((8 - tap) * filters + j) * g.c + group * g.channels + k
            pack_columns(weight, at, g.c, depth, columns, block, tap * depth * width, width)
        transform_weights(block, table, g, depth * width, transformed, panel, k * width, width)


@cpu_kernel(lambda x, transformed, bias, residual, y, workspace, lower, g: forward_items(g, y.itemsize))
def winograd_forward(x, transformed, bias, residual, y, workspace, lower, g, first, last, thread):
    """y[n,oy,ox,f] = max(sum over ky,kx,c of x[n,iy,ix,c] w[ky,kx,c,f] + bias[f] + residual[n,oy,ox,f], lower).

    x (n,h,w,c), transformed as `winograd_weights` left it, bias (f,) or empty, residual flat or empty -> y (n,oh,ow,f).
    lower may be -inf. With the weights of `winograd_weights_rotated`, it takes dy to dx.
    """
    x, transformed, y, memory = flat(x), flat(transformed), flat(y), workspace[thread]
    width, filters, tiles = lanes_of(y) * TILE_VECTORS, g.f // g.groups, g.n * g.down * g.across
    end, nothing = Epilogue(bias, residual, lower), distance(residual, memory)
    stack = Stack(
        stack_array(np.int64, TABLE), stack_array(np.int64, TABLE), stack_array(y, PATCH), stack_array(y, WIDEST),
        stack_array(np.int64, TABLE),
    )  # fmt: skip
    work = pieces(memory, g, width, False)
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
            transform_inputs(images, g, tile, count, g.channels, stack, work.inputs)
            transformed_block = block
        chunk = (group * panels * width + j) * points(g.size) * g.channels
        multiply_points(work.inputs, transformed, chunk, g, breadth, count, work.products)
        results = Images(y, g.oh, g.ow, g.f, group * filters + j, dump)
        more = Images(residual, g.oh, g.ow, g.f, group * filters + j, nothing)
        transform_outputs(work.products, end, results, more, g, tile, count, breadth, stack, 0)


@cpu_kernel(lambda x, dy, partials, workspace, g: gradient_items(g, partials.itemsize))
def winograd_backward_weights(x, dy, partials, workspace, g, first, last, thread):
    """partials[part] = sum over the tiles of a part of G^T [(B^T d B) * (A dy A^T)] G, at [ky,kx,c,f].

    x (n,h,w,c), dy (n,oh,ow,f) -> partials (parts, 9*(c/groups)*f); their sum is the gradient of the weights.
    """
    x, dy, partials, memory = flat(x), flat(dy), flat(partials), workspace[thread]
    width, tiles = lanes_of(x) * TILE_VECTORS, g.n * g.down * g.across
    inner, filters, wide = g.c // g.groups, g.f // g.groups, g.panels * width
    stack = Stack(
        stack_array(np.int64, TABLE), stack_array(np.int64, TABLE), stack_array(x, PATCH), stack_array(x, WIDEST),
        stack_array(np.int64, TABLE),
    )  # fmt: skip
    work = pieces(memory, g, width, True)
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
            transform_inputs(images, g, tile, count, channels, stack, work.inputs)
            transform_gradients(gradients, g, tile, count, breadth, stack, work.products)
            add_products(work.inputs, work.products, g, channels, breadth, count, work.sums)
        at = (part * 9 * inner + c) * g.f + group * filters + j
        transform_sums(work.sums, g, partials, at, channels, breadth, stack, 0)
