"""Convolution kernels against the definition in tests/reference, on awkward shapes."""

import math
from itertools import product

import numpy as np
import pytest
import reference
from fastcnn_kernels.conv import (
    ConvGeometry,
    col2im,
    conv_backward_data,
    conv_backward_weights,
    conv_forward,
    conv_forward_moments,
    conv_pack_weights,
    conv_pack_weights_transposed,
    im2col,
    packed_size,
    packed_transposed_size,
)
from fastcnn_kernels.gemm import GemmGeometry, divide_work, gemm
from fastcnn_kernels.jit import TILE_ROWS
from fastcnn_kernels.strips import STRIP, Sampling, cut_of, is_matrix, part_at, place_of_column


class Case:
    """A convolution: x shape, kernel (kh, kw, f), pads ((top, bottom), (left, right)), the rest as in Keras."""

    def __init__(self, x, kernel, stride=(1, 1), dilation=(1, 1), pads=((0, 0), (0, 0)), groups=1):
        n, h, w, c = x
        kh, kw, f = kernel
        self.x, self.weight = x, (kh, kw, c // groups, f)
        self.options = {"stride": stride, "padding": pads, "dilation": dilation, "groups": groups}
        oh, ow = reference.output_size(pads, (h, w), (kh, kw), stride, dilation)
        self.y = (n, oh, ow, f)
        self.geometry = ConvGeometry(
            n, h, w, c, kh, kw, *stride, *dilation, pads[0][0], pads[1][0], oh, ow, f, groups
        )  # fmt: skip


AROUND = ((1, 1), (1, 1))
AFTER = ((0, 1), (0, 1))
CASES = [
    pytest.param(Case((2, 7, 5, 3), (3, 2, 4)), id="nothing equal"),
    pytest.param(Case((1, 1, 1, 1), (1, 1, 1)), id="smallest"),
    pytest.param(Case((2, 6, 7, 33), (3, 3, 35), pads=AROUND), id="channels not a multiple of the vector"),
    pytest.param(Case((3, 5, 6, 17), (1, 1, 50)), id="1x1, rows of the image are the matrix"),
    pytest.param(Case((2, 7, 8, 5), (1, 1, 6), stride=(2, 3)), id="1x1, stride larger than kernel"),
    pytest.param(Case((2, 9, 8, 3), (5, 5, 6), pads=((2, 2), (2, 2))), id="5x5"),
    pytest.param(Case((2, 9, 11, 4), (3, 3, 5), stride=(2, 2), pads=AFTER), id="same padding, stride 2"),
    pytest.param(Case((2, 11, 9, 2), (4, 5, 3), stride=(3, 2)), id="kernel larger than stride"),
    pytest.param(Case((2, 11, 9, 4), (3, 3, 5), dilation=(2, 3), pads=((2, 2), (3, 3))), id="dilation"),
    pytest.param(
        Case((1, 13, 12, 3), (3, 2, 4), (2, 2), (2, 3)), id="stride and dilation share a factor or not"
    ),
    pytest.param(Case((2, 6, 5, 12), (3, 3, 8), pads=AROUND, groups=4), id="groups"),
    pytest.param(
        Case((2, 6, 7, 6), (2, 3, 9), (2, 1), (1, 2), ((1, 0), (2, 3)), 3), id="groups and everything else"
    ),
    pytest.param(Case((1, 4, 5, 3), (3, 3, 2), pads=((2, 0), (0, 3))), id="asymmetric padding"),
    pytest.param(Case((2, 3, 4, 5), (5, 6, 7), pads=AROUND), id="kernel covers the whole padded input"),
    pytest.param(
        Case((2, 2, 2, 3), (3, 3, 4), stride=(3, 3), pads=((3, 3), (3, 3))), id="rows of padding alone"
    ),
    pytest.param(Case((2, 5, 4, 70), (3, 3, 68), pads=AROUND), id="depth of several blocks"),
    pytest.param(Case((1, 5, 4, 70), (3, 3, 68), (2, 2), pads=AROUND), id="several blocks, stride 2"),
    pytest.param(Case((5, 16, 17, 2), (3, 3, 3), pads=AROUND), id="many pixels"),
    pytest.param(Case((1, 1, 9, 4), (1, 3, 5), stride=(1, 2)), id="one row"),
    pytest.param(Case((1, 2, 700, 3), (1, 600, 4)), id="more taps in a line than a strip has room for"),
    pytest.param(Case((1, 90, 3, 2), (80, 2, 3)), id="more lines of taps than a strip has room for"),
    pytest.param(Case((1, 50, 60, 3), (2, 3, 4), dilation=(40, 25)), id="taps far apart"),
    pytest.param(Case((1, 90, 70, 2), (2, 2, 3), stride=(40, 33)), id="pixels far apart"),
    pytest.param(Case((1, 3, 4, 900), (2, 3, 5), pads=AROUND), id="channels of many parts"),
    pytest.param(Case((1, 2, 300, 3), (2, 3, 4), pads=AROUND), id="lines longer than a block of pixels"),
    pytest.param(Case((9, 2, 2, 6), (3, 3, 7), pads=AROUND), id="blocks of pixels of several images"),
]


def random(rng, shape, dtype):
    return rng.normal(size=shape).astype(dtype)


def poisoned(shape, dtype):
    """Memory that shows what was not written."""
    return np.full(shape, np.nan, dtype)


def assert_close(actual, expected, terms):
    """Rounding errors of a sum of `terms` products grow like its square root."""
    eps = np.finfo(actual.dtype).eps
    scale = max(np.abs(expected).max(), 1.0)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=4 * eps * math.sqrt(terms) * scale)


