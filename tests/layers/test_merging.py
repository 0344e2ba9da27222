"""Merging layers against NumPy."""

import numpy as np
import pytest
from layer_harness import assert_close, check_gradients

import fastcnn
from fastcnn import layers

RNG = np.random.default_rng(0)
X, Y, Z = (RNG.normal(size=(2, 3, 4, 5)).astype("float32") for _ in range(3))


@pytest.mark.parametrize(
    ("layer", "function", "expected"),
    [
        (layers.Add(), layers.add, X + Y + Z),
        (layers.Multiply(), layers.multiply, X * Y * Z),
        (layers.Average(), layers.average, (X + Y + Z) / 3),
        (layers.Maximum(), layers.maximum, np.maximum(np.maximum(X, Y), Z)),
        (layers.Minimum(), layers.minimum, np.minimum(np.minimum(X, Y), Z)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, layers.Layer) else "",
)
def test_elementwise(layer, function, expected):
    assert_close(layer([X, Y, Z]), expected, terms=3)
    assert_close(function([X, Y, Z]), expected, terms=3)
    assert layer.compute_output_shape([(None, 3, 4, 5)] * 3) == (None, 3, 4, 5)


def test_subtract():
    assert_close(layers.Subtract()([X, Y]), X - Y)
    assert_close(layers.subtract([X, Y]), X - Y)
    with pytest.raises(fastcnn.errors.Error, match="expected a list of 2 tensors, got 3"):
        layers.Subtract()([X, Y, Z])


def test_axes_of_size_one_and_missing_axes_are_repeated():
    scale, vector = Y[:, :1, :1], Y[:, 0, 0]
    assert_close(layers.Multiply()([X, scale]), X * scale)
    assert_close(layers.Add()([vector, X]), X + vector[:, None, None])
    assert layers.Multiply().compute_output_shape([(None, 3, 4, 5), (None, 1, 1, 5)]) == (None, 3, 4, 5)


@pytest.mark.parametrize("axis", [-1, 1, 2, 3])
def test_concatenate(axis):
    assert_close(layers.Concatenate(axis)([X, Y, Z]), np.concatenate([X, Y, Z], axis))
    assert_close(layers.concatenate([X, Y], axis=axis), np.concatenate([X, Y], axis))


def test_concatenate_of_different_sizes():
    assert_close(layers.Concatenate()([X, Y[..., :2]]), np.concatenate([X, Y[..., :2]], -1))
    with pytest.raises(fastcnn.errors.Error, match="concatenate"):
        layers.Concatenate()([X, Y[:, :2]])


@pytest.mark.parametrize(
    ("axes", "a", "b", "formula"),
    [
        (1, (2, 5), (2, 5), "nk,nk->n"),
        ((2, 1), (2, 3, 4), (2, 4, 5), "nak,nkb->nab"),
        ((1, 2), (2, 4, 3), (2, 5, 4), "nka,nbk->nab"),
        (-1, (2, 3, 4), (2, 4), "nak,nk->na"),
        ((1, 3), (2, 4), (2, 3, 5, 4), "nk,nabk->nab"),
        ((1, 1), (2, 4, 3, 2), (2, 4, 5), "nkab,nkc->nabc"),
    ],
)
def test_dot(axes, a, b, formula):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=a).astype("float32"), rng.normal(size=b).astype("float32")
    expected = np.einsum(formula, x, y)
    expected = expected if expected.ndim > 1 else expected[:, None]
    layer = layers.Dot(axes)
    assert_close(layer([x, y]), expected, terms=5)
    assert layer.compute_output_shape([a, b]) == expected.shape


def test_dot_of_normalized_vectors_is_a_cosine():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(3, 5)), rng.normal(size=(3, 5))
    cosine = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    assert_close(layers.dot([x, y], axes=1, normalize=True)[:, 0], cosine, terms=5)


def test_dot_checks_its_axes():
    with pytest.raises(fastcnn.errors.Error, match="axes must be an integer or a pair"):
        layers.Dot("last")
    with pytest.raises(fastcnn.errors.Error, match="name the batch axis"):
        layers.Dot(0)([X, Y])
    with pytest.raises(fastcnn.errors.Error, match="must have equal sizes, got 4 of"):
        layers.Dot((2, 1))([X, Y])


@pytest.mark.parametrize("given", [X, [], "text"], ids=["array", "nothing", "text"])
def test_a_list_is_needed(given):
    with pytest.raises(fastcnn.errors.Error, match="layer 'join'"):
        layers.Add(name="join")(given)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Add(dtype="float64"),
        layers.Average(dtype="float64"),
        layers.Subtract(dtype="float64"),
        layers.Multiply(dtype="float64"),
        layers.Maximum(dtype="float64"),
        layers.Concatenate(1, dtype="float64"),
        layers.Dot((2, 2), normalize=True, dtype="float64"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_gradients(layer):
    rng = np.random.default_rng(3)
    check_gradients(layer, [rng.normal(size=(2, 2, 3)), rng.normal(size=(2, 2, 3))])
