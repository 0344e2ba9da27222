"""Normalisation kernels against the definition, and on data that naive formulas get wrong."""

from collections.abc import Callable

import numpy as np
import pytest
import reference
from fastcnn_kernels.norm import (
    batch_norm_backward_input,
    batch_norm_backward_weights,
    batch_norm_coefficients,
    batch_norm_forward,
    batch_norm_frozen_backward_input,
    batch_norm_gradients,
    batch_norm_moments,
    batch_norm_statistics,
    batch_norm_sums,
    layer_norm_backward_input,
    layer_norm_forward,
    layer_norm_sums,
    moving_average_update,
    partial_chunks,
)

EPSILON = 1e-3
SHAPES = [
    pytest.param((37, 5), id="nothing equal"),
    pytest.param((1, 1), id="smallest"),
    pytest.param((2, 3), id="fewer rows than a tile takes"),
    pytest.param((1001, 16), id="rows not a multiple of a segment"),
    pytest.param((50, 33), id="channels not a multiple of the vector"),
    pytest.param((333, 10), id="rows that fill vectors, but not a group of them"),
    pytest.param((77, 24), id="rows that fill a group of vectors"),
    pytest.param((19, 208), id="a row that fills vectors, but not a group of them"),
    pytest.param((300, 256), id="channels fill a tile, several chunks"),
    pytest.param((211, 700), id="more channels than a tile, several chunks"),
    pytest.param((70000, 3), id="many rows, few channels, several chunks"),
]

NOTHING = np.empty((0, 0, 0))  # for a residual
LINEAR = 1.0, np.inf  # slope and upper bound that leave everything as it is


def tolerance(dtype: str, terms: int, largest: float) -> float:
    """Rounding errors of a sum of `terms` numbers, relative to the largest result."""
    return 8 * np.finfo(dtype).eps * np.sqrt(terms) * largest


def assert_close(actual: np.ndarray, expected: np.ndarray, dtype: str, terms: int = 1) -> None:
    largest = max(float(np.abs(expected).max()), 1.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance(dtype, terms, largest))


def poisoned(*shape: int, dtype: str) -> np.ndarray:
    return np.full(shape, np.nan, dtype)


def draw(*shape: int, dtype: str, mean: float = 0.5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1.0, shape).astype(dtype)


