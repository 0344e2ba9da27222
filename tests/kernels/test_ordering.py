"""Sorting and picking, row by row, against NumPy."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fastcnn_kernels import ordering

OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]

SHAPES = [
    pytest.param((1, 1), id="smallest"),
    pytest.param((5, 7), id="no power of two"),
    pytest.param((3, 64), id="a power of two"),
    pytest.param((2, 1000), id="long rows"),
]


def numbers(shape: tuple[int, int], dtype: str) -> np.ndarray:
    """With ties, infinities and NaN."""
    x = np.random.default_rng(0).normal(size=shape).round(1).astype(dtype)
    x.reshape(-1)[::11] = np.nan
    x.reshape(-1)[3::13] = -np.inf
    return x


@pytest.mark.parametrize("shape", SHAPES)
def test_argsort_rows(shape: tuple[int, int], dtype: str, on_threads: OnThreads) -> None:
    x = numbers(shape, dtype)

    def order() -> list[np.ndarray]:
        places, spare = np.full(shape, -1, np.int32), np.full(shape, -1, np.int32)
        ordering.argsort_rows(x, places, spare)
        return [places]

    np.testing.assert_array_equal(on_threads(order)[0], np.argsort(x, 1, kind="stable"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("wanted", [1, 5, 1000])
def test_select_rows(shape: tuple[int, int], wanted: int, dtype: str, on_threads: OnThreads) -> None:
    x = numbers(shape, dtype)
    wanted = min(wanted, shape[1])

    def first() -> list[np.ndarray]:
        places = np.full((shape[0], wanted), -1, np.int32)
        ordering.select_rows(x, places)
        return [places]

    np.testing.assert_array_equal(on_threads(first)[0], np.argsort(x, 1, kind="stable")[:, :wanted])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["int32", "float32"])
def test_pick_forward(shape: tuple[int, int], kind: str, dtype: str, on_threads: OnThreads) -> None:
    x = numbers(shape, dtype)
    index = np.random.default_rng(1).integers(-shape[1] - 1, shape[1] + 1, (shape[0], 6)).astype(kind)

    def picked() -> list[np.ndarray]:
        y = np.full(index.shape, 7.0, dtype)
        ordering.pick_forward(x, index, y)
        return [y]

    exists = (index >= -shape[1]) & (index < shape[1])
    expected = np.take_along_axis(x, np.where(exists, index, 0).astype(int), 1)
    np.testing.assert_array_equal(on_threads(picked)[0], np.where(exists, expected, np.nan))


@pytest.mark.parametrize("shape", SHAPES)
def test_pick_backward(shape: tuple[int, int], dtype: str, on_threads: OnThreads) -> None:
    rng = np.random.default_rng(2)
    index, dy = rng.integers(-shape[1], shape[1], (shape[0], 9)), rng.normal(size=(shape[0], 9)).astype(dtype)

    def gathered() -> list[np.ndarray]:
        dx = np.full(shape, np.nan, dtype)
        ordering.pick_backward(dy, index, dx)
        return [dx]

    expected = np.zeros(shape)
    for r, k in np.ndindex(*index.shape):
        expected[r, index[r, k]] += dy[r, k]
    eps = np.finfo(dtype).eps  # at most nine summands
    np.testing.assert_allclose(on_threads(gathered)[0], expected, rtol=0, atol=9 * eps * np.abs(dy).max())
