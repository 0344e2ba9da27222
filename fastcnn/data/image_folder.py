"""Images in folders, one folder a class, read batch by batch (Pillow does the decoding)."""

import math
from collections.abc import Sequence as Items
from concurrent.futures import ThreadPoolExecutor
from os import PathLike, fspath, walk
from os.path import realpath
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastcnn.config import next_seed
from fastcnn.data.batches import permutation
from fastcnn.data.image_files import (
    COLOR_MODES,
    EXTENSIONS,
    MOST_PIXELS,
    THREADS,
    open_image,
    pillow,
    upright,
)
from fastcnn.data.paths import as_path
from fastcnn.data.sequence import PyDataset
from fastcnn.errors import Error

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

INTERPOLATIONS = {"nearest": 0, "lanczos3": 1, "bilinear": 2, "bicubic": 3, "area": 4}  # Pillow's own numbers
LABEL_MODES = ("int", "categorical", "binary", None)
SUBSETS = ("training", "validation", "both")
BEFORE_SPLIT = 2**63  # the "epoch" of the shuffle that precedes a split; no real epoch has this number


class LabelledFiles(NamedTuple):
    """Image files, the class number of each (None without labels), and the names of the classes."""

    paths: list[str]
    labels: list[int] | None
    class_names: list[str]

    def __str__(self) -> str:
        classes = "" if self.labels is None else f" belonging to {len(self.class_names)} classes"
        return f"{len(self.paths)} files{classes}"

    def select(self, indices: np.ndarray) -> "LabelledFiles":
        labels = None if self.labels is None else [self.labels[i] for i in indices]
        return LabelledFiles([self.paths[i] for i in indices], labels, self.class_names)


class ImageFolder(PyDataset):
    """Batches (x, y) of images read when they are asked for; made by `image_dataset_from_directory`.

    x (n, height, width, channels) float32 in 0..255. y: "int" (n,) int32, "categorical" (n, classes) float32
    one-hot, "binary" (n, 1) float32; with label_mode None a batch is x alone. With `shuffle` each epoch has an
    order of its own, `permutation(images, seed, epoch)`.
    """

    def __init__(
        self,
        files: LabelledFiles,
        label_mode: str | None,
        batch_size: int,
        shuffle: bool,
        seed: int,
        reader: "ImageReader",
    ):
        super().__init__()
        self.file_paths, self.labels, self.class_names = files
        self.label_mode = label_mode
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.reader = reader
        self.epoch = 0
        self._order = self._new_order()

    def __len__(self) -> int:
        return math.ceil(len(self.file_paths) / self.batch_size)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self):
            raise IndexError(f"batch {index} of {len(self)}")
        rows = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        x = self.reader.read_all([self.file_paths[i] for i in rows])
        return x if self.labels is None else (x, self._encode(np.array([self.labels[i] for i in rows])))

    def on_epoch_end(self) -> None:
        self.epoch += 1
        self._order = self._new_order()

    def _new_order(self) -> np.ndarray:
        n = len(self.file_paths)
        return permutation(n, self.seed, self.epoch) if self.shuffle else np.arange(n)

    def _encode(self, labels: np.ndarray) -> np.ndarray:
        if self.label_mode == "categorical":
            return np.eye(len(self.class_names), dtype=np.float32)[labels]
        if self.label_mode == "binary":
            return labels.astype(np.float32)[:, np.newaxis]
        return labels.astype(np.int32)


class ImageReader:
    """Reads image files to float32 arrays of one size and number of channels, values 0..255."""

    def __init__(self, color_mode: str, size: tuple[int, int], interpolation: str, aspect_ratio: str):
        self.mode, self.channels = COLOR_MODES[color_mode]
        self.height, self.width = size
        self.resample = INTERPOLATIONS[interpolation]
        self.aspect_ratio = aspect_ratio

    @classmethod
    def of(cls, color_mode: str, image_size: Any, interpolation: str, aspect_ratio: str) -> "ImageReader":
        """The reader for arguments that a user gave, checked."""
        _check_choices("int", color_mode, interpolation, 1)
        return cls(color_mode, target_size(image_size), interpolation, aspect_ratio)

    def read_all(self, paths: list[str], dtype: Any = np.float32) -> np.ndarray:
        """Images (n, height, width, channels), on threads: Pillow decodes outside the interpreter's lock."""
        with ThreadPoolExecutor(THREADS) as pool:
            return np.stack(list(pool.map(self.read, paths)), dtype=dtype, casting="unsafe")

    def read(self, path: str) -> np.ndarray:
        """One image (height, width, channels), turned upright where its EXIF data says so."""
        with open_image(path) as image:
            return self._resize(upright(image, self.mode))

    def _resize(self, image: "PILImage") -> np.ndarray:
        box = None
        if self.aspect_ratio == "crop":
            box = _largest_window(image.size, self.width / self.height)
        elif self.aspect_ratio == "pad":
            image = _pad(image, self.width / self.height)
        small = image.resize((self.width, self.height), self.resample, box)
        return np.asarray(small, np.float32).reshape(self.height, self.width, self.channels)


