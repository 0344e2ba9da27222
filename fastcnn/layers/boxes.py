"""Bounding boxes (n, m, 4) that move along with images (n, h, w, c).

A box is a rectangle on the plane in which pixel i covers [i, i + 1): the whole image is (0, 0, w, h). Formats are those
of Keras: corners xyxy, yxyx; a corner and sizes xywh; the middle and sizes center_xywh, center_yxhw; each also in
shares of the image's sizes, as rel_xyxy and so on.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.data.sources import NO_BOX
from fastcnn.tensor import Tensor

FIELD_STEPS = 24
EDGE_POINTS = 8  # on each of the four edges


def _columns(boxes: Any) -> list[Any]:
    return [boxes[..., i : i + 1] for i in range(4)]


def to_corners(boxes: Any, source: str, height: float, width: float) -> Any:
    """Boxes (..., 4) of a format as x1 y1 x2 y2 in pixels of an image of that height and width."""
    a, b, c, d = _columns(boxes)
    plain = source.removeprefix("rel_")
    if plain in ("yxyx", "center_yxhw"):
        a, b, c, d = b, a, d, c
    if plain == "xywh":
        c, d = a + c, b + d
    elif plain.startswith("center"):
        a, b, c, d = a - c * 0.5, b - d * 0.5, a + c * 0.5, b + d * 0.5
    corners = ops.concatenate([a, b, c, d], -1)
    return corners * _sizes(corners, height, width) if source.startswith("rel_") else corners


def from_corners(corners: Any, target: str, height: float, width: float) -> Any:
    """What `to_corners` undoes."""
    if target.startswith("rel_"):
        corners = corners / _sizes(corners, height, width)
    a, b, c, d = _columns(corners)
    plain = target.removeprefix("rel_")
    if plain == "xywh":
        c, d = c - a, d - b
    elif plain.startswith("center"):
        a, b, c, d = (a + c) * 0.5, (b + d) * 0.5, c - a, d - b
    if plain in ("yxyx", "center_yxhw"):
        a, b, c, d = b, a, d, c
    return ops.concatenate([a, b, c, d], -1)


def _sizes(corners: Any, height: float, width: float) -> Any:
    return ops.cast(ops.convert_to_tensor([float(width), float(height)] * 2), corners.dtype)


def clip_corners(corners: Any, labels: Any, height: float, width: float) -> tuple[Any, Any]:
    """Corners inside of the image, and the labels: -1 where no area is left."""
    x1, y1, x2, y2 = _columns(corners)
    x1, x2 = (ops.clip(x, 0.0, float(width)) for x in (x1, x2))
    y1, y2 = (ops.clip(y, 0.0, float(height)) for y in (y1, y2))
    clipped = ops.concatenate([x1, y1, x2, y2], -1)
    has_area = ((x2 - x1) * (y2 - y1) > 0)[..., 0]
    return clipped, ops.where(has_area, labels, ops.ones_like(labels) * float(NO_BOX))


def inverse_map(transform: Any) -> list[Any]:
    """The inverses of projective maps (n, 8) as nine numbers (n, 1) each: adjugates, whose scale does not matter."""
    a0, a1, a2, b0, b1, b2, c0, c1 = (transform[:, i : i + 1] for i in range(8))
    return [
        b1 - b2 * c1, a2 * c1 - a1, a1 * b2 - a2 * b1,
        b2 * c0 - b0, a0 - a2 * c0, a2 * b0 - a0 * b2,
        b0 * c1 - b1 * c0, a1 * c0 - a0 * c1, a0 * b1 - a1 * b0,
    ]  # fmt: skip


def along_map(corners: Any, transform: Any) -> Any:
    """Corners (n, m, 4) in images whose pixel (x, y) comes from transform (n, 8) of it: around the moved corners."""
    x1, y1, x2, y2 = (corners[..., i] for i in range(4))
    inverse = inverse_map(transform)
    moved = [_moved(x, y, inverse) for x, y in ((x1, y1), (x2, y1), (x2, y2), (x1, y2))]
    xs, ys = [x for x, _ in moved], [y for _, y in moved]
    sides = [
        _extreme(xs, ops.minimum),
        _extreme(ys, ops.minimum),
        _extreme(xs, ops.maximum),
        _extreme(ys, ops.maximum),
    ]
    return ops.stack(sides, -1)


def points_along_map(points: Any, transform: Any) -> Any:
    """Points (n, m, 2), x and y, in images whose pixel (x, y) comes from transform (n, 8) of it."""
    return ops.stack(_moved(points[..., 0], points[..., 1], inverse_map(transform)), -1)


def points_along_field(points: Any, field: Any) -> Any:
    """Points (n, m, 2), x and y, in images whose pixel p comes from the place field[p] (n, h, w, 2), row and column.

    Solves field(p) = q by p += (q - field(p)) / 2, which gets nearer wherever the field does not fold. Beyond the edge
    things are moved as at the edge. An error of 10 pixels is one of 0.01 after as many steps.
    """
    shift = field - own_places(field.shape[1:3], field.dtype)
    goal = ops.expand_dims(ops.stack([points[..., 1], points[..., 0]], -1) - 0.5, 2)
    places = goal = ops.cast(goal, field.dtype)
    for _ in range(FIELD_STEPS):
        moved = places + ops.field_gather(shift, places, "bilinear", "nearest")
        places = places + (goal - moved) * 0.5
    found = ops.squeeze(places, 2) + 0.5
    return ops.stack([found[..., 1], found[..., 0]], -1)


def own_places(size: Any, dtype: str) -> np.ndarray:
    """(1, h, w, 2): the row and the column of each pixel, the field that changes nothing."""
    return np.moveaxis(np.indices(tuple(size)), 0, -1)[None].astype(dtype)


def around_edges(corners: Any, moved: Callable[[Any], Any]) -> Any:
    """Around 32 points of the edges of corners (n, m, 4), once these are moved: points (n, k, 2) to points."""
    n, m, _ = corners.shape
    share = np.arange(EDGE_POINTS) / EDGE_POINTS
    zero, one = np.zeros(EDGE_POINTS), np.ones(EDGE_POINTS)
    across = np.concatenate([share, one, 1 - share, zero]).astype(corners.dtype)  # once around, clockwise
    down = np.concatenate([zero, share, one, 1 - share]).astype(corners.dtype)
    x1, y1, x2, y2 = _columns(corners)
    edges = ops.stack([x1 + (x2 - x1) * across, y1 + (y2 - y1) * down], -1)
    found = moved(ops.reshape(edges, (n, m * 4 * EDGE_POINTS, 2)))
    found = ops.reshape(found, (n, m, 4 * EDGE_POINTS, 2))
    return ops.concatenate([ops.min(found, 2), ops.max(found, 2)], -1)


def _moved(x: Any, y: Any, inverse: list[Any]) -> tuple[Any, Any]:
    """Where places (n, m) get to, by inverse maps. A pixel's index is where its middle lies."""
    a, b, c, d, e, f, g, h, i = inverse
    x, y = x - 0.5, y - 0.5
    k = g * x + h * y + i
    return (a * x + b * y + c) / k + 0.5, (d * x + e * y + f) / k + 0.5


def _extreme(values: list[Any], choose: Any) -> Tensor:
    first, *rest = values
    for value in rest:
        first = choose(first, value)
    return first
