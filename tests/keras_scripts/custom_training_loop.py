"""A training loop of one's own over train_on_batch, with learning rate changes by hand."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(7)
rng = np.random.default_rng(7)
centres = rng.normal(size=(3, 10, 10, 1))
y = rng.integers(0, 3, 240)
x = (centres[y] + 0.3 * rng.normal(size=(240, 10, 10, 1))).astype("float32")

model = keras.models.Sequential()
model.add(keras.Input(shape=(10, 10, 1)))
model.add(layers.Conv2D(6, (3, 3), strides=2))
model.add(layers.LeakyReLU(negative_slope=0.1))
model.add(layers.Flatten())
model.add(layers.Dense(3, activation="softmax"))
model.compile(
    optimizer=keras.optimizers.Adam(learning_rate=0.01),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)

for epoch in range(4):
    order = np.random.permutation(len(x))
    model.reset_metrics()
    for start in range(0, len(x), 48):
        batch = order[start : start + 48]
        loss, accuracy = model.train_on_batch(x[batch], y[batch])
    model.optimizer.learning_rate = 0.01 / (epoch + 2)
    print(epoch, float(loss), float(accuracy))
assert float(model.optimizer.learning_rate) < 0.0021
logs = model.test_on_batch(x, y, return_dict=True)
assert set(logs) == {"loss", "accuracy"}
assert accuracy > 0.9
assert np.argmax(model.predict_on_batch(x[:5]), axis=-1).shape == (5,)
