"""Winograd's algorithm as plans use it: when it is chosen, that it computes the same, and its gradients."""

from collections.abc import Iterator

import numpy as np
import pytest
from op_harness import Row, check_gradient, check_threads

from fastcnn import config, ops
from fastcnn.graph import gradients
from fastcnn.plan import Function
from fastcnn.tensor import TensorSpec


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(
        "fastcnn.ops.amx.tiles_available", lambda: False
    )  # tiles compete with it where there are any
    yield
    config.set_convolution_algorithm("auto")
    config.set_precision("fast")


def layer_and_gradients(x, kernel, bias, **options):
    """A fused convolution, and the gradients of a sum of its squares."""
    y = ops.relu(ops.conv2d(x, kernel, bias, **options))
    return [y, *gradients(ops.sum(ops.square(y)), [x, kernel, bias])]


def gradients_of_a_cube(x, kernel, bias):
    """Gradients of a function of a convolution that is smooth, so that they have gradients."""
    y = ops.conv2d(x, kernel, bias, padding="same")
    return gradients(ops.sum(y * y * y), [x, kernel])


def planned(x, kernel, dtype="float32", **options):
    """Names of the convolutions in the plan of a layer and its gradients."""
    specs = [TensorSpec(shape, dtype) for shape in (x, kernel, kernel[3:])]
    plan, _ = Function(lambda *xs: layer_and_gradients(*xs, **options)).plan(specs)
    return {node.operation.name for node in plan.nodes if "Conv" in node.operation.name}


IMPLICIT = {"Conv", "ConvInputGrad", "ConvKernelGrad"}
WINOGRAD = {"Winograd" + name for name in IMPLICIT}
X, KERNEL = (8, 16, 16, 32), (3, 3, 32, 64)


def test_it_is_chosen_where_it_is_faster():
    assert planned(X, KERNEL, padding="same") == WINOGRAD
    assert planned(X, KERNEL, padding="same", strides=2) == IMPLICIT
    assert planned(X, KERNEL, padding="same", dilation_rate=2) == IMPLICIT
    assert planned(X, (5, 5, 32, 64), padding="same") == IMPLICIT
    assert planned((8, 16, 16, 3), (3, 3, 3, 64), padding="same") != WINOGRAD  # few channels are for lanes
    assert planned((1, 1, 1, 512), (3, 3, 512, 512), padding="same") == IMPLICIT


def test_float64_is_exact_unless_asked_otherwise():
    assert planned(X, KERNEL, "float64") == IMPLICIT
    config.set_convolution_algorithm("winograd")
    assert planned(X, KERNEL, "float64") == WINOGRAD


@pytest.mark.parametrize("algorithm", ["auto", "winograd", "winograd2"])
def test_strict_precision_turns_it_off(algorithm):
    config.set_convolution_algorithm(algorithm)
    config.set_precision("strict")
    assert planned(X, KERNEL, padding="same") == IMPLICIT


def test_an_algorithm_can_be_named():
    for name, expected in [
        ("implicit", IMPLICIT),
        ("winograd", WINOGRAD),
        ("winograd2", {f"{n}F2" for n in WINOGRAD}),
    ]:
        config.set_convolution_algorithm(name)
        assert planned((1, 5, 4, 3), (3, 3, 3, 2)) == expected
        assert planned(X, KERNEL, strides=2) == IMPLICIT


CASES = {
    "nothing equal": ((2, 7, 5, 3), (3, 3, 3, 4), {}),
    "same padding": ((1, 6, 9, 17), (3, 3, 17, 5), {"padding": "same"}),
    "groups": ((2, 6, 5, 6), (3, 3, 2, 9), {"padding": "same"}),
    "explicit padding": ((1, 4, 3, 2), (3, 3, 2, 3), {"padding": ((2, 0), (1, 3))}),
}


@pytest.mark.parametrize("algorithm", ["winograd", "winograd2"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("x", "kernel", "options"), CASES.values(), ids=CASES)
def test_values_and_gradients_are_those_of_the_definition(x, kernel, options, dtype, algorithm):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(dtype) for shape in (x, kernel, kernel[3:])]

    def body(*tensors):
        return layer_and_gradients(*tensors, **options)

    config.set_convolution_algorithm("implicit")
    expected = Function(body)(*arrays)
    config.set_convolution_algorithm(algorithm)
    for actual, wanted in zip(Function(body)(*arrays), expected, strict=True):
        assert actual.dtype == dtype
        np.testing.assert_allclose(
            actual, wanted, rtol=0, atol=200 * np.finfo(dtype).eps * np.abs(wanted).max()
        )


@pytest.mark.parametrize("algorithm", ["winograd", "winograd2"])
def test_gradients_are_finite_differences(algorithm):
    """Of first and of second order, in float64."""
    config.set_convolution_algorithm(algorithm)
    shapes = [(1, 4, 3, 2), (3, 3, 2, 3), (3,)]
    row = Row("conv2d", lambda *xs: ops.conv2d(*xs, padding="same"), None, {})
    check_gradient(row, shapes)
    row = Row("conv2d gradients", gradients_of_a_cube, None, {})
    check_gradient(row, shapes)
    check_threads(row, shapes)


def test_results_repeat_bit_for_bit():
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=shape).astype("float32") for shape in (X, KERNEL, KERNEL[3:])]
    first, second = (Function(layer_and_gradients)(*arrays) for _ in range(2))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, second, strict=True))
