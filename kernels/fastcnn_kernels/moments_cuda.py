"""Moments on a CUDA device, as the epilogue of convolutions: a block writes those of what it has stored."""

import numpy as np

from fastcnn_kernels.cuda import (
    THREADS,
    cuda,
    cuda_function,
    cuda_kernel,
    lanes_of,
    sums,
)
from fastcnn_kernels.cuda_intrinsics import load_one
from fastcnn_kernels.moments import COUNT, MEAN, SQUARES
from fastcnn_kernels.reduction_cuda import sum_of_lanes


@cuda_function
def put(shared, at, x):
    """Leave a float64 number as two of the dtype of `shared`, which are together as good as that."""
    high = shared.dtype.type(x)
    shared[2 * at] = high
    shared[2 * at + 1] = x - np.float64(high)


@cuda_function
def get(shared, at):
    """The number that has been put there."""
    return np.float64(shared[2 * at]) + np.float64(shared[2 * at + 1])


@cuda_function
def keep_moments(shared, y, at, rows, pitch, width, inside, moments, part, first):
    """Write part of `moments` (parts,3,pitch): of channels first + j, j below `inside`, of rows of y.

    Their numbers are at y[at + r * pitch + j], r below `rows`, and this block has just stored them. width: how many
    threads stand beside each other, on a channel each. shared: four numbers a thread, which nobody needs any more.
    """
    cuda.syncthreads()
    thread, threads = cuda.threadIdx.x, cuda.blockDim.x
    j, lane, lanes = thread % width, thread // width, threads // width
    total, squares, shift = 0.0, 0.0, y.dtype.type(0)
    if j < inside:
        shift, place = load_one(y, at + j), at + lane * pitch + j
        for _ in range(lane, rows, lanes):
            d = np.float64(load_one(y, place) - shift)
            total += d
            squares += d * d
            place += lanes * pitch
    put(shared, thread, total)
    put(shared, threads + thread, squares)
    cuda.syncthreads()
    if lane == 0 and j < inside:
        for other in range(thread + width, threads, width):
            total += get(shared, other)
            squares += get(shared, threads + other)
        rest, to = squares - total * total / rows, part * 3 * pitch + first + j
        moments[to + COUNT * pitch] = rows
        moments[to + MEAN * pitch] = shift + total / rows
        moments[to + SQUARES * pitch] = 0.0 if rest < 0.0 else rest  # NaN stays NaN


@cuda_kernel(lambda moments, partial: sums(moments.shape[2], moments.shape[0], 1))
def combine_moments(moments, partial):
    """partial[r] = (mean, sum of (x - mean)^2 / rows of partial), the same for all r, from the moments of parts.

    moments (k,3,c), partial (r,2,c) float64. Means are added up as differences from the first.
    """
    shared = cuda.shared.array(THREADS, np.float64)
    lanes = lanes_of(moments.shape[0], 1)
    width, thread = THREADS // lanes, cuda.threadIdx.x
    ch, lane = cuda.blockIdx.x * width + thread % width, thread // width
    count, total, square, shift = 0.0, 0.0, 0.0, 0.0
    if ch < moments.shape[2]:
        shift = moments[0, MEAN, ch]
        for k in range(lane, moments.shape[0], lanes):
            weight, d = moments[k, COUNT, ch], moments[k, MEAN, ch] - shift
            count += weight
            total += weight * d
            square += moments[k, SQUARES, ch] + weight * d * d
    count, total = sum_of_lanes(shared, count, width), sum_of_lanes(shared, total, width)
    square = sum_of_lanes(shared, square, width)
    if ch < moments.shape[2]:
        share, chunks = total / count, partial.shape[0]
        rest = square - total * share
        for r in range(lane, chunks, lanes):
            partial[r, 0, ch] = shift + share
            partial[r, 1, ch] = 0.0 if rest < 0.0 else rest / chunks  # NaN stays NaN
