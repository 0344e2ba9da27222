"""Functions of arrays only: whose results have lengths that depend on values, or that NumPy computes."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastcnn import config
from fastcnn.errors import Error
from fastcnn.ops.core import convert_to_tensor, is_floating
from fastcnn.tensor import Constant, Tensor, Variable

F = TypeVar("F", bound=Callable[..., Any])


def on_arrays(function: F) -> F:
    """Take arguments that are lists, variables and constants as arrays; refuse tensors whose values are not known.

    Floating results have the precision of their operands, as elsewhere.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        given = [_array(value, function.__name__) for value in args]
        return function(*given, **{name: _array(value, function.__name__) for name, value in kwargs.items()})

    return wrapper  # type: ignore[return-value]


def _array(value: Any, name: str) -> Any:
    if isinstance(value, Variable | Constant):
        return value.buffer
    if isinstance(value, Tensor):
        raise Error(
            f"ops.{name} works on arrays only, for example in a metric or on predictions; "
            f"the values of {value!r} are not known while a model is traced"
        )
    is_data = isinstance(value, list) and len(np.shape(value)) > 0
    return convert_to_tensor(value) if is_data else value


def as_floating(x: Any) -> np.ndarray:
    """x as an array of numbers with fractions, whole ones in floatx."""
    x = np.asarray(x)
    return x if is_floating(str(x.dtype)) else x.astype(config.floatx())
