"""The reference itself: hand-computed cases, identities between its parts, SciPy, PyTorch (marker peer).

Everything is float64. Two ways of adding the same n numbers differ by about n eps = n 2.2e-16; the longest sums
here have a few hundred terms of order one, so 1e-12 leaves room for cancellation. Central differences with
eps = 1e-5 are good to about 1e-9.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import reference as ref
from scipy import signal

TOLERANCE = 1e-12
DIFFERENCES = 1e-8


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(2024)


def same(a: Any, b: Any, tolerance: float = TOLERANCE) -> None:
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def cells(*values: float) -> ref.Array:
    """One row of one channel: (1, 1, w, 1)."""
    return np.array(values, dtype=np.float64).reshape(1, 1, -1, 1)


# geometry


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "pads"),
    [
        pytest.param(7, 3, 1, 1, (1, 1), id="odd kernel"),
        pytest.param(7, 2, 1, 1, (0, 1), id="even kernel pads the end"),
        pytest.param(8, 3, 2, 1, (0, 1), id="stride divides the size"),
        pytest.param(7, 3, 2, 1, (1, 1), id="stride does not divide the size"),
        pytest.param(7, 3, 1, 2, (2, 2), id="dilated"),
        pytest.param(5, 1, 3, 1, (0, 0), id="stride beyond the kernel"),
        pytest.param(2, 5, 2, 1, (1, 2), id="kernel beyond the size"),
    ],
)
def test_same_padding(size: int, kernel: int, stride: int, dilation: int, pads: ref.Pair) -> None:
    assert ref.same_padding(size, kernel, stride, dilation) == pads
    assert ref.output_length(size, kernel, stride, dilation, pads) == math.ceil(size / stride)


def test_output_size() -> None:
    assert ref.output_size(((1, 1), (1, 1)), (7, 7), (3, 3)) == (7, 7)
    assert ref.output_size("valid", (7, 7), (3, 3), (3, 3)) == (
        2,
        2,
    )  # floor: the last row and column are dropped
    assert ref.output_size("valid", (9, 8), (3, 2), (2, 3), (2, 1)) == (3, 3)
    with pytest.raises(ValueError, match="does not fit"):
        ref.output_size("valid", (3, 3), (5, 5))
    with pytest.raises(ValueError, match="valid"):
        ref.resolve_padding("full", (3, 3), (2, 2))


def test_zero_pad() -> None:
    x = np.ones((1, 7, 7, 2))
    assert ref.zero_pad(x, ((1, 1), (1, 1))).shape == (1, 9, 9, 2)
    padded = ref.zero_pad(x, ((1, 2), (0, 3)))
    assert padded.sum() == x.sum() and padded.shape == (1, 10, 10, 2)
    same(ref.crop(padded, ((1, 2), (0, 3))), x)


# convolution


def random_convolutions(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """Arguments of conv2d over combinations of stride, dilation, groups and padding, images never square."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        kernel = tuple(int(v) for v in rng.integers(1, 5, 2))
        groups, per_group, filters = (int(v) for v in rng.integers(1, 4, 3))
        explicit = tuple((int(a), int(b)) for a, b in rng.integers(0, 3, (2, 2)))
        yield {
            "x": rng.normal(size=(2, int(rng.integers(8, 11)), int(rng.integers(7, 9)), groups * per_group)),
            "w": rng.normal(size=(*kernel, per_group, groups * filters)),
            "stride": tuple(int(v) for v in rng.integers(1, 4, 2)),
            "dilation": tuple(int(v) for v in rng.integers(1, 3, 2)),
            "padding": ("same", "valid", explicit)[int(rng.integers(3))],
            "groups": groups,
        }


def test_conv2d_by_hand() -> None:
    x = np.arange(1.0, 10.0).reshape(1, 3, 3, 1)
    w = np.array([[1.0, 0.0], [0.0, -1.0]]).reshape(2, 2, 1, 1)
    same(ref.conv2d(x, w)[0, ..., 0], [[-4, -4], [-4, -4]])
    same(ref.conv2d(x, w, padding="same")[0, ..., 0], [[-4, -4, 3], [-4, -4, 6], [7, 8, 9]])
    same(ref.conv2d(x, w, bias=[5.0], stride=(2, 2), padding=((1, 0), (1, 0)))[0, ..., 0], [[4, 2], [-2, 1]])


def test_conv2d_one_by_one_changes_depth(rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(2, 5, 4, 64)), rng.normal(size=(1, 1, 64, 32))
    y = ref.conv2d(x, w)
    assert y.shape == (2, 5, 4, 32)
    same(y, ref.dense(x, w[0, 0]))


def test_conv2d_over_the_whole_image_is_dense(rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(3, 4, 3, 2)), rng.normal(size=(4, 3, 2, 5))
    same(ref.conv2d(x, w)[:, 0, 0], ref.dense(x.reshape(3, -1), w.reshape(-1, 5)))


def test_classifier_slides_over_a_larger_image(rng: np.random.Generator) -> None:
    """14 x 14 gives one score vector, 16 x 16 gives 2 x 2: those of its four 14 x 14 windows at stride 2."""
    first, second = rng.normal(size=(5, 5, 3, 4)), rng.normal(size=(5, 5, 4, 4))

    def scores(x: ref.Array) -> ref.Array:
        return ref.conv2d(ref.max_pool2d(ref.conv2d(x, first), (2, 2)), second)

    x = rng.normal(size=(1, 16, 16, 3))
    assert scores(x).shape == (1, 2, 2, 4)
    for i, j in np.ndindex(2, 2):
        window = x[:, 2 * i : 2 * i + 14, 2 * j : 2 * j + 14]
        assert scores(window).shape == (1, 1, 1, 4)
        same(scores(window)[0, 0, 0], scores(x)[0, i, j])


@pytest.mark.parametrize("mode", ["valid", "same"])
def test_conv2d_against_scipy(mode: str, rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(2, 7, 6, 3)), rng.normal(size=(3, 5, 3, 4))
    y = ref.conv2d(x, w, padding=mode)
    for n, f in np.ndindex(2, 4):
        planes = [signal.correlate(x[n, ..., c], w[..., c, f], mode=mode) for c in range(3)]
        same(y[n, ..., f], np.sum(planes, axis=0))


def test_conv2d_does_not_flip(rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(6, 5)), rng.normal(size=(3, 2))
    y = ref.conv2d(x[None, ..., None], w[::-1, ::-1, None, None])
    same(y[0, ..., 0], signal.convolve2d(x, w, mode="valid"))
    same(y[0, ..., 0], signal.fftconvolve(x, w, mode="valid"))


def test_conv2d_gradients_are_adjoint() -> None:
    """y is linear in x and in w, so <dy, y> = <dx, x> = <dw, w>; each side comes from different loops."""
    for case in random_convolutions(seed=1, count=30):
        x, w = case.pop("x"), case.pop("w")
        y = ref.conv2d(x, w, **case)
        dy = np.cos(np.arange(y.size)).reshape(y.shape)
        dx = ref.conv2d_input_gradient(dy, w, x.shape[1:3], **case)
        dw = ref.conv2d_weight_gradient(dy, x, w.shape[:2], **case)
        same((dx * x).sum(), (dy * y).sum(), 1e-11)
        same((dw * w).sum(), (dy * y).sum(), 1e-11)


