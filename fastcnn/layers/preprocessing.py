"""Layers that bring data into the form a network wants: scale, statistics, size."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastcnn import config, ops
from fastcnn.errors import Error
from fastcnn.layers import arguments
from fastcnn.layers.base import Layer
from fastcnn.ops.core import convert
from fastcnn.ops.shape import floating, known
from fastcnn.registry import serialize
from fastcnn.tensor import Shape, Tensor, Variable

FEW_CHANNELS = 32


class Rescaling(Layer):
    """scale x + offset: `Rescaling(1 / 255)` maps bytes to [0, 1]. Lists hold one number for each channel."""

    takes_whole_numbers = True

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = _numbers("scale", scale)
        self.offset = _numbers("offset", offset)

    def call(self, inputs: Tensor) -> Tensor:
        return inputs * self._factor(self.scale) + self._factor(self.offset)

    def _factor(self, value: Any) -> Any:
        return float(value) if np.ndim(value) == 0 else np.asarray(value, self.dtype)


def _numbers(name: str, value: Any) -> Any:
    try:
        np.asarray(value, np.float64)
    except (TypeError, ValueError) as problem:
        raise Error(
            f"Rescaling: {name} must be a number, or one for each channel, got {value!r}"
        ) from problem
    return value


class Normalization(Layer):
    """(x - mean) / max(sqrt(variance), epsilon), with statistics of a data set, not learned.

    axis: those that have statistics of their own, by default the last; None: one mean for everything.
    mean, variance: given, or found by `adapt(data)`. invert: x max(sqrt(variance), epsilon) + mean instead.
    """

    takes_whole_numbers = True

    def __init__(
        self, axis: Any = -1, mean: Any = None, variance: Any = None, invert: bool = False, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        self.input_mean, self.input_variance = (
            value.tolist() if isinstance(value, np.ndarray | np.generic) else value
            for value in (mean, variance)
        )
        self.invert = bool(invert)
        if (mean is None) != (variance is None) or np.shape(mean) != np.shape(variance):
            raise Error("Normalization: give mean and variance of one shape, or neither and call adapt(data)")

    def build(self, input_shape: Shape) -> None:
        rank = len(input_shape)
        if any(not -rank <= axis < rank for axis in self.axis):
            raise Error(f"axis={self.axis} name an axis that an input of shape {input_shape} does not have")
        self._kept = sorted(axis % rank for axis in self.axis)
        shape = tuple(
            arguments.known_size(input_shape, axis, f"cells along axis {axis}") for axis in self._kept
        )
        self._broadcast_shape = tuple(input_shape[axis] if axis in self._kept else 1 for axis in range(rank))
        if self.input_mean is None:
            self.adapt_mean: Any = self.add_weight(shape, "zeros", trainable=False, name="mean")
            self.adapt_variance: Any = self.add_weight(shape, "ones", trainable=False, name="variance")
            self.count = self.add_weight((), "zeros", dtype="int64", trainable=False, name="count")
        else:
            self.adapt_mean, self.adapt_variance = (
                self._given(value, shape) for value in (self.input_mean, self.input_variance)
            )
        self.built = True

    def _given(self, value: Any, shape: tuple[int, ...]) -> np.ndarray:
        try:
            return np.broadcast_to(np.asarray(value, self.dtype), shape).copy()
        except ValueError as problem:
            raise Error(
                f"mean and variance have shape {np.shape(value)}, the inputs need {shape}"
            ) from problem

    def adapt(self, data: Any) -> None:
        """Set mean and variance to those of `data`: an array, or an iterable of batches x or (x, y)."""
        if self.input_mean is not None:
            raise Error(f"layer {self.name!r}: mean and variance were given, so there is nothing to adapt")
        batches = [data] if isinstance(data, np.ndarray) else batches_of(data)
        total, mean, variance = 0, np.zeros(()), np.zeros(())
        for batch in batches:
            self._build_once(np.shape(batch))
            count, batch_mean, batch_variance = self._statistics(np.asarray(batch, np.float64))
            share = count / (total + count)
            variance = variance + share * (batch_variance - variance + (1 - share) * (batch_mean - mean) ** 2)
            mean = mean + share * (batch_mean - mean)
            total += count
        if not total:
            raise Error(f"layer {self.name!r}: adapt() was given no data")
        self.adapt_mean.assign(mean)
        self.adapt_variance.assign(variance)
        self.count.assign(total)

    @property
    def mean(self) -> np.ndarray | None:
        """The mean, with the axes of the inputs; None before the layer is built."""
        return np.reshape(self.adapt_mean, known(self._broadcast_shape)) if self.built else None

    @property
    def variance(self) -> np.ndarray | None:
        """The variance, with the axes of the inputs; None before the layer is built."""
        return np.reshape(self.adapt_variance, known(self._broadcast_shape)) if self.built else None

    def _statistics(self, batch: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
        """Number of values, mean and (biased) variance over the axes that are not kept."""
        if any(batch.shape[axis] != self._broadcast_shape[axis] for axis in self._kept):
            raise Error(
                f"layer {self.name!r}: made for {self._broadcast_shape}, got data of shape {batch.shape}"
            )
        axes = tuple(axis for axis in range(batch.ndim) if axis not in self._kept)
        count = batch.size // int(np.prod([batch.shape[axis] for axis in self._kept]))
        return count, batch.mean(axes), batch.var(axes)

    def call(self, inputs: Tensor) -> Tensor:
        if self._kept == [inputs.ndim - 1]:
            return self._by_channel(floating(inputs))
        mean, variance = self._broadcast(self.adapt_mean), self._broadcast(self.adapt_variance)
        deviation = ops.maximum(ops.sqrt(variance), config.epsilon())
        return inputs * deviation + mean if self.invert else (inputs - mean) / deviation

    def _by_channel(self, x: Tensor) -> Tensor:
        """In one pass, with the op of batch normalization: statistics of channels need not be spread over images.

        Few channels fill no vector register, so the rows of an image count as channels, with the statistics repeated.
        """
        shape = x.shape
        mean, variance = (convert(value, x.dtype) for value in (self.adapt_mean, self.adapt_variance))
        if x.ndim > 2 and None not in shape[1:] and known(shape[-1:])[0] < FEW_CHANNELS:
            *rest, w, c = known(shape[1:])
            each = np.ones((w, 1), x.dtype)
            x, mean, variance = (
                ops.reshape(value, (*rows, w * c))
                for value, rows in ((x, (-1, *rest)), (mean * each, ()), (variance * each, ()))
            )
        if self.invert:
            deviation = ops.maximum(ops.sqrt(variance), config.epsilon())
            y = ops.batch_normalization(x, mean * 0.0, mean * 0.0 + 1.0, -1, mean, deviation, 0.0)
        else:
            y = ops.batch_normalization(x, mean, ops.maximum(variance, config.epsilon() ** 2), epsilon=0.0)
        return y if y.shape == shape else ops.reshape(y, (-1, *shape[1:]))

    def _broadcast(self, value: Variable | np.ndarray) -> Tensor:
        return ops.reshape(convert(value), self._broadcast_shape)

    def get_config(self) -> dict[str, Any]:
        """As for every layer; `mean` and `variance` are those given, not those found."""
        given = {
            "axis": self.axis,
            "mean": self.input_mean,
            "variance": self.input_variance,
            "invert": self.invert,
        }
        common = {"trainable": self.trainable, "dtype": self.dtype, "name": self.name}
        return {name: serialize(value) for name, value in {**given, **common}.items()}


def batches_of(data: Any) -> Iterable[Any]:
    """The inputs of each batch: of an iterable, or of an object with a length and items."""
    items = data if hasattr(data, "__iter__") else (data[i] for i in range(len(data)))
    return (item[0] if isinstance(item, tuple) else item for item in items)
