"""Random numbers: the published answers of Philox, their distributions, and what they may depend on."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fastcnn_kernels import random
from fastcnn_kernels.jit import CHUNK
from scipy import stats

OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]
SIZE = 25 * CHUNK + 7  # about 100,000


def state(seed: int = 1, step: int = 0) -> np.ndarray:
    return np.array([seed, step], np.int64)


def uniform(at: np.ndarray, stream: int = 0, size: int = SIZE, dtype: str = "float32") -> np.ndarray:
    y = np.full(size, np.nan, dtype)
    random.random_uniform(y, at, stream, 0.0, 1.0)
    return y


@pytest.mark.parametrize(
    "counter_and_key, answer",
    [
        ([0] * 6, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 6, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
    ids=["zeros", "ones", "digits of pi"],
)
def test_philox_known_answers(counter_and_key: list[int], answer: list[int]) -> None:
    """The vectors that Random123, the library of the authors, is tested with."""
    assert list(random.philox(*np.array(counter_and_key, np.uint64))) == answer


def test_elements_are_the_words_of_the_counter() -> None:
    """Element i is word i % 4 of the counter (i // 4, stream, step) under the key seed."""
    seed, step, stream = 0x123456789ABCDEF, 0x500000007, 3
    halves = [step & 0xFFFFFFFF, step >> 32, seed & 0xFFFFFFFF, seed >> 32]
    y = uniform(state(seed, step), stream)
    for i in (0, 5, 257, CHUNK, SIZE - 1):
        word = random.philox(*np.array([i // 4, stream, *halves], np.uint64))[i % 4]
        assert y[i] == (int(word) >> 8) / 2**24


def test_both_formats_draw_the_same_numbers() -> None:
    np.testing.assert_array_equal(uniform(state()), uniform(state(), dtype="float64"))


def test_a_negative_seed_is_a_seed() -> None:
    assert not np.array_equal(uniform(state(-1), size=64), uniform(state(1), size=64))


# --- distributions -------------------------------------------------------------------------------------------


def test_random_uniform(dtype: str, on_threads: OnThreads) -> None:
    def draw() -> list[np.ndarray]:
        y = np.full(SIZE, np.nan, dtype)
        random.random_uniform(y, state(), 0, -2.0, 3.0)
        return [y]

    (y,) = on_threads(draw)
    assert y.min() >= -2 and y.max() < 3
    counts, _ = np.histogram(y, bins=50, range=(-2, 3))
    expected = SIZE / 50
    # Chi-square with 49 degrees of freedom: above 100 once in 20,000 generators.
    assert ((counts - expected) ** 2 / expected).sum() < 100


def test_random_normal(dtype: str, on_threads: OnThreads) -> None:
    def draw() -> list[np.ndarray]:
        y = np.full(SIZE, np.nan, dtype)
        random.random_normal(y, state(), 0, 0.0, 1.0)
        return [y]

    (y,) = on_threads(draw)
    y = y.astype(np.float64)
    error = 1 / np.sqrt(SIZE)  # standard error of the mean; four of them are rare
    assert abs(y.mean()) < 4 * error
    assert abs((y**2).mean() - 1) < 4 * np.sqrt(2) * error
    assert abs((y**3).mean()) < 4 * np.sqrt(15) * error
    assert abs((y**4).mean() - 3) < 4 * np.sqrt(96) * error
    assert abs((y[::2][: SIZE // 2] * y[1::2]).mean()) < 4 * np.sqrt(2) * error  # the two of a pair


def test_random_normal_mean_and_deviation() -> None:
    plain, scaled = np.empty(100, np.float64), np.empty(100, np.float64)
    random.random_normal(plain, state(), 0, 0.0, 1.0)
    random.random_normal(scaled, state(), 0, 5.0, 0.1)
    np.testing.assert_allclose(scaled, 5 + 0.1 * plain, rtol=1e-15)


# --- dropout -------------------------------------------------------------------------------------------------


def dropout(x: np.ndarray, at: np.ndarray, stream: int = 0, rate: float = 0.3) -> np.ndarray:
    y = np.full_like(x, np.nan)
    random.dropout(x, y, at, stream, rate, 1 / (1 - rate))
    return y


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_rate(rate: float, dtype: str, on_threads: OnThreads) -> None:
    x = np.ones(SIZE, dtype)
    (y,) = on_threads(lambda: [dropout(x, state(), rate=rate)])
    assert set(np.unique(y)) == {0, np.dtype(dtype).type(1 / (1 - rate))}
    deviation = np.sqrt(rate * (1 - rate) / SIZE)
    assert abs((y == 0).mean() - rate) < 4 * deviation


def test_dropout_gradient_has_the_mask_of_the_forward() -> None:
    x, dy = np.random.default_rng(0).normal(size=(2, SIZE)).astype(np.float32)
    y, dx = dropout(x, state()), dropout(dy, state())
    np.testing.assert_array_equal(y == 0, dx == 0)


def test_dropout_of_rate_zero_keeps_everything() -> None:
    x = np.random.default_rng(0).normal(size=999).astype(np.float32)
    np.testing.assert_array_equal(dropout(x, state(), rate=0.0), x)


def test_dropout_does_not_hide_nan() -> None:
    assert np.all(np.isnan(dropout(np.full(64, np.nan, np.float32), state())))


def test_random_mask_is_the_mask_of_dropout(on_threads: OnThreads) -> None:
    def draw() -> list[np.ndarray]:
        y = np.full(SIZE, np.nan, np.float32)
        random.random_mask(y, state(), 4, 0.3, 1 / 0.7)
        return [y]

    np.testing.assert_array_equal(on_threads(draw)[0], dropout(np.ones(SIZE, np.float32), state(), stream=4))


# --- independence --------------------------------------------------------------------------------------------

OTHERS = [
    pytest.param(lambda: uniform(state(2)), id="seed"),
    pytest.param(lambda: uniform(state(1, 1)), id="step"),
    pytest.param(lambda: uniform(state(), stream=1), id="stream"),
    pytest.param(lambda: np.roll(uniform(state()), 1), id="next element"),
    pytest.param(lambda: np.roll(uniform(state()), 4), id="next counter"),
]


@pytest.mark.parametrize("other", OTHERS)
def test_independence(other: Callable[[], np.ndarray]) -> None:
    correlation = np.corrcoef(uniform(state()), other())[0, 1]
    assert abs(correlation) < 4 / np.sqrt(SIZE)


def test_advance() -> None:
    """The step is read when a kernel runs: the same launch draws other numbers after an advance."""
    at = state(9, 41)
    before = uniform(at, size=100)
    random.advance(at)
    np.testing.assert_array_equal(at, [9, 42])
    assert not np.array_equal(before, uniform(at, size=100))
    np.testing.assert_array_equal(uniform(at, size=100), uniform(state(9, 42), size=100))


def test_random_log_gamma_is_the_same_on_any_threads(on_threads: OnThreads) -> None:
    alpha = np.linspace(0.05, 9.0, 5000)

    def run() -> list[np.ndarray]:
        y = np.full(alpha.shape, np.nan)
        random.random_log_gamma(alpha, y, state(), 3)
        return [y]

    (y,) = on_threads(run)
    assert np.isfinite(y).all()


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.7, 1.0, 3.5, 40.0])
def test_random_log_gamma_has_the_distribution(alpha: float) -> None:
    y = np.full(20000, np.nan)
    random.random_log_gamma(np.full(y.size, alpha), y, state(7), 0)
    assert stats.kstest(y, stats.loggamma(alpha).cdf).pvalue > 1e-3
    other = np.full(y.size, np.nan)
    random.random_log_gamma(np.full(y.size, alpha), other, state(7), 1)
    assert abs(np.corrcoef(y, other)[0, 1]) < 0.05
