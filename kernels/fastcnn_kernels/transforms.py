"""The transforms of Winograd's algorithm: formulas along one axis, and what they do to tiles, as vector code.

A tile of m x m outputs is a product of polynomials, taken by their values at m + 1 points and infinity along each axis.
A formula makes such values of numbers, or numbers of values. It is written once, for whatever can be added and
multiplied by a number, and applied to the columns of a tile and then to the rows of what that gives; see `winograd.py`
for what is done with them. Points are 0, 1, -1 and, for m = 4, 1/2 and -2, whose rounding errors are half those of 2
and -2 (Barabasz et al. 2020, arXiv:1803.10986).

Tiles that are neighbours in a row are transformed together: first every column of pixels, once, though two tiles see
some of them, into a memory that stays in the first-level cache; then the rows of each tile.
"""

from collections.abc import Callable
from functools import partial

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastcnn_kernels.jit import VECTOR_BYTES
from fastcnn_kernels.microkernel import (
    WORD,
    Vectors,
    choose,
    function_once,
    itemsize_of,
    lanes,
    literal,
    pointer_to,
)

# What a transform makes: of pixels, of gradients, of weights; outputs, gradients of weights.
INPUT, GRADIENT, WEIGHTS, OUTPUT, WEIGHTS_GRADIENT = range(5)
SIZES = 4, 2  # of tiles

EDGE = 8  # at least as many as a tile has points along an axis
# What a table says of every row of pixels: where it begins, how far it is to the next pixel and to the next tile.
PLACE, STEP, JUMP = range(3)
TABLE = 3 * EDGE
RUN = 8  # tiles in a row that are transformed together; their columns fit a first-level cache
COLUMNS = (4 * RUN + 2) * 6 * VECTOR_BYTES // 4  # numbers of transformed columns of such a run


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
