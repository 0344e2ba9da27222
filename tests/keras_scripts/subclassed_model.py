"""A model as a subclass with its own call."""

import keras
import numpy as np
from keras import layers


class ConvModel(keras.Model):
    def __init__(self, num_classes=4):
        super().__init__(name="conv_model")
        self.convs = [layers.Conv2D(4, 3, activation="relu"), layers.Conv2D(8, 3, activation="relu")]
        self.norm = layers.BatchNormalization()
        self.pool = layers.GlobalMaxPooling2D()
        self.head = layers.Dense(num_classes)

    def call(self, inputs, training=False):
        x = inputs
        for conv in self.convs:
            x = conv(x)
        x = self.norm(x, training=training)
        return self.head(self.pool(x))


model = ConvModel()
model.compile(
    optimizer="sgd", loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=[keras.metrics.SparseCategoricalAccuracy()],
)  # fmt: skip
rng = np.random.default_rng(0)
x, y = rng.normal(size=(40, 9, 9, 2)).astype("float32"), rng.integers(0, 4, 40)
history = model.fit(x, y, batch_size=16, epochs=2)
assert len(history.epoch) == 2
assert len(model.weights) == 10 and len(model.trainable_weights) == 8
output = keras.ops.convert_to_numpy(model(x[:3], training=False))
np.testing.assert_allclose(output, model.predict(x[:3]), rtol=1e-5, atol=1e-6)
model.save_weights("conv.weights.h5")
twin = ConvModel()
twin(x[:1])
twin.load_weights("conv.weights.h5")
np.testing.assert_allclose(twin.predict(x[:3]), output, rtol=1e-5, atol=1e-6)
