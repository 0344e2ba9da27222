"""The machine that executes PTX: what instructions compute, and that it sees every mistake that it is there to see."""

import math
import re
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from bench.ptx.arithmetic import UnknownError
from bench.ptx.driver import Device
from bench.ptx.machine import Launch, Tally, check_known, launch
from bench.ptx.memory import MachineError
from bench.ptx.text import parsed

HEAD = """
.version 8.0
.target sm_90
.address_size 64
.visible .shared .align 16 .b8 tile[1024];
.visible .entry work(
  .param .u64 work_param_0,
  .param .u64 work_param_1
)
{
  .reg .pred %p<4>;
  .reg .b16 %rs<4>;
  .reg .b32 %r<20>;
  .reg .f32 %f<20>;
  .reg .b64 %rd<20>;
  .reg .f64 %fd<8>;
  ld.param.u64 %rd1, [work_param_0];
  ld.param.u64 %rd2, [work_param_1];
  mov.u32 %r1, %tid.x;
  mov.u32 %r2, %ctaid.x;
  mov.u32 %r3, %ntid.x;
  mad.lo.s32 %r4, %r2, %r3, %r1;
  mul.wide.u32 %rd3, %r4, 8;
  add.s64 %rd4, %rd1, %rd3;   // the thread's place in the first array
  add.s64 %rd5, %rd2, %rd3;   // and in the second
  shl.b32 %r5, %r1, 2;        // and in shared memory
"""


def run(
    code: str, given: np.ndarray | None = None, threads: int = 32, blocks: int = 1, size: int | None = None
) -> np.ndarray:
    """What the code writes to the second array; numbers of both are 8 bytes each."""
    device = Device()
    given = np.arange(threads * blocks, dtype=np.int64) if given is None else given
    memory, result = device.to_device(given), device.device_array(8 * (size or threads * blocks))
    module = parsed(f"{HEAD}{code}\n  ret;\n}}\n")
    one = Launch(module, "work", (blocks, 1, 1), threads, [memory.address, result.address])
    launch(device.space, one, {})
    found = result.copy_to_host().view(np.int64)
    del memory, result
    return found


