"""Pooling layers against the naive definition."""

import numpy as np
import pytest
import reference
from layer_harness import assert_close, check_gradients

import fastcnn
from fastcnn import layers

DTYPES = ["float32", "float64"]


def random_pool(rng, rank, size):
    while True:
        pool = tuple(int(k) for k in rng.integers(1, 5, rank))
        strides = None if rng.integers(2) else tuple(int(s) for s in rng.integers(1, 4, rank))
        padding = ("valid", "same", "explicit")[rng.integers(3)]
        if padding == "explicit":
            padding = tuple((int(rng.integers(0, k)), int(rng.integers(0, k))) for k in pool)
        fits = all(k <= n for k, n in zip(pool, size, strict=True))
        if fits:
            return pool, strides, padding


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(10))
def test_pooling2d(seed, dtype):
    rng = np.random.default_rng(seed)
    size = tuple(int(n) for n in rng.integers(4, 9, 2))
    pool, strides, padding = random_pool(rng, 2, size)
    x = rng.normal(size=(2, *size, 3)).astype(dtype)
    for cls, definition in (
        (layers.MaxPooling2D, reference.max_pool2d),
        (layers.AveragePooling2D, reference.average_pool2d),
    ):
        layer = cls(pool, strides, padding, dtype=dtype)
        y = layer(x)
        assert_close(y, definition(x, pool, strides, padding), dtype, terms=pool[0] * pool[1])
        assert layer.compute_output_shape((None, *x.shape[1:])) == (None, *y.shape[1:])


@pytest.mark.parametrize("seed", range(6))
def test_pooling1d(seed):
    rng = np.random.default_rng(seed)
    length = int(rng.integers(5, 10))
    pool, strides, padding = random_pool(rng, 1, (length,))
    x = rng.normal(size=(2, length, 3)).astype("float32")
    pads = padding if isinstance(padding, str) else ((0, 0), *padding)
    stride = (1, *(strides or pool))
    maximum = layers.MaxPooling1D(pool, strides, padding)(x)
    mean = layers.AveragePooling1D(pool, strides, padding)(x)
    assert_close(maximum, reference.max_pool2d(x[:, None], (1, *pool), stride, pads)[:, 0])
    assert_close(mean, reference.average_pool2d(x[:, None], (1, *pool), stride, pads)[:, 0], terms=pool[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("keepdims", [False, True])
def test_global_pooling(keepdims, dtype):
    x = np.random.default_rng(0).normal(size=(3, 5, 7, 2)).astype(dtype)
    mean = layers.GlobalAveragePooling2D(keepdims=keepdims, dtype=dtype)
    maximum = layers.GlobalMaxPooling2D(keepdims=keepdims, dtype=dtype)
    assert_close(mean(x), reference.global_average_pool2d(x, keepdims), dtype, terms=35)
    assert_close(maximum(x), reference.global_max_pool2d(x, keepdims), dtype)
    row, options = x[:, 0], {"keepdims": keepdims, "dtype": dtype}
    assert_close(layers.GlobalAveragePooling1D(**options)(row), row.mean(1, keepdims=keepdims), dtype, 7)
    assert_close(layers.GlobalMaxPooling1D(**options)(row), row.max(1, keepdims=keepdims), dtype)
    assert mean.compute_output_shape((None, 5, 7, 2)) == ((None, 1, 1, 2) if keepdims else (None, 2))


@pytest.mark.parametrize("size", [(3, 4), (1, 1), (7, 5), (2, 9)])
def test_adaptive_pooling(size):
    x = np.random.default_rng(1).normal(size=(2, 7, 5, 3)).astype("float32")
    for reduce, cls, line in (
        (np.mean, layers.AdaptiveAveragePooling2D, layers.AdaptiveAveragePooling1D),
        (np.max, layers.AdaptiveMaxPooling2D, layers.AdaptiveMaxPooling1D),
    ):
        expected = np.empty((2, *size, 3))
        for i, j in np.ndindex(*size):
            rows = slice(i * 7 // size[0], -(-(i + 1) * 7 // size[0]))
            columns = slice(j * 5 // size[1], -(-(j + 1) * 5 // size[1]))
            expected[:, i, j] = reduce(x[:, rows, columns], axis=(1, 2))
        assert_close(cls(size)(x), expected, terms=35)
        assert_close(line(7)(x[:, :, 0]), x[:, :, 0])


@pytest.mark.parametrize(
    "layer",
    [
        layers.MaxPooling2D((2, 3), (1, 2), "same", dtype="float64"),
        layers.AveragePooling2D((3, 2), 2, "same", dtype="float64"),
        layers.GlobalMaxPooling2D(dtype="float64"),
        layers.GlobalAveragePooling2D(dtype="float64"),
        layers.AdaptiveAveragePooling2D((2, 3), dtype="float64"),
        layers.AdaptiveMaxPooling2D((2, 3), dtype="float64"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_gradients(layer):
    x = np.random.default_rng(2).permutation(2 * 4 * 5 * 2).reshape(2, 4, 5, 2) / 10.0
    check_gradients(layer, [x])


def test_aliases():
    assert layers.MaxPool2D is layers.MaxPooling2D
    assert layers.AvgPool1D is layers.AveragePooling1D
    assert layers.GlobalAvgPool2D is layers.GlobalAveragePooling2D


def test_bad_input():
    with pytest.raises(fastcnn.errors.Error, match="MaxPooling2D: pool_size must be at least 1"):
        layers.MaxPooling2D(0)
    with pytest.raises(fastcnn.errors.Error, match="expected 4 dimensions"):
        layers.MaxPooling2D()(np.zeros((2, 8, 8), "float32"))
    with pytest.raises(fastcnn.errors.Error, match="expected 3 dimensions"):
        layers.GlobalMaxPooling1D()(np.zeros((2, 8), "float32"))
    with pytest.raises(fastcnn.errors.Error, match="layer 'big'"):
        layers.AveragePooling2D(5, name="big")(np.zeros((2, 4, 4, 1), "float32"))
