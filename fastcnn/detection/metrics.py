"""How good detections are: precision, recall and average precision, as COCO's evaluation defines them.

Detections of a class are taken over all images from the surest to the least sure. Each goes to the object of its class
in its image with the largest IoU that is not taken yet, if that is at least the threshold: a hit, else a false alarm.
Precision is the share of hits among the detections so far, recall their share of all objects. Average precision is the
mean, over the recalls 0, 0.01, ..., 1, of the best precision at that recall or above; mAP is its mean over classes that
have objects, mAP50-95 also over the IoU thresholds 0.5, 0.55, ..., 0.95. What has no objects has no value: None, shown
as n/a.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fastcnn.detection.boxes import areas
from fastcnn.detection.results import Detections, Objects
from fastcnn.errors import Error
from fastcnn.ops.detection import pairwise_overlap

COCO_THRESHOLDS = tuple(float(t) for t in np.linspace(0.5, 0.95, 10))
RECALLS = np.linspace(0.0, 1.0, 101)


class Matches(NamedTuple):
    """The detections of one class, surest first, and what became of them at each threshold."""

    scores: np.ndarray  # (detections,)
    hits: np.ndarray  # (thresholds, detections)
    ignored: np.ndarray  # (thresholds, detections): matched with a crowd, neither hit nor false alarm
    objects: int

    def curve(self, threshold: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision, recall and score after each detection that counts; there must be objects."""
        counts = ~self.ignored[threshold]
        hits = np.cumsum(self.hits[threshold] & counts)
        alarms = np.cumsum(~self.hits[threshold] & counts)
        precision = hits / np.maximum(hits + alarms, 1)
        return precision, hits / self.objects, self.scores

    def average_precision(self, threshold: int) -> float | None:
        """None where there are no objects."""
        if not self.objects:
            return None
        precision, recall, _ = self.curve(threshold)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        place = np.searchsorted(recall, RECALLS, side="left")
        return float(
            np.where(place < len(best), np.append(best, 0.0)[np.minimum(place, len(best))], 0.0).mean()
        )


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The figures of one evaluation. A value is None where there was nothing to find."""

    class_names: tuple[str, ...]
    thresholds: tuple[float, ...]
    classes: tuple[Matches, ...]
    images: int

    def ap(self, label: int, iou: float | None = None) -> float | None:
        """Average precision of a class at an IoU threshold; by default the mean over all thresholds."""
        places = range(len(self.thresholds)) if iou is None else [self._place(iou)]
        return _mean([self._class(label).average_precision(place) for place in places])

    def map(self, iou: float | None = None) -> float | None:
        """Mean over the classes that have objects."""
        return _mean([self.ap(label, iou) for label in range(len(self.classes))])

    @property
    def map50(self) -> float | None:
        return self.map(0.5)

    @property
    def map50_95(self) -> float | None:
        return self.map()

    def precision_recall(
        self, label: int, score: float, iou: float = 0.5
    ) -> tuple[float | None, float | None]:
        """Precision and recall of a class when detections of at least this score count."""
        found, place = self._class(label), self._place(iou)
        counts = (found.scores >= score) & ~found.ignored[place]
        hits = int((found.hits[place] & counts).sum())
        precision = hits / int(counts.sum()) if counts.any() else None
        return precision, hits / found.objects if found.objects else None

    def curve(self, label: int, iou: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Precision, recall and score after each detection of a class; empty where there are no objects."""
        if not self._class(label).objects:
            return np.zeros(0), np.zeros(0), np.zeros(0)
        return self._class(label).curve(self._place(iou))

    def _class(self, label: int) -> Matches:
        if not (hasattr(label, "__index__") and 0 <= label < len(self.classes)):
            raise Error(
                f"this evaluation has no class {label!r}; classes are numbered 0 to {len(self.classes) - 1}: "
                f"{', '.join(self.class_names)}"
            )
        return self.classes[label]

    def _place(self, iou: float) -> int:
        for place, threshold in enumerate(self.thresholds):
            if abs(threshold - iou) < 1e-9:
                return place
        raise Error(
            f"this evaluation has no IoU threshold {iou}; it has {', '.join(f'{t:g}' for t in self.thresholds)}"
        )

    def __str__(self) -> str:
        """A table with a row for each class."""
        wide = max([len(name) for name in (*self.class_names, "all classes")], default=0)
        columns = [0.5] if any(abs(t - 0.5) < 1e-9 for t in self.thresholds) else []
        head = "".join(f"{f'AP{100 * t:.0f}':>8}" for t in columns) + f"{'AP':>8}"
        lines = [f"{'':{wide}} {'objects':>8} {head}"]
        for label, name in enumerate(self.class_names):
            values = [*(self.ap(label, t) for t in columns), self.ap(label)]
            lines.append(f"{name:{wide}} {self.classes[label].objects:>8} " + "".join(map(_cell, values)))
        values = [*(self.map(t) for t in columns), self.map()]
        total = sum(found.objects for found in self.classes)
        lines.append(f"{'all classes':{wide}} {total:>8} " + "".join(map(_cell, values)))
        return "\n".join(lines)


