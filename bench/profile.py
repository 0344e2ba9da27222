"""Where the time of a network goes: `python -m bench.profile VGG-small`, on a device `--device cuda`.

One line an operation: what ran, by which kernels, its FLOP and bytes, its time, and how near that is to what the
machine can do. Every operation is timed by itself, several times, the shortest counts: the sum is a little less than
the time of a whole step, in which data come from farther away. What is made of weights once is left out.
"""

import argparse
import math
from collections import defaultdict
from typing import Any, NamedTuple

from tqdm import tqdm

import fastcnn
from bench.ceilings import Ceilings, ceilings
from bench.measure import nbytes, shortest, whole_batches
from bench.networks import NETWORKS
from bench.versus.fastcnn_peer import MODES
from bench.versus.worker import data, make
from fastcnn.graph import Node
from fastcnn.models.step import Batch
from fastcnn.plan.description import flops

LEAST = 1e-4  # seconds that are timed at once


class Line(NamedTuple):
    """One operation, or several."""

    layer: str
    operation: str
    kernels: str
    on_cores: bool  # whether tensor cores multiply
    mflop: float
    mbytes: float
    seconds: float

    def row(self, name: str, total: float, best: Ceilings) -> str:
        """A line of the table. total: seconds of the step; best: of the machine."""
        rate, speed = self.mflop / self.seconds / 1e3, self.mbytes / self.seconds / 1e3
        peak, kind = (best.tf32, "TF32") if self.on_cores else (best.gflops, "FMA")
        share = f"{1e6 * self.seconds:9.1f} us {100 * self.seconds / total:5.1f} %"
        rates = f"{rate:8.1f} GFLOP/s {100 * rate / peak:4.0f} % of {kind:4}"
        return (
            f"{name[:44]:44} {self.kernels[:44]:44} {self.mflop:9.1f} MFLOP {self.mbytes:8.1f} MB {share} {rates} "
            f"{speed:8.1f} GB/s {100 * speed / best.gbytes:4.0f} % of memory"
        )


def plan_of(network: str, batch: int, training: bool, mode: str, threads: int, device: str) -> Any:
    """The plan of a step of the network, which has run once."""
    peer = make("fastcnn", mode, threads, device)
    peer.build(*data(network, batch), training)
    given = Batch(peer.x, peer.y) if training else Batch(peer.x)
    with whole_batches():  # in chains, operations have no time of their own
        peer.step()  # which gives optimizers their numbers
        planned = peer.model._step("train" if training else "predict").planned(given)
    planned.plan.fill(planned.arrays)
    planned.plan.run()
    return planned.plan


def seconds(launches: list, backend: Any) -> float:
    """The shortest time of some launches."""
    once = shortest(backend.Program(launches).run, backend)
    count = math.ceil(LEAST / once)
    return once if count == 1 else shortest(backend.Program(launches * count).run, backend) / count


def measured(node: Node, launches: list, backend: Any) -> Line:
    """An operation with its time."""
    tiles = [getattr(launch, "tile", None) for launch in launches]  # of CUDA kernels
    names = [launch.kernel.__name__ for launch in launches]
    names = [
        f"{name}_{tile.rows}x{tile.columns}" if tile else name
        for name, tile in zip(names, tiles, strict=True)
    ]
    about = (
        node.scope,
        node.operation.name,
        ", ".join(dict.fromkeys(names)),
        any(tile and tile.cores for tile in tiles),
    )
    return Line(*about, flops(node) / 1e6, nbytes(node) / 1e6, seconds(launches, backend))


def lines_of(plan: Any) -> list[Line]:
    """The operations that run every time."""
    every_time = set(map(id, plan.preparation.rest))
    steps = [(node, [one for one in launches if id(one) in every_time]) for node, launches in plan.steps]
    steps = [step for step in steps if step[1]]
    return [measured(*step, plan.backend) for step in tqdm(steps, desc="timing", unit="operation")]


def together(lines: list[Line]) -> list[Line]:
    """Those of one kind and the same kernels as one, the longest first."""
    kinds: dict[tuple, list[Line]] = defaultdict(list)
    for line in lines:
        kinds[line.operation, line.kernels, line.on_cores].append(line)
    found = []
    for (operation, *same), some in kinds.items():
        sums = (sum(getattr(line, name) for line in some) for name in ("mflop", "mbytes", "seconds"))
        found.append(Line("", f"{len(some)} x {operation}", *same, *sums))
    return sorted(found, key=lambda line: -line.seconds)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("network", choices=list(NETWORKS))
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--infer", action="store_true", help="inference instead of a training step")
    parser.add_argument("--threads", type=int, default=fastcnn.num_threads())
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--mode", choices=MODES, default=MODES[0])
    parser.add_argument("--sums", action="store_true", help="only operations of one kind together")
    return parser.parse_args()


def ceilings_of(device: str, threads: int) -> Ceilings:
    """What the machine can do."""
    if device == "cpu":
        return ceilings(threads)
    from bench import cuda_ceilings

    return cuda_ceilings.ceilings()


def main() -> None:
    """Print the tables."""
    given = arguments()
    about = given.batch, not given.infer, given.mode, given.threads, given.device
    plan, best = plan_of(given.network, *about), ceilings_of(given.device, given.threads)
    lines = lines_of(plan)
    total = sum(line.seconds for line in lines)
    for line in [] if given.sums else lines:
        print(line.row(f"{line.layer.split('/')[-1]} {line.operation}", total, best))
    print()
    for line in together(lines):
        print(line.row(line.operation, total, best))
    where = f"{given.threads} threads" if given.device == "cpu" else "CUDA"
    tensor_cores = f", {best.tf32:.0f} in TF32" if best.tf32 else ""
    print(
        f"\n{1e3 * total:.2f} ms, {given.batch / total:.0f} images/s on {where}; ceilings {best.gflops:.0f} GFLOP/s"
        f"{tensor_cores}, {best.gbytes:.1f} GB/s; arena {plan.nbytes / 2**20:.1f} MiB"
    )


if __name__ == "__main__":
    main()
