"""The team of threads: order, sharing, and that nothing can make it hang: threads, forks, Ctrl-C, exit."""

import _thread
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from fastcnn_kernels import atomics, elementwise, team
from fastcnn_kernels.jit import cpu_kernel
from fastcnn_kernels.team import MOST_THREADS, Program, num_threads, set_num_threads

DEADLINE_S = 60  # what does not end by itself
LONG = 2000  # rounds of an item: so many that rows outlast the time slices of threads that share a processor


@cpu_kernel(lambda visits, takers, effort, workspace: visits.size)
def visit(visits, takers, effort, workspace, first, last, thread):
    """Counts the visits of each item and notes by whom. Item i takes effort[i] rounds over a row of the workspace."""
    mine = workspace[thread]
    for i in range(first, last):
        visits[i] += 1
        takers[i] = thread
        for _ in range(effort[i]):
            for j in range(mine.size):
                mine[j] += 1.0 / (1.0 + mine[j])


@cpu_kernel(lambda x, y, step: y.size)
def mirror(x, y, step, first, last):
    """y = x backwards + step. An item reads what another thread wrote in the launch before."""
    for i in range(first, last):
        y[i] = x[x.size - 1 - i] + step


@cpu_kernel(lambda x, partial: partial.size)
def partial_sums(x, partial, first, last):
    """partial[i] = sum of the i-th part of x."""
    for i in range(first, last):
        total = 0.0
        for value in x[x.size * i // partial.size : x.size * (i + 1) // partial.size]:
            total += value
        partial[i] = total


@cpu_kernel(lambda workspace, y: y.size)
def in_a_workspace(workspace, y, first, last, thread):
    """y[i] = i, by way of memory that only this thread uses."""
    mine = workspace[thread]
    for i in range(first, last):
        mine[:] = i
        y[i] = mine.sum() / mine.size


WORKSPACE = np.zeros((16, 1 << 9))  # large enough to make a launch worth sharing
THREADS = [1, 2, 3, 5]


@pytest.fixture(autouse=True)
def same_number_of_threads() -> Iterator[None]:
    before = num_threads()
    yield
    set_num_threads(before)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def takers(efforts: list[int]) -> list[int]:
    """The threads that have done the items of a shared launch; each item must be visited once."""
    items = len(efforts)
    visits, found = np.zeros(items), np.full(items, -1.0)
    visit(visits, found, np.array(efforts), WORKSPACE)
    np.testing.assert_array_equal(visits, 1)
    return [int(thread) for thread in found]


def gather(threads: int) -> None:
    """Set the number of threads and wait until they all have taken part in something."""
    set_num_threads(threads)
    assert within(DEADLINE_S, seen_all(threads))


def seen_all(threads: int) -> Callable[[], bool]:
    """Whether all threads have been seen so far; each call has another look."""
    seen: set[int] = set()

    def look() -> bool:
        seen.update(takers([LONG] * 8 * threads))
        return seen == set(range(threads))

    return look


def there_and_back(x: np.ndarray, rows: int) -> Program:
    """x + rows * (rows - 1) / 2, turned `rows` times, in memory of its own."""
    buffers = [x, np.full_like(x, np.nan)]
    return Program([mirror.bind(buffers[i % 2], buffers[1 - i % 2], float(i)) for i in range(rows)])


def after(x: np.ndarray, rows: int) -> np.ndarray:
    assert rows % 2 == 0
    return x + rows * (rows - 1) / 2


# --- what a program is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", THREADS)
def test_every_item_is_visited_once(threads: int) -> None:
    gather(threads)
    for items in range(1, 21):
        assert set(takers([1] * items)) <= set(range(threads))


def test_who_has_nothing_left_takes_over_from_others() -> None:
    """The items of the first thread take a hundred times as long; the second does some of them."""
    gather(2)
    efforts = [LONG] * 16 + [LONG // 100] * 16
    assert within(DEADLINE_S, lambda: 1 in takers(efforts)[:16])


def test_launches_without_items_do_nothing() -> None:
    Program([]).run()
    Program([visit.bind(np.zeros(0), np.zeros(0), np.zeros(0, np.int64), WORKSPACE)]).run()


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("size", [pytest.param(7, id="small"), pytest.param(5000, id="shared")])
def test_launches_run_in_order(threads: int, size: int) -> None:
    gather(threads)
    x = np.arange(float(size))
    there_and_back(x, rows := 300).run()
    np.testing.assert_array_equal(x, after(np.arange(float(size)), rows))


def test_small_and_shared_launches_in_turn() -> None:
    gather(3)
    x = np.random.default_rng(0).normal(size=5000)
    y, partial, total, launches = np.empty(5000), np.empty(20), np.empty(1), []
    for step in range(50):
        launches += [mirror.bind(x, y, 0.0), partial_sums.bind(y, partial), partial_sums.bind(partial, total)]
        launches += [mirror.bind(y, x, float(step))]
    expected = x.sum() + 5000 * sum(range(49))
    Program(launches).run()
    np.testing.assert_allclose(total, expected, rtol=1e-12)


def test_same_bits_on_any_number_of_threads() -> None:
    x, results = np.random.default_rng(0).normal(size=100_003), set()
    for threads in THREADS:
        gather(threads)
        partial, total = np.full(20, np.nan), np.full(1, np.nan)
        Program([partial_sums.bind(x, partial), partial_sums.bind(partial, total)]).run()
        results.add(total.tobytes() + partial.tobytes())
    assert len(results) == 1


def test_ten_thousand_launches() -> None:
    gather(2)
    x = np.zeros(5000)
    there_and_back(x, 10_000).run()
    np.testing.assert_array_equal(x, after(np.zeros(5000), 10_000))


def test_more_threads_than_processors() -> None:
    gather(8)
    x = np.zeros(5000)
    there_and_back(x, 500).run()
    np.testing.assert_array_equal(x, after(np.zeros(5000), 500))


# --- arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [[1.0, 2.0], None, "x", True, np.float32(1), np.int32(1), (1, None)],
    ids=["list", "None", "str", "bool", "float32", "int32", "tuple of None"],
)
def test_argument_of_a_wrong_type_is_named(wrong: object) -> None:
    kind = type(wrong).__name__
    with pytest.raises(TypeError, match=f"mirror>: step is of type {kind}; expected an array"):
        mirror(np.zeros(3), np.zeros(3), wrong)


def test_wrong_number_of_arguments() -> None:
    with pytest.raises(TypeError, match="mirror> takes x, y, step; got 2 arguments"):
        mirror(np.zeros(3), np.zeros(3))


def test_types_that_do_not_fit_together() -> None:
    with pytest.raises(
        TypeError, match=r"mirror> cannot be compiled for \(x: float64, y: array\(float64, 1d"
    ):
        mirror(1.0, np.zeros(3), 0.0)
    mirror(np.zeros(3), y := np.zeros(3), 1.0)
    np.testing.assert_array_equal(y, 1)


# --- the number of threads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, -1, MOST_THREADS + 1])
def test_number_of_threads_out_of_range(threads: int) -> None:
    with pytest.raises(ValueError, match=f"from 1 to {MOST_THREADS}, got {threads}"):
        set_num_threads(threads)


def test_number_of_threads_is_a_whole_number() -> None:
    with pytest.raises(TypeError, match="float"):
        set_num_threads(2.0)


def test_number_of_threads_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    assert team.default_threads() == 3
    monkeypatch.setenv("FASTCNN_NUM_THREADS", "100000")
    assert team.default_threads() == MOST_THREADS
    for wrong in ("two", "0", "-1", "1.5"):
        monkeypatch.setenv("FASTCNN_NUM_THREADS", wrong)
        with pytest.raises(ValueError, match=f"FASTCNN_NUM_THREADS must be a number of threads.*'{wrong}'"):
            team.default_threads()
    monkeypatch.delenv("FASTCNN_NUM_THREADS")
    monkeypatch.delenv("NUMBA_NUM_THREADS")
    assert 1 <= team.default_threads() <= os.cpu_count()


def test_number_of_threads_up_and_down() -> None:
    x, rounds = np.zeros(5000), 200
    program = there_and_back(x, 10)
    for _ in range(rounds):
        set_num_threads(random.choice([1, 2, 3, 5, 8]))
        program.run()
    np.testing.assert_array_equal(x, rounds * after(np.zeros(5000), 10))


def test_workers_are_started_once_and_stay() -> None:
    gather(5)
    before = _thread._count()
    for threads in [1, 5, 2, 5, 3]:
        gather(threads)
    assert _thread._count() == before


def test_a_team_without_workers_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(team, "start_new_thread", fail)
    x, lonely = np.zeros(5000), team.Team(3)
    for _ in range(5):
        lonely.run(there_and_back(x, 10))
    np.testing.assert_array_equal(x, 5 * after(np.zeros(5000), 10))


# --- many callers --------------------------------------------------------------------------------------------


def together(*tasks: Callable[[], None]) -> None:
    """Run tasks at the same time; none may fail, and all must end."""
    failed: list[BaseException] = []

    def attempt(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=attempt, args=[task], daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert not any(thread.is_alive() for thread in threads)
    assert not failed, failed


def many_runs() -> None:
    x, rounds = np.zeros(5000), 300
    program = there_and_back(x, 10)
    for _ in range(rounds):
        program.run()
    np.testing.assert_array_equal(x, rounds * after(np.zeros(5000), 10))


def test_programs_of_many_python_threads() -> None:
    gather(3)
    together(*[many_runs] * 8)


def test_a_program_that_began_alone_goes_on_with_the_team_once_that_is_free() -> None:
    gather(2)
    busy = team._team._memory.view(np.int64)[team.BUSY // 8 :]
    takers_of_rows, efforts = np.full((50, 64), -1.0), np.full(64, LONG // 10)
    visits = np.zeros((50, 64))
    program = Program(
        [visit.bind(*arrays, efforts, WORKSPACE) for arrays in zip(visits, takers_of_rows, strict=True)]
    )
    busy[0] = 1  # as if another caller had it
    runner = threading.Thread(target=program.run, daemon=True)
    runner.start()
    begun = within(DEADLINE_S, lambda: takers_of_rows[0, 0] >= 0)
    busy[0] = 0
    runner.join(DEADLINE_S)
    assert begun and not runner.is_alive()
    assert set(takers_of_rows[0, : 64 // team.PIECES]) == {0} and set(takers_of_rows.flat) == {0, 1}
    np.testing.assert_array_equal(visits, 1)
    assert busy[0] == 0


def test_number_of_threads_changes_while_programs_run() -> None:
    def change() -> None:
        for _ in range(200):
            set_num_threads(random.choice([1, 2, 3, 5]))
            time.sleep(0.0005)

    together(many_runs, many_runs, change)
    gather(3)


def test_no_wake_up_is_lost() -> None:
    """20,000 programs, some at just the time when workers fall asleep, some when they have slept for long."""
    gather(2)
    x, rounds = np.zeros(4200), 20_000
    program = there_and_back(x, 2)
    for _ in range(rounds):
        program.run()
        if random.random() < 0.08:
            time.sleep(random.choice([0.0001, 0.0003, 0.0005, 0.0008, 0.001, 0.002]))
    np.testing.assert_array_equal(x, rounds)


def state_of_first_worker() -> int:
    return team._team._memory.view(np.int64)[(team.DESKS + team.DESK + team.STATE) // 8]


def test_idle_workers_sleep_and_wake() -> None:
    for threads in (2, 3):
        gather(threads)
        assert within(DEADLINE_S, lambda: state_of_first_worker() == team.ASLEEP)
        assert within(DEADLINE_S, seen_all(threads))


def test_a_worker_that_fell_asleep_within_a_program_is_woken_for_the_next_row() -> None:
    """One long item leaves the second thread without work for many times as long as it stays awake."""
    gather(2)
    asleep, takers_of_row, found = np.full(2, -1.0), np.full(64, -1.0), []
    rows = [(np.zeros(2), asleep, np.array([10 * LONG, 1])), (np.zeros(64), takers_of_row, np.full(64, LONG))]
    program = Program([visit.bind(*row, WORKSPACE) for row in rows])

    def is_shared() -> bool:
        program.run()
        found.append(set(takers_of_row))
        return found[-1] == {0, 1}

    assert within(DEADLINE_S, is_shared) and len(found) < 20


# --- other processes: what could hang or kill this one -------------------------------------------------------


PREAMBLE = """
import os, random, signal, sys, threading, time
import numpy as np
from fastcnn_kernels import elementwise, team

def doubling():
    x = np.ones(81920, np.float32)
    y = np.empty_like(x)
    return team.Program([elementwise.add.bind(x, x, y), elementwise.copy.bind(y, x)]), x

def check():
    program, x = doubling()
    for _ in range(20):
        program.run()
    assert (x == 2.0 ** 20).all(), x

team.set_num_threads(3)
check()
"""


def run_script(text: str) -> None:
    """Run Python in a process of its own, that must succeed, quietly and in time."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-X", "faulthandler", "-c", PREAMBLE + text]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_forked_children_have_a_team_of_their_own() -> None:
    run_script("""
import warnings
warnings.simplefilter("ignore", DeprecationWarning)

def in_child(work):
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    end = time.monotonic() + 30
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, status
            return
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            raise AssertionError("a child hangs")
        time.sleep(0.001)

def compile_something():
    elementwise.subtract(*[np.zeros((3,) * dimensions) for dimensions in (1, 1, 1)])

for _ in range(10):
    check()
    in_child(check)                           # workers awake
time.sleep(0.05)
in_child(check)                               # workers asleep
in_child(lambda: (check(), in_child(check)))  # a child of a child
check()

stop = False
def busy():
    program, _ = doubling()
    while not stop:
        program.run()
thread = threading.Thread(target=busy)
thread.start()
for _ in range(20):
    in_child(check)                           # workers at work
stop = True
thread.join()

from numba import njit
def compile_much():
    for _ in range(3):
        njit("f8(f8)")(lambda x: x + 1)
thread = threading.Thread(target=compile_much)
thread.start()
while thread.is_alive():
    in_child(lambda: njit("f8(f8)")(lambda x: x + 1))  # the compiler at work
check()
""")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer signals on this platform")
def test_interrupts_and_reentrance() -> None:
    run_script("""
class Interrupt(Exception):
    pass

armed = False

def interrupt(*_):
    if armed:
        raise Interrupt

def run_another(*_):
    another.run()

class RunsWhenDeleted:
    def __del__(self):
        another.run()

def one_round():
    program.run()

def one_round_and_a_death():
    program.run()
    RunsWhenDeleted()

def for_a_while(handler, work):
    global armed
    signal.signal(signal.SIGALRM, handler)
    end, interrupted = time.monotonic() + 0.6, 0
    while time.monotonic() < end:
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 5e-4))
            for _ in range(30):
                work()
            armed = False
        except Interrupt:
            armed = False
            interrupted += 1
            if interrupted % 50 == 0:
                team._team = team.Team(3)     # so that some come while workers are started
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    return interrupted

another, program = doubling()[0], doubling()[0]
assert for_a_while(interrupt, one_round) > 10
for_a_while(run_another, one_round_and_a_death)
check()
""")


AT_EXIT = {
    "workers awake": "",
    "workers asleep": "time.sleep(0.05)",
    "daemon threads run programs": """
def forever():
    program, _ = doubling()
    while True:
        program.run()
for _ in range(3):
    threading.Thread(target=forever, daemon=True).start()
time.sleep(0.05)
""",
    "programs run at exit": """
import atexit
atexit.register(check)
atexit.register(team.set_num_threads, 5)
""",
}


@pytest.mark.parametrize("situation", AT_EXIT)
def test_exit(situation: str) -> None:
    run_script(AT_EXIT[situation])


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("workspaces", [1, 2, 8])
def test_workspaces_are_not_shared(threads, workspaces):
    set_num_threads(threads)
    y = np.zeros(4096)
    program = Program([in_a_workspace.bind(np.zeros((workspaces, 64)), y)])
    for _ in range(20):
        y[:] = -1
        program.run()
        np.testing.assert_array_equal(y, np.arange(4096.0))


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("slots", [1, 2, 8])
def test_blocks_run_their_lists_in_order(threads, slots):
    """Every list is a chain of `mirror` through a thread's memory; run_blocks gives each list to one thread."""
    set_num_threads(threads)
    memory, x = np.zeros((slots, 2, 2048)), np.arange(13 * 2048.0).reshape(13, 2048)
    y, lists = np.zeros_like(x), []
    for i in range(13):
        first, second = memory[0]
        lists.append(
            [mirror.bind(x[i], first, 1.0), mirror.bind(first, second, 1.0), mirror.bind(second, y[i], 1.0)]
        )
    blocks = team.Blocks(lists, memory.reshape(slots, -1).view(np.uint8))
    program = Program([blocks.launch])
    for _ in range(20):
        y[:] = -1
        program.run()
        np.testing.assert_array_equal(y, x[:, ::-1] + 3.0)


def test_blocks_may_be_empty():
    nothing = team.Blocks([[], [mirror.bind(np.zeros(0), np.zeros(0), 0.0)], []], np.zeros((2, 64), np.uint8))
    assert nothing.launch.kernel is team.run_blocks
    Program([nothing.launch]).run()


# --- denormal numbers ------------------------------------------------------------------------------------------

can_flush = pytest.mark.skipif(not atomics.FLUSHING, reason="nothing is known of this processor's arithmetic")
SMALLEST = np.finfo("float64").smallest_normal


def halves(flush: bool) -> set[float]:
    """What many halves of the smallest normal number are; they may be shared among the threads."""
    x, y, z = np.full(100_000, SMALLEST), np.full(100_000, 0.5), np.full(100_000, np.nan)
    Program([elementwise.multiply.bind(x, y, z)], flush).run()
    return set(z)


@can_flush
@pytest.mark.parametrize("threads", THREADS)
def test_denormal_numbers_count_as_zero_where_a_program_says_so(threads: int) -> None:
    gather(threads)
    for _ in range(20):  # in turn: who has run the one runs the other
        assert halves(True) == {0.0}
        assert halves(False) == {SMALLEST / 2}


@can_flush
def test_denormal_operands_count_as_zero() -> None:
    x, y = np.full(5, SMALLEST / 4), np.full(5, np.nan)
    Program([elementwise.multiply.bind(x, np.full(5, 4.0), y)], flush=True).run()
    assert set(y) == {0.0}


@can_flush
def test_the_caller_computes_as_before() -> None:
    halves(True)
    assert SMALLEST / 2 > 0 and set(np.full(1000, SMALLEST) / 2) == {SMALLEST / 2}


@can_flush
def test_programs_of_two_callers_do_not_mix_their_arithmetic() -> None:
    def flushing() -> None:
        for _ in range(200):
            assert halves(True) == {0.0}

    def exact() -> None:
        for _ in range(200):
            assert halves(False) == {SMALLEST / 2}

    together(flushing, exact, exact, flushing)
