"""The register-blocked tile that every matrix-shaped kernel is built from.

A tile holds `TILE_ROWS` x (`TILE_VECTORS` vectors) of the result in registers while it runs along the depth k:

    c[i, j] = max(start[i, j] + sum_k a[i, k] b[k, j], lower)

Each step loads one row of b and broadcasts one number of a per row, so two loads feed `TILE_VECTORS`
multiply-adds or more. b, start and c are `Matrix` windows of flat arrays. a is read wherever tables of its rows and
columns say: it may be transposed, or windows of an image.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import RequireLiteralValue
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from fastcnn_kernels.jit import IS_ARM, TILE_ROWS, TILE_VECTORS, VECTOR_BYTES, device_function, shape_function

FEW_ROWS, HALF_ROWS = (
    max(1, TILE_ROWS // 3),
    TILE_ROWS // 2 + 1,
)  # heights of tiles for the last rows of a matrix
EXTRA_ROWS = 2 * HALF_ROWS - TILE_ROWS
LANES = VECTOR_BYTES // 4  # float32 numbers of a vector
DEPTH = 256  # steps between two visits of a result: panels of a and b together fit the first-level cache
WIDEST = TILE_VECTORS * LANES  # numbers in a row of a tile of float32
TILE_SIZE = TILE_ROWS * WIDEST
PANEL_SIZE = DEPTH * WIDEST

X86_REGISTER = None if IS_ARM else "v" if VECTOR_BYTES == 64 else "x"  # in constraints of assembler
LATENCY = 8  # multiply-adds that are under way at a time
WORD = ir.IntType(64)


def constant(value):
    """A word."""
    return ir.Constant(WORD, value)


class Matrix(NamedTuple):
    """A matrix inside a flat array: element (i, j) is data[at + i * row + j]."""

    data: Any
    at: int
    row: int


class Epilogue(NamedTuple):
    """What becomes of a sum before it is stored: result[place] = max(sum + bias[column] + residual[place], lower)."""

    bias: Any  # flat, or empty
    residual: Any  # flat, a number for each result, or empty
    lower: float  # perhaps -inf


def lanes(itemsize: int) -> int:
    """Numbers in a vector register."""
    return VECTOR_BYTES // itemsize


def tile_width(itemsize: int) -> int:
    """Columns of a tile."""
    return TILE_VECTORS * VECTOR_BYTES // itemsize


# --- arrays as memory ----------------------------------------------------------------------------------------


def itemsize_of(context, array):
    return context.get_abi_sizeof(context.get_data_type(array.dtype))


@intrinsic
def lanes_of(typingctx, array):
    """Numbers of the array's dtype in a vector register: a constant to the compiler."""

    def codegen(context, builder, signature, args):
        return constant(lanes(itemsize_of(context, signature.args[0])))

    return types.intp(array), codegen


@intrinsic
def flat(typingctx, array):
    """All elements of a contiguous array in one dimension, sharing its memory."""
    result = types.Array(array.dtype, 1, "C")

    def codegen(context, builder, signature, args):
        source = make_array(signature.args[0])(context, builder, args[0])
        view = make_array(result)(context, builder)
        context.populate_array(
            view,
            data=source.data,
            shape=cgutils.pack_array(builder, [source.nitems]),
            strides=cgutils.pack_array(builder, [source.itemsize]),
            itemsize=source.itemsize,
            meminfo=None,
        )
        return view._getvalue()

    return result(array), codegen


def pointer_to(context, builder, kind, array, index):
    return builder.gep(make_array(kind)(context, builder, array).data, [index])


@intrinsic
def copy(typingctx, to, to_at, source, source_at, count):
    """to[to_at:][:count] = source[source_at:][:count]; the ranges do not overlap."""

    def codegen(context, builder, signature, args):
        kinds = signature.args
        destination = pointer_to(context, builder, kinds[0], args[0], args[1])
        origin = pointer_to(context, builder, kinds[2], args[2], args[3])
        cgutils.raw_memcpy(builder, destination, origin, args[4], itemsize_of(context, kinds[0]))
        return context.get_dummy_value()

    return types.void(to, types.intp, source, types.intp, types.intp), codegen


