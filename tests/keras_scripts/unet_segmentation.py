"""A small U-Net: encoder, decoder with transposed convolutions, skips, pixel-wise classes and weights."""

import keras
import numpy as np
from keras import layers


def conv_block(x, filters, dropout=0.0):
    for _ in range(2):
        x = layers.Conv2D(filters, 3, padding="same", kernel_initializer="he_normal", use_bias=False)(x)
        x = layers.BatchNormalization()(x)
        x = layers.Activation("relu")(x)
    return layers.SpatialDropout2D(dropout)(x) if dropout else x


def build_unet(shape, classes, filters=8, depth=2):
    inputs = layers.Input(shape)
    skips, x = [], inputs
    for level in range(depth):
        x = conv_block(x, filters * 2**level)
        skips.append(x)
        x = layers.MaxPooling2D((2, 2))(x)
    x = conv_block(x, filters * 2**depth, dropout=0.1)
    for level, skip in reversed(list(enumerate(skips))):
        x = layers.Conv2DTranspose(filters * 2**level, (2, 2), strides=(2, 2), padding="same")(x)
        x = layers.Concatenate(axis=-1)([x, skip])
        x = conv_block(x, filters * 2**level)
    outputs = layers.Conv2D(classes, (1, 1), activation="softmax", name="mask")(x)
    return keras.Model(inputs, outputs, name="unet")


keras.utils.set_random_seed(2)
rng = np.random.default_rng(2)
n, size = 48, 16
masks = np.zeros((n, size, size), "int32")
for mask in masks:
    top, left = rng.integers(0, size - 6, 2)
    mask[top : top + 6, left : left + 5] = 1
    mask[(top + 8) % size, :] = 2
images = (masks[..., None] + 0.3 * rng.normal(size=(n, size, size, 1))).astype("float32")

model = build_unet((size, size, 1), classes=3)
assert model.output_shape == (None, size, size, 3)
assert sum(isinstance(layer, layers.Conv2D) for layer in model.layers) == 11
model.compile(
    optimizer=keras.optimizers.AdamW(learning_rate=0.01, weight_decay=1e-4, clipnorm=1.0),
    loss="categorical_crossentropy",
    metrics=[
        "accuracy",
        keras.metrics.MeanIoU(num_classes=3, sparse_y_true=False, sparse_y_pred=False, name="iou"),
    ],
)
targets = keras.utils.to_categorical(masks, num_classes=3)
history = model.fit(images, targets, batch_size=12, epochs=4, validation_split=0.25, verbose=0)
assert history.history["loss"][-1] < history.history["loss"][0]
assert history.history["accuracy"][-1] > 0.6
assert 0 <= history.history["val_iou"][-1] <= 1

# a weight for each pixel
pixel_weight = np.where(masks > 0, 2.0, 1.0).astype("float32")
model.fit(images, targets, sample_weight=pixel_weight, batch_size=12, epochs=1, verbose=0)
predicted = model.predict(images, batch_size=16, verbose=0)
np.testing.assert_allclose(predicted.sum(axis=-1), 1.0, atol=1e-5)
labels = predicted.argmax(axis=-1)
iou = keras.metrics.MeanIoU(num_classes=3)
iou.update_state(masks, labels)
by_hand = [((labels == c) & (masks == c)).sum() / ((labels == c) | (masks == c)).sum() for c in range(3)]
assert abs(float(iou.result()) - np.mean(by_hand)) < 1e-5
model.save("unet.keras")
restored = keras.saving.load_model("unet.keras")
np.testing.assert_allclose(restored.predict(images[:4], verbose=0), predicted[:4], atol=1e-5)
