"""Functions of angles and of hyperbolas. Angles are in radians."""

import math
from collections.abc import Sequence
from typing import Any

from fastcnn.graph import apply, operation
from fastcnn.ops.core import op_function
from fastcnn.ops.elementwise import (
    Binary,
    absolute,
    cos,
    divide,
    equal,
    exp,
    expm1,
    less,
    log,
    log1p,
    ones_like,
    operands,
    sign,
    sin,
    sqrt,
    square,
    where,
)
from fastcnn.ops.shape import floating
from fastcnn.tensor import Tensor

__all__ = [
    "angle", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cosh", "deg2rad", "hypot",
    "rad2deg", "sinc", "sinh", "tan",
]  # fmt: skip


@operation
class ArcTan2(Binary):
    """The angle of the point (x2, x1)."""

    def kernel(self, k: Any) -> Any:
        return k.arctan2

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        (x1, x2), (dy,) = inputs, grads
        share = dy / (square(x1) + square(x2))
        return share * x2, -(share * x1)


@op_function
def arctan2(x1: Any, x2: Any) -> Any:
    """The angle of the point (x2, x1), in [-pi, pi]."""
    return apply(ArcTan2(), *operands("arctan2", x1, x2))


@op_function
def arctan(x: Any) -> Any:
    """The angle in [-pi / 2, pi / 2] whose tangent is x."""
    x = floating(x)
    return arctan2(x, ones_like(x))


@op_function
def arcsin(x: Any) -> Any:
    """The angle in [-pi / 2, pi / 2] whose sine is x; NaN where |x| > 1."""
    x = floating(x)
    return arctan2(x, sqrt((1.0 - x) * (1.0 + x)))


@op_function
def arccos(x: Any) -> Any:
    """The angle in [0, pi] whose cosine is x; NaN where |x| > 1."""
    x = floating(x)
    return arctan2(sqrt((1.0 - x) * (1.0 + x)), x)


@op_function
def tan(x: Any) -> Any:
    """sin x / cos x."""
    return divide(sin(x), cos(x))


@op_function
def sinh(x: Any) -> Any:
    """(e^x - e^-x) / 2, exact near 0."""
    x = floating(x)
    return 0.5 * (expm1(x) - expm1(-x))


@op_function
def cosh(x: Any) -> Any:
    """(e^x + e^-x) / 2."""
    x = floating(x)
    return 0.5 * (exp(x) + exp(-x))


@op_function
def arcsinh(x: Any) -> Any:
    """ln(x + sqrt(x^2 + 1)), of |x| with the sign of x so that no digits cancel."""
    x = floating(x)
    size = absolute(x)
    return sign(x) * log1p(size + square(size) / (1.0 + sqrt(square(size) + 1.0)))


@op_function
def arccosh(x: Any) -> Any:
    """ln(x + sqrt(x - 1) sqrt(x + 1)); NaN where x < 1."""
    x = floating(x)
    return log(x + sqrt(x - 1.0) * sqrt(x + 1.0))


@op_function
def arctanh(x: Any) -> Any:
    """ln((1 + x) / (1 - x)) / 2; NaN where |x| > 1."""
    x = floating(x)
    return 0.5 * (log1p(x) - log1p(-x))


@op_function
def hypot(x1: Any, x2: Any) -> Any:
    """sqrt(x1^2 + x2^2)."""
    x1, x2 = operands("hypot", x1, x2)
    return sqrt(square(x1) + square(x2))


@op_function
def sinc(x: Any) -> Any:
    """sin(pi x) / (pi x), and 1 at 0."""
    angle = floating(x) * math.pi
    at_zero = equal(angle, 0.0)
    return where(at_zero, 1.0, sin(angle) / where(at_zero, 1.0, angle))


@op_function
def deg2rad(x: Any) -> Any:
    """Degrees as radians."""
    return floating(x) * (math.pi / 180.0)


@op_function
def rad2deg(x: Any) -> Any:
    """Radians as degrees."""
    return floating(x) * (180.0 / math.pi)


@op_function
def angle(x: Any) -> Any:
    """The angle of a real number in the complex plane: 0, or pi where x < 0."""
    return less(x, 0.0) * math.pi
