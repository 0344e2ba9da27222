"""Layers that move pixels: flips, turns, shifts, zooms, shears, perspectives, crops, elastic deformations.

All are one gather an image (`ops.affine_gather`, `ops.field_gather`), and so are several that follow one another
(`moves.py`). Boxes and masks go where the pixels go. What lies beyond the edge is chosen by fill_mode: "constant"
(fill_value), "nearest", "wrap", "reflect" (d c b a | a b c d) or "mirror" (d c b | a b c d); numpy.pad's names for the
last two are "symmetric" and "reflect".
"""

import math
from typing import Any

import numpy as np

from fastcnn import ops, random
from fastcnn.errors import Error
from fastcnn.layers import arguments, boxes, moves
from fastcnn.layers.augmentation import (
    ImageLayer,
    batch_shape,
    by_image,
    factor_range,
    floating,
    value_range_of,
)
from fastcnn.layers.moves import Filling, Move
from fastcnn.ops.resample import BORDER_NAMES

MODES = ("horizontal", "vertical", "horizontal_and_vertical")
INTERPOLATIONS = ("nearest", "bilinear")


def border_of(owner: str, fill_mode: Any) -> Any:
    """A fill_mode, checked: the name of one, or a function (places, size) -> indices."""
    return (
        fill_mode
        if callable(fill_mode)
        else arguments.choice(owner, "fill_mode", fill_mode, tuple(BORDER_NAMES))
    )


class Moving(ImageLayer):
    """Images whose pixels come from other places: those that `_move(transformation, n, h, w)` says.

    By default these are `_maps(transformation, n, h, w)`, projective maps (n, 8).
    """

    moves_pixels = True
    only_in_training = True
    interpolation = "bilinear"
    fill_mode: Any = "constant"
    fill_value = 0.0

    def _set_filling(self, interpolation: str, fill_mode: Any, fill_value: float) -> None:
        owner = type(self).__name__
        self.interpolation = arguments.choice(owner, "interpolation", interpolation, INTERPOLATIONS)
        self.fill_mode = border_of(owner, fill_mode)
        self.fill_value = arguments.number(owner, "fill_value", fill_value, -math.inf)

    @property
    def filling(self) -> Filling:
        """How pixels are read between others and beyond the edge."""
        return Filling(self.interpolation, self.fill_mode, self.fill_value)

    def _maps(self, transformation: Any, n: int, h: int, w: int) -> Any:
        raise Error(f"{type(self).__name__} does not say where pixels come from")

    def _move(self, transformation: Any, n: int, h: int, w: int) -> Move:
        """The move of n images h x w that was drawn."""
        maps = ops.cast(self._maps(transformation, n, h, w), self.dtype)
        return Move((maps,), (h, w), self.output_size(h, w), self.filling)

    def _stays(self, transformation: Any, training: bool) -> bool:
        return transformation is None or (self.only_in_training and not training)

    def _changed(self, data: dict[str, Any], drawn: Any, training: bool) -> dict[str, Any]:
        n, h, w, _ = batch_shape(data)
        if self._stays(drawn, training) or not self._is_move(h, w):
            return super()._changed(data, drawn, training)
        if "bounding_boxes" in data:
            self._check_format()
        found = moves.moved(data, self._move(drawn, n, h, w), self.bounding_box_format)
        rest = {key: self._transform(key, data[key], drawn, training) for key in data if key not in found}
        return {**data, **found, **rest}

    def _is_move(self, h: int, w: int) -> bool:
        """Whether `_move` says all that happens to images h x w: not if a subclass changes them in its own way."""
        names = [f"transform_{key}" for key in moves.PLACES]
        return all(getattr(type(self), name) is getattr(Moving, name) for name in names)

    def _moved(self, key: str, x: Any, transformation: Any) -> Any:
        return getattr(self._move(transformation, *batch_shape(x)[:3]), key)(x)

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        """Images gathered from where they were drawn to come from."""
        if self._stays(transformation, training):
            return floating(images, self.dtype)
        return self._moved("images", images, transformation)

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any, training: bool = True
    ) -> Any:
        """Masks gathered alike, each pixel from the nearest: no class that was not there before."""
        if self._stays(transformation, training):
            return segmentation_masks
        return self._moved("segmentation_masks", segmentation_masks, transformation)

    def transform_bounding_boxes(
        self, bounding_boxes: Any, transformation: Any, training: bool = True
    ) -> Any:
        """Around where they get to, clipped to the image; of what lies outside the label becomes -1."""
        if self._stays(transformation, training):
            return bounding_boxes
        move = self._move(transformation, *transformation["input_shape"][:3])
        return move.bounding_boxes(bounding_boxes, str(self.bounding_box_format))

    def transform_keypoints(self, keypoints: Any, transformation: Any, training: bool = True) -> Any:
        """Points moved along; they may then lie outside of the image."""
        if self._stays(transformation, training):
            return keypoints
        return self._move(transformation, *transformation["input_shape"][:3]).keypoints(keypoints)


