"""CUDA tests run where something can run them: Numba's simulator, the machine for PTX, or a device.

    NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1 python -m pytest tests/cuda
    python -m pytest tests/cuda --ptx
    python -m pytest -m gpu

The simulator executes what is written; the machine (`bench.ptx`) what is compiled, and complains of races, of reading
what nobody wrote, and of places outside of arrays.

What they compare with comes from CPU kernels. With the JIT switched off, as the simulator needs it, another process
computes it.
"""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
INSTALL = 'numba-cuda is not installed; pip install "fastcnn[cuda13]" brings it'


def pytest_addoption(parser: pytest.Parser) -> None:
    """What executes kernels, where it is not a device."""
    parser.addoption(
        "--ptx", action="store_true", help="execute compiled CUDA kernels by the machine for PTX"
    )


def executes_ptx(config: pytest.Config) -> bool:
    """Whether the machine does, in place of a device."""
    return bool(config.getoption("--ptx", False))


def reason_against() -> str | None:
    """Why no CUDA kernel can be executed; None if one can."""
    if find_spec("numba_cuda") is None:
        return INSTALL
    from fastcnn import Error, backend

    try:
        backend.get("cuda").check()
    except Error as error:
        return str(error)
    return None


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> Iterator[None]:
    """Something that executes CUDA kernels; tests are skipped without. Errors of numbers are no errors of a device."""
    if find_spec("numba_cuda") and executes_ptx(pytestconfig):
        from bench.ptx.driver import Device, use

        use(Device())
    reason = reason_against()
    if reason is not None:
        pytest.skip(reason)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        yield


@pytest.fixture
def on_cuda(device: None) -> Iterator[None]:
    """Plans are made for a CUDA device."""
    import fastcnn
    from fastcnn.plan.progress import compile_progress

    fastcnn.set_device("cuda")
    try:
        with compile_progress(False):
            yield
    finally:
        fastcnn.set_device("cpu")


@pytest.fixture(scope="session")
def on_the_cpu(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, np.ndarray]]:
    """What a script of this folder computes on the CPU: the arrays that its `results()` returns, by name."""
    known: dict[str, dict[str, np.ndarray]] = {}

    def compute(name: str) -> dict[str, np.ndarray]:
        if name not in known:
            path = tmp_path_factory.mktemp("cpu") / f"{name}.npz"
            code = f"import sys, numpy, {name}; numpy.savez(sys.argv[1], **{name}.results())"
            environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
            folders = [ROOT, ROOT / "kernels", ROOT / "tests", ROOT / "tests" / "cuda"]
            environment["PYTHONPATH"] = os.pathsep.join(map(str, folders))
            subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment)
            with np.load(path) as arrays:
                known[name] = dict(arrays)
        return known[name]

    return compute


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    """What needs something to run on needs a GPU, unless it is simulated."""
    for item in items:
        if not SIMULATED and not executes_ptx(config) and "device" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.gpu)
