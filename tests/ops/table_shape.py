"""Rows for fastcnn.ops.shape."""

from collections.abc import Callable

import numpy as np
import reference
from op_harness import Row

from fastcnn import ops

BOX = {"nothing equal": [(2, 3, 4)]}
IMAGE = {"nothing equal": [(2, 3, 4, 2)], "smallest": [(1, 1, 1, 1)]}


def row(name: str, function: Callable, expected: Callable, cases: dict = BOX, **options: object) -> Row:
    return Row(name, function, expected, cases, **options)


def both(name: str, call: Callable, cases: dict = BOX) -> Row:
    """`call` takes the module to use (ours, or NumPy, which agrees) and the inputs."""
    return Row(name, lambda *xs: call(ops, *xs), lambda *xs: call(np, *xs), cases)


def indices(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of a table of three, some of them twice, one counted from the end."""
    return rng.integers(-1, 3, shape)


SLICES: dict[str, Callable] = {
    "integer": lambda x: x[1],
    "last": lambda x: x[..., -1],
    "range": lambda x: x[:, 1:3],
    "step": lambda x: x[:, ::2, 1::3],
    "reversed": lambda x: x[::-1, -1:0:-1],
    "new axis": lambda x: x[None, 1, :, None, 2:],
    "everything": lambda x: x[...],
}

ROWS = [
    both("reshape", lambda m, x: m.reshape(x, (4, -1))),
    row(
        "reshape keeping the batch",
        lambda x: ops.reshape(x, (None, 2, 6)),
        lambda x: x.reshape(2, 2, 6),
    ),
    row("flatten", ops.flatten, lambda x: x.reshape(2, 12)),
    both("ravel", lambda m, x: m.ravel(x)),
    both("expand_dims", lambda m, x: m.expand_dims(x, (0, -2))),
    both("squeeze", lambda m, x: m.squeeze(x, 1), {"one": [(3, 1, 2)]}),
    row("squeeze all", ops.squeeze, lambda x: x.squeeze(), {"two": [(3, 1, 2, 1)]}),
    both("transpose", lambda m, x: m.transpose(x, (1, 2, 0))),
    both("transpose reversed", lambda m, x: m.transpose(x)),
    both("swapaxes", lambda m, x: m.swapaxes(x, 0, -1)),
    both("moveaxis", lambda m, x: m.moveaxis(x, (0, 1), (-1, 0)), IMAGE),
    both(
        "broadcast_to",
        lambda m, x: m.broadcast_to(x, (2, 3, 4, 2)),
        {"two ways": [(3, 1, 2)], "number": [(1,)]},
    ),
    both("repeat", lambda m, x: m.repeat(x, 3, 1)),
    both("repeat flat", lambda m, x: m.repeat(x, 2)),
    both(
        "tile",
        lambda m, x: m.tile(x, (2, 1, 3)),
        {"nothing equal": [(2, 3, 2)], "fewer dimensions": [(3, 2)]},
    ),
    both("flip", lambda m, x: m.flip(x, (0, 2))),
    both("concatenate", lambda m, *xs: m.concatenate(xs, 1), {"three": [(2, 1, 3), (2, 4, 3), (2, 2, 3)]}),
    both(
        "concatenate last",
        lambda m, *xs: m.concatenate(xs, -1),
        {"two": [(2, 3, 1), (2, 3, 5)], "one": [(2, 3)]},
    ),
    both("stack", lambda m, *xs: m.stack(xs, 1), {"two": [(2, 3), (2, 3)]}),
    both("split", lambda m, x: m.split(x, 2, -1)),
    both("split at", lambda m, x: m.split(x, [1, 3], 2)),
    row("unstack", lambda x: ops.unstack(x, axis=1), lambda x: tuple(x[:, i] for i in range(3))),
    row("slice", lambda x: ops.slice(x, (0, 1, 2), (2, 2, 1)), lambda x: x[:, 1:3, 2:3]),
    *(row(f"getitem {name}", function, function) for name, function in SLICES.items()),
    both("pad", lambda m, x: m.pad(x, ((1, 0), (0, 0), (2, 3)))),
    both("pad with a number", lambda m, x: m.pad(x, 1, constant_values=7.0)),
    both("pad reflect", lambda m, x: m.pad(x, ((0, 1), (2, 1), (0, 3)), mode="reflect")),
    both("pad symmetric", lambda m, x: m.pad(x, ((2, 1), (0, 0), (4, 0)), mode="symmetric")),
    row(
        "take",
        ops.take,
        lambda x, i: np.take(x, i.astype(int)),
        {"of all elements": [(3,), (5, 2)]},
        makers=[None, indices],
        differentiable=[0],
        terms=5,
    ),
    row(
        "take along an axis",
        lambda x, i: ops.take(x, i, axis=1),
        lambda x, i: np.take(x, i.astype(int), axis=1),
        {"nothing equal": [(2, 3, 4), (2, 5)]},
        makers=[None, indices],
        differentiable=[0],
        terms=5,
    ),
    row("cast there and back", lambda x: ops.cast(ops.cast(x, "float64"), x.dtype), lambda x: x),
    row(
        "upsample",
        lambda x: ops.upsample(x, (2, 3)),
        lambda x: reference.upsample_nearest(x, (2, 3)),
        IMAGE,
        terms=6,
    ),
    row(
        "upsample bilinear",
        lambda x: ops.upsample(x, (2, 3), "bilinear"),
        lambda x: reference.upsample_bilinear(x, (2, 3)),
        IMAGE,
        terms=24,
    ),
    row(
        "resize",
        lambda x: ops.resize(x, (3, 12)),
        lambda x: reference.upsample_bilinear(x, (1, 3)),
        {"nothing equal": [(2, 3, 4, 2)]},
        terms=24,
    ),
]
