"""One batch through a model: traced into a plan for its shapes, fed, run, and read."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np

from fastcnn import backend, ops
from fastcnn.backend import device
from fastcnn.backend.cpu import num_threads
from fastcnn.data.arrays import Arrays, Batch
from fastcnn.errors import Error
from fastcnn.graph import Report, current_trace, gradients
from fastcnn.layers.base import Layer, tensors_in
from fastcnn.metrics.base import Later
from fastcnn.models.manifold import mixed_targets
from fastcnn.optimizers import Optimizer
from fastcnn.plan import Function, Plan, describe
from fastcnn.plan.function import fill
from fastcnn.tensor import Tensor, TensorSpec
from fastcnn.utils.batches import pack_x_y_sample_weight, unpack_x_y_sample_weight

CUSTOM = {  # mode -> methods of which any, written anew, makes the step the user's
    "train": ("train_step", "compute_metrics"),
    "test": ("test_step", "compute_metrics"),
    "predict": ("predict_step",),
}
USUAL: set[Callable[..., Any]] = set()  # these methods, as all models have them


@dataclass
class StepResult:
    """What a step found. Predictions are views of the plan's memory: `release` it after use, for later runs."""

    losses: list[float]
    predictions: list[np.ndarray]
    targets: list[np.ndarray | None]
    weights: list[np.ndarray | None]
    release: Callable[[], None]


class Planned(NamedTuple):
    """A plan for a batch, the structure of its outputs, and the arrays to be copied into its inputs."""

    plan: Plan
    structure: Any
    shapes: list[tuple[int, ...]]  # of the predictions that targets are compared with
    arrays: list[np.ndarray]


class Signature(NamedTuple):
    """How many arrays a batch has and how they are arranged; what a body is traced for besides shapes."""

    x: Any  # structure with positions in place of arrays
    y: Any
    weight: Any
    version: int

    @staticmethod
    def of(batch: Batch) -> Signature:
        x, y, weight = map(_structure, batch)
        return Signature(x, y, weight, Layer.structure_version)


