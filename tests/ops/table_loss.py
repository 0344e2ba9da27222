"""Rows of the loss ops; targets come first."""

import numpy as np
import reference
from op_harness import Row

from fastcnn import ops
from fastcnn.ops.loss import Loss

COVERED_ELSEWHERE: set[type] = {Loss}  # what they have in common

DENSE = {"nothing equal": [(2, 3, 5), (2, 3, 5)], "smallest": [(1, 1), (1, 1)]}
SPARSE = {"nothing equal": [(2, 3), (2, 3, 5)], "smallest": [(1,), (1, 5)]}


def shares(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0.1, 0.9, size=shape)


def labels(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(5, size=shape).astype(float)


def one_hot(x: np.ndarray) -> np.ndarray:
    return (x[..., None] == np.arange(5)).astype(float)


ROWS = [
    Row(
        "one_hot",
        lambda x: ops.one_hot(x, 5),
        one_hot,
        {"nothing equal": [(2, 3)]},
        labels,
        differentiable=[],
    ),
    Row(
        "one_hot along another axis",
        lambda x: ops.one_hot(x, 5, axis=0),
        lambda x: np.moveaxis(one_hot(x), -1, 0),
        {"nothing equal": [(2, 3)]},
        labels,
        differentiable=[],
    ),
    Row(
        "categorical_crossentropy from logits",
        lambda t, p: ops.categorical_crossentropy(t, p, from_logits=True),
        lambda t, p: reference.categorical_crossentropy(t, p, from_logits=True),
        DENSE,
        makers=[shares, None],
        differentiable=[1],
    ),
    Row(
        "categorical_crossentropy along another axis, smoothed",
        lambda t, p: ops.categorical_crossentropy(t, p, from_logits=True, axis=1, label_smoothing=0.2),
        lambda t, p: reference.categorical_crossentropy(t, p, True, 0.2, axis=1),
        DENSE,
        makers=[shares, None],
        differentiable=[1],
    ),
    Row(
        "categorical_crossentropy",
        ops.categorical_crossentropy,
        reference.categorical_crossentropy,
        DENSE,
        makers=[shares, shares],
        differentiable=[1],
    ),
    Row(
        "categorical_crossentropy of a softmax",
        lambda t, x: ops.categorical_crossentropy(t, ops.softmax(x)),
        lambda t, x: reference.categorical_crossentropy(t, x, from_logits=True),
        DENSE,
        makers=[shares, None],
        differentiable=[1],
    ),
    Row(
        "sparse_categorical_crossentropy from logits",
        lambda t, p: ops.sparse_categorical_crossentropy(t, p, from_logits=True),
        lambda t, p: reference.sparse_categorical_crossentropy(t, p, from_logits=True),
        SPARSE,
        makers=[labels, None],
        differentiable=[1],
    ),
    Row(
        "sparse_categorical_crossentropy from logits, smoothed, without class 2",
        lambda t, p: ops.sparse_categorical_crossentropy(t, p, True, ignore_class=2, label_smoothing=0.2),
        lambda t, p: reference.sparse_categorical_crossentropy(t, p, True, 2, label_smoothing=0.2),
        SPARSE,
        makers=[labels, None],
        differentiable=[1],
    ),
    Row(
        "sparse_categorical_crossentropy along another axis, without class 2",
        lambda t, p: ops.sparse_categorical_crossentropy(t, p, axis=1, ignore_class=2),
        lambda t, p: reference.sparse_categorical_crossentropy(t, p, axis=1, ignore_class=2),
        {"nothing equal": [(2, 3), (2, 5, 3)], "targets with an axis of one": [(2, 1, 3), (2, 5, 3)]},
        makers=[labels, shares],
        differentiable=[1],
    ),
    Row(
        "sparse_categorical_crossentropy, smoothed",
        lambda t, p: ops.sparse_categorical_crossentropy(t, p, label_smoothing=0.2),
        lambda t, p: reference.sparse_categorical_crossentropy(t, p, label_smoothing=0.2),
        SPARSE,
        makers=[labels, shares],
        differentiable=[1],
    ),
    Row(
        "mean_binary_crossentropy from logits, smoothed",
        lambda t, p: ops.mean_binary_crossentropy(t, p, from_logits=True, label_smoothing=0.2),
        lambda t, p: reference.binary_crossentropy(t, p, True, 0.2),
        DENSE,
        makers=[shares, None],
        differentiable=[1],
    ),
    Row(
        "mean_binary_crossentropy",
        ops.mean_binary_crossentropy,
        reference.binary_crossentropy,
        DENSE,
        makers=[shares, shares],
        differentiable=[1],
    ),
    Row(
        "mean_binary_crossentropy of a sigmoid",
        lambda t, x: ops.mean_binary_crossentropy(t, ops.sigmoid(x)),
        lambda t, x: reference.binary_crossentropy(t, x, from_logits=True),
        DENSE,
        makers=[shares, None],
        differentiable=[1],
    ),
    Row("mean_squared_error", ops.mean_squared_error, reference.mean_squared_error, DENSE),
    Row("mean_absolute_error", ops.mean_absolute_error, reference.mean_absolute_error, DENSE),
    Row(
        "huber",
        lambda t, p: ops.huber(t, p, 0.8),
        lambda t, p: reference.huber(t, p, 0.8),
        DENSE,
    ),
]
