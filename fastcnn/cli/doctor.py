"""Check the installation: each line is OK, or says what to do about it."""

import argparse
import importlib.metadata
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastcnn import backend, ops
from fastcnn.backend import machine
from fastcnn.cli.cache import megabytes
from fastcnn.errors import Error
from fastcnn.version import __version__


class Finding(NamedTuple):
    """One line of the report. `fix` is a command that mends it, empty where nothing is wrong."""

    subject: str
    state: str
    fix: str = ""
    usable: bool = True  # False: fastcnn does not work like this


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command: none."""


def run(arguments: argparse.Namespace) -> int:
    """Print the report; returns 0 when fastcnn is usable."""
    print(f"fastcnn {__version__} on {platform.system()} {platform.machine()}")
    findings = [finding for check in CHECKS for finding in check()]
    for finding in findings:
        print(f"{'FIX' if finding.fix else 'OK ':3}  {finding.subject:13}  {finding.state}")
        if finding.fix:
            print(f"{'':20}run: {finding.fix}")
    usable = all(finding.usable for finding in findings)
    fixes = sum(bool(finding.fix) for finding in findings)
    print("all well" if not fixes else f"{'usable' if usable else 'not usable'}; {fixes} to fix")
    return 0 if usable else 1


# --- versions ------------------------------------------------------------------------------------------------


def check_versions() -> Iterator[Finding]:
    """Python and the libraries, against what the installed distribution declares."""
    yield Finding("python", f"{platform.python_version()} ({sys.executable})")
    try:
        requirements = importlib.metadata.requires("fastcnn") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding("installation", "runs from a checkout that is not installed", "pip install -e .")
        return
    for requirement in requirements:
        if "extra ==" not in requirement:
            yield _check_requirement(requirement)


def _check_requirement(requirement: str) -> Finding:
    name = re.split(r"[^\w.-]", requirement)[0]
    bounds = re.findall(r"(>=|<)([\d.]+)", requirement)
    wanted = name + ",".join(sign + limit for sign, limit in bounds)
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed", f"pip install {shlex.quote(wanted)}", usable=False)
    if all(_holds(version, sign, limit) for sign, limit in bounds):
        return Finding(name, version)
    return Finding(
        name, f"{version}, but {wanted} is needed", f"pip install {shlex.quote(wanted)}", usable=False
    )


def _holds(version: str, sign: str, limit: str) -> bool:
    return _numbers(version) >= _numbers(limit) if sign == ">=" else _numbers(version) < _numbers(limit)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


# --- the machine ---------------------------------------------------------------------------------------------


def check_processor() -> Iterator[Finding]:
    """The vector units that kernels use."""
    processor = machine.processor()
    yield Finding(
        "processor", f"{processor.name}: {processor.vector_bits}-bit vectors ({' '.join(processor.features)})"
    )


def check_threads() -> Iterator[Finding]:
    """The number of threads against the processors that this process may use."""
    threads, usable = backend.get("cpu").num_threads(), _usable_processors()
    state = f"{threads} of {usable:g} processors; fastcnn's own team, no threading layer needed"
    if threads > usable + 0.5:
        state = f"{threads} threads for {usable:g} processors: they wait for each other"
        yield Finding("threads", state, f"export FASTCNN_NUM_THREADS={max(1, int(usable))}")
    else:
        yield Finding("threads", state)


def _usable_processors() -> float:
    """Processors of this process's affinity mask, or what a container's quota leaves of them."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return min(float(count), int(quota) / int(period))
    except (OSError, ValueError):  # no such limit
        return float(count)


def check_kernel_cache() -> Iterator[Finding]:
    """Where compiled kernels are kept, and whether they can be."""
    state = machine.cache_state()
    if not state.private:
        reason = "other users may write to it, so it is not used and every process compiles anew"
        yield Finding("kernel cache", f"{state.folder}: {reason}", "python -m fastcnn cache clear")
    elif not state.writable:
        reason = "not writable, so every process compiles anew"
        yield Finding(
            "kernel cache", f"{state.folder}: {reason}", "export FASTCNN_CACHE_DIR=~/fastcnn-kernels"
        )
    elif not state.kernels:
        reason = "empty; kernels are compiled at first use (now: python -m fastcnn warmup)"
        yield Finding("kernel cache", f"{state.folder}: {reason}")
    else:
        content = f"{state.kernels} kernels, {megabytes(state.nbytes)}, private"
        yield Finding("kernel cache", f"{state.folder}: {content}")


def check_kernels() -> Iterator[Finding]:
    """That a kernel compiles, or loads, and computes."""
    start = time.perf_counter()
    try:
        result = ops.relu(np.array([-1.0, 2.0], np.float32))
    except Exception as error:
        fix = "python -m fastcnn cache clear"
        yield Finding("kernels", f"do not run: {type(error).__name__}: {error}", fix, usable=False)
        return
    if result.tolist() == [0.0, 2.0]:
        yield Finding("kernels", f"compiled or loaded, and run, in {time.perf_counter() - start:.1f} s")
    else:
        fix = "python -m fastcnn cache clear"
        yield Finding("kernels", f"compute nonsense: relu([-1, 2]) = {result.tolist()}", fix, usable=False)


def check_cuda() -> Iterator[Finding]:
    """The graphics processors. None is needed."""
    driver = machine.cuda_driver()
    if driver is None or not driver.devices:
        yield Finding("cuda", "no CUDA device found; none is needed")
    else:
        names = ", ".join(driver.devices)
        yield _check_usable(f"{names} (driver for CUDA {driver.version})")


def _check_usable(found: str) -> Finding:
    """Whether the device can compute, and if not, the command that mends it."""
    try:
        backend.get("cuda").check()
    except Error as error:
        command = re.search(r"(pip install \S+|sudo [\w-]+ \w+|unset \w+)", str(error))
        return Finding("cuda", f"{found}: {error}", command.group() if command else "nvidia-smi")
    return Finding("cuda", f"{found}; fastcnn.set_device('cuda') computes there")


def check_data_folder() -> Iterator[Finding]:
    """Where data sets are looked for first."""
    folder = os.environ.get("FASTCNN_DATA")
    if not folder:
        yield Finding("data folder", "FASTCNN_DATA is not set; data sets are downloaded when first used")
    elif not Path(folder).is_dir():
        yield Finding("data folder", f"FASTCNN_DATA={folder} is no folder", "unset FASTCNN_DATA")
    else:
        found = sorted(entry.name for entry in Path(folder).iterdir() if entry.is_dir())
        yield Finding("data folder", f"FASTCNN_DATA={folder}: {', '.join(found) or 'empty'}")


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    check_versions,
    check_processor,
    check_threads,
    check_kernel_cache,
    check_kernels,
    check_cuda,
    check_data_folder,
)
