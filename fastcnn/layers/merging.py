"""Layers that make one tensor of several, and the same as functions: `add([x, y])` is `Add()([x, y])`."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.layers import arguments
from fastcnn.layers.base import Layer
from fastcnn.tensor import Tensor


class _Merge(Layer):
    """Called on a list of tensors. Axes of size 1 are repeated as needed; a tensor with fewer axes than another
    gets axes of size 1 after the batch.
    """

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        return reduce(self._combine, _of_one_rank(_of_one_batch(_listed(inputs))))

    def _combine(self, x: Tensor, y: Tensor) -> Tensor:
        raise Error(f"{type(self).__name__} does not say how to combine two tensors")


def _listed(inputs: Any, count: int | None = None) -> list[Tensor]:
    if not isinstance(inputs, list | tuple) or not inputs:
        raise Error(f"expected a list of tensors, e.g. layer([x, y]), got {inputs!r}")
    if count is not None and len(inputs) != count:
        raise Error(f"expected a list of {count} tensors, got {len(inputs)}")
    return list(inputs)


def _of_one_batch(tensors: list[Tensor]) -> list[Tensor]:
    if len({x.shape[:1] for x in tensors if x.shape[:1] != (None,)}) > 1:
        raise Error(f"the inputs differ in their batch size: {', '.join(str(x.shape) for x in tensors)}")
    return tensors


def _of_one_rank(tensors: list[Tensor]) -> list[Tensor]:
    rank = max(x.ndim for x in tensors)
    return [_with_axes(x, rank - x.ndim) for x in tensors]


def _with_axes(x: Tensor, count: int) -> Tensor:
    for _ in range(count):
        x = ops.expand_dims(x, 1)
    return x


class Add(_Merge):
    """x + y + ..., element by element."""

    def _combine(self, x: Tensor, y: Tensor) -> Tensor:
        return ops.add(x, y)


class Subtract(_Merge):
    """x - y, of exactly two tensors."""

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        return super().call(_listed(inputs, 2))

    def _combine(self, x: Tensor, y: Tensor) -> Tensor:
        return ops.subtract(x, y)


class Multiply(_Merge):
    """x y ..., element by element."""

    def _combine(self, x: Tensor, y: Tensor) -> Tensor:
        return ops.multiply(x, y)


class Average(Add):
    """(x + y + ...) / number of tensors."""

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        return super().call(inputs) * (1.0 / len(inputs))


class Maximum(_Merge):
    """The largest of the tensors, element by element."""

    def _combine(self, x: Tensor, y: Tensor) -> Tensor:
        return ops.maximum(x, y)


class Minimum(_Merge):
    """The smallest of the tensors, element by element."""

    def _combine(self, x: Tensor, y: Tensor) -> Tensor:
        return ops.minimum(x, y)


class Concatenate(_Merge):
    """The tensors one after another along an axis; all other axes are of equal size."""

    def __init__(self, axis: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = arguments.axis("Concatenate", axis)

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        tensors = _listed(inputs)
        return tensors[0] if len(tensors) == 1 else ops.concatenate(tensors, axis=self.axis)


class Dot(_Merge):
    """Sum over one axis of each of two tensors, for each sample: (n, a, k) and (n, k, b) with axes (2, 1) ->
    (n, a, b); (n, k) and (n, k) with axes 1 -> (n, 1).

    axes: one integer, or one for each tensor; never the batch. normalize: divide by the length of the vectors
    along the axes first, which gives cosines.
    """

    def __init__(self, axes: Any, normalize: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        pair = (axes, axes) if isinstance(axes, int) else axes
        if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(isinstance(a, int) for a in pair):
            raise Error(f"Dot: axes must be an integer or a pair of integers, got {axes!r}")
        self.axes = axes if isinstance(axes, int) else tuple(axes)
        self.normalize = bool(normalize)

    def call(self, inputs: Sequence[Tensor]) -> Tensor:
        x, y = _listed(inputs, 2)
        axis_x, axis_y = self._positive_axes(x, y)
        if self.normalize:
            x, y = ops.normalize(x, axis=axis_x), ops.normalize(y, axis=axis_y)
        rows, columns = _matrix(x, axis_x, last=True), _matrix(y, axis_y, last=False)
        product = ops.matmul(rows, columns)
        rest = [*_rest(x, axis_x), *_rest(y, axis_y)]
        return ops.reshape(product, (None, *(rest or [1])))

    def _positive_axes(self, x: Tensor, y: Tensor) -> tuple[int, int]:
        pair = (self.axes, self.axes) if isinstance(self.axes, int) else self.axes
        axis_x, axis_y = pair[0] % x.ndim, pair[1] % y.ndim
        if 0 in (axis_x, axis_y):
            raise Error(f"axes={self.axes} name the batch axis of inputs of shape {x.shape} and {y.shape}")
        if x.shape[axis_x] != y.shape[axis_y]:
            raise Error(
                f"axes={self.axes} must have equal sizes, got {x.shape[axis_x]} of {x.shape} "
                f"and {y.shape[axis_y]} of {y.shape}"
            )
        return axis_x, axis_y


def _rest(x: Tensor, axis: int) -> list[int | None]:
    """Sizes of all axes but the batch and the one summed over."""
    return [n for i, n in enumerate(x.shape) if i not in (0, axis)]


def _matrix(x: Tensor, axis: int, last: bool) -> Tensor:
    """(n, rest, k), or (n, k, rest): the axis summed over, and all others as one."""
    others = [i for i in range(1, x.ndim) if i != axis]
    k = x.shape[axis]
    order = [0, *others, axis] if last else [0, axis, *others]
    moved = ops.transpose(x, order) if order != sorted(order) else x
    size = _product(_rest(x, axis))
    return ops.reshape(moved, (None, size, k) if last else (None, k, size))


def _product(sizes: list[int | None]) -> int:
    product = 1
    for size in sizes:
        if size is None:
            raise Error("Dot needs inputs whose sizes, except the batch, are known")
        product *= size
    return product


def add(inputs: Sequence[Tensor], **kwargs: Any) -> Tensor:
    """`Add()` of the tensors."""
    return Add(**kwargs)(inputs)


def subtract(inputs: Sequence[Tensor], **kwargs: Any) -> Tensor:
    """`Subtract()` of the tensors."""
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Sequence[Tensor], **kwargs: Any) -> Tensor:
    """`Multiply()` of the tensors."""
    return Multiply(**kwargs)(inputs)


def average(inputs: Sequence[Tensor], **kwargs: Any) -> Tensor:
    """`Average()` of the tensors."""
    return Average(**kwargs)(inputs)


def maximum(inputs: Sequence[Tensor], **kwargs: Any) -> Tensor:
    """`Maximum()` of the tensors."""
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Sequence[Tensor], **kwargs: Any) -> Tensor:
    """`Minimum()` of the tensors."""
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Sequence[Tensor], axis: int = -1, **kwargs: Any) -> Tensor:
    """`Concatenate(axis)` of the tensors."""
    return Concatenate(axis, **kwargs)(inputs)


def dot(inputs: Sequence[Tensor], axes: Any = -1, normalize: bool = False, **kwargs: Any) -> Tensor:
    """`Dot(axes, normalize)` of the two tensors."""
    return Dot(axes, normalize, **kwargs)(inputs)
