"""One step of an augmentation policy: every image of a batch goes through an operation of its own.

An operation is a number in OPERATIONS and up to eight numbers that say how strong it is. Images hold numbers from `low`
to `high`; where an operation is defined on bytes, these are taken for 0 to 255.

    identity                           affine a0 a1 a2 b0 b1 b2 c0 c1: pixels from other places
    linear a, b: a x + b               grey f: grey + f (x - grey)
    contrast f, each: mean + f (x - mean), the mean of the grey image, or of each channel
    sharpness f, zeros: blurred + f (x - blurred); pixels on the edge stay, or count zeros beyond it
    posterize k: the upper k bits      solarize t, a: x + a, and from t on 255 - (x + a)
    autocontrast: the darkest 0, the lightest 255      equalize: by rank      cutout y, x, r: a square of `fill`
    pair j, w: (1 - w) x + w x[j]
"""

import math

from fastcnn_kernels.color import bin_of, bounded, count_bins, ranks_of
from fastcnn_kernels.jit import cpu_kernel, device_function, scalar
from fastcnn_kernels.resample import gather_bilinear, gather_nearest, resample_row, row_of_map

OPERATIONS = (
    "identity", "affine", "linear", "grey", "contrast", "sharpness", "posterize", "solarize", "autocontrast",
    "equalize", "cutout", "pair",
)  # fmt: skip
(
    IDENTITY, AFFINE, LINEAR, GREY, CONTRAST, SHARPNESS, POSTERIZE, SOLARIZE, AUTOCONTRAST, EQUALIZE, CUTOUT, PAIR,
) = range(12)  # fmt: skip
RED, GREEN, BLUE = 0.2989, 0.587, 0.114  # shares of the grey of a colour
BINS = 256


@cpu_kernel(lambda x, code, numbers, y, histogram, bounds, g: g.n)
def policy_step(x, code, numbers, y, histogram, bounds, g, first, last):
    """y[n] = the operation code[n] with numbers[n] of x[n].

    x (n, h w c), code (n,), numbers (n,8) -> y (n, h w c).  histogram (n,BINS) is working memory, bounds
    (low, high, fill, nearest) with nearest 1 where the affine operation takes the nearest pixel.
    """
    for n in range(first, last):
        number, which = numbers[n], int(code[n])
        if which == AFFINE:
            move(x[n], number, y[n], bounds, g)
        elif which == LINEAR:
            scale_and_shift(x[n], float(number[0]), float(number[1]), y[n], bounds)
        elif which == GREY:
            towards_grey(x[n], float(number[0]), y[n], bounds, g)
        elif which == CONTRAST:
            towards_mean(x[n], float(number[0]), int(number[1]), y[n], bounds, g)
        elif which == SHARPNESS:
            towards_blurred(x[n], float(number[0]), int(number[1]), y[n], bounds, g)
        elif which == POSTERIZE:
            keep_bits(x[n], int(number[0]), y[n], bounds)
        elif which == SOLARIZE:
            invert_above(x[n], float(number[0]), float(number[1]), y[n], bounds)
        elif which == AUTOCONTRAST:
            stretch(x[n], y[n], bounds, g)
        elif which == EQUALIZE:
            flatten_histogram(x[n], y[n], histogram[n], bounds, g)
        elif which == CUTOUT:
            cut_out(x[n], number, y[n], bounds, g)
        elif which == PAIR:
            mix(x[n], x[min(max(int(number[0]), 0), g.n - 1)], float(number[1]), y[n])
        else:
            scale_and_shift(x[n], 1.0, 0.0, y[n], (-math.inf, math.inf, 0.0, 0.0))


@device_function
def move(xs, transform, ys, bounds, g):
    """Pixels of an image (h w c,) along a projective map."""
    width = g.w * g.c
    for oy in range(g.h):
        row = ys[oy * width : (oy + 1) * width]
        if bounds[3] > 0:
            resample_row(xs, transform, oy, row, bounds[2], g, row_of_map, gather_nearest)
        else:
            resample_row(xs, transform, oy, row, bounds[2], g, row_of_map, gather_bilinear)


@device_function
def scale_and_shift(xs, a, b, ys, bounds):
    """a x + b."""
    number = ys.dtype.type
    for i in range(xs.size):
        ys[i] = number(bounded(a * xs[i] + b, bounds[0], bounds[1]))


@scalar
def away_from(base, factor, x, bounds):
    """base + factor (x - base), kept within the bounds."""
    return bounded(base + factor * (x - base), bounds[0], bounds[1])


@scalar
def grey_of(xs, at, g):
    """How light the pixel that begins at `at` is."""
    if g.c == 3:
        return RED * xs[at] + GREEN * xs[at + 1] + BLUE * xs[at + 2]
    total = 0.0
    for ch in range(g.c):
        total += xs[at + ch]
    return total / g.c


@device_function
def towards_grey(xs, factor, ys, bounds, g):
    """grey + factor (x - grey)."""
    number = ys.dtype.type
    for at in range(0, xs.size, g.c):
        grey = grey_of(xs, at, g)
        for ch in range(g.c):
            ys[at + ch] = number(away_from(grey, factor, xs[at + ch], bounds))


