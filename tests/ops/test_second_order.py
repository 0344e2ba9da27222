"""Gradients of gradients, as penalties on gradients need them, against central differences in float64."""

from typing import Any

import numpy as np
import pytest

from fastcnn import Error, ops
from fastcnn.differentiate import gradient
from fastcnn.graph import gradients

X = np.random.default_rng(0).normal(size=(2, 4, 6, 3))
GAMMA = np.array([0.5, 2.0, -1.0])
STEP = 1e-5

FUNCTIONS = {
    "relu": ops.relu, "relu6": ops.relu6, "sigmoid": ops.sigmoid, "tanh": ops.tanh, "softplus": ops.softplus,
    "log_sigmoid": ops.log_sigmoid, "silu": ops.silu, "elu": lambda x: ops.elu(x, 0.7), "selu": ops.selu,
    "celu": lambda x: ops.celu(x, 0.7), "gelu": lambda x: ops.gelu(x, approximate=False),
    "leaky_relu": lambda x: ops.leaky_relu(x, 0.2), "hard_sigmoid": ops.hard_sigmoid,
    "soft_shrink": ops.soft_shrink, "hard_shrink": ops.hard_shrink,
    "layer_normalization": lambda x: ops.layer_normalization(x, GAMMA, 0.1 * GAMMA, epsilon=0.1),
    "average_pool": lambda x: ops.average_pool(x, 3, strides=2, padding="same"),
    "nearest": lambda x: ops.resize(x, (7, 9), "nearest"), "bilinear": lambda x: ops.resize(x, (7, 9)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_penalty_on_a_gradient(name: str) -> None:
    """d sum(w (dy/dx)^2) / dx of y = sum(f(x)^2) along a direction."""
    weights = np.random.default_rng(1).uniform(0.5, 2.0, X.shape)

    def penalty(x: Any) -> Any:
        (dx,) = gradients(ops.square(FUNCTIONS[name](x)), [x])
        return ops.sum(ops.square(dx) * weights)

    direction = np.random.default_rng(2).normal(size=X.shape)
    slope = np.sum(gradient(penalty)(X) * direction)
    values = [ops.sum(ops.square(gradient(lambda x: ops.square(FUNCTIONS[name](x)))(X + h * direction)) * weights)
              for h in (-STEP, STEP)]  # fmt: skip
    np.testing.assert_allclose(slope, (values[1] - values[0]) / (2 * STEP), rtol=1e-6)


def test_what_has_no_second_derivative_says_so() -> None:
    with pytest.raises(Error, match="Mish has no second derivative here"):
        gradient(lambda x: ops.sum(ops.square(gradients(ops.mish(x), [x])[0])))(X)
