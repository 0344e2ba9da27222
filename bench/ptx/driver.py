"""In place of the CUDA driver: what `fastcnn_kernels` asks a device for, done by the machine.

Nothing is done before somebody has to see it. Streams keep what they were told; an event that is waited for, or a copy
to memory that is not pinned, lets its stream go on as far as it must, and other streams as far as that depends on them.
So who forgets to wait reads old numbers. What a stream is told while it is captured becomes a graph.
"""

import ctypes
import time
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np

from bench.ptx.machine import Launch, Tally, launch
from bench.ptx.memory import MachineError, Space
from bench.ptx.text import Module, own_name, parsed


class Stream:
    """What it was told and has not done; how much it has done."""

    def __init__(self) -> None:
        self.handle = id(self)
        self.waiting: list[Callable[[], None]] = []
        self.done = 0

    @property
    def told(self) -> int:
        """How many things it has ever been told."""
        return self.done + len(self.waiting)

    def tell(self, work: Callable[[], None]) -> None:
        """Have it done after all before."""
        self.waiting.append(work)

    def reach(self, count: int) -> None:
        """Go on until so much is done."""
        while self.done < count:
            work = self.waiting.pop(0)
            self.done += 1
            try:
                work()
            except BaseException:  # as a device that has met an error does no more
                self.done += len(self.waiting)
                self.waiting.clear()
                raise

    def synchronize(self) -> None:
        """Do all."""
        self.reach(self.told)


class Event:
    """A mark in a stream, and when it was reached."""

    def __init__(self) -> None:
        self._stream: Stream | None = None
        self._count, self.reached_s = 0, 0.0

    def record(self, stream: Stream) -> None:
        """Mark what the stream has been told so far."""
        stream.tell(self._note)
        self._stream, self._count = stream, stream.told

    def _note(self) -> None:
        self.reached_s = time.perf_counter()

    def elapsed_time(self, later: "Event") -> float:
        """Milliseconds that this machine took from mark to mark."""
        return 1e3 * (later.reached_s - self.reached_s)

    def wait(self, stream: Stream) -> None:
        """Have a stream wait for the mark."""
        marked, count = self._stream, self._count
        if marked is not None:
            stream.tell(lambda: marked.reach(count))

    def synchronize(self) -> None:
        """Return when the mark is reached."""
        if self._stream is not None:
            self._stream.reach(self._count)


class Memory:
    """An array on the device, as Numba shows it."""

    def __init__(self, device: "Device", nbytes: int):
        self._device, self.nbytes = device, nbytes
        self.address = device.allocate(nbytes)
        self.device_ctypes_pointer = SimpleNamespace(value=self.address)
        weakref.finalize(self, device.left.append, self.address)

    def copy_to_host(self) -> np.ndarray:
        """Its bytes, when all is done."""
        self._device.finish()
        return self._device.space.part(self.address, self.nbytes).copy().view(self.dtype)

    dtype: Any = np.dtype(np.uint8)


class Graph:
    """Work that a stream was told while it was captured."""

    def __init__(self, work: list[Callable[[], None]]):
        self.work = work


