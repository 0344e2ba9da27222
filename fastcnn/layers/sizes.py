"""Layers that change the size of pictures: crops, and resizing. What is placed in them follows."""

from typing import Any, NamedTuple

import numpy as np

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.layers import arguments, moves
from fastcnn.layers.augmentation import batch_shape, floating
from fastcnn.layers.geometric import Moving, columns_of
from fastcnn.ops.image import INTERPOLATIONS, resize


class Window(NamedTuple):
    """Rows and columns of a picture, perhaps beyond its edge."""

    top: int
    left: int
    height: int
    width: int


def middle(h: int, w: int, height: int, width: int) -> Window:
    """The middle of a picture h x w, nearer to the top left by half a pixel where it is uneven."""
    return Window((h - height) // 2, (w - width) // 2, height, width)


def within(h: int, w: int, height: int, width: int) -> Window:
    """The largest middle part of a picture h x w of the proportions height : width."""
    return middle(h, w, max(1, min(h, w * height // width)), max(1, min(w, h * width // height)))


def around(h: int, w: int, height: int, width: int) -> Window:
    """A picture h x w with equal borders that give it the proportions height : width, to within a pixel."""
    above, beside = (max(h, w * height // width) - h) // 2, (max(w, h * width // height) - w) // 2
    return Window(-above, -beside, h + 2 * above, w + 2 * beside)


class Sized(Moving):
    """Pictures of height x width pixels, in training and otherwise: a window of theirs, resized to that."""

    only_in_training = False
    draws = False
    filling = moves.EXACT

    def _set_size(self, height: int, width: int) -> None:
        owner = type(self).__name__
        self.height = arguments.integer(owner, "height", height)
        self.width = arguments.integer(owner, "width", width)

    def output_size(self, height: Any, width: Any) -> tuple[Any, Any]:
        """The size that was asked for."""
        return self.height, self.width

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"input_shape": (n, h, w, c)}."""
        return {"input_shape": batch_shape(data)}

    def _window(self, h: int, w: int) -> Window:
        """The part of a picture h x w that is resized."""
        raise Error(f"{type(self).__name__} does not say which window it takes")

    def _is_move(self, h: int, w: int) -> bool:
        return False  # pixels are cut out and resized; only places go through `_move`

    def _maps(self, transformation: Any, n: int, h: int, w: int) -> Any:
        window = self._window(h, w)
        step_y, step_x = window.height / self.height, window.width / self.width
        top, left = window.top + (step_y - 1) / 2, window.left + (step_x - 1) / 2
        return columns_of(np.full(n, step_x, self.dtype), 0, left, 0, step_y, top, 0, 0)

    def _moved(self, key: str, x: Any, transformation: Any) -> Any:
        _, h, w, _ = batch_shape(x)
        top, left, height, width = self._window(h, w)
        x = floating(x, self.dtype)
        if top < 0 or left < 0:
            borders = (-top, height - h + top), (-left, width - w + left)
            x = ops.pad(x, ((0, 0), *borders, (0, 0)), constant_values=self.fill_value)
        elif (height, width) != (h, w):
            x = x[:, top : top + height, left : left + width]
        return x if (height, width) == (self.height, self.width) else self._resized(key, x)

    def _resized(self, key: str, x: Any) -> Any:
        return ops.resize(x, (self.height, self.width), "bilinear" if key == "images" else "nearest")


class CenterCrop(Sized):
    """The middle height x width pixels. An image smaller than that is resized, cropped to its proportions first."""

    def __init__(
        self, height: int, width: int, data_format: str | None = None, bounding_box_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(data_format=data_format, bounding_box_format=bounding_box_format, **kwargs)
        self._set_size(height, width)

    def _window(self, h: int, w: int) -> Window:
        is_small = h < self.height or w < self.width
        return (within if is_small else middle)(h, w, self.height, self.width)


class RandomCrop(Sized):
    """A window of height x width pixels, in training at random, the same for the whole batch; otherwise the middle.

    Images smaller than that are resized, cropped to its proportions first.
    """

    draws = True

    def __init__(
        self, height: int, width: int, seed: int | None = None, data_format: str | None = None,
        bounding_box_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self._set_size(height, width)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"top", "left" (n,): where the window begins}; where images are too small, in pixels of resized ones."""
        shape = n, h, w, _ = batch_shape(data)
        rows, columns = max(h - self.height, 0), max(w - self.width, 0)
        if not training:
            zeros = np.zeros(n, self.dtype)
            return {"top": zeros + rows // 2, "left": zeros + columns // 2, "input_shape": shape}
        top, left = (
            ops.floor(self.draw((1,), 0.0, float(most + 1), seed)) + np.zeros(n, self.dtype)
            for most in (rows, columns)
        )
        return {"top": top, "left": left, "input_shape": shape}

    def _is_move(self, h: int, w: int) -> bool:
        return Moving._is_move(self, h, w) and not self._is_small(h, w)

    def _is_small(self, h: int, w: int) -> bool:
        return h < self.height or w < self.width

    def _window(self, h: int, w: int) -> Window:
        return within(h, w, self.height, self.width)

    def _maps(self, transformation: Any, n: int, h: int, w: int) -> Any:
        if self._is_small(h, w):
            return super()._maps(transformation, n, h, w)
        return columns_of(1, 0, transformation["left"], 0, 1, transformation["top"], 0, 0)

    def _moved(self, key: str, x: Any, transformation: Any) -> Any:
        if self._is_small(*batch_shape(x)[1:3]):
            return super()._moved(key, x, transformation)
        return Moving._moved(self, key, x, transformation)


class Resizing(Sized):
    """Images resized to height x width pixels, pixel centres at halves.

    interpolation: "bilinear", "nearest", "bicubic", "lanczos3" or "lanczos5"; masks are always read at the nearest
    pixel. antialias: average over what a smaller image leaves out. crop_to_aspect_ratio: cut off what would be
    distorted; pad_to_aspect_ratio: add borders of `fill_value` instead.
    """

    def __init__(
        self, height: int, width: int, interpolation: str = "bilinear", crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False, fill_mode: str = "constant", fill_value: float = 0.0,
        antialias: bool = False, data_format: str | None = None, bounding_box_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(data_format=data_format, bounding_box_format=bounding_box_format, **kwargs)
        self._set_size(height, width)
        self.interpolation = arguments.choice("Resizing", "interpolation", interpolation, INTERPOLATIONS)
        self.crop_to_aspect_ratio = bool(crop_to_aspect_ratio)
        self.pad_to_aspect_ratio = bool(pad_to_aspect_ratio)
        self.fill_mode = arguments.choice("Resizing", "fill_mode", fill_mode, ("constant",))
        self.fill_value = float(fill_value)
        self.antialias = bool(antialias)
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise Error("Resizing: crop_to_aspect_ratio and pad_to_aspect_ratio exclude each other")

    def _window(self, h: int, w: int) -> Window:
        if self.crop_to_aspect_ratio:
            return within(h, w, self.height, self.width)
        if self.pad_to_aspect_ratio:
            return around(h, w, self.height, self.width)
        return Window(0, 0, h, w)

    def _resized(self, key: str, x: Any) -> Any:
        is_image, size = key == "images", (self.height, self.width)
        interpolation = self.interpolation if is_image else "nearest"
        if is_image and (self.antialias or interpolation not in ("nearest", "bilinear")):
            return resize(x, size, interpolation, self.antialias)
        return ops.resize(x, size, interpolation)
