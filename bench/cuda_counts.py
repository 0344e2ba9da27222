"""python -m bench.cuda_counts: what the CUDA kernels of a training step do, counted by the machine for PTX.

No device is needed, only `pip install "fastcnn[cuda13]"`. An instruction of PTX is counted once for every warp of 32
threads that executes it, as what it costs a device in instructions of its own (`bench.ptx.cost`). Of global memory it
counts what moves, in sectors of 32 bytes, and how much of that is wanted; of shared memory how many turns its banks
need, and how many would do. bench/results/cuda-counts.md is what it printed last.
"""

import argparse
from collections import defaultdict
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from bench.networks import NETWORKS
from bench.ptx.driver import Device, use
from bench.ptx.machine import Tally

PRODUCTS = {"fma", "mma"}


class Row(NamedTuple):
    """What a kernel did in a step."""

    kernel: str
    tally: Tally

    @property
    def instructions(self) -> int:
        """Of its warps, as a device has them."""
        return self.tally.cost

    def cells(self, total: int) -> list[str]:
        """As the table shows it; total: instructions of the step."""
        tally, moved = self.tally, 32 * self.tally.sectors
        products = sum(n for name, n in tally.steps.items() if name in PRODUCTS)
        shares = 100 * self.instructions / total, 100 * products / max(self.instructions, 1)
        return [
            self.kernel, str(tally.launches), f"{self.instructions / 1e3:,.0f}", f"{shares[0]:.1f}", f"{shares[1]:.0f}",
            f"{moved / 1e6:,.2f}", f"{100 * tally.wanted / moved:.0f}" if moved else "",
            f"{tally.turns / tally.least:.2f}" if tally.least else "",
        ]  # fmt: skip


HEAD = [
    "kernel", "launches", "thousand instructions", "% of the step", "% multiply-adds", "MB moved", "% of them wanted",
    "turns of banks / least",
]  # fmt: skip


def counted(network: str, batch: int) -> list[Row]:
    """The kernels of the second training step with Adam, those with most instructions first."""
    import fastcnn

    model, rng = NETWORKS[network].make(), np.random.default_rng(0)
    x = rng.normal(size=(batch, *NETWORKS[network].image)).astype(np.float32)
    y = rng.integers(0, 10, batch)
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    with tqdm(unit=" kernels") as bar:

        def tally_of(kernel: str) -> Tally:
            bar.update()
            return tallies[kernel]

        device = Device(tally_of=tally_of)
        use(device)
        loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, device="cuda")
        model.train_on_batch(x, y)
        device.finish()
        tallies.clear()
        model.train_on_batch(x, y)
        device.finish()
    return sorted((Row(*one) for one in tallies.items()), key=lambda row: -row.instructions)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.cuda_counts", description=__doc__)
    parser.add_argument("network", nargs="?", choices=list(NETWORKS), default="LeNet-5")
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    rows = counted(arguments.network, arguments.batch)
    total = sum(row.instructions for row in rows)
    print(f"{arguments.network}, a training step with Adam, {arguments.batch} images\n")
    print("|", " | ".join(HEAD), "|\n" + "|---" * len(HEAD) + "|")
    for row in rows:
        print("|", " | ".join(row.cells(total)), "|")


if __name__ == "__main__":
    main()
