"""Input, Dense, and functions as layers."""

import numpy as np
import pytest
import reference
from layer_harness import assert_close, check_gradients, prepared, round_trip

import fastcnn
from fastcnn import layers, ops

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 5, 3), (2, 3, 1, 9)])
@pytest.mark.parametrize("use_bias", [True, False])
def test_dense(shape, use_bias, dtype):
    layer = prepared(layers.Dense(6, use_bias=use_bias, dtype=dtype), shape, np.random.default_rng(1))
    x = RNG.normal(size=shape).astype(dtype)
    bias = layer.bias.value if use_bias else None
    y = layer(x)
    assert y.dtype == dtype
    assert_close(y, reference.dense(x, layer.kernel.value, bias), dtype, terms=shape[-1])
    assert layer.compute_output_shape((None, *shape[1:])) == (None, *shape[1:-1], 6)


def test_dense_weights():
    layer = layers.Dense(4, name="head")
    layer.build((None, 3))
    assert [(w.path, w.shape) for w in layer.weights] == [("head/kernel", (3, 4)), ("head/bias", (4,))]
    np.testing.assert_array_equal(layer.bias.value, 0)
    assert np.abs(layer.kernel.value).max() <= np.sqrt(6 / 7)


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4)])
def test_dense_gradients(shape):
    layer = prepared(layers.Dense(3, activation="tanh", dtype="float64"), shape, np.random.default_rng(2))
    check_gradients(layer, [RNG.normal(size=shape)])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: layers.Dense(0), "Dense: units must be at least 1, got 0"),
        (lambda: layers.Dense("ten"), "Dense: units must be an integer"),
        (
            lambda: layers.Dense(3)(np.zeros(4, "float32")),
            r"expected \(batch, ..., features\), got shape \(4,\)",
        ),
        (lambda: layers.Dense(3)(layers.Input((None,))), "the number of features must be known"),
        (lambda: prepared(layers.Dense(3), (2, 4), RNG)(np.zeros((2, 5), "float32")), "made for 4 features"),
    ],
)
def test_dense_on_bad_input(act, message):
    with pytest.raises(fastcnn.errors.Error, match=message):
        act()


def test_input_is_a_named_tensor_of_an_input_layer():
    x = layers.Input((28, None, 1), name="images")
    assert (x.shape, x.dtype, x.name) == ((None, 28, None, 1), "float32", "images")
    layer = x.node.operation
    assert isinstance(layer, layers.InputLayer)
    assert layer.output is x
    assert layer.batch_shape == (None, 28, None, 1)
    assert layers.Input(shape=5).shape == (None, 5)
    assert layers.Input((3,), batch_size=7).shape == (7, 3)
    assert layers.Input(batch_shape=(2, 3)).shape == (2, 3)
    assert layers.Input((3,), dtype="uint8").dtype == "float32"
    assert layers.Input((3,), dtype="float64").dtype == "float64"
    assert layers.InputLayer(input_shape=(3,)).batch_shape == (None, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give either shape, without the batch, or batch_shape"),
        ({"shape": (3,), "batch_shape": (None, 3)}, "give either shape"),
        ({"batch_shape": (None, 3), "batch_size": 3}, "leave out batch_size"),
        ({"shape": (3, 0)}, "shape must be at least 1"),
        ({"shape": (3,), "sparse": True}, "not supported"),
    ],
)
def test_bad_inputs(arguments, message):
    with pytest.raises(fastcnn.errors.Error, match=message):
        layers.Input(**arguments)


def test_activation_by_name_and_by_function():
    x = RNG.normal(size=(3, 4)).astype("float32")
    assert_close(layers.Activation("tanh")(x), np.tanh(x))
    assert_close(layers.Activation(lambda x: x * 2.0)(x), 2 * x)
    np.testing.assert_array_equal(layers.Identity()(x), x)


def double(x, factor=2.0):
    return x * factor


def test_lambda():
    x = RNG.normal(size=(3, 4)).astype("float32")
    assert_close(layers.Lambda(lambda x: ops.sum(x, axis=1))(x), x.sum(1), terms=4)
    assert_close(layers.Lambda(double, arguments={"factor": 3.0})(x), 3 * x)
    assert layers.Lambda(double, output_shape=(4,)).compute_output_shape((None, 4)) == (None, 4)
    with pytest.raises(fastcnn.errors.Error, match="expected a function"):
        layers.Lambda(3)
    with pytest.raises(fastcnn.errors.Error, match="masks are not supported"):
        layers.Lambda(double, mask=double)


def test_lambda_is_told_the_mode_where_it_asks():
    layer = layers.Lambda(lambda x, training: x * (2.0 if training else 1.0))
    x = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=True), 2 * x)


def test_lambda_of_a_named_function_is_saved():
    again = round_trip(layers.Lambda(double, arguments={"factor": 3.0}, name="triple"))
    x = np.ones((1, 2), "float32")
    np.testing.assert_array_equal(again(x), 3 * x)
    with pytest.raises(fastcnn.errors.Error, match="has no name"):
        layers.Lambda(lambda x: x).get_config()
