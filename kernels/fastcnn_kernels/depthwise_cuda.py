"""Depthwise convolutions on a CUDA device. Neighbouring threads have neighbouring channels; the arrays are those of
`depthwise.py`: x (n, h, w, c), weights (mult, kh, kw, c), y (mult, n, oh, ow, c).
"""

import numpy as np

from fastcnn_kernels.conv_cuda import advanced, pixel_of, pixel_seen
from fastcnn_kernels.cuda import (
    FILLING,
    SIMULATED,
    THREADS,
    WARP,
    Shape,
    check_counts,
    combine,
    covering,
    cuda,
    cuda_function,
    cuda_kernel,
    elements,
    lanes_for,
    lanes_of,
    lines,
)
from fastcnn_kernels.cuda_intrinsics import add_int32, divided, is_inside, load_one, multiply_add
from fastcnn_kernels.moments_cuda import keep_moments
from fastcnn_kernels.reduction import plus
from fastcnn_kernels.reduction_cuda import rows_of_chunk

PIXELS = 8 if SIMULATED else 128  # of a part whose moments are kept
SHARED = 4 * THREADS


@cuda_function
def filtered(x, weight, bias, bound, g, m, n, oy, ox, c):
    """The result of a pixel and channel."""
    top, left = oy * g.sh - g.pt, ox * g.sw - g.pl
    total = bias[m * g.c + c] if bias.size > 0 else x.dtype.type(0)
    for ky in range(g.kh):
        if is_inside(top, ky * g.dh, g.h):
            row, tap = (n * g.h + top + ky * g.dh) * g.w + left, (m * g.kh + ky) * g.kw
            for kx in range(g.kw):
                if is_inside(left, kx * g.dw, g.w):
                    seen = load_one(x, multiply_add(add_int32(row, kx * g.dw), g.c, c))
                    total += seen * load_one(weight, multiply_add(add_int32(tap, kx), g.c, c))
    return bound if total < bound else total  # NaN stays NaN


