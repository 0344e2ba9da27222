"""Every layer can be rebuilt from its configuration, and every public name is a layer or makes one."""

import inspect

import numpy as np
import pytest
from layer_harness import randomize, round_trip

import fastcnn
from fastcnn import initializers, layers, registry, regularizers

IMAGE, ROW, VECTOR, VOLUME = (None, 7, 8, 4), (None, 9, 4), (None, 6), (None, 5, 6, 4, 2)

WINDOW = {
    "strides": (2, 1), "padding": "same", "activation": "relu", "use_bias": False,
    "activity_regularizer": "l2", "bias_constraint": "non_neg", "trainable": False,
}  # fmt: skip
KERNEL = {
    "kernel_initializer": initializers.HeNormal(seed=3), "kernel_regularizer": regularizers.L1L2(0.1, 0.2),
    "kernel_constraint": "unit_norm",
}  # fmt: skip
DEPTHWISE = {
    "depthwise_initializer": "he_uniform",
    "depthwise_regularizer": "l1",
    "depthwise_constraint": "max_norm",
}
POINTWISE = {
    "pointwise_initializer": "ones",
    "pointwise_regularizer": "l2",
    "pointwise_constraint": "non_neg",
}
AFFINE = {"beta_initializer": "ones", "gamma_regularizer": "l2", "beta_constraint": "non_neg"}

CASES = [
    (layers.Input((3, 4)).node.operation, (None, 3, 4)),
    (layers.Dense(5, "relu", False, **KERNEL, bias_regularizer="l1"), VECTOR),
    (layers.EinsumDense("...x,xy->...y", 3, "relu", "y", **KERNEL), VECTOR),
    (layers.Attention(True, "concat", 0.1, 3), [ROW, ROW]),
    (layers.AdditiveAttention(False, 0.1), [ROW, ROW]),
    (layers.Activation("gelu"), VECTOR),
    (layers.Identity(name="same"), VECTOR),
    (layers.Conv1D(4, 3, 2, "causal", groups=2, **KERNEL), ROW),
    (layers.Conv1D(4, 3, padding=(2, 1)), ROW),
    (layers.Conv2D(4, (3, 2), groups=2, **WINDOW, **KERNEL), IMAGE),
    (layers.Conv2D(4, (3, 2), dilation_rate=(1, 2)), IMAGE),
    (layers.Conv3D(4, (2, 3, 2), groups=2, strides=(2, 1, 1), padding="same", **KERNEL), VOLUME),
    (layers.Conv3DTranspose(2, 3, (2, 1, 1), "same", output_padding=(1, 0, 0), **KERNEL), VOLUME),
    (layers.Conv2D(4, 3, padding=((1, 0), (2, 1))), IMAGE),
    (layers.Conv1DTranspose(4, 3, 2, "same", 1, **KERNEL), ROW),
    (layers.Conv2DTranspose(4, (3, 2), output_padding=(1, 0), **WINDOW, **KERNEL), IMAGE),
    (layers.DepthwiseConv1D(3, 2, depth_multiplier=2, **DEPTHWISE), ROW),
    (layers.DepthwiseConv2D((3, 2), depth_multiplier=2, dilation_rate=(1, 2), **WINDOW, **DEPTHWISE), IMAGE),
    (layers.SeparableConv1D(5, 3, depth_multiplier=2, **DEPTHWISE, **POINTWISE), ROW),
    (layers.SeparableConv2D(5, (3, 2), depth_multiplier=2, **WINDOW, **DEPTHWISE, **POINTWISE), IMAGE),
    (layers.MaxPooling1D(3, 2, "same", name="pool"), ROW),
    (layers.MaxPooling2D((3, 2), 1, ((1, 0), (0, 1))), IMAGE),
    (layers.MaxPooling3D((2, 3, 2), 1, "same"), VOLUME),
    (layers.AveragePooling3D((2, 3, 2), 1, ((1, 0), (0, 1), (1, 1))), VOLUME),
    (layers.AveragePooling1D(3, 2, "same"), ROW),
    (layers.AveragePooling2D((3, 2), (1, 2), "same"), IMAGE),
    (layers.GlobalAveragePooling1D(keepdims=True), ROW),
    (layers.GlobalAveragePooling2D(keepdims=True), IMAGE),
    (layers.GlobalMaxPooling1D(keepdims=True), ROW),
    (layers.GlobalMaxPooling2D(keepdims=True), IMAGE),
    (layers.GlobalAveragePooling3D(keepdims=True), VOLUME),
    (layers.GlobalMaxPooling3D(keepdims=True), VOLUME),
    (layers.AdaptiveAveragePooling3D((2, 3, 2)), VOLUME),
    (layers.AdaptiveMaxPooling3D((2, 3, 2)), VOLUME),
    (layers.AdaptiveAveragePooling1D(4), ROW),
    (layers.AdaptiveAveragePooling2D((2, 3)), IMAGE),
    (layers.AdaptiveMaxPooling1D(4), ROW),
    (layers.AdaptiveMaxPooling2D((2, 3)), IMAGE),
    (layers.BatchNormalization(1, 0.9, 1e-5, scale=False, moving_variance_initializer="zeros", **AFFINE), IMAGE),
    (layers.LayerNormalization((2, 3), 1e-5, center=False, **AFFINE), IMAGE),
    (layers.GroupNormalization(2, epsilon=1e-5, scale=False, **AFFINE), IMAGE),
    (layers.LayerNormalization(rms_scaling=True), IMAGE),
    (layers.RMSNormalization((2, 3), 1e-5), IMAGE),
    (layers.UnitNormalization(axis=(1, 2)), IMAGE),
    (layers.Embedding(6, 3, "ones", "l2", "non_neg"), VECTOR),
    (layers.TimeDistributed(layers.Conv2D(3, 2)), (None, 3, 5, 4, 2)),
    (layers.SpectralNormalization(layers.Dense(3), 2), VECTOR),
    (layers.Dropout(0.4, (None, 1, 1, 4), seed=7), IMAGE),
    (layers.SpatialDropout1D(0.4, seed=7), ROW),
    (layers.SpatialDropout2D(0.4, seed=7, name="spatial"), IMAGE),
    (layers.SpatialDropout3D(0.4, seed=7), VOLUME),
    (layers.GaussianNoise(0.3, seed=7), IMAGE),
    (layers.GaussianDropout(0.3, seed=7), IMAGE),
    (layers.AlphaDropout(0.3, (None, 1, 1, 4), seed=7), IMAGE),
    (layers.ActivityRegularization(0.1, 0.2), IMAGE),
    (layers.ReLU(6.0, 0.1, 0.5), IMAGE),
    (layers.LeakyReLU(0.2), IMAGE),
    (layers.PReLU("ones", "l2", "non_neg", [1, 2]), IMAGE),
    (layers.ELU(0.5), IMAGE),
    (layers.Softmax((1, 2)), IMAGE),
    (layers.Add(), [IMAGE, IMAGE]),
    (layers.Subtract(), [IMAGE, IMAGE]),
    (layers.Multiply(), [IMAGE, IMAGE]),
    (layers.Average(), [IMAGE, IMAGE]),
    (layers.Maximum(), [IMAGE, IMAGE]),
    (layers.Minimum(), [IMAGE, IMAGE]),
    (layers.Concatenate(1), [IMAGE, IMAGE]),
    (layers.Dot((1, 2), True), [(None, 3, 4), (None, 5, 3)]),
    (layers.Flatten(), IMAGE),
    (layers.Reshape((-1, 8)), IMAGE),
    (layers.Permute((3, 1, 2)), IMAGE),
    (layers.RepeatVector(3), VECTOR),
    (layers.ZeroPadding1D((1, 2)), ROW),
    (layers.ZeroPadding2D(((1, 2), (0, 3))), IMAGE),
    (layers.ZeroPadding3D(((1, 2), (0, 3), (1, 1))), VOLUME),
    (layers.Cropping3D(((1, 2), (0, 3), (1, 1))), VOLUME),
    (layers.UpSampling3D((1, 2, 3)), VOLUME),
    (layers.Cropping1D((1, 2)), ROW),
    (layers.Cropping2D(((1, 2), (0, 3))), IMAGE),
    (layers.UpSampling1D(3), ROW),
    (layers.UpSampling2D((2, 3), interpolation="bilinear"), IMAGE),
    (layers.UpSampling2D(2, interpolation="bicubic"), IMAGE),
    (layers.Resizing(3, 4, "bilinear", antialias=True), IMAGE),
    (layers.Rescaling(0.5, [1.0, 2.0, 3.0, 4.0]), IMAGE),
    (layers.Normalization(-1, [1.0, 2.0, 3.0, 4.0], [1.0, 1.0, 2.0, 2.0], True), IMAGE),
    (layers.CenterCrop(3, 4), IMAGE),
    (layers.CategoryEncoding(5, "count"), VECTOR),
    (layers.Discretization([0.0, 1.5], output_mode="one_hot"), VECTOR),
    (layers.Resizing(3, 4, "nearest", pad_to_aspect_ratio=True, fill_value=1.0), IMAGE),
]  # fmt: skip


