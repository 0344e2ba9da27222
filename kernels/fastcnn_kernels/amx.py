"""Convolutions on the matrix tiles of a processor (Intel AMX), which multiply bfloat16 numbers and add up in float32.

A float32 number is the sum of `parts` bfloat16 numbers: x = x0 + x1 + ..., each the nearest to what is left. One part
has 8 significant bits, two have 16, three have all 24. Products are taken as sums of the products of parts (i, j) with
i + j < parts: one, three or six, the others being smaller than what the parts leave out. A tile multiplies 16 times as
many numbers as the vector unit does, so that even six products are faster than one product of float32 numbers.

An *item* is a strip of an image, or some whole images. Its pixels are split into parts once, in the thread's own
memory, as a plane of *cells* with zeros where padding is: a row of the plane is the image's row and one gap, which is
padding on the right of one row and on the left of the next. Then tap (ty, tx) of the output at position q is the cell
q + shift(ty, tx) for all q alike, and a tile is loaded directly from the plane: neighbouring outputs are neighbouring
rows of it. Positions in the gaps are computed as well, and thrown away. With strides the plane is cut into one for each
residue of row and column, in which again neighbours are neighbours.
"""

import ctypes
import functools
import itertools
import math
import platform
import sys
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from fastcnn_kernels.conv import ConvGeometry, blocks, taps_of
from fastcnn_kernels.jit import COMPILED, VECTOR_BYTES, cpu_kernel, device_function, items_wanted, stack_array
from fastcnn_kernels.microkernel import (
    WORD,
    Vectors,
    clear,
    flat,
    function_once,
    literal,
    pack_columns,
    pack_rows,
    pointer_to,
    transpose_square,
)

ROWS = 16  # of a tile
DEPTH = 32  # bfloat16 numbers in a row of a tile
BLOCK = 32  # rows and columns computed at once: 2 x 2 tiles
TILE = ROWS * DEPTH  # bfloat16 numbers of a tile
CELLS = 1 << 18  # bytes of cells of an item: they and as many weights fit a second-level cache
POSITIONS = 512  # of an item, unless it is smaller: weights are read again for every item
LEAST_POSITIONS = 64  # fewer are not worth reading the weights
ITEMS = 32  # items of a large convolution
PARTS = 16  # sums of the gradient of the weights that are added up in the end
STAGE = BLOCK * BLOCK
GROUP = 16  # blocks of positions that are computed together
STAGES = GROUP * STAGE
NEAR = 16  # blocks of the depth of one part: so much of a panel of weights stays in a first-level cache
GRADIENT_POSITIONS = 256  # of a chunk: so many of 32 filters stay there
SQUARE = ROWS * ROWS


# --- the processor -----------------------------------------------------------------------------------------------

_ASK_FOR_STATE, _TILE_DATA = 0x1023, 18  # arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA), Linux on x86-64
_ARCH_PRCTL = 158


@functools.cache
def is_available() -> bool:
    """Whether kernels of this process may use tiles: the compiler's processor has them and the system permits it."""
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    if not COMPILED or VECTOR_BYTES != 64 or not {"+amx-tile", "+amx-bf16"} <= set(features):
        return False
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    try:
        return ctypes.CDLL(None).syscall(_ARCH_PRCTL, _ASK_FOR_STATE, _TILE_DATA) == 0
    except (OSError, AttributeError):
        return False


# --- geometry, in Python only --------------------------------------------------------------------------------------


class Pass(NamedTuple):
    """A convolution from a source to an output, forward or backward. Plain ints.

    Position (qy, qx), qy < qh, qx < qw, of the output is [oy + qy * ly, ox + qx * lx] of oh x ow pixels of `filters`
    channels a group; tap (ty, tx) reads [by + qy * my + ty * sy, bx + qx * mx + tx * sx] of h x w pixels.
    """

    n: int
    h: int
    w: int
    channels: int
    filters: int
    groups: int
    ny: int
    nx: int
    sy: int
    sx: int
    by: int
    bx: int
    my: int
    mx: int
    qh: int
    qw: int
    oh: int
    ow: int
    ly: int
    lx: int
    oy: int
    ox: int


class Plan(NamedTuple):
    """How a pass is cut into items, and how long everything is. Plain ints."""

    images: int  # of an item
    strips: int  # of an image
    strip_rows: int  # positions' rows of a strip
    image_cells: int  # cells from an image of an item to the next
    phase_cells: int  # cells of a phase of all images of an item
    phases: int
    depth_blocks: int
    channels: int
    filters: int
    groups: int
    n: int
    source_image: int  # numbers of an image
    output_image: int
    source_pitch: int  # numbers of a pixel
    output_strip: int  # numbers from a strip of the output to the next
    items: int
    runs: int  # of neighbouring numbers that fill the cells of an item


class Tables(NamedTuple):
    """Where things are. int64 arrays.

    runs: (strip, k, 3): cells [to, to + count) of an image are the pixels from `from` on, zeros where from is -1.
    offsets: of the cells that a block of the depth starts at, in bytes; places: of the output's pixels at the positions
    of an item, -1 in gaps; taps: of the weights, by ty, tx.
    """

    runs: np.ndarray
    offsets: np.ndarray
    places: np.ndarray
    taps: np.ndarray


def forward_pass(g: ConvGeometry) -> tuple[Pass, np.ndarray]:
    """(the pass, its taps) from images to outputs."""
    p = Pass(
        g.n, g.h, g.w, g.c // g.groups, g.f // g.groups, g.groups, g.kh, g.kw, g.dh, g.dw, -g.pt, -g.pl, g.sh, g.sw,
        g.oh, g.ow, g.oh, g.ow, 1, 1, 0, 0,
    )  # fmt: skip
    return p, np.arange(g.kh * g.kw)


def backward_passes(g: ConvGeometry) -> list[tuple[Pass, np.ndarray]]:
    """(pass, taps) from gradients of outputs to those of images, for each residue of pixels by the strides."""
    found = []
    for ry in range(min(g.sh, g.h)):
        for rx in range(min(g.sw, g.w)):
            rows, columns = taps_of(ry, g.pt, g.kh, g.sh, g.dh), taps_of(rx, g.pl, g.kw, g.sw, g.dw)
            qh, qw = blocks(g.h - ry, g.sh), blocks(g.w - rx, g.sw)
            p = Pass(
                g.n, g.oh, g.ow, g.f // g.groups, g.c // g.groups, g.groups, rows.number, columns.number,
                rows.step, columns.step, rows.offset, columns.offset, 1, 1,
                qh, qw, g.h, g.w, g.sh, g.sw, ry, rx,
            )  # fmt: skip
            ky = [rows.highest - t * rows.period for t in range(rows.number)]
            kx = [columns.highest - t * columns.period for t in range(columns.number)]
            found.append((p, np.array([y * g.kw + x for y in ky for x in kx], np.int64)))
    return found


