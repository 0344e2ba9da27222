"""Models and layers written as classes that hold lists of others, built by data, saved as weights."""

import keras
import numpy as np
from keras import layers, ops


class ConvBlock(layers.Layer):
    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.conv = layers.Conv2D(filters, 3, padding="same", use_bias=False)
        self.norm = layers.BatchNormalization()
        self.drop = layers.Dropout(0.2)

    def call(self, x, training=None):
        x = ops.relu(self.norm(self.conv(x), training=training))
        return self.drop(x, training=training)


class Residual(layers.Layer):
    def __init__(self, filters, depth=2, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.blocks = [ConvBlock(filters) for _ in range(depth)]

    def build(self, input_shape):
        self.projection = layers.Conv2D(self.filters, 1) if input_shape[-1] != self.filters else None
        self.scale = self.add_weight(shape=(1,), initializer="ones", name="scale")
        super().build(input_shape)

    def call(self, x, training=None):
        shortcut = x if self.projection is None else self.projection(x)
        for block in self.blocks:
            x = block(x, training=training)
        return shortcut + self.scale * x


class Classifier(keras.Model):
    def __init__(self, classes, widths=(4, 8), **kwargs):
        super().__init__(**kwargs)
        self.stages = [Residual(width) for width in widths]
        self.pool = layers.MaxPooling2D()
        self.head = keras.Sequential(
            [layers.GlobalAveragePooling2D(), layers.Dense(8, activation="relu"), layers.Dense(classes)]
        )

    def call(self, inputs, training=None):
        x = inputs
        for stage in self.stages:
            x = self.pool(stage(x, training=training))
        return self.head(x)


keras.utils.set_random_seed(6)
rng = np.random.default_rng(6)
y = rng.integers(0, 2, 96)
x = rng.normal(size=(96, 8, 8, 1)).astype("float32") * 0.5 + np.where(y, 1, -1)[:, None, None, None] * 0.7
x = x.astype("float32")
model = Classifier(2)
model.compile("adam", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
history = model.fit(x, y, epochs=5, batch_size=16, validation_data=(x[:32], y[:32]), verbose=0)
assert history.history["accuracy"][-1] > 0.7
assert len(model.layers) == 4
assert len(model.stages[0].weights) == 2 * (1 + 4) + 2 + 1
assert len(model.trainable_weights) == len(model.weights) - 2 * 2 * 2
model.summary()

# the same in training mode twice is not the same: dropout; in inference mode it is
a, b, c = (ops.convert_to_numpy(model(x[:4], training=mode)) for mode in (False, False, True))
np.testing.assert_array_equal(a, b)
assert not np.array_equal(a, c)

model.save_weights("classifier.weights.h5")
twin = Classifier(2)
twin(x[:1])
twin.load_weights("classifier.weights.h5")
np.testing.assert_allclose(twin.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-5)
model.stages[0].trainable = False
assert not any(w is v for w in model.trainable_weights for v in model.stages[0].weights)
