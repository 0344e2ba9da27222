"""Matrix products, and the register tile below them, against float64 sums of products."""

import math

import numpy as np
import pytest
import reference
from fastcnn_kernels.gemm import GemmGeometry, divide_work, gemm, gemm_geometry
from fastcnn_kernels.jit import TILE_ROWS, cpu_kernel, stack_array
from fastcnn_kernels.microkernel import (
    EXTRA_ROWS,
    FEW_ROWS,
    HALF_ROWS,
    TILE_SIZE,
    Matrix,
    block_end,
    flat,
    lay_rows,
    multiply,
    pack_columns,
    pack_rows,
    row_blocks,
    rows_of_tile,
    tile_width,
)


def random(rng, shape, dtype):
    return rng.normal(size=shape).astype(dtype)


def poisoned(shape, dtype):
    """Memory that shows what was not written."""
    return np.full(shape, np.nan, dtype)


def assert_close(actual, expected, terms):
    """Rounding errors of a sum of `terms` products grow like its square root."""
    eps = np.finfo(actual.dtype).eps
    scale = max(np.abs(expected).max(), 1.0)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=4 * eps * math.sqrt(terms) * scale)


@pytest.fixture
def rng():
    return np.random.default_rng(13)


# --- the tile ------------------------------------------------------------------------------------------------------


DEEPEST = 300


@cpu_kernel(lambda a, a_row, a_step, by_table, b, start, lower, c: 1)
def one_tile(a, a_row, a_step, by_table, b, start, lower, c, first, last):
    """c = max(start + a b, lower) by one call of `multiply`; a is addressed through its two strides, or by tables."""
    spare, places, table = (
        stack_array(c, TILE_SIZE),
        stack_array(np.int64, TILE_ROWS),
        stack_array(np.int64, DEEPEST),
    )
    rows, columns, width = c.shape[0], c.shape[1], b.shape[1]
    window = Matrix(flat(c), 0, columns)
    from_b, from_start = Matrix(flat(b), 0, width), Matrix(flat(start), 0, columns)
    lay_rows(places, 0, a_row, rows)
    if by_table:
        for k in range(len(b)):
            table[k] = k * a_step
        multiply(rows, columns, len(b), flat(a), places, table, from_b, from_start, lower, window, spare)
    else:
        multiply(rows, columns, len(b), flat(a), places, a_step, from_b, from_start, lower, window, spare)


