"""Matrix products on a CUDA device, and the tile of results that convolutions share with them.

A block computes a `Tile` of results. It takes the operands through shared memory, some columns of a and rows of b at
a time: while one half of that memory is multiplied, the other half is filled. A thread keeps its results, which lie
apart in both directions so that neighbours read neighbouring numbers, in registers. Sums are taken from the first
term to the last.
"""

import numpy as np

from fastcnn_kernels.cuda import (
    CORE_TILE,
    Shape,
    Tile,
    covering,
    cuda,
    cuda_function,
    cuda_kernel,
    fitting_tile,
    unrolled,
)
from fastcnn_kernels.cuda_cores import multiply_tf32, to_tf32


def multiplier(tile: Tile):
    """The function that adds the product of what is in half of the shared memory to a thread's results."""
    if tile.cores:
        return core_multiplier(tile)
    tall, wide, depth = tile.tall, tile.wide, tile.depth
    across, down = tile.columns // tile.wide, tile.rows // tile.tall

    @cuda_function
    def multiply(a, b, half, total):
        """total[i, j] += sum over k of a[half, k, row i] b[half, k, column j]."""
        x, y = cuda.threadIdx.x % across, cuda.threadIdx.x // across
        left = cuda.local.array(tall, a.dtype)
        right = cuda.local.array(wide, a.dtype)
        for k in range(depth):
            for i in range(tall):
                left[i] = a[half, k, y + i * down]
            for j in range(wide):
                right[j] = b[half, k, x + j * across]
            for i in range(tall):
                for j in range(wide):
                    total[i * wide + j] += left[i] * right[j]

    return multiply


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


