"""Running kernels: a list of launches becomes one compiled call that a team of threads executes together.

A `Program` is a table with one row a launch: the address of an entry point, the address of its argument block,
its number of work items, and how many threads may share it. Rows run one after the other. The items of a row are
dealt out to the threads as one range each; a thread that is through with its own takes over from the others'. Whoever
finishes the last item goes on: it runs the rows that are too small to be shared, and opens the next that is not.

So nobody waits for a thread that has nothing in hand: one that the system has suspended, or not woken yet, delays a
row only if it has begun an item. Python is entered once a program, and the way from one row to the next costs a
fraction of a microsecond.

The team never stops another thread or process: a second Python thread that comes while the team is busy begins its
program alone and goes on with the team as soon as that is free (results do not depend on the number of threads), and a
forked child starts a team of its own.

From the first word to the last a program runs inside one compiled call (`lead`), and workers never come back to
Python. So no exception, not even Ctrl-C, can arrive while workers wait for their leader, and a worker needs the GIL
at no time: neither for being woken nor while the interpreter shuts down.
"""

import operator
import os
import struct
from _thread import start_new_thread

import numpy as np
from llvmlite import ir
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fastcnn_kernels.atomics import (
    FLUSHING,
    acquire_lock,
    atomic_add,
    atomic_load,
    atomic_replace,
    atomic_store,
    call_entry,
    float_mode,
    new_lock,
    pause,
    release_lock,
    set_float_mode,
    yield_thread,
)
from fastcnn_kernels.jit import (
    COMPILED,
    Launch,
    compile_host_functions,
    cpu_kernel,
    device_function,
    host_function,
)

# Byte offsets of the words that the threads share. What different threads write is on different cache lines.
BUSY, TURN, DONE, JOINED = 0, 64, 128, 192  # TURN: the number of the open row, which tells it from all others
OPEN, END, BEGIN, ITEMS, SHARING, MEMBERS, FLUSH = (
    256,
    264,
    272,
    280,
    288,
    296,
    304,
)  # of the program of the moment
DESKS = 320  # one line a thread:
DESK, STATE, LOCK, TICKET = (
    64,
    0,
    8,
    16,
)  # TICKET: the turn, and below it the first item that nobody has taken
ABSENT, AWAKE, ASLEEP = 0, 1, 2  # states of a worker
TURNS, TICKET_BITS = (1 << 31) - 1, 32

ROW = 32  # bytes of a row of a program's table
SMALL = 1 << 14  # bytes of arguments below which a launch is not worth sharing
MANY = 1 << 30  # threads: as many as there are
MOST_THREADS = 256
POLITE_SPINS = 64  # about a microsecond: so often let another thread have the processor
SLEEP_SPINS = 64_000  # about a millisecond without work: then sleep until woken
FOREVER = 1 << 62
PIECES = 8  # of a row that is executed alone, between which the team may come


# --- what every thread executes ------------------------------------------------------------------------------


@device_function
def wait_while(address, value, most):
    """Return when the word at `address` is no longer `value`, or after `most` looks."""
    spins = 0
    while atomic_load(address) == value and spins < most:
        pause()
        spins += 1
        if spins % POLITE_SPINS == 0:
            yield_thread()


@device_function
def flush_denormals(flush):
    """From now on, numbers below the smallest normal one count as zero in this thread, or (0) do not."""
    mode = float_mode()
    wanted = (mode | FLUSHING) if flush else (mode & ~FLUSHING)
    if wanted != mode:
        set_float_mode(wanted)


@device_function
def call_row(row, first, last, thread):
    """Do items [first, last) of a row. A row: entry point, arguments, items, most threads."""
    call_entry(atomic_load(row), atomic_load(row + 8), first, last, thread)


@device_function
def wake(shared, threads):
    """Wake the workers at the first `threads` - 1 desks that sleep."""
    for desk in range(shared + DESKS + DESK, shared + DESKS + DESK * threads, DESK):
        if atomic_load(desk + STATE) == ASLEEP and atomic_replace(desk + STATE, ASLEEP, AWAKE):
            release_lock(atomic_load(desk + LOCK))


