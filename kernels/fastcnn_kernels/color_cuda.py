"""Pixels changed one by one on a CUDA device: the kernels of `color.py`, a thread a pixel.

Histograms are made by a block a channel. Each of its threads owns some bins, and alone counts what falls into them.
"""

import numpy as np

from fastcnn_kernels.color import bin_of, bounded, cut_counts, mix_tables, ranks_of, sum_counts, turned
from fastcnn_kernels.cuda import THREADS, Shape, cuda, cuda_function, cuda_kernel, elements
from fastcnn_kernels.resample import SYMMETRIC, border_index


@cuda_kernel(lambda x, matrix, y, low, high, g: elements(g.n * g.p))
def color_matrix(x, matrix, y, low, high, g):
    """y[n,p,j] = sum_i matrix[n,j,i] x[n,p,i] + matrix[n,j,c], kept in [low, high].

    x (n,p,c), matrix (n,d,c+1) -> y (n,p,d).
    """
    number = y.dtype.type
    e = cuda.grid(1)
    if e < g.n * g.p:
        n, p = e // g.p, e % g.p
        for j in range(g.d):
            total = matrix[n, j, g.c]
            for i in range(g.c):
                total += matrix[n, j, i] * number(x[n, p, i])
            y[n, p, j] = bounded(total, number(low), number(high))


@cuda_kernel(lambda x, shift, scale, y, most, g: elements(g.n * g.p))
def hue_saturation(x, shift, scale, y, most, g):
    """Colours with hue + shift[n], in turns, and min(saturation scale[n], most).  x (n,p,3), shift, scale (n,)."""
    number = y.dtype.type
    e = cuda.grid(1)
    if e < g.n * g.p:
        n, p = e // g.p, e % g.p
        red, green, blue = number(x[n, p, 0]), number(x[n, p, 1]), number(x[n, p, 2])
        y[n, p, 0], y[n, p, 1], y[n, p, 2] = turned(red, green, blue, shift[n], scale[n], number(most))


@cuda_function
def histogram_of(xs, ch, channels, counts, places, low, to_bytes, bins):
    """counts[k] = how many numbers of channel ch of an image (p c,) fall into bin k; returns how many are not empty.

    Every thread of the block must come here. places (THREADS,) is shared: the bins of as many numbers, of which each
    thread counts those that it owns.
    """
    thread, pixels, filled = cuda.threadIdx.x, xs.size // channels, 0
    for k in range(thread, bins, THREADS):
        counts[k] = 0
    for start in range(0, pixels, THREADS):
        here = min(THREADS, pixels - start)
        if thread < here:
            places[thread] = bin_of(xs[(start + thread) * channels + ch], low, to_bytes, bins)
        cuda.syncthreads()
        for i in range(here):
            if places[i] % THREADS == thread:
                counts[places[i]] += 1
        cuda.syncthreads()
    for k in range(bins):
        filled += 1 if counts[k] > 0 else 0
    return filled


@cuda_function
def flatten_channel(xs, ch, channels, ys, counts, places, low, high, bins):
    """One channel of `equalize`, by a block: xs, ys (p c,) are an image."""
    number, to_bytes = ys.dtype.type, 255.0 / (high - low)
    filled = histogram_of(xs, ch, channels, counts, places, low, to_bytes, bins)
    cuda.syncthreads()
    if filled > 1 and cuda.threadIdx.x == 0:
        ranks_of(counts, bins)
    cuda.syncthreads()
    for at in range(cuda.threadIdx.x * channels + ch, xs.size, THREADS * channels):
        rank = counts[bin_of(xs[at], low, to_bytes, bins)]
        ys[at] = number(rank / to_bytes + low) if filled > 1 else number(xs[at])
    cuda.syncthreads()


@cuda_kernel(lambda x, y, histogram, low, high, bins, g: Shape((g.n * g.c, 1, 1), THREADS), flatten=True)
def equalize(x, y, histogram, low, high, bins, g):
    """Each channel of each image with the darkest number moved to 0, the lightest to 255, all others by their rank.

    Numbers from low to high fall into `bins` bins; those of bin k become 255 (cdf[k] - cdf_min) / (cdf_max - cdf_min),
    rounded, in the scale of low to high. A channel of one bin stays.  histogram (n c, bins) is working memory.
    """
    places = cuda.shared.array(THREADS, np.int32)
    item, size = cuda.blockIdx.x, g.p * g.c
    start = item // g.c * size
    xs, ys, counts = (
        x[start : start + size],
        y[start : start + size],
        histogram[item * bins : (item + 1) * bins],
    )
    flatten_channel(xs, item % g.c, g.c, ys, counts, places, low, high, bins)


@cuda_kernel(lambda x, tables, low, high, limit, g: Shape((g.n * g.c * g.rows * g.columns, 1, 1), THREADS))
def clahe_tables(x, tables, low, high, limit, g):
    """tables[tile, k] = what numbers of bin k become in a tile, from 0 to 255, by a block a tile.  x (n,h,w,c)."""
    places = cuda.shared.array(THREADS, np.int32)
    item, thread, to_bytes, area = cuda.blockIdx.x, cuda.threadIdx.x, 255.0 / (high - low), g.th * g.tw
    tile, of_channel = item % (g.rows * g.columns), item // (g.rows * g.columns)
    n, ch, top, left = of_channel // g.c, of_channel % g.c, tile // g.columns * g.th, tile % g.columns * g.tw
    for k in range(thread, g.bins, THREADS):
        tables[item, k] = 0
    for start in range(0, area, THREADS):
        here, pixel = min(THREADS, area - start), start + thread
        if thread < here:
            iy = border_index(top + pixel // g.tw, g.h, SYMMETRIC)
            ix = border_index(left + pixel % g.tw, g.w, SYMMETRIC)
            places[thread] = bin_of(x[n, iy, ix, ch], low, to_bytes, g.bins)
        cuda.syncthreads()
        for i in range(here):
            if places[i] % THREADS == thread:
                tables[item, places[i]] += 1
        cuda.syncthreads()
    if thread == 0:
        cut_counts(tables[item], limit * area / g.bins, g.bins)
        sum_counts(tables[item], area, g.bins)


@cuda_kernel(lambda x, tables, y, low, high, g: elements(g.n * g.h * g.w))
def clahe(x, tables, y, low, high, g):
    """y = what the tables of the four nearest tiles make of x, mixed by their distances.  x, y (n,h,w,c)."""
    e = cuda.grid(1)
    if e < g.n * g.h * g.w:
        line = e // g.w
        mix_tables(x, tables, y, line // g.h, line % g.h, e % g.w, low, 255.0 / (high - low), g)
