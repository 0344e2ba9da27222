"""Random numbers as a function of (seed, step, stream, element): no state but a counter, no order of drawing.

Whoever asks for element i of a stream gets the same number: any thread, the backward of a dropout, a GPU.
`state` is an int64 array (seed, step) that kernels read when they run; `stream` tells the places of a model
apart, and `advance(state)` gives all of them new numbers.
"""

import math

import numpy as np

from fastcnn_kernels import elementary
from fastcnn_kernels.elementwise import flat
from fastcnn_kernels.jit import cpu_kernel, device_function, scalar, span, stack_array

BLOCK = 256  # uniform numbers drawn at a time; a multiple of 4 that divides a chunk

WORD = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
MULTIPLIER_0, MULTIPLIER_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL_0, WEYL_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@scalar
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10: four random 32-bit words of a counter (c0, c1, c2, c3) and a key (k0, k1).

    Words are uint64 below 2**32, because their products need 64 bits. Salmon, Moraes, Dror & Shaw 2011,
    Parallel random numbers: as easy as 1, 2, 3.
    """
    for _ in range(10):
        p0, p1 = MULTIPLIER_0 * c0, MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (p1 >> SHIFT) ^ c1 ^ k0, p1 & WORD, (p0 >> SHIFT) ^ c3 ^ k1, p0 & WORD
        k0, k1 = (k0 + WEYL_0) & WORD, (k1 + WEYL_1) & WORD
    return c0, c1, c2, c3


@scalar
def unit(word, like):
    """The upper 24 bits of a word as a number in [0, 1) of the type of `like`: exact in float32, never 1."""
    return type(like)(np.int32(word >> np.uint64(8))) * type(like)(2.0**-24)


@device_function
def draw(u, state, stream, start):
    """u[i] = the uniform number in [0, 1) of element start + i; start and u.size are multiples of 4."""
    seed, step, place = np.uint64(state[0]), np.uint64(state[1]), np.uint64(stream) & WORD
    block = np.uint64(start // 4)
    for n in range(u.size // 4):
        w0, w1, w2, w3 = philox(
            block + np.uint64(n), place, step & WORD, step >> SHIFT, seed & WORD, seed >> SHIFT
        )
        i = 4 * n
        u[i], u[i + 1], u[i + 2], u[i + 3] = unit(w0, u[0]), unit(w1, u[0]), unit(w2, u[0]), unit(w3, u[0])


@scalar
def keep(u, rate, scale):
    """`scale` with probability 1 - rate, else 0; u uniform in [0, 1)."""
    return scale if u >= rate else type(scale)(0)


@cpu_kernel(flat)
def dropout(x, y, state, stream, rate, scale, first, last):
    """y[i] = scale x[i] with probability 1 - rate, else 0 x[i].  x, y one-dimensional.

    Its gradient is the same call with dy for x and dx for y. Srivastava et al. 2014; scale = 1 / (1 - rate).
    """
    lo, hi = span(first, last, x.size)
    u = stack_array(x, BLOCK)
    r, s = x.dtype.type(rate), x.dtype.type(scale)
    for start in range(lo, hi, BLOCK):
        draw(u, state, stream, start)
        xs, ys = x[start : min(start + BLOCK, hi)], y[start : min(start + BLOCK, hi)]
        for i in range(xs.size):
            ys[i] = xs[i] * keep(u[i], r, s)


@cpu_kernel(flat)
def random_mask(y, state, stream, rate, scale, first, last):
    """y[i] = scale with probability 1 - rate, else 0: what `dropout` multiplies by."""
    lo, hi = span(first, last, y.size)
    u = stack_array(y, BLOCK)
    r, s = y.dtype.type(rate), y.dtype.type(scale)
    for start in range(lo, hi, BLOCK):
        draw(u, state, stream, start)
        ys = y[start : min(start + BLOCK, hi)]
        for i in range(ys.size):
            ys[i] = keep(u[i], r, s)


@cpu_kernel(flat)
def random_uniform(y, state, stream, low, high, first, last):
    """y[i] uniform in [low, high)."""
    lo, hi = span(first, last, y.size)
    u = stack_array(y, BLOCK)
    offset, width = y.dtype.type(low), y.dtype.type(high - low)
    for start in range(lo, hi, BLOCK):
        draw(u, state, stream, start)
        ys = y[start : min(start + BLOCK, hi)]
        for i in range(ys.size):
            ys[i] = offset + width * u[i]


@scalar
def box_muller(u1, u2):
    """Two independent standard normal numbers of two uniform ones in [0, 1); none beyond 5.77."""
    radius = math.sqrt(type(u1)(-2) * elementary.log(type(u1)(1) - u1))
    angle = type(u2)(2 * math.pi) * u2
    return radius * math.cos(angle), radius * math.sin(angle)


@cpu_kernel(flat)
def random_normal(y, state, stream, mean, stddev, first, last):
    """y[i] normally distributed.  Box & Muller 1958, on neighbouring pairs."""
    lo, hi = span(first, last, y.size)
    u = stack_array(y, BLOCK)
    m, s = y.dtype.type(mean), y.dtype.type(stddev)
    for start in range(lo, hi, BLOCK):
        draw(u, state, stream, start)
        for i in range(0, BLOCK, 2):
            u[i], u[i + 1] = box_muller(u[i], u[i + 1])
        ys = y[start : min(start + BLOCK, hi)]
        for i in range(ys.size):
            ys[i] = m + s * u[i]


@cpu_kernel(lambda state: 1)
def advance(state, first, last):
    """step += 1: new numbers in every stream."""
    state[1] += 1


# --- gamma -----------------------------------------------------------------------------------------------------

ATTEMPTS = 64  # of which one in a thousand needs more than three


@scalar
def uniform_pair(state, place, element, attempt):
    """Two pairs of uniform numbers in (0, 1) of an attempt, independent of those of any other."""
    seed, step = np.uint64(state[0]), np.uint64(state[1])
    words = philox(
        (np.uint64(element) * np.uint64(ATTEMPTS) + np.uint64(attempt)) & WORD, (place + np.uint64(1 << 31)) & WORD,
        step & WORD, step >> SHIFT, seed & WORD, seed >> SHIFT,
    )  # fmt: skip
    half = 2.0**-33  # keeps them away from 0
    return (
        float(words[0]) * 2.0**-32 + half,
        float(words[1]) * 2.0**-32 + half,
        float(words[2]) * 2.0**-32 + half,
        float(words[3]) * 2.0**-32 + half,
    )


@scalar
def log_gamma_number(alpha, state, place, element):
    """The logarithm of a number of the gamma distribution with shape alpha and scale 1.

    Marsaglia & Tsang 2000, A simple method for generating gamma variables: d v, v = (1 + x / sqrt(9 d))^3, x normal,
    d = alpha - 1/3, accepted where ln u < x^2 / 2 + d - d v + d ln v. Below 1: of alpha + 1, times u^(1 / alpha).
    """
    d = (alpha if alpha >= 1 else alpha + 1.0) - 1.0 / 3.0
    result = math.log(d)
    for attempt in range(ATTEMPTS):
        u1, u2, u3, u4 = uniform_pair(state, place, element, attempt)
        x = math.sqrt(-2.0 * math.log(u1)) * math.cos(2.0 * math.pi * u2)
        v = 1.0 + x / math.sqrt(9.0 * d)
        if v > 0 and math.log(u3) < 0.5 * x * x + d - d * v**3 + 3.0 * d * math.log(v):
            result = math.log(d) + 3.0 * math.log(v)
            if alpha < 1:
                result += math.log(u4) / alpha
            break
    return result


@cpu_kernel(lambda alpha, y, state, stream: y.size)
def random_log_gamma(alpha, y, state, stream, first, last):
    """y[i] = the logarithm of a gamma-distributed number of shape alpha[i] > 0 and scale 1.

    Logarithms, because numbers of a small shape are smaller than a float holds; shares of several are their softmax.
    """
    for i in range(first, last):
        y[i] = log_gamma_number(float(alpha[i]), state, np.uint64(stream), i)
