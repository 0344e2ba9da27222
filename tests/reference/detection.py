"""Boxes, the grid of a detector, and suppression: definitions, box by box.

Boxes are x1, y1, x2, y2. A grid is (n, rows, columns, anchors, 5 + c) with Pc, bx, by, bh, bw and the classes.
"""

import math

import numpy as np

from .activation import sigmoid, softmax
from .shape import Array


def intersection(a: Array, b: Array) -> float:
    """Area that two boxes share."""
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(w, 0) * max(h, 0)


def area(a: Array) -> float:
    return max(a[2] - a[0], 0) * max(a[3] - a[1], 0)


def overlap_of_two(a: Array, b: Array, kind: str) -> float:
    """IoU, GIoU, DIoU or CIoU."""
    inter = intersection(a, b)
    union = area(a) + area(b) - inter
    iou = inter / union if union > 0 else 0.0
    w, h = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    if kind == "iou":
        return iou
    if kind == "giou":
        return iou - (w * h - union) / (w * h) if w * h > 0 else iou
    centres = ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2
    diou = iou - centres / (w * w + h * h) if w * w + h * h > 0 else iou
    if kind == "diou":
        return diou
    angles = [math.atan2(max(c[2] - c[0], 0), max(c[3] - c[1], 0)) for c in (a, b)]
    v = 4 / math.pi**2 * (angles[0] - angles[1]) ** 2
    return diou - (v / (1 - iou + v)) * v if 1 - iou + v > 0 and area(a) > 0 else diou


def box_overlap(a: Array, b: Array, kind: str) -> Array:
    """Overlap pair by pair, (..., 4), (..., 4) -> (...), with NumPy's broadcasting."""
    a, b = np.broadcast_arrays(a, b)
    pairs = zip(a.reshape(-1, 4), b.reshape(-1, 4), strict=True)
    return np.array([overlap_of_two(p, q, kind) for p, q in pairs]).reshape(a.shape[:-1])


def yolo_activation(raw: Array, anchors: Array, classes: str, spread: float) -> Array:
    """What raw numbers of a grid mean; raw (n, rows, columns, anchors (5 + c))."""
    z = raw.reshape(*raw.shape[:3], len(anchors), -1)
    y = np.empty_like(z)
    y[..., 0] = sigmoid(z[..., 0])
    y[..., 1:3] = spread * sigmoid(z[..., 1:3]) - (spread - 1) / 2
    for a, (width, height) in enumerate(anchors):
        y[..., a, 3] = height * np.exp(np.clip(z[..., a, 3], -8, 8))
        y[..., a, 4] = width * np.exp(np.clip(z[..., a, 4], -8, 8))
    y[..., 5:] = softmax(z[..., 5:]) if classes == "softmax" else sigmoid(z[..., 5:])
    return y.reshape(raw.shape)


def cell_box(value: Array, i: int, j: int) -> Array:
    """The box of [Pc, bx, by, bh, bw, ...] in row i, column j, in cells."""
    x, y, h, w = j + value[1], i + value[2], value[3], value[4]
    return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


def log_loss(p: float, t: float) -> float:
    return -(t * math.log(p) + (1 - t) * math.log(1 - p))


def yolo_loss(
    target: Array,
    raw: Array,
    anchors: Array,
    classes: str,
    spread: float,
    box: str,
    weights: tuple,
    ignore: float,
) -> Array:
    """Losses (n, 3) of boxes, Pc and classes."""
    shape = (*raw.shape[:3], len(anchors), -1)
    y, t = yolo_activation(raw, anchors, classes, spread).reshape(shape), target.reshape(shape)
    losses = np.zeros((len(raw), 3))
    for n in range(len(raw)):
        places = list(np.ndindex(*y.shape[1:4]))
        objects = [cell_box(t[n][p], *p[:2]) for p in places if t[n][p][0] > 0]
        for p in places:
            value, wanted = y[n][p], t[n][p]
            own = cell_box(value, *p[:2])
            if wanted[0] > 0:
                if box == "squared":
                    lost = (value[1] - wanted[1]) ** 2 + (value[2] - wanted[2]) ** 2
                    lost += np.sum((np.sqrt(value[3:5]) - np.sqrt(wanted[3:5])) ** 2)
                else:
                    lost = 1 - overlap_of_two(own, cell_box(wanted, *p[:2]), box)
                losses[n, 0] += weights[0] * lost
                losses[n, 1] += weights[1] * log_loss(value[0], wanted[0])
                if classes == "softmax":
                    losses[n, 2] -= weights[3] * np.sum(wanted[5:] * np.log(value[5:]))
                else:
                    losses[n, 2] += weights[3] * sum(map(log_loss, value[5:], wanted[5:]))
            elif wanted[0] == 0 and not (
                ignore < 1 and any(overlap_of_two(own, other, "iou") > ignore for other in objects)
            ):
                losses[n, 1] += weights[2] * log_loss(value[0], 0.0)
    return losses


# --- regions -----------------------------------------------------------------------------------------------------


def bilinear(x: Array, i: float, j: float) -> Array:
    """The features (c,) at a place of a map (h, w, c); 0 more than a cell outside of it."""
    h, w, c = x.shape
    if not (-1 <= i <= h and -1 <= j <= w):
        return np.zeros(c)
    i, j = min(max(i, 0), h - 1), min(max(j, 0), w - 1)
    i1, j1 = int(i), int(j)
    i2, j2 = min(i1 + 1, h - 1), min(j1 + 1, w - 1)
    above, below = (x[k, j1] * (1 - j + j1) + x[k, j2] * (j - j1) for k in (i1, i2))
    return above * (1 - i + i1) + below * (i - i1)


