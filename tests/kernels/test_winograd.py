"""Winograd's algorithm against the definition, its formulas against the theory, its errors against its promise."""

import math
from fractions import Fraction

import numpy as np
import pytest
import reference
from fastcnn_kernels import transforms
from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.transforms import both_ways, edges
from fastcnn_kernels.winograd import (
    backwards,
    forward_parts,
    gradient_geometry,
    partial_gradients_shape,
    points,
    transformed_size,
    winograd_backward_weights,
    winograd_forward,
    winograd_geometry,
    winograd_weights,
    winograd_weights_rotated,
    workspace_size,
)

POINTS = {2: [0, 1, -1], 4: [0, 1, -1, Fraction(1, 2), -2]}
# Largest error of a float32 result, in units of eps * sqrt(terms) * the largest result.
GROWTH = {2: 4, 4: 16}


class Case:
    """A convolution by 3 x 3 weights: x shape, filters, pads ((top, bottom), (left, right)), groups."""

    def __init__(self, x, filters, pads=((1, 1), (1, 1)), groups=1):
        n, h, w, c = x
        self.x, self.weight = x, (3, 3, c // groups, filters)
        self.options = {"padding": pads, "groups": groups}
        oh, ow = reference.output_size(pads, (h, w), (3, 3), (1, 1), (1, 1))
        self.y = (n, oh, ow, filters)
        self.geometry = ConvGeometry(
            n, h, w, c, 3, 3, 1, 1, 1, 1, pads[0][0], pads[1][0], oh, ow, filters, groups
        )


NONE, AROUND = ((0, 0), (0, 0)), ((1, 1), (1, 1))
CASES = [
    pytest.param(Case((2, 7, 5, 3), 4, NONE), id="nothing equal"),
    pytest.param(Case((1, 1, 1, 1), 1), id="smallest"),
    pytest.param(Case((1, 3, 3, 1), 1, NONE), id="one output"),
    pytest.param(Case((3, 4, 4, 16), 32), id="one whole tile an image"),
    pytest.param(Case((2, 8, 8, 33), 35), id="channels not a multiple of the vector"),
    pytest.param(Case((2, 6, 7, 17), 64), id="a last vector that overlaps"),
    pytest.param(Case((2, 9, 6, 64), 17), id="many channels, few filters"),
    pytest.param(Case((2, 5, 9, 5), 16, ((2, 2), (2, 2))), id="full padding"),
    pytest.param(Case((1, 4, 5, 3), 2, ((2, 0), (0, 3))), id="asymmetric padding"),
    pytest.param(Case((1, 2, 2, 4), 3, ((3, 4), (5, 3))), id="rows of padding alone"),
    pytest.param(Case((2, 6, 5, 12), 8, AROUND, 4), id="groups"),
    pytest.param(Case((2, 6, 5, 64), 96, AROUND, 2), id="groups of several vectors"),
    pytest.param(Case((5, 16, 17, 2), 3), id="many tiles"),
    pytest.param(Case((9, 12, 12, 40), 72), id="many blocks"),
    pytest.param(Case((2, 64, 64, 20), 36), id="many parts"),
    *[pytest.param(Case((2, size, 10 - size, 3), 5), id=f"{size} rows") for size in range(1, 10)],
]


@pytest.fixture
def rng():
    return np.random.default_rng(12)


@pytest.fixture(params=[2, 4], ids=["F2", "F4"])
def size(request):
    return request.param


def random(rng, shape, dtype):
    return rng.normal(size=shape).astype(dtype)


def poisoned(shape, dtype):
    """Memory that shows what was not written."""
    return np.full(shape, np.nan, dtype)


def workspace(g, dtype, weights=False):
    return poisoned((3, workspace_size(g, weights)), dtype)


def assert_close(actual, expected, terms, size):
    eps = np.finfo(actual.dtype).eps
    scale = max(np.abs(expected).max(), 1.0)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=GROWTH[size] * eps * math.sqrt(terms) * scale)


def flat(array, dtype):
    """As kernels take what there need not be."""
    return np.empty(0, dtype) if array is None else array.reshape(-1)


NO_MOMENTS = np.empty((0, 3, 0))


