"""Regions of feature maps at one size: by bilinear samples (align) or by the largest of rounded cells (pool).

x (n, h, w, c); regions (r, 5): image number, x1, y1, x2, y2, which `scale` turns into cells of the map; y (r, rows,
columns, c). A region of an image that does not exist, or with NaN, gives zeros. Forwards, an item is a region.
Backwards, an item is an image and a block of its channels: it adds up what all regions of the image contribute, in
their order, so nothing depends on threads.
"""

import math
from typing import NamedTuple

from fastcnn_kernels.jit import cpu_kernel, device_function, scalar

CHANNELS = 32  # of a backward's item
FAR = 1 << 20  # cells; coordinates beyond are cut, so that they fit an integer


class RegionGeometry(NamedTuple):
    """Output cells, and samples in each along both axes (of align)."""

    rows: int
    columns: int
    samples: int


@scalar
def channel_blocks(c):
    return (c + CHANNELS - 1) // CHANNELS


def each_region(x, regions, *others) -> int:
    """Work items of a forward."""
    return regions.shape[0]


def each_channel_block(dy, x, *others) -> int:
    """Work items of a backward, whose last array dx has the shape of x."""
    return x.shape[0] * -(-x.shape[3] // CHANNELS)


@scalar
def image_of(region, n):
    """The image of a region, -1 where there is none or the region is not a number."""
    total = region[0] + region[1] + region[2] + region[3] + region[4]
    return int(region[0]) if total == total and region[0] >= 0 and region[0] < n else -1


# --- align --------------------------------------------------------------------------------------------------


@scalar
def sample_of(at, n):
    """Between which two cells of n a coordinate lies, and the share of the second; -1 outside of the map."""
    if not (at >= -1 and at <= n):
        return -1, -1, 0.0
    at = max(at, 0.0)
    low = int(at)
    if low >= n - 1:
        return n - 1, n - 1, 0.0
    return low, low + 1, at - low


@scalar
def coordinate(first, last, cell, cells, sample, samples, scale, shift, least):
    """Where a sample of an output cell lies, in cells of the map."""
    start = first * scale - shift
    length = max(last * scale - shift - start, least)
    return start + length / cells * (cell + (sample + 0.5) / samples)


@device_function
def sample_weights(region, oy, ox, sy, sx, h, w, g, scale, shift, least):
    """The four cells and weights of a sample; the first row is -1 where it lies outside."""
    y = coordinate(region[2], region[4], oy, g.rows, sy, g.samples, scale, shift, least)
    x = coordinate(region[1], region[3], ox, g.columns, sx, g.samples, scale, shift, least)
    y1, y2, fy = sample_of(y, h)
    x1, x2, fx = sample_of(x, w)
    if y1 < 0 or x1 < 0:
        return -1, 0, 0, 0, 0.0, 0.0
    return y1, y2, x1, x2, fy, fx


@cpu_kernel(each_region)
def roi_align_forward(x, regions, y, scale, shift, least, g, first, last):
    """y = means of bilinear samples, g.samples^2 a cell.  He et al. 2017, Mask R-CNN, section 3.

    A region begins at its x1 scale - shift; it is at least `least` cells long.
    """
    share = x.dtype.type(1.0 / (g.samples * g.samples))
    for r in range(first, last):
        n = image_of(regions[r], x.shape[0])
        for oy in range(g.rows):
            for ox in range(g.columns):
                out = y[r, oy, ox]
                for c in range(out.size):
                    out[c] = 0
                if n < 0:
                    continue
                for sy in range(g.samples):
                    for sx in range(g.samples):
                        y1, y2, x1, x2, fy, fx = sample_weights(
                            regions[r], oy, ox, sy, sx, x.shape[1], x.shape[2], g, scale, shift, least
                        )
                        if y1 >= 0:
                            a, b = (
                                share * out.dtype.type((1 - fy) * (1 - fx)),
                                share * out.dtype.type((1 - fy) * fx),
                            )
                            d, e = share * out.dtype.type(fy * (1 - fx)), share * out.dtype.type(fy * fx)
                            p, q, s, t = x[n, y1, x1], x[n, y1, x2], x[n, y2, x1], x[n, y2, x2]
                            for c in range(out.size):
                                out[c] += a * p[c] + b * q[c] + d * s[c] + e * t[c]


@device_function
def add_sample(dy, region, dx, lo, hi, oy, ox, sy, sx, scale, shift, least, g):
    """What one sample hands to four cells of dx (h, w, c), channels [lo, hi)."""
    y1, y2, x1, x2, fy, fx = sample_weights(
        region, oy, ox, sy, sx, dx.shape[0], dx.shape[1], g, scale, shift, least
    )
    if y1 >= 0:
        share = dy.dtype.type(1.0 / (g.samples * g.samples))
        a, b = share * dy.dtype.type((1 - fy) * (1 - fx)), share * dy.dtype.type((1 - fy) * fx)
        d, e = share * dy.dtype.type(fy * (1 - fx)), share * dy.dtype.type(fy * fx)
        for c in range(lo, hi):
            dx[y1, x1, c] += a * dy[c]
            dx[y1, x2, c] += b * dy[c]
            dx[y2, x1, c] += d * dy[c]
            dx[y2, x2, c] += e * dy[c]


@device_function
def clear_channels(dx, lo, hi):
    """dx[..., lo:hi] = 0."""
    for i in range(dx.shape[0]):
        for j in range(dx.shape[1]):
            for c in range(lo, hi):
                dx[i, j, c] = 0


@cpu_kernel(each_channel_block)
def roi_align_backward(dy, dx, regions, scale, shift, least, g, first, last):
    """dx = what the means hand back to the cells that they were made of."""
    blocks = channel_blocks(dx.shape[3])
    for item in range(first, last):
        n, lo = item // blocks, item % blocks * CHANNELS
        hi = min(lo + CHANNELS, dx.shape[3])
        clear_channels(dx[n], lo, hi)
        for r in range(regions.shape[0]):
            if image_of(regions[r], dx.shape[0]) != n:
                continue
            for oy in range(g.rows):
                for ox in range(g.columns):
                    for sy in range(g.samples):
                        for sx in range(g.samples):
                            add_sample(
                                dy[r, oy, ox],
                                regions[r],
                                dx[n],
                                lo,
                                hi,
                                oy,
                                ox,
                                sy,
                                sx,
                                scale,
                                shift,
                                least,
                                g,
                            )


# --- pool ---------------------------------------------------------------------------------------------------


@scalar
def rounded(value):
    """The nearest whole number, halves upwards, within bounds."""
    return int(math.floor(min(max(value, -FAR), FAR) + 0.5))


@scalar
def cells_of(first, last, scale, cell, cells, n):
    """The range of cells of the map that an output cell covers."""
    start = rounded(first * scale)
    length = max(rounded(last * scale) - start + 1, 1)
    lo, hi = start + cell * length // cells, start - (-(cell + 1) * length // cells)
    return min(max(lo, 0), n), min(max(hi, 0), n)


@device_function
def largest_of(x, i1, i2, j1, j2, c):
    """The place of the first of the largest numbers of channel c in a window of (h, w, c); NaN counts as largest."""
    bi, bj = i1, j1
    for i in range(i1, i2):
        for j in range(j1, j2):
            if x[i, j, c] > x[bi, bj, c] or (x[i, j, c] != x[i, j, c] and x[bi, bj, c] == x[bi, bj, c]):
                bi, bj = i, j
    return bi, bj


@cpu_kernel(each_region)
def roi_pool_forward(x, regions, y, scale, g, first, last):
    """y = maxima of cells that regions, rounded to whole cells, are divided into; 0 where a cell is empty.

    Girshick 2015, Fast R-CNN, section 2.1.
    """
    for r in range(first, last):
        n, region = image_of(regions[r], x.shape[0]), regions[r]
        for oy in range(g.rows):
            for ox in range(g.columns):
                out = y[r, oy, ox]
                for c in range(out.size):
                    out[c] = 0
                if n < 0:
                    continue
                i1, i2 = cells_of(region[2], region[4], scale, oy, g.rows, x.shape[1])
                j1, j2 = cells_of(region[1], region[3], scale, ox, g.columns, x.shape[2])
                if i1 < i2 and j1 < j2:
                    for c in range(out.size):
                        i, j = largest_of(x[n], i1, i2, j1, j2, c)
                        out[c] = x[n, i, j, c]


@cpu_kernel(each_channel_block)
def roi_pool_backward(dy, x, dx, regions, scale, g, first, last):
    """dx: the gradient of a maximum goes to the first cell that has it."""
    blocks = channel_blocks(dx.shape[3])
    for item in range(first, last):
        n, lo = item // blocks, item % blocks * CHANNELS
        hi = min(lo + CHANNELS, dx.shape[3])
        clear_channels(dx[n], lo, hi)
        for r in range(regions.shape[0]):
            region = regions[r]
            if image_of(region, dx.shape[0]) != n:
                continue
            for oy in range(g.rows):
                for ox in range(g.columns):
                    i1, i2 = cells_of(region[2], region[4], scale, oy, g.rows, x.shape[1])
                    j1, j2 = cells_of(region[1], region[3], scale, ox, g.columns, x.shape[2])
                    if i1 < i2 and j1 < j2:
                        for c in range(lo, hi):
                            i, j = largest_of(x[n], i1, i2, j1, j2, c)
                            dx[n, i, j, c] += dy[r, oy, ox, c]
