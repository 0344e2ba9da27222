"""Ten steps of every optimizer against the definition in float64."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest
import reference
from fastcnn_kernels import optimizer
from fastcnn_kernels.elementwise import flat
from fastcnn_kernels.jit import CHUNK

OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]
SIZE = 2 * CHUNK + 37
STEPS = 10
RATE, BETA_1, BETA_2, RHO, EPSILON, MOMENTUM = 0.01, 0.8, 0.95, 0.9, 1e-3, 0.7


class Optimizer(NamedTuple):
    """A kernel, its slots' first values, what `hyper` holds in step t, and the definition."""

    name: str
    slots: tuple[float, ...]
    hyper: Callable[[int], list[float]]
    rule: Callable[..., Any]
    options: dict[str, Any]


def adam_rate(t: int) -> float:
    return RATE * np.sqrt(1 - BETA_2**t) / (1 - BETA_1**t)


def nadam_hyper(t: int) -> list[float]:
    u = BETA_1 * (1 - 0.5 * 0.96 ** np.arange(1, t + 2))
    now, after = np.prod(u[:-1]), np.prod(u)
    shares = [u[-1] / (1 - after), (1 - u[-2]) / (1 - now), 1 / (1 - BETA_2**t)]
    return [RATE, BETA_1, BETA_2, EPSILON, *shares]


BETAS = {"beta_1": BETA_1, "beta_2": BETA_2}
ADAM = {**BETAS, "epsilon": EPSILON}
RMS = {"rho": RHO, "epsilon": EPSILON}

OPTIMIZERS = [
    Optimizer("sgd", (), lambda t: [RATE], reference.sgd, {}),
    Optimizer("sgd_momentum", (0,), lambda t: [RATE, MOMENTUM], reference.sgd, {"momentum": MOMENTUM}),
    Optimizer(
        "sgd_nesterov",
        (0,),
        lambda t: [RATE, MOMENTUM],
        reference.sgd,
        {"momentum": MOMENTUM, "nesterov": True},
    ),
    Optimizer("lion", (0,), lambda t: [RATE, BETA_1, BETA_2], reference.lion, BETAS),
    Optimizer("adagrad", (0.1,), lambda t: [RATE, EPSILON], reference.adagrad, {"epsilon": EPSILON}),
    Optimizer("adadelta", (0, 0), lambda t: [RATE, RHO, EPSILON], reference.adadelta, RMS),
    Optimizer("rmsprop", (0,), lambda t: [RATE, RHO, EPSILON], reference.rmsprop, RMS),
    Optimizer(
        "rmsprop_momentum",
        (0, 0),
        lambda t: [RATE, RHO, EPSILON, MOMENTUM],
        reference.rmsprop,
        {**RMS, "momentum": MOMENTUM},
    ),
    Optimizer(
        "rmsprop_centered",
        (0, 0, 0),
        lambda t: [RATE, RHO, EPSILON, MOMENTUM],
        reference.rmsprop,
        {**RMS, "momentum": MOMENTUM, "centered": True},
    ),
    Optimizer(
        "rmsprop_centered",
        (0, 0, 0),
        lambda t: [RATE, RHO, EPSILON, 0.0],
        reference.rmsprop,
        {**RMS, "centered": True},
    ),
    Optimizer("adam", (0, 0), lambda t: [adam_rate(t), BETA_1, BETA_2, EPSILON], reference.adam, ADAM),
    Optimizer(
        "adam_amsgrad",
        (0, 0, 0),
        lambda t: [adam_rate(t), BETA_1, BETA_2, EPSILON],
        reference.adam,
        {**ADAM, "amsgrad": True},
    ),
    Optimizer(
        "adamax",
        (0, 0),
        lambda t: [RATE / (1 - BETA_1**t), BETA_1, BETA_2, EPSILON],
        reference.adamax,
        ADAM,
    ),
    Optimizer("nadam", (0, 0), nadam_hyper, reference.nadam, ADAM),
]
each_optimizer = pytest.mark.parametrize("f", OPTIMIZERS, ids=lambda f: f"{f.name}{f.options}")


def numbers(seed: int, dtype: str, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size).astype(dtype)


def gradient(t: int, dtype: str) -> np.ndarray:
    return numbers(t, dtype) * np.dtype(dtype).type(0.1)


