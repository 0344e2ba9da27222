"""Callbacks that watch one number: EarlyStopping, ReduceLROnPlateau, and their base."""

import math
import warnings

import numpy as np

from fastcnn.callbacks.base import Callback, Logs
from fastcnn.config.session import show
from fastcnn.errors import Error


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
            show(f"Epoch {self.stopped_epoch + 1}: early stopping\n")
        if self.best_weights is not None:
            if self.verbose:
                show(f"Restoring model weights from the end of the best epoch: {self.best_epoch + 1}.\n")
            self.model.set_weights(self.best_weights)


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
            show(f"\nEpoch {epoch + 1}: ReduceLROnPlateau reducing learning rate to {new}.\n")
