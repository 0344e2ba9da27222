"""Reductions of the middle axis of x (o, r, i) on a CUDA device: the kernels of `reduction.py`.

A block makes some neighbouring results, its threads in lanes that share the rows of each (`cuda.py`).
"""

import math

import numpy as np

from fastcnn_kernels.cuda import (
    SIMULATED,
    THREADS,
    WARP,
    Shape,
    chunks_for,
    combine,
    covering,
    cuda,
    cuda_function,
    cuda_kernel,
    elements,
    flat,
    lanes_of,
    sums,
)
from fastcnn_kernels.cuda_intrinsics import divided, load_one
from fastcnn_kernels.elementwise import larger, smaller
from fastcnn_kernels.reduction import is_extremum, plus

LAUNCH = 4 if SIMULATED else 64  # rows that a thread adds up in the time of a launch


def _reduction(x, y, *others) -> Shape:
    """y (o, k, i) of x (o, r, i)."""
    return sums(y.size, covering(x.shape[1], y.shape[1]), x.shape[2])


@cuda_function
def rows_of_chunk(chunk, chunks, rows):
    """`chunk_range` on a device."""
    return divided(rows * chunk, chunks)[0], divided(rows * (chunk + 1), chunks)[0]


@cuda_function
def sum_of_lanes(shared, value, width):
    """What the lanes of a result bring, added up: for all of them, who may bring something again."""
    shared[cuda.threadIdx.x] = value
    combine(plus, shared, width)
    total = shared[cuda.threadIdx.x % width]
    cuda.syncthreads()
    return total


@cuda_function
def reduce_rows(f, x, y, shared, neutral, scale):
    """y[o,k,i] = scale * (x[o,r,i] of the rows r of chunk k, combined by f)."""
    inner, chunks = x.shape[2], y.shape[1]
    lanes = lanes_of(divided(x.shape[1] + chunks - 1, chunks)[0], inner)
    width, thread = divided(THREADS, lanes)[0], cuda.threadIdx.x
    lane, column = divided(thread, width)
    result = cuda.blockIdx.x * width + column
    line, i = divided(result, inner)
    o, chunk = divided(line, chunks)
    value = neutral
    if result < y.size:
        top, bottom = rows_of_chunk(chunk, chunks, x.shape[1])
        place = (o * x.shape[1] + top + lane) * inner + i
        for _ in range(top + lane, bottom, lanes):
            value = f(value, shared.dtype.type(load_one(x, place)))
            place += lanes * inner
    shared[thread] = value
    combine(f, shared, width)
    if thread < width and result < y.size:
        y[o, chunk, i] = shared[thread] * scale


def _chunks(view: tuple[int, int, int]) -> int:
    """One, unless the rows take longer than another launch, which adds up the chunks."""
    _, r, c = view
    return chunks_for(view) if r * min(c, WARP) > LAUNCH * THREADS else 1


@cuda_kernel(_reduction, parts=_chunks)
def reduce_sum(x, y, scale):
    """y[o,k,i] = scale * sum of x[o,r,i] over the rows of chunk k.  x (o,r,i), y (o,k,i); sums in float64."""
    reduce_rows(plus, x, y, cuda.shared.array(THREADS, np.float64), 0.0, scale)


@cuda_kernel(_reduction)
def reduce_max(x, y):
    """y[o,k,i] = max of x[o,r,i] over the rows of chunk k.  x (o,r,i), y (o,k,i).  NaN wins."""
    number = x.dtype.type
    reduce_rows(larger, x, y, cuda.shared.array(THREADS, x.dtype), number(-math.inf), number(1))


@cuda_kernel(_reduction)
def reduce_min(x, y):
    """y[o,k,i] = min of x[o,r,i] over the rows of chunk k.  x (o,r,i), y (o,k,i).  NaN wins."""
    number = x.dtype.type
    reduce_rows(smaller, x, y, cuda.shared.array(THREADS, x.dtype), number(math.inf), number(1))


@cuda_kernel(lambda x, y, count: _reduction(x, count))
def count_extrema(x, y, count):
    """count[o,k,i] = how many x[o,r,i] of the rows of chunk k equal the extremum y[o,i].

    x (o,r,i), y (o,i), count (o,k,i) float64, which `reduce_sum` adds up.
    """
    shared = cuda.shared.array(THREADS, np.float64)
    inner, chunks = x.shape[2], count.shape[1]
    lanes = lanes_of(divided(x.shape[1] + chunks - 1, chunks)[0], inner)
    width, thread = divided(THREADS, lanes)[0], cuda.threadIdx.x
    result = cuda.blockIdx.x * width + thread % width
    i, chunk, o = result % inner, result // inner % chunks, result // inner // chunks
    total = 0.0
    if result < count.size:
        top, bottom = rows_of_chunk(chunk, chunks, x.shape[1])
        for r in range(top + thread // width, bottom, lanes):
            total += 1.0 if is_extremum(x[o, r, i], y[o, i]) else 0.0
    shared[thread] = total
    combine(plus, shared, width)
    if thread < width and result < count.size:
        count[o, chunk, i] = shared[thread]


@cuda_kernel(flat)
def extremum_backward(x, y, dy, count, dx):
    """dx[o,r,i] = dy[o,i] / count[o,i] where x[o,r,i] is the extremum y[o,i], else 0: ties share the gradient evenly.

    x, dx (o,r,i); y, dy, count (o,i), count being float64.
    """
    inner, size = x.shape[2], x.shape[1]
    e = cuda.grid(1)
    if e < x.size:
        i, r, o = e % inner, e // inner % size, e // inner // size
        hit = is_extremum(x[o, r, i], y[o, i])
        dx[o, r, i] = dy[o, i] / count[o, i] if hit else 0.0


@cuda_kernel(lambda x, y: elements(y.size))
def argmax_forward(x, y):
    """y[o,i] = the first r at which x[o,r,i] is largest; a NaN is larger than any number.  x (o,r,i), y (o,i)."""
    inner = x.shape[2]
    result = cuda.grid(1)
    if result < y.size:
        o, i = result // inner, result % inner
        best, place = x[o, 0, i], 0
        for r in range(1, x.shape[1]):
            value = x[o, r, i]
            if value > best or (value != value and best == best):
                best, place = value, r
        y[o, i] = place


@cuda_kernel(lambda x, y: elements(y.size))
def logsumexp_forward(x, y):
    """y[o,i] = log of the sum of exp(x[o,r,i]) over r.  x (o,r,i), y (o,i)."""
    inner, number = x.shape[2], x.dtype.type
    result = cuda.grid(1)
    if result < y.size:
        o, i = result // inner, result % inner
        largest, total = number(-math.inf), 0.0
        for r in range(x.shape[1]):
            largest = larger(largest, x[o, r, i])
        # exp overflows above 88 in float32; a shift by infinity would leave inf - inf
        largest = largest if abs(largest) < math.inf else number(0)
        for r in range(x.shape[1]):
            total += math.exp(x[o, r, i] - largest)
        y[o, i] = largest + math.log(total)


@cuda_kernel(flat)
def logsumexp_backward(x, y, dy, dx):
    """dx[o,r,i] = dy[o,i] exp(x[o,r,i] - y[o,i]).  x, dx (o,r,i); y, dy (o,i)."""
    inner, size = x.shape[2], x.shape[1]
    e = cuda.grid(1)
    if e < x.size:
        i, r, o = e % inner, e // inner % size, e // inner // size
        dx[o, r, i] = dy[o, i] * math.exp(x[o, r, i] - y[o, i])
