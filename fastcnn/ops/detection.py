"""Overlap of boxes, and the grid of predictions of a one-stage detector. Boxes are (..., 4): x1, y1, x2, y2."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from fastcnn_kernels.yolo import Terms

from fastcnn.errors import Error, did_you_mean
from fastcnn.graph import Op, apply, operation
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.elementwise import operands
from fastcnn.ops.shape import require_same_dtype
from fastcnn.tensor import Tensor, TensorSpec

__all__ = ["box_overlap", "yolo_activation", "yolo_loss"]

OVERLAPS = ("iou", "giou", "diou", "ciou")
BOX_LOSSES = ("squared", *OVERLAPS)
CLASS_ACTIVATIONS = ("softmax", "sigmoid")


def choice(what: str, value: str, known_values: Sequence[str]) -> str:
    """`value`, which must be one of those known; `Error` otherwise."""
    if value not in known_values:
        raise Error(
            f"{what}: {value!r} is not one of {', '.join(known_values)}{did_you_mean(str(value), known_values)}"
        )
    return value


def float_array(what: str, value: Any) -> np.ndarray:
    """An array of floats: float64 stays, everything else becomes float32. `Error` for what holds no numbers."""
    try:
        array = np.asarray(value)
        return array if array.dtype.char in "fd" else array.astype(np.float32, casting="same_kind")
    except (TypeError, ValueError) as error:
        raise Error(f"{what} must be an array of numbers ({error})") from error


# --- overlap of boxes ------------------------------------------------------------------------------------------


@operation
class BoxOverlap(Op):
    """(..., 4), (..., 4) -> (...): IoU, GIoU, DIoU or CIoU."""

    overlap: str

    def infer(self, a: Tensor, b: Tensor) -> TensorSpec:
        if a.shape[-1:] != (4,) or a.shape != b.shape:
            raise Error(f"box_overlap: boxes are (..., 4), got shapes {a.shape} and {b.shape}")
        return TensorSpec(a.shape[:-1], a.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        a, b = inputs
        grad = BoxOverlapGrad(self.overlap)
        return apply(grad, grads[0], a, b), apply(grad, grads[0], b, a)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        a, b = (x.reshape(-1, 4) for x in inputs)
        return [getattr(k, f"{self.overlap}_forward").bind(a, b, outputs[0].reshape(-1))]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 16 * outputs[0].size


@operation
class BoxOverlapGrad(Op):
    """The gradient of the first box; overlaps are symmetric."""

    overlap: str

    def infer(self, dy: Tensor, a: Tensor, b: Tensor) -> TensorSpec:
        return a.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        dy, *boxes = inputs
        a, b, da = (x.reshape(-1, 4) for x in (*boxes, *outputs))
        return [getattr(k, f"{self.overlap}_backward").bind(dy.reshape(-1), a, b, da)]


@op_function
def box_overlap(boxes1: Any, boxes2: Any, overlap: str = "iou") -> Any:
    """How much boxes overlap, pair by pair: "iou", "giou", "diou" or "ciou".

    boxes (..., 4) with x1, y1, x2, y2, repeated to a common shape as NumPy does: (n, 1, 4) and (m, 4) give all pairs,
    (n, m). Boxes without area have the IoU 0.
    """
    choice("box_overlap", overlap, OVERLAPS)
    return apply(BoxOverlap(overlap), *operands("box_overlap", boxes1, boxes2))


def pairwise_overlap(boxes1: Any, boxes2: Any, overlap: str = "iou") -> np.ndarray:
    """All pairs: (n, 4), (m, 4) -> (n, m)."""
    a, b = np.asarray(boxes1), np.asarray(boxes2)
    if not a.ndim == b.ndim == 2:
        raise Error(f"{overlap}: boxes are (n, 4) and (m, 4), got shapes {a.shape} and {b.shape}")
    if not (len(a) and len(b)):
        return np.zeros((len(a), len(b)), np.result_type(a, b, np.float32))
    return box_overlap(a[:, np.newaxis], b[np.newaxis], overlap)


def as_anchors(what: str, anchors: Any, unit: str = "cells") -> np.ndarray:
    """(n, 2) float64, width and height of each; `Error` for what cannot be anchors."""
    array = float_array(f"{what}: anchors", anchors).astype(np.float64)
    if array.ndim != 2 or array.shape[1] != 2 or not len(array) or not ((array > 0) & (array < np.inf)).all():
        raise Error(
            f"{what}: anchors are (width, height) of each, positive and finite, in {unit}; got {anchors!r}"
        )
    return array


def _pairs(what: str, anchors: Any) -> tuple[tuple[float, float], ...]:
    return tuple((float(w), float(h)) for w, h in as_anchors(what, anchors))


# --- a grid of predictions -------------------------------------------------------------------------------------


@operation
class Grid(Op):
    """What the ops on a grid of predictions (n, rows, columns, anchors (5 + classes)) share.

    anchors: (width, height) of each, in cells; spread: s of the place of a centre.
    """

    anchors: tuple[tuple[float, float], ...]
    classes: str  # "softmax" or "sigmoid"
    spread: float

    def check(self, x: Tensor) -> None:
        """Raise `Error` for what is no such grid."""
        channels = x.shape[-1]
        if x.ndim != 4 or channels is None or channels % len(self.anchors) or not self.depth(channels) >= 5:
            raise Error(
                f"{self.name}: a grid of {len(self.anchors)} anchors is (n, rows, columns, {len(self.anchors)} * "
                f"(5 + classes)), got {x.shape}"
            )

    def depth(self, channels: int) -> int:
        """Numbers an anchor."""
        return channels // len(self.anchors)

    def split(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """Views (n, rows, columns, anchors, 5 + classes)."""
        count = len(self.anchors)
        return [x.reshape(*x.shape[:3], count, x.shape[3] // count) for x in arrays]

    def anchor_array(self, dtype: Any) -> np.ndarray:
        return np.array(self.anchors, dtype)


@operation
class YoloActivation(Grid):
    """Raw numbers of a grid to [Pc, bx, by, bh, bw, classes] of each anchor."""

    images = (0,)

    def infer(self, raw: Tensor) -> TensorSpec:
        self.check(raw)
        return raw.spec

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        grad = YoloActivationGrad(self.anchors, self.classes, self.spread)
        return (apply(grad, grads[0], inputs[0], outputs[0]),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        raw, y = self.split(*inputs, *outputs)
        kernel = getattr(k, f"yolo_{self.classes}_forward")
        return [kernel.bind(raw, self.anchor_array(raw.dtype), y, self.spread)]


@operation
class YoloActivationGrad(Grid):
    """draw from dy, raw and y of `YoloActivation`."""

    images = (0, 1, 2)

    def infer(self, dy: Tensor, raw: Tensor, y: Tensor) -> TensorSpec:
        return raw.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        dy, raw, y, draw = self.split(*inputs, *outputs)
        kernel = getattr(k, f"yolo_{self.classes}_backward")
        return [kernel.bind(dy, raw, self.anchor_array(raw.dtype), y, draw, self.spread)]


@operation
class YoloLoss(Grid):
    """raw, target -> losses (n, 3) of boxes, Pc and classes; and the gradient of raw for a loss that is their sum."""

    box: str
    factors: tuple[float, float, float, float]  # of boxes, objects, background, classes
    ignore: float

    def infer(self, raw: Tensor, target: Tensor) -> tuple[TensorSpec, TensorSpec]:
        self.check(raw)
        require_same_dtype("yolo_loss", raw, target)
        pairs = zip(raw.shape, target.shape, strict=False)
        if raw.ndim != target.ndim or any(None not in (n, m) and n != m for n, m in pairs):
            raise Error(
                f"yolo_loss: predictions have shape {raw.shape}, targets {target.shape}; make targets with "
                "fastcnn.detection.encode for the same grid, anchors and classes"
            )
        return TensorSpec((raw.shape[0], 3), raw.dtype), raw.spec

    def gradient(self, inputs: Any, outputs: Sequence[Tensor], grads: Any) -> tuple[Tensor | None, None]:
        if grads[0] is None:
            return None, None
        grad = YoloLossGrad(self.anchors, self.classes, self.spread)
        return apply(grad, grads[0], outputs[1]), None

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        n, rows, columns, _ = inputs[0].dims
        return [TensorSpec((n, rows * columns * len(self.anchors)), "int32")]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        raw, target, draw = self.split(*inputs, outputs[1])
        terms = Terms(*self.factors, self.ignore, self.spread)
        boxes = getattr(k, f"yolo_{self.box}_loss")
        classes = getattr(k, f"yolo_{self.classes}_class_loss")
        return [
            boxes.bind(raw, target, self.anchor_array(raw.dtype), outputs[0], draw, scratch[0], terms),
            classes.bind(raw, target, outputs[0], draw, terms.classes),
        ]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Any) -> int:
        return 8 * inputs[0].size


@operation
class YoloLossGrad(Grid):
    """draw from the gradients (n, 3) of the losses and what `YoloLoss` has computed."""

    images = (0, 1)

    def infer(self, dloss: Tensor, gradient: Tensor) -> TensorSpec:
        return gradient.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        gradient, draw = self.split(inputs[1], *outputs)
        return [k.yolo_loss_backward.bind(inputs[0], gradient, draw)]


@op_function
def yolo_activation(raw: Any, anchors: Any, class_activation: str = "softmax", spread: float = 1.0) -> Any:
    """Raw numbers z of a grid (n, rows, columns, anchors (5 + classes)) to what they mean.

    For each anchor Pc = sigmoid(z), the centre's place in the cell bx, by = s sigmoid(z) - (s - 1) / 2, the size in
    cells bh = anchor height exp(z), bw = anchor width exp(z), and class probabilities, a softmax or sigmoids.
    anchors: (width, height) of each in cells. Redmon & Farhadi 2017, YOLO9000, section 2.
    """
    choice("yolo_activation: class_activation", class_activation, CLASS_ACTIVATIONS)
    return apply(
        YoloActivation(_pairs("yolo_activation", anchors), class_activation, float(spread)), convert(raw)
    )


@op_function
def yolo_loss(
    target: Any,
    raw: Any,
    anchors: Any,
    class_activation: str = "softmax",
    spread: float = 1.0,
    box_loss: str = "squared",
    weights: Sequence[float] = (5.0, 1.0, 0.5, 1.0),
    ignore_threshold: float = 1.0,
) -> Any:
    """Losses (n, 3) of a grid, summed over its cells: of boxes, of Pc, of classes.

    target: as `yolo_activation` gives; Pc above 0 is an object, 0 none, below 0 not to be judged. Only Pc counts where
    there is no object. Pc: logistic loss. Boxes: "squared" errors of place and of the root of the size, or 1 - "iou",
    "giou", "diou", "ciou". weights: of boxes, of Pc where there are objects, of Pc where there are none, of classes.
    ignore_threshold: predictions without an object that overlap one by a larger IoU are not blamed; from 1 on all are.
    Redmon et al. 2016; 2018, YOLOv3, section 2.
    """
    choice("yolo_loss: class_activation", class_activation, CLASS_ACTIVATIONS)
    choice("yolo_loss: box_loss", box_loss, BOX_LOSSES)
    if len(weights) != 4:
        raise Error(f"yolo_loss: weights are four, of boxes, objects, background, classes; got {weights!r}")
    box, thing, background, classes = map(float, weights)
    raw = convert(raw)
    op = YoloLoss(
        _pairs("yolo_loss", anchors), class_activation, float(spread), box_loss,
        (box, thing, background, classes), float(ignore_threshold),
    )  # fmt: skip
    return apply(op, raw, convert(target, raw.dtype))[0]
