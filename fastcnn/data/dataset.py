"""Dataset: samples and what is done to them on their way to a model, batch by batch.

    Dataset(x, y).shuffle().batch(128).map(layers.RandomFlip()).prefetch()

Bytes stay bytes until the batch. A batch is a function of (seed, epoch, number): the same on any number of threads,
with or without prefetch, and whoever asks for it. `fit`, `evaluate`, `predict` take a Dataset in place of x and y.
"""

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np

from fastcnn import config
from fastcnn.data.arrays import Arrays, Batch, as_array, as_batch
from fastcnn.data.batches import Batches, permutation
from fastcnn.data.compiled import Compiled, is_layer
from fastcnn.data.image_files import EXTENSIONS, pillow
from fastcnn.data.image_folder import ImageReader, index_files
from fastcnn.data.paths import as_path
from fastcnn.data.prefetch import prefetch
from fastcnn.data.sources import (
    ArraySource,
    FolderSource,
    ItemSource,
    Source,
    Stream,
    check_box_format,
    faulty_labels,
    good_boxes,
    padded_boxes,
)
from fastcnn.data.splits import split_indices
from fastcnn.errors import Error, NoLengthError

Step = Callable[[Batch, int, int], Batch]  # (batch, epoch, number)


class Dataset:
    """Samples: arrays or memory-mapped arrays x with y and sample_weight, or an object with a length and items.

    boxes: for each image an (m, 4) array of boxes and box_labels (m,), in place of y; batches then have
    y = {"boxes" (n, most, 4), "labels" (n, most)}, filled up with labels -1. Boxes that are not finite, with a
    bounding_box_format also those without a size or outside of their image, and labels beyond class_names are an
    `Error`; with on_error="skip" such boxes and samples are left out and listed in `skipped`.
    Methods return another Dataset on the same samples; nothing is read before a batch is asked for.
    """

    def __init__(
        self, x: Any, y: Any = None, sample_weight: Any = None, *, boxes: Any = None, box_labels: Any = None,
        bounding_box_format: str | None = None, class_names: Sequence[str] | None = None, on_error: str = "raise",
    ):  # fmt: skip
        _check_on_error("Dataset", on_error)
        _check_names(class_names)
        faults: list[str] = []
        if (boxes is None) != (box_labels is None) or (boxes is not None and y is not None):
            raise Error("Dataset: boxes go with box_labels, and take the place of y")
        if boxes is not None:
            x = _images_with_boxes(x)
            form = None if bounding_box_format is None else check_box_format("Dataset", bounding_box_format)
            boxes, box_labels, faults = good_boxes(boxes, box_labels, form, x.shape[1:3], class_names)
        self._source: Source | Stream = _source(x, y, sample_weight, boxes, box_labels)
        wrong = faulty_labels(self._source.labels(), class_names)
        faults += wrong.values()
        if faults and on_error == "raise":
            raise Error(f"Dataset: {faults[0]}; correct or remove it ({len(faults)} such in all)")
        kept = np.setdiff1d(np.arange(len(self._source)), list(wrong)) if wrong else None
        if kept is not None and not len(kept):
            raise Error(f"Dataset: no sample is left; the first: {faults[0]}")
        self._begin(class_names, kept, faults)

    def _begin(
        self, class_names: Sequence[str] | None, indices: np.ndarray | None = None, skipped: Sequence[str] = ()
    ) -> None:  # fmt: skip
        self.class_names = None if class_names is None else list(class_names)
        self.skipped = list(skipped)  # messages about what was left out
        self._first = self._source  # of all samples, when `_source` has become a part in memory
        self._indices = indices  # of the samples of the source that belong to it; None: all
        self._weights: np.ndarray | None = None  # probabilities of these; None: each once an epoch
        self._seed: int | None = None  # of the order; None: as the samples are
        self._buffer = 0  # samples of a stream that are shuffled together
        self._batch_size, self._drop_last, self._ahead = 32, False, 0
        self._steps: tuple[Step, ...] = ()
        self._classes: int | None = None
        self._epoch = 0

    # --- where samples come from -----------------------------------------------------------------------------

    @classmethod
    def from_folder(
        cls, directory: str | PathLike[str], image_size: int | tuple[int, int] = (256, 256), labels: Any = "inferred",
        class_names: Sequence[str] | None = None, color_mode: str = "rgb", interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False, pad_to_aspect_ratio: bool = False, follow_links: bool = False,
        on_error: str = "raise",
    ) -> "Dataset":  # fmt: skip
        """The images below a folder, one sub-folder a class, resized to image_size (height, width), as bytes.

        on_error: "raise" when a file that cannot be read is reached; "skip" reads all files now, leaves out those, and
        lists them in `skipped`.
        """
        pillow()
        _check_on_error("Dataset.from_folder", on_error)
        folder = as_path("Dataset.from_folder", directory)
        files = index_files(folder, labels, class_names, follow_links)
        if not files.paths:
            raise Error(
                f"{folder}: there is no image in its folders of classes, no file that ends in {', '.join(EXTENSIONS)}; "
                "for images without classes give labels=None"
            )
        ratio = "crop" if crop_to_aspect_ratio else "pad" if pad_to_aspect_ratio else "stretch"
        source = FolderSource(files, ImageReader.of(color_mode, image_size, interpolation, ratio))
        dataset = cls.from_source(source, files.class_names or None)
        return dataset._without_unreadable(source) if on_error == "skip" else dataset

    @classmethod
    def from_generator(cls, make: Callable[[], Any]) -> "Dataset":
        """The samples x, (x, y) or (x, y, weight) that `make()` yields, called anew for each epoch."""
        if not callable(make):
            raise Error(
                f"Dataset.from_generator takes a function that begins anew, got a {type(make).__name__}; "
                "write from_generator(lambda: iterable)"
            )
        return cls.from_source(Stream(make))

    @classmethod
    def from_source(
        cls, source: Source | Stream, class_names: Sequence[str] | None = None, skipped: Sequence[str] = ()
    ) -> "Dataset":
        """The samples of a `Source`: what all others are made of."""
        dataset = cls.__new__(cls)
        dataset._source = source
        dataset._begin(class_names, skipped=skipped)
        return dataset

    def _without_unreadable(self, source: FolderSource) -> "Dataset":
        bad = dict(source.unreadable())
        if len(bad) == len(source):
            raise Error(f"none of {len(source)} images can be read; the first: {next(iter(bad.values()))}")
        kept = np.array([i for i in range(len(source)) if i not in bad])
        dataset = self._with(_indices=kept)
        dataset.skipped = list(bad.values())
        return dataset

    def _with(self, **changes: Any) -> "Dataset":
        other = copy.copy(self)
        for name, value in changes.items():
            setattr(other, name, value)
        return other

    # --- what is done to them --------------------------------------------------------------------------------

    def shuffle(self, seed: int | None = None, buffer: int = 1000) -> "Dataset":
        """In another order each epoch, a function of the seed (None: the next of the process) and the epoch's number.

        Of a generator, in which the last samples cannot be first, `buffer` samples are shuffled together.
        """
        number = config.next_seed() if seed is None else _whole("shuffle", "seed", seed)
        return self._with(_seed=number, _buffer=_whole("shuffle", "buffer", buffer))

    def batch(self, size: int, drop_last: bool = False) -> "Dataset":
        """In batches of `size` samples; drop_last leaves out a short one at the end of an epoch."""
        if _whole("batch", "size", size) < 1:
            raise Error(f"Dataset.batch: size must be at least 1, got {size}")
        return self._with(_batch_size=int(size), _drop_last=bool(drop_last))

    def map(self, function: Any) -> "Dataset":
        """Batches changed by a layer, compiled and active as in training, or by a function of their arrays.

        A function takes x, or (x, y), or (x, y, sample_weight), as many as the data have, and returns as many; if it
        has a parameter `rng`, it gets a generator that depends on the batch's place alone. A layer gets x, whole
        numbers as they are and others in its own format, and of a y with "boxes" and "labels", "segmentation_masks" or
        "keypoints" these; a layer that mixes samples also gets y, one-hot. Layers of pictures that follow one another
        are one pass, compiled together.
        """
        if not callable(function):
            raise Error(f"Dataset.map takes a layer or a function, got a {type(function).__name__}")
        if not is_layer(function):
            return self._with(_steps=(*self._steps, _Mapped(function)))
        last = self._steps[-1] if self._steps else None
        joined = last.then(function) if isinstance(last, Compiled) else None
        if joined is not None:
            return self._with(_steps=(*self._steps[:-1], joined))
        return self._with(_steps=(*self._steps, Compiled([function], self)))

    def prefetch(self, count: int = 2) -> "Dataset":
        """Made on a thread, up to `count` batches ahead of the one in use. 0: not."""
        return self._with(_ahead=max(_whole("prefetch", "count", count), 0))

    def weighted(self, weights: Any, seed: int | None = None) -> "Dataset":
        """As many samples an epoch, drawn with probabilities in proportion to weights (n,), some of them twice."""
        array = as_array(weights, "Dataset.weighted: weights").astype(np.float64)
        if (
            array.shape != (self.size,)
            or not np.isfinite(array).all()
            or (array < 0).any()
            or not array.sum()
        ):
            raise Error(
                f"Dataset.weighted: needs {self.size} weights, none negative, not all 0; got {array.shape}"
            )
        shuffled = self.shuffle(seed)
        return shuffled._with(_weights=array / array.sum())

    def balanced(self, seed: int | None = None) -> "Dataset":
        """As many samples an epoch, drawn so that every class is equally probable."""
        labels = self._labels("balanced")
        _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
        return self.weighted(1.0 / counts[place], seed)

    def select(self, indices: Any) -> "Dataset":
        """The samples at these indices, or where an array of True and False (n,) is True."""
        chosen = np.asarray(indices)
        if chosen.dtype == bool and chosen.shape == (self.size,):
            chosen = np.flatnonzero(chosen)
        if chosen.ndim != 1 or chosen.dtype.kind not in "iu" or not len(chosen):
            raise Error(
                "Dataset.select: needs one or more whole numbers in one dimension, or True and False for each "
                f"sample, got {chosen.dtype} of shape {chosen.shape}"
            )
        if chosen.min() < -self.size or chosen.max() >= self.size:
            raise Error(
                f"Dataset.select: indices reach from {chosen.min()} to {chosen.max()}, samples are {self.size}"
            )
        if self._weights is not None:
            raise Error(
                "Dataset: select, split and divide into folds first, then use weighted() or balanced()"
            )
        return self._with(_indices=self._members[chosen])

    def split(self, *ratios: float, stratified: bool = False, seed: int = 0) -> list["Dataset"]:
        """Parts in these ratios, of sum 1, drawn by the seed; stratified: each class in these ratios."""
        labels = self._labels("split(stratified=True)") if stratified else None
        return [self.select(part) for part in split_indices(self.size, ratios, labels, seed)]

    def k_fold(
        self, k: int, stratified: bool = False, seed: int = 0
    ) -> Iterator[tuple["Dataset", "Dataset"]]:
        """k pairs (training, validation); each sample validates once. stratified: each class in equal shares."""
        if not 2 <= _whole("k_fold", "k", k) <= self.size:
            raise Error(f"Dataset.k_fold: k must lie between 2 and the {self.size} samples, got {k}")
        labels = self._labels("k_fold(stratified=True)") if stratified else np.zeros(self.size, int)
        rng = np.random.Generator(np.random.Philox(seed))
        fold, dealt = np.zeros(self.size, int), 0
        for label in np.unique(
            labels
        ):  # dealt like cards, so that no fold has more than one more than another
            members = rng.permutation(np.flatnonzero(labels == label))
            fold[members] = (dealt + np.arange(len(members))) % k
            dealt += len(members)
        for i in range(k):
            yield self.select(np.flatnonzero(fold != i)), self.select(np.flatnonzero(fold == i))

    def cache(self) -> "Dataset":
        """With all samples read into memory now."""
        return self._with(_source=ArraySource(self._rows(self._members)), _indices=None)

    # --- what they are ---------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """The number of samples."""
        return len(self._members)

    @property
    def _members(self) -> np.ndarray:
        if isinstance(self._source, Stream):
            raise NoLengthError(
                "a generator does not say how many samples it has; list them: Dataset(list_of_samples)"
            )
        return np.arange(len(self._source)) if self._indices is None else self._indices

    @property
    def classes(self) -> int:
        """The number of classes: of `class_names`, or one more than the largest label, also those of other parts."""
        if self.class_names is not None:
            return len(self.class_names)
        if self._classes is None:
            first = self._first if self._first.labels() is not None else self._source
            self._classes = int(_classes_of(first, "one-hot labels").max()) + 1
        return self._classes

    def _labels(self, what: str) -> np.ndarray:
        """The class of every sample."""
        return _classes_of(self._source, what)[self._members]

    def __len__(self) -> int:
        """The number of batches an epoch."""
        full, rest = divmod(self.size, self._batch_size)
        return full + (1 if rest and not self._drop_last else 0)

    def __repr__(self) -> str:
        count = "a stream" if isinstance(self._source, Stream) else f"{self.size} samples"
        return f"<Dataset of {count} in batches of {self._batch_size}>"

    # --- batches ---------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        """The batches x, (x, y) or (x, y, sample_weight) of an epoch, then those of the next one."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        return (_parts(batch) for batch in self.epoch(epoch))

    def epoch(self, number: int = 0) -> Iterator[Batch]:
        """The batches of the epoch of that number."""
        made = self._stream(number) if isinstance(self._source, Stream) else self._made(number)
        return prefetch(made, self._ahead) if self._ahead else made

    def _order(self, epoch: int) -> np.ndarray:
        members = self._members
        if self._weights is not None:
            key = np.array([(self._seed or 0) % 2**64, epoch], np.uint64)
            rng = np.random.Generator(np.random.Philox(key=key))
            return members[rng.choice(len(members), len(members), p=self._weights)]
        return members if self._seed is None else members[permutation(len(members), self._seed, epoch)]

    def _made(self, epoch: int) -> Iterator[Batch]:
        order = self._order(epoch)
        for number in range(len(self)):
            span = order[number * self._batch_size : (number + 1) * self._batch_size]
            yield self._changed(self._rows(span), epoch, number)

    def _stream(self, epoch: int) -> Iterator[Batch]:
        assert isinstance(self._source, Stream)
        buffer = self._buffer if self._seed is not None else 0
        key = [(self._seed or 0) % 2**64, epoch]
        for number, batch in enumerate(self._source.batches(self._batch_size, self._drop_last, buffer, key)):
            yield self._changed(batch, epoch, number)

    def _rows(self, indices: np.ndarray) -> Batch:
        assert isinstance(self._source, Source)
        return self._source.rows(indices)

    def _changed(self, batch: Batch, epoch: int, number: int) -> Batch:
        for step in self._steps:
            batch = step(batch, epoch, number)
        return batch

    def as_batches(self, steps: int | None, finite: bool, class_weight: Any) -> Batches:
        """What `fit` trains on."""
        return DatasetBatches(self, steps, finite, class_weight)


