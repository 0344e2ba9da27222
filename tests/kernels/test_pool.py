"""Pooling kernels against the definition, on windows that overlap, leave gaps and hang over the edge."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import reference
from fastcnn_kernels.pool import (
    WindowGeometry,
    average_pool_backward,
    average_pool_forward,
    max_pool_backward,
    max_pool_forward,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st


class Case(NamedTuple):
    """An image (n, h, w, c) and a window."""

    shape: tuple[int, int, int, int]
    pool: tuple[int, int]
    strides: tuple[int, int]
    padding: reference.Padding

    def geometry(self) -> WindowGeometry:
        size = self.shape[1:3]
        (pt, _), (pl, _) = reference.resolve_padding(self.padding, size, self.pool, self.strides)
        oh, ow = reference.output_size(self.padding, size, self.pool, self.strides)
        return WindowGeometry(*self.shape, *self.pool, *self.strides, pt, pl, oh, ow)

    def output(self, dtype: str) -> np.ndarray:
        """An array for the result, full of NaN so that a cell nobody writes shows."""
        g = self.geometry()
        return np.full((g.n, g.oh, g.ow, g.c), np.nan, dtype)


CASES = [
    pytest.param(Case((2, 8, 6, 5), (2, 2), (2, 2), "valid"), id="usual"),
    pytest.param(Case((2, 7, 5, 3), (3, 2), (2, 1), "valid"), id="nothing equal, overlapping"),
    pytest.param(Case((2, 7, 5, 3), (3, 2), (2, 1), "same"), id="padded at the end only"),
    pytest.param(Case((3, 9, 8, 1), (3, 3), (1, 1), "same"), id="overlapping everywhere, one channel"),
    pytest.param(Case((1, 1, 1, 1), (1, 1), (1, 1), "valid"), id="smallest"),
    pytest.param(Case((1, 7, 7, 2), (2, 2), (3, 4), "valid"), id="gaps between windows"),
    pytest.param(Case((2, 5, 6, 33), (2, 2), (2, 2), "valid"), id="rows left over, channels not a vector"),
    pytest.param(Case((2, 9, 8, 41), (3, 3), (3, 3), "same"), id="3 x 3, side by side, cut off at both ends"),
    pytest.param(Case((2, 9, 9, 7), (3, 3), (3, 3), "valid"), id="3 x 3, side by side, few channels"),
    pytest.param(Case((2, 7, 9, 70), (2, 2), (2, 2), ((1, 0), (1, 0))), id="the first windows cut off"),
    pytest.param(Case((1, 8, 9, 20), (2, 2), (2, 3), "valid"), id="columns between windows, more channels"),
    pytest.param(Case((1, 4, 3, 300), (2, 3), (1, 2), "same"), id="more channels than a block"),
    pytest.param(Case((2, 6, 4, 2), (6, 4), (6, 4), "valid"), id="window is the image"),
    pytest.param(Case((1, 2, 5, 4), (3, 3), (1, 2), ((2, 2), (2, 2))), id="more padding than a stride"),
    pytest.param(Case((2, 9, 4, 13), (3, 1), (1, 1), ((2, 0), (0, 0))), id="more padding, more channels"),
    pytest.param(Case((2, 7, 6, 3), (5, 5), (1, 1), "same"), id="large windows, few channels"),
    pytest.param(Case((2, 7, 6, 20), (5, 5), (1, 1), "same"), id="large windows, more channels"),
    pytest.param(Case((2, 3, 4, 2), (5, 4), (2, 2), ((2, 3), (3, 1))), id="window larger than the image"),
]


def draw(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Few distinct values, so that windows have ties."""
    return np.random.default_rng(sum(shape)).integers(-3, 4, shape).astype(dtype)


def max_pool(x: np.ndarray, case: Case) -> np.ndarray:
    y = case.output(x.dtype.name)
    max_pool_forward(x, y, case.geometry())
    return y


@pytest.mark.parametrize("case", CASES)
def test_max_pool_forward(case: Case, dtype: str, on_threads: Callable) -> None:
    x = draw(case.shape, dtype)
    (y,) = on_threads(lambda: [max_pool(x, case)])
    np.testing.assert_array_equal(y, reference.max_pool2d(x, case.pool, case.strides, case.padding))


@pytest.mark.parametrize("case", CASES)
def test_max_pool_backward(case: Case, dtype: str, on_threads: Callable) -> None:
    """Ties: the first in row-major order takes all. Small integers, so sums are exact."""
    x, y = draw(case.shape, dtype), max_pool(draw(case.shape, dtype), case)
    dy = draw(y.shape, dtype)

    def compute() -> list[np.ndarray]:
        dx = np.full_like(x, np.nan)
        max_pool_backward(x, y, dy, dx, np.nan, case.geometry())
        return [dx]

    (dx,) = on_threads(compute)
    np.testing.assert_array_equal(
        dx, reference.max_pool2d_gradient(dy, x, case.pool, case.strides, case.padding)
    )


