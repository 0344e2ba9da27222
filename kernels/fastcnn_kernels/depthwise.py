"""Depthwise convolutions: every channel is filtered by kernels of its own, without sums over channels.

x (n, h, w, c), weights (kh, kw, c), y (n, oh, ow, c). A `ConvGeometry` describes them, with groups = c. With a
multiplier, f = c * multiplier, weights and y have as many planes: (multiplier, kh, kw, c), (multiplier, n, oh, ow, c);
`split_planes` and `join_planes` lead from the usual order to this one and back.

There is no matrix to multiply. A vector register holds neighbouring channels, and results stay in registers while
pixels and taps pass by. For 3 x 3 taps they are those of a square of pixels (`filter_squares`), because neighbours in
both directions share the pixels that they read; in general those of a few pixels of a row (`filter_pixels`). What is
outside the image is read from a piece of memory that holds zeros, so that borders need no code of their own.
"""

import math
from typing import NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastcnn_kernels.conv import taps_of
from fastcnn_kernels.jit import (
    TILE_ROWS,
    TILE_VECTORS,
    VECTOR_BYTES,
    chunk_count,
    cpu_kernel,
    device_function,
    shape_function,
    span,
)
from fastcnn_kernels.microkernel import (
    WORD,
    Matrix,
    Vectors,
    blocks,
    clear,
    flat,
    function_once,
    lanes,
    literal,
    window_of,
)
from fastcnn_kernels.moments import keep_moments

MASKED = VECTOR_BYTES == 64  # vectors can be loaded and stored in part
# Results in registers: SIDE x SIDE pixels of a vector, SIDE pixels of VECTORS vectors or 2 SIDE pixels of one.
SIDE = 4 if TILE_ROWS * TILE_VECTORS > 16 else 2
VECTORS = SIDE * SIDE // 4
TAPS = 3  # side of the kernels that squares are for
CHANNELS, FEW_CHANNELS = 256, 64  # of a work item; the few where there are fewer bands of SIDE rows than
BANDS = 8
MOST_CHANNELS = 2 * CHANNELS  # the last block of channels has fewer
ITEMS = 96  # work items of a large convolution
NOTHING, ROW, RESULTS = 0, 1, 2  # what results begin with: zeros, one row for all pixels, what stands there


@shape_function
def block_of_channels(g):
    """How many channels a block of them has: the more, the longer are the runs of memory that are read."""
    return CHANNELS if g.n * blocks(g.oh, SIDE) >= BANDS else FEW_CHANNELS


