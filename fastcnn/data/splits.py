"""Index sets for splitting data, plain or stratified, decided by a seed alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.errors import Error


def split_indices(
    n: int, ratios: Sequence[float], labels: np.ndarray | None = None, seed: int = 0
) -> list[np.ndarray]:
    """Shuffled indices 0..n-1 cut into len(ratios) parts; with labels (n,), each class is cut in these ratios.

    Ratios are positive or zero and sum to 1. Every part of a positive ratio gets at least one sample (of every
    class), otherwise there is an Error.
    """
    _check_ratios(ratios)
    if not hasattr(seed, "__index__") or seed < 0:
        raise Error(f"a split needs a seed that is a whole number from 0 on, got {seed!r}")
    random = np.random.Generator(np.random.Philox(seed))
    members = np.zeros(n, np.int64) if labels is None else labels
    groups = [np.flatnonzero(members == label) for label in np.unique(members)]
    cut = [_cut(random.permutation(group), ratios) for group in groups]
    return [random.permutation(np.concatenate(parts)) for parts in zip(*cut, strict=True)]


def _cut(group: np.ndarray, ratios: Sequence[float]) -> list[np.ndarray]:
    """Cut at the rounded cumulative ratios, so no sample is lost whatever the rounding."""
    least = (np.asarray(ratios) > 0).astype(int)
    if len(group) < least.sum():
        raise Error(
            f"a split of {len(group)} samples (of one class, when stratified) by {tuple(ratios)} leaves a part "
            "empty; use more samples, other ratios, or do not stratify"
        )
    parts = np.split(group, np.rint(np.cumsum(ratios)[:-1] * len(group)).astype(int))
    if any(
        len(part) < n for part, n in zip(parts, least, strict=True)
    ):  # few: first one each, then the others
        rest = np.rint(np.cumsum(ratios) * (len(group) - least.sum())).astype(int)
        parts = np.split(group, (np.cumsum(least) + rest)[:-1])
    return parts


def _is_share(ratio: Any) -> bool:
    return isinstance(ratio, int | float | np.number) and bool(ratio >= 0)


def _check_ratios(ratios: Sequence[float]) -> None:
    if len(ratios) < 2 or not all(map(_is_share, ratios)) or abs(sum(ratios) - 1) > 1e-6:
        raise Error(
            f"a split needs two or more ratios, numbers, none negative, that sum to 1; got {tuple(ratios)}"
        )
