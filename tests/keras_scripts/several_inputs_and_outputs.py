"""Image and table in, class and number out: dicts of losses, weights of losses, metrics for each output."""

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(21)
rng = np.random.default_rng(21)
n = 120
kind = rng.integers(0, 3, n)
table = rng.normal(size=(n, 5)).astype("float32")
image = (0.3 * rng.normal(size=(n, 10, 10, 1))).astype("float32")
image[np.arange(n), 3 * kind, 3 * kind, 0] += 4
price = (table[:, :1] * 2 + kind[:, None]).astype("float32")
inputs = {"image": image, "table": table}
targets = {"kind": kind, "price": price}

image_in = keras.Input((10, 10, 1), name="image")
table_in = keras.Input((5,), name="table")
a = layers.Conv2D(6, 3, activation="relu")(image_in)
a = layers.Flatten()(layers.MaxPooling2D()(a))
b = layers.Dense(8, activation="tanh")(table_in)
joined = layers.concatenate([a, b])
joined = layers.Dense(16, activation="relu")(joined)
kind_out = layers.Dense(3, activation="softmax", name="kind")(joined)
price_out = layers.Dense(1, name="price")(joined)
model = keras.Model(inputs=[image_in, table_in], outputs=[kind_out, price_out])
model.compile(
    optimizer="adam",
    loss={"kind": "sparse_categorical_crossentropy", "price": "mse"},
    loss_weights={"kind": 1.0, "price": 0.25},
    metrics={
        "kind": ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(k=2, name="top2")],
        "price": "mae",
    },
)
history = model.fit(inputs, targets, epochs=6, batch_size=24, validation_split=0.2, verbose=0)
assert sorted(history.history) == sorted(
    prefix + name
    for prefix in ("", "val_")
    for name in ("loss", "kind_loss", "price_loss", "kind_accuracy", "kind_top2", "price_mae")
)
for total, part, other in zip(*(history.history[name] for name in ("loss", "kind_loss", "price_loss"))):
    assert abs(total - (part + 0.25 * other)) < 1e-3

logs = model.evaluate(inputs, targets, verbose=0, return_dict=True)
values = model.evaluate([image, table], [kind, price], verbose=0)
assert len(values) == 6 and abs(values[0] - logs["loss"]) < 1e-6
kinds, prices = model.predict({"image": image, "table": table}, verbose=0)
assert kinds.shape == (n, 3) and prices.shape == (n, 1)
assert abs(np.abs(prices - price).mean() - logs["price_mae"]) < 1e-4
assert abs((kinds.argmax(-1) == kind).mean() - logs["kind_accuracy"]) < 1e-6

# lists instead of dicts, one output without a loss, weights for each output
model.compile(
    optimizer=keras.optimizers.SGD(0.01),
    loss=["sparse_categorical_crossentropy", keras.losses.Huber(delta=0.5)],
    loss_weights=[0.7, 0.3],
    metrics=[["accuracy"], ["mae", "mse"]],
)
weights = [np.linspace(0.5, 1.5, n), np.ones(n)]
one = model.train_on_batch([image, table], [kind, price], sample_weight=weights, return_dict=True)
assert set(one) == {"loss", "kind_loss", "price_loss", "kind_accuracy", "price_mae", "price_mse"}
assert abs(one["loss"] - (0.7 * one["kind_loss"] + 0.3 * one["price_loss"])) < 1e-4

# a model whose outputs are a dict
named = keras.Model({"image": image_in, "table": table_in}, {"kind": kind_out, "price": price_out})
named.compile("rmsprop", loss={"kind": "sparse_categorical_crossentropy", "price": "mae"})
named.fit(inputs, targets, epochs=1, verbose=0)
outputs = named.predict(inputs, verbose=0)
assert set(outputs) == {"kind", "price"} and outputs["price"].shape == (n, 1)
