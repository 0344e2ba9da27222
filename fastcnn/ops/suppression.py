"""Suppression: of boxes that overlap, the best. Boxes are (n, 4): x1, y1, x2, y2 in any one unit.

These functions work on arrays: how many boxes stay depends on values, and shapes cannot. They run on the device of
`set_device`.
"""

import functools
import math
import threading
from typing import Any, NamedTuple

import numpy as np
from fastcnn_kernels.nms import LANES, block_count

from fastcnn.backend import device, get
from fastcnn.backend.cpu import Program, kernels
from fastcnn.errors import Error
from fastcnn.ops.detection import choice, float_array

__all__ = ["nms", "soft_nms", "weighted_box_fusion"]


SINGLE = np.dtype(np.float32)
NUMBERS = (int, float, np.integer, np.floating)
FEW = 2048  # boxes; up to so many one kernel does it all
PREPARED = 8192  # boxes; below, arrays and programs are kept from call to call


class Sorted(NamedTuple):
    """Boxes by class and score: what the kernels of suppression want."""

    order: np.ndarray  # of the boxes given
    corners: np.ndarray  # (4, n)
    starts: np.ndarray  # of the classes

    def classes(self, labels: np.ndarray | None) -> np.ndarray:
        """The label of each class."""
        if labels is None:
            return np.zeros(len(self.starts) - 1, np.int64)
        return labels[self.order[self.starts[:-1]]]


def _checked(what: str, boxes: Any, scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    boxes, scores, labels = _arrays(what, boxes, scores, labels)
    _check_finite(what, boxes, scores)
    return boxes, scores, labels


def _arrays(what: str, boxes: Any, scores: Any, labels: Any) -> tuple[np.ndarray, np.ndarray, Any]:
    boxes, scores = float_array(f"{what}: boxes", boxes), float_array(f"{what}: scores", scores)
    if boxes.dtype is not SINGLE or scores.dtype is not SINGLE:
        double = np.float64 in (boxes.dtype, scores.dtype)
        boxes, scores = (x.astype(np.float64 if double else np.float32, copy=False) for x in (boxes, scores))
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    labels = None if labels is None else np.asarray(labels)
    if scores.ndim != 1 or boxes.shape != (len(scores), 4):
        raise Error(
            f"{what}: expected boxes (n, 4) and scores (n,), got shapes {boxes.shape} and {scores.shape}"
        )
    if labels is not None and labels.shape != scores.shape:
        raise Error(f"{what}: expected a label a box, {scores.shape}, got {labels.shape}")
    if labels is not None and labels.dtype.kind not in "iu":
        _check_labels(what, labels)
    return boxes, scores, labels


def _check_labels(what: str, labels: np.ndarray) -> None:
    """Of numbers, or of strings, each equal to itself."""
    if labels.dtype.kind not in "biufUS" or (labels.dtype.kind == "f" and np.isnan(labels).any()):
        raise Error(f"{what}: labels are class numbers, or names, got {labels.tolist()[:5]}")


def _check_finite(what: str, boxes: np.ndarray, scores: np.ndarray) -> None:
    for name, array in (("boxes", boxes), ("scores", scores)):
        with np.errstate(over="ignore", invalid="ignore"):
            total = array.sum(dtype=np.float64)
        if not np.isfinite(total):
            bad = np.argwhere(~np.isfinite(array))
            if len(bad):
                raise Error(
                    f"{what}: {name} hold {array[tuple(bad[0])]} at {bad[0].tolist()}; drop such boxes"
                )


def _by_score(scores: np.ndarray) -> np.ndarray:
    """Numbers of boxes, the best score first, of equal ones the first box.

    Of float32, the bits of -score, in which larger numbers have larger bits, and the number of the box behind them are
    sorted as one whole number: vector instructions do that, a stable sort has none.
    """
    if scores.dtype != np.float32 or len(scores) >= 1 << 32:
        return np.argsort(-scores, kind="stable")
    bits = (np.float32(0) - scores).view(np.uint32)  # not -scores: 0 and -0 are equal
    bits ^= (bits.view(np.int32) >> 31).view(np.uint32) | np.uint32(1 << 31)
    keys = bits.astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(scores), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64((1 << 32) - 1)).astype(np.int64)


