"""Products of matrices: dense layers and stacks of matrices."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from fastcnn_kernels.gemm import GemmGeometry, gemm_geometry

from fastcnn.errors import Error
from fastcnn.graph import Fused, Node, Op, apply, operation
from fastcnn.ops import reduction
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.cost import Cost, product_cost
from fastcnn.ops.epilogue import absorbed, floor_of, no_bias
from fastcnn.ops.shape import broadcast_to, expand_dims, known, require_same_dtype, reshape, squeeze
from fastcnn.tensor import Shape, Tensor, TensorSpec

__all__ = ["dense", "matmul"]


# --- ops -------------------------------------------------------------------------------------------------------------


@operation
class Dense(Op):
    """y = max(x kernel + bias, lower).  x (..., k), kernel (k, n), bias (n,) if any -> (..., n)."""

    lower: float | None = None
    residual: ClassVar[bool] = False
    images = (0,)

    def infer(self, x: Tensor, kernel: Tensor, *bias: Tensor) -> TensorSpec:
        require_same_dtype("dense", x, kernel, *bias)
        if kernel.ndim != 2 or x.ndim < 1 or x.shape[-1] not in (None, kernel.shape[0]):
            raise Error(
                f"dense: x of shape {x.shape} does not fit a kernel of shape {kernel.shape}; expected (..., features) "
                "and (features, units)"
            )
        if bias and bias[0].shape != kernel.shape[1:]:
            raise Error(f"dense: expected a bias of shape {kernel.shape[1:]}, got {bias[0].shape}")
        return TensorSpec((*x.shape[:-1], kernel.shape[1]), x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        x, kernel, *bias = inputs
        rows, dy = reshape(x, (-1, x.shape[-1])), reshape(grads[0], (-1, kernel.shape[1]))
        dx = reshape(apply(MatMul(False, True), dy, kernel), x.shape)
        return dx, apply(MatMul(True, False), rows, dy), *(reduction.sum(dy, 0) for _ in bias)

    def absorb(self, node: Node, reader: Node) -> Fused | None:
        return absorbed(node, reader, known(node.inputs[1].shape[1:]))

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 2 * outputs[0].size * known(inputs[1].shape)[0]

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        return product_cost(outputs[0].size, known(inputs[1].shape)[0])

    def geometry(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> GemmGeometry:
        *rows, k = known(inputs[0].shape)
        return gemm_geometry(math.prod(rows), outputs[0].shape[-1], k, np.dtype(inputs[0].dtype).itemsize)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, kernel, *bias), (y,) = inputs, outputs
        g = self.geometry(inputs, outputs)
        return [k.gemm.bind(x, kernel, no_bias(bias, y), y, floor_of(self.lower), g)]


def added(k: Any, partials: Any, result: Any) -> list:
    """The launch that adds up partial products."""
    return [k.reduce_sum.bind(partials.reshape(1, len(partials), -1), result.reshape(1, 1, -1), 1.0)]


@operation
class SplitDense(Dense):
    """`Dense`, its terms in parts that are added up: for devices that a few rows would not fill.

    y = max(sum over parts p of x[:, p] kernel[p] + bias, lower), where the p cut the k terms into ranges: x (..., k),
    kernel (k, n) -> (..., n), by way of one product (..., n) a part. The first part has the bias.
    """

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        return 0.5 * super().cost(inputs, outputs, ready)  # where that is not so, there is one part

    def scratch(
        self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> list[TensorSpec]:
        parts = k.gemm.parts(self.geometry(inputs, outputs), inputs[0].dtype)
        return [TensorSpec((parts, outputs[0].size), inputs[0].dtype)] if parts > 1 else []

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        if not scratch:
            return super().launch(k, inputs, outputs, scratch)
        (x, kernel, *bias), (y,), (partials,) = inputs, outputs, scratch
        g = self.geometry(inputs, outputs)._replace(parts=len(partials))
        product = k.gemm.bind(x, kernel, no_bias(bias, y), partials, -math.inf, g)
        bound = [] if self.lower is None else [k.relu_forward.bind(y.reshape(-1), y.reshape(-1))]
        return [product, *added(k, partials, y), *bound]


Dense.alternatives = Dense.alternatives | {"split": SplitDense}


@operation
class MatMul(Op):
    """c[t] = a[t] b[t], where a or b may be stored transposed.  a (..., m, k), b (..., k, n) -> (..., m, n)."""

    transpose_a: bool
    transpose_b: bool

    def sizes(self, a: Shape, b: Shape) -> Shape:
        """(m, n, k of a, k of b)."""
        m, k = (a[-1], a[-2]) if self.transpose_a else (a[-2], a[-1])
        other, n = (b[-1], b[-2]) if self.transpose_b else (b[-2], b[-1])
        return m, n, k, other

    def infer(self, a: Tensor, b: Tensor) -> TensorSpec:
        require_same_dtype("matmul", a, b)
        m, n, k, other = self.sizes(a.shape, b.shape)
        if None not in (k, other) and k != other:
            raise Error(f"matmul: shapes {a.shape} and {b.shape} do not fit: {k} columns, {other} rows")
        return TensorSpec((*a.shape[:-2], m, n), a.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, Tensor]:
        (a, b), (dc,) = inputs, grads
        ta, tb = self.transpose_a, self.transpose_b
        da = apply(MatMul(tb, True), b, dc) if ta else apply(MatMul(False, not tb), dc, b)
        db = apply(MatMul(True, ta), dc, a) if tb else apply(MatMul(not ta, False), a, dc)
        return da, db

    def geometry(self, k: Any, a: Any, b: Any) -> GemmGeometry:
        """Of the product of two tensors, with as many parts as the kernel wants."""
        rows, columns, terms, _ = known(self.sizes(a.shape, b.shape))
        batch, itemsize = math.prod(known(a.shape[:-2])), np.dtype(a.dtype).itemsize
        g = gemm_geometry(rows, columns, terms, itemsize, self.transpose_a, self.transpose_b, batch)
        return g._replace(parts=k.gemm.parts(g, a.dtype))

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 2 * outputs[0].size * known(self.sizes(inputs[0].shape, inputs[1].shape))[2]

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        return product_cost(outputs[0].size, known(self.sizes(inputs[0].shape, inputs[1].shape))[2])

    def scratch(
        self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> list[TensorSpec]:
        g = self.geometry(k, *inputs)
        return [TensorSpec((g.parts, outputs[0].size), inputs[0].dtype)] if g.parts > 1 else []

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (a, b), (c,) = inputs, outputs
        g = self.geometry(k, a, b)
        target = scratch[0] if g.parts > 1 else c
        launches = [k.gemm.bind(a, b, no_bias((), c), target, -math.inf, g)]
        return [*launches, *added(k, target, c)] if g.parts > 1 else launches


@op_function
def dense(x: Any, kernel: Any, bias: Any = None) -> Any:
    """x kernel + bias.  x (..., k), kernel (k, n), bias (n,) -> (..., n)."""
    x = convert(x)
    others = [convert(value, x.dtype) for value in (kernel, bias) if value is not None]
    return apply(Dense(), x, *others)


@op_function
def matmul(x1: Any, x2: Any) -> Any:
    """The product of matrices, or of stacks of them, by NumPy's rules; a vector is a row on the left, a column on
    the right."""
    a, b = _both(x1, x2)
    if a.ndim == 0 or b.ndim == 0:
        raise Error(f"matmul: expected matrices or vectors, got shapes {a.shape} and {b.shape}")
    vector_a, vector_b = a.ndim == 1, b.ndim == 1
    a, b = expand_dims(a, 0) if vector_a else a, expand_dims(b, 1) if vector_b else b
    c = apply(Dense(), a, b) if b.ndim == 2 else apply(MatMul(False, False), *_same_stack(a, b))
    gone = [axis for axis, is_vector in ((-2, vector_a), (-1, vector_b)) if is_vector]
    return squeeze(c, gone) if gone else c


def _both(x1: Any, x2: Any) -> tuple[Tensor, Tensor]:
    """Two tensors; what is not one yet takes the dtype of what is."""
    if isinstance(x2, Tensor) and not isinstance(x1, Tensor):
        return convert(x1, x2.dtype), x2
    a = convert(x1)
    return a, convert(x2, a.dtype)


def _same_stack(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a and b, repeated along leading dimensions so that these are the same for both."""
    if a.shape[:-2] == b.shape[:-2]:
        return a, b
    try:
        stack = np.broadcast_shapes(known(a.shape[:-2]), known(b.shape[:-2]))
    except (TypeError, ValueError):
        raise Error(f"matmul: stacks of matrices of shapes {a.shape} and {b.shape} do not fit") from None
    return broadcast_to(a, (*stack, *a.shape[-2:])), broadcast_to(b, (*stack, *b.shape[-2:]))


Tensor.operators["matmul"] = matmul