@device_function
def begin_of(thread, begin, items, sharing):
    """The first of the items that are a thread's own, of those from `begin` on; of one thread too many, their end."""
    return begin + (items - begin) * thread // sharing


@device_function
def open_row(shared, row, begin, items, sharing):
    """Deal out the items of a row from `begin` on among `sharing` threads, and tell them.

    First the tickets: from then on nobody who still has the turn before can take one, whatever else he reads. Last,
    workers are woken whom the row before has left without work for so long that they sleep.
    """
    turn = (atomic_load(shared + TURN) + 1) & TURNS
    for thread in range(sharing):
        ticket = turn << TICKET_BITS | begin_of(thread, begin, items, sharing)
        atomic_store(shared + DESKS + DESK * thread + TICKET, ticket)
    atomic_store(shared + BEGIN, begin)
    atomic_store(shared + ITEMS, items)
    atomic_store(shared + SHARING, sharing)
    atomic_store(shared + OPEN, row)
    atomic_store(shared + DONE, begin)
    atomic_store(shared + TURN, turn)
    wake(shared, sharing)


@device_function
def go_on(shared, row, begin):
    """From an item of a row on, run what is not to be shared, and open what is; behind the last row, end it all."""
    members, end = atomic_load(shared + MEMBERS), atomic_load(shared + END)
    while row < end:
        items = atomic_load(row + 16)
        sharing = min(members, items - begin, atomic_load(row + 24))
        if sharing > 1:
            open_row(shared, row, begin, items, sharing)
            return
        call_row(row, begin, items, 0)
        row, begin = row + ROW, 0
    atomic_store(shared + TURN, (atomic_load(shared + TURN) + 1) & TURNS)
    atomic_store(shared + OPEN, 0)  # last: now the leader may begin another program


