"""A binary and a multi-class network judged by every usual metric, by evaluate and by hand."""

import keras
import numpy as np
from keras import layers, metrics

keras.utils.set_random_seed(12)
rng = np.random.default_rng(12)
x = rng.normal(size=(160, 6, 6, 1)).astype("float32")
y = (x.mean(axis=(1, 2, 3)) + 0.1 * rng.normal(size=160) > 0).astype("float32")

model = keras.Sequential([layers.Input((6, 6, 1)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten()])
model.add(layers.Dense(1, activation="sigmoid"))
model.compile(
    optimizer="adam",
    loss="binary_crossentropy",
    metrics=[
        "accuracy",
        metrics.AUC(name="auc"),
        metrics.AUC(curve="PR", num_thresholds=50, name="pr_auc"),
        metrics.Precision(name="precision"),
        metrics.Recall(thresholds=0.4, name="recall"),
        metrics.TruePositives(name="tp"),
        metrics.FalsePositives(name="fp"),
        metrics.TrueNegatives(name="tn"),
        metrics.FalseNegatives(name="fn"),
        metrics.F1Score(threshold=0.5, average="micro", name="f1"),
        metrics.SensitivityAtSpecificity(0.5, name="sensitivity"),
        metrics.BinaryIoU(target_class_ids=[1], threshold=0.5, name="iou"),
        metrics.MeanSquaredError(name="brier"),
    ],
)
model.fit(x, y.reshape(-1, 1), epochs=5, batch_size=32, verbose=0)
report = model.evaluate(x, y.reshape(-1, 1), verbose=0, return_dict=True)
p = model.predict(x, verbose=0)[:, 0]
guess = p > 0.5
tp, fp = int((guess & (y == 1)).sum()), int((guess & (y == 0)).sum())
fn, tn = int((~guess & (y == 1)).sum()), int((~guess & (y == 0)).sum())
assert (report["tp"], report["fp"], report["fn"], report["tn"]) == (tp, fp, fn, tn)
assert abs(report["precision"] - tp / (tp + fp)) < 1e-6
assert abs(report["recall"] - ((p > 0.4) & (y == 1)).sum() / (y == 1).sum()) < 1e-6
assert abs(report["accuracy"] - (tp + tn) / 160) < 1e-6
assert abs(report["f1"] - 2 * tp / (2 * tp + fp + fn)) < 1e-5
assert abs(report["iou"] - tp / (tp + fp + fn)) < 1e-5
assert abs(report["brier"] - ((p - y) ** 2).mean()) < 1e-5
pairs = (p[y == 1][:, None] > p[y == 0][None]).mean()
assert abs(report["auc"] - pairs) < 0.02
assert list(model.metrics_names)[0] == "loss"
assert all(isinstance(value, float) for value in report.values())

# several classes
y = rng.integers(0, 6, 160)
x[np.arange(160), y, y % 3, 0] += 4
onehot = keras.utils.to_categorical(y)
model = keras.Sequential([layers.Input((6, 6, 1)), layers.Flatten(), layers.Dense(6, activation="softmax")])
model.compile(
    keras.optimizers.Adam(0.02),
    loss="categorical_crossentropy",
    metrics=[
        "acc",
        "categorical_crossentropy",
        keras.metrics.TopKCategoricalAccuracy(k=3, name="top3"),
        keras.metrics.AUC(multi_label=True, num_labels=6, name="auc"),
        keras.metrics.Precision(top_k=1, name="precision_at_1"),
        keras.metrics.Recall(class_id=2, name="recall_of_2"),
        keras.metrics.F1Score(average="macro", name="f1"),
        keras.metrics.OneHotMeanIoU(num_classes=6, name="iou"),
    ],
)
model.fit(x, onehot, epochs=6, batch_size=20, verbose=0, validation_split=0.25)
report = model.evaluate(x, onehot, verbose=0, return_dict=True)
p = model.predict(x, verbose=0)
assert abs(report["acc"] - (p.argmax(1) == y).mean()) < 1e-6
assert abs(report["precision_at_1"] - report["acc"]) < 1e-6
assert abs(report["top3"] - (np.argsort(-p, 1)[:, :3] == y[:, None]).any(1).mean()) < 1e-6
assert abs(report["categorical_crossentropy"] - report["loss"]) < 1e-4

# metrics by themselves, batch by batch
auc, mean = metrics.AUC(), metrics.Mean()
for start in range(0, 160, 64):
    auc.update_state(onehot[start : start + 64], p[start : start + 64])
    mean.update_state(p[start : start + 64].max(axis=1))
assert 0.5 < float(auc.result()) <= 1
assert abs(float(mean.result()) - p.max(axis=1).mean()) < 1e-5
sparse = metrics.SparseCategoricalAccuracy()
assert abs(float(sparse(y, p)) - report["acc"]) < 1e-6
