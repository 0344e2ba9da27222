"""Functions that move numbers, made of those in `shape`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.dtypes import standardize_dtype
from fastcnn.errors import Error
from fastcnn.ops.core import convert, dtype_kept
from fastcnn.ops.known import on_arrays
from fastcnn.ops.shape import (
    concatenate,
    expand_dims,
    flip,
    getitem,
    known,
    normalize_axis,
    promoted,
    ravel,
    reshape,
    shape,
    split,
    transpose,
)
from fastcnn.tensor import Tensor

__all__ = [
    "append", "array_split", "conj", "conjugate", "copy", "depth_to_space", "dsplit", "dstack", "fliplr", "flipud",
    "get_item", "hsplit", "hstack", "ndim", "real", "roll", "rot90", "size", "space_to_depth", "view", "vsplit",
    "vstack",
]  # fmt: skip


def ndim(x: Any) -> int:
    """The number of dimensions."""
    return len(shape(x))


def size(x: Any) -> int | None:
    """The number of elements; None while a dimension is open."""
    return None if None in shape(x) else int(np.prod(known(shape(x))))


@dtype_kept
def copy(x: Any) -> Any:
    """x itself: a tensor is never written to. Of an array, another one."""
    return convert(x)


@dtype_kept
def get_item(x: Any, key: Any) -> Any:
    """x[key]."""
    return getitem(convert(x), key)


@dtype_kept
def vstack(xs: Sequence[Any]) -> Any:
    """The tensors one after another along the first axis; a vector is a row."""
    return concatenate([_at_least(x, 2) for x in promoted(*xs)], 0)


@dtype_kept
def hstack(xs: Sequence[Any]) -> Any:
    """The tensors side by side along the second axis; vectors, along the only one."""
    tensors = [_at_least(x, 1) for x in promoted(*xs)]
    return concatenate(tensors, min(1, tensors[0].ndim - 1))


@dtype_kept
def dstack(xs: Sequence[Any]) -> Any:
    """The tensors one behind another along the third axis; a vector is a row, a matrix has depth 1."""
    rows = [_at_least(x, 2) for x in promoted(*xs)]
    return concatenate([expand_dims(x, 2) if x.ndim == 2 else x for x in rows], 2)


@dtype_kept
def append(x1: Any, x2: Any, axis: int | None = None) -> Any:
    """x1 and then x2 along `axis` (None: both as one dimension)."""
    return concatenate([ravel(x1), ravel(x2)]) if axis is None else concatenate([x1, x2], axis)


@dtype_kept
def array_split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> Any:
    """`split` whose parts may differ by one in length; the first ones are longer."""
    x = convert(x)
    if not isinstance(indices_or_sections, int):
        return split(x, indices_or_sections, axis)
    place, count = normalize_axis(axis, x.ndim, "array_split"), indices_or_sections
    (n,) = known(x.shape[place : place + 1])
    return split(x, [i * (n // count) + min(i, n % count) for i in range(1, count)], axis)


@dtype_kept
def vsplit(x: Any, indices_or_sections: int | Sequence[int]) -> Any:
    """`split` along the first axis."""
    return split(x, indices_or_sections, 0)


@dtype_kept
def hsplit(x: Any, indices_or_sections: int | Sequence[int]) -> Any:
    """`split` along the second axis, or the only one."""
    return split(x, indices_or_sections, min(1, len(shape(x)) - 1))


@dtype_kept
def dsplit(x: Any, indices_or_sections: int | Sequence[int]) -> Any:
    """`split` along the third axis."""
    return split(x, indices_or_sections, 2)


@dtype_kept
def flipud(x: Any) -> Any:
    """x upside down: in reverse order along the first axis."""
    return flip(x, 0)


@dtype_kept
def fliplr(x: Any) -> Any:
    """x from right to left: in reverse order along the second axis."""
    return flip(x, 1)


@dtype_kept
def real(x: Any) -> Any:
    """The real part of x: all of it."""
    return convert(x)


conj = conjugate = real


@on_arrays
def view(x: Any, dtype: Any = None) -> np.ndarray:
    """The same bytes as numbers of another dtype."""
    array = np.asarray(x)
    return array if dtype is None else array.view(standardize_dtype(dtype))


def _at_least(x: Tensor, rank: int) -> Tensor:
    return expand_dims(x, tuple(range(rank - x.ndim))) if x.ndim < rank else x


@dtype_kept
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


@dtype_kept
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


@dtype_kept
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


@dtype_kept
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
