"""Every op against its row: values, gradients, threads; and every op has a row."""

import importlib
import pkgutil

import pytest
from op_harness import check_forward, check_gradient, check_threads, ops_used

import fastcnn.ops
import ops as tables_package
from fastcnn.graph import Op

TABLES = [
    importlib.import_module(f"ops.{module.name}")
    for module in pkgutil.iter_modules(tables_package.__path__)
    if module.name.startswith("table_")
]
CASES = [
    pytest.param(row, shapes, id=f"{row.name}-{reason}")
    for table in TABLES
    for row in table.ROWS
    for reason, shapes in row.cases.items()
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("row", "shapes"), CASES)
def test_values(row, shapes, dtype):
    check_forward(row, shapes, dtype)


@pytest.mark.parametrize(("row", "shapes"), CASES)
def test_gradients(row, shapes):
    check_gradient(row, shapes)


@pytest.mark.parametrize(("row", "shapes"), CASES)
def test_threads(row, shapes):
    check_threads(row, shapes)


def test_every_op_has_a_row():
    defined = {op for op in Op.registry.values() if op.__module__.startswith(fastcnn.ops.__name__)}
    covered = {op for table in TABLES for row in table.ROWS for op in ops_used(row)}
    elsewhere = {op for table in TABLES for op in getattr(table, "COVERED_ELSEWHERE", set())}
    assert not {op.__name__ for op in defined - covered - elsewhere}
