"""Reductions of the middle axis of x (o, r, i): outer, reduced, inner.

Every reduction of neighbouring axes has this form. A long one runs in two stages: the first writes the results of
k chunks of the r rows into y (o, k, i); the same kernel then reduces those to y (o, 1, i).
"""

import math
from typing import Any

import numpy as np

from fastcnn_kernels import elementary
from fastcnn_kernels.elementwise import combine_row, larger, largest_of, smaller
from fastcnn_kernels.jit import CHUNK, cpu_kernel, device_function, scalar, shape_function, stack_array

TILE = 256  # numbers of an array on the stack: running results, or constants
LONG = 32768  # elements that make a reduction worth one more chunk
MOST_CHUNKS = 64


def reduction_chunks(o: int, r: int, i: int) -> int:
    """How many chunks k the r rows are cut into: 1, unless there are too few results to share out over threads."""
    results = o * -(-i // TILE)
    wanted = min(r * min(i, TILE) // LONG, MOST_CHUNKS // results)
    return max(1, min(r, wanted))


def _chunks(view: tuple[int, int, int], dtype: Any) -> int:
    return reduction_chunks(*view)


@scalar
def plus(x, y):
    """x + y."""
    return x + y


@scalar
def is_extremum(x, y):
    """Whether x is the maximum (or minimum) y of a set that holds it; with a NaN in the set, y is NaN."""
    return x == y or x != x


# The inner positions are taken in blocks of at most TILE. Where there are fewer, short inner loops would be slow:
# the tile then holds several rows at once (a *segment* of x), and they are combined at the end.


@shape_function
def blocks(i):
    """Number of blocks of i inner positions."""
    return (i + TILE - 1) // TILE


@scalar
def item_place(item, chunks, i):
    """(outer index, chunk, first inner position) of an item."""
    per_chunk = blocks(i)
    return item // per_chunk // chunks, item // per_chunk % chunks, item % per_chunk * TILE


@scalar
def chunk_range(chunk, chunks, rows):
    """(first row, one past the last row) of a chunk."""
    return rows * chunk // chunks, rows * (chunk + 1) // chunks


@scalar
def segment_length(rows, i, start):
    """Elements that a tile takes in at once: whole rows, or the part of one row that begins at `start`."""
    return i * min(rows, TILE // i) if i <= TILE else min(TILE, i - start)


@device_function
def repeat(tile, width, length):
    """The first `width` elements of the tile, over and over."""
    for j in range(width, length, width):
        for i in range(width):
            tile[j + i] = tile[i]


@device_function
def load(tile, values, start, width, length):
    """tile[j] = the value of the inner position of a segment's element j.  values (i,)."""
    some = values[start : start + width]
    for j in range(some.size):
        tile[j] = some[j]
    repeat(tile, width, length)


@device_function
def clear(tile):
    """tile = 0."""
    for j in range(TILE):
        tile[j] = 0.0


@device_function
def fold(tile, width, length):
    """tile[j] = sum of what a segment's elements of inner position j have collected, last to first."""
    for j in range(length - 1, width - 1, -1):
        tile[j - width] += tile[j]


@shape_function
def reduction_items(x, y):
    """One item reduces one chunk of rows of one block of inner positions."""
    return y.shape[0] * y.shape[1] * blocks(x.shape[2])


@device_function
def reduce_items(x, y, tile, combine, neutral, scale, first, last):
    """y[o,k,i] = scale * (x[o,r,i] of the rows r of chunk k, combined).  The tile holds the running results."""
    rows, inner, chunks = x.shape[1], x.shape[2], y.shape[1]
    flat = x.reshape(x.size)
    for item in range(first, last):
        o, chunk, start = item_place(item, chunks, inner)
        top, bottom = chunk_range(chunk, chunks, rows)
        begin, end = (o * rows + top) * inner, (o * rows + bottom) * inner
        if inner == 1:
            y[o, chunk, 0] = combine_row(combine, flat[begin:end], tile, neutral) * scale
            continue
        length, width = segment_length(bottom - top, inner, start), min(inner - start, TILE)
        for j in range(length):
            tile[j] = neutral
        for position in range(begin + start, end, max(length, inner)):
            segment = flat[position : min(position + length, end)]
            for j in range(segment.size):
                tile[j] = combine(tile[j], segment[j])
        for j in range(length - 1, width - 1, -1):
            tile[j - width] = combine(tile[j - width], tile[j])
        for j in range(width):
            y[o, chunk, start + j] = tile[j] * scale


@cpu_kernel(lambda x, y, scale: reduction_items(x, y), _chunks)
def reduce_sum(x, y, scale, first, last):
    """y[o,k,i] = scale * sum of x[o,r,i] over the rows of chunk k.  x (o,r,i), y (o,k,i); sums in float64."""
    reduce_items(x, y, stack_array(np.float64, TILE), plus, 0.0, scale, first, last)


@cpu_kernel(reduction_items)
def reduce_max(x, y, first, last):
    """y[o,k,i] = max of x[o,r,i] over the rows of chunk k.  x (o,r,i), y (o,k,i).  NaN wins."""
    reduce_items(x, y, stack_array(x, TILE), larger, x.dtype.type(-math.inf), 1, first, last)


@cpu_kernel(reduction_items)
def reduce_min(x, y, first, last):
    """y[o,k,i] = min of x[o,r,i] over the rows of chunk k.  x (o,r,i), y (o,k,i).  NaN wins."""
    reduce_items(x, y, stack_array(x, TILE), smaller, x.dtype.type(math.inf), 1, first, last)


@cpu_kernel(lambda x, y, count: reduction_items(x, count))
def count_extrema(x, y, count, first, last):
    """count[o,k,i] = how many x[o,r,i] of the rows of chunk k equal the extremum y[o,i].

    x (o,r,i), y (o,i), count (o,k,i) float64, which `reduce_sum` adds up.
    """
    rows, inner, chunks = x.shape[1], x.shape[2], count.shape[1]
    flat = x.reshape(x.size)
    extremum, total = stack_array(x, TILE), stack_array(np.float64, TILE)
    for item in range(first, last):
        o, chunk, start = item_place(item, chunks, inner)
        top, bottom = chunk_range(chunk, chunks, rows)
        begin, end = (o * rows + top) * inner, (o * rows + bottom) * inner
        length, width = segment_length(bottom - top, inner, start), min(inner - start, TILE)
        load(extremum, y[o], start, width, length)
        for j in range(length):
            total[j] = 0.0
        for position in range(begin + start, end, max(length, inner)):
            segment = flat[position : min(position + length, end)]
            for j in range(segment.size):
                total[j] += 1.0 if is_extremum(segment[j], extremum[j]) else 0.0
        fold(total, width, length)
        for j in range(width):
            count[o, chunk, start + j] = total[j]


@shape_function
def row_chunks(x):
    """Chunks of rows of an elementwise kernel over (o, r, i)."""
    per_item = max(1, CHUNK // min(x.shape[2], TILE))
    return (x.shape[1] + per_item - 1) // per_item


@cpu_kernel(lambda x, y, dy, count, dx: x.shape[0] * row_chunks(x) * blocks(x.shape[2]))
def extremum_backward(x, y, dy, count, dx, first, last):
    """dx[o,r,i] = dy[o,i] / count[o,i] where x[o,r,i] is the extremum y[o,i], else 0: ties share the gradient evenly.

    x, dx (o,r,i); y, dy, count (o,i), count being float64.
    """
    nothing = x.dtype.type(0)
    rows, inner, chunks = x.shape[1], x.shape[2], row_chunks(x)
    xs, dxs = x.reshape(x.size), dx.reshape(dx.size)
    extremum, share = stack_array(x, TILE), stack_array(x, TILE)
    for item in range(first, last):
        o, chunk, start = item_place(item, chunks, inner)
        top, bottom = chunk_range(chunk, chunks, rows)
        begin, end = (o * rows + top) * inner, (o * rows + bottom) * inner
        length, width = segment_length(bottom - top, inner, start), min(inner - start, TILE)
        load(extremum, y[o], start, width, length)
        for j in range(width):
            share[j] = dy[o, start + j] / count[o, start + j]
        repeat(share, width, length)
        for position in range(begin + start, end, max(length, inner)):
            stop = min(position + length, end)
            source, target = xs[position:stop], dxs[position:stop]
            for j in range(source.size):
                target[j] = share[j] if is_extremum(source[j], extremum[j]) else nothing


@device_function
def first_extremum(row, extremum):
    """The first place of the maximum (or minimum) of a row, which is NaN with a NaN in it."""
    place = 0
    while not is_extremum(row[place], extremum):
        place += 1
    return place


@cpu_kernel(lambda x, y: x.shape[0] * blocks(x.shape[2]))
def argmax_forward(x, y, first, last):
    """y[o,i] = the first r at which x[o,r,i] is largest; a NaN is larger than any number.  x (o,r,i), y (o,i)."""
    best = stack_array(x, TILE)
    rows, inner = x.shape[1], x.shape[2]
    flat = x.reshape(x.size)
    for item in range(first, last):
        o, _, start = item_place(item, 1, inner)
        stop = min(inner, start + TILE)
        ys = y[o, start:stop]
        if inner == 1:
            row = flat[o * rows : (o + 1) * rows]
            ys[0] = first_extremum(row, largest_of(row))
            continue
        for j in range(ys.size):
            best[j] = x[o, 0, start + j]
            ys[j] = 0
        for r in range(1, x.shape[1]):
            xs = x[o, r, start:stop]
            for j in range(ys.size):
                if xs[j] > best[j] or (xs[j] != xs[j] and best[j] == best[j]):
                    best[j] = xs[j]
                    ys[j] = r


@scalar
def finite_shift(x):
    """What is subtracted from exponents of which x is the largest: a shift by infinity would leave inf - inf."""
    return x if abs(x) < math.inf else type(x)(0)


@cpu_kernel(lambda x, y: x.shape[0] * blocks(x.shape[2]))
def logsumexp_forward(x, y, first, last):
    """y[o,i] = log of the sum of exp(x[o,r,i]) over r.  x (o,r,i), y (o,i)."""
    largest, total = stack_array(x, TILE), stack_array(np.float64, TILE)
    rows, inner = x.shape[1], x.shape[2]
    flat = x.reshape(x.size)
    for item in range(first, last):
        o, _, start = item_place(item, 1, inner)
        if inner == 1:
            y[o, 0] = logsumexp_of(flat[o * rows : (o + 1) * rows])
            continue
        stop = min(inner, start + TILE)
        ys = y[o, start:stop]
        for j in range(ys.size):
            largest[j] = -math.inf
            total[j] = 0.0
        for r in range(rows):
            xs = x[o, r, start:stop]
            for j in range(ys.size):
                largest[j] = larger(largest[j], xs[j])
        for j in range(ys.size):
            largest[j] = finite_shift(largest[j])  # exp overflows above 88 in float32
        for r in range(rows):
            xs = x[o, r, start:stop]
            for j in range(ys.size):
                total[j] += elementary.exp(xs[j] - largest[j])
        for j in range(ys.size):
            ys[j] = largest[j] + elementary.log(total[j])


@device_function
def logsumexp_of(row):
    """log of the sum of exp(row)."""
    shift, total = finite_shift(largest_of(row)), 0.0
    for j in range(row.size):
        total += elementary.exp(row[j] - shift)
    return shift + elementary.log(total)


@cpu_kernel(lambda x, y, dy, dx: x.shape[0] * row_chunks(x))
def logsumexp_backward(x, y, dy, dx, first, last):
    """dx[o,r,i] = dy[o,i] exp(x[o,r,i] - y[o,i]).  x, dx (o,r,i); y, dy (o,i)."""
    rows, inner, chunks = x.shape[1], x.shape[2], row_chunks(x)
    flat, dflat = x.reshape(x.size), dx.reshape(dx.size)
    for item in range(first, last):
        o = item // chunks
        top, bottom = chunk_range(item % chunks, chunks, rows)
        ys, dys = y[o], dy[o]
        if inner == 1:
            row, drow = flat[o * rows + top : o * rows + bottom], dflat[o * rows + top : o * rows + bottom]
            for j in range(row.size):
                drow[j] = dys[0] * elementary.exp(row[j] - ys[0])
            continue
        for r in range(top, bottom):
            xs, dxs = x[o, r], dx[o, r]
            for j in range(xs.size):
                dxs[j] = dys[j] * elementary.exp(xs[j] - ys[j])
