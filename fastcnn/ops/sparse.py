"""Activation functions that give exact zeros, made of other ops."""

from typing import Any

from fastcnn.ops.activation import relu
from fastcnn.ops.core import op_function
from fastcnn.ops.elementwise import clip, greater, greater_equal, maximum, square, where
from fastcnn.ops.reduction import sum as total
from fastcnn.ops.shape import expand_dims, floating, moveaxis

__all__ = ["sparse_plus", "sparse_sigmoid", "sparsemax", "threshold"]


@op_function
def sparse_plus(x: Any) -> Any:
    """0 below -1, (x + 1)^2 / 4 up to 1, then x: softplus with a foot that is zero."""
    x = floating(x)
    return square(clip(x + 1.0, 0.0, 2.0)) * 0.25 + maximum(x - 1.0, 0.0)


@op_function
def sparse_sigmoid(x: Any) -> Any:
    """(x + 1) / 2, kept in [0, 1]."""
    return clip(floating(x) * 0.5 + 0.5, 0.0, 1.0)


@op_function
def sparsemax(x: Any, axis: int = -1) -> Any:
    """The point of the simplex nearest to x: max(x - t, 0) along `axis`, with t such that the sum is 1.

    An element is in the support when 1 + k x > s, where k elements are not smaller and s is their sum (Martins &
    Astudillo 2016). All pairs are compared, so the memory is the square of the length.
    """
    x = moveaxis(floating(x), axis, -1)
    others = expand_dims(x, -2)
    not_smaller = greater_equal(others, expand_dims(x, -1))
    counts, sums = total(not_smaller, -1), total(not_smaller * others, -1)
    support = greater(counts * x + 1.0, sums)
    t = (total(x * support, -1, keepdims=True) - 1.0) / total(support, -1, keepdims=True)
    return moveaxis(relu(x - t), -1, axis)


@op_function
def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """x where x > threshold, else default_value."""
    x = floating(x)
    return where(x > threshold, x, float(default_value))
