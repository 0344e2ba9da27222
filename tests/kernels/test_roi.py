"""Regions of feature maps against their definitions: wide maps, many channels, and regions that make no sense."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fastcnn_kernels import roi as kernels
from reference import detection as reference

OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]
G = kernels.RegionGeometry(3, 2, 2)
ALIGNED = (0.25, 0.5, 0.0)  # scale, shift, least length


def inputs(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 9, 7, 37)).astype(dtype)
    corner = rng.uniform(-10, 30, (12, 2))
    odd = [
        [0, 5, 5, 5, 5], [1, 9, 9, 2, 2], [2, -500, -500, -400, -400], [0, -1e30, -1e30, 1e30, 1e30],
        [-1, 0, 0, 9, 9], [3, 0, 0, 9, 9], [0, np.nan, 0, 9, 9], [np.nan, 0, 0, 9, 9],
    ]  # fmt: skip
    some = np.concatenate([rng.integers(0, 3, (12, 1)), corner, corner + rng.uniform(1, 25, (12, 2))], 1)
    return x, np.concatenate([some, odd]).astype(dtype)


def test_roi_align_forward(dtype: str, on_threads: OnThreads) -> None:
    x, regions = inputs(dtype)

    def run() -> list[np.ndarray]:
        y = np.full((len(regions), 3, 2, 37), np.nan, dtype)
        kernels.roi_align_forward(x, regions, y, *ALIGNED, G)
        return [y]

    y = on_threads(run)[0]
    expected = reference.roi_align(x.astype(float), regions.astype(float), (3, 2), 0.25, 2, True)
    sane = np.arange(len(regions)) != 15  # of which rounding decides where samples lie
    np.testing.assert_allclose(y[sane], expected[sane], rtol=0, atol=2e3 * np.finfo(dtype).eps)
    assert np.isfinite(y).all() and (y[16:] == 0).all()


def test_roi_pool_forward(dtype: str, on_threads: OnThreads) -> None:
    x, regions = inputs(dtype)
    regions = regions[np.arange(len(regions)) != 15]

    def run() -> list[np.ndarray]:
        y = np.full((len(regions), 3, 2, 37), np.nan, dtype)
        kernels.roi_pool_forward(x, regions, y, 0.25, G)
        return [y]

    expected = reference.roi_pool(x.astype(float), regions.astype(float), (3, 2), 0.25)
    np.testing.assert_array_equal(on_threads(run)[0], expected.astype(dtype))


@pytest.mark.parametrize("name", ["roi_align_backward", "roi_pool_backward"])
def test_backward(name: str, dtype: str, on_threads: OnThreads) -> None:
    """It is the transpose of the forward: <dy, f(x)> = <dx, x>, since both are linear where maxima stay."""
    x, regions = inputs(dtype)
    dy = np.random.default_rng(1).normal(size=(len(regions), 3, 2, 37)).astype(dtype)
    align = name.startswith("roi_align")

    def run() -> list[np.ndarray]:
        dx, y = np.full_like(x, np.nan), np.empty_like(dy)
        if align:
            kernels.roi_align_forward(x, regions, y, *ALIGNED, G)
            kernels.roi_align_backward(dy, dx, regions, *ALIGNED, G)
        else:
            kernels.roi_pool_forward(x, regions, y, 0.25, G)
            kernels.roi_pool_backward(dy, x, dx, regions, 0.25, G)
        return [dx, y]

    dx, y = (z.astype(float) for z in on_threads(run))
    scale = np.sqrt((dy.astype(float) ** 2).sum() * (y**2).sum())
    assert abs((dy * y).sum() - (dx * x).sum()) < 64 * np.finfo(dtype).eps * scale
    assert np.isfinite(dx).all()


def test_nan_in_features_stays(dtype: str) -> None:
    x, y = np.zeros((1, 4, 4, 1), dtype), np.zeros((1, 1, 1, 1), dtype)
    x[0, 1, 1] = np.nan
    kernels.roi_pool_forward(x, np.array([[0, 0, 0, 3, 3]], dtype), y, 1.0, kernels.RegionGeometry(1, 1, 1))
    assert np.isnan(y[0, 0, 0, 0])
