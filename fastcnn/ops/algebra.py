"""Products and norms of tensors, made of `matmul`, sums and products element by element."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.errors import Error
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.elementwise import absolute, divide, multiply, sqrt, square
from fastcnn.ops.matmul import dense, matmul
from fastcnn.ops.reduction import max as largest
from fastcnn.ops.reduction import mean
from fastcnn.ops.reduction import min as smallest
from fastcnn.ops.reduction import sum as total
from fastcnn.ops.shape import (
    broadcast_to,
    concatenate,
    expand_dims,
    known,
    moveaxis,
    normalize_axes,
    normalize_axis,
    ravel,
    reshape,
    squeeze,
    transpose,
)
from fastcnn.tensor import Tensor

__all__ = ["average", "cumsum", "dot", "einsum", "norm", "outer", "prod", "tensordot", "tril", "triu"]


@op_function
def tensordot(x1: Any, x2: Any, axes: Any = 2) -> Any:
    """Sum of products over axes of x1 and of x2: their last and first `axes`, or those listed for each.

    The other axes of x1, then those of x2, are the axes of the result.
    """
    x, y = convert(x1), convert(x2)
    summed_x, summed_y = _summed_axes(axes, x, y)
    rest_x = [i for i in range(x.ndim) if i not in summed_x]
    rest_y = [i for i in range(y.ndim) if i not in summed_y]
    size = int(np.prod(known([x.shape[i] for i in summed_x])))
    kept: list[int | None] = [None] * len(rest_x)  # may be open while a functional model is built
    rows = reshape(transpose(x, rest_x + summed_x), (*(kept or [1]), size))
    columns = reshape(transpose(y, summed_y + rest_y), (size, -1))
    return reshape(dense(rows, columns), (*kept, *known([y.shape[i] for i in rest_y])))


def _summed_axes(axes: Any, x: Tensor, y: Tensor) -> tuple[list[int], list[int]]:
    if isinstance(axes, int):
        return list(range(x.ndim - axes, x.ndim)), list(range(axes))
    of_x, of_y = ([a] if isinstance(a, int) else list(a) for a in axes)
    first = [normalize_axis(a, x.ndim, "tensordot") for a in of_x]
    second = [normalize_axis(a, y.ndim, "tensordot") for a in of_y]
    if [x.shape[i] for i in first] != [y.shape[i] for i in second]:
        raise Error(f"tensordot: axes {axes} of tensors of shapes {x.shape} and {y.shape} differ in length")
    return first, second


@op_function
def dot(x1: Any, x2: Any) -> Any:
    """Sum of products over the last axis of x1 and the last but one of x2 (the only one of a vector)."""
    x, y = convert(x1), convert(x2)
    if not x.ndim or not y.ndim:
        return multiply(x, y)
    return tensordot(x, y, axes=[[x.ndim - 1], [max(y.ndim - 2, 0)]])


@op_function
def outer(x1: Any, x2: Any) -> Any:
    """Every element of x1 times every element of x2: (n,), (m,) -> (n, m)."""
    return expand_dims(ravel(x1), 1) * expand_dims(ravel(x2), 0)


@op_function
def einsum(subscripts: str, *operands: Any) -> Any:
    """Sums of products in Einstein's notation, "bij,bjk->bik", with a letter for each axis.

    The factors are multiplied over all letters at once and then summed, so the memory is the product of all lengths:
    for large matrices `matmul` and `tensordot` are the better choice.
    """
    inputs, result = _letters(subscripts, len(operands))
    order = result + "".join(sorted(set("".join(inputs)) - set(result)))
    factors = [_spread(convert(x), letters, order) for x, letters in zip(operands, inputs, strict=True)]
    product = functools.reduce(multiply, factors)
    return total(product, tuple(range(len(result), len(order)))) if len(order) > len(result) else product


def _letters(subscripts: str, count: int) -> tuple[list[str], str]:
    left, _, result = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    if "->" not in subscripts:
        result = "".join(sorted(letter for letter in set(left) - {","} if left.count(letter) == 1))
    repeated = any(len(set(letters)) != len(letters) for letters in [*inputs, result])
    strange = not (left + result).replace(",", "").isalpha() or not set(result) <= set(left)
    if len(inputs) != count or repeated or strange:
        raise Error(
            f"einsum: {subscripts!r} does not fit {count} operands; write one different letter for each axis, "
            "for example 'bij,bjk->bik'"
        )
    return inputs, result


def _spread(x: Tensor, letters: str, order: str) -> Tensor:
    """x with its axes in `order`, and axes of length 1 for the letters it does not have."""
    if x.ndim != len(letters):
        raise Error(f"einsum: {letters!r} has {len(letters)} letters for a tensor of shape {x.shape}")
    present = [letter for letter in order if letter in letters]
    x = transpose(x, [letters.index(letter) for letter in present])
    missing = [i for i, letter in enumerate(order) if letter not in letters]
    return expand_dims(x, missing) if missing else x


@op_function
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The length of vectors along `axis` (an integer; None: of x as one vector, and of a matrix by all elements).

    ord: None, 2 or "fro", the Euclidean one; 1, sum of |x|; infinity, the largest |x|; -infinity, the smallest.
    """
    x = convert(x)
    if ord in (None, "fro") or (ord == 2 and (isinstance(axis, int) or x.ndim == 1)):
        return sqrt(total(square(x), axis, keepdims))
    if not isinstance(axis, int) and x.ndim != 1 or ord not in (1, np.inf, -np.inf):
        raise Error(
            f"norm: ord={ord!r} is supported along one axis only, and must be None, 1, 2, inf or -inf"
        )
    return {1: total, np.inf: largest, -np.inf: smallest}[ord](absolute(x), axis, keepdims)


