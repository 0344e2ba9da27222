"""Pooling: each output cell sees the part of its window that lies in the image; padded cells count for nothing.

Window row `ky` of output row `oy` is input row `iy = oy * sh - pt + ky`; columns likewise. Images are NHWC.
"""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastcnn_kernels.elementwise import larger
from fastcnn_kernels.jit import VECTOR_BYTES, cpu_kernel, device_function, scalar, shape_function, stack_array
from fastcnn_kernels.microkernel import (
    Vectors,
    choose,
    constant,
    copy,
    function_once,
    itemsize_of,
    lanes,
    pointer_to,
)
from fastcnn_kernels.microkernel import clear as clear_run

BLOCK = 256  # channels whose running results are kept on the stack
FEW = 12  # channels: with fewer, a loop over them is too short to be worth its start
SPAN = 16  # numbers that are computed instead: what is beyond the channels belongs to the next window, or to nobody
SIDES = 2, 3  # of the usual windows, which have code of their own
CELLS = 4  # of windows side by side: more, of few channels, are quicker row by row
MASKS = VECTOR_BYTES > 16  # whether a processor reads and writes parts of a vector in one instruction
BUFFER = 8192  # numbers of rows that are kept on the stack


class WindowGeometry(NamedTuple):
    """A window of kh x kw cells that moves by sh, sw over an image padded by pt above and pl on the left."""

    n: int
    h: int
    w: int
    c: int
    kh: int
    kw: int
    sh: int
    sw: int
    pt: int
    pl: int
    oh: int
    ow: int


@scalar
def window_start(o, stride, pad):
    """First input cell of window `o` that lies in the image."""
    return max(0, o * stride - pad)


@scalar
def window_stop(o, stride, pad, kernel, size):
    """One past the last input cell of window `o` that lies in the image."""
    return min(size, o * stride - pad + kernel)


