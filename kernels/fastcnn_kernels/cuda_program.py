"""Launches on a CUDA device: the memory they work on, and programs, which are captured as CUDA graphs.

Arrays in the host's memory stand for places in the device's. A plan is bound to slices and views of one array, as on
the CPU; here a `Region` knows which memory of the device its addresses mean, and a `Program` puts the one in place of
the other when it first runs. Nothing is ever written to the array itself, so that it takes no memory.
"""

import bisect
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastcnn_kernels.cuda import SIMULATED, CudaLaunch, driver, target

_lock = threading.RLock()
_starts: list[int] = []  # of regions, in order
_regions: dict[int, "Region"] = {}
_stream: Any = None


def stream() -> Any:
    """The stream in which everything runs, in the order of the calls."""
    global _stream
    with _lock:
        if _stream is None:
            _stream = target.stream()
        return _stream


def wait() -> None:
    """Return when the device has done all that it was told."""
    stream().synchronize()


# --- memory ----------------------------------------------------------------------------------------------------------


class Region:
    """The bytes of an array, and as many of the device, which are allocated at first use."""

    def __init__(self, array: np.ndarray):
        self.start, self.nbytes = array.ctypes.data, array.nbytes
        self._memory: Any = None

    @property
    def memory(self) -> Any:
        """The bytes on the device."""
        if self._memory is None:
            self._memory = target.device_array(max(self.nbytes, 1), np.uint8, stream=stream())
            if SIMULATED:  # what nobody has written is NaN, so that it shows
                self._memory.copy_to_device(np.full(max(self.nbytes, 1), 255, np.uint8))
        return self._memory

    def bytes_of(self, array: np.ndarray) -> Any:
        """Those that the array, a part of the region's, stands for."""
        first = array.ctypes.data - self.start
        return self.memory[first : first + array.nbytes]

    def view(self, array: np.ndarray) -> Any:
        """The same, of its shape and dtype."""
        return self.bytes_of(array).view(array.dtype).reshape(array.shape)


def add_region(array: np.ndarray) -> Region:
    """Let a contiguous array stand for memory of the device, for as long as it lives."""
    region = Region(array)
    if region.nbytes:
        with _lock:
            bisect.insort(_starts, region.start)
            _regions[region.start] = region
        weakref.finalize(array, _forget, region)
    return region


def _forget(region: Region) -> None:
    with _lock:
        if _regions.get(region.start) is region:
            del _regions[region.start]
            _starts.remove(region.start)


def region_of(array: np.ndarray) -> Region | None:
    """The region that holds an array; None of one that lives on the host."""
    address = array.ctypes.data
    with _lock:
        position = bisect.bisect_right(_starts, address) - 1
        region = _regions[_starts[position]] if position >= 0 else None
    return region if region is not None and address + array.nbytes <= region.start + region.nbytes else None


def as_bytes(array: np.ndarray) -> np.ndarray:
    """The memory of a contiguous array."""
    return array.reshape(-1).view(np.uint8)


def upload(array: np.ndarray, target: Any) -> None:
    """Copy an array to bytes of the device, when the stream comes to it."""
    if array.nbytes:
        target.copy_to_device(as_bytes(array), stream=stream())


def download(source: Any, array: np.ndarray) -> None:
    """Copy bytes of the device to an array, when the stream comes to it."""
    if array.nbytes:
        source.copy_to_host(as_bytes(array), stream=stream())


def host_array(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array that the device copies to and from by itself, where there is a device."""
    size = max(int(np.prod(shape)), 1)
    flat = target.pinned_array(size, np.dtype(dtype)) if is_ready() else np.empty(size, dtype)
    flat[:] = 0
    return flat[: int(np.prod(shape))].reshape(shape)


def is_ready() -> bool:
    """Whether there is a device, or the simulator."""
    return SIMULATED or bool(target.is_available())


# --- programs --------------------------------------------------------------------------------------------------------


class Program:
    """Launches made ready to run as one, in order. `run` returns at once; `wait` waits for the result.

    The first run launches them one by one, which compiles and loads what they need. The second captures them as a
    CUDA graph, which later runs launch as a whole. Where a driver refuses that, they are launched one by one for good.
    """

    def __init__(self, launches: list[CudaLaunch]):
        self.launches = joined(launch for launch in launches if launch.items > 0)
        self._calls: list[Callable[[], None]] = []
        self._arrays: list[Any] = []  # what the launches work on; copies of what lives on the host
        self._graph: Any = None
        self._runs = 0

    def run(self) -> None:
        """Execute all launches, each seeing the results of those before it."""
        if not self.launches:
            return
        self._calls = self._calls or [self._call_of(launch) for launch in self.launches]
        self._runs += 1
        if self._runs == 2 and USES_GRAPHS:
            self._graph = captured(self._launch_all)
        if self._graph is None:
            self._launch_all()
        else:
            self._graph.launch()

    def _launch_all(self) -> None:
        for call in self._calls:
            call()

    def _call_of(self, launch: CudaLaunch) -> Callable[[], None]:
        there = tuple(map(self._argument, launch.args))
        self._arrays.append(there)  # keeps the memory that a table has only addresses of
        args = launch.kernel.on_device(there)
        configured = launch.kernel.dispatcher(launch.tile)
        where = launch.shape.blocks, launch.shape.threads, stream()
        return lambda: configured[where](*args)

    def _argument(self, value: Any) -> Any:
        """What stands on the device for an argument: a constant of the host is copied, once."""
        if not isinstance(value, np.ndarray):
            return value
        region = region_of(value) if value.size else None
        if region is not None:
            return region.view(value)
        return target.to_device(np.ascontiguousarray(value))


def joined(launches: Iterable[CudaLaunch]) -> list[CudaLaunch]:
    """The launches in order; neighbours that can be one launch are."""
    found: list[CudaLaunch] = []
    for launch in launches:
        same = bool(found) and found[-1].kernel is launch.kernel
        one = launch.kernel.join(found[-1], launch) if same else None
        found[-1:] = [one] if one else [*found[-1:], launch]
    return found


USES_GRAPHS = not SIMULATED and os.environ.get("FASTCNN_CUDA_GRAPHS") != "0"


class Graph:
    """Launches that the driver knows as a whole."""

    def __init__(self, driver: Any, executable: Any, handle: Any):
        self._driver, self._executable, self._handle = driver, executable, handle

    def launch(self) -> None:
        """Execute them, when the stream comes to it."""
        _checked(self._driver.cuGraphLaunch(self._executable, self._handle))


def captured(work: Callable[[], None]) -> Graph | None:
    """The launches that `work` makes in the stream, none of which is executed; None where the driver cannot."""
    api = driver()
    handle = api.CUstream(int(stream().handle))
    # Relaxed: Python may collect garbage meanwhile, whose memory Numba gives back to the driver.
    mode = api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    try:
        _checked(api.cuStreamBeginCapture(handle, mode))
        try:
            work()
        finally:
            ended = api.cuStreamEndCapture(handle)
        executable = _checked(api.cuGraphInstantiate(_checked(ended), 0))
    except RefusedError:
        return None
    return Graph(api, executable, handle)


class RefusedError(RuntimeError):
    """The driver did not do what it was asked."""


def _checked(answer: tuple) -> Any:
    """The result of a call of the driver, whose answers begin with an error code."""
    code, *results = answer
    if int(code) != 0:
        raise RefusedError(str(code))
    return results[0] if results else None
