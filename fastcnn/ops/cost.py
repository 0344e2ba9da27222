"""What a convolution costs by each algorithm: the model that a plan chooses by.

Costs are in multiply-adds at full speed, so that they compare on any processor. The constants are fitted to times of
1,400 layers on a processor with AVX-512, where they were off by 13 % on average; those of matrix tiles to 370 more
(22 %), those of implicit products to 265 passes each way on a busy machine (19 to 30 %). What the model chose of the
last, forward, for the input and for the weights, was 11, 7 and 6 % slower than the fastest on average; of 146 passes
each with kernels of 3 x 3, on which Winograd's were looked at again (20 to 23 %), 6, 4 and 3 %.
"""

import math

from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.lanes import MOST_FILTERS, panel_rows, strip_rows, strips
from fastcnn_kernels.microkernel import blocks
from fastcnn_kernels.tile_geometry import BLOCK as TILE_BLOCK
from fastcnn_kernels.tile_geometry import DEPTH as TILE_DEPTH
from fastcnn_kernels.tile_geometry import ROWS as TILE_ROWS
from fastcnn_kernels.tile_geometry import GradientPlan, Plan
from fastcnn_kernels.tile_products import HAS_TILES
from fastcnn_kernels.winograd import BLOCK, GRADIENT_CHANNELS, points

Cost = float
IMPOSSIBLE: Cost = math.inf

ROWS, LANES = 4, 16  # of the smallest register tile: products of fewer rows or columns cost as much

# Of the implicit matrix product: a multiply-add, a result, a number of the image that is copied, a copy of neighbours,
# however few. The same for weights' gradients, where each number of dy is moved once instead of a result.
PRODUCT, RESULT, CELL, RUN = 1.15, 34.0, 27.0, 2200.0
GRADIENT_PRODUCT, GRADIENT_RESULT, GRADIENT_CELL, GRADIENT_RUN = 1.22, 22.0, 35.0, 340.0
MATRIX_PRODUCT, MOVED = 1.8, 16.0  # a multiply-add of a product of matrices, packing included, and a result
PACKED = 10.0  # one weight

# Of Winograd's algorithm: a multiply-add; transforming one channel and one filter of a tile of 4 x 4 or 2 x 2 outputs.
POINT_PRODUCT = 1.0
INPUT, OUTPUT = {4: 850.0, 2: 310.0}, {4: 320.0, 2: 150.0}
TRANSFORMED = 28.0  # making one transformed weight
READ, FETCHED = 0.9, 11.0  # reading it for a block of tiles from a second-level cache, and from beyond
CACHED = 400_000  # transformed weights that stay in such a cache
SUMMED = 22.0  # taking one sum over tiles back to weights

# Of images in lanes: a multiply-add, and taking a number into a panel or out of it.
LANE_PRODUCT, LANE_GRADIENT_PRODUCT, TRANSPOSED = 1.7, 1.9, 16.0
MOST_WEIGHTS = 12_000  # more do not stay in a first-level cache, and are read for every few pixels

# Of matrix tiles, by the parts of a number: a product of two tiles; splitting a number; the same and putting it in
# order for gradients; beginning a run of neighbouring numbers; a result; packing a weight; adding up a sum.
TILE_PRODUCT, GRADIENT_TILE_PRODUCT = 700.0, {1: 900.0, 2: 790.0, 3: 720.0}
if (
    not HAS_TILES
):  # by vectors of dot products, twice as many at once as multiply-adds of float32 (not fitted)
    TILE_PRODUCT, GRADIENT_TILE_PRODUCT = 5000.0, {1: 5000.0}
# Whoever runs on the other half of a core shares its matrix tiles. If that uses them, too, they take twice as long.
SHARED = 1.25
SPLIT = {1: 8.0, 2: 12.0, 3: 16.0}
ORDERED, ROWS_ORDERED = {1: 19.0, 2: 25.0, 3: 36.0}, {1: 16.0, 2: 20.0, 3: 23.0}
SPLIT_RUN, FINISHED, TILE_PACKED, TILE_SUMMED = 250.0, 12.5, 25.0, 46.0


def filled(count: int) -> int:
    """Columns of whole vectors."""
    return blocks(count, LANES) * LANES


def product_cost(results: int, depth: int) -> Cost:
    """Of a product of matrices."""
    return results * (depth * MATRIX_PRODUCT + MOVED)


def columns_of(g: ConvGeometry) -> int:
    """Numbers of the implicit matrix."""
    return g.n * g.oh * g.ow * g.kh * g.kw * g.c


def copies_of(g: ConvGeometry, backwards: bool) -> tuple[int, int]:
    """(copies of neighbouring numbers, numbers) of the image that an implicit product makes; none where the matrix is
    the image itself."""
    if (g.kh, g.kw, g.sh, g.sw, g.pt, g.pl) == (1, 1, 1, 1, 0, 0):
        return 0, 0
    if backwards:
        taps, across = blocks(g.kh, g.sh), blocks(g.kw, g.sw)
        lines, cells = g.n * g.h * g.sw * taps, g.n * g.h * (g.w + across) * taps
    else:
        lines, cells = g.n * g.oh * g.kh, g.n * g.oh * (g.ow * min(g.sw, g.kw) + g.kw) * g.kh
    return lines if g.groups == 1 else cells * g.groups, cells * g.c


