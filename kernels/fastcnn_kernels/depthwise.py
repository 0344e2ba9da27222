"""Depthwise convolutions: every channel is filtered by kernels of its own, without sums over channels.

x (n, h, w, c), weights (kh, kw, c, multiplier), y (n, oh, ow, c * multiplier); output channel c * multiplier + m
reads input channel c. A `ConvGeometry` describes them, with f = c * multiplier and groups = c.

There is no matrix to multiply: a vector register holds neighbouring channels, a few of them neighbouring pixels,
and the taps stream by. With a multiplier above 1 output channels are handled one by one.
"""

import math
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastcnn_kernels.conv import Landing, backward_sampling, blocks, forward_sampling, taps_of
from fastcnn_kernels.jit import (
    TILE_ROWS,
    TILE_VECTORS,
    VECTOR_BYTES,
    cpu_kernel,
    device_function,
    shape_function,
    stack_array,
)
from fastcnn_kernels.microkernel import (
    WORD,
    Matrix,
    Vectors,
    clear,
    flat,
    itemsize_of,
    lanes,
    lanes_of,
    literal,
    window_of,
)

WIDE = 4  # vector registers of neighbouring channels in the largest tile
PIXELS = 4 if TILE_ROWS * TILE_VECTORS > 16 else 2  # neighbouring pixels in it: what registers hold
MOST = WIDE * VECTOR_BYTES // 4  # channels of float32 in it
CHANNELS = 64  # channels of a work item, or more
ITEMS = 96  # work items of the weights' gradient


class Stencil(NamedTuple):
    """ny x nx taps and the distances in memory between neighbouring ones, in the image and in the weights."""

    ny: int
    nx: int
    image_row: int
    image_column: int
    weight_row: int
    weight_column: int


