"""Kernels of suppression on classes and threads; what they compute is tested with the functions that use them."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fastcnn_kernels import nms as kernels

OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]
STARTS = np.array([0, 700, 700, 701, 2500])  # one class without boxes, one with a single box


def blocks(n: int, classes: int, dtype: str) -> np.ndarray:
    """Working memory for n boxes; what it holds does not matter."""
    return np.full((kernels.block_count(n, classes), 6, kernels.LANES), np.nan, dtype)


def sorted_boxes(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 100, (2, 2500))
    corners = np.concatenate([corner, corner + rng.uniform(1, 30, corner.shape)]).astype(dtype)
    scores = rng.uniform(size=2500).astype(dtype)
    for lo, hi in zip(STARTS, STARTS[1:], strict=False):
        scores[lo:hi] = np.sort(scores[lo:hi])[::-1]
    return corners, scores


@pytest.mark.parametrize("name", ["nms_greedy", "nms_distance"])
def test_classes_are_independent(name: str, dtype: str, on_threads: OnThreads) -> None:
    corners, _ = sorted_boxes(dtype)
    kernel = getattr(kernels, name)

    def run(corners: np.ndarray = corners, starts: np.ndarray = STARTS) -> list[np.ndarray]:
        keep = np.full(corners.shape[1], 7, np.uint8)
        kernel(corners, starts, blocks(corners.shape[1], 4, dtype), keep, np.array([0.4], dtype))
        return [keep]

    keep = on_threads(run)[0]
    assert set(keep) == {0, 1} and keep[0] == keep[700] == keep[701] == 1
    alone = run(np.ascontiguousarray(corners[:, 701:]), np.array([0, 1799]))[0]
    np.testing.assert_array_equal(keep[701:], alone)


@pytest.mark.parametrize("n", [0, 1, 8, 9, 16, 17, 33, 250])
def test_nms_few(n: int, dtype: str, on_threads: OnThreads) -> None:
    """As the kernel for many boxes, class by class; what working memory held does not matter."""
    rng = np.random.default_rng(n)
    corner = rng.uniform(-50, 50, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 30, (n, 2))], 1).astype(dtype)
    scores, labels = rng.integers(0, 20, n).astype(dtype), rng.integers(0, 3, n)
    size, limits = max(n, 1), np.array([0.3, 4], dtype)
    given = [np.resize(x, (size, *x.shape[1:])).astype(dtype) for x in (boxes, scores, labels)]

    def run() -> list[np.ndarray]:
        values = np.full((2, size + kernels.LANES), np.nan, dtype)
        order, counts = np.full(values.shape, -1), np.array([n, 0])
        kernels.nms_few(*given, blocks(size, 1, dtype), values, order, counts, limits)
        return [order[1, : counts[1]]]

    chosen = np.flatnonzero(scores >= 4)
    chosen = chosen[np.lexsort((-scores[chosen], labels[chosen]))]
    keep = np.zeros(len(chosen), np.uint8)
    starts = np.searchsorted(labels[chosen], [0, 1, 2, 3])
    work = blocks(len(chosen), 3, dtype)
    kernels.nms_greedy(np.ascontiguousarray(boxes[chosen].T), starts, work, keep, limits[:1])
    expected = np.sort(chosen[keep == 1])
    expected = expected[np.argsort(-scores[expected], kind="stable")]
    np.testing.assert_array_equal(on_threads(run)[0], expected)


def test_nms_few_refuses_what_is_not_finite() -> None:
    for where, value in ((0, np.nan), (1, np.inf)):
        given = [np.ones((3, 4)), np.ones(3), np.zeros(3)]
        given[where][1] = value
        counts = np.array([3, 0])
        values, order = np.empty((2, 3 + kernels.LANES)), np.empty((2, 3 + kernels.LANES), np.int64)
        kernels.nms_few(*given, blocks(3, 1, "float64"), values, order, counts, np.array([0.5, -np.inf]))
        assert counts[1] == -1


@pytest.mark.parametrize(("name", "constant"), [("nms_linear", 0.3), ("nms_gaussian", 0.5)])
def test_scores_fade(name: str, constant: float, dtype: str, on_threads: OnThreads) -> None:
    corners, scores = sorted_boxes(dtype)

    def run() -> list[np.ndarray]:
        faded = scores.copy()
        getattr(kernels, name)(corners, STARTS, faded, np.full_like(scores, np.nan), constant, 0.05)
        return [faded]

    faded = on_threads(run)[0]
    assert (faded <= scores).all() and faded[0] == scores[0] and faded[700] == scores[700]
    assert (faded < scores).sum() > 1000


def test_fuse_boxes(on_threads: OnThreads) -> None:
    corners, scores = sorted_boxes("float64")

    def run() -> list[np.ndarray]:
        fused, totals, counts = np.zeros((4, 2500)), np.zeros((2, 2500)), np.full(4, -1)
        kernels.fuse_boxes(corners, STARTS, scores, fused, totals, counts, 0.5)
        return [fused, totals, counts]

    fused, totals, counts = on_threads(run)
    assert counts[1] == 0 and counts[2] == 1 and 0 < counts[0] < 700
    assert totals[1, : counts[0]].sum() == 700  # every box is in one cluster
    np.testing.assert_array_equal(fused[:, 700], corners[:, 700])
