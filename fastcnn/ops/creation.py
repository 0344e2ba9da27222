"""Arrays that depend on no tensor. They are made at once, by NumPy; among tensors they are constants."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import config
from fastcnn.ops.core import convert_to_tensor

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


def full(shape: int | Sequence[int], fill_value: Any, dtype: Any = None) -> np.ndarray:
    """`fill_value` everywhere."""
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
    values, step = np.linspace(start, stop, num, endpoint, retstep=True, axis=axis)
    values = values.astype(dtype or config.floatx())
    return (values, step) if retstep else values


def logspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, base: float = 10, dtype: Any = None, axis: int = 0
) -> np.ndarray:  # fmt: skip
    """base^x of `num` numbers x at equal distances from start to stop."""
    return np.logspace(start, stop, num, endpoint, base, axis=axis).astype(dtype or config.floatx())


def geomspace(
    start: Any, stop: Any, num: int = 50, endpoint: bool = True, dtype: Any = None, axis: int = 0
) -> np.ndarray:
    """`num` numbers in equal proportions from start to stop."""
    return np.geomspace(start, stop, num, endpoint, axis=axis).astype(dtype or config.floatx())


def tri(N: int, M: int | None = None, k: int = 0, dtype: Any = None) -> np.ndarray:  # noqa: N803  (Keras's names)
    """(N, M) with 1 on diagonal number k and below it, else 0."""
    return np.tri(N, M, k, dtype or config.floatx())


def meshgrid(*x: Any, indexing: str = "xy") -> list[np.ndarray]:
    """The coordinates of a grid: of axes of length n and m, two arrays (m, n), or with "ij" (n, m)."""
    return [np.ascontiguousarray(grid) for grid in np.meshgrid(*map(np.asarray, x), indexing=indexing)]  # type: ignore[call-overload]
