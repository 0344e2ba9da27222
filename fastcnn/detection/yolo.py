"""YOLO's files: an image folder, for each image a text file with a line an object, and data.yaml.

A line is `class x y width height`: the class number, then centre and size as shares of the image. The labels of
`images/NAME.jpg` stand in `labels/NAME.txt`; an image without such a file is background. data.yaml names the folders
of the splits and the classes:

    path: .            # of the folders; relative ones count from the file's folder
    train: images/train
    val: images/val
    names: [cat, dog]  # or a list of lines "- cat", or of lines "0: cat"
"""

import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastcnn.detection.boxes import convert_boxes, normalize_boxes, scale_boxes
from fastcnn.detection.dataset import BoxDataset, Sample, image_size
from fastcnn.detection.results import Objects
from fastcnn.detection.voc import EXTENSIONS, store_image
from fastcnn.errors import Error
from fastcnn.utils.files import atomic_write

SPLITS = ("train", "val", "test")
ROUNDING = 1e-3  # of six written digits and of tools that round otherwise; boxes beyond are cut, not refused
LINE = re.compile(r"(\s*)(?:-\s+(.+)|([^:]+):(?:\s+(.*))?)")


class Problem(NamedTuple):
    """What is wrong, and where: a file, and a line of it (0: the file as a whole)."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}" if self.line else f"{self.path}: {self.text}"


class DataFile(NamedTuple):
    """What data.yaml says."""

    splits: dict[str, list[Path]]  # folders, or files that list images
    class_names: tuple[str, ...]


# --- data.yaml -------------------------------------------------------------------------------------------------


def read_data_yaml(path: str | PathLike[str]) -> DataFile:
    """The folders and classes of data.yaml; `Error` by file and line for what is not understood.

    Of YAML it knows what such files need: keys with plain or quoted values, lists and maps of these, comments.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Error(f"{file}: cannot be read ({error})") from error
    content = _parse(text, file)
    names = content.get("names")
    if isinstance(names, dict):
        if sorted(names) != sorted(str(i) for i in range(len(names))):
            raise Error(f"{file}: names must be numbered 0 to {len(names) - 1}, got {', '.join(names)}")
        names = [names[str(i)] for i in range(len(names))]
    if not isinstance(names, list) or not names:
        raise Error(f"{file}: there are no names of classes; add a line such as 'names: [cat, dog]'")
    if "nc" in content and str(content["nc"]) != str(len(names)):
        raise Error(f"{file}: nc is {content['nc']}, but there are {len(names)} names")
    base = file.parent / str(content.get("path") or ".")
    splits = {}
    for split in SPLITS:
        value = content.get(split)
        if value:
            splits[split] = [base / item for item in (value if isinstance(value, list) else [value])]
    if not splits:
        raise Error(f"{file}: names no images; add a line such as 'train: images/train'")
    return DataFile(splits, tuple(map(str, names)))


def _parse(text: str, file: Path) -> dict[str, Any]:
    content: dict[str, Any] = {}
    key = ""
    for number, line in enumerate(text.splitlines(), 1):
        line = _without_comment(line)
        if not line.strip() or line.strip() == "---":
            continue
        match = LINE.fullmatch(line)
        if match is None or "\t" in match[1]:
            raise Error(f"{file}:{number}: expected 'key: value' or '- value', got {line.strip()!r}")
        indent, item, name, value = match.groups()
        if item is None and not indent:
            key = _plain(name)
            if key in content:
                raise Error(f"{file}:{number}: {key!r} stands there twice")
            content[key] = _value(value or "", file, number)
            continue
        into = content.get(key)
        wanted: type = list if item is not None else dict
        if into is None and key:
            into = content[key] = wanted()
        if not isinstance(into, wanted):
            raise Error(f"{file}:{number}: does not belong to {key!r}: {line.strip()!r}")
        if isinstance(into, list):
            into.append(_plain(item or ""))
        elif isinstance(into, dict):
            into[_plain(name)] = _plain(value or "")
    return content


