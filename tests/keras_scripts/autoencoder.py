"""A convolutional autoencoder: strided convolutions down, transposed convolutions and upsampling up."""

import keras
import numpy as np
from keras import layers

inputs = keras.Input(shape=(16, 16, 1))
x = layers.Conv2D(8, (3, 3), activation="relu", padding="same", strides=2)(inputs)
x = layers.Conv2D(4, (3, 3), activation="relu", padding="same", strides=2)(x)
encoded = layers.Conv2D(2, 1, name="code")(x)
x = layers.Conv2DTranspose(4, (3, 3), strides=2, activation="relu", padding="same")(encoded)
x = layers.UpSampling2D((2, 2))(x)
x = layers.ZeroPadding2D(1)(x)
decoded = layers.Conv2D(1, (3, 3), activation="sigmoid")(x)
autoencoder = keras.Model(inputs, decoded)
autoencoder.compile(optimizer="adam", loss="binary_crossentropy")
x_train = np.random.default_rng(0).uniform(size=(64, 16, 16, 1)).astype("float32")
history = autoencoder.fit(
    x_train, x_train, epochs=3, batch_size=16, shuffle=True, validation_data=(x_train[:8], x_train[:8])
)
assert history.history["loss"][-1] < history.history["loss"][0]
encoder = keras.Model(inputs, encoded)
assert encoder.predict(x_train[:4]).shape == (4, 4, 4, 2)
