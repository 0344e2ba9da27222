"""Matrix products of any layout: dense layers, their gradients, and the second algorithm of convolutions."""

import math
from typing import Any, NamedTuple

import numpy as np

from fastcnn_kernels.jit import (
    TILE_ROWS,
    TILE_VECTORS,
    VECTOR_BYTES,
    cpu_kernel,
    device_function,
    stack_array,
)
from fastcnn_kernels.microkernel import (
    DEPTH,
    PANEL_SIZE,
    TILE_SIZE,
    Matrix,
    block_end,
    blocks,
    clear,
    flat,
    lanes_of,
    lay_rows,
    multiply,
    pack_columns,
    pack_rows,
    row_blocks,
    rows_of_tile,
    tile,
    tile_width,
)

ITEMS = 64  # work items of a large product: enough to share out evenly over a dozen threads
SMALLEST_ITEM = 4  # tiles of full depth (some microseconds); less is not worth another thread's attention
DIRECT = 2  # row tiles that read b where it is: packing it would cost more
FEW_ROWS = 2  # with so few, results are computed row by row
ROW_VECTORS = 8  # of a row at a time
ZEROS = ROW_VECTORS * VECTOR_BYTES // 4
TALLEST_ITEM = 16  # row tiles that share one packed panel of b: packing then costs little
SHARING = 8  # row tiles that should, where b is larger than a cache: else it is read again for every few rows
CACHED = 1 << 20  # bytes
SHORT = 64  # depth of products that take less time than writing results does: these are written by whole rows
WIDEST_ITEM = 32  # panels of such rows


class GemmGeometry(NamedTuple):
    """c[t] = a[t] b[t] for t < batch; a[t] is m x k, b[t] is k x n.

    Element (i, k) of a[t] is at t * a_batch + i * a_row + k * a_step of its array, (k, j) of b[t] at
    t * b_batch + k * b_row + j * b_step, (i, j) of c[t] at t * c_batch + i * c_row + j, where b_row or b_step
    is 1. With parts > 1, part p of the k range is summed into its own copy of c, c_part numbers further on.
    """

    batch: int
    m: int
    n: int
    k: int
    a_batch: int
    a_row: int
    a_step: int
    b_batch: int
    b_row: int
    b_step: int
    c_batch: int
    c_row: int
    bias_batch: int
    parts: int
    c_part: int
    tiles: int  # row tiles in a work item
    panels: int  # column panels in a work item


def gemm_geometry(
    m: int,
    n: int,
    k: int,
    itemsize: int,
    transpose_a: bool = False,
    transpose_b: bool = False,
    batch: int = 1,
) -> GemmGeometry:
    """Of contiguous matrices: a (batch, m, k), or (batch, k, m) if transposed; b (batch, k, n) or (batch, n, k)."""
    strides_a = (1, m) if transpose_a else (k, 1)
    strides_b = (1, k) if transpose_b else (n, 1)
    of_a, of_b, of_c = (m * k, *strides_a), (k * n, *strides_b), (m * n, n)
    g = GemmGeometry(batch, m, n, k, *of_a, *of_b, *of_c, 0, 1, batch * m * n, 1, 1)
    return divide_work(g, itemsize)


def _units(g: GemmGeometry, itemsize: int) -> tuple[int, int, int]:
    """(row tiles, column panels, blocks of the k range) of a product."""
    return row_blocks(g.m, TILE_ROWS), blocks(g.n, tile_width(itemsize)), blocks(g.k, DEPTH)


