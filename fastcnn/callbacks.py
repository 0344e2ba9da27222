"""Callbacks: what happens around the epochs and batches of training, evaluation and prediction.

A callback is told of each event by the method of that name. `logs` maps names to numbers: the loss and the
metrics, with the prefix `val_` those of the validation data.
"""

import csv
import inspect
import math
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn.errors import Error
from fastcnn.utils import Progbar

Logs = dict[str, Any]
LogSource = Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None


class Callback:
    """Base of all callbacks; override the methods of the events of interest.

    `self.model` is the model and `self.params` holds "verbose", "epochs" and "steps" while it trains,
    evaluates or predicts. Setting `self.model.stop_training = True` ends training. What a callback adds to the
    logs of `on_epoch_end` is seen by those after it and by the History.
    """

    def __init__(self) -> None:
        self.model: Any = None
        self.params: dict[str, Any] = {}

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def set_model(self, model: Any) -> None:
        self.model = model

    def on_train_begin(self, logs: Logs | None = None) -> None: ...

    def on_train_end(self, logs: Logs | None = None) -> None: ...

    def on_test_begin(self, logs: Logs | None = None) -> None: ...

    def on_test_end(self, logs: Logs | None = None) -> None: ...

    def on_predict_begin(self, logs: Logs | None = None) -> None: ...

    def on_predict_end(self, logs: Logs | None = None) -> None: ...

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None: ...

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None: ...

    def on_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """The older name of `on_train_batch_begin`."""

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """The older name of `on_train_batch_end`."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.on_batch_end(batch, logs)

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None: ...

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None: ...

    def _wants_batch(self, hook: str, batch: int) -> bool:
        """Whether to be told of the end of this batch by `hook`; asked before its logs are computed."""
        return True


HOOKS = tuple(name for name in vars(Callback) if name.startswith("on_"))
OLDER_NAMES = {"on_train_batch_begin": "on_batch_begin", "on_train_batch_end": "on_batch_end"}


class CallbackList(Callback):
    """Passes each event on to the callbacks that define a method for it, in their order.

    The logs of a batch may be given as a function: it is called only when a callback wants to see them.
    """

    def __init__(
        self,
        callbacks: Any = None,
        add_history: bool = False,
        add_progbar: bool = False,
        model: Any = None,
        **params: Any,
    ):
        super().__init__()
        self.callbacks = _flatten(callbacks)
        if add_history and self.history is None:
            self.callbacks.append(History())
        if add_progbar and not any(isinstance(callback, ProgbarLogger) for callback in self.callbacks):
            self.callbacks.append(ProgbarLogger())
        self._listeners = {hook: [c for c in self.callbacks if _overrides(c, hook)] for hook in HOOKS}
        if model is not None:
            self.set_model(model)
        if params:
            self.set_params(params)

    @property
    def history(self) -> "History | None":
        """The History among the callbacks."""
        return next((callback for callback in self.callbacks if isinstance(callback, History)), None)

    def append(self, callback: Callback) -> None:
        """Add a callback at the end."""
        self.callbacks += _flatten(callback)
        for hook, listeners in self._listeners.items():
            listeners += [callback] if _overrides(callback, hook) else []

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        for callback in self.callbacks:
            callback.set_params(params)

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        if self.history is not None:
            model.history = self.history
        for callback in self.callbacks:
            callback.set_model(model)

    def on_train_begin(self, logs: LogSource = None) -> None:
        self._tell("on_train_begin", (), logs)

    def on_train_end(self, logs: LogSource = None) -> None:
        self._tell("on_train_end", (), logs)

    def on_test_begin(self, logs: LogSource = None) -> None:
        self._tell("on_test_begin", (), logs)

    def on_test_end(self, logs: LogSource = None) -> None:
        self._tell("on_test_end", (), logs)

    def on_predict_begin(self, logs: LogSource = None) -> None:
        self._tell("on_predict_begin", (), logs)

    def on_predict_end(self, logs: LogSource = None) -> None:
        self._tell("on_predict_end", (), logs)

    def on_epoch_begin(self, epoch: int, logs: LogSource = None) -> None:
        self._tell("on_epoch_begin", (epoch,), logs)

    def on_epoch_end(self, epoch: int, logs: LogSource = None) -> None:
        self._tell("on_epoch_end", (epoch,), logs)

    def on_batch_begin(self, batch: int, logs: LogSource = None) -> None:
        self._tell("on_batch_begin", (batch,), logs)

    def on_batch_end(self, batch: int, logs: LogSource = None) -> None:
        self._tell_batch_end("on_batch_end", batch, logs)

    def on_train_batch_begin(self, batch: int, logs: LogSource = None) -> None:
        self._tell("on_train_batch_begin", (batch,), logs)

    def on_train_batch_end(self, batch: int, logs: LogSource = None) -> None:
        self._tell_batch_end("on_train_batch_end", batch, logs)

    def on_test_batch_begin(self, batch: int, logs: LogSource = None) -> None:
        self._tell("on_test_batch_begin", (batch,), logs)

    def on_test_batch_end(self, batch: int, logs: LogSource = None) -> None:
        self._tell_batch_end("on_test_batch_end", batch, logs)

    def on_predict_batch_begin(self, batch: int, logs: LogSource = None) -> None:
        self._tell("on_predict_batch_begin", (batch,), logs)

    def on_predict_batch_end(self, batch: int, logs: LogSource = None) -> None:
        self._tell_batch_end("on_predict_batch_end", batch, logs)

    def _tell(self, hook: str, args: tuple[int, ...], logs: LogSource) -> None:
        if listeners := self._listeners[hook]:
            numbers = _numbers(logs)
            for callback in listeners:
                getattr(callback, hook)(*args, numbers)

    def _tell_batch_end(self, hook: str, batch: int, logs: LogSource) -> None:
        if listeners := [
            callback for callback in self._listeners[hook] if callback._wants_batch(hook, batch)
        ]:
            numbers = _numbers(logs)
            for callback in listeners:
                getattr(callback, hook)(batch, numbers)


def _flatten(callbacks: Any) -> list[Callback]:
    """Callbacks out of None, one callback, a CallbackList, or nested lists of these."""
    if callbacks is None:
        return []
    if isinstance(callbacks, CallbackList):
        return list(callbacks.callbacks)
    if isinstance(callbacks, list | tuple):
        return [callback for item in callbacks for callback in _flatten(item)]
    if not isinstance(callbacks, Callback):
        hint = f"; write {callbacks.__name__}(...)" if isinstance(callbacks, type) else ""
        raise Error(f"callbacks: {callbacks!r} is no instance of fastcnn.callbacks.Callback{hint}")
    return [callbacks]


def _overrides(callback: Callback, hook: str) -> bool:
    method = getattr(callback, hook)
    own = getattr(method, "__func__", method) is not getattr(Callback, hook)
    return own or (hook in OLDER_NAMES and _overrides(callback, OLDER_NAMES[hook]))


def _numbers(logs: LogSource) -> Logs:
    """The logs, sorted by name, as Python floats where they are numbers."""
    values = logs() if callable(logs) else logs or {}
    return {name: _number(values[name]) for name in sorted(values)}


def _number(value: Any) -> Any:
    is_number = isinstance(value, float | int | np.number) or getattr(value, "shape", None) == ()
    return float(value) if is_number else value


class History(Callback):
    """Remembers the logs of every epoch: `history` maps a name to its list of values.

    `epoch` lists the epochs that ended. `fit` returns one of these.
    """

    def __init__(self) -> None:
        super().__init__()
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self.history, self.epoch = {}, []

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class ProgbarLogger(Callback):
    """Shows progress on the terminal: verbose 1 a bar for each epoch, 2 a line for each epoch, 0 nothing.

    Validation inside `fit` shows nothing of its own: its results stand in the epoch's line.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.verbose = 1
        self.epochs = 1
        self.target: int | None = None
        self._training = False
        self._bar = Progbar(None)

    def set_params(self, params: dict[str, Any]) -> None:
        super().set_params(params)
        verbose = params.get("verbose", 1)
        self.verbose = 1 if verbose == "auto" else int(verbose)
        self.epochs = params.get("epochs") or 1
        self.target = params.get("steps")

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        self._training = False

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        if self.verbose and self.epochs > 1:
            print(f"Epoch {epoch + 1}/{self.epochs}", flush=True)
        self._begin()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.target = self.target or self.seen
        self._end(logs)

    def on_test_begin(self, logs: Logs | None = None) -> None:
        if not self._training:
            self._begin()

    def on_test_end(self, logs: Logs | None = None) -> None:
        if not self._training:
            self._end(logs)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._begin()

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._end(None)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._bar.show(self.seen, logs or {})

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._bar.show(self.seen, logs or {})

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._bar.show(self.seen, {})

    def _begin(self) -> None:
        self.seen = 0
        self._bar = Progbar(self.target, verbose=self.verbose)

    def _end(self, logs: Logs | None) -> None:
        self._bar.target = self.target or self.seen
        self._bar.show(self.seen, logs or {}, finalize=True)

    def _wants_batch(self, hook: str, batch: int) -> bool:
        if hook == "on_test_batch_end" and self._training:
            return False
        self.seen = batch + 1
        return self._bar.due(self.seen)


