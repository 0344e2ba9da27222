"""Anchors: typical sizes of boxes, from which a grid predicts deviations."""

from typing import Any

import numpy as np

from fastcnn import config
from fastcnn.errors import Error
from fastcnn.layers import arguments
from fastcnn.ops.detection import float_array

ROUNDS = 300  # of k-means; it has mostly settled after thirty
ATTEMPTS = 10  # from different starts, of which the best counts


def _as_sizes(what: str, sizes: Any) -> np.ndarray:
    """(n, 2) float64: width and height of each."""
    array = float_array(f"{what}: sizes", sizes).astype(np.float64)
    array = array if array.size else array.reshape(0, 2)
    if array.ndim != 2 or array.shape[1] != 2:
        raise Error(f"{what}: sizes are (n, 2), width and height of each; got shape {array.shape}")
    return array


def shape_iou(sizes1: Any, sizes2: Any) -> np.ndarray:
    """IoU of boxes laid on one corner: (n, 2), (m, 2) widths and heights -> (n, m)."""
    a, b = np.asarray(sizes1, np.float64), np.asarray(sizes2, np.float64)
    shared = np.minimum(a[:, np.newaxis], b[np.newaxis]).prod(-1)
    union = a.prod(-1)[:, np.newaxis] + b.prod(-1)[np.newaxis] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def anchor_kmeans(sizes: Any, k: int, seed: int | None = None) -> np.ndarray:
    """k anchors (width, height), the smallest area first, for boxes of these sizes (n, 2).

    k-means with 1 - IoU as distance, started as k-means++ says (Arthur & Vassilvitskii 2007); the best of ten attempts
    counts. A centre is the median of its boxes' sizes, which huge boxes do not move. Where there are no more than
    k different sizes, these are the anchors: there may be fewer than k, never equal ones. Redmon & Farhadi 2017.
    """
    sizes, k = _as_sizes("anchor_kmeans", sizes), arguments.integer("anchor_kmeans", "k", k)
    if not len(sizes):
        raise Error(
            "anchor_kmeans: there are no boxes; anchors need some labelled objects, or give them yourself"
        )
    if not (np.isfinite(sizes).all() and (sizes > 0).all()):
        raise Error(
            "anchor_kmeans: widths and heights must be positive and finite; remove boxes without area"
        )
    if seed is not None:
        seed = arguments.integer("anchor_kmeans", "seed", seed, minimum=0)
    different = np.unique(sizes, axis=0)
    if len(different) <= k:
        return _by_area(different)
    rng = np.random.default_rng(config.next_seed() if seed is None else seed)
    found = [_settle(sizes, _starts(sizes, k, rng)) for _ in range(ATTEMPTS)]
    return _by_area(max(found, key=lambda anchors: mean_best_iou(sizes, anchors)))


def _starts(sizes: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """k different sizes, each chosen with a chance proportional to its squared distance from those before."""
    chosen = [sizes[rng.integers(len(sizes))]]
    while len(chosen) < k:
        distance = 1 - shape_iou(sizes, np.array(chosen)).max(1)
        distance[distance < 1e-12] = 0
        if not distance.any():
            break
        chosen.append(sizes[rng.choice(len(sizes), p=distance**2 / np.sum(distance**2))])
    return np.array(chosen)


def _settle(sizes: np.ndarray, centres: np.ndarray) -> np.ndarray:
    for _ in range(ROUNDS):
        nearest = shape_iou(sizes, centres).argmax(1)
        groups = [sizes[nearest == i] for i in range(len(centres))]
        moved = np.array([np.median(g, 0) if len(g) else c for g, c in zip(groups, centres, strict=True)])
        if np.array_equal(moved, centres):
            break
        centres = moved
    return np.unique(centres, axis=0)


def _by_area(anchors: np.ndarray) -> np.ndarray:
    return anchors[np.lexsort((anchors[:, 0], anchors.prod(1)))]


def mean_best_iou(sizes: Any, anchors: Any) -> float:
    """How well anchors fit: the mean over boxes of the IoU with the best anchor."""
    sizes, anchors = _as_sizes("mean_best_iou", sizes), _as_sizes("mean_best_iou", anchors)
    if not (len(sizes) and len(anchors)):
        raise Error(
            f"mean_best_iou: there are {len(sizes)} boxes and {len(anchors)} anchors; give some of both"
        )
    return float(shape_iou(sizes, anchors).max(1).mean())
