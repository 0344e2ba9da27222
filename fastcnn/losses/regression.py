"""Losses of numbers: errors, relative errors, angles and counts."""

import math
from typing import Any

from fastcnn import config, ops
from fastcnn.losses.base import _FormulaLoss, _NumberLoss, loss_function, pair, spread
from fastcnn.tensor import Tensor

# --- functions: y_true (n, ..., k) or (n, ..., 1), y_pred (n, ..., k) -> (n, ...) ------------------------------


@loss_function("mse")
def mean_squared_error(y_true: Any, y_pred: Any) -> Any:
    """mean (y_true - y_pred)^2 over the last axis."""
    return ops.mean_squared_error(*spread(y_true, y_pred))


@loss_function("mae")
def mean_absolute_error(y_true: Any, y_pred: Any) -> Any:
    """mean |y_true - y_pred| over the last axis."""
    return ops.mean_absolute_error(*spread(y_true, y_pred))


@loss_function("mape")
def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Any:
    """100 mean |y_true - y_pred| / max(|y_true|, epsilon) over the last axis, in percent."""
    y_true, y_pred = spread(y_true, y_pred)
    return 100.0 * ops.mean(
        ops.abs(y_true - y_pred) / ops.maximum(ops.abs(y_true), config.epsilon()), axis=-1
    )


@loss_function("msle")
def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Any:
    """mean (log(1 + y_true) - log(1 + y_pred))^2 over the last axis; what is below epsilon counts as epsilon."""
    y_true, y_pred = spread(y_true, y_pred)
    logs = [ops.log1p(ops.maximum(value, config.epsilon())) for value in (y_true, y_pred)]
    return ops.mean(ops.square(logs[0] - logs[1]), axis=-1)


@loss_function("huber_loss")
def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Any:
    """mean of e^2 / 2 where |e| <= delta, else delta |e| - delta^2 / 2, over the last axis; e = y_pred - y_true.

    Huber 1964, Robust estimation of a location parameter.
    """
    return ops.huber(*spread(y_true, y_pred), delta=delta)


@loss_function("logcosh")
def log_cosh(y_true: Any, y_pred: Any) -> Any:
    """mean log cosh(y_pred - y_true) over the last axis: near squares for small errors, near |e| for large ones."""
    y_true, y_pred = spread(y_true, y_pred)
    error = ops.abs(y_pred - y_true)
    return ops.mean(error + ops.softplus(error * -2.0) - math.log(2.0), axis=-1)


@loss_function("cosine_proximity")
def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Any:
    """-sum y_true y_pred / (|y_true| |y_pred|) over `axis`: -1 for one direction, 1 for opposite ones."""
    y_true, y_pred = pair(y_true, y_pred)
    return -ops.sum(_unit(y_true, axis) * _unit(y_pred, axis), axis=axis)


def _unit(x: Tensor, axis: int) -> Tensor:
    """x / max(|x|, epsilon), in a form whose gradient at 0 is 0."""
    return x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis=axis, keepdims=True), config.epsilon() ** 2))


@loss_function()
def poisson(y_true: Any, y_pred: Any) -> Any:
    """mean y_pred - y_true log(y_pred + epsilon) over the last axis: y_pred is the expected count."""
    y_true, y_pred = spread(y_true, y_pred)
    return ops.mean(y_pred - y_true * ops.log(y_pred + config.epsilon()), axis=-1)


# --- classes -------------------------------------------------------------------------------------------------


class MeanSquaredError(_NumberLoss):
    """mean (y_true - y_pred)^2."""

    function = mean_squared_error


class MeanAbsoluteError(_NumberLoss):
    """mean |y_true - y_pred|."""

    function = mean_absolute_error


class MeanAbsolutePercentageError(_NumberLoss):
    """100 mean |y_true - y_pred| / max(|y_true|, epsilon)."""

    function = mean_absolute_percentage_error


class MeanSquaredLogarithmicError(_NumberLoss):
    """mean (log(1 + y_true) - log(1 + y_pred))^2."""

    function = mean_squared_logarithmic_error


class Huber(_NumberLoss):
    """Squares for errors up to `delta`, straight lines beyond."""

    function = huber
    default_name = "huber_loss"

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(reduction, name, dtype)
        self.delta = delta


class LogCosh(_NumberLoss):
    """mean log cosh(y_pred - y_true)."""

    function = log_cosh


class CosineSimilarity(_FormulaLoss):
    """Minus the cosine of the angle between y_true and y_pred."""

    function = cosine_similarity

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(reduction, name, dtype)
        self.axis = axis


class Poisson(_NumberLoss):
    """mean y_pred - y_true log y_pred."""

    function = poisson
