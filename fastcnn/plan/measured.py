"""Which algorithm is the fastest, found by trying them all: `config.set_convolution_algorithm("measured")`.

What was found is kept beside the compiled kernels, for each processor and number of threads: from then on the same is
chosen, and the same bits come out.
"""

from collections.abc import Sequence
from types import ModuleType

import numpy as np
from tqdm import tqdm

from fastcnn.backend.machine import recall, remember
from fastcnn.graph import Node, Op
from fastcnn.tensor import TensorSpec

TRIES, ENOUGH_S = 3, 0.02  # runs that are timed, and more until that time has passed
DELAY_S = 2.0  # then a bar appears

_fastest: dict[str, str] = {}  # name of the op that computes what the key describes


def fastest(candidates: Sequence[Op], node: Node, ready: bool, backend: ModuleType) -> Op:
    """The candidate that computes the node in the shortest time. ready: what `prepare` makes is there already."""
    if not _fastest:
        _fastest.update(recall("fastest"))
    shapes = " ".join(f"{x.spec.dtype}{x.spec.dims}" for x in node.inputs)
    names = " ".join(op.name for op in candidates)
    key = f"{node.operation!r} {shapes} {ready} {backend.num_threads()}: {names}"
    found = [op for op in candidates if op.name == _fastest.get(key)]
    if not found:
        bar = tqdm(candidates, desc="trying algorithms, first run only", delay=DELAY_S, leave=False)
        times = [seconds(op, node, ready, backend) for op in bar]
        found = [candidates[int(np.argmin(times))]]
        _fastest[key] = found[0].name
        remember("fastest", {key: found[0].name})
    return found[0]


def seconds(op: Op, node: Node, ready: bool, backend: ModuleType) -> float:
    """The shortest time in which an op computes a node, of some runs on numbers of no meaning."""
    inputs, outputs = [x.spec for x in node.inputs], [y.spec for y in node.outputs]

    def filled(specs: Sequence[TensorSpec]) -> list[np.ndarray]:
        return [_filled(spec, backend) for spec in specs]

    arrays, results, prepared = filled(inputs), filled(outputs), filled(op.prepared(inputs, outputs))
    rows = op.workspace(inputs, outputs)
    workspace = [] if rows is None else [TensorSpec((backend.num_threads(), *rows.dims), rows.dtype)]
    work = [*prepared, *filled([*op.scratch(backend.kernels, inputs, outputs), *workspace])]
    preparing = op.prepare(backend.kernels, arrays, results, prepared)
    running = op.launch(backend.kernels, arrays, results, work)
    backend.Program([*preparing, *running]).run()
    program, times = backend.Program(running if ready else [*preparing, *running]), list[float]()
    while len(times) < TRIES or sum(times) < ENOUGH_S:
        times.append(backend.seconds(program.run))
    return min(times)


def _filled(spec: TensorSpec, backend: ModuleType) -> np.ndarray:
    """An array of ones: zeros might be pages that have no memory yet, and what is not set might be slow to compute."""
    array: np.ndarray = backend.allocate(spec.nbytes).view(spec.dtype).reshape(spec.dims)
    array.fill(1)
    return array
