"""What the table does not show: open shapes and what bad input gets."""

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.plan import Function
from fastcnn.tensor import Tensor


def test_shapes_with_open_dimensions():
    assert ops.dense(Tensor((None, 7, 3)), Tensor((3, 5))).shape == (None, 7, 5)
    assert ops.matmul(Tensor((None, 2, 3)), Tensor((None, 3, 4))).shape == (None, 2, 4)
    assert ops.matmul(Tensor((None, 3)), Tensor((3,))).shape == (None,)


A, B = np.zeros((2, 3), "float32"), np.zeros((4, 5), "float32")
BAD = [
    (lambda: ops.dense(A, B), "does not fit a kernel of shape"),
    (lambda: ops.dense(A, B[:3], np.zeros(4, "float32")), r"bias of shape \(5,\)"),
    (lambda: ops.matmul(A, B), "does not fit"),
    (lambda: ops.matmul(A[None], B[None]), "3 columns, 4 rows"),
    (
        lambda: ops.matmul(np.zeros((2, 2, 3), "float32"), np.zeros((3, 3, 4), "float32")),
        "stacks of matrices",
    ),
    (lambda: ops.matmul(Tensor((2, 3)), Tensor((3, 2), "float64")), "float32 and float64"),
    (lambda: ops.matmul(np.array(2.0), A), "expected matrices or vectors"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_explained(call, message):
    with pytest.raises(Error, match=message):
        call()


@pytest.mark.parametrize(("m", "k", "n"), [(0, 600, 4), (3, 0, 2), (3, 600, 0)])
def test_products_of_nothing(m, k, n):
    a, b = np.ones((m, k), "f4"), np.ones((k, n), "f4")
    np.testing.assert_array_equal(Function(ops.dense)(a, b), a @ b)
    np.testing.assert_array_equal(Function(ops.matmul)(a[None], b[None]), (a @ b)[None])
