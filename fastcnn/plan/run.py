"""A plan: fused nodes in order, a place in memory for every tensor, and one program that runs it all."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

from fastcnn.graph import Node, ancestors
from fastcnn.plan.algorithms import choose_convolutions
from fastcnn.plan.fuse import absorb_readers
from fastcnn.plan.memory import Storage
from fastcnn.plan.progress import compile_kernels
from fastcnn.plan.rewrite import Rewrite
from fastcnn.tensor import Tensor

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
        rewrite = Rewrite(ancestors([*outputs, *read_by_updates]), [*outputs, *read_by_updates])
        for change in PASSES:
            change(rewrite)
        outputs = [rewrite.current(y) for y in outputs]
        for node in updates:
            node.inputs = [rewrite.current(x) for x in node.inputs]
        self.nodes = _insert_updates(rewrite.in_order(), updates)
        self.backend = backend
        storage = Storage(self.nodes, inputs, outputs)
        self.arena = backend.allocate(storage.nbytes)
        self.input_arrays = [storage.view(x, self.arena) for x in inputs]
        self.output_arrays = [storage.view(y, self.arena) for y in outputs]
        self.steps = [(node, self._launches(node, storage)) for node in self.nodes]
        every_launch = [launch for _, launches in self.steps for launch in launches]
        compile_kernels(every_launch)
        self.program = backend.Program(every_launch)

    def _launches(self, node: Node, storage: Storage) -> list:
        if node.operation.alias:
            return []
        inputs = [storage.view(x, self.arena) for x in node.inputs]
        outputs = [storage.view(y, self.arena) for y in node.outputs]
        scratch = storage.scratch_views(node, self.arena)
        return node.operation.launch(self.backend.kernels, inputs, outputs, scratch)

    def run(self) -> None:
        """Compute everything once."""
        self.program.run()

    @property
    def nbytes(self) -> int:
        """Bytes of working memory."""
        return int(self.arena.nbytes)

    def describe(self, timed: bool = False) -> str:
        """A table of what runs: operation, output shape, MFLOP, MB touched, place; with `timed` also the time."""
        rows = [_row(node, launches, self) for node, launches in self.steps]
        header = ["operation", "layer", "output", "MFLOP", "MB", "kernels", "offset"]
        if timed:
            header += ["us", "GFLOP/s"]
            for row, (node, launches) in zip(rows, self.steps, strict=True):
                seconds = self._time(launches)
                rate = _flops(node) / seconds / 1e9 if seconds else 0.0
                row += [f"{seconds * 1e6:.1f}", f"{rate:.1f}"]
        widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
        lines = ["  ".join(map(str.ljust, row, widths)) for row in [header, *rows]]
        total = sum(_flops(node) for node in self.nodes)
        lines.append(
            f"{len(self.nodes)} operations, {total / 1e6:.2f} MFLOP, arena {self.nbytes / 2**20:.2f} MiB"
        )
        return "\n".join(line.rstrip() for line in lines)

    def _time(self, launches: list) -> float:
        program = self.backend.Program(launches)
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            program.run()
            best = min(best, time.perf_counter() - start)
        return best


def _flops(node: Node) -> int:
    return node.operation.flops([x.spec for x in node.inputs], [y.spec for y in node.outputs])


def _row(node: Node, launches: list, plan: Plan) -> list[str]:
    touched = sum(t.spec.nbytes for t in [*node.inputs, *node.outputs])
    shapes = " ".join("x".join(map(str, y.shape)) or "scalar" for y in node.outputs) or "(update)"
    kernels = Counter(launch.kernel.__name__ for launch in launches)
    names = ", ".join(f"{count}x {name}" if count > 1 else name for name, count in kernels.items())
    arrays = [a for launch in launches for a in launch.args if isinstance(a, np.ndarray)]
    inside = [a.ctypes.data - plan.arena.ctypes.data for a in arrays[-1:]]
    offset = str(inside[0]) if inside and 0 <= inside[0] < plan.nbytes else "-"
    return [
        node.operation.name, node.scope, shapes, f"{_flops(node) / 1e6:.3f}", f"{touched / 1e6:.3f}", names, offset
    ]  # fmt: skip


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
