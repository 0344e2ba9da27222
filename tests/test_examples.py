"""The example that needs neither data nor minutes runs as it stands."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_augmentation_gallery(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    command = [sys.executable, EXAMPLES / "augmentation_gallery.py", tmp_path]
    subprocess.run(command, check=True, timeout=300, capture_output=True)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"moving.png", "coloring.png", "mixup.png", "cutmix.png", "samplepairing.png"}
    for name in names:
        with image.open(tmp_path / name) as picture:
            assert min(picture.size) > 90 and len(picture.getcolors(1 << 24)) > 16
