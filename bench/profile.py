"""Where the time of a network goes: `python -m bench.profile VGG-small`.

One line an operation: what ran, by which algorithm, its FLOP and bytes, its time, and how near that is to what the
machine can do. Every operation is timed by itself, several times, the shortest counts: the sum is a little less than
the time of a whole step, in which data come from farther away. What is made of weights once is left out.
"""

import argparse
import time
from collections import defaultdict
from typing import Any, NamedTuple

from fastcnn_kernels.team import Program
from tqdm import tqdm

import fastcnn
from bench.ceilings import ceilings
from bench.measure import whole_batches
from bench.networks import NETWORKS
from bench.versus.worker import data, make
from fastcnn.graph import Node
from fastcnn.models.step import Batch
from fastcnn.plan.description import flops

REPEATS, LEAST = 5, 1e-4  # of these, the shortest counts; each lasts at least so many seconds


class Line(NamedTuple):
    """One operation."""

    layer: str
    operation: str
    kernels: str
    mflop: float
    mbytes: float
    seconds: float


def plan_of(network: str, batch: int, training: bool) -> Any:
    """The plan of a step of the network, which has run once."""
    peer = make("fastcnn", "fastcnn", fastcnn.num_threads())
    peer.build(*data(network, batch), training)
    given = Batch(peer.x, peer.y) if training else Batch(peer.x)
    with whole_batches():  # in chains, operations have no time of their own
        planned = peer.model._step("train" if training else "predict").planned(given)
    planned.plan.fill(planned.arrays)
    planned.plan.run()
    return planned.plan


def seconds(launches: list) -> float:
    """The shortest time of some launches."""
    program = Program(launches)
    count, best = 1, timed(program, 1)
    while count * best < LEAST:
        count *= 2
        best = timed(program, count)
    return min(best, *(timed(program, count) for _ in range(REPEATS)))


def timed(program: Program, count: int) -> float:
    """The mean time of some runs."""
    start = time.perf_counter()
    for _ in range(count):
        program.run()
    return (time.perf_counter() - start) / count


def measured(node: Node, launches: list) -> Line:
    """An operation with its time."""
    nbytes = sum(tensor.spec.nbytes for tensor in (*node.inputs, *node.outputs))
    kernels = ", ".join(dict.fromkeys(launch.kernel.__name__ for launch in launches))
    names = node.scope, node.operation.name, kernels
    return Line(*names, flops(node) / 1e6, nbytes / 1e6, seconds(launches))


def row(name: str, line: Line, total: float, best: Any) -> str:
    """A line of the table."""
    rate, speed = line.mflop / line.seconds / 1e3, line.mbytes / line.seconds / 1e3
    share = f"{1e6 * line.seconds:9.1f} us {100 * line.seconds / total:5.1f} %"
    ceiling = f"{100 * rate / best.gflops:4.0f} % of FMA {100 * speed / best.gbytes:4.0f} % of memory"
    return f"{name[:44]:44} {line.kernels[:44]:44} {line.mflop:9.1f} MFLOP {line.mbytes:8.1f} MB {share} {ceiling}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("network", choices=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--infer", action="store_true", help="inference instead of a training step")
    parser.add_argument("--threads", type=int, default=fastcnn.num_threads())
    given = parser.parse_args()
    fastcnn.set_num_threads(given.threads)
    plan, best = plan_of(given.network, given.batch, not given.infer), ceilings(given.threads)
    every_time = set(map(id, plan.preparation.rest))
    steps = [(node, [one for one in launches if id(one) in every_time]) for node, launches in plan.steps]
    steps = [step for step in steps if step[1]]
    lines = [measured(*step) for step in tqdm(steps, desc="timing", unit="operation")]
    total = sum(line.seconds for line in lines)
    kinds: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        kinds[line.operation].append(line)
        print(row(f"{line.layer.split('/')[-1]} {line.operation}", line, total, best))
    print()
    for kind, some in sorted(kinds.items(), key=lambda item: -sum(line.seconds for line in item[1])):
        sums = (sum(getattr(line, name) for line in some) for name in ("mflop", "mbytes", "seconds"))
        print(row(f"{len(some)} x {kind}", Line("", kind, some[0].kernels, *sums), total, best))
    print(
        f"\n{1e3 * total:.2f} ms, {given.batch / total:.0f} images/s on {given.threads} threads; ceilings "
        f"{best.gflops:.0f} GFLOP/s, {best.gbytes:.1f} GB/s; arena {plan.nbytes / 2**20:.1f} MiB"
    )


if __name__ == "__main__":
    main()
