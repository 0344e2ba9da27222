"""Layers that normalise: subtract a mean, divide by a deviation, scale by gamma, shift by beta.

Variances are biased: divided by the number of values.
"""

from typing import Any

from fastcnn import config, ops
from fastcnn.errors import Error
from fastcnn.layers import arguments, weights
from fastcnn.layers.base import Layer
from fastcnn.ops.core import convert
from fastcnn.registry import deserialize
from fastcnn.tensor import Shape, Tensor


class _Affine(Layer):
    """gamma and beta, each of which may be left out."""

    def __init__(
        self,
        epsilon: float,
        center: bool,
        scale: bool,
        beta: tuple[Any, Any, Any],
        gamma: tuple[Any, Any, Any],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.epsilon = arguments.number(type(self).__name__, "epsilon", epsilon)
        self.center = bool(center)
        self.scale = bool(scale)
        weights.describe(self, "beta", *beta)
        weights.describe(self, "gamma", *gamma)

    def _add_affine(self, shape: tuple[int, ...], rms_scaling: bool = False) -> None:
        self.gamma = weights.add(self, "gamma", shape) if self.scale or rms_scaling else None
        self.beta = weights.add(self, "beta", shape) if self.center and not rms_scaling else None


def _axis(axis: int, shape: Shape) -> int:
    """The axis counted from the front; it must not be the batch."""
    if not -len(shape) <= axis < len(shape) or axis % len(shape) == 0:
        raise Error(f"axis {axis} is not an axis after the batch of an input of shape {shape}")
    return axis % len(shape)


def _axes(owner: str, axis: Any) -> int | tuple[int, ...]:
    axes = arguments.axes(owner, axis)
    return axes if isinstance(axis, list | tuple) else axes[0]


def _positive(axes: int | tuple[int, ...], shape: Shape) -> list[int]:
    """The axes counted from the front, in order."""
    return sorted(_axis(axis, shape) for axis in ((axes,) if isinstance(axes, int) else axes))


class BatchNormalization(_Affine):
    """y = gamma (x - mean) / sqrt(variance + epsilon) + beta, one of each for every channel (Ioffe & Szegedy 2015).

    In training mean and variance are those of the batch, and the moving statistics follow them:
    moving = momentum moving + (1 - momentum) batch. Otherwise, and always while the layer is frozen
    (`trainable = False`), the moving statistics are used and stay as they are.

    axis: of the channels. Weights, each (c,): gamma, beta, moving_mean, moving_variance.
    mask, of the inputs' shape without the channels: zeros where a place is left out of the statistics in training.
    """

    supports_masking = True

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        renorm: bool = False,
        renorm_clipping: Any = None,
        renorm_momentum: float = 0.99,
        synchronized: bool = False,
        **kwargs: Any,
    ):
        beta = (beta_initializer, beta_regularizer, beta_constraint)
        gamma = (gamma_initializer, gamma_regularizer, gamma_constraint)
        super().__init__(epsilon, center, scale, beta, gamma, **kwargs)
        if renorm or renorm_clipping is not None:
            raise Error("BatchNormalization: renorm is not supported; larger batches serve the same purpose")
        self.axis = arguments.axis("BatchNormalization", axis)
        self.momentum = arguments.number("BatchNormalization", "momentum", momentum, 0, 1)
        self.moving_mean_initializer = deserialize("initializer", moving_mean_initializer)
        self.moving_variance_initializer = deserialize("initializer", moving_variance_initializer)
        self.renorm = False
        self.renorm_clipping = None
        self.renorm_momentum = renorm_momentum
        self.synchronized = bool(synchronized)  # of several devices; there is one

    def build(self, input_shape: Shape) -> None:
        axis = _axis(self.axis, input_shape)
        shape = (arguments.known_size(input_shape, axis, "channels"),)
        self._add_affine(shape)
        mean, variance = self.moving_mean_initializer, self.moving_variance_initializer
        self.moving_mean = self.add_weight(shape, mean, trainable=False, name="moving_mean")
        self.moving_variance = self.add_weight(shape, variance, trainable=False, name="moving_variance")
        self.built = True

    def call(self, inputs: Tensor, training: bool = False, mask: Any = None) -> Tensor:
        axis = _axis(self.axis, inputs.shape)
        arguments.check_size(inputs.shape, axis, self.moving_mean.size, "channels")
        if not (training and self.trainable):
            statistics = (self.moving_mean, self.moving_variance)
            return ops.batch_normalization(inputs, *statistics, axis, self.beta, self.gamma, self.epsilon)
        x = ops.swapaxes(inputs, axis, -1)
        y, mean, variance = self._by_batch(x) if mask is None else self._by_mask(x, convert(mask, x.dtype))
        ops.update_moving_average(self.moving_mean, mean, self.momentum)
        ops.update_moving_average(self.moving_variance, variance, self.momentum)
        return ops.swapaxes(y, axis, -1)

    def _by_batch(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(y, mean, variance) of x (..., c)."""
        return ops.batch_normalization_training(x, self.gamma, self.beta, self.epsilon)

    def _by_mask(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(y, mean, variance) of x (..., c), mean and variance of the places where the mask (...) is 1."""
        if mask.ndim != x.ndim - 1:
            raise Error(f"a mask of shape {mask.shape} does not fit an input of shape {x.shape}")
        axes = tuple(range(x.ndim - 1))
        weight = ops.expand_dims(mask, -1)
        count = ops.sum(weight) + config.epsilon()
        mean = ops.sum(x * weight, axis=axes) / count
        variance = ops.sum(ops.square(x - mean) * weight, axis=axes) / count
        y = (x - mean) * ops.rsqrt(variance + self.epsilon)
        y = y if self.gamma is None else y * self.gamma
        return y if self.beta is None else y + self.beta, mean, variance


class LayerNormalization(_Affine):
    """y = gamma (x - mean) / sqrt(variance + epsilon) + beta, mean and variance of each sample over `axis`
    (Ba et al. 2016). gamma and beta have the shape of x along these axes.

    rms_scaling: y = gamma x / sqrt(variance + epsilon), without mean and beta; see `RMSNormalization` as well.
    """

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        rms_scaling: bool = False,
        **kwargs: Any,
    ):
        beta = (beta_initializer, beta_regularizer, beta_constraint)
        gamma = (gamma_initializer, gamma_regularizer, gamma_constraint)
        super().__init__(epsilon, center, scale, beta, gamma, **kwargs)
        self.axis = _axes(type(self).__name__, axis)
        self.rms_scaling = bool(rms_scaling)

    def build(self, input_shape: Shape) -> None:
        axes = _positive(self.axis, input_shape)
        self._sizes = tuple(
            arguments.known_size(input_shape, axis, f"cells along axis {axis}") for axis in axes
        )
        self._add_affine(self._sizes, self.rms_scaling)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        axes = _positive(self.axis, inputs.shape)
        for axis, size in zip(axes, self._sizes, strict=True):
            arguments.check_size(inputs.shape, axis, size, f"cells along axis {axis}")
        if self.rms_scaling:
            variance = ops.var(inputs, axis=axes, keepdims=True)
            return inputs * ops.rsqrt(variance + self.epsilon) * along(self.gamma, axes, inputs.ndim)
        return ops.layer_normalization(inputs, self.gamma, self.beta, axes, self.epsilon)


