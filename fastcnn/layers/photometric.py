"""Layers that change colours: how light, how strong, which hue; noise, blur, bits and histograms. Boxes and masks stay.

value_range is that of the numbers in images, (0, 255) unless it is told. Results are kept inside of it.
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
    by_image,
    check_colors,
    factor_range,
    floating,
    of_channels,
    value_range_of,
)

GREY = (0.2989, 0.587, 0.114)  # shares of red, green and blue


class Colored(ImageLayer):
    """Images changed by `_change(images, transformation)`, in training."""

    value_range = (0.0, 255.0)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        """The images after what was drawn."""
        images = floating(images, self.dtype)
        return self._change(images, transformation) if training else images

    def _change(self, images: Any, transformation: Any) -> Any:
        raise Error(f"{type(self).__name__} does not say what it changes")

    def _kept(self, images: Any) -> Any:
        return ops.clip(images, *self.value_range)

    def _mixed(self, images: Any, own: Any, shift: Any, grey: Any = None, bounded: bool = True) -> Any:
        """own x + shift + grey (the grey of x) in one pass, kept in the value range.

        own, grey: a number an image; shift: one an image, or one a channel (n, c, 1).
        """
        n, _, _, c = batch_shape(images)
        one = np.ones((n, 1, 1), self.dtype)
        matrix = _of_image(own, one) * np.eye(c, dtype=self.dtype)
        if grey is not None and c == 1:  # its own grey
            matrix = matrix + _of_image(grey, one)
        elif grey is not None:
            if c != 3:
                raise Error(f"{type(self).__name__} needs images of one or three channels, got {c}")
            matrix = matrix + _of_image(grey, one) * np.tile(np.array(GREY, self.dtype), (3, 1))
        column = _of_image(shift, one) + np.zeros((n, c, 1), self.dtype)
        limits = self.value_range if bounded else (-math.inf, math.inf)
        return ops.color_matrix(images, ops.concatenate([matrix, column], 2), *limits)

    def _to_bytes(self, images: Any) -> Any:
        """Numbers on the scale from 0 to 255."""
        low, high = self.value_range
        return images if (low, high) == (0, 255) else (images - low) * (255.0 / (high - low))

    def _from_bytes(self, images: Any) -> Any:
        low, high = self.value_range
        return images if (low, high) == (0, 255) else images * ((high - low) / 255.0) + low


def _of_image(value: Any, one: np.ndarray) -> Any:
    """A number, or (n,), (n, 1, 1, 1) or (n, c, 1) numbers, in three dimensions."""
    if not hasattr(value, "shape"):
        return one * float(value)
    return value if len(value.shape) == 3 else ops.reshape(value, (-1, 1, 1))


class RandomBrightness(Colored):
    """x + delta, delta from factor[0] to factor[1] times the value range; a number stands for (-number, number)."""

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any):
        super().__init__(seed=seed, **kwargs)
        self.factor = factor_range("RandomBrightness", "factor", factor, -1.0, 1.0)
        self.value_range = value_range_of("RandomBrightness", value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"rgb_delta" (n, 1, 1, 1)}."""
        shape = (batch_shape(data)[0], 1, 1, 1)
        if not training:
            return {"rgb_delta": np.zeros(shape, self.dtype)}
        width = self.value_range[1] - self.value_range[0]
        return {"rgb_delta": self.draw(shape, self.factor[0] * width, self.factor[1] * width, seed)}

    def _change(self, images: Any, transformation: Any) -> Any:
        return self._mixed(images, 1.0, transformation["rgb_delta"])