def compute(instructions: str, operands: Sequence[float | int], kind: str = "f64") -> float | int:
    """One thread's result %fd3 or %rd8 of %fd1, %fd2 or %rd6, %rd7."""
    bits = np.array(operands, "f8" if kind[0] == "f" else "i8").view("i8")
    names = "%fd1 %fd2 %fd3".split() if kind[0] == "f" else "%rd6 %rd7 %rd8".split()
    loads = "".join(f"ld.global.{kind} {name}, [%rd1+{8 * i}];" for i, name in enumerate(names[: len(bits)]))
    found = run(f"{loads} {instructions} st.global.{kind} [%rd2], {names[2]};", bits, threads=1, size=1)
    return found.view("f8" if kind[0] == "f" else "i8")[0].item()


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "operands", "expected"),
    [
        ("div.s64 %rd8, %rd6, %rd7;", (-7, 2), -3),
        ("rem.s64 %rd8, %rd6, %rd7;", (-7, 2), -1),
        ("shr.s64 %rd8, %rd6, 3;", (-9, 0), -2),
        ("shr.u64 %rd8, %rd6, 64;", (-9, 0), 0),
        ("add.cc.u64 %rd5, %rd6, %rd7; addc.u64 %rd8, %rd6, 0;", (-1, 1), 0),
        ("sub.cc.u64 %rd5, %rd6, %rd7; subc.u64 %rd8, %rd6, 0;", (0, 1), -1),
        ("mad.lo.cc.u64 %rd5, %rd6, %rd7, %rd6; madc.hi.u64 %rd8, %rd6, %rd7, 1;", (-1, -1), 0),
        ("mul.hi.s64 %rd8, %rd6, %rd7;", (-(1 << 62), 8), -2),
        ("mul.hi.u64 %rd8, %rd6, %rd7;", (-1, 2), 1),
        ("cvt.u32.u64 %r6, %rd6; cvt.s64.s32 %rd8, %r6;", (0xFFFFFFFE, 0), -2),
        ("cvt.u16.u64 %rs1, %rd6; cvt.u64.u8 %rd8, %rs1;", (0x1FF, 0), 0xFF),
        ("clz.b64 %r6, %rd6; cvt.u64.u32 %rd8, %r6;", (1, 0), 63),
        ("popc.b64 %r6, %rd6; cvt.u64.u32 %rd8, %r6;", (-2, 0), 63),
        ("mov.b64 {%r6, %r7}, %rd6; shf.l.wrap.b32 %r8, %r6, %r7, 36; cvt.u64.u32 %rd8, %r8;",
         (0x12345678_9ABCDEF0, 0), 0x23456789),
        ("mov.b64 {%r6, %r7}, %rd6; shf.r.clamp.b32 %r8, %r6, %r7, 36; cvt.u64.u32 %rd8, %r8;",
         (0x12345678_9ABCDEF0, 0), 0x12345678),
        ("ld.b64 %rd8, [%rd1+8];", (1, 2), 2),
        ("bfi.b64 %rd8, %rd6, %rd7, 4, 8;", (0xAB, 0), 0xAB0),
        ("mov.b64 {%r6, %r7}, %rd6; mov.b64 %rd8, {%r7, %r6};", (1 << 32, 0), 1),
        ("setp.lt.s64 %p1, %rd6, %rd7; selp.s64 %rd8, 5, 6, %p1;", (-1, 1), 5),
        ("setp.lo.u64 %p1, %rd6, %rd7; selp.s64 %rd8, 5, 6, %p1;", (-1, 1), 6),
        ("cvt.u32.u64 %r6, %rd6; add.cc.u32 %r7, %r6, %r6; addc.u32 %r8, 0, 0; cvt.u64.u32 %rd8, %r8;",
         (1 << 31, 0), 1),
        ("setp.eq.s64 %p1, %rd6, 1; { .reg .pred %p1; setp.eq.s64 %p1, %rd6, 0; } selp.s64 %rd8, 5, 6, %p1;",
         (1, 0), 5),
        ("cvt.rz.f64.s64 %fd1, %rd6; cvt.rzi.s64.f64 %rd8, %fd1;", ((1 << 60) - 1, 0), (1 << 60) - 128),
        ("cvt.rm.f32.s64 %f1, %rd6; cvt.rzi.s64.f32 %rd8, %f1;", (-(1 << 30) - 1, 0), -(1 << 30) - 128),
        ("cvt.sat.u8.s64 %rs1, %rd6; cvt.u64.u16 %rd8, %rs1;", (300, 0), 255),
        ("cvt.sat.u8.s64 %rs1, %rd6; cvt.u64.u16 %rd8, %rs1;", (-300, 0), 0),
        ("cvt.rn.f64.u64 %fd1, %rd6; cvt.rzi.u64.f64 %rd8, %fd1;", ((1 << 60) - 1, 0), 1 << 60),
        ("mov.b32 %r6, 0f3F800000; cvt.u64.u32 %rd8, %r6;", (0, 0), 0x3F800000),
        ("mov.u64 %rd8, 3; setp.eq.s64 %p1, %rd6, 0; @!%p1 mov.u64 %rd8, 4;", (0, 0), 3),
    ],
)  # fmt: skip
def test_integers(code: str, operands: tuple[int, int], expected: int) -> None:
    assert compute(code, operands, "u64") == expected


