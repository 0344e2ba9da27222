"""Convolutions on matrix tiles, against the definition; their tables also where the processor has no tiles."""

from collections.abc import Callable

import numpy as np
import pytest
import reference
from fastcnn_kernels import amx, tile_geometry
from fastcnn_kernels.conv import ConvGeometry
from fastcnn_kernels.jit import on_one_thread
from fastcnn_kernels.team import run
from fastcnn_kernels.tile_products import products_available

needs_products = pytest.mark.skipif(
    not products_available(), reason="this processor multiplies no bfloat16 numbers"
)

THREADS = 4
# Of the largest result: bfloat16 numbers have 8 bits, so have their products' errors; two have 16, three as many as
# float32.
NONE = np.empty(0, "float32")  # bias or residual
NO_MOMENTS = np.empty((0, 3, 0))
ERRORS = {1: 8e-3, 2: 2e-5, 3: 2e-6}


class Case:
    """A convolution: x shape, kernel (kh, kw), filters, strides, dilation, pads ((top, bottom), (left, right))."""

    def __init__(self, x, taps, filters, strides=(1, 1), dilation=(1, 1), pads=((0, 0), (0, 0)), groups=1):
        n, h, w, c = x
        self.x, self.weight = x, (*taps, c // groups, filters)
        self.options = {"padding": pads, "stride": strides, "dilation": dilation, "groups": groups}
        oh, ow = reference.output_size(pads, (h, w), taps, strides, dilation)
        self.y = (n, oh, ow, filters)
        before = pads[0][0], pads[1][0]
        self.geometry = ConvGeometry(n, h, w, c, *taps, *strides, *dilation, *before, oh, ow, filters, groups)


SAME = ((1, 1), (1, 1))
CASES = [
    pytest.param(Case((1, 1, 1, 1), (1, 1), 1), id="smallest"),
    pytest.param(Case((3, 9, 7, 5), (3, 3), 7, pads=SAME), id="nothing equal"),
    pytest.param(Case((3, 9, 7, 16), (1, 1), 40), id="one tap"),
    pytest.param(Case((3, 9, 7, 48), (1, 1), 32), id="one tap, whole tiles, an odd number of pixels"),
    pytest.param(Case((16, 8, 8, 256), (1, 1), 64), id="one tap, many pixels"),
    pytest.param(Case((2, 8, 8, 16), (3, 3), 16, pads=SAME), id="taps share a block"),
    pytest.param(Case((2, 10, 11, 33), (3, 3), 17, (2, 2), pads=((0, 1), (1, 1))), id="strides"),
    pytest.param(Case((2, 12, 12, 8), (5, 3), 6, dilation=(2, 3), pads=((4, 4), (3, 3))), id="dilation"),
    pytest.param(Case((2, 13, 12, 8), (3, 3), 12, (3, 2), pads=((1, 1), (0, 1)), groups=2), id="groups"),
    pytest.param(Case((1, 70, 90, 36), (3, 3), 20, pads=SAME), id="several strips"),
    pytest.param(Case((70, 1, 1, 100), (1, 1), 10), id="rows of a matrix"),
    pytest.param(Case((1, 8, 8, 20), (3, 3), 100, pads=SAME), id="one image, filters shared out"),
    pytest.param(Case((4, 9, 9, 3), (4, 4), 5, (2, 2)), id="short runs"),
    pytest.param(Case((2, 7, 7, 20), (1, 1), 30, (2, 2)), id="pixels without a tap"),
    pytest.param(Case((40, 4, 4, 48), (3, 3), 50, pads=SAME), id="many small images"),
    pytest.param(Case((2, 5, 5, 4), (3, 3), 4, (4, 4), pads=SAME), id="strides beyond the taps"),
    pytest.param(Case((2, 2, 3, 4), (3, 3), 3, pads=((4, 4), (5, 4))), id="rows of padding alone"),
]


def draw(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def memory(size: int, dtype: str) -> np.ndarray:
    """Rows for threads, on cache lines, of bits that are NaN: kernels may not rely on zeros."""
    nbytes = np.dtype(dtype).itemsize * size
    raw = np.full(THREADS * nbytes + 64, 255, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + THREADS * nbytes].view(dtype).reshape(THREADS, size)


def through(
    p: tile_geometry.Pass, taps: np.ndarray, x, weight, pitches, bias, residual, out, lower: float, parts: int,
    moments: np.ndarray = NO_MOMENTS,
) -> list:  # fmt: skip
    """The launches of a pass."""
    plan, tables = tile_geometry.plan_of(p, parts), tile_geometry.tables_of(p, taps, parts)
    packed = memory(-(-max(tile_geometry.packed_size(plan, parts), 64) // 64) * 64, "uint16")[0]
    where = tables.runs, tables.offsets, tables.places
    work = memory(tile_geometry.workspace_size(plan, parts), "uint16")
    return [
        amx.amx_pack_weights.bind(weight, packed, taps, plan, tile_geometry.run_of(p), pitches, parts),
        amx.amx_forward.bind(x, packed, bias, residual, moments, out, work, lower, *where, plan, parts),
    ]


def assert_close(actual: np.ndarray, expected: np.ndarray, parts: int) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=ERRORS[parts] * max(np.abs(expected).max(), 1))


@needs_products
@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_amx_forward(case: Case, parts: int, on_threads: Callable, assert_moments: Callable) -> None:
    x, weight, bias, g = draw(case.x), draw(case.weight, 1), draw(case.weight[3:], 2), case.geometry
    p, taps = tile_geometry.forward_pass(g)
    pitches, more = (p.channels * g.f, g.f, 1, p.filters), draw(case.y, 3)

    def compute() -> list[np.ndarray]:
        plain, floored, added = (np.full(case.y, np.nan, "float32") for _ in range(3))
        run(through(p, taps, x, weight, pitches, NONE, NONE, plain, -np.inf, parts))
        run(through(p, taps, x, weight, pitches, bias, NONE, floored, 0.0, parts))
        moments = np.full((tile_geometry.forward_parts(tile_geometry.plan_of(p, parts)), 3, g.f), np.nan)
        run(through(p, taps, x, weight, pitches, bias, more.reshape(-1), added, 0.0, parts, moments))
        return [plain, floored, added, moments]

    plain, floored, added, moments = on_threads(compute)
    assert_moments(moments, added)
    expected = reference.conv2d(x, weight, **case.options)
    assert_close(plain, expected, parts)
    assert_close(floored, np.maximum(expected + bias, 0), parts)
    assert_close(added, np.maximum(expected + bias + more, 0), parts)


@needs_products
@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_amx_backward_data(case: Case, parts: int, on_threads: Callable) -> None:
    weight, dy, g = draw(case.weight, 1), draw(case.y, 2), case.geometry
    pitches, more = (g.c // g.groups * g.f, 1, g.f, g.f // g.groups), draw(case.x, 3)

    def compute() -> list[np.ndarray]:
        dx, added = (np.full(case.x, np.nan, "float32") for _ in range(2))
        for p, taps in tile_geometry.backward_passes(g):
            run(through(p, taps, dy, weight, pitches, NONE, NONE, dx, -np.inf, parts))
            run(through(p, taps, dy, weight, pitches, NONE, more.reshape(-1), added, -np.inf, parts))
        return [dx, added]

    dx, added = on_threads(compute)
    expected = reference.conv2d_input_gradient(dy, weight, case.x[1:3], **case.options)
    assert_close(dx, expected, parts)
    assert_close(added, expected + more, parts)


@needs_products
@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_amx_backward_weights(case: Case, parts: int, on_threads: Callable) -> None:
    """With amx_add_gradients, which brings the sums together."""
    x, dy = draw(case.x), draw(case.y, 2)
    p, _ = tile_geometry.forward_pass(case.geometry)
    plan, tables = tile_geometry.gradient_plan_of(p, parts), tile_geometry.gradient_tables_of(p, parts)

    def compute() -> list[np.ndarray]:
        sums = np.full(tile_geometry.partial_sums_shape(plan), np.nan, "float32")
        dweight = np.full(case.weight, np.nan, "float32")
        work, pieces = (
            memory(tile_geometry.gradient_workspace_size(plan, parts), "float32"),
            tile_geometry.gradient_pieces(plan),
        )
        amx.amx_backward_weights(x, dy, sums, work, *tables, plan, pieces, parts)
        amx.amx_add_gradients(sums, dweight, plan)
        return [dweight]

    (dweight,) = on_threads(compute)
    assert_close(dweight, reference.conv2d_weight_gradient(dy, x, case.weight[:2], **case.options), parts)


@needs_products
def test_amx_pack_weights() -> None:
    """Of two parts the first is the nearest bfloat16 number, and the sum of both has 16 bits."""
    case = CASES[1].values[0]
    p, taps = tile_geometry.forward_pass(case.geometry)
    plan, weight = tile_geometry.plan_of(p, 2), draw(case.weight)
    packed = np.zeros(tile_geometry.packed_size(plan, 2), np.uint16)
    pitches = (p.channels * p.filters, p.filters, 1, p.filters)
    amx.amx_pack_weights(weight, packed, taps, plan, tile_geometry.run_of(p), pitches, 2)
    first, rest = (packed.astype(np.uint32) << 16).view("float32").reshape(-1, 2, 2, 16, 16, 2).swapaxes(0, 1)
    row = np.zeros((3, 32), "float32")  # block of the depth, (tap, channel) of the first filter
    row[:, :15] = weight[..., 0].reshape(3, 15)
    np.testing.assert_array_equal(first[:, 0, :, 0].reshape(3, 32), nearest(row))
    np.testing.assert_allclose((first + rest)[:, 0, :, 0].reshape(3, 32), row, rtol=2**-16)


def nearest(x: np.ndarray) -> np.ndarray:
    """Rounded to 8 significant bits, ties to even."""
    mantissa, exponent = np.frexp(x.astype("float64"))
    return np.ldexp(np.rint(mantissa * 256) / 256, exponent).astype("float32")


@needs_products
@pytest.mark.parametrize("channels", [8, 40])
def test_three_parts_are_the_number(channels: int) -> None:
    """All its 24 bits, of any size: a convolution by an identity gives what it got."""
    case = Case((2, 3, 5, channels), (1, 1), channels)
    rng = np.random.default_rng(3)
    x = np.ldexp(draw(case.x), rng.integers(-60, 60, case.x)).astype("float32")
    y, p = np.empty(case.y, "float32"), tile_geometry.forward_pass(case.geometry)
    weight = np.eye(channels, dtype="float32").reshape(case.weight)
    pitches = (channels * channels, channels, 1, channels)
    run(through(*p, x, weight, pitches, NONE, NONE, y, -np.inf, 3))
    np.testing.assert_array_equal(y, x)


@needs_products
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_infinity_and_nan_are_kept(parts: int) -> None:
    """A number's further parts are zero where it is infinite; an image does not touch another."""
    case = Case((3, 4, 4, 3), (3, 3), 8, pads=SAME)
    x, weight, p = draw(case.x), np.abs(draw(case.weight, 1)), tile_geometry.forward_pass(case.geometry)
    x[0, 1, 1, 0] = np.inf
    x[2, 3, 3, 2] = np.array(0x7FFFFFFF, np.uint32).view(
        np.float32
    )  # NaN whose bits a rounding would carry over
    y = np.empty(case.y, "float32")
    pitches = (3 * 8, 8, 1, 8)
    run(through(*p, x, weight, pitches, NONE, NONE, y, -np.inf, parts))
    assert not np.isfinite(y[0, 1, 1]).any() and np.isnan(y[2, 3, 3]).all()
    assert np.isfinite(y[1]).all()


# --- the tables, in plain NumPy --------------------------------------------------------------------------------


def cells_of(x: np.ndarray, plan, runs: np.ndarray, image: int, group: int) -> np.ndarray:
    """The plane of cells of an item, NaN where nothing is said."""
    flat, cells = x.reshape(-1), np.full((plan.phases * plan.phase_cells, plan.channels), np.nan)
    for i in range(min(plan.images, plan.n - image)):
        base = (image + i) * plan.source_image + group * plan.channels
        for to, origin, count in runs:
            at = to + i * plan.image_cells
            for k in range(count):
                start = base + origin + k * plan.source_pitch
                cells[at + k] = 0 if origin < 0 else flat[start : start + plan.channels]
    for phase in range(plan.phases):
        end = phase * plan.phase_cells + min(plan.images, plan.n - image) * plan.image_cells
        cells[end : (phase + 1) * plan.phase_cells] = 0
    return cells


@pytest.mark.parametrize("case", CASES)
def test_tables_describe_the_convolution(case: Case) -> None:
    """Cells, blocks of the depth and places, followed step by step in float64, give the result of the definition."""
    x, weight = draw(case.x).astype("float64"), draw(case.weight, 1).astype("float64")
    p, taps = tile_geometry.forward_pass(case.geometry)
    plan, tables = tile_geometry.plan_of(p, 2), tile_geometry.tables_of(p, taps, 2)
    run_length, y = tile_geometry.run_of(p), np.full(case.y, np.nan)
    in_run = -(-run_length // 32)
    for image in range(0, p.n, plan.images):
        for strip in range(plan.strips):
            for group in range(p.groups):
                cells = cells_of(x, plan, tables.runs[strip], image, group).reshape(-1)
                assert not np.isnan(cells).any()
                kernel = weight.reshape(-1, p.channels, p.groups, p.filters)[:, :, group]
                kernel = kernel.reshape(-1, run_length, p.filters)
                limit = min(image + plan.images, p.n) * plan.output_image
                out = image * plan.output_image + strip * plan.output_strip + group * p.filters
                for q, place in enumerate(tables.places):
                    if place < 0 or out + place >= limit:
                        continue
                    total = np.zeros(p.filters)
                    for block, offset in enumerate(tables.offsets):
                        last = min((block % in_run + 1) * 32, run_length)
                        first = block % in_run * 32
                        begun = max(0, min(first, run_length - 32))
                        at = (begun if plan.are_rows else offset // 2) + q * p.channels
                        total += (
                            cells[at + first - begun : at + last - begun]
                            @ kernel[block // in_run, first:last]
                        )
                    y.reshape(-1)[out + place : out + place + p.filters] = total
    np.testing.assert_allclose(y, reference.conv2d(x, weight, **case.options), atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_memory_is_bounded(case: Case) -> None:
    """A thread's memory does not grow with the batch, but by what one strip or image needs."""
    many = case.geometry._replace(n=4096)
    for parts in (1, 2, 3):
        p, _ = tile_geometry.forward_pass(many)
        assert (
            tile_geometry.workspace_size(tile_geometry.plan_of(p, parts), parts) * 2 < 3 * tile_geometry.CELLS
        )
        assert (
            tile_geometry.gradient_workspace_size(tile_geometry.gradient_plan_of(p, parts), parts) * 4
            < 8 * tile_geometry.CELLS
        )
    with on_one_thread():
        assert tile_geometry.plan_of(tile_geometry.forward_pass(case.geometry)[0], 2).items >= 1
