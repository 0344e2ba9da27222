"""How kernels are compiled: the only file that configures Numba.

A CPU kernel is a plain function whose last two arguments are a range of *work items*:

    @cpu_kernel(lambda x, y: chunk_count(x.size))
    def relu_forward(x, y, first, last):
        ...items [first, last) of the work...

It is serial, allocates nothing and releases the GIL. The runtime (`team.py`) splits the items over threads,
so what an item is must depend on the shapes alone; then results do not depend on the number of threads.

A kernel is compiled once per combination of argument types, for every shape, and kept on disk.
"""

import hashlib
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, compiler, config
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.errors import RequireLiteralValue
from numba.core.registry import cpu_target
from numba.core.typing.typeof import typeof
from numba.extending import intrinsic, register_jitable
from numba.np.arrayobj import make_array

# `reassoc` lets sums vectorise, `contract` fuses multiply-add; NaN and infinity keep their meaning.
MATH = {"contract", "reassoc", "nsz"}
CHUNK = 4096  # elements of a flat array that make one work item

# Kernels are compiled to machine code; with Numba's JIT switched off they are ordinary Python functions.
COMPILED = not config.DISABLE_JIT


def scalar(function: Callable) -> Callable:
    """A formula of scalars, inlined into CPU kernels and callable from CUDA ones."""
    # Without fastmath=False a formula would inherit the reordering that its caller allows for sums.
    return njit(error_model="numpy", fastmath=False, forceinline=True)(function)


def device_function(function: Callable) -> Callable:
    """A serial piece of a CPU kernel (a packing loop, a tile), inlined or called by it."""
    return njit(nogil=True, error_model="numpy", fastmath=MATH)(function)


# For the functions that count work items: ordinary Python there, compiled inside kernels.
shape_function = register_jitable


def host_function(signature: str) -> Callable[[Callable], Callable]:
    """A compiled function that Python itself calls: one signature, kept on disk, GIL released."""

    def decorate(function: Callable) -> Callable:
        dispatcher = njit(nogil=True, error_model="numpy", _nrt=False)(function)
        if COMPILED:
            dispatcher._cache = KernelCache(function)
            dispatcher.compile(signature)
        return dispatcher

    return decorate


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
if platform.machine().lower() in ("aarch64", "arm64"):
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
    base = Path(root) if root else _user_cache() / "fastcnn"
    return base / f"kernels-{_source_digest()}"


def _user_cache() -> Path:
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home()))
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))


def _source_digest() -> str:
    global _digest
    if _digest is None:
        digest = hashlib.sha256()
        for path in sorted(Path(__file__).parent.glob("*.py")):
            digest.update(path.read_bytes())
        _digest = digest.hexdigest()[:16]
    return _digest


_digest: str | None = None


class KernelCache(FunctionCache):
    """Numba's function cache in our own folder, that survives damaged files and unwritable folders.

    Whatever goes wrong while reading counts as a miss, while writing as "not kept": compiling again is always
    possible. A folder that other users may write to is refused, because cache files are machine code.
    """

    def __init__(self, function: Callable):
        folder = cache_folder()
        self._name = repr(function)
        self._py_func = function
        self._impl = _Reducer()
        self._cache_path = str(folder)
        base = f"{function.__module__}.{function.__qualname__}-{sys.version_info[0]}{sys.version_info[1]}"
        self._cache_file = IndexDataCacheFile(self._cache_path, base, folder.name)
        self.enable()

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context) if self._is_private() else None
        except Exception:
            self._discard()
            return None

    def save_overload(self, sig, data):
        try:
            os.makedirs(self._cache_path, mode=0o700, exist_ok=True)
            if self._is_private():
                self._cache_file.save(self._index_key(sig, data.codegen), self._impl.reduce(data))
        except Exception:
            self._discard()

    def _is_private(self) -> bool:
        if os.name == "nt":
            return True
        try:
            status = os.stat(self._cache_path)
        except OSError:
            return False
        return status.st_uid == os.getuid() and not status.st_mode & 0o022

    def _discard(self) -> None:
        try:
            os.unlink(self._cache_file._index_path)
        except OSError:
            pass


class _Reducer:
    """What a compiled function is turned into on its way to disk and back."""

    def reduce(self, compiled):
        return compiled._reduce()

    def rebuild(self, target_context, payload):
        return compiler.CompileResult._rebuild(target_context, *payload)


# --- kernels -----------------------------------------------------------------------------------------------


class Launch(NamedTuple):
    """A kernel with its arguments: what a plan is a list of."""

    kernel: "Kernel"
    args: tuple
    items: int


class Kernel:
    """A compiled function over a range of work items. See the module's docstring."""

    registry: dict[str, "Kernel"] = {}

    def __init__(self, function: Callable, items: Callable[..., int]):
        self.function = function
        self.items = items
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
        )(function)
        if COMPILED:
            self._dispatcher._cache = KernelCache(function)
        self._addresses: dict[tuple, int] = {}
        Kernel.registry[self.__name__] = self

    def __repr__(self) -> str:
        return f"<kernel {self.__module__}.{self.__name__}>"

    def bind(self, *args) -> Launch:
        """This kernel with these arguments, to be run later."""
        return Launch(self, args, self.items(*args))

    def __call__(self, *args) -> None:
        """Run all the items now."""
        from fastcnn_kernels import team

        team.run([self.bind(*args)])

    def compile(self, args: tuple) -> int:
        """Address of the machine code for arguments of these types; compiles or loads it when new."""
        key = tuple(map(typeof, args))
        if key not in self._addresses:
            signature = (*key, types.intp, types.intp)
            self._dispatcher.compile(signature)
            compiled = self._dispatcher.overloads[signature]
            self._addresses[key] = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
        return self._addresses[key]

    @property
    def is_cached(self) -> bool:
        """Whether the last compilation was answered by the disk cache."""
        return bool(self._dispatcher.stats.cache_hits)


def cpu_kernel(items: Callable[..., int]) -> Callable[[Callable], Kernel]:
    """Make a function `f(..., first, last)` a kernel; `items(...)` counts its work items."""
    return lambda function: Kernel(function, items)
