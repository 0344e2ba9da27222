"""Small networks after a few steps: losses, predictions and weights, by name. Every kind of layer of the large ones."""

from collections.abc import Callable
from typing import Any

import numpy as np

import fastcnn
from fastcnn import layers
from fastcnn.plan.progress import compile_progress

IMAGE, CLASSES, BATCH, STEPS = (6, 5, 2), 3, 3, 3


def lenet() -> fastcnn.Model:
    """Convolutions with a bias and ReLU, maxima, dense layers, dropout; Adam."""
    return compiled(
        [
            layers.Conv2D(2, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(3, 2, activation="relu"),
            layers.Flatten(),
            layers.Dense(6, activation="relu"),
            layers.Dropout(0.4),
        ],
        fastcnn.optimizers.Adam(0.01),
    )


def vgg() -> fastcnn.Model:
    """Normalised convolutions without a bias; descent with momentum, and a norm that is clipped."""
    return compiled(
        [
            layers.Conv2D(4, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.AveragePooling2D(2),
            layers.GroupNormalization(2),
            layers.LeakyReLU(0.1),
            layers.Flatten(),
        ],
        fastcnn.optimizers.SGD(0.05, momentum=0.9, nesterov=True, global_clipnorm=2.0),
    )


def mobilenet() -> fastcnn.Model:
    """Residuals, strides, depthwise convolutions; RMSprop."""
    inputs = fastcnn.Input(IMAGE)
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(2, 3, padding="same")(inputs)))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x)
    y = layers.BatchNormalization()(layers.Conv2D(2, 1)(layers.ReLU()(layers.BatchNormalization()(y))))
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Conv2D(3, 3, strides=2, padding="same")(layers.DepthwiseConv2D(3, 2, padding="same")(x))
    outputs = layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x))
    model = fastcnn.Model(inputs, outputs)
    model.compile(fastcnn.optimizers.RMSprop(0.01), loss())
    return model


def loss() -> Any:
    return fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)


def compiled(body: list[Any], optimizer: Any) -> fastcnn.Model:
    """The layers with an input in front and logits behind."""
    model = fastcnn.Sequential([fastcnn.Input(IMAGE), *body, layers.Dense(CLASSES)])
    model.compile(optimizer, loss())
    return model


MODELS: dict[str, Callable[[], fastcnn.Model]] = {"lenet": lenet, "vgg": vgg, "mobilenet": mobilenet}


def data() -> tuple[np.ndarray, np.ndarray]:
    """A batch of images and labels."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(BATCH, *IMAGE)).astype(np.float32), rng.integers(0, CLASSES, BATCH)


def trained(name: str, steps: int = STEPS) -> dict[str, np.ndarray]:
    """The network after some steps, from the same seed."""
    fastcnn.config.set_random_seed(7)
    model, (x, y) = MODELS[name](), data()
    losses = [float(model.train_on_batch(x, y)) for _ in range(steps)]
    weights = {f"weight {i}": w for i, w in enumerate(model.get_weights())}
    return {"losses": np.array(losses), "predictions": model.predict_on_batch(x), **weights}


def results() -> dict[str, np.ndarray]:
    """All of them, computed on the device that is set."""
    with compile_progress(False):
        return {f"{name}|{what}": value for name in MODELS for what, value in trained(name).items()}