def _sort(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray | None) -> Sorted:
    """The best score first; of equal ones the first box."""
    order = _by_score(scores)
    starts = np.array([0, len(order)])
    if labels is not None and len(order):
        _, number = np.unique(labels, return_inverse=True)
        small = number.astype(np.uint16) if number.max() < 1 << 16 else number  # sorted by counting
        order = order[np.argsort(small[order], kind="stable")]
        starts = np.concatenate([[0], np.cumsum(np.bincount(number))])
    corners = np.ascontiguousarray(np.take(boxes, order, axis=0).T)
    return Sorted(order, corners, starts.astype(np.int64))


def _best_first(chosen: np.ndarray, scores: np.ndarray, most: int | None) -> np.ndarray:
    """Numbers of boxes by score, of equal ones the first; at most so many."""
    chosen = np.sort(chosen)
    return chosen[np.argsort(-scores[chosen], kind="stable")][:most]


class _Few:
    """The kernel for few boxes, bound to arrays that are large enough."""

    def __init__(self, dtype: np.dtype):
        self.boxes, self.scores, self.labels = (np.zeros(n, dtype) for n in ((FEW, 4), FEW, FEW))
        self.kept = np.empty((block_count(FEW), 6, LANES), dtype)
        self.values, self.order = np.empty((2, FEW + LANES), dtype), np.empty((2, FEW + LANES), np.int64)
        self.found = self.order[1]
        self.counts, self.limits = np.zeros(2, np.int64), np.zeros(2, dtype)
        self.is_labelled = False
        self.limited: tuple[float, float] | None = None  # what the limits are
        arrays = self.boxes, self.scores, self.labels, self.kept, self.values, self.order
        launch = kernels.nms_few.bind(*arrays, self.counts, self.limits)
        self.program, self.lock = Program([launch]), threading.Lock()

    def run(
        self, boxes: np.ndarray, scores: np.ndarray, labels: Any, iou: float, least: float | None
    ) -> np.ndarray | None:  # fmt: skip
        """Numbers of the boxes that stay, the best first; None where a number is not finite."""
        n = len(scores)
        with self.lock:
            self.boxes[:n], self.scores[:n] = boxes, scores
            if labels is not None:
                self.labels[:n], self.is_labelled = labels, True
            elif self.is_labelled:
                self.labels[:], self.is_labelled = 0, False
            limited = iou, -math.inf if least is None else least
            if limited != self.limited:
                self.limited = None  # an interruption leaves nothing half done
                self.limits[:] = limited
                self.limited = limited
            self.counts[0] = n
            self.program.run()
            count = self.counts[1]
            return self.found[:count].copy() if count >= 0 else None


_few = functools.lru_cache(maxsize=2)(_Few)


class _Greedy:
    """A kernel bound to arrays that are large enough: to make these ready takes longer than to suppress few boxes."""

    def __init__(self, criterion: str, dtype: np.dtype, boxes: int, classes: int):
        self.corners = np.empty((4, boxes), dtype)
        self.kept = np.empty((block_count(boxes, classes), 6, LANES), dtype)
        self.starts, self.keep = np.empty(classes + 1, np.int64), np.empty(boxes, np.uint8)
        self.threshold = np.empty(1, dtype)
        kernel = kernels.nms_greedy if criterion == "iou" else kernels.nms_distance
        arrays = self.corners, self.starts, self.kept, self.keep, self.threshold
        self.program, self.lock = Program([kernel.bind(*arrays)]), threading.Lock()

    def run(self, ranked: Sorted, threshold: float) -> np.ndarray:
        """Which of the boxes stay, in their order."""
        n, starts = len(ranked.order), ranked.starts
        with self.lock:
            self.corners[:, :n] = ranked.corners
            self.starts[: len(starts)], self.starts[len(starts) :] = starts, n  # classes without boxes follow
            self.threshold[0] = threshold
            self.program.run()
            return self.keep[:n].astype(bool)


