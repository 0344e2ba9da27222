"""Layers that are random in training: what they do on average, and that they repeat themselves."""

import numpy as np
import pytest
from layer_harness import assert_close, backward

import fastcnn
from fastcnn import layers

ONES = np.ones((64, 8, 8, 16), "float32")  # 65536 numbers: a frequency is within 0.01 of its probability
RANDOM = [
    lambda seed: layers.Dropout(0.3, seed=seed),
    lambda seed: layers.SpatialDropout2D(0.3, seed=seed),
    lambda seed: layers.GaussianNoise(0.3, seed=seed),
    lambda seed: layers.GaussianDropout(0.3, seed=seed),
    lambda seed: layers.AlphaDropout(0.3, seed=seed),
]
names = pytest.mark.parametrize("make", RANDOM, ids=lambda make: type(make(0)).__name__)


@names
def test_nothing_happens_outside_training(make):
    layer = make(1)
    np.testing.assert_array_equal(layer(ONES), ONES)
    np.testing.assert_array_equal(layer(ONES, training=False), ONES)
    assert layer.weights == []
    assert layer.count_params() == 0


@names
def test_a_seed_repeats_the_sequence_and_each_step_differs(make):
    first, second, other = make(1), make(1), make(2)
    steps = [first(ONES, training=True) for _ in range(3)]
    for step in steps:
        np.testing.assert_array_equal(step, second(ONES, training=True))
    assert not np.array_equal(steps[0], steps[1])
    assert not np.array_equal(steps[0], other(ONES, training=True))


@names
def test_without_a_seed_layers_differ_until_the_process_is_seeded(make):
    fastcnn.config.set_random_seed(3)
    one, two = make(None)(ONES, training=True), make(None)(ONES, training=True)
    assert not np.array_equal(one, two)
    fastcnn.config.set_random_seed(3)
    np.testing.assert_array_equal(make(None)(ONES, training=True), one)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_mean(rate, dtype):
    y = layers.Dropout(rate, seed=1, dtype=dtype)(ONES.astype(dtype), training=True)
    assert y.dtype == dtype
    np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-6)
    assert abs((y == 0).mean() - rate) < 0.01
    assert abs(y.mean() - 1) < 0.05


def test_dropout_at_the_ends_of_the_range():
    np.testing.assert_array_equal(layers.Dropout(0.0)(ONES, training=True), ONES)
    np.testing.assert_array_equal(layers.Dropout(1.0)(ONES, training=True), 0 * ONES)


def test_noise_shape_repeats_the_mask():
    y = layers.Dropout(0.5, noise_shape=(None, 1, 1, 16), seed=1)(ONES, training=True)
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    assert 0.4 < (y == 0).mean() < 0.6
    spatial = layers.SpatialDropout2D(0.5, seed=1)(ONES, training=True)
    np.testing.assert_array_equal(spatial, np.broadcast_to(spatial[:, :1, :1], y.shape))
    rows = layers.SpatialDropout1D(0.5, seed=1)(ONES[:, 0], training=True)
    np.testing.assert_array_equal(rows, np.broadcast_to(rows[:, :1], rows.shape))
    assert 0.4 < (rows == 0).mean() < 0.6


@names
def test_frozen_layers_are_random_all_the_same(make):
    layer = make(1)
    layer.trainable = False
    assert not np.array_equal(layer(ONES, training=True), ONES)


def test_gradient_passes_where_the_value_passed():
    x = np.random.default_rng(0).normal(size=(5, 40)).astype("float32")
    y = layers.Dropout(0.5, seed=4)(x, training=True)
    (dx,), _ = backward(layers.Dropout(0.5, seed=4), [x], np.ones_like(x), training=True)
    np.testing.assert_array_equal(dx, np.where(y == 0, 0, 2).astype("float32"))


def test_gaussian_noise_and_gaussian_dropout():
    noise = layers.GaussianNoise(0.3, seed=1)(ONES, training=True) - 1
    assert abs(noise.mean()) < 0.01
    assert abs(noise.std() - 0.3) < 0.01
    factor = layers.GaussianDropout(0.2, seed=1)(ONES, training=True)
    assert abs(factor.mean() - 1) < 0.01
    assert abs(factor.std() - np.sqrt(0.2 / 0.8)) < 0.01


def test_alpha_dropout_keeps_mean_and_variance():
    x = np.random.default_rng(0).normal(size=ONES.shape).astype("float32")
    y = layers.AlphaDropout(0.2, seed=1)(x, training=True)
    assert abs(y.mean()) < 0.02
    assert abs(y.std() - 1) < 0.02
    shared = layers.AlphaDropout(0.5, noise_shape=(None, 1, 1, 16), seed=1)(ONES, training=True)
    np.testing.assert_array_equal(shared, np.broadcast_to(shared[:, :1, :1], shared.shape))


def test_activity_regularization_adds_to_the_loss():
    from fastcnn.graph import Trace, tracing
    from fastcnn.plan import Function

    layer = layers.ActivityRegularization(l1=0.5, l2=0.25)
    x = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    np.testing.assert_array_equal(layer(x), x)

    def penalty(tensor):
        with tracing(Trace(training=True)) as trace:
            layer(tensor)
        return trace.losses[0]

    assert_close(
        Function(penalty)(x), (0.5 * np.abs(x).sum() + 0.25 * (x**2).sum()) / 3, terms=12
    )  # of 3 samples


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: layers.Dropout(1.5), "Dropout: rate must be a number from 0 to 1, got 1.5"),
        (lambda: layers.Dropout("half"), "rate must be a number"),
        (lambda: layers.Dropout(0.5, noise_shape="images"), "noise_shape"),
        (
            lambda: layers.Dropout(0.5, noise_shape=(None, 3))(np.ones((2, 4), "float32"), training=True),
            "noise_shape",
        ),
        (lambda: layers.GaussianDropout(1.0), "rate must be below 1"),
        (lambda: layers.AlphaDropout(1.0), "rate must be below 1"),
        (lambda: layers.GaussianNoise(-0.1), "stddev must be"),
        (lambda: layers.SpatialDropout2D(0.5)(np.ones((2, 4), "float32")), "expected 4 dimensions"),
    ],
)
def test_bad_input(act, message):
    with pytest.raises(fastcnn.errors.Error, match=message):
        act()
