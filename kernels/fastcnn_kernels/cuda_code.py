"""Machine code of CUDA kernels: compiled, kept on disk, loaded and launched.

All but loading needs no device. What a device executes is exactly what `python -m bench.cuda_resources` examines.
Compiled kernels are kept beside those of the CPU, by the same rules (`jit.KernelCache`); a file is the digest of what
follows, a line of JSON with the name of the function, and the machine code.
"""

import contextlib
import ctypes
import functools
import importlib.metadata
import json
import re
import struct
import sys
import threading
import warnings
from collections import Counter
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from fastcnn_kernels.cuda import SIMULATED, CudaLaunch, driver, target
from fastcnn_kernels.jit import cache_folder, file_digest, is_private, keep_file, read_file

Capability = tuple[int, int]  # of a device: (9, 0) is Hopper

counts = Counter[str]()  # versions of kernels that this process has "compiled", and "found" on disk
_known: dict[tuple, "Code"] = {}
_functions: dict[tuple, Any] = {}  # what the driver has loaded
_lock = threading.RLock()


class Code(NamedTuple):
    """Machine code of a kernel: the name of the function in it, how many parameters of 64 bits that takes, the code
    itself, and what the linker said of its resources."""

    entry: str
    parameters: int
    cubin: bytes
    report: str = ""


def translated(launch: CudaLaunch, capability: Capability) -> Code:
    """Compile the kernel of a launch for devices of a compute capability."""
    return assembled(launch.ptx(capability), capability)


def assembled(ptx: str, capability: Capability) -> Code:
    """The same of the kernel's text in the assembler of NVIDIA."""
    entry, _, rest = ptx.partition(".visible .entry ")[2].partition("(")
    kinds = re.findall(r"\.param \.[a-z](\d+)", rest.partition(")")[0])
    if set(kinds) - {"64"}:
        raise TypeError(f"{entry}: parameters of {kinds} bits, where only 64 are passed")
    return Code(entry.strip(), len(kinds), *linked(ptx, capability))


def linked(ptx: str, capability: Capability) -> tuple[bytes, str]:
    """Machine code of a text in the assembler of NVIDIA, and what the linker says of its resources."""
    from cuda.bindings import nvjitlink

    linker = nvjitlink.create(2, [f"-arch=sm_{capability[0]}{capability[1]}", "-verbose"])
    try:
        text = ptx.encode()
        nvjitlink.add_data(linker, nvjitlink.InputType.PTX, text, len(text), "kernel")
        nvjitlink.complete(linker)
        cubin = bytearray(nvjitlink.get_linked_cubin_size(linker))
        nvjitlink.get_linked_cubin(linker, cubin)
        report = bytearray(nvjitlink.get_info_log_size(linker))
        nvjitlink.get_info_log(linker, report)
    finally:
        nvjitlink.destroy(linker)
    return bytes(cubin), report.decode().rstrip("\0")


def code_of(launch: CudaLaunch, capability: Capability) -> Code:
    """The same, from memory or from disk where it has been compiled before."""
    key = *launch.key, capability
    with _lock:
        if key not in _known:
            path = kept_path(launch, capability)
            found = None if path is None else _found(path)
            counts["compiled" if found is None else "found"] += 1
            _known[key] = found or translated(launch, capability)
            if found is None and path is not None:
                _keep(path, _known[key])
        return _known[key]


# --- on disk ---------------------------------------------------------------------------------------------------------


def kept_path(launch: CudaLaunch, capability: Capability) -> Path | None:
    """The file of a kernel for these types of arguments; None of one that is made of more than stands in a file."""
    function = launch.kernel.function
    if function.__closure__ is not None:
        return None
    try:
        code = function.__code__
        source = file_digest(code.co_filename), code.co_firstlineno
    except OSError:  # a shell or an archive
        return None
    which = function.__module__, function.__qualname__, launch.key[1], launch.tile, capability
    key = sha256(repr((_compilers(), source, which)).encode()).hexdigest()[:24]
    return cache_folder() / f"{function.__name__}-sm{capability[0]}{capability[1]}-{key}.cubin"


@functools.cache
def _compilers() -> tuple:
    """What machine code depends on besides the source and the types."""
    from cuda.bindings import nvjitlink, nvvm
    from numba.core import config

    packages = map(importlib.metadata.version, ("numba", "numba-cuda", "llvmlite"))
    libraries = nvjitlink.version(), nvvm.version(), _toolkit()
    return (*packages, *libraries, sys.implementation.cache_tag, config.OPT)


