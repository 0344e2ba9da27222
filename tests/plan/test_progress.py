"""The bar that shows while kernels are compiled."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from fastcnn.plan import progress


class Backend:
    """Compiles one launch after the other."""

    @staticmethod
    def compile_launches(launches: Sequence[Any], ready: Callable[[int], object]) -> None:
        for launch in launches:
            launch.compile()
            ready(1)


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Launches of three kernels that note in `compiled` which are compiled."""
    monkeypatch.setattr(progress, "DELAY_S", 0.0)
    compiled: list[object] = []
    return [
        SimpleNamespace(key=i % 3, compile=lambda i=i: compiled.append(i % 3), compiled=compiled)
        for i in range(6)
    ]


def test_bar_while_wanted(launches: list[SimpleNamespace], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.compile_progress():
        progress.compile_kernels(launches, Backend)
    shown = capsys.readouterr().err
    assert "compiling kernels, first run only" in shown
    assert launches[0].compiled == [0, 1, 2]


def test_silence_otherwise(launches: list[SimpleNamespace], capsys: pytest.CaptureFixture[str]) -> None:
    with progress.compile_progress(), progress.compile_progress(False):
        progress.compile_kernels(launches, Backend)
    assert capsys.readouterr().err == ""
    assert launches[0].compiled == [0, 1, 2]


def test_no_bar_for_kernels_that_are_ready(
    launches: list[SimpleNamespace], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "DELAY_S", 60.0)
    with progress.compile_progress():
        progress.compile_kernels(launches, Backend)
    assert capsys.readouterr().err == ""
