"""Loss kernels on (rows, classes), forward and backward. A FLOP is an element, whatever it costs."""

import math
from typing import NamedTuple

import numpy as np
import pytest
from fastcnn_kernels import loss as kernels

from bench.measure import Meter


class Case(NamedTuple):
    """A pair of kernels; what its targets are and its predictions; numbers it takes."""

    name: str
    target: str
    constants: tuple[float, ...] = ()


CASES = [
    Case("sparse_softmax_cross_entropy", "label", (0.0, math.nan)),
    Case("softmax_cross_entropy", "share"),
    Case("cross_entropy", "share", (1e-7,)),
    Case("sigmoid_cross_entropy", "share"),
    Case("binary_cross_entropy", "share", (1e-7,)),
    Case("mean_squared_error", "share"),
    Case("mean_absolute_error", "share"),
    Case("huber", "share", (1.0,)),
]
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
each_rows = pytest.mark.parametrize("shape", [(4096, 10), (512, 1000)], ids=["10 classes", "1000 classes"])


def arrays(measure: Meter, case: Case, shape: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Predictions, which are probabilities, and targets."""
    rows, classes = shape
    prediction = measure.uniform(0.01, 0.99, *shape)
    target = measure.labels(classes, rows) if case.target == "label" else measure.uniform(0, 1, *shape)
    return prediction, target


@each_rows
@each_case
def bench_loss_forward(measure: Meter, case: Case, shape: tuple[int, int]) -> None:
    prediction, target = arrays(measure, case, shape)
    kernel = getattr(kernels, f"{case.name}_forward")
    loss = np.empty(len(prediction), np.float32)
    measure.kernels(kernel.bind(prediction, target, loss, *case.constants), flops=prediction.size)


@each_rows
@each_case
def bench_loss_backward(measure: Meter, case: Case, shape: tuple[int, int]) -> None:
    prediction, target = arrays(measure, case, shape)
    kernel = getattr(kernels, f"{case.name}_backward")
    dloss, dprediction = np.ones(len(prediction), np.float32), np.empty_like(prediction)
    launch = kernel.bind(dloss, prediction, target, dprediction, *case.constants)
    measure.kernels(launch, flops=prediction.size)


def bench_one_hot(measure: Meter) -> None:
    measure.kernels(kernels.one_hot.bind(measure.labels(1000, 512), np.empty((512, 1000), np.float32)))
