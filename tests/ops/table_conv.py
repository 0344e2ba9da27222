"""Rows for fastcnn.ops.conv."""

from typing import Any

import numpy as np
import reference
from op_harness import Row

from fastcnn import ops
from fastcnn.graph import Op, gradients
from fastcnn.ops.chunks import ChunkSums
from fastcnn.ops.columns import Stored
from fastcnn.ops.conv import Correlation, Transposed
from fastcnn.ops.tensor_cores import OnCores

COVERED_ELSEWHERE: set[type] = {Correlation, OnCores, Stored, Transposed}  # what they have in common
COVERED_ELSEWHERE |= {ChunkSums}  # in test_blocks.py and plan/test_chain.py
# Other algorithms for an op are compared with it in files of their own.
COVERED_ELSEWHERE |= {other for op in Op.registry.values() for other in op.alternatives.values()}
EXPLICIT = ((1, 0), (0, 2))


def conv_row(name: str, function: str, cases: dict, terms: int = 27, **options: Any) -> Row:
    """A convolution function against the reference of the same name; strides and dilation are called alike."""
    names = {"strides": "stride", "dilation_rate": "dilation"}
    told = {names.get(key, key): value for key, value in options.items() if key != "algorithm"}
    return Row(
        f"{function} {name}",
        lambda *inputs: getattr(ops, function)(*inputs, **options),
        lambda *inputs: getattr(reference, function)(*inputs, **told),
        cases,
        terms=terms,
    )


# x, kernel, bias
USUAL = {
    "nothing equal": [(2, 4, 3, 2), (3, 2, 2, 3), (3,)],
    "smallest": [(1, 1, 1, 1), (1, 1, 1, 1), (1,)],
    "without bias": [(1, 4, 3, 1), (2, 2, 1, 2)],
}
SAME = {"nothing equal": [(2, 5, 4, 2), (3, 2, 2, 3), (3,)], "1x1": [(1, 3, 2, 3), (1, 1, 3, 2), (2,)]}
GROUPS = {"nothing equal": [(2, 4, 3, 4), (3, 2, 2, 6), (6,)]}
MANY_GROUPS = {
    "nothing equal": [(1, 3, 4, 12), (2, 2, 2, 36), (36,)]
}  # six of six filters, in blocks of three
CHANNEL_GROUPS = {"nothing equal": [(2, 4, 3, 2), (3, 2, 1, 6), (6,)]}
DEPTHWISE = {
    "nothing equal": [(2, 4, 3, 2), (3, 2, 2, 1), (2,)],
    "multiplier": [(1, 4, 3, 2), (2, 2, 2, 3), (6,)],
    "without bias": [(1, 3, 3, 3), (2, 2, 3, 1)],
}
TRANSPOSED = {
    "nothing equal": [(2, 3, 2, 2), (3, 2, 4, 2), (4,)],
    "smallest": [(1, 1, 1, 1), (1, 1, 1, 1), (1,)],
    "without bias": [(1, 2, 3, 1), (2, 3, 2, 1)],
}
ONE = {"nothing equal": TRANSPOSED["nothing equal"]}

