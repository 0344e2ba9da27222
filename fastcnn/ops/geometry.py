"""Images whose pixels come from other places: looked up at coordinates, moved by affine maps and perspectives."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.errors import Error, did_you_mean
from fastcnn.ops.arithmetic import mod
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.elementwise import absolute, clip, floor, less_equal, multiply, round, where, zeros_like
from fastcnn.ops.resample import affine_gather, batch_of_transforms
from fastcnn.ops.shape import cast, expand_dims, floating, known, ravel, squeeze, take
from fastcnn.ops.windows import check_format
from fastcnn.tensor import Tensor

__all__ = ["affine_transform", "map_coordinates", "perspective_transform"]


def _nearest(i: Tensor, n: int) -> Tensor:
    return clip(i, 0.0, n - 1.0)


def _wrapped(i: Tensor, n: int) -> Tensor:
    return mod(i, zeros_like(i) + float(n))


def _mirrored(i: Tensor, n: int) -> Tensor:
    """0 1 2 1 0 1 2 ..."""
    period = max(n - 1, 1)
    return absolute(mod(i + float(period), zeros_like(i) + 2.0 * period) - float(period))


def _reflected(i: Tensor, n: int) -> Tensor:
    """0 1 2 2 1 0 0 1 2 ..."""
    return floor(_mirrored(2.0 * i + 1.0, 2 * n + 1) * 0.5)


INSIDE: dict[str, Callable[[Tensor, int], Tensor]] = {
    "constant": _nearest,
    "nearest": _nearest,
    "wrap": _wrapped,
    "mirror": _mirrored,
    "reflect": _reflected,
}


@op_function
def map_coordinates(
    inputs: Any, coordinates: Any, order: int, fill_mode: str = "constant", fill_value: float = 0
) -> Any:
    """The numbers at coordinates (rank, ...), whose first row counts along the first axis: (...).

    order 0: of the nearest element; 1: between neighbours, linearly. Beyond the edge lies fill_value ("constant"), the
    edge itself ("nearest"), the input again ("wrap"), mirrored with ("reflect") or without ("mirror") its edge.
    """
    if fill_mode not in INSIDE or order not in (0, 1):
        raise Error(
            f"map_coordinates: order {order}, fill_mode {fill_mode!r}{did_you_mean(fill_mode, INSIDE)}"
        )
    x, places = floating(inputs), floating(coordinates)
    sizes, flat = known(x.shape), ravel(x)
    corners = [_neighbours(places[axis], order) for axis in range(x.ndim)]
    parts = []
    for corner in itertools.product(*corners):
        value = _looked_up(flat, [i for i, _ in corner], sizes, fill_mode, fill_value)
        for _, weight in corner:
            value = value if weight is None else multiply(value, weight)
        parts.append(value)
    return sum(parts[1:], parts[0])


def _neighbours(place: Tensor, order: int) -> list[tuple[Tensor, Tensor | None]]:
    """(index, weight) of the elements next to places."""
    if order == 0:
        return [(round(place), None)]
    low = floor(place)
    share = place - low
    return [(low, 1.0 - share), (low + 1.0, share)]


def _looked_up(
    flat: Tensor, index: Sequence[Tensor], sizes: Sequence[int], fill_mode: str, fill_value: float
) -> Tensor:
    linear = None
    inside = None
    for i, n in zip(index, sizes, strict=True):
        found = cast(INSIDE[fill_mode](i, n), "float64")  # float32 counts to 2^24 only
        linear = found if linear is None else linear * float(n) + found
        is_inside = less_equal(absolute(i - (n - 1) * 0.5), (n - 1) * 0.5)
        inside = is_inside if inside is None else inside * is_inside
    value = take(flat, linear, 0)
    return where(inside, value, float(fill_value)) if fill_mode == "constant" else value


@op_function
def affine_transform(
    images: Any, transform: Any, interpolation: str = "bilinear", fill_mode: str = "constant", fill_value: float = 0,
    data_format: str | None = None,
) -> Any:  # fmt: skip
    """Images whose pixel (x, y) comes from ((a0 x + a1 y + a2) / k, (b0 x + b1 y + b2) / k), k = c0 x + c1 y + 1.

    transform (8,) or (n, 8): a0 a1 a2 b0 b1 b2 c0 c1. fill_mode: as for `map_coordinates`.
    """
    check_format("affine_transform", data_format)
    x = floating(images)
    if x.ndim == 3:
        return squeeze(
            affine_transform(expand_dims(x, 0), transform, interpolation, fill_mode, fill_value), 0
        )
    numbers = batch_of_transforms(convert(transform, x.dtype), x.shape[0], x.dtype)
    return affine_gather(x, numbers, None, interpolation, fill_mode, fill_value)


def _homography(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The 8 numbers of the perspective that takes four points `end` to four points `start`."""
    rows, values = [], []
    for (x, y), (u, v) in zip(end, start, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -x * u, -y * u], [0, 0, 0, x, y, 1, -x * v, -y * v]]
        values += [u, v]
    return np.linalg.solve(np.array(rows, "float64"), np.array(values, "float64"))


def perspective_transform(
    images: Any, start_points: Any, end_points: Any, interpolation: str = "bilinear", fill_value: float = 0,
    data_format: str | None = None,
) -> Any:  # fmt: skip
    """Images in which what is at four start_points (x, y) is at four end_points: (4, 2), or (n, 4, 2), known ones."""
    check_format("perspective_transform", data_format)
    starts, ends = (np.asarray(points, "float64").reshape(-1, 4, 2) for points in (start_points, end_points))
    transform = np.stack([_homography(start, end) for start, end in zip(starts, ends, strict=True)])
    return affine_transform(images, transform.astype("float32"), interpolation, "constant", fill_value)
