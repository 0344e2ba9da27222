"""Reductions beyond values and gradients: integer results, ties, open shapes, bad axes."""

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.graph import gradients
from fastcnn.plan import Function
from fastcnn.tensor import Tensor


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_argmax_and_argmin(axis: int | None, keepdims: bool, dtype: str) -> None:
    """Whole numbers, so that there are ties: the first counts."""
    x = np.random.default_rng(0).integers(0, 5, (3, 4, 5)).astype(dtype)
    for function, expected in ((ops.argmax, np.argmax), (ops.argmin, np.argmin)):
        y = function(x, axis=axis, keepdims=keepdims)
        assert y.dtype == np.int32
        np.testing.assert_array_equal(y, expected(x, axis=axis, keepdims=keepdims))


@pytest.mark.parametrize("function", [ops.max, ops.min])
def test_ties_share_the_gradient(function: object) -> None:
    x = np.array([[2.0, 2.0, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0]])
    (dx,) = Function(lambda x: gradients(function(x, axis=1), [x]))(x)
    np.testing.assert_array_equal(dx, np.full((2, 4), 0.25))


def test_batch_size_may_be_open() -> None:
    """While a functional model is built."""
    x = Tensor((None, 4, None, 6))
    assert ops.mean(x, (1, 2)).shape == (None, 6)
    assert ops.max(x, (0, 2), keepdims=True).shape == (1, 4, 1, 6)
    assert ops.argmax(x, -1).shape == (None, 4, None)
    assert ops.var(x, -1, keepdims=True).shape == (None, 4, None, 1)


def test_no_axes_leave_the_tensor_as_it_is() -> None:
    x = np.arange(6.0).reshape(2, 3)
    for function in (ops.sum, ops.mean, ops.max, ops.min):
        np.testing.assert_array_equal(function(x, axis=()), x)


def test_axis_out_of_range() -> None:
    with pytest.raises(Error, match="sum: axis 2 is out of range for a tensor of 2 dimensions"):
        ops.sum(np.ones((2, 3)), axis=2)


def test_axis_named_twice() -> None:
    with pytest.raises(Error, match=r"mean: axis \(1, -1\) names a dimension twice"):
        ops.mean(np.ones((2, 3)), axis=(1, -1))
