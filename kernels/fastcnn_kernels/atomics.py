"""Words of memory shared by threads: atomic access by address, and the polite ways to wait; a thread's float mode."""

import os
import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WORD = ir.IntType(64)
MACHINE = platform.machine().lower()
IS_X86, IS_ARM = MACHINE in ("x86_64", "amd64", "i686"), MACHINE in ("aarch64", "arm64")


@intrinsic
def atomic_load(typingctx, address):
    """The int64 at `address`."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], WORD.as_pointer())
        return builder.load_atomic(pointer, "seq_cst", 8)

    return types.int64(types.intp), codegen


@intrinsic
def atomic_store(typingctx, address, value):
    """Write `value` to the int64 at `address`."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], WORD.as_pointer())
        builder.store_atomic(args[1], pointer, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.int64), codegen


@intrinsic
def atomic_add(typingctx, address, value):
    """Add `value` to the int64 at `address`; returns what was there before."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], WORD.as_pointer())
        return builder.atomic_rmw("add", pointer, args[1], "seq_cst")

    return types.int64(types.intp, types.int64), codegen


@intrinsic
def atomic_replace(typingctx, address, expected, value):
    """If the int64 at `address` is `expected`, make it `value`; returns whether it was."""

    def codegen(context, builder, signature, args):
        pointer = builder.inttoptr(args[0], WORD.as_pointer())
        pair = builder.cmpxchg(pointer, args[1], args[2], "seq_cst", "seq_cst")
        return builder.extract_value(pair, 1)

    return types.boolean(types.intp, types.int64, types.int64), codegen


@intrinsic
def pause(typingctx):
    """Tell the processor that this is a spin loop, so that it saves power and memory traffic."""

    def codegen(context, builder, signature, args):
        if IS_X86:
            _call(builder, "llvm.x86.sse2.pause", [])
        elif IS_ARM:
            _call(builder, "llvm.aarch64.hint", [ir.Constant(ir.IntType(32), 1)])
        return context.get_dummy_value()

    return types.void(), codegen


# Bits of the register that rules a thread's arithmetic: denormal operands and results count as zero.
FLUSHING = 0x8040 if IS_X86 else 1 << 24 if IS_ARM else 0


@intrinsic
def float_mode(typingctx):
    """The register that rules this thread's arithmetic, as a number; 0 on processors that we know nothing of."""

    def codegen(context, builder, signature, args):
        if IS_X86:
            place = cgutils.alloca_once(builder, ir.IntType(32))
            _call(builder, "llvm.x86.sse.stmxcsr", [builder.bitcast(place, ir.IntType(8).as_pointer())])
            return builder.zext(builder.load(place), WORD)
        return _call(builder, "llvm.aarch64.get.fpcr", [], WORD) if IS_ARM else WORD(0)

    return types.int64(), codegen


@intrinsic
def set_float_mode(typingctx, mode):
    """Make it this number."""

    def codegen(context, builder, signature, args):
        if IS_X86:
            place = cgutils.alloca_once_value(builder, builder.trunc(args[0], ir.IntType(32)))
            _call(builder, "llvm.x86.sse.ldmxcsr", [builder.bitcast(place, ir.IntType(8).as_pointer())])
        elif IS_ARM:
            _call(builder, "llvm.aarch64.set.fpcr", [args[0]])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


def _call(builder, name, args, result=None):
    module = builder.module
    kind = ir.FunctionType(result or ir.VoidType(), [arg.type for arg in args])
    function = module.globals.get(name) or ir.Function(module, kind, name=name)
    return builder.call(function, args)


# Gives the rest of this time slice to another runnable thread.
yield_thread = types.ExternalFunction("SwitchToThread" if os.name == "nt" else "sched_yield", types.int32())

# Python's own locks, by address: they exist on every platform, need no GIL, and any thread may release one.
new_lock = types.ExternalFunction("PyThread_allocate_lock", types.intp())
acquire_lock = types.ExternalFunction("PyThread_acquire_lock", types.int32(types.intp, types.int32))
release_lock = types.ExternalFunction("PyThread_release_lock", types.void(types.intp))


@intrinsic
def call_entry(typingctx, address, block, first, last, thread):
    """Call the compiled `void(int64 *block, int64 first, int64 last, int64 thread)` at `address`."""

    def codegen(context, builder, signature, args):
        kind = ir.FunctionType(ir.VoidType(), [WORD.as_pointer(), WORD, WORD, WORD])
        function = builder.inttoptr(args[0], kind.as_pointer())
        builder.call(function, [builder.inttoptr(args[1], WORD.as_pointer()), *args[2:]])
        return context.get_dummy_value()

    return types.void(*[types.intp] * 5), codegen
