"""Normalisation on a CUDA device: the kernels of `norm.py`, with the same two-stage sums.

A block takes one chunk of rows of some neighbouring channels, its threads in lanes (`cuda.py`).
"""

import numpy as np

from fastcnn_kernels.cuda import (
    MOST_BLOCKS,
    SECTOR,
    THREADS,
    Shape,
    combine,
    covering,
    cuda,
    cuda_function,
    cuda_kernel,
    elements,
    lanes_for,
    lanes_of,
    rows,
    sums,
    tensor_kernel_with,
)
from fastcnn_kernels.jit import scalar
from fastcnn_kernels.norm import inverse_deviation
from fastcnn_kernels.reduction import chunk_range, plus
from fastcnn_kernels.reduction_cuda import sum_of_lanes

ROWS = 4  # that a thread of an elementwise kernel takes, for what it has to prepare to be worth it


def _chunks(x, partial) -> Shape:
    """A block for each image and chunk of x (m, r, c), and for as many channels as there are threads for its rows."""
    m, k, _, c = partial.shape
    width = THREADS // lanes_for(covering(x.shape[1], k), c)
    return Shape((m * k, covering(c, width), 1), THREADS)


def _sums(x, dy, mean, var, gamma, beta, partial, *others) -> Shape:
    return _chunks(x, partial)


