"""Normalisation: subtract a mean, divide by a deviation, scale by gamma, shift by beta, each per channel.

Batch and group normalisation share kernels. x is (m, r, c): m images (or the whole batch as one, m = 1) of r rows
of c channels, each image with statistics mean, var (m, c). Batch normalisation has m = 1; group normalisation
m = n, and the channels of a group have equal statistics.

Two-stage sums: x is cut into k chunks of rows an image, `partial` (m, k, 2, c) float64 takes one pair of numbers a
chunk and channel, and a second kernel combines the chunks in order.

rectify(v) = min(v, upper) where v > 0, else slope v: the activation behind a normalisation, computed with it.
"""

import math
from typing import Any

import numpy as np

from fastcnn_kernels.channelwise import (
    LINEAR,
    RESIDUAL,
    input_gradient,
    kind_of,
    normalized,
    product_sums,
    scaled,
    segment,
)
from fastcnn_kernels.elementwise import flat
from fastcnn_kernels.jit import CHUNK, cpu_kernel, device_function, scalar, shape_function, span, stack_array
from fastcnn_kernels.moments import moments_of_rows
from fastcnn_kernels.reduction import TILE, chunk_range, clear, fold, load, repeat

LARGEST_CHUNK = 32768  # elements that one item of a two-stage sum reads
MOST_CHUNKS = 256  # a combining kernel reads them all
CHANNELS = 32  # of one item of a combining kernel


