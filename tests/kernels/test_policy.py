"""Every operation of a policy step against its definition, and where there is one against Pillow's."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fastcnn_kernels.policy import BINS, OPERATIONS, policy_step
from fastcnn_kernels.resample import BORDERS, ResampleGeometry
from reference import image as reference

OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]
SHAPES = [(3, 5, 7, 3), (1, 1, 1, 1), (3, 9, 4, 2)]
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=["nothing equal", "smallest", "two channels"])
GREY = np.array([0.2989, 0.587, 0.114])


def draw(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape).astype(dtype)


def step(
    x: np.ndarray, name: str, numbers: Sequence[float] = (), low: float = 0.0, high: float = 255.0, fill: float = 9.0,
    nearest: int = 0, border: str = "constant",
) -> np.ndarray:  # fmt: skip
    n, h, w, c = x.shape
    given = np.zeros((n, 8), x.dtype)
    given[:, : len(numbers)] = numbers
    y, code = np.full(x.shape, np.nan, x.dtype), np.full(n, OPERATIONS.index(name), x.dtype)
    g = ResampleGeometry(n, h, w, c, h, w, BORDERS.index(border))
    histogram, bounds = np.zeros((n, BINS), np.int64), (low, high, fill, float(nearest))
    policy_step(x.reshape(n, -1), code, given, y.reshape(n, -1), histogram, bounds, g)
    return y


def grey(x: np.ndarray) -> np.ndarray:
    return (x @ GREY if x.shape[3] == 3 else x.mean(3))[..., None]


def blurred(x: np.ndarray) -> np.ndarray:
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    h, w = x.shape[1:3]
    total = sum(padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)) + 4 * x
    return total / 13


def inside(x: np.ndarray, y: float, column: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(x.shape[1:3])
    return ((abs(rows - y) < radius) & (abs(columns - column) < radius))[None, :, :, None]


def sharpened(x: np.ndarray, factor: float, zeros: bool) -> np.ndarray:
    smooth = blurred(x)
    if not zeros:
        edge = np.ones(x.shape[1:3], bool)
        edge[1:-1, 1:-1] = False
        smooth = np.where(edge[None, :, :, None], x, smooth)
    return np.clip(smooth + factor * (x - smooth), 0, 255)


def solarized(x: np.ndarray, threshold: float, addition: float) -> np.ndarray:
    moved = np.clip(x + addition, 0, 255)
    return np.where(moved < threshold, moved, 255 - moved)


def stretched(x: np.ndarray) -> np.ndarray:
    least, most = x.min((1, 2), keepdims=True), x.max((1, 2), keepdims=True)
    return np.where(most > least, (x - least) * 255 / np.where(most > least, most - least, 1), x)


CASES: list[tuple[str, tuple[float, ...], Callable[[np.ndarray], np.ndarray]]] = [
    ("identity", (), lambda x: x),
    ("linear", (-1.0, 255.0), lambda x: 255 - x),
    ("linear", (1.7, -20.0), lambda x: np.clip(1.7 * x - 20, 0, 255)),
    ("grey", (0.3,), lambda x: np.clip(grey(x) + 0.3 * (x - grey(x)), 0, 255)),
    ("contrast", (1.9, 0), lambda x: np.clip(1.9 * x - 0.9 * grey(x).mean((1, 2), keepdims=True), 0, 255)),
    ("contrast", (0.4, 1), lambda x: np.clip(0.4 * x + 0.6 * x.mean((1, 2), keepdims=True), 0, 255)),
    ("sharpness", (1.8, 0), lambda x: sharpened(x, 1.8, False)),
    ("sharpness", (0.2, 1), lambda x: sharpened(x, 0.2, True)),
    ("posterize", (3,), lambda x: (x.astype(int) & 0b11100000).astype(float)),
    ("posterize", (8,), lambda x: x),
    ("solarize", (128.0, 0.0), lambda x: solarized(x, 128, 0)),
    ("solarize", (90.0, 30.0), lambda x: solarized(x, 90, 30)),
    ("autocontrast", (), stretched),
    ("equalize", (), reference.equalize),
    ("cutout", (2.0, 3.0, 1.5), lambda x: np.where(inside(x, 2, 3, 1.5), 9.0, x)),
    ("pair", (0, 0.5), lambda x: 0.5 * x + 0.5 * x[:1]),
]


@each_shape
@pytest.mark.parametrize(("name", "numbers", "expected"), CASES, ids=[f"{c[0]} {c[1]}" for c in CASES])
def test_operation(name, numbers, expected, shape, dtype, on_threads: OnThreads) -> None:
    x = draw(shape, dtype)
    (y,) = on_threads(lambda: [step(x, name, numbers)])
    np.testing.assert_allclose(y, expected(x.astype("float64")), rtol=0, atol=64 * np.finfo(dtype).eps * 255)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("nearest", [0, 1])
def test_affine(border, nearest, dtype) -> None:
    x = draw((2, 5, 7, 3), dtype)
    t = np.tile(np.array([1, 0.25, -1.5, 0.125, 1, 0.75, 0, 0], dtype), (2, 1))
    y = step(x, "affine", t[0], nearest=nearest, border=border)
    method = "nearest" if nearest else "bilinear"
    expected = reference.affine_gather(x.astype("float64"), t.astype("float64"), (5, 7), method, border, 9.0)
    np.testing.assert_allclose(y, expected, rtol=0, atol=64 * np.finfo(dtype).eps * 255)


@pytest.mark.parametrize(("name", "numbers", "expected"), CASES, ids=[f"{c[0]} {c[1]}" for c in CASES])
def test_operation_on_another_range(name, numbers, expected) -> None:
    """Numbers from -1 to 1 give what bytes give, on that scale."""
    x = draw((3, 5, 7, 3), "float64")
    if name == "linear":
        numbers = (numbers[0], numbers[1] / 127.5 + numbers[0] - 1)
    small = step(x / 127.5 - 1, name, numbers, -1.0, 1.0, 9.0 / 127.5 - 1)
    if name == "equalize" or (name == "sharpness" and numbers[1] == 1):
        return  # a rounding moves a number to the next bin; zeros beyond the edge are no darkest pixels here
    tolerance = 0.02 if name in ("grey", "contrast") else 1e-9  # the shares of grey sum to 0.9999
    np.testing.assert_allclose((small + 1) * 127.5, expected(x), atol=tolerance)


def test_every_image_has_an_operation_of_its_own() -> None:
    x = draw((3, 5, 7, 3), "float32")
    numbers = np.zeros((3, 8), "float32")
    numbers[0, :2], numbers[2, 0] = (-1, 255), 1
    code = np.array([OPERATIONS.index(name) for name in ("linear", "identity", "posterize")], "float32")
    y, histogram = np.zeros_like(x), np.zeros((3, BINS), np.int64)
    g = ResampleGeometry(3, 5, 7, 3, 5, 7, 0)
    images, results = x.reshape(3, -1), y.reshape(3, -1)
    policy_step(images, code, numbers, results, histogram, (0.0, 255.0, 0.0, 0.0), g)
    np.testing.assert_array_equal(y, [255 - x[0], x[1], np.floor(x[2] / 128) * 128])


PILLOW = {
    "posterize": ((3,), lambda ops, enhance, image: ops.posterize(image, 3), 0),
    "solarize": ((100.0, 0.0), lambda ops, enhance, image: ops.solarize(image, 100), 0),
    "autocontrast": ((), lambda ops, enhance, image: ops.autocontrast(image), 1),
    "equalize": (
        (),
        lambda ops, enhance, image: ops.equalize(image),
        8,
    ),  # its steps are whole numbers of pixels
    "grey": ((0.3,), lambda ops, enhance, image: enhance.Color(image).enhance(0.3), 1.5),
    "contrast": ((1.7, 0), lambda ops, enhance, image: enhance.Contrast(image).enhance(1.7), 1.5),
    "linear": ((1.4, 0.0), lambda ops, enhance, image: enhance.Brightness(image).enhance(1.4), 1),
    "sharpness": ((1.9, 0), lambda ops, enhance, image: enhance.Sharpness(image).enhance(1.9), 2),
}


@pytest.mark.parametrize("name", PILLOW)
def test_operation_against_pillow(name) -> None:
    pytest.importorskip("PIL")
    from PIL import Image, ImageEnhance, ImageOps

    numbers, operation, tolerance = PILLOW[name]
    x = draw((1, 160, 170, 3), "uint8")
    expected = np.asarray(operation(ImageOps, ImageEnhance, Image.fromarray(x[0])), float)
    np.testing.assert_allclose(step(x.astype("float32"), name, numbers)[0], expected, atol=tolerance)
