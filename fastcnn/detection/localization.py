"""One object an image: is it there, where, and what; and key points.

What a head gives for an image, and its target, is [Pc, bx, by, bh, bw, c1, ...] or [Pc, x1, y1, x2, y2, ...]: the
probability of an object; its centre and size, or points, as shares of the image; and probabilities of classes. Where
the target's Pc is 0, the rest of it says nothing.
"""

from typing import Any

from fastcnn import ops
from fastcnn.detection.loss import weight
from fastcnn.errors import Error
from fastcnn.layers import Layer, arguments, weights
from fastcnn.losses import Loss
from fastcnn.tensor import Shape, Tensor


class _Head(Layer):
    """A dense layer whose first outputs are squeezed into [0, 1]."""

    def __init__(self, kernel_initializer: Any = "glorot_uniform", **kwargs: Any):
        super().__init__(**kwargs)
        weights.describe(self, "kernel", kernel_initializer)

    @property
    def units(self) -> int:
        """Numbers an image."""
        raise Error(f"{type(self).__name__} must define units")

    def build(self, input_shape: Shape) -> None:
        if len(input_shape) != 2 or input_shape[-1] is None:
            raise Error(f"{type(self).__name__}: expected features (n, channels), got shape {input_shape}")
        self.kernel = weights.add(self, "kernel", (input_shape[-1], self.units))
        self.bias = self.add_weight((self.units,), "zeros", name="bias")
        self.built = True

    def _raw(self, inputs: Tensor) -> Any:
        return ops.add(ops.matmul(inputs, self.kernel), self.bias)


class LocalizationHead(_Head):
    """Features (n, channels) -> (n, 5 + classes): [Pc, bx, by, bh, bw, c1, ...], classes as a softmax."""

    def __init__(self, classes: int = 1, kernel_initializer: Any = "glorot_uniform", **kwargs: Any):
        super().__init__(kernel_initializer, **kwargs)
        self.classes = arguments.integer("LocalizationHead", "classes", classes)

    @property
    def units(self) -> int:
        return 5 + self.classes

    def call(self, inputs: Tensor) -> Any:
        raw = self._raw(inputs)
        return ops.concatenate([ops.sigmoid(raw[:, :5]), ops.softmax(raw[:, 5:])], -1)


class KeypointHead(_Head):
    """Features (n, channels) -> (n, 1 + 2 points): [Pc, x1, y1, ...]. Points may lie a little outside of the image."""

    def __init__(self, points: int = 1, kernel_initializer: Any = "glorot_uniform", **kwargs: Any):
        super().__init__(kernel_initializer, **kwargs)
        self.points = arguments.integer("KeypointHead", "points", points)

    @property
    def units(self) -> int:
        return 1 + 2 * self.points

    def call(self, inputs: Tensor) -> Any:
        raw = self._raw(inputs)
        return ops.concatenate([ops.sigmoid(raw[:, :1]), raw[:, 1:] + 0.5], -1)


class LocalizationLoss(Loss):
    """Logistic loss of Pc; where there is an object also `box_weight` times the squared errors of bx, by, bh, bw and
    `class_weight` times the cross-entropy of the classes.
    """

    def __init__(
        self,
        box_weight: float = 5.0,
        class_weight: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "localization_loss",
        dtype: str | None = None,
    ):
        super().__init__(name, reduction, dtype)
        self.box_weight = weight("LocalizationLoss", "box_weight", box_weight)
        self.class_weight = weight("LocalizationLoss", "class_weight", class_weight)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Any:
        _check_shapes(y_true, y_pred, 5)
        present = y_true[:, 0]
        total = ops.binary_crossentropy(present, y_pred[:, 0])
        boxes = ops.sum(ops.square(y_true[:, 1:5] - y_pred[:, 1:5]), -1) * self.box_weight
        if y_pred.shape[-1] == 5:
            return total + present * boxes
        classes = ops.categorical_crossentropy(y_true[:, 5:], y_pred[:, 5:]) * self.class_weight
        return total + present * (boxes + classes)


class KeypointLoss(Loss):
    """Logistic loss of Pc; where there is an object also `point_weight` times the squared errors of its points.

    A point whose target is below -1 is hidden and does not count.
    """

    def __init__(
        self,
        point_weight: float = 5.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "keypoint_loss",
        dtype: str | None = None,
    ):
        super().__init__(name, reduction, dtype)
        self.point_weight = weight("KeypointLoss", "point_weight", point_weight)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Any:
        _check_shapes(y_true, y_pred, 3)
        present = y_true[:, 0]
        points = ops.square(y_true[:, 1:] - y_pred[:, 1:]) * ops.cast(y_true[:, 1:] >= -1.0, y_pred.dtype)
        return (
            ops.binary_crossentropy(present, y_pred[:, 0]) + present * ops.sum(points, -1) * self.point_weight
        )


def _check_shapes(y_true: Tensor, y_pred: Tensor, least: int) -> None:
    if y_pred.ndim != 2 or y_true.shape[1:] != y_pred.shape[1:] or (y_pred.shape[-1] or 0) < least:
        raise Error(f"targets of shape {y_true.shape} do not go with predictions of shape {y_pred.shape}")
