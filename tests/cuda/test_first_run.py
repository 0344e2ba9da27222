"""What only a device can show: that the driver takes graphs and kept code, and that threads share a device."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("the simulator has no driver", allow_module_level=True)
pytest.importorskip(
    "numba_cuda", reason='numba-cuda is not installed; pip install "fastcnn[cuda13]" brings it'
)

from fastcnn_kernels import cuda_code, cuda_program
from fastcnn_kernels.elementwise_cuda import add

import fastcnn
from bench import cuda_resources
from fastcnn import layers, ops
from fastcnn.plan import Function
from fastcnn.plan.progress import compile_progress
from fastcnn.tensor import TensorSpec


def network() -> fastcnn.Model:
    """A small one with everything that updates join: a clipped norm, moving statistics, averages of weights."""
    fastcnn.config.set_random_seed(5)
    model = fastcnn.Sequential(
        [
            fastcnn.Input((8, 8, 4)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(8, 3, strides=2),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(3),
        ]
    )
    optimizer = fastcnn.optimizers.SGD(0.05, momentum=0.9, global_clipnorm=1.0, use_ema=True)
    model.compile(optimizer, fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


RNG = np.random.default_rng(0)
PICTURES, LABELS = RNG.integers(0, 256, (70, 8, 8, 4), np.uint8), RNG.integers(0, 3, 70)


def fitted(epochs: int = 3) -> tuple[list[float], list[np.ndarray]]:
    """Losses and weights; the last batch of an epoch is a smaller one, with a plan of its own."""
    model = network()
    with compile_progress(False):
        losses = model.fit(PICTURES, LABELS, batch_size=16, epochs=epochs, verbose=0).history["loss"]
    return losses, model.get_weights()


def test_every_kernel_loads_on_this_device(device: None) -> None:
    for launch in cuda_resources.launches("float32"):
        if cuda_resources.suits(launch, cuda_code.current_capability()):
            cuda_program.enter()
            cuda_code._function(launch)


def test_the_driver_takes_graphs(on_cuda: None) -> None:
    x = np.ones((4, 3), np.float32)
    function = Function(lambda x: ops.relu(ops.matmul(x, ops.transpose(x))))
    first = function(x)
    plan, _ = function.plan([TensorSpec(x.shape)])
    np.testing.assert_array_equal(function(x), first)
    assert plan.program._graph is not None, "captured programs are refused: each launch is made one by one"
    np.testing.assert_array_equal(function(2 * x), 4 * first)


def test_graphs_batches_ahead_and_bytes_change_nothing(
    on_cuda: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses, weights = fitted()
    monkeypatch.setattr(cuda_program, "USES_GRAPHS", False)
    monkeypatch.setattr(fastcnn.backend.get("cuda"), "AHEAD", 0)
    monkeypatch.setattr(fastcnn.backend.get("cuda"), "BYTES", False)
    others, other_weights = fitted()
    assert losses == others
    for a, b in zip(weights, other_weights, strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_is_that_of_the_cpu(on_cuda: None) -> None:
    fastcnn.config.set_precision("strict")
    try:
        losses, _ = fitted()
        fastcnn.set_device("cpu")
        expected, _ = fitted()
    finally:
        fastcnn.config.set_precision("fast")
    np.testing.assert_allclose(losses, expected, rtol=1e-3)


def test_threads_of_python_share_the_device(on_cuda: None) -> None:
    """Programs are captured by one thread while others launch theirs."""
    x, wrong = np.arange(1000, dtype=np.float32), list[object]()

    def work(k: int) -> None:
        try:
            function = Function(lambda x: ops.sqrt(x * float(k)) + float(k))
            for _ in range(20):
                np.testing.assert_allclose(function(x), np.sqrt(x * k) + k, rtol=1e-6)
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_second_process_finds_the_code(device: None, tmp_path: Path) -> None:
    program = (
        "import numpy as np\n"
        "from fastcnn_kernels import cuda_code, elementwise_cuda as e\n"
        "x = np.ones(3, np.float32)\n"
        "e.add(x, x, x)\n"
        "print(x.sum(), dict(cuda_code.counts))\n"
    )
    environment = {**os.environ, "FASTCNN_CACHE_DIR": str(tmp_path)}
    answers = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, env=environment
        ).stdout
        for _ in range(2)
    ]
    assert [answer.strip() for answer in answers] == ["6.0 {'compiled': 1}", "6.0 {'found': 1}"]


def test_large_arrays_and_memory_given_back(device: None) -> None:
    """Nothing is lost when a hundred programs with memory of their own have come and gone."""
    x = np.ones(1 << 22, np.float32)
    cuda_program.enter()
    for _ in range(3):
        add(x, x, y := np.empty_like(x))
        assert y[0] == y[-1] == 2.0
    fastcnn.set_device("cuda")
    try:
        with compile_progress(False):
            for k in range(100):
                assert Function(lambda x, k=k: ops.sum(x) * float(k))(x[:1000]) == 1000.0 * k
    finally:
        fastcnn.set_device("cpu")
