"""Kernels of suppression on classes and threads; what they compute is tested with the functions that use them."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fastcnn_kernels import nms as kernels

OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]
STARTS = np.array([0, 700, 700, 701, 2500])  # one class without boxes, one with a single box


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
        kernel(corners, starts, np.full((5, corners.shape[1]), np.nan, dtype), keep, np.array([0.4], dtype))
        return [keep]

    keep = on_threads(run)[0]
    assert set(keep) == {0, 1} and keep[0] == keep[700] == keep[701] == 1
    alone = run(np.ascontiguousarray(corners[:, 701:]), np.array([0, 1799]))[0]
    np.testing.assert_array_equal(keep[701:], alone)


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
