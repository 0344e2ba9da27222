"""Pooling: the maximum or the mean over windows of each channel. Images are (batch, height, width, channels).

Padded cells take no part: they are never the maximum and are not counted in the mean. A one-dimensional layer
is the two-dimensional one on images of height 1.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from fastcnn import ops
from fastcnn.layers import arguments
from fastcnn.layers.base import Layer
from fastcnn.tensor import Tensor


class _Pooling(Layer):
    """y[n, oy, ox, c] = max or mean of x[n, oy s - top + ky, ox s - left + kx, c] over ky < ph, kx < pw.

    pool_size (ph, pw), strides None: the pool size. padding: "valid", "same" or, beyond Keras, explicit cells
    ((top, bottom), (left, right)), fewer than the pool has.
    """

    spatial: ClassVar[int]
    pool: ClassVar[Callable[..., Tensor]]

    def __init__(
        self,
        pool_size: Any,
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        owner = type(self).__name__
        self.pool_size = arguments.integers(owner, "pool_size", pool_size, self.spatial)
        strides = self.pool_size if strides is None else strides
        self.strides = arguments.integers(owner, "strides", strides, self.spatial)
        self.padding = arguments.padding(owner, padding, self.spatial)
        self.data_format = arguments.data_format(owner, data_format)

    def call(self, inputs: Tensor) -> Tensor:
        arguments.check_rank(inputs.shape, self.spatial)
        pool = type(self).pool
        if self.spatial == 2:
            return pool(inputs, self.pool_size, self.strides, self.padding)
        padding = self.padding if isinstance(self.padding, str) else ((0, 0), *self.padding)
        y = pool(ops.expand_dims(inputs, 1), (1, *self.pool_size), (1, *self.strides), padding)
        return ops.squeeze(y, 1)


class _MaxPooling(_Pooling):
    def __init__(
        self,
        pool_size: Any = 2,
        strides: Any = None,
        padding: Any = "valid",
        data_format: str | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)


class MaxPooling1D(_MaxPooling):
    __doc__ = _Pooling.__doc__
    spatial = 1
    pool = staticmethod(ops.max_pool)


class MaxPooling2D(_MaxPooling):
    __doc__ = _Pooling.__doc__
    spatial = 2
    pool = staticmethod(ops.max_pool)


class AveragePooling1D(_Pooling):
    __doc__ = _Pooling.__doc__
    spatial = 1
    pool = staticmethod(ops.average_pool)


class AveragePooling2D(_Pooling):
    __doc__ = _Pooling.__doc__
    spatial = 2
    pool = staticmethod(ops.average_pool)


class _GlobalPooling(Layer):
    """y[n, c] = max or mean of x[n, ..., c] over all positions; (n, 1, ..., c) with keepdims."""

    spatial: ClassVar[int]
    reduce: ClassVar[Callable[..., Tensor]]

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = arguments.data_format(type(self).__name__, data_format)
        self.keepdims = bool(keepdims)

    def call(self, inputs: Tensor) -> Tensor:
        arguments.check_rank(inputs.shape, self.spatial)
        axes = tuple(range(1, 1 + self.spatial))
        return type(self).reduce(inputs, axis=axes, keepdims=self.keepdims)


class GlobalAveragePooling1D(_GlobalPooling):
    __doc__ = _GlobalPooling.__doc__
    spatial = 1
    reduce = staticmethod(ops.mean)


class GlobalAveragePooling2D(_GlobalPooling):
    __doc__ = _GlobalPooling.__doc__
    spatial = 2
    reduce = staticmethod(ops.mean)


class GlobalMaxPooling1D(_GlobalPooling):
    __doc__ = _GlobalPooling.__doc__
    spatial = 1
    reduce = staticmethod(ops.max)


class GlobalMaxPooling2D(_GlobalPooling):
    __doc__ = _GlobalPooling.__doc__
    spatial = 2
    reduce = staticmethod(ops.max)


class _AdaptivePooling(Layer):
    """Pooling to a given output size: output cell i sees the input cells from floor(i h / oh) to
    ceil((i + 1) h / oh) - 1, along each axis.

    A window is a product of intervals, so rows are reduced first, then columns.
    """

    spatial: ClassVar[int]
    reduce: ClassVar[Callable[..., Tensor]]

    def __init__(self, output_size: Any, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        owner = type(self).__name__
        self.output_size = arguments.integers(owner, "output_size", output_size, self.spatial)
        self.data_format = arguments.data_format(owner, data_format)

    def call(self, inputs: Tensor) -> Tensor:
        arguments.check_rank(inputs.shape, self.spatial)
        y = inputs
        for axis, size in enumerate(self.output_size, start=1):
            y = self._along(y, axis, size)
        return y

    def _along(self, x: Tensor, axis: int, size: int) -> Tensor:
        length = arguments.known_size(x.shape, axis, "cells along each axis")
        before = (slice(None),) * axis
        parts = [x[(*before, slice(*cells))] for cells in _intervals(length, size)]
        reduced: Sequence[Tensor] = [type(self).reduce(part, axis=axis, keepdims=True) for part in parts]
        return ops.concatenate(reduced, axis=axis)


def _intervals(length: int, size: int) -> list[tuple[int, int]]:
    return [(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]


class AdaptiveAveragePooling1D(_AdaptivePooling):
    __doc__ = _AdaptivePooling.__doc__
    spatial = 1
    reduce = staticmethod(ops.mean)


class AdaptiveAveragePooling2D(_AdaptivePooling):
    __doc__ = _AdaptivePooling.__doc__
    spatial = 2
    reduce = staticmethod(ops.mean)


class AdaptiveMaxPooling1D(_AdaptivePooling):
    __doc__ = _AdaptivePooling.__doc__
    spatial = 1
    reduce = staticmethod(ops.max)


class AdaptiveMaxPooling2D(_AdaptivePooling):
    __doc__ = _AdaptivePooling.__doc__
    spatial = 2
    reduce = staticmethod(ops.max)


MaxPool1D = MaxPooling1D
MaxPool2D = MaxPooling2D
AvgPool1D = AveragePooling1D
AvgPool2D = AveragePooling2D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalMaxPool1D = GlobalMaxPooling1D
GlobalMaxPool2D = GlobalMaxPooling2D
