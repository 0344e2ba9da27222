"""Learning rates at the steps where something happens, computed by hand."""

import math

import numpy as np
import pytest

from fastcnn import schedules
from fastcnn.errors import Error


def at(schedule, *steps):
    return [schedule(step) for step in steps]


def test_exponential_decay():
    assert at(schedules.ExponentialDecay(0.4, 10, 0.25), 0, 5, 10, 20) == pytest.approx(
        [0.4, 0.2, 0.1, 0.025]
    )
    steps = schedules.ExponentialDecay(0.4, 10, 0.25, staircase=True)
    assert at(steps, 0, 9, 10, 19, 20) == pytest.approx([0.4, 0.4, 0.1, 0.1, 0.025])


def test_inverse_time_decay():
    assert at(schedules.InverseTimeDecay(1.0, 10, 2.0), 0, 5, 10) == pytest.approx([1, 1 / 2, 1 / 3])
    steps = schedules.InverseTimeDecay(1.0, 10, 2.0, staircase=True)
    assert at(steps, 9, 10, 25) == pytest.approx([1, 1 / 3, 1 / 5])


def test_piecewise_constant_decay_changes_after_the_boundary():
    schedule = schedules.PiecewiseConstantDecay([3, 6], [0.3, 0.2, 0.1])
    assert at(schedule, 0, 3, 4, 6, 7, 1000) == [0.3, 0.3, 0.2, 0.2, 0.1, 0.1]
    assert at(schedules.PiecewiseConstantDecay([], [0.5]), 0, 9) == [0.5, 0.5]


def test_polynomial_decay():
    assert at(schedules.PolynomialDecay(1.0, 10, 0.2), 0, 5, 10, 11) == pytest.approx([1, 0.6, 0.2, 0.2])
    square = schedules.PolynomialDecay(1.0, 10, 0.0, power=2.0)
    assert at(square, 0, 5, 10) == pytest.approx([1, 0.25, 0])


def test_polynomial_decay_cycle():
    cycle = schedules.PolynomialDecay(1.0, 10, 0.0, cycle=True)
    # the length is the first multiple of 10 that is not below the step: 10, then 20, then 30
    assert at(cycle, 0, 5, 10, 11, 20, 21) == pytest.approx([1, 0.5, 0, 9 / 20, 0, 9 / 30])


def test_cosine_decay():
    schedule = schedules.CosineDecay(2.0, 12, alpha=0.1)
    quarter = 0.9 * 0.5 * (1 + math.cos(math.pi / 4)) + 0.1
    assert at(schedule, 0, 3, 6, 12, 99) == pytest.approx([2, 2 * quarter, 2 * 0.55, 0.2, 0.2])


def test_cosine_decay_warm_up():
    schedule = schedules.CosineDecay(0.1, 10, warmup_target=0.5, warmup_steps=4)
    # up in a straight line in 4 steps, then the whole cosine in 10 more
    assert at(schedule, 0, 1, 3, 4, 9, 14, 15) == pytest.approx([0.1, 0.2, 0.4, 0.5, 0.25, 0, 0])
    without = schedules.CosineDecay(0.1, 10, warmup_steps=4)
    assert at(without, 0, 5) == pytest.approx([0.1, 0.05])


def test_cosine_decay_restarts():
    schedule = schedules.CosineDecayRestarts(1.0, 10, t_mul=2.0, m_mul=0.5)
    # lengths 10, 20, 40 from steps 0, 10, 30; heights 1, 0.5, 0.25
    assert at(schedule, 0, 5, 10, 20, 30, 50, 70) == pytest.approx([1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125])
    assert schedule(9) < 0.03 and schedule(29) < 0.01


def test_cosine_decay_restarts_of_equal_length():
    schedule = schedules.CosineDecayRestarts(1.0, 10, t_mul=1.0, alpha=0.2)
    assert at(schedule, 0, 5, 10, 15, 1000, 1005) == pytest.approx([1, 0.6] * 3)


@pytest.mark.parametrize("t_mul", [2, 3, 5, 7, 10])
def test_restart_is_never_late(t_mul):
    """log(243) / log(3) is 4.999..., so a formula with logarithms restarts one step too late."""
    schedule = schedules.CosineDecayRestarts(1.0, 1, t_mul=t_mul)
    start = 0
    for restart in range(8):
        assert schedule(start) == 1.0
        start += t_mul**restart


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.ExponentialDecay(0.1, 10, 0.9),
        schedules.InverseTimeDecay(0.1, 10, 0.9),
        schedules.PiecewiseConstantDecay([3], [1, 2]),
        schedules.PolynomialDecay(0.1, 10),
        schedules.CosineDecay(0.1, 10),
        schedules.CosineDecayRestarts(0.1, 10),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_takes_any_integer_and_returns_a_float(schedule):
    assert type(schedule(3)) is float
    assert schedule(np.int64(3)) == schedule(3) == schedule(np.array(3))
    assert type(schedule)(**schedule.get_config())(7) == schedule(7)


def test_defaults_are_those_of_keras():
    assert schedules.PolynomialDecay(0.1, 10).get_config() == {
        "initial_learning_rate": 0.1, "decay_steps": 10, "end_learning_rate": 0.0001, "power": 1.0, "cycle": False,
        "name": "PolynomialDecay",
    }  # fmt: skip
    assert schedules.CosineDecayRestarts(0.1, 10).get_config() == {
        "initial_learning_rate": 0.1, "first_decay_steps": 10, "t_mul": 2.0, "m_mul": 1.0, "alpha": 0.0,
        "name": "SGDRDecay",
    }  # fmt: skip


def test_users_schedule():
    class Noam(schedules.LearningRateSchedule):
        def __init__(self, width, warmup=4):
            self.width = width
            self.warmup = warmup

        def __call__(self, step):
            return self.width**-0.5 * min((step + 1) ** -0.5, (step + 1) * self.warmup**-1.5)

    schedule = Noam(16)
    assert schedule(3) == pytest.approx(0.125)
    assert schedules.deserialize(schedules.serialize(schedule))(3) == schedule(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: schedules.ExponentialDecay(0.1, 0, 0.9),
            "ExponentialDecay: decay_steps must be positive, got 0",
        ),
        (lambda: schedules.InverseTimeDecay(0.1, -1, 0.9), "InverseTimeDecay: decay_steps must be positive"),
        (lambda: schedules.PolynomialDecay(0.1, 0), "PolynomialDecay: decay_steps must be positive"),
        (lambda: schedules.CosineDecay(0.1, 0), "CosineDecay: decay_steps must be positive"),
        (lambda: schedules.CosineDecayRestarts(0.1, 0), "first_decay_steps must be positive"),
        (lambda: schedules.CosineDecayRestarts(0.1, 5, t_mul=0.5), "t_mul must be at least 1"),
        (lambda: schedules.PiecewiseConstantDecay([1, 2], [1, 2]), "2 boundaries need 3 values, got 2"),
        (lambda: schedules.PiecewiseConstantDecay([2, 1], [1, 2, 3]), "boundaries must increase"),
        (lambda: schedules.LearningRateSchedule()(0), "must define __call__"),
        (lambda: schedules.deserialize("ExponentialDecay"), r"pass an instance, ExponentialDecay\(...\)"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(Error, match=message):
        make()
