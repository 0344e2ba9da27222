"""The table of a benchmark run: what was measured, and how near it came to what the machine can do."""

import datetime
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

from bench.ceilings import Ceilings
from fastcnn.backend import machine
from fastcnn.version import __version__

FAR = 0.3  # of the nearer ceiling: below this a kernel is marked


class Row(NamedTuple):
    """One benchmark. The fastest round is what is compared with the ceilings, which are fastest rounds as well."""

    name: str
    kernels: str
    gflop: float
    mbytes: float
    images: int = 0  # of a step of a network
    seconds: float = 0.0  # fastest round; 0: not timed
    median: float = 0.0
    ceilings: Ceilings = Ceilings(0, 1.0, 1.0)
    copy_gbytes: float = 1.0  # GB/s of a copy of as many bytes

    @property
    def of_arithmetic(self) -> float:
        """Operations a second, as a fraction of the ceiling."""
        return self.gflop / self.seconds / self.ceilings.gflops

    @property
    def of_memory(self) -> float:
        """Bytes a second, as a fraction of a copy in main memory."""
        return self.mbytes / 1e3 / self.seconds / self.ceilings.gbytes

    @property
    def of_copy(self) -> float:
        """Bytes a second, as a fraction of a copy of equal size, which a cache may hold as well."""
        return self.mbytes / 1e3 / self.seconds / self.copy_gbytes

    @property
    def is_far(self) -> bool:
        """Whether neither ceiling is near."""
        return max(self.of_arithmetic, self.of_copy) < FAR

    def info(self) -> dict[str, Any]:
        """What goes into pytest-benchmark's own records."""
        known: dict[str, Any] = {"GFLOP": self.gflop, "MB": self.mbytes, "kernels": self.kernels}
        if self.seconds:
            known |= {
                "GFLOP/s": self.gflop / self.seconds,
                "GB/s": self.mbytes / 1e3 / self.seconds,
                "of FMA ceiling": self.of_arithmetic,
                "of bandwidth ceiling": self.of_memory,
                "of a copy of equal size": self.of_copy,
            }
            if self.images:
                known["images/s"] = self.images / self.seconds
        return known


HEADER = (
    "benchmark", "MFLOP", "MB", "us", "median", "GFLOP/s", "of peak", "GB/s", "of memory", "of copy", "far", "kernels"
)  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """The row as it is printed. `<` marks what is far below both ceilings."""
    what = f"{row.images / row.seconds:.0f} images/s, {row.kernels}" if row.images else row.kernels
    return (
        row.name, f"{row.gflop * 1e3:.3g}", f"{row.mbytes:.3g}",
        f"{row.seconds * 1e6:.1f}", f"{row.median * 1e6:.1f}",
        f"{row.gflop / row.seconds:.1f}", f"{row.of_arithmetic:.0%}",
        f"{row.mbytes / 1e3 / row.seconds:.1f}", f"{row.of_memory:.0%}", f"{row.of_copy:.0%}",
        "<" if row.is_far else "", what,
    )  # fmt: skip


def plain_table(rows: Sequence[Row]) -> list[str]:
    """Lines for a terminal."""
    table = [HEADER, *map(cells, rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(HEADER))]
    return [_line(line, widths) for line in table]


def _line(line: Iterable[str], widths: Sequence[int]) -> str:
    first, *rest, last = (*zip(line, widths, strict=True),)
    middle = [text.rjust(width) for text, width in rest]
    return "  ".join([first[0].ljust(first[1]), *middle, last[0]]).rstrip()


def circumstances(ceilings: Ceilings, timer: str) -> list[str]:
    """Where, when and with what the numbers were measured."""
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}"
    return [
        f"{datetime.date.today()}, fastcnn {__version__}, {versions}, {platform.system()} {platform.machine()}",
        f"{cpu_model()}, {ceilings.threads} thread{'s' if ceilings.threads > 1 else ''}",
        f"times by {timer}, the fastest round and the median",
        f"ceilings: {ceilings.gflops:.0f} GFLOP/s (micro-kernel), {ceilings.gbytes:.1f} GB/s (copy), float32",
    ]


def markdown(rows: Sequence[Row], timer: str) -> str:
    """The table as a page."""
    lines = ["# Kernels against the ceilings of the machine", ""]
    lines += [f"- {line}" for line in circumstances(rows[0].ceilings, timer)]
    lines += [
        "- rates are those of the fastest round; bytes: every input and output once",
        "- of memory: of the copy in main memory, which arrays in a cache exceed; of copy: of a copy of equal size",
        f"- `<`: below {FAR:.0%} of both the arithmetic peak and a copy of equal size",
        "",
        "| " + " | ".join(HEADER) + " |",
        "|---|" + "---:|" * (len(HEADER) - 3) + "---|---|",
    ]
    return "\n".join([*lines, *("| " + " | ".join(cells(row)) + " |" for row in rows), ""])


def cpu_model() -> str:
    """The processor's name as the operating system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({machine.processor().name})"
