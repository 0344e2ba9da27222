"""The arguments that all optimizers share, and checks of arguments."""

import math
from typing import Any, NotRequired, TypedDict

import numpy as np

from fastcnn.errors import Error


class OptionsWithoutDecay(TypedDict):
    """`Options` of an optimizer that has weight_decay among its own arguments."""

    clipnorm: NotRequired[float | None]
    clipvalue: NotRequired[float | None]
    global_clipnorm: NotRequired[float | None]
    use_ema: NotRequired[bool]
    ema_momentum: NotRequired[float]
    ema_overwrite_frequency: NotRequired[int | None]
    loss_scale_factor: NotRequired[float | None]
    gradient_accumulation_steps: NotRequired[int | None]
    name: NotRequired[str | None]


class Options(OptionsWithoutDecay):
    """What every optimizer takes besides its own arguments, explained in `Optimizer`."""

    weight_decay: NotRequired[float | None]


def finite(value: Any) -> float | None:
    """The value as a float, or None when it is no finite number."""
    if isinstance(value, bool | str) or np.ndim(value) != 0:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def at_least_zero(owner: object, name: str, value: Any) -> float:
    """`value`, a number of at least 0."""
    number = finite(value)
    if number is None or number < 0:
        raise Error(f"{type(owner).__name__}: {name} must be a number of at least 0, got {value!r}")
    return number


def positive_or_none(owner: object, name: str, value: Any) -> float | None:
    """`value`, a number above 0, or None."""
    number = None if value is None else finite(value)
    if value is not None and (number is None or number <= 0):
        raise Error(f"{type(owner).__name__}: {name} must be None or a number above 0, got {value!r}")
    return number


def count_or_none(owner: object, name: str, value: Any, least: int) -> int | None:
    """`value`, an integer of at least `least`, or None."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise Error(
            f"{type(owner).__name__}: {name} must be None or an integer of at least {least}, got {value!r}"
        )
    return int(value)


def fraction(owner: object, name: str, value: Any) -> float:
    """`value`, a number in [0, 1]."""
    number = finite(value)
    if number is None or not 0 <= number <= 1:
        raise Error(f"{type(owner).__name__}: {name} must lie in [0, 1], got {value!r}")
    return number


def decay_rate(owner: object, name: str, value: Any) -> float:
    """`value`, a number in [0, 1): a moving average of rate 1 would never move."""
    number = fraction(owner, name, value)
    if number == 1:
        raise Error(f"{type(owner).__name__}: {name} must be below 1, got {value!r}")
    return number
