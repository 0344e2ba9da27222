"""Segmentation against its definition with sets."""

import numpy as np
import pytest
from fastcnn_kernels import segment
from reference import detection as reference


@pytest.mark.parametrize("smallest", [1, 6])
@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0, 1e9])
def test_segment_graph(scale: float, smallest: int) -> None:
    rng = np.random.default_rng(0)
    number = np.arange(80, dtype=np.int32).reshape(8, 10)
    first = np.concatenate([number[:, :-1].ravel(), number[:-1].ravel()])
    second = np.concatenate([number[:, 1:].ravel(), number[1:].ravel()])
    weights = np.sort(np.round(rng.uniform(size=first.size), 2)).astype(np.float32)  # with ties
    order = rng.permutation(first.size)
    first, second = first[order], second[order]
    parent, size, limit = (
        np.full(80, -1, np.int32),
        np.full(80, -1, np.int32),
        np.full(80, np.nan, np.float32),
    )
    segment.segment_graph(first, second, weights, parent, size, limit, scale, smallest)
    found = {frozenset(np.flatnonzero(parent == root).tolist()) for root in np.unique(parent)}
    edges = list(zip(weights.tolist(), first.tolist(), second.tolist(), strict=True))
    assert found == {frozenset(tree) for tree in reference.segment_graph(80, edges, scale, smallest)}
    assert all(len(tree) >= smallest for tree in found)
    assert len(found) == 1 if scale == 1e9 else len(found) > 1
