"""Python functions of tensors, planned once for each set of input shapes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn import backend, tree
from fastcnn.graph import Report, Trace, tracing
from fastcnn.plan.run import Place, Plan
from fastcnn.tensor import Tensor, TensorSpec

MAX_PLANS = 8  # of one function; the least recently used goes first, so that memory stays bounded


class Function:
    """Runs `body(*tensors)`, whose result is a tensor or a (nested) list, tuple or dict of them, on arrays.

    The body is executed once per set of input shapes, on symbolic tensors; what it computes becomes a plan.
    device: "cpu", "cuda" or "auto"; None, that of `fastcnn.set_device` at the time of the call.
    Safe to call from several Python threads: a plan runs for one of them at a time.
    """

    def __init__(self, body: Callable[..., Any], training: bool = False, device: str | None = None):
        self.body = body
        self.training = training
        self.device = device
        self._plans: OrderedDict[tuple, tuple[Plan, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def plan(self, specs: Sequence[TensorSpec], key: object = None) -> tuple[Plan, Any]:
        """The plan for these inputs, and the body's result with output numbers in place of tensors.

        `key` is whatever else the body's behaviour depends on; another key makes another plan.
        """
        device = backend.resolved(self.device)
        full_key = (*specs, key, device)
        with self._lock:
            known = self._plans.get(full_key)
            if known is None or known[0].threads < known[0].backend.num_threads():  # it has memory for fewer
                self._plans[full_key] = self.make(specs, device)
                if len(self._plans) > MAX_PLANS:
                    self._plans.popitem(last=False)
            self._plans.move_to_end(full_key)
            return self._plans[full_key]

    def make(self, specs: Sequence[TensorSpec], device: str) -> tuple[Plan, Any]:
        """A new plan for a device, which need not be there, and the body's result."""
        inputs = [Tensor(*spec) for spec in specs]
        trace = Trace(self.training)
        with tracing(trace):
            result = self.body(*inputs)
        outputs: list[Tensor] = []
        structure = _number(result, outputs)
        reports = [_located(report, outputs) for report in trace.reports]
        plan = Plan(inputs, outputs, trace.updates, backend.get(device))
        plan.reports, plan.optimizers = reports, trace.optimizers
        return plan, structure

    def __call__(self, *arrays: np.ndarray, key: object = None) -> Any:
        """Run on arrays (of the dtypes to compute in); returns fresh arrays in the body's result structure."""
        plan, structure = self.plan([TensorSpec(a.shape, str(a.dtype)) for a in arrays], key)
        with plan.lock:
            for target, array in zip(plan.input_arrays, arrays, strict=True):
                target[...] = array
            plan.run()
            plan.tell()
            return fill(structure, [y.copy() for y in plan.output_arrays])


def _number(result: Any, outputs: list[Tensor]) -> Any:
    """The structure of `result` with each tensor replaced by its position in `outputs`, which grows."""
    if isinstance(result, Tensor):
        outputs.append(result)
        return len(outputs) - 1
    if isinstance(result, dict):
        return {key: _number(value, outputs) for key, value in result.items()}
    if isinstance(result, list | tuple):
        return type(result)(_number(value, outputs) for value in result)
    return None


def _located(report: Report, outputs: list[Tensor]) -> Report:
    """The report with each tensor replaced by its place in `outputs`, which grows."""

    def place(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        outputs.append(value)
        return Place(len(outputs) - 1)

    return Report(
        report.function, tree.map_structure(place, report.args), tree.map_structure(place, report.kwargs)
    )


def fill(structure: Any, arrays: Sequence[np.ndarray]) -> Any:
    """`structure` with each output number replaced by its array."""
    if isinstance(structure, dict):
        return {key: fill(value, arrays) for key, value in structure.items()}
    if isinstance(structure, list | tuple):
        return type(structure)(fill(value, arrays) for value in structure)
    return None if structure is None else arrays[structure]