def _stripes(x, *others) -> Shape:
    """Of kernels over x (m, r, c): every thread stays with one channel of an image and takes some of its rows."""
    m, r, c = x.shape
    width = min(c, THREADS)
    blocks = covering(r, THREADS // width * ROWS)
    return Shape((min(blocks, MOST_BLOCKS), covering(c, width), m), THREADS)


@scalar
def rectify(x, slope, upper):
    """min(x, upper) where x > 0, else slope x. Of every x itself where slope is 1 and upper infinite."""
    y = (type(x)(0) if slope == 0 else slope * x) if x <= 0 else x
    return upper if y > upper else y


@scalar
def rectify_grad(dy, x, slope, upper):
    """dx of `rectify`: dy where 0 < x < upper, slope dy where x <= 0, else 0."""
    below = type(dy)(0) if slope == 0 else slope * dy
    return below if x <= 0 else (type(dy)(0) if x >= upper else dy)


@cuda_kernel(_chunks)
def batch_norm_moments(x, partial):
    """partial[m,k] = (mean, sum of (x - mean)^2) over the rows of a chunk.  x (m,r,c), partial (m,k,2,c) float64.

    Sums differences from the chunk's first row: the squares of data far from zero would drown its variance.
    """
    totals = cuda.shared.array(THREADS, np.float64)
    squares = cuda.shared.array(THREADS, np.float64)
    count, c, chunks = x.shape[1], x.shape[2], partial.shape[1]
    lanes = lanes_of((count + chunks - 1) // chunks, c)
    width, thread = THREADS // lanes, cuda.threadIdx.x
    m, chunk = cuda.blockIdx.x // chunks, cuda.blockIdx.x % chunks
    ch = cuda.blockIdx.y * width + thread % width
    top, bottom = chunk_range(chunk, chunks, count)
    total, square, shift = 0.0, 0.0, x.dtype.type(0)
    if ch < c:
        shift = x[m, top, ch]
        for row in range(top + thread // width, bottom, lanes):
            d = np.float64(x[m, row, ch] - shift)
            total += d
            square += d * d
    totals[thread], squares[thread] = total, square
    combine(plus, totals, width)
    combine(plus, squares, width)
    if thread < width and ch < c:
        size = bottom - top
        rest = squares[thread] - totals[thread] * totals[thread] / size
        partial[m, chunk, 0, ch] = shift + totals[thread] / size
        partial[m, chunk, 1, ch] = 0.0 if rest < 0.0 else rest


def _groups(partial, groups: int) -> Shape:
    """Lanes for each image and group of partial (m,k,2,c)."""
    m, chunks, _, c = partial.shape
    return sums(m * groups, chunks * (c // groups), SECTOR)


@cuda_function
def group_of_thread(partial, groups, lanes):
    """(image, first channel, lane) of a thread of such a kernel; the image may be beyond the last."""
    width = THREADS // lanes
    result = cuda.blockIdx.x * width + cuda.threadIdx.x % width
    return result // groups, result % groups * (partial.shape[3] // groups), cuda.threadIdx.x // width


@cuda_kernel(lambda partial, mean, var, rows, groups: _groups(partial, groups))
def batch_norm_statistics(partial, mean, var, rows, groups):
    """mean[m,c], var[m,c] over the rows and the channels of c's group, from the moments of chunks."""
    shared = cuda.shared.array(THREADS, np.float64)
    chunks, width = partial.shape[1], partial.shape[3] // groups
    lanes = lanes_of(chunks * width, SECTOR)
    m, start, lane = group_of_thread(partial, groups, lanes)
    end, total, squares = chunks * width if m < partial.shape[0] else 0, 0.0, 0.0
    for i in range(lane, end, lanes):
        top, bottom = chunk_range(i // width, chunks, rows)
        total += (bottom - top) * partial[m, i // width, 0, start + i % width]
    centre = sum_of_lanes(shared, total, THREADS // lanes) / (rows * width)
    for i in range(lane, end, lanes):
        top, bottom = chunk_range(i // width, chunks, rows)
        apart = partial[m, i // width, 0, start + i % width] - centre
        squares += partial[m, i // width, 1, start + i % width] + (bottom - top) * apart * apart
    spread = sum_of_lanes(shared, squares, THREADS // lanes) / (rows * width)
    if m < partial.shape[0]:
        for ch in range(start + lane, start + width, lanes):
            mean[m, ch] = centre
            var[m, ch] = spread


@cuda_kernel(_stripes)
def batch_norm_forward(x, mean, var, gamma, beta, residual, y, epsilon, slope, upper):
    """y = rectify(gamma (x - mean) / sqrt(var + epsilon) + beta + residual).

    x, y (m,r,c), residual too, or empty; mean, var (m,c); gamma, beta (c,).
    """
    width, thread, m, number = min(x.shape[2], THREADS), cuda.threadIdx.x, cuda.blockIdx.z, x.dtype.type
    lanes, ch = THREADS // width, cuda.blockIdx.y * width + thread % width
    if thread < lanes * width and ch < x.shape[2]:
        scale = number(gamma[ch] * inverse_deviation(var[m, ch], epsilon))
        centre, shift, first = mean[m, ch], beta[ch], cuda.blockIdx.x * lanes + thread // width
        for row in range(first, x.shape[1], cuda.gridDim.x * lanes):
            value = (x[m, row, ch] - centre) * scale + shift
            if residual.size > 0:
                value += residual[m, row, ch]
            y[m, row, ch] = rectify(value, number(slope), number(upper))


@cuda_kernel(_sums)
def batch_norm_sums(x, dy, mean, var, gamma, beta, partial, epsilon, slope, upper):
    """partial[m,k] = (sum of dv, sum of dv xhat) over the rows of a chunk, xhat = (x - mean) / sqrt(var + epsilon).

    dy is the gradient of rectify(v), dv that of v = gamma xhat + beta. mean, var (m,c), or (1,c) for all m.
    """
    totals = cuda.shared.array(THREADS, np.float64)
    products = cuda.shared.array(THREADS, np.float64)
    count, c, chunks, number = x.shape[1], x.shape[2], partial.shape[1], x.dtype.type
    lanes = lanes_of((count + chunks - 1) // chunks, c)
    width, thread = THREADS // lanes, cuda.threadIdx.x
    m, chunk = cuda.blockIdx.x // chunks, cuda.blockIdx.x % chunks
    own, ch = min(m, mean.shape[0] - 1), cuda.blockIdx.y * width + thread % width
    top, bottom = chunk_range(chunk, chunks, count)
    total, product = 0.0, 0.0
    if ch < c:
        scale = number(gamma[ch] * inverse_deviation(var[own, ch], epsilon))
        for row in range(top + thread // width, bottom, lanes):
            d = x[m, row, ch] - mean[own, ch]
            dv = rectify_grad(dy[m, row, ch], d * scale + beta[ch], number(slope), number(upper))
            total += np.float64(dv)
            product += np.float64(dv) * np.float64(d)
    totals[thread], products[thread] = total, product
    combine(plus, totals, width)
    combine(plus, products, width)
    if thread < width and ch < c:
        partial[m, chunk, 0, ch] = totals[thread]
        partial[m, chunk, 1, ch] = products[thread] * inverse_deviation(np.float64(var[own, ch]), epsilon)


@cuda_kernel(lambda partial, dgamma, dbeta: sums(dgamma.size, partial.shape[0] * partial.shape[1], SECTOR))
def batch_norm_backward_weights(partial, dgamma, dbeta):
    """dgamma = sum of dy xhat, dbeta = sum of dy, over images and chunks.  partial (m,k,2,c) -> (c,), (c,)."""
    shared = cuda.shared.array(THREADS, np.float64)
    chunks, terms, total, product = partial.shape[1], partial.shape[0] * partial.shape[1], 0.0, 0.0
    lanes = lanes_of(terms, SECTOR)
    width = THREADS // lanes
    lane, ch = cuda.threadIdx.x // width, cuda.blockIdx.x * width + cuda.threadIdx.x % width
    for i in range(lane, terms if ch < dgamma.size else 0, lanes):
        total += partial[i // chunks, i % chunks, 0, ch]
        product += partial[i // chunks, i % chunks, 1, ch]
    total, product = sum_of_lanes(shared, total, width), sum_of_lanes(shared, product, width)
    if lane == 0 and ch < dgamma.size:
        dbeta[ch] = total
        dgamma[ch] = product


@cuda_kernel(lambda partial, var, gamma, coefficients, rows, groups, epsilon: _groups(partial, groups))
def batch_norm_coefficients(partial, var, gamma, coefficients, rows, groups, epsilon):
    """The p, q, t of dx = p dy + q (x - mean) + t, per image and channel, for `batch_norm_backward_input`.

    partial (m,k,2,c) of `batch_norm_sums`; var (m,c); gamma (c,); coefficients (m,3,c).
    """
    shared = cuda.shared.array(THREADS, np.float64)
    chunks, width, total, product = partial.shape[1], partial.shape[3] // groups, 0.0, 0.0
    lanes = lanes_of(chunks * width, SECTOR)
    m, start, lane = group_of_thread(partial, groups, lanes)
    for i in range(lane, chunks * width if m < partial.shape[0] else 0, lanes):
        ch = start + i % width
        total += gamma[ch] * partial[m, i // width, 0, ch]
        product += gamma[ch] * partial[m, i // width, 1, ch]
    total, product = (
        sum_of_lanes(shared, total, THREADS // lanes),
        sum_of_lanes(shared, product, THREADS // lanes),
    )
    if m < partial.shape[0]:
        for ch in range(start + lane, start + width, lanes):
            s = inverse_deviation(np.float64(var[m, ch]), epsilon)
            coefficients[m, 0, ch] = gamma[ch] * s
            coefficients[m, 1, ch] = -s * s * product / (rows * width)
            coefficients[m, 2, ch] = -s * total / (rows * width)


@cuda_kernel(_stripes)
def batch_norm_backward_input(x, dy, mean, beta, coefficients, dx, slope, upper):
    """dx = p dv + q (x - mean) + t, where dy is the gradient of rectify(v), dv that of v = p (x - mean) + beta.

    x, dy, dx (m,r,c); mean (m,c); beta (c,); coefficients (m,3,c).
    """
    width, thread, m, number = min(x.shape[2], THREADS), cuda.threadIdx.x, cuda.blockIdx.z, x.dtype.type
    lanes, ch = THREADS // width, cuda.blockIdx.y * width + thread % width
    if thread < lanes * width and ch < x.shape[2]:
        p, q, t = coefficients[m, 0, ch], coefficients[m, 1, ch], coefficients[m, 2, ch]
        centre, shift, first = mean[m, ch], beta[ch], cuda.blockIdx.x * lanes + thread // width
        for row in range(first, x.shape[1], cuda.gridDim.x * lanes):
            d = x[m, row, ch] - centre
            dv = rectify_grad(dy[m, row, ch], d * p + shift, number(slope), number(upper))
            dx[m, row, ch] = p * dv + q * d + t


@cuda_kernel(_stripes)
def batch_norm_frozen_backward_input(dy, var, gamma, dx, epsilon):
    """dx = gamma dy / sqrt(var + epsilon), the statistics being constants.  dy, dx (m,r,c); var (m,c); gamma (c,)."""
    width, thread, m = min(dy.shape[2], THREADS), cuda.threadIdx.x, cuda.blockIdx.z
    lanes, ch = THREADS // width, cuda.blockIdx.y * width + thread % width
    if thread < lanes * width and ch < dy.shape[2]:
        scale = dy.dtype.type(gamma[ch] * inverse_deviation(var[m, ch], epsilon))
        first = cuda.blockIdx.x * lanes + thread // width
        for row in range(first, dy.shape[1], cuda.gridDim.x * lanes):
            dx[m, row, ch] = dy[m, row, ch] * scale


@tensor_kernel_with("momentum")
def moving_average_update(value, moving, momentum):
    """moving = momentum moving + (1 - momentum) value, in place, of all layers in one launch."""
    for i in range(cuda.threadIdx.x, value.size, THREADS):
        moving[i] = momentum * moving[i] + (1.0 - momentum) * value[i]


# --- over the last axis: a thread a row --------------------------------------------------------------------------


@cuda_kernel(rows)
def layer_norm_forward(x, gamma, beta, y, mean, scale, epsilon):
    """y = gamma (x - mean) scale + beta, scale = 1 / sqrt(var + epsilon), over each row (Ba et al. 2016).

    x, y (r,c); gamma, beta (c,); mean, scale (r,), which the backward wants.
    """
    c = x.shape[1]
    for row in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        total, squares = 0.0, 0.0
        for j in range(c):
            total += x[row, j]
        centre = total / c
        for j in range(c):
            squares += (x[row, j] - centre) * (x[row, j] - centre)
        s = inverse_deviation(squares / c, epsilon)
        for j in range(c):
            y[row, j] = (x[row, j] - centre) * s * gamma[j] + beta[j]
        mean[row] = centre
        scale[row] = s


@cuda_kernel(rows)
def layer_norm_backward_input(x, dy, gamma, mean, scale, dx):
    """dx = scale (gamma dy - mean(gamma dy) - xhat mean(gamma dy xhat)), xhat = (x - mean) scale, means over a row."""
    c, number = x.shape[1], x.dtype.type
    for row in range(cuda.grid(1), x.shape[0], cuda.gridsize(1)):
        total, product = 0.0, 0.0
        for j in range(c):
            weighted = np.float64(gamma[j] * dy[row, j])
            total += weighted
            product += weighted * (x[row, j] - mean[row])
        s = scale[row]
        t, q = number(total / c), number(product * s * s / c)
        for j in range(c):
            dx[row, j] = s * (gamma[j] * dy[row, j] - t - q * (x[row, j] - mean[row]))


@cuda_kernel(lambda x, dy, mean, scale, partial: elements(partial.shape[1] * x.shape[1]))
def layer_norm_sums(x, dy, mean, scale, partial):
    """partial[0,k] = (sum of dy, sum of dy xhat) over the rows of a chunk, for `batch_norm_backward_weights`.

    x, dy (r,c); mean, scale (r,); partial (1,k,2,c) float64.
    """
    c, chunks = x.shape[1], partial.shape[1]
    for i in range(cuda.grid(1), chunks * c, cuda.gridsize(1)):
        j, chunk, total, product = i % c, i // c, 0.0, 0.0
        top, bottom = chunk_range(chunk, chunks, x.shape[0])
        for row in range(top, bottom):
            d = np.float64(dy[row, j])
            total += d
            product += d * ((x[row, j] - mean[row]) * scale[row])
        partial[0, chunk, 0, j] = total
        partial[0, chunk, 1, j] = product
