"""Losses of segmentation: one minus how much the true and the predicted area overlap."""

from collections.abc import Sequence
from typing import Any

from fastcnn import config, ops
from fastcnn.losses.base import _FormulaLoss, loss_function, pair

Axis = int | Sequence[int] | None


@loss_function()
def dice(y_true: Any, y_pred: Any, axis: Axis = None) -> Any:
    """1 - 2 sum(y_true y_pred) / (sum(y_true) + sum(y_pred) + epsilon), sums over `axis` (None: over everything).

    Milletari et al. 2016, V-Net, with plain sums in the denominator.
    """
    y_true, y_pred = pair(y_true, y_pred)
    both = ops.sum(y_true * y_pred, axis=axis)
    return 1.0 - 2.0 * both / (ops.sum(y_true, axis=axis) + ops.sum(y_pred, axis=axis) + config.epsilon())


@loss_function()
def tversky(y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Axis = None) -> Any:
    """1 - both / (both + alpha missed + beta false + epsilon), sums over `axis` (None: over everything).

    both = sum y_true y_pred, missed = sum y_true (1 - y_pred), false = sum y_pred (1 - y_true). Salehi et al. 2017;
    which of the two weights goes with what is Keras's choice.
    """
    y_true, y_pred = pair(y_true, y_pred)
    both = ops.sum(y_true * y_pred, axis=axis)
    missed = ops.sum(y_true * (1.0 - y_pred), axis=axis)
    false = ops.sum(y_pred * (1.0 - y_true), axis=axis)
    return 1.0 - both / (both + missed * alpha + false * beta + config.epsilon())


class Dice(_FormulaLoss):
    """1 - twice the common area / sum of the areas."""

    function = dice

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        axis: Axis = None,
        dtype: str | None = None,
    ):
        super().__init__(reduction, name, dtype)
        self.axis = axis


class Tversky(_FormulaLoss):
    """`Dice` with weights for what is missed (alpha) and what is predicted falsely (beta)."""

    function = tversky

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        axis: Axis = None,
        dtype: str | None = None,
    ):
        super().__init__(reduction, name, dtype)
        self.alpha = alpha
        self.beta = beta
        self.axis = axis
