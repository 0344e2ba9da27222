"""Kernels compiled by two processes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from fastcnn_kernels import ahead, elementwise
from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.jit import Kernel, Launch, cpu_kernel

SCRIPT = """
import numpy as np
from fastcnn_kernels import ahead, elementwise
from fastcnn_kernels.jit import Kernel

x, y = np.linspace(0, 1, 9), np.empty(9)
kernels = [elementwise.exp, elementwise.log, elementwise.expm1, elementwise.erf, elementwise.log1p, elementwise.sqrt]
launches, seen = [kernel.bind(x, y) for kernel in kernels], []
ahead.compile_launches(launches, seen.append)
assert sum(seen) == len(kernels), seen
assert all(kernel.is_ready((x, y)) for kernel in kernels)
elementwise.exp(x, y)
np.testing.assert_allclose(y, np.exp(x))
print(sum(kernel.compilations for kernel in kernels), sum(kernel.cache_hits for kernel in kernels))
"""


DTYPES = ("float32", "float64", "uint8", "int64")


def compiled_and_loaded(folder, **settings: str) -> list[int]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **settings}
    environment["FASTCNN_CACHE_DIR"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [int(number) for number in done.stdout.split()]


def test_every_kernel_is_compiled_once_and_then_loaded(tmp_path) -> None:
    compiled, loaded = compiled_and_loaded(tmp_path)
    assert compiled + loaded == 6
    assert compiled_and_loaded(tmp_path) == [0, 6]


@pytest.mark.parametrize("executable", ["", "/bin/false", "/no/such/program"])
def test_without_help_all_is_compiled_here(executable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(x, y, first, last):
        """y = x."""
        for i in range(first, last):
            y[i] = x[i]

    kernels = [cpu_kernel(lambda x, y: 1)(never) for _ in range(5)]
    launches = [kernel.bind(np.zeros(1), np.zeros(1)) for kernel in kernels]
    monkeypatch.setattr(ahead.sys, "executable", executable)
    monkeypatch.setattr(Kernel, "is_ready", lambda self, args: False)
    seen: list[int] = []
    ahead.compile_launches(launches, seen.append)
    assert all(kernel._addresses for kernel in kernels)


def test_a_kernel_that_cannot_be_compiled_is_an_error_here() -> None:
    wrong = Launch(elementwise.add, ((1, 2), (1, 2), (1, 2)), 1)
    with pytest.raises(TypeError, match="cannot be compiled"):
        ahead.compile_launches([wrong] * 5, lambda n: None)


@pytest.mark.parametrize(
    "value",
    [1, 0.5, (1, 2), ConvGeometry(*range(16)), *(np.zeros((1,) * n, d) for n in (1, 2, 5) for d in DTYPES)],
    ids=str,
)
def test_examples_have_the_type_of_what_they_stand_for(value: object) -> None:
    sent = json.loads(json.dumps(ahead._kind(value)))
    assert Kernel.signature((ahead._example(sent),)) == Kernel.signature((value,))


def test_only_our_kernels_are_looked_up() -> None:
    with pytest.raises(ValueError, match="is not part of"):
        ahead._ours("os", "system")
