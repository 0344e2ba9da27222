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

import numpy as np

from fastcnn_kernels.jit import cpu_kernel, device_function, scalar, shape_function, stack_array
from fastcnn_kernels.microkernel import (
    LANES,
    Epilogue,
    blocks,
    clear,
    flat,
    pack_columns,
    pack_rows,
    transpose_square,
)
from fastcnn_kernels.moments import keep_moments
from fastcnn_kernels.tile_geometry import BLOCK, DEPTH, ROWS, STAGE, TILE, Plan
from fastcnn_kernels.tile_products import (
    block_forward,
    block_gradient,
    clear_halves,
    finish_row,
    interleave,
    split,
    split_pair,
    tiles_off,
    tiles_on,
)

GROUP = 16  # blocks of positions that are computed together
STAGES = GROUP * STAGE
NEAR = 12  # blocks of the depth of one part: so many of 32 columns or filters stay in a first-level cache
SQUARE = ROWS * ROWS
WHOLE_ROW, HALF_ROW = BLOCK // LANES, BLOCK // LANES // 2  # vectors


@device_function
def split_run(parts, source, at, count, to, to_at, part_pitch):
    """to[to_at + p * part_pitch:][:count] = part p of source[at:][:count]. Up to two vectors more are overwritten."""
    whole = count // (2 * LANES) * (2 * LANES)
    for i in range(0, whole, 2 * LANES):
        _split(parts, source, at + i, to, to_at + i, part_pitch)
    if whole < count:
        _split_some(parts, source, at + whole, count - whole, to, to_at + whole, part_pitch)


@device_function
def _split(parts, source, at, to, to_at, part_pitch):
    if parts == 1:
        split(1, 1, source, at, 0, to, to_at, part_pitch)
    elif parts == 2:
        split(2, 1, source, at, 0, to, to_at, part_pitch)
    else:
        split(3, 1, source, at, 0, to, to_at, part_pitch)


@device_function
def _split_some(parts, source, at, count, to, to_at, part_pitch):
    if parts == 1:
        split(1, 0, source, at, count, to, to_at, part_pitch)
    elif parts == 2:
        split(2, 0, source, at, count, to, to_at, part_pitch)
    else:
        split(3, 0, source, at, count, to, to_at, part_pitch)


@device_function
def _split_pair(parts, first, first_at, second, second_at, to, to_at, part_pitch):
    if parts == 1:
        split_pair(1, first, first_at, second, second_at, to, to_at, part_pitch)
    elif parts == 2:
        split_pair(2, first, first_at, second, second_at, to, to_at, part_pitch)
    else:
        split_pair(3, first, first_at, second, second_at, to, to_at, part_pitch)


@device_function
def _block_forward(parts, wide, cells, at, pitches, offsets, k, count, weights, b, out, to):
    if parts == 1 and wide:
        block_forward(1, 1, cells, at, pitches, offsets, k, count, weights, b, out, to)
    elif parts == 1:
        block_forward(1, 0, cells, at, pitches, offsets, k, count, weights, b, out, to)
    elif parts == 2 and wide:
        block_forward(2, 1, cells, at, pitches, offsets, k, count, weights, b, out, to)
    elif parts == 2:
        block_forward(2, 0, cells, at, pitches, offsets, k, count, weights, b, out, to)
    elif wide:
        block_forward(3, 1, cells, at, pitches, offsets, k, count, weights, b, out, to)
    else:
        block_forward(3, 0, cells, at, pitches, offsets, k, count, weights, b, out, to)


@device_function
def fill_rows(source, at, count, p, parts, cells):
    """cells = [32 rows][block of the depth][part][16 rows][32] of `count` rows of a matrix, the order of the weights.

    The last block of the depth ends with the row, and may begin inside of another.
    """
    step = parts * 2 * TILE
    for row in range(count):
        to = row // BLOCK * p.depth_blocks * step + row % BLOCK * DEPTH
        for k in range(p.depth_blocks):
            start = at + row * p.channels + min(k * DEPTH, p.channels - DEPTH)
            _split(parts, source, start, cells, to + k * step, 2 * TILE)


@device_function
def fill_cells(source, at, runs, images, shape, parts, cells, part_pitch):
    """The cells of some images of a source whose first pixel is at `at`, in parts.

    shape: (numbers of an image of the source, its cells, cells of a phase, phases, channels).
    """
    source_image, image_cells, phase_cells, phases, channels = shape
    are_rows = image_cells == 1 and source_image == channels  # images of one pixel, neighbours in memory
    if are_rows:
        split_run(parts, source, at, images * channels, cells, 0, part_pitch)
    for image in range(0 if are_rows else images):
        base, to_base = at + image * source_image, image * image_cells
        for k in range(runs.shape[0]):
            to, origin, count = (to_base + runs[k, 0]) * channels, runs[k, 1], runs[k, 2] * channels
            if origin >= 0:
                split_run(parts, source, base + origin, count, cells, to, part_pitch)
            else:
                for part in range(parts):
                    clear_halves(cells, part * part_pitch + to, count)
    for phase in range(phases):  # what tiles read beyond the last image
        end = images * image_cells
        to, count = (phase * phase_cells + end) * channels, (phase_cells - end) * channels
        for part in range(parts):
            clear_halves(cells, part * part_pitch + to, count)


