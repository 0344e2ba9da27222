"""Where every tensor of a plan lives: one arena, places shared by tensors that are never alive together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fastcnn.graph import Node
from fastcnn.tensor import Constant, Tensor, TensorSpec, Variable

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register


@dataclass
class Block:
    """A piece of memory wanted from step `birth` to step `death`, both included."""

    nbytes: int
    birth: int
    death: int
    offset: int = -1

    @property
    def padded(self) -> int:
        return max(ALIGNMENT, -(-self.nbytes // ALIGNMENT) * ALIGNMENT)

    def overlaps(self, other: "Block") -> bool:
        return self.birth <= other.death and other.birth <= self.death


def place(blocks: list[Block]) -> int:
    """Give every block its offset; returns the size of the arena in bytes.

    Greedy by size: the largest first, each at the lowest place free during its whole life. Known to come
    within a few percent of the optimum on networks (Pisarchyk & Lee 2020, arXiv:2001.03288).
    """
    placed: list[Block] = []
    for block in sorted(blocks, key=lambda b: (-b.padded, b.birth)):
        block.offset = _lowest_gap(block, placed)
        placed.append(block)
    return max((b.offset + b.padded for b in placed), default=0)


def _lowest_gap(block: Block, placed: list[Block]) -> int:
    offset = 0
    for other in sorted((b for b in placed if b.overlaps(block)), key=lambda b: b.offset):
        if offset + block.padded <= other.offset:
            break
        offset = max(offset, other.offset + other.padded)
    return offset


class Storage:
    """Assigns blocks to the tensors of a list of nodes by liveness.

    A tensor lives from the step that computes it (inputs: before the first) to the last step that reads it
    (outputs: past the end). An alias is its first input under another shape and shares its place. Variables
    and constants live in arrays of their own. What runs read and no run changes, because it is made of constants
    alone, is kept from run to run.
    """

    def __init__(
        self, nodes: Sequence[Node], inputs: Sequence[Tensor], outputs: Sequence[Tensor],
        is_constant: Callable[[Tensor], bool],
    ):  # fmt: skip
        self._tensors = [*inputs, *outputs, *(t for node in nodes for t in [*node.inputs, *node.outputs])]
        self._origin = {
            id(node.outputs[0]): node.inputs[0] for node in nodes if node.operation.alias
        }  # ids stay valid because _tensors keeps the tensors alive
        death = self._last_reads(nodes, outputs)
        self._blocks = {id(x): Block(x.spec.nbytes, -1, death.get(id(x), -1)) for x in inputs}
        self._prepared: dict[int, list[tuple[TensorSpec, Block]]] = {}
        self._scratch: dict[int, list[tuple[TensorSpec, Block]]] = {}
        always, kept = (-1, len(nodes)), self._read_by_runs(nodes, outputs, is_constant)
        for step, node in enumerate(nodes):
            if node.operation.alias:
                continue
            for y in node.outputs:
                life = always if is_constant(y) and id(y) in kept else (step, death.get(id(y), step))
                self._blocks[id(y)] = Block(y.spec.nbytes, *life)
            specs = [x.spec for x in node.inputs], [y.spec for y in node.outputs]
            rest = all(is_constant(node.inputs[i]) for i in node.operation.weights)
            life = always if rest else (step, step)
            self._prepared[node.serial] = [
                (s, Block(s.nbytes, *life)) for s in node.operation.prepared(*specs)
            ]
            self._scratch[node.serial] = [
                (s, Block(s.nbytes, step, step)) for s in node.operation.scratch(*specs)
            ]
        work = [*self._prepared.values(), *self._scratch.values()]
        self.nbytes = place([*self._blocks.values(), *(block for pairs in work for _, block in pairs)])

    def _root(self, tensor: Tensor) -> Tensor:
        while id(tensor) in self._origin:
            tensor = self._origin[id(tensor)]
        return tensor

    def _last_reads(self, nodes: Sequence[Node], outputs: Sequence[Tensor]) -> dict[int, int]:
        last: dict[int, int] = {}
        for step, node in enumerate(nodes):
            for x in node.inputs:
                last[id(self._root(x))] = step
        for y in outputs:
            last[id(self._root(y))] = len(nodes)
        return last

    def _read_by_runs(
        self, nodes: Sequence[Node], outputs: Sequence[Tensor], is_constant: Callable[[Tensor], bool]
    ) -> set[int]:
        """Ids of the tensors that are outputs, or read by nodes that do not compute constants."""
        running = [node for node in nodes if not all(map(is_constant, node.inputs))]
        return {id(self._root(x)) for x in [*outputs, *(x for node in running for x in node.inputs)]}

    def view(self, tensor: Tensor, arena: np.ndarray) -> np.ndarray:
        """The tensor's values, as an array over its place."""
        root = self._root(tensor)
        if isinstance(root, Variable | Constant):
            return root.buffer.reshape(tensor.spec.dims)
        return _cut(arena, self._blocks[id(root)], tensor.spec)

    def offset(self, tensor: Tensor) -> int | None:
        """Where in the arena the tensor begins, in bytes; None for what lives elsewhere."""
        block = self._blocks.get(id(self._root(tensor)))
        return None if block is None else block.offset

    def scratch_views(self, node: Node, arena: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The memory of a node for prepared weights, and its working memory."""
        return tuple(
            [_cut(arena, block, spec) for spec, block in kind[node.serial]]
            for kind in (self._prepared, self._scratch)
        )  # type: ignore[return-value]


def _cut(arena: np.ndarray, block: Block, spec: TensorSpec) -> np.ndarray:
    return arena[block.offset : block.offset + spec.nbytes].view(spec.dtype).reshape(spec.dims)