@pytest.mark.parametrize("case", CASES)
def test_max_pool_backward_through_a_relu(case: Case, dtype: str) -> None:
    """As if the gradient had gone through the ReLU in front of the pooling as well."""
    x = np.maximum(draw(case.shape, dtype), 0)
    y = max_pool(x, case)
    dy, dx = draw(y.shape, dtype), np.full_like(x, np.nan)
    max_pool_backward(x, y, dy, dx, 0.0, case.geometry())
    through = reference.max_pool2d_gradient(dy, x, case.pool, case.strides, case.padding)
    np.testing.assert_array_equal(dx, np.where(x > 0, through, 0))


def test_max_pool_of_nan_and_infinity(dtype: str) -> None:
    """A NaN is the maximum wherever it stands in the window, and the first NaN takes the gradient."""
    case = Case((1, 4, 4, 2), (2, 2), (2, 2), "valid")
    x = draw(case.shape, dtype)
    x[0, 0, 0, 0] = x[0, 1, 1, 1] = x[0, 0, 2, 0] = x[0, 1, 2, 0] = np.nan
    x[0, 2:, :2] = -np.inf
    y = max_pool(x, case)
    np.testing.assert_array_equal(y, reference.max_pool2d(x, case.pool))
    dy, dx = draw(y.shape, dtype) + 10, np.full_like(x, np.nan)
    max_pool_backward(x, y, dy, dx, np.nan, case.geometry())
    np.testing.assert_array_equal(dx, reference.max_pool2d_gradient(dy, x, case.pool))


@pytest.mark.parametrize("case", CASES)
def test_average_pool_forward(case: Case, dtype: str, on_threads: Callable) -> None:
    """Sums in float64: what is left is rounding the result once, and the division by the count."""
    x = np.random.default_rng(1).normal(size=case.shape).astype(dtype)

    def compute() -> list[np.ndarray]:
        y = case.output(dtype)
        average_pool_forward(x, y, case.geometry())
        return [y]

    (y,) = on_threads(compute)
    expected = reference.average_pool2d(x, case.pool, case.strides, case.padding)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y, expected, rtol=2 * eps, atol=64 * np.finfo(np.float64).eps)


@pytest.mark.parametrize("case", CASES)
def test_average_pool_backward(case: Case, dtype: str, on_threads: Callable) -> None:
    """A cell sums at most kh * kw terms below about 4."""
    dy = np.random.default_rng(2).normal(size=case.output(dtype).shape).astype(dtype)

    def compute() -> list[np.ndarray]:
        dx = np.full(case.shape, np.nan, dtype)
        average_pool_backward(dy, dx, case.geometry())
        return [dx]

    (dx,) = on_threads(compute)
    expected = reference.average_pool2d_gradient(dy, case.shape[1:3], case.pool, case.strides, case.padding)
    tolerance = 4 * 4 * np.finfo(dtype).eps * np.sqrt(case.pool[0] * case.pool[1])
    np.testing.assert_allclose(dx, expected, rtol=0, atol=tolerance)


def test_average_pool_of_nan(dtype: str) -> None:
    case = Case((1, 4, 4, 1), (2, 2), (2, 2), "valid")
    x = draw(case.shape, dtype)
    x[0, 1, 1, 0] = np.nan
    y = case.output(dtype)
    average_pool_forward(x, y, case.geometry())
    np.testing.assert_array_equal(y, reference.average_pool2d(x, case.pool))


@st.composite
def cases(draw_one: Callable) -> Case:
    """Windows of any kind: every part of an image may be padded more than a stride, or be seen by no window."""
    small, pads = st.integers(1, 5), st.integers(0, 4)
    n, h, w, c = (draw_one(st.integers(1, most)) for most in (3, 12, 12, 18))
    pool, strides = (draw_one(st.tuples(small, small)) for _ in range(2))
    # no window of padding alone
    padding = tuple((min(draw_one(pads), k - 1), min(draw_one(pads), k - 1)) for k in pool)
    assume(all(size + sum(pad) >= k for size, pad, k in zip((h, w), padding, pool, strict=True)))
    return Case((n, h, w, c), pool, strides, padding)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(cases())
def test_pooling_of_any_window(case: Case) -> None:
    window = case.pool, case.strides, case.padding
    x, y = draw(case.shape, "float32"), max_pool(draw(case.shape, "float32"), case)
    np.testing.assert_array_equal(y, reference.max_pool2d(x, *window))
    dy, dx = draw(y.shape, "float32"), np.full_like(x, np.nan)
    max_pool_backward(x, y, dy, dx, np.nan, case.geometry())
    np.testing.assert_array_equal(dx, reference.max_pool2d_gradient(dy, x, *window))
    mean = case.output("float32")
    average_pool_forward(x, mean, case.geometry())
    np.testing.assert_allclose(mean, reference.average_pool2d(x, *window), rtol=1e-6, atol=1e-6)
    average_pool_backward(dy, dx, case.geometry())
    expected = reference.average_pool2d_gradient(dy, case.shape[1:3], *window)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=1e-4)
