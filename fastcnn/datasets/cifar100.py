"""CIFAR-100: 50,000 + 10,000 colour images of 32x32 in a hundred classes of twenty superclasses.

A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

import numpy as np

from fastcnn.datasets import _cifar, _files
from fastcnn.errors import Error

ARCHIVE = _cifar.archive(
    "cifar-100-binary.tar.gz", "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec", 168_513_733
)
RECORD_BYTES = 2 + _cifar.PIXELS
TRAIN, TEST = "cifar-100-binary/train.bin", "cifar-100-binary/test.bin"
SIZES = {TRAIN: 50_000 * RECORD_BYTES, TEST: 10_000 * RECORD_BYTES}
LABEL_MODES = ("coarse", "fine")
CLASSES = (20, 100)

Split = tuple[np.ndarray, np.ndarray]


def load_data(label_mode: str = "fine") -> tuple[Split, Split]:
    """((x_train, y_train), (x_test, y_test)): x (50000 or 10000, 32, 32, 3) uint8 in 0..255, y (n, 1) uint8.

    Labels are the hundred classes ("fine") or the twenty superclasses ("coarse"). The official binary archive
    is looked for in the folder `FASTCNN_DATA` (in `cifar100/` or directly), then in the cache, and otherwise
    downloaded.
    """
    if label_mode not in LABEL_MODES:
        raise Error(f"cifar100.load_data: label_mode must be 'fine' or 'coarse', got {label_mode!r}")
    path = _files.locate("cifar100", ARCHIVE)
    contents = _files.read_tar(path, SIZES, _cifar.MOST_BYTES)
    column = LABEL_MODES.index(label_mode)
    train, test = (_parse(contents[name], column, f"{path}: {name}") for name in (TRAIN, TEST))
    return train, test


def _parse(content: bytes, column: int, where: str) -> Split:
    x, both = _cifar.parse(content, 2, where)
    y = both[:, column : column + 1].copy()
    _cifar.check_labels(y, CLASSES[column], where)
    return x, y