class Step:
    """Runs batches in one mode: "train" (updates weights), "test" (loss only) or "predict" (outputs only)."""

    def __init__(self, model: Any, mode: str):
        self.model = model
        self.mode = mode
        self.mixup: Any = None  # a ManifoldMixup
        self._functions: dict[Signature, Function] = {}
        # what the plan is for, the plan, the structure of its outputs, the shapes of predictions
        self._latest: tuple[Any, Plan, Any, list[tuple[int, ...]]] | None = None

    # --- what is traced ----------------------------------------------------------------------------------------

    def _function(self, signature: Signature) -> Function:
        if signature not in self._functions:
            if len(self._functions) >= 4:
                self._functions.pop(next(iter(self._functions)))

            def body(*tensors: Tensor) -> Any:
                supply = iter([ops.cast(x, self.model.dtype) for x in tensors])
                x, y, weight = (_rebuild(s, supply) for s in (signature.x, signature.y, signature.weight))
                return self._body(x, y, weight)

            self._functions[signature] = Function(body, self.mode == "train", self.model.device)
        return self._functions[signature]

    def _body(self, x: Any, y: Any, weight: Any) -> Any:
        if self.mixup is not None:
            x, y = self.mixup.begin(self.model, x, y)
            if self.is_custom or is_overridden(self.model, "compute_loss"):
                y = mixed_targets(self.model, y)
        if self.is_custom:
            return self._custom(pack_x_y_sample_weight(x, y, weight))
        predictions = self.model(x)
        if self.mode == "predict":
            return {"predictions": predictions}
        losses = self._learn(x, y, predictions, weight)
        return {"losses": losses, "predictions": list(tensors_in(predictions))}

    def _learn(self, x: Any, y: Any, predictions: Any, weight: Any) -> list[Tensor]:
        """The total loss and its parts; in training, also the update of the weights."""
        model = self.model
        if model._objective is None:
            model._match_outputs(_names(predictions))
        model._objective.parts = []
        mode = (
            {"training": self.mode == "train"}
            if "training" in inspect.signature(model.compute_loss).parameters
            else {}
        )
        total = model.compute_loss(x, y, predictions, weight, **mode)
        if total is None:
            raise Error(f"model {model.name!r} has no loss; give compile one, or add_loss in a layer")
        if self.mode == "train":
            self._train(total)
        return [total, *model._objective.parts]

    # --- steps of the user's -----------------------------------------------------------------------------------

    @cached_property
    def is_custom(self) -> bool:
        """Whether the model's class has a step, or what it reports, of its own."""
        return any(is_overridden(self.model, name) for name in CUSTOM[self.mode])

    def _custom(self, data: Any) -> Any:
        """Trace the model's own step; its logs are told after each run."""
        result = getattr(self.model, f"{self.mode}_step")(data)
        if self.mode == "predict":
            return {"predictions": result}
        trace = current_trace()
        assert trace is not None
        trace.reports.append(Report(self._receive, (result,), {}))
        return {}

    def _receive(self, logs: Any) -> None:
        found: dict[str, Any] = {}
        for name, value in (logs or {}).items():
            value = value.known() if isinstance(value, Later) else value
            found.update(value if isinstance(value, Mapping) else {name: _number(value)})
        self.model._step_logs = found

    def usual(self, data: Any) -> dict[str, Any]:
        """What `train_step` and `test_step` do when nobody has written others."""
        x, y, weight = unpack_x_y_sample_weight(data)
        predictions = self.model(x)
        losses = self._learn(x, y, predictions, weight)
        trace, size = current_trace(), next(tensors_in(x)).shape[0]
        assert trace is not None
        trace.reports.append(Report(self._count, (losses, size), {}))
        return self.model.compute_metrics(x, y, predictions, weight)

    def _count(self, losses: Sequence[np.ndarray], size: int) -> None:
        self.model._losses_seen.update([loss.item() for loss in losses], size)

    def run_custom(self, planned: Planned) -> None:
        """Run a batch through the model's own step."""
        plan = planned.plan
        with plan.lock:
            plan.fill(planned.arrays)
            _updating(plan, plan.run)
            plan.tell()

    def _train(self, total: Tensor) -> None:
        variables = self.model.trainable_weights
        optimizer = self.model.optimizer
        optimizer.build(variables)
        optimizer.apply(gradients(total, variables), variables)

    # --- running -----------------------------------------------------------------------------------------------

    def planned(self, batch: Batch) -> Planned:
        """What runs for a batch of these shapes, and the arrays that it wants."""
        arrays = batch.arrays
        phase = self._phases() if self.mode == "train" else None
        kinds = [(array.shape, array.dtype.char == "B") for array in arrays]  # bytes
        key = Signature.of(batch), phase, kinds, num_threads(), device()
        if self._latest is None or self._latest[0] != key:
            specs = [TensorSpec(array.shape, self._dtype(array)) for array in arrays]
            plan, structure = self._function(key[0]).plan(specs, phase)
            predictions = structure["predictions"] if "losses" in structure else []
            shapes = [plan.output_arrays[i].shape for i in predictions]
            self._latest = key, plan, structure, shapes
            self.model._metrics_held = self.model._held_metrics()
        return Planned(*self._latest[1:], arrays)

    def _dtype(self, array: np.ndarray) -> str:
        """What the plan takes an array as."""
        takes_bytes = array.dtype == np.uint8 and backend.get(backend.resolved(self.model.device)).BYTES
        return "uint8" if takes_bytes else self.model.dtype

    def _phases(self) -> Any:
        """What the next step of each optimizer is: one plan for each."""
        if not self.is_custom:
            return self.model.optimizer.phase
        return tuple(value.phase for value in vars(self.model).values() if isinstance(value, Optimizer))

    def run(self, batch: Batch, planned: Planned) -> StepResult:
        """Run a batch; the caller must `release` the result. Each of its losses is finite or NaN, never checked."""
        plan = planned.plan
        plan.lock.acquire()
        try:
            plan.fill(planned.arrays)
            _updating(plan, plan.run)
            plan.tell()
            return self._result(batch, planned.structure, plan.output_arrays, plan.lock.release)
        except BaseException:
            plan.lock.release()
            raise

    def runs_ahead(self, planned: Planned) -> bool:
        """Whether batches may be started while nobody has seen the results of earlier ones."""
        return planned.plan.backend.AHEAD > 0 and not self.is_custom and not planned.plan.reports

    def start(self, batch: Batch, planned: Planned) -> Callable[[], StepResult]:
        """Begin to run a batch; what is returned waits for the result."""
        plan = planned.plan
        with plan.lock:
            received = _updating(plan, partial(plan.start, planned.arrays))
        return lambda: self._result(batch, planned.structure, received.arrays(), received.release)

    def _result(
        self, batch: Batch, structure: Any, outputs: list[np.ndarray], release: Callable[[], None]
    ) -> StepResult:
        losses = [outputs[i].item() for i in structure["losses"]]
        predictions = [outputs[i] for i in structure["predictions"]]
        names = self.model._objective.names if self.model._objective else ["output"]
        weights = arrange(batch.sample_weight, names, "sample_weight", repeat=True)
        return StepResult(losses, predictions, arrange(batch.y, names, "y"), weights, release)

    def predict(self, x: Arrays) -> tuple[Any, list[np.ndarray]]:
        """Outputs for inputs: their structure and fresh arrays."""
        plan, structure, _, arrays = self.planned(Batch(x))
        with plan.lock:
            plan.fill(arrays)
            plan.run()
            plan.tell()
            return structure["predictions"], [y.copy() for y in plan.output_arrays]

    def restore(self, structure: Any, arrays: Sequence[np.ndarray]) -> Any:
        """Outputs in the structure of the model's."""
        return fill(structure, arrays)

    def check(self, planned: Planned, data: Batch) -> None:
        """Refuse data that cannot be trained on: looks at all targets. planned: of one of their batches."""
        if self.is_custom:
            return
        objective = self.model._objective
        if objective is not None:
            objective.check_targets(arrange(data.y, objective.names, "y"), planned.shapes)

    def describe(self, batch_size: int, timed: bool) -> str:
        """The plan for batches of this size, with targets as the losses want them."""
        x = [np.zeros((batch_size, *shape[1:]), self.model.dtype) for shape in _list(self.model.input_shape)]
        if self.mode == "predict":
            batch = Batch(x[0] if len(x) == 1 else tuple(x))
        else:
            shapes = [(batch_size, *shape[1:]) for shape in _list(self.model.output_shape)]
            if self.model._objective is None:
                self.model._match_outputs(
                    [f"output_{i + 1}" for i in range(len(shapes))] if len(shapes) > 1 else ["output"]
                )
            y = [np.zeros(shape, self.model.dtype) for shape in self.model._objective.target_shapes(shapes)]
            batch = Batch(x[0] if len(x) == 1 else tuple(x), y[0] if len(y) == 1 else tuple(y))
        return describe(self.planned(batch).plan, timed)


