"""From boxes to what a grid should predict, and back.

A target is (rows, columns, anchors (5 + classes)), for each cell and anchor [Pc, bx, by, bh, bw, c1, ...]: Pc 1 where
there is an object, 0 where there is none, -1 where nothing is to be said; bx, by the place of its centre in the cell
from 0 to 1, bh, bw its size in cells, which may be larger than 1; its class as a one-hot row. What a `YOLOHead` gives
has the same form.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastcnn.detection.anchors import shape_iou
from fastcnn.detection.boxes import as_boxes, as_labels, convert_boxes
from fastcnn.errors import Error
from fastcnn.ops.detection import float_array

ROUNDING = 1e-6  # of centres that lie on the border of the image


class Grid(NamedTuple):
    """A grid of cells over the image."""

    rows: int
    columns: int
    anchors: tuple[tuple[float, float], ...]  # (width, height) in cells
    classes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a target."""
        return self.rows, self.columns, len(self.anchors) * (5 + self.classes)

    def relative_anchors(self) -> np.ndarray:
        """(anchors, 2): width and height as shares of the image."""
        return np.array(self.anchors, np.float64) / (self.columns, self.rows)

    def split(self, array: np.ndarray) -> np.ndarray:
        """(..., rows, columns, anchors, 5 + classes) of a target or of predictions."""
        return array.reshape(*array.shape[:-1], len(self.anchors), 5 + self.classes)


class Assignment(NamedTuple):
    """Which object is predicted where."""

    objects: np.ndarray  # number of the box
    grids: np.ndarray
    anchors: np.ndarray  # of that grid
    rows: np.ndarray
    columns: np.ndarray
    left_out: np.ndarray  # numbers of boxes for which no place was left


