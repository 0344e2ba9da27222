"""python -m bench.suppression: how long suppression takes beside others who follow the same greedy rule, alternating.

The others: torchvision's algorithm in C++ (`suppression.cpp`, compiled here where there is a compiler: $CXX, else c++),
torchvision itself, and a loop in PyTorch and in NumPy, whatever of these is installed. All get float32 boxes and scores
that are not sorted, as what they are made for (pointers, tensors, arrays), and give the numbers of the boxes that stay.
A ratio is taken within a round, in which all take turns and of each the best time counts; what is printed is the median
of the rounds, the least and the most.
"""

import argparse
import ctypes
import functools
import importlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import alternating
from bench.report import cpu_model
from fastcnn import ops

THRESHOLD = 0.5
SIZES = (10, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
BOXES = 20_000  # about so many at once
SLOW = 10_000  # boxes; more would take NumPy and PyTorch, and C++ where all stay, many seconds
Run = Callable[[], np.ndarray]
Peer = Callable[[np.ndarray, np.ndarray], Run]  # (boxes, scores) -> what is timed


# --- what is suppressed --------------------------------------------------------------------------------------


def crowded(n: int, seed: int = 0) -> np.ndarray:
    """Boxes of 10 to 60 pixels in an image of 300 x 300."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 300, (n, 2))
    return np.concatenate([corner, corner + rng.uniform(10, 60, (n, 2))], 1).astype(np.float32)


def apart(n: int, seed: int = 0) -> np.ndarray:
    """Boxes beside each other: all stay."""
    side = int(np.ceil(np.sqrt(n)))
    place = np.stack(np.divmod(np.arange(n), side), 1) * 10.0
    return np.concatenate([place, place + 9], 1).astype(np.float32)


def one_place(n: int, seed: int = 0) -> np.ndarray:
    """Boxes that all overlap the best one: it alone stays."""
    corner = np.random.default_rng(seed).uniform(0, 4, (n, 2))
    return np.concatenate([corner, corner + 60], 1).astype(np.float32)


SCENES = {"crowded": crowded, "apart": apart, "one place": one_place}


def scores_of(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(n).astype(np.float32) / np.float32(n)


# --- who suppresses ------------------------------------------------------------------------------------------


def fastcnn(boxes: np.ndarray, scores: np.ndarray) -> Run:
    """`ops.nms`, as users call it."""
    return lambda: ops.nms(boxes, scores, None, THRESHOLD)


def of_numpy(boxes: np.ndarray, scores: np.ndarray) -> Run:
    """The best is compared with all that are left, again and again."""

    def run() -> np.ndarray:
        left, kept = np.argsort(-scores, kind="stable"), []
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        while len(left):
            best, left = left[0], left[1:]
            kept.append(best)
            first = np.maximum(boxes[best, :2], boxes[left, :2])
            last = np.minimum(boxes[best, 2:], boxes[left, 2:])
            inter = np.maximum(last - first, 0).prod(1)
            left = left[inter <= np.float32(THRESHOLD) * (area[best] + area[left] - inter)]
        return np.array(kept)

    return run


def of_torch(given: np.ndarray, given_scores: np.ndarray) -> Run:
    """As `of_numpy`, with PyTorch."""
    import torch

    boxes, scores = torch.from_numpy(given), torch.from_numpy(given_scores)

    def run() -> np.ndarray:
        left, kept = scores.argsort(descending=True, stable=True), []
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        while len(left):
            best, left = left[0], left[1:]
            kept.append(best)
            first = torch.maximum(boxes[best, :2], boxes[left, :2])
            last = torch.minimum(boxes[best, 2:], boxes[left, 2:])
            inter = (last - first).clamp(min=0).prod(1)
            left = left[inter <= THRESHOLD * (area[best] + area[left] - inter)]
        return np.asarray(torch.stack(kept).numpy())

    return run


def of_torchvision(boxes: np.ndarray, scores: np.ndarray) -> Run:
    """torchvision's own, in its C++."""
    import torch
    from torchvision.ops import nms

    given = torch.from_numpy(boxes), torch.from_numpy(scores), THRESHOLD
    return lambda: np.asarray(nms(*given).numpy())


def compiler() -> str | None:
    """Where the C++ compiler is."""
    return shutil.which(os.environ.get("CXX", "c++"))


@functools.cache
def compiled() -> Any:
    """The function of `suppression.cpp`, compiled for this processor."""
    with tempfile.TemporaryDirectory() as folder:
        file, source = Path(folder) / "suppression.so", Path(__file__).with_suffix(".cpp")
        options = ["-std=c++17", "-O3", "-march=native", "-shared", "-fPIC"]
        subprocess.run([str(compiler()), *options, str(source), "-o", str(file)], check=True)
        suppress = ctypes.CDLL(str(file)).suppress
    suppress.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_void_p]
    suppress.restype = ctypes.c_int64
    return suppress


