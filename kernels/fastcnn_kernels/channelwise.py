"""Passes over rows of channels, where every channel has constants, or sums, of its own, as vector code.

Loops over an array, which read a channel's constants anew for every row, wait for the first-level cache. Here a few
vectors of channels are taken through all rows before the next: their constants and sums stay in registers.

Constants are in *tiles*, arrays on the stack with a number for each number of a *segment*: as many rows as fill whole
vectors, or a part of a row of more than `TILE` channels. Segments follow each other in steps, and what is in the same
place of each has the same constants.
"""

from collections.abc import Callable
from functools import partial

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastcnn_kernels.jit import IS_ARM, VECTOR_BYTES, device_function, scalar
from fastcnn_kernels.microkernel import (
    WORD,
    Vectors,
    choose,
    function_once,
    itemsize_of,
    lanes,
    lanes_of,
    pointer_to,
)
from fastcnn_kernels.reduction import TILE

GROUP = 4 if VECTOR_BYTES == 64 or IS_ARM else 2  # vectors that are taken through the rows at a time
LINES = 16  # segments added up in the dtype of the data before they are added to a float64 sum
BLOCK = 8192  # numbers that all groups are taken through before the next: they stay in a first-level cache

# Kinds of rectifiers, y = min(x, upper) where x > 0, else slope x: those that change nothing, of slope 0, all others.
LINEAR, SHARP, GENERAL = range(3)
RESIDUAL = 3  # more than the kind, where `normalized` adds a residual
INFINITY = float("inf")


@scalar
def kind_of(slope, upper):
    """What kind of rectifier it is."""
    if slope == 0:
        return SHARP
    return LINEAR if slope == 1 and upper == INFINITY else GENERAL


