"""Activations by name against the naive definitions, on arrays and as parts of layers."""

import json

import numpy as np
import pytest
import reference
from reference import numeric_gradient, relative_error

import fastcnn
from fastcnn import activations, layers, ops
from fastcnn.differentiate import gradient


def sparse_plus(x):
    return np.where(x <= -1, 0.0, np.where(x < 1, (x + 1) ** 2 / 4, x))


def sparsemax(x):
    """max(x - t, 0), with t found by halving an interval in which the sum passes 1."""
    low, high = x.max(-1, keepdims=True) - 1.0, x.max(-1, keepdims=True)
    for _ in range(60):
        middle = (low + high) / 2
        is_low = np.maximum(x - middle, 0).sum(-1, keepdims=True) > 1
        low, high = np.where(is_low, middle, low), np.where(is_low, high, middle)
    return np.maximum(x - (low + high) / 2, 0)


DEFINITIONS = {
    "celu": reference.celu, "elu": reference.elu, "exponential": reference.exponential, "gelu": reference.gelu,
    "glu": reference.glu, "hard_shrink": reference.hard_shrink, "hard_sigmoid": reference.hard_sigmoid,
    "hard_silu": reference.hard_silu, "hard_swish": reference.hard_silu, "hard_tanh": reference.hard_tanh,
    "leaky_relu": reference.leaky_relu, "linear": reference.linear, "log_sigmoid": reference.log_sigmoid,
    "log_softmax": reference.log_softmax, "mish": reference.mish, "relu": reference.relu, "relu6": reference.relu6,
    "selu": reference.selu, "sigmoid": reference.sigmoid, "silu": reference.silu, "swish": reference.silu,
    "soft_shrink": reference.soft_shrink, "softmax": reference.softmax, "softplus": reference.softplus,
    "softsign": reference.softsign, "squareplus": reference.squareplus, "tanh": reference.tanh,
    "tanh_shrink": reference.tanh_shrink, "sparse_plus": sparse_plus,
    "sparse_sigmoid": lambda x: np.clip((x + 1) / 2, 0, 1), "sparsemax": sparsemax,
}  # fmt: skip

# No value within 0.01 of a point where a derivative jumps (0, +-0.5, +-1, +-3, 6).
X = np.setdiff1d(np.arange(-8, 8, 0.13).round(2), [0, 0.5, -0.5, 1, -1, 3, -3, 6])[:120].reshape(3, 10, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_values(name, dtype):
    function = getattr(activations, name)
    assert activations.get(name) is function
    y = function(X.astype(dtype))
    assert y.dtype == dtype
    expected = DEFINITIONS[name](X.astype(dtype))
    tolerance = 16 * np.finfo(dtype).eps
    np.testing.assert_allclose(
        y, expected, rtol=tolerance, atol=tolerance * max(1, np.abs(expected).max() / 100)
    )


@pytest.mark.parametrize("name", DEFINITIONS)
def test_gradients(name):
    weights = np.random.default_rng(0).normal(size=DEFINITIONS[name](X).shape)
    analytic = gradient(lambda x: ops.sum(activations.get(name)(x) * weights))(X)
    numeric = numeric_gradient(lambda x: float((DEFINITIONS[name](x) * weights).sum()), X)
    assert relative_error(analytic, numeric) < 1e-6


@pytest.mark.parametrize("name", [*DEFINITIONS, "threshold"])
def test_serialization(name):
    function = activations.get(name)
    data = json.loads(json.dumps(activations.serialize(function)))
    assert activations.deserialize(data) is function


def test_every_public_name_is_tested():
    functions = set(activations.__all__) - {"get", "serialize", "deserialize", "threshold"}
    assert functions == set(DEFINITIONS)


def test_arguments():
    assert activations.gelu(X[:1], approximate=True)[0, 0, 0] != activations.gelu(X[:1])[0, 0, 0]
    np.testing.assert_allclose(activations.leaky_relu(X, 0.01), reference.leaky_relu(X, 0.01))
    np.testing.assert_allclose(activations.softmax(X, axis=1), reference.softmax(X, 1))
    np.testing.assert_allclose(activations.threshold(X, 1.0, -2.0), np.where(X > 1, X, -2.0))
    np.testing.assert_allclose(activations.relu(X, max_value=2.0), reference.relu(X, max_value=2.0))


def test_none_is_linear():
    assert activations.get(None) is activations.linear
    assert layers.Dense(3).activation is activations.linear


def squash(x):
    return x / (1.0 + ops.square(x))


def test_a_function_of_the_user():
    layer = layers.Dense(3, activation=squash)
    x = np.random.default_rng(0).normal(size=(2, 4)).astype("float32")
    y = layer(x)
    product = x @ layer.kernel.value
    np.testing.assert_allclose(y, product / (1 + product**2), rtol=1e-5, atol=1e-6)
    again = layers.Dense.from_config(json.loads(json.dumps(layer.get_config())))
    assert again.activation is squash


def test_unknown_names():
    with pytest.raises(fastcnn.errors.Error, match="unknown activation 'sofmax'; did you mean 'softmax'"):
        activations.get("sofmax")
