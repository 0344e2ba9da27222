"""python -m bench.augment: images a second of augmentations, of fastcnn, NumPy, Pillow and Keras, alternating.

Every transform on float32 batches, and a recipe from bytes to normalised float32: mirror, crop out of a border of 4
pixels, turn by up to 15 degrees, colour jitter, normalise. All run in one process, one after the other, round after
round; what is reported is the best of a round and the ratio to fastcnn. Keras runs on its PyTorch backend.
"""

import argparse
import functools
import os
import platform
import time
from collections.abc import Callable
from importlib.util import find_spec as find
from typing import Any

import numpy as np

from bench.measure import alternating

os.environ.setdefault("KERAS_BACKEND", "torch")

TURN = 15 / 360
JITTER = 0.2
MEAN, VARIANCE = [125.3, 123.0, 113.9], [63.0**2, 62.1**2, 66.7**2]
Run = Callable[[np.ndarray], Any]
LAYERS: dict[str, tuple[str, dict[str, Any]]] = {
    "flip": ("RandomFlip", {}),
    "rotation": ("RandomRotation", {"factor": 0.1, "fill_mode": "nearest"}),
    "translation": ("RandomTranslation", {"height_factor": 0.1, "width_factor": 0.1, "fill_mode": "nearest"}),
    "zoom": ("RandomZoom", {"height_factor": 0.2, "fill_mode": "nearest"}),
    "shear": ("RandomShear", {"x_factor": 0.2, "fill_mode": "nearest"}),
    "perspective": ("RandomPerspective", {"scale": 0.3}),
    "elastic": ("RandomElasticTransform", {"fill_mode": "nearest"}),
    "brightness": ("RandomBrightness", {"factor": 0.2}),
    "contrast": ("RandomContrast", {"factor": 0.2}),
    "saturation": ("RandomSaturation", {"factor": (0.4, 0.6)}),
    "hue": ("RandomHue", {"factor": 0.1}),
    "sharpness": ("RandomSharpness", {"factor": 0.5}),
    "gray": ("RandomGrayscale", {}),
    "invert": ("RandomInvert", {}),
    "posterization": ("RandomPosterization", {"factor": 5}),
    "solarization": ("Solarization", {"threshold_factor": 0.5}),
    "auto contrast": ("AutoContrast", {}),
    "equalization": ("Equalization", {}),
    "erasing": ("RandomErasing", {}),
    "blur": ("RandomGaussianBlur", {}),
    "mixup": ("MixUp", {}),
    "cutmix": ("CutMix", {}),
    "rand augment": ("RandAugment", {}),
}


