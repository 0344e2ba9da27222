"""Batches as tuples, and series of numbers as batches of windows."""

import math
from typing import Any

import numpy as np

from fastcnn.config import next_seed
from fastcnn.data.batches import permutation
from fastcnn.data.sequence import PyDataset
from fastcnn.errors import Error


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """What `fit` takes as a batch: x alone, (x, y) or (x, y, sample_weight). Several inputs x become (x,)."""
    if y is None:
        return (x,) if isinstance(x, tuple | list) else x
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """(x, y, sample_weight) of a batch, None for what it lacks."""
    parts = tuple(data) if isinstance(data, tuple | list) else (data,)
    if not 1 <= len(parts) <= 3:
        raise Error(f"expected a batch x, (x,), (x, y) or (x, y, sample_weight), got {len(parts)} parts")
    x, y, sample_weight = (*parts, None, None)[:3]
    return x, y, sample_weight


class Windows(PyDataset):
    """Batches of windows of a series; made by `timeseries_dataset_from_array`.

    Window i is series[start_i + sampling_rate (0, 1, ..., sequence_length - 1)], its target targets[start_i]. With
    `shuffle` each epoch has an order of its own, `permutation(windows, seed, epoch)`.
    """

    def __init__(
        self,
        series: np.ndarray,
        targets: np.ndarray | None,
        starts: np.ndarray,
        steps: np.ndarray,
        batch_size: int | None,
        shuffle: bool,
        seed: int,
    ):
        super().__init__()
        self.series, self.targets, self.starts, self.steps = series, targets, starts, steps
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self._order = self._new_order()

    def __len__(self) -> int:
        return math.ceil(len(self.starts) / (self.batch_size or 1))

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        size = self.batch_size or 1
        starts = self._order[index * size : (index + 1) * size]
        x = self.series[starts[:, np.newaxis] + self.steps]
        y = None if self.targets is None else self.targets[starts]
        if self.batch_size is None:
            return x[0] if y is None else (x[0], y[0])
        return x if y is None else (x, y)

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self._order = self._new_order()

    def _new_order(self) -> np.ndarray:
        count = len(self.starts)
        return self.starts[permutation(count, self.seed, self.epoch)] if self.shuffle else self.starts


def timeseries_dataset_from_array(
    data: Any,
    targets: Any,
    sequence_length: int,
    sequence_stride: int = 1,
    sampling_rate: int = 1,
    batch_size: int | None = 128,
    shuffle: bool = False,
    seed: int | None = None,
    start_index: int | None = None,
    end_index: int | None = None,
) -> Windows:
    """Windows of `sequence_length` steps that slide over a series, in batches: x, or (x, y) with targets.

    data: the series, time along its first axis. targets: targets[i] belongs to the window that starts at data[i];
    None for none. sequence_stride: steps between the starts of windows; sampling_rate: steps between the numbers
    of one window. batch_size: None for single windows. start_index, end_index: the part data[start_index:end_index]
    to use.
    """
    series = np.asarray(data)
    for name, value in (("sampling_rate", sampling_rate), ("sequence_stride", sequence_stride)):
        if not 0 < value < len(series):
            raise Error(
                f"timeseries_dataset_from_array: {name} must lie between 1 and {len(series) - 1}, got {value}"
            )
    first, last = _part(start_index, end_index, len(series))
    count = last - first - (sequence_length - 1) * sampling_rate
    wanted = None if targets is None else np.asarray(targets)
    if wanted is not None:
        count = min(count, len(wanted))
    if sequence_length < 1 or count < 1:
        raise Error(
            f"timeseries_dataset_from_array: {last - first} steps hold no window of sequence_length={sequence_length} "
            f"with sampling_rate={sampling_rate}"
        )
    return Windows(
        series[first:last],
        None if wanted is None else wanted[first:],
        np.arange(0, count, sequence_stride),
        np.arange(0, sequence_length * sampling_rate, sampling_rate),
        batch_size,
        shuffle,
        next_seed() if seed is None else seed,
    )


def _part(start: int | None, end: int | None, length: int) -> tuple[int, int]:
    first, last = start or 0, end or length
    if not 0 <= first < last <= length:
        raise Error(
            f"timeseries_dataset_from_array: start_index={start} and end_index={end} give no part of {length} steps"
        )
    return first, last
