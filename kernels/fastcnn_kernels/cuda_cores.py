"""Tensor cores: a product of small matrices by a warp, as inline assembler; in the simulator, by its definition."""

import numpy as np
from llvmlite import ir
from numba import types

from fastcnn_kernels.cuda import SIMULATED, cuda, target

if SIMULATED:

    def to_tf32(x):
        """x rounded to the 11 bits of TF32, halves away from zero."""
        bits = np.float32(x).view(np.uint32)
        return np.uint32((int(bits) + 0x1000) & 0xFFFFE000).view(np.float32)

    def multiply_tf32(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
        """The lane's part of c + a b; a 16 x 8, b 8 x 8. Every lane of the warp must come here."""
        a = cuda.shared.array((64, 4), np.float32)
        b = cuda.shared.array((64, 2), np.float32)
        thread = cuda.threadIdx.x
        a[thread], b[thread] = (a0, a1, a2, a3), (b0, b1)
        cuda.syncthreads()
        results, warp, lane = [c0, c1, c2, c3], thread // 32 * 32, thread % 32
        for e in range(4):
            row, column = lane // 4 + e // 2 * 8, lane % 4 * 2 + e % 2
            for k in range(8):
                x = a[warp + row % 8 * 4 + k % 4, row // 8 + k // 4 * 2]
                results[e] += x * b[warp + column * 4 + k % 4, k // 4]
        cuda.syncthreads()
        return results

else:
    intrinsic = target.extending.intrinsic

    @intrinsic
    def to_tf32(typingctx, x):
        """x rounded to the 11 bits of TF32, halves away from zero."""

        def codegen(context, builder, signature, args):
            kind = ir.FunctionType(ir.IntType(32), [ir.FloatType()])
            rounded = builder.call(ir.InlineAsm(kind, "cvt.rna.tf32.f32 $0, $1;", "=r,f"), args)
            return builder.bitcast(rounded, ir.FloatType())

        return types.float32(types.float32), codegen

    @intrinsic
    def multiply_tf32(typingctx, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
        """The lane's part of c + a b; a 16 x 8, b 8 x 8. Every lane of the warp must come here."""
        number = types.float32

        def codegen(context, builder, signature, args):
            word, single = ir.IntType(32), ir.FloatType()
            operands = [builder.bitcast(arg, word) for arg in args[:6]]
            kind = ir.FunctionType(ir.LiteralStructType([single] * 4), [word] * 6 + [single] * 4)
            text = (
                "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                "{$0, $1, $2, $3}, {$4, $5, $6, $7}, {$8, $9}, {$10, $11, $12, $13};"
            )
            outputs, inputs = ",".join(["=f"] * 4), ",".join(["r"] * 6 + ["f"] * 4)
            asm = ir.InlineAsm(kind, text, f"{outputs},{inputs}", side_effect=True)
            found = builder.call(asm, [*operands, *args[6:]])
            parts = [builder.extract_value(found, i) for i in range(4)]
            return context.make_tuple(builder, signature.return_type, parts)

        return types.UniTuple(number, 4)(*[number] * 10), codegen
