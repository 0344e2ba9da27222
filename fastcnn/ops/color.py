"""Colours of images (n, h, w, c): mixed by a matrix an image, moved around the circle of hues, equalized."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastcnn_kernels.color import PixelGeometry, TileGeometry

from fastcnn import config
from fastcnn.errors import Error
from fastcnn.graph import Op, apply, gradients, operation
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.elementwise import Clip, ClipGrad, clip, floor
from fastcnn.ops.filters import hsv_to_rgb, rgb_to_hsv
from fastcnn.ops.matmul import matmul
from fastcnn.ops.shape import cast, concatenate, floating, known, reshape, stack, swapaxes
from fastcnn.tensor import Tensor, TensorSpec

__all__ = ["clahe", "color_matrix", "equalize", "hue_saturation"]


def _geometry(x: Any, channels: int) -> PixelGeometry:
    n, h, w, c = x.shape
    return PixelGeometry(n, h * w, c, channels)


def _pixels(x: Any) -> Any:
    """(n, h w, c)."""
    return x.reshape(x.shape[0], -1, x.shape[3])


@operation
class ColorMatrix(Op):
    """y_j = sum_i matrix[j, i] x_i + matrix[j, c], kept in [low, high].  x (n, h, w, c), matrix (n, d, c + 1)."""

    low: float
    high: float
    images = (0, 1)

    def infer(self, x: Tensor, matrix: Tensor) -> TensorSpec:
        if x.ndim != 4 or matrix.ndim != 3 or matrix.shape[2] != (x.shape[3] or 0) + 1:
            raise Error(
                f"color_matrix: images (n, h, w, c) need matrices (n, d, c + 1), got {x.shape} and {matrix.shape}"
            )
        return TensorSpec((*x.shape[:3], matrix.shape[1]), matrix.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor | None, ...]:
        (x, matrix), dy = inputs, grads[0]
        free = ColorMatrix(-math.inf, math.inf)
        if math.isfinite(self.low) or math.isfinite(self.high):
            dy = apply(ClipGrad(Clip(self.low, self.high)), dy, apply(free, x, matrix))
        n, h, w, c = known(x.shape)
        (d,) = known(matrix.shape[1:2])
        back = concatenate([swapaxes(matrix[:, :, :c], 1, 2), np.zeros((n, c, 1), matrix.dtype)], -1)
        pixels = concatenate(
            [reshape(cast(x, dy.dtype), (n, h * w, c)), np.ones((n, h * w, 1), dy.dtype)], -1
        )
        dmatrix = matmul(swapaxes(reshape(dy, (n, h * w, d)), 1, 2), pixels)
        return apply(free, dy, back) if x.dtype in config.FLOAT_TYPES else None, dmatrix

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, matrix), (y,) = inputs, outputs
        g = _geometry(x, y.shape[3])
        return [k.color_matrix.bind(_pixels(x), matrix, _pixels(y), self.low, self.high, g)]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 2 * outputs[0].size * (inputs[0].shape[3] or 0)


@op_function
def color_matrix(images: Any, matrix: Any, low: float = -math.inf, high: float = math.inf) -> Any:
    """Every pixel's channels, and a 1, times the matrix of its image, kept in [low, high].

    images (n, h, w, c) of any numbers, matrix (n, d, c + 1) -> (n, h, w, d).
    """
    return apply(ColorMatrix(float(low), float(high)), convert(images), floating(matrix))


@operation
class HueSaturation(Op):
    """Hue + shift turns, min(saturation scale, most), the value as it was.  x (n, h, w, 3), shift and scale (n,)."""

    most: float
    images = (0, 1, 2)

    def infer(self, x: Tensor, shift: Tensor, scale: Tensor) -> TensorSpec:
        if x.ndim != 4 or x.shape[3] != 3 or shift.ndim != 1 or scale.ndim != 1:
            raise Error(f"hue_saturation: expected images (n, h, w, 3) and two numbers each, got {x.shape}")
        return TensorSpec(x.shape, shift.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> Sequence[Tensor | None]:
        x, shift, scale = inputs
        image = cast(x, shift.dtype)
        dx, *rest = gradients([self._by_ops(image, shift, scale)], [image, shift, scale], grads)
        return (dx if image is x else None, *rest)

    def _by_ops(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        hsv = rgb_to_hsv(x)
        hue = hsv[..., 0] + shift[:, None, None]
        saturation = clip(hsv[..., 1] * scale[:, None, None], 0.0, self.most)
        return hsv_to_rgb(stack([hue - floor(hue), saturation, hsv[..., 2]], -1))

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, shift, scale), (y,) = inputs, outputs
        return [k.hue_saturation.bind(_pixels(x), shift, scale, _pixels(y), self.most, _geometry(x, 3))]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 16 * outputs[0].size


@op_function
def hue_saturation(images: Any, shift: Any, scale: Any, most: float = 1.0) -> Any:
    """Colours (n, h, w, 3) with hue + shift (in turns, 1 is once around) and min(saturation scale, most).

    shift, scale (n,). Hue, saturation and value are those of `rgb_to_hsv`.
    """
    return apply(HueSaturation(float(most)), convert(images), floating(shift), floating(scale))


class Ranking(Op):
    """Numbers of images replaced by their ranks in histograms: no gradient goes through it."""

    images = (0,)

    def infer(self, x: Tensor) -> TensorSpec:
        if x.ndim != 4:
            raise Error(f"{self.name.lower()}: expected images (n, h, w, c), got {x.shape}")
        return TensorSpec(x.shape, x.dtype if x.dtype in config.FLOAT_TYPES else config.floatx())

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[None]:
        return (None,)


@operation
class Equalize(Ranking):
    """Each channel of each image by the ranks of its numbers; no gradient."""

    low: float
    high: float
    bins: int

    def scratch(
        self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> list[TensorSpec]:
        n, _, _, c = known(inputs[0].shape)
        return [TensorSpec((n * c, self.bins), "int64")]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x,), (y,) = inputs, outputs
        g = _geometry(x, x.shape[3])
        return [k.equalize.bind(_pixels(x), _pixels(y), scratch[0], self.low, self.high, self.bins, g)]


@op_function
def equalize(images: Any, low: float = 0.0, high: float = 255.0, bins: int = 256) -> Any:
    """Images whose numbers from low to high are, in each channel, about equally frequent: each becomes
    high times the share of smaller ones, in steps of (high - low) / 255. No gradient goes through it.
    """
    if not high > low or int(bins) < 2:
        raise Error(f"equalize: needs low < high and two bins or more, got {low}, {high} and {bins}")
    return apply(Equalize(float(low), float(high), int(bins)), convert(images))


@operation
class Clahe(Ranking):
    """Each channel of each image by the clipped ranks of its numbers in tiles; no gradient."""

    tiles: tuple[int, int]
    clip_limit: float
    low: float
    high: float
    bins: int

    def scratch(
        self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> list[TensorSpec]:
        n, _, _, c = known(inputs[0].shape)
        return [TensorSpec((n * c * self.tiles[0] * self.tiles[1], self.bins), "float64")]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x,), (y,), (tables,) = inputs, outputs, scratch
        (n, h, w, c), (rows, columns) = x.shape, self.tiles
        g = TileGeometry(n, h, w, c, rows, columns, -(-h // rows), -(-w // columns), self.bins)
        find = k.clahe_tables.bind(x, tables, self.low, self.high, self.clip_limit, g)
        return [find, k.clahe.bind(x, tables, y, self.low, self.high, g)]


@op_function
def clahe(
    images: Any, clip_limit: float = 4.0, tiles: Sequence[int] = (8, 8), low: float = 0.0, high: float = 255.0,
    bins: int = 256,
) -> Any:  # fmt: skip
    """Images equalized tile by tile, with contrast that grows to clip_limit times what it was at most (where
    the limit is below the number of bins; 0: no limit), and without edges between the tiles. No gradient goes through.

    Contrast-limited adaptive histogram equalization, Zuiderveld 1994, Graphics Gems IV, in the form of Keras: what is
    cut off is spread over all bins alike, the least number of a tile becomes 0, and nothing is rounded.
    """
    if not high > low or int(bins) < 2:
        raise Error(f"clahe: needs low < high and two bins or more, got {low}, {high} and {bins}")
    if not clip_limit >= 0 or len(tiles) != 2 or min(tiles) < 1:
        raise Error(
            f"clahe: needs a clip_limit of 0 or more and tiles (rows, columns), got {clip_limit} and {tiles}"
        )
    rows, columns = (int(count) for count in tiles)
    op = Clahe((rows, columns), float(clip_limit), float(low), float(high), int(bins))
    return apply(op, convert(images))
