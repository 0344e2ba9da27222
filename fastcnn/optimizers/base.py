"""What all optimizers share: the learning rate, clipping, weight decay, averaging, and their state.

An update of a model's variables is, in this order: mean of the accumulated gradients, clipping, weight decay, the
method's own step, moving average, constraints. The first five are kernels of the train step; what they read of a
learning rate that changes lies in small float64 arrays, written before each step.
"""

import inspect
import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NotRequired, Self, TypedDict, Unpack

import numpy as np

from fastcnn import config, ops, registry
from fastcnn.errors import Error
from fastcnn.graph import current_trace, update
from fastcnn.ops.update import Assign, DecayWeights, MovingAverage, clip_by_norm
from fastcnn.plan import Function
from fastcnn.registry import Configurable
from fastcnn.schedules import LearningRateSchedule
from fastcnn.tensor import Tensor, Variable

Rate = float | LearningRateSchedule | Callable[..., float]
GradientAndVariable = tuple[Tensor, Variable]

_AVERAGE, _ACCUMULATOR = "average", "gradient_accumulator"  # slots beside those of the method


class Options(TypedDict):
    """The arguments that every optimizer takes besides its own. See `Optimizer`."""

    weight_decay: NotRequired[float | None]
    clipnorm: NotRequired[float | None]
    clipvalue: NotRequired[float | None]
    global_clipnorm: NotRequired[float | None]
    use_ema: NotRequired[bool]
    ema_momentum: NotRequired[float]
    ema_overwrite_frequency: NotRequired[int | None]
    loss_scale_factor: NotRequired[float | None]
    gradient_accumulation_steps: NotRequired[int | None]
    name: NotRequired[str | None]


class OptionsWithoutDecay(TypedDict):
    """`Options` for an optimizer whose weight_decay is an argument of its own."""

    clipnorm: NotRequired[float | None]
    clipvalue: NotRequired[float | None]
    global_clipnorm: NotRequired[float | None]
    use_ema: NotRequired[bool]
    ema_momentum: NotRequired[float]
    ema_overwrite_frequency: NotRequired[int | None]
    loss_scale_factor: NotRequired[float | None]
    gradient_accumulation_steps: NotRequired[int | None]
    name: NotRequired[str | None]


_RENAMED = {
    "lr": "the argument is called learning_rate",
    "decay": "pass a schedule, learning_rate=optimizers.schedules.InverseTimeDecay(rate, 1, decay)",
}


