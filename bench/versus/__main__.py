"""python -m bench.versus: images a second of fastcnn and of its peers, alternating, with ratios and their spread."""

import argparse
import functools
import importlib.metadata
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import geometric_mean, median
from typing import Any, NamedTuple

from tqdm import tqdm

import fastcnn
from bench.networks import NETWORKS
from bench.report import cpu_model
from fastcnn.backend.machine import cuda_driver

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = {
    "fastcnn": ["fastcnn", "mixed_bfloat16"],
    "torch": ["nchw", "channels_last", "compile", "bfloat16"],
    "onnxruntime": ["onnxruntime"],
    "keras": ["keras"],
    "jax": ["jax"],
}
NEEDED = {
    "fastcnn": ["fastcnn"], "torch": ["torch"], "onnxruntime": ["onnxruntime", "onnx"], "keras": ["keras", "jax"],
    "jax": ["jax"],
}  # fmt: skip
ON_CUDA = {"fastcnn": ["fastcnn", "fastcnn_tf32"], "torch": ["float32", "compile", "tf32", "compile_tf32"]}
ROUNDED = ("bfloat16", "mixed_bfloat16", "fastcnn_tf32", "tf32", "compile_tf32")
LOSS_TOLERANCE, OUTPUT_TOLERANCE = 1e-4, 1e-3


class Case(NamedTuple):
    """What is compared."""

    network: str
    training: bool
    batch: int
    threads: int
    device: str = "cpu"

    def __str__(self) -> str:
        what = "training" if self.training else "inference"
        return f"{self.network} {what} batch {self.batch} threads {self.threads}"