@intrinsic
def clear(typingctx, to, at, count):
    """to[at:][:count] = 0."""

    def codegen(context, builder, signature, args):
        kind = signature.args[0]
        nbytes = builder.mul(args[2], constant(itemsize_of(context, kind)))
        cgutils.memset(builder, pointer_to(context, builder, kind, args[0], args[1]), nbytes, 0)
        return context.get_dummy_value()

    return types.void(to, types.intp, types.intp), codegen


@intrinsic
def transpose_square(typingctx, to, to_at, to_row, source, source_at, source_row):
    """to[to_at + k * to_row + j] = source[source_at + j * source_row + k] for j, k below `lanes_of(to)`."""

    def codegen(context, builder, signature, args):
        kinds = signature.args
        v = Vectors(context, builder, kinds[0].dtype, lanes(itemsize_of(context, kinds[0])))
        into = pointer_to(context, builder, kinds[0], args[0], args[1])
        origin = pointer_to(context, builder, kinds[3], args[3], args[4])
        rows = [v.load(origin, builder.mul(args[5], constant(j))) for j in range(v.count)]
        rows = v.transposed(rows)
        for k, row in enumerate(rows):
            v.store(row, into, builder.mul(args[2], constant(k)))
        return context.get_dummy_value()

    word = types.intp
    return types.void(to, word, word, source, word, word), codegen


# --- the tile ------------------------------------------------------------------------------------------------


def literal(value, name):
    """The integer that a type stands for; an argument that shapes the code must be a constant."""
    if not isinstance(value, types.IntegerLiteral):
        raise RequireLiteralValue(f"{name} must be a constant")
    return value.literal_value


class Vectors:
    """Emits vector instructions for one element type.

    `read` and `write` move whole vectors, or the first `present` numbers of them where that is given.
    """

    def __init__(self, context, builder, dtype, count, present=None):
        self.builder = builder
        self.scalar = context.get_data_type(dtype)
        self.itemsize = context.get_abi_sizeof(self.scalar)
        self.count = count
        self.kind = ir.VectorType(self.scalar, count)
        self.present = None if present is None else self._below(present)

    def _below(self, present):
        numbers = ir.Constant(ir.VectorType(WORD, self.count), list(range(self.count)))
        limit = self.builder.insert_element(ir.Constant(numbers.type, None), present, ir.Constant(WORD, 0))
        first = ir.Constant(ir.VectorType(ir.IntType(32), self.count), None)
        return self.builder.icmp_signed("<", numbers, self.builder.shuffle_vector(limit, limit, first))

    def read(self, pointer, index):
        """A vector from memory; zeros where nothing is present."""
        if self.present is None:
            return self.load(pointer, index)
        place, nothing = self._place(pointer, index), ir.Constant(self.kind, None)
        return self._masked("load", self.kind, [place, self._alignment(), self.present, nothing])

    def write(self, value, pointer, index):
        if self.present is None:
            self.store(value, pointer, index)
        else:
            place = self._place(pointer, index)
            self._masked("store", ir.VoidType(), [value, place, self._alignment(), self.present])

    def _place(self, pointer, index):
        return self.builder.bitcast(self.builder.gep(pointer, [index]), self.kind.as_pointer())

    def _alignment(self):
        return ir.Constant(ir.IntType(32), self.itemsize)

    def _masked(self, what, result, args):
        module = self.builder.module
        name = f"llvm.masked.{what}.v{self.count}f{8 * self.itemsize}.p0"
        function = module.globals.get(name)
        if function is None:
            function = ir.Function(module, ir.FunctionType(result, [arg.type for arg in args]), name=name)
        return self.builder.call(function, args)

    def load(self, pointer, index):
        value = self.builder.load(self._place(pointer, index))
        value.align = self.itemsize
        return value

    def store(self, value, pointer, index):
        self.builder.store(value, self._place(pointer, index)).align = self.itemsize

    def of_double(self, double):
        """A double as this element type."""
        return double if self.itemsize == 8 else self.builder.fptrunc(double, self.scalar)

    def variable(self, value):
        """A place for a vector that changes in a loop."""
        place = cgutils.alloca_once(self.builder, self.kind)
        self.builder.store(value, place)
        return place

    def splat(self, number):
        undefined = ir.Constant(self.kind, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.count), None)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def exchange(self, x, y, distance):
        """Swap the lanes of x whose number has the bit `distance` with the lanes of y that have it not."""
        numbers = range(self.count)
        low = [k if not k & distance else self.count + k - distance for k in numbers]
        high = [k + distance if not k & distance else self.count + k for k in numbers]
        pick = ir.VectorType(ir.IntType(32), self.count)
        return (
            self.builder.shuffle_vector(x, y, ir.Constant(pick, low)),
            self.builder.shuffle_vector(x, y, ir.Constant(pick, high)),
        )

    def transposed(self, rows):
        """A square of vectors, rows as columns: log2 rounds exchange halves, quarters, ... of rows (Eklundh 1972)."""
        rows, distance = list(rows), self.count // 2
        while distance:
            for i in range(self.count):
                if not i & distance:
                    rows[i], rows[i + distance] = self.exchange(rows[i], rows[i + distance], distance)
            distance //= 2
        return rows

    def multiply_add(self, x, y, z):
        """x * y + z: one instruction where the processor has it, two where not."""
        module, kind = self.builder.module, self.kind
        name = f"llvm.fmuladd.v{self.count}f{8 * self.itemsize}"
        function = module.globals.get(name)
        if function is None:
            function = ir.Function(module, ir.FunctionType(kind, [kind, kind, kind]), name=name)
        return self.builder.call(function, [x, y, z])

    def in_turn(self, values):
        """The values; what LLVM reads after this, it reads when they are there.

        No instruction: an empty piece of assembler that is said to change them. Without it, where columns are looked up
        in a table, LLVM's scheduler loads all rows of a column first, has no registers left for them, and keeps sums on
        the stack: two thirds of the speed.
        """
        if X86_REGISTER is None:
            return values
        numbers = range(len(values))
        constraints = [f"={X86_REGISTER}" for _ in numbers] + [str(i) for i in numbers]
        result = ir.LiteralStructType([self.kind for _ in numbers]) if len(values) > 1 else self.kind
        kind = ir.FunctionType(result, [self.kind for _ in numbers])
        nothing = ir.InlineAsm(kind, "", ",".join(constraints), side_effect=True)
        found = self.builder.call(nothing, values)
        return [self.builder.extract_value(found, i) for i in numbers] if len(values) > 1 else [found]

    def at_least(self, x, lower):
        """The larger of x and lower; NaN where x is NaN."""
        return self.builder.select(self.builder.fcmp_ordered("<", x, lower), lower, x)