class DatasetBatches(Batches):
    """The batches of a Dataset, as `fit` wants them."""

    def __init__(self, dataset: Dataset, steps: int | None, finite: bool, class_weight: Any):
        super().__init__(finite, class_weight)
        self.dataset = dataset
        is_stream = isinstance(dataset._source, Stream)
        self.steps = steps or (None if is_stream else len(dataset))
        if self.steps == 0:
            raise Error(f"{dataset!r} has no batch: drop_last leaves out the only, short one")

    def peek(self) -> Batch:
        """The first batch of the first epoch."""
        for batch in self.dataset._with(_ahead=0).epoch(0):
            return self._checked(batch)
        raise Error("the generator gave no sample at all")

    def epoch(self, epoch: int = 0, out: Batch | None = None) -> Iterator[Batch]:
        """The batches of an epoch; with `steps`, so many, going on through the dataset's own epochs."""
        wanted, number, done = self.steps, epoch, 0
        if wanted is not None and not isinstance(self.dataset._source, Stream):
            number, skip = divmod(epoch * wanted, len(self.dataset))
        else:
            skip = 0
        while True:
            is_empty = True
            for batch in self.dataset.epoch(number):
                is_empty = False
                if skip:
                    skip -= 1
                    continue
                yield self._checked(batch)
                done += 1
                if done == wanted:
                    return
            if is_empty:
                raise Error(
                    f"the generator gave no batch in pass {number + 1} over the data; its function must begin anew"
                )
            number += 1
            if wanted is None:
                return

    def _checked(self, batch: Batch) -> Batch:
        batch = self._weigh(as_batch(*batch))
        if self.finite:
            batch.check_finite()
        return batch


