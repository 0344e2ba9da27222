"""Tiles of results that a block computes from the stages of shared memory: products, by threads or by tensor cores.

A thread keeps its results in registers. Without tensor cores these are tall x wide numbers in fours of neighbouring
columns, and it reads its operands four at a time. Sums are taken from the first term to the last.
"""

from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import types

from fastcnn_kernels.cuda import SIMULATED, Tile, cuda, cuda_function, target, unrolled
from fastcnn_kernels.cuda_intrinsics import add_int32, int32, is_aligned, load_four, load_one, store_four
from fastcnn_kernels.cuda_stages import STAGES, Stages, waiting


def clearer(tile: Tile):
    """The function that makes a thread's results zero."""
    wide = tile.wide

    def of_row(i):
        @cuda_function
        def clear_row(total):
            for j in range(wide):
                total[i * wide + j] = total.dtype.type(0)

        return clear_row

    return unrolled(tile.tall, of_row)


def multiplier(tile: Tile):
    """The function that adds the product of what is in a stage to a thread's results.

    It is called with the stage's memory, where a and b begin there, whether a is there by rows, and the results.
    """
    return _multiplier_of_cores(tile) if tile.cores else _multiplier_of_threads(tile)


def accumulator(tile: Tile, fill: Callable):
    """The function that adds up the products of `steps` stages.

    fill(shared, a, b, step, state, *operands) begins to fill the stage of a step, whose a and b begin there, and
    returns the state that its next call is given. Afterwards the memory of the stages is free.
    """
    stages, multiply, (close_group, wait_for_copies) = Stages(tile), multiplier(tile), waiting(tile)
    a_size, b_size, b_start = stages.a_size, stages.b_size, stages.b_start

    @cuda_function
    def accumulate(shared, steps, by_rows, total, state, *operands):
        stage = int32(0)  # that is filled
        for step in range(int32(1 - STAGES), int32(steps)):
            following = int32(0) if stage == STAGES - 1 else add_int32(stage, 1)
            if step >= 0:
                wait_for_copies()
                cuda.syncthreads()
            if add_int32(step, STAGES - 1) < int32(steps):
                ahead = add_int32(step, STAGES - 1)
                state = fill(shared, stage * a_size, b_start + stage * b_size, ahead, state, *operands)
            close_group()
            if step >= 0:  # the stage that is filled next has waited longest
                multiply(shared, following * a_size, by_rows, b_start + following * b_size, total)
            stage = following
        cuda.syncthreads()

    return accumulate


def storer(tile: Tile):
    """The function that writes a thread's results.

    out[q] = max(total + bias[bias_at + column] + residual[q], lower), q = places[row] + column, for the columns of the
    tile below `right`, in rows whose place is not negative; no bias where bias_at is negative, a residual if `adds`.
    """
    return _storer_of_cores(tile) if tile.cores else _storer_of_threads(tile)


# --- products by threads ---------------------------------------------------------------------------------------------


@cuda_function
def load_fours(array, at, apart, count, into):
    """into[4 j : 4 j + 4] = array[at + j * apart :], j below count."""
    for j in range(count):
        found = load_four(array, at + j * apart)
        for e in range(4):
            into[4 * j + e] = found[e]


