"""3 x 3 convolutions of stride 1 by Winograd's algorithm, and their gradients.

Two to three times faster than the ops of `conv.py` from some 16 channels on. In float32 the error of a result is some
1e-6 of the largest (about 4 times that of a plain sum) with tiles of 4 x 4; with tiles of 2 x 2 it is as in a plain
sum. `plan/algorithms.py` puts these ops in where they are faster, unless `config.set_precision("strict")`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastcnn_kernels.winograd import (
    WinogradGeometry,
    backwards,
    forward_parts,
    gradient_geometry,
    partial_gradients_shape,
    transformed_size,
    winograd_geometry,
    workspace_size,
)

from fastcnn.graph import operation
from fastcnn.ops.conv import Conv, ConvInputGrad, ConvKernelGrad, reduced
from fastcnn.ops.cost import Cost, winograd_cost, winograd_gradient_cost
from fastcnn.ops.epilogue import bias_and_residual, floor_of, moments_of, moments_or_none
from fastcnn.tensor import TensorSpec

__all__: list[str] = []  # chosen by plans, not called


def itemsize_of(tensors: Sequence[Any]) -> int:
    """Bytes of a number of these tensors."""
    return np.dtype(tensors[0].dtype).itemsize


def workspace(g: WinogradGeometry, tensors: Sequence[Any], weights: bool = False) -> TensorSpec:
    """Memory of a thread; weights: for the gradient of the weights."""
    return TensorSpec((workspace_size(g, weights),), tensors[0].dtype)


@operation
class WinogradConv(Conv):
    """`Conv` by Winograd's algorithm."""

    rounding = 1
    size = 4

    def cut(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> WinogradGeometry:
        """The convolution in tiles."""
        return winograd_geometry(self.geometry_of(inputs, outputs), itemsize_of(inputs), self.size)

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        return winograd_cost(self.geometry_of(inputs, outputs), self.size, ready)

    def moment_parts(self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return forward_parts(self.cut(inputs, outputs))

    def prepared(self, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        size = transformed_size(self.cut(inputs, outputs))
        return [TensorSpec((size,), inputs[0].dtype)]

    def prepare(self, k: Any, inputs: Any, outputs: Any, prepared: Any) -> list:
        return [k.winograd_weights.bind(inputs[1], prepared[0], self.cut(inputs, outputs))]

    def workspace(self, inputs: Sequence[TensorSpec], outputs: Any) -> TensorSpec:
        return workspace(self.cut(inputs, outputs), inputs)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        y, (weights, *moments, work), g = outputs[0], scratch, self.cut(inputs, outputs)
        given = inputs[0], weights, *bias_and_residual(self, inputs, y), moments_or_none(moments)
        forward = k.winograd_forward.bind(*given, y, work, floor_of(self.lower), g)
        return [forward, *moments_of(k, moments, outputs)]


@operation
class WinogradConvF2(WinogradConv):
    """`Conv` by Winograd's algorithm with tiles of 2 x 2."""

    size = 2


@operation
class WinogradConvInputGrad(ConvInputGrad):
    """`ConvInputGrad` by Winograd's algorithm: a forward pass from dy to dx with rotated weights."""

    rounding = 1
    size = 4

    def cut(self, inputs: Sequence[Any]) -> WinogradGeometry:
        """The convolution from dy to dx in tiles."""
        return winograd_geometry(backwards(self.geometry_of(inputs)), itemsize_of(inputs), self.size)

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        return winograd_cost(backwards(self.geometry_of(inputs)), self.size, ready)

    def prepared(self, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return [TensorSpec((transformed_size(self.cut(inputs)),), inputs[0].dtype)]

    def prepare(self, k: Any, inputs: Any, outputs: Any, prepared: Any) -> list:
        return [k.winograd_weights_rotated.bind(inputs[1], prepared[0], self.cut(inputs))]

    def workspace(self, inputs: Sequence[TensorSpec], outputs: Any) -> TensorSpec:
        return workspace(self.cut(inputs), inputs)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (dx,), (weights, work), g = outputs, scratch, self.cut(inputs)
        given = inputs[0], weights, *bias_and_residual(self, inputs, dx), moments_or_none(())
        return [k.winograd_forward.bind(*given, dx, work, floor_of(None), g)]


@operation
class WinogradConvInputGradF2(WinogradConvInputGrad):
    """`ConvInputGrad` by Winograd's algorithm with tiles of 2 x 2."""

    size = 2


@operation
class WinogradConvKernelGrad(ConvKernelGrad):
    """`ConvKernelGrad` by Winograd's algorithm: sums over tiles between the points, transformed at the end."""

    rounding = 1
    size = 4

    def cut(self, inputs: Sequence[Any]) -> WinogradGeometry:
        """The convolution in tiles."""
        return gradient_geometry(self.geometry_of(inputs), itemsize_of(inputs), self.size)

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        return winograd_gradient_cost(self.geometry_of(inputs), self.size, self.cut(inputs).parts)

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        g = self.cut(inputs)
        return [TensorSpec(partial_gradients_shape(g), inputs[0].dtype)] if g.parts > 1 else []

    def workspace(self, inputs: Sequence[TensorSpec], outputs: Any) -> TensorSpec:
        return workspace(self.cut(inputs), inputs, weights=True)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, dy), (dkernel,), (*partials, work), g = inputs, outputs, scratch, self.cut(inputs)
        kernel = k.winograd_backward_weights
        return reduced(k, g.parts, lambda p: kernel.bind(x, dy, p, work, g), dkernel, partials)


@operation
class WinogradConvKernelGradF2(WinogradConvKernelGrad):
    """`ConvKernelGrad` by Winograd's algorithm with tiles of 2 x 2."""

    size = 2


Conv.alternatives = Conv.alternatives | {"winograd": WinogradConv, "winograd2": WinogradConvF2}
ConvInputGrad.alternatives = ConvInputGrad.alternatives | {
    "winograd": WinogradConvInputGrad,
    "winograd2": WinogradConvInputGradF2,
}
ConvKernelGrad.alternatives = ConvKernelGrad.alternatives | {
    "winograd": WinogradConvKernelGrad,
    "winograd2": WinogradConvKernelGradF2,
}
