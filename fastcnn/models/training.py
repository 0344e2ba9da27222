"""Training: compile, fit, evaluate, predict and the steps on single batches."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn import config, ops, optimizers
from fastcnn.backend import resolved
from fastcnn.callbacks import CallbackList, History
from fastcnn.data import Batch, make_batches, split_validation
from fastcnn.data.arrays import as_batch, each
from fastcnn.data.batches import Batches, weigh_classes
from fastcnn.errors import Error
from fastcnn.graph import Report, current_trace, tracing
from fastcnn.layers.base import Layer, tensors_in
from fastcnn.metrics.base import Later, Metric
from fastcnn.models.manifold import ManifoldMixup
from fastcnn.models.objective import LossTracker, MetricSet, Objective, results_of, revived
from fastcnn.models.step import Planned, Step, StepResult, arrange, usual
from fastcnn.optimizers import Optimizer
from fastcnn.plan.progress import compile_progress
from fastcnn.registry import serialize
from fastcnn.utils.batches import unpack_x_y_sample_weight

OWN = ("_compiled", "_metrics_held")  # attributes of a model in which metrics are not the user's

if TYPE_CHECKING:  # what a Trainer is a part of: `Model` derives from both
    Whole = Layer
else:
    Whole = object


class Trainer(Whole):
    """The part of a Model that trains it. Names, arguments, defaults and meaning are those of Keras."""

    def __init__(self) -> None:
        self.optimizer: Optimizer | None = None
        self.loss: Any = None
        self.history: History | None = None
        self.stop_training = self.stop_evaluating = self.stop_predicting = False
        self.run_eagerly, self.jit_compile = False, "auto"
        self._compiled: dict[str, Any] | None = None
        self.device: str | None = None  # None: that of `set_device`
        self.reset_plans()

    def reset_plans(self) -> None:
        """Forget everything prepared for earlier shapes, losses or layers."""
        self._steps: dict[str, Step] = {}
        self._objective: Objective | None = None
        self._metric_set: MetricSet | None = None
        self._losses_seen: LossTracker | None = None
        self._step_logs: dict[str, Any] | None = None  # what a step of the user's has returned
        self._started: deque[tuple[Callable[[], StepResult], Batch]] = (
            deque()
        )  # nobody has seen their results yet
        self._metrics_held: list[Metric] | None = None  # by the model and its layers, when a step was planned

    # --- compile ---------------------------------------------------------------------------------------------

    def compile(
        self, optimizer: Any = "rmsprop", loss: Any = None, loss_weights: Any = None, metrics: Any = None,
        weighted_metrics: Any = None, run_eagerly: bool = False, steps_per_execution: int = 1,
        jit_compile: Any = "auto", auto_scale_loss: bool = True, device: str | None = None,
    ) -> None:  # fmt: skip
        """Say how to train: optimizer, loss and metrics, by name, class or object.

        device: "cpu", "cuda" or "auto"; None, that of `fastcnn.set_device`.

        Kernels are always compiled and a step is always one plan: run_eagerly, steps_per_execution, jit_compile
        and auto_scale_loss are accepted and change nothing.
        """
        chosen = optimizers.get(optimizer)
        self.device = None if device is None else resolved(device)
        self.reset_plans()
        self.optimizer = chosen
        self.loss = loss
        self._compiled = {
            "optimizer": chosen,
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        self.run_eagerly, self.jit_compile = run_eagerly, jit_compile
        names = self._known_output_names()
        if names is not None:
            self._match_outputs(names)

    def get_compile_config(self) -> dict[str, Any] | None:
        """The arguments of compile as plain data; None where a function among them has no name to be found by."""
        try:
            return {name: serialize(value) for name, value in (self._compiled or {}).items()} or None
        except Error:
            return None

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile with what `get_compile_config` returned."""
        self.compile(**{name: revived(name, value) for name, value in config.items()})

    @property
    def compiled(self) -> bool:
        return self._compiled is not None

    @property
    def metrics(self) -> list[Any]:
        """The metrics in use: the loss, those given to compile, and those that the model and its layers hold."""
        found: list[Any] = list(self._losses_seen.means) if self._losses_seen else []
        found += [entry[2] for entry in self._metric_set.entries] if self._metric_set else []
        return found + self._held_metrics()

    def _held_metrics(self) -> list[Metric]:
        """Metrics that are attributes of the model and of the layers in it."""
        found: dict[int, Metric] = {}
        for layer in self.layers_inside:
            for name, value in vars(layer).items():
                several = value if isinstance(value, list | tuple) and name not in OWN else [value]
                found |= {id(item): item for item in several if isinstance(item, Metric)}
        return list(found.values())

    @property
    def metrics_names(self) -> list[str]:
        return [metric.name for metric in self.metrics]

    def reset_metrics(self) -> None:
        """Start all running means again."""
        self._started.clear()
        if self._losses_seen is not None:
            self._losses_seen.reset()
        if self._metric_set is not None:
            self._metric_set.reset()
        for metric in self._held if self._has_usual_metrics else self.metrics:
            metric.reset_state()

    def get_metrics_result(self) -> dict[str, Any]:
        """Name -> value of the losses and metrics since they were last reset."""
        self._settle()
        if not self._has_usual_metrics:
            return results_of(self.metrics)
        losses = self._losses_seen.results() if self._losses_seen is not None else {}
        metrics = self._metric_set.results() if self._metric_set is not None else {}
        return {**losses, **metrics, **results_of(self._held)}

    @property
    def _has_usual_metrics(self) -> bool:
        return getattr(type(self), "metrics", None) is Trainer.metrics

    @property
    def _held(self) -> list[Metric]:
        """`_held_metrics` as they were when a step was planned: to look through all layers takes time."""
        if self._metrics_held is None:
            return self._held_metrics()
        return self._metrics_held

    def _known_output_names(self) -> list[str] | None:
        """Names of the outputs, where they are known before a batch is seen."""
        return None

    def _match_outputs(self, names: Sequence[str]) -> None:
        """Bring losses and metrics together with the outputs; raises `Error` when they do not fit."""
        assert self._compiled is not None
        told = self._compiled
        self._objective = Objective(told["loss"], told["loss_weights"], names)
        self._metric_set = MetricSet(told["metrics"], told["weighted_metrics"], names)
        parts = [
            f"{name}_loss"
            for name, loss in zip(names, self._objective.losses, strict=True)
            if loss is not None
        ]
        self._losses_seen = LossTracker(["loss", *(parts if len(parts) > 1 else [])])

    # --- steps -----------------------------------------------------------------------------------------------

    @usual
    def train_step(self, data: Any) -> dict[str, Any]:
        """One training step on tensors; returns its logs, name -> number. Override for your own.

        data: x, (x, y) or (x, y, sample_weight). The step is traced: it is executed once for each shape, and what it
        computes with tensors is run for every batch. Gradients are `fastcnn.gradients(loss, self.trainable_weights)`,
        updates `self.optimizer.apply(grads, self.trainable_weights)`. Metrics are updated with tensors and returned
        as results, and have their numbers after the run.
        """
        return self._step("train").usual(data)

    @usual
    def test_step(self, data: Any) -> dict[str, Any]:
        """Loss and metrics of a batch of tensors, as `train_step`, without a change of weights."""
        return self._step("test").usual(data)

    @usual
    def predict_step(self, data: Any) -> Any:
        """Outputs for a batch of tensors."""
        return self(unpack_x_y_sample_weight(data)[0])

    @usual
    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict[str, Any]:
        """Update the compiled metrics with a batch; the values of all metrics, known after the step."""
        assert self._objective is not None and self._metric_set is not None
        names = self._objective.names
        targets, predictions = arrange(y, names, "y"), list[Any](tensors_in(y_pred))
        weights = arrange(sample_weight, names, "sample_weight", repeat=True)
        self._metric_set.build(targets, predictions)
        trace = current_trace()
        if trace is None:
            self._metric_set.update(targets, predictions, weights)
            return self.get_metrics_result()
        trace.reports.append(Report(self._metric_set.update, (targets, predictions, weights), {}))
        with tracing(None):
            found = list(self.get_metrics_result())
        return {name: Later(partial(self._metric_result, name)) for name in found}

    def _metric_result(self, name: str) -> Any:
        return self.get_metrics_result()[name]

    @usual
    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The loss of a batch as a tensor, to override: compiled losses, penalties on weights, what layers added.

        Yours is called with x, y, y_pred and sample_weight by position, and with `training` if it takes that.
        """
        objective = self._objective
        assert objective is not None
        weights = arrange(sample_weight, objective.names, "sample_weight", repeat=True)
        total = objective.total(arrange(y, objective.names, "y"), list(tensors_in(y_pred)), weights)
        for extra in self.losses:
            penalty = ops.sum(extra) if extra.ndim else extra
            total = penalty if total is None else total + penalty
        return total

    def _mix(self, mixup: ManifoldMixup | None) -> None:
        """Train with this, or without; other plans than so far are made."""
        if mixup is not None or ("train" in self._steps and self._steps["train"].mixup is not None):
            self._steps.pop("train", None)
            self._step("train").mixup = mixup

    def _step(self, mode: str) -> Step:
        if mode not in self._steps:
            self._steps[mode] = Step(self, mode)
        return self._steps[mode]

    def _require_compiled(self, what: str) -> None:
        if self._compiled is None:
            raise Error(f"model {self.name!r}: call compile(optimizer, loss) before {what}()")

    def _run_batch(self, mode: str, batch: Batch, source: Batches) -> None:
        """One batch through the model; its loss and metrics go into the running means.

        source: where it comes from; the targets of one that has no `data` are looked at now.
        """
        step = self._step(mode)
        planned = step.planned(batch)
        if source.data is None:
            step.check(planned, batch)
        self._execute(step, planned, batch)

    def _execute(self, step: Step, planned: Planned, batch: Batch) -> None:
        if self._step_logs is not None:  # to set an attribute of a layer takes a while
            self._step_logs = None
        if step.is_custom:
            step.run_custom(planned)
        elif step.runs_ahead(planned):
            self._started.append((step.start(batch, planned), batch))
            self._settle(planned.plan.backend.AHEAD)
        else:
            self._take(step.run(batch, planned), batch)

    def _settle(self, left: int = 0) -> None:
        """Wait for the results of batches that have been started, but for so many."""
        while len(self._started) > left:
            result, batch = self._started.popleft()
            self._take(result(), batch)

    def _take(self, result: StepResult, batch: Batch) -> None:
        """Put losses and metrics of a batch into the running means."""
        assert self._losses_seen is not None and self._metric_set is not None
        self._losses_seen.update(result.losses, batch.size)
        self._metric_set.update(result.targets, result.predictions, result.weights)
        result.release()

    def _logs(self) -> dict[str, Any]:
        """Losses and metrics since the last reset; what the latest step returned where that has other names."""
        found, latest = self.get_metrics_result(), self._step_logs
        return found if latest is None or latest.keys() == found.keys() else latest

    def _batch_logs(self) -> dict[str, Any]:
        return self._logs() if self._step_logs is None else self._step_logs

    # --- fit -------------------------------------------------------------------------------------------------

    def fit(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, epochs: int = 1, verbose: Any = "auto",
        callbacks: Any = None, validation_split: float = 0.0, validation_data: Any = None, shuffle: bool = True,
        class_weight: Any = None, sample_weight: Any = None, initial_epoch: int = 0,
        steps_per_epoch: int | None = None, validation_steps: int | None = None,
        validation_batch_size: int | None = None, validation_freq: Any = 1, manifold_mixup: Any = None,
    ) -> History:  # fmt: skip
        """Train for epochs `initial_epoch` to `epochs` - 1 and return the History.

        `validation_split` takes the last samples before shuffling. Ctrl-C ends training after the current
        batch: the model stays usable and the History so far is returned. manifold_mixup: a `models.ManifoldMixup`,
        or its alpha, to train on mixtures of samples at a layer drawn for each batch; targets must be one-hot.
        """
        self._require_compiled("fit")
        self._mix(ManifoldMixup.of(manifold_mixup))
        if epochs < 0 or initial_epoch < 0:
            raise Error(
                f"fit: epochs and initial_epoch must not be negative, got {epochs} and {initial_epoch}"
            )
        if validation_split and validation_data is None:
            x, y, sample_weight, validation_data = _split(x, y, sample_weight, validation_split)
        train = make_batches(
            x,
            y,
            sample_weight,
            batch_size,
            shuffle,
            config.next_seed(),
            steps_per_epoch,
            class_weight=class_weight,
        )
        validation = _validation_batches(
            validation_data, validation_batch_size or batch_size, validation_steps
        )
        with compile_progress(_verbosity(verbose) != 0):
            self._prepare(train, validation)
        listeners = CallbackList(
            callbacks, add_history=True, add_progbar=_verbosity(verbose) != 0, model=self,
            verbose=_verbosity(verbose), epochs=epochs, steps=train.steps,
        )  # fmt: skip
        self.stop_training = False
        self._initial_epoch = initial_epoch
        with _stop_on_interrupt(self):
            listeners.on_train_begin()  # may raise _initial_epoch: BackupAndRestore does
            logs: dict[str, Any] = {}
            for epoch in range(self._initial_epoch, min(epochs, config.max_epochs() or epochs)):
                if epoch > self._initial_epoch and (self.stop_training or train.has_ended()):
                    break
                logs = self._fit_epoch(epoch, train, validation, validation_freq, listeners)
            if self.optimizer is not None:
                self.optimizer.finalize_variable_values(self.trainable_weights)
            listeners.on_train_end(logs)
        self._mix(None)  # single batches are trained on as they are
        assert self.history is not None
        return self.history

    def _fit_epoch(
        self,
        epoch: int,
        train: Batches,
        validation: Batches | None,
        validation_freq: Any,
        listeners: CallbackList,
    ) -> dict[str, Any]:
        self.reset_metrics()
        listeners.on_epoch_begin(epoch)
        for number, batch in enumerate(_first_steps(train.epoch(epoch))):
            listeners.on_train_batch_begin(number)
            self._run_batch("train", batch, train)
            listeners.on_train_batch_end(number, self._batch_logs)
            if self.stop_training:
                break
        logs = self._logs()
        if validation is not None and _is_due(validation_freq, epoch) and not _interrupted(self):
            logs.update(
                {f"val_{name}": value for name, value in self._evaluate(validation, listeners).items()}
            )
        listeners.on_epoch_end(epoch, logs)
        return logs

    def _prepare(self, *sources: Batches | None) -> None:
        """Look at the first batch of every source and refuse what cannot work before anything is trained."""
        for mode, source in zip(("train", "test"), sources, strict=False):
            if source is None:
                continue
            batch = source.peek()
            _notice_raw_images(self, batch)
            step = self._step(mode)
            step.check(step.planned(batch), source.data or batch)

    # --- evaluate, predict -----------------------------------------------------------------------------------

    def evaluate(
        self, x: Any = None, y: Any = None, batch_size: int | None = None, verbose: Any = "auto",
        sample_weight: Any = None, steps: int | None = None, callbacks: Any = None, return_dict: bool = False,
    ) -> Any:  # fmt: skip
        """Loss and metrics on data, in inference mode: a number, a list in the order of compile, or a dict."""
        self._require_compiled("evaluate")
        batches = make_batches(x, y, sample_weight, batch_size, steps=steps)
        with compile_progress(_verbosity(verbose) != 0):
            self._prepare(None, batches)
        listeners = CallbackList(
            callbacks, add_progbar=_verbosity(verbose) != 0, model=self,
            verbose=_verbosity(verbose), epochs=1, steps=batches.steps,
        )  # fmt: skip
        return _result(self._evaluate(batches, listeners), return_dict)

    def _evaluate(self, batches: Batches, listeners: CallbackList) -> dict[str, Any]:
        self.reset_metrics()
        self.stop_evaluating = False
        listeners.on_test_begin()
        for number, batch in enumerate(_first_steps(batches.epoch(0))):
            listeners.on_test_batch_begin(number)
            self._run_batch("test", batch, batches)
            listeners.on_test_batch_end(number, self._batch_logs)
            if self.stop_evaluating:
                break
        logs = self._logs()
        listeners.on_test_end(logs)
        return logs

    def predict(
        self, x: Any, batch_size: int | None = None, verbose: Any = "auto", steps: int | None = None,
        callbacks: Any = None,
    ) -> Any:  # fmt: skip
        """The model's outputs for data, as arrays, in inference mode."""
        batches = make_batches(x, None, None, batch_size, steps=steps)
        listeners = CallbackList(
            callbacks, add_progbar=_verbosity(verbose) != 0, model=self,
            verbose=_verbosity(verbose), epochs=1, steps=batches.steps,
        )  # fmt: skip
        self.stop_predicting = False
        listeners.on_predict_begin()
        step = self._step("predict")
        pieces: list[list[np.ndarray]] = []
        structure: Any = None
        for number, batch in enumerate(_first_steps(batches.epoch(0))):
            listeners.on_predict_batch_begin(number)
            with compile_progress(_verbosity(verbose) != 0):
                structure, arrays = step.predict(batch.x)
            pieces.append(arrays)
            listeners.on_predict_batch_end(number, {"outputs": step.restore(structure, arrays)})
            if self.stop_predicting:
                break
        listeners.on_predict_end()
        return step.restore(structure, [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)])

    # --- single batches --------------------------------------------------------------------------------------

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """One training step. Returns the batch's loss and metrics, as `evaluate` does."""
        self._require_compiled("train_on_batch")
        batch = as_batch(x, y, sample_weight)
        if class_weight:
            batch = weigh_classes(batch, class_weight)
        return self._on_batch("train", batch, return_dict)

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Loss and metrics of one batch, in inference mode."""
        self._require_compiled("test_on_batch")
        return self._on_batch("test", as_batch(x, y, sample_weight), return_dict)

    def _on_batch(self, mode: str, batch: Batch, return_dict: bool) -> Any:
        batch.check_finite()
        step = self._step(mode)
        planned = step.planned(batch)
        step.check(planned, batch)
        self.reset_metrics()
        self._execute(step, planned, batch)
        return _result(self._batch_logs(), return_dict)

    def predict_on_batch(self, x: Any) -> Any:
        """The model's outputs for one batch, as arrays."""
        step = self._step("predict")
        structure, arrays = step.predict(as_batch(x).x)
        return step.restore(structure, arrays)

    def plan(self, batch_size: int = 32, training: bool = True, timed: bool = False) -> str:
        """The plan of a step as a table: what runs, on which shapes, where. With `timed`, each line is measured."""
        return self._step("train" if training else "predict").describe(batch_size, timed)


