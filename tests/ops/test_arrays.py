"""Functions of values that are known: creating, ordering, counting, choosing; against NumPy."""

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.plan import Function

X = np.random.default_rng(0).permutation(24).reshape(2, 3, 4).astype("float32")

CREATED = {
    "arange": ((2, 11, 3), {}),
    "eye": ((3,), {}),
    "identity": ((2,), {}),
    "linspace": ((0.0, 1.0, 5), {}),
    "ones": (((2, 3),), {}),
    "zeros": (((2, 3),), {}),
    "full": (((2, 2), 7.0), {}),
    "array": (([[1.0, 2.0]],), {}),
}


@pytest.mark.parametrize("name", CREATED)
def test_created(name):
    arguments, options = CREATED[name]
    found = np.asarray(getattr(ops, name)(*arguments, **options))
    np.testing.assert_allclose(found, getattr(np, name)(*arguments, **options), rtol=1e-6)


def test_meshgrid():
    for a, b in zip(ops.meshgrid([1.0, 2.0], [3.0, 4.0, 5.0]), np.meshgrid([1, 2], [3, 4, 5]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("endpoint", [True, False])
def test_created_of_tensors(axis, endpoint):
    """What is given values may be given results of other ops while a model is traced."""
    a, b = X[0], X[1] + 30
    options = {"num": 5, "endpoint": endpoint, "axis": axis}
    found, step = Function(lambda a, b: ops.linspace(a, b, retstep=True, **options))(a, b)
    expected, distance = np.linspace(a, b, retstep=True, **options)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(step, distance, rtol=1e-6)
    found = Function(lambda a: ops.logspace(0, a, base=2.0, **options))(a / 24)
    np.testing.assert_allclose(found, np.logspace(0, a / 24, base=2.0, **options), rtol=1e-6)


@pytest.mark.parametrize("indexing", ["xy", "ij"])
def test_grids_and_values_of_tensors(indexing):
    axes = [np.arange(n, dtype="float32") + n for n in (3, 4, 2)]
    grids = Function(lambda *xs: ops.meshgrid(*xs, indexing=indexing))(*axes)
    for found, expected in zip(grids, np.meshgrid(*axes, indexing=indexing), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(Function(lambda x: ops.full((2, 3), x))(axes[0]), np.full((2, 3), axes[0]))


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_order(axis):
    np.testing.assert_array_equal(ops.sort(X, axis), np.sort(X, axis))
    np.testing.assert_array_equal(ops.argsort(X, axis), np.argsort(X, axis))
    np.testing.assert_array_equal(ops.median(X, axis), np.median(X, axis))
    np.testing.assert_array_equal(
        ops.take_along_axis(X, np.argsort(X, axis), axis), np.take_along_axis(X, np.argsort(X, axis), axis)
    )


def test_largest():
    values, places = ops.top_k(X, 2)
    np.testing.assert_array_equal(values, -np.sort(-X)[..., :2])
    np.testing.assert_array_equal(np.take_along_axis(X, np.asarray(places), -1), values)
    targets = X.argmax(-1)[0]
    assert np.asarray(ops.in_top_k(targets, X[0], 1)).all()
    assert not np.asarray(ops.in_top_k((targets + 1) % 4, X[0], 1)).any()


def test_counts():
    few = np.array([0, 3, 1, 3, 0, 3])
    np.testing.assert_array_equal(ops.bincount(few, minlength=6), np.bincount(few, minlength=6))
    np.testing.assert_array_equal(ops.count_nonzero(few.reshape(2, 3), 1), [2, 2])
    for a, b in zip(ops.nonzero(few.reshape(2, 3)), np.nonzero(few.reshape(2, 3)), strict=True):
        np.testing.assert_array_equal(a, b)
    row = np.array([1.0, 2.0, 4.0], "float32")
    for side in ("left", "right"):
        found = ops.searchsorted(row, np.array([2.0, 3.0, 9.0], "float32"), side)
        np.testing.assert_array_equal(found, np.searchsorted(row, [2.0, 3.0, 9.0], side))


def test_control():
    assert ops.cond(True, lambda: 1, lambda: 2) == 1 and ops.cond(False, lambda: 1, lambda: 2) == 2
    assert ops.switch(1, [lambda x: x, lambda x: x + 10], 5) == 15
    assert ops.fori_loop(0, 5, lambda i, total: total + i, 0) == 10
    np.testing.assert_allclose(ops.map(lambda x: x * 2.0, X), X * 2.0)
    np.testing.assert_allclose(ops.vectorized_map(lambda x: ops.sum(x), X), X.sum((1, 2)), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_where_takes_conditions_of_any_dtype(dtype):
    x, y = X.astype(dtype), np.zeros(X.shape, dtype)
    for condition in (X > 5, (X > 5).astype("int32"), (X > 5).astype("float32"), (X > 5).tolist()):
        found = ops.where(condition, x, y)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, np.where(X > 5, x, y))
        inside = Function(lambda x, y, c=condition: ops.where(c, x, y))(x, y)
        np.testing.assert_array_equal(inside, np.where(X > 5, x, y))
