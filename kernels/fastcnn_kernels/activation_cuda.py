"""Activation functions on a CUDA device: the formulas of `activation.py`, derivatives of the same inputs or outputs."""

import math

from fastcnn_kernels.activation import (
    exponential_linear,
    exponential_linear_grad,
    gelu,
    gelu_grad,
    gelu_tanh,
    gelu_tanh_grad,
    hard_shrink,
    hard_sigmoid,
    hard_sigmoid_grad,
    hard_silu,
    hard_silu_grad,
    leaky_relu,
    leaky_relu_grad,
    log_probability,
    log_sigmoid,
    log_sigmoid_grad,
    mish,
    mish_grad,
    relu,
    relu_grad,
    shift_and_total,
    shrink_grad,
    sigmoid,
    sigmoid_grad,
    silu,
    silu_grad,
    soft_shrink,
    softplus,
    softplus_grad,
    softsign,
    softsign_grad,
    squareplus,
    squareplus_grad,
    tanh_grad,
    tanh_shrink,
    tanh_shrink_grad,
    threshold_relu,
    threshold_relu_grad,
)
from fastcnn_kernels.cuda import cuda, cuda_kernel, elements, flat, rows
from fastcnn_kernels.elementwise import smaller
from fastcnn_kernels.elementwise_cuda import fours, map_binary, map_unary


@cuda_kernel(fours)
def relu_forward(x, y):
    """y = max(x, 0)."""
    map_unary(relu, x, y)


@cuda_kernel(fours)
def relu_backward(dy, y, dx):
    """dx = dy where y > 0, else 0.  y is the *output* of the forward."""
    map_binary(relu_grad, dy, y, dx)


@cuda_kernel(fours)
def leaky_relu_forward(x, y, slope):
    """y = x where x > 0, else slope x."""
    map_unary(leaky_relu, x, y, x.dtype.type(slope))


@cuda_kernel(fours)
def leaky_relu_backward(dy, y, dx, slope):
    """dx = dy where y > 0, else slope dy.  y is the *output* of the forward; slope >= 0."""
    map_binary(leaky_relu_grad, dy, y, dx, y.dtype.type(slope))


@cuda_kernel(fours)
def threshold_relu_forward(x, y, max_value, slope, threshold):
    """y = min(x, max_value) where x > threshold, else slope (x - threshold); 0 <= threshold <= max_value."""
    m, s, t = (x.dtype.type(max_value), x.dtype.type(slope), x.dtype.type(threshold))
    map_unary(threshold_relu, x, y, m, s, t)


@cuda_kernel(fours)
def threshold_relu_backward(dy, x, dx, max_value, slope, threshold):
    """dx = dy where threshold < x < max_value, slope dy below, 0 above.  x is the *input* of the forward."""
    m, s, t = (x.dtype.type(max_value), x.dtype.type(slope), x.dtype.type(threshold))
    map_binary(threshold_relu_grad, dy, x, dx, m, s, t)


@cuda_kernel(fours)
def hard_sigmoid_forward(x, y):
    """y = min(max(x / 6 + 1 / 2, 0), 1)."""
    map_unary(hard_sigmoid, x, y)


@cuda_kernel(fours)
def hard_sigmoid_backward(dy, y, dx):
    """dx = dy / 6 where 0 < y < 1, else 0.  y is the *output* of the forward."""
    map_binary(hard_sigmoid_grad, dy, y, dx)


@cuda_kernel(fours)
def hard_silu_forward(x, y):
    """y = x hard_sigmoid(x).  Howard et al. 2019, Searching for MobileNetV3."""
    map_unary(hard_silu, x, y)


@cuda_kernel(fours)
def hard_silu_backward(dy, x, dx):
    """dx = dy (s + x s') with s = hard_sigmoid(x).  x is the *input* of the forward."""
    map_binary(hard_silu_grad, dy, x, dx)


@cuda_kernel(fours)
def soft_shrink_forward(x, y, limit):
    """y = x moved by `limit` towards 0, and 0 where |x| <= limit."""
    map_unary(soft_shrink, x, y, x.dtype.type(limit))


@cuda_kernel(fours)
def hard_shrink_forward(x, y, limit):
    """y = x, and 0 where |x| <= limit."""
    map_unary(hard_shrink, x, y, x.dtype.type(limit))