class LambdaCallback(Callback):
    """A callback made of functions: each keyword is the name of an event, each value the function to call.

    >>> LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))         # doctest: +SKIP
    """

    def __init__(self, **functions: Callable[..., Any] | None):
        super().__init__()
        for hook, function in functions.items():
            if hook not in HOOKS:
                raise Error(f"LambdaCallback: there is no event {hook!r}; the events are {', '.join(HOOKS)}")
            if function is not None:
                setattr(self, hook, function)


class MonitorCallback(Callback):
    """Base of callbacks that watch one number of the logs and know whether it got better.

    mode "min" or "max" says what is better. "auto" asks the model's metric of that name, takes a loss to be
    minimised, and a name with acc, auc, f1, iou, precision or recall in it to be maximised.
    """

    def __init__(self, monitor: str, mode: str, min_delta: float):
        super().__init__()
        if mode not in ("auto", "min", "max"):
            raise Error(f"{type(self).__name__}: mode must be 'auto', 'min' or 'max', got {mode!r}")
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)

    def current(self, logs: Logs | None) -> float | None:
        """The watched number; None, and a warning, when it is not among the logs."""
        value = (logs or {}).get(self.monitor)
        if value is None:
            self.maximises()  # a name that means nothing is an error rather than a warning
            warnings.warn(
                f"{type(self).__name__} watches {self.monitor!r}, which is not available; "
                f"there is {', '.join(logs or {}) or 'nothing'}",
                stacklevel=4,
            )
        return value

    def worst(self) -> float:
        """What every number improves on."""
        return -math.inf if self.maximises() else math.inf

    def improves(self, value: float, reference: float) -> bool:
        """Whether `value` is better than `reference` by more than min_delta."""
        if self.maximises():
            return value - self.min_delta > reference
        return value + self.min_delta < reference

    def maximises(self) -> bool:
        """Whether a larger number is better."""
        if self.mode != "auto":
            return self.mode == "max"
        direction = self._direction(self.monitor.removeprefix("val_"))
        if direction is None:
            raise Error(
                f"{type(self).__name__}: cannot tell whether {self.monitor!r} should grow or shrink; "
                "say mode='max' or mode='min'"
            )
        return direction == "up"

    def _direction(self, name: str) -> str | None:
        for metric in getattr(self.model, "metrics", None) or ():
            known = getattr(metric, "_direction", None)
            if known and (name == metric.name or name.endswith(f"_{metric.name}")):
                return str(known)
        if name == "loss" or name.endswith("_loss"):
            return "down"
        return "up" if any(part in name.lower() for part in GROWING) else None