def weights(c: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """gamma and beta, no two channels alike."""
    return np.linspace(0.5, 1.5, c).astype(dtype), np.linspace(-1, 1, c).astype(dtype)


def statistics(x: np.ndarray, groups: int, chunks: int) -> tuple[np.ndarray, np.ndarray]:
    """mean, var (m, c) of x (m, r, c)."""
    m, r, c = x.shape
    partial = poisoned(m, chunks, 2, c, dtype="float64")
    mean, var = poisoned(m, c, dtype=x.dtype.name), poisoned(m, c, dtype=x.dtype.name)
    batch_norm_moments(x, partial)
    batch_norm_statistics(partial, mean, var, r, groups)
    return mean, var


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_statistics(shape: tuple[int, int], dtype: str, on_threads: Callable) -> None:
    """Accumulated in float64, so what is left is rounding the result."""
    x = draw(1, *shape, dtype=dtype)
    mean, var = on_threads(lambda: statistics(x, shape[1], partial_chunks(1, *shape)))
    expected_mean, expected_var = reference.batch_statistics(x[0])
    assert_close(mean[0], expected_mean, dtype, 1 if dtype == "float32" else shape[0])
    assert_close(var[0], expected_var, dtype, 1 if dtype == "float32" else shape[0])


def test_batch_norm_statistics_far_from_zero() -> None:
    """Mean 1e4, deviation 1e-2: the squares differ in the 13th digit. float32 keeps 3 digits of the data."""
    x = (1e4 + 1e-2 * np.random.default_rng(0).normal(size=(1, 40000, 3))).astype(np.float32)
    mean, var = statistics(x, 3, 4)
    expected_mean, expected_var = reference.batch_statistics(x[0])
    np.testing.assert_allclose(mean[0], expected_mean, rtol=1e-7)
    np.testing.assert_allclose(var[0], expected_var, rtol=1e-6)


def test_batch_norm_statistics_of_an_outlier_first() -> None:
    """The first row, from which differences are taken, may lie far from the others."""
    x = draw(1, 5000, 4, dtype="float64")
    x[0, 0] = 1e6
    _, var = statistics(x, 4, 3)
    np.testing.assert_allclose(var[0], reference.batch_statistics(x[0])[1], rtol=1e-9)


def test_batch_norm_statistics_of_nan() -> None:
    x = draw(1, 40, 3, dtype="float32")
    x[0, 7, 1] = np.nan
    mean, var = statistics(x, 3, 2)
    np.testing.assert_array_equal(np.isnan(mean[0]), [False, True, False])
    np.testing.assert_array_equal(np.isnan(var[0]), [False, True, False])


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_forward(shape: tuple[int, int], dtype: str, on_threads: Callable) -> None:
    x, (gamma, beta) = draw(1, *shape, dtype=dtype), weights(shape[1], dtype)
    mean, var = statistics(x, shape[1], 1)

    def compute() -> list[np.ndarray]:
        y = poisoned(1, *shape, dtype=dtype)
        batch_norm_forward(x, mean, var, gamma, beta, NOTHING.astype(dtype), y, EPSILON, *LINEAR)
        return [y]

    (y,) = on_threads(compute)
    # a variance of zero makes every rounding error of the mean 1 / sqrt(EPSILON) times larger
    assert_close(y[0], reference.batch_norm_training(x[0], gamma, beta, EPSILON)[0], dtype, 16)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_backward(shape: tuple[int, int], dtype: str, on_threads: Callable) -> None:
    """The sums are taken in float64; the statistics they use are rounded to dtype."""
    (rows, c), x, dy = shape, draw(1, *shape, dtype=dtype), draw(1, *shape, dtype=dtype, mean=0.0, seed=1)
    gamma, beta = weights(c, dtype)
    mean, var = statistics(x, c, 1)

    def compute() -> list[np.ndarray]:
        partial = poisoned(1, partial_chunks(1, *shape), 2, c, dtype="float64")
        coefficients, dx = poisoned(1, 3, c, dtype=dtype), poisoned(1, *shape, dtype=dtype)
        dgamma, dbeta = poisoned(c, dtype=dtype), poisoned(c, dtype=dtype)
        batch_norm_sums(x, dy, mean, var, gamma, beta, partial, EPSILON, *LINEAR)
        batch_norm_gradients(partial, var, gamma, dgamma, dbeta, coefficients, rows, EPSILON)
        batch_norm_backward_input(x, dy, mean, beta, coefficients, dx, *LINEAR)
        return [dx[0], dgamma, dbeta]

    actual = on_threads(compute)
    expected = reference.batch_norm_training_gradients(dy[0], x[0], gamma, EPSILON)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e, dtype, max(16, rows))


@pytest.mark.parametrize(("chunks", "c"), [(1, 1), (3, 5), (64, 300)])
def test_batch_norm_gradients_at_once(chunks: int, c: int, dtype: str) -> None:
    """One kernel computes what two do where every image has a mean of its own."""
    partial, gamma, var = (
        draw(1, chunks, 2, c, dtype="float64"),
        draw(c, dtype=dtype),
        draw(1, c, dtype=dtype) ** 2,
    )
    gradients, expected = (
        [poisoned(*shape, dtype=dtype) for shape in ((c,), (c,), (1, 3, c))] for _ in range(2)
    )
    batch_norm_gradients(partial, var, gamma, *gradients, 77, EPSILON)
    batch_norm_backward_weights(partial, *expected[:2])
    batch_norm_coefficients(partial, var, gamma, expected[2], 77, c, EPSILON)
    for one, other in zip(gradients, expected, strict=True):
        assert_close(one, other, dtype)


RECTIFIERS = [
    pytest.param((0.0, np.inf), id="relu"),
    pytest.param((0.0, 0.75), id="relu with a maximum"),
    pytest.param((0.25, np.inf), id="leaky relu"),
]


