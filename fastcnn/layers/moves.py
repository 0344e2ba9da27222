"""Moves of pixels: where each pixel of a result comes from; moves joined to one; boxes, points and masks that go along.

A layer that moves pixels looks whether its images come straight from another such layer. Then both are one move, and
one gather out of the images before the first: maps are multiplied, no pixel is blended twice, and what one layer pushes
over the edge the next may bring back. So it is in a `Pipeline`, in a model, and in a row of `Dataset.map`.

Moves a, then b, are joined where the fill mode means the same for both:

    b turns the picture over or cuts a window out of it, looking at nothing beyond the edge: always
    a turns it over:                                  with any b but one whose fill_mode is a function of the user's
    both with equal fill_mode, fill_value, interpolation, none a function, and a keeps the size of pictures

Others, and those in `Pipeline(..., fused=False)`, make their pictures one after the other, as Keras does.
"""

import contextlib
import contextvars
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from fastcnn import ops
from fastcnn.layers import boxes
from fastcnn.layers.base import tensors_in
from fastcnn.ops.resample import BORDER_NAMES, places_along, places_of
from fastcnn.tensor import Tensor

PLACES = ("images", "bounding_boxes", "segmentation_masks", "keypoints")  # what a move changes
TINY = 1e-30


class Filling(NamedTuple):
    """How pixels are read between others and beyond the edge; limits: what they are clipped to.

    is_exact: neither happens, as the move takes whole pixels of the picture to others.
    """

    interpolation: str
    fill_mode: Any
    fill_value: float = 0.0
    limits: tuple[float, float] | None = None
    is_exact: bool = False

    def means(self, other: "Filling") -> bool:
        """Whether both read alike; limits apart."""
        same = self.interpolation == other.interpolation and self._border == other._border
        return same and (self._border != "constant" or self.fill_value == other.fill_value)

    def fills_beyond(self, limits: tuple[float, float]) -> bool:
        """Whether what lies beyond the edge is a number outside of the limits."""
        return self._border == "constant" and not limits[0] <= self.fill_value <= limits[1]

    @property
    def _border(self) -> Any:
        return self.fill_mode if callable(self.fill_mode) else BORDER_NAMES[self.fill_mode]


EXACT = Filling("nearest", "constant", is_exact=True)


class Move(NamedTuple):
    """Pixel p of the results (n, *size, c) comes from part_1(part_2(... (p))) of images (n, *source, c).

    parts: projective maps (n, 8), no two of them neighbours, and fields (n, h, w, 2) of rows and columns.
    """

    parts: tuple[Any, ...]
    source: tuple[int, int]
    size: tuple[int, int]
    filling: Filling

    def then(self, later: "Move") -> "Move | None":
        """The one move that does both; None where they stay two."""
        filling, (*before, last), (first, *after) = self._filling_with(later), self.parts, later.parts
        if filling is None or str(last.dtype) != str(first.dtype):
            return None
        joint = (last, first) if _is_field(last) or _is_field(first) else (product(last, first),)
        return Move((*before, *joint, *after), self.source, later.size, filling)

    def _filling_with(self, later: "Move") -> Filling | None:
        first, second = self.filling, later.filling
        if second.is_exact:
            return first
        if self.size != self.source or callable(second.fill_mode):
            return None
        if not (first.is_exact or first.means(second)):
            return None
        limits = first.limits or second.limits
        if second.limits not in (None, limits) or (first.limits and second.fills_beyond(first.limits)):
            return None
        return second._replace(limits=limits)

    def places(self) -> Any:
        """(n, *size, 2): the row and the column that each pixel comes from."""
        *rest, last = self.parts
        places = last if _is_field(last) else places_of(last, self.size)
        for part in reversed(rest):
            if _is_field(part):
                shift = part - boxes.own_places(part.shape[1:3], part.dtype)
                places = places + ops.field_gather(shift, places, "bilinear", "nearest")
            else:
                places = places_along(part, places[..., 0], places[..., 1])
        return places

    # --- what it does -----------------------------------------------------------------------------------------

    def images(self, images: Any) -> Any:
        """The images after the move."""
        moved = self._gathered(images, self.filling.interpolation)
        return moved if self.filling.limits is None else ops.clip(moved, *self.filling.limits)

    def segmentation_masks(self, masks: Any) -> Any:
        """Masks after the same move, each pixel from the nearest: no class that was not there before."""
        return self._gathered(masks, "nearest")

    def keypoints(self, points: Any) -> Any:
        """Points (n, m, 2) moved along; they may then lie outside of the image."""
        for part in self.parts:
            along = boxes.points_along_field if _is_field(part) else boxes.points_along_map
            points = along(points, part)
        return points

    def bounding_boxes(self, value: Any, form: str) -> Any:
        """Boxes around where they get to, clipped to the image; of what lies outside the label becomes -1."""
        corners = boxes.to_corners(value["boxes"], form, *self.source)
        if self._map is None:
            moved = boxes.around_edges(ops.cast(corners, self.parts[0].dtype), self.keypoints)
        else:
            moved = boxes.along_map(corners, self._map)
        clipped, labels = boxes.clip_corners(moved, value["labels"], *self.size)
        return {"boxes": boxes.from_corners(clipped, form, *self.size), "labels": labels}

    @property
    def _map(self) -> Any:
        """The map that is all of it; None where there are fields."""
        return None if any(map(_is_field, self.parts)) else self.parts[0]

    def _gathered(self, x: Any, interpolation: str) -> Any:
        border = self.filling.fill_mode, self.filling.fill_value
        if self._map is None:
            return ops.field_gather(x, self.places(), interpolation, *border)
        return ops.affine_gather(x, self._map, self.size, interpolation, *border)