def test_conv2d_gradients_numerically(rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(1, 5, 4, 2)), rng.normal(size=(3, 2, 1, 4))
    options: dict[str, Any] = {"stride": (2, 1), "padding": "same", "dilation": (1, 2), "groups": 2}
    dy = rng.normal(size=ref.conv2d(x, w, **options).shape)
    dx = ref.numeric_gradient(lambda v: (ref.conv2d(v, w, **options) * dy).sum(), x)
    dw = ref.numeric_gradient(lambda v: (ref.conv2d(x, v, **options) * dy).sum(), w)
    db = ref.numeric_gradient(lambda v: (ref.conv2d(x, w, v, **options) * dy).sum(), np.zeros(4))
    assert ref.relative_error(dx, ref.conv2d_input_gradient(dy, w, (5, 4), **options)) < DIFFERENCES
    assert ref.relative_error(dw, ref.conv2d_weight_gradient(dy, x, (3, 2), **options)) < DIFFERENCES
    assert ref.relative_error(db, ref.bias_gradient(dy)) < DIFFERENCES


def test_depthwise_conv2d_is_a_grouped_convolution(rng: np.random.Generator) -> None:
    x, w = rng.normal(size=(2, 6, 7, 3)), rng.normal(size=(3, 2, 3, 2))
    options: dict[str, Any] = {"stride": (2, 1), "padding": "same", "dilation": (1, 2)}
    grouped = w.reshape(3, 2, 1, 6)
    y = ref.depthwise_conv2d(x, w, np.arange(6.0), **options)
    same(y, ref.conv2d(x, grouped, np.arange(6.0), groups=3, **options))
    dy = rng.normal(size=y.shape)
    dx = ref.conv2d_input_gradient(dy, grouped, (6, 7), groups=3, **options)
    dw = ref.conv2d_weight_gradient(dy, x, (3, 2), groups=3, **options)
    same(ref.depthwise_conv2d_input_gradient(dy, w, (6, 7), **options), dx)
    same(ref.depthwise_conv2d_weight_gradient(dy, x, (3, 2), **options), dw.reshape(w.shape))


def test_separable_conv2d_is_one_kernel(rng: np.random.Generator) -> None:
    """sum_cm x w[c, m] p[cm, f] is a convolution with the kernel sum_m w[c, m] p[cm, f]."""
    x, w, p = rng.normal(size=(2, 6, 5, 3)), rng.normal(size=(3, 3, 3, 2)), rng.normal(size=(1, 1, 6, 4))
    kernel = np.einsum("yxcm,cmf->yxcf", w, p.reshape(3, 2, 4))
    y = ref.separable_conv2d(x, w, p, np.ones(4), stride=(2, 2), padding="same")
    same(y, ref.conv2d(x, kernel, np.ones(4), stride=(2, 2), padding="same"))


def test_im2col_and_col2im() -> None:
    for case in random_convolutions(seed=2, count=10):
        x, w, groups = case.pop("x"), case.pop("w"), case.pop("groups")
        w = np.tile(w, (1, 1, groups, 1))
        columns = ref.im2col(x, w.shape[:2], **case)
        same((columns @ w.reshape(-1, w.shape[3])).ravel(), ref.conv2d(x, w, **case).ravel())
        dcolumns = np.cos(np.arange(columns.size)).reshape(columns.shape)
        dx = ref.col2im(dcolumns, x.shape, w.shape[:2], **case)
        same((dx * x).sum(), (dcolumns * columns).sum(), 1e-11)


@pytest.mark.parametrize(
    ("padding", "stride", "output_padding", "kernel", "expected"),
    [  # x = 1 2 3, w = 1 2 3 ...; what Keras 3.15 returns
        pytest.param("valid", 2, None, 3, [1, 2, 5, 4, 9, 6, 9], id="valid"),
        pytest.param("valid", 2, 1, 3, [1, 2, 5, 4, 9, 6, 9, 0], id="valid, one more"),
        pytest.param("valid", 3, None, 2, [1, 2, 0, 2, 4, 0, 3, 6, 0], id="valid, stride beyond the kernel"),
        pytest.param("same", 2, None, 3, [1, 2, 5, 4, 9, 6], id="same"),
        pytest.param("same", 2, None, 5, [2, 5, 8, 14, 14, 19], id="same, crops both sides"),
        pytest.param("same", 3, None, 2, [1, 2, 0, 2, 4, 0, 3, 6, 0], id="same, stride beyond the kernel"),
        pytest.param("same", 2, 0, 3, [2, 5, 4, 9, 6], id="same, odd kernel, none more"),
        pytest.param("same", 2, 1, 3, [1, 2, 5, 4, 9, 6], id="same, odd kernel, one more"),
        pytest.param("same", 2, 0, 4, [5, 8, 9, 14], id="same, even kernel, none more"),
        pytest.param("same", 2, 1, 4, [2, 5, 8, 9, 14], id="same, even kernel, one more"),
    ],
)
def test_conv2d_transpose_as_keras(
    padding: str, stride: int, output_padding: int | None, kernel: int, expected: list[float]
) -> None:
    extra = None if output_padding is None else (0, output_padding)
    w = np.arange(1.0, kernel + 1).reshape(1, kernel, 1, 1)
    same(ref.conv2d_transpose(cells(1, 2, 3), w, None, (1, stride), padding, extra).ravel(), expected)


@pytest.mark.parametrize("padding", ["same", "valid", ((1, 0), (0, 2))])
def test_conv2d_transpose_is_the_gradient_of_conv2d(padding: ref.Padding, rng: np.random.Generator) -> None:
    w, stride, dilation = rng.normal(size=(3, 4, 2, 5)), (2, 3), (2, 1)
    size = tuple(
        ref.transposed_geometry(length, *axis)[0]
        for length, *axis in zip((4, 3), (3, 4), stride, dilation, _per_axis(padding), strict=True)
    )
    assert ref.output_size(padding, size, (3, 4), stride, dilation) == (4, 3)
    dy = rng.normal(size=(2, 4, 3, 5))
    y = ref.conv2d_transpose(dy, w, None, stride, padding, dilation=dilation)
    same(y, ref.conv2d_input_gradient(dy, w, size, stride, padding, dilation))


def _per_axis(padding: ref.Padding) -> tuple[Any, Any]:
    return (padding, padding) if isinstance(padding, str) else padding


def test_conv2d_transpose_gradients_are_adjoint(rng: np.random.Generator) -> None:
    for padding in ("same", "valid", ((1, 0), (0, 2))):
        for stride, output_padding in (((1, 2), None), ((3, 2), (0, 1)), ((3, 3), (2, 0)), ((5, 2), None)):
            x, w = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=(3, 4, 2, 5))
            options: dict[str, Any] = {"stride": stride, "padding": padding, "output_padding": output_padding}
            y = ref.conv2d_transpose(x, w, dilation=(1, 2), **options)
            dy = rng.normal(size=y.shape)
            dx, dw = ref.conv2d_transpose_gradients(dy, x, w, dilation=(1, 2), **options)
            same((dx * x).sum(), (dy * y).sum(), 1e-11)
            same((dw * w).sum(), (dy * y).sum(), 1e-11)


# dense, differences


def test_dense_gradients(rng: np.random.Generator) -> None:
    x, w, dy = rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 5)), rng.normal(size=(2, 3, 5))
    same(ref.dense(x, w, np.arange(5.0)), x @ w + np.arange(5.0))
    dx, dw, db = ref.dense_gradients(dy, x, w)
    same(dx, dy @ w.T)
    same(dw, np.einsum("nkc,nkf->cf", x, dy))
    same(db, dy.sum((0, 1)))


def test_numeric_gradient_of_a_quadratic_form(rng: np.random.Generator) -> None:
    """f = |W x|^2 with q = W x: df/dW = 2 q x^T, df/dx = 2 W^T q; central differences are exact."""
    w, x = rng.normal(size=(3, 4)), rng.normal(size=4)
    q = w @ x
    same(ref.numeric_gradient(lambda v: ((v @ x) ** 2).sum(), w), 2 * np.outer(q, x), 1e-9)
    same(ref.numeric_gradient(lambda v: ((w @ v) ** 2).sum(), x), 2 * w.T @ q, 1e-9)


