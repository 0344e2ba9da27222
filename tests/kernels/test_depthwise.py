"""Depthwise convolution kernels against the definition in tests/reference, on awkward shapes."""

import math

import numpy as np
import pytest
import reference
from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.depthwise import (
    depthwise_backward_data,
    depthwise_backward_weights,
    depthwise_forward,
    depthwise_forward_moments,
    join_planes,
    split_planes,
)


class Case:
    """A depthwise convolution: x shape, kernel (kh, kw, multiplier), the rest as Keras calls it."""

    def __init__(self, x, kernel, stride=(1, 1), dilation=(1, 1), pads=((0, 0), (0, 0))):
        n, h, w, c = x
        kh, kw, multiplier = kernel
        self.x, self.weight = x, (kh, kw, c, multiplier)
        self.options = {"stride": stride, "padding": pads, "dilation": dilation}
        oh, ow = reference.output_size(pads, (h, w), (kh, kw), stride, dilation)
        self.y = (n, oh, ow, c * multiplier)
        self.geometry = ConvGeometry(
            n, h, w, c, kh, kw, *stride, *dilation, pads[0][0], pads[1][0], oh, ow, c * multiplier, c
        )  # fmt: skip


AROUND = ((1, 1), (1, 1))
AFTER = ((0, 1), (0, 1))
CASES = [
    pytest.param(Case((2, 7, 5, 3), (3, 2, 1)), id="nothing equal"),
    pytest.param(Case((1, 1, 1, 1), (1, 1, 1)), id="smallest"),
    pytest.param(Case((2, 6, 7, 37), (3, 3, 1), pads=AROUND), id="channels: vectors, a quarter, one"),
    pytest.param(Case((1, 5, 14, 130), (3, 3, 1), pads=AROUND), id="two blocks of channels"),
    pytest.param(Case((5, 9, 3, 517), (3, 3, 1), pads=AROUND), id="two blocks of many channels"),
    pytest.param(Case((2, 8, 11, 19), (3, 3, 1), (2, 2), pads=((1, 1), (1, 1))), id="stride 2, odd margin"),
    pytest.param(Case((2, 7, 6, 18), (3, 3, 2), (2, 2), pads=((2, 1), (1, 2))), id="stride 2, much padding"),
    pytest.param(Case((1, 8, 12, 17), (3, 3, 2), pads=((2, 2), (2, 2))), id="full padding"),
    pytest.param(Case((2, 6, 11, 33), (3, 3, 1), (1, 2), pads=AROUND), id="different strides"),
    pytest.param(Case((1, 9, 10, 70), (7, 5, 1), pads=((3, 3), (2, 2))), id="7x5"),
    pytest.param(Case((2, 6, 9, 4), (3, 3, 3), pads=AROUND), id="multiplier"),
    pytest.param(Case((2, 9, 12, 5), (3, 3, 2), (2, 2), pads=AFTER), id="multiplier, stride"),
    pytest.param(Case((2, 9, 13, 6), (5, 5, 1), pads=((2, 2), (2, 2))), id="5x5"),
    pytest.param(Case((2, 9, 17, 20), (3, 3, 1), stride=(2, 2), pads=AFTER), id="same padding, stride 2"),
    pytest.param(Case((2, 7, 8, 5), (2, 1, 1), stride=(3, 2)), id="stride larger than kernel"),
    pytest.param(Case((2, 11, 15, 4), (3, 3, 1), dilation=(2, 3), pads=((2, 2), (3, 3))), id="dilation"),
    pytest.param(
        Case((1, 13, 14, 3), (3, 2, 2), (2, 2), (2, 3)), id="stride and dilation share a factor or not"
    ),
    pytest.param(Case((1, 4, 5, 3), (3, 3, 1), pads=((2, 0), (0, 3))), id="asymmetric padding"),
    pytest.param(Case((2, 3, 4, 5), (5, 6, 1), pads=AROUND), id="kernel covers the whole padded input"),
    pytest.param(
        Case((2, 2, 2, 3), (3, 3, 1), stride=(3, 3), pads=((3, 3), (3, 3))), id="rows of padding alone"
    ),
]


def random(rng, shape, dtype):
    return rng.normal(size=shape).astype(dtype)


def poisoned(shape, dtype):
    """Memory that shows what was not written."""
    return np.full(shape, np.nan, dtype)


def planes(tensor, case):
    """(..., c * mult) or (..., c, mult) -> (mult, rows, c)."""
    return np.ascontiguousarray(np.moveaxis(tensor.reshape(-1, *case.weight[2:]), -1, 0))


def joined(tensor, shape, case):
    """The inverse of `planes`."""
    return np.moveaxis(tensor.reshape(case.weight[3], -1, case.weight[2]), 0, -1).reshape(shape)


