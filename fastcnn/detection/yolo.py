"""YOLO's files: an image folder, for each image a text file with a line an object, and data.yaml.

A line is `class x y width height`: the class number, then centre and size as shares of the image. The labels of
`images/NAME.jpg` stand in `labels/NAME.txt`; an image without such a file is background, a split without any an error.
data.yaml, which names the folders of the splits and the classes, is read by `data_yaml`.
"""

from collections.abc import Iterator
from os import PathLike
from os.path import exists, isdir, isfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastcnn.data.image_files import image_size
from fastcnn.detection.boxes import convert_boxes, normalize_boxes, scale_boxes
from fastcnn.detection.data_yaml import quoted, read_data_yaml
from fastcnn.detection.dataset import (
    BoxDataset,
    Faults,
    Sample,
    check_images,
    cut_box,
    image_sizes,
    read_lines,
)
from fastcnn.detection.results import Objects
from fastcnn.detection.voc import EXTENSIONS, store_images
from fastcnn.errors import Error
from fastcnn.utils.files import atomic_write

POINT = "a point is no box"
UNKNOWN = 1000, 1000  # stands for the size of an image that cannot be read


class Problem(NamedTuple):
    """What is wrong, and where: a file, and a line of it (0: the file as a whole)."""

    path: Path
    line: int
    text: str
    is_point: bool = False  # a box of no size at all, from a click that was no drag

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}" if self.line else f"{self.path}: {self.text}"


# --- images and labels -----------------------------------------------------------------------------------------


def images_of(places: list[Path]) -> Iterator[Path]:
    """The image files of a split, sorted; of a file with a list, in its order."""
    for place in places:
        if isdir(place):
            yield from sorted(p for p in place.rglob("*") if p.suffix.lower() in EXTENSIONS)
        elif place.suffix == ".txt" and isfile(place):
            lines = [line.strip() for line in read_lines(place)]
            yield from (
                Path(line) if Path(line).is_absolute() else place.parent / line for line in lines if line
            )
        else:
            raise Error(f"{place}: is neither a folder of images nor a .txt file that lists them")


