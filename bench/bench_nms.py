"""Suppression of 100 to 100,000 boxes: the kernels, and the same greedy rule in NumPy and PyTorch to compare with.

python -m pytest bench/bench_nms.py --benchmark-enable --benchmark-group-by=param:n
"""

from typing import Any

import numpy as np
import pytest
from fastcnn_kernels import nms as kernels

from bench.measure import Meter
from fastcnn import ops

each_size = pytest.mark.parametrize("n", [100, 1_000, 10_000, 100_000])
few = pytest.mark.benchmark(warmup=False, max_time=0.2, min_rounds=1)
THRESHOLD = 0.5


def scene(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes crowded in an image of 300 x 300 pixels, and scores."""
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 300, (n, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 60, (n, 2))], 1).astype(np.float32)
    return boxes, rng.uniform(size=n).astype(np.float32)


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
    work, keep = np.empty((5, n), np.float32), np.empty(n, np.uint8)
    measure.kernels(kernel.bind(corners, starts, work, keep, np.array([THRESHOLD], np.float32)))


@few
@pytest.mark.parametrize("n", [10, 100, 500])
def bench_nms_few(measure: Meter, n: int) -> None:
    boxes, scores = scene(n)
    work, order = np.empty((6, n + kernels.LANES), np.float32), np.empty((2, n), np.int64)
    limits = np.array([THRESHOLD, -np.inf], np.float32)
    measure.kernels(kernels.nms_few.bind(boxes, scores, scores * 0, work, order, np.array([n, 0]), limits))


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


def in_numpy(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The best is compared with all that are left, again and again."""
    left, kept = np.argsort(-scores, kind="stable"), []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        first, last = (
            np.maximum(boxes[best, :2], boxes[left, :2]),
            np.minimum(boxes[best, 2:], boxes[left, 2:]),
        )
        inter = np.maximum(last - first, 0).prod(1)
        left = left[inter <= np.float32(THRESHOLD) * (area[best] + area[left] - inter)]
    return np.array(kept)


def in_torch(torch: Any, boxes: Any, scores: Any) -> Any:
    """As `in_numpy`, with PyTorch."""
    left, kept = scores.argsort(descending=True, stable=True), []
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        first = torch.maximum(boxes[best, :2], boxes[left, :2])
        last = torch.minimum(boxes[best, 2:], boxes[left, 2:])
        inter = (last - first).clamp(min=0).prod(1)
        left = left[inter <= THRESHOLD * (area[best] + area[left] - inter)]
    return torch.stack(kept)


@few
@each_size
def bench_nms_function(benchmark: Any, n: int) -> None:
    benchmark(ops.nms, *scene(n), None, THRESHOLD)


@few
@each_size
def bench_nms_in_numpy(benchmark: Any, n: int) -> None:
    boxes, scores = scene(min(n, 1_000) if not benchmark.enabled else n)
    kept = benchmark(in_numpy, boxes, scores)
    np.testing.assert_array_equal(kept, ops.nms(boxes, scores, None, THRESHOLD))


@few
@each_size
def bench_nms_in_torch(benchmark: Any, n: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    boxes, scores = scene(min(n, 1_000) if not benchmark.enabled else n)
    kept = benchmark(in_torch, torch, torch.from_numpy(boxes), torch.from_numpy(scores))
    np.testing.assert_array_equal(kept, ops.nms(boxes, scores, None, THRESHOLD))


@few
@each_size
def bench_nms_in_torchvision(benchmark: Any, n: int) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
    boxes, scores = scene(n)
    kept = benchmark(torchvision.ops.nms, torch.from_numpy(boxes), torch.from_numpy(scores), THRESHOLD)
    np.testing.assert_array_equal(kept, ops.nms(boxes, scores, None, THRESHOLD))
