"""Stages of shared memory, which a product's operands come to by asynchronous copies (`cp.async`).

While a stage is multiplied, those behind it are being filled, past the registers. Numbers go 16 bytes at a time where
they lie so in memory, on addresses that 16 divides, else one by one. Devices older than Ampere copy by loads and
stores. In the simulator, what is inline assembler here is done by its definition.
"""

from llvmlite import ir
from numba import types

from fastcnn_kernels.cuda import SIMULATED, Tile, cuda, cuda_function
from fastcnn_kernels.cuda_intrinsics import add_int32, int32, multiply_add

STAGES = 2  # one is multiplied, the other is being filled
# Bytes, of shared arrays that are read four at a time; the simulator knows none.
ALIGNMENT = None if SIMULATED else 16

if not SIMULATED:
    from fastcnn_kernels.cuda_intrinsics import address_of_element, intrinsic

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
        def copy(typingctx, shared, to, source, place, inside):
            def codegen(context, builder, signature, args):
                there = address_of_element(context, builder, signature.args[0], args[0], args[1], True)
                origin = address_of_element(context, builder, signature.args[2], args[2], args[3])
                word = ir.IntType(32)
                given = builder.select(args[4], ir.Constant(word, nbytes), ir.Constant(word, 0))
                _assembler(builder, text, ["r", "l", "r"], [there, origin, given])
                return context.get_dummy_value()

            return types.void(shared, types.int64, source, types.int64, types.boolean), codegen

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

    shared[to : to + width] = source[place : place + width] if `inside`, else zeros, and then nothing is read, wherever
    `place` may be. Seen after the wait of `waiting`.
    """
    if tile.asynchronous and not SIMULATED:
        return _copies[width * tile.itemsize]

    @cuda_function
    def copy(shared, to, source, place, inside):
        for i in range(width):
            shared[to + i] = source[place + i] if inside else source.dtype.type(0)

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
    and from number `right` on. Of more than one at a time, numbers lie side by side, across and beside are 1, and
    `width` divides left and right.
    """
    copy, threads = copier(tile, width), extent // width
    count, down = turns(tile, lines, threads)
    whole = count * down == lines

    @cuda_function
    def stage_lines(shared, to, source, at, apart, beside, first, last, left, right):
        e, line = cuda.threadIdx.x % threads * width, cuda.threadIdx.x // threads
        at, beyond = at + (left + e) * beside, left + e >= right
        for _ in range(count):
            row = add_int32(first, line)
            if whole or line < lines:
                inside = row < int32(last) and not beyond
                copy(shared, to + line * pitch + e * across, source, multiply_add(row, apart, at), inside)
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
