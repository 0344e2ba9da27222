"""Products of bfloat16 numbers added up in float32, and the splitting of float32 numbers into such.

Blocks of 32 x 32 results are computed on matrix tiles (Intel AMX) where the processor has them, else with vector
instructions that add up dot products of pairs (AVX512-BF16), which are laid out alike: a row of 16 columns of pairs.
"""

import ctypes
import functools
import itertools
import platform
import sys

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from fastcnn_kernels.jit import COMPILED, VECTOR_BYTES
from fastcnn_kernels.microkernel import WORD, Vectors, function_once, literal, pointer_to
from fastcnn_kernels.tile_geometry import DEPTH, ROWS, TILE

# --- the processor -----------------------------------------------------------------------------------------------

_FEATURES = set(cpu_target.target_context.codegen().magic_tuple()[2].split(","))
# What code is generated for depends on the processor alone, as does the name under which it is kept on disk.
HAS_TILES = COMPILED and VECTOR_BYTES == 64 and {"+amx-tile", "+amx-bf16"} <= _FEATURES
HAS_DOT_PRODUCTS = COMPILED and VECTOR_BYTES == 64 and "+avx512bf16" in _FEATURES

_ASK_FOR_STATE, _TILE_DATA = 0x1023, 18  # arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA), Linux on x86-64
_ARCH_PRCTL = 158


@functools.cache
def tiles_available() -> bool:
    """Whether kernels of this process may use tiles: the processor has them and the system permits it."""
    if not HAS_TILES or sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        return ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ASK_FOR_STATE, _TILE_DATA) == 0
    except (OSError, AttributeError):
        return False


def products_available() -> bool:
    """Whether kernels of this process may multiply bfloat16 numbers, on tiles or with vectors."""
    return tiles_available() or (HAS_DOT_PRODUCTS and not HAS_TILES)


# --- instructions --------------------------------------------------------------------------------------------------

BYTE = ir.IntType(8)
POINTER = BYTE.as_pointer()


def _call(builder, name, args):
    """A call of an intrinsic without a result."""
    module = builder.module
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [a.type for a in args]), name=name)
    builder.call(function, args)


def _number(value):
    return ir.Constant(WORD, value)


def _tile(value):
    return ir.Constant(BYTE, value)


