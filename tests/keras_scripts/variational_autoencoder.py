"""A variational autoencoder: a sampling layer, a loss of the whole model with metrics of its own, sizes from shapes."""

import keras
import numpy as np
from keras import layers, ops

keras.utils.set_random_seed(3)
x = np.zeros((96, 12, 12, 1), "float32")
for image, place in zip(x, np.random.default_rng(3).integers(0, 6, (96, 2)), strict=True):
    image[place[0] : place[0] + 6, place[1] : place[1] + 6] = 1.0


class Sampling(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(5)

    def call(self, inputs):
        mean, log_variance = inputs
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise


inputs = keras.Input((12, 12, 1))
features = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(inputs)
features = layers.Dense(16, activation="relu")(layers.Flatten()(features))
mean, log_variance = layers.Dense(2, name="mean")(features), layers.Dense(2, name="log_variance")(features)
encoder = keras.Model(inputs, [mean, log_variance, Sampling()([mean, log_variance])], name="encoder")

codes = keras.Input((2,))
pixels = layers.Reshape((6, 6, 8))(layers.Dense(288, activation="relu")(codes))
pixels = layers.Conv2DTranspose(8, 3, strides=2, padding="same", activation="relu")(pixels)
decoder = keras.Model(
    codes, layers.Conv2D(1, 3, padding="same", activation="sigmoid")(pixels), name="decoder"
)


class VAE(keras.Model):
    def __init__(self, encoder, decoder, **kwargs):
        super().__init__(**kwargs)
        self.encoder, self.decoder = encoder, decoder
        self.total_tracker = keras.metrics.Mean(name="total")
        self.kl_tracker = keras.metrics.Mean(name="kl")

    @property
    def metrics(self):
        return [self.total_tracker, self.kl_tracker]

    def call(self, x):
        mean, log_variance, code = self.encoder(x)
        return self.decoder(code), mean, log_variance

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        pixels, mean, log_variance = y_pred
        error = ops.mean(ops.sum(keras.losses.binary_crossentropy(x, pixels), axis=(1, 2)))
        kl = -0.5 * ops.mean(ops.sum(1 + log_variance - ops.square(mean) - ops.exp(log_variance), axis=1))
        self.total_tracker.update_state(error + kl)
        self.kl_tracker.update_state(kl)
        return error + kl


model = VAE(encoder, decoder)
model.compile(optimizer=keras.optimizers.Adam(0.01))
history = model.fit(x, batch_size=24, epochs=6, verbose=0).history
assert sorted(history) == ["kl", "total"]
assert history["total"][-1] < 0.9 * history["total"][0]
assert encoder.predict(x[:5], verbose=0)[2].shape == (5, 2)
assert decoder.predict(np.zeros((3, 2)), verbose=0).shape == (3, 12, 12, 1)
