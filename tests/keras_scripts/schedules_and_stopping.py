"""Schedules, plateaus, early stopping with restored weights, checkpoints by epoch, and training resumed from one."""

import os

import keras
import numpy as np
from keras import layers
from keras.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau, TerminateOnNaN

keras.utils.set_random_seed(3)
rng = np.random.default_rng(3)
y = rng.integers(0, 4, 200)
x = rng.normal(size=(200, 8, 8, 2)).astype("float32") * 0.7
x[np.arange(200), y, y, 0] += 3.0
labels = keras.utils.to_categorical(y, num_classes=4)
x_train, y_train, x_val, y_val = x[:150], labels[:150], x[150:], labels[150:]


def build_model():
    return keras.models.Sequential(
        [
            layers.InputLayer(shape=(8, 8, 2)),
            layers.Conv2D(8, (3, 3), activation="relu", kernel_regularizer=keras.regularizers.l2(1e-4)),
            layers.MaxPool2D((2, 2)),
            layers.Flatten(),
            layers.Dense(16, activation="relu"),
            layers.Dense(4, activation="softmax"),
        ]
    )


# a schedule counts batches
schedule = keras.optimizers.schedules.CosineDecay(0.05, decay_steps=30, warmup_target=0.1, warmup_steps=5)
model = build_model()
model.compile(keras.optimizers.SGD(schedule, momentum=0.9, nesterov=True), "categorical_crossentropy")
model.fit(x_train, y_train, batch_size=50, epochs=4, verbose=0)
assert int(model.optimizer.iterations) == 12
assert np.isclose(float(model.optimizer.learning_rate), float(schedule(12)))

# callbacks count epochs
os.makedirs("checkpoints", exist_ok=True)
model = build_model()
model.compile(
    optimizer=keras.optimizers.RMSprop(learning_rate=0.01),
    loss=keras.losses.CategoricalCrossentropy(label_smoothing=0.05),
    metrics=[keras.metrics.CategoricalAccuracy(name="acc")],
)
stopping = EarlyStopping(monitor="val_acc", mode="max", patience=4, restore_best_weights=True, verbose=1)
history = model.fit(
    x_train,
    y_train,
    validation_data=(x_val, y_val),
    batch_size=32,
    epochs=30,
    verbose=0,
    callbacks=[
        ReduceLROnPlateau(monitor="val_loss", factor=0.5, patience=2, min_lr=1e-4, verbose=0),
        stopping,
        ModelCheckpoint("checkpoints/{epoch:02d}.weights.h5", save_weights_only=True),
        ModelCheckpoint("best.keras", monitor="val_acc", mode="max", save_best_only=True),
        TerminateOnNaN(),
    ],
)
epochs = len(history.epoch)
assert history.epoch == list(range(epochs))
assert len(os.listdir("checkpoints")) == epochs
rates = history.history["learning_rate"]
assert rates == sorted(rates, reverse=True)
best = max(history.history["val_acc"])
assert abs(model.evaluate(x_val, y_val, verbose=0)[1] - best) < 1e-6
if epochs < 30:
    assert stopping.stopped_epoch == epochs - 1
    assert stopping.best_epoch == int(np.argmax(history.history["val_acc"]))

# resume where the checkpoint left
resumed = keras.models.load_model("best.keras")
assert abs(resumed.evaluate(x_val, y_val, verbose=0)[1] - best) < 1e-6
again = resumed.fit(x_train, y_train, initial_epoch=epochs, epochs=epochs + 2, verbose=0)
assert again.epoch == [epochs, epochs + 1]
model.load_weights("checkpoints/01.weights.h5")
assert abs(model.evaluate(x_val, y_val, verbose=0)[1] - history.history["val_acc"][0]) < 1e-6
resumed.optimizer.learning_rate = 1e-5
assert np.isclose(float(resumed.optimizer.learning_rate), 1e-5)