@shape_function
def near_blocks(depth_blocks, parts):
    """Blocks of the depth whose products are added up before those of the next positions: `NEAR` or fewer, evenly."""
    return blocks(depth_blocks, blocks(depth_blocks, NEAR // parts)) if depth_blocks else 1


@scalar
def finished(total, bias, residual, lower):
    """What is stored, added up from left to right: in whatever order suits a loop, bits would depend on places."""
    value = total + bias + residual
    return lower if value < lower else value  # NaN stays NaN


@device_function
def finish(stage, stage_at, places, at, left, columns, end, bias_at, zeros, out, out_at, limit):
    """Write the rows of a block of 32 x 32 numbers that belong to outputs before `limit`."""
    bias, bias_at = (end.bias, bias_at) if end.bias.size else (zeros, 0)
    for r in range(BLOCK):
        place, to = places[at + r], out_at + places[at + r] + left
        if place >= 0 and to < limit:
            source = stage_at + r * BLOCK
            more, more_at = (end.residual, to) if end.residual.size else (zeros, 0)
            if columns == BLOCK:
                finish_row(WHOLE_ROW, stage, source, bias, bias_at, more, more_at, end.lower, out, to)
            elif columns == BLOCK // 2:
                finish_row(HALF_ROW, stage, source, bias, bias_at, more, more_at, end.lower, out, to)
            else:
                for j in range(columns):
                    out[to + j] = finished(stage[source + j], bias[bias_at + j], more[more_at + j], end.lower)


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


@cpu_kernel(
    lambda x, packed, bias, residual, moments, out, workspace, lower, runs, offsets, places, p, parts: p.items
)
def amx_forward(
    x,
    packed,
    bias,
    residual,
    moments,
    out,
    workspace,
    lower,
    runs,
    offsets,
    places,
    p,
    parts,
    first,
    last,
    thread,
):
    """out = max(x * weights + bias + residual, lower), for a `Pass` that `Plan` p and the tables describe.

    moments of out, (`forward_parts`,3,filters) float64 for `combine_moments`, or empty: for passes that store whole
    pixels one behind the other.
    """
    x, packed, out, cells = flat(x), flat(packed), flat(out), workspace[thread]
    stage, zeros, end = stack_array(x, STAGES), stack_array(x, BLOCK), Epilogue(bias, residual, lower)
    clear(zeros, 0, BLOCK)
    part_pitch = p.phases * p.phase_cells * p.channels
    panels = blocks(p.filters, BLOCK)
    panel_size, near = p.depth_blocks * parts * 2 * TILE, near_blocks(p.depth_blocks, parts)
    pitches = (DEPTH, TILE, 2 * TILE) if p.are_rows else (p.channels, ROWS * p.channels, part_pitch)
    position = p.depth_blocks * parts * 2 * TILE // BLOCK if p.are_rows else p.channels
    tiles_on()
    filled = -1
    for item in range(first, last):
        share, these_cells = item % p.shares, item // p.shares
        group, rest = these_cells % p.groups, these_cells // p.groups
        strip, image = rest % p.strips, rest // p.strips * p.images
        images = min(p.images, p.n - image)
        at = image * p.source_image + group * p.channels
        if these_cells != filled:  # they may be those of the item before
            if p.are_rows:
                fill_rows(x, at, images, p, parts, cells)
            else:
                shape = p.source_image, p.image_cells, p.phase_cells, p.phases, p.channels
                fill_cells(x, at, runs[strip], images, shape, parts, cells, part_pitch)
            filled = these_cells
        to, limit = image * p.output_image + strip * p.output_strip, (image + images) * p.output_image
        to, positions = to + group * p.filters, images * p.image_cells
        for panel in range(share * panels // p.shares, (share + 1) * panels // p.shares):
            left = panel * BLOCK
            columns = min(BLOCK, p.filters - left)
            b = (group * panels + panel) * panel_size
            at_bias = group * p.filters + left
            for start in range(0, positions, GROUP * BLOCK):
                for k in range(0, max(p.depth_blocks, 1), near):
                    count = min(near, p.depth_blocks - k)
                    for q in range(start, min(start + GROUP * BLOCK, positions), BLOCK):
                        slot = 0 if near >= p.depth_blocks else (q - start) * BLOCK
                        _block_forward(
                            parts, columns > ROWS, cells, q * position, pitches, offsets, k, count, packed, b,
                            stage, slot,
                        )  # fmt: skip
                        if k + near >= p.depth_blocks:
                            finish(stage, slot, places, q, left, columns, end, at_bias, zeros, out, to, limit)
        if moments.size:
            left = share * panels // p.shares * BLOCK
            filters, pitch = min((share + 1) * panels // p.shares * BLOCK, p.filters) - left, moments.shape[2]
            pixels = images * min(p.output_strip, p.output_image - strip * p.output_strip) // pitch
            keep_moments(out, to + left, pixels, filters, pitch, moments, rest, group * p.filters + left)
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
    """memory[to:] = [part][16 filters][32 positions] as tiles of the outputs at the beginning of the memory."""
    for part in range(parts):
        for block in range(p.position_blocks):
            for tile in range(p.filter_tiles):
                at = part * from_part + block * BLOCK * p.filters + tile * ROWS
                for k in range(BLOCK // 2):
                    output = at + 2 * k * p.filters
                    interleave(memory, output, output + p.filters, pairs, k * DEPTH)
                place = (to + part * to_part + (tile * p.position_blocks + block) * TILE) // 2
                transpose_square(memory, place, ROWS, pairs, 0, ROWS)


@device_function
def split_rows(parts, source, at, pair, count, pitch, zeros, to, to_at, to_part):
    """to[to_at:] = [part][16 channels][2] of the rows 2 pair and 2 pair + 1 of `count`, zeros behind the last."""
    first = at + 2 * pair * pitch
    if 2 * pair + 1 < count:
        _split_pair(parts, source, first, source, first + pitch, to, to_at, to_part)
    elif 2 * pair < count:
        _split_pair(parts, source, first, zeros, 0, to, to_at, to_part)
    else:
        for part in range(parts):
            clear_halves(to, to_at + part * to_part, DEPTH)


@device_function
def pair_rows(parts, source, at, count, p, memory, to, to_part, zeros):
    """What `fill_cells` and `pair_cells` make of `count` neighbouring pixels."""
    half = p.phase_cells // 2
    for pair in range(p.position_blocks * ROWS):
        for tile in range(p.channel_tiles):
            place = to + (tile * half + pair) * DEPTH
            split_rows(
                parts, source, at + tile * ROWS, pair, count, p.channels, zeros, memory, place, to_part
            )


@device_function
def transpose_rows(parts, source, at, count, p, memory, from_part, to, to_part, zeros):
    """What `fill_cells` and `transpose_outputs` make of `count` neighbouring outputs."""
    for block in range(p.position_blocks):
        for k in range(ROWS):
            for tile in range(p.filter_tiles):
                place = (tile * ROWS + k) * DEPTH
                split_rows(
                    parts, source, at + tile * ROWS, block * ROWS + k, count, p.filters, zeros, memory, place,
                    from_part,
                )  # fmt: skip
        for part in range(parts):
            for tile in range(p.filter_tiles):
                place = (to + part * to_part + (tile * p.position_blocks + block) * TILE) // 2
                transpose_square(memory, place, ROWS, memory, part * from_part // 2 + tile * SQUARE, ROWS)


@cpu_kernel(lambda x, dy, sums, workspace, runs, outputs, columns, p, pieces, parts: p.sums * p.groups)
def amx_backward_weights(
    x, dy, sums, workspace, runs, outputs, columns, p, pieces, parts, first, last, thread
):
    """sums[i][group][32 filters][pair of column tiles] = dy, transposed, times x, over the chunks of each sum.

    pieces: what `gradient_pieces` says.
    """
    x, dy, sums, memory = flat(x), flat(dy), flat(sums), workspace[thread]
    pairs, zeros = stack_array(x, SQUARE), stack_array(x, LANES)
    clear(zeros, 0, LANES)
    panels, column_pairs = blocks(p.filter_tiles, 2), blocks(p.column_tiles, 2)
    size, near = panels * column_pairs * STAGE, near_blocks(p.position_blocks, parts)
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
            dy_from = image * p.output_image + group * p.filters
            if p.are_rows:
                pair_rows(parts, x, at, images, p, memory, cells_at, cells_part, zeros)
                transpose_rows(parts, dy, dy_from, images, p, memory, in_order, dy_at, dy_part, zeros)
            else:
                shape = p.source_image, p.image_cells, p.phase_cells, p.phases, p.channels
                fill_cells(x, at, runs[strip], images, shape, parts, memory, in_order)
                pair_cells(memory, parts, p, in_order, cells_at, cells_part)
                shape = p.output_image, p.image_positions, p.position_blocks * BLOCK, 1, p.filters
                fill_cells(dy, dy_from, outputs[strip], images, shape, parts, memory, in_order)
                transpose_outputs(memory, parts, p, in_order, dy_at, dy_part, pairs)
            for panel in range(panels):
                for k in range(0, p.position_blocks, near):
                    count, tall = min(near, p.position_blocks - k), p.filter_tiles - 2 * panel > 1
                    rows, cells = dy_at + (2 * panel * p.position_blocks + k) * TILE, cells_at + k * TILE
                    for pair in range(column_pairs):
                        to = item * size + (panel * column_pairs + pair) * STAGE
                        _block_gradient(
                            parts, tall, memory, rows, p.position_blocks * TILE, dy_part,
                            cells + columns[2 * pair], cells + columns[2 * pair + 1], cells_part, count, sums, to,
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
                for i in range(ROWS):
                    total[f * ROWS + i] += sums[start + f * BLOCK + i]
        to = ((tap * p.channels + c) * p.groups + group) * p.filters + panel * BLOCK
        for i in range(channels):
            for f in range(filters):
                weight[to + i * p.groups * p.filters + f] = total[f * ROWS + i]