@intrinsic
def tiles_on(typingctx):
    """Make all eight tiles 16 rows of 64 bytes, until `tiles_off`."""

    def codegen(context, builder, signature, args):
        if not HAS_TILES:
            return context.get_dummy_value()
        content = bytearray(64)
        content[0] = 1
        for tile in range(8):
            content[16 + 2 * tile], content[48 + tile] = 64, ROWS
        place = cgutils.global_constant(
            builder, "fastcnn_tile_configuration", cgutils.make_bytearray(content)
        )
        place.align = 64
        _call(builder, "llvm.x86.ldtilecfg", [builder.bitcast(place, POINTER)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def tiles_off(typingctx):
    """Give the tiles back: threads that use none are switched faster."""

    def codegen(context, builder, signature, args):
        if HAS_TILES:
            _call(builder, "llvm.x86.tilerelease", [])
        return context.get_dummy_value()

    return types.void(), codegen


def _pairs_of_parts(parts):
    """(i, j) of the parts whose products are taken, in an order in which only one of them changes at a time."""
    found, j = [], 0
    for i in reversed(range(parts)):
        row = [j, *(other for other in range(parts - i) if other != j)]
        found += [(i, j) for j in row]
        j = row[-1]
    return found


def _emit_products(builder, parts, shape, loads):
    """Add the products of a block of the depth to tiles 0, 1 (first rows), 2, 3 (last rows).

    shape: tiles of (rows, columns), 1 or 2. loads((which, half), part) -> (pointer, row pitch) for which of "a", "b".
    """
    held: dict[int, int] = {}

    def load(tile, what, part):
        if held.get(tile) != part:
            held[tile] = part
            _call(builder, "llvm.x86.tileloadd64", [_tile(tile), *loads(what, part)])

    for i, j in _pairs_of_parts(parts):
        for row in range(shape[0]):
            load(4 + row, ("a", row), i)
        for column in range(shape[1]):
            load(6 + column, ("b", column), j)
        for row, column in itertools.product(range(shape[0]), range(shape[1])):
            tiles = 2 * row + column, 4 + row, 6 + column
            _call(builder, "llvm.x86.tdpbf16ps", [_tile(tile) for tile in tiles])


def _results(shape):
    """(tile, its offset in bytes) of a result of 32 x 32 numbers."""
    return [(2 * r + c, r * ROWS * 128 + c * 64) for r in range(shape[0]) for c in range(shape[1])]


def _emit_on_tiles(builder, parts, shape, count, loads_of, c, fresh):
    """c (32 x 32) += the products of `count` blocks of the depth, on matrix tiles.

    loads_of(block) gives what `_emit_products` takes. Where `fresh`, c counts as zero.
    """
    results = _results(shape)
    with builder.if_else(fresh) as (anew, more):
        with anew:
            for tile, _ in results:
                _call(builder, "llvm.x86.tilezero", [_tile(tile)])
        with more:
            for tile, place in results:
                pointer = builder.gep(c, [_number(place)])
                _call(builder, "llvm.x86.tileloadd64", [_tile(tile), pointer, _number(128)])
    with cgutils.for_range(builder, count) as loop:
        _emit_products(builder, parts, shape, loads_of(loop.index))
    for tile, place in results:
        _call(builder, "llvm.x86.tilestored64", [_tile(tile), builder.gep(c, [_number(place)]), _number(128)])


class _Bfloat(ir.Type):
    """LLVM's type of bfloat16 numbers."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _Bfloat)

    def __hash__(self):
        return hash(_Bfloat)


SUMS = ir.VectorType(ir.FloatType(), ROWS)  # a row of a tile of results
WORDS = ir.VectorType(ir.IntType(32), ROWS)  # pairs of bfloat16 numbers
HALVES = ir.VectorType(_Bfloat(), DEPTH)
DOT_ROWS = 8  # of results in registers, of two vectors each


def _emit_on_vectors(builder, parts, shape, count, loads_of, c, fresh):
    """The same as `_emit_on_tiles` with instructions that add dot products of pairs to vectors (AVX512-BF16)."""
    for top in range(0, ROWS * shape[0], DOT_ROWS):
        sums = [[cgutils.alloca_once(builder, SUMS) for _ in range(shape[1])] for _ in range(DOT_ROWS)]
        offsets = [[(top + r) * 128 + 64 * j for j in range(shape[1])] for r in range(DOT_ROWS)]
        places = [
            [builder.bitcast(builder.gep(c, [_number(at)]), SUMS.as_pointer()) for at in row]
            for row in offsets
        ]
        for slot, place in zip(itertools.chain(*sums), itertools.chain(*places), strict=True):
            old = builder.load(place)
            old.align = 4
            builder.store(builder.select(fresh, ir.Constant(SUMS, None), old), slot)
        with cgutils.for_range(builder, count) as blocks_loop:
            loads = loads_of(blocks_loop.index)
            with cgutils.for_range(builder, _number(DEPTH // 2)) as pairs:
                _emit_dots(builder, parts, top, sums, loads, pairs.index)
        for slot, place in zip(itertools.chain(*sums), itertools.chain(*places), strict=True):
            builder.store(builder.load(slot), place).align = 4


def _emit_dots(builder, parts, top, sums, loads, pair):
    """Add one pair of numbers of the depth to the sums of the rows from `top` on."""
    kind = ir.FunctionType(SUMS, [SUMS, HALVES, HALVES])
    name = "llvm.x86.avx512bf16.dpbf16ps.512"
    dot = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)

    def rows_of(part):
        pointer, pitch = loads(("a", top // ROWS), part)
        for r in range(DOT_ROWS):
            at = builder.add(builder.mul(pitch, _number(top % ROWS + r)), builder.shl(pair, _number(2)))
            place = builder.gep(pointer, [at])
            word = builder.load(builder.bitcast(place, ir.IntType(32).as_pointer()))
            word.align = 2
            lonely = builder.insert_element(ir.Constant(WORDS, ir.Undefined), word, _number(0))
            yield builder.bitcast(
                builder.shuffle_vector(lonely, lonely, ir.Constant(WORDS, [0] * ROWS)), HALVES
            )

    def columns_of(part):
        for j in range(len(sums[0])):
            pointer, pitch = loads(("b", j), part)
            place = builder.gep(pointer, [builder.mul(pitch, pair)])
            words = builder.load(builder.bitcast(place, WORDS.as_pointer()))
            words.align = 2
            yield builder.bitcast(words, HALVES)

    columns = {j: list(columns_of(j)) for j in range(parts)}
    for i in range(parts):
        for slots, row in zip(sums, rows_of(i), strict=True):
            for j in range(parts - i):
                for slot, column in zip(slots, columns[j], strict=True):
                    builder.store(builder.call(dot, [builder.load(slot), row, column]), slot)


_emit = _emit_on_tiles if HAS_TILES else _emit_on_vectors


@intrinsic(prefer_literal=True)
def block_forward(
    typingctx,
    parts,
    wide,
    cells,
    at,
    pitches,
    offsets,
    first,
    count,
    weights,
    weights_at,
    out,
    out_at,
):
    """out (32 x 32) += the positions whose cells begin at `at`, times `count` blocks of the depth of packed weights.

    parts, wide (1: 32 columns, 0: 16 columns) are literal; pitches: of rows, halves of the rows and parts of the cells,
    in bfloat16 numbers. Where `first`, the first block of the depth, is 0, the products are not added but written.
    """
    shape = literal(parts, "parts"), literal(wide, "wide")
    word = types.intp
    signature = types.void(parts, wide, cells, word, pitches, offsets, word, word, weights, word, out, word)

    def codegen(context, builder, signature, args):
        kinds = signature.args
        a, b, c = (
            builder.bitcast(pointer_to(context, builder, kinds[i], args[i], args[i + 1]), POINTER)
            for i in (2, 8, 10)
        )
        table = pointer_to(context, builder, kinds[5], args[5], _number(0))
        double = [builder.shl(pitch, _number(1)) for pitch in cgutils.unpack_tuple(builder, args[4])]
        values = [a, *double, table, args[6], args[7], b, c]
        kind = ir.FunctionType(ir.VoidType(), [v.type for v in values])
        name = f"fastcnn_amx_forward_{shape[0]}_{shape[1]}"
        builder.call(
            function_once(builder.module, name, kind, lambda inner: _emit_forward(inner, *shape)), values
        )
        return context.get_dummy_value()

    return signature, codegen


def _emit_forward(builder, parts, wide):
    a, pitch, half_pitch, part_pitch, table, first, count, b, c = builder.function.args
    step = _number(parts * 2 * 2 * TILE)

    def loads_of(index):
        block = builder.add(index, first)
        row = builder.gep(a, [builder.load(builder.gep(table, [block]))])
        column = builder.gep(b, [builder.mul(block, step)])

        def loads(what, part):
            which, half = what
            if which == "b":
                return builder.gep(column, [_number((part * 2 + half) * 2 * TILE)]), _number(64)
            place = builder.gep(row, [builder.mul(part_pitch, _number(part))])
            return builder.gep(place, [builder.mul(half_pitch, _number(half))]), pitch

        return loads

    fresh = builder.icmp_signed("==", first, _number(0))
    _emit(builder, parts, (2, 2 if wide else 1), count, loads_of, c, fresh)
    builder.ret_void()


@intrinsic(prefer_literal=True)
def block_gradient(
    typingctx, parts, tall, memory, dy, half_pitch, dy_part, first, second, cells_part, count, sums, sums_at
):
    """sums (32 x 32) += tiles of dy from `dy` on, times columns of cells from `first` and `second` on.

    Sums over `count` x 32 positions. parts and tall (1: 32 rows, 0: 16 rows) are literal. half_pitch: to the next 16
    rows. Places and pitches count bfloat16 numbers, whatever the dtype of the memory.
    """
    shape = literal(parts, "parts"), literal(tall, "tall")
    word = types.intp
    signature = types.void(parts, tall, memory, word, word, word, word, word, word, word, sums, word)

    def codegen(context, builder, signature, args):
        kinds = signature.args
        start = builder.bitcast(pointer_to(context, builder, kinds[2], args[2], _number(0)), POINTER)
        pointers = [builder.gep(start, [builder.shl(args[i], _number(1))]) for i in (3, 6, 7)]
        c = builder.bitcast(pointer_to(context, builder, kinds[10], args[10], args[11]), POINTER)
        double = [builder.shl(args[i], _number(1)) for i in (4, 5, 8)]
        values = [*pointers, *double, args[9], c]
        kind = ir.FunctionType(ir.VoidType(), [v.type for v in values])
        name = f"fastcnn_amx_gradient_{shape[0]}_{shape[1]}"
        builder.call(
            function_once(builder.module, name, kind, lambda inner: _emit_gradient(inner, *shape)), values
        )
        return context.get_dummy_value()

    return signature, codegen


def _emit_gradient(builder, parts, tall):
    a, first, second, half_pitch, dy_part, cells_part, count, c = builder.function.args

    def loads_of(index):
        along = builder.mul(index, _number(2 * TILE))

        def loads(what, part):
            which, half = what
            if which == "a":
                place = builder.gep(builder.gep(a, [along]), [builder.mul(dy_part, _number(part))])
                return builder.gep(place, [builder.mul(half_pitch, _number(half))]), _number(64)
            column = builder.gep((first, second)[half], [along])
            return builder.gep(column, [builder.mul(cells_part, _number(part))]), _number(64)

        return loads

    _emit(builder, parts, (2 if tall else 1, 2), count, loads_of, c, ir.Constant(ir.IntType(1), 0))
    builder.ret_void()


class _Splitter(Vectors):
    """Emits the splitting of vectors of float32 into bfloat16 parts, which are upper halves of words.

    The lower halves of words are anything but in the last part of two or three, where they are the number's own.
    """

    def __init__(self, context, builder, present=None):
        super().__init__(context, builder, types.float32, VECTOR_BYTES // 4, present)
        self.words = ir.VectorType(ir.IntType(32), self.count)
        self.halves = ir.VectorType(ir.IntType(16), self.count)

    def constant(self, value):
        return ir.Constant(self.words, [value] * self.count)

    def store_halves(self, value, pointer):
        self.builder.store(value, self.builder.bitcast(pointer, value.type.as_pointer())).align = 2

    def heads(self, x, parts):
        """(all parts but the last, as words, and what is left of x). Of infinity the further parts are zero.

        A part is the nearest bfloat16 number. What two parts leave of a float32 number is one itself.
        """
        b, found = self.builder, []
        for part in range(parts - 1):
            bits = b.add(b.bitcast(x, self.words), self.constant(0x8000))
            head = b.bitcast(b.and_(bits, self.constant(0xFFFF0000)), self.kind)
            rest = b.fsub(x, head)
            if part == 0:
                rest = b.select(b.fcmp_ordered("==", x, head), ir.Constant(self.kind, None), rest)
            found.append(bits)
            x = rest
        return found, x

    def upper_halves(self, first, second):
        """Those of two vectors of words, one after the other."""
        double = ir.VectorType(ir.IntType(16), 2 * self.count)
        odd = ir.Constant(ir.VectorType(ir.IntType(32), 2 * self.count), list(range(1, 4 * self.count, 2)))
        return self.builder.shuffle_vector(
            self.builder.bitcast(first, double), self.builder.bitcast(second, double), odd
        )

    def nearest(self, first, second):
        """The nearest bfloat16 numbers, ties to even, of one vector and then of the other."""
        if not HAS_DOT_PRODUCTS:
            return self.upper_halves(self._rounded(first), self._rounded(second))
        name, result = "llvm.x86.avx512bf16.cvtne2ps2bf16.512", ir.VectorType(_Bfloat(), DEPTH)
        kind = ir.FunctionType(result, [self.kind, self.kind])
        both = self.builder.module.globals.get(name) or ir.Function(self.builder.module, kind, name)
        return self.builder.bitcast(
            self.builder.call(both, [second, first]), ir.VectorType(ir.IntType(16), DEPTH)
        )

    def _rounded(self, x):
        b = self.builder
        bits = b.bitcast(x, self.words)
        odd = b.and_(b.lshr(bits, self.constant(16)), self.constant(1))
        nearest = b.add(bits, b.add(odd, self.constant(0x7FFF)))
        return b.select(b.fcmp_unordered("uno", x, x), bits, nearest)

    def last(self, first, second, parts):
        """The last parts of two vectors, one after the other."""
        if parts < 3:
            return self.nearest(first, second)
        return self.upper_halves(*(self.builder.bitcast(x, self.words) for x in (first, second)))

    def in_turns(self, first, second):
        """The upper halves of two vectors of words, taken in turns."""
        upper = self.builder.and_(second, self.constant(0xFFFF0000))
        return self.builder.or_(self.builder.lshr(first, self.constant(16)), upper)

    def last_in_turns(self, first, second, parts):
        """The last parts of two vectors, taken in turns."""
        if parts == 3:
            return self.in_turns(*(self.builder.bitcast(x, self.words) for x in (first, second)))
        both = self.nearest(first, second)
        turns = [i // 2 + i % 2 * self.count for i in range(2 * self.count)]
        return self.builder.shuffle_vector(
            both, both, ir.Constant(ir.VectorType(ir.IntType(32), 2 * self.count), turns)
        )


def _halves(context, builder, kind, array, index):
    """Pointer to bfloat16 number `index` of the array's memory, whatever its dtype."""
    start = builder.bitcast(pointer_to(context, builder, kind, array, _number(0)), POINTER)
    return builder.gep(start, [builder.shl(index, _number(1))])


@intrinsic
def clear_halves(typingctx, memory, at, count):
    """memory[at:][:count] = 0, counted in bfloat16 numbers."""

    def codegen(context, builder, signature, args):
        place = _halves(context, builder, signature.args[0], args[0], args[1])
        cgutils.memset(builder, place, builder.shl(args[2], _number(1)), 0)
        return context.get_dummy_value()

    return types.void(memory, types.intp, types.intp), codegen


@intrinsic
def interleave(typingctx, memory, first, second, to, to_at):
    """to[to_at:] = memory[first], memory[second], memory[first + 1], ...: 16 of each, counted in bfloat16 numbers."""
    word = types.intp

    def codegen(context, builder, signature, args):
        kinds = signature.args
        s = _Splitter(context, builder)
        rows = []
        for i in (1, 2):
            place = _halves(context, builder, kinds[0], args[0], args[i])
            value = builder.load(builder.bitcast(place, s.halves.as_pointer()))
            value.align = 2
            rows.append(builder.zext(value, s.words))
        mixed = builder.or_(rows[0], builder.shl(rows[1], s.constant(16)))
        s.store_halves(mixed, _halves(context, builder, kinds[3], args[3], args[4]))
        return context.get_dummy_value()

    return types.void(memory, word, word, to, word), codegen


@intrinsic(prefer_literal=True)
def split(typingctx, parts, whole, source, at, count, to, to_at, part_pitch):
    """to[to_at + p * part_pitch:] = part p of source[at:][:count], for two vectors of float32 numbers.

    parts and whole are literal; what is behind `count` is zero, and not read, unless it is the whole.
    """
    shape = literal(parts, "parts"), literal(whole, "whole")
    word = types.intp

    def codegen(context, builder, signature, args):
        kinds = signature.args
        pointer, found = pointer_to(context, builder, kinds[2], args[2], args[3]), []
        for i in range(2):
            place = _number(i * VECTOR_BYTES // 4)
            s = _Splitter(context, builder, None if shape[1] else builder.sub(args[4], place))
            found.append(s.heads(s.read(pointer, place), shape[0]))
        (first, x), (second, y) = found
        parts = [*map(s.upper_halves, first, second), s.last(x, y, shape[0])]
        for part, halves in enumerate(parts):
            place = builder.add(args[6], builder.mul(args[7], _number(part)))
            s.store_halves(halves, _halves(context, builder, kinds[5], args[5], place))
        return context.get_dummy_value()

    return types.void(parts, whole, source, word, word, to, word, word), codegen


@intrinsic(prefer_literal=True)
def split_pair(typingctx, parts, first, first_at, second, second_at, to, to_at, part_pitch):
    """to[to_at + p * part_pitch:] = part p of first[0], second[0], first[1], second[1], ...; parts is literal.

    Places of `to` and pitches count bfloat16 numbers.
    """
    count = literal(parts, "parts")
    word = types.intp

    def codegen(context, builder, signature, args):
        kinds = signature.args
        s = _Splitter(context, builder)
        pointers = [pointer_to(context, builder, kinds[i], args[i], args[i + 1]) for i in (1, 3)]
        (a, x), (b, y) = (s.heads(s.load(pointer, _number(0)), count) for pointer in pointers)
        parts = [*map(s.in_turns, a, b), s.last_in_turns(x, y, count)]
        for part, halves in enumerate(parts):
            place = builder.add(args[6], builder.mul(args[7], _number(part)))
            s.store_halves(halves, _halves(context, builder, kinds[5], args[5], place))
        return context.get_dummy_value()

    return types.void(parts, first, word, second, word, to, word, word), codegen


@intrinsic(prefer_literal=True)
def finish_row(typingctx, vectors, source, at, bias, bias_at, residual, residual_at, lower, out, out_at):
    """out[out_at:] = max(source[at:] + bias[bias_at:] + residual[residual_at:], lower), for some vectors (literal)."""
    count = literal(vectors, "vectors")
    word = types.intp

    def codegen(context, builder, signature, args):
        kinds = signature.args
        v = Vectors(context, builder, types.float32, VECTOR_BYTES // 4)
        *terms, out = (pointer_to(context, builder, kinds[i], args[i], args[i + 1]) for i in (1, 3, 5, 8))
        bound = v.splat(v.of_double(args[7]))
        for i in range(count):
            place = _number(i * v.count)
            first, second, third = (v.load(term, place) for term in terms)
            value = builder.fadd(builder.fadd(first, second), third)
            v.store(v.at_least(value, bound), out, place)
        return context.get_dummy_value()

    return types.void(vectors, source, word, bias, word, residual, word, types.float64, out, word), codegen