class Optimizer(Configurable):
    """Base class of optimizers.

    learning_rate: a number, a schedule (of `iterations`), or a function of nothing or of `iterations`.
    weight_decay: each update first takes w -= learning_rate weight_decay w, apart from the gradient
    (Loshchilov & Hutter 2019), except where `exclude_from_weight_decay` says otherwise.
    clipnorm, global_clipnorm, clipvalue: at most one. The longest that each gradient, or all of them as one vector,
    may be; the largest that an element may be.
    use_ema: average the variables, average = ema_momentum average + (1 - ema_momentum) w after each update,
    beginning with the first result. Every `ema_overwrite_frequency` updates, and at the end of `fit`, the variables
    become their averages.
    gradient_accumulation_steps: update once in that many batches, by the mean of their gradients. Averages and
    constraints wait for the update as well, so that n batches do what one n times as large would.
    loss_scale_factor: accepted and without effect: gradients are computed in float32 or float64, where scaling
    the loss up and the gradients down again changes nothing.

    A method of your own is a subclass with `update_step(gradient, variable, learning_rate)`, written with
    `fastcnn.ops` and `self.assign`; it gets its slots from `self.add_variable_from_reference(variable, name)`,
    and reads `self.iterations` there as a tensor.
    """

    kind: ClassVar[str] = "optimizer"

    def __init__(
        self,
        learning_rate: Rate = 0.001,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **unknown: Any,
    ):
        for argument in unknown:
            hint = _RENAMED.get(argument, f"it takes {', '.join(registry.constructor_signature(type(self)).parameters)}")
            raise Error(f"{type(self).__name__}: there is no argument {argument!r}; {hint}")
        self._rate: Any = None
        self.learning_rate = learning_rate
        self.weight_decay = self._number("weight_decay", weight_decay, zero=True)
        self.clipnorm = self._number("clipnorm", clipnorm)
        self.clipvalue = self._number("clipvalue", clipvalue)
        self.global_clipnorm = self._number("global_clipnorm", global_clipnorm)
        self.use_ema = use_ema
        self.ema_momentum = ema_momentum
        self.ema_overwrite_frequency = self._count("ema_overwrite_frequency", ema_overwrite_frequency, 1)
        self.loss_scale_factor = self._number("loss_scale_factor", loss_scale_factor)
        self.gradient_accumulation_steps = self._count(
            "gradient_accumulation_steps", gradient_accumulation_steps, 2
        )
        self.name = name or registry.auto_name(type(self).__name__)
        self._check_options()
        self._begin()

    def _begin(self) -> None:
        self.built = False
        self.batches = 0  # seen so far; with gradient accumulation several make one iteration
        self._trainable_variables: list[Variable] = []
        self._slots: dict[int, dict[str, Variable]] = {}  # id of a variable -> slot name -> slot
        self._own: dict[str, Variable] = {}  # by name; belong to no single variable
        self._stepped: list[Variable] = []
        self._scalars: dict[str, tuple[Variable, Variable]] = {}  # dtype -> learning rate, iterations
        self._hyper = Variable(np.zeros(len(self.hyper(0.0, 1))), "float64", name="hyper")
        self._decay = Variable(np.zeros(2), "float64", name="decay")
        self._ema = Variable(np.zeros(1), "float64", name="ema")
        self._excluded: set[int] = set()
        self._excluded_names: list[str] = []
        self._functions: dict[Hashable, Function] = {}

    # --- arguments -------------------------------------------------------------------------------------------

    def _number(self, name: str, value: Any, zero: bool = False) -> float | None:
        if value is None:
            return None
        number = _finite(value)
        if number is None or number < 0 or (number == 0 and not zero):
            least = "of at least 0" if zero else "above 0"
            raise Error(f"{type(self).__name__}: {name} must be None or a number {least}, got {value!r}")
        return number

    def _count(self, name: str, value: Any, least: int) -> int | None:
        if not value and not isinstance(value, float):
            return None
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise Error(f"{type(self).__name__}: {name} must be None or an integer of at least {least}, got {value!r}")
        return int(value)

    def _fraction(self, name: str, value: Any, one: bool = False) -> float:
        """A number in [0, 1), or in [0, 1]."""
        number = _finite(value)
        if number is None or not (0 <= number < 1 or (one and number == 1)):
            raise Error(f"{type(self).__name__}: {name} must lie in [0, 1{']' if one else ')'}, got {value!r}")
        return number

    def _check_options(self) -> None:
        clips = {n: getattr(self, n) for n in ("clipnorm", "clipvalue", "global_clipnorm")}
        given = [f"{name}={value}" for name, value in clips.items() if value is not None]
        if len(given) > 1:
            raise Error(f"{type(self).__name__}: {' and '.join(given)} exclude each other; keep one of them")
        self.ema_momentum = self._fraction("ema_momentum", self.ema_momentum, one=True)

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments; the learning rate as it is now, or its schedule."""
        values = super().get_config()
        values["learning_rate"] = registry.serialize(self._rate)
        if self._excluded or self._excluded_names:
            paths = [v.path for v in self._trainable_variables if id(v) in self._excluded]
            values["excluded_from_weight_decay"] = {"names": list(self._excluded_names), "paths": paths}
        return values

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        arguments = {name: value for name, value in config.items() if name != "excluded_from_weight_decay"}
        optimizer = super().from_config(arguments)
        excluded = config.get("excluded_from_weight_decay", {})
        optimizer._excluded_names = list(excluded.get("names", []))
        optimizer._excluded_paths = list(excluded.get("paths", []))
        return optimizer

    # --- learning rate ---------------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> float:
        """The rate of the next update. Setting it has effect from that update on."""
        return self._rate_at(self.iterations_done)

    @learning_rate.setter
    def learning_rate(self, value: Rate) -> None:
        if isinstance(value, LearningRateSchedule) or callable(value):
            self._rate = value
            return
        if isinstance(self._rate, LearningRateSchedule):
            raise Error(
                f"{self.name}: its learning rate follows a {type(self._rate).__name__} and cannot be set to "
                f"{value!r}; make the optimizer with a number as learning_rate to set it while training"
            )
        number = _finite(value)
        if number is None or number < 0:
            raise Error(
                f"{type(self).__name__}: learning_rate must be a number of at least 0, a LearningRateSchedule "
                f"or a function, got {value!r}"
            )
        self._rate = number

    def _rate_at(self, step: int) -> float:
        if isinstance(self._rate, float):
            return self._rate
        if isinstance(self._rate, LearningRateSchedule) or _takes_step(self._rate):
            return float(self._rate(step))
        return float(self._rate())
