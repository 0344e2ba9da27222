"""fastcnn, by its public calls."""

import numpy as np

import fastcnn
from bench.versus.worker import CHECKED_RATE
from fastcnn import config, layers

MODES = ("fastcnn", "mixed_bfloat16", "fastcnn_tf32")


class FastcnnPeer:
    """One network, as it is by default, under the dtype policy `mixed_bfloat16`, or on the tensor cores of a device."""

    def __init__(self, mode: str, threads: int, device: str = "cpu"):
        fastcnn.set_device(device)
        fastcnn.set_num_threads(threads)
        config.set_dtype_policy("mixed_bfloat16" if mode == "mixed_bfloat16" else "float32")
        config.set_precision("tf32" if mode == "fastcnn_tf32" else "fast")

    def build(self, model: fastcnn.Model, x: np.ndarray, y: np.ndarray, training: bool) -> None:
        self.model, self.x, self.y, self.training = model, x, y, training
        is_image = y.dtype.kind == "f"
        loss = "mse" if is_image else fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(fastcnn.optimizers.Adam(1e-3), loss)

    def made_comparable(self) -> None:
        """No dropout; every sum a plain one; small steps, for those of Adam magnify the last digit of a gradient."""
        config.set_precision("strict")
        if self.training:
            self.model.optimizer.learning_rate = CHECKED_RATE
        for layer in self.model.layers:
            if isinstance(layer, layers.Dropout):
                layer.rate = 0.0

    def step(self) -> float:
        """A training step; its loss. Or an inference, and 0."""
        if self.training:
            return float(self.model.train_on_batch(self.x, self.y))
        self.model.predict_on_batch(self.x)
        return 0.0

    def predict(self) -> np.ndarray:
        return self.model.predict_on_batch(self.x)