class _Mapped:
    """A function of a batch's arrays as a step."""

    def __init__(self, function: Callable[..., Any]):
        self.function = function
        self.parameters = _parameters(function)
        self.takes_rng = self.parameters is not None and "rng" in self.parameters.parameters

    def __call__(self, batch: Batch, epoch: int, number: int) -> Batch:
        given = [part for part in batch if part is not None]
        options = {}
        if self.takes_rng:
            options["rng"] = np.random.Generator(np.random.Philox(key=np.array([epoch, number], np.uint64)))
        names = [name for name, part in zip(batch._fields, batch, strict=True) if part is not None]
        self._check(names, options)
        made = self.function(*given, **options)
        parts: tuple[Arrays, ...] = made if isinstance(made, tuple) else (made,)
        if len(parts) != len(given):
            raise Error(f"Dataset.map: the function got {len(given)} arrays and returned {len(parts)}")
        return as_batch(**dict(zip(names, parts, strict=True)))

    def _check(self, names: Sequence[str], options: dict[str, Any]) -> None:
        try:
            if self.parameters is not None:
                self.parameters.bind(*names, **options)
        except TypeError as error:
            raise Error(
                f"Dataset.map: the function must take the {len(names)} arrays of a batch ({', '.join(names)}): {error}"
            ) from error