def storer(tile: Tile):
    """The function that writes a thread's results.

    out[places[row] + column] = max(total + bias[bias_at + column], lower) for the columns of the tile below `right`,
    in rows whose place is not negative; no bias where bias_at is negative.
    """
    if tile.cores:
        return core_storer(tile)
    wide, across, down = tile.wide, tile.columns // tile.wide, tile.rows // tile.tall

    def of_row(i):
        @cuda_function
        def store_row(total, out, places, left, right, bias, bias_at, lower):
            x, place = cuda.threadIdx.x % across, places[cuda.threadIdx.x // across + i * down]
            for j in range(wide):
                column = left + x + j * across
                if place >= 0 and column < right:
                    value = total[i * wide + j]
                    if bias_at >= 0:
                        value += bias[bias_at + column]
                    out[place + column] = lower if value < lower else value  # NaN stays NaN

        return store_row

    return unrolled(tile.tall, of_row)


def core_multiplier(tile: Tile):
    """`multiplier` for tensor cores: products of 16 x 8 by 8 x 8, of which a warp makes two rows of columns / 8.

    Lane 4 i + j of a warp holds columns j and j + 4 of rows i and i + 8 of a, rows j and j + 4 of column i of b, and
    columns 2 j and 2 j + 1 of rows i and i + 8 of the result (PTX ISA, mma.m16n8k8 of .tf32).
    """

    def of_columns(n):
        @cuda_function
        def multiply_columns(a, b, half, total):
            lane = cuda.threadIdx.x % 32
            i, j = lane // 4, lane % 4
            b0, b1 = to_tf32(b[half, j, n * 8 + i]), to_tf32(b[half, j + 4, n * 8 + i])
            for m in range(2):
                row, at = cuda.threadIdx.x // 32 * 32 + m * 16 + i, (n * 2 + m) * 4
                a0, a1 = to_tf32(a[half, j, row]), to_tf32(a[half, j, row + 8])
                a2, a3 = to_tf32(a[half, j + 4, row]), to_tf32(a[half, j + 4, row + 8])
                found = multiply_tf32(
                    a0, a1, a2, a3, b0, b1, total[at], total[at + 1], total[at + 2], total[at + 3]
                )
                for e in range(4):
                    total[at + e] = found[e]

        return multiply_columns

    return unrolled(tile.columns // 8, of_columns)


def core_storer(tile: Tile):
    """`storer` for the results of `core_multiplier`."""

    def of_columns(n):
        @cuda_function
        def store_columns(total, out, places, left, right, bias, bias_at, lower):
            lane = cuda.threadIdx.x % 32
            row, first = cuda.threadIdx.x // 32 * 32 + lane // 4, left + n * 8 + lane % 4 * 2
            for e in range(8):
                place, column = places[row + e // 2 * 8], first + e % 2
                if place >= 0 and column < right:
                    value = total[n * 8 + e]
                    if bias_at >= 0:
                        value += bias[bias_at + column]
                    out[place + column] = lower if value < lower else value  # NaN stays NaN

        return store_columns

    return unrolled(tile.columns // 8, of_columns)


def row_filler(tile: Tile):
    """The function that fills half of the shared memory of b with rows of a matrix."""
    columns, depth, threads = tile.columns, tile.depth, tile.threads

    @cuda_function
    def fill_rows(b, half, source, at, row, k, last, left, right):
        """b[half, i, j] = source[at + (k + i) * row + left + j]; zero from row `last` and column `right` on."""
        j = cuda.threadIdx.x % columns
        for n in range(depth * columns // threads):
            i = cuda.threadIdx.x // columns + n * (threads // columns)
            value = source.dtype.type(0)
            if k + i < last and left + j < right:
                value = source[at + (k + i) * row + left + j]
            b[half, i, j] = value

    return fill_rows


def fillers(tile: Tile):
    """The functions that fill half of the shared memory of a and of b with parts of matrices of any layout."""
    columns, rows, depth, threads = tile.columns, tile.rows, tile.depth, tile.threads

    @cuda_function
    def fill_a(a, half, source, at, row, step, top, bottom, k, last):
        """a[half, k, i] = source[at + i * row + k * step]; neighbouring threads read neighbouring numbers."""
        t = cuda.threadIdx.x
        i, d, down, on = (t // depth, t % depth, threads // depth, 0) if step == 1 else (t, 0, 0, 1)
        place = at + (top + i) * row + (k + d) * step
        for _ in range(rows * depth // threads):
            value = source.dtype.type(0)
            if top + i < bottom and k + d < last:
                value = source[place]
            a[half, d, i] = value
            i, d, place = i + down, d + on, place + down * row + on * step

    @cuda_function
    def fill_b(b, half, source, at, row, step, k, last, left, right):
        """b[half, k, j] = source[at + k * row + j * step]."""
        t = cuda.threadIdx.x
        j, d, aside, on = t % columns, t // columns, 0, threads // columns
        if step != 1:
            j, d, aside, on = t // depth, t % depth, threads // depth, 0
        place = at + (k + d) * row + (left + j) * step
        for _ in range(columns * depth // threads):
            value = source.dtype.type(0)
            if k + d < last and left + j < right:
                value = source[place]
            b[half, d, j] = value
            j, d, place = j + aside, d + on, place + aside * step + on * row

    return fill_a, fill_b


def _shape(tile, g) -> Shape:
    blocks = covering(g.m, tile.rows), covering(g.n, tile.columns), g.batch * g.parts
    return Shape(blocks, tile.threads)


@cuda_kernel(
    lambda *args: _shape(fitting_tile(args[-1].n), args[-1]), lambda *args: fitting_tile(args[-1].n), True
)
def gemm(tile):
    """c = max(a b + bias, lower), row by row of c.  a, b, c as `g` says; bias (n,) or empty; lower may be -inf.

    With g.parts > 1, c holds that many partial products, to be added up.
    """
    columns, rows, results = tile.columns, tile.rows, tile.tall * tile.wide
    depth, (pitch, b_pitch), store = tile.depth, tile.pitches, storer(tile)
    multiply, clear, (fill_a, fill_b) = multiplier(tile), clearer(tile), fillers(tile)

    def kernel(a, b, bias, c, lower, g):
        a_tile = cuda.shared.array((2, depth, pitch), a.dtype)
        b_tile = cuda.shared.array((2, depth, b_pitch), a.dtype)
        places = cuda.shared.array(rows, np.int64)
        total = cuda.local.array(results, a.dtype)
        clear(total)
        part, t = cuda.blockIdx.z % g.parts, cuda.blockIdx.z // g.parts
        top, left = cuda.blockIdx.x * rows, cuda.blockIdx.y * columns
        row, first, last = top + cuda.threadIdx.x, g.k * part // g.parts, g.k * (part + 1) // g.parts
        places[cuda.threadIdx.x] = part * g.c_part + t * g.c_batch + row * g.c_row if row < g.m else -1
        steps = (last - first + depth - 1) // depth
        for step in range(steps + 1):
            if step < steps:
                k, half = first + step * depth, step % 2
                fill_a(a_tile, half, a, t * g.a_batch, g.a_row, g.a_step, top, g.m, k, last)
                fill_b(b_tile, half, b, t * g.b_batch, g.b_row, g.b_step, k, last, left, g.n)
            if step > 0:
                multiply(a_tile, b_tile, (step - 1) % 2, total)
            cuda.syncthreads()
        bias_at = t * g.bias_batch if bias.size > 0 else -1
        store(total, c, places, left, g.n, bias, bias_at, a.dtype.type(lower))

    return kernel


@cuda_kernel(lambda *args: _shape(CORE_TILE, args[-1]), lambda *args: CORE_TILE, True)
def gemm_tf32(tile):
    """`gemm` on tensor cores: float32 numbers are rounded to TF32 (11 bits) before they are multiplied."""
    return gemm.function(tile)