def columns_of(*columns: Any) -> Any:
    """(n, 8) of columns that are numbers or tensors (n,)."""
    like = next(column for column in columns if hasattr(column, "shape"))
    filled = [
        column if hasattr(column, "shape") else ops.zeros_like(like) + float(column) for column in columns
    ]
    return ops.stack(filled, 1)


class RandomFlip(Moving):
    """Mirror images, each with a probability of one half; with mode "horizontal_and_vertical" about both axes at once.

    mode: "horizontal" (left and right), "vertical" or "horizontal_and_vertical".
    """

    filling = moves.EXACT

    def __init__(
        self, mode: str = "horizontal_and_vertical", seed: int | None = None, data_format: str | None = None,
        bounding_box_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self.mode = arguments.choice("RandomFlip", "mode", mode, MODES)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"flips" (n, 1, 1, 1): 1 or 0}."""
        if not training:
            return None
        shape = batch_shape(data)
        flips = ops.cast(self.draw((shape[0], 1, 1, 1), 0.0, 1.0, seed) <= 0.5, self.dtype)
        return {"flips": flips, "input_shape": shape}

    def _maps(self, transformation: Any, n: int, h: int, w: int) -> Any:
        flips = ops.reshape(ops.cast(transformation["flips"], self.dtype), (-1,))
        across = flips if "horizontal" in self.mode else flips * 0.0
        down = flips if "vertical" in self.mode else flips * 0.0
        return columns_of(
            1.0 - 2.0 * across, 0, across * float(w - 1), 0, 1.0 - 2.0 * down, down * float(h - 1), 0, 0
        )


class RandomRotation(Moving):
    """Turn images about their middle, by an angle between factor[0] and factor[1] turns, counter-clockwise.

    factor: shares of a whole turn in [-1, 1]; a number stands for (-number, number).
    """

    def __init__(
        self, factor: Any, fill_mode: Any = "reflect", interpolation: str = "bilinear", seed: int | None = None,
        fill_value: float = 0.0, data_format: str | None = None, bounding_box_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self.factor = factor_range("RandomRotation", "factor", factor, -1.0, 1.0)
        self._set_filling(interpolation, fill_mode, fill_value)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"angle" (n,) in degrees, "rotation_matrix" (n, 8)}."""
        if not training:
            return None
        n, h, w, c = batch_shape(data)
        angle = self.draw((n,), 360.0 * self.factor[0], 360.0 * self.factor[1], seed)
        maps = rotation_maps(angle * (math.pi / 180.0), h, w)
        sizes = {"image_height": h, "image_width": w, "batch_size": n}
        return {"angle": angle, "rotation_matrix": maps, "input_shape": (n, h, w, c), **sizes}

    def _maps(self, transformation: Any, n: int, h: int, w: int) -> Any:
        return transformation["rotation_matrix"]


