"""Update kernels of optimizers on a million weights: all of them stream through memory."""

import numpy as np
import pytest
from fastcnn_kernels import optimizer
from fastcnn_kernels.elementwise import flat

from bench.measure import Meter

SIZE = 2**20
RATE, BETA_1, BETA_2, EPSILON = 1e-4, 0.9, 0.999, 1e-7

# name: (slots, what `hyper` holds)
KERNELS = {
    "sgd": (0, [RATE]),
    "sgd_momentum": (1, [RATE, BETA_1]),
    "sgd_nesterov": (1, [RATE, BETA_1]),
    "lion": (1, [RATE, BETA_1, BETA_2]),
    "adagrad": (1, [RATE, EPSILON]),
    "adadelta": (2, [RATE, BETA_1, EPSILON]),
    "rmsprop": (1, [RATE, BETA_1, EPSILON]),
    "rmsprop_momentum": (2, [RATE, BETA_1, EPSILON, BETA_1]),
    "rmsprop_centered": (3, [RATE, BETA_1, EPSILON, BETA_1]),
    "adam": (2, [RATE, BETA_1, BETA_2, EPSILON]),
    "adam_amsgrad": (3, [RATE, BETA_1, BETA_2, EPSILON]),
    "adamax": (2, [RATE, BETA_1, BETA_2, EPSILON]),
    "nadam": (2, [RATE, BETA_1, BETA_2, EPSILON, 0.9, 0.1, 1.0]),
}


@pytest.mark.parametrize("name", KERNELS)
def bench_optimizer(measure: Meter, name: str) -> None:
    """Weights and slots are read and written, gradients read."""
    count, hyper = KERNELS[name]
    w, g, *slots = measure.normal(2 + count, SIZE)
    for slot in slots:
        slot[...] = 1
    launch = getattr(optimizer, name).bind(w, g, *slots, np.array(hyper))
    measure.kernels(launch, flops=SIZE, nbytes=(2 * (1 + count) + 1) * w.nbytes)


def bench_decay_weights(measure: Meter) -> None:
    w = measure.normal(SIZE)
    measure.kernels(
        optimizer.decay_weights.bind(w, np.array([RATE, 0.004])), flops=2 * SIZE, nbytes=2 * w.nbytes
    )


def bench_moving_average(measure: Meter) -> None:
    average, value = measure.normal(SIZE), measure.normal(SIZE)
    launch = optimizer.moving_average.bind(average, value, np.array([0.99]))
    measure.kernels(launch, flops=3 * SIZE, nbytes=3 * value.nbytes)


def bench_clip_by_norm(measure: Meter) -> None:
    """The norm of a gradient, then the gradient scaled to it."""
    g, y = measure.normal(SIZE), np.empty(SIZE, np.float32)
    partial, factor = np.empty(flat(g)), np.empty(1)
    measure.kernels(
        optimizer.squared_norm.bind(g, partial),
        optimizer.clip_factor.bind(partial, factor, 1.0),
        optimizer.scale_by.bind(g, factor, y),
        flops=3 * SIZE,
        nbytes=3 * g.nbytes,
    )