def assert_close(actual, expected, terms):
    """Rounding errors of a sum of `terms` products grow like its square root."""
    eps = np.finfo(actual.dtype).eps
    scale = max(np.abs(expected).max(), 1.0)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=4 * eps * math.sqrt(terms) * scale)


@pytest.fixture
def rng():
    return np.random.default_rng(12)


@pytest.mark.parametrize("case", CASES)
def test_depthwise_forward(case, dtype, rng, on_threads):
    x, weight, bias = (random(rng, shape, dtype) for shape in (case.x, case.weight, case.y[3:]))
    expected = reference.depthwise_conv2d(x, weight, bias, **case.options)
    terms = case.weight[0] * case.weight[1] + 1

    def compute(bias, lower):
        y = poisoned(math.prod(case.y), dtype)
        bias = planes(bias, case) if bias.size else bias
        depthwise_forward(x, planes(weight, case), bias, y, lower, case.geometry)
        return [joined(y, case.y, case)]

    assert_close(on_threads(lambda: compute(bias, -math.inf))[0], expected, terms)
    assert_close(compute(bias, 0.25)[0], np.maximum(expected, 0.25), terms)
    assert_close(compute(np.empty(0, dtype), -math.inf)[0], expected - bias, terms)


@pytest.mark.parametrize("case", [p for p in CASES if p.values[0].weight[3] == 1])
def test_depthwise_forward_moments(case, dtype, rng, on_threads, assert_moments):
    x, weight, bias = (random(rng, shape, dtype) + 1 for shape in (case.x, case.weight, case.y[3:]))
    g, weights = case.geometry, (planes(weight, case), planes(bias, case))
    expected = poisoned(case.y, dtype)
    depthwise_forward(x, *weights, expected, 0.5, g)

    def compute():
        parts = depthwise_forward_moments.parts(g, dtype)
        y, moments = poisoned(case.y, dtype), poisoned((parts, 3, case.y[3]), "float64")
        depthwise_forward_moments(x, *weights, moments, y, 0.5, g)
        return y, moments

    y, moments = on_threads(compute)
    np.testing.assert_array_equal(y, expected)
    assert_moments(moments, y)


@pytest.mark.parametrize("case", CASES)
def test_depthwise_backward_data(case, dtype, rng, on_threads):
    dy, weight = random(rng, case.y, dtype), random(rng, case.weight, dtype)

    def compute():
        dx = poisoned(case.x, dtype)
        depthwise_backward_data(planes(dy, case), planes(weight, case), dx, case.geometry)
        return [dx]

    expected = reference.depthwise_conv2d_input_gradient(dy, weight, case.x[1:3], **case.options)
    assert_close(on_threads(compute)[0], expected, case.weight[0] * case.weight[1] * case.weight[3])


@pytest.mark.parametrize("case", CASES)
def test_depthwise_backward_weights(case, dtype, rng, on_threads):
    x, dy = random(rng, case.x, dtype), random(rng, case.y, dtype)

    def compute():
        partials = poisoned(
            (depthwise_backward_weights.parts(case.geometry, dtype), math.prod(case.weight)), dtype
        )
        depthwise_backward_weights(x, planes(dy, case), partials, case.geometry)
        return [partials]

    expected = reference.depthwise_conv2d_weight_gradient(dy, x, case.weight[:2], **case.options)
    actual = joined(on_threads(compute)[0].sum(0), case.weight, case)
    assert_close(actual, expected, math.prod(case.y[:3]))


def test_a_nan_reaches_exactly_the_outputs_that_read_it(rng):
    case = Case((2, 9, 14, 21), (3, 3, 1), pads=AROUND)
    x, weight, dy = (random(rng, shape, "float32") for shape in (case.x, case.weight, case.y))
    x[1, 4, 0, 20], dy[0, 2, 9, 3] = np.nan, np.nan
    y, dx = poisoned(case.y, "float32"), poisoned(case.x, "float32")
    depthwise_forward(x, weight, np.empty(0, "float32"), y, 0.0, case.geometry)
    expected = reference.depthwise_conv2d(x, weight, **case.options)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    depthwise_backward_data(dy, weight, dx, case.geometry)
    expected = reference.depthwise_conv2d_input_gradient(dy, weight, case.x[1:3], **case.options)
    np.testing.assert_array_equal(np.isnan(dx), np.isnan(expected))


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (5000, 2), (4099, 5)])
def test_split_planes(shape, dtype, rng, on_threads):
    x = random(rng, shape, dtype)

    def compute():
        planes = poisoned(shape[::-1], dtype)
        split_planes(x, planes)
        return [planes]

    np.testing.assert_array_equal(on_threads(compute)[0], x.T)


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (5000, 2), (4099, 5)])
def test_join_planes(shape, dtype, rng, on_threads):
    planes = random(rng, shape[::-1], dtype)

    def compute():
        x = poisoned(shape, dtype)
        join_planes(planes, x)
        return [x]

    np.testing.assert_array_equal(on_threads(compute)[0], planes.T)
