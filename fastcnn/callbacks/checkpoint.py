"""Callbacks that save the model while it trains."""

import os
import warnings
from pathlib import Path
from typing import Any

from fastcnn.callbacks.base import Logs
from fastcnn.callbacks.monitor import MonitorCallback
from fastcnn.config.session import show
from fastcnn.errors import Error


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
            show(f"\nEpoch {place['epoch']}: finished saving model to {path}\n")

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
        if not isinstance(value, float):
            warnings.warn(
                f"ModelCheckpoint saves: {self.monitor} is {value!r}, no number to compare", stacklevel=4
            )
            return True
        best = "None" if self.best is None else f"{self.best:.5f}"
        if not self.improves(value, self.worst() if self.best is None else self.best):
            self._say(epoch, f"{self.monitor} did not improve from {best}")
            return False
        self._say(epoch, f"{self.monitor} improved from {best} to {value:.5f}, saving model to {path}")
        self.best = value
        return True

    def _say(self, epoch: int, what: str) -> None:
        if self.verbose:
            show(f"\nEpoch {epoch}: {what}\n")