def _multiplier_of_threads(tile: Tile):
    wide, depth, stages = tile.wide, tile.depth, Stages(tile)
    across, lefts, at_once = tile.columns // wide, 4 * tile.tall, min(depth, 8)
    a_pitch, a_across, b_pitch = stages.a_pitch, stages.a_across, stages.b_pitch
    add_by_rows, add_by_columns = _adder_by_rows(tile), _adder_by_columns(tile)

    def of_four(n):
        k = 4 * n

        @cuda_function
        def multiply_four(shared, a, by_rows, b, x, y, left, right, total):
            if by_rows:
                add_by_rows(shared, a + y * a_pitch + k, b + k * b_pitch + 4 * x, left, right, total)
            else:
                add_by_columns(shared, a + k * a_across + 4 * y, b + k * b_pitch + 4 * x, left, right, total)

        return multiply_four

    multiply_some = unrolled(at_once // 4, of_four)

    @cuda_function
    def multiply(shared, a, by_rows, b, total):
        x, y = cuda.threadIdx.x % across, cuda.threadIdx.x // across
        left = cuda.local.array(lefts, shared.dtype)
        right = cuda.local.array(wide, shared.dtype)
        for k in range(0, depth, at_once):
            along = k if by_rows else k * a_across
            multiply_some(shared, a + along, by_rows, b + k * b_pitch, x, y, left, right, total)

    return multiply


def _adder_by_rows(tile: Tile):
    """The function that adds the products of four columns, for rows that lie `down` apart."""
    tall, wide, pitch, b_pitch = tile.tall, tile.wide, Stages(tile).a_pitch, Stages(tile).b_pitch
    across, down = tile.columns // wide, tile.rows // tall

    def of_column(e):
        def of_row(i):
            @cuda_function
            def add_row(left, right, total):
                for j in range(wide):
                    total[i * wide + j] += left[4 * i + e] * right[j]

            return add_row

        add_rows = unrolled(tall, of_row)

        @cuda_function
        def add_column(shared, b, left, right, total):
            load_fours(shared, b + e * b_pitch, 4 * across, wide // 4, right)
            add_rows(left, right, total)

        return add_column

    add_columns = unrolled(4, of_column)

    @cuda_function
    def add(shared, a, b, left, right, total):
        load_fours(shared, a, down * pitch, tall, left)
        add_columns(shared, b, left, right, total)

    return add


def _adder_by_columns(tile: Tile):
    """The same for rows in fours of neighbours."""
    tall, wide, a_across, b_pitch = tile.tall, tile.wide, Stages(tile).a_across, Stages(tile).b_pitch
    across, down = tile.columns // wide, tile.rows // tall

    def of_column(e):
        @cuda_function
        def add_column(shared, a, b, left, right, total):
            load_fours(shared, a + e * a_across, 4 * down, tall // 4, left)
            load_fours(shared, b + e * b_pitch, 4 * across, wide // 4, right)
            for i in range(tall):
                for j in range(wide):
                    total[i * wide + j] += left[i] * right[j]

        return add_column

    return unrolled(4, of_column)


def _storer_of_threads(tile: Tile):
    wide, across, down = tile.wide, tile.columns // tile.wide, tile.rows // tile.tall

    def of_four(t):
        i, j = t // wide, t % wide

        @cuda_function
        def store_four_results(total, shift, by_rows, whole, out, places, left, right, residual, adds, lower):
            """Four results of a row, at once where that can be; NaN stays NaN."""
            x, y = cuda.threadIdx.x % across, cuda.threadIdx.x // across
            place = places[y + i * down if by_rows else 4 * y + i % 4 + i // 4 * 4 * down]
            first = left + 4 * x + j * across
            if place >= 0 and whole and place % 4 == 0 and first + 4 <= right:
                a, b, c, d = total[t], total[t + 1], total[t + 2], total[t + 3]
                a, b, c, d = a + shift[j], b + shift[j + 1], c + shift[j + 2], d + shift[j + 3]
                if adds:
                    more = load_four(residual, place + first)
                    a, b, c, d = a + more[0], b + more[1], c + more[2], d + more[3]
                a, b = lower if a < lower else a, lower if b < lower else b
                c, d = lower if c < lower else c, lower if d < lower else d
                store_four(out, place + first, a, b, c, d)
            elif place >= 0:
                for e in range(4):
                    if first + e < right:
                        value = total[t + e] + shift[j + e]
                        if adds:
                            value += residual[place + first + e]
                        out[place + first + e] = lower if value < lower else value

        return store_four_results

    fours = [of_four(t) for t in range(0, tile.tall * wide, 4)]
    store_all = unrolled(len(fours), fours.__getitem__)

    @cuda_function
    def store(total, by_rows, out, places, left, right, bias, bias_at, residual, adds, lower):
        shift = cuda.local.array(wide, total.dtype)
        for j in range(wide):
            column = left + cuda.threadIdx.x % across * 4 + j % 4 + j // 4 * 4 * across
            shift[j] = bias[bias_at + column] if bias_at >= 0 and column < right else total.dtype.type(0)
        whole = is_aligned(out) and (not adds or is_aligned(residual))
        store_all(total, shift, by_rows, whole, out, places, left, right, residual, adds, lower)

    return store


# --- products by tensor cores ----------------------------------------------------------------------------------------

if SIMULATED:

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
    intrinsic = target.extending.intrinsic

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


def _multiplier_of_cores(tile: Tile):
    """Products are of 16 x 8 by 8 x 8, of which a warp makes two rows of columns / 8.

    Lane 4 i + j of a warp holds columns j and j + 4 of rows i and i + 8 of a, rows j and j + 4 of column i of b, and
    columns 2 j and 2 j + 1 of rows i and i + 8 of the result (PTX ISA, mma.m16n8k8 of .tf32).
    """
    depth, stages = tile.depth, Stages(tile)
    a_pitch, a_across, pitch = stages.a_pitch, stages.a_across, stages.b_pitch

    def of_columns(n):
        @cuda_function
        def multiply_columns(a0, a1, a2, a3, a4, a5, a6, a7, shared, b, total):
            b0, b1 = to_tf32(load_one(shared, b + n * 8)), to_tf32(load_one(shared, b + 4 * pitch + n * 8))
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

    def of_eight(e):
        k = 8 * e

        @cuda_function
        def multiply_eight(shared, a, right, low, high, lowest, b, total):
            a, b = a + k // 4 * right, b + k * pitch
            a0, a1 = to_tf32(load_one(shared, a)), to_tf32(load_one(shared, a + low))
            a2, a3 = to_tf32(load_one(shared, a + right)), to_tf32(load_one(shared, a + low + right))
            a4, a5 = to_tf32(load_one(shared, a + high)), to_tf32(load_one(shared, a + lowest))
            a6, a7 = (
                to_tf32(load_one(shared, a + high + right)),
                to_tf32(load_one(shared, a + lowest + right)),
            )
            multiply_all(a0, a1, a2, a3, a4, a5, a6, a7, shared, b, total)

        return multiply_eight

    multiply_depth = unrolled(depth // 8, of_eight)

    @cuda_function
    def multiply(shared, a, by_rows, b, total):
        lane, warp = cuda.threadIdx.x % 32, cuda.threadIdx.x // 32
        down, across = (a_pitch, 1) if by_rows else (1, a_across)
        i, j = lane // 4, lane % 4
        first = a + (warp * 32 + i) * down + j * across
        multiply_depth(shared, first, 4 * across, 8 * down, 16 * down, 24 * down, b + j * pitch + i, total)

    return multiply


def _storer_of_cores(tile: Tile):
    def of_columns(n):
        @cuda_function
        def store_columns(total, by_rows, out, places, left, right, bias, bias_at, residual, adds, lower):
            lane = cuda.threadIdx.x % 32
            row, first = cuda.threadIdx.x // 32 * 32 + lane // 4, left + n * 8 + lane % 4 * 2
            for e in range(8):
                place, column = places[row + e // 2 * 8], first + e % 2
                if place >= 0 and column < right:
                    value = total[n * 8 + e]
                    if bias_at >= 0:
                        value += bias[bias_at + column]
                    if adds:
                        value += residual[place + column]
                    out[place + column] = lower if value < lower else value  # NaN stays NaN

        return store_columns

    return unrolled(tile.columns // 8, of_columns)
