"""Elementary functions as straight lines of arithmetic, of which LLVM makes vector instructions.

The C library's functions are calls, one number at a time; these do as many at once as a register holds. Each reduces
its argument to a small interval and sums a polynomial there; a conditional expression becomes a selection. Errors, in
units of the last place: below 1 for exp and log, 2.5 for expm1, log1p, tanh and erf, 4 for erfc. Infinity, NaN, signed
zeros and numbers below the normal range are as in `math`.

Inside CPU kernels a call means the polynomial for the type of its argument; elsewhere, in CUDA and in Python, it means
the function of `math` of the same name.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

# --- pieces -------------------------------------------------------------------------------------------------


def _llvm_type(kind: types.Type) -> ir.Type:
    return ir.FloatType() if kind == types.float32 else ir.DoubleType()


def _layout(kind: types.Type) -> tuple[ir.Type, int, int]:
    """(integer of the same width, bits of the fraction, bias of the exponent) of a floating-point type."""
    return (ir.IntType(32), 23, 127) if kind == types.float32 else (ir.IntType(64), 52, 1023)


def _is_real(kind: types.Type) -> bool:
    return kind in (types.float32, types.float64)


def _fused(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
    """a b + c, rounded once where the processor can."""
    name = "llvm.fmuladd.f32" if isinstance(a.type, ir.FloatType) else "llvm.fmuladd.f64"
    kind = ir.FunctionType(a.type, [a.type] * 3)
    function = builder.module.globals.get(name) or ir.Function(builder.module, kind, name)
    return builder.call(function, [a, b, c])


@intrinsic
def fused(typingctx, a, b, c):
    """a b + c, rounded once where the processor can."""

    def codegen(context, builder, signature, args):
        return _fused(builder, *args)

    return a(a, a, a), codegen


def polynomial(single: tuple[float, ...], double: tuple[float, ...]) -> Any:
    """The function x -> c0 + c1 x + c2 x^2 + ..., by Horner's rule: other coefficients for float32 and float64."""

    @intrinsic
    def evaluate(typingctx, x):
        coefficients = single if x == types.float32 else double

        def codegen(context, builder, signature, args):
            total = ir.Constant(_llvm_type(x), coefficients[-1])
            for coefficient in reversed(coefficients[:-1]):
                total = _fused(builder, total, args[0], ir.Constant(_llvm_type(x), coefficient))
            return total

        return x(x), codegen

    return evaluate


@intrinsic
def scaled(typingctx, x, n):
    """x 2^n, n a whole number (of the type of x) in the range of exponents and as far again."""
    whole, fraction, bias = _layout(x)
    shifter = 1.5 * 2.0**fraction  # added to a small whole number, it leaves that in the lowest bits

    def codegen(context, builder, signature, args):
        kind = _llvm_type(x)
        shift = ir.Constant(kind, shifter)
        bits = builder.bitcast(builder.fadd(args[1], shift), whole)
        exponent = builder.sub(bits, builder.bitcast(shift, whole))
        half = builder.ashr(exponent, ir.Constant(whole, 1))
        result = args[0]
        for part in (half, builder.sub(exponent, half)):  # in two steps: 2^n itself may be out of range
            power = builder.shl(builder.add(part, ir.Constant(whole, bias)), ir.Constant(whole, fraction))
            result = builder.fmul(result, builder.bitcast(power, kind))
        return result

    return x(x, n), codegen


@intrinsic
def split(typingctx, x):
    """(m, e) with x = m 2^e, sqrt(1/2) <= m < sqrt(2) and e a whole number; x positive and normal."""
    whole, fraction, _ = _layout(x)
    shifter = 1.5 * 2.0**fraction

    def codegen(context, builder, signature, args):
        kind = _llvm_type(x)
        root = builder.bitcast(ir.Constant(kind, float(np.sqrt(x_type(0.5)))), whole)
        bits = builder.bitcast(args[0], whole)
        exponent = builder.ashr(builder.sub(bits, root), ir.Constant(whole, fraction))
        mantissa = builder.sub(bits, builder.shl(exponent, ir.Constant(whole, fraction)))
        shift = ir.Constant(kind, shifter)
        shifted = builder.bitcast(builder.add(exponent, builder.bitcast(shift, whole)), kind)
        values = builder.bitcast(mantissa, kind), builder.fsub(shifted, shift)
        return context.make_tuple(builder, signature.return_type, values)

    x_type = np.float32 if x == types.float32 else np.float64
    return types.UniTuple(x, 2)(x), codegen


