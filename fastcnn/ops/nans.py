"""Reductions that leave NaN out."""

from typing import Any

import numpy as np

from fastcnn.ops.algebra import cumprod, cumsum, prod
from fastcnn.ops.core import op_function, whole_function
from fastcnn.ops.elementwise import equal, ones_like, sqrt, square, subtract, where, zeros_like
from fastcnn.ops.reduction import Axis, argmax, argmin
from fastcnn.ops.reduction import max as largest
from fastcnn.ops.reduction import min as smallest
from fastcnn.ops.reduction import sum as total
from fastcnn.ops.shape import cast, floating
from fastcnn.tensor import Tensor

__all__ = [
    "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmin", "nanprod", "nanstd", "nansum",
    "nanvar",
]  # fmt: skip


def instead(x: Any, value: float) -> Tensor:
    """x with `value` in place of NaN."""
    x = floating(x)
    return where(equal(x, x), x, zeros_like(x) + value)


@whole_function(least="int32")
def nansum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum of the numbers over `axis` (None: all)."""
    return total(instead(x, 0.0), axis, keepdims)


@op_function
def nanmean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean of the numbers over `axis` (None: all); NaN if there are none."""
    return nansum(floating(x), axis, keepdims) / _counts(floating(x), axis, keepdims)


def _counts(x: Tensor, axis: Axis, keepdims: bool) -> Tensor:
    return total(equal(x, x), axis, keepdims)


@op_function
def nanvar(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean of (x - mean)^2, of the numbers over `axis` (None: all)."""
    x = floating(x)
    return nanmean(square(subtract(x, nanmean(x, axis, keepdims=True))), axis, keepdims)


@op_function
def nanstd(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The square root of `nanvar`."""
    return sqrt(nanvar(x, axis, keepdims))


@whole_function()
def nanmax(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest number over `axis` (None: all); NaN if there are none."""
    found = largest(instead(x, -np.inf), axis, keepdims)
    return where(_counts(floating(x), axis, keepdims), found, np.nan)


@whole_function()
def nanmin(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The smallest number over `axis` (None: all); NaN if there are none."""
    found = smallest(instead(x, np.inf), axis, keepdims)
    return where(_counts(floating(x), axis, keepdims), found, np.nan)


@whole_function(least="int32")
def nanprod(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The product of the numbers over `axis` (None: all)."""
    return prod(instead(x, 1.0), axis, keepdims)


@whole_function(least=int)
def nancumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Sums up to each element of the numbers along `axis` (None: of x as one dimension)."""
    return cumsum(instead(x, 0.0), axis, dtype)


@whole_function(least=int)
def nancumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """Products up to each element of the numbers along `axis` (None: of x as one dimension)."""
    return cumprod(instead(x, 1.0), axis, dtype)


@op_function
def nanargmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The first place of the largest number along `axis`, int32; -1 if there are none."""
    return _place(argmax(instead(x, -np.inf), axis, keepdims), x, axis, keepdims)


@op_function
def nanargmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The first place of the smallest number along `axis`, int32; -1 if there are none."""
    return _place(argmin(instead(x, np.inf), axis, keepdims), x, axis, keepdims)


def _place(place: Tensor, x: Any, axis: int | None, keepdims: bool) -> Tensor:
    counts = _counts(floating(x), axis, keepdims)
    return cast(where(counts, cast(place, counts.dtype), -ones_like(counts)), "int32")
