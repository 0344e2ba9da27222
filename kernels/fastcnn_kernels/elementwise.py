"""Arithmetic on arrays of one shape, element by element, and the walks that other families share.

Kernels of flat arrays take one-dimensional views; an output may be the same array as an input. Gradients are
compositions of these kernels (d sqrt(x) = dy / 2y), so only the clipping, whose derivative is a mask, has a
backward of its own.

Formulas make their constants in the type of their argument, `type(x)(0.5)`: a bare 0.5 would turn float32
arithmetic into float64.
"""

import math
import operator

import numpy as np

from fastcnn_kernels import elementary
from fastcnn_kernels.jit import CHUNK, cpu_kernel, device_function, scalar, span, stack_array

BREADTH = 256  # running results of a row

# --- walks --------------------------------------------------------------------------------------------------


def flat(x, *others) -> int:
    """Work items of a kernel over flat arrays of equal size: chunks of elements."""
    return -(-x.size // CHUNK)


def by_rows(x, *others) -> int:
    """Work items of a kernel over a (rows, c) array: blocks of whole rows, about a chunk of elements each."""
    return -(-x.shape[0] // max(1, CHUNK // x.shape[1]))


@scalar
def row_span(first, last, x):
    """Row range of the work items [first, last) that `by_rows` counts in the (rows, c) array x."""
    height = max(1, CHUNK // x.shape[1])
    return first * height, min(last * height, x.shape[0])


@device_function
def map_unary(f, x, y, first, last, *constants):
    """y[i] = f(x[i], *constants) in the chunks [first, last)."""
    lo, hi = span(first, last, x.size)
    xs, ys = x[lo:hi], y[lo:hi]
    for i in range(xs.size):
        ys[i] = f(xs[i], *constants)


@device_function
def map_binary(f, x1, x2, y, first, last, *constants):
    """y[i] = f(x1[i], x2[i], *constants) in the chunks [first, last)."""
    lo, hi = span(first, last, x1.size)
    x1s, x2s, ys = x1[lo:hi], x2[lo:hi], y[lo:hi]
    for i in range(x1s.size):
        ys[i] = f(x1s[i], x2s[i], *constants)


@device_function
def combine_row(f, row, tile, start):
    """start, combined by f with the numbers of a row, in an order that depends on their number alone.

    tile: memory of BREADTH running results, so that vectors are combined. Loops are over the lengths of slices: LLVM
    unrolls those of constant length before it makes vectors.
    """
    width = min(row.size, BREADTH)
    head = row[:width]
    for j in range(head.size):
        tile[j] = head[j]
    for at in range(BREADTH, row.size, BREADTH):
        part = row[at : at + BREADTH]
        for j in range(part.size):
            tile[j] = f(tile[j], part[j])
    while width > 1:
        half = (width + 1) // 2
        rest = tile[half:width]
        for j in range(rest.size):
            tile[j] = f(tile[j], rest[j])
        width = half
    return f(start, tile[0]) if row.size > 0 else start


# --- two operands -------------------------------------------------------------------------------------------


@cpu_kernel(flat)
def add(x1, x2, y, first, last):
    """y = x1 + x2."""
    map_binary(operator.add, x1, x2, y, first, last)


@cpu_kernel(flat)
def subtract(x1, x2, y, first, last):
    """y = x1 - x2."""
    map_binary(operator.sub, x1, x2, y, first, last)


@cpu_kernel(flat)
def multiply(x1, x2, y, first, last):
    """y = x1 x2."""
    map_binary(operator.mul, x1, x2, y, first, last)


@cpu_kernel(flat)
def divide(x1, x2, y, first, last):
    """y = x1 / x2."""
    map_binary(operator.truediv, x1, x2, y, first, last)


@cpu_kernel(flat)
def power(x1, x2, y, first, last):
    """y = x1 ** x2; NaN where x1 < 0 and x2 is not whole."""
    map_binary(operator.pow, x1, x2, y, first, last)


@scalar
def larger(x1, x2):
    """The larger of two numbers; NaN when either is NaN."""
    return x2 if x1 < x2 or x2 != x2 else x1


@device_function
def largest_of(row):
    """The largest number of a row; NaN with a NaN in it."""
    return combine_row(larger, row, stack_array(row, BREADTH), row.dtype.type(-math.inf))


@cpu_kernel(flat)
def maximum(x1, x2, y, first, last):
    """y = max(x1, x2); NaN when either is NaN."""
    map_binary(larger, x1, x2, y, first, last)


@scalar
def smaller(x1, x2):
    """The smaller of two numbers; NaN when either is NaN."""
    return x2 if x1 > x2 or x2 != x2 else x1


@cpu_kernel(flat)
def minimum(x1, x2, y, first, last):
    """y = min(x1, x2); NaN when either is NaN."""
    map_binary(smaller, x1, x2, y, first, last)


@cpu_kernel(flat)
def arctan2(x1, x2, y, first, last):
    """y = the angle of the point (x2, x1) in radians, in [-pi, pi]."""
    map_binary(math.atan2, x1, x2, y, first, last)


@cpu_kernel(flat)
def modulo(x1, x2, y, first, last):
    """y = x1 - x2 floor(x1 / x2) without the rounding errors of the quotient; of the sign of x2."""
    map_binary(operator.mod, x1, x2, y, first, last)


@cpu_kernel(flat)
def greater(x1, x2, y, first, last):
    """y = 1 where x1 > x2, else 0; 0 when either is NaN."""
    map_binary(operator.gt, x1, x2, y, first, last)


@cpu_kernel(flat)
def greater_equal(x1, x2, y, first, last):
    """y = 1 where x1 >= x2, else 0; 0 when either is NaN."""
    map_binary(operator.ge, x1, x2, y, first, last)


@cpu_kernel(flat)
def equal(x1, x2, y, first, last):
    """y = 1 where x1 = x2, else 0; 0 when either is NaN."""
    map_binary(operator.eq, x1, x2, y, first, last)


@cpu_kernel(flat)
def select(condition, x1, x2, y, first, last):
    """y = x1 where the condition is not 0, else x2."""
    lo, hi = span(first, last, x1.size)
    conditions, x1s, x2s, ys = condition[lo:hi], x1[lo:hi], x2[lo:hi], y[lo:hi]
    for i in range(x1s.size):
        ys[i] = x1s[i] if conditions[i] != 0 else x2s[i]


@cpu_kernel(lambda x, bias, y: by_rows(x))
def bias_add(x, bias, y, first, last):
    """y[r, j] = x[r, j] + bias[j].  x, y (rows, c), bias (c,)."""
    lo, hi = row_span(first, last, x)
    for r in range(lo, hi):
        xs, ys = x[r], y[r]
        for j in range(bias.size):
            ys[j] = xs[j] + bias[j]


# --- one operand and constants ------------------------------------------------------------------------------


@scalar
def line(x, scale, offset):
    return scale * x + offset


@cpu_kernel(flat)
def affine(x, y, scale, offset, first, last):
    """y = scale x + offset: the sum, difference, product of x with a constant, and its negative."""
    map_unary(line, x, y, first, last, x.dtype.type(scale), x.dtype.type(offset))


@cpu_kernel(flat)
def power_scalar(x, y, exponent, first, last):
    """y = x ** exponent; NaN where x < 0 and the exponent is not whole."""
    map_unary(operator.pow, x, y, first, last, x.dtype.type(exponent))


@scalar
def clipped(x, low, high):
    """The number in [low, high] nearest to x; NaN stays NaN."""
    return low if x < low else (high if x > high else x)


@scalar
def clipped_grad(dy, x, low, high):
    """x is the *input* of the forward. The bounds themselves pass the gradient."""
    return type(dy)(0) if x < low or x > high else dy


@cpu_kernel(flat)
def clip_forward(x, y, low, high, first, last):
    """y = min(max(x, low), high)."""
    map_unary(clipped, x, y, first, last, x.dtype.type(low), x.dtype.type(high))


@cpu_kernel(flat)
def clip_backward(dy, x, dx, low, high, first, last):
    """dx = dy where low <= x <= high, else 0.  x is the *input* of the forward."""
    map_binary(clipped_grad, dy, x, dx, first, last, x.dtype.type(low), x.dtype.type(high))


@cpu_kernel(flat)
def fill(y, value, first, last):
    """y = value."""
    lo, hi = span(first, last, y.size)
    y[lo:hi] = value


@cpu_kernel(flat)
def copy(x, y, first, last):
    """y = x."""
    lo, hi = span(first, last, x.size)
    xs, ys = x[lo:hi], y[lo:hi]
    for i in range(xs.size):
        ys[i] = xs[i]


# --- one operand --------------------------------------------------------------------------------------------


@cpu_kernel(flat)
def absolute(x, y, first, last):
    """y = |x|."""
    map_unary(abs, x, y, first, last)


@scalar
def signum(x):
    """-1, 0 or 1; NaN stays NaN."""
    return type(x)(1) if x > 0 else (type(x)(-1) if x < 0 else x)


@cpu_kernel(flat)
def sign(x, y, first, last):
    """y = -1, 0 or 1 with the sign of x."""
    map_unary(signum, x, y, first, last)


@cpu_kernel(flat)
def square(x, y, first, last):
    """y = x x."""
    map_binary(operator.mul, x, x, y, first, last)


@cpu_kernel(flat)
def sqrt(x, y, first, last):
    """y = x ** (1/2)."""
    map_unary(math.sqrt, x, y, first, last)


@scalar
def inverse_root(x):
    return type(x)(1) / math.sqrt(x)


@cpu_kernel(flat)
def rsqrt(x, y, first, last):
    """y = x ** (-1/2)."""
    map_unary(inverse_root, x, y, first, last)


@scalar
def inverse(x):
    return type(x)(1) / x


@cpu_kernel(flat)
def reciprocal(x, y, first, last):
    """y = 1 / x."""
    map_unary(inverse, x, y, first, last)


@cpu_kernel(flat)
def exp(x, y, first, last):
    """y = e ** x."""
    map_unary(elementary.exp, x, y, first, last)


@cpu_kernel(flat)
def expm1(x, y, first, last):
    """y = e ** x - 1, exact near x = 0."""
    map_unary(elementary.expm1, x, y, first, last)


@cpu_kernel(flat)
def log(x, y, first, last):
    """y = ln x."""
    map_unary(elementary.log, x, y, first, last)


@cpu_kernel(flat)
def log1p(x, y, first, last):
    """y = ln(1 + x), exact near x = 0."""
    map_unary(elementary.log1p, x, y, first, last)


@cpu_kernel(flat)
def sin(x, y, first, last):
    """y = sin x.  x in radians."""
    map_unary(math.sin, x, y, first, last)


@cpu_kernel(flat)
def cos(x, y, first, last):
    """y = cos x.  x in radians."""
    map_unary(math.cos, x, y, first, last)


@cpu_kernel(flat)
def erf(x, y, first, last):
    """y = 2 / sqrt(pi) times the integral of exp(-t t) from 0 to x."""
    map_unary(elementary.erf, x, y, first, last)


@scalar
def inverse_erf(x):
    """The number whose error function is x, in (-1, 1); infinite at -1 and 1, NaN beyond.

    Begins with Winitzki's estimate, right to 0.2 %; three steps of Halley's method triple the digits each time. Near
    1 the error is taken from the complement 1 - |x|, which keeps its digits.
    """
    one = type(x)(1)
    size = abs(x)
    if not size < one:
        return x * type(x)(np.inf) if size == one else type(x)(np.nan)
    log = elementary.log1p(-size * size)
    mean = type(x)(4.3307467) + type(x)(0.5) * log
    y = math.sqrt(math.sqrt(mean * mean - type(x)(6.8026888) * log) - mean)
    for _ in range(3):
        error = elementary.erf(y) - size if size < type(x)(0.5) else (one - size) - elementary.erfc(y)
        step = error * type(x)(0.886226925452758) * elementary.exp(y * y)
        y -= step / (one + y * step)
    return -y if x < 0 else y


@cpu_kernel(flat)
def erfinv(x, y, first, last):
    """erf(y) = x."""
    map_unary(inverse_erf, x, y, first, last)


@cpu_kernel(flat)
def floor(x, y, first, last):
    """y = the largest whole number <= x."""
    map_unary(np.floor, x, y, first, last)  # math.floor returns an integer, which NaN and 1e30 are not


@cpu_kernel(flat)
def ceil(x, y, first, last):
    """y = the smallest whole number >= x."""
    map_unary(np.ceil, x, y, first, last)


@cpu_kernel(flat)
def round_half_even(x, y, first, last):
    """y = the whole number nearest to x; of two, the even one."""
    map_unary(np.rint, x, y, first, last)
