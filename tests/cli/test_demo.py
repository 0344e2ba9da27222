"""The demo, shortened; how good it gets is measured where it runs in full."""

from pathlib import Path

import numpy as np
import pytest

from fastcnn import models
from fastcnn.__main__ import main
from fastcnn.cli import demo


def test_demo_trains_saves_and_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "EPOCHS", 2)
    assert main(["demo"]) == 0
    shown = capsys.readouterr().out
    assert "held-out digits right" in shown
    assert shown.count("says ") >= 5
    assert "What next" in shown
    assert models.load_model(tmp_path / demo.FILE).count_params() > 0


def test_model_file_goes_elsewhere_when_the_folder_is_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo.os, "access", lambda *_: False)
    folder = demo.writable_folder()
    assert folder != Path.cwd()
    folder.rmdir()


def test_drawing_puts_mistakes_first() -> None:
    x = np.zeros((6, 8, 8, 1), np.float32)
    x[4, 2, 3] = 1.0
    y = np.arange(6)
    predicted = np.array([0, 1, 2, 3, 9, 5])
    lines = demo.draw(x, y, predicted, count=2).splitlines()
    assert len(lines) == 9
    assert lines[-1].split() == ["says", "9,", "is", "4", "says", "0,", "is", "0"]
    assert lines[2][6:8] == "@@"
    assert lines[3].strip() == ""
