"""Products whose terms are cut in parts, so that few results fill a device with blocks."""

import numpy as np
import pytest

pytest.importorskip(
    "numba_cuda", reason='numba-cuda is not installed; pip install "fastcnn[cuda13]" brings it'
)

from fastcnn_kernels.cuda import (
    ADDING,
    FILLING,
    THREADS,
    covering,
    filling_tile,
    fitting_tile,
    parts_of,
    tiles,
)
from fastcnn_kernels.norm_cuda import batch_norm_sums
from fastcnn_kernels.reduction_cuda import reduce_sum

from fastcnn import config, ops
from fastcnn.graph import gradients
from fastcnn.plan import Function
from fastcnn.tensor import TensorSpec

TERMS = 8 * ADDING * tiles("float32")[-1].depth + 3  # as long as a few parts, and a rest
TOLERANCE = {"float32": 1e-5, "float64": 1e-13, "tf32": 3e-3}


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape)


def launched(function: Function, *arrays: np.ndarray) -> list[str]:
    """The kernels of its plan."""
    plan, _ = function.plan([TensorSpec(array.shape, str(array.dtype)) for array in arrays])
    return [launch.kernel.__name__ for _, launches in plan.steps for launch in launches]


@pytest.mark.parametrize("dtype", ["float32", "float64", "tf32"])
@pytest.mark.parametrize("rectified", [False, True])
def test_dense(rectified: bool, dtype: str, on_cuda: None) -> None:
    """A bias is added once, and what is below the bound is not cut off part by part."""
    x, kernel, bias = draw(3, TERMS), draw(TERMS, 5), 30 * draw(5)

    def body(x, kernel, bias):
        y = ops.dense(x, kernel, bias)
        return ops.relu(y) if rectified else y

    config.set_precision("tf32" if dtype == "tf32" else "fast")
    try:
        function = Function(body)
        arrays = [a.astype("float32" if dtype == "tf32" else dtype) for a in (x, kernel, bias)]
        kernels, y = launched(function, *arrays), function(*arrays)
    finally:
        config.set_precision("fast")
    suffix = "_tf32" * (dtype == "tf32")
    assert kernels == [f"gemm{suffix}", "reduce_sum", *["relu_forward"] * rectified]
    expected = x @ kernel + bias
    expected = np.maximum(expected, 0) if rectified else expected
    np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE[dtype] * np.abs(x @ kernel).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_matrices(dtype: str, on_cuda: None) -> None:
    a, b = draw(TERMS, 4).astype(dtype), draw(TERMS, 6).astype(dtype)
    function = Function(lambda a, b: ops.matmul(ops.transpose(a), b))
    np.testing.assert_allclose(function(a, b), a.T @ b, atol=10 * TOLERANCE[dtype])


@pytest.mark.parametrize(("m", "k", "n"), [(0, 600, 4), (3, 0, 2), (3, 600, 0)])
def test_products_of_nothing(m: int, k: int, n: int, on_cuda: None) -> None:
    a, b = np.ones((m, k), "f4"), np.ones((k, n), "f4")
    np.testing.assert_array_equal(Function(ops.dense)(a, b), a @ b)
    stacked = Function(ops.matmul)(a[None], b[None])
    np.testing.assert_array_equal(stacked, (a @ b)[None])


@pytest.mark.parametrize("groups", [1, 2])
def test_weights_of_a_convolution(groups: int, on_cuda: None) -> None:
    """Against the sum over images one by one."""
    images, side = 3, 8
    x, w = draw(images, side, side, 2).astype("f4"), draw(3, 3, 2 // groups, 4).astype("f4")
    dy = draw(images, side, side, 4).astype("f4")

    def body(x, w, dy):
        return gradients(ops.conv2d(x, w, padding="same"), [w], [dy])

    (whole,) = Function(body)(x, w, dy)
    parts = [Function(body)(x[i : i + 1], w, dy[i : i + 1])[0] for i in range(images)]
    np.testing.assert_allclose(whole, np.sum(parts, 0), rtol=0, atol=1e-5 * np.abs(whole).max())


@pytest.mark.parametrize("kind", ["float32", "tf32"])
@pytest.mark.parametrize("columns", [3, 16, 17, 40, 64, 200])
@pytest.mark.parametrize("rows", [1, 1000, 10_000, 1_000_000])
def test_tiles_fill_a_device(rows: int, columns: int, kind: str) -> None:
    """As far as there are results enough; no tile is wider than it need be."""
    tile, (narrow, *_) = filling_tile(rows, columns, 1, kind), tiles(kind)
    blocks = covering(rows, tile.rows) * covering(columns, tile.columns)
    assert tile == narrow or 4 * blocks >= FILLING
    assert tile.columns <= max(2 * columns, narrow.columns)
    if rows == 1_000_000:
        assert tile == fitting_tile(columns, kind)


def test_as_many_parts_as_fill_a_device() -> None:
    tile, enough = tiles("float32")[-1], 1 << 20
    assert parts_of(1, enough, tile) == FILLING
    assert parts_of(FILLING, enough, tile) == 1
    assert parts_of(FILLING // 2, enough, tile) == 2
    assert parts_of(1, ADDING * tile.depth, tile) == 1  # adding would take longer
    assert parts_of(1, 4 * ADDING * tile.depth, tile) == 4


@pytest.mark.parametrize("c", [3, 16, 64, 200])
@pytest.mark.parametrize("groups", [1, 2])
def test_long_sums_fill_a_device(groups: int, c: int) -> None:
    view = groups, 60 * THREADS * FILLING // c, c
    x, channels, statistics = np.zeros(view, "f4"), np.zeros(c), np.zeros((groups, c))
    partial, sums = (np.zeros((groups, k.parts(view, x.dtype), 2, c)) for k in (batch_norm_sums, reduce_sum))
    rectifier = 0.1, 1.0, 9.0
    for launch in (
        batch_norm_sums.bind(x, x, statistics, statistics, channels, channels, partial, *rectifier),
        reduce_sum.bind(x, sums[:, :, 0].copy(), 1.0),
    ):
        assert FILLING <= launch.items <= 2 * FILLING or (partial.shape[1] == 1 and launch.items > FILLING)
    assert batch_norm_sums.parts((groups, 1, c), x.dtype) == 1
