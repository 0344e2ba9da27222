"""Suppression of 100 to 100,000 boxes: the kernels, and the function beside others.

python -m pytest bench/bench_nms.py --benchmark-enable --benchmark-group-by=param:n
python -m bench.suppression  # the others in turns with it, and their ratios
"""

from typing import Any

import numpy as np
import pytest
from fastcnn_kernels import nms as kernels

from bench.measure import Meter
from bench.suppression import PEERS, THRESHOLD, crowded, missing, scores_of
from fastcnn import ops

each_size = pytest.mark.parametrize("n", [100, 1_000, 10_000, 100_000])
few = pytest.mark.benchmark(warmup=False, max_time=0.2, min_rounds=1)


def scene(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes crowded in an image, and scores."""
    return crowded(n), scores_of(n)


def ranked(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What kernels are given: (4, n) best first, the starts of one class, scores."""
    boxes, scores = scene(n)
    order = np.argsort(-scores, kind="stable")
    return np.ascontiguousarray(boxes[order].T), np.array([0, n]), scores[order]


@few
@each_size
@pytest.mark.parametrize("kernel", [kernels.nms_greedy, kernels.nms_distance], ids=lambda k: k.__name__)
def bench_nms(measure: Meter, kernel: Any, n: int) -> None:
    corners, starts, _ = ranked(n)
    work, keep = np.empty((kernels.block_count(n), 6, kernels.LANES), np.float32), np.empty(n, np.uint8)
    measure.kernels(kernel.bind(corners, starts, work, keep, np.array([THRESHOLD], np.float32)))


@few
@pytest.mark.parametrize("n", [10, 100, 500])
def bench_nms_few(measure: Meter, n: int) -> None:
    boxes, scores = scene(n)
    work = np.empty((kernels.block_count(n), 6, kernels.LANES), np.float32)
    values, order = (np.empty((2, n + kernels.LANES), dtype) for dtype in (np.float32, np.int64))
    limits = np.array([THRESHOLD, -np.inf], np.float32)
    arrays = boxes, scores, scores * 0, work, values, order, np.array([n, 0]), limits
    measure.kernels(kernels.nms_few.bind(*arrays))


@few
@pytest.mark.parametrize("n", [100, 1_000, 10_000])
@pytest.mark.parametrize(("name", "constant"), [("nms_linear", 0.3), ("nms_gaussian", 0.5)])
def bench_soft_nms(measure: Meter, name: str, constant: float, n: int) -> None:
    corners, starts, scores = ranked(n)
    measure.kernels(
        getattr(kernels, name).bind(corners, starts, scores, np.empty_like(scores), constant, 0.05)
    )


@few
@pytest.mark.parametrize("n", [100, 1_000, 10_000])
def bench_fuse_boxes(measure: Meter, n: int) -> None:
    corners, starts, scores = (x.astype(float) if x.dtype == np.float32 else x for x in ranked(n))
    fused, totals, counts = np.empty((4, n)), np.empty((2, n)), np.empty(1, np.int64)
    measure.kernels(kernels.fuse_boxes.bind(corners, starts, scores, fused, totals, counts, 0.55))


# --- the whole function beside others -----------------------------------------------------------------------


@few
@each_size
def bench_nms_function(benchmark: Any, n: int) -> None:
    benchmark(ops.nms, *scene(n), None, THRESHOLD)


@few
@each_size
@pytest.mark.parametrize("peer", ["C++", "torchvision", "PyTorch", "NumPy"])
def bench_nms_of_others(benchmark: Any, peer: str, n: int) -> None:
    if reason := missing(peer):
        pytest.skip(reason)
    boxes, scores = scene(n if benchmark.enabled else min(n, 1_000))
    kept = benchmark(PEERS[peer](boxes, scores))
    np.testing.assert_array_equal(kept, ops.nms(boxes, scores, None, THRESHOLD))
