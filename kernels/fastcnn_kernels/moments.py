"""Moments of channels: how many numbers there are, their mean, and the sum of their squared differences from it.

Normalisations want them of tensors, and of what a convolution has just stored, while it is in the cache: an epilogue.
There an item of a convolution writes a row of `moments` (rows, 3, channels), float64, and `combine_moments` makes of
them what `batch_norm_moments` would have made of the whole tensor.

Numbers are added up as differences from the first: the squares of data far from zero would drown its variance.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from fastcnn_kernels.channelwise import LINEAR, segment, shifted_sums
from fastcnn_kernels.jit import cpu_kernel, device_function, stack_array
from fastcnn_kernels.reduction import TILE, clear, fold, load

COUNT, MEAN, SQUARES = range(3)


class Sums(NamedTuple):
    """Tiles on a thread's stack, of `TILE` numbers each."""

    shift: Any  # what is subtracted
    total: Any  # of the differences, float64
    squares: Any  # of their squares, float64


class Run(NamedTuple):
    """How rows of channels are gone through: in segments of `length` numbers, `step` apart, each of rows of `width`."""

    length: int
    width: int
    step: int


@device_function
def run_of(x, rows, start, channels, pitch):
    """Of the channels from `start` on, `TILE` at most, of rows of `channels` that begin `pitch` numbers apart."""
    if channels == pitch:
        length, width = segment(x, rows, channels, start)
        return Run(length, width, max(length, channels))
    width = min(TILE, channels - start)
    return Run(width, width, pitch)


@device_function
def add_run(sums, x, at, rows, pitch, run, before):
    """Add the rows that begin at `at`, at + pitch, ... to `before` others, and say how many that makes."""
    if before == 0:
        load(sums.shift, x, at, run.width, run.length)
        clear(sums.total)
        clear(sums.squares)
    tiles, end = (sums.total, sums.squares), at + (rows - 1) * pitch + run.width
    shifted_sums(LINEAR, (x,), tiles, (sums.shift,), at, end, run.step, run.length, 1.0, math.inf)
    return before + rows


@device_function
def end_sums(sums, rows, run, mean, squares):
    """mean[j], squares[j] of the `rows` rows that have been added."""
    fold(sums.total, run.width, run.length)
    fold(sums.squares, run.width, run.length)
    share = 1.0 / rows
    for j in range(run.width):
        total = sums.total[j]
        mean[j] = sums.shift[j] + total * share
        rest = sums.squares[j] - total * total * share
        squares[j] = 0.0 if rest < 0.0 else rest  # NaN stays NaN


@device_function
def moments_of_rows(x, at, rows, channels, pitch, mean, squares):
    """mean[j], squares[j] over rows of `channels` numbers that begin at `at`, at + pitch, ... of x."""
    sums = Sums(stack_array(x, TILE), stack_array(np.float64, TILE), stack_array(np.float64, TILE))
    for start in range(0, channels, TILE):
        run = run_of(x, rows, start, channels, pitch)
        add_run(sums, x, at + start, rows, pitch, run, 0)
        end_sums(sums, rows, run, mean[start:], squares[start:])


# --- as an epilogue ----------------------------------------------------------------------------------------------


@device_function
def keep_sums(sums, rows, run, moments, row, first):
    """Write a row of moments, of the channels from `first` on: of the `rows` rows that have been added."""
    into = moments[row]
    into[COUNT, first : first + run.width] = rows
    if rows > 0:
        end_sums(sums, rows, run, into[MEAN, first:], into[SQUARES, first:])
    else:
        into[MEAN:, first : first + run.width] = 0.0


@device_function
def keep_moments(y, at, rows, channels, pitch, moments, row, first):
    """The same of rows of `channels` numbers that begin at `at`, at + pitch, ... of y."""
    sums = Sums(stack_array(y, TILE), stack_array(np.float64, TILE), stack_array(np.float64, TILE))
    for start in range(0, channels, TILE):
        run = run_of(y, rows, start, channels, pitch)
        if rows > 0:
            add_run(sums, y, at + start, rows, pitch, run, 0)
        keep_sums(sums, rows, run, moments, row, first + start)


@cpu_kernel(lambda moments, partial: -(-moments.shape[2] // TILE))
def combine_moments(moments, partial, first, last):
    """partial[r] = (mean, sum of (x - mean)^2 / rows of partial), the same for all r, from the moments of parts.

    moments (k,3,c), partial (r,2,c) float64: as if each of r chunks of equal size had the moments of the whole
    (Chan, Golub & LeVeque 1979).
    """
    chunks, channels = partial.shape[0], moments.shape[2]
    count, centre, squares = (
        stack_array(np.float64, TILE), stack_array(np.float64, TILE), stack_array(np.float64, TILE)
    )  # fmt: skip
    for item in range(first, last):
        start = item * TILE
        width = min(TILE, channels - start)
        clear(count)
        clear(centre)
        clear(squares)
        for k in range(moments.shape[0]):
            weights, means = moments[k, COUNT, start:], moments[k, MEAN, start:]
            for j in range(width):
                count[j] += weights[j]
                centre[j] += weights[j] * means[j]
        for j in range(width):
            centre[j] /= count[j]
        for k in range(moments.shape[0]):
            weights, means, rest = (
                moments[k, COUNT, start:],
                moments[k, MEAN, start:],
                moments[k, SQUARES, start:],
            )
            for j in range(width):
                apart = means[j] - centre[j]
                squares[j] += rest[j] + weights[j] * apart * apart
        for r in range(chunks):
            for j in range(width):
                partial[r, 0, start + j] = centre[j]
                partial[r, 1, start + j] = squares[j] / chunks
