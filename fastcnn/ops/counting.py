"""Sets, counts and places of numbers. They take arrays: how long their results are depends on values."""

from typing import Any

import numpy as np

from fastcnn.errors import Error
from fastcnn.ops.core import convert, op_function, predicate
from fastcnn.ops.elementwise import equal
from fastcnn.ops.known import on_arrays
from fastcnn.ops.reduction import max as largest
from fastcnn.ops.reduction import sum as total
from fastcnn.ops.shape import cast, expand_dims, floating, promoted, ravel

__all__ = [
    "bincount", "digitize", "gcd", "histogram", "isin", "lcm", "nonzero", "searchsorted", "unique", "unravel_index",
]  # fmt: skip


@on_arrays
def nonzero(x: Any) -> tuple[np.ndarray, ...]:
    """The places of the elements that are not 0: their indices along each axis, int32."""
    return tuple(indices.astype("int32") for indices in np.nonzero(x))


@on_arrays
def bincount(x: Any, weights: Any = None, minlength: int = 0, sparse: bool = False) -> np.ndarray:
    """How often 0, 1, 2, ... occur along the last axis, or the sum of the weights where they do."""
    if sparse:
        raise Error("bincount: tensors are dense; sparse must be False")
    x = np.asarray(x)
    length = max(int(minlength), int(x.max(initial=-1)) + 1)
    rows = x.reshape(-1, x.shape[-1])
    shares = [None] * len(rows) if weights is None else np.asarray(weights).reshape(rows.shape)
    counts = np.stack([np.bincount(row, share, length) for row, share in zip(rows, shares, strict=True)])
    dtype = "int32" if weights is None else np.asarray(weights).dtype
    return counts.reshape(*x.shape[:-1], length).astype(dtype)


@on_arrays
def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> np.ndarray:
    """Where values would stand in a sorted sequence; among equal ones at the "left" or "right" end."""
    return np.searchsorted(sorted_sequence, np.asarray(values), side=side).astype("int32")  # type: ignore[call-overload]


@on_arrays
def unique(
    x: Any, sorted: bool = True, return_index: bool = False, return_inverse: bool = False,
    return_counts: bool = False, axis: int | None = None, size: int | None = None, fill_value: Any = None,
) -> Any:  # fmt: skip
    """The different elements of x (or slices along `axis`), the smallest first.

    On demand, where each stands first, which of them every element is, and how often they occur. size: how many to
    give; what is missing is `fill_value` (0).
    """
    found = np.unique(x, True, True, True, axis)
    values, first, inverse, counts = found
    if size is not None:
        values = _of_length(values, size, axis or 0, 0 if fill_value is None else fill_value)
        first, counts = (_of_length(part, size, 0, 0) for part in (first, counts))
    asked = ((first, return_index), (inverse, return_inverse), (counts, return_counts))
    extras = [part.astype("int32") for part, wanted in asked if wanted]
    return (values, *extras) if extras else values


def _of_length(x: np.ndarray, size: int, axis: int, value: Any) -> np.ndarray:
    x = np.take(x, range(min(size, x.shape[axis])), axis)
    widths = [(0, size - x.shape[axis] if i == axis else 0) for i in range(x.ndim)]
    return np.pad(x, widths, constant_values=value)


@predicate
def isin(x1: Any, x2: Any, assume_unique: bool = False, invert: bool = False) -> Any:
    """Whether each element of x1 is one of x2. All pairs are compared."""
    x, values = promoted(x1, x2)
    found = largest(equal(expand_dims(x, -1), ravel(values)), -1)
    return 1.0 - found if invert else found


def digitize(x: Any, bins: Any) -> Any:
    """The number of the bounds in `bins`, which ascend, that are not above each element: its bin, int32."""
    return _bins_below(x, np.asarray(bins))


@op_function
def _bins_below(x: Any, bins: Any) -> Any:
    x, bins = floating(x), convert(bins)
    return cast(total(expand_dims(x, -1) >= cast(bins, x.dtype), -1), "int32")


@on_arrays
def histogram(x: Any, bins: Any = 10, range: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """How many elements lie in each of `bins` intervals of equal width, from the smallest to the largest or over
    `range`; and the bounds of the intervals.
    """
    counts, edges = np.histogram(x, bins, range)
    dtype = np.asarray(x).dtype if np.asarray(x).dtype.kind == "f" else "float32"
    return counts.astype("int32"), edges.astype(dtype)


@on_arrays
def gcd(x1: Any, x2: Any) -> np.ndarray:
    """The greatest common divisor of whole numbers."""
    return np.gcd(x1, x2)


@on_arrays
def lcm(x1: Any, x2: Any) -> np.ndarray:
    """The least common multiple of whole numbers."""
    return np.lcm(x1, x2)


@on_arrays
def unravel_index(indices: Any, shape: Any) -> tuple[np.ndarray, ...]:
    """The indices along each axis of places in an array of `shape` as one dimension."""
    return tuple(part.astype("int32") for part in np.unravel_index(indices, tuple(shape)))
