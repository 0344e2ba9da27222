"""Reductions over all axes, over the batch (as biases are summed), over the image, over the channels."""

import pytest

from bench.measure import Meter
from fastcnn import ops

X = (32, 32, 32, 64)
each_axis = pytest.mark.parametrize(
    "axis", [None, (0, 1, 2), (1, 2), -1], ids=["all", "but channels", "image", "channels"]
)
Axis = int | tuple[int, ...] | None


@each_axis
def bench_reduce_sum(measure: Meter, axis: Axis) -> None:
    measure.forward(lambda x: ops.sum(x, axis), X)


@each_axis
def bench_reduce_sum_backward(measure: Meter, axis: Axis) -> None:
    measure.backward(lambda x: ops.sum(x, axis), X)


@each_axis
def bench_reduce_max(measure: Meter, axis: Axis) -> None:
    measure.forward(lambda x: ops.max(x, axis), X)


def bench_reduce_min(measure: Meter) -> None:
    measure.forward(lambda x: ops.min(x, (1, 2)), X)


def bench_extremum_backward(measure: Meter) -> None:
    """With `count_extrema` before it."""
    measure.backward(lambda x: ops.max(x, (1, 2)), X)


def bench_argmax_forward(measure: Meter) -> None:
    measure.forward(lambda x: ops.argmax(x, -1), X)


def bench_logsumexp_forward(measure: Meter) -> None:
    measure.forward(lambda x: ops.logsumexp(x, -1), X)


def bench_logsumexp_backward(measure: Meter) -> None:
    measure.backward(lambda x: ops.logsumexp(x, -1), X)
