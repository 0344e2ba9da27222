"""Layers that move, repeat or leave out numbers. Images are (batch, height, width, channels)."""

import math
from typing import Any, ClassVar

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.layers import arguments
from fastcnn.layers.base import Layer
from fastcnn.ops.image import INTERPOLATIONS, resize
from fastcnn.tensor import Tensor


class Flatten(Layer):
    """(batch, ...) -> (batch, product of the rest), in row-major order; (batch,) -> (batch, 1)."""

    def __init__(self, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.data_format = arguments.data_format(type(self).__name__, data_format)

    def call(self, inputs: Tensor) -> Tensor:
        return ops.flatten(inputs)


class Reshape(Layer):
    """(batch, ...) -> (batch, *target_shape), in row-major order; one size may be -1: what is left."""

    def __init__(self, target_shape: Any, **kwargs: Any):
        super().__init__(**kwargs)
        sizes = target_shape if isinstance(target_shape, list | tuple) else (target_shape,)
        self.target_shape = tuple(arguments.integer("Reshape", "target_shape", n, minimum=-1) for n in sizes)
        if self.target_shape.count(-1) > 1:
            raise Error(f"Reshape: at most one size can be -1, got target_shape={self.target_shape}")

    def call(self, inputs: Tensor) -> Tensor:
        return ops.reshape(inputs, (None, *self._sizes(inputs)))

    def _sizes(self, inputs: Tensor) -> tuple[int, ...]:
        """The target with -1 replaced where the input's sizes are known."""
        sizes = inputs.shape[1:]
        known = math.prod(n for n in self.target_shape if n != -1)
        if any(n is None for n in sizes):
            return self.target_shape
        total = math.prod(n for n in sizes if n is not None)
        fits = known and total % known == 0 if -1 in self.target_shape else total == known
        if not fits:
            raise Error(
                f"a sample of shape {sizes} has {total} numbers, which do not fill {self.target_shape}"
            )
        return tuple(total // known if n == -1 else n for n in self.target_shape)


class Permute(Layer):
    """Axes in another order: output axis i is input axis dims[i]. The batch is axis 0; dims begin at 1."""

    def __init__(self, dims: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.dims = tuple(dims) if isinstance(dims, list | tuple) else (dims,)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise Error(
                f"Permute: dims must be the numbers 1 to {len(self.dims)} in any order, got {self.dims}"
            )

    def call(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != len(self.dims) + 1:
            raise Error(f"dims={self.dims} need {len(self.dims) + 1} dimensions, got shape {inputs.shape}")
        return ops.transpose(inputs, (0, *self.dims))


class RepeatVector(Layer):
    """(batch, features) -> (batch, n, features)."""

    def __init__(self, n: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.n = arguments.integer("RepeatVector", "n", n)

    def call(self, inputs: Tensor) -> Tensor:
        if inputs.ndim != 2:
            raise Error(f"expected 2 dimensions (batch, features), got shape {inputs.shape}")
        return ops.repeat(ops.expand_dims(inputs, 1), self.n, axis=1)


class _Margins(Layer):
    """Cells before and after each spatial axis."""

    spatial: ClassVar[int]

    def _margins(self, name: str, value: Any) -> Any:
        """(before, after) for each axis; of a sequence, as in Keras, the one pair itself."""
        pairs = arguments.margins(type(self).__name__, name, value, self.spatial)
        return pairs[0] if self.spatial == 1 else pairs

    def _pairs(self, margins: Any) -> tuple[tuple[int, int], ...]:
        return (margins,) if self.spatial == 1 else margins


class _ZeroPadding(_Margins):
    """What zero padding shares."""

    padding: Any

    def __init__(self, padding: Any = 1, data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.padding = self._margins("padding", padding)
        self.data_format = arguments.data_format(type(self).__name__, data_format)

    def call(self, inputs: Tensor) -> Tensor:
        arguments.check_rank(inputs.shape, self.spatial)
        return ops.pad(inputs, ((0, 0), *self._pairs(self.padding), (0, 0)))


class ZeroPadding1D(_ZeroPadding):
    """Zeros before and after a sequence. padding: one number for both ends, or (before, after)."""

    spatial = 1


class ZeroPadding2D(_ZeroPadding):
    """Zeros around images. padding: cells on all sides, (rows, columns) on both sides of each axis, or
    ((top, bottom), (left, right)).
    """

    spatial = 2


class ZeroPadding3D(_ZeroPadding):
    """Zeros around volumes. padding: cells on all sides, one number for both sides of each axis, or three pairs."""

    spatial = 3


class _Cropping(_Margins):
    """What cropping shares."""

    cropping: Any

    def call(self, inputs: Tensor) -> Tensor:
        arguments.check_rank(inputs.shape, self.spatial)
        pairs = self._pairs(self.cropping)
        for size, margin in zip(inputs.shape[1:-1], pairs, strict=True):
            if size is not None and sum(margin) >= size:
                raise Error(f"cropping={self.cropping} leaves nothing of an input of shape {inputs.shape}")
        return inputs[(slice(None), *(slice(before, -after or None) for before, after in pairs))]


class Cropping1D(_Cropping):
    """Sequences without their ends. cropping: cells at both ends, or (before, after)."""

    spatial = 1

    def __init__(self, cropping: Any = (1, 1), **kwargs: Any):
        super().__init__(**kwargs)
        self.cropping = self._margins("cropping", cropping)


class Cropping2D(_Cropping):
    """Images without their margins. cropping: cells on all sides, (rows, columns) on both sides of each axis, or
    ((top, bottom), (left, right)).
    """

    spatial = 2

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.cropping = self._margins("cropping", cropping)
        self.data_format = arguments.data_format("Cropping2D", data_format)


class Cropping3D(_Cropping):
    """Volumes without their margins. cropping: cells on all sides, one number for both sides of each axis, or three
    pairs.
    """

    spatial = 3

    def __init__(
        self, cropping: Any = ((1, 1), (1, 1), (1, 1)), data_format: str | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.cropping = self._margins("cropping", cropping)
        self.data_format = arguments.data_format("Cropping3D", data_format)


class UpSampling1D(Layer):
    """y[n, i, c] = x[n, i // size, c]."""

    def __init__(self, size: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.size = arguments.integer("UpSampling1D", "size", size)

    def call(self, inputs: Tensor) -> Tensor:
        arguments.check_rank(inputs.shape, 1)
        return ops.squeeze(ops.upsample(ops.expand_dims(inputs, 1), (1, self.size)), 1)


class UpSampling2D(Layer):
    """The image enlarged size[0] times in height and size[1] times in width.

    interpolation: "nearest", y[n, i, j] = x[n, i // size[0], j // size[1]], or "bilinear", pixel centres at
    halves and edges repeated, or "bicubic", "lanczos3", "lanczos5", as `ops.image.resize`.
    """

    def __init__(
        self,
        size: Any = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.size = arguments.integers("UpSampling2D", "size", size, 2)
        self.data_format = arguments.data_format("UpSampling2D", data_format)
        self.interpolation = arguments.choice("UpSampling2D", "interpolation", interpolation, INTERPOLATIONS)

    def call(self, inputs: Tensor) -> Tensor:
        arguments.check_rank(inputs.shape, 2)
        if self.interpolation in ("nearest", "bilinear"):
            return ops.upsample(inputs, self.size, self.interpolation)
        h, w = (arguments.known_size(inputs.shape, axis, "pixels") for axis in (1, 2))
        return resize(inputs, (h * self.size[0], w * self.size[1]), self.interpolation)


class UpSampling3D(Layer):
    """The volume enlarged size[0] times in depth, size[1] times in height and size[2] times in width:
    y[n, i, j, k] = x[n, i // size[0], j // size[1], k // size[2]].
    """

    def __init__(self, size: Any = (2, 2, 2), data_format: str | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.size = arguments.integers("UpSampling3D", "size", size, 3)
        self.data_format = arguments.data_format("UpSampling3D", data_format)

    def call(self, inputs: Tensor) -> Tensor:
        arguments.check_rank(inputs.shape, 3)
        y = inputs
        for axis, times in enumerate(self.size, start=1):
            y = ops.repeat(y, times, axis=axis) if times > 1 else y
        return y