@op_function
def average(x: Any, axis: Any = None, weights: Any = None) -> Any:
    """The mean over `axis` (None: all), weighted: sum of w x / sum of w. weights: of x's shape, or one for each place
    along the axis.
    """
    x = convert(x)
    if weights is None:
        return mean(x, axis)
    w = convert(weights, x.dtype)
    if w.ndim == 1 and x.ndim > 1 and isinstance(axis, int):
        place = normalize_axis(axis, x.ndim, "average")
        w = expand_dims(w, [i for i in range(x.ndim) if i != place])
    w = broadcast_to(w, known(x.shape))
    return divide(total(x * w, axis), total(w, axis))


@op_function
def prod(x: Any, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> Any:
    """The product over `axis` (None: all), halved again and again."""
    x = convert(x)
    axes = normalize_axes(tuple(range(x.ndim)) if axis is None else axis, x.ndim, "prod")
    rest = [i for i in range(x.ndim) if i not in axes]
    y = reshape(
        transpose(x, [*rest, *axes]), (*[None] * len(rest), int(np.prod(known([x.shape[i] for i in axes]))))
    )
    while (n := known(y.shape[-1:])[0]) > 1:
        half = n // 2
        pairs = multiply(y[..., :half], y[..., half : 2 * half])
        y = concatenate([pairs, y[..., 2 * half :]], -1) if n % 2 else pairs
    y = squeeze(y, -1)
    return expand_dims(y, axes) if keepdims else y


@op_function
def cumsum(x: Any, axis: int | None = None) -> Any:
    """The sums of the elements along `axis` (None: of x as one dimension) up to each one."""
    x = ravel(x) if axis is None else convert(x)
    place = normalize_axis(axis or 0, x.ndim, "cumsum")
    (n,) = known(x.shape[place : place + 1])
    earlier = np.tri(n, dtype=x.dtype).T
    return moveaxis(matmul(moveaxis(x, place, -1), earlier), -1, place)


@op_function
def tril(x: Any, k: int = 0) -> Any:
    """x with 0 above diagonal number k of its last two axes."""
    x = convert(x)
    rows, columns = known(x.shape[-2:])
    return x * np.tri(rows, columns, k).astype(x.dtype)


@op_function
def triu(x: Any, k: int = 0) -> Any:
    """x with 0 below diagonal number k of its last two axes."""
    x = convert(x)
    rows, columns = known(x.shape[-2:])
    return x * (1.0 - np.tri(rows, columns, k - 1)).astype(x.dtype)
