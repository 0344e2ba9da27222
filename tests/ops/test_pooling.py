"""Pooling beyond values and gradients: open shapes and what bad input gets."""

from typing import Any

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.tensor import Tensor


def test_sizes_may_be_open() -> None:
    """While a functional model is built."""
    x = Tensor((None, None, 9, 4))
    assert ops.max_pool(x, 2).shape == (None, None, 4, 4)
    assert ops.average_pool(x, (3, 2), strides=1, padding="same").shape == (None, None, 9, 4)
    assert ops.global_average_pool(x).shape == (None, 4)
    assert ops.global_max_pool(x, keepdims=True).shape == (None, 1, 1, 4)


BAD = [
    pytest.param(
        {"pool_size": 4}, "window of 4 is larger than the padded input, 3 along dimension 1", id="window"
    ),
    pytest.param({"pool_size": 0}, "pool_size must be a positive integer or 2 of them, got 0", id="zero"),
    pytest.param({"pool_size": (2, 2, 2)}, "pool_size must be a positive integer or 2 of them", id="three"),
    pytest.param({"pool_size": 2, "strides": (1, 0)}, "strides must be a positive integer", id="stride"),
    pytest.param({"pool_size": 2, "padding": "sane"}, "did you mean 'same'", id="padding name"),
    pytest.param(
        {"pool_size": 2, "padding": ((2, 0), (0, 0))}, "must be smaller than the window", id="padding"
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_window(options: dict[str, Any], message: str) -> None:
    with pytest.raises(Error, match=message):
        ops.max_pool(np.ones((2, 3, 5, 1)), **options)


def test_input_that_is_no_image() -> None:
    with pytest.raises(
        Error, match=r"expected images of shape \(batch, height, width, channels\), got \(2, 3\)"
    ):
        ops.average_pool(np.ones((2, 3)), 2)
