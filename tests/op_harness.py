"""Every op's test comes from one row: values against a naive reference, gradients against finite differences,
one thread against several bit for bit."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fastcnn_kernels import team
from reference import relative_error

from fastcnn.graph import Trace, ancestors, gradients, tracing
from fastcnn.plan import Function
from fastcnn.tensor import Tensor, TensorSpec


@dataclass
class Row:
    """One op on awkward shapes.

    function: of tensors, as users call it; reference: the same of float64 arrays, naive, returning an array (or a
    tuple where the op has several outputs); shapes: of its inputs, for each case by the reason it is there.
    """

    name: str
    function: Callable[..., Any]
    reference: Callable[..., Any]
    cases: dict[str, Sequence[tuple[int, ...]]]
    make: Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] | None = None  # default: normal(0, 1)
    makers: Sequence[Callable[[np.random.Generator, tuple[int, ...]], np.ndarray] | None] | None = (
        None  # per input
    )
    differentiable: Sequence[int] | None = None  # input numbers whose gradient is checked; default: all
    terms: int = 1  # how many numbers a result sums: tolerance = 8 * eps * sqrt(terms) of the largest result
    training: bool = False
    exact_gradient: Callable[..., Sequence[np.ndarray]] | None = None  # where finite differences do not apply
    eps: float = 1e-6
    tags: list[str] = field(default_factory=list)


def make_inputs(row: Row, shapes: Sequence[tuple[int, ...]], dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(zlib.crc32(f"{row.name} {shapes}".encode()))
    makers = row.makers or [row.make] * len(shapes)
    return [
        (maker(rng, shape) if maker else rng.normal(size=shape)).astype(dtype)
        for maker, shape in zip(makers, shapes, strict=True)
    ]


def as_tuple(value: Any) -> tuple:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def run(row: Row, inputs: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    return as_tuple(Function(row.function, training=row.training)(*inputs))


def check_forward(row: Row, shapes: Sequence[tuple[int, ...]], dtype: str) -> None:
    inputs = make_inputs(row, shapes, dtype)
    expected = as_tuple(row.reference(*[x.astype(np.float64) for x in inputs]))
    actual = run(row, inputs)
    assert len(actual) == len(expected)
    for a, e in zip(actual, expected, strict=True):
        e = np.asarray(e)
        assert a.shape == e.shape, f"shape {a.shape}, expected {e.shape}"
        assert a.dtype == dtype
        scale = max(float(np.max(np.abs(e[np.isfinite(e)]), initial=0.0)), 1e-3)
        np.testing.assert_allclose(a, e, rtol=0, atol=8 * np.finfo(dtype).eps * np.sqrt(row.terms) * scale)


def check_gradient(row: Row, shapes: Sequence[tuple[int, ...]]) -> None:
    """Analytic gradient of sum(weights * outputs) against central differences in float64, error below 1e-6."""
    inputs = make_inputs(row, shapes, "float64")
    wanted = list(range(len(inputs))) if row.differentiable is None else list(row.differentiable)
    if not wanted:
        return
    rng = np.random.default_rng(5)
    weights = [rng.normal(size=y.shape) for y in run(row, inputs)]
    n = len(inputs)

    def body(*tensors: Tensor) -> Any:
        outputs = as_tuple(row.function(*tensors[:n]))
        return gradients(outputs, [tensors[i] for i in wanted], list(tensors[n:]))

    analytic = Function(body, training=row.training)(*inputs, *weights)
    forward = Function(row.function, training=row.training)

    def objective(*xs: np.ndarray) -> float:
        return float(sum((w * y).sum() for w, y in zip(weights, as_tuple(forward(*xs)), strict=True)))

    for i, dx in zip(wanted, analytic, strict=True):
        assert dx is not None, f"input {i} has no gradient"
        numeric = _differences(objective, inputs, i, row.eps)
        assert relative_error(dx, numeric) < 1e-6, f"input {i}: {relative_error(dx, numeric)}"


def _differences(f: Callable[..., float], inputs: Sequence[np.ndarray], i: int, eps: float) -> np.ndarray:
    """Central differences of f for every element of input i."""
    grad = np.zeros(inputs[i].shape)
    for index in np.ndindex(*inputs[i].shape):
        plus, minus = [x.copy() for x in inputs], [x.copy() for x in inputs]
        plus[i][index] += eps
        minus[i][index] -= eps
        grad[index] = (f(*plus) - f(*minus)) / (2 * eps)
    return grad


def check_threads(row: Row, shapes: Sequence[tuple[int, ...]]) -> None:
    """Values and gradients are the same bits on 1, 2 and 3 threads."""
    inputs = make_inputs(row, shapes, "float32")
    wanted = list(range(len(inputs))) if row.differentiable is None else list(row.differentiable)

    def body(*tensors: Tensor) -> Any:
        outputs = as_tuple(row.function(*tensors))
        return list(outputs), gradients(outputs, [tensors[i] for i in wanted]) if wanted else []

    before = team.num_threads()
    results = []
    try:
        for threads in (1, 2, 3):
            team.set_num_threads(threads)
            results.append(Function(body, training=row.training)(*inputs))
    finally:
        team.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip([*results[0][0], *results[0][1]], [*other[0], *other[1]], strict=True):
            np.testing.assert_array_equal(a, b)


def ops_used(row: Row) -> set[type]:
    """Classes of the ops in the row's forward and backward graphs."""
    trace = Trace(row.training)
    used: set[type] = set()
    with tracing(trace):
        for shapes in row.cases.values():
            tensors = [Tensor(*TensorSpec(shape, "float32")) for shape in shapes]
            outputs = as_tuple(row.function(*tensors))
            wanted = range(len(tensors)) if row.differentiable is None else row.differentiable
            grads = gradients(outputs, [tensors[i] for i in wanted]) if wanted else []
            used |= {type(n.operation) for n in ancestors([*outputs, *(g for g in grads if g is not None)])}
    return used
