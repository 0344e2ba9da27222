"""A Sequence that augments as it is read, unbalanced classes weighed, and a report of the errors by class."""

import math

import keras
import numpy as np
from keras import layers


class AugmentedSequence(keras.utils.Sequence):
    """Random flips and shifts, in a new order every epoch."""

    def __init__(self, x, y, batch_size, augment=True, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.x, self.y, self.batch_size, self.augment = x, y, batch_size, augment
        self.rng = np.random.default_rng(seed)
        self.order = np.arange(len(x))
        self.epochs_seen = 0

    def __len__(self):
        return math.ceil(len(self.x) / self.batch_size)

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        return np.stack([self.transform(self.x[i]) for i in rows]), self.y[rows]

    def transform(self, image):
        if not self.augment:
            return image
        if self.rng.random() < 0.5:
            image = image[:, ::-1]
        return np.roll(image, self.rng.integers(-1, 2), axis=0)

    def on_epoch_end(self):
        self.epochs_seen += 1
        if self.augment:
            self.rng.shuffle(self.order)


keras.utils.set_random_seed(1)
rng = np.random.default_rng(11)
y = np.concatenate([np.zeros(120, int), np.ones(40, int), np.full(20, 2)])
patterns = rng.normal(size=(3, 12, 6, 1))
patterns = np.concatenate([patterns, patterns[:, :, ::-1]], axis=2)
x = (patterns[y] + 0.4 * rng.normal(size=(len(y), 12, 12, 1))).astype("float32")
order = rng.permutation(len(x))
x, y = x[order], y[order]
train, test = AugmentedSequence(x[:140], y[:140], 20), AugmentedSequence(x[140:], y[140:], 20, augment=False)

counts = np.bincount(y[:140])
class_weight = {label: len(y[:140]) / (len(counts) * count) for label, count in enumerate(counts)}

model = keras.Sequential(
    [
        keras.Input(shape=(12, 12, 1)),
        layers.GaussianNoise(0.05),
        layers.Conv2D(8, 3, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.7),
        layers.Activation("relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.GlobalAveragePooling2D(),
        layers.Dropout(0.1),
        layers.Dense(3, activation="softmax"),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(0.01),
    loss=keras.losses.SparseCategoricalCrossentropy(),
    metrics=["accuracy"],
    weighted_metrics=["accuracy"],
)
history = model.fit(train, epochs=8, validation_data=test, class_weight=class_weight, verbose=2)
assert train.epochs_seen >= 8
names = ["accuracy", "loss", "val_accuracy", "val_loss", "val_weighted_accuracy", "weighted_accuracy"]
assert list(history.history) == names
assert history.history["loss"][-1] < history.history["loss"][0]

probabilities = model.predict(test, verbose=0)
matrix = np.zeros((3, 3), int)
for truth, guess in zip(y[140:], probabilities.argmax(axis=1)):
    matrix[truth, guess] += 1
print(matrix)
assert matrix.sum() == 40
score = model.evaluate(test, verbose=0, return_dict=True)
assert abs(score["accuracy"] - np.trace(matrix) / 40) < 1e-6
assert score["accuracy"] > 0.6