def of_compiler(boxes: np.ndarray, scores: np.ndarray) -> Run:
    """torchvision's algorithm, compiled here."""
    suppress, kept = compiled(), np.empty(len(scores), np.int64)
    given = boxes.ctypes.data, scores.ctypes.data, len(scores), THRESHOLD, kept.ctypes.data

    def run(arrays: Any = (boxes, scores)) -> np.ndarray:  # which have to live as long as their addresses
        return kept[: suppress(*given)]

    return run


PEERS: dict[str, Peer] = {
    "C++": of_compiler, "torchvision": of_torchvision, "PyTorch": of_torch, "NumPy": of_numpy,
}  # fmt: skip


@functools.cache
def missing(name: str) -> str:
    """What a peer lacks here; empty where it lacks nothing. One that is here and fails is an error, not missing."""
    if name == "C++":
        return "" if compiler() else "C++: no compiler; install one, or name it in the variable CXX"
    try:
        importlib.import_module({"PyTorch": "torch"}.get(name, name.lower()))
    except (ImportError, RuntimeError) as error:  # the latter from a torchvision for another PyTorch
        return f"{name}: cannot be imported ({error})"
    return ""


def peers() -> dict[str, Peer]:
    """Those who are here."""
    return {name: peer for name, peer in PEERS.items() if not missing(name)}


# --- the table -----------------------------------------------------------------------------------------------


def row(scene: str, n: int, others: dict[str, Peer], rounds: int, budget_s: float) -> list[str]:
    """Cells: boxes, how many stay, milliseconds, and how many times as long each other takes.

    Few boxes are those of many images: processors remember by what branches one set has been sorted.
    """
    images = [(SCENES[scene](n, seed), scores_of(n, seed)) for seed in range(max(1, BOXES // n))]
    kept = fastcnn(*images[0])()
    everyone: dict[str, Peer] = {"fastcnn": fastcnn}
    for name, peer in others.items():
        if n <= SLOW or (name in ("C++", "torchvision") and (scene != "apart" or n <= 3 * SLOW)):
            everyone[name] = peer
            np.testing.assert_array_equal(peer(*images[0])(), kept, f"{name}: {scene}, {n}")
    runs = {name: one_after_the_other([peer(*image) for image in images]) for name, peer in everyone.items()}
    found = [alternating(runs, budget_s) for _ in range(rounds)]
    milliseconds = 1000 * np.median([times["fastcnn"] for times in found]) / len(images)
    cells = [f"{n:,}", f"{len(kept):,}", f"{milliseconds:.2g}"]
    for name in others:
        ratios = sorted(times[name] / times["fastcnn"] for times in found if name in times)
        cells.append(f"{np.median(ratios):.1f} ({ratios[0]:.1f}..{ratios[-1]:.1f})" if ratios else "")
    return cells


def one_after_the_other(runs: list[Run]) -> Callable[[], None]:
    def run() -> None:
        for each in runs:
            each()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each in a round")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--scenes", nargs="*", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--only", nargs="*", help="whom to compare with")
    arguments = parser.parse_args()
    others = {k: v for k, v in peers().items() if arguments.only is None or k in arguments.only}
    print(f"{cpu_model()}; against: {', '.join(others)}")
    for scene in arguments.scenes:
        print(
            f"\n| {scene}: boxes | kept | `nms`, ms | "
            + " | ".join(f"against {name}" for name in others)
            + " |"
        )
        print("|" + "---|" * (3 + len(others)))
        for n in arguments.sizes:
            print(
                "| " + " | ".join(row(scene, n, others, arguments.rounds, arguments.seconds)) + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
