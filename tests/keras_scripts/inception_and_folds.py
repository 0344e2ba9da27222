"""Branches side by side, and cross-validation by clones that start from one set of weights."""

import keras
import numpy as np
from keras import layers


def inception(x, filters, name):
    one = layers.Conv2D(filters, 1, padding="same", activation="relu", name=f"{name}_1x1")(x)
    three = layers.Conv2D(filters, 1, padding="same", activation="relu", name=f"{name}_3x3_reduce")(x)
    three = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"{name}_3x3")(three)
    five = layers.Conv2D(filters // 2, 1, padding="same", activation="relu", name=f"{name}_5x5_reduce")(x)
    five = layers.Conv2D(filters, 5, padding="same", activation="relu", name=f"{name}_5x5")(five)
    pool = layers.MaxPooling2D(3, strides=1, padding="same", name=f"{name}_pool")(x)
    pool = layers.Conv2D(filters, 1, padding="same", activation="relu", name=f"{name}_pool_proj")(pool)
    return layers.concatenate([one, three, five, pool], axis=-1, name=f"{name}_output")


def build():
    inputs = keras.Input(shape=(12, 12, 1))
    x = layers.Rescaling(1.0 / 255)(inputs)
    x = inception(x, 4, "inception_a")
    x = layers.MaxPooling2D()(x)
    x = inception(x, 8, "inception_b")
    x = layers.AveragePooling2D(pool_size=(2, 2))(x)
    x = layers.Flatten()(x)
    outputs = layers.Dense(3, activation="softmax", kernel_initializer="zeros")(x)
    return keras.Model(inputs, outputs)


keras.utils.set_random_seed(8)
rng = np.random.default_rng(8)
y = np.arange(90) % 3
x = rng.integers(0, 120, size=(90, 12, 12, 1)).astype("float32")
for i, label in enumerate(y):
    x[i, 4 * label : 4 * label + 4, ::2] += 120
order = rng.permutation(90)
x, y = x[order], y[order]

model = build()
assert len(model.layers) == 22
initial = model.get_weights()
folds = np.array_split(np.arange(90), 3)
scores = []
for k, fold in enumerate(folds):
    keras.backend.clear_session()
    rest = np.setdiff1d(np.arange(90), fold)
    network = keras.models.clone_model(model)
    network.set_weights(initial)
    np.testing.assert_allclose(network.predict(x[:3], verbose=0), 1 / 3, atol=1e-6)
    network.compile(keras.optimizers.Nadam(5e-3), "sparse_categorical_crossentropy", metrics=["accuracy"])
    network.fit(x[rest], y[rest], epochs=5, batch_size=15, verbose=0, shuffle=True)
    loss, accuracy = network.evaluate(x[fold], y[fold], verbose=0)
    print(f"fold {k}: loss {loss:.3f}, accuracy {accuracy:.3f}")
    scores.append(accuracy)
assert np.mean(scores) > 0.5
for before, after in zip(initial, model.get_weights()):
    np.testing.assert_array_equal(before, after)

# every other layer as it is, convolutions without bias
config = model.get_config()
assert config["name"] == model.name
rebuilt = keras.Model.from_config(config)
rebuilt.set_weights(initial)
np.testing.assert_allclose(rebuilt.predict(x[:5], verbose=0), model.predict(x[:5], verbose=0), atol=1e-6)
from_json = keras.models.model_from_json(model.to_json())
assert [layer.name for layer in from_json.layers] == [layer.name for layer in model.layers]