def flat(array, dtype):
    """As kernels take what there need not be."""
    return np.empty(0, dtype) if array is None else array.reshape(-1)


def forward(case, x, weight, bias=None, residual=None, lower=-math.inf):
    g = case.geometry
    packed = poisoned(packed_size(g, x.itemsize), x.dtype)
    conv_pack_weights(weight, packed, g)
    y = poisoned(case.y, x.dtype)
    conv_forward(x, packed, flat(bias, x.dtype), flat(residual, x.dtype), y, lower, g)
    return y


def backward_data(case, dy, weight, bias=None, residual=None, lower=-math.inf):
    g = case.geometry
    packed = poisoned(packed_transposed_size(g, dy.itemsize), dy.dtype)
    conv_pack_weights_transposed(weight, packed, g)
    dx = poisoned(case.x, dy.dtype)
    conv_backward_data(dy, packed, flat(bias, dy.dtype), flat(residual, dy.dtype), dx, lower, g)
    return dx


def backward_weights(case, x, dy):
    parts = conv_backward_weights.parts(case.geometry, x.dtype)
    partials = poisoned((parts, math.prod(case.weight)), x.dtype)
    conv_backward_weights(x, dy, partials, case.geometry)
    return partials.sum(0).reshape(case.weight)


SAMPLINGS = [
    Sampling(9, 9, 40, 0, 40, 9, 9, 1, 1, -1, -1, 1, 1, 3, 3),
    Sampling(9, 9, 700, 30, 600, 5, 5, 2, 2, -1, -1, 1, 1, 3, 5),
    Sampling(1, 9999, 3, 0, 3, 1, 9000, 1, 1, 0, 0, 1, 1, 1, 1000),
    Sampling(999, 1, 2, 0, 2, 900, 1, 1, 1, 0, 0, 1, 1, 99, 1),
    Sampling(999, 999, 7, 2, 5, 9, 9, 70, 80, 0, 0, 60, 50, 4, 6),
    Sampling(9, 9, 300, 0, 300, 9, 9, 1, 1, 0, 0, 1, 1, 1, 1),
]


