"""What instructions compute (PTX ISA, chapter 9), as functions of arrays: an element is a thread's operand.

Results of float32 and float64 are rounded as on a device, but for the approximate ones (`ex2.approx` and the like),
which are exact here to the last place or nearly. Instructions that a device has and these kernels have never used are
missing, and named before anything is executed; so are parts of an instruction's name (`.sat`, `.NaN`) that mean more
than is done here.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from bench.ptx.text import Instruction

Array = np.ndarray
DTYPES = {
    "pred": "?", "b8": "u1", "u8": "u1", "s8": "i1", "b16": "u2", "u16": "u2", "s16": "i2", "b32": "u4", "u32": "u4",
    "s32": "i4", "b64": "u8", "u64": "u8", "s64": "i8", "f32": "f4", "f64": "f8",
}  # fmt: skip


class Meaning(NamedTuple):
    """The dtypes as which operands are read, and what is made of them."""

    operands: tuple[str, ...]
    compute: Callable[..., Array]


class UnknownError(LookupError):
    """An instruction that this machine does not know."""

    def __init__(self, instruction: Instruction):
        super().__init__(f"PTX: {instruction.text!r} is not known to this machine")


def meaning(instruction: Instruction) -> Meaning:
    """Of an instruction that reads registers and writes one."""
    make = _MAKERS.get(instruction.name)
    if make is None:
        raise UnknownError(instruction)
    return make(*instruction.parts)


def check_parts(instruction: Instruction) -> None:
    """Raise an error if a part of its name is neither a type nor something that is heeded here."""
    if set(instruction.parts) - DTYPES.keys() - PARTS.get(instruction.name, set()):
        raise UnknownError(instruction)


# --- exact arithmetic ------------------------------------------------------------------------------------------------


@intrinsic
def _fused(typingctx, a, b, c):
    def codegen(context, builder, signature, args):
        kind = args[0].type
        name = f"llvm.fma.f{32 if isinstance(kind, ir.FloatType) else 64}"
        function = builder.module.declare_intrinsic(name, (), ir.FunctionType(kind, [kind] * 3))
        return builder.call(function, args)

    return a(a, b, c), codegen


@numba.vectorize([types.float32(*[types.float32] * 3), types.float64(*[types.float64] * 3)])
def fused(a, b, c):
    """a b + c, rounded once."""
    return _fused(a, b, c)


@partial(np.vectorize, otypes=[float])
def exact_sum(*terms: float) -> float:
    """Rounded once. What is not finite is added as it comes."""
    return math.fsum(terms) if all(map(math.isfinite, terms)) else sum(terms)


def directed(rounding: str, near: Array, rest: Array) -> Array:
    """What is `near` to the nearest, and above it where rest > 0, rounded to zero ("rz"), down ("rm") or up ("rp")."""
    away = np.where(near < 0, rest > 0, rest < 0)  # whether near is farther from zero
    too_far = {"rz": away, "rm": rest < 0, "rp": rest > 0}[rounding]
    to = near.dtype.type({"rz": 0, "rm": -math.inf, "rp": math.inf}[rounding])
    return np.where(too_far & np.isfinite(near), np.nextafter(near, to), near)


def product(a: Array, b: Array) -> tuple[Array, ...]:
    """Float64 numbers whose sum is a b; exact but for the tiniest float64."""
    wide = a.astype("f8"), b.astype("f8")
    near = wide[0] * wide[1]
    return (near,) if a.dtype.itemsize == 4 else (near, fused(*wide, -near))


# By how much results differ from those to the nearest, or a positive multiple: numbers whose sum that is.
RESTS: dict[Callable[..., Array], Callable[..., tuple[Array, ...]]] = {
    np.add: lambda near, a, b: (a, b, -near),
    np.subtract: lambda near, a, b: (a, -b, -near),
    np.multiply: lambda near, a, b: (*product(a, b), -near),
    np.divide: lambda near, a, b: [np.sign(b) * x for x in (a, *product(-near, b))],
    np.reciprocal: lambda near, x: [np.sign(x) * y for y in (1.0, *product(-near, x))],
    np.sqrt: lambda near, x: (x, *product(-near, near)),
    fused: lambda near, a, b, c: (*product(a, b), c, -near),
    np.float32: lambda near, x: (x, -near),
}


def flushed(x: Array) -> Array:
    """Numbers too small to be normal ones as zeros of their sign."""
    return np.where(np.abs(x) < np.finfo(x.dtype).tiny, np.copysign(x.dtype.type(0), x), x)


def flushing(found: Meaning) -> Meaning:
    """The same of operands, and with results, that are flushed."""
    return found._replace(compute=lambda *given: flushed(found.compute(*map(flushed, given))))


def float_of(x: Array, dtype: str, rounding: str) -> Array:
    """Integers as floats."""
    near = x.astype(dtype)
    if rounding == "rn":
        return near
    low = x.dtype.type(0xFFFFFFFF) if x.dtype.itemsize == 8 else x.dtype.type(0)
    return directed(
        rounding, near, exact_sum((x & ~low).astype("f8"), (x & low).astype("f8"), -near.astype("f8"))
    )


def divided(a: Array, b: Array) -> Array:
    """Of integers, towards zero."""
    return (a - np.fmod(a, b)) // np.where(b == 0, 1, b).astype(a.dtype)


def high_product(a: Array, b: Array) -> Array:
    """The upper half of a product of integers."""
    if a.dtype.itemsize < 8:
        wide = a.dtype.kind + str(2 * a.dtype.itemsize)
        return (a.astype(wide) * b.astype(wide) >> 8 * a.dtype.itemsize).astype(a.dtype)
    exact = a.astype(object) * b.astype(object) >> 64
    return np.array(exact, dtype=object).astype(a.dtype)


def saturated(x: Array, dtype: str) -> Array:
    """Whole floating numbers as integers: what is too large becomes the largest; NaN is 0, of 64 bits the lowest."""
    to = np.dtype(dtype)
    limits = np.iinfo(to)
    low, high = x <= float(limits.min), x >= float(limits.max)
    found = np.where(low | high | np.isnan(x), 0, x).astype(to)
    of_nan = np.array(1 << 63, "u8").astype(to) if to.itemsize == 8 else to.type(0)
    return np.where(np.isnan(x), of_nan, np.where(low, limits.min, np.where(high, limits.max, found))).astype(
        to
    )


def within(x: Array, dtype: str) -> Array:
    """Integers, those that another dtype does not hold replaced by its nearest."""
    own, other = np.iinfo(x.dtype), np.iinfo(dtype)
    return np.clip(x, max(own.min, other.min), min(own.max, other.max))


def shifted(x: Array, by: Array, left: bool) -> Array:
    """Bits that leave are lost; a shift by more than there are shifts all."""
    bits = 8 * x.dtype.itemsize
    most = np.minimum(by, bits - 1).astype(x.dtype)
    found = x << most if left else x >> most
    gone = np.where(x < 0, -1, 0).astype(x.dtype) if not left and x.dtype.kind == "i" else x.dtype.type(0)
    return np.where(by >= bits, gone, found)


def inserted(a: Array, b: Array, start: Array, length: Array) -> Array:
    """b with `length` of the lowest bits of a in the place of those from `start` on."""
    one = b.dtype.type(1)
    length, start = length.astype(b.dtype), start.astype(b.dtype)
    mask = ((one << length) - one) << start
    return (b & ~mask) | ((a << start) & mask)


def signed_as(a: Array, b: Array) -> Array:
    """|b| with the sign of a."""
    return np.copysign(b, a)


def leading_zeros(x: Array) -> Array:
    """From the highest bit on."""
    bits, found = 8 * x.dtype.itemsize, np.zeros(x.shape, "u4")
    for bit in range(bits):
        found = np.where(x >> x.dtype.type(bit) != 0, np.uint32(bit + 1), found)
    return (np.uint32(bits) - found).astype("u4")


def counted_ones(x: Array) -> Array:
    """Bits that are set."""
    return np.bitwise_count(x).astype("u4")


def funnel(left: bool, wrap: bool) -> Callable[..., Array]:
    """Bits of a and, above them, b, shifted together: the upper 32 to the left, the lower 32 to the right."""

    def shift(a: Array, b: Array, by: Array) -> Array:
        both = a.astype("u8") | b.astype("u8") << np.uint64(32)
        n = (by & 31 if wrap else np.minimum(by, 32)).astype("u8")
        return (both << n >> np.uint64(32) if left else both >> n).astype("u4")

    return shift


def tf32(x: Array) -> Array:
    """float32 rounded to 11 bits, halves away from zero; as the bits of a register."""
    bits = np.ascontiguousarray(x).view("u4")
    rounded = (bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000)
    return np.where(np.isfinite(x), rounded, bits)


# --- instructions ----------------------------------------------------------------------------------------------------

_MAKERS: dict[str, Callable[..., Meaning]] = {}


def _named(*names: str) -> Callable:
    def decorate(make: Callable[..., Meaning]) -> Callable[..., Meaning]:
        _MAKERS.update(dict.fromkeys(names, make))
        return make

    return decorate


def _numbers(kind: str, count: int, compute: Callable[..., Any]) -> Meaning:
    dtype = DTYPES[kind]
    return Meaning((dtype,) * count, compute)


def _rounded(operate: Callable[..., Array], count: int) -> Callable[..., Meaning]:
    """To the nearest, or as the instruction says."""

    def make(*parts: str) -> Meaning:
        kind, way = parts[-1], next((part for part in parts if part in ("rz", "rm", "rp")), None)
        if way is None:
            return _numbers(kind, count, operate)

        def compute(*given: Array) -> Array:
            near = operate(*given)
            return directed(way, near, exact_sum(*RESTS[operate](near, *given)))

        return _numbers(kind, count, compute)

    return make


_MAKERS.update(add=_rounded(np.add, 2), sub=_rounded(np.subtract, 2), sqrt=_rounded(np.sqrt, 1))
for _name, _operate in {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}.items():
    _MAKERS[_name] = lambda kind, operate=_operate: _numbers(kind, 2, operate)
for _name, _function in {"abs": np.abs, "neg": np.negative, "not": np.invert}.items():
    _MAKERS[_name] = lambda *parts, function=_function: _numbers(parts[-1], 1, function)
_MAKERS.update(
    min=lambda *parts: _numbers(parts[-1], 2, np.fmin),
    max=lambda *parts: _numbers(parts[-1], 2, np.fmax),
    rem=lambda kind: _numbers(kind, 2, np.fmod),
    copysign=lambda kind: _numbers(kind, 2, signed_as),
    clz=lambda kind: _numbers(kind, 1, leading_zeros),
    popc=lambda kind: _numbers(kind, 1, counted_ones),
    shf=lambda way, more, kind: _numbers(kind, 3, funnel(way == "l", more == "wrap")),
    testp=lambda property, kind: _numbers(kind, 1, PROPERTIES[property]),
    rsqrt=lambda *parts: _numbers(parts[-1], 1, lambda x: (1 / np.sqrt(x)).astype(x.dtype)),
    lg2=lambda *parts: _numbers(parts[-1], 1, lambda x: np.log2(x.astype("f8")).astype(x.dtype)),
    shl=lambda kind: Meaning((DTYPES[kind], "u4"), lambda x, by: shifted(x, by, True)),
    shr=lambda kind: Meaning((DTYPES[kind], "u4"), lambda x, by: shifted(x, by, False)),
    selp=lambda kind: Meaning((DTYPES[kind], DTYPES[kind], "?"), lambda a, b, p: np.where(p, a, b)),
    bfi=lambda kind: Meaning((DTYPES[kind], DTYPES[kind], "u4", "u4"), inserted),
)


@_named("ex2")
def _ex2(*parts: str) -> Meaning:
    found = _numbers(parts[-1], 1, lambda x: np.exp2(x.astype("f8")).astype(x.dtype))
    return flushing(found) if "ftz" in parts else found


@_named("rcp")
def _rcp(*parts: str) -> Meaning:
    found = _rounded(np.reciprocal, 1)(*parts)
    return flushing(found) if "ftz" in parts else found


@_named("div")
def _div(*parts: str) -> Meaning:
    return _rounded(np.divide, 2)(*parts) if parts[-1][0] == "f" else _numbers(parts[-1], 2, divided)


@_named("mul")
def _mul(*parts: str) -> Meaning:
    kind = parts[-1]
    if "wide" in parts:
        wide = DTYPES[kind][0] + str(2 * np.dtype(DTYPES[kind]).itemsize)
        return _numbers(kind, 2, lambda a, b: a.astype(wide) * b.astype(wide))
    if "hi" in parts:
        return _numbers(kind, 2, high_product)
    return _rounded(np.multiply, 2)(*parts)


@_named("fma", "mad")
def _fma(*parts: str) -> Meaning:
    kind = parts[-1]
    if kind[0] != "f":
        multiplied = _mul(*parts).compute
        wide = "wide" in parts
        last = DTYPES[kind][0] + str(2 * np.dtype(DTYPES[kind]).itemsize) if wide else DTYPES[kind]
        return Meaning((DTYPES[kind], DTYPES[kind], last), lambda a, b, c: multiplied(a, b) + c)
    return _rounded(fused, 3)(*parts)


COMPARISONS: dict[str, Callable[..., Array]] = {
    "eq": np.equal, "ne": lambda a, b: (a < b) | (a > b), "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "lo": np.less, "ls": np.less_equal, "hi": np.greater, "hs": np.greater_equal,
    "equ": lambda a, b: ~((a < b) | (a > b)), "neu": np.not_equal, "ltu": lambda a, b: ~(a >= b),
    "leu": lambda a, b: ~(a > b), "gtu": lambda a, b: ~(a <= b), "geu": lambda a, b: ~(a < b),
    "num": lambda a, b: ~(np.isnan(a) | np.isnan(b)), "nan": lambda a, b: np.isnan(a) | np.isnan(b),
}  # fmt: skip


PROPERTIES: dict[str, Callable[[Array], Array]] = {
    "finite": np.isfinite, "infinite": np.isinf, "number": lambda x: ~np.isnan(x), "notanumber": np.isnan,
    "normal": lambda x: np.isfinite(x) & (x == flushed(x)),
    "subnormal": lambda x: ~np.isnan(x) & (x != flushed(x)),
}  # fmt: skip


@_named("setp")
def _setp(comparison: str, *parts: str) -> Meaning:
    compare, kind = COMPARISONS[comparison], DTYPES[parts[-1]]
    joined = next((part for part in parts if part in ("and", "or", "xor")), None)
    if joined is None:
        return Meaning((kind, kind), compare)
    join = {"and": np.logical_and, "or": np.logical_or, "xor": np.logical_xor}[joined]
    return Meaning((kind, kind, "?"), lambda a, b, p: join(compare(a, b), p))


ROUNDINGS: dict[str, Callable[[Array], Array]] = {
    "rni": np.rint, "rzi": np.trunc, "rmi": np.floor, "rpi": np.ceil
}  # fmt: skip


@_named("cvt")
def _cvt(*parts: str) -> Meaning:
    to, source = parts[-2:]
    if to == "tf32":
        return Meaning(("f4",), tf32)
    dtype, given = DTYPES[to], DTYPES[source]
    way = next((part for part in parts if part in ("rz", "rm", "rp")), "rn")
    if source[0] != "f":
        if to[0] == "f":
            return Meaning((given,), lambda x: float_of(x, dtype, way))
        return Meaning((given,), lambda x: (within(x, dtype) if "sat" in parts else x).astype(dtype))
    whole = next((ROUNDINGS[part] for part in parts if part in ROUNDINGS), lambda x: x)
    if to[0] != "f":
        return Meaning((given,), lambda x: saturated(whole(x), dtype))
    if "sat" in parts:
        return Meaning((given,), lambda x: np.clip(np.where(np.isnan(x), 0, whole(x)), 0, 1).astype(dtype))
    if (to, source) == ("f32", "f64"):
        return Meaning((given,), _rounded(np.float32, 1)(*parts).compute)
    return Meaning((given,), lambda x: whole(x).astype(dtype))


_ROUNDING, _SPACES = {"rn", "rz", "rm", "rp"}, {"param", "global", "const", "shared", "local"}
_BARRIER = {"sync", "aligned", "red", "or", "and", "warp"}
PARTS: dict[str, set[str]] = {  # of names, beside types, that are heeded, or change nothing here
    "add": _ROUNDING | {"cc"}, "sub": _ROUNDING | {"cc"}, "addc": {"cc"}, "subc": {"cc"},
    "mul": _ROUNDING | {"lo", "hi", "wide"}, "mad": _ROUNDING | {"lo", "hi", "wide", "cc"}, "madc": {"lo", "hi", "cc"},
    "fma": _ROUNDING, "div": _ROUNDING | {"approx", "full"}, "rcp": _ROUNDING | {"approx", "ftz"},
    "sqrt": _ROUNDING | {"approx"}, "rsqrt": {"approx"}, "ex2": {"approx", "ftz"}, "lg2": {"approx"},
    "cvt": _ROUNDING | ROUNDINGS.keys() | {"rna", "sat", "tf32"}, "setp": COMPARISONS.keys() | {"and", "or", "xor"},
    "shf": {"l", "r", "wrap", "clamp"}, "testp": PROPERTIES.keys(),
    "ld": _SPACES | {"nc", "v2", "v4"}, "st": _SPACES | {"v2", "v4"}, "cvta": {"to", "global"},
    "cp": {"async", "ca", "cg", "shared", "global", "commit_group", "wait_group", "wait_all"},
    "mma": {"sync", "aligned", "m16n8k8", "row", "col", "tf32"}, "bar": _BARRIER, "barrier": _BARRIER,
    "bra": {"uni"}, "ret": {"uni"}, "membar": {"cta", "gl", "sys"}, "fence": {"acq_rel", "sc", "cta", "gpu", "sys"},
}  # fmt: skip
