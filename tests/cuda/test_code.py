"""Machine code of CUDA kernels: kept on disk, never in the way, and launched with the right parameters."""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip(
    "numba_cuda", reason='numba-cuda is not installed; pip install "fastcnn[cuda13]" brings it'
)
if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

from fastcnn_kernels import cuda_code, jit
from fastcnn_kernels.cuda import CudaLaunch, OnDevice, cuda_kernel, flat
from fastcnn_kernels.elementwise_cuda import add, multiply
from fastcnn_kernels.gemm_cuda import gemm

HOPPER = (9, 0)
X = np.zeros(3, np.float32)
ADD = add.bind(X, X, X)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache; where its files will be."""
    monkeypatch.setenv("FASTCNN_CACHE_DIR", str(tmp_path / "cache"))
    new_process(monkeypatch)
    yield jit.cache_folder()


def new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known yet."""
    for known in (cuda_code._known, cuda_code._functions, cuda_code.counts):
        monkeypatch.setattr(
            cuda_code, next(n for n, v in vars(cuda_code).items() if v is known), type(known)()
        )


def compiles(monkeypatch: pytest.MonkeyPatch, launch: CudaLaunch = ADD) -> bool:
    """Whether a new process takes the compiler rather than a file."""
    new_process(monkeypatch)
    code = cuda_code.code_of(launch, HOPPER)
    assert code.cubin.startswith(b"\x7fELF")
    assert code.entry.encode() in code.cubin
    assert sum(cuda_code.counts.values()) == 1
    return cuda_code.counts["compiled"] == 1


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    program = (
        "import json, numpy as np\n"
        "from fastcnn_kernels import cuda_code, elementwise_cuda as e\n"
        "x = np.zeros(3, np.float32)\n"
        "for launch in (e.add.bind(x, x, x), e.multiply.bind(x, x, x), e.add.bind(x, x, x)):\n"
        "    cuda_code.code_of(launch, (9, 0))\n"
        "print(json.dumps(cuda_code.counts))\n"
    )

    def counts() -> dict[str, int]:
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    assert counts() == {"compiled": 2}
    assert counts() == {"found": 2}


def test_kept_for_types_devices_and_compilers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    double = np.zeros(3)
    paths = {
        cuda_code.kept_path(launch, capability)
        for launch in (ADD, add.bind(double, double, double), multiply.bind(X, X, X))
        for capability in (HOPPER, (8, 0))
    }
    assert len(paths) == 6
    monkeypatch.setattr(cuda_code, "_compilers", lambda: ("another",))
    assert cuda_code.kept_path(ADD, HOPPER) not in paths


def test_files_are_private_and_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiles(monkeypatch)
    (file,) = folder.iterdir()
    assert file.suffix == ".cubin"
    assert file.stat().st_mode & 0o077 == 0
    assert not compiles(monkeypatch)


@pytest.mark.parametrize("size", [0, 10, 40, 1000])
def test_truncated_file_is_compiled_again_with_a_warning(
    size: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiles(monkeypatch)
    (file,) = folder.iterdir()
    file.write_bytes(file.read_bytes()[:size])
    with pytest.warns(UserWarning, match="damaged; it is compiled again") as warned:
        assert compiles(monkeypatch)
    assert len(warned) == 1
    assert not compiles(monkeypatch)


def test_flipped_bit_does_not_go_unnoticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiles(monkeypatch)
    (file,) = folder.iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    with pytest.warns(UserWarning, match="damaged"):
        assert compiles(monkeypatch)


def test_folder_that_others_may_write_to_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiles(monkeypatch)
    os.chmod(folder, 0o777)
    assert compiles(monkeypatch)
    os.chmod(folder, 0o700)
    assert not compiles(monkeypatch)


def test_nothing_can_be_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, content: bytes) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(cuda_code, "keep_file", refuse)
    assert compiles(monkeypatch)
    assert compiles(monkeypatch)
    assert not folder.exists()


def test_a_file_in_place_of_the_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.write_text("")
    assert compiles(monkeypatch)


def test_what_does_not_stand_in_a_file_is_not_kept() -> None:
    factor = 3.0

    @cuda_kernel(flat)
    def scale(x, y):
        """y = factor x."""
        y[0] = x[0] * factor

    assert cuda_code.kept_path(scale.bind(X, X), HOPPER) is None


# --- launches --------------------------------------------------------------------------------------------------------


class Driver:
    """Notes what it is asked for; reads the parameters of launches."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.words: list[int] = []
        self.count = 0  # of parameters

    def load(self, image: bytes) -> tuple:
        self.asked.append("load")
        return 0, "module"

    def find(self, module: str, name: bytes) -> tuple:
        self.asked.append(name.decode())
        return 0, "function"

    def launch(self, function: str, *args: Any) -> tuple:
        *shape, shared, stream, pointers, extra = args
        self.asked.append("launch")
        self.shape, self.stream = shape, stream
        assert (function, shared, extra) == ("function", 0, 0)
        addresses = (ctypes.c_void_p * 100).from_address(pointers)
        self.words = [ctypes.c_uint64.from_address(addresses[i]).value for i in range(self.count)]
        return (0,)


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    driver = Driver()
    api = SimpleNamespace(
        cuModuleLoadData=driver.load, cuModuleGetFunction=driver.find, cuLaunchKernel=driver.launch
    )
    monkeypatch.setattr(cuda_code, "driver", lambda: api)
    monkeypatch.setattr(cuda_code, "current_capability", lambda: HOPPER)
    return driver


def test_launch_passes_arrays_numbers_and_tuples(driver: Driver) -> None:
    from fastcnn_kernels.gemm import GemmGeometry

    a, empty = np.zeros((2, 3), np.float32), np.zeros(0, np.float32)
    g = GemmGeometry(**{name: 100 + i for i, name in enumerate(GemmGeometry._fields)})
    launch = gemm.bind(a, a, empty, a, -np.inf, g)
    there = tuple(OnDevice(7000, x, None) if isinstance(x, np.ndarray) else x for x in launch.args)
    driver.count = 3 * 7 + 7 + 1 + len(g)
    call = cuda_code.Call(launch, there, SimpleNamespace(handle=5))
    call()
    assert driver.asked[0] == "load" and driver.asked[2:] == ["launch"]
    assert driver.stream == 5
    assert tuple(driver.shape) == (*launch.shape.blocks, launch.shape.threads, 1, 1)
    array = [0, 0, 6, 4, 7000, 6, 4]  # flattened
    minus_infinity = 0xFFF0000000000000
    assert driver.words == [*array, *array, 0, 0, 0, 4, 7000, 0, 4, *array, minus_infinity, *g]
    cuda_code.Call(launch, there, SimpleNamespace(handle=5))()
    assert driver.asked.count("load") == 1


def test_wrong_number_of_parameters_never_reaches_a_device(driver: Driver) -> None:
    with pytest.raises(TypeError, match="takes 21 parameters; its arguments make 14"):
        cuda_code.Call(ADD, (OnDevice(0, X, None),) * 2, SimpleNamespace(handle=5))
    assert "launch" not in driver.asked


def test_refusal_names_the_error() -> None:
    code = type("Code", (int,), {"name": "CUDA_ERROR_OUT_OF_MEMORY"})(2)
    with pytest.raises(cuda_code.RefusedError, match="answers CUDA_ERROR_OUT_OF_MEMORY"):
        cuda_code.checked((code,))
    assert cuda_code.checked((0, "value")) == "value"