@pytest.mark.parametrize("s", SAMPLINGS)
def test_parts_take_every_column_once_and_fit_a_strip(s):
    cut, places = cut_of(s), []
    starts = range(0, s.ny, cut.ny), range(0, s.nx, cut.nx), range(0, s.channels, cut.channels)
    for ty, tx, c in product(*starts):
        part = part_at(s, cut, ty, tx, c)
        columns = product(range(ty, ty + part.ny), range(tx, tx + part.nx), range(c, c + part.channels))
        found = [place_of_column(s, cut, *column) for column in columns]
        assert found == list(range(found[0], found[0] + len(found)))
        assert is_matrix(s) or part.ny * cut.cells * part.channels <= STRIP
        places += found
    assert sorted(places) == list(range(s.ny * s.nx * s.channels))
    assert cut.height % TILE_ROWS == 0


@pytest.fixture
def rng():
    return np.random.default_rng(11)


@pytest.mark.parametrize("case", CASES)
def test_conv_forward(case, dtype, rng):
    x, weight, bias = (random(rng, shape, dtype) for shape in (case.x, case.weight, case.y[3:]))
    terms = math.prod(case.weight[:3]) + 1
    expected = reference.conv2d(x, weight, bias, **case.options)
    assert_close(forward(case, x, weight, bias), expected, terms)
    assert_close(forward(case, x, weight), expected - bias, terms)
    assert_close(forward(case, x, weight, bias, lower=0.25), np.maximum(expected, 0.25), terms)
    more = random(rng, case.y, dtype)
    assert_close(forward(case, x, weight, bias, more, 0.25), np.maximum(expected + more, 0.25), terms)
    assert_close(forward(case, x, weight, residual=more), expected - bias + more, terms)


@pytest.mark.parametrize("case", CASES)
def test_conv_forward_moments(case, dtype, rng, on_threads, assert_moments):
    x, weight, bias, more = (
        random(rng, shape, dtype) + 1 for shape in (case.x, case.weight, case.y[3:], case.y)
    )
    g, packed = case.geometry, poisoned(packed_size(case.geometry, x.itemsize), dtype)
    conv_pack_weights(weight, packed, g)

    def compute():
        parts = conv_forward_moments.parts(g, dtype)
        y, moments = poisoned(case.y, dtype), poisoned((parts, 3, case.y[3]), "float64")
        conv_forward_moments(x, packed, bias, more.reshape(-1), moments, y, 0.5, g)
        return y, moments

    y, moments = on_threads(compute)
    np.testing.assert_array_equal(y, forward(case, x, weight, bias, more, 0.5))
    assert_moments(moments, y)


@pytest.mark.parametrize("case", CASES)
def test_conv_backward_data(case, dtype, rng):
    dy, weight, bias = (random(rng, shape, dtype) for shape in (case.y, case.weight, case.x[3:]))
    expected = reference.conv2d_input_gradient(dy, weight, case.x[1:3], **case.options)
    terms = math.prod(case.weight) + 1
    assert_close(backward_data(case, dy, weight), expected, terms)
    assert_close(backward_data(case, dy, weight, bias, lower=-0.5), np.maximum(expected + bias, -0.5), terms)
    more = random(rng, case.x, dtype)
    assert_close(backward_data(case, dy, weight, residual=more), expected + more, terms)
    assert_close(
        backward_data(case, dy, weight, bias, more, -0.5), np.maximum(expected + bias + more, -0.5), terms
    )


@pytest.mark.parametrize("case", CASES)
def test_conv_backward_weights(case, dtype, rng):
    x, dy = random(rng, case.x, dtype), random(rng, case.y, dtype)
    expected = reference.conv2d_weight_gradient(dy, x, case.weight[:2], **case.options)
    assert_close(backward_weights(case, x, dy), expected, math.prod(case.y[:3]))