def _updating(plan: Plan, run: Callable[[], Any]) -> Any:
    """What `run` gives, within a step of the optimizers whose updates are in the plan."""
    for optimizer in plan.optimizers:
        optimizer.before_step()
    result = run()
    for optimizer in plan.optimizers:
        optimizer.after_step()
    return result


def usual(method: Callable[..., Any]) -> Callable[..., Any]:
    """Note a method of all models that users may write anew."""
    USUAL.add(method)
    return method


def is_overridden(model: Any, name: str) -> bool:
    """Whether the model's class, or the model itself, has another method of this name than all models."""
    return getattr(getattr(model, name), "__func__", None) not in USUAL


def _number(value: Any) -> Any:
    return float(value) if np.ndim(value) == 0 else value


def _list(shapes: Any) -> list:
    return shapes if isinstance(shapes, list) else [shapes]


# --- structures of arrays --------------------------------------------------------------------------------------


def _structure(part: Arrays | None) -> Any:
    if isinstance(part, np.ndarray):
        return "one"
    if part is None:
        return None
    if isinstance(part, dict):
        return ("dict", *part)
    return len(part)


def _rebuild(structure: Any, supply: Any) -> Any:
    if structure is None:
        return None
    if structure == "one":
        return next(supply)
    if isinstance(structure, int):
        return [next(supply) for _ in range(structure)]
    return {name: next(supply) for name in structure[1:]}


def _names(predictions: Any) -> list[str]:
    if isinstance(predictions, Mapping):
        return list(predictions)
    count = len(list(tensors_in(predictions)))
    return ["output"] if count == 1 else [f"output_{i + 1}" for i in range(count)]


def arrange(value: Any, names: Sequence[str], what: str, repeat: bool = False) -> list[Any]:
    """One entry an output: of a dict by name, of a list by position; a single value for the only output.

    `repeat`: a single value counts for every output (sample weights).
    """
    if value is None or (isinstance(value, np.ndarray) and len(names) == 1):
        return [value] * len(names)
    if isinstance(value, Mapping):
        return [value.get(name) for name in names]
    if isinstance(value, list | tuple):
        if len(value) != len(names):
            raise Error(f"{what}: {len(value)} arrays for {len(names)} outputs ({', '.join(names)})")
        return list(value)
    if len(names) > 1 and not repeat:
        raise Error(f"{what}: one array for {len(names)} outputs ({', '.join(names)}); give a list or a dict")
    return [value] * len(names)