def implicit_cost(g: ConvGeometry, ready: bool, backwards: bool = False) -> Cost:
    """Of an implicit matrix product; ready: its weights are packed; backwards: from y to x, with c and f exchanged."""
    weights = g.kh * g.kw * g.c * (g.f // g.groups)
    product = columns_of(g) * filled(g.f // g.groups) * PRODUCT
    pixels = g.n * g.h * g.w if backwards else g.n * g.oh * g.ow
    runs, numbers = copies_of(g, backwards)
    moved = pixels * g.groups * filled(g.f // g.groups) * RESULT + numbers * CELL + runs * RUN
    return product + moved + (0.0 if ready else weights * PACKED)


def implicit_gradient_cost(g: ConvGeometry) -> Cost:
    """Of the gradient of the weights by an implicit matrix product."""
    filters = filled(g.f // g.groups)
    runs, numbers = copies_of(g, backwards=False)
    moved = g.n * g.oh * g.ow * g.groups * filters * GRADIENT_RESULT
    return columns_of(g) * filters * GRADIENT_PRODUCT + moved + numbers * GRADIENT_CELL + runs * GRADIENT_RUN


def lanes_cost(g: ConvGeometry, lanes: int, gradient: bool) -> Cost:
    """With as many images at a time as a vector has lanes."""
    if g.groups > 1 or g.f > MOST_FILTERS or g.kh * g.kw * g.c * g.f > MOST_WEIGHTS:
        return IMPOSSIBLE
    rows = strip_rows(g, lanes)
    parts = blocks(g.n * strips(g, lanes), lanes) * lanes  # images, or strips of them
    results = parts * rows * g.ow
    product = LANE_GRADIENT_PRODUCT if gradient else LANE_PRODUCT
    moved = parts * min(panel_rows(g, rows), g.h) * g.w * g.c + results * g.f
    return results * g.f * g.kh * g.kw * g.c * product + moved * TRANSPOSED


def suits_winograd(g: ConvGeometry) -> bool:
    """3 x 3 weights, neighbouring taps, neighbouring outputs."""
    return (g.kh, g.kw, g.sh, g.sw, g.dh, g.dw) == (3, 3, 1, 1, 1, 1)


def winograd_cost(g: ConvGeometry, size: int, ready: bool) -> Cost:
    """Of Winograd's algorithm with tiles of size x size; ready: the weights are transformed already."""
    if not suits_winograd(g):
        return IMPOSSIBLE
    tiles, inner, filters = tiles_of(g, size), g.c // g.groups, g.f // g.groups
    weights = points(size) * g.c * filled(filters)
    product = blocks(tiles, ROWS) * ROWS * weights * POINT_PRODUCT
    of_input = max(inner, LANES) * INPUT[size]
    of_output = filled(filters) * OUTPUT[size]
    read = (READ if weights < CACHED else FETCHED) * blocks(tiles, BLOCK)
    of_weights = weights * (read + (0.0 if ready else TRANSFORMED))
    return product + tiles * g.groups * (of_input + of_output) + of_weights


def winograd_gradient_cost(g: ConvGeometry, size: int, parts: int) -> Cost:
    """Of the gradient of the weights: every block of channels and filters transforms its own tiles."""
    if not suits_winograd(g):
        return IMPOSSIBLE
    tiles, inner, filters = tiles_of(g, size), g.c // g.groups, g.f // g.groups
    sums = points(size) * g.c * filled(filters)
    of_input = max(inner, LANES) * INPUT[size]
    of_dy = max(filters, LANES) * INPUT[size]
    again = blocks(filters, GRADIENT_CHANNELS), blocks(inner, GRADIENT_CHANNELS)
    return (
        tiles * (sums * POINT_PRODUCT + g.groups * (of_input * again[0] + of_dy * again[1]))
        + parts * sums * SUMMED
    )


def tiles_of(g: ConvGeometry, size: int) -> int:
    """Tiles of size x size outputs."""
    return g.n * blocks(g.oh, size) * blocks(g.ow, size)


def amx_cost(plan: Plan, parts: int, ready: bool) -> Cost:
    """Of a pass on matrix tiles; ready: the weights are packed already."""
    items = plan.items // plan.shares
    positions = items * blocks(plan.images * plan.image_cells, TILE_BLOCK)  # blocks of them
    columns, products = blocks(plan.filters, TILE_ROWS), parts * (parts + 1) // 2
    tiles = 2 * positions * columns * plan.depth_blocks * products
    cells = items * plan.phases * plan.phase_cells * plan.channels
    weights = plan.groups * columns * TILE_ROWS * plan.depth_blocks * TILE_DEPTH
    moved = cells * SPLIT[parts] + items * plan.runs * SPLIT_RUN
    results = positions * TILE_BLOCK * plan.filters * FINISHED
    prepared = 0.0 if ready else weights * parts * TILE_PACKED
    return SHARED * (tiles * TILE_PRODUCT + moved + results + prepared)


def amx_gradient_cost(plan: GradientPlan, parts: int) -> Cost:
    """Of the gradient of the weights on matrix tiles."""
    chunks, products = plan.chunks * plan.groups, parts * (parts + 1) // 2
    columns = 2 * blocks(plan.column_tiles, 2)
    tiles = chunks * plan.position_blocks * plan.filter_tiles * columns * products
    cells = plan.copies * plan.phases * plan.phase_cells * plan.channel_tiles * TILE_ROWS
    outputs = plan.position_blocks * TILE_BLOCK * plan.filter_tiles * TILE_ROWS
    sums = plan.sums * plan.groups * columns * plan.filter_tiles * TILE_ROWS * TILE_ROWS
    ordered = ROWS_ORDERED[parts] if plan.are_rows else ORDERED[parts]
    moved = (cells + outputs) * ordered + plan.runs * SPLIT_RUN
    return SHARED * (tiles * GRADIENT_TILE_PRODUCT[parts] + chunks * moved + sums * TILE_SUMMED)
