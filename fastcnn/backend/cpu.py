"""The CPU backend. What a backend must offer is what this module defines:

- `kernels`: an object whose attributes are the kernels; `kernels.NAME.bind(*arrays)` makes a launch;
- `allocate(nbytes)`: 64-byte aligned memory of a plan's arena, as bytes;
- `Program(launches)`: launches made ready to run as one, with `run()`;
- `Blocks(lists, workspace).launch`: a launch that executes lists of launches, several at a time; such lists are bound
  inside of `on_one_thread()`;
- `compile_launches(launches, ready)`: makes their code ready ahead of a program;
- `num_threads()`, `set_num_threads(n)`.
"""

import importlib
from types import SimpleNamespace

import numpy as np
from fastcnn_kernels.ahead import compile_launches
from fastcnn_kernels.jit import Kernel, on_one_thread
from fastcnn_kernels.team import Blocks, Program, num_threads, set_num_threads

__all__ = [
    "Blocks",
    "Program",
    "allocate",
    "compile_launches",
    "kernels",
    "num_threads",
    "on_one_thread",
    "set_num_threads",
]

FAMILIES = (
    "activation", "amx", "boxes", "color", "conv", "depthwise", "elementwise", "gemm", "lanes", "loss", "nms",
    "norm", "optimizer", "ordering", "policy", "pool", "random", "reduction", "resample", "roi", "segment",
    "shape", "winograd", "yolo",
)  # fmt: skip


def _load() -> SimpleNamespace:
    families = [importlib.import_module(f"fastcnn_kernels.{family}") for family in FAMILIES]
    found = [item for family in families for item in vars(family).values() if isinstance(item, Kernel)]
    return SimpleNamespace(**{kernel.__name__: kernel for kernel in found})  # other people's kernels stay out


kernels = _load()


def allocate(nbytes: int) -> np.ndarray:
    """`nbytes` zeroed bytes that start on a cache line."""
    memory = np.zeros(nbytes + 64, np.uint8)
    offset = -memory.ctypes.data % 64
    return memory[offset : offset + nbytes]
