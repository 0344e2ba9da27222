"""Convolutions with images in the lanes of vectors, against the definition."""

from collections.abc import Callable

import numpy as np
import pytest
import reference
from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.lanes import (
    lanes_backward_weights,
    lanes_backwards,
    lanes_forward,
    lanes_moment_parts,
    lanes_partials_shape,
    lanes_rotate_weights,
    lanes_workspace_size,
)
from hypothesis import assume, given, settings
from hypothesis import strategies as st


class Case:
    """A convolution: x shape, kernel (kh, kw), filters, strides, dilation, pads ((top, bottom), (left, right))."""

    def __init__(self, x, taps, filters, strides=(1, 1), dilation=(1, 1), pads=((0, 0), (0, 0))):
        n, h, w, c = x
        self.x, self.weight, self.strides = x, (*taps, c, filters), strides
        self.options = {"padding": pads, "stride": strides, "dilation": dilation}
        oh, ow = reference.output_size(pads, (h, w), taps, strides, dilation)
        self.y = (n, oh, ow, filters)
        before = pads[0][0], pads[1][0]
        self.geometry = ConvGeometry(n, h, w, c, *taps, *strides, *dilation, *before, oh, ow, filters, 1)


CASES = [
    pytest.param(Case((16, 6, 7, 1), (3, 3), 6), id="nothing equal"),
    pytest.param(Case((1, 1, 1, 1), (1, 1), 1), id="smallest"),
    pytest.param(Case((35, 5, 4, 3), (2, 3), 4, pads=((1, 0), (1, 1))), id="images left over"),
    pytest.param(Case((3, 9, 8, 2), (3, 2), 5, strides=(2, 3)), id="strides"),
    pytest.param(Case((17, 9, 10, 3), (3, 3), 7, dilation=(2, 3), pads=((2, 2), (0, 3))), id="dilation"),
    pytest.param(Case((16, 64, 48, 3), (5, 5), 8, pads=((2, 2), (2, 2))), id="several bands"),
    pytest.param(Case((16, 2, 3, 4), (3, 3), 3, pads=((4, 4), (5, 4))), id="rows of padding alone"),
    pytest.param(Case((1, 28, 28, 1), (5, 5), 6, pads=((2, 2), (2, 2))), id="one image in strips"),
    pytest.param(
        Case((1, 37, 20, 3), (3, 3), 4, strides=(2, 2), pads=((0, 1), (0, 1))), id="a short last strip"
    ),
    pytest.param(
        Case((3, 23, 9, 2), (5, 3), 3, dilation=(2, 1), pads=((4, 4), (1, 1))), id="strips of some images"
    ),
    pytest.param(Case((2, 300, 200, 3), (3, 3), 8, pads=((1, 1), (1, 1))), id="several bands of strips"),
    pytest.param(Case((16, 5, 1, 33), (2, 1), 19), id="many channels and filters"),
    *[  # tiles of six, of four, of both, and some that overlap
        pytest.param(Case((16, 2, width, 2), (1, 2), 5, pads=((0, 0), (0, 1))), id=f"rows of {width}")
        for width in range(1, 18)
    ],
]


NO_MOMENTS = np.empty((0, 3, 0))


