"""Products on tensor cores, in TF32: exact for numbers of few bits, which shows that every number is in its place."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import reference

from fastcnn import config, ops
from fastcnn.graph import gradients
from fastcnn.plan import Function
from fastcnn.tensor import TensorSpec


@pytest.fixture(autouse=True)
def in_tf32() -> Iterator[None]:
    """Plans may round operands to TF32."""
    config.set_precision("tf32")
    yield
    config.set_precision("fast")


def whole(*shape: int) -> np.ndarray:
    """Whole numbers that TF32 and sums in float32 hold exactly."""
    rng = np.random.default_rng(sum(shape))
    return rng.integers(-8, 9, shape).astype(np.float32)


def names(function: Function, *arrays: np.ndarray) -> set[str]:
    plan, _ = function.plan([TensorSpec(a.shape, str(a.dtype)) for a in arrays])
    return {launch.kernel.__name__ for _, launches in plan.steps for launch in launches}


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "nothing equal": ((2, 5, 4, 3), (3, 2, 3, 9), {}),
    "stride, groups": ((1, 6, 5, 4), (3, 3, 2, 10), {"strides": 2}),
    "more rows than a tile": ((2, 5, 5, 2), (1, 1, 2, 3), {}),
    "four by four": ((1, 4, 3, 8), (3, 2, 8, 12), {"strides": 2}),
    "groups, four by four": ((1, 4, 4, 8), (2, 2, 4, 8), {}),
}


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_convolutions(case: tuple, on_cuda: None) -> None:
    (shape, kernel, options), stride = case, (case[2].get("strides", 1),) * 2
    x, w, b = whole(*shape), whole(*kernel), whole(kernel[-1])
    y = Function(lambda x, w, b: ops.conv2d(x, w, b, **options))
    assert "conv_forward_tf32" in names(y, x, w, b)
    np.testing.assert_array_equal(
        y(x, w, b), reference.conv2d(x, w, b, stride=stride, groups=shape[-1] // kernel[2])
    )


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
def test_gradients_of_convolutions(case: tuple, on_cuda: None) -> None:
    shape, kernel, options = case
    x, w = whole(*shape), whole(*kernel)

    def body(x, w):
        y = ops.conv2d(x, w, **options)
        return gradients(y, [x, w], [ops.round(y * 0.01)])

    rounded = Function(body)
    assert {"conv_backward_data_tf32", "conv_backward_weights_tf32"} <= names(rounded, x, w)
    found = rounded(x, w)
    config.set_precision("strict")
    exact = Function(body)
    assert not any(name.endswith("_tf32") for name in names(exact, x, w))
    for a, b in zip(found, exact(x, w), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("m", "k", "n"), [(35, 11, 9), (36, 12, 8), (33, 4, 12), (4, 36, 4)], ids="odd wide tall deep".split()
)
def test_products_of_matrices(m: int, k: int, n: int, on_cuda: None) -> None:
    x, w, b = whole(m, k), whole(k, n), whole(n)

    def body(x, w, b):
        y = ops.relu(ops.dense(x, w, b))
        return [y, *gradients(y, [x, w])]

    function = Function(body)
    assert "gemm_tf32" in names(function, x, w, b)
    y, dx, dw = function(x, w, b)
    expected = np.maximum(x @ w + b, 0)
    mask = (expected > 0).astype(np.float32)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(dx, mask @ w.T)
    np.testing.assert_array_equal(dw, x.T @ mask)


def test_operands_are_rounded(on_cuda: None) -> None:
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 40)).astype(np.float32), rng.normal(size=(40, 6)).astype(np.float32)
    y, exact = Function(ops.matmul)(x, w), x.astype(np.float64) @ w
    error = np.abs(y - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < 2e-3


def test_float64_and_other_devices_are_not(on_cuda: None) -> None:
    x = np.ones((3, 4))
    assert names(Function(ops.matmul), x, x.T.copy()) == {"gemm"}