@device_function
def segment(x, rows, c, start):
    """(numbers of a segment, numbers of a row in it) of the channels from `start` on: rows that fill vectors."""
    if c > TILE:
        width = min(TILE, c - start)
        return width, width
    lanes, power = lanes_of(x), c & -c  # of two, the largest that divides c
    most, some = min(rows, TILE // c), max(GROUP * lanes // power, 1)
    if some > most:
        some = max(lanes // power, 1)
    return c * min(some, most), c


# --- emitted -----------------------------------------------------------------------------------------------------


class Rectifier:
    """y = min(x, upper) where x > 0, else slope x, and its gradient, for vectors."""

    def __init__(self, v, kind, slope, upper):
        self.v, self.kind, self.slope, self.upper = v, kind, v.splat(slope), v.splat(upper)
        self.zero = ir.Constant(v.kind, None)

    def of(self, x):
        """y; NaN where x is NaN."""
        builder = self.v.builder
        if self.kind == LINEAR:
            return x
        if self.kind == SHARP:
            x = self.v.at_least(x, self.zero)
        else:
            below = builder.fcmp_ordered("<", x, self.zero)
            x = builder.select(below, builder.fmul(self.slope, x), x)
        return builder.select(builder.fcmp_ordered(">", x, self.upper), self.upper, x)

    def gradient(self, dy, x):
        """dx."""
        builder = self.v.builder
        if self.kind == LINEAR:
            return dy
        above, under = builder.fcmp_unordered(">", x, self.zero), builder.fcmp_unordered("<", x, self.upper)
        if self.kind == SHARP:
            return builder.select(builder.and_(above, under), dy, self.zero)
        inside = builder.select(under, dy, self.zero)
        return builder.select(above, inside, builder.fmul(self.slope, dy))


def _pass(name: str, emit: Callable, kinds: dict[int, tuple[int, int]]):
    """An intrinsic that does what `emit` writes. kinds: (kind of rectifier, sources that it reads), by number."""

    @intrinsic
    def run(typingctx, kind, sources, results, tiles, begin, end, step, length, slope, upper):
        word, double = types.intp, types.float64
        signature = types.void(word, sources, results, tiles, word, word, word, word, double, double)

        def codegen(context, builder, signature, args):
            array, start = sources[0], WORD(0)
            pointers = [
                pointer_to(context, builder, kind_of_array, builder.extract_value(args[k], i), start)
                for k, arrays in ((1, sources), (2, results), (3, tiles))
                for i, kind_of_array in enumerate(arrays)
            ]
            words = [args[0], *args[4:], *pointers]
            function_type = ir.FunctionType(ir.VoidType(), [w.type for w in words])
            v = context, array.dtype, lanes(itemsize_of(context, array))
            counts = len(sources), len(results), len(tiles)
            named = f"fastcnn_{name}_{array.dtype}"
            sweep = partial(_emit_sweep, v, emit, kinds, counts, named)
            builder.call(function_once(builder.module, named, function_type, sweep), words)
            return context.get_dummy_value()

        return signature, codegen

    return run


def _emit_sweep(v, emit, kinds, counts, named, builder):
    """Calls, for all segments of [begin, end), functions that take some vectors through many lines."""
    kind, begin, end, step, length, slope, upper, *pointers = builder.function.args
    sources, results, tiles = _dealt(pointers, counts)
    number, summing = v[2], counts[1] > 1

    def call(vectors, part, place, at, lines, count):
        def call_kind(rectifier, read):
            into = [builder.gep(result, [place if summing else at]) for result in results]
            constants = [builder.gep(tile, [place]) for tile in tiles]
            words = [lines, step, count, slope, upper]
            words += [*(builder.gep(source, [at]) for source in sources[:read]), *into, *constants]
            function_type = ir.FunctionType(ir.VoidType(), [w.type for w in words])
            name = f"{named}_{rectifier}_{read}_{vectors}{'_part' * part}"
            shape = (read, *counts[1:]), rectifier, vectors, part
            write = partial(_emit_lines, v, emit, shape)
            builder.call(function_once(builder.module, name, function_type, write), words)

        choose(builder, kind, {some: partial(call_kind, *which) for some, which in kinds.items()})

    def cover(vectors, part, first, stop, place, count):
        """`count` numbers of all segments between `first` and `stop`, of which the last may have fewer."""
        at = builder.add(first, place)
        room = builder.add(builder.sub(builder.sub(stop, at), count), step)
        whole = builder.sdiv(_larger(builder, room, WORD(0)), step)
        call(vectors, part, place, at, whole, count)
        at = builder.add(at, builder.mul(whole, step))
        rest = _smaller(builder, builder.sub(stop, at), count)
        with cgutils.for_range_slice(builder, WORD(0), rest, WORD(number)) as (i, _):
            few = _smaller(builder, builder.sub(rest, i), WORD(number))
            call(1, True, builder.add(place, i), builder.add(at, i), WORD(1), few)

    lines = _larger(builder, builder.sdiv(WORD(BLOCK), step), WORD(1))
    wide, block = WORD(number * GROUP), builder.mul(lines, step)
    grouped = builder.sub(length, builder.srem(length, wide))
    full = builder.sub(length, builder.srem(length, WORD(number)))
    with cgutils.for_range_slice(builder, begin, end, block) as (first, _):
        stop = _smaller(builder, builder.add(first, block), end)
        with cgutils.for_range_slice(builder, WORD(0), grouped, wide) as (place, _):
            cover(GROUP, False, first, stop, place, wide)
        with cgutils.for_range_slice(builder, grouped, full, WORD(number)) as (place, _):
            cover(1, False, first, stop, place, WORD(number))
        with builder.if_then(builder.icmp_signed("<", full, length)):
            cover(1, True, first, stop, full, builder.sub(length, full))
    builder.ret_void()


def _dealt(pointers, counts):
    """The pointers as lists of so many."""
    rest = iter(pointers)
    return [[next(rest) for _ in range(count)] for count in counts]


def _smaller(builder, x, y):
    return builder.select(builder.icmp_signed("<", x, y), x, y)


def _larger(builder, x, y):
    return builder.select(builder.icmp_signed(">", x, y), x, y)


def _emit_lines(v, emit, shape, builder):
    """What `emit` writes for a group of vectors, or for the `count` numbers of a part of one."""
    counts, kind, vectors, part = shape
    lines, step, count, slope, upper, *pointers = builder.function.args
    sources, results, tiles = _dealt(pointers, counts)
    places = [WORD(k * v[2]) for k in range(vectors)]
    group = [Vectors(v[0], builder, v[1], v[2], count if part else None) for _ in places]
    constants = [[some.load(tile, at) for tile in tiles] for some, at in zip(group, places, strict=True)]
    bend = [Rectifier(some, kind, some.of_double(slope), some.of_double(upper)) for some in group]
    emit(builder, list(zip(group, places, bend, constants, strict=True)), sources, results, lines, step)
    builder.ret_void()


def _mapping(formula):
    """Emits a loop over lines that stores what a formula makes of the sources."""

    def emit(builder, group, sources, results, lines, step):
        (target,) = results
        with cgutils.for_range(builder, lines) as line:
            here = builder.mul(line.index, step)
            for v, place, bend, constants in group:
                at = builder.add(here, place)
                v.write(formula(v, bend, constants, [v.read(source, at) for source in sources]), target, at)

    return emit


def _summing(formula):
    """Emits loops over lines that add what a formula makes of the sources to two tiles of sums in float64."""

    def emit(builder, group, sources, results, lines, step):
        nothing = ir.Constant(group[0][0].kind, None)
        sums = [[v.variable(nothing) for _ in results] for v, *_ in group]
        with cgutils.for_range_slice(builder, WORD(0), lines, WORD(LINES)) as (first, _):
            for slot in (slot for slots in sums for slot in slots):
                builder.store(nothing, slot)
            left = builder.sub(lines, first)
            some = builder.select(builder.icmp_signed("<", left, WORD(LINES)), left, WORD(LINES))
            with cgutils.for_range(builder, some) as line:
                here = builder.mul(builder.add(first, line.index), step)
                for (v, place, bend, constants), slots in zip(group, sums, strict=True):
                    at = builder.add(here, place)
                    read = [v.read(source, at) for source in sources]
                    for slot, term in zip(slots, formula(v, bend, constants, read), strict=True):
                        builder.store(term(builder.load(slot)), slot)
            for (v, place, *_), slots in zip(group, sums, strict=True):
                for slot, total in zip(slots, results, strict=True):
                    _add_to(v, builder.load(slot), total, place)

    return emit


def _add_to(v, values, total, place):
    """total[place:] += values, in float64."""
    wide = ir.VectorType(ir.DoubleType(), v.count)
    pointer = v.builder.bitcast(v.builder.gep(total, [place]), wide.as_pointer())
    before = v.builder.load(pointer)
    before.align = 8
    more = values if v.itemsize == 8 else v.builder.fpext(values, wide)
    v.builder.store(v.builder.fadd(before, more), pointer).align = 8


def _normalized(v, bend, constants, sources):
    (centre, scale, shift), (x, *more) = constants, sources
    value = v.multiply_add(v.builder.fsub(x, centre), scale, shift)
    for other in more:
        value = v.builder.fadd(value, other)
    return bend.of(value)


def _scaled(v, bend, constants, sources):
    return v.builder.fmul(sources[0], constants[0])


def _input_gradient(v, bend, constants, sources):
    (centre, shift, p, q, t), (x, dy) = constants, sources
    d = v.builder.fsub(x, centre)
    dv = bend.gradient(dy, v.multiply_add(d, p, shift))
    return v.multiply_add(p, dv, v.multiply_add(q, d, t))


def _moments(v, bend, constants, sources):
    d = v.builder.fsub(sources[0], constants[0])
    if v.present is not None:
        d = v.builder.select(v.present, d, bend.zero)
    return lambda total: v.builder.fadd(total, d), lambda total: v.multiply_add(d, d, total)


def _product_sums(v, bend, constants, sources):
    (centre, scale, shift), (x, dy) = constants, sources
    d = v.builder.fsub(x, centre)
    dv = bend.gradient(dy, v.multiply_add(d, scale, shift))
    return lambda total: v.builder.fadd(total, dv), lambda total: v.multiply_add(dv, d, total)


ONE, PLAIN = {LINEAR: (LINEAR, 1)}, {kind: (kind, 1) for kind in (LINEAR, SHARP, GENERAL)}
TWO, WITH_RESIDUAL = ({kind + more: (kind, 2) for kind in (LINEAR, SHARP, GENERAL)} for more in (0, RESIDUAL))

# Each takes (kind, sources, results, tiles, begin, end, step, length, slope, upper): flat arrays; a flat array, or two
# tiles of float64 sums; tiles of constants; the numbers [begin, end), where a segment of `length` begins every `step`.

# y = rectify((x - centre) scale + shift + residual), of (x, residual, which may be empty)
normalized = _pass("normalized", _mapping(_normalized), {**PLAIN, **WITH_RESIDUAL})
# dx = p dv + q (x - centre) + t, of (x, dy); dv the gradient behind a rectifier of v = p (x - centre) + shift
input_gradient = _pass("input_gradient", _mapping(_input_gradient), TWO)
# x scale
scaled = _pass("scaled", _mapping(_scaled), ONE)
# sums of d and of d^2, d = x - shift
shifted_sums = _pass("shifted_sums", _summing(_moments), ONE)
# sums of dv and of dv (x - centre), of (x, dy); v = (x - centre) scale + shift
product_sums = _pass("product_sums", _summing(_product_sums), TWO)
