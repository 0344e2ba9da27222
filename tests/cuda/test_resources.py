"""Every kernel compiled to machine code: nothing is spilled, and every launch is within what any device offers."""

import os
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip(
    "numba_cuda", reason='numba-cuda is not installed; pip install "fastcnn[cuda13]" brings it'
)
if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

from fastcnn_kernels import cuda_code
from fastcnn_kernels.cuda import (
    LARGEST_GRID,
    MOST_REGISTERS,
    MOST_SHARED,
    MOST_THREADS,
    THREADS,
    CudaLaunch,
    OnDevice,
    TensorKernel,
    Tile,
)

from bench import cuda_resources
from bench.networks import NETWORKS
from bench.ptx.machine import check_known
from bench.ptx.text import own_name, parsed
from fastcnn.backend import cuda
from fastcnn.data import Batch
from fastcnn.models.step import Signature
from fastcnn.plan.progress import compile_progress
from fastcnn.tensor import TensorSpec

ALL = cuda_resources.launches("float32")
PRODUCTS = [one for one in cuda_resources.launches("float64") if one.tile]  # which have other tiles
ROOT = Path(__file__).parents[2]
OF_COLUMNS = {"im2col", "col2im"}  # only `set_convolution_algorithm("columns")` uses them


def named(launch: CudaLaunch) -> str:
    kinds = {str(arg.dtype) for arg in launch.args if isinstance(arg, np.ndarray)}
    return f"{launch.kernel.__name__}{launch.tile.columns if launch.tile else ''}-{'-'.join(sorted(kinds))}"


def check(launch: CudaLaunch, capability: tuple[int, int]) -> None:
    ptx = launch.ptx(capability)
    code = cuda_code.assembled(ptx, capability)
    found = cuda_resources.parsed(code.report)
    threads = max(
        cuda_resources.threads_of(launch), THREADS
    )  # where the lines of images are longer than here
    there = tuple(OnDevice(0, arg, None) if isinstance(arg, np.ndarray) else arg for arg in launch.args)
    if not isinstance(launch.kernel, TensorKernel):  # whose table is made on a device
        assert len(cuda_code.parameters(there)) == code.parameters
    assert found.spilled == 0
    assert found.stack == 0 or launch.kernel.__name__ in WITH_A_STACK
    assert threads <= MOST_THREADS
    assert 0 < found.registers * threads <= MOST_REGISTERS
    assert found.shared <= MOST_SHARED
    check_known(parsed(ptx))
    assert own_name(code.entry).startswith(launch.kernel.__name__)
    if launch.tile:
        check_stages(launch.tile, ptx, capability)


def check_stages(tile: Tile, ptx: str, capability: tuple[int, int]) -> None:
    """Products are fed by asynchronous copies, where a device has them."""
    products = 2 * tile.columns // 8 * tile.cores  # of a warp, for eight columns of a stage
    assert ptx.count("mma.sync") in (products, products * tile.depth // 8)  # unrolled or not
    if capability < (8, 0):
        assert "cp.async" not in ptx
    else:
        assert "cp.async.cg.shared.global" in ptx  # 16 bytes, past registers and the first-level cache
        assert "cp.async.wait_group" in ptx
    if not tile.cores:
        assert re.search(r"ld\.shared\.v[24]\.[bf]", ptx)  # operands four at a time, or two of eight bytes


# Sines of very large numbers take so many digits of pi that they do not fit into registers.
WITH_A_STACK = {"cos", "sin", "random_log_gamma", "random_normal"}


CASES = [
    pytest.param(launch, capability, id=f"{named(launch)}-sm{capability[0]}{capability[1]}")
    for launch in [*ALL, *PRODUCTS]
    for capability in cuda_resources.CAPABILITIES
    if cuda_resources.suits(launch, capability)
]


@pytest.mark.parametrize(("launch", "capability"), CASES)
def test_kernel(launch: CudaLaunch, capability: tuple[int, int]) -> None:
    check(launch, capability)


def test_the_saved_table_is_that_of_these_kernels() -> None:
    """`bench/results/cuda-resources.md` has every kernel, and none that spills."""
    lines = (ROOT / "bench" / "results" / "cuda-resources.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    assert cells[0][4:] == [f"sm_{major}{minor}" for major, minor in cuda_resources.CAPABILITIES]
    assert {name for name, *_ in cells[1:]} == vars(cuda.kernels).keys() - OF_COLUMNS
    for _, _, _, threads, *needs in cells[1:]:
        for registers, shared, spilled in (map(int, one.split(" / ")) for one in needs if one != "-"):
            assert registers * int(threads) <= MOST_REGISTERS and shared <= MOST_SHARED and spilled == 0


def test_every_kernel_is_compiled() -> None:
    assert {launch.kernel.__name__ for launch in ALL} == vars(cuda.kernels).keys() - OF_COLUMNS


# Of a training step with Adam and 1,024 images, as docs/performance.md says; fewer take no more.
MOST_LAUNCHES = {"LeNet-5": 44, "VGG-small": 95, "ResNet-20": 254, "MobileNet-small": 173, "ResNet-18": 239}


@pytest.mark.parametrize("batch", [1, 128, 1024])
@pytest.mark.parametrize("network", [name for name, one in NETWORKS.items() if one.classifies])
def test_networks_are_planned_within_limits(network: str, batch: int) -> None:
    model = NETWORKS[network].make()
    model.compile("adam", "mse")
    x, y = np.zeros((batch, *NETWORKS[network].image), np.float32), np.zeros((batch, 10), np.float32)
    with compile_progress(False):
        function = model._step("train")._function(Signature.of(Batch(x, y)))
        plan, _ = function.make([TensorSpec(array.shape) for array in (x, y)], "cuda")
    launches = [launch for _, launches in plan.steps for launch in launches]
    assert all(max(launch.shape.blocks[1:]) <= LARGEST_GRID for launch in launches)
    assert all(launch.shape.threads <= MOST_THREADS for launch in launches)
    assert len(plan.program.launches) <= MOST_LAUNCHES[network]
