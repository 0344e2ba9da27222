"""Stages of shared memory, which a product's operands come to by asynchronous copies (`cp.async`).

While a stage is multiplied, those behind it are being filled, past the registers. Numbers go 16 bytes at a time where
they lie so in memory, on addresses that 16 divides, else one by one. Devices older than Ampere copy by loads and
stores. In the simulator, what is inline assembler here is done by its definition.
"""

from llvmlite import ir
from numba import types

from fastcnn_kernels.cuda import SIMULATED, Tile, cuda, cuda_function, target

STAGES = 3  # one is multiplied, two are being filled
# Bytes, of shared arrays that are read four at a time; the simulator knows none.
ALIGNMENT = None if SIMULATED else 16

# What the innermost loops read with. An index in brackets may be negative in Python, and Numba asks every time.

if SIMULATED:

    def load_one(array, place):
        """array[place]."""
        return array[place]

    def load_four(array, place):
        """array[place : place + 4], from an address that 16 divides."""
        return array[place : place + 4]

    def store_four(array, place, a, b, c, d):
        """array[place : place + 4] = a, b, c, d, at an address that 16 divides."""
        array[place : place + 4] = a, b, c, d

    def is_aligned(array):
        """Whether 16 divides the address of an array."""
        return True

else:
    intrinsic = target.extending.intrinsic

    def _pointer(context, builder, kind, array, index):
        """To an element of a contiguous array."""
        return builder.gep(context.make_array(kind)(context, builder, array).data, [index])

    def _address(context, builder, kind, array, index, shared=False):
        """Of an element of a contiguous array; in the window of shared memory, if it is there."""
        pointer = _pointer(context, builder, kind, array, index)
        if not shared:
            return builder.ptrtoint(pointer, ir.IntType(64))
        inside = builder.addrspacecast(pointer, ir.PointerType(pointer.type.pointee, 3))
        return builder.ptrtoint(inside, ir.IntType(32))

    def _four(context, builder, kind, array, index):
        """A pointer to four numbers at a time. In which memory they are the compiler sees."""
        pointer = _pointer(context, builder, kind, array, index)
        return builder.bitcast(pointer, ir.PointerType(ir.VectorType(pointer.type.pointee, 4)))

    @intrinsic
    def load_one(typingctx, array, place):
        """array[place]."""

        def codegen(context, builder, signature, args):
            return builder.load(_pointer(context, builder, signature.args[0], *args))

        return array.dtype(array, types.int64), codegen

    @intrinsic
    def load_four(typingctx, array, place):
        """array[place : place + 4], from an address that 16 divides."""

        def codegen(context, builder, signature, args):
            found = builder.load(_four(context, builder, signature.args[0], *args), align=16)
            parts = [builder.extract_element(found, ir.Constant(ir.IntType(32), i)) for i in range(4)]
            return context.make_tuple(builder, signature.return_type, parts)

        return types.UniTuple(array.dtype, 4)(array, types.int64), codegen

    @intrinsic
    def store_four(typingctx, array, place, a, b, c, d):
        """array[place : place + 4] = a, b, c, d, at an address that 16 divides."""
        number = array.dtype

        def codegen(context, builder, signature, args):
            vector = ir.Constant(ir.VectorType(args[2].type, 4), ir.Undefined)
            for i, value in enumerate(args[2:]):
                vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), i))
            builder.store(vector, _four(context, builder, signature.args[0], *args[:2]), align=16)
            return context.get_dummy_value()

        return types.void(array, types.int64, number, number, number, number), codegen

    @intrinsic
    def is_aligned(typingctx, array):
        """Whether 16 divides the address of an array."""

        def codegen(context, builder, signature, args):
            first = ir.Constant(ir.IntType(64), 0)
            address = _address(context, builder, signature.args[0], args[0], first)
            rest = builder.and_(address, ir.Constant(ir.IntType(64), 15))
            return builder.icmp_unsigned("==", rest, first)

        return types.boolean(array), codegen

    def _assembler(builder, text, inputs, args):
        """Instructions that work on memory."""
        kinds = [ir.IntType(64 if letter == "l" else 32) for letter in inputs]
        kind = ir.FunctionType(ir.VoidType(), kinds)
        constraints = ",".join([*inputs, "~{memory}"])
        builder.call(ir.InlineAsm(kind, text, constraints, side_effect=True), args)

    def _asynchronous(nbytes):
        """The copy of so many bytes, 16 of which go past the first-level cache."""
        text = f"cp.async.{'cg' if nbytes == 16 else 'ca'}.shared.global [$0], [$1], {nbytes}, $2;"

        @intrinsic
        def copy(typingctx, shared, to, source, place, count):
            def codegen(context, builder, signature, args):
                there = _address(context, builder, signature.args[0], args[0], args[1], True)
                origin = _address(context, builder, signature.args[2], args[2], args[3])
                itemsize = context.get_abi_sizeof(context.get_data_type(source.dtype))
                number = builder.trunc(args[4], ir.IntType(32))
                given = builder.mul(number, ir.Constant(ir.IntType(32), itemsize))
                _assembler(builder, text, ["r", "l", "r"], [there, origin, given])
                return context.get_dummy_value()

            return types.void(shared, types.int64, source, types.int64, types.int64), codegen

        return copy

    _copies = {nbytes: _asynchronous(nbytes) for nbytes in (4, 8, 16)}

    def _order(text):
        """An instruction about copies."""

        @intrinsic
        def order(typingctx):
            def codegen(context, builder, signature, args):
                _assembler(builder, text, [], [])
                return context.get_dummy_value()

            return types.void(), codegen

        return order

    _close, _wait = _order("cp.async.commit_group;"), _order(f"cp.async.wait_group {STAGES - 2};")


