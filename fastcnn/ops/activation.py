"""Activation functions."""

from collections.abc import Sequence
from dataclasses import astuple
from typing import Any, ClassVar

import numpy as np

from fastcnn.errors import Error
from fastcnn.graph import Op, apply, current_trace, operation
from fastcnn.ops import shape as shapes
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.elementwise import Clip, exp, flat, require_floating
from fastcnn.tensor import Tensor, TensorSpec

__all__ = [
    "celu",
    "elu",
    "exponential",
    "gelu",
    "glu",
    "hard_shrink",
    "hard_sigmoid",
    "hard_silu",
    "hard_swish",
    "hard_tanh",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softplus",
    "softsign",
    "squareplus",
    "swish",
    "tanh",
    "tanh_shrink",
]

SELU_SCALE = 1.0507009873554804934193349852946
SELU_ALPHA = 1.6732632423543772848170429916717


# --- element by element ----------------------------------------------------------------------------------------


@operation
class Activation(Op):
    """f(x), element by element. The fields of a subclass are the constants of its kernels, in their order."""

    wants_output: ClassVar[bool] = False  # the backward wants y; else x
    images = (0,)

    def kernels(self, k: Any) -> tuple[Any, Any]:
        """The kernels forward and backward."""
        raise Error(f"{self.name} names no kernels")

    def constants(self) -> tuple[float, ...]:
        return astuple(self)

    def bend(self, known: Tensor) -> Tensor | None:
        """The derivative of the derivative by what it is computed from, x or y; None where f has straight pieces."""
        raise Error(
            f"{self.name} has no second derivative here; relu, leaky_relu, tanh, silu and others have"
        )

    def infer(self, x: Tensor) -> TensorSpec:
        require_floating(self.name.lower(), x)
        return x.spec

    def gradient(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], grads: Any) -> tuple[Tensor]:
        return (apply(ActivationGrad(self), grads[0], outputs[0] if self.wants_output else inputs[0]),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [self.kernels(k)[0].bind(*flat(inputs), *flat(outputs), *self.constants())]


@operation
class ActivationGrad(Op):
    """dx from dy and the input or output of an activation, whichever it wants."""

    activation: Activation
    images = (0, 1)

    def infer(self, dy: Tensor, known: Tensor) -> TensorSpec:
        return known.spec

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor | None, ...]:
        dy, known = inputs
        bend = self.activation.bend(known)
        return apply(ActivationGrad(self.activation), grads[0], known), None if bend is None else grads[
            0
        ] * dy * bend

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [
            self.activation.kernels(k)[1].bind(*flat(inputs), *flat(outputs), *self.activation.constants())
        ]


class StraightPieces(Activation):
    """f whose derivative is the same on both sides of any x but a few."""

    def bend(self, known: Tensor) -> Tensor | None:
        return None


@operation
class Relu(StraightPieces):
    """max(x, 0)."""

    wants_output = True

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.relu_forward, k.relu_backward


@operation
class LeakyRelu(StraightPieces):
    """x where x > 0, else slope x; slope >= 0."""

    slope: float
    wants_output = True

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.leaky_relu_forward, k.leaky_relu_backward


@operation
class ThresholdRelu(StraightPieces):
    """min(x, max_value) where x > threshold, else slope (x - threshold). max_value None: no maximum."""

    max_value: float | None
    slope: float
    threshold: float

    @property
    def wants_output(self) -> bool:  # type: ignore[override]
        """Where it bends at zero, its output is on the same side of both bounds as its input."""
        return self.threshold == 0.0

    def constants(self) -> tuple[float, ...]:
        return np.inf if self.max_value is None else self.max_value, self.slope, self.threshold

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.threshold_relu_forward, k.threshold_relu_backward


@operation
class ExponentialLinear(Activation):
    """scale x where x > 0, else scale alpha (exp(rate x) - 1)."""

    scale: float
    alpha: float
    rate: float
    wants_output = True

    def bend(self, known: Tensor) -> Tensor:
        return shapes.cast(known <= 0.0, known.dtype) * self.rate

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.exponential_linear_forward, k.exponential_linear_backward


@operation
class HardSigmoid(StraightPieces):
    """x / 6 + 1 / 2, kept in [0, 1]."""

    wants_output = True

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.hard_sigmoid_forward, k.hard_sigmoid_backward