@shape_function
def channel_blocks(g):
    """How many blocks the channels are cut into."""
    return max(g.c // CHANNELS, 1)


@shape_function
def weight_parts(g):
    """Parts of the rows of y whose contributions to the weights' gradient are summed apart."""
    return min(blocks(ITEMS, channel_blocks(g)), g.n * g.oh)


def depthwise_partials_shape(g) -> tuple[int, int]:
    """(parts, weights): what `depthwise_backward_weights` writes, to be added up over the parts."""
    return weight_parts(g), g.kh * g.kw * g.f


@device_function
def valid_range(origin, step, size, count):
    """[first, last) of the t < count with 0 <= origin + t * step < size."""
    first = min(max(blocks(-origin, step), 0), count)
    return first, max(min(blocks(size - origin, step), count), first)


@device_function
def lanes_at(channel, end, most):
    """How many channels the next tile takes: `most`, a quarter of it, a quarter of that, or 1."""
    size = most
    while channel + size > end and size > most // 16:
        size //= 4
    return max(size, 1) if channel + size <= end else 1


# --- vector pieces -------------------------------------------------------------------------------------------------


class Channels(Vectors):
    """Emits instructions for neighbouring channels: WIDE vectors, or a literal share of that."""

    def __init__(self, context, builder, array, share):
        vector = lanes(itemsize_of(context, array))
        super().__init__(context, builder, array.dtype, max(1, min(vector, WIDE * vector // share)))
        self.offsets = [ir.Constant(WORD, i * self.count) for i in range(max(1, WIDE // share))]

    def load_all(self, pointer, index):
        return [self.load(pointer, self.builder.add(index, offset)) for offset in self.offsets]

    def store_all(self, values, pointer, index):
        for value, offset in zip(values, self.offsets, strict=True):
            self.store(value, pointer, self.builder.add(index, offset))

    def add_products(self, totals, xs, ys):
        """totals (places) += xs * ys (values)."""
        for total, x, y in zip(totals, xs, ys, strict=True):
            self.builder.store(self.multiply_add(x, y, self.builder.load(total)), total)


@intrinsic(prefer_literal=True)
def filter_tile(typingctx, pixels, share, stencil, image, weights, start, lower, out):
    """out[p] = max(start[p] + sum over taps of image[p, tap] * weights[tap], lower) for p < pixels.

    pixels and share are literal: each number stands for as many channels as 1/share of WIDE vector registers hold.
    image, start and out are Matrix tuples with a pixel a row; `weights` one whose row is not used.
    """
    count, part = literal(pixels, "pixels"), literal(share, "share")
    signature = types.void(pixels, share, stencil, image, weights, start, types.float64, out)

    def codegen(context, builder, signature, args):
        kinds = signature.args
        v = Channels(context, builder, kinds[3].types[0], part)
        ny, nx, image_row, image_column, weight_row, weight_column = cgutils.unpack_tuple(builder, args[2])
        pi, i_pixel = window_of(context, builder, kinds[3], args[3])
        pw, _ = window_of(context, builder, kinds[4], args[4])
        ps, s_pixel = window_of(context, builder, kinds[5], args[5])
        po, o_pixel = window_of(context, builder, kinds[7], args[7])

        def of_pixel(p, pitch):
            return builder.mul(ir.Constant(WORD, p), pitch)

        sums = [[v.variable(x) for x in v.load_all(ps, of_pixel(p, s_pixel))] for p in range(count)]
        with cgutils.for_range(builder, ny) as rows, cgutils.for_range(builder, nx) as columns:
            at = builder.add(builder.mul(rows.index, weight_row), builder.mul(columns.index, weight_column))
            weight = v.load_all(pw, at)
            at = builder.add(builder.mul(rows.index, image_row), builder.mul(columns.index, image_column))
            for p, totals in enumerate(sums):
                v.add_products(totals, v.load_all(pi, builder.add(at, of_pixel(p, i_pixel))), weight)
        bound = v.splat(v.of_double(args[6]))
        for p, totals in enumerate(sums):
            v.store_all([v.at_least(builder.load(t), bound) for t in totals], po, of_pixel(p, o_pixel))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic(prefer_literal=True)
def add_products(typingctx, share, x, dy, count, total):
    """total[0] += sum of x[p] * dy[p] over p < count, for as many channels as 1/share (literal) of WIDE vectors.

    x, dy and total are Matrix tuples with a pixel a row.
    """
    part = literal(share, "share")
    signature = types.void(share, x, dy, types.intp, total)

    def codegen(context, builder, signature, args):
        kinds = signature.args
        v = Channels(context, builder, kinds[1].types[0], part)
        px, x_pixel = window_of(context, builder, kinds[1], args[1])
        py, y_pixel = window_of(context, builder, kinds[2], args[2])
        pt, _ = window_of(context, builder, kinds[4], args[4])
        zero, several = ir.Constant(WORD, 0), ir.Constant(WORD, PIXELS)
        nothing = [ir.Constant(v.kind, None) for _ in v.offsets]
        starts = [v.load_all(pt, zero)] + [nothing] * (PIXELS - 1)
        sums = [[v.variable(value) for value in start] for start in starts]

        def add(pixel, totals):
            xs, ys = v.load_all(px, builder.mul(pixel, x_pixel)), v.load_all(py, builder.mul(pixel, y_pixel))
            v.add_products(totals, xs, ys)

        whole = builder.udiv(args[3], several)
        done = builder.mul(whole, several)
        with cgutils.for_range(builder, whole) as loop:
            for i, totals in enumerate(sums):
                add(builder.add(builder.mul(loop.index, several), ir.Constant(WORD, i)), totals)
        with cgutils.for_range(builder, builder.sub(args[3], done)) as loop:
            add(builder.add(done, loop.index), sums[0])
        results = [builder.load(total) for total in sums[0]]
        for totals in sums[1:]:
            results = [builder.fadd(r, builder.load(t)) for r, t in zip(results, totals, strict=True)]
        v.store_all(results, pt, zero)
        return context.get_dummy_value()

    return signature, codegen


@device_function
def filter_pixels(several, size, stencil, image, weights, start, lower, out):
    """`filter_tile` for PIXELS pixels, or one, and `size` channels."""
    most = WIDE * lanes_of(image.data)
    if size == most and several:
        filter_tile(PIXELS, 1, stencil, image, weights, start, lower, out)
    elif size == most:
        filter_tile(1, 1, stencil, image, weights, start, lower, out)
    elif size == most // 4 and several:
        filter_tile(PIXELS, 4, stencil, image, weights, start, lower, out)
    elif size == most // 4:
        filter_tile(1, 4, stencil, image, weights, start, lower, out)
    elif size == most // 16 and several:
        filter_tile(PIXELS, 16, stencil, image, weights, start, lower, out)
    elif size == most // 16:
        filter_tile(1, 16, stencil, image, weights, start, lower, out)
    elif several:
        filter_tile(PIXELS, 256, stencil, image, weights, start, lower, out)
    else:
        filter_tile(1, 256, stencil, image, weights, start, lower, out)


@device_function
def clipped(stencil, ny, nx):
    """The stencil with fewer taps."""
    s = stencil
    return Stencil(ny, nx, s.image_row, s.image_column, s.weight_row, s.weight_column)


@device_function
def filter_row(image, s, weights, stencil, start, lower, out, o, n, qy, size):
    """One row of `size` channels. image: of the implicit pixel (0, 0); weights: of tap (0, 0).

    start: what is added, one row for all pixels (row pitch 0), or the results so far.
    """
    y = qy * s.my + s.by
    top, bottom = valid_range(y, s.sy, s.h, s.ny)
    reach = max(s.nx - 1, 0) * s.sx
    begin, end = valid_range(s.bx, s.mx, s.w - reach, s.qw)  # pixels whose taps are all inside
    line = image.at + (n * s.h + y + top * s.sy) * s.w * s.pitch
    row_out = out.at + ((n * o.h + o.by + qy * o.my) * o.w + o.bx) * o.pitch
    qx = 0
    while qx < s.qw:
        several = begin <= qx < end and end - begin >= PIXELS
        left, right = 0, s.nx
        if several and start.row == 0:
            qx = min(qx, end - PIXELS)  # the last tile overlaps the one before it
        elif several:
            several = qx + PIXELS <= end
        x = qx * s.mx + s.bx
        if not several:
            left, right = valid_range(x, s.sx, s.w, s.nx)
        taps = clipped(stencil, bottom - top, right - left)
        source = Matrix(image.data, line + (x + left * s.sx) * s.pitch, s.mx * s.pitch)
        w = Matrix(weights.data, weights.at + top * stencil.weight_row + left * stencil.weight_column, 0)
        into = Matrix(out.data, row_out + qx * o.mx * o.pitch, o.mx * o.pitch)
        filter_pixels(several, size, taps, source, w, start if start.row == 0 else into, lower, into)
        qx += PIXELS if several else 1


# --- kernels -------------------------------------------------------------------------------------------------------


@cpu_kernel(lambda x, weight, bias, y, lower, g: g.n * g.oh * channel_blocks(g))
def depthwise_forward(x, weight, bias, y, lower, g, first, last):
    """y[n,oy,ox,c*mult+m] = max(sum over ky,kx of x[n,iy,ix,c] w[ky,kx,c,m] + bias[c*mult+m], lower).

    x (n,h,w,c), weight (kh,kw,c,mult), bias (c*mult,) or empty -> y (n,oh,ow,c*mult). lower may be -inf.
    """
    x, weight, bias, y = flat(x), flat(weight), flat(bias), flat(y)
    zeros = stack_array(y, MOST)
    clear(zeros, 0, MOST)
    multiplier, parts = g.f // g.c, channel_blocks(g)
    s, o = forward_sampling(g, 0), Landing(g.oh, g.ow, g.f, 0, 1, 1, 0, 0)
    stencil = Stencil(g.kh, g.kw, g.dh * g.w * g.c, g.dw * g.c, g.kw * g.f, g.f)
    for item in range(first, last):
        part, line = item % parts, item // parts
        channel, end = g.c * part // parts * multiplier, g.c * (part + 1) // parts * multiplier
        while channel < end:
            size = lanes_at(channel, end, WIDE * lanes_of(y)) if multiplier == 1 else 1
            image, w = Matrix(x, channel // multiplier, 0), Matrix(weight, channel, 0)
            start = Matrix(bias, channel, 0) if bias.size else Matrix(zeros, 0, 0)
            out = Matrix(y, channel, 0)
            filter_row(image, s, w, stencil, start, lower, out, o, line // g.oh, line % g.oh, size)
            channel += size


@cpu_kernel(lambda dy, weight, dx, g: g.n * g.h * channel_blocks(g))
def depthwise_backward_data(dy, weight, dx, g, first, last):
    """dx[n,iy,ix,c] = sum over ky,kx,m of dy[n,oy,ox,c*mult+m] w[ky,kx,c,m].

    dy (n,oh,ow,c*mult), weight (kh,kw,c,mult) -> dx (n,h,w,c). Pixel classes as in `conv_backward_data`.
    """
    dy, weight, dx = flat(dy), flat(weight), flat(dx)
    zeros = stack_array(dx, MOST)
    clear(zeros, 0, MOST)
    multiplier, parts = g.f // g.c, channel_blocks(g)
    for item in range(first, last):
        part, line = item % parts, item // parts
        n, iy, ry = line // g.h, line % g.h, line % g.h % g.sh
        rows = taps_of(ry, g.pt, g.kh, g.sh, g.dh)
        for rx in range(min(g.sw, g.w)):
            columns = taps_of(rx, g.pl, g.kw, g.sw, g.dw)
            s, o = backward_sampling(g, 0, ry, rx), Landing(g.h, g.w, g.c, 0, g.sh, g.sw, ry, rx)
            stencil = Stencil(
                rows.number, columns.number, rows.step * g.ow * g.f, columns.step * g.f,
                -rows.period * g.kw * g.f, -columns.period * g.f,
            )  # fmt: skip
            w_at = (rows.highest * g.kw + columns.highest) * g.f
            channel, end = g.c * part // parts, g.c * (part + 1) // parts
            while channel < end:
                size = lanes_at(channel, end, WIDE * lanes_of(dx)) if multiplier == 1 else 1
                for m in range(multiplier):
                    at = channel * multiplier + m
                    start = Matrix(zeros, 0, 0) if m == 0 else Matrix(dx, 0, 1)
                    image, w = Matrix(dy, at, 0), Matrix(weight, w_at + at, 0)
                    out = Matrix(dx, channel, 0)
                    filter_row(image, s, w, stencil, start, -math.inf, out, o, n, iy // g.sh, size)
                channel += size


@cpu_kernel(lambda x, dy, partials, g: weight_parts(g) * channel_blocks(g))
def depthwise_backward_weights(x, dy, partials, g, first, last):
    """partials[part] = sum over the rows n,oy of a part of x[n,iy,ix,c] dy[n,oy,ox,c*mult+m], at [ky,kx,c,m].

    x (n,h,w,c), dy (n,oh,ow,c*mult) -> partials (parts, kh*kw*c*mult); their sum is the gradient of the weights.
    """
    x, dy, partials = flat(x), flat(dy), flat(partials)
    multiplier, parts, cuts = g.f // g.c, weight_parts(g), channel_blocks(g)
    for item in range(first, last):
        part, cut = item // cuts, item % cuts
        begin, end = g.c * cut // cuts * multiplier, g.c * (cut + 1) // cuts * multiplier
        for tap in range(g.kh * g.kw):
            clear(partials, (part * g.kh * g.kw + tap) * g.f + begin, end - begin)
        for line in range(g.n * g.oh * part // parts, g.n * g.oh * (part + 1) // parts):
            for tap in range(g.kh * g.kw):
                iy, kx = line % g.oh * g.sh - g.pt + tap // g.kw * g.dh, tap % g.kw * g.dw - g.pl
                left, right = valid_range(kx, g.sw, g.w, g.ow)
                if 0 <= iy < g.h and left < right:
                    x_at = ((line // g.oh * g.h + iy) * g.w + kx + left * g.sw) * g.c
                    channel = begin
                    while channel < end:
                        size = lanes_at(channel, end, WIDE * lanes_of(x)) if multiplier == 1 else 1
                        image = Matrix(x, x_at + channel // multiplier, g.sw * g.c)
                        grad = Matrix(dy, (line * g.ow + left) * g.f + channel, g.f)
                        total = Matrix(partials, (part * g.kh * g.kw + tap) * g.f + channel, 0)
                        add_row(size, image, grad, right - left, total)
                        channel += size


@device_function
def add_row(size, image, grad, count, total):
    """`add_products` for `size` channels."""
    most = WIDE * lanes_of(total.data)
    if size == most:
        add_products(1, image, grad, count, total)
    elif size == most // 4:
        add_products(4, image, grad, count, total)
    elif size == most // 16:
        add_products(16, image, grad, count, total)
    else:
        add_products(256, image, grad, count, total)
