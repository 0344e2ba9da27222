"""Small tools under Keras's names: labels to one-hot rows, splits, seeds, a progress bar."""

import math
import shutil
import sys
import time
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastcnn.config import next_seed, set_random_seed
from fastcnn.data.arrays import as_batch
from fastcnn.data.batches import permutation
from fastcnn.data.image_folder import image_dataset_from_directory
from fastcnn.data.sequence import PyDataset, Sequence
from fastcnn.data.splits import split_indices
from fastcnn.errors import Error
from fastcnn.registry import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    reset_names,
)

__all__ = [
    "CustomObjectScope",
    "Progbar",
    "PyDataset",
    "Sequence",
    "clear_session",
    "custom_object_scope",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "image_dataset_from_directory",
    "normalize",
    "register_keras_serializable",
    "set_random_seed",
    "split_dataset",
    "to_categorical",
    "train_val_test_split",
]


def to_categorical(x: Any, num_classes: int | None = None) -> np.ndarray:
    """One-hot rows: class numbers (..., ) or (..., 1) -> float32 (..., num_classes).

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
    rows = np.zeros((labels.size, classes), np.float32)
    rows[np.arange(labels.size), labels.ravel()] = 1
    return rows.reshape(*shape, classes)


def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray:
    """x divided by its norm of the given order along `axis`; where the norm is zero, x stays as it is."""
    array = np.asarray(x)
    norm = np.linalg.norm(array, order, axis, keepdims=True)
    return array / np.where(norm == 0, 1, norm)


def clear_session() -> None:
    """Forget the names given so far: the next Conv2D is `conv2d` again. Existing models are not touched."""
    reset_names()


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


class Progbar:
    """A bar on the terminal, in Keras's look: `12/47 ━━━━━━━━━━━━━━━━━━━━ 3s 12ms/step - loss: 0.3012`.

    On a terminal (or in a notebook) the line is redrawn at most every `interval` seconds; anywhere else, and
    with verbose=2, only the final line is written. Values are averaged over the steps, except those named in
    `stateful_metrics`, which are shown as they are.
    """

    def __init__(
        self,
        target: int | None,
        width: int = 20,
        verbose: int = 1,
        interval: float = 0.1,
        stateful_metrics: Iterable[str] | None = None,
        unit_name: str = "step",
    ):
        self.target = target
        self.width = width
        self.verbose = verbose
        self.interval = interval
        self.stateful_metrics = set(stateful_metrics or ())
        self.unit_name = unit_name
        self._seen = 0
        self._sums: dict[str, tuple[float, int]] = {}
        self._start = self._first_step_end = time.monotonic()
        self._last_draw = -math.inf
        self._drawn_width = 0

    def update(
        self, current: int, values: Iterable[tuple[str, float]] | None = None, finalize: bool | None = None
    ) -> None:
        """`current` steps are done; `values` are (name, value) of the last one."""
        done = self.target is not None and current >= self.target if finalize is None else finalize
        steps = max(current - self._seen, 1)
        for name, value in values or ():
            total, count = self._sums.get(name, (0.0, 0))
            alone = done or name in self.stateful_metrics
            self._sums[name] = (value, 1) if alone else (total + value * steps, count + steps)
        self._seen = current
        self.show(current, {name: total / count for name, (total, count) in self._sums.items()}, done)

    def add(self, n: int, values: Iterable[tuple[str, float]] | None = None) -> None:
        """`n` more steps are done."""
        self.update(self._seen + n, values)

    def due(self, current: int) -> bool:
        """Whether a line drawn now would be shown; `current` steps are done."""
        now = time.monotonic()
        if current <= 1:
            self._first_step_end = now  # the first step compiles: its time says nothing about the others
        return self.verbose == 1 and now - self._last_draw >= self.interval and _is_live()

    def show(self, current: int, values: Mapping[str, Any], finalize: bool = False) -> None:
        """Draw the line with these values as they are, unless it is too early for the next one."""
        if not self.verbose or not (self.due(current) or finalize):
            return
        self._last_draw = time.monotonic()
        metrics = "".join(f" - {name}: {_format_value(value)}" for name, value in values.items())
        if self.verbose == 2:
            _write(f"{self._count(current)} - {self._clock(current, True)} -{self._pace(current)}{metrics}\n")
        else:
            self._draw(current, f" {self._clock(current, finalize)}{self._pace(current)}{metrics}", finalize)

    def _draw(self, current: int, tail: str, finalize: bool) -> None:
        """One line that fits the terminal: the bar shrinks first, then the values are cut."""
        head = self._count(current) + " "
        columns = shutil.get_terminal_size().columns - 1 if _is_live() else sys.maxsize
        bar = min(self.width, max(0, columns - len(head) - len(tail))) if self.target else 0
        tail = tail[: max(0, columns - len(head) - bar)]
        width = len(head) + bar + len(tail)
        line = head + self._bar(bar, current) + tail + " " * (self._drawn_width - width)
        _write(("\r" if _is_live() else "") + line + ("\n" if finalize else ""))
        self._drawn_width = width

    def _bar(self, width: int, current: int) -> str:
        done = min(width, width * current // (self.target or 1))
        block = "━" if _can_write("━") else "="
        if _is_live():
            return f"\x1b[32m{block * done}\x1b[37m{block * (width - done)}\x1b[0m"
        return block * done + " " * (width - done)

    def _count(self, current: int) -> str:
        return f"{current:>{len(str(self.target))}}/{self.target}" if self.target else f"{current:>7}/Unknown"

    def _clock(self, current: int, finalize: bool) -> str:
        """Time left, or time passed when that is not known or all is done."""
        if finalize or not self.target:
            return f"{time.monotonic() - self._start:.0f}s"
        return _format_duration(self._seconds_a_step(current) * (self.target - current))

    def _pace(self, current: int) -> str:
        seconds = self._seconds_a_step(current)
        factor, unit = (
            (1.0, "s") if seconds >= 1 or not seconds else (1e3, "ms") if seconds >= 1e-3 else (1e6, "us")
        )
        return f" {seconds * factor:.0f}{unit}/{self.unit_name}"

    def _seconds_a_step(self, current: int) -> float:
        """Mean over all steps but the first, where there are others."""
        now = time.monotonic()
        if current > 1 and self._first_step_end > self._start:
            return (now - self._first_step_end) / (current - 1)
        return (now - self._start) / current if current else 0.0


def _format_value(value: Any) -> str:
    if not isinstance(value, float | int | np.number):
        return str(value)
    number = float(value)
    return f"{number:.4e}" if 0 < abs(number) <= 1e-3 else f"{number:.4f}"


def _format_duration(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
    return f"{whole // 60}:{whole % 60:02d}" if whole >= 60 else f"{whole}s"


def _is_live() -> bool:
    """Whether a line can be drawn over: a terminal or a notebook."""
    return "ipykernel" in sys.modules or bool(getattr(sys.stdout, "isatty", bool)())


def _can_write(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeError, LookupError):
        return False
    return True


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
