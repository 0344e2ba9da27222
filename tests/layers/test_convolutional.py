"""Convolution layers against the naive definition, on shapes and configurations where nothing is equal."""

import numpy as np
import pytest
import reference
from layer_harness import assert_close, check_gradients, prepared

import fastcnn
from fastcnn import layers

DTYPES = ["float32", "float64"]


def random_window(rng, rank, size, padding=("valid", "same"), both=False):
    """Kernel, strides, dilation and padding that fit a size; both: strides and dilation at once."""
    while True:
        kernel = tuple(int(k) for k in rng.integers(1, 5, rank))
        dilation = tuple(int(d) for d in rng.integers(1, 3, rank))
        strides = tuple(int(s) for s in rng.integers(1, 4, rank))
        chosen = padding[rng.integers(len(padding))]
        extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        if chosen == "explicit":
            chosen = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (rank, 2)))
            room = [n + sum(pad) for n, pad in zip(size, chosen, strict=True)]
        else:
            room = [10**6 if chosen != "valid" else n for n in size]
        if not both and max(strides) > 1 and max(dilation) > 1:
            continue
        if all(extent <= n for extent, n in zip(extents, room, strict=True)):
            return kernel, strides, dilation, chosen


def plane(values, fill):
    return (fill, *values) if len(values) == 1 else tuple(values)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(12))
def test_conv2d(seed, dtype):
    rng = np.random.default_rng(seed)
    size = tuple(int(n) for n in rng.integers(4, 9, 2))
    kernel, strides, dilation, padding = random_window(rng, 2, size, ("valid", "same", "explicit"))
    groups = int(rng.integers(1, 4))
    channels, filters = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 6))
    use_bias = bool(rng.integers(2))
    layer = layers.Conv2D(
        filters,
        kernel,
        strides,
        padding,
        dilation_rate=dilation,
        groups=groups,
        use_bias=use_bias,
        dtype=dtype,
    )
    shape = (2, *size, channels)
    prepared(layer, shape, rng)
    x = rng.normal(size=shape).astype(dtype)
    y = layer(x)
    bias = layer.bias.value if use_bias else None
    expected = reference.conv2d(x, layer.kernel.value, bias, strides, padding, dilation, groups)
    assert_close(y, expected, dtype, terms=layer.kernel.value[..., 0].size)
    assert y.dtype == dtype
    assert layer.compute_output_shape((None, *shape[1:])) == (None, *y.shape[1:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(8))
def test_conv1d(seed, dtype):
    rng = np.random.default_rng(seed)
    length, channels, filters = int(rng.integers(6, 12)), 3, int(rng.integers(1, 6))
    padding = ("valid", "same", "explicit", "causal")
    kernel, strides, dilation, padding = random_window(rng, 1, (length,), padding)
    layer = layers.Conv1D(filters, kernel, strides, padding, dilation_rate=dilation, dtype=dtype)
    prepared(layer, (2, length, channels), rng)
    x = rng.normal(size=(2, length, channels)).astype(dtype)
    pads = ((0, 0), ((kernel[0] - 1) * dilation[0], 0)) if padding == "causal" else padding
    pads = ((0, 0), *pads) if isinstance(pads, tuple) and len(pads) == 1 else pads
    expected = reference.conv2d(
        x[:, None], layer.kernel.value[None], layer.bias.value, plane(strides, 1), pads, plane(dilation, 1)
    )
    y = layer(x)
    assert_close(y, expected[:, 0], dtype, terms=kernel[0] * channels)
    assert layer.compute_output_shape((2, length, channels)) == y.shape


def test_causal_output_sees_no_later_input():
    rng = np.random.default_rng(0)
    layer = prepared(layers.Conv1D(4, 3, padding="causal", dilation_rate=2), (1, 9, 2), rng)
    x = rng.normal(size=(1, 9, 2)).astype("float32")
    changed = x.copy()
    changed[:, 5:] += 1.0
    before, after = layer(x), layer(changed)
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert not np.array_equal(before[:, 5], after[:, 5])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(12))
def test_conv2d_transpose(seed, dtype):
    rng = np.random.default_rng(seed)
    size = tuple(int(n) for n in rng.integers(2, 6, 2))
    kernel, strides, dilation, padding = random_window(rng, 2, (9, 9))
    extra = None if rng.integers(2) else tuple(int(rng.integers(0, s)) for s in strides)
    layer = layers.Conv2DTranspose(
        4, kernel, strides, padding, output_padding=extra, dilation_rate=dilation, dtype=dtype
    )
    shape = (2, *size, 3)
    prepared(layer, shape, rng)
    assert layer.kernel.shape == (*kernel, 4, 3)
    x = rng.normal(size=shape).astype(dtype)
    y = layer(x)
    expected = reference.conv2d_transpose(
        x, layer.kernel.value, layer.bias.value, strides, padding, extra, dilation
    )
    assert_close(y, expected, dtype, terms=kernel[0] * kernel[1] * 3)
    assert layer.compute_output_shape(shape) == y.shape


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_conv1d_transpose(padding):
    rng = np.random.default_rng(3)
    layer = prepared(layers.Conv1DTranspose(4, 3, 2, padding, output_padding=1), (2, 5, 3), rng)
    x = rng.normal(size=(2, 5, 3)).astype("float32")
    expected = reference.conv2d_transpose(
        x[:, None], layer.kernel.value[None], layer.bias.value, (1, 2), padding, (0, 1)
    )
    assert_close(layer(x), expected[:, 0], terms=9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(8))