@pytest.mark.parametrize(
    ("code", "operands", "expected"),
    [
        ("fma.rn.f64 %fd3, %fd1, %fd1, %fd2;", (1 + 2**-30, -(1 + 2**-29)), 2.0**-60),
        ("cvt.rn.f32.f64 %f1, %fd1; fma.rn.f32 %f2, %f1, %f1, 0fBF800000; cvt.f64.f32 %fd3, %f2;",
         (1 + 2**-20, 0), 2**-19 + 2**-40),
        ("min.f64 %fd3, %fd1, %fd2;", (math.nan, 2), 2),
        ("testp.infinite.f64 %p1, %fd1; selp.f64 %fd3, %fd1, %fd2, %p1;", (-math.inf, 2), -math.inf),
        ("testp.subnormal.f64 %p1, %fd1; selp.f64 %fd3, %fd1, %fd2, %p1;", (1e-310, 2), 1e-310),
        ("testp.normal.f64 %p1, %fd1; selp.f64 %fd3, %fd1, %fd2, %p1;", (1e-310, 2), 2),
        ("testp.normal.f64 %p1, %fd1; selp.f64 %fd3, %fd2, %fd1, %p1;", (0, 2), 2),
        ("cvt.rni.s64.f64 %rd8, %fd1; cvt.rn.f64.s64 %fd3, %rd8;", (2.5, 0), 2),
        ("cvt.rzi.s64.f64 %rd8, %fd1; cvt.rn.f64.s64 %fd3, %rd8;", (1e300, 0), 2.0**63),
        ("cvt.rmi.f64.f64 %fd3, %fd1;", (-2.5, 0), -3),
        ("cvt.rn.f32.f64 %f1, %fd1; cvt.sat.f32.f32 %f2, %f1; cvt.f64.f32 %fd3, %f2;", (1.5, 0), 1),
        ("cvt.rn.f32.f64 %f1, %fd1; add.rz.f32 %f2, %f1, 0f33800000; cvt.f64.f32 %fd3, %f2;",
         (1 + 2**-23, 0), 1 + 2**-23),
        ("cvt.rn.f32.f64 %f1, %fd1; sqrt.rp.f32 %f2, %f1; cvt.f64.f32 %fd3, %f2;", (1 + 2**-23, 0), 1 + 2**-23),
        ("cvt.rp.f32.f64 %f1, %fd1; cvt.f64.f32 %fd3, %f1;", (1 + 2**-40, 0), 1 + 2**-23),
        ("add.rp.f64 %fd3, %fd1, %fd2;", (1, 2**-80), 1 + 2**-52),
        ("sub.rz.f64 %fd3, %fd1, %fd2;", (-1, -(2**-80)), -1 + 2**-53),
        ("mul.rp.f64 %fd3, %fd1, %fd1;", (1 + 2**-30, 0), 1 + 2**-29 + 2**-52),
        ("fma.rm.f64 %fd3, %fd1, %fd1, %fd2;", (2**-80, -1), -1),
        ("fma.rp.f64 %fd3, %fd1, %fd1, %fd2;", (2**-80, -1), -1 + 2**-53),
        ("div.rp.f64 %fd3, %fd1, %fd2;", (1, -3), -1 / 3 + 2**-54 * (-1 / 3 < -Fraction(1, 3))),
        ("rcp.rm.f64 %fd3, %fd1;", (3, 0), 1 / 3 - 2**-54 * (1 / 3 > Fraction(1, 3))),
        ("cvt.rn.f32.f64 %f1, %fd1; ex2.approx.ftz.f32 %f2, %f1; cvt.f64.f32 %fd3, %f2;", (-130, 0), 0),
        ("cvt.rn.f32.f64 %f1, %fd1; ex2.approx.f32 %f2, %f1; cvt.f64.f32 %fd3, %f2;", (-130, 0), 2.0**-130),
        ("copysign.f64 %fd3, %fd1, %fd2;", (-0.0, 3), -3),
        ("setp.geu.f64 %p1, %fd1, %fd2; selp.f64 %fd3, %fd2, %fd1, %p1;", (math.nan, 2), 2),
        ("setp.ne.f64 %p1, %fd1, %fd2; selp.f64 %fd3, 0d3FF0000000000000, %fd2, %p1;", (math.nan, 2), 2),
    ],
)  # fmt: skip
def test_floats(code: str, operands: tuple[float, float], expected: float) -> None:
    assert compute(code, operands) == expected


@pytest.mark.parametrize(
    "code",
    [
        "brev.b32 %r6, %r7;", "min.NaN.f32 %f1, %f2, %f3;", "fma.rn.ftz.f32 %f1, %f2, %f3, %f4;",
        "add.sat.f32 %f1, %f2, %f3;", "mul24.lo.u32 %r6, %r7, %r8;", "bar.red.popc.u32 %r6, 0, %p1;",
        "setp.eq.s32 %p1|%p2, %r6, %r7;", "ld.volatile.global.u32 %r6, [%rd1];", "red.global.add.u32 [%rd1], %r7;",
        "cvta.to.shared.u64 %rd6, %rd1;", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 %f1, %f2, %f3, %f4;",
    ],
)  # fmt: skip
def test_what_is_not_known_is_named_before_anything_is_executed(code: str) -> None:
    module = parsed(f"{HEAD} bra END; {code} END: ret; }}\n")
    with pytest.raises(UnknownError, match=re.escape(code.rstrip(";"))):
        check_known(module)


