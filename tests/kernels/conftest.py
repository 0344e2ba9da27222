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


@pytest.fixture
def assert_moments() -> Callable[[np.ndarray, np.ndarray], None]:
    """Compares moments (k, 3, c) of parts, put together, with those of all of y (..., c)."""

    def compare(moments: np.ndarray, y: np.ndarray) -> None:
        numbers = y.reshape(-1, y.shape[-1]).astype("longdouble")
        count, mean, squares = moments.transpose(1, 0, 2)
        assert np.all(count.sum(0) == len(numbers))
        whole = (count * mean).sum(0) / len(numbers)
        expected, spread = numbers.mean(0), ((numbers - numbers.mean(0)) ** 2).sum(0)
        eps, double, largest = np.finfo(y.dtype).eps, np.finfo("float64").eps, np.abs(numbers).max()
        np.testing.assert_allclose(whole, expected, rtol=0, atol=8 * eps * largest)
        together = (squares + count * (mean - whole) ** 2).sum(0)
        rounding = 64 * eps + 8 * double * len(numbers)  # of sums of a few numbers, then of these
        bound = rounding * (spread.max() + len(numbers) * eps * largest**2)
        np.testing.assert_allclose(together, spread, rtol=0, atol=bound)

    return compare


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    """Both number formats of the kernels."""
    return request.param
