"""More samples of rare classes, between those that there are."""

from typing import Any

import numpy as np
from tqdm import tqdm

from fastcnn.errors import Error

BLOCK = 256  # samples whose distances to all others of their class are held at once


def smote(x: Any, y: Any, k: int = 5, seed: int = 0, verbose: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Samples with as many of each class as of the most frequent: between a sample and one of its k nearest neighbours.

    x (n, ...), y (n,) class numbers -> both with new samples behind the old ones. A new sample is x + u (x' - x): x
    drawn from its class, x' one of the k samples of that class nearest to it (Euclidean distance), u uniform in [0, 1].
    Chawla, Bowyer, Hall & Kegelmeyer 2002, SMOTE: synthetic minority over-sampling technique.
    """
    x, y = np.asarray(x), np.asarray(y)
    if not x.size or not x.ndim or y.shape != (len(x),) or not hasattr(k, "__index__") or k < 1:
        raise Error(
            f"smote: needs samples (n, ...), classes (n,) and k of 1 or more, got {x.shape}, {y.shape}, {k!r}"
        )
    if x.dtype.kind not in "biuf":
        raise Error(f"smote: samples must be numbers, got {x.dtype}")
    rng = np.random.Generator(np.random.Philox(seed))
    classes, counts = np.unique(y, return_counts=True)
    most, new = int(counts.max()), [(x, y)]
    pairs = list(zip(classes, counts, strict=True))
    for label, count in tqdm(pairs, "smote", unit="class", delay=2, disable=not verbose):
        members = x[y == label].reshape(count, -1).astype(np.float32)
        if count == most:
            continue
        if count < 2:
            raise Error(
                f"smote: class {label} has one sample, and so no neighbour; collect more or leave it out"
            )
        neighbours = _neighbours(members, min(k, count - 1))
        chosen = rng.integers(count, size=most - count)
        others = neighbours[chosen, rng.integers(neighbours.shape[1], size=len(chosen))]
        u = rng.uniform(0, 1, (len(chosen), 1)).astype(np.float32)
        made = members[chosen] + u * (members[others] - members[chosen])
        made = made if x.dtype.kind == "f" else np.rint(made)
        new.append((made.reshape(-1, *x.shape[1:]).astype(x.dtype), np.full(len(chosen), label, y.dtype)))
    return np.concatenate([part for part, _ in new]), np.concatenate([part for _, part in new])


def _neighbours(rows: np.ndarray, k: int) -> np.ndarray:
    """(n, k): the numbers of the k rows nearest to each row, not counting itself."""
    squares = (rows.astype(np.float64) ** 2).sum(1)
    found = np.empty((len(rows), k), np.intp)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        distance = squares[start : start + BLOCK, None] + squares - 2.0 * (block @ rows.T)
        distance[np.arange(len(block)), start + np.arange(len(block))] = np.inf
        found[start : start + BLOCK] = np.argpartition(distance, k - 1, 1)[:, :k]
    return found