def test_threads_that_leave_or_pass_under_a_condition() -> None:
    code = """
      mov.u64 %rd6, 7;
      setp.lt.u32 %p1, %r1, 10;
      st.global.u64 [%rd5], %rd6;
      @%p1 ret;
      setp.lt.u32 %p2, %r1, 20;
      @!%p2 bar.sync 0;
      st.global.u64 [%rd5], %rd3;
      @%p2 bar.sync 0;"""
    with pytest.raises(MachineError, match="different barriers"):
        run(code, threads=32)
    expected = [7] * 10 + [8 * thread for thread in range(10, 32)]
    np.testing.assert_array_equal(run(code.replace("@!%p2 bar.sync 0;", ""), threads=32), expected)


def test_threads_that_part_meet_again() -> None:
    code = """
      mov.u64 %rd6, 0;
    LOOP:
      add.s64 %rd6, %rd6, 2;
      cvt.u32.u64 %r6, %rd6;
      setp.lt.u32 %p1, %r6, %r1;
      @%p1 bra LOOP;
      and.b32 %r7, %r1, 1;
      setp.eq.s32 %p2, %r7, 1;
      @%p2 bra ODD;
      add.s64 %rd6, %rd6, 100;
    ODD:
      bar.sync 0;
      st.global.u64 [%rd5], %rd6;"""
    expected = [max(2, (t + 1) // 2 * 2) + 100 * (t % 2 == 0) for t in range(40)]
    np.testing.assert_array_equal(run(code, threads=40, blocks=3), expected * 3)


def test_functions_are_called() -> None:
    function = """
      .func (.param .b64 twice_retval) twice (.param .b64 twice_param_0)
      { .reg .b64 %rd<3>; ld.param.u64 %rd1, [twice_param_0]; shl.b64 %rd2, %rd1, 1;
        st.param.u64 [twice_retval+0], %rd2; ret; }"""
    call = """
      { .param .b64 param0; st.param.u64 [param0+0], %rd3; .param .b64 retval0;
        call.uni (retval0), twice, (param0); ld.param.u64 %rd6, [retval0+0]; }
      st.global.u64 [%rd5], %rd6;"""
    device = Device()
    result = device.device_array(64)
    module = parsed(function + HEAD + call * 2 + " ret; }")
    launch(device.space, Launch(module, "work", (1, 1, 1), 8, [0, result.address]), {})
    np.testing.assert_array_equal(result.copy_to_host().view(np.int64), 16 * np.arange(8))


def test_shared_memory_is_exchanged() -> None:
    code = """
      mov.u32 %r6, tile; add.s32 %r7, %r6, %r5; st.shared.u32 [%r7], %r1;
      bar.sync 0;
      xor.b32 %r8, %r5, 4; add.s32 %r9, %r6, %r8; ld.shared.u32 %r10, [%r9];
      cvt.u64.u32 %rd6, %r10; st.global.u64 [%rd5], %rd6;"""
    np.testing.assert_array_equal(run(code, blocks=2), [t ^ 1 for t in range(32)] * 2)


def test_barrier_that_reduces() -> None:
    code = """
      setp.eq.s32 %p1, %r4, 37; bar.red.or.pred %p2, 0, %p1;
      selp.s64 %rd6, 1, 0, %p2; st.global.u64 [%rd5], %rd6;"""
    np.testing.assert_array_equal(run(code, blocks=2), [0] * 32 + [1] * 32)


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ("ld.global.u64 %rd6, [%rd4+8]; st.global.u64 [%rd5], %rd6;", "outside of all allocations"),
        ("st.global.u64 [%rd5+-8], %rd3;", "outside of all allocations"),
        ("ld.global.u64 %rd6, [%rd3];", "outside of all memory"),
        ("add.s64 %rd5, %rd5, 4; st.global.u64 [%rd5], %rd3;", "on no multiple of 8"),
        ("ld.global.u64 %rd6, [%rd5];", "reads what nobody has written"),
        ("st.global.u64 [%rd2], %rd3;", "writes where another thread is"),
        ("ld.global.u64 %rd6, [%rd1]; st.global.u64 [%rd4], %rd3;", "writes where another thread is"),
        ("st.global.u64 [%rd4], %rd3; ld.global.u64 %rd6, [%rd1];", "reads where another thread writes"),
        ("mov.u32 %r6, tile; add.s32 %r7, %r6, %r5; ld.shared.u32 %r8, [%r7];", "reads what nobody has written"),
        ("mov.u32 %r6, tile; add.s32 %r7, %r6, %r5; st.shared.u32 [%r7+1000], %r1;", "leaves shared memory"),
        ("mov.u32 %r6, tile; add.s32 %r7, %r6, %r5; st.shared.u32 [%r7], %r1; ld.shared.u32 %r8, [tile];",
         "reads where another thread writes"),
        ("setp.lt.u32 %p1, %r1, 5; @%p1 bra END; bar.sync 0; bra.uni END2; END: bar.sync 0; END2: mov.u32 %r6, 0;",
         "different barriers"),
    ],
)  # fmt: skip
def test_mistakes_are_seen(code: str, complaint: str) -> None:
    with pytest.raises(MachineError, match=complaint):
        run(code)


