"""Rows for fastcnn.ops.resample and fastcnn.ops.color: places away from the kinks between pixels."""

from collections.abc import Callable
from typing import Any

import numpy as np
from op_harness import Row
from reference import image as reference

from fastcnn import ops
from fastcnn.ops.color import Ranking
from fastcnn.ops.policy import PolicyStep
from fastcnn.ops.random import RandomLogGamma

KERAS = {
    "constant": "constant",
    "nearest": "edge",
    "mirror": "reflect",
    "reflect": "symmetric",
    "wrap": "wrap",
}
PLACES = {"nothing equal": [(2, 3, 4, 2), (2, 2, 5, 2)], "smallest": [(1, 1, 1, 1), (1, 1, 1, 2)]}
MAPS = {"nothing equal": [(2, 3, 4, 2), (2, 8)], "smallest": [(1, 1, 1, 1), (1, 8)]}
COLORS = {
    "nothing equal": [(2, 3, 4, 3), (2, 3, 4)],
    "grey": [(2, 3, 4, 3), (2, 1, 4)],
    "smallest": [(1, 1, 1, 1), (1, 1, 2)],
}
HUES = {"nothing equal": [(2, 3, 4, 3), (2,), (2,)]}
COVERED_ELSEWHERE: set[type] = {PolicyStep, RandomLogGamma}  # test_policy.py, test_random.py
COVERED_ELSEWHERE |= {Ranking}  # what Equalize and Clahe have in common


def places(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-4, 8, shape) + rng.uniform(0.1, 0.4, shape)


def maps(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Nearly the identity; no place that they take pixels from lies near a pixel or between two."""
    t = np.tile(np.array([1.0, 0, 0.23, 0, 1.0, 0.31, 0, 0]), (shape[0], 1))
    return t + rng.uniform(-1, 1, shape) * [0.01, 0.01, 0.02, 0.01, 0.01, 0.02, 0.001, 0.001]


def apart(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.permutation(np.linspace(0.05, 0.95, int(np.prod(shape)))).reshape(shape)


def factors(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0.3, 0.9, shape)


def field_row(method: str, fill_mode: str) -> Row:
    return Row(
        f"field_gather {method} {fill_mode}",
        lambda x, field: ops.field_gather(x, field, method, fill_mode, 0.7),
        lambda x, field: reference.field_gather(x, field, method, KERAS[fill_mode], 0.7),
        PLACES, makers=[None, places], terms=32, differentiable=[0] if method == "nearest" else None,
    )  # fmt: skip


def map_row(method: str, fill_mode: str) -> Row:
    return Row(
        f"affine_gather {method} {fill_mode}",
        lambda x, t: ops.affine_gather(x, t, (2, 5), method, fill_mode, 0.7),
        lambda x, t: reference.affine_gather(x, t, (2, 5), method, KERAS[fill_mode], 0.7),
        MAPS, makers=[None, maps], terms=1024, differentiable=[0] if method == "nearest" else None,
    )  # fmt: skip


def row(name: str, expected: Callable, cases: dict, makers: Any, **options: Any) -> Row:
    function = getattr(ops, name)
    return Row(
        f"{name} {options}", lambda *xs: function(*xs, **options), lambda *xs: expected(*xs, **options), cases,
        makers=makers, terms=64, differentiable=[] if name in ("clahe", "equalize") else None,
    )  # fmt: skip


ROWS = [
    *[field_row(method, mode) for method in ("nearest", "bilinear") for mode in KERAS],
    *[map_row(method, mode) for method in ("nearest", "bilinear") for mode in ("constant", "reflect")],
    row("color_matrix", reference.color_matrix, COLORS, [None, None]),
    row("color_matrix", reference.color_matrix, COLORS, [None, None], low=-0.5, high=1.0),
    row("hue_saturation", reference.hue_saturation, HUES, [apart, factors, factors]),
    row("equalize", reference.equalize, {"nothing equal": [(2, 3, 4, 3)]}, [apart], low=0.0, high=1.0, bins=16),
    row(
        "clahe", reference.clahe, {"nothing equal": [(2, 7, 9, 3)], "smallest": [(1, 1, 1, 1)]}, [apart],
        clip_limit=1.7, tiles=(2, 3), low=0.0, high=1.0, bins=16,
    ),
]  # fmt: skip
