"""Images with objects: what detectors are trained on and judged by."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from os import PathLike, fspath
from typing import Any

import numpy as np

from fastcnn.data.image_folder import FORMATS, MOST_PIXELS, pillow
from fastcnn.detection.results import Objects
from fastcnn.errors import Error

MODES = {1: "L", 3: "RGB", 4: "RGBA"}


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
        images: Iterable[Any], boxes: Iterable[Any], labels: Iterable[Any], class_names: Sequence[str]
    ) -> BoxDataset:
        """images: arrays (height, width, channels), 0..255; boxes (n, 4) xyxy in pixels and labels (n,) of each."""
        samples = [
            Sample(np.asarray(image), Objects.of(box, label), f"image {number}")
            for number, (image, box, label) in enumerate(zip(images, boxes, labels, strict=True))
        ]
        return BoxDataset(samples, tuple(class_names))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Sample:
        return self.samples[index]

    def __str__(self) -> str:
        count = sum(len(sample.objects) for sample in self.samples)
        return f"{len(self)} images with {count} objects of {len(self.class_names)} classes"

    def sizes(self) -> np.ndarray:
        """(objects, 2): width and height of every object in pixels."""
        found = [sample.objects.boxes[:, 2:] - sample.objects.boxes[:, :2] for sample in self.samples]
        return np.concatenate([np.zeros((0, 2), np.float32), *found])


def read_image(path: str | PathLike[str], channels: int = 3) -> np.ndarray:
    """An image file as an array (height, width, channels) uint8, turned upright where its EXIF data says so."""
    module, image_ops = pillow()
    try:
        with warnings.catch_warnings(), open_image(path) as image:
            warnings.simplefilter("ignore")
            upright = image_ops.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel; Pillow's conversion would clip them at 255
                deep = (np.asarray(upright, np.int64) >> 8).clip(0, 255).astype(np.uint8)
                upright = module.fromarray(deep)
            array = np.asarray(upright.convert(_mode(channels)))
    except Error:
        raise
    except Exception as error:  # a damaged file makes a decoder raise almost anything
        raise Error(
            f"{fspath(path)}: cannot be read as an image ({error}); repair or remove the file"
        ) from error
    return array if array.ndim == 3 else array[..., np.newaxis]


def open_image(path: str | PathLike[str]) -> Any:
    """A Pillow image whose pixels are not read yet."""
    module, _ = pillow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of many pixels, where this raises
        image = module.open(path, formats=FORMATS)
    if image.width * image.height > MOST_PIXELS:
        image.close()
        raise Error(f"{fspath(path)}: {image.width}x{image.height} pixels are more than {MOST_PIXELS:,}")
    return image


def image_size(path: str | PathLike[str]) -> tuple[int, int]:
    """(width, height) as `read_image` gives it; `Error` where the file is no image."""
    try:
        with open_image(path) as image:
            turned = image.getexif().get(274, 1) >= 5  # EXIF orientations that exchange width and height
            return (image.height, image.width) if turned else (image.width, image.height)
    except Error:
        raise
    except Exception as error:
        raise Error(
            f"{fspath(path)}: cannot be read as an image ({error}); repair or remove the file"
        ) from error


def _mode(channels: int) -> str:
    if channels not in MODES:
        raise Error(f"image files have 1, 3 or 4 channels, not {channels}; give arrays for others")
    return MODES[channels]
