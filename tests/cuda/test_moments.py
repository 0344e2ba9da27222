"""Moments of what convolutions store, as their epilogue on CUDA: plans use them, and they are those of the results."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import reference
from fastcnn_kernels.conv import ConvGeometry

from fastcnn import config, ops
from fastcnn.graph import gradients
from fastcnn.ops import epilogue
from fastcnn.plan import Function
from fastcnn.tensor import TensorSpec

# Function of images, kernel, residual; shapes of the three. Most have pixels and filters beyond whole tiles.
CASES: dict[str, tuple[Callable, tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "same": (lambda x, w, _: ops.conv2d(x, w, padding="same"), (2, 5, 5, 5), (3, 3, 5, 18), (1,)),
    "strided": (lambda x, w, _: ops.conv2d(x, w, strides=2), (3, 7, 8, 4), (3, 2, 4, 12), (1,)),
    "a matrix": (lambda x, w, _: ops.conv2d(x, w), (1, 7, 11, 8), (1, 1, 8, 16), (1,)),
    "groups": (lambda x, w, _: ops.conv2d(x, w, padding="same"), (2, 5, 4, 6), (2, 2, 3, 10), (1,)),
    "a bias and a residual": (
        lambda x, w, r: ops.conv2d(x, w, 0.1 * w[0, 0, 0], padding="same") + r,
        (2, 4, 5, 3), (3, 3, 3, 17), (2, 4, 5, 17),
    ),
    "depthwise": (lambda x, w, _: ops.depthwise_conv2d(x, w, padding="same"), (2, 5, 4, 5), (3, 3, 5, 1), (1,)),
    "wide depthwise": (lambda x, w, _: ops.depthwise_conv2d(x, w, strides=2), (1, 9, 8, 35), (2, 2, 35, 1), (1,)),
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Moments are kept of parts of few pixels too, as the simulator's are."""
    monkeypatch.setattr(epilogue, "SMALL_SHARE", 1)


@pytest.fixture
def tensor_cores(on_cuda: None) -> Iterator[None]:
    """Products are in TF32."""
    config.set_precision("tf32")
    try:
        yield
    finally:
        config.set_precision("fast")


