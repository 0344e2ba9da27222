"""Normalisation layers against the naive definitions, and the life of moving statistics."""

import numpy as np
import pytest
import reference
from layer_harness import assert_close, check_gradients, prepared

import fastcnn
from fastcnn import layers

DTYPES = ["float32", "float64"]
RNG = np.random.default_rng(0)


def zeros(*shape):
    return np.zeros(shape, "float32")


def values(layer):
    return [w.value.copy() for w in layer.weights]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "axis"), [((4, 5, 3, 6), -1), ((7, 3), -1), ((3, 4, 5), 2), ((2, 3, 4, 5), 1)]
)
def test_batch_normalization(shape, axis, dtype):
    layer = prepared(layers.BatchNormalization(axis, dtype=dtype), shape, np.random.default_rng(1))
    x = (3 + RNG.normal(size=shape)).astype(dtype)
    gamma, beta, mean, variance = values(layer)
    terms = x.size // shape[axis]
    expected = reference.batch_norm_inference(x, gamma, beta, mean, variance, axis=axis)
    assert_close(layer(x), expected, dtype, terms=16)
    expected, batch_mean, batch_variance = reference.batch_norm_training(x, gamma, beta, axis=axis)
    assert_close(layer(x, training=True), expected, dtype, terms=16 * terms)
    assert_close(layer.moving_mean.value, reference.moving_average(mean, batch_mean), dtype, terms)
    assert_close(
        layer.moving_variance.value, reference.moving_average(variance, batch_variance), dtype, terms
    )
    assert layer.compute_output_shape((None, *shape[1:])) == (None, *shape[1:])


def test_weights_have_the_order_of_keras():
    layer = prepared(layers.BatchNormalization(name="bn"), (None, 4, 4, 3), RNG)
    names = ["gamma", "beta", "moving_mean", "moving_variance"]
    assert [w.path for w in layer.weights] == [f"bn/{name}" for name in names]
    assert [w.path for w in layer.trainable_weights] == ["bn/gamma", "bn/beta"]
    plain = layers.BatchNormalization(center=False, scale=False)
    plain.build((None, 3))
    assert [w.name for w in plain.weights] == ["moving_mean", "moving_variance"]
    start = layers.BatchNormalization()
    start.build((None, 2))
    assert [w.value.tolist() for w in start.weights] == [[1, 1], [0, 0], [0, 0], [1, 1]]


def test_moving_statistics_after_several_steps():
    layer = layers.BatchNormalization(momentum=0.8, dtype="float64")
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(5):
        x = RNG.normal(size=(4, 2, 2, 3)) * 2 + 1
        layer(x, training=True)
        batch_mean, batch_variance = reference.batch_statistics(x)
        mean = reference.moving_average(mean, batch_mean, 0.8)
        variance = reference.moving_average(variance, batch_variance, 0.8)
    assert_close(layer.moving_mean.value, mean, "float64", terms=16)
    assert_close(layer.moving_variance.value, variance, "float64", terms=16)
    kept = values(layer)
    layer(x)
    for before, after in zip(kept, values(layer), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_frozen_layer_uses_and_keeps_its_moving_statistics():
    layer = prepared(layers.BatchNormalization(), (4, 3, 3, 2), np.random.default_rng(1))
    x = RNG.normal(size=(4, 3, 3, 2)).astype("float32")
    trained = layer(x, training=True)
    layer.trainable = False
    kept = values(layer)
    frozen = layer(x, training=True)
    np.testing.assert_array_equal(frozen, layer(x, training=False))
    assert not np.allclose(frozen, trained)
    for before, after in zip(kept, values(layer), strict=True):
        np.testing.assert_array_equal(before, after)
    assert layer.trainable_weights == []
    layer.trainable = True
    np.testing.assert_array_equal(layer(x, training=True), trained)
    assert not np.array_equal(layer.moving_mean.value, kept[2])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("axis", [-1, 1])
def test_batch_normalization_gradients(axis, training):
    shape = (2, 3, 2, 4)
    layer = prepared(
        layers.BatchNormalization(axis, 0.9, 0.1, dtype="float64"), shape, np.random.default_rng(1)
    )
    check_gradients(layer, [RNG.normal(size=shape)], training)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [-1, (2, 3), (1, 2, 3), 1])
