"""The CPU backend. What a backend must offer is what this module defines:

- `kernels`: an object whose attributes are the kernels; `kernels.NAME.bind(*arrays)` makes a launch;
- `allocate(nbytes)`: 64-byte aligned memory of a plan's arena, as bytes;
- `Program(launches, flush)`: launches made ready to run as one, with `run()`; flush: denormals may count as zero;
- `Blocks(lists, workspace).launch`: a launch that executes lists of launches, several at a time, each on one thread;
  such lists are bound to the first row of the workspace, inside of `on_one_thread()`;
- `compile_launches(launches, ready)`: makes their code ready ahead of a program;
- `num_threads()`, `set_num_threads(n)`;
- `Transfer(inputs, outputs, variables, changed)`: the arrays through which the world meets those of a plan, and what is
  to be copied `before()` and `after()` a run; `wait()`, until what has been run is done;
- `seconds(work)`: how long the programs that `work()` runs take;
- `algorithms()`: the names of those that it has kernels for, beside the first one of each op;
- `MEASURES`: whether algorithms can be tried on arrays that anybody fills;
- `AHEAD`: how many runs may be on their way while the next is made ready; where it is not 0, a `Transfer` also has
  `send(arrays)` and `receive()`, which do not wait;
- `BYTES`: whether plans take batches of bytes as they are, and make numbers with fractions of them;
- `BLOCKS`: whether plans may execute a few images at a time; only then it must have `Blocks` and `on_one_thread`.
"""

import importlib
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import numpy as np
from fastcnn_kernels.ahead import compile_launches
from fastcnn_kernels.jit import Kernel, on_one_thread
from fastcnn_kernels.team import Blocks, Program, num_threads, set_num_threads

from fastcnn.tensor import Variable

__all__ = [
    "AHEAD",
    "BLOCKS",
    "BYTES",
    "MEASURES",
    "Blocks",
    "Program",
    "Transfer",
    "algorithms",
    "allocate",
    "compile_launches",
    "kernels",
    "num_threads",
    "on_one_thread",
    "seconds",
    "set_num_threads",
    "wait",
]


def algorithms() -> frozenset[str]:
    """Names of those that there are kernels for, beside the first one of each op."""
    return frozenset({"amx", "amx3", "bfloat16", "columns", "lanes", "winograd", "winograd2"})


AHEAD = 0
BYTES = False
BLOCKS = MEASURES = True

FAMILIES = (
    "activation", "amx", "boxes", "color", "conv", "depthwise", "elementwise", "gemm", "lanes", "loss", "moments",
    "nms", "norm", "optimizer", "ordering", "policy", "pool", "random", "reduction", "resample", "roi", "segment",
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


class Transfer:
    """Inputs and outputs are written and read where they are; only what is newer on another device is to be copied."""

    def __init__(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray],
        variables: Sequence[Variable], changed: Sequence[Variable],
    ):  # fmt: skip
        self.input_arrays, self.output_arrays = list(inputs), list(outputs)
        self._variables = variables

    def before(self) -> None:
        """Bring home what another device has changed."""
        if Variable.away:
            for variable in self._variables:
                variable.return_home()

    def after(self) -> None:
        """Nothing: results are where they are wanted."""


def wait() -> None:
    """A program has done its work when `run` returns."""


def seconds(work: Callable[[], object]) -> float:
    """How long the programs that `work` runs take."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
