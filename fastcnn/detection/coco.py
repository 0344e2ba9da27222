"""COCO: one JSON file with images, annotations (boxes as x, y, width, height in pixels) and categories."""

import json
from collections import defaultdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn.detection.boxes import convert_boxes
from fastcnn.detection.dataset import BoxDataset, Sample, image_size
from fastcnn.detection.results import Objects
from fastcnn.detection.voc import store_image
from fastcnn.errors import Error
from fastcnn.utils.files import atomic_write


def read_coco(annotations: str | PathLike[str], images: str | PathLike[str]) -> BoxDataset:
    """The images that the JSON file lists, in its order, and their objects; the folder `images` holds the files.

    Classes are the categories in the order of their ids. Boxes are cut at the border of the image; those without area
    are left out and named in `problems`.
    """
    path, folder = Path(annotations), Path(images)
    content = _read(path)
    categories = sorted(content["categories"], key=lambda entry: entry["id"])
    label_of = {entry["id"]: number for number, entry in enumerate(categories)}
    entries = {entry["id"]: entry for entry in content["images"]}
    if len(entries) < len(content["images"]) or len(label_of) < len(categories):
        raise Error(f"{path}: ids of images and of categories must differ")
    found = defaultdict(list)
    problems: list[str] = []
    for entry in content.get("annotations", []):
        where = f"{path}: annotation {entry.get('id')}"
        if entry.get("image_id") not in entries or entry.get("category_id") not in label_of:
            raise Error(f"{where}: names an image or a category that is not listed")
        box = _cut(entry, entries[entry["image_id"]], where)
        if box[2] <= box[0] or box[3] <= box[1]:
            problems.append(f"{where}: has no area: {entry['bbox']}")
        else:
            found[entry["image_id"]].append(
                (box, label_of[entry["category_id"]], bool(entry.get("iscrowd", 0)))
            )
    samples = [_sample(folder, entry, found[number], path) for number, entry in entries.items()]
    return BoxDataset(samples, tuple(str(entry["name"]) for entry in categories), problems)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise Error(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise Error(f"{path}: is no valid JSON ({error})") from error
    lists = ("images", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in lists):
        raise Error(f"{path}: is no COCO file: expected an object with lists 'images' and 'categories'")
    for key in (*lists, "annotations"):
        if not all(isinstance(entry, dict) and "id" in entry for entry in content.get(key, [])):
            raise Error(f"{path}: every entry of {key!r} must be an object with an 'id'")
    return content


def _cut(entry: dict[str, Any], image: dict[str, Any], where: str) -> np.ndarray:
    box = np.asarray(entry.get("bbox", ()), object)
    if box.shape != (4,) or not all(isinstance(x, int | float) and np.isfinite(x) for x in box):
        raise Error(f"{where}: bbox must be four numbers x, y, width, height, got {entry.get('bbox')!r}")
    corners = convert_boxes(box.astype(np.float64), "xywh", "xyxy")
    if "width" in image and "height" in image:
        corners = np.clip(corners, 0, [image["width"], image["height"]] * 2)
    return corners


def _sample(folder: Path, entry: dict[str, Any], found: list, path: Path) -> Sample:
    name = str(entry.get("file_name", ""))
    file = folder / name
    if not name or not file.resolve().is_relative_to(folder.resolve()):
        raise Error(f"{path}: image {entry['id']}: file_name {name!r} must name a file inside {folder}")
    if not file.is_file():
        raise Error(f"{file}: is missing, though {path.name} lists it")
    boxes, labels, crowd = zip(*found, strict=True) if found else ((), (), ())
    return Sample(file, Objects.of(np.array(boxes, np.float32).reshape(-1, 4), labels, crowd), name)


def write_coco(dataset: BoxDataset, annotations: str | PathLike[str], images: str | PathLike[str]) -> None:
    """Write a data set as a JSON file and a folder of images; arrays become PNG files. Ids count from 1."""
    folder = Path(images)
    folder.mkdir(parents=True, exist_ok=True)
    listed: list[dict[str, Any]] = []
    marks: list[dict[str, Any]] = []
    for number, sample in enumerate(dataset.samples, 1):
        path = store_image(sample, folder, number)
        width, height = image_size(path)
        listed.append({"id": number, "file_name": path.name, "width": width, "height": height})
        boxes = convert_boxes(sample.objects.boxes, "xyxy", "xywh").tolist()
        for box, label, crowd in zip(boxes, sample.objects.labels, sample.objects.crowd, strict=True):
            mark = {"id": len(marks) + 1, "image_id": number, "category_id": int(label) + 1, "bbox": box}
            marks.append({**mark, "area": box[2] * box[3], "iscrowd": int(crowd)})
    categories = [{"id": number, "name": name} for number, name in enumerate(dataset.class_names, 1)]
    with atomic_write(Path(annotations)) as file:
        file.write(json.dumps({"images": listed, "annotations": marks, "categories": categories}).encode())
