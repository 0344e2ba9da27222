"""The binary form of CIFAR-10 and CIFAR-100, read straight from the archive (the pickled form is never touched).

A record is one or two label bytes, then 3072 pixels: the red plane, the green plane, the blue plane, each
32 rows of 32 bytes (A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009).
"""

import numpy as np

from fastcnn.datasets._files import RemoteFile
from fastcnn.errors import Error

SIDE = 32
PIXELS = 3 * SIDE * SIDE
MIRRORS = ("https://www.cs.toronto.edu/~kriz/", "https://cave.cs.toronto.edu/kriz/")
MOST_BYTES = 190_000_000

Split = tuple[np.ndarray, np.ndarray]


def archive(name: str, sha256: str, nbytes: int) -> RemoteFile:
    """An archive of the official CIFAR page."""
    return RemoteFile(name, tuple(mirror + name for mirror in MIRRORS), sha256, nbytes)


def parse(content: bytes, label_bytes: int, where: str) -> Split:
    """Images (n, 32, 32, 3) and labels (n, label_bytes) of one file of records, both uint8."""
    size = label_bytes + PIXELS
    if not content or len(content) % size:
        raise Error(
            f"{where}: {len(content)} bytes are no whole number of records of {size} bytes; "
            "delete the archive and download it again"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    planes = records[:, label_bytes:].reshape(-1, 3, SIDE, SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), records[:, :label_bytes].copy()


def check_labels(y: np.ndarray, classes: int, where: str) -> None:
    """Raise `Error` when a label is not one of the classes."""
    if y.max() >= classes:
        raise Error(f"{where}: label {y.max()} is not below {classes}; download the archive again")
