"""What this machine can do at most: multiply-adds a second and bytes a second. Rates are judged against these.

    python -m bench.ceilings

Both are measured, not computed from a data sheet, in the process whose benchmarks they judge: clocks, noisy
neighbours and virtual machines change from run to run.
"""

import math
import threading
import time
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from fastcnn_kernels import elementwise, team
from fastcnn_kernels.jit import TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, device_function, stack_array
from fastcnn_kernels.microkernel import DEPTH, WIDEST, Matrix, lay_rows, tile

SMALLEST, LARGEST = 2**14, 2**29  # bytes of the two arrays of a copy; the largest leave any last-level cache
TILE_FLOPS = 2 * TILE_ROWS * WIDEST * DEPTH
BURST = 1000  # tiles between two looks at the clock, about a millisecond
WINDOW = 2**24  # bytes of a copy that are timed at once, about half a millisecond's worth
SECONDS = 0.5  # of measuring, a ceiling


class Ceilings(NamedTuple):
    """The most that `threads` threads, or a CUDA device, reach together, in float32."""

    threads: int
    gflops: float  # 1e9 floating-point operations a second; a multiply-add is two
    gbytes: float  # 1e9 bytes a second read and written by a copy in main memory
    tf32: float = 0.0  # the same as gflops of tensor cores, where there are any


@cache
def ceilings(threads: int | None = None) -> Ceilings:
    """The ceilings for that many threads (default: as many as programs run on), measured once a process."""
    if threads is None:
        return ceilings(team.num_threads())
    return Ceilings(threads, multiply_add_rate(threads) / 1e9, _copy_gbytes(threads, LARGEST))


def copy_ceiling(nbytes: int) -> float:
    """GB/s of a copy that touches about as many bytes: the ceiling of work that stays in a cache."""
    size = min(max(1 << (max(nbytes, 1) - 1).bit_length(), SMALLEST), LARGEST)
    return _copy_gbytes(team.num_threads(), size)


@cache
def _copy_gbytes(threads: int, nbytes: int) -> float:
    return copy_rate(threads, nbytes) / 1e9


# --- arithmetic ----------------------------------------------------------------------------------------------


@device_function
def _multiply_tiles(a: np.ndarray, b: np.ndarray, zeros: np.ndarray, c: np.ndarray, times: int) -> None:
    """The product of one panel of a and one of b, again and again."""
    places = stack_array(np.int64, TILE_ROWS)
    lay_rows(places, 0, DEPTH, TILE_ROWS)
    for _ in range(times):
        tile(
            TILE_ROWS, TILE_VECTORS, DEPTH, a, places, 1, Matrix(b, 0, WIDEST), Matrix(zeros, 0, 0), -math.inf,
            Matrix(c, 0, WIDEST),
        )  # fmt: skip


def multiply_add_rate(threads: int, seconds: float = SECONDS, burst: int = BURST) -> float:
    """Operations a second of the matrix micro-kernel on panels that stay in the first-level cache."""
    start = threading.Barrier(threads)
    best = [0.0] * threads

    def work(thread: int) -> None:
        a, b, zeros, c = _panels(thread)
        _multiply_tiles(a, b, zeros, c, 1)  # compiled by the first thread that comes
        start.wait()
        deadline = time.perf_counter() + seconds
        while not best[thread] or time.perf_counter() < deadline:
            took = _seconds(partial(_multiply_tiles, a, b, zeros, c, burst))
            best[thread] = max(best[thread], burst * TILE_FLOPS / took)

    workers = [threading.Thread(target=work, args=(thread,)) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(best)


def _panels(seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    sizes = TILE_ROWS * DEPTH, DEPTH * WIDEST
    a, b = (rng.normal(size=size).astype(np.float32) for size in sizes)
    return a, b, np.zeros(WIDEST, np.float32), np.empty(TILE_ROWS * WIDEST, np.float32)


# --- memory --------------------------------------------------------------------------------------------------


def copy_rate(threads: int, nbytes: int, seconds: float = SECONDS) -> float:
    """Bytes a second, read and written, of a copy between two arrays of `nbytes` together.

    Timed in windows, the fastest pass of each counting, because other work seldom pauses for a whole large copy;
    between two visits of a window all the others are copied.
    """
    source, target = np.ones(nbytes // 8, np.float32), np.empty(nbytes // 8, np.float32)
    cuts = range(0, source.size, WINDOW // 8)
    windows = [team.Program([elementwise.copy.bind(*_window(i, source, target))]) for i in cuts]
    before = team.num_threads()
    team.set_num_threads(threads)
    try:
        for window in windows:
            window.run()  # the first touch of a page costs the operating system's time
        times = 1 if len(windows) > 1 else max(1, int(0.0005 / _seconds(windows[0].run)))
        best, deadline = [math.inf] * len(windows), time.perf_counter() + seconds
        while best[0] == math.inf or time.perf_counter() < deadline:
            for i, window in enumerate(windows):
                best[i] = min(best[i], _seconds(partial(_repeat, window.run, times)) / times)
        return nbytes / sum(best)
    finally:
        team.set_num_threads(before)


def _window(start: int, *arrays: np.ndarray) -> list[np.ndarray]:
    return [x[start : start + WINDOW // 8] for x in arrays]


def _repeat(function: Callable[[], object], times: int) -> None:
    for _ in range(times):
        function()


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main() -> None:
    """Print the ceilings of one thread and of all."""
    print(f"vectors of {8 * VECTOR_BYTES} bits, tiles of {TILE_ROWS} x {WIDEST}, float32")
    for threads in sorted({1, team.num_threads()}):
        print(f"{threads} threads: {ceilings(threads).gflops:.0f} GFLOP/s")
        for size in (2**15, 2**18, 2**21, 2**24, LARGEST):
            print(f"{_copy_gbytes(threads, size):10.1f} GB/s copied, {size / 2**20:g} MiB read and written")


if __name__ == "__main__":
    main()
