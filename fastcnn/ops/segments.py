"""Values sent to places: sums and extremes of segments, scattering, writing into a part of a tensor."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.errors import Error, did_you_mean
from fastcnn.graph import apply
from fastcnn.ops.algebra import prod
from fastcnn.ops.core import convert, whole_function
from fastcnn.ops.elementwise import add, equal, greater, maximum, minimum, multiply, where
from fastcnn.ops.reduction import max as largest
from fastcnn.ops.reduction import min as smallest
from fastcnn.ops.reduction import sum as total
from fastcnn.ops.shape import Place, TakeGrad, cast, expand_dims, floating, known, promoted, ravel, reshape
from fastcnn.tensor import Constant, Tensor

__all__ = [
    "scatter", "scatter_update", "segment_max", "segment_min", "segment_prod", "segment_sum", "slice_update",
]  # fmt: skip


def _segments(segment_ids: Any, num_segments: int | None) -> int:
    if num_segments is not None:
        return int(num_segments)
    if isinstance(segment_ids, Tensor) and not isinstance(segment_ids, Constant):
        raise Error("segment ids are not known here; give num_segments")
    return int(np.max(np.asarray(segment_ids))) + 1


def segment_sum(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """y[s] = sum of data[i] over the i with segment_ids[i] = s, of s from 0 to num_segments - 1."""
    return _sums(data, segment_ids, _segments(segment_ids, num_segments))


@whole_function()
def _sums(data: Any, segment_ids: Any, count: int) -> Any:
    x = floating(data)
    return apply(TakeGrad((count, *known(x.shape[1:]))), x, convert(segment_ids))


def segment_max(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """y[s] = the largest data[i] with segment_ids[i] = s; -infinity if there are none."""
    return _reduced(data, segment_ids, _segments(segment_ids, num_segments), largest, -np.inf)


def segment_min(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """y[s] = the smallest data[i] with segment_ids[i] = s; infinity if there are none."""
    return _reduced(data, segment_ids, _segments(segment_ids, num_segments), smallest, np.inf)


def segment_prod(data: Any, segment_ids: Any, num_segments: int | None = None, sorted: bool = False) -> Any:
    """y[s] = the product of data[i] with segment_ids[i] = s."""
    return _reduced(data, segment_ids, _segments(segment_ids, num_segments), prod, 1.0)


@whole_function()
def _reduced(data: Any, segment_ids: Any, count: int, reduce: Callable[..., Any], neutral: float) -> Any:
    """`reduce` over the rows of each segment; the others' are `neutral`. Memory: segments times that of data."""
    x, ids = floating(data), floating(segment_ids)
    own = equal(expand_dims(ids, 0), np.arange(count, dtype=ids.dtype)[:, None])
    own = reshape(own, (*known(own.shape), *[1] * (x.ndim - 1)))
    return reduce(where(own, expand_dims(x, 0), neutral), 1)


def _flat_places(indices: Any, shape: Sequence[int]) -> Any:
    """Indices (..., rank) into the leading dimensions as places among these as one dimension."""
    places = cast(convert(indices), "float64")  # float32 counts to 2^24 only
    strides = [float(math.prod(shape[i + 1 :])) for i in range(len(shape))]
    positive = where(places < 0, add(places, np.array(shape, places.dtype)), places)
    return total(multiply(positive, np.array(strides, places.dtype)), -1)


def scatter(indices: Any, values: Any, shape: Sequence[int]) -> Any:
    """A tensor of `shape` with the values at indices (..., rank), their sum where these repeat, else 0."""
    return _scattered(values, indices, tuple(int(n) for n in shape))


@whole_function()
def _scattered(values: Any, indices: Any, shape: tuple[int, ...]) -> Any:
    x, index = floating(values), convert(indices)
    (rank,) = known(index.shape[-1:])
    places = ravel(_flat_places(index, shape[:rank]))
    rows = reshape(x, (-1, *shape[rank:]))
    return reshape(apply(TakeGrad((math.prod(shape[:rank]), *shape[rank:])), rows, places), shape)


REDUCTIONS = (None, "add", "max", "min", "mul")


def scatter_update(inputs: Any, indices: Any, updates: Any, reduction: str | None = None) -> Any:
    """inputs with updates in place of what is at indices (..., rank); of equal ones, known indices take the last.

    reduction: "add", "max", "min" or "mul" combine the updates with what is there.
    """
    if reduction not in REDUCTIONS:
        raise Error(
            f"scatter_update: reduction {reduction!r} is unknown{did_you_mean(str(reduction), map(str, REDUCTIONS))}"
        )
    return _updated(inputs, updates, indices, reduction)


@whole_function(2)
def _updated(inputs: Any, updates: Any, indices: Any, reduction: str | None) -> Any:
    x, new = promoted(inputs, updates)
    x, new, index = floating(x), floating(new), convert(indices)
    shape = known(x.shape)
    (rank,) = known(index.shape[-1:])
    places, size = ravel(_flat_places(index, shape[:rank])), math.prod(shape[:rank])
    rows = reshape(new, (-1, *shape[rank:]))
    if reduction == "add":
        return x + reshape(apply(TakeGrad((size, *shape[rank:])), rows, places), shape)
    if reduction is not None:
        reduce, neutral, combine = {
            "max": (largest, -np.inf, maximum), "min": (smallest, np.inf, minimum), "mul": (prod, 1.0, multiply),
        }[reduction]  # fmt: skip
        return combine(x, reshape(_reduced(rows, places, size, reduce, neutral), shape))
    kept = cast(_last_of_equal(places), rows.dtype)
    rows = rows * reshape(kept, (-1, *[1] * (rows.ndim - 1)))
    written = apply(TakeGrad((size,)), kept, places)
    written = reshape(greater(written, 0.0), (*shape[:rank], *[1] * (len(shape) - rank)))
    return where(written, reshape(apply(TakeGrad((size, *shape[rank:])), rows, places), shape), x)


def _last_of_equal(places: Tensor) -> Tensor:
    """1 for a place that no later one equals, else 0."""
    (n,) = known(places.shape)
    later = np.triu(np.ones((n, n), places.dtype), 1)
    return 1.0 - largest(equal(expand_dims(places, 1), expand_dims(places, 0)) * later, 1)


def _placed(update: Tensor, starts: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    index = tuple((start, start + n, 1) for start, n in zip(starts, known(update.shape), strict=True))
    return apply(Place(index, shape, 0.0), update)


def slice_update(inputs: Any, start_indices: Sequence[int], updates: Any) -> Any:
    """inputs with updates as the box that begins at start_indices."""
    return _slice_updated(inputs, updates, tuple(int(i) for i in np.asarray(start_indices)))


@whole_function(2)
def _slice_updated(inputs: Any, updates: Any, starts: tuple[int, ...]) -> Any:
    x, new = promoted(inputs, updates)
    x, new = floating(x), floating(new)
    shape = known(x.shape)
    box = tuple(slice(start, start + n) for start, n in zip(starts, known(new.shape), strict=True))
    outside = np.ones(shape, x.dtype)
    outside[box] = 0
    if outside[box].shape != new.shape:
        raise Error(f"slice_update: {new.shape} elements from {starts} do not fit {shape}")
    return where(outside, x, _placed(new, starts, shape))