def forward(case, size, x, weight, bias=None, residual=None, lower=-math.inf, moments=NO_MOMENTS):
    g = winograd_geometry(case.geometry, x.itemsize, size)
    transformed = poisoned(transformed_size(g), x.dtype)
    winograd_weights(weight, transformed, g)
    y, more = poisoned(case.y, x.dtype), (flat(bias, x.dtype), flat(residual, x.dtype))
    winograd_forward(x, transformed, *more, moments, y, workspace(g, x.dtype), lower, g)
    return y


def backward_data(case, size, dy, weight, residual=None):
    g = winograd_geometry(backwards(case.geometry), dy.itemsize, size)
    transformed = poisoned(transformed_size(g), dy.dtype)
    winograd_weights_rotated(weight, transformed, g)
    dx, none = poisoned(case.x, dy.dtype), np.empty(0, dy.dtype)
    winograd_forward(
        dy, transformed, none, flat(residual, dy.dtype), NO_MOMENTS, dx, workspace(g, dy.dtype), -math.inf, g
    )
    return dx


def backward_weights(case, size, x, dy):
    g = gradient_geometry(case.geometry, x.itemsize, size)
    partials = poisoned(partial_gradients_shape(g), x.dtype)
    winograd_backward_weights(x, dy, partials, workspace(g, x.dtype, weights=True), g)
    return partials.sum(0).reshape(case.weight)


# --- formulas --------------------------------------------------------------------------------------------------


def matrix(kind, size):
    """The matrix that a formula stands for."""
    formula, (taken, _) = transforms.FORMULAS[kind, size], edges(kind, size)
    return np.array([formula(list(column)) for column in np.eye(taken)]).T


def test_formulas_are_toom_and_cooks(size):
    """A: powers of the points; G: powers over products of differences; B: products of (x - p) over other points."""
    ps = POINTS[size]
    others = [[q for q in ps if q != p] for p in ps]
    a = np.array([[float(p**i) for p in ps] + [float(i == size - 1)] for i in range(size)])
    scales = [math.prod(p - q for q in rest) for p, rest in zip(ps, others, strict=True)]
    g = np.array([[float(p**i / scale) for i in range(3)] for p, scale in zip(ps, scales, strict=True)])
    b = [[*np.poly([float(q) for q in rest])[::-1], 0.0] for rest in others]
    b, g = np.array([*b, np.poly([float(p) for p in ps])[::-1]]), np.array([*g, [0, 0, 1]])
    signs = np.sign(matrix(transforms.WEIGHTS, size)[:, 0] * g[:, 0] + (g[:, 0] == 0))[:, None]
    np.testing.assert_allclose(matrix(transforms.WEIGHTS, size), signs * g, atol=1e-15)
    np.testing.assert_allclose(matrix(transforms.INPUT, size), signs * b, atol=1e-15)
    np.testing.assert_allclose(matrix(transforms.OUTPUT, size), a, atol=1e-15)


def test_gradients_are_transposed_formulas(size):
    a, g = matrix(transforms.OUTPUT, size), matrix(transforms.WEIGHTS, size)
    np.testing.assert_allclose(matrix(transforms.GRADIENT, size), a.T, atol=1e-15)
    np.testing.assert_allclose(matrix(transforms.WEIGHTS_GRADIENT, size), g.T, atol=1e-15)


def test_a_tile_is_a_convolution(size, rng):
    """y = A^T [(G w G^T) * (B^T d B)] A, by the formulas themselves."""
    d, w = rng.normal(size=(size + 2, size + 2)), rng.normal(size=(3, 3))
    inputs = np.array(both_ways(transforms.FORMULAS[transforms.INPUT, size], d.tolist()))
    weights = np.array(both_ways(transforms.FORMULAS[transforms.WEIGHTS, size], w.tolist()))
    assert inputs.size == points(size)
    y = both_ways(transforms.FORMULAS[transforms.OUTPUT, size], (inputs * weights).tolist())
    expected = reference.conv2d(d[None, :, :, None], w[:, :, None, None])[0, :, :, 0]
    np.testing.assert_allclose(y, expected, atol=1e-13)


