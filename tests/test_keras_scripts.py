"""Keras scripts run after changing only the import."""

import gzip
import runpy
import struct
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = sorted((Path(__file__).parent / "keras_scripts").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_keras_script(script, tmp_path, monkeypatch):
    text = script.read_text().replace("import keras\n", "import fastcnn as keras\n")
    text = text.replace("from keras ", "from fastcnn ").replace("from keras.", "from fastcnn.")
    changed = tmp_path / script.name
    changed.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FASTCNN_DATA", str(write_mnist(tmp_path / "data")))
    runpy.run_path(str(changed), run_name="__main__")


def write_mnist(folder: Path) -> Path:
    """Files in MNIST's format with a few random digits, so that scripts need no network."""
    rng = np.random.default_rng(0)
    (folder / "mnist").mkdir(parents=True)
    for part, count in (("train", 600), ("t10k", 200)):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = rng.integers(0, 10, count, np.uint8)
        for kind, header, array in (
            ("images-idx3", struct.pack(">IIII", 2051, count, 28, 28), images),
            ("labels-idx1", struct.pack(">II", 2049, count), labels),
        ):
            with gzip.open(folder / "mnist" / f"{part}-{kind}-ubyte.gz", "wb") as file:
                file.write(header + array.tobytes())
    return folder
