"""Activations beyond the rows of their table: open shapes, extremes, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.ops.activation import LeakyRelu, Relu, ThresholdRelu
from fastcnn.tensor import Tensor


@pytest.mark.parametrize(
    "arguments, op",
    [
        ({}, Relu()),
        ({"negative_slope": 0.1}, LeakyRelu(0.1)),
        ({"max_value": 6}, ThresholdRelu(6.0, 0.0, 0.0)),
        ({"threshold": 1, "negative_slope": 0.5}, ThresholdRelu(None, 0.5, 1.0)),
    ],
)
def test_relu_is_the_simplest_op_that_will_do(arguments: dict[str, float], op: Any) -> None:
    assert ops.relu(Tensor((None, 3)), **arguments).node.operation == op


@pytest.mark.parametrize(
    "function", [ops.relu, ops.gelu, ops.softmax, lambda x: ops.softmax(x, (1, 2)), ops.glu]
)
def test_open_dimensions(function: Callable[[Tensor], Tensor]) -> None:
    y = function(Tensor((None, 5, 4)))
    assert y.shape == ((None, 5, 2) if function is ops.glu else (None, 5, 4))


@pytest.mark.parametrize(
    "alpha, fits",
    [((5, 4), True), ((1, 4), True), ((5, 1), True), ((4,), True), ((3, 4), False), ((2, 5, 4), False)],
)
def test_prelu_shapes(alpha: tuple[int, ...], fits: bool) -> None:
    if fits:
        assert ops.prelu(Tensor((None, 5, 4)), Tensor(alpha)).shape == (None, 5, 4)
    else:
        with pytest.raises(Error, match="does not fit"):
            ops.prelu(Tensor((None, 5, 4)), Tensor(alpha))


def test_prelu_with_open_images() -> None:
    assert ops.prelu(Tensor((None, None, None, 4)), Tensor((1, 1, 4))).shape == (None, None, None, 4)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda x: ops.leaky_relu(x, -0.1), "leaky_relu: negative_slope must be 0 or more, got -0.1"),
        (lambda x: ops.relu(x, threshold=-1), "relu: threshold must be 0 or more, got -1"),
        (lambda x: ops.elu(x, float("nan")), "elu: alpha must be 0 or more, got nan"),
        (lambda x: ops.celu(x, 0), "celu: alpha must be positive, got 0"),
        (lambda x: ops.squareplus(x, 0), "squareplus: b must be positive, got 0"),
        (lambda x: ops.soft_shrink(x, -1), "soft_shrink: threshold must be 0 or more, got -1"),
        (lambda x: ops.softmax(x, 2), "axis 2 is out of range"),
    ],
)
def test_refused(call: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(Error, match=message):
        call(Tensor((2, 3)))


def test_now_on_arrays() -> None:
    np.testing.assert_array_equal(ops.relu(np.array([-1, 2], np.float32)), [0, 2])
