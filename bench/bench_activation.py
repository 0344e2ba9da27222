"""Activation functions. A FLOP is an element, whatever it costs."""

import pytest

from bench.measure import Meter
from fastcnn import ops

X = (32, 32, 32, 32)
NAMES = """
    relu relu6 leaky_relu elu selu celu sigmoid hard_sigmoid hard_silu hard_tanh silu softplus softsign log_sigmoid
    tanh tanh_shrink soft_shrink hard_shrink mish gelu squareplus
""".split()
each_name = pytest.mark.parametrize("name", NAMES)
each_rows = pytest.mark.parametrize("shape", [(4096, 10), (512, 1000)], ids=["10 classes", "1000 classes"])


@each_name
def bench_activation_forward(measure: Meter, name: str) -> None:
    measure.forward(getattr(ops, name), X)


@each_name
def bench_activation_backward(measure: Meter, name: str) -> None:
    measure.backward(getattr(ops, name), X)


def bench_gelu_erf_forward(measure: Meter) -> None:
    measure.forward(lambda x: ops.gelu(x, approximate=False), X)


def bench_gelu_erf_backward(measure: Meter) -> None:
    measure.backward(lambda x: ops.gelu(x, approximate=False), X)


def bench_prelu_forward(measure: Meter) -> None:
    measure.forward(ops.prelu, X, X[-1:])


def bench_prelu_backward(measure: Meter) -> None:
    measure.backward(ops.prelu, X, X[-1:], wanted=(0, 1))


@each_rows
def bench_softmax_forward(measure: Meter, shape: tuple[int, ...]) -> None:
    measure.forward(ops.softmax, shape)


@each_rows
def bench_softmax_backward(measure: Meter, shape: tuple[int, ...]) -> None:
    measure.backward(ops.softmax, shape)


@each_rows
def bench_log_softmax_forward(measure: Meter, shape: tuple[int, ...]) -> None:
    measure.forward(ops.log_softmax, shape)


@each_rows
def bench_log_softmax_backward(measure: Meter, shape: tuple[int, ...]) -> None:
    measure.backward(ops.log_softmax, shape)
