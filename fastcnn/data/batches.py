"""Turns whatever `fit`, `evaluate` and `predict` are given into batches.

Each kind of source has one adapter, all with the same face: `steps` (batches an epoch, None when unknown),
`peek()` (the first batch, for its shapes, without consuming it), `epoch(number)` (the batches of an epoch).
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fastcnn.data.arrays import Arrays, Batch, as_batch
from fastcnn.data.sequence import PyDataset
from fastcnn.errors import Error

EAGER_CHECK_BYTES = 1 << 30


def permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order of n things in an epoch: a function of its arguments alone (counter-based Philox)."""
    key = np.array([seed % 2**64, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(n)


class Batches:
    """What all adapters share: the checks of a batch, and weights by class."""

    steps: int | None
    data: Batch | None = None  # the whole data set, of the adapter that holds it
    exhausted = False

    def __init__(self, finite: bool, class_weight: Mapping[int, float] | None):
        self.finite = finite
        self.class_weight = class_weight

    def peek(self) -> Batch:
        raise TypeError(f"{type(self).__name__} must define peek")

    def epoch(self, epoch: int = 0, out: Batch | None = None) -> Iterator[Batch]:
        raise TypeError(f"{type(self).__name__} must define epoch")

    def has_ended(self) -> bool:
        """Whether there is nothing for another epoch."""
        return self.exhausted

    def _prepare(self, item: Any) -> Batch:
        """A user's batch `(x, y, sample_weight)`, `(x, y)`, `(x,)` or `x`, checked and weighted."""
        parts = tuple(item) if isinstance(item, list | tuple) else (item,)
        if not 1 <= len(parts) <= 3:
            raise Error(f"a batch must be (x, y) or (x, y, sample_weight), got {len(parts)} parts")
        batch = self._weigh(as_batch(*parts))
        if self.finite:
            batch.check_finite()
        return batch

    def _weigh(self, batch: Batch) -> Batch:
        return weigh_classes(batch, self.class_weight) if self.class_weight else batch


class ArrayBatches(Batches):
    """Batches out of arrays held in memory or mapped from disk; the data set itself is never copied.

    Batch k of a pass holds samples k * batch_size and on, in the order of `permutation(n, seed, pass)` when
    shuffled; the last one may be short. Fewer `steps` than a pass has divide it into several epochs, of which the
    last may be short, as in Keras; more do nothing. Data beyond 1 GiB is checked for NaN batch by batch.
    """

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        batch_size: int = 32,
        shuffle: bool = False,
        seed: int = 0,
        steps: int | None = None,
        finite: bool = True,
        class_weight: Mapping[int, float] | None = None,
    ):
        super().__init__(finite, class_weight)
        if batch_size < 1:
            raise Error(f"batch_size must be at least 1, got {batch_size}")
        self.data: Batch = self._weigh(as_batch(x, y, sample_weight))
        self.size = self.data.size
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.pass_steps = math.ceil(self.size / batch_size)
        self.steps: int = steps or self.pass_steps
        self.lazy_check = sum(array.nbytes for array in self.data.arrays) > EAGER_CHECK_BYTES
        if finite and not self.lazy_check:
            self.data.check_finite()

    def peek(self) -> Batch:
        return self.data.rows(slice(0, self.batch_size))

    def epoch(self, epoch: int = 0, out: Batch | None = None) -> Iterator[Batch]:
        """The batches of one epoch, in the buffers `out` (of at least batch_size rows) when given."""
        number, places = part_of_pass(epoch, self.steps, self.pass_steps)
        order = permutation(self.size, self.seed, number) if self.shuffle else None
        for place in places:
            yield self._batch(place, order, out)

    def _batch(self, place: int, order: np.ndarray | None, out: Batch | None) -> Batch:
        span = slice(place * self.batch_size, min((place + 1) * self.batch_size, self.size))
        batch = self.data.rows(span if order is None else order[span], out)
        if self.finite and self.lazy_check:
            batch.check_finite()
        return batch


def part_of_pass(epoch: int, steps: int, length: int) -> tuple[int, range]:
    """(number of the pass, places in it) of the batches of an epoch, where a pass has `length` of them."""
    number, part = divmod(epoch, math.ceil(length / steps))
    places = range(part * steps, min((part + 1) * steps, length))
    if len(places) < steps:
        text = f"the data ran out after {len(places)} of {steps} batches of this epoch"
        warnings.warn(text, stacklevel=3)
    return number, places


class SequenceBatches(Batches):
    """Batches from an object with `__len__` (batches) and `__getitem__` (one batch), such as a PyDataset.

    When shuffled, the batches of a pass come in the order of `permutation(len, seed, pass)`. `steps` as for arrays.
    A PyDataset whose `num_batches` is None has no end: an epoch has `steps` batches, never shuffled.
    """

    def __init__(
        self,
        source: Any,
        shuffle: bool = False,
        seed: int = 0,
        steps: int | None = None,
        finite: bool = True,
        class_weight: Mapping[int, float] | None = None,
    ):
        super().__init__(finite, class_weight)
        self.source = source
        self.shuffle = shuffle
        self.seed = seed
        self.asked_steps = steps
        self.steps: int = steps or self._length() or self._endless()

    def peek(self) -> Batch:
        return self._prepare(self.source[0])

    def epoch(self, epoch: int = 0, out: Batch | None = None) -> Iterator[Batch]:
        """The batches of one epoch, between the source's `on_epoch_begin` and `on_epoch_end`."""
        _call(self.source, "on_epoch_begin")
        for place in self._places(epoch):
            yield _into(self._prepare(self.source[int(place)]), out)
        _call(self.source, "on_epoch_end")

    def _places(self, epoch: int) -> Sequence[int] | np.ndarray:
        length = self._length()
        self.steps = self.asked_steps or length or self.steps
        if length is None:
            return range(epoch * self.steps, (epoch + 1) * self.steps)
        number, places = part_of_pass(epoch, self.steps, length)
        return permutation(length, self.seed, number)[places] if self.shuffle else places

    def _length(self) -> int | None:
        length = self.source.num_batches if isinstance(self.source, PyDataset) else len(self.source)
        if length is not None and length < 1:
            raise Error(f"{type(self.source).__name__} has no batch: its len() is {length}")
        return length

    def _endless(self) -> int:
        raise Error(
            f"{type(self.source).__name__} has no end, its num_batches is None; "
            "give steps_per_epoch (steps, validation_steps): the number of batches"
        )


class StreamBatches(Batches):
    """Batches from a generator, or from anything that can be iterated over again and again.

    A generator goes on from epoch to epoch; when it has ended, `exhausted` is set and training has to stop
    (with a warning, when it ended amid an epoch). Another iterable begins anew whenever it ends; without
    `steps` and without a length, an epoch is one pass.
    """

    def __init__(
        self,
        source: Any,
        steps: int | None = None,
        finite: bool = True,
        class_weight: Mapping[int, float] | None = None,
    ):
        super().__init__(finite, class_weight)
        self.source = source
        self.steps: int | None = steps or (len(source) if hasattr(source, "__len__") else None)
        self.once = hasattr(source, "__next__")
        self._iterator: Iterator[Any] | None = None
        self._ahead: Batch | None = None

    def peek(self) -> Batch:
        self._ahead = self._ahead or self._next()
        if self._ahead is None:
            raise Error(f"{type(self.source).__name__} gave no batch at all")
        return self._ahead

    def epoch(self, epoch: int = 0, out: Batch | None = None) -> Iterator[Batch]:
        """The batches of one epoch; the number of the epoch does not matter."""
        done = 0
        while self.steps is None or done < self.steps:
            batch = self._next()
            if batch is None and (done == 0 or self.steps is not None) and not self.once:
                batch = self._next()
            if batch is None:
                break
            done += 1
            yield _into(batch, out)
        self._report_end(done)

    def has_ended(self) -> bool:
        """As above; a generator is asked for a batch, which is kept for the epoch to come."""
        if self.once and not self.exhausted:
            self._ahead = self._ahead or self._next()
            if self._ahead is None:
                self.exhausted = True
                warnings.warn(f"{type(self.source).__name__} ran out of data for another epoch", stacklevel=3)
        return self.exhausted

    def _next(self) -> Batch | None:
        """The batch read ahead, else the next of the source; None where a pass ends."""
        if self._ahead is not None:
            batch, self._ahead = self._ahead, None
            return batch
        if self._iterator is None:
            self._iterator = iter(self.source)
        for item in self._iterator:
            return self._prepare(item)
        self._iterator = None
        return None

    def _report_end(self, done: int) -> None:
        name = type(self.source).__name__
        if done == 0:
            raise Error(f"{name} ran out of data: it gave no batch for this epoch; make it yield without end")
        if self.steps is None:
            self.exhausted = self.once
        elif done < self.steps:
            self.exhausted = True
            warnings.warn(f"{name} ran out of data after {done} of {self.steps} batches", stacklevel=3)


def make_batches(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | None = None,
    shuffle: bool = False,
    seed: int = 0,
    steps: int | None = None,
    finite: bool = True,
    class_weight: Mapping[int, float] | None = None,
) -> Batches:
    """The adapter for `x`: arrays (with y and sample_weight), or a source of whole batches (without)."""
    if steps is not None and steps < 1:
        raise Error(f"the number of steps of an epoch must be at least 1, got {steps}")
    if hasattr(x, "as_batches"):
        _check_source(x, y, sample_weight, batch_size)
        batches: Batches = x.as_batches(steps, finite, class_weight)
        return batches
    if _is_array_data(x):
        size = 32 if batch_size is None else batch_size
        return ArrayBatches(x, y, sample_weight, size, shuffle, seed, steps, finite, class_weight)
    _check_source(x, y, sample_weight, batch_size)
    if hasattr(x, "__getitem__") and hasattr(x, "__len__"):
        return SequenceBatches(x, shuffle, seed, steps, finite, class_weight)
    return StreamBatches(x, steps, finite, class_weight)


def _is_array_data(x: Any) -> bool:
    return isinstance(x, list | tuple | dict) or hasattr(x, "__array__")


def _check_source(x: Any, y: Any, sample_weight: Any, batch_size: int | None) -> None:
    name = type(x).__name__
    if not (hasattr(x, "__iter__") or hasattr(x, "__getitem__")):
        raise Error(
            f"x is a {name}, expected an array, a list or dict of arrays, a generator, an iterable of "
            "batches, or an object with __len__ and __getitem__"
        )
    given = {"y": y, "sample_weight": sample_weight, "batch_size": batch_size}
    if extra := [argument for argument, value in given.items() if value is not None]:
        raise Error(f"{' and '.join(extra)} cannot be given with a {name}: it yields whole batches (x, y)")


def split_validation(data: Batch, fraction: float) -> tuple[Batch, Batch]:
    """The first floor(n * (1 - fraction)) samples and the rest, as views: the last samples validate."""
    if not 0 < fraction < 1:
        raise Error(f"validation_split must lie between 0 and 1, got {fraction}")
    split = math.floor(data.size * (1 - fraction))
    if not 0 < split < data.size:
        raise Error(
            f"validation_split={fraction} of {data.size} samples leaves {split} to train on and "
            f"{data.size - split} to validate on; use more samples or another fraction"
        )
    return data.rows(slice(0, split)), data.rows(slice(split, data.size))


def weigh_classes(batch: Batch, class_weight: Mapping[int, float]) -> Batch:
    """The batch with its weights multiplied by those of its classes; a class not named has weight 1.

    y holds class numbers, (n,) or (n, 1), or one-hot rows (n, k); with further axes each pixel is weighed.
    """
    if not isinstance(batch.y, np.ndarray):
        raise Error("class_weight needs exactly one array y; for several outputs give sample_weight instead")
    labels = _labels(batch.y)
    table = _weight_table(class_weight, int(labels.max()))
    weight = table[labels]
    if batch.sample_weight is not None:
        weight = weight * _one(batch.sample_weight).reshape(len(weight), *[1] * (weight.ndim - 1))
    return batch._replace(sample_weight=weight)


def _labels(y: np.ndarray) -> np.ndarray:
    """Class numbers of y, which may be one-hot along its last axis."""
    labels = y if y.ndim == 1 else y.argmax(-1) if y.shape[-1] > 1 else y[..., 0]
    if labels.min() < 0 or (labels.dtype.kind == "f" and (labels != np.rint(labels)).any()):
        raise Error("class_weight: y must hold class numbers 0, 1, 2, ... or one-hot rows")
    return labels.astype(np.intp)


def _weight_table(class_weight: Mapping[int, float], most: int) -> np.ndarray:
    for label, weight in class_weight.items():
        if not (isinstance(label, int | np.integer) and label >= 0 and weight >= 0 and math.isfinite(weight)):
            raise Error(f"class_weight maps class numbers to weights of 0 or more, got {label!r}: {weight!r}")
    table = np.ones(max(most, *class_weight) + 1, np.float32)
    table[list(class_weight)] = list(class_weight.values())
    return table


def _one(arrays: Arrays) -> np.ndarray:
    if not isinstance(arrays, np.ndarray):
        raise Error("class_weight goes with one array of sample_weight, not with several")
    return arrays


def _into(batch: Batch, out: Batch | None) -> Batch:
    return batch if out is None else batch.rows(slice(None), out)


def _call(source: Any, hook: str) -> None:
    if callable(function := getattr(source, hook, None)):
        function()
