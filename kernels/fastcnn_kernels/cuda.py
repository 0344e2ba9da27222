"""CUDA kernels: how they are compiled and launched. The only file that imports Numba's CUDA target.

A CUDA kernel has the name and the parameters of the CPU kernel that it stands for, without the range of work items:

    @cuda_kernel(flat)
    def relu_forward(x, y):
        map_unary(relu, x, y)

The decorator's rule says, from the arguments, how many blocks of how many threads execute it. What a thread does
depends on shapes alone, sums are taken in a fixed order and nothing is added atomically, so results repeat bit for bit.

A kernel that treats all numbers of some arrays alike, as a step of an optimizer does, is a `tensor_kernel`: launches
of it that stand one behind the other become one launch, over a table of all their arrays.

Where matrices are multiplied a kernel is written once for several sizes of tiles: a function of the `Tile` that
returns the kernel, and a rule `tile` that chooses one.

`NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1` makes Numba's simulator execute everything, in Python threads. Tiles and
blocks are small then, because every thread of a block is a thread of the machine. The simulator tells shared arrays
apart by the line that makes them: never two in one line.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import numba.cuda
import numpy as np
from numba.core import types
from numba.core.typing.typeof import typeof

from fastcnn_kernels.jit import is_argument

SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"
THREADS = 4 if SIMULATED else 256  # of a block of an ordinary kernel
CHUNK = 8 if SIMULATED else 1024  # elements of arrays that a block of a tensor kernel treats
FILLING = 4 if SIMULATED else 264  # blocks of a product that keep a large device busy: two a multiprocessor
ADDING = 2 if SIMULATED else 8  # steps of a tile in whose time the parts of a product are added up
WARP = 32  # threads that execute an instruction together
LARGEST_COUNT = 2**31 - 1  # of what has 32 bits
LARGEST_GRID = 65535  # blocks along the second and third axis of a grid
MOST_THREADS, MOST_REGISTERS, MOST_SHARED = 1024, 65536, 49152  # of a block, on any device; shared in bytes


class _Simulator:
    """What kernels see of `numba.cuda` in the simulator, from whatever module they are called."""

    def __getattr__(self, name: str) -> Any:
        from numba.cuda.simulator.kernel import _get_kernel_context

        return getattr(_get_kernel_context() or numba.cuda, name)


cuda: Any = _Simulator() if SIMULATED else numba.cuda  # for kernels
target: Any = numba.cuda  # for who launches them: devices, streams, memory
if not SIMULATED:
    # Small batches make small grids, which is no mistake.
    numba.cuda.core.config.CUDA_LOW_OCCUPANCY_WARNINGS = 0


def driver() -> Any:
    """The functions of the CUDA driver, for what Numba has no name for."""
    from numba.cuda.cudadrv.driver import binding

    return binding


def cuda_function(function: Callable) -> Callable:
    """A piece of CUDA kernels, inlined by the compiler."""
    return function if SIMULATED else numba.cuda.jit(device=True)(function)


def unrolled(count: int, make: Callable[[int], Callable]) -> Callable:
    """A function that does make(0)(...), make(1)(...), ... one after the other.

    Arrays of a thread are registers only while their indices are constants: where a loop over them is too long for the
    compiler to unroll, they are memory, which is a hundred times slower.
    """
    function = make(count - 1)
    for i in reversed(range(count - 1)):
        function = _in_turn(make(i), function)
    return function


def _in_turn(first: Callable, second: Callable) -> Callable:
    @cuda_function
    def both(*args):
        first(*args)
        second(*args)

    return both


# --- how many threads ------------------------------------------------------------------------------------------------


class Shape(NamedTuple):
    """Blocks of a grid along three axes, and threads of a block."""

    blocks: tuple[int, int, int]
    threads: int

    @property
    def total(self) -> int:
        """Blocks of the whole grid."""
        return self.blocks[0] * self.blocks[1] * self.blocks[2]


def covering(size: int, block: int) -> int:
    """How many blocks cover `size`."""
    return -(-size // block)


def check_counts(*counts: int) -> None:
    """Raise `ValueError` for more pixels, rows or columns than a kernel counts, if it counts in 32 bits."""
    if max(counts) > LARGEST_COUNT:
        raise ValueError(
            f"{max(counts)} pixels or rows are more than CUDA kernels count, {LARGEST_COUNT}; cut the batch"
        )


def elements(count: int) -> Shape:
    """A thread for every element."""
    return Shape((covering(count, THREADS), 1, 1), THREADS)


def lines(count: int, length: int) -> Shape:
    """A block for each of `count` lines of so many elements: what all of a line have in common is computed once."""
    return Shape((count, 1, 1), min(THREADS, covering(length, WARP) * WARP))


def flat(x: Any, *others: Any) -> Shape:
    """Of a kernel over flat arrays of equal size."""
    return elements(x.size)


def rows(x: Any, *others: Any) -> Shape:
    """Of a kernel with a thread for each row of its first argument."""
    return elements(x.shape[0])


def rows_of_second(x: Any, y: Any, *others: Any) -> Shape:
    """Of a kernel with a thread for each row of its second argument."""
    return elements(y.shape[0])


# --- tiles -----------------------------------------------------------------------------------------------------------


class Tile(NamedTuple):
    """rows x columns results of a product, which a block computes; a thread computes tall x wide of them.

    There are as many threads as rows, and at least as many as columns. Without tensor cores tall and wide are fours.
    """

    rows: int
    columns: int
    tall: int
    wide: int
    depth: int  # rows and columns of the operands that are in shared memory at a time
    cores: bool = False  # whether tensor cores multiply, in TF32
    itemsize: int = 4  # bytes of a number
    asynchronous: bool = True  # whether operands come by copies that a thread need not wait for

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.rows * self.columns // self.results

    @property
    def results(self) -> int:
        """Of a thread."""
        return self.tall * self.wide

    @property
    def width(self) -> int:
        """Numbers that are copied together where they lie so."""
        return 16 // self.itemsize

    def on(self, capability: tuple[int, int]) -> "Tile":
        """The same for devices of a compute capability: copies became asynchronous with Ampere."""
        return self if capability >= (8, 0) else self._replace(asynchronous=False)


# A product of few columns fills a narrow tile; in a wide one, every number that was loaded is used more often.
# On tensor cores, which take float32 numbers as "tf32", a warp of 32 threads multiplies 32 rows by all columns.
TILES: dict[str, tuple[Tile, ...]] = {
    "float32": (Tile(128, 16, 4, 4, 16), Tile(128, 32, 8, 4, 16), Tile(128, 64, 8, 8, 16)),
    "float64": (Tile(64, 16, 4, 4, 8, itemsize=8),),
    "tf32": (Tile(128, 16, 8, 2, 16, True), Tile(128, 32, 8, 4, 16, True), Tile(128, 64, 8, 8, 16, True)),
}
if SIMULATED:
    TILES = {
        "float32": (Tile(16, 16, 4, 4, 8),),
        "float64": (Tile(16, 16, 4, 4, 4, itemsize=8),),
        "tf32": (Tile(32, 8, 4, 2, 8, True), Tile(32, 16, 4, 4, 8, True)),
    }
TileRule = Callable[[Any, Any], Tile]  # of a geometry and a dtype


def tiles(dtype: Any) -> tuple[Tile, ...]:
    """Those for products of a dtype, or of "tf32", from narrow to wide."""
    return TILES[str(dtype)]


def fitting_tile(columns: int, dtype: Any) -> Tile:
    """The tile for a product of so many columns: the narrowest that holds them, or the widest."""
    return next((tile for tile in tiles(dtype) if tile.columns >= columns), tiles(dtype)[-1])


def filling_tile(rows: int, columns: int, layers: int, dtype: Any) -> Tile:
    """The tile for `layers` products of so many rows and columns: the widest that leaves no more than half of a large
    device's multiprocessors idle, or the narrowest."""
    known = tiles(dtype)
    for tile in known[known.index(fitting_tile(columns, dtype)) : 0 : -1]:
        if 4 * layers * covering(rows, tile.rows) * covering(columns, tile.columns) >= FILLING:
            return tile
    return known[0]


