"""Rows of the arithmetic ops."""

from typing import Any

import numpy as np
from op_harness import Row

from fastcnn import ops
from fastcnn.ops.elementwise import Binary, Comparison, Unary

COVERED_ELSEWHERE: set[type] = {Binary, Comparison, Unary}  # what others have in common

PAIRS = {
    "equal shapes": [(2, 3, 4), (2, 3, 4)],
    "smallest": [(1,), (1,)],
    "a vector": [(2, 3, 4), (4,)],
    "both repeated": [(3, 1, 2), (4, 1)],
    "a gate per channel": [(2, 3, 2, 4), (2, 1, 1, 4)],
    "a scalar": [(2, 3), ()],
}
TWO_SHAPES = {case: PAIRS[case] for case in ("equal shapes", "both repeated")}
SHAPES = {"nothing equal": [(2, 3, 5)]}  # the walk is the same for all of them, and tested with their kernels


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0.5, 2.0, size=shape)


def apart(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """No number is within 0.01 of another, of 0, or of a half."""
    numbers = np.arange(np.prod(shape, dtype=int)) * 0.11 - 1.37
    return rng.permutation(numbers).reshape(shape)


def shifted(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Never within 0.01 of a number that `apart` makes."""
    return np.asarray(apart(rng, shape) + 0.05)


def binary(
    name: str, definition: Any, first: Any = None, second: Any = None, cases: Any = TWO_SHAPES, **options: Any
) -> Row:
    return Row(name, getattr(ops, name), definition, cases, makers=[first, second], **options)


def unary(name: str, definition: Any, make: Any = None, function: Any = None, **options: Any) -> Row:
    return Row(name, function or getattr(ops, name), definition, SHAPES, make=make, **options)


def indicator(compare: Any) -> Any:
    return lambda x1, x2: compare(x1, x2).astype(float)


ROWS = [
    binary("add", np.add, cases=PAIRS),
    binary("subtract", np.subtract),
    binary("multiply", np.multiply, cases=PAIRS),
    binary("divide", np.divide, None, positive),
    binary("power", np.power, positive),
    binary("maximum", np.maximum, apart, shifted),
    binary("minimum", np.minimum, apart, shifted),
    binary("greater", indicator(np.greater), apart, apart, differentiable=[]),
    binary("greater_equal", indicator(np.greater_equal), apart, apart, differentiable=[]),
    binary("less", indicator(np.less), apart, apart, differentiable=[]),
    binary("less_equal", indicator(np.less_equal), apart, apart, differentiable=[]),
    binary("equal", indicator(np.equal), apart, apart, differentiable=[]),
    binary("not_equal", indicator(np.not_equal), apart, apart, differentiable=[]),
    Row(
        "where",
        ops.where,
        lambda c, x1, x2: np.where(c != 0, x1, x2),
        {"equal shapes": [(2, 3), (2, 3), (2, 3)], "all repeated": [(2, 1, 1), (3, 1), (4,)]},
        makers=[lambda rng, shape: rng.integers(0, 2, size=shape).astype(float), None, None],
        differentiable=[1, 2],
    ),
    Row(
        "bias_add",
        ops.bias_add,
        np.add,
        {"nothing equal": [(2, 3, 5), (5,)], "smallest": [(1, 1), (1,)]},
        terms=6,
    ),
    unary("x + 2", lambda x: x + 2, function=lambda x: x + 2),
    unary("2 - x", lambda x: 2 - x, function=lambda x: 2 - x),
    unary("x - 2", lambda x: x - 2, function=lambda x: x - 2),
    unary("3 x", lambda x: 3 * x, function=lambda x: 3 * x),
    unary("x / 3", lambda x: x / 3, function=lambda x: x / 3),
    unary("2 / x", lambda x: 2 / x, positive, lambda x: 2 / x),
    unary("x ** 3", lambda x: x**3, function=lambda x: x**3),
    unary("x ** 2", lambda x: x**2, function=lambda x: x**2),
    unary("x ** -1.5", lambda x: x**-1.5, positive, lambda x: x**-1.5),
    unary("2 ** x", lambda x: 2.0**x, function=lambda x: 2**x),
    unary("x > 0", lambda x: (x > 0).astype(float), apart, lambda x: x > 0, differentiable=[]),
    unary("0 >= x", lambda x: (x <= 0).astype(float), apart, lambda x: 0 >= x, differentiable=[]),
    unary("maximum(x, 0.1)", lambda x: np.maximum(x, 0.1), apart, lambda x: ops.maximum(x, 0.1)),
    unary("minimum(0.1, x)", lambda x: np.minimum(x, 0.1), apart, lambda x: ops.minimum(0.1, x)),
    unary("clip", lambda x: np.clip(x, -0.5, 0.4), apart, lambda x: ops.clip(x, -0.5, 0.4)),
    unary("negative", np.negative),
    unary("absolute", np.abs, apart),
    unary("sign", np.sign, apart, differentiable=[]),
    Row("square", ops.square, np.square, {**SHAPES, "smallest": [(1,)], "scalar": [()]}),
    unary("sqrt", np.sqrt, positive),
    unary("rsqrt", lambda x: x**-0.5, positive),
    unary("reciprocal", np.reciprocal, positive),
    unary("exp", np.exp),
    unary("expm1", np.expm1),
    unary("log", np.log, positive),
    unary("log1p", np.log1p, positive),
    unary("sin", np.sin),
    unary("cos", np.cos),
    unary("floor", np.floor, apart, differentiable=[]),
    unary("ceil", np.ceil, apart, differentiable=[]),
    unary("round", np.round, apart, differentiable=[]),
    unary("round to tenths", lambda x: np.round(x, 1), None, lambda x: ops.round(x, 1), differentiable=[]),
    unary(
        "full_like", lambda x: np.full_like(x, 0.1), None, lambda x: ops.full_like(x, 0.1), differentiable=[]
    ),
    unary("zeros_like", np.zeros_like, differentiable=[]),
    unary("ones_like", np.ones_like, differentiable=[]),
    unary("stop_gradient", lambda x: x, differentiable=[]),
]
