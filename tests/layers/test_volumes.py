"""Layers for volumes (batch, depth, height, width, channels) against their definitions, cell by cell."""

import itertools

import numpy as np
import pytest
from layer_harness import assert_close, check_gradients, prepared

from fastcnn import Error, layers

SHAPE = (2, 5, 4, 6, 4)


def margins(padding, sizes, spans, strides):
    if padding == "valid":
        return [(0, 0)] * 3
    totals = [max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(sizes, spans, strides, strict=True)]
    return [(total // 2, total - total // 2) for total in totals]


def windows(x, kernel, strides, padding, dilation, fill):
    """Output positions, and for each the cells of its window (n, kd, kh, kw, c); cells outside are `fill`."""
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    pads = margins(padding, x.shape[1:4], spans, strides)
    padded = np.pad(x, [(0, 0), *pads, (0, 0)], constant_values=fill)
    counts = [(n - span) // s + 1 for n, span, s in zip(padded.shape[1:4], spans, strides, strict=True)]
    for place in itertools.product(*map(range, counts)):
        first = [p * s for p, s in zip(place, strides, strict=True)]
        cells = [slice(f, f + span, d) for f, span, d in zip(first, spans, dilation, strict=True)]
        yield place, counts, padded[:, cells[0], cells[1], cells[2]]


@pytest.mark.parametrize(
    ("kernel", "strides", "padding", "dilation", "groups"),
    [
        ((2, 3, 2), 1, "valid", 1, 1),
        ((3, 2, 3), (2, 1, 3), "same", 1, 2),
        ((2, 1, 2), 1, "valid", (2, 1, 3), 4),
        ((1, 3, 3), (1, 2, 2), "same", 1, 1),
    ],
)
def test_conv3d(kernel, strides, padding, dilation, groups):
    rng = np.random.default_rng(0)
    layer = layers.Conv3D(8, kernel, strides, padding, dilation_rate=dilation, groups=groups)
    prepared(layer, SHAPE, rng)
    assert layer.kernel.shape == (*kernel, 4 // groups, 8)
    x, w, inner, filters = (
        rng.normal(size=SHAPE).astype("float32"),
        layer.kernel.numpy(),
        4 // groups,
        8 // groups,
    )
    y = layer(x)
    for place, counts, cells in windows(x, kernel, layer.strides, padding, layer.dilation_rate, 0.0):
        assert y.shape == (2, *counts, 8)
        parts = [
            np.tensordot(cells[..., g * inner : (g + 1) * inner], w[..., g * filters : (g + 1) * filters], 4)
            for g in range(groups)
        ]
        assert_close(y[(slice(None), *place)], np.concatenate(parts, -1) + layer.bias.numpy(), terms=200)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("cls", "combine"), [(layers.MaxPooling3D, np.nanmax), (layers.AveragePooling3D, np.nanmean)]
)
def test_pooling(cls, combine, padding):
    x = np.random.default_rng(1).normal(size=SHAPE).astype("float32")
    layer = cls((2, 3, 2), (2, 1, 3), padding)
    y = layer(x)
    for place, counts, cells in windows(x, (2, 3, 2), (2, 1, 3), padding, (1, 1, 1), np.nan):
        assert y.shape == (2, *counts, 4)
        assert_close(y[(slice(None), *place)], combine(cells, axis=(1, 2, 3)))


@pytest.mark.parametrize(
    ("strides", "padding", "extra", "size"),
    [
        (1, "valid", None, (4, 3, 4)),
        ((2, 1, 3), "valid", None, (6, 3, 9)),
        ((2, 1, 3), "same", None, (6, 2, 9)),
        (2, "same", 1, (5, 3, 5)),
        (2, "valid", (1, 0, 1), (7, 4, 7)),
    ],
)
def test_conv3d_transpose_is_the_transpose(strides, padding, extra, size):
    """sum of y conv(x) = sum of x transpose(y), where a convolution of that shape exists; sizes as stated."""
    rng = np.random.default_rng(2)
    layer = layers.Conv3DTranspose(
        3, 2, strides, padding, output_padding=extra, use_bias=False, dtype="float64"
    )
    x = rng.normal(size=(1, 3, 2, 3, 2))
    prepared(layer, x.shape, rng)
    y = layer(x)
    assert y.shape == (1, *size, 3)
    assert layer.kernel.shape == (2, 2, 2, 3, 2)
    direct = layers.Conv3D(2, 2, strides, padding, use_bias=False, dtype="float64")
    prepared(direct, y.shape, rng).kernel.assign(layer.kernel.numpy())
    z = rng.normal(size=y.shape)
    if direct(z).shape == x.shape:
        np.testing.assert_allclose((direct(z) * x).sum(), (z * y).sum(), rtol=1e-10)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv3D(2, 2, (2, 1, 1), "same", activation="sigmoid", dtype="float64"),
        layers.Conv3DTranspose(2, 2, (1, 2, 1), "same", dtype="float64"),
        layers.AveragePooling3D(2, 1, "same", dtype="float64"),
        layers.MaxPooling3D(2, dtype="float64"),
        layers.UpSampling3D((2, 1, 2), dtype="float64"),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_gradients(layer):
    x = np.random.default_rng(3).normal(size=(1, 3, 2, 2, 2))
    prepared(layer, x.shape, np.random.default_rng(4))
    check_gradients(layer, [x])


def test_shapes_of_the_others():
    x = np.random.default_rng(5).normal(size=SHAPE).astype("float32")
    np.testing.assert_array_equal(layers.UpSampling3D((1, 2, 3))(x), x.repeat(2, 2).repeat(3, 3))
    pads = ((1, 2), (0, 3), (1, 1))
    padded = layers.ZeroPadding3D(pads)(x)
    np.testing.assert_array_equal(padded, np.pad(x, ((0, 0), *pads, (0, 0))))
    np.testing.assert_array_equal(layers.Cropping3D(pads)(padded), x)
    assert_close(layers.GlobalAveragePooling3D()(x), x.mean((1, 2, 3)), terms=120)
    np.testing.assert_array_equal(
        layers.GlobalMaxPooling3D(keepdims=True)(x), x.max((1, 2, 3), keepdims=True)
    )
    dropped = layers.SpatialDropout3D(0.5, seed=1)(np.ones((4, 2, 2, 2, 8), "float32"), training=True)
    assert set(np.unique(dropped)) == {0.0, 2.0}
    np.testing.assert_array_equal(dropped.min((1, 2, 3)), dropped.max((1, 2, 3)))
    np.testing.assert_array_equal(layers.AdaptiveMaxPooling3D((5, 4, 6))(x), x)


def test_inputs_that_do_not_fit():
    with pytest.raises(Error, match=r"expected 5 dimensions \(batch, depth, height, width, channels\)"):
        layers.Conv3D(2, 3)(np.zeros((2, 8, 8, 1)))
    with pytest.raises(Error, match="a kernel of depth 6 is larger"):
        layers.Conv3D(2, (6, 1, 1))(np.zeros(SHAPE))
    with pytest.raises(Error, match="the sizes of volumes must be known"):
        layers.MaxPooling3D(2).compute_output_shape((None, None, 4, 4, 1))
