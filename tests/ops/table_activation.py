"""Rows of the activation ops."""

from collections.abc import Callable
from typing import Any

import numpy as np
import reference
from op_harness import Row

from fastcnn import ops
from fastcnn.ops.activation import Activation, StraightPieces

COVERED_ELSEWHERE: set[type] = {Activation, StraightPieces}  # what they have in common

SHAPES = {"nothing equal": [(2, 3, 5)]}  # the walk is the same for all of them, and tested with their kernels


def smooth(*kinks: float) -> Callable[[np.random.Generator, Any], np.ndarray]:
    """Inputs that a difference of 1e-6 does not carry across a kink."""

    def make(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        x = rng.normal(scale=2.0, size=shape)
        for kink in kinks:
            x = np.where(np.abs(x - kink) < 0.01, kink + 0.02, x)
        return x

    return make


def row(name: str, *kinks: float, function: Any = None, definition: Any = None) -> Row:
    function, definition = function or getattr(ops, name), definition or getattr(reference, name)
    return Row(name, function, definition, SHAPES, make=smooth(*kinks))


ROWS = [
    Row(
        "relu",
        ops.relu,
        reference.relu,
        {**SHAPES, "smallest": [(1,)], "scalar": [()]},
        make=smooth(0),
    ),
    row("relu6", 0, 6),
    row(
        "relu with everything",
        0.5,
        2,
        function=lambda x: ops.relu(x, negative_slope=0.1, max_value=2.0, threshold=0.5),
        definition=lambda x: reference.relu(x, 0.1, 2.0, 0.5),
    ),
    row(
        "relu with a threshold",
        0.5,
        function=lambda x: ops.relu(x, threshold=0.5),
        definition=lambda x: reference.relu(x, threshold=0.5),
    ),
    row(
        "relu with a slope",
        0,
        function=lambda x: ops.relu(x, negative_slope=0.1),
        definition=lambda x: reference.relu(x, 0.1),
    ),
    row("leaky_relu", 0),
    row("elu", 0, function=lambda x: ops.elu(x, 0.7), definition=lambda x: reference.elu(x, 0.7)),
    row("celu", 0, function=lambda x: ops.celu(x, 0.7), definition=lambda x: reference.celu(x, 0.7)),
    row("selu", 0),
    row("hard_sigmoid", -3, 3),
    row("hard_silu", -3, 3),
    row("hard_tanh", -1, 1),
    row("soft_shrink", -0.5, 0.5),
    row("hard_shrink", -0.5, 0.5),
    row("sigmoid"),
    row("log_sigmoid"),
    row("softplus"),
    row("tanh"),
    row("tanh_shrink"),
    row("silu"),
    row("mish"),
    row("gelu", function=lambda x: ops.gelu(x, approximate=False)),
    row(
        "gelu approximate",
        function=lambda x: ops.gelu(x, approximate=True),
        definition=lambda x: reference.gelu(x, approximate=True),
    ),
    row("softsign"),
    row("squareplus"),
    row("exponential"),
    Row("glu", ops.glu, reference.glu, {"halves": [(2, 3, 6)], "smallest": [(1, 2)]}),
    Row(
        "glu along another axis",
        lambda x: ops.glu(x, 1),
        lambda x: reference.glu(x, 1),
        {"nothing equal": [(2, 4, 3)]},
    ),
    Row(
        "prelu",
        ops.prelu,
        reference.prelu,
        {
            "alpha of a sample": [(4, 2, 3), (2, 3)],
            "shared between leading axes": [(2, 3, 2, 3), (1, 1, 3)],
            "shared between inner axes": [(2, 3, 2, 3), (3, 1, 3)],
            "shared by all": [(2, 3, 2), (1, 1)],
            "smallest": [(1, 1), (1,)],
        },
        makers=[smooth(0), None],
        terms=24,
    ),
    Row(
        "softmax",
        ops.softmax,
        reference.softmax,
        {"nothing equal": [(2, 3, 5)], "smallest": [(1, 1)], "one dimension": [(4,)]},
    ),
    Row(
        "softmax over inner axes",
        lambda x: ops.softmax(x, (0, 2)),
        lambda x: reference.softmax(x, (0, 2)),
        {"nothing equal": [(2, 3, 4)]},
    ),
    Row(
        "log_softmax",
        ops.log_softmax,
        reference.log_softmax,
        {"nothing equal": [(2, 3, 5)], "smallest": [(1, 1)]},
    ),
    Row(
        "log_softmax along another axis",
        lambda x: ops.log_softmax(x, 1),
        lambda x: reference.log_softmax(x, 1),
        {"nothing equal": [(2, 5, 3)]},
    ),
]
