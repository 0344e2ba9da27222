"""Arrays that depend on no tensor. They are made at once, by NumPy; among tensors they are constants.

What is given values may be given tensors, too, while a model is traced: then the result is one.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import config
from fastcnn.ops.core import convert, convert_to_tensor
from fastcnn.ops.shape import broadcast_to, cast, expand_dims, normalize_axis, reshape
from fastcnn.tensor import Tensor

__all__ = [
    "arange",
    "array",
    "empty",
    "eye",
    "full",
    "geomspace",
    "identity",
    "linspace",
    "logspace",
    "meshgrid",
    "ones",
    "tri",
    "zeros",
]


def array(x: Any, dtype: Any = None) -> Any:
    """`convert_to_tensor`."""
    return convert_to_tensor(x, dtype)


def zeros(shape: int | Sequence[int], dtype: Any = None) -> np.ndarray:
    """0 everywhere."""
    return np.zeros(shape, dtype or config.floatx())


def ones(shape: int | Sequence[int], dtype: Any = None) -> np.ndarray:
    """1 everywhere."""
    return np.ones(shape, dtype or config.floatx())


empty = zeros


def full(shape: int | Sequence[int], fill_value: Any, dtype: Any = None) -> Any:
    """`fill_value` everywhere."""
    if isinstance(fill_value, Tensor):
        dims = (shape,) if isinstance(shape, int) else shape
        return cast(broadcast_to(fill_value, dims), dtype or config.floatx())
    return np.full(shape, fill_value, dtype or config.floatx())


def eye(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> np.ndarray:  # noqa: N803  (Keras's names)
    """(N, M) with 1 on the diagonal number k, else 0."""
    return np.eye(N, M, k, dtype or config.floatx())


def identity(n: int, dtype: Any = None) -> np.ndarray:
    """The identity matrix of n rows."""
    return eye(n, dtype=dtype)


def arange(
    start: float, stop: float | None = None, step: float | None = None, dtype: Any = None
) -> np.ndarray:
    """start, start + step, ... below stop; one number alone is stop. Integers are int32."""
    first, last = (0, start) if stop is None else (start, stop)
    values = np.arange(first, last, 1 if step is None else step)
    return values.astype(dtype or ("int32" if values.dtype.kind == "i" else config.floatx()))


def linspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, retstep: bool = False, dtype: Any = None, axis: int = 0
) -> Any:  # fmt: skip
    """`num` numbers at equal distances from start to stop; with `retstep`, and their distance."""
    if isinstance(start, Tensor) or isinstance(stop, Tensor):
        return _between(start, stop, num, endpoint, retstep, dtype, axis)
    values, step = np.linspace(start, stop, num, endpoint, retstep=True, axis=axis)
    values = values.astype(dtype or config.floatx())
    return (values, step) if retstep else values


def _between(
    start: Any, stop: Any, num: int, endpoint: bool, retstep: bool, dtype: Any, axis: int
) -> Any:  # fmt: skip
    """`linspace` of tensors."""
    start, stop = (cast(convert(end), config.floatx()) for end in (start, stop))
    steps = max(num - 1 if endpoint else num, 1)
    distance = stop - start
    axis = normalize_axis(axis, distance.ndim + 1, "linspace")
    shares = (np.arange(num) / steps).reshape(-1, *[1] * (distance.ndim - axis))
    start = broadcast_to(start, distance.shape)
    values = expand_dims(start, axis) + expand_dims(distance, axis) * shares.astype(distance.dtype)
    values = cast(values, dtype or config.floatx())
    return (values, distance / steps) if retstep else values


def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: float = 10, dtype: Any = None, axis: int = 0
) -> Any:  # fmt: skip
    """base^x of `num` numbers x at equal distances from start to stop."""
    if isinstance(start, Tensor) or isinstance(stop, Tensor):
        return base ** linspace(start, stop, num, endpoint, dtype=dtype, axis=axis)
    return np.logspace(start, stop, num, endpoint, base, axis=axis).astype(dtype or config.floatx())


def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> np.ndarray:
    """`num` numbers in equal proportions from start to stop."""
    return np.geomspace(start, stop, num, endpoint, axis=axis).astype(dtype or config.floatx())


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> np.ndarray:  # noqa: N803  (Keras's names)
    """(N, M) with 1 on diagonal number k and below it, else 0."""
    return np.tri(N, M, k, dtype or config.floatx())


def meshgrid(*x: Any, indexing: str = "xy") -> list[Any]:
    """The coordinates of a grid: of axes of length n and m, two arrays (m, n), or with "ij" (n, m)."""
    if any(isinstance(values, Tensor) for values in x):
        return _grids([convert(values) for values in x], indexing)
    return [np.ascontiguousarray(grid) for grid in np.meshgrid(*map(np.asarray, x), indexing=indexing)]  # type: ignore[call-overload]


def _grids(xs: list[Tensor], indexing: str) -> list[Any]:
    """`meshgrid` of tensors."""
    places = list(range(len(xs)))
    if indexing == "xy":
        places[:2] = reversed(places[:2])
    axes = [[-1 if axis == place else 1 for axis in range(len(xs))] for place in places]
    lengths = dict(zip(places, (x.shape[0] if x.ndim else 1 for x in xs), strict=True))
    whole = [lengths[axis] for axis in range(len(xs))]
    return [broadcast_to(reshape(x, dims), whole) for x, dims in zip(xs, axes, strict=True)]
