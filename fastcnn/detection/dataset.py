"""Images with objects: what detectors are trained on and judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fastcnn.data import Batch, Dataset
from fastcnn.data.image_files import THREADS, image_size, read_image
from fastcnn.data.image_folder import target_size
from fastcnn.data.sources import Source, padded_boxes
from fastcnn.detection.augment import as_image, fitted
from fastcnn.detection.results import Objects
from fastcnn.errors import Error

ROUNDING = (
    1.0,
    1e-3,
)  # pixels, share of a side: boxes of labelling tools reach so far beyond an image, the larger counts
SKIP = "on_error='skip' (on the command line --skip) leaves it out and goes on"


@dataclass(frozen=True, eq=False)
class Sample:
    """An image, as a file or as an array (height, width, channels) of 0..255, and its objects in pixels."""

    image: Any
    objects: Objects
    name: str = ""

    def load(self, channels: int = 3) -> np.ndarray:
        """The image as an array (height, width, channels), uint8 from files."""
        if isinstance(self.image, np.ndarray):
            return self.image if self.image.ndim == 3 else self.image[..., np.newaxis]
        return read_image(self.image, channels)


@dataclass(eq=False)
class BoxDataset:
    """Samples and the names of the classes that their labels count."""

    samples: Sequence[Sample]
    class_names: tuple[str, ...]
    problems: list[str] = field(default_factory=list)  # what a reader has left out, and why

    def __post_init__(self) -> None:
        self.class_names = tuple(str(name) for name in self.class_names)
        for sample in self.samples:
            labels = sample.objects.labels
            if len(labels) and not (labels.min() >= 0 and labels.max() < len(self.class_names)):
                raise Error(
                    f"{sample.name or 'a sample'}: labels {labels.min()}..{labels.max()}, but there are "
                    f"{len(self.class_names)} classes ({', '.join(self.class_names)})"
                )

    @staticmethod
    def from_arrays(
        images: Iterable[Any],
        boxes: Iterable[Any],
        labels: Iterable[Any],
        class_names: Sequence[str],
        on_error: str = "raise",
    ) -> BoxDataset:
        """images: arrays (height, width, channels), 0..255; boxes (n, 4) xyxy in pixels and labels (n,) of each.

        Boxes must lie in their image, as `cut_box` says, and have labels that have names; else there is an `Error`.
        With on_error="skip" such a box is left out and named in `problems`, and so is an image of which nothing can be
        made. A box that is a point is left out and named whatever on_error says.
        """
        faults, found = Faults(on_error), []
        images, boxes, labels = list(images), list(boxes), list(labels)
        if not len(images) == len(boxes) == len(labels):
            raise Error(
                f"{len(images)} images, boxes of {len(boxes)} and labels of {len(labels)}; give some for each image, "
                "[] where it has none"
            )
        for number, (image, box, label) in enumerate(zip(images, boxes, labels, strict=True)):
            with faults.caught():
                found.append((f"image {number}", *_of_arrays(image, box, label, f"image {number}")))
        samples = [
            Sample(image, _good(objects, image.shape[:2], len(class_names), name, faults), name)
            for name, image, objects in found
        ]
        return BoxDataset(samples, tuple(class_names), faults.messages)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def __str__(self) -> str:
        count = sum(len(sample.objects) for sample in self.samples)
        return f"{len(self)} images with {count} objects of {len(self.class_names)} classes"

    def to_dataset(self, image_size: int | tuple[int, int], channels: int = 3) -> Dataset:
        """A `data.Dataset` of the images, read when asked for, letterboxed to image_size (height, width), as bytes.

        Its y is {"boxes" (n, most, 4) xyxy in pixels, "labels" (n, most)}, filled up with labels -1; without crowds
        and without what becomes smaller than two pixels.
        """
        source = BoxSource(self, target_size(image_size), channels)
        return Dataset.from_source(source, self.class_names, self.problems)

    def sizes(self) -> np.ndarray:
        """(objects, 2): width and height of every object in pixels."""
        found = [sample.objects.boxes[:, 2:] - sample.objects.boxes[:, :2] for sample in self.samples]
        return np.concatenate([np.zeros((0, 2), np.float32), *found])


class BoxSource(Source):
    """The images of a BoxDataset at one size, read on threads, and their boxes."""

    def __init__(self, dataset: BoxDataset, size: tuple[int, int], channels: int):
        self.dataset, self.size, self.channels = dataset, size, channels
        self.most = max([len(sample.objects) for sample in dataset.samples], default=0)

    def __len__(self) -> int:
        return len(self.dataset)

    def rows(self, indices: np.ndarray) -> Batch:
        """Bytes (n, height, width, channels) and {"boxes", "labels"}."""
        with ThreadPoolExecutor(THREADS) as pool:
            images, objects = zip(*pool.map(self._read, indices), strict=True)
        boxes, labels = [its.boxes for its in objects], [its.labels for its in objects]
        return Batch(np.stack(images), padded_boxes(boxes, labels, len(images), max(self.most, 1)))

    def _read(self, index: int) -> tuple[np.ndarray, Objects]:
        sample = self.dataset[int(index)]
        whole = as_image(sample.name, sample.load(self.channels), self.channels)
        image, objects = fitted(whole, sample.objects, self.size)
        return image, objects.select(~objects.crowd)


def _of_arrays(image: Any, boxes: Any, labels: Any, where: str) -> tuple[np.ndarray, Objects]:
    array = as_image(where, image)
    try:
        return array, Objects.of(boxes, labels)
    except Error as error:
        raise Error(f"{where}: {error}") from error


def _good(objects: Objects, size: tuple[int, ...], classes: int, where: str, faults: Faults) -> Objects:
    """The good ones of the objects in an image of that size (height, width)."""
    boxes, good = objects.boxes.astype(np.float32), []
    for number, (box, label) in enumerate(zip(objects.boxes, objects.labels, strict=True)):
        here = f"{where}: box {number}"
        if is_point(box):
            faults.messages.append(f"{here} is a point and no box: {box.tolist()}")
            continue
        with faults.caught():
            if not 0 <= label < classes:
                raise Error(f"{here} has the label {label}, but there are {classes} classes")
            boxes[number] = cut_box(box, size[::-1], here)
            good.append(number)
    return Objects(boxes, objects.labels, objects.crowd).select(np.array(good, np.intp))


def is_point(box: Any) -> bool:
    """Whether a box xyxy is a single point, which labelling tools leave where somebody clicked and did not drag."""
    return bool(box[0] == box[2] and box[1] == box[3])


def cut_box(box: Any, size: tuple[float, ...], where: str) -> np.ndarray:
    """The part of a box xyxy inside of an image of that size (width, height), in pixels.

    `Error` for one without a width and height, and for one that reaches beyond the image by more than rounding does:
    a pixel, or a thousandth of the side where that is more.
    """
    corners, limits = np.asarray(box, np.float64), np.array([*size, *size], np.float64)
    inside = np.clip(corners, 0, limits).astype(np.float32)
    beyond = abs(corners - inside) > 1.0001 * np.maximum(ROUNDING[0], ROUNDING[1] * limits)
    if beyond.any() or not (inside[:2] < inside[2:]).all():
        fault = "reaches beyond its image" if beyond.any() else "has no area in its image"
        raise Error(
            f"{where} {fault}: left, top, right, bottom are {', '.join(f'{x:g}' for x in corners)}; expected "
            f"0 <= left < right <= {size[0]} and 0 <= top < bottom <= {size[1]}"
        )
    return inside


class Faults:
    """What a reader does about errors: on_error "raise" lets them through, "skip" keeps their messages."""

    def __init__(self, on_error: str):
        if on_error not in ("raise", "skip"):
            raise Error(f"on_error must be 'raise' or 'skip', got {on_error!r}")
        self.skips = on_error == "skip"
        self.messages: list[str] = []

    @contextmanager
    def caught(self) -> Iterator[None]:
        """The block is left at an error, or the error goes on."""
        try:
            yield
        except Error as error:
            if not self.skips:
                raise Error(f"{error}; {SKIP}") from error
            self.messages.append(str(error))

    def tell(self, message: str, is_harmless: bool = False) -> None:
        """An error of that message; one that is harmless is never raised."""
        if is_harmless or self.skips:
            self.messages.append(message)
        else:
            raise Error(message)

    def sizes(self, paths: Sequence[Path]) -> dict[Path, tuple[int, int]]:
        """(width, height) of the image files that are; where errors are skipped all are read to their end."""
        found = {}
        for path, size in image_sizes(paths, whole=self.skips):
            with self.caught():
                if isinstance(size, Error):
                    raise size
                found[path] = size
        return found


def read_lines(path: Path) -> list[str]:
    """The lines of a text file."""
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Error(f"{path}: cannot be read as text in UTF-8 ({error})") from error


def check_images(samples: Sequence[Sample], where: str, faults: Faults) -> None:
    """Raise where no image is left."""
    if not samples:
        first = (
            f"; {len(faults.messages)} things are wrong, the first: {faults.messages[0]}"
            if faults.messages
            else ""
        )
        raise Error(f"{where} has no images{first}")


def image_sizes(paths: Sequence[Path], whole: bool) -> Iterator[tuple[Path, tuple[int, int] | Error]]:
    """Each path of an image file, and its (width, height), or what is wrong; on threads. whole: read to its end."""

    def look(path: Path) -> tuple[int, int] | Error:
        try:
            if whole:
                read_image(path)
            return image_size(path)
        except Error as error:
            return error

    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(look, paths)
        yield from zip(
            paths,
            tqdm(found, "reading images", len(paths), leave=False, delay=2.0, disable=None),
            strict=True,
        )
