"""Configurations, cloning, JSON, weights, strings for everything."""

import keras
import numpy as np
from keras import layers

model = keras.Sequential(name="net")
model.add(layers.Input((14, 14, 2)))
model.add(
    layers.Conv2D(
        6, 3, strides=(1, 1), dilation_rate=(2, 2), groups=2, padding="same", activation="elu",
        kernel_initializer=keras.initializers.HeNormal(seed=1), bias_initializer="ones",
        kernel_regularizer="l2", bias_regularizer=keras.regularizers.L1(1e-3),
        kernel_constraint=keras.constraints.MaxNorm(3),
        name="conv",
    )
)  # fmt: skip
model.add(layers.LayerNormalization())
model.add(layers.PReLU(shared_axes=[1, 2]))
model.add(layers.Cropping2D(((1, 0), (0, 1))))
model.add(layers.MaxPooling2D(3, strides=2, padding="same"))
model.add(layers.SpatialDropout2D(0.1))
model.add(layers.Permute((3, 1, 2)))
model.add(layers.Reshape((-1, 7)))
model.add(layers.GlobalMaxPooling1D())
model.add(layers.Dense(3, activation="gelu"))
model.add(layers.Activation("softmax"))
assert model.output_shape == (None, 3)

config = model.get_config()
twin = keras.Sequential.from_config(config)
twin.set_weights(model.get_weights())
x = np.random.default_rng(0).normal(size=(5, 14, 14, 2)).astype("float32")
np.testing.assert_allclose(model.predict(x, verbose=0), twin.predict(x, verbose=0), rtol=1e-6)
clone = keras.models.clone_model(model)
assert [w.shape for w in clone.get_weights()] == [w.shape for w in model.get_weights()]
third = keras.models.model_from_json(model.to_json())
third.set_weights(model.get_weights())
np.testing.assert_allclose(model.predict(x, verbose=0), third.predict(x, verbose=0), rtol=1e-6)
assert [layer.name for layer in third.layers][0] == "conv"
for optimizer in ("sgd", "rmsprop", "adam", "adamw", "adagrad", "adadelta", "adamax", "nadam", "lion"):
    model.compile(optimizer=optimizer, loss="kld", metrics=["mae", "categorical_accuracy"])
    y = keras.utils.to_categorical(np.arange(5) % 3, 3)
    loss = model.train_on_batch(x, y)[0]
    assert np.isfinite(loss), optimizer
for loss in (
    "mse",
    "mae",
    "huber",
    "log_cosh",
    "poisson",
    "cosine_similarity",
    "categorical_hinge",
    "hinge",
    "squared_hinge",
):
    model.compile("sgd", loss)
    assert np.all(np.isfinite(model.train_on_batch(x, y))), loss
