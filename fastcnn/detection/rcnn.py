"""Regions with CNN features (Girshick et al. 2014, R-CNN): regions from segmentation, a classifier for each.

The form from which the later ones came: nothing is shared between regions, and a box is what segmentation says.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from fastcnn.data.image_folder import target_size
from fastcnn.detection.augment import Window, as_image
from fastcnn.detection.boxes import as_boxes, iou
from fastcnn.detection.dataset import BoxDataset
from fastcnn.detection.results import Detections
from fastcnn.errors import Error
from fastcnn.layers import arguments
from fastcnn.models import Model
from fastcnn.ops.segmentation import segment_image
from fastcnn.ops.suppression import nms


def propose_regions(
    image: Any, scale: float = 100.0, sigma: float = 0.8, smallest: int = 20, most: int = 500
) -> np.ndarray:
    """Boxes (n, 4) that objects may have: of segments, and of what comes of joining the most alike, again and again.

    Alike are neighbours of similar colour, small ones, and such as fill the box around both. Joining ends with `most`
    boxes, of which the segments, however many, are the first. scale, sigma, smallest: as of `ops.segment_image`.
    Uijlings et al. 2013, Selective search.
    """
    most = arguments.integer("propose_regions", "most", most)
    array = as_image("propose_regions", image).astype(np.float32)
    segments = segment_image(array, scale, sigma, smallest)
    parts, beside = _parts(array, segments), _neighbours(segments)
    alike = [
        (-_likeness(parts[a], parts[b], segments.size), a, b) for a in beside for b in beside[a] if a < b
    ]
    heapq.heapify(alike)
    found = [part[0] for part in parts.values()]
    while alike and len(found) < most:
        _, a, b = heapq.heappop(alike)
        if a not in parts or b not in parts:
            continue
        new, near = segments.size + len(found), (beside.pop(a) | beside.pop(b)) - {a, b}
        parts[new], beside[new] = _joined(parts.pop(a), parts.pop(b)), near
        for n in near:
            beside[n] = beside[n] - {a, b} | {new}
            heapq.heappush(alike, (-_likeness(parts[n], parts[new], segments.size), n, new))
        found.append(parts[new][0])
    return np.unique(np.array(found, np.float32), axis=0)


Part = tuple[np.ndarray, np.ndarray, int]  # box, mean colour, pixels


def _parts(image: np.ndarray, segments: np.ndarray) -> dict[int, Part]:
    """Every segment, by its number."""
    order = np.argsort(segments, axis=None, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(segments.ravel()))[:-1])
    return {number: _part(image, *np.divmod(group, segments.shape[1])) for number, group in enumerate(groups)}


def _part(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> Part:
    box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32)
    return box, image[rows, columns].mean(0, dtype=np.float64), len(rows)


def _joined(a: Part, b: Part) -> Part:
    count = a[2] + b[2]
    return _around(a[0], b[0]), (a[1] * a[2] + b[1] * b[2]) / count, count


def _around(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.concatenate([np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])])


def _likeness(a: Part, b: Part, pixels: int) -> float:
    colour = 1 - float(np.abs(a[1] - b[1]).mean()) / 255
    hull = _around(a[0], b[0])
    empty = float((hull[2] - hull[0]) * (hull[3] - hull[1])) - a[2] - b[2]
    return 2 * colour - (a[2] + b[2]) / pixels - empty / pixels


def _neighbours(segments: np.ndarray) -> dict[int, set[int]]:
    """The segments that touch each."""
    sides = [(segments[:, :-1], segments[:, 1:]), (segments[:-1], segments[1:])]
    pairs = np.concatenate([np.stack([a.ravel(), b.ravel()], 1) for a, b in sides])
    beside: dict[int, set[int]] = {number: set() for number in range(segments.max() + 1)}
    for a, b in np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0).tolist():
        beside[a].add(b)
        beside[b].add(a)
    return beside


def cut_regions(image: Any, boxes: Any, size: int | tuple[int, int], context: float = 0.15) -> np.ndarray:
    """The parts of an image in boxes with a margin, a share of their size, each stretched to size (height, width)."""
    array, size = as_image("cut_regions", image), target_size(size)
    if not 0 <= context < np.inf:
        raise Error(f"cut_regions: context must be a share of the box, not negative; got {context}")
    corners = as_boxes(boxes).reshape(-1, 4)
    if not np.isfinite(corners).all():
        raise Error("cut_regions: boxes must be finite")
    cuts = []
    for x1, y1, x2, y2 in corners.astype(np.float64):
        w, h = max(x2 - x1, 1.0) * (1 + 2 * context), max(y2 - y1, 1.0) * (1 + 2 * context)
        top, left = (y1 + y2 - h) / 2, (x1 + x2 - w) / 2
        cuts.append(Window(top, left, h / size[0], w / size[1], *size).cut(array))
    return np.stack(cuts) if cuts else np.zeros((0, *size, array.shape[-1]), np.float32)


class RCNN:
    """A classifier of regions as a detector.

    classifier: a model (height, width, channels) of 0..1 -> probabilities of "nothing", then of the classes.
    scale, sigma, smallest: of the segmentation.
    """

    def __init__(
        self,
        classifier: Model,
        class_names: Sequence[str],
        scale: float = 100.0,
        sigma: float = 0.8,
        smallest: int = 20,
    ):
        if not isinstance(classifier, Model):
            raise Error(f"RCNN: the classifier must be a Model, got {classifier!r}")
        self.classifier, self.class_names = classifier, tuple(map(str, class_names))
        self.scale, self.sigma, self.smallest = float(scale), float(sigma), int(smallest)
        shape = classifier.input_shape[1:]
        if len(shape) != 3 or None in shape:
            raise Error(
                f"RCNN: the classifier's input must be (height, width, channels), all known; got {shape}"
            )
        self.size, self.channels = shape[:2], shape[2]
        if classifier.output_shape[-1] != 1 + len(self.class_names):
            raise Error(
                f"RCNN: the classifier gives {classifier.output_shape[-1]} probabilities; expected one for nothing and "
                f"{len(self.class_names)} for {', '.join(self.class_names)}"
            )

    def propose(self, image: np.ndarray) -> np.ndarray:
        """Regions of an image."""
        return propose_regions(image, self.scale, self.sigma, self.smallest)

    def regions_of(
        self, dataset: BoxDataset, nothing: int = 20, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """What to train the classifier on: regions (n, height, width, channels) of 0..1 and labels, 0 for nothing.

        Of every image the objects, the proposals that overlap one by an IoU of at least 0.5, and up to so many that
        overlap none by 0.3.
        """
        if not len(dataset):
            raise Error("RCNN: there is no image in the data set")
        nothing = arguments.integer("RCNN", "nothing", nothing, minimum=0)
        rng = np.random.default_rng(seed)
        x, y = [], []
        for sample in tqdm(dataset.samples, "proposing regions", unit="image", delay=2.0, disable=None):
            image, objects = (
                as_image(sample.name, sample.load(self.channels), self.channels),
                sample.objects.select(~sample.objects.crowd),
            )
            proposed = self.propose(image)
            overlaps = iou(proposed, objects.boxes.astype(np.float32))
            best = overlaps.max(1, initial=0.0)
            hits, misses = np.flatnonzero(best >= 0.5), np.flatnonzero(best < 0.3)
            misses = rng.permutation(misses)[:nothing]
            boxes = np.concatenate([objects.boxes, proposed[hits], proposed[misses]])
            own = overlaps[hits].argmax(1) if len(hits) else np.zeros(0, np.int64)
            x.append(cut_regions(image, boxes, self.size) / np.float32(255))
            y.append(
                np.concatenate([objects.labels + 1, objects.labels[own] + 1, np.zeros(len(misses), np.int64)])
            )
        return np.concatenate(x), np.concatenate(y)

    def predict(
        self, image: Any, score_threshold: float = 0.5, iou_threshold: float = 0.3, max_detections: int = 100
    ) -> Detections:
        """What is found in an image (height, width, channels) of 0..255."""
        if not 0 <= score_threshold <= 1:
            raise Error(f"RCNN: score_threshold must lie in [0, 1], got {score_threshold}")
        array = as_image("RCNN", image, self.channels)
        boxes = self.propose(array)
        shares = self.classifier.predict(
            cut_regions(array, boxes, self.size) / np.float32(255), 64, verbose=0
        )
        scores, labels = shares[:, 1:].max(1), shares[:, 1:].argmax(1)
        chosen = scores >= score_threshold
        boxes, scores, labels = boxes[chosen], scores[chosen], labels[chosen]
        kept = nms(boxes, scores, labels, iou_threshold, max_boxes=max_detections)
        return Detections.of(boxes[kept], scores[kept], labels[kept], self.class_names)
