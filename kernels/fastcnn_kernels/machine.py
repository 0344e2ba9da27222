"""The machine as the kernels see it: the processor they are compiled for, and the state of their cache on disk."""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from llvmlite import binding
from numba.core.registry import cpu_target

from fastcnn_kernels.jit import VECTOR_BYTES, cache_folder

_VERSION_FOLDER = re.compile(
    r"kernels-[0-9a-f]{16}"
)  # what `cache_folder` makes, one for each text of the kernels


class Processor(NamedTuple):
    """What Numba compiles for. `features` are LLVM's names of the vector extensions in use."""

    name: str
    vector_bits: int
    features: tuple[str, ...]


def processor() -> Processor:
    """The processor that kernels of this process are compiled for."""
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    enabled = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    telling = ("sse4.2", "avx", "avx2", "fma", "avx512f", "avx512bf16", "amx-tile", "neon", "sve")
    return Processor(
        name or binding.get_host_cpu_name(), 8 * VECTOR_BYTES, tuple(f for f in telling if f in enabled)
    )


class CacheState(NamedTuple):
    """The kernel cache. `kernels` and `nbytes` count what this version of the kernels has stored, `stale_nbytes`
    what other versions have left behind."""

    folder: Path
    exists: bool
    private: bool  # nobody else may write to it; otherwise it is not used
    writable: bool
    kernels: int
    nbytes: int
    stale_nbytes: int


def cache_state() -> CacheState:
    """The kernel cache as it is on disk now."""
    folder = cache_folder()
    stale = [other for other in _version_folders() if other != folder]
    return CacheState(
        folder, folder.is_dir(), _is_private(folder), _is_writable(folder), len(list(folder.glob("*.nbi"))),
        _size(folder), sum(_size(other) for other in stale),
    )  # fmt: skip


def clear_cache() -> int:
    """Delete the compiled kernels of all versions; returns how many bytes that freed.

    Only folders that fastcnn made are touched. Kernels in use stay in the memory of the processes that use them.
    """
    freed = 0
    for folder in list(_version_folders()):
        nbytes = _size(folder)
        shutil.rmtree(folder, ignore_errors=True)
        freed += nbytes - _size(folder)
    return freed


def _version_folders() -> Iterator[Path]:
    base = cache_folder().parent
    if base.is_dir():
        yield from (entry for entry in base.iterdir() if _is_version_folder(entry))


def _is_version_folder(entry: Path) -> bool:
    return bool(_VERSION_FOLDER.fullmatch(entry.name)) and entry.is_dir() and not entry.is_symlink()


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*") if file.is_file())


def _is_private(folder: Path) -> bool:
    if os.name == "nt" or not folder.exists():
        return True
    status = folder.stat()
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def _is_writable(folder: Path) -> bool:
    """Whether files can be made in the folder, or the folder itself where it does not exist yet."""
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
