"""python -m bench.cuda_resources: what every CUDA kernel needs of a device: registers, shared memory, spilled bytes.

Kernels are compiled to PTX and to machine code for four generations of devices. No device and no driver is needed,
only `pip install "fastcnn[cuda13]"`. The kernels are those of `python -m fastcnn warmup`, products with every tile.
bench/results/cuda-resources.md is what it printed last.
"""

import argparse
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from fastcnn_kernels.cuda import CudaLaunch, Tile, tiles
from fastcnn_kernels.cuda_code import translated
from tqdm import tqdm

from fastcnn import config
from fastcnn.backend.cuda import kernels
from fastcnn.cli.warmup import all_work, with_gradients
from fastcnn.plan.progress import compile_progress
from fastcnn.tensor import TensorSpec

CAPABILITIES = ((7, 5), (8, 0), (9, 0), (12, 0))  # Turing, Ampere, Hopper, Blackwell


class Resources(NamedTuple):
    """Of a thread: registers, bytes of memory beside them (stack, spilled); of a block: bytes of shared memory."""

    registers: int
    stack: int
    spilled: int
    shared: int


def launches(dtype: str) -> list[CudaLaunch]:
    """One of each kernel and combination of argument types that models of this dtype use, and of each tile."""
    found: dict[tuple, CudaLaunch] = {}
    for launch in planned(dtype):
        for tile in tiles("tf32" if launch.tile.cores else dtype) if launch.tile else (None,):
            one = launch._replace(tile=tile)
            found[one.key] = one
    return sorted(found.values(), key=lambda one: (one.kernel.__name__, one.tile or ()))


def suppression(dtype: str) -> Iterator[CudaLaunch]:
    """Launches of what no plan does."""
    corners, starts, scores = np.zeros((4, 1), dtype), np.array([0, 1]), np.zeros(1, dtype)
    for greedy in (kernels.nms_greedy, kernels.nms_distance):
        yield greedy.bind(corners, starts, np.zeros((5, 1), dtype), np.zeros(1, np.uint8), scores)
    for soft in (kernels.nms_linear, kernels.nms_gaussian):
        yield soft.bind(corners, starts, scores, scores, 0.5, 0.5)
    double = np.zeros((4, 1)), starts, np.zeros(1), np.zeros((4, 1)), np.zeros((2, 1))
    yield kernels.fuse_boxes.bind(*double, np.zeros(1, np.int64), 0.5)
    ends, weights = np.zeros(1, np.int32), np.zeros(1, np.float32)
    yield kernels.segment_graph.bind(ends, ends, weights, ends, ends, weights, 1.0, 1)


def planned(dtype: str) -> Iterator[CudaLaunch]:
    """All launches of what `warmup` plans, by plain products and by tensor cores, and of what it only runs."""
    yield from suppression(dtype)
    for precision in ("fast", "tf32"):
        config.set_precision(precision)
        with compile_progress(False):
            for _, function, shapes in all_work(dtype):
                specs = [TensorSpec(shape, dtype) for shape in shapes]
                plan, _ = with_gradients(function).make(specs, "cuda")
                yield from (launch for _, step in plan.steps for launch in step)
    config.set_precision("fast")


def suits(launch: CudaLaunch, capability: tuple[int, int]) -> bool:
    """Whether devices of that capability have what the launch needs: tensor cores for TF32 came with Ampere."""
    return capability >= (8, 0) or not (launch.tile and launch.tile.cores)


def resources(launch: CudaLaunch, capability: tuple[int, int]) -> Resources:
    """What the linker says of the kernel's machine code."""
    return parsed(translated(launch, capability).report)


def parsed(log: str) -> Resources:
    """The numbers in the linker's report, the largest where there are several functions."""

    def most(pattern: str) -> int:
        return max(map(int, re.findall(pattern, log)), default=0)

    stack, spilled = most(r"(\d+) bytes stack frame"), most(r"(\d+) bytes spill stores")
    return Resources(most(r"[Uu]sed (\d+) registers"), stack, spilled, most(r"(\d+) bytes smem"))


def threads_of(launch: CudaLaunch) -> int:
    """Threads of a block, with the launch's tile."""
    return launch.tile.threads if launch.tile else launch.shape.threads


def rows(
    dtypes: Iterable[str], capabilities: Iterable[tuple[int, int]], only: str = ""
) -> Iterator[list[str]]:
    """The table: kernel, tile, types of its arrays, threads; for each capability registers / shared / spilled."""
    for dtype in dtypes:
        for launch in tqdm([one for one in launches(dtype) if only in one.kernel.__name__], unit="kernel"):
            needs = [
                "{0.registers} / {0.shared} / {0.spilled}".format(resources(launch, one))
                if suits(launch, one)
                else "-"
                for one in capabilities
            ]
            yield [launch.kernel.__name__, _shown(launch.tile), dtype, str(threads_of(launch)), *needs]


def _shown(tile: Tile | None) -> str:
    return f"{tile.rows} x {tile.columns}{', TF32' * tile.cores}" if tile else ""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.cuda_resources", description=__doc__)
    parser.add_argument("--double", action="store_true", help="kernels for float64 too")
    parser.add_argument("--only", default="", help="kernels with this in their names")
    arguments = parser.parse_args()
    names = [f"sm_{major}{minor}" for major, minor in CAPABILITIES]
    print("| kernel | tile | dtype | threads |", " | ".join(names), "|")
    print("|---" * (4 + len(names)) + "|")
    for row in rows(["float32", "float64"][: 1 + arguments.double], CAPABILITIES, arguments.only):
        print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
