"""Train a small network on real handwritten digits, save it, load it, and look at what it says."""

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from fastcnn import backend, config, layers, models, optimizers
from fastcnn.backend import machine
from fastcnn.datasets import digits
from fastcnn.models import Sequential
from fastcnn.plan.progress import compile_progress
from fastcnn.schedules import CosineDecay
from fastcnn.version import __version__

EPOCHS = 15
BATCH = 32
RATE = 0.003  # falls to zero along half a cosine
SHADES = " .:-=+*#%@"
FILE = "digits.safetensors"

NEXT = """
What next
  the same in your own script   see "A first network" in the README
  your own images               fastcnn.utils.image_dataset_from_directory("folder")
  check this installation       python -m fastcnn doctor
  compile every kernel now      python -m fastcnn warmup
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command: none."""


def run(arguments: argparse.Namespace) -> int:
    """Train, save, load and show; returns the exit status."""
    start = time.perf_counter()
    processor, threads = machine.processor(), backend.get("cpu").num_threads()
    print(f"fastcnn {__version__}, {threads} threads, {processor.vector_bits}-bit vectors ({processor.name})")
    config.set_random_seed(1)
    (x, y), (x_test, y_test) = load_digits()
    print(f"{len(x)} images of handwritten digits to learn from, {len(x_test)} held out\n")
    model = make_model(steps=EPOCHS * -(-len(x) // BATCH))
    with compile_progress():
        model.fit(x, y, batch_size=BATCH, epochs=EPOCHS, validation_data=(x_test, y_test))
    accuracy = model.evaluate(x_test, y_test, verbose=0)[1]
    path = writable_folder() / FILE
    model.save(path)
    reloaded = models.load_model(path)
    predicted = reloaded.predict(x_test, verbose=0).argmax(axis=1)
    print(f"\nsaved to {path} and loaded again; it says of the held-out images:\n")
    print(draw(x_test, y_test, predicted))
    right = int((predicted == y_test).sum())
    print(f"\n{right} of {len(y_test)} held-out digits right ({accuracy:.1%})", end="")
    print(f", {time.perf_counter() - start:.0f} s in all")
    print(NEXT)
    return 0


def load_digits() -> tuple[digits.Split, digits.Split]:
    """The digits with pixels in [0, 1]."""
    (x, y), (x_test, y_test) = digits.load_data()
    return (x / np.float32(digits.MAX_PIXEL), y), (x_test / np.float32(digits.MAX_PIXEL), y_test)


def make_model(steps: int) -> Sequential:
    """A network of two convolutions, compiled to be trained for that many steps."""
    model = Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.4),
            layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = optimizers.Adam(CosineDecay(RATE, steps))
    model.compile(optimizer, loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def writable_folder() -> Path:
    """The current folder, or a temporary one where that cannot be written to."""
    here = Path.cwd()
    return here if os.access(here, os.W_OK) else Path(tempfile.mkdtemp(prefix="fastcnn-"))


def draw(x: np.ndarray, y: np.ndarray, predicted: np.ndarray, count: int = 5) -> str:
    """Some digits as text, side by side, with what was predicted. Mistakes come first: they are worth seeing."""
    order = np.argsort(predicted == y, kind="stable")[:count]
    pictures = [_picture(x[i, :, :, 0]) + [f"says {predicted[i]}, is {y[i]}".center(16)] for i in order]
    return "\n".join("   ".join(line) for line in zip(*pictures, strict=True))


def _picture(image: np.ndarray) -> list[str]:
    """One line of 16 characters for each row of 8 pixels in [0, 1]."""
    shades = np.clip((image * len(SHADES)).astype(int), 0, len(SHADES) - 1)
    return ["".join(SHADES[shade] * 2 for shade in row) for row in shades]
