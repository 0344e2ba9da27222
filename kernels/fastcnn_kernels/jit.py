"""How kernels are compiled: the only file that configures Numba (with `piece.py`, which leaves out a step of it).

A CPU kernel is a plain function whose last two arguments are a range of *work items*:

    @cpu_kernel(lambda x, y: chunk_count(x.size))
    def relu_forward(x, y, first, last):
        ...items [first, last) of the work...

It is serial, allocates nothing and releases the GIL. The runtime (`team.py`) splits the items over threads,
so what an item is must depend on the shapes alone; then results do not depend on the number of threads.
A kernel that needs more working memory than fits the stack takes an array `workspace` and, after `last`, the number of
the `thread` that runs it: workspace[thread] is its own.

A kernel is compiled once per combination of argument types, for every shape, and kept on disk.
"""

import contextlib
import functools
import hashlib
import os
import pickle
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, config
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.errors import NumbaError, RequireLiteralValue
from numba.core.registry import cpu_target
from numba.core.serialize import dumps
from numba.core.sigutils import normalize_signature
from numba.core.typing.typeof import typeof
from numba.extending import intrinsic, register_jitable
from numba.np.arrayobj import make_array

from fastcnn_kernels.piece import KernelCompiler, Piece, PieceCompiler

# `reassoc` lets sums vectorise, `contract` fuses multiply-add; NaN and infinity keep their meaning.
MATH = {"contract", "reassoc", "nsz"}
CHUNK = 4096  # elements of a flat array that make one work item

# Kernels are compiled to machine code; with Numba's JIT switched off they are ordinary Python functions.
COMPILED = not config.DISABLE_JIT


def scalar(function: Callable) -> Callable:
    """A formula of scalars, inlined into CPU kernels and callable from CUDA ones."""
    # Without fastmath=False a formula would inherit the reordering that its caller allows for sums.
    return _piece(function, error_model="numpy", fastmath=False, forceinline=True)


def device_function(function: Callable) -> Callable:
    """A serial piece of a CPU kernel (a packing loop, a tile), inlined or called by it."""
    return _piece(function, nogil=True, error_model="numpy", fastmath=MATH)


def _piece(function: Callable, **options: Any) -> Callable:
    return Piece(function, **options) if COMPILED else function


# For the functions that count work items: ordinary Python there, compiled inside kernels.
shape_function = register_jitable(pipeline_class=PieceCompiler)


def host_function(signature: str) -> Callable[[Callable], Callable]:
    """A function that Python itself calls: one signature, kept on disk, GIL released.

    It is compiled by `compile_host_functions`, not when it is defined: an import must not wait for a compiler.
    """

    def decorate(function: Callable) -> Callable:
        dispatcher = njit(nogil=True, error_model="numpy", _nrt=False)(function)
        if COMPILED:
            keep_on_disk(dispatcher)
            _host_functions.append((dispatcher, signature))
        return dispatcher

    return decorate


_host_functions: list[tuple[Any, str]] = []  # not compiled yet


def compile_host_functions() -> None:
    """Make those ready that have been defined since the last call."""
    while _host_functions:
        dispatcher, signature = _host_functions[-1]
        dispatcher.compile(signature)
        _host_functions.pop()  # only now: another thread that comes meanwhile waits for the compiler


_is_alone: ContextVar[bool] = ContextVar("fastcnn_alone", default=False)


@contextlib.contextmanager
def on_one_thread() -> Iterator[None]:
    """What is bound inside is going to run on a single thread: there is no need to cut it into items for others."""
    token = _is_alone.set(True)
    try:
        yield
    finally:
        _is_alone.reset(token)


def items_wanted(usual: int) -> int:
    """Work items that a launch should have: `usual`, for threads to share, or one."""
    return 1 if _is_alone.get() else usual


@shape_function
def chunk_count(size):
    """Number of work items in a flat array of `size` elements."""
    return (size + CHUNK - 1) // CHUNK


@scalar
def span(first, last, size):
    """Element range of the chunks [first, last) of a flat array of `size` elements."""
    return first * CHUNK, min(last * CHUNK, size)


# --- the machine -------------------------------------------------------------------------------------------


def _vector_bytes() -> int:
    """Width of the widest vector register of the processor that Numba compiles for (64, 32 or 16 bytes)."""
    features = cpu_target.target_context.codegen().magic_tuple()[2]
    if "+avx512f" in features:
        return 64
    return 32 if "+avx2" in features and "+fma" in features else 16


VECTOR_BYTES = _vector_bytes()
# Register tile of the matrix micro-kernel as (rows, vectors a row): fills the register file without spills.
TILE_ROWS, TILE_VECTORS = {64: (14, 2), 32: (6, 2), 16: (4, 2)}[VECTOR_BYTES]
IS_ARM = platform.machine().lower() in ("aarch64", "arm64")
if IS_ARM:
    TILE_ROWS, TILE_VECTORS = 8, 3  # 32 registers of 16 bytes


