"""Depthwise convolutions on a CUDA device. Neighbouring threads have neighbouring channels; the arrays are those of
`depthwise.py`: x (n, h, w, c), weights (mult, kh, kw, c), y (mult, n, oh, ow, c).
"""

import numpy as np

from fastcnn_kernels.cuda import (
    SIMULATED,
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
)
from fastcnn_kernels.moments_cuda import keep_moments
from fastcnn_kernels.reduction import chunk_range, plus

PIXELS = 8 if SIMULATED else 128  # of a part whose moments are kept
SHARED = 4 * THREADS


@cuda_function
def forward_element(x, weight, bias, y, bound, g, e):
    """y[e], of m, n, oy, ox, c."""
    c, ox, line = e % g.c, e // g.c % g.ow, e // g.c // g.ow
    oy, n, m = line % g.oh, line // g.oh % g.n, line // g.oh // g.n
    top, left = oy * g.sh - g.pt, ox * g.sw - g.pl
    total = bias[m * g.c + c] if bias.size > 0 else x.dtype.type(0)
    for ky in range(g.kh):
        iy = top + ky * g.dh
        if 0 <= iy and iy < g.h:
            for kx in range(g.kw):
                ix = left + kx * g.dw
                if 0 <= ix and ix < g.w:
                    w = weight[((m * g.kh + ky) * g.kw + kx) * g.c + c]
                    total += x[((n * g.h + iy) * g.w + ix) * g.c + c] * w
    y[e] = bound if total < bound else total  # NaN stays NaN


@cuda_kernel(lambda x, weight, bias, y, lower, g: elements(y.size), flatten=True)
def depthwise_forward(x, weight, bias, y, lower, g):
    """y[m,n,oy,ox,c] = max(sum over ky,kx of x[n,iy,ix,c] w[m,ky,kx,c] + bias[m,c], lower).

    x (n,h,w,c), weight (mult,kh,kw,c), bias (mult,c) or empty -> y (mult,n,oh,ow,c). lower may be -inf.
    """
    bound = x.dtype.type(lower)
    for e in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        forward_element(x, weight, bias, y, bound, g, e)


def _pixel_blocks(g) -> int:
    return covering(g.n * g.oh * g.ow, PIXELS)


def _moments_shape(x, weight, bias, moments, y, lower, g) -> Shape:
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
            forward_element(x, weight, bias, y, bound, g, at + r * g.c + j)
    keep_moments(shared, y, at, rows, g.c, width, g.c - first, moments, cuda.blockIdx.x, first)


@cuda_kernel(lambda dy, weight, dx, g: elements(dx.size), flatten=True)
def depthwise_backward_data(dy, weight, dx, g):
    """dx[n,iy,ix,c] = sum over ky,kx,m of dy[m,n,oy,ox,c] w[m,ky,kx,c].

    dy (mult,n,oh,ow,c), weight (mult,kh,kw,c) -> dx (n,h,w,c).
    """
    for e in range(cuda.grid(1), dx.size, cuda.gridsize(1)):
        c, ix, line = e % g.c, e // g.c % g.w, e // g.c // g.w
        iy, n, total = line % g.h, line // g.h, dx.dtype.type(0)
        for m in range(g.f // g.c):
            for ky in range(g.kh):
                ty = iy + g.pt - ky * g.dh
                if 0 <= ty and ty < g.oh * g.sh and ty % g.sh == 0:
                    for kx in range(g.kw):
                        tx = ix + g.pl - kx * g.dw
                        if 0 <= tx and tx < g.ow * g.sw and tx % g.sw == 0:
                            pixel = ((m * g.n + n) * g.oh + ty // g.sh) * g.ow + tx // g.sw
                            total += dy[pixel * g.c + c] * weight[((m * g.kh + ky) * g.kw + kx) * g.c + c]
        dx[e] = total


def _weights_shape(x, dy, partials, g) -> Shape:
    parts = partials.size // (g.kh * g.kw * g.f)
    width = THREADS // lanes_for(covering(g.n * g.oh * g.ow, parts), g.c)
    return Shape((parts, covering(g.c, width), g.kh * g.kw * (g.f // g.c)), THREADS)


@cuda_kernel(_weights_shape, flatten=True)
def depthwise_backward_weights(x, dy, partials, g):
    """partials[part] = sum over the pixels n,oy,ox of a part of x[n,iy,ix,c] dy[m,n,oy,ox,c], at [m,ky,kx,c].

    x (n,h,w,c), dy (mult,n,oh,ow,c) -> partials (parts, mult*kh*kw*c); their sum is the gradient of the weights.
    A block has one part, one tap and some channels; its threads stand in lanes (`cuda.py`).
    """
    shared = cuda.shared.array(THREADS, np.float64)
    parts, pixels = partials.size // (g.kh * g.kw * g.f), g.n * g.oh * g.ow
    lanes = lanes_of((pixels + parts - 1) // parts, g.c)
    width, thread, part = THREADS // lanes, cuda.threadIdx.x, cuda.blockIdx.x
    c, m, tap = (
        cuda.blockIdx.y * width + thread % width,
        cuda.blockIdx.z // (g.kh * g.kw),
        cuda.blockIdx.z % (g.kh * g.kw),
    )
    first, last = chunk_range(part, parts, pixels)
    total = 0.0
    if c < g.c:
        for p in range(first + thread // width, last, lanes):
            ox, line = p % g.ow, p // g.ow
            oy, n = line % g.oh, line // g.oh
            iy, ix = oy * g.sh - g.pt + tap // g.kw * g.dh, ox * g.sw - g.pl + tap % g.kw * g.dw
            if 0 <= iy and iy < g.h and 0 <= ix and ix < g.w:
                total += np.float64(x[((n * g.h + iy) * g.w + ix) * g.c + c] * dy[(m * pixels + p) * g.c + c])
    shared[thread] = total
    combine(plus, shared, width)
    if thread < width and c < g.c:
        partials[(part * g.kh * g.kw * (g.f // g.c) + cuda.blockIdx.z) * g.c + c] = shared[thread]


@cuda_kernel(lambda x, planes: elements(x.size))
def split_planes(x, planes):
    """planes[m, r] = x[r, m].  x (rows, mult) -> planes (mult, rows)."""
    for e in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        planes[e % x.shape[1], e // x.shape[1]] = x[e // x.shape[1], e % x.shape[1]]


@cuda_kernel(lambda planes, x: elements(x.size))
def join_planes(planes, x):
    """x[r, m] = planes[m, r].  planes (mult, rows) -> x (rows, mult)."""
    for e in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        x[e // x.shape[1], e % x.shape[1]] = planes[e % x.shape[1], e // x.shape[1]]
