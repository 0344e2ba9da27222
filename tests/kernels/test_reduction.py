"""Reductions of the middle axis against NumPy in float64, in one stage and in two."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import reference
from fastcnn_kernels.reduction import (
    argmax_forward,
    count_extrema,
    extremum_backward,
    logsumexp_backward,
    logsumexp_forward,
    reduce_max,
    reduce_min,
    reduce_sum,
    reduction_chunks,
)

SHAPES = [
    pytest.param((3, 7, 5), id="nothing equal"),
    pytest.param((1, 1, 1), id="smallest"),
    pytest.param((4, 1, 9), id="one row"),
    pytest.param((5, 10, 1), id="last axis, short"),
    pytest.param((1, 100_003, 1), id="everything, several chunks"),
    pytest.param((1, 40_001, 3), id="few inner positions, several chunks"),
    pytest.param((2, 6, 300), id="more inner positions than a tile"),
    pytest.param((2, 700, 257), id="tile and one more, several chunks"),
    pytest.param((300, 2, 33), id="inner positions not a multiple of the vector"),
]


def draw(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def two_stages(kernel: Callable, x: np.ndarray, partial_dtype: str) -> np.ndarray:
    """The result (o, i) by way of chunks."""
    o, r, i = x.shape
    partial = np.full((o, reduction_chunks(o, r, i), i), np.nan, partial_dtype)
    y = np.full((o, 1, i), np.nan, x.dtype)
    kernel(x, partial)
    kernel(partial, y)
    return y[:, 0]


@pytest.mark.parametrize("shape", SHAPES)
def test_reduce_sum(shape: tuple[int, int, int], dtype: str, on_threads: Callable) -> None:
    """r roundings of running sums of about sqrt(r) add up like a random walk: eps * r; in float64 throughout."""
    x = draw(shape, dtype)
    (y,) = on_threads(lambda: [two_stages(lambda x, y: reduce_sum(x, y, 1.0), x, "float64")])
    expected = np.apply_along_axis(math.fsum, 1, x)
    np.testing.assert_allclose(y, expected, rtol=np.finfo(dtype).eps, atol=np.finfo("float64").eps * shape[1])


def test_reduce_sum_keeps_the_digits_of_a_long_sum() -> None:
    """Ten million times 0.1 in float32: adding one after another stops growing at 2097152."""
    x = np.full((1, 10_000_000, 1), 0.1, np.float32)
    y = two_stages(lambda x, y: reduce_sum(x, y, 1.0), x, "float64")
    np.testing.assert_allclose(y, np.float32(0.1) * 1e7, rtol=1e-7)


def test_reduce_sum_in_one_stage_with_a_scale(dtype: str) -> None:
    x = draw((3, 7, 5), dtype)
    y = np.full((3, 1, 5), np.nan, dtype)
    reduce_sum(x, y, 1 / 7)
    np.testing.assert_allclose(y[:, 0], reference.reduce_mean(x, 1), rtol=0, atol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("nan", [False, True])
def test_reduce_max_and_min(shape: tuple[int, int, int], nan: bool, dtype: str, on_threads: Callable) -> None:
    x = draw(shape, dtype)
    if nan:
        x.reshape(-1)[x.size // 2] = np.nan
    for kernel, expected in ((reduce_max, reference.reduce_max), (reduce_min, reference.reduce_min)):
        (y,) = on_threads(lambda kernel=kernel: [two_stages(kernel, x, dtype)])
        np.testing.assert_array_equal(y, expected(x, 1))


def test_reduce_max_of_infinities(dtype: str) -> None:
    x = np.full((1, 5, 2), -np.inf, dtype)
    x[0, 3, 1] = np.inf
    np.testing.assert_array_equal(two_stages(reduce_max, x, dtype), [[-np.inf, np.inf]])
    np.testing.assert_array_equal(two_stages(reduce_min, x, dtype), [[-np.inf, -np.inf]])


@pytest.mark.parametrize("shape", SHAPES)
def test_extremum_backward(shape: tuple[int, int, int], dtype: str, on_threads: Callable) -> None:
    """Whole numbers, so that there are ties: each gets the same share."""
    o, r, i = shape
    x, dy = np.round(draw(shape, dtype)), draw((o, i), dtype)
    y = x.max(1)

    def compute() -> list[np.ndarray]:
        partial = np.full((o, reduction_chunks(o, r, i), i), np.nan)
        count, dx = np.full((o, 1, i), np.nan), np.full(shape, np.nan, dtype)
        count_extrema(x, y, partial)
        reduce_sum(partial, count, 1.0)
        extremum_backward(x, y, dy, count.reshape(o, i), dx)
        return [dx]

    (dx,) = on_threads(compute)
    ties = x == y[:, None]
    expected = np.where(ties, dy[:, None] / ties.sum(1, keepdims=True), 0)
    np.testing.assert_allclose(dx, expected, rtol=np.finfo(dtype).eps)


def test_extremum_backward_of_nan(dtype: str) -> None:
    """Where the maximum is NaN, the gradient goes to the NaNs."""
    x = draw((1, 6, 1), dtype)
    x[0, 2:4, 0] = np.nan
    dx, dy, y = np.full_like(x, np.nan), np.array([[6.0]], dtype), np.array([[np.nan]], dtype)
    count = np.full((1, 1, 1), np.nan)
    count_extrema(x, y, count)
    extremum_backward(x, y, dy, count.reshape(1, 1), dx)
    np.testing.assert_array_equal(dx.reshape(-1), [0, 0, 3, 3, 0, 0])


@pytest.mark.parametrize("shape", SHAPES)
def test_argmax_forward(shape: tuple[int, int, int], dtype: str, on_threads: Callable) -> None:
    """The first of several; like NumPy's, also for NaN."""
    x = np.round(draw(shape, dtype))
    x.reshape(-1)[x.size // 2 :: 7] = np.nan

    def compute() -> list[np.ndarray]:
        y = np.full((shape[0], shape[2]), -1, np.int32)
        argmax_forward(x, y)
        return [y]

    (y,) = on_threads(compute)
    np.testing.assert_array_equal(y, x.argmax(1))


@pytest.mark.parametrize("shape", SHAPES)
def test_logsumexp(shape: tuple[int, int, int], dtype: str, on_threads: Callable) -> None:
    """float32 sees exp of a difference rounded to 2 ulp of the largest difference, about 8."""
    x, dy = 300 + draw(shape, dtype), draw((shape[0], shape[2]), dtype)

    def compute() -> list[np.ndarray]:
        y, dx = np.full_like(dy, np.nan), np.full_like(x, np.nan)
        logsumexp_forward(x, y)
        logsumexp_backward(x, y, dy, dx)
        return [y, dx]

    y, dx = on_threads(compute)
    shifted = x.astype(float) - 300
    expected = np.log(np.exp(shifted).sum(1))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y, 300 + expected, rtol=4 * eps)
    softmax = np.exp(shifted - expected[:, None])
    np.testing.assert_allclose(dx, dy[:, None] * softmax, rtol=400 * eps, atol=0)


def test_logsumexp_of_infinities(dtype: str) -> None:
    x = np.array([[[-np.inf], [-np.inf]], [[1.0], [np.inf]], [[2.0], [-np.inf]], [[np.nan], [1.0]]], dtype)
    y = np.full((4, 1), np.nan, dtype)
    logsumexp_forward(x, y)
    np.testing.assert_array_equal(y.reshape(-1), [-np.inf, np.inf, 2.0, np.nan])