@intrinsic(prefer_literal=True)
def stack_array(typingctx, like, size):
    """A one-dimensional array of `size` (a literal) elements of the dtype of `like` on this thread's stack.

    Aligned to 64 bytes, uninitialised. Lives until the kernel that asked for it returns.
    """
    if not isinstance(size, types.IntegerLiteral):
        raise RequireLiteralValue("stack_array needs a constant size")
    result = types.Array(like.dtype, 1, "C")

    def codegen(context, builder, signature, args):
        element = context.get_data_type(like.dtype)
        with builder.goto_entry_block():  # cgutils.alloca_once would fill it with zeros at every call
            memory = builder.alloca(ir.ArrayType(element, size.literal_value))
        memory.align = 64
        array = make_array(result)(context, builder)
        itemsize = context.get_abi_sizeof(element)
        intp = context.get_constant
        context.populate_array(
            array,
            data=builder.bitcast(memory, element.as_pointer()),
            shape=cgutils.pack_array(builder, [intp(types.intp, size.literal_value)]),
            strides=cgutils.pack_array(builder, [intp(types.intp, itemsize)]),
            itemsize=intp(types.intp, itemsize),
            meminfo=None,
        )
        return array._getvalue()

    return result(like, size), codegen


# --- the kernel cache on disk ------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Folder of compiled kernels: `FASTCNN_CACHE_DIR`, else `NUMBA_CACHE_DIR`, else the user's cache folder.

    The last component is a digest of this package's source, so an edited kernel, or an edited formula that
    kernels of another file inline, can never meet machine code compiled from the old text.
    """
    root = os.environ.get("FASTCNN_CACHE_DIR") or os.environ.get("NUMBA_CACHE_DIR")
    return (Path(root) if root else _user_cache() / "fastcnn") / f"kernels-{_package_digest()}"


def is_private(folder: Path) -> bool:
    """Whether nobody else may write to the folder, or there is none."""
    try:
        status = os.stat(folder)
    except OSError:
        return True
    return os.name == "nt" or (status.st_uid == os.getuid() and not status.st_mode & 0o022)


def _user_cache() -> Path:
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or _home())
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or _home() / ".cache")


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError:  # a container may run under a user number that has no entry and no HOME
        return Path(tempfile.gettempdir()) / f"fastcnn-{os.getuid()}"


@functools.cache
def _package_digest() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def file_digest(path: str) -> str:
    """SHA-256 of what is in a file of source."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


# What machine code depends on besides the source, the types and the processor.
_COMPILER = (numba.__version__, sys.implementation.cache_tag, config.OPT, config.BOUNDSCHECK)


def keep_on_disk(dispatcher: Any) -> None:
    """Give a function compiled by Numba a `KernelCache`, if all that it is made of stands in a file."""
    function = dispatcher.py_func
    if function.__closure__ is None:
        with contextlib.suppress(OSError):  # the source is not in a file but in a shell or an archive
            dispatcher._cache = KernelCache(function)


class KernelCache(NullCache):
    """The compiled versions of one function on disk: a file for each combination of argument types and processor.

    A file is a SHA-256 and, behind it, what it is the SHA-256 of. It is written under another name and moved into
    place. So a file that is damaged or half written counts as absent, and processes that compile at the same time
    do not disturb each other. Whatever else goes wrong while reading is a miss too, while writing "not kept":
    compiling again is always possible. A folder that other users may write to is not used, because its files are
    machine code.
    """

    def __init__(self, function: Callable):
        code = function.__code__
        source = _package_digest(), file_digest(code.co_filename), code.co_firstlineno
        self._key = (*_COMPILER, *source, function.__module__, function.__qualname__)
        # Numba takes the formulas that kernels hand to `map_unary` and the like for addresses in this process, which
        # may not be kept. They are not used as such; in other people's kernels (ctypes) addresses may be.
        self._is_ours = function.__module__.startswith(f"{__package__}.")
        self._name = function.__name__
        self._folder = cache_folder()

    @property
    def cache_path(self) -> str:
        return str(self._folder)

    def load_overload(self, sig, target_context):
        target_context.refresh()
        with contextlib.suppress(Exception):
            if is_private(self._folder):
                content = read_file(self._path(sig, target_context.codegen()))
                result = CompileResult._rebuild(target_context, *pickle.loads(content))
                return result if result.signature.args == normalize_signature(sig)[0] else None
        return None

    def save_overload(self, sig, data):
        with contextlib.suppress(Exception):
            if self._is_ours or not data.library.has_dynamic_globals:
                content = dumps(data._reduce())
                keep_file(self._path(sig, data.codegen), hashlib.sha256(content).digest() + content)

    def holds(self, sig) -> bool:
        """Whether there is a file for these argument types; it may turn out to be damaged."""
        return self._path(sig, cpu_target.target_context.codegen()).exists()

    def _path(self, sig, codegen) -> Path:
        key = repr((self._key, sig, codegen.magic_tuple()))
        return self._folder / f"{self._name}-{hashlib.sha256(key.encode()).hexdigest()[:24]}.nbc"


