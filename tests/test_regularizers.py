"""Regularizers on arrays, on tensors, and their gradients."""

import numpy as np
import pytest

import fastcnn
from fastcnn import ops, regularizers
from fastcnn.graph import gradients
from fastcnn.plan import Function

X = np.random.default_rng(0).normal(size=(3, 4))


def orthogonal(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = np.abs(unit @ unit.T)
    n = len(x)
    return 0.5 * (cosines.sum() - np.trace(cosines)) / (n * (n - 1) / 2)


CASES = [
    (regularizers.L1(), 0.01 * np.abs(X).sum()),
    (regularizers.L2(0.3), 0.3 * (X**2).sum()),
    (regularizers.L1L2(0.1, 0.2), 0.1 * np.abs(X).sum() + 0.2 * (X**2).sum()),
    (regularizers.L1L2(l1=0.1), 0.1 * np.abs(X).sum()),
    (regularizers.L1L2(), 0.0),
    (regularizers.OrthogonalRegularizer(0.5), 0.5 * orthogonal(X)),
    (regularizers.OrthogonalRegularizer(0.5, "columns"), 0.5 * orthogonal(X.T)),
    (lambda x: 2.0 * ops.sum(x), 2 * X.sum()),
]


@pytest.mark.parametrize(("regularizer", "expected"), CASES, ids=lambda v: type(v).__name__)
def test_penalty(regularizer, expected):
    assert regularizer(X) == pytest.approx(expected, rel=1e-12, abs=1e-12)
    in_plan = Function(regularizer)(X)
    assert in_plan.shape == ()
    assert in_plan == pytest.approx(expected, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("regularizer", [case[0] for case in CASES], ids=lambda v: type(v).__name__)
def test_gradient(regularizer):
    from reference import numeric_gradient, relative_error

    (dx,) = Function(lambda x: gradients(regularizer(x), [x]))(X)
    assert relative_error(dx, numeric_gradient(lambda x: float(regularizer(x)), X, 1e-6)) < 1e-6


@pytest.mark.parametrize(
    ("identifier", "kind", "config"),
    [
        ("l1", regularizers.L1, {"l1": 0.01}),
        ("L2", regularizers.L2, {"l2": 0.01}),
        ("l1_l2", regularizers.L1L2, {"l1": 0.0, "l2": 0.0}),
        (regularizers.l1_l2(l1=0.5), regularizers.L1L2, {"l1": 0.5, "l2": 0.0}),
        ("orthogonal_regularizer", regularizers.OrthogonalRegularizer, {"factor": 0.01, "mode": "rows"}),
    ],
)
def test_names_and_configuration(identifier, kind, config):
    regularizer = regularizers.get(identifier)
    assert type(regularizer) is kind
    assert regularizer.get_config() == config
    again = regularizers.deserialize(regularizers.serialize(regularizer))
    assert type(again) is kind
    assert again.get_config() == config


def test_none_is_no_regularizer():
    assert regularizers.get(None) is None


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: regularizers.L2(float("nan")), "L2: l2 must be a finite number not below 0, got nan"),
        (lambda: regularizers.L1("much"), "L1: l1 must be a finite number"),
        (lambda: regularizers.OrthogonalRegularizer(mode="row"), "did you mean 'rows'"),
        (lambda: regularizers.OrthogonalRegularizer()(np.ones(3)), "expected a matrix"),
        (lambda: regularizers.get("l3"), "unknown regularizer 'l3'; known names: L1, L1L2, L2"),
    ],
)
def test_bad_arguments(act, message):
    with pytest.raises(fastcnn.errors.Error, match=message):
        act()
