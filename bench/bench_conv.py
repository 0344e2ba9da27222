"""Convolutions: forward, gradient of the input, gradient of the weights; implicit columns against explicit ones."""

from typing import Any, NamedTuple

import numpy as np
import pytest
from fastcnn_kernels import conv
from fastcnn_kernels.gemm import gemm, gemm_geometry

from bench.measure import Meter
from fastcnn import ops
from fastcnn.tensor import Tensor


class Case(NamedTuple):
    """Images (n, h, w, c), weights (kh, kw, c / groups, f), and options of the op."""

    x: tuple[int, ...]
    weight: tuple[int, ...]
    options: dict[str, Any]

    def apply(self, x: Tensor, weight: Tensor) -> Tensor:
        return ops.conv2d(x, weight, **{"padding": "same", **self.options})

    def apply_transposed(self, x: Tensor, weight: Tensor) -> Tensor:
        return ops.conv2d_transpose(x, weight, **{"padding": "same", **self.options})


CASES = {
    "3x3 64": Case((32, 16, 16, 64), (3, 3, 64, 64), {}),
    "3x3 128": Case((32, 8, 8, 128), (3, 3, 128, 128), {}),
    "3x3 16": Case((32, 32, 32, 16), (3, 3, 16, 16), {}),
    "3x3 3 to 32": Case((32, 32, 32, 3), (3, 3, 3, 32), {}),
    "1x1 128": Case((32, 16, 16, 128), (1, 1, 128, 128), {}),
    "5x5 1 to 6": Case((32, 28, 28, 1), (5, 5, 1, 6), {}),
    "5x5 6 to 16": Case((32, 14, 14, 6), (5, 5, 6, 16), {"padding": "valid"}),
    "5x5 32": Case((32, 16, 16, 32), (5, 5, 32, 32), {}),
    "3x3 stride 2": Case((32, 32, 32, 32), (3, 3, 32, 64), {"strides": 2}),
    "1x1 stride 2": Case((32, 32, 32, 32), (1, 1, 32, 64), {"strides": 2}),
    "3x3 dilated": Case((32, 16, 16, 64), (3, 3, 64, 64), {"dilation_rate": 2}),
    "3x3 4 groups": Case((32, 16, 16, 64), (3, 3, 16, 64), {"groups": 4}),
    "3x3 one image": Case((1, 16, 16, 64), (3, 3, 64, 64), {}),
}
TRANSPOSED = {
    "3x3 stride 2": Case((32, 8, 8, 64), (3, 3, 32, 64), {"strides": 2}),
    "4x4 stride 2": Case((32, 8, 8, 64), (4, 4, 32, 64), {"strides": 2}),
}


def each(cases: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases.values(), ids=cases.keys())


@each(CASES)
def bench_conv_forward(measure: Meter, case: Case) -> None:
    measure.forward(case.apply, case.x, case.weight)


@each(CASES)
def bench_conv_backward_data(measure: Meter, case: Case) -> None:
    measure.backward(case.apply, case.x, case.weight, wanted=(0,))


@each(CASES)
def bench_conv_backward_weights(measure: Meter, case: Case) -> None:
    measure.backward(case.apply, case.x, case.weight, wanted=(1,))


def bench_conv_bias_relu(measure: Meter) -> None:
    case = CASES["3x3 64"]
    measure.forward(lambda x, w, b: ops.relu(ops.conv2d(x, w, b, padding="same")), case.x, case.weight, (64,))


@pytest.mark.parametrize("name", ["3x3 64", "3x3 16", "1x1 128"])
def bench_conv_residual_relu(measure: Meter, name: str) -> None:
    """The end of a residual block, which a plan makes one node."""
    x, weight, _ = CASES[name]
    measure.forward(lambda x, w, r: ops.relu(ops.conv2d(x, w, padding="same") + r), x, weight, x)


@each(TRANSPOSED)
def bench_conv_transpose_forward(measure: Meter, case: Case) -> None:
    measure.forward(case.apply_transposed, case.x, case.weight)


@each(TRANSPOSED)
def bench_conv_transpose_backward_data(measure: Meter, case: Case) -> None:
    measure.backward(case.apply_transposed, case.x, case.weight, wanted=(0,))


@each(TRANSPOSED)
def bench_conv_transpose_backward_weights(measure: Meter, case: Case) -> None:
    measure.backward(case.apply_transposed, case.x, case.weight, wanted=(1,))


# --- two algorithms ------------------------------------------------------------------------------------------

GEOMETRY = conv.ConvGeometry(32, 16, 16, 64, 3, 3, 1, 1, 1, 1, 1, 1, 16, 16, 64, 1)  # "3x3 64"
PIXELS, TAPS = 32 * 16 * 16, 3 * 3 * 64
FLOPS = 2 * PIXELS * TAPS * 64


class Arrays(NamedTuple):
    """What both algorithms are given."""

    x: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    columns: np.ndarray
    y: np.ndarray

    @property
    def nbytes(self) -> int:
        return self.x.nbytes + self.weight.nbytes + self.y.nbytes


@pytest.fixture
def arrays(measure: Meter) -> Arrays:
    x, weight = measure.normal(32, 16, 16, 64), measure.normal(3, 3, 64, 64)
    columns, y = np.empty((1, PIXELS, TAPS), np.float32), np.empty((32, 16, 16, 64), np.float32)
    return Arrays(x, weight, np.empty(0, np.float32), columns, y)


def bench_conv_implicit(measure: Meter, arrays: Arrays) -> None:
    """Rows of the matrix are gathered into a panel just before they are used."""
    packed = np.empty(conv.packed_size(GEOMETRY, 4), np.float32)
    measure.kernels(
        conv.conv_pack_weights.bind(arrays.weight, packed, GEOMETRY),
        conv.conv_forward.bind(arrays.x, packed, arrays.bias, arrays.bias, arrays.y, -np.inf, GEOMETRY),
        flops=FLOPS,
        nbytes=arrays.nbytes,
    )


def bench_conv_explicit(measure: Meter, arrays: Arrays) -> None:
    """The whole matrix is stored, 9 times the image, then multiplied."""
    g = gemm_geometry(PIXELS, 64, TAPS, 4)
    matrix = arrays.weight.reshape(TAPS, 64)
    measure.kernels(
        conv.im2col.bind(arrays.x, arrays.columns, GEOMETRY),
        gemm.bind(arrays.columns, matrix, arrays.bias, arrays.y, -np.inf, g),
        flops=FLOPS,
        nbytes=arrays.nbytes,
    )


def bench_im2col(measure: Meter, arrays: Arrays) -> None:
    measure.kernels(conv.im2col.bind(arrays.x, arrays.columns, GEOMETRY))


def bench_col2im(measure: Meter, arrays: Arrays) -> None:
    arrays.columns[...] = 1
    measure.kernels(conv.col2im.bind(arrays.columns, arrays.x, GEOMETRY), flops=arrays.columns.size)


def bench_conv_pack_weights(measure: Meter, arrays: Arrays) -> None:
    packed = np.empty(conv.packed_size(GEOMETRY, 4), np.float32)
    measure.kernels(conv.conv_pack_weights.bind(arrays.weight, packed, GEOMETRY))


def bench_conv_pack_weights_transposed(measure: Meter, arrays: Arrays) -> None:
    packed = np.empty(conv.packed_transposed_size(GEOMETRY, 4), np.float32)
    measure.kernels(conv.conv_pack_weights_transposed.bind(arrays.weight, packed, GEOMETRY))