class RandomContrast(Colored):
    """mean + f (x - mean) with the mean of each channel, f from 1 - factor[0] to 1 + factor[1].

    factor in [0, 1]; a number stands for (0, number), so that contrast grows: give two for both directions.
    """

    def __init__(self, factor: Any, value_range: Any = (0, 255), seed: int | None = None, **kwargs: Any):
        super().__init__(seed=seed, **kwargs)
        self.factor = factor_range("RandomContrast", "factor", factor, 0.0, 1.0)
        self.value_range = value_range_of("RandomContrast", value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"contrast_factor" (n, 1, 1, 1)}."""
        shape = (batch_shape(data)[0], 1, 1, 1)
        if not training:
            return {"contrast_factor": np.zeros(shape, self.dtype)}
        return {"contrast_factor": self.draw(shape, 1.0 - self.factor[0], 1.0 + self.factor[1], seed)}

    def _change(self, images: Any, transformation: Any) -> Any:
        factor = ops.reshape(transformation["contrast_factor"], (-1, 1, 1))
        mean = ops.expand_dims(ops.mean(images, (1, 2)), 2)
        return self._mixed(images, factor, (1.0 - factor) * mean)


class RandomSaturation(Colored):
    """Saturation times f / (1 - f), f from factor[0] to factor[1]: 0.5 keeps it, 0 is grey, towards 1 it grows.

    factor in [-1, 1], of two numbers usually in [0, 1]; a number stands for (-number, number).
    """

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), data_format: str | None = None, seed: int | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("RandomSaturation", "factor", factor, -1.0, 1.0)
        self.value_range = value_range_of("RandomSaturation", value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"factor" (n,): of the saturation}."""
        factor = self.draw((batch_shape(data)[0],), *self.factor, seed)
        return {"factor": factor / (1.0 - factor + 1e-7)}

    def _change(self, images: Any, transformation: Any) -> Any:
        check_colors(self, images)
        scale = ops.reshape(transformation["factor"], (-1,))
        return ops.hue_saturation(images, scale * 0.0, scale, self.value_range[1])


class RandomHue(Colored):
    """Hue moved by half of a share of the circle from factor[0] to factor[1], in either direction.

    factor in [0, 1]; a number stands for (0, number).
    """

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), data_format: str | None = None, seed: int | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("RandomHue", "factor", factor, 0.0, 1.0)
        self.value_range = value_range_of("RandomHue", value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"factor" (n,): turns}."""
        n = batch_shape(data)[0]
        sign = 1.0 - 2.0 * ops.cast(self.draw((n,), 0.0, 1.0, seed) > 0.5, self.dtype)
        return {"factor": sign * self.draw((n,), *self.factor, seed) * 0.5}

    def _change(self, images: Any, transformation: Any) -> Any:
        check_colors(self, images)
        low, high = self.value_range
        shift = ops.reshape(transformation["factor"], (-1,))
        turned = ops.hue_saturation(images - low if low else images, shift, shift * 0.0 + 1.0)
        return self._kept(turned + low if low else turned)


class RandomColorDegeneration(Colored):
    """x + f (grey - x), f from factor[0] to factor[1]: 1 is grey; a number stands for (-number, number)."""

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), data_format: str | None = None, seed: int | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("RandomColorDegeneration", "factor", factor, -1.0, 1.0)
        self.value_range = value_range_of("RandomColorDegeneration", value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"factor" (n, 1, 1, 1)}."""
        return {"factor": self.draw((batch_shape(data)[0], 1, 1, 1), *self.factor, seed)}

    def _change(self, images: Any, transformation: Any) -> Any:
        return self._mixed(images, 1.0 - transformation["factor"], 0.0, transformation["factor"])


