"""What the functions of `fastcnn.ops` have in common: they take tensors, and arrays or numbers just as well."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastcnn import config
from fastcnn.dtypes import is_float_dtype, result_type, standardize_dtype
from fastcnn.errors import Error
from fastcnn.graph import current_trace
from fastcnn.tensor import Constant, Tensor, Variable

__all__ = ["convert_to_numpy", "convert_to_tensor", "dtype", "is_tensor"]

F = TypeVar("F", bound=Callable[..., Any])


def convert(value: Any, dtype: str | None = None) -> Tensor:
    """A tensor for `value`: itself, or a constant. Arrays that are not floating become `dtype` or floatx."""
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    _require_numbers(value, array)
    wanted = dtype or (str(array.dtype) if _is_computable(value) else config.floatx())
    return Constant(array.astype(wanted))


def _require_numbers(value: Any, array: np.ndarray) -> None:
    if array.dtype.kind not in "fiub":
        raise Error(f"cannot make a tensor of {type(value).__name__} with dtype {array.dtype}; pass numbers")


def _is_computable(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype in (np.float32, np.float64)


def op_function(function: F) -> F:
    """Let a function of tensors run at once when all values are known: the result is an array.

    They are known of numbers and arrays, and outside of traces of variables too. Whole numbers become floatx.
    """
    return _on_values(function, _floating_array)


def dtype_kept(function: F) -> F:
    """`op_function` that moves numbers of any dtype, or looks at them, and does not compute with them."""
    run = _on_values(function, np.asarray)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return run(
            *(convert_to_tensor(value) if _is_plain(value) else value for value in args[:1]),
            *args[1:],
            **kwargs,
        )

    return wrapper  # type: ignore[return-value]


def _is_plain(value: Any) -> bool:
    """Whether an argument is a number, or lists of such."""
    if isinstance(value, list | tuple):
        return len(value) > 0 and all(_is_plain(item) for item in value)
    return isinstance(value, bool | int | float)


# Arguments that say what to do with tensors; arrays given for them stand for tuples of numbers.
PLAIN_ARGUMENTS = set(
    "axis axes shape newshape pad_width repeats shift size strides start_indices indices_or_sections kernel_size "
    "output_size pool_size source destination q".split()
)


def _on_values(function: F, prepare: Callable[[Any], np.ndarray]) -> F:
    names = [name if name in PLAIN_ARGUMENTS else "" for name in inspect.signature(function).parameters]

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        args = tuple(
            _plain(value, name) for value, name in zip(args, [*names, *[""] * len(args)], strict=False)
        )
        kwargs = {name: _plain(value, name) for name, value in kwargs.items()}
        arrays: list[np.ndarray] = []
        is_tracing = current_trace() is not None
        if _holds((args, kwargs), _is_tensor if is_tracing else _is_unknown):
            return function(*args, **kwargs)
        template = _take_arrays((args, kwargs), arrays)
        if is_tracing and not arrays:
            return function(*args, **kwargs)
        return _run_now(function, template, _of_one_precision([prepare(x) for x in arrays]))

    return wrapper  # type: ignore[return-value]


def _plain(value: Any, name: str) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) and name in PLAIN_ARGUMENTS else value


def whole_function(operands: int | None = 1, least: Any = "bool") -> Callable[[F], F]:
    """`op_function` that gives whole numbers where its first arguments, `operands` in number (None: all), are whole.

    Their dtype is that which holds all of these and `least`. They are computed in float64, exact below 2^53.
    """

    def decorate(function: F) -> F:
        run = op_function(function)
        names = list(inspect.signature(function).parameters)[:operands]

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            given = [*args[:operands], *(kwargs[name] for name in names if name in kwargs)]
            dtypes = [dtype for value in given for dtype in dtypes_of(value)]
            if not dtypes or any(is_floating(dtype) for dtype in dtypes):
                return run(*args, **kwargs)
            few, named = args[:operands], {n: kwargs[n] for n in names if n in kwargs}
            rest = args[len(few) :]
            result = run(*_as_double(few), *rest, **{**kwargs, **_as_double(named)})
            return _as_whole(result, result_type(*dtypes, least))

        return wrapper  # type: ignore[return-value]

    return decorate


def predicate(function: F) -> F:
    """`op_function` of ones and zeros; where values are known, of True and False."""
    run = op_function(function)

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if current_trace() is None and not _holds((args, kwargs), _is_unknown):
            dtypes = dtypes_of([args, *kwargs.values()])
            if not any(is_floating(dtype) for dtype in dtypes):
                args, kwargs = _as_double(args), _as_double(kwargs)  # large whole numbers differ by little
        result = run(*args, **kwargs)
        return result.astype(bool) if isinstance(result, np.ndarray) else result

    return wrapper  # type: ignore[return-value]


def _run_now(function: Callable[..., Any], template: Any, arrays: list[np.ndarray]) -> Any:
    from fastcnn.plan.function import Function

    def body(*tensors: Tensor) -> Any:
        args, kwargs = _put_tensors(template, tensors)
        return function(*args, **kwargs)

    return Function(body, device="cpu")(*arrays)  # where the arrays are


# --- dtypes of arguments ---------------------------------------------------------------------------------------


def dtypes_of(value: Any) -> list[Any]:
    """The dtypes of the numbers in an argument; of plain ones `int` and `float`, which adapt to others."""
    if isinstance(value, dict):
        return [dtype for item in value.values() for dtype in dtypes_of(item)]
    if isinstance(value, list | tuple):
        inner = [dtype for item in value for dtype in dtypes_of(item)]
        return [{int: "int32", float: config.floatx()}.get(dtype, dtype) for dtype in inner]
    if isinstance(value, bool):
        return ["bool"]
    if isinstance(value, int | float):
        return [int if isinstance(value, int) else float]
    return [str(value.dtype)] if isinstance(value, Tensor | np.ndarray | np.generic) else []


def is_floating(dtype: Any) -> bool:
    """Whether a dtype that `dtypes_of` found has fractions."""
    return dtype is float or (dtype is not int and is_float_dtype(dtype))


def _as_double(value: Any) -> Any:
    """The argument with whole numbers in arrays and tensors as float64."""
    if isinstance(value, dict):
        return {key: _as_double(item) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_as_double(item) for item in value)
    if isinstance(value, Variable | Constant) and current_trace() is None:
        value = value.buffer
    if isinstance(value, Tensor):
        return value if is_floating(value.dtype) else Tensor.operators["cast"](value, "float64")
    return value.astype("float64") if isinstance(value, np.ndarray | np.generic) else value


def _as_whole(value: Any, dtype: str) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(_as_whole(item, dtype) for item in value)
    if isinstance(value, Tensor):
        return Tensor.operators["cast"](value, dtype)
    return value.astype("int64").astype(dtype)  # in two steps small formats wrap around, as they do elsewhere


def _floating_array(x: Any) -> np.ndarray:
    return convert(x).value  # type: ignore[attr-defined]


def _of_one_precision(arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The arrays with the floating ones in the largest dtype of these."""
    floating = {str(x.dtype) for x in arrays if x.dtype.kind == "f"}
    wanted = result_type(*floating) if len(floating) > 1 else None
    arrays = [x.astype(wanted) if wanted and x.dtype.kind == "f" else x for x in arrays]
    return [np.ascontiguousarray(x).reshape(x.shape) for x in arrays]


