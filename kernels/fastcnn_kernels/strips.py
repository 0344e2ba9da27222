"""The implicit matrix of a convolution, and strips that hold it: windows that overlap, side by side.

A convolution is a product by a matrix that has a row for each pixel of the result and a column for each (tap, channel),
as `Sampling` says. It is never stored. The cells of the image that some pixels see are copied into a strip of a few
kilobytes, with zeros around the image; a row of the matrix begins somewhere in the strip, its columns are all at the
same distances from there. So a product needs two short tables, of rows and of columns, and each cell is copied once for
all the windows of a line that it is in.

Of a long depth, a product takes one `Part` of the columns after the other. For sums over pixels, as weights' gradients
are, the matrix is transposed: the strip holds whole lines, pixels are the columns and weights the rows.
"""

from typing import NamedTuple

from fastcnn_kernels.jit import TILE_ROWS, device_function, shape_function
from fastcnn_kernels.microkernel import DEPTH, EXTRA_ROWS, LANES, clear, copy

STRIP = 4096  # numbers of a strip: a third of a first-level cache
STRIP_TILES = 8  # tiles of pixels, at most, that it serves
STRIP_ROWS = STRIP_TILES * TILE_ROWS + EXTRA_ROWS + TILE_ROWS  # their rows, and a tile's repetitions
PIXELS = 128  # pixels that are added up at once
PIXEL_STRIP = 8192  # numbers of the strip that they see


class Sampling(NamedTuple):
    """The implicit matrix. Row (n, qy, qx) and column (ty, tx, c) is the source at

        [n, qy * my + by + ty * sy, qx * mx + bx + tx * sx, first + c],  c < channels,

    or 0 outside its h x w pixels of `pitch` channels; qy < qh, qx < qw, ty < ny, tx < nx.
    """

    h: int
    w: int
    pitch: int
    first: int
    channels: int
    qh: int
    qw: int
    my: int
    mx: int
    by: int
    bx: int
    sy: int
    sx: int
    ny: int
    nx: int


class Cut(NamedTuple):
    """How an implicit matrix is cut: taps and channels of a part of the columns, and rows that a strip serves."""

    ny: int
    nx: int
    channels: int
    height: int  # rows: whole tiles
    cells: int  # of a line of the strip


class Part(NamedTuple):
    """Some columns of an implicit matrix: those of ny x nx taps from (ty, tx) on, and of channels from c on."""

    ty: int
    tx: int
    c: int
    ny: int
    nx: int
    channels: int


# --- parts of the columns ----------------------------------------------------------------------------------------


@shape_function
def is_matrix(s):
    """Whether the implicit matrix is the source itself: a 1 x 1 kernel, stride 1, no padding."""
    rows = s.ny == 1 and s.my == 1 and s.by == 0 and s.qh == s.h
    return rows and s.nx == 1 and s.mx == 1 and s.bx == 0 and s.qw == s.w


