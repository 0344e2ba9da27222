"""Moving numbers beyond values and gradients: open shapes, other dtypes, and what bad input gets."""

from collections.abc import Callable

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.plan import Function
from fastcnn.tensor import Tensor


def test_batch_size_may_be_open() -> None:
    """While a functional model is built."""
    x = Tensor((None, 4, 6, 2))
    assert ops.reshape(x, (-1, 48)).shape == (None, 48)
    assert ops.reshape(x, (None, 3, -1)).shape == (None, 3, 16)
    assert ops.reshape(x, (ops.shape(x)[0], 48)).shape == (None, 48)
    assert ops.flatten(x).shape == (None, 48)
    assert ops.flatten(Tensor((None, None, 6, 2))).shape == (None, None)
    assert ops.flatten(Tensor((None,))).shape == (None, 1)
    assert ops.expand_dims(x, -1).shape == (None, 4, 6, 2, 1)
    assert ops.transpose(x, (0, 3, 1, 2)).shape == (None, 2, 4, 6)
    assert ops.concatenate([x, Tensor((3, 4, None, 2))], -1).shape == (3, 4, 6, 4)
    assert ops.pad(x, ((0, 0), (1, 1), (0, 2), (0, 0))).shape == (None, 6, 8, 2)
    assert ops.upsample(x, (2, 3)).shape == (None, 8, 18, 2)
    assert ops.resize(x, (5, 5)).shape == (None, 5, 5, 2)
    assert ops.repeat(x, 2, axis=0).shape == (None, 4, 6, 2)
    assert [part.shape for part in ops.split(x, 2, axis=1)] == [(None, 2, 6, 2)] * 2
    assert x[:, 1:-1, ::2, 0].shape == (None, 2, 3)
    assert x[2:].shape == (None, 4, 6, 2)


def test_cast_of_every_dtype() -> None:
    x = np.array([0.0, 1.75, 200.5], "float32")
    for dtype in ("float64", "int32", "int64", "uint8", "bool"):
        y = ops.cast(x, dtype)
        assert y.dtype == dtype
        np.testing.assert_array_equal(y, x.astype(dtype))
    assert ops.cast(x, np.float64).dtype == np.float64


def test_take_with_indices_from_a_graph() -> None:
    """The index of the largest element picks the row of a table."""
    table = np.arange(6, dtype="float32").reshape(3, 2)
    x = np.array([[0.1, 0.9, 0.0], [0.5, 0.2, 0.7]], "float32")
    y = Function(lambda t, x: ops.take(t, ops.argmax(x, -1), axis=0))(table, x)
    np.testing.assert_array_equal(y, table[[1, 2]])


BAD = [
    pytest.param(
        lambda x: ops.reshape(x, (4, 4)), r"cannot make \(4, 4\) of a tensor of shape \(2, 3\)", id="size"
    ),
    pytest.param(lambda x: ops.reshape(x, (-1, -1)), r"cannot make \(-1, -1\)", id="two unknown"),
    pytest.param(lambda x: ops.reshape(x, (-1, 4)), r"cannot make \(-1, 4\)", id="no whole number"),
    pytest.param(lambda x: ops.squeeze(x, 1), r"dimension 1 of shape \(2, 3\) is not 1", id="squeeze"),
    pytest.param(lambda x: ops.transpose(x, (0, 0)), "must name each of the 2 dimensions", id="transpose"),
    pytest.param(lambda x: ops.broadcast_to(x, (2, 4)), r"\(2, 3\) does not fit \(2, 4\)", id="broadcast"),
    pytest.param(
        lambda x: ops.concatenate([x, x[:, 1:]], 0), "may differ in dimension 0 only", id="concatenate"
    ),
    pytest.param(lambda x: ops.concatenate([x, x[0]], 0), "may differ in dimension 0 only", id="ranks"),
    pytest.param(lambda x: ops.concatenate([x, ops.cast(x, "float32")]), "float32 and float64", id="dtypes"),
    pytest.param(
        lambda x: ops.split(x, 2, 1), r"dimension 1 of shape \(2, 3\) has no 2 equal parts", id="split"
    ),
    pytest.param(lambda x: x[2], r"index 2 is out of range for dimension 0", id="index"),
    pytest.param(lambda x: x[:, 2:2], "is empty", id="empty slice"),
    pytest.param(lambda x: x[[0, 1]], "use ops.take", id="list index"),
    pytest.param(lambda x: x[0, 0, 0], "does not fit a tensor", id="too many indices"),
    pytest.param(lambda x: ops.pad(x, 1, mode="reflekt"), "did you mean 'reflect'", id="pad mode"),
    pytest.param(lambda x: ops.pad(x, 3, mode="reflect"), "cannot mirror 3 elements", id="mirror"),
    pytest.param(lambda x: ops.pad(x, -1), "non-negative integers", id="negative padding"),
    pytest.param(lambda x: ops.repeat(x, 0, 1), "positive integer", id="repeat"),
    pytest.param(lambda x: ops.cast(x, "float16"), "dtype 'float16' is not supported", id="cast"),
    pytest.param(lambda x: ops.resize(x, (4, 4)), "expected images", id="resize"),
    pytest.param(
        lambda x: ops.upsample(x, 2, "linear"), "interpolation 'linear' is not known", id="interpolation"
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call: Callable, message: str) -> None:
    with pytest.raises(Error, match=message):
        Function(call)(np.ones((2, 3)))
