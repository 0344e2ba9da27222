"""Functions whose gradient the user gives."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from fastcnn.errors import Error
from fastcnn.graph import Op, apply, current_trace, operation
from fastcnn.ops.core import convert, op_function
from fastcnn.tensor import Tensor, TensorSpec

__all__ = ["custom_gradient"]


@operation
class CustomGradient(Op):
    """y itself, of inputs y and x, ...; its gradient for these is `rule(dy)`, or `rule(x, ..., upstream=dy)`."""

    rule: Callable[..., Any]

    alias = True

    def infer(self, y: Tensor, *xs: Tensor) -> TensorSpec:
        return y.spec

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor | None, ...]:
        upstream = inspect.signature(self.rule).parameters.get("upstream")
        if (
            upstream is not None
            and upstream.kind is upstream.KEYWORD_ONLY
            and upstream.default is upstream.empty
        ):
            found = self.rule(*inputs[1:], upstream=grads[0])
        else:
            found = self.rule(grads[0])
        dxs = found if isinstance(found, list | tuple) else (found,)
        if len(dxs) != len(inputs) - 1:
            raise Error(
                f"custom_gradient: expected {len(inputs) - 1} gradients, one an argument, got {len(dxs)}"
            )
        return (
            None,
            *(dx if dx is None else convert(dx, x.dtype) for dx, x in zip(dxs, inputs[1:], strict=True)),
        )


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator of f(*args), which returns (y, grad): a function that gives y, with the gradient that grad says.

    args: tensors or arrays, y: one tensor. grad(dy), or grad(*args, upstream=dy), returns the gradient for each of args
    (for one, not in a tuple if you like), written with `fastcnn.ops`; what f computes to find y has none.
    """

    @op_function
    def run(*args: Any) -> Any:
        if current_trace() is None:
            raise Error(
                "custom_gradient: call the function in the call() of a layer, not on the tensors of a model"
            )
        xs = [convert(x) for x in args]
        y, rule = f(*xs)
        return apply(CustomGradient(rule), convert(y), *xs)

    return functools.wraps(f)(run)
