"""A plan: fused nodes in order, a place in memory for every tensor, and one program that runs it all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import ModuleType

from fastcnn.graph import Node, ancestors, variables_of
from fastcnn.plan.algorithms import choose_convolutions
from fastcnn.plan.description import table
from fastcnn.plan.fuse import absorb_readers
from fastcnn.plan.memory import Storage
from fastcnn.plan.progress import compile_kernels
from fastcnn.plan.rewrite import Rewrite
from fastcnn.tensor import Clock, Tensor

# What happens to the nodes before they get memory and kernels, in this order.
PASSES: list[Callable[[Rewrite], None]] = [absorb_readers, choose_convolutions]


class Plan:
    """Computes `outputs` from `inputs` and performs `updates` (changes of variables), on one backend.

    Write into `input_arrays`, call `run()`, read `output_arrays` before the next run; hold `lock` meanwhile.
    """

    def __init__(
        self,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        updates: Sequence[Node],
        backend: ModuleType,
    ):
        self.lock = threading.Lock()
        read_by_updates = [x for node in updates for x in node.inputs]
        wanted = [*outputs, *read_by_updates]
        rewrite = Rewrite(ancestors(wanted), wanted, updates)
        for change in PASSES:
            change(rewrite)
        outputs = [rewrite.current(y) for y in outputs]
        for node in updates:
            node.inputs = [rewrite.current(x) for x in node.inputs]
        self.nodes = _insert_updates(rewrite.in_order(), updates)
        self.backend = backend
        self.storage = Storage(self.nodes, inputs, outputs, rewrite.is_constant)
        self.arena = backend.allocate(self.storage.nbytes)
        self.input_arrays = [self.storage.view(x, self.arena) for x in inputs]
        self.output_arrays = [self.storage.view(y, self.arena) for y in outputs]
        launches = [(node, *self._launches(node)) for node in self.nodes]
        self.steps = [(node, [*first, *then]) for node, first, then in launches]
        compile_kernels([launch for _, both in self.steps for launch in both])
        self.preparation = Preparation(launches, rewrite.is_constant, backend)
        self.program = backend.Program(self.preparation.rest)
        self._clock = Clock()
        changed = {id(x): x for node in updates for x in (node.inputs[i] for i in node.operation.mutates)}
        for variable in changed.values():
            variable.clocks.append(self._clock)
        self._is_changing = bool(changed)

    def _launches(self, node: Node) -> tuple[list, list]:
        """(what prepares the weights of a node, what runs it)."""
        if node.operation.alias:
            return [], []
        inputs = [self.storage.view(x, self.arena) for x in node.inputs]
        outputs = [self.storage.view(y, self.arena) for y in node.outputs]
        prepared, scratch = self.storage.scratch_views(node, self.arena)
        operation, kernels = node.operation, self.backend.kernels
        first = operation.prepare(kernels, inputs, outputs, prepared)
        return first, operation.launch(kernels, inputs, outputs, [*prepared, *scratch])

    def run(self) -> None:
        """Compute everything once."""
        self.preparation.run()
        self.program.run()
        if self._is_changing:
            self._clock.tick()

    @property
    def nbytes(self) -> int:
        """Bytes of working memory."""
        return int(self.arena.nbytes)

    def describe(self, timed: bool = False) -> str:
        """A table of what runs: operation, output shape, MFLOP, MB touched, place; with `timed` also the time."""
        return table(self, timed)


class Preparation:
    """What a plan makes of weights and constants alone. It is made again only after a variable may have changed."""

    def __init__(self, launches: list, is_constant: Callable[[Tensor], bool], backend: ModuleType):
        self._is_constant = is_constant
        first = [self._split(*parts) for parts in launches]
        readers = [
            node
            for (node, _, _), (now, _) in zip(launches, first, strict=True)
            if now or node.operation.alias
        ]
        self._variables = variables_of(readers)
        self._program = backend.Program([launch for now, _ in first for launch in now])
        self.rest = [launch for _, later in first for launch in later]
        self._time, self._versions, self._is_exposed = -1, [-1], False

    def _split(self, node: Node, preparing: list, running: list) -> tuple[list, list]:
        """(launches that depend on constants alone, others)."""
        if all(map(self._is_constant, node.inputs)):
            return [*preparing, *running], []
        if all(self._is_constant(node.inputs[i]) for i in node.operation.weights):
            return preparing, running
        return [], [*preparing, *running]

    def run(self) -> None:
        """Bring everything up to date."""
        if self._time == Clock.now and not self._is_exposed:
            return
        self._time = Clock.now
        self._is_exposed = any(variable.is_exposed for variable in self._variables)
        versions = [variable.version for variable in self._variables]
        if versions != self._versions or self._is_exposed:
            self._versions = versions
            self._program.run()


def _insert_updates(nodes: list[Node], updates: Sequence[Node]) -> list[Node]:
    """Place each update as early as the order in which the nodes were made allows.

    It comes after what computes its inputs, after earlier readers of what it changes, and after earlier changes of
    what it reads. Nodes made after it that read what it changes stay behind it and see the change.
    """
    origin = {id(node.outputs[0]): node.inputs[0] for node in nodes if node.operation.alias}
    order = [(node, *_touched(node, origin)) for node in nodes]
    for node in updates:
        reads, writes = _touched(node, origin)
        position = 0
        for i, (other, other_reads, other_writes) in enumerate(order):
            if other.serial < node.serial and not (
                writes.isdisjoint(other_reads) and reads.isdisjoint(other_writes)
            ):
                position = i + 1
        order.insert(position, (node, reads, writes))
    return [node for node, _, _ in order]


def _touched(node: Node, origin: dict[int, Tensor]) -> tuple[set[int], set[int]]:
    """Ids of the tensors whose memory a node reads, and of those whose memory it writes."""

    def root(tensor: Tensor) -> int:
        while id(tensor) in origin:
            tensor = origin[id(tensor)]
        return id(tensor)

    writes = {root(node.inputs[i]) for i in node.operation.mutates} | {root(y) for y in node.outputs}
    return {root(x) for x in node.inputs}, writes
