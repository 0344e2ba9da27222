"""Matrix products: dense layers (batch, in) x (in, out) and their gradients, and what conv uses `gemm` for."""

import pytest

from bench.measure import Meter
from fastcnn import ops

each_product = pytest.mark.parametrize(
    ("m", "k", "n"),
    [
        pytest.param(512, 512, 512, id="512x512x512"),
        pytest.param(8192, 144, 32, id="tall 8192x144x32"),
        pytest.param(32, 2048, 128, id="dense 32x2048x128"),
        pytest.param(128, 400, 120, id="dense 128x400x120"),
        pytest.param(32, 128, 10, id="dense 32x128x10"),
        pytest.param(1, 2048, 128, id="one row 1x2048x128"),
    ],
)


@each_product
def bench_gemm(measure: Meter, m: int, k: int, n: int) -> None:
    measure.forward(ops.matmul, (m, k), (k, n))


@each_product
def bench_gemm_backward_a(measure: Meter, m: int, k: int, n: int) -> None:
    """da = dc b': b is read along columns."""
    measure.backward(ops.matmul, (m, k), (k, n), wanted=(0,))


@each_product
def bench_gemm_backward_b(measure: Meter, m: int, k: int, n: int) -> None:
    """db = a' dc: the batch is the depth."""
    measure.backward(ops.matmul, (m, k), (k, n), wanted=(1,))


def bench_gemm_batch(measure: Meter) -> None:
    measure.forward(ops.matmul, (64, 64, 96), (64, 96, 64))


def bench_dense_relu(measure: Meter) -> None:
    """Bias and ReLU in the product's last step."""
    measure.forward(lambda x, w, b: ops.relu(ops.dense(x, w, b)), (128, 400), (400, 120), (120,))