GROWING = ("acc", "auc", "f1", "iou", "precision", "recall")


class EarlyStopping(MonitorCallback):
    """Stops training when the watched number has not improved for `patience` epochs.

    It has to improve by more than `min_delta`, and on `baseline` too where that is given; epochs before
    `start_from_epoch` do not count. With `restore_best_weights` the model ends with the weights of the best
    epoch, `best_epoch`, also when training ends by itself. Each `fit` starts afresh.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ):
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.best_epoch = 0
        self.best_weights: list[np.ndarray] | None = None
        self.wait = 0
        self.stopped_epoch = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        value = self.current(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        if self.restore_best_weights and self.best_weights is None:
            self._remember(epoch)
        self.wait += 1
        if self.improves(value, self.worst() if self.best is None else self.best):
            self.best = value
            self._remember(epoch)
            if self.baseline is None or self.improves(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def _remember(self, epoch: int) -> None:
        self.best_epoch = epoch
        if self.restore_best_weights:
            self.best_weights = self.model.get_weights()

    def on_train_end(self, logs: Logs | None = None) -> None:
        if self.stopped_epoch and self.verbose:
            print(f"Epoch {self.stopped_epoch + 1}: early stopping")
        if self.best_weights is not None:
            if self.verbose:
                print(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.")
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(MonitorCallback):
    """Saves the model, or its weights alone, after every epoch or every `save_freq` batches.

    `filepath` may name logs: "{epoch:02d}-{val_loss:.2f}.keras" (epochs and batches count from 1). With
    `save_best_only` only a model that improves on the best so far is saved; `initial_value_threshold` is the
    best to begin with. The best is kept from one `fit` to the next.
    """

    def __init__(
        self,
        filepath: str | os.PathLike[str],
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ):
        super().__init__(monitor, mode, 0)
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise Error(f"ModelCheckpoint: save_freq must be 'epoch' or a batch count, got {save_freq!r}")
        self.filepath = os.fspath(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self.best = initial_value_threshold
        self._epoch = 0
        self._batches_since_save = 0

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches_since_save = 0
        self._save({"epoch": self._epoch + 1, "batch": batch + 1}, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.save_freq == "epoch":
            self._save({"epoch": epoch + 1}, logs or {})

    def _wants_batch(self, hook: str, batch: int) -> bool:
        self._batches_since_save += 1
        return self.save_freq != "epoch" and self._batches_since_save >= int(self.save_freq)

    def _save(self, place: dict[str, int], logs: Logs) -> None:
        path = self._path(place | logs)
        if not self._worth_saving(place["epoch"], path, logs):
            return
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        save = self.model.save_weights if self.save_weights_only else self.model.save
        save(path, overwrite=True)
        if self.verbose:
            print(f"\nEpoch {place['epoch']}: finished saving model to {path}")

    def _path(self, values: dict[str, Any]) -> str:
        try:
            path = self.filepath.format(**values)
        except (KeyError, IndexError, ValueError) as error:
            raise Error(
                f"ModelCheckpoint: filepath {self.filepath!r} cannot be filled in: {error!r}; "
                f"the names are {', '.join(sorted(values))}"
            ) from error
        if Path(path).is_dir():
            raise Error(f"ModelCheckpoint: filepath {path!r} is a folder; give the path of a file")
        return path

    def _worth_saving(self, epoch: int, path: str, logs: Logs) -> bool:
        """Whether to save; remembers the best value and tells what happens."""
        if not self.save_best_only:
            self._say(epoch, f"saving model to {path}")
            return True
        value = self.current(logs)
        if value is None:
            return True
        best = self.worst() if self.best is None else self.best
        if not self.improves(value, best):
            self._say(epoch, f"{self.monitor} did not improve from {best:.5f}")
            return False
        self._say(epoch, f"{self.monitor} improved from {best:.5f} to {value:.5f}, saving model to {path}")
        self.best = value
        return True

    def _say(self, epoch: int, what: str) -> None:
        if self.verbose:
            print(f"\nEpoch {epoch}: {what}")


class ReduceLROnPlateau(MonitorCallback):
    """Multiplies the learning rate by `factor` when the watched number has stopped improving.

    That is when it has not improved for `patience` epochs. After a reduction `cooldown` epochs pass before
    waiting begins again; the rate never falls below `min_lr`. Adds `learning_rate` to the logs.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ):
        super().__init__(monitor, mode, min_delta)
        if not 0 < factor < 1:
            raise Error(f"ReduceLROnPlateau: factor must lie between 0 and 1, got {factor}")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr
        self._reset()

    def _reset(self) -> None:
        self.best: float | None = None
        self.wait = 0
        self.cooldown_counter = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._reset()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        logs = {} if logs is None else logs
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        value = self.current(logs)
        if value is None:
            return
        if self.in_cooldown():
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(value, self.worst() if self.best is None else self.best):
            self.best = value
            self.wait = 0
        elif not self.in_cooldown():
            self.wait += 1
            if self.wait >= self.patience:
                self._reduce(epoch)

    def in_cooldown(self) -> bool:
        return self.cooldown_counter > 0

    def _reduce(self, epoch: int) -> None:
        old = float(self.model.optimizer.learning_rate)
        if old <= np.float32(self.min_lr):
            return
        new = max(old * self.factor, self.min_lr)
        self.model.optimizer.learning_rate = new
        self.cooldown_counter = self.cooldown
        self.wait = 0
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {new}.")


