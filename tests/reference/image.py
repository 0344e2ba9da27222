"""Pixels from other places and colours in other mixtures: one pixel at a time, borders by numpy.pad."""

import colorsys

import numpy as np

from .shape import Array

PAD_MODES = {"edge": "edge", "reflect": "reflect", "symmetric": "symmetric", "wrap": "wrap"}


def pixel(image: Array, iy: int, ix: int, border: str, fill: float) -> Array:
    """The pixel at a whole place, of an image (h, w, c) continued beyond its edges as numpy.pad does."""
    h, w, c = image.shape
    if border == "constant":
        return image[iy, ix] if 0 <= iy < h and 0 <= ix < w else np.full(c, float(fill))
    rows = np.pad(np.arange(h), (max(-iy, 0), max(iy - h + 1, 0)), PAD_MODES[border])
    columns = np.pad(np.arange(w), (max(-ix, 0), max(ix - w + 1, 0)), PAD_MODES[border])
    return image[rows[max(iy, 0)], columns[max(ix, 0)]]


def sample(image: Array, sy: float, sx: float, method: str, border: str, fill: float) -> Array:
    """The image at a place, by its nearest pixel or the four around it."""
    if method == "nearest":
        return pixel(image, int(np.rint(sy)), int(np.rint(sx)), border, fill)
    iy, ix = int(np.floor(sy)), int(np.floor(sx))
    wy, wx = sy - iy, sx - ix
    return (
        (1 - wy) * (1 - wx) * pixel(image, iy, ix, border, fill)
        + (1 - wy) * wx * pixel(image, iy, ix + 1, border, fill)
        + wy * (1 - wx) * pixel(image, iy + 1, ix, border, fill)
        + wy * wx * pixel(image, iy + 1, ix + 1, border, fill)
    )


def field_gather(x: Array, field: Array, method: str, border: str, fill: float = 0.0) -> Array:
    """x (n, h, w, c) at places (row, column) of a field (n, oh, ow, 2)."""
    n, oh, ow, _ = field.shape
    y = np.zeros((n, oh, ow, x.shape[3]))
    for i, oy, ox in np.ndindex(n, oh, ow):
        y[i, oy, ox] = sample(x[i], *field[i, oy, ox], method, border, fill)
    return y


def affine_gather(
    x: Array, transform: Array, size: tuple[int, int], method: str, border: str, fill: float = 0.0
) -> Array:
    """x (n, h, w, c) along projective maps (n, 8)."""
    field = np.zeros((len(x), *size, 2))
    for i, oy, ox in np.ndindex(len(x), *size):
        place = np.append(transform[i], 1.0).reshape(3, 3) @ [ox, oy, 1]
        field[i, oy, ox] = place[1] / place[2], place[0] / place[2]
    return field_gather(x, field, method, border, fill)


def color_matrix(x: Array, matrix: Array, low: float = -np.inf, high: float = np.inf) -> Array:
    """Each pixel with a 1 behind it times the matrix of its image."""
    y = np.zeros((*x.shape[:3], matrix.shape[1]))
    for i, iy, ix in np.ndindex(x.shape[:3]):
        y[i, iy, ix] = matrix[i] @ np.append(x[i, iy, ix], 1.0)
    return np.clip(y, low, high)


def hue_saturation(x: Array, shift: Array, scale: Array, most: float = 1.0) -> Array:
    """By the standard library's colorsys."""
    y = np.zeros(x.shape)
    for i, iy, ix in np.ndindex(x.shape[:3]):
        hue, saturation, value = colorsys.rgb_to_hsv(*x[i, iy, ix])
        y[i, iy, ix] = colorsys.hsv_to_rgb(
            (hue + shift[i]) % 1.0, min(max(saturation * scale[i], 0.0), most), value
        )
    return y


def equalize(x: Array, low: float = 0.0, high: float = 255.0, bins: int = 256) -> Array:
    """Each channel of each image: the scaled cumulative histogram, looked up."""
    y = x.copy()
    for i in range(len(x)):
        for ch in range(x.shape[3]):
            scaled = (x[i, ..., ch] - low) * 255 / (high - low)
            index = np.clip(scaled * (bins - 1) / 255, 0, bins - 1).astype(int)
            histogram = np.bincount(index.ravel(), minlength=bins)
            if (histogram > 0).sum() > 1:
                total = np.cumsum(histogram)
                least = total[total > 0][0]
                table = np.rint(np.maximum(total - least, 0) * 255 / (total[-1] - least))
                y[i, ..., ch] = table[index] * (high - low) / 255 + low
    return y


def clahe(
    x: Array, clip_limit: float, tiles: tuple[int, int], low: float = 0.0, high: float = 255.0, bins: int = 256
) -> Array:  # fmt: skip
    """Each channel of each image: a table a tile, of the mirrored image; four of them mixed for every pixel."""
    (rows, columns), (h, w) = tiles, x.shape[1:3]
    th, tw = -(-h // rows), -(-w // columns)
    y = np.zeros(x.shape)
    for i, ch in np.ndindex(len(x), x.shape[3]):
        scaled = (x[i, ..., ch] - low) * (bins - 1) / (high - low)
        index = np.clip(scaled, 0, bins - 1).astype(int)
        wide = np.pad(index, ((0, rows * th - h), (0, columns * tw - w)), "symmetric")
        table = np.zeros((rows, columns, bins))
        for r, q in np.ndindex(rows, columns):
            part = wide[r * th : (r + 1) * th, q * tw : (q + 1) * tw]
            counts = np.bincount(part.ravel(), minlength=bins).astype(float)
            if clip_limit > 0:
                kept = np.minimum(counts, clip_limit * th * tw / bins)
                counts = kept + (counts - kept).sum() / bins
            total = np.cumsum(counts)
            table[r, q] = np.clip((total - total[0]) * 255 / ((th * tw - total[0]) or 1), 0, 255)
        for iy, ix in np.ndindex(h, w):
            py, px = iy / th - 0.5, ix / tw - 0.5
            total = 0.0
            for r, q in ((np.floor(py), np.floor(px)), (np.floor(py), np.floor(px) + 1),
                         (np.floor(py) + 1, np.floor(px)), (np.floor(py) + 1, np.floor(px) + 1)):  # fmt: skip
                at = int(np.clip(r, 0, rows - 1)), int(np.clip(q, 0, columns - 1))
                total += (1 - abs(py - r)) * (1 - abs(px - q)) * table[(*at, index[iy, ix])]
            y[i, iy, ix, ch] = total * (high - low) / 255 + low
    return y
