"""Arithmetic on arrays of one shape, element by element, on a CUDA device: the formulas of `elementwise.py`."""

import math
import operator

from fastcnn_kernels.cuda import Shape, covering, cuda, cuda_function, cuda_kernel, elements, flat
from fastcnn_kernels.cuda_intrinsics import is_aligned, load_four, store_four
from fastcnn_kernels.elementwise import (
    clipped,
    clipped_grad,
    inverse,
    inverse_erf,
    inverse_root,
    larger,
    line,
    signum,
    smaller,
)
from fastcnn_kernels.jit import scalar

# --- whole numbers: math.floor returns an integer, which NaN and 1e30 are not ---------------------------------------


@scalar
def whole_below(x):
    """The largest whole number <= x. Large numbers are whole, and have no fraction to take away."""
    if not abs(x) < type(x)(2.0**52):
        return x
    rest = math.fmod(x, type(x)(1))
    return x - rest - type(x)(1) if rest < 0 else x - rest


@scalar
def whole_above(x):
    """The smallest whole number >= x."""
    return -whole_below(-x)


@scalar
def nearest_whole(x):
    """The whole number nearest to x; of two, the even one."""
    below = whole_below(x)
    half, rest = type(x)(0.5), x - below
    if rest < half or (rest == half and math.fmod(below, type(x)(2)) == 0) or not rest >= half:
        return below if rest == rest else x
    return below + type(x)(1)


# --- maps: memory is far away, so a thread asks for four numbers at a time where they lie so ------------------------


def fours(x, *others) -> Shape:
    """Of a map over flat arrays of equal size."""
    return elements(covering(x.size, 4))


@cuda_function
def map_unary(f, x, y, *constants):
    """y[i] = f(x[i], *constants)."""
    i = 4 * cuda.grid(1)
    if i + 4 <= x.size and is_aligned(x) and is_aligned(y):
        a, b, c, d = load_four(x, i)
        a, b, c, d = f(a, *constants), f(b, *constants), f(c, *constants), f(d, *constants)
        store_four(y, i, a, b, c, d)
    else:
        for k in range(i, min(i + 4, x.size)):
            y[k] = f(x[k], *constants)


@cuda_function
def map_binary(f, x1, x2, y, *constants):
    """y[i] = f(x1[i], x2[i], *constants)."""
    i = 4 * cuda.grid(1)
    if i + 4 <= y.size and is_aligned(x1) and is_aligned(x2) and is_aligned(y):
        a1, b1, c1, d1 = load_four(x1, i)
        a2, b2, c2, d2 = load_four(x2, i)
        a, b = f(a1, a2, *constants), f(b1, b2, *constants)
        c, d = f(c1, c2, *constants), f(d1, d2, *constants)
        store_four(y, i, a, b, c, d)
    else:
        for k in range(i, min(i + 4, y.size)):
            y[k] = f(x1[k], x2[k], *constants)


# --- kernels ---------------------------------------------------------------------------------------------------------


@cuda_kernel(fours)
def add(x1, x2, y):
    """y = x1 + x2."""
    map_binary(operator.add, x1, x2, y)


@cuda_kernel(fours)
def subtract(x1, x2, y):
    """y = x1 - x2."""
    map_binary(operator.sub, x1, x2, y)


@cuda_kernel(fours)
def multiply(x1, x2, y):
    """y = x1 x2."""
    map_binary(operator.mul, x1, x2, y)


@cuda_kernel(fours)
def divide(x1, x2, y):
    """y = x1 / x2."""
    map_binary(operator.truediv, x1, x2, y)


@cuda_kernel(fours)
def power(x1, x2, y):
    """y = x1 ** x2; NaN where x1 < 0 and x2 is not whole."""
    map_binary(operator.pow, x1, x2, y)


@cuda_kernel(fours)
def maximum(x1, x2, y):
    """y = max(x1, x2); NaN when either is NaN."""
    map_binary(larger, x1, x2, y)


@cuda_kernel(fours)
def minimum(x1, x2, y):
    """y = min(x1, x2); NaN when either is NaN."""
    map_binary(smaller, x1, x2, y)


@cuda_kernel(fours)
def arctan2(x1, x2, y):
    """y = the angle of the point (x2, x1) in radians, in [-pi, pi]."""
    map_binary(math.atan2, x1, x2, y)


@cuda_kernel(fours)
def modulo(x1, x2, y):
    """y = x1 - x2 floor(x1 / x2) without the rounding errors of the quotient; of the sign of x2."""
    map_binary(operator.mod, x1, x2, y)


@cuda_kernel(fours)
def greater(x1, x2, y):
    """y = 1 where x1 > x2, else 0; 0 when either is NaN."""
    map_binary(operator.gt, x1, x2, y)


