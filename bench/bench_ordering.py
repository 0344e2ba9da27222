"""Sorting and picking along the last dimension. A FLOP is an element of the result."""

import pytest

from bench.measure import Meter
from fastcnn import ops

each_length = pytest.mark.parametrize("shape", [(8192, 10), (64, 4096)], ids=["classes", "features"])


@each_length
def bench_argsort_rows(measure: Meter, shape: tuple[int, int]) -> None:
    measure.forward(ops.argsort, shape)


@each_length
def bench_select_rows(measure: Meter, shape: tuple[int, int]) -> None:
    measure.forward(lambda x: ops.top_k(x, 5), shape)


@each_length
def bench_pick_forward(measure: Meter, shape: tuple[int, int]) -> None:
    places = measure.labels(shape[1], shape[0], 5)
    measure.forward(lambda x, index: ops.take_along_axis(x, index, -1), shape, places)


@each_length
def bench_pick_backward(measure: Meter, shape: tuple[int, int]) -> None:
    places = measure.labels(shape[1], shape[0], 5)
    measure.backward(lambda x, index: ops.take_along_axis(x, index, -1), shape, places)
