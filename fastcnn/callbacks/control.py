"""Callbacks that steer training by simple rules, or by a function, and that evaluate with averaged weights."""

import inspect
import math
from collections.abc import Callable
from typing import Any

from fastcnn.callbacks.base import HOOKS, Callback, Logs, number
from fastcnn.config.session import show
from fastcnn.errors import Error


class LambdaCallback(Callback):
    """A callback made of functions: each argument is the name of an event, each value the function to call.

    The events of evaluation and prediction, and those of batches by their older names, are arguments too.

    >>> LambdaCallback(on_epoch_end=lambda epoch, logs: print(epoch, logs["loss"]))         # doctest: +SKIP
    """

    def __init__(
        self,
        on_epoch_begin: Callable[..., Any] | None = None,
        on_epoch_end: Callable[..., Any] | None = None,
        on_train_begin: Callable[..., Any] | None = None,
        on_train_end: Callable[..., Any] | None = None,
        on_train_batch_begin: Callable[..., Any] | None = None,
        on_train_batch_end: Callable[..., Any] | None = None,
        **functions: Callable[..., Any] | None,
    ):
        super().__init__()
        named = {
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_train_begin": on_train_begin,
            "on_train_end": on_train_end,
            "on_train_batch_begin": on_train_batch_begin,
            "on_train_batch_end": on_train_batch_end,
        }
        for hook, function in {**named, **functions}.items():
            if hook not in HOOKS:
                raise Error(f"LambdaCallback: there is no event {hook!r}; the events are {', '.join(HOOKS)}")
            if function is not None:
                setattr(self, hook, function)


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
            show(f"\nEpoch {epoch + 1}: LearningRateScheduler setting learning rate to {rate}.\n")

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
    rate = number(value)
    if not (isinstance(rate, float) and 0 <= rate < math.inf):
        raise Error(f"LearningRateScheduler: schedule gave {value!r} for epoch {epoch}, not a number >= 0")
    return rate


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
        show(f"Batch {batch}: Invalid loss, terminating training\n")
        self.model.stop_training = True


class SwapEMAWeights(Callback):
    """Evaluates and predicts with the moving averages of the weights, for an optimizer with `use_ema=True`.

    With `swap_on_epoch` the averages are in the model from the end of an epoch to the begin of the next, for
    callbacks behind this one that save the model.
    """

    def __init__(self, swap_on_epoch: bool = False):
        super().__init__()
        self.swap_on_epoch = swap_on_epoch
        self._is_swapped = False

    def _swap(self, to_averages: bool) -> None:
        if self._is_swapped is to_averages:
            return
        optimizer = self.model.optimizer
        if not getattr(optimizer, "use_ema", False):
            raise Error(
                f"SwapEMAWeights: the optimizer {optimizer!r} keeps no averages; make it with use_ema=True"
            )
        optimizer.swap_averages()
        self._is_swapped = to_averages

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self._swap(False)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        if self.swap_on_epoch:
            self._swap(True)
            if epoch == self.params["epochs"] - 1:
                self.model.optimizer.restart_averages()  # `fit` ends by writing the averages into the model

    def on_test_begin(self, logs: Logs | None = None) -> None:
        self._swap(True)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self._swap(False)

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        self._swap(True)

    def on_predict_end(self, logs: Logs | None = None) -> None:
        self._swap(False)