def name_of(value):
    return type(value).__name__ if isinstance(value, layers.Layer) else ""


def concrete(shape):
    return tuple(2 if n is None else n for n in shape)


def data(shape):
    rng = np.random.default_rng(1)
    many = isinstance(shape, list)
    arrays = [rng.normal(size=concrete(s)).astype("float32") for s in (shape if many else [shape])]
    return arrays if many else arrays[0]


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=name_of)
def test_round_trip(layer, shape):
    again = round_trip(layer)
    assert again.trainable == layer.trainable
    x = data(shape)
    y = layer(x)
    again(x)
    randomize(layer, np.random.default_rng(2))
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(x), layer(x))
    assert layer.compute_output_shape(shape) == (None, *y.shape[1:])
    assert again.weights == [] or [w.shape for w in again.weights] == [w.shape for w in layer.weights]


def test_every_layer_has_a_case():
    bases = {layers.Layer, layers.Wrapper, layers.InputSpec}
    heads = {layers.GroupQueryAttention, layers.MultiHeadAttention}
    tested = {type(layer) for layer, _ in CASES} | {layers.Lambda, *heads, *bases}
    public = {value for name in layers.__all__ if inspect.isclass(value := getattr(layers, name))}
    pictures = {cls for cls in public if issubclass(cls, layers.ImageLayer | layers.Pipeline)}
    assert public - tested == pictures - tested  # test_augmentation.py has them all
    known = set(registry.registry("layer").values())
    assert {cls for cls in public if cls not in (layers.Layer, layers.InputSpec)} <= known


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("Conv2D", "conv2d"),
        ("Conv2DTranspose", "conv2d_transpose"),
        ("MaxPooling2D", "max_pooling2d"),
        ("BatchNormalization", "batch_normalization"),
        ("GlobalAveragePooling2D", "global_average_pooling2d"),
        ("PReLU", "p_re_lu"),
    ],
)
def test_automatic_names_are_those_of_keras(name, first):
    fastcnn.registry.reset_names()
    arguments = {"Conv2D": (1, 1), "Conv2DTranspose": (1, 1)}.get(name, ())
    made = [getattr(layers, name)(*arguments).name for _ in range(3)]
    assert made == [first, f"{first}_1", f"{first}_2"]