class Device:
    """The functions of `numba.cuda` and of the driver that fastcnn calls, with the driver's names."""

    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_RELAXED=2)

    def __init__(
        self,
        capability: tuple[int, int] = (9, 0),
        tally_of: Callable[[str], Tally | None] = lambda kernel: None,
    ):
        """tally_of: asked, when a kernel is executed, what takes down what it does."""
        self.space, self.capability, self._tally_of = Space(), capability, tally_of
        self.left: list[int] = []  # allocations that nobody wants any more
        self._streams: dict[int, Stream] = {}
        self._pinned: list[np.ndarray] = []
        self._captured: list[Callable[[], None]] | None = None
        self._modules: dict[str, tuple[Module, dict[str, int]]] = {}

    # --- as Numba offers them ----------------------------------------------------------------------------------------

    def is_available(self) -> bool:
        """There is a device."""
        return True

    def current_context(self) -> Any:
        """Nothing is to be made current."""
        return nullcontext()

    def get_current_device(self) -> Any:
        """What the device can do."""
        return SimpleNamespace(compute_capability=self.capability)

    def stream(self) -> Stream:
        """A new stream."""
        stream = Stream()
        self._streams[stream.handle] = stream
        return stream

    def event(self, timing: bool = True) -> Event:
        """A new event."""
        return Event()

    def device_array(self, shape: int, dtype: Any = np.uint8, stream: Any = None) -> Memory:
        """Bytes of the device that nobody has written to."""
        return Memory(self, int(shape) * np.dtype(dtype).itemsize)

    def to_device(self, array: np.ndarray) -> Memory:
        """A copy of an array."""
        memory = Memory(self, array.nbytes)
        memory.dtype = array.dtype
        self._write(memory.address, array.reshape(-1).view(np.uint8))
        return memory

    def pinned_array(self, shape: int, dtype: Any) -> np.ndarray:
        """Memory of the host that copies may be on their way from and to."""
        array = np.zeros(shape, dtype)
        self._pinned.append(array)
        return array

    def allocate(self, nbytes: int) -> int:
        """The address of so many bytes. What is not wanted any more is free when those who were told of it are done."""
        if self.left:
            self.finish()
        while self.left:
            self.space.free(self.left.pop())
        return self.space.allocate(nbytes)

    def finish(self) -> None:
        """Have all streams do all."""
        for stream in self._streams.values():
            stream.synchronize()

    def _write(self, address: int, content: np.ndarray) -> None:
        self.space.part(address, content.size)[:] = content
        self.space.filled(address, content.size)

    # --- as the driver does ------------------------------------------------------------------------------------------

    def CUstream(self, handle: int) -> int:
        """A stream by its handle."""
        return handle

    def cuModuleLoadData(self, image: bytes) -> tuple:
        """Text, where a device takes machine code."""
        module = parsed(image.decode())
        addresses = {}
        for name, variable in module.variables.items():
            if variable.space == "global":
                addresses[name] = self.allocate(variable.size)
                content = variable.content.ljust(variable.size, b"\0")
                self._write(addresses[name], np.frombuffer(content, np.uint8))
        return 0, (module, addresses)

    def cuModuleGetFunction(self, module: tuple, name: bytes) -> tuple:
        """A kernel of a module."""
        return 0, (*module, name.decode())

    def cuLaunchKernel(self, function: tuple, *args: Any) -> tuple:
        """Have a kernel executed."""
        *shape, shared, handle, pointers, _ = args
        module, addresses, name = function
        if shape[4:] != [1, 1] or shared:
            raise MachineError("blocks have one axis here, and no shared memory of the launch's own")
        count = len(module.kernels[name].parameters)
        given = (ctypes.c_void_p * count).from_address(pointers)
        numbers = [ctypes.c_uint64.from_address(given[i]).value for i in range(count)]
        one = Launch(module, name, tuple(shape[:3]), shape[3], numbers)
        self._tell(handle, lambda: launch(self.space, one, addresses, self._tally_of(own_name(name))))
        return (0,)

    def cuMemcpyAsync(self, to: int, source: int, nbytes: int, handle: int) -> tuple:
        """A copy between the host and the device, or inside the device, when the stream comes to it."""

        def work() -> None:
            if source in self.space:
                content = self.space.part(source, nbytes).copy()
            else:
                content = np.frombuffer((ctypes.c_char * nbytes).from_address(source), np.uint8)
            if to in self.space:
                self._write(to, content)
            else:
                ctypes.memmove(to, content.ctypes.data, nbytes)

        self._tell(handle, work)
        for place in (to, source):
            if place not in self.space and not self._is_pinned(place):
                self._streams[handle].synchronize()
        return (0,)

    def _is_pinned(self, place: int) -> bool:
        return any(0 <= place - array.ctypes.data < array.nbytes for array in self._pinned)

    def _tell(self, handle: int, work: Callable[[], None]) -> None:
        if self._captured is not None:
            self._captured.append(work)
        else:
            self._streams[handle].tell(work)

    def cuStreamBeginCapture(self, handle: int, mode: int) -> tuple:
        """What the stream is told from now on is not done, but noted."""
        self._captured = []
        return (0,)

    def cuStreamEndCapture(self, handle: int) -> tuple:
        """What has been noted."""
        work, self._captured = self._captured, None
        return 0, Graph(work or [])

    def cuGraphInstantiate(self, graph: Graph, flags: int) -> tuple:
        """The graph, ready to be launched."""
        return 0, Graph(graph.work)

    def cuGraphDestroy(self, graph: Graph) -> tuple:
        """Nobody needs it any more."""
        return (0,)

    def cuGraphExecDestroy(self, graph: Graph) -> tuple:
        """The same."""
        return (0,)

    def cuGraphLaunch(self, graph: Graph, handle: int) -> tuple:
        """Have a graph executed."""
        for work in graph.work:
            self._streams[handle].tell(work)
        return (0,)


def use(device: Device) -> None:
    """Let the machine be the device of this process, for all that follows. Kernels are compiled to text only."""
    from fastcnn_kernels import cuda, cuda_code, cuda_program

    from fastcnn.backend import cuda as backend

    compilers = cuda_code._compilers()
    modules: tuple[Any, ...] = (cuda, cuda_code, cuda_program, backend)
    for module in modules:
        module.target, module.driver = device, lambda: device
    modules[1].linked = lambda ptx, capability: (ptx.encode(), "")
    modules[1]._compilers = lambda: (*compilers, "text")
    modules[3].check = lambda: None
