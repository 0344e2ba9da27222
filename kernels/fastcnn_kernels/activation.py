"""Activation functions: y = f(x) and dx = dy f'(x).

One after the other: a formula, its derivative, the kernel of each. A derivative wants the input x of the
forward or its output y, whichever its argument is called; with the output, the input can be forgotten. For
|x| < 1e18 no formula overflows unless its value does.

Kernels take one-dimensional views, those over an axis (rows, c) views whose last axis it is.
"""

import math

import numpy as np

from fastcnn_kernels import elementary
from fastcnn_kernels.elementwise import (
    by_rows,
    clipped,
    flat,
    largest_of,
    map_binary,
    map_unary,
    row_span,
    smaller,
)
from fastcnn_kernels.jit import CHUNK, cpu_kernel, device_function, scalar, span, stack_array

# --- piecewise linear ---------------------------------------------------------------------------------------


@scalar
def relu(x):
    return type(x)(0) if x <= 0 else x


@scalar
def relu_grad(dy, y):
    """y is the *output* of the forward, or its input: they are positive together."""
    return type(dy)(0) if y <= 0 else dy


@cpu_kernel(flat)
def relu_forward(x, y, first, last):
    """y = max(x, 0)."""
    map_unary(relu, x, y, first, last)


@cpu_kernel(flat)
def relu_backward(dy, y, dx, first, last):
    """dx = dy where y > 0, else 0.  y is the *output* of the forward."""
    map_binary(relu_grad, dy, y, dx, first, last)


@scalar
def leaky_relu(x, slope):
    return slope * x if x <= 0 else x


@scalar
def leaky_relu_grad(dy, y, slope):
    """y is the *output* of the forward, or its input: they are positive together when slope >= 0."""
    return slope * dy if y <= 0 else dy


@cpu_kernel(flat)
def leaky_relu_forward(x, y, slope, first, last):
    """y = x where x > 0, else slope x."""
    map_unary(leaky_relu, x, y, first, last, x.dtype.type(slope))


@cpu_kernel(flat)
def leaky_relu_backward(dy, y, dx, slope, first, last):
    """dx = dy where y > 0, else slope dy.  y is the *output* of the forward; slope >= 0."""
    map_binary(leaky_relu_grad, dy, y, dx, first, last, y.dtype.type(slope))


@scalar
def threshold_relu(x, max_value, slope, threshold):
    y = slope * (x - threshold) if x <= threshold else x
    return max_value if y > max_value else y


@scalar
def threshold_relu_grad(dy, x, max_value, slope, threshold):
    """x is the *input* of the forward."""
    return slope * dy if x <= threshold else (type(dy)(0) if x >= max_value else dy)


@cpu_kernel(flat)
def threshold_relu_forward(x, y, max_value, slope, threshold, first, last):
    """y = min(x, max_value) where x > threshold, else slope (x - threshold); 0 <= threshold <= max_value."""
    m, s, t = x.dtype.type(max_value), x.dtype.type(slope), x.dtype.type(threshold)
    map_unary(threshold_relu, x, y, first, last, m, s, t)


@cpu_kernel(flat)
def threshold_relu_backward(dy, x, dx, max_value, slope, threshold, first, last):
    """dx = dy where threshold < x < max_value, slope dy below, 0 above.  x is the *input* of the forward."""
    m, s, t = x.dtype.type(max_value), x.dtype.type(slope), x.dtype.type(threshold)
    map_binary(threshold_relu_grad, dy, x, dx, first, last, m, s, t)


@cpu_kernel(lambda x, alpha, y: by_rows(x))
def prelu_forward(x, alpha, y, first, last):
    """y[r, j] = x[r, j] where positive, else alpha[j] x[r, j].  x, y (rows, c), alpha (c,).

    He et al. 2015, Delving deep into rectifiers.
    """
    lo, hi = row_span(first, last, x)
    for r in range(lo, hi):
        xs, ys = x[r], y[r]
        for j in range(alpha.size):
            ys[j] = leaky_relu(xs[j], alpha[j])


