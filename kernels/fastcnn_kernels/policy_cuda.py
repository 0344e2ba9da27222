"""One step of an augmentation policy on a CUDA device: a block an image, which goes through an operation of its own.

The formulas are those of `policy.py`. A block's threads take the pixels in turn; where an operation needs a mean, the
extremes or a histogram of the image, they find these together, in a fixed order.
"""

import math

import numpy as np

from fastcnn_kernels.color import bounded
from fastcnn_kernels.color_cuda import flatten_channel
from fastcnn_kernels.cuda import THREADS, Shape, combine, cuda, cuda_function, cuda_kernel
from fastcnn_kernels.elementwise import larger, smaller
from fastcnn_kernels.policy import (
    AFFINE,
    AUTOCONTRAST,
    BINS,
    CONTRAST,
    CUTOUT,
    EQUALIZE,
    GREY,
    LINEAR,
    PAIR,
    POSTERIZE,
    SHARPNESS,
    SOLARIZE,
    away_from,
    blurred_at,
    grey_of,
    inverted_above,
    is_cut,
    mixed,
    stretched,
    without_lower_bits,
)
from fastcnn_kernels.reduction import plus
from fastcnn_kernels.resample import map_of_row, place_in_row
from fastcnn_kernels.resample_cuda import take_bilinear, take_nearest


@cuda_kernel(lambda x, code, numbers, y, histogram, bounds, g: Shape((g.n, 1, 1), THREADS))
def policy_step(x, code, numbers, y, histogram, bounds, g):
    """y[n] = the operation code[n] with numbers[n] of x[n].

    x (n, h w c), code (n,), numbers (n,8) -> y (n, h w c).  histogram (n,BINS) is working memory, bounds
    (low, high, fill, nearest) with nearest 1 where the affine operation takes the nearest pixel.
    """
    places = cuda.shared.array(THREADS, np.int32)
    partial = cuda.shared.array(THREADS, np.float64)
    n = cuda.blockIdx.x
    xs, ys, number, which = x[n], y[n], numbers[n], int(code[n])
    if which == CONTRAST:
        towards_mean(xs, float(number[0]), int(number[1]), ys, partial, bounds, g)
    elif which == AUTOCONTRAST:
        stretch(xs, ys, partial, bounds, g)
    elif which == EQUALIZE:
        for ch in range(g.c):
            flatten_channel(xs, ch, g.c, ys, histogram[n], places, bounds[0], bounds[1], BINS)
    elif which == PAIR:
        mix(xs, x[min(max(int(number[0]), 0), g.n - 1)], float(number[1]), ys)
    elif which == LINEAR or which == POSTERIZE or which == SOLARIZE:
        change_numbers(which, xs, float(number[0]), float(number[1]), ys, bounds)
    else:
        change_pixels(which, xs, number, ys, bounds, g)


@cuda_function
def mix(xs, others, weight, ys):
    """`mixed` of every number."""
    for i in range(cuda.threadIdx.x, xs.size, THREADS):
        ys[i] = mixed(xs[i], others[i], weight)


@cuda_function
def change_numbers(which, xs, a, b, ys, bounds):
    """Operations that need to know one number only."""
    step = 2.0 ** (8 - int(a)) if which == POSTERIZE else 1.0
    for i in range(cuda.threadIdx.x, xs.size, THREADS):
        if which == LINEAR:
            ys[i] = bounded(a * xs[i] + b, bounds[0], bounds[1])
        elif which == POSTERIZE:
            ys[i] = without_lower_bits(xs[i], step, bounds)
        else:
            ys[i] = inverted_above(xs[i], a, b, bounds)


@cuda_function
def change_pixels(which, xs, number, ys, bounds, g):
    """Operations that need to know a pixel, or some."""
    for pixel in range(cuda.threadIdx.x, g.h * g.w, THREADS):
        iy, ix, at = pixel // g.w, pixel % g.w, pixel * g.c
        if which == AFFINE:
            move(xs, number, iy, ix, ys, bounds, g)
        elif which == GREY:
            grey = grey_of(xs, at, g)
            for ch in range(g.c):
                ys[at + ch] = away_from(grey, float(number[0]), xs[at + ch], bounds)
        elif which == SHARPNESS:
            for ch in range(g.c):
                blurred = blurred_at(xs, iy, ix, ch, int(number[1]), g)
                ys[at + ch] = away_from(blurred, float(number[0]), xs[at + ch], bounds)
        else:
            cut = which == CUTOUT and is_cut(iy, ix, number)
            for ch in range(g.c):
                ys[at + ch] = bounds[2] if cut else xs[at + ch]


@cuda_function
def move(xs, transform, iy, ix, ys, bounds, g):
    """The pixel (iy, ix) along a projective map."""
    a0, a1, a2, b1, c0, c1 = map_of_row(transform, float(iy))
    sy, sx = place_in_row(a0, a1, a2, b1, c0, c1, float(ix))
    if bounds[3] > 0:
        take_nearest(xs, sy, sx, bounds[2], g, ys, (iy * g.w + ix) * g.c)
    else:
        take_bilinear(xs, sy, sx, bounds[2], g, ys, (iy * g.w + ix) * g.c)


# --- what all pixels decide ------------------------------------------------------------------------------------------


@cuda_function
def of_block(f, value, partial):
    """f of the values of all threads, which must all come here."""
    partial[cuda.threadIdx.x] = value
    combine(f, partial, 1)
    result = partial[0]
    cuda.syncthreads()
    return result


@cuda_function
def towards_mean(xs, factor, by_channel, ys, partial, bounds, g):
    """mean + factor (x - mean); the mean of the grey image, or of each channel."""
    pixels, total = g.h * g.w, 0.0
    for pixel in range(cuda.threadIdx.x, pixels, THREADS):
        total += grey_of(xs, pixel * g.c, g)
    total = of_block(plus, total, partial)
    for ch in range(g.c):
        if by_channel == 1:
            total = 0.0
            for pixel in range(cuda.threadIdx.x, pixels, THREADS):
                total += xs[pixel * g.c + ch]
            total = of_block(plus, total, partial)
        for pixel in range(cuda.threadIdx.x, pixels, THREADS):
            at = pixel * g.c + ch
            ys[at] = away_from(total / pixels, factor, xs[at], bounds)


@cuda_function
def stretch(xs, ys, partial, bounds, g):
    """Each channel so that its numbers reach from low to high; one number everywhere stays."""
    for ch in range(g.c):
        least, most = math.inf, -math.inf
        for at in range(cuda.threadIdx.x * g.c + ch, xs.size, THREADS * g.c):
            least, most = smaller(least, float(xs[at])), larger(most, float(xs[at]))
        least, most = of_block(smaller, least, partial), of_block(larger, most, partial)
        for at in range(cuda.threadIdx.x * g.c + ch, xs.size, THREADS * g.c):
            ys[at] = stretched(xs[at], least, most, bounds)
