"""Products and norms of tensors, made of `matmul`, sums and products element by element."""

import math
import string
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn import config
from fastcnn.errors import Error
from fastcnn.ops.core import convert, op_function, whole_function
from fastcnn.ops.diagonals import diagonal
from fastcnn.ops.elementwise import absolute, add, divide, multiply, rsqrt, sqrt, square
from fastcnn.ops.matmul import dense, matmul
from fastcnn.ops.reduction import max as largest
from fastcnn.ops.reduction import mean
from fastcnn.ops.reduction import min as smallest
from fastcnn.ops.reduction import sum as total
from fastcnn.ops.shape import (
    broadcast_to,
    cast,
    concatenate,
    expand_dims,
    floating,
    known,
    moveaxis,
    normalize_axes,
    normalize_axis,
    pad,
    ravel,
    reshape,
    squeeze,
    stack,
    transpose,
    unstack,
)
from fastcnn.tensor import Tensor

__all__ = [
    "average", "cross", "cumprod", "cumsum", "dot", "einsum", "inner", "kron", "norm", "outer", "prod",
    "rms_normalization", "tensordot", "tril", "triu", "vdot",
]  # fmt: skip


@whole_function(2)
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


@whole_function(2)
def dot(x1: Any, x2: Any) -> Any:
    """Sum of products over the last axis of x1 and the last but one of x2 (the only one of a vector)."""
    x, y = convert(x1), convert(x2)
    if not x.ndim or not y.ndim:
        return multiply(x, y)
    return tensordot(x, y, axes=[[x.ndim - 1], [max(y.ndim - 2, 0)]])


@whole_function(2)
def outer(x1: Any, x2: Any) -> Any:
    """Every element of x1 times every element of x2: (n,), (m,) -> (n, m)."""
    return expand_dims(ravel(x1), 1) * expand_dims(ravel(x2), 0)


@whole_function(None)
def einsum(subscripts: str, *operands: Any, **kwargs: Any) -> Any:
    """Sums of products in Einstein's notation: "bij,bjk->bik" has a letter for each axis, "..." for any more.

    Operands are multiplied from left to right, as stacks of matrices where letters that two of them share are summed.
    """
    tensors = [convert(x) for x in operands]
    inputs, result = _letters(_without_dots(subscripts, tensors), len(tensors))
    first, *others = (_of_different_letters(x, letters) for x, letters in zip(tensors, inputs, strict=True))
    for i, other in enumerate(others, 2):
        first = _contracted(first, other, kept=result + "".join(inputs[i:]))
    x, letters = _summed(*first, kept=result)
    return _spread(x, letters, result)


def _without_dots(subscripts: str, tensors: Sequence[Tensor]) -> str:
    """The subscripts with capitals from Z down in place of "..."."""
    left, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = left.split(",")
    if "..." not in left or len(terms) != len(tensors):
        return left + arrow + result
    counts = [x.ndim - len(term.replace("...", "")) for term, x in zip(terms, tensors, strict=True)]
    dots = string.ascii_uppercase[26 - max(counts) :]
    named = [term.replace("...", dots[len(dots) - n :]) for n, term in zip(counts, terms, strict=True)]
    letters = left.replace("...", "").replace(",", "")
    once = "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    return ",".join(named) + "->" + (result if arrow else "..." + once).replace("...", dots)


def _letters(subscripts: str, count: int) -> tuple[list[str], str]:
    left, arrow, result = subscripts.partition("->")
    inputs = left.split(",")
    if not arrow:
        result = "".join(sorted(letter for letter in set(left) - {","} if left.count(letter) == 1))
    strange = not (left + result).replace(",", "").isalpha() or not set(result) <= set(left)
    if len(inputs) != count or strange or len(set(result)) != len(result):
        raise Error(
            f"einsum: {subscripts!r} does not fit {count} operands; write a letter for each axis, "
            "for example 'bij,bjk->bik'"
        )
    return inputs, result


def _of_different_letters(x: Tensor, letters: str) -> tuple[Tensor, str]:
    """An operand with the diagonal in place of two axes of one letter."""
    if x.ndim != len(letters):
        raise Error(f"einsum: {letters!r} has {len(letters)} letters for a tensor of shape {x.shape}")
    for letter in letters:
        while letters.count(letter) > 1:
            first, second = letters.index(letter), letters.rindex(letter)
            x = diagonal(x, 0, first, second)
            letters = letters[:first] + letters[first + 1 : second] + letters[second + 1 :] + letter
    return x, letters


