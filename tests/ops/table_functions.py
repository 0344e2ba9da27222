"""Rows of ops for angles, errors of normal numbers and order, and of functions that are made of other ops."""

import colorsys
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from op_harness import Row
from scipy import special

from fastcnn import ops

SHAPES = {"nothing equal": [(2, 3, 5)], "smallest": [(1, 1, 1)]}
MATRIX = {"nothing equal": [(4, 3)]}
PAIR = {"nothing equal": [(3, 4), (3, 4)], "repeated": [(2, 3, 1), (3, 4)]}
IMAGES = {"nothing equal": [(2, 4, 5, 3)]}


def inside(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """In (-1, 1), away from the ends and from 0."""
    return rng.uniform(0.1, 0.9, shape) * rng.choice([-1, 1], shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(1.1, 2.0, shape)


def apart(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """No two numbers are near each other, or 0."""
    return rng.permutation(np.arange(math.prod(shape)) * 0.11 - 1.37).reshape(shape)


def colours(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """In (0, 1), all of them different."""
    return rng.permutation(np.linspace(0.05, 0.95, math.prod(shape))).reshape(shape)


def row(
    name: str, reference: Callable, cases: dict, make: Any = None, terms: int = 16, **options: Any
) -> Row:
    function = getattr(ops, name)
    return Row(
        f"{name} {options}", lambda *xs: function(*xs, **options), lambda *xs: reference(*xs), cases, make, terms=terms
    )  # fmt: skip


def places(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-shape[-1], shape[-1], shape).astype(float)


@ops.custom_gradient
def softplus(x: Any, factor: Any) -> Any:
    """factor log(1 + exp x), with the gradients that it has."""
    e = ops.exp(x)
    y = ops.log(1.0 + e)
    return factor * y, lambda dy: (dy * factor * (1.0 - 1.0 / (1.0 + e)), dy * y)


def ids(count: int) -> np.ndarray:
    return np.array([0, 2, 2, 1, 0, 2, 1])[:count]


def summed(x: np.ndarray) -> np.ndarray:
    y = np.zeros((4, *x.shape[1:]))
    for i, s in zip(ids(len(x)), x, strict=True):
        y[i] += s
    return y


def unfolded(x: np.ndarray) -> np.ndarray:
    n, c, h, w = x.shape
    windows = [x[:, :, i : i + 2, j : j + 3].reshape(n, -1) for i in range(h - 1) for j in range(w - 2)]
    return np.stack(windows, -1)


def adaptive(reduce: Callable) -> Callable:
    def pool(x: np.ndarray) -> np.ndarray:
        for axis, size in ((1, 3), (2, 2)):
            n = x.shape[axis]
            cells = [
                reduce(np.take(x, range(i * n // size, -(-(i + 1) * n // size)), axis), axis)
                for i in range(size)
            ]
            x = np.stack(cells, axis)
        return x

    return pool


def attention(q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
    scores = np.einsum("nthd,nshd->nhts", q, k) / np.sqrt(q.shape[-1])
    return np.einsum("nhts,nshd->nthd", special.softmax(scores, -1), v)


def moved(x: np.ndarray) -> np.ndarray:
    """Half a pixel to the left, the last column repeated."""
    after = np.concatenate([x[:, :, 1:], x[:, :, -1:]], 2)
    return (x + after) / 2


def rgb_of(x: np.ndarray) -> np.ndarray:
    return np.array([colorsys.hsv_to_rgb(*pixel) for pixel in x.reshape(-1, 3)]).reshape(x.shape)


SHIFT = np.array([1, 0, 0.5, 0, 1, 0, 0, 0])

ROWS = [
    Row("custom_gradient", softplus, lambda x, factor: factor * np.log1p(np.exp(x)),
        {"nothing equal": [(2, 3, 5), (2, 3, 5)], "smallest": [(1,), (1,)]}, terms=16),
    row("arctan2", np.arctan2, PAIR, inside),
    row("arctan", np.arctan, SHAPES),
    row("arcsin", np.arcsin, SHAPES, inside),
    row("arccos", np.arccos, SHAPES, inside),
    row("arcsinh", np.arcsinh, SHAPES, inside),
    row("arccosh", np.arccosh, SHAPES, positive),
    row("arctanh", np.arctanh, SHAPES, inside),
    row("tan", np.tan, SHAPES, inside),
    row("sinh", np.sinh, SHAPES),
    row("cosh", np.cosh, SHAPES),
    row("sinc", np.sinc, SHAPES, inside),
    row("hypot", np.hypot, PAIR, inside),
    row("erf", special.erf, SHAPES),
    row("erfc", special.erfc, SHAPES),
    row("erfinv", special.erfinv, SHAPES, inside),
    row("cbrt", np.cbrt, SHAPES, inside),
    row("exp2", np.exp2, SHAPES),
    row("logaddexp2", np.logaddexp2, PAIR),
    row("fmod", np.fmod, PAIR, positive),
    row("fmax", np.fmax, PAIR, inside),
    row("fmin", np.fmin, PAIR, inside),
    Row(
        "argsort", lambda x: ops.cast(ops.argsort(x), x.dtype), lambda x: np.argsort(x, -1).astype(float),
        {"nothing equal": [(3, 7)], "smallest": [(1, 1)]}, apart, differentiable=[],
    ),
    row("sort", np.sort, {"nothing equal": [(3, 7)]}, apart),
    row("sort", lambda x: np.sort(x, 0), {"nothing equal": [(5, 3)]}, apart, axis=0),
    Row("top_k", lambda x: ops.top_k(x, 2)[0], lambda x: -np.sort(-x, -1)[:, :2], {"nothing equal": [(3, 7)]}, apart),
    Row(
        "take_along_axis", lambda x, i: ops.take_along_axis(x, i, -1),
        lambda x, i: np.take_along_axis(x, i.astype(int), -1), {"nothing equal": [(3, 5), (3, 5)]},
        makers=[None, places], differentiable=[0],
    ),
    row("median", lambda x: np.median(x, 1), {"odd": [(2, 5)], "even": [(2, 6)]}, apart, axis=1),
    row("quantile", lambda x: np.quantile(x, 0.3, 1), {"nothing equal": [(2, 5)]}, apart, q=0.3, axis=1),
    row("nanquantile", lambda x: np.quantile(x, 0.3, 1), {"nothing equal": [(2, 5)]}, apart, q=0.3, axis=1),
    row("cumprod", lambda x: np.cumprod(x, 1), {"nothing equal": [(2, 5, 3)]}, axis=1),
    row("diff", lambda x: np.diff(x, 2, 0), MATRIX, n=2, axis=0),
    row("trapezoid", lambda x: np.trapezoid(x, axis=1), MATRIX, axis=1),
    row("ptp", lambda x: np.ptp(x, 1), MATRIX, apart, axis=1),
    row("nanmean", lambda x: np.mean(x, 1), MATRIX, axis=1),
    row("nanvar", lambda x: np.var(x, 1), MATRIX, axis=1),
    row("nanmax", lambda x: np.max(x, 1), MATRIX, apart, axis=1),
    row("diagonal", lambda x: np.diagonal(x, 1, 0, 2), {"nothing equal": [(3, 2, 5)]}, offset=1, axis1=0, axis2=2),
    row("trace", np.trace, {"nothing equal": [(3, 4)]}),
    row("diagflat", lambda x: np.diagflat(x, -1), {"nothing equal": [(4,)]}, k=-1),
    row("vander", np.vander, {"nothing equal": [(4,)]}, positive),
    row("kron", np.kron, {"nothing equal": [(2, 3), (3, 2)]}),
    row("cross", np.cross, {"nothing equal": [(4, 3), (4, 3)]}),
    row("inner", np.inner, {"nothing equal": [(2, 3), (4, 3)]}),
    row("rms_normalization", lambda x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-3), MATRIX, epsilon=1e-3),
    row("corrcoef", np.corrcoef, {"nothing equal": [(3, 5)]}),
    Row("segment_sum", lambda x: ops.segment_sum(x, ids(x.shape[0]), 4), summed, {"nothing equal": [(7, 3)]}, terms=7),
    Row(
        "segment_max", lambda x: ops.segment_max(x, ids(7), 3),
        lambda x: np.stack([x[ids(7) == s].max(0) for s in range(3)]), {"nothing equal": [(7, 2)]}, apart,
    ),
    Row(
        "scatter_update", lambda x, u: ops.scatter_update(x, [[1], [3]], u),
        lambda x, u: np.stack([x[0], u[0], x[2], u[1]]), {"nothing equal": [(4, 3), (2, 3)]},
    ),
    Row(
        "slice_update", lambda x, u: ops.slice_update(x, (1, 1), u),
        lambda x, u: np.block([[x[:1]], [x[1:3, :1], u], [x[3:]]]), {"nothing equal": [(4, 3), (2, 2)]},
    ),
    row("unfold", unfolded, {"nothing equal": [(2, 2, 3, 4)]}, kernel_size=(2, 3)),
    row("adaptive_average_pool", adaptive(np.mean), IMAGES, output_size=(3, 2)),
    row("adaptive_max_pool", adaptive(np.max), IMAGES, apart, output_size=(3, 2)),
    row("extract_sequences", lambda x: np.stack([x[..., :3], x[..., 2:5]], -2), MATRIX | {"nothing equal": [(2, 6)]},
        sequence_length=3, sequence_stride=2),
    row("dot_product_attention", attention, {"nothing equal": [(2, 3, 2, 4), (2, 5, 2, 4), (2, 5, 2, 4)]}),
    row("hsv_to_rgb", rgb_of, {"nothing equal": [(2, 3, 3)]}, colours),
    row("affine_transform", moved, {"nothing equal": [(2, 3, 4, 2)]}, transform=SHIFT, fill_mode="nearest"),
]  # fmt: skip
