"""What kernels for CUDA devices do without Numba's help: numbers four at a time, and integers of 32 bits.

An index in brackets may be negative in Python, and Numba asks every time; its sums and products of integers have 64
bits, for which a device needs two or three instructions each. In the simulator all is done by its definition.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastcnn_kernels.cuda import SIMULATED, target

if SIMULATED:

    def load_one(array, place):
        """Number `place` of an array of any shape."""
        return array.reshape(array.size)[place]

    def store_one(array, place, a):
        """Number `place` of an array of any shape becomes a."""
        array.reshape(array.size)[place] = a

    def load_four(array, place):
        """array[place : place + 4], of an array whose address 16 divides, from a place that 4 divides."""
        return array[place : place + 4]

    def store_four(array, place, a, b, c, d):
        """array[place : place + 4] = a, b, c, d, where `load_four` could read them."""
        array[place : place + 4] = a, b, c, d

    def is_aligned(array):
        """Whether 16 divides the address of an array."""
        return True

    int32: Any = int

    def divided(a, b):
        """(a // b, a % b) of integers that are not negative."""
        return divmod(a, b)

    def add_int32(a, b):
        """a + b in 32 bits."""
        return int(a) + int(b)

    def multiply_add(a, b, c):
        """a b + c in 64 bits, where a and b have 32."""
        return int(a) * int(b) + c

    def is_inside(x, shift, size):
        """Whether 0 <= x + shift < size, in 32 bits."""
        return 0 <= int(x) + int(shift) < size

else:
    intrinsic, int32 = target.extending.intrinsic, np.int32

    @intrinsic
    def add_int32(typingctx, a, b):
        """a + b in 32 bits."""
        number = types.int32
        return number(number, number), lambda context, builder, signature, args: builder.add(*args)

    @intrinsic
    def divided(typingctx, a, b):
        """(a // b, a % b) of integers that are not negative, which spares a device to look for signs.

        In 32 bits if both have 32.
        """
        number = types.int32 if a == b == types.int32 else types.int64

        def codegen(context, builder, signature, args):
            quotient = builder.udiv(*args)
            rest = builder.sub(args[0], builder.mul(quotient, args[1]))
            return context.make_tuple(builder, signature.return_type, [quotient, rest])

        return types.UniTuple(number, 2)(number, number), codegen

    @intrinsic
    def multiply_add(typingctx, a, b, c):
        """a b + c in 64 bits, where a and b have 32."""

        def codegen(context, builder, signature, args):
            kind = ir.FunctionType(args[2].type, [arg.type for arg in args])
            return builder.call(ir.InlineAsm(kind, "mad.wide.s32 $0, $1, $2, $3;", "=l,r,r,l"), args)

        return types.int64(types.int32, types.int32, types.int64), codegen

    @intrinsic
    def is_inside(typingctx, x, shift, size):
        """Whether 0 <= x + shift < size, in 32 bits."""

        def codegen(context, builder, signature, args):
            place, end = builder.add(*args[:2]), args[2]
            return builder.icmp_unsigned("<", place, end)

        return types.boolean(*[types.int32] * 3), codegen

    def pointer_to(context, builder, kind, array, index):
        """To an element of a contiguous array."""
        return builder.gep(context.make_array(kind)(context, builder, array).data, [index])

    def address_of_element(context, builder, kind, array, index, shared=False):
        """Of an element of a contiguous array; in the window of shared memory, if it is there."""
        pointer = pointer_to(context, builder, kind, array, index)
        if not shared:
            return builder.ptrtoint(pointer, ir.IntType(64))
        inside = builder.addrspacecast(pointer, ir.PointerType(pointer.type.pointee, 3))
        return builder.ptrtoint(inside, ir.IntType(32))

    def _four(context, builder, kind, array, index):
        """A pointer to four numbers at a time, and its alignment. In which memory they are the compiler sees."""
        pointer = pointer_to(context, builder, kind, array, index)
        size = context.get_abi_sizeof(pointer.type.pointee)
        return builder.bitcast(pointer, ir.PointerType(ir.VectorType(pointer.type.pointee, 4))), min(
            4 * size, 16
        )

    @intrinsic
    def load_one(typingctx, array, place):
        """Number `place` of an array of any shape."""

        def codegen(context, builder, signature, args):
            return builder.load(pointer_to(context, builder, signature.args[0], *args))

        return array.dtype(array, types.int64), codegen

    @intrinsic
    def store_one(typingctx, array, place, a):
        """Number `place` of an array of any shape becomes a."""

        def codegen(context, builder, signature, args):
            builder.store(args[2], pointer_to(context, builder, signature.args[0], *args[:2]))
            return context.get_dummy_value()

        return types.void(array, types.int64, array.dtype), codegen

    @intrinsic
    def load_four(typingctx, array, place):
        """array[place : place + 4], of an array whose address 16 divides, from a place that 4 divides."""

        def codegen(context, builder, signature, args):
            pointer, alignment = _four(context, builder, signature.args[0], *args)
            found = builder.load(pointer, align=alignment)
            parts = [builder.extract_element(found, ir.Constant(ir.IntType(32), i)) for i in range(4)]
            return context.make_tuple(builder, signature.return_type, parts)

        return types.UniTuple(array.dtype, 4)(array, types.int64), codegen

    @intrinsic
    def store_four(typingctx, array, place, a, b, c, d):
        """array[place : place + 4] = a, b, c, d, where `load_four` could read them."""
        number = array.dtype

        def codegen(context, builder, signature, args):
            vector = ir.Constant(ir.VectorType(args[2].type, 4), ir.Undefined)
            for i, value in enumerate(args[2:]):
                vector = builder.insert_element(vector, value, ir.Constant(ir.IntType(32), i))
            pointer, alignment = _four(context, builder, signature.args[0], *args[:2])
            builder.store(vector, pointer, align=alignment)
            return context.get_dummy_value()

        return types.void(array, types.int64, number, number, number, number), codegen

    @intrinsic
    def is_aligned(typingctx, array):
        """Whether 16 divides the address of an array."""

        def codegen(context, builder, signature, args):
            first = ir.Constant(ir.IntType(64), 0)
            address = address_of_element(context, builder, signature.args[0], args[0], first)
            rest = builder.and_(address, ir.Constant(ir.IntType(64), 15))
            return builder.icmp_unsigned("==", rest, first)

        return types.boolean(array), codegen
