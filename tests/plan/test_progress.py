"""The bar that shows while kernels are compiled."""

from types import SimpleNamespace

import pytest

from fastcnn.backend import cpu
from fastcnn.plan import progress


class Kernel:
    """Compiles by calling a function."""

    def __init__(self, compile):
        self.compile = compile

    def signature(self, args):
        return args

    def is_ready(self, args):
        return False


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Three launches that note in `compiled` with what they are compiled."""
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    compiled: list[object] = []
    kernel = Kernel(compiled.append)
    return [SimpleNamespace(key=i, kernel=kernel, args=(i,), compiled=compiled) for i in range(3)]


def test_bar_while_wanted(launches: list[SimpleNamespace], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.compile_progress():
        progress.compile_kernels(launches, cpu)
    shown = capsys.readouterr().err
    assert "compiling kernels, first run only" in shown
    assert launches[0].compiled[:3] == [(0,), (1,), (2,)]


def test_silence_otherwise(launches: list[SimpleNamespace], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.compile_progress(), progress.compile_progress(False):
        progress.compile_kernels(launches, cpu)
    assert capsys.readouterr().err == ""
    assert launches[0].compiled[:3] == [(0,), (1,), (2,)]


def test_no_bar_for_kernels_that_are_ready(
    launches: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "DELAY_S", 60.0)
    with progress.compile_progress():
        progress.compile_kernels(launches, cpu)
    assert capsys.readouterr().err == ""
