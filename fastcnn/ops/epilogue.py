"""What convolutions and dense layers do to their results before they store them.

    y = max(x * kernel + bias + residual, lower)

The residual is a tensor of the shape of y, behind all other inputs: what a block of a network adds to its result, or
the other part of a gradient that is a sum. Dense layers take none.

Plans let an op with such an epilogue take over the layers behind it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastcnn.graph import Fused, Node
from fastcnn.ops.activation import Relu
from fastcnn.ops.elementwise import Add, rsqrt
from fastcnn.ops.normalization import BatchNormInference
from fastcnn.ops.shape import reshape
from fastcnn.tensor import Constant, Shape, Variable

__all__: list[str] = []  # for ops, not for users


def no_bias(bias: Sequence[Any], like: Any) -> Any:
    """The bias, or the empty array that kernels take for none."""
    return bias[0] if bias else np.empty(0, like.dtype)


def bias_and_residual(operation: Any, inputs: Sequence[Any], like: Any) -> tuple[Any, Any]:
    """Both as kernels want them, from (x, kernel, bias if any, residual if any)."""
    _, _, *more = inputs
    residual = more.pop().reshape(-1) if operation.residual else np.empty(0, like.dtype)
    return no_bias(more, like), residual


def with_images(operation: Any, inputs: Sequence[Any]) -> tuple[int, ...]:
    """`Op.by_image` of an op whose images are its first input, and the residual."""
    return (0, len(inputs) - 1) if operation.residual else (0,)


def floor_of(lower: float | None) -> float:
    """The lower bound of the results as kernels want it."""
    return -math.inf if lower is None else lower


def absorbed(node: Node, reader: Node, filters: Shape) -> Fused | None:
    """What does the work of `node` and then of `reader`: a ReLU, or a normalisation with given statistics.

    The latter is linear, so it goes into kernel and bias. `filters`: the shape in which one number a filter is
    repeated along the kernel.
    """
    operation: Any = node.operation
    if operation.lower is not None:
        return None
    if isinstance(reader.operation, Relu):
        return replace(operation, lower=0.0), node.inputs
    is_linear = isinstance(reader.operation, BatchNormInference) and reader.operation.is_linear
    if is_linear and not operation.residual:
        _, mean, variance, gamma, beta = reader.inputs
        x, kernel, *bias = node.inputs
        scale = gamma * rsqrt(variance + reader.operation.epsilon)
        shift = beta - (mean - bias[0] if bias else mean) * scale
        return operation, [x, kernel * reshape(scale, filters), shift]
    return None


def accumulated(node: Node, reader: Node) -> Fused | None:
    """What does the work of `node` and then of `reader`, which adds a tensor of the same shape."""
    operation: Any = node.operation
    if operation.residual or operation.lower is not None or not isinstance(reader.operation, Add):
        return None
    (result,) = node.outputs
    (residual,) = (x for x in reader.inputs if x is not result)
    if residual.spec != result.spec or isinstance(residual, Variable | Constant):
        return None
    return replace(operation, residual=True), [*node.inputs, residual]
