"""Layers around other layers, and embeddings."""

import numpy as np
import pytest
from layer_harness import assert_close, check_gradients

import fastcnn
from fastcnn import Error, Input, layers

RNG = np.random.default_rng(0)


def test_time_distributed_applies_the_layer_to_every_step():
    inner = layers.Conv2D(3, 2)
    layer = layers.TimeDistributed(inner)
    x = RNG.normal(size=(2, 4, 5, 6, 2)).astype("float32")
    y = layer(x)
    assert [w.path for w in layer.weights] == [
        "time_distributed/conv2d/kernel",
        "time_distributed/conv2d/bias",
    ]
    assert_close(y, np.stack([inner(x[:, step]) for step in range(4)], axis=1), terms=8)
    assert layer.compute_output_shape((None, 4, 5, 6, 2)) == (None, 4, 4, 5, 3)
    assert layers.TimeDistributed(layers.Flatten())(Input((None, 3, 2))).shape == (None, None, 6)
    with pytest.raises(Error, match=r"at least 3 dimensions \(batch, steps, ...\)"):
        layers.TimeDistributed(layers.Dense(2))(np.ones((2, 3)))


def test_time_distributed_normalises_every_step_by_itself():
    x = RNG.normal(size=(8, 2, 3)).astype("float32")
    layer = layers.TimeDistributed(layers.BatchNormalization(momentum=0.5, epsilon=0.0))
    y = layer(x, training=True)
    assert_close(y, (x - x.mean(0)) / x.std(0), terms=64)
    expected = 0.5 * 0.5 * x[:, 0].mean(0) + 0.5 * x[:, 1].mean(0)
    assert_close(layer.layer.moving_mean.numpy(), expected, terms=8)


def test_spectral_normalization():
    layer = layers.SpectralNormalization(layers.Dense(4, use_bias=False))
    layer.build((None, 3))
    assert [(w.path, w.trainable) for w in layer.weights] == [
        ("spectral_normalization/dense/kernel", True), ("spectral_normalization/vector_u", False),
    ]  # fmt: skip
    kernel, u = RNG.normal(size=(3, 4)), RNG.normal(size=(1, 4))
    layer.set_weights([kernel, u])
    x = np.eye(3, dtype="float32")
    assert_close(layer(x), kernel)
    v = u @ kernel.T
    v /= np.linalg.norm(v)
    u = v @ kernel / np.linalg.norm(v @ kernel)
    expected = kernel / (v @ kernel @ u.T)
    assert_close(layer(x, training=True), expected, terms=64)
    assert_close(layer.kernel.numpy(), expected, terms=64)
    assert_close(layer.vector_u.numpy(), u, terms=64)
    for _ in range(200):
        layer(x, training=True)
    np.testing.assert_allclose(np.linalg.svd(layer.kernel.numpy())[1][0], 1.0, rtol=1e-4)


def test_spectral_normalization_in_training():
    """A step of gradient descent starts from the normalised kernel."""
    inner = layers.Dense(2, use_bias=False, kernel_initializer="ones")
    layer = layers.SpectralNormalization(inner)
    model = fastcnn.Sequential([Input((3,)), layer])
    model.compile(fastcnn.optimizers.SGD(0.5), "mse")
    x, y = np.eye(3, dtype="float32"), np.zeros((3, 2), "float32")
    model.fit(x, y, batch_size=3, verbose=0)
    normalized = np.ones((3, 2)) / np.sqrt(6)
    assert_close(layer.kernel.numpy(), normalized - 0.5 * 2 * normalized / 6, terms=64)
    assert inner.kernel is layer.kernel


def test_what_cannot_be_wrapped():
    with pytest.raises(Error, match="TimeDistributed: expected a layer, got 'relu'"):
        layers.TimeDistributed("relu")
    with pytest.raises(Error, match="'flatten' has neither a kernel nor embeddings"):
        layers.SpectralNormalization(layers.Flatten())(np.ones((2, 3)))


