"""Running kernels: a list of launches becomes one compiled call that a team of threads executes together.

A `Program` is a table with one row a launch: the address of an entry point, the address of its argument block,
its number of work items, and how many threads may share it. Every thread of the team walks the whole table; in
each row it does its own share of the items and then waits at a barrier for the others. Python is entered once
per program, not per launch, and a barrier between threads that are awake costs a fraction of a microsecond.

The team never stops another thread or process: a second Python thread that comes while the team is busy runs
its program alone (results do not depend on the number of threads), and a forked child starts without a team.
"""

import os
import struct
import threading

import numpy as np
from llvmlite import ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fastcnn_kernels.atomics import (
    atomic_add,
    atomic_load,
    atomic_replace,
    atomic_store,
    call_entry,
    pause,
    yield_thread,
)
from fastcnn_kernels.jit import COMPILED, Launch, device_function, host_function

# Byte offsets of the words that the threads share, each on a cache line of its own.
JOB, ARRIVED, PHASE, TABLE, ROWS, STOP, PARKED = 0, 64, 128, 192, 200, 256, 320
ROW = 32  # bytes of a row of a program's table
SMALL = 1 << 14  # bytes of arguments below which a launch is not worth sharing
MANY = 1 << 30  # threads: as many as there are
POLITE_SPINS = 2_000  # then give the time slice away between looks
PARK_SPINS = 20_000  # about a millisecond without work: then sleep until woken


# --- what every thread executes ------------------------------------------------------------------------------


@device_function
def wait_while(address, value):
    """Return when the word at `address` is no longer `value`."""
    spins = 0
    while atomic_load(address) == value:
        pause()
        spins += 1
        if spins > POLITE_SPINS:
            yield_thread()


@device_function
def barrier(shared, threads):
    """Return when all the threads have come here. The last to arrive opens the barrier for the others."""
    phase = atomic_load(shared + PHASE)
    if atomic_add(shared + ARRIVED, 1) == threads - 1:
        atomic_store(shared + ARRIVED, 0)
        atomic_add(shared + PHASE, 1)
    else:
        wait_while(shared + PHASE, phase)


@host_function("void(intp, int64, int64, int64, intp)")
def execute(table, rows, thread, threads, shared):
    """Run `rows` launches as member `thread` of `threads`. A row: entry point, arguments, items, most threads."""
    for row in range(rows):
        at = table + ROW * row
        items, sharing = atomic_load(at + 16), min(threads, atomic_load(at + 24))
        first, last = items * thread // sharing, items * (thread + 1) // sharing
        if thread < sharing and first < last:
            call_entry(atomic_load(at), atomic_load(at + 8), first, last)
        if threads > 1:
            barrier(shared, threads)


@host_function("int64(intp, int64, int64, int64)")
def serve(shared, thread, threads, seen):
    """Execute every job posted after job `seen`; returns the last one done when it is time to sleep.

    Before sleeping a worker raises its `parked` flag and looks for a job once more. Whoever lowers the flag
    again decides: the worker itself goes on, the poster owes it one release of its semaphore.
    """
    while True:
        spins = 0
        while atomic_load(shared + JOB) == seen:
            pause()
            spins += 1
            if spins > POLITE_SPINS:
                yield_thread()
            if spins > PARK_SPINS:
                atomic_store(shared + PARKED + 8 * thread, 1)
                if atomic_load(shared + JOB) == seen or not atomic_replace(
                    shared + PARKED + 8 * thread, 1, 0
                ):
                    return seen
        seen = atomic_load(shared + JOB)
        if atomic_load(shared + STOP):
            return seen
        execute(atomic_load(shared + TABLE), atomic_load(shared + ROWS), thread, threads, shared)