@device_function
def towards_mean(xs, factor, by_channel, ys, bounds, g):
    """mean + factor (x - mean); the mean of the grey image, or of each channel."""
    number, pixels = ys.dtype.type, g.h * g.w
    total = 0.0
    for at in range(0, xs.size, g.c):
        total += grey_of(xs, at, g)
    for ch in range(g.c):
        if by_channel == 1:
            total = 0.0
            for at in range(ch, xs.size, g.c):
                total += xs[at]
        mean = total / pixels
        for at in range(ch, xs.size, g.c):
            ys[at] = number(away_from(mean, factor, xs[at], bounds))


@scalar
def blurred_at(xs, iy, ix, ch, zeros, g):
    """(8 neighbours + 5 x) / 13 of an image (h w c,); the edge stays, or zeros lie beyond it."""
    width = g.w * g.c
    x = float(xs[iy * width + ix * g.c + ch])
    if zeros == 0 and (iy == 0 or ix == 0 or iy == g.h - 1 or ix == g.w - 1):
        return x
    total = 4.0 * x
    for ky in range(max(iy - 1, 0), min(iy + 2, g.h)):
        for kx in range(max(ix - 1, 0), min(ix + 2, g.w)):
            total += xs[ky * width + kx * g.c + ch]
    return total / 13.0


@device_function
def towards_blurred(xs, factor, zeros, ys, bounds, g):
    """blurred + factor (x - blurred)."""
    number = ys.dtype.type
    for iy in range(g.h):
        for ix in range(g.w):
            for ch in range(g.c):
                at = (iy * g.w + ix) * g.c + ch
                ys[at] = number(away_from(blurred_at(xs, iy, ix, ch, zeros, g), factor, xs[at], bounds))


@scalar
def byte_of(x, bounds):
    """x on the scale of bytes."""
    return (x - bounds[0]) * 255.0 / (bounds[1] - bounds[0])


@scalar
def from_byte(x, bounds):
    """What `byte_of` undoes."""
    return x * (bounds[1] - bounds[0]) / 255.0 + bounds[0]


@scalar
def without_lower_bits(x, step, bounds):
    """x with its byte rounded down to a multiple of step."""
    return from_byte(math.floor(math.floor(byte_of(x, bounds) + 1e-4) / step) * step, bounds)


@device_function
def keep_bits(xs, bits, ys, bounds):
    """The upper bits of every byte, the others 0."""
    number, step = ys.dtype.type, 2.0 ** (8 - bits)
    for i in range(xs.size):
        ys[i] = number(without_lower_bits(xs[i], step, bounds))


@scalar
def inverted_above(x, threshold, addition, bounds):
    """x + addition where that is below the threshold, else 255 - (x + addition)."""
    moved = bounded(byte_of(x, bounds) + addition, 0.0, 255.0)
    return from_byte(moved if moved < threshold else 255.0 - moved, bounds)


@device_function
def invert_above(xs, threshold, addition, ys, bounds):
    """`inverted_above` of every number."""
    number = ys.dtype.type
    for i in range(xs.size):
        ys[i] = number(inverted_above(xs[i], threshold, addition, bounds))


@scalar
def stretched(x, least, most, bounds):
    """least moved to the lower bound, most to the upper; x where they are equal."""
    if most > least:
        return (x - least) * (bounds[1] - bounds[0]) / (most - least) + bounds[0]
    return float(x)


@device_function
def stretch(xs, ys, bounds, g):
    """Each channel so that its numbers reach from low to high; one number everywhere stays."""
    number = ys.dtype.type
    for ch in range(g.c):
        least, most = float(xs[ch]), float(xs[ch])
        for i in range(ch, xs.size, g.c):
            least, most = min(least, float(xs[i])), max(most, float(xs[i]))
        for i in range(ch, xs.size, g.c):
            ys[i] = number(stretched(xs[i], least, most, bounds))


@device_function
def flatten_histogram(xs, ys, counts, bounds, g):
    """`color.equalize` of an image."""
    number, pixels = ys.dtype.type, xs.reshape((g.h * g.w, g.c))
    to_bytes = 255.0 / (bounds[1] - bounds[0])
    for ch in range(g.c):
        filled = count_bins(pixels, ch, counts, bounds[0], to_bytes, BINS)
        if filled > 1:
            ranks_of(counts, BINS)
        for i in range(ch, xs.size, g.c):
            rank = counts[bin_of(xs[i], bounds[0], to_bytes, BINS)]
            ys[i] = number(rank / to_bytes + bounds[0]) if filled > 1 else xs[i]


@scalar
def is_cut(iy, ix, place):
    """Whether a pixel lies in the square of half the side place[2] around (place[0], place[1])."""
    return abs(iy - place[0]) < place[2] and abs(ix - place[1]) < place[2]


@device_function
def cut_out(xs, place, ys, bounds, g):
    """fill in a square."""
    for iy in range(g.h):
        for ix in range(g.w):
            at = (iy * g.w + ix) * g.c
            for ch in range(g.c):
                ys[at + ch] = bounds[2] if is_cut(iy, ix, place) else xs[at + ch]


@scalar
def mixed(x, other, weight):
    """(1 - weight) x + weight other."""
    return (1.0 - weight) * x + weight * other


@device_function
def mix(xs, others, weight, ys):
    """`mixed` of every number."""
    number = ys.dtype.type
    for i in range(xs.size):
        ys[i] = number(mixed(xs[i], others[i], weight))