@cuda_kernel(fours)
def shrink_backward(dy, x, dx, limit):
    """dx = dy, and 0 where |x| <= limit: of both shrinkages.  x is the *input* of the forward."""
    map_binary(shrink_grad, dy, x, dx, x.dtype.type(limit))


@cuda_kernel(fours)
def exponential_linear_forward(x, y, scale, alpha, rate):
    """y = scale x where x > 0, else scale alpha (exp(rate x) - 1); all three constants >= 0."""
    s, a, k = (x.dtype.type(scale), x.dtype.type(alpha), x.dtype.type(rate))
    map_unary(exponential_linear, x, y, s, a, k)


@cuda_kernel(fours)
def exponential_linear_backward(dy, y, dx, scale, alpha, rate):
    """dx = scale dy where y > 0, else rate (y + scale alpha) dy.  y is the *output* of the forward."""
    s, a, k = (y.dtype.type(scale), y.dtype.type(alpha), y.dtype.type(rate))
    map_binary(exponential_linear_grad, dy, y, dx, s, a, k)


@cuda_kernel(fours)
def sigmoid_forward(x, y):
    """y = 1 / (1 + exp(-x))."""
    map_unary(sigmoid, x, y)


@cuda_kernel(fours)
def sigmoid_backward(dy, y, dx):
    """dx = dy y (1 - y).  y is the *output* of the forward."""
    map_binary(sigmoid_grad, dy, y, dx)


@cuda_kernel(fours)
def softplus_forward(x, y):
    """y = ln(1 + exp(x))."""
    map_unary(softplus, x, y)


@cuda_kernel(fours)
def softplus_backward(dy, x, dx):
    """dx = dy sigmoid(x).  x is the *input* of the forward."""
    map_binary(softplus_grad, dy, x, dx)


@cuda_kernel(fours)
def log_sigmoid_forward(x, y):
    """y = ln sigmoid(x) = -softplus(-x)."""
    map_unary(log_sigmoid, x, y)


@cuda_kernel(fours)
def log_sigmoid_backward(dy, x, dx):
    """dx = dy sigmoid(-x).  x is the *input* of the forward."""
    map_binary(log_sigmoid_grad, dy, x, dx)


@cuda_kernel(fours)
def tanh_forward(x, y):
    """y = tanh x."""
    map_unary(math.tanh, x, y)


@cuda_kernel(fours)
def tanh_backward(dy, y, dx):
    """dx = dy (1 - y y).  y is the *output* of the forward."""
    map_binary(tanh_grad, dy, y, dx)


@cuda_kernel(fours)
def tanh_shrink_forward(x, y):
    """y = x - tanh x."""
    map_unary(tanh_shrink, x, y)


@cuda_kernel(fours)
def tanh_shrink_backward(dy, x, dx):
    """dx = dy tanh(x) ** 2.  x is the *input* of the forward."""
    map_binary(tanh_shrink_grad, dy, x, dx)


@cuda_kernel(fours)
def silu_forward(x, y):
    """y = x sigmoid(x).  Elfwing et al. 2017; as swish, Ramachandran et al. 2017."""
    map_unary(silu, x, y)


@cuda_kernel(fours)
def silu_backward(dy, x, dx):
    """dx = dy s (1 + x (1 - s)) with s = sigmoid(x).  x is the *input* of the forward."""
    map_binary(silu_grad, dy, x, dx)


@cuda_kernel(fours)
def mish_forward(x, y):
    """y = x tanh(softplus(x)).  Misra 2019."""
    map_unary(mish, x, y)


@cuda_kernel(fours)
def mish_backward(dy, x, dx):
    """dx = dy (t + x (1 - t t) sigmoid(x)) with t = tanh(softplus(x)).  x is the *input* of the forward."""
    map_binary(mish_grad, dy, x, dx)


@cuda_kernel(fours)
def gelu_forward(x, y):
    """y = x P(X <= x), X standard normal.  Hendrycks & Gimpel 2016."""
    map_unary(gelu, x, y)


@cuda_kernel(fours)
def gelu_backward(dy, x, dx):
    """dx = dy (P(X <= x) + x p(x)), p the standard normal density.  x is the *input* of the forward."""
    map_binary(gelu_grad, dy, x, dx)


@cuda_kernel(fours)
def gelu_tanh_forward(x, y):
    """y = x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.  Hendrycks & Gimpel 2016."""
    map_unary(gelu_tanh, x, y)


@cuda_kernel(fours)
def gelu_tanh_backward(dy, x, dx):
    """dx = dy (g + x g'), g the gate of the forward.  x is the *input* of the forward."""
    map_binary(gelu_tanh_grad, dy, x, dx)


