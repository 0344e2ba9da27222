"""Ops that combine the elements along some axes into one."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from fastcnn.errors import Error
from fastcnn.graph import Op, apply, operation
from fastcnn.ops.core import convert, op_function, whole_function
from fastcnn.ops.shape import (
    broadcast_to,
    expand_dims,
    floating,
    known,
    normalize_axes,
    ravel,
    reshape,
    squeeze,
    transpose,
)
from fastcnn.tensor import Shape, Tensor, TensorSpec

__all__ = [
    "amax",
    "amin",
    "argmax",
    "argmin",
    "logsumexp",
    "max",
    "mean",
    "min",
    "moments",
    "std",
    "sum",
    "var",
]

Axis = int | Sequence[int] | None


def reduced_shape(shape: Shape, axes: Sequence[int], keepdims: bool) -> Shape:
    """What is left of a shape; reduced dimensions become 1 or go."""
    if keepdims:
        return tuple(1 if axis in axes else n for axis, n in enumerate(shape))
    return tuple(n for axis, n in enumerate(shape) if axis not in axes)


def runs(axes: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring axes as (first, one past the last)."""
    found: list[tuple[int, int]] = []
    for axis in axes:
        if found and found[-1][1] == axis:
            found[-1] = (found[-1][0], axis + 1)
        else:
            found.append((axis, axis + 1))
    return found


def canonical(shape: Sequence[int], first: int, last: int) -> tuple[int, int, int]:
    """(outer, reduced, inner) sizes when axes first to last - 1 are reduced."""
    return math.prod(shape[:first]), math.prod(shape[first:last]), math.prod(shape[last:])


class Stage(NamedTuple):
    """One kernel call: (outer, rows, inner) -> (outer, chunks, inner)."""

    outer: int
    rows: int
    inner: int
    chunks: int


def stages(k: Any, shape: Sequence[int], axes: Sequence[int]) -> list[Stage]:
    """The kernel calls that reduce `axes`: for each run of axes one, or two where it is cut into chunks."""
    dims, found = list(shape), []
    for first, last in reversed(runs(axes) or [(0, 0)]):
        outer, rows, inner = canonical(dims, first, last)
        chunks = k.reduce_sum.parts((outer, rows, inner), None)
        found.append(Stage(outer, rows, inner, chunks))
        if chunks > 1:
            found.append(Stage(outer, chunks, inner, 1))
        dims[first:last] = [1] * (last - first)
    return found


def stage_results(k: Any, shape: Sequence[int], axes: Sequence[int], dtype: str) -> list[TensorSpec]:
    """Scratch for what every stage but the last leaves to the next."""
    return [TensorSpec((s.outer, s.chunks, s.inner), dtype) for s in stages(k, shape, axes)[:-1]]


@operation
class Reduce:
    """What reductions over `axes` share; with `keepdims` these stay as dimensions of length 1."""

    axes: tuple[int, ...]
    keepdims: bool

    def infer(self, x: Tensor) -> TensorSpec:
        return TensorSpec(reduced_shape(x.shape, self.axes, self.keepdims), x.dtype)

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return inputs[0].size

    def by_image(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Sequence[int] | None:
        return None if 0 in self.axes else (0,)

    def widened(self, dy: Tensor, x: Tensor) -> Tensor:
        """dy with reduced dimensions of length 1."""
        return reshape(dy, reduced_shape(x.shape, self.axes, True))

    def stages_of(self, k: Any, x: Any, y: Any, scratch: Any) -> list[tuple[Any, Any]]:
        """(source, target) of every stage, as (o, r, i) and (o, k, i) views."""
        plan = stages(k, x.shape, self.axes)
        sources, targets = [x, *scratch], [*scratch, y]
        return [
            (source.reshape(s.outer, s.rows, s.inner), target.reshape(s.outer, s.chunks, s.inner))
            for s, source, target in zip(plan, sources, targets, strict=True)
        ]


@operation
class Sum(Reduce, Op):
    """Sum over axes, accumulated in float64."""

    def scale(self, shape: Sequence[int | None]) -> float:
        return 1.0

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        (x,), scale = inputs, self.scale(inputs[0].shape)
        dy = grads[0] if scale == 1.0 else grads[0] * scale
        return (broadcast_to(self.widened(dy, x), x.shape),)

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return stage_results(k, known(inputs[0].shape), self.axes, "float64")

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        pairs = self.stages_of(k, inputs[0], outputs[0], scratch)
        scales = [1.0] * (len(pairs) - 1) + [self.scale(inputs[0].shape)]
        return [k.reduce_sum.bind(x, y, scale) for (x, y), scale in zip(pairs, scales, strict=True)]


@operation
class Mean(Sum):
    """Mean over axes, accumulated in float64."""

    def scale(self, shape: Sequence[int | None]) -> float:
        return 1.0 / math.prod(known([shape[axis] for axis in self.axes]))


@operation
class Max(Reduce, Op):
    """Largest over neighbouring axes; NaN if any is NaN. Ties share the gradient evenly."""

    def gradient(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], grads: Any) -> tuple[Tensor]:
        return (apply(ExtremumGrad(self.axes), inputs[0], outputs[0], grads[0]),)

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return stage_results(k, known(inputs[0].shape), self.axes, inputs[0].dtype)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.reduce_max.bind(x, y) for x, y in self.stages_of(k, inputs[0], outputs[0], scratch)]