def test_layer_normalization(axis, dtype):
    shape = (2, 3, 4, 5)
    layer = prepared(layers.LayerNormalization(axis, dtype=dtype), shape, np.random.default_rng(1))
    axes = (axis,) if isinstance(axis, int) else axis
    assert [w.shape for w in layer.weights] == [tuple(shape[a] for a in axes)] * 2
    x = RNG.normal(size=shape).astype(dtype)
    expected = reference.layer_norm(x, layer.gamma.value, layer.beta.value, axis)
    assert_close(layer(x), expected, dtype, terms=60)
    np.testing.assert_array_equal(layer(x, training=True), layer(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups", [1, 2, 3, 6, -1])
def test_group_normalization(groups, dtype):
    shape = (2, 3, 4, 6)
    layer = prepared(layers.GroupNormalization(groups, dtype=dtype), shape, np.random.default_rng(1))
    x = RNG.normal(size=shape).astype(dtype)
    expected = reference.group_norm(x, layer.gamma.value, layer.beta.value, groups)
    assert_close(layer(x), expected, dtype, terms=72)


def test_group_normalization_along_another_axis():
    x = RNG.normal(size=(2, 6, 4)).astype("float32")
    layer = prepared(layers.GroupNormalization(3, axis=1), x.shape, np.random.default_rng(1))
    moved = reference.group_norm(x.swapaxes(1, 2), layer.gamma.value, layer.beta.value, 3)
    assert_close(layer(x), moved.swapaxes(1, 2), terms=8)


@pytest.mark.parametrize("axis", [-1, 1, (1, 2)])
def test_unit_normalization(axis):
    x = RNG.normal(size=(2, 3, 4)).astype("float32")
    x[0] = 0.0
    y = layers.UnitNormalization(axis)(x)
    length = np.sqrt((x**2).sum(axis, keepdims=True))
    assert_close(y, x / np.maximum(length, 1e-12), terms=12)
    np.testing.assert_array_equal(y[0], 0)


@pytest.mark.parametrize(
    "layer",
    [
        layers.LayerNormalization(epsilon=0.1, dtype="float64"),
        layers.LayerNormalization((1, 2), epsilon=0.1, scale=False, dtype="float64"),
        layers.GroupNormalization(2, epsilon=0.1, dtype="float64"),
        layers.UnitNormalization(dtype="float64"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_gradients(layer):
    shape = (2, 3, 4)
    check_gradients(prepared(layer, shape, np.random.default_rng(1)), [RNG.normal(size=shape)])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: layers.BatchNormalization(axis=0)(zeros(2, 3)), "axis 0 is not an axis after the batch"),
        (lambda: layers.BatchNormalization(axis=4)(zeros(2, 3)), "axis 4 is not an axis"),
        (lambda: layers.BatchNormalization(momentum=2.0), "momentum must be a number from 0 to 1"),
        (lambda: layers.BatchNormalization(epsilon=-1), "epsilon must be a number not below 0"),
        (lambda: layers.BatchNormalization(renorm=True), "renorm is not supported"),
        (lambda: prepared(layers.BatchNormalization(), (2, 3), RNG)(zeros(2, 4)), "made for 3 channels"),
        (lambda: layers.GroupNormalization(4)(zeros(2, 6)), "6 channels cannot be divided into groups=4"),
        (lambda: layers.LayerNormalization()(layers.Input((3, None))), "must be known"),
    ],
)
def test_bad_input(act, message):
    with pytest.raises(fastcnn.errors.Error, match=message):
        act()
