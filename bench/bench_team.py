"""What running a launch costs: a row of a program, one that threads share, and one in `Blocks`. A FLOP is a row."""

import numpy as np
from fastcnn_kernels import elementwise
from fastcnn_kernels.jit import Launch
from fastcnn_kernels.team import Blocks

from bench.measure import Meter

ROWS = 1000


def smallest() -> Launch:
    x = np.zeros(1, np.float32)
    return elementwise.add.bind(x, x, np.zeros_like(x))


def bench_program(measure: Meter) -> None:
    measure.kernels(*(smallest() for _ in range(ROWS)), flops=ROWS)


def bench_shared_rows(measure: Meter) -> None:
    """With its work: 2 x 4096 additions take about half a microsecond."""
    x = np.zeros(8192, np.float32)
    measure.kernels(*(elementwise.add.bind(x, x, np.zeros_like(x)) for _ in range(ROWS)), flops=ROWS)


def bench_blocks(measure: Meter) -> None:
    blocks = Blocks([[smallest() for _ in range(ROWS // 10)] for _ in range(10)], np.zeros((2, 64), np.uint8))
    measure.kernels(blocks.launch, flops=ROWS)