def _is_field(part: Any) -> bool:
    return len(part.shape) == 4


def product(first: Any, later: Any) -> Any:
    """Maps (n, 8) that go along `later`, and from there along `first`."""
    whole = ops.matmul(_square(first), _square(later))
    numbers = ops.reshape(whole, (-1, 9))
    last = numbers[:, 8:]  # 0 where the first pixel comes from infinitely far away
    return numbers[:, :8] / ops.where(ops.equal(last, 0.0), TINY, last)


def _square(maps: Any) -> Any:
    return ops.reshape(ops.concatenate([maps, ops.ones_like(maps[:, :1])], 1), (-1, 3, 3))


# --- rows of moves ---------------------------------------------------------------------------------------------


class _Made(NamedTuple):
    """What a row of moves has made so far, and of what."""

    move: Move
    source: dict[str, Any]
    found: dict[str, Any]
    form: str | None


_made: WeakKeyDictionary[Tensor, _Made] = WeakKeyDictionary()  # by images
_apart: contextvars.ContextVar[bool] = contextvars.ContextVar("fastcnn_moves_apart", default=False)


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """Moves made meanwhile are not joined, neither to each other nor to those before and after."""
    token = _apart.set(True)
    try:
        yield
    finally:
        _apart.reset(token)


def moved(data: Mapping[str, Any], move: Move, form: str | None) -> dict[str, Any]:
    """Images, and what goes with them, after a move, joined to those that made them where that may be."""
    source = {key: data[key] for key in PLACES if key in data}
    before = None if _apart.get() else _made.get(source["images"])
    if before is not None and _is_whole(before, source, form):
        whole = before.move.then(move)
        if whole is not None:
            move, source = whole, {key: before.source[key] for key in source}
    found = {
        key: move.bounding_boxes(value, str(form)) if key == "bounding_boxes" else getattr(move, key)(value)
        for key, value in source.items()
    }
    if isinstance(found["images"], Tensor) and not _apart.get():
        others = {key: value for key, value in found.items() if key != "images"}
        _made[found["images"]] = _Made(move, source, others, form)
    return found


def _is_whole(before: _Made, data: dict[str, Any], form: str | None) -> bool:
    """Whether nothing but the images' move has touched what goes with them."""
    for key in data:
        if key == "images":
            continue
        if key not in before.found or (key == "bounding_boxes" and form != before.form):
            return False
        then, now = list(tensors_in(before.found[key])), list(tensors_in(data[key]))
        if len(then) != len(now) or any(a is not b for a, b in zip(then, now, strict=True)):
            return False
    return True