class LearningRateScheduler(Callback):
    """Sets the learning rate at the start of every epoch to `schedule(epoch, lr)`, or `schedule(epoch)`.

    Epochs count from 0. Adds `learning_rate` to the logs.
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0):
        super().__init__()
        self.schedule = schedule
        self.verbose = verbose
        self._takes_rate = _takes_two(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        optimizer = self.model.optimizer
        args = (epoch, float(optimizer.learning_rate)) if self._takes_rate else (epoch,)
        rate = _learning_rate(self.schedule(*args), epoch)
        optimizer.learning_rate = rate
        if self.verbose:
            print(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def _takes_two(function: Callable[..., Any]) -> bool:
    """Whether a function can be called with two positional arguments, as those written in C are taken to be."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(0, 0.0)
    except TypeError:
        return False
    return True


def _learning_rate(value: Any, epoch: int) -> float:
    rate = _number(value)
    if not (isinstance(rate, float) and 0 <= rate < math.inf):
        raise Error(f"LearningRateScheduler: schedule gave {value!r} for epoch {epoch}, not a number >= 0")
    return rate


class CSVLogger(Callback):
    """Writes a row for each epoch: `epoch` (from 0) and the logs, sorted by name.

    With `append` rows are added to an existing file, under its header. A value that is missing in an epoch is
    written as NA and None as nothing; a log that turns up later becomes a new column.
    """

    def __init__(self, filename: str | os.PathLike[str], separator: str = ",", append: bool = False):
        super().__init__()
        self.filename = os.fspath(filename)
        self.separator = separator
        self.append = append
        self._fields: list[str] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        path = Path(self.filename)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a" if self.append else "w").close()
        with path.open(newline="") as file:
            self._fields = next(csv.reader(file, delimiter=self.separator), [])

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        row = {"epoch": epoch, **{name: _cell(value) for name, value in (logs or {}).items()}}
        new = [name for name in ("epoch", *sorted(row.keys() - {"epoch"})) if name not in self._fields]
        earlier = self._read() if new else []
        self._fields += new
        with open(self.filename, "w" if new else "a", newline="") as file:
            writer = csv.DictWriter(file, self._fields, restval="NA", delimiter=self.separator)
            if new:
                writer.writeheader()
                writer.writerows(earlier)
            writer.writerow(row)

    def _read(self) -> list[dict[str, str]]:
        with open(self.filename, newline="") as file:
            return list(csv.DictReader(file, delimiter=self.separator))


def _cell(value: Any) -> Any:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list | tuple | np.ndarray) else value


class TerminateOnNaN(Callback):
    """Stops training as soon as the loss is NaN or infinite; with `raise_error` by an Error instead."""

    def __init__(self, raise_error: bool = False):
        super().__init__()
        self.raise_error = raise_error

    def on_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        loss = (logs or {}).get("loss")
        if loss is None or math.isfinite(loss):
            return
        if self.raise_error:
            raise Error(
                f"the loss is {loss} after batch {batch}; lower the learning rate, clip gradients "
                "(clipnorm=1.0), or look for extreme values in the data"
            )
        print(f"Batch {batch}: Invalid loss, terminating training")
        self.model.stop_training = True
