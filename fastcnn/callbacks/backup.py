"""The callback that lets interrupted training go on where it was."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fastcnn.callbacks.base import Callback, Logs
from fastcnn.errors import Error
from fastcnn.utils.files import atomic_write

NAME = re.compile(r"backup-(\d{6})-(\d{8})\.safetensors")  # epoch to begin with, batches done in all


class BackupAndRestore(Callback):
    """Keeps the state of training in a folder, and takes it up when the same script runs again after an interruption.

    The state is weights, random states of layers, and what the optimizer keeps, its learning rate included; training
    goes on with the first epoch that had not ended, bit for bit as it would have. save_freq: "epoch", or so many
    batches; then the interrupted epoch starts again from the weights within it. double_checkpoint: keep the backup
    before the last one, too. delete_checkpoint: delete the folder when training has ended by itself.

    A backup appears in one step, under a name that says its epoch: one that is damaged is passed over.
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ):
        super().__init__()
        if not backup_dir:
            raise Error(
                "BackupAndRestore: backup_dir is empty; name a folder for the backups of this training alone"
            )
        if save_freq != "epoch" and (not isinstance(save_freq, int) or save_freq < 1):
            raise Error(f"BackupAndRestore: save_freq must be 'epoch' or a batch count, got {save_freq!r}")
        self.backup_dir = Path(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
        self._epoch = 0
        self._batches_since_save = 0

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Take up the latest backup, and tell the model which epoch to begin with, `model._initial_epoch`."""
        if not self.model.built:
            raise Error(
                "BackupAndRestore: the model has no weights yet; build it or call it on data before fit"
            )
        self.model.optimizer.build(self.model.trainable_variables)
        for path, epoch in self._backups():
            with contextlib.suppress(SafetensorError):
                self._restore(path)
                self._epoch = self.model._initial_epoch = epoch
                return

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self._is_interrupted():
            return  # the epoch is not complete; the backup before it is
        self._epoch = epoch + 1
        if self.save_freq == "epoch":
            self._save()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self._batches_since_save = 0
        self._save()

    def _wants_batch(self, hook: str, batch: int) -> bool:
        self._batches_since_save += 1
        return self.save_freq != "epoch" and self._batches_since_save >= int(self.save_freq)

    def on_train_end(self, logs: Logs | None = None) -> None:
        self.model._initial_epoch = 0
        if self.delete_checkpoint and not self._is_interrupted():
            shutil.rmtree(self.backup_dir, ignore_errors=True)

    def _is_interrupted(self) -> bool:
        """Whether Ctrl-C has ended training."""
        return bool(getattr(self.model, "_interrupted", False))

    # --- files -------------------------------------------------------------------------------------------------

    def _backups(self) -> Iterator[tuple[Path, int]]:
        """(file, epoch to begin with) of each backup, the latest first."""
        found = self.backup_dir.iterdir() if self.backup_dir.is_dir() else ()
        for path in sorted(found, reverse=True):
            if match := NAME.fullmatch(path.name):
                yield path, int(match[1])

    def _save(self) -> None:
        optimizer = self.model.optimizer
        arrays = {f"model/{i}": v.numpy() for i, v in enumerate(self.model.variables)}
        own: dict[str, Any] = {}
        optimizer.save_own_variables(own)
        arrays |= {f"optimizer/{name}": value for name, value in own.items()}
        rate = optimizer.get_config()["learning_rate"]
        metadata = {"learning_rate": json.dumps(rate if isinstance(rate, float) else None)}
        path = self.backup_dir / f"backup-{self._epoch:06d}-{optimizer.batches:08d}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            file.write(
                save({name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}, metadata)
            )
        earlier = [other for other, _ in self._backups() if other != path]
        for other in earlier[1:] if self.double_checkpoint else earlier:
            other.unlink(missing_ok=True)

    def _restore(self, path: Path) -> None:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            rate = json.loads((file.metadata() or {}).get("learning_rate", "null"))
        variables = self.model.variables
        saved = [arrays.get(f"model/{i}") for i in range(len(variables))]
        if [v.shape for v in variables] != [None if a is None else a.shape for a in saved]:
            raise Error(
                f"{path}: is a backup of another model; delete the folder, or give BackupAndRestore another one"
            )
        optimizer = self.model.optimizer
        optimizer.load_own_variables(
            {
                name.removeprefix("optimizer/"): a
                for name, a in arrays.items()
                if name.startswith("optimizer/")
            }
        )
        if rate is not None:
            optimizer.learning_rate = rate
        for variable, array in zip(variables, saved, strict=True):
            variable.assign(array)
