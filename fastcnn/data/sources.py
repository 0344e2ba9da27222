"""Where samples come from: arrays, folders of images, anything with a length and items. All give rows of arrays."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from tqdm import tqdm

from fastcnn.data.arrays import Batch, as_batch
from fastcnn.data.image_files import THREADS
from fastcnn.data.image_folder import ImageReader, LabelledFiles
from fastcnn.errors import Error, did_you_mean

NO_BOX = -1  # the label of boxes that fill up, or of which nothing is left
_CORNERS = ("xyxy", "yxyx", "xywh", "center_xywh", "center_yxhw")
BOX_FORMATS = (*_CORNERS, "rel_xyxy", "rel_yxyx", "rel_xywh", "rel_center_xywh")  # as Keras names them


class Source:
    """A number of samples in some order; `rows(indices)` gives those at indices, as arrays."""

    def __len__(self) -> int:
        raise Error(f"{type(self).__name__} does not say how many samples it has")

    def rows(self, indices: np.ndarray) -> Batch:
        """The samples at indices, in that order."""
        raise Error(f"{type(self).__name__} does not give samples")

    def labels(self) -> np.ndarray | None:
        """The targets of all samples, where these are known without reading them; else None."""
        return None


class ArraySource(Source):
    """Arrays in memory or mapped from disk; nothing is copied but the rows asked for."""

    def __init__(self, data: Batch):
        self.data = data

    def __len__(self) -> int:
        return self.data.size

    def rows(self, indices: np.ndarray) -> Batch:
        """Copies of the rows."""
        return self.data.rows(indices)

    def labels(self) -> np.ndarray | None:
        """y, where it is one array."""
        return self.data.y if isinstance(self.data.y, np.ndarray) else None


class ItemSource(Source):
    """An object with `__len__` and `__getitem__`, whose items are x, (x, y) or (x, y, weight) of one sample."""

    def __init__(self, items: Any):
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def rows(self, indices: np.ndarray) -> Batch:
        """The items, stacked."""
        return stacked([self.items[int(i)] for i in indices], f"items of a {type(self.items).__name__}")


class FolderSource(Source):
    """Image files, read and resized when they are asked for, on threads; bytes (n, height, width, channels)."""

    def __init__(self, files: LabelledFiles, reader: ImageReader):
        self.files = files
        self.reader = reader

    def __len__(self) -> int:
        return len(self.files.paths)

    def rows(self, indices: np.ndarray) -> Batch:
        """The images and the numbers of their classes."""
        x = self.reader.read_all([self.files.paths[int(i)] for i in indices], np.uint8)
        labels = self.labels()
        return Batch(x, None if labels is None else labels[indices])

    def labels(self) -> np.ndarray | None:
        """The number of the class of every file."""
        return None if self.files.labels is None else np.asarray(self.files.labels, np.int32)

    def unreadable(self) -> Iterator[tuple[int, str]]:
        """(number, message) of every file that cannot be read, found by reading all of them."""

        def problem(path: str) -> str | None:
            try:
                self.reader.read(path)
            except Error as error:
                return str(error)
            return None

        with warnings.catch_warnings(), ThreadPoolExecutor(THREADS) as pool:
            warnings.simplefilter("ignore")  # Pillow warns of many pixels, where read() raises
            found = pool.map(problem, self.files.paths)
            bar = tqdm(found, "reading images", len(self), leave=False, delay=2.0, disable=None)
            for number, message in enumerate(bar):
                if message is not None:
                    yield number, message


def stacked(items: Sequence[Any], what: str) -> Batch:
    """Samples x, (x, y) or (x, y, weight) as a batch; an `Error` names those that differ in shape."""
    rows = [item if isinstance(item, tuple) else (item,) for item in items]
    if len({len(row) for row in rows}) != 1 or not 1 <= len(rows[0]) <= 3:
        raise Error(f"{what}: each must be x, (x, y) or (x, y, sample_weight)")
    columns = []
    for part, name in zip(zip(*rows, strict=True), ("x", "y", "sample_weight"), strict=False):
        arrays = [np.asarray(value) for value in part]
        shapes = {array.shape for array in arrays}
        if len(shapes) > 1:
            raise Error(f"{what}: {name} has the shapes {sorted(shapes)[:3]}; give all samples one shape")
        columns.append(np.stack(arrays))
    return as_batch(*columns)


def check_box_format(owner: str, name: Any) -> str:
    """The name of a format in lower case; an `Error` if there is none of that name."""
    word = name.lower() if isinstance(name, str) else name
    if word not in BOX_FORMATS:
        raise Error(f"{owner}: bounding_box_format {name!r} is unknown{did_you_mean(str(name), BOX_FORMATS)}")
    return str(word)


def faulty_labels(labels: np.ndarray | None, class_names: Sequence[str] | None) -> dict[int, str]:
    """What is wrong, by the number of the sample, where a class number (n,) or (n, 1) has no name.

    One-hot rows (n, k) of another k than there are names are an `Error`.
    """
    if labels is None or class_names is None or labels.ndim > 2:
        return {}
    if labels.ndim == 2 and labels.shape[1] > 1:
        if labels.shape[1] != len(class_names):
            raise Error(f"y has {labels.shape[1]} columns, {_named(class_names)}")
        return {}
    flat = labels.reshape(-1)
    wrong = np.flatnonzero(~((flat >= 0) & (flat < len(class_names)) & (flat == np.rint(flat))))
    return {int(i): f"sample {i} has the label {flat[i]}, {_named(class_names)}" for i in wrong}


def _named(class_names: Sequence[str]) -> str:
    return f"but {len(class_names)} class_names are for labels from 0 to {len(class_names) - 1}"


def good_boxes(
    boxes: Any, labels: Any, form: str | None, size: tuple[int, int], class_names: Sequence[str] | None
) -> tuple[list[np.ndarray], list[np.ndarray], list[str]]:
    """The boxes and labels of each image without the bad ones, and what is wrong with those.

    form: of the numbers, None if that is not known; size: (height, width) of the images.
    """
    if len(boxes) != len(labels):
        raise Error(f"boxes and box_labels need an entry for each image, got {len(boxes)} and {len(labels)}")
    kept: list[np.ndarray] = []
    named: list[np.ndarray] = []
    messages = []
    for i, (its, classes) in enumerate(zip(boxes, labels, strict=True)):
        array, numbers = _as_boxes(its, i), _as_classes(classes, i)
        if len(array) != len(numbers):
            raise Error(f"image {i} has {len(array)} boxes and {len(numbers)} box_labels")
        faults = _faults(array, form, size)
        for k in np.flatnonzero(numbers != np.rint(numbers)):
            faults[int(k)] = f"has the label {numbers[k]}, which is no whole number"
        if class_names is not None:
            for k in np.flatnonzero((numbers < 0) | (numbers >= len(class_names))):
                faults[int(k)] = f"has the label {numbers[k]}, {_named(class_names)}"
        messages += [
            f"image {i}: box {k}, {array[k].tolist()}, {fault}" for k, fault in sorted(faults.items())
        ]
        good = [k for k in range(len(array)) if k not in faults]
        kept.append(array[good])
        named.append(numbers[good])
    return kept, named, messages


def _as_boxes(boxes: Any, i: int) -> np.ndarray:
    """The boxes of image i as an array (m, 4)."""
    try:
        array = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise Error(f"image {i}: boxes must be numbers (m, 4), got {str(boxes)[:80]}") from error
    if array.size and (array.ndim > 2 or array.shape[-1:] != (4,)):
        raise Error(f"image {i}: boxes must be numbers (m, 4), got shape {array.shape}")
    return array.reshape(-1, 4)


def _as_classes(labels: Any, i: int) -> np.ndarray:
    """The classes of the boxes of image i as an array (m,)."""
    array = np.asarray(labels).reshape(-1)
    if array.dtype.kind not in "biuf":
        raise Error(f"image {i}: box_labels must be whole numbers (m,), got {str(labels)[:80]}")
    return array


def _faults(array: np.ndarray, form: str | None, size: tuple[int, int]) -> dict[int, str]:
    """What is wrong with boxes (m, 4), by number: no size, or nothing of them inside of their image."""
    if form is None:
        return {int(k): "is not finite" for k in np.flatnonzero(~np.isfinite(array).all(1))}
    most = (1.0, 1.0) if form.startswith("rel_") else size[::-1]
    corners = corners_of(array, form)
    first, second = corners[:, :2], corners[:, 2:]
    outside = (second <= 0).any(1) | (first >= np.array(most)).any(1)
    faults = {int(k): f"lies outside of {size[1]} x {size[0]} pixels" for k in np.flatnonzero(outside)}
    small = ~((second > first).all(1) & np.isfinite(array).all(1))
    return {**faults, **{int(k): "has no positive width and height" for k in np.flatnonzero(small)}}


def corners_of(boxes: np.ndarray, form: str) -> np.ndarray:
    """x1 y1 x2 y2 of boxes (m, 4), in the unit of their format."""
    plain = form.removeprefix("rel_")
    first, second = boxes[:, :2], boxes[:, 2:]
    if plain in ("yxyx", "center_yxhw"):
        first, second = first[:, ::-1], second[:, ::-1]
    if plain.startswith("center"):
        first, second = first - second / 2, first + second / 2
    elif plain == "xywh":
        second = first + second
    return np.concatenate([first, second], 1)


def padded_boxes(boxes: Any, labels: Any, n: int, least: int = 1) -> dict[str, np.ndarray]:
    """{"boxes" (n, m, 4), "labels" (n, m)} of arrays of boxes (m_i, 4) and their classes (m_i,), filled up with -1.

    m is the largest m_i, or `least`.
    """
    if len(boxes) != n or len(labels) != n:
        raise Error(
            f"boxes and box_labels need an entry for each of {n} images, got {len(boxes)} and {len(labels)}"
        )
    most = max([least, *(len(each) for each in boxes)])
    found = {
        "boxes": np.zeros((n, most, 4), np.float32),
        "labels": np.full((n, most), NO_BOX, np.int32),
    }
    for i, (its, classes) in enumerate(zip(boxes, labels, strict=True)):
        found["boxes"][i, : len(its)], found["labels"][i, : len(its)] = its, classes
    return found


class Stream:
    """Samples that come one after the other, again for each epoch: `begin()` gives an iterable of them."""

    def __init__(self, begin: Callable[[], Any]):
        self.begin = begin

    def labels(self) -> None:
        """They are not known ahead."""

    def batches(self, size: int, drop_last: bool, buffer: int, seed: list[int]) -> Iterator[Batch]:
        """Batches of `size` samples; of `buffer` samples read ahead, each is the next with equal probability."""
        rng = np.random.Generator(np.random.Philox(key=np.array(seed, np.uint64)))
        waiting: list[Any] = []
        for sample in self._mixed(buffer, rng):
            waiting.append(sample)
            if len(waiting) == size:
                yield stacked(waiting, "samples of a generator")
                waiting = []
        if waiting and not drop_last:
            yield stacked(waiting, "samples of a generator")

    def _mixed(self, buffer: int, rng: np.random.Generator) -> Iterator[Any]:
        held: list[Any] = []
        samples = self.begin()
        if not hasattr(samples, "__iter__"):
            raise Error(
                f"Dataset.from_generator: the function returned a {type(samples).__name__}, expected a generator"
            )
        for sample in samples:
            held.append(sample)
            if len(held) > buffer:
                place = int(rng.integers(len(held))) if buffer else 0
                held[place], held[-1] = held[-1], held[place]
                yield held.pop()
        while held:
            place = int(rng.integers(len(held))) if buffer else 0
            yield held.pop(place)
