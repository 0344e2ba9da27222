"""Operations on the bits of whole numbers. They take arrays: tensors have numbers with fractions."""

from typing import Any

import numpy as np

from fastcnn.dtypes import result_type
from fastcnn.ops.core import dtypes_of
from fastcnn.ops.known import on_arrays

__all__ = [
    "bitwise_and", "bitwise_invert", "bitwise_left_shift", "bitwise_not", "bitwise_or", "bitwise_right_shift",
    "bitwise_xor", "left_shift", "right_shift",
]  # fmt: skip


def _of_one_dtype(x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    dtype = result_type(*dtypes_of(x), *dtypes_of(y))
    return np.asarray(x, dtype), np.asarray(y, dtype)


@on_arrays
def bitwise_and(x: Any, y: Any) -> Any:
    """The bits that both have."""
    return np.bitwise_and(*_of_one_dtype(x, y))


@on_arrays
def bitwise_or(x: Any, y: Any) -> Any:
    """The bits that one or both have."""
    return np.bitwise_or(*_of_one_dtype(x, y))


@on_arrays
def bitwise_xor(x: Any, y: Any) -> Any:
    """The bits that one of the two has."""
    return np.bitwise_xor(*_of_one_dtype(x, y))


@on_arrays
def bitwise_not(x: Any) -> Any:
    """The bits that x does not have."""
    return np.bitwise_not(x)


@on_arrays
def bitwise_left_shift(x: Any, y: Any) -> Any:
    """x 2^y."""
    return np.left_shift(*_of_one_dtype(x, y))


@on_arrays
def bitwise_right_shift(x: Any, y: Any) -> Any:
    """floor(x / 2^y)."""
    return np.right_shift(*_of_one_dtype(x, y))


bitwise_invert, left_shift, right_shift = bitwise_not, bitwise_left_shift, bitwise_right_shift
