"""The launches of chains on their places in memory."""

from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from fastcnn.graph import Node
from fastcnn.plan.chain import Chain, cut
from fastcnn.plan.memory import Storage
from fastcnn.tensor import Tensor, TensorSpec


@dataclass
class Bound:
    """The launches of a node: what prepares its weights, and what runs it (in a chain: on all blocks)."""

    node: Node
    preparing: list = field(default_factory=list)
    running: list = field(default_factory=list)


class Binding:
    """A chain with its launches. `lists`: those of each block of images, if it has blocks."""

    def __init__(self, number: int, chain: Chain, storage: Storage, arena: np.ndarray, backend: ModuleType):
        self._chain, self._storage, self._arena, self._kernels = chain, storage, arena, backend.kernels
        self.lists: list[list] = []
        self.steps = [Bound(node) for node in chain.nodes]
        if chain.block:
            self.memory = storage.slot_memory(number, arena)
            self._slots, _ = storage.slots[number]
            with backend.on_one_thread():
                self.lists = [self._bind_block(i, *block) for i, block in enumerate(chain.blocks)]
        elif not chain.nodes[0].operation.alias:
            self._bind_whole(self.steps[0])

    def _bind_whole(self, bound: Bound) -> None:
        node = bound.node
        inputs = [self._storage.view(x, self._arena) for x in node.inputs]
        outputs = [self._storage.view(y, self._arena) for y in node.outputs]
        prepared, scratch, workspace = self._storage.work_views(node, self._arena)
        bound.preparing = node.operation.prepare(self._kernels, inputs, outputs, prepared)
        work = [*prepared, *scratch, *workspace]
        bound.running = node.operation.launch(self._kernels, inputs, outputs, work)

    def _bind_block(self, number: int, first: int, last: int) -> list:
        """The launches for the images [first, last), which is the block of that number."""
        slot, found = self.memory[0], []  # of the first thread: the backend knows how to move to another's
        for bound in self.steps:
            node = bound.node
            if node.operation.alias:
                continue
            specs = self._chain.specs(node, last - first)
            inputs, outputs = (
                [self._view(x, spec, slot, first, last) for x, spec in zip(tensors, part, strict=True)]
                for tensors, part in zip((node.inputs, node.outputs), specs, strict=True)
            )
            prepared, _, workspace = self._storage.work_views(node, self._arena)
            scratch = self._slots.scratch(node, node.operation.scratch(self._kernels, *specs), slot)
            if number == 0:
                bound.preparing = node.operation.prepare(self._kernels, inputs, outputs, prepared)
            work = [*prepared, *scratch, *workspace]
            launches = node.operation.launch(self._kernels, inputs, outputs, work)
            bound.running += launches
            found += launches
        return found

    def _view(self, tensor: Tensor, spec: TensorSpec, slot: np.ndarray, first: int, last: int) -> np.ndarray:
        inside = self._slots.view(tensor, spec, slot)
        if inside is not None:
            return inside
        whole = self._storage.view(tensor, self._arena)
        return whole if spec == tensor.spec else cut(whole, self._chain.images, first, last)
