"""A plan: fused nodes in order, a place in memory for every tensor, and one program that runs it all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from fastcnn import tree
from fastcnn.graph import Node, Report, ancestors, variables_of
from fastcnn.plan.algorithms import choose_algorithms
from fastcnn.plan.bind import Binding, Bound
from fastcnn.plan.chain import Chain, continues, form_chains, local_first
from fastcnn.plan.fuse import absorb_readers, compute_again, sum_as_stored, take_apart
from fastcnn.plan.memory import Storage
from fastcnn.plan.progress import compile_kernels
from fastcnn.plan.rewrite import Rewrite
from fastcnn.tensor import Clock, Tensor, Variable

# What happens to the nodes before they get memory and kernels, in this order.
PASSES: list[Callable[[Rewrite], None]] = [absorb_readers, choose_algorithms, take_apart, sum_as_stored]
BLOCK_PASSES: list[Callable[[Rewrite], None]] = [compute_again]  # for backends with blocks


class Place(NamedTuple):
    """Number of an output that stands for its array in the arguments of a report."""

    number: int


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
        self.reports: list[Report] = []
        self.optimizers: list[Any] = []  # whose updates are among these
        read_by_updates = [x for node in updates for x in node.inputs]
        wanted = [*outputs, *read_by_updates]
        rewrite = Rewrite(ancestors(wanted), wanted, updates, backend)
        for change in [*PASSES, *BLOCK_PASSES] if backend.BLOCKS else PASSES:
            change(rewrite)
        outputs = [rewrite.current(y) for y in outputs]
        for node in updates:
            node.inputs = [rewrite.current(x) for x in node.inputs]
        self.backend, self.threads = backend, backend.num_threads()
        self.chains = _chains(rewrite, updates, backend.BLOCKS)
        self.nodes = [node for chain in self.chains for node in chain.nodes]
        self.storage = Storage(self.chains, inputs, outputs, rewrite.is_constant, backend)
        self.arena = backend.allocate(self.storage.nbytes)
        bindings = [
            Binding(number, chain, self.storage, self.arena, backend)
            for number, chain in enumerate(self.chains)
        ]
        steps = [bound for binding in bindings for bound in binding.steps]
        self.steps = [(bound.node, [*bound.preparing, *bound.running]) for bound in steps]
        compile_kernels([launch for _, launches in self.steps for launch in launches], backend)
        self._blocks = [backend.Blocks(b.lists, b.memory) if b.lists else None for b in bindings]
        work = [one for pair in zip(bindings, self._blocks, strict=True) for one in _in_order(*pair)]
        self.preparation = Preparation(work, rewrite.is_constant, backend)
        changed = {id(x): x for node in updates for x in (node.inputs[i] for i in node.operation.mutates)}
        self.program = backend.Program(self.preparation.rest, flush=bool(changed))
        self._clock = Clock()
        for variable in changed.values():
            variable.clocks.append(self._clock)
        self._is_changing = bool(changed)
        self._transfer = backend.Transfer(
            [self.storage.view(x, self.arena) for x in inputs],
            [self.storage.view(y, self.arena) for y in outputs],
            variables_of(self.nodes) + [y for y in outputs if isinstance(y, Variable)], list(changed.values()),
        )  # fmt: skip
        self.input_arrays, self.output_arrays = self._transfer.input_arrays, self._transfer.output_arrays

    def fill(self, arrays: Sequence[np.ndarray]) -> None:
        """Copy these into the inputs, whatever their dtypes."""
        for target, array in zip(self.input_arrays, arrays, strict=True):
            np.copyto(target, array, casting="unsafe")

    def run(self) -> None:
        """Compute everything once."""
        self._transfer.before()
        self._compute()
        self._transfer.after()

    def start(self, arrays: Sequence[np.ndarray]) -> Any:
        """Begin to compute everything, of these inputs; only where the backend has AHEAD. Returns at once.

        The result has `arrays()`, the outputs, which waits for them, and `release()`, for when they have been read.
        """
        self._transfer.send(arrays)
        self._compute()
        return self._transfer.receive()

    def _compute(self) -> None:
        self.preparation.run()
        self.program.run()
        if self._is_changing:
            self._clock.tick()

    def tell(self) -> None:
        """Make the reports of the run that has just ended."""
        for function, args, kwargs in self.reports:
            args, kwargs = (tree.traverse(self._array_at, value) for value in (args, kwargs))
            function(*args, **kwargs)

    def _array_at(self, value: Any) -> Any:
        return self.output_arrays[value.number].copy() if isinstance(value, Place) else None

    @property
    def nbytes(self) -> int:
        """Bytes of working memory."""
        return int(self.arena.nbytes)


class Preparation:
    """What a plan makes of weights and constants alone. It is made again only after a variable may have changed."""

    def __init__(self, work: Sequence[Bound], is_constant: Callable[[Tensor], bool], backend: ModuleType):
        self._is_constant = is_constant
        split = [self._split(bound) for bound in work]
        readers = [
            bound.node
            for bound, (now, _) in zip(work, split, strict=True)
            if now or bound.node.operation.alias
        ]
        self._variables = variables_of(readers)
        self._program = backend.Program([launch for now, _ in split for launch in now])
        self.rest = [launch for _, later in split for launch in later]
        self._time, self._versions, self._is_exposed = -1, [-1], False

    def _split(self, bound: Bound) -> tuple[list, list]:
        """(launches that depend on constants alone, others)."""
        node = bound.node
        if all(map(self._is_constant, node.inputs)):
            return [*bound.preparing, *bound.running], []
        if all(self._is_constant(node.inputs[i]) for i in node.operation.weights):
            return bound.preparing, bound.running
        return [], [*bound.preparing, *bound.running]

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


def _in_order(binding: Binding, blocks: Any) -> list[Bound]:
    """The launches of a chain as they run: with blocks, first what prepares weights, then all blocks as one launch."""
    if blocks is None:
        return binding.steps
    preparing = [Bound(bound.node, bound.preparing) for bound in binding.steps]
    return [*preparing, Bound(binding.steps[-1].node, running=[blocks.launch])]


def _chains(rewrite: Rewrite, updates: Sequence[Node], blocks: bool) -> list[Chain]:
    """All nodes and updates in the order in which they run, in chains; each by itself without blocks."""
    nodes = rewrite.in_order()
    resting = [node for node in nodes if rewrite.is_at_rest(node)]
    others = nodes[len(resting) :]
    held_back = _held_back(nodes, updates)
    for serial, others_first in rewrite.behind.items():
        held_back[serial] = held_back.get(serial, set()) | others_first
    order = _insert_updates([*resting, *local_first(others, held_back)], updates)
    if blocks:
        return form_chains(order, rewrite.is_at_rest)
    return [Chain([node]) for node in _updates_side_by_side(order, updates)]


def _held_back(nodes: Sequence[Node], updates: Sequence[Node]) -> dict[float, set[float]]:
    """For nodes that were made after an update and see what it has changed: those that must run before the update."""
    origin = {id(node.outputs[0]): node.inputs[0] for node in nodes if node.operation.alias}
    touched = [(node.serial, *_touched(node, origin)) for node in nodes]
    found: dict[float, set[float]] = {}
    for node in updates:
        reads, writes = _touched(node, origin)
        later = [
            serial for serial, read, _ in touched if serial > node.serial and not read.isdisjoint(writes)
        ]
        if later:
            before = {
                serial
                for serial, read, wrote in touched
                if serial < node.serial and not (writes.isdisjoint(read) and reads.isdisjoint(wrote))
            }
            for serial in later:
                found[serial] = found.get(serial, set()) | before
    return found


def _insert_updates(nodes: list[Node], updates: Sequence[Node]) -> list[Node]:
    """Place each update as early as the order in which the nodes were made allows, but not into a chain.

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
        while 0 < position < len(order) and order[position][1].isdisjoint(writes):
            if not continues(order[position - 1][0], order[position][0]):
                break
            position += 1
        order.insert(position, (node, reads, writes))
    return [node for node, _, _ in order]


