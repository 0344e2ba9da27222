"""Images: gathers (resample), colours (color), steps of policies (policy). Bytes in, 32 images of 64 x 64."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastcnn_kernels import color, policy, resample
from fastcnn_kernels.color import PixelGeometry
from fastcnn_kernels.resample import ResampleGeometry

from bench.measure import Meter
from fastcnn import ops

X = (32, 64, 64, 3)
ANGLE = 0.2


def source() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, X).astype(np.uint8)


def maps() -> np.ndarray:
    cos, sin = np.cos(ANGLE), np.sin(ANGLE)
    return np.tile(np.array([cos, -sin, 3.0, sin, cos, -5.0, 0, 0], np.float32), (X[0], 1))


@pytest.mark.parametrize(
    "kernel", [resample.affine_nearest_forward, resample.affine_bilinear_forward], ids=str
)
@pytest.mark.parametrize("border", [0, 3], ids=["constant", "symmetric"])
def bench_affine_forward(measure: Meter, kernel: Any, border: int) -> None:
    y = np.empty(X, np.float32)
    g = ResampleGeometry(*X, *X[1:3], border)
    measure.kernels(
        kernel.bind(source().reshape(X[0], -1), maps(), y.reshape(*X[:2], -1), 0.0, g), flops=8 * y.size
    )


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def bench_field_forward(measure: Meter, method: str) -> None:
    measure.forward(lambda x, field: ops.field_gather(x, field * 9.0 + 30.0, method), X, (*X[:3], 2))


@pytest.mark.parametrize("method", ["nearest", "bilinear"])
def bench_field_backward(measure: Meter, method: str) -> None:
    measure.backward(lambda x, field: ops.field_gather(x, field * 9.0 + 30.0, method), X, (*X[:3], 2))


def bench_color_matrix(measure: Meter) -> None:
    x, y = source().reshape(X[0], -1, 3), np.empty((X[0], X[1] * X[2], 3), np.float32)
    g = PixelGeometry(X[0], X[1] * X[2], 3, 3)
    measure.kernels(
        color.color_matrix.bind(x, measure.normal(X[0], 3, 4), y, 0.0, 255.0, g), flops=6 * y.size
    )


def bench_hue_saturation(measure: Meter) -> None:
    x, y = source().reshape(X[0], -1, 3), np.empty((X[0], X[1] * X[2], 3), np.float32)
    numbers, g = measure.normal(X[0]), PixelGeometry(X[0], X[1] * X[2], 3, 3)
    measure.kernels(color.hue_saturation.bind(x, numbers, numbers, y, 1.0, g), flops=16 * y.size)


def bench_equalize(measure: Meter) -> None:
    x, y = source().reshape(X[0], -1, 3), np.empty((X[0], X[1] * X[2], 3), np.float32)
    histogram, g = np.zeros((X[0] * 3, 256), np.int64), PixelGeometry(X[0], X[1] * X[2], 3, 3)
    measure.kernels(color.equalize.bind(x, y, histogram, 0.0, 255.0, 256, g), flops=y.size)


def bench_clahe(measure: Meter) -> None:
    x, y = source(), np.empty(X, np.float32)
    tables, g = (
        np.zeros((X[0] * X[3] * 64, 256), np.int64),
        color.TileGeometry(*X, 8, 8, X[1] // 8, X[2] // 8, 256),
    )
    find = color.clahe_tables.bind(x, tables, 0.0, 255.0, 2.0, g)
    measure.kernels(find, color.clahe.bind(x, tables, y, 0.0, 255.0, g), flops=8 * y.size)


@pytest.mark.parametrize("name", policy.OPERATIONS)
def bench_policy_step(measure: Meter, name: str) -> None:
    x = source().astype(np.float32).reshape(X[0], -1)
    y, histogram = np.empty_like(x), np.zeros((X[0], policy.BINS), np.int64)
    code, numbers = np.full(X[0], policy.OPERATIONS.index(name), np.float32), maps()
    g = ResampleGeometry(*X, *X[1:3], 0)
    step: Callable = policy.policy_step.bind
    measure.kernels(step(x, code, numbers, y, histogram, (0.0, 255.0, 128.0, 0.0), g), flops=x.size)
