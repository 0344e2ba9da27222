"""Arrays to arrays: labels to one-hot rows, unit norms, sequences of one length."""

from typing import Any

import numpy as np

from fastcnn.errors import Error


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """One-hot rows: class numbers (..., ) or (..., 1) -> float64 (..., num_classes).

    num_classes is max(x) + 1 unless given.
    """
    given = np.asarray(x)
    labels = given.astype(np.int64)
    if given.size == 0 or (labels != given).any() or labels.min() < 0:
        raise Error(
            f"to_categorical: expected class numbers 0, 1, 2, ..., got {given.dtype} of shape {given.shape}"
        )
    classes = int(labels.max()) + 1 if not num_classes else num_classes
    if labels.max() >= classes:
        raise Error(f"to_categorical: label {labels.max()} must be below num_classes={num_classes}")
    shape = labels.shape[:-1] if labels.ndim > 1 and labels.shape[-1] == 1 else labels.shape
    rows = np.zeros((labels.size, classes))
    rows[np.arange(labels.size), labels.ravel()] = 1
    return rows.reshape(*shape, classes)


def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray:
    """x divided by its norm of the given order along `axis`; where the norm is zero, x stays as it is."""
    array = np.asarray(x)
    norm = np.linalg.norm(array, order, axis, keepdims=True)
    return array / np.where(norm == 0, 1, norm)


def pad_sequences(
    sequences: Any,
    maxlen: int | None = None,
    dtype: Any = "int32",
    padding: str = "pre",
    truncating: str = "pre",
    value: Any = 0.0,
) -> np.ndarray:
    """Sequences of different lengths as the rows of one array (sequences, maxlen, ...), padded with `value`.

    maxlen: by default the length of the longest. padding, truncating: whether values are added, and cut off, at
    the start ("pre") or at the end ("post").
    """
    for name, given in (("padding", padding), ("truncating", truncating)):
        if given not in ("pre", "post"):
            raise Error(f"pad_sequences: {name} must be 'pre' or 'post', got {given!r}")
    rows = [_sequence(i, row) for i, row in enumerate(sequences)]
    length = max(map(len, rows), default=0) if maxlen is None else maxlen
    shape = next((row.shape[1:] for row in rows if len(row)), ())
    padded = np.full((len(rows), length, *shape), value, dtype)
    for i, row in enumerate(rows):
        kept = row[max(0, len(row) - length) :] if truncating == "pre" else row[:length]
        if len(row) and row.shape[1:] != shape:
            raise Error(f"pad_sequences: items of sequence {i} have shape {row.shape[1:]}, others {shape}")
        start = length - len(kept) if padding == "pre" else 0
        padded[i, start : start + len(kept)] = kept
    return padded


def _sequence(position: int, row: Any) -> np.ndarray:
    if not hasattr(row, "__len__"):
        raise Error(f"pad_sequences: expected a list of sequences, but item {position} is {row!r}")
    return np.asarray(row)
