"""Single images: files, Pillow's objects and arrays (height, width, channels)."""

import errno
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn import config, ops
from fastcnn.data.image_files import COLOR_MODES, open_image, pillow
from fastcnn.errors import Error, did_you_mean

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

# Pillow's own numbers
INTERPOLATIONS = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}
GRAYSCALE = ("L", "I;16", "I")  # modes that are grayscale already, with 8, 16 or 32 bits a pixel


def load_img(
    path: Any,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> "PILImage":
    """An image file, or an `io.BytesIO` of one, as an image of Pillow's.

    color_mode: "grayscale" (16 and 32 bits a pixel stay), "rgb" or "rgba". target_size: (height, width), else the
    size it has; with `keep_aspect_ratio` the largest centred part of that shape is taken first.
    interpolation: "nearest", "bilinear", "bicubic", "lanczos", "box" or "hamming".
    """
    if color_mode not in COLOR_MODES:
        raise Error(f"load_img: color_mode must be one of {tuple(COLOR_MODES)}, got {color_mode!r}")
    if interpolation not in INTERPOLATIONS:
        raise Error(
            f"load_img: interpolation {interpolation!r} is not known{did_you_mean(interpolation, INTERPOLATIONS)}"
        )
    if not isinstance(path, io.BytesIO) and not os.path.exists(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(path))
    with open_image(path) as image:
        image.load()
    mode, _ = COLOR_MODES[color_mode]
    if image.mode != mode and not (color_mode == "grayscale" and image.mode in GRAYSCALE):
        image = image.convert(mode)
    if target_size is None or image.size == (target_size[1], target_size[0]):
        return image
    height, width = target_size
    box = _window(image.size, width, height) if keep_aspect_ratio else None
    return image.resize((width, height), INTERPOLATIONS[interpolation], box)


def _window(size: tuple[int, int], to_width: int, to_height: int) -> tuple[int, int, int, int]:
    """The centred (left, top, right, bottom) of the largest window of the target's shape."""
    width, height = size
    w, h = min(width, height * to_width // to_height), min(height, width * to_height // to_width)
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> np.ndarray:
    """An image of Pillow's as an array (height, width, channels) of `dtype`, by default floatx; values stay."""
    last = _is_channels_last(data_format)
    x = np.asarray(img, dtype or config.floatx())
    if x.ndim not in (2, 3):
        raise Error(f"img_to_array: expected an image, got an array of shape {x.shape}")
    x = x.reshape(*x.shape[:2], -1)
    return x if last else np.moveaxis(x, -1, 0)


def array_to_img(x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None) -> "PILImage":
    """An array (height, width, 1, 3 or 4 channels) as an image of Pillow's.

    scale: stretch the values so that the smallest becomes 0 and the largest 255. Without it one channel with
    values above 255 becomes an image of 32 bits a pixel.
    """
    image_module, _ = pillow()
    array = np.asarray(x, dtype or config.floatx())
    if array.ndim == 3 and not _is_channels_last(data_format):
        array = np.moveaxis(array, 0, -1)
    if array.ndim != 3 or array.shape[-1] not in (1, 3, 4):
        raise Error(f"array_to_img: expected (height, width, 1, 3 or 4 channels), got shape {array.shape}")
    if scale:
        array = array - array.min()
        array = array / (array.max() or 1) * 255
    if array.shape[-1] > 1:
        return image_module.fromarray(array.astype("uint8"))
    return image_module.fromarray(array[..., 0].astype("int32" if array.max() > 255 else "uint8"))


def save_img(
    path: Any,
    x: Any,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
    **kwargs: Any,
) -> None:
    """Write an array as an image file; `file_format` defaults to what the name ends in.

    kwargs go to Pillow's `Image.save`, as quality=90. JPEG drops a fourth channel.
    """
    image = array_to_img(x, data_format, scale)
    named = Path(os.fsdecode(path)).suffix[1:] if isinstance(path, str | bytes | os.PathLike) else None
    kind = (file_format or named or "").lower().replace("jpg", "jpeg") or None
    if image.mode == "RGBA" and kind == "jpeg":
        image = image.convert("RGB")
    image.save(path, format=kind, **kwargs)


def smart_resize(
    x: Any, size: tuple[int, int], interpolation: str = "bilinear", data_format: str = "channels_last"
) -> Any:
    """Images (height, width, channels), one or a batch, of another (height, width) with nothing distorted.

    The largest centred part of the shape of `size` is resized; interpolation as for `ops.image.resize`.
    """
    last = _is_channels_last(data_format)
    images = x if last else np.moveaxis(np.asarray(x), -3, -1)
    if getattr(images, "ndim", 0) not in (3, 4) or len(size) != 2:
        raise Error(
            "smart_resize: expected (height, width, channels), or a batch of these, and size=(height, width)"
        )
    left, top, right, bottom = _window((images.shape[-2], images.shape[-3]), size[1], size[0])
    resized = ops.image.resize(images[..., top:bottom, left:right, :], size, interpolation)
    return resized if last else np.moveaxis(resized, -1, -3)


def _is_channels_last(data_format: str | None) -> bool:
    if data_format not in (None, "channels_last", "channels_first"):
        raise Error(f"data_format must be 'channels_last' or 'channels_first', got {data_format!r}")
    return data_format != "channels_first"
