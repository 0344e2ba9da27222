"""Two inputs, two outputs, losses and metrics by output name, loss weights."""

import keras
import numpy as np
from keras import layers

rng = np.random.default_rng(0)
images = rng.normal(size=(96, 12, 12, 3)).astype("float32")
facts = rng.normal(size=(96, 5)).astype("float32")
labels = rng.integers(0, 4, 96)
price = rng.normal(size=(96, 1)).astype("float32")

image_input = keras.Input(shape=(12, 12, 3), name="image")
fact_input = keras.Input(shape=(5,), name="facts")
x = layers.Conv2D(8, 3, activation="relu", padding="same")(image_input)
x = layers.MaxPooling2D()(x)
x = layers.GlobalAveragePooling2D()(x)
z = layers.Dense(8, activation="relu")(fact_input)
merged = layers.concatenate([x, z])
class_output = layers.Dense(4, activation="softmax", name="label")(merged)
price_output = layers.Dense(1, name="price")(merged)

model = keras.Model(inputs=[image_input, fact_input], outputs=[class_output, price_output])
model.summary()
model.compile(
    optimizer=keras.optimizers.RMSprop(1e-3),
    loss={"label": keras.losses.SparseCategoricalCrossentropy(), "price": "mse"},
    loss_weights={"label": 1.0, "price": 0.2},
    metrics={"label": ["accuracy"], "price": ["mae"]},
)
history = model.fit(
    {"image": images, "facts": facts}, {"label": labels, "price": price}, epochs=2, batch_size=32, verbose=2
)
keys = ["label_accuracy", "label_loss", "loss", "price_loss", "price_mae"]
assert sorted(history.history) == keys, sorted(history.history)
result = model.evaluate([images, facts], [labels, price], return_dict=True, verbose=0)
assert abs(result["loss"] - result["label_loss"] - 0.2 * result["price_loss"]) < 1e-4
a, b = model.predict([images, facts], verbose=0)
assert a.shape == (96, 4) and b.shape == (96, 1)