@cuda_kernel(fours)
def greater_equal(x1, x2, y):
    """y = 1 where x1 >= x2, else 0; 0 when either is NaN."""
    map_binary(operator.ge, x1, x2, y)


@cuda_kernel(fours)
def equal(x1, x2, y):
    """y = 1 where x1 = x2, else 0; 0 when either is NaN."""
    map_binary(operator.eq, x1, x2, y)


@cuda_kernel(fours)
def affine(x, y, scale, offset):
    """y = scale x + offset: the sum, difference, product of x with a constant, and its negative."""
    map_unary(line, x, y, x.dtype.type(scale), x.dtype.type(offset))


@cuda_kernel(fours)
def power_scalar(x, y, exponent):
    """y = x ** exponent; NaN where x < 0 and the exponent is not whole."""
    map_unary(operator.pow, x, y, x.dtype.type(exponent))


@cuda_kernel(fours)
def clip_forward(x, y, low, high):
    """y = min(max(x, low), high)."""
    map_unary(clipped, x, y, x.dtype.type(low), x.dtype.type(high))


@cuda_kernel(fours)
def clip_backward(dy, x, dx, low, high):
    """dx = dy where low <= x <= high, else 0.  x is the *input* of the forward."""
    map_binary(clipped_grad, dy, x, dx, x.dtype.type(low), x.dtype.type(high))


@cuda_kernel(fours)
def absolute(x, y):
    """y = |x|."""
    map_unary(abs, x, y)


@cuda_kernel(fours)
def sign(x, y):
    """y = -1, 0 or 1 with the sign of x."""
    map_unary(signum, x, y)


@cuda_kernel(fours)
def square(x, y):
    """y = x x."""
    map_binary(operator.mul, x, x, y)


@cuda_kernel(fours)
def sqrt(x, y):
    """y = x ** (1/2)."""
    map_unary(math.sqrt, x, y)


@cuda_kernel(fours)
def rsqrt(x, y):
    """y = x ** (-1/2)."""
    map_unary(inverse_root, x, y)


@cuda_kernel(fours)
def reciprocal(x, y):
    """y = 1 / x."""
    map_unary(inverse, x, y)


@cuda_kernel(fours)
def exp(x, y):
    """y = e ** x."""
    map_unary(math.exp, x, y)


@cuda_kernel(fours)
def expm1(x, y):
    """y = e ** x - 1, exact near x = 0."""
    map_unary(math.expm1, x, y)


@cuda_kernel(fours)
def log(x, y):
    """y = ln x."""
    map_unary(math.log, x, y)


@cuda_kernel(fours)
def log1p(x, y):
    """y = ln(1 + x), exact near x = 0."""
    map_unary(math.log1p, x, y)


@cuda_kernel(fours)
def sin(x, y):
    """y = sin x.  x in radians."""
    map_unary(math.sin, x, y)


@cuda_kernel(fours)
def cos(x, y):
    """y = cos x.  x in radians."""
    map_unary(math.cos, x, y)


@cuda_kernel(fours)
def erf(x, y):
    """y = 2 / sqrt(pi) times the integral of exp(-t t) from 0 to x."""
    map_unary(math.erf, x, y)


@cuda_kernel(fours)
def erfinv(x, y):
    """erf(y) = x."""
    map_unary(inverse_erf, x, y)


@cuda_kernel(fours)
def floor(x, y):
    """y = the largest whole number <= x."""
    map_unary(whole_below, x, y)


@cuda_kernel(fours)
def ceil(x, y):
    """y = the smallest whole number >= x."""
    map_unary(whole_above, x, y)


@cuda_kernel(fours)
def round_half_even(x, y):
    """y = the whole number nearest to x; of two, the even one."""
    map_unary(nearest_whole, x, y)


@cuda_kernel(flat)
def select(condition, x1, x2, y):
    """y = x1 where the condition is not 0, else x2."""
    i = cuda.grid(1)
    if i < y.size:
        y[i] = x1[i] if condition[i] != 0 else x2[i]


@cuda_kernel(flat)
def bias_add(x, bias, y):
    """y[r, j] = x[r, j] + bias[j].  x, y (rows, c), bias (c,)."""
    i = cuda.grid(1)
    if i < x.size:
        r, j = i // bias.size, i % bias.size
        y[r, j] = x[r, j] + bias[j]


@cuda_kernel(lambda y, value: elements(y.size))
def fill(y, value):
    """y = value."""
    i = cuda.grid(1)
    if i < y.size:
        y[i] = value


@cuda_kernel(flat)
def copy(x, y):
    """y = x."""
    i = cuda.grid(1)
    if i < x.size:
        y[i] = x[i]
