"""Train a base, freeze it, put a new head on it, then fine-tune."""

import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(3)
x = rng.normal(size=(60, 12, 12, 3)).astype("float32")
base = keras.Sequential(
    [
        keras.Input((12, 12, 3)),
        layers.SeparableConv2D(8, 3, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.AveragePooling2D(2),
        layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
        layers.GlobalAveragePooling2D(),
    ],
    name="base",
)
base.trainable = False
inputs = keras.Input((12, 12, 3))
features = base(inputs, training=False)
features = layers.Dropout(0.2)(features)
outputs = layers.Dense(1, activation="sigmoid")(features)
model = keras.Model(inputs, outputs)
model.compile(
    optimizer="adam",
    loss=keras.losses.BinaryCrossentropy(),
    metrics=[keras.metrics.BinaryAccuracy(), keras.metrics.AUC()],
)
y = rng.integers(0, 2, 60).astype("float32")
before = [np.array(w) for w in base.get_weights()]
model.fit(x, y, epochs=2, verbose=0)
for old, new in zip(before, base.get_weights()):
    np.testing.assert_array_equal(old, new)
assert len(model.trainable_weights) == 2
base.trainable = True
model.compile(optimizer=keras.optimizers.Adam(1e-5), loss="binary_crossentropy", metrics=["accuracy"])
history = model.fit(x, y, epochs=1, verbose=0, class_weight={0: 1.0, 1: 2.0})
assert any((old != new).any() for old, new in zip(before, base.get_weights()))
assert "accuracy" in history.history
