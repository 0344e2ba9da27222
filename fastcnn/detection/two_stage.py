"""Two-stage detection: regions are proposed, then each is looked at again (Ren et al. 2015, Faster R-CNN).

One backbone serves both stages. The first is a grid that tells objects from background, a `YOLOHead` of one class. Its
boxes, after suppression, are the regions; `roi_align` brings the features in each to one size, and dense layers say
what it is, or nothing, and how its box has to be changed. Both are trained together: regions are what the network as it
is proposes for a batch, and count as given when the gradient is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any, Self

import numpy as np

from fastcnn import ops
from fastcnn.detection.batches import DetectionBatches
from fastcnn.detection.boxes import clip_boxes, convert_boxes, iou, scale_boxes
from fastcnn.detection.detector import Candidates, Detector
from fastcnn.detection.grids import Grid, decode
from fastcnn.detection.head import YOLOHead
from fastcnn.detection.loss import YOLOLoss, weight
from fastcnn.errors import Error
from fastcnn.layers import Conv2D, Dense, Flatten, Input, Layer, arguments
from fastcnn.losses import Loss
from fastcnn.models import Model
from fastcnn.ops.detection import as_anchors
from fastcnn.ops.suppression import nms
from fastcnn.tensor import Tensor

SPREAD = np.array([0.1, 0.1, 0.2, 0.2])  # typical changes of boxes, in which they are predicted
LARGEST = 4.0  # of the logarithm of a change of size


class RoiAlign(Layer):
    """[features (n, h, w, c), regions (n, r, 5)] -> (n r, size, size, c): see `fastcnn.ops.roi_align`.

    A region is the number of its image in the batch, -1 for none, then x1, y1, x2, y2 in pixels; scale: cells a pixel.
    """

    def __init__(self, size: int = 5, scale: float = 1.0, sampling_ratio: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.size, self.scale, self.sampling_ratio = int(size), float(scale), int(sampling_ratio)

    def call(self, inputs: Sequence[Tensor]) -> Any:
        features, regions = inputs
        return ops.roi_align(
            features, ops.reshape(regions, (-1, 5)), self.size, self.scale, self.sampling_ratio
        )


class Regroup(Layer):
    """(n r, c) -> (n, r, c)."""

    def __init__(self, regions: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.regions = int(regions)

    def call(self, inputs: Tensor) -> Any:
        return ops.reshape(inputs, (-1, self.regions, inputs.shape[-1]))


class RegionLoss(Loss):
    """Predictions (n, r, 1 + classes + 4): logits of nothing and of the classes, and changes of the box.

    Targets (n, r, 5): 0 nothing, 1 the first class, ..., below 0 no region; then the changes wanted. Cross-entropy, and
    where there is an object `box_weight` times the Huber losses of the changes; a mean over regions, an image each.
    """

    def __init__(
        self,
        box_weight: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "region_loss",
        dtype: str | None = None,
    ):
        super().__init__(name, reduction, dtype)
        self.box_weight = weight("RegionLoss", "box_weight", box_weight)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Any:
        labels, counts = y_true[..., 0], ops.cast(y_true[..., 0] >= 0.0, y_pred.dtype)
        present = ops.cast(y_true[..., 0] >= 1.0, y_pred.dtype)
        entropy = ops.sparse_categorical_crossentropy(
            ops.maximum(labels, 0.0), y_pred[..., :-4], from_logits=True
        )
        boxes = ops.huber(y_true[..., 1:], y_pred[..., -4:]) * (4 * self.box_weight)
        return ops.sum(entropy * counts + boxes * present, -1) / ops.maximum(ops.sum(counts, -1), 1.0)

    def target_shape(self, shape: Any) -> Any:
        return (*shape[:2], 5)


def changes(regions: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """How regions (n, 4) have to be changed to be boxes (n, 4): by shares of the size, and logarithms of it."""
    a, b = convert_boxes(regions, "xyxy", "cxcywh"), convert_boxes(boxes, "xyxy", "cxcywh")
    size = np.maximum(a[:, 2:], 1e-6)
    moved = np.concatenate([(b[:, :2] - a[:, :2]) / size, np.log(np.maximum(b[:, 2:], 1e-6) / size)], 1)
    return (moved / SPREAD).astype(regions.dtype)


def changed(regions: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Regions after these changes: the inverse of `changes`."""
    a, moved = convert_boxes(regions, "xyxy", "cxcywh"), by * SPREAD.astype(by.dtype)
    size = a[:, 2:] * np.exp(np.clip(moved[:, 2:], -LARGEST, LARGEST))
    return convert_boxes(np.concatenate([a[:, :2] + moved[:, :2] * a[:, 2:], size], 1), "cxcywh", "xyxy")


