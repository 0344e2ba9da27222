"""Ops that reduce windows of images (n, h, w, c). Padded cells count for nothing: not for a maximum, not for a mean."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fastcnn_kernels.pool import WindowGeometry

from fastcnn.errors import Error, did_you_mean
from fastcnn.graph import Fused, Node, Op, apply, operation
from fastcnn.ops import reduction
from fastcnn.ops.activation import ActivationGrad, Relu
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.shape import expand_dims, known, squeeze
from fastcnn.tensor import Tensor, TensorSpec

__all__ = ["average_pool", "global_average_pool", "global_max_pool", "max_pool"]

Pair = tuple[int, int]
Padding = str | tuple[Pair, Pair]


def window_padding(padding: Padding, axis: int, size: int, window: int, stride: int) -> Pair:
    """(before, after) along an axis. "same": ceil(size / stride) windows, an odd cell goes to the end."""
    if not isinstance(padding, str):
        return padding[axis]
    if padding == "valid":
        return 0, 0
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def window_count(padding: Padding, axis: int, size: int, window: int, stride: int) -> int:
    """How many windows fit along an axis: floor((size + padding - window) / stride) + 1."""
    room = size + sum(window_padding(padding, axis, size, window, stride)) - window
    if room < 0:
        raise Error(
            f"pooling: a window of {window} is larger than the padded input, {room + window} along dimension "
            f"{axis + 1}; use padding='same' or a smaller pool_size"
        )
    return room // stride + 1


@operation
class Pool:
    """What pooling ops share: windows of `window` cells every `strides` cells over images padded by `padding`."""

    window: Pair
    strides: Pair
    padding: Padding

    def infer(self, x: Tensor) -> TensorSpec:
        n, h, w, c = x.shape
        sizes = zip((h, w), self.window, self.strides, strict=True)
        outs = (
            None if d is None else window_count(self.padding, i, d, k, s) for i, (d, k, s) in enumerate(sizes)
        )
        return TensorSpec((n, *outs, c), x.dtype)

    def geometry(self, shape: Sequence[int | None]) -> WindowGeometry:
        """What the kernels need to know of an image of this shape."""
        n, h, w, c = known(shape)
        axes = list(enumerate(zip((h, w), self.window, self.strides, strict=True)))
        (pt, _), (pl, _) = (window_padding(self.padding, i, d, k, s) for i, (d, k, s) in axes)
        oh, ow = (window_count(self.padding, i, d, k, s) for i, (d, k, s) in axes)
        return WindowGeometry(n, h, w, c, *self.window, *self.strides, pt, pl, oh, ow)

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return outputs[0].size * math.prod(self.window)


@operation
class MaxPool(Pool, Op):
    """y = largest x of the window; the first of several (in row-major order) takes the gradient."""

    images = (0,)

    def gradient(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], grads: Any) -> tuple[Tensor]:
        return (apply(MaxPoolGrad(self.window, self.strides, self.padding), inputs[0], outputs[0], grads[0]),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.max_pool_forward.bind(inputs[0], outputs[0], self.geometry(inputs[0].shape))]


@operation
class MaxPoolGrad(Pool, Op):
    """dx from x, y and dy of a `MaxPool`; with `rectified` also through the ReLU that x has come out of."""

    rectified: bool = False
    images = (0, 1, 2)

    def absorb(self, node: Node, reader: Node) -> Fused | None:
        """The gradient of that ReLU: it passes what reaches a maximum above 0."""
        grad = reader.operation
        if self.rectified or not isinstance(grad, ActivationGrad) or not isinstance(grad.activation, Relu):
            return None
        dz, z = reader.inputs
        if dz is not node.outputs[0] or z is not node.inputs[0]:
            return None
        return replace(self, rectified=True), node.inputs

    def infer(self, *inputs: Tensor) -> TensorSpec:
        return inputs[0].spec

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return inputs[1].size * math.prod(self.window)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        x, y, dy = inputs
        floor = 0.0 if self.rectified else math.nan
        return [k.max_pool_backward.bind(x, y, dy, outputs[0], floor, self.geometry(x.shape))]


@operation
class AveragePool(Pool, Op):
    """y = mean of the cells of the window that lie in the image."""

    images = (0,)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        shape = known(inputs[0].shape)
        return (apply(AveragePoolGrad(self.window, self.strides, self.padding, shape), grads[0]),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.average_pool_forward.bind(inputs[0], outputs[0], self.geometry(inputs[0].shape))]


@operation
class AveragePoolGrad(Pool, Op):
    """dx, of the given shape, from dy of an `AveragePool`."""

    shape: tuple[int, ...]
    images = (0,)

    def infer(self, dy: Tensor) -> TensorSpec:
        return TensorSpec(self.shape, dy.dtype)

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[Tensor]:
        return (apply(AveragePool(self.window, self.strides, self.padding), grads[0]),)

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return inputs[0].size * math.prod(self.window)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.average_pool_backward.bind(inputs[0], outputs[0], self.geometry(outputs[0].shape))]


def _values(value: int | Sequence[int], count: int, what: str) -> tuple[int, ...]:
    """`count` positive integers, given as one or as so many."""
    values = (value,) * count if isinstance(value, int) else tuple(value)
    if len(values) != count or not all(isinstance(n, int) and n >= 1 for n in values):
        raise Error(f"pooling: {what} must be a positive integer or {count} of them, got {value!r}")
    return values


def _check_padding(padding: Any, window: tuple[int, ...]) -> None:
    """Explicit padding must leave every window at least one cell of the image."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise Error(
                f"pooling: padding {padding!r} is not known{did_you_mean(padding, ('same', 'valid'))}"
            )
        return
    pairs = tuple(tuple(pair) for pair in padding)
    if len(pairs) != len(window) or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
        raise Error(
            f"pooling: padding must be 'same', 'valid' or a (before, after) pair for each axis, got {padding!r}"
        )
    if any(max(pair) >= k for pair, k in zip(pairs, window, strict=True)):
        raise Error(
            f"pooling: padding {padding} must be smaller than the window {window}, which could lie outside"
        )


