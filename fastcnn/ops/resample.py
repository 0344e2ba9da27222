"""Gathers of images: along projective maps, one an image, and along fields of coordinates."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from fastcnn_kernels.resample import BORDERS, ResampleGeometry

from fastcnn import config
from fastcnn.errors import Error, did_you_mean
from fastcnn.graph import Op, apply, gradients, operation
from fastcnn.ops import elementwise as _  # noqa: F401  (operators of tensors)
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.matmul import matmul
from fastcnn.ops.shape import cast, floating, known, reshape, stack, take
from fastcnn.tensor import Tensor, TensorSpec

__all__ = ["affine_gather", "field_gather"]

# Keras's and SciPy's names, and those of numpy.pad that mean nothing else there.
BORDER_NAMES = {
    "constant": "constant", "nearest": "edge", "edge": "edge", "mirror": "reflect", "reflect": "symmetric",
    "symmetric": "symmetric", "wrap": "wrap",
}  # fmt: skip
Border = str | Callable[[np.ndarray, int], np.ndarray]


def border_number(what: str, fill_mode: str) -> int:
    """What kernels call a border."""
    if fill_mode not in BORDER_NAMES:
        raise Error(f"{what}: fill_mode {fill_mode!r} is unknown{did_you_mean(str(fill_mode), BORDER_NAMES)}")
    return BORDERS.index(BORDER_NAMES[fill_mode])


def _geometry(x: Any, size: Sequence[int], border: int) -> ResampleGeometry:
    n, h, w, c = x.shape
    return ResampleGeometry(n, h, w, c, size[0], size[1], border)


def _images(x: np.ndarray) -> np.ndarray:
    """(n, h w c)."""
    return x.reshape(len(x), -1)


def _rows(y: np.ndarray) -> np.ndarray:
    """(n, h, w c)."""
    return y.reshape(*y.shape[:2], -1)


def _check_images(what: str, x: Tensor, places: Tensor, rank: int) -> None:
    if x.ndim != 4 or places.ndim != rank:
        raise Error(
            f"{what}: expected images (n, h, w, c) and {rank} dimensions, got {x.shape}, {places.shape}"
        )
    if None not in (x.shape[0], places.shape[0]) and x.shape[0] != places.shape[0]:
        raise Error(
            f"{what}: {x.shape[0]} images and {places.shape[0]} transforms or fields; one each is needed"
        )
    if places.dtype not in config.FLOAT_TYPES:
        raise Error(f"{what}: places must be float32 or float64, got {places.dtype}")


def places_along(transform: Tensor, rows: Any, columns: Any) -> Tensor:
    """(n, h, w, 2): row and column that projective maps (n, 8) take rows and columns, (h, w) or (n, h, w), to."""
    a0, a1, a2, b0, b1, b2, c0, c1 = (transform[:, i : i + 1, None] for i in range(8))
    k = c0 * columns + c1 * rows + 1.0
    return stack([(b0 * columns + b1 * rows + b2) / k, (a0 * columns + a1 * rows + a2) / k], -1)


def places_of(transform: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, h, w, 2): row and column that each pixel comes from, of projective maps (n, 8)."""
    rows, columns = (np.asarray(grid, transform.dtype) for grid in np.indices(size))
    return places_along(transform, rows, columns)


@operation
class AffineGather(Op):
    """y[oy, ox] = x at ((b0 ox + b1 oy + b2) / k, (a0 ox + a1 oy + a2) / k), k = c0 ox + c1 oy + 1.

    x (n, h, w, c) of any numbers, transform (n, 8) -> (n, *size, c), size None: that of x.
    """

    size: tuple[int, int] | None
    interpolation: str
    border: int
    fill: float
    images = (0, 1)

    def infer(self, x: Tensor, transform: Tensor) -> TensorSpec:
        _check_images("affine_gather", x, transform, 2)
        n, h, w, c = x.shape
        return TensorSpec((n, *(self.size or (h, w)), c), transform.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor | None, ...]:
        x, transform = inputs
        size = known(outputs[0].shape[1:3])
        field = places_of(transform, (size[0], size[1]))
        gather = FieldGather(self.interpolation, self.border, self.fill)
        dx, dfield = gather.gradient((x, field), outputs, grads)
        dtransform = None if dfield is None else gradients([field], [transform], [dfield])[0]
        return dx, dtransform

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, transform), (y,) = inputs, outputs
        kernel = k.affine_nearest_forward if self.interpolation == "nearest" else k.affine_bilinear_forward
        return [
            kernel.bind(_images(x), transform, _rows(y), self.fill, _geometry(x, y.shape[1:3], self.border))
        ]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return (1 if self.interpolation == "nearest" else 8) * outputs[0].size


@operation
class FieldGather(Op):
    """y[oy, ox] = x at (row, column) = field[oy, ox].  x (n, h, w, c), field (n, oh, ow, 2) -> (n, oh, ow, c)."""

    interpolation: str
    border: int
    fill: float
    images = (0, 1)

    def infer(self, x: Tensor, field: Tensor) -> TensorSpec:
        _check_images("field_gather", x, field, 4)
        return TensorSpec((*field.shape[:3], x.shape[3]), field.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor | None, ...]:
        (x, field), dy = inputs, grads[0]
        size = known(x.shape[1:3])
        back = FieldGatherGrad((size[0], size[1]), self.interpolation, self.border)
        dx = apply(back, dy, field) if x.dtype in config.FLOAT_TYPES else None
        if self.interpolation == "nearest":
            return dx, None
        return dx, apply(FieldGatherFieldGrad(self.border, self.fill), dy, x, field)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, field), (y,) = inputs, outputs
        kernel = k.field_nearest_forward if self.interpolation == "nearest" else k.field_bilinear_forward
        return [kernel.bind(_images(x), field, _rows(y), self.fill, _geometry(x, y.shape[1:3], self.border))]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return (1 if self.interpolation == "nearest" else 8) * outputs[0].size


