"""Rows for fastcnn.ops.matmul."""

import numpy as np
import reference
from op_harness import Row

from fastcnn import ops
from fastcnn.graph import gradients

DENSE = {
    "nothing equal": [(4, 3), (3, 5), (5,)],
    "smallest": [(1, 1), (1, 1), (1,)],
    "without bias": [(3, 4), (4, 2)],
    "several leading dimensions": [(2, 3, 4), (4, 5), (5,)],
    "a vector": [(4,), (4, 3), (3,)],
}
MATMUL = {
    "matrices": [(3, 4), (4, 2)],
    "vectors": [(4,), (4,)],
    "vector and matrix": [(4,), (4, 3)],
    "matrix and vector": [(3, 4), (4,)],
    "stack and matrix": [(2, 3, 4), (4, 5)],
    "matrix and stack": [(3, 4), (2, 4, 5)],
    "stacks": [(2, 3, 4), (2, 4, 5)],
    "stacks that broadcast": [(2, 1, 3, 2), (1, 3, 2, 2)],
    "stack and vector": [(2, 3, 4), (4,)],
}
LONG = {"a long sum": [(2600, 2), (2600, 3)]}


def kernel_gradient(x, dy):
    """x^T dy, as a dense layer makes it."""
    kernel = ops.convert_to_tensor(np.zeros((x.shape[1], dy.shape[1]), x.dtype))
    return gradients(ops.dense(x, kernel), [kernel], [dy])[0]


def all_gradients(a, b):
    """Products of every combination of transposed factors: gradients of second order."""
    c = ops.matmul(a, b)
    da, db = gradients(c * c, [a, b])
    return gradients([da * da, db * db], [a, b])


def all_gradients_reference(a, b):
    """By hand: da = 2 c b^T and db = 2 a^T c with c = a b; then of sum(da^2) + sum(db^2)."""
    c, bt, at = a @ b, np.swapaxes(b, -1, -2), np.swapaxes(a, -1, -2)
    da, db = 2 * c @ bt, 2 * at @ c
    dc = 4 * (da @ b + a @ db)
    return dc @ bt + 4 * c @ np.swapaxes(db, -1, -2), at @ dc + 4 * np.swapaxes(da, -1, -2) @ c


ROWS = [
    Row("dense", ops.dense, reference.dense, DENSE, terms=5),
    Row("matmul", ops.matmul, np.matmul, MATMUL, terms=4),
    Row("matrix operator", lambda a, b: a @ b, np.matmul, {"stacks": MATMUL["stacks"]}, terms=4),
    Row(
        "dense fused with relu",
        lambda *inputs: ops.relu(ops.dense(*inputs)),
        lambda *inputs: np.maximum(reference.dense(*inputs), 0),
        {"nothing equal": DENSE["nothing equal"]},
        terms=4,
    ),
    Row(
        "gradients of matmul", all_gradients, all_gradients_reference, {"stacks": MATMUL["stacks"]}, terms=60
    ),
    Row("sum in parts", kernel_gradient, lambda x, dy: x.T @ dy, LONG, differentiable=(), terms=2600),
]