def _contracted(first: tuple[Tensor, str], second: tuple[Tensor, str], kept: str) -> tuple[Tensor, str]:
    """The product of two operands, summed over the letters that are not kept."""
    (x, of_x), (y, of_y) = _summed(*first, kept + second[1]), _summed(*second, kept + first[1])
    stack = "".join(n for n in of_x if n in of_y and n in kept)
    inner = "".join(n for n in of_x if n in of_y and n not in kept)
    rows, columns = "".join(n for n in of_x if n not in of_y), "".join(n for n in of_y if n not in of_x)
    x, y = _spread(x, of_x, stack + rows + inner), _spread(y, of_y, stack + inner + columns)
    if inner and _are_matrices(x, y, len(stack), len(inner)):
        return _matrix_product(x, y, len(stack), len(inner)), stack + rows + columns
    order = stack + rows + columns + inner
    product = _spread(x, stack + rows + inner, order) * _spread(y, stack + inner + columns, order)
    return _summed(product, order, kept)


def _are_matrices(x: Tensor, y: Tensor, stack: int, inner: int) -> bool:
    """Whether all sizes are known, and those of shared axes are equal (1 beside n is repeated)."""
    shared = x.shape[:stack] + x.shape[x.ndim - inner :]
    return None not in x.shape + y.shape and shared == y.shape[: stack + inner]


def _matrix_product(x: Tensor, y: Tensor, stack: int, inner: int) -> Tensor:
    """(stack..., rows..., inner...), (stack..., inner..., columns...) -> (stack..., rows..., columns...)."""
    kept, columns = known(x.shape[: x.ndim - inner]), known(y.shape[stack + inner :])
    lead = [math.prod(kept[:stack])] if stack else []
    size = math.prod(known(x.shape[x.ndim - inner :]))
    matrices = reshape(x, (*lead, math.prod(kept[stack:]), size))
    product = matmul(matrices, reshape(y, (*lead, size, math.prod(columns))))
    return reshape(product, (*kept, *columns))


def _summed(x: Tensor, letters: str, kept: str) -> tuple[Tensor, str]:
    """An operand summed over the letters that are not kept."""
    axes = tuple(i for i, letter in enumerate(letters) if letter not in kept)
    return (total(x, axes) if axes else x), "".join(letter for letter in letters if letter in kept)


def _spread(x: Tensor, letters: str, order: str) -> Tensor:
    """x with its axes in `order`, and axes of length 1 for the letters it does not have."""
    present = [letter for letter in order if letter in letters]
    x = transpose(x, [letters.index(letter) for letter in present])
    missing = [i for i, letter in enumerate(order) if letter not in letters]
    return expand_dims(x, missing) if missing else x


@op_function
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """The length of vectors along `axis` (an integer; None: of x as one vector, and of a matrix by all elements).

    ord: None, 2 or "fro", the Euclidean one; 1, sum of |x|; infinity, the largest |x|; -infinity, the smallest.
    """
    x = floating(x)
    if ord in (None, "fro") or (ord == 2 and (isinstance(axis, int) or x.ndim == 1)):
        return sqrt(total(square(x), axis, keepdims))
    if not isinstance(axis, int) and x.ndim != 1 or ord not in (1, np.inf, -np.inf):
        raise Error(
            f"norm: ord={ord!r} is supported along one axis only, and must be None, 1, 2, inf or -inf"
        )
    return {1: total, np.inf: largest, -np.inf: smallest}[ord](absolute(x), axis, keepdims)


@op_function
def rms_normalization(
    x: Any, scale: Any = None, axis: int | Sequence[int] = -1, epsilon: float | None = None
) -> Any:
    """scale x / sqrt(mean of x^2 over `axis` + epsilon); epsilon None: the fuzz factor. Zhang & Sennrich 2019."""
    x = floating(x)
    y = x * rsqrt(mean(square(x), axis, keepdims=True) + (config.epsilon() if epsilon is None else epsilon))
    return y if scale is None else y * scale


@op_function
def average(x: Any, axis: Any = None, weights: Any = None) -> Any:
    """The mean over `axis` (None: all), weighted: sum of w x / sum of w. weights: of x's shape, or one for each place
    along the axis.
    """
    x = floating(x)
    if weights is None:
        return mean(x, axis)
    w = convert(weights, x.dtype)
    if w.ndim == 1 and x.ndim > 1 and isinstance(axis, int):
        place = normalize_axis(axis, x.ndim, "average")
        w = expand_dims(w, [i for i in range(x.ndim) if i != place])
    w = broadcast_to(w, known(x.shape))
    return divide(total(x * w, axis), total(w, axis))