_prepared = functools.lru_cache(maxsize=32)(_Greedy)


def _greedy(criterion: str, ranked: Sorted, threshold: float) -> np.ndarray:
    if device() == "cuda":
        return _greedy_on_cuda(criterion, ranked, threshold)
    n, classes = len(ranked.order), len(ranked.starts) - 1
    sizes = 1 << (max(n, 64) - 1).bit_length(), 1 << (classes - 1).bit_length()
    make = _prepared if n <= PREPARED else _Greedy
    return make(criterion, ranked.corners.dtype, *sizes).run(ranked, threshold)


def _greedy_on_cuda(criterion: str, ranked: Sorted, threshold: float) -> np.ndarray:
    kernel = getattr(get("cuda").kernels, "nms_greedy" if criterion == "iou" else "nms_distance")
    n, dtype = len(ranked.order), ranked.corners.dtype
    keep = np.zeros(n, np.uint8)
    kernel(ranked.corners, ranked.starts, np.empty((5, n), dtype), keep, np.array([threshold], dtype))
    return keep.astype(bool)


def _share(what: str, name: str, value: float) -> float:
    if not (isinstance(value, NUMBERS) and 0 <= value <= 1):
        raise Error(f"{what}: {name} must lie in [0, 1], got {value!r}")
    return float(value)


def _check_limits(what: str, score_threshold: float | None, max_boxes: int | None) -> None:
    if not (
        score_threshold is None or isinstance(score_threshold, NUMBERS) and score_threshold == score_threshold
    ):
        raise Error(f"{what}: score_threshold must be a number, got {score_threshold!r}")
    if not (max_boxes is None or isinstance(max_boxes, int | np.integer) and max_boxes >= 0):
        raise Error(f"{what}: max_boxes must be a whole number from 0 on, or None, got {max_boxes!r}")


def nms(
    boxes: Any,
    scores: Any,
    labels: Any = None,
    iou_threshold: float = 0.5,
    score_threshold: float | None = None,
    max_boxes: int | None = None,
    criterion: str = "iou",
) -> np.ndarray:
    """Non-maximum suppression: the numbers of the boxes that stay, the best first.

    Boxes below the score threshold are dropped; then the best is taken, those that overlap it by more than
    `iou_threshold` are dropped, and so on. With labels (n,) only boxes of one label suppress each other. Of equal
    scores the first box counts as the better one. criterion: "iou", or "diou" (Zheng et al. 2020) which keeps
    neighbours whose centres differ. boxes (n, 4) of any unit, float32 or float64. Time depends on the boxes alone; it
    is never limited. `Error` where a number is NaN or infinite.
    """
    choice("nms: criterion", criterion, ("iou", "diou"))
    threshold = _share("nms", "iou_threshold", iou_threshold)
    _check_limits("nms", score_threshold, max_boxes)
    boxes, scores, labels = _arrays("nms", boxes, scores, labels)
    if len(boxes) <= FEW and criterion == "iou" and device() == "cpu":
        if labels is not None:  # as floats they could be equal where they are not
            labels = np.unique(labels, return_inverse=True)[1]
        found = _few(boxes.dtype).run(boxes, scores, labels, threshold, score_threshold)
        if found is not None:
            return found[:max_boxes]
    _check_finite("nms", boxes, scores)
    chosen = None
    if score_threshold is not None:
        chosen = np.flatnonzero(scores >= score_threshold)
        boxes, labels = boxes[chosen], None if labels is None else labels[chosen]
    of_chosen = scores if chosen is None else scores[chosen]
    if not len(boxes):
        return np.zeros(0, np.int64)
    ranked = _sort(boxes, of_chosen, labels)
    kept = ranked.order[_greedy(criterion, ranked, threshold)]
    if labels is not None:
        kept = _best_first(kept, of_chosen, None)
    return (kept if chosen is None else chosen[kept])[:max_boxes]


