"""Changes of variables inside a traced function: each op changes what it should, when it should."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import reference

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.graph import gradients, update
from fastcnn.ops import update as updates
from fastcnn.ops.update import assign, assign_add, clip_by_global_norm, clip_by_norm
from fastcnn.plan import Function
from fastcnn.tensor import Variable

SHAPE = (3, 5)


def numbers(seed: int, dtype: str = "float32") -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE).astype(dtype)


def variable(seed: int = 0) -> Variable:
    return Variable(numbers(seed), name="w")


# --- assignments -------------------------------------------------------------------------------------------------


def test_assign() -> None:
    w = variable()
    Function(lambda x: assign(w, x * 2.0))(numbers(1))
    np.testing.assert_array_equal(w.value, numbers(1) * 2)


def test_assign_add_counts() -> None:
    count = Variable(0.0, "float64")
    step = Function(lambda x: assign_add(count, 1.0))
    for _ in range(3):
        step(numbers(1))
    assert count.value == 3


def test_order() -> None:
    """What was traced before an assignment sees the old values, what comes after it the new ones."""
    w = variable()

    def body(x: Any) -> Any:
        dw = gradients(ops.sum(w * w * x), [w])[0]
        assign(w, x)
        return dw, w + 1.0

    dw, after = Function(body)(numbers(1))
    np.testing.assert_allclose(dw, 2 * numbers(0) * numbers(1), rtol=1e-6)
    np.testing.assert_array_equal(after, numbers(1) + 1)
    np.testing.assert_array_equal(w.value, numbers(1))


def test_assign_of_another_shape() -> None:
    with pytest.raises(Error, match=r"w: cannot assign.*\(5, 3\).*the variable is float32 of shape \(3, 5\)"):
        Function(lambda x: assign(variable(), x))(numbers(1).T.copy())


def test_assign_outside_a_trace() -> None:
    with pytest.raises(Error, match="only inside"):
        assign(variable(), numbers(1))


# --- steps of optimizers -----------------------------------------------------------------------------------------

RATE, BETA_1, BETA_2, RHO, EPSILON, MOMENTUM = 0.01, 0.8, 0.95, 0.9, 1e-3, 0.7
ADAM_RATE = RATE * np.sqrt(1 - BETA_2) / (1 - BETA_1)
U = BETA_1 * (1 - 0.5 * 0.96 ** np.arange(1, 3))
NADAM = [U[1] / (1 - U[0] * U[1]), 1.0, 1 / (1 - BETA_2)]  # (1 - u_1) / (1 - U_1) is 1 in the first step
ADAM = {"beta_1": BETA_1, "beta_2": BETA_2, "epsilon": EPSILON}
RMS = {"rho": RHO, "epsilon": EPSILON}

STEPS = [
    (updates.Sgd(), 0, [RATE], reference.sgd, {}),
    (updates.SgdMomentum(), 1, [RATE, MOMENTUM], reference.sgd, {"momentum": MOMENTUM}),
    (updates.SgdNesterov(), 1, [RATE, MOMENTUM], reference.sgd, {"momentum": MOMENTUM, "nesterov": True}),
    (updates.Lion(), 1, [RATE, BETA_1, BETA_2], reference.lion, {"beta_1": BETA_1, "beta_2": BETA_2}),
    (
        updates.Adagrad(),
        1,
        [RATE, EPSILON],
        reference.adagrad,
        {"initial_accumulator_value": 0.0, "epsilon": EPSILON},
    ),
    (updates.Adadelta(), 2, [RATE, RHO, EPSILON], reference.adadelta, RMS),
    (updates.RmsProp(), 1, [RATE, RHO, EPSILON], reference.rmsprop, RMS),
    (
        updates.RmsPropMomentum(),
        2,
        [RATE, RHO, EPSILON, MOMENTUM],
        reference.rmsprop,
        {**RMS, "momentum": MOMENTUM},
    ),
    (
        updates.RmsPropCentered(),
        3,
        [RATE, RHO, EPSILON, MOMENTUM],
        reference.rmsprop,
        {**RMS, "momentum": MOMENTUM, "centered": True},
    ),
    (updates.Adam(), 2, [ADAM_RATE, BETA_1, BETA_2, EPSILON], reference.adam, ADAM),
    (
        updates.AdamAmsgrad(),
        3,
        [ADAM_RATE, BETA_1, BETA_2, EPSILON],
        reference.adam,
        {**ADAM, "amsgrad": True},
    ),
    (updates.Adamax(), 2, [RATE / (1 - BETA_1), BETA_1, BETA_2, EPSILON], reference.adamax, ADAM),
    (updates.Nadam(), 2, [RATE, BETA_1, BETA_2, EPSILON, *NADAM], reference.nadam, ADAM),
]


@pytest.mark.parametrize("op, slot_count, hyper, rule, options", STEPS, ids=[s[0].name for s in STEPS])
def test_optimizer_step(
    op: updates.OptimizerStep,
    slot_count: int,
    hyper: list[float],
    rule: Callable[..., Any],
    options: dict[str, Any],
) -> None:
    w, slots = variable(), [Variable(np.zeros(SHAPE)) for _ in range(slot_count)]
    values = Variable(np.zeros(8), "float64")
    step = Function(lambda g: update(op, w, g, *slots, values))
    values.value[: len(hyper)] = hyper  # read when the step runs, not when it is traced
    step(numbers(1))
    expected, _ = rule(numbers(0).astype(float), numbers(1).astype(float), {}, 1, RATE, **options)
    np.testing.assert_allclose(w.value, expected, rtol=0, atol=1e-6)
    assert op.mutates == (0, *range(2, 2 + slot_count))
    assert all(slot.value.any() for slot in slots)


def test_decay_weights() -> None:
    w, hyper = variable(), Variable([RATE, 0.004], "float64")
    Function(lambda: update(updates.DecayWeights(), w, hyper))()
    np.testing.assert_allclose(w.value, reference.decay_weights(numbers(0), 0.004, RATE), rtol=1e-6)


def test_average_weights() -> None:
    average, w, hyper = variable(0), variable(1), Variable([0.9], "float64")
    Function(lambda: update(updates.AverageWeights(), average, w, hyper))()
    np.testing.assert_allclose(average.value, 0.9 * numbers(0) + 0.1 * numbers(1), atol=1e-6)
    np.testing.assert_array_equal(w.value, numbers(1))


# --- clipping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [0.5, 100.0], ids=["clipped", "short enough"])
def test_clip_by_norm(limit: float) -> None:
    g = numbers(0)
    np.testing.assert_allclose(
        Function(lambda g: clip_by_norm(g, limit))(g), reference.clip_by_norm([g], limit)[0], rtol=1e-6
    )


@pytest.mark.parametrize("limit", [0.5, 100.0], ids=["clipped", "short enough"])
def test_clip_by_global_norm(limit: float) -> None:
    grads = [numbers(0), np.ones(9000, np.float32), np.float32(3).reshape(())]
    clipped = Function(lambda *gs: clip_by_global_norm(gs, limit))(*grads)
    for actual, expected in zip(clipped, reference.clip_by_global_norm(grads, limit), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


def test_clip_by_no_norm() -> None:
    with pytest.raises(Error, match="must be positive, got 0"):
        Function(lambda g: clip_by_norm(g, 0))(numbers(0))


def test_elements_of_a_variable_are_values_outside_of_traces() -> None:
    w = variable()
    values = w.numpy()
    np.testing.assert_array_equal(w[0], values[0])
    np.testing.assert_array_equal(w[..., 1:], values[..., 1:])
    w[0][...] = 7.0
    np.testing.assert_array_equal(w.numpy(), values)
    np.testing.assert_array_equal(Function(lambda: w[0] * 2.0)(), 2.0 * values[0])
