"""The machine as the kernels see it: the processor they are compiled for, and the state of their cache on disk."""

import contextlib
import json
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from llvmlite import binding
from numba.core.registry import cpu_target

from fastcnn_kernels.jit import VECTOR_BYTES, cache_folder, is_private, keep_file

# What `cache_folder` makes, one for each text of the kernels.
_VERSION_FOLDER = re.compile(r"kernels-[0-9a-f]{16}")


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


def recall(name: str) -> dict[str, str]:
    """What `remember` has kept under this name for this processor; nothing where that is absent, damaged or unsafe."""
    with contextlib.suppress(OSError, ValueError):
        if is_private(cache_folder()):
            kept = json.loads(_notes(name).read_text(encoding="utf-8"))
            return {str(key): str(value) for key, value in kept.items()} if isinstance(kept, dict) else {}
    return {}


def remember(name: str, facts: dict[str, str]) -> None:
    """Keep facts beside the compiled kernels, with those kept before, if the folder can be written to."""
    with contextlib.suppress(OSError):
        keep_file(_notes(name), json.dumps(recall(name) | facts, indent=0).encode())


def _notes(name: str) -> Path:
    about = processor()
    return cache_folder() / f"{name}-{re.sub(r'[^A-Za-z0-9]+', '-', about.name)}-{about.vector_bits}.json"


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
        folder, os.path.isdir(folder), is_private(folder), _is_writable(folder),
        sum(entry.name.endswith((".nbc", ".cubin")) for entry in _entries(folder)),
        _size(folder), sum(_size(other) for other in stale),
    )  # fmt: skip


def clear_cache() -> int:
    """Delete the compiled kernels of all versions; returns how many bytes that freed.

    Only folders that fastcnn made are touched. Kernels in use stay in the memory of the processes that use them.
    """
    freed = 0
    for folder in _version_folders():
        nbytes = _size(folder)
        shutil.rmtree(folder, ignore_errors=True)
        freed += nbytes - _size(folder)
    return freed


def _version_folders() -> list[Path]:
    return [Path(entry) for entry in _entries(cache_folder().parent) if _is_version_folder(entry)]


def _is_version_folder(entry: os.DirEntry[str]) -> bool:
    return bool(_VERSION_FOLDER.fullmatch(entry.name)) and entry.is_dir(follow_symlinks=False)


def _size(folder: Path) -> int:
    return sum(map(_file_size, _entries(folder)))


def _file_size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size if entry.is_file() else 0
    except OSError:  # another process has just moved it
        return 0


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing in one that is absent or unreadable."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _is_writable(folder: Path) -> bool:
    """Whether files can be made in the folder, or the folder itself where it does not exist yet."""
    nearest = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    return os.path.isdir(nearest) and os.access(nearest, os.W_OK | os.X_OK)
