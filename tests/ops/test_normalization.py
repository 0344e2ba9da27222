"""Normalisation beyond values and gradients: moving averages, and what bad input gets."""

import numpy as np
import pytest
import reference

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.ops.normalization import update_moving_average
from fastcnn.plan import Function
from fastcnn.tensor import Tensor, Variable


def test_update_moving_average() -> None:
    """Every run moves the variable one step; the variable keeps its memory."""
    moving = Variable(np.ones(3), name="moving_mean")
    memory, expected = moving.value, np.ones(3)
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")

    def body(x: Tensor) -> Tensor:
        y, mean, _ = ops.batch_normalization_training(x)
        update_moving_average(moving, mean, 0.9)
        return y

    train = Function(body, training=True)
    for _ in range(3):
        train(x)
        expected = reference.moving_average(expected, x.mean((0, 1)), 0.9)
    assert moving.value is memory
    np.testing.assert_allclose(moving.value, expected, rtol=1e-6)


def test_update_moving_average_of_another_shape() -> None:
    moving = Variable(np.ones(3), name="moving_mean")
    with pytest.raises(Error, match=r"moving_mean has shape \(3,\), the value \(2,\)"):
        Function(lambda x: update_moving_average(moving, x, 0.9))(np.ones(2, "float32"))


def test_batch_size_may_be_open() -> None:
    """While a functional model is built."""
    x = Tensor((None, None, 4, 6))
    assert ops.batch_normalization_training(x)[0].shape == x.shape
    assert ops.batch_normalization(x, np.zeros(6), np.ones(6)).shape == x.shape
    assert ops.group_normalization(x, 2).shape == x.shape
    assert ops.layer_normalization(x, axis=(-2, -1)).shape == x.shape


def test_statistics_of_the_wrong_length() -> None:
    with pytest.raises(Error, match=r"expected 3 numbers, one for each channel of \(2, 3\), got \(4,\)"):
        ops.batch_normalization(np.ones((2, 3)), np.zeros(4), np.ones(3))


def test_groups_that_do_not_divide_the_channels() -> None:
    with pytest.raises(Error, match="groups must divide the 6 channels, got 4"):
        ops.group_normalization(np.ones((2, 3, 6)), 4)


def test_layer_normalization_of_everything() -> None:
    with pytest.raises(Error, match="leave a batch dimension"):
        ops.layer_normalization(np.ones((2, 3)), axis=(0, 1))
