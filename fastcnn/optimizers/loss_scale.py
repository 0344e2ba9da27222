"""Loss scaling that adapts itself, around another optimizer."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from fastcnn import registry
from fastcnn.errors import Error
from fastcnn.graph import current_trace
from fastcnn.optimizers.arguments import count_or_none, positive_or_none
from fastcnn.optimizers.base import Optimizer
from fastcnn.registry import Configurable
from fastcnn.tensor import Variable


def _of_inner(name: str) -> Any:
    """An attribute that is the inner optimizer's."""

    def read(self: "LossScaleOptimizer") -> Any:
        return getattr(self.inner_optimizer, name)

    def write(self: "LossScaleOptimizer", value: Any) -> None:
        setattr(self.inner_optimizer, name, value)

    return property(read, write)


class LossScaleOptimizer(Optimizer):
    """An optimizer for gradients of a loss that `scale_loss` has multiplied by `dynamic_scale`.

    `apply` divides them by it. Where one is infinite or NaN it makes no update and halves the scale, which is doubled
    after `dynamic_growth_steps` updates in a row. That is for loops of your own: `fit` computes in float32 or
    float64, where small gradients do not vanish, and uses `inner_optimizer` as it is. The scale is not saved.
    """

    def __init__(
        self,
        inner_optimizer: Optimizer,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
    ):
        if not isinstance(inner_optimizer, Optimizer):
            raise Error(f"LossScaleOptimizer: inner_optimizer must be an optimizer, got {inner_optimizer!r}")
        self.inner_optimizer = inner_optimizer
        inner_optimizer.loss_scale_factor = None  # or gradients would be divided twice
        self.name = name or registry.auto_name(type(self).__name__)
        self.initial_scale = positive_or_none(self, "initial_scale", initial_scale) or 1.0
        self.dynamic_growth_steps = count_or_none(self, "dynamic_growth_steps", dynamic_growth_steps, 1) or 1
        self.dynamic_scale = self.initial_scale
        self.step_counter = 0  # updates since the scale last changed

    def get_config(self) -> dict[str, Any]:
        return Configurable.get_config(self)

    def scale_loss(self, loss: Any) -> Any:
        return loss * self.dynamic_scale

    def apply(self, grads: Iterable[Any], trainable_variables: Sequence[Variable] | None = None) -> None:
        given = list(grads)
        if current_trace() is not None:
            self.inner_optimizer.apply(given, trainable_variables)
        elif all(g is None or np.isfinite(g).all() for g in given):
            scaled = [None if g is None else np.asarray(g) / self.dynamic_scale for g in given]
            self.inner_optimizer.apply(scaled, trainable_variables)
            self._count()
        else:
            self.step_counter, self.dynamic_scale = 0, self.dynamic_scale / 2

    def _count(self) -> None:
        self.step_counter += 1
        if self.step_counter == self.dynamic_growth_steps:
            self.step_counter, self.dynamic_scale = 0, self.dynamic_scale * 2

    learning_rate = _of_inner("learning_rate")
    use_ema = _of_inner("use_ema")
    built = _of_inner("built")
    batches = _of_inner("batches")
    phase = _of_inner("phase")
    iterations = _of_inner("iterations")
    variables = _of_inner("variables")
    build = _of_inner("build")
    before_step = _of_inner("before_step")
    after_step = _of_inner("after_step")
    named_state = _of_inner("named_state")
    restore = _of_inner("restore")
    set_weights = _of_inner("set_weights")
    exclude_from_weight_decay = _of_inner("exclude_from_weight_decay")
    finalize_variable_values = _of_inner("finalize_variable_values")
    swap_averages = _of_inner("swap_averages")
    restart_averages = _of_inner("restart_averages")
    _updates = _of_inner("_updates")
