"""Boxes in their forms, anchors, and grids that say what they were told."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcnn import detection
from fastcnn.detection.grids import cell_of
from fastcnn.errors import Error

FORMS = ("xyxy", "xywh", "cxcywh")


def boxes_of(n: int, seed: int = 0) -> np.ndarray:
    """Normalised xyxy."""
    rng = np.random.default_rng(seed)
    centre, size = rng.uniform(0, 1, (n, 2)), rng.uniform(0.01, 0.9, (n, 2))
    return np.concatenate([centre - size / 2, centre + size / 2], 1)


# --- forms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", FORMS)
@pytest.mark.parametrize("target", FORMS)
def test_conversions(source: str, target: str) -> None:
    same = {"xyxy": [1, 2, 4, 8], "xywh": [1, 2, 3, 6], "cxcywh": [2.5, 5, 3, 6]}
    assert detection.convert_boxes([same[source]], source, target).tolist() == [same[target]]


def test_every_conversion_has_a_way_back() -> None:
    boxes = np.random.default_rng(0).integers(-64, 64, (50, 4)).astype(np.float32)  # halves are exact
    for source in FORMS:
        for target in FORMS:
            there = detection.convert_boxes(boxes, source, target)
            np.testing.assert_array_equal(detection.convert_boxes(there, target, source), boxes)


def test_shapes_and_dtypes() -> None:
    assert detection.convert_boxes([], "xyxy", "xywh").shape == (0, 4)
    assert detection.convert_boxes(np.zeros((2, 3, 4), int), "xywh", "xyxy").dtype == np.float32
    assert detection.scale_boxes(np.ones((1, 4)), 3, 2).tolist() == [[3, 2, 3, 2]]
    assert detection.normalize_boxes([[3, 2, 6, 4]], 3, 2).tolist() == [[1, 1, 2, 2]]
    assert detection.clip_boxes([[-1, 2, 9, 9]], 5, 4).tolist() == [[0, 2, 5, 4]]
    assert detection.areas([[0, 0, 2, 3], [2, 2, 1, 1]]).tolist() == [6, 0]
    assert detection.iou([], [[0, 0, 1, 1]]).shape == (0, 1)
    for overlap in (detection.iou, detection.giou, detection.diou, detection.ciou):
        np.testing.assert_allclose(overlap([[0, 0, 2, 3]], [[0, 0, 2, 3]]), [[1]])
    assert detection.giou([[0, 0, 1, 1]], [[3, 0, 4, 1]])[0, 0] == -0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detection.convert_boxes([[1, 2, 3]], "xyxy", "xywh"), r"boxes are \(..., 4\)"),
        (lambda: detection.convert_boxes([[1, 2, 3, 4]], "xyxy", "xywy"), "did you mean"),
        (lambda: detection.normalize_boxes([[1, 2, 3, 4]], 0, 5), "must be positive"),
        (lambda: detection.normalize_boxes([[1, 2, 3, 4]], "wide", 5), "got 'wide' and 5"),
        (lambda: detection.normalize_boxes([[1, 2, 3, 4]], np.inf, 5), "positive and finite"),
        (lambda: detection.scale_boxes([[1, 2, 3, 4]], np.nan, 5), "scale_boxes: width and height must be"),
        (lambda: detection.clip_boxes([[1, 2, 3, 4]], 5, -5), "clip_boxes: width and height must be"),
        (lambda: detection.anchor_kmeans([[1, 2]], 3, seed=-1), "seed must be at least 0"),
        (lambda: detection.anchor_kmeans([[1, 2]], 3, seed="a"), "seed must be an integer"),
        (lambda: detection.anchor_kmeans([], 3), "no boxes"),
        (lambda: detection.anchor_kmeans([[1, 0]], 3), "positive"),
        (lambda: detection.anchor_kmeans([[1, 2]], 0), "at least 1"),
        (lambda: detection.encode([[0, 0, 0, 1]], [0], [GRID]), "without area"),
        (lambda: detection.encode([[0, 0, 1, 1]], [3], [GRID]), r"0\.\.2"),
        (lambda: detection.encode([[0, 0, 1, 1]], [], [GRID]), "a label a box"),
        (lambda: detection.encode([[0, 0, np.nan, 1]], [0], [GRID]), "finite"),
        (lambda: detection.encode([[0, 0, 1, 1]], [0.5], [GRID]), "whole numbers, got 0.5"),
        (lambda: detection.encode([[8, 8, 9, 9]], [0], [GRID]), r"box 0, \[8.5, 8.5\], .* normalize_boxes"),
        (lambda: detection.encode([[0, 0, 1, 1]], [0], []), "no grid"),
        (lambda: detection.assign([[0, 0, np.inf, 1]], [GRID]), "assign: boxes must be finite"),
        (lambda: detection.decode(np.zeros((3, 4, 9)), GRID), r"the shape \(3, 4, 16\)"),
        (lambda: detection.iou([1, 2, 3, 4], [[1, 2, 3, 4]]), r"iou: boxes are \(n, 4\)"),
        (lambda: detection.areas([[1, 2, 3, 4], [1, 2]]), "boxes must be an array of numbers"),
        (lambda: detection.areas(["left"]), "boxes must be an array of numbers"),
        (lambda: detection.anchor_kmeans([[1, 2, 3]], 1), r"sizes are \(n, 2\)"),
        (lambda: detection.anchor_kmeans([[1, 2]], 1.5), "k must be an integer"),
        (lambda: detection.mean_best_iou([[1, 2]], []), "1 boxes and 0 anchors"),
    ],
)
def test_wrong_arguments(call, message: str) -> None:
    with pytest.raises(Error, match=message):
        call()


# --- anchors ---------------------------------------------------------------------------------------------------


def test_kmeans_finds_groups() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[10, 20], [50, 30], [100, 200]])
    sizes = np.concatenate([c * rng.uniform(0.9, 1.1, (40, 2)) for c in centres])
    for seed in range(5):
        anchors = detection.anchor_kmeans(sizes, 3, seed)
        np.testing.assert_allclose(anchors, centres, rtol=0.1)
    assert detection.mean_best_iou(sizes, anchors) > 0.88
    assert detection.mean_best_iou(sizes, anchors[:1]) < detection.mean_best_iou(sizes, anchors[:2])


@pytest.mark.parametrize("k", [1, 2, 3, 5, 9])
def test_fewer_boxes_than_anchors(k: int) -> None:
    sizes = np.array([[10, 20], [30, 30]] * 4)
    anchors = detection.anchor_kmeans(sizes, k, 0)
    assert len(anchors) == min(k, 2) and len(np.unique(anchors, axis=0)) == len(anchors)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=30), st.integers(1, 9))
def test_anchors_differ_and_are_positive(sizes: list[tuple[int, int]], k: int) -> None:
    anchors = detection.anchor_kmeans(sizes, k, 1)
    assert 1 <= len(anchors) <= k and (anchors > 0).all()
    assert len(np.unique(anchors, axis=0)) == len(anchors)
    assert (np.diff(anchors.prod(1)) >= 0).all()
    np.testing.assert_array_equal(anchors, detection.anchor_kmeans(sizes, k, 1))


# --- grids -----------------------------------------------------------------------------------------------------

GRID = detection.Grid(3, 4, ((1.0, 1.0), (2.5, 0.5)), 3)
FINE = detection.Grid(6, 8, ((0.5, 0.5),), 3)


def test_shapes_of_the_lectures() -> None:
    assert detection.Grid(3, 3, ((1, 1),), 3).shape == (3, 3, 8)
    assert detection.Grid(3, 3, ((1, 1), (2, 1)), 3).shape == (3, 3, 16)


def test_an_object_in_its_cell() -> None:
    boxes = [[0.5, 0.4, 0.75, 0.8]]  # centre in column 2.5, row 1.8; 1 cell wide, 1.2 high
    (target,) = detection.encode(boxes, [2], [GRID])
    slot = GRID.split(target)[1, 2, 0]
    np.testing.assert_allclose(slot, [1, 0.5, 0.8, 1.2, 1, 0, 0, 1], rtol=1e-6)
    assert target.sum() == pytest.approx(slot.sum()) and target.dtype == np.float32


def test_background_and_no_label() -> None:
    targets = detection.encode(np.zeros((0, 4)), [], [GRID, FINE])
    assert [t.shape for t in targets] == [GRID.shape, FINE.shape] and not any(t.any() for t in targets)


def test_centres_on_borders() -> None:
    centres = np.array([[0, 0], [0.25, 1 / 3], [1, 1], [-0.1, 1.2]])
    rows, columns = cell_of(centres, 3, 4)
    assert rows.tolist() == [0, 1, 2, 2] and columns.tolist() == [0, 1, 3, 0]
    (target,) = detection.encode([[0.75, 0.75, 1.25, 1.25]], [0], [GRID])
    assert GRID.split(target)[2, 3, 0, :3].tolist() == [1, 1, 1]


def test_two_objects_in_a_cell() -> None:
    same = [[0.1, 0.1, 0.2, 0.4], [0.1, 0.12, 0.2, 0.38], [0.1, 0.14, 0.2, 0.36]]
    found = detection.assign(same, [GRID])
    assert sorted(found.objects) == [0, 1] and found.left_out.tolist() == [2]
    assert sorted(found.anchors) == [0, 1]
    found = detection.assign(same, [GRID, FINE])
    assert sorted(found.objects) == [0, 1, 2] and set(found.grids) == {0, 1}


def test_best_anchor_of_all_grids() -> None:
    sizes = {(0.25, 1 / 3): (0, 0), (0.6, 0.16): (0, 1), (0.06, 0.08): (1, 0)}
    for (w, h), place in sizes.items():
        found = detection.assign([[0.5 - w / 2, 0.5 - h / 2, 0.5 + w / 2, 0.5 + h / 2]], [GRID, FINE])
        assert (found.grids[0], found.anchors[0]) == place


def test_anchors_that_fit_too_are_left_alone() -> None:
    (target,) = detection.encode([[0.3, 0.3, 0.55, 0.6]], [0], [GRID], ignore_threshold=0.2)
    assert GRID.split(target)[1, 1, :, 0].tolist() == [1, -1]
    (target,) = detection.encode([[0.3, 0.3, 0.55, 0.6]], [0], [GRID])
    assert GRID.split(target)[1, 1, :, 0].tolist() == [1, 0]


@pytest.mark.parametrize("grids", [[GRID], [FINE, GRID], [detection.Grid(1, 1, ((0.3, 0.3),) * 9, 3)]])
def test_decode_inverts_encode(grids: list[detection.Grid]) -> None:
    boxes, labels = boxes_of(9), np.arange(9) % 3
    targets = detection.encode(boxes, labels, grids)
    left_out = set(detection.assign(boxes, grids).left_out)
    found = []
    for target, grid in zip(targets, grids, strict=True):
        back, pc, shares = detection.decode(target, grid)
        found += [(*box, share.argmax()) for box, p, share in zip(back, pc, shares, strict=True) if p > 0]
    expected = [
        (*box, label) for i, (box, label) in enumerate(zip(boxes, labels, strict=True)) if i not in left_out
    ]
    np.testing.assert_allclose(sorted(found), sorted(expected), atol=2e-7)


def test_whole_numbers_come_back_exactly() -> None:
    grid = detection.Grid(8, 8, ((1, 1), (2, 2)), 1)
    boxes = np.array([[0, 8, 16, 32], [40, 3, 61, 60], [1, 1, 2, 2], [0, 0, 64, 64]]) / 64  # eighths of cells
    (target,) = detection.encode(boxes, [0] * 4, [grid])
    back, pc, _ = detection.decode(target, grid)
    assert sorted(back[pc > 0].tolist()) == sorted(boxes.tolist())
