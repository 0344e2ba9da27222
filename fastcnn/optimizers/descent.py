"""Gradient descent with one rate for all elements: SGD with its two momenta, and Lion, which steps by signs."""

from typing import Unpack

from fastcnn.errors import Error
from fastcnn.ops import update as steps
from fastcnn.optimizers.arguments import Options, decay_rate, fraction
from fastcnn.optimizers.base import Rate, _Method


class SGD(_Method):
    """w -= learning_rate g; with momentum, m = momentum m - learning_rate g and w += m.

    nesterov: w += momentum m - learning_rate g instead (Sutskever et al. 2013).
    """

    def __init__(
        self,
        learning_rate: Rate = 0.01,
        momentum: float = 0.0,
        nesterov: bool = False,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.momentum = fraction(self, "momentum", momentum)
        self.nesterov = nesterov

    def slots(self) -> dict[str, float]:
        return {"momentum": 0.0} if self.momentum else {}

    def step(self) -> steps.OptimizerStep:
        if not self.momentum:
            return steps.Sgd()
        return steps.SgdNesterov() if self.nesterov else steps.SgdMomentum()

    def hyper(self, rate: float, step: int) -> tuple[float, ...]:
        return rate, self.momentum


class Lion(_Method):
    """w -= learning_rate sign(beta_1 m + (1 - beta_1) g); m = beta_2 m + (1 - beta_2) g.

    Every element moves by the learning rate, so choose one some ten times smaller than for Adam. Chen et al. 2023,
    Symbolic discovery of optimization algorithms.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.beta_1 = fraction(self, "beta_1", beta_1)
        self.beta_2 = decay_rate(self, "beta_2", beta_2)
        if not self.beta_1:
            raise Error("Lion: beta_1 must be above 0, for at 0 only the sign of the last gradient counts")

    def slots(self) -> dict[str, float]:
        return {"momentum": 0.0}

    def step(self) -> steps.OptimizerStep:
        return steps.Lion()

    def hyper(self, rate: float, step: int) -> tuple[float, ...]:
        return rate, self.beta_1, self.beta_2
