"""Choosing a device: one clear message, with the command that mends it, for whatever is missing."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import fastcnn
from fastcnn import Error, layers
from fastcnn.backend import machine, selection
from fastcnn.backend.machine import CudaDriver

GOOD = CudaDriver("13.0", ("Some GPU",))


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing has been looked for yet, and afterwards the CPU is chosen."""
    monkeypatch.setattr(selection, "_found", {})
    yield
    fastcnn.set_device("cpu")


@pytest.fixture
def cuda() -> ModuleType:
    """The backend, which needs numba-cuda but no device."""
    pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")
    if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
        pytest.skip("the simulator needs no driver")
    return fastcnn.backend.get("cuda")


def test_the_cpu_unless_told_otherwise() -> None:
    assert fastcnn.backend.device() == "cpu"


def test_unknown_device() -> None:
    with pytest.raises(Error, match="unknown device 'gpu'"):
        fastcnn.set_device("gpu")
    with pytest.raises(Error, match="unknown device 'cudo'.*cuda"):
        fastcnn.set_device("cudo")


@pytest.mark.parametrize(
    ("driver", "extra"), [(None, "cuda13"), (GOOD, "cuda13"), (CudaDriver("12.4", ("GPU",)), "cuda12")]
)
def test_without_the_package(monkeypatch: pytest.MonkeyPatch, driver: CudaDriver | None, extra: str) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(machine, "cuda_driver", lambda: driver)
    with pytest.raises(Error, match=rf'numba-cuda is not installed; pip install "fastcnn\[{extra}\]"'):
        fastcnn.set_device("cuda")
    model = fastcnn.Sequential([fastcnn.Input((2,)), layers.Dense(1)])
    with pytest.raises(Error, match="numba-cuda is not installed"):
        model.compile("sgd", "mse", device="cuda")


def test_auto_falls_back_with_one_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.warns(UserWarning, match="device 'auto': computing on the CPU") as warned:
        fastcnn.set_device("auto")
        fastcnn.set_device("auto")
    assert len(warned) == 1
    assert "\n" not in str(warned[0].message)
    assert fastcnn.backend.device() == "cpu"


def test_auto_takes_a_device_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "get", lambda name: SimpleNamespace(check=lambda: None))
    fastcnn.set_device("auto")
    assert fastcnn.backend.device() == "cuda"


def test_without_a_driver(cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cuda_driver", lambda: None)
    monkeypatch.setattr(cuda.shutil, "which", lambda name: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(Error, match="no NVIDIA driver was found; install one .*sudo ubuntu-drivers install"):
        fastcnn.set_device("cuda")


def test_driver_without_device(cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cuda_driver", lambda: CudaDriver("13.0", ()))
    monkeypatch.setattr(cuda.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(Error, match="shows no device; nvidia-smi says why"):
        fastcnn.set_device("cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    with pytest.raises(Error, match="unset CUDA_VISIBLE_DEVICES"):
        fastcnn.set_device("cuda")


def test_old_driver(cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cuda_driver", lambda: CudaDriver("11.4", ("GPU",)))
    with pytest.raises(Error, match=r"too old, of CUDA 11\.4; 12\.0 or newer is needed; update it"):
        fastcnn.set_device("cuda")


def test_compiler_newer_than_the_driver(cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    nvjitlink = pytest.importorskip("cuda.bindings.nvjitlink")
    monkeypatch.setattr(machine, "cuda_driver", lambda: CudaDriver("12.4", ("GPU",)))
    monkeypatch.setattr(nvjitlink, "version", lambda: (13, 0))
    with pytest.raises(
        Error, match=r'compiler is of CUDA 13, the driver of 12\.4; pip install "fastcnn\[cuda12\]"'
    ):
        fastcnn.set_device("cuda")


def test_without_the_compiler(cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cuda_driver", lambda: GOOD)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(Error, match=r'libraries are missing .*; pip install "fastcnn\[cuda13\]"'):
        fastcnn.set_device("cuda")


def test_device_that_works_is_looked_for_once(cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(machine, "cuda_driver", lambda: asked.append(1) or GOOD)
    fastcnn.set_device("cuda")
    fastcnn.set_device("cuda")
    assert fastcnn.backend.device() == "cuda"
    assert len(asked) == 1


def test_functions_of_arrays_run_where_the_arrays_are(
    cuda: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cuda_driver", lambda: GOOD)
    fastcnn.set_device("cuda")
    np.testing.assert_array_equal(fastcnn.ops.relu(np.array([-1.0, 2.0], np.float32)), [0.0, 2.0])


def test_out_of_memory(cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_memory", lambda: ", 12 of 8192 MiB are free")
    error = cuda.explained(RuntimeError("[2] Call to cuMemAlloc results in CUDA_ERROR_OUT_OF_MEMORY"))
    assert isinstance(error, Error)
    assert "out of memory, 12 of 8192 MiB are free; use a smaller batch_size" in str(error)
    other = ValueError("something else")
    assert cuda.explained(other) is other


def test_programs_explain_what_happened(cuda: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise RuntimeError("CUDA_ERROR_OUT_OF_MEMORY")

    monkeypatch.setattr(cuda.program.Program, "run", refuse)
    monkeypatch.setattr(cuda, "_memory", lambda: "")
    with pytest.raises(Error, match="use a smaller batch_size"):
        cuda.Program([]).run()
