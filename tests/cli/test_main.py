"""The command line as a whole."""

import pytest

from fastcnn import __version__
from fastcnn.__main__ import COMMANDS, main
from fastcnn.cli import demo
from fastcnn.errors import Error


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"fastcnn {__version__}\n"


def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(command in shown for command in COMMANDS)


@pytest.mark.parametrize("argv", [[], ["nonsense"], ["cache"], ["cache", "burn"]])
def test_wrong_usage(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(argv)
    assert stop.value.code == 2
    assert "usage: fastcnn" in capsys.readouterr().err


def test_errors_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(arguments: object) -> int:
        raise Error("the disk is full; make room")

    monkeypatch.setattr(demo, "run", fail)
    assert main(["demo"]) == 1
    assert capsys.readouterr().err == "fastcnn: the disk is full; make room\n"


def test_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run", interrupted)
    assert main(["demo"]) == 130


def test_cache_info_and_clear(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FASTCNN_CACHE_DIR", str(tmp_path))
    assert main(["cache", "info"]) == 0
    assert main(["cache", "clear"]) == 0
    shown = capsys.readouterr().out
    assert str(tmp_path) in shown
    assert "freed 0.0 MB" in shown
