"""Functions of numbers, element by element, made of those in `elementwise`."""

import math
from typing import Any

from fastcnn.ops.activation import softplus
from fastcnn.ops.core import op_function
from fastcnn.ops.elementwise import (
    absolute,
    divide,
    floor,
    log,
    maximum,
    multiply,
    not_equal,
    subtract,
    where,
)

__all__ = ["divide_no_nan", "floor_divide", "log10", "log2", "logaddexp", "mod"]


@op_function
def log2(x: Any) -> Any:
    """The logarithm with base 2."""
    return log(x) * (1.0 / math.log(2.0))


@op_function
def log10(x: Any) -> Any:
    """The logarithm with base 10."""
    return log(x) * (1.0 / math.log(10.0))


@op_function
def logaddexp(x1: Any, x2: Any) -> Any:
    """log(e^x1 + e^x2), where neither overflows."""
    return maximum(x1, x2) + softplus(-absolute(subtract(x1, x2)))


@op_function
def floor_divide(x1: Any, x2: Any) -> Any:
    """floor(x1 / x2)."""
    return floor(divide(x1, x2))


@op_function
def mod(x1: Any, x2: Any) -> Any:
    """x1 - x2 floor(x1 / x2), of the sign of x2."""
    return subtract(x1, multiply(x2, floor_divide(x1, x2)))


@op_function
def divide_no_nan(x1: Any, x2: Any) -> Any:
    """x1 / x2, and 0 where x2 is 0; the gradient is 0 there too."""
    divides = not_equal(x2, 0.0)
    return where(divides, divide(x1, where(divides, x2, 1.0)), 0.0)
