"""What all optimizers share: the learning rate, clipping, weight decay, averaging, and their state.

An update of a model's variables is, in this order: mean of the accumulated gradients, clipping, weight decay, the
method's own step, moving average, constraints. All but the constraints are kernels of the train step. What changes
from step to step, such as the learning rate, they read from small float64 arrays that `before_step` writes.
"""

import inspect
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from fastcnn import config, initializers, ops, registry
from fastcnn.errors import Error
from fastcnn.graph import current_trace, update
from fastcnn.ops.core import convert
from fastcnn.ops.update import (
    AverageWeights,
    DecayWeights,
    OptimizerStep,
    assign,
    assign_add,
    clip_by_global_norm,
    clip_by_norm,
)
from fastcnn.optimizers.arguments import at_least_zero, count_or_none, fraction, positive_or_none
from fastcnn.plan import Function
from fastcnn.registry import Configurable
from fastcnn.schedules import LearningRateSchedule
from fastcnn.tensor import Tensor, Variable

Rate = float | LearningRateSchedule | Callable[..., float]

AVERAGE, ACCUMULATOR = "average", "gradient_accumulator"  # slots that are not the method's
HYPER_SIZE = 8  # more numbers than any method reads

_RENAMED = {
    "lr": "the argument is called learning_rate",
    "decay": "let the rate decay with learning_rate=optimizers.schedules.InverseTimeDecay(rate, 1, decay)",
}