def _output_lines(x, weight, bias, y, lower, g) -> Shape:
    check_counts(g.n * g.h * g.w, g.f // g.c * g.n * g.oh * g.ow)
    return lines(g.f // g.c * g.n * g.oh, g.ow * g.c)


def _input_lines(dy, weight, dx, g) -> Shape:
    check_counts(g.n * g.h * g.w, g.f // g.c * g.n * g.oh * g.ow)
    return lines(g.n * g.h, g.w * g.c)


@cuda_kernel(_output_lines, flatten=True)
def depthwise_forward(x, weight, bias, y, lower, g):
    """y[m,n,oy,ox,c] = max(sum over ky,kx of x[n,iy,ix,c] w[m,ky,kx,c] + bias[m,c], lower).

    x (n,h,w,c), weight (mult,kh,kw,c), bias (mult,c) or empty -> y (mult,n,oh,ow,c). lower may be -inf.
    """
    bound, line, length = x.dtype.type(lower), cuda.blockIdx.x, g.ow * g.c
    image, oy = divided(line, g.oh)
    m, n = divided(image, g.n)
    for e in range(cuda.threadIdx.x, length, cuda.blockDim.x):
        ox, c = divided(e, g.c)
        y[line * length + e] = filtered(x, weight, bias, bound, g, m, n, oy, ox, c)


def _pixel_blocks(g) -> int:
    return covering(g.n * g.oh * g.ow, PIXELS)


def _moments_shape(x, weight, bias, moments, y, lower, g) -> Shape:
    check_counts(g.n * g.h * g.w, g.n * g.oh * g.ow)
    width = THREADS // lanes_for(PIXELS, g.c)
    return Shape((_pixel_blocks(g), covering(g.c, width), 1), THREADS)


@cuda_kernel(_moments_shape, flatten=True, parts=_pixel_blocks)
def depthwise_forward_moments(x, weight, bias, moments, y, lower, g):
    """`depthwise_forward` with mult = 1, and the moments of y, (parts,3,c) float64, for `combine_moments`."""
    shared = cuda.shared.array(SHARED, x.dtype)
    lanes = lanes_of(PIXELS, g.c)
    width, bound, top = THREADS // lanes, x.dtype.type(lower), cuda.blockIdx.x * PIXELS
    j, lane, first = cuda.threadIdx.x % width, cuda.threadIdx.x // width, cuda.blockIdx.y * width
    rows, at = min(g.n * g.oh * g.ow - top, PIXELS), top * g.c + first
    if first + j < g.c:
        for r in range(lane, rows, lanes):
            n, oy, ox = pixel_of(top + r, g)
            value = filtered(x, weight, bias, bound, g, 0, n, oy, ox, first + j)
            y[at + r * g.c + j] = value
    keep_moments(shared, y, at, rows, g.c, width, g.c - first, moments, cuda.blockIdx.x, first)


@cuda_function
def window_at(start, stride, count):
    """Which of `count` windows begins there; -1 if none does. Most strides are 1, and divisions take long."""
    if not is_inside(start, 0, count * stride):
        return -1
    if stride == 1:
        return start
    window, rest = divided(start, stride)
    return window if rest == 0 else -1


@cuda_kernel(_input_lines, flatten=True)
def depthwise_backward_data(dy, weight, dx, g):
    """dx[n,iy,ix,c] = sum over ky,kx,m of dy[m,n,oy,ox,c] w[m,ky,kx,c].

    dy (mult,n,oh,ow,c), weight (mult,kh,kw,c) -> dx (n,h,w,c).
    """
    line, length = cuda.blockIdx.x, g.w * g.c
    n, iy = divided(line, g.h)
    for e in range(cuda.threadIdx.x, length, cuda.blockDim.x):
        (ix, c), total = divided(e, g.c), dx.dtype.type(0)
        for m in range(divided(g.f, g.c)[0]):
            for ky in range(g.kh):
                oy = window_at(iy + g.pt - ky * g.dh, g.sh, g.oh)
                if oy >= 0:
                    row, tap = ((m * g.n + n) * g.oh + oy) * g.ow, (m * g.kh + ky) * g.kw
                    for kx in range(g.kw):
                        ox = window_at(ix + g.pl - kx * g.dw, g.sw, g.ow)
                        if ox >= 0:
                            gradient = load_one(dy, multiply_add(add_int32(row, ox), g.c, c))
                            total += gradient * load_one(weight, multiply_add(add_int32(tap, kx), g.c, c))
        dx[line * length + e] = total


def _weights_shape(x, dy, partials, g) -> Shape:
    check_counts(g.n * g.h * g.w, g.n * g.oh * g.ow)
    parts = partials.size // (g.kh * g.kw * g.f)
    width = THREADS // lanes_for(covering(g.n * g.oh * g.ow, parts), g.c)
    return Shape((parts, covering(g.c, width), g.kh * g.kw * (g.f // g.c)), THREADS)


def _weight_parts(g) -> int:
    """Blocks are small: a device holds four times as many as of tiles. A part has some pixels for each thread."""
    blocks = covering(g.c, WARP) * g.kh * g.kw * (g.f // g.c)
    return max(1, min(4 * FILLING // blocks, g.n * g.oh * g.ow // THREADS))


@cuda_kernel(_weights_shape, flatten=True, parts=_weight_parts)
def depthwise_backward_weights(x, dy, partials, g):
    """partials[part] = sum over the pixels n,oy,ox of a part of x[n,iy,ix,c] dy[m,n,oy,ox,c], at [m,ky,kx,c].

    x (n,h,w,c), dy (mult,n,oh,ow,c) -> partials (parts, mult*kh*kw*c); their sum is the gradient of the weights.
    A block has one part, one tap and some channels; its threads stand in lanes (`cuda.py`).
    """
    shared = cuda.shared.array(THREADS, np.float64)
    parts, pixels = partials.size // (g.kh * g.kw * g.f), g.n * g.oh * g.ow
    lanes = lanes_of(divided(pixels + parts - 1, parts)[0], g.c)
    width, thread, part = THREADS // lanes, cuda.threadIdx.x, cuda.blockIdx.x
    c, m, tap = (
        cuda.blockIdx.y * width + thread % width,
        cuda.blockIdx.z // (g.kh * g.kw),
        cuda.blockIdx.z % (g.kh * g.kw),
    )
    first, last = rows_of_chunk(part, parts, pixels)
    total = 0.0
    if c < g.c:
        p = first + thread // width
        down, right = tap // g.kw * g.dh - g.pt, tap % g.kw * g.dw - g.pl
        n, oy, ox = pixel_of(p, g)
        while p < last:
            inside, seen = pixel_seen(n, oy, ox, down, right, g)
            if inside:
                total += np.float64(x[multiply_add(seen, g.c, c)] * dy[(m * pixels + p) * g.c + c])
            p += lanes
            n, oy, ox = advanced(n, oy, ox, lanes, g.oh, g.ow)
    shared[thread] = total
    combine(plus, shared, width)
    if thread < width and c < g.c:
        partials[(part * g.kh * g.kw * (g.f // g.c) + cuda.blockIdx.z) * g.c + c] = shared[thread]


@cuda_kernel(lambda x, planes: elements(x.size))
def split_planes(x, planes):
    """planes[m, r] = x[r, m].  x (rows, mult) -> planes (mult, rows)."""
    e = cuda.grid(1)
    if e < x.size:
        planes[e % x.shape[1], e // x.shape[1]] = x[e // x.shape[1], e % x.shape[1]]


@cuda_kernel(lambda planes, x: elements(x.size))
def join_planes(planes, x):
    """x[r, m] = planes[m, r].  planes (mult, rows) -> x (rows, mult)."""
    e = cuda.grid(1)
    if e < x.size:
        x[e // x.shape[1], e % x.shape[1]] = planes[e % x.shape[1], e // x.shape[1]]
