"""The scalar formulas of CPU kernels are those of CUDA kernels too: each runs in CUDA code, and compiles for it.

No device is needed, only numba-cuda. To run in its simulator:

    NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1 python -m pytest tests/cuda
"""

import ast
import inspect
import os
import types
from collections.abc import Callable

import numpy as np
import pytest
from fastcnn_kernels import activation, loss

pytest.importorskip(
    "numba_cuda", reason='numba-cuda is not installed; pip install "fastcnn[cuda13]" brings it'
)
cuda = pytest.importorskip("numba.cuda")  # a global, because the simulator replaces globals of this name

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
VALUES = np.array([-3.5, -0.75, 0.25, 0.5, 0.75, 2.0], np.float32)
PARAMETERS = np.full(VALUES.size, 0.25, np.float32)  # within the domain of every other argument


def formulas_of(module: types.ModuleType) -> list[Callable]:
    """The functions that the module declares as scalar formulas of one to four numbers."""
    functions = [
        node for node in ast.parse(inspect.getsource(module)).body if isinstance(node, ast.FunctionDef)
    ]
    scalars = [node for node in functions if "scalar" in {ast.unparse(d) for d in node.decorator_list}]
    return [getattr(module, node.name) for node in scalars if len(node.args.args) <= 4]


def arity(formula: Callable) -> int:
    return len(inspect.signature(getattr(formula, "py_func", formula)).parameters)


def kernel_of(formula: Callable) -> Callable:
    """y[i] = formula(x[i], p[i], ...), as a CUDA kernel in the making."""

    def of_1(x, p, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = formula(x[i])

    def of_2(x, p, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = formula(x[i], p[i])

    def of_3(x, p, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = formula(x[i], p[i], p[i])

    def of_4(x, p, y):
        i = cuda.grid(1)
        if i < x.size:
            y[i] = formula(x[i], p[i], p[i], p[i])

    return (of_1, of_2, of_3, of_4)[arity(formula) - 1]


EVERY_FORMULA = pytest.mark.parametrize(
    "formula", [pytest.param(f, id=f.__name__) for module in (activation, loss) for f in formulas_of(module)]
)


@pytest.mark.skipif(not SIMULATED, reason="the simulator is not switched on")
@EVERY_FORMULA
def test_formula_in_the_simulator(formula: Callable) -> None:
    y = np.full(VALUES.size, np.nan, np.float32)
    cuda.jit(kernel_of(formula))[2, 4](VALUES, PARAMETERS, y)
    rest = PARAMETERS[: arity(formula) - 1]
    expected = np.array([formula(value, *rest) for value in VALUES], np.float32)
    np.testing.assert_array_equal(y, expected)


@pytest.mark.skipif(SIMULATED, reason="the simulator compiles nothing")
@EVERY_FORMULA
def test_formula_compiles_for_a_device(formula: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """PTX without double arithmetic, which is slow on most devices and would betray a constant of float64."""
    dispatcher = pytest.importorskip("numba.cuda.dispatcher")
    capability = (9, 0)
    device = types.SimpleNamespace(compute_capability=capability)
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: device)  # none is needed to compile
    ptx, _ = cuda.compile_ptx(
        kernel_of(formula), "void(float32[::1], float32[::1], float32[::1])", cc=capability
    )
    assert ".entry" in ptx
    assert ".f64" not in ptx
