"""Learning rates as functions of the step, the number of updates made so far. Pass one as `learning_rate`."""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from fastcnn import registry
from fastcnn.errors import Error
from fastcnn.registry import Configurable


class LearningRateSchedule(Configurable):
    """Base class; a subclass says in `__call__` which learning rate a step has."""

    kind: ClassVar[str] = "schedule"

    def __call__(self, step: int) -> float:
        """The learning rate of update number `step`, counted from 0."""
        raise Error(f"{type(self).__name__} must define __call__(self, step)")


def _check_positive(schedule: LearningRateSchedule, argument: str, value: float) -> None:
    if not value > 0:
        raise Error(f"{type(schedule).__name__}: {argument} must be positive, got {value}")


class _Decay(LearningRateSchedule):
    """A function of step / decay_steps, in whole numbers when `staircase`."""

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        decay_rate: float,
        staircase: bool = False,
        name: str | None = None,
    ):
        _check_positive(self, "decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name or type(self).__name__

    def _decays(self, step: int) -> float:
        decays = float(step) / self.decay_steps
        return math.floor(decays) if self.staircase else decays


class ExponentialDecay(_Decay):
    """initial_learning_rate * decay_rate ^ (step / decay_steps)."""

    def __call__(self, step: int) -> float:
        return float(self.initial_learning_rate * self.decay_rate ** self._decays(step))


class InverseTimeDecay(_Decay):
    """initial_learning_rate / (1 + decay_rate * step / decay_steps)."""

    def __call__(self, step: int) -> float:
        return float(self.initial_learning_rate / (1.0 + self.decay_rate * self._decays(step)))


class PiecewiseConstantDecay(LearningRateSchedule):
    """values[0] up to and including step boundaries[0], then values[1] up to boundaries[1], and so on."""

    def __init__(self, boundaries: Sequence[float], values: Sequence[float], name: str = "PiecewiseConstant"):
        if len(values) != len(boundaries) + 1:
            raise Error(
                f"PiecewiseConstantDecay: {len(boundaries)} boundaries need {len(boundaries) + 1} values, "
                f"got {len(values)}"
            )
        if list(boundaries) != sorted(set(boundaries)):
            raise Error(f"PiecewiseConstantDecay: boundaries must increase, got {list(boundaries)}")
        self.boundaries = boundaries
        self.values = values
        self.name = name

    def __call__(self, step: int) -> float:
        return float(self.values[bisect_left(self.boundaries, float(step))])


class PolynomialDecay(LearningRateSchedule):
    """(initial - end) * (1 - step / decay_steps) ^ power + end; stays at the end, unless `cycle`.

    With `cycle`, decay_steps is replaced by its first multiple that is not below the step.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ):
        _check_positive(self, "decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name

    def __call__(self, step: int) -> float:
        fraction = float(step) / self.decay_steps
        fraction = fraction / max(1, math.ceil(fraction)) if self.cycle else min(fraction, 1.0)
        span = self.initial_learning_rate - self.end_learning_rate
        return float(span * (1.0 - fraction) ** self.power + self.end_learning_rate)


def _cosine(fraction: float) -> float:
    """From 1 at fraction 0 down to 0 at fraction 1."""
    return 0.5 * (1.0 + math.cos(math.pi * fraction))


class CosineDecay(LearningRateSchedule):
    """Half a cosine from the initial rate to alpha times it in `decay_steps` (Loshchilov & Hutter 2017).

    With a `warmup_target`, the rate first goes in a straight line from the initial rate to the target in
    `warmup_steps`, and the cosine starts there; the decay then ends at step warmup_steps + decay_steps.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: int,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ):
        _check_positive(self, "decay_steps", decay_steps)
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = decay_steps
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        if self.warmup_target is None:
            return self._decay(float(step), self.initial_learning_rate)
        if step < self.warmup_steps:
            rise = self.warmup_target - self.initial_learning_rate
            return float(self.initial_learning_rate + rise * (float(step) / self.warmup_steps))
        return self._decay(float(step) - self.warmup_steps, self.warmup_target)

    def _decay(self, step: float, highest: float) -> float:
        cosine = _cosine(min(step / self.decay_steps, 1.0))
        return float(highest * ((1.0 - self.alpha) * cosine + self.alpha))


class CosineDecayRestarts(LearningRateSchedule):
    """Cosine decays one after the other (SGDR, Loshchilov & Hutter 2017).

    The first takes `first_decay_steps`, each next one `t_mul` times as long as the one before and starts from
    `m_mul` times its rate.
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: int,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ):
        _check_positive(self, "first_decay_steps", first_decay_steps)
        if t_mul < 1:
            raise Error(f"CosineDecayRestarts: t_mul must be at least 1, got {t_mul}")
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = first_decay_steps
        self.t_mul = t_mul
        self.m_mul = m_mul
        self.alpha = alpha
        self.name = name

    def __call__(self, step: int) -> float:
        restarts, fraction = self._position(float(step))
        cosine = self.m_mul**restarts * _cosine(fraction)
        return float(self.initial_learning_rate * ((1.0 - self.alpha) * cosine + self.alpha))

    def _position(self, step: float) -> tuple[int, float]:
        """(restarts so far, part of the present decay that is done).

        Counted, not computed from logarithms: those round, and a restart would come one step late.
        """
        if self.t_mul == 1:
            restarts, rest = divmod(step, self.first_decay_steps)
            return int(restarts), rest / self.first_decay_steps
        restarts, length = 0, float(self.first_decay_steps)
        while step >= length:
            step, length, restarts = step - length, length * self.t_mul, restarts + 1
        return restarts, step / length


serialize = registry.serialize


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The schedule that `serialize` described."""
    return registry.deserialize("schedule", config, custom_objects)
