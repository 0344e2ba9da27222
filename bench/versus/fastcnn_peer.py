"""fastcnn, by its public calls."""

import numpy as np

import fastcnn
from fastcnn import config, layers

MODES = ("fastcnn",)


class FastcnnPeer:
    """One network; the only mode is the default."""

    def __init__(self, mode: str, threads: int):
        fastcnn.set_num_threads(threads)

    def build(self, model: fastcnn.Model, x: np.ndarray, y: np.ndarray, training: bool) -> None:
        self.model, self.x, self.y, self.training = model, x, y, training
        is_image = y.dtype.kind == "f"
        loss = "mse" if is_image else fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(fastcnn.optimizers.Adam(1e-3), loss)

    def made_comparable(self) -> None:
        """No dropout; every convolution as a plain sum: Adam's first steps magnify the last digit of a gradient."""
        config.set_precision("strict")
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
