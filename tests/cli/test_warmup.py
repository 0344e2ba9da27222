"""After a warm-up no kernel is left to compile."""

import pytest
from fastcnn_kernels.tile_products import products_available

from fastcnn import backend
from fastcnn.__main__ import main
from fastcnn.cli import cache, warmup

# Building blocks that no op uses; tests and benchmarks call them.
UNUSED = {"im2col", "col2im"}


def test_warmup_compiles_every_kernel() -> None:
    kernels = set(vars(backend.get("cpu").kernels)) - UNUSED
    if not products_available():
        kernels -= {name for name in kernels if name.startswith("amx_")}
    assert warmup.warmup() == kernels


def test_command_says_how_many(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(warmup, "all_work", lambda dtype: list(warmup._activation_work())[:1])
    assert main(["warmup", "--double"]) == 0
    shown = capsys.readouterr()
    assert "kernels are ready for float32" in shown.out
    assert "kernels are ready for float64" in shown.out
    assert "compiling kernels (float32)" in shown.err


@pytest.mark.parametrize(("nbytes", "text"), [(0, "0.0 MB"), (1_550_000, "1.6 MB"), (10**9, "1000.0 MB")])
def test_sizes_for_people(nbytes: int, text: str) -> None:
    assert cache.megabytes(nbytes) == text