CONVOLUTIONS = [
    conv_row("valid", "conv2d", USUAL),
    conv_row("same, stride", "conv2d", SAME, padding="same", strides=(2, 3)),
    conv_row("explicit padding", "conv2d", SAME, padding=EXPLICIT),
    conv_row("dilation", "conv2d", SAME, padding="same", dilation_rate=(2, 1)),
    conv_row("stride and dilation", "conv2d", SAME, padding="same", strides=(2, 1), dilation_rate=(2, 2)),
    conv_row("groups", "conv2d", GROUPS, padding="same", groups=2),
    conv_row("groups as such", "conv2d", GROUPS, padding="same", groups=2, algorithm="implicit"),
    conv_row("groups in blocks", "conv2d", MANY_GROUPS, padding="same", strides=(1, 2), groups=6),
    conv_row("a group a channel", "conv2d", CHANNEL_GROUPS, padding="same", groups=2),
]
DEPTHWISE_CONVOLUTIONS = [
    conv_row("valid", "depthwise_conv2d", DEPTHWISE),
    conv_row("same, stride", "depthwise_conv2d", DEPTHWISE, padding="same", strides=(2, 2)),
    conv_row("explicit padding", "depthwise_conv2d", DEPTHWISE, padding=EXPLICIT),
    conv_row("dilation", "depthwise_conv2d", DEPTHWISE, padding="same", dilation_rate=(2, 1)),
]
TRANSPOSED_CONVOLUTIONS = [
    conv_row("valid", "conv2d_transpose", TRANSPOSED),
    conv_row("stride", "conv2d_transpose", TRANSPOSED, strides=(2, 3)),
    conv_row("same", "conv2d_transpose", ONE, padding="same", strides=(2, 3)),
    conv_row("same, stride 1", "conv2d_transpose", ONE, padding="same"),
    conv_row("valid, output padding", "conv2d_transpose", ONE, strides=(2, 2), output_padding=(1, 0)),
    conv_row(
        "same, output padding", "conv2d_transpose", ONE, padding="same", strides=(2, 2), output_padding=(1, 1)
    ),
    conv_row(
        "explicit cropping", "conv2d_transpose", ONE, padding=EXPLICIT, strides=(2, 2), output_padding=(0, 1)
    ),
    conv_row("dilation", "conv2d_transpose", ONE, dilation_rate=(2, 2)),
]


def one_row(function: Any) -> Any:
    """A reference of images as one of sequences (n, length, c)."""
    return lambda x, *kernels: function(x[:, None], *(kernel[None] for kernel in kernels))[:, 0]


SEQUENCES = [
    Row(
        "conv of sequences",
        lambda x, kernel: ops.conv(x, kernel, 2, "same"),
        one_row(lambda x, kernel: reference.conv2d(x, kernel, None, (1, 2), "same")),
        {"nothing equal": [(2, 5, 2), (3, 2, 4)]},
        terms=6,
    ),
    Row(
        "conv_transpose of sequences",
        lambda x, kernel: ops.conv_transpose(x, kernel, 2, ((1, 0),), 1),
        one_row(
            lambda x, kernel: reference.conv2d_transpose(x, kernel, None, (1, 2), ((0, 0), (1, 0)), (0, 1))
        ),
        {"nothing equal": [(2, 4, 2), (3, 4, 2)]},
        terms=6,
    ),
    Row(
        "separable_conv of sequences",
        lambda x, depthwise, pointwise: ops.separable_conv(x, depthwise, pointwise, padding="same"),
        one_row(lambda x, d, p: reference.separable_conv2d(x, d, p, None, (1, 1), "same")),
        {"nothing equal": [(2, 5, 2), (3, 2, 2), (1, 4, 3)]},
        terms=12,
    ),
    Row(
        "separable_conv",
        lambda x, depthwise, pointwise: ops.separable_conv(x, depthwise, pointwise, (2, 2), "same"),
        lambda x, d, p: reference.separable_conv2d(x, d, p, None, (2, 2), "same"),
        {"nothing equal": [(1, 4, 3, 2), (3, 2, 2, 2), (1, 1, 4, 3)]},
        terms=24,
    ),
]


def added_row(function: str, cases: dict, **options: Any) -> Row:
    """A residual behind a convolution, and ReLU: one node of a plan."""
    names = {"strides": "stride"}
    told = {names.get(key, key): value for key, value in options.items()}
    return Row(
        f"{function} with a residual, {len(options)} options",
        lambda *inputs: ops.relu(inputs[-1] + getattr(ops, function)(*inputs[:-1], **options)),
        lambda *inputs: np.maximum(getattr(reference, function)(*inputs[:-1], **told) + inputs[-1], 0),
        cases,
        terms=27,
    )


