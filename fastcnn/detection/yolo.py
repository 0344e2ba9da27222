"""YOLO's files: an image folder, for each image a text file with a line an object, and data.yaml.

A line is `class x y width height`: the class number, then centre and size as shares of the image. The labels of
`images/NAME.jpg` stand in `labels/NAME.txt`; an image without such a file is background. data.yaml, which names the
folders of the splits and the classes, is read by `data_yaml`.
"""

from collections.abc import Iterator
from os import PathLike
from os.path import isdir, isfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastcnn.data.image_files import image_size
from fastcnn.detection.boxes import convert_boxes, normalize_boxes, scale_boxes
from fastcnn.detection.data_yaml import quoted, read_data_yaml
from fastcnn.detection.dataset import BoxDataset, Faults, Sample, check_images, read_lines, unreadable_images
from fastcnn.detection.results import Objects
from fastcnn.detection.voc import EXTENSIONS, store_images
from fastcnn.errors import Error
from fastcnn.utils.files import atomic_write

ROUNDING = 1e-3  # of six written digits and of tools that round otherwise; boxes beyond are cut, not refused


class Problem(NamedTuple):
    """What is wrong, and where: a file, and a line of it (0: the file as a whole)."""

    path: Path
    line: int
    text: str

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


def read_labels(path: Path, classes: int) -> tuple[list[list[float]], list[Problem]]:
    """The good lines [class, x, y, width, height], and what is wrong with the others. No file is no object."""
    if not path.is_file():
        return [], []
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [], [Problem(path, 0, f"cannot be read ({error})")]
    good: list[list[float]] = []
    problems = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        values, fault = _numbers(line, classes)
        if not fault and values in good:
            fault = "the same object stands there already"
        if fault:
            problems.append(Problem(path, number, f"{fault}: {line.strip()[:80]!r}"))
        else:
            good.append(values)
    return good, problems


def _numbers(line: str, classes: int) -> tuple[list[float], str]:
    """The numbers of a line, and what is wrong with them."""
    words = line.split()
    try:
        values = [float(word) for word in words]
    except ValueError:
        return [], "expected numbers 'class x y width height'"
    if len(values) != 5:
        return [], f"expected five numbers 'class x y width height', got {len(values)}"
    if not np.isfinite(values).all():
        return [], "all numbers must be finite"
    label, x, y, width, height = values
    if label != int(label) or not 0 <= label < classes:
        return [], f"the class must be a whole number from 0 to {classes - 1}"
    if not (width > 0 and height > 0):
        return [], "width and height must be positive"
    edges = (x - width / 2, y - height / 2, 1 - x - width / 2, 1 - y - height / 2)
    if not (0 <= x <= 1 and 0 <= y <= 1) or max(width, height) > 1 + ROUNDING:
        return [], "x, y, width and height are shares of the image, from 0 to 1"
    return (values, "") if min(edges) >= -ROUNDING else ([], "the box reaches beyond the image")


def read_yolo(path: str | PathLike[str], split: str = "train", on_error: str = "raise") -> BoxDataset:
    """The images of a split of data.yaml and their objects; bad lines are left out and named in `problems`.

    on_error: "raise" for an image that is none; "skip" reads all images to their end and leaves such out, too.
    """
    data, faults = read_data_yaml(path), Faults(on_error)
    if split not in data.splits:
        raise Error(f"{path}: has no split {split!r}; it has {', '.join(data.splits)}")
    samples = []
    for image in faults.readable(list(images_of(data.splits[split]))):
        with faults.caught():
            width, height = image_size(image)
            lines, found = read_labels(labels_path(image), len(data.class_names))
            faults.messages += [str(problem) for problem in found]
            array = np.array(lines, np.float64).reshape(-1, 5)
            corners = np.clip(convert_boxes(array[:, 1:], "cxcywh", "xyxy"), 0, 1)
            boxes = scale_boxes(corners, width, height).astype(np.float32)
            samples.append(Sample(image, Objects.of(boxes, array[:, 0].astype(np.int64)), image.stem))
    check_images(samples, f"{path}: the split {split!r}", faults)
    return BoxDataset(samples, data.class_names, faults.messages)


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
        problems += [Problem(path, 0, text) for path, text in unreadable_images(images)]
        objects = background = 0
        counts = np.zeros(len(data.class_names), int)
        for image in images:
            lines, found = read_labels(labels_path(image), len(data.class_names))
            problems += found
            objects += len(lines)
            background += not lines
            for line in lines:
                counts[int(line[0])] += 1
        if not images:
            problems.append(Problem(Path(path), 0, f"the split {split!r} has no images"))
        problems += _without_image(places)
        each = ", ".join(f"{name} {count}" for name, count in zip(data.class_names, counts, strict=True))
        summary.append(
            f"{split}: {len(images)} images, {background} of them background, {objects} objects ({each})"
        )
    return problems, summary


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
