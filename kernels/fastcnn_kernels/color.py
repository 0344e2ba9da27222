"""Pixels changed one by one: colours mixed by a matrix an image, hue and saturation, histograms made flat.

Images are (n, p, c) with p = h w pixels. What is read may be of any numbers, bytes too; what is written is floating.
"""

import math
from typing import NamedTuple

from fastcnn_kernels.jit import cpu_kernel, device_function, scalar

PIXELS = 1024  # of one work item


class PixelGeometry(NamedTuple):
    """n images of p pixels of c channels, d channels in the result."""

    n: int
    p: int
    c: int
    d: int


def pixel_items(g):
    """Work items of a kernel that does PIXELS pixels of an image in each."""
    return g.n * ((g.p + PIXELS - 1) // PIXELS)


@scalar
def pixel_span(item, g):
    """(image, first pixel, last pixel + 1) of a work item."""
    blocks = (g.p + PIXELS - 1) // PIXELS
    start = item % blocks * PIXELS
    return item // blocks, start, min(start + PIXELS, g.p)


@scalar
def bounded(x, low, high):
    """The number in [low, high] nearest to x; NaN stays."""
    return low if x < low else (high if x > high else x)


@cpu_kernel(lambda x, matrix, y, low, high, g: pixel_items(g))
def color_matrix(x, matrix, y, low, high, g, first, last):
    """y[n,p,j] = sum_i matrix[n,j,i] x[n,p,i] + matrix[n,j,c], kept in [low, high].

    x (n,p,c), matrix (n,d,c+1) -> y (n,p,d).  Its gradient is the same with the transposed matrix.
    """
    for item in range(first, last):
        n, start, stop = pixel_span(item, g)
        if g.c == 3 and g.d == 3:
            mix_three(x[n, start:stop], matrix[n], y[n, start:stop], low, high)
        else:
            mix_colors(x[n, start:stop], matrix[n], y[n, start:stop], low, high, g)


@device_function
def mix_three(xs, m, ys, low, high):
    """`color_matrix` for pixels of three channels."""
    number = ys.dtype.type
    lo, hi = number(low), number(high)
    m00, m01, m02, m03 = m[0, 0], m[0, 1], m[0, 2], m[0, 3]
    m10, m11, m12, m13 = m[1, 0], m[1, 1], m[1, 2], m[1, 3]
    m20, m21, m22, m23 = m[2, 0], m[2, 1], m[2, 2], m[2, 3]
    for p in range(len(xs)):
        r, g, b = number(xs[p, 0]), number(xs[p, 1]), number(xs[p, 2])
        ys[p, 0] = bounded(m00 * r + m01 * g + m02 * b + m03, lo, hi)
        ys[p, 1] = bounded(m10 * r + m11 * g + m12 * b + m13, lo, hi)
        ys[p, 2] = bounded(m20 * r + m21 * g + m22 * b + m23, lo, hi)


@device_function
def mix_colors(xs, m, ys, low, high, g):
    """`color_matrix` for pixels of any number of channels."""
    number = ys.dtype.type
    for p in range(len(xs)):
        for j in range(g.d):
            total = m[j, g.c]
            for i in range(g.c):
                total += m[j, i] * number(xs[p, i])
            ys[p, j] = bounded(total, number(low), number(high))


@scalar
def hue_saturation_value(r, g, b):
    """Hue in [0, 1), saturation in [0, 1] and value, the largest of red, green and blue (Smith 1978)."""
    value = max(r, max(g, b))
    span = value - min(r, min(g, b))
    if span == 0:
        return span, span, value
    if value == r:
        sixths = (g - b) / span
    elif value == g:
        sixths = (b - r) / span + 2
    else:
        sixths = (r - g) / span + 4
    hue = sixths / 6
    return hue - math.floor(hue), span / value, value


@scalar
def share_of_hue(hue, offset):
    """What of the saturation is taken from red (offset 5/6), green (3/6) or blue (1/6), from 0 to 1."""
    k = (hue + offset) * 6
    k -= math.floor(k / 6) * 6
    return max(type(hue)(0), min(type(hue)(1), min(k, 4 - k)))


@cpu_kernel(lambda x, shift, scale, y, most, g: pixel_items(g))
def hue_saturation(x, shift, scale, y, most, g, first, last):
    """Colours with hue + shift[n], in turns, and min(saturation scale[n], most).  x (n,p,3), shift, scale (n,)."""
    number = y.dtype.type
    for item in range(first, last):
        n, start, stop = pixel_span(item, g)
        for p in range(start, stop):
            hue, saturation, value = hue_saturation_value(
                number(x[n, p, 0]), number(x[n, p, 1]), number(x[n, p, 2])
            )
            hue += shift[n]
            part = value * bounded(saturation * scale[n], number(0), number(most))
            y[n, p, 0] = value - part * share_of_hue(hue, number(5 / 6))
            y[n, p, 1] = value - part * share_of_hue(hue, number(3 / 6))
            y[n, p, 2] = value - part * share_of_hue(hue, number(1 / 6))


@cpu_kernel(lambda x, y, histogram, low, high, bins, g: g.n * g.c)
def equalize(x, y, histogram, low, high, bins, g, first, last):
    """Each channel of each image with the darkest number moved to 0, the lightest to 255, all others by their rank.

    Numbers from low to high fall into `bins` bins; those of bin k become 255 (cdf[k] - cdf_min) / (cdf_max - cdf_min),
    rounded, in the scale of low to high. A channel of one bin stays.  histogram (n c, bins) is working memory.
    """
    number = y.dtype.type
    to_bytes = 255.0 / (high - low)
    for item in range(first, last):
        n, ch = item // g.c, item % g.c
        counts = histogram[item]
        filled = count_bins(x[n], ch, counts, low, to_bytes, bins)
        if filled > 1:
            ranks_of(counts, bins)
        for p in range(g.p):
            if filled > 1:
                y[n, p, ch] = number(counts[bin_of(x[n, p, ch], low, to_bytes, bins)] / to_bytes + low)
            else:
                y[n, p, ch] = number(x[n, p, ch])


@scalar
def bin_of(x, low, to_bytes, bins):
    """The number of the bin that x falls into; NaN into the first."""
    place = bounded((float(x) - low) * to_bytes * (bins - 1) / 255.0, 0.0, bins - 1.0)
    return int(place) if place == place else 0


@device_function
def count_bins(xs, ch, counts, low, to_bytes, bins):
    """counts[k] = how many numbers of the channel fall into bin k; returns how many bins are not empty."""
    for k in range(bins):
        counts[k] = 0
    for p in range(len(xs)):
        counts[bin_of(xs[p, ch], low, to_bytes, bins)] += 1
    filled = 0
    for k in range(bins):
        filled += 1 if counts[k] > 0 else 0
    return filled


@device_function
def ranks_of(counts, bins):
    """counts[k] = 255 (cdf[k] - cdf_min) / (cdf_max - cdf_min), rounded to even, in place."""
    total, least = 0, 0
    for k in range(bins):
        total += counts[k]
        counts[k] = total
        least = total if least == 0 else least
    for k in range(bins):
        rank = max(counts[k] - least, 0) * 255 / (total - least)
        below = int(rank)
        rest = rank - below
        counts[k] = below + (1 if rest > 0.5 or (rest == 0.5 and below % 2 == 1) else 0)
