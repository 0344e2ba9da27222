"""Functions that move numbers, made of those in `shape`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.errors import Error
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.loss import one_hot
from fastcnn.ops.reduction import sum as total
from fastcnn.ops.shape import (
    concatenate,
    expand_dims,
    flip,
    getitem,
    known,
    moveaxis,
    normalize_axis,
    ravel,
    reshape,
    shape,
    transpose,
)
from fastcnn.tensor import Tensor

__all__ = [
    "copy", "depth_to_space", "get_item", "hstack", "ndim", "roll", "rot90", "size", "space_to_depth",
    "take_along_axis", "vstack",
]  # fmt: skip


def ndim(x: Any) -> int:
    """The number of dimensions."""
    return len(shape(x))


def size(x: Any) -> int | None:
    """The number of elements; None while a dimension is open."""
    return None if None in shape(x) else int(np.prod(known(shape(x))))


@op_function
def copy(x: Any) -> Any:
    """x itself: a tensor is never written to. Of an array, another one."""
    return convert(x)


@op_function
def get_item(x: Any, key: Any) -> Any:
    """x[key]."""
    return getitem(convert(x), key)


@op_function
def vstack(xs: Sequence[Any]) -> Any:
    """The tensors one after another along the first axis; a vector is a row."""
    return concatenate([_at_least(convert(x), 2) for x in xs], 0)


@op_function
def hstack(xs: Sequence[Any]) -> Any:
    """The tensors side by side along the second axis; vectors, along the only one."""
    tensors = [_at_least(convert(x), 1) for x in xs]
    return concatenate(tensors, min(1, tensors[0].ndim - 1))


def _at_least(x: Tensor, rank: int) -> Tensor:
    return expand_dims(x, tuple(range(rank - x.ndim))) if x.ndim < rank else x


@op_function
def roll(x: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Any:
    """x moved on by `shift` places along `axis` (None: flat); what leaves at the end enters at the start."""
    x = convert(x)
    if axis is None:
        return reshape(roll(ravel(x), shift, 0), known(x.shape))
    shifts = [shift] if isinstance(shift, int) else list(shift)
    axes = [axis] if isinstance(axis, int) else list(axis)
    for places, place in zip(shifts, axes, strict=True):
        x = _rolled(x, places, normalize_axis(place, x.ndim, "roll"))
    return x


def _rolled(x: Tensor, shift: int, axis: int) -> Tensor:
    (n,) = known(x.shape[axis : axis + 1])
    cut = -shift % n
    before = (slice(None),) * axis
    return concatenate([x[(*before, slice(cut, None))], x[(*before, slice(0, cut))]], axis) if cut else x


@op_function
def rot90(array: Any, k: int = 1, axes: Sequence[int] = (0, 1)) -> Any:
    """Turned k times by a right angle, from the first of the two axes towards the second."""
    x = convert(array)
    first, second = (normalize_axis(axis, x.ndim, "rot90") for axis in axes)
    if k % 4 == 0:
        return x
    if k % 4 == 2:
        return flip(x, (first, second))
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return flip(transpose(x, order), first) if k % 4 == 1 else transpose(flip(x, first), order)


@op_function
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Any:
    """The elements of x at `indices` along `axis` (None: of x as one dimension), all other places being equal.

    Found by comparing every index with every place, so for few indices or short axes.
    """
    x, places = convert(x), convert(indices)
    if axis is None:
        return take_along_axis(ravel(x), ravel(places), 0)
    axis = normalize_axis(axis, x.ndim, "take_along_axis")
    hits = one_hot(moveaxis(places, axis, -1), *known(x.shape[axis : axis + 1]))
    return moveaxis(total(expand_dims(moveaxis(x, axis, -1), -2) * hits, -1), -1, axis)


@op_function
def depth_to_space(x: Any, block_size: int, data_format: str | None = "channels_last") -> Any:
    """(n, h, w, b b c) -> (n, h b, w b, c): the channels of a pixel as b x b pixels, row by row (Shi et al. 2016)."""
    _check_format("depth_to_space", data_format)
    x, b = convert(x), block_size
    h, w, channels = known(x.shape[1:])
    if channels % (b * b):
        raise Error(f"depth_to_space: {channels} channels are no multiple of block_size^2 = {b * b}")
    c = channels // (b * b)
    blocks = reshape(x, (-1, h, w, b, b, c))
    return reshape(transpose(blocks, (0, 1, 3, 2, 4, 5)), (-1, h * b, w * b, c))


@op_function
def space_to_depth(x: Any, block_size: int, data_format: str | None = "channels_last") -> Any:
    """(n, h b, w b, c) -> (n, h, w, b b c): what `depth_to_space` undoes."""
    _check_format("space_to_depth", data_format)
    x, b = convert(x), block_size
    height, width, c = known(x.shape[1:])
    if height % b or width % b:
        raise Error(f"space_to_depth: images of {height} x {width} cannot be cut into blocks of {b} x {b}")
    blocks = reshape(x, (-1, height // b, b, width // b, b, c))
    return reshape(transpose(blocks, (0, 1, 3, 2, 4, 5)), (-1, height // b, width // b, b * b * c))


def _check_format(what: str, data_format: str | None) -> None:
    if data_format not in (None, "channels_last"):
        raise Error(f"{what}: data_format must be 'channels_last', got {data_format!r}")
