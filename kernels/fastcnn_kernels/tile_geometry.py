"""How convolutions on matrix tiles are cut: items, the cells of their pixels, and the tables that say what is where.

Everything here runs in Python, when a plan is made. See `amx.py` for what cells and positions are.
"""

from typing import NamedTuple

import numpy as np

from fastcnn_kernels.conv import ConvGeometry, taps_of
from fastcnn_kernels.jit import items_wanted
from fastcnn_kernels.microkernel import blocks

ROWS = 16  # of a tile
DEPTH = 32  # bfloat16 numbers in a row of a tile
BLOCK = 32  # rows and columns computed at once: 2 x 2 tiles
TILE = ROWS * DEPTH  # bfloat16 numbers of a tile
STAGE = BLOCK * BLOCK
CELLS = 1 << 18  # bytes of cells of an item: they and as many weights fit a second-level cache
POSITIONS = 512  # of an item, unless it is smaller: weights are read again for every item
LEAST_POSITIONS = 64  # fewer are not worth reading the weights
ITEMS = 32  # items of a large convolution
FEW_ITEMS = 4  # of a small convolution: strips, and if these are fewer, shares of the filters
PARTS = 16  # sums of the gradient of the weights that are added up in the end
GRADIENT_POSITIONS = 256  # of a chunk: so many of 32 filters stay in a first-level cache
GRADIENT_CELLS = 1 << 20  # bytes of what a chunk makes of its pixels and outputs: half a second-level cache


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
    shares: int  # that the panels of 32 filters are divided into
    items: int  # strips, or groups of images, with a share of the filters
    runs: int  # of neighbouring numbers that fill the cells of an item
    are_rows: int  # 1: images of one pixel, neighbours in memory, whose cells are put in the order of tiles


class Tables(NamedTuple):
    """Where things are. int64 arrays.

    runs: (strip, k, 3): cells [to, to + count) of an image are the pixels from `from` on, zeros where from is -1.
    offsets: from a position to the cells of a block of the depth, in bytes; places: of the output's pixels at the
    positions of an item, -1 in gaps; taps: of the weights, by ty, tx.
    """

    runs: np.ndarray
    offsets: np.ndarray
    places: np.ndarray
    taps: np.ndarray


def forward_pass(g: ConvGeometry) -> tuple[Pass, np.ndarray]:
    """(the pass, its taps) from images to outputs."""
    p = _of_pixels(Pass(
        g.n, g.h, g.w, g.c // g.groups, g.f // g.groups, g.groups, g.kh, g.kw, g.dh, g.dw, -g.pt, -g.pl, g.sh, g.sw,
        g.oh, g.ow, g.oh, g.ow, 1, 1, 0, 0,
    ))  # fmt: skip
    return p, np.arange(g.kh * g.kw)


def _of_pixels(p: Pass) -> Pass:
    """A pass with one tap, which reads the pixel itself, as one of images of a single pixel: these are neighbours in
    memory, and an item has as many as it wants."""
    sizes = {(p.h, p.w), (p.qh, p.qw), (p.oh, p.ow)}
    steps = p.ny, p.nx, p.groups, p.my, p.mx, p.ly, p.lx
    if len(sizes) > 1 or set(steps) != {1} or any((p.by, p.bx, p.oy, p.ox)) or p.channels < DEPTH:
        return p
    return p._replace(n=p.n * p.h * p.w, h=1, w=1, qh=1, qw=1, oh=1, ow=1)


def backward_passes(g: ConvGeometry) -> list[tuple[Pass, np.ndarray]]:
    """(pass, taps) from gradients of outputs to those of images, for each residue of pixels by the strides."""
    found = []
    for ry in range(min(g.sh, g.h)):
        for rx in range(min(g.sw, g.w)):
            rows, columns = taps_of(ry, g.pt, g.kh, g.sh, g.dh), taps_of(rx, g.pl, g.kw, g.sw, g.dw)
            qh, qw = blocks(g.h - ry, g.sh), blocks(g.w - rx, g.sw)
            p = _of_pixels(Pass(
                g.n, g.oh, g.ow, g.f // g.groups, g.c // g.groups, g.groups, rows.number, columns.number,
                rows.step, columns.step, rows.offset, columns.offset, 1, 1,
                qh, qw, g.h, g.w, g.sh, g.sw, ry, rx,
            ))  # fmt: skip
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


