"""One step of an augmentation policy: an operation of its own for every image of a batch, in one pass."""

from collections.abc import Sequence
from typing import Any

from fastcnn_kernels.policy import BINS
from fastcnn_kernels.policy import OPERATIONS as OPERATIONS
from fastcnn_kernels.resample import ResampleGeometry

from fastcnn import config
from fastcnn.errors import Error
from fastcnn.graph import Op, apply, operation
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.resample import border_number, check_interpolation
from fastcnn.ops.shape import floating, known
from fastcnn.tensor import Tensor, TensorSpec

__all__ = ["policy_step"]


@operation
class PolicyStep(Op):
    """y[n] = the operation code[n] (a number in OPERATIONS) with numbers[n] of x[n]; no gradient."""

    low: float
    high: float
    interpolation: str
    border: int
    fill: float

    def infer(self, x: Tensor, code: Tensor, numbers: Tensor) -> TensorSpec:
        if x.ndim != 4 or code.ndim != 1 or numbers.ndim != 2 or numbers.shape[1] != 8:
            raise Error(
                f"policy_step: expected images (n, h, w, c), codes (n,) and numbers (n, 8), got {x.shape}, "
                f"{code.shape} and {numbers.shape}"
            )
        if x.dtype not in config.FLOAT_TYPES or {x.dtype} != {code.dtype, numbers.dtype}:
            raise Error(
                f"policy_step: expected float32 or float64 throughout, got {x.dtype} and {numbers.dtype}"
            )
        return x.spec

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[None, None, None]:
        return None, None, None

    def scratch(
        self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> list[TensorSpec]:
        return [TensorSpec((known(inputs[0].shape)[0], BINS), "int64")]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, code, numbers), (y,) = inputs, outputs
        n, h, w, c = x.shape
        g = ResampleGeometry(n, h, w, c, h, w, self.border)
        bounds = (self.low, self.high, self.fill, 1.0 if self.interpolation == "nearest" else 0.0)
        images, results = x.reshape(n, -1), y.reshape(n, -1)
        return [k.policy_step.bind(images, code, numbers, results, scratch[0], bounds, g)]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 8 * outputs[0].size


@op_function
def policy_step(
    images: Any, code: Any, numbers: Any, low: float = 0.0, high: float = 255.0, interpolation: str = "bilinear",
    fill_mode: str = "constant", fill_value: float = 0.0,
) -> Any:  # fmt: skip
    """Images (n, h, w, c) of numbers from low to high, each changed by the operation OPERATIONS[code[n]].

    numbers (n, 8): what it needs, as the table of `fastcnn_kernels.policy` says. interpolation, fill_mode, fill_value:
    of "affine" (see `affine_gather`) and of "cutout". No gradient goes through it.
    """
    check_interpolation("policy_step", interpolation)
    if not high > low:
        raise Error(f"policy_step: low must be below high, got {low} and {high}")
    border = border_number("policy_step", fill_mode)
    op = PolicyStep(float(low), float(high), interpolation, border, float(fill_value))
    return apply(op, convert(images), floating(code), floating(numbers))
