"""What a benchmark does: prepare work, time it, and relate it to the ceilings of the machine.

Only the work itself is timed: arrays are made, plans planned and kernels compiled before. FLOP are those of the
definition (`Op.flops`: two a multiply-add, one an element of a pointwise op, however long its formula is). Bytes are
those that must move: every input and output of an op once, scratch not at all. Arrays that a cache holds from one
run to the next move faster than memory, so rates are compared with a copy of equal size as well.
"""

import contextlib
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from fastcnn_kernels.jit import Launch
from fastcnn_kernels.team import Program, num_threads

from bench.ceilings import ceilings, copy_ceiling
from bench.report import Row, cpu_model
from fastcnn.graph import Node, ancestors, gradients
from fastcnn.plan import Function, Plan, chain
from fastcnn.plan.description import flops
from fastcnn.tensor import Tensor, TensorSpec

RUNS = 5  # of what is not timed by pytest-benchmark

Input = tuple[int, ...] | np.ndarray  # a shape, to be filled with normal numbers, or values


class Work(NamedTuple):
    """What is timed. `keep`: whatever owns the memory that it works on."""

    run: Callable[[], object]
    flops: int
    nbytes: int
    kernels: str
    keep: Any = None


class Meter:
    """The fixture `measure`: its methods time one thing each and put rates into `benchmark.extra_info`."""

    def __init__(self, benchmark: Any, name: str, rows: list[Row]):
        self._benchmark = benchmark
        self._name = name
        self._rows = rows
        self._rng = np.random.default_rng(zlib.crc32(name.encode()))

    # --- what can be timed -------------------------------------------------------------------------------------

    def forward(self, function: Callable[..., Any], *inputs: Input, training: bool = False) -> None:
        """A function of tensors, as users write it, planned for these inputs."""
        self._time_plan(forward_work(function, self._arrays(inputs), training))

    def backward(
        self, function: Callable[..., Any], *inputs: Input, wanted: Sequence[int] = (0,), training: bool = False
    ) -> None:  # fmt: skip
        """The gradients of a function for the `wanted` inputs, given that of its result; not the forward."""
        self._time_plan(backward_work(function, self._arrays(inputs), self._rng, wanted, training))

    def kernels(self, *launches: Launch, flops: int = 0, nbytes: int | None = None) -> None:
        """Kernels bound to arrays, in order. nbytes: default, every array of theirs once."""
        arrays = {id(x): x for launch in launches for x in launch.args if isinstance(x, np.ndarray)}
        total = sum(x.nbytes for x in arrays.values()) if nbytes is None else nbytes
        self._time(Work(Program(list(launches)).run, flops, total, _names(launches), arrays))

    def step(self, plan: Plan, run: Callable[[], object], images: int) -> None:
        """Whatever runs `plan` once for a batch of `images`, with the Python around it."""
        count = sum(len(launches) for _, launches in plan.steps)
        self._time(_work(plan, plan.steps, run)._replace(kernels=f"{count} launches"), images)

    # --- timing ------------------------------------------------------------------------------------------------

    def _arrays(self, inputs: Iterable[Input]) -> list[np.ndarray]:
        return [x if isinstance(x, np.ndarray) else self.normal(*x) for x in inputs]

    def normal(self, *shape: int) -> np.ndarray:
        """Normal numbers, the same in every run of this benchmark."""
        return self._rng.normal(size=shape).astype(np.float32)

    def uniform(self, low: float, high: float, *shape: int) -> np.ndarray:
        """Uniform numbers of [low, high)."""
        return self._rng.uniform(low, high, shape).astype(np.float32)

    def labels(self, classes: int, *shape: int) -> np.ndarray:
        """Class numbers, as floats."""
        return self._rng.integers(0, classes, shape).astype(np.float32)

    def _time_plan(self, work: Work) -> None:
        self._time(work)
        _check(work.keep)

    def _time(self, work: Work, images: int = 0) -> None:
        self._benchmark(work.run)
        row = Row(self._name, work.kernels, work.flops / 1e9, work.nbytes / 1e6, images)
        if self._benchmark.enabled:
            stats = self._benchmark.stats.stats
            row = row._replace(
                seconds=stats.min,
                median=stats.median,
                ceilings=ceilings(),
                copy_gbytes=copy_ceiling(work.nbytes),
            )
            self._rows.append(row)
        self._benchmark.extra_info.update(row.info(), threads=num_threads(), cpu=cpu_model())