def soft_nms(
    boxes: Any,
    scores: Any,
    labels: Any = None,
    method: str = "gaussian",
    sigma: float = 0.5,
    iou_threshold: float = 0.3,
    score_threshold: float = 0.001,
    max_boxes: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Soft suppression: numbers of the boxes that stay, the best first, and their scores.

    The best box is taken, the scores of the others of its label fade by their overlap with it: by exp(-IoU^2 / sigma)
    ("gaussian"), or by 1 - IoU above the threshold ("linear"); and so on while scores reach `score_threshold`.
    Bodla et al. 2017.
    """
    choice("soft_nms: method", method, ("linear", "gaussian"))
    if not (isinstance(sigma, NUMBERS) and sigma > 0):
        raise Error(f"soft_nms: sigma must be positive, got {sigma!r}")
    threshold = _share("soft_nms", "iou_threshold", iou_threshold)
    _check_limits("soft_nms", score_threshold, max_boxes)
    if score_threshold is None:
        raise Error("soft_nms: score_threshold must be a number: scores fade, but never to nothing; got None")
    boxes, scores, labels = _checked("soft_nms", boxes, scores, labels)
    if not len(boxes):
        return np.zeros(0, np.int64), scores
    order, corners, starts = _sort(boxes, scores, labels)
    faded = scores[order]
    constant = threshold if method == "linear" else float(sigma)
    kernel = getattr(get(device()).kernels, f"nms_{method}")
    kernel(corners, starts, faded, np.empty_like(faded), constant, float(score_threshold))
    result = np.empty_like(scores)
    result[order] = faded
    kept = _best_first(np.flatnonzero(result >= score_threshold), result, max_boxes)
    return kept, result[kept]


def weighted_box_fusion(
    boxes: Any, scores: Any, labels: Any = None, iou_threshold: float = 0.55, models: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes that overlap become one, corners weighed by scores: boxes (m, 4), scores (m,), labels (m,), best first.

    For the boxes of several models together: a fused score is the mean of the scores times min(boxes, models) / models,
    less where not all models have seen the object. Scores must not be negative. Solovyev et al. 2021.
    """
    threshold = _share("weighted_box_fusion", "iou_threshold", iou_threshold)
    if not (isinstance(models, NUMBERS) and models >= 1):
        raise Error(f"weighted_box_fusion: models must be a number of at least 1, got {models!r}")
    boxes, scores, labels = _checked("weighted_box_fusion", boxes, scores, labels)
    if (scores < 0).any():
        raise Error(f"weighted_box_fusion: scores must not be negative, got {scores.min()}")
    ranked = _sort(boxes, scores, labels)
    n, classes = len(boxes), len(ranked.starts) - 1
    fused, totals, counts = np.empty((4, n)), np.empty((2, n)), np.zeros(classes, np.int64)
    if n:
        corners = ranked.corners.astype(np.float64)
        arguments = corners, ranked.starts, scores[ranked.order].astype(np.float64), fused, totals, counts
        get(device()).kernels.fuse_boxes(*arguments, threshold)
    spans = [np.arange(start, start + count) for start, count in zip(ranked.starts, counts, strict=False)]
    found = np.concatenate(spans)
    names = np.repeat(ranked.classes(labels) if n else np.zeros(classes, np.int64), counts)
    means = totals[0, found] / totals[1, found] * np.minimum(totals[1, found], models) / models
    best = np.argsort(-means, kind="stable")
    found = found[best]
    return (
        np.ascontiguousarray(fused[:, found].T).astype(boxes.dtype),
        means[best].astype(scores.dtype),
        names[best],
    )