@scalar
def first_window(i, stride, pad, kernel):
    """The first window that covers input cell `i` or a later one."""
    return max(0, (i + pad - kernel) // stride + 1)


@scalar
def last_window(i, stride, pad, out):
    """One past the last of `out` windows that cover input cell `i` or an earlier one."""
    return min(out, (i + pad) // stride + 1)


@scalar
def cells_along(o, stride, pad, kernel, size):
    """How many cells of window `o` lie in the image."""
    return max(1, window_stop(o, stride, pad, kernel, size) - window_start(o, stride, pad))


@device_function
def run_of_windows(ox, g):
    """(first column of window ox, one past its last, how many windows from it on are as wide, and not cut off)."""
    left, right = window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)
    whole = min((g.w - g.kw + g.pl) // g.sw + 1, g.ow) - ox
    return left, right, max(whole if ox * g.sw >= g.pl else 1, 1)


@scalar
def is_maximum(x, y):
    """Whether x is the maximum y of a set that holds it; the maximum of a set with a NaN is NaN."""
    return x == y or x != x


# --- few channels: vectors of SPAN numbers, of which the first are meant -------------------------------------------


def spans(context, builder, array):
    """Vector instructions for SPAN numbers of an array's dtype; LLVM cuts them into registers."""
    return Vectors(context, builder, array.dtype, SPAN)


@intrinsic
def largest_span(typingctx, source, at, step, count, to, to_at):
    """to[to_at + j] = max of source[at + i * step + j] over i < count, for j < SPAN; NaN wins."""

    def codegen(context, builder, signature, args):
        kinds, v = signature.args, spans(context, builder, signature.args[0])
        origin = pointer_to(context, builder, kinds[0], args[0], args[1])
        largest = v.variable(v.splat(ir.Constant(v.scalar, -math.inf)))
        with cgutils.for_range(builder, args[3]) as loop:
            number, before = v.load(origin, builder.mul(loop.index, args[2])), builder.load(largest)
            wins = builder.or_(
                builder.fcmp_ordered(">", number, before), builder.fcmp_unordered("uno", number, number)
            )
            builder.store(builder.select(wins, number, before), largest)
        v.store(builder.load(largest), pointer_to(context, builder, kinds[4], args[4], args[5]), constant(0))
        return context.get_dummy_value()

    word = types.intp
    return types.void(source, word, word, word, to, word), codegen


@intrinsic
def mean_span(typingctx, totals, at, step, count, scale, to, to_at):
    """to[to_at + j] = scale * sum of totals[at + i * step + j] over i < count, for j < SPAN. totals: of float64."""

    def codegen(context, builder, signature, args):
        kinds, v = signature.args, spans(context, builder, signature.args[0])
        origin = pointer_to(context, builder, kinds[0], args[0], args[1])
        total = v.variable(ir.Constant(v.kind, None))
        with cgutils.for_range(builder, args[3]) as loop:
            number = v.load(origin, builder.mul(loop.index, args[2]))
            builder.store(builder.fadd(builder.load(total), number), total)
        mean, narrow = builder.fmul(builder.load(total), v.splat(args[4])), spans(context, builder, kinds[5])
        if narrow.itemsize < v.itemsize:
            mean = builder.fptrunc(mean, narrow.kind)
        narrow.store(mean, pointer_to(context, builder, kinds[5], args[5], args[6]), constant(0))
        return context.get_dummy_value()

    word = types.intp
    return types.void(totals, word, word, word, types.float64, to, word), codegen


@intrinsic
def spread_span(typingctx, dy, at, channels, scale, count, dx, dx_at):
    """dx[dx_at + i * channels + j] += scale * dy[at + j] for i < count, j < channels; 0 up to SPAN."""

    def codegen(context, builder, signature, args):
        kinds, v = signature.args, spans(context, builder, signature.args[0])
        numbers = ir.Constant(ir.VectorType(ir.IntType(64), SPAN), list(range(SPAN)))
        counts = builder.icmp_signed(
            "<", numbers, Vectors(context, builder, types.int64, SPAN).splat(args[2])
        )
        share = v.load(pointer_to(context, builder, kinds[0], args[0], args[1]), constant(0))
        share = builder.select(counts, builder.fmul(share, v.splat(args[3])), ir.Constant(v.kind, None))
        into = pointer_to(context, builder, kinds[5], args[5], args[6])
        with cgutils.for_range(builder, args[4]) as loop:
            place = builder.mul(loop.index, args[2])
            v.store(builder.fadd(v.load(into, place), share), into, place)
        return context.get_dummy_value()

    word = types.intp
    return types.void(dy, word, word, dy.dtype, word, dx, word), codegen


@shape_function
def overlap(g):
    """Whether a cell may be in several windows."""
    return g.kw > g.sw or g.kh > g.sh


@shape_function
def fits_spans(g):
    """Whether channels are few, and rows short enough for the stack."""
    return g.c < FEW and max(g.w, g.ow) * g.c + SPAN <= BUFFER


@device_function
def pool_row(x, y, n, oy, g):
    """A row of maxima over windows: first down the windows' columns, whose numbers are neighbours, then along."""
    tallest, results, line = stack_array(y, BUFFER), stack_array(y, BUFFER), g.w * g.c
    for j in range(line):
        tallest[j] = -math.inf
    for iy in range(window_start(oy, g.sh, g.pt), window_stop(oy, g.sh, g.pt, g.kh, g.h)):
        xs = x[(n * g.h + iy) * line :][:line]
        for j in range(line):
            tallest[j] = larger(tallest[j], xs[j])
    for ox in range(g.ow):
        left, right = window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)
        largest_span(tallest, left * g.c, g.c, right - left, results, ox * g.c)
    copy(y, (n * g.oh + oy) * g.ow * g.c, results, 0, g.ow * g.c)


@device_function
def average_row(x, y, n, oy, g):
    """A row of means over windows of few channels: sums down the windows' columns, in float64, then along."""
    totals, results, line = stack_array(np.float64, BUFFER), stack_array(y, BUFFER), g.w * g.c
    for j in range(line):
        totals[j] = 0.0
    for iy in range(window_start(oy, g.sh, g.pt), window_stop(oy, g.sh, g.pt, g.kh, g.h)):
        xs = x[(n * g.h + iy) * line :][:line]
        for j in range(line):
            totals[j] += xs[j]
    height = cells_along(oy, g.sh, g.pt, g.kh, g.h)
    for ox in range(g.ow):
        left, right = window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)
        scale = 1.0 / (height * cells_along(ox, g.sw, g.pl, g.kw, g.w))
        mean_span(totals, left * g.c, g.c, right - left, scale, results, ox * g.c)
    copy(y, (n * g.oh + oy) * g.ow * g.c, results, 0, g.ow * g.c)


