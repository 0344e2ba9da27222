"""Rows for fastcnn.ops.pooling."""

import numpy as np
import reference
from op_harness import Row

from fastcnn import ops

NOTHING_EQUAL = {"nothing equal": [(2, 5, 4, 3)]}
EXPLICIT = ((1, 0), (0, 1))


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """All elements differ by more than the gradient check moves them: a maximum stays where it is."""
    return rng.permutation(np.arange(np.prod(shape), dtype=float)).reshape(shape) / 10


def pool_row(name: str, function: str, expected: str, cases: dict, *args: object, **options: object) -> Row:
    def call(x: object) -> object:
        return getattr(ops, function)(x, *args, **options)

    strides, padding = options.get("strides"), options.get("padding", "valid")

    def compute(x: np.ndarray) -> np.ndarray:
        return getattr(reference, expected)(x, args[0], strides, padding)

    return Row(name, call, compute, cases, make=distinct, terms=9)


SMALL = {"usual": [(2, 4, 4, 3)], "rows and columns left over": [(1, 5, 3, 2)]}
SAME = {**NOTHING_EQUAL, "smallest": [(1, 1, 1, 1)]}

ROWS = [
    pool_row("max_pool", "max_pool", "max_pool2d", SMALL, (2, 2)),
    pool_row("max_pool overlapping", "max_pool", "max_pool2d", NOTHING_EQUAL, (3, 2), strides=(2, 1)),
    pool_row("max_pool same", "max_pool", "max_pool2d", SAME, (3, 2), strides=(2, 3), padding="same"),
    pool_row(
        "max_pool padded", "max_pool", "max_pool2d", NOTHING_EQUAL, (2, 2), strides=(1, 2), padding=EXPLICIT
    ),
    pool_row("average_pool", "average_pool", "average_pool2d", SMALL, (2, 2)),
    pool_row(
        "average_pool overlapping", "average_pool", "average_pool2d", NOTHING_EQUAL, (3, 2), strides=(2, 1)
    ),
    pool_row(
        "average_pool same", "average_pool", "average_pool2d", SAME, (3, 2), strides=(2, 3), padding="same"
    ),
    pool_row(
        "average_pool padded",
        "average_pool",
        "average_pool2d",
        NOTHING_EQUAL,
        (2, 2),
        strides=(1, 2),
        padding=EXPLICIT,
    ),
    Row(
        "max_pool of sequences",
        lambda x: ops.max_pool(x, 2, strides=1, padding="same"),
        lambda x: reference.max_pool2d(x[:, None], (1, 2), (1, 1), "same")[:, 0],
        {"nothing equal": [(2, 5, 3)]},
        make=distinct,
    ),
    Row(
        "global_average_pool",
        ops.global_average_pool,
        reference.global_average_pool2d,
        SAME,
        terms=20,
    ),
    Row(
        "global_max_pool, keeping dimensions",
        lambda x: ops.global_max_pool(x, keepdims=True),
        lambda x: reference.global_max_pool2d(x, keepdims=True),
        SAME,
        make=distinct,
    ),
]