def test_embedding():
    table = RNG.normal(size=(5, 3))
    layer = layers.Embedding(5, 3, weights=[table], dtype="float64")
    index = np.array([[1, 4], [0, 1]])
    np.testing.assert_array_equal(layer(index), table[index])
    assert layer.compute_output_shape((None, 7)) == (None, 7, 3)
    assert [w.path for w in layer.weights] == ["embedding/embeddings"]
    model = fastcnn.Sequential([Input((2,)), layers.Embedding(5, 3, "zeros"), layers.Flatten()])
    model.compile(fastcnn.optimizers.SGD(6.0), "mse")
    model.fit(index, np.ones((2, 6)), batch_size=2, verbose=0)
    expected = np.repeat([[1.0], [2.0], [0.0], [0.0], [1.0]], 3, axis=1)
    assert_close(model.layers[0].embeddings.numpy(), expected)
    with pytest.raises(Error, match="mask_zero is not supported"):
        layers.Embedding(5, 3, mask_zero=True)
    with pytest.raises(Error, match="input_dim must be at least 1"):
        layers.Embedding(0, 3)


def test_rms_normalization():
    x = RNG.normal(size=(2, 3, 4, 5))
    layer = layers.RMSNormalization((1, 3), epsilon=0.1, dtype="float64")
    layer.build(x.shape)
    scale = RNG.normal(size=(3, 5))
    layer.set_weights([scale])
    rms = np.sqrt((x**2).mean((1, 3), keepdims=True) + 0.1)
    np.testing.assert_allclose(layer(x), x / rms * scale[:, None], rtol=1e-10)
    assert layer.weights[0].path == "rms_normalization/scale"
    check_gradients(layer, [x[:1]])
    small = x.astype("float32")
    scaled = layers.LayerNormalization(rms_scaling=True)
    assert_close(scaled(small), small / np.sqrt(small.var(-1, keepdims=True) + 1e-3), terms=16)
    assert [w.name for w in scaled.weights] == ["gamma"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.BatchNormalization([1, 2]), "BatchNormalization: axis must be one integer"),
        (lambda: layers.LayerNormalization("1"), "LayerNormalization: axis must be an integer or a list"),
        (lambda: layers.LayerNormalization((1, 1)), "axis names the same axis twice"),
        (lambda: layers.GroupNormalization(0), "groups must be at least 1, or -1"),
        (lambda: layers.Concatenate(None), "Concatenate: axis must be an integer"),
        (lambda: layers.Permute(5), "Permute: dims must be"),
        (lambda: layers.GaussianNoise(1.5), "stddev must be a number from 0 to 1"),
        (lambda: layers.ELU("a"), "ELU: alpha must be a number"),
        (lambda: layers.Rescaling("a"), "Rescaling: scale must be a number"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(Error, match=message):
        make()


def test_tensors_to_be_merged_have_one_batch():
    with pytest.raises(Error, match="differ in their batch size"):
        layers.Add()([np.ones((3, 4)), np.ones((1, 4))])
    one = layers.Concatenate()([np.ones((3, 4))])
    np.testing.assert_array_equal(one, np.ones((3, 4)))


def test_sparsemax():
    sparsemax = fastcnn.activations.sparsemax
    x = np.array([[1.0, 1.0, 0.0], [3.0, 0.0, 0.0], [0.1, 0.0, -0.1], [0.6, 0.4, -2.0]], "float32")
    expected = [[0.5, 0.5, 0], [1, 0, 0], [13 / 30, 1 / 3, 7 / 30], [0.6, 0.4, 0]]
    np.testing.assert_allclose(sparsemax(x), expected, atol=1e-6)
    np.testing.assert_allclose(sparsemax(x.T, axis=0), np.transpose(expected), atol=1e-6)
    check_gradients(layers.Activation("sparsemax", dtype="float64"), [RNG.normal(size=(3, 5))])


def test_softmax_over_everything():
    x = RNG.normal(size=(2, 3)).astype("float32")
    np.testing.assert_allclose(layers.Softmax(None)(x), np.exp(x) / np.exp(x).sum(), rtol=1e-5)


def test_more_interpolations():
    x = RNG.normal(size=(2, 6, 5, 3)).astype("float32")
    for kind in ("bicubic", "lanczos3", "lanczos5"):
        expected = fastcnn.ops.image.resize(x, (12, 10), kind)
        assert_close(layers.Resizing(12, 10, kind)(x), expected)
        assert_close(layers.UpSampling2D(2, interpolation=kind)(x), expected)
    smooth = layers.Resizing(3, 5, antialias=True)(x)
    np.testing.assert_allclose(smooth, fastcnn.ops.image.resize(x, (3, 5), antialias=True), rtol=1e-6)
    assert not np.allclose(smooth, layers.Resizing(3, 5)(x))
