"""Optical recognition of handwritten digits: 1,797 real images of 8x8 in ten classes, shipped with the package.

Source: E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository,
1998, https://doi.org/10.24432/C50P49, licensed CC BY 4.0 (see DIGITS_LICENSE.txt). These are the images of the
repository's test file, written by 13 people, as also distributed by scikit-learn. A pixel counts the dark
points of a 4x4 block of the scan: 0..16.
"""

from pathlib import Path

import numpy as np

from fastcnn.data.splits import split_indices
from fastcnn.errors import Error

FILE = Path(__file__).with_name("digits.npz")
CLASS_NAMES = tuple("0123456789")
MAX_PIXEL = 16

Split = tuple[np.ndarray, np.ndarray]


def load_data(test_fraction: float = 0.2, seed: int = 0) -> tuple[Split, Split]:
    """((x_train, y_train), (x_test, y_test)): x (n, 8, 8, 1) uint8 in 0..16, y (n,) uint8 in 0..9.

    Every class gives the same fraction to the test set, and `seed` alone decides which images: the same seed
    gives the same split everywhere. Divide by `MAX_PIXEL` to bring pixels into [0, 1]. The writers of the two
    sets are the same people.
    """
    if not 0 < test_fraction < 1:
        raise Error(f"digits.load_data: test_fraction must lie between 0 and 1, got {test_fraction}")
    with np.load(FILE, allow_pickle=False) as file:
        x, y = file["images"][..., np.newaxis], file["labels"]
    train, test = split_indices(len(y), (1 - test_fraction, test_fraction), labels=y, seed=seed)
    return (x[train], y[train]), (x[test], y[test])