def test_relative_error() -> None:
    assert ref.relative_error([3.0, 0.0], [0.0, 4.0]) == 5 / 7
    assert ref.relative_error([0.0], [0.0]) == 0.0
    assert math.isnan(ref.relative_error([np.nan], [1.0]))
    with pytest.raises(ValueError, match="shapes"):
        ref.relative_error(np.ones((2, 1)), np.ones(2))


# pooling

POOLS = [
    pytest.param((2, 2), None, "valid", id="plain"),
    pytest.param((3, 2), (2, 3), "same", id="same, nothing equal"),
    pytest.param((3, 3), (1, 2), "valid", id="overlapping"),
    pytest.param((2, 3), (3, 1), ((1, 0), (2, 1)), id="explicit"),
    pytest.param((7, 6), (2, 2), "same", id="window beyond the image"),
]


def test_max_pool2d_by_hand() -> None:
    x = np.array([[1, 3, 2, 1], [2, 9, 1, 1], [1, 3, 2, 3], [5, 6, 1, 2.0]])[None, ..., None]
    same(ref.max_pool2d(x, (2, 2))[0, ..., 0], [[9, 2], [6, 3]])
    same(ref.max_pool2d(-x, (3, 3), (2, 2), "same")[0, ..., 0], [[-1, -1], [-1, -1]])
    same(ref.average_pool2d(x, (2, 2))[0, ..., 0], [[3.75, 1.25], [3.75, 2]])


def test_average_pool2d_leaves_padding_out() -> None:
    x = np.ones((1, 5, 4, 2))
    for padding in ("same", ((2, 1), (0, 2))):
        same(ref.average_pool2d(x, (3, 3), (2, 2), padding), np.ones((1, 3, 2, 2)))
    same(ref.average_pool2d(cells(1, 2, 6), (1, 2), (1, 2), "same").ravel(), [1.5, 6])


def test_max_pool2d_gradient_goes_to_the_first_maximum() -> None:
    x = np.array([[0, 5, 5], [5, 1, 2.0]])[None, ..., None]
    same(ref.max_pool2d_gradient([[[[7.0]]]], x, (2, 3))[0, ..., 0], [[0, 7, 0], [0, 0, 0]])
    same(ref.max_pool2d_gradient(cells(1, 10), cells(4, 4, 4), (1, 2), (1, 1)).ravel(), [1, 10, 0])
    same(ref.max_pool2d_gradient(cells(7), cells(-np.inf, -np.inf), (1, 2)).ravel(), [7, 0])


def test_pooling_propagates_nan() -> None:
    x = cells(1, np.nan, 3, 4)
    np.testing.assert_array_equal(ref.max_pool2d(x, (1, 2)).ravel(), [np.nan, 4])
    np.testing.assert_array_equal(ref.average_pool2d(x, (1, 2)).ravel(), [np.nan, 3.5])
    np.testing.assert_array_equal(ref.global_max_pool2d(x).ravel(), [np.nan])
    same(ref.max_pool2d_gradient(cells(1, 10), x, (1, 2)).ravel(), [0, 1, 0, 10])


def test_pooling_refuses_an_empty_window() -> None:
    with pytest.raises(ValueError, match="without a cell"):
        ref.max_pool2d(np.ones((1, 4, 4, 1)), (2, 2), (1, 1), ((2, 0), (0, 0)))


@pytest.mark.parametrize(("pool", "stride", "padding"), POOLS)
def test_pooling_gradients(
    pool: ref.Pair, stride: ref.Pair | None, padding: ref.Padding, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(2, 5, 4, 2))
    y = ref.average_pool2d(x, pool, stride, padding)
    dy = rng.normal(size=y.shape)
    average = ref.numeric_gradient(lambda v: (ref.average_pool2d(v, pool, stride, padding) * dy).sum(), x)
    assert (
        ref.relative_error(average, ref.average_pool2d_gradient(dy, (5, 4), pool, stride, padding))
        < DIFFERENCES
    )
    largest = ref.numeric_gradient(lambda v: (ref.max_pool2d(v, pool, stride, padding) * dy).sum(), x)
    assert ref.relative_error(largest, ref.max_pool2d_gradient(dy, x, pool, stride, padding)) < DIFFERENCES


def test_global_pooling(rng: np.random.Generator) -> None:
    x, dy = rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 5))
    same(ref.global_average_pool2d(x), ref.average_pool2d(x, (3, 4))[:, 0, 0])
    same(ref.global_max_pool2d(x, keepdims=True), ref.max_pool2d(x, (3, 4)))
    average = ref.numeric_gradient(lambda v: (ref.global_average_pool2d(v) * dy).sum(), x)
    largest = ref.numeric_gradient(lambda v: (ref.global_max_pool2d(v) * dy).sum(), x)
    assert ref.relative_error(average, ref.global_average_pool2d_gradient(dy, (3, 4))) < DIFFERENCES
    assert ref.relative_error(largest, ref.global_max_pool2d_gradient(dy, x)) < DIFFERENCES


# normalisation


def test_batch_norm_by_hand() -> None:
    y, mean, variance = ref.batch_norm_training(
        [[0.0, 1.0], [2.0, 1.0]], [3.0, 1.0], [10.0, 5.0], epsilon=1e-12
    )
    same(y, [[7, 5], [13, 5]], 1e-10)
    same([mean, variance], [[1, 1], [1, 0]])  # biased: ((0-1)^2 + (2-1)^2) / 2
    same(ref.moving_average([4.0], [8.0], momentum=0.75), [5.0])
    same(ref.batch_norm_inference([[7.0]], [2.0], [1.0], [3.0], [3.75], epsilon=0.25), [[5.0]])


@pytest.mark.parametrize("axis", [-1, 1])
def test_batch_norm_gradients(axis: int, rng: np.random.Generator) -> None:
    x, dy = rng.normal(size=(3, 4, 2, 5)) * 2 + 1, rng.normal(size=(3, 4, 2, 5))
    gamma, beta = rng.normal(size=x.shape[axis]), rng.normal(size=x.shape[axis])

    def loss(x: ref.Array, gamma: ref.Array, beta: ref.Array) -> float:
        return float((ref.batch_norm_training(x, gamma, beta, axis=axis)[0] * dy).sum())

    dx, dgamma, dbeta = ref.batch_norm_training_gradients(dy, x, gamma, axis=axis)
    assert ref.relative_error(dx, ref.numeric_gradient(lambda v: loss(v, gamma, beta), x)) < DIFFERENCES
    assert ref.relative_error(dgamma, ref.numeric_gradient(lambda v: loss(x, v, beta), gamma)) < DIFFERENCES
    assert ref.relative_error(dbeta, ref.numeric_gradient(lambda v: loss(x, gamma, v), beta)) < DIFFERENCES


def test_batch_norm_inference_gradients(rng: np.random.Generator) -> None:
    x, dy, gamma, mean = (rng.normal(size=shape) for shape in ((3, 2, 4), (3, 2, 4), 4, 4))
    variance = rng.random(4) + 0.5

    def loss(x: ref.Array, gamma: ref.Array, beta: ref.Array) -> float:
        return float((ref.batch_norm_inference(x, gamma, beta, mean, variance) * dy).sum())

    dx, dgamma, dbeta = ref.batch_norm_inference_gradients(dy, x, gamma, mean, variance)
    zero = np.zeros(4)
    assert ref.relative_error(dx, ref.numeric_gradient(lambda v: loss(v, gamma, zero), x)) < DIFFERENCES
    assert ref.relative_error(dgamma, ref.numeric_gradient(lambda v: loss(x, v, zero), gamma)) < DIFFERENCES
    assert ref.relative_error(dbeta, ref.numeric_gradient(lambda v: loss(x, gamma, v), zero)) < DIFFERENCES


