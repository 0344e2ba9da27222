"""The callbacks that every script uses, and one of one's own."""

import keras
import numpy as np
from keras import layers


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_begin(self, logs=None):
        self.seen.append("begin")

    def on_train_batch_end(self, batch, logs=None):
        assert "loss" in logs

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append((epoch, sorted(logs)))

    def on_train_end(self, logs=None):
        self.seen.append("end")


keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)
x = rng.normal(size=(100, 20)).astype("float32")
y = (x[:, 0] + x[:, 1] > 0).astype("int32")
model = keras.Sequential(
    [layers.Dense(8, activation="relu", input_shape=(20,)), layers.Dense(1, activation="sigmoid")]
)
model.compile(optimizer=keras.optimizers.Adam(0.02), loss="binary_crossentropy", metrics=["accuracy"])
recorder = Recorder()
history = model.fit(
    x, y, epochs=12, batch_size=25, validation_split=0.2, verbose=0,
    callbacks=[
        recorder,
        keras.callbacks.ModelCheckpoint("best.keras", monitor="val_loss", save_best_only=True),
        keras.callbacks.ReduceLROnPlateau(factor=0.5, patience=2, min_lr=1e-5),
        keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True),
        keras.callbacks.CSVLogger("log.csv"),
        keras.callbacks.LearningRateScheduler(lambda epoch, lr: lr * 0.95),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None),
    ],
)  # fmt: skip
assert recorder.seen[0] == "begin" and recorder.seen[-1] == "end"
assert "learning_rate" in history.history
best = keras.models.load_model("best.keras")
assert abs(best.evaluate(x[80:], y[80:], verbose=0)[0] - min(history.history["val_loss"])) < 1e-4
with open("log.csv") as file:
    assert len(file.readlines()) == len(history.epoch) + 1
