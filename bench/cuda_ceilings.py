"""What a CUDA device can do at most: multiply-adds a second by its cores and by its tensor cores, and bytes a second.

    python -m bench.cuda_ceilings

All are measured on the device at hand, as `bench.ceilings` does on the processor. Tensor cores are asked by `mma.sync`,
as the kernels of this package ask them; newer devices have other instructions, which may reach more.
"""

from functools import cache
from typing import Any

from fastcnn_kernels.cuda import THREADS, WARP, Shape, cuda, cuda_kernel
from fastcnn_kernels.cuda_program import copy, device_address
from fastcnn_kernels.cuda_tiles import multiply_tf32

from bench.ceilings import Ceilings
from bench.measure import shortest
from fastcnn.backend import cuda as backend

CHAINS = 8  # sums of a thread, none of which waits for another
STEPS = 8  # without a look at the counter of the loop
PRODUCT = 2 * 16 * 8 * 8  # operations of one instruction of a warp's tensor core
BLOCK = max(THREADS, WARP)  # threads: whole warps, in the simulator too


def _threads(x: Any, y: Any, rounds: int) -> Shape:
    return Shape((x.size // BLOCK, 1, 1), BLOCK)


@cuda_kernel(_threads)
def multiply_add(x, y, rounds):
    """y = the sum of CHAINS sums of a thread, each multiplied by x and x added, `rounds` times STEPS times."""
    i = cuda.grid(1)
    factor, sums = x[i], cuda.local.array(CHAINS, x.dtype)
    for j in range(CHAINS):
        sums[j] = factor * x.dtype.type(j)
    for _ in range(rounds):
        for _ in range(STEPS):
            for j in range(CHAINS):
                sums[j] = sums[j] * factor + factor
    for j in range(1, CHAINS):
        sums[0] += sums[j]
    y[i] = sums[0]


@cuda_kernel(_threads)
def multiply_add_tf32(x, y, rounds):
    """y = x, and the sum of CHAINS tiles of a warp, to each of which a product is added `rounds` times."""
    i = cuda.grid(1)
    a, sums = x[i], cuda.local.array((CHAINS, 4), x.dtype)
    for j in range(CHAINS):
        for e in range(4):
            sums[j, e] = 0
    for _ in range(rounds):
        for j in range(CHAINS):
            found = multiply_tf32(a, a, a, a, a, a, sums[j, 0], sums[j, 1], sums[j, 2], sums[j, 3])
            for e in range(4):
                sums[j, e] = found[e]
    total = a
    for j in range(CHAINS):
        for e in range(4):
            total += sums[j, e]
    y[i] = total


def measured(blocks: int, rounds: int, nbytes: int) -> Ceilings:
    """With so many blocks of so many rounds, and the driver's copy between two arrays of so many bytes together."""
    sizes = [blocks * BLOCK] * 2 + [nbytes // 8] * 2
    x, y, source, target = (backend.allocate(4 * size).view("f4") for size in sizes)
    backend.Program([backend.kernels.fill.bind(array, 0.5) for array in (x, source)]).run()
    places = device_address(target), device_address(source)
    gbytes = nbytes / shortest(lambda: copy(*places, nbytes // 2), backend) / 1e9
    done = 2 * CHAINS * STEPS * rounds * x.size
    gflops, tf32 = done / shortest(backend.Program([multiply_add.bind(x, y, rounds)]).run, backend) / 1e9, 0.0
    if "tf32" in backend.algorithms():
        done = PRODUCT * CHAINS * rounds * x.size // WARP
        tf32 = done / shortest(backend.Program([multiply_add_tf32.bind(x, y, rounds)]).run, backend) / 1e9
    return Ceilings(1, gflops, gbytes, tf32)


@cache
def ceilings() -> Ceilings:
    """Those of the device, measured once a process."""
    return measured(blocks=1 << 12, rounds=1 << 10, nbytes=1 << 29)


def main() -> None:
    """Print them."""
    backend.check()
    best = ceilings()
    print(f"{best.gflops:.0f} GFLOP/s float32, {best.tf32:.0f} TF32, {best.gbytes:.0f} GB/s copied")


if __name__ == "__main__":
    main()