@device_function
def spread_row(dy, dx, n, iy, g):
    """A row of the gradient of means, of few channels: every window that covers it adds its share."""
    row, dys, line, results = stack_array(dx, BUFFER), stack_array(dx, BUFFER), g.w * g.c, g.ow * g.c
    clear_run(row, 0, line + SPAN)
    for oy in range(first_window(iy, g.sh, g.pt, g.kh), last_window(iy, g.sh, g.pt, g.oh)):
        height = cells_along(oy, g.sh, g.pt, g.kh, g.h)
        copy(dys, 0, dy, (n * g.oh + oy) * results, results)
        for ox in range(g.ow):
            left, right = window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)
            scale = dx.dtype.type(1.0 / (height * cells_along(ox, g.sw, g.pl, g.kw, g.w)))
            spread_span(dys, ox * g.c, g.c, scale, right - left, row, left * g.c)
    copy(dx, (n * g.h + iy) * line, row, 0, line)


# --- many channels: vectors of them, window after window of a row --------------------------------------------------

# Windows of a row are (how many, distance, rows, columns, distance of rows, channels). All have as many columns.


def _for_vectors(context, builder, array, channels, vectors, emit):
    """`emit(v, places)` for groups of vectors, single ones, and what is left of the channels."""
    number, start = lanes(itemsize_of(context, array)), constant(0)
    for group in (vectors, 1):
        wide = constant(number * group)
        stop = builder.mul(builder.sdiv(channels, wide), wide)
        with cgutils.for_range_slice(builder, start, stop, wide) as (j, _):
            places = [builder.add(j, constant(k * number)) for k in range(group)]
            emit(Vectors(context, builder, array.dtype, number), places)
        start = stop
    rest = builder.sub(channels, start)
    half = builder.icmp_signed("<=", rest, constant(number // 2))
    with builder.if_then(builder.icmp_signed("<", start, channels)), builder.if_else(half) as cases:
        for case, size in zip(cases, (number // 2, number), strict=True):
            with case:
                emit(Vectors(context, builder, array.dtype, size, rest), [start])


def _call_for_shape(context, builder, name, array, words, emit):
    """Call the function that `emit` writes for one of the SIDES, or for any windows: the last words."""
    function_type = ir.FunctionType(ir.VoidType(), [w.type for w in words])
    rows, columns = words[-4:-2]

    def call(side):
        named = f"fastcnn_{name}_{side or 'any'}_{array.dtype}"
        write = partial(emit, context, array, side)
        builder.call(function_once(builder.module, named, function_type, write), words)

    key = constant(0)
    for side in SIDES:
        square = builder.and_(
            *(builder.icmp_signed("==", count, constant(side)) for count in (rows, columns))
        )
        key = builder.select(square, constant(side), key)
    choose(builder, key, {side: partial(call, side) for side in (0, *SIDES)})


def _for_cells(builder, side, windows, first, last, visit):
    """`visit` the place of every cell of the rows [first, last), in order; of all `side` x `side` if that is given."""
    columns, row, channels = windows
    if side:
        for r in range(side):
            for c in range(side):
                visit(builder.add(builder.mul(constant(r), row), builder.mul(constant(c), channels)))
        return
    with cgutils.for_range(builder, last, start=first) as r, cgutils.for_range(builder, columns) as c:
        visit(builder.add(builder.mul(r.index, row), builder.mul(c.index, channels)))


@intrinsic
def largest_of_windows(typingctx, x, at, y, result, windows):
    """y[result + i * channels + j] = the largest x[at + i * distance + ...] of window i and channel j; NaN wins."""

    def codegen(context, builder, signature, args):
        kinds = signature.args
        pointers = [pointer_to(context, builder, kinds[i], args[i], args[i + 1]) for i in (0, 2)]
        words = [*pointers, *cgutils.unpack_tuple(builder, args[4])]
        _call_for_shape(context, builder, "largest_of_windows", kinds[0], words, _emit_largest)
        return context.get_dummy_value()

    return types.void(x, types.intp, y, types.intp, windows), codegen


def _emit_largest(context, array, side, builder):
    px, py, number, step, rows, columns, row, channels = builder.function.args
    with cgutils.for_range(builder, number) as window:
        source = builder.gep(px, [builder.mul(window.index, step)])
        target = builder.gep(py, [builder.mul(window.index, channels)])

        def find(v, places):
            lowest = v.splat(ir.Constant(v.scalar, -math.inf))
            largest = [v.variable(lowest) for _ in places]

            def compare(cell):
                for place, slot in zip(places, largest, strict=True):
                    x, before = v.read(source, builder.add(cell, place)), builder.load(slot)
                    above = builder.fcmp_ordered(">", x, before)
                    wins = builder.or_(above, builder.fcmp_unordered("uno", x, x))
                    builder.store(builder.select(wins, x, before), slot)

            _for_cells(builder, side, (columns, row, channels), constant(0), rows, compare)
            for place, slot in zip(places, largest, strict=True):
                v.write(builder.load(slot), target, place)

        _for_vectors(context, builder, array, channels, 2, find)
    builder.ret_void()


@intrinsic
def route_windows(typingctx, x, at, y, dy, result, dx, floor, windows):
    """dx[at + i * distance + ...] = dy[result + i * channels + j] where x is the first maximum y, or NaN, of window i
    and channel j, else 0. Where y is not above the floor, there is no gradient.
    """

    def codegen(context, builder, signature, args):
        kinds = signature.args
        words = [*_routed_arrays(context, builder, kinds, args), *cgutils.unpack_tuple(builder, args[7])]
        _call_for_shape(context, builder, "route_windows", kinds[0], words, _emit_routes)
        return context.get_dummy_value()

    return types.void(x, types.intp, y, dy, types.intp, dx, x.dtype, windows), codegen


@intrinsic
def add_routes(typingctx, x, at, y, dy, result, dx, floor, above, windows):
    """The same for windows that overlap: dx += ... above: rows of the windows that are only looked at."""

    def codegen(context, builder, signature, args):
        kinds = signature.args
        words = [
            *_routed_arrays(context, builder, kinds, args),
            args[7],
            *cgutils.unpack_tuple(builder, args[8]),
        ]
        function_type = ir.FunctionType(ir.VoidType(), [w.type for w in words])
        write = partial(_emit_added_routes, context, kinds[0])
        named = f"fastcnn_add_routes_{kinds[0].dtype}"
        builder.call(function_once(builder.module, named, function_type, write), words)
        return context.get_dummy_value()

    return types.void(x, types.intp, y, dy, types.intp, dx, x.dtype, types.intp, windows), codegen


def _routed_arrays(context, builder, kinds, args):
    """Pointers into x, y, dy and dx, and the floor."""
    places = (0, 1), (2, 4), (3, 4), (5, 1)
    return [*(pointer_to(context, builder, kinds[i], args[i], args[at]) for i, at in places), args[6]]


def _emit_routes(context, array, side, builder):
    *arrays, floor, number, step, rows, columns, row, channels = builder.function.args

    def route(v, place, source, target, look):
        def write(cell, routed):
            v.write(routed, target, cell)

        look(constant(0), rows, write)

    _emit_routing(context, array, side, arrays, floor, (number, step, columns, row, channels), route, builder)


def _emit_added_routes(context, array, builder):
    *arrays, floor, above, number, step, rows, columns, row, channels = builder.function.args

    def route(v, place, source, target, look):
        def add(cell, routed):
            v.write(builder.fadd(v.read(target, cell), routed), target, cell)

        look(constant(0), above, lambda cell, routed: None)
        look(above, rows, add)

    _emit_routing(context, array, 0, arrays, floor, (number, step, columns, row, channels), route, builder)


def _emit_routing(context, array, side, arrays, floor, windows, route, builder):
    """For all windows and vectors of channels, what `route` writes: `look` tells it what of dy each cell gets."""
    (px, py, pdy, pdx), (number, step, columns, row, channels) = arrays, windows
    with cgutils.for_range(builder, number) as window:
        cells, results = builder.mul(window.index, step), builder.mul(window.index, channels)
        source, target = (builder.gep(pointer, [cells]) for pointer in (px, pdx))
        maxima, gradient = (builder.gep(pointer, [results]) for pointer in (py, pdy))

        def vector(v, places):
            (place,) = places
            nothing, maximum = ir.Constant(v.kind, None), v.read(maxima, place)
            counts = builder.fcmp_unordered(">", maximum, v.splat(floor))
            waiting = v.variable(builder.select(counts, v.read(gradient, place), nothing))

            def look(first, last, found):
                def visit(cell):
                    cell = builder.add(cell, place)
                    x, before = v.read(source, cell), builder.load(waiting)
                    equal = builder.fcmp_ordered("==", x, maximum)
                    hit = builder.or_(equal, builder.fcmp_unordered("uno", x, x))
                    builder.store(builder.select(hit, nothing, before), waiting)
                    found(cell, builder.select(hit, before, nothing))

                _for_cells(builder, side, (columns, row, channels), first, last, visit)

            route(v, place, source, target, look)

        _for_vectors(context, builder, array, channels, 1, vector)
    builder.ret_void()


# --- kernels -------------------------------------------------------------------------------------------------------


@cpu_kernel(lambda x, y, g: g.n * g.oh)
def max_pool_forward(x, y, g, first, last):
    """y[n,oy,ox,c] = max of x[n,iy,ix,c] over the window.  x (n,h,w,c) -> y (n,oh,ow,c).  NaN wins."""
    flat_x, flat_y = x.reshape(x.size), y.reshape(y.size)
    for item in range(first, last):
        n, oy = item // g.oh, item % g.oh
        if fits_spans(g) and (overlap(g) or g.kh * g.kw > CELLS or not MASKS):
            pool_row(flat_x, flat_y, n, oy, g)
            continue
        top, bottom = window_start(oy, g.sh, g.pt), window_stop(oy, g.sh, g.pt, g.kh, g.h)
        ox = 0
        while ox < g.ow:
            left, right, some = run_of_windows(ox, g)
            windows = some, g.sw * g.c, bottom - top, right - left, g.w * g.c, g.c
            cell = ((n * g.h + top) * g.w + left) * g.c
            largest_of_windows(flat_x, cell, flat_y, ((n * g.oh + oy) * g.ow + ox) * g.c, windows)
            ox += some


@shape_function
def band_count(g):
    """The input rows fall into bands of sh rows, such that window row oy starts where band oy does."""
    return (g.h - 1 + g.pt) // g.sh + 1


@shape_function
def covers(g):
    """Whether every cell of the rows that windows see is in exactly one of them."""
    return g.kh == g.sh and g.kw == g.sw and g.ow * g.sw - g.pl >= g.w


@cpu_kernel(lambda x, y, dy, dx, floor, g: g.n * band_count(g))
def max_pool_backward(x, y, dy, dx, floor, g, first, last):
    """dx = dy at the first maximum of each window in row-major order, summed over windows, and 0 elsewhere.

    Windows whose maximum is not above `floor` count as if their dy were 0; none if it is NaN. x and y are input and
    output of the forward. x, dx (n,h,w,c); y, dy (n,oh,ow,c). An item writes one band of dx; it walks every window
    that reaches into the band from the window's top, so that "first" is known.
    """
    bands, floor = band_count(g), x.dtype.type(floor)
    flat_x, flat_y = x.reshape(x.size), y.reshape(y.size)
    flat_dx, flat_dy = dx.reshape(dx.size), dy.reshape(dy.size)
    for item in range(first, last):
        n, band = item // bands, item % bands
        top, bottom = window_start(band, g.sh, g.pt), window_stop(band, g.sh, g.pt, g.sh, g.h)
        if bottom <= top:  # a band of padding
            continue
        if band >= g.oh or not covers(g):
            clear(dx[n, top:bottom])
        for oy in range(first_window(top, g.sh, g.pt, g.kh), min(g.oh, band + 1)):
            up, down = window_start(oy, g.sh, g.pt), min(bottom, window_stop(oy, g.sh, g.pt, g.kh, g.h))
            above = max(top - up, 0)  # rows of the window that are another item's
            ox = 0
            while ox < g.ow:
                left, right, some = run_of_windows(ox, g)
                result, cell = ((n * g.oh + oy) * g.ow + ox) * g.c, ((n * g.h + up) * g.w + left) * g.c
                windows = some, g.sw * g.c, down - up, right - left, g.w * g.c, g.c
                if overlap(g):
                    add_routes(flat_x, cell, flat_y, flat_dy, result, flat_dx, floor, above, windows)
                else:  # not added: a cell that is read just after its neighbours were written waits for them
                    route_windows(flat_x, cell, flat_y, flat_dy, result, flat_dx, floor, windows)
                ox += some


@device_function
def clear(dx):
    """dx = 0."""
    flat = dx.reshape(dx.size)
    for i in range(flat.size):
        flat[i] = 0


@cpu_kernel(lambda x, y, g: g.n * g.oh)
def average_pool_forward(x, y, g, first, last):
    """y[n,oy,ox,c] = mean of x[n,iy,ix,c] over the window's cells in the image.  x (n,h,w,c) -> y (n,oh,ow,c).

    Sums in float64: a window may be the whole image.
    """
    total, flat_x, flat_y = stack_array(np.float64, BLOCK), x.reshape(x.size), y.reshape(y.size)
    for item in range(first, last):
        n, oy = item // g.oh, item % g.oh
        if fits_spans(g):
            average_row(flat_x, flat_y, n, oy, g)
            continue
        height = cells_along(oy, g.sh, g.pt, g.kh, g.h)
        for ox in range(g.ow):
            scale = 1.0 / (height * cells_along(ox, g.sw, g.pl, g.kw, g.w))
            for start in range(0, g.c, BLOCK):
                ys = y[n, oy, ox, start : min(g.c, start + BLOCK)]
                sum_window(x[n], total, oy, ox, start, g)
                for j in range(ys.size):
                    ys[j] = total[j] * scale


@device_function
def sum_window(x, total, oy, ox, start, g):
    """total[j] = sum of x over one window, for channels start + j."""
    stop = min(g.c, start + BLOCK)
    for j in range(stop - start):
        total[j] = 0.0
    for iy in range(window_start(oy, g.sh, g.pt), window_stop(oy, g.sh, g.pt, g.kh, g.h)):
        for ix in range(window_start(ox, g.sw, g.pl), window_stop(ox, g.sw, g.pl, g.kw, g.w)):
            xs = x[iy, ix, start:stop]
            for j in range(xs.size):
                total[j] += xs[j]


@cpu_kernel(lambda dy, dx, g: g.n * g.h)
def average_pool_backward(dy, dx, g, first, last):
    """dx[n,iy,ix,c] = sum of dy / (cells of the window in the image) over the windows that cover the cell.

    dy (n,oh,ow,c) -> dx (n,h,w,c).
    """
    flat_dy, flat_dx = dy.reshape(dy.size), dx.reshape(dx.size)
    for item in range(first, last):
        n, iy = item // g.h, item % g.h
        if fits_spans(g):
            spread_row(flat_dy, flat_dx, n, iy, g)
            continue
        clear(dx[n, iy])
        for ix in range(g.w):
            dxs = dx[n, iy, ix]
            for oy in range(first_window(iy, g.sh, g.pt, g.kh), last_window(iy, g.sh, g.pt, g.oh)):
                height = cells_along(oy, g.sh, g.pt, g.kh, g.h)
                for ox in range(first_window(ix, g.sw, g.pl, g.kw), last_window(ix, g.sw, g.pl, g.ow)):
                    scale = dx.dtype.type(1.0 / (height * cells_along(ox, g.sw, g.pl, g.kw, g.w)))
                    dys = dy[n, oy, ox]
                    for ch in range(g.c):
                        dxs[ch] += dys[ch] * scale
