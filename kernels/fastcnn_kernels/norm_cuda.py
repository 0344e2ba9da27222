"""Normalisation on a CUDA device: the kernels of `norm.py`, with the same two-stage sums.

A block takes one chunk of rows of some neighbouring channels, its threads in lanes (`cuda.py`).
"""

import numpy as np

from fastcnn_kernels.cuda import (
    FILLING,
    THREADS,
    Shape,
    check_counts,
    chunks_for,
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
from fastcnn_kernels.cuda_intrinsics import divided, int32, is_aligned, load_four, load_one, store_four
from fastcnn_kernels.jit import scalar
from fastcnn_kernels.norm import input_coefficients, inverse_deviation
from fastcnn_kernels.reduction import plus
from fastcnn_kernels.reduction_cuda import rows_of_chunk, sum_of_lanes


@scalar
def times(factor, x):
    """factor x, but 0 of any x, even an infinite one, where the factor is 0."""
    return factor * x if factor != 0 else type(x)(0)


@scalar
def rectify(x, slope, upper):
    """min(x, upper) where x > 0, else slope x. Of every x itself where slope is 1 and upper infinite."""
    y = times(slope if x <= 0 else type(x)(1), x)
    return upper if y > upper else y


@scalar
def rectify_grad(dy, x, slope, upper):
    """dx of `rectify`: dy where 0 < x < upper, slope dy where x <= 0, else 0."""
    return times(slope if x <= 0 else type(x)(0 if x >= upper else 1), dy)


# --- stripes: each number becomes another one; a thread stays with its channels and goes down some rows ---------------

ROWS = 4  # that a thread of an elementwise kernel takes at most, for what it has to prepare to be worth it
SCALES = 4 * THREADS  # channels that a block of such a kernel has at most


def _together(c: int) -> int:
    """Neighbouring channels that a thread of an elementwise kernel takes: as many as come from memory at once."""
    return 4 if c % 4 == 0 else 1


def _stripes(x, *others) -> Shape:
    """Of kernels over x (m, r, c): every thread stays with some channels of an image and takes some of its rows."""
    m, r, c = x.shape
    check_counts(r)
    columns = c // _together(c)
    width = min(columns, THREADS)
    across, down = covering(columns, width), covering(r, THREADS // width)
    turns = max(1, min(ROWS, covering(down * across * m, 4 * FILLING)))  # one row where threads would be few
    return Shape((covering(down, turns), across, m), THREADS)


@cuda_function
def stripe_of_thread(rows, c, each):
    """(first row, rows apart, how many, first channel) of a thread of `_stripes`; no channel is c, of who has none."""
    width = int32(min(c // each, THREADS))
    lanes, (lane, column) = divided(int32(THREADS), width)[0], divided(int32(cuda.threadIdx.x), width)
    apart = cuda.gridDim.x * lanes
    turns, ch = divided(int32(rows + apart - 1), int32(apart))[0], (cuda.blockIdx.y * width + column) * each
    return cuda.blockIdx.x * lanes * turns + lane, lanes, turns, ch if lane < lanes and ch < c else c


@cuda_function
def place_of_scale(ch, c, each):
    """Where in a block's scales that of a channel is."""
    return ch - cuda.blockIdx.y * min(c, THREADS * each)


@cuda_function
def share_scales(scales, each, gamma, var, m, epsilon):
    """gamma / sqrt(var + epsilon) of a block's channels of image m, which its threads compute once and all read."""
    c = gamma.size
    first = cuda.blockIdx.y * min(c, THREADS * each)
    for j in range(cuda.threadIdx.x, min(c - first, THREADS * each), THREADS):
        scales[j] = gamma[first + j] * inverse_deviation(var[m * c + first + j], epsilon)
    cuda.syncthreads()


@cuda_function
def read_one(array, place, whole):
    """The number there."""
    return (load_one(array, place),)


@cuda_function
def read_four(array, place, whole):
    """Four numbers from there on, `whole`: at once."""
    if whole:
        return load_four(array, place)
    return (
        load_one(array, place), load_one(array, place + 1), load_one(array, place + 2), load_one(array, place + 3)
    )  # fmt: skip


@cuda_function
def write_one(array, place, numbers, whole):
    """array[place] = numbers[0]."""
    array[place] = numbers[0]


@cuda_function
def write_four(array, place, numbers, whole):
    """array[place : place + 4] = numbers, `whole`: at once."""
    if whole:
        store_four(array, place, numbers[0], numbers[1], numbers[2], numbers[3])
    else:
        for e in range(4):
            array[place + e] = numbers[e]


def by_channels(make):
    """The kernel's function of make(channels of a thread, read, write), of which there are two."""
    fours, ones = make(4, read_four, write_four), make(1, read_one, write_one)

    @cuda_function
    def stripes(c, *args):
        if c % 4 == 0:
            fours(c, *args)
        else:
            ones(c, *args)

    return stripes


# --- kernels ---------------------------------------------------------------------------------------------------------


def _chunks(x, partial) -> Shape:
    """A block for each image and chunk of x (m, r, c), and for as many channels as there are threads for its rows."""
    m, k, _, c = partial.shape
    width = THREADS // lanes_for(covering(x.shape[1], k), c)
    return Shape((m * k, covering(c, width), 1), THREADS)


def _sums(x, dy, mean, var, gamma, beta, partial, *others) -> Shape:
    return _chunks(x, partial)


@cuda_kernel(_chunks, parts=chunks_for)
def batch_norm_moments(x, partial):
    """partial[m,k] = (mean, sum of (x - mean)^2) over the rows of a chunk.  x (m,r,c), partial (m,k,2,c) float64.

    Sums differences from the chunk's first row: the squares of data far from zero would drown its variance.
    """
    totals = cuda.shared.array(THREADS, np.float64)
    squares = cuda.shared.array(THREADS, np.float64)
    count, c, chunks = x.shape[1], x.shape[2], partial.shape[1]
    lanes = lanes_of(divided(count + chunks - 1, chunks)[0], c)
    width, thread = divided(THREADS, lanes)[0], cuda.threadIdx.x
    (m, chunk), (lane, column) = divided(cuda.blockIdx.x, chunks), divided(thread, width)
    ch = cuda.blockIdx.y * width + column
    top, bottom = rows_of_chunk(chunk, chunks, count)
    total, square, shift = 0.0, 0.0, x.dtype.type(0)
    if ch < c:
        first = (m * count + top) * c + ch
        shift, place = load_one(x, first), first + lane * c
        for _ in range(top + lane, bottom, lanes):
            d = np.float64(load_one(x, place) - shift)
            total += d
            square += d * d
            place += lanes * c
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
    return sums(m * groups, chunks * (c // groups), 1)


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
    lanes = lanes_of(chunks * width, 1)
    m, start, lane = group_of_thread(partial, groups, lanes)
    end, total, squares = chunks * width if m < partial.shape[0] else 0, 0.0, 0.0
    for i in range(lane, end, lanes):
        chunk, ch = divided(i, width)
        top, bottom = rows_of_chunk(chunk, chunks, rows)
        total += (bottom - top) * partial[m, chunk, 0, start + ch]
    centre = sum_of_lanes(shared, total, THREADS // lanes) / (rows * width)
    for i in range(lane, end, lanes):
        chunk, ch = divided(i, width)
        top, bottom = rows_of_chunk(chunk, chunks, rows)
        apart = partial[m, chunk, 0, start + ch] - centre
        squares += partial[m, chunk, 1, start + ch] + (bottom - top) * apart * apart
    spread = sum_of_lanes(shared, squares, THREADS // lanes) / (rows * width)
    if m < partial.shape[0]:
        for ch in range(start + lane, start + width, lanes):
            mean[m, ch] = centre
            var[m, ch] = spread


def _normalizer(each, read, write):
    @cuda_function
    def normalize(c, scales, x, mean, var, gamma, beta, residual, y, epsilon, slope, upper):
        centre = cuda.local.array(each, x.dtype)
        scale = cuda.local.array(each, x.dtype)
        shift = cuda.local.array(each, x.dtype)
        results = cuda.local.array(each, x.dtype)
        m, rows = cuda.blockIdx.z, divided(x.size, mean.size)[0]
        number, adds = x.dtype.type, residual.size > 0
        row, apart, turns, ch = stripe_of_thread(rows, c, each)
        whole = is_aligned(x) and is_aligned(y) and (not adds or is_aligned(residual))
        share_scales(scales, each, gamma, var, m, epsilon)
        if ch < c:
            for e in range(each):
                centre[e], shift[e] = load_one(mean, m * c + ch + e), load_one(beta, ch + e)
                scale[e] = load_one(scales, place_of_scale(ch, c, each) + e)
            place = (m * rows + row) * c + ch
            for _ in range(turns):
                if row < rows:
                    values = read(x, place, whole)
                    for e in range(each):
                        results[e] = (values[e] - centre[e]) * scale[e] + shift[e]
                    if adds:
                        more = read(residual, place, whole)
                        for e in range(each):
                            results[e] += more[e]
                    for e in range(each):
                        results[e] = rectify(results[e], number(slope), number(upper))
                    write(y, place, results, whole)
                row, place = row + apart, place + apart * c

    return normalize


normalize_stripes = by_channels(_normalizer)


@cuda_kernel(_stripes, flatten=True)
def batch_norm_forward(x, mean, var, gamma, beta, residual, y, epsilon, slope, upper):
    """y = rectify(gamma (x - mean) / sqrt(var + epsilon) + beta + residual).

    x, y (m,r,c), residual too, or empty; mean, var (m,c); gamma, beta (c,).
    """
    scales = cuda.shared.array(SCALES, x.dtype)
    normalize_stripes(gamma.size, scales, x, mean, var, gamma, beta, residual, y, epsilon, slope, upper)


@cuda_kernel(_sums, parts=chunks_for)
def batch_norm_sums(x, dy, mean, var, gamma, beta, partial, epsilon, slope, upper):
    """partial[m,k] = (sum of dv, sum of dv xhat) over the rows of a chunk, xhat = (x - mean) / sqrt(var + epsilon).

    dy is the gradient of rectify(v), dv that of v = gamma xhat + beta. mean, var (m,c), or (1,c) for all m.
    """
    totals = cuda.shared.array(THREADS, np.float64)
    products = cuda.shared.array(THREADS, np.float64)
    count, c, chunks, number = x.shape[1], x.shape[2], partial.shape[1], x.dtype.type
    lanes = lanes_of(divided(count + chunks - 1, chunks)[0], c)
    width, thread = divided(THREADS, lanes)[0], cuda.threadIdx.x
    (m, chunk), (lane, column) = divided(cuda.blockIdx.x, chunks), divided(thread, width)
    own, ch = min(m, mean.shape[0] - 1), cuda.blockIdx.y * width + column
    top, bottom = rows_of_chunk(chunk, chunks, count)
    total, product = 0.0, 0.0
    if ch < c:
        scale, centre = number(gamma[ch] * inverse_deviation(var[own, ch], epsilon)), mean[own, ch]
        shift, place = beta[ch], (m * count + top + lane) * c + ch
        for _ in range(top + lane, bottom, lanes):
            d = load_one(x, place) - centre
            dv = rectify_grad(load_one(dy, place), d * scale + shift, number(slope), number(upper))
            total += np.float64(dv)
            product += np.float64(dv) * np.float64(d)
            place += lanes * c
    totals[thread], products[thread] = total, product
    combine(plus, totals, width)
    combine(plus, products, width)
    if thread < width and ch < c:
        partial[m, chunk, 0, ch] = totals[thread]
        partial[m, chunk, 1, ch] = products[thread] * inverse_deviation(np.float64(var[own, ch]), epsilon)


def _channels(partial, *others) -> Shape:
    """Lanes for each channel of partial (m,k,2,c)."""
    m, chunks, _, c = partial.shape
    return sums(c, m * chunks, 1)


@cuda_function
def sums_of_channel(shared, partial):
    """(channel, lane, `sums_of_channel` of `norm.py`) of a thread; the channel may be beyond the last."""
    images, chunks, _, c = partial.shape
    terms, total, product = images * chunks, 0.0, 0.0
    lanes = lanes_of(terms, 1)
    width = divided(THREADS, lanes)[0]
    lane, column = divided(cuda.threadIdx.x, width)
    ch = cuda.blockIdx.x * width + column
    for i in range(lane, terms if ch < c else 0, lanes):
        m, chunk = divided(i, chunks)
        total += partial[m, chunk, 0, ch]
        product += partial[m, chunk, 1, ch]
    return ch, lane, sum_of_lanes(shared, total, width), sum_of_lanes(shared, product, width)


@cuda_kernel(_channels)
def batch_norm_backward_weights(partial, dgamma, dbeta):
    """dgamma = sum of dy xhat, dbeta = sum of dy, over images and chunks.  partial (m,k,2,c) -> (c,), (c,)."""
    ch, lane, total, product = sums_of_channel(cuda.shared.array(THREADS, np.float64), partial)
    if lane == 0 and ch < dgamma.size:
        dbeta[ch], dgamma[ch] = total, product


@cuda_kernel(_channels)
def batch_norm_gradients(partial, var, gamma, dgamma, dbeta, coefficients, rows, epsilon):
    """`batch_norm_backward_weights` and `batch_norm_coefficients` at once, where all images share statistics.

    dgamma = sum of dy xhat, dbeta = sum of dy over `rows` rows; with s = 1 / sqrt(var + epsilon) the coefficients are
    p = gamma s, q = -s^2 gamma dgamma / rows, t = -s gamma dbeta / rows.
    partial (1,k,2,c) of `batch_norm_sums`; var (1,c); gamma, dgamma, dbeta (c,); coefficients (1,3,c).
    """
    ch, lane, total, product = sums_of_channel(cuda.shared.array(THREADS, np.float64), partial)
    if lane == 0 and ch < dgamma.size:
        s = inverse_deviation(np.float64(var[0, ch]), epsilon)
        dbeta[ch], dgamma[ch] = total, product
        p, q, t = input_coefficients(gamma[ch], s, gamma[ch] * total, gamma[ch] * product, rows)
        coefficients[0, 0, ch], coefficients[0, 1, ch], coefficients[0, 2, ch] = p, q, t


@cuda_kernel(lambda partial, var, gamma, coefficients, rows, groups, epsilon: _groups(partial, groups))
def batch_norm_coefficients(partial, var, gamma, coefficients, rows, groups, epsilon):
    """The p, q, t of dx = p dy + q (x - mean) + t, per image and channel, for `batch_norm_backward_input`.

    partial (m,k,2,c) of `batch_norm_sums`; var (m,c); gamma (c,); coefficients (m,3,c).
    """
    shared = cuda.shared.array(THREADS, np.float64)
    chunks, width, total, product = partial.shape[1], partial.shape[3] // groups, 0.0, 0.0
    lanes = lanes_of(chunks * width, 1)
    m, start, lane = group_of_thread(partial, groups, lanes)
    for i in range(lane, chunks * width if m < partial.shape[0] else 0, lanes):
        chunk, j = divided(i, width)
        total += gamma[start + j] * partial[m, chunk, 0, start + j]
        product += gamma[start + j] * partial[m, chunk, 1, start + j]
    total, product = (
        sum_of_lanes(shared, total, THREADS // lanes),
        sum_of_lanes(shared, product, THREADS // lanes),
    )
    if m < partial.shape[0]:
        for ch in range(start + lane, start + width, lanes):
            s = inverse_deviation(np.float64(var[m, ch]), epsilon)
            p, q, t = input_coefficients(gamma[ch], s, total, product, rows * width)
            coefficients[m, 0, ch], coefficients[m, 1, ch], coefficients[m, 2, ch] = p, q, t


def _input_differentiator(each, read, write):
    @cuda_function
    def differentiate(c, x, dy, mean, beta, coefficients, dx, slope, upper):
        centre = cuda.local.array(each, x.dtype)
        shift = cuda.local.array(each, x.dtype)
        p = cuda.local.array(each, x.dtype)
        q = cuda.local.array(each, x.dtype)
        t = cuda.local.array(each, x.dtype)
        results = cuda.local.array(each, x.dtype)
        m, rows, number = cuda.blockIdx.z, divided(x.size, mean.size)[0], x.dtype.type
        row, apart, turns, ch = stripe_of_thread(rows, c, each)
        whole = is_aligned(x) and is_aligned(dy) and is_aligned(dx)
        if ch < c:
            for e in range(each):
                centre[e], shift[e] = load_one(mean, m * c + ch + e), load_one(beta, ch + e)
                p[e] = load_one(coefficients, 3 * m * c + ch + e)
                q[e] = load_one(coefficients, (3 * m + 1) * c + ch + e)
                t[e] = load_one(coefficients, (3 * m + 2) * c + ch + e)
            place = (m * rows + row) * c + ch
            for _ in range(turns):
                if row < rows:
                    values, gradients = read(x, place, whole), read(dy, place, whole)
                    for e in range(each):
                        d = values[e] - centre[e]
                        dv = rectify_grad(gradients[e], d * p[e] + shift[e], number(slope), number(upper))
                        results[e] = p[e] * dv + q[e] * d + t[e]
                    write(dx, place, results, whole)
                row, place = row + apart, place + apart * c

    return differentiate


differentiate_stripes = by_channels(_input_differentiator)


@cuda_kernel(_stripes, flatten=True)
def batch_norm_backward_input(x, dy, mean, beta, coefficients, dx, slope, upper):
    """dx = p dv + q (x - mean) + t, where dy is the gradient of rectify(v), dv that of v = p (x - mean) + beta.

    x, dy, dx (m,r,c); mean (m,c); beta (c,); coefficients (m,3,c).
    """
    differentiate_stripes(beta.size, x, dy, mean, beta, coefficients, dx, slope, upper)


def _scaler(each, read, write):
    @cuda_function
    def scale(c, scales, dy, var, gamma, dx, epsilon):
        results = cuda.local.array(each, dy.dtype)
        m, rows, whole = cuda.blockIdx.z, divided(dy.size, var.size)[0], is_aligned(dy) and is_aligned(dx)
        row, apart, turns, ch = stripe_of_thread(rows, c, each)
        share_scales(scales, each, gamma, var, m, epsilon)
        if ch < c:
            place = (m * rows + row) * c + ch
            for _ in range(turns):
                if row < rows:
                    gradients = read(dy, place, whole)
                    for e in range(each):
                        results[e] = gradients[e] * load_one(scales, place_of_scale(ch, c, each) + e)
                    write(dx, place, results, whole)
                row, place = row + apart, place + apart * c

    return scale


scale_stripes = by_channels(_scaler)


@cuda_kernel(_stripes, flatten=True)
def batch_norm_frozen_backward_input(dy, var, gamma, dx, epsilon):
    """dx = gamma dy / sqrt(var + epsilon), the statistics being constants.  dy, dx (m,r,c); var (m,c); gamma (c,)."""
    scale_stripes(gamma.size, cuda.shared.array(SCALES, dy.dtype), dy, var, gamma, dx, epsilon)


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
    row = cuda.grid(1)
    if row < x.shape[0]:
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
    row = cuda.grid(1)
    if row < x.shape[0]:
        total, product = 0.0, 0.0
        for j in range(c):
            weighted = np.float64(gamma[j] * dy[row, j])
            total += weighted
            product += weighted * (x[row, j] - mean[row])
        s = scale[row]
        t, q = number(total / c), number(product * s * s / c)
        for j in range(c):
            dx[row, j] = s * (gamma[j] * dy[row, j] - t - q * (x[row, j] - mean[row]))


@cuda_kernel(lambda x, dy, mean, scale, partial: elements(partial.shape[1] * x.shape[1]), parts=chunks_for)
def layer_norm_sums(x, dy, mean, scale, partial):
    """partial[0,k] = (sum of dy, sum of dy xhat) over the rows of a chunk, for `batch_norm_backward_weights`.

    x, dy (r,c); mean, scale (r,); partial (1,k,2,c) float64.
    """
    c, chunks = x.shape[1], partial.shape[1]
    i = cuda.grid(1)
    if i < chunks * c:
        j, chunk, total, product = i % c, i // c, 0.0, 0.0
        top, bottom = rows_of_chunk(chunk, chunks, x.shape[0])
        for row in range(top, bottom):
            d = np.float64(dy[row, j])
            total += d
            product += d * ((x[row, j] - mean[row]) * scale[row])
        partial[0, chunk, 0, j] = total
        partial[0, chunk, 1, j] = product
