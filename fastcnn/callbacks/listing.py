"""CallbackList: passes events on to callbacks."""

from collections.abc import Callable, Mapping
from typing import Any

from fastcnn.callbacks.base import HOOKS, OLDER_NAMES, Callback, Logs, number
from fastcnn.callbacks.progress import ProgbarLogger
from fastcnn.callbacks.records import History
from fastcnn.errors import Error

LogSource = Mapping[str, Any] | Callable[[], Mapping[str, Any]] | None


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
    return {name: number(values[name]) for name in sorted(values)}
