"""Suppression on CUDA against its definitions, across several rows of bits and classes; segments of an image."""

import numpy as np
import pytest
from reference import detection as reference

from fastcnn import backend, ops

Set = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_set(n: int, seed: int = 0) -> Set:
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 40, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 30, (n, 2))], 1).astype(np.float32)
    return boxes, rng.uniform(size=n).astype(np.float32), rng.integers(0, 3, n)


def whole_numbers() -> Set:
    """IoUs that hit thresholds exactly, scores that are equal."""
    boxes, scores, labels = random_set(50, 3)
    boxes = np.round(boxes / 10)
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    return boxes, np.round(scores, 1), labels


def copies() -> Set:
    boxes, scores, labels = random_set(9)
    return np.tile(boxes, (4, 1)), np.tile(scores, 4), np.tile(labels, 4)


SETS = {
    "random": lambda: random_set(61),
    "one": lambda: random_set(1),
    "whole numbers": whole_numbers,
    "copies": copies,
}
each_set = pytest.mark.parametrize("name", SETS)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the simulator: boxes without an area
@each_set
@pytest.mark.parametrize("criterion", ["iou", "diou"])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_nms(name: str, criterion: str, threshold: float, on_cuda: None) -> None:
    boxes, scores, labels = SETS[name]()
    for own in (None, labels):
        expected = reference.nms(boxes, scores, own, threshold, criterion)
        assert ops.nms(boxes, scores, own, threshold, criterion=criterion).tolist() == expected


@each_set
@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_soft_nms(name: str, method: str, on_cuda: None) -> None:
    boxes, scores, labels = SETS[name]()
    boxes, scores = boxes.astype(np.float64), scores.astype(np.float64)
    found, faded = ops.soft_nms(boxes, scores, labels, method, 0.5, 0.3, 0.05)
    expected, values = reference.soft_nms(
        boxes, scores, labels, method, 0.3 if method == "linear" else 0.5, 0.05
    )
    assert sorted(found) == sorted(expected)
    np.testing.assert_allclose(faded, values, rtol=1e-9)


@each_set
def test_weighted_box_fusion(name: str, on_cuda: None) -> None:
    boxes, scores, labels = SETS[name]()
    boxes, scores = boxes.astype(np.float64), scores.astype(np.float64)
    found = ops.weighted_box_fusion(boxes, scores, labels, 0.41, 2)
    expected = reference.weighted_box_fusion(boxes, scores, labels, 0.41, 2)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9)
    key = [np.lexsort((*np.round(boxes, 6).T, labels)) for boxes, _, labels in (found, expected)]
    np.testing.assert_allclose(found[0][key[0]], expected[0][key[1]], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("scale", [0.0, 0.5, 1e9])
def test_segment_graph(scale: float, device: None) -> None:
    rng = np.random.default_rng(0)
    number = np.arange(20, dtype=np.int32).reshape(4, 5)
    first = np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()])
    second = np.concatenate([number[:, 1:].ravel(), number[1:].ravel()])
    weights = np.sort(np.round(rng.uniform(size=first.size), 1)).astype(np.float32)  # with ties
    parent, size, limit = (
        np.full(20, -1, np.int32),
        np.full(20, -1, np.int32),
        np.full(20, np.nan, np.float32),
    )
    backend.get("cuda").kernels.segment_graph(first, second, weights, parent, size, limit, scale, 3)
    found = {frozenset(np.flatnonzero(parent == root).tolist()) for root in np.unique(parent)}
    edges = list(zip(weights.tolist(), first.tolist(), second.tolist(), strict=True))
    assert found == {frozenset(tree) for tree in reference.segment_graph(20, edges, scale, 3)}
