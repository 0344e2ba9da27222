"""Keras 3 on JAX: the same layers under the same names, compiled by XLA."""

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported

import keras
import numpy as np

import fastcnn
from bench.versus.structure import Step, steps_of
from bench.versus.worker import CHECKED_RATE

MODES = ("keras",)


def layer_of(step: Step) -> Any:
    """The layer of Keras with the same configuration."""
    config = {**step.layer.get_config(), "dtype": "float32"}
    return getattr(keras.layers, step.kind).from_config(config)


class KerasPeer:
    """One network. Threads are those that the process may run on."""

    def __init__(self, mode: str, threads: int):
        keras.utils.set_random_seed(0)

    def build(self, model: fastcnn.Model, x: np.ndarray, y: np.ndarray, training: bool) -> None:
        inputs = keras.Input(x.shape[1:])
        results = [inputs]
        for step in steps_of(model):
            given = [results[source + 1] for source in step.sources]
            layer = layer_of(step)
            results.append(layer(given if len(given) > 1 else given[0]))
            layer.set_weights([np.array(w) for w in step.weights])
        self.model = keras.Model(inputs, results[-1])
        is_image = y.dtype.kind == "f"
        loss = "mse" if is_image else keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.model.compile(keras.optimizers.Adam(1e-3), loss)
        self.x, self.y, self.training = x, y, training

    def made_comparable(self) -> None:
        """No dropout, and small steps."""
        if self.training:
            self.model.optimizer.learning_rate = CHECKED_RATE
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0

    def step(self) -> float:
        """A training step; its loss. Or an inference, and 0."""
        if self.training:
            return float(self.model.train_on_batch(self.x, self.y))
        self.model.predict_on_batch(self.x)
        return 0.0

    def predict(self) -> np.ndarray:
        return np.asarray(self.model.predict_on_batch(self.x))