def test_layer_norm_and_group_norm(rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4, 6)) * 3 + 1
    same(ref.layer_norm([[0.0, 2.0]], [1.0, 2.0], [5.0, 5.0], epsilon=1e-14), [[4, 7]])
    same(ref.group_norm(x, groups=1), ref.layer_norm(x, axis=(1, 2, 3)))
    same(ref.group_norm(x, groups=-1), ref.layer_norm(x, axis=(1, 2)))
    same(ref.group_norm(x, groups=-1), ref.group_norm(x, groups=6))
    halves = [ref.layer_norm(x[..., :3], axis=(-1, 1, 2)), ref.layer_norm(x[..., 3:], axis=(1, 2, 3))]
    same(ref.group_norm(x, groups=2), np.concatenate(halves, axis=-1))


# activations


@pytest.mark.parametrize(
    ("activation", "at_minus_two", "at_half", "at_four"),
    [
        (ref.relu, 0, 0.5, 4),
        (ref.relu6, 0, 0.5, 4),
        (ref.leaky_relu, -0.4, 0.5, 4),
        (ref.elu, math.exp(-2) - 1, 0.5, 4),
        (ref.selu, 1.7580993408473766 * (math.exp(-2) - 1), 0.5253504936777402, 4.202803949421922),
        (ref.celu, math.exp(-2) - 1, 0.5, 4),
        (ref.gelu, -0.04550026389635842, 0.34573123063700656, 4 - 4 * 3.1671241833119924e-05),
        (ref.silu, -2 / (1 + math.exp(2)), 0.5 / (1 + math.exp(-0.5)), 4 / (1 + math.exp(-4))),
        (
            ref.mish,
            -2 * math.tanh(math.log1p(math.exp(-2))),
            0.5 * math.tanh(math.log1p(math.exp(0.5))),
            None,
        ),
        (ref.softplus, math.log1p(math.exp(-2)), math.log1p(math.exp(0.5)), math.log1p(math.exp(4))),
        (ref.softsign, -2 / 3, 1 / 3, 0.8),
        (ref.squareplus, math.sqrt(2) - 1, (0.5 + math.sqrt(4.25)) / 2, 2 + math.sqrt(5)),
        (ref.sigmoid, 1 / (1 + math.exp(2)), 1 / (1 + math.exp(-0.5)), 1 / (1 + math.exp(-4))),
        (ref.log_sigmoid, -math.log1p(math.exp(2)), -math.log1p(math.exp(-0.5)), -math.log1p(math.exp(-4))),
        (ref.hard_sigmoid, 1 / 6, 3.5 / 6, 1),
        (ref.hard_silu, -1 / 3, 1.75 / 6, 4),
        (ref.tanh, math.tanh(-2), math.tanh(0.5), math.tanh(4)),
        (ref.hard_tanh, -1, 0.5, 1),
        (ref.tanh_shrink, -2 - math.tanh(-2), 0.5 - math.tanh(0.5), 4 - math.tanh(4)),
        (ref.soft_shrink, -1.5, 0, 3.5),
        (ref.hard_shrink, -2, 0, 4),
        (ref.exponential, math.exp(-2), math.exp(0.5), math.exp(4)),
        (ref.linear, -2, 0.5, 4),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_activation_by_hand(
    activation: Callable[..., ref.Array], at_minus_two: float, at_half: float, at_four: float | None
) -> None:
    same(activation([-2.0, 0.5]), [at_minus_two, at_half])
    if at_four is not None:
        same(activation([4.0]), [at_four])
    assert np.isnan(activation([np.nan])).all()


def test_relu_with_all_arguments() -> None:
    x = [-2.0, 0.0, 0.5, 1.0, 3.0, 9.0]
    same(ref.relu(x, max_value=2.0), [0, 0, 0.5, 1, 2, 2])
    same(ref.relu(x, threshold=1.0), [0, 0, 0, 0, 3, 9])  # strictly above the threshold
    same(ref.relu(x, negative_slope=0.5, max_value=5.0, threshold=1.0), [-1.5, -0.5, -0.25, 0, 3, 5])
    same(ref.relu([-np.inf, np.inf]), [0, np.inf])


def test_activations_do_not_overflow() -> None:
    x = [-1000.0, 0.0, 1000.0]
    same(ref.sigmoid(x), [0, 0.5, 1])
    same(ref.softplus(x), [0, math.log(2), 1000])
    same(ref.log_sigmoid(x), [-1000, -math.log(2), 0])
    same(ref.silu(x), [0, 0, 1000])
    same(ref.elu(x), [-1, 0, 1000])
    same(ref.log_softmax(x), [-2000, -1000, 0])
    same(ref.softmax(x), [0, 0, 1])


def test_gelu_approximation_is_close() -> None:
    x = np.linspace(-4, 4, 41)
    assert 0 < np.abs(ref.gelu(x, approximate=True) - ref.gelu(x)).max() < 5e-4


def test_softmax_of_two_is_sigmoid(rng: np.random.Generator) -> None:
    x = rng.normal(size=(5, 2))
    same(ref.softmax(x)[:, 1], ref.sigmoid(x[:, 1] - x[:, 0]))


@pytest.mark.parametrize("axis", [0, 1, -1, (1, 2)])
def test_softmax_sums_to_one(axis: int | tuple[int, ...], rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4))
    same(ref.softmax(x, axis).sum(axis), np.ones_like(x).mean(axis))
    same(ref.softmax(x, axis), np.exp(x) / np.exp(x).sum(axis, keepdims=True))
    same(ref.log_softmax(x, axis), np.log(ref.softmax(x, axis)))


def test_glu_and_prelu() -> None:
    same(ref.glu([3.0, 5.0, 0.0, 1000.0]), [1.5, 5.0])
    x = np.array([[[-1.0, 2.0], [3.0, -4.0]]])
    same(ref.prelu(x, [[0.5, 0.25]]), [[[-0.5, 2], [3, -1]]])
    assert np.isnan(ref.prelu([np.nan], 0.0)).all()


# losses

Y = [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
P = [[0.2, 0.3, 0.5], [0.1, 0.9, 0.4]]
LOGITS = [[2.0, -1.0, 0.5], [0.0, 3.0, 1.0]]
SMOOTH = {"from_logits": True, "label_smoothing": 0.1}


@pytest.mark.parametrize(
    ("loss", "options", "expected"),
    [  # what Keras 3.15 returns, which takes means in float32
        (ref.mean_squared_error, {}, [0.126666665, 0.0599999987]),
        (ref.mean_absolute_error, {}, [0.333333343, 0.200000018]),
        (ref.mean_absolute_percentage_error, {}, [166666688.0, 166666675.0]),
        (ref.mean_squared_logarithmic_error, {}, [0.061612349, 0.041642841]),
        (ref.huber, {}, [0.0633333325, 0.0299999993]),
        (ref.log_cosh, {}, [0.061441116, 0.0293122884]),
        (ref.hinge, {}, [1.0, 0.866666675]),
        (ref.squared_hinge, {}, [1.12666678, 1.06000006]),
        (ref.categorical_hinge, {}, [0.8, 0.5]),
        (ref.kl_divergence, {}, [0.693144238, 0.105357614]),
        (ref.poisson, {}, [0.564382315, 0.501786828]),
        (ref.cosine_similarity, {}, [-0.811107106, -0.90913729]),
        (ref.categorical_crossentropy, {}, [0.693147181, 0.441832752]),
        (ref.categorical_crossentropy, SMOOTH, [1.7413113, 0.336512686]),
        (ref.binary_crossentropy, {}, [0.42432189, 0.24051556]),
        (ref.binary_crossentropy, SMOOTH, [0.96308893, 0.718332052]),
        (ref.binary_focal_crossentropy, {}, [0.0714377612, 0.0279464386]),
        (ref.binary_focal_crossentropy, SMOOTH, [0.515426159, 0.269378573]),
        (ref.categorical_focal_crossentropy, {}, [0.0433216988, 0.0140890546]),
        (ref.categorical_focal_crossentropy, SMOOTH, [0.301379109, 0.0393976552]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_loss_as_keras(
    loss: Callable[..., ref.Array], options: dict[str, Any], expected: list[float]
) -> None:
    same(loss(Y, LOGITS if options else P, **options), expected, 1e-6)


def test_softmax_loss_by_hand() -> None:
    """ln C when nothing is known; -s_y + log sum e^s otherwise; no less than 0."""
    same(ref.sparse_categorical_crossentropy([3, 0], np.zeros((2, 10)), from_logits=True), np.log([10, 10]))
    same(ref.categorical_crossentropy([[0, 1.0]], [[0.0, 1000.0]], from_logits=True), [0])
    same(ref.categorical_crossentropy([[1.0, 0]], [[0.0, 1000.0]], from_logits=True), [1000])
    same(ref.categorical_crossentropy([[1.0, 0]], [[0.0, 1.0]]), [-math.log(1e-7)], 1e-9)
    same(ref.categorical_crossentropy([[1.0, 0]], [[1.0, 3.0]]), [math.log(4)])  # made to sum to 1 first


def test_binary_crossentropy_by_hand() -> None:
    same(ref.binary_crossentropy([[1.0], [0.0]], [[0.25], [0.25]]), [math.log(4), math.log(4 / 3)])
    same(ref.binary_crossentropy([[1.0], [0.0]], [[-1000.0], [0.0]], from_logits=True), [1000, math.log(2)])
    same(ref.binary_crossentropy([[0.0], [1.0]], [[1.0], [1.0]]), [-math.log(1e-7), 1e-7], 1e-8)
    same(
        ref.binary_crossentropy([[1.0]], [[0.25]], label_smoothing=0.5),
        [-0.75 * math.log(0.25) - 0.25 * math.log(0.75)],
    )


def test_logits_agree_with_probabilities(rng: np.random.Generator) -> None:
    logits, labels = rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
    y = np.eye(4)[labels]
    for loss in (ref.categorical_crossentropy, ref.categorical_focal_crossentropy):
        same(loss(y, logits, from_logits=True), loss(y, ref.softmax(logits)))
    for loss in (ref.binary_crossentropy, ref.binary_focal_crossentropy):
        same(
            loss(y, logits, from_logits=True, label_smoothing=0.2),
            loss(y, ref.sigmoid(logits), label_smoothing=0.2),
        )
    for from_logits in (True, False):
        p = logits if from_logits else ref.softmax(logits)
        for smoothing in (0.0, 0.1):
            sparse = ref.sparse_categorical_crossentropy(labels, p, from_logits, label_smoothing=smoothing)
            same(sparse, ref.categorical_crossentropy(y, p, from_logits, smoothing))


def test_focal_losses_reduce_to_cross_entropy(rng: np.random.Generator) -> None:
    p, y = rng.random((5, 4)), np.eye(4)[rng.integers(0, 4, 5)]
    same(ref.binary_focal_crossentropy(y, p, gamma=0.0), ref.binary_crossentropy(y, p))
    same(ref.categorical_focal_crossentropy(y, p, alpha=1.0, gamma=0.0), ref.categorical_crossentropy(y, p))
    half = ref.binary_focal_crossentropy(y, p, apply_class_balancing=True, alpha=0.5)
    same(half, ref.binary_focal_crossentropy(y, p) / 2)


def test_huber_limits(rng: np.random.Generator) -> None:
    y, p = rng.normal(size=(4, 3)), rng.normal(size=(4, 3))
    same(ref.huber(y, p, delta=1e9), ref.mean_squared_error(y, p) / 2)
    same(ref.huber(y, p, delta=1e-9) / 1e-9, ref.mean_absolute_error(y, p), 1e-8)
    same(ref.huber([[0.0]], [[1.0]], delta=1.0), [0.5])


def test_hinge_labels() -> None:
    p = [[0.5, -2.0], [2.0, 0.0]]
    same(ref.hinge([[1, 0], [1, 0]], p), ref.hinge([[1, -1], [1, -1]], p))
    same(ref.hinge([[1, -1], [1, -1]], p), [0.25, 0.5])
    same(ref.squared_hinge([[1, -1], [1, -1]], p), [0.125, 0.5])
    same(ref.categorical_hinge([[1.0, 0, 0]], [[13.0, -7, 11]]), [0])


def test_ranks_are_expanded_and_never_broadcast(rng: np.random.Generator) -> None:
    y, p = rng.normal(size=5), rng.normal(size=(5, 1))
    same(ref.mean_squared_error(y, p), (y - p[:, 0]) ** 2)
    same(ref.mean_squared_error(p, y), (y - p[:, 0]) ** 2)
    images = rng.normal(size=(2, 3, 4))
    same(ref.mean_squared_error(images[..., None], images), np.zeros((2, 3)))
    logits = rng.normal(size=(5, 3))
    labels = np.array([0, 1, 2, 0, 1])
    column = ref.sparse_categorical_crossentropy(labels[:, None], logits, from_logits=True)
    same(column, ref.sparse_categorical_crossentropy(labels, logits, from_logits=True))


def test_sparse_crossentropy_along_another_axis(rng: np.random.Generator) -> None:
    logits, labels = rng.normal(size=(2, 3, 4)), rng.integers(0, 3, (2, 4))
    moved = ref.sparse_categorical_crossentropy(labels, logits, from_logits=True, axis=1)
    same(moved, ref.sparse_categorical_crossentropy(labels, np.moveaxis(logits, 1, -1), from_logits=True))


def test_reduce_loss() -> None:
    values, weight = [1.0, 2.0, 6.0], [2.0, 0.0, 1.0]
    for reduction, plain, weighted in (
        ("sum_over_batch_size", 3.0, 8 / 3),
        ("mean", 3.0, 8 / 3),
        ("sum", 9.0, 8.0),
        ("mean_with_sample_weight", 3.0, 8 / 3),
        ("none", [1, 2, 6], [2, 0, 6]),
        (None, [1, 2, 6], [2, 0, 6]),
    ):
        same(ref.reduce_loss(values, None, reduction), plain)
        same(ref.reduce_loss(values, weight, reduction), weighted)
        same(ref.reduce_loss(values, np.array(weight)[:, None], reduction), weighted)
    same(ref.reduce_loss(values, [4.0, 0.0, 1.0], "mean_with_sample_weight"), 2.0)
    same(ref.reduce_loss(values, [0.0, 0.0, 0.0], "mean_with_sample_weight"), 0.0)
    same(
        ref.reduce_loss([[1.0, 2.0], [3.0, 4.0]], [1.0, 10.0]), 73 / 4
    )  # weights go with samples, not columns
    with pytest.raises(ValueError, match="unknown"):
        ref.reduce_loss(values, None, "median")


def test_reduce_loss_with_ignored_class() -> None:
    labels, logits = [0, 255, 1], np.zeros((3, 4))
    values = ref.sparse_categorical_crossentropy(labels, logits, from_logits=True, ignore_class=255)
    mask = ref.valid_labels(labels, logits, 255)
    same(values, np.log([4, 1, 4]))
    same(ref.reduce_loss(values, mask=mask), math.log(4))  # over the two that count
    same(ref.reduce_loss(values, [1.0, 5.0, 3.0], mask=mask), 2 * math.log(4))
    same(ref.reduce_loss(values, [1.0, 5.0, 3.0], "mean_with_sample_weight", mask), math.log(4))
    same(ref.reduce_loss(values, [1.0, 5.0, 3.0], "sum", mask), 4 * math.log(4))
    same(ref.reduce_loss(values, mask=[False] * 3), 0.0)


# optimizers


@pytest.mark.parametrize(
    ("rule", "options", "expected"),
    [  # w = (0.5, -1.5) after three steps of Keras 3.15 with learning rate 0.1
        (ref.sgd, {}, [0.75, -1.61]),
        (ref.sgd, {"momentum": 0.9}, [0.534, -1.538]),
        (ref.sgd, {"momentum": 0.9, "nesterov": True}, [0.7806, -1.6442]),
        (ref.rmsprop, {}, [0.342801164289, -1.46041996949]),
        (
            ref.rmsprop,
            {"momentum": 0.5, "centered": True, "epsilon": 0.01},
            [0.0280837068147, -1.33559994887],
        ),
        (ref.adam, {}, [0.348928789382, -1.44568257913]),
        (ref.adam, {"amsgrad": True, "beta_2": 0.5}, [0.342808572305, -1.44069002727]),
        (ref.adam, {"weight_decay": 0.1}, [0.33700046009, -1.40287337438]),
        (ref.adagrad, {}, [0.457651333189, -1.4868757267]),
        (ref.adadelta, {}, [0.499977494289, -1.50003371046]),
        (ref.adamax, {}, [0.351518801024, -1.43558130921]),
        (ref.nadam, {}, [0.441590715276, -1.4805625029]),
        (ref.lion, {}, [0.4, -1.6]),
        (ref.sgd, {"weight_decay": 0.1, "clipnorm": 1.0}, [0.525011360403, -1.46793790859]),
        (ref.sgd, {"global_clipnorm": 1.0}, [0.53880750636, -1.5116958924]),
        (ref.sgd, {"clipvalue": 1.0}, [0.45, -1.51]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_optimizer_as_keras(rule: ref.Rule, options: dict[str, Any], expected: list[float]) -> None:
    weights, states = [np.array([0.5, -1.5])], [{}]
    for step, g in enumerate(([1.0, -2.0], [0.5, 3.0], [-4.0, 0.1]), start=1):
        weights, states = ref.optimizer_step(rule, weights, [g], states, step, 0.1, **options)
    same(weights[0], expected, 1e-11)


def test_adamw_is_adam_after_decay(rng: np.random.Generator) -> None:
    w, g = rng.normal(size=4), rng.normal(size=4)
    plain, _ = ref.optimizer_step(ref.adam, [w], [g], [{}], 1, 0.1, weight_decay=0.2)
    same(ref.adamw(w, g, {}, 1, 0.1, 0.2)[0], plain[0])
    same(ref.adamw(w, np.zeros(4), {}, 1, 0.1, 0.2)[0], w * 0.98)


def test_first_steps_by_hand() -> None:
    """With w = 0 and g = -3 the first step is lr times something short."""
    w, g = np.zeros(1), np.array([-3.0])
    same(ref.sgd(w, g, {}, 1, 0.1)[0], [0.3])
    same(ref.sgd(w, g, {}, 1, 0.1, 0.5, True)[0], [0.45])
    same(ref.rmsprop(w, g, {}, 1, 0.1, epsilon=0.1)[0], [0.3])  # v = 0.9, v + epsilon = 1: inside the root
    same(ref.adam(w, g, {}, 1, 0.1, epsilon=1.0)[0], [0.1 * 3 / (3 + 1 / math.sqrt(0.001))])  # epsilon hat
    same(ref.adagrad(w, g, {}, 1, 0.1, 6.0, 1.0)[0], [0.3 / 4])
    same(ref.adadelta(w, g, {}, 1, 2.0, 0.5, 0.25)[0], [2 * 3 * 0.5 / math.sqrt(4.75)])
    same(ref.adamax(w, g, {}, 1, 0.1, epsilon=1.0)[0], [0.1 * 3 / 4])
    same(ref.lion(w, g, {}, 1, 0.1)[0], [0.1])
    u, next_u = 0.9 * (1 - 0.5 * 0.96), 0.9 * (1 - 0.5 * 0.96**2)
    m_hat = next_u * 0.3 / (1 - u * next_u) + (1 - u) * 3 / (1 - u)
    same(ref.nadam(w, g, {}, 1, 0.1, epsilon=1.0)[0], [0.1 * m_hat / 4])


def test_sgd_oscillates_on_a_parabola() -> None:
    """J = x^2, rate 1: 5, -5, 5, -5."""
    x, seen = np.array([5.0]), []
    for step in range(1, 4):
        x, _ = ref.sgd(x, 2 * x, {}, step, 1.0)
        seen.append(float(x[0]))
    assert seen == [-5.0, 5.0, -5.0]


def test_clipping() -> None:
    grads = [np.array([3.0, 4.0]), np.array([[0.0, 12.0]])]
    same(ref.clip_by_value(grads, 3.5)[0], [3, 3.5])
    same(ref.clip_by_norm(grads, 10.0)[0], [3, 4])
    same(ref.clip_by_norm(grads, 1.0)[1], [[0, 1]])
    same(ref.clip_by_global_norm(grads, 6.5)[0], [1.5, 2])
    same(ref.clip_by_global_norm(grads, 13.0)[1], grads[1])
    same(ref.clip_by_norm([np.zeros(2)], 1.0)[0], [0, 0])


def test_average_weights_starts_at_the_weights() -> None:
    average = ref.average_weights([0.0], [4.0], step=1, momentum=0.75)
    same(average, [4])
    same(ref.average_weights(average, [8.0], step=2, momentum=0.75), [5])


# shape


def test_upsample_by_hand() -> None:
    same(ref.upsample_nearest(cells(1, 2), (2, 3))[0, :, :, 0], [[1, 1, 1, 2, 2, 2]] * 2)
    same(ref.upsample_bilinear(cells(0, 1), (1, 2)).ravel(), [0, 0.25, 0.75, 1])
    same(ref.upsample_bilinear(cells(0, 3), (1, 3)).ravel(), [0, 0, 1, 2, 3, 3])


@pytest.mark.parametrize("size", [(2, 2), (3, 1), (1, 4), (2, 3)])
def test_upsample_gradients_are_adjoint(size: ref.Pair, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4, 2))
    dy = rng.normal(size=(2, 3 * size[0], 4 * size[1], 2))
    dx = ref.upsample_nearest_gradient(dy, size)
    same((dx * x).sum(), (dy * ref.upsample_nearest(x, size)).sum())
    dx = ref.upsample_bilinear_gradient(dy, size)
    same((dx * x).sum(), (dy * ref.upsample_bilinear(x, size)).sum())


def test_concatenate(rng: np.random.Generator) -> None:
    xs = [rng.normal(size=(2, 3, c)) for c in (1, 4, 2)]
    y = ref.concatenate(xs)
    assert y.shape == (2, 3, 7)
    for x, piece in zip(xs, ref.concatenate_gradient(y, (1, 4, 2)), strict=True):
        same(piece, x)


@pytest.mark.parametrize("shape", [(3, 4), (4,), (1, 4), (3, 1), (), (1,), (2, 3, 4), (1, 1, 1), (2, 1, 4)])
def test_sum_to_shape(shape: tuple[int, ...], rng: np.random.Generator) -> None:
    x, dy = rng.normal(size=shape), rng.normal(size=(2, 3, 4))
    dx = ref.sum_to_shape(dy, shape)
    assert dx.shape == shape
    same((dx * x).sum(), (dy * x).sum())


def test_reductions() -> None:
    x = [[1.0, np.nan], [3.0, 5.0]]
    np.testing.assert_array_equal(ref.reduce_max(x, axis=0), [3, np.nan])
    np.testing.assert_array_equal(ref.reduce_min(x, axis=1, keepdims=True), [[np.nan], [3]])
    same(ref.reduce_sum(x, axis=1)[1], 8)
    same(ref.reduce_mean(x, axis=-1)[1], 4)


# PyTorch


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def nchw(torch: Any, x: Any, gradient: bool = False) -> Any:
    return torch.tensor(np.moveaxis(np.asarray(x, dtype=np.float64), -1, 1).copy(), requires_grad=gradient)


def nhwc(t: Any) -> ref.Array:
    return np.moveaxis(t.detach().numpy(), 1, -1)


def oihw(torch: Any, w: Any) -> Any:
    return torch.tensor(np.transpose(w, (3, 2, 0, 1)).copy(), requires_grad=True)


def hwio(t: Any) -> ref.Array:
    return np.transpose(t.numpy(), (2, 3, 1, 0))


def padded(torch: Any, x: Any, pads: tuple[ref.Pair, ref.Pair], value: float = 0.0) -> Any:
    (top, bottom), (left, right) = pads
    return torch.nn.functional.pad(x, (left, right, top, bottom), value=value)


@pytest.mark.peer
@pytest.mark.parametrize("seed", range(4))
def test_conv2d_against_torch(torch: Any, seed: int) -> None:
    for case in random_convolutions(seed, count=12):
        x, w = case.pop("x"), case.pop("w")
        stride, dilation, groups = case["stride"], case["dilation"], case["groups"]
        pads = ref.resolve_padding(case["padding"], x.shape[1:3], w.shape[:2], stride, dilation)
        tx, tw = nchw(torch, x, gradient=True), oihw(torch, w)
        ty = torch.nn.functional.conv2d(
            padded(torch, tx, pads), tw, stride=stride, dilation=dilation, groups=groups
        )
        y = ref.conv2d(x, w, **case)
        dy = np.cos(np.arange(y.size)).reshape(y.shape)
        ty.backward(nchw(torch, dy))
        same(y, nhwc(ty))
        same(ref.conv2d_input_gradient(dy, w, x.shape[1:3], **case), nhwc(tx.grad))
        same(ref.conv2d_weight_gradient(dy, x, w.shape[:2], **case), hwio(tw.grad))


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
def test_same_padding_against_torch(torch: Any, rng: np.random.Generator) -> None:
    """PyTorch has "same" for stride 1 only."""
    for kernel, dilation in (((2, 3), (1, 1)), ((4, 2), (2, 1)), ((3, 1), (3, 2))):
        x, w = rng.normal(size=(2, 9, 8, 3)), rng.normal(size=(*kernel, 3, 2))
        ty = torch.nn.functional.conv2d(nchw(torch, x), oihw(torch, w), padding="same", dilation=dilation)
        same(ref.conv2d(x, w, padding="same", dilation=dilation), nhwc(ty))


@pytest.mark.peer
def test_conv2d_transpose_against_torch(torch: Any, rng: np.random.Generator) -> None:
    """PyTorch crops the same on all sides and adds output_padding < stride at the end."""
    for _ in range(20):
        kernel, stride, dilation = (tuple(int(v) for v in rng.integers(1, high, 2)) for high in (5, 4, 3))
        crops = tuple(
            int(rng.integers(0, (k - 1) * d // 2 + 2)) for k, d in zip(kernel, dilation, strict=True)
        )
        extra = tuple(int(rng.integers(0, max(s, d))) for s, d in zip(stride, dilation, strict=True))
        x, w = rng.normal(size=(2, 5, 4, 3)), rng.normal(size=(*kernel, 2, 3))
        tx, tw = nchw(torch, x, gradient=True), oihw(torch, w)
        ty = torch.nn.functional.conv_transpose2d(tx, tw, None, stride, crops, extra, 1, dilation)
        padding = tuple((c, c) for c in crops)
        y = ref.conv2d_transpose(x, w, None, stride, padding, extra, dilation)
        same(y, nhwc(ty))
        dy = rng.normal(size=y.shape)
        ty.backward(nchw(torch, dy))
        dx, dw = ref.conv2d_transpose_gradients(dy, x, w, stride, padding, extra, dilation)
        same(dx, nhwc(tx.grad))
        same(dw, hwio(tw.grad))


@pytest.mark.peer
@pytest.mark.parametrize(("pool", "stride", "padding"), POOLS)
def test_pooling_against_torch(
    torch: Any, pool: ref.Pair, stride: ref.Pair | None, padding: ref.Padding, rng: np.random.Generator
) -> None:
    x = rng.normal(size=(2, 5, 4, 3))
    pads = ref.resolve_padding(padding, (5, 4), pool, stride or pool)
    functional = torch.nn.functional
    for forward, backward in (("max", ref.max_pool2d_gradient), ("average", ref.average_pool2d_gradient)):
        tx = nchw(torch, x, gradient=True)
        if forward == "max":
            y = ref.max_pool2d(x, pool, stride, padding)
            ty = functional.max_pool2d(padded(torch, tx, pads, -np.inf), pool, stride)
        else:
            y = ref.average_pool2d(x, pool, stride, padding)
            counts = functional.avg_pool2d(padded(torch, torch.ones_like(tx), pads), pool, stride)
            ty = functional.avg_pool2d(padded(torch, tx, pads), pool, stride) / counts
        same(y, nhwc(ty))
        dy = rng.normal(size=y.shape)
        ty.backward(nchw(torch, dy))
        same(backward(dy, x if forward == "max" else (5, 4), pool, stride, padding), nhwc(tx.grad))


@pytest.mark.peer
def test_max_pool2d_ties_against_torch(torch: Any, rng: np.random.Generator) -> None:
    x = rng.integers(0, 3, (2, 7, 6, 2)).astype(np.float64)
    tx = nchw(torch, x, gradient=True)
    ty = torch.nn.functional.max_pool2d(tx, (3, 2), (2, 1))
    dy = rng.normal(size=nhwc(ty).shape)
    ty.backward(nchw(torch, dy))
    same(ref.max_pool2d_gradient(dy, x, (3, 2), (2, 1)), nhwc(tx.grad))


@pytest.mark.peer
def test_normalization_against_torch(torch: Any, rng: np.random.Generator) -> None:
    x, dy = rng.normal(size=(3, 4, 5, 6)) * 2 + 1, rng.normal(size=(3, 4, 5, 6))
    gamma, beta, mean, variance = (rng.random(6) + 0.5 for _ in range(4))
    functional, tensor = torch.nn.functional, torch.tensor
    tx, tgamma, tbeta = nchw(torch, x, True), *(tensor(v, requires_grad=True) for v in (gamma, beta))
    ty = functional.batch_norm(tx, None, None, tgamma, tbeta, training=True, eps=1e-3)
    ty.backward(nchw(torch, dy))
    same(ref.batch_norm_training(x, gamma, beta)[0], nhwc(ty))
    dx, dgamma, dbeta = ref.batch_norm_training_gradients(dy, x, gamma)
    same(dx, nhwc(tx.grad))
    same(dgamma, tgamma.grad)
    same(dbeta, tbeta.grad)
    ty = functional.batch_norm(
        nchw(torch, x), tensor(mean), tensor(variance), tensor(gamma), tensor(beta), eps=1e-3
    )
    same(ref.batch_norm_inference(x, gamma, beta, mean, variance), nhwc(ty))
    ty = functional.layer_norm(tensor(x), (6,), tensor(gamma), tensor(beta), eps=1e-3)
    same(ref.layer_norm(x, gamma, beta), ty)
    gammas, betas = rng.normal(size=(5, 6)), rng.normal(size=(5, 6))
    ty = functional.layer_norm(tensor(x), (5, 6), tensor(gammas), tensor(betas), eps=1e-3)
    same(ref.layer_norm(x, gammas, betas, axis=(-2, -1)), ty)
    for groups in (1, 2, 3, 6):
        ty = functional.group_norm(nchw(torch, x), groups, tensor(gamma), tensor(beta), eps=1e-3)
        same(ref.group_norm(x, gamma, beta, groups), nhwc(ty))


@pytest.mark.peer
def test_activations_against_torch(torch: Any, rng: np.random.Generator) -> None:
    x = np.concatenate([rng.normal(size=80) * 3, [0.0, 0.5, -0.5, 1, -1, 3, -3, 6, 30, -30]])
    functional, t = torch.nn.functional, torch.tensor(x)
    for ours, theirs in (
        (ref.relu, functional.relu),
        (ref.relu6, functional.relu6),
        (ref.elu, functional.elu),
        (ref.selu, functional.selu),
        (ref.celu, functional.celu),
        (ref.gelu, functional.gelu),
        (ref.silu, functional.silu),
        (ref.mish, functional.mish),
        (ref.softsign, functional.softsign),
        (ref.sigmoid, torch.sigmoid),
        (ref.log_sigmoid, functional.logsigmoid),
        (ref.hard_sigmoid, functional.hardsigmoid),
        (ref.hard_silu, functional.hardswish),
        (ref.tanh, torch.tanh),
        (ref.hard_tanh, functional.hardtanh),
        (ref.tanh_shrink, functional.tanhshrink),
        (ref.soft_shrink, functional.softshrink),
        (ref.hard_shrink, functional.hardshrink),
        (ref.exponential, torch.exp),
    ):
        same(ours(x), theirs(t))
    same(ref.softplus(x), functional.softplus(t, threshold=100))
    same(ref.leaky_relu(x, 0.3), functional.leaky_relu(t, 0.3))
    same(ref.elu(x, 0.3), functional.elu(t, 0.3))
    same(ref.celu(x, 0.3), functional.celu(t, 0.3))
    same(ref.gelu(x, approximate=True), functional.gelu(t, approximate="tanh"))
    same(ref.prelu(x, 0.2), functional.prelu(t, torch.tensor([0.2], dtype=torch.float64)))
    x = rng.normal(size=(2, 4, 6))
    for axis in (1, -1):
        same(ref.glu(x, axis), functional.glu(torch.tensor(x), axis))
        same(ref.softmax(x, axis), functional.softmax(torch.tensor(x), axis))
        same(ref.log_softmax(x, axis), functional.log_softmax(torch.tensor(x), axis))


@pytest.mark.peer
def test_losses_against_torch(torch: Any, rng: np.random.Generator) -> None:
    y, p, labels = rng.normal(size=(6, 5)), rng.normal(size=(6, 5)), rng.integers(0, 5, 6)
    functional, ty, tp = torch.nn.functional, torch.tensor(y), torch.tensor(p)
    options = {"reduction": "none"}
    same(ref.mean_squared_error(y, p), functional.mse_loss(tp, ty, **options).mean(1))
    same(ref.mean_absolute_error(y, p), functional.l1_loss(tp, ty, **options).mean(1))
    same(ref.huber(y, p, 0.7), functional.huber_loss(tp, ty, delta=0.7, **options).mean(1))
    same(ref.cosine_similarity(y, p), -functional.cosine_similarity(tp, ty))
    q = np.abs(y) % 1.0
    logits = functional.binary_cross_entropy_with_logits(tp, torch.tensor(q), **options)
    same(ref.binary_crossentropy(q, p, from_logits=True), logits.mean(1))
    clear = functional.binary_cross_entropy(torch.tensor(ref.sigmoid(p)), torch.tensor(q), **options)
    same(ref.binary_crossentropy(q, ref.sigmoid(p)), clear.mean(1))
    for smoothing in (0.0, 0.2):
        theirs = functional.cross_entropy(tp, torch.tensor(labels), label_smoothing=smoothing, **options)
        same(ref.sparse_categorical_crossentropy(labels, p, True, label_smoothing=smoothing), theirs)
        same(ref.categorical_crossentropy(np.eye(5)[labels], p, True, smoothing), theirs)
    labels[::2] = 4
    ours = ref.sparse_categorical_crossentropy(labels, p, from_logits=True, ignore_class=4)
    theirs = functional.cross_entropy(tp, torch.tensor(labels), ignore_index=4)
    same(ref.reduce_loss(ours, mask=ref.valid_labels(labels, p, 4)), theirs)
    a, b = ref.softmax(y), ref.softmax(p)
    kl = functional.kl_div(torch.tensor(np.log(b)), torch.tensor(a), **options).sum(1)
    same(ref.kl_divergence(a, b), kl)
    theirs = functional.poisson_nll_loss(
        torch.tensor(b), torch.tensor(a), log_input=False, eps=1e-7, **options
    )
    same(ref.poisson(a, b), theirs.mean(1))


@pytest.mark.peer
@pytest.mark.parametrize("size", [(2, 2), (3, 1), (2, 3)])
def test_upsample_against_torch(torch: Any, size: ref.Pair, rng: np.random.Generator) -> None:
    x = rng.normal(size=(2, 3, 4, 2))
    for mode, ours, gradient in (
        ("nearest", ref.upsample_nearest, ref.upsample_nearest_gradient),
        ("bilinear", ref.upsample_bilinear, ref.upsample_bilinear_gradient),
    ):
        tx = nchw(torch, x, gradient=True)
        options = {} if mode == "nearest" else {"align_corners": False}
        ty = torch.nn.functional.interpolate(tx, scale_factor=size, mode=mode, **options)
        dy = rng.normal(size=nhwc(ty).shape)
        ty.backward(nchw(torch, dy))
        same(ours(x, size), nhwc(ty))
        same(gradient(dy, size), nhwc(tx.grad))


@pytest.mark.peer
@pytest.mark.parametrize(
    ("rule", "theirs", "ours", "options"),
    [  # epsilon 0 where the two place it differently
        ("sgd", "SGD", {"momentum": 0.9}, {"momentum": 0.9}),
        ("sgd", "SGD", {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "nesterov": True}),
        (
            "rmsprop",
            "RMSprop",
            {"momentum": 0.5, "epsilon": 0.0},
            {"momentum": 0.5, "alpha": 0.9, "eps": 0.0},
        ),
        (
            "rmsprop",
            "RMSprop",
            {"centered": True, "epsilon": 0.0},
            {"centered": True, "alpha": 0.9, "eps": 0.0},
        ),
        ("adam", "Adam", {"epsilon": 0.0}, {"eps": 0.0}),
        ("adamw", "AdamW", {"epsilon": 0.0, "weight_decay": 0.1}, {"eps": 0.0, "weight_decay": 0.1}),
        ("adagrad", "Adagrad", {"epsilon": 0.0}, {"eps": 0.0, "initial_accumulator_value": 0.1}),
        ("adadelta", "Adadelta", {}, {"rho": 0.95, "eps": 1e-7}),
        ("adamax", "Adamax", {"epsilon": 0.0}, {"eps": 0.0}),
        ("nadam", "NAdam", {"epsilon": 0.0}, {"eps": 0.0, "momentum_decay": 1.0}),
    ],
)
def test_optimizers_against_torch(
    torch: Any,
    rule: str,
    theirs: str,
    ours: dict[str, Any],
    options: dict[str, Any],
    rng: np.random.Generator,
) -> None:
    """The first step of centred RMSprop divides by v - a^2 > 0, so a vanishing epsilon is harmless."""
    w = rng.normal(size=(3, 2))
    tw, state = torch.tensor(w, requires_grad=True), {}
    optimizer = getattr(torch.optim, theirs)([tw], lr=0.05, **options)
    for step in range(1, 6):
        g = rng.normal(size=w.shape)
        tw.grad = torch.tensor(g)
        optimizer.step()
        w, state = getattr(ref, rule)(w, g, state, step, 0.05, **ours)
        # NAdam keeps its product of momenta in float32
        same(w, tw.detach(), 1e-8 if rule == "nadam" else 1e-11)
