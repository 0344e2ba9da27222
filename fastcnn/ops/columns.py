"""Convolutions by explicit columns: `im2col`, one matrix product, `col2im`. The textbook's algorithm.

The ops of `conv.py` gather the columns of the implicit matrix while they multiply and never store them. These
store them: kh kw times the memory of the image, and a second pass over it. They are here to be compared with and
learned from; `plan/algorithms.py` puts them in when asked. Per group, with P pixels and T = kh kw c / groups:

    y (P, f) = columns (P, T) kernel (T, f)
    dcolumns (P, T) = dy (P, f) kernel^T,  dx = col2im(dcolumns)
    dkernel (T, f) = columns^T dy
"""

import math
from collections.abc import Sequence
from typing import Any

from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.gemm import GemmGeometry, divide_work

from fastcnn.graph import Op, operation
from fastcnn.ops.conv import Conv, ConvInputGrad, ConvKernelGrad
from fastcnn.ops.cost import Cost
from fastcnn.ops.epilogue import bias_and_residual, floor_of, no_bias
from fastcnn.tensor import TensorSpec

__all__: list[str] = []  # chosen by plans, not called

Steps = tuple[int, int, int]


def sizes(g: ConvGeometry) -> tuple[int, int, int]:
    """(pixels P, taps and channels T, filters) of one group."""
    return g.n * g.oh * g.ow, g.kh * g.kw * (g.c // g.groups), g.f // g.groups


def columns_spec(g: ConvGeometry, dtype: str) -> TensorSpec:
    """All columns: (groups, P, T)."""
    pixels, taps, _ = sizes(g)
    return TensorSpec((g.groups, pixels, taps), dtype)


def product(
    g: ConvGeometry, m: int, n: int, k: int, a: Steps, b: Steps, c: tuple[int, int], itemsize: int
) -> GemmGeometry:
    """Of `groups` products; a, b: (step between groups, rows, columns) of the operands; c: (groups, rows)."""
    whole = GemmGeometry(
        g.groups, m, n, k, a[0], a[1], a[2], b[0], b[1], b[2], c[0], c[1],
        bias_batch=n, parts=1, c_part=0, tiles=1, panels=1,
    )  # fmt: skip
    return divide_work(whole, itemsize)


class Stored(Op):
    """Weights are used as they are; columns are written to memory and read again."""

    lower: float | None  # of the op that this is mixed into

    def cost(self, inputs: Any, outputs: Any, ready: bool) -> Cost:
        return 2.0 * super().cost(inputs, outputs, ready)

    def prepared(self, inputs: Any, outputs: Any) -> list[TensorSpec]:
        return []

    def prepare(self, k: Any, inputs: Any, outputs: Any, prepared: Any) -> list:
        return []

    def finish(self, k: Any, inputs: Any, y: Any) -> list:
        """Launches that add the residual, if there is one."""
        _, residual = bias_and_residual(self, inputs, y)
        if not residual.size:
            return []
        y = y.reshape(-1)
        bound = [] if self.lower is None else [k.relu_forward.bind(y, y)]
        return [k.add.bind(y, residual, y), *bound]


@operation
class ColumnsConv(Stored, Conv):
    """`Conv` by explicit columns."""

    def moment_parts(self, k: Any, inputs: Any, outputs: Any) -> int:
        return 0

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return [columns_spec(self.geometry_of(inputs, outputs), inputs[0].dtype)]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, kernel, *_), (y,), (columns,) = inputs, outputs, scratch
        g, (bias, _) = self.geometry_of(inputs, outputs), bias_and_residual(self, inputs, y)
        pixels, taps, filters = sizes(g)
        of_columns, of_kernel, of_y = (pixels * taps, taps, 1), (filters, g.f, 1), (filters, g.f)
        whole = product(g, pixels, filters, taps, of_columns, of_kernel, of_y, x.itemsize)
        return [
            k.im2col.bind(x, columns, g),
            k.gemm.bind(columns, kernel, bias, y, floor_of(None if self.residual else self.lower), whole),
            *self.finish(k, inputs, y),
        ]


@operation
class ColumnsConvInputGrad(Stored, ConvInputGrad):
    """`ConvInputGrad` by explicit columns."""

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return [columns_spec(self.geometry_of(inputs), inputs[0].dtype)]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (dy, kernel, *_), (dx,), (columns,) = inputs, outputs, scratch
        g = self.geometry_of(inputs)
        pixels, taps, filters = sizes(g)
        of_dy, of_kernel, of_columns = (filters, g.f, 1), (filters, 1, g.f), (pixels * taps, taps)
        whole = product(g, pixels, taps, filters, of_dy, of_kernel, of_columns, dy.itemsize)
        return [
            k.gemm.bind(dy, kernel, no_bias((), dy), columns, -math.inf, whole),
            k.col2im.bind(columns, dx, g),
            *self.finish(k, inputs, dx),
        ]


@operation
class ColumnsConvKernelGrad(Stored, ConvKernelGrad):
    """`ConvKernelGrad` by explicit columns."""

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return [columns_spec(self.geometry_of(inputs), inputs[0].dtype)]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, dy), (dkernel,), (columns,) = inputs, outputs, scratch
        g = self.geometry_of(inputs)
        pixels, taps, filters = sizes(g)
        of_columns, of_dy, of_kernel = (pixels * taps, 1, taps), (filters, g.f, 1), (filters, g.f)
        whole = product(g, taps, filters, pixels, of_columns, of_dy, of_kernel, x.itemsize)
        return [
            k.im2col.bind(x, columns, g),
            k.gemm.bind(columns, dy, no_bias((), x), dkernel, -math.inf, whole),
        ]


Conv.alternatives = Conv.alternatives | {"columns": ColumnsConv}
ConvInputGrad.alternatives = ConvInputGrad.alternatives | {"columns": ColumnsConvInputGrad}
ConvKernelGrad.alternatives = ConvKernelGrad.alternatives | {"columns": ColumnsConvKernelGrad}
