"""Images in the lanes of vectors: layers of few channels, by every algorithm that can do them."""

import pytest

from bench.measure import Meter
from fastcnn import config, ops
from fastcnn.tensor import Tensor

# Images (n, h, w, c), kernel size, filters, stride.
LAYERS = {
    "LeNet-5, first": ((128, 28, 28, 1), 5, 6, 1),
    "LeNet-5, second": ((128, 14, 14, 6), 5, 16, 1),
    "first of a VGG": ((64, 32, 32, 3), 3, 32, 1),
    "first of a large network": ((16, 112, 112, 3), 7, 64, 2),
    "8 channels": ((128, 16, 16, 8), 3, 8, 1),
}
ALGORITHMS = ["implicit", "lanes", "winograd"]


@pytest.fixture(params=ALGORITHMS)
def algorithm(request: pytest.FixtureRequest):
    """One after the other on the same layer: their ratio is what counts."""
    config.set_convolution_algorithm(request.param)
    yield request.param
    config.set_convolution_algorithm("auto")


each_layer = pytest.mark.parametrize(("x", "taps", "filters", "stride"), LAYERS.values(), ids=LAYERS.keys())


def run(measure: Meter, wanted: int | None, x: tuple[int, ...], taps: int, filters: int, stride: int) -> None:
    def convolution(x: Tensor, weight: Tensor) -> Tensor:
        return ops.conv2d(x, weight, strides=stride, padding="same")

    shapes = x, (taps, taps, x[3], filters)
    if wanted is None:
        measure.forward(convolution, *shapes)
    else:
        measure.backward(convolution, *shapes, wanted=(wanted,))


@each_layer
def bench_lanes_forward(measure: Meter, algorithm: str, x, taps, filters, stride) -> None:
    run(measure, None, x, taps, filters, stride)


@each_layer
def bench_lanes_backward_data(measure: Meter, algorithm: str, x, taps, filters, stride) -> None:
    run(measure, 0, x, taps, filters, stride)


@each_layer
def bench_lanes_backward_weights(measure: Meter, algorithm: str, x, taps, filters, stride) -> None:
    run(measure, 1, x, taps, filters, stride)
