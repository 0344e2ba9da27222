"""Layers that move numbers, against NumPy."""

import numpy as np
import pytest
import reference
from layer_harness import assert_close, check_gradients

import fastcnn
from fastcnn import layers

X = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype("float32")
ROW = X[:, 0]  # (2, 4, 5)

CASES = [
    (layers.Flatten(), X, X.reshape(2, 60)),
    (layers.Flatten(), X[:, 0, 0, 0], X[:, 0, 0, :1]),
    (layers.Reshape((12, 5)), X, X.reshape(2, 12, 5)),
    (layers.Reshape((-1, 10)), X, X.reshape(2, 6, 10)),
    (layers.Reshape((60,)), X, X.reshape(2, 60)),
    (layers.Permute((3, 1, 2)), X, X.transpose(0, 3, 1, 2)),
    (layers.Permute((2, 1)), ROW, ROW.transpose(0, 2, 1)),
    (layers.RepeatVector(3), X[:, 0, 0], np.repeat(X[:, 0, 0][:, None], 3, 1)),
    (layers.ZeroPadding2D(), X, reference.zero_pad(X, ((1, 1), (1, 1)))),
    (layers.ZeroPadding2D((2, 1)), X, reference.zero_pad(X, ((2, 2), (1, 1)))),
    (layers.ZeroPadding2D(((1, 0), (2, 3))), X, reference.zero_pad(X, ((1, 0), (2, 3)))),
    (layers.ZeroPadding1D(), ROW, np.pad(ROW, ((0, 0), (1, 1), (0, 0)))),
    (layers.ZeroPadding1D((2, 1)), ROW, np.pad(ROW, ((0, 0), (2, 1), (0, 0)))),
    (layers.Cropping2D(((1, 0), (1, 2))), X, X[:, 1:, 1:2]),
    (layers.Cropping2D(1), X, X[:, 1:-1, 1:-1]),
    (layers.Cropping2D(), X, X),
    (layers.Cropping1D(), ROW, ROW[:, 1:-1]),
    (layers.Cropping1D((2, 0)), ROW, ROW[:, 2:]),
    (layers.UpSampling2D(), X, reference.upsample_nearest(X, (2, 2))),
    (layers.UpSampling2D((3, 1)), X, reference.upsample_nearest(X, (3, 1))),
    (layers.UpSampling2D((2, 3), interpolation="bilinear"), X, reference.upsample_bilinear(X, (2, 3))),
    (layers.UpSampling1D(3), ROW, np.repeat(ROW, 3, 1)),
]


def name_of(value):
    return type(value).__name__ if isinstance(value, layers.Layer) else ""


@pytest.mark.parametrize(("layer", "x", "expected"), CASES, ids=name_of)
def test_values_and_shape(layer, x, expected):
    assert_close(layer(x), expected, terms=4)
    assert layer.compute_output_shape(x.shape) == expected.shape
    assert layer.compute_output_shape((None, *x.shape[1:])) == (None, *expected.shape[1:])


def test_flatten_of_images_whose_size_varies():
    layer = layers.Flatten()
    assert layer.compute_output_shape((None, None, 4, 5)) == (None, None)
    assert layer(X).shape == (2, 60)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Permute((2, 3, 1), dtype="float64"), (2, 2, 3, 2)),
        (layers.ZeroPadding2D(((1, 0), (0, 2)), dtype="float64"), (2, 2, 3, 2)),
        (layers.Cropping2D(((1, 0), (0, 1)), dtype="float64"), (2, 3, 3, 2)),
        (layers.UpSampling2D((2, 1), dtype="float64"), (2, 2, 3, 2)),
        (layers.UpSampling2D((2, 3), interpolation="bilinear", dtype="float64"), (1, 2, 3, 2)),
        (layers.RepeatVector(3, dtype="float64"), (2, 4)),
    ],
    ids=lambda v: type(v).__name__,
)
def test_gradients(layer, shape):
    check_gradients(layer, [np.random.default_rng(1).normal(size=shape)])


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: layers.Reshape((7, -1))(X), "has 60 numbers, which do not fill"),
        (lambda: layers.Reshape((-1, -1)), "at most one size can be -1"),
        (lambda: layers.Permute((1, 3)), "must be the numbers 1 to 2 in any order"),
        (lambda: layers.Permute((2, 1))(X), "need 3 dimensions, got shape"),
        (lambda: layers.RepeatVector(0), "RepeatVector: n must be at least 1"),
        (lambda: layers.RepeatVector(2)(X), r"expected 2 dimensions \(batch, features\)"),
        (lambda: layers.ZeroPadding2D(-1), "padding must be at least 0"),
        (lambda: layers.ZeroPadding2D((1, 2, 3)), "padding takes an integer, 2 integers or 2 pairs"),
        (lambda: layers.Cropping2D(((2, 1), (0, 0)))(X), "leaves nothing of an input of shape"),
        (lambda: layers.UpSampling2D(2, interpolation="linear"), "did you mean 'bilinear'"),
        (lambda: layers.UpSampling2D(2)(ROW), "expected 4 dimensions"),
    ],
)
def test_bad_input(act, message):
    with pytest.raises(fastcnn.errors.Error, match=message):
        act()
