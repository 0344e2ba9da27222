"""Convolutions of few channels: a vector register holds the same number of as many images.

Where images have one, three or six channels and layers few filters, neither fills a vector. So as many images as a
vector has lanes go through together. A *panel* is a band of their rows, transposed: element (row, column, channel) of
all these images is one vector. Sums over taps and channels multiply such vectors by single weights, at full speed for
any number of channels and filters; the results, transposed back, are images again.

    y[n,oy,ox,f] = max(sum over ky,kx,c of x[n,iy,ix,c] w[ky,kx,c,f] + bias[f], lower)
"""

from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastcnn_kernels.conv import ConvGeometry, blocks
from fastcnn_kernels.jit import VECTOR_BYTES, cpu_kernel, device_function, shape_function, stack_array
from fastcnn_kernels.microkernel import (
    WORD,
    Vectors,
    clear,
    flat,
    function_once,
    lanes,
    lanes_of,
    literal,
    pointer_to,
    transpose_square,
)

# Sums in registers at a time, as filters x pixels, or as taps x filters of the weights' gradient.
FILTERS = 4
PIXELS = 6 if VECTOR_BYTES == 64 else 2
TAPS = 5 if VECTOR_BYTES == 64 else 2
PANEL = 1 << 15  # numbers that the panels of a band may have: they stay in the second-level cache
PARTS = 16  # of the images, whose contributions to the weights' gradient are summed apart
MOST_FILTERS = 1024


class Walk(NamedTuple):
    """Loops over ky < kh, kx < kw, c < channels of a panel: steps from one ky, kx to the next, in numbers."""

    kh: int
    row: int
    kw: int
    column: int
    channels: int


class Panel(NamedTuple):
    """Vectors of a flat array: pixel (row r, column c) begins at at + r * row + c * column."""

    data: Any
    at: int
    row: int
    column: int


# --- the tiles -------------------------------------------------------------------------------------------------


def zero(value):
    """A word."""
    return ir.Constant(WORD, value)


@intrinsic(prefer_literal=True)
def filter_tile(
    typingctx,
    filters,
    pixels,
    x,
    x_at,
    step,
    weight,
    weight_at,
    pitch,
    bias,
    lower,
    out,
    out_at,
    out_step,
    walk,
):
    """out[pixel, filter] = max(bias[filter] + sum over the walk of x vector * weight, lower), all vectors of lanes.

    Pixel j begins at x_at + j * step of the panel x and at out_at + j * out_step of the panel out; filter i of tap and
    channel k is at weight_at + k * pitch + i. `filters` and `pixels` are literal.
    """
    shape = literal(filters, "filters"), literal(pixels, "pixels")
    word = types.intp
    arrays = x, word, word, weight, word, word, bias, types.float64, out, word, word
    signature = types.void(filters, pixels, *arrays, walk)

    def codegen(context, builder, signature, args):
        kinds = signature.args
        dtype = kinds[2].dtype
        pointers = [pointer_to(context, builder, kinds[i], args[i], args[i + 1]) for i in (2, 5, 10)]
        start = pointer_to(context, builder, kinds[8], args[8], zero(0))
        words = [args[4], args[7], args[12], *cgutils.unpack_tuple(builder, args[13])]
        values = [*pointers, start, args[9], *words]
        name = f"fastcnn_filters_{shape[0]}x{shape[1]}_{dtype}"
        kind = ir.FunctionType(ir.VoidType(), [v.type for v in values])
        function = function_once(
            builder.module, name, kind, lambda b: _emit_filters(context, b, dtype, shape)
        )
        builder.call(function, values)
        return context.get_dummy_value()

    return signature, codegen