@host_function("int64(intp, int64, int64, int64)")
def post(shared, threads, table, rows):
    """Offer a job to the workers; returns a bit mask of those that sleep and must be woken."""
    atomic_store(shared + TABLE, table)
    atomic_store(shared + ROWS, rows)
    atomic_add(shared + JOB, 1)
    sleeping = 0
    for thread in range(1, threads):
        if atomic_replace(shared + PARKED + 8 * thread, 1, 0):
            sleeping |= 1 << thread
    return sleeping


# --- programs ------------------------------------------------------------------------------------------------


class Program:
    """Launches made ready to run: machine code, argument blocks, one table. Keeps its arrays alive."""

    def __init__(self, launches: list[Launch]):
        self.launches = [launch for launch in launches if launch.items > 0]
        codes = [launch.kernel.compile(launch.args) for launch in self.launches]
        words = [_words(launch.args) for launch in self.launches]
        layouts = ["".join(_layout(arg) for arg in launch.args) for launch in self.launches]
        entries = entry_points(set(layouts))
        self._blocks = np.array(
            [w for code, ws in zip(codes, words, strict=True) for w in (code, *ws)], np.int64
        )
        self._table = np.empty((len(self.launches), ROW // 8), np.int64)
        address = self._blocks.ctypes.data
        for row, (launch, ws, layout) in enumerate(zip(self.launches, words, layouts, strict=True)):
            self._table[row] = entries[layout], address, launch.items, MANY if _is_large(launch) else 1
            address += 8 * (1 + len(ws))
        self.rows = len(self.launches)
        self.address = self._table.ctypes.data
        self.is_parallel = any(map(_is_large, self.launches))

    def run(self) -> None:
        """Execute all launches in order, each seeing the results of those before it."""
        _team.run(self)


def run(launches: list[Launch]) -> None:
    """Execute launches once. What runs often should keep its `Program`."""
    if COMPILED:
        Program(launches).run()
    else:
        for launch in launches:
            launch.kernel.function(*launch.args, 0, launch.items)


def _is_large(launch: Launch) -> bool:
    """Whether several threads should share a launch."""
    nbytes = sum(arg.nbytes for arg in launch.args if isinstance(arg, np.ndarray))
    return launch.items > 1 and nbytes > SMALL


def _words(value) -> list[int]:
    """A kernel argument as the machine words that Numba's calling convention spreads it over."""
    if isinstance(value, np.ndarray):
        return [0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides]
    if isinstance(value, tuple):
        return [word for item in value for word in _words(item)]
    if isinstance(value, float):
        return [struct.unpack("q", struct.pack("d", value))[0]]
    return [int(value)]


def _layout(value) -> str:
    """One letter a machine word: `i`nteger or pointer, or `d`ouble."""
    if isinstance(value, np.ndarray):
        return "i" * (5 + 2 * value.ndim)
    if isinstance(value, tuple):
        return "".join(_layout(item) for item in value)
    return "d" if isinstance(value, float) else "i"


_entries: dict[str, int] = {}


def entry_points(layouts: set[str]) -> dict[str, int]:
    """Addresses of functions `void(int64 *block, int64 first, int64 last)`, one for each argument layout.

    An entry point loads a kernel's address from block[0] and its arguments from block[1:], and calls it. Kernels
    whose arguments take the same words share one.
    """
    missing = sorted(layouts - _entries.keys())
    if missing:
        with global_compiler_lock:
            library = cpu_target.target_context.codegen().create_library("fastcnn_entry_points")
            module = library.create_ir_module("fastcnn_entry_points")
            names = {layout: _define_entry(module, layout) for layout in missing}
            library.add_ir_module(module)
            library.finalize()
            _libraries.append(library)
            _entries.update({layout: library.get_pointer_to_function(name) for layout, name in names.items()})
    return _entries


_libraries: list = []  # machine code lives as long as its library


def _define_entry(module: ir.Module, layout: str) -> str:
    word, double, status = ir.IntType(64), ir.DoubleType(), ir.IntType(32)
    name = f"fastcnn_entry_{len(_entries)}_{layout}"
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [word.as_pointer(), word, word]), name=name)
    builder = ir.IRBuilder(function.append_basic_block())
    block, first, last = function.args

    def argument(position, kind):
        pointer = builder.gep(block, [ir.Constant(word, position)])
        return builder.load(builder.bitcast(pointer, kind.as_pointer()))

    kinds = [word if letter == "i" else double for letter in layout]
    # Numba's convention: status f(result *, exception **, arguments...); kernels have neither result nor error.
    result, error = builder.alloca(word), builder.alloca(word)
    called = ir.FunctionType(status, [result.type, error.type, *kinds, word, word])
    target = builder.inttoptr(argument(0, word), called.as_pointer())
    builder.call(target, [result, error, *(argument(n + 1, k) for n, k in enumerate(kinds)), first, last])
    builder.ret_void()
    return name


