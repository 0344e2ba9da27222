"""True and false: 1 and 0 in tensors, which have numbers only, and arrays of bool where values are known."""

from typing import Any

import numpy as np

from fastcnn.ops.core import convert, op_function, predicate
from fastcnn.ops.elementwise import (
    absolute,
    equal,
    greater,
    less,
    less_equal,
    not_equal,
    ones_like,
    operands,
    subtract,
)
from fastcnn.ops.loss import one_hot
from fastcnn.ops.reduction import max as largest
from fastcnn.ops.reduction import min as smallest
from fastcnn.ops.reduction import sum as total
from fastcnn.ops.shape import cast, expand_dims, floating, known
from fastcnn.tensor import Tensor

__all__ = [
    "all", "allclose", "any", "count_nonzero", "in_top_k", "isclose", "isfinite", "isinf", "isnan", "isneginf",
    "isposinf", "isreal", "logical_and", "logical_not", "logical_or", "logical_xor",
]  # fmt: skip


@predicate
def logical_and(x1: Any, x2: Any) -> Any:
    """Whether both are not 0."""
    x1, x2 = operands("logical_and", x1, x2)
    return not_equal(x1, 0.0) * not_equal(x2, 0.0)


@predicate
def logical_or(x1: Any, x2: Any) -> Any:
    """Whether one or both are not 0."""
    x1, x2 = operands("logical_or", x1, x2)
    return 1.0 - equal(x1, 0.0) * equal(x2, 0.0)


@predicate
def logical_xor(x1: Any, x2: Any) -> Any:
    """Whether one of the two is not 0."""
    x1, x2 = operands("logical_xor", x1, x2)
    return not_equal(not_equal(x1, 0.0), not_equal(x2, 0.0))


@predicate
def logical_not(x: Any) -> Any:
    """Whether x is 0."""
    return equal(x, 0.0)


@predicate
def isnan(x: Any) -> Any:
    """Whether x is NaN."""
    x = floating(x)
    return not_equal(x, x)


@predicate
def isinf(x: Any) -> Any:
    """Whether x is one of the two infinities."""
    return equal(absolute(x), np.inf)


@predicate
def isposinf(x: Any) -> Any:
    """Whether x is infinity."""
    return equal(x, np.inf)


@predicate
def isneginf(x: Any) -> Any:
    """Whether x is minus infinity."""
    return equal(x, -np.inf)


@predicate
def isreal(x: Any) -> Any:
    """Whether x has no imaginary part: always."""
    return ones_like(floating(x))


@predicate
def isfinite(x: Any) -> Any:
    """Whether x is neither NaN nor infinite."""
    return less(absolute(x), np.inf)


@predicate
def isclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether |x1 - x2| <= atol + rtol |x2|, or the two are equal; with equal_nan, or both NaN."""
    x1, x2 = operands("isclose", x1, x2)
    finite = less_equal(absolute(subtract(x1, x2)), absolute(x2) * rtol + atol) * isfinite(x2)
    close = logical_or(finite, equal(x1, x2))
    return logical_or(close, isnan(x1) * isnan(x2)) if equal_nan else close


@predicate
def allclose(x1: Any, x2: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Any:
    """Whether all elements are close, as `isclose` says."""
    return all(isclose(x1, x2, rtol, atol, equal_nan))


@predicate
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether no element over `axis` (None: all) is 0."""
    return smallest(not_equal(x, 0.0), axis, keepdims)


@predicate
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    """Whether some element over `axis` (None: all) is not 0."""
    return largest(not_equal(x, 0.0), axis, keepdims)


@op_function
def count_nonzero(x: Any, axis: Any = None) -> Any:
    """How many elements over `axis` (None: all) are not 0."""
    return cast(total(not_equal(x, 0.0), axis), "int32")


@predicate
def in_top_k(targets: Any, predictions: Any, k: int) -> Any:
    """Whether fewer than k scores of a row are larger than that of its class. (n,), (n, classes) -> (n,)."""
    scores = convert(predictions)
    own = total(scores * one_hot(targets, known(scores.shape[-1:])[0]), -1)
    return less(total(greater(scores, expand_dims(own, -1)), -1), float(k))


Tensor.operators.update(
    logical_and=logical_and, logical_not=logical_not, logical_or=logical_or, logical_xor=logical_xor
)
