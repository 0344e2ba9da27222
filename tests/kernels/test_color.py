"""Colour matrices, hue and saturation, histograms: against their definitions, on bytes and floats, on any threads."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fastcnn_kernels import color
from fastcnn_kernels.color import PIXELS, PixelGeometry
from reference import image as reference

OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]
SHAPES = [
    pytest.param((2, 5, 7, 3), 3, id="nothing equal"),
    pytest.param((1, 1, 1, 1), 1, id="smallest"),
    pytest.param((2, 3, 4, 4), 2, id="other channels"),
    pytest.param((1, 40, 41, 3), 3, id="several items"),
]
assert 40 * 41 > PIXELS


def draw(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape).astype(dtype)


def pixels(x: np.ndarray) -> np.ndarray:
    return x.reshape(x.shape[0], -1, x.shape[3])


def geometry(x: np.ndarray, channels: int) -> PixelGeometry:
    return PixelGeometry(len(x), x.shape[1] * x.shape[2], x.shape[3], channels)


@pytest.mark.parametrize("source", ["uint8", "same"])
@pytest.mark.parametrize(("shape", "channels"), SHAPES)
def test_color_matrix(shape, channels, source, dtype, on_threads: OnThreads) -> None:
    x = draw(shape, dtype if source == "same" else source)
    matrix = np.random.default_rng(1).normal(size=(shape[0], channels, shape[3] + 1)).astype(dtype)

    def run() -> list[np.ndarray]:
        y = np.full((*shape[:3], channels), np.nan, dtype)
        color.color_matrix(pixels(x), matrix, pixels(y), -100.0, 200.0, geometry(x, channels))
        return [y]

    (y,) = on_threads(run)
    expected = reference.color_matrix(x.astype("float64"), matrix.astype("float64"), -100.0, 200.0)
    np.testing.assert_allclose(y, expected, rtol=0, atol=32 * np.finfo(dtype).eps * 255)


def test_color_matrix_keeps_nan() -> None:
    x, y = np.array([[[np.nan, 1.0]]]), np.zeros((1, 1, 1))
    color.color_matrix(x, np.array([[[1.0, 0.0, 0.0]]]), y, 0.0, 1.0, PixelGeometry(1, 1, 2, 1))
    assert np.isnan(y).all()


@pytest.mark.parametrize("source", ["uint8", "same"])
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 1, 3), (1, 40, 41, 3)])
def test_hue_saturation(shape, source, dtype, on_threads: OnThreads) -> None:
    x = draw(shape, dtype if source == "same" else source)
    x[:, 0, 0] = 0  # black and grey have no hue
    x[:, -1, -1] = 77
    shift, scale = (
        np.linspace(-0.7, 1.3, shape[0]).astype(dtype),
        np.linspace(0.2, 1.5, shape[0]).astype(dtype),
    )

    def run() -> list[np.ndarray]:
        y = np.full(shape, np.nan, dtype)
        color.hue_saturation(pixels(x), shift, scale, pixels(y), 1.0, geometry(x, 3))
        return [y]

    (y,) = on_threads(run)
    expected = reference.hue_saturation(x.astype("float64"), shift.astype("float64"), scale.astype("float64"))
    np.testing.assert_allclose(y, expected, rtol=0, atol=64 * np.finfo(dtype).eps * 255)


@pytest.mark.parametrize(("low", "high", "bins"), [(0.0, 255.0, 256), (-1.0, 1.0, 64), (0.0, 1.0, 256)])
@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 1, 1), (2, 30, 31, 2)])
def test_equalize(shape, low, high, bins, dtype, on_threads: OnThreads) -> None:
    x = (draw(shape, "float64") / 255 * (high - low) + low).astype(dtype)
    x[0, ..., 0] = x[0, 0, 0, 0]  # one bin: stays

    def run() -> list[np.ndarray]:
        y = np.full(shape, np.nan, dtype)
        histogram = np.zeros((shape[0] * shape[3], bins), np.int64)
        color.equalize(pixels(x), pixels(y), histogram, low, high, bins, geometry(x, shape[3]))
        return [y]

    (y,) = on_threads(run)
    expected = reference.equalize(x.astype("float64"), low, high, bins)
    np.testing.assert_allclose(y, expected, rtol=0, atol=16 * np.finfo(dtype).eps * (high - low))


def test_equalize_makes_bytes_equally_frequent() -> None:
    x = (np.random.default_rng(0).beta(2, 8, (1, 64, 64, 1)) * 255).astype("uint8")
    y = np.zeros(x.shape)
    color.equalize(pixels(x), pixels(y), np.zeros((1, 256), np.int64), 0.0, 255.0, 256, geometry(x, 1))
    assert y.min() == 0 and y.max() == 255
    counts = np.histogram(y, 4, (0, 256))[0]
    assert counts.min() > 0.8 * x.size / 4


def test_clahe_tables() -> None:
    """Of a tile of one number nothing is cut without a limit; a low one spreads it over the bins."""
    x, g = np.full((1, 4, 4, 1), 100.0, np.float32), color.TileGeometry(1, 4, 4, 1, 1, 1, 4, 4, 16)
    tables = np.full((1, 16), -1.0)
    for limit in (0.0, 16.0):
        color.clahe_tables(x, tables, 0.0, 255.0, limit, g)
        assert tables.tolist() == [[0] * 5 + [255] * 11]
    color.clahe_tables(x, tables, 0.0, 255.0, 1.0, g)
    excess = 15 / 16  # for each bin
    share = (1 + excess) / (16 - excess) * 255  # of the number's bin
    assert np.diff(tables[0]).max() == pytest.approx(share) and tables[0, -1] == pytest.approx(255)