def _toolkit() -> str:
    """Version of the compiler from PTX's side, which nvvm.version does not tell: that of the package it came with."""
    for package in ("nvidia-nvvm", "nvidia-cuda-nvcc-cu12"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(package)
    return ""


def _found(path: Path) -> Code | None:
    """What is on disk; None where nothing is, or nothing that can be trusted."""
    try:
        if not is_private(path.parent):
            return None
        head, _, cubin = read_file(path).partition(b"\n")
        facts = json.loads(head)
        return Code(facts["entry"], facts["parameters"], cubin)
    except OSError:
        return None
    except ValueError:
        warnings.warn(f"{path}: the compiled kernel is damaged; it is compiled again", stacklevel=2)
        return None


def _keep(path: Path, code: Code) -> None:
    """Keep it where that is possible."""
    content = json.dumps({"entry": code.entry, "parameters": code.parameters}).encode() + b"\n" + code.cubin
    with contextlib.suppress(OSError):
        keep_file(path, sha256(content).digest() + content)


# --- on a device -----------------------------------------------------------------------------------------------------


def current_capability() -> Capability:
    """That of the device that everything runs on."""
    return tuple(target.get_current_device().compute_capability)


def compile_for_device(launch: CudaLaunch) -> None:
    """Have the code of a launch ready, where there is a device that wants it."""
    if not SIMULATED and launch.items:
        code_of(launch, current_capability())


class Call:
    """A launch with its arguments on the device, packed once: every call of it is one call of the driver.

    there: its arguments, with arrays of the device in place of those of the host.
    """

    def __init__(self, launch: CudaLaunch, there: tuple, stream: Any):
        self._memory = there  # lives as long as this: tables and packed arguments have only addresses of it
        self._there = launch.kernel.on_device(there)
        self._shape = (*launch.shape.blocks, launch.shape.threads, 1, 1)
        self._stream = stream
        if SIMULATED:
            self._simulated = launch.kernel.dispatcher(launch.tile)
            return
        self._api = driver()
        self._function, wanted = _function(launch)
        numbers = parameters(self._there)
        if len(numbers) != wanted:
            raise TypeError(f"{launch.kernel!r} takes {wanted} parameters; its arguments make {len(numbers)}")
        self._values = (ctypes.c_uint64 * len(numbers))(*map(_as_word, numbers))
        at = ctypes.addressof(self._values)
        self._pointers = (ctypes.c_void_p * len(numbers))(*range(at, at + 8 * len(numbers), 8))

    def __call__(self) -> None:
        """Launch it, when the stream comes to it."""
        if SIMULATED:
            blocks, threads = self._shape[:3], self._shape[3]
            self._simulated[blocks, threads](*self._there)  # which remembers the latest shape only
            return
        handle, pointers = self._stream.handle, ctypes.addressof(self._pointers)
        checked(self._api.cuLaunchKernel(self._function, *self._shape, 0, handle, pointers, 0))


def parameters(args: tuple) -> list[int | float]:
    """The parameters of the compiled function, all of 64 bits, as Numba passes arguments.

    An array is (nothing, nothing, size, itemsize, address, shape, strides in bytes), a tuple is what is in it.
    """
    found: list[int | float] = []
    for arg in args:
        if isinstance(arg, tuple):
            found += parameters(arg)
        elif isinstance(arg, int | float):
            found.append(arg)
        else:
            found += [0, 0, arg.size, arg.dtype.itemsize, arg.address, *arg.shape, *arg.strides]
    return found


def _as_word(number: int | float) -> int:
    if isinstance(number, float):
        return int.from_bytes(struct.pack("<d", number), "little")
    return number & (1 << 64) - 1


def _function(launch: CudaLaunch) -> tuple[Any, int]:
    """The function that the driver has loaded, and how many parameters it takes; it stays loaded."""
    with _lock:
        if launch.key not in _functions:
            code, api = code_of(launch, current_capability()), driver()
            module = checked(api.cuModuleLoadData(code.cubin))
            function = checked(api.cuModuleGetFunction(module, code.entry.encode()))
            _functions[launch.key] = function, code.parameters
        return _functions[launch.key]


class RefusedError(RuntimeError):
    """The driver did not do what it was asked."""


def checked(answer: tuple) -> Any:
    """The result of a call of the driver, whose answers begin with an error code."""
    code, *results = answer
    if int(code) != 0:
        raise RefusedError(f"the CUDA driver answers {getattr(code, 'name', code)}")
    return results[0] if results else None
