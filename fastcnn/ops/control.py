"""Choices and loops. A loop is written out when it is traced, so its length is a number known then."""

from collections.abc import Callable, Sequence
from typing import Any

from fastcnn.errors import Error
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.elementwise import where
from fastcnn.ops.shape import known, stack
from fastcnn.tensor import Tensor

__all__ = ["cond", "fori_loop", "map", "switch", "vectorized_map"]


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """true_fn() where `pred` holds, else false_fn(). For a tensor both are computed, and one is chosen."""
    if not isinstance(pred, Tensor):
        return true_fn() if pred else false_fn()
    return where(pred, true_fn(), false_fn())


def switch(index: int, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """The branch number `index`, an integer, of the operands; the first or last one where there is no such number."""
    if isinstance(index, Tensor):
        raise Error(
            "switch: the index must be a number, not a tensor; use ops.where to choose between tensors"
        )
    return branches[max(0, min(int(index), len(branches) - 1))](*operands)


def fori_loop(lower: int, upper: int, body_fun: Callable[[int, Any], Any], init_val: Any) -> Any:
    """body_fun(i, value) for i from lower to upper - 1, each time of the last value."""
    value = init_val
    for i in range(int(lower), int(upper)):
        value = body_fun(i, value)
    return value


@op_function
def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """f of each entry along the first axis, stacked."""
    xs = convert(xs)
    (count,) = known(xs.shape[:1])
    return stack([f(xs[i]) for i in range(count)])


vectorized_map = map
