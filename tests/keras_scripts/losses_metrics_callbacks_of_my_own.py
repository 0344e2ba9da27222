"""A loss function, a metric class, a regularizer function and a callback with every hook, all of one's own."""

import keras
import numpy as np
from keras import layers, ops


def soft_dice(y_true, y_pred):
    """One value a sample."""
    y_true = ops.cast(y_true, y_pred.dtype)
    common = ops.sum(y_true * y_pred, axis=(1, 2, 3))
    total = ops.sum(y_true, axis=(1, 2, 3)) + ops.sum(y_pred, axis=(1, 2, 3))
    return 1.0 - (2.0 * common + 1.0) / (total + 1.0)


class CombinedLoss(keras.losses.Loss):
    def __init__(self, weight=0.5, name="combined", **kwargs):
        super().__init__(name=name, **kwargs)
        self.weight = weight

    def call(self, y_true, y_pred):
        crossentropy = keras.losses.binary_crossentropy(y_true, y_pred)
        return self.weight * ops.mean(crossentropy, axis=(1, 2)) + (1 - self.weight) * soft_dice(
            y_true, y_pred
        )


class MeanIntersectionOverUnion(keras.metrics.Metric):
    def __init__(self, threshold=0.5, name="my_iou", **kwargs):
        super().__init__(name=name, **kwargs)
        self.threshold = threshold
        self.total = self.add_weight(name="total", initializer="zeros")
        self.count = self.add_weight(name="count", initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_true = ops.cast(y_true, "float32")
        predicted = ops.cast(y_pred > self.threshold, "float32")
        common = ops.sum(y_true * predicted, axis=(1, 2, 3))
        union = ops.sum(ops.maximum(y_true, predicted), axis=(1, 2, 3))
        self.total.assign(self.total + ops.sum((common + 1e-6) / (union + 1e-6)))
        self.count.assign_add(float(y_true.shape[0]))

    def result(self):
        return self.total / self.count


class Journal(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.events = []

    def on_train_begin(self, logs=None):
        self.events.append("train_begin")
        assert self.params["epochs"] == 2 and self.params["steps"] == 3

    def on_train_end(self, logs=None):
        self.events.append("train_end")
        assert "val_loss" in logs

    def on_epoch_begin(self, epoch, logs=None):
        self.events.append(f"epoch_begin_{epoch}")

    def on_epoch_end(self, epoch, logs=None):
        self.events.append(f"epoch_end_{epoch}")
        self.last = dict(logs)

    def on_train_batch_begin(self, batch, logs=None):
        self.events.append(f"batch_begin_{batch}")
        assert not logs

    def on_train_batch_end(self, batch, logs=None):
        self.events.append(f"batch_end_{batch}")
        assert isinstance(logs["loss"], float)

    def on_test_begin(self, logs=None):
        self.events.append("test_begin")

    def on_test_end(self, logs=None):
        self.events.append("test_end")
        assert set(logs) == {"loss", "my_iou", "soft_dice"}

    def on_test_batch_begin(self, batch, logs=None):
        self.events.append(f"test_batch_begin_{batch}")

    def on_test_batch_end(self, batch, logs=None):
        self.events.append(f"test_batch_end_{batch}")

    def on_predict_begin(self, logs=None):
        self.events.append("predict_begin")

    def on_predict_end(self, logs=None):
        self.events.append("predict_end")

    def on_predict_batch_begin(self, batch, logs=None):
        self.events.append(f"predict_batch_begin_{batch}")

    def on_predict_batch_end(self, batch, logs=None):
        self.events.append(f"predict_batch_end_{batch}")
        assert logs["outputs"].shape[1:] == (8, 8, 1)


keras.utils.set_random_seed(9)
rng = np.random.default_rng(9)
x = rng.normal(size=(40, 8, 8, 1)).astype("float32")
y = (x > 0.3).astype("float32")
model = keras.Sequential(
    [
        keras.Input((8, 8, 1)),
        layers.Conv2D(
            4, 3, padding="same", activation="relu", kernel_regularizer=lambda w: 1e-4 * ops.sum(w**2)
        ),
        layers.Conv2D(1, 1, activation="sigmoid"),
    ]
)
model.compile("adam", loss=CombinedLoss(weight=0.7), metrics=[MeanIntersectionOverUnion(), soft_dice])
journal = Journal()
model.fit(
    x[:30], y[:30], batch_size=10, epochs=2, validation_data=(x[30:], y[30:]), callbacks=[journal], verbose=0
)
epoch = [event for k in range(3) for event in (f"batch_begin_{k}", f"batch_end_{k}")]
test = ["test_begin", "test_batch_begin_0", "test_batch_end_0", "test_end"]
assert journal.events == [
    "train_begin",
    "epoch_begin_0", *epoch, *test, "epoch_end_0",
    "epoch_begin_1", *epoch, *test, "epoch_end_1",
    "train_end",
]  # fmt: skip
assert set(journal.last) == {"loss", "my_iou", "soft_dice", "val_loss", "val_my_iou", "val_soft_dice"}
journal.events.clear()
model.predict(x[:20], batch_size=10, callbacks=[journal], verbose=0)
assert journal.events[0] == "predict_begin" and journal.events[-1] == "predict_end"
assert len(journal.events) == 6

# the metric says what NumPy says
metric = MeanIntersectionOverUnion()
metric.update_state(y, model.predict(x, verbose=0))
guess = model.predict(x, verbose=0) > 0.5
expected = np.mean([(a & b).sum() / (a | b).sum() for a, b in zip(y > 0, guess)])
assert abs(float(metric.result()) - expected) < 1e-4
metric.reset_state()
assert float(metric.count) == 0
loss = CombinedLoss()
assert 0 < float(loss(y, model(x))) < 2
plain = keras.Sequential([keras.Input((8, 8, 1)), layers.Conv2D(1, 1, activation="sigmoid")])
plain.compile("sgd", loss=soft_dice)
assert plain.train_on_batch(x, y) < 1
