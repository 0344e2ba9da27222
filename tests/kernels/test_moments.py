"""Moments of parts as one. What convolutions keep of them is tested with these."""

from collections.abc import Callable

import numpy as np
import pytest
from fastcnn_kernels.moments import combine_moments


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("c", [1, 5, 16, 256, 700])
def test_combine_moments(c: int, rows: int, on_threads: Callable) -> None:
    """Of parts of very different sizes and means, one of them empty."""
    rng = np.random.default_rng(c)
    parts = [rng.normal(10.0 * size, 1.0, (size, c)) for size in (7, 1, 120, 2)]
    moments = np.zeros((5, 3, c))
    for k, x in zip((0, 1, 3, 4), parts, strict=True):
        moments[k] = np.full(c, len(x)), x.mean(0), ((x - x.mean(0)) ** 2).sum(0)

    def compute() -> list[np.ndarray]:
        partial = np.full((rows, 2, c), np.nan)
        combine_moments(moments, partial)
        return [partial]

    (partial,) = on_threads(compute)
    whole = np.concatenate(parts)
    np.testing.assert_allclose(partial[:, 0], np.tile(whole.mean(0), (rows, 1)), rtol=1e-14)
    expected = ((whole - whole.mean(0)) ** 2).sum(0) / rows
    np.testing.assert_allclose(partial[:, 1], np.tile(expected, (rows, 1)), rtol=1e-13)
