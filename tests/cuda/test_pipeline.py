"""Batches on their way while earlier ones are computed: the order of calls, and that no number changes."""

import gc
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip(
    "numba_cuda", reason='numba-cuda is not installed; pip install "fastcnn[cuda13]" brings it'
)

from fastcnn_kernels import cuda_program

import fastcnn
from fastcnn import layers
from fastcnn.backend import cuda
from fastcnn.callbacks import Callback
from fastcnn.plan import Plan
from fastcnn.plan.progress import compile_progress


class Script:
    """Plays streams, events and memory, and notes what they are asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch):
        self.asked: list[str] = []
        self._events = iter("abcdefghijklmnopqrstuvwxyz")
        self._addresses = iter(range(1000, 100_000, 1000))
        monkeypatch.setattr(cuda_program, "stream", lambda name="work": name)
        monkeypatch.setattr(cuda_program, "event", self.event)
        monkeypatch.setattr(cuda_program, "enter", lambda: None)
        monkeypatch.setattr(cuda_program, "is_ready", lambda: False)
        monkeypatch.setattr(cuda_program, "device_bytes", lambda nbytes: next(self._addresses))
        monkeypatch.setattr(cuda_program, "address_of", lambda memory: memory)
        monkeypatch.setattr(cuda_program, "copy", self.copy)

    def event(self) -> Any:
        name = next(self._events)
        return SimpleNamespace(
            record=lambda stream: self.asked.append(f"record {name} in {stream}"),
            wait=lambda stream: self.asked.append(f"{stream} waits for {name}"),
            synchronize=lambda: self.asked.append(f"host waits for {name}"),
        )

    def copy(self, to: int, source: int, nbytes: int, where: str = "work") -> None:
        there = [f"device {x}" if x < 100_000 else "host" for x in (source, to)]
        self.asked.append(f"{nbytes} bytes, {' to '.join(there)}, in {where}")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


def places(*sizes: int) -> list[np.ndarray]:
    """Parts of one region."""
    arena, starts = cuda.allocate(1000), np.cumsum([0, *sizes])
    return [arena[start : start + size] for start, size in zip(starts[:-1], sizes, strict=True)]


def test_inputs_are_sent_beside_the_work(script: Script) -> None:
    sending = cuda_program.Sending(places(100, 10))
    sending.fill([np.zeros(100), np.zeros(10)])
    sending.send()
    assert script.asked == [
        "host waits for a",  # until the copy before has left the pinned memory
        "copies waits for b",  # until the run before has taken what is there
        "192 bytes, host to device 1000, in copies",
        "record a in copies",
        "work waits for a",
        "100 bytes, device 1000 to device 2000, in work",
        "10 bytes, device 1128 to device 2100, in work",
        "record b in work",
    ]


def test_outputs_are_waited_for_by_who_reads_them(script: Script) -> None:
    receiving = cuda_program.Receiving([*places(100), np.full(2, 7.0)])
    receiving.ask()
    assert script.asked == ["100 bytes, device 1000 to host, in work", "record a in work"]
    receiving.wait()
    assert script.asked[2:] == ["host waits for a"]
    np.testing.assert_array_equal(receiving.arrays[1], [7.0, 7.0])  # a constant


def test_memory_of_outputs_is_used_again(script: Script) -> None:
    receiving, free = cuda_program.Receiving(places(100)), list[Any]()
    read, dropped = cuda.Received(receiving, free), cuda.Received(receiving, free)
    read.arrays()
    assert free == []
    read.release()
    assert free == [receiving]
    del read, dropped  # nobody has asked for the other's outputs
    gc.collect()
    assert free == [receiving, receiving]


def test_small_variables_go_through_a_ring(script: Script) -> None:
    ring, part = cuda_program.Ring(), cuda_program.Ring.PART
    for size in (part // 2, part // 2, part // 2, 8, part):
        ring.send(np.ones(size, np.uint8), 5)
    copies = [line for line in script.asked if "bytes" in line]
    assert len(copies) == 5
    waits = [line for line in script.asked if "bytes" not in line]
    assert waits == ["record a in work", "host waits for b", "record b in work", "host waits for c"]
    for _ in range(3 * ring.PARTS):  # around: no part is written to while a copy from it may be going on
        ring.send(np.ones(part - 100, np.uint8), 5)
    waits = [line for line in script.asked if "bytes" not in line]
    assert waits[4:12:2] == [f"record {x} in work" for x in "cdab"]
    assert waits[5:12:2] == [f"host waits for {x}" for x in "dabc"]


def test_threads_enter_the_device_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    entered: list[int] = []
    context = SimpleNamespace(current_context=lambda: entered.append(threading.get_ident()))
    monkeypatch.setattr(cuda_program, "target", context)
    monkeypatch.setattr(cuda_program, "SIMULATED", False)
    monkeypatch.setattr(cuda_program, "_thread", threading.local())
    for _ in range(2):
        cuda_program.enter()
    other = threading.Thread(target=cuda_program.enter)
    other.start()
    other.join()
    assert len(entered) == 2


# --- training --------------------------------------------------------------------------------------------------------


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """When runs are started, and when somebody waits for their results."""
    noted: list[str] = []
    start, arrays = Plan.start, cuda.Received.arrays

    def noting(name: str, method: Any) -> Any:
        def call(*args: Any) -> Any:
            noted.append(name)
            return method(*args)

        return call

    monkeypatch.setattr(Plan, "start", noting("start", start))
    monkeypatch.setattr(cuda.Received, "arrays", noting("read", arrays))
    yield noted


def fitted(x: np.ndarray, epochs: int = 1, callbacks: Any = None) -> tuple[list[float], list[np.ndarray]]:
    """Losses of epochs and weights of a small network that starts with pictures of bytes."""
    fastcnn.config.set_random_seed(3)
    model = fastcnn.Sequential(
        [fastcnn.Input((2, 2, 1)), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(2)]
    )
    model.compile(fastcnn.optimizers.SGD(0.1, momentum=0.9), "mse", metrics=["mae"])
    y = np.arange(len(x) * 2).reshape(len(x), 2) % 3
    with compile_progress(False):
        history = model.fit(x, y, batch_size=2, epochs=epochs, verbose=0, shuffle=False, callbacks=callbacks)
    return history.history["loss"] + history.history["mae"], model.get_weights()


PICTURES = np.random.default_rng(0).integers(0, 256, (9, 2, 2, 1), np.uint8)


def test_steps_are_started_before_earlier_ones_are_read(on_cuda: None, notes: list[str]) -> None:
    fitted(PICTURES)
    assert notes == ["start"] * 3 + ["read", "start", "read"] + ["start"] + ["read"] * 3


def test_who_looks_at_a_batch_sees_it(on_cuda: None, notes: list[str]) -> None:
    class Looking(Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            notes.append(f"seen {batch}")

    fitted(PICTURES, callbacks=[Looking()])
    assert notes == [note for i in range(5) for note in ("start", "read", f"seen {i}")]


def test_results_are_those_of_waiting(on_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = fitted(PICTURES, 2)
    monkeypatch.setattr(cuda, "AHEAD", 0)
    waiting = fitted(PICTURES, 2)
    assert ahead[0] == waiting[0]
    for a, b in zip(ahead[1], waiting[1], strict=True):
        np.testing.assert_array_equal(a, b)


def test_bytes_stay_bytes_until_they_are_there(on_cuda: None) -> None:
    model = fastcnn.Sequential([fastcnn.Input((2, 2, 1)), layers.Rescaling(1 / 255), layers.Flatten()])
    found = model.predict_on_batch(PICTURES)
    plan = model._step("predict")._latest[1]
    assert [x.dtype for x in plan.input_arrays] == [np.uint8]
    np.testing.assert_array_equal(found, model.predict_on_batch(PICTURES.astype(np.float32)))
    (losses, weights), (others, other_weights) = fitted(PICTURES), fitted(PICTURES.astype(np.float32))
    assert losses == others
    for a, b in zip(weights, other_weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_evaluation_and_single_batches(on_cuda: None) -> None:
    model = fastcnn.Sequential([fastcnn.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse", metrics=["mae"])
    x, y = np.ones((5, 3), np.float32), np.zeros((5, 2), np.float32)
    with compile_progress(False):
        whole = model.evaluate(x, y, batch_size=2, verbose=0)
        np.testing.assert_allclose(whole, model.test_on_batch(x, y), rtol=1e-6)
        first = model.train_on_batch(x, y)
        np.testing.assert_allclose(first, whole, rtol=1e-6)
        assert model.train_on_batch(x, y)[0] < first[0]