# --- arrays in arguments ---------------------------------------------------------------------------------------


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
        arrays.append(value)
        return _Slot(len(arrays) - 1)
    return value


def _put_tensors(value: Any, tensors: tuple[Tensor, ...]) -> Any:
    if isinstance(value, dict):
        return {key: _put_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return type(value)(_put_tensors(item, tensors) for item in value)
    return tensors[value.index] if isinstance(value, _Slot) else value


def convert_to_tensor(
    x: Any, dtype: Any = None, sparse: bool | None = None, ragged: bool | None = None
) -> Any:
    """A tensor for a number, a list, an array or a tensor; outside of traces an array, which stands for one.

    dtype: default, that of x; of plain whole numbers int32, of others floatx.
    """
    if sparse or ragged:
        raise Error("convert_to_tensor: tensors are dense; sparse and ragged must be False or None")
    if isinstance(x, Tensor) and (current_trace() is not None or _is_unknown(x)):
        return x if dtype is None else Tensor.operators["cast"](x, dtype)
    dtypes = dtypes_of(x)
    wanted = standardize_dtype(dtype) if dtype is not None else result_type(*dtypes) if dtypes else None
    array = np.array(x.buffer if isinstance(x, Variable | Constant) else x, dtype=wanted)
    _require_numbers(x, array)
    return array if current_trace() is None else Constant(array)


def convert_to_numpy(x: Any) -> np.ndarray:
    """The values of an array, variable or constant. A symbolic tensor has none."""
    return np.array(x.value if isinstance(x, Constant) else x)


def is_tensor(x: Any) -> bool:
    """Whether `x` is symbolic."""
    return isinstance(x, Tensor)


def dtype(x: Any) -> str:
    """The name of the dtype of x; of plain numbers, that of the tensor they become."""
    return result_type(*dtypes_of(x))