RESIDUALS = [
    added_row("conv2d", {"nothing equal": [(2, 4, 3, 2), (3, 2, 2, 3), (3,), (2, 2, 2, 3)]}),
    added_row(
        "conv2d", {"no bias": [(2, 4, 3, 2), (3, 2, 2, 3), (2, 2, 2, 3)]}, padding="same", strides=(2, 2)
    ),
    added_row(
        "conv2d_transpose",
        {"nothing equal": [(2, 3, 2, 2), (3, 2, 4, 2), (4,), (2, 7, 6, 4)]},
        strides=(2, 3),
    ),
    Row(
        "conv2d of what is added to it",  # whose gradient is a sum of two
        lambda x, kernel: (y := ops.tanh(x)) + ops.conv2d(y, kernel, padding="same"),
        lambda x, kernel: np.tanh(x) + reference.conv2d(np.tanh(x), kernel, None, padding="same"),
        {"nothing equal": [(2, 4, 3, 2), (3, 2, 2, 2)]},
        terms=13,
    ),
]


def input_gradient(function: Any, **options: Any) -> Any:
    """dx of sum(y * dy) as a function of (x, kernel, dy): an op whose own gradient is checked then."""
    return lambda x, kernel, dy: gradients(function(x, kernel, **options), [x], [dy])[0]


def kernel_gradient(function: Any, **options: Any) -> Any:
    """dkernel of sum(y * dy) as a function of (x, kernel, dy)."""
    return lambda x, kernel, dy: gradients(function(x, kernel, **options), [kernel], [dy])[0]


def second_rows(function: str, cases: dict, dx: Any, dw: Any, **options: Any) -> list[Row]:
    """Gradients as functions of their own, so that their gradients (of second order) are checked."""
    forward = getattr(ops, function)
    return [
        Row(f"{function} dx", input_gradient(forward, **options), dx, cases, differentiable=(1, 2), terms=18),
        Row(
            f"{function} dkernel",
            kernel_gradient(forward, **options),
            dw,
            cases,
            differentiable=(0, 2),
            terms=18,
        ),
    ]


def transposed_gradient(which: int) -> Any:
    return lambda x, w, dy: reference.conv2d_transpose_gradients(dy, x, w, (2, 1), "same")[which]


SECOND_ORDER = [
    *second_rows(
        "conv2d",
        {"nothing equal": [(2, 5, 3, 2), (3, 2, 2, 3), (2, 3, 3, 3)]},
        lambda x, w, dy: reference.conv2d_input_gradient(dy, w, x.shape[1:3], (2, 1), "same"),
        lambda x, w, dy: reference.conv2d_weight_gradient(dy, x, w.shape[:2], (2, 1), "same"),
        strides=(2, 1),
        padding="same",
    ),
    *second_rows(
        "depthwise_conv2d",
        {"nothing equal": [(2, 5, 3, 2), (3, 2, 2, 2), (2, 3, 3, 4)]},
        lambda x, w, dy: reference.depthwise_conv2d_input_gradient(dy, w, x.shape[1:3], (2, 1), "same"),
        lambda x, w, dy: reference.depthwise_conv2d_weight_gradient(dy, x, w.shape[:2], (2, 1), "same"),
        strides=(2, 1),
        padding="same",
    ),
    *second_rows(
        "conv2d_transpose",
        {"nothing equal": [(2, 3, 2, 2), (3, 2, 4, 2), (2, 6, 2, 4)]},
        transposed_gradient(0),
        transposed_gradient(1),
        strides=(2, 1),
        padding="same",
    ),
]

FUSED = [
    Row(
        f"{function} fused with relu",
        lambda x, kernel, bias, function=function: ops.relu(getattr(ops, function)(x, kernel, bias)),
        lambda x, kernel, bias, function=function: np.maximum(
            getattr(reference, function)(x, kernel, bias), 0
        ),
        {"nothing equal": cases["nothing equal"]},
        terms=13,
    )
    for function, cases in [
        ("conv2d", USUAL),
        ("depthwise_conv2d", DEPTHWISE),
        ("conv2d_transpose", TRANSPOSED),
    ]
]

ROWS = [
    *CONVOLUTIONS,
    *DEPTHWISE_CONVOLUTIONS,
    *TRANSPOSED_CONVOLUTIONS,
    *RESIDUALS,
    *SEQUENCES,
    *SECOND_ORDER,
    *FUSED,
]
