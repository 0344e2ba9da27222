"""Activations against their definitions in float64, and their derivatives against central differences."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
import reference
from fastcnn_kernels import activation
from fastcnn_kernels.jit import CHUNK, Kernel

ALPHA, SCALE = reference.SELU_ALPHA, reference.SELU_SCALE


class Activation(NamedTuple):
    """A pair of kernels with its constants, the definition, which tensor the backward wants, where f' jumps."""

    name: str
    constants: tuple[float, ...]
    definition: Callable[[np.ndarray], np.ndarray]
    wants: str
    kinks: tuple[float, ...] = ()
    backward: str | None = None

    def kernels(self) -> tuple[Kernel, Kernel]:
        backward = self.backward or f"{self.name}_backward"
        return getattr(activation, f"{self.name}_forward"), getattr(activation, backward)


ACTIVATIONS = [
    Activation("relu", (), reference.relu, "y", (0,)),
    Activation("leaky_relu", (0.2,), lambda x: reference.leaky_relu(x, 0.2), "y", (0,)),
    Activation("threshold_relu", (6.0, 0.0, 0.0), reference.relu6, "x", (0, 6)),
    Activation("threshold_relu", (3.0, 0.1, 1.5), lambda x: reference.relu(x, 0.1, 3.0, 1.5), "x", (1.5, 3)),
    Activation("threshold_relu", (np.inf, 0.3, 1.0), lambda x: reference.relu(x, 0.3, None, 1.0), "x", (1,)),
    Activation("hard_sigmoid", (), reference.hard_sigmoid, "y", (-3, 3)),
    Activation("hard_silu", (), reference.hard_silu, "x", (-3, 3)),
    Activation("soft_shrink", (0.5,), reference.soft_shrink, "x", (-0.5, 0.5), "shrink_backward"),
    Activation("hard_shrink", (0.5,), reference.hard_shrink, "x", (-0.5, 0.5), "shrink_backward"),
    Activation("exponential_linear", (1.0, 0.7, 1.0), lambda x: reference.elu(x, 0.7), "y", (0,)),
    Activation("exponential_linear", (1.0, 0.7, 1 / 0.7), lambda x: reference.celu(x, 0.7), "y", (0,)),
    Activation("exponential_linear", (SCALE, ALPHA, 1.0), reference.selu, "y", (0,)),
    Activation("sigmoid", (), reference.sigmoid, "y"),
    Activation("softplus", (), reference.softplus, "x"),
    Activation("log_sigmoid", (), reference.log_sigmoid, "x"),
    Activation("tanh", (), reference.tanh, "y"),
    Activation("tanh_shrink", (), reference.tanh_shrink, "x"),
    Activation("silu", (), reference.silu, "x"),
    Activation("mish", (), reference.mish, "x"),
    Activation("gelu", (), reference.gelu, "x"),
    Activation("gelu_tanh", (), lambda x: reference.gelu(x, approximate=True), "x"),
    Activation("softsign", (), reference.softsign, "x"),
    Activation("squareplus", (4.0,), reference.squareplus, "x"),
]
each_activation = pytest.mark.parametrize("f", ACTIVATIONS, ids=lambda f: f"{f.name}{f.constants or ''}")

Shape = tuple[int, int]
OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]
EXTREMES = np.array([-1e4, -100.0, -20.0, -1e-4, 0.0, 1e-4, 20.0, 100.0, 1e4])


def away_from(kinks: tuple[float, ...], size: int) -> np.ndarray:
    """Inputs at which f is smooth: differences across a kink are not its derivative."""
    x = np.random.default_rng(0).normal(scale=3.0, size=size)
    for kink in kinks:
        x = x[np.abs(x - kink) > 1e-3]
    return x


