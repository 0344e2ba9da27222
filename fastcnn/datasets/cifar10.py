"""CIFAR-10: 50,000 + 10,000 colour images of 32x32 in ten classes.

A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from pathlib import Path

import numpy as np

from fastcnn.datasets import _cifar, _cifar_jpeg, _files

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE = _cifar.archive(
    "cifar-10-binary.tar.gz", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", 170_052_171
)
JPEG_ARCHIVE = "cifar10-jpeg.tar.gz"
FOLDER = "cifar-10-batches-bin/"
TRAIN = tuple(f"{FOLDER}data_batch_{i}.bin" for i in range(1, 6))
TEST = f"{FOLDER}test_batch.bin"
BATCH_BYTES = 10_000 * (1 + _cifar.PIXELS)

Split = tuple[np.ndarray, np.ndarray]


def load_data() -> tuple[Split, Split]:
    """((x_train, y_train), (x_test, y_test)): x (50000 or 10000, 32, 32, 3) uint8 in 0..255, y (n, 1) uint8.

    The official binary archive is looked for in the folder `FASTCNN_DATA` (in `cifar10/` or directly), then in
    the cache, and otherwise downloaded. A local `cifar10-jpeg.tar.gz` (`train/<class>/NNNN.jpg`,
    `test/<class>/NNNN.jpg`) is taken where the official archive is absent: it needs Pillow, its images come in
    another order, and its pixels differ slightly from the original, so accuracies are not exactly comparable
    with published ones.
    """
    binary = _files.find("cifar10", ARCHIVE.name)
    jpeg = _files.find("cifar10", JPEG_ARCHIVE)
    if binary is None and jpeg is not None:
        return _cifar_jpeg.load(jpeg, CLASS_NAMES)
    return _load_binary(binary or _files.locate("cifar10", ARCHIVE))


def _load_binary(path: Path) -> tuple[Split, Split]:
    contents = _files.read_tar(path, dict.fromkeys((*TRAIN, TEST), BATCH_BYTES), _cifar.MOST_BYTES)
    parts = [_parse(contents[name], f"{path}: {name}") for name in TRAIN]
    train = np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])
    return train, _parse(contents[TEST], f"{path}: {TEST}")


def _parse(content: bytes, where: str) -> Split:
    x, y = _cifar.parse(content, 1, where)
    _cifar.check_labels(y, len(CLASS_NAMES), where)
    return x, y
