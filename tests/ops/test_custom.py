"""Functions with gradients of the user's."""

from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import Error, Input, layers, ops
from fastcnn.differentiate import gradient

X = np.array([[0.5, -1.0, 40.0]], np.float32)


def reversed_by(*args: Any, upstream: Any = None) -> Any:
    return -2.0 * (args[0] if upstream is None else upstream)


@ops.custom_gradient
def reversal(x: Any) -> Any:
    """x, with its gradient turned round, as domains are made alike by adversaries."""
    return x * 1.0, reversed_by


@pytest.mark.parametrize(
    "rule", [lambda dy: 3.0 * dy, lambda *xs, upstream: (3.0 * upstream,), lambda upstream: [3.0 * upstream]]
)
def test_forms_of_the_rule(rule: Any) -> None:
    function = ops.custom_gradient(lambda x: (ops.square(x), rule))
    np.testing.assert_array_equal(function(X), X**2)
    np.testing.assert_array_equal(gradient(lambda x: 2.0 * function(x))(X), np.full_like(X, 6.0))


def test_in_a_layer_that_is_trained() -> None:
    class Reversal(layers.Layer):
        def call(self, x: Any) -> Any:
            return reversal(x)

    inputs = Input((3,))
    dense = layers.Dense(3, use_bias=False, kernel_initializer="identity")
    model = fastcnn.Model(inputs, Reversal()(dense(inputs)))
    np.testing.assert_allclose(model.predict(X, verbose=0), X)
    plain = fastcnn.Sequential([Input((3,)), layers.Dense(3, use_bias=False, kernel_initializer="identity")])
    for trained in (model, plain):
        trained.compile(fastcnn.optimizers.SGD(0.125), "mse")
        trained.train_on_batch(X, X - 1.0)
    step, usual = (np.eye(3) - kernel.numpy() for kernel in (dense.kernel, plain.layers[-1].kernel))
    np.testing.assert_allclose(step, -2.0 * usual, rtol=1e-5)


def test_errors() -> None:
    two = ops.custom_gradient(lambda x, y: (x * y, lambda dy: dy))
    with pytest.raises(Error, match="expected 2 gradients, one an argument, got 1"):
        gradient(lambda x: two(x, x))(X)
    with pytest.raises(Error, match="in the call"):
        reversal(Input((3,)))
