"""Winograd's algorithm: the layers of common networks, forward and backward, and the transform of weights."""

from typing import Any

import numpy as np
import pytest
from fastcnn_kernels import winograd
from fastcnn_kernels.conv import ConvGeometry

from bench.measure import Meter
from fastcnn import config, ops
from fastcnn.tensor import Tensor

# Images (n, h, w, c) and filters.
LAYERS = {
    "16 at 32": ((32, 32, 32, 16), 16),
    "32 at 32": ((32, 32, 32, 32), 32),
    "64 at 32": ((16, 32, 32, 64), 64),
    "128 at 16": ((32, 16, 16, 128), 128),
    "256 at 8": ((64, 8, 8, 256), 256),
    "512 at 4": ((128, 4, 4, 512), 512),
    "128 at 8, one image": ((1, 8, 8, 128), 128),
}
ALGORITHMS = ["implicit", "winograd", "winograd2"]


@pytest.fixture(params=ALGORITHMS)
def algorithm(request: pytest.FixtureRequest):
    """One after the other on the same layer: their ratio is what counts."""
    config.set_convolution_algorithm(request.param)
    yield request.param
    config.set_convolution_algorithm("auto")


def convolution(x: Tensor, weight: Tensor) -> Tensor:
    return ops.conv2d(x, weight, padding="same")


each_layer = pytest.mark.parametrize(("x", "filters"), LAYERS.values(), ids=LAYERS.keys())


@each_layer
def bench_winograd_forward(measure: Meter, algorithm: str, x: tuple[int, ...], filters: int) -> None:
    measure.forward(convolution, x, (3, 3, x[3], filters))


@each_layer
def bench_winograd_backward_data(measure: Meter, algorithm: str, x: tuple[int, ...], filters: int) -> None:
    measure.backward(convolution, x, (3, 3, x[3], filters), wanted=(0,))


@each_layer
def bench_winograd_backward_weights(measure: Meter, algorithm: str, x: tuple[int, ...], filters: int) -> None:
    measure.backward(convolution, x, (3, 3, x[3], filters), wanted=(1,))


@pytest.mark.parametrize("channels", [64, 512])
@pytest.mark.parametrize("kernel", [winograd.winograd_weights, winograd.winograd_weights_rotated], ids=str)
def bench_winograd_weights(measure: Meter, kernel: Any, channels: int) -> None:
    layer = ConvGeometry(1, 8, 8, channels, 3, 3, 1, 1, 1, 1, 1, 1, 8, 8, channels, 1)
    g = winograd.winograd_geometry(layer, 4, 4)
    transformed = np.empty(winograd.transformed_size(g), np.float32)
    measure.kernels(kernel.bind(measure.normal(3, 3, channels, channels), transformed, g))
