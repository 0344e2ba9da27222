"""LeNet-5 (LeCun et al. 1998) on MNIST: the first convolutional network.

Result (one run): 99.19 % test accuracy after 5 epochs, in 27 s on 2 cores of an Intel Xeon (AVX-512).
"""

import time

import fastcnn as keras
from fastcnn import layers

EPOCHS = 5
BATCH = 64  # smaller steps generalise better here; larger ones are little faster
RATE = 2e-3  # of Adam, to zero along a cosine

keras.utils.set_random_seed(0)
(x_train, y_train), (x_test, y_test) = keras.datasets.mnist.load_data()
x_train, x_test = x_train[..., None] / 255.0, x_test[..., None] / 255.0

model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        layers.Conv2D(6, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(16, 5, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(120, activation="relu"),
        layers.Dense(84, activation="relu"),
        layers.Dense(10, activation="softmax"),
    ],
    name="lenet5",
)
model.summary()

steps = EPOCHS * -(-len(x_train) // BATCH)
model.compile(
    optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, steps)),
    loss="sparse_categorical_crossentropy",
    metrics=["accuracy"],
)
start = time.perf_counter()
model.fit(x_train, y_train, batch_size=BATCH, epochs=EPOCHS, validation_data=(x_test, y_test))
seconds = time.perf_counter() - start
loss, accuracy = model.evaluate(x_test, y_test, verbose=0)
print(f"test accuracy {100 * accuracy:.2f} %, {EPOCHS} epochs in {seconds:.1f} s")