def train(f: Optimizer, dtype: str) -> list[np.ndarray]:
    w, hyper = numbers(0, dtype), np.empty(len(f.hyper(1)))
    slots = [np.full(SIZE, value, dtype) for value in f.slots]
    for t in range(1, STEPS + 1):
        hyper[:] = f.hyper(t)
        getattr(optimizer, f.name)(w, gradient(t, dtype), *slots, hyper)
    return [w, *slots]


@each_optimizer
def test_ten_steps(f: Optimizer, dtype: str, on_threads: OnThreads) -> None:
    w, *_ = on_threads(lambda: train(f, dtype))
    expected, slots = numbers(0, dtype).astype(np.float64), {}
    for t in range(1, STEPS + 1):
        expected, slots = f.rule(expected, gradient(t, dtype).astype(np.float64), slots, t, RATE, **f.options)
    # A step rounds w once, half an eps of |w| < 5, and moves it by a few rates, right to about 16 eps.
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(w, expected, rtol=STEPS * eps, atol=16 * STEPS * eps * 10 * RATE)


@each_optimizer
def test_gradient_is_left_alone_and_nan_shows(f: Optimizer) -> None:
    w, g = numbers(0, "float32"), numbers(1, "float32")
    g[5] = np.nan
    before = g.copy()
    slots = [np.zeros(SIZE, np.float32) for _ in f.slots]
    getattr(optimizer, f.name)(w, g, *slots, np.array(f.hyper(1)))
    np.testing.assert_array_equal(g, before)
    assert np.isnan(w[5]) and np.isnan(w).sum() == 1


def test_centered_rmsprop_survives_a_constant_gradient() -> None:
    """v - a a is 0 but for rounding, which at |g| = 1000 is far larger than epsilon."""
    w, slots = np.zeros(8, np.float32), [np.zeros(8, np.float32) for _ in range(3)]
    hyper = np.array([RATE, RHO, 1e-7, 0.0])
    for _ in range(300):
        optimizer.rmsprop_centered(w, np.full(8, 1000.123, np.float32), *slots, hyper)
    assert np.all(np.isfinite(w))


# --- around the step -----------------------------------------------------------------------------------------


def test_decay_weights(dtype: str) -> None:
    w = numbers(0, dtype)
    expected = reference.decay_weights(w, 0.004, RATE)
    optimizer.decay_weights(w, np.array([RATE, 0.004]))
    np.testing.assert_allclose(w, expected, rtol=np.finfo(dtype).eps)


@pytest.mark.parametrize("momentum", [0.99, 0.0])
def test_moving_average(momentum: float, dtype: str) -> None:
    average, value = numbers(0, dtype), numbers(1, dtype)
    expected = reference.average_weights(average, value, 2, momentum)
    optimizer.moving_average(average, value, np.array([momentum]))
    np.testing.assert_allclose(average, expected, rtol=0, atol=8 * np.finfo(dtype).eps)
    if momentum == 0:
        np.testing.assert_array_equal(average, value)


def clip(grads: list[np.ndarray], limit: float) -> list[np.ndarray]:
    """All gradients scaled by one factor, from their partial sums side by side."""
    grads, factor = [g.copy() for g in grads], np.full(1, np.nan)
    partial = np.full(sum(flat(g) for g in grads), np.nan)
    start = 0
    for g in grads:
        optimizer.squared_norm(g, partial[start : start + flat(g)])
        start += flat(g)
    optimizer.clip_factor(partial, factor, limit)
    for g in grads:
        optimizer.scale_by(g, factor, g)
    return grads


@pytest.mark.parametrize("limit", [1.0, 1e6], ids=["clipped", "short enough"])
def test_clip_by_norm(limit: float, dtype: str, on_threads: OnThreads) -> None:
    grads = [numbers(0, dtype), numbers(1, dtype, 5), numbers(2, dtype, CHUNK)]
    actual = on_threads(lambda: clip(grads, limit))
    expected = reference.clip_by_global_norm(grads, limit)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=2 * np.finfo(dtype).eps)


def test_clip_of_nothing_and_of_too_much() -> None:
    np.testing.assert_array_equal(clip([np.zeros(3, np.float32)], 1.0)[0], np.zeros(3))
    assert np.all(np.isnan(clip([np.array([1, np.inf], np.float32)], 1.0)[0]))
    assert np.all(np.isnan(clip([np.array([1, np.nan], np.float32)], 1.0)[0]))
    # The sum of squares leaves the range of float32, not that of float64.
    np.testing.assert_allclose(clip([np.array([3e30, 4e30], np.float32)], 1.0)[0], [0.6, 0.8], rtol=1e-6)