@intrinsic(prefer_literal=True)
def tile(typingctx, rows, vectors, depth, a, places, columns, b, start, lower, c):
    """c[i,j] = max(start[i,j] + sum_k a[i,k] b[k,j], lower) for `rows` x `vectors` vectors (both literal).

    a[i,k] is a[places[i] + columns[k]], or a[places[i] + k * columns] where columns is a number. b, start, c are
    Matrix tuples.
    """
    shape = literal(rows, "tile rows"), literal(vectors, "tile vectors")
    signature = types.void(rows, vectors, types.intp, a, places, columns, b, start, types.float64, c)

    def codegen(context, builder, signature, args):
        _, _, depth, a, places, columns, b, start, lower, c = args
        kinds, zero = signature.args, constant(0)
        tables = [pointer_to(context, builder, kinds[i], args[i], zero) for i in (3, 4)]
        if isinstance(kinds[5], types.Array):
            columns = pointer_to(context, builder, kinds[5], columns, zero)
        windows = [window_of(context, builder, kinds[i], args[i]) for i in (6, 7, 9)]
        words = [depth, *tables, columns, *(word for window in windows for word in window)]
        function = _tile_function(context, builder.module, kinds[3].dtype, shape, [w.type for w in words])
        builder.call(function, [lower, *words])
        return context.get_dummy_value()

    return signature, codegen


def _tile_function(context, module, dtype, shape, kinds):
    """The tile of that shape as a function of its own, once a module. A call costs a few nanoseconds."""
    kind = ir.FunctionType(ir.VoidType(), [ir.DoubleType(), *kinds])
    name = f"fastcnn_tile_{shape[0]}x{shape[1]}_{dtype}_{'steps' if kinds[3] == WORD else 'table'}"
    return function_once(module, name, kind, lambda builder: _emit_tile(context, builder, dtype, shape))


