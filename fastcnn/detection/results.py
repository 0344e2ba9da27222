"""What is in an image: objects that are known, and detections that a model made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np

from fastcnn.data.image_files import pillow, read_image
from fastcnn.detection.boxes import as_boxes, as_labels, convert_boxes
from fastcnn.errors import Error
from fastcnn.layers import arguments
from fastcnn.ops.detection import float_array

COLOURS = (
    "#e6194b",
    "#3cb44b",
    "#4363d8",
    "#f58231",
    "#911eb4",
    "#46f0f0",
    "#f032e6",
    "#bcf60c",
    "#008080",
    "#9a6324",
)


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of an image: boxes (n, 4) xyxy in pixels, labels (n,), and which of them are crowds.

    A crowd (COCO), or an object marked difficult (VOC), need not be found and may be found more than once.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray

    @staticmethod
    def of(boxes: Any, labels: Any, crowd: Any = None) -> Objects:
        """Checked objects from whatever can be made arrays."""
        array = as_boxes(boxes).reshape(-1, 4)
        numbers = as_labels(labels)
        crowds = np.zeros(len(array), bool) if crowd is None else np.asarray(crowd, bool).reshape(-1)
        if not len(array) == len(numbers) == len(crowds):
            raise Error(
                f"{len(array)} boxes, {len(numbers)} labels and {len(crowds)} crowd flags; give one each a box"
            )
        if not np.isfinite(array).all():
            raise Error("boxes must be finite")
        return Objects(array, numbers, crowds)

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, chosen: Any) -> Objects:
        """Some of the objects."""
        return Objects(self.boxes[chosen], self.labels[chosen], self.crowd[chosen])


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in an image, the surest first: boxes (n, 4) xyxy in its pixels, scores (n,), labels (n,)."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] = ()

    @staticmethod
    def of(boxes: Any, scores: Any, labels: Any, class_names: Sequence[str] = ()) -> Detections:
        """Detections from whatever can be made arrays, sorted by score; of equal scores the first stays first."""
        array, shares = as_boxes(boxes).reshape(-1, 4), float_array("scores", scores).reshape(-1)
        numbers = as_labels(labels)
        if not len(array) == len(shares) == len(numbers):
            raise Error(
                f"{len(array)} boxes, {len(shares)} scores and {len(numbers)} labels; give one each a box"
            )
        if not (np.isfinite(array).all() and np.isfinite(shares).all()):
            raise Error("detections must be finite: a box or a score is NaN or infinite")
        order = np.argsort(-shares, kind="stable")
        return Detections(array[order], shares[order], numbers[order], tuple(class_names))

    def __len__(self) -> int:
        return len(self.boxes)

    def __iter__(self) -> Iterator[tuple[np.ndarray, float, int]]:
        """(box, score, label) of each."""
        for box, score, label in zip(self.boxes, self.scores, self.labels, strict=True):
            yield box, float(score), int(label)

    def __str__(self) -> str:
        lines = [f"{self.name(k)} {s:.2f} at {np.round(b).astype(int).tolist()}" for b, s, k in self]
        return "\n".join(lines) or "nothing found"

    def name(self, label: int) -> str:
        """The name of a class."""
        return self.class_names[label] if label < len(self.class_names) else str(label)

    def above(self, score: float) -> Detections:
        """Those with at least this score."""
        chosen = self.scores >= score
        return Detections(self.boxes[chosen], self.scores[chosen], self.labels[chosen], self.class_names)

    def to_coco(self, image_id: Any = 0, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """COCO's result records: boxes as x, y, width, height. category_ids: of the classes; default 1, 2, ..."""
        boxes = convert_boxes(self.boxes, "xyxy", "xywh")
        if category_ids is not None and self.labels.max(initial=-1) >= len(category_ids):
            raise Error(
                f"to_coco: a detection has class {self.labels.max()}, and there are {len(category_ids)} category_ids; "
                "give one for each class"
            )
        return [
            {
                "image_id": image_id,
                "category_id": int(label) + 1 if category_ids is None else int(category_ids[label]),
                "bbox": [round(float(x), 3) for x in box],
                "score": float(score),
            }
            for box, score, label in zip(boxes, self.scores, self.labels, strict=True)
        ]

    def draw(self, image: Any, width: int = 2, scale: int = 1) -> Any:
        """A Pillow image with the boxes drawn in, and above each its class and score in percent.

        image: an array (height, width, channels), 0..255 or, floating, 0..1; a file; or a Pillow image. width: of lines
        in pixels; scale: how many pixels of the result, in height and width, are one of the image.
        """
        words = [f"{self.name(label)} {100 * score:.0f}" for _, score, label in self]
        return draw_boxes(image, self.boxes, self.labels, words, width, scale)


def draw_boxes(
    image: Any, boxes: np.ndarray, labels: np.ndarray, words: Sequence[str], width: int = 2, scale: int = 1
) -> Any:
    """A copy of an image with boxes (xyxy) in the colours of their labels, and words above them."""
    module, _ = pillow()
    from PIL import ImageDraw

    width, scale = arguments.integer("draw", "width", width), arguments.integer("draw", "scale", scale)
    picture = as_picture(image, module).convert("RGB")
    picture = picture.resize((picture.width * scale, picture.height * scale), module.Resampling.NEAREST)
    pen = ImageDraw.Draw(picture)
    for box, label, text in zip(boxes, labels, words, strict=True):
        colour = COLOURS[int(label) % len(COLOURS)]
        x1, y1, x2, y2 = (float(x) * scale for x in box)
        pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=width)
        _, _, right, bottom = pen.textbbox((0, 0), text)
        y = y1 - bottom - 2 if y1 > bottom + 2 else y1 + 1
        pen.rectangle((x1, y, x1 + right + 3, y + bottom + 2), fill=colour)
        pen.text((x1 + 2, y), text, fill="white")
    return picture


def as_picture(image: Any, module: Any) -> Any:
    """A Pillow image of an array, of a file, or of one."""
    if isinstance(image, str | PathLike):
        image = read_image(image)
    if isinstance(image, module.Image):
        return image
    if not isinstance(image, np.ndarray) or image.ndim not in (2, 3):
        what = f"shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise Error(
            f"an image to draw on is an array (height, width, channels), a file or a Pillow image; got {what}"
        )
    array = image if image.ndim == 3 else image[..., np.newaxis]
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise Error("an image to draw on holds NaN or infinity; replace them")
        array = np.rint(array * (255.0 if array.max(initial=0) <= 1 else 1.0))
    array = np.clip(array, 0, 255).astype(np.uint8)
    if array.shape[-1] not in (1, 3, 4):
        array = array[..., :1]
    return module.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
