"""Random numbers on a CUDA device: those of `random.py`, so the same seed drops the same units on both.

A thread draws the four numbers of one counter; of gamma-distributed numbers, one.
"""

import numpy as np

from fastcnn_kernels.cuda import covering, cuda, cuda_function, cuda_kernel, elements
from fastcnn_kernels.random import SHIFT, WORD, box_muller, keep, log_gamma_number, philox, unit


def quads(x, *others):
    """A thread for every four elements."""
    return elements(covering(x.size, 4))


@cuda_function
def draw(state, stream, block, like):
    """The uniform numbers in [0, 1) of the elements from 4 * block on, of the type of `like`."""
    seed, step, place = np.uint64(state[0]), np.uint64(state[1]), np.uint64(stream) & WORD
    w0, w1, w2, w3 = philox(np.uint64(block), place, step & WORD, step >> SHIFT, seed & WORD, seed >> SHIFT)
    return unit(w0, like), unit(w1, like), unit(w2, like), unit(w3, like)


@cuda_kernel(quads)
def dropout(x, y, state, stream, rate, scale):
    """y[i] = scale x[i] with probability 1 - rate, else 0 x[i].  x, y one-dimensional."""
    r, s = x.dtype.type(rate), x.dtype.type(scale)
    block = cuda.grid(1)
    if block < (x.size + 3) // 4:
        numbers = draw(state, stream, block, r)
        for j in range(min(4, x.size - 4 * block)):
            y[4 * block + j] = x[4 * block + j] * keep(numbers[j], r, s)


@cuda_kernel(quads)
def random_mask(y, state, stream, rate, scale):
    """y[i] = scale with probability 1 - rate, else 0: what `dropout` multiplies by."""
    r, s = y.dtype.type(rate), y.dtype.type(scale)
    block = cuda.grid(1)
    if block < (y.size + 3) // 4:
        numbers = draw(state, stream, block, r)
        for j in range(min(4, y.size - 4 * block)):
            y[4 * block + j] = keep(numbers[j], r, s)


@cuda_kernel(quads)
def random_uniform(y, state, stream, low, high):
    """y[i] uniform in [low, high)."""
    offset, width = y.dtype.type(low), y.dtype.type(high - low)
    block = cuda.grid(1)
    if block < (y.size + 3) // 4:
        numbers = draw(state, stream, block, offset)
        for j in range(min(4, y.size - 4 * block)):
            y[4 * block + j] = offset + width * numbers[j]


@cuda_kernel(quads)
def random_normal(y, state, stream, mean, stddev):
    """y[i] normally distributed.  Box & Muller 1958, on neighbouring pairs."""
    m, s = y.dtype.type(mean), y.dtype.type(stddev)
    block = cuda.grid(1)
    if block < (y.size + 3) // 4:
        u0, u1, u2, u3 = draw(state, stream, block, m)
        numbers = box_muller(u0, u1) + box_muller(u2, u3)
        for j in range(min(4, y.size - 4 * block)):
            y[4 * block + j] = m + s * numbers[j]


@cuda_kernel(lambda state: elements(1))
def advance(state):
    """step += 1: new numbers in every stream."""
    if cuda.grid(1) == 0:
        state[1] += 1


@cuda_kernel(lambda alpha, y, state, stream: elements(y.size))
def random_log_gamma(alpha, y, state, stream):
    """y[i] = the logarithm of a gamma-distributed number of shape alpha[i] > 0 and scale 1."""
    i = cuda.grid(1)
    if i < y.size:
        y[i] = log_gamma_number(float(alpha[i]), state, np.uint64(stream), i)
