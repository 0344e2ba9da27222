"""Functions that sort. They take arrays: what a tensor will hold is not known, and its order has no gradient."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastcnn.errors import Error
from fastcnn.tensor import Constant, Tensor, Variable

__all__ = ["argsort", "bincount", "median", "nonzero", "searchsorted", "sort", "top_k"]

F = TypeVar("F", bound=Callable[..., Any])


def on_arrays(function: F) -> F:
    """Take the first argument as an array; refuse a tensor whose values are not known."""

    @functools.wraps(function)
    def wrapper(x: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(x, Tensor) and not isinstance(x, Variable | Constant):
            raise Error(
                f"ops.{function.__name__} works on arrays only, for example in a metric or on predictions; in a layer "
                "or a loss use ops.max, ops.where or comparisons"
            )
        return function(np.asarray(x), *args, **kwargs)

    return wrapper  # type: ignore[return-value]


@on_arrays
def sort(x: Any, axis: int = -1) -> np.ndarray:
    """The elements along `axis`, the smallest first."""
    return np.sort(x, axis)


@on_arrays
def argsort(x: Any, axis: int | None = -1) -> np.ndarray:
    """The places of the elements along `axis`, the smallest first; int32."""
    return np.argsort(x, axis, kind="stable").astype(np.int32)


@on_arrays
def top_k(x: Any, k: int, sorted: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """The k largest elements along the last axis, the largest first, and their places, int32."""
    places = np.argsort(-x, -1, kind="stable")[..., :k]
    return np.take_along_axis(x, places, -1), places.astype(np.int32)


@on_arrays
def median(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """The middle element over `axis` (None: all), or the mean of the two in the middle."""
    return np.median(x, axis, keepdims=keepdims)


@on_arrays
def nonzero(x: Any) -> tuple[np.ndarray, ...]:
    """The places of the elements that are not 0: their indices along each axis, int32."""
    return tuple(indices.astype(np.int32) for indices in np.nonzero(x))


@on_arrays
def bincount(x: Any, weights: Any = None, minlength: int = 0) -> np.ndarray:
    """How often 0, 1, 2, ... occur, or the sum of the weights where they do."""
    counts = np.bincount(x, weights, minlength)
    return counts.astype(np.int32) if weights is None else counts


@on_arrays
def searchsorted(sorted_sequence: Any, values: Any, side: str = "left") -> np.ndarray:
    """Where values would stand in a sorted sequence; among equal ones at the "left" or "right" end."""
    return np.searchsorted(sorted_sequence, np.asarray(values), side=side).astype(np.int32)  # type: ignore[call-overload]
