"""Depthwise separable blocks with ReLU6 and momentum of batch normalisation, label smoothing, EMA of weights."""

import keras
import numpy as np
from keras import layers
from keras.optimizers import SGD
from keras.optimizers.schedules import ExponentialDecay


def depthwise_block(x, filters, stride, index):
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"pad_{index}")(x) if stride == 2 else x
    padding = "valid" if stride == 2 else "same"
    x = layers.DepthwiseConv2D(3, strides=stride, padding=padding, use_bias=False, name=f"depthwise_{index}")(
        x
    )
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3)(x)
    x = layers.ReLU(max_value=6.0)(x)
    x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=f"pointwise_{index}")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3)(x)
    return layers.ReLU(6.0)(x)


def squeeze_excite(x, ratio=4):
    channels = x.shape[-1]
    s = layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = layers.Conv2D(channels // ratio, 1, activation="relu")(s)
    s = layers.Conv2D(channels, 1, activation="hard_sigmoid")(s)
    return layers.Multiply()([x, s])


keras.utils.set_random_seed(4)
rng = np.random.default_rng(4)
y = rng.integers(0, 5, 150)
x = rng.normal(size=(150, 17, 17, 3)).astype("float32")
x[np.arange(150), :, :, y % 3] += (1.0 + y // 3)[:, None, None]
y = keras.utils.to_categorical(y, 5)

inputs = layers.Input(shape=(17, 17, 3))
h = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(inputs)
h = layers.BatchNormalization(momentum=0.9)(h)
h = layers.Activation("relu6")(h)
h = depthwise_block(h, 16, 1, 1)
h = depthwise_block(h, 24, 2, 2)
h = squeeze_excite(h)
h = layers.SeparableConv2D(32, 3, padding="same", depth_multiplier=2, activation="relu")(h)
h = layers.GlobalAveragePooling2D()(h)
h = layers.Dropout(0.1)(h)
outputs = layers.Dense(5, activation="softmax")(h)
model = keras.Model(inputs, outputs, name="mobile")
schedule = ExponentialDecay(initial_learning_rate=0.05, decay_steps=10, decay_rate=0.9, staircase=True)
model.compile(
    optimizer=SGD(schedule, momentum=0.9, use_ema=True, ema_momentum=0.8, weight_decay=1e-4),
    loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
    metrics=[
        "accuracy",
        "top_k_categorical_accuracy",
        keras.metrics.TopKCategoricalAccuracy(k=2, name="top2"),
    ],
)
history = model.fit(x, y, batch_size=30, epochs=6, validation_split=0.2, verbose=0)
assert list(history.history)[:4] == ["accuracy", "loss", "top2", "top_k_categorical_accuracy"]
assert history.history["top_k_categorical_accuracy"] == [1.0] * 6
assert history.history["loss"][-1] < history.history["loss"][0]
assert model.count_params() == sum(int(np.prod(w.shape)) for w in model.weights)
trainable = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
assert model.count_params() - trainable == 2 * (8 + 8 + 16 + 16 + 24)

# inference does not touch the moving statistics
before = model.get_weights()
model.predict(x[:10], verbose=0)
model.evaluate(x, y, verbose=0)
for old, new in zip(before, model.get_weights()):
    np.testing.assert_array_equal(old, new)
moving = [w for w in model.non_trainable_weights if "moving_mean" in w.name]
assert len(moving) == 5
