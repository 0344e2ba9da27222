"""The doctor: what it finds wrong, and that it says what to do."""

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import pytest

from fastcnn.__main__ import main
from fastcnn.backend import machine
from fastcnn.cli import doctor


@pytest.fixture
def cache_state(monkeypatch: pytest.MonkeyPatch) -> Callable[..., doctor.Finding]:
    """What the doctor says of a cache in this state."""
    healthy = machine.CacheState(Path("/cache/kernels"), True, True, True, 3, 2_500_000, 0)

    def diagnose(**changes: object) -> doctor.Finding:
        monkeypatch.setattr(machine, "cache_state", lambda: healthy._replace(**changes))
        (finding,) = doctor.check_kernel_cache()
        return finding

    return diagnose


def test_report(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor"])
    lines = capsys.readouterr().out.splitlines()
    assert status == 0
    assert all(line.startswith(("OK ", "FIX", " " * 20 + "run: ")) for line in lines[1:-1]), lines
    subjects = {line[5:18].strip() for line in lines if line.startswith(("OK ", "FIX"))}
    assert {"python", "processor", "threads", "kernel cache", "cuda", "data folder", "kernels"} <= subjects


@pytest.mark.parametrize(
    ("version", "usable"),
    [
        pytest.param("0.68.1", True, id="inside"),
        pytest.param("0.66.0", True, id="the lower bound"),
        pytest.param("0.65.9", False, id="too old"),
        pytest.param("0.69.0", False, id="the upper bound, excluded"),
        pytest.param("0.100.0", False, id="numbers, not letters, are compared"),
    ],
)
def test_versions_are_held_against_their_bounds(
    version: str, usable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda name: ["numba<0.69,>=0.66", 'x; extra == "plot"']
    )
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    _, numba = doctor.check_versions()
    assert (numba.subject, numba.usable) == ("numba", usable)
    assert usable == (not numba.fix)
    assert usable or numba.fix == "pip install 'numba<0.69,>=0.66'"


def test_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["no-such-library>=2"])
    _, finding = doctor.check_versions()
    assert not finding.usable
    assert finding.fix == "pip install 'no-such-library>=2'"


def test_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    _, finding = doctor.check_versions()
    assert finding.usable
    assert finding.fix.startswith("pip install")


def test_more_threads_than_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_usable_processors", lambda: 0.25)
    (finding,) = doctor.check_threads()
    assert finding.fix == "export FASTCNN_NUM_THREADS=1"


def test_healthy_cache(cache_state: Callable[..., doctor.Finding]) -> None:
    assert cache_state().state == f"{Path('/cache/kernels')}: 3 kernels, 2.5 MB, private"
    assert not cache_state().fix
    assert "warmup" in cache_state(kernels=0).state


def test_cache_that_cannot_be_used(cache_state: Callable[..., doctor.Finding]) -> None:
    assert cache_state(private=False).fix == "python -m fastcnn cache clear"
    assert cache_state(writable=False).fix.startswith("export FASTCNN_CACHE_DIR=")
    assert cache_state(writable=False).usable


def test_cuda_devices_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cuda_driver", lambda: machine.CudaDriver("13.0", ("A100", "A100")))
    (finding,) = doctor.check_cuda()
    assert finding.state.startswith("A100, A100 (driver for CUDA 13.0)")


def test_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mnist").mkdir()
    monkeypatch.setenv("FASTCNN_DATA", str(tmp_path))
    (finding,) = doctor.check_data_folder()
    assert finding.state.endswith(": mnist")
    monkeypatch.setenv("FASTCNN_DATA", str(tmp_path / "none"))
    (finding,) = doctor.check_data_folder()
    assert finding.fix == "unset FASTCNN_DATA"
