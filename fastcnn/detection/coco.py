"""COCO: one JSON file with images, annotations (boxes as x, y, width, height in pixels) and categories."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from os import PathLike
from os.path import isfile
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn.data.image_files import image_size
from fastcnn.data.paths import as_path
from fastcnn.detection.boxes import convert_boxes
from fastcnn.detection.dataset import BoxDataset, Faults, Sample, check_images, cut_box, is_point
from fastcnn.detection.results import Objects
from fastcnn.detection.voc import store_images
from fastcnn.errors import Error
from fastcnn.utils.files import atomic_write

DECODER, SPACE = json.JSONDecoder(), re.compile(r"\s*")
MOST = 1e9  # pixels of a side: numbers beyond are none of an image


def read_coco(
    annotations: str | PathLike[str], images: str | PathLike[str], on_error: str = "raise"
) -> BoxDataset:
    """The images that the JSON file lists, in its order, and their objects; the folder `images` holds the files.

    Classes are the categories in the order of their ids. Boxes are cut at the border of the image, beyond which they
    may reach by a pixel, or a thousandth of the side. on_error: "raise" at the first entry that is wrong, boxes without
    a size or further outside among them, with file, line and what is wrong; "skip" reads all images to their end,
    leaves out what is wrong, an image or an annotation, and names it in `problems`. A box that is a point is left out
    and named whatever on_error says.
    """
    path, folder = as_path("read_coco: annotations", annotations), as_path("read_coco: images", images)
    faults = Faults(on_error)
    places = _Places(path)
    content = _read(path, faults)
    categories = sorted(content["categories"].values(), key=lambda entry: entry["id"])
    label_of = {entry["id"]: number for number, entry in enumerate(categories)}
    entries = {entry["id"]: entry for entry in content["images"].values()}
    if len(entries) < len(content["images"]) or len(label_of) < len(categories):
        raise Error(f"{path}: ids of images and of categories must differ")
    files = {}
    for row, entry in content["images"].items():
        with faults.caught(), places.told("images", row):
            files[entry["id"]] = _file(folder, entry, path)
    size_of = faults.sizes(list(files.values()))
    sizes = {number: size_of[file] for number, file in files.items() if file in size_of}
    found = defaultdict(list)
    for row, entry in content["annotations"].items():
        where = f"annotation {entry['id']}"
        with faults.caught(), places.told("annotations", row):
            if entry.get("image_id") not in entries or entry.get("category_id") not in label_of:
                raise Error(f"{where}: names an image or a category that is not listed")
            if entry["image_id"] not in sizes:
                continue
            box = _corners(entry, where)
            if is_point(box):
                place = places.of("annotations", row)
                faults.messages.append(f"{place}: {where} is a point and no box: {entry['bbox']}")
                continue
            box = cut_box(box, sizes[entry["image_id"]], where)
            crowd = entry.get("iscrowd") in (1, True, "1")
            found[entry["image_id"]].append((box, label_of[entry["category_id"]], crowd))
    samples = [_sample(files[number], entries[number], found[number]) for number in sizes]
    check_images(samples, str(path), faults)
    return BoxDataset(samples, tuple(str(entry["name"]) for entry in categories), faults.messages)


def _read(path: Path, faults: Faults) -> dict[str, dict[int, Any]]:
    """The good entries of its three lists by number: every entry has an id, every category a name."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise Error(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise Error(f"{path}: is no valid JSON ({error})") from error
    if isinstance(content, dict):
        content["annotations"] = content.get("annotations") or []
    lists = ("images", "categories", "annotations")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in lists):
        raise Error(f"{path}: is no COCO file: expected an object with lists 'images' and 'categories'")
    places, found = _Places(path), {}
    for key in lists:
        good = found[key] = dict[int, Any]()
        for number, entry in enumerate(content[key]):
            # a category cannot be left out: all others would be renumbered
            with nullcontext() if key == "categories" else faults.caught(), places.told(key, number):
                _check_entry(entry, key, f"entry {number} of {key!r}")
                good[number] = entry
        if len({type(entry["id"]) for entry in good.values()}) > 1:
            raise Error(f"{path}: the ids of {key!r} must be all numbers, or all text")
    return found


