"""Muon: steps of matrices made orthogonal; everything else by Adam."""

import math
import re
from collections.abc import Iterable
from typing import Any, Unpack

from fastcnn import ops
from fastcnn.optimizers.arguments import OptionsWithoutDecay, at_least_zero, decay_rate
from fastcnn.optimizers.base import Optimizer, Rate
from fastcnn.optimizers.composed import adam_moments
from fastcnn.tensor import Tensor, Variable

TINY = 1e-7  # keeps the first division finite


class Muon(Optimizer):
    """m = momentum m + g; w -= learning_rate rms_rate sqrt(max(rows, columns)) orthogonal(g + momentum m).

    For matrices, such as the kernels of dense layers: orthogonal(x) is near U V' for x = U S V', by `ns_steps` of
    x = muon_a x + (muon_b A + muon_c A^2) x, A = x x', from x / |x| on. nesterov=False: orthogonal(m).
    rms_rate: None leaves it and the root out. Other variables, those with "embedding" in their path
    (exclude_embeddings) and those whose path one of the patterns in exclude_layers is found in take steps of Adam at
    learning_rate adam_lr_ratio, with adam_weight_decay.

    Jordan et al. 2024, Muon; Liu et al. 2025, Muon is scalable for LLM training.
    """

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        adam_beta_1: float = 0.9,
        adam_beta_2: float = 0.999,
        adam_weight_decay: float | None = 0.004,
        epsilon: float = 1e-7,
        weight_decay: float | None = 0.004,
        exclude_layers: Iterable[str] | None = None,
        exclude_embeddings: bool = True,
        muon_a: float = 3.4445,
        muon_b: float = -4.7750,
        muon_c: float = 2.0315,
        adam_lr_ratio: float = 1,
        momentum: float = 0.95,
        ns_steps: int = 5,
        nesterov: bool = True,
        rms_rate: float | None = 0.2,
        **options: Unpack[OptionsWithoutDecay],
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, **options)
        self.adam_beta_1 = decay_rate(self, "adam_beta_1", adam_beta_1)
        self.adam_beta_2 = decay_rate(self, "adam_beta_2", adam_beta_2)
        self.adam_weight_decay = at_least_zero(self, "adam_weight_decay", adam_weight_decay or 0.0)
        self.epsilon = at_least_zero(self, "epsilon", epsilon)
        self.exclude_layers = list(exclude_layers or ())
        self.exclude_embeddings = exclude_embeddings
        self.muon_a, self.muon_b, self.muon_c = muon_a, muon_b, muon_c
        self.adam_lr_ratio = at_least_zero(self, "adam_lr_ratio", adam_lr_ratio)
        self.momentum = at_least_zero(self, "momentum", momentum)
        self.ns_steps = ns_steps
        self.nesterov = nesterov
        self.rms_rate = rms_rate

    def _is_for_adam(self, variable: Variable) -> bool:
        path = variable.path
        if variable.ndim != 2 or (self.exclude_embeddings and "embedding" in path.lower()):
            return True
        return any(re.search(pattern, path) for pattern in self.exclude_layers)

    def _all_slots(self, variable: Variable) -> dict[str, Any]:
        velocity = {"velocity": 0.0} if self._is_for_adam(variable) else {}
        return {"momentum": 0.0, **velocity, **super()._all_slots(variable)}

    def _decay_weights(self, variable: Variable) -> None:
        if not self._is_for_adam(variable):
            super()._decay_weights(variable)
        elif self.adam_weight_decay and not self._spares(variable):
            rate, _ = self._scalar_variables(variable.dtype)
            self.assign_sub(variable, variable * self.adam_weight_decay * rate)

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        if self._is_for_adam(variable):
            self._adam_step(gradient, variable, learning_rate * self.adam_lr_ratio)
            return
        m = self.slot(variable, "momentum")
        self.assign(m, m * self.momentum + gradient)
        step = self._orthogonal(gradient + m * self.momentum if self.nesterov else m)
        scale = 1.0 if self.rms_rate is None else self.rms_rate * math.sqrt(max(variable.spec.dims))
        self.assign_sub(variable, step * learning_rate * scale)

    def _adam_step(self, gradient: Tensor, variable: Variable, rate: Tensor) -> None:
        step = self.iterations + 1
        m, v = adam_moments(self, gradient, variable, self.adam_beta_1, self.adam_beta_2)
        rate = rate * ops.sqrt(1 - self.adam_beta_2**step) / (1 - self.adam_beta_1**step)
        self.assign_sub(variable, m * rate / (ops.sqrt(v) + self.epsilon))

    def _orthogonal(self, x: Tensor) -> Tensor:
        rows, columns = x.spec.dims
        x = ops.transpose(x) if rows > columns else x
        x = x / (ops.sqrt(ops.sum(ops.square(x))) + TINY)
        for _ in range(self.ns_steps):
            square = ops.matmul(x, ops.transpose(x))
            x = x * self.muon_a + ops.matmul(
                square * self.muon_b + ops.matmul(square, square) * self.muon_c, x
            )
        return ops.transpose(x) if rows > columns else x