@operation
class HardSilu(Activation):
    """x hard_sigmoid(x)."""

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.hard_silu_forward, k.hard_silu_backward


@operation
class SoftShrink(StraightPieces):
    """x moved by `limit` towards 0, and 0 where |x| <= limit."""

    limit: float

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.soft_shrink_forward, k.shrink_backward


@operation
class HardShrink(StraightPieces):
    """x, and 0 where |x| <= limit."""

    limit: float

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.hard_shrink_forward, k.shrink_backward


@operation
class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    wants_output = True

    def bend(self, known: Tensor) -> Tensor:
        return 1.0 - 2.0 * known

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.sigmoid_forward, k.sigmoid_backward


@operation
class LogSigmoid(Activation):
    """ln sigmoid(x)."""

    def bend(self, known: Tensor) -> Tensor:
        y = sigmoid(known)
        return y * (y - 1.0)

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.log_sigmoid_forward, k.log_sigmoid_backward


@operation
class Softplus(Activation):
    """ln(1 + exp(x))."""

    def bend(self, known: Tensor) -> Tensor:
        y = sigmoid(known)
        return y * (1.0 - y)

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.softplus_forward, k.softplus_backward


@operation
class Tanh(Activation):
    """tanh x."""

    wants_output = True

    def bend(self, known: Tensor) -> Tensor:
        return -2.0 * known

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.tanh_forward, k.tanh_backward


@operation
class TanhShrink(Activation):
    """x - tanh x."""

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.tanh_shrink_forward, k.tanh_shrink_backward


@operation
class Silu(Activation):
    """x sigmoid(x)."""

    def bend(self, known: Tensor) -> Tensor:
        y = sigmoid(known)
        return y * (1.0 - y) * (2.0 + known * (1.0 - 2.0 * y))

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.silu_forward, k.silu_backward


@operation
class Mish(Activation):
    """x tanh(softplus(x))."""

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.mish_forward, k.mish_backward


@operation
class Gelu(Activation):
    """x P(X <= x), X standard normal."""

    def bend(self, known: Tensor) -> Tensor:
        square = known * known
        return exp(-0.5 * square) * (2.0 - square) * (2.0 * np.pi) ** -0.5

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.gelu_forward, k.gelu_backward


@operation
class GeluTanh(Activation):
    """x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.gelu_tanh_forward, k.gelu_tanh_backward


@operation
class Softsign(Activation):
    """x / (1 + |x|)."""

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.softsign_forward, k.softsign_backward


@operation
class Squareplus(Activation):
    """(x + sqrt(x x + b)) / 2; b > 0."""

    b: float

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.squareplus_forward, k.squareplus_backward


def non_negative(what: str, name: str, value: float) -> float:
    """The value as a float, which must be 0 or more."""
    if not value >= 0:
        raise Error(f"{what}: {name} must be 0 or more, got {value}")
    return float(value)


@op_function
def relu(x: Any, negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """max(x, 0); in general min(x, max_value) where x > threshold, else negative_slope (x - threshold)."""
    slope, threshold = non_negative("relu", "negative_slope", negative_slope), float(threshold)
    if max_value is None and threshold == 0:
        return apply(LeakyRelu(slope) if slope else Relu(), convert(x))
    largest = None if max_value is None else non_negative("relu", "max_value", max_value)
    return apply(ThresholdRelu(largest, slope, non_negative("relu", "threshold", threshold)), convert(x))


@op_function
def relu6(x: Any) -> Any:
    """min(max(x, 0), 6)."""
    return apply(ThresholdRelu(6.0, 0.0, 0.0), convert(x))


@op_function
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Any:
    """x where x > 0, else negative_slope x."""
    return apply(LeakyRelu(non_negative("leaky_relu", "negative_slope", negative_slope)), convert(x))


@op_function
def elu(x: Any, alpha: float = 1.0) -> Any:
    """x where x > 0, else alpha (exp(x) - 1)."""
    return apply(ExponentialLinear(1.0, non_negative("elu", "alpha", alpha), 1.0), convert(x))


@op_function
def celu(x: Any, alpha: float = 1.0) -> Any:
    """x where x > 0, else alpha (exp(x / alpha) - 1)."""
    if not alpha > 0:
        raise Error(f"celu: alpha must be positive, got {alpha}")
    return apply(ExponentialLinear(1.0, float(alpha), 1.0 / alpha), convert(x))


@op_function
def selu(x: Any) -> Any:
    """1.0507 x where x > 0, else 1.0507 * 1.6733 (exp(x) - 1)."""
    return apply(ExponentialLinear(SELU_SCALE, SELU_ALPHA, 1.0), convert(x))


@op_function
def hard_sigmoid(x: Any) -> Any:
    """x / 6 + 1 / 2, kept in [0, 1]."""
    return apply(HardSigmoid(), convert(x))


@op_function
def hard_silu(x: Any) -> Any:
    """x hard_sigmoid(x)."""
    return apply(HardSilu(), convert(x))


hard_swish = hard_silu


@op_function
def hard_tanh(x: Any) -> Any:
    """x, kept in [-1, 1]."""
    return apply(Clip(-1.0, 1.0), convert(x))


@op_function
def soft_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x moved by `threshold` towards 0, and 0 where |x| <= threshold."""
    return apply(SoftShrink(non_negative("soft_shrink", "threshold", threshold)), convert(x))


