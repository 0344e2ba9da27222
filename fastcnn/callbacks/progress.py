"""The callback that shows progress on the terminal."""

from typing import Any

from fastcnn.callbacks.base import Callback, Logs
from fastcnn.config.session import show
from fastcnn.utils.progress import Progbar


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
            show(f"Epoch {epoch + 1}/{self.epochs}\n")
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