def labels_path(image: Path) -> Path:
    """Where the labels of an image stand: the last folder `images` of its path becomes `labels`."""
    parts = list(image.parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    return Path(*parts).with_suffix(".txt")


def read_labels(path: Path, classes: int, size: tuple[int, int]) -> tuple[Objects, list[Problem]]:
    """The good lines for an image of that size (width, height), and what is wrong with the others.

    No file is no object.
    """
    good: dict[tuple[float, ...], np.ndarray] = {}
    problems = []
    for number, line in enumerate(read_lines(path) if exists(path) else [], 1):
        try:
            values = _numbers(line, classes)
            if values in good:
                raise Error("the same object stands there already")
            if values:
                good[values] = _box(values, size)
        except Error as error:
            is_point = str(error) == POINT
            problems.append(Problem(path, number, f"{error}: {line.strip()[:80]!r}", is_point))
    boxes = np.array(list(good.values()), np.float32).reshape(-1, 4)
    return Objects.of(boxes, [int(values[0]) for values in good]), problems


def _numbers(line: str, classes: int) -> tuple[float, ...]:
    """The numbers of a line, none of an empty one."""
    words = line.split()
    try:
        values = tuple(float(word) for word in words)
    except ValueError as error:
        raise Error("expected numbers 'class x y width height'") from error
    if len(values) not in (0, 5):
        raise Error(f"expected five numbers 'class x y width height', got {len(values)}")
    if not np.isfinite(values).all():
        raise Error("all numbers must be finite")
    if values and (values[0] != int(values[0]) or not 0 <= values[0] < classes):
        raise Error(f"the class must be a whole number from 0 to {classes - 1}")
    return values


def _box(values: tuple[float, ...], size: tuple[int, int]) -> np.ndarray:
    """Corners in pixels of an image of that size (width, height)."""
    _, x, y, width, height = values
    if width == height == 0:
        raise Error(POINT)
    if min(width, height) <= 0:
        raise Error("width and height must be positive")
    if not (0 <= x <= 1 and 0 <= y <= 1 and max(width, height) < 2):
        raise Error("x, y, width and height are shares of the image, from 0 to 1")
    corners = convert_boxes(np.array(values[1:]), "cxcywh", "xyxy")
    return cut_box(scale_boxes(corners, *size), size, "the box")


def read_yolo(path: str | PathLike[str], split: str = "train", on_error: str = "raise") -> BoxDataset:
    """The images of a split of data.yaml and their objects.

    Boxes are cut at the border of the image, beyond which they may reach by a pixel, or a thousandth of the side.
    on_error: "raise" at the first image that is none and at the first wrong line of a file of labels, with file, line
    and what is wrong (`check_yolo` lists all of them); "skip" reads all images to their end, leaves out what is wrong,
    an image or a line, and names it in `problems`. A box that is a point is left out and named whatever on_error says.
    """
    data, faults = read_data_yaml(path), Faults(on_error)
    if split not in data.splits:
        raise Error(f"{path}: has no split {split!r}; it has {', '.join(data.splits)}")
    images, samples = list(images_of(data.splits[split])), []
    sizes = faults.sizes(images)
    with faults.caught():
        _check_labelled(images)
    for image in images:
        with faults.caught():
            if image not in sizes:
                continue
            objects, problems = read_labels(labels_path(image), len(data.class_names), sizes[image])
            for problem in problems:
                faults.tell(str(problem), problem.is_point)
            samples.append(Sample(image, objects, image.stem))
    check_images(samples, f"{path}: the split {split!r}", faults)
    return BoxDataset(samples, data.class_names, faults.messages)


def _check_labelled(images: list[Path]) -> None:
    """Raise where no image has a file of labels: background alone, or, rather, files that lie somewhere else."""
    if images and not any(exists(labels_path(image)) for image in images):
        raise Error(
            f"{labels_path(images[0])}: is missing, and so are the labels of all images of this split"
        )


def write_yolo(dataset: BoxDataset, folder: str | PathLike[str], split: str = "train") -> None:
    """Write images, labels and data.yaml into a folder; a second split is added to those it has.

    Crowds cannot be written and are left out. Arrays become PNG files.
    """
    root = Path(folder)
    for inner in ("images", "labels"):
        (root / inner / split).mkdir(parents=True, exist_ok=True)
    for sample, image in store_images(dataset, root / "images" / split):
        objects = sample.objects.select(~sample.objects.crowd)
        shares = normalize_boxes(objects.boxes.astype(np.float64), *image_size(image))
        centred = convert_boxes(shares, "xyxy", "cxcywh")
        rows = zip(objects.labels, centred.tolist(), strict=True)
        text = "".join(f"{label} {' '.join(f'{x:.8f}' for x in box)}\n" for label, box in rows)
        with atomic_write(labels_path(image)) as file:
            file.write(text.encode())
    path = root / "data.yaml"
    splits = {
        name: str(p[0].relative_to(root))
        for name, p in (read_data_yaml(path).splits if path.is_file() else {}).items()
    }
    lines = [f"{name}: {place}" for name, place in {**splits, split: f"images/{split}"}.items()]
    names = [f"  {number}: {quoted(name)}" for number, name in enumerate(dataset.class_names)]
    with atomic_write(path) as file:
        file.write("\n".join(["path: .", *lines, "names:", *names, ""]).encode())


def check_yolo(path: str | PathLike[str]) -> tuple[list[Problem], list[str]]:
    """Everything that is wrong with the data of data.yaml, by file and line; and what there is, a line a split."""
    data = read_data_yaml(path)
    problems: list[Problem] = []
    summary = []
    for split, places in data.splits.items():
        images = list(images_of(places))
        background, counts = 0, np.zeros(len(data.class_names), int)
        for image, size in image_sizes(images, whole=True):
            if isinstance(size, Error):
                problems.append(_problem(image, size))
                size = UNKNOWN
            try:
                objects, found = read_labels(labels_path(image), len(data.class_names), size)
            except Error as error:
                problems.append(_problem(labels_path(image), error))
                continue
            problems += found
            background += not len(objects)
            counts += np.bincount(objects.labels, minlength=len(counts))
        if not images:
            problems.append(Problem(Path(path), 0, f"the split {split!r} has no images"))
        problems += _without_image(places)
        try:
            _check_labelled(images)
        except Error as error:
            problems.append(_problem(labels_path(images[0]), error))
        each = ", ".join(f"{name} {count}" for name, count in zip(data.class_names, counts, strict=True))
        summary.append(
            f"{split}: {len(images)} images, {background} of them background, {counts.sum()} objects ({each})"
        )
    return problems, summary


def _problem(path: Path, error: Error) -> Problem:
    """What is wrong with a file as a whole."""
    return Problem(path, 0, str(error).removeprefix(f"{path}: "))


def _without_image(places: list[Path]) -> Iterator[Problem]:
    """Files of labels that belong to no image."""
    for place in places:
        if not place.is_dir():
            continue
        known = {labels_path(image) for image in images_of([place])}
        folder = labels_path(place / "any.jpg").parent
        if folder != place and folder.is_dir():
            for path in sorted(folder.rglob("*.txt")):
                if path not in known:
                    yield Problem(path, 0, "there is no image with this name")
