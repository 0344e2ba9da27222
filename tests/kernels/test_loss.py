"""Losses against their definitions in float64, and their gradients against central differences."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pytest
import reference
from fastcnn_kernels import loss as kernels

Shape = tuple[int, int]
OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]
NO_LABEL = float("nan")


class Loss(NamedTuple):
    """Kernels with their constants, the definition of (target, prediction), and where both come from."""

    name: str
    constants: tuple[float, ...]
    definition: Callable[[np.ndarray, np.ndarray], np.ndarray]
    predictions: str = "numbers"
    targets: str = "numbers"


LOSSES = [
    Loss(
        "sparse_softmax_cross_entropy",
        (0.0, NO_LABEL),
        lambda y, p: reference.sparse_categorical_crossentropy(y, p, from_logits=True),
        targets="labels",
    ),
    Loss(
        "sparse_softmax_cross_entropy",
        (0.3, 1.0),
        lambda y, p: reference.sparse_categorical_crossentropy(
            y, p, True, ignore_class=1, label_smoothing=0.3
        ),
        targets="labels",
    ),
    Loss(
        "softmax_cross_entropy",
        (),
        lambda y, p: reference.categorical_crossentropy(y, p, from_logits=True),
        targets="shares",
    ),
    Loss("cross_entropy", (1e-7,), reference.categorical_crossentropy, "shares", "shares"),
    Loss(
        "sigmoid_cross_entropy",
        (),
        lambda y, p: reference.binary_crossentropy(y, p, from_logits=True),
        targets="shares",
    ),
    Loss("binary_cross_entropy", (1e-7,), reference.binary_crossentropy, "shares", "shares"),
    Loss("mean_squared_error", (), reference.mean_squared_error),
    Loss("mean_absolute_error", (), reference.mean_absolute_error),
    Loss("huber", (0.8,), lambda y, p: reference.huber(y, p, 0.8)),
]
each_loss = pytest.mark.parametrize("f", LOSSES, ids=lambda f: f"{f.name}{f.constants or ''}")
SHAPES = [
    pytest.param((7, 5), id="nothing equal"),
    pytest.param((1, 1), id="smallest"),
    pytest.param((900, 10), id="several work items"),
    pytest.param((2, 4999), id="rows longer than a work item"),
]


def draw(kind: str, shape: Shape, rng: np.random.Generator) -> np.ndarray:
    if kind == "labels":
        return rng.integers(shape[1], size=shape[0]).astype(float)
    # Shares are kept clear of 0, where the logarithm is too steep for differences; they need not sum to 1.
    return rng.normal(size=shape) if kind == "numbers" else rng.uniform(0.1, 0.9, size=shape)


def inputs(f: Loss, shape: Shape, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    prediction, target = draw(f.predictions, shape, rng), draw(f.targets, shape, rng)
    return prediction.astype(dtype), target.astype(dtype), rng.normal(size=shape[0]).astype(dtype)


def forward(f: Loss, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    loss = np.full(len(prediction), np.nan, prediction.dtype)
    getattr(kernels, f"{f.name}_forward")(prediction, target, loss, *f.constants)
    return loss


def backward(f: Loss, dloss: np.ndarray, prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    dprediction = np.full_like(prediction, np.nan)
    getattr(kernels, f"{f.name}_backward")(dloss, prediction, target, dprediction, *f.constants)
    return dprediction


@each_loss
@pytest.mark.parametrize("shape", SHAPES)
def test_forward(f: Loss, shape: Shape, dtype: str, on_threads: OnThreads) -> None:
    prediction, target, _ = inputs(f, shape, dtype)
    (loss,) = on_threads(lambda: [forward(f, prediction, target)])
    # Terms are right to a few roundings and summed in float64; at worst none of their errors cancel.
    expected = f.definition(target, prediction)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(loss, expected, rtol=8 * eps, atol=8 * eps + 1e-13 * np.abs(expected).max())


@each_loss
@pytest.mark.parametrize("shape", [(5, 4), (3, 1)], ids=["nothing equal", "one column"])
def test_backward(f: Loss, shape: Shape, dtype: str) -> None:
    prediction, target, dloss = inputs(f, shape, dtype)
    numeric = reference.numeric_gradient(lambda p: (dloss * f.definition(target, p)).sum(), prediction)
    dprediction = backward(f, dloss, prediction, target)
    # Differences with steps of 1e-5 are off by 1e-10 / 6 times a third derivative of at most 2 / 0.1 ** 3.
    tolerance = 8 * np.finfo(dtype).eps * np.abs(numeric).max() + 1e-7
    np.testing.assert_allclose(dprediction, numeric, rtol=0, atol=tolerance)


@each_loss
def test_backward_threads(f: Loss, on_threads: OnThreads) -> None:
    prediction, target, dloss = inputs(f, (900, 10), "float32")
    on_threads(lambda: [backward(f, dloss, prediction, target)])


@each_loss
def test_nan_stays_in_its_row(f: Loss) -> None:
    prediction, target, dloss = inputs(f, (4, 3), "float32")
    target[:] = 0.5 if target.ndim == 2 else 2
    prediction[1, 1] = np.nan
    np.testing.assert_array_equal(np.isnan(forward(f, prediction, target)), [False, True, False, False])
    rows = np.isnan(backward(f, dloss, prediction, target)).any(1)
    np.testing.assert_array_equal(rows, [False, True, False, False])


# --- extreme inputs ------------------------------------------------------------------------------------------

SOFTMAX_LOSSES = [f for f in LOSSES if "softmax" in f.name]


@pytest.mark.parametrize("f", SOFTMAX_LOSSES, ids=lambda f: f"{f.name}{f.constants or ''}")
def test_softmax_losses_of_extreme_logits(f: Loss, dtype: str) -> None:
    logits = np.array([[1e4, -1e4, 0], [-1e4, 0, 1e4], [1e4, 1e4, 1e4]], dtype)
    labels = np.array([0, 0, 2], dtype)
    target = labels if f.targets == "labels" else np.eye(3, dtype=dtype)[labels.astype(int)]
    loss = forward(f, logits, target)
    # Logits of 1e4 are rounded in float64.
    np.testing.assert_allclose(loss, f.definition(target, logits), rtol=np.finfo(dtype).eps, atol=1e-12)
    assert np.all(np.abs(backward(f, np.ones(3, dtype), logits, target)) <= 1)


def test_a_confident_prediction_keeps_its_digits() -> None:
    """ln(1 + e^-20) is 2e-9: a float32 sum 1 + e^-20 would give 0."""
    logits = np.array([[20, 0]], np.float32)
    loss = forward(LOSSES[0], logits, np.zeros(1, np.float32))
    np.testing.assert_allclose(loss, np.log1p(np.exp(-20.0)), rtol=1e-6)


def test_a_logit_of_minus_infinity_is_a_class_ruled_out() -> None:
    logits, target = np.array([[1, -np.inf, 1]], np.float32), np.array([[0.5, 0, 0.5]], np.float32)
    f = next(f for f in LOSSES if f.name == "softmax_cross_entropy")
    np.testing.assert_allclose(forward(f, logits, target), np.log(2), rtol=1e-6)
    np.testing.assert_array_equal(backward(f, np.ones(1, np.float32), logits, target), [[0, 0, 0]])


def test_sigmoid_cross_entropy_of_extreme_logits(dtype: str) -> None:
    logits, target = np.array([[1e4], [1e4], [-1e4], [-1e4]], dtype), np.array([[1], [0], [1], [0]], dtype)
    f = next(f for f in LOSSES if f.name == "sigmoid_cross_entropy")
    np.testing.assert_array_equal(forward(f, logits, target), [0, 1e4, 1e4, 0])
    np.testing.assert_array_equal(backward(f, np.ones(4, dtype), logits, target), [[0], [1], [-1], [0]])


def test_binary_cross_entropy_of_certain_predictions(dtype: str) -> None:
    """Probabilities of exactly 0 and 1 count as 1e-7 and 1 - 1e-7 and have no gradient."""
    p, target = np.array([[0], [0], [1], [1]], dtype), np.array([[0], [1], [0], [1]], dtype)
    f = next(f for f in LOSSES if f.name == "binary_cross_entropy")
    e = np.dtype(dtype).type(1e-7)
    nearly = np.array([e, np.dtype(dtype).type(1) - (np.dtype(dtype).type(1) - e)], np.float64)
    small, large = -np.log1p(-nearly), -np.log(nearly)
    expected = [small[0], large[0], large[1], small[1]]
    np.testing.assert_allclose(forward(f, p, target), expected, rtol=0, atol=np.finfo(dtype).eps * 16)
    np.testing.assert_array_equal(backward(f, np.ones(4, dtype), p, target), np.zeros((4, 1)))


def test_cross_entropy_of_certain_predictions() -> None:
    p, target = np.array([[0, 1], [0, 1]], np.float32), np.array([[1, 0], [0, 1]], np.float32)
    f = next(f for f in LOSSES if f.name == "cross_entropy")
    np.testing.assert_allclose(forward(f, p, target), [-np.log(1e-7), 1e-7], rtol=1e-6)
    np.testing.assert_array_equal(backward(f, np.ones(2, np.float32), p, target), np.zeros((2, 2)))


# --- labels --------------------------------------------------------------------------------------------------


def test_ignored_rows_have_neither_loss_nor_gradient() -> None:
    logits = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    labels = np.array([2, 255, 0], np.float32)
    f = LOSSES[0]._replace(constants=(0.1, 255.0))
    assert forward(f, logits, labels)[1] == 0
    assert not backward(f, np.ones(3, np.float32), logits, labels)[1].any()
    assert np.all(forward(f, logits, labels)[[0, 2]] > 0)


@pytest.mark.parametrize("label", [-1, 4, np.nan])
def test_what_is_no_class_gives_nan(label: float) -> None:
    logits, labels = np.zeros((2, 4), np.float32), np.array([label, 3], np.float32)
    np.testing.assert_array_equal(np.isnan(forward(LOSSES[0], logits, labels)), [True, False])
    gradient = backward(LOSSES[0], np.ones(2, np.float32), logits, labels)
    np.testing.assert_array_equal(np.isnan(gradient), [[True] * 4, [False] * 4])


def test_one_hot(dtype: str, on_threads: OnThreads) -> None:
    labels = np.random.default_rng(2).integers(-1, 8, size=1500).astype(dtype)

    def encode() -> list[np.ndarray]:
        y = np.full((1500, 7), np.nan, dtype)
        kernels.one_hot(labels, y)
        return [y]

    np.testing.assert_array_equal(on_threads(encode)[0], labels[:, None] == np.arange(7))
