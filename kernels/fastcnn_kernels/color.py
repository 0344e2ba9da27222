"""Pixels changed one by one: colours mixed by a matrix an image, hue and saturation, histograms made flat.

Images are (n, p, c) with p = h w pixels. What is read may be of any numbers, bytes too; what is written is floating.
"""

import math
from typing import NamedTuple

import numpy as np

from fastcnn_kernels.jit import cpu_kernel, device_function, scalar, stack_array
from fastcnn_kernels.resample import SYMMETRIC, border_index

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
    number = y.dtype.type
    red, green, blue = stack_array(y, PIXELS), stack_array(y, PIXELS), stack_array(y, PIXELS)
    for item in range(first, last):
        n, start, stop = pixel_span(item, g)
        xs, ys = x[n, start:stop], y[n, start:stop]
        if g.c == 3 and g.d == 3:
            r, g_, b = red[: stop - start], green[: stop - start], blue[: stop - start]
            take_apart(xs, r, g_, b)
            mix_three(r, g_, b, matrix[n], number(low), number(high))
            put_together(r, g_, b, ys)
        else:
            mix_colors(xs, matrix[n], ys, low, high, g)


@device_function
def take_apart(xs, r, g, b):
    """Channels of pixels (p,3) that lie apart: what vectors want."""
    for p in range(r.size):
        r[p], g[p], b[p] = xs[p, 0], xs[p, 1], xs[p, 2]


@device_function
def put_together(r, g, b, ys):
    """What `take_apart` undoes."""
    for p in range(r.size):
        ys[p, 0], ys[p, 1], ys[p, 2] = r[p], g[p], b[p]


@device_function
def mix_three(r, g, b, m, low, high):
    """`color_matrix` in place, of three channels that lie apart."""
    m00, m01, m02, m03 = m[0, 0], m[0, 1], m[0, 2], m[0, 3]
    m10, m11, m12, m13 = m[1, 0], m[1, 1], m[1, 2], m[1, 3]
    m20, m21, m22, m23 = m[2, 0], m[2, 1], m[2, 2], m[2, 3]
    for p in range(r.size):
        first, second, third = r[p], g[p], b[p]
        r[p] = bounded(m00 * first + m01 * second + m02 * third + m03, low, high)
        g[p] = bounded(m10 * first + m11 * second + m12 * third + m13, low, high)
        b[p] = bounded(m20 * first + m21 * second + m22 * third + m23, low, high)


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
def hue_and_saturation(r, g, b, value, least):
    """Hue in turns, below 1, and saturation in [0, 1], of a colour from its largest and smallest part (Smith 1978)."""
    span, zero = value - least, type(r)(0)
    unit = span if span != zero else type(r)(1)
    green, blue = (b - r) / unit + type(r)(2), (r - g) / unit + type(r)(4)
    sixths = (g - b) / unit if value == r else (green if value == g else blue)
    return sixths * type(r)(1 / 6), span / (value if value != zero else type(r)(1))


@scalar
def share_of_hue(hue, offset):
    """What of the saturation is taken from red (offset 5/6), green (3/6) or blue (1/6), from 0 to 1."""
    turns = hue + offset
    rest = turns - type(hue)(np.int32(turns))
    k = (rest + type(hue)(1) if rest < 0 else rest) * type(hue)(6)
    k = min(k, type(hue)(4) - k)
    return min(max(k, type(hue)(0)), type(hue)(1))


@scalar
def turned(r, g, b, shift, scale, most):
    """A colour (r, g, b) with hue + shift, in turns, and min(saturation scale, most)."""
    number = type(r)
    value, least = max(r, max(g, b)), min(r, min(g, b))
    hue, saturation = hue_and_saturation(r, g, b, value, least)
    part = value * bounded(saturation * scale, number(0), most)
    hue += shift
    return (
        value - part * share_of_hue(hue, number(5 / 6)),
        value - part * share_of_hue(hue, number(3 / 6)),
        value - part * share_of_hue(hue, number(1 / 6)),
    )


@cpu_kernel(lambda x, shift, scale, y, most, g: pixel_items(g))
def hue_saturation(x, shift, scale, y, most, g, first, last):
    """Colours with hue + shift[n], in turns, and min(saturation scale[n], most).  x (n,p,3), shift, scale (n,)."""
    red, green, blue = stack_array(y, PIXELS), stack_array(y, PIXELS), stack_array(y, PIXELS)
    for item in range(first, last):
        n, start, stop = pixel_span(item, g)
        r, g_, b = red[: stop - start], green[: stop - start], blue[: stop - start]
        take_apart(x[n, start:stop], r, g_, b)
        turn_hues(r, g_, b, shift[n], scale[n], y.dtype.type(most))
        put_together(r, g_, b, y[n, start:stop])


