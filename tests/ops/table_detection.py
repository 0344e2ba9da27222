"""Rows of the ops of detectors."""

import numpy as np
from op_harness import Row
from reference import detection as reference

from fastcnn import ops
from fastcnn.ops.detection import Grid
from fastcnn.ops.regions import Regions

COVERED_ELSEWHERE: set[type] = {Grid, Regions}  # what the ops on a grid and those on regions have in common

ANCHORS = ((1.5, 0.8), (0.7, 2.0))  # width, height
PAIRS = {
    "nothing equal": [(2, 3, 4), (2, 3, 4)],
    "smallest": [(1, 4), (1, 4)],
    "all pairs": [(3, 1, 4), (2, 4)],
}
GRIDS = {"nothing equal": [(2, 3, 2, 16)], "smallest": [(1, 1, 1, 16)]}
TARGETS = {case: shapes * 2 for case, shapes in GRIDS.items()}


def boxes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Most overlap; no two edges meet."""
    centre, size = rng.uniform(0.3, 0.7, (*shape[:-1], 2)), rng.uniform(0.2, 0.9, (*shape[:-1], 2))
    return np.concatenate([centre - size / 2, centre + size / 2], -1)


def targets(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A third of the places with an object, a third without, a third that says nothing."""
    t = np.zeros((*shape[:3], 2, shape[3] // 2))
    kind = rng.permutation(t[..., 0].size).reshape(t.shape[:4]) % 3
    t[..., 0] = np.where(kind == 0, 1.0, np.where(kind == 1, 0.0, -1.0))
    t[..., 1:3] = rng.uniform(0, 1, t[..., 1:3].shape)
    t[..., 3:5] = rng.uniform(0.4, 2.5, t[..., 3:5].shape)
    t[..., 5:] = np.eye(t.shape[-1] - 5)[rng.integers(t.shape[-1] - 5, size=t.shape[:4])]
    t[..., 1:] *= kind[..., np.newaxis] == 0
    return t.reshape(shape)


def regions(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Inside, across the border, in turn of two images; the last of an image that does not exist."""
    corner, size = rng.uniform(-3, 8, (shape[0], 2)), rng.uniform(1, 9, (shape[0], 2))
    image = np.arange(shape[0]) % 2
    image[-1] = 7 if shape[0] > 1 else 0
    return np.concatenate([image[:, np.newaxis], corner, corner + size], 1)


def apart(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """No two numbers are near each other."""
    return rng.permutation(np.linspace(-1, 1, int(np.prod(shape)))).reshape(shape)


MAPS = {"nothing equal": [(2, 5, 4, 3), (5, 5)], "smallest": [(1, 1, 1, 1), (1, 5)]}


def loss(box: str, classes: str, spread: float, ignore: float) -> Row:
    settings = (ANCHORS, classes, spread, box, (2.0, 1.5, 0.5, 0.7), ignore)
    return Row(
        f"yolo_loss {box} {classes} {ignore}",
        lambda t, z: ops.yolo_loss(t, z, *settings),
        lambda t, z: reference.yolo_loss(t, z, *settings),
        TARGETS,
        makers=[targets, None],
        differentiable=[1],
        terms=64,
    )


ROWS = [
    *(
        Row(
            f"box_overlap {kind}",
            lambda a, b, kind=kind: ops.box_overlap(a, b, kind),
            lambda a, b, kind=kind: reference.box_overlap(a, b, kind),
            PAIRS,
            boxes,
            terms=16,
        )
        for kind in ("iou", "giou", "diou", "ciou")
    ),
    *(
        Row(
            f"yolo_activation {classes}",
            lambda z, classes=classes, spread=spread: ops.yolo_activation(z, ANCHORS, classes, spread),
            lambda z, classes=classes, spread=spread: reference.yolo_activation(z, ANCHORS, classes, spread),
            GRIDS,
            terms=4,
        )
        for classes, spread in (("softmax", 1.0), ("sigmoid", 1.3))
    ),
    loss("squared", "softmax", 1.0, 1.0),
    loss("squared", "sigmoid", 1.2, 0.2),
    loss("iou", "softmax", 1.0, 1.0),
    loss("giou", "sigmoid", 1.0, 1.0),
    loss("diou", "softmax", 1.1, 0.3),
    loss("ciou", "softmax", 1.1, 0.3),
    *(
        Row(
            f"roi_align aligned={aligned}",
            lambda x, r, aligned=aligned: ops.roi_align(x, r, (2, 3), 0.5, 2, aligned),
            lambda x, r, aligned=aligned: reference.roi_align(x, r, (2, 3), 0.5, 2, aligned),
            MAPS,
            makers=[None, regions],
            differentiable=[0],
            terms=64,
        )
        for aligned in (True, False)
    ),
    Row(
        "roi_pool",
        lambda x, r: ops.roi_pool(x, r, (2, 3), 0.5),
        lambda x, r: reference.roi_pool(x, r, (2, 3), 0.5),
        MAPS,
        makers=[apart, regions],
        differentiable=[0],
    ),
]
