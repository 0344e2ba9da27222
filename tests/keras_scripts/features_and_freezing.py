"""A network taken apart: features of inner layers, a frozen base with a new head, then fine-tuning all of it."""

import keras
import numpy as np
from keras import layers, models, ops

keras.utils.set_random_seed(5)
rng = np.random.default_rng(5)


def make_data(n, classes):
    y = rng.integers(0, classes, n)
    x = 0.3 * rng.normal(size=(n, 16, 16, 3))
    for i, label in enumerate(y):
        x[i, 2 * label : 2 * label + 4, :, label % 3] += 1.0
    return x.astype("float32"), y


inputs = keras.Input(shape=(16, 16, 3), name="image")
h = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(inputs)
h = layers.BatchNormalization(name="stem_bn")(h)
h = layers.ReLU(name="stem_relu")(h)
h = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu", name="features")(h)
h = layers.GlobalAveragePooling2D(name="pool")(h)
outputs = layers.Dense(4, name="logits")(h)
model = keras.Model(inputs=inputs, outputs=outputs, name="source")
model.compile(
    "adam",
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["sparse_categorical_accuracy"],
)
x, y = make_data(128, 4)
model.fit(x, y, epochs=3, batch_size=32, verbose=0)
model.summary()

# features of several layers at once
names = ["stem_relu", "features", "pool"]
extractor = models.Model(inputs=model.inputs, outputs=[model.get_layer(name).output for name in names])
features = extractor.predict(x[:6], verbose=0)
assert [f.shape for f in features] == [(6, 8, 8, 8), (6, 4, 4, 16), (6, 16)]
assert model.get_layer(index=1) is model.get_layer("stem")
np.testing.assert_allclose(features[1].mean(axis=(1, 2)), features[2], atol=1e-5)
single = keras.Model(model.input, model.layers[-2].output)
np.testing.assert_allclose(ops.convert_to_numpy(single(x[:6])), features[2], atol=1e-5)

# a frozen base
base = keras.Model(model.input, model.get_layer("features").output, name="base")
base.trainable = False
assert base.trainable_weights == [] and len(base.non_trainable_weights) == len(base.weights) == 8
new_inputs = keras.Input(shape=(16, 16, 3))
z = base(new_inputs, training=False)
z = layers.Flatten()(z)
z = layers.Dropout(0.2)(z)
new_outputs = layers.Dense(6, activation="softmax", kernel_initializer="he_normal")(z)
transfer = keras.Model(new_inputs, new_outputs)
transfer.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", metrics=["accuracy"])
assert len(transfer.trainable_weights) == 2
x, y = make_data(160, 6)
before = [np.array(w) for w in base.get_weights()]
transfer.fit(x, y, epochs=4, batch_size=40, verbose=0, validation_split=0.2)
for old, new in zip(before, base.get_weights()):
    np.testing.assert_array_equal(old, new)

# fine-tuning: everything but batch normalisation
base.trainable = True
for layer in base.layers:
    if isinstance(layer, layers.BatchNormalization):
        layer.trainable = False
transfer.compile(
    keras.optimizers.Adam(learning_rate=1e-3), loss="sparse_categorical_crossentropy", metrics=["accuracy"]
)
assert len(transfer.trainable_variables) == 6
history = transfer.fit(x, y, epochs=3, batch_size=40, verbose=0)
assert any((old != new).any() for old, new in zip(before, base.get_weights()))
np.testing.assert_array_equal(before[4], base.get_weights()[4])
assert history.history["accuracy"][-1] > 0.4
lines = []
transfer.summary(
    print_fn=lambda line, *args, **kwargs: lines.append(line), expand_nested=True, show_trainable=True
)
text = "\n".join(lines)
assert "stem_bn" in text and "Trainable params" in text
