"""Methods that give every element a rate of its own, from averages of its gradients. g is the gradient, t the step."""

import math
from typing import Unpack

from fastcnn.errors import Error
from fastcnn.ops import update as steps
from fastcnn.optimizers.arguments import Options, OptionsWithoutDecay, at_least_zero, decay_rate, fraction
from fastcnn.optimizers.base import Rate, _Method


class Adagrad(_Method):
    """v += g^2; w -= learning_rate g / sqrt(v + epsilon). Duchi, Hazan & Singer 2011."""

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.initial_accumulator_value = at_least_zero(
            self, "initial_accumulator_value", initial_accumulator_value
        )
        self.epsilon = at_least_zero(self, "epsilon", epsilon)

    def slots(self) -> dict[str, float]:
        return {"accumulator": self.initial_accumulator_value}

    def step(self) -> steps.OptimizerStep:
        return steps.Adagrad()

    def hyper(self, rate: float, step: int) -> tuple[float, ...]:
        return rate, self.epsilon


class Adadelta(_Method):
    """v = rho v + (1 - rho) g^2; d = g sqrt(u + epsilon) / sqrt(v + epsilon); w -= learning_rate d;
    u = rho u + (1 - rho) d^2.

    Zeiler 2012, ADADELTA, whose learning rate is 1.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.rho = fraction(self, "rho", rho)
        self.epsilon = at_least_zero(self, "epsilon", epsilon)

    def slots(self) -> dict[str, float]:
        return {"accumulated_grad": 0.0, "accumulated_delta_var": 0.0}

    def step(self) -> steps.OptimizerStep:
        return steps.Adadelta()

    def hyper(self, rate: float, step: int) -> tuple[float, ...]:
        return rate, self.rho, self.epsilon


class RMSprop(_Method):
    """v = rho v + (1 - rho) g^2; m = momentum m + learning_rate g / sqrt(v + epsilon); w -= m.

    centered: the average gradient's square is subtracted from v (Graves 2013). Tieleman & Hinton 2012, lecture 6.5.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, **options)
        self.rho = fraction(self, "rho", rho)
        self.momentum = fraction(self, "momentum", momentum)
        self.epsilon = at_least_zero(self, "epsilon", epsilon)
        self.centered = centered

    def slots(self) -> dict[str, float]:
        if self.centered:
            return {"velocity": 0.0, "average_gradient": 0.0, "momentum": 0.0}
        return {"velocity": 0.0, "momentum": 0.0} if self.momentum else {"velocity": 0.0}

    def step(self) -> steps.OptimizerStep:
        if self.centered:
            return steps.RmsPropCentered()
        return steps.RmsPropMomentum() if self.momentum else steps.RmsProp()

    def hyper(self, rate: float, step: int) -> tuple[float, ...]:
        return rate, self.rho, self.epsilon, self.momentum


class _Moments(_Method):
    """Averages of g and of a power of it, with the rates beta_1 and beta_2."""

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


class Adam(_Moments):
    """m = beta_1 m + (1 - beta_1) g; v = beta_2 v + (1 - beta_2) g^2;
    w -= learning_rate sqrt(1 - beta_2^t) / (1 - beta_1^t) m / (sqrt(v) + epsilon).

    amsgrad: the largest v so far in place of v (Reddi, Kale & Kumar 2018). Kingma & Ba 2015, Adam, the form before
    section 2.1.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Unpack[Options],
    ):
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **options)
        self.amsgrad = amsgrad

    def slots(self) -> dict[str, float]:
        return {**super().slots(), "velocity_hat": 0.0} if self.amsgrad else super().slots()

    def step(self) -> steps.OptimizerStep:
        return steps.AdamAmsgrad() if self.amsgrad else steps.Adam()

    def hyper(self, rate: float, step: int) -> tuple[float, ...]:
        rate *= math.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        return rate, self.beta_1, self.beta_2, self.epsilon


class AdamW(Adam):
    """Adam with weight decay. Loshchilov & Hutter 2019, Decoupled weight decay regularization."""

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Unpack[OptionsWithoutDecay],
    ):
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay=weight_decay, **options
        )
        if self.weight_decay is None:
            raise Error(
                "AdamW: weight_decay must be a number, got None; Adam is the method without weight decay"
            )


class Adamax(_Moments):
    """m = beta_1 m + (1 - beta_1) g; u = max(beta_2 u, |g|); w -= learning_rate / (1 - beta_1^t) m / (u + epsilon).

    Kingma & Ba 2015, section 7.1.
    """

    def slots(self) -> dict[str, float]:
        return {"momentum": 0.0, "norm": 0.0}

    def step(self) -> steps.OptimizerStep:
        return steps.Adamax()

    def hyper(self, rate: float, step: int) -> tuple[float, ...]:
        return rate / (1 - self.beta_1**step), self.beta_1, self.beta_2, self.epsilon


class Nadam(_Moments):
    """Adam with Nesterov's momentum: m, v as there, u_t = beta_1 (1 - 0.96^t / 2), U_t = u_1 u_2 ... u_t;
    w -= learning_rate (u_(t+1) m / (1 - U_(t+1)) + (1 - u_t) g / (1 - U_t)) / (sqrt(v / (1 - beta_2^t)) + epsilon).

    Dozat 2016, Incorporating Nesterov momentum into Adam.
    """

    def step(self) -> steps.OptimizerStep:
        return steps.Nadam()

    def hyper(self, rate: float, step: int) -> tuple[float, ...]:
        now, after, product = self._momentum(step), self._momentum(step + 1), self._product(step)
        of_m, of_g = after / (1 - product * after), (1 - now) / (1 - product)
        return rate, self.beta_1, self.beta_2, self.epsilon, of_m, of_g, 1 / (1 - self.beta_2**step)

    def _momentum(self, step: int) -> float:
        return self.beta_1 * (1 - 0.5 * 0.96**step)

    def _product(self, step: int) -> float:
        """U_step, multiplied on from where the last call stopped."""
        done, product = getattr(self, "_so_far", (0, 1.0))
        if done > step:
            done, product = 0, 1.0
        for t in range(done + 1, step + 1):
            product *= self._momentum(t)
        self._so_far = step, product
        return product
