"""Activation layers against the naive definitions."""

import numpy as np
import pytest
import reference
from layer_harness import assert_close, check_gradients, prepared

import fastcnn
from fastcnn import layers

X = 3 * np.random.default_rng(0).normal(size=(2, 3, 4, 5))

CASES = {
    "ReLU": (layers.ReLU, {}, reference.relu),
    "ReLU with everything": (
        layers.ReLU, {"max_value": 2.0, "negative_slope": 0.1, "threshold": 0.5},
        lambda x: reference.relu(x, 0.1, 2.0, 0.5),
    ),
    "ReLU with a threshold": (layers.ReLU, {"threshold": 1.0}, lambda x: reference.relu(x, threshold=1.0)),
    "LeakyReLU": (layers.LeakyReLU, {}, lambda x: reference.leaky_relu(x, 0.3)),
    "LeakyReLU alpha": (layers.LeakyReLU, {"alpha": 0.1}, lambda x: reference.leaky_relu(x, 0.1)),
    "ELU": (layers.ELU, {"alpha": 0.5}, lambda x: reference.elu(x, 0.5)),
    "Softmax": (layers.Softmax, {}, reference.softmax),
    "Softmax along axis 1": (layers.Softmax, {"axis": 1}, lambda x: reference.softmax(x, 1)),
    "Softmax over pixels": (layers.Softmax, {"axis": (1, 2)}, lambda x: reference.softmax(x, (1, 2))),
}  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_values(name, dtype):
    cls, arguments, definition = CASES[name]
    layer = cls(dtype=dtype, **arguments)
    x = X.astype(dtype)
    assert_close(layer(x), definition(x), dtype, terms=16)
    assert layer.compute_output_shape((None, 3, 4, 5)) == (None, 3, 4, 5)


@pytest.mark.parametrize(
    ("shared", "shape"), [(None, (3, 4, 5)), ([1, 2], (1, 1, 5)), ([3], (3, 4, 1)), (1, (1, 4, 5))]
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_prelu(shared, shape, dtype):
    layer = prepared(layers.PReLU(shared_axes=shared, dtype=dtype), X.shape, np.random.default_rng(1))
    assert layer.alpha.shape == shape
    x = X.astype(dtype)
    assert_close(layer(x), reference.prelu(x, layer.alpha.value), dtype)


@pytest.mark.parametrize("shared", [None, [1, 2], [3]])
def test_prelu_gradients(shared):
    layer = prepared(layers.PReLU(shared_axes=shared, dtype="float64"), X.shape, np.random.default_rng(1))
    check_gradients(layer, [X[:, :2, :3].copy()] if shared == [1, 2] else [X.copy()])


def test_bad_input():
    with pytest.raises(fastcnn.errors.Error, match="ReLU: max_value must be a number not below 0"):
        layers.ReLU(-1.0)
    with pytest.raises(fastcnn.errors.Error, match="LeakyReLU: negative_slope"):
        layers.LeakyReLU(None)
    with pytest.raises(fastcnn.errors.Error, match="name an axis that an input of shape"):
        layers.PReLU(shared_axes=[3])(np.ones((2, 3), "float32"))
