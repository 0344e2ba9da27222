"""The benchmarks' own machinery: what is timed, and what it is compared with."""

import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastcnn_kernels import team

from bench import ceilings, networks, profile, report, suppression
from bench.measure import Meter
from bench.versus import structure, worker
from fastcnn import config, ops


class Untimed:
    """Stands for pytest-benchmark's fixture where benchmarks are disabled."""

    enabled = False

    def __init__(self) -> None:
        self.extra_info: dict[str, Any] = {}
        self.runs = 0

    def __call__(self, run: Callable[[], object]) -> None:
        self.runs += 1
        run()


@pytest.fixture
def benchmarked() -> Untimed:
    return Untimed()


@pytest.fixture
def meter(benchmarked: Untimed) -> Meter:
    return Meter(benchmarked, "test", [])


def test_forward(meter: Meter, benchmarked: Untimed) -> None:
    meter.forward(ops.matmul, (4, 3), (3, 5))
    assert benchmarked.runs == 1
    assert benchmarked.extra_info["kernels"] == "gemm"
    assert benchmarked.extra_info["GFLOP"] == 2 * 4 * 3 * 5 / 1e9
    assert benchmarked.extra_info["MB"] == 4 * (4 * 3 + 3 * 5 + 4 * 5) / 1e6
    assert benchmarked.extra_info["threads"] == team.num_threads()


def test_backward_leaves_the_forward_out(meter: Meter, benchmarked: Untimed) -> None:
    meter.backward(lambda x: ops.max_pool(x, 2), (2, 4, 4, 3))
    assert benchmarked.extra_info["kernels"] == "max_pool_backward"


def test_nan_is_no_benchmark(meter: Meter) -> None:
    with pytest.raises(AssertionError):
        meter.forward(ops.log, -np.ones(4, np.float32))


def test_ceilings() -> None:
    before = team.num_threads()
    assert ceilings.multiply_add_rate(2, seconds=0.001, burst=1) > 0
    assert ceilings.copy_rate(1, 2**16, seconds=0.001) > 0
    assert team.num_threads() == before


def test_report() -> None:
    machine = ceilings.Ceilings(2, 100.0, 10.0)
    near = report.Row("near", "gemm", 0.5, 1.0, seconds=0.01, median=0.01, ceilings=machine)
    far = near._replace(name="far", gflop=0.1)
    assert near.info()["of FMA ceiling"] == pytest.approx(0.5)
    assert near.info()["of bandwidth ceiling"] == pytest.approx(0.01)
    assert [row.is_far for row in (near, far)] == [False, True]
    assert report.plain_table([near, far])[2].startswith("far")
    assert "| near |" in report.markdown([near, far], "time.perf_counter")


def test_networks() -> None:
    """LeNet-5's weights are counted in every textbook; the rest as described: shapes in and out."""
    assert networks.lenet5().count_params() == 61_706
    for network in networks.NETWORKS.values():
        model = network.make()
        assert model.input_shape == (None, *network.image)
        assert model.output_shape == ((None, 10) if network.classifies else (None, 10, 10, 16))


@pytest.mark.parametrize("options", [["--batch", "2"], ["--batch", "1", "--infer"]])
def test_profile_names_every_operation(options: list[str], monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["profile", "LeNet-5", *options])
    profile.main()
    shown = capsys.readouterr().out
    assert "conv2d" in shown and "MFLOP" in shown and "images/s" in shown and "of FMA" in shown


def test_networks_as_steps() -> None:
    """Every step reads the input or earlier steps; additions read two."""
    for network in networks.NETWORKS.values():
        steps = structure.steps_of(network.make())
        for i, step in enumerate(steps):
            assert len(step.sources) == (2 if step.kind == "Add" else 1)
            assert all(-1 <= source < i for source in step.sources)


@pytest.mark.peer
@pytest.mark.parametrize("name", networks.NETWORKS)
def test_peers_compute_the_same(name: str) -> None:
    """Losses of some steps, and outputs, from the same weights."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    config.set_precision("strict")
    try:
        for training in (True, False):
            results = []
            for framework, mode in (("fastcnn", "fastcnn"), ("torch", "channels_last")):
                peer = worker.make(framework, mode, 2)
                peer.build(*worker.data(name, 4), training)
                peer.made_comparable()
                results.append([peer.step() for _ in range(3)] if training else peer.predict())
            np.testing.assert_allclose(*results, rtol=1e-3, atol=1e-4)
    finally:
        config.set_precision("fast")


def test_a_peer_is_missing_or_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is here and fails must not pass for one that is not."""
    assert not suppression.missing("NumPy")
    suppression.missing.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no compiler" in suppression.missing("C++")
    suppression.missing.cache_clear()
    monkeypatch.setenv("CXX", "false")  # a compiler that fails
    assert not suppression.missing("C++")
    suppression.compiled.cache_clear()
    with pytest.raises(subprocess.CalledProcessError):
        suppression.compiled()
    suppression.missing.cache_clear()