@operation
class Min(Max):
    """Smallest over neighbouring axes; NaN if any is NaN. Ties share the gradient evenly."""

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.reduce_min.bind(x, y) for x, y in self.stages_of(k, inputs[0], outputs[0], scratch)]


@operation
class ExtremumGrad(Op):
    """dx = dy / (number of ties) where x equals the extremum y over neighbouring `axes`, else 0."""

    axes: tuple[int, ...]

    def infer(self, x: Tensor, y: Tensor, dy: Tensor) -> TensorSpec:
        return x.spec

    def view(self, shape: Sequence[int | None]) -> tuple[int, int, int]:
        """(outer, reduced, inner) sizes."""
        (first, last), *_ = runs(self.axes) or [(0, 0)]
        return canonical(known(shape), first, last)

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        outer, rows, inner = self.view(inputs[0].shape)
        chunks = k.reduce_sum.parts((outer, rows, inner), None)
        return [TensorSpec((outer, chunks, inner), "float64"), TensorSpec((outer, 1, inner), "float64")]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, y, dy), (dx,), (partial, count) = inputs, outputs, scratch
        outer, rows, inner = self.view(x.shape)
        x, dx = x.reshape(outer, rows, inner), dx.reshape(outer, rows, inner)
        y, dy = y.reshape(outer, inner), dy.reshape(outer, inner)
        return [
            k.count_extrema.bind(x, y, partial),
            k.reduce_sum.bind(partial, count, 1.0),
            k.extremum_backward.bind(x, y, dy, count.reshape(outer, inner), dx),
        ]


def _reduce(op: type[Any], x: Any, axis: Axis, keepdims: bool) -> Any:
    x = convert(x)
    return apply(op(normalize_axes(axis, x.ndim, op.__name__.lower()), bool(keepdims)), x)


def _reduce_neighbours(op: type[Any], x: Any, axis: Axis, keepdims: bool) -> Any:
    """As `_reduce`, for ops that want their axes side by side: others are moved to the end first."""
    x = convert(x)
    axes = normalize_axes(axis, x.ndim, op.__name__.lower())
    if len(runs(axes)) <= 1:
        return apply(op(axes, bool(keepdims)), x)
    rest = [i for i in range(x.ndim) if i not in axes]
    y = apply(op(tuple(range(len(rest), x.ndim)), False), transpose(x, [*rest, *axes]))
    return expand_dims(y, axes) if keepdims else y