def test_barriers_order_threads_of_a_block_only() -> None:
    code = "st.global.u64 [%rd4], %rd3; bar.sync 0; ld.global.u64 %rd6, [%rd1]; st.global.u64 [%rd5], %rd6;"
    np.testing.assert_array_equal(run(code), np.zeros(32))
    with pytest.raises(MachineError, match="reads where another thread writes"):
        run(code, blocks=2)


COPY = """
  mov.u32 %r6, tile; shl.b32 %r7, %r1, 3; add.s32 %r7, %r7, %r6; xor.b32 %r8, %r7, 8;
  cp.async.ca.shared.global [%r7], [%rd4], 8, 8;
  cp.async.commit_group;
"""
USE = "ld.shared.u64 %rd6, [{}]; st.global.u64 [%rd5], %rd6;"


def test_copies_arrive_when_they_are_waited_for() -> None:
    found = run(f"{COPY} cp.async.wait_group 0; bar.sync 0; {USE.format('%r8')}")
    np.testing.assert_array_equal(found, [t ^ 1 for t in range(32)])
    partly = COPY.replace("8, 8;", "8, 4;")
    given = np.full(32, 5 + (7 << 32))
    np.testing.assert_array_equal(
        run(f"{partly} cp.async.wait_group 0; {USE.format('%r7')}", given), [5] * 32
    )


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        (f"{COPY} bar.sync 0; {USE.format('%r8')}", "copy that is on its way"),
        (f"{COPY} cp.async.wait_group 1; bar.sync 0; {USE.format('%r8')}", "copy that is on its way"),
        (f"{COPY} cp.async.wait_group 0; {USE.format('%r8')}", "reads where another thread writes"),
        (
            f"{COPY} cp.async.wait_group 0; bar.sync 0; {USE.format('%r8')} {COPY}",
            "writes where another thread is",
        ),
        (COPY.replace("[%rd4], 8, 8", "[%rd4], 16, 16"), "on no multiple of 16"),
    ],
)
def test_copies_too_early_are_seen(code: str, complaint: str) -> None:
    with pytest.raises(MachineError, match=complaint):
        run(code)


def test_tensor_cores_want_whole_warps() -> None:
    a, c = "{%r6, %r6, %r6, %r6}", "{%f5, %f5, %f5, %f5}"
    product = (
        f"mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {{%f1, %f2, %f3, %f4}}, {a}, {{%r6, %r6}}, {c};"
    )
    run(product)
    with pytest.raises(MachineError, match="part of a warp"):
        run(f"setp.lt.u32 %p1, %r1, 31; @!%p1 bra END; {product} END: mov.u32 %r7, 0;")


def test_unknown_instructions_are_named() -> None:
    with pytest.raises(UnknownError, match=r"brev\.b32 %r6, %r1"):
        run("brev.b32 %r6, %r1;")


# --- what is counted -------------------------------------------------------------------------------------------------


def tally(code: str, given: np.ndarray, size: int) -> Tally:
    """What a warp did after the addresses were computed."""
    device, found = Device(), Tally()
    memory, result = device.to_device(given), device.device_array(8 * size)
    module = parsed(f"{HEAD}{code}\n  ret;\n}}\n")
    one = Launch(module, "work", (1, 1, 1), 32, [memory.address, result.address])
    launch(device.space, one, {}, found)
    return found