def rotation_maps(angle_rad: Any, h: int, w: int) -> Any:
    """Maps (n, 8) that turn images by angles (n,) about their middle."""
    cos, sin = ops.cos(angle_rad), ops.sin(angle_rad)
    x, y = (w - 1) / 2.0, (h - 1) / 2.0
    return columns_of(cos, -sin, x - cos * x + sin * y, sin, cos, y - sin * x - cos * y, 0, 0)


class RandomTranslation(Moving):
    """Shift images down by a share of their height in height_factor, and to the right by one of their width.

    factors in [-1, 1]; a number stands for (-number, number).
    """

    def __init__(
        self, height_factor: Any, width_factor: Any, fill_mode: Any = "reflect", interpolation: str = "bilinear",
        seed: int | None = None, fill_value: float = 0.0, data_format: str | None = None,
        bounding_box_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self.height_factor = height_factor
        self.width_factor = width_factor
        self._rows = factor_range("RandomTranslation", "height_factor", height_factor, -1.0, 1.0)
        self._columns = factor_range("RandomTranslation", "width_factor", width_factor, -1.0, 1.0)
        self._set_filling(interpolation, fill_mode, fill_value)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"translations" (n, 2): pixels to the right, pixels down}."""
        if not training:
            return None
        shape = n, h, w, _ = batch_shape(data)
        down = self.draw((n, 1), *self._rows, seed) * float(h)
        right = self.draw((n, 1), *self._columns, seed) * float(w)
        return {"translations": ops.concatenate([right, down], 1), "input_shape": shape}

    def _maps(self, transformation: Any, n: int, h: int, w: int) -> Any:
        moves = transformation["translations"]
        return columns_of(1, 0, -moves[:, 0], 0, 1, -moves[:, 1], 0, 0)


class RandomZoom(Moving):
    """Show 1 + height_factor of the height and 1 + width_factor of the width: positive ones zoom out, negative in.

    factors in [-1, 1]; a number stands for (-number, number). width_factor None: as the height, keeping proportions.
    """

    def __init__(
        self, height_factor: Any, width_factor: Any = None, fill_mode: Any = "reflect",
        interpolation: str = "bilinear", seed: int | None = None, fill_value: float = 0.0,
        data_format: str | None = None, bounding_box_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self.height_factor = height_factor
        self.width_factor = width_factor
        self._rows = self._range("height_factor", height_factor)
        self._columns = None if width_factor is None else self._range("width_factor", width_factor)
        self._set_filling(interpolation, fill_mode, fill_value)

    def _range(self, name: str, value: Any) -> tuple[float, float]:
        found = factor_range("RandomZoom", name, value, -1.0, 1.0)
        if found[1] == -1:
            raise Error(
                f"RandomZoom: {name} must be above -1, where nothing of the image is left, got {value!r}"
            )
        return found

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"height_zoom", "width_zoom" (n, 1): shares of the image that are shown}."""
        if not training:
            return None
        shape = batch_shape(data)
        rows = self.draw((shape[0], 1), 1.0 + self._rows[0], 1.0 + self._rows[1], seed)
        columns = rows
        if self._columns is not None:
            columns = self.draw((shape[0], 1), 1.0 + self._columns[0], 1.0 + self._columns[1], seed)
        return {"height_zoom": rows, "width_zoom": columns, "input_shape": shape}

    def _maps(self, transformation: Any, n: int, h: int, w: int) -> Any:
        rows, columns = transformation["height_zoom"][:, 0], transformation["width_zoom"][:, 0]
        left, top = (1.0 - columns) * ((w - 1) / 2.0), (1.0 - rows) * ((h - 1) / 2.0)
        return columns_of(columns, 0, left, 0, rows, top, 0, 0)


