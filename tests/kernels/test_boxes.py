"""Overlaps of boxes against their definitions, at every border, and their gradients."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fastcnn_kernels import boxes as kernels
from reference import numeric_gradient, relative_error
from reference.detection import box_overlap

OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]
each_kind = pytest.mark.parametrize(
    "kind", ["iou", "giou", "diou", "ciou"]
)  # iou_forward, iou_backward and so on

BORDERS = np.array(
    [
        [[0, 0, 2, 2], [0, 0, 2, 2]],  # equal
        [[0, 0, 2, 2], [2, 0, 4, 2]],  # one edge in common
        [[0, 0, 2, 2], [2, 2, 4, 4]],  # one corner in common
        [[0, 0, 2, 2], [5, 6, 7, 9]],  # apart
        [[0, 0, 9, 9], [3, 4, 5, 5]],  # nested
        [[0, 0, 9, 1], [0, 0, 1, 9]],  # crossed
        [[1, 1, 1, 3], [1, 1, 1, 3]],  # a line
        [[1, 1, 1, 1], [1, 1, 1, 1]],  # a point
        [[1, 1, 1, 1], [0, 0, 3, 3]],  # a point in a box
        [[3, 3, 1, 1], [0, 0, 4, 4]],  # corners the wrong way round
        [[-3, -3, -1, -1], [-2, -2, 5, 5]],  # negative
    ]
)


@each_kind
def test_forward(kind: str, dtype: str, on_threads: OnThreads) -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 9, (2, 3000, 2))
    random = np.concatenate([corners, corners + rng.uniform(0, 6, corners.shape)], -1)
    a, b = (np.concatenate([random[i], BORDERS[:, i]]).astype(dtype) for i in range(2))

    def run() -> list[np.ndarray]:
        y = np.full(len(a), np.nan, dtype)
        getattr(kernels, f"{kind}_forward")(a, b, y)
        return [y]

    expected = box_overlap(a.astype(float), b.astype(float), kind)
    np.testing.assert_allclose(on_threads(run)[0], expected, rtol=0, atol=64 * np.finfo(dtype).eps)


@each_kind
def test_backward(kind: str, on_threads: OnThreads) -> None:
    rng = np.random.default_rng(1)
    corners = rng.uniform(0, 3, (2, 40, 2))
    a, b = np.concatenate([corners, corners + rng.uniform(1, 4, corners.shape)], -1)
    dy = rng.normal(size=len(a))

    def run() -> list[np.ndarray]:
        da = np.full(a.shape, np.nan)
        getattr(kernels, f"{kind}_backward")(dy, a, b, da)
        return [da]

    expected = numeric_gradient(lambda x: (dy * box_overlap(x, b, kind)).sum(), a)
    assert relative_error(on_threads(run)[0], expected) < 1e-6


@each_kind
def test_gradients_are_finite_at_borders(kind: str, dtype: str) -> None:
    a, b = (np.ascontiguousarray(BORDERS[:, i].astype(dtype)) for i in range(2))
    da = np.empty_like(a)
    getattr(kernels, f"{kind}_backward")(np.ones(len(a), dtype), a, b, da)
    assert np.isfinite(da).all()
    np.testing.assert_array_equal(da[0], 0)  # equal boxes: the best there is


@each_kind
def test_nan_stays(kind: str, dtype: str) -> None:
    a, b = np.full((1, 4), np.nan, dtype), np.ones((1, 4), dtype)
    y = np.zeros(1, dtype)
    getattr(kernels, f"{kind}_forward")(a, b, y)
    assert np.isnan(y[0])