def draw(shape, dtype, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def workspace(g: ConvGeometry, dtype: str, threads: int = 8) -> np.ndarray:
    """Memory that holds no zeros that a kernel could rely on."""
    return np.full((threads, lanes_workspace_size(g, np.dtype(dtype).itemsize)), np.nan, dtype)


def assert_close(actual: np.ndarray, expected: np.ndarray, dtype: str, terms: int) -> None:
    bound = 8 * np.finfo(dtype).eps * np.sqrt(terms) * max(np.abs(expected).max(), 1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("case", CASES)
def test_lanes_forward(case: Case, dtype: str, on_threads: Callable, assert_moments: Callable) -> None:
    x, weight, bias = draw(case.x, dtype), draw(case.weight, dtype, 1), draw(case.weight[3:], dtype, 2)
    g, more, none = case.geometry, draw(case.y, dtype, 3), np.empty(0, dtype)
    parts = lanes_moment_parts(g, x.itemsize)

    def compute() -> list[np.ndarray]:
        plain, floored, added = (np.full(case.y, np.nan, dtype) for _ in range(3))
        moments = np.full((parts, 3, case.y[3]), np.nan)
        lanes_forward(x, weight, none, none, NO_MOMENTS, plain, workspace(g, dtype), -np.inf, g)
        lanes_forward(x, weight, bias, none, NO_MOMENTS, floored, workspace(g, dtype), 0.0, g)
        lanes_forward(x, weight, bias, more.reshape(-1), moments, added, workspace(g, dtype), 0.0, g)
        return [plain, floored, added, moments]

    plain, floored, added, moments = on_threads(compute)
    if parts:
        assert_moments(moments, added)
    expected = reference.conv2d(x, weight, **case.options)
    terms = int(np.prod(case.weight[:3]))
    assert_close(plain, expected, dtype, terms)
    assert_close(floored, np.maximum(expected + bias, 0), dtype, terms)
    assert_close(added, np.maximum(expected + bias + more, 0), dtype, terms)


@pytest.mark.parametrize("case", [p for p in CASES if p.values[0].strides == (1, 1)])
def test_lanes_backward_data(case: Case, dtype: str, on_threads: Callable) -> None:
    """The forward pass from dy to dx, with the weights that lanes_rotate_weights leaves."""
    weight, dy, g = draw(case.weight, dtype, 1), draw(case.y, dtype, 2), lanes_backwards(case.geometry)

    def compute() -> list[np.ndarray]:
        rotated, dx = np.full(weight.size, np.nan, dtype), np.full(case.x, np.nan, dtype)
        lanes_rotate_weights(weight, rotated, case.geometry)
        lanes_forward(
            dy,
            rotated,
            np.empty(0, dtype),
            np.empty(0, dtype),
            NO_MOMENTS,
            dx,
            workspace(g, dtype),
            -np.inf,
            g,
        )
        return [dx]

    (dx,) = on_threads(compute)
    expected = reference.conv2d_input_gradient(dy, weight, case.x[1:3], **case.options)
    assert_close(dx, expected, dtype, int(np.prod(case.weight[:2]) * case.weight[3]))


@pytest.mark.parametrize("case", CASES)
def test_lanes_backward_weights(case: Case, dtype: str, on_threads: Callable) -> None:
    x, dy, g = draw(case.x, dtype), draw(case.y, dtype, 2), case.geometry

    def compute() -> list[np.ndarray]:
        partials = np.full(lanes_partials_shape(g, x.itemsize), np.nan, dtype)
        lanes_backward_weights(x, dy, partials, workspace(g, dtype), g)
        return [partials]

    (partials,) = on_threads(compute)
    expected = reference.conv2d_weight_gradient(dy, x, case.weight[:2], **case.options)
    assert_close(partials.sum(0).reshape(case.weight), expected, dtype, int(np.prod(case.y[:3])))


@st.composite
def cases(draw_one: Callable) -> Case:
    """Fewer images than lanes, which are cut into strips, and more; any window."""

    def pair(least: int, most: int) -> tuple[int, int]:
        return draw_one(st.integers(least, most)), draw_one(st.integers(least, most))

    (h, w), taps, strides, dilation, pads = (
        pair(1, 20),
        pair(1, 5),
        pair(1, 3),
        pair(1, 2),
        (pair(0, 3), pair(0, 3)),
    )
    shape = draw_one(st.integers(1, 20)), h, w, draw_one(st.integers(1, 6))
    reach = [(k - 1) * d for k, d in zip(taps, dilation, strict=True)]
    assume(h + sum(pads[0]) > reach[0] and w + sum(pads[1]) > reach[1])
    return Case(shape, taps, draw_one(st.integers(1, 9)), strides, dilation, pads)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(cases())
def test_lanes_of_any_convolution(case: Case) -> None:
    x, weight, dy, g = (
        draw(case.x, "float32"),
        draw(case.weight, "float32", 1),
        draw(case.y, "float32", 2),
        case.geometry,
    )
    y, more = np.full(case.y, np.nan, "float32"), draw(case.y, "float32", 3)
    none, parts = np.empty(0, "float32"), lanes_moment_parts(g, 4)
    moments = np.full((parts, 3, case.y[3]), np.nan)
    lanes_forward(x, weight, none, more.reshape(-1), moments, y, workspace(g, "float32"), -np.inf, g)
    assert parts == 0 or moments[:, 0].sum(0).tolist() == [np.prod(case.y[:3])] * case.y[3]
    expected = reference.conv2d(x, weight, **case.options) + more
    assert_close(y, expected, "float32", int(np.prod(case.weight[:3])))
    partials = np.full(lanes_partials_shape(g, 4), np.nan, "float32")
    lanes_backward_weights(x, dy, partials, workspace(g, "float32"), g)
    expected = reference.conv2d_weight_gradient(dy, x, case.weight[:2], **case.options)
    assert_close(partials.sum(0).reshape(case.weight), expected, "float32", int(np.prod(case.y[:3])))
