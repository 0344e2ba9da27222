"""Reshaping and transposing by a pattern of names."""

import math
import re
from typing import Any

from fastcnn.errors import Error
from fastcnn.ops.core import convert, dtype_kept
from fastcnn.ops.shape import known, reshape, transpose
from fastcnn.tensor import Tensor

__all__ = ["rearrange"]

Groups = list[list[str]]  # for each axis, the names of its parts


@dtype_kept
def rearrange(tensor: Any, pattern: str, **axes_lengths: int) -> Any:
    """Axes in another order, cut and joined: "n (h b) w c -> n h w (b c)", with the lengths that are not known, b=2."""
    left, arrow, right = pattern.partition("->")
    before, after = _groups(left), _groups(right)
    x = convert(tensor)
    names = [name for group in before for name in group]
    wanted = [name for group in after for name in group]
    if not arrow or len(before) != x.ndim or sorted(names) != sorted(wanted) or len(set(names)) != len(names):
        raise Error(
            f"rearrange: {pattern!r} does not fit a tensor of shape {x.shape}; write the same different names on both "
            "sides, on the left one or a (group) for each axis"
        )
    lengths = _lengths(x, before, axes_lengths)
    parts = reshape(x, [lengths[name] for name in names])
    moved = transpose(parts, [names.index(name) for name in wanted])
    return reshape(moved, [math.prod(lengths[name] for name in group) for group in after])


def _groups(side: str) -> Groups:
    found = re.findall(r"\(([^()]*)\)|(\w+)", side)
    return [group.split() if not name else [name] for group, name in found]


def _lengths(x: Tensor, groups: Groups, given: dict[str, int]) -> dict[str, int]:
    """The length of each name; in a group one may follow from the others."""
    lengths = dict(given)
    for n, group in zip(known(x.shape), groups, strict=True):
        missing = [name for name in group if name not in lengths]
        size = math.prod(lengths[name] for name in group if name in lengths)
        if len(missing) > 1 or n % size or (not missing and n != size):
            raise Error(
                f"rearrange: the lengths of {' '.join(group)}, together {n}, do not follow from {given}"
            )
        lengths.update(dict.fromkeys(missing, n // size))
    return lengths
