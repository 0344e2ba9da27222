"""Pooling of images (n, h, w, c). A FLOP is a comparison or an addition."""

from typing import Any

import pytest

from bench.measure import Meter
from fastcnn import ops

IMAGES, FEW_CHANNELS = (32, 32, 32, 64), (128, 28, 28, 6)
OVERLAPPING = {"pool_size": 3, "strides": 2, "padding": "same"}
each_window = pytest.mark.parametrize(
    ("images", "window"),
    [
        pytest.param(IMAGES, {"pool_size": 2}, id="2x2"),
        pytest.param(IMAGES, OVERLAPPING, id="3x3 stride 2"),
        pytest.param(FEW_CHANNELS, {"pool_size": 2}, id="2x2, 6 channels"),
        pytest.param(FEW_CHANNELS, OVERLAPPING, id="3x3 stride 2, 6 channels"),
    ],
)


@each_window
def bench_max_pool_forward(measure: Meter, images: tuple[int, ...], window: dict[str, Any]) -> None:
    measure.forward(lambda x: ops.max_pool(x, **window), images)


@each_window
def bench_max_pool_backward(measure: Meter, images: tuple[int, ...], window: dict[str, Any]) -> None:
    measure.backward(lambda x: ops.max_pool(x, **window), images)


@each_window
def bench_average_pool_forward(measure: Meter, images: tuple[int, ...], window: dict[str, Any]) -> None:
    measure.forward(lambda x: ops.average_pool(x, **window), images)


@each_window
def bench_average_pool_backward(measure: Meter, images: tuple[int, ...], window: dict[str, Any]) -> None:
    measure.backward(lambda x: ops.average_pool(x, **window), images)


def bench_global_average_pool(measure: Meter) -> None:
    measure.forward(ops.global_average_pool, IMAGES)


def bench_global_average_pool_backward(measure: Meter) -> None:
    measure.backward(ops.global_average_pool, IMAGES)


def bench_global_max_pool(measure: Meter) -> None:
    measure.forward(ops.global_max_pool, IMAGES)


def bench_global_max_pool_backward(measure: Meter) -> None:
    measure.backward(ops.global_max_pool, IMAGES)