def check(case: str, dtype: str) -> None:
    """Mean and variance are those of the result, which is the same as without them."""
    convolve, *shapes = CASES[case]
    rng = np.random.default_rng(3)
    x, w, r = (rng.normal(size=shape).astype(dtype) for shape in shapes)
    x, scale = x + 2, np.ones(convolve_filters(case), dtype)

    def body(x, w, r, gamma):
        y = convolve(x, w, r)
        return [y, *ops.batch_normalization_training(y, gamma, 0.0 * gamma, epsilon=0.0)]

    function = Function(body)
    plan, _ = function.plan([TensorSpec(array.shape, dtype) for array in (x, w, r, scale)])
    assert any(getattr(node.operation, "moments", False) for node in plan.nodes)
    assert not any(node.operation.name == "BatchMoments" for node in plan.nodes)
    y, normalised, mean, variance = function(x, w, r, scale)
    np.testing.assert_array_equal(y, Function(convolve)(x, w, r))
    exact = y.astype("f8").reshape(-1, y.shape[-1])
    tolerance = 1e-6 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(mean, exact.mean(0), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(variance, exact.var(0), rtol=tolerance)
    expected = ((exact - exact.mean(0)) / exact.std(0)).reshape(y.shape)
    np.testing.assert_allclose(normalised, expected, atol=20 * tolerance)


def convolve_filters(case: str) -> int:
    """How many channels the result has."""
    *_, channels, filters = CASES[case][2]
    return channels if filters == 1 else filters


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_moments(case: str, dtype: str, on_cuda: None) -> None:
    check(case, dtype)


@pytest.mark.parametrize("case", [case for case in CASES if "depthwise" not in case])
def test_moments_on_tensor_cores(case: str, tensor_cores: None) -> None:
    check(case, "float32")


# Convolution; the same by definition; shapes of images and kernel.
PAIRS: dict[str, tuple[Callable, Callable, tuple[int, ...], tuple[int, ...]]] = {
    "strided": (
        lambda x, w: ops.conv2d(x, w, strides=2, padding="same"),
        lambda x, w: reference.conv2d(x, w, stride=(2, 2), padding="same"),
        (2, 5, 4, 2), (3, 3, 2, 3),
    ),
    "groups": (
        lambda x, w: ops.conv2d(x, w, groups=2),
        lambda x, w: reference.conv2d(x, w, groups=2),
        (2, 4, 3, 4), (2, 2, 2, 6),
    ),
    "depthwise": (
        lambda x, w: ops.depthwise_conv2d(x, w, padding="same"),
        lambda x, w: reference.depthwise_conv2d(x, w, padding="same"),
        (2, 4, 3, 3), (3, 2, 3, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("pair", PAIRS)
def test_gradients_through_moments(pair: str, on_cuda: None) -> None:
    """Of a convolution and the batch normalisation that reads its moments, against differences in float64."""
    convolve, by_definition, *shapes = PAIRS[pair]
    rng = np.random.default_rng(5)
    x, w = (rng.normal(size=shape) for shape in shapes)
    results = by_definition(x, w).shape
    dy, scale, offset = (rng.normal(size=shape) for shape in (results, results[-1:], results[-1:]))
    arrays = [x, w, scale, offset]

    def body(x, w, scale, offset, dy):
        z = ops.batch_normalization_training(convolve(x, w), scale, offset)[0]
        return gradients([z], [x, w, scale, offset], [dy])

    def objective(i: int, value: np.ndarray) -> float:
        x, w, scale, offset = [*arrays[:i], value, *arrays[i + 1 :]]
        return (dy * reference.batch_norm_training(by_definition(x, w), scale, offset)[0]).sum()

    function = Function(body)
    plan, _ = function.plan([TensorSpec(array.shape, "float64") for array in (*arrays, dy)])
    assert any(getattr(node.operation, "moments", False) for node in plan.nodes)
    for i, found in enumerate(function(*arrays, dy)):
        numeric = reference.numeric_gradient(lambda value, i=i: objective(i, value), arrays[i])
        assert reference.relative_error(found, numeric) < 1e-6


def test_moments_far_from_zero(device: None) -> None:
    """Mean 1e4, deviation 1e-2, and a first row that is far from the others."""
    from fastcnn.backend.cuda import kernels

    rng = np.random.default_rng(0)
    x = (1e4 + 1e-2 * rng.normal(size=(1, 150, 1, 3))).astype(np.float32)
    x[0, 0] = 0
    weight, none = np.ones((1, 1, 1, 3), np.float32), np.empty((1, 0), np.float32)
    g = ConvGeometry(
        n=1, h=150, w=1, c=3, kh=1, kw=1, f=3, oh=150, ow=1, sh=1, sw=1, pt=0, pl=0, dh=1, dw=1, groups=1
    )
    y, parts = np.empty((1, *x.shape), np.float32), kernels.depthwise_forward_moments.parts(g, "float32")
    moments, partial = np.empty((parts, 3, 3)), np.empty((2, 2, 3))
    kernels.depthwise_forward_moments(x, weight, none, moments, y, -np.inf, g)
    kernels.combine_moments(moments, partial)
    exact = x.astype("f8").reshape(-1, 3)
    np.testing.assert_allclose(partial[:, 0], np.tile(exact.mean(0), (2, 1)), rtol=1e-13)
    np.testing.assert_allclose(partial[:, 1], np.tile(exact.var(0) * 75, (2, 1)), rtol=1e-9)


@pytest.mark.parametrize("channels", [1, 5, 70])
@pytest.mark.parametrize("rows", [1, 3])
def test_combined(channels: int, rows: int, device: None) -> None:
    """Moments of parts of very different sizes and means, one of them empty."""
    from fastcnn.backend.cuda import kernels

    rng = np.random.default_rng(channels)
    parts = [10.0 * size + rng.normal(size=(size, channels)) for size in (7, 1, 120, 2)]
    moments = np.zeros((5, 3, channels))
    for k, x in zip((0, 1, 3, 4), parts, strict=True):
        moments[k] = np.full(channels, len(x)), x.mean(0), ((x - x.mean(0)) ** 2).sum(0)
    partial = np.empty((rows, 2, channels))
    kernels.combine_moments(moments, partial)
    whole = np.concatenate(parts)
    np.testing.assert_allclose(partial[:, 0], np.tile(whole.mean(0), (rows, 1)), rtol=1e-13)
    expected = ((whole - whole.mean(0)) ** 2).sum(0) / rows
    np.testing.assert_allclose(partial[:, 1], np.tile(expected, (rows, 1)), rtol=1e-12)