@pytest.mark.parametrize("rectifier", RECTIFIERS)
@pytest.mark.parametrize("shape", [(7, 5), (1001, 16), (211, 700)])
def test_batch_norm_rectified(
    shape: tuple[int, int], rectifier: tuple[float, float], dtype: str, on_threads: Callable
) -> None:
    """With a residual, an activation and its gradient, it gives what the steps by themselves give."""
    (rows, c), (slope, upper) = shape, rectifier
    x, dy, residual = (draw(1, *shape, dtype=dtype, mean=0.1, seed=seed) for seed in range(3))
    gamma, beta = weights(c, dtype)
    mean, var = statistics(x, c, 1)

    def compute() -> list[np.ndarray]:
        plain, y, with_residual = (poisoned(1, *shape, dtype=dtype) for _ in range(3))
        nothing = NOTHING.astype(dtype)
        batch_norm_forward(x, mean, var, gamma, beta, nothing, plain, EPSILON, *LINEAR)
        batch_norm_forward(x, mean, var, gamma, beta, nothing, y, EPSILON, *rectifier)
        batch_norm_forward(x, mean, var, gamma, beta, residual, with_residual, EPSILON, *rectifier)
        masked = np.where(plain > 0, np.where(plain < upper, dy, 0), slope * dy).astype(dtype)
        gradients = []
        for gradient, constants in ((dy, rectifier), (masked, LINEAR)):
            partial = poisoned(1, partial_chunks(1, *shape), 2, c, dtype="float64")
            coefficients, dx = poisoned(1, 3, c, dtype=dtype), poisoned(1, *shape, dtype=dtype)
            batch_norm_sums(x, gradient, mean, var, gamma, beta, partial, EPSILON, *constants)
            batch_norm_coefficients(partial, var, gamma, coefficients, rows, c, EPSILON)
            batch_norm_backward_input(x, gradient, mean, beta, coefficients, dx, *constants)
            gradients += [partial, dx]
        return [plain, y, with_residual, *gradients]

    plain, y, with_residual, sums, dx, expected_sums, expected_dx = on_threads(compute)

    def rectified(v: np.ndarray) -> np.ndarray:
        return np.minimum(np.where(v > 0, v, slope * v), upper)

    assert_close(y, rectified(plain), dtype)
    assert_close(with_residual, rectified(plain + residual), dtype)
    assert_close(sums, expected_sums, dtype, 16)  # a sum of float32 numbers in another order
    assert_close(dx, expected_dx, dtype)


def test_batch_norm_rectified_keeps_nan_and_infinity() -> None:
    x = np.array([[[np.nan], [np.inf], [-np.inf], [2.0]]])
    one, zero, y = np.ones(1), np.zeros(1), np.empty_like(x)
    batch_norm_forward(x, zero[None], one[None], one, zero, NOTHING, y, 0.0, 0.0, np.inf)
    np.testing.assert_array_equal(y, np.array([[[np.nan], [np.inf], [0.0], [2.0]]]))


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_frozen_backward(shape: tuple[int, int], dtype: str, on_threads: Callable) -> None:
    c, x, dy = shape[1], draw(1, *shape, dtype=dtype), draw(1, *shape, dtype=dtype, mean=0.0, seed=1)
    gamma, mean = weights(c, dtype)
    var = (np.arange(c) % 7 + 0.5).astype(dtype)

    def compute() -> list[np.ndarray]:
        partial = poisoned(1, partial_chunks(1, *shape), 2, c, dtype="float64")
        dx, dgamma, dbeta = (
            poisoned(1, *shape, dtype=dtype),
            poisoned(c, dtype=dtype),
            poisoned(c, dtype=dtype),
        )
        batch_norm_sums(x, dy, mean[None], var[None], gamma, mean, partial, EPSILON, *LINEAR)
        batch_norm_backward_weights(partial, dgamma, dbeta)
        batch_norm_frozen_backward_input(dy, var[None], gamma, dx, EPSILON)
        return [dx[0], dgamma, dbeta]

    actual = on_threads(compute)
    expected = reference.batch_norm_inference_gradients(dy[0], x[0], gamma, mean, var, EPSILON)
    for a, e in zip(actual, expected, strict=True):
        assert_close(a, e, dtype, shape[0])


GROUPS = [
    pytest.param((2, 35, 6), 3, id="nothing equal"),
    pytest.param((3, 20, 5), 5, id="each channel a group"),
    pytest.param((3, 20, 5), 1, id="all channels one group"),
    pytest.param((2, 12, 520), 4, id="more channels than a tile"),
    pytest.param((1, 9000, 8), 2, id="one image in several chunks"),
]


