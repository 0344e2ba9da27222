"""Layers that encode whole numbers and intervals, against their definitions."""

import numpy as np
import pytest
from layer_harness import round_trip

import fastcnn
from fastcnn import Error, layers

IDS = np.array([[0, 2, 2], [3, 9, -1]])
X = np.random.default_rng(0).normal(size=(400, 2)).astype("float32")


def test_category_encoding():
    counts = [[1, 0, 2, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(layers.CategoryEncoding(4, "count")(IDS), counts)
    np.testing.assert_array_equal(layers.CategoryEncoding(4)(IDS), np.minimum(counts, 1))
    one_hot = layers.CategoryEncoding(4, "one_hot")
    np.testing.assert_array_equal(one_hot(IDS[0]), np.eye(4)[IDS[0]])
    np.testing.assert_array_equal(one_hot(IDS[0][:, None]), one_hot(IDS[0]))
    assert one_hot(IDS).shape == (2, 3, 4)
    assert layers.CategoryEncoding(4, "binary").output_mode == "multi_hot"


def test_counts_are_sums_of_weights():
    weights = np.array([[0.5, 1.0, 2.0], [3.0, 4.0, 5.0]], "float32")
    y = layers.CategoryEncoding(4, "count")(IDS, count_weights=weights)
    np.testing.assert_array_equal(y, [[0.5, 0, 3, 0], [0, 0, 0, 3]])
    with pytest.raises(Error, match="output_mode 'count' only, it is 'multi_hot'"):
        layers.CategoryEncoding(4)(IDS, count_weights=weights)


def test_intervals():
    x = np.array([[-2.0, 0.0], [0.4, 7.0]])
    layer = layers.Discretization([0.0, 1.0])
    np.testing.assert_array_equal(layer(x), [[0, 1], [1, 2]])
    inputs = layers.Input((2,))
    model = fastcnn.Model(inputs, layers.Discretization([0.0, 1.0], output_mode="count")(inputs))
    np.testing.assert_array_equal(model.predict(x, verbose=0), [[1, 1, 0], [0, 1, 1]])


def test_boundaries_divide_the_data_evenly():
    inputs, layer = layers.Input((2,)), layers.Discretization(num_bins=4)
    layer.adapt(X)
    np.testing.assert_allclose(layer.bin_boundaries, np.quantile(X, [0.25, 0.5, 0.75]), atol=0.05)
    model = fastcnn.Model(inputs, layer(inputs))
    before = model.predict(X, verbose=0)
    np.testing.assert_array_equal(round_trip(layer)(X), before)
    layer.adapt([X[:100] + 9, X[100:] + 9])
    np.testing.assert_array_equal(model.predict(X, verbose=0), np.zeros_like(before))
    once = layers.Discretization(num_bins=4)
    once.adapt((X[i : i + 100] for i in range(0, 400, 100)), steps=1)
    np.testing.assert_allclose(once.bin_boundaries, np.quantile(X[:100], [0.25, 0.5, 0.75]), atol=0.1)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: layers.CategoryEncoding(), "num_tokens must be an integer"),
        (lambda: layers.CategoryEncoding(3, "counts"), "did you mean 'count'"),
        (lambda: layers.CategoryEncoding(3, sparse=True), "sparse must be False"),
        (lambda: layers.Discretization(), "either bin_boundaries, or num_bins"),
        (lambda: layers.Discretization([1.0], num_bins=2), "either bin_boundaries, or num_bins"),
        (lambda: layers.Discretization([1.0, 0.0]), "ascending"),
        (lambda: layers.Discretization(num_bins=2)(X), "no boundaries yet"),
        (lambda: layers.Discretization([0.0]).adapt(X), "nothing to adapt"),
        (lambda: layers.Discretization(num_bins=2).adapt([]), "no data"),
    ],
)
def test_errors(act, message):
    with pytest.raises(Error, match=message):
        act()