class FasterRCNN(Detector):
    """A `Detector` in two stages, with the same methods.

    backbone: a model with one map of features. regions: how many of an image are looked at again. cells: height and
    width of what `roi_align` makes of each; units: of the dense layer behind it. Otherwise as `Detector`.
    """

    proposal_iou = 0.6  # of the suppression of proposals

    def __init__(
        self,
        backbone: Model | None = None,
        classes: int | Sequence[str] = 1,
        anchors: Any = "auto",
        anchors_per_grid: int = 3,
        regions: int = 48,
        cells: int = 5,
        units: int = 128,
    ):
        self.regions = arguments.integer("FasterRCNN", "regions", regions)
        self.cells = arguments.integer("FasterRCNN", "cells", cells)
        self.units = arguments.integer("FasterRCNN", "units", units)
        super().__init__(backbone, classes, anchors, anchors_per_grid)

    @classmethod
    def load(cls, filepath: str | PathLike[str]) -> Self:
        """The detector that `save` wrote."""
        found = super().load(filepath)
        found.regions = int(found._built().inputs[1].shape[1] or 0)
        return found

    def build(self, anchors: Any) -> None:
        assert self.backbone is not None
        if len(self.backbone.outputs) != 1:
            raise Error(
                f"FasterRCNN: the backbone must have one map of features, not {len(self.backbone.outputs)}"
            )
        found = as_anchors("FasterRCNN", anchors, "pixels")
        self.anchors = found[np.argsort(found.prod(1), kind="stable")]
        features = self.backbone.outputs[0]
        first = self._first_stage(features)
        second = self._second_stage(features.shape)
        regions = Input((self.regions, 5), name="regions")
        proposals, seen = first(self.backbone.input)
        self.model = Model(
            [self.backbone.input, regions], [proposals, second([seen, regions])], name="faster_rcnn"
        )

    def _first_stage(self, features: Any) -> Model:
        """Images to proposals and features."""
        assert self.backbone is not None and self.anchors is not None
        rows, columns = features.shape[1:3]
        cells = (self.anchors * (columns, rows) / (self.size[1], self.size[0])).tolist()
        seen = Conv2D(features.shape[-1], 3, padding="same", activation="relu")(features)
        head = YOLOHead((rows, columns), cells, 1, "sigmoid", self.spread, name="proposals")
        return Model(self.backbone.input, [head(seen), features], name="first_stage")

    def _second_stage(self, shape: Any) -> Model:
        """Features and regions to classes and changes of boxes."""
        features, regions = Input(shape[1:], name="features"), Input((self.regions, 5), name="regions_seen")
        x = RoiAlign(self.cells, shape[2] / self.size[1])([features, regions])
        x = Dense(self.units, activation="relu")(Flatten()(x))
        x = Dense(1 + len(self.class_names) + 4)(x)
        return Model([features, regions], Regroup(self.regions)(x), name="second_stage")

    @property
    def grids(self) -> list[Grid]:
        head = self._proposer()
        rows, columns = head.grid or (None, None)
        return [head.grid_of((None, rows, columns, None))]

    def _proposer(self) -> YOLOHead:
        head: YOLOHead = self._stage("first_stage").get_layer("proposals")  # type: ignore[assignment]
        return head

    def _stage(self, name: str) -> Model:
        stage: Model = self._built().get_layer(name)  # type: ignore[assignment]
        return stage

    def propose(self, pictures: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Regions (r, 4) in pixels of each picture, the surest first, and the features."""
        grids, features = self._stage("first_stage").predict_on_batch(pictures)
        found = []
        for values in grids:
            boxes, scores, _ = decode(values, self.grids[0])
            pixels = clip_boxes(scale_boxes(boxes, self.size[1], self.size[0]), self.size[1], self.size[0])
            best = np.argsort(-scores, kind="stable")[: 8 * self.regions]
            kept = nms(pixels[best], scores[best], None, self.proposal_iou, max_boxes=self.regions)
            found.append(pixels[best][kept])
        return found, features

    def _candidates(self, pictures: np.ndarray, score_threshold: float) -> list[Candidates]:
        proposed, features = self.propose(pictures)
        regions = np.stack([numbered(boxes, i, self.regions) for i, boxes in enumerate(proposed)])
        outputs = self._stage("second_stage").predict_on_batch([features, regions])
        return [
            self._chosen(boxes, y[: len(boxes)], score_threshold)
            for boxes, y in zip(proposed, outputs, strict=True)
        ]

    def _chosen(self, regions: np.ndarray, y: np.ndarray, score_threshold: float) -> Candidates:
        logits = y[:, :-4] - y[:, :-4].max(1, keepdims=True, initial=-np.inf)
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        scores, labels = shares[:, 1:].max(1), shares[:, 1:].argmax(1)
        chosen = scores >= score_threshold
        return changed(regions, y[:, -4:])[chosen], scores[chosen], labels[chosen]

    def _batches(self, batches: DetectionBatches) -> DetectionBatches:
        return RegionBatches(self, batches)

    def _losses(self, loss: YOLOLoss) -> list[Loss]:
        return [loss, RegionLoss(box_weight=1.0)]


def numbered(boxes: np.ndarray, image: int, count: int) -> np.ndarray:
    """Regions (count, 5): boxes with the number of their image, then as many that belong to none as are missing."""
    regions = np.zeros((count, 5), np.float32)
    regions[:, 0] = -1
    regions[: len(boxes), 0], regions[: len(boxes), 1:] = image, boxes[:count]
    return regions


class RegionBatches(DetectionBatches):
    """Batches ((x, regions), (targets of the grid, targets of regions)): what the network proposes now is matched.

    A region is an object's if their IoU is at least 0.5, else nothing. The objects themselves are among the regions,
    of which at most half are objects.
    """

    def __init__(self, detector: FasterRCNN, source: DetectionBatches):
        vars(self).update(vars(source))
        self.detector = detector

    def __getitem__(self, index: int) -> Any:
        pictures = self.pictures(index)
        x = np.stack([image for image, _ in pictures]).astype(np.float32) / np.float32(255)
        objects = [known.select(~known.crowd) for _, known in pictures]
        proposed, _ = self.detector.propose(x)
        pairs = [self._match(i, *pair) for i, pair in enumerate(zip(proposed, objects, strict=True))]
        regions, wanted = (np.stack(part) for part in zip(*pairs, strict=True))
        return (x, regions), (np.stack([self._proposal_target(item) for item in objects]), wanted)

    def _proposal_target(self, objects: Any) -> np.ndarray:
        """For the first stage all objects are of one class."""
        same = type(objects)(objects.boxes, np.zeros_like(objects.labels), objects.crowd)
        return self._targets(same)[0]

    def _match(self, image: int, proposed: np.ndarray, objects: Any) -> tuple[np.ndarray, np.ndarray]:
        """Regions (r, 5) and their targets (r, 5)."""
        count = self.detector.regions
        boxes = np.concatenate([objects.boxes.astype(np.float32), proposed.astype(np.float32)])
        overlaps = iou(boxes, objects.boxes.astype(np.float32))
        best = overlaps.max(1, initial=0.0)
        hits, misses = np.flatnonzero(best >= 0.5), np.flatnonzero(best < 0.5)
        hits = hits[: count // 2]
        chosen = np.concatenate([hits, misses[: count - len(hits)]])
        target = np.zeros((count, 5), np.float32)
        target[len(chosen) :, 0] = -1
        if len(hits):
            own = overlaps[hits].argmax(1)
            target[: len(hits), 0] = objects.labels[own] + 1
            target[: len(hits), 1:] = changes(boxes[hits], objects.boxes[own].astype(np.float32))
        return numbered(boxes[chosen], image, count), target
