"""Tensor cores: products of small matrices by a warp, and the copies that bring their operands to shared memory.

Both are inline assembler, and in the simulator done by their definition. Copies are asynchronous (`cp.async`): while a
stage of shared memory is multiplied, those behind it are being filled, past the registers. Numbers go four by four
where they lie so in memory, on addresses that 16 divides, else one by one.
"""

import numpy as np
from llvmlite import ir
from numba import types

from fastcnn_kernels.cuda import SIMULATED, Tile, cuda, cuda_function, target, unrolled

STAGES = 3  # of shared memory: one is multiplied, two are being filled

if SIMULATED:

    def stage_memory(size):
        """So many numbers of shared memory, on an address that 16 divides. A kernel calls it once."""
        return cuda.shared.array(size, np.float32)

    def copy_four(shared, to, source, place, count):
        """shared[to : to + 4] = source[place : place + count], zeros behind; seen after `wait_for_copies`."""
        for i in range(4):
            shared[to + i] = source[place + i] if i < count else np.float32(0)

    def copy_one(shared, to, source, place, count):
        """shared[to] = source[place] if count is 1, else 0; seen after `wait_for_copies`."""
        shared[to] = source[place] if count > 0 else np.float32(0)

    def close_group():
        """The copies since the last call are a group."""

    def wait_for_copies():
        """Wait for all groups of this thread but the STAGES - 2 latest."""

    def is_aligned(array):
        """Whether its numbers may be copied four by four."""
        return True

    def to_tf32(x):
        """x rounded to the 11 bits of TF32, halves away from zero."""
        bits = np.float32(x).view(np.uint32)
        return np.uint32((int(bits) + 0x1000) & 0xFFFFE000).view(np.float32)

    def multiply_tf32(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
        """The lane's part of c + a b; a 16 x 8, b 8 x 8. Every lane of the warp must come here."""
        a = cuda.shared.array((64, 4), np.float32)
        b = cuda.shared.array((64, 2), np.float32)
        thread = cuda.threadIdx.x
        a[thread], b[thread] = (a0, a1, a2, a3), (b0, b1)
        cuda.syncthreads()
        results, warp, lane = [c0, c1, c2, c3], thread // 32 * 32, thread % 32
        for e in range(4):
            row, column = lane // 4 + e // 2 * 8, lane % 4 * 2 + e % 2
            for k in range(8):
                x = a[warp + row % 8 * 4 + k % 4, row // 8 + k // 4 * 2]
                results[e] += x * b[warp + column * 4 + k % 4, k // 4]
        cuda.syncthreads()
        return results

else:
    intrinsic, cgutils = target.extending.intrinsic, target.cgutils

    @intrinsic
    def stage_memory(typingctx, size):
        """So many numbers of shared memory, on an address that 16 divides. A kernel calls it once."""
        if not hasattr(size, "literal_value"):
            return None  # Numba asks again, with the constant
        result = types.Array(types.float32, 1, "C")

        def codegen(context, builder, signature, args):
            kind = ir.ArrayType(ir.FloatType(), size.literal_value)
            memory = cgutils.add_global_variable(builder.module, kind, "stages", 3)
            memory.align, memory.initializer = 16, ir.Constant(kind, ir.Undefined)
            array = context.make_array(result)(context, builder)
            count, itemsize = (context.get_constant(types.intp, n) for n in (size.literal_value, 4))
            context.populate_array(
                array,
                data=builder.addrspacecast(memory, ir.PointerType(ir.FloatType())),
                shape=cgutils.pack_array(builder, [count]),
                strides=cgutils.pack_array(builder, [itemsize]),
                itemsize=itemsize,
                meminfo=None,
            )
            return array._getvalue()

        return result(size), codegen

    def _assembler(builder, text, inputs, args):
        """Instructions that work on memory."""
        kinds = [ir.IntType(64 if letter == "l" else 32) for letter in inputs]
        kind = ir.FunctionType(ir.VoidType(), kinds)
        constraints = ",".join([*inputs, "~{memory}"])
        builder.call(ir.InlineAsm(kind, text, constraints, side_effect=True), args)

    def _address(context, builder, kind, array, index, shared=False):
        """Of an element of a contiguous array; in the window of shared memory, if it is there."""
        data = context.make_array(kind)(context, builder, array).data
        pointer = builder.gep(data, [index])
        if not shared:
            return builder.ptrtoint(pointer, ir.IntType(64))
        inside = builder.addrspacecast(pointer, ir.PointerType(ir.FloatType(), 3))
        return builder.ptrtoint(inside, ir.IntType(32))

    def _copier(text, nbytes):
        def codegen(context, builder, signature, args):
            to = _address(context, builder, signature.args[0], args[0], args[1], True)
            source = _address(context, builder, signature.args[2], args[2], args[3])
            count = builder.trunc(args[4], ir.IntType(32))
            given = builder.mul(count, ir.Constant(ir.IntType(32), 4))
            _assembler(builder, f"{text} [$0], [$1], {nbytes}, $2;", "rlr", [to, source, given])
            return context.get_dummy_value()

        return codegen

    @intrinsic
    def copy_four(typingctx, shared, to, source, place, count):
        """shared[to : to + 4] = source[place : place + count], zeros behind; seen after `wait_for_copies`."""
        kinds = shared, types.int64, source, types.int64, types.int64
        return types.void(*kinds), _copier("cp.async.cg.shared.global", 16)

    @intrinsic
    def copy_one(typingctx, shared, to, source, place, count):
        """shared[to] = source[place] if count is 1, else 0; seen after `wait_for_copies`."""
        kinds = shared, types.int64, source, types.int64, types.int64
        return types.void(*kinds), _copier("cp.async.ca.shared.global", 4)

    @intrinsic
    def close_group(typingctx):
        """The copies since the last call are a group."""

        def codegen(context, builder, signature, args):
            _assembler(builder, "cp.async.commit_group;", "", [])
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def wait_for_copies(typingctx):
        """Wait for all groups of this thread but the STAGES - 2 latest."""

        def codegen(context, builder, signature, args):
            _assembler(builder, f"cp.async.wait_group {STAGES - 2};", "", [])
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def is_aligned(typingctx, array):
        """Whether its numbers may be copied four by four."""

        def codegen(context, builder, signature, args):
            first = ir.Constant(ir.IntType(64), 0)
            address = _address(context, builder, signature.args[0], args[0], first)
            rest = builder.and_(address, ir.Constant(ir.IntType(64), 15))
            return builder.icmp_unsigned("==", rest, first)

        return types.boolean(array), codegen

    @intrinsic
    def to_tf32(typingctx, x):
        """x rounded to the 11 bits of TF32, halves away from zero."""

        def codegen(context, builder, signature, args):
            kind = ir.FunctionType(ir.IntType(32), [ir.FloatType()])
            rounded = builder.call(ir.InlineAsm(kind, "cvt.rna.tf32.f32 $0, $1;", "=r,f"), args)
            return builder.bitcast(rounded, ir.FloatType())

        return types.float32(types.float32), codegen

    @intrinsic
    def multiply_tf32(typingctx, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
        """The lane's part of c + a b; a 16 x 8, b 8 x 8. Every lane of the warp must come here."""
        number = types.float32

        def codegen(context, builder, signature, args):
            word, single = ir.IntType(32), ir.FloatType()
            operands = [builder.bitcast(arg, word) for arg in args[:6]]
            kind = ir.FunctionType(ir.LiteralStructType([single] * 4), [word] * 6 + [single] * 4)
            text = (
                "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
            )
            outputs, inputs = ",".join(["=f"] * 4), ",".join(["r"] * 6 + ["f"] * 4)
            asm = ir.InlineAsm(kind, text, f"{outputs},{inputs}", side_effect=True)
            found = builder.call(asm, [*operands, *args[6:]])
            parts = [builder.extract_value(found, i) for i in range(4)]
            return context.make_tuple(builder, signature.return_type, parts)

        return types.UniTuple(number, 4)(*[number] * 10), codegen


# --- stages ----------------------------------------------------------------------------------------------------------


class Stages:
    """Where in shared memory the operands of a tile are, stage by stage.

    Rows of a are beside each other, `a_pitch` apart, or columns of it, `a_across` apart: as they come in four by four.
    The distances are such that the lanes of a warp read from different banks.
    """

    def __init__(self, tile: Tile):
        self.a_pitch, self.a_across, self.b_pitch = tile.depth + 4, tile.rows + 8, tile.columns + 8
        self.a_size = max(tile.rows * self.a_pitch, tile.depth * self.a_across)
        self.b_start = STAGES * self.a_size
        self.b_size = tile.depth * self.b_pitch
        self.size = self.b_start + STAGES * self.b_size


def copier(width: int):
    """`copy_four` or `copy_one`."""
    return copy_four if width == 4 else copy_one


def turns(tile: Tile, lines: int, across: int) -> tuple[int, int]:
    """How many lines each thread does part of, when `across` threads share one, and how far these lines are apart."""
    down = tile.threads // across
    return -(-lines // down), down


def row_stager(tile: Tile, width: int):
    """The function that begins to fill a stage of b with rows of a matrix, so many numbers at a time."""
    columns, depth, pitch, copy = tile.columns, tile.depth, Stages(tile).b_pitch, copier(width)
    across = columns // width
    count, down = turns(tile, depth, across)

    @cuda_function
    def stage_rows(shared, to, source, at, row, k, last, left, right):
        """b[i, j] = source[at + (k + i) * row + left + j]; zero from row `last` and column `right` on."""
        j, i = cuda.threadIdx.x % across * width, cuda.threadIdx.x // across
        inside = max(min(right - left - j, width), 0)
        for _ in range(count):
            given = inside if k + i < last else 0
            place = at + (k + i) * row + left + j if given > 0 else 0
            if i < depth:
                copy(shared, to + i * pitch + j, source, place, given)
            i += down

    return stage_rows


def core_multiplier(tile: Tile):
    """The function that adds the product of what is in a stage to a thread's results.

    Products are of 16 x 8 by 8 x 8, of which a warp makes two rows of columns / 8. Lane 4 i + j of a warp holds columns
    j and j + 4 of rows i and i + 8 of a, rows j and j + 4 of column i of b, and columns 2 j and 2 j + 1 of rows i and
    i + 8 of the result (PTX ISA, mma.m16n8k8 of .tf32).
    """
    depth, pitch = tile.depth, Stages(tile).b_pitch

    def of_columns(n):
        @cuda_function
        def multiply_columns(a0, a1, a2, a3, a4, a5, a6, a7, shared, b, total):
            b0, b1 = to_tf32(shared[b + n * 8]), to_tf32(shared[b + 4 * pitch + n * 8])
            t = n * 8
            found = multiply_tf32(a0, a1, a2, a3, b0, b1, total[t], total[t + 1], total[t + 2], total[t + 3])
            for e in range(4):
                total[t + e] = found[e]
            t = n * 8 + 4
            below = multiply_tf32(a4, a5, a6, a7, b0, b1, total[t], total[t + 1], total[t + 2], total[t + 3])
            for e in range(4):
                total[t + e] = below[e]

        return multiply_columns

    multiply_all = unrolled(tile.columns // 8, of_columns)

    @cuda_function
    def multiply(shared, a, down, across, b, total):
        """total += the stage's product; rows of a are `down` apart from `a` on, columns `across`."""
        lane, warp = cuda.threadIdx.x % 32, cuda.threadIdx.x // 32
        i, j = lane // 4, lane % 4
        for k in range(0, depth, 8):
            at = a + (warp * 32 + i) * down + (k + j) * across
            low, high = at + 8 * down, at + 16 * down
            lowest, right = at + 24 * down, 4 * across
            multiply_all(
                to_tf32(shared[at]), to_tf32(shared[low]), to_tf32(shared[at + right]), to_tf32(shared[low + right]),
                to_tf32(shared[high]), to_tf32(shared[lowest]), to_tf32(shared[high + right]),
                to_tf32(shared[lowest + right]), shared, b + (k + j) * pitch + i, total,
            )  # fmt: skip

    return multiply
