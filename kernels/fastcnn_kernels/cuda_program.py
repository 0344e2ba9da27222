"""Launches on a CUDA device: the memory they work on, and programs, which are captured as CUDA graphs.

Arrays in the host's memory stand for places in the device's. A plan is bound to slices and views of one array, as on
the CPU; here a `Region` knows which memory of the device its addresses mean, and a `Program` puts the one in place of
the other when it first runs. Nothing is ever written to the array itself, so that it takes no memory.
"""

import bisect
import ctypes
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastcnn_kernels.cuda import (
    SIMULATED,
    CudaLaunch,
    OnDevice,
    address_of,
    covering,
    driver,
    target,
    to_device,
)
from fastcnn_kernels.cuda_code import Call, RefusedError, checked

_lock = threading.RLock()
_starts: list[int] = []  # of regions, in order
_regions: dict[int, "Region"] = {}
_streams: dict[str, Any] = {}
_thread = threading.local()
# Held by who tells the streams something: what others told one while a program is captured would be captured too.
_order = threading.RLock()


def stream(name: str = "work") -> Any:
    """The stream "work", in which everything runs in the order of the calls; "copies", for what comes in meanwhile."""
    with _lock:
        if name not in _streams:
            _streams[name] = target.stream()
        return _streams[name]


def event() -> Any:
    """A mark in streams, which others wait for."""
    return target.event() if SIMULATED else target.event(timing=False)


def enter() -> None:
    """Make the device that of this thread of Python, as the driver wants before any of its functions is called."""
    if not SIMULATED and not getattr(_thread, "entered", False):
        target.current_context()
        _thread.entered = True


def wait() -> None:
    """Return when the device has done all that it was told."""
    enter()
    with _order:
        if not hasattr(_thread, "mark"):
            _thread.mark = event()
        _thread.mark.record(stream())
    _thread.mark.synchronize()  # a stream that is being captured must not be waited for, a mark before that may


def seconds(work: Callable[[], object]) -> float:
    """How long the device takes for what `work` tells the stream."""
    enter()
    if SIMULATED:  # whose events know no time, and which has done the work when it has been told
        start = time.perf_counter()
        work()
        return time.perf_counter() - start
    first, last = target.event(), target.event()
    with _order:
        first.record(stream())
        work()
        last.record(stream())
    last.synchronize()
    return float(first.elapsed_time(last)) / 1e3


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
            self._memory = device_bytes(self.nbytes)
        return self._memory

    def address(self, array: np.ndarray) -> int:
        """Where the part that an array stands for begins on the device."""
        return address_of(self.memory) + array.ctypes.data - self.start

    def view(self, array: np.ndarray) -> Any:
        """That part, as an argument of kernels."""
        if not SIMULATED:
            return OnDevice(self.address(array), array, self)
        first = array.ctypes.data - self.start
        return self.memory[first : first + array.nbytes].view(array.dtype).reshape(array.shape)


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


def device_bytes(nbytes: int) -> Any:
    """Memory of the device."""
    enter()
    memory = target.device_array(max(nbytes, 1), np.uint8, stream=stream())
    if SIMULATED:  # what nobody has written is NaN, so that it shows
        memory.copy_to_device(np.full(max(nbytes, 1), 255, np.uint8))
    return memory


def host_bytes(nbytes: int) -> np.ndarray:
    """Memory of the host that the device copies to and from by itself, where there is a device."""
    if not is_ready():
        return np.zeros(nbytes, np.uint8)
    enter()
    memory = target.pinned_array(max(nbytes, 1), np.uint8)
    memory[:] = 0
    return memory[:nbytes]


class HostArrays(NamedTuple):
    """Memory, arrays in it, and where in it each of them begins."""

    memory: np.ndarray
    arrays: list[np.ndarray]
    starts: list[int]


def host_arrays(like: Sequence[np.ndarray]) -> HostArrays:
    """Such memory for arrays of the shapes and dtypes of others."""
    starts, end = [], 0
    for array in like:
        starts.append(end)
        end += covering(array.nbytes, ALIGNMENT) * ALIGNMENT
    memory = host_bytes(end)
    parts = [memory[start : start + x.nbytes] for start, x in zip(starts, like, strict=True)]
    arrays = [part.view(x.dtype).reshape(x.shape) for part, x in zip(parts, like, strict=True)]
    return HostArrays(memory, arrays, starts)


ALIGNMENT = 64


def is_ready() -> bool:
    """Whether there is a device, or the simulator."""
    return SIMULATED or bool(target.is_available())


# --- copies ----------------------------------------------------------------------------------------------------------


def copy(to: int, source: int, nbytes: int, where: Any = None) -> None:
    """Copy bytes from address to address, of the host or the device, when the stream comes to it."""
    if SIMULATED:
        ctypes.memmove(to, source, nbytes)
    elif nbytes:
        checked(driver().cuMemcpyAsync(to, source, nbytes, (where or stream()).handle))


class Ring:
    """Pinned memory by which small arrays go to the device: nobody waits, and they may change at once.

    It has several parts. One is written to again when the copies from it are done, long after in practice.
    """

    PART, PARTS = 1 << 16, 4

    def __init__(self) -> None:
        self._bytes = host_bytes(self.PART * self.PARTS)
        self._left = [event() for _ in range(self.PARTS)]
        self._next = 0

    def send(self, array: np.ndarray, to: int) -> None:
        """Copy a contiguous array of at most PART bytes to an address of the device."""
        start, part = self._next, self._next // self.PART
        if start + array.nbytes > (part + 1) * self.PART:
            self._left[part].record(stream())
            part = (part + 1) % self.PARTS
            self._left[part].synchronize()
            start = part * self.PART
        ours = self._bytes[start : start + array.nbytes]
        ours[:] = array.reshape(-1).view(np.uint8)
        copy(to, ours.ctypes.data, array.nbytes)
        size = covering(array.nbytes, ALIGNMENT) * ALIGNMENT
        self._next = min(start + size, (part + 1) * self.PART - 1)