def _largest_window(size: tuple[int, int], ratio: float) -> tuple[int, int, int, int]:
    """The centred (left, top, right, bottom) of the largest window of width / height = ratio."""
    width, height = size
    w, h = max(1, min(width, int(height * ratio))), max(1, min(height, int(width / ratio)))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def _pad(image: "PILImage", ratio: float) -> "PILImage":
    """The image centred on the smallest black canvas of width / height = ratio."""
    width, height = max(image.width, int(image.height * ratio)), max(image.height, int(image.width / ratio))
    left, top = (width - image.width) // 2, (height - image.height) // 2
    return image.crop((-left, -top, width - left, height - top))


def image_dataset_from_directory(
    directory: str | PathLike[str],
    labels: str | Items[int] | None = "inferred",
    label_mode: str | None = "int",
    class_names: Items[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int = 32,
    image_size: int | tuple[int, int] = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
    follow_links: bool = False,
    crop_to_aspect_ratio: bool = False,
    pad_to_aspect_ratio: bool = False,
    verbose: bool = True,
) -> Any:
    """The images below `directory` as an `ImageFolder` (a pair of them with subset="both").

    With labels="inferred" each sub-folder is a class, numbered in alphanumerical order or in that of
    `class_names`; a list of integers labels the files in the order of their paths. `image_size` is (height,
    width). `validation_split` reserves the last files, after shuffling by `seed`, for subset="validation".
    Resizing follows Pillow, which averages over all the pixels an output pixel covers.
    """
    pillow()
    _check_choices(label_mode, color_mode, interpolation, batch_size)
    _check_split(validation_split, subset, shuffle, seed)
    if labels is None or label_mode is None:
        labels, label_mode = None, None
    aspect_ratio = "crop" if crop_to_aspect_ratio else "pad" if pad_to_aspect_ratio else "stretch"
    reader = ImageReader(color_mode, target_size(image_size), interpolation, aspect_ratio)
    folder = as_path("image_dataset_from_directory", directory)
    files = index_files(folder, labels, class_names, follow_links)
    if label_mode == "binary" and len(files.class_names) != 2:
        raise Error(f"{directory}: label_mode='binary' needs exactly two classes, found {files.class_names}")
    if verbose:
        print(f"Found {files}.")
    seed = next_seed() if seed is None else seed
    order = permutation(len(files.paths), seed, BEFORE_SPLIT) if shuffle else np.arange(len(files.paths))
    folders = [
        ImageFolder(files.select(part), label_mode, batch_size, shuffle and trains, seed, reader)
        for trains, part in _parts(order, validation_split, subset, directory)
    ]
    return folders[0] if len(folders) == 1 else folders


def _check_choices(label_mode: str | None, color_mode: str, interpolation: str, batch_size: int) -> None:
    given: tuple[tuple[str, Any, Any], ...] = (
        ("label_mode", label_mode, LABEL_MODES),
        ("color_mode", color_mode, tuple(COLOR_MODES)),
        ("interpolation", interpolation, tuple(INTERPOLATIONS)),
    )
    for name, value, choices in given:
        if value not in choices:
            raise Error(f"{name} must be one of {choices}, got {value!r}")
    if not isinstance(batch_size, int) or batch_size < 1:
        raise Error(f"image_dataset_from_directory: batch_size must be at least 1, got {batch_size}")


def _check_split(fraction: float | None, subset: str | None, shuffle: bool, seed: int | None) -> None:
    if fraction is None and subset is None:
        return
    if fraction is None or not 0 < fraction < 1 or subset not in SUBSETS:
        raise Error(
            "image_dataset_from_directory: validation_split (between 0 and 1) and subset (one of "
            f"{SUBSETS}) go together, got validation_split={fraction} and subset={subset!r}"
        )
    if shuffle and seed is None and subset != "both":
        raise Error(
            "image_dataset_from_directory: shuffling before a split needs a seed, the same for both subsets, "
            "or they would overlap; give seed=... or shuffle=False"
        )


def target_size(image_size: Any) -> tuple[int, int]:
    """(height, width) as a user gave it, or one number for both, checked."""
    size = tuple(image_size) if isinstance(image_size, list | tuple) else (image_size, image_size)
    is_whole = all(hasattr(side, "__index__") for side in size)
    if not is_whole or len(size) != 2 or min(size) < 1 or size[0] * size[1] > MOST_PIXELS:
        raise Error(
            f"image_size must be (height, width), together at most {MOST_PIXELS:,} pixels, got {image_size}"
        )
    return int(size[0]), int(size[1])


def index_files(
    directory: Path, labels: str | Items[int] | None, class_names: Items[str] | None, follow_links: bool
) -> LabelledFiles:
    """The images below `directory`, in alphanumerical order."""
    if not directory.is_dir():
        raise Error(f"{directory} is no folder; give the one that holds a folder for each class")
    if labels == "inferred":
        return _index_classes(directory, class_names, follow_links)
    if isinstance(labels, str) or class_names is not None:
        raise Error(
            "labels must be 'inferred', a list of integers or None, and "
            f"class_names goes with 'inferred' only; got labels={labels!r}, class_names={class_names!r}"
        )
    paths = _images_below(directory, follow_links)
    if labels is None:
        return LabelledFiles(paths, None, [])
    array = np.asarray(labels)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise Error(
            f"{directory}: labels must be 'inferred', a list of integers or None, got {str(labels)[:80]}"
        )
    numbers = array.tolist()
    if len(numbers) != len(paths) or min(numbers, default=0) < 0:
        raise Error(f"{directory}: {len(numbers)} labels for {len(paths)} images; one each is needed, >= 0")
    return LabelledFiles(paths, numbers, [str(number) for number in range(max(numbers, default=-1) + 1)])


def _index_classes(directory: Path, class_names: Items[str] | None, follow_links: bool) -> LabelledFiles:
    found = sorted(item.name for item in directory.iterdir() if item.is_dir())
    names = found if class_names is None else list(class_names)
    if sorted(names) != found:
        raise Error(f"{directory}: class_names {names} must be the names of its folders, {found}")
    below = [_images_below(directory / name, follow_links) for name in names]
    numbers = [number for number, paths in enumerate(below) for _ in paths]
    return LabelledFiles([path for paths in below for path in paths], numbers, names)


def _images_below(directory: Path, follow_links: bool) -> list[str]:
    """Sorted, each folder once, however many links lead to it."""
    found: dict[str, tuple[str, list[str]]] = {}
    for folder, folders, names in walk(fspath(directory), onerror=_refuse, followlinks=follow_links):
        if realpath(folder) in found:
            folders.clear()
            continue
        folders.sort()
        images = sorted(name for name in names if name.lower().endswith(EXTENSIONS))
        found[realpath(folder)] = folder, [str(Path(folder) / name) for name in images]
    return [path for _, paths in sorted(found.values()) for path in paths]


def _refuse(error: OSError) -> None:
    raise Error(f"{error.filename}: this folder cannot be read ({error.strerror})") from error


def _parts(
    order: np.ndarray, fraction: float | None, subset: str | None, directory: str | PathLike[str]
) -> list[tuple[bool, np.ndarray]]:
    """(whether to train on it, its indices) for each data set that was asked for; the last files validate."""
    if fraction is None:
        parts = {"training": order}
    else:
        kept = len(order) - int(fraction * len(order))
        parts = {"training": order[:kept], "validation": order[kept:]}
    wanted = list(parts) if subset in (None, "both") else [str(subset)]
    for name in wanted:
        if not len(parts[name]):
            raise Error(
                f"{directory}: there is no image for the {name} set; {len(order)} files were found with the "
                f"extensions {', '.join(EXTENSIONS)} (each class in a folder of its own, unless labels are given)"
            )
    return [(name == "training", parts[name]) for name in wanted]
