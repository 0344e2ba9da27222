"""Each constraint against its definition, along each axis it is used on."""

import numpy as np
import pytest

from fastcnn import constraints
from fastcnn.errors import Error

KERNEL = np.random.default_rng(0).normal(size=(3, 2, 4, 5)).astype(np.float32)
FILTERS = (0, 1, 2)
RTOL = 1e-5  # norms of 24 float32 values, and the 1e-7 that keeps the division finite


def norms(w, axis=FILTERS):
    return np.sqrt((w.astype(np.float64) ** 2).sum(axis))


def test_max_norm_by_hand():
    w = np.array([[0.0, 1.0, 3.0, 3.0], [0.0, 0.0, 4.0, 0.0]])
    expected = [[0, 1, 1.2, 2], [0, 0, 1.6, 0]]
    assert np.allclose(constraints.MaxNorm(2)(w), expected, rtol=RTOL)


def test_max_norm_leaves_shorter_vectors():
    w = constraints.MaxNorm(4.0, FILTERS)(KERNEL)
    before = norms(KERNEL)
    assert (before > 4).any() and (before < 4.5).any()
    assert np.allclose(norms(w), np.minimum(before, 4), rtol=RTOL)


def test_unit_norm():
    assert np.allclose(norms(constraints.UnitNorm(list(FILTERS))(KERNEL)), 1, rtol=RTOL)
    assert np.allclose(norms(constraints.UnitNorm()(KERNEL), 0), 1, rtol=RTOL)


def test_min_max_norm():
    before = norms(KERNEL)
    strict = constraints.MinMaxNorm(4.2, 4.8, axis=FILTERS)(KERNEL)
    assert np.allclose(norms(strict), before.clip(4.2, 4.8), rtol=RTOL)
    gentle = constraints.MinMaxNorm(4.2, 4.8, rate=0.25, axis=FILTERS)(KERNEL)
    assert np.allclose(norms(gentle), 0.75 * before + 0.25 * before.clip(4.2, 4.8), rtol=RTOL)


def test_non_neg():
    assert constraints.NonNeg()(np.array([-1.0, 0.0, 2.0])).tolist() == [0, 0, 2]


def test_constraint_itself_constrains_nothing():
    assert constraints.Constraint()(KERNEL) is KERNEL


@pytest.mark.parametrize("name", ["max_norm", "unit_norm", "min_max_norm", "non_neg"])
def test_zeros_dtype_and_input_are_kept(name):
    before = KERNEL.copy()
    constraint = constraints.get(name)
    assert constraint(KERNEL).dtype == np.float32
    assert constraint(KERNEL.astype(np.float64)).dtype == np.float64
    assert np.array_equal(KERNEL, before)
    assert np.array_equal(constraint(np.zeros((2, 3))), np.zeros((2, 3)))


def test_defaults_are_those_of_keras():
    assert constraints.MaxNorm().get_config() == {"max_value": 2, "axis": 0}
    assert constraints.MinMaxNorm().get_config() == {
        "min_value": 0.0,
        "max_value": 1.0,
        "rate": 1.0,
        "axis": 0,
    }
    assert constraints.UnitNorm().get_config() == {"axis": 0}
    assert constraints.NonNeg().get_config() == {}


def test_get():
    assert constraints.get(None) is None
    assert type(constraints.get("MaxNorm")) is constraints.MaxNorm
    assert (
        constraints.get({"class_name": "MaxNorm", "config": {"max_value": 3, "axis": [0, 1]}}).max_value == 3
    )
    assert constraints.max_norm is constraints.MaxNorm


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: constraints.MaxNorm(-1), "max_value must not be negative"),
        (lambda: constraints.MinMaxNorm(2, 1), "0 <= min_value <= max_value, got 2 and 1"),
        (lambda: constraints.get("maxnorn"), "unknown constraint 'maxnorn'; did you mean 'MaxNorm'"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(Error, match=message):
        make()