_rings: list[Ring] = []


def upload(array: np.ndarray, region: Region) -> None:
    """Bring the values of an array to its region, when the stream comes to it. The array may change at once."""
    enter()
    with _order:
        if array.nbytes > Ring.PART:
            copy(address_of(region.memory), array.ctypes.data, array.nbytes)  # returns when it has been read
        elif array.nbytes:
            if not _rings:
                _rings.append(Ring())
            _rings[0].send(array, address_of(region.memory))


def download(region: Region, array: np.ndarray) -> None:
    """Bring the values of a region to its array, and wait for them."""
    enter()
    with _order:
        copy(array.ctypes.data, address_of(region.memory), array.nbytes)
    wait()


class Sending:
    """Inputs of a run on their way: pinned memory, and memory of the device that it is copied to meanwhile.

    The copy runs in a stream of its own while an earlier run computes. A run begins with the copy from there to the
    places that its kernels know, so that kernels and graphs never see another address.
    """

    def __init__(self, places: Sequence[np.ndarray], memory: "HostArrays | None" = None):
        self._memory, self.arrays, self._starts = memory or host_arrays(places)
        self._there = device_bytes(self._memory.nbytes)
        self._places = [device_address(place) for place in places]
        self._arrived, self._taken = event(), event()

    def fill(self, arrays: Sequence[np.ndarray]) -> None:
        """Write the inputs, as soon as those before them have left."""
        self._arrived.synchronize()
        for ours, array in zip(self.arrays, arrays, strict=True):
            np.copyto(ours, array, casting="unsafe")

    def send(self) -> None:
        """Have them copied to the places, when the run before has read what is there."""
        copies, work, there = stream("copies"), stream(), address_of(self._there)
        with _order:
            self._taken.wait(copies)
            copy(there, self._memory.ctypes.data, self._memory.nbytes, copies)
            self._arrived.record(copies)
            self._arrived.wait(work)
            for place, start, array in zip(self._places, self._starts, self.arrays, strict=True):
                copy(place, there + start, array.nbytes, work)
            self._taken.record(work)


class Receiving:
    """Outputs of a run on their way to pinned memory."""

    def __init__(self, places: Sequence[np.ndarray], memory: "HostArrays | None" = None):
        self._memory, self.arrays, _ = memory or host_arrays(places)
        self._pairs = []
        for array, place in zip(self.arrays, places, strict=True):
            if place.size and region_of(place) is None:
                array[...] = place  # a constant
            elif place.size:
                self._pairs.append((array, device_address(place)))
        self._done = event()

    def ask(self) -> None:
        """Have them copied when the run is through."""
        with _order:
            for array, place in self._pairs:
                copy(array.ctypes.data, place, array.nbytes)
            self._done.record(stream())

    def wait(self) -> None:
        """Return when they are here."""
        enter()
        self._done.synchronize()


def device_address(place: np.ndarray) -> int:
    """Where on the device what an array stands for begins; 0 of one of no elements."""
    region = region_of(place) if place.size else None
    return 0 if region is None else region.address(place)


# --- programs --------------------------------------------------------------------------------------------------------


class Program:
    """Launches made ready to run as one, in order. `run` returns at once; `wait` waits for the result.

    The first run launches them one by one, which compiles and loads what they need. The second captures them as a
    CUDA graph, which later runs launch as a whole. Where a driver refuses that, they are launched one by one for good.
    flush: as of a program of processors; a device is as fast with any number.
    """

    def __init__(self, launches: list[CudaLaunch], flush: bool = False):
        self.launches = joined(launch for launch in launches if launch.items > 0)
        self._calls: list[Callable[[], None]] = []
        self._graph: Any = None
        self._runs = 0

    def run(self) -> None:
        """Execute all launches, each seeing the results of those before it."""
        if not self.launches:
            return
        enter()
        with _order:
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
        return Call(launch, tuple(map(self._argument, launch.args)), stream())

    def _argument(self, value: Any) -> Any:
        """What stands on the device for an argument: a constant of the host is copied, once."""
        if not isinstance(value, np.ndarray):
            return value
        region = region_of(value) if value.size else None
        if region is not None:
            return region.view(value)
        return to_device(value)


def now(launch: CudaLaunch, there: tuple) -> None:
    """Execute one launch, on arrays of the device, and wait for it."""
    enter()
    with _order:
        Call(launch, there, stream())()
    wait()


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
        weakref.finalize(self, driver.cuGraphExecDestroy, executable).atexit = False

    def launch(self) -> None:
        """Execute them, when the stream comes to it."""
        checked(self._driver.cuGraphLaunch(self._executable, self._handle))


def captured(work: Callable[[], None]) -> Graph | None:
    """The launches that `work` makes in the stream, none of which is executed; None where the driver cannot."""
    api = driver()
    handle = api.CUstream(int(stream().handle))
    # Relaxed: Python may collect garbage meanwhile, whose memory Numba gives back to the driver.
    mode = api.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    try:
        checked(api.cuStreamBeginCapture(handle, mode))
        try:
            work()
        finally:
            ended = api.cuStreamEndCapture(handle)
        graph = checked(ended)
        executable = checked(api.cuGraphInstantiate(graph, 0))
        api.cuGraphDestroy(graph)
    except RefusedError:
        return None
    return Graph(api, executable, handle)