def _updates_side_by_side(nodes: list[Node], updates: Sequence[Node]) -> list[Node]:
    """The nodes with the updates that no other one waits for at the end, those of one kind side by side.

    A backend whose launches are large, and cost more than they compute, can make one of them.
    """
    origin = {id(node.outputs[0]): node.inputs[0] for node in nodes if node.operation.alias}
    kinds, last, others = (
        {id(node) for node in updates},
        list[tuple[Node, set[int], set[int]]](),
        list[Node](),
    )
    later_reads, later_writes = set[int](), set[int]()
    for node in reversed(nodes):
        reads, writes = _touched(node, origin)
        if (
            id(node) in kinds
            and writes.isdisjoint(later_reads | later_writes)
            and reads.isdisjoint(later_writes)
        ):
            last.append((node, reads, writes))
        else:
            others.append(node)
            later_reads, later_writes = later_reads | reads, later_writes | writes
    return [*reversed(others), *_by_kind(last[::-1])]


def _by_kind(updates: Sequence[tuple[Node, set[int], set[int]]]) -> list[Node]:
    """Updates by how many others must come before them, and by kind."""
    depth: dict[int, int] = {}
    for i, (node, reads, writes) in enumerate(updates):
        before = [
            depth[id(other)]
            for other, other_reads, other_writes in updates[:i]
            if not (writes.isdisjoint(other_reads | other_writes) and reads.isdisjoint(other_writes))
        ]
        depth[id(node)] = max(before, default=-1) + 1
    return sorted((node for node, _, _ in updates), key=lambda node: (depth[id(node)], node.operation.name))


def _touched(node: Node, origin: dict[int, Tensor]) -> tuple[set[int], set[int]]:
    """Ids of the tensors whose memory a node reads, and of those whose memory it writes."""

    def root(tensor: Tensor) -> int:
        while id(tensor) in origin:
            tensor = origin[id(tensor)]
        return id(tensor)

    writes = {root(node.inputs[i]) for i in node.operation.mutates} | {root(y) for y in node.outputs}
    return {root(x) for x in node.inputs}, writes