def _emit_tile(context, builder, dtype, shape):
    lower, depth, pa, places, columns, pb, b_row, ps, s_row, pc, c_row = builder.function.args
    itemsize = context.get_abi_sizeof(context.get_data_type(dtype))
    v = Vectors(context, builder, dtype, lanes(itemsize))
    rows = [builder.load(builder.gep(places, [constant(i)])) for i in range(shape[0])]
    sums = [v.load(ps, place) for place in _places(builder, v.count, shape, s_row)]
    sums = _accumulate(v, depth, (pa, rows, columns), (pb, b_row), sums, shape)
    bound = v.splat(v.of_double(lower))
    for value, place in zip(sums, _places(builder, v.count, shape, c_row), strict=True):
        v.store(v.at_least(value, bound), pc, place)
    builder.ret_void()


def window_of(context, builder, kind, matrix):
    """(pointer to the first element, row pitch) of a Matrix."""
    data, at, row = (builder.extract_value(matrix, i) for i in range(3))
    return pointer_to(context, builder, kind.types[0], data, at), row


def _places(builder, count, shape, pitch):
    rows, vectors = shape
    starts = [builder.mul(constant(i), pitch) for i in range(rows)]
    return [builder.add(start, constant(j * count)) for start in starts for j in range(vectors)]


