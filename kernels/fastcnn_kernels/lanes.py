"""Convolutions of few channels: a vector register holds the same number of as many images, or strips of images.

Where images have one, three or six channels and layers few filters, neither fills a vector. So as many images as a
vector has lanes go through together; if there are fewer, they are cut into strips along their rows. A *panel* is a band
of rows of all these, transposed: element (row, column, channel) of all is one vector. Sums over taps and channels
multiply such vectors by single weights, at full speed for any number of channels and filters; the results, transposed
back, are images again.

    y[n,oy,ox,f] = max(sum over ky,kx,c of x[n,iy,ix,c] w[ky,kx,c,f] + bias[f] + residual[n,oy,ox,f], lower)
"""

import math
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.jit import VECTOR_BYTES, cpu_kernel, device_function, shape_function, stack_array
from fastcnn_kernels.microkernel import (
    Vectors,
    blocks,
    choose,
    clear,
    constant,
    distance,
    flat,
    function_once,
    itemsize_of,
    lanes,
    lanes_of,
    pointer_to,
)
from fastcnn_kernels.moments import Sums, add_run, keep_sums, run_of
from fastcnn_kernels.reduction import TILE

# Sums in registers at a time, as filters x pixels, or as taps x filters of the weights' gradient.
FILTERS = 4
PIXELS = 6 if VECTOR_BYTES == 64 else 2
FEW_PIXELS = 4 if VECTOR_BYTES == 64 else 1
TAPS = 5 if VECTOR_BYTES == 64 else 2
FILTER_TILES = sorted(
    {(filters, pixels) for filters in (FILTERS, 2, 1) for pixels in (PIXELS, FEW_PIXELS, 1)}
)
WEIGHT_TILES = sorted({(taps, filters) for taps in (TAPS, 2, 1) for filters in (FILTERS, 2, 1)})
LARGEST = 16  # no size of a tile is as large
PANEL = 1 << 15  # numbers that the panels of a band may have: they stay in the second-level cache
PARTS = 16  # of the images, whose contributions to the weights' gradient are summed apart
MOST_FILTERS = 1024
MOST_LANES = VECTOR_BYTES // 4
NOWHERE = -1  # the strip of a lane that has none


class Walk(NamedTuple):
    """Loops over ky < kh, kx < kw, c < channels of a panel: steps from one ky, kx to the next, in numbers."""

    kh: int
    row: int
    kw: int
    column: int
    channels: int


class Lanes(NamedTuple):
    """What the lanes hold: image number, first row of results of the strip; and where a row of it is in memory.

    Number k of that row is at places[j] + (k & steps[j]): a lane without one stays in the same place.
    """

    images: Any
    tops: Any
    places: Any
    steps: Any
    spare: Any  # that place, a vector long


class Panel(NamedTuple):
    """Vectors of a flat array: pixel (row r, column c) begins at at + r * row + c * column."""

    data: Any
    at: int
    row: int
    column: int


# --- the tiles -------------------------------------------------------------------------------------------------


def _call_one(builder, name, sizes, shapes, values, emit):
    """Call the function of the shape that the sizes are, one of those; `emit(shape, builder)` writes each."""
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])

    def call(shape):
        named = f"fastcnn_{name}_{shape[0]}x{shape[1]}"
        builder.call(function_once(builder.module, named, kind, partial(emit, shape)), values)

    key = builder.add(builder.mul(sizes[0], constant(LARGEST)), sizes[1])
    choose(builder, key, {shape[0] * LARGEST + shape[1]: partial(call, shape) for shape in shapes})


