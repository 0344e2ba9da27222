"""A small residual network with shared helper functions, ops on tensors and callbacks."""

import keras
import numpy as np
from keras import layers


def residual_block(x, filters, stride=1):
    shortcut = x
    y = layers.Conv2D(
        filters, 3, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal"
    )(x)
    y = layers.BatchNormalization()(y)
    y = layers.Activation("relu")(y)
    y = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal")(y)
    y = layers.BatchNormalization()(y)
    if stride != 1 or shortcut.shape[-1] != filters:
        shortcut = layers.Conv2D(filters, 1, strides=stride, use_bias=False)(shortcut)
        shortcut = layers.BatchNormalization()(shortcut)
    return layers.ReLU()(layers.add([y, shortcut]))


inputs = keras.Input((16, 16, 3))
x = layers.Rescaling(1.0 / 255)(inputs)
x = layers.Conv2D(8, 3, padding="same", kernel_regularizer=keras.regularizers.l2(1e-4))(x)
x = residual_block(x, 8)
x = residual_block(x, 16, stride=2)
x = x * 0.5 + 0.1
x = layers.GlobalAveragePooling2D()(x)
outputs = layers.Dense(5)(x)
model = keras.Model(inputs, outputs, name="tiny_resnet")

rng = np.random.default_rng(1)
x_train = rng.integers(0, 256, (64, 16, 16, 3)).astype("uint8")
y_train = rng.integers(0, 5, (64, 1))
model.compile(
    optimizer=keras.optimizers.SGD(
        keras.optimizers.schedules.CosineDecay(0.1, decay_steps=20), momentum=0.9, nesterov=True
    ),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=[
        keras.metrics.SparseCategoricalAccuracy(name="acc"),
        keras.metrics.SparseTopKCategoricalAccuracy(k=2),
    ],
)
history = model.fit(
    x_train, y_train, epochs=3, batch_size=16, validation_data=(x_train, y_train),
    callbacks=[keras.callbacks.EarlyStopping(monitor="loss", patience=10), keras.callbacks.TerminateOnNaN()],
)  # fmt: skip
assert "val_sparse_top_k_categorical_accuracy" in history.history
assert model.get_layer("dense").units == 5
assert len(model.layers) == len({layer.name for layer in model.layers})
features = keras.Model(model.input, model.get_layer("global_average_pooling2d").output)
assert features.predict(x_train, verbose=0).shape == (64, 16)
