"""What is known of the machine that plans run on: processor, kernel cache, CUDA driver."""

import ctypes
import sys
from typing import NamedTuple

from fastcnn_kernels.machine import (
    CacheState,
    Processor,
    cache_state,
    clear_cache,
    processor,
    recall,
    remember,
)

__all__ = [
    "CacheState",
    "CudaDriver",
    "Processor",
    "cache_state",
    "clear_cache",
    "cuda_driver",
    "processor",
    "recall",
    "remember",
]


class CudaDriver(NamedTuple):
    """The newest CUDA version that the installed driver supports, and the names of the devices."""

    version: str
    devices: tuple[str, ...]


def cuda_driver() -> CudaDriver | None:
    """The CUDA driver of this machine, or None where there is none that works. Needs no CUDA package."""
    try:
        library = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
        return _ask(library) if library.cuInit(0) == 0 else None
    except (OSError, AttributeError):
        return None


def _ask(library: ctypes.CDLL) -> CudaDriver:
    version, count = ctypes.c_int(0), ctypes.c_int(0)
    library.cuDriverGetVersion(ctypes.byref(version))
    library.cuDeviceGetCount(ctypes.byref(count))
    names = []
    for device in range(count.value):
        name = ctypes.create_string_buffer(256)
        library.cuDeviceGetName(name, len(name), device)
        names.append(name.value.decode(errors="replace"))
    return CudaDriver(f"{version.value // 1000}.{version.value % 1000 // 10}", tuple(names))
