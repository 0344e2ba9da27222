"""The algorithm that is fastest here, tried once and remembered."""

from pathlib import Path

import numpy as np
import pytest

from fastcnn import config, ops
from fastcnn.backend import cpu
from fastcnn.plan import Function, algorithms, measured
from fastcnn.tensor import TensorSpec

SPECS = [TensorSpec((2, 9, 9, 20)), TensorSpec((3, 3, 20, 24))]


@pytest.fixture(autouse=True)
def forgetful(monkeypatch: pytest.MonkeyPatch):
    """As in a process that has not measured anything yet."""
    monkeypatch.setattr(measured, "_fastest", {})
    config.set_convolution_algorithm("measured")
    yield
    config.set_convolution_algorithm("auto")


def chosen(algorithm: str = "auto") -> str:
    """What computes a convolution."""
    plan, _ = Function(lambda x, kernel: ops.conv2d(x, kernel, padding="same", algorithm=algorithm)).plan(
        SPECS
    )
    return plan.nodes[-1].operation.name


def test_the_fastest_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    times = {"WinogradConvF2": 0.1}
    monkeypatch.setattr(measured, "recall", lambda name: {})
    monkeypatch.setattr(measured, "remember", lambda name, facts: None)
    monkeypatch.setattr(measured, "seconds", lambda op, *about: times.get(op.name, 0.2))
    assert chosen() == "WinogradConvF2"


def test_nothing_is_tried_twice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTCNN_CACHE_DIR", str(tmp_path))
    first = chosen()
    assert list(tmp_path.glob("*/fastest-*.json"))
    monkeypatch.setattr(measured, "_fastest", {})  # another process
    monkeypatch.setattr(measured, "seconds", lambda *about: pytest.fail("it was measured before"))
    assert chosen() == first


def test_a_damaged_file_counts_as_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FASTCNN_CACHE_DIR", str(tmp_path))
    chosen()
    (file,) = tmp_path.glob("*/fastest-*.json")
    file.write_bytes(b"\xff{")
    monkeypatch.setattr(measured, "_fastest", {})
    assert chosen()
    assert b"fastest" not in file.read_bytes() and file.read_bytes().startswith(b"{")


def test_all_that_are_tried_compute_the_same() -> None:
    """Trying runs them on arrays of its own; what is chosen then computes the right thing."""
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=spec.dims).astype("float32") for spec in SPECS)
    found = ops.conv2d(x, kernel, padding="same")
    config.set_convolution_algorithm("implicit")
    np.testing.assert_allclose(found, ops.conv2d(x, kernel, padding="same"), rtol=0, atol=1e-4)


def test_strict_tries_no_winograd(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    monkeypatch.setattr(measured, "seconds", lambda op, *about: tried.append(op.name) or 1.0)
    monkeypatch.setattr(measured, "recall", lambda name: {})
    monkeypatch.setattr(measured, "remember", lambda name, facts: None)
    config.set_precision("strict")
    try:
        chosen()
    finally:
        config.set_precision("fast")
    assert tried and not any("Winograd" in name for name in tried)


def test_an_argument_wins() -> None:
    assert chosen("winograd2") == "WinogradConvF2"
    assert chosen("implicit") == "Conv"


def test_the_argument_holds_for_gradients() -> None:
    def gradients(x, kernel):
        y = ops.conv2d(x, kernel, padding="same", algorithm="winograd")
        from fastcnn.graph import gradients as differentiate

        return differentiate([ops.sum(y)], [x, kernel])

    plan, _ = Function(gradients).plan(SPECS)
    names = {node.operation.name for node in plan.nodes}
    assert {"WinogradConvInputGrad", "WinogradConvKernelGrad"} <= names


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ValueError, match="algorithm 'winogard' is not known"):
        chosen("winogard")


def test_time_is_positive() -> None:
    plan, _ = Function(lambda x, kernel: ops.conv2d(x, kernel)).plan(SPECS)
    node = plan.nodes[-1]
    assert measured.seconds(node.operation, node, True, cpu) > 0
    assert algorithms.choose(node, False, cpu).name
