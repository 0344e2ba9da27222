"""Elementary functions against the C library's, in units of the last place, with the special numbers."""

import math
import platform
from collections.abc import Callable

import numpy as np
import pytest
from fastcnn_kernels import elementary
from fastcnn_kernels.elementwise import flat, map_unary
from fastcnn_kernels.jit import VECTOR_BYTES, cpu_kernel

# the largest error in units of the last place, of float32 and float64 (the C library's own is up to one)
ERRORS = {
    "exp": (1, 2),
    "expm1": (2, 3.5),
    "tanh": (2.5, 3.5),
    "log": (1, 2),
    "log1p": (2.5, 3),
    "erf": (2.5, 3),
    "erfc": (4, 5),
}
FUSED = VECTOR_BYTES > 16 or platform.machine() in ("aarch64", "arm64")  # multiply-adds that round once
SPECIAL = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1e-42,
    -1e-42,
    1e-310,
    -1.0,
    1.0,
    88.6,
    89.5,
    -87.4,
    -110.0,
    709.7,
    711.0,
]


def arguments(name: str, dtype: type) -> np.ndarray:
    """Numbers all over the domain, and many where the function bends."""
    rng = np.random.default_rng(3)
    near = [rng.normal(0, 1, 4000), rng.normal(0, 1e-4, 500)]
    if name == "log":
        return np.concatenate([np.exp(rng.uniform(-87, 88, 2000)), 1 + rng.uniform(-0.6, 0.6, 4000)]).astype(
            dtype
        )
    if name == "log1p":
        return np.concatenate(
            [rng.uniform(-0.99, 3, 4000), np.exp(rng.uniform(-60, 80, 1000)), near[1]]
        ).astype(dtype)
    far = {"erfc": 9 if dtype is np.float32 else 26, "erf": 6, "tanh": 12}.get(name, 80)
    return np.concatenate([*near, rng.uniform(-far, far, 4000)]).astype(dtype)


def kernel_of(name: str) -> Callable:
    """y = f(x)."""
    function = getattr(elementary, name)

    @cpu_kernel(flat)
    def apply(x, y, first, last):
        map_unary(function, x, y, first, last)

    return apply


@pytest.fixture(scope="module", params=list(ERRORS))
def function(request: pytest.FixtureRequest) -> tuple[str, Callable]:
    return request.param, kernel_of(request.param)


def exact(name: str, x: np.ndarray) -> np.ndarray:
    """By the C library in float64, with infinity where it raises an error."""

    def value(number: float) -> float:
        try:
            return getattr(math, name)(number)
        except OverflowError:
            return math.inf
        except ValueError:
            return -math.inf if number == {"log": 0.0, "log1p": -1.0}[name] else math.nan

    return np.array([value(float(number)) for number in x])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_error(function: tuple[str, Callable], dtype: type) -> None:
    name, kernel = function
    x = arguments(name, dtype)
    y = np.empty_like(x)
    kernel(x, y)
    expected = exact(name, x)
    rounded = expected.astype(dtype)
    error = np.abs(y.astype(np.float64) - expected) / np.spacing(np.abs(rounded)).astype(np.float64)
    limit = ERRORS[name][dtype is np.float64]
    if name in ("erf", "erfc") and not FUSED:
        limit += (1.5 * np.square(x)).max()
    assert error.max() <= limit, f"{name}({x[error.argmax()]!r}): {error.max():.2f} units of the last place"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_numbers(function: tuple[str, Callable], dtype: type) -> None:
    name, kernel = function
    x = np.array(SPECIAL, dtype)
    y = np.empty_like(x)
    kernel(x, y)
    with np.errstate(over="ignore"):
        expected = exact(name, x).astype(dtype)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(y[~finite], expected[~finite])
    np.testing.assert_allclose(
        y[finite], expected[finite], rtol=8 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).smallest_subnormal
    )
    np.testing.assert_array_equal(np.signbit(y[finite]), np.signbit(expected[finite]))


def test_every_element_of_a_vector_and_of_its_rest(function: tuple[str, Callable]) -> None:
    """The vectorised part of a loop and its remainder compute the same bits."""
    name, kernel = function
    x = np.repeat(arguments(name, np.float32)[:40, None], 37, axis=1)
    y = np.empty_like(x)
    for row, out in zip(x, y, strict=True):
        kernel(row, out)
    np.testing.assert_array_equal(y, y[:, :1].repeat(37, axis=1))


def test_python_calls_the_library() -> None:
    assert elementary.exp(1.0) == math.e
    assert elementary.erfc(-0.5) == math.erfc(-0.5)