def images(n: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


# --- the recipe ------------------------------------------------------------------------------------------------


def of_moves(layers: Any) -> list[Any]:
    """Moves of pixels in a row."""
    edge = {"fill_mode": "nearest"}
    return [
        layers.RandomFlip(), layers.RandomRotation(0.1, **edge), layers.RandomZoom(0.1, **edge),
        layers.RandomTranslation(0.1, 0.1, **edge), layers.RandomShear(0.1, 0.1, **edge),
    ]  # fmt: skip


def of_layers(layers: Any, size: int) -> list[Any]:
    """The recipe in layers that Keras and fastcnn have."""
    return [
        layers.RandomFlip("horizontal"), layers.ZeroPadding2D(4), layers.RandomCrop(size, size),
        layers.RandomRotation(TURN, fill_mode="constant"),
        layers.RandomColorJitter((0, 255), JITTER, JITTER, (0.4, 0.6), 0.05),
        layers.Normalization(mean=MEAN, variance=VARIANCE),
    ]  # fmt: skip


def in_two_passes() -> Any:
    """The recipe as one move of pixels and one change of colours."""
    from fastcnn import layers

    return layers.Pipeline(
        [
            layers.RandomAffine(horizontal_flip=True, rotation=TURN, padding=4),
            layers.RandomColors(JITTER, JITTER, JITTER, 0.05, mean=MEAN, variance=VARIANCE),
        ]
    )


def fastcnn_recipe(size: int) -> Run:
    from fastcnn.data import Dataset

    recipe = in_two_passes()
    dataset: list[Any] = []

    def run(x: np.ndarray) -> Any:
        if not dataset:
            dataset.append(Dataset(x).shuffle(1).batch(len(x)).map(recipe))
        return next(dataset[0].epoch(0)).x

    return run


def fastcnn_layers(size: int) -> Run:
    from fastcnn import layers
    from fastcnn.data import Dataset

    pipeline = layers.Pipeline(of_layers(layers, size))
    dataset: list[Any] = []

    def run(x: np.ndarray) -> Any:
        if not dataset:
            dataset.append(Dataset(x).batch(len(x)).map(pipeline))
        return next(dataset[0].epoch(0)).x

    return run


def fastcnn_row(fused: bool) -> Run:
    from fastcnn import layers

    pipeline = layers.Pipeline(of_moves(layers), fused=fused)
    return lambda x: pipeline(x)


def keras_recipe(size: int) -> Run:
    import keras

    return one_by_one(of_layers(keras.layers, size))


def keras_row() -> Run:
    import keras

    return one_by_one(of_moves(keras.layers))


def one_by_one(steps: list[Any]) -> Run:
    """Layers of Keras."""

    def run(x: np.ndarray) -> Any:
        y: Any = x.astype("float32")
        for step in steps:
            y = step(y, training=True) if type(step).__name__.startswith("Random") else step(y)
        return np.asarray(y.detach().cpu().numpy())

    return run


def pillow_recipe(size: int) -> Run:
    from PIL import Image, ImageEnhance

    rng = np.random.default_rng(1)
    mean, deviation = np.float32(MEAN), np.sqrt(np.float32(VARIANCE))

    def one(x: np.ndarray) -> np.ndarray:
        image = Image.fromarray(x)
        if rng.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        left, top = rng.integers(-4, 5, 2)
        image = image.crop((left, top, left + size, top + size))
        image = image.rotate(rng.uniform(-360 * TURN, 360 * TURN), Image.Resampling.BILINEAR)
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            image = enhance(image).enhance(rng.uniform(1 - JITTER, 1 + JITTER))
        hue = np.array(image.convert("HSV"))
        hue[..., 0] += np.uint8(rng.integers(0, 7))
        return (np.asarray(Image.fromarray(hue, "HSV").convert("RGB"), np.float32) - mean) / deviation

    return lambda xs: np.stack([one(x) for x in xs])


def numpy_recipe(size: int) -> Run:
    rng = np.random.default_rng(1)
    mean, deviation = np.float32(MEAN), np.sqrt(np.float32(VARIANCE))
    rows, columns = np.indices((size, size), np.float32) - np.float32((size - 1) / 2)

    def turned(x: np.ndarray, angle: float) -> np.ndarray:
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        middle = np.float32((size - 1) / 2)
        y, x0 = rows * cos + columns * sin + middle, columns * cos - rows * sin + middle
        iy, ix = np.floor(y).astype(int), np.floor(x0).astype(int)
        wy, wx = (y - iy)[..., None], (x0 - ix)[..., None]
        padded = np.pad(x, ((1, 2), (1, 2), (0, 0)))
        iy, ix = np.clip(iy + 1, 0, size + 1), np.clip(ix + 1, 0, size + 1)
        upper = padded[iy, ix] * (1 - wx) + padded[iy, ix + 1] * wx
        return upper * (1 - wy) + (padded[iy + 1, ix] * (1 - wx) + padded[iy + 1, ix + 1] * wx) * wy

    def one(x: np.ndarray) -> np.ndarray:
        top, left = rng.integers(0, 9, 2)
        x = np.pad(x, ((4, 4), (4, 4), (0, 0)))[top : top + size, left : left + size].astype(np.float32)
        x = turned(x[:, ::-1] if rng.random() < 0.5 else x, rng.uniform(-2 * np.pi * TURN, 2 * np.pi * TURN))
        b, c, s = rng.uniform(1 - JITTER, 1 + JITTER, 3).astype(np.float32)
        grey = (x @ np.float32([0.299, 0.587, 0.114]))[..., None]
        x = np.clip(grey + s * (x - grey), 0, 255) * b
        middle = x.mean()
        return (np.clip(middle + c * (x - middle), 0, 255) - mean) / deviation

    return lambda xs: np.stack([one(x) for x in xs])


RECIPES: dict[str, tuple[str, Callable[[int], Run]]] = {
    "fastcnn": ("fastcnn", fastcnn_recipe), "fastcnn, layer by layer": ("fastcnn", fastcnn_layers),
    "NumPy": ("numpy", numpy_recipe), "Pillow": ("PIL", pillow_recipe), "Keras": ("keras", keras_recipe),
}  # fmt: skip


# --- single layers ---------------------------------------------------------------------------------------------


def layer_of(module: Any, name: str) -> Run:
    kind, options = LAYERS[name]
    layer = getattr(module.layers, kind)(**options)
    return lambda x: layer(x, training=True)


def seconds(run: Run, x: np.ndarray, budget_s: float) -> float:
    """The best of as many runs as fit the budget, two at least."""
    best, begin = float("inf"), time.perf_counter()
    for _ in range(2):
        run(x)  # compiled, memory touched
    while True:
        start = time.perf_counter()
        run(x)
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() - begin > budget_s:
            return best


def compare(runs: dict[str, Run], x: np.ndarray, rounds: int, budget_s: float) -> dict[str, float]:
    """Images a second of each: the best of its rounds, which alternate."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            best[name] = min(best[name], seconds(run, x, budget_s))
    return {name: len(x) / value for name, value in best.items()}


def report(title: str, rates: dict[str, float]) -> None:
    first = next(iter(rates.values()))
    cells = [
        f"{name} {rate:,.0f}" + (f" ({first / rate:.1f}x)" if rate != first else "")
        for name, rate in rates.items()
    ]
    print(f"| {title} | " + " | ".join(cells) + " |", flush=True)


def small_vgg() -> Any:
    from bench.networks import NETWORKS

    model = NETWORKS["VGG-small"].make()
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def share_of_a_step(rounds: int, budget_s: float) -> None:
    """What part of a training step of VGG-small its batch of 128 images of 32 x 32 takes to make, without prefetch.

    Steps and batches alternate within each round, on all threads; the median of the rounds' ratios, least and most.
    """
    model, x, labels = small_vgg(), images(128, 32), np.arange(128) % 10
    makers = {"recipe": fastcnn_recipe(32), "layer by layer": fastcnn_layers(32)}
    ready = np.asarray(makers["recipe"](x))
    runs: dict[str, Callable[[], Any]] = {"step": lambda: model.train_on_batch(ready, labels)}
    runs |= {name: functools.partial(make, x) for name, make in makers.items()}
    found = [alternating(runs, budget_s) for _ in range(rounds)]
    step = np.median([times["step"] for times in found])
    for name in makers:
        shares = sorted(times[name] / times["step"] for times in found)
        spread = f"{np.median(shares):.1%} ({shares[0]:.1%}..{shares[-1]:.1%}) of {1000 * step:.1f} ms"
        print(f"| {name}, beside a training step of VGG-small, batch 128 | {spread} |", flush=True)


def epochs_beside_steps(rounds: int, batches: int = 20) -> None:
    """How much longer than bare steps `fit` takes, whose batches are made ahead on a thread meanwhile."""
    from fastcnn.data import Dataset

    model, x, labels = small_vgg(), images(128 * batches, 32), np.arange(128 * batches) % 10
    dataset = Dataset(x, labels).shuffle(1).batch(128).map(in_two_passes())
    ready = next(iter(dataset))

    def steps() -> None:
        for _ in range(batches):
            model.train_on_batch(*ready[:2])

    runs = {"fit": lambda: model.fit(dataset.prefetch(), verbose=0), "steps": steps}
    found = [alternating(runs, 0.01) for _ in range(rounds)]
    ratios = sorted(times["fit"] / times["steps"] for times in found)
    spread = f"{np.median(ratios):.2f} ({ratios[0]:.2f}..{ratios[-1]:.2f})"
    print(f"| fit of VGG-small with prefetch, against its bare steps, batch 128 | {spread} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="of a measurement")
    parser.add_argument("--only", nargs="*", default=list(RECIPES), help="whose recipes")
    parser.add_argument(
        "--layers", nargs="*", default=list(LAYERS), help="single transforms; none: only the recipe"
    )
    arguments = parser.parse_args()
    import fastcnn

    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; images a second (fastcnn times as fast)"
    )
    for n, size in ((128, 32), (16, 224)):
        x = images(n, size)
        recipes = {
            k: make(size) for k, (module, make) in RECIPES.items() if k in arguments.only and find(module)
        }
        report(f"recipe {size} x {size}", compare(recipes, x, arguments.rounds, arguments.seconds))
    share_of_a_step(arguments.rounds, arguments.seconds)
    epochs_beside_steps(arguments.rounds)
    modules = {"fastcnn": fastcnn}
    if find("keras"):
        import keras

        modules["Keras"] = keras
    for n, size in ((128, 32), (16, 224)):
        x = images(n, size).astype("float32")
        row = {"fastcnn": fastcnn_row(True), "fastcnn, not fused": fastcnn_row(False)}
        row |= {"Keras": keras_row()} if find("keras") and "Keras" in arguments.only else {}
        report(f"row of five moves {size} x {size}", compare(row, x, arguments.rounds, arguments.seconds))
        for name in arguments.layers:
            runs = {who: layer_of(module, name) for who, module in modules.items()}
            report(f"{name} {size} x {size}", compare(runs, x, arguments.rounds, arguments.seconds))


if __name__ == "__main__":
    main()