def test_depthwise_and_separable_conv2d(seed, dtype):
    rng = np.random.default_rng(seed)
    size = tuple(int(n) for n in rng.integers(4, 8, 2))
    kernel, strides, dilation, padding = random_window(rng, 2, size, ("valid", "same", "explicit"), both=True)
    shape, multiplier = (2, *size, 3), int(rng.integers(1, 4))
    x = rng.normal(size=shape).astype(dtype)
    arguments = {
        "strides": strides, "padding": padding, "dilation_rate": dilation, "depth_multiplier": multiplier,
        "dtype": dtype,
    }  # fmt: skip
    depthwise = prepared(layers.DepthwiseConv2D(kernel, **arguments), shape, rng)
    expected = reference.depthwise_conv2d(
        x, depthwise.kernel.value, depthwise.bias.value, strides, padding, dilation
    )
    assert_close(depthwise(x), expected, dtype, terms=kernel[0] * kernel[1])
    assert depthwise.compute_output_shape(shape) == expected.shape
    separable = prepared(layers.SeparableConv2D(5, kernel, **arguments), shape, rng)
    values = (separable.depthwise_kernel.value, separable.pointwise_kernel.value, separable.bias.value)
    expected = reference.separable_conv2d(x, *values, strides, padding, dilation)
    assert_close(separable(x), expected, dtype, terms=kernel[0] * kernel[1] * 3 * multiplier)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_depthwise_and_separable_conv1d(padding):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 9, 3)).astype("float32")
    window = {"padding": padding, "dilation_rate": 2, "depth_multiplier": 2}
    depthwise = prepared(layers.DepthwiseConv1D(3, **window), x.shape, rng)
    expected = reference.depthwise_conv2d(
        x[:, None], depthwise.kernel.value[None], depthwise.bias.value, (1, 1), padding, (1, 2)
    )
    assert_close(depthwise(x), expected[:, 0], terms=3)
    separable = prepared(layers.SeparableConv1D(4, 3, **window), x.shape, rng)
    expected = reference.separable_conv2d(
        x[:, None], separable.depthwise_kernel.value[None], separable.pointwise_kernel.value[None],
        separable.bias.value, (1, 1), padding, (1, 2),
    )  # fmt: skip
    assert_close(separable(x), expected[:, 0], terms=18)


def test_activation_is_applied_after_the_bias():
    rng = np.random.default_rng(2)
    layer = prepared(layers.Conv2D(4, 3, activation="relu"), (2, 5, 6, 3), rng)
    x = rng.normal(size=(2, 5, 6, 3)).astype("float32")
    expected = reference.relu(reference.conv2d(x, layer.kernel.value, layer.bias.value))
    assert_close(layer(x), expected, terms=27)
    assert np.all(layer(x) >= 0)


SHAPES = [
    (layers.Conv2D(6, (3, 2), groups=2), (None, 8, 8, 4), [(3, 2, 2, 6), (6,)]),
    (layers.Conv1D(6, 3), (None, 8, 4), [(3, 4, 6), (6,)]),
    (layers.Conv2DTranspose(6, (3, 2)), (None, 8, 8, 4), [(3, 2, 6, 4), (6,)]),
    (layers.Conv1DTranspose(6, 3), (None, 8, 4), [(3, 6, 4), (6,)]),
    (layers.DepthwiseConv2D((3, 2), depth_multiplier=3), (None, 8, 8, 4), [(3, 2, 4, 3), (12,)]),
    (layers.DepthwiseConv1D(3, depth_multiplier=3), (None, 8, 4), [(3, 4, 3), (12,)]),
    (
        layers.SeparableConv2D(6, (3, 2), depth_multiplier=3),
        (None, 8, 8, 4),
        [(3, 2, 4, 3), (1, 1, 12, 6), (6,)],
    ),
    (layers.SeparableConv1D(6, 3, depth_multiplier=3), (None, 8, 4), [(3, 4, 3), (1, 12, 6), (6,)]),
]