class RandomSharpness(Colored):
    """blurred + 2 f (x - blurred), f from factor[0] to factor[1]: 0 blurs, 0.5 keeps, 1 sharpens.

    factor in [0, 1]; a number stands for (0, number). Blurred: (8 neighbours + 5 x) / 13, with zeros beyond the edge.
    """

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), data_format: str | None = None, seed: int | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("RandomSharpness", "factor", factor, 0.0, 1.0)
        self.value_range = value_range_of("RandomSharpness", value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"factor" (n,)}."""
        return {"factor": self.draw((batch_shape(data)[0],), *self.factor, seed)}

    def _change(self, images: Any, transformation: Any) -> Any:
        weights = np.ones((3, 3, batch_shape(images)[3], 1), self.dtype) / 13.0
        weights[1, 1] *= 5.0
        smooth = ops.depthwise_conv(images, weights, padding="same")
        blunt = 1.0 - 2.0 * by_image(transformation["factor"])
        return self._kept(images + blunt * (smooth - images))


class RandomColorJitter(Colored):
    """Brightness, contrast, saturation and hue, each at random, in this order; None leaves one as it is."""

    def __init__(
        self, value_range: Any = (0, 255), brightness_factor: Any = None, contrast_factor: Any = None,
        saturation_factor: Any = None, hue_factor: Any = None, seed: int | None = None,
        data_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.value_range = value_range_of("RandomColorJitter", value_range)
        self.brightness_factor = brightness_factor
        self.contrast_factor = contrast_factor
        self.saturation_factor = saturation_factor
        self.hue_factor = hue_factor
        kinds = {
            "brightness": (RandomBrightness, brightness_factor), "contrast": (RandomContrast, contrast_factor),
            "saturation": (RandomSaturation, saturation_factor), "hue": (RandomHue, hue_factor),
        }  # fmt: skip
        self.steps = {
            name: kind(factor, value_range=self.value_range, seed=seed, dtype=self.dtype)
            for name, (kind, factor) in kinds.items()
            if factor is not None
        }

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """What each step draws, by its name."""
        use = self.generator if seed is None else seed
        return {
            name: step.get_random_transformation(data, training, use) for name, step in self.steps.items()
        }

    def _change(self, images: Any, transformation: Any) -> Any:
        for name, step in self.steps.items():
            images = step.transform_images(images, transformation[name])
        return images


class RandomGrayscale(Colored):
    """Images without colour, each with the probability `factor`; still of three channels."""

    def __init__(
        self, factor: float = 0.5, data_format: str | None = None, seed: int | None = None, **kwargs: Any
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = arguments.number("RandomGrayscale", "factor", factor, 0.0, 1.0)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """(n, 1, 1, 1) of 1 and 0."""
        drawn = self.draw((batch_shape(data)[0], 1, 1, 1), 0.0, 1.0, seed)
        return ops.cast(drawn < self.factor, self.dtype)

    def _change(self, images: Any, transformation: Any) -> Any:
        return self._mixed(images, 1.0 - transformation, 0.0, transformation, bounded=False)


class RandomInvert(Colored):
    """value_range[1] - x, with a probability drawn from `factor`; a number stands for (0, number)."""

    def __init__(
        self, factor: Any = 1.0, value_range: Any = (0, 255), seed: int | None = None, data_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("RandomInvert", "factor", factor, 0.0, 1.0)
        self.value_range = value_range_of("RandomInvert", value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"apply_inversion" (n,)}."""
        return (
            {"apply_inversion": self.happens(batch_shape(data)[0], self.factor, seed)} if training else None
        )

    def _change(self, images: Any, transformation: Any) -> Any:
        applied = ops.cast(transformation["apply_inversion"], self.dtype)
        return self._mixed(images, 1.0 - 2.0 * applied, applied * self.value_range[1], bounded=False)