def _emit_filters(context, builder, dtype, shape):
    px, pw, po, pb, lower, step, pitch, out_step, kh, row, kw, column, channels = builder.function.args
    filters, pixels = shape
    v = Vectors(context, builder, dtype, lanes(context.get_abi_sizeof(context.get_data_type(dtype))))
    starts = [builder.load(builder.gep(pb, [zero(i)])) for i in range(filters)]
    sums = [[v.variable(v.splat(start)) for _ in range(pixels)] for start in starts]
    with cgutils.for_range(builder, kh) as ky, cgutils.for_range(builder, kw) as kx:
        tap = builder.add(builder.mul(ky.index, kw), kx.index)
        at_w = builder.mul(builder.mul(tap, channels), pitch)
        at_x = builder.add(builder.mul(ky.index, row), builder.mul(kx.index, column))
        with cgutils.for_range(builder, channels) as c:
            here = builder.add(at_x, builder.mul(c.index, zero(v.count)))
            there = builder.add(at_w, builder.mul(c.index, pitch))
            xs = [v.load(px, builder.add(here, builder.mul(step, zero(j)))) for j in range(pixels)]
            for i in range(filters):
                number = v.splat(builder.load(builder.gep(pw, [builder.add(there, zero(i))])))
                for j in range(pixels):
                    slot = sums[i][j]
                    builder.store(v.multiply_add(number, xs[j], builder.load(slot)), slot)
    bound = v.splat(v.of_double(lower))
    for i in range(filters):
        for j in range(pixels):
            place = builder.add(builder.mul(out_step, zero(j)), zero(i * v.count))
            v.store(v.at_least(builder.load(sums[i][j]), bound), po, place)
    builder.ret_void()


@intrinsic(prefer_literal=True)
def weight_tile(typingctx, taps, filters, x, dy, rows, columns, out, at, pitch, adding):
    """out[at + tap * pitch + filter] (+)= sum over rows, columns and lanes of x vector * dy vector.

    x, dy: `Panel`s; tap t and filter i are t and i vectors further on. `taps` and `filters` are literal.
    """
    shape = literal(taps, "taps"), literal(filters, "filters")
    word = types.intp
    signature = types.void(taps, filters, x, dy, word, word, out, word, word, word)

    def codegen(context, builder, signature, args):
        kinds, values = signature.args, []
        dtype = kinds[6].dtype
        for panel in (2, 3):
            data, begin, row, column = cgutils.unpack_tuple(builder, args[panel])
            values += [pointer_to(context, builder, kinds[panel].types[0], data, begin), row, column]
        values += [
            args[4],
            args[5],
            pointer_to(context, builder, kinds[6], args[6], args[7]),
            args[8],
            args[9],
        ]
        name = f"fastcnn_weights_{shape[0]}x{shape[1]}_{dtype}"
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        function = function_once(
            builder.module, name, kind, lambda b: _emit_weights(context, b, dtype, shape)
        )
        builder.call(function, values)
        return context.get_dummy_value()

    return signature, codegen


def _emit_weights(context, builder, dtype, shape):
    px, row_x, column_x, pd, row_dy, column_dy, rows, columns, po, pitch, adding = builder.function.args
    taps, filters = shape
    v = Vectors(context, builder, dtype, lanes(context.get_abi_sizeof(context.get_data_type(dtype))))
    nothing = ir.Constant(v.kind, None)
    sums = [[v.variable(nothing) for _ in range(filters)] for _ in range(taps)]
    with cgutils.for_range(builder, rows) as r:
        line_x, line_dy = builder.mul(r.index, row_x), builder.mul(r.index, row_dy)
        with cgutils.for_range(builder, columns) as c:
            here = builder.add(line_x, builder.mul(c.index, column_x))
            there = builder.add(line_dy, builder.mul(c.index, column_dy))
            xs = [v.load(px, builder.add(here, zero(t * v.count))) for t in range(taps)]
            for i in range(filters):
                d = v.load(pd, builder.add(there, zero(i * v.count)))
                for t in range(taps):
                    slot = sums[t][i]
                    builder.store(v.multiply_add(xs[t], d, builder.load(slot)), slot)
    before = builder.icmp_signed("!=", adding, zero(0))
    for t in range(taps):
        for i in range(filters):
            place = builder.gep(po, [builder.add(builder.mul(pitch, zero(t)), zero(i))])
            total = _sum_of_lanes(v, builder.load(sums[t][i]))
            more = builder.select(before, builder.load(place), ir.Constant(v.scalar, 0.0))
            builder.store(builder.fadd(total, more), place)
    builder.ret_void()