def in_dtype(x: Any, dtype: Any) -> Any:
    """x in a dtype; None: in its own."""
    return x if dtype is None else cast(x, dtype)


def prod(x: Any, axis: int | Sequence[int] | None = None, keepdims: bool = False, dtype: Any = None) -> Any:
    """The product over `axis` (None: all)."""
    return in_dtype(_prod(x, axis, keepdims), dtype)


@whole_function(least="int32")
def _prod(x: Any, axis: int | Sequence[int] | None, keepdims: bool) -> Any:
    """The product, halved again and again."""
    x = floating(x)
    axes = normalize_axes(axis, x.ndim, "prod")
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


def cumsum(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The sums of the elements along `axis` (None: of x as one dimension) up to each one."""
    return in_dtype(_cumulated(x, add, 0.0, axis), dtype)


def cumprod(x: Any, axis: int | None = None, dtype: Any = None) -> Any:
    """The products of the elements along `axis` (None: of x as one dimension) up to each one."""
    return in_dtype(_cumulated(x, multiply, 1.0, axis), dtype)


@whole_function(least=int)
def _cumulated(x: Any, combine: Callable[[Any, Any], Any], neutral: float, axis: int | None) -> Any:
    """Every element combined with all before it: with the one before, then two before, then four, ...

    Hillis & Steele 1986, Data parallel algorithms.
    """
    x = floating(ravel(x) if axis is None else x)
    place = normalize_axis(axis or 0, x.ndim, "cumsum")
    (n,) = known(x.shape[place : place + 1])
    distance = 1
    while distance < n:
        widths = [(0, 0)] * x.ndim
        widths[place] = (distance, 0)
        earlier = x[(*[slice(None)] * place, slice(0, n - distance))]
        x = combine(x, pad(earlier, widths, constant_values=neutral))
        distance *= 2
    return x


@whole_function(2)
def vdot(x1: Any, x2: Any) -> Any:
    """The sum of the products of all elements of x1 and x2."""
    return dot(ravel(x1), ravel(x2))


@whole_function(2)
def inner(x1: Any, x2: Any) -> Any:
    """Sums of products over the last axes."""
    x, y = convert(x1), convert(x2)
    return multiply(x, y) if not x.ndim or not y.ndim else tensordot(x, y, [[-1], [-1]])


@whole_function(2)
def kron(x1: Any, x2: Any) -> Any:
    """Blocks of x2, one for each element of x1 and multiplied by it."""
    x, y = convert(x1), convert(x2)
    rank = max(x.ndim, y.ndim)
    x = expand_dims(x, tuple(range(rank - x.ndim))) if x.ndim < rank else x
    y = expand_dims(y, tuple(range(rank - y.ndim))) if y.ndim < rank else y
    pairs = list(zip(known(x.shape), known(y.shape), strict=True))
    blocks = reshape(x, [n for m, _ in pairs for n in (m, 1)]) * reshape(
        y, [n for _, m in pairs for n in (1, m)]
    )
    return reshape(blocks, [n * m for n, m in pairs])


@whole_function(2)
def cross(
    x1: Any, x2: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None
) -> Any:
    """The vector at right angles to two vectors of 3 numbers, as long as their parallelogram is large.

    Vectors lie along `axisa` of x1 and `axisb` of x2, those of the result along `axisc`; `axis` stands for all three.
    A vector of 2 numbers has 0 as its third; of two such, only the third of the result is given.
    """
    axisa, axisb, axisc = (axisa, axisb, axisc) if axis is None else (axis,) * 3
    a, b = (unstack(moveaxis(x, i, -1), axis=-1) for x, i in ((convert(x1), axisa), (convert(x2), axisb)))
    if not {len(a), len(b)} <= {2, 3}:
        raise Error(f"cross: vectors have 2 or 3 numbers, got {len(a)} and {len(b)}")
    third = a[0] * b[1] - a[1] * b[0]
    if len(a) == len(b) == 2:
        return third
    a, b = ([*v, v[0] * 0.0] if len(v) == 2 else v for v in (a, b))
    return stack([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], third], axisc)


def _lower_triangle(x: Tensor, k: int) -> np.ndarray:
    rows, columns = known(x.shape[-2:])
    return np.tri(rows, columns, k).astype(x.dtype)


@whole_function()
def tril(x: Any, k: int = 0) -> Any:
    """x with 0 above diagonal number k of its last two axes."""
    x = convert(x)
    return x * _lower_triangle(x, k)


@whole_function()
def triu(x: Any, k: int = 0) -> Any:
    """x with 0 below diagonal number k of its last two axes."""
    x = convert(x)
    return x * (1.0 - _lower_triangle(x, k - 1))
