"""The error function and its inverse; of arrays also a Bessel function and the next number."""

import math
from typing import Any

import numpy as np

from fastcnn.graph import apply, operation
from fastcnn.ops.core import op_function
from fastcnn.ops.elementwise import Unary, exp, square
from fastcnn.ops.known import as_floating, on_arrays
from fastcnn.ops.shape import floating
from fastcnn.tensor import Tensor

__all__ = ["erf", "erfc", "erfinv", "i0", "nextafter"]


@operation
class Erf(Unary):
    """2 / sqrt(pi) times the integral of exp(-t t) from 0 to x."""

    def kernel(self, k: Any) -> Any:
        return k.erf

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return exp(-square(x)) * (2.0 / math.sqrt(math.pi))


@operation
class ErfInv(Unary):
    """The y with erf(y) = x."""

    def kernel(self, k: Any) -> Any:
        return k.erfinv

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return exp(square(y)) * (math.sqrt(math.pi) / 2.0)


@op_function
def erf(x: Any) -> Any:
    """2 / sqrt(pi) times the integral of exp(-t t) from 0 to x."""
    return apply(Erf(), floating(x))


@op_function
def erfc(x: Any) -> Any:
    """1 - erf(x)."""
    return 1.0 - erf(x)


@op_function
def erfinv(x: Any) -> Any:
    """The y with erf(y) = x; infinite at -1 and 1, NaN beyond."""
    return apply(ErfInv(), floating(x))


@on_arrays
def i0(x: Any) -> np.ndarray:
    """The modified Bessel function of order 0."""
    return np.i0(as_floating(x)).astype(as_floating(x).dtype)


@on_arrays
def nextafter(x1: Any, x2: Any) -> np.ndarray:
    """The next number after x1 towards x2 that its dtype has."""
    return np.nextafter(as_floating(x1), as_floating(x2))