class RandomShear(Moving):
    """Shift each row by x_factor times its number, and each column by y_factor times its; in either direction.

    factors in [0, 1]; a number stands for (-number, number).
    """

    def __init__(
        self, x_factor: Any = 0.0, y_factor: Any = 0.0, interpolation: str = "bilinear", fill_mode: Any = "reflect",
        fill_value: float = 0.0, data_format: str | None = None, seed: int | None = None,
        bounding_box_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self.x_factor = self._range("x_factor", x_factor)
        self.y_factor = self._range("y_factor", y_factor)
        self._set_filling(interpolation, fill_mode, fill_value)

    def _range(self, name: str, value: Any) -> tuple[float, float]:
        low = -1.0 if isinstance(value, list | tuple) else 0.0  # (-0.1, 0.1) is what 0.1 becomes
        return factor_range("RandomShear", name, value, low, 1.0, least=-1.0)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"shear_factor" (n, 2): columns a row, rows a column}."""
        if not training:
            return None
        shape = batch_shape(data)
        sign = 1.0 - 2.0 * ops.cast(self.draw((shape[0], 1), 0.0, 1.0, seed) > 0.5, self.dtype)
        y = self.draw((shape[0], 1), *self.y_factor, seed)
        x = self.draw((shape[0], 1), *self.x_factor, seed)
        return {"shear_factor": ops.concatenate([x, y], 1) * sign, "input_shape": shape}

    def _maps(self, transformation: Any, n: int, h: int, w: int) -> Any:
        shear = transformation["shear_factor"]
        return columns_of(1, shear[:, 0], 0, shear[:, 1], 1, 0, 0, 0)


class RandomPerspective(Moving):
    """Look at images from the side: each corner (x, y) moves to (x (1 + u), y (1 + v)), u and v within scale / 2.

    factor: how probable it is, in [0, 1]; of two numbers, the probability is drawn between them. scale in [0, 1].
    """

    def __init__(
        self, factor: Any = 1.0, scale: float = 1.0, interpolation: str = "bilinear", fill_value: float = 0.0,
        seed: int | None = None, data_format: str | None = None, bounding_box_format: str | None = None,
        fill_mode: Any = "constant", **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self.factor = factor_range("RandomPerspective", "factor", factor, 0.0, 1.0)
        self.scale = arguments.number("RandomPerspective", "scale", scale, 0.0, 1.0)
        self._set_filling(interpolation, fill_mode, fill_value)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"apply_perspective" (n,), "start_points", "end_points" (n, 4, 2): corners (x, y) before and after}."""
        if not training:
            return None
        shape = n, h, w, _ = batch_shape(data)
        applied = self.happens(n, self.factor, seed)
        right, bottom = (
            max(w - 1, 1),
            max(h - 1, 1),
        )  # of one pixel, the next: else there is no area to look at
        corners = np.array([[0, 0], [right, 0], [0, bottom], [right, bottom]], self.dtype)
        start = np.repeat(corners[None], n, 0)
        end = start + start * self.draw((n, 4, 2), -0.5 * self.scale, 0.5 * self.scale, seed)
        return {"apply_perspective": applied, "start_points": start, "end_points": end, "input_shape": shape}

    def _maps(self, transformation: Any, n: int, h: int, w: int) -> Any:
        maps = inverse_quadrilateral_maps(ops.cast(transformation["end_points"], self.dtype), h, w)
        applied = ops.reshape(ops.cast(transformation["apply_perspective"], self.dtype), (-1, 1))
        same = np.array([1, 0, 0, 0, 1, 0, 0, 0], self.dtype)
        return ops.where(applied, maps, same + maps * 0.0)