def cell_of(centres: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Row and column of the cell of each centre (x, y as shares of the image).

    A centre on the border of two cells belongs to the later one, on the border of the image to the last one.
    """
    column = np.clip(np.floor(centres[:, 0] * columns), 0, columns - 1).astype(np.int64)
    row = np.clip(np.floor(centres[:, 1] * rows), 0, rows - 1).astype(np.int64)
    return row, column


def assign(boxes: Any, grids: Sequence[Grid]) -> Assignment:
    """The place of each box (normalised xyxy): the cell of its centre, and of all anchors that of the largest IoU.

    IoU as of boxes laid on one corner. Where two objects want one place it goes to the one that fits better; the other
    takes the next best anchor that is free in its cell, of any grid.
    """
    centred = _centred("assign", boxes, grids)
    anchors = np.concatenate([grid.relative_anchors() for grid in grids])
    of_grid = np.repeat(np.arange(len(grids)), [len(grid.anchors) for grid in grids])
    own = np.concatenate([np.arange(len(grid.anchors)) for grid in grids])
    cells = np.stack([cell_of(centred[:, :2], grid.rows, grid.columns) for grid in grids])  # (grid, 2, box)
    fits = shape_iou(centred[:, 2:], anchors)
    placed, left_out = _place(fits, cells, of_grid)
    objects = np.array([box for box, _ in placed], np.int64)
    chosen = np.array([anchor for _, anchor in placed], np.int64)
    where = cells[of_grid[chosen], :, objects]
    return Assignment(
        objects, of_grid[chosen], own[chosen], where[:, 0], where[:, 1], np.array(left_out, np.int64)
    )


def _place(
    fits: np.ndarray, cells: np.ndarray, of_grid: np.ndarray
) -> tuple[list[tuple[int, int]], list[int]]:
    """(box, anchor) for all that find a place, the best fits first; and the boxes that do not."""
    taken: set[tuple[int, int, int]] = set()
    placed, left_out = [], []
    for box in np.argsort(-fits.max(1, initial=0), kind="stable"):
        for anchor in np.argsort(-fits[box], kind="stable"):
            row, column = cells[of_grid[anchor], :, box]
            if (anchor, row, column) not in taken:
                taken.add((anchor, row, column))
                placed.append((int(box), int(anchor)))
                break
        else:
            left_out.append(int(box))
    return placed, left_out


def encode(boxes: Any, labels: Any, grids: Sequence[Grid], ignore_threshold: float = 1.0) -> list[np.ndarray]:
    """Targets (rows, columns, anchors (5 + classes)) float32, one a grid, for the objects of an image.

    boxes (n, 4) normalised xyxy; labels (n,) class numbers. ignore_threshold: an anchor whose IoU with an object is
    larger gets Pc = -1 in the cell of its centre where another anchor is responsible.
    """
    centred, labels = _centred("encode", boxes, grids), as_labels(labels)
    _check_labels(labels, len(centred), min(grid.classes for grid in grids))
    targets = [np.zeros(grid.shape, np.float32) for grid in grids]
    views = [grid.split(target) for grid, target in zip(grids, targets, strict=True)]
    if ignore_threshold < 1:
        for grid, view in zip(grids, views, strict=True):
            row, column = cell_of(centred[:, :2], grid.rows, grid.columns)
            box, anchor = np.nonzero(shape_iou(centred[:, 2:], grid.relative_anchors()) > ignore_threshold)
            view[row[box], column[box], anchor, 0] = -1
    found = assign(boxes, grids)
    for box, number, anchor, row, column in zip(*found[:5], strict=True):
        grid, slot = grids[number], views[number][row, column, anchor]
        x, y, w, h = centred[box]
        slot[:5] = 1, x * grid.columns - column, y * grid.rows - row, h * grid.rows, w * grid.columns
        slot[5 + labels[box]] = 1
    return targets


def _centred(what: str, boxes: Any, grids: Sequence[Grid]) -> np.ndarray:
    """Boxes (n, 4) as float64 cxcywh, checked."""
    if not grids:
        raise Error(f"{what}: there is no grid; give at least one")
    centred = convert_boxes(as_boxes(boxes).astype(np.float64).reshape(-1, 4), "xyxy", "cxcywh")
    if not np.isfinite(centred).all() or (centred[:, 2:] <= 0).any():
        raise Error(f"{what}: boxes must be finite and have width and height; remove those without area")
    outside = np.flatnonzero((np.abs(centred[:, :2] - 0.5) > 0.5 + ROUNDING).any(1))
    if len(outside):
        raise Error(
            f"{what}: the centre of box {outside[0]}, {centred[outside[0], :2].tolist()}, lies outside of the image, "
            "from 0 to 1; divide pixels by its size with normalize_boxes"
        )
    return centred


def _check_labels(labels: np.ndarray, boxes: int, classes: int) -> None:
    if len(labels) != boxes:
        raise Error(f"encode: {boxes} boxes and {len(labels)} labels; give a label a box")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise Error(f"encode: labels must lie in 0..{classes - 1}, got {labels.min()}..{labels.max()}")


def decode(values: Any, grid: Grid) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes (n, 4) normalised xyxy, Pc (n,) and class numbers' shares (n, classes) of a target or of predictions.

    n = rows columns anchors, row by row: every place, with or without an object.
    """
    values = float_array("decode: values", values)
    if values.shape != grid.shape:
        raise Error(
            f"decode: values of this grid have the shape {grid.shape}, got {values.shape}; give one image's"
        )
    values = grid.split(values)
    pc, x, y, h, w = (values[..., i] for i in range(5))
    columns = (x + np.arange(grid.columns)[:, np.newaxis]) / grid.columns
    rows = (y + np.arange(grid.rows)[:, np.newaxis, np.newaxis]) / grid.rows
    centred = np.stack([columns, rows, w / grid.columns, h / grid.rows], -1).reshape(-1, 4)
    boxes = convert_boxes(as_boxes(centred.astype(values.dtype)), "cxcywh", "xyxy")
    return boxes, pc.reshape(-1), values[..., 5:].reshape(-1, grid.classes)
