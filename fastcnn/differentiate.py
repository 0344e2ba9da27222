"""Gradients of functions of arrays: for style transfer, saliency, gradient checks and teaching."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.graph import gradients
from fastcnn.plan import Function
from fastcnn.tensor import Tensor


def value_and_gradient(
    function: Callable[..., Tensor], argnums: int | Sequence[int] = 0, training: bool = False
) -> Callable[..., tuple[np.ndarray, Any]]:
    """A function of the same arrays that returns (f(x, ...), df/dx).

    `function` is written with layers and `fastcnn.ops` and returns one tensor; of one that is not a scalar the
    gradient is that of the sum of its elements. argnums: which argument or arguments to differentiate by.

    >>> square = value_and_gradient(lambda x: ops.sum(x * x))                           # doctest: +SKIP
    """
    numbers = [argnums] if isinstance(argnums, int) else list(argnums)

    def body(*tensors: Tensor) -> Any:
        y = function(*tensors)
        return y, gradients(y, [tensors[i] for i in numbers])

    planned = Function(body, training)

    def run(*arrays: Any) -> tuple[np.ndarray, Any]:
        inputs = [np.ascontiguousarray(a, dtype=_floating(a)) for a in arrays]
        value, grads = planned(*inputs)
        filled = [np.zeros_like(inputs[i]) if g is None else g for i, g in zip(numbers, grads, strict=True)]
        return value, filled[0] if isinstance(argnums, int) else filled

    return run


def gradient(
    function: Callable[..., Tensor], argnums: int | Sequence[int] = 0, training: bool = False
) -> Callable[..., Any]:
    """A function of the same arrays that returns df/dx. See `value_and_gradient`."""
    both = value_and_gradient(function, argnums, training)
    return lambda *arrays: both(*arrays)[1]


def _floating(value: Any) -> str:
    dtype = np.asarray(value).dtype
    return str(dtype) if dtype in (np.float32, np.float64) else "float32"
