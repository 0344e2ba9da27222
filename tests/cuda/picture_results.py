"""Pictures after every layer that changes them, active and passive, by name."""

import numpy as np
from layers.test_augmentation import LAYERS

from fastcnn.plan import Function
from fastcnn.plan.progress import compile_progress

X = np.random.default_rng(1).integers(0, 256, (3, 6, 6, 3)).astype(np.float32)


def changed(name: str, training: bool) -> np.ndarray:
    """What the layer makes of X in a plan for the device that is set."""
    layer = LAYERS[name]()
    return np.asarray(Function(lambda x: layer(x, training=training), training)(X))


def results() -> dict[str, np.ndarray]:
    """All of them, computed on the device that is set."""
    with compile_progress(False):
        return {
            f"{name}|{training}": changed(name, training) for name in LAYERS for training in (True, False)
        }