class Optimizer(Configurable):
    """Base class of optimizers.

    learning_rate: a number, a schedule, or a function without arguments. A schedule counts batches, from 0.
    weight_decay: each update first takes w -= learning_rate weight_decay w, apart from the gradient
    (Loshchilov & Hutter 2019), from all variables but those given to `exclude_from_weight_decay`.
    clipnorm, global_clipnorm, clipvalue: at most one. The Euclidean norm that each gradient, or all of them as one
    vector, is scaled down to; the absolute value that elements are cut to.
    use_ema: keep moving averages of the variables, average = ema_momentum average + (1 - ema_momentum) w after each
    update, the first of them a copy. At the end of `fit`, and after every `ema_overwrite_frequency` updates, the
    variables become their averages.
    gradient_accumulation_steps: update once in so many batches, by the mean of their gradients. Averages and
    constraints wait for the update too, so that n batches do what one batch n times as large would.
    loss_scale_factor: what `scale_loss` multiplies by and `apply` divides gradients by, in a loop of your own. `fit`
    does neither: gradients are computed in float32 or float64, where there is no need of it.

    A method of your own is a subclass with `update_step(gradient, variable, learning_rate)` written with
    `fastcnn.ops`, where variables change by `self.assign`. `self.add_variable_from_reference(variable, name)` gives
    its slots; `self.iterations` is a tensor there. What reads a variable after `assign` sees the new values.
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
        self._refuse(unknown)
        self.name = name or registry.auto_name(type(self).__name__)
        self._rate: Any = None
        self.learning_rate = learning_rate
        self.weight_decay = (
            None if weight_decay is None else at_least_zero(self, "weight_decay", weight_decay)
        )
        self.clipnorm = positive_or_none(self, "clipnorm", clipnorm)
        self.clipvalue = positive_or_none(self, "clipvalue", clipvalue)
        self.global_clipnorm = positive_or_none(self, "global_clipnorm", global_clipnorm)
        self._check_clipping()
        self.use_ema = use_ema
        self.ema_momentum = fraction(self, "ema_momentum", ema_momentum)
        self.ema_overwrite_frequency = count_or_none(
            self, "ema_overwrite_frequency", ema_overwrite_frequency, 1
        )
        self.loss_scale_factor = positive_or_none(self, "loss_scale_factor", loss_scale_factor)
        self.gradient_accumulation_steps = count_or_none(
            self, "gradient_accumulation_steps", gradient_accumulation_steps, 2
        )
        self._make_state()

    def _refuse(self, unknown: Mapping[str, Any]) -> None:
        for argument in unknown:
            takes = ", ".join(registry.constructor_signature(Optimizer).parameters)
            hint = _RENAMED.get(argument, f"every optimizer takes {takes.removesuffix(', unknown')}")
            raise Error(f"{type(self).__name__}: there is no argument {argument!r}; {hint}")

    def _check_clipping(self) -> None:
        values = {name: getattr(self, name) for name in ("clipnorm", "clipvalue", "global_clipnorm")}
        given = [f"{name}={value}" for name, value in values.items() if value is not None]
        if len(given) > 1:
            raise Error(f"{type(self).__name__}: {' and '.join(given)} exclude each other; give one of them")

    def _make_state(self) -> None:
        self.built = False
        self.batches = 0  # taken into account so far; several make an iteration where gradients accumulate
        self._trainable_variables: list[Variable] = []  # of the last build, in its order
        self._known: list[Variable] = []  # of all builds; keeps the ids valid
        self._slots: dict[int, dict[str, Variable]] = {}  # id of a variable -> name -> slot
        self._own: dict[str, Variable] = {}  # variables that are no slots, by name
        self._stepped: list[Variable] = []
        self._hyper = Variable(np.zeros(HYPER_SIZE), "float64", name="hyper")
        self._decay = Variable(np.zeros(2), "float64", name="decay")
        self._momentum_of_averages = Variable(np.zeros(1), "float64", name="ema")
        self._scalars: dict[str, tuple[Variable, Variable]] = {}  # dtype -> learning rate and iterations
        self._rate_written: float | None = None  # into all of these
        self._undecayed: set[int | str] = set()  # ids of variables; their paths where it comes from a file
        self._undecayed_names: list[str] = []
        self._functions: dict[Hashable, Function] = {}
        self._scaled_in: Any = None  # the latest trace with a loss from `scale_loss`

    # --- configuration ---------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments, with the learning rate as it is now, and what weight decay leaves out."""
        values = {**super().get_config(), "learning_rate": registry.serialize(self._rate)}
        paths = [v.path for v in self._known if self._undecayed & {id(v), v.path}]
        if paths or self._undecayed_names:
            values["excluded_from_weight_decay"] = [paths, list(self._undecayed_names)]
        return values

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Mapping[str, Any] | None = None) -> Self:
        """The optimizer that `get_config` described; custom_objects: of your own, that it mentions by name."""
        arguments = dict(config)
        paths, names = arguments.pop("excluded_from_weight_decay", ([], []))
        with registry.custom_object_scope(custom_objects):
            optimizer = super().from_config(arguments)
        optimizer._undecayed, optimizer._undecayed_names = set(paths), list(names)
        return optimizer

    # --- learning rate and time ------------------------------------------------------------------------------

    @property
    def learning_rate(self) -> "CurrentRate":
        """The rate of the next batch; what is set here counts from that batch on."""
        rate = self._rate
        if not isinstance(rate, float):
            rate = rate(self.batches) if _takes_a_step(rate) else rate()
        return CurrentRate(rate, self)

    @learning_rate.setter
    def learning_rate(self, value: Rate) -> None:
        if isinstance(value, LearningRateSchedule) or callable(value):
            self._rate = value
            return
        if isinstance(self._rate, LearningRateSchedule):
            raise Error(
                f"optimizer {self.name!r}: its learning rate follows a {type(self._rate).__name__}, so it cannot be "
                f"set to {value!r}; make the optimizer with a number as learning_rate to set it while training"
            )
        self._rate = at_least_zero(self, "learning_rate", value)

    @property
    def _updates(self) -> int:
        return self.batches // (self.gradient_accumulation_steps or 1)

    @property
    def iterations(self) -> Any:
        """The number of updates made; in `update_step`, a scalar tensor."""
        if current_trace() is None:
            return Count(self._updates)
        dtype = self._trainable_variables[0].dtype if self._trainable_variables else config.floatx()
        return self._scalar_variables(dtype)[1]

    @property
    def phase(self) -> str:
        """What the next step does with its gradients: "accumulate" or "update". The two are different plans."""
        steps = self.gradient_accumulation_steps or 1
        return "update" if (self.batches + 1) % steps == 0 else "accumulate"

    # --- variables -------------------------------------------------------------------------------------------

    def slots(self) -> dict[str, float]:
        """Names and first values of the arrays that the method keeps for each variable."""
        return {}

    def build(self, variables: Sequence[Variable]) -> None:
        """Make the slots of these variables; those that exist, of these and of others, stay as they are."""
        for variable in variables:
            if id(variable) not in self._slots:
                self._known.append(variable)
                self._slots[id(variable)] = {}
                self._scalar_variables(variable.dtype)
            for name, value in self._all_slots(variable).items():
                self._slot(variable, name, value)
        self._trainable_variables = list(variables)
        self.built = True

    def _all_slots(self, variable: Variable) -> dict[str, Any]:
        slots: dict[str, Any] = dict(self.slots())
        if self.use_ema:
            slots[AVERAGE] = variable.value
        if self.gradient_accumulation_steps:
            slots[ACCUMULATOR] = 0.0
        return slots

    def _slot(self, variable: Variable, name: str, value: Any) -> Variable:
        slots = self._slots.setdefault(id(variable), {})
        if name not in slots:
            values = value if np.ndim(value) else np.full(variable.buffer.shape, value)
            slots[name] = Variable(values, variable.dtype, trainable=False, name=f"{variable.path}/{name}")
        return slots[name]

    def slot(self, variable: Variable, name: str) -> Variable:
        """The slot of that name. Raises `Error` for a variable the optimizer was not built with."""
        slots = self._slots.get(id(variable), {})
        if name not in slots:
            raise Error(
                f"optimizer {self.name!r} was not built with {variable.path!r}; call build(variables) or compile first"
            )
        return slots[name]

    @property
    def variables(self) -> list[Variable]:
        """All arrays that the optimizer keeps."""
        return [*self._own.values(), *(slot for slots in self._slots.values() for slot in slots.values())]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Overwrite `variables`. Nothing is changed when the number or any shape does not fit."""
        arrays, variables = [np.asarray(w) for w in weights], self.variables
        if [a.shape for a in arrays] != [v.shape for v in variables]:
            raise Error(
                f"optimizer {self.name!r}: set_weights got arrays of shapes {[a.shape for a in arrays]}; its variables "
                f"have {[v.shape for v in variables]}"
            )
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    def save_own_variables(self, store: dict[str, Any]) -> None:
        """Write the number of batches and copies of `variables` into a dictionary."""
        store["batches"] = np.array(self.batches)
        store.update((str(i), variable.numpy()) for i, variable in enumerate(self.variables))

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Take up what `save_own_variables` wrote for an optimizer built with the same variables."""
        self.set_weights([store[str(i)] for i in range(len(store) - 1)])
        self.batches = int(store["batches"])

    # --- saving ----------------------------------------------------------------------------------------------

    def named_state(self, names: Mapping[str, Variable]) -> dict[str, Variable]:
        """What the optimizer keeps: NAME/SLOT for slots of variables called NAME, own/NAME for what is no slot."""
        state = {f"own/{name}": variable for name, variable in self._own.items()}
        for name, variable in names.items():
            state |= {f"{name}/{key}": slot for key, slot in self._slots.get(id(variable), {}).items()}
        return state

    def restore(self, names: Mapping[str, Variable], arrays: Mapping[str, np.ndarray], batches: int) -> None:
        """Take up the state that `named_state` gave, after so many batches.

        Raises `Error` with everything that does not fit.
        """
        owners = {key: names.get(key.rpartition("/")[0]) for key in arrays}
        owned = {key.rpartition("/")[0]: owner for key, owner in owners.items() if owner is not None}
        self.build(list(owned.values()))
        self._check_state(owners, self.named_state(owned), arrays)
        for key, array in arrays.items():
            owner, name = owners[key], key.rpartition("/")[2]
            store = self._own if owner is None else self._slots[id(owner)]
            if name not in store:  # of a method that makes it in its first step
                store[name] = Variable(array, str(array.dtype), trainable=False, name=name)
            store[name].assign(array)
        self.batches = batches

    def _check_state(
        self,
        owners: Mapping[str, Variable | None],
        state: Mapping[str, Variable],
        arrays: Mapping[str, np.ndarray],
    ) -> None:
        strangers = [key for key, owner in owners.items() if owner is None and not key.startswith("own/")]
        problems = [f"{key} belongs to no variable of the model" for key in strangers]
        problems += [f"{key} is missing" for key in state if key not in arrays]
        problems += [
            f"{key} has shape {arrays[key].shape}, expected {variable.shape}"
            for key, variable in state.items()
            if key in arrays and arrays[key].shape != variable.shape
        ]
        if problems:
            raise Error(f"optimizer {self.name!r}: the saved state does not fit: {'; '.join(problems)}")

    # --- weight decay ----------------------------------------------------------------------------------------

    def exclude_from_weight_decay(
        self, var_list: Iterable[Variable] | None = None, var_names: Iterable[str] | None = None
    ) -> None:
        """Spare variables: those given, and those in whose name one of the patterns is found ("bias").

        Possible before the first step only. Saved with the optimizer.
        """
        if self.built:
            raise Error(
                f"optimizer {self.name!r}: call exclude_from_weight_decay before the first training step"
            )
        self._known += list(var_list or ())
        self._undecayed = {id(variable) for variable in self._known}
        self._undecayed_names = list(var_names or ())

    def _spares(self, variable: Variable) -> bool:
        if self._undecayed & {id(variable), variable.path}:
            return True
        return any(re.search(pattern, variable.name or "") for pattern in self._undecayed_names)

    def _decay_weights(self, variable: Variable) -> None:
        if self.weight_decay is not None and not self._spares(variable):
            update(DecayWeights(), variable, self._decay)

    # --- an update -------------------------------------------------------------------------------------------

    def apply(self, grads: Iterable[Any], trainable_variables: Sequence[Variable] | None = None) -> None:
        """Update variables with their gradients; a gradient that is None leaves its variable alone.

        In a train step that is being traced, gradients are tensors and the update becomes part of the step.
        Elsewhere they are arrays, and the update is made at once.
        trainable_variables: default, those of the last `build`.
        """
        if trainable_variables is None and not self.built:
            raise Error(
                f"optimizer {self.name!r}: call build(variables) first, or give apply the variables as well"
            )
        variables = self._trainable_variables if trainable_variables is None else list(trainable_variables)
        if not self.built:
            self.build(variables)
        pairs = [(g, v) for g, v in zip(grads, variables, strict=True) if g is not None]
        if current_trace() is not None:
            self._add_to_trace(pairs)
        elif pairs:
            self._apply_now(pairs)

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> int:
        """`apply` on pairs; returns the number of updates so far."""
        pairs = list(grads_and_vars)
        self.apply([gradient for gradient, _ in pairs], [variable for _, variable in pairs])
        return self._updates

    def _apply_now(self, pairs: Sequence[tuple[Any, Variable]]) -> None:
        variables = [variable for _, variable in pairs]
        self.build(variables)
        key = tuple(id(variable) for variable in variables)
        if key not in self._functions:
            self._functions[key] = Function(
                lambda *grads: self._add_to_trace(list(zip(grads, variables, strict=True)))
            )
        scale = self.loss_scale_factor or 1.0
        self.before_step()
        self._functions[key](*(np.array(g, v.dtype, order="C") / scale for g, v in pairs), key=self.phase)
        self.after_step()

    def scale_loss(self, loss: Any) -> Any:
        """The loss times `loss_scale_factor`, to take gradients of; `apply` divides them by it again."""
        self._scaled_in = current_trace()
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def _add_to_trace(self, pairs: Sequence[tuple[Tensor, Variable]]) -> None:
        """What this phase does with gradients."""
        trace = current_trace()
        if trace is not None and self in trace.optimizers:
            raise Error(
                f"optimizer {self.name!r} is applied twice in one step; give apply all variables at once, "
                "or make a second optimizer"
            )
        if trace is not None:
            trace.optimizers.append(self)
        if self.loss_scale_factor is not None and self._scaled_in is current_trace():
            pairs = [(gradient / self.loss_scale_factor, variable) for gradient, variable in pairs]
        if self.phase == "accumulate":
            for gradient, variable in pairs:
                self.assign_add(self.slot(variable, ACCUMULATOR), gradient)
            return
        gradients, variables = self._clipped([self._mean(*pair) for pair in pairs]), [v for _, v in pairs]
        for variable in variables:
            self._decay_weights(variable)
        for gradient, variable in zip(gradients, variables, strict=True):
            self.update_step(gradient, variable, self._scalar_variables(variable.dtype)[0])
        if self.use_ema:
            for variable in variables:
                update(AverageWeights(), self.slot(variable, AVERAGE), variable, self._momentum_of_averages)
        self._stepped = variables

    def _mean(self, gradient: Tensor, variable: Variable) -> Tensor:
        steps = self.gradient_accumulation_steps
        return gradient if steps is None else (self.slot(variable, ACCUMULATOR) + gradient) / steps

    def _clipped(self, gradients: list[Tensor]) -> list[Tensor]:
        if self.clipnorm is not None:
            return [clip_by_norm(g, self.clipnorm) for g in gradients]
        if self.global_clipnorm is not None:
            return clip_by_global_norm(gradients, self.global_clipnorm)
        if self.clipvalue is not None:
            return [ops.clip(g, -self.clipvalue, self.clipvalue) for g in gradients]
        return gradients

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        """Add the method's own step on one variable to the trace. learning_rate: a scalar of the variable's dtype."""
        raise Error(f"{type(self).__name__} must define update_step(self, gradient, variable, learning_rate)")

    # --- around the run of a step ----------------------------------------------------------------------------

    def hyper(self, rate: float, step: int) -> tuple[float, ...]:
        """The numbers that the method's kernel reads at update number `step`, counted from 1."""
        return (rate,)

    def before_step(self) -> None:
        """Write what the kernels read. Once before every run of a train step."""
        if self.phase == "accumulate":
            return
        done = self._updates
        rate = self._rate if isinstance(self._rate, float) else self.learning_rate
        self._hyper.put(self.hyper(rate, done + 1))
        if self.weight_decay is not None:
            self._decay.put((rate, self.weight_decay))
        if self.use_ema:
            self._momentum_of_averages.put((self.ema_momentum if done else 0.0,))
        for learning_rate, iterations in self._scalars.values():
            if rate != self._rate_written:
                learning_rate.put(rate)
            iterations.put(done)
        self._rate_written = rate

    def after_step(self) -> None:
        """Count the batch, and do what is left to do after an update. Once after every run of a train step."""
        updated = self.phase == "update"
        self.batches += 1
        if not updated:
            return
        if (
            self.use_ema
            and self.ema_overwrite_frequency
            and self._updates % self.ema_overwrite_frequency == 0
        ):
            self.finalize_variable_values(self._stepped)
        for variable in self._stepped:
            if variable.constraint is not None:
                variable.assign(variable.constraint(variable.value))
            if self.gradient_accumulation_steps:
                self.slot(variable, ACCUMULATOR).value.fill(0)

    def finalize_variable_values(self, var_list: Iterable[Variable]) -> None:
        """With `use_ema`, replace variables by their averages. `fit` does so at its end."""
        for variable in var_list if self.use_ema else ():
            average = self._slots.get(id(variable), {}).get(AVERAGE)
            if average is not None:
                variable.assign(average.value)

    def swap_averages(self) -> None:
        """With `use_ema`, let variables and their averages change places; once more, and all is as before."""
        for variable in self._trainable_variables:
            average, weights = self.slot(variable, AVERAGE), variable.numpy()
            variable.assign(average.buffer)
            average.assign(weights)

    def restart_averages(self) -> None:
        """With `use_ema`, let the averages be the variables as they are."""
        for variable in self._trainable_variables:
            self.slot(variable, AVERAGE).assign(variable.buffer)

    # --- for methods of your own -----------------------------------------------------------------------------

    def assign(self, variable: Variable, value: Any) -> None:
        """variable = value, when the step runs."""
        assign(variable, ops.broadcast_to(convert(value, variable.dtype), variable.shape))

    def assign_add(self, variable: Variable, value: Any) -> None:
        """variable += value."""
        assign_add(variable, ops.broadcast_to(convert(value, variable.dtype), variable.shape))

    def assign_sub(self, variable: Variable, value: Any) -> None:
        """variable -= value."""
        self.assign_add(variable, -convert(value, variable.dtype))

    def add_variable_from_reference(
        self, reference_variable: Variable, name: str = "var", initializer: Any = "zeros"
    ) -> Variable:
        """A slot: an array of the shape and dtype of a variable. Asked for again by name, it is the same one."""
        slots = self._slots.get(id(reference_variable), {})
        if name in slots:
            return slots[name]
        values = _initial_values(initializer, reference_variable.value.shape, reference_variable.dtype)
        return self._slot(reference_variable, name, values)

    def add_optimizer_variables(
        self, trainable_variables: Iterable[Variable], name: Any, initializer: Any = "zeros"
    ) -> Any:
        """A slot for each variable, in a list. For a list of names a list each, with one initializer or one each."""
        variables = list(trainable_variables)
        if isinstance(name, str):
            return [self.add_variable_from_reference(v, name, initializer) for v in variables]
        starts = list(initializer) if isinstance(initializer, list | tuple) else [initializer] * len(name)
        if len(starts) != len(name):
            raise Error(f"optimizer {self.name!r}: {len(starts)} initializers for {len(name)} names of slots")
        pairs = zip(name, starts, strict=True)
        return tuple(self.add_optimizer_variables(variables, each, start) for each, start in pairs)

    def add_variable(
        self, shape: Sequence[int], initializer: Any = "zeros", dtype: str | None = None, aggregation: Any = "none",
        layout: Any = None, name: str = "var",
    ) -> Variable:  # fmt: skip
        """An array that belongs to no variable. Asked for again by name, it is the same one.

        aggregation and layout speak of several devices; they change nothing.
        """
        if name not in self._own:
            dtype = dtype or config.floatx()
            values = _initial_values(initializer, tuple(shape), dtype)
            self._own[name] = Variable(values, dtype, trainable=False, name=name)
        return self._own[name]

    def _get_variable_index(self, variable: Variable) -> int:
        for index, known in enumerate(self._trainable_variables):
            if known is variable:
                return index
        raise Error(f"optimizer {self.name!r} was not built with {variable.path!r}; compile the model again")

    def _scalar_variables(self, dtype: str) -> tuple[Variable, Variable]:
        if dtype not in self._scalars:
            scalars = (
                Variable(0.0, dtype, False, "learning_rate"),
                Variable(0.0, dtype, False, "iterations"),
            )
            self._scalars[dtype], self._rate_written = scalars, None
        return self._scalars[dtype]


