"""Gathers against the definition, numpy.pad and SciPy; every border, bytes and floats, gradients, threads."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fastcnn_kernels.resample import (
    BORDERS,
    ResampleGeometry,
    affine_bilinear_forward,
    affine_nearest_forward,
    border_index,
    field_bilinear_backward,
    field_bilinear_field_backward,
    field_bilinear_forward,
    field_nearest_backward,
    field_nearest_forward,
    half_even,
)
from reference.image import affine_gather, field_gather, pixel
from scipy import ndimage

OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]
AFFINE = {"nearest": affine_nearest_forward, "bilinear": affine_bilinear_forward}
FIELD = {"nearest": field_nearest_forward, "bilinear": field_bilinear_forward}
each_method = pytest.mark.parametrize("method", ["nearest", "bilinear"])
each_border = pytest.mark.parametrize("border", BORDERS)
SHAPES = [
    pytest.param((2, 5, 7, 3), (4, 6), id="nothing equal"),
    pytest.param((1, 1, 1, 1), (1, 1), id="smallest"),
    pytest.param((2, 3, 4, 2), (2, 70), id="wider than a block"),
]


def geometry(x: np.ndarray, size: tuple[int, int], border: str) -> ResampleGeometry:
    return ResampleGeometry(*x.shape, *size, BORDERS.index(border))


def affine(
    method: str, x: np.ndarray, t: np.ndarray, size: tuple[int, int], border: str, fill: float
) -> np.ndarray:
    y = np.full((len(x), *size, x.shape[3]), np.nan, t.dtype)
    AFFINE[method](x.reshape(len(x), -1), t, y.reshape(*y.shape[:2], -1), fill, geometry(x, size, border))
    return y


def field_of(method: str, x: np.ndarray, field: np.ndarray, border: str, fill: float = 0.0) -> np.ndarray:
    size = field.shape[1:3]
    y = np.full((len(x), *size, x.shape[3]), np.nan, field.dtype)
    FIELD[method](x.reshape(len(x), -1), field, y.reshape(*y.shape[:2], -1), fill, geometry(x, size, border))
    return y


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return (
        rng.integers(0, 256, shape).astype(dtype)
        if dtype == "uint8"
        else rng.normal(size=shape).astype(dtype)
    )


def maps(rng: np.random.Generator, n: int, dtype: str) -> np.ndarray:
    """Projective maps that leave the image at every side; multiples of 1/8, so that ties are ties in any format."""
    t = np.tile(np.array([1, 0, 0, 0, 1, 0, 0, 0], "float64"), (n, 1))
    t[:, :6] += rng.integers(-8, 9, (n, 6)) / 8
    t[:, [2, 5]] += rng.integers(-16, 17, (n, 2)) / 8
    return t.astype(dtype)


@each_border
@each_method
@pytest.mark.parametrize(("shape", "size"), SHAPES)
@pytest.mark.parametrize("source", ["uint8", "same"])
def test_affine_forward(method, border, shape, size, source, dtype, on_threads: OnThreads) -> None:
    """affine_nearest_forward, affine_bilinear_forward"""
    rng = np.random.default_rng(3)
    x, t = draw(rng, shape, dtype if source == "same" else source), maps(rng, shape[0], dtype)
    (y,) = on_threads(lambda: [affine(method, x, t, size, border, 0.25)])
    expected = affine_gather(x.astype("float64"), t.astype("float64"), size, method, border, 0.25)
    tolerance = 16 * np.finfo(dtype).eps * max(1.0, float(np.abs(x.astype(float)).max()))
    np.testing.assert_allclose(y, expected, rtol=0, atol=tolerance)


@each_method
def test_affine_forward_with_perspective(method, dtype) -> None:
    rng = np.random.default_rng(4)
    x, t = draw(rng, (2, 9, 8, 3), dtype), maps(rng, 2, dtype)
    t[:, 6:] = [[0.03, 0.01], [0.02, -0.04]]
    expected = affine_gather(x.astype("float64"), t.astype("float64"), (6, 7), method, "symmetric")
    np.testing.assert_allclose(affine(method, x, t, (6, 7), "symmetric", 0.0), expected, rtol=0, atol=1e-4)


@each_border
@each_method
@pytest.mark.parametrize(("shape", "size"), SHAPES)
def test_field_forward(method, border, shape, size, dtype, on_threads: OnThreads) -> None:
    """field_nearest_forward, field_bilinear_forward"""
    rng = np.random.default_rng(5)
    x = draw(rng, shape, dtype)
    field = (rng.integers(-80, 160, (shape[0], *size, 2)) / 8).astype(dtype)
    (y,) = on_threads(lambda: [field_of(method, x, field, border, -2.0)])
    expected = field_gather(x.astype("float64"), field.astype("float64"), method, border, -2.0)
    np.testing.assert_allclose(y, expected, rtol=0, atol=16 * np.finfo(dtype).eps * 4)


def backward(kernel: Callable, x: np.ndarray, field: np.ndarray, dy: np.ndarray, border: str) -> np.ndarray:
    dx = np.full(x.shape, np.nan)
    kernel(dy, field, dx, geometry(x, field.shape[1:3], border))
    return dx


@each_border
def test_field_nearest_backward_is_the_transpose(border, on_threads: OnThreads) -> None:
    rng = np.random.default_rng(6)
    x, field = rng.normal(size=(2, 3, 4, 2)), rng.uniform(-4, 8, (2, 3, 5, 2))
    dy = rng.normal(size=(2, 3, 5, 2))
    (dx,) = on_threads(lambda: [backward(field_nearest_backward, x, field, dy, border)])
    y = field_of("nearest", x, field, border)
    np.testing.assert_allclose((dx * x).sum(), (dy * y).sum(), rtol=1e-12)


@each_border
def test_field_bilinear_backward_is_the_transpose(border, on_threads: OnThreads) -> None:
    rng = np.random.default_rng(7)
    x, field = rng.normal(size=(2, 3, 4, 2)), rng.uniform(-4, 8, (2, 3, 5, 2))
    dy = rng.normal(size=(2, 3, 5, 2))
    (dx,) = on_threads(lambda: [backward(field_bilinear_backward, x, field, dy, border)])
    y = field_of("bilinear", x, field, border)
    np.testing.assert_allclose((dx * x).sum(), (dy * y).sum(), rtol=1e-12)


@each_border
def test_field_bilinear_field_backward(border, on_threads: OnThreads) -> None:
    rng = np.random.default_rng(8)
    x, dy = rng.normal(size=(2, 3, 4, 2)), rng.normal(size=(2, 3, 5, 2))
    field = rng.integers(-3, 6, (2, 3, 5, 2)) + rng.uniform(0.1, 0.9, (2, 3, 5, 2))  # away from the kinks

    def run() -> list[np.ndarray]:
        dfield = np.full(field.shape, np.nan)
        g = geometry(x, field.shape[1:3], border)
        field_bilinear_field_backward(dy, x.reshape(2, -1), field, dfield, 0.5, g)
        return [dfield]

    (dfield,) = on_threads(run)
    for axis in (0, 1):
        step = np.zeros(2)
        step[axis] = 1e-6
        above, below = (field_of("bilinear", x, field + s * step, border, 0.5) for s in (1, -1))
        np.testing.assert_allclose(dfield[..., axis], (dy * (above - below)).sum(-1) / 2e-6, atol=1e-7)


@each_border
@pytest.mark.parametrize("size", [1, 2, 5])
def test_border_index_is_that_of_numpy_pad(border, size) -> None:
    image = np.arange(float(size))[None, :, None]
    for i in range(-3 * size - 1, 4 * size + 2):
        if border == "constant":
            expected = float(min(max(i, 0), size - 1))
        else:
            expected = float(pixel(image, 0, i, border, 0.0)[0])
        assert border_index(i, size, BORDERS.index(border)) == expected


SCIPY = dict(zip(BORDERS, ("grid-constant", "nearest", "mirror", "reflect", "grid-wrap"), strict=True))


@each_border
def test_borders_against_scipy(border) -> None:
    rng = np.random.default_rng(9)
    x, field = rng.normal(size=(1, 6, 5, 1)), rng.uniform(-9, 14, (1, 4, 5, 2))
    expected = ndimage.map_coordinates(
        x[0, ..., 0], np.moveaxis(field[0], -1, 0), order=1, mode=SCIPY[border], cval=1.5
    )
    np.testing.assert_allclose(field_of("bilinear", x, field, border, 1.5)[0, ..., 0], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "expected"), [(0.5, 0), (1.5, 2), (-0.5, 0), (-1.5, -2), (2.49, 2), (-2.51, -3), (7.0, 7)]
)
def test_half_even(x, expected) -> None:
    assert half_even(x) == expected


@each_border
@each_method
@pytest.mark.parametrize("place", [np.nan, np.inf, -np.inf, 1e300, -1e300])
def test_no_place_is_read_outside_of_the_image(method, border, place) -> None:
    """What lies infinitely far away may be any pixel, or none; it must not be other memory."""
    x = np.full((1, 3, 4, 1), 7.0)
    y = field_of(method, x, np.full((1, 2, 2, 2), place), border, 7.0)
    assert (np.isnan(y) | (y == 7.0)).all()
