"""Segments of an image, without learning. Functions of arrays, on the CPU: edges come one after the other."""

from typing import Any

import numpy as np

from fastcnn.backend.cpu import kernels
from fastcnn.errors import Error

__all__ = ["segment_image"]


def segment_image(image: Any, scale: float = 100.0, sigma: float = 0.8, smallest: int = 20) -> np.ndarray:
    """Segments of an image (height, width, channels) of 0..255: numbers (height, width) from 0 on.

    Neighbouring pixels, eight of each, are joined from the most similar on, while they differ by no more than segments
    do in themselves, and `scale` / their size. sigma: of the Gaussian that smooths the image first, in pixels;
    smallest: segments of fewer pixels join a neighbour. Felzenszwalb & Huttenlocher 2004.
    """
    for name, value in (("scale", scale), ("sigma", sigma), ("smallest", smallest)):
        if not (isinstance(value, int | float | np.integer | np.floating) and 0 <= value < np.inf):
            raise Error(f"segment_image: {name} must be a finite number, not negative; got {value!r}")
    from scipy import ndimage  # not on import: that takes long

    array = np.asarray(image, np.float32)
    array = array if array.ndim == 3 else array[..., np.newaxis]
    if array.ndim != 3 or not array.size or not np.isfinite(array).all():
        raise Error(
            f"segment_image: expected a finite image (height, width, channels), got shape {array.shape}"
        )
    smooth = ndimage.gaussian_filter(array, (sigma, sigma, 0)) if sigma > 0 else array
    h, w = array.shape[:2]
    number = np.arange(h * w, dtype=np.int32).reshape(h, w)
    pairs: list[Any] = [
        (np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:]), (np.s_[:-1, :-1], np.s_[1:, 1:]),
        (np.s_[:-1, 1:], np.s_[1:, :-1]),
    ]  # fmt: skip
    ends = [np.concatenate([number[pair[side]].ravel() for pair in pairs]) for side in (0, 1)]
    steps = [np.sqrt(((smooth[a] - smooth[b]) ** 2).sum(-1)).ravel() for a, b in pairs]
    weights = np.concatenate(steps).astype(np.float32)
    order = np.argsort(weights, kind="stable")
    parent, size, limit = np.empty(h * w, np.int32), np.empty(h * w, np.int32), np.empty(h * w, np.float32)
    if len(order):
        arguments = (*(end[order] for end in ends), weights[order], parent, size, limit)
        kernels.segment_graph(*arguments, float(scale), int(smallest))
    else:
        parent[:] = 0
    return np.unique(parent, return_inverse=True)[1].reshape(h, w)
