"""The CUDA backend: what `backend.cpu` defines, on a CUDA device. Importing it needs numba-cuda, but no device."""

import contextlib
import mmap
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from fastcnn_kernels import (
    activation_cuda,
    boxes_cuda,
    color_cuda,
    conv_cuda,
    depthwise_cuda,
    elementwise_cuda,
    gemm_cuda,
    loss_cuda,
    moments_cuda,
    nms_cuda,
    norm_cuda,
    optimizer_cuda,
    ordering_cuda,
    policy_cuda,
    pool_cuda,
    random_cuda,
    reduction_cuda,
    resample_cuda,
    roi_cuda,
    segment_cuda,
    shape_cuda,
    yolo_cuda,
)
from fastcnn_kernels import cuda_program as program
from fastcnn_kernels.cuda import SIMULATED, CudaKernel, target
from fastcnn_kernels.cuda_code import compile_for_device
from fastcnn_kernels.cuda_program import seconds, wait

from fastcnn.backend import machine
from fastcnn.errors import Error
from fastcnn.tensor import Variable

__all__ = [
    "AHEAD",
    "BLOCKS",
    "BYTES",
    "MEASURES",
    "Program",
    "Transfer",
    "algorithms",
    "allocate",
    "check",
    "compile_launches",
    "kernels",
    "num_threads",
    "seconds",
    "wait",
]

FAMILIES: tuple[ModuleType, ...] = (
    activation_cuda, boxes_cuda, color_cuda, conv_cuda, depthwise_cuda, elementwise_cuda, gemm_cuda, loss_cuda,
    moments_cuda, nms_cuda, norm_cuda, optimizer_cuda, ordering_cuda, policy_cuda, pool_cuda, random_cuda,
    reduction_cuda, resample_cuda, roi_cuda, segment_cuda, shape_cuda, yolo_cuda,
)  # fmt: skip
MEASURES = False  # the host cannot write to what stands for memory of the device
AHEAD = 2  # runs that may be on their way while somebody makes ready another one
BYTES = True  # an upload costs what it weighs: bytes stay bytes until they are there
BLOCKS = False  # a device has memory fast enough for whole batches, and wants large launches


kernels = SimpleNamespace(
    **{k.__name__: k for family in FAMILIES for k in vars(family).values() if isinstance(k, CudaKernel)}
)


def algorithms() -> frozenset[str]:
    """Names of those that there are kernels for, beside the first one of each op. TF32 is for Ampere and later."""
    has_cores = (
        SIMULATED or not program.is_ready() or target.get_current_device().compute_capability >= (8, 0)
    )
    return frozenset({"columns", "split", "unpacked", *(["tf32"] if has_cores else [])})


def compile_launches(launches: Sequence[Any], ready: Callable[[int], object]) -> None:
    """Compile what the launches need, where there is a device to compile for; `ready(n)` is called when n more are."""
    for launch in launches if program.is_ready() else ():
        compile_for_device(launch)
        ready(1)


def num_threads() -> int:
    """How many launches run at a time."""
    return 1


# --- memory ----------------------------------------------------------------------------------------------------------


