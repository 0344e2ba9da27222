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
from fastcnn_kernels.cuda_cores import (
    STAGES,
    Stages,
    close_group,
    copier,
    copy_one,
    core_multiplier,
    is_aligned,
    row_stager,
    stage_memory,
    turns,
    wait_for_copies,
)


def multiplier(tile: Tile):
    """The function that adds the product of what is in half of the shared memory to a thread's results."""
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

    out[q] = max(total + bias[bias_at + column] + residual[q], lower), q = places[row] + column, for the columns of the
    tile below `right`, in rows whose place is not negative; no bias where bias_at is negative, a residual if `adds`.
    """
    wide, across, down = tile.wide, tile.columns // tile.wide, tile.rows // tile.tall

    def of_row(i):
        @cuda_function
        def store_row(total, out, places, left, right, bias, bias_at, residual, adds, lower):
            x, place = cuda.threadIdx.x % across, places[cuda.threadIdx.x // across + i * down]
            for j in range(wide):
                column = left + x + j * across
                if place >= 0 and column < right:
                    value = total[i * wide + j]
                    if bias_at >= 0:
                        value += bias[bias_at + column]
                    if adds:
                        value += residual[place + column]
                    out[place + column] = lower if value < lower else value  # NaN stays NaN

        return store_row

    return unrolled(tile.tall, of_row)


def core_storer(tile: Tile):
    """`storer` for the results of tensor cores."""

    def of_columns(n):
        @cuda_function
        def store_columns(total, out, places, left, right, bias, bias_at, residual, adds, lower):
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
        store(total, c, places, left, g.n, bias, bias_at, c, False, a.dtype.type(lower))

    return kernel


# --- on tensor cores, which round float32 numbers to TF32 (11 bits) before they multiply -----------------------------


def matrix_stager(tile: Tile, width: int):
    """The functions that begin to fill a stage of a with rows, or columns, of a matrix, so many numbers at a time."""
    rows, depth, stages, copy = tile.rows, tile.depth, Stages(tile), copier(width)
    pitch, a_across, beside, below = stages.a_pitch, stages.a_across, depth // width, rows // width
    row_count, row_step = turns(tile, rows, beside)
    column_count, column_step = turns(tile, depth, below)

    @cuda_function
    def stage_by_rows(shared, to, source, at, row, top, bottom, k, last):
        """Element (i, d) = source[at + (top + i) * row + k + d]."""
        d, i = cuda.threadIdx.x % beside * width, cuda.threadIdx.x // beside
        inside = max(min(last - k - d, width), 0)
        for _ in range(row_count):
            given = inside if top + i < bottom else 0
            place = at + (top + i) * row + k + d if given > 0 else 0
            copy(shared, to + i * pitch + d, source, place, given)
            i += row_step

    @cuda_function
    def stage_by_columns(shared, to, source, at, row, step, top, bottom, k, last):
        """Element (i, d) = source[at + (top + i) * row + (k + d) * step]."""
        i, d = cuda.threadIdx.x % below * width, cuda.threadIdx.x // below
        inside = max(min(bottom - top - i, width), 0)
        for _ in range(column_count):
            given = inside if k + d < last else 0
            place = at + (top + i) * row + (k + d) * step if given > 0 else 0
            copy(shared, to + d * a_across + i, source, place, given)
            d += column_step

    return stage_by_rows, stage_by_columns


def stager_of_a(tile: Tile):
    """The function that begins to fill a stage of a with part of a matrix of any layout."""
    (rows_wide, columns_wide), (rows_one, columns_one) = matrix_stager(tile, 4), matrix_stager(tile, 1)

    @cuda_function
    def stage_a(shared, to, source, at, row, step, top, bottom, k, last, wide):
        """Row by row if step is 1; four by four if `wide`."""
        if step == 1 and wide:
            rows_wide(shared, to, source, at, row, top, bottom, k, last)
        elif step == 1:
            rows_one(shared, to, source, at, row, top, bottom, k, last)
        elif wide:
            columns_wide(shared, to, source, at, row, step, top, bottom, k, last)
        else:
            columns_one(shared, to, source, at, row, step, top, bottom, k, last)

    return stage_a


def stager_of_b(tile: Tile):
    """The function that begins to fill a stage of b with part of a matrix of any layout."""
    columns, depth, threads, pitch = tile.columns, tile.depth, tile.threads, Stages(tile).b_pitch
    rows_wide, rows_one = row_stager(tile, 4), row_stager(tile, 1)

    @cuda_function
    def stage_b(shared, to, source, at, row, step, k, last, left, right, wide):
        """b[d, j] = source[at + (k + d) * row + (left + j) * step]; four by four if `wide`."""
        if step == 1 and wide:
            rows_wide(shared, to, source, at, row, k, last, left, right)
        elif step == 1:
            rows_one(shared, to, source, at, row, k, last, left, right)
        else:
            d, j = cuda.threadIdx.x % depth, cuda.threadIdx.x // depth
            for _ in range(columns * depth // threads):
                inside = k + d < last and left + j < right
                place = at + (k + d) * row + (left + j) * step if inside else 0
                copy_one(shared, to + d * pitch + j, source, place, 1 if inside else 0)
                j += threads // depth

    return stage_b


@cuda_kernel(lambda *args: _shape(CORE_TILE, args[-1]), lambda *args: CORE_TILE, True)
def gemm_tf32(tile):
    """`gemm` on tensor cores: float32 numbers are rounded to TF32 (11 bits) before they are multiplied."""
    columns, rows, depth, results = tile.columns, tile.rows, tile.depth, tile.tall * tile.wide
    stages, clear, store = Stages(tile), clearer(tile), core_storer(tile)
    size = stages.size
    a_size, b_size, b_start = stages.a_size, stages.b_size, stages.b_start
    pitch, a_across, multiply = stages.a_pitch, stages.a_across, core_multiplier(tile)
    stage_a, stage_b = stager_of_a(tile), stager_of_b(tile)

    def kernel(a, b, bias, c, lower, g):
        shared = stage_memory(size)
        places = cuda.shared.array(rows, np.int64)
        total = cuda.local.array(results, np.float32)
        clear(total)
        part, t = cuda.blockIdx.z % g.parts, cuda.blockIdx.z // g.parts
        top, left = cuda.blockIdx.x * rows, cuda.blockIdx.y * columns
        row, first, last = top + cuda.threadIdx.x, g.k * part // g.parts, g.k * (part + 1) // g.parts
        places[cuda.threadIdx.x] = part * g.c_part + t * g.c_batch + row * g.c_row if row < g.m else -1
        steps, a_at, b_at = (last - first + depth - 1) // depth, t * g.a_batch, t * g.b_batch
        by_rows, apart = g.a_step == 1, g.a_row if g.a_step == 1 else g.a_step
        wide = (g.a_step == 1 or g.a_row == 1) and apart % 4 == 0 and a_at % 4 == 0 and is_aligned(a)
        wide = wide and (first % 4 == 0 or not by_rows)
        b_wide = g.b_row % 4 == 0 and b_at % 4 == 0 and is_aligned(b)
        down, across = (pitch, 1) if by_rows else (1, a_across)
        for step in range(1 - STAGES, steps):
            ahead = step + STAGES - 1
            if step >= 0:
                wait_for_copies()
                cuda.syncthreads()
            if ahead < steps:
                k, stage = first + ahead * depth, ahead % STAGES
                stage_a(shared, stage * a_size, a, a_at, g.a_row, g.a_step, top, g.m, k, last, wide)
                to = b_start + stage * b_size
                stage_b(shared, to, b, b_at, g.b_row, g.b_step, k, last, left, g.n, b_wide)
            close_group()
            if step >= 0:
                stage = step % STAGES
                multiply(shared, stage * a_size, down, across, b_start + stage * b_size, total)
        cuda.syncthreads()
        bias_at = t * g.bias_batch if bias.size > 0 else -1
        store(total, c, places, left, g.n, bias, bias_at, c, False, np.float32(lower))

    return kernel