def forward_work(function: Callable[..., Any], arrays: Sequence[np.ndarray], training: bool = False) -> Work:
    """A function of tensors, planned for these inputs and filled with them."""
    plan, _ = Function(function, training).plan([_spec(x) for x in arrays])
    _fill(plan, arrays)
    return _work(plan, plan.steps, plan.run)


def backward_work(
    function: Callable[..., Any], arrays: Sequence[np.ndarray], rng: np.random.Generator, wanted: Sequence[int],
    training: bool = False,
) -> Work:  # fmt: skip
    """The gradients of a function for the `wanted` inputs, given those of its results, normal numbers."""
    forward, _ = Function(function, training).plan([_spec(x) for x in arrays])
    arrays = [*arrays, *(rng.normal(size=y.shape).astype(y.dtype) for y in forward.output_arrays)]
    count, last_forward = len(forward.output_arrays), 0.0

    def body(*tensors: Tensor) -> Any:
        nonlocal last_forward
        inputs, dys = tensors[:-count], tensors[-count:]
        result = function(*inputs)
        ys = list(result) if isinstance(result, tuple) else [result]
        forward = ancestors(ys)
        last_forward = forward[-1].serial
        # Outputs keep their memory: the backward may run again and again on what one forward left.
        forward_values = [*tensors, *(y for node in forward for y in node.outputs)]
        return gradients(ys, [inputs[i] for i in wanted], list(dys)), forward_values

    with whole_batches():
        plan, _ = Function(body, training).plan([_spec(x) for x in arrays])
    _fill(plan, arrays)
    plan.run()
    repeated = {id(launch) for launch in plan.preparation.rest}  # not what constants are made of
    steps = [
        (node, [launch for launch in launches if id(launch) in repeated])
        for node, launches in plan.steps
        if node.serial >= last_forward + 1  # the parts of the last node have fractions
    ]
    program = Program([launch for _, launches in steps for launch in launches])
    return _work(plan, steps, program.run)


def _spec(x: np.ndarray) -> TensorSpec:
    return TensorSpec(x.shape, str(x.dtype))


def _fill(plan: Plan, arrays: Sequence[np.ndarray]) -> None:
    for target, array in zip(plan.input_arrays, arrays, strict=True):
        target[...] = array


def _work(plan: Plan, steps: Sequence[tuple[Node, list[Launch]]], run: Callable[[], object]) -> Work:
    launches = [launch for _, launches in steps for launch in launches]
    done, moved = (sum(count(node) for node, _ in steps) for count in (flops, nbytes))
    return Work(run, done, moved, _names(launches), plan)


@contextlib.contextmanager
def whole_batches() -> Iterator[None]:
    """Plans made inside execute one op after the other, so that some can be timed without those before them."""
    worth, chain.WORTH = chain.WORTH, sys.maxsize
    try:
        yield
    finally:
        chain.WORTH = worth


def shortest(work: Callable[[], object], backend: ModuleType) -> float:
    """Seconds of the fastest of RUNS. The first two compile and, on a device, capture."""
    return min([backend.seconds(work) for _ in range(2 + RUNS)][2:])


def nbytes(node: Node) -> int:
    """Bytes that an op must move: those of every input and output once."""
    if node.operation.alias:
        return 0
    read = {id(x): x for x in node.inputs}.values()
    changed = [node.inputs[i] for i in node.operation.mutates]
    return sum(x.spec.nbytes for x in [*read, *changed, *node.outputs])


def _names(launches: Iterable[Launch]) -> str:
    counts = Counter(launch.kernel.__name__ for launch in launches)
    return ", ".join(f"{count} {name}" if count > 1 else name for name, count in counts.items())


def _check(plan: Plan) -> None:
    """A benchmark that computes NaN would measure something else than it says."""
    assert all(np.isfinite(y).all() for y in plan.output_arrays)


TURN_S = 0.01  # long enough that what the others left in the caches does not count


def alternating(runs: dict[str, Callable[[], Any]], budget_s: float) -> dict[str, float]:
    """The best time of each of several functions, which take turns until the budget of each is spent."""
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()  # compiled, memory touched
    end = time.perf_counter() + budget_s * len(runs)
    while time.perf_counter() < end:
        for name, run in runs.items():
            turn = start = time.perf_counter()
            while start - turn < TURN_S:
                run()
                now = time.perf_counter()
                best[name], start = min(best[name], now - start), now
    return best
