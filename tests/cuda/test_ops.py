"""Every row of the op table on CUDA: values against the naive reference, values and gradients against the CPU's."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from op_harness import check_forward

from fastcnn import config

spec = importlib.util.spec_from_file_location("op_results", Path(__file__).with_name("op_results.py"))
assert spec is not None and spec.loader is not None
op_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(op_results)

CASES = [pytest.param(name, id=name) for name in op_results.CASES]
# Of the largest number: ten roundings in float32. Some sums are of numbers that almost cancel.
TOLERANCE = 10 * np.finfo(np.float32).eps


@pytest.mark.parametrize("name", CASES)
def test_op(name: str, on_cuda: None, on_the_cpu: Callable[[str], dict[str, np.ndarray]]) -> None:
    row, shapes = op_results.CASES[name]
    expected = on_the_cpu("op_results")
    for i, actual in enumerate(op_results.evaluate(row, shapes)):
        close(actual, expected[f"{name}|{i}"])


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal up to TOLERANCE of the largest finite number; NaN and infinity at the same places."""
    assert (actual.shape, actual.dtype) == (expected.shape, expected.dtype)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    scale = max(np.abs(expected[finite]).max(initial=0.0), 1.0)
    np.testing.assert_allclose(actual[finite], expected[finite], rtol=0, atol=TOLERANCE * scale)


@pytest.mark.parametrize("name", [name for name in CASES if "nothing equal" in str(name.id)][::8])
def test_same_bits_again(name: str, on_cuda: None) -> None:
    row, shapes = op_results.CASES[name]
    for first, second in zip(op_results.evaluate(row, shapes), op_results.evaluate(row, shapes), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES[::20])
def test_values_by_definition(name: str, dtype: str, on_cuda: None) -> None:
    row, shapes = op_results.CASES[name]
    check_forward(row, shapes, dtype)


@pytest.mark.parametrize("name", [n for n in op_results.CASES if n.startswith("conv2d ") and "nothing" in n])
def test_explicit_columns(
    name: str, on_cuda: None, on_the_cpu: Callable[[str], dict[str, np.ndarray]]
) -> None:
    """The textbook's algorithm, which plans take only when told."""
    row, shapes = op_results.CASES[name]
    expected = on_the_cpu("op_results")
    config.set_convolution_algorithm("columns")
    try:
        found = op_results.evaluate(row, shapes)
    finally:
        config.set_convolution_algorithm("auto")
    for i, actual in enumerate(found):
        close(actual, expected[f"{name}|{i}"])
