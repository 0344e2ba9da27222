"""Losses beyond the rows of their table: what is traced back to logits, open shapes, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.graph import gradients
from fastcnn.ops.loss import CrossEntropy, SigmoidCrossEntropy, SoftmaxCrossEntropy, SparseSoftmaxCrossEntropy
from fastcnn.plan import Function
from fastcnn.tensor import Tensor

LOGITS = Tensor((None, 5))


def test_softmax_and_sigmoid_are_traced_back_to_logits() -> None:
    p, labels = ops.softmax(LOGITS), Tensor((None,))
    for loss, op in [
        (ops.categorical_crossentropy(Tensor((None, 5)), p), SoftmaxCrossEntropy),
        (ops.sparse_categorical_crossentropy(labels, p), SparseSoftmaxCrossEntropy),
        (ops.mean_binary_crossentropy(Tensor((None, 5)), ops.sigmoid(LOGITS)), SigmoidCrossEntropy),
    ]:
        assert isinstance(loss.node.operation, op) and loss.node.inputs[0] is LOGITS
    assert isinstance(ops.categorical_crossentropy(Tensor((None, 5)), p * 0.5).node.operation, CrossEntropy)


def test_a_saturated_softmax_still_learns() -> None:
    """From probabilities clipped at 1e-7 the gradient would be 0; from the logits it is not."""
    x, labels = np.array([[50, 0]], np.float32), np.array([1], np.float32)
    loss, dx = Function(
        lambda x, y: [z := ops.sparse_categorical_crossentropy(y, ops.softmax(x)), *gradients(z, [x])]
    )(x, labels)
    np.testing.assert_array_equal(loss, [50])
    np.testing.assert_array_equal(dx, [[1, -1]])


def test_labels_of_any_dtype() -> None:
    p, labels = np.full((2, 4), 0.25, np.float32), Tensor((2,), "int32")
    assert ops.sparse_categorical_crossentropy(labels, Tensor((2, 4))).shape == (2,)
    np.testing.assert_allclose(
        ops.sparse_categorical_crossentropy(np.array([1, 3]), p), np.full(2, np.log(4)), rtol=1e-6
    )


def test_targets_of_symmetric_losses_have_a_gradient() -> None:
    dt, dp = Function(lambda t, p: gradients(ops.mean_squared_error(t, p), [t, p]))(
        np.array([[1.0, 2.0]]), np.array([[3.0, 5.0]])
    )
    np.testing.assert_array_equal(dp, [[2, 3]])
    np.testing.assert_array_equal(dt, [[-2, -3]])


def test_open_dimensions() -> None:
    assert ops.mean_squared_error(Tensor((None, 3)), Tensor((7, 3))).shape == (7,)
    assert ops.sparse_categorical_crossentropy(Tensor((None, 1)), LOGITS, from_logits=True).shape == (None,)
    assert ops.one_hot(Tensor((None,)), 5).shape == (None, 5)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ops.mean_squared_error(Tensor((4,)), Tensor((4, 1))), r"shapes \(4, 1\) and \(4,\) differ"),
        (
            lambda: ops.sparse_categorical_crossentropy(Tensor((3,)), Tensor((4, 5)), True),
            r"an output of shape \(4, 5\) wants targets of shape \(4,\), got \(3,\)",
        ),
        (
            lambda: ops.categorical_crossentropy(Tensor((4, 5)), Tensor((4, 5)), label_smoothing=1.5),
            r"label_smoothing must lie in \[0, 1\], got 1.5",
        ),
        (lambda: ops.huber(Tensor((4, 5)), Tensor((4, 5)), 0), "huber: delta must be positive, got 0"),
        (lambda: ops.one_hot(Tensor((4,)), 0), "num_classes must be positive, got 0"),
        (lambda: ops.mean_squared_error(Tensor(()), Tensor(())), "got scalars"),
    ],
)
def test_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(Error, match=message):
        call()
