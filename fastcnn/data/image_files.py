"""Image files, decoded by Pillow: which are read, how large they may be, and what is said of those that cannot be."""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, cpu_count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastcnn.data.paths import as_path
from fastcnn.errors import Error

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "WEBP")
MOST_PIXELS = 64_000_000
COLOR_MODES = {"grayscale": ("L", 1), "rgb": ("RGB", 3), "rgba": ("RGBA", 4)}
MODES = {channels: mode for mode, channels in COLOR_MODES.values()}
ORIENTATION, TURNED = 274, 5  # EXIF: the tag, and the value from which on width and height are exchanged
THREADS = min(8, cpu_count() or 1)  # Pillow decodes outside the interpreter's lock


def pillow() -> tuple[Any, Any]:
    """Pillow's modules Image and ImageOps; an `Error` that says how to get Pillow where it is not installed."""
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        raise Error('reading images needs Pillow: pip install "fastcnn[data]"') from error
    return Image, ImageOps


class _NoWarnings:
    """Hides Pillow's warnings, of many pixels for instance, where `Error` is raised or nothing is wrong.

    While any thread is inside: `warnings.catch_warnings` of several threads would restore each other's filters.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._hiding: Any = None

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._hiding = warnings.catch_warnings()
                self._hiding.__enter__()
                warnings.filterwarnings("ignore", module=r"PIL\.")
            self._inside += 1

    def __exit__(self, *raised: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._hiding.__exit__(None, None, None)


_no_warnings = _NoWarnings()


@contextmanager
def open_image(file: str | PathLike[str] | io.BytesIO) -> "Iterator[PILImage]":
    """A Pillow image whose pixels are not read yet. `Error` for whatever goes wrong with it, here or inside."""
    module, _ = pillow()
    name = "the given bytes" if isinstance(file, io.BytesIO) else str(as_path("reading an image", file))
    try:
        if not isinstance(file, io.BytesIO) and Path(name).exists() and not Path(name).is_file():
            raise Error(f"{name}: is no file, so no image")  # a pipe would be waited for
        with _no_warnings, module.open(file, formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Error(f"{name}: {image.width}x{image.height} pixels are more than {MOST_PIXELS:,}")
            yield image
    except Error:
        raise
    except Exception as error:  # a damaged file makes a decoder raise almost anything
        raise Error(f"{name}: cannot be read as an image ({error}); repair or remove the file") from error


def upright(image: "PILImage", mode: str) -> "PILImage":
    """The image in a mode of 8 bits, turned as its EXIF data says; of 16 bits a pixel, the upper 8."""
    module, image_ops = pillow()
    turned = image_ops.exif_transpose(image)
    if turned.mode.startswith("I"):  # Pillow's conversion would clip them at 255
        turned = module.fromarray((np.asarray(turned, np.int64) >> 8).clip(0, 255).astype(np.uint8))
    return turned.convert(mode)


def read_image(path: str | PathLike[str], channels: int = 3) -> np.ndarray:
    """An image file as an array (height, width, channels) uint8, turned upright where its EXIF data says so."""
    if channels not in MODES:
        raise Error(f"image files have 1, 3 or 4 channels, not {channels}; give arrays for others")
    with open_image(path) as image:
        array = np.asarray(upright(image, MODES[channels]))
    return array if array.ndim == 3 else array[..., np.newaxis]


def image_size(path: str | PathLike[str]) -> tuple[int, int]:
    """(width, height) as `read_image` gives it; `Error` where the file is no image."""
    with open_image(path) as image:
        turned = image.getexif().get(ORIENTATION, 1) >= TURNED
        return (image.height, image.width) if turned else (image.width, image.height)
