"""Pooling: the maximum or the mean over windows of each channel. Images are (batch, height, width, channels).

Padded cells take no part: they are never the maximum and are not counted in the mean.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from fastcnn import ops
from fastcnn.layers import arguments, volumes
from fastcnn.layers.base import Layer
from fastcnn.ops.core import convert
from fastcnn.tensor import Tensor


class _Pooling(Layer):
    """What all pooling with windows shares."""

    spatial: ClassVar[int]  # number of spatial axes
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
        window = (self.pool_size, self.strides, self.padding)
        if self.spatial == 3:
            return volumes.pool3d(type(self).pool, inputs, *window)
        return type(self).pool(inputs, *window)


class _MaxPooling(_Pooling):
    pool = staticmethod(ops.max_pool)

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
    """`MaxPooling2D` along one axis: (n, length, c) -> (n, ol, c)."""

    spatial = 1


class MaxPooling2D(_MaxPooling):
    """y[n, oy, ox, c] = max of x[n, oy sh - top + ky, ox sw - left + kx, c] over ky < ph, kx < pw.

    pool_size (ph, pw); strides (sh, sw), None: the pool size. padding: "valid", "same" or, beyond Keras, explicit
    cells ((top, bottom), (left, right)), fewer than the pool has.
    """

    spatial = 2


class MaxPooling3D(_MaxPooling):
    """`MaxPooling2D` with a third axis in front: (n, d, h, w, c) -> (n, od, oh, ow, c), sizes known."""

    spatial = 3


class AveragePooling1D(_Pooling):
    """`AveragePooling2D` along one axis: (n, length, c) -> (n, ol, c)."""

    spatial = 1
    pool = staticmethod(ops.average_pool)


class AveragePooling2D(_Pooling):
    """The mean over each window of its cells in the image; arguments as for `MaxPooling2D`."""

    spatial = 2
    pool = staticmethod(ops.average_pool)


class AveragePooling3D(_Pooling):
    """`AveragePooling2D` with a third axis in front: (n, d, h, w, c) -> (n, od, oh, ow, c), sizes known."""

    spatial = 3
    pool = staticmethod(ops.average_pool)


class _GlobalPooling(Layer):
    """What pooling over all positions shares."""

    spatial: ClassVar[int]
    pool: ClassVar[Callable[..., Tensor]]

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = arguments.data_format(type(self).__name__, data_format)
        self.keepdims = bool(keepdims)

    def call(self, inputs: Tensor) -> Tensor:
        arguments.check_rank(inputs.shape, self.spatial)
        return type(self).pool(inputs, self.keepdims)


class GlobalAveragePooling1D(_GlobalPooling):
    """y[n, c] = mean of x[n, :, c]; (n, 1, c) with keepdims.

    mask (n, length): ones where a step counts, zeros where it does not.
    """

    spatial = 1
    pool = staticmethod(ops.global_average_pool)
    supports_masking = True

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        if mask is None:
            return super().call(inputs)
        arguments.check_rank(inputs.shape, self.spatial)
        kept = ops.expand_dims(convert(mask, inputs.dtype), 2)
        total = ops.sum(inputs * kept, axis=1, keepdims=self.keepdims)
        return total / ops.sum(kept, axis=1, keepdims=self.keepdims)


class GlobalAveragePooling2D(_GlobalPooling):
    """y[n, c] = mean of x[n, :, :, c]; (n, 1, 1, c) with keepdims."""

    spatial = 2
    pool = staticmethod(ops.global_average_pool)


class GlobalAveragePooling3D(_GlobalPooling):
    """y[n, c] = mean of x[n, :, :, :, c]; (n, 1, 1, 1, c) with keepdims."""

    spatial = 3
    pool = staticmethod(ops.global_average_pool)


class GlobalMaxPooling1D(_GlobalPooling):
    """y[n, c] = max of x[n, :, c]; (n, 1, c) with keepdims."""

    spatial = 1
    pool = staticmethod(ops.global_max_pool)


class GlobalMaxPooling2D(_GlobalPooling):
    """y[n, c] = max of x[n, :, :, c]; (n, 1, 1, c) with keepdims."""

    spatial = 2
    pool = staticmethod(ops.global_max_pool)


class GlobalMaxPooling3D(_GlobalPooling):
    """y[n, c] = max of x[n, :, :, :, c]; (n, 1, 1, 1, c) with keepdims."""

    spatial = 3
    pool = staticmethod(ops.global_max_pool)


class _AdaptivePooling(Layer):
    """What pooling to a given size shares. A window is a product of intervals, so that rows can be reduced first
    and columns then.
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
        length = x.shape[axis]
        if length is None:  # only the output's shape is wanted, while a functional model is built
            return ops.repeat(type(self).reduce(x, axis=axis, keepdims=True), size, axis=axis)
        before = (slice(None),) * axis
        parts = [x[(*before, slice(*cells))] for cells in _intervals(length, size)]
        return ops.concatenate(
            [type(self).reduce(part, axis=axis, keepdims=True) for part in parts], axis=axis
        )


def _intervals(length: int, size: int) -> list[tuple[int, int]]:
    """(first, one past the last) input cell of each output cell."""
    return [(i * length // size, -(-(i + 1) * length // size)) for i in range(size)]


class AdaptiveAveragePooling1D(_AdaptivePooling):
    """`AdaptiveAveragePooling2D` along one axis: (n, length, c) -> (n, output_size, c)."""

    spatial = 1
    reduce = staticmethod(ops.mean)


class AdaptiveAveragePooling2D(_AdaptivePooling):
    """(n, h, w, c) -> (n, oh, ow, c), output_size (oh, ow): output cell i is the mean of the input cells from
    floor(i h / oh) to ceil((i + 1) h / oh) - 1, along both axes.
    """

    spatial = 2
    reduce = staticmethod(ops.mean)


class AdaptiveAveragePooling3D(_AdaptivePooling):
    """`AdaptiveAveragePooling2D` along three axes: (n, d, h, w, c) -> (n, *output_size, c)."""

    spatial = 3
    reduce = staticmethod(ops.mean)


class AdaptiveMaxPooling1D(_AdaptivePooling):
    """`AdaptiveMaxPooling2D` along one axis: (n, length, c) -> (n, output_size, c)."""

    spatial = 1
    reduce = staticmethod(ops.max)


class AdaptiveMaxPooling2D(_AdaptivePooling):
    """(n, h, w, c) -> (n, oh, ow, c), output_size (oh, ow): the maximum over the windows of
    `AdaptiveAveragePooling2D`.
    """

    spatial = 2
    reduce = staticmethod(ops.max)


class AdaptiveMaxPooling3D(_AdaptivePooling):
    """`AdaptiveMaxPooling2D` along three axes: (n, d, h, w, c) -> (n, *output_size, c)."""

    spatial = 3
    reduce = staticmethod(ops.max)


MaxPool1D = MaxPooling1D
MaxPool2D = MaxPooling2D
MaxPool3D = MaxPooling3D
AvgPool1D = AveragePooling1D
AvgPool2D = AveragePooling2D
AvgPool3D = AveragePooling3D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalAvgPool2D = GlobalAveragePooling2D
GlobalAvgPool3D = GlobalAveragePooling3D
GlobalMaxPool1D = GlobalMaxPooling1D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalMaxPool3D = GlobalMaxPooling3D
