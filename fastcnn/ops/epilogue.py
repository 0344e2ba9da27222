"""What convolutions and dense layers do to their results before they store them.

    y = max(x * kernel + bias + residual, lower)

The residual is a tensor of the shape of y, behind all other inputs: what a block of a network adds to its result, or
the other part of a gradient that is a sum. Dense layers take none.

Convolutions can also keep the moments of what they store, a few numbers a part, for a batch normalisation behind them.

Plans let an op with such an epilogue take over the layers behind it.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastcnn.graph import Fused, Node, Op
from fastcnn.ops.activation import Relu
from fastcnn.ops.elementwise import Add, rsqrt
from fastcnn.ops.normalization import BatchMoments, BatchNormInference, in_chunks
from fastcnn.ops.shape import reshape
from fastcnn.tensor import Constant, Shape, TensorSpec, Variable

__all__: list[str] = []  # for ops, not for users

# Results have at least so many times the bytes of the moments of their parts, or these are not kept.
SMALL_SHARE = 4


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


def moments_as_stored(node: Node, reader: Node, k: Any) -> Op | None:
    """`Op.join` of an op that can write the `moment_parts` of its result: of these, `BatchMoments` is then made."""
    operation: Any = node.operation
    if not isinstance(reader.operation, BatchMoments) or operation.moments:
        return None
    joined = replace(operation, moments=True)
    (kept,) = moments_kept(joined, k, [x.spec for x in node.inputs], [y.spec for y in node.outputs])
    return joined if kept.size else None


def moments_kept(operation: Any, k: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> list[TensorSpec]:
    """The scratch for moments (parts, 3, filters) of what is stored. Without a part where these have few pixels: then
    moments would be nearly as large as the results, and a kernel of its own is faster."""
    if not operation.moments:
        return []
    y, parts = outputs[0], operation.moment_parts(k, inputs, outputs)
    kept = TensorSpec((parts, 3, y.shape[-1]), "float64")
    return [kept if kept.nbytes * SMALL_SHARE <= y.nbytes else TensorSpec((0, 3, y.shape[-1]), "float64")]


def moments_or_none(moments: Sequence[Any]) -> Any:
    """The memory for them, or the empty array that kernels take for none."""
    return moments[0] if moments else np.empty((0, 3, 0))


def keeping(k: Any, kernel: str, given: Sequence[Any], moments: Sequence[Any], rest: Sequence[Any]) -> Any:
    """The launch of a kernel, or where there is memory for moments, of KERNEL_moments, which writes them."""
    kept = moments_or_none(moments)
    if kept.size:
        return getattr(k, f"{kernel}_moments").bind(*given, kept, *rest)
    return getattr(k, kernel).bind(*given, *rest)


def moments_of(k: Any, moments: Sequence[Any], outputs: Sequence[Any]) -> list:
    """The launch that makes the second output, if there is one: of the moments of parts, or of the first."""
    if not moments:
        return []
    y, partial = outputs
    if moments[0].size:
        return [k.combine_moments.bind(moments[0], partial)]
    (y,), partial = in_chunks([y], partial)
    return [k.batch_norm_moments.bind(y, partial)]


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
