"""Numba's compiler, for kernels and for pieces of kernels: functions that it compiles only as parts of others.

Of each function that it compiles, Numba makes machine code with entries for Python and for C, and then it compiles the
function again inside each of its callers. What is called by kernels alone needs only the second, and our kernels have
many pieces: this takes two fifths off the time that it takes to compile them.

Of loops LLVM makes vectors of 32 bytes even where registers have 64, because early processors with such registers
slowed down when they were used. All that have come since do not; and tiles of kernels use them anyway.
"""

import functools
from collections.abc import Callable
from typing import Any

from numba import _dynfunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering


class Piece(CPUDispatcher):
    """A function for compiled ones to call or to inline. What Python calls is compiled apart, to the end."""

    def __init__(self, function: Callable, **options: Any):
        super().__init__(function, targetoptions={"nopython": True, **options}, pipeline_class=PieceCompiler)

    def __call__(self, *args: Any) -> Any:
        return self._for_python(*args)

    @functools.cached_property
    def _for_python(self) -> Callable:
        return CPUDispatcher(self.py_func, targetoptions=self.targetoptions)


class WideLibrary(JITCodeLibrary):
    """Code whose loops become vectors as wide as the processor's registers."""

    def add_ir_module(self, ir_module):
        for function in ir_module.functions:
            if not function.is_declaration:
                # llvmlite would refuse this one: it knows no attributes that have values
                set.add(function.attributes, '"prefer-vector-width"="512"')
        super().add_ir_module(ir_module)


class PieceLibrary(WideLibrary):
    """Code that is optimised, and becomes machine code, in the libraries of its callers."""

    def _optimize_final_module(self):
        pass

    def _finalize_final_module(self):
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class KernelLowering(NativeLowering):
    """Numba's last step, into a `WideLibrary`."""

    _name = "kernel_lowering"

    def run_pass(self, state):
        state.library = WideLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()  # or it could not be kept on disk
        return super().run_pass(state)


@register_pass(mutates_CFG=True, analysis_only=False)
class PieceLowering(NativeLowering):
    """Makes a function known to those that will call it, with nothing that could be run."""

    _name = "piece_lowering"

    def run_pass(self, state):
        state.library = PieceLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_cpython_wrapper = state.flags.no_cfunc_wrapper = state.flags.no_compile = True
        super().run_pass(state)
        lowered = state["cr"]
        described = lowered.fndesc
        # By this object Numba knows a version of a function. Called, it would jump to address 0: see Piece.__call__.
        key = _dynfunc.make_function(described.lookup_module(), described.qualname, "", 0, lowered.env, ())
        state.targetctx.insert_user_function(key, described, [state.library])
        state["cr"] = lowered._replace(cfunc=key)
        return True


class KernelCompiler(Compiler):
    """Numba's compiler, but for its last step."""

    lowering: type[NativeLowering] = KernelLowering

    def define_pipelines(self):
        (pipeline,) = super().define_pipelines()
        pipeline.passes = [
            (self.lowering if stage is NativeLowering else stage, text) for stage, text in pipeline.passes
        ]
        pipeline.finalize()
        return [pipeline]


class PieceCompiler(KernelCompiler):
    """The same for pieces."""

    lowering = PieceLowering
