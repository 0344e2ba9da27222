"""Execution of a kernel: a grid of blocks, whose threads go through instructions together as far as they agree.

Threads that took another way wait at theirs; those furthest behind go on. That brings them together again where ways
meet, as compilers lay code out in that order. Copies to shared memory that are asynchronous happen as late as they
may, when their thread waits for them, so that whoever looks too early sees that nothing is there.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bench.ptx.arithmetic import DTYPES, UnknownError, check_parts, high_product, meaning
from bench.ptx.cost import cost
from bench.ptx.memory import EMPTY, FILLED, FREE, Cells, MachineError, Space, Threads, words
from bench.ptx.text import Instruction, Module

Array = np.ndarray
WARP, MOST_LANES, LARGEST = 32, 1 << 15, 1 << 30
Grid = tuple[int, int, int]


class Launch(NamedTuple):
    """A kernel, how many blocks of how many threads execute it, and its parameters, of 64 bits each."""

    module: Module
    kernel: str
    blocks: Grid
    threads: int
    parameters: Sequence[int]


class Tally:
    """What warps of a kernel did: how often each instruction, and how memory answered them.

    A request of a warp moves `sectors` of 32 bytes of global memory, of which it wants `wanted` bytes; of shared memory
    it takes as many `turns` as one bank has to answer, where `least` would do if its words were spread evenly.
    """

    def __init__(self) -> None:
        self.launches = 0
        self.steps = Counter[str]()
        self.cost = 0  # in instructions of a device, about
        self.sectors = self.wanted = self.turns = self.least = 0

    def touch_global(self, at: Array, size: int, lanes: Array) -> None:
        """Accesses of `size` bytes at addresses, by these lanes."""
        warps = lanes // WARP << 48
        self.sectors += np.unique(warps + at // 32).size
        self.wanted += np.unique(warps + at).size * size

    def touch_shared(self, at: Array, size: int, lanes: Array) -> None:
        """The same of shared memory."""
        each = max(size // 4, 1)
        words = (at // 4)[:, None] + np.arange(each)
        warps = np.repeat(lanes // WARP, each).reshape(words.shape)
        several = np.unique((warps << 32) + words)
        warp, first = np.unique(several >> 32, return_inverse=True)
        banks = np.zeros((warp.size, 32), np.int64)
        np.add.at(banks, (first, several % 32), 1)
        self.turns += int(banks.max(1, initial=0).sum())
        self.least += int((-(-banks.sum(1) // 32)).sum())


def check_known(module: Module) -> None:
    """Make every instruction of every kernel ready, and execute none; an `UnknownError` names one that is not known."""
    for kernel, body in module.kernels.items():
        one = Launch(module, kernel, (1, 1, 1), WARP, [0] * len(body.parameters))
        Blocks(Space(), one, dict.fromkeys(module.variables, 0), 0, 1, None)


def launch(space: Space, one: Launch, addresses: dict[str, int], tally: Tally | None = None) -> None:
    """Execute a kernel. addresses: where the module's own variables are. tally: takes down what is done."""
    total = one.blocks[0] * one.blocks[1] * one.blocks[2]
    if tally:
        tally.launches += 1
    space.cells.begin(total, one.threads)
    at_once = max(1, MOST_LANES // one.threads)
    for first in range(0, total, at_once):
        Blocks(space, one, addresses, first, min(at_once, total - first), tally).run()


class Copy(NamedTuple):
    """Asynchronous copies of some threads: to places in shared memory, from addresses, of so many of `size` bytes."""

    lanes: Array
    groups: Array
    to: Array
    source: Array
    given: Array
    size: int


def shortened(x: Array) -> Array:
    """What tensor cores read of float32: the 11 upper bits of the significand."""
    return (x.astype("f4").view("u4") & np.uint32(0xFFFFE000)).view("f4").astype("f8")


def space_of(one: Instruction) -> str:
    """The space that an access is to. One that names none is to global memory: nothing here makes other addresses."""
    return one.parts[0] if one.parts[0] not in DTYPES and one.parts[0][0] != "v" else "global"


class Blocks:
    """Some blocks of a grid, in execution."""

    def __init__(
        self,
        space: Space,
        one: Launch,
        addresses: dict[str, int],
        first: int,
        count: int,
        tally: Tally | None,
    ):
        self.space, self.body, self.launch, self.tally = space, one.module.kernels[one.kernel], one, tally
        self.lanes = np.arange(count * one.threads)
        self.block = np.repeat(np.arange(first, first + count), one.threads)
        self.number = self.lanes + first * one.threads
        self.epoch = np.zeros(count, np.int32)
        self.first, self.count = first, count
        self.pc = np.zeros(self.lanes.size, np.int64)
        self.waits = np.zeros(self.lanes.size, bool)
        self.asked = np.zeros(self.lanes.size, bool)  # what threads bring to a barrier that reduces
        self.registers: dict[str, Array] = dict(self._special())
        for name, kind in self.body.registers.items():
            self.registers[name] = np.zeros(1, kind)
        self.parameters: dict[str, Array] = {}
        for name, value in zip(self.body.parameters, one.parameters, strict=True):
            self.parameters[f"{name}+0"] = np.array([value], "u8")
        self._lay_out(addresses)
        self.carry = np.zeros(1, bool)
        self.group = np.zeros(self.lanes.size, np.int64)  # of copies that a thread is adding to
        self.copies: list[Copy] = []
        self.on_way = np.full((count, self.shared.shape[1]), -1, np.int32)  # whose copy a byte waits for
        self.steps = [self._step(instruction) for instruction in self.body.code]
        self.costs = [cost(instruction) for instruction in self.body.code]

    def _special(self) -> dict[str, Array]:
        x, y, _ = self.launch.blocks
        numbers = {
            "%tid.x": self.lanes % self.launch.threads, "%ctaid.x": self.block % x, "%ctaid.y": self.block // x % y,
            "%ctaid.z": self.block // (x * y), "%laneid": self.lanes % self.launch.threads % WARP,
        }  # fmt: skip
        sizes = dict(zip(("%nctaid.x", "%nctaid.y", "%nctaid.z"), self.launch.blocks, strict=True))
        sizes["%ntid.x"] = self.launch.threads
        none = dict.fromkeys(("%tid.y", "%tid.z"), 0) | dict.fromkeys(("%ntid.y", "%ntid.z"), 1)
        return {name: np.atleast_1d(np.asarray(n, "u4")) for name, n in {**numbers, **sizes, **none}.items()}

    def _lay_out(self, addresses: dict[str, int]) -> None:
        """Give every variable its place in its space."""
        self.addresses, sizes = dict(addresses), {"shared": 0, "local": 0}
        for name, variable in {**self.launch.module.variables, **self.body.variables}.items():
            if variable.space in sizes:
                start = -(-sizes[variable.space] // variable.align) * variable.align
                self.addresses[name], sizes[variable.space] = start, start + variable.size
        self.shared = np.zeros((self.count, max(sizes["shared"], 1)), np.uint8)
        self.local = np.zeros((self.lanes.size, max(sizes["local"], 1)), np.uint8)
        self.cells = Cells(self.shared.size)
        self.cells.state[:] = EMPTY
        self.cells.begin(self.count, self.launch.threads)

    # --- the order of execution --------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until all threads have left."""
        with np.errstate(all="ignore"):
            while self._go_on():
                pass

    def _go_on(self) -> bool:
        """Let the threads that are furthest behind work until they wait, leave, or reach others."""
        places = np.where(self.waits, LARGEST, self.pc)
        place = int(places.min())
        if place >= LARGEST:
            if self.waits.any():
                raise MachineError("threads wait at a barrier that others of their block have not reached")
            return False
        mask: Array | None = places == place
        rest = places[~mask]
        limit = int(rest.min()) if rest.size else LARGEST
        mask = mask if rest.size else None
        warps = self._warps(mask) if self.tally else 0
        while place is not None and place < limit:
            if self.tally:
                self.tally.steps[self.body.code[place].name] += warps
                self.tally.cost += warps * self.costs[place]
            place = self.steps[place](mask, place)
        if place is not None:
            self.pc[self._who(mask)] = place
        return True

    def _warps(self, mask: Array | None) -> int:
        if mask is None:
            return self.lanes.size // WARP
        return int(np.add.reduceat(mask, np.arange(0, mask.size, WARP)).astype(bool).sum())

    def _who(self, mask: Array | None) -> Array:
        return self.lanes if mask is None else np.flatnonzero(mask)

    def _threads(self, mask: Array | None) -> Threads:
        lanes = self._who(mask)
        blocks = self.block[lanes]
        return Threads(lanes, self.number[lanes], blocks, self.epoch[blocks - self.first])

    # --- operands ----------------------------------------------------------------------------------------------------

    def _reader(self, operand: str, dtype: str) -> Callable[[], Array]:
        """What reads an operand, as an array of one element or of one a thread."""
        kind, registers = np.dtype(dtype), self.registers
        if operand in registers:
            own = registers[operand].dtype
            if own == kind:
                return lambda: registers[operand]
            if own.itemsize == kind.itemsize:
                return lambda: registers[operand].view(kind)
            unsigned = f"u{kind.itemsize}"
            return lambda: registers[operand].astype(unsigned).view(kind)
        constant = self._constant(operand, kind)
        return lambda: constant

    def _constant(self, operand: str, kind: np.dtype) -> Array:
        if operand in self.addresses:
            return np.array([self.addresses[operand]], kind)
        if operand[:2] in ("0f", "0d"):  # its bits, which may be wanted as an integer
            return np.array([int(operand[2:], 16)], {"f": "u4", "d": "u8"}[operand[1]]).view(kind)
        if kind.kind == "b":
            return np.array([int(operand) != 0])
        number = int(operand.rstrip("U"), 0) % (1 << 8 * kind.itemsize)
        return np.array([number], f"u{kind.itemsize}").view(kind)

    def _write(self, register: str, value: Array, mask: Array | None) -> None:
        """Give the threads a value, extended to the size of the register."""
        old = self.registers[register]
        if value.dtype != old.dtype:
            wider = (
                value.astype(f"{value.dtype.kind}{old.dtype.itemsize}") if old.dtype.kind != "b" else value
            )
            value = np.ascontiguousarray(wider).view(old.dtype)
        self.registers[register] = value if mask is None else np.where(mask, value, old)

    # --- instructions ------------------------------------------------------------------------------------------------

    def _step(self, one: Instruction) -> Callable[[Array | None, int], int | None]:
        """What executes an instruction for the threads of a mask, and says where they go."""
        check_parts(one)
        if one.name in ("bra", "ret", "exit", "bar", "barrier"):
            return self._flow(one)
        act = self._action(one)
        if not one.guard:

            def step(mask: Array | None, place: int) -> int:
                act(mask)
                return place + 1

            return step

        def guarded(mask: Array | None, place: int) -> int:
            holds = self._guard(one, mask)
            if holds.any():
                act(None if holds.all() else holds)
            return place + 1

        return guarded

    def _guard(self, one: Instruction, mask: Array | None) -> Array:
        holds = np.broadcast_to(self.registers[one.guard] != one.unless, self.lanes.shape)
        return holds if mask is None else holds & mask

    def _flow(self, one: Instruction) -> Callable[[Array | None, int], int | None]:
        if one.name == "bra":
            target = self.body.labels[one.operands[-1]]
            return (
                (lambda mask, place: self._branch(one, target, mask, place))
                if one.guard
                else (lambda *_: target)
            )
        if one.name in ("ret", "exit"):
            return lambda mask, place: self._leave(one, mask, place)
        return lambda mask, place: self._barrier(one, mask, place)

    def _branch(self, one: Instruction, target: int, mask: Array | None, place: int) -> int | None:
        holds = self._guard(one, mask)
        count = np.count_nonzero(holds)
        if count == 0:
            return place + 1
        if count == (self.lanes.size if mask is None else np.count_nonzero(mask)):
            return target
        self.pc[self._who(mask)] = place + 1
        self.pc[holds] = target
        return None

    def _taking(self, one: Instruction, mask: Array | None, place: int) -> Array:
        """Those whose guard holds; the others go on."""
        self.pc[self._who(mask)] = place + 1
        return self._who(self._guard(one, mask) if one.guard else mask)

    def _leave(self, one: Instruction, mask: Array | None, place: int) -> None:
        self.pc[self._taking(one, mask, place)] = LARGEST
        self._release()

    def _barrier(self, one: Instruction, mask: Array | None, place: int) -> None:
        """Threads wait until all of their block that have not left are here."""
        who = self._taking(one, mask, place)
        if "warp" not in one.parts:
            self.waits[who], self.pc[who] = True, place
            if one.parts[:1] == ("red",):
                given = np.broadcast_to(self.registers[one.operands[-1]], self.lanes.shape)
                self.asked[who] = given[who]
            self._release()

    def _release(self) -> None:
        """Let blocks go on of which all threads wait."""
        threads = self.launch.threads
        here = (self.waits | (self.pc >= LARGEST)).reshape(self.count, threads)
        whole = here.all(1) & self.waits.reshape(self.count, threads).any(1)
        if not whole.any():
            return
        go = np.repeat(whole, threads) & self.waits
        for place in np.unique(self.pc[go]):
            there = go & (self.pc == place)
            blocks = there.reshape(self.count, threads).any(1)
            if (blocks & (go & (self.pc != place)).reshape(self.count, threads).any(1)).any():
                raise MachineError(
                    f"threads of a block wait at different barriers: {self.body.code[place].text}"
                )
            self._reduce(self.body.code[place], there)
        self.epoch[whole] += 1
        self.pc[go] += 1
        self.waits[go] = False

    def _reduce(self, one: Instruction, there: Array) -> None:
        if one.parts[:1] == ("red",):
            asked, which = self.asked.reshape(self.count, -1), there.reshape(self.count, -1)
            found = {"or": (asked & which).any(1), "and": (asked | ~which).all(1)}[one.parts[1]]
            self._write(one.operands[0], np.repeat(found, self.launch.threads), there)

    def _action(self, one: Instruction) -> Callable[[Array | None], None]:
        """What executes an instruction that goes on to the next."""
        special = {
            "ld": self._load, "st": self._store, "mov": self._move, "cvta": self._as_it_is, "cp": self._copy,
            "mma": self._multiply, "membar": self._nothing, "fence": self._nothing,
        }  # fmt: skip
        if one.name in special:
            return special[one.name](one)
        if "cc" in one.parts or one.name in ("addc", "subc", "madc"):
            return self._with_carry(one)
        (dtypes, compute), (to, *given) = meaning(one), one.operands
        if to not in self.registers:
            raise UnknownError(one)
        readers = [self._reader(operand, dtype) for operand, dtype in zip(given, dtypes, strict=True)]

        def act(mask: Array | None) -> None:
            self._write(to, compute(*[read() for read in readers]), mask)

        return act

    def _nothing(self, one: Instruction) -> Callable[[Array | None], None]:
        return lambda mask: None

    def _as_it_is(self, one: Instruction) -> Callable[[Array | None], None]:
        if one.parts[:2] != ("to", "global"):
            raise UnknownError(one)
        return self._move(one)

    def _move(self, one: Instruction) -> Callable[[Array | None], None]:
        """A register, a constant or an address; or two registers as one of twice the bits, or the reverse."""
        to, source = one.operands
        dtype = DTYPES[one.parts[-1]]
        half = f"u{np.dtype(dtype).itemsize // 2}"
        if source[0] == "{":
            low, high = (self._reader(part, half) for part in source[1:-1].split(","))
            bits = np.dtype(dtype).type(8 * np.dtype(half).itemsize)
            return lambda mask: self._write(to, low().astype(dtype) | (high().astype(dtype) << bits), mask)
        read = self._reader(source, dtype)
        if to[0] != "{":
            return lambda mask: self._write(to, read(), mask)
        parts, bits = to[1:-1].split(","), np.dtype(dtype).type(8 * np.dtype(half).itemsize)

        def act(mask: Array | None) -> None:
            value = read()
            for name, part in zip(parts, (value, value >> bits), strict=True):
                if name != "_":
                    self._write(name, part.astype(half), mask)

        return act

    def _with_carry(self, one: Instruction) -> Callable[[Array | None], None]:
        """add, sub and mad that set or use the carry."""
        kind = np.dtype(DTYPES[one.parts[-1]])
        to, *given = one.operands
        readers, unsigned = [self._reader(operand, kind.str[1:]) for operand in given], f"u{kind.itemsize}"
        uses, sets, multiply = (
            one.name.endswith("c"),
            "cc" in one.parts,
            high_product if "hi" in one.parts else np.multiply,
        )

        def act(mask: Array | None) -> None:
            a, b, *c = (read() for read in readers)
            a, b = (multiply(a, b), c[0]) if c else (a, b)
            a, b = a.view(unsigned), b.view(unsigned)
            into = (self.carry & uses).astype(unsigned)
            if one.name.startswith("sub"):
                some, total = a - b, a - b - into
                carry = (a < b) | (some < into)
            else:
                some, total = a + b, a + b + into
                carry = (some < a) | (total < some)
            self._write(to, total, mask)
            if sets:
                self.carry = carry if mask is None else np.where(mask, carry, self.carry)

        return act

    # --- memory ------------------------------------------------------------------------------------------------------

    def _place(self, operand: str) -> Callable[[], Array]:
        """What computes the address in brackets."""
        base, sign, offset = operand[1:-1].partition("+")
        read = self._reader(base, "u8" if base not in self.registers else self.registers[base].dtype.str[1:])
        if not sign:
            return lambda: read().astype("i8")
        shift = int(offset)
        return lambda: read().astype("i8") + shift

    def _load(self, one: Instruction) -> Callable[[Array | None], None]:
        to, source = one.operands
        dtype, space = np.dtype(DTYPES[one.parts[-1]]), space_of(one)
        names = to[1:-1].split(",") if to[0] == "{" else [to]
        if space == "param":
            key = source[1:-1] if "+" in source else f"{source[1:-1]}+0"

            def from_parameter(mask: Array | None) -> None:
                value = self.parameters[key]
                self._write(to, value.astype(f"u{dtype.itemsize}").view(dtype), mask)

            return from_parameter
        place, fetch = self._place(source), self._accesses(space, one)

        def act(mask: Array | None) -> None:
            who = self._threads(mask)
            at = np.broadcast_to(place(), self.lanes.shape)[who.lanes]
            memory, index = fetch(at, who, dtype.itemsize * len(names), False)
            found = memory[index[:, None] + np.arange(dtype.itemsize * len(names))].view(dtype)
            for i, name in enumerate(names):
                self._write_some(name, found[:, i], who.lanes, mask)

        return act

    def _write_some(self, register: str, found: Array, lanes: Array, mask: Array | None) -> None:
        if mask is None:
            self._write(register, np.ascontiguousarray(found), None)
            return
        value = np.zeros(self.lanes.shape, found.dtype)
        value[lanes] = found
        self._write(register, value, mask)

    def _store(self, one: Instruction) -> Callable[[Array | None], None]:
        to, source = one.operands
        dtype, space = np.dtype(DTYPES[one.parts[-1]]), space_of(one)
        names = source[1:-1].split(",") if source[0] == "{" else [source]
        readers = [self._reader(name, dtype.str[1:]) for name in names]
        if space == "param":
            key = to[1:-1]

            def to_parameter(mask: Array | None) -> None:
                value = readers[0]().view(f"u{dtype.itemsize}").astype("u8")
                old = self.parameters.get(key, np.zeros(1, "u8"))
                self.parameters[key] = value if mask is None else np.where(mask, value, old)

            return to_parameter
        place, fetch = self._place(to), self._accesses(space, one)

        def act(mask: Array | None) -> None:
            who = self._threads(mask)
            at = np.broadcast_to(place(), self.lanes.shape)[who.lanes]
            memory, index = fetch(at, who, dtype.itemsize * len(names), True)
            values = np.stack([np.broadcast_to(read(), self.lanes.shape)[who.lanes] for read in readers], 1)
            memory[index[:, None] + np.arange(dtype.itemsize * len(names))] = values.view(np.uint8)

        return act

    def _accesses(
        self, space: str, one: Instruction
    ) -> Callable[[Array, Threads, int, bool], tuple[Array, Array]]:
        """What checks accesses to a space, and says in which array and where they are."""

        def to_global(at: Array, who: Threads, size: int, writes: bool) -> tuple[Array, Array]:
            index = at - self.space.START
            self._check(one, self.space.cells, index, who, size, writes, self.space.bytes.size)
            if self.tally and one.name != "cp":
                self.tally.touch_global(index, size, who.lanes)
            return self.space.bytes, index

        def to_shared(at: Array, who: Threads, size: int, writes: bool) -> tuple[Array, Array]:
            room = self.shared.shape[1]
            self._complain(one, (at < 0) | (at + size > room), who, "leaves shared memory")
            own = who.blocks - self.first
            index = at + own * room
            inside = who._replace(numbers=who.lanes, blocks=own)
            self._complain(one, self.on_way[own, at] >= 0, who, "meets a copy that is on its way")
            self._check(one, self.cells, index, inside, size, writes, self.shared.size)
            if self.tally:
                self.tally.touch_shared(at, size, who.lanes)
            return self.shared.reshape(-1), index

        def to_local(at: Array, who: Threads, size: int, writes: bool) -> tuple[Array, Array]:
            room = self.local.shape[1]
            self._complain(one, (at < 0) | (at + size > room), who, "leaves its thread's memory")
            return self.local.reshape(-1), at + who.lanes * room

        known = {"global": to_global, "const": to_global, "shared": to_shared, "local": to_local}
        if space not in known:
            raise UnknownError(one)
        return known[space]

    def _complain(self, one: Instruction, wrong: Array, who: Threads, what: str) -> None:
        """Raise an error where the instruction is wrong for a thread."""
        if wrong.any():
            first = int(np.argmax(wrong))
            number = int(who.numbers[first])
            raise MachineError(
                f"{self.launch.kernel}: {one.text!r} of block {number // self.launch.threads}, thread "
                f"{number % self.launch.threads} ({int(wrong.sum())} of {wrong.size}) {what}"
            )

    def _check(
        self, one: Instruction, cells: Cells, index: Array, who: Threads, size: int, writes: bool, room: int
    ) -> None:  # fmt: skip
        """Complain about accesses that are outside, that meet others, that read what is not there."""
        self._complain(one, (index < 0) | (index + size > room), who, "is outside of all memory")
        self._complain(one, index % size != 0, who, f"is on no multiple of {size}")
        at = words(index, size)
        everyone = (
            who
            if at.size == index.size
            else who.only(np.repeat(np.arange(index.size), at.size // index.size))
        )
        state = cells.state[at]
        self._complain(one, state == FREE, everyone, "is outside of all allocations")
        if writes:
            self._complain(one, cells.write(at, everyone), everyone, "writes where another thread is")
            if size < 4 or size % 4:
                return
            for byte in range(1, 4):  # watched by the first byte of a word alone
                cells.state[at + byte] = FILLED
        else:
            self._complain(one, state == EMPTY, everyone, "reads what nobody has written")
            self._complain(one, cells.read(at, everyone), everyone, "reads where another thread writes")

    # --- copies and tensor cores -------------------------------------------------------------------------------------

    def _copy(self, one: Instruction) -> Callable[[Array | None], None]:
        """cp.async: begin a copy, end a group of them, wait for all groups but the latest."""
        if one.parts[1] == "commit_group":

            def close(mask: Array | None) -> None:
                self.group[self._who(mask)] += 1

            return close
        if one.parts[1].startswith("wait"):
            behind = int(one.operands[0]) if one.parts[1] == "wait_group" else 0
            return lambda mask: self._arrive(one, behind, mask)
        to, source, size, *given = one.operands
        place, address = self._place(to), self._place(source)
        count = self._reader(given[0] if given else size, "u4")

        def begin(mask: Array | None) -> None:
            who, nbytes = self._threads(mask), int(size)
            at, start, number = (
                np.broadcast_to(x, self.lanes.shape)[who.lanes]
                for x in (place(), address(), count().astype("i8"))
            )
            own = who.blocks - self.first
            self._complain(
                one, (at % nbytes != 0) | (start % nbytes != 0), who, f"is on no multiple of {nbytes}"
            )
            self._complain(one, (number < 0) | (number > nbytes), who, "copies more than there is room for")
            self._accesses("shared", one)(at, who, nbytes, True)  # nobody may be reading what was there
            for i in range(0, nbytes, 4):
                self.on_way[own, at + i] = who.numbers
            self.copies.append(Copy(who.lanes, self.group[who.lanes], at, start, number, nbytes))

        return begin

    def _arrive(self, one: Instruction, behind: int, mask: Array | None) -> None:
        """Do the copies of these threads' groups but the latest few."""
        here, left = self._who(mask), []
        waits = np.zeros(self.lanes.size, bool)
        waits[here] = True
        for copy in self.copies:
            done = waits[copy.lanes] & (copy.groups < self.group[copy.lanes] - behind)
            if done.any():
                self._land(one, Copy(*(part[done] for part in copy[:-1]), copy.size))
            if not done.all():
                left.append(Copy(*(part[~done] for part in copy[:-1]), copy.size))
        self.copies = left

    def _land(self, one: Instruction, copy: Copy) -> None:
        blocks = self.block[copy.lanes]
        who = Threads(copy.lanes, self.number[copy.lanes], blocks, self.epoch[blocks - self.first])
        own = blocks - self.first
        for i in range(0, copy.size, 4):
            self.on_way[own, copy.to + i] = -1
        memory, index = self._accesses("shared", one)(copy.to, who, copy.size, True)
        memory[index[:, None] + np.arange(copy.size)] = 0
        if self.tally and copy.given.any():
            wanted = copy.given > 0
            self.tally.touch_global(copy.source[wanted] - self.space.START, copy.size, copy.lanes[wanted])
        whole = copy.given // 4
        for i in range(copy.size // 4):
            some = whole > i
            if some.any():
                there, at = self._accesses("global", one)(copy.source[some] + 4 * i, who.only(some), 4, False)
                memory[index[some][:, None] + np.arange(4 * i, 4 * i + 4)] = there[at[:, None] + np.arange(4)]

    def _multiply(self, one: Instruction) -> Callable[[Array | None], None]:
        """mma.m16n8k8 of .tf32: of lane 4 i + j, see `fastcnn_kernels.cuda_tiles`; here from PTX ISA 9.7.14.5."""
        if "m16n8k8" not in one.parts or one.parts[-4:] != ("f32", "tf32", "tf32", "f32"):
            raise UnknownError(one)
        to, *given = (operand[1:-1].split(",") for operand in one.operands)
        readers = [[self._reader(name, "f4") for name in names] for names in given]
        lane = np.arange(WARP)
        group, inside = lane // 4, lane % 4
        places = {
            "a": [(group + 8 * (e % 2), inside + 4 * (e // 2)) for e in range(4)],
            "b": [(inside + 4 * e, group) for e in range(2)],
            "c": [(group + 8 * (e // 2), inside * 2 + e % 2) for e in range(4)],
        }
        shapes = {"a": (16, 8), "b": (8, 8), "c": (16, 8)}

        def matrix(name: str, parts: list[Callable[[], Array]]) -> Array:
            found = np.zeros((self.lanes.size // WARP, *shapes[name]), "f8")
            for (row, column), read in zip(places[name], parts, strict=True):
                found[:, row, column] = np.broadcast_to(read(), self.lanes.shape).reshape(-1, WARP)
            return found

        def act(mask: Array | None) -> None:
            whole = np.ones((1, WARP), bool) if mask is None else mask.reshape(-1, WARP)
            apart = np.broadcast_to((whole.any(1) & ~whole.all(1))[:, None], (self.lanes.size // WARP, WARP))
            self._complain(one, apart.reshape(-1), self._threads(None), "is executed by part of a warp")
            a, b, c = (matrix(name, parts) for name, parts in zip("abc", readers, strict=True))
            result = (c + shortened(a) @ shortened(b)).astype("f4")
            for (row, column), name in zip(places["c"], to, strict=True):
                self._write(name, result[:, row, column].reshape(-1), mask)

        return act