def _parameters(function: Callable[..., Any]) -> inspect.Signature | None:
    """What a function takes; None where Python does not know."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _check_on_error(owner: str, on_error: str) -> None:
    if on_error not in ("raise", "skip"):
        raise Error(f"{owner}: on_error must be 'raise' or 'skip', got {on_error!r}")


def _check_names(class_names: Any) -> None:
    is_list = isinstance(class_names, list | tuple) and all(isinstance(name, str) for name in class_names)
    if class_names is not None and not is_list:
        raise Error(f"Dataset: class_names must be a list of names, one a class, got {class_names!r}")


def _classes_of(source: Source | Stream, what: str) -> np.ndarray:
    """The class of every sample of a source."""
    labels = source.labels()
    if labels is None:
        raise Error(f"Dataset: {what} needs one array of labels, known ahead; these samples have none")
    return labels.argmax(-1) if labels.ndim == 2 and labels.shape[1] > 1 else labels.reshape(-1)


def _parts(batch: Batch) -> Any:
    given = tuple(part for part in batch if part is not None)
    return given[0] if len(given) == 1 else given


def _source(x: Any, y: Any, sample_weight: Any, boxes: Any, box_labels: Any) -> Source:
    if not _is_data(x):
        if isinstance(x, str) or not (hasattr(x, "__getitem__") and hasattr(x, "__len__")):
            raise Error(
                f"Dataset: x is a {type(x).__name__}, expected arrays or an object with __len__ and __getitem__; "
                "for a generator write Dataset.from_generator(function), for a folder Dataset.from_folder(folder)"
            )
        if y is not None or sample_weight is not None:
            raise Error(f"Dataset: the items of a {type(x).__name__} bring y and sample_weight with them")
        if not len(x):
            raise Error(f"Dataset: the {type(x).__name__} has no sample")
        return ItemSource(x)
    if boxes is not None:
        y = padded_boxes(boxes, box_labels, len(x))
    return ArraySource(as_batch(x, y, sample_weight))


def _images_with_boxes(x: Any) -> np.ndarray:
    if not _is_data(x):
        raise Error(f"Dataset: boxes belong to an array of images, not to the items of a {type(x).__name__}")
    images = as_array(x, "x")
    if images.ndim != 4:
        raise Error(
            f"Dataset: boxes belong to one array of images (n, height, width, channels), got {images.shape}"
        )
    return images


def _whole(method: str, name: str, value: Any) -> int:
    """A whole number, as a method of Dataset was given it."""
    if not hasattr(value, "__index__"):
        raise Error(f"Dataset.{method}: {name} must be a whole number, got {value!r}")
    return int(value)


def _is_data(x: Any) -> bool:
    is_list = isinstance(x, list) and not _has_pairs(x)
    return is_list or isinstance(x, dict | tuple) or hasattr(x, "__array__")


def _has_pairs(items: list[Any]) -> bool:
    return bool(items) and isinstance(items[0], tuple)