@pytest.mark.parametrize(("apart", "sectors"), [(8, 8), (32, 32), (64, 32), (0, 1)])
def test_sectors_of_global_memory_are_counted(apart: int, sectors: int) -> None:
    given = np.zeros(32 * 8, np.int64)
    found = tally(
        f"mul.wide.u32 %rd6, %r1, {apart}; add.s64 %rd7, %rd1, %rd6; ld.global.u64 %rd8, [%rd7];", given, 1
    )
    assert (found.sectors, found.wanted) == (sectors, 32 * 8 if apart else 8)
    assert found.steps["ld"] == 3  # two of them parameters
    assert found.steps["mul"] == 2


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("mov.u32 %r5, 3;", 0), ("add.s32 %r5, %r1, %r2;", 1), ("add.s64 %rd6, %rd1, %rd2;", 2),
        ("setp.lt.s64 %p1, %rd1, %rd2;", 2), ("mad.wide.s32 %rd6, %r1, %r2, %rd1;", 1),
        ("mul.lo.s64 %rd6, %rd1, %rd2;", 4), ("fma.rn.f32 %f1, %f2, %f3, %f1;", 1), ("div.u32 %r5, %r3, %r3;", 16),
        ("div.s64 %rd6, %rd1, %rd1;", 42), ("sqrt.rn.f64 %fd1, %fd2;", 20), ("cvt.rna.tf32.f32 %r5, %f1;", 2),
    ],
)  # fmt: skip
def test_instructions_are_weighed(code: str, expected: int) -> None:
    """Each as many instructions of a device as it becomes there, about."""
    given = np.zeros(32, np.int64)
    assert tally(code, given, 1).cost - tally("", given, 1).cost == expected


@pytest.mark.parametrize(
    ("code", "turns", "least"),
    [
        ("shl.b32 %r6, %r1, 2; st.shared.u32 [%r6], 0;", 1, 1),
        ("shl.b32 %r6, %r1, 3; st.shared.u32 [%r6], 0;", 2, 1),  # every second bank
        ("setp.lt.u32 %p1, %r1, 8; shl.b32 %r6, %r1, 7; @%p1 st.shared.u32 [%r6], 0;", 8, 1),  # one bank
        ("shl.b32 %r6, %r1, 4; st.shared.v4.u32 [%r6], {0, 0, 0, 0};", 4, 4),
        (
            "setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [tile], 0; bar.sync 0; ld.shared.u32 %r6, [tile];",
            2,
            2,
        ),
    ],
)
def test_conflicts_of_banks_are_counted(code: str, turns: int, least: int) -> None:
    found = tally(code, np.zeros(32, np.int64), 1)
    assert (found.turns, found.least) == (turns, least)


# --- streams ---------------------------------------------------------------------------------------------------------


def test_a_copy_from_pinned_memory_reads_it_late() -> None:
    device = Device()
    work, copies, mark = device.stream(), device.stream(), device.event()
    host, there = device.pinned_array(8, np.uint8), device.device_array(8)
    host[:] = 1
    device.cuMemcpyAsync(there.address, host.ctypes.data, 8, copies.handle)
    host[:] = 2  # before the copy was done
    mark.record(copies)
    mark.wait(work)
    back = device.pinned_array(8, np.uint8)
    device.cuMemcpyAsync(back.ctypes.data, there.address, 8, work.handle)
    assert back.sum() == 0
    work.synchronize()
    assert back.sum() == 16


def test_graphs_are_what_was_captured() -> None:
    device = Device()
    work, there = device.stream(), device.to_device(np.zeros(8, np.uint8))
    host = device.pinned_array(8, np.uint8)
    device.cuStreamBeginCapture(work.handle, 2)
    device.cuMemcpyAsync(there.address, host.ctypes.data, 8, work.handle)
    _, graph = device.cuStreamEndCapture(work.handle)
    for number in (3, 4):
        host[:] = number
        device.cuGraphLaunch(graph, work.handle)
        assert there.copy_to_host().sum() == 8 * number


def test_memory_is_given_back() -> None:
    device = Device()
    first, second = device.device_array(1000), device.device_array(1000)
    address = first.address
    del first
    assert device.device_array(900).address == address
    with pytest.raises(MachineError, match="leaves the allocation"):
        device.space.part(second.address, 2000)
    with pytest.raises(MemoryError, match="is full"):
        device.device_array(1 << 40)