# CPU kernels get the polynomials, CUDA kernels the device's own functions.
_STRAIGHT = {"forceinline": True, "error_model": "numpy", "fastmath": False, "nogil": True}


def elementary(name: str) -> Callable[[Callable], Callable]:
    """Make `function(kind)`, which writes the formula for float32 or float64, what CPU kernels know as `math.name`."""
    plain = getattr(math, name)

    def decorate(write: Callable) -> Callable:
        def function(x):
            return plain(x)

        @overload(function, jit_options=_STRAIGHT, target="cpu")
        def on_cpu(x):
            return write(np.float32 if x == types.float32 else np.float64) if _is_real(x) else None

        @overload(function, target="generic")
        def elsewhere(x):
            return lambda x: plain(x)

        function.__name__ = function.__qualname__ = name
        function.__doc__ = write.__doc__
        return function

    return decorate


# --- exponential --------------------------------------------------------------------------------------------

LOG2_E = 1 / math.log(2)
# ln 2 in two parts; the first has so few bits that its products with exponents are exact without fused arithmetic
LN2 = {
    np.float32: (0.693359375, -2.12194440054690583e-4),
    np.float64: (0.693145751953125, 1.42860682030941723212e-6),
}
# Taylor's series, up to the first power that the rounding of a number in |r| <= ln(2) / 2 swallows
exp_series = polynomial(*(tuple(1 / math.factorial(k) for k in range(terms)) for terms in (8, 14)))
expm1_series = polynomial(*(tuple(1 / math.factorial(k + 1) for k in range(terms)) for terms in (8, 14)))


@elementary("exp")
def exp(kind):
    """e^x = 2^n e^r with x = n ln 2 + r, |r| <= ln(2) / 2."""
    log2_e, (high, low) = kind(LOG2_E), map(kind, LN2[kind])
    least, most = map(kind, (-104, 89) if kind is np.float32 else (-746, 710))  # beyond, 0 and infinity

    def formula(x):
        x = least if x < least else (most if x > most else x)
        n = np.rint(x * log2_e)
        r = fused(n, -low, fused(n, -high, x))
        return scaled(exp_series(r), n)

    return formula


@elementary("expm1")
def expm1(kind):
    """e^x - 1 = 2^n (e^r - 1) + (2^n - 1), exact near x = 0."""
    one, log2_e, (high, low) = kind(1), kind(LOG2_E), map(kind, LN2[kind])
    least, most = map(kind, (-20, 89) if kind is np.float32 else (-40, 710))

    def formula(x):
        c = least if x < least else (most if x > most else x)
        n = np.rint(c * log2_e)
        r = fused(n, -low, fused(n, -high, c))
        half = scaled(kind(0.5), n)  # of 2^n: that may be infinite where the result is not
        y = kind(2) * fused(half, r * expm1_series(r), half - kind(0.5))
        return x if abs(x) < one and x * x == kind(0) else y  # keeps -0 and what is below the normal range

    return formula


@elementary("tanh")
def tanh(kind):
    """tanh x = e / (e + 2) with e = e^2x - 1."""
    limit = kind(10 if kind is np.float32 else 20)  # beyond, 1

    def formula(x):
        c = -limit if x < -limit else (limit if x > limit else x)
        e = expm1(c + c)
        return e / (e + kind(2))

    return formula


# --- logarithm ----------------------------------------------------------------------------------------------

# 2 artanh(s) / s - 2 in powers of z = s^2 behind the first: 2/3 z + 2/5 z^2 + ..., s^2 <= 0.0295
log_series = polynomial(*(tuple(2 / (2 * k + 3) for k in range(terms)) for terms in (5, 11)))


@elementary("log")
def log(kind):
    """ln x = e ln 2 + ln m, x = m 2^e;  ln(1 + f) = 2 artanh(s), s = f / (2 + f)."""
    high, low = map(kind, LN2[kind])
    tiny = kind(np.finfo(kind).tiny)
    digits = 23 if kind is np.float32 else 52
    lift, lifted = kind(2.0**digits), kind(digits)

    def formula(x):
        small = x < tiny
        m, e = split(x * lift if small else x)
        e = e - lifted if small else e
        f = m - kind(1)
        s = f / (kind(2) + f)
        z = s * s
        half = kind(0.5) * f * f
        tail = (
            fused(e, low, s * (half + z * log_series(z))) - half
        )  # f - half + s (half + ...): f keeps its digits
        y = fused(e, high, f + tail) if e != kind(0) else f + tail
        y = x if x == kind(np.inf) else y
        return y if x > kind(0) else (kind(-np.inf) if x == kind(0) else kind(np.nan))

    return formula