@device_function
def turn_hues(red, green, blue, shift, scale, most):
    """`hue_saturation` in place, of channels that lie apart: that vectors can do."""
    for p in range(red.size):
        red[p], green[p], blue[p] = turned(red[p], green[p], blue[p], shift, scale, most)


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


@scalar
def rounded(number):
    """The whole number next to one that is not negative; of two, the even one."""
    below = int(number)
    rest = number - below
    return below + (1 if rest > 0.5 or (rest == 0.5 and below % 2 == 1) else 0)


@device_function
def ranks_of(counts, bins):
    """counts[k] = 255 (cdf[k] - cdf_min) / (cdf_max - cdf_min), rounded to even, in place."""
    total, least = 0, 0
    for k in range(bins):
        total += counts[k]
        counts[k] = total
        least = total if least == 0 else least
    for k in range(bins):
        counts[k] = rounded(max(counts[k] - least, 0) * 255 / (total - least))


# --- histograms of tiles --------------------------------------------------------------------------------------


class TileGeometry(NamedTuple):
    """n images of h x w pixels of c channels, cut into rows x columns tiles of th x tw pixels; bins of a histogram."""

    n: int
    h: int
    w: int
    c: int
    rows: int
    columns: int
    th: int
    tw: int
    bins: int


@cpu_kernel(lambda x, tables, low, high, limit, g: g.n * g.c * g.rows * g.columns)
def clahe_tables(x, tables, low, high, limit, g, first, last):
    """tables[tile, k] = what numbers of bin k become in a tile, from 0 to 255.  x (n,h,w,c).

    A histogram with no bin above `limit` shares of what all would have if they were equal, what is cut off being
    spread over all bins (limit 0: nothing is); its sums, scaled. Tiles beyond the edge see the image mirrored.
    """
    to_bytes, area = 255.0 / (high - low), g.th * g.tw
    for item in range(first, last):
        counts = tables[item]
        count_tile(x, item, counts, low, to_bytes, g)
        cut_counts(counts, limit * area / g.bins, g.bins)
        sum_counts(counts, area, g.bins)


@device_function
def count_tile(x, item, counts, low, to_bytes, g):
    """counts[k] = how many numbers of the tile fall into bin k."""
    tile, of_channel = item % (g.rows * g.columns), item // (g.rows * g.columns)
    n, ch = of_channel // g.c, of_channel % g.c
    top, left = tile // g.columns * g.th, tile % g.columns * g.tw
    for k in range(g.bins):
        counts[k] = 0
    for iy in range(top, top + g.th):
        y = border_index(iy, g.h, SYMMETRIC)
        for ix in range(left, left + g.tw):
            counts[bin_of(x[n, y, border_index(ix, g.w, SYMMETRIC), ch], low, to_bytes, g.bins)] += 1


@device_function
def cut_counts(counts, most, bins):
    """No count above `most`, unless that is 0; what is cut off is spread evenly."""
    if most <= 0:
        return
    excess = 0.0
    for k in range(bins):
        excess += max(counts[k] - most, 0.0)
        counts[k] = min(counts[k], most)
    for k in range(bins):
        counts[k] += excess / bins


@device_function
def sum_counts(counts, area, bins):
    """counts[k] = 255 times the share that bins 1 to k have of what is not in bin 0, in place."""
    least, total = counts[0], 0.0
    others = area - least if area != least else 1.0
    for k in range(bins):
        total += counts[k]
        counts[k] = bounded((total - least) * 255.0 / others, 0.0, 255.0)


@device_function
def mix_tables(x, tables, y, n, iy, ix, low, to_bytes, g):
    """A pixel of `clahe`."""
    down, across = iy / g.th - 0.5, ix / g.tw - 0.5
    row, column = int(math.floor(down)), int(math.floor(across))
    share_y, share_x = down - row, across - column
    above, below = max(row, 0), min(row + 1, g.rows - 1)
    left, right = max(column, 0), min(column + 1, g.columns - 1)
    for ch in range(g.c):
        k, tile = bin_of(x[n, iy, ix, ch], low, to_bytes, g.bins), (n * g.c + ch) * g.rows * g.columns
        upper, lower = tile + above * g.columns, tile + below * g.columns
        a = tables[upper + left, k] * (1 - share_x) + tables[upper + right, k] * share_x
        b = tables[lower + left, k] * (1 - share_x) + tables[lower + right, k] * share_x
        y[n, iy, ix, ch] = y.dtype.type((a * (1 - share_y) + b * share_y) / to_bytes + low)


@cpu_kernel(lambda x, tables, y, low, high, g: g.n * g.h)
def clahe(x, tables, y, low, high, g, first, last):
    """y = what the tables of the four nearest tiles make of x, mixed by their distances.  x, y (n,h,w,c)."""
    to_bytes = 255.0 / (high - low)
    for item in range(first, last):
        for ix in range(g.w):
            mix_tables(x, tables, y, item // g.h, item % g.h, ix, low, to_bytes, g)
