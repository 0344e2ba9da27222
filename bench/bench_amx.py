"""Matrix tiles: layers by every algorithm that can do them, in one, two or three numbers of bfloat16 each."""

import pytest
from fastcnn_kernels.tile_products import tiles_available

from bench.measure import Meter
from fastcnn import config, ops
from fastcnn.graph import current_trace
from fastcnn.tensor import Tensor

pytestmark = pytest.mark.skipif(not tiles_available(), reason="this processor has no matrix tiles")

# Images (n, h, w, c), kernel size, filters, stride.
LAYERS = {
    "3 x 3, 32 channels": ((64, 32, 32, 32), 3, 32, 1),
    "3 x 3, 128 channels": ((64, 8, 8, 128), 3, 128, 1),
    "3 x 3, stride 2": ((64, 32, 32, 32), 3, 64, 2),
    "1 x 1, 64 to 128": ((64, 16, 16, 64), 1, 128, 1),
    "1 x 1, 512": ((64, 4, 4, 512), 1, 512, 1),
}
ALGORITHMS = ["implicit", "winograd", "amx", "amx3", "bfloat16"]


@pytest.fixture(params=ALGORITHMS)
def algorithm(request: pytest.FixtureRequest):
    """One after the other on the same layer: their ratio is what counts."""
    config.set_convolution_algorithm("auto" if request.param == "bfloat16" else request.param)
    config.set_precision("faster")
    yield request.param
    config.set_convolution_algorithm("auto")
    config.set_precision("fast")


each_layer = pytest.mark.parametrize(("x", "taps", "filters", "stride"), LAYERS.values(), ids=LAYERS.keys())


def run(measure: Meter, algorithm: str, wanted: int | None, x, taps: int, filters: int, stride: int) -> None:
    def convolution(x: Tensor, weight: Tensor) -> Tensor:
        trace = current_trace()
        assert trace is not None
        trace.mixed = algorithm == "bfloat16"
        return ops.conv2d(x, weight, strides=stride, padding="same")

    shapes = x, (taps, taps, x[3], filters)
    if wanted is None:
        measure.forward(convolution, *shapes)
    else:
        measure.backward(convolution, *shapes, wanted=(wanted,))


@each_layer
def bench_amx_forward(measure: Meter, algorithm: str, x, taps, filters, stride) -> None:
    """With amx_pack_weights."""
    run(measure, algorithm, None, x, taps, filters, stride)


@each_layer
def bench_amx_backward_data(measure: Meter, algorithm: str, x, taps, filters, stride) -> None:
    run(measure, algorithm, 0, x, taps, filters, stride)


@each_layer
def bench_amx_backward_weights(measure: Meter, algorithm: str, x, taps, filters, stride) -> None:
    """With amx_add_gradients."""
    run(measure, algorithm, 1, x, taps, filters, stride)
