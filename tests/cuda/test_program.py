"""Memory that addresses stand for, and programs as CUDA graphs; the driver is played by a script."""

import gc
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip(
    "numba_cuda", reason='numba-cuda is not installed; pip install "fastcnn[cuda13]" brings it'
)

from fastcnn_kernels import cuda_program
from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.conv_cuda import conv_backward_weights, conv_forward
from fastcnn_kernels.cuda import THREADS, CudaKernel, Shape, flat
from fastcnn_kernels.depthwise_cuda import depthwise_forward
from fastcnn_kernels.elementwise_cuda import add, copy
from fastcnn_kernels.norm_cuda import moving_average_update
from fastcnn_kernels.optimizer_cuda import adam, scale_by, sgd, squared_norm

import fastcnn
from fastcnn import layers
from fastcnn.backend import cuda
from fastcnn.data import Batch
from fastcnn.models.step import Signature
from fastcnn.plan.progress import compile_progress
from fastcnn.tensor import TensorSpec


class Driver:
    """Notes what it is asked for, and answers that all went well, but for the calls in `failing`."""

    CUstream = staticmethod(int)
    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_RELAXED=2)

    def __init__(self, failing: tuple[str, ...] = ()):
        self.asked: list[str] = []
        self.failing = failing

    def __getattr__(self, name: str) -> Any:
        def answer(*args: Any) -> tuple:
            self.asked.append(name)
            return (1 if name in self.failing else 0, f"result of {name}")

        return answer


