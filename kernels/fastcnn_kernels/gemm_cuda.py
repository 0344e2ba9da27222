"""Matrix products on a CUDA device.

A block computes a `Tile` of results (`cuda_tiles.py`) from operands that come through shared memory, some columns of a
and rows of b at a time (`cuda_stages.py`).
"""

import numpy as np

from fastcnn_kernels.cuda import (
    Shape,
    Tile,
    check_counts,
    covering,
    cuda,
    cuda_function,
    cuda_kernel,
    fitting_tile,
    of_cores,
    parts_of,
)
from fastcnn_kernels.cuda_intrinsics import divided, is_aligned
from fastcnn_kernels.cuda_stages import ALIGNMENT, Stages, stager_of_a, stager_of_b
from fastcnn_kernels.cuda_tiles import accumulator, clearer, storer


def _shape(tile: Tile, *args) -> Shape:
    g = args[-1]
    check_counts(g.m, g.n, g.k)
    blocks = covering(g.m, tile.rows), covering(g.n, tile.columns), g.batch * g.parts
    return Shape(blocks, tile.threads)


def _tile(g, dtype) -> Tile:
    return fitting_tile(g.n, dtype)


def filler(tile: Tile):
    """The function that begins to fill a stage with parts of both matrices; see `accumulator`."""
    depth, stage_a, stage_b = tile.depth, stager_of_a(tile), stager_of_b(tile)

    @cuda_function
    def fill(shared, to_a, to_b, step, state, a, a_at, b, b_at, top, left, first, last, wide, b_wide, g):
        k = first + step * depth
        stage_a(shared, to_a, a, a_at, g.a_row, g.a_step, top, g.m, k, last, wide)
        stage_b(shared, to_b, b, b_at, g.b_row, g.b_step, k, last, left, g.n, b_wide)
        return state

    return fill


@cuda_function
def terms_of(part, g):
    """The range of a part's terms. Parts begin where four numbers can be read at a time."""
    first, last = divided(g.k * part, g.parts)[0] // 4 * 4, divided(g.k * (part + 1), g.parts)[0] // 4 * 4
    return first, g.k if part + 1 == g.parts else last


def _parts(tile: Tile, g) -> int:
    return parts_of(_shape(tile, g).total, g.k, tile)


@cuda_kernel(_shape, _tile, True, _parts)
def gemm(tile):
    """c = max(a b + bias, lower), row by row of c.  a, b, c as `g` says; bias (n,) or empty; lower may be -inf.

    With g.parts > 1, c holds that many partial products, to be added up; the first has the bias.
    """
    columns, rows, depth, width, size = tile.columns, tile.rows, tile.depth, tile.width, Stages(tile).size
    results, clear, store = tile.results, clearer(tile), storer(tile)
    accumulate = accumulator(tile, filler(tile))

    def kernel(a, b, bias, c, lower, g):
        shared = cuda.shared.array(size, a.dtype, ALIGNMENT)
        places = cuda.shared.array(rows, np.int64)
        total = cuda.local.array(results, a.dtype)
        clear(total)
        t, part = divided(cuda.blockIdx.z, g.parts)
        top, left = cuda.blockIdx.x * rows, cuda.blockIdx.y * columns
        row, (first, last) = top + cuda.threadIdx.x, terms_of(part, g)
        places[cuda.threadIdx.x] = part * g.c_part + t * g.c_batch + row * g.c_row if row < g.m else -1
        steps, a_at, b_at = (last - first + depth - 1) // depth, t * g.a_batch, t * g.b_batch
        by_rows, apart = g.a_step == 1, g.a_row if g.a_step == 1 else g.a_step
        wide = (g.a_step == 1 or g.a_row == 1) and apart % width == 0 and a_at % width == 0 and is_aligned(a)
        wide = wide and (g.k if by_rows else g.m) % width == 0
        b_wide = g.b_row % width == 0 and g.n % width == 0 and b_at % width == 0 and is_aligned(b)
        accumulate(
            shared, steps, by_rows, total, 0, a, a_at, b, b_at, top, left, first, last, wide, b_wide, g
        )
        bias_at = t * g.bias_batch if bias.size > 0 and part == 0 else -1
        store(total, by_rows, c, places, left, g.n, bias, bias_at, c, False, a.dtype.type(lower))

    return kernel


@cuda_kernel(_shape, of_cores(_tile), True, _parts)
def gemm_tf32(tile):
    """`gemm` on tensor cores: float32 numbers are rounded to TF32 (11 bits) before they are multiplied."""
    return gemm.function(tile)