def _accumulate(v, depth, a, b, sums, shape):
    """Emit the loop over k; returns sums + a b as a list of vectors, row by row.

    A multiply-add waits for the one before it in the same sum. A tile of one row has several of each.
    """
    builder, ways = v.builder, max(1, LATENCY // len(sums)) if shape[0] == 1 else 1
    slots = [[v.variable(value) for value in sums]]  # LLVM keeps them in registers
    slots += [[v.variable(ir.Constant(v.kind, None)) for _ in sums] for _ in range(1, ways)]
    whole = builder.sdiv(depth, constant(ways)) if ways > 1 else depth
    with cgutils.for_range(builder, whole) as loop:
        first = builder.mul(loop.index, constant(ways))
        for way in range(ways):
            _add_product(v, builder.add(first, constant(way)), a, b, slots[way], shape)
    if ways > 1:
        with cgutils.for_range(builder, builder.srem(depth, constant(ways))) as loop:
            done = builder.mul(whole, constant(ways))
            _add_product(v, builder.add(done, loop.index), a, b, slots[0], shape)
    totals = [builder.load(slot) for slot in slots[0]]
    for others in slots[1:]:
        totals = [builder.fadd(total, builder.load(slot)) for total, slot in zip(totals, others, strict=True)]
    return totals


def _add_product(v, k, a, b, slots, shape):
    """slots += column k of a times row k of b."""
    builder, (rows, vectors) = v.builder, shape
    (pa, offsets, columns), (pb, b_row) = a, b
    at_a = builder.mul(k, columns) if columns.type == WORD else builder.load(builder.gep(columns, [k]))
    at_b = builder.mul(k, b_row)
    row_of_b = [v.load(pb, builder.add(at_b, constant(j * v.count))) for j in range(vectors)]
    for i in range(rows):
        number = v.splat(builder.load(builder.gep(pa, [builder.add(at_a, offsets[i])])))
        row = slots[i * vectors : (i + 1) * vectors]
        sums = [v.multiply_add(number, b, builder.load(slot)) for b, slot in zip(row_of_b, row, strict=True)]
        for total, slot in zip(sums if columns.type == WORD else v.in_turn(sums), row, strict=True):
            builder.store(total, slot)


@intrinsic(prefer_literal=True)
def product_tile(typingctx, rows, vectors, adding, depth, a, a_step, b, c):
    """c[i,j] = sum_k a[i,k] b[k,j], plus c[i,j] if `adding`, for `rows` x `vectors` vectors (all three literal).

    The plain tile: all its rows are read and written, nothing is bounded.
    """
    shape, adds = (literal(rows, "tile rows"), literal(vectors, "tile vectors")), literal(adding, "adding")
    word = types.intp
    signature = types.void(rows, vectors, adding, word, a, word, b, c)

    def codegen(context, builder, signature, args):
        kinds = signature.args
        windows = [window_of(context, builder, kinds[i], args[i]) for i in (4, 6, 7)]
        words = [args[3], args[5], *(word for window in windows for word in window)]
        kind = ir.FunctionType(ir.VoidType(), [w.type for w in words])
        dtype = kinds[4].types[0].dtype
        name = f"fastcnn_{'add_' * adds}product_{shape[0]}x{shape[1]}_{dtype}"

        def emit(inner):
            _emit_product(context, inner, dtype, shape, adds)

        builder.call(function_once(builder.module, name, kind, emit), words)
        return context.get_dummy_value()

    return signature, codegen


def _emit_product(context, builder, dtype, shape, adds):
    depth, a_step, pa, a_row, pb, b_row, pc, c_row = builder.function.args
    v = Vectors(context, builder, dtype, lanes(context.get_abi_sizeof(context.get_data_type(dtype))))
    offsets = [builder.mul(constant(i), a_row) for i in range(shape[0])]
    places = _places(builder, v.count, shape, c_row)
    sums = [v.load(pc, place) if adds else ir.Constant(v.kind, None) for place in places]
    sums = _accumulate(v, depth, (pa, offsets, a_step), (pb, b_row), sums, shape)
    for value, place in zip(sums, places, strict=True):
        v.store(value, pc, place)
    builder.ret_void()


def function_once(module, name, kind, emit):
    """The function of that name in the module; `emit(builder)` writes it where there is none. Never inlined.

    Inlined, LLVM would copy hundreds of instructions into every branch and unswitched loop around them: kernels
    would take minutes to compile.
    """
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, kind, name=name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        emit(ir.IRBuilder(function.append_basic_block("entry")))
    return function


def choose(builder, key, cases):
    """The code of the case that `key` is one of: `cases` are functions that emit it, by number."""
    end = builder.append_basic_block("chosen")
    switch = builder.switch(key, end)
    for number, emit in cases.items():
        block = builder.append_basic_block("case")
        switch.add_case(constant(number), block)
        builder.position_at_end(block)
        emit()
        builder.branch(end)
    builder.position_at_end(end)


@intrinsic
def distance(typingctx, here, there):
    """How many numbers `there` begins after `here`: here[distance + i] is there[i]. For tables of places of which
    some are in another array; both arrays must be of one dtype."""

    def codegen(context, builder, signature, args):
        zero = constant(0)
        addresses = [
            builder.ptrtoint(pointer_to(context, builder, kind, array, zero), WORD)
            for kind, array in zip(signature.args, args, strict=True)
        ]
        size = constant(itemsize_of(context, signature.args[0]))
        return builder.sdiv(builder.sub(addresses[1], addresses[0]), size)

    return types.intp(here, there), codegen


@shape_function
def blocks(size, block):
    """How many blocks cover `size`."""
    return (size + block - 1) // block


@shape_function
def rows_of_tile(left):
    """Rows that the next tile takes of those left. Two halves are quicker than a tile and one of `EXTRA_ROWS`."""
    return HALF_ROWS if TILE_ROWS < left <= TILE_ROWS + EXTRA_ROWS else min(left, TILE_ROWS)


@shape_function
def row_blocks(rows, height):
    """How many blocks of whole tiles cover `rows`; a few extra rows belong to the last one."""
    return max(blocks(rows - EXTRA_ROWS, height), 1)


@shape_function
def block_end(top, height, rows):
    """The row behind the block at `top`: `top` itself if the block before has taken the extra rows."""
    if 0 < top and rows <= top + EXTRA_ROWS:
        return top
    return top + height if top + height + EXTRA_ROWS < rows else rows


def _row_copier(whole: bool) -> Callable:
    """A function that copies `count` numbers, at most the width of a tile; whole: and zeros up to that width."""

    @intrinsic
    def copy_row(typingctx, to, to_at, source, source_at, count):
        def codegen(context, builder, signature, args):
            for v, j in _row_vectors(context, builder, signature.args[0], args[4]):
                into, origin = (
                    pointer_to(context, builder, signature.args[i], args[i], args[i + 1]) for i in (0, 2)
                )
                (v.store if whole else v.write)(v.read(origin, j), into, j)
            return context.get_dummy_value()

        return types.void(to, types.intp, source, types.intp, types.intp), codegen

    return copy_row


fill_row, keep_row = _row_copier(whole=True), _row_copier(whole=False)


@intrinsic
def add_rows(typingctx, to, to_at, x, x_at, y, y_at, count):
    """to[to_at:][:count] = x[x_at:][:count] + y[y_at:][:count]. count: at most the width of a tile."""

    def codegen(context, builder, signature, args):
        for v, j in _row_vectors(context, builder, signature.args[0], args[6]):
            into, *terms = (
                pointer_to(context, builder, signature.args[i], args[i], args[i + 1]) for i in (0, 2, 4)
            )
            first, second = (v.read(term, j) for term in terms)
            v.write(builder.fadd(first, second), into, j)
        return context.get_dummy_value()

    return types.void(to, types.intp, x, types.intp, y, types.intp, types.intp), codegen


def _row_vectors(context, builder, kind, count):
    """(emitter, place) of each vector of a tile's row, of which `count` numbers are present."""
    width = lanes(itemsize_of(context, kind))
    for j in range(0, TILE_VECTORS * width, width):
        yield Vectors(context, builder, kind.dtype, width, builder.sub(count, constant(j))), constant(j)


@device_function
def lay_rows(places, at, row, rows):
    """places[i] = at + i * row for the rows of a matrix; a tile with more repeats the last, and reads nothing else."""
    for i in range(TILE_ROWS):
        places[i] = at + min(i, rows - 1) * row


@device_function
def multiply(rows, width, depth, a, places, columns, b, start, lower, c, spare):
    """c = max(start + a b, lower) for up to one tile of `rows` x `width`; nothing outside them is written.

    places has `TILE_ROWS` entries, of which the last valid one is repeated; columns is a number or a table, as of
    `tile`. b must be readable up to the tile's full width. spare: memory of a tile, for results that do not fill one.
    """
    full = lanes_of(spare) * TILE_VECTORS
    wide, tall, half = width > lanes_of(spare), rows > FEW_ROWS, FEW_ROWS < rows <= HALF_ROWS
    fills = width == full or width == lanes_of(spare)
    fills = fills and (rows == TILE_ROWS or rows == FEW_ROWS or (rows == HALF_ROWS and wide))
    target = c
    if not fills:
        target = Matrix(spare, 0, full)
        for i in range(rows):
            fill_row(spare, i * full, start.data, start.at + i * start.row, width)
        for i in range(rows, TILE_ROWS):
            clear(spare, i * full, full)
        start = Matrix(spare, 0, full)
    if wide and half:
        tile(HALF_ROWS, TILE_VECTORS, depth, a, places, columns, b, start, lower, target)
    elif wide and tall:
        tile(TILE_ROWS, TILE_VECTORS, depth, a, places, columns, b, start, lower, target)
    elif wide:
        tile(FEW_ROWS, TILE_VECTORS, depth, a, places, columns, b, start, lower, target)
    elif tall:
        tile(TILE_ROWS, 1, depth, a, places, columns, b, start, lower, target)
    else:
        tile(FEW_ROWS, 1, depth, a, places, columns, b, start, lower, target)
    if not fills:
        for i in range(rows):
            keep_row(c.data, c.at + i * c.row, spare, i * full, width)


@device_function
def pack_rows(source, at, row, depth, columns, panel, panel_at, width):
    """panel[panel_at + k * width + j] = source[at + k * row + j]; columns from `columns` to `width` are zero."""
    if columns == width:  # a constant: some vectors each
        for k in range(depth):
            copy(panel, panel_at + k * width, source, at + k * row, width)
        return
    for k in range(depth):
        copy(panel, panel_at + k * width, source, at + k * row, columns)
        clear(panel, panel_at + k * width + columns, width - columns)


@device_function
def pack_columns(source, at, row, depth, columns, panel, panel_at, width):
    """panel[panel_at + k * width + j] = source[at + j * row + k]; columns from `columns` to `width` are zero."""
    side = lanes_of(panel)
    even_depth, even_columns = depth // side * side, columns // side * side
    for k in range(0, even_depth, side):
        for j in range(0, even_columns, side):
            transpose_square(panel, panel_at + k * width + j, width, source, at + j * row + k, row)
    for k in range(depth):
        for j in range(even_columns if k < even_depth else 0, columns):
            panel[panel_at + k * width + j] = source[at + j * row + k]
        if columns < width:
            clear(panel, panel_at + k * width + columns, width - columns)
