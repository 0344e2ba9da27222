"""The CPU backend. What a backend must offer is what this module defines:

- `kernels`: an object whose attributes are the kernels; `kernels.NAME.bind(*arrays)` makes a launch;
- `allocate(nbytes)`: 64-byte aligned memory of a plan's arena, as bytes;
- `prepare(launches)`: launches made ready to run as one, an object with `run()`;
- `num_threads()`, `set_num_threads(n)`.
"""

import importlib
from types import SimpleNamespace

import numpy as np
from fastcnn_kernels.jit import Kernel, Launch
from fastcnn_kernels.team import Program, num_threads, set_num_threads
from tqdm import tqdm

__all__ = ["allocate", "kernels", "num_threads", "prepare", "set_num_threads"]

FAMILIES = (
    "activation", "conv", "depthwise", "elementwise", "gemm", "loss", "norm", "optimizer", "pool", "random",
    "reduction", "shape",
)  # fmt: skip


def _load() -> SimpleNamespace:
    for family in FAMILIES:
        importlib.import_module(f"fastcnn_kernels.{family}")
    return SimpleNamespace(**Kernel.registry)


kernels = _load()


def allocate(nbytes: int) -> np.ndarray:
    """`nbytes` zeroed bytes that start on a cache line."""
    memory = np.zeros(nbytes + 64, np.uint8)
    offset = -memory.ctypes.data % 64
    return memory[offset : offset + nbytes]


def prepare(launches: list[Launch]) -> Program:
    """Compile what is not compiled yet, with a progress bar where that takes long, and make the program."""
    missing = [launch for launch in launches if not launch.kernel.is_compiled(launch.args)]
    if missing:
        for launch in tqdm(missing, "compiling kernels, first run only", delay=1.5, leave=False, unit="kernel"):
            launch.kernel.compile(launch.args)
    return Program(launches)