# --- kernels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_winograd_forward(case, size, dtype, rng):
    x, weight, bias = (random(rng, shape, dtype) for shape in (case.x, case.weight, case.y[3:]))
    terms = math.prod(case.weight[:3]) + 1
    expected = reference.conv2d(x, weight, bias, **case.options)
    assert_close(forward(case, size, x, weight, bias), expected, terms, size)
    assert_close(forward(case, size, x, weight), expected - bias, terms, size)
    assert_close(forward(case, size, x, weight, bias, lower=0.25), np.maximum(expected, 0.25), terms, size)
    more = random(rng, case.y, dtype)
    floored = forward(case, size, x, weight, bias, more, 0.25)
    assert_close(floored, np.maximum(expected + more, 0.25), terms, size)
    assert_close(forward(case, size, x, weight, residual=more), expected - bias + more, terms, size)


@pytest.mark.parametrize("case", CASES)
def test_moments_of_what_is_stored(case, size, dtype, rng, on_threads, assert_moments):
    x, weight, bias = (random(rng, shape, dtype) + 1 for shape in (case.x, case.weight, case.y[3:]))
    parts = forward_parts(winograd_geometry(case.geometry, x.itemsize, size))

    def compute():
        moments = poisoned((parts, 3, case.y[3]), "float64")
        return forward(case, size, x, weight, bias, lower=0.5, moments=moments), moments

    y, moments = on_threads(compute)
    np.testing.assert_array_equal(y, forward(case, size, x, weight, bias, lower=0.5))
    assert_moments(moments, y)


@pytest.mark.parametrize("case", CASES)
def test_winograd_backward_data(case, size, dtype, rng):
    dy, weight, more = (random(rng, shape, dtype) for shape in (case.y, case.weight, case.x))
    expected = reference.conv2d_input_gradient(dy, weight, case.x[1:3], **case.options)
    assert_close(backward_data(case, size, dy, weight), expected, math.prod(case.weight), size)
    assert_close(backward_data(case, size, dy, weight, more), expected + more, math.prod(case.weight), size)


@pytest.mark.parametrize("case", CASES)
def test_winograd_backward_weights(case, size, dtype, rng):
    x, dy = random(rng, case.x, dtype), random(rng, case.y, dtype)
    expected = reference.conv2d_weight_gradient(dy, x, case.weight[:2], **case.options)
    assert_close(backward_weights(case, size, x, dy), expected, math.prod(case.y[:3]), size)


@pytest.mark.parametrize("case", CASES)
def test_threads_do_not_change_a_bit(case, size, rng, on_threads):
    x, weight, bias, dy = (
        random(rng, shape, "float32") for shape in (case.x, case.weight, case.y[3:], case.y)
    )
    on_threads(lambda: [forward(case, size, x, weight, bias)])
    on_threads(lambda: [backward_data(case, size, dy, weight)])
    on_threads(lambda: [backward_weights(case, size, x, dy)])


def test_a_nan_reaches_the_outputs_that_read_it(size, rng):
    """And, unlike in a plain sum, all others of their tiles; none of other tiles."""
    case = Case((2, 9, 10, 19), 21)
    x, weight = random(rng, case.x, "float32"), random(rng, case.weight, "float32")
    x[1, 5, 0, 18] = np.nan
    lost = np.isnan(forward(case, size, x, weight, lower=0.0))
    assert lost[np.isnan(reference.conv2d(x, weight, **case.options))].all()
    places = np.argwhere(lost)
    assert {(n, oy // size, ox // size) for n, oy, ox, _ in places} == {
        (1, oy // size, 0) for oy in (4, 5, 6)
    }


@pytest.mark.parametrize("channels", [16, 64, 256])
def test_errors_are_small(channels, size, rng):
    """Tiles of 2 x 2 round like a plain sum; with 4 x 4 no result is off by more than 1e-5 of the largest."""
    case = Case((1, 16, 16, channels), 24)
    x = np.maximum(random(rng, case.x, "float32"), 0)
    weight = random(rng, case.weight, "float32") * np.float32(math.sqrt(2 / (9 * channels)))
    expected = reference.conv2d(x, weight, **case.options)
    errors = np.abs(forward(case, size, x, weight) - expected) / np.abs(expected).max()
    assert errors.max() < {2: 1.5e-6, 4: 1e-5}[size]
    assert np.sqrt((errors**2).mean()) < {2: 3e-7, 4: 1.5e-6}[size]
