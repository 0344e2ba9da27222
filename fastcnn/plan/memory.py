"""Where every tensor of a plan lives: one arena, places shared by tensors that are never alive together."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from fastcnn.graph import Node
from fastcnn.plan.chain import Chain
from fastcnn.tensor import Constant, Tensor, TensorSpec, Variable

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
# Where two addresses agree in the lowest 12 bits, a processor takes them for the same until it knows better: a load
# waits for a store shortly before it. Tensors that begin alike never meet so, each place read before it is written.
PAGE = 4096
LARGE = 8 * PAGE  # bytes of what begins at a page


def whole(nbytes: int, unit: int) -> int:
    """The bytes, rounded up to whole units."""
    return -(-nbytes // unit) * unit


@dataclass
class Block:
    """A piece of memory wanted from step `birth` to step `death`, both included."""

    nbytes: int
    birth: int
    death: int
    offset: int = -1

    @property
    def padded(self) -> int:
        return whole(max(self.nbytes, 1), PAGE if self.nbytes >= LARGE else ALIGNMENT)

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


Pieces = list[tuple[TensorSpec, Block]]


class Storage:
    """Assigns blocks to the tensors of chains of nodes by liveness.

    A tensor lives from the chain that computes it (inputs: before the first) to the last chain that reads it
    (outputs: past the end). An alias is its first input under another shape and shares its place. Variables
    and constants live in arrays of their own. What runs read and no run changes, because it is made of constants
    alone, is kept from run to run. What only one chain knows has places in the `Slots` of that chain.
    """

    def __init__(
        self, chains: Sequence[Chain], inputs: Sequence[Tensor], outputs: Sequence[Tensor],
        is_constant: Callable[[Tensor], bool], backend: ModuleType,
    ):  # fmt: skip
        nodes = [node for chain in chains for node in chain.nodes]
        self._tensors = [*inputs, *outputs, *(t for node in nodes for t in [*node.inputs, *node.outputs])]
        self._origin = {
            id(node.outputs[0]): node.inputs[0] for node in nodes if node.operation.alias
        }  # ids stay valid because _tensors keeps the tensors alive
        self._is_constant, self._threads, self._kernels = is_constant, backend.num_threads(), backend.kernels
        self._death = self._last_reads(chains, outputs)
        self._kept = self._read_by_runs(nodes, outputs)
        self._end = len(chains)
        self._blocks = {id(x): Block(x.spec.nbytes, -1, self._death.get(id(x), -1)) for x in inputs}
        self._prepared: dict[float, Pieces] = {}
        self._scratch: dict[float, Pieces] = {}
        self._workspace: dict[float, Pieces] = {}
        self.slots: dict[int, tuple[Slots, Block]] = {}  # of the chains that have blocks, by position
        for number, chain in enumerate(chains):
            with backend.on_one_thread() if chain.block else contextlib.nullcontext():
                self._enter(number, chain)
        work = [*self._prepared.values(), *self._scratch.values(), *self._workspace.values()]
        blocks = [*self._blocks.values(), *(block for pieces in work for _, block in pieces)]
        self.nbytes = place([*blocks, *(block for _, block in self.slots.values())])

    def _enter(self, number: int, chain: Chain) -> None:
        """Demand memory for what a chain computes and needs."""
        inside = [
            y for node in chain.nodes for y in node.outputs if chain.block and self._is_inside(y, number)
        ]
        hidden = {id(y) for y in inside}
        for node in chain.nodes:
            if node.operation.alias:
                continue
            for y in node.outputs:
                if id(y) not in hidden:
                    self._blocks[id(y)] = Block(y.spec.nbytes, *self._life(y, number))
            specs = [x.spec for x in node.inputs], [y.spec for y in node.outputs]
            rests = all(self._is_constant(node.inputs[i]) for i in node.operation.weights)
            life = (-1, self._end) if rests else (number, number)
            self._prepared[node.serial] = [
                (s, Block(s.nbytes, *life)) for s in node.operation.prepared(*specs)
            ]
            self._workspace[node.serial] = [
                (s, Block(s.nbytes, number, number)) for s in self._rows(chain, node)
            ]
            if not chain.block:
                scratch = node.operation.scratch(self._kernels, *specs)
                self._scratch[node.serial] = [(s, Block(s.nbytes, number, number)) for s in scratch]
        if chain.block:
            slots = Slots(chain, inside, self.root, self._kernels)
            self.slots[number] = slots, Block(self._threads * slots.nbytes, number, number)

    def _rows(self, chain: Chain, node: Node) -> list[TensorSpec]:
        """The workspaces of all threads, wide enough for blocks of any size."""
        wanted = [node.operation.workspace(*specs) for specs in chain.sizes(node)]
        specs = [spec for spec in wanted if spec is not None]
        if not specs:
            return []
        widest = max(specs, key=lambda spec: spec.nbytes)
        return [TensorSpec((self._threads, *widest.dims), widest.dtype)]

    def _is_inside(self, tensor: Tensor, number: int) -> bool:
        """Whether nothing but the chain of that number reads what it computes."""
        return not self._is_constant(tensor) and self._death.get(id(tensor), number) == number

    def _life(self, tensor: Tensor, number: int) -> tuple[int, int]:
        if self._is_constant(tensor) and id(tensor) in self._kept:
            return -1, self._end
        return number, self._death.get(id(tensor), number)

    def root(self, tensor: Tensor) -> Tensor:
        """The tensor whose memory this one shares."""
        while id(tensor) in self._origin:
            tensor = self._origin[id(tensor)]
        return tensor

    def _last_reads(self, chains: Sequence[Chain], outputs: Sequence[Tensor]) -> dict[int, int]:
        last: dict[int, int] = {}
        for number, chain in enumerate(chains):
            for node in chain.nodes:
                last.update({id(self.root(x)): number for x in node.inputs})
        last.update({id(self.root(y)): len(chains) for y in outputs})
        return last

    def _read_by_runs(self, nodes: Sequence[Node], outputs: Sequence[Tensor]) -> set[int]:
        """Ids of the tensors that are outputs, or read by nodes that do not compute constants."""
        running = [node for node in nodes if not all(map(self._is_constant, node.inputs))]
        return {id(self.root(x)) for x in [*outputs, *(x for node in running for x in node.inputs)]}

    def view(self, tensor: Tensor, arena: np.ndarray) -> np.ndarray:
        """The tensor's values, as an array over its place."""
        root = self.root(tensor)
        if isinstance(root, Variable | Constant):
            return root.home.reshape(tensor.spec.dims)
        return _view(arena, self._blocks[id(root)], tensor.spec)

    def offset(self, tensor: Tensor) -> int | None:
        """Where in the arena the tensor begins, in bytes; None for what lives elsewhere."""
        block = self._blocks.get(id(self.root(tensor)))
        return None if block is None else block.offset

    def work_views(self, node: Node, arena: np.ndarray) -> tuple[list[np.ndarray], ...]:
        """The memory of a node: for prepared weights, scratch (none in a chain with blocks), workspace."""
        kinds = self._prepared, self._scratch, self._workspace
        return tuple(
            [_view(arena, block, spec) for spec, block in kind.get(node.serial, [])] for kind in kinds
        )

    def slot_memory(self, number: int, arena: np.ndarray) -> np.ndarray:
        """The memory of a chain's slots, one a row."""
        slots, block = self.slots[number]
        return _view(arena, block, TensorSpec((self._threads, slots.nbytes), "uint8"))