@op_function
def hard_shrink(x: Any, threshold: float = 0.5) -> Any:
    """x, and 0 where |x| <= threshold."""
    return apply(HardShrink(non_negative("hard_shrink", "threshold", threshold)), convert(x))


@op_function
def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x))."""
    return apply(Sigmoid(), convert(x))


@op_function
def log_sigmoid(x: Any) -> Any:
    """ln sigmoid(x)."""
    return apply(LogSigmoid(), convert(x))


@op_function
def softplus(x: Any) -> Any:
    """ln(1 + exp(x))."""
    return apply(Softplus(), convert(x))


@op_function
def tanh(x: Any) -> Any:
    """tanh x."""
    return apply(Tanh(), convert(x))


@op_function
def tanh_shrink(x: Any) -> Any:
    """x - tanh x."""
    return apply(TanhShrink(), convert(x))


@op_function
def silu(x: Any) -> Any:
    """x sigmoid(x)."""
    return apply(Silu(), convert(x))


swish = silu


@op_function
def mish(x: Any) -> Any:
    """x tanh(softplus(x))."""
    return apply(Mish(), convert(x))


@op_function
def gelu(x: Any, approximate: bool = True) -> Any:
    """x P(X <= x), X standard normal; `approximate`: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    return apply(GeluTanh() if approximate else Gelu(), convert(x))


@op_function
def softsign(x: Any) -> Any:
    """x / (1 + |x|)."""
    return apply(Softsign(), convert(x))


@op_function
def squareplus(x: Any, b: float = 4.0) -> Any:
    """(x + sqrt(x x + b)) / 2."""
    if not b > 0:
        raise Error(f"squareplus: b must be positive, got {b}")
    return apply(Squareplus(float(b)), convert(x))


exponential = exp


@op_function
def glu(x: Any, axis: int = -1) -> Any:
    """a sigmoid(b), a and b the two halves of x along `axis`."""
    first, second = shapes.split(convert(x), 2, axis)
    return first * sigmoid(second)


# --- with weights ----------------------------------------------------------------------------------------------


@operation
class Prelu(Op):
    """x where x > 0, else alpha x.  x (..., *s), alpha (*s)."""

    def infer(self, x: Tensor, alpha: Tensor) -> TensorSpec:
        require_floating("prelu", x, alpha)
        own = x.shape[x.ndim - alpha.ndim :]
        if alpha.ndim >= x.ndim or any(n not in (None, m) for n, m in zip(own, alpha.shape, strict=True)):
            raise Error(f"prelu: alpha of shape {alpha.shape} does not fit the last dimensions of {x.shape}")
        return x.spec

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        return apply(PreluGrad(), grads[0], *inputs)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, alpha), (y,) = inputs, outputs
        return [k.prelu_forward.bind(x.reshape(-1, alpha.size), alpha.reshape(-1), y.reshape(-1, alpha.size))]


