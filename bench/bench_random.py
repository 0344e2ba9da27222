"""Random numbers: Philox, a uniform number at a time. A FLOP is a number."""

import numpy as np
from fastcnn_kernels import random

from bench.measure import Meter

SIZE = 2**20
STREAM = 3


def state() -> np.ndarray:
    return np.array([1, 0], np.int64)


def bench_dropout(measure: Meter) -> None:
    y = np.empty(SIZE, np.float32)
    measure.kernels(random.dropout.bind(measure.normal(SIZE), y, state(), STREAM, 0.5, 2.0), flops=SIZE)


def bench_random_mask(measure: Meter) -> None:
    y = np.empty(SIZE, np.float32)
    measure.kernels(random.random_mask.bind(y, state(), STREAM, 0.5, 2.0), flops=SIZE)


def bench_random_uniform(measure: Meter) -> None:
    y = np.empty(SIZE, np.float32)
    measure.kernels(random.random_uniform.bind(y, state(), STREAM, 0.0, 1.0), flops=SIZE)


def bench_random_normal(measure: Meter) -> None:
    y = np.empty(SIZE, np.float32)
    measure.kernels(random.random_normal.bind(y, state(), STREAM, 0.0, 1.0), flops=SIZE)


def bench_random_log_gamma(measure: Meter) -> None:
    y, alpha = np.empty(SIZE // 64, np.float32), np.full(SIZE // 64, 0.2, np.float32)
    measure.kernels(random.random_log_gamma.bind(alpha, y, state(), STREAM), flops=y.size)
