"""The loss of a grid of predictions."""

from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.losses import Loss
from fastcnn.ops.detection import BOX_LOSSES, YoloActivation, choice
from fastcnn.tensor import Tensor


def weight(owner: str, name: str, value: Any) -> float:
    """A factor of a term of a loss."""
    if not (isinstance(value, int | float | np.integer | np.floating) and 0 <= value < np.inf):
        raise Error(f"{owner}: {name} must be a finite number, not negative; got {value!r}")
    return float(value)


class YOLOLoss(Loss):
    """What a `YOLOHead` predicts against targets of its form, as `encode` makes them; a sum over cells, an image each.

    Where there is an object: `box_weight` times the loss of its box, `object_weight` times the logistic loss of Pc, and
    `class_weight` times the cross-entropy of its class. Where there is none, only `background_weight` times the
    logistic loss of Pc; where the target's Pc is below 0, nothing.

    box_loss: "squared" errors of place and of the root of the size (Redmon et al. 2016), or 1 - "iou", "giou", "diou",
    "ciou". ignore_threshold: a prediction without an object that overlaps one by a larger IoU is not blamed (Redmon &
    Farhadi 2018); from 1 on all are. The gradient is computed together with the loss.
    """

    def __init__(
        self,
        box_loss: str = "squared",
        box_weight: float = 5.0,
        object_weight: float = 1.0,
        background_weight: float = 0.5,
        class_weight: float = 1.0,
        ignore_threshold: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "yolo_loss",
        dtype: str | None = None,
    ):
        super().__init__(name, reduction, dtype)
        self.box_loss = choice("YOLOLoss: box_loss", box_loss, BOX_LOSSES)
        self.box_weight = weight("YOLOLoss", "box_weight", box_weight)
        self.object_weight = weight("YOLOLoss", "object_weight", object_weight)
        self.background_weight = weight("YOLOLoss", "background_weight", background_weight)
        self.class_weight = weight("YOLOLoss", "class_weight", class_weight)
        self.ignore_threshold = weight("YOLOLoss", "ignore_threshold", ignore_threshold)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Any:
        head = head_of(y_pred)
        parts = ops.yolo_loss(
            y_true,
            y_pred.node.inputs[0],  # type: ignore[union-attr]
            head.anchors,
            head.classes,
            head.spread,
            self.box_loss,
            (self.box_weight, self.object_weight, self.background_weight, self.class_weight),
            self.ignore_threshold,
        )
        return ops.sum(parts, -1)


def head_of(output: Tensor) -> YoloActivation:
    """The activation behind predictions; `Error` where they were made otherwise."""
    operation = output.node.operation if output.node is not None else None
    if not isinstance(operation, YoloActivation):
        raise Error(
            "the predictions must come straight from a YOLOHead; use fastcnn.ops.yolo_loss for others"
        )
    return operation
