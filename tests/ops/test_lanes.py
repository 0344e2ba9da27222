"""Images in lanes as plans use them: when they are chosen, that they compute the same, and their gradients."""

from collections.abc import Iterator

import numpy as np
import pytest
from op_harness import Row, check_gradient, check_threads

from fastcnn import config, ops
from fastcnn.graph import gradients
from fastcnn.plan import Function
from fastcnn.tensor import TensorSpec


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    yield
    config.set_convolution_algorithm("auto")


def layer_and_gradients(x, kernel, bias, **options):
    """A fused convolution, and the gradients of a sum of its squares."""
    y = ops.relu(ops.conv2d(x, kernel, bias, **options))
    return [y, *gradients(ops.sum(ops.square(y)), [x, kernel, bias])]


def planned(x, kernel, **options):
    """Names of the convolutions in the plan of a layer and its gradients."""
    specs = [TensorSpec(shape) for shape in (x, kernel, kernel[3:])]
    plan, _ = Function(lambda *xs: layer_and_gradients(*xs, **options)).plan(specs)
    return {node.operation.name for node in plan.nodes if "Conv" in node.operation.name}


def test_they_are_chosen_where_channels_are_few():
    assert planned((32, 28, 28, 1), (5, 5, 1, 6)) == {
        "LanesConv",
        "LanesConvInputGrad",
        "LanesConvKernelGrad",
    }
    assert "LanesConv" not in planned((32, 8, 8, 64), (5, 5, 64, 64))
    assert "LanesConv" in planned((1, 28, 28, 1), (5, 5, 1, 6))


CASES = [
    pytest.param((16, 7, 9, 1), (3, 3, 1, 6), {}, id="one channel"),
    pytest.param((37, 6, 5, 3), (5, 3, 3, 7), {"padding": "same"}, id="images left over"),
    pytest.param((5, 9, 8, 2), (2, 3, 2, 16), {"strides": (2, 1)}, id="fewer images than lanes"),
    pytest.param((17, 12, 11, 3), (3, 2, 3, 5), {"dilation_rate": (1, 3), "padding": "same"}, id="dilation"),
    pytest.param((16, 5, 4, 4), (3, 3, 4, 1), {"padding": ((0, 3), (2, 0))}, id="one filter"),
    pytest.param((16, 3, 3, 1), (3, 3, 1, 1), {}, id="one result"),
    pytest.param((32, 40, 33, 3), (7, 7, 3, 9), {"strides": 2, "padding": "same"}, id="several bands"),
    pytest.param((16, 2, 2, 5), (1, 1, 5, 3), {"padding": ((2, 1), (3, 3))}, id="rows of padding alone"),
    pytest.param((1, 1, 1, 1), (1, 1, 1, 1), {}, id="smallest"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("x", "kernel", "options"), CASES)
def test_they_give_the_same(x, kernel, options, dtype):
    """Values and gradients, compared with the implicit matrix product in float64."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in (x, kernel, kernel[3:])]
    config.set_convolution_algorithm("implicit")
    expected = Function(lambda *xs: layer_and_gradients(*xs, **options))(*arrays)
    config.set_convolution_algorithm("lanes")
    found = Function(lambda *xs: layer_and_gradients(*xs, **options))(*(a.astype(dtype) for a in arrays))
    for a, b in zip(found, expected, strict=True):
        terms = 32 * np.finfo(dtype).eps * np.sqrt(np.prod(kernel[:3]) * x[0]) * max(np.abs(b).max(), 1)
        np.testing.assert_allclose(a, b, rtol=0, atol=terms)


def test_gradients_are_finite_differences():
    config.set_convolution_algorithm("lanes")
    row = Row("conv2d in lanes", lambda *xs: ops.conv2d(*xs, padding="same"), None, {})
    shapes = [(2, 4, 3, 2), (3, 3, 2, 3), (3,)]
    check_gradient(row, shapes)
    check_threads(row, shapes)


def test_nan_stays_in_its_image():
    config.set_convolution_algorithm("lanes")
    x = np.ones((18, 6, 6, 1), "float32")
    x[3, 2, 2] = np.nan
    y = ops.conv2d(x, np.ones((3, 3, 1, 2), "float32"))
    assert np.isnan(y[3]).any() and not np.isnan(np.delete(y, 3, axis=0)).any()