def partial_chunks(m: int, rows: int, channels: int) -> int:
    """How many chunks k the rows of each of m images are cut into for a two-stage sum; depends on shapes only."""
    wanted = min(rows * channels // LARGEST_CHUNK, MOST_CHUNKS // m)
    return max(1, min(rows, wanted))


def _chunks(view: tuple[int, int, int], dtype: Any) -> int:
    return partial_chunks(*view)


@shape_function
def rows_per_item(c):
    """Rows that one item of an elementwise kernel takes."""
    return max(1, 2 * CHUNK // c)


@shape_function
def item_count(m, r, c):
    """Items of an elementwise kernel over (m, r, c); no item spans two images."""
    per_item = rows_per_item(c)
    return m * ((r + per_item - 1) // per_item)


@scalar
def run_of_items(item, last, r, c):
    """(image, first row, last row, next item) of those of the items [item, last) that follow each other in an image."""
    per_item = rows_per_item(c)
    items = (r + per_item - 1) // per_item
    m, row = item // items, item % items
    stop = min(items, row + last - item)
    return m, row * per_item, min(r, stop * per_item), item + stop - row


@scalar
def inverse_deviation(var, epsilon):
    """1 / sqrt(var + epsilon)."""
    return 1.0 / math.sqrt(var + epsilon)


@scalar
def input_coefficients(gamma, s, total, product, count):
    """(p, q, t) of `batch_norm_coefficients`, from sums of gamma dy and gamma dy xhat over `count` values."""
    return gamma * s, -s * s * product / count, -s * total / count


@cpu_kernel(lambda x, partial: partial.shape[0] * partial.shape[1], _chunks)
def batch_norm_moments(x, partial, first, last):
    """partial[m,k] = (mean, sum of (x - mean)^2) over the rows of a chunk.  x (m,r,c), partial (m,k,2,c) float64."""
    rows, c, chunks, xs = x.shape[1], x.shape[2], partial.shape[1], x.reshape(x.size)
    for item in range(first, last):
        m, chunk = item // chunks, item % chunks
        top, bottom = chunk_range(chunk, chunks, rows)
        into = partial[m, chunk]
        moments_of_rows(xs, (m * rows + top) * c, bottom - top, c, c, into[0], into[1])


@cpu_kernel(lambda partial, mean, var, rows, groups: mean.shape[0] * groups)
def batch_norm_statistics(partial, mean, var, rows, groups, first, last):
    """mean[m,c], var[m,c] over the rows and the channels of c's group, from the moments of chunks.

    partial (m,k,2,c) of `batch_norm_moments` -> mean, var (m,c). groups = c: every channel for itself. Biased
    variance (Ioffe & Szegedy 2015, Algorithm 1), combined as in Chan, Golub & LeVeque 1979.
    """
    chunks, width = partial.shape[1], partial.shape[3] // groups
    for item in range(first, last):
        m, start = item // groups, item % groups * width
        total, centre, squares = 0.0, 0.0, 0.0
        for k in range(chunks):
            top, bottom = chunk_range(k, chunks, rows)
            for ch in range(start, start + width):
                total += (bottom - top) * partial[m, k, 0, ch]
        centre = total / (rows * width)
        for k in range(chunks):
            top, bottom = chunk_range(k, chunks, rows)
            for ch in range(start, start + width):
                squares += partial[m, k, 1, ch] + (bottom - top) * (partial[m, k, 0, ch] - centre) ** 2
        for ch in range(start, start + width):
            mean[m, ch] = centre
            var[m, ch] = squares / (rows * width)


@cpu_kernel(lambda x, mean, var, gamma, beta, residual, y, epsilon, slope, upper: item_count(*x.shape))
def batch_norm_forward(x, mean, var, gamma, beta, residual, y, epsilon, slope, upper, first, last):
    """y = rectify(gamma (x - mean) / sqrt(var + epsilon) + beta + residual).

    x, y (m,r,c), residual too, or empty; mean, var (m,c); gamma, beta (c,).
    """
    rows, c = x.shape[1], x.shape[2]
    xs, more, ys = x.reshape(x.size), residual.reshape(residual.size), y.reshape(y.size)
    centre, scale, shift = stack_array(x, TILE), stack_array(x, TILE), stack_array(x, TILE)
    kind, item = kind_of(slope, upper) + (RESIDUAL if more.size else 0), first
    while item < last:
        m, top, bottom, item = run_of_items(item, last, rows, c)
        begin, end = (m * rows + top) * c, (m * rows + bottom) * c
        for start in range(0, c, TILE):
            length, width = segment(x, bottom - top, c, start)
            load(centre, mean[m], start, width, length)
            load(shift, beta, start, width, length)
            load_scale(scale, gamma, var[m], epsilon, start, width, length)
            place = begin + start, end, max(length, c), length
            normalized(kind, (xs, more), (ys,), (centre, scale, shift), *place, slope, upper)


@device_function
def load_scale(scale, gamma, var, epsilon, start, width, length):
    """scale[j] = gamma / sqrt(var + epsilon) of the channel of a segment's element j."""
    for j in range(width):
        scale[j] = gamma[start + j] * inverse_deviation(var[start + j], epsilon)
    repeat(scale, width, length)


@cpu_kernel(lambda x, dy, mean, var, gamma, beta, partial, *_: partial.shape[0] * partial.shape[1], _chunks)
def batch_norm_sums(x, dy, mean, var, gamma, beta, partial, epsilon, slope, upper, first, last):
    """partial[m,k] = (sum of dv, sum of dv xhat) over the rows of a chunk, xhat = (x - mean) / sqrt(var + epsilon).

    dy is the gradient of rectify(v), dv that of v = gamma xhat + beta.
    x, dy (m,r,c); mean, var (m,c), or (1,c) for all m; gamma, beta (c,); partial (m,k,2,c) float64.
    """
    rows, c, chunks = x.shape[1], x.shape[2], partial.shape[1]
    sources = x.reshape(x.size), dy.reshape(dy.size)
    centre, scale, shift = stack_array(x, TILE), stack_array(x, TILE), stack_array(x, TILE)
    total, product = stack_array(np.float64, TILE), stack_array(np.float64, TILE)
    tiles, kind = (centre, scale, shift), kind_of(slope, upper)
    for item in range(first, last):
        m, chunk = item // chunks, item % chunks
        own = min(m, mean.shape[0] - 1)
        top, bottom = chunk_range(chunk, chunks, rows)
        begin, end = (m * rows + top) * c, (m * rows + bottom) * c
        for start in range(0, c, TILE):
            length, width = segment(x, bottom - top, c, start)
            load(centre, mean[own], start, width, length)
            load(shift, beta, start, width, length)
            load_scale(scale, gamma, var[own], epsilon, start, width, length)
            clear(total)
            clear(product)
            place = begin + start, end, max(length, c), length
            product_sums(kind, sources, (total, product), tiles, *place, slope, upper)
            fold(total, width, length)
            fold(product, width, length)
            for j in range(width):
                ch = start + j
                partial[m, chunk, 0, ch] = total[j]
                partial[m, chunk, 1, ch] = product[j] * inverse_deviation(np.float64(var[own, ch]), epsilon)


@device_function
def sums_of_channel(partial, ch):
    """partial (m,k,2,c) of a channel, added up over images and chunks."""
    total, product = 0.0, 0.0
    for m in range(partial.shape[0]):
        for k in range(partial.shape[1]):
            total += partial[m, k, 0, ch]
            product += partial[m, k, 1, ch]
    return total, product


@cpu_kernel(lambda partial, dgamma, dbeta: -(-dgamma.size // CHANNELS))
def batch_norm_backward_weights(partial, dgamma, dbeta, first, last):
    """dgamma = sum of dy xhat, dbeta = sum of dy, over images and chunks.  partial (m,k,2,c) -> (c,), (c,)."""
    for ch in range(first * CHANNELS, min(last * CHANNELS, dgamma.size)):
        dbeta[ch], dgamma[ch] = sums_of_channel(partial, ch)


@cpu_kernel(lambda partial, var, gamma, dgamma, *_: -(-dgamma.size // CHANNELS))
def batch_norm_gradients(partial, var, gamma, dgamma, dbeta, coefficients, rows, epsilon, first, last):
    """`batch_norm_backward_weights` and `batch_norm_coefficients` at once, where all images share statistics.

    dgamma = sum of dy xhat, dbeta = sum of dy over `rows` rows; with s = 1 / sqrt(var + epsilon) the coefficients are
    p = gamma s, q = -s^2 gamma dgamma / rows, t = -s gamma dbeta / rows.
    partial (1,k,2,c) of `batch_norm_sums`; var (1,c); gamma, dgamma, dbeta (c,); coefficients (1,3,c).
    """
    for ch in range(first * CHANNELS, min(last * CHANNELS, dgamma.size)):
        total, product = sums_of_channel(partial, ch)
        s = inverse_deviation(np.float64(var[0, ch]), epsilon)
        dbeta[ch], dgamma[ch] = total, product
        p, q, t = input_coefficients(gamma[ch], s, gamma[ch] * total, gamma[ch] * product, rows)
        coefficients[0, 0, ch], coefficients[0, 1, ch], coefficients[0, 2, ch] = p, q, t


@cpu_kernel(lambda partial, var, gamma, coefficients, rows, groups, epsilon: var.shape[0] * groups)
def batch_norm_coefficients(partial, var, gamma, coefficients, rows, groups, epsilon, first, last):
    """The p, q, t of dx = p dy + q (x - mean) + t, per image and channel, for `batch_norm_backward_input`.

    With s = 1 / sqrt(var + epsilon) and means over the group's `rows * c / groups` values:
    dx = s (gamma dy - mean(gamma dy) - xhat mean(gamma dy xhat)), so
    p = gamma s, q = -s^2 mean(gamma dy xhat), t = -s mean(gamma dy).
    partial (m,k,2,c) of `batch_norm_sums`; var (m,c); gamma (c,); coefficients (m,3,c).
    """
    chunks, width = partial.shape[1], partial.shape[3] // groups
    for item in range(first, last):
        m, start = item // groups, item % groups * width
        total, product = 0.0, 0.0
        for k in range(chunks):
            for ch in range(start, start + width):
                total += gamma[ch] * partial[m, k, 0, ch]
                product += gamma[ch] * partial[m, k, 1, ch]
        s = inverse_deviation(np.float64(var[m, start]), epsilon)
        for ch in range(start, start + width):
            p, q, t = input_coefficients(gamma[ch], s, total, product, rows * width)
            coefficients[m, 0, ch], coefficients[m, 1, ch], coefficients[m, 2, ch] = p, q, t


@cpu_kernel(lambda x, *_: item_count(*x.shape))
def batch_norm_backward_input(x, dy, mean, beta, coefficients, dx, slope, upper, first, last):
    """dx = p dv + q (x - mean) + t, where dy is the gradient of rectify(v), dv that of v = p (x - mean) + beta.

    x, dy, dx (m,r,c); mean (m,c); beta (c,); coefficients (m,3,c).
    """
    rows, c = x.shape[1], x.shape[2]
    sources, target = (x.reshape(x.size), dy.reshape(dy.size)), (dx.reshape(dx.size),)
    centre, shift = stack_array(x, TILE), stack_array(x, TILE)
    p, q, t = stack_array(x, TILE), stack_array(x, TILE), stack_array(x, TILE)
    tiles, kind, item = (centre, shift, p, q, t), kind_of(slope, upper), first
    while item < last:
        m, top, bottom, item = run_of_items(item, last, rows, c)
        begin, end = (m * rows + top) * c, (m * rows + bottom) * c
        for start in range(0, c, TILE):
            length, width = segment(x, bottom - top, c, start)
            load(centre, mean[m], start, width, length)
            load(shift, beta, start, width, length)
            load(p, coefficients[m, 0], start, width, length)
            load(q, coefficients[m, 1], start, width, length)
            load(t, coefficients[m, 2], start, width, length)
            place = begin + start, end, max(length, c), length
            input_gradient(kind, sources, target, tiles, *place, slope, upper)


@cpu_kernel(lambda dy, var, gamma, dx, epsilon: item_count(*dy.shape))
def batch_norm_frozen_backward_input(dy, var, gamma, dx, epsilon, first, last):
    """dx = gamma dy / sqrt(var + epsilon), the statistics being constants.  dy, dx (m,r,c); var (m,c); gamma (c,)."""
    rows, c = dy.shape[1], dy.shape[2]
    dys, dxs, scale, item = dy.reshape(dy.size), dx.reshape(dx.size), stack_array(dy, TILE), first
    while item < last:
        m, top, bottom, item = run_of_items(item, last, rows, c)
        begin, end = (m * rows + top) * c, (m * rows + bottom) * c
        for start in range(0, c, TILE):
            length, width = segment(dy, bottom - top, c, start)
            load_scale(scale, gamma, var[m], epsilon, start, width, length)
            place = begin + start, end, max(length, c), length
            scaled(LINEAR, (dys,), (dxs,), (scale,), *place, 1.0, math.inf)


@cpu_kernel(flat)
def moving_average_update(value, moving, momentum, first, last):
    """moving = momentum moving + (1 - momentum) value, in place.  One-dimensional views."""
    lo, hi = span(first, last, value.size)
    for i in range(lo, hi):
        moving[i] = momentum * moving[i] + (1.0 - momentum) * value[i]


# --- over the last axis --------------------------------------------------------------------------------------


@cpu_kernel(lambda x, gamma, beta, y, mean, scale, epsilon: item_count(1, *x.shape))
def layer_norm_forward(x, gamma, beta, y, mean, scale, epsilon, first, last):
    """y = gamma (x - mean) scale + beta, scale = 1 / sqrt(var + epsilon), over each row (Ba et al. 2016).

    x, y (r,c); gamma, beta (c,); mean, scale (r,), which the backward wants.
    """
    _, top, bottom, _ = run_of_items(first, last, x.shape[0], x.shape[1])
    for row in range(top, bottom):
        xs, ys = x[row], y[row]
        total, squares = 0.0, 0.0
        for j in range(xs.size):
            total += xs[j]
        centre = total / xs.size
        for j in range(xs.size):
            squares += (xs[j] - centre) * (xs[j] - centre)
        s = inverse_deviation(squares / xs.size, epsilon)
        for j in range(xs.size):
            ys[j] = (xs[j] - centre) * s * gamma[j] + beta[j]
        mean[row] = centre
        scale[row] = s


@cpu_kernel(lambda x, dy, gamma, mean, scale, dx: item_count(1, *x.shape))
def layer_norm_backward_input(x, dy, gamma, mean, scale, dx, first, last):
    """dx = scale (gamma dy - mean(gamma dy) - xhat mean(gamma dy xhat)), xhat = (x - mean) scale, means over a row.

    x, dy, dx (r,c); gamma (c,); mean, scale (r,).
    """
    _, top, bottom, _ = run_of_items(first, last, x.shape[0], x.shape[1])
    for row in range(top, bottom):
        xs, dys, dxs = x[row], dy[row], dx[row]
        total, product = 0.0, 0.0
        for j in range(xs.size):
            weighted = np.float64(gamma[j] * dys[j])
            total += weighted
            product += weighted * (xs[j] - mean[row])
        s = scale[row]
        t, q = x.dtype.type(total / xs.size), x.dtype.type(product * s * s / xs.size)
        for j in range(xs.size):
            dxs[j] = s * (gamma[j] * dys[j] - t - q * (xs[j] - mean[row]))


@cpu_kernel(lambda x, dy, mean, scale, partial: partial.shape[1], _chunks)
def layer_norm_sums(x, dy, mean, scale, partial, first, last):
    """partial[0,k] = (sum of dy, sum of dy xhat) over the rows of a chunk, for `batch_norm_backward_weights`.

    x, dy (r,c); mean, scale (r,); partial (1,k,2,c) float64.
    """
    rows, chunks = x.shape[0], partial.shape[1]
    for chunk in range(first, last):
        total, product = partial[0, chunk, 0], partial[0, chunk, 1]
        for j in range(total.size):
            total[j] = 0.0
            product[j] = 0.0
        top, bottom = chunk_range(chunk, chunks, rows)
        for row in range(top, bottom):
            xs, dys = x[row], dy[row]
            for j in range(total.size):
                dyj = np.float64(dys[j])
                total[j] += dyj
                product[j] += dyj * ((xs[j] - mean[row]) * scale[row])