def environment(**more: str) -> dict[str, str]:
    """Of processes that run parts of this package."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]), **more}


class Worker:
    """A framework in one of its modes, in a process of its own."""

    def __init__(self, framework: str, mode: str):
        self.framework, self.mode = framework, mode
        command = [sys.executable, "-m", "bench.versus.worker"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            cwd=ROOT, env=environment(),
        )  # fmt: skip

    def ask(self, do: str, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.framework} {self.mode}: the process ended at {do!r} {request}")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=60)


def present(framework: str) -> bool:
    """Whether everything that a framework needs is installed."""
    return all(importlib.util.find_spec(name) for name in NEEDED[framework])


def agree(worker: Worker, case: Case, expected: dict[str, Any]) -> str:
    """What is wrong with the first losses or the outputs of a worker, compared with those of fastcnn; or nothing."""
    found = worker.ask("check", framework=worker.framework, mode=worker.mode, **case._asdict())
    if worker.mode in ROUNDED:  # rounds far more; compared in speed, not digit by digit
        return ""
    (key,) = found
    limit = LOSS_TOLERANCE if key == "losses" else OUTPUT_TOLERANCE
    largest = max(abs(value) for value in expected[key])
    error = max(abs(a - b) for a, b in zip(found[key], expected[key], strict=True)) / largest
    return "" if error < limit else f"{key} differ by {error:.1e} of the largest"


def compare(case: Case, peers: Sequence[tuple[str, str]], rounds: int, seconds: float) -> dict[str, Any]:
    """Times of all workers in every round, with what their processes needed."""
    workers = [Worker(framework, mode) for framework, mode in peers]
    try:
        reference = workers[0].ask("check", framework="fastcnn", mode="fastcnn", **case._asdict())
        results: dict[str, Any] = {}
        for worker in list(workers):
            try:
                wrong = agree(worker, case, reference) if worker is not workers[0] else ""
                built = worker.ask("build", framework=worker.framework, mode=worker.mode, **case._asdict())
            except RuntimeError as error:  # a peer that cannot do this; the others go on
                print(error, file=sys.stderr)
                workers.remove(worker)
                continue
            results[worker.mode] = {"framework": worker.framework, "wrong": wrong, **built, "step_s": []}
        for _ in range(rounds):
            for worker in workers:
                results[worker.mode]["step_s"].append(worker.ask("time", seconds=seconds)["step_s"])
        for worker in workers:
            results[worker.mode]["mbytes"] = worker.ask("memory")["mbytes"]
        return results
    finally:
        for worker in workers:
            worker.close()


def rows_of(case: Case, results: dict[str, Any]) -> list[str]:
    """The lines of a table for one case."""
    own = results["fastcnn"]["step_s"]
    lines = []
    for mode, result in results.items():
        ratios = [theirs / ours for ours, theirs in zip(own, result["step_s"], strict=True)]
        spread = "" if mode == "fastcnn" else f"{median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
        rate = case.batch / median(result["step_s"])
        cells = [
            case.network, "training" if case.training else "inference", str(case.batch), str(case.threads),
            mode if mode == result["framework"] else f"{result['framework']} {mode}", f"{rate:.0f}", spread,
            f"{result['mbytes']:.0f}", result["wrong"] or "yes",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


HEADER = [
    "| network | | batch | threads | framework | images/s | fastcnn: times as fast (of rounds) | MB | same numbers |",
    "|---|---|---|---|---|---|---|---|---|",
]


def best_ratio(results: dict[str, Any], own: str, framework: str, rounded: bool) -> float | None:
    """How many times faster our mode `own` is than the best mode of a framework, of those that round or of the others.

    None if one of them is not there.
    """
    modes = [m for m, r in results.items() if r["framework"] == framework and (m in ROUNDED) == rounded]
    if own not in results:
        return None
    ours = results[own]["step_s"]
    ratios = [median(b / a for a, b in zip(ours, results[m]["step_s"], strict=True)) for m in modes]
    return min(ratios, default=None)


COMPARED = [  # our mode, framework, whether with its modes that round
    ("fastcnn", "torch", False),
    ("fastcnn", "torch", True),
    ("mixed_bfloat16", "torch", True),
    ("fastcnn_tf32", "torch", True),
    ("fastcnn", "onnxruntime", False),
    ("mixed_bfloat16", "onnxruntime", False),
    ("fastcnn", "keras", False),
    ("fastcnn", "jax", False),
]


def summary(found: list[tuple[Case, dict[str, Any]]]) -> list[str]:
    """Geometric means over the networks, against the best mode of every framework."""
    lines = []
    kinds = sorted({(case.training, case.batch, case.threads) for case, _ in found}, reverse=True)
    for training, batch, threads in kinds:
        own = [(c, r) for c, r in found if (c.training, c.batch, c.threads) == (training, batch, threads)]
        for mode, framework, rounded in COMPARED:
            ratios = {c.network: best_ratio(r, mode, framework, rounded) for c, r in own}
            known = {name: ratio for name, ratio in ratios.items() if ratio is not None}
            if known:
                each = ", ".join(f"{name} {ratio:.2f}" for name, ratio in known.items())
                what = f"{'training' if training else 'inference'}, batch {batch}, {threads} threads"
                rounding = "tf32" if own[0][0].device == "cuda" else "bfloat16"
                peer = f"{framework} in {rounding}" if rounded else framework
                mean = geometric_mean(known.values())
                lines.append(f"{what}, {mode} against {peer}: geometric mean {mean:.2f} ({each})")
    return lines


def starting(threads: int) -> dict[str, Any]:
    """Seconds to import fastcnn and to a first training step of LeNet-5, on a cold and on a warm kernel cache."""
    program = (
        "import time; t = time.perf_counter(); import fastcnn; a = time.perf_counter();"
        f"from bench.versus.worker import make, data; p = make('fastcnn', 'fastcnn', {threads});"
        "p.build(*data('LeNet-5', 32), True); p.step(); b = time.perf_counter(); print(a - t, b - a)"
    )
    with tempfile.TemporaryDirectory() as cache:
        # Compiled to bytecode before, as pip does.
        variables = environment(FASTCNN_CACHE_DIR=cache, PYTHONPYCACHEPREFIX=cache)
        variables.pop("PYTHONDONTWRITEBYTECODE", None)
        run = functools.partial(
            subprocess.run, capture_output=True, text=True, check=True, cwd=ROOT, env=variables
        )
        run([sys.executable, "-c", "import fastcnn, bench.versus.worker"])
        runs = [[float(x) for x in run([sys.executable, "-c", program]).stdout.split()] for _ in range(3)]
    return {"import_s": min(r[0] for r in runs), "cold_s": runs[0][1], "warm_s": min(r[1] for r in runs[1:])}


def machine(threads: int) -> dict[str, Any]:
    """What the figures depend on."""
    names = ["numpy", "numba", "torch", "onnxruntime", "keras", "jax"]
    versions = {name: importlib.metadata.version(name) for name in names if importlib.util.find_spec(name)}
    driver = cuda_driver()
    return {
        "devices": driver.devices if driver else (),
        "processor": cpu_model(), "processors": os.cpu_count(), "threads": threads, "python": platform.python_version(),
        "versions": versions, "load": os.getloadavg(), "date": time.strftime("%Y-%m-%d"),
    }  # fmt: skip


def kernel_tables(given: argparse.Namespace) -> list[str]:
    """What `bench.profile` says of every kernel of a training step on a device, in float32 and in TF32."""
    tables = []
    work = [
        (n, batch, mode) for n in given.networks for batch in given.batches for mode in ON_CUDA["fastcnn"]
    ]
    for network, batch, mode in tqdm(work, desc="kernels", unit="step", disable=None):
        options = ["--batch", str(batch), "--device", "cuda", "--mode", mode, "--sums"]
        done = subprocess.run(
            [sys.executable, "-m", "bench.profile", network, *options], capture_output=True, text=True, cwd=ROOT,
            env=environment(), check=False,
        )  # fmt: skip
        wrong = (
            f"ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}"
            if done.returncode
            else ""
        )
        tables += [f"{network}, batch {batch}, {mode}: {wrong}", done.stdout]
    return tables


def keep(path: Path | None, found: list[tuple[Case, dict[str, Any]]], about: dict[str, Any]) -> None:
    """Write what is known so far, so that a run that is interrupted loses nothing."""
    if path:
        cases = [{**case._asdict(), "results": results} for case, results in found]
        path.write_text(json.dumps({"machine": about, "cases": cases}, indent=1))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.versus", description=__doc__)
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    four = ["LeNet-5", "VGG-small", "ResNet-20", "MobileNet-small"]
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=four)
    parser.add_argument(
        "--do", nargs="+", choices=["training", "inference"], default=["training", "inference"]
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--batches", nargs="+", type=int, help="default: 1 32 128, or on CUDA 128 1024")
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, usable}))
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=sorted({mode for modes in (FRAMEWORKS, ON_CUDA) for some in modes.values() for mode in some}),
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each turn")
    parser.add_argument("--quick", action="store_true", help="3 short rounds, without torch.compile")
    parser.add_argument("--json", type=Path, help="write everything to this file")
    given = parser.parse_args()
    given.batches = given.batches or ([1, 32, 128] if given.device == "cpu" else [128, 1024])
    given.threads = given.threads if given.device == "cpu" else given.threads[-1:]
    return given


def chosen_peers(given: argparse.Namespace) -> list[tuple[str, str]]:
    """(framework, mode) of everything that is installed and wanted."""
    frameworks = FRAMEWORKS if given.device == "cpu" else ON_CUDA
    for framework in frameworks:
        if not present(framework):
            print(f"{framework} is not installed; not compared")
    peers = [(f, mode) for f, modes in frameworks.items() if present(f) for mode in modes]
    if given.quick:
        peers = [peer for peer in peers if not peer[1].startswith("compile")]
    return [peer for peer in peers if given.peers is None or peer[1] in (*given.peers, "fastcnn")]


def main() -> None:
    """Run the comparison and print it."""
    given = arguments()
    try:
        fastcnn.set_device(given.device)
    except fastcnn.Error as error:
        raise SystemExit(str(error)) from None
    rounds, seconds = (3, 0.2) if given.quick else (given.rounds, given.seconds)
    peers = chosen_peers(given)
    cases = [
        Case(network, do == "training", batch, threads, given.device)
        for network in given.networks
        for do in given.do
        for batch in given.batches
        for threads in given.threads
    ]
    found: list[tuple[Case, dict[str, Any]]] = []
    with tqdm(cases, unit="case", disable=None) as bar:
        for case in bar:
            bar.set_description(str(case))
            suited = [peer for peer in peers if not (case.training and peer[0] == "onnxruntime")]
            found.append((case, compare(case, suited, rounds, seconds)))
            keep(given.json, found, machine(max(given.threads)))
    about, start = machine(max(given.threads)), starting(max(given.threads))
    keep(given.json, found, {**about, "start": start})
    print("\n".join([*HEADER, *(line for case, results in found for line in rows_of(case, results))]))
    print("\n".join(["", *summary(found), "", json.dumps(start), json.dumps(about)]))
    if given.device == "cuda":
        print("\n".join(["", *kernel_tables(given)]))


if __name__ == "__main__":
    main()
