"""Strided copies against NumPy's views, gathers, casts, and resizing against the definition."""

from collections.abc import Callable

import numpy as np
import pytest
import reference
from fastcnn_kernels.shape import (
    ResizeGeometry,
    cast,
    resize_bilinear_backward,
    resize_bilinear_forward,
    resize_nearest_backward,
    resize_nearest_forward,
    strided_copy,
    strided_geometry,
    take_rows,
    take_rows_backward,
)


def draw(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(dtype)


def element_strides(view: np.ndarray) -> tuple[int, ...]:
    return tuple(stride // view.itemsize for stride in view.strides)


def offset(view: np.ndarray, base: np.ndarray) -> int:
    return (view.ctypes.data - base.ctypes.data) // base.itemsize


def copy_view(base: np.ndarray, view: np.ndarray) -> np.ndarray:
    """`view`, a view of `base`, copied by the kernel."""
    y = np.full(view.shape, np.nan, base.dtype)
    g = strided_geometry(view.shape, element_strides(view), element_strides(y), offset(view, base))
    strided_copy(base.reshape(-1), y.reshape(-1), g)
    return y


VIEWS = [
    pytest.param((2, 3, 4, 5), lambda x: x.transpose(0, 3, 1, 2), id="channels first"),
    pytest.param((2, 3, 4, 5), lambda x: x.transpose(3, 2, 1, 0), id="reversed axes"),
    pytest.param((2, 3, 2, 3, 2, 3), lambda x: x.transpose(5, 1, 3, 0, 4, 2), id="six axes"),
    pytest.param((7, 600), lambda x: x.T, id="several items"),
    pytest.param((3, 1, 5), lambda x: np.broadcast_to(x, (2, 3, 4, 5)), id="broadcast"),
    pytest.param((1, 1), lambda x: np.broadcast_to(x, (70, 80)), id="broadcast of one number"),
    pytest.param((3, 4, 5), lambda x: x[1:, ::2, 3:], id="slices"),
    pytest.param((3, 4, 5), lambda x: x[::-1, :, ::-1], id="flips"),
    pytest.param((3, 4, 5), lambda x: x[2::-2, 1], id="reversed slice and index"),
    pytest.param((9000,), lambda x: x[::2], id="longer than a chunk, strided"),
    pytest.param((3, 9001), lambda x: x[:, 5:], id="lines longer than a chunk"),
    pytest.param((1,), lambda x: x, id="smallest"),
    pytest.param((40, 3), lambda x: np.broadcast_to(x[:, None, :], (40, 60, 3)), id="repeat, short lines"),
]


@pytest.mark.parametrize(("shape", "view"), VIEWS)
def test_strided_copy_reads_a_view(
    shape: tuple[int, ...], view: Callable, dtype: str, on_threads: Callable
) -> None:
    x = draw(shape, dtype)
    (y,) = on_threads(lambda: [copy_view(x, view(x))])
    np.testing.assert_array_equal(y, view(x))


@pytest.mark.parametrize(("shape", "view"), [case for case in VIEWS if "broadcast" not in str(case.id)][:3])
def test_strided_copy_writes_a_view(
    shape: tuple[int, ...], view: Callable, dtype: str, on_threads: Callable
) -> None:
    """As padding and concatenation do; what is outside the view keeps its value."""
    target_shape = np.zeros(shape)
    x = draw(view(target_shape).shape, dtype)

    def compute() -> list[np.ndarray]:
        y = np.full(shape, 7, dtype)
        place = view(y)
        g = strided_geometry(x.shape, element_strides(x), element_strides(place), 0, offset(place, y))
        strided_copy(x.reshape(-1), y.reshape(-1), g)
        return [y]

    (y,) = on_threads(compute)
    expected = np.full(shape, 7, dtype)
    view(expected)[...] = x
    np.testing.assert_array_equal(y, expected)


def test_strided_geometry_merges_axes() -> None:
    """A copy of everything is one line; a concatenation over channels has one line a pixel."""
    assert strided_geometry((2, 3, 4), (12, 4, 1), (12, 4, 1)).shape == (1, 1, 1, 1, 1, 24)
    assert strided_geometry((2, 3, 4), (12, 4, 1), (27, 9, 1)).shape == (1, 1, 1, 1, 6, 4)
    assert strided_geometry((1, 1), (1, 1), (1, 1)).shape == (1, 1, 1, 1, 1, 1)


@pytest.mark.parametrize("source", ["uint8", "int32", "float32", "float64"])
@pytest.mark.parametrize("target", ["uint8", "int32", "float32", "float64"])
def test_cast(source: str, target: str) -> None:
    x = (np.arange(5000) % 200 + 0.75).astype(source)
    y = np.zeros(5000, target)
    cast(x, y)
    np.testing.assert_array_equal(y, x.astype(target))


@pytest.mark.parametrize("source", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("index_dtype", ["float32", "int64"])
def test_take_rows(source: str, index_dtype: str, on_threads: Callable) -> None:
    x = np.random.default_rng(0).integers(0, 255, (40, 33)).astype(source)
    index = np.random.default_rng(1).integers(0, 40, 700).astype(index_dtype)

    def compute() -> list[np.ndarray]:
        y = np.full((700, 33), np.nan, np.float32)
        take_rows(x, index, y)
        return [y]

    (y,) = on_threads(compute)
    np.testing.assert_array_equal(y, x[index.astype(int)])


def test_take_rows_out_of_range() -> None:
    """Negative indices count from the end; what does not exist is NaN, and gets no gradient."""
    x, index = np.arange(6, dtype=np.float32).reshape(3, 2), np.array([-1, 3, -4, 0])
    y, dx = np.zeros((4, 2), np.float32), np.full_like(x, np.nan)
    take_rows(x, index, y)
    np.testing.assert_array_equal(y, [[4, 5], [np.nan, np.nan], [np.nan, np.nan], [0, 1]])
    take_rows_backward(index, np.ones_like(y), dx)
    np.testing.assert_array_equal(dx, [[1, 1], [0, 0], [1, 1]])


@pytest.mark.parametrize(("rows", "columns"), [(5, 3), (1, 1), (40, 150)])
def test_take_rows_backward(rows: int, columns: int, dtype: str, on_threads: Callable) -> None:
    """Rows repeat: their gradients add up, here whole numbers and so exactly."""
    index = np.random.default_rng(1).integers(0, rows, 90).astype(dtype)
    dy = np.round(draw((90, columns), dtype) * 9)

    def compute() -> list[np.ndarray]:
        dx = np.full((rows, columns), np.nan, dtype)
        take_rows_backward(index, dy, dx)
        return [dx]

    (dx,) = on_threads(compute)
    expected = np.zeros((rows, columns))
    np.add.at(expected, index.astype(int), dy)
    np.testing.assert_array_equal(dx, expected)


IMAGES = [
    pytest.param((2, 3, 4, 5), (2, 3), id="nothing equal"),
    pytest.param((1, 1, 1, 1), (2, 2), id="smallest"),
    pytest.param((2, 5, 3, 33), (1, 4), id="one axis only, channels not a multiple of the vector"),
    pytest.param((1, 1, 7, 2), (3, 1), id="one row"),
]


def resize(kernel: Callable, x: np.ndarray, factors: tuple[int, int], backward: bool = False) -> np.ndarray:
    n, h, w, c = x.shape
    fy, fx = factors
    g = (
        ResizeGeometry(n, h // fy, w // fx, c, h, w)
        if backward
        else ResizeGeometry(n, h, w, c, h * fy, w * fx)
    )
    y = np.full((n, g.h, g.w, c) if backward else (n, g.oh, g.ow, c), np.nan, x.dtype)
    kernel(x, y, g)
    return y


@pytest.mark.parametrize(("shape", "factors"), IMAGES)
def test_resize_nearest(
    shape: tuple[int, int, int, int], factors: tuple[int, int], dtype: str, on_threads: Callable
) -> None:
    x = np.round(draw(shape, dtype) * 9)
    (y,) = on_threads(lambda: [resize(resize_nearest_forward, x, factors)])
    np.testing.assert_array_equal(y, reference.upsample_nearest(x, factors))
    (dx,) = on_threads(lambda: [resize(resize_nearest_backward, y, factors, backward=True)])
    np.testing.assert_array_equal(dx, reference.upsample_nearest_gradient(y, factors))


@pytest.mark.parametrize(("shape", "factors"), IMAGES)
def test_resize_bilinear(
    shape: tuple[int, int, int, int], factors: tuple[int, int], dtype: str, on_threads: Callable
) -> None:
    """Four products forward; backward up to (2 fy) (2 fx) of them."""
    x, eps = draw(shape, dtype), np.finfo(dtype).eps
    (y,) = on_threads(lambda: [resize(resize_bilinear_forward, x, factors)])
    np.testing.assert_allclose(
        y, reference.upsample_bilinear(x, factors), rtol=0, atol=16 * eps * np.abs(x).max()
    )
    (dx,) = on_threads(lambda: [resize(resize_bilinear_backward, y, factors, backward=True)])
    expected = reference.upsample_bilinear_gradient(y, factors)
    np.testing.assert_allclose(dx, expected, rtol=0, atol=8 * eps * np.abs(expected).max() * 4)


SIZES = [((5, 7), (3, 4)), ((6, 4), (6, 9)), ((3, 3), (8, 2)), ((1, 5), (4, 1))]


@pytest.mark.parametrize(("size", "out"), SIZES)
@pytest.mark.parametrize(
    ("forward", "backward"),
    [(resize_nearest_forward, resize_nearest_backward), (resize_bilinear_forward, resize_bilinear_backward)],
)
def test_resize_backward_is_the_transpose(
    size: tuple[int, int], out: tuple[int, int], forward: Callable, backward: Callable
) -> None:
    """<resize(x), dy> = <x, backward(dy)> for any two sizes, up or down."""
    g = ResizeGeometry(2, *size, 3, *out)
    x, dy = draw((2, *size, 3), "float64"), draw((2, *out, 3), "float64")
    y, dx = np.full_like(dy, np.nan), np.full_like(x, np.nan)
    forward(x, y, g)
    backward(dy, dx, g)
    np.testing.assert_allclose((y * dy).sum(), (x * dx).sum(), rtol=0, atol=1e-13)


def test_resize_bilinear_to_smaller_size_samples_between_pixels() -> None:
    """Half-pixel centres: 4 pixels to 2 gives the means of neighbours."""
    x = np.array([1.0, 3.0, 10.0, 20.0]).reshape(1, 1, 4, 1)
    y = np.full((1, 1, 2, 1), np.nan)
    resize_bilinear_forward(x, y, ResizeGeometry(1, 1, 4, 1, 1, 2))
    np.testing.assert_array_equal(y.reshape(-1), [2.0, 15.0])