@whole_function(least="int32")
def sum(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The sum over `axis` (None: all)."""
    return _reduce(Sum, x, axis, keepdims)


@op_function
def mean(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The mean over `axis` (None: all)."""
    return _reduce(Mean, floating(x), axis, keepdims)


def _bounded(y: Any, low: Any, high: Any) -> Any:
    from fastcnn.ops.elementwise import clip  # arithmetic needs sums for its gradients

    return clip(y, low, high)


@whole_function()
def max(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> Any:
    """The largest element over `axis` (None: all); NaN if any is NaN. Ties share the gradient evenly.

    initial: a number that takes part.
    """
    y = _reduce_neighbours(Max, x, axis, keepdims)
    return y if initial is None else _bounded(y, initial, None)


@whole_function()
def min(x: Any, axis: Axis = None, keepdims: bool = False, initial: Any = None) -> Any:
    """The smallest element over `axis` (None: all); NaN if any is NaN. Ties share the gradient evenly.

    initial: a number that takes part.
    """
    y = _reduce_neighbours(Min, x, axis, keepdims)
    return y if initial is None else _bounded(y, None, initial)


amax, amin = max, min


@op_function
def moments(x: Any, axes: Axis, keepdims: bool = False, synchronized: bool = False) -> Any:
    """(mean, variance) over `axes`; the variance is the mean of squared differences from the mean."""
    if synchronized:
        raise Error("moments: there is one device; synchronized must be False")
    x = floating(x)
    centre = mean(x, axes, keepdims=True)
    difference = x - centre
    variance = mean(difference * difference, axes, keepdims)
    return (centre if keepdims else squeeze(centre, normalize_axes(axes, x.ndim, "moments"))), variance


@op_function
def var(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The biased variance over `axis` (None: all)."""
    return moments(x, axis, keepdims)[1]


@op_function
def std(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """The square root of `var`."""
    return var(x, axis, keepdims) ** 0.5


@op_function
def sum_to_shape(x: Any, shape: Sequence[int | None]) -> Any:
    """x summed to `shape`, which broadcasts to its own: what a repeated input's gradient is."""
    x = convert(x)
    lead = x.ndim - len(shape)
    wide = [lead + axis for axis, n in enumerate(shape) if n == 1 and x.shape[lead + axis] != 1]
    axes = [*range(lead), *wide]
    return reshape(sum(x, axes), shape) if axes else x


@operation
class LogSumExp(Reduce, Op):
    """ln of the sum of exp(x) over neighbouring axes, shifted by the largest so that nothing overflows."""

    def views(self, x: Any, *ys: Any) -> list[Any]:
        """x as (o, r, i), the others as (o, i)."""
        (first, last), *_ = runs(self.axes) or [(0, 0)]
        outer, rows, inner = canonical(x.shape, first, last)
        return [x.reshape(outer, rows, inner), *(y.reshape(outer, inner) for y in ys)]

    def gradient(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], grads: Any) -> tuple[Tensor]:
        return (apply(LogSumExpGrad(self.axes, self.keepdims), inputs[0], outputs[0], grads[0]),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.logsumexp_forward.bind(*self.views(inputs[0], outputs[0]))]


@operation
class LogSumExpGrad(LogSumExp):
    """dx = dy exp(x - y)."""

    def by_image(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Sequence[int] | None:
        return None if 0 in self.axes else (0, 1, 2)

    def infer(self, *inputs: Tensor) -> TensorSpec:
        return inputs[0].spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        x, y, dy = self.views(*inputs)
        return [k.logsumexp_backward.bind(x, y, dy, outputs[0].reshape(x.shape))]


@op_function
def logsumexp(x: Any, axis: Axis = None, keepdims: bool = False) -> Any:
    """ln of the sum of exp(x) over `axis` (None: all)."""
    return _reduce_neighbours(LogSumExp, x, axis, keepdims)


@operation
class ArgMax(Reduce, Op):
    """The first place along one axis where x is largest, as int32; a NaN is larger than any number."""

    def infer(self, x: Tensor) -> TensorSpec:
        return super().infer(x)._replace(dtype="int32")

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[None]:
        return (None,)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x,), (y,) = inputs, outputs
        outer, rows, inner = canonical(x.shape, self.axes[0], self.axes[0] + 1)
        return [k.argmax_forward.bind(x.reshape(outer, rows, inner), y.reshape(outer, inner))]


@op_function
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The first place of the largest element along `axis` (None: in x as one dimension), int32."""
    x = convert(x)
    y = apply(ArgMax((0,), False), ravel(x)) if axis is None else _reduce(ArgMax, x, axis, keepdims)
    return reshape(y, (1,) * x.ndim) if keepdims and axis is None else y


@op_function
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Any:
    """The first place of the smallest element along `axis` (None: in x as one dimension), int32."""
    return argmax(-convert(x), axis, keepdims)
