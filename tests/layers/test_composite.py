"""Layers made of layers, as users write them, and shapes that are not known until data comes."""

import numpy as np
import pytest
from layer_harness import assert_close, check_gradients, prepared, round_trip

from fastcnn import layers, ops


class ResidualBlock(layers.Layer):
    """Two convolutions with batch normalisation, and a short cut."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        inner = {"padding": "same", "use_bias": False, "dtype": self.dtype}
        self.first = layers.Conv2D(filters, 3, **inner)
        self.second = layers.SeparableConv2D(filters, (3, 1), **inner)
        self.norms = [layers.BatchNormalization(epsilon=0.1, dtype=self.dtype) for _ in range(2)]

    def call(self, x):
        y = ops.silu(self.norms[0](self.first(x)))
        y = self.norms[1](self.second(y))
        return ops.tanh(y + x)


class Classifier(layers.Layer):
    """Convolution, pooling, dense: everything a small network consists of."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        options = {"dtype": self.dtype}
        self.stack = [
            layers.ZeroPadding2D(((1, 0), (0, 1)), **options),
            layers.Conv2D(4, 2, strides=(1, 2), activation="gelu", **options),
            layers.GroupNormalization(2, epsilon=0.1, **options),
            layers.AveragePooling2D(2, 1, **options),
            layers.PReLU(shared_axes=[1, 2], **options),
            layers.Conv2DTranspose(2, 2, 2, **options),
            layers.Flatten(**options),
            layers.Dense(3, activation="log_softmax", **options),
        ]

    def call(self, x):
        for layer in self.stack:
            x = layer(x)
        return x


@pytest.mark.parametrize("training", [True, False])
def test_residual_block_gradients(training):
    shape = (2, 3, 4, 2)
    block = ResidualBlock(2, dtype="float64")
    block(np.zeros(shape))
    prepared(block, shape, np.random.default_rng(0))
    check_gradients(block, [np.random.default_rng(1).normal(size=shape)], training)


def test_classifier_gradients():
    shape = (2, 3, 5, 2)
    network = Classifier(dtype="float64")
    network(np.zeros(shape))
    prepared(network, shape, np.random.default_rng(0))
    check_gradients(network, [np.random.default_rng(1).normal(size=shape)])


def test_weights_and_freezing_of_a_block():
    block = ResidualBlock(3)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    block(x)
    assert [w.path.rpartition("/")[2] for w in block.trainable_weights] == [
        "kernel", "depthwise_kernel", "pointwise_kernel", "gamma", "beta", "gamma", "beta",
    ]  # fmt: skip
    assert len(block.weights) == 11
    block.trainable = False
    assert block.trainable_weights == []
    before = block.get_weights()
    block(x, training=True)
    for old, new in zip(before, block.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    again = round_trip(block)
    again.trainable = False
    again(x)
    again.set_weights(before)
    np.testing.assert_array_equal(again(x), block(x))


UNKNOWN = [
    (layers.Conv2D(5, 3), (None, None, None, 5)),
    (layers.Conv2D(5, 3, 2, "same"), (None, None, None, 5)),
    (layers.Conv2DTranspose(5, 3, 2), (None, None, None, 5)),
    (layers.DepthwiseConv2D(3), (None, None, None, 4)),
    (layers.SeparableConv2D(5, 3), (None, None, None, 5)),
    (layers.MaxPooling2D(), (None, None, None, 4)),
    (layers.AveragePooling2D(2, padding="same"), (None, None, None, 4)),
    (layers.AdaptiveAveragePooling2D(3), (None, 3, 3, 4)),
    (layers.AdaptiveMaxPooling2D(3), (None, 3, 3, 4)),
    (layers.GlobalAveragePooling2D(), (None, 4)),
    (layers.BatchNormalization(), (None, None, None, 4)),
    (layers.LayerNormalization(), (None, None, None, 4)),
    (layers.GroupNormalization(2), (None, None, None, 4)),
    (layers.UpSampling2D(), (None, None, None, 4)),
    (layers.ZeroPadding2D(), (None, None, None, 4)),
    (layers.Cropping2D(1), (None, None, None, 4)),
    (layers.Resizing(3, 2), (None, 3, 2, 4)),
    (layers.Dropout(0.5), (None, None, None, 4)),
    (layers.Dense(3), (None, None, None, 3)),
    (layers.Activation("softmax"), (None, None, None, 4)),
    (layers.Reshape((-1, 4)), (None, None, 4)),
]


@pytest.mark.parametrize(
    ("layer", "expected"), UNKNOWN, ids=lambda v: "" if isinstance(v, tuple) else type(v).__name__
)
def test_image_sizes_may_be_open(layer, expected):
    assert layer.compute_output_shape((None, None, None, 4)) == expected
    for size in [(5, 6), (8, 4)]:
        y = layer(np.zeros((2, *size, 4), "float32"))
        assert len(y.shape) == len(expected)
        assert all(n in (None, m) for n, m in zip(expected, y.shape, strict=True))


@pytest.mark.parametrize(
    "layer", [layers.Dropout(0.5), layers.GaussianNoise(0.1), layers.AlphaDropout(0.1, (None, 1))]
)
def test_noise_can_be_asked_for_always(layer):
    """`layer(x, training=True)` in a functional description."""
    x = layers.Input((4,))
    assert layer(x, training=True).shape == (None, 4)


def test_input_shape_of_older_scripts():
    assert layers.Conv2D(4, 3, input_shape=(28, 28, 1)).given_input_shape == (28, 28, 1)
    assert layers.Dense(4, input_dim=3).given_input_shape == (3,)
    assert layers.Flatten(batch_input_shape=(None, 4, 5)).given_input_shape == (4, 5)


def test_shared_layers_accumulate_gradients():
    """y = dense(x) + dense(2 x) has the gradient of 3 dense(x) for the kernel."""
    from fastcnn.graph import gradients
    from fastcnn.plan import Function

    layer = prepared(layers.Dense(3, use_bias=False), (2, 4), np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(2, 4)).astype("float32")
    (dw,) = Function(lambda x: gradients(layers.add([layer(x), layer(2.0 * x)]), [layer.kernel]))(x)
    assert_close(dw, np.repeat(3 * x.sum(0)[:, None], 3, 1), terms=8)
