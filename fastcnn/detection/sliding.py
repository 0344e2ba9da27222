"""Finding objects with a classifier of small windows, moved over larger images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.detection.augment import Window, as_image
from fastcnn.detection.boxes import clip_boxes
from fastcnn.detection.results import Detections
from fastcnn.errors import Error
from fastcnn.models import Model
from fastcnn.models.fully_convolutional import effective_stride
from fastcnn.ops.suppression import nms


def sliding_windows(images: Any, size: Any, stride: Any = 1) -> np.ndarray:
    """All windows of images: (n, height, width, channels) -> (n, rows, columns, *size, channels), a view."""
    array = np.asarray(images)
    (h, w), (sy, sx) = (
        (value, value) if isinstance(value, int) else tuple(value) for value in (size, stride)
    )
    if array.ndim != 4 or not (0 < h <= array.shape[1] and 0 < w <= array.shape[2] and min(sy, sx) > 0):
        raise Error(
            f"sliding_windows: no windows of {h}x{w} in images of shape {array.shape}, stride {sy}x{sx}"
        )
    every = np.lib.stride_tricks.sliding_window_view(array, (h, w), (1, 2))  # (n, rows, columns, c, h, w)
    return every[:, ::sy, ::sx].transpose(0, 1, 2, 4, 5, 3)


class SlidingWindowDetector:
    """A classifier of windows as a detector: it is made fully convolutional and looks at all windows at once.

    classifier: a model (height, width, channels) -> probabilities of the classes, of windows. class_names: of all
    classes; `background` is the name of that for "nothing", which is never reported. Boxes are windows.
    """

    def __init__(self, classifier: Model, class_names: Sequence[str], background: str | None = None):
        if not isinstance(classifier, Model):
            raise Error(f"SlidingWindowDetector: the classifier must be a Model, got {classifier!r}")
        self.class_names = tuple(map(str, class_names))
        if len(classifier.input_shape) != 4 or None in classifier.input_shape[1:]:
            raise Error(
                "SlidingWindowDetector: the classifier's input must be (height, width, channels), all known; got "
                f"{classifier.input_shape[1:]}"
            )
        height, width, self.channels = classifier.input_shape[1:]
        self.window = (height, width)
        self.stride = effective_stride(classifier)
        self.model = classifier.to_fully_convolutional()
        if classifier.output_shape[-1] != len(self.class_names):
            raise Error(
                f"the classifier knows {classifier.output_shape[-1]} classes, {len(self.class_names)} are named"
            )
        if background is not None and background not in self.class_names:
            raise Error(f"there is no class {background!r}; the classes are {', '.join(self.class_names)}")
        self.background = background

    def predict(
        self,
        image: Any,
        score_threshold: float = 0.6,
        iou_threshold: float = 0.3,
        scales: Sequence[float] = (1.0,),
        max_detections: int = 300,
    ) -> Detections:
        """What is found in an image (height, width, channels), in the units that the classifier was trained on.

        scales: sizes of the image, as factors, to look at; objects of 1 / scale times the window are found.
        """
        if not scales or not all(0 < scale < np.inf for scale in scales):
            raise Error(f"SlidingWindowDetector: scales are positive factors, at least one; got {scales!r}")
        if not -np.inf < score_threshold < np.inf:
            raise Error(f"SlidingWindowDetector: score_threshold must be finite, got {score_threshold}")
        array = as_image("SlidingWindowDetector", image, self.channels).astype(np.float32)
        parts = [self._at_scale(array, float(scale), score_threshold) for scale in scales]
        boxes, scores, labels = (np.concatenate(part) for part in zip(*parts, strict=True))
        kept = nms(boxes, scores, None, iou_threshold, max_boxes=max_detections)
        found = clip_boxes(boxes[kept], array.shape[1], array.shape[0])
        return Detections.of(found, scores[kept], labels[kept], self.class_names)

    def _at_scale(
        self, image: np.ndarray, scale: float, least: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        height, width = (max(round(n * scale), m) for n, m in zip(image.shape[:2], self.window, strict=True))
        steps = image.shape[0] / height, image.shape[1] / width
        seen = image if scale == 1 and image.shape[:2] == (height, width) else None
        if seen is None:
            seen = Window(0, 0, *steps, height, width).cut(image)
        shares = self.model.predict_on_batch(seen[np.newaxis])[0]
        labels, scores = shares.argmax(-1), shares.max(-1)
        chosen = scores >= least
        if self.background is not None:
            chosen &= labels != self.class_names.index(self.background)
        rows, columns = np.nonzero(chosen)
        top, left = rows * self.stride[0] * steps[0], columns * self.stride[1] * steps[1]
        size = self.window[0] * steps[0], self.window[1] * steps[1]
        boxes = np.stack([left, top, left + size[1], top + size[0]], -1).astype(np.float32)
        return boxes, scores[chosen], labels[chosen]