@pytest.mark.parametrize(("shape", "groups"), GROUPS)
def test_group_norm(shape: tuple[int, int, int], groups: int, dtype: str, on_threads: Callable) -> None:
    """Batch normalisation of each image, channels of a group sharing their statistics."""
    (m, r, c), x, dy = shape, draw(*shape, dtype=dtype), draw(*shape, dtype=dtype, mean=0.0, seed=1)
    gamma, beta = weights(c, dtype)

    def compute() -> list[np.ndarray]:
        mean, var = statistics(x, groups, partial_chunks(*shape))
        y, dx, coefficients = np.full_like(x, np.nan), np.full_like(x, np.nan), poisoned(m, 3, c, dtype=dtype)
        batch_norm_forward(x, mean, var, gamma, beta, NOTHING.astype(dtype), y, EPSILON, *LINEAR)
        partial = poisoned(m, partial_chunks(*shape), 2, c, dtype="float64")
        dgamma, dbeta = poisoned(c, dtype=dtype), poisoned(c, dtype=dtype)
        batch_norm_sums(x, dy, mean, var, gamma, beta, partial, EPSILON, *LINEAR)
        batch_norm_backward_weights(partial, dgamma, dbeta)
        batch_norm_coefficients(partial, var, gamma, coefficients, r, groups, EPSILON)
        batch_norm_backward_input(x, dy, mean, beta, coefficients, dx, *LINEAR)
        return [y, dx, dgamma, dbeta]

    y, *actual = on_threads(compute)
    assert_close(y, reference.group_norm(x, gamma, beta, groups, EPSILON), dtype, 16)
    for a, e in zip(actual, group_norm_gradients(dy, x, gamma, groups), strict=True):
        assert_close(a, e, dtype, m * r)


def group_norm_gradients(dy: np.ndarray, x: np.ndarray, gamma: np.ndarray, groups: int) -> list[np.ndarray]:
    """(dx, dgamma, dbeta): every group of every image is one channel of batch normalisation."""
    (m, r, c), dx = x.shape, np.zeros(x.shape)
    width = c // groups
    xhat = reference.group_norm(x, None, None, groups, EPSILON)
    for i in range(m):
        for first in range(0, c, width):
            part = (i, slice(None), slice(first, first + width))
            weighted = (dy[part].astype(float) * gamma[first : first + width]).reshape(-1, 1)
            column = x[part].astype(float).reshape(-1, 1)
            dx[part] = reference.batch_norm_training_gradients(weighted, column, None, EPSILON)[0].reshape(
                r, width
            )
    return [dx, (dy * xhat).sum((0, 1)), dy.astype(float).sum((0, 1))]


ROWS = [
    pytest.param((7, 5), id="nothing equal"),
    pytest.param((1, 1), id="smallest"),
    pytest.param((600, 33), id="several items"),
    pytest.param((3, 9000), id="rows longer than a chunk"),
]


@pytest.mark.parametrize("shape", ROWS)
def test_layer_norm(shape: tuple[int, int], dtype: str, on_threads: Callable) -> None:
    (rows, c), x, dy = shape, draw(*shape, dtype=dtype), draw(*shape, dtype=dtype, mean=0.0, seed=1)
    gamma, beta = weights(c, dtype)

    def compute() -> list[np.ndarray]:
        y, dx = np.full_like(x, np.nan), np.full_like(x, np.nan)
        mean, scale = poisoned(rows, dtype=dtype), poisoned(rows, dtype=dtype)
        layer_norm_forward(x, gamma, beta, y, mean, scale, EPSILON)
        partial = poisoned(1, partial_chunks(1, *shape), 2, c, dtype="float64")
        dgamma, dbeta = poisoned(c, dtype=dtype), poisoned(c, dtype=dtype)
        layer_norm_sums(x, dy, mean, scale, partial)
        batch_norm_backward_weights(partial, dgamma, dbeta)
        layer_norm_backward_input(x, dy, gamma, mean, scale, dx)
        return [y, dx, dgamma, dbeta]

    y, *actual = on_threads(compute)
    assert_close(y, reference.layer_norm(x, gamma, beta, -1, EPSILON), dtype, 16)
    dx, dgamma, dbeta = group_norm_gradients(dy[:, None], x[:, None], gamma, 1)
    for a, e in zip(actual, (dx[:, 0], dgamma, dbeta), strict=True):
        assert_close(a, e, dtype, max(rows, c))


def test_moving_average_update(dtype: str) -> None:
    value, moving = draw(5000, dtype=dtype), draw(5000, dtype=dtype, seed=1)
    expected = reference.moving_average(moving, value, 0.9)
    moving_average_update(value, moving, 0.9)
    np.testing.assert_allclose(moving, expected, rtol=0, atol=8 * np.finfo(dtype).eps)


def test_statistics_of_nan_are_nan(dtype: str) -> None:
    """Of its own channel alone."""
    x = draw(1, 300, 5, dtype=dtype)
    x[0, 177, 3] = np.nan
    mean, var = statistics(x, 5, 4)
    assert np.isnan(mean).tolist() == np.isnan(var).tolist() == [[False, False, False, True, False]]