def inverse_quadrilateral_maps(corners: Any, h: int, w: int) -> Any:
    """Maps (n, 8) after which the corners of images lie at corners (n, 4, 2): top left, top right, bottom left, right.

    Heckbert 1989, Fundamentals of texture mapping and image warping: from a square to a quadrilateral; inverted.
    """
    (x0, y0), (x1, y1), (x3, y3), (x2, y2) = ((corners[:, i, 0], corners[:, i, 1]) for i in range(4))
    across, down = float(max(w - 1, 1)), float(max(h - 1, 1))
    x, y = x0 - x1 + x2 - x3, y0 - y1 + y2 - y3
    area = (x1 - x2) * (y3 - y2) - (x3 - x2) * (y1 - y2)
    g = (x * (y3 - y2) - (x3 - x2) * y) / area
    k = ((x1 - x2) * y - x * (y1 - y2)) / area
    forward = columns_of(
        (x1 - x0 + g * x1) / across, (x3 - x0 + k * x3) / down, x0, (y1 - y0 + g * y1) / across,
        (y3 - y0 + k * y3) / down, y0, g / across, k / down,
    )  # fmt: skip
    inverse = boxes.inverse_map(forward)
    return ops.concatenate(inverse[:8], 1) / inverse[8]


class RandomElasticTransform(Moving):
    """Deform images like rubber: every pixel comes from a place moved at random, neighbours about alike.

    factor: how probable it is, in [0, 1]; scale: how strong it is, in [0, 1], drawn for each batch. Shifts are normal
    numbers, blurred with a deviation of 0.05 scale times the shorter side, times that and 0.1 scale times the
    longer one (after Simard, Steinkraus & Platt 2003). Boxes are put around where 32 points of their edges get to.
    """

    def __init__(
        self, factor: Any = 1.0, scale: Any = 1.0, interpolation: str = "bilinear", fill_mode: Any = "reflect",
        fill_value: float = 0.0, value_range: Any = (0, 255), seed: int | None = None,
        data_format: str | None = None, bounding_box_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        owner = "RandomElasticTransform"
        self.factor = factor_range(owner, "factor", factor, 0.0, 1.0)
        self.scale = factor_range(owner, "scale", scale, 0.0, 1.0)
        self.value_range = value_range_of(owner, value_range)
        self._set_filling(interpolation, fill_mode, fill_value)

    @property
    def filling(self) -> Filling:
        """As of other moves, and kept in the value range."""
        return super().filling._replace(limits=self.value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"apply_transform" (n,), "distortion_factor", "field" (n, h, w, 2): where every pixel comes from}."""
        if not training or self.scale[1] == 0 or self.factor[1] == 0:
            return None
        shape = n, h, w, _ = batch_shape(data)
        applied = self.happens(n, self.factor, seed)
        strength = self.draw((1,), *self.scale, seed)
        sigma = strength * (0.05 * min(h, w)) + 1e-3
        noise = random.normal((n, h, w, 2), dtype=self.dtype, seed=self.generator if seed is None else seed)
        shift = _blurred(noise, sigma, int(6 * 0.05 * min(h, w) * self.scale[1]) | 1)
        shift = shift * sigma * strength * (0.1 * max(h, w))
        field = boxes.own_places((h, w), self.dtype) + shift * by_image(applied)
        return {
            "apply_transform": applied,
            "distortion_factor": strength,
            "field": field,
            "input_shape": shape,
        }

    def _move(self, transformation: Any, n: int, h: int, w: int) -> Move:
        return Move((ops.cast(transformation["field"], self.dtype),), (h, w), (h, w), self.filling)


def _blurred(x: Any, sigma: Any, size: int) -> Any:
    """Images (n, h, w, 2) blurred along rows and columns by `size` weights of a deviation that is a tensor (1,)."""
    places = np.arange(size, dtype=x.dtype) - (size - 1) / 2.0
    bell = ops.exp(-0.5 * (ops.convert_to_tensor(places.astype(x.dtype)) / sigma) ** 2)
    bell = bell / ops.sum(bell)
    weights = ops.concatenate([ops.reshape(bell, (size, 1))] * 2, 1)
    for shape in ((size, 1, 2, 1), (1, size, 2, 1)):
        x = ops.depthwise_conv(x, ops.reshape(weights, shape), padding="same")
    return x