class Slots:
    """What a chain needs for one block of images. There is a slot for each thread, all alike."""

    def __init__(
        self, chain: Chain, inside: Sequence[Tensor], root: Callable[[Tensor], Tensor], kernels: Any
    ):
        self._root, self._kernels = root, kernels
        self._inside = list(inside)  # keeps ids valid
        death = {id(root(x)): i for i, node in enumerate(chain.nodes) for x in node.inputs}
        hidden = {id(y) for y in inside}
        self._blocks: dict[int, Block] = {}
        self._scratch: dict[float, list[Block]] = {}
        for i, node in enumerate(chain.nodes):
            for y in node.outputs:
                if id(y) in hidden and not node.operation.alias:
                    nbytes = y.spec.nbytes // chain.images * chain.block
                    self._blocks[id(y)] = Block(nbytes, i, death.get(id(y), i))
            if not node.operation.alias:
                wanted = [node.operation.scratch(self._kernels, *specs) for specs in chain.sizes(node)]
                self._scratch[node.serial] = [
                    Block(max(spec.nbytes for spec in specs), i, i) for specs in zip(*wanted, strict=True)
                ]
        scratch = [block for blocks in self._scratch.values() for block in blocks]
        self.nbytes = whole(place([*self._blocks.values(), *scratch]), PAGE)

    def view(self, tensor: Tensor, spec: TensorSpec, slot: np.ndarray) -> np.ndarray | None:
        """The tensor's values for a block of images, of which `spec` is the shape; None if it lives elsewhere."""
        block = self._blocks.get(id(self._root(tensor)))
        return None if block is None else _view(slot, block, spec)

    def scratch(self, node: Node, specs: Sequence[TensorSpec], slot: np.ndarray) -> list[np.ndarray]:
        """The working memory of a node for a block of images."""
        blocks = self._scratch[node.serial]
        return [_view(slot, block, spec) for block, spec in zip(blocks, specs, strict=True)]


def _view(arena: np.ndarray, block: Block, spec: TensorSpec) -> np.ndarray:
    return arena[block.offset : block.offset + spec.nbytes].view(spec.dtype).reshape(spec.dims)