def _pool(op: type[Any], x: Any, pool_size: Any, strides: Any, padding: Any) -> Any:
    """Pool images (n, h, w, c), or sequences (n, w, c) as images of one row."""
    x = convert(x)
    if x.ndim not in (3, 4):
        raise Error(f"pooling: expected images of shape (batch, height, width, channels), got {x.shape}")
    axes = x.ndim - 2
    window = _values(pool_size, axes, "pool_size")
    steps = window if strides is None else _values(strides, axes, "strides")
    _check_padding(padding, window)
    pads = padding if isinstance(padding, str) else tuple((int(a), int(b)) for a, b in padding)
    if axes == 2:
        return apply(op(window, steps, pads), x)
    pads = pads if isinstance(pads, str) else ((0, 0), *pads)
    y = apply(op((1, *window), (1, *steps), pads), expand_dims(x, 1))
    return squeeze(y, 1)


@op_function
def max_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: Any = "valid") -> Any:
    """The largest element of each window.  (n, h, w, c) -> (n, oh, ow, c), or (n, w, c) -> (n, ow, c).

    strides None: the window's own size. padding: "valid", "same" or ((top, bottom), (left, right)).
    """
    return _pool(MaxPool, inputs, pool_size, strides, padding)


@op_function
def average_pool(inputs: Any, pool_size: Any, strides: Any = None, padding: Any = "valid") -> Any:
    """The mean of each window's cells in the image.  (n, h, w, c) -> (n, oh, ow, c), or (n, w, c) -> (n, ow, c).

    strides None: the window's own size. padding: "valid", "same" or ((top, bottom), (left, right)).
    """
    return _pool(AveragePool, inputs, pool_size, strides, padding)


def _inner_axes(x: Tensor) -> tuple[int, ...]:
    if x.ndim < 3:
        raise Error(
            f"global pooling: expected images of shape (batch, height, width, channels), got {x.shape}"
        )
    return tuple(range(1, x.ndim - 1))


@op_function
def global_average_pool(inputs: Any, keepdims: bool = False) -> Any:
    """The mean of each channel of each image.  (n, h, w, c) -> (n, c), or (n, 1, 1, c) with keepdims."""
    x = convert(inputs)
    return reduction.mean(x, _inner_axes(x), keepdims)


@op_function
def global_max_pool(inputs: Any, keepdims: bool = False) -> Any:
    """The largest element of each channel of each image.  (n, h, w, c) -> (n, c), or (n, 1, 1, c) with keepdims."""
    x = convert(inputs)
    return reduction.max(x, _inner_axes(x), keepdims)
