"""Values and gradients of every row of the op table, in float32, by the names of the cases."""

import importlib
import pkgutil
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import ops as tables
from op_harness import Row, as_tuple, make_inputs

from fastcnn.graph import gradients
from fastcnn.plan import Function
from fastcnn.plan.progress import compile_progress
from fastcnn.tensor import Constant, Tensor

CASES: dict[str, tuple[Row, Sequence[tuple[int, ...]]]] = {
    f"{row.name}-{reason}": (row, shapes)
    for module in pkgutil.iter_modules(tables.__path__)
    if module.name.startswith("table_")
    for row in importlib.import_module(f"ops.{module.name}").ROWS
    for reason, shapes in row.cases.items()
}


def evaluate(row: Row, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """The outputs, and the gradients of their sums with random weights."""
    inputs = make_inputs(row, shapes, "float32")
    wanted = range(len(inputs)) if row.differentiable is None else row.differentiable

    def body(*tensors: Tensor) -> Any:
        outputs = as_tuple(row.function(*tensors))
        if not wanted:
            return list(outputs), []
        rng = np.random.default_rng(zlib.crc32(row.name.encode()))
        weights = [Constant(rng.normal(size=y.shape).astype(y.dtype)) for y in outputs]
        return list(outputs), gradients(outputs, [tensors[i] for i in wanted], weights)

    outputs, grads = Function(body, training=row.training)(*inputs)
    return [*outputs, *(g for g in grads if g is not None)]


def results() -> dict[str, np.ndarray]:
    """All of them, computed on the device that is set."""
    with compile_progress(False):
        found = {name: evaluate(*case) for name, case in CASES.items()}
    return {f"{name}|{i}": np.asarray(y) for name, ys in found.items() for i, y in enumerate(ys)}
