"""Sums over all images in two steps, so that plans can take the first one block by block: chunks, then their sum."""

from collections.abc import Sequence
from typing import Any

from fastcnn.graph import Op, apply, operation
from fastcnn.ops import reduction
from fastcnn.ops.shape import known
from fastcnn.plan import chain
from fastcnn.tensor import Tensor, TensorSpec

CHUNK = 1 << 19  # bytes of a chunk's images: they stay in a second-level cache from one op to the next
WEIGHTS = 8  # so many times as large as the result the images of a chunk must be


@operation
class ChunkSums(Op):
    """(chunks, *shape) of x (n, ...) and dy (n, ...): what `op`, a sum over images, gives for each `size` of them."""

    op: Op
    size: int
    images = (0, 1)
    sums_chunks = True

    def infer(self, *inputs: Tensor) -> TensorSpec:
        spec = self.op.infer(*inputs)
        assert isinstance(spec, TensorSpec)
        return TensorSpec((known(inputs[0].shape)[0] // self.size, *spec.shape), spec.dtype)

    def of_chunk(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> tuple[list, list]:
        """(inputs, outputs) of the op for one chunk."""
        images = [TensorSpec((self.size, *x.shape[1:]), x.dtype) for x in inputs]
        return images, [TensorSpec(y.shape[1:], y.dtype) for y in outputs]

    def scratch(
        self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> list[TensorSpec]:
        return self.op.scratch(k, *self.of_chunk(inputs, outputs))

    def workspace(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> TensorSpec | None:
        return self.op.workspace(*self.of_chunk(inputs, outputs))

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        launches = []
        for chunk, total in enumerate(outputs[0]):
            images = slice(chunk * self.size, (chunk + 1) * self.size)
            launches += self.op.launch(k, [x[images] for x in inputs], [total], scratch)
        return launches

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return outputs[0].shape[0] * self.op.flops(*self.of_chunk(inputs, outputs))  # type: ignore[operator]


def by_chunks(op: Op, inputs: Sequence[Tensor]) -> Sequence[Tensor] | None:
    """The result of `op`, a sum over images, by way of chunks; None where the images are few or the result is large."""
    (result,) = [op.infer(*inputs)]
    assert isinstance(result, TensorSpec)
    n, nbytes = known(inputs[0].shape)[0], sum(x.spec.nbytes for x in inputs)
    wanted = max(CHUNK, WEIGHTS * result.nbytes) * n / nbytes  # images
    size = next((d for d in range(1, n) if n % d == 0 and d >= wanted), n)
    if nbytes < chain.WORTH or n // size < chain.LEAST:
        return None
    return [reduction.sum(apply(ChunkSums(op, size), *inputs), 0)]
