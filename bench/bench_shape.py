"""Moving numbers without computing: strided copies, gathers, casts; and resizing of images."""

from collections.abc import Callable
from typing import Any

import pytest

from bench.measure import Meter
from fastcnn import ops

X = (32, 32, 32, 32)
COPIES: dict[str, Callable[[Any], Any]] = {
    "transpose to channels first": lambda x: ops.transpose(x, (0, 3, 1, 2)),
    "transpose rows and columns": lambda x: ops.transpose(x, (0, 2, 1, 3)),
    "pad": lambda x: ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))),
    "crop": lambda x: x[:, 2:-2, 2:-2],
    "every other": lambda x: x[:, ::2, ::2],
    "flip": lambda x: ops.flip(x, 2),
    "repeat": lambda x: ops.repeat(x, 2, 1),
}
each_copy = pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES.keys())
each_method = pytest.mark.parametrize("method", ["nearest", "bilinear"])


@each_copy
def bench_strided_copy(measure: Meter, copy: Callable[[Any], Any]) -> None:
    measure.forward(copy, X)


@each_copy
def bench_strided_copy_backward(measure: Meter, copy: Callable[[Any], Any]) -> None:
    measure.backward(copy, X)


def bench_concatenate(measure: Meter) -> None:
    measure.forward(lambda x1, x2: ops.concatenate([x1, x2], -1), X, X)


def bench_concatenate_backward(measure: Meter) -> None:
    measure.backward(lambda x1, x2: ops.concatenate([x1, x2], -1), X, X, wanted=(0, 1))


def bench_broadcast_to(measure: Meter) -> None:
    measure.forward(lambda x: ops.broadcast_to(x, X), (32, 1, 1, 32))


def bench_cast(measure: Meter) -> None:
    measure.forward(lambda x: ops.cast(x, "float64"), X)


def bench_take_rows(measure: Meter) -> None:
    measure.forward(lambda x, index: ops.take(x, index, 0), (10_000, 64), measure.labels(10_000, 8192))


def bench_take_rows_backward(measure: Meter) -> None:
    measure.backward(lambda x, index: ops.take(x, index, 0), (10_000, 64), measure.labels(10_000, 8192))


@each_method
def bench_resize_forward(measure: Meter, method: str) -> None:
    measure.forward(lambda x: ops.resize(x, (48, 48), method), X)


@each_method
def bench_resize_backward(measure: Meter, method: str) -> None:
    measure.backward(lambda x: ops.resize(x, (48, 48), method), X)


@each_method
def bench_upsample_forward(measure: Meter, method: str) -> None:
    measure.forward(lambda x: ops.upsample(x, 2, method), X)
