"""Images with objects: what detectors are trained on and judged by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import fspath
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fastcnn.data import Batch, Dataset
from fastcnn.data.image_files import THREADS, read_image
from fastcnn.data.image_folder import target_size
from fastcnn.data.sources import Source, padded_boxes
from fastcnn.detection.augment import as_image, fitted
from fastcnn.detection.results import Objects
from fastcnn.errors import Error


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

        A box without area inside of its image, or with a label that has no name, is an `Error`; with
        on_error="skip" it is left out and named in `problems`, and so is an image of which nothing can be made.
        """
        faults, samples = Faults(on_error), []
        images, boxes, labels = list(images), list(boxes), list(labels)
        if not len(images) == len(boxes) == len(labels):
            raise Error(
                f"{len(images)} images, boxes of {len(boxes)} and labels of {len(labels)}; give some for each image, "
                "[] where it has none"
            )
        for number, (image, box, label) in enumerate(zip(images, boxes, labels, strict=True)):
            with faults.caught():
                array = as_image(f"image {number}", image)
                objects = _of_array(box, label, array.shape[:2], len(class_names), f"image {number}", faults)
                samples.append(Sample(array, objects, f"image {number}"))
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


def _of_array(
    boxes: Any, labels: Any, size: tuple[int, ...], classes: int, where: str, faults: Faults
) -> Objects:
    """The good ones of the objects in an image of that size (height, width)."""
    try:
        objects = Objects.of(boxes, labels)
    except Error as error:
        raise Error(f"{where}: {error}") from error
    good = []
    for number, (box, label) in enumerate(zip(objects.boxes.tolist(), objects.labels.tolist(), strict=True)):
        with faults.caught():
            if not 0 <= label < classes:
                raise Error(f"{where}: box {number} has the label {label}, but there are {classes} classes")
            if box[2] <= box[0] or box[3] <= box[1]:
                raise Error(f"{where}: box {number} has no area: {box}")
            if box[2] <= 0 or box[3] <= 0 or box[0] >= size[1] or box[1] >= size[0]:
                raise Error(f"{where}: box {number}, {box}, lies outside of {size[1]} x {size[0]} pixels")
            good.append(number)
    return objects.select(np.array(good, np.intp))


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
                raise
            self.messages.append(str(error))

    def readable(self, paths: list[Any]) -> list[Any]:
        """Where errors are skipped, those of the image files that can be read to their end; else all."""
        if not self.skips:
            return paths
        bad = dict(unreadable_images(paths))
        self.messages += [f"{path}: {text}" for path, text in bad.items()]
        return [path for path in paths if path not in bad]


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


def unreadable_images(paths: Sequence[Any]) -> Iterator[tuple[Any, str]]:
    """(path, what is wrong) of the image files that cannot be read to their end; all are read, on threads."""

    def problem(path: Any) -> str | None:
        try:
            read_image(path)
        except Error as error:
            return str(error).removeprefix(f"{fspath(path)}: ")
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(problem, paths)
        bar = tqdm(found, "reading images", len(paths), leave=False, delay=2.0, disable=None)
        yield from [(path, text) for path, text in zip(paths, bar, strict=True) if text is not None]
