"""Callback: the events of training, evaluation and prediction."""

from typing import Any

import numpy as np

Logs = dict[str, Any]


class Callback:
    """Base of all callbacks; override the methods of the events of interest.

    `self.model` is the model and `self.params` holds "verbose", "epochs" and "steps" while it trains,
    evaluates or predicts. Setting `self.model.stop_training = True` ends training. What a callback adds to the
    logs of `on_epoch_end` is seen by those after it and by the History.
    """

    _model: Any = None

    def __init__(self) -> None:
        self.params: dict[str, Any] = {}

    @property
    def model(self) -> Any:
        """The model that trains, evaluates or predicts; None before."""
        return self._model

    def set_params(self, params: dict[str, Any]) -> None:
        self.params = params

    def set_model(self, model: Any) -> None:
        self._model = model

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


def number(value: Any) -> Any:
    """The value as a Python float where it is a number."""
    is_number = isinstance(value, float | int | np.number) or getattr(value, "shape", None) == ()
    return float(value) if is_number else value
