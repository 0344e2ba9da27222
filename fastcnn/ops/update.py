"""Changes of variables when a traced function runs: assignments, steps of optimizers, averages; and clipping.

A step of an optimizer is an op with the inputs w, gradient, slots ..., hyper: it changes w and its slots in place.
`hyper` is a float64 variable, read at every run; what it holds, the kernel's docstring says.
"""

from collections.abc import Sequence
from typing import Any

from fastcnn_kernels import elementwise

from fastcnn.errors import Error
from fastcnn.graph import Op, apply, current_trace, operation, update
from fastcnn.ops.core import convert
from fastcnn.ops.elementwise import flat, require_floating
from fastcnn.tensor import Tensor, TensorSpec, Variable

__all__ = ["assign", "assign_add", "clip_by_global_norm", "clip_by_norm"]


# --- assignments -----------------------------------------------------------------------------------------------


@operation
class Assign(Op):
    """variable = value."""

    mutates = (0,)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        variable, value = flat(inputs)
        return [k.copy.bind(value, variable)]


@operation
class AssignAdd(Op):
    """variable += value."""

    mutates = (0,)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        variable, value = flat(inputs)
        return [k.add.bind(variable, value, variable)]


def _fitting(variable: Variable, value: Any) -> Tensor:
    tensor = convert(value, variable.dtype)
    if tensor.spec != variable.spec:
        raise Error(
            f"{variable.path}: cannot assign a {tensor.dtype} tensor of shape {tensor.shape}; "
            f"the variable is {variable.dtype} of shape {variable.shape}"
        )
    return tensor


def assign(variable: Variable, value: Any) -> None:
    """variable = value, whenever the function being traced runs. What was traced before reads the old values."""
    update(Assign(), variable, _fitting(variable, value))


def assign_add(variable: Variable, value: Any) -> None:
    """variable += value, whenever the function being traced runs."""
    update(AssignAdd(), variable, _fitting(variable, value))


Tensor.operators.update(assign=assign, is_tracing=lambda: current_trace() is not None)


# --- steps of optimizers ---------------------------------------------------------------------------------------


@operation
class OptimizerStep(Op):
    """w and its slots change by the gradient.  Inputs w, gradient, slots ..., hyper, by the kernel of `kernel`."""

    def kernel(self, k: Any) -> Any:
        raise Error(f"{self.name} names no kernel")

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [self.kernel(k).bind(*flat(inputs))]


@operation
class Sgd(OptimizerStep):
    """Gradient descent, without slots."""

    mutates = (0,)

    def kernel(self, k: Any) -> Any:
        return k.sgd


@operation
class SgdMomentum(OptimizerStep):
    """Gradient descent with the slot momentum."""

    mutates = (0, 2)

    def kernel(self, k: Any) -> Any:
        return k.sgd_momentum


@operation
class SgdNesterov(OptimizerStep):
    """Gradient descent with the slot momentum, looking ahead."""

    mutates = (0, 2)

    def kernel(self, k: Any) -> Any:
        return k.sgd_nesterov


@operation
class Lion(OptimizerStep):
    """Lion, with the slot momentum."""

    mutates = (0, 2)

    def kernel(self, k: Any) -> Any:
        return k.lion


@operation
class Adagrad(OptimizerStep):
    """Adagrad, with the slot accumulator."""

    mutates = (0, 2)

    def kernel(self, k: Any) -> Any:
        return k.adagrad


@operation
class Adadelta(OptimizerStep):
    """Adadelta, with the slots accumulated gradient and accumulated change."""

    mutates = (0, 2, 3)

    def kernel(self, k: Any) -> Any:
        return k.adadelta


@operation
class RmsProp(OptimizerStep):
    """RMSprop, with the slot velocity."""

    mutates = (0, 2)

    def kernel(self, k: Any) -> Any:
        return k.rmsprop


@operation
class RmsPropMomentum(OptimizerStep):
    """RMSprop, with the slots velocity and momentum."""

    mutates = (0, 2, 3)

    def kernel(self, k: Any) -> Any:
        return k.rmsprop_momentum


@operation
class RmsPropCentered(OptimizerStep):
    """RMSprop, with the slots velocity, average gradient and momentum (which may be 0)."""

    mutates = (0, 2, 3, 4)

    def kernel(self, k: Any) -> Any:
        return k.rmsprop_centered


@operation
class Adam(OptimizerStep):
    """Adam, with the slots momentum and velocity."""

    mutates = (0, 2, 3)

    def kernel(self, k: Any) -> Any:
        return k.adam


@operation
class AdamAmsgrad(OptimizerStep):
    """Adam, with the slots momentum, velocity and largest velocity."""

    mutates = (0, 2, 3, 4)

    def kernel(self, k: Any) -> Any:
        return k.adam_amsgrad


@operation
class Adamax(OptimizerStep):
    """Adamax, with the slots momentum and norm."""

    mutates = (0, 2, 3)

    def kernel(self, k: Any) -> Any:
        return k.adamax


@operation
class Nadam(OptimizerStep):
    """Nadam, with the slots momentum and velocity."""

    mutates = (0, 2, 3)

    def kernel(self, k: Any) -> Any:
        return k.nadam


# --- around a step ---------------------------------------------------------------------------------------------


@operation
class DecayWeights(Op):
    """w -= w decay lr.  Inputs w, hyper = (lr, decay)."""

    mutates = (0,)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.decay_weights.bind(*flat(inputs))]


@operation
class AverageWeights(Op):
    """average = momentum average + (1 - momentum) w.  Inputs average, w, hyper = (momentum,)."""

    mutates = (0,)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.moving_average.bind(*flat(inputs))]


@operation
class ClipFactor(Op):
    """limit / max(norm, limit) as (1,) float64, norm the Euclidean norm of all inputs as one vector."""

    limit: float

    def infer(self, *gradients: Tensor) -> TensorSpec:
        for gradient in gradients:
            require_floating("clip_by_norm", gradient)
        return TensorSpec((1,), "float64")

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return [TensorSpec((sum(elementwise.flat(spec) for spec in inputs),), "float64")]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (partial,), launches, start = scratch, [], 0
        for gradient in flat(inputs):
            stop = start + elementwise.flat(gradient)
            launches.append(k.squared_norm.bind(gradient, partial[start:stop]))
            start = stop
        return [*launches, k.clip_factor.bind(partial, outputs[0], self.limit)]


@operation
class ScaleBy(Op):
    """x times a factor of (1,) float64."""

    def infer(self, x: Tensor, factor: Tensor) -> TensorSpec:
        return x.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, factor), (y,) = inputs, outputs
        return [k.scale_by.bind(x.reshape(-1), factor, y.reshape(-1))]


def clip_by_global_norm(gradients: Sequence[Tensor], limit: float) -> list[Tensor]:
    """Tensors scaled by one factor so that their Euclidean norm as one vector is at most `limit`.

    An infinite or NaN norm makes all of them NaN.
    """
    if not limit > 0:
        raise Error(f"clip_by_norm: the largest norm must be positive, got {limit}")
    factor = apply(ClipFactor(float(limit)), *gradients)
    return [apply(ScaleBy(), gradient, factor) for gradient in gradients]


def clip_by_norm(gradient: Tensor, limit: float) -> Tensor:
    """A tensor scaled down so that its Euclidean norm is at most `limit`."""
    return clip_by_global_norm([gradient], limit)[0]
