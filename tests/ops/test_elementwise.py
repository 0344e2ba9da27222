"""Arithmetic beyond the rows of its table: open shapes, plain numbers, ties, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.graph import gradients
from fastcnn.ops.elementwise import Affine
from fastcnn.plan import Function
from fastcnn.tensor import Tensor, Variable


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


# --- shapes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "first, second, common",
    [
        ((None, 4), (4,), (None, 4)),
        ((None, 1), (1, 4), (None, 4)),
        ((None, 4), (None, 4), (None, 4)),
        ((None, None, None, 8), (None, 1, 1, 8), (None, None, None, 8)),
        ((None, 3), (5, 3), (5, 3)),
        ((), (None, 2), (None, 2)),
    ],
)
def test_open_dimensions(first: tuple, second: tuple, common: tuple) -> None:
    """While a functional model is built the batch is open: it must stay so, and not become 1."""
    assert ops.add(Tensor(first), Tensor(second)).shape == common
    assert ops.add(Tensor(second), Tensor(first)).shape == common


@pytest.mark.parametrize("operation", [ops.add, ops.power, ops.maximum, ops.greater])
def test_shapes_that_do_not_fit(operation: Callable[..., Any]) -> None:
    with pytest.raises(Error, match=r"shapes \(2, 3\) and \(2, 4\) do not fit"):
        operation(numbers(2, 3), numbers(2, 4))


def test_dtypes_that_do_not_fit() -> None:
    with pytest.raises(Error, match="add: got tensors of float32 and float64"):
        ops.add(Tensor((2,)), Tensor((2,), "float64"))
    assert ops.add(numbers(2), numbers(2).astype(np.float64)).dtype == "float64"
    assert ops.square(Tensor((2,), "int32")).dtype == "int32"


def test_bias_of_another_length() -> None:
    with pytest.raises(Error, match=r"bias_add: expected \(..., c\) and \(c,\), got \(2, 3\) and \(2,\)"):
        ops.bias_add(numbers(2, 3), numbers(2))


# --- plain numbers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function, scale, offset",
    [
        (lambda x: x + 2, 1, 2),
        (lambda x: 2 + x, 1, 2),
        (lambda x: x - 2, 1, -2),
        (lambda x: 2 - x, -1, 2),
        (lambda x: x * np.float32(3), 3, 0),
        (lambda x: x / 4, 0.25, 0),
        (lambda x: -x, -1, 0),
    ],
)
def test_numbers_are_attributes(function: Callable[[Tensor], Tensor], scale: float, offset: float) -> None:
    y = function(Tensor((2, 3)))
    assert y.node is not None and y.node.operation == Affine(scale, offset) and len(y.node.inputs) == 1


def test_neutral_numbers_cost_nothing() -> None:
    x = Tensor((2, 3))
    assert x + 0 is x and x * 1 is x and x**1 is x and x / 1 is x


def test_division_by_zero() -> None:
    np.testing.assert_array_equal(
        ops.divide(np.array([1, -1, 0], np.float32), 0), np.array([np.inf, -np.inf, np.nan], np.float32)
    )


def test_arrays_take_the_dtype_of_tensors() -> None:
    x = Tensor((2, 3), "float64")
    assert (x + numbers(3)).dtype == "float64"
    assert (np.ones((4, 1, 1), np.int64) * x).shape == (4, 2, 3)


# --- gradients ---------------------------------------------------------------------------------------------------


def gradient(function: Callable[..., Any], *xs: np.ndarray) -> Any:
    return Function(lambda *tensors: gradients(function(*tensors), tensors))(*xs)


@pytest.mark.parametrize("operation", [ops.maximum, ops.minimum])
def test_the_first_of_equals_takes_the_gradient(operation: Callable[..., Any]) -> None:
    dx1, dx2 = gradient(operation, np.ones(3, np.float32), np.ones(3, np.float32))
    np.testing.assert_array_equal(dx1, np.ones(3))
    np.testing.assert_array_equal(dx2, np.zeros(3))


def test_clip_passes_the_gradient_on_its_bounds() -> None:
    (dx,) = gradient(lambda x: ops.clip(x, -1.0, 1.0), np.array([-1.1, -1, 0, 1, 1.1], np.float32))
    np.testing.assert_array_equal(dx, [0, 1, 1, 1, 0])


def test_power_of_zero() -> None:
    """d x ** 2 at 0 is 0; the exponent's gradient, 0 ln 0, is taken to be 0."""
    dx1, dx2 = gradient(ops.power, np.zeros(2, np.float32), np.array([2, 3], np.float32))
    np.testing.assert_array_equal(dx1, np.zeros(2))
    np.testing.assert_array_equal(dx2, np.zeros(2))


def test_stop_gradient() -> None:
    x = numbers(4)
    (dx,) = gradient(lambda x: x * ops.stop_gradient(x), x)
    np.testing.assert_array_equal(dx, x)
    assert Function(lambda x: gradients(ops.stop_gradient(x), [x]))(x) == [None]


def test_comparisons_have_no_gradient() -> None:
    assert Function(lambda x: gradients(x > 0.0, [x]))(numbers(3)) == [None]


def test_a_variable_used_twice_adds_up() -> None:
    w = Variable(np.float32(3.0))
    dw = Function(lambda x: gradients(ops.sum(w * x + w), [w])[0])(np.array([1, 2], np.float32))
    assert dw == 1 + 2 + 2


# --- refused -----------------------------------------------------------------------------------------------------


def test_clip_with_bounds_in_the_wrong_order() -> None:
    with pytest.raises(Error, match="x_min=2 is larger than x_max=1"):
        ops.clip(numbers(2), 2, 1)
