"""Functions that are written with other ops: algebra, arithmetic, arrangement, image, logic, control, creation."""

from collections.abc import Callable
from typing import Any

import numpy as np
from op_harness import Row

from fastcnn import ops

MATRIX = {"nothing equal": [(3, 4)], "smallest": [(1, 1)]}
CUBE = {"nothing equal": [(2, 3, 4)], "smallest": [(1, 1, 1)]}
PAIR = {"nothing equal": [(3, 4), (3, 4)], "repeated": [(2, 3, 1), (3, 4)], "smallest": [(1,), (1,)]}
IMAGES = {"nothing equal": [(2, 4, 6, 3)]}


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Away from zero, from each other's multiples, and from whole numbers."""
    return rng.uniform(0.55, 0.95, shape)


def bits(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 2, shape).astype(float)


def strange(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers, infinities, NaN."""
    return rng.choice([0.0, 1.5, -2.0, np.inf, -np.inf, np.nan], shape)


def like(name: str, cases: dict, *args: Any, terms: int = 12, make: Any = None, **options: Any) -> Row:
    """A function with a namesake in NumPy that takes the same further arguments."""
    ours, theirs = getattr(ops, name), getattr(np, name)
    title = f"{name} {args} {options}"
    return Row(
        title, lambda *xs: ours(*xs, *args, **options), lambda *xs: theirs(*xs, *args, **options), cases, make,
        terms=terms,
    )  # fmt: skip


def fixed(name: str, cases: dict, reference: Callable, make: Any = None, **options: Any) -> Row:
    """Without gradient; 1 and 0 for true and false."""
    ours = getattr(ops, name)

    def function(*xs: Any) -> Any:
        return ops.cast(ours(*xs, **options), xs[0].dtype)

    def expected(*xs: np.ndarray) -> np.ndarray:
        return np.asarray(reference(*xs, **options), float)

    return Row(f"{name} {options}", function, expected, cases, make, differentiable=[])


def blocks_to_depth(x: np.ndarray) -> np.ndarray:
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 4 * c)


def depth_to_blocks(x: np.ndarray) -> np.ndarray:
    n, h, w, c = x.shape
    cells = x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
    return cells.reshape(n, 2 * h, 2 * w, c // 4)


def gray(x: np.ndarray) -> np.ndarray:
    return x @ np.array([[0.2989], [0.587], [0.114]])


def divided(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.divide(x, y, out=np.zeros(np.broadcast_shapes(x.shape, y.shape)), where=y != 0)


EINSUMS = {
    "bij,bjk->bik": [(2, 3, 4), (2, 4, 2)],  # stacks of matrices
    "abc,cde->dabe": [(2, 3, 4), (4, 2, 3)],  # one matrix of several axes
    "bsnh,btnh->bnts": [(2, 3, 2, 4), (2, 5, 2, 4)],
    "ab,ab->": [(2, 3), (2, 3)],
    "ab,cd->cadb": [(2, 3), (4, 2)],  # nothing in common
    "aab,b->a": [(3, 3, 2), (2,)],  # a diagonal
    "abc,bd->d": [(2, 3, 4), (3, 2)],  # letters of one operand alone
    "ab,bc,cd->da": [(2, 3), (3, 4), (4, 2)],
}

ROWS = [
    *(like("cumsum", CUBE, axis=axis) for axis in (None, 1, -1)),
    *(like("prod", CUBE, axis=axis, make=positive) for axis in (None, (0, 2), -1)),
    *(like("average", CUBE, axis=axis) for axis in (None, 1)),
    like("dot", {"matrices": [(2, 3), (3, 4)], "vectors": [(3,), (3,)], "stacks": [(2, 3, 4), (4, 2)]}),
    like("outer", {"vectors": [(3,), (4,)]}),
    like("tensordot", {"two axes": [(2, 3, 4), (3, 4, 2)]}, 2, terms=24),
    *(like("tril", MATRIX, k) for k in (0, 1, -1)),
    *(like("triu", MATRIX, k) for k in (0, 1, -1)),
    *(
        Row(f"einsum {equation}", lambda *xs, e=equation: ops.einsum(e, *xs), lambda *xs, e=equation: np.einsum(e, *xs),
            {"of " + equation: shapes}, terms=48)
        for equation, shapes in EINSUMS.items()
    ),
    *(
        Row(f"norm over {axis}", lambda x, axis=axis: ops.norm(x, axis=axis),
            lambda x, axis=axis: np.asarray(np.linalg.norm(x, axis=axis)), CUBE, positive, terms=24)
        for axis in (1, -1)
    ),
    like("logaddexp", PAIR),
    like("log2", MATRIX, make=positive),
    like("log10", MATRIX, make=positive),
    Row("floor_divide", ops.floor_divide, np.floor_divide, PAIR, positive, differentiable=[]),
    Row("mod", ops.mod, np.mod, PAIR, positive, differentiable=[], terms=4),
    Row("divide_no_nan", ops.divide_no_nan, divided, PAIR, positive, terms=4),
    Row("divide_no_nan by zero", ops.divide_no_nan, divided, PAIR, makers=[positive, bits], differentiable=[]),
    *(like("roll", CUBE, *args) for args in ((1,), (2, 1), ((1, -1), (0, 2)))),
    *(like("rot90", CUBE, k, (1, 2)) for k in (1, 2, 3)),
    Row("hstack", lambda x, y: ops.hstack([x, y]), lambda x, y: np.hstack([x, y]), {"columns": [(2, 3), (2, 1)]}),
    Row("vstack", lambda x, y: ops.vstack([x, y]), lambda x, y: np.vstack([x, y]), {"rows": [(2, 3), (1, 3)]}),
    Row("space_to_depth", lambda x: ops.space_to_depth(x, 2), blocks_to_depth, IMAGES),
    Row("depth_to_space", lambda x: ops.depth_to_space(x, 2), depth_to_blocks, {"four planes": [(2, 2, 3, 8)]}),
    Row("rgb_to_grayscale", ops.image.rgb_to_grayscale, gray, IMAGES, terms=4)
    if hasattr(ops, "image") else Row("rgb_to_grayscale", ops.rgb_to_grayscale, gray, IMAGES, terms=4),
    *(fixed(name, {"nothing equal": [(3, 5)]}, getattr(np, name), strange) for name in ("isnan", "isinf", "isfinite")),
    *(
        fixed(name, {"nothing equal": [(3, 4), (3, 4)]}, getattr(np, name), bits)
        for name in ("logical_and", "logical_or", "logical_xor", "isclose")
    ),
    fixed("logical_not", MATRIX, np.logical_not, bits),
    *(fixed(name, CUBE, getattr(np, name), bits, axis=1) for name in ("all", "any")),
]  # fmt: skip
