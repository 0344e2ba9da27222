"""What tests of kernels share: every result is compared on 1, 2 and 3 threads."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fastcnn_kernels import team

Compute = Callable[[], Sequence[np.ndarray]]


@pytest.fixture
def on_threads() -> Callable[[Compute], Sequence[np.ndarray]]:
    """Runs `compute` on 1, 2 and 3 threads, demands the same bits, returns its arrays."""

    def run(compute: Compute) -> Sequence[np.ndarray]:
        before, results = team.num_threads(), []
        try:
            for threads in (1, 2, 3):
                team.set_num_threads(threads)
                results.append(compute())
        finally:
            team.set_num_threads(before)
        for other in results[1:]:
            assert all(x.tobytes() == y.tobytes() for x, y in zip(results[0], other, strict=True))
        return results[0]

    return run


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """Both number formats of the kernels."""
    return request.param
