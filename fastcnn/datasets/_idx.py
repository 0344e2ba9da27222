"""The IDX format of MNIST and its relatives.

A file is: two zero bytes, a type code (8 = unsigned byte), the number of dimensions, each dimension as a
big-endian 32-bit integer, then the values in C order (Y. LeCun, C. Cortes, C. Burges, the MNIST database).
"""

import math
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastcnn.datasets import _files
from fastcnn.errors import Error

UNSIGNED_BYTE = 8
IMAGE_SHAPE = (28, 28)
CLASSES = 10
FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
MOST_BYTES = 16 + 60_000 * 28 * 28

Split = tuple[np.ndarray, np.ndarray]  # images (n, 28, 28) and labels (n,), both uint8


class Archive(NamedTuple):
    """A data set in four files, which bear the same names in all data sets of this kind."""

    name: str
    train_images: _files.RemoteFile
    train_labels: _files.RemoteFile
    test_images: _files.RemoteFile
    test_labels: _files.RemoteFile

    def load(self) -> tuple[Split, Split]:
        """((x_train, y_train), (x_test, y_test))."""
        return (
            load_split(self.name, self.train_images, self.train_labels),
            load_split(self.name, self.test_images, self.test_labels),
        )


def archive(name: str, mirrors: Sequence[str], digests_and_sizes: Sequence[tuple[str, int]]) -> Archive:
    """The archive whose files have these SHA-256 and numbers of bytes, in the order of `FILES`."""
    files = (
        _files.RemoteFile(file, tuple(mirror + file for mirror in mirrors), sha256, nbytes)
        for file, (sha256, nbytes) in zip(FILES, digests_and_sizes, strict=True)
    )
    return Archive(name, *files)


def parse(content: bytes, ndim: int, where: str) -> np.ndarray:
    """The uint8 array of rank `ndim` in `content`; read-only memory of `content` itself."""
    header = 4 + 4 * ndim
    if len(content) < header or content[:4] != bytes((0, 0, UNSIGNED_BYTE, ndim)):
        raise Error(
            f"{where}: not an IDX file of unsigned bytes with {ndim} dimensions "
            f"(it starts with {content[:4].hex(' ')}); delete the file and download it again"
        )
    shape = struct.unpack(f">{ndim}I", content[4:header])
    if math.prod(shape) != len(content) - header:
        raise Error(
            f"{where}: the header announces shape {shape}, but {len(content) - header} values follow; "
            "the file is truncated or damaged, delete it and download it again"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def load_split(dataset: str, images: _files.RemoteFile, labels: _files.RemoteFile) -> Split:
    """Images (n, 28, 28) and labels (n,), both uint8."""
    image_path, label_path = _files.locate(dataset, images), _files.locate(dataset, labels)
    x = _read(image_path, 3)
    y = _read(label_path, 1)
    if x.shape[1:] != IMAGE_SHAPE or len(x) != len(y) or not len(y) or y.max() >= CLASSES:
        raise Error(
            f"{dataset}: {image_path} holds images of shape {x.shape} and {label_path} {len(y)} labels; "
            f"expected as many labels below {CLASSES} as images of 28x28; download both files again"
        )
    return x, y


def _read(path: Path, ndim: int) -> np.ndarray:
    return parse(_files.read_gzip(path, MOST_BYTES), ndim, str(path)).copy()