def allocate(nbytes: int) -> np.ndarray:
    """An array that stands for so many bytes of the device. Nobody can write to it, so it takes no memory itself."""
    if hasattr(mmap, "PROT_READ"):
        pages = mmap.mmap(-1, max(nbytes, 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ)
        array = np.frombuffer(pages, np.uint8, nbytes)
    else:
        array = np.zeros(nbytes, np.uint8)
    program.add_region(array)
    return array


class Mirror:
    """The values of a variable on the device, and which are the newest: these, or those of the host."""

    def __init__(self, variable: Variable):
        self._variable = weakref.ref(variable)
        self._region = program.add_region(variable.home)
        self._version = -1

    def push(self, variable: Variable) -> None:
        """Bring the values on the device up to date. Of a variable that is changed here in every run, they are."""
        if variable.elsewhere is self:
            return
        version = variable.version
        if self._version != version or variable.is_exposed:
            program.upload(variable.buffer, self._region)
            self._version = version

    def claim(self, variable: Variable) -> None:
        """A plan has changed the values on the device: whoever wants those of the host must `fetch` first."""
        if variable.elsewhere is not self:
            variable.move(self)
        if variable.is_exposed:  # somebody holds the array, and expects to see the change in it
            variable.return_home()

    def fetch(self) -> None:
        """Bring the values of the host up to date."""
        variable = self._variable()
        if variable is not None:
            program.download(self._region, variable.home)
            self._version = variable.version


_mirrors: "weakref.WeakKeyDictionary[Variable, Mirror]" = weakref.WeakKeyDictionary()


def mirror(variable: Variable) -> Mirror:
    """The mirror of a variable; one for all plans."""
    if variable not in _mirrors:
        _mirrors[variable] = Mirror(variable)
    return _mirrors[variable]


class Program(program.Program):
    """Launches made ready to run as one."""

    def run(self) -> None:
        """Execute all launches in order; returns at once."""
        with explaining():
            super().run()


class Transfer:
    """What goes to the device before a run of a plan, and what comes back after it.

    `input_arrays` and `output_arrays` are in memory that the device copies by itself. They are of runs that somebody
    waits for, as `before` and `after` are; `send` and `receive` are of those of which AHEAD may be on their way.
    """

    def __init__(
        self, inputs: Sequence[np.ndarray], outputs: Sequence[np.ndarray],
        variables: Sequence[Variable], changed: Sequence[Variable],
    ):  # fmt: skip
        self._variables = [(variable, mirror(variable)) for variable in variables]
        self._changed = [(variable, mirror(variable)) for variable in changed]
        self._inputs, self._outputs = list(inputs), list(outputs)
        self._memory = program.host_arrays(self._inputs), program.host_arrays(self._outputs)
        self.input_arrays, self.output_arrays = (memory.arrays for memory in self._memory)
        self._waited_for: tuple[Any, Any] | None = None
        self._sendings: list[Any] = []  # of earlier runs, to be used again
        self._receivings: list[Any] = []

    def before(self) -> None:
        """Copy inputs, and what has changed of the variables."""
        with explaining():
            if self._waited_for is None:
                self._waited_for = (
                    program.Sending(self._inputs, self._memory[0]),
                    program.Receiving(self._outputs, self._memory[1]),
                )
            self._push()
            self._waited_for[0].send()

    def after(self) -> None:
        """Copy outputs, and wait for them."""
        assert self._waited_for is not None
        with explaining():
            self._waited_for[1].ask()
            self._waited_for[1].wait()
        self._claim()

    def send(self, arrays: Sequence[np.ndarray]) -> None:
        """Let these inputs be on their way, while earlier runs compute."""
        with explaining():
            self._push()
            sending = self._sendings.pop(0) if len(self._sendings) > AHEAD else program.Sending(self._inputs)
            self._sendings.append(sending)
            sending.fill(arrays)
            sending.send()

    def receive(self) -> "Received":
        """The outputs of the run that has been sent last, when they are there."""
        with explaining():
            receiving = self._receivings.pop() if self._receivings else program.Receiving(self._outputs)
            receiving.ask()
        self._claim()
        return Received(receiving, self._receivings)

    def _push(self) -> None:
        program.enter()
        for variable, there in self._variables:
            there.push(variable)

    def _claim(self) -> None:
        for variable, there in self._changed:
            there.claim(variable)


class Received:
    """Outputs of a run that may still be going on."""

    def __init__(self, receiving: Any, free: list[Any]):
        self._receiving = receiving
        self._free = weakref.finalize(
            self, free.append, receiving
        )  # at the latest when nobody wants the outputs
        self._free.atexit = False

    def arrays(self) -> list[np.ndarray]:
        """The outputs, after waiting for them; nobody writes to them until `release`."""
        with explaining():
            self._receiving.wait()
        return self._receiving.arrays

    def release(self) -> None:
        """Let later runs use the memory."""
        self._free()


# --- whether it works ------------------------------------------------------------------------------------------------

OLDEST_DRIVER = 12.0  # CUDA version that a driver must support for any of the compilers


INSTALL_DRIVER = "on Ubuntu: sudo ubuntu-drivers install"


def check() -> None:
    """Raise `Error`, with the command that mends it, where no device can be used."""
    if SIMULATED:
        return
    driver = machine.cuda_driver()
    if driver is None or not driver.devices:
        raise Error(f"device 'cuda': {_missing()}; or compute on the CPU: fastcnn.set_device('cpu')")
    version = float(driver.version)
    if version < OLDEST_DRIVER:
        raise Error(
            f"device 'cuda': the driver is too old, of CUDA {version}; {OLDEST_DRIVER} or newer is needed; update it "
            f"({INSTALL_DRIVER})"
        )
    _check_compiler(version)


def _missing() -> str:
    """What is wrong where no driver answers, or it knows no device."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and not hidden.strip("- 1"):
        return f"CUDA_VISIBLE_DEVICES={hidden!r} hides all devices; unset CUDA_VISIBLE_DEVICES"
    if shutil.which("nvidia-smi"):
        return "the driver is installed but shows no device; nvidia-smi says why"
    return f"no NVIDIA driver was found; install one ({INSTALL_DRIVER})"


def _check_compiler(version: float) -> None:
    """The compiler's libraries must be there, and not of a newer CUDA than the driver."""
    wanted = f'pip install "fastcnn[{"cuda13" if version >= 13 else "cuda12"}]"'
    try:
        from cuda.bindings import nvjitlink, nvvm

        nvvm.version()  # loads the library
        of_compiler = nvjitlink.version()[0]
    except Exception as error:
        raise Error(f"device 'cuda': the compiler's libraries are missing ({error}); {wanted}") from error
    if of_compiler > int(version):
        raise Error(
            f"device 'cuda': the compiler is of CUDA {of_compiler}, the driver of {version}; {wanted} in an "
            f"environment without the other one, or update the driver ({INSTALL_DRIVER})"
        )


@contextlib.contextmanager
def explaining() -> Iterator[None]:
    """Errors of the driver inside say what to do."""
    try:
        yield
    except Exception as error:
        better = explained(error)
        if better is error:
            raise
        raise better from error


def explained(error: Exception) -> Exception:
    """An error of the driver as one that says what to do; others as they are."""
    text = str(error)
    if "OUT_OF_MEMORY" not in text.upper().replace(" ", "_"):
        return error
    return Error(
        f"device 'cuda': out of memory{_memory()}; use a smaller batch_size, or see with nvidia-smi who else uses it"
    )


def _memory() -> str:
    """What is left of the device's memory, where that can be told."""
    try:
        free, total = target.current_context().get_memory_info()
        return f", {free / 2**20:.0f} of {total / 2**20:.0f} MiB are free"
    except Exception:  # the device may not answer any more, and this is only a remark
        return ""