@shape_function
def channel_blocks(g):
    """How many blocks the channels are cut into; the last has the rest as well."""
    return max(g.c // block_of_channels(g), 1)


@shape_function
def item_rows(g, height):
    """How many rows of images of that height a work item has."""
    rows = g.n * height * channel_blocks(g) // ITEMS
    return min(max(rows // SIDE, 1) * SIDE, height)


@shape_function
def item_count(g, height):
    """Work items: blocks of channels of blocks of rows of images."""
    return g.n * blocks(height, item_rows(g, height)) * channel_blocks(g)


def forward_parts(g) -> int:
    """Blocks of rows of images whose moments `depthwise_forward_moments` writes."""
    return item_count(g, g.oh) // channel_blocks(g)


@shape_function
def weight_parts(g):
    """Parts of the rows of y whose contributions to the weights' gradient are summed apart."""
    return min(blocks(ITEMS, channel_blocks(g)), g.n * blocks(g.oh, SIDE))


@shape_function
def is_square(g, stride):
    """Whether a square of results of that stride's convolution can be made at once."""
    return g.kh == TAPS and g.kw == TAPS and g.sh == stride and g.sw == stride and g.dh == 1 and g.dw == 1


@shape_function
def margin(g):
    """Rows that the gradient of the input has above the first, so that squares begin at the same class of pixels."""
    return g.pt % 2 if is_square(g, 2) else 0


@device_function
def channels_of(g, block):
    """(first channel, number of channels) of a block."""
    first = block * block_of_channels(g)
    return first, block_of_channels(g) if block + 1 < channel_blocks(g) else g.c - first


# --- vectors of channels -------------------------------------------------------------------------------------------


class Channels(Vectors):
    """Emits instructions for the neighbouring channels of a vector, or for the first `present` of them."""

    def add_product(self, total, x, y):
        """total (a place) += x * y."""
        self.builder.store(self.multiply_add(x, y, self.builder.load(total)), total)

    def zeros(self):
        """Memory to read instead of what is outside."""
        name = f"fastcnn_zeros_{self.scalar}"
        module, kind = self.builder.module, ir.ArrayType(self.scalar, MOST_CHANNELS)
        memory = module.globals.get(name)
        if memory is None:
            memory = ir.GlobalVariable(module, kind, name)
            memory.linkage, memory.global_constant, memory.align = "internal", True, VECTOR_BYTES
            memory.initializer = ir.Constant(kind, None)
        return self.builder.bitcast(memory, self.scalar.as_pointer())

    def spare(self):
        """Memory to write instead of what is outside."""
        with self.builder.goto_entry_block():
            memory = self.builder.alloca(ir.ArrayType(self.scalar, MOST_CHANNELS))
        return self.builder.bitcast(memory, self.scalar.as_pointer())

    def word(self, number):
        return ir.Constant(WORD, number)

    def times(self, number, word):
        return self.builder.mul(self.word(number), word)

    def plus(self, number, word):
        return self.builder.add(self.word(number), word)

    def below(self, number, word):
        """number < word."""
        return self.builder.icmp_signed("<", self.word(number), word)

    def inside(self, word, size):
        """0 <= word < size."""
        return self.builder.icmp_unsigned("<", word, size)

    def place(self, pointer, *pairs):
        """pointer + the sum of the products of pairs of words."""
        index = self.builder.mul(*pairs[0])
        for pair in pairs[1:]:
            index = self.builder.add(index, self.builder.mul(*pair))
        return self.builder.gep(pointer, [index])

    def steps(self, first, last, step):
        """A loop over first, first + step, ... below last."""
        return cgutils.for_range_slice(self.builder, first, last, self.word(step))


def call_for_channels(context, builder, name, dtype, emit, size, pointers, words, vectors=1):
    """Call functions for `size` channels: for groups of so many vectors, for single vectors, and for what is left.

    emit(v, vectors, groups, args) writes the body of one: v are its vectors, args the pointers, at the first channel,
    and the words.
    """
    whole = lanes(context.get_abi_sizeof(context.get_data_type(dtype)))
    several = [(whole, vectors, False)] * (vectors > 1)
    done = ir.Constant(WORD, 0)
    for count, group, masked in [*several, (whole, 1, False), (whole if MASKED else 1, 1, MASKED)]:
        left, width = builder.sub(size, done), ir.Constant(WORD, count * group)
        groups = ir.Constant(WORD, 1) if masked else builder.udiv(left, width)
        args = [left, groups, *(builder.gep(pointer, [done]) for pointer in pointers), *words]

        def write(inner, count=count, group=group, masked=masked):
            left, groups, *rest = inner.function.args
            emit(Channels(context, inner, dtype, count, left if masked else None), group, groups, rest)
            inner.ret_void()

        kind = ir.FunctionType(ir.VoidType(), [arg.type for arg in args])
        full_name = f"fastcnn_{name}_{dtype}_{group}x{count}{'_masked' * masked}"
        some = builder.icmp_signed(">", left if masked else groups, ir.Constant(WORD, 0))
        with builder.if_then(some):
            builder.call(function_once(builder.module, full_name, kind, write), args)
        done = builder.add(done, builder.mul(groups, width))


# --- squares of results --------------------------------------------------------------------------------------------


class Square(NamedTuple):
    """Up to SIDE rows of results, of any number of columns, below and beside a margin that is not written.

    The cell of the image that tap (0, 0) of the margin's first pixel meets (a spread one: its cell (0, 0)) is (y, x) of
    h x w. The rest are distances in memory.
    """

    top: int
    left: int
    rows: int
    columns: int
    y: int
    x: int
    h: int
    w: int
    image_row: int
    image_column: int
    weight_row: int
    weight_column: int
    out_row: int
    out_column: int


def cells(spread):
    """The image's cell that pixel p and tap t of a side of a square meet in, for the pairs that do meet."""
    if spread == 0:
        return {(p, t): p + t for p in range(SIDE) for t in range(TAPS)}
    pairs = [(p, t) for p in range(SIDE) for t in range(TAPS) if (p - t) % spread == 0]
    return {(p, t): (p - t) // spread + (TAPS - 1) // spread for p, t in pairs}


@intrinsic(prefer_literal=True)
def filter_squares(typingctx, spread, size, s, image, weights, begun, start, lower, out):
    """out[q, p] = max(begin + sum over 3 x 3 taps of image[cell(q, ty), cell(p, tx)] * weights[ty, tx], lower).

    Forward (spread, literal, is 0) tap t of pixel p meets cell p + t. Backward, where spread is the stride, it meets
    (p - t) / stride, if that is whole, and cells are counted from -((TAPS - 1) // stride). s is a `Square`; image,
    weights, start and out are Matrix tuples at the first of `size` channels of cell (y, x), tap (0, 0), any pixel, and
    the margin's first pixel. `begun` says what results begin with.
    """
    distance = literal(spread, "spread")
    signature = types.void(spread, types.intp, s, image, weights, types.intp, start, types.float64, out)

    def emit(v, _, vectors, args):
        _emit_squares(v, vectors, args, distance)

    def codegen(context, builder, signature, args):
        pointers = [window_of(context, builder, signature.args[i], args[i])[0] for i in (3, 4, 6, 8)]
        words = [args[5], args[7], *cgutils.unpack_tuple(builder, args[2])]
        dtype = signature.args[3].types[0].dtype
        call_for_channels(context, builder, f"square_{distance}", dtype, emit, args[1], pointers, words)
        return context.get_dummy_value()

    return signature, codegen


def _emit_squares(v, vectors, args, spread):
    image, weights, start, out, begun, lower, *fields = args
    s, builder, zeros, spare = Square(*fields), v.builder, v.zeros(), v.spare()
    start = builder.select(v.below(NOTHING, begun), start, zeros)
    inside = [v.inside(v.plus(q, s.y), s.h) for q in range(max(cells(spread).values()) + 1)]
    wanted = [v.inside(v.plus(q, builder.neg(s.top)), s.rows) for q in range(SIDE)]
    with v.steps(v.word(0), builder.add(s.left, s.columns), SIDE) as (first, _):
        begin = builder.udiv(first, v.word(max(spread, 1)))
        pixels = _places(v, image, zeros, inside, begin, s.x, s.w, s.image_row, s.image_column)
        margin = builder.neg(s.left)
        results = _places(v, out, spare, wanted, first, margin, s.columns, s.out_row, s.out_column)
        with cgutils.for_range(builder, vectors) as vector:
            channel = v.times(v.count, vector.index)
            sums = _begin_squares(v, results, channel, begun, v.read(start, channel))
            _add_squares(v, sums, pixels, weights, s, channel, cells(spread))
            bound = v.splat(v.of_double(lower))
            for at, total in sums.items():
                v.write(v.at_least(builder.load(total), bound), results[at], channel)


def _places(v, pointer, other, rows, first, origin, width, row_pitch, column_pitch):
    """Places of the pixels [q, first + p], as many p as q, in memory; `other` for the rows and columns outside."""
    places = {}
    for p in range(len(rows)):
        column = v.plus(p, first)
        inside = v.inside(v.builder.add(origin, column), width)
        for q, row in enumerate(rows):
            place = v.place(pointer, (v.word(q), row_pitch), (column, column_pitch))
            places[q, p] = v.builder.select(v.builder.and_(row, inside), place, other)
    return places


def _begin_squares(v, results, channel, begun, start):
    sums = {at: v.variable(start) for at in results}
    with v.builder.if_then(v.below(ROW, begun)):
        for at, place in results.items():
            v.builder.store(v.read(place, channel), sums[at])
    return sums


def _add_squares(v, sums, pixels, weights, s, channel, meeting):
    taps = [(ty, tx) for ty in range(TAPS) for tx in range(TAPS)]
    weight = {
        (ty, tx): v.read(v.place(weights, (v.word(ty), s.weight_row), (v.word(tx), s.weight_column)), channel)
        for ty, tx in taps
    }
    side = range(max(meeting.values()) + 1)
    for y in side:
        row = [v.read(pixels[y, x], channel) for x in side]
        for (q, ty), cell in meeting.items():
            if cell == y:
                for (p, tx), x in meeting.items():
                    v.add_product(sums[q, p], row[x], weight[ty, tx])


# --- results of a row ----------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """A row of results: `pixels` ones, of which the first's tap 0 is at column x of an image's rows of `width` columns.

    Pixels are `pitch` columns apart, taps `step`; the rows [top, bottom) of taps are inside the image, and nx taps are
    in a row. The rest are distances in memory.
    """

    pixels: int
    x: int
    width: int
    pitch: int
    step: int
    top: int
    bottom: int
    nx: int
    image_row: int
    image_column: int
    weight_row: int
    weight_column: int
    out_column: int


@intrinsic
def filter_pixels(typingctx, size, row, image, weights, begun, start, lower, out):
    """out[p] = max(begin + sum over taps of image[ty, p * pitch + tx * step] * weights[ty, tx], lower).

    row is a `Row`; image, weights, start and out are Matrix tuples at the first of `size` channels of the first pixel,
    the image at its tap (0, 0). `begun` says what results begin with.
    """
    signature = types.void(types.intp, row, image, weights, types.intp, start, types.float64, out)

    def codegen(context, builder, signature, args):
        pointers = [window_of(context, builder, signature.args[i], args[i])[0] for i in (2, 3, 5, 7)]
        words = [args[4], args[6], *cgutils.unpack_tuple(builder, args[1])]
        dtype = signature.args[2].types[0].dtype
        call_for_channels(context, builder, "pixels", dtype, _emit_pixels, args[0], pointers, words, VECTORS)
        return context.get_dummy_value()

    return signature, codegen


def _emit_pixels(v, vectors, groups, args):
    image, weights, start, out, begun, lower, *fields = args
    row, builder, zeros, spare = Row(*fields), v.builder, v.zeros(), v.spare()
    start = builder.select(v.below(NOTHING, begun), start, zeros)
    bound, count = v.splat(v.of_double(lower)), SIDE if vectors > 1 else 2 * SIDE
    parts = [v.word(i * v.count) for i in range(vectors)]
    with v.steps(v.word(0), row.pixels, count) as (first, _), cgutils.for_range(builder, groups) as group:
        channel = v.times(v.count * vectors, group.index)
        numbers = [v.plus(p, first) for p in range(count)]
        sums, places = [], []
        for p in numbers:
            place = builder.select(v.inside(p, row.pixels), v.place(out, (p, row.out_column)), spare)
            begin = builder.gep(builder.select(v.below(ROW, begun), place, start), [channel])
            places.append(builder.gep(place, [channel]))
            sums.append([v.variable(v.read(begin, part)) for part in parts])
        columns = [builder.mul(p, row.pitch) for p in numbers]
        x, w = builder.gep(image, [channel]), builder.gep(weights, [channel])
        _add_taps(v, sums, columns, row, x, w, zeros, parts)
        for totals, place in zip(sums, places, strict=True):
            for total, part in zip(totals, parts, strict=True):
                v.write(v.at_least(builder.load(total), bound), place, part)


def _add_taps(v, sums, columns, row, image, weights, zeros, parts):
    """Emit the loops over taps; `columns` are those of the pixels' tap 0, sums[pixel] has a place for each part."""
    builder = v.builder
    with cgutils.for_range_slice(builder, row.top, row.bottom, v.word(1)) as (ty, _):
        with cgutils.for_range(builder, row.nx) as tap:
            at = v.place(weights, (ty, row.weight_row), (tap.index, row.weight_column))
            weight = [v.read(at, part) for part in parts]
            for totals, column in zip(sums, columns, strict=True):
                column = builder.add(column, builder.mul(tap.index, row.step))
                inside = v.inside(builder.add(row.x, column), row.width)
                place = v.place(image, (ty, row.image_row), (column, row.image_column))
                place = builder.select(inside, place, zeros)
                for total, part, w in zip(totals, parts, weight, strict=True):
                    v.add_product(total, v.read(place, part), w)


# --- products for the weights' gradient ----------------------------------------------------------------------------


class Products(NamedTuple):
    """Rows of dy and the taps that its pixels have in an image of h x w: ny x nx of TAPS x TAPS.

    Tap (ty, tx) of pixel (q, p) is at (y + q * sy + ty * dy, x + p * sx + tx * dx). The rest are distances in memory.
    """

    rows: int
    columns: int
    y: int
    x: int
    h: int
    w: int
    sy: int
    sx: int
    dy: int
    dx: int
    ny: int
    nx: int
    image_row: int
    image_column: int
    grad_row: int
    grad_column: int
    total_row: int
    total_column: int


@intrinsic(prefer_literal=True)
def add_products(typingctx, stride, size, g, image, grad, total):
    """total[ty, tx] += sum over pixels of the image at their tap (ty, tx) * grad[pixel].

    g are `Products` of up to SIDE // stride rows, where stride is literal and neighbouring pixels share taps, or of one
    row, where stride is 0 and they need not. image, grad and total are Matrix tuples at the first of `size` channels of
    pixel or tap (0, 0). Where pixels share taps a NaN may spread among the taps of its channel.
    """
    shared = literal(stride, "stride")
    signature = types.void(stride, types.intp, g, image, grad, total)

    def emit(v, _, vectors, args):
        _emit_products(v, vectors, args, shared)

    def codegen(context, builder, signature, args):
        pointers = [window_of(context, builder, signature.args[i], args[i])[0] for i in (3, 4, 5)]
        words, dtype = cgutils.unpack_tuple(builder, args[2]), signature.args[3].types[0].dtype
        call_for_channels(context, builder, f"products_{shared}", dtype, emit, args[1], pointers, words)
        return context.get_dummy_value()

    return signature, codegen


def _emit_products(v, vectors, args, stride):
    image, grad, total, *fields = args
    g, builder, zeros, spare = Products(*fields), v.builder, v.zeros(), v.spare()
    rows = max(SIDE // stride, 1) if stride else 1
    totals = {}
    for number in range(TAPS * TAPS):
        ty, tx = divmod(number, TAPS)
        wanted = builder.and_(v.below(ty, g.ny), v.below(tx, g.nx))
        place = v.place(total, (v.word(ty), g.total_row), (v.word(tx), g.total_column))
        totals[ty, tx] = builder.select(wanted, place, spare)
    lines = _axis(v, v.word(0), rows, stride, (g.rows, g.ny, g.y, g.h, g.sy, g.dy))
    wanted = [v.below(q, g.rows) for q in range(rows)]
    with v.steps(v.word(0), g.columns, SIDE) as (first, _):
        columns = _axis(v, first, SIDE, stride, (g.columns, g.nx, g.x, g.w, g.sx, g.dx))
        pixels = {}
        for ky, (y, inside_y) in enumerate(lines):
            for kx, (x, inside_x) in enumerate(columns):
                place = v.place(image, (y, g.image_row), (x, g.image_column))
                pixels[ky, kx] = builder.select(builder.and_(inside_y, inside_x), place, zeros)
        count = builder.sub(g.columns, first)
        grads = {}
        for p in range(SIDE):
            for q in range(rows):
                place = v.place(grad, (v.word(q), g.grad_row), (v.plus(p, first), g.grad_column))
                grads[q, p] = builder.select(builder.and_(wanted[q], v.below(p, count)), place, zeros)
        with cgutils.for_range(builder, vectors) as vector:
            channel = v.times(v.count, vector.index)
            sums = {tap: v.variable(v.read(place, channel)) for tap, place in totals.items()}
            _multiply_pixels(v, sums, pixels, grads, channel, stride)
            for tap, place in totals.items():
                v.write(builder.load(sums[tap]), place, channel)


def _multiply_pixels(v, sums, pixels, grads, channel, stride):
    ds = {at: v.read(place, channel) for at, place in grads.items()}
    rows, columns = max(q for q, _ in grads) + 1, max(p for _, p in grads) + 1
    for (y, x), place in pixels.items():
        pixel = v.read(place, channel)
        for q, ty in meeting(y, rows, stride):
            for p, tx in meeting(x, columns, stride):
                v.add_product(sums[ty, tx], pixel, ds[q, p])


def meeting(cell, count, stride):
    """The pairs of one of `count` neighbouring pixels and a tap that meet in a cell of the image."""
    if stride == 0:
        return [divmod(cell, TAPS)]
    return [(p, cell - p * stride) for p in range(count) if 0 <= cell - p * stride < TAPS]


def _axis(v, first, count, stride, fields):
    """(distance from the first pixel's tap 0, whether it is inside and needed) of the cells along an axis."""
    pixels, taps, origin, size, pitch, step = fields
    cells = []
    for cell in range((count - 1) * stride + TAPS if stride else count * TAPS):
        if stride:
            distance = v.plus(cell, v.times(stride, first))
            end = v.plus(TAPS - stride, v.times(stride, pixels))
            needed = v.builder.icmp_signed("<", distance, end)
        else:
            p, t = divmod(cell, TAPS)
            number = v.plus(p, first)
            distance = v.builder.add(v.builder.mul(number, pitch), v.times(t, step))
            needed = v.builder.and_(v.inside(number, pixels), v.below(t, taps))
        inside = v.inside(v.builder.add(origin, distance), size)
        cells.append((distance, v.builder.and_(needed, inside)))
    return cells


# --- kernels -------------------------------------------------------------------------------------------------------


@device_function
def valid_range(origin, step, size, count):
    """[first, last) of the t < count with 0 <= origin + t * step < size."""
    first = min(max(blocks(-origin, step), 0), count)
    return first, max(min(blocks(size - origin, step), count), first)


@device_function
def forward_item(x, weight, bias, y, lower, g, item):
    """An item of `depthwise_forward`: (rows of pixels of y that are stored before, rows, first channel, channels)."""
    cuts, tall, begun = channel_blocks(g), item_rows(g, g.oh), ROW if bias.size else NOTHING
    lines, (channel, size) = blocks(g.oh, tall), channels_of(g, item % cuts)
    top, image = item // cuts % lines * tall, item // cuts // lines
    plane, n, bottom = image // g.n, image % g.n, min(top + tall, g.oh)
    w = Matrix(weight, plane * g.kh * g.kw * g.c + channel, 0)
    start = Matrix(bias, plane * g.c + channel, 0)
    for oy in range(top, bottom, SIDE if is_square(g, 1) else 1):
        source = Matrix(x, ((n * g.h + oy * g.sh - g.pt) * g.w - g.pl) * g.c + channel, 0)
        out = Matrix(y, (image * g.oh + oy) * g.ow * g.c + channel, 0)
        if is_square(g, 1):
            filter_squares(0, size, forward_square(g, oy, bottom), source, w, begun, start, lower, out)
        else:
            filter_pixels(size, forward_row(g, oy), source, w, begun, start, lower, out)
    return image * g.oh + top, bottom - top, channel, size


@cpu_kernel(lambda x, weight, bias, y, lower, g: g.f // g.c * item_count(g, g.oh))
def depthwise_forward(x, weight, bias, y, lower, g, first, last):
    """y[m,n,oy,ox,c] = max(sum over ky,kx of x[n,iy,ix,c] w[m,ky,kx,c] + bias[m,c], lower).

    x (n,h,w,c), weight (mult,kh,kw,c), bias (mult,c) or empty -> y (mult,n,oh,ow,c). lower may be -inf.
    """
    x, weight, bias, y = flat(x), flat(weight), flat(bias), flat(y)
    for item in range(first, last):
        forward_item(x, weight, bias, y, lower, g, item)


@cpu_kernel(
    lambda x, weight, bias, moments, y, lower, g: item_count(g, g.oh), lambda g, dtype: forward_parts(g)
)
def depthwise_forward_moments(x, weight, bias, moments, y, lower, g, first, last):
    """`depthwise_forward` with mult = 1, and the moments of y, (parts,3,c) float64, for `combine_moments`."""
    x, weight, bias, y = flat(x), flat(weight), flat(bias), flat(y)
    for item in range(first, last):
        line, lines, channel, size = forward_item(x, weight, bias, y, lower, g, item)
        at = line * g.ow * g.c + channel
        keep_moments(y, at, lines * g.ow, size, g.c, moments, item // channel_blocks(g), channel)


@device_function
def forward_square(g, oy, bottom):
    """Rows of y from oy on."""
    return Square(
        0, 0, bottom - oy, g.ow, oy - g.pt, -g.pl, g.h, g.w, g.w * g.c, g.c, TAPS * g.c, g.c, g.ow * g.c, g.c
    )


@device_function
def forward_row(g, oy):
    """Row oy of y."""
    top, bottom = valid_range(oy * g.sh - g.pt, g.dh, g.h, g.kh)
    image, weights = (g.dh * g.w * g.c, g.c), (g.kw * g.c, g.c)
    return Row(g.ow, -g.pl, g.w, g.sw, g.dw, top, bottom, g.kw, *image, *weights, g.c)


@cpu_kernel(lambda dy, weight, dx, g: item_count(g, g.h + margin(g)))
def depthwise_backward_data(dy, weight, dx, g, first, last):
    """dx[n,iy,ix,c] = sum over ky,kx,m of dy[m,n,oy,ox,c] w[m,ky,kx,c].

    dy (mult,n,oh,ow,c), weight (mult,kh,kw,c) -> dx (n,h,w,c). Pixel classes as in `conv_backward_data`; a square
    has pixels of all of them.
    """
    dy, weight, dx = flat(dy), flat(weight), flat(dx)
    cuts, tall = channel_blocks(g), item_rows(g, g.h + margin(g))
    lines, squares = blocks(g.h + margin(g), tall), is_square(g, 1) or is_square(g, 2)
    for item in range(first, last):
        channel, size = channels_of(g, item % cuts)
        n, top = item // cuts // lines, item // cuts % lines * tall - margin(g)
        bottom = min(top + tall, g.h)
        for line in range((bottom - top) * (g.f // g.c)):
            plane, iy = line // (bottom - top), top + line % (bottom - top)
            image, begun = (plane * g.n + n) * g.oh * g.ow * g.c + channel, RESULTS if plane else NOTHING
            w, out = plane * g.kh * g.kw * g.c + channel, (n * g.h + iy) * g.w * g.c + channel
            if squares and (iy - top) % SIDE == 0:
                square = backward_square(g, iy, bottom)
                source = Matrix(dy, image + (square.y * g.ow + square.x) * g.c, 0)
                weights, into = Matrix(weight, w, 0), Matrix(dx, out - square.left * g.c, 0)
                if g.sh == 1:
                    filter_squares(1, size, square, source, weights, begun, weights, -math.inf, into)
                else:
                    filter_squares(2, size, square, source, weights, begun, weights, -math.inf, into)
            elif not squares:
                for rx in range(min(g.sw, g.w)):
                    row, at, tap = backward_row(g, iy, rx)
                    source, weights = Matrix(dy, image + at, 0), Matrix(weight, w + tap, 0)
                    into = Matrix(dx, out + rx * g.c, 0)
                    filter_pixels(size, row, source, weights, begun, weights, -math.inf, into)


@device_function
def backward_square(g, iy, bottom):
    """SIDE rows of dx from iy on, of which those in [0, bottom) are wanted; iy + pt is a multiple of the stride."""
    above, beside, reach = max(-iy, 0), g.pl % g.sw, (TAPS - 1) // g.sh
    oy, ox = (iy + g.pt) // g.sh - reach, (g.pl - beside) // g.sw - reach
    image, weights = (g.oh, g.ow, g.ow * g.c, g.c), (TAPS * g.c, g.c)
    return Square(
        above, beside, min(bottom - iy, SIDE) - above, g.w, oy, ox, *image, *weights, g.w * g.c, g.c
    )


@device_function
def backward_row(g, iy, rx):
    """Class rx of row iy of dx; where tap (0, 0) of its first pixel is in the image, and in the weights."""
    rows, columns = taps_of(iy % g.sh, g.pt, g.kh, g.sh, g.dh), taps_of(rx, g.pl, g.kw, g.sw, g.dw)
    y, x = iy // g.sh + rows.offset, columns.offset
    top, bottom = valid_range(y, rows.step, g.oh, rows.number)
    image, weights = (rows.step * g.ow * g.c, g.c), (-rows.period * g.kw * g.c, -columns.period * g.c)
    row = Row(
        blocks(g.w - rx, g.sw),
        x,
        g.ow,
        1,
        columns.step,
        top,
        bottom,
        columns.number,
        *image,
        *weights,
        g.sw * g.c,
    )
    return row, (y * g.ow + x) * g.c, (rows.highest * g.kw + columns.highest) * g.c


@shape_function
def shared_stride(g):
    """The stride if neighbouring pixels share taps, else 0."""
    return g.sh if g.sh == g.sw and g.sh < TAPS and g.dh == 1 and g.dw == 1 else 0


@cpu_kernel(
    lambda x, dy, partials, g: weight_parts(g) * channel_blocks(g) * (g.f // g.c),
    lambda g, dtype: weight_parts(g),
)
def depthwise_backward_weights(x, dy, partials, g, first, last):
    """partials[part] = sum over the rows n,oy of a part of x[n,iy,ix,c] dy[m,n,oy,ox,c], at [m,ky,kx,c].

    x (n,h,w,c), dy (mult,n,oh,ow,c) -> partials (parts, mult*kh*kw*c); their sum is the gradient of the weights.
    """
    x, dy, partials = flat(x), flat(dy), flat(partials)
    parts, cuts, bands = weight_parts(g), channel_blocks(g), blocks(g.oh, SIDE)
    squares, rows = blocks(g.kw, TAPS), max(SIDE // shared_stride(g), 1) if shared_stride(g) else 1
    for item in range(first, last):
        channel, size = channels_of(g, item % cuts)
        part, plane = item // cuts % parts, item // cuts // parts
        total = (part * g.f + plane * g.c) * g.kh * g.kw + channel
        for tap in range(g.kh * g.kw):
            clear(partials, total + tap * g.c, size)
        for band in range(g.n * bands * part // parts, g.n * bands * (part + 1) // parts):
            n, begin = band // bands, band % bands * SIDE
            end = min(begin + SIDE, g.oh)
            for oy in range(begin, end, rows):
                grad = Matrix(dy, ((plane * g.n + n) * g.oh + oy) * g.ow * g.c + channel, 0)
                for square in range(blocks(g.kh, TAPS) * squares):
                    ky, kx = square // squares * TAPS, square % squares * TAPS
                    p = products(g, oy, min(end - oy, rows), ky, kx)
                    image = Matrix(x, ((n * g.h + p.y) * g.w + p.x) * g.c + channel, 0)
                    into = Matrix(partials, total + (ky * g.kw + kx) * g.c, 0)
                    if shared_stride(g) == 1:
                        add_products(1, size, p, image, grad, into)
                    elif shared_stride(g) == 2:
                        add_products(2, size, p, image, grad, into)
                    else:
                        add_products(0, size, p, image, grad, into)


@device_function
def products(g, oy, rows, ky, kx):
    """Those of some rows of dy from oy on with the taps from (ky, kx) on."""
    y, x = oy * g.sh - g.pt + ky * g.dh, kx * g.dw - g.pl
    steps, pitches = (g.sh, g.sw, g.dh, g.dw), (g.w * g.c, g.c, g.ow * g.c, g.c, g.kw * g.c, g.c)
    return Products(rows, g.ow, y, x, g.h, g.w, *steps, g.kh - ky, g.kw - kx, *pitches)


# --- multipliers ---------------------------------------------------------------------------------------------------


@cpu_kernel(lambda x, planes: chunk_count(x.shape[0]))
def split_planes(x, planes, first, last):
    """planes[m, r] = x[r, m].  x (rows, mult) -> planes (mult, rows)."""
    begin, end = span(first, last, x.shape[0])
    if x.shape[1] == 2:  # a constant that the compiler makes vector instructions of
        pairs, evens, odds = flat(x)[2 * begin : 2 * end], planes[0, begin:end], planes[1, begin:end]
        for i in range(evens.size):
            evens[i], odds[i] = pairs[2 * i], pairs[2 * i + 1]
        return
    for m in range(x.shape[1]):
        xs, plane = x[begin:end, m], planes[m, begin:end]
        for i in range(plane.size):
            plane[i] = xs[i]


@cpu_kernel(lambda planes, x: chunk_count(x.shape[0]))
def join_planes(planes, x, first, last):
    """x[r, m] = planes[m, r].  planes (mult, rows) -> x (rows, mult)."""
    begin, end = span(first, last, x.shape[0])
    if x.shape[1] == 2:  # a constant that the compiler makes vector instructions of
        pairs, evens, odds = flat(x)[2 * begin : 2 * end], planes[0, begin:end], planes[1, begin:end]
        for i in range(evens.size):
            pairs[2 * i], pairs[2 * i + 1] = evens[i], odds[i]
        return
    for m in range(x.shape[1]):
        xs, plane = x[begin:end, m], planes[m, begin:end]
        for i in range(plane.size):
            xs[i] = plane[i]
