"""Boxes: one array (..., 4) a set, in one of several forms.

| form | numbers |
|---|---|
| xyxy | left, top, right, bottom; the form used everywhere where nothing else is said |
| xywh | left, top, width, height (COCO) |
| cxcywh | centre, width, height (YOLO) |

Pixels: a box covers [x1, x2) x [y1, y2), so a box over a whole image of width w has x1 = 0 and x2 = w. Normalised boxes
are divided by the image's width and height; boxes in cells are multiplied by the number of columns and rows of a grid.
"""

from typing import Any

import numpy as np

from fastcnn.errors import Error
from fastcnn.ops.detection import choice, float_array, pairwise_overlap

FORMS = ("xyxy", "xywh", "cxcywh")


def as_boxes(boxes: Any) -> np.ndarray:
    """An array (..., 4) of floats: float64 stays, everything else becomes float32. No box at all is (0, 4)."""
    array = float_array("boxes", boxes)
    if not array.size:
        return array.reshape(0, 4) if array.shape[-1:] != (4,) else array
    if array.shape[-1:] != (4,):
        raise Error(f"boxes are (..., 4), got shape {array.shape}")
    return array


def as_labels(labels: Any) -> np.ndarray:
    """Class numbers (n,), int64; `Error` for fractions, which would lose something."""
    array = float_array("labels", labels).reshape(-1)
    whole = np.isfinite(array) & (array == np.rint(array))
    if not whole.all():
        raise Error(f"labels must be whole numbers, got {array[~whole][0]}")
    return array.astype(np.int64)


def convert_boxes(boxes: Any, source: str, target: str) -> np.ndarray:
    """The same boxes in another form."""
    choice("convert_boxes: source", source, FORMS)
    choice("convert_boxes: target", target, FORMS)
    array = as_boxes(boxes)
    if source == target:
        return array.copy()
    first, second = array[..., :2], array[..., 2:]
    half = array.dtype.type(0.5)
    if source == "xyxy":
        corner, size = first, second - first
    else:
        corner, size = (first if source == "xywh" else first - half * second), second
    if target == "xyxy":
        return np.concatenate([corner, corner + size], -1)
    return np.concatenate([corner if target == "xywh" else corner + half * size, size], -1)


def scale_boxes(boxes: Any, width: float, height: float) -> np.ndarray:
    """x times width, y times height: from normalised boxes to pixels or cells, whatever their form."""
    array = as_boxes(boxes)
    return array * _sides("scale_boxes", width, height, array.dtype)


def normalize_boxes(boxes: Any, width: float, height: float) -> np.ndarray:
    """x divided by width, y by height: from pixels or cells to shares of the image, whatever their form."""
    array = as_boxes(boxes)
    return array / _sides("normalize_boxes", width, height, array.dtype)


def clip_boxes(boxes: Any, width: float, height: float) -> np.ndarray:
    """The parts of boxes (xyxy) inside an image."""
    array = as_boxes(boxes)
    return np.clip(array, 0, _sides("clip_boxes", width, height, array.dtype))


def _sides(what: str, width: Any, height: Any, dtype: np.dtype) -> np.ndarray:
    """(width, height, width, height) of an image or a grid; `Error` where it can be none."""
    sides = (width, height)
    if not all(isinstance(n, int | float | np.integer | np.floating) and 0 < n < np.inf for n in sides):
        raise Error(
            f"{what}: width and height must be positive and finite, of one image or grid; got {width!r} and {height!r}"
        )
    return np.array([*sides, *sides], dtype)


def areas(boxes: Any) -> np.ndarray:
    """Areas of boxes (xyxy); 0 where the corners are the wrong way round."""
    size = np.maximum(as_boxes(boxes)[..., 2:] - as_boxes(boxes)[..., :2], 0)
    return size[..., 0] * size[..., 1]


def iou(boxes1: Any, boxes2: Any) -> np.ndarray:
    """Intersection over union of all pairs: (n, 4), (m, 4) -> (n, m). `fastcnn.ops.box_overlap` has gradients."""
    return pairwise_overlap(as_boxes(boxes1), as_boxes(boxes2), "iou")


def giou(boxes1: Any, boxes2: Any) -> np.ndarray:
    """Generalised IoU of all pairs, from -1 to 1: below 0 it tells how far apart boxes are."""
    return pairwise_overlap(as_boxes(boxes1), as_boxes(boxes2), "giou")


def diou(boxes1: Any, boxes2: Any) -> np.ndarray:
    """Distance IoU of all pairs."""
    return pairwise_overlap(as_boxes(boxes1), as_boxes(boxes2), "diou")


def ciou(boxes1: Any, boxes2: Any) -> np.ndarray:
    """Complete IoU of all pairs: distance IoU less a term for the aspect ratio."""
    return pairwise_overlap(as_boxes(boxes1), as_boxes(boxes2), "ciou")
