"""CIFAR-10 from an archive of JPEG files, decoded once and kept in the cache as `.npy` arrays.

Each split is ordered by the number of the file, then by class, so any run of images is balanced and the order
is the same everywhere.
"""

import hashlib
import io
import re
import warnings
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fastcnn.datasets import _cifar, _files
from fastcnn.errors import Error

MEMBER = re.compile(r"(?:\./)?(train|test)/([a-z]+)/(\d{1,6})\.jpg")
MOST_FILE_BYTES = 1 << 16
MOST_BYTES = 400_000_000
IMAGES = 60_000

Split = tuple[np.ndarray, np.ndarray]
Numbered = dict[tuple[str, int, int], np.ndarray]


def load(path: Path, class_names: tuple[str, ...]) -> tuple[Split, Split]:
    """The train and test split: images (n, 32, 32, 3) and labels (n, 1), both uint8."""
    with path.open("rb") as stream:
        key = hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    folder = _files.cache_folder() / "cifar10"
    files = [folder / f"jpeg-{key}-{part}.npy" for part in ("x", "y", "x-test", "y-test")]
    arrays = [_load_array(file) for file in files]
    decoded = [array for array in arrays if array is not None]
    if len(decoded) < len(files):
        decoded = _decode(path, class_names)
        _keep(files, decoded)
    x, y, x_test, y_test = decoded
    return (x, y), (x_test, y_test)


def _load_array(file: Path) -> np.ndarray | None:
    """A cached array, or None when it is absent or unreadable (it is then decoded again)."""
    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None


def _keep(files: list[Path], arrays: list[np.ndarray]) -> None:
    try:
        files[0].parent.mkdir(parents=True, exist_ok=True)
        for file, array in zip(files, arrays, strict=True):
            with _files.atomic_write(file) as out:
                np.save(out, array, allow_pickle=False)
    except OSError as error:
        warnings.warn(
            f"decoded CIFAR-10 images could not be kept in {files[0].parent}: {error}", stacklevel=2
        )


def _decode(path: Path, class_names: tuple[str, ...]) -> list[np.ndarray]:
    images: Numbered = {}
    members = _files.tar_members(path, _most_bytes, MOST_BYTES)
    bar = tqdm(members, "decoding CIFAR-10, first time only", IMAGES, unit="image", disable=None)
    for name, content in bar:
        split, label, number = _place(name, class_names, path)
        images[split, number, label] = _decode_image(content, f"{path}: {name}")
    return [array for split in ("train", "test") for array in _stack(images, split, path)]


def _most_bytes(name: str) -> int:
    return MOST_FILE_BYTES if MEMBER.fullmatch(name) else 0


def _place(name: str, class_names: tuple[str, ...], path: Path) -> tuple[str, int, int]:
    match = MEMBER.fullmatch(name)
    if match is None or match[2] not in class_names:
        raise Error(f"{path}: {name!r} is in no known class; expected one of {', '.join(class_names)}")
    return match[1], class_names.index(match[2]), int(match[3])


def _decode_image(content: bytes, where: str) -> np.ndarray:
    try:
        from PIL import Image
    except ImportError as error:
        raise Error('reading JPEG files needs Pillow: pip install "fastcnn[data]"') from error
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG",)) as image:
            if image.size != (_cifar.SIDE, _cifar.SIDE):
                raise Error(f"{where}: the image is {image.width}x{image.height}, expected 32x32")
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError) as error:
        raise Error(f"{where}: cannot be decoded: {error}") from error


def _stack(images: Numbered, split: str, path: Path) -> Split:
    places = sorted(place for place in images if place[0] == split)
    if not places:
        raise Error(f"{path}: holds no {split}/<class>/<number>.jpg")
    x = np.stack([images[place] for place in places])
    return x, np.array([[label] for _, _, label in places], np.uint8)