@shape_function
def cells_of_line(s, nx, rows):
    """Cells of a line of the source, at most, that so many rows of the implicit matrix read through nx taps."""
    reach = (nx - 1) * s.sx + 1
    lines = min(rows, (rows - 2) // max(s.qw, 1) + 2)  # of the result that they may touch
    return (rows - lines) * min(s.mx, reach) + lines * reach


@shape_function
def cut_of(s):
    """Parts as large as a strip of a tile's pixels allows; then as many pixels as the strip has room for."""
    if is_matrix(s):
        return Cut(1, 1, DEPTH, STRIP_TILES * TILE_ROWS, 0)
    rows = TILE_ROWS + EXTRA_ROWS
    nx = max(min(s.nx, (STRIP // rows - 1) // s.sx + 1), 1)
    cells, channels, ny = cells_of_line(s, nx, rows), s.channels, max(s.ny, 1)
    if ny * cells * channels > STRIP:
        channels = min(channels, max(STRIP // (ny * cells) // LANES * LANES, LANES), STRIP // cells)
    ny, tiles = min(ny, STRIP // (cells * channels)), STRIP_TILES
    cells = cells_of_line(s, nx, tiles * TILE_ROWS + EXTRA_ROWS)
    while tiles > 1 and ny * cells * channels > STRIP:
        tiles -= 1
        cells = cells_of_line(s, nx, tiles * TILE_ROWS + EXTRA_ROWS)
    return Cut(ny, nx, channels, tiles * TILE_ROWS, cells)


@shape_function
def part_at(s, cut, ty, tx, c):
    """The part that begins at a tap and a channel."""
    return Part(ty, tx, c, min(cut.ny, s.ny - ty), min(cut.nx, s.nx - tx), min(cut.channels, s.channels - c))


@shape_function
def place_of_column(s, cut, ty, tx, c):
    """Where column (ty, tx, c) comes when parts follow one another."""
    part = part_at(s, cut, ty // cut.ny * cut.ny, tx // cut.nx * cut.nx, c // cut.channels * cut.channels)
    before = (part.ty * s.nx + part.ny * part.tx) * s.channels + part.ny * part.nx * part.c
    return before + ((ty - part.ty) * part.nx + tx - part.tx) * part.channels + c - part.c


# --- cells -------------------------------------------------------------------------------------------------------


@device_function
def gather_run(source, line, length, position, run, panel, at):
    """panel[at:][:run] = source[line + position:][:run], zeros where position is not in [0, length)."""
    before = min(max(-position, 0), run)
    inside = min(position + run, length) - max(position, 0)
    if inside <= 0:
        clear(panel, at, run)
        return
    if before > 0:
        clear(panel, at, before)
    copy(panel, at + before, source, line + position + before, inside)
    if before + inside < run:
        clear(panel, at + before + inside, run - before - inside)


@device_function
def copy_cells(source, s, n, y, x, cells, part, strip, at):
    """strip[at:] = the channels of a part of cells x, x + 1, ... of line y of image n; zeros outside of it."""
    if y < 0 or y >= s.h:
        clear(strip, at, cells * part.channels)
    elif part.channels == s.pitch:
        line = s.w * s.pitch
        gather_run(source, (n * s.h + y) * line, line, x * s.pitch, cells * s.pitch, strip, at)
    else:
        origin = (n * s.h + y) * s.w * s.pitch + s.first + part.c
        for i in range(cells):
            if x + i < 0 or x + i >= s.w:
                clear(strip, at + i * part.channels, part.channels)
            else:
                copy(strip, at + i * part.channels, source, origin + (x + i) * s.pitch, part.channels)


@device_function
def copy_strip(source, s, pixel, rows, cut, part, strip, places):
    """Copy the cells that some rows of the implicit matrix read in the columns of a part.

    strip[ty][cell][channel]: pixels that are neighbours in a line share cells where their windows overlap. places[i]:
    where row pixel + i begins.
    """
    reach = (part.nx - 1) * s.sx + 1
    step, pitch = min(s.mx, reach), cut.cells * part.channels
    qx, line = pixel % s.qw, pixel // s.qw
    qy, n = line % s.qh, line // s.qh
    i = at = 0
    while i < rows:
        count = min(rows - i, s.qw - qx)
        y, x = qy * s.my + s.by + part.ty * s.sy, qx * s.mx + s.bx + part.tx * s.sx
        runs, cells = (1, (count - 1) * step + reach) if s.mx <= reach else (count, reach)
        for ty in range(part.ny):
            for j in range(runs):
                to = at + ty * pitch + j * reach * part.channels
                copy_cells(source, s, n, y + ty * s.sy, x + j * s.mx, cells, part, strip, to)
        for j in range(count):
            places[i + j] = at + j * step * part.channels
        at += ((count - 1) * step + reach) * part.channels
        i, qx, qy = i + count, 0, qy + 1
        if qy == s.qh:
            qy, n = 0, n + 1
    for i in range(rows, rows + TILE_ROWS):  # a tile with more rows repeats the last
        places[i] = places[rows - 1]


@device_function
def lay_columns(s, cut, part, columns):
    """columns[k] = how far column k of a part is, in a strip, from where its row begins."""
    k = 0
    for ty in range(part.ny):
        for tx in range(part.nx):
            at, run = (ty * cut.cells + tx * s.sx) * part.channels, columns[k:][: part.channels]
            for c in range(run.size):
                run[c] = at + c
            k += part.channels


# --- whole lines, for sums over pixels ---------------------------------------------------------------------------


class LinesBlock(NamedTuple):
    """How lines of pixels are cut: so many across, and as many lines as fit the strip.

    A line of the strip has `pitch` numbers. The next pixel is `step` of them further. The next line is `below` lines
    of the strip further, where both are of one image.
    """

    across: int
    pitch: int
    step: int
    below: int


@device_function
def shares_cells(s, part):
    """Whether windows of neighbouring pixels overlap, and have no holes."""
    return s.sx == 1 and s.mx <= part.nx


@device_function
def block_of_lines(s, part):
    """As many pixels across as fit the strip."""
    across = min(s.qw, PIXELS)
    step = s.mx if shares_cells(s, part) else part.nx
    while across > 1 and part.ny * ((across - 1) * step + part.nx) * part.channels > PIXEL_STRIP:
        across = (across + 1) // 2
    below = s.my if s.sy == 1 and s.my <= part.ny else part.ny
    return LinesBlock(across, ((across - 1) * step + part.nx) * part.channels, step * part.channels, below)


@device_function
def lines_that_fit(s, part, block, line, end):
    """How many lines from one on; more than one only if the block takes them whole."""
    lines, used = 1, part.ny
    while line + lines < end and (lines + 1) * block.across <= PIXELS:
        used += block.below if (line + lines) % s.qh > 0 else part.ny
        if used * block.pitch > PIXEL_STRIP:
            break
        lines += 1
    return lines


@device_function
def copy_lines(source, s, part, block, line, lines, qx, across, strip, pixels):
    """Copy the cells that some lines of pixels see; pixels[k] = where the window of the next of them begins."""
    at = k = 0
    for i in range(line, line + lines):
        n, qy = i // s.qh, i % s.qh
        # Lines of the strip that the pixels above have needed, too.
        known = part.ny - block.below if i > line and qy > 0 else 0
        at -= known * block.pitch
        for ty in range(known, part.ny):
            y = qy * s.my + s.by + (part.ty + ty) * s.sy
            copy_windows(source, s, part, n, y, qx, across, strip, at + ty * block.pitch)
        for x in range(across):
            pixels[k] = at + x * block.step
            k += 1
        at += part.ny * block.pitch


@device_function
def copy_windows(source, s, part, n, y, qx, across, strip, at):
    """One line of the strip: what some pixels from qx on see of line y."""
    x = qx * s.mx + s.bx + part.tx * s.sx
    if shares_cells(s, part):
        copy_cells(source, s, n, y, x, (across - 1) * s.mx + part.nx, part, strip, at)
        return
    for i in range(across):
        for tx in range(part.nx):
            to = at + (i * part.nx + tx) * part.channels
            copy_cells(source, s, n, y, x + i * s.mx + tx * s.sx, 1, part, strip, to)


@device_function
def lay_weights(part, block, rows):
    """rows[i] = how far weight i of a part is, in the strip, from where the window of a pixel begins."""
    i = 0
    for ty in range(part.ny):
        for k in range(part.nx * part.channels):
            rows[i] = ty * block.pitch + k
            i += 1
    for more in range(i, i + TILE_ROWS):  # a tile with more rows repeats the last
        rows[more] = rows[i - 1]