def copier(tile: Tile, width: int):
    """The function that begins to copy `width` numbers.

    shared[to : to + width] = source[place : place + count], zeros behind; seen after the wait of `waiting`.
    """
    if tile.asynchronous and not SIMULATED:
        return _copies[width * tile.itemsize]

    @cuda_function
    def copy(shared, to, source, place, count):
        for i in range(width):
            shared[to + i] = source[place + i] if i < count else source.dtype.type(0)

    return copy


def waiting(tile: Tile):
    """Two functions: the copies since the last call are a group; wait for this thread's but the STAGES - 2 latest."""
    if tile.asynchronous and not SIMULATED:
        return _close, _wait

    @cuda_function
    def nothing():
        pass

    return nothing, nothing


class Stages:
    """Where in shared memory the operands of a tile are, stage by stage.

    Rows of a are beside each other, `a_pitch` apart, or columns of it, `a_across` apart: as they come together.
    The distances are such that the lanes of a warp read from different banks.
    """

    def __init__(self, tile: Tile):
        self.a_pitch, self.a_across, self.b_pitch = tile.depth + 4, tile.rows + 8, tile.columns + 8
        self.a_size = max(tile.rows * self.a_pitch, tile.depth * self.a_across)
        self.b_start = STAGES * self.a_size
        self.b_size = tile.depth * self.b_pitch
        self.size = self.b_start + STAGES * self.b_size


def turns(tile: Tile, lines: int, across: int) -> tuple[int, int]:
    """How many lines each thread does part of, when `across` threads share one, and how far these lines are apart."""
    down = tile.threads // across
    return -(-lines // down), down


# --- matrices --------------------------------------------------------------------------------------------------------


def line_stager(tile: Tile, width: int, lines: int, extent: int, pitch: int, across: int = 1):
    """The function that begins to fill `lines` lines of `extent` numbers, `width` at a time, with part of a matrix.

    shared[to + l * pitch + e * across] = source[at + (first + l) * apart + (left + e) * beside]; zero from line `last`
    and from number `right` on. Of more than one at a time, numbers lie side by side: across and beside are 1.
    """
    copy, threads = copier(tile, width), extent // width
    count, down = turns(tile, lines, threads)
    whole = count * down == lines

    @cuda_function
    def stage_lines(shared, to, source, at, apart, beside, first, last, left, right):
        e, line = cuda.threadIdx.x % threads * width, cuda.threadIdx.x // threads
        inside = max(min(right - left - e, width), 0)
        for _ in range(count):
            given = inside if first + line < last else 0
            place = at + (first + line) * apart + (left + e) * beside if given > 0 else 0
            if whole or line < lines:
                copy(shared, to + line * pitch + e * across, source, place, given)
            line += down

    return stage_lines


def stager_of_a(tile: Tile):
    """The function that begins to fill a stage of a with part of a matrix of any layout."""
    rows, depth, width, stages = tile.rows, tile.depth, tile.width, Stages(tile)
    rows_wide, rows_one = (line_stager(tile, n, rows, depth, stages.a_pitch) for n in (width, 1))
    columns_wide, columns_one = (line_stager(tile, n, depth, rows, stages.a_across) for n in (width, 1))

    @cuda_function
    def stage_a(shared, to, source, at, row, step, top, bottom, k, last, wide):
        """(i, d) = source[at + (top + i) * row + (k + d) * step], by rows if step is 1; `wide`: 16 bytes at a time."""
        if step == 1 and wide:
            rows_wide(shared, to, source, at, row, step, top, bottom, k, last)
        elif step == 1:
            rows_one(shared, to, source, at, row, step, top, bottom, k, last)
        elif wide:
            columns_wide(shared, to, source, at, step, row, k, last, top, bottom)
        else:
            columns_one(shared, to, source, at, step, row, k, last, top, bottom)

    return stage_a


def stager_of_b(tile: Tile):
    """The function that begins to fill a stage of b with part of a matrix of any layout."""
    columns, depth, width, pitch = tile.columns, tile.depth, tile.width, Stages(tile).b_pitch
    rows_wide, rows_one = (line_stager(tile, n, depth, columns, pitch) for n in (width, 1))
    turned = line_stager(tile, 1, columns, depth, 1, pitch)

    @cuda_function
    def stage_b(shared, to, source, at, row, step, k, last, left, right, wide):
        """(d, j) = source[at + (k + d) * row + (left + j) * step]; 16 bytes at a time if `wide`."""
        if step == 1 and wide:
            rows_wide(shared, to, source, at, row, step, k, last, left, right)
        elif step == 1:
            rows_one(shared, to, source, at, row, step, k, last, left, right)
        else:
            turned(shared, to, source, at, step, row, left, right, k, last)

    return stage_b
