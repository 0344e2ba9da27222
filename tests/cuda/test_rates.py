"""Rates of kernels, and what a device can do at most: numbers come out, of what was done."""

from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip(
    "numba_cuda", reason='numba-cuda is not installed; pip install "fastcnn[cuda13]" brings it'
)

import fastcnn
from bench import cuda_ceilings, measure, networks, profile
from bench.ceilings import Ceilings
from bench.versus.fastcnn_peer import FastcnnPeer
from fastcnn import config, layers


@pytest.fixture(autouse=True)
def same_settings() -> Iterator[None]:
    yield
    config.set_precision("fast")
    config.set_dtype_policy("float32")


def tiny() -> fastcnn.Model:
    found = [
        fastcnn.Input((6, 6, 1)),
        layers.Conv2D(4, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(10),
    ]
    return fastcnn.Sequential(found, name="tiny")


def test_multiply_adds(device: None) -> None:
    """(s x + x) again and again, of eight s."""
    x = np.linspace(-0.5, 0.5, 2 * cuda_ceilings.BLOCK, dtype=np.float32)
    y, expected, rounds = np.empty_like(x), np.zeros(x.size), 2
    for j in range(cuda_ceilings.CHAINS):
        total = x.astype("f8") * j
        for _ in range(rounds * cuda_ceilings.STEPS):
            total = total * x + x
        expected = expected + total
    cuda_ceilings.multiply_add(x, y, rounds)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_multiply_adds_of_tensor_cores(device: None) -> None:
    """Of equal numbers, 8 x x is added in every round."""
    x, y = np.full(2 * cuda_ceilings.BLOCK, 0.5, np.float32), np.empty(2 * cuda_ceilings.BLOCK, np.float32)
    cuda_ceilings.multiply_add_tf32(x, y, 3)
    np.testing.assert_array_equal(y, 0.5 + 4 * cuda_ceilings.CHAINS * 3 * 8 * 0.25)


def test_ceilings(device: None) -> None:
    found = cuda_ceilings.measured(blocks=2, rounds=1, nbytes=1 << 12)
    assert min(found.gflops, found.gbytes, found.tf32) > 0


@pytest.mark.parametrize("mode", ["fastcnn", "fastcnn_tf32"])
def test_profile(
    mode: str, on_cuda: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Every kernel has its line; those of tensor cores are compared with what these can do."""
    monkeypatch.setitem(networks.NETWORKS, "LeNet-5", networks.Network(tiny, (6, 6, 1), True))
    monkeypatch.setattr(cuda_ceilings, "ceilings", lambda: Ceilings(1, 2e3, 1e3, 1e4))
    monkeypatch.setattr(measure, "RUNS", 1)
    monkeypatch.setattr(
        "sys.argv", ["profile", "LeNet-5", "--batch", "2", "--device", "cuda", "--mode", mode]
    )
    profile.main()
    shown = capsys.readouterr().out
    kernel = "conv_forward_tf32_" if mode == "fastcnn_tf32" else "conv_forward_"
    (line, _) = [line for line in shown.splitlines() if kernel in line]
    assert ("of TF32" if mode == "fastcnn_tf32" else "of FMA") in line and "GB/s" in line and "adam" in shown
    assert "ceilings 2000 GFLOP/s, 10000 in TF32, 1000.0 GB/s" in shown


def test_peer_on_tensor_cores(on_cuda: None) -> None:
    """Its steps differ from those in float32 by no more than TF32 does."""
    rng, losses = np.random.default_rng(0), []
    x, y = rng.normal(size=(2, 6, 6, 1)).astype(np.float32), rng.integers(0, 10, 2)
    for mode in ("fastcnn", "fastcnn_tf32"):
        fastcnn.config.set_random_seed(1)
        peer = FastcnnPeer(mode, 1, "cuda")
        peer.build(tiny(), x, y, True)
        losses.append([peer.step() for _ in range(2)])
    assert losses[0] != losses[1]
    np.testing.assert_allclose(*losses, rtol=1e-2)