@elementary("log1p")
def log1p(kind):
    """ln(1 + x) = x ln(u) / (u - 1) with u = 1 + x rounded: what u has lost, the quotient gives back.

    W. Kahan; see D. Goldberg 1991, What every computer scientist should know about floating-point arithmetic.
    """
    one = kind(1)

    def formula(x):
        u = one + x
        y = log(u) * (x / (u - one))
        return x if u == one or x == kind(np.inf) else y

    return formula


# --- error function -----------------------------------------------------------------------------------------

# erf(x) / x in powers of x^2, |x| <= 1: interpolated at Chebyshev's points
erf_series = polynomial(
    (
        1.1283791658483509,
        -0.37612626666720334,
        0.11283594715160218,
        -0.026854212010626412,
        0.005189087423433974,
        -0.000801686428716587,
        7.875875062685488e-05,
    ),
    (
        1.1283791670955126,
        -0.3761263890318375,
        0.11283791670954879,
        -0.026866170645076792,
        0.0052239776248180145,
        -0.000854832698083379,
        0.0001205533111164271,
        -1.4925595266831182e-05,
        1.6461000484121368e-06,
        -1.6350312701054695e-07,
        1.4659775274047436e-08,
        -1.1372848856791674e-09,
        5.957176147748911e-11,
    ),
)
# e^(x x) erfc(x) / t with t = 1 / (1 + x / 2), in powers of u, which runs from -1 at FAR to 1 at x = 0
FAR = {np.float32: 10.1, np.float64: 27.3}  # from here on erfc(x) is 0
erfc_series = polynomial(
    (
        0.5714730437309122,
        0.3264239105899041,
        0.10233758285071917,
        0.006033363164097884,
        -0.006189724368980953,
        -0.0006309573442777545,
        0.0006018992528952055,
        5.894133595108541e-06,
        -6.680949836835116e-05,
        6.568117290653981e-06,
        5.231400873234484e-06,
    ),
    (
        0.5349005709592315,
        0.338126442619391,
        0.12428028537460517,
        0.012249449921959967,
        -0.008854723556569627,
        -0.0018058828519959963,
        0.0011135668435239441,
        0.0001446920132847885,
        -0.00018627862658171263,
        1.4347620344852416e-05,
        2.8005368986460625e-05,
        -1.0633467090086391e-05,
        -1.7800054373653243e-06,
        2.7147595355205434e-06,
        -7.014560716619328e-07,
        -2.732090180438786e-07,
        2.7427050720245307e-07,
        -6.990234547437847e-08,
        -2.9130832009479117e-08,
        3.3011790022382314e-08,
        -9.620151047597947e-09,
        -4.191891522277501e-09,
        4.117504511624362e-09,
        -5.031142618131814e-10,
        -5.225820269898451e-10,
        1.630158791296389e-10,
    ),
)


@elementary("erfc")
def erfc(kind):
    """1 - erf x, which keeps its digits where erf x is near 1.

    e^(-x x) magnifies the rounding of x x; where arithmetic is fused that is known and made good, elsewhere the
    relative error grows with x x, to some 100 units of the last place where erfc is least.
    """
    far = kind(FAR[kind])
    slope, start = kind(2 / (1 - 1 / (1 + FAR[kind] / 2))), kind(2 / (1 - 1 / (1 + FAR[kind] / 2)) - 1)

    def formula(x):
        size = abs(x)
        size = far if size > far else size
        t = kind(1) / fused(kind(0.5), size, kind(1))
        squared = size * size
        lost = fused(size, size, -squared)
        y = t * erfc_series(fused(slope, t, -start))
        y = exp(-squared) * fused(-lost, y, y)
        near = kind(1) - x * erf_series(x * x)
        return near if size < kind(0.5) else (kind(2) - y if x < kind(0) else y)

    return formula


@elementary("erf")
def erf(kind):
    """2 / sqrt(pi) times the integral of e^(-t t) from 0 to x."""

    def formula(x):
        y = kind(1) - erfc(abs(x))
        return x * erf_series(x * x) if abs(x) < kind(1) else (-y if x < kind(0) else y)

    return formula
