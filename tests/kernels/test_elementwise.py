"""Arithmetic element by element against NumPy."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fastcnn_kernels import elementwise
from fastcnn_kernels.jit import CHUNK
from scipy import special

OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]

SIZES = [
    pytest.param(1, id="smallest"),
    pytest.param(37, id="not a multiple of the vector"),
    pytest.param(3 * CHUNK + 5, id="several work items"),
]


def numbers(size: int, dtype: str, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=2, size=size).astype(dtype)


def run(name: str, *args: np.ndarray | float, output: int) -> np.ndarray:
    """What the kernel writes into its argument number `output`, an array like its first."""
    y = np.full_like(args[0], np.nan)
    getattr(elementwise, name)(*args[:output], y, *args[output:])
    return y


BINARY: dict[str, Callable] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "equal": np.equal,
    "modulo": np.mod,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", BINARY)
def test_binary(name: str, size: int, dtype: str, on_threads: OnThreads) -> None:
    x1, x2 = numbers(size, dtype, 1), numbers(size, dtype, 2)
    x2[::5] = x1[::5]
    (y,) = on_threads(lambda: [run(name, x1, x2, output=2)])
    np.testing.assert_array_equal(y, BINARY[name](x1, x2).astype(dtype))


@pytest.mark.parametrize("name", ["maximum", "minimum", "add"])
def test_binary_nan(name: str, dtype: str) -> None:
    x1, x2 = np.array([np.nan, 1, np.nan, 1], dtype), np.array([1, np.nan, np.nan, 1], dtype)
    np.testing.assert_array_equal(np.isnan(run(name, x1, x2, output=2)), [True, True, True, False])


def test_output_may_be_an_input(dtype: str) -> None:
    x1, x2 = numbers(5000, dtype, 1), numbers(5000, dtype, 2)
    expected = x1 - x2
    elementwise.subtract(x1, x2, x1)
    np.testing.assert_array_equal(x1, expected)


@pytest.mark.parametrize("size", SIZES)
def test_power(size: int, dtype: str, on_threads: OnThreads) -> None:
    x1, x2 = np.abs(numbers(size, dtype, 1)), numbers(size, dtype, 2)
    (y,) = on_threads(lambda: [run("power", x1, x2, output=2)])
    np.testing.assert_allclose(
        y, x1.astype(np.float64) ** x2.astype(np.float64), rtol=4 * np.finfo(dtype).eps
    )


def test_power_of_a_negative_number(dtype: str) -> None:
    x1, x2 = np.array([-2, -2, -2], dtype), np.array([3, 0.5, 0], dtype)
    np.testing.assert_array_equal(run("power", x1, x2, output=2), np.array([-8, np.nan, 1], dtype))


def test_select(dtype: str, on_threads: OnThreads) -> None:
    condition, x1, x2 = (numbers(3 * CHUNK + 5, dtype, seed) for seed in range(3))
    condition[::3] = 0
    (y,) = on_threads(lambda: [run("select", condition, x1, x2, output=3)])
    np.testing.assert_array_equal(y, np.where(condition != 0, x1, x2))


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param((7, 5), id="nothing equal"),
        pytest.param((1, 1), id="smallest"),
        pytest.param((700, 33), id="several work items"),
        pytest.param((3, 5000), id="rows longer than a work item"),
    ],
)
def test_bias_add(shape: tuple[int, int], dtype: str, on_threads: OnThreads) -> None:
    x, bias = numbers(shape[0] * shape[1], dtype).reshape(shape), numbers(shape[1], dtype, 1)
    (y,) = on_threads(lambda: [run("bias_add", x, bias, output=2)])
    np.testing.assert_array_equal(y, x + bias)


UNARY: dict[str, Callable] = {
    "absolute": np.abs,
    "sign": np.sign,
    "square": np.square,
    "sqrt": np.sqrt,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "reciprocal": np.reciprocal,
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sin": np.sin,
    "cos": np.cos,
    "erf": special.erf,
    "floor": np.floor,
    "ceil": np.ceil,
    "round_half_even": np.rint,
    "copy": np.copy,
}
POSITIVE = {"sqrt", "rsqrt", "log", "log1p"}


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str, dtype: str, on_threads: OnThreads) -> None:
    x = numbers(3 * CHUNK + 5, dtype)
    x = np.abs(x) if name in POSITIVE else x
    x[:3] = 0.5, 1.5, 2.5
    (y,) = on_threads(lambda: [run(name, x, output=1)])
    # Two roundings at most, and those of a mathematical function that is right to about one unit.
    np.testing.assert_allclose(y, UNARY[name](x.astype(np.float64)), rtol=4 * np.finfo(dtype).eps, atol=1e-12)


@pytest.mark.parametrize("name", UNARY)
def test_unary_nan(name: str) -> None:
    assert np.isnan(run(name, np.array([np.nan], np.float32), output=1))[0]


@pytest.mark.parametrize("name", ["floor", "ceil", "round_half_even"])
def test_rounding_of_what_is_no_integer(name: str) -> None:
    x = np.array([np.inf, -np.inf, 1e30, -0.3], np.float32)
    np.testing.assert_array_equal(run(name, x, output=1), UNARY[name](x))


def test_arctan2(dtype: str, on_threads: OnThreads) -> None:
    x1, x2 = numbers(3 * CHUNK + 5, dtype, 1), numbers(3 * CHUNK + 5, dtype, 2)
    x1[:4], x2[:4] = (0, 0, 1, -1), (-1, 1, 0, 0)
    (y,) = on_threads(lambda: [run("arctan2", x1, x2, output=2)])
    expected = np.arctan2(x1.astype(np.float64), x2.astype(np.float64))
    np.testing.assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps)


def test_erfinv(dtype: str, on_threads: OnThreads) -> None:
    eps = np.finfo(dtype).eps
    ends = [0, 1, -1, 1.5, 1 - eps, -1 + eps, eps, -eps, 0.5, np.nan]
    x = np.concatenate([ends, np.random.default_rng(0).uniform(-1, 1, 3 * CHUNK)]).astype(dtype)
    (y,) = on_threads(lambda: [run("erfinv", x, output=1)])
    expected = special.erfinv(x.astype(np.float64))
    # Near 1 the inverse is as steep as 1 / (1 - x), but its argument is exact.
    np.testing.assert_allclose(y, expected, rtol=16 * eps)


def test_affine(dtype: str, on_threads: OnThreads) -> None:
    x = numbers(3 * CHUNK + 5, dtype)
    (y,) = on_threads(lambda: [run("affine", x, -1.7, 0.3, output=1)])
    exact = np.dtype(dtype).type(-1.7) * x.astype(np.float64) + np.dtype(dtype).type(0.3)
    # Product and sum are rounded once each, or together; both are below 1.7 |x| + 0.3.
    np.testing.assert_allclose(y, exact, rtol=0, atol=2 * np.finfo(dtype).eps * (1.7 * np.abs(x).max() + 0.3))


@pytest.mark.parametrize(
    "scale, offset, expected",
    [
        pytest.param(-1.0, 0.0, lambda x: -x, id="negative"),
        pytest.param(1.0, 0.3, lambda x: x + x.dtype.type(0.3), id="sum"),
        pytest.param(-1.0, 0.3, lambda x: x.dtype.type(0.3) - x, id="difference"),
        pytest.param(0.3, 0.0, lambda x: x * x.dtype.type(0.3), id="product"),
    ],
)
def test_affine_is_exact_arithmetic(scale: float, offset: float, expected: Callable, dtype: str) -> None:
    x = numbers(999, dtype)
    np.testing.assert_array_equal(run("affine", x, scale, offset, output=1), expected(x))


@pytest.mark.parametrize("exponent", [3.0, -1.5, 0.0])
def test_power_scalar(exponent: float, dtype: str, on_threads: OnThreads) -> None:
    x = np.abs(numbers(3 * CHUNK + 5, dtype))
    (y,) = on_threads(lambda: [run("power_scalar", x, exponent, output=1)])
    np.testing.assert_allclose(y, x.astype(np.float64) ** exponent, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("low, high", [(-1.0, 2.0), (0.0, np.inf), (-np.inf, 0.5)])
def test_clip(low: float, high: float, dtype: str, on_threads: OnThreads) -> None:
    x, dy = numbers(3 * CHUNK + 5, dtype), numbers(3 * CHUNK + 5, dtype, 1)
    x[:4] = -1, 2, 0, np.nan
    y, dx = on_threads(
        lambda: [
            run("clip_forward", x, low, high, output=1),
            run("clip_backward", dy, x, low, high, output=2),
        ]
    )
    np.testing.assert_array_equal(y, np.clip(x, low, high))
    np.testing.assert_array_equal(dx, np.where((x < low) | (x > high), 0, dy))


def test_fill(dtype: str, on_threads: OnThreads) -> None:
    def filled() -> list[np.ndarray]:
        y = np.full(3 * CHUNK + 5, np.nan, dtype)
        elementwise.fill(y, 0.1)
        return [y]

    np.testing.assert_array_equal(on_threads(filled)[0], np.full(3 * CHUNK + 5, 0.1, dtype))