def shown(value: float | None) -> str:
    """A share with three digits, or n/a."""
    return "n/a" if value is None else f"{value:.3f}"


def _cell(value: float | None) -> str:
    return f"{shown(value):>8}"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def evaluate_detections(
    truths: Sequence[Objects],
    detections: Sequence[Detections],
    class_names: Sequence[str],
    iou_thresholds: Sequence[float] = COCO_THRESHOLDS,
    max_detections: int = 100,
) -> Evaluation:
    """Compare detections with the objects of the same images; of each image and class the surest so many count."""
    if len(truths) != len(detections):
        raise Error(
            f"{len(truths)} images with objects and {len(detections)} with detections; give both for all images"
        )
    thresholds = tuple(float(t) for t in iou_thresholds)
    if not thresholds or not all(0 < t <= 1 for t in thresholds):
        raise Error(f"iou_thresholds must lie in (0, 1], got {iou_thresholds!r}")
    pairs = list(zip(truths, detections, strict=True))
    for number, pair in enumerate(pairs):
        labels = np.concatenate([part.labels for part in pair])
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(class_names)):
            raise Error(
                f"image {number}: labels {labels.min()}..{labels.max()}, but there are {len(class_names)} classes "
                f"({', '.join(class_names)})"
            )
    classes = [_class_matches(pairs, label, thresholds, max_detections) for label in range(len(class_names))]
    return Evaluation(tuple(class_names), thresholds, tuple(classes), len(pairs))


def _class_matches(
    pairs: Sequence[tuple[Objects, Detections]], label: int, thresholds: tuple[float, ...], most: int
) -> Matches:
    scores, hits, ignored, objects = [np.zeros(0)], [], [], 0
    for truth, found in pairs:
        own = truth.select(truth.labels == label)
        chosen = np.flatnonzero(found.labels == label)
        chosen = chosen[np.argsort(-found.scores[chosen], kind="stable")][:most]
        hit, skipped = _match(own, found.boxes[chosen], thresholds)
        scores.append(found.scores[chosen].astype(np.float64))
        hits.append(hit)
        ignored.append(skipped)
        objects += int((~own.crowd).sum())
    every = np.concatenate(scores)
    order = np.argsort(-every, kind="stable")
    empty = np.zeros((len(thresholds), 0), bool)
    return Matches(
        every[order], np.concatenate([empty, *hits], 1)[:, order], np.concatenate([empty, *ignored], 1)[:, order],
        objects,
    )  # fmt: skip


def _match(truth: Objects, boxes: np.ndarray, thresholds: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """(thresholds, detections): which are hits, and which found only a crowd. boxes: the surest first."""
    hits = np.zeros((len(thresholds), len(boxes)), bool)
    ignored = np.zeros_like(hits)
    if not (len(boxes) and len(truth)):
        return hits, ignored
    order = np.argsort(truth.crowd, kind="stable")
    crowd = truth.crowd[order]
    overlaps = _overlaps(boxes, truth.boxes[order], crowd)
    least = np.minimum(thresholds, 1 - 1e-10)[:, np.newaxis]
    taken = np.zeros((len(thresholds), len(truth)), bool)
    for number, row in enumerate(overlaps):
        for kind in (~crowd, crowd):  # crowds only where no single object fits
            fits = kind & ~taken & (row >= least) & ~hits[:, number, np.newaxis]
            best = len(row) - 1 - np.where(fits, row, -1)[:, ::-1].argmax(1)  # of equal ones the last
            found = fits.any(1)
            hits[found, number] = True
            if kind is crowd:
                ignored[found, number] = True
            else:
                taken[found, best[found]] = True
    return hits, ignored


def _overlaps(boxes: np.ndarray, objects: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU (detections, objects); with a crowd, the share of the detection that lies in it."""
    boxes, objects = boxes.astype(np.float64), objects.astype(np.float64)
    overlaps = pairwise_overlap(boxes, objects)
    if crowd.any():
        first = np.maximum(boxes[:, np.newaxis, :2], objects[crowd][np.newaxis, :, :2])
        last = np.minimum(boxes[:, np.newaxis, 2:], objects[crowd][np.newaxis, :, 2:])
        inside = np.maximum(last - first, 0).prod(-1)
        area = areas(boxes)[:, np.newaxis]
        overlaps[:, crowd] = np.divide(inside, area, out=np.zeros_like(inside), where=area > 0)
    return overlaps
