"""Diagonals of matrices: taken out, summed, laid in."""

from typing import Any

import numpy as np

from fastcnn.errors import Error
from fastcnn.ops.core import convert, dtype_kept, whole_function
from fastcnn.ops.elementwise import multiply
from fastcnn.ops.reduction import sum as total
from fastcnn.ops.shape import known, moveaxis, normalize_axis, pad, ravel, reshape, take
from fastcnn.tensor import Tensor

__all__ = ["diag", "diagflat", "diagonal", "trace", "vander"]


def _diagonal_places(rows: int, columns: int, offset: int) -> np.ndarray:
    """Where diagonal number `offset` lies in a matrix as one dimension; above the main one it is positive."""
    first = offset if offset > 0 else -offset * columns
    count = min(rows + min(offset, 0), columns - max(offset, 0))
    if count < 1:
        raise Error(f"diagonal: a matrix of {rows} x {columns} has no diagonal number {offset}")
    return first + (columns + 1) * np.arange(count)


@dtype_kept
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """Diagonal number `offset` of the matrices that lie along two axes, as the last axis of the result."""
    x = convert(x)
    axes = [normalize_axis(axis, x.ndim, "diagonal") for axis in (axis1, axis2)]
    x = moveaxis(x, axes, [-2, -1])
    rows, columns = known(x.shape[-2:])
    flat = reshape(x, (*[None] * (x.ndim - 2), rows * columns))
    return take(flat, _diagonal_places(rows, columns, offset), -1)


@whole_function(least="int32")
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of diagonal number `offset` of the matrices that lie along two axes."""
    return total(diagonal(x, offset, axis1, axis2), -1)


@dtype_kept
def diag(x: Any, k: int = 0) -> Any:
    """The diagonal number k of a matrix, or the matrix with a vector as its diagonal, else 0."""
    x = convert(x)
    if x.ndim not in (1, 2):
        raise Error(f"diag: expected a vector or a matrix, got shape {x.shape}")
    return diagonal(x, k) if x.ndim == 2 else diagflat(x, k)


@whole_function()
def diagflat(x: Any, k: int = 0) -> Any:
    """The matrix with the elements of x on diagonal number k, else 0."""
    x = ravel(x)
    (n,) = known(x.shape)
    size = n + abs(k)
    return _laid_in(x, n, size, k)


def _laid_in(x: Tensor, n: int, size: int, k: int) -> Tensor:
    square = multiply(reshape(x, (n, 1)), np.eye(n, dtype=x.dtype))
    above, left = max(-k, 0), max(k, 0)
    return pad(square, [(above, size - n - above), (left, size - n - left)])


@whole_function()
def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:  # noqa: N803  (Keras's name)
    """Powers of the elements of a vector, a row each: from the highest, N - 1, down to 0, or up if increasing."""
    x = convert(x)
    count = known(x.shape)[0] if N is None else N
    exponents = np.arange(count, dtype="float64")
    return reshape(x, (-1, 1)) ** convert((exponents if increasing else exponents[::-1]).astype(x.dtype))
