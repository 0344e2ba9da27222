"""Statistics of ordered numbers and of differences."""

from typing import Any

import numpy as np

from fastcnn.errors import Error, did_you_mean
from fastcnn.ops.algebra import outer
from fastcnn.ops.core import convert, op_function, whole_function
from fastcnn.ops.elementwise import (
    ceil,
    equal,
    floor,
    maximum,
    multiply,
    round,
    sqrt,
    square,
    subtract,
    where,
)
from fastcnn.ops.matmul import matmul
from fastcnn.ops.ordering import sort, take_along_axis
from fastcnn.ops.reduction import Axis, mean
from fastcnn.ops.reduction import max as largest
from fastcnn.ops.reduction import min as smallest
from fastcnn.ops.reduction import sum as total
from fastcnn.ops.shape import (
    expand_dims,
    floating,
    getitem,
    known,
    moveaxis,
    normalize_axes,
    normalize_axis,
    reshape,
    stack,
    transpose,
)
from fastcnn.tensor import Tensor

__all__ = [
    "cdist", "corrcoef", "diff", "median", "nanmedian", "nanpercentile", "nanquantile", "percentile", "ptp", "quantile",
    "trapezoid",
]  # fmt: skip

METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


@op_function
def quantile(x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False) -> Any:
    """The number that a share q in [0, 1] of those over `axis` (None: all) lie below.

    Between neighbours it is the "linear" interpolation, the "lower", the "higher", the "midpoint" or the "nearest".
    Several shares, an array, become the first axis.
    """
    return _quantile(floating(x), q, axis, method, keepdims)


def _quantile(x: Tensor, q: Any, axis: Axis, method: str, keepdims: bool) -> Tensor:
    if method not in METHODS:
        raise Error(f"quantile: method {method!r} is unknown{did_you_mean(method, METHODS)}")
    shares = np.asarray(q, "float64")
    row, axes = _last(x, axis)
    ordered = sort(row, -1)
    (n,) = known(row.shape[-1:])
    found = [_at(ordered, float(share) * (n - 1), method) for share in shares.reshape(-1)]
    has_nan = largest(row, -1)  # NaN if any is NaN
    found = [where(equal(has_nan, has_nan), y, has_nan) for y in found]
    found = [expand_dims(y, axes) if keepdims else y for y in found]
    return stack(found) if shares.ndim else found[0]


def _last(x: Tensor, axis: Axis) -> tuple[Tensor, tuple[int, ...]]:
    """x with `axis`, several as one, last; and the axes."""
    axes = normalize_axes(axis, x.ndim, "quantile")
    rest = [i for i in range(x.ndim) if i not in axes]
    size = int(np.prod(known([x.shape[i] for i in axes])))
    return reshape(transpose(x, [*rest, *axes]), (*[None] * len(rest), size)), axes


def _at(ordered: Tensor, place: float, method: str) -> Tensor:
    """The number at a place between two elements of the last axis."""
    low, high = int(np.floor(place)), int(np.ceil(place))
    part = {"lower": 0.0, "higher": 1.0, "midpoint": 0.5, "nearest": float(np.round(place) - low)}
    share = part.get(method, place - low)
    first, second = ordered[..., low], ordered[..., high]
    return first if low == high or share == 0 else first * (1.0 - share) + second * share


@op_function
def percentile(x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False) -> Any:
    """`quantile` of q / 100."""
    return quantile(x, np.asarray(q, "float64") / 100.0, axis, method, keepdims)


@op_function
def median(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The number in the middle over `axis` (None: all), or the mean of the two."""
    return quantile(x, 0.5, axis, "midpoint", keepdims)


@op_function
def nanquantile(x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False) -> Any:
    """`quantile` of the numbers that are not NaN."""
    x = floating(x)
    shares = np.asarray(q, "float64")
    row, axes = _last(x, axis)
    ordered, counts = sort(row, -1), total(equal(row, row), -1, keepdims=True)
    found = [_among(ordered, counts, float(share), method) for share in shares.reshape(-1)]
    found = [expand_dims(y, axes) if keepdims else y for y in found]
    return stack(found) if shares.ndim else found[0]


def _among(ordered: Tensor, counts: Tensor, share: float, method: str) -> Tensor:
    """The quantile of the first `counts` elements of rows."""
    place = maximum((counts - 1.0) * share, 0.0)
    low, high = floor(place), ceil(place)
    weight = {
        "lower": low * 0.0,
        "higher": high - low,
        "midpoint": (high - low) * 0.5,
        "nearest": round(place) - low,
    }
    part = weight.get(method, place - low)
    first, second = (take_along_axis(ordered, at, -1) for at in (low, high))
    return getitem(first + (second - first) * part, (..., 0))


@op_function
def nanpercentile(x: Any, q: Any, axis: Axis = None, method: str = "linear", keepdims: bool = False) -> Any:
    """`nanquantile` of q / 100."""
    return nanquantile(x, np.asarray(q, "float64") / 100.0, axis, method, keepdims)


@op_function
def nanmedian(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """`median` of the numbers that are not NaN."""
    return nanquantile(x, 0.5, axis, "midpoint", keepdims)


@whole_function()
def ptp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The largest less the smallest element over `axis` (None: all)."""
    return subtract(largest(x, axis, keepdims), smallest(x, axis, keepdims))


@whole_function()
def diff(a: Any, n: int = 1, axis: int = -1) -> Any:
    """Differences of neighbours along `axis`, n times over."""
    x = convert(a)
    place = normalize_axis(axis, x.ndim, "diff")
    before = (slice(None),) * place
    for _ in range(n):
        x = x[(*before, slice(1, None))] - x[(*before, slice(0, -1))]
    return x


@op_function
def trapezoid(y: Any, x: Any = None, dx: float = 1.0, axis: int = -1) -> Any:
    """The area below a curve y along `axis` by trapezia: at places x, or at distances dx."""
    heights = moveaxis(floating(y), axis, -1)
    widths = dx if x is None else diff(moveaxis(floating(x), axis if convert(x).ndim > 1 else -1, -1))
    return total(multiply((heights[..., 1:] + heights[..., :-1]) * 0.5, widths), -1)


@op_function
def corrcoef(x: Any) -> Any:
    """Correlations of variables, one a row: (variables, observations) -> (variables, variables)."""
    x = floating(x)
    x = reshape(x, (1, -1)) if x.ndim == 1 else x
    centred = x - mean(x, -1, keepdims=True)
    covariance = matmul(centred, transpose(centred))
    length = sqrt(total(square(centred), -1))
    result = covariance / outer(length, length)
    return result[0, 0] if x.shape[0] == 1 else result


@op_function
def cdist(x: Any, y: Any) -> Any:
    """Distances of all pairs of points: (..., n, d), (..., m, d) -> (..., n, m)."""
    difference = expand_dims(floating(x), -2) - expand_dims(floating(y), -3)
    return sqrt(total(square(difference), -1))