def slope(f: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """f'(x) by central differences; error about 1e-10 where f is of order 1."""
    step = 1e-5
    return (f(x + step) - f(x - step)) / (2 * step)


def forward(f: Activation, x: np.ndarray) -> np.ndarray:
    y = np.full_like(x, np.nan)
    f.kernels()[0](x, y, *f.constants)
    return y


def backward(f: Activation, dy: np.ndarray, x: np.ndarray) -> np.ndarray:
    dx = np.full_like(x, np.nan)
    f.kernels()[1](dy, x if f.wants == "x" else forward(f, x), dx, *f.constants)
    return dx


def close(actual: np.ndarray, expected: np.ndarray, x: np.ndarray) -> None:
    """At most 8 roundings, of intermediate results no larger than 1 or |x|."""
    eps = np.finfo(x.dtype).eps
    error = np.abs(actual - expected)
    assert np.all(error <= 8 * eps * np.maximum(np.maximum(np.abs(expected), np.abs(x)), 1)), error.max()


@each_activation
def test_forward(f: Activation, dtype: str) -> None:
    x = away_from((), 5000).astype(dtype)
    close(forward(f, x), f.definition(x), x)


@each_activation
def test_backward(f: Activation, dtype: str) -> None:
    x = away_from(f.kinks, 5000).astype(dtype)
    dy = np.random.default_rng(1).normal(size=x.size).astype(dtype)
    expected = dy * slope(f.definition, x.astype(np.float64))
    tolerance = max(32 * np.finfo(dtype).eps, 1e-9)  # differences are exact to about 1e-10
    np.testing.assert_allclose(backward(f, dy, x), expected, rtol=tolerance, atol=4 * tolerance)


@each_activation
def test_extreme_inputs(f: Activation, dtype: str) -> None:
    x = EXTREMES.astype(dtype)
    close(forward(f, x), f.definition(x), x)
    dx = backward(f, np.ones_like(x), x)
    assert np.all(np.isfinite(dx)) and np.all(np.abs(dx) < 2)


@each_activation
def test_nan_comes_through(f: Activation) -> None:
    x = np.array([1.0, np.nan, -1.0], np.float32)
    np.testing.assert_array_equal(np.isnan(forward(f, x)), [False, True, False])
    dy = np.array([np.nan, 1.0, 1.0], np.float32)
    assert np.isnan(backward(f, dy, np.array([1.0, 1.0, 1.0], np.float32))[0])


@each_activation
def test_threads(f: Activation, on_threads: OnThreads) -> None:
    x = away_from((), 5 * CHUNK + 13).astype(np.float32)
    on_threads(lambda: [forward(f, x), backward(f, x[::-1].copy(), x)])


def test_relu_of_infinity() -> None:
    x = np.array([-np.inf, np.inf, -0.0], np.float32)
    y = np.full_like(x, np.nan)
    activation.relu_forward(x, y)
    np.testing.assert_array_equal(y, [0, np.inf, 0])


# --- PReLU ---------------------------------------------------------------------------------------------------

PRELU_SHAPES = [
    pytest.param((7, 5), 3, id="blocks of unequal height"),
    pytest.param((1, 1), 1, id="smallest"),
    pytest.param((300, 33), 4, id="several work items"),
]


def prelu_inputs(shape: Shape, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    return rng.normal(size=shape).astype(dtype), rng.normal(size=shape[1]).astype(dtype)


def prelu_forward(x: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    y = np.full_like(x, np.nan)
    activation.prelu_forward(x, alpha, y)
    return y


@pytest.mark.parametrize("shape, blocks", PRELU_SHAPES)
def test_prelu_forward(shape: Shape, blocks: int, dtype: str, on_threads: OnThreads) -> None:
    x, alpha = prelu_inputs(shape, dtype)
    (y,) = on_threads(lambda: [prelu_forward(x, alpha)])
    np.testing.assert_allclose(y, reference.prelu(x, alpha), rtol=np.finfo(dtype).eps)


def prelu_backward(
    dy: np.ndarray, x: np.ndarray, alpha: np.ndarray, blocks: int
) -> tuple[np.ndarray, np.ndarray]:
    dx, partial = np.full_like(x, np.nan), np.full((blocks, alpha.size), np.nan)
    dalpha = np.full_like(alpha, np.nan)
    activation.prelu_backward(dy, x, alpha, dx, partial)
    activation.prelu_combine(partial, dalpha)
    return dx, dalpha


@pytest.mark.parametrize("shape, blocks", PRELU_SHAPES)
def test_prelu_backward(shape: Shape, blocks: int, dtype: str, on_threads: OnThreads) -> None:
    x, alpha = prelu_inputs(shape, dtype)
    dy = np.random.default_rng(3).normal(size=shape).astype(dtype)
    dx, dalpha = on_threads(lambda: prelu_backward(dy, x, alpha, blocks))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(dx, np.where(x > 0, dy, alpha * dy), rtol=2 * eps)
    # Products are rounded once before they are added in float64.
    products = dy.astype(np.float64) * np.minimum(x, 0)
    np.testing.assert_allclose(dalpha, products.sum(0), rtol=0, atol=2 * eps * np.abs(products).sum(0).max())


# --- over an axis --------------------------------------------------------------------------------------------

ROWS = [
    pytest.param((5, 7), id="nothing equal"),
    pytest.param((1, 1), id="smallest"),
    pytest.param((700, 10), id="several work items"),
    pytest.param((3, 4999), id="rows longer than a work item"),
]


def both_ways(name: str, x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    y, dx = np.full_like(x, np.nan), np.full_like(x, np.nan)
    getattr(activation, f"{name}_forward")(x, y)
    getattr(activation, f"{name}_backward")(dy, y, dx)
    return y, dx


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@pytest.mark.parametrize("shape", ROWS)
def test_softmax(name: str, shape: Shape, dtype: str, on_threads: OnThreads) -> None:
    rng = np.random.default_rng(4)
    x, dy = rng.normal(scale=3, size=shape).astype(dtype), rng.normal(size=shape).astype(dtype)
    y, dx = on_threads(lambda: both_ways(name, x, dy))
    exact, s, d = getattr(reference, name)(x), reference.softmax(x), dy.astype(np.float64)
    eps = np.finfo(dtype).eps
    # The kernel works in float64, where shift and logarithm are of order 10, and rounds once.
    np.testing.assert_allclose(y, exact, rtol=eps, atol=1e-14)
    if name == "softmax":
        expected = s * (d - (d * s).sum(-1, keepdims=True))
    else:
        expected = d - s * d.sum(-1, keepdims=True)
    # y carries one rounding, and meets sums as large as that of |dy|.
    np.testing.assert_allclose(dx, expected, rtol=0, atol=4 * eps * np.abs(d).sum(-1).max() + 1e-14)


def test_softmax_of_extreme_inputs(dtype: str) -> None:
    x = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [3e38, 3e38, -3e38]], dtype)
    y = np.full_like(x, np.nan)
    activation.softmax_forward(x, y)
    np.testing.assert_allclose(y, [[1, 0, 0], [1 / 3] * 3, [0.5, 0.5, 0]], rtol=np.finfo(dtype).eps)
    activation.log_softmax_forward(x[:2], y[:2])
    expected = [[0, -2e4, -1e4], [-np.log(3)] * 3]
    np.testing.assert_allclose(y[:2], expected, rtol=np.finfo(dtype).eps, atol=1e-12)  # 1e4 in float64


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_of_nan_is_nan_in_its_row_only(name: str) -> None:
    x = np.array([[1, np.nan, 2], [1, 2, 3]], np.float32)
    y = np.full_like(x, np.nan)
    getattr(activation, f"{name}_forward")(x, y)
    np.testing.assert_array_equal(np.isnan(y), [[True] * 3, [False] * 3])
