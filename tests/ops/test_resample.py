"""Gathers as ops: against SciPy for maps at random, and what holds whatever the map."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fastcnn import ops
from fastcnn.errors import Error

SCIPY = {
    "constant": "grid-constant",
    "nearest": "nearest",
    "mirror": "mirror",
    "reflect": "reflect",
    "wrap": "grid-wrap",
}
BORDERS = list(SCIPY)
numbers = st.floats(-1.5, 1.5, allow_nan=False, width=32)
maps = st.tuples(numbers, numbers, st.floats(-9, 9, width=32), numbers, numbers, st.floats(-9, 9, width=32))
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


def picture(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(1, *size, 2))


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, maps, st.sampled_from(sorted(SCIPY)), st.integers(0, 1))
def test_against_scipy(size, out, numbers, mode, order):
    x = picture(size)
    a0, a1, a2, b0, b1, b2 = numbers
    rows, columns = np.indices(out)
    places = np.array([b0 * columns + b1 * rows + b2, a0 * columns + a1 * rows + a2])
    if order == 0 and (abs(places - np.floor(places) - 0.5) < 1e-6).any():
        return  # between two pixels SciPy takes the upper one
    method = ("nearest", "bilinear")[order]
    y = ops.affine_gather(x, np.array([[*numbers, 0, 0]]), out, method, mode, 0.5)
    for ch in range(2):
        expected = ndimage.map_coordinates(x[0, ..., ch], places, order=order, mode=SCIPY[mode], cval=0.5)
        np.testing.assert_allclose(y[0, ..., ch], expected, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(sizes, maps, st.sampled_from(sorted(SCIPY)))
def test_linear_in_the_image(size, numbers, mode):
    """A sum of images becomes the sum of what they become; of a constant border, with fill value 0."""
    x, z, t = picture(size, 1), picture(size, 2), np.array([[*numbers, 0, 0]])
    both = ops.affine_gather(x + 2 * z, t, fill_mode=mode)
    parts = ops.affine_gather(x, t, fill_mode=mode) + 2 * ops.affine_gather(z, t, fill_mode=mode)
    np.testing.assert_allclose(both, parts, atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(sizes, maps, st.sampled_from(BORDERS[1:]), st.sampled_from(["nearest", "bilinear"]))
def test_stays_between_the_darkest_and_the_lightest(size, numbers, mode, method):
    x = picture(size)
    y = ops.affine_gather(x, np.array([[*numbers, 0, 0]]), (7, 8), method, mode)
    assert y.min() >= x.min() - 1e-12 and y.max() <= x.max() + 1e-12


@settings(max_examples=30, deadline=None)
@given(sizes, st.integers(-20, 20), st.integers(-20, 20), st.sampled_from(BORDERS))
def test_whole_shifts_are_numpy_pad(size, right, down, mode):
    x = picture(size)
    y = ops.affine_gather(x, np.array([[1.0, 0, -right, 0, 1, -down, 0, 0]]), None, "bilinear", mode)
    theirs = {"nearest": "edge", "mirror": "reflect", "reflect": "symmetric"}.get(mode, mode)
    wide = np.pad(x[0], ((max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0)), (0, 0)), theirs)
    top, left = max(-down, 0), max(-right, 0)
    np.testing.assert_array_equal(y[0], wide[top : top + size[0], left : left + size[1]])


OWN_BORDERS = {
    "wrap": lambda places, n: places % n,
    "reflect": lambda places, n: np.minimum(places % (2 * n), 2 * n - 1 - places % (2 * n)),
    "nearest": lambda places, n: places.clip(0, n - 1),
}


@pytest.mark.parametrize("mode", OWN_BORDERS)
@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def test_a_function_of_ones_own_beyond_the_edge(mode, method):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(2, 5, 7, 3)).astype("float32")
    field = rng.uniform((-4, -6), (9, 13), (2, 6, 4, 2)).astype("float32")
    transform = np.array([[0.8, 0.3, -2.4, -0.4, 1.1, 1.6, 0.01, 0.02], [1, 0, 3, 0, 1, -2, 0, 0]], "float32")
    for gather, places in ((ops.field_gather, field), (ops.affine_gather, transform)):
        options = {"interpolation": method, "fill_mode": OWN_BORDERS[mode]}
        expected = gather(x, places, interpolation=method, fill_mode=mode)
        np.testing.assert_allclose(gather(x, places, **options), expected, atol=2e-5)
    with pytest.raises(Error, match="2 images and 3 transforms"):
        ops.affine_gather(np.zeros((2, 4, 4, 1)), np.zeros((3, 8)))
    with pytest.raises(Error, match="3 images and 2 transforms or fields"):
        ops.field_gather(np.zeros((3, 4, 4, 1)), np.zeros((2, 4, 4, 2)))
    with pytest.raises(Error, match="as many indices from 0 to 4"):
        ops.field_gather(x, field, fill_mode=lambda places, n: places)