class _Places:
    """Where in a JSON file the entries of its lists stand: `file:line`, looked up when something is wrong."""

    def __init__(self, path: Path):
        self.path = path

    def of(self, key: str, number: int) -> str:
        """The place of an entry of the list `key`."""
        return f"{self.path}:{self._lines[key][number]}"

    @contextmanager
    def told(self, key: str, number: int) -> Iterator[None]:
        """Errors of the block say where this entry stands."""
        try:
            yield
        except Error as error:
            raise Error(f"{self.of(key, number)}: {error}") from error

    @cached_property
    def _lines(self) -> dict[str, list[int]]:
        """The lines in which the entries of each list begin; of a key that stands there twice, the last counts."""
        content = self.path.read_bytes()
        text = content.decode(json.detect_encoding(content))
        found, place = {}, _next(text, 0)
        while text[place] != "}":  # at the brace that begins, then at commas
            key, place = DECODER.raw_decode(text, _next(text, place + 1))
            place = _next(text, _next(text, place) + 1)
            starts, place = _starts(text, place) if text[place] == "[" else ([], _behind(text, place))
            found[key] = _line_numbers(text, starts)
        return found


def _starts(text: str, place: int) -> tuple[list[int], int]:
    """Where the values of the list at a place begin, and the place behind it."""
    starts, begin = [], place
    while text[place] != "]":  # at the bracket that begins, then at commas
        starts.append(_next(text, place + 1))
        if text[starts[-1]] == "]":
            return [], _behind(text, begin)
        place = _behind(text, starts[-1])
    return starts, _next(text, place + 1)


def _behind(text: str, place: int) -> int:
    """The next place behind the value at a place."""
    return _next(text, DECODER.raw_decode(text, place)[1])


def _next(text: str, place: int) -> int:
    """The first place from there on that holds no white space."""
    match = SPACE.match(text, place)
    return match.end() if match else place


def _line_numbers(text: str, places: list[int]) -> list[int]:
    """Lines, from 1 on, of ascending places of a text."""
    numbers, line, before = [], 1, 0
    for place in places:
        line, before = line + text.count("\n", before, place), place
        numbers.append(line)
    return numbers


def _check_entry(entry: Any, key: str, where: str) -> None:
    ids = ("id", "image_id", "category_id") if key == "annotations" else ("id",)
    if not isinstance(entry, dict) or entry.get("id") is None:
        raise Error(f"{where} must be an object with an 'id'")
    for name in ids:
        if not isinstance(entry.get(name), int | str | None):
            raise Error(f"{where}: {name} must be a number or text, got {entry[name]!r}")
    if key == "categories" and not isinstance(entry.get("name"), str):
        raise Error(f"{where}: a category needs a name, got {entry.get('name')!r}")


def _corners(entry: dict[str, Any], where: str) -> np.ndarray:
    """Left, top, right, bottom in pixels."""
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        raise Error(f"{where}: bbox must be four numbers x, y, width, height, got {str(box)[:80]}")
    return convert_boxes(np.array(box, np.float64), "xywh", "xyxy")


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < MOST


def _file(folder: Path, entry: dict[str, Any], path: Path) -> Path:
    name = entry.get("file_name")
    wrong = f"image {entry['id']}: file_name {name!r} must name a file inside {folder}"
    if not isinstance(name, str) or not name:
        raise Error(wrong)
    file = folder / name
    try:
        is_inside = file.resolve().is_relative_to(folder.resolve())
    except ValueError:  # no name of a file: a zero byte, half of a letter
        is_inside = False
    if not is_inside:
        raise Error(wrong)
    if not isfile(file):
        raise Error(f"{file}: is missing, though {path.name} lists it")
    return file


def _sample(file: Path, entry: dict[str, Any], found: list) -> Sample:
    boxes, labels, crowd = zip(*found, strict=True) if found else ((), (), ())
    return Sample(
        file, Objects.of(np.array(boxes, np.float32).reshape(-1, 4), labels, crowd), entry["file_name"]
    )


def write_coco(dataset: BoxDataset, annotations: str | PathLike[str], images: str | PathLike[str]) -> None:
    """Write a data set as a JSON file and a folder of images; arrays become PNG files. Ids count from 1."""
    folder = Path(images)
    folder.mkdir(parents=True, exist_ok=True)
    listed: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    for number, (sample, path) in enumerate(store_images(dataset, folder, 1), 1):
        width, height = image_size(path)
        listed.append({"id": number, "file_name": path.name, "width": width, "height": height})
        boxes = convert_boxes(sample.objects.boxes, "xyxy", "xywh").tolist()
        for box, label, crowd in zip(boxes, sample.objects.labels, sample.objects.crowd, strict=True):
            mark = {"id": len(marks) + 1, "image_id": number, "category_id": int(label) + 1, "bbox": box}
            marks.append({**mark, "area": box[2] * box[3], "iscrowd": int(crowd)})
    categories = [{"id": number, "name": name} for number, name in enumerate(dataset.class_names, 1)]
    with atomic_write(Path(annotations)) as file:
        file.write(json.dumps({"images": listed, "annotations": marks, "categories": categories}).encode())
