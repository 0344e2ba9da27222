"""Images brought to one size, and changed at random, with their boxes.

All of it is one operation: a window of the source, given in its pixels, is stretched over the target. Rows and columns
are resampled one after the other, linearly, with averaging where pixels are merged; a window may reach beyond the
image, which is continued in grey, and may run backwards, which mirrors.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastcnn.detection.boxes import areas, as_boxes
from fastcnn.detection.results import Objects
from fastcnn.errors import Error
from fastcnn.layers import arguments

GREY = 114.0  # of 255, what is beyond an image
LEAST_SIDE = 2.0  # pixels; what remains of a box below that is dropped


def as_image(what: str, image: Any, channels: int | None = None) -> np.ndarray:
    """An array (height, width, channels) of finite numbers; one of (height, width) has one channel."""
    try:
        array = np.asarray(image)
    except ValueError as error:
        raise Error(f"{what}: cannot be made an array ({error})") from error
    array = array[..., np.newaxis] if array.ndim == 2 else array
    wanted = f"(height, width, {channels or 'channels'}) of 0..255"
    if array.ndim != 3 or not array.size or array.dtype.kind not in "buif":
        raise Error(f"{what}: expected an image {wanted}, got {array.dtype} of shape {array.shape}")
    if channels not in (None, array.shape[-1]):
        raise Error(
            f"{what}: the image has {array.shape[-1]} channels, shape {array.shape}; expected {wanted}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise Error(f"{what}: the image holds NaN or infinity; replace them or leave the image out")
    return array


class Window(NamedTuple):
    """The part of a source image that becomes a target of (height, width): source = start + target * step."""

    top: float
    left: float
    row_step: float
    column_step: float
    height: int
    width: int

    def boxes_in(self, boxes: np.ndarray) -> np.ndarray:
        """Where boxes of the source lie in the target."""
        start = np.array([self.left, self.top, self.left, self.top])
        step = np.array([self.column_step, self.row_step, self.column_step, self.row_step])
        moved = (as_boxes(boxes) - start) / step
        first, last = np.minimum(moved[..., :2], moved[..., 2:]), np.maximum(moved[..., :2], moved[..., 2:])
        return np.concatenate([first, last], -1).astype(boxes.dtype)

    def boxes_out(self, boxes: np.ndarray) -> np.ndarray:
        """Where boxes of the target lie in the source."""
        start = np.array([self.left, self.top, self.left, self.top])
        step = np.array([self.column_step, self.row_step, self.column_step, self.row_step])
        moved = as_boxes(boxes) * step + start
        first, last = np.minimum(moved[..., :2], moved[..., 2:]), np.maximum(moved[..., :2], moved[..., 2:])
        return np.concatenate([first, last], -1).astype(boxes.dtype)

    def cut(self, image: np.ndarray) -> np.ndarray:
        """The target (height, width, channels), float32."""
        h, w, channels = image.shape
        rows, row_mass = _resampling(h, self.height, self.top, self.row_step)
        columns, column_mass = _resampling(w, self.width, self.left, self.column_step)
        tall = rows @ image.reshape(h, -1).astype(np.float32)
        turned = tall.reshape(self.height, w, channels).transpose(1, 0, 2).reshape(w, -1)
        target = (columns @ turned).reshape(self.width, self.height, channels).transpose(1, 0, 2)
        missing = 1 - row_mass[:, np.newaxis] * column_mass
        return np.ascontiguousarray(target + GREY * missing[..., np.newaxis], np.float32)


def _resampling(n: int, m: int, start: float, step: float) -> tuple[Any, np.ndarray]:
    """A sparse matrix (m, n) of linear resampling, and the share of each target pixel that lies in the source."""
    from scipy import sparse  # not on import: that takes long

    centres = start + (np.arange(m) + 0.5) * step - 0.5  # in source pixels
    reach = max(abs(step), 1.0)
    first = np.floor(centres - reach).astype(np.int64) + 1
    places = first[:, np.newaxis] + np.arange(int(np.ceil(2 * reach)) + 1)
    weights = np.maximum(1 - np.abs(places - centres[:, np.newaxis]) / reach, 0)
    weights /= weights.sum(1, keepdims=True)
    inside = (centres >= -0.5) & (centres <= n - 0.5)  # the image ends there, sharply
    weights = (weights * inside[:, np.newaxis]).astype(np.float32)
    rows = np.repeat(np.arange(m), places.shape[1])
    entries = weights.ravel(), (rows, np.clip(places, 0, n - 1).ravel())
    return sparse.csr_array(entries, shape=(m, n)), inside.astype(np.float32)


def letterbox_window(size: tuple[int, int], target: tuple[int, int]) -> Window:
    """The window that shows all of an image (height, width), as large as it goes and centred, in a target."""
    (h, w), (height, width) = size, arguments.integers("letterbox", "target", target, 2)
    if min(h, w) < 1:
        raise Error(f"letterbox: there is no pixel in an image of {h}x{w}")
    step = max(h / height, w / width)
    return Window((h - height * step) / 2, (w - width * step) / 2, step, step, height, width)


def letterbox(
    image: Any, target: tuple[int, int], boxes: Any = None
) -> tuple[np.ndarray, np.ndarray, Window]:
    """An image (height, width, channels) of 0..255 at a size (height, width), its proportions kept, grey beyond.

    Returns the image float32, the boxes where they lie in it, and the window, whose `boxes_out` leads back.
    """
    array = as_image("letterbox", image)
    window = letterbox_window(array.shape[:2], target)
    return window.cut(array), window.boxes_in(as_boxes(() if boxes is None else boxes)), window


def cut_objects(objects: Objects, window: Window, visible: float = 0.25) -> Objects:
    """The objects where they lie in a window, cut at its border; without those of which less than a share is seen."""
    moved = window.boxes_in(objects.boxes)
    inside = np.clip(moved, 0, np.array([window.width, window.height] * 2, moved.dtype))
    sides = inside[:, 2:] - inside[:, :2]
    seen = (areas(inside) >= visible * areas(moved)) & (sides >= LEAST_SIDE).all(1)
    return Objects(inside, objects.labels, objects.crowd).select(seen)


def fitted(image: np.ndarray, objects: Objects, size: tuple[int, int]) -> tuple[np.ndarray, Objects]:
    """An image (height, width, channels) of 0..255 letterboxed to a size, as bytes, and its objects there."""
    window = letterbox_window(image.shape[:2], size)
    return np.clip(np.rint(window.cut(image)), 0, 255).astype(np.uint8), cut_objects(objects, window, 0.0)


@dataclass(frozen=True)
class Augmentation:
    """What is done to training images at random; each a function of the generator alone.

    flip_horizontal, flip_vertical: chance of a mirror image. scale: smallest and largest magnification. translate: how
    far, as a share of the image, it is moved. stretch: height and width differ by up to this factor. mosaic: chance of
    four images in one. brightness, contrast: largest change, as a share.
    """

    flip_horizontal: float = 0.5
    flip_vertical: float = 0.0
    scale: tuple[float, float] = (0.75, 1.35)
    translate: float = 0.1
    stretch: float = 1.1
    mosaic: float = 0.0
    brightness: float = 0.15
    contrast: float = 0.15

    def __post_init__(self) -> None:
        for name in ("flip_horizontal", "flip_vertical", "mosaic", "brightness", "contrast"):
            if not 0 <= getattr(self, name) <= 1:
                raise Error(f"Augmentation: {name} must lie in [0, 1], got {getattr(self, name)}")
        pair = isinstance(self.scale, tuple | list) and len(self.scale) == 2
        if not (pair and 0 < self.scale[0] <= self.scale[1] < np.inf):
            raise Error(f"Augmentation: scale is (smallest, largest), both positive; got {self.scale!r}")
        if not (0 <= self.translate < np.inf and 1 <= self.stretch < np.inf):
            raise Error(
                "Augmentation: translate must not be negative and stretch at least 1; "
                f"got {self.translate} and {self.stretch}"
            )

    def window(self, rng: np.random.Generator, size: tuple[int, int], target: tuple[int, int]) -> Window:
        """A window of an image (height, width), around its letterbox, for a target (height, width)."""
        base = letterbox_window(size, target)
        zoom = float(np.exp(rng.uniform(*np.log(self.scale))))
        stretch = float(np.exp(rng.uniform(-0.5, 0.5) * np.log(self.stretch)))
        steps = base.row_step / zoom * stretch, base.column_step / zoom / stretch
        spans = target[0] * steps[0], target[1] * steps[1]
        shift = rng.uniform(-self.translate, self.translate, 2) * size
        starts = [(n - span) / 2 + s for n, span, s in zip(size, spans, shift, strict=True)]
        flips = rng.random(2) < (self.flip_vertical, self.flip_horizontal)
        ends = [start + span * flip for start, span, flip in zip(starts, spans, flips, strict=True)]
        signs = [-step if flip else step for step, flip in zip(steps, flips, strict=True)]
        return Window(ends[0], ends[1], signs[0], signs[1], *target)

    def colour(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
        """Brightness and contrast changed, cut to 0..255."""
        factor = 1 + rng.uniform(-self.contrast, self.contrast)
        shift = 255 * rng.uniform(-self.brightness, self.brightness)
        middle = image.mean(dtype=np.float64)
        return np.clip((image - middle) * factor + (middle + shift), 0, 255).astype(np.float32)


def mosaic(
    rng: np.random.Generator,
    pictures: list[tuple[np.ndarray, Objects]],
    target: tuple[int, int],
    how: Augmentation,
) -> tuple[np.ndarray, Objects]:
    """Four images in the quarters of one, around a random point (Bochkovskiy et al. 2020, YOLOv4)."""
    height, width = target
    y = int(height * rng.uniform(0.3, 0.7))
    x = int(width * rng.uniform(0.3, 0.7))
    canvas = np.empty((height, width, pictures[0][0].shape[-1]), np.float32)
    found = []
    corners = [(0, 0, y, x), (0, x, y, width), (y, 0, height, x), (y, x, height, width)]
    for (image, objects), (top, left, bottom, right) in zip(pictures, corners, strict=True):
        window = how.window(rng, image.shape[:2], (bottom - top, right - left))
        canvas[top:bottom, left:right] = window.cut(image)
        seen = cut_objects(objects, window)
        moved = seen.boxes + np.array([left, top, left, top], seen.boxes.dtype)
        found.append(Objects(moved, seen.labels, seen.crowd))
    parts = [np.concatenate([getattr(item, name) for item in found]) for name in ("boxes", "labels", "crowd")]
    return canvas, Objects(*parts)
