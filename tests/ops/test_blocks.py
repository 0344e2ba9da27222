"""Every op of the table, in blocks of images and over the whole batch: the same results."""

import numpy as np
import pytest
from op_harness import make_inputs

from fastcnn import ops
from fastcnn.graph import gradients
from fastcnn.ops import chunks
from fastcnn.plan import Function, chain
from fastcnn.tensor import Tensor, TensorSpec
from ops.test_op_table import CASES

SECOND = 3  # of the inputs' copies along the first dimension, so that there is something to cut


def in_chain(row, xs: tuple[Tensor, ...]) -> list[Tensor]:
    """The op between others that can be cut, and the gradients of a sum of squares."""
    inputs = [ops.multiply(x, 1.0) if i in wanted(row, xs) else x for i, x in enumerate(xs)]
    found = row.function(*inputs)
    outputs = [y for y in (found if isinstance(found, tuple | list) else [found]) if y.dtype == "float64"]
    outputs = [ops.multiply(y, 1.0) for y in outputs]
    if row.exact_gradient is not None or not outputs:
        return outputs
    total = sum((ops.sum(ops.square(y)) for y in outputs[1:]), ops.sum(ops.square(outputs[0])))
    grads = gradients(total, [xs[i] for i in wanted(row, xs)])
    return [*outputs, *(g for g in grads if g is not None)]


def wanted(row, xs) -> list[int]:
    return list(range(len(xs)) if row.differentiable is None else row.differentiable)


@pytest.mark.parametrize(("row", "shapes"), CASES)
def test_blocks_give_the_same(row, shapes, monkeypatch):
    arrays = make_inputs(row, shapes, "float64")
    results = []
    for worth in (1, 1 << 60):
        monkeypatch.setattr(chain, "WORTH", worth)
        monkeypatch.setattr(chain, "LEAST", 2)
        monkeypatch.setattr(chain, "CACHE", 1)
        monkeypatch.setattr(chain, "SIMILAR", 1e9)
        monkeypatch.setattr(chain, "needed", lambda node, images: 1)
        monkeypatch.setattr(chunks, "CHUNK", 1)
        monkeypatch.setattr(chunks, "WEIGHTS", 0)
        function = Function(lambda *xs: in_chain(row, xs), row.training)
        function.plan([TensorSpec(a.shape, str(a.dtype)) for a in arrays])
        results.append(function(*arrays))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
