"""Shared layers: one encoder used on two inputs; distance by ops; custom loss and metric functions."""

import keras
import numpy as np
from keras import layers, ops


def contrastive_loss(y_true, y_pred, margin=1.0):
    square = ops.square(y_pred)
    return ops.mean(y_true * ops.square(ops.maximum(margin - y_pred, 0.0)) + (1.0 - y_true) * square)


def pair_accuracy(y_true, y_pred):
    return 1.0 - ops.mean(ops.abs(y_true - ops.cast(y_pred > 0.5, "float32")))


encoder = keras.Sequential(
    [
        keras.Input((10, 10, 1)),
        layers.Conv2D(4, 3, activation="tanh"),
        layers.AveragePooling2D(2),
        layers.Flatten(),
        layers.Dense(6),
    ]
)
left, right = keras.Input((10, 10, 1)), keras.Input((10, 10, 1))
difference = layers.Subtract()([encoder(left), encoder(right)])
distance = ops.sqrt(ops.maximum(ops.sum(ops.square(difference), axis=1, keepdims=True), 1e-7))
outputs = layers.Dense(1, activation="sigmoid")(layers.BatchNormalization()(distance))
model = keras.Model([left, right], outputs)
model.compile(loss=contrastive_loss, optimizer="rmsprop", metrics=[pair_accuracy])
rng = np.random.default_rng(0)
a, b = rng.normal(size=(2, 32, 10, 10, 1)).astype("float32")
y = rng.integers(0, 2, (32, 1)).astype("float32")
history = model.fit([a, b], y, epochs=2, batch_size=8, verbose=0)
assert len(encoder.trainable_weights) == 4
assert "pair_accuracy" in history.history