def of_cores(rule: TileRule) -> TileRule:
    """The rule for the same kernel on tensor cores."""
    return lambda g, dtype: rule(g, "tf32")


def parts_of(blocks: int, terms: int, tile: Tile) -> int:
    """Into how many parts the terms of a product of so many blocks are best cut: to fill a device with blocks.

    To add the parts up takes a launch more, the time of some steps of a tile.
    """
    steps = covering(terms, tile.depth)
    parts = max(1, min(FILLING // max(blocks, 1), steps // ADDING))
    return parts if steps - steps // parts > ADDING else 1


# --- kernels ---------------------------------------------------------------------------------------------------------


_translating = threading.Lock()


class CudaLaunch(NamedTuple):
    """A kernel with its arguments, as a plan keeps it. Its arrays stand for places in the memory of the device."""

    kernel: "CudaKernel"
    args: tuple
    shape: Shape
    tile: Tile | None

    @property
    def items(self) -> int:
        """Blocks: where there are none, nothing is to be done."""
        return self.shape.total

    @property
    def key(self) -> tuple:
        """What machine code is compiled for."""
        return self.kernel, self.kernel.signature(self.args), self.tile

    def ptx(self, capability: tuple[int, int]) -> str:
        """The kernel for devices of that compute capability, as text in the assembler of NVIDIA. Needs no device."""
        from numba.cuda import dispatcher

        signature = self.kernel.signature(self.args)
        with _translating:
            asked = dispatcher.get_current_device  # for its capability, where a kernel calls CPU formulas
            dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=capability)
            try:
                python = self.kernel.python(self.tile and self.tile.on(capability))
                return str(numba.cuda.compile_ptx(python, signature, cc=capability)[0])
            finally:
                dispatcher.get_current_device = asked


class CudaKernel:
    """A kernel for a CUDA device. See the module's docstring."""

    def __init__(
        self, function: Callable, shape: Callable[..., Shape], tile: TileRule | None = None,
        flatten: bool = False, parts: Callable[..., int] = lambda *_: 1,
    ):  # fmt: skip
        self.function, self._shape, self._tile, self._flatten = function, shape, tile, flatten
        self._parts = parts
        self.__name__, self.__doc__ = function.__name__, function.__doc__
        self.__module__ = function.__module__
        inner = function if tile is None else function(TILES["float32"][0])
        self.parameters = inner.__code__.co_varnames[: inner.__code__.co_argcount]
        self._dispatchers: dict[Tile | None, Any] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<CUDA kernel {self.__module__}.{self.__name__}>"

    def bind(self, *args: Any) -> CudaLaunch:
        """This kernel with these arguments, to be run later."""
        if len(args) != len(self.parameters):
            raise TypeError(f"{self!r} takes {', '.join(self.parameters)}; got {len(args)} arguments")
        for name, value in zip(self.parameters, args, strict=True):
            if not is_argument(value):
                kind = type(value).__name__
                raise TypeError(f"{self!r}: {name} is of type {kind}; expected an array, int, float or tuple")
        tile = None if self._tile is None else self._tile(args[-1], args[0].dtype)
        shape = self._shape(*args) if tile is None else self._shape(tile, *args)
        if max(shape.blocks[1:]) > LARGEST_GRID:
            raise ValueError(
                f"{self!r}: a grid of {shape.blocks} blocks is larger than a device takes; cut the batch"
            )
        if self._flatten:
            args = tuple(arg.reshape(-1) if isinstance(arg, np.ndarray) else arg for arg in args)
        return CudaLaunch(self, args, shape, tile)

    def parts(self, g: Any, dtype: Any) -> int:
        """Into how many parts the work of a geometry is best cut, of a kernel whose results are parts of something."""
        return self._parts(g) if self._tile is None else self._parts(self._tile(g, dtype), g)

    def python(self, tile: Tile | None = None) -> Callable:
        """The function that is compiled, under the name that profilers show."""
        if tile is None:
            return self.function
        return self._called(f"{self.__name__}_{tile.rows}x{tile.columns}", self.function(tile))

    def _called(self, name: str, function: Callable) -> Callable:
        function.__name__ = function.__qualname__ = name
        function.__module__ = self.__module__
        return function

    def dispatcher(self, tile: Tile | None) -> Any:
        """The simulator's object that launches it: dispatcher[blocks, threads](*args)."""
        with self._lock:
            if tile not in self._dispatchers:
                self._dispatchers[tile] = numba.cuda.jit(self.python(tile))
            return self._dispatchers[tile]

    @staticmethod
    def signature(args: tuple) -> tuple:
        """Types of arguments: what machine code is compiled for."""
        return tuple(map(_type_of, args))

    def __call__(self, *args: Any) -> None:
        """Run it now on arrays in the host's memory: they are copied to the device and back."""
        from fastcnn_kernels.cuda_program import now

        launch = self.bind(*args)
        if launch.items:
            there = tuple(to_device(arg) if isinstance(arg, np.ndarray) else arg for arg in launch.args)
            now(launch, there)
            for arg, copy in zip(launch.args, there, strict=True):
                if isinstance(arg, np.ndarray) and arg.size:
                    memory = copy if SIMULATED else copy.keeper
                    arg[...] = memory.copy_to_host().reshape(arg.shape)

    def join(self, first: CudaLaunch, second: CudaLaunch) -> CudaLaunch | None:
        """Two launches of this kernel as one; None where that cannot be."""
        return None

    def on_device(self, args: tuple) -> tuple:
        """The arguments of the compiled function, from those of a launch on the device."""
        return args


class TensorKernel(CudaKernel):
    """A kernel of flat arrays of one size and dtype, and of one argument that all launches have in common.

    That is `common`, an array such as `hyper` or a number. The function is given `chunk` elements of each array, and a
    block. Arguments of a launch are the arrays of one kernel after the other, and what is common. What is compiled gets
    a table of addresses: a row a block, a column an array, and how many elements there are.
    """

    def __init__(self, function: Callable, common: str, chunk: int):
        self._chunk = chunk
        super().__init__(function, self._blocks)
        self._place = self.parameters.index(common)

    def _blocks(self, *args: Any) -> Shape:
        return Shape((sum(covering(x.size, self._chunk) for x in args[: -1 : self._width]), 1, 1), THREADS)

    @property
    def _width(self) -> int:
        return len(self.parameters) - 1

    def bind(self, *args: Any) -> CudaLaunch:
        """This kernel with these arguments, of which the common one becomes the last."""
        if len(args) == len(self.parameters):
            args = (*args[: self._place], *args[self._place + 1 :], args[self._place])
        return super().bind(*args)

    def join(self, first: CudaLaunch, second: CudaLaunch) -> CudaLaunch | None:
        """Those with one common argument, on arrays of one dtype, are one, if neither reads what the other writes."""
        if self.signature(first.args) != self.signature(second.args):
            return None
        arrays, others = ({x.ctypes.data for x in launch.args[:-1]} for launch in (first, second))
        common = self.common(first.args[-1], second.args[-1])
        if common is None or not arrays.isdisjoint(others):
            return None
        args = (*first.args[:-1], *second.args[:-1], common)
        return CudaLaunch(self, args, self._blocks(*args), None)

    def common(self, one: Any, other: Any) -> Any:
        """What two launches that are joined have in common; None where they cannot be."""
        if isinstance(one, np.ndarray):
            return one if one.ctypes.data == other.ctypes.data else None
        return one if one == other else None

    def python(self, tile: Tile | None = None) -> Callable:
        """The function that is compiled: of a table, an array of the right type, and what is common."""
        body = cuda_function(self.function)
        if self._place < self._width:
            body = _with_last_at(body, self._place)
        return self._called(self.__name__, _over_table(body, self._width))

    @staticmethod
    def signature(args: tuple) -> tuple:
        """Types of the table, an array, and what is common."""
        return types.Array(types.int64, 2, "C"), _type_of(args[0]), _type_of(args[-1])

    def on_device(self, args: tuple) -> tuple:
        """The table of the arrays, one of them, and what is common."""
        *arrays, common = args
        rows = [
            [
                *(address_of(x) + start * x.dtype.itemsize for x in group),
                min(self._chunk, group[0].size - start),
            ]
            for group in zip(*[iter(arrays)] * self._width, strict=True)
            for start in range(0, group[0].size, self._chunk)
        ]
        return to_device(np.array(rows, np.int64)), arrays[0], common


class PartsKernel(TensorKernel):
    """One that writes a number a block: to an array that is common to launches that write to parts of it in turn."""

    def common(self, one: Any, other: Any) -> Any:
        if one.ctypes.data + one.nbytes != other.ctypes.data:
            return None
        return np.lib.stride_tricks.as_strided(one, (one.size + other.size,), one.strides, writeable=False)


def tensor_kernel(function: Callable) -> TensorKernel:
    """Make a function of arrays and `hyper` a kernel that treats many sets of arrays in one launch."""
    return TensorKernel(function, "hyper", CHUNK)


def tensor_kernel_with(common: str) -> Callable[[Callable], TensorKernel]:
    """The same of a function whose parameter of this name is what launches have in common."""
    return lambda function: TensorKernel(function, common, CHUNK)


def parts_kernel(chunk: int) -> Callable[[Callable], PartsKernel]:
    """Make a function of an array and of an array of results, one for each chunk, such a kernel."""
    return lambda function: PartsKernel(function, "partial", chunk)


def _with_last_at(body: Callable, place: int) -> Callable:
    """A function of two arrays with its last argument in the middle, where the kernel has it."""
    if place != 1:
        raise TypeError("the common parameter of a tensor kernel is its second or its last one")

    @cuda_function
    def in_order(first, second, common):
        body(first, common, second)

    return in_order


def _over_table(body: Callable, width: int) -> Callable:
    """The kernel that gives each block the arrays of its row of the table."""

    @cuda_function
    def give(table, like, hyper, k, *arrays):
        body(*arrays, hyper)

    for _ in range(width):
        give = _with_next_array(give, width)

    def kernel(table, like, hyper):
        give(table, like, hyper, 0)

    return kernel


def _with_next_array(give: Callable, width: int) -> Callable:
    @cuda_function
    def give_more(table, like, hyper, k, *arrays):
        row = cuda.blockIdx.x
        give(table, like, hyper, k + 1, *arrays, array_at(table[row, k], table[row, width], like))

    return give_more


def cuda_kernel(
    shape: Callable[..., Shape], tile: TileRule | None = None, flatten: bool = False,
    parts: Callable[..., int] = lambda *_: 1,
) -> Callable[[Callable], CudaKernel]:  # fmt: skip
    """Make a function a kernel; `shape(...)` says how many blocks and threads it has.

    flatten: its arrays come to it in one dimension. parts(g) says how many parts are best; see `CudaKernel.parts`.
    With `tile(g, dtype)`, of its last argument and of the arrays, the function makes the kernel for a tile, which is
    the first argument of the other rules too.
    """
    return lambda function: CudaKernel(function, shape, tile, flatten, parts)


def _type_of(value: Any) -> Any:
    """Every array that a kernel is given is contiguous, as plans make them."""
    if isinstance(value, np.ndarray):
        return types.Array(typeof(value).dtype, value.ndim, "C")
    return typeof(value)


class OnDevice:
    """An array on a device: where it begins; an array of the host of its shape and dtype; who keeps the memory."""

    def __init__(self, address: int, like: np.ndarray, keeper: Any):
        self.address, self.keeper = address, keeper
        self.size, self.dtype, self.shape, self.strides = like.size, like.dtype, like.shape, like.strides


def to_device(array: np.ndarray) -> Any:
    """A copy of an array on the device."""
    whole = np.ascontiguousarray(array)
    there = target.to_device(whole)
    return there if SIMULATED else OnDevice(address_of(there), whole.reshape(array.shape), there)


def address_of(array: Any) -> int:
    """Where an array on the device begins."""
    if isinstance(array, OnDevice):
        return array.address
    return int((array._ary.ctypes.data if SIMULATED else array.device_ctypes_pointer.value) or 0)


if SIMULATED:

    def array_at(address, size, like):
        """The flat array of `size` elements of the dtype of `like` that begins at an address."""
        nbytes = int(size) * like.dtype.itemsize
        return np.frombuffer((ctypes.c_char * nbytes).from_address(int(address)), like.dtype)

else:
    from numba.cuda import cgutils
    from numba.cuda.extending import intrinsic

    @intrinsic
    def array_at(typingctx, address, size, like):
        """The flat array of `size` elements of the dtype of `like` that begins at an address."""
        result = types.Array(like.dtype, 1, "C")

        def codegen(context, builder, signature, args):
            element = context.get_data_type(like.dtype)
            array = context.make_array(result)(context, builder)
            itemsize = context.get_constant(types.intp, context.get_abi_sizeof(element))
            context.populate_array(
                array,
                data=builder.inttoptr(args[0], element.as_pointer()),
                shape=cgutils.pack_array(builder, [args[1]]),
                strides=cgutils.pack_array(builder, [itemsize]),
                itemsize=itemsize,
                meminfo=None,
            )
            return array._getvalue()

        return result(types.int64, types.int64, like), codegen


# --- sums ------------------------------------------------------------------------------------------------------------

# Where rows are summed, the threads of a block stand in *lanes*: neighbouring threads own neighbouring results, and
# the lanes share the rows of a result. What the lanes have found is combined two by two, always in the same order.


def lanes_for(terms: int, beside: int) -> int:
    """Lanes that share so many terms: a power of two, so that a thread has a few of them.

    beside: how many results lie side by side in memory. A warp reads neighbours as far as there are, or most of what
    the memory sends would be for nobody.
    """
    lanes, most, width = 1, THREADS, 1
    while most > 1 and width < min(beside, WARP):
        most, width = most >> 1, width << 1
    while lanes < most and lanes * 4 < terms:
        lanes <<= 1
    return lanes


def sums(results: int, terms: int, beside: int) -> Shape:
    """Of a kernel that makes each of its results of so many terms."""
    width = THREADS // lanes_for(terms, beside)
    return Shape((covering(results, width), 1, 1), THREADS)


lanes_of = cuda_function(lanes_for)  # inside kernels


def chunks_for(view: tuple[int, int, int]) -> int:
    """Into how many chunks the rows of x (m, r, c) are cut before they are added up: enough blocks for a large device,
    as long as a thread of theirs has some rows."""
    (m, r, c), most = view, min(WARP, THREADS)
    return max(1, min(2 * FILLING // (m * covering(c, most)), r * min(c, most) // (4 * THREADS)))


@cuda_function
def combine(f, shared, width):
    """shared[j] = f of what the lanes have left at shared[j], shared[j + width], ...; every thread must come here.

    width is a power of two.
    """
    thread, step = cuda.threadIdx.x, width
    cuda.syncthreads()
    while step < THREADS:
        if thread & step == 0:
            shared[thread] = f(shared[thread], shared[thread + step])
        cuda.syncthreads()
        step *= 2