def along(weight: Any, axes: list[int], rank: int) -> Tensor:
    """A weight, whose axes are those of a tensor of this rank, with axes of size 1 for all others."""
    others = [axis for axis in range(rank) if axis not in axes]
    return ops.expand_dims(weight, others) if others else weight


class RMSNormalization(Layer):
    """y = scale x / sqrt(mean of x^2 + epsilon), the mean of each sample over `axis` (Zhang & Sennrich 2019).

    scale has the shape of x along these axes.
    """

    def __init__(self, axis: Any = -1, epsilon: float = 1e-6, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = _axes("RMSNormalization", axis)
        self.epsilon = arguments.number("RMSNormalization", "epsilon", epsilon)

    def build(self, input_shape: Shape) -> None:
        axes = _positive(self.axis, input_shape)
        sizes = tuple(arguments.known_size(input_shape, axis, f"cells along axis {axis}") for axis in axes)
        self.scale = self.add_weight(sizes, "ones", name="scale")
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        axes = _positive(self.axis, inputs.shape)
        for axis, size in zip(axes, self.scale.shape, strict=True):
            arguments.check_size(inputs.shape, axis, size or 0, f"cells along axis {axis}")
        squares = ops.mean(ops.square(inputs), axis=axes, keepdims=True)
        return inputs * ops.rsqrt(squares + self.epsilon) * along(self.scale, axes, inputs.ndim)


class GroupNormalization(_Affine):
    """y = gamma (x - mean) / sqrt(variance + epsilon) + beta, mean and variance of each sample over all positions and
    c / groups neighbouring channels (Wu & He 2018). gamma, beta (c,).

    groups: 1 takes all channels together, -1 each alone (instance normalisation).
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **kwargs: Any,
    ):
        beta = (beta_initializer, beta_regularizer, beta_constraint)
        gamma = (gamma_initializer, gamma_regularizer, gamma_constraint)
        super().__init__(epsilon, center, scale, beta, gamma, **kwargs)
        self.groups = arguments.integer("GroupNormalization", "groups", groups, minimum=-1)
        if self.groups == 0:
            raise Error("GroupNormalization: groups must be at least 1, or -1 for each channel alone, got 0")
        self.axis = arguments.axis("GroupNormalization", axis)

    def build(self, input_shape: Shape) -> None:
        channels = arguments.known_size(input_shape, _axis(self.axis, input_shape), "channels")
        if self.groups != -1 and channels % self.groups:
            raise Error(f"{channels} channels cannot be divided into groups={self.groups} equal groups")
        self._channels = channels
        self._add_affine((channels,))
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        axis = _axis(self.axis, inputs.shape)
        arguments.check_size(inputs.shape, axis, self._channels, "channels")
        x = ops.swapaxes(inputs, axis, -1)
        y = ops.group_normalization(x, self.groups, self.gamma, self.beta, self.epsilon)
        return ops.swapaxes(y, axis, -1)


class UnitNormalization(Layer):
    """x / |x|, the Euclidean length being taken over `axis`. A vector of zeros stays one."""

    def __init__(self, axis: Any = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.axis = _axes(type(self).__name__, axis)

    def call(self, inputs: Tensor) -> Tensor:
        squares = ops.sum(ops.square(inputs), axis=self.axis, keepdims=True)
        return inputs * ops.rsqrt(ops.maximum(squares, 1e-24))
