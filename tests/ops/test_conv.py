"""What the table does not show: open shapes, fusion, numbers of work, and what bad input gets."""

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.plan import Function
from fastcnn.tensor import Tensor, TensorSpec


def images(*shape):
    return Tensor(shape)


def test_shapes_with_open_dimensions():
    kernel = images(3, 2, 4, 6)
    assert ops.conv2d(images(None, 7, 5, 4), kernel, strides=2).shape == (None, 3, 2, 6)
    assert ops.conv2d(images(None, None, 5, 4), kernel, padding="same").shape == (None, None, 5, 6)
    assert ops.depthwise_conv2d(images(None, None, None, 4), kernel).shape == (None, None, None, 24)
    assert ops.conv2d_transpose(images(None, None, 4, 6), kernel, strides=3).shape == (None, None, 12, 4)


def test_the_number_of_groups_follows_from_the_kernel():
    x, kernel = np.ones((1, 3, 3, 6), "float32"), np.ones((3, 3, 2, 3), "float32")
    np.testing.assert_array_equal(ops.conv2d(x, kernel), np.full((1, 1, 1, 3), 18, "float32"))
    np.testing.assert_array_equal(ops.conv2d(x, kernel), ops.conv2d(x, kernel, groups=3))


@pytest.mark.parametrize(
    ("function", "x", "kernel"),
    [
        (ops.conv2d, (2, 4, 4, 3), (3, 3, 3, 2)),
        (ops.depthwise_conv2d, (2, 4, 4, 3), (3, 3, 3, 1)),
        (ops.conv2d_transpose, (2, 4, 4, 3), (3, 3, 2, 3)),
        (ops.dense, (4, 3), (3, 2)),
    ],
)
def test_relu_is_fused(function, x, kernel):
    plan, _ = Function(lambda *xs: ops.relu(function(*xs))).plan([TensorSpec(x), TensorSpec(kernel)])
    (node,) = plan.nodes
    assert node.operation.lower == 0.0


def test_flops_count_what_is_computed():
    """2 n oh ow f kh kw c / groups, forward and backward alike."""
    plan, _ = Function(lambda x, k: ops.conv2d(x, k)).plan(
        [TensorSpec((2, 5, 6, 4)), TensorSpec((3, 2, 4, 7))]
    )
    (node,) = plan.nodes
    assert node.operation.flops(*[[t.spec for t in ts] for ts in (node.inputs, node.outputs)]) == (
        2 * (2 * 3 * 5 * 7) * (3 * 2 * 4)
    )


X, KERNEL = np.zeros((2, 5, 4, 6), "float32"), np.zeros((3, 2, 6, 4), "float32")
DEEP = np.zeros((3, 3, 5, 4), "float32")
BAD = [
    (lambda: ops.conv2d(X, np.zeros((5, 5, 6, 1), "float32")), "larger than the padded input"),
    (lambda: ops.conv2d(X, DEEP), "does not fit images of 6 channels"),
    (lambda: ops.conv2d(X, KERNEL, groups=2), "in 2 groups need a kernel"),
    (lambda: ops.conv2d(X, np.zeros((3, 2, 2, 4), "float32")), "groups must divide"),
    (lambda: ops.conv2d(X[0], KERNEL), r"\(batch, height, width, channels\)"),
    (lambda: ops.conv2d(X, KERNEL[0]), "kernel of 4 dimensions"),
    (lambda: ops.conv2d(X, KERNEL, np.zeros(3, "float32")), r"bias of shape \(4,\)"),
    (lambda: ops.conv2d(X, KERNEL, strides=0), "strides must be"),
    (lambda: ops.conv2d(X, KERNEL, padding="sane"), "did you mean 'same'"),
    (lambda: ops.conv2d(X, KERNEL, padding=((-1, 0), (0, 0))), "at least 0"),
    (lambda: ops.conv2d(X, Tensor(KERNEL.shape, "float64")), "float32 and float64"),
    (lambda: ops.conv(X, KERNEL, data_format="channels_first"), "channels_last"),
    (lambda: ops.depthwise_conv2d(X, DEEP), "does not fit images of 6 channels"),
    (lambda: ops.conv2d_transpose(X, DEEP), "does not fit images of 6 channels"),
    (lambda: ops.conv2d_transpose(X, DEEP.swapaxes(2, 3)[:, :, :, :0], None), "does not fit"),
    (
        lambda: ops.conv2d_transpose(X[:, :1], np.zeros((1, 1, 2, 6), "float32"), padding=((1, 0), (0, 0))),
        "crops all",
    ),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_explained(call, message):
    with pytest.raises(Error, match=message):
        call()
