"""Data sets cut into parts."""

from typing import Any

import numpy as np

from fastcnn.config import next_seed
from fastcnn.data.arrays import as_batch
from fastcnn.data.batches import permutation
from fastcnn.data.splits import split_indices
from fastcnn.errors import Error


def train_val_test_split(
    x: Any,
    y: Any,
    ratios: tuple[float, float, float] = (0.6, 0.2, 0.2),
    stratify: bool = False,
    seed: int | None = None,
) -> tuple[tuple[Any, Any], tuple[Any, Any], tuple[Any, Any]]:
    """((x_train, y_train), (x_val, y_val), (x_test, y_test)), shuffled.

    `ratios` are fractions, or counts that sum to the number of samples. With `stratify` each class of y
    (class numbers or one-hot rows) is split in these ratios. `seed` alone decides the split; None draws one.
    """
    data = as_batch(x, y)
    fractions = _fractions(ratios, data.size)
    labels = _classes(y) if stratify else None
    parts = split_indices(data.size, fractions, labels, next_seed() if seed is None else seed)
    train, val, test = (data.rows(part)[:2] for part in parts)
    return train, val, test


def _fractions(ratios: tuple[float, ...], n: int) -> list[float]:
    if sum(ratios) == n and all(isinstance(count, int | np.integer) for count in ratios):
        return [count / n for count in ratios]
    return list(ratios)


def _classes(y: Any) -> np.ndarray:
    array = np.asarray(y)
    return array.argmax(-1) if array.ndim > 1 and array.shape[-1] > 1 else array.reshape(len(array))


def split_dataset(
    dataset: Any,
    left_size: float | None = None,
    right_size: float | None = None,
    shuffle: bool = False,
    seed: int | None = None,
) -> tuple[Any, Any]:
    """An array, or a tuple or dict of arrays, cut in two along the samples.

    Sizes are numbers of samples (int) or fractions of them (float); one of the two may be left out.
    """
    data = as_batch(dataset)
    left, right = _sizes(left_size, right_size, data.size)
    order = np.arange(data.size)
    if shuffle:
        order = permutation(data.size, next_seed() if seed is None else seed, 0)
    return data.rows(order[:left]).x, data.rows(order[left : left + right]).x


def _sizes(left_size: float | None, right_size: float | None, n: int) -> tuple[int, int]:
    left = None if left_size is None else _count(left_size, n)
    right = None if right_size is None else _count(right_size, n)
    if left is None and right is None:
        raise Error("split_dataset: give left_size, right_size, or both")
    left = n - (right or 0) if left is None else left
    right = n - left if right is None else right
    if left < 1 or right < 1 or left + right > n:
        raise Error(f"split_dataset: {n} samples cannot be cut into parts of {left} and {right}")
    return left, right


def _count(size: float, n: int) -> int:
    return int(size) if isinstance(size, int | np.integer) else round(size * n)
