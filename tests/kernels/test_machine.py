"""Facts about the machine, and the kernel cache as a folder."""

import os
from pathlib import Path

import pytest
from fastcnn_kernels import jit, machine


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for the cache; the folder of this version inside it."""
    monkeypatch.setenv("FASTCNN_CACHE_DIR", str(tmp_path))
    return jit.cache_folder()


def test_processor_names_what_numba_compiles_for() -> None:
    processor = machine.processor()
    assert processor.name
    assert processor.vector_bits in (128, 256, 512)
    assert ("avx512f" in processor.features) == (processor.vector_bits == 512)


def test_cache_that_does_not_exist(cache: Path) -> None:
    state = machine.cache_state()
    assert state == (cache, False, True, True, 0, 0, 0)


def test_cache_counts_this_version_and_older_ones(cache: Path) -> None:
    cache.mkdir(mode=0o700)
    (cache / "a.nbi").write_bytes(bytes(10))
    (cache / "a.1.nbc").write_bytes(bytes(90))
    old = cache.with_name("kernels-0123456789abcdef")
    old.mkdir()
    (old / "b.nbi").write_bytes(bytes(7))
    state = machine.cache_state()
    assert (state.exists, state.private, state.kernels, state.nbytes, state.stale_nbytes) == (
        True,
        True,
        1,
        100,
        7,
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_cache_that_others_may_write_to_is_not_private(cache: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    assert not machine.cache_state().private


def test_clear_deletes_only_what_fastcnn_made(cache: Path) -> None:
    cache.mkdir()
    (cache / "a.nbi").write_bytes(bytes(10))
    others = [cache.with_name("kernels-mine"), cache.with_name("notes")]
    for folder in others:
        folder.mkdir()
        (folder / "file").write_bytes(bytes(5))
    link = cache.with_name("kernels-ffffffffffffffff")
    link.symlink_to(others[1])
    assert machine.clear_cache() == 10
    assert not cache.exists()
    assert all((folder / "file").exists() for folder in others)


def test_clear_of_nothing(cache: Path) -> None:
    assert machine.clear_cache() == 0