@operation
class FieldGatherGrad(Op):
    """Every place's gradient back to the pixels that it was made of."""

    size: tuple[int, int]
    interpolation: str
    border: int
    images = (0, 1)

    def infer(self, dy: Tensor, field: Tensor) -> TensorSpec:
        return TensorSpec((dy.shape[0], *self.size, dy.shape[3]), dy.dtype)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (dy, field), (dx,) = inputs, outputs
        kernel = k.field_nearest_backward if self.interpolation == "nearest" else k.field_bilinear_backward
        return [kernel.bind(dy, field, dx, _geometry(dx, dy.shape[1:3], self.border))]


@operation
class FieldGatherFieldGrad(Op):
    """Every place's gradient times the slopes of the image there."""

    border: int
    fill: float
    images = (0, 1, 2)

    def infer(self, dy: Tensor, x: Tensor, field: Tensor) -> TensorSpec:
        return field.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (dy, x, field), (dfield,) = inputs, outputs
        g = _geometry(x, dy.shape[1:3], self.border)
        return [k.field_bilinear_field_backward.bind(dy, _images(x), field, dfield, self.fill, g)]


def check_interpolation(what: str, interpolation: str) -> None:
    """Raise unless it is one of the two that gathers know."""
    if interpolation not in ("nearest", "bilinear"):
        raise Error(f"{what}: interpolation must be 'nearest' or 'bilinear', got {interpolation!r}")


def _wide(x: Tensor, border: Callable[[np.ndarray, int], np.ndarray]) -> Tensor:
    """x with a border as large as itself on every side, whose rows and columns a user's function names."""
    for axis in (1, 2):
        (n,) = known(x.shape[axis : axis + 1])
        try:
            chosen = np.asarray(border(np.arange(-n, 2 * n), n))
        except TypeError as error:
            raise Error(f"fill_mode: the function (places, size) -> indices failed: {error}") from error
        if chosen.shape != (3 * n,) or chosen.dtype.kind not in "iu" or chosen.min() < 0 or chosen.max() >= n:
            raise Error(
                f"fill_mode: the function must give, for {3 * n} places, as many indices from 0 to {n - 1}"
            )
        x = take(x, chosen, axis)
    return x


@op_function
def affine_gather(
    images: Any, transform: Any, size: Sequence[int] | None = None, interpolation: str = "bilinear",
    fill_mode: Border = "constant", fill_value: float = 0.0,
) -> Any:  # fmt: skip
    """Images whose pixel (x, y) comes from ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k), k = c0 x + c1 y + 1.

    images (n, h, w, c) of any numbers, transform (n, 8): a0 a1 a2 b0 b1 b2 c0 c1; size: of the results, by default that
    of the images. fill_mode: "constant", "nearest" (or "edge"), "reflect" (or "symmetric"), "mirror" (the edge itself
    once only), "wrap"; or a function (places, size) -> indices, asked once for the places from -size to 2 size - 1.
    """
    check_interpolation("affine_gather", interpolation)
    x, t = convert(images), floating(transform)
    sides = None if size is None else (int(size[0]), int(size[1]))
    if callable(fill_mode):
        h, w = known(x.shape[1:3])
        mixed, shift = np.eye(8), np.zeros(8)  # the place + (w, h), of maps with k = c0 x + c1 y + 1
        mixed[6, 0], mixed[7, 1], shift[2] = w, w, w
        mixed[6, 3], mixed[7, 4], shift[5] = h, h, h
        t = matmul(t, mixed.astype(t.dtype)) + shift.astype(t.dtype)
        x, sides, fill_mode = _wide(x, fill_mode), sides or (h, w), "nearest"
    border = border_number("affine_gather", fill_mode)
    return apply(AffineGather(sides, interpolation, border, float(fill_value)), x, t)


@op_function
def field_gather(
    images: Any, field: Any, interpolation: str = "bilinear", fill_mode: Border = "constant",
    fill_value: float = 0.0,
) -> Any:  # fmt: skip
    """Images (n, h, w, c) at places (row, column) of a field (n, oh, ow, 2): (n, oh, ow, c). As `affine_gather`."""
    check_interpolation("field_gather", interpolation)
    x, places = convert(images), floating(field)
    if callable(fill_mode):
        places = places + np.array(known(x.shape[1:3]), places.dtype)
        x, fill_mode = _wide(x, fill_mode), "nearest"
    border = border_number("field_gather", fill_mode)
    return apply(FieldGather(interpolation, border, float(fill_value)), x, places)


def batch_of_transforms(transform: Tensor, n: int | None, dtype: str) -> Tensor:
    """(n, 8) of transforms (8,), (1, 8) or (n, 8)."""
    numbers = reshape(cast(transform, dtype), (-1, 8))
    return numbers if numbers.shape[0] == n or n is None else numbers * np.ones((n, 1), dtype)
