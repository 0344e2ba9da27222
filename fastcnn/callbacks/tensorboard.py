"""The callback that writes logs for TensorBoard."""

import os
import time
from pathlib import Path
from typing import Any

from fastcnn.callbacks.base import Callback, Logs
from fastcnn.callbacks.events import EventWriter
from fastcnn.errors import Error


class TensorBoard(Callback):
    """Writes event files into log_dir/train and log_dir/validation; `tensorboard --logdir log_dir` shows them.

    After every epoch: epoch_NAME for each log and epoch_learning_rate, by epoch from 0; after an evaluation
    evaluation_NAME_vs_iterations, by update. update_freq: "batch", or so many batches, adds batch_NAME, by batch from
    1. histogram_freq: distributions of all weights every so many epochs, 0 for never. write_steps_per_second: steps
    per second too. write_graph changes nothing: `utils.plot_model` draws models. Writing weights as images,
    embeddings and profiles is refused; `model.plan(timed=True)` measures a step line by line.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        write_graph: bool = True,
        write_images: bool = False,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
        profile_batch: Any = 0,
        embeddings_freq: int = 0,
        embeddings_metadata: Any = None,
    ):
        super().__init__()
        wishes = {
            "write_images": write_images,
            "profile_batch": profile_batch,
            "embeddings_freq": embeddings_freq,
        }
        for name, value in wishes.items():
            if value:
                raise Error(f"TensorBoard: {name}={value!r} is not supported; leave it out")
        update_freq = 1 if update_freq == "batch" else update_freq
        if update_freq != "epoch" and (not isinstance(update_freq, int) or update_freq < 1):
            raise Error(
                f"TensorBoard: update_freq must be 'epoch', 'batch' or a batch count, got {update_freq!r}"
            )
        self.log_dir = os.fspath(log_dir)
        self.histogram_freq = histogram_freq
        self.write_graph = write_graph
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = update_freq
        self._writers: dict[str, EventWriter] = {}
        self._batches = 0
        self._batch_start = self._epoch_start = time.perf_counter()
        self._updates_before = 0

    def _writer(self, name: str) -> EventWriter:
        """The file in this folder, made when something is written."""
        if name not in self._writers:
            self._writers[name] = EventWriter(Path(self.log_dir) / name)
        return self._writers[name]

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._batches = 0

    def on_train_end(self, logs: Logs | None = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._epoch_start, self._updates_before = time.perf_counter(), self._updates()

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        self._batch_start = time.perf_counter()

    def _wants_batch(self, hook: str, batch: int) -> bool:
        self._batches += 1
        return self.update_freq != "epoch" and self._batches % int(self.update_freq) == 0

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        values = dict(logs or {})
        if self.write_steps_per_second:
            values["steps_per_second"] = 1 / max(time.perf_counter() - self._batch_start, 1e-9)
        self._write("train", "batch_", values, self._batches)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        values = {**(logs or {}), "learning_rate": float(self.model.optimizer.learning_rate)}
        if self.write_steps_per_second:
            seconds = time.perf_counter() - self._epoch_start
            values["steps_per_second"] = (self._updates() - self._updates_before) / max(seconds, 1e-9)
        val = {name.removeprefix("val_"): value for name, value in values.items() if name.startswith("val_")}
        train = {name: value for name, value in values.items() if not name.startswith("val_")}
        self._write("train", "epoch_", train, epoch)
        self._write("validation", "epoch_", val, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._write_histograms(epoch)

    def on_test_end(self, logs: Logs | None = None) -> None:
        if self.model.optimizer is not None:
            values = {f"{name}_vs_iterations": value for name, value in (logs or {}).items()}
            self._write("validation", "evaluation_", values, self._updates())

    def _updates(self) -> int:
        return int(self.model.optimizer.iterations)

    def _write(self, where: str, prefix: str, values: Logs, step: int) -> None:
        numbers = {name: value for name, value in values.items() if isinstance(value, float)}
        for name, value in numbers.items():
            self._writer(where).scalar(prefix + name, value, step)
        if numbers:
            self._writer(where).flush()

    def _write_histograms(self, epoch: int) -> None:
        writer = self._writer("train")
        for weight in self.model.weights:
            writer.histogram(f"{weight.path}/histogram", weight.numpy(), epoch)
        writer.flush()
