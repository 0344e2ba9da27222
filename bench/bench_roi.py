"""128 regions of a map of 40 x 40 cells with 256 channels, brought to 7 x 7."""

import numpy as np
import pytest

from bench.measure import Meter
from fastcnn import ops


def regions(measure: Meter) -> np.ndarray:
    corner, size = measure.uniform(0, 400, 128, 2), measure.uniform(32, 240, 128, 2)
    return np.concatenate([np.zeros((128, 1), np.float32), corner, corner + size], 1)


@pytest.mark.parametrize("pool", [ops.roi_align, ops.roi_pool], ids=lambda pool: pool.__name__)
@pytest.mark.parametrize("way", ["forward", "backward"])
def bench_roi(measure: Meter, pool, way: str) -> None:
    getattr(measure, way)(lambda x, r: pool(x, r, 7, 1 / 16), (1, 40, 40, 256), regions(measure))