@pytest.mark.parametrize(("layer", "shape", "expected"), SHAPES, ids=lambda value: type(value).__name__)
def test_weights_have_the_shapes_and_order_of_keras(layer, shape, expected):
    layer._build_once(shape)
    assert [w.shape for w in layer.weights] == expected
    assert layer.count_params() == sum(int(np.prod(s)) for s in expected)


def test_weight_names():
    layer = prepared(layers.SeparableConv2D(2, 3, name="mix"), (1, 5, 5, 2), np.random.default_rng(0))
    assert [w.path for w in layer.weights] == ["mix/depthwise_kernel", "mix/pointwise_kernel", "mix/bias"]


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (layers.Conv2D(4, (2, 3), 2, "same", groups=2, activation="tanh", dtype="float64"), (2, 4, 5, 2)),
        (layers.Conv1D(3, 2, padding="causal", activation="sigmoid", dtype="float64"), (2, 5, 2)),
        (layers.Conv2DTranspose(2, 3, 2, "same", dtype="float64"), (1, 3, 2, 2)),
        (layers.SeparableConv2D(3, 2, depth_multiplier=2, activation="elu", dtype="float64"), (2, 3, 4, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_gradients(layer, shape):
    rng = np.random.default_rng(4)
    check_gradients(prepared(layer, shape, rng), [rng.normal(size=shape)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.Conv2D(0, 3), "Conv2D: filters must be at least 1, got 0"),
        (lambda: layers.Conv2D(2.5, 3), "Conv2D: filters must be an integer"),
        (lambda: layers.Conv2D(4, 0), "Conv2D: kernel_size must be at least 1, got 0"),
        (lambda: layers.Conv2D(4, (3, 3, 3)), "Conv2D: kernel_size takes one integer or 2"),
        (lambda: layers.Conv2D(4, 3, strides=0), "strides must be at least 1"),
        (lambda: layers.Conv2D(4, 3, padding="sane"), "padding 'sane' is unknown; did you mean 'same'"),
        (lambda: layers.Conv2D(4, 3, padding="causal"), "padding 'causal' is unknown"),
        (lambda: layers.DepthwiseConv1D(3, padding="causal"), "padding 'causal' is unknown"),
        (lambda: layers.SeparableConv1D(4, 3, padding="causal"), "padding 'causal' is unknown"),
        (
            lambda: layers.Conv2D(4, 3, 2, dilation_rate=2),
            "Conv2D: strides=.2, 2. and dilation_rate=.2, 2. exclude",
        ),
        (lambda: layers.Conv1DTranspose(4, 3, 2, dilation_rate=2), "use one of them"),
        (lambda: layers.Conv2D(4, 3, data_format="channels_first"), "numpy.moveaxis"),
        (lambda: layers.Conv2D(5, 3, groups=2), "filters must be a multiple of groups"),
        (lambda: layers.Conv2D(4, 3, activation="rilu"), "or 'relu' or"),
        (lambda: layers.Conv2D(4, 3, kernal_initializer="zeros"), "unknown argument kernal_initializer"),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=0), "depth_multiplier must be at least 1"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(fastcnn.errors.Error, match=message):
        make()


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        (layers.Conv2D(4, 3), [(2, 28, 28)], r"expected 4 dimensions \(batch, height, width, channels\)"),
        (layers.Conv2D(4, 3), [(2, 28, 28)], r"add a channel axis, e.g. x\[..., None\]"),
        (layers.Conv2D(4, 3, groups=2), [(2, 8, 8, 3)], "3 channels cannot be divided into groups=2"),
        (layers.Conv2D(4, 3), [(2, 8, 8, 3), (2, 8, 8, 1)], "made for 3 channels, got an input of shape"),
        (layers.Conv2D(4, 5, name="wide"), [(2, 3, 9, 1)], "layer 'wide'.*kernel"),
        (layers.Conv1D(4, 3), [(2, 8, 8, 3)], r"expected 3 dimensions \(batch, length, channels\)"),
    ],
)
def test_inputs_that_do_not_fit(layer, shapes, message):
    for shape in shapes[:-1]:
        layer(np.zeros(shape, "float32"))
    with pytest.raises(fastcnn.errors.Error, match=message):
        layer(np.zeros(shapes[-1], "float32"))