def _without_comment(line: str) -> str:
    """The line up to a # at its start or after a space, outside of quotes."""
    quote = ""
    for place, letter in enumerate(line):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter == "#" and (place == 0 or line[place - 1].isspace()):
            return line[:place].rstrip()
    return line.rstrip()


def _value(text: str, file: Path, number: int) -> Any:
    text = text.strip()
    if text[:1] in ("{", "&", "*", "|", ">", "!"):
        raise Error(f"{file}:{number}: this form of YAML is not read: {text!r}; write plain values or [a, b]")
    if text.startswith("["):
        if not text.endswith("]"):
            raise Error(f"{file}:{number}: a list must end with ] on its line: {text!r}")
        return [_plain(item) for item in text[1:-1].split(",") if item.strip()]
    return _plain(text) if text else None


def _plain(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


# --- images and labels -----------------------------------------------------------------------------------------


def images_of(places: list[Path]) -> Iterator[Path]:
    """The image files of a split, sorted; of a file with a list, in its order."""
    for place in places:
        if place.is_dir():
            yield from sorted(p for p in place.rglob("*") if p.suffix.lower() in EXTENSIONS)
        elif place.suffix == ".txt" and place.is_file():
            lines = place.read_text(encoding="utf-8").split()
            yield from (Path(line) if Path(line).is_absolute() else place.parent / line for line in lines)
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
        lines = path.read_text(encoding="utf-8").splitlines()
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


def read_yolo(path: str | PathLike[str], split: str = "train") -> BoxDataset:
    """The images of a split of data.yaml and their objects; bad lines are left out and named in `problems`."""
    data = read_data_yaml(path)
    if split not in data.splits:
        raise Error(f"{path}: has no split {split!r}; it has {', '.join(data.splits)}")
    samples, problems = [], []
    for image in images_of(data.splits[split]):
        lines, found = read_labels(labels_path(image), len(data.class_names))
        problems += [str(problem) for problem in found]
        width, height = image_size(image)
        array = np.array(lines, np.float64).reshape(-1, 5)
        corners = np.clip(convert_boxes(array[:, 1:], "cxcywh", "xyxy"), 0, 1)
        boxes = scale_boxes(corners, width, height).astype(np.float32)
        samples.append(Sample(image, Objects.of(boxes, array[:, 0].astype(np.int64)), image.stem))
    if not samples:
        raise Error(f"{path}: the split {split!r} has no images")
    return BoxDataset(samples, data.class_names, problems)


def write_yolo(dataset: BoxDataset, folder: str | PathLike[str], split: str = "train") -> None:
    """Write images, labels and data.yaml into a folder; a second split is added to those it has.

    Crowds cannot be written and are left out. Arrays become PNG files.
    """
    root = Path(folder)
    for inner in ("images", "labels"):
        (root / inner / split).mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(dataset.samples):
        image = store_image(sample, root / "images" / split, number)
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
    names = [f"  {number}: '{name}'" for number, name in enumerate(dataset.class_names)]
    with atomic_write(path) as file:
        file.write("\n".join(["path: .", *lines, "names:", *names, ""]).encode())


def check_yolo(path: str | PathLike[str]) -> tuple[list[Problem], list[str]]:
    """Everything that is wrong with the data of data.yaml, by file and line; and what there is, a line a split."""
    data = read_data_yaml(path)
    problems: list[Problem] = []
    summary = []
    for split, places in data.splits.items():
        images = objects = background = 0
        counts = np.zeros(len(data.class_names), int)
        for image in images_of(places):
            images += 1
            try:
                image_size(image)
            except Error as error:
                problems.append(Problem(image, 0, str(error).removeprefix(f"{image}: ")))
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
            f"{split}: {images} images, {background} of them background, {objects} objects ({each})"
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