@pytest.mark.parametrize("depth", [1, 2, DEEPEST])
@pytest.mark.parametrize(
    "rows", sorted({1, FEW_ROWS, FEW_ROWS + 1, HALF_ROWS, HALF_ROWS + 1, TILE_ROWS - 1, TILE_ROWS})
)
def test_multiply_tile(rows, depth, dtype, rng):
    width = tile_width(np.dtype(dtype).itemsize)
    for columns in sorted({1, width // 2, width // 2 + 1, width - 1, width}):
        a, b = random(rng, (rows, depth), dtype), random(rng, (depth, width), dtype)
        start, c = random(rng, (rows, columns), dtype), poisoned((rows, columns), dtype)
        expected = start + a.astype("float64") @ b[:, :columns]
        for by_table in (0, 1):
            c[:] = np.nan
            one_tile(a, depth, 1, by_table, b, start, -math.inf, c)
            assert_close(c, expected, depth + 1)
            c[:] = np.nan
            one_tile(np.ascontiguousarray(a.T), 1, rows, by_table, b, start, 0.0, c)
            assert_close(c, np.maximum(expected, 0.0), depth + 1)


@pytest.mark.parametrize("tiles", [1, 2, 5])
def test_blocks_take_every_row_once(tiles):
    """Also when there are more blocks than these rows need: the pixel classes of a strided gradient differ in size."""
    height = tiles * TILE_ROWS
    for most in range(1, 4 * height + 2):
        count = row_blocks(most, height)
        for rows in {most, max(most - 1, 1), max(most - EXTRA_ROWS, 1), (most + 1) // 2, 1}:
            blocks = [(block * height, block_end(block * height, height, rows)) for block in range(count)]
            assert [i for top, end in blocks for i in range(top, end)] == list(range(rows))


def test_tiles_take_every_row_and_few_are_low():
    for rows in range(1, 5 * TILE_ROWS):
        taken, left = [], rows
        while left > 0:
            taken.append(rows_of_tile(left))
            left -= taken[-1]
        assert left == 0
        assert max(taken) <= TILE_ROWS
        assert len(taken) == -(-rows // TILE_ROWS)
        assert len(taken) == 1 or taken[-2] == HALF_ROWS or taken[-1] > EXTRA_ROWS


def test_multiply_tile_without_depth_is_the_start(dtype, rng):
    width = tile_width(np.dtype(dtype).itemsize)
    start, c = random(rng, (TILE_ROWS, width), dtype), poisoned((TILE_ROWS, width), dtype)
    one_tile(np.empty((TILE_ROWS, 0), dtype), 0, 1, 0, np.empty((0, width), dtype), start, 0.0, c)
    np.testing.assert_array_equal(c, np.maximum(start, 0))


def test_multiply_tile_keeps_nan(dtype):
    """The lower bound does not hide a NaN, and rows do not meet."""
    width = tile_width(np.dtype(dtype).itemsize)
    a, b, c = np.ones((3, 2), dtype), np.ones((2, width), dtype), poisoned((3, 3), dtype)
    a[1, 1] = np.nan
    one_tile(a, 2, 1, 0, b, np.zeros((3, 3), dtype), 0.0, c)
    np.testing.assert_array_equal(np.isnan(c), np.repeat([[False], [True], [False]], 3, axis=1))


@cpu_kernel(lambda source, by_rows, by_columns, columns: 1)
def pack_both(source, by_rows, by_columns, columns, first, last):
    """The first `columns` columns of `source` as a panel, and those of its transpose."""
    depth, width = by_rows.shape
    pack_rows(flat(source), 0, source.shape[1], depth, columns, flat(by_rows), 0, width)
    pack_columns(flat(source), 0, source.shape[1], by_columns.shape[0], columns, flat(by_columns), 0, width)


@pytest.mark.parametrize("columns", [1, 15, 16, 17, 32])
def test_pack(columns, dtype, rng):
    """Panels of a matrix and of its transpose, filled with zeros to their width; blocks, and what is left over."""
    source = random(rng, (37, 35), dtype)
    by_rows, by_columns = poisoned((37, 32), dtype), poisoned((35, 32), dtype)
    pack_both(source, by_rows, by_columns, columns)
    np.testing.assert_array_equal(by_rows[:, :columns], source[:, :columns])
    np.testing.assert_array_equal(by_columns[:, :columns], source[:columns].T)
    assert not by_rows[:, columns:].any() and not by_columns[:, columns:].any()


# --- products ------------------------------------------------------------------------------------------------------

SHAPES = [
    pytest.param((5, 7, 3), id="nothing equal"),
    pytest.param((1, 1, 1), id="smallest"),
    pytest.param((1, 70, 40), id="one row"),
    pytest.param((29, 33, 17), id="one more than a tile"),
    pytest.param((28, 64, 512), id="whole tiles and blocks"),
    pytest.param((15, 31, 257), id="one more than a block of depth"),
    pytest.param((300, 90, 40), id="many rows"),
    pytest.param((4, 5, 2500), id="long and thin"),
]


@pytest.mark.parametrize("transpose_a", [False, True], ids=["a", "aT"])
@pytest.mark.parametrize("transpose_b", [False, True], ids=["b", "bT"])
@pytest.mark.parametrize("shape", SHAPES)
def test_gemm(shape, transpose_a, transpose_b, dtype, rng, on_threads):
    m, n, k = shape
    a = random(rng, (k, m) if transpose_a else (m, k), dtype)
    b, bias = random(rng, (k, n), dtype), random(rng, n, dtype)
    expected = reference.dense(a.T if transpose_a else a, b, bias)
    b = np.ascontiguousarray(b.T) if transpose_b else b
    g = gemm_geometry(m, n, k, a.itemsize, transpose_a, transpose_b)

    def compute(bias, lower):
        c = poisoned((m, n), dtype)
        gemm(a, b, bias, c, lower, g)
        return [c]

    assert_close(on_threads(lambda: compute(bias, -math.inf))[0], expected, k + 1)
    assert_close(compute(bias, 0.5)[0], np.maximum(expected, 0.5), k + 1)
    assert_close(compute(np.empty(0, dtype), -math.inf)[0], expected - bias, k + 1)


@pytest.mark.parametrize("shape", SHAPES)
def test_gemm_in_parts(shape, dtype, rng, on_threads):
    """A long sum may be cut; the parts together are the product."""
    m, n, k = shape
    a, b = random(rng, (k, m), dtype), random(rng, (k, n), dtype)
    g = gemm_geometry(m, n, k, a.itemsize, transpose_a=True)
    g = g._replace(parts=gemm.parts(g, dtype))

    def compute():
        partials = poisoned((g.parts, m, n), dtype)
        gemm(a, b, np.empty(0, dtype), partials, -math.inf, g)
        return [partials]

    assert g.parts > 1 or k < 2500
    assert_close(on_threads(compute)[0].sum(0), reference.dense(a.T, b), k)


def test_gemm_batch(dtype, rng):
    a, b, c = random(rng, (3, 4, 6), dtype), random(rng, (3, 6, 5), dtype), poisoned((3, 4, 5), dtype)
    gemm(a, b, np.empty(0, dtype), c, -math.inf, gemm_geometry(4, 5, 6, a.itemsize, batch=3))
    assert_close(c, np.stack([reference.dense(x, y) for x, y in zip(a, b, strict=True)]), 6)


def test_gemm_of_windows(dtype, rng):
    """Row pitches larger than a row: c[:, 2:5] = a[:, 1:4] b; the rest of c is not touched."""
    a, b, c = random(rng, (6, 8), dtype), random(rng, (3, 3), dtype), poisoned((6, 9), dtype)
    g = GemmGeometry(1, 6, 3, 3, 0, 8, 1, 0, 3, 1, 0, 9, 0, 1, 0, 1, 1)
    gemm(a.reshape(-1)[1:], b, np.empty(0, dtype), c.reshape(-1)[2:], -math.inf, divide_work(g, a.itemsize))
    assert_close(c[:, 2:5], reference.dense(a[:, 1:4], b), 3)
    assert np.isnan(np.delete(c, [2, 3, 4], axis=1)).all()


def test_gemm_keeps_nan(rng):
    """A NaN in row i of a reaches row i of c and no other; the lower bound does not hide it."""
    a, b = random(rng, (31, 300), "float32"), random(rng, (300, 41), "float32")
    a[17, 290] = np.nan
    c = poisoned((31, 41), "float32")
    gemm(a, b, np.empty(0, "float32"), c, 0.0, gemm_geometry(31, 41, 300, 4))
    np.testing.assert_array_equal(np.isnan(c), np.arange(31)[:, None].repeat(41, axis=1) == 17)
