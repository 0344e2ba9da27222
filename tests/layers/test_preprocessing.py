"""Layers that bring data into form, against NumPy."""

import numpy as np
import pytest
import reference
from layer_harness import assert_close, round_trip

import fastcnn
from fastcnn import layers

X = np.random.default_rng(0).normal(size=(4, 5, 7, 3)).astype("float32")


def test_rescaling():
    assert_close(layers.Rescaling(1 / 255)(255 * X), X)
    assert_close(layers.Rescaling([1, 2, 3], offset=[0.5, 0, -1])(X), X * [1, 2, 3] + [0.5, 0, -1])
    bytes_ = np.arange(24, dtype="uint8").reshape(2, 3, 4)
    assert_close(layers.Rescaling(2.0, 1.0)(bytes_), bytes_ * 2.0 + 1.0)


@pytest.mark.parametrize("shape", [(4, 5, 7, 3), (4, 7, 1), (6, 3), (2, 3, 40), (2, 2, 3, 2, 5)])
@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_normalization_by_channel(shape, invert, dtype):
    """Few channels and many, whole numbers too; a variance of 0 counts as epsilon squared."""
    rng, c = np.random.default_rng(1), shape[-1]
    mean, variance = rng.uniform(-2, 2, c), rng.uniform(0.5, 4, c)
    variance[0] = 0.0 if invert else variance[0]
    x = rng.integers(0, 9, shape).astype(dtype)
    layer = layers.Normalization(mean=mean, variance=variance, invert=invert)
    deviation = np.maximum(np.sqrt(variance), 1e-7)
    expected = x * deviation + mean if invert else (x - mean) / deviation
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=2e-6)
    model = fastcnn.Sequential([layers.Input(shape[1:]), layer])
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("axis", [-1, None, (1, 3), 2])
def test_adapt_finds_mean_and_variance(axis):
    layer = layers.Normalization(axis)
    layer.adapt(5 + 3 * X)
    kept = () if axis is None else tuple(a % 4 for a in (axis if isinstance(axis, tuple) else (axis,)))
    rest = tuple(a for a in range(4) if a not in kept)
    y = layer(5 + 3 * X)
    assert_close(y.mean(rest), np.zeros(layer.adapt_mean.shape), terms=10**8)
    assert_close(y.std(rest), np.ones(layer.adapt_mean.shape), terms=X.size)
    assert_close(layer.mean, (5 + 3 * X).mean(rest, keepdims=True), terms=X.size)
    assert_close(layer.variance, (5 + 3 * X).var(rest, keepdims=True), terms=X.size)
    back = layers.Normalization(axis, invert=True)
    back.adapt(5 + 3 * X)
    assert_close(back(y), 5 + 3 * X, terms=64)


def test_adapt_to_batches_is_adapt_to_all_of_them():
    whole, parts, pairs = (layers.Normalization(dtype="float64") for _ in range(3))
    x = X.astype("float64") * 2 - 7
    whole.adapt(x)
    parts.adapt([x[:1], x[1:4]])
    pairs.adapt((batch, None) for batch in (x[:3], x[3:]))
    for other in (parts, pairs):
        assert_close(other.mean, whole.mean, "float64", terms=16)
        assert_close(other.variance, whole.variance, "float64", terms=16)


def test_given_statistics():
    layer = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 0.0])
    assert_close(layer(X), (X - [1, 2, 3]) / [1, 2, 1e-7], terms=4)
    assert layer.weights == []
    assert_close(layers.Normalization(mean=2.0, variance=4.0)(X), (X - 2) / 2)
    with pytest.raises(fastcnn.errors.Error, match="nothing to adapt"):
        layer.adapt(X)


def test_statistics_found_are_weights_and_not_configuration():
    layer = layers.Normalization()
    layer.adapt(X)
    assert [w.path.rpartition("/")[2] for w in layer.weights] == ["mean", "variance", "count"]
    assert layer.trainable_weights == []
    again = round_trip(layer)
    again.build(X.shape)
    again.set_weights(layer.get_weights())
    np.testing.assert_array_equal(again(X), layer(X))


@pytest.mark.parametrize(("height", "width"), [(5, 7), (3, 3), (4, 2), (1, 1)])
def test_center_crop(height, width):
    top, left = (5 - height) // 2, (7 - width) // 2
    expected = X[:, top : top + height, left : left + width]
    layer = layers.CenterCrop(height, width)
    np.testing.assert_array_equal(layer(X), expected)
    np.testing.assert_array_equal(layer(X[0]), expected[0])
    assert layer.compute_output_shape((None, None, None, 3)) == (None, height, width, 3)


def test_center_crop_of_smaller_images_resizes():
    x = X[:, :4, 1:5]
    assert_close(layers.CenterCrop(8, 8)(x), reference.upsample_bilinear(x, (2, 2)), terms=4)


def test_resizing():
    assert_close(layers.Resizing(10, 21)(X), reference.upsample_bilinear(X, (2, 3)), terms=4)
    assert_close(layers.Resizing(10, 21, "nearest")(X), reference.upsample_nearest(X, (2, 3)))
    assert layers.Resizing(3, 2).compute_output_shape((None, None, None, 3)) == (None, 3, 2, 3)
    square = layers.Resizing(10, 10, crop_to_aspect_ratio=True)(X)
    assert_close(square, reference.upsample_bilinear(X[:, :, 1:6], (2, 2)), terms=4)
    framed = layers.Resizing(14, 14, pad_to_aspect_ratio=True, fill_value=2.0)(X)
    border = reference.zero_pad(X, ((1, 1), (0, 0)), 2.0)
    assert_close(framed, reference.upsample_bilinear(border, (2, 2)), terms=4)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: layers.Normalization(mean=1.0), "give mean and variance of one shape, or neither"),
        (lambda: layers.Normalization(mean=[1.0, 2.0], variance=[1.0, 2.0])(X), r"the inputs need \(3,\)"),
        (lambda: layers.Normalization(5)(X), "name an axis that an input of shape"),
        (lambda: layers.Normalization().adapt([]), "no data"),
        (lambda: layers.CenterCrop(0, 3), "CenterCrop: height must be at least 1"),
        (lambda: layers.Resizing(3, 3, "cubic"), "interpolation 'cubic' is unknown; did you mean 'bicubic'"),
        (
            lambda: layers.Resizing(3, 3, crop_to_aspect_ratio=True, pad_to_aspect_ratio=True),
            "exclude each other",
        ),
        (lambda: layers.Resizing(3, 3)(X[0, 0]), "expected images"),
    ],
)
def test_bad_input(act, message):
    with pytest.raises(fastcnn.errors.Error, match=message):
        act()
