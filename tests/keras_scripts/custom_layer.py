"""Layers of one's own: weights, nested layers, training flag, regularisation, saving and loading."""

import keras
import numpy as np
from keras import layers, ops


@keras.saving.register_keras_serializable(package="my")
class Linear(layers.Layer):
    def __init__(self, units=32, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def build(self, input_shape):
        self.w = self.add_weight(
            shape=(input_shape[-1], self.units), initializer="random_normal", trainable=True, name="w",
            regularizer=keras.regularizers.L2(0.01),
        )  # fmt: skip
        self.b = self.add_weight(shape=(self.units,), initializer="zeros", trainable=True, name="b")

    def call(self, inputs):
        return ops.matmul(inputs, self.w) + self.b

    def get_config(self):
        config = super().get_config()
        config.update({"units": self.units})
        return config


@keras.saving.register_keras_serializable(package="my")
class Block(layers.Layer):
    def __init__(self, units, rate=0.3, **kwargs):
        super().__init__(**kwargs)
        self.units, self.rate = units, rate
        self.linear_1 = Linear(units)
        self.linear_2 = Linear(units)
        self.dropout = layers.Dropout(rate)

    def call(self, inputs, training=False):
        x = ops.relu(self.linear_1(inputs))
        x = self.dropout(x, training=training)
        x = self.linear_2(x)
        self.add_loss(1e-3 * ops.sum(ops.square(x)))
        return x

    def get_config(self):
        return {**super().get_config(), "units": self.units, "rate": self.rate}


inputs = keras.Input((8, 8, 1))
x = layers.Flatten()(inputs)
x = Block(16)(x)
outputs = layers.Dense(3, activation="softmax")(x)
model = keras.Model(inputs, outputs)
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
rng = np.random.default_rng(0)
x_train, y_train = rng.normal(size=(50, 8, 8, 1)), rng.integers(0, 3, 50)
model.fit(x_train, y_train, epochs=2, verbose=0)
assert len(model.trainable_weights) == 6
before = model.predict(x_train, verbose=0)
model.save("custom.keras")
again = keras.models.load_model("custom.keras")
np.testing.assert_allclose(before, again.predict(x_train, verbose=0), rtol=1e-6)
loss = model.evaluate(x_train, y_train, verbose=0)
np.testing.assert_allclose(loss, again.evaluate(x_train, y_train, verbose=0), rtol=1e-5)