@cuda_kernel(fours)
def softsign_forward(x, y):
    """y = x / (1 + |x|)."""
    map_unary(softsign, x, y)


@cuda_kernel(fours)
def softsign_backward(dy, x, dx):
    """dx = dy / (1 + |x|) ** 2.  x is the *input* of the forward."""
    map_binary(softsign_grad, dy, x, dx)


@cuda_kernel(fours)
def squareplus_forward(x, y, b):
    """y = (x + sqrt(x x + b)) / 2; b > 0.  Barron 2021."""
    map_unary(squareplus, x, y, x.dtype.type(b))


@cuda_kernel(fours)
def squareplus_backward(dy, x, dx, b):
    """dx = dy (1 + x / sqrt(x x + b)) / 2.  x is the *input* of the forward."""
    map_binary(squareplus_grad, dy, x, dx, x.dtype.type(b))


@cuda_kernel(flat)
def prelu_forward(x, alpha, y):
    """y[r, j] = x[r, j] where positive, else alpha[j] x[r, j].  x, y (rows, c), alpha (c,)."""
    i = cuda.grid(1)
    if i < x.size:
        r, j = i // alpha.size, i % alpha.size
        y[r, j] = leaky_relu(x[r, j], alpha[j])


@cuda_kernel(lambda dy, x, alpha, dx, partial: elements(partial.size))
def prelu_backward(dy, x, alpha, dx, partial):
    """dx = dy where x > 0, else alpha dy.  partial[b, j] = sum over the rows r of block b of dy min(x, 0)."""
    blocks, count, c = partial.shape[0], x.shape[0], alpha.size
    i = cuda.grid(1)
    if i < partial.size:
        block, j, total = i // c, i % c, 0.0
        for r in range(count * block // blocks, count * (block + 1) // blocks):
            dx[r, j] = leaky_relu_grad(dy[r, j], x[r, j], alpha[j])
            total += dy[r, j] * smaller(x[r, j], x.dtype.type(0))
        partial[block, j] = total


@cuda_kernel(lambda partial, dalpha: elements(dalpha.size))
def prelu_combine(partial, dalpha):
    """dalpha[j] = sum over b of partial[b, j].  partial (blocks, c) in float64, dalpha (c,)."""
    j = cuda.grid(1)
    if j < dalpha.size:
        total = 0.0
        for block in range(partial.shape[0]):
            total += partial[block, j]
        dalpha[j] = total


# --- over an axis: a thread a row ------------------------------------------------------------------------------------


@cuda_kernel(rows)
def softmax_forward(x, y):
    """y[r, j] = exp(x[r, j]) / sum over k of exp(x[r, k]).  x, y (rows, c)."""
    r = cuda.grid(1)
    if r < x.shape[0]:
        shift, total = shift_and_total(x[r])
        for j in range(x.shape[1]):
            y[r, j] = math.exp(x[r, j] - shift) / total


@cuda_kernel(rows)
def softmax_backward(dy, y, dx):
    """dx[r, j] = y[r, j] (dy[r, j] - sum over k of dy[r, k] y[r, k]).  y is the *output* of the forward."""
    r = cuda.grid(1)
    if r < y.shape[0]:
        mean = 0.0
        for j in range(y.shape[1]):
            mean += dy[r, j] * y[r, j]
        for j in range(y.shape[1]):
            dx[r, j] = y[r, j] * (dy[r, j] - mean)


@cuda_kernel(rows)
def log_softmax_forward(x, y):
    """y[r, j] = x[r, j] - ln sum over k of exp(x[r, k]).  x, y (rows, c)."""
    r = cuda.grid(1)
    if r < x.shape[0]:
        shift, total = shift_and_total(x[r])
        log_total = math.log(total)
        for j in range(x.shape[1]):
            y[r, j] = log_probability(x[r, j], shift, log_total)


@cuda_kernel(rows)
def log_softmax_backward(dy, y, dx):
    """dx[r, j] = dy[r, j] - exp(y[r, j]) sum over k of dy[r, k].  y is the *output* of the forward."""
    r = cuda.grid(1)
    if r < y.shape[0]:
        total = 0.0
        for j in range(y.shape[1]):
            total += dy[r, j]
        for j in range(y.shape[1]):
            dx[r, j] = dy[r, j] - math.exp(y[r, j]) * total
