"""Whole networks and float64 gradients on a device: what would take hours in the simulator."""

import importlib.util
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from op_harness import check_gradient

import fastcnn
from bench.networks import NETWORKS

if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("the simulator is too slow for these", allow_module_level=True)

spec = importlib.util.spec_from_file_location("op_results", Path(__file__).with_name("op_results.py"))
assert spec is not None and spec.loader is not None
op_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(op_results)


class Run(NamedTuple):
    """Images of a batch, and steps: the second step is captured as a graph, later ones replay it."""

    batch: int
    steps: int


@pytest.fixture
def run(device: None, pytestconfig: pytest.Config) -> Run:
    """A short one for the machine for PTX, which takes minutes for a step all the same."""
    return Run(2, 3) if pytestconfig.getoption("--ptx", False) else Run(16, 6)


def trained(name: str, device: str, run: Run) -> tuple[list[float], np.ndarray]:
    """The losses of some steps with a small rate, and predictions."""
    fastcnn.config.set_random_seed(2)
    model = NETWORKS[name].make()
    loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(fastcnn.optimizers.Adam(1e-5), loss, device=device)
    rng = np.random.default_rng(4)
    x = rng.normal(size=(run.batch, *NETWORKS[name].image)).astype(np.float32)
    y = rng.integers(0, 10, run.batch)
    losses = [float(model.train_on_batch(x, y)) for _ in range(run.steps)]
    return losses, model.predict_on_batch(x)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [name for name, network in NETWORKS.items() if network.classifies])
def test_network_trains_as_on_the_cpu(name: str, run: Run) -> None:
    """Each step adds roundings: Adam's first steps are as large for tiny gradients, whose signs those may turn.

    They move losses by up to 1e-4 of how far training has brought them (ResNet-18, two images; algorithms of the CPU
    differ as much). A layer that does not learn moves them by 4e-3 or more.
    """
    fastcnn.config.set_precision("strict")
    try:
        (losses, predictions), (expected, expected_predictions) = (
            trained(name, "cuda", run),
            trained(name, "cpu", run),
        )
    finally:
        fastcnn.config.set_precision("fast")
    np.testing.assert_allclose(losses[0], expected[0], rtol=1e-5)
    np.testing.assert_allclose(losses, expected, rtol=0, atol=1e-3 * np.ptp(expected))
    scale = np.abs(expected_predictions).max()
    np.testing.assert_allclose(predictions, expected_predictions, rtol=0, atol=1e-3 * scale)


@pytest.mark.timeout(3600)
def test_steps_repeat_bit_for_bit(run: Run) -> None:
    first, second = trained("ResNet-20", "cuda", run), trained("ResNet-20", "cuda", run)
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("name", [name for name in op_results.CASES if name.endswith("-nothing equal")])
def test_gradients_in_float64(name: str, on_cuda: None) -> None:
    check_gradient(*op_results.CASES[name])