# --- the team ------------------------------------------------------------------------------------------------


class Team:
    """The threads that execute programs: the caller's and `threads` - 1 workers, started at first need."""

    def __init__(self, threads: int):
        self.threads = threads
        self._busy = threading.Lock()
        memory = np.zeros(PARKED + 8 * threads + 64, np.uint8)
        offset = -memory.ctypes.data % 64
        self._words = memory[offset : offset + PARKED + 8 * threads].view(np.int64)
        self._shared = self._words.ctypes.data
        self._wake = [threading.Semaphore(0) for _ in range(threads)]
        self._workers: list[threading.Thread] = []

    def run(self, program: Program) -> None:
        if self.threads > 1 and program.is_parallel and self._busy.acquire(blocking=False):
            try:
                self._run_together(program)
            finally:
                self._busy.release()
        else:
            execute(program.address, program.rows, 0, 1, self._shared)

    def _run_together(self, program: Program) -> None:
        if not self._workers:
            self._start()
        sleeping = post(self._shared, self.threads, program.address, program.rows)
        if sleeping:
            self._release(sleeping)
        execute(program.address, program.rows, 0, self.threads, self._shared)

    def _release(self, sleeping: int) -> None:
        for thread in range(1, self.threads):
            if sleeping >> thread & 1:
                self._wake[thread].release()

    def _start(self) -> None:
        self._workers = [
            threading.Thread(target=self._work, args=(thread,), name=f"fastcnn-{thread}", daemon=True)
            for thread in range(1, self.threads)
        ]
        for worker in self._workers:
            worker.start()

    def _work(self, thread: int) -> None:
        seen = 0
        while not self._words[STOP // 8]:
            seen = serve(self._shared, thread, self.threads, seen)
            if not self._words[STOP // 8]:
                self._wake[thread].acquire()

    def stop(self) -> None:
        """End the workers. Waits for a program that another thread is running."""
        with self._busy:
            if self._workers:
                self._words[STOP // 8] = 1
                self._release(post(self._shared, self.threads, 0, 0))
                for worker in self._workers:
                    worker.join()
                self._workers = []


def default_threads() -> int:
    """`FASTCNN_NUM_THREADS`, else `NUMBA_NUM_THREADS`, else the processors this process may use."""
    wanted = os.environ.get("FASTCNN_NUM_THREADS") or os.environ.get("NUMBA_NUM_THREADS")
    if wanted:
        return max(1, min(int(wanted), 62))
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, 62)


def num_threads() -> int:
    """How many threads execute a program."""
    return _team.threads


def set_num_threads(threads: int) -> None:
    """Change how many threads execute programs from now on."""
    global _team
    if not 1 <= threads <= 62:
        raise ValueError(f"set_num_threads: the number of threads must be from 1 to 62, got {threads}")
    _team.stop()
    _team = Team(threads)


def _forget_team() -> None:
    """A forked child has none of its parent's threads: it starts a team of its own when it needs one."""
    global _team
    _team = Team(_team.threads)


_team = Team(default_threads())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_team)
