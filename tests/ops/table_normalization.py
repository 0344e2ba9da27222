"""Rows for fastcnn.ops.normalization. Moving averages change variables: tests/ops/test_normalization.py."""

import numpy as np
import reference
from op_harness import Row

from fastcnn import ops
from fastcnn.ops.normalization import (
    BatchMoments,
    BatchNormCoefficients,
    BatchNormInputGrad,
    BatchNormSums,
    BatchStatistics,
    MovingAverage,
    Rectified,
)

COVERED_ELSEWHERE: set[type] = {MovingAverage}
COVERED_ELSEWHERE |= {Rectified}  # in plan/test_fuse.py
PARTS = {BatchMoments, BatchStatistics, BatchNormSums, BatchNormCoefficients, BatchNormInputGrad}
COVERED_ELSEWHERE |= PARTS  # of BatchNorm and BatchNormGrad in every plan


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Variances."""
    return rng.uniform(0.5, 2.0, shape)


def layer_norm_over_height_and_channels(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """reference.layer_norm wants its weights in the shape of x along the axes, as they are."""
    return reference.layer_norm(x, gamma, beta, (1, 3))


ROWS = [
    Row(
        "batch_normalization_training",
        ops.batch_normalization_training,
        reference.batch_norm_training,
        {"nothing equal": [(2, 3, 2, 5), (5,), (5,)], "rows of features": [(7, 3), (3,), (3,)]},
        terms=16,
    ),
    Row(
        "batch_normalization_training without weights",
        lambda x: ops.batch_normalization_training(x, epsilon=0.1)[0],
        lambda x: reference.batch_norm_training(x, None, None, 0.1)[0],
        {"channels not a multiple of the vector": [(2, 1, 1, 33)]},
        terms=16,
    ),
    Row(
        "batch_normalization_training of one row",  # the gradient is zero: nothing to compare differences with
        ops.batch_normalization_training,
        reference.batch_norm_training,
        {"one row": [(1, 3), (3,), (3,)]},
        differentiable=[1, 2],
        terms=16,
    ),
    Row(
        "batch_normalization",
        lambda x, mean, var, gamma, beta: ops.batch_normalization(x, mean, var, offset=beta, scale=gamma),
        lambda x, mean, var, gamma, beta: reference.batch_norm_inference(x, gamma, beta, mean, var),
        {"nothing equal": [(2, 3, 2, 5), *[(5,)] * 4], "smallest": [(1, 1), *[(1,)] * 4]},
        makers=[None, None, positive, None, None],
        terms=4,
    ),
    Row(
        "batch_normalization of the second axis, without weights",
        lambda x, mean, var: ops.batch_normalization(x, mean, var, axis=1),
        lambda x, mean, var: reference.batch_norm_inference(x, None, None, mean, var, axis=1),
        {"nothing equal": [(2, 3, 4, 2), (3,), (3,)]},
        makers=[None, None, positive],
        terms=4,
    ),
    Row(
        "group_normalization",
        lambda x, gamma, beta: ops.group_normalization(x, 2, gamma, beta),
        lambda x, gamma, beta: reference.group_norm(x, gamma, beta, 2),
        {"nothing equal": [(3, 2, 2, 4), (4,), (4,)], "two channels a group": [(2, 5, 4), (4,), (4,)]},
        terms=16,
    ),
    Row(
        "group_normalization, each channel alone",
        lambda x: ops.group_normalization(x, -1),
        lambda x: reference.group_norm(x, None, None, -1),
        {"nothing equal": [(3, 4, 2, 2)]},
        terms=16,
    ),
    Row(
        "layer_normalization",
        lambda x, gamma, beta: ops.layer_normalization(x, gamma, beta, epsilon=1e-3),
        reference.layer_norm,
        {"nothing equal": [(2, 3, 5), (5,), (5,)], "rows of features": [(7, 3), (3,), (3,)]},
        terms=16,
    ),
    Row(
        "layer_normalization of two axes",
        lambda x, gamma, beta: ops.layer_normalization(x, gamma, beta, axis=(1, 3), epsilon=1e-3),
        layer_norm_over_height_and_channels,
        {"nothing equal": [(2, 3, 4, 2), (3, 2), (3, 2)]},
        terms=16,
    ),
    Row(
        "normalize",
        ops.normalize,
        lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True)),
        {"nothing equal": [(2, 3, 5)]},
        terms=8,
    ),
    Row(
        "normalize over two axes",
        lambda x: ops.normalize(x, (0, 2), epsilon=100.0),
        lambda x: x / 100,
        {"shorter than epsilon": [(2, 3, 5)]},
    ),
]
