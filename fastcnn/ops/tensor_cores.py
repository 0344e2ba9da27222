"""Convolutions and products of matrices on the tensor cores of CUDA devices, with `config.set_precision("tf32")`.

Their operands are rounded to TF32, numbers of 11 bits; sums are taken in float32. The error is some 1e-3 of the
largest result. Everything else of these ops is that of the plain ones.
"""

from typing import Any

from fastcnn.graph import Op, operation
from fastcnn.ops.conv import Conv, ConvInputGrad, ConvKernelGrad, UnpackedConv
from fastcnn.ops.cost import Cost
from fastcnn.ops.matmul import Dense, MatMul, SplitDense

__all__: list[str] = []  # chosen by plans, not called

SHARE = 0.25  # of the time of a plain product


class Kernels:
    """The kernels of a backend; those that multiply are the ones for tensor cores."""

    def __init__(self, kernels: Any):
        self._kernels = kernels

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernels, f"{name}_tf32", None) or getattr(self._kernels, name)


class OnCores(Op):
    """The same op, launched on tensor cores."""

    rounding = 3

    def cost(self, inputs: Any, outputs: Any, ready: bool) -> Cost:
        return SHARE * super().cost(inputs, outputs, ready)

    def scratch(self, k: Any, inputs: Any, outputs: Any) -> list:
        return super().scratch(Kernels(k), inputs, outputs)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return super().launch(Kernels(k), inputs, outputs, scratch)


@operation
class CoresConv(OnCores, UnpackedConv):
    """`Conv` in TF32."""

    def moment_parts(self, k: Any, inputs: Any, outputs: Any) -> int:
        return super().moment_parts(Kernels(k), inputs, outputs)


@operation
class CoresConvInputGrad(OnCores, ConvInputGrad):
    """`ConvInputGrad` in TF32."""


@operation
class CoresConvKernelGrad(OnCores, ConvKernelGrad):
    """`ConvKernelGrad` in TF32."""


@operation
class CoresDense(OnCores, SplitDense):
    """`Dense` in TF32."""


@operation
class CoresMatMul(OnCores, MatMul):
    """`MatMul` in TF32."""


Conv.alternatives = Conv.alternatives | {"tf32": CoresConv}
ConvInputGrad.alternatives = ConvInputGrad.alternatives | {"tf32": CoresConvInputGrad}
ConvKernelGrad.alternatives = ConvKernelGrad.alternatives | {"tf32": CoresConvKernelGrad}
Dense.alternatives = Dense.alternatives | {"tf32": CoresDense}
MatMul.alternatives = MatMul.alternatives | {"tf32": CoresMatMul}
