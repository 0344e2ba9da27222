"""Activations as layers, for those with arguments or weights of their own."""

from typing import Any

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.layers import arguments, weights
from fastcnn.layers.base import Layer
from fastcnn.ops.core import convert
from fastcnn.tensor import Shape, Tensor

_FAR_BELOW = -3e38  # what softmax makes 0, in float32 as well


class ReLU(Layer):
    """min(x, max_value) where x > threshold, else negative_slope (x - threshold)."""

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.max_value = None if max_value is None else arguments.number("ReLU", "max_value", max_value)
        self.negative_slope = arguments.number("ReLU", "negative_slope", negative_slope)
        self.threshold = arguments.number("ReLU", "threshold", threshold)

    def call(self, inputs: Tensor) -> Tensor:
        return ops.relu(inputs, self.negative_slope, self.max_value, self.threshold)


class LeakyReLU(Layer):
    """x where x > 0, else negative_slope x. (`alpha`, the name in older scripts, means negative_slope.)"""

    def __init__(self, negative_slope: float = 0.3, **kwargs: Any):
        if "alpha" in kwargs:
            negative_slope = kwargs.pop("alpha")
        super().__init__(**kwargs)
        self.negative_slope = arguments.number("LeakyReLU", "negative_slope", negative_slope)

    def call(self, inputs: Tensor) -> Tensor:
        return ops.leaky_relu(inputs, self.negative_slope)


class PReLU(Layer):
    """x where x > 0, else alpha x, with a learned alpha (He et al. 2015).

    alpha has the shape of one sample, with size 1 along shared_axes (1 being the first axis after the batch):
    shared_axes=[1, 2] learns one alpha for each channel of an image.
    """

    def __init__(
        self,
        alpha_initializer: Any = "Zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        weights.describe(self, "alpha", alpha_initializer, alpha_regularizer, alpha_constraint)
        axes = (
            shared_axes
            if isinstance(shared_axes, list | tuple)
            else []
            if shared_axes is None
            else [shared_axes]
        )
        self.shared_axes = [arguments.integer("PReLU", "shared_axes", axis) for axis in axes] or None

    def build(self, input_shape: Shape) -> None:
        shared = self.shared_axes or []
        if any(axis >= len(input_shape) for axis in shared):
            raise Error(
                f"shared_axes={shared} name an axis that an input of shape {input_shape} does not have"
            )
        shape = [
            1 if axis in shared else arguments.known_size(input_shape, axis, f"cells along axis {axis}")
            for axis in range(1, len(input_shape))
        ]
        self.alpha = weights.add(self, "alpha", tuple(shape))
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return ops.prelu(inputs, self.alpha)


class ELU(Layer):
    """x where x > 0, else alpha (e^x - 1) (Clevert et al. 2016)."""

    def __init__(self, alpha: float = 1.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.alpha = arguments.number("ELU", "alpha", alpha)

    def call(self, inputs: Tensor) -> Tensor:
        return ops.elu(inputs, self.alpha)


class Softmax(Layer):
    """e^x / sum of e^x along `axis`, or over several axes together; None: over all, the batch too.

    mask, of the inputs' shape: the result is 0 where it is 0, and the rest sums to 1.
    """

    supports_masking = True

    def __init__(self, axis: Any = -1, **kwargs: Any):
        super().__init__(**kwargs)
        axes = None if axis is None else arguments.axes("Softmax", axis)
        self.axis = axes if axes is None or isinstance(axis, list | tuple) else axes[0]

    def call(self, inputs: Tensor, mask: Any = None) -> Tensor:
        axis = tuple(range(inputs.ndim)) if self.axis is None else self.axis
        if mask is None:
            return ops.softmax(inputs, axis)
        mask = convert(mask, inputs.dtype) > 0.5
        y = ops.softmax(ops.where(mask, inputs, ops.full_like(inputs, _FAR_BELOW)), axis)
        return ops.where(mask, y, 0.0)  # where nothing is left, nothing sums to 1