class RandomPosterization(Colored):
    """Bytes with their lower bits set to 0: as many bits are kept as a whole number from factor[0] to factor[1] - 1.

    factor: from 1 to 8; a number stands for (1, number), two equal ones for that number of bits.
    """

    def __init__(
        self, factor: Any, value_range: Any = (0, 255), data_format: str | None = None, seed: int | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        low, high = factor_range("RandomPosterization", "factor", factor, 1, 8)
        self.factor = int(low), int(high)
        self.value_range = value_range_of("RandomPosterization", value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"shift_factor" (n,): how many bits are lost}."""
        low, high = self.factor
        drawn = self.draw((batch_shape(data)[0],), float(low), float(max(high, low + 1)), seed)
        return {"shift_factor": 8.0 - ops.floor(drawn)}

    def _change(self, images: Any, transformation: Any) -> Any:
        lost = by_image(ops.cast(transformation["shift_factor"], self.dtype))
        step = ops.round(ops.exp(lost * float(np.log(2.0))))
        return self._from_bytes(ops.floor(ops.floor(self._to_bytes(images)) / step) * step)


class RandomErasing(ImageLayer):
    """A rectangle of every image filled: with fill_value, one number or one a channel, or with noise where it is None.

    factor: how probable it is; a number stands for (0, number). scale: the square of the share of a side that the
    rectangle covers, drawn for height and width apart (Zhong et al. 2017; with a fixed size, cutout).
    """

    def __init__(
        self, factor: Any = 1.0, scale: Any = (0.02, 0.33), fill_value: Any = None, value_range: Any = (0, 255),
        seed: int | None = None, data_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("RandomErasing", "factor", factor, 0.0, 1.0)
        self.scale = factor_range("RandomErasing", "scale", scale, 0.0, 1.0)
        self.fill_value = fill_value
        self.value_range = value_range_of("RandomErasing", value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"apply_erasing" (n,), "batch_masks" (n, h, w, 1), "fill_value"}."""
        if not training:
            return None
        n, h, w, c = batch_shape(data)
        sides = ops.sqrt(self.draw((n, 2), *self.scale, seed))
        masks = rectangles(self, n, h, w, sides[:, 1], sides[:, 0], seed)[0]
        applied = self.happens(n, self.factor, seed)
        return {
            "apply_erasing": applied,
            "batch_masks": masks,
            "fill_value": self._filling((n, h, w, c), seed),
        }

    def _filling(self, shape: tuple[int, ...], seed: Any) -> Any:
        if self.fill_value is None:
            use = self.generator if seed is None else seed
            noise = random.normal(shape, 0.0, self.value_range[1], dtype=self.dtype, seed=use)
            return ops.clip(noise, *self.value_range)
        filling = of_channels("RandomErasing", "fill_value", self.fill_value, shape[3]).astype(self.dtype)
        return np.clip(filling, *self.value_range).reshape(1, 1, 1, -1)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        """The images with their rectangles filled."""
        images = floating(images, self.dtype)
        if not training or transformation is None:
            return images
        masks = ops.cast(transformation["batch_masks"], self.dtype)
        masks = masks * by_image(ops.cast(transformation["apply_erasing"], self.dtype))
        return chosen_by(masks, transformation["fill_value"], images)


def chosen_by(masks: Any, inside: Any, images: Any) -> Any:
    """What is `inside`, images or numbers of channels, where masks (n, h, w, 1) are 1, else images (n, h, w, c)."""
    wide = ops.repeat(ops.cast(masks, images.dtype), batch_shape(images)[3], 3)
    like = inside if tuple(inside.shape) == tuple(images.shape) else inside + images * 0.0
    return ops.where(wide, like, images)


def rectangles(
    layer: ImageLayer, n: int, h: int, w: int, rows: Any, columns: Any, seed: Any = None
) -> tuple[Any, Any]:
    """Masks (n, h, w, 1) of rectangles at random places, and their shares (n,) of the area.

    rows, columns (n,): shares of height and width that they cover.
    """
    inside, share = [], 1.0
    for size, part, shape in ((h, rows, (1, -1, 1, 1)), (w, columns, (1, 1, -1, 1))):
        length = part * float(size)
        start = layer.draw((n,), 0.0, 1.0, seed) * (float(size) - length)
        grid = np.arange(size, dtype=layer.dtype).reshape(shape)
        first, last = by_image(start), by_image(start + length)
        inside.append(ops.cast(grid >= first, layer.dtype) * ops.cast(grid < last, layer.dtype))
        share = share * length / float(size)
    return inside[0] * inside[1], share


class RandomGaussianBlur(Colored):
    """Blurred images, with a probability drawn from `factor`; the deviations of a batch are drawn from `sigma`.

    kernel_size: odd, one number or (height, width) of what is averaged; sigma: in [0, 1] pixels; numbers stand for
    (0, number). Zeros lie beyond the edge.
    """

    def __init__(
        self, factor: Any = 1.0, kernel_size: Any = 3, sigma: Any = 1.0, value_range: Any = (0, 255),
        data_format: str | None = None, seed: int | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("RandomGaussianBlur", "factor", factor, 0.0, 1.0)
        self.kernel_size = arguments.integers("RandomGaussianBlur", "kernel_size", kernel_size, 2)
        if any(size % 2 == 0 for size in self.kernel_size):
            raise Error(f"RandomGaussianBlur: kernel_size must be odd, got {kernel_size}")
        self.sigma = factor_range("RandomGaussianBlur", "sigma", sigma, 0.0, 1.0)
        self.value_range = value_range_of("RandomGaussianBlur", value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"should_apply_blur" (n,), "blur_factor" (2,): deviations along the width and the height}."""
        if not training:
            return None
        applied = self.happens(batch_shape(data)[0], self.factor, seed)
        return {"should_apply_blur": applied, "blur_factor": self.draw((2,), *self.sigma, seed) + 1e-6}

    def _change(self, images: Any, transformation: Any) -> Any:
        if transformation is None:
            return images
        blurred, c = images, batch_shape(images)[3]
        sigma = ops.cast(transformation["blur_factor"], self.dtype)
        for axis, size in enumerate(self.kernel_size):
            places = np.arange(size, dtype=self.dtype) - (size - 1) / 2.0
            deviation = sigma[1 - axis : 2 - axis]
            bell = ops.exp(-0.5 * (places / deviation) ** 2)
            shape = (size, 1, 1, 1) if axis == 0 else (1, size, 1, 1)
            weights = ops.reshape(bell / ops.sum(bell), shape) * np.ones((1, 1, c, 1), self.dtype)
            blurred = ops.depthwise_conv(blurred, weights, padding="same")
        applied = by_image(ops.cast(transformation["should_apply_blur"], self.dtype))
        return self._kept(images + applied * (blurred - images))


class Solarization(Colored):
    """x + a, and from a threshold on 255 - (x + a), in bytes; a up to 255 addition_factor, thresholds likewise.

    factors in [0, 1]; a number stands for (0, number).
    """

    def __init__(
        self, addition_factor: Any = 0.0, threshold_factor: Any = 0.0, value_range: Any = (0, 255),
        seed: int | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(seed=seed, **kwargs)
        self.addition_factor = factor_range("Solarization", "addition_factor", addition_factor, 0.0, 1.0)
        self.threshold_factor = factor_range("Solarization", "threshold_factor", threshold_factor, 0.0, 1.0)
        self.value_range = value_range_of("Solarization", value_range)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"additions", "thresholds" (n, 1, 1, 1)}, in bytes."""
        if not training:
            return None
        shape = (batch_shape(data)[0], 1, 1, 1)
        additions, thresholds = (
            self.draw(shape, factor[0], factor[1] * 255.0, seed)
            for factor in (self.addition_factor, self.threshold_factor)
        )
        return {"additions": additions, "thresholds": thresholds}

    def _change(self, images: Any, transformation: Any) -> Any:
        if transformation is None:
            return images
        moved = ops.clip(self._to_bytes(images) + transformation["additions"], 0.0, 255.0)
        below = ops.cast(moved < transformation["thresholds"], self.dtype)
        return self._from_bytes(255.0 - moved + below * (2.0 * moved - 255.0))


class AutoContrast(Colored):
    """Each channel of each image stretched so that it reaches from one end of the value range to the other."""

    def __init__(self, value_range: Any = (0, 255), **kwargs: Any):
        super().__init__(**kwargs)
        self.value_range = value_range_of("AutoContrast", value_range)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        """The stretched images, in training or not: nothing is drawn."""
        return self._change(floating(images, self.dtype), transformation)

    def _change(self, images: Any, transformation: Any) -> Any:
        low, high = (choose(images, (1, 2), keepdims=True) for choose in (ops.min, ops.max))
        flat = ops.cast(high <= low, self.dtype)
        least, most = self.value_range
        scale = (1.0 - flat) * (most - least) / (high - low + flat)
        return flat * images + (1.0 - flat) * (least + (images - low) * scale)


class Equalization(Colored):
    """Each channel of each image with about as many dark as light numbers: each by its rank. No gradient.

    Keras ranks the numbers of a whole batch together.
    """

    def __init__(
        self, value_range: Any = (0, 255), bins: int = 256, data_format: str | None = None, **kwargs: Any
    ):
        super().__init__(data_format=data_format, **kwargs)
        self.value_range = value_range_of("Equalization", value_range)
        self.bins = arguments.integer("Equalization", "bins", bins, minimum=2)

    def _change(self, images: Any, transformation: Any) -> Any:
        return ops.equalize(images, *self.value_range, self.bins)


class ContrastLimitedAdaptiveHistogramEqualization(Colored):
    """CLAHE: each channel of each image equalized tile by tile, contrast growing to clip_limit times the old at most.

    tile_grid_size: how many (rows, columns); what is between their middles is mixed. clip_limit 0: no limit. In
    training or not: nothing is drawn. No gradient. Zuiderveld 1994, Contrast limited adaptive histogram equalization.
    """

    def __init__(
        self, value_range: Any = (0, 255), clip_limit: float = 4.0, tile_grid_size: Any = (8, 8),
        data_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(data_format=data_format, **kwargs)
        owner = type(self).__name__
        self.value_range = value_range_of(owner, value_range)
        self.clip_limit = arguments.number(owner, "clip_limit", clip_limit)
        self.tile_grid_size = arguments.integers(owner, "tile_grid_size", tile_grid_size, 2)

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        """The equalized images."""
        images = floating(images, self.dtype)
        return ops.clahe(images, self.clip_limit, self.tile_grid_size, *self.value_range)
