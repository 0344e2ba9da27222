"""Arithmetic, element by element. A FLOP is an element, whatever it costs."""

import pytest

from bench.measure import Meter
from fastcnn import ops

X = (32, 32, 32, 32)
BINARY = "add subtract multiply divide power maximum minimum greater greater_equal equal arctan2 mod".split()
UNARY = """
    negative abs sign square sqrt rsqrt reciprocal exp expm1 log log1p sin cos erf floor ceil round
""".split()


@pytest.mark.parametrize("name", BINARY)
def bench_elementwise_binary(measure: Meter, name: str) -> None:
    x1, x2 = measure.uniform(0.5, 2, *X), measure.uniform(0.5, 2, *X)
    measure.forward(getattr(ops, name), x1, x2)


@pytest.mark.parametrize("name", UNARY)
def bench_elementwise_unary(measure: Meter, name: str) -> None:
    measure.forward(getattr(ops, name), measure.uniform(0.5, 2, *X))


def bench_erfinv(measure: Meter) -> None:
    measure.forward(ops.erfinv, measure.uniform(-1, 1, *X))


def bench_bias_add(measure: Meter) -> None:
    measure.forward(ops.bias_add, X, X[-1:])


def bench_add_broadcast(measure: Meter) -> None:
    """What a user's `x + bias` costs, and its gradient: a sum."""
    measure.forward(lambda x1, x2: x1 + x2, X, X[-1:])


def bench_add_broadcast_backward(measure: Meter) -> None:
    measure.backward(lambda x1, x2: x1 + x2, X, X[-1:], wanted=(1,))


def bench_affine(measure: Meter) -> None:
    measure.forward(lambda x: x * 2.0, X)


def bench_power_scalar(measure: Meter) -> None:
    measure.forward(lambda x: x**1.5, measure.uniform(0.5, 2, *X))


def bench_select(measure: Meter) -> None:
    measure.forward(lambda x1, x2: ops.where(x1 > x2, x1, x2), X, X)


def bench_clip_forward(measure: Meter) -> None:
    measure.forward(lambda x: ops.clip(x, -1.0, 1.0), X)


def bench_clip_backward(measure: Meter) -> None:
    measure.backward(lambda x: ops.clip(x, -1.0, 1.0), X)
