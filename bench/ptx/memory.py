"""Memory of the machine, which knows what a device would not tell: who touched a place, and whether he might.

`Space` is global memory: addresses, allocations. `Cells` watches who reads and writes, in global and in shared memory:
two threads meet at a place if one of them writes, unless a barrier of their block lies between. A load of what nobody
has written, outside of all allocations, or on an address that its size does not divide, is an error, too.
"""

import bisect
from typing import NamedTuple

import numpy as np

Array = np.ndarray


class MachineError(RuntimeError):
    """A program did what a device would punish, now or some day."""


class Threads(NamedTuple):
    """Who executes an instruction: positions among those of the machine, numbers in the grid, blocks, and how many
    barriers each has passed."""

    lanes: Array
    numbers: Array
    blocks: Array
    epochs: Array

    def only(self, which: Array) -> "Threads":
        """Some of them."""
        return Threads(*(part[which] for part in self))


FREE, EMPTY, FILLED = 0, 1, 2  # bytes that are nobody's, that have never been written, that have


class Cells:
    """Who reads and writes bytes. A code stands for a thread of the launch, for several of a block, or of any."""

    def __init__(self, size: int):
        self.state = np.zeros(size, np.uint8)
        self._codes = np.zeros((2, size), np.int32)  # who wrote last; who has read
        self._epochs = np.zeros((2, size), np.int32)
        self._first, self._threads, self._blocks, self._of_block = 1, 0, 0, 1

    def begin(self, blocks: int, threads: int) -> None:
        """A launch, before which all is quiet."""
        first = self._first + self._threads + self._blocks + 1
        self._threads, self._blocks, self._of_block = blocks * threads, blocks, threads
        if first + self._threads + self._blocks + 1 >= 1 << 31:
            first = 1
            self._codes[:] = 0
        self._first = first

    def _block_of(self, codes: Array) -> Array:
        inside = codes - self._first
        return np.where(inside < self._threads, inside // self._of_block, inside - self._threads)

    def _meets(self, kind: int, at: Array, who: Threads) -> Array:
        """Which of the threads meet another one that has touched the place."""
        codes = self._codes[kind, at]
        now = codes >= self._first
        if not now.any():
            return now
        other = codes != who.numbers + self._first
        near = self._block_of(codes) == who.blocks
        return now & other & ~(near & (self._epochs[kind, at] != who.epochs))

    def write(self, at: Array, who: Threads) -> Array:
        """Note it; which of the threads meet others."""
        wrong = self._meets(0, at, who) | self._meets(1, at, who)
        mine = (who.numbers + self._first).astype(np.int32)
        self._codes[0, at], self._epochs[0, at] = mine, who.epochs
        self.state[at] = FILLED
        return wrong | (self._codes[0, at] != mine)

    def read(self, at: Array, who: Threads) -> Array:
        """Note it; which of the threads meet one that writes."""
        wrong = self._meets(0, at, who)
        old, mine = self._codes[1, at], (who.numbers + self._first).astype(np.int32)
        several, anyone = self._first + self._threads, self._first + self._threads + self._blocks
        block = self._block_of(old)
        far = (old >= self._first) & (block != who.blocks)
        near = (
            (old >= self._first) & (block == who.blocks) & (self._epochs[1, at] == who.epochs) & (old != mine)
        )
        new = np.where(far, anyone, np.where(near, several + who.blocks, mine)).astype(np.int32)
        self._codes[1, at], self._epochs[1, at] = new, who.epochs
        left = self._codes[1, at]
        lost = left != new
        if lost.any():  # several threads of this instruction read one place
            places, there, own = at[lost], self._block_of(left[lost]), who.blocks[lost]
            self._codes[1, places] = several + own
            apart = (there != own) | (new[lost] == anyone)
            self._codes[1, places[apart]] = anyone
        return wrong


def words(at: Array, size: int) -> Array:
    """The bytes by which accesses of a size are watched: one of each word."""
    return at if size <= 4 else (at[:, None] + np.arange(0, size, 4)).ravel()


class Space:
    """Global memory of a device: allocations with gaps between them, at addresses that mean nothing on the host."""

    START, GAP, ALIGNMENT = 0x7E00_0000_0000, 256, 256

    def __init__(self, nbytes: int = 1 << 28):
        self.bytes = np.zeros(nbytes, np.uint8)
        self.cells = Cells(nbytes)
        self._free: list[tuple[int, int]] = [(self.GAP, nbytes)]  # start, end
        self._sizes: dict[int, int] = {}

    def allocate(self, nbytes: int) -> int:
        """The address of so many bytes that nobody has written to."""
        wanted = -(-max(nbytes, 1) // self.ALIGNMENT) * self.ALIGNMENT + self.GAP
        for i, (start, end) in enumerate(self._free):
            if end - start >= wanted:
                self._free[i : i + 1] = [(start + wanted, end)] if end - start > wanted else []
                self._sizes[start] = wanted
                self.cells.state[start : start + max(nbytes, 1)] = EMPTY
                return self.START + start
        raise MemoryError(f"the machine's memory of {self.bytes.size} bytes is full")

    def free(self, address: int) -> None:
        """Give an allocation back."""
        start = address - self.START
        size = self._sizes.pop(start)
        self.cells.state[start : start + size] = FREE
        bisect.insort(self._free, (start, start + size))
        merged = [self._free[0]]
        for first, end in self._free[1:]:
            merged[-1:] = [(merged[-1][0], end)] if merged[-1][1] == first else [merged[-1], (first, end)]
        self._free = merged

    def __contains__(self, address: int) -> bool:
        return self.START <= address < self.START + self.bytes.size

    def part(self, address: int, nbytes: int) -> Array:
        """Bytes of one allocation, to be copied from or to."""
        start = address - self.START
        if (
            not 0 <= start <= self.bytes.size - nbytes
            or (self.cells.state[start : start + nbytes] == FREE).any()
        ):
            raise MachineError(f"a copy of {nbytes} bytes at {address:#x} leaves the allocation")
        return self.bytes[start : start + nbytes]

    def filled(self, address: int, nbytes: int) -> None:
        """Bytes have been written by a copy."""
        start = address - self.START
        self.cells.state[start : start + nbytes] = FILLED
