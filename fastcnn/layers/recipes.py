"""Whole recipes in one pass: every move of pixels is one gather, every change of colours one matrix.

`RandomAffine` and `RandomColors` do what rows of other layers do, drawn for each image apart, at the price of one: maps
of pixels are multiplied before a pixel is moved, matrices of colours before one is changed.
"""

import math
from typing import Any

import numpy as np

from fastcnn import ops, random
from fastcnn.errors import Error
from fastcnn.layers import arguments
from fastcnn.layers.augmentation import (
    ImageLayer,
    batch_shape,
    factor_range,
    floating,
    of_channels,
    value_range_of,
)
from fastcnn.layers.geometric import Moving, columns_of
from fastcnn.layers.photometric import GREY, Colored

# Axes of the colours of ImageNet in [0, 1] and their deviations (Krizhevsky, Sutskever & Hinton 2012).
COLOR_AXES = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
COLOR_DEVIATIONS = (0.2175, 0.0188, 0.0045)


class RandomAffine(Moving):
    """Flips, turns, zoom, shear, shifts and crops of images, in one gather; each image has its own.

    horizontal_flip, vertical_flip: mirror half of the images. quarter_turns: by 0, 90, 180 or 270 degrees (square
    images). rotation: turns, 0.05 for 18 degrees to either side; zoom: share that is shown more or less; shear: pixels
    a pixel; translation: share of the side; numbers stand for (-number, number). padding: borders of pixels, out
    of which a window of `size` (height, width), default that of the image, is cut at a whole place. crop: (least, most)
    of the area that is shown, at a random place, in proportions from 3/4 to 4/3, enlarged to the size.
    """

    def __init__(
        self, horizontal_flip: bool = False, vertical_flip: bool = False, quarter_turns: bool = False,
        rotation: Any = 0.0, zoom: Any = 0.0, shear: Any = 0.0, translation: Any = 0.0, padding: int = 0,
        size: Any = None, crop: Any = None, fill_mode: Any = "constant", interpolation: str = "bilinear",
        fill_value: float = 0.0, seed: int | None = None, data_format: str | None = None,
        bounding_box_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self.horizontal_flip, self.vertical_flip = bool(horizontal_flip), bool(vertical_flip)
        self.quarter_turns = bool(quarter_turns)
        owner = "RandomAffine"
        self.rotation = factor_range(owner, "rotation", rotation, -1.0, 1.0)
        self.zoom = factor_range(owner, "zoom", zoom, -0.999, 10.0, least=-0.999)
        self.shear = factor_range(owner, "shear", shear, -1.0, 1.0)
        self.translation = factor_range(owner, "translation", translation, -1.0, 1.0)
        self.padding = arguments.integer(owner, "padding", padding, minimum=0)
        self.size = None if size is None else arguments.integers(owner, "size", size, 2)
        self.crop = None if crop is None else factor_range(owner, "crop", crop, 1e-4, 1.0)
        self._set_filling(interpolation, fill_mode, fill_value)

    def output_size(self, height: Any, width: Any) -> tuple[Any, Any]:
        """`size`, or that of the images."""
        return (height, width) if self.size is None else (self.size[0], self.size[1])

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"maps" (n, 8): where pixels come from}; without training, from the middle."""
        shape = n, h, w, _ = batch_shape(data)
        if not training:
            zero = np.zeros(n, self.dtype)
            linear, shift = (zero + 1.0, zero, zero, zero + 1.0), (zero, zero)
        else:
            linear, shift = self._linear(n, h, w, seed), self._shift(n, h, w, seed)
        oh, ow = self.output_size(h, w)
        (a, b, c, d), (x, y) = linear, shift
        cx, cy = (ow - 1) / 2.0, (oh - 1) / 2.0
        right, down = x + (w - 1) / 2.0 - a * cx - b * cy, y + (h - 1) / 2.0 - c * cx - d * cy
        return {"maps": columns_of(a, b, right, c, d, down, 0, 0), "input_shape": shape}

    def _maps(self, transformation: Any, n: int, h: int, w: int) -> Any:
        return transformation["maps"]

    def _linear(self, n: int, h: int, w: int, seed: Any) -> tuple[Any, Any, Any, Any]:
        """The 2 x 2 matrices (n,) that turn, shear, mirror and scale about the middle."""
        angle = self.draw((n,), *self.rotation, seed) * (2.0 * math.pi)
        if self.quarter_turns:
            if h != w:
                raise Error(f"RandomAffine: quarter_turns need square images, got {h} x {w}")
            angle = angle + ops.floor(self.draw((n,), 0.0, 4.0, seed)) * (math.pi / 2.0)
        cos, sin = ops.cos(angle), ops.sin(angle)
        shear = self.draw((n,), *self.shear, seed)
        rows, columns = self._scales(n, seed)
        across, down = (columns * self._sign(n, flip, seed) for flip, columns in
                        ((self.horizontal_flip, columns), (self.vertical_flip, rows)))  # fmt: skip
        return cos * across, (cos * shear - sin) * down, sin * across, (sin * shear + cos) * down

    def _sign(self, n: int, flips: bool, seed: Any) -> Any:
        return 1.0 - 2.0 * ops.floor(self.draw((n,), 0.0, 2.0, seed)) if flips else np.ones(n, self.dtype)

    def _scales(self, n: int, seed: Any) -> tuple[Any, Any]:
        """Shares of the height and the width that are shown (n,)."""
        scale = 1.0 + self.draw((n,), *self.zoom, seed)
        if self.crop is None:
            return scale, scale
        side = ops.sqrt(self.draw((n,), *self.crop, seed))
        stretch = ops.exp(self.draw((n,), -0.5 * math.log(4 / 3), 0.5 * math.log(4 / 3), seed))
        return scale * ops.minimum(side * stretch, 1.0), scale * ops.minimum(side / stretch, 1.0)

    def _shift(self, n: int, h: int, w: int, seed: Any) -> tuple[Any, Any]:
        """Pixels (n,) to the right and down by which the middle of what is shown lies off that of the image."""
        found = []
        for side, size in ((w, self.output_size(h, w)[1]), (h, self.output_size(h, w)[0])):
            room = side + 2 * self.padding - size
            if room < 0 and self.crop is None:
                raise Error(
                    f"RandomAffine: a window of {size} pixels does not fit {side} with padding={self.padding}"
                )
            shift = self.draw((n,), *self.translation, seed) * float(-side)
            if self.crop is not None:
                shift = shift + self.draw((n,), -0.5, 0.5, seed) * (side * (1.0 - math.sqrt(self.crop[0])))
            elif room > 0:
                start = ops.floor(self.draw((n,), 0.0, float(room + 1), seed))
                shift = shift + (start - (self.padding + (side - size) / 2.0))
            found.append(shift)
        return found[0], found[1]


class RandomColors(Colored):
    """Brightness, contrast, saturation, hue and colour casts of images, and their normalisation, as one matrix each.

    brightness: shares of the value range that are added; contrast, saturation: 1 + a number times the distance from the
    middle of the range, from grey; hue: turns about the axis of greys, which keeps the mean of red, green and blue;
    channel_shift: shares of the range, drawn for each channel; numbers stand for (-number, number). pca: the deviation
    of the shift along the three axes of the colours of ImageNet, 0.1 in AlexNet. mean, variance: of each channel, in
    the units of the images; results (x - mean) / sqrt(variance). They are kept in what becomes of the value range.
    """

    def __init__(
        self, brightness: Any = 0.0, contrast: Any = 0.0, saturation: Any = 0.0, hue: Any = 0.0,
        channel_shift: Any = 0.0, pca: float = 0.0, mean: Any = None, variance: Any = None,
        value_range: Any = (0, 255), seed: int | None = None, data_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        owner = "RandomColors"
        self.brightness = factor_range(owner, "brightness", brightness, -1.0, 1.0)
        self.contrast = factor_range(owner, "contrast", contrast, -1.0, 10.0)
        self.saturation = factor_range(owner, "saturation", saturation, -1.0, 10.0)
        self.hue = factor_range(owner, "hue", hue, -0.5, 0.5)
        self.channel_shift = factor_range(owner, "channel_shift", channel_shift, -1.0, 1.0)
        self.pca = arguments.number(owner, "pca", pca)
        self.mean, self.variance = mean, variance
        self.value_range = value_range_of(owner, value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"matrix" (n, c, c + 1)}; without training, the normalisation alone."""
        n, _, _, c = batch_shape(data)
        linear = np.tile(np.eye(c, dtype=self.dtype), (n, 1, 1))
        shift = np.zeros((n, c, 1), self.dtype)
        if training:
            if c != 3 and any(any(pair) for pair in (self.saturation, self.hue, (self.pca,))):
                raise Error(f"RandomColors: saturation, hue and pca need three channels, got {c}")
            linear, shift = self._drawn(n, c, linear, shift, seed)
        scale, offset = (np.asarray(x, self.dtype).reshape(1, -1, 1) for x in self._normalisation(c))
        return {"matrix": ops.concatenate([linear * scale, (shift - offset) * scale], 2)}

    def _drawn(self, n: int, c: int, linear: Any, shift: Any, seed: Any) -> tuple[Any, Any]:
        low, high = self.value_range
        if any(self.hue):
            linear = self._turned(self.draw((n, 1, 1), *self.hue, seed) * (2.0 * math.pi))
        if any(self.saturation):
            grey = np.tile(np.array(GREY, self.dtype), (3, 1)) / np.float32(sum(GREY))
            factor = 1.0 + self.draw((n, 1, 1), *self.saturation, seed)
            linear = ops.matmul(factor * np.eye(3, dtype=self.dtype) + (1.0 - factor) * grey, linear)
        if any(self.contrast):
            factor = 1.0 + self.draw((n, 1, 1), *self.contrast, seed)
            linear, shift = factor * linear, shift + (1.0 - factor) * ((low + high) / 2.0)
        for factors, shape in ((self.brightness, (n, 1, 1)), (self.channel_shift, (n, c, 1))):
            if any(factors):
                shift = shift + self.draw(shape, *factors, seed) * (high - low)
        if self.pca:
            use = self.generator if seed is None else seed
            steps = random.normal((n, 3, 1), 0.0, self.pca, dtype=self.dtype, seed=use)
            axes = np.array(COLOR_AXES) * np.array(COLOR_DEVIATIONS) * (high - low)
            shift = shift + ops.matmul(np.tile(axes.astype(self.dtype), (n, 1, 1)), steps)
        return linear, shift

    def _turned(self, angle: Any) -> Any:
        """Matrices (n, 3, 3) that turn colours about the axis of greys (Rodrigues' formula)."""
        cos, sin = ops.cos(angle), ops.sin(angle)
        cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], self.dtype) / math.sqrt(3.0)
        mean = np.full((3, 3), 1 / 3, self.dtype)
        return cos * np.eye(3, dtype=self.dtype) + sin * cross.astype(self.dtype) + (1.0 - cos) * mean

    def _normalisation(self, channels: int) -> tuple[Any, Any]:
        """(scale, offset) of each channel, or one for all."""
        if (self.mean is None) != (self.variance is None) or np.shape(self.mean) != np.shape(self.variance):
            raise Error("RandomColors: give mean and variance of one shape, or neither")
        if self.mean is None:
            return 1.0, 0.0
        mean, variance = (
            of_channels("RandomColors", name, getattr(self, name), channels) for name in ("mean", "variance")
        )
        if (variance < 0).any():
            raise Error(f"RandomColors: variance must not be negative, got {self.variance!r}")
        return 1.0 / np.maximum(np.sqrt(variance), 1e-7), mean

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        """Pixels times the matrices that were drawn; in training or not, as normalisation is always wanted."""
        if not training and self.mean is None:
            return floating(images, self.dtype)
        scale, offset = (np.asarray(x, "float64") for x in self._normalisation(images.shape[-1]))
        low, high = ((end - offset) * scale for end in self.value_range)
        return ops.color_matrix(images, transformation["matrix"], float(np.min(low)), float(np.max(high)))


class SaltAndPepper(ImageLayer):
    """A share `rate` of the pixels black or white: the ends of the value range, each for half of them."""

    def __init__(
        self, rate: float, value_range: Any = (0, 255), seed: int | None = None, data_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.rate = arguments.number("SaltAndPepper", "rate", rate, 0.0, 1.0)
        self.value_range = value_range_of("SaltAndPepper", value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"places" (n, h, w, 1) in [0, 1)}."""
        n, h, w, _ = batch_shape(data)
        return {"places": self.draw((n, h, w, 1), 0.0, 1.0, seed)} if training else None

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        """The images with pepper where a place is below rate / 2, salt where it is from 1 - rate / 2 on."""
        images = floating(images, self.dtype)
        if not training:
            return images
        places, low, high = transformation["places"] + images * 0.0, *self.value_range
        peppered = ops.where(places < self.rate / 2.0, low, images)
        return ops.where(places >= 1.0 - self.rate / 2.0, high, peppered)
