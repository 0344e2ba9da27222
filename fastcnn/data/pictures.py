"""Contact sheets: a batch of images side by side, with their labels, boxes, masks and points."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn.data.dataset import Dataset
from fastcnn.data.image_files import MOST_PIXELS, pillow
from fastcnn.data.paths import as_path
from fastcnn.data.sources import check_box_format, corners_of
from fastcnn.errors import Error

MARGIN, TEXT = 4, 14  # pixels between pictures, and above each for its name
POINT = 3  # pixels to all sides
COLORS = ((230, 60, 60), (60, 180, 75), (60, 110, 230), (245, 160, 30), (160, 60, 200), (30, 190, 200))


def show(
    dataset: Any, path: str | PathLike[str] | None = None, count: int = 24, columns: int = 8, scale: int | None = None,
    titles: Sequence[str] | None = None, bounding_box_format: str = "xyxy",
) -> Any:  # fmt: skip
    """A contact sheet of the first `count` samples of a Dataset, or of images (n, h, w, c), as a Pillow image.

    path: a file to write it to. scale: how many pixels a pixel becomes; by default small images become about 96 wide.
    Images of numbers up to 1 count as 0..1, others as 0..255. Boxes of a Dataset are drawn, in the unit of their
    format; points; and masks, classes from 1 on in a colour each. titles: in place of the names of the classes.
    """
    for name, value in (("count", count), ("columns", columns), ("scale", 1 if scale is None else scale)):
        if not hasattr(value, "__index__") or value < 1:
            raise Error(f"show: {name} must be a whole number from 1 on, got {value!r}")
    form = check_box_format("show", bounding_box_format)
    images, labels, places, names = _samples(dataset, count)
    image_module, _ = pillow()
    from PIL import ImageDraw

    n, h, w, _ = images.shape
    if titles is not None and len(titles) < n:
        raise Error(f"show: {len(titles)} titles for {n} pictures; give one each")
    scale = scale or max(1, round(96 / w))
    columns = max(1, min(columns, n))
    step_x, step_y = w * scale + MARGIN, h * scale + MARGIN + TEXT
    size = columns * step_x + MARGIN, -(-n // columns) * step_y + MARGIN
    if size[0] * size[1] > MOST_PIXELS:
        raise Error(
            f"show: the sheet would have {size[0]} x {size[1]} pixels, more than {MOST_PIXELS:,}; "
            "give a smaller count or scale"
        )
    sheet = image_module.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for i, pixels in enumerate(_tinted(_bytes(images), places.get("segmentation_masks"))):
        left, top = MARGIN + i % columns * step_x, MARGIN + i // columns * step_y + TEXT
        picture = image_module.fromarray(pixels).resize((w * scale, h * scale), 0)
        sheet.paste(picture, (left, top))
        title = titles[i] if titles is not None else _title(labels, names, i)
        pen.text((left, top - TEXT + 1), title, fill="black")
        for box, label in _boxes_of(places, i, form, h, w):
            x1, y1, x2, y2 = box * scale
            corners = (left + x1, top + y1, left + max(x1, x2 - 1), top + max(y1, y2 - 1))
            pen.rectangle(corners, outline=COLORS[label % len(COLORS)], width=2)
        for k, (x, y) in enumerate(places["keypoints"][i] if "keypoints" in places else ()):
            if 0 <= x <= w and 0 <= y <= h:
                x, y = left + x * scale, top + y * scale
                spot = (x - POINT, y - POINT, x + POINT, y + POINT)
                pen.ellipse(spot, COLORS[k % len(COLORS)], "white")
    if path is not None:
        _save(sheet, as_path("show", path))
    return sheet


def _save(sheet: Any, path: Path) -> None:
    try:
        sheet.save(path)
    except (OSError, ValueError) as error:  # no such folder, no such kind of picture
        raise Error(f"show: cannot write {path} ({error}); give a file such as sheet.png") from error


def _samples(dataset: Any, count: int) -> tuple[np.ndarray, Any, dict[str, Any], Any]:
    """(images, labels, what is placed in them, names of classes) of the first samples."""
    if isinstance(dataset, np.ndarray):
        images, labels = dataset[:count], None
    elif not isinstance(dataset, Dataset):
        raise Error(f"show: expected a Dataset or an array of images, got a {type(dataset).__name__}")
    else:
        found: list[Any] = []
        for batch in dataset.epoch(0):
            found.append(batch)
            if sum(each.size for each in found) >= count:
                break
        if not all(isinstance(batch.x, np.ndarray) for batch in found):
            raise Error("show: expected a Dataset of one array of images x, this one has several")
        images = np.concatenate([batch.x for batch in found])[:count]
        parts = [batch.y for batch in found]
        if isinstance(parts[0], dict):
            most = max((part["boxes"].shape[1] for part in parts if "boxes" in part), default=0)
            places = {
                key: np.concatenate(
                    [_wide(part[key], most) if key in ("boxes", "labels") else part[key] for part in parts]
                )[:count]
                for key in parts[0]
            }
            return _checked(images), None, places, dataset.class_names
        is_label = isinstance(parts[0], np.ndarray) and parts[0].ndim <= 2  # others have no name
        labels = np.concatenate(parts)[:count] if is_label else None
    return _checked(images), labels, {}, getattr(dataset, "class_names", None)


def _wide(array: np.ndarray, most: int) -> np.ndarray:
    width = [(0, 0), (0, most - array.shape[1]), *[(0, 0)] * (array.ndim - 2)]
    return np.pad(array, width, constant_values=-1)


def _checked(images: np.ndarray) -> np.ndarray:
    if (
        images.ndim != 4
        or images.shape[3] not in (1, 3)
        or not images.size
        or images.dtype.kind not in "biuf"
    ):
        raise Error(
            f"show: expected images (n, h, w, 1) or (n, h, w, 3), got {images.dtype} of shape {images.shape}"
        )
    return images


def _bytes(images: np.ndarray) -> np.ndarray:
    """Images of three channels of bytes."""
    if images.dtype != np.uint8:
        finite = np.nan_to_num(images.astype(np.float32))
        images = np.clip(np.rint(finite * (255.0 if finite.max() <= 1.0 else 1.0)), 0, 255).astype(np.uint8)
    return np.repeat(images, 3, 3) if images.shape[3] == 1 else np.ascontiguousarray(images)


def _tinted(images: np.ndarray, masks: Any) -> np.ndarray:
    """Images of bytes, half of them the colour of their mask's class; class 0 is the background."""
    if masks is None:
        return images
    classes = (masks.argmax(-1) if masks.shape[-1] > 1 else masks[..., 0]).astype(np.intp)
    colors = np.array(COLORS, np.uint8)[classes % len(COLORS)]
    return np.where(classes[..., None] > 0, images // 2 + colors // 2, images)


def _title(labels: Any, names: Any, i: int) -> str:
    """The name of the class; of a mixture, of both with their shares."""
    if labels is None:
        return ""
    row = labels[i]
    if np.ndim(row) == 0 or row.size == 1:
        number = row.item()
        return names[int(number)] if names is not None else f"{number:g}"
    parts = [k for k in np.argsort(row)[::-1][:2] if row[k] > 0.005]
    shares = [
        f"{names[k] if names is not None else k}" + (f" {row[k]:.0%}" if len(parts) > 1 else "")
        for k in parts
    ]
    return ", ".join(shares)


def _boxes_of(places: dict[str, Any], i: int, form: str, h: int, w: int) -> list[tuple[np.ndarray, int]]:
    """(x1 y1 x2 y2, class) of the boxes of an image."""
    if "boxes" not in places:
        return []
    corners = corners_of(places["boxes"][i], form) * (
        np.array([w, h, w, h]) if form.startswith("rel_") else 1.0
    )
    return [(box, int(label)) for box, label in zip(corners, places["labels"][i], strict=True) if label >= 0]
