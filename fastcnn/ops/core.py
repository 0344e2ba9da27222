"""What the functions of `fastcnn.ops` have in common: they take tensors, and arrays or numbers just as well."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastcnn import config
from fastcnn.errors import Error
from fastcnn.graph import current_trace
from fastcnn.tensor import Constant, Tensor, Variable

__all__ = ["convert_to_numpy", "convert_to_tensor", "is_tensor"]

F = TypeVar("F", bound=Callable[..., Any])


def convert(value: Any, dtype: str | None = None) -> Tensor:
    """A tensor for `value`: itself, or a constant. Arrays that are not floating become `dtype` or floatx."""
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    if array.dtype == object or array.dtype.kind not in "fiub":
        raise Error(f"cannot make a tensor of {type(value).__name__} with dtype {array.dtype}; pass numbers")
    wanted = dtype or (str(array.dtype) if _is_computable(value) else config.floatx())
    return Constant(array.astype(wanted))


def _is_computable(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float64)


def op_function(function: F) -> F:
    """Let a function of tensors run at once when all values are known: the result is an array.

    They are known of numbers and arrays, and outside of traces of variables too.
    """

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        arrays: list[np.ndarray] = []
        is_tracing = current_trace() is not None
        if _holds((args, kwargs), _is_tensor if is_tracing else _is_unknown):
            return function(*args, **kwargs)
        template = _take_arrays((args, kwargs), arrays)
        if is_tracing and not arrays:
            return function(*args, **kwargs)
        return _run_now(function, template, arrays)

    return wrapper  # type: ignore[return-value]


def predicate(function: F) -> F:
    """`op_function` of ones and zeros; where values are known, of True and False."""
    run = op_function(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        result = run(*args, **kwargs)
        return result.astype(bool) if isinstance(result, np.ndarray) else result

    return wrapper  # type: ignore[return-value]


def _run_now(function: Callable[..., Any], template: Any, arrays: list[np.ndarray]) -> Any:
    from fastcnn.plan.function import Function

    def body(*tensors: Tensor) -> Any:
        args, kwargs = _put_tensors(template, tensors)
        return function(*args, **kwargs)

    return Function(body)(*arrays)


class _Slot:
    """Stands for array number `index` among the arguments."""

    def __init__(self, index: int):
        self.index = index


def _holds(value: Any, wanted: Callable[[Any], bool]) -> bool:
    if isinstance(value, dict):
        return any(_holds(item, wanted) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_holds(item, wanted) for item in value)
    return wanted(value)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _is_unknown(value: Any) -> bool:
    """Whether `value` is a tensor whose values depend on what a model will be given."""
    return isinstance(value, Tensor) and not isinstance(value, Variable | Constant)


def _take_arrays(value: Any, arrays: list[np.ndarray]) -> Any:
    """The arguments with a slot in place of each array; the arrays are appended to `arrays`."""
    if isinstance(value, dict):
        return {key: _take_arrays(item, arrays) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_take_arrays(item, arrays) for item in value)
    value = value.buffer if isinstance(value, Variable | Constant) else value
    if isinstance(value, np.ndarray):
        arrays.append(np.ascontiguousarray(convert(value).value).reshape(value.shape))  # type: ignore[attr-defined]
        return _Slot(len(arrays) - 1)
    return value


def _put_tensors(value: Any, tensors: tuple[Tensor, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _put_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_put_tensors(item, tensors) for item in value)
    return tensors[value.index] if isinstance(value, _Slot) else value


def convert_to_tensor(x: Any, dtype: str | None = None) -> Any:
    """A tensor for a number, a list, an array or a tensor; outside of traces an array, which stands for one."""
    tensor = convert(x, dtype)
    return tensor.value if isinstance(tensor, Constant) and current_trace() is None else tensor


def convert_to_numpy(x: Any) -> np.ndarray:
    """The values of an array, variable or constant. A symbolic tensor has none."""
    return np.array(x.value if isinstance(x, Constant) else x)


def is_tensor(x: Any) -> bool:
    """Whether `x` is symbolic."""
    return isinstance(x, Tensor)
