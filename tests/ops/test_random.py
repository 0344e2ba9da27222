"""Random ops: what they compute, that runs and draws differ, and that a backward sees its forward's numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastcnn_kernels import team

from fastcnn import config, ops
from fastcnn.errors import Error
from fastcnn.graph import gradients
from fastcnn.ops.random import RandomState
from fastcnn.plan import Function

SIZE = 40_000
ERROR = 1 / np.sqrt(SIZE)  # standard error of a mean of numbers with deviation 1


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def with_gradient(function: Callable[[Any], Any]) -> Function:
    """x, dy -> y, dx."""
    return Function(lambda x, dy: [y := function(x), *gradients(y, [x], [dy])], training=True)


# --- dropout -----------------------------------------------------------------------------------------------------


def test_dropout() -> None:
    state = RandomState(1)
    y, dx = with_gradient(lambda x: ops.dropout(x, 0.3, state))(np.ones(SIZE, np.float32), normal(SIZE))
    kept = y != 0
    np.testing.assert_array_equal(y[kept], np.float32(1 / 0.7))
    assert abs(kept.mean() - 0.7) < 4 * ERROR * np.sqrt(0.21)
    np.testing.assert_array_equal(dx != 0, kept)
    np.testing.assert_array_equal(dx[kept], normal(SIZE)[kept] * np.float32(1 / 0.7))


def test_dropout_gradient_check() -> None:
    """With the step held fixed, dropout is linear, so differences are exact."""
    x, dy, state = normal(3, 4).astype(np.float64), np.full((3, 4), 0.7), RandomState(1)
    both = with_gradient(lambda x: ops.dropout(x, 0.5, state))
    plus, dx = both(x + 0.5, dy)
    state.value[1] = 0
    minus, _ = both(x - 0.5, dy)
    np.testing.assert_allclose(dx, (plus - minus) * dy, atol=1e-14)


@pytest.mark.parametrize("noise_shape", [(None, 1, 1, None), (2, 1, 1, 3)])
def test_dropout_of_whole_channels(noise_shape: tuple) -> None:
    state = RandomState(3)
    y, dx = with_gradient(lambda x: ops.dropout(x, 0.5, state, noise_shape))(
        np.ones((2, 4, 5, 3), np.float32), normal(2, 4, 5, 3)
    )
    assert set(np.unique(y)) == {0, 2}
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    np.testing.assert_array_equal(dx, y * normal(2, 4, 5, 3))


@pytest.mark.parametrize("rate, expected", [(0, 1), (1, 0)])
def test_dropout_of_nothing_and_of_everything(rate: float, expected: float) -> None:
    state = RandomState(1)
    for noise_shape in (None, (5, 1)):
        y = Function(lambda x, shape=noise_shape: ops.dropout(x, rate, state, shape))(
            np.ones((5, 8), np.float32)
        )
        np.testing.assert_array_equal(y, np.full((5, 8), expected))


def test_runs_differ_and_repeat_from_the_same_state() -> None:
    x = np.ones(1000, np.float32)

    def runs() -> list[np.ndarray]:
        state = RandomState(7)
        step = Function(lambda x: ops.dropout(x, 0.5, state), training=True)
        found = [step(x) for _ in range(3)]
        np.testing.assert_array_equal(state.value, [7, 3])
        return found

    first, second = runs(), runs()
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1]) and not np.array_equal(first[1], first[2])


def test_two_draws_from_one_state_differ() -> None:
    """As when a layer is shared: its second call must not repeat its first, and each has its own gradient."""
    state, x = RandomState(7), np.ones(1000, np.float32)

    def body(x1: Any, x2: Any) -> Any:
        ys = [ops.dropout(x1, 0.5, state), ops.dropout(x2, 0.5, state)]
        return ys, gradients(ys, [x1, x2])

    (first, second), (dx1, dx2) = Function(body, training=True)(x, x)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(1000)
    np.testing.assert_array_equal(first, dx1)
    np.testing.assert_array_equal(second, dx2)
    np.testing.assert_array_equal(state.value, [7, 1])


def test_threads() -> None:
    before, found = team.num_threads(), []
    try:
        for threads in (1, 2, 3):
            team.set_num_threads(threads)
            state = RandomState(7)
            found.append(Function(lambda x, s=state: ops.dropout(x, 0.5, s))(normal(SIZE)))
    finally:
        team.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


# --- noise -------------------------------------------------------------------------------------------------------


def test_gaussian_noise() -> None:
    state = RandomState(1)
    y, dx = with_gradient(lambda x: ops.gaussian_noise(x, 0.5, state))(
        np.ones(SIZE, np.float32), normal(SIZE)
    )
    assert abs(y.mean() - 1) < 4 * 0.5 * ERROR
    assert abs(y.std() - 0.5) < 4 * 0.5 * ERROR
    np.testing.assert_array_equal(dx, normal(SIZE))


def test_gaussian_dropout() -> None:
    state = RandomState(1)
    y, dx = with_gradient(lambda x: ops.gaussian_dropout(x, 0.2, state))(
        np.ones(SIZE, np.float32), normal(SIZE)
    )
    assert abs(y.mean() - 1) < 4 * 0.5 * ERROR
    assert abs(y.std() - np.sqrt(0.2 / 0.8)) < 4 * 0.5 * ERROR
    np.testing.assert_array_equal(dx, normal(SIZE) * y)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5])
def test_alpha_dropout_keeps_mean_and_variance(rate: float) -> None:
    state = RandomState(1)
    y, dx = with_gradient(lambda x: ops.alpha_dropout(x, rate, state))(
        normal(SIZE), np.ones(SIZE, np.float32)
    )
    assert abs(y.mean()) < 5 * ERROR
    assert abs(y.var() - 1) < 10 * ERROR
    assert abs((dx == 0).mean() - rate) < 4 * ERROR


def test_alpha_dropout_of_everything() -> None:
    state = RandomState(1)
    np.testing.assert_array_equal(
        Function(lambda x: ops.alpha_dropout(x, 1.0, state))(normal(5)), np.zeros(5)
    )


def test_fills() -> None:
    state = RandomState(1)
    body = lambda: [  # noqa: E731
        ops.random_uniform((SIZE,), state, -1.0, 3.0),
        ops.random_normal((SIZE // 2, 2), state, 1.0, 2.0, "float64"),
        ops.random_bernoulli((SIZE,), state, 0.25, 5.0),
    ]
    uniform, gaussian, indicator = Function(body)()
    assert uniform.dtype == np.float32 and uniform.min() >= -1 and uniform.max() < 3
    assert abs(uniform.mean() - 1) < 4 * 4 / np.sqrt(12) * ERROR
    assert gaussian.dtype == np.float64 and gaussian.shape == (SIZE // 2, 2)
    assert abs(gaussian.mean() - 1) < 4 * 2 * ERROR
    assert set(np.unique(indicator)) == {0, 5}
    assert abs((indicator == 0).mean() - 0.25) < 4 * ERROR


# --- states and errors -------------------------------------------------------------------------------------------


def test_states_without_a_seed_draw_one_from_the_process() -> None:
    config.set_random_seed(4)
    first, second = RandomState(), RandomState()
    assert first.value[0] != second.value[0]
    config.set_random_seed(4)
    np.testing.assert_array_equal(RandomState().value, first.value)


@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan")])
def test_rate_out_of_range(rate: float) -> None:
    with pytest.raises(Error, match=r"dropout: rate.*must lie in \[0, 1\]"):
        Function(lambda x: ops.dropout(x, rate, RandomState(1)))(normal(3))


def test_gaussian_dropout_of_everything_is_refused() -> None:
    with pytest.raises(Error, match="below 1"):
        Function(lambda x: ops.gaussian_dropout(x, 1.0, RandomState(1)))(normal(3))


def test_noise_shape_of_another_rank() -> None:
    with pytest.raises(Error, match=r"noise_shape \(3,\) must have the 2 dimensions"):
        Function(lambda x: ops.dropout(x, 0.5, RandomState(1), (3,)))(normal(3, 4))


def test_unknown_shape() -> None:
    with pytest.raises(Error, match="must be known"):
        ops.random_normal((None, 3), RandomState(1))


def test_draw_outside_a_trace() -> None:
    with pytest.raises(Error, match="only inside a layer's call"):
        ops.random_normal((2, 3), RandomState(1))