def _wanted_items(g: GemmGeometry, itemsize: int) -> int:
    return max(1, min(ITEMS, g.batch * math.prod(_units(g, itemsize)) // SMALLEST_ITEM))


def divide_work(g: GemmGeometry, itemsize: int) -> GemmGeometry:
    """The geometry with tiles and panels chosen; a function of the shapes alone."""
    (tiles, panels, _), items = _units(g, itemsize), _wanted_items(g, itemsize)
    if g.k <= SHORT and g.b_step == 1:
        wide = max(1, min(WIDEST_ITEM, g.batch * panels * blocks(tiles, DIRECT) // items))
        least, tallest = min(tiles, DIRECT), DIRECT
    else:
        wide = max(1, min(4, g.batch * panels // items))
        least = min(tiles, SHARING) if g.k * g.n * itemsize > CACHED else 1
        tallest = TALLEST_ITEM
    columns = g.batch * blocks(panels, wide)
    tall = max(least, min(tallest, tiles * columns // items))
    return g._replace(tiles=tall, panels=wide)


def _parts(g: GemmGeometry, dtype: Any) -> int:
    """A long k range is cut where c alone offers too little work to share."""
    itemsize = np.dtype(dtype).itemsize
    tiles, panels, depths = _units(g, itemsize)
    items = g.batch * blocks(panels, g.panels) * blocks(tiles, g.tiles)
    return max(1, min(_wanted_items(g, itemsize) // max(items, 1), depths // 2))


def _blocks(g: GemmGeometry, itemsize: int) -> int:
    rows = row_blocks(g.m, g.tiles * TILE_ROWS)
    columns = blocks(g.n, g.panels * tile_width(itemsize))
    return g.batch * g.parts * rows * columns


@device_function
def pack(b, at, g, depth, columns, panel, width):
    """A panel of b, from `at` on, into contiguous memory."""
    if g.b_step == 1:
        pack_rows(b, at, g.b_row, depth, columns, panel, 0, width)
    else:
        pack_columns(b, at, g.b_step, depth, columns, panel, 0, width)


@device_function
def multiply_row(columns, depth, a, places, a_step, b, start, lower, c):
    """One row of c = max(start + a b, lower), of a vector or more; b as it is, for what is read once is not packed."""
    width = lanes_of(c.data)
    vectors = 1
    while vectors < ROW_VECTORS and 2 * vectors * width <= columns:
        vectors *= 2
    for j in range(0, columns, vectors * width):
        j = min(j, columns - vectors * width)  # the last ones perhaps once more
        of_b, of_c = Matrix(b.data, b.at + j, b.row), Matrix(c.data, c.at + j, c.row)
        beginning = Matrix(start.data, start.at + j * start.row, 0)
        if vectors == ROW_VECTORS:
            tile(1, ROW_VECTORS, depth, a, places, a_step, of_b, beginning, lower, of_c)
        elif vectors == 4:
            tile(1, 4, depth, a, places, a_step, of_b, beginning, lower, of_c)
        elif vectors == 2:
            tile(1, 2, depth, a, places, a_step, of_b, beginning, lower, of_c)
        else:
            tile(1, 1, depth, a, places, a_step, of_b, beginning, lower, of_c)


@cpu_kernel(lambda a, b, bias, c, lower, g: _blocks(g, c.itemsize), _parts)
def gemm(a, b, bias, c, lower, g, first, last):
    """c = max(a b + bias, lower), row by row of c.  a, b, c as `g` says; bias (n,) or empty; lower may be -inf.

    With g.parts > 1, c holds that many partial products, to be added up; the first has the bias.
    """
    a, b, c = flat(a), flat(b), flat(c)
    panel, spare, zeros = stack_array(a, PANEL_SIZE), stack_array(a, TILE_SIZE), stack_array(a, ZEROS)
    places = stack_array(np.int64, TILE_ROWS)
    clear(zeros, 0, ZEROS)
    width = lanes_of(a) * TILE_VECTORS
    height, breadth = g.tiles * TILE_ROWS, g.panels * width
    tall_blocks, column_blocks = row_blocks(g.m, height), blocks(g.n, breadth)
    for item in range(first, last):
        rest = item // tall_blocks
        top, left = item % tall_blocks * height, rest % column_blocks * breadth
        part, t = rest // column_blocks % g.parts, rest // column_blocks // g.parts
        k_first, k_last = g.k * part // g.parts, g.k * (part + 1) // g.parts
        origin, is_biased = part * g.c_part + t * g.c_batch, bias.size > 0 and part == 0
        bottom, right = block_end(top, height, g.m), min(left + breadth, g.n)
        if g.b_step == 1 and g.m <= FEW_ROWS and right - left >= lanes_of(a):
            for i in range(top, bottom):
                places[0] = t * g.a_batch + i * g.a_row + k_first * g.a_step
                from_b = Matrix(b, t * g.b_batch + k_first * g.b_row + left, g.b_row)
                start = Matrix(bias, t * g.bias_batch + left, 1) if is_biased else Matrix(zeros, 0, 0)
                into = Matrix(c, origin + i * g.c_row + left, 0)
                multiply_row(right - left, k_last - k_first, a, places, g.a_step, from_b, start, lower, into)
            continue
        for k in range(k_first, k_last, DEPTH):
            depth = min(DEPTH, k_last - k)
            bound = lower if k + depth == k_last else -math.inf
            for j in range(left, right, width):
                columns = min(width, right - j)
                from_b = Matrix(panel, 0, width)
                b_at = t * g.b_batch + k * g.b_row + j * g.b_step
                if g.b_step == 1 and g.tiles <= DIRECT and (columns == width or columns == lanes_of(a)):
                    from_b = Matrix(b, b_at, g.b_row)
                else:
                    pack(b, b_at, g, depth, columns, panel, width)
                i, rows = top, 0
                while i < bottom:
                    rows = rows_of_tile(bottom - i)
                    into = Matrix(c, origin + i * g.c_row + j, g.c_row)
                    start = into
                    if k == k_first:
                        start = Matrix(bias, t * g.bias_batch + j, 0) if is_biased else Matrix(zeros, 0, 0)
                    lay_rows(places, t * g.a_batch + i * g.a_row + k * g.a_step, g.a_row, rows)
                    multiply(rows, columns, depth, a, places, g.a_step, from_b, start, bound, into, spare)
                    i += rows
