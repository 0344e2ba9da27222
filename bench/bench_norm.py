"""Normalisation of images (n, h, w, c)."""

from typing import Any

import pytest

from bench.measure import Meter
from fastcnn import ops

Shape = tuple[int, ...]
SHAPES = {"32x32x32": (32, 32, 32, 32), "8x8x128": (32, 8, 8, 128)}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def train(x: Any, scale: Any, offset: Any) -> Any:
    return ops.batch_normalization_training(x, scale, offset)[0]


@each_shape
def bench_batch_norm_training(measure: Meter, shape: Shape) -> None:
    measure.forward(train, shape, shape[-1:], shape[-1:], training=True)


@each_shape
def bench_batch_norm_backward(measure: Meter, shape: Shape) -> None:
    measure.backward(train, shape, shape[-1:], shape[-1:], wanted=(0, 1, 2), training=True)


@pytest.mark.parametrize("taps", [1, 3])
@each_shape
def bench_convolution_with_moments(measure: Meter, shape: Shape, taps: int) -> None:
    """A convolution that keeps the moments of what it stores, and the normalisation that wants them."""
    channels = shape[-1]
    measure.forward(
        lambda x, kernel, scale, offset: train(ops.conv2d(x, kernel, padding="same"), scale, offset),
        shape, (taps, taps, channels, channels), (channels,), (channels,), training=True,
    )  # fmt: skip


@each_shape
def bench_depthwise_with_moments(measure: Meter, shape: Shape) -> None:
    """The same of a depthwise convolution."""
    channels = shape[-1]
    measure.forward(
        lambda x, kernel, scale, offset: train(ops.depthwise_conv2d(x, kernel, padding="same"), scale, offset),
        shape, (3, 3, channels, 1), (channels,), (channels,), training=True,
    )  # fmt: skip


@each_shape
def bench_batch_norm_inference(measure: Meter, shape: Shape) -> None:
    variance = measure.uniform(0.5, 2, shape[-1])
    measure.forward(ops.batch_normalization, shape, shape[-1:], variance)


@each_shape
def bench_group_norm_forward(measure: Meter, shape: Shape) -> None:
    measure.forward(lambda x: ops.group_normalization(x, 8), shape)


@each_shape
def bench_group_norm_backward(measure: Meter, shape: Shape) -> None:
    measure.backward(lambda x: ops.group_normalization(x, 8), shape)


@each_shape
def bench_layer_norm_forward(measure: Meter, shape: Shape) -> None:
    measure.forward(lambda x, g, b: ops.layer_normalization(x, g, b), shape, shape[-1:], shape[-1:])


@each_shape
def bench_layer_norm_backward(measure: Meter, shape: Shape) -> None:
    measure.backward(
        lambda x, g, b: ops.layer_normalization(x, g, b), shape, shape[-1:], shape[-1:], wanted=(0, 1, 2)
    )
