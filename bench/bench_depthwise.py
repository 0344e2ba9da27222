"""Depthwise convolutions of images (n, h, w, c) by weights (kh, kw, c, multiplier)."""

from typing import Any, NamedTuple

import pytest

from bench.measure import Meter
from fastcnn import ops
from fastcnn.tensor import Tensor


class Case(NamedTuple):
    """Shapes of images and weights, and options of the op."""

    x: tuple[int, ...]
    weight: tuple[int, ...]
    options: dict[str, Any]

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        return ops.depthwise_conv2d(x, weight, padding="same", **self.options)


CASES = {
    "3x3 64": Case((32, 32, 32, 64), (3, 3, 64, 1), {}),
    "3x3 512": Case((32, 8, 8, 512), (3, 3, 512, 1), {}),
    "3x3 stride 2": Case((32, 32, 32, 64), (3, 3, 64, 1), {"strides": 2}),
    "5x5 64": Case((32, 16, 16, 64), (5, 5, 64, 1), {}),
    "3x3 multiplier 2": Case((32, 16, 16, 64), (3, 3, 64, 2), {}),
    "3x3 one image": Case((1, 32, 32, 64), (3, 3, 64, 1), {}),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@each_case
def bench_depthwise_forward(measure: Meter, case: Case) -> None:
    measure.forward(case.apply, case.x, case.weight)


@each_case
def bench_depthwise_backward_data(measure: Meter, case: Case) -> None:
    measure.backward(case.apply, case.x, case.weight, wanted=(0,))


@each_case
def bench_depthwise_backward_weights(measure: Meter, case: Case) -> None:
    measure.backward(case.apply, case.x, case.weight, wanted=(1,))
