"""Activations by their Keras names: functions of tensors (or arrays), also found by name, e.g. "relu".

Most are functions of `fastcnn.ops`; any function of a tensor can serve as an activation.
"""

from collections.abc import Callable, Mapping
from typing import Any

from fastcnn import ops, registry
from fastcnn.ops import (
    celu,
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
    sparse_plus,
    sparse_sigmoid,
    sparsemax,
    squareplus,
    tanh,
    tanh_shrink,
    threshold,
)
from fastcnn.registry import registered

__all__ = [
    "celu", "deserialize", "elu", "exponential", "gelu", "get", "glu", "hard_shrink", "hard_sigmoid", "hard_silu",
    "hard_swish", "hard_tanh", "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu",
    "serialize", "sigmoid", "silu", "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus",
    "sparse_sigmoid", "sparsemax", "squareplus", "swish", "tanh", "tanh_shrink", "threshold",
]  # fmt: skip

for _function in (
    celu, elu, glu, hard_shrink, hard_sigmoid, hard_tanh, leaky_relu, log_sigmoid, log_softmax, mish, relu, relu6,
    selu, sigmoid, soft_shrink, softmax, softplus, softsign, sparse_plus, sparse_sigmoid, sparsemax, squareplus, tanh,
    tanh_shrink, threshold,
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