@pytest.mark.parametrize(
    "size", [(5, 4), (6, 5), (9, 11)], ids=["smaller", "exact", "beyond the reach of all taps"]
)
def test_transposed_convolution_of_any_size(size, rng):
    """conv_backward_data fills an output of any size: what no tap reaches is max(bias, lower)."""
    shapes = (2, 3, 3, 4), (2, 1, 5, 4), (5,)
    x, weight, bias = (random(rng, shape, "float64") for shape in shapes)
    expected = np.zeros((2, 12, 12, 5))
    for iy, ix, ky in np.ndindex(3, 3, 2):
        expected[:, iy * 2 + ky, ix * 2] += x[:, iy, ix] @ weight[ky, 0].T
    expected = np.maximum(expected[:, : size[0], : size[1]] + bias, 0.0)
    g = ConvGeometry(2, *size, 5, 2, 1, 2, 2, 1, 1, 0, 0, 3, 3, 4, 1)
    packed = poisoned(packed_transposed_size(g, 8), "float64")
    conv_pack_weights_transposed(weight, packed, g)
    y = poisoned((2, *size, 5), "float64")
    conv_backward_data(x, packed, bias, np.empty(0), y, 0.0, g)
    assert_close(y, expected, 8)


@pytest.mark.parametrize("case", CASES)
def test_explicit_columns(case, dtype, rng):
    """im2col and gemm are the second algorithm; col2im is the adjoint of im2col."""
    g, x, weight = case.geometry, random(rng, case.x, dtype), random(rng, case.weight, dtype)
    pixels, total, filters = math.prod(case.y[:3]), math.prod(case.weight[:3]), g.f // g.groups
    columns = poisoned((g.groups, pixels, total), dtype)
    im2col(x, columns, g)
    y = poisoned(case.y, dtype)
    of_groups = GemmGeometry(
        g.groups, pixels, filters, total, pixels * total, total, 1, filters, g.f, 1, filters, g.f, filters, 1, 0, 1, 1
    )  # fmt: skip
    gemm(columns, weight, np.empty(0, dtype), y, -math.inf, divide_work(of_groups, x.itemsize))
    assert_close(y, reference.conv2d(x, weight, **case.options), total)

    other, back = random(rng, columns.shape, dtype), poisoned(case.x, dtype)
    col2im(other, back, g)
    double = np.float64
    inner = (columns.astype(double) * other).sum(), (x.astype(double) * back).sum()
    assert abs(inner[0] - inner[1]) <= 4 * np.finfo(dtype).eps * columns.size


UNGROUPED = [case for case in CASES if case.values[0].geometry.groups == 1]  # the reference has no groups


@pytest.mark.parametrize("case", UNGROUPED)
def test_im2col_is_the_definition(case, rng):
    x = random(rng, case.x, "float64")
    columns = poisoned((1, math.prod(case.y[:3]), math.prod(case.weight[:3])), "float64")
    im2col(x, columns, case.geometry)
    options = {name: case.options[name] for name in ("stride", "padding", "dilation")}
    np.testing.assert_array_equal(columns[0], reference.im2col(x, case.weight[:2], **options))


@pytest.mark.parametrize("case", CASES)
def test_threads_do_not_change_a_bit(case, rng, on_threads):
    shapes = case.x, case.weight, case.y[3:], case.y
    x, weight, bias, dy = (random(rng, shape, "float32") for shape in shapes)
    on_threads(lambda: [forward(case, x, weight, bias)])
    on_threads(lambda: [backward_data(case, dy, weight)])
    on_threads(lambda: [backward_weights(case, x, dy)])


def test_a_nan_reaches_exactly_the_outputs_that_read_it(rng):
    case = Case((2, 9, 8, 37), (3, 3, 41), stride=(2, 1), pads=AROUND)
    x, weight = random(rng, case.x, "float32"), random(rng, case.weight, "float32")
    x[1, 4, 0, 36] = np.nan
    dy = random(rng, case.y, "float32")
    dy[0, 2, 4, 40] = np.nan  # away from the border: a zero of the padding times NaN is NaN
    np.testing.assert_array_equal(
        np.isnan(forward(case, x, weight, lower=0.0)), np.isnan(reference.conv2d(x, weight, **case.options))
    )
    np.testing.assert_array_equal(
        np.isnan(backward_data(case, dy, weight)),
        np.isnan(reference.conv2d_input_gradient(dy, weight, case.x[1:3], **case.options)),
    )
    np.testing.assert_array_equal(
        np.isnan(backward_weights(case, x, dy)),
        np.isnan(reference.conv2d_weight_gradient(dy, x, case.weight[:2], **case.options)),
    )
