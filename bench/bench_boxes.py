"""Overlaps of a million pairs of boxes, forward and backward."""

import numpy as np
import pytest
from fastcnn_kernels import boxes as kernels

from bench.measure import Meter

each_kind = pytest.mark.parametrize("kind", ["iou", "giou", "diou", "ciou"])
PAIRS = 1 << 20


def pairs(measure: Meter) -> tuple[np.ndarray, np.ndarray]:
    corners, sizes = measure.uniform(0, 100, 2, PAIRS, 2), measure.uniform(1, 50, 2, PAIRS, 2)
    a, b = np.concatenate([corners, corners + sizes], -1)
    return np.ascontiguousarray(a), np.ascontiguousarray(b)


@each_kind
def bench_boxes_forward(measure: Meter, kind: str) -> None:
    a, b = pairs(measure)
    kernel = getattr(kernels, f"{kind}_forward")
    measure.kernels(kernel.bind(a, b, np.empty(PAIRS, np.float32)), flops=16 * PAIRS)


@each_kind
def bench_boxes_backward(measure: Meter, kind: str) -> None:
    a, b = pairs(measure)
    kernel = getattr(kernels, f"{kind}_backward")
    measure.kernels(kernel.bind(np.ones(PAIRS, np.float32), a, b, np.empty_like(a)), flops=40 * PAIRS)
