"""Choices and loops. A loop is written out when it is traced, so its length is a number known then."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn import tree
from fastcnn.errors import Error
from fastcnn.ops.core import convert, dtype_kept
from fastcnn.ops.elementwise import where
from fastcnn.ops.shape import known, shape, stack
from fastcnn.tensor import Tensor

__all__ = [
    "cond", "fori_loop", "map", "scan", "select", "switch", "vectorize", "vectorized_map", "while_loop",
]  # fmt: skip


def cond(pred: Any, true_fn: Callable[[], Any], false_fn: Callable[[], Any]) -> Any:
    """true_fn() where `pred` holds, else false_fn(). For a tensor both are computed, and one is chosen."""
    if not isinstance(pred, Tensor):
        return true_fn() if pred else false_fn()
    return tree.map_structure(lambda yes, no: where(pred, yes, no), true_fn(), false_fn())


def select(condlist: Sequence[Any], choicelist: Sequence[Any], default: Any = 0) -> Any:
    """The element of the first choice whose condition holds there, else `default`."""
    result = default
    for condition, choice in zip(reversed(condlist), reversed(choicelist), strict=True):
        result = where(condition, choice, result)
    return result


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


def while_loop(
    cond: Callable[..., Any], body: Callable[..., Any], loop_vars: Any, maximum_iterations: int | None = None
) -> Any:
    """body(*values), again and again while cond(*values), which must not depend on what a model is given."""
    several = isinstance(loop_vars, list | tuple)
    values = tuple(loop_vars) if several else (loop_vars,)
    count = 0
    while (maximum_iterations is None or count < maximum_iterations) and _holds(cond(*values)):
        found = body(*values)
        values = tuple(found) if isinstance(found, list | tuple) else (found,)
        count += 1
    return type(loop_vars)(values) if several else values[0]


def _holds(condition: Any) -> bool:
    if isinstance(condition, Tensor):
        raise Error(
            "while_loop: how often it runs must be known when a model is traced; use fori_loop and ops.where"
        )
    return bool(condition)


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]], init: Any, xs: Any = None, length: int | None = None,
    reverse: bool = False, unroll: Any = 1,
) -> tuple[Any, Any]:  # fmt: skip
    """(carry, stacked y) of carry, y = f(carry, x) for each entry x of xs along the first axis, or backwards."""
    leaves = [] if xs is None else tree.flatten(xs)
    if not leaves and length is None:
        raise Error("scan: give xs, or the length")
    count = known(shape(leaves[0])[:1])[0] if leaves else int(length or 0)
    carry, found = init, {}
    for i in reversed(range(count)) if reverse else range(count):
        carry, found[i] = f(carry, None if xs is None else tree.map_structure(lambda x, i=i: x[i], xs))
    ys = [found[i] for i in range(count)]
    return carry, tree.map_structure(lambda *items: stack(items), *ys) if ys else None


@dtype_kept
def map(f: Callable[[Any], Any], xs: Any) -> Any:
    """f of each entry along the first axis, stacked; xs and what f gives may be structures."""
    xs = tree.map_structure(convert, xs)
    (count,) = known(tree.flatten(xs)[0].shape[:1])
    found = [f(tree.map_structure(lambda x, i=i: x[i], xs)) for i in range(count)]
    return tree.map_structure(lambda *items: stack(items), *found)


def vectorized_map(function: Callable[[Any], Any], elements: Any) -> Any:
    """`map`."""
    return map(function, elements)


def vectorize(
    pyfunc: Callable[..., Any], *, excluded: Any = None, signature: str | None = None
) -> Callable[..., Any]:
    """pyfunc of each element (with a signature such as "(n)->()" of each slice) of arrays. It takes arrays."""
    run = np.vectorize(pyfunc, excluded=excluded, signature=signature)

    @functools.wraps(pyfunc)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, Tensor) for value in args):
            raise Error("vectorize: works on arrays only; write the function with ops of whole tensors")
        return run(*args, **kwargs)

    return wrapper
