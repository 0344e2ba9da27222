"""Losses: one number a sample, from targets and predictions whose last dimension is that of the classes or values.

Targets are constants to the gradient, except where a loss is symmetric in target and output.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn import config
from fastcnn.errors import Error
from fastcnn.graph import Op, apply, operation
from fastcnn.ops import shape as shapes
from fastcnn.ops.activation import Sigmoid, Softmax, rows
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.elementwise import not_equal, require_floating, same_shape
from fastcnn.ops.reduction import max as largest
from fastcnn.tensor import Tensor, TensorSpec

__all__ = [
    "binary_crossentropy",
    "categorical_crossentropy",
    "huber",
    "mean_absolute_error",
    "mean_binary_crossentropy",
    "mean_squared_error",
    "multi_hot",
    "one_hot",
    "sparse_categorical_crossentropy",
]


@operation
class Loss(Op):
    """loss (...) of output (..., c) and target (..., c)."""

    is_symmetric: ClassVar[bool] = False  # the gradient of the target is minus that of the output

    def kernels(self, k: Any) -> tuple[Any, Any]:
        """The kernels forward and backward."""
        raise Error(f"{self.name} names no kernels")

    def constants(self) -> tuple[float, ...]:
        """What the kernels are told besides the arrays."""
        return ()

    def infer(self, output: Tensor, target: Tensor) -> TensorSpec:
        spec = same_shape(self.name, output, target)
        if not spec.shape:
            raise Error(f"{self.name}: expected output and target (..., c), got scalars")
        return TensorSpec(spec.shape[:-1], spec.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor | None, ...]:
        doutput = apply(LossGrad(self), grads[0], *inputs)
        return doutput, -doutput if self.is_symmetric else None

    def views(self, output: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
        """The inputs as the kernels want them."""
        return rows([output, target])

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [self.kernels(k)[0].bind(*self.views(*inputs), outputs[0].reshape(-1), *self.constants())]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Any) -> int:
        return 4 * inputs[0].size


@operation
class LossGrad(Op):
    """doutput from dloss, output and target of a loss."""

    loss: Loss

    def infer(self, dloss: Tensor, output: Tensor, target: Tensor) -> TensorSpec:
        return output.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        dloss, *given = inputs
        views = self.loss.views(*given)
        return [
            self.loss.kernels(k)[1].bind(dloss.reshape(-1), *views, *rows(outputs), *self.loss.constants())
        ]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Any) -> int:
        return 4 * inputs[1].size


# --- classification --------------------------------------------------------------------------------------------


@operation
class SparseSoftmaxCrossEntropy(Loss):
    """-ln softmax(output)[target], target (...) class indices as floats; 0 where the target is `ignore_class`.

    With smoothing s the target stands for the shares (1 - s) [j = target] + s / c.
    """

    smoothing: float
    ignore_class: int | None

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.sparse_softmax_cross_entropy_forward, k.sparse_softmax_cross_entropy_backward

    def constants(self) -> tuple[float, ...]:
        return self.smoothing, math.nan if self.ignore_class is None else float(self.ignore_class)

    def infer(self, output: Tensor, target: Tensor) -> TensorSpec:
        require_floating(self.name, output, target)
        fits = target.ndim == output.ndim - 1 and all(
            None in (n, m) or n == m for n, m in zip(target.shape, output.shape, strict=False)
        )
        if not fits:
            raise Error(
                f"sparse_categorical_crossentropy: an output of shape {output.shape} wants targets of shape "
                f"{output.shape[:-1]}, got {target.shape}"
            )
        return TensorSpec(output.shape[:-1], output.dtype)

    def views(self, output: np.ndarray, target: np.ndarray) -> list[np.ndarray]:
        return [*rows([output]), target.reshape(-1)]


@operation
class SoftmaxCrossEntropy(Loss):
    """-sum of target ln softmax(output)."""

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.softmax_cross_entropy_forward, k.softmax_cross_entropy_backward


@operation
class CrossEntropy(Loss):
    """-sum of target ln q, q = output / sum of output, kept in [epsilon, 1 - epsilon]."""

    epsilon: float

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.cross_entropy_forward, k.cross_entropy_backward

    def constants(self) -> tuple[float, ...]:
        return (self.epsilon,)


@operation
class OneHot(Op):
    """(...) -> (..., classes): 1 at the index that the input holds, else 0."""

    classes: int

    def infer(self, x: Tensor) -> TensorSpec:
        return TensorSpec(
            (*x.shape, self.classes), x.dtype if x.dtype in config.FLOAT_TYPES else config.floatx()
        )

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[None]:
        return (None,)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.one_hot.bind(inputs[0].reshape(-1), *rows(outputs))]


@op_function
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Any:
    """Indices to indicators: 1 at the place that x holds, else 0, along a new dimension `axis`; floatx."""
    if sparse:
        raise Error("one_hot: tensors are dense; sparse must be False")
    if num_classes < 1:
        raise Error(f"one_hot: num_classes must be positive, got {num_classes}")
    y = apply(OneHot(int(num_classes)), convert(x))
    y = y if dtype is None else shapes.cast(y, dtype)
    return y if axis in (-1, y.ndim - 1) else shapes.moveaxis(y, -1, axis)


@op_function
def multi_hot(
    inputs: Any,
    num_classes: int | None = None,
    axis: int = -1,
    dtype: Any = None,
    sparse: bool = False,
    **kwargs: Any,
) -> Any:
    """1 at all the places that x holds along its last axis, else 0: (..., n) -> (..., num_classes)."""
    count = kwargs.get("num_tokens") if num_classes is None else num_classes
    if count is None:
        raise Error("multi_hot: num_classes is missing")
    x = convert(inputs)
    found = one_hot(x, count, -1, None, sparse)
    y = largest(found, -2) if x.ndim else found
    y = y if dtype is None else shapes.cast(y, dtype)
    return y if axis in (-1, y.ndim - 1) else shapes.moveaxis(y, -1, axis)


def check_smoothing(what: str, smoothing: float) -> float:
    """The share of a label that goes to all classes, from 0 to 1; `Error` otherwise."""
    if not 0 <= smoothing <= 1:
        raise Error(f"{what}: label_smoothing must lie in [0, 1], got {smoothing}")
    return float(smoothing)


def logits_of(output: Tensor, activation: type[Op]) -> Tensor | None:
    """What `activation` was applied to, when that is how the output was made."""
    node = output.node
    return node.inputs[0] if node is not None and type(node.operation) is activation else None


@op_function
def categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1, label_smoothing: float = 0.0
) -> Any:
    """-sum of target ln p along `axis`; p = softmax(output) from logits, else output made to sum to 1.

    Targets are smoothed to target (1 - label_smoothing) + label_smoothing / c. Probabilities straight from a
    softmax are traced back to their logits, which lose no digits.
    """
    smoothing = check_smoothing("categorical_crossentropy", label_smoothing)
    output = shapes.moveaxis(convert(output), axis, -1)
    target = shapes.moveaxis(convert(target, output.dtype), axis, -1)
    if smoothing:
        target = target * (1.0 - smoothing) + smoothing / classes_of(output)
    logits = output if from_logits else logits_of(output, Softmax)
    if logits is not None:
        return apply(SoftmaxCrossEntropy(), logits, target)
    return apply(CrossEntropy(config.epsilon()), output, target)


@op_function
def sparse_categorical_crossentropy(
    target: Any,
    output: Any,
    from_logits: bool = False,
    axis: int = -1,
    ignore_class: int | None = None,
    label_smoothing: float = 0.0,
) -> Any:
    """-ln p[target] along `axis`, target class indices; 0 where the target is `ignore_class`.

    A dimension of length 1 in the place of the classes is dropped from the target. Otherwise as
    `categorical_crossentropy`.
    """
    smoothing = check_smoothing("sparse_categorical_crossentropy", label_smoothing)
    output = shapes.moveaxis(convert(output), axis, -1)
    target = convert(target, output.dtype)
    if target.dtype != output.dtype:
        target = shapes.cast(target, output.dtype)
    if target.ndim == output.ndim and target.shape[axis] == 1:
        target = shapes.squeeze(target, axis)
    logits = output if from_logits else logits_of(output, Softmax)
    if logits is not None:
        return apply(SparseSoftmaxCrossEntropy(smoothing, ignore_class), logits, target)
    shares = one_hot(target, classes_of(output))
    if smoothing:
        shares = shares * (1.0 - smoothing) + smoothing / classes_of(output)
    loss = apply(CrossEntropy(config.epsilon()), output, shares)
    return loss if ignore_class is None else loss * not_equal(target, float(ignore_class))


def classes_of(output: Tensor) -> int:
    """The number of classes: the last dimension, which must be known."""
    classes = output.shape[-1]
    if classes is None:
        raise Error(
            f"cross-entropy: the number of classes, the last dimension of {output.shape}, must be known"
        )
    return classes


# --- means over the last dimension -----------------------------------------------------------------------------


@operation
class SigmoidCrossEntropy(Loss):
    """Mean of -(target ln s + (1 - target) ln(1 - s)), s = sigmoid(output)."""

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.sigmoid_cross_entropy_forward, k.sigmoid_cross_entropy_backward


@operation
class BinaryCrossEntropy(Loss):
    """Mean of -(target ln q + (1 - target) ln(1 - q)), q = output kept in [epsilon, 1 - epsilon]."""

    epsilon: float

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.binary_cross_entropy_forward, k.binary_cross_entropy_backward

    def constants(self) -> tuple[float, ...]:
        return (self.epsilon,)


@operation
class MeanSquaredError(Loss):
    """Mean of (output - target) ** 2."""

    is_symmetric = True

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.mean_squared_error_forward, k.mean_squared_error_backward


@operation
class MeanAbsoluteError(Loss):
    """Mean of |output - target|."""

    is_symmetric = True

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.mean_absolute_error_forward, k.mean_absolute_error_backward


@operation
class Huber(Loss):
    """Mean of e e / 2 where |e| <= delta, else delta (|e| - delta / 2), e = output - target."""

    delta: float
    is_symmetric = True

    def kernels(self, k: Any) -> tuple[Any, Any]:
        return k.huber_forward, k.huber_backward

    def constants(self) -> tuple[float, ...]:
        return (self.delta,)


def _pair(target: Any, output: Any) -> tuple[Tensor, Tensor]:
    """(output, target) of one dtype."""
    output = convert(output)
    return output, convert(target, output.dtype)


@op_function
def mean_binary_crossentropy(
    target: Any, output: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Any:
    """Mean over the last dimension of -(target ln p + (1 - target) ln(1 - p)); p = sigmoid(output) from logits.

    Targets are smoothed to target (1 - label_smoothing) + label_smoothing / 2. Probabilities straight from a
    sigmoid are traced back to their logits, which lose no digits.
    """
    smoothing = check_smoothing("binary_crossentropy", label_smoothing)
    output, target = _pair(target, output)
    if smoothing:
        target = target * (1.0 - smoothing) + 0.5 * smoothing
    logits = output if from_logits else logits_of(output, Sigmoid)
    if logits is not None:
        return apply(SigmoidCrossEntropy(), logits, target)
    return apply(BinaryCrossEntropy(config.epsilon()), output, target)


@op_function
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Any:
    """-(target ln p + (1 - target) ln(1 - p)) of each element; p = sigmoid(output) from logits."""
    output = convert(output)
    logits = output if from_logits else logits_of(output, Sigmoid)
    row = shapes.expand_dims(output if logits is None else logits, -1)
    expected = shapes.expand_dims(convert(target, output.dtype), -1)
    return mean_binary_crossentropy(expected, row, from_logits=logits is not None)


@op_function
def mean_squared_error(target: Any, output: Any) -> Any:
    """Mean over the last dimension of (output - target) ** 2."""
    return apply(MeanSquaredError(), *_pair(target, output))


@op_function
def mean_absolute_error(target: Any, output: Any) -> Any:
    """Mean over the last dimension of |output - target|."""
    return apply(MeanAbsoluteError(), *_pair(target, output))


@op_function
def huber(target: Any, output: Any, delta: float = 1.0) -> Any:
    """Mean over the last dimension of e e / 2 where |e| <= delta, else delta (|e| - delta / 2)."""
    if not delta > 0:
        raise Error(f"huber: delta must be positive, got {delta}")
    return apply(Huber(float(delta)), *_pair(target, output))