@operation
class PreluGrad(Op):
    """(dx, dalpha) of a `Prelu` from dy, x and alpha."""

    def infer(self, dy: Tensor, x: Tensor, alpha: Tensor) -> tuple[TensorSpec, ...]:
        return x.spec, alpha.spec

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        _, x, alpha = inputs
        # Enough blocks to share out over threads, but not so many that they need more memory than 8 MiB.
        blocks = max(1, min(x.size // alpha.size, 32, 2**20 // alpha.size))
        return [TensorSpec((blocks, alpha.size), "float64")]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (dy, x, alpha), (dx, dalpha), (partial,) = inputs, outputs, scratch
        dy, x, dx = (a.reshape(-1, alpha.size) for a in (dy, x, dx))
        return [
            k.prelu_backward.bind(dy, x, alpha.reshape(-1), dx, partial),
            k.prelu_combine.bind(partial, dalpha.reshape(-1)),
        ]


@op_function
def prelu(x: Any, alpha: Any) -> Any:
    """x where x > 0, else alpha x.  alpha has the shape of one sample, with 1 where it is shared."""
    x = convert(x)
    alpha = convert(alpha, x.dtype)
    if alpha.ndim >= x.ndim:
        raise Error(f"prelu: alpha of shape {alpha.shape} does not fit the samples of {x.shape}")
    own = next((axis for axis, n in enumerate(alpha.shape) if n != 1), alpha.ndim - 1)
    core = shapes.reshape(alpha, alpha.shape[own:])  # what leading dimensions share needs no repetition
    return apply(
        Prelu(), x, shapes.broadcast_to(core, x.shape[x.ndim - core.ndim :]) if 1 in core.shape else core
    )


# --- over an axis ----------------------------------------------------------------------------------------------


@operation
class Softmax(Op):
    """exp(x) / sum of exp(x), over the last dimension."""

    def kernels(self, k: Any) -> tuple[Any, Any]:
        """The kernels forward and backward."""
        return k.softmax_forward, k.softmax_backward

    def infer(self, x: Tensor) -> TensorSpec:
        require_floating(self.name.lower(), x)
        return x.spec

    def gradient(self, inputs: Any, outputs: Sequence[Tensor], grads: Any) -> tuple[Tensor]:
        return (apply(SoftmaxGrad(self), grads[0], outputs[0]),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [self.kernels(k)[0].bind(*rows([*inputs, *outputs]))]


@operation
class LogSoftmax(Softmax):
    """x - ln sum of exp(x), over the last dimension."""

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.log_softmax_forward, k.log_softmax_backward


@operation
class SoftmaxGrad(Op):
    """dx from dy and y of a `Softmax` or `LogSoftmax`."""

    softmax: Softmax

    def infer(self, dy: Tensor, y: Tensor) -> TensorSpec:
        return y.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [self.softmax.kernels(k)[1].bind(*rows([*inputs, *outputs]))]


def rows(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same memory as (rows, c), c the last dimension."""
    return [array.reshape(-1, array.shape[-1]) for array in arrays]


def _over(op: Op, x: Any, axis: int | Sequence[int]) -> Any:
    """`op`, which works along the last dimension, along `axis`, or over several together."""
    x = convert(x)
    axes = shapes.normalize_axes(axis, x.ndim, op.name.lower())
    only_described = current_trace() is not None and any(x.shape[i] is None for i in axes)
    if axes == (x.ndim - 1,) or only_described:  # in a layer that will be called again on known shapes
        return apply(op, x)
    rest = [i for i in range(x.ndim) if i not in axes]
    moved = shapes.transpose(x, [*rest, *axes])
    merged = shapes.reshape(moved, (*[None] * len(rest), -1))
    y = shapes.reshape(apply(op, merged), (*[None] * len(rest), *(x.shape[i] for i in axes)))
    return shapes.transpose(y, [[*rest, *axes].index(i) for i in range(x.ndim)])


@op_function
def softmax(x: Any, axis: int | Sequence[int] = -1) -> Any:
    """exp(x) / sum of exp(x) along `axis`, or over several axes together."""
    return _over(Softmax(), x, axis)


@op_function
def log_softmax(x: Any, axis: int | Sequence[int] = -1) -> Any:
    """x - ln sum of exp(x) along `axis`, or over several axes together."""
    return _over(LogSoftmax(), x, axis)