def _sum_of_lanes(v, vector):
    """The sum of a vector's lanes: halves are added until one number is left."""
    builder, pick = v.builder, ir.IntType(32)
    half = v.count // 2
    while half:
        numbers = [(k + half) % v.count for k in range(v.count)]
        mask = ir.Constant(ir.VectorType(pick, v.count), numbers)
        vector = builder.fadd(vector, builder.shuffle_vector(vector, ir.Constant(v.kind, ir.Undefined), mask))
        half //= 2
    return builder.extract_element(vector, ir.Constant(pick, 0))


# --- geometry ----------------------------------------------------------------------------------------------------


@shape_function
def panel_columns(g):
    """Columns of the image that a row of results reads."""
    return (g.ow - 1) * g.sw + (g.kw - 1) * g.dw + 1


@shape_function
def panel_rows(g, band):
    """Rows of the image that `band` rows of results read."""
    return (band - 1) * g.sh + (g.kh - 1) * g.dh + 1


@shape_function
def band_rows(g, width):
    """Rows of results that are computed at a time."""
    fixed = (g.kh - 1) * g.dh * panel_columns(g) * g.c * width
    row = (g.sh * panel_columns(g) * g.c + g.ow * g.f) * width
    return min(max((PANEL - fixed) // row, 1), g.oh)


@shape_function
def input_size(g, width):
    """Numbers in the panel of the image."""
    return panel_rows(g, band_rows(g, width)) * panel_columns(g) * g.c * width


def lanes_workspace_size(g: ConvGeometry, itemsize: int) -> int:
    """Numbers that a thread needs: a panel of the images and one of the results."""
    width = lanes(itemsize)
    return input_size(g, width) + band_rows(g, width) * g.ow * g.f * width


@shape_function
def lanes_parts(g, width):
    """Rows of the partial sums that `lanes_backward_weights` writes."""
    return min(PARTS, blocks(g.n, width))


def lanes_partials_shape(g: ConvGeometry, itemsize: int) -> tuple[int, int]:
    """(parts, weights)."""
    return lanes_parts(g, lanes(itemsize)), g.kh * g.kw * g.c * g.f


def lanes_backwards(g: ConvGeometry) -> ConvGeometry:
    """The convolution of stride 1 that computes dx from dy, with weights rotated and c and f exchanged."""
    top, left = (g.kh - 1) * g.dh - g.pt, (g.kw - 1) * g.dw - g.pl
    window = g._replace(c=g.f, f=g.c, h=g.oh, w=g.ow, oh=g.h, ow=g.w)
    return window._replace(pt=top, pl=left)


# --- panels ------------------------------------------------------------------------------------------------------


@device_function
def gather_lanes(source, at, step, count, valid, panel, to):
    """panel[to + k * lanes + j] = source[at + j * step + k], k < count; 0 for the lanes j from `valid` on."""
    width = lanes_of(panel)
    if valid == width and count >= width:
        for k in range(0, count - width + 1, width):
            transpose_square(panel, to + k * width, width, source, at + k, step)
        if count % width:
            k = count - width
            transpose_square(panel, to + k * width, width, source, at + k, step)
        return
    for k in range(count):
        for j in range(width):
            panel[to + k * width + j] = source[at + j * step + k] if j < valid else 0.0


@device_function
def scatter_lanes(panel, begin, count, valid, target, at, step):
    """target[at + j * step + k] = panel[begin + k * lanes + j], k < count, for the lanes j below `valid`."""
    width = lanes_of(panel)
    if valid == width and count >= width:
        for k in range(0, count - width + 1, width):
            transpose_square(target, at + k, step, panel, begin + k * width, width)
        if count % width:
            k = count - width
            transpose_square(target, at + k, step, panel, begin + k * width, width)
        return
    for j in range(valid):
        for k in range(count):
            target[at + j * step + k] = panel[begin + k * width + j]


@device_function
def load_band(x, g, n, valid, top, rows, panel):
    """The rows [top, top + rows) of images n, n + 1, ... as a panel, zeros outside of them."""
    width, columns = lanes_of(panel), panel_columns(g)
    pitch, image = columns * g.c * width, g.h * g.w * g.c
    left = min(max(g.pl, 0), columns)
    first = max(-g.pl, 0)
    inside = max(min(g.w - first, columns - left), 0)
    for r in range(rows):
        iy = top + r
        if iy < 0 or iy >= g.h or inside == 0:
            clear(panel, r * pitch, pitch)
            continue
        to = r * pitch + left * g.c * width
        clear(panel, r * pitch, left * g.c * width)
        gather_lanes(x, n * image + (iy * g.w + first) * g.c, image, inside * g.c, valid, panel, to)
        clear(panel, to + inside * g.c * width, (columns - left - inside) * g.c * width)


# --- kernels -----------------------------------------------------------------------------------------------------


@cpu_kernel(lambda weight, rotated, g: g.kh * g.kw)
def lanes_rotate_weights(weight, rotated, g, first, last):
    """rotated[kh-1-ky, kw-1-kx, f, c] = weight[ky, kx, c, f]."""
    weight, rotated, taps = flat(weight), flat(rotated), g.kh * g.kw
    for tap in range(first, last):
        at, to = tap * g.c * g.f, (taps - 1 - tap) * g.c * g.f
        for c in range(g.c):
            for f in range(g.f):
                rotated[to + f * g.c + c] = weight[at + c * g.f + f]


@cpu_kernel(
    lambda x, weight, bias, y, workspace, lower, g: (
        blocks(g.n, lanes(y.itemsize)) * blocks(g.oh, band_rows(g, lanes(y.itemsize)))
    )
)
def lanes_forward(x, weight, bias, y, workspace, lower, g, first, last, thread):
    """y as in the module's docstring.  x (n,h,w,c), weight (kh,kw,c,f), bias (f,) or empty -> y (n,oh,ow,f).

    An item is a band of rows of as many images as a vector has lanes.
    """
    x, weight, y = flat(x), flat(weight), flat(y)
    width, start = lanes_of(y), stack_array(y, MOST_FILTERS)
    band, image = band_rows(g, width), g.oh * g.ow * g.f
    bands, split = blocks(g.oh, band), input_size(g, width)
    panel, out = workspace[thread, :split], workspace[thread, split:]
    for i in range(g.f):
        start[i] = bias[i] if bias.size else 0.0
    for item in range(first, last):
        n, top = item // bands * width, item % bands * band
        rows, valid = min(band, g.oh - top), min(width, g.n - n)
        load_band(x, g, n, valid, top * g.sh - g.pt, panel_rows(g, rows), panel)
        for row in range(rows):
            filter_row(panel, row, weight, start, lower, out, g)
        to = n * image + top * g.ow * g.f
        scatter_lanes(out, 0, rows * g.ow * g.f, valid, y, to, image)


@device_function
def filter_row(panel, row, weight, start, lower, out, g):
    """One row of results, all filters."""
    width, pitch = lanes_of(panel), panel_columns(g) * g.c * lanes_of(panel)
    walk = Walk(g.kh, g.dh * pitch, g.kw, g.dw * g.c * width, g.c)
    step, out_step = g.sw * g.c * width, g.f * width
    for j in range(0, g.ow, PIXELS if g.ow >= PIXELS else 1):
        ox = min(j, g.ow - PIXELS) if g.ow >= PIXELS else j  # the last tile may overlap that before
        at, to, f = row * g.sh * pitch + ox * step, (row * g.ow + ox) * out_step, 0
        while f < g.f:
            bias, into = start[f:], to + f * width
            if g.ow < PIXELS:
                filter_tile(1, 1, panel, at, step, weight, f, g.f, bias, lower, out, into, out_step, walk)
                f += 1
            elif g.f - f >= FILTERS:
                filter_tile(
                    FILTERS, PIXELS, panel, at, step, weight, f, g.f, bias, lower, out, into, out_step, walk
                )
                f += FILTERS
            elif g.f - f >= 2:
                filter_tile(
                    2, PIXELS, panel, at, step, weight, f, g.f, bias, lower, out, into, out_step, walk
                )
                f += 2
            else:
                filter_tile(
                    1, PIXELS, panel, at, step, weight, f, g.f, bias, lower, out, into, out_step, walk
                )
                f += 1


@cpu_kernel(lambda x, dy, partials, workspace, g: lanes_parts(g, lanes(x.itemsize)))
def lanes_backward_weights(x, dy, partials, workspace, g, first, last, thread):
    """partials[part] = sum over the images of a part of x[n,iy,ix,c] dy[n,oy,ox,f], at [ky,kx,c,f].

    x (n,h,w,c), dy (n,oh,ow,f) -> partials (parts, kh*kw*c*f); their sum is the gradient of the weights.
    """
    x, dy, partials = flat(x), flat(dy), flat(partials)
    width, parts = lanes_of(x), lanes_parts(g, lanes_of(x))
    band, image, total = band_rows(g, width), g.oh * g.ow * g.f, g.kh * g.kw * g.c * g.f
    split, groups = input_size(g, width), blocks(g.n, width)
    panel, panel_dy = workspace[thread, :split], workspace[thread, split:]
    for part in range(first, last):
        adding = 0
        for group in range(groups * part // parts, groups * (part + 1) // parts):
            n, valid = group * width, min(width, g.n - group * width)
            for top in range(0, g.oh, band):
                rows = min(band, g.oh - top)
                load_band(x, g, n, valid, top * g.sh - g.pt, panel_rows(g, rows), panel)
                at = n * image + top * g.ow * g.f
                gather_lanes(dy, at, image, rows * g.ow * g.f, valid, panel_dy, 0)
                add_band(panel, panel_dy, rows, partials, part * total, adding, g)
                adding = 1


@device_function
def add_band(panel, panel_dy, rows, partials, to, adding, g):
    """What a band contributes to all weights. Neighbouring taps of a row are neighbours in the panel, too."""
    width, pitch = lanes_of(panel), panel_columns(g) * g.c * lanes_of(panel)
    together = g.kw if g.dw == 1 else 1
    run = together * g.c
    for line in range(g.kh * g.kw // together):
        ky, kx = line * together // g.kw, line * together % g.kw
        begin = ky * g.dh * pitch + kx * g.dw * g.c * width
        k = 0
        while k < run:
            taps, f = steps_of(run - k, TAPS), 0
            place = to + ((ky * g.kw + kx) * g.c + k) * g.f
            while f < g.f:
                filters = steps_of(g.f - f, FILTERS)
                x = Panel(panel, begin + k * width, g.sh * pitch, g.sw * g.c * width)
                dy = Panel(panel_dy, f * width, g.ow * g.f * width, g.f * width)
                add_weights(taps, filters, x, dy, rows, g.ow, partials, place + f, g.f, adding)
                f += filters
            k += taps


@device_function
def steps_of(left, most):
    """How many of those that are left a tile takes."""
    return most if left >= most else min(left, 2)


@device_function
def add_weights(taps, filters, x, dy, rows, columns, out, at, pitch, adding):
    """`weight_tile` of one of the shapes that there are."""
    if taps == TAPS:
        if filters == FILTERS:
            weight_tile(TAPS, FILTERS, x, dy, rows, columns, out, at, pitch, adding)
        elif filters == 2:
            weight_tile(TAPS, 2, x, dy, rows, columns, out, at, pitch, adding)
        else:
            weight_tile(TAPS, 1, x, dy, rows, columns, out, at, pitch, adding)
    elif taps == 2:
        if filters == FILTERS:
            weight_tile(2, FILTERS, x, dy, rows, columns, out, at, pitch, adding)
        elif filters == 2:
            weight_tile(2, 2, x, dy, rows, columns, out, at, pitch, adding)
        else:
            weight_tile(2, 1, x, dy, rows, columns, out, at, pitch, adding)
    elif filters == FILTERS:
        weight_tile(1, FILTERS, x, dy, rows, columns, out, at, pitch, adding)
    elif filters == 2:
        weight_tile(1, 2, x, dy, rows, columns, out, at, pitch, adding)
    else:
        weight_tile(1, 1, x, dy, rows, columns, out, at, pitch, adding)