def _split(x: Any, y: Any, sample_weight: Any, fraction: float) -> tuple[Any, Any, Any, Any]:
    if not (isinstance(x, list | tuple | dict) or hasattr(x, "__array__")):
        raise Error("fit: validation_split works on arrays only; give validation_data for generators")
    train, validation = split_validation(as_batch(x, y, sample_weight), fraction)
    return train.x, train.y, train.sample_weight, validation


def _validation_batches(data: Any, batch_size: int | None, steps: int | None) -> Batches | None:
    if data is None:
        return None
    if isinstance(data, tuple | list) and 2 <= len(data) <= 3:
        x, y, *weight = data
        return make_batches(x, y, weight[0] if weight else None, batch_size, steps=steps)
    return make_batches(data, steps=steps)


def _first_steps(batches: Iterable[Batch]) -> Iterator[Batch]:
    """All batches, or as many as `config.max_steps_per_epoch` allows."""
    return itertools.islice(batches, config.max_steps_per_epoch())


def _verbosity(verbose: Any) -> int:
    return 1 if verbose == "auto" else int(verbose)


def _is_due(frequency: Any, epoch: int) -> bool:
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    return epoch + 1 in frequency


def _result(logs: dict[str, Any], return_dict: bool) -> Any:
    """Loss and metrics as a dict sorted by name, else in the order of compile: a list, or the loss alone."""
    if return_dict:
        return {name: logs[name] for name in sorted(logs)}
    values = list(logs.values())
    return values[0] if len(values) == 1 else values


def _notice_raw_images(model: Any, batch: Batch) -> None:
    """Tell once that whole numbers up to 255 are being trained on: accepted, but rarely meant."""
    names = [type(layer).__name__ for layer in model.layers if type(layer).__name__ != "InputLayer"]
    if getattr(model, "_noticed_raw_images", False) or names[:1] in (["Rescaling"], ["Normalization"]):
        return
    for name, array in each(batch.x, "x"):
        if array.dtype.kind in "iu" and array.ndim == 4 and array.max(initial=0) > 1:
            model._noticed_raw_images = True
            text = f"note: {name} holds whole numbers up to {array.max()}; x / 255 usually trains better"
            print(text, file=sys.stderr)
            return


def _interrupted(model: Any) -> bool:
    return getattr(model, "_interrupted", False)


@contextmanager
def _stop_on_interrupt(model: Any) -> Iterator[None]:
    """While training, the first Ctrl-C asks to stop after the batch; the second one raises at once."""
    model._interrupted = False
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
        yield
        return

    def stop(number: int, frame: Any) -> None:
        if model._interrupted:
            raise KeyboardInterrupt
        model._interrupted = model.stop_training = True
        print("\nstopping after this batch (Ctrl-C again: at once)", file=sys.stderr)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
