"""Methods whose steps are written with ops: norms of whole variables, sums over rows, powers.

g is the gradient, t the number of the step, from 1.
"""

from typing import Any, Unpack

import numpy as np

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.optimizers.arguments import Options, at_least_zero, decay_rate, finite
from fastcnn.optimizers.base import Optimizer, Rate
from fastcnn.tensor import Tensor, Variable


def adam_moments(
    optimizer: Optimizer, gradient: Tensor, variable: Variable, beta_1: float, beta_2: float
) -> tuple[Variable, Variable]:
    """The slots m = beta_1 m + (1 - beta_1) g and v = beta_2 v + (1 - beta_2) g^2, after this step."""
    m, v = optimizer.slot(variable, "momentum"), optimizer.slot(variable, "velocity")
    optimizer.assign(m, m + (gradient - m) * (1 - beta_1))
    optimizer.assign(v, v + (ops.square(gradient) - v) * (1 - beta_2))
    return m, v


class Lamb(Optimizer):
    """Adam with a rate for each variable that follows its size: m, v as there, then
    u = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon); w -= learning_rate |w| / |u| u.

    The ratio of the norms is 1 where either is 0. You et al. 2020, Large batch optimization for deep learning.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.beta_1 = decay_rate(self, "beta_1", beta_1)
        self.beta_2 = decay_rate(self, "beta_2", beta_2)
        self.epsilon = at_least_zero(self, "epsilon", epsilon)

    def slots(self) -> dict[str, float]:
        return {"momentum": 0.0, "velocity": 0.0}

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        step = self.iterations + 1
        m, v = adam_moments(self, gradient, variable, self.beta_1, self.beta_2)
        size = ops.sqrt(v / (1 - self.beta_2**step)) + self.epsilon
        change = m / (1 - self.beta_1**step) / size
        norms = _norm(variable), _norm(change)
        safe = ops.where(norms[1] > 0, norms[1], ops.ones_like(norms[1]))
        ratio = ops.where(ops.minimum(*norms) > 0, norms[0] / safe, ops.ones_like(safe))
        self.assign_sub(variable, learning_rate * ratio * change)


class Adafactor(Optimizer):
    """Adam without m, and with v of a matrix made of the means of its rows and columns, r and c:
    r = beta r + (1 - beta) mean_rows(g^2 + epsilon_1), c likewise, v = r c / mean(r), with beta = 1 - t^beta_2_decay;
    u = g / sqrt(v); w -= rate u / max(1, rms(u) / clip_threshold),
    rate = max(epsilon_2, rms(w)) min(learning_rate, 1 / sqrt(t)).

    The last two axes are rows and columns; variables with fewer axes keep v itself. Shazeer & Stern 2018, Adafactor.
    relative_step changes nothing, as in Keras: the rate is always at most 1 / sqrt(t).
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_2_decay: float = -0.8,
        epsilon_1: float = 1e-30,
        epsilon_2: float = 1e-3,
        clip_threshold: float = 1.0,
        relative_step: bool = True,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.beta_2_decay = _at_most_zero(self, "beta_2_decay", beta_2_decay)
        self.epsilon_1 = at_least_zero(self, "epsilon_1", epsilon_1)
        self.epsilon_2 = at_least_zero(self, "epsilon_2", epsilon_2)
        self.clip_threshold = at_least_zero(self, "clip_threshold", clip_threshold)
        self.relative_step = relative_step

    def _all_slots(self, variable: Variable) -> dict[str, Any]:
        shape = variable.buffer.shape
        if len(shape) < 2:
            return {"velocity": 0.0, **super()._all_slots(variable)}
        rows, columns = np.zeros(shape[:-1]), np.zeros((*shape[:-2], shape[-1]))
        return {"rows": rows, "columns": columns, **super()._all_slots(variable)}

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        step = self.iterations + 1
        share = step**self.beta_2_decay
        change = gradient / ops.sqrt(self._velocity(ops.square(gradient) + self.epsilon_1, variable, share))
        rate = ops.maximum(_rms(variable), self.epsilon_2) * ops.minimum(learning_rate, 1 / ops.sqrt(step))
        self.assign_sub(variable, rate * change / ops.maximum(_rms(change) / self.clip_threshold, 1.0))

    def _velocity(self, square: Tensor, variable: Variable, share: Tensor) -> Tensor:
        """v after this step, in which the squares have this share."""
        if variable.ndim < 2:
            return self._toward(self.slot(variable, "velocity"), square, share)
        rows = self._toward(self.slot(variable, "rows"), ops.mean(square, -1), share)
        columns = self._toward(self.slot(variable, "columns"), ops.mean(square, -2), share)
        return ops.expand_dims(rows / ops.mean(rows, -1, keepdims=True), -1) * ops.expand_dims(columns, -2)

    def _toward(self, slot: Variable, value: Tensor, share: Tensor) -> Variable:
        self.assign(slot, slot * (1 - share) + value * share)
        return slot


class Ftrl(Optimizer):
    """Follow the regularised leader: with s = g + 2 l2_shrinkage w, n' = n + g^2 and p = -learning_rate_power,
    z += s - (n'^p - n^p) / learning_rate w; q = n'^p / learning_rate + 2 l2 + beta / learning_rate;
    w = (clip(z, -l1, l1) - z) / q; n = n'.

    l1, l2, l2_shrinkage stand for the arguments of those names. Small weights become exactly 0 by l1. McMahan et al.
    2013, Ad click prediction.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1_regularization_strength: float = 0.0,
        l2_regularization_strength: float = 0.0,
        l2_shrinkage_regularization_strength: float = 0.0,
        beta: float = 0.0,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.learning_rate_power = _at_most_zero(self, "learning_rate_power", learning_rate_power)
        self.initial_accumulator_value = at_least_zero(
            self, "initial_accumulator_value", initial_accumulator_value
        )
        self.l1_regularization_strength = at_least_zero(
            self, "l1_regularization_strength", l1_regularization_strength
        )
        self.l2_regularization_strength = at_least_zero(
            self, "l2_regularization_strength", l2_regularization_strength
        )
        self.l2_shrinkage_regularization_strength = at_least_zero(
            self, "l2_shrinkage_regularization_strength", l2_shrinkage_regularization_strength
        )
        self.beta = at_least_zero(self, "beta", beta)

    def slots(self) -> dict[str, float]:
        return {"accumulator": self.initial_accumulator_value, "linear": 0.0}

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        n, z = self.slot(variable, "accumulator"), self.slot(variable, "linear")
        larger, power, l1 = (
            n + ops.square(gradient),
            -self.learning_rate_power,
            self.l1_regularization_strength,
        )
        shrunk = gradient + variable * (2 * self.l2_shrinkage_regularization_strength)
        self.assign_add(z, shrunk - (larger**power - n**power) / learning_rate * variable)
        weight = (larger**power + self.beta) / learning_rate + 2 * self.l2_regularization_strength
        self.assign(variable, (ops.clip(z, -l1, l1) - z) / weight)
        self.assign(n, larger)


def _norm(x: Tensor) -> Tensor:
    return ops.sqrt(ops.sum(ops.square(x)))


def _rms(x: Tensor) -> Tensor:
    return ops.sqrt(ops.mean(ops.square(x)))


def _at_most_zero(owner: object, name: str, value: Any) -> float:
    number = finite(value)
    if number is None or number > 0:
        raise Error(f"{type(owner).__name__}: {name} must be a number of at most 0, got {value!r}")
    return number
