"""One's own epochs: batches by hand, metric objects, a schedule by hand, the best weights kept, an evaluation loop."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(17)
rng = np.random.default_rng(17)
y = rng.integers(0, 3, 210)
x = rng.normal(size=(210, 9, 9, 1)).astype("float32") * 0.5
x[np.arange(210), 3 * y, 3 * y, 0] += 3
x_train, y_train, x_val, y_val = x[:150], y[:150], x[150:], y[150:]

model = keras.Sequential(
    [
        keras.Input((9, 9, 1)),
        layers.Conv2D(8, 3, activation="relu"),
        layers.Flatten(),
        layers.Dense(3),
    ]
)
loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
optimizer = keras.optimizers.SGD(learning_rate=0.1, momentum=0.9)
model.compile(optimizer=optimizer, loss=loss_fn, metrics=["accuracy"])
train_loss = keras.metrics.Mean(name="train_loss")
val_accuracy = keras.metrics.SparseCategoricalAccuracy(name="val_accuracy")
val_loss = keras.metrics.Mean()
best, best_weights, log = -1.0, None, []
progress = keras.utils.Progbar(5, verbose=0)
for epoch in range(5):
    optimizer.learning_rate = 0.1 * 0.7**epoch
    order = rng.permutation(len(x_train))
    for metric in (train_loss, val_accuracy, val_loss):
        metric.reset_state()
    for step in range(0, len(order), 30):
        rows = order[step : step + 30]
        loss, accuracy = model.train_on_batch(x_train[rows], y_train[rows])
        train_loss.update_state(loss, sample_weight=len(rows))
    for step in range(0, len(x_val), 16):
        batch, labels = x_val[step : step + 16], y_val[step : step + 16]
        logits = model(batch, training=False)
        val_loss.update_state(loss_fn(labels, logits), sample_weight=len(batch))
        val_accuracy.update_state(labels, logits)
    score = float(val_accuracy.result())
    log.append({"epoch": epoch, "loss": float(train_loss.result()), "val": score})
    progress.update(epoch + 1, [("loss", float(train_loss.result()))])
    if score > best:
        best, best_weights = score, model.get_weights()
    loss, accuracy = model.evaluate(x_val, y_val, verbose=0)
    assert abs(accuracy - score) < 1e-6
    assert abs(loss - float(val_loss.result())) < 1e-4
model.set_weights(best_weights)
assert abs(model.evaluate(x_val, y_val, verbose=0)[1] - best) < 1e-6
assert log[-1]["loss"] < log[0]["loss"]
assert int(optimizer.iterations) == 25
assert best > 0.6
