"""Functions of numbers, element by element, made of those in `elementwise`."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.graph import apply, operation
from fastcnn.ops.activation import softplus
from fastcnn.ops.core import op_function, predicate, whole_function
from fastcnn.ops.elementwise import (
    Binary,
    absolute,
    ceil,
    divide,
    equal,
    exp,
    floor,
    greater,
    less,
    log,
    maximum,
    minimum,
    multiply,
    not_equal,
    operands,
    power,
    sign,
    subtract,
    where,
)
from fastcnn.ops.shape import cast, floating
from fastcnn.tensor import Tensor

__all__ = [
    "cbrt", "divide_no_nan", "exp2", "fabs", "floor_divide", "fmax", "fmin", "fmod", "heaviside", "ldexp", "log10",
    "log2", "logaddexp", "logaddexp2", "mod", "nan_to_num", "saturate_cast", "signbit", "trunc",
]  # fmt: skip

LN2 = math.log(2.0)


@op_function
def log2(x: Any) -> Any:
    """The logarithm with base 2."""
    return log(x) * (1.0 / LN2)


@op_function
def log10(x: Any) -> Any:
    """The logarithm with base 10."""
    return log(x) * (1.0 / math.log(10.0))


@op_function
def exp2(x: Any) -> Any:
    """2^x."""
    return exp(floating(x) * LN2)


@op_function
def ldexp(x1: Any, x2: Any) -> Any:
    """x1 2^x2."""
    return multiply(x1, exp2(x2))


@op_function
def cbrt(x: Any) -> Any:
    """The cube root, of the sign of x."""
    return sign(floating(x)) * power(absolute(floating(x)), 1.0 / 3.0)


@op_function
def logaddexp(x1: Any, x2: Any) -> Any:
    """log(e^x1 + e^x2), where neither overflows."""
    x1, x2 = operands("logaddexp", x1, x2)
    return maximum(x1, x2) + softplus(-absolute(subtract(x1, x2)))


@op_function
def logaddexp2(x1: Any, x2: Any) -> Any:
    """log2(2^x1 + 2^x2), where neither overflows."""
    x1, x2 = operands("logaddexp2", x1, x2)
    return logaddexp(x1 * LN2, x2 * LN2) * (1.0 / LN2)


@operation
class Mod(Binary):
    """x1 - x2 floor(x1 / x2)."""

    def kernel(self, k: Any) -> Any:
        return k.modulo

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        return grads[0], -(grads[0] * floor(inputs[0] / inputs[1]))


@whole_function(2)
def floor_divide(x1: Any, x2: Any) -> Any:
    """floor(x1 / x2)."""
    return floor(divide(x1, x2))


@whole_function(2)
def mod(x1: Any, x2: Any) -> Any:
    """x1 - x2 floor(x1 / x2), of the sign of x2."""
    return apply(Mod(), *operands("mod", x1, x2))


@whole_function(2)
def fmod(x1: Any, x2: Any) -> Any:
    """What is left of x1 after whole multiples of x2, of the sign of x1."""
    x1, x2 = operands("fmod", x1, x2)
    return sign(x1) * mod(absolute(x1), absolute(x2))


@op_function
def divide_no_nan(x1: Any, x2: Any) -> Any:
    """x1 / x2, and 0 where x2 is 0; the gradient is 0 there too."""
    divides = not_equal(x2, 0.0)
    return where(divides, divide(x1, where(divides, x2, 1.0)), 0.0)


@whole_function()
def trunc(x: Any) -> Any:
    """x without its fraction."""
    x = floating(x)
    return where(less(x, 0.0), ceil(x), floor(x))


@op_function
def fabs(x: Any) -> Any:
    """|x|, with fractions."""
    return absolute(floating(x))


@predicate
def signbit(x: Any) -> Any:
    """Whether x is below 0."""
    return less(x, 0.0)


@whole_function(2)
def fmax(x1: Any, x2: Any) -> Any:
    """The larger of x1 and x2, or the one that is a number."""
    x1, x2 = operands("fmax", x1, x2)
    return maximum(where(not_equal(x1, x1), x2, x1), where(not_equal(x2, x2), x1, x2))


@whole_function(2)
def fmin(x1: Any, x2: Any) -> Any:
    """The smaller of x1 and x2, or the one that is a number."""
    x1, x2 = operands("fmin", x1, x2)
    return minimum(where(not_equal(x1, x1), x2, x1), where(not_equal(x2, x2), x1, x2))


@whole_function(2)
def heaviside(x1: Any, x2: Any) -> Any:
    """0 where x1 < 0, 1 where x1 > 0, and x2 at 0."""
    x1, x2 = operands("heaviside", x1, x2)
    return where(equal(x1, 0.0), x2, greater(x1, 0.0))


@whole_function()
def nan_to_num(x: Any, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """x with numbers instead of NaN and of the infinities: by default the largest and the smallest of its dtype."""
    x = floating(x)
    largest = float(np.finfo(x.dtype).max)
    x = where(equal(x, np.inf), largest if posinf is None else posinf, x)
    x = where(equal(x, -np.inf), -largest if neginf is None else neginf, x)
    return where(not_equal(x, x), nan, x)


def saturate_cast(x: Any, dtype: Any) -> Any:
    """x in another dtype; what that cannot hold becomes its largest or smallest number."""
    name = np.dtype(dtype)
    if name.kind == "b":
        return cast(greater(x, 0.0), "bool")
    if name.kind == "f":
        return cast(x, dtype)
    limits = np.iinfo(name)
    bounded = maximum(minimum(cast(x, "float64"), float(limits.max)), float(limits.min))
    return cast(bounded, dtype)


Tensor.operators.update(floor_divide=floor_divide, mod=mod)