def read_file(path: Path) -> bytes:
    """What `keep_file` was given behind its SHA-256; `ValueError` where it is not that any more."""
    stored = path.read_bytes()
    digest, content = stored[:32], stored[32:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path} is damaged")
    return content


def keep_file(path: Path, content: bytes) -> None:
    """Put a file into the cache, whole or not at all; not where others may write."""
    os.makedirs(path.parent, mode=0o700, exist_ok=True)
    if not is_private(path.parent):
        return
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


# --- kernels -----------------------------------------------------------------------------------------------


class Launch(NamedTuple):
    """A kernel with its arguments: what a plan is a list of."""

    kernel: "Kernel"
    args: tuple
    items: int

    @property
    def key(self) -> tuple:
        """What machine code is compiled for."""
        return self.kernel, self.kernel.signature(self.args)

    def compile(self) -> None:
        """Compile the kernel for these arguments, if that has not been done."""
        self.kernel.compile(self.args)


class Kernel:
    """A compiled function over a range of work items. See the module's docstring."""

    registry: dict[str, "Kernel"] = {}

    def __init__(
        self, function: Callable, items: Callable[..., int], parts: Callable[..., int] = lambda *_: 1
    ):
        self.function, self.items, self.parts = function, items, parts
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        self.takes_thread = names[-1] == "thread"
        self.parameters = names[: -3 if self.takes_thread else -2]
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        self._dispatcher = njit(
            nogil=True,
            error_model="numpy",
            fastmath=MATH,
            _nrt=False,
            no_cpython_wrapper=True,
            no_cfunc_wrapper=True,
            pipeline_class=KernelCompiler,
        )(function)
        if COMPILED:
            keep_on_disk(self._dispatcher)
        self._addresses: dict[tuple, int] = {}
        Kernel.registry[self.__name__] = self

    def __repr__(self) -> str:
        return f"<kernel {self.__module__}.{self.__name__}>"

    def bind(self, *args) -> Launch:
        """This kernel with these arguments, to be run later."""
        if len(args) != len(self.parameters):
            raise TypeError(f"{self!r} takes {', '.join(self.parameters)}; got {len(args)} arguments")
        for name, value in zip(self.parameters, args, strict=True):
            if not is_argument(value):
                kind = type(value).__name__
                raise TypeError(f"{self!r}: {name} is of type {kind}; expected an array, int, float or tuple")
        return Launch(self, args, self.items(*args))

    def __call__(self, *args) -> None:
        """Run all the items now."""
        from fastcnn_kernels import team

        team.run([self.bind(*args)])

    @staticmethod
    def signature(args: tuple) -> tuple:
        """Types of arguments: what machine code is compiled for."""
        return tuple(map(typeof, args))

    def compile(self, args: tuple) -> int:
        """Address of the machine code for arguments of these types; compiles or loads it when new."""
        key = self.signature(args)
        if key not in self._addresses:
            signature = self._whole(key)
            try:
                self._dispatcher.compile(signature)
            except NumbaError as error:
                given = ", ".join(f"{name}: {kind}" for name, kind in zip(self.parameters, key, strict=True))
                raise TypeError(f"{self!r} cannot be compiled for ({given})") from error
            compiled = self._dispatcher.overloads[signature]
            self._addresses[key] = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
        return self._addresses[key]

    def is_ready(self, args: tuple) -> bool:
        """Whether `compile` would have nothing to compile: it has done so before, here or on this machine."""
        key, cache = self.signature(args), self._dispatcher._cache
        return key in self._addresses or (isinstance(cache, KernelCache) and cache.holds(self._whole(key)))

    def _whole(self, key: tuple) -> tuple:
        return (*key, *[types.intp] * (3 if self.takes_thread else 2))

    @property
    def compilations(self) -> int:
        """How many versions this process has compiled."""
        return sum(self._dispatcher.stats.cache_misses.values())

    @property
    def cache_hits(self) -> int:
        """How many versions this process has loaded from disk instead."""
        return sum(self._dispatcher.stats.cache_hits.values())


def is_argument(value: object) -> bool:
    """Whether a kernel can be given this value.

    Not bool and NumPy's scalars (but float64, which is a float): they are shorter than the machine words that
    the runtime passes.
    """
    if isinstance(value, tuple):
        return all(map(is_argument, value))
    return isinstance(value, np.ndarray | float | int) and not isinstance(value, bool)


def cpu_kernel(items: Callable[..., int], *parts: Callable[..., int]) -> Callable[[Callable], Kernel]:
    """Make a function `f(..., first, last)` a kernel; `items(...)` counts its work items.

    parts(g, dtype): into how many parts the work of a geometry is best cut, of a kernel whose results are parts.
    """
    return lambda function: Kernel(function, items, *parts)
