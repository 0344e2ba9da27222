"""Training on generators and on a PyDataset."""

import keras
import numpy as np
from keras import layers


class Batches(keras.utils.PyDataset):
    def __init__(self, n, **kwargs):
        super().__init__(**kwargs)
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        return rng.normal(size=(8, 6, 6, 1)).astype("float32"), rng.integers(0, 2, 8)


def generator():
    rng = np.random.default_rng(0)
    while True:
        yield rng.normal(size=(8, 6, 6, 1)).astype("float32"), rng.integers(0, 2, 8)


model = keras.Sequential(
    [
        keras.Input((6, 6, 1)),
        layers.Conv2D(3, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(2, activation="softmax"),
    ]
)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
history = model.fit(generator(), steps_per_epoch=5, epochs=2, validation_data=Batches(3), verbose=2)
assert len(history.history["val_loss"]) == 2
model.fit(Batches(4), epochs=1)
loss, accuracy = model.evaluate(Batches(4))
assert model.predict(Batches(2)).shape == (16, 2)
