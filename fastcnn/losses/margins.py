"""Losses that are 0 once the right answer is ahead by a margin."""

from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.losses.base import _FormulaLoss, _NumberLoss, like, loss_function, pair, spread
from fastcnn.losses.targets import check_samples
from fastcnn.tensor import Constant, Shape, Tensor


def _signed(y: Tensor) -> Tensor:
    """0 and 1 become -1 and 1 when the batch has no other labels; else the labels as they are."""
    is_binary = ops.min(like(ops.equal(y * y, y), y))
    return y + is_binary * (y - 1.0)


@loss_function()
def hinge(y_true: Any, y_pred: Any) -> Any:
    """mean max(0, 1 - y_true y_pred) over the last axis; labels -1 and 1, or 0 and 1."""
    y_true, y_pred = spread(y_true, y_pred)
    return ops.mean(ops.maximum(1.0 - _signed(y_true) * y_pred, 0.0), axis=-1)


@loss_function()
def squared_hinge(y_true: Any, y_pred: Any) -> Any:
    """mean max(0, 1 - y_true y_pred)^2 over the last axis; labels -1 and 1, or 0 and 1."""
    y_true, y_pred = spread(y_true, y_pred)
    return ops.mean(ops.square(ops.maximum(1.0 - _signed(y_true) * y_pred, 0.0)), axis=-1)


@loss_function()
def categorical_hinge(y_true: Any, y_pred: Any) -> Any:
    """max(0, 1 + max((1 - y_true) y_pred) - sum(y_true y_pred)) over the last axis; y_true is one-hot."""
    y_true, y_pred = pair(y_true, y_pred)
    right = ops.sum(y_true * y_pred, axis=-1)
    wrong = ops.max((1.0 - y_true) * y_pred, axis=-1)
    return ops.maximum(wrong - right + 1.0, 0.0)


@loss_function()
def circle(
    y_true: Any,
    y_pred: Any,
    ref_labels: Any = None,
    ref_embeddings: Any = None,
    remove_diagonal: bool = True,
    gamma: float = 80.0,
    margin: float = 0.4,
) -> Any:
    """softplus(log sum exp over pairs of a class + log sum exp over pairs of two), one value a sample.

    y_true (n,) or (n, 1) labels, y_pred (n, d) embeddings of length 1. With d = max(0, 1 - cosine) of a sample and
    one of the references (default: the samples themselves, `remove_diagonal`: not each with itself), a pair of one
    class enters with -gamma (margin + d)(margin - d), a pair of two with gamma max(0, 1 + margin - d)(1 - margin - d).
    Sun et al. 2020, Circle loss.
    """
    check_embeddings(y_true.shape, y_pred.shape)
    labels = ops.reshape(y_true, (-1, 1))
    others = labels if ref_labels is None else ops.reshape(like(ref_labels, y_true), (-1, 1))
    references = y_pred if ref_embeddings is None else like(ref_embeddings, y_pred)
    distance = ops.maximum(1.0 - ops.matmul(y_pred, ops.transpose(references)), 0.0)
    same = like(ops.equal(labels, ops.transpose(others)), y_pred)
    of_one = same * _off_diagonal(same) if remove_diagonal else same
    near = (distance + margin) * (distance - margin) * gamma
    far = ops.maximum(1.0 + margin - distance, 0.0) * (1.0 - margin - distance) * gamma
    return ops.softplus(_log_sum_exp(near, of_one) + _log_sum_exp(far, 1.0 - same))


def _off_diagonal(x: Tensor) -> Constant:
    return Constant(1.0 - np.eye(*x.shape, dtype=x.dtype))  # type: ignore[call-overload]


def _log_sum_exp(x: Tensor, chosen: Tensor) -> Tensor:
    """Over the chosen elements of each row. A row without any gives -1e9, finite so that its gradient is 0."""
    return ops.logsumexp(ops.where(chosen > 0.5, x, -1e9), axis=1)


def check_embeddings(targets: Shape, predictions: Shape) -> None:
    """One label for each row of (n, d)."""
    check_samples(targets, predictions)
    if len(predictions) != 2 or len(targets) not in (1, 2) or (len(targets) == 2 and targets[1] != 1):
        raise Error(
            f"targets of shape {targets} do not go with predictions of shape {predictions}; "
            "give labels (n,) for embeddings (n, d)"
        )


class Hinge(_NumberLoss):
    """mean max(0, 1 - y_true y_pred)."""

    function = hinge


class SquaredHinge(_NumberLoss):
    """mean max(0, 1 - y_true y_pred)^2."""

    function = squared_hinge


class CategoricalHinge(_FormulaLoss):
    """max(0, 1 + best wrong score - right score)."""

    function = categorical_hinge


class Circle(_FormulaLoss):
    """Pulls embeddings of one class together and those of different classes apart. Samples with loss 0 do not count."""

    function = circle

    def __init__(
        self,
        gamma: float = 80.0,
        margin: float = 0.4,
        remove_diagonal: bool = True,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(reduction, name, dtype)
        self.gamma = gamma
        self.margin = margin
        self.remove_diagonal = remove_diagonal

    def mask(self, y_true: Tensor, y_pred: Tensor, values: Tensor) -> Tensor:
        return like(values > 0.0, values)

    def check_shapes(self, targets: Shape, predictions: Shape) -> None:
        check_embeddings((predictions[0], *targets[1:]), predictions)
