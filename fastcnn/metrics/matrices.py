"""Confusion matrices, and intersection over union, which is computed from one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.errors import Error
from fastcnn.metrics.base import (
    Array,
    Metric,
    Values,
    check_at_least_one,
    check_equal_shapes,
    choice,
    divide,
    expand_weights,
    fit_weights,
)


def confusion_matrix(
    y_true: Values, y_pred: Values, num_classes: int | None = None, weights: Values | None = None
) -> Array:
    """matrix[t, p] = number, or weight, of samples of class t taken for class p. Both are arrays of class numbers.

    num_classes None: one more than the largest class number. Raises `Error` for classes outside.
    """
    true, predicted = np.asarray(y_true).ravel().astype(np.intp), np.asarray(y_pred).ravel().astype(np.intp)
    check_equal_shapes(true, predicted)
    highest = max(true.max(initial=-1), predicted.max(initial=-1))
    classes = int(highest) + 1 if num_classes is None else num_classes
    if highest >= classes or min(true.min(initial=0), predicted.min(initial=0)) < 0:
        raise Error(
            f"confusion matrix of {classes} classes: class numbers must be 0 to {classes - 1}; y_true has "
            f"{true.min()} to {true.max()}, y_pred {predicted.min()} to {predicted.max()}"
        )
    flat_weights = None if weights is None else np.broadcast_to(weights, true.shape).ravel()
    return np.bincount(true * classes + predicted, flat_weights, classes**2).reshape(classes, classes)


class ConfusionMatrix(Metric):
    """matrix[t, p] = number, or weight, of samples of class t taken for class p; (num_classes, num_classes).

    y_true: class numbers (...), or one-hot (..., num_classes). y_pred: scores (..., num_classes); for two classes
    also the probability of class 1, (..., 1); with sparse_y_pred, class numbers (...).
    normalize: None (numbers), "true" (rows sum to 1: the diagonal is recall), "pred" (columns sum to 1: the
    diagonal is precision), "all" (everything sums to 1).
    """

    def __init__(
        self,
        num_classes: int,
        normalize: str | None = None,
        sparse_y_pred: bool = False,
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(dtype, name)
        check_at_least_one("ConfusionMatrix: num_classes", num_classes)
        if normalize is not None:
            choice("ConfusionMatrix: normalize", normalize, ("true", "pred", "all"))
        self.num_classes = num_classes
        self.normalize = normalize
        self.sparse_y_pred = sparse_y_pred
        self.total_cm = self._sum("total_confusion_matrix", (num_classes, num_classes))

    def update_state(self, y_true: Values, y_pred: Values, sample_weight: Values | None = None) -> None:
        predicted = self._classes_of(np.asarray(y_pred))
        true = np.asarray(y_true)
        if true.ndim == predicted.ndim + 1:
            true = true[..., 0] if true.shape[-1] == 1 else true.argmax(-1)
        check_equal_shapes(true, predicted)
        weights = None if sample_weight is None else expand_weights(sample_weight, true.shape).ravel()
        self.total_cm.value += confusion_matrix(true, predicted, self.num_classes, weights)

    def _classes_of(self, predicted: Array) -> Array:
        if self.sparse_y_pred:
            return predicted
        if predicted.ndim and predicted.shape[-1] == self.num_classes:
            return predicted.argmax(-1)
        if predicted.ndim and predicted.shape[-1] == 1 and self.num_classes == 2:
            return (predicted[..., 0] > 0.5).astype(np.intp)
        raise Error(
            f"{self.name}: expected scores of shape (..., {self.num_classes}), got {predicted.shape}; "
            "for class numbers use sparse_y_pred=True"
        )

    def result(self) -> Array:
        matrix = self.total_cm.value
        if self.normalize is None:
            return matrix.copy()
        axis = {"true": 1, "pred": 0, "all": None}[self.normalize]
        return divide(matrix, matrix.sum(axis, keepdims=True))


class _IoUBase(Metric):
    """Intersection over union of class numbers: TP / (TP + FP + FN), mean over the target classes that occur."""

    _direction = "up"

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None,
        dtype: str | None,
        ignore_class: int | None,
        sparse_y_true: bool,
        sparse_y_pred: bool,
        axis: int,
    ):
        super().__init__(dtype, name)
        self.num_classes = num_classes
        self.target_class_ids = list(target_class_ids)
        if not all(0 <= target < num_classes for target in self.target_class_ids):
            raise Error(
                f"{type(self).__name__}: target_class_ids must be 0 to {num_classes - 1}, "
                f"got {self.target_class_ids}"
            )
        self.ignore_class = ignore_class
        self.sparse_y_true = sparse_y_true
        self.sparse_y_pred = sparse_y_pred
        self.axis = axis
        self.total_cm = self._sum("total_confusion_matrix", (num_classes, num_classes))

    def update_state(self, y_true: Values, y_pred: Values, sample_weight: Values | None = None) -> None:
        true, predicted = np.asarray(y_true), np.asarray(y_pred)
        true = (true if self.sparse_y_true else true.argmax(self.axis)).ravel().astype(np.intp)
        predicted = (predicted if self.sparse_y_pred else predicted.argmax(self.axis)).ravel().astype(np.intp)
        check_equal_shapes(true, predicted)
        counted = (true >= 0) & (true < self.num_classes) & (predicted >= 0) & (predicted < self.num_classes)
        if self.ignore_class is not None:
            counted &= true != self.ignore_class
        weights = None
        if sample_weight is not None:
            weights = fit_weights(np.ravel(np.asarray(sample_weight, np.float64)), true.shape)[counted]
        self.total_cm.value += confusion_matrix(true[counted], predicted[counted], self.num_classes, weights)

    def result(self) -> Any:
        matrix = self.total_cm.value
        intersection = np.diagonal(matrix)
        union = matrix.sum(0) + matrix.sum(1) - intersection
        ratios = divide(intersection, union)[self.target_class_ids]
        return divide(ratios.sum(), (union[self.target_class_ids] > 0).sum())


class IoU(_IoUBase):
    """Mean over `target_class_ids` of TP / (TP + FP + FN); classes that do not occur do not count.

    y_true and y_pred are class numbers, or one-hot and scores along `axis` where sparse_y_true or sparse_y_pred
    is False. Samples whose target is `ignore_class`, or that are outside of the classes, do not count.
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: str | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ):
        super().__init__(
            num_classes, target_class_ids, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis
        )


class BinaryIoU(_IoUBase):
    """Mean IoU of background (0) and foreground (1); scores of `threshold` and more are foreground."""

    def __init__(
        self,
        target_class_ids: Sequence[int] = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: str | None = None,
    ):
        super().__init__(2, target_class_ids, name, dtype, None, True, True, -1)
        self.threshold = threshold

    def update_state(self, y_true: Values, y_pred: Values, sample_weight: Values | None = None) -> None:
        super().update_state(y_true, np.asarray(y_pred) >= self.threshold, sample_weight)


class MeanIoU(_IoUBase):
    """Mean over all classes of TP / (TP + FP + FN). Arguments as for `IoU`."""

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: str | None = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ):
        targets = range(num_classes)
        super().__init__(num_classes, targets, name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)


class OneHotIoU(_IoUBase):
    """`IoU` of one-hot targets and, unless sparse_y_pred, scores."""

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Sequence[int],
        name: str | None = None,
        dtype: str | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ):
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


class OneHotMeanIoU(_IoUBase):
    """`MeanIoU` of one-hot targets and, unless sparse_y_pred, scores."""

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: str | None = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ):
        targets = range(num_classes)
        super().__init__(num_classes, targets, name, dtype, ignore_class, False, sparse_y_pred, axis)