class _Axis(NamedTuple):
    """One axis of a plane: how the taps of a pass fall on cells."""

    phases: list[int]  # residues of source pixels that taps read
    phase_of: list[int]  # of each tap, as a position in `phases`
    shift_of: list[int]  # of each tap, in cells, 0 or more
    before: int  # cells of padding in front
    after: int  # and behind
    length: int  # cells of pixels, of the longest phase
    pitch: int  # cells from one row (or image) to the next


def _axis(size: int, taps: int, step: int, start: int, stride: int, positions: int) -> _Axis:
    places = [start + t * step for t in range(taps)]
    phases = sorted({place % stride for place in places})
    cells = [place // stride for place in places]
    length = blocks(size, stride)
    before = max(0, -min(cells, default=0))
    after = max(0, positions - 1 + max(cells, default=0) - (length - 1))
    pitch = max(length + max(before, after), positions)
    return _Axis(
        phases, [phases.index(p % stride) for p in places], [c + before for c in cells], before, after, length, pitch
    )  # fmt: skip


def layout(p: Pass, parts: int, channels: int, positions: int) -> tuple[_Axis, _Axis, int, int]:
    """(rows, columns, images of an item, rows of a strip), for so many channels in a cell."""
    rows = _axis(p.h, p.ny, p.sy, p.by, p.my, p.qh)
    columns = _axis(p.w, p.nx, p.sx, p.bx, p.mx, p.qw)
    phases = max(1, len(rows.phases) * len(columns.phases))
    row_bytes = columns.pitch * phases * channels * parts * 2
    image_bytes = rows.pitch * row_bytes
    wanted = items_wanted(ITEMS)
    if (2 * image_bytes <= CELLS and rows.pitch * columns.pitch <= 2 * positions) or p.qh == 1:
        in_image = rows.pitch * columns.pitch
        images = max(1, min(CELLS // image_bytes, blocks(positions, in_image)))
        shared = max(blocks(p.n, wanted), blocks(LEAST_POSITIONS, in_image))
        return rows, columns, min(images, shared, p.n), p.qh
    reach = max(rows.shift_of, default=0)
    fitting = max(min(CELLS // row_bytes - reach, blocks(2 * positions, columns.pitch)), 4)
    strips = blocks(p.qh, min(fitting, p.qh))
    return rows, columns, 1, blocks(p.qh, strips)


def _runs(
    p: Pass, rows: _Axis, columns: _Axis, strip_rows: int, phase_cells: int, image_cells: int
) -> np.ndarray:
    """What fills the cells of an image, strip by strip."""
    strips = blocks(p.qh, strip_rows)
    whole = p.mx == 1 and p.groups == 1  # the pixels of a row are neighbours in memory
    reach = max(rows.shift_of, default=0)
    height = rows.pitch if strips == 1 else strip_rows + reach
    pitch, found = p.channels * p.groups, []
    for strip in range(strips):
        runs = []
        for phase, (py, px) in enumerate((y, x) for y in rows.phases for x in columns.phases):
            at = phase * phase_cells
            width = blocks(p.w - px, p.mx)
            runs.append((at, -1, columns.before))
            for k in range(height):
                row = strip * strip_rows - rows.before + k
                y, to = row * p.my + py, at + k * columns.pitch + columns.before
                if row < 0 or y >= p.h:
                    runs.append((to, -1, columns.pitch))
                    continue
                source = (y * p.w + px) * pitch
                if whole:
                    runs.append((to, source, width))
                else:
                    runs += [(to + x, source + x * p.mx * pitch, 1) for x in range(width)]
                runs.append((to + width, -1, columns.pitch - width))
            runs.append(
                (at + columns.before + height * columns.pitch, -1, image_cells - height * columns.pitch)
            )
        found.append([run for run in runs if run[2] > 0])
    longest = max(map(len, found))
    return np.array([runs + [(0, -1, 0)] * (longest - len(runs)) for runs in found], np.int64).reshape(
        strips, longest, 3
    )


def _block_starts(run: int) -> list[int]:
    """Where blocks of the depth begin in a run. The last one ends with the run, and may begin inside of another."""
    return [min(k, max(run - DEPTH, 0)) for k in range(0, run, DEPTH)]


def _offsets(p: Pass, rows: _Axis, columns: _Axis, phase_cells: int) -> np.ndarray:
    """Bytes from a position to the cells of each block of the depth."""
    found = []
    for ty in range(p.ny):
        for tx in range(min(p.nx, 1) if _is_connected(p) else p.nx):
            phase = rows.phase_of[ty] * len(columns.phases) + columns.phase_of[tx]
            cell = phase * phase_cells + rows.shift_of[ty] * columns.pitch + columns.shift_of[tx]
            found += [2 * cell * p.channels + 2 * k for k in _block_starts(run_of(p))]
    return np.array(found, np.int64)


def _places(p: Pass, columns: _Axis, images: int, strip_rows: int, image_cells: int) -> np.ndarray:
    """Where the positions of an item go."""
    pixel = p.filters * p.groups
    found = np.full(blocks(images * image_cells, BLOCK) * BLOCK, -1, np.int64)
    qy, qx = np.meshgrid(np.arange(strip_rows), np.arange(p.qw), indexing="ij")
    for i in range(images):
        at = i * image_cells + qy * columns.pitch + qx
        found[at] = (i * p.oh * p.ow + (p.oy + qy * p.ly) * p.ow + p.ox + qx * p.lx) * pixel
    return found


class _Cut(NamedTuple):
    """How the cells of a pass are cut."""

    rows: _Axis
    columns: _Axis
    images: int  # of an item
    strip_rows: int
    strips: int
    phases: int
    reach: int  # cells from the first tap of a position to the last
    image_cells: int


def _cut(p: Pass, parts: int, channels: int, positions: int) -> _Cut:
    rows, columns, images, strip_rows = layout(p, parts, channels, positions)
    strips, rows_more = blocks(p.qh, strip_rows), max(rows.shift_of, default=0)
    height = rows.pitch if strips == 1 else strip_rows + rows_more
    reach = rows_more * columns.pitch + max(columns.shift_of, default=0)
    phases = max(1, len(rows.phases) * len(columns.phases))
    beyond = (
        blocks(DEPTH, p.channels) if run_of(p) < DEPTH else 0
    )  # a block that is longer than a run reads on
    return _Cut(rows, columns, images, strip_rows, strips, phases, reach, height * columns.pitch + beyond)


def plan_of(p: Pass, parts: int) -> Plan:
    """How `amx_forward` runs a pass."""
    cut = _cut(p, parts, p.channels, POSITIONS)
    phase_cells = cut.images * cut.image_cells + cut.reach + 2 * BLOCK + blocks(DEPTH, p.channels)
    together = p.nx if _is_connected(p) else 1
    depth_blocks = p.ny * p.nx // max(together, 1) * blocks(p.channels * together, DEPTH)
    pixel, out_pixel = p.channels * p.groups, p.filters * p.groups
    return Plan(
        cut.images, cut.strips, cut.strip_rows, cut.image_cells, phase_cells, cut.phases, depth_blocks, p.channels,
        p.filters, p.groups, p.n, p.h * p.w * pixel, p.oh * p.ow * out_pixel, pixel,
        cut.strip_rows * p.ly * p.ow * out_pixel, blocks(p.n, cut.images) * cut.strips * p.groups, _run_count(p, cut),
    )  # fmt: skip


def tables_of(p: Pass, taps: np.ndarray, parts: int) -> Tables:
    """The tables that go with `plan_of`."""
    cut, plan = _cut(p, parts, p.channels, POSITIONS), plan_of(p, parts)
    runs = _runs(p, cut.rows, cut.columns, cut.strip_rows, plan.phase_cells, plan.image_cells)
    offsets = _offsets(p, cut.rows, cut.columns, plan.phase_cells)
    places = _places(p, cut.columns, cut.images, cut.strip_rows, cut.image_cells)
    return Tables(runs, offsets, places, taps)


def _run_count(p: Pass, cut: _Cut) -> int:
    """Runs of neighbouring numbers in the source of an item."""
    lines = cut.images * cut.phases * cut.image_cells // cut.columns.pitch
    return lines if p.mx == 1 and p.groups == 1 else lines * cut.columns.length


def _is_connected(p: Pass) -> bool:
    """Whether the taps of a row read neighbouring cells, so that their channels are one run."""
    return p.mx == 1 and p.sx == 1


def run_of(p: Pass) -> int:
    """Channels times taps that are one run."""
    return p.channels * (p.nx if _is_connected(p) else 1)


class GradientPlan(NamedTuple):
    """How the gradient of the weights of a forward pass is computed. Plain ints."""

    images: int  # of a chunk
    strips: int
    chunks: int
    sums: int  # that are added up in the end: the chunks are shared out among them
    image_cells: int  # from an image of a chunk to the next
    phase_cells: int
    phases: int
    copies: int  # of the cells in pairs: from even cells on, and from odd ones where a tap wants them
    image_positions: int
    position_blocks: int  # of 32 positions of a chunk
    position_pitch: int  # positions of a filter
    column_tiles: int  # 16 channels of a tap each
    channel_tiles: int
    filter_tiles: int
    taps: int
    channels: int
    filters: int
    groups: int
    source_image: int
    output_image: int
    runs: int  # of neighbouring numbers that fill the cells of a chunk


class GradientTables(NamedTuple):
    """Where things are. int64 arrays.

    runs: of the cells of an image, as in `Tables`; outputs: the same of the positions and the outputs there; columns:
    where in the pairs of cells the column tiles begin.
    """

    runs: np.ndarray
    outputs: np.ndarray
    columns: np.ndarray


def _gradient_cut(p: Pass, parts: int) -> tuple[_Cut, int, int]:
    """(the cut, positions, cells of a phase)."""
    cut = _cut(p, parts, 2 * p.channels + p.filters, GRADIENT_POSITIONS)
    positions = blocks(cut.images * cut.image_cells, BLOCK) * BLOCK
    return cut, positions, blocks(positions + cut.reach, BLOCK) * BLOCK + BLOCK


def _tap_cells(p: Pass, cut: _Cut) -> list[tuple[int, int]]:
    """(phase, shift) of every tap."""
    rows, columns = cut.rows, cut.columns
    return [
        (
            rows.phase_of[y] * len(columns.phases) + columns.phase_of[x],
            rows.shift_of[y] * columns.pitch + columns.shift_of[x],
        )
        for y in range(p.ny)
        for x in range(p.nx)
    ]


def gradient_plan_of(p: Pass, parts: int) -> GradientPlan:
    """How `amx_backward_weights` runs for a forward pass."""
    cut, positions, cells = _gradient_cut(p, parts)
    pixel, chunks, tiles = (
        p.channels * p.groups,
        blocks(p.n, cut.images) * cut.strips,
        blocks(p.channels, ROWS),
    )
    moved = p.n * (p.h * p.w * p.channels + p.qh * p.qw * p.filters)  # numbers read, against those of one sum
    sums = min(chunks, PARTS, max(4, moved // (4 * p.ny * p.nx * p.channels * p.filters)))
    image_positions = cut.image_cells if cut.strips == 1 else cut.strip_rows * cut.columns.pitch
    return GradientPlan(
        cut.images, cut.strips, chunks, sums, cut.image_cells, cells, cut.phases,
        1 + any(shift % 2 for _, shift in _tap_cells(p, cut)), image_positions, positions // BLOCK,
        positions + BLOCK * (positions % 1024 == 0),  # rows a page apart would share places in the cache
        p.ny * p.nx * tiles, tiles, blocks(p.filters, ROWS), p.ny * p.nx, p.channels, p.filters, p.groups,
        p.h * p.w * pixel, p.oh * p.ow * p.filters * p.groups, _run_count(p, cut),
    )  # fmt: skip


def gradient_tables_of(p: Pass, parts: int) -> GradientTables:
    """The tables that go with `gradient_plan_of`."""
    (cut, positions, cells), plan = _gradient_cut(p, parts), gradient_plan_of(p, parts)
    tiles = plan.channel_tiles
    columns = [
        (((shift % 2 * cut.phases + phase) * tiles + c) * (cells // 2) + shift // 2) * DEPTH
        for phase, shift in _tap_cells(p, cut)
        for c in range(tiles)
    ]
    outputs = p._replace(h=p.oh, w=p.ow, channels=p.filters, my=1, mx=1)
    straight = [_Axis([0], [0], [0], 0, 0, axis.length, axis.pitch) for axis in (cut.rows, cut.columns)]
    return GradientTables(
        _runs(p, cut.rows, cut.columns, cut.strip_rows, cells, cut.image_cells),
        _runs(outputs, straight[0], straight[1], cut.strip_rows, positions, plan.image_positions),
        np.array([*columns, *columns[-1:]], np.int64),
    )


def gradient_workspace_size(plan: GradientPlan, parts: int) -> int:
    """float32 numbers that a thread needs for `amx_backward_weights`."""
    return blocks(parts * sum(gradient_pieces(plan)), 128) * 64 + 64


def gradient_pieces(plan: GradientPlan) -> tuple[int, int, int]:
    """bfloat16 numbers of a part: of the cells or outputs in order, of the pairs of cells, of the outputs by filter."""
    in_order = max(
        plan.phases * plan.phase_cells * plan.channels, plan.position_blocks * BLOCK * plan.filters
    )
    pairs = plan.copies * plan.phases * plan.channel_tiles * plan.phase_cells * ROWS
    return blocks(in_order, DEPTH) * DEPTH, pairs, plan.filter_tiles * ROWS * plan.position_pitch


def partial_sums_shape(plan: GradientPlan) -> tuple[int, int]:
    """(sums, numbers): what `amx_backward_weights` writes."""
    return plan.sums, plan.groups * blocks(plan.filter_tiles, 2) * blocks(plan.column_tiles, 2) * STAGE


def workspace_size(plan: Plan, parts: int) -> int:
    """uint16 numbers that a thread needs for `amx_forward`."""
    return blocks(parts * plan.phases * plan.phase_cells * plan.channels + 2 * DEPTH, 64) * 64


def packed_size(plan: Plan, parts: int) -> int:
    """uint16 numbers of packed weights."""
    return plan.groups * blocks(plan.filters, BLOCK) * plan.depth_blocks * parts * 2 * TILE


# --- instructions --------------------------------------------------------------------------------------------------

BYTE = ir.IntType(8)
POINTER = BYTE.as_pointer()


def _call(builder, name, args):
    """A call of an intrinsic without a result."""
    module = builder.module
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(ir.VoidType(), [a.type for a in args]), name=name)
    builder.call(function, args)


def _number(value):
    return ir.Constant(WORD, value)


def _tile(value):
    return ir.Constant(BYTE, value)


@intrinsic
def tiles_on(typingctx):
    """Make all eight tiles 16 rows of 64 bytes, until `tiles_off`."""

    def codegen(context, builder, signature, args):
        content = bytearray(64)
        content[0] = 1
        for tile in range(8):
            content[16 + 2 * tile], content[48 + tile] = 64, ROWS
        place = cgutils.global_constant(
            builder, "fastcnn_tile_configuration", cgutils.make_bytearray(content)
        )
        place.align = 64
        _call(builder, "llvm.x86.ldtilecfg", [builder.bitcast(place, POINTER)])
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def tiles_off(typingctx):
    """Give the tiles back: threads that use none are switched faster."""

    def codegen(context, builder, signature, args):
        _call(builder, "llvm.x86.tilerelease", [])
        return context.get_dummy_value()

    return types.void(), codegen


def _emit_products(builder, parts, shape, loads):
    """Add the products of a block of the depth to tiles 0, 1 (first rows), 2, 3 (last rows).

    shape: tiles of (rows, columns), 1 or 2. loads((which, half), part) -> (pointer, row pitch) for which of "a", "b".
    """
    held: dict[int, int] = {}

    def load(tile, what, part):
        if held.get(tile) != part:
            held[tile] = part
            _call(builder, "llvm.x86.tileloadd64", [_tile(tile), *loads(what, part)])

    for i, j in [(first, rest) for first in range(parts) for rest in range(parts - first)]:
        for row in range(shape[0]):
            load(4 + row, ("a", row), i)
        for column in range(shape[1]):
            load(6 + column, ("b", column), j)
        for row, column in itertools.product(range(shape[0]), range(shape[1])):
            tiles = 2 * row + column, 4 + row, 6 + column
            _call(builder, "llvm.x86.tdpbf16ps", [_tile(tile) for tile in tiles])


def _results(rows, columns):
    """(tile, its offset in bytes) of a result of 32 x 32 numbers."""
    return [(2 * r + c, r * ROWS * 128 + c * 64) for r in range(rows) for c in range(columns)]


@intrinsic(prefer_literal=True)
def block_forward(
    typingctx,
    parts,
    wide,
    cells,
    at,
    pitch,
    part_pitch,
    offsets,
    first,
    count,
    weights,
    weights_at,
    out,
    out_at,
):
    """out (32 x 32) += the positions whose cells begin at `at`, times `count` blocks of the depth of packed weights.

    parts, wide (1: 32 columns, 0: 16 columns) are literal; pitches are numbers of cells' rows and parts. Where `first`,
    the first block of the depth, is 0, the products are not added but written.
    """
    shape = literal(parts, "parts"), literal(wide, "wide")
    word = types.intp
    signature = types.void(
        parts, wide, cells, word, word, word, offsets, word, word, weights, word, out, word
    )

    def codegen(context, builder, signature, args):
        kinds = signature.args
        a = builder.bitcast(pointer_to(context, builder, kinds[2], args[2], args[3]), POINTER)
        b = builder.bitcast(pointer_to(context, builder, kinds[9], args[9], args[10]), POINTER)
        c = builder.bitcast(pointer_to(context, builder, kinds[11], args[11], args[12]), POINTER)
        table = pointer_to(context, builder, kinds[6], args[6], _number(0))
        double = [builder.shl(args[i], _number(1)) for i in (4, 5)]
        values = [a, *double, table, args[7], args[8], b, c]
        kind = ir.FunctionType(ir.VoidType(), [v.type for v in values])
        name = f"fastcnn_amx_forward_{shape[0]}_{shape[1]}"
        builder.call(
            function_once(builder.module, name, kind, lambda inner: _emit_forward(inner, *shape)), values
        )
        return context.get_dummy_value()

    return signature, codegen


def _emit_forward(builder, parts, wide):
    a, pitch, part_pitch, table, first, count, b, c = builder.function.args
    results = _results(2, 2 if wide else 1)
    with builder.if_else(builder.icmp_signed("==", first, _number(0))) as (fresh, more):
        with fresh:
            for tile, _ in results:
                _call(builder, "llvm.x86.tilezero", [_tile(tile)])
        with more:
            for tile, place in results:
                pointer = builder.gep(c, [_number(place)])
                _call(builder, "llvm.x86.tileloadd64", [_tile(tile), pointer, _number(128)])
    step = _number(parts * 2 * 2 * TILE)
    with cgutils.for_range(builder, count) as loop:
        block = builder.add(loop.index, first)
        row = builder.gep(a, [builder.load(builder.gep(table, [block]))])
        column = builder.gep(b, [builder.mul(block, step)])

        def loads(what, part):
            which, half = what
            if which == "b":
                return builder.gep(column, [_number((part * 2 + half) * 2 * TILE)]), _number(64)
            place = builder.gep(row, [builder.mul(part_pitch, _number(part))])
            return builder.gep(place, [builder.mul(pitch, _number(ROWS * half))]), pitch

        _emit_products(builder, parts, (2, 2 if wide else 1), loads)
    for tile, place in results:
        _call(builder, "llvm.x86.tilestored64", [_tile(tile), builder.gep(c, [_number(place)]), _number(128)])
    builder.ret_void()


@intrinsic(prefer_literal=True)
def block_gradient(
    typingctx, parts, tall, memory, dy, pitch, dy_part, first, second, cells_part, count, sums, sums_at
):
    """sums (32 x 32) += rows of dy from `dy` on, times columns of cells from `first` and `second` on.

    Sums over `count` x 32 positions. parts and tall (1: 32 rows, 0: 16 rows) are literal. Places and pitches count
    bfloat16 numbers, whatever the dtype of the memory.
    """
    shape = literal(parts, "parts"), literal(tall, "tall")
    word = types.intp
    signature = types.void(parts, tall, memory, word, word, word, word, word, word, word, sums, word)

    def codegen(context, builder, signature, args):
        kinds = signature.args
        start = builder.bitcast(pointer_to(context, builder, kinds[2], args[2], _number(0)), POINTER)
        pointers = [builder.gep(start, [builder.shl(args[i], _number(1))]) for i in (3, 6, 7)]
        c = builder.bitcast(pointer_to(context, builder, kinds[10], args[10], args[11]), POINTER)
        double = [builder.shl(args[i], _number(1)) for i in (4, 5, 8)]
        values = [*pointers, *double, args[9], c]
        kind = ir.FunctionType(ir.VoidType(), [v.type for v in values])
        name = f"fastcnn_amx_gradient_{shape[0]}_{shape[1]}"
        builder.call(
            function_once(builder.module, name, kind, lambda inner: _emit_gradient(inner, *shape)), values
        )
        return context.get_dummy_value()

    return signature, codegen


def _emit_gradient(builder, parts, tall):
    a, first, second, pitch, dy_part, cells_part, count, c = builder.function.args
    results = _results(2 if tall else 1, 2)
    for tile, place in results:
        _call(builder, "llvm.x86.tileloadd64", [_tile(tile), builder.gep(c, [_number(place)]), _number(128)])
    with cgutils.for_range(builder, count) as loop:
        row = builder.gep(a, [builder.mul(loop.index, _number(2 * DEPTH))])
        along = builder.mul(loop.index, _number(2 * TILE))

        def loads(what, part):
            which, half = what
            if which == "a":
                place = builder.gep(row, [builder.mul(dy_part, _number(part))])
                return builder.gep(place, [builder.mul(pitch, _number(ROWS * half))]), pitch
            column = builder.gep((first, second)[half], [along])
            return builder.gep(column, [builder.mul(cells_part, _number(part))]), _number(64)

        _emit_products(builder, parts, (2 if tall else 1, 2), loads)
    for tile, place in results:
        _call(builder, "llvm.x86.tilestored64", [_tile(tile), builder.gep(c, [_number(place)]), _number(128)])
    builder.ret_void()


class _Splitter:
    """Emits the splitting of vectors of float32 into bfloat16 parts."""

    def __init__(self, builder):
        self.builder = builder
        self.count = VECTOR_BYTES // 4
        self.floats = ir.VectorType(ir.FloatType(), self.count)
        self.words = ir.VectorType(ir.IntType(32), self.count)
        self.halves = ir.VectorType(ir.IntType(16), self.count)

    def constant(self, value):
        return ir.Constant(self.words, [value] * self.count)

    def load(self, pointer):
        value = self.builder.load(self.builder.bitcast(pointer, self.floats.as_pointer()))
        value.align = 4
        return value

    def store(self, value, pointer):
        self.builder.store(value, self.builder.bitcast(pointer, value.type.as_pointer())).align = 2

    def rounded(self, x):
        """The bits of the nearest bfloat16 number in the upper halves, zeros in the lower ones."""
        b = self.builder
        bits = b.bitcast(x, self.words)
        odd = b.and_(b.lshr(bits, self.constant(16)), self.constant(1))
        nearest = b.add(bits, b.add(odd, self.constant(0x7FFF)))
        is_nan = b.fcmp_unordered("uno", x, x)
        return b.and_(b.select(is_nan, bits, nearest), self.constant(0xFFFF0000))

    def parts(self, x, parts):
        """The bits of all parts, each in the upper halves. Of infinity the further parts are zero."""
        b, found = self.builder, []
        for part in range(parts):
            bits = self.rounded(x)
            found.append(bits)
            if part + 1 < parts:
                value = b.bitcast(bits, self.floats)
                zero = ir.Constant(self.floats, [0.0] * self.count)
                x = b.select(b.fcmp_ordered("==", x, value), zero, b.fsub(x, value))
        return found

    def narrow(self, bits):
        """The upper halves."""
        return self.builder.trunc(self.builder.lshr(bits, self.constant(16)), self.halves)

    def pair(self, first, second):
        """first and second, taken in turns: of each, the upper halves."""
        return self.builder.or_(self.builder.lshr(first, self.constant(16)), second)


def _halves(context, builder, kind, array, index):
    """Pointer to bfloat16 number `index` of the array's memory, whatever its dtype."""
    start = builder.bitcast(pointer_to(context, builder, kind, array, _number(0)), POINTER)
    return builder.gep(start, [builder.shl(index, _number(1))])


@intrinsic
def clear_halves(typingctx, memory, at, count):
    """memory[at:][:count] = 0, counted in bfloat16 numbers."""

    def codegen(context, builder, signature, args):
        place = _halves(context, builder, signature.args[0], args[0], args[1])
        cgutils.memset(builder, place, builder.shl(args[2], _number(1)), 0)
        return context.get_dummy_value()

    return types.void(memory, types.intp, types.intp), codegen


@intrinsic
def interleave(typingctx, memory, first, second, to, to_at):
    """to[to_at:] = memory[first], memory[second], memory[first + 1], ...: 16 of each, counted in bfloat16 numbers."""
    word = types.intp

    def codegen(context, builder, signature, args):
        kinds = signature.args
        s = _Splitter(builder)
        rows = []
        for i in (1, 2):
            place = _halves(context, builder, kinds[0], args[0], args[i])
            value = builder.load(builder.bitcast(place, s.halves.as_pointer()))
            value.align = 2
            rows.append(builder.zext(value, s.words))
        mixed = builder.or_(rows[0], builder.shl(rows[1], s.constant(16)))
        s.store(mixed, _halves(context, builder, kinds[3], args[3], args[4]))
        return context.get_dummy_value()

    return types.void(memory, word, word, to, word), codegen


@intrinsic(prefer_literal=True)
def split(typingctx, parts, source, at, to, to_at, part_pitch):
    """to[to_at + p * part_pitch:] = part p of source[at:], for a vector of float32 numbers. parts is literal."""
    count = literal(parts, "parts")
    word = types.intp

    def codegen(context, builder, signature, args):
        kinds = signature.args
        s = _Splitter(builder)
        x = s.load(pointer_to(context, builder, kinds[1], args[1], args[2]))
        for part, bits in enumerate(s.parts(x, count)):
            place = builder.add(args[4], builder.mul(args[5], _number(part)))
            s.store(s.narrow(bits), _halves(context, builder, kinds[3], args[3], place))
        return context.get_dummy_value()

    return types.void(parts, source, word, to, word, word), codegen


@intrinsic(prefer_literal=True)
def split_pair(typingctx, parts, first, first_at, second, second_at, to, to_at, part_pitch):
    """to[to_at + p * part_pitch:] = part p of first[0], second[0], first[1], second[1], ...; parts is literal."""
    count = literal(parts, "parts")
    word = types.intp

    def codegen(context, builder, signature, args):
        kinds = signature.args
        s = _Splitter(builder)
        x, y = (s.load(pointer_to(context, builder, kinds[i], args[i], args[i + 1])) for i in (1, 3))
        for part, (a, b) in enumerate(zip(s.parts(x, count), s.parts(y, count), strict=True)):
            place = builder.add(args[6], builder.mul(args[7], _number(part)))
            s.store(s.pair(a, b), pointer_to(context, builder, kinds[5], args[5], place))
        return context.get_dummy_value()

    return types.void(parts, first, word, second, word, to, word, word), codegen


@intrinsic(prefer_literal=True)
def finish_row(typingctx, vectors, source, at, bias, bias_at, lower, out, out_at):
    """out[out_at:] = max(source[at:] + bias[bias_at:], lower), for some vectors (literal) of float32 numbers."""
    count = literal(vectors, "vectors")
    word = types.intp

    def codegen(context, builder, signature, args):
        kinds = signature.args
        v = Vectors(context, builder, types.float32, VECTOR_BYTES // 4)
        pointers = [pointer_to(context, builder, kinds[i], args[i], args[i + 1]) for i in (1, 3, 6)]
        bound = v.splat(v.of_double(args[5]))
        for i in range(count):
            place = _number(i * v.count)
            value = builder.fadd(v.load(pointers[0], place), v.load(pointers[1], place))
            v.store(v.at_least(value, bound), pointers[2], place)
        return context.get_dummy_value()

    return types.void(vectors, source, word, bias, word, types.float64, out, word), codegen


# --- pieces of kernels ---------------------------------------------------------------------------------------------

LANES = VECTOR_BYTES // 4
WHOLE_ROW, HALF_ROW = BLOCK // LANES, BLOCK // LANES // 2  # vectors


@device_function
def split_run(parts, source, at, count, to, to_at, part_pitch, spare):
    """to[to_at + p * part_pitch:][:count] = part p of source[at:][:count]. Up to a vector more is overwritten."""
    whole = count // LANES * LANES
    for i in range(0, whole, LANES):
        _split(parts, source, at + i, to, to_at + i, part_pitch)
    if whole < count:
        for i in range(LANES):
            spare[i] = source[at + whole + i] if whole + i < count else 0
        _split(parts, spare, 0, to, to_at + whole, part_pitch)


@device_function
def _split(parts, source, at, to, to_at, part_pitch):
    if parts == 1:
        split(1, source, at, to, to_at, part_pitch)
    elif parts == 2:
        split(2, source, at, to, to_at, part_pitch)
    else:
        split(3, source, at, to, to_at, part_pitch)


@device_function
def _split_pair(parts, first, first_at, second, second_at, to, to_at, part_pitch):
    if parts == 1:
        split_pair(1, first, first_at, second, second_at, to, to_at, part_pitch)
    elif parts == 2:
        split_pair(2, first, first_at, second, second_at, to, to_at, part_pitch)
    else:
        split_pair(3, first, first_at, second, second_at, to, to_at, part_pitch)


@device_function
def _block_forward(parts, wide, cells, at, pitch, part_pitch, offsets, first, count, weights, b, out, to):
    if parts == 1 and wide:
        block_forward(1, 1, cells, at, pitch, part_pitch, offsets, first, count, weights, b, out, to)
    elif parts == 1:
        block_forward(1, 0, cells, at, pitch, part_pitch, offsets, first, count, weights, b, out, to)
    elif parts == 2 and wide:
        block_forward(2, 1, cells, at, pitch, part_pitch, offsets, first, count, weights, b, out, to)
    elif parts == 2:
        block_forward(2, 0, cells, at, pitch, part_pitch, offsets, first, count, weights, b, out, to)
    elif wide:
        block_forward(3, 1, cells, at, pitch, part_pitch, offsets, first, count, weights, b, out, to)
    else:
        block_forward(3, 0, cells, at, pitch, part_pitch, offsets, first, count, weights, b, out, to)


@device_function
def fill_cells(source, at, runs, images, shape, parts, cells, part_pitch, spare):
    """The cells of some images of a source whose first pixel is at `at`, in parts.

    shape: (numbers of an image of the source, its cells, cells of a phase, phases, channels).
    """
    source_image, image_cells, phase_cells, phases, channels = shape
    for image in range(images):
        base, to_base = at + image * source_image, image * image_cells
        for k in range(runs.shape[0]):
            to, origin, count = (to_base + runs[k, 0]) * channels, runs[k, 1], runs[k, 2] * channels
            if origin >= 0:
                split_run(parts, source, base + origin, count, cells, to, part_pitch, spare)
            else:
                for part in range(parts):
                    clear_halves(cells, part * part_pitch + to, count)
    for phase in range(phases):  # what tiles read beyond the last image
        end = images * image_cells
        to, count = (phase * phase_cells + end) * channels, (phase_cells - end) * channels
        for part in range(parts):
            clear_halves(cells, part * part_pitch + to, count)


@device_function
def finish(stage, stage_at, places, at, left, columns, bias, bias_at, lower, out, out_at, limit):
    """Write the rows of a block of 32 x 32 numbers that belong to outputs before `limit`."""
    for r in range(BLOCK):
        place, to = places[at + r], out_at + places[at + r] + left
        if place >= 0 and to < limit:
            if columns == BLOCK:
                finish_row(WHOLE_ROW, stage, stage_at + r * BLOCK, bias, bias_at, lower, out, to)
            elif columns == BLOCK // 2:
                finish_row(HALF_ROW, stage, stage_at + r * BLOCK, bias, bias_at, lower, out, to)
            else:
                for j in range(columns):
                    out[to + j] = max(stage[stage_at + r * BLOCK + j] + bias[bias_at + j], lower)


# --- kernels -------------------------------------------------------------------------------------------------------


def _packing_items(weight: np.ndarray, packed: np.ndarray, taps: np.ndarray, p: Plan, *rest: int) -> int:
    return p.groups * blocks(p.filters, BLOCK) * p.depth_blocks


@cpu_kernel(_packing_items)
def amx_pack_weights(weight, packed, taps, p, run, pitches, parts, first, last):
    """Weights as `amx_forward` reads them: packed[group][panel of 32][depth block][part][half][pair][column][2].

    run: channels times taps that are neighbours; pitches: of weight by (tap, channel, column, group).
    """
    weight, packed = flat(weight), flat(packed)
    tap_pitch, channel_pitch, column_pitch, group_pitch = pitches
    stage = stack_array(weight, STAGE)
    panels, in_run = blocks(p.filters, BLOCK), blocks(run, DEPTH)
    for item in range(first, last):
        k, panel = item % p.depth_blocks, item // p.depth_blocks
        group, left = panel // panels, panel % panels * BLOCK
        columns = min(BLOCK, p.filters - left)
        position = k % in_run * DEPTH
        row = max(
            0, min(position + DEPTH - run, position)
        )  # what the block before has done already counts as zero
        clear(stage, 0, STAGE)
        while row < DEPTH and position < run:
            tap = taps[k // in_run * (run // p.channels) + position // p.channels]
            c = position % p.channels
            count = min(p.channels - c, DEPTH - row)
            at = tap * tap_pitch + c * channel_pitch + left * column_pitch + group * group_pitch
            if column_pitch == 1:
                pack_rows(weight, at, channel_pitch, count, columns, stage, row * BLOCK, BLOCK)
            else:
                pack_columns(weight, at, column_pitch, count, columns, stage, row * BLOCK, BLOCK)
            position, row = position + count, row + count
        to = item * parts * 2 * TILE
        for pair in range(DEPTH // 2):
            for half in range(2):
                upper = 2 * pair * BLOCK + half * ROWS
                place = to + half * TILE + pair * DEPTH
                _split_pair(parts, stage, upper, stage, upper + BLOCK, packed, place, 2 * TILE)


@cpu_kernel(lambda x, packed, bias, out, workspace, lower, runs, offsets, places, p, parts: p.items)
def amx_forward(x, packed, bias, out, workspace, lower, runs, offsets, places, p, parts, first, last, thread):
    """out = max(x * weights + bias, lower), for a `Pass` that `Plan` p and the tables describe."""
    x, packed, out, cells = flat(x), flat(packed), flat(out), workspace[thread]
    spare, stage, no_bias = stack_array(x, LANES), stack_array(x, STAGES), stack_array(x, BLOCK)
    clear(no_bias, 0, BLOCK)
    part_pitch = p.phases * p.phase_cells * p.channels
    panels = blocks(p.filters, BLOCK)
    panel_size, near = p.depth_blocks * parts * 2 * TILE, NEAR // parts
    tiles_on()
    for item in range(first, last):
        group, rest = item % p.groups, item // p.groups
        strip, image = rest % p.strips, rest // p.strips * p.images
        images = min(p.images, p.n - image)
        at = image * p.source_image + group * p.channels
        shape = p.source_image, p.image_cells, p.phase_cells, p.phases, p.channels
        fill_cells(x, at, runs[strip], images, shape, parts, cells, part_pitch, spare)
        to, limit = image * p.output_image + strip * p.output_strip, (image + images) * p.output_image
        to += group * p.filters
        for panel in range(panels):
            left = panel * BLOCK
            columns = min(BLOCK, p.filters - left)
            b = (group * panels + panel) * panel_size
            for start in range(0, images * p.image_cells, GROUP * BLOCK):
                end = min(start + GROUP * BLOCK, images * p.image_cells)
                for k in range(0, p.depth_blocks, near):
                    count = min(near, p.depth_blocks - k)
                    for q in range(start, end, BLOCK):
                        at_cell, to_stage = q * p.channels, (q - start) * BLOCK
                        _block_forward(
                            parts, columns > ROWS, cells, at_cell, p.channels, part_pitch, offsets, k, count, packed, b,
                            stage, to_stage,
                        )  # fmt: skip
                if p.depth_blocks == 0:  # no tap reaches these pixels
                    clear(stage, 0, STAGES)
                for q in range(start, end, BLOCK):
                    at_stage = (q - start) * BLOCK
                    if bias.size:
                        at_bias = group * p.filters + left
                        finish(
                            stage, at_stage, places, q, left, columns, bias, at_bias, lower, out, to, limit
                        )
                    else:
                        finish(stage, at_stage, places, q, left, columns, no_bias, 0, lower, out, to, limit)
    tiles_off()


@device_function
def _block_gradient(parts, tall, memory, dy, pitch, dy_part, first, second, cells_part, count, sums, at):
    if parts == 1 and tall:
        block_gradient(1, 1, memory, dy, pitch, dy_part, first, second, cells_part, count, sums, at)
    elif parts == 1:
        block_gradient(1, 0, memory, dy, pitch, dy_part, first, second, cells_part, count, sums, at)
    elif parts == 2 and tall:
        block_gradient(2, 1, memory, dy, pitch, dy_part, first, second, cells_part, count, sums, at)
    elif parts == 2:
        block_gradient(2, 0, memory, dy, pitch, dy_part, first, second, cells_part, count, sums, at)
    elif tall:
        block_gradient(3, 1, memory, dy, pitch, dy_part, first, second, cells_part, count, sums, at)
    else:
        block_gradient(3, 0, memory, dy, pitch, dy_part, first, second, cells_part, count, sums, at)


@device_function
def pair_cells(memory, parts, p, from_part, to, to_part):
    """memory[to:] = [part][copy][phase][16 channels][pair of cells] of the cells at the beginning of the memory."""
    half = p.phase_cells // 2
    for part in range(parts):
        for copy in range(p.copies):
            for phase in range(p.phases):
                at = part * from_part + (phase * p.phase_cells + copy) * p.channels
                for tile in range(p.channel_tiles):
                    place = ((copy * p.phases + phase) * p.channel_tiles + tile) * half * DEPTH
                    place += to + part * to_part
                    for k in range(half - copy):
                        cell = at + 2 * k * p.channels + tile * ROWS
                        interleave(memory, cell, cell + p.channels, memory, place + k * DEPTH)


@device_function
def transpose_outputs(memory, parts, p, from_part, to, to_part, pairs):
    """memory[to:] = [part][filter][position] of the outputs at the beginning of the memory."""
    words = p.position_pitch // 2
    for part in range(parts):
        for block in range(p.position_blocks):
            for tile in range(p.filter_tiles):
                at = part * from_part + block * BLOCK * p.filters + tile * ROWS
                for k in range(BLOCK // 2):
                    output = at + 2 * k * p.filters
                    interleave(memory, output, output + p.filters, pairs, k * DEPTH)
                place = (to + part * to_part) // 2 + tile * ROWS * words + block * (BLOCK // 2)
                transpose_square(memory, place, words, pairs, 0, ROWS)


@cpu_kernel(lambda x, dy, sums, workspace, runs, outputs, columns, p, pieces, parts: p.sums * p.groups)
def amx_backward_weights(
    x, dy, sums, workspace, runs, outputs, columns, p, pieces, parts, first, last, thread
):
    """sums[i][group][32 filters][pair of column tiles] = dy, transposed, times x, over the chunks of each sum.

    pieces: what `gradient_pieces` says.
    """
    x, dy, sums, memory = flat(x), flat(dy), flat(sums), workspace[thread]
    spare, pairs = stack_array(x, LANES), stack_array(x, SQUARE)
    panels, column_pairs = blocks(p.filter_tiles, 2), blocks(p.column_tiles, 2)
    size = panels * column_pairs * STAGE
    in_order, cells_part, dy_part = pieces
    cells_at = parts * in_order
    dy_at = cells_at + parts * cells_part
    tiles_on()
    for item in range(first, last):
        group, total = item % p.groups, item // p.groups
        clear(sums, item * size, size)
        for chunk in range(total * p.chunks // p.sums, (total + 1) * p.chunks // p.sums):
            strip, image = chunk % p.strips, chunk // p.strips * p.images
            images = min(p.images, x.size // p.source_image - image)
            at = image * p.source_image + group * p.channels
            shape = p.source_image, p.image_cells, p.phase_cells, p.phases, p.channels
            fill_cells(x, at, runs[strip], images, shape, parts, memory, in_order, spare)
            pair_cells(memory, parts, p, in_order, cells_at, cells_part)
            at = image * p.output_image + group * p.filters
            shape = p.output_image, p.image_positions, p.position_blocks * BLOCK, 1, p.filters
            fill_cells(dy, at, outputs[strip], images, shape, parts, memory, in_order, spare)
            transpose_outputs(memory, parts, p, in_order, dy_at, dy_part, pairs)
            for panel in range(panels):
                for pair in range(column_pairs):
                    to = item * size + (panel * column_pairs + pair) * STAGE
                    _block_gradient(
                        parts, p.filter_tiles - 2 * panel > 1, memory, dy_at + panel * BLOCK * p.position_pitch,
                        p.position_pitch, dy_part, cells_at + columns[2 * pair], cells_at + columns[2 * pair + 1],
                        cells_part, p.position_blocks, sums, to,
                    )  # fmt: skip
    tiles_off()


@cpu_kernel(lambda sums, weight, p: p.groups * p.taps * p.channel_tiles * blocks(p.filter_tiles, 2))
def amx_add_gradients(sums, weight, p, first, last):
    """weight (taps, channels, groups * filters) = the sums of `amx_backward_weights`, added up and put in order."""
    sums, weight = flat(sums), flat(weight)
    panels, column_pairs = blocks(p.filter_tiles, 2), blocks(p.column_tiles, 2)
    size = p.groups * panels * column_pairs * STAGE
    total = stack_array(sums, STAGE)
    for item in range(first, last):
        panel, rest = item % panels, item // panels
        column, group = rest % p.column_tiles, rest // p.column_tiles
        tap, c = column // p.channel_tiles, column % p.channel_tiles * ROWS
        at = ((group * panels + panel) * column_pairs + column // 2) * STAGE + column % 2 * ROWS
        channels, filters = min(ROWS, p.channels - c), min(BLOCK, p.filters - panel * BLOCK)
        clear(total, 0, STAGE)
        for start in range(at, sums.size, size):
            for f in range(filters):
                finish_row(HALF_ROW, sums, start + f * BLOCK, total, f * ROWS, -math.inf, total, f * ROWS)
        to = ((tap * p.channels + c) * p.groups + group) * p.filters + panel * BLOCK
        for i in range(channels):
            for f in range(filters):
                weight[to + i * p.groups * p.filters + f] = total[f * ROWS + i]
