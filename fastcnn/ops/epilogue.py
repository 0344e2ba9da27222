"""What convolutions and dense layers do to their results before they store them: a bias, a lower bound.

    y = max(x * kernel + bias, lower)

Plans let an op with such an epilogue take over the layers behind it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastcnn.graph import Fused, Node
from fastcnn.ops.activation import Relu
from fastcnn.ops.elementwise import rsqrt
from fastcnn.ops.normalization import BatchNormInference
from fastcnn.ops.shape import reshape
from fastcnn.tensor import Shape

__all__: list[str] = []  # for ops, not for users


def no_bias(bias: Sequence[Any], like: Any) -> Any:
    """The bias, or the empty array that kernels take for none."""
    return bias[0] if bias else np.empty(0, like.dtype)


def floor_of(lower: float | None) -> float:
    """The lower bound of the results as kernels want it."""
    return -math.inf if lower is None else lower


def absorbed(node: Node, reader: Node, filters: Shape) -> Fused | None:
    """What does the work of `node` and then of `reader`: a ReLU, or a normalisation with given statistics.

    The latter is linear, so it goes into kernel and bias. `filters`: the shape in which one number a filter is
    repeated along the kernel.
    """
    operation = node.operation
    if operation.lower is not None:
        return None
    if isinstance(reader.operation, Relu):
        return replace(operation, lower=0.0), node.inputs
    if isinstance(reader.operation, BatchNormInference) and reader.operation.is_linear:
        _, mean, variance, gamma, beta = reader.inputs
        x, kernel, *bias = node.inputs
        scale = gamma * rsqrt(variance + reader.operation.epsilon)
        shift = beta - (mean - bias[0] if bias else mean) * scale
        return operation, [x, kernel * reshape(scale, filters), shift]
    return None
