"""The base class of data that come batch by batch."""

from typing import Any


class PyDataset:
    """A data set of batches: subclasses give `__len__` (batches an epoch) and `__getitem__` (one batch).

    Instead of `__len__` there may be a property `num_batches`, which is None for a data set without end.

    A batch is `(x, y)` or `(x, y, sample_weight)` of NumPy arrays; for `predict` also `(x,)` or `x`.
    `on_epoch_begin` and `on_epoch_end` are called around each epoch of training. `workers`,
    `use_multiprocessing` and `max_queue_size` are kept for Keras scripts; batches are made in the calling thread.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10):
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} must define __len__: the number of batches an epoch")

    def __getitem__(self, index: int) -> Any:
        raise TypeError(f"{type(self).__name__} must define __getitem__: the batch at an index")

    @property
    def num_batches(self) -> int | None:
        return len(self)

    def on_epoch_begin(self) -> None:
        """Called before the first batch of an epoch."""

    def on_epoch_end(self) -> None:
        """Called after the last batch of an epoch."""


Sequence = PyDataset
