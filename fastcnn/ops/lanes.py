"""Convolutions of few channels, as many images at a time as a vector has lanes, and their gradients.

`plan/algorithms.py` puts these ops in where channels or filters are too few to fill a vector.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.lanes import (
    lanes_backwards,
    lanes_moment_parts,
    lanes_partials_shape,
    lanes_parts,
    lanes_workspace_size,
)
from fastcnn_kernels.microkernel import lanes

from fastcnn.graph import operation
from fastcnn.ops.conv import Conv, ConvInputGrad, ConvKernelGrad, reduced
from fastcnn.ops.cost import Cost, lanes_cost
from fastcnn.ops.epilogue import bias_and_residual, floor_of, moments_of, moments_or_none
from fastcnn.tensor import TensorSpec

__all__: list[str] = []  # chosen by plans, not called


def itemsize_of(tensors: Sequence[Any]) -> int:
    """Bytes of a number of these tensors."""
    return np.dtype(tensors[0].dtype).itemsize


def workspace(g: ConvGeometry, tensors: Sequence[Any]) -> TensorSpec:
    """Memory of a thread."""
    return TensorSpec((lanes_workspace_size(g, itemsize_of(tensors)),), tensors[0].dtype)


def cost(g: ConvGeometry, tensors: Sequence[Any], gradient: bool = False) -> Cost:
    """Of any of the passes."""
    return lanes_cost(g, lanes(itemsize_of(tensors)), gradient)


@operation
class LanesConv(Conv):
    """`Conv`, images in the lanes of vectors."""

    weights: ClassVar[tuple[int, ...]] = ()
    images_at_once = lanes(4)

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        return cost(self.geometry_of(inputs, outputs), inputs)

    def moment_parts(self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return lanes_moment_parts(self.geometry_of(inputs, outputs), itemsize_of(inputs))

    def prepared(self, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return []

    def prepare(self, k: Any, inputs: Any, outputs: Any, prepared: Any) -> list:
        return []

    def workspace(self, inputs: Sequence[TensorSpec], outputs: Any) -> TensorSpec:
        return workspace(self.geometry_of(inputs, outputs), inputs)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, kernel, *_), y, (*moments, work) = inputs, outputs[0], scratch
        given = x, kernel, *bias_and_residual(self, inputs, y), moments_or_none(moments)
        forward = k.lanes_forward.bind(
            *given, y, work, floor_of(self.lower), self.geometry_of(inputs, outputs)
        )
        return [forward, *moments_of(k, moments, outputs)]


@operation
class LanesConvInputGrad(ConvInputGrad):
    """`ConvInputGrad` of stride 1: a forward pass from dy to dx with rotated weights."""

    images_at_once = lanes(4)

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        g = self.geometry_of(inputs)
        return float("inf") if g.sh * g.sw > 1 else cost(lanes_backwards(g), inputs)

    def prepared(self, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return [inputs[1]]

    def prepare(self, k: Any, inputs: Any, outputs: Any, prepared: Any) -> list:
        return [k.lanes_rotate_weights.bind(inputs[1], prepared[0], self.geometry_of(inputs))]

    def workspace(self, inputs: Sequence[TensorSpec], outputs: Any) -> TensorSpec:
        return workspace(lanes_backwards(self.geometry_of(inputs)), inputs)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (dx,), (rotated, work), g = outputs, scratch, lanes_backwards(self.geometry_of(inputs))
        given = inputs[0], rotated, *bias_and_residual(self, inputs, dx), moments_or_none(())
        return [k.lanes_forward.bind(*given, dx, work, floor_of(None), g)]


@operation
class LanesConvKernelGrad(ConvKernelGrad):
    """`ConvKernelGrad`, images in the lanes of vectors."""

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        return cost(self.geometry_of(inputs), inputs, gradient=True)

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        shape = lanes_partials_shape(self.geometry_of(inputs), itemsize_of(inputs))
        return [TensorSpec(shape, inputs[0].dtype)] if shape[0] > 1 else []

    def workspace(self, inputs: Sequence[TensorSpec], outputs: Any) -> TensorSpec:
        return workspace(self.geometry_of(inputs), inputs)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, dy), (dkernel,), (*partials, work), g = inputs, outputs, scratch, self.geometry_of(inputs)
        parts = lanes_parts(g, lanes(x.itemsize))
        kernel = k.lanes_backward_weights
        return reduced(k, parts, lambda p: kernel.bind(x, dy, p, work, g), dkernel, partials)


Conv.alternatives = Conv.alternatives | {"lanes": LanesConv}
ConvInputGrad.alternatives = ConvInputGrad.alternatives | {"lanes": LanesConvInputGrad}
ConvKernelGrad.alternatives = ConvKernelGrad.alternatives | {"lanes": LanesConvKernelGrad}
