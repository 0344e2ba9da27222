"""Activations by their Keras names: functions of tensors (or arrays), also found by name, e.g. "relu".

Most are functions of `fastcnn.ops`; any function of a tensor can serve as an activation.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastcnn import ops, registry
from fastcnn.ops import (
    celu,
    clip,
    elu,
    exp,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_silu,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    maximum,
    mish,
    relu,
    relu6,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    softmax,
    softplus,
    softsign,
    square,
    squareplus,
    tanh,
    tanh_shrink,
    where,
    zeros_like,
)
from fastcnn.ops.core import op_function
from fastcnn.registry import registered

__all__ = [
    "celu", "deserialize", "elu", "exponential", "gelu", "get", "glu", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu",
    "serialize", "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus",
    "sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink", "threshold",
]  # fmt: skip

for _function in (
    celu, elu, glu, hard_shrink, hard_sigmoid, hard_tanh, leaky_relu, log_sigmoid, log_softmax, mish, relu, relu6,
    selu, sigmoid, soft_shrink, softmax, softplus, softsign, squareplus, tanh, tanh_shrink,
):  # fmt: skip
    registered("activation")(_function)
registered("activation", "swish")(silu)
registered("activation", "hard_swish")(hard_silu)

swish = silu
hard_swish = hard_silu


@registered("activation", "identity")
def linear(x: Any) -> Any:
    """x."""
    return x


@registered("activation", "exp")
def exponential(x: Any) -> Any:
    """e^x."""
    return exp(x)


@registered("activation")
def gelu(x: Any, approximate: bool = False) -> Any:
    """x Phi(x), Phi the normal distribution; approximate: by tanh. Hendrycks & Gimpel 2016."""
    return ops.gelu(x, approximate)


@registered("activation")
def sparse_plus(x: Any) -> Any:
    """0 below -1, (x + 1)^2 / 4 up to 1, then x: softplus with a foot that is zero."""
    return square(clip(x + 1.0, 0.0, 2.0)) * 0.25 + maximum(x - 1.0, 0.0)


@registered("activation")
def sparse_sigmoid(x: Any) -> Any:
    """(x + 1) / 2, kept in [0, 1]."""
    return clip(x * 0.5 + 0.5, 0.0, 1.0)


@registered("activation")
@op_function
def sparsemax(x: Any, axis: int = -1) -> Any:
    """The point of the simplex nearest to x: max(x - t, 0) along `axis`, with t such that the sum is 1.

    An element is in the support when 1 + k x > s, where k elements are not smaller and s is their sum (Martins &
    Astudillo 2016). All pairs are compared, so the memory is the square of the length.
    """
    x = ops.moveaxis(ops.convert_to_tensor(x), axis, -1)
    each, others = ops.expand_dims(x, -1), ops.expand_dims(x, -2)
    not_smaller = ops.greater_equal(others, each)
    counts, sums = ops.sum(not_smaller, -1), ops.sum(not_smaller * others, -1)
    support = ops.greater(counts * x + 1.0, sums)
    t = (ops.sum(x * support, -1, keepdims=True) - 1.0) / ops.sum(support, -1, keepdims=True)
    return ops.moveaxis(ops.relu(x - t), -1, axis)


@registered("activation")
@op_function
def threshold(x: Any, threshold: float, default_value: float) -> Any:
    """x where x > threshold, else default_value."""
    return where(x > threshold, x, zeros_like(x) + float(default_value))


def serialize(activation: Any) -> Any:
    """The name of one of these functions, e.g. "relu"; of anything else what `fastcnn.registry.serialize` says."""
    data = registry.serialize(activation)
    is_own = isinstance(data, dict) and data.get("kind") == "activation" and "function" in data
    return data["function"] if is_own else data


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Callable[..., Any]:
    """The activation that `serialize` described."""
    activation: Callable[..., Any] = registry.deserialize("activation", config, custom_objects)
    return activation


def get(identifier: Any) -> Callable[..., Any]:
    """An activation from its name, its configuration, or a function; None is `linear`."""
    activation: Callable[..., Any] | None = registry.deserialize("activation", identifier)
    return linear if activation is None else activation
