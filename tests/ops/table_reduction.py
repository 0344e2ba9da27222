"""Rows for fastcnn.ops.reduction. argmax has integers for a result: tests/ops/test_reduction.py."""

from collections.abc import Callable

import numpy as np
import reference
from op_harness import Row

from fastcnn import ops
from fastcnn.ops.reduction import ArgMax, sum_to_shape

COVERED_ELSEWHERE = {ArgMax}

IMAGE = {"nothing equal": [(2, 3, 4, 2)], "smallest": [(1, 1, 1, 1)]}
VECTOR = {"several chunks": [(70_001,)]}


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """All elements differ by more than the gradient check moves them."""
    return rng.permutation(np.arange(np.prod(shape), dtype=float)).reshape(shape) / 10


def over(function: Callable, axis: object, keepdims: bool = False) -> Callable:
    return lambda x: function(x, axis=axis, keepdims=keepdims)


def logsumexp(x: np.ndarray, axis: object = None, keepdims: bool = False) -> np.ndarray:
    return np.asarray(np.log(np.exp(x).sum(axis=axis, keepdims=keepdims)))


def row(name: str, expected: Callable, axis: object, keepdims: bool = False, **options: object) -> Row:
    function = getattr(ops, name)
    title = f"{name} over {axis}{' keeping dimensions' if keepdims else ''}"
    return Row(
        title, over(function, axis, keepdims), over(expected, axis, keepdims), IMAGE, terms=48, **options
    )


def long(name: str, expected: Callable) -> Row:
    """Two stages. Values only: finite differences would take minutes."""
    return Row(f"long {name}", getattr(ops, name), expected, VECTOR, terms=70_001, differentiable=[])


AXES: list[tuple[object, bool]] = [
    (None, False),
    ((1, 2), False),
    (-1, True),
    ((0, 2), False),
    ((0, 3), True),
]
SMOOTH = {"sum": reference.reduce_sum, "mean": reference.reduce_mean, "logsumexp": logsumexp}
PEAKED = {"max": reference.reduce_max, "min": reference.reduce_min}

ROWS = [
    *(row(name, expected, *axes) for name, expected in SMOOTH.items() for axes in AXES),
    *(row(name, expected, *axes, make=distinct) for name, expected in PEAKED.items() for axes in AXES),
    *(long(name, expected) for name, expected in {**SMOOTH, **PEAKED}.items()),
    row("var", np.var, (1, 2)),
    row("var", np.var, None),
    Row("std", over(ops.std, -1), over(np.std, -1), {"nothing equal": [(2, 3, 4)]}, terms=4),
    Row(
        "moments",
        lambda x: ops.moments(x, (0, 1)),
        lambda x: (x.mean((0, 1)), x.var((0, 1))),
        {"nothing equal": [(2, 3, 4)]},
        terms=6,
    ),
    Row(
        "sum_to_shape",
        lambda x: sum_to_shape(x, (3, 1, 2)),
        lambda x: reference.sum_to_shape(x, (3, 1, 2)),
        {"nothing equal": [(5, 3, 4, 2)], "only ones": [(3, 1, 2)]},
        terms=20,
    ),
]