class Bench:
    """A program of two launches, of which every one is noted in `launched`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: tuple[str, ...] = ()):
        self.driver, self.launched = Driver(failing), []
        monkeypatch.setattr(cuda_program, "driver", lambda: self.driver)
        monkeypatch.setattr(cuda_program, "stream", lambda: SimpleNamespace(handle=5))
        monkeypatch.setattr(cuda_program, "enter", lambda: None)
        monkeypatch.setattr(cuda_program, "USES_GRAPHS", True)
        x = np.zeros(3, np.float32)
        self.program = cuda_program.Program([copy.bind(x, x), copy.bind(x[:0], x[:0]), add.bind(x, x, x)])
        names = [launch.kernel.__name__ for launch in self.program.launches]
        self.program._calls = [lambda name=name: self.launched.append(name) for name in names]


def test_second_run_is_captured_and_later_ones_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.program.run()
    assert bench.launched == ["copy", "add"]  # a launch of nothing is left out
    assert bench.driver.asked == []
    bench.program.run()
    assert bench.launched == ["copy", "add", "copy", "add"]  # into the graph
    assert bench.driver.asked == [
        "cuStreamBeginCapture",
        "cuStreamEndCapture",
        "cuGraphInstantiate",
        "cuGraphDestroy",
        "cuGraphLaunch",
    ]
    bench.program.run()
    assert len(bench.launched) == 4
    assert bench.driver.asked[5:] == ["cuGraphLaunch"]
    del bench.program
    gc.collect()
    assert bench.driver.asked[6:] == ["cuGraphExecDestroy"]


@pytest.mark.parametrize("failing", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate"])
def test_driver_without_graphs(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    bench = Bench(monkeypatch, (failing,))
    for _ in range(3):
        bench.program.run()
    assert "cuGraphLaunch" not in bench.driver.asked
    assert bench.launched[-2:] == ["copy", "add"]
    assert bench.driver.asked.count("cuStreamBeginCapture") == 1


def test_refused_launch_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, ("cuGraphLaunch",))
    bench.program.run()
    with pytest.raises(cuda_program.RefusedError):
        bench.program.run()


def test_nobody_else_tells_the_stream_anything_while_it_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.program.run()
    array, waiting, done = np.zeros(3, np.float32), threading.Event(), threading.Event()
    region = cuda_program.add_region(array)
    monkeypatch.setattr(cuda_program, "device_bytes", lambda nbytes: 0)
    monkeypatch.setattr(cuda_program, "address_of", lambda memory: 0)
    monkeypatch.setattr(cuda_program, "copy", lambda *args: bench.launched.append("copy of another"))
    monkeypatch.setattr(cuda_program, "wait", done.set)

    def work() -> None:
        waiting.set()
        cuda_program.download(region, array)

    def launch() -> None:
        bench.launched.append("captured")
        if not waiting.is_set():
            threading.Thread(target=work, daemon=True).start()
            waiting.wait()
            time.sleep(0.05)

    bench.program._calls = [launch, launch]
    bench.launched.clear()
    bench.program.run()
    assert done.wait(10)
    assert bench.launched == ["captured", "captured", "copy of another"]


def test_empty_program(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda_program.Program([]).run()


def test_regions_are_found_by_address() -> None:
    first, second = cuda.allocate(1000), cuda.allocate(500)
    region = cuda_program.region_of(first)
    assert region is not None
    assert region is not cuda_program.region_of(second)
    for part in (first[:1], first[999:], first[100:200].view(np.float32).reshape(5, 5)[2]):
        assert cuda_program.region_of(part) is region
    assert cuda_program.region_of(np.zeros(10)) is None
    gc.collect()  # what earlier tests have left behind
    count = len(cuda_program._starts)
    del first, part
    gc.collect()
    assert len(cuda_program._starts) == count - 1


def test_memory_is_taken_at_first_use() -> None:
    array = cuda.allocate(1 << 40)  # more than there is
    region = cuda_program.region_of(array)
    assert region is not None
    assert region._memory is None


def test_wrong_arguments() -> None:
    x = np.zeros(3, np.float32)
    with pytest.raises(TypeError, match="takes x1, x2, y; got 1 arguments"):
        add.bind(x)
    with pytest.raises(TypeError, match="x2 is of type str"):
        add.bind(x, "x", x)


def test_a_grid_is_no_larger_than_a_device_takes() -> None:
    kernel = cuda_program.CudaLaunch  # the type of what bind makes
    assert isinstance(copy.bind(np.zeros(3), np.zeros(3)), kernel)
    assert flat(np.zeros(10**9, np.uint8)).total * THREADS >= 10**9  # there are 2^31 - 1 along the first axis
    tall = type(copy)(copy.function, lambda x, y: Shape((1, 70000, 1), 32), None, False)
    with pytest.raises(ValueError, match="larger than a device takes"):
        tall.bind(np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("kernel", [conv_forward, conv_backward_weights, depthwise_forward], ids=repr)
def test_a_batch_has_no_more_pixels_than_a_kernel_counts(kernel: CudaKernel) -> None:
    """Some counters have 32 bits. Here the geometry is so large, arrays need not be."""
    g = ConvGeometry(
        n=1 << 17, h=128, w=128, c=4, kh=1, kw=1, f=4, oh=128, ow=128, sh=1, sw=1, dh=1, dw=1, pt=0, pl=0, groups=1
    )  # fmt: skip
    arrays = [np.zeros(4, np.float32)] * (len(kernel.parameters) - 1 - ("lower" in kernel.parameters))
    given = (*arrays, 0.0, g) if "lower" in kernel.parameters else (*arrays, g)
    with pytest.raises(ValueError, match="cut the batch"):
        kernel.bind(*given)
    kernel.bind(*given[:-1], g._replace(n=1))


def test_launches_of_one_optimizer_are_one() -> None:
    hyper = np.zeros(8)
    first, second = ([np.zeros(size, np.float32) for _ in range(4)] for size in (3, 10_000))
    (one,) = cuda_program.joined([adam.bind(*first, hyper), adam.bind(*second, hyper)])
    assert one.shape.total == sum(adam.bind(*arrays, hyper).shape.total for arrays in (first, second))
    assert [id(x) for x in one.args] == [id(x) for x in (*first, *second, hyper)]


def test_launches_that_stay_apart() -> None:
    hyper, other = np.zeros(8), np.zeros(8)
    w, g, v, h = (np.zeros(3, np.float32) for _ in range(4))
    double = np.zeros(3), np.zeros(3)
    for following in (
        sgd.bind(v, h, other),  # other rates
        sgd.bind(w, h, hyper),  # the same variable again
        sgd.bind(v, w, hyper),  # reads what the first writes
        sgd.bind(*double, hyper),
        add.bind(v, h, h),
    ):
        assert len(cuda_program.joined([sgd.bind(w, g, hyper), following])) == 2


def test_a_step_of_training_has_one_launch_for_all_variables() -> None:
    model = fastcnn.Sequential([fastcnn.Input((5,)), layers.Dense(4), layers.Dense(3), layers.Dense(2)])
    model.compile(fastcnn.optimizers.AdamW(0.01, weight_decay=0.1, use_ema=True), "mse")
    x, y = np.zeros((3, 5), np.float32), np.zeros((3, 2), np.float32)
    with compile_progress(False):
        function = model._step("train")._function(Signature.of(Batch(x, y)))
        plan, _ = function.make([TensorSpec(array.shape) for array in (x, y)], "cuda")
    names = [launch.kernel.__name__ for launch in plan.program.launches]
    assert [names.count(name) for name in ("decay_weights", "adam", "moving_average")] == [1, 1, 1]
    assert names[-3:] == ["decay_weights", "adam", "moving_average"]


def test_norms_and_factors_are_one_launch_each() -> None:
    gradients = [np.zeros(size, np.float32) for size in (3, 10_000, 5)]
    partial, factor = np.zeros(1 + 3 + 1), np.zeros(1)
    starts = [0, 1, 4, 5]
    norms = [
        squared_norm.bind(g, partial[i:j]) for g, i, j in zip(gradients, starts[:-1], starts[1:], strict=True)
    ]
    (one,) = cuda_program.joined(norms)
    assert one.shape.total == sum(launch.shape.total for launch in norms)
    assert one.args[-1].ctypes.data == partial.ctypes.data
    assert one.args[-1].shape == partial.shape
    assert len(cuda_program.joined([norms[0], norms[2]])) == 2  # another writes between them
    scaled = [scale_by.bind(g, factor, g) for g in gradients]
    assert [id(x) for x in scaled[0].args] == [id(x) for x in (gradients[0], gradients[0], factor)]
    assert len(cuda_program.joined(scaled)) == 1
    assert len(cuda_program.joined([scaled[0], scale_by.bind(gradients[1], np.zeros(1), gradients[1])])) == 2


def test_moving_statistics_of_one_momentum_are_one_launch() -> None:
    value, moving = ([np.zeros(size, np.float32) for size in (4, 8)] for _ in range(2))

    def of(k: int, momentum: float) -> cuda_program.CudaLaunch:
        return moving_average_update.bind(value[k], moving[k], momentum)

    assert len(cuda_program.joined([of(0, 0.9), of(1, 0.9)])) == 1
    assert len(cuda_program.joined([of(0, 0.9), of(1, 0.99)])) == 2
    assert len(cuda_program.joined([of(0, 0.9), of(0, 0.9)])) == 2


def test_joined_launches_compute_the_same(device: None) -> None:
    """By a program on regions of the device, as plans run."""
    rng = np.random.default_rng(1)
    sizes, momentum = (3, 9000, 17), 0.75
    values, averages = ([rng.normal(size=n).astype(np.float32) for n in sizes] for _ in range(2))
    homes = [*values, *averages, factor := np.array([0.5]), partial := np.zeros(5)]
    regions = {id(x): cuda_program.add_region(x) for x in homes}
    for x in homes:
        cuda_program.upload(x, regions[id(x)])
    launches = [moving_average_update.bind(v, a, momentum) for v, a in zip(values, averages, strict=True)]
    starts = [0, 1, 4, 5]
    launches += [
        squared_norm.bind(v, partial[i:j]) for v, i, j in zip(values, starts[:-1], starts[1:], strict=True)
    ]
    launches += [scale_by.bind(v, factor, v) for v in values]
    program = cuda_program.Program(launches)
    assert len(program.launches) == 3
    expected = [
        momentum * a + (1 - momentum) * v.astype(np.float64) for v, a in zip(values, averages, strict=True)
    ]
    squares, halves = sum((v.astype(np.float64) ** 2).sum() for v in values), [v / 2 for v in values]
    program.run()
    for x in homes:
        cuda_program.download(regions[id(x)], x)
    for average, value in zip(averages, expected, strict=True):
        np.testing.assert_allclose(
            average, value, rtol=1e-6, atol=1e-7
        )  # sums near 0 keep errors of their terms
    np.testing.assert_allclose(partial.sum(), squares, rtol=1e-12)
    for value, half in zip(values, halves, strict=True):
        np.testing.assert_array_equal(value, half)