@intrinsic
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
    channel k is at weight_at + k * pitch + i. `filters` and `pixels` are one of the `FILTER_TILES`.
    """
    word = types.intp
    arrays = x, word, word, weight, word, word, bias, types.float64, out, word, word
    signature = types.void(word, word, *arrays, walk)

    def codegen(context, builder, signature, args):
        kinds = signature.args
        dtype = kinds[2].dtype
        pointers = [pointer_to(context, builder, kinds[i], args[i], args[i + 1]) for i in (2, 5, 10)]
        start = pointer_to(context, builder, kinds[8], args[8], constant(0))
        words = [args[4], args[7], args[12], *cgutils.unpack_tuple(builder, args[13])]
        values = [*pointers, start, args[9], *words]
        emit = partial(_emit_filters, context, dtype)
        _call_one(builder, f"filters_{dtype}", args[:2], FILTER_TILES, values, emit)
        return context.get_dummy_value()

    return signature, codegen


def _emit_filters(context, dtype, shape, builder):
    px, pw, po, pb, lower, step, pitch, out_step, kh, row, kw, column, channels = builder.function.args
    filters, pixels = shape
    v = Vectors(context, builder, dtype, lanes(context.get_abi_sizeof(context.get_data_type(dtype))))
    starts = [builder.load(builder.gep(pb, [constant(i)])) for i in range(filters)]
    sums = [[v.variable(v.splat(start)) for _ in range(pixels)] for start in starts]
    with cgutils.for_range(builder, kh) as ky, cgutils.for_range(builder, kw) as kx:
        tap = builder.add(builder.mul(ky.index, kw), kx.index)
        at_w = builder.mul(builder.mul(tap, channels), pitch)
        at_x = builder.add(builder.mul(ky.index, row), builder.mul(kx.index, column))
        with cgutils.for_range(builder, channels) as c:
            here = builder.add(at_x, builder.mul(c.index, constant(v.count)))
            there = builder.add(at_w, builder.mul(c.index, pitch))
            xs = [v.load(px, builder.add(here, builder.mul(step, constant(j)))) for j in range(pixels)]
            for i in range(filters):
                number = v.splat(builder.load(builder.gep(pw, [builder.add(there, constant(i))])))
                for j in range(pixels):
                    slot = sums[i][j]
                    builder.store(v.multiply_add(number, xs[j], builder.load(slot)), slot)
    bound = v.splat(v.of_double(lower))
    for i in range(filters):
        for j in range(pixels):
            place = builder.add(builder.mul(out_step, constant(j)), constant(i * v.count))
            v.store(v.at_least(builder.load(sums[i][j]), bound), po, place)
    builder.ret_void()


@intrinsic
def weight_tile(typingctx, taps, filters, x, dy, rows, columns, out, at, pitch, adding):
    """out[at + tap * pitch + filter] (+)= sum over rows, columns and lanes of x vector * dy vector.

    x, dy: `Panel`s; tap t and filter i are t and i vectors further on. `taps`, `filters`: one of the `WEIGHT_TILES`.
    """
    word = types.intp
    signature = types.void(word, word, x, dy, word, word, out, word, word, word)

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
        emit = partial(_emit_weights, context, dtype)
        _call_one(builder, f"weights_{dtype}", args[:2], WEIGHT_TILES, values, emit)
        return context.get_dummy_value()

    return signature, codegen


def _emit_weights(context, dtype, shape, builder):
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
            xs = [v.load(px, builder.add(here, constant(t * v.count))) for t in range(taps)]
            for i in range(filters):
                d = v.load(pd, builder.add(there, constant(i * v.count)))
                for t in range(taps):
                    slot = sums[t][i]
                    builder.store(v.multiply_add(xs[t], d, builder.load(slot)), slot)
    before = builder.icmp_signed("!=", adding, constant(0))
    for t in range(taps):
        for i in range(filters):
            place = builder.gep(po, [builder.add(builder.mul(pitch, constant(t)), constant(i))])
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


@intrinsic
def gather_square(typingctx, to, to_at, source, places, steps, k):
    """to[to_at + i * lanes + j] = source[places[j] + (k & steps[j]) + i] for i, j below `lanes_of(to)`."""

    def codegen(context, builder, signature, args):
        _call_square(context, builder, _emit_gather, signature.args, args)
        return context.get_dummy_value()

    return types.void(to, types.intp, source, places, steps, types.intp), codegen


@intrinsic
def scatter_square(typingctx, source, source_at, to, places, steps, k):
    """to[places[j] + (k & steps[j]) + i] = source[source_at + i * lanes + j] for i, j below `lanes_of(to)`."""

    def codegen(context, builder, signature, args):
        _call_square(context, builder, _emit_scatter, signature.args, args)
        return context.get_dummy_value()

    return types.void(source, types.intp, to, places, steps, types.intp), codegen


def _call_square(context, builder, emit, kinds, args):
    """A function of its own, called: its hundreds of instructions stand in a kernel once."""
    panel = pointer_to(context, builder, kinds[0], args[0], args[1])
    others = [pointer_to(context, builder, kinds[i], args[i], constant(0)) for i in (2, 3, 4)]
    values = [panel, *others, args[5]]
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
    v = context, kinds[0].dtype, lanes(itemsize_of(context, kinds[0]))
    name = f"fastcnn{emit.__name__}_{kinds[0].dtype}"
    function = function_once(builder.module, name, kind, lambda b: emit(Vectors(v[0], b, v[1], v[2])))
    builder.call(function, values)


def _emit_gather(v):
    panel, source, *lanes_at = v.builder.function.args
    rows = [v.load(source, place) for place in _lane_places(v, *lanes_at)]
    for i, row in enumerate(v.transposed(rows)):
        v.store(row, panel, constant(i * v.count))
    v.builder.ret_void()


def _emit_scatter(v):
    panel, to, *lanes_at = v.builder.function.args
    rows = v.transposed([v.load(panel, constant(i * v.count)) for i in range(v.count)])
    for row, place in zip(rows, _lane_places(v, *lanes_at), strict=True):
        v.store(row, to, place)
    v.builder.ret_void()


def _lane_places(v, places, steps, k):
    """places[j] + (k & steps[j]) of every lane j."""
    found = []
    for j in range(v.count):
        place, step = (v.builder.load(v.builder.gep(table, [constant(j)])) for table in (places, steps))
        found.append(v.builder.add(place, v.builder.and_(k, step)))
    return found


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
def strip_rows(g, width):
    """Rows of results of a strip: all, or where images are fewer than lanes, so few that more lanes have some."""
    return blocks(g.oh, min(max(width // max(g.n, 1), 1), g.oh))


@shape_function
def strips(g, width):
    """How many strips an image is cut into."""
    return blocks(g.oh, strip_rows(g, width))


@shape_function
def band_rows(g, width):
    """Rows of results that are computed at a time."""
    fixed = (g.kh - 1) * g.dh * panel_columns(g) * g.c * width
    row = (g.sh * panel_columns(g) * g.c + g.ow * g.f) * width
    return min(max((PANEL - fixed) // row, 1), strip_rows(g, width))


@shape_function
def lane_bands(g, width):
    """How many bands there are, in all lanes full of strips."""
    return blocks(g.n * strips(g, width), width) * blocks(strip_rows(g, width), band_rows(g, width))


def lanes_moment_parts(g: ConvGeometry, itemsize: int) -> int:
    """Bands whose moments `lanes_forward` writes; 0 where filters are too many for that."""
    return lane_bands(g, lanes(itemsize)) if g.f <= TILE else 0


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
    return min(PARTS, lane_bands(g, width))


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
def band_of(g, item, width):
    """(number of the lanes full of strips, first row within the strips, rows) of a band."""
    rows, band = strip_rows(g, width), band_rows(g, width)
    bands = blocks(rows, band)
    top = item % bands * band
    return item // bands, top, min(band, rows - top)


@device_function
def assign_lanes(g, group, width, table):
    """Give each lane its strip."""
    rows, count = strip_rows(g, width), strips(g, width)
    for j in range(width):
        strip = group * width + j
        table.images[j] = strip // count
        table.tops[j] = strip % count * rows if strip < g.n * count else NOWHERE


@device_function
def aim(table, width, first, stride, height, image, line, column, spare):
    """Point each lane to row tops * stride + first of its image, from `column` on, or to `spare`; how many have it."""
    found = 0
    for j in range(width):
        row = table.tops[j] * stride + first
        has = table.tops[j] >= 0 and row >= 0 and row < height
        table.places[j] = table.images[j] * image + row * line + column if has else spare
        table.steps[j] = -1 if has else 0
        found += 1 if has else 0
    return found


@device_function
def gather_lanes(source, table, count, panel, to):
    """panel[to + k * lanes + j] = number k < count of the row that lane j points to."""
    width = lanes_of(panel)
    if count >= width:
        for k in range(0, count, width):
            first = min(k, count - width)  # the last ones perhaps once more
            gather_square(panel, to + first * width, source, table.places, table.steps, first)
        return
    for k in range(count):
        for j in range(width):
            panel[to + k * width + j] = source[table.places[j] + (k & table.steps[j])]


@device_function
def scatter_lanes(panel, begin, count, target, table):
    """Number k < count of the row that lane j points to = panel[begin + k * lanes + j]."""
    width = lanes_of(panel)
    if count >= width:
        for k in range(0, count, width):
            first = min(k, count - width)
            scatter_square(panel, begin + first * width, target, table.places, table.steps, first)
        return
    for j in range(width):
        for k in range(count):
            target[table.places[j] + (k & table.steps[j])] = panel[begin + k * width + j]


@device_function
def load_band(x, g, top, rows, panel, table):
    """Rows [top, top + rows) of the image, counted from where the strips begin, as a panel; zeros outside."""
    width, columns = lanes_of(panel), panel_columns(g)
    pitch, image = columns * g.c * width, g.h * g.w * g.c
    left = min(max(g.pl, 0), columns)
    first = max(-g.pl, 0)
    inside = max(min(g.w - first, columns - left), 0)
    clear(table.spare, 0, width)
    spare = distance(x, table.spare)
    for r in range(rows):
        to = r * pitch + left * g.c * width
        found = aim(table, width, top + r, g.sh, g.h, image, g.w * g.c, first * g.c, spare)
        if found == 0 or inside == 0:
            clear(panel, r * pitch, pitch)
            continue
        clear(panel, r * pitch, left * g.c * width)
        gather_lanes(x, table, inside * g.c, panel, to)
        clear(panel, to + inside * g.c * width, (columns - left - inside) * g.c * width)


@device_function
def next_rows(g, top, done, rows, width):
    """How many rows of results after `done` all strips have, hence are one piece in every lane; at least one."""
    shortest = g.oh - (strips(g, width) - 1) * strip_rows(g, width)
    return max(min(shortest - top, rows) - done, 1)


@device_function
def load_results(dy, g, top, rows, panel, table):
    """Rows [top, top + rows) of the strips of dy as a panel, zeros where a strip has less."""
    width, line, done = lanes_of(panel), g.ow * g.f, 0
    clear(table.spare, 0, width)
    spare = distance(dy, table.spare)
    while done < rows:
        count = next_rows(g, top, done, rows, width)
        aim(table, width, top + done, 1, g.oh, g.oh * line, line, 0, spare)
        gather_lanes(dy, table, count * line, panel, done * line * width)
        done += count


@device_function
def store_results(panel, y, residual, lower, g, top, rows, table):
    """Rows [top, top + rows) of the strips of y from a panel, with the residual if there is one."""
    width, line, done = lanes_of(panel), g.ow * g.f, 0
    spare = distance(y, table.spare)
    while done < rows:
        count = next_rows(g, top, done, rows, width)
        aim(table, width, top + done, 1, g.oh, g.oh * line, line, 0, spare)
        scatter_lanes(panel, done * line * width, count * line, y, table)
        for j in range(width if residual.size else 0):
            at = table.places[j]
            for i in range(at, at + (count * line & table.steps[j])):
                value = y[i] + residual[i]
                y[i] = lower if value < lower else value  # NaN stays NaN
        done += count


@device_function
def keep_lane_moments(y, g, top, rows, table, moments, row):
    """Write a row of moments: of the rows [top, top + rows) of the strips of y."""
    sums = Sums(stack_array(y, TILE), stack_array(np.float64, TILE), stack_array(np.float64, TILE))
    width, line, done, pixels = lanes_of(y), g.ow * g.f, 0, 0
    run, spare = run_of(y, rows * g.ow, 0, g.f, g.f), distance(y, table.spare)
    while done < rows:
        count = next_rows(g, top, done, rows, width)
        aim(table, width, top + done, 1, g.oh, g.oh * line, line, 0, spare)
        for j in range(width):
            if table.steps[j]:
                pixels = add_run(sums, y, table.places[j], count * g.ow, g.f, run, pixels)
        done += count
    keep_sums(sums, pixels, run, moments, row, 0)


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
    lambda x, weight, bias, residual, moments, y, workspace, lower, g: lane_bands(g, lanes(y.itemsize))
)
def lanes_forward(x, weight, bias, residual, moments, y, workspace, lower, g, first, last, thread):
    """y as in the module's docstring.

    x (n,h,w,c), weight (kh,kw,c,f), bias (f,) or empty, residual flat or empty -> y (n,oh,ow,f).
    moments of y, (`lanes_moment_parts`,3,f) float64 for `combine_moments`, or empty.
    """
    x, weight, y = flat(x), flat(weight), flat(y)
    width, start = lanes_of(y), stack_array(y, MOST_FILTERS)
    table = Lanes(
        stack_array(np.int64, MOST_LANES), stack_array(np.int64, MOST_LANES), stack_array(np.int64, MOST_LANES),
        stack_array(np.int64, MOST_LANES), stack_array(y, MOST_LANES),
    )  # fmt: skip
    split = input_size(g, width)
    panel, out = workspace[thread, :split], workspace[thread, split:]
    bound = -math.inf if residual.size else lower
    for i in range(g.f):
        start[i] = bias[i] if bias.size else 0.0
    for item in range(first, last):
        group, top, rows = band_of(g, item, width)
        assign_lanes(g, group, width, table)
        load_band(x, g, top * g.sh - g.pt, panel_rows(g, rows), panel, table)
        for row in range(rows):
            filter_row(panel, row, top + row, weight, start, bound, out, g)
        store_results(out, y, residual, lower, g, top, rows, table)
        if moments.size:
            keep_lane_moments(y, g, top, rows, table, moments, item)


@device_function
def rows_of_taps(oy, g, width):
    """(first, number) of the rows of taps that meet the image from row oy of the results; all, if lanes hold strips."""
    first = min(max(blocks(g.pt - oy * g.sh, g.dh), 0), g.kh)
    last = max(min(blocks(g.h + g.pt - oy * g.sh, g.dh), g.kh), first)
    whole = strips(g, width) > 1
    return 0 if whole else first, g.kh if whole else last - first


@device_function
def filter_row(panel, row, oy, weight, start, lower, out, g):
    """One row of results, all filters."""
    width, pitch = lanes_of(panel), panel_columns(g) * g.c * lanes_of(panel)
    ky, count = rows_of_taps(oy, g, width)
    together = g.kw if g.dw == 1 else 1  # neighbouring taps are neighbours in memory
    walk = Walk(count, g.dh * pitch, g.kw // together, g.dw * g.c * width, together * g.c)
    step, out_step = g.sw * g.c * width, g.f * width
    line, taps = (row * g.sh + ky * g.dh) * pitch, ky * g.kw * g.c * g.f
    done = 0
    while done < g.ow:
        pixels = pixels_of(g.ow - done, g.ow)
        ox, f = min(done, g.ow - pixels), 0  # the last tile may overlap that before
        at, to = line + ox * step, (row * g.ow + ox) * out_step
        while f < g.f:
            filters = steps_of(g.f - f, FILTERS)
            filter_tile(
                filters, pixels, panel, at, step, weight, taps + f, g.f, start[f:], lower, out, to + f * width,
                out_step, walk,
            )  # fmt: skip
            f += filters
        done += pixels


@shape_function
def pixels_of(left, row):
    """How many pixels a tile takes of those that are left of a row."""
    if left > 2 * FEW_PIXELS or FEW_PIXELS < left <= PIXELS <= row:
        return PIXELS
    return FEW_PIXELS if row >= FEW_PIXELS else 1


@cpu_kernel(lambda x, dy, partials, workspace, g: lanes_parts(g, lanes(x.itemsize)))
def lanes_backward_weights(x, dy, partials, workspace, g, first, last, thread):
    """partials[part] = sum over the bands of a part of x[n,iy,ix,c] dy[n,oy,ox,f], at [ky,kx,c,f].

    x (n,h,w,c), dy (n,oh,ow,f) -> partials (parts, kh*kw*c*f); their sum is the gradient of the weights.
    """
    x, dy, partials = flat(x), flat(dy), flat(partials)
    width, parts, total = lanes_of(x), lanes_parts(g, lanes_of(x)), g.kh * g.kw * g.c * g.f
    table = Lanes(
        stack_array(np.int64, MOST_LANES), stack_array(np.int64, MOST_LANES), stack_array(np.int64, MOST_LANES),
        stack_array(np.int64, MOST_LANES), stack_array(x, MOST_LANES),
    )  # fmt: skip
    split, count = input_size(g, width), lane_bands(g, width)
    panel, panel_dy = workspace[thread, :split], workspace[thread, split:]
    for part in range(first, last):
        adding = 0
        for item in range(count * part // parts, count * (part + 1) // parts):
            group, top, rows = band_of(g, item, width)
            assign_lanes(g, group, width, table)
            load_band(x, g, top * g.sh - g.pt, panel_rows(g, rows), panel, table)
            load_results(dy, g, top, rows, panel_dy, table)
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
                weight_tile(taps, filters, x, dy, rows, g.ow, partials, place + f, g.f, adding)
                f += filters
            k += taps


@device_function
def steps_of(left, most):
    """How many of those that are left a tile takes."""
    return most if left >= most else min(left, 2)
