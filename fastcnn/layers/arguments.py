"""Constructor arguments in their normal form, and what inputs must look like: checks that many layers share.

`owner` is the name of the class that complains.
"""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from fastcnn.errors import Error, did_you_mean
from fastcnn.tensor import Shape

# names of the spatial axes, by their number
AXES = {1: ("length",), 2: ("height", "width"), 3: ("depth", "height", "width")}


def integer(owner: str, name: str, value: Any, minimum: int = 1) -> int:
    """A whole number not below `minimum`."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise Error(f"{owner}: {name} must be an integer, got {value!r}")
    if value < minimum:
        raise Error(f"{owner}: {name} must be at least {minimum}, got {value}")
    return int(value)


def integers(owner: str, name: str, value: Any, rank: int, minimum: int = 1) -> tuple[int, ...]:
    """`rank` whole numbers, one for each spatial axis; one number stands for all."""
    values = tuple(value) if isinstance(value, list | tuple) else (value,) * rank
    if len(values) != rank:
        raise Error(f"{owner}: {name} takes one integer or {rank}, got {value!r}")
    return tuple(integer(owner, name, item, minimum) for item in values)


def margins(owner: str, name: str, value: Any, rank: int) -> tuple[tuple[int, int], ...]:
    """(before, after) cells for each spatial axis: from one number, one number an axis, or pairs."""
    axes = value if isinstance(value, list | tuple) else (value,) * rank
    if rank == 1 and len(axes) == 2 and all(hasattr(item, "__index__") for item in axes):
        axes = (axes,)
    if len(axes) != rank:
        raise Error(f"{owner}: {name} takes an integer, {rank} integers or {rank} pairs, got {value!r}")
    pairs = [integers(owner, name, axis, 2, minimum=0) for axis in axes]
    return tuple((before, after) for before, after in pairs)


def axis(owner: str, value: Any) -> int:
    """One axis, which a list of one may hold."""
    values = axes(owner, value)
    if len(values) != 1:
        raise Error(f"{owner}: axis must be one integer, got {value!r}")
    return values[0]


def axes(owner: str, value: Any) -> tuple[int, ...]:
    """One or several different axes; those from the end are negative."""
    values = tuple(value) if isinstance(value, list | tuple) else (value,)
    if any(isinstance(item, bool) or not hasattr(item, "__index__") for item in values) or not values:
        raise Error(f"{owner}: axis must be an integer or a list of integers, got {value!r}")
    found = tuple(int(item) for item in values)
    if len(set(found)) < len(found):
        raise Error(f"{owner}: axis names the same axis twice, got {value!r}")
    return found


def choice(owner: str, name: str, value: Any, known: Sequence[str]) -> str:
    """One of the known words, in lower case."""
    word = value.lower() if isinstance(value, str) else value
    if word not in known:
        raise Error(f"{owner}: {name} {value!r} is unknown{did_you_mean(str(value), known)}")
    return str(word)


def padding(owner: str, value: Any, rank: int, causal: bool = False) -> Any:
    """One of "valid", "same", "causal" (where it is defined), or cells ((top, bottom), (left, right))."""
    if isinstance(value, str):
        return choice(owner, "padding", value, ("valid", "same", "causal") if causal else ("valid", "same"))
    return margins(owner, "padding", value, rank)


def data_format(owner: str, value: Any) -> str:
    """Always "channels_last"."""
    if value == "channels_first":
        raise Error(
            f"{owner}: data_format 'channels_first' is not supported; move the channels to the end, as in "
            "(batch, height, width, channels), e.g. numpy.moveaxis(x, 1, -1)"
        )
    return choice(owner, "data_format", value or "channels_last", ("channels_last",))


def number(owner: str, name: str, value: Any, low: float = 0.0, high: float = math.inf) -> float:
    """A number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= float(value) <= high:
        wanted = f"not below {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise Error(f"{owner}: {name} must be a number {wanted}, got {value!r}")
    return float(value)


def check_rank(shape: Shape, spatial: int) -> None:
    """Raise unless the shape is (batch, spatial axes, channels)."""
    wanted = ("batch", *AXES[spatial], "channels")
    if len(shape) == len(wanted):
        return
    hint = "reshape the input"
    if len(shape) == len(wanted) - 1:
        hint = "add a channel axis, e.g. x[..., None], or a batch axis, x[None]"
    raise Error(f"expected {len(wanted)} dimensions ({', '.join(wanted)}), got shape {shape}; {hint}")


def known_size(shape: Shape, axis: int, what: str) -> int:
    """The size of an axis that weights or the output depend on."""
    size = shape[axis]
    if size is None:
        raise Error(f"the number of {what} must be known, got shape {shape}")
    return size


def check_size(shape: Shape, axis: int, expected: int, what: str) -> None:
    """Raise when an input does not fit the weights made for another one."""
    if shape[axis] != expected:
        raise Error(f"the weights were made for {expected} {what}, got an input of shape {shape}")
