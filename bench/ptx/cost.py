"""What instructions of PTX cost a device: about how many of its own it executes for one of them.

A device computes in 32 bits. Of integers of 64 bits, sums take two instructions and products four, divisions a
subroutine; copies between registers are renamed away. Read off the machine code for Hopper (`nvdisasm`).
"""

from bench.ptx.text import Instruction

FREE = {"mov", "cvta", "ret"}  # and `ld.param`, whose operands instructions read themselves
SUBROUTINES = {"u32": 16, "s32": 20, "u64": 30, "s64": 42, "f32": 9, "f64": 20}  # division, remainder, root
WIDE = {"b64", "s64", "u64"}


def cost(one: Instruction) -> int:
    """Of an instruction, for a warp."""
    kind = one.parts[-1] if one.parts else ""
    if one.name in FREE or (one.name == "ld" and one.parts[0] == "param"):
        return 0
    if one.name in {"div", "rem", "sqrt", "rsqrt"} and "approx" not in one.parts:
        return SUBROUTINES.get(kind, 9)
    if one.name == "cvt":
        return 2 if "tf32" in one.parts else 1
    if one.name in {"ld", "st", "cp", "mma", "bra", "bar"} or kind not in WIDE:
        return 1
    if one.name in {"mul", "mad"}:
        return 1 if "wide" in one.parts else 4
    return 2