@device_function
def take(shared, place, turn, low, end):
    """(first, last) of the items of a range that the caller now has to do; first is -1 when the row is over.

    Half of what is left, but at least an eighth of the range: few calls, and something left to take over.
    """
    while True:
        ticket = atomic_load(place)
        if ticket >> TICKET_BITS != turn:
            return -1, -1
        first = ticket & ((1 << TICKET_BITS) - 1)
        last = min(end, first + max((end - low + 7) // 8, (end - first) // 2))
        if first == last or atomic_replace(place, ticket, ticket + last - first):
            return first, last


@device_function
def take_part(shared, thread, turn):
    """Do items of the open row, first of one's own range, until nobody has any left.

    What is read here may belong to a later row already, but then there are no tickets of this turn any more. What was
    read before a ticket was taken belongs to its row, which does not end before the caller's items are done.
    """
    begin, items, sharing = (
        atomic_load(shared + BEGIN),
        atomic_load(shared + ITEMS),
        atomic_load(shared + SHARING),
    )
    flush_denormals(atomic_load(shared + FLUSH))
    for step in range(sharing if thread < sharing else 0):
        other = (thread + step) % sharing
        place = shared + DESKS + DESK * other + TICKET
        low, end = begin_of(other, begin, items, sharing), begin_of(other + 1, begin, items, sharing)
        first, last = take(shared, place, turn, low, end)
        while first < last:
            row = atomic_load(shared + OPEN)
            call_row(row, first, last, thread)
            if atomic_add(shared + DONE, last - first) + last - first == items:
                go_on(shared, row + ROW, 0)
                return
            first, last = take(shared, place, turn, low, end)
        if first < 0:
            return


@host_function("void(intp)")
def serve(shared):
    """The life of a worker: take a desk, then take part in rows as they are opened, sleeping when none comes.

    A worker writes that it is asleep and then looks once more whether a row has been opened; whoever opens a row then
    looks who is asleep. So one of them sees the other. Whoever changes ASLEEP back to AWAKE has to see to it that the
    worker wakes: he who opened the row by releasing its lock, exactly once.
    """
    thread = atomic_add(shared + JOINED, 1) + 1
    desk, lock = shared + DESKS + DESK * thread, new_lock()
    if lock == 0 or thread >= MOST_THREADS:
        return
    acquire_lock(lock, 1)
    atomic_store(desk + LOCK, lock)
    atomic_store(desk + STATE, AWAKE)
    seen = -1
    while atomic_load(desk + STATE) != ABSENT:  # always: Numba cannot compile a function that has no end
        wait_while(shared + TURN, seen, SLEEP_SPINS)
        turn = atomic_load(shared + TURN)
        if turn != seen:
            take_part(shared, thread, turn)
            seen = turn
        else:
            atomic_store(desk + STATE, ASLEEP)
            if atomic_load(shared + TURN) == seen or not atomic_replace(desk + STATE, ASLEEP, AWAKE):
                acquire_lock(lock, 1)


@device_function
def run_together(shared, row, begin, end, threads, flush):
    """Go on from an item of a row with up to `threads` - 1 workers, of which the caller has disposal."""
    atomic_store(shared + FLUSH, flush)
    atomic_store(shared + MEMBERS, threads)
    atomic_store(shared + END, end)
    seen = atomic_load(shared + TURN)
    go_on(shared, row, begin)
    while atomic_load(shared + OPEN):
        turn = atomic_load(shared + TURN)
        if turn == seen:
            wait_while(shared + TURN, seen, POLITE_SPINS)
        else:
            take_part(shared, 0, turn)
            seen = turn


@host_function("void(intp, int64, int64, int64, int64)")
def lead(table, rows, threads, flush, shared):
    """Run a program and leave the caller's arithmetic as it was."""
    mode = float_mode()
    flush_denormals(flush)
    run_rows(table, table + ROW * rows, threads, flush, shared)
    set_float_mode(mode)


@device_function
def run_rows(row, end, threads, flush, shared):
    """Run rows with up to `threads` - 1 workers; alone as long as another caller has them, piece by piece."""
    begin = 0
    while row < end:
        if threads > 1 and atomic_load(shared + BUSY) == 0 and atomic_replace(shared + BUSY, 0, 1):
            run_together(shared, row, begin, end, threads, flush)
            atomic_store(shared + BUSY, 0)
            return
        items = atomic_load(row + 16)
        pieces = PIECES if threads > 1 and atomic_load(row + 24) > 1 else 1
        last = min(items, begin + (items + pieces - 1) // pieces)
        call_row(row, begin, last, 0)
        begin = last
        if begin == items:
            row, begin = row + ROW, 0


# --- programs ------------------------------------------------------------------------------------------------


class Program:
    """Launches made ready to run: machine code, argument blocks, one table. Keeps its arrays alive.

    flush: numbers below the smallest normal one (1.2e-38 in float32) count as zero, as processors take a hundred times
    as long for them.
    """

    def __init__(self, launches: list[Launch], flush: bool = False):
        compile_host_functions()
        self.flush = int(flush)
        self.launches = [launch for launch in launches if launch.items > 0]
        codes = [launch.kernel.compile(launch.args) for launch in self.launches]
        words = [_words(launch.args) for launch in self.launches]
        layouts = [_layout_of(launch) for launch in self.launches]
        entries = entry_points(set(layouts))
        self.arguments = np.array(
            [w for code, ws in zip(codes, words, strict=True) for w in (code, *ws)], np.int64
        )
        places = [place for launch in self.launches for place in (False, *_places(launch.args))]
        self.places = np.array(places, bool)  # which of them are addresses
        self.table = np.empty((len(self.launches), ROW // 8), np.int64)
        address = self.arguments.ctypes.data
        for row, (launch, ws, layout) in enumerate(zip(self.launches, words, layouts, strict=True)):
            sharing = _most_threads(launch) if _is_large(launch) else 1
            self.table[row] = entries[layout], address, launch.items, sharing
            address += 8 * (1 + len(ws))
        self.rows = len(self.launches)
        self.address = self.table.ctypes.data
        self.is_parallel = any(map(_is_large, self.launches))

    def run(self) -> None:
        """Execute all launches in order, each seeing the results of those before it."""
        if self.rows:
            _team.run(self)


@cpu_kernel(lambda table, starts, arguments, workspace: starts.size - 1)
def run_blocks(table, starts, arguments, workspace, first, last, thread):
    """Run the rows [starts[b], starts[b + 1]) of a program's table, for every block b, each row as a whole.

    A thread has memory of its own, workspace[thread], and arguments that say so, arguments[thread]. The table has the
    addresses of the first thread's.
    """
    own = thread * arguments.strides[0]
    for block in range(first, last):
        for row in range(starts[block], starts[block + 1]):
            call_entry(table[row, 0], table[row, 1] + own, 0, table[row, 2], thread)


class Blocks:
    """Lists of launches that do not depend on each other: a thread that is through with a list takes another one.

    workspace: bytes, a row for each thread. Launches are bound to the first row; another thread's are to the
    same place in its own.
    """

    def __init__(self, lists: list[list[Launch]], workspace: np.ndarray):
        self._program = program = Program([launch for block in lists for launch in block])
        counts = [sum(launch.items > 0 for launch in block) for block in lists]
        threads, nbytes = workspace.shape
        first = workspace.ctypes.data
        inside = program.places & (first <= program.arguments) & (program.arguments < first + nbytes)
        arguments = program.arguments + np.outer(np.arange(threads) * nbytes, inside)
        table = program.table + [0, arguments.ctypes.data - program.arguments.ctypes.data, 0, 0]
        self.launch = run_blocks.bind(table, np.cumsum([0, *counts]), arguments, workspace)


def run(launches: list[Launch]) -> None:
    """Execute launches once. What runs often should keep its `Program`."""
    if COMPILED:
        Program(launches).run()
    else:
        for launch in launches:
            launch.kernel.function(*launch.args, 0, launch.items, *[0] * launch.kernel.takes_thread)


def _is_large(launch: Launch) -> bool:
    """Whether several threads should share a launch. Lists of launches are large: their arguments do not show it."""
    nbytes = sum(arg.nbytes for arg in launch.args if isinstance(arg, np.ndarray))
    return launch.items > 1 and (nbytes > SMALL or launch.kernel is run_blocks)


def _most_threads(launch: Launch) -> int:
    """How many threads may share a launch: a kernel that is told its thread needs a workspace for every one."""
    if not launch.kernel.takes_thread:
        return MANY
    return launch.args[launch.kernel.parameters.index("workspace")].shape[0]


def _words(value) -> list[int]:
    """A kernel argument as the machine words that Numba's calling convention spreads it over."""
    if isinstance(value, np.ndarray):
        return [0, 0, value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides]
    if isinstance(value, tuple):
        return [word for item in value for word in _words(item)]
    if isinstance(value, float):
        return [struct.unpack("q", struct.pack("d", value))[0]]
    return [int(value)]


def _places(value) -> list[bool]:
    """Which of a kernel argument's words are the addresses of arrays."""
    if isinstance(value, tuple):
        return [place for item in value for place in _places(item)]
    return [isinstance(value, np.ndarray) and i == 4 for i in range(len(_words(value)))]


def _layout_of(launch: Launch) -> str:
    """The layout of all arguments; `t` at the end where the kernel is told its thread."""
    return "".join(map(_layout, launch.args)) + "t" * launch.kernel.takes_thread


def _layout(value) -> str:
    """One letter a machine word: `i`nteger or pointer, or `d`ouble."""
    if isinstance(value, np.ndarray):
        return "i" * (5 + 2 * value.ndim)
    if isinstance(value, tuple):
        return "".join(_layout(item) for item in value)
    return "d" if isinstance(value, float) else "i"


_entries: dict[str, int] = {}


def entry_points(layouts: set[str]) -> dict[str, int]:
    """Addresses of functions `void(int64 *block, int64 first, int64 last, int64 thread)`, one for each layout.

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
    function = ir.Function(
        module, ir.FunctionType(ir.VoidType(), [word.as_pointer(), word, word, word]), name=name
    )
    builder = ir.IRBuilder(function.append_basic_block())
    block, *share = function.args  # first, last, thread

    def argument(position, kind):
        pointer = builder.gep(block, [ir.Constant(word, position)])
        return builder.load(builder.bitcast(pointer, kind.as_pointer()))

    kinds = [double if letter == "d" else word for letter in layout.removesuffix("t")]
    share = share if layout.endswith("t") else share[:2]
    # Numba's convention: status f(result *, exception **, arguments...); kernels have neither result nor error.
    result, error = builder.alloca(word), builder.alloca(word)
    called = ir.FunctionType(status, [result.type, error.type, *kinds, *(x.type for x in share)])
    target = builder.inttoptr(argument(0, word), called.as_pointer())
    builder.call(target, [result, error, *(argument(n + 1, k) for n, k in enumerate(kinds)), *share])
    builder.ret_void()
    return name


# --- the team ------------------------------------------------------------------------------------------------


class Team:
    """The threads that execute programs: the caller's, and workers that are started at first need.

    Workers stay until the process ends; asleep they cost nothing. A worker that could not be started, or is not
    there yet, is missed by nobody: others take over its items.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self._started = 0
        memory = np.zeros(DESKS + DESK * MOST_THREADS + DESK, np.uint8)
        self._memory = memory[-memory.ctypes.data % DESK :]
        self._shared = self._memory.ctypes.data

    def run(self, program: Program) -> None:
        threads = self.threads if program.is_parallel else 1
        if threads - 1 > self._started:
            self._start_workers(threads - 1)
        lead(program.address, program.rows, threads, program.flush, self._shared)

    def _start_workers(self, wanted: int) -> None:
        while self._started < wanted:
            try:
                start_new_thread(self._work, ())  # an exception in Thread.start would leave half a Thread
            except RuntimeError:  # this system allows no more threads, or the interpreter is shutting down
                pass
            self._started += 1  # last: interrupted before, there is a worker too many, which does no harm

    def _work(self) -> None:
        serve(self._shared)  # `self` keeps the shared memory


def default_threads() -> int:
    """`FASTCNN_NUM_THREADS`, else `NUMBA_NUM_THREADS`, else the processors this process may use."""
    for variable in ("FASTCNN_NUM_THREADS", "NUMBA_NUM_THREADS"):
        if wanted := os.environ.get(variable):
            return _number_of_threads(variable, wanted)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, MOST_THREADS)


def _number_of_threads(variable: str, text: str) -> int:
    if not text.strip().isdecimal() or int(text) < 1:
        raise ValueError(f"{variable} must be a number of threads, 1 or more, got {text!r}")
    return min(int(text), MOST_THREADS)


def num_threads() -> int:
    """How many threads execute a program."""
    return _team.threads


def set_num_threads(threads: int) -> None:
    """Change how many threads execute programs from now on; a program that is running goes on as it is."""
    threads = operator.index(threads)
    if not 1 <= threads <= MOST_THREADS:
        raise ValueError(
            f"set_num_threads: the number of threads must be from 1 to {MOST_THREADS}, got {threads}"
        )
    _team.threads = threads


def _forget_team() -> None:
    """A forked child has none of its parent's threads: it starts a team of its own when it needs one."""
    global _team
    _team = Team(_team.threads)


_team = Team(default_threads())
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_team)
    # Were another thread compiling at the fork, the child could never compile: nobody would release the lock.
    os.register_at_fork(
        before=global_compiler_lock.acquire,
        after_in_parent=global_compiler_lock.release,
        after_in_child=global_compiler_lock.release,
    )