def roi_align(
    x: Array, regions: Array, size: tuple[int, int], scale: float, samples: int, aligned: bool
) -> Array:
    y = np.zeros((len(regions), *size, x.shape[3]))
    for r, (n, *corners) in enumerate(regions):
        if not (0 <= n < len(x)) or np.isnan(corners).any():
            continue
        x1, y1, x2, y2 = np.array(corners) * scale - 0.5 * aligned
        width, height = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        width, height = max(width, 0), max(height, 0)
        for oy, ox, sy, sx in np.ndindex(*size, samples, samples):
            i = y1 + height / size[0] * (oy + (sy + 0.5) / samples)
            j = x1 + width / size[1] * (ox + (sx + 0.5) / samples)
            y[r, oy, ox] += bilinear(x[int(n)], i, j) / samples**2
    return y


def roi_pool(x: Array, regions: Array, size: tuple[int, int], scale: float) -> Array:
    y = np.zeros((len(regions), *size, x.shape[3]))
    for r, (n, *corners) in enumerate(regions):
        if not (0 <= n < len(x)) or np.isnan(corners).any():
            continue
        x1, y1, x2, y2 = (math.floor(value * scale + 0.5) for value in corners)
        spans = [(y1, max(y2 - y1 + 1, 1), x.shape[1]), (x1, max(x2 - x1 + 1, 1), x.shape[2])]
        for place in np.ndindex(*size):
            cells = []
            for (start, length, n_cells), cell, count in zip(spans, place, size, strict=True):
                lo = start + math.floor(cell * length / count)
                hi = start + math.ceil((cell + 1) * length / count)
                cells.append(slice(min(max(lo, 0), n_cells), min(max(hi, 0), n_cells)))
            window = x[int(n)][cells[0], cells[1]]
            if window.size:
                y[(r, *place)] = window.max((0, 1))
    return y


# --- suppression: in the arithmetic of the boxes, so that it can be compared exactly -----------------------------


def ranking(scores: Array) -> list[int]:
    """The best first, of equal ones the first."""
    return sorted(range(len(scores)), key=lambda i: (-scores[i], i))


def suppresses(a: Array, b: Array, threshold: float, kind: str) -> bool:
    number = a.dtype.type
    inter = intersection(a, b)
    union = area(a) + area(b) - inter
    if kind == "iou":
        return bool(inter > number(threshold) * union)
    if union == 0:
        return False
    w, h = max(a[2], b[2]) - min(a[0], b[0]), max(a[3], b[3]) - min(a[1], b[1])
    sx, sy = a[0] + a[2] - b[0] - b[2], a[1] + a[3] - b[1] - b[3]
    return bool(inter / union - (sx * sx + sy * sy) * number(0.25) / (w * w + h * h) > number(threshold))


def nms(boxes: Array, scores: Array, labels: Array | None, threshold: float, kind: str = "iou") -> list[int]:
    """Numbers of the boxes that stay."""
    kept: list[int] = []
    for i in ranking(scores):
        rivals = [k for k in kept if labels is None or labels[k] == labels[i]]
        if not any(suppresses(boxes[k], boxes[i], threshold, kind) for k in rivals):
            kept.append(i)
    return kept


def soft_nms(
    boxes: Array, scores: Array, labels: Array, method: str, constant: float, least: float
) -> tuple[list[int], Array]:
    """Numbers of the boxes that stay, best first, and their scores, in float64."""
    left = {i: float(scores[i]) for i in range(len(scores))}
    taken: list[tuple[float, int]] = []
    while left:
        best = min(left, key=lambda i: (-left[i], -scores[i], i))
        if left[best] < least:
            break
        taken.append((left.pop(best), best))
        for i in left:
            if labels[i] == labels[best]:
                iou = overlap_of_two(boxes[best].astype(float), boxes[i].astype(float), "iou")
                decay = (
                    math.exp(-iou * iou / constant) if method == "gaussian" else 1 - iou * (iou > constant)
                )
                left[i] *= decay
    taken.sort(key=lambda entry: (-entry[0], entry[1]))
    return [i for _, i in taken], np.array([score for score, _ in taken])


def weighted_box_fusion(
    boxes: Array, scores: Array, labels: Array, threshold: float, models: int
) -> tuple[Array, Array, Array]:
    """Fused boxes, scores and labels, best first."""
    clusters: list[tuple[int, list[int]]] = []
    for i in sorted(range(len(scores)), key=lambda i: (labels[i], -scores[i], i)):
        best, most = None, threshold
        for cluster in clusters:
            iou = overlap_of_two(boxes[i].astype(float), fused_box(boxes, scores, cluster[1]), "iou")
            if cluster[0] == labels[i] and iou > most:
                best, most = cluster, iou
        if best is None:
            clusters.append((labels[i], [i]))
        else:
            best[1].append(i)
    means = [np.mean([scores[i] for i in own]) * min(len(own), models) / models for _, own in clusters]
    order = ranking(np.array(means))
    return (
        np.array([fused_box(boxes, scores, clusters[k][1]) for k in order]),
        np.array([means[k] for k in order]),
        np.array([clusters[k][0] for k in order]),
    )


def fused_box(boxes: Array, scores: Array, own: list[int]) -> Array:
    """The mean of boxes weighed by scores."""
    weights = scores[own].astype(float)
    if weights.sum() == 0:
        return boxes[own[0]].astype(float)
    return (boxes[own].astype(float) * weights[:, None]).sum(0) / weights.sum()
