"""What faster arithmetic does to accuracy: the same networks trained in each of the precisions there are.

    python examples/precision.py            # LeNet-5 on MNIST and a small VGG on CIFAR-10, some minutes

"strict": plain sums in float32. "fast", the default: Winograd's algorithm too. "faster": numbers as sums of two
bfloat16 numbers too. "mixed_bfloat16", a dtype policy: what is multiplied is rounded to bfloat16, the rest is float32.
The last two differ from "fast" only on processors with matrix tiles (Intel AMX).

Test accuracy in per cent after 3 epochs, two seeds each (Intel Xeon with AMX; CIFAR-10 as JPEG files):

                    seed 0   seed 1
    mnist    strict        98.69    98.74
             fast          98.69    98.74
             faster        98.70    98.77
             mixed         98.76    98.81
    cifar10  strict        68.53    68.23
             fast          68.73    69.22
             faster        68.50    68.34
             mixed         68.60    66.24

Seeds 2 and 3 gave, on CIFAR-10, fast 72.21 and 63.48, mixed 70.90 and 63.00: precisions differ less than seeds do.
LeNet-5 has no 3 x 3 convolutions, so "fast" is "strict" there.
"""

import sys
import time

import numpy as np

import fastcnn as keras
from fastcnn import layers

BATCH = 128
EPOCHS = {"mnist": 3, "cifar10": 3}
SEEDS = (0, 1)
PRECISIONS = ("strict", "fast", "faster", "mixed_bfloat16")


def lenet5():
    return [
        keras.Input((28, 28, 1)),
        layers.Conv2D(6, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(16, 5, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(120, activation="relu"),
        layers.Dense(84, activation="relu"),
        layers.Dense(10),
    ]


def small_vgg():
    stages = [keras.Input((32, 32, 3))]
    for filters in (32, 64, 128):
        for _ in range(2):
            stages += [
                layers.Conv2D(filters, 3, padding="same", use_bias=False),
                layers.BatchNormalization(momentum=0.9),
            ]
            stages += [layers.ReLU()]
        stages.append(layers.MaxPooling2D(2))
    return [
        *stages,
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.3),
        layers.Dense(10),
    ]


def data(name):
    (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    scale = (
        (lambda x: x[..., None] / np.float32(255))
        if name == "mnist"
        else (lambda x: x / np.float32(127.5) - 1)
    )
    return scale(x_train), y_train, scale(x_test), y_test


def train(precision, network, arrays, epochs, seed):
    """(test accuracy, seconds) of one training."""
    keras.config.set_precision(precision if precision in ("strict", "fast", "faster") else "fast")
    keras.mixed_precision.set_global_policy("mixed_bfloat16" if precision == "mixed_bfloat16" else "float32")
    keras.utils.set_random_seed(seed)
    x_train, y_train, x_test, y_test = arrays
    model = keras.Sequential(network())
    steps = epochs * -(-len(x_train) // BATCH)
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    start = time.perf_counter()
    model.fit(x_train, y_train, BATCH, epochs, verbose=0)
    seconds = time.perf_counter() - start
    return model.evaluate(x_test, y_test, 256, verbose=0)[1], seconds


print(f"{'':10}{'':16}" + "".join(f"seed {seed:<8}" for seed in SEEDS) + "mean     seconds")
for name, network in (("mnist", lenet5), ("cifar10", small_vgg)):
    if len(sys.argv) > 1 and name not in sys.argv[1:]:
        continue
    arrays = data(name)
    for precision in PRECISIONS:
        found = [train(precision, network, arrays, EPOCHS[name], seed) for seed in SEEDS]
        accuracies = [accuracy for accuracy, _ in found]
        shown = "".join(f"{100 * accuracy:6.2f} %     " for accuracy in accuracies)
        mean = f"{100 * np.mean(accuracies):5.2f} %"
        print(f"{name:10}{precision:16}{shown}{mean}  {min(s for _, s in found):6.1f}", flush=True)
keras.config.set_precision("fast")
keras.mixed_precision.set_global_policy("float32")