class Count(int):
    """A number of updates, with the method that scripts use on the variable that Keras has in its place."""

    def numpy(self) -> np.integer:
        """The number as NumPy has it."""
        return np.int64(self)


class CurrentRate(float):
    """A learning rate, a number, with the methods that scripts use on the variable that Keras has in its place."""

    optimizer: Optimizer

    def __new__(cls, value: float, optimizer: Optimizer) -> Self:
        rate = super().__new__(cls, value)
        rate.optimizer = optimizer
        return rate

    def assign(self, value: float) -> None:
        """Set the optimizer's learning rate."""
        self.optimizer.learning_rate = value

    def numpy(self) -> np.floating:
        """The number as NumPy has it."""
        return np.float32(self)


class _Method(Optimizer):
    """An optimizer whose step is one kernel, with numbers from `hyper`."""

    def step(self) -> OptimizerStep:
        """The op that runs the kernel, on the variable, its gradient and the `slots`."""
        raise Error(f"{type(self).__name__} names no step")

    def update_step(self, gradient: Tensor, variable: Variable, learning_rate: Tensor) -> None:
        slots = [self.slot(variable, name) for name in self.slots()]
        update(self.step(), variable, gradient, *slots, self._hyper)


def _initial_values(initializer: Any, shape: tuple[int, ...], dtype: str) -> Any:
    make = initializers.get(initializer)
    return np.zeros(shape, dtype) if make is None else make(shape, dtype)


def _takes_a_step(rate: Any) -> bool:
    """Whether a function of the learning rate wants the number of updates."""
    if isinstance(rate, LearningRateSchedule):
        return True
    try:
        inspect.signature(rate).bind()
    except TypeError:
        return True
    return False