@cpu_kernel(lambda dy, x, alpha, dx, partial: partial.shape[0])
def prelu_backward(dy, x, alpha, dx, partial, first, last):
    """dx = dy where x > 0, else alpha dy.  partial[b, j] = sum over the rows r of block b of dy min(x, 0).

    x is the *input* of the forward. dy, x, dx (rows, c), alpha (c,), partial (blocks, c) in float64 with at
    most as many blocks as rows; `prelu_combine` adds them up.
    """
    blocks, rows, zero = partial.shape[0], x.shape[0], x.dtype.type(0)
    for block in range(first, last):
        sums = partial[block]
        sums[:] = 0
        for r in range(rows * block // blocks, rows * (block + 1) // blocks):
            dys, xs, dxs = dy[r], x[r], dx[r]
            for j in range(alpha.size):
                dxs[j] = leaky_relu_grad(dys[j], xs[j], alpha[j])
                sums[j] += dys[j] * smaller(xs[j], zero)


@cpu_kernel(lambda partial, dalpha: flat(dalpha))
def prelu_combine(partial, dalpha, first, last):
    """dalpha[j] = sum over b of partial[b, j].  partial (blocks, c) in float64, dalpha (c,)."""
    lo, hi = span(first, last, dalpha.size)
    for j in range(lo, hi):
        total = 0.0
        for block in range(partial.shape[0]):
            total += partial[block, j]
        dalpha[j] = total


@scalar
def hard_sigmoid(x):
    return clipped(x * type(x)(1 / 6) + type(x)(0.5), type(x)(0), type(x)(1))


@scalar
def hard_sigmoid_grad(dy, y):
    """y is the *output* of the forward."""
    return type(dy)(0) if y <= 0 or y >= 1 else dy * type(dy)(1 / 6)


@cpu_kernel(flat)
def hard_sigmoid_forward(x, y, first, last):
    """y = min(max(x / 6 + 1 / 2, 0), 1)."""
    map_unary(hard_sigmoid, x, y, first, last)


@cpu_kernel(flat)
def hard_sigmoid_backward(dy, y, dx, first, last):
    """dx = dy / 6 where 0 < y < 1, else 0.  y is the *output* of the forward."""
    map_binary(hard_sigmoid_grad, dy, y, dx, first, last)


@scalar
def hard_silu(x):
    return x * hard_sigmoid(x)


@scalar
def hard_silu_grad(dy, x):
    """x is the *input* of the forward."""
    s = hard_sigmoid(x)
    return dy * s + hard_sigmoid_grad(dy, s) * x


@cpu_kernel(flat)
def hard_silu_forward(x, y, first, last):
    """y = x hard_sigmoid(x).  Howard et al. 2019, Searching for MobileNetV3."""
    map_unary(hard_silu, x, y, first, last)


@cpu_kernel(flat)
def hard_silu_backward(dy, x, dx, first, last):
    """dx = dy (s + x s') with s = hard_sigmoid(x).  x is the *input* of the forward."""
    map_binary(hard_silu_grad, dy, x, dx, first, last)


@scalar
def soft_shrink(x, limit):
    return x - clipped(x, -limit, limit)


@scalar
def hard_shrink(x, limit):
    return type(x)(0) if abs(x) <= limit else x


@cpu_kernel(flat)
def soft_shrink_forward(x, y, limit, first, last):
    """y = x moved by `limit` towards 0, and 0 where |x| <= limit."""
    map_unary(soft_shrink, x, y, first, last, x.dtype.type(limit))


@cpu_kernel(flat)
def hard_shrink_forward(x, y, limit, first, last):
    """y = x, and 0 where |x| <= limit."""
    map_unary(hard_shrink, x, y, first, last, x.dtype.type(limit))


@scalar
def shrink_grad(dy, x, limit):
    """x is the *input* of the forward."""
    return type(dy)(0) if abs(x) <= limit else dy


@cpu_kernel(flat)
def shrink_backward(dy, x, dx, limit, first, last):
    """dx = dy, and 0 where |x| <= limit: of both shrinkages.  x is the *input* of the forward."""
    map_binary(shrink_grad, dy, x, dx, first, last, x.dtype.type(limit))


# --- exponential and logistic -------------------------------------------------------------------------------


@scalar
def exponential_linear(x, scale, alpha, rate):
    return scale * x if x > 0 else scale * alpha * elementary.expm1(rate * x)


@scalar
def exponential_linear_grad(dy, y, scale, alpha, rate):
    """y is the *output* of the forward: scale alpha rate exp(rate x) = rate (y + scale alpha)."""
    return dy * scale if y > 0 else dy * rate * (y + scale * alpha)


@cpu_kernel(flat)
def exponential_linear_forward(x, y, scale, alpha, rate, first, last):
    """y = scale x where x > 0, else scale alpha (exp(rate x) - 1); all three constants >= 0.

    ELU(alpha) has constants (1, alpha, 1) (Clevert et al. 2016), CELU(alpha) (1, alpha, 1 / alpha) (Barron
    2017), SELU (1.0507..., 1.6732..., 1) (Klambauer et al. 2017).
    """
    s, a, k = x.dtype.type(scale), x.dtype.type(alpha), x.dtype.type(rate)
    map_unary(exponential_linear, x, y, first, last, s, a, k)


@cpu_kernel(flat)
def exponential_linear_backward(dy, y, dx, scale, alpha, rate, first, last):
    """dx = scale dy where y > 0, else rate (y + scale alpha) dy.  y is the *output* of the forward."""
    s, a, k = y.dtype.type(scale), y.dtype.type(alpha), y.dtype.type(rate)
    map_binary(exponential_linear_grad, dy, y, dx, first, last, s, a, k)


@scalar
def sigmoid(x):
    e = elementary.exp(-abs(x))
    return (e if x < 0 else type(x)(1)) / (type(x)(1) + e)


@scalar
def sigmoid_grad(dy, y):
    """y is the *output* of the forward."""
    return dy * y * (type(dy)(1) - y)


@cpu_kernel(flat)
def sigmoid_forward(x, y, first, last):
    """y = 1 / (1 + exp(-x))."""
    map_unary(sigmoid, x, y, first, last)


@cpu_kernel(flat)
def sigmoid_backward(dy, y, dx, first, last):
    """dx = dy y (1 - y).  y is the *output* of the forward."""
    map_binary(sigmoid_grad, dy, y, dx, first, last)


@scalar
def softplus(x):
    return (x if x > 0 else type(x)(0)) + elementary.log1p(elementary.exp(-abs(x)))


@scalar
def softplus_grad(dy, x):
    """x is the *input* of the forward."""
    return dy * sigmoid(x)


@cpu_kernel(flat)
def softplus_forward(x, y, first, last):
    """y = ln(1 + exp(x))."""
    map_unary(softplus, x, y, first, last)


@cpu_kernel(flat)
def softplus_backward(dy, x, dx, first, last):
    """dx = dy sigmoid(x).  x is the *input* of the forward."""
    map_binary(softplus_grad, dy, x, dx, first, last)


@scalar
def log_sigmoid(x):
    return -softplus(-x)


@scalar
def log_sigmoid_grad(dy, x):
    """x is the *input* of the forward."""
    return dy * sigmoid(-x)


@cpu_kernel(flat)
def log_sigmoid_forward(x, y, first, last):
    """y = ln sigmoid(x) = -softplus(-x)."""
    map_unary(log_sigmoid, x, y, first, last)


@cpu_kernel(flat)
def log_sigmoid_backward(dy, x, dx, first, last):
    """dx = dy sigmoid(-x).  x is the *input* of the forward."""
    map_binary(log_sigmoid_grad, dy, x, dx, first, last)


@scalar
def tanh_grad(dy, y):
    """y is the *output* of the forward."""
    return dy * (type(dy)(1) - y * y)


@cpu_kernel(flat)
def tanh_forward(x, y, first, last):
    """y = tanh x."""
    map_unary(elementary.tanh, x, y, first, last)


@cpu_kernel(flat)
def tanh_backward(dy, y, dx, first, last):
    """dx = dy (1 - y y).  y is the *output* of the forward."""
    map_binary(tanh_grad, dy, y, dx, first, last)


@scalar
def tanh_shrink(x):
    return x - elementary.tanh(x)


@scalar
def tanh_shrink_grad(dy, x):
    """x is the *input* of the forward."""
    t = elementary.tanh(x)
    return dy * t * t


@cpu_kernel(flat)
def tanh_shrink_forward(x, y, first, last):
    """y = x - tanh x."""
    map_unary(tanh_shrink, x, y, first, last)


@cpu_kernel(flat)
def tanh_shrink_backward(dy, x, dx, first, last):
    """dx = dy tanh(x) ** 2.  x is the *input* of the forward."""
    map_binary(tanh_shrink_grad, dy, x, dx, first, last)


# --- gated --------------------------------------------------------------------------------------------------


@scalar
def silu(x):
    return x * sigmoid(x)


@scalar
def silu_grad(dy, x):
    """x is the *input* of the forward."""
    s = sigmoid(x)
    return dy * s * (type(x)(1) + x * (type(x)(1) - s))


@cpu_kernel(flat)
def silu_forward(x, y, first, last):
    """y = x sigmoid(x).  Elfwing et al. 2017; as swish, Ramachandran et al. 2017."""
    map_unary(silu, x, y, first, last)


@cpu_kernel(flat)
def silu_backward(dy, x, dx, first, last):
    """dx = dy s (1 + x (1 - s)) with s = sigmoid(x).  x is the *input* of the forward."""
    map_binary(silu_grad, dy, x, dx, first, last)


@scalar
def mish(x):
    return x * elementary.tanh(softplus(x))


@scalar
def mish_grad(dy, x):
    """x is the *input* of the forward."""
    t = elementary.tanh(softplus(x))
    return dy * (t + x * (type(x)(1) - t * t) * sigmoid(x))


@cpu_kernel(flat)
def mish_forward(x, y, first, last):
    """y = x tanh(softplus(x)).  Misra 2019."""
    map_unary(mish, x, y, first, last)


@cpu_kernel(flat)
def mish_backward(dy, x, dx, first, last):
    """dx = dy (t + x (1 - t t) sigmoid(x)) with t = tanh(softplus(x)).  x is the *input* of the forward."""
    map_binary(mish_grad, dy, x, dx, first, last)


@scalar
def normal_cdf(x):
    """P(X <= x), X standard normal; by erfc, which keeps its digits where 1 + erf loses them."""
    return type(x)(0.5) * elementary.erfc(x * type(x)(-math.sqrt(1 / 2)))


@scalar
def gelu(x):
    return x * normal_cdf(x)


@scalar
def gelu_grad(dy, x):
    """x is the *input* of the forward."""
    density = type(x)(1 / math.sqrt(2 * math.pi)) * elementary.exp(type(x)(-0.5) * x * x)
    return dy * (normal_cdf(x) + x * density)


@cpu_kernel(flat)
def gelu_forward(x, y, first, last):
    """y = x P(X <= x), X standard normal.  Hendrycks & Gimpel 2016."""
    map_unary(gelu, x, y, first, last)


@cpu_kernel(flat)
def gelu_backward(dy, x, dx, first, last):
    """dx = dy (P(X <= x) + x p(x)), p the standard normal density.  x is the *input* of the forward."""
    map_binary(gelu_grad, dy, x, dx, first, last)


@scalar
def gelu_tanh_gate(x):
    """(1 + tanh(u)) / 2 = sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3); the sigmoid loses no digits."""
    return sigmoid(type(x)(math.sqrt(8 / math.pi)) * x * (type(x)(1) + type(x)(0.044715) * x * x))


@scalar
def gelu_tanh(x):
    return x * gelu_tanh_gate(x)


@scalar
def gelu_tanh_grad(dy, x):
    """x is the *input* of the forward."""
    s = gelu_tanh_gate(x)
    slope = type(x)(math.sqrt(8 / math.pi)) * (type(x)(1) + type(x)(3 * 0.044715) * x * x)
    return dy * s * (type(x)(1) + x * slope * (type(x)(1) - s))


@cpu_kernel(flat)
def gelu_tanh_forward(x, y, first, last):
    """y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.  Hendrycks & Gimpel 2016."""
    map_unary(gelu_tanh, x, y, first, last)


@cpu_kernel(flat)
def gelu_tanh_backward(dy, x, dx, first, last):
    """dx = dy (g + x g'), g the gate of the forward.  x is the *input* of the forward."""
    map_binary(gelu_tanh_grad, dy, x, dx, first, last)


# --- algebraic ----------------------------------------------------------------------------------------------


@scalar
def softsign(x):
    return x / (type(x)(1) + abs(x))


@scalar
def softsign_grad(dy, x):
    """x is the *input* of the forward."""
    d = type(x)(1) / (type(x)(1) + abs(x))
    return dy * d * d


@cpu_kernel(flat)
def softsign_forward(x, y, first, last):
    """y = x / (1 + |x|)."""
    map_unary(softsign, x, y, first, last)


@cpu_kernel(flat)
def softsign_backward(dy, x, dx, first, last):
    """dx = dy / (1 + |x|) ** 2.  x is the *input* of the forward."""
    map_binary(softsign_grad, dy, x, dx, first, last)


@scalar
def squareplus(x, b):
    """For negative x as b / 2 / (root - x), because root + x loses its digits there."""
    root = math.sqrt(x * x + b)
    return type(x)(0.5) * (b / (root - x) if x < 0 else root + x)


@scalar
def squareplus_grad(dy, x, b):
    """x is the *input* of the forward."""
    return dy * squareplus(x, b) / math.sqrt(x * x + b)


@cpu_kernel(flat)
def squareplus_forward(x, y, b, first, last):
    """y = (x + sqrt(x x + b)) / 2; b > 0.  Barron 2021."""
    map_unary(squareplus, x, y, first, last, x.dtype.type(b))


@cpu_kernel(flat)
def squareplus_backward(dy, x, dx, b, first, last):
    """dx = dy (1 + x / sqrt(x x + b)) / 2.  x is the *input* of the forward."""
    map_binary(squareplus_grad, dy, x, dx, first, last, x.dtype.type(b))


# --- over an axis -------------------------------------------------------------------------------------------


@device_function
def shift_and_total(row):
    """(m, sum of exp(row - m)) with m = max(row), so that nothing overflows. Both in float64."""
    shift = np.float64(-np.inf)
    for j in range(row.size):
        shift = max(shift, np.float64(row[j]))
    total = 0.0
    for j in range(row.size):
        total += elementary.exp(row[j] - shift)
    return shift, total


@device_function
def exponentials(x, lo, hi, tile):
    """tile[(r - lo) c + j] = exp(x[r, j] - max(x[r])) in float64, of the rows [lo, hi).  x (rows, c)."""
    at = 0
    for r in range(lo, hi):
        xs, shift, differences = x[r], np.float64(largest_of(x[r])), tile[at : at + x.shape[1]]
        for j in range(xs.size):
            differences[j] = xs[j] - shift
        at += xs.size
    for i in range(at):  # of all rows at once: they may be shorter than a vector
        tile[i] = elementary.exp(tile[i])


@cpu_kernel(by_rows)
def softmax_forward(x, y, first, last):
    """y[r, j] = exp(x[r, j]) / sum over k of exp(x[r, k]).  x, y (rows, c)."""
    tile, classes = stack_array(np.float64, CHUNK), x.shape[1]
    for item in range(first, last):
        lo, hi = row_span(item, item + 1, x)
        if classes > CHUNK:  # an item is a row, which does not fit the tile
            shift, total = shift_and_total(x[lo])
            for j in range(classes):
                y[lo, j] = elementary.exp(x[lo, j] - shift) / total
            continue
        exponentials(x, lo, hi, tile)
        for r in range(lo, hi):
            ys, es, total = y[r], tile[(r - lo) * classes : (r - lo + 1) * classes], 0.0
            for j in range(classes):
                total += es[j]
            for j in range(classes):
                ys[j] = es[j] * (1 / total)


@cpu_kernel(by_rows)
def softmax_backward(dy, y, dx, first, last):
    """dx[r, j] = y[r, j] (dy[r, j] - sum over k of dy[r, k] y[r, k]).  y is the *output* of the forward."""
    lo, hi = row_span(first, last, y)
    for r in range(lo, hi):
        dys, ys, dxs = dy[r], y[r], dx[r]
        mean = 0.0
        for j in range(ys.size):
            mean += dys[j] * ys[j]
        for j in range(ys.size):
            dxs[j] = ys[j] * (dys[j] - mean)


@scalar
def log_probability(x, shift, log_total):
    """Not x - (shift + log_total): a large shift would swallow the logarithm."""
    return x - shift - log_total


@cpu_kernel(by_rows)
def log_softmax_forward(x, y, first, last):
    """y[r, j] = x[r, j] - ln sum over k of exp(x[r, k]).  x, y (rows, c)."""
    lo, hi = row_span(first, last, x)
    for r in range(lo, hi):
        xs, ys = x[r], y[r]
        shift, total = shift_and_total(xs)
        log_total = elementary.log(total)
        for j in range(xs.size):
            ys[j] = log_probability(xs[j], shift, log_total)


@cpu_kernel(by_rows)
def log_softmax_backward(dy, y, dx, first, last):
    """dx[r, j] = dy[r, j] - exp(y[r, j]) sum over k of dy[r, k].  y is the *output* of the forward."""
    lo, hi = row_span(first, last, y)
    for r in range(lo, hi):
        dys, ys, dxs = dy[r], y[r], dx[r]
        total = 0.0
        for j in range(ys.size):
            total += dys[j]
        for j in range(ys.size):
            dxs[j] = dys[j] - elementary.exp(ys[j]) * total
