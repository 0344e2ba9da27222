"""Segmentation of an image of 256 x 256 pixels."""

import numpy as np
from fastcnn_kernels.segment import segment_graph

from bench.measure import Meter

SIDE = 256


def bench_segment(measure: Meter) -> None:
    number = np.arange(SIDE * SIDE, dtype=np.int32).reshape(SIDE, SIDE)
    first = np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()])
    second = np.concatenate([number[:, 1:].ravel(), number[1:].ravel()])
    order = np.random.default_rng(0).permutation(first.size)
    weights = np.sort(measure.uniform(0, 50, first.size))
    parent, size = np.empty(SIDE * SIDE, np.int32), np.empty(SIDE * SIDE, np.int32)
    limit = np.empty(SIDE * SIDE, np.float32)
    arguments = first[order], second[order], weights, parent, size, limit, 100.0, 20
    measure.kernels(segment_graph.bind(*arguments))