def layout(
    p: Pass, parts: int, channels: int, positions: int, cells: int = CELLS, items: int = ITEMS
) -> tuple[_Axis, _Axis, int, int]:
    """(rows, columns, images of an item, rows of a strip), for so many channels in a cell.

    Of an item so many positions are wanted, in no more bytes of cells; of a large convolution so many items.
    """
    rows = _axis(p.h, p.ny, p.sy, p.by, p.my, p.qh)
    columns = _axis(p.w, p.nx, p.sx, p.bx, p.mx, p.qw)
    phases = max(1, len(rows.phases) * len(columns.phases))
    row_bytes = columns.pitch * phases * channels * parts * 2
    image_bytes = rows.pitch * row_bytes
    wanted, share = items_wanted(items), blocks(p.n * rows.pitch * columns.pitch, items_wanted(FEW_ITEMS))
    positions = max(LEAST_POSITIONS, min(positions, share))
    if (2 * image_bytes <= cells and rows.pitch * columns.pitch <= 2 * positions) or p.qh == 1:
        in_image = rows.pitch * columns.pitch
        images = max(1, min(cells // image_bytes, blocks(positions, in_image)))
        shared = max(blocks(p.n, wanted), blocks(LEAST_POSITIONS, in_image))
        images = min(images, shared, p.n)
        if in_image == 1 and images > BLOCK:  # whole blocks of positions
            images -= images % BLOCK
        return rows, columns, images, p.qh
    reach = max(rows.shift_of, default=0)
    fitting = max(min(cells // row_bytes - reach, blocks(2 * positions, columns.pitch)), 4)
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


def _cut(p: Pass, *amounts: int) -> _Cut:
    """As `layout` lays it out."""
    rows, columns, images, strip_rows = layout(p, *amounts)
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
    cells = blocks(p.n, cut.images) * cut.strips * p.groups
    shares = min(blocks(p.filters, BLOCK), blocks(items_wanted(FEW_ITEMS), cells))
    return Plan(
        cut.images, cut.strips, cut.strip_rows, cut.image_cells, phase_cells, cut.phases, depth_blocks, p.channels,
        p.filters, p.groups, p.n, p.h * p.w * pixel, p.oh * p.ow * out_pixel, pixel,
        cut.strip_rows * p.ly * p.ow * out_pixel, shares, cells * shares, _run_count(p, cut), int(_are_rows(p, cut)),
    )  # fmt: skip


def forward_parts(p: Plan) -> int:
    """Groups of images and strips whose moments `amx_forward` writes."""
    return p.items // (p.shares * p.groups)


def _are_rows(p: Pass, cut: _Cut) -> bool:
    """Whether the images are rows of a matrix, which can be put in any order; other cells are read by several taps."""
    return cut.image_cells == p.groups == p.ny * p.nx == 1 and p.channels >= DEPTH


def tables_of(p: Pass, taps: np.ndarray, parts: int) -> Tables:
    """The tables that go with `plan_of`."""
    cut, plan = _cut(p, parts, p.channels, POSITIONS), plan_of(p, parts)
    runs = _runs(p, cut.rows, cut.columns, cut.strip_rows, plan.phase_cells, plan.image_cells)
    offsets = _offsets(p, cut.rows, cut.columns, plan.phase_cells)
    if plan.are_rows:
        offsets = np.arange(plan.depth_blocks) * (2 * TILE * 2 * parts)
    places = _places(p, cut.columns, cut.images, cut.strip_rows, cut.image_cells)
    return Tables(runs, offsets, places, taps)


def _run_count(p: Pass, cut: _Cut) -> int:
    """Runs of neighbouring numbers in the source of an item."""
    if cut.image_cells == p.groups == 1:
        return 1
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
    are_rows: int  # 1: images of one pixel, neighbours in memory, and whole tiles of channels and filters


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
    cut = _cut(p, parts, 2 * p.channels + p.filters, GRADIENT_POSITIONS, GRADIENT_CELLS, PARTS)
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
        p.ny * p.nx * tiles, tiles, blocks(p.filters, ROWS), p.ny * p.nx, p.channels, p.filters, p.groups,
        p.h * p.w * pixel, p.oh * p.ow * p.filters * p.groups, _run_count(p, cut),
        int(cut.image_cells == p.groups == 1 and p.channels % ROWS == p.filters % ROWS == 0),
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
    return blocks(in_order, DEPTH) * DEPTH, pairs, plan.filter_tiles * plan.position_blocks * TILE


def partial_sums_shape(plan: GradientPlan) -> tuple[int, int]:
    """(sums, numbers): what `amx_backward_weights` writes."""
    return plan.sums, plan.groups * blocks(plan.filter_tiles, 2) * blocks(plan.column_tiles, 2) * STAGE


def workspace_size(plan: Plan, parts: int) -> int:
    """uint16 numbers that a thread needs for `amx_forward`."""
    if plan.are_rows:
        return blocks(plan.images, BLOCK) * plan.depth_blocks * parts * 2 * TILE
    return blocks(parts * plan.phases * plan.phase_cells * plan.channels + 2 * DEPTH, 64) * 64


def packed_size(plan: Plan, parts: int) -> int:
    """uint16 numbers of packed weights."""
    return plan.groups * blocks(plan.filters, BLOCK) * plan.depth_blocks * parts * 2 * TILE
