"""Compiling many kernels by two processes: Numba compiles one function at a time, whatever the number of threads.

When a plan has several kernels to compile, another process takes some from the end of the list and leaves them in the
cache on disk, where this one finds them. It is sent JSON: the names of a kernel and the kinds of its arguments.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastcnn_kernels.jit import Kernel, Launch, compile_host_functions
from fastcnn_kernels.machine import cache_state

LEAST = 4  # kernels that are worth starting Python for


def compile_launches(launches: Sequence[Launch], ready: Callable[[int], object]) -> None:
    """Compile or load what the launches need; `ready(n)` is called when n more are there."""
    missing = deque(launch for launch in launches if not launch.kernel.is_ready(launch.args))
    families = {launch.kernel.__module__ for launch in missing}
    ready(len(launches) - len(missing))
    helper = threading.Thread(target=_assist, args=(missing, families, ready), daemon=True)
    if len(missing) >= LEAST and _can_assist():
        helper.start()
    try:
        if missing:
            compile_host_functions()  # while the helper starts
        while launch := _taken(missing.popleft):
            launch.compile()
            ready(1)
        if helper.ident is not None:
            helper.join()
    finally:
        missing.clear()  # the helper ends after the kernel that it is at
    for launch in launches:  # all others come from the cache; what a helper failed at is compiled now
        launch.compile()


def _taken(take: Callable[[], Launch]) -> Launch | None:
    """A launch that another thread may take at the same time, or None when none is left."""
    try:
        return take()
    except IndexError:
        return None


def _can_assist() -> bool:
    """Whether there is a processor for another process, and a cache where it can leave what it has compiled."""
    cache = cache_state()
    return bool(sys.executable) and (os.cpu_count() or 1) > 1 and cache.private and cache.writable


def _assist(missing: deque[Launch], families: set[str], ready: Callable[[int], object]) -> None:
    """Let another process compile what is missing, from the end."""
    with (
        contextlib.suppress(OSError),
        _other_process(families) as process,
    ):  # without one, all is compiled here
        assert process.stdin and process.stdout
        while process.stdout.readline() and (launch := _taken(missing.pop)):  # it is ready for the next
            print(json.dumps(_described(launch)), file=process.stdin, flush=True)
            ready(1)


def _other_process(families: set[str]) -> subprocess.Popen[str]:
    """Python with the modules that define the kernels, running `main`."""
    ours = sorted(family for family in families if family.startswith(f"{__package__}."))
    program = f"import {', '.join([__name__, *ours])}; {__name__}.main()"
    paths = os.pathsep.join([str(Path(__file__).parents[1]), *filter(None, sys.path)])
    return subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip


def _described(launch: Launch) -> list:
    kernel = launch.kernel
    return [kernel.__module__, kernel.__name__, [_kind(value) for value in launch.args]]


def _kind(value: Any) -> Any:
    """What machine code depends on: of an array dtype and rank, of a number its type, of a tuple its class."""
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.ndim]
    if isinstance(value, tuple):
        return {
            "module": type(value).__module__,
            "name": type(value).__qualname__,
            "items": list(map(_kind, value)),
        }
    return "float" if isinstance(value, float) else "int"


def _example(kind: Any) -> Any:
    """A value of a kind."""
    if isinstance(kind, list):
        return np.empty((0,) * kind[1], kind[0])
    if isinstance(kind, dict):
        items = list(map(_example, kind["items"]))
        return tuple(items) if kind["name"] == "tuple" else _ours(kind["module"], kind["name"])(*items)
    return 0.0 if kind == "float" else 0


def _ours(module: str, name: str) -> Any:
    if not module.startswith(f"{__package__}."):
        raise ValueError(f"{module} is not part of {__package__}")
    return getattr(sys.modules[module], name)


def main() -> None:
    """Compile kernels as lines come in; write a line when ready for the next."""
    print("ready", flush=True)
    for line in sys.stdin:
        module, name, kinds = json.loads(line)
        found = _ours(module, name)
        if isinstance(found, Kernel):
            found.compile(tuple(map(_example, kinds)))
        print("ready", flush=True)
