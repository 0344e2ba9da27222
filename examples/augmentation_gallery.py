"""A contact sheet of every layer that changes pictures: one row a layer, the original first. Needs Pillow.

    python examples/augmentation_gallery.py [folder]

Writes moving.png and coloring.png (a drawn scene with boxes, 96 x 96), and mixup.png, cutmix.png, samplepairing.png
(mixtures of handwritten digits with their labels). About 20 s on 2 cores, most of it compiling.
"""

import sys
from pathlib import Path

import numpy as np

from fastcnn import datasets, layers
from fastcnn.data import Dataset, show

SIZE = 96
EACH = 8  # pictures a row
FORM = {"bounding_box_format": "xyxy"}


def scene() -> np.ndarray:
    """A house, a sun and a tree before a sky: edges in all directions, and every hue."""
    y, x = np.indices((SIZE, SIZE))
    image = np.stack([110 + y * 0.6, 160 + y * 0.6, 255 - y * 0.3], -1)
    image[y > 68] = (90, 160, 70)
    image[(x - 76) ** 2 + (y - 18) ** 2 < 110] = (250, 220, 60)
    image[(abs(x - 34) < 18) & (y > 44) & (y < 76)] = (200, 90, 70)
    image[(abs(x - 34) < 22 - (44 - y)) & (y > 24) & (y <= 44)] = (110, 50, 60)
    image[(abs(x - 34) < 4) & (y > 60) & (y < 76)] = (60, 40, 30)
    image[(abs(x - 74) < 2) & (y > 56) & (y < 80)] = (100, 70, 40)
    image[(x - 74) ** 2 + (y - 50) ** 2 < 130] = (40, 120, 60)
    return np.clip(image, 0, 255).astype(np.uint8)


BOXES = np.array([[12, 24, 57, 76], [65, 7, 87, 29], [62, 38, 86, 80]])  # house, sun, tree
MOVING = {
    "RandomFlip": layers.RandomFlip(seed=1, **FORM),
    "RandomRotation": layers.RandomRotation(0.1, seed=1, **FORM),
    "RandomTranslation": layers.RandomTranslation(0.2, 0.2, "wrap", seed=1, **FORM),
    "RandomZoom": layers.RandomZoom(0.4, fill_mode="constant", seed=1, **FORM),
    "RandomShear": layers.RandomShear(0.3, 0.1, fill_mode="nearest", seed=1, **FORM),
    "RandomPerspective": layers.RandomPerspective(scale=0.5, seed=1, **FORM),
    "RandomElasticTransform": layers.RandomElasticTransform(scale=(0.4, 0.5), seed=1, **FORM),
    "RandomCrop, Resizing": layers.Pipeline(
        [layers.RandomCrop(60, 60, seed=1, **FORM), layers.Resizing(SIZE, SIZE, **FORM)]
    ),
    "RandomAffine": layers.RandomAffine(
        True, rotation=0.08, shear=0.2, padding=12, crop=(0.4, 1.0), seed=1, **FORM
    ),
    "RandomRotation, RandomZoom, RandomElasticTransform, RandomFlip at once": layers.Pipeline(
        [
            layers.RandomRotation(0.1, seed=1, **FORM),
            layers.RandomZoom(0.3, seed=2, **FORM),
            layers.RandomElasticTransform((1.0, 1.0), (0.5, 0.5), seed=3, **FORM),
            layers.RandomFlip("horizontal", seed=4, **FORM),
        ]
    ),
    "AutoAugment": layers.AutoAugment("cifar10", seed=1, **FORM),
    "TrivialAugment": layers.TrivialAugment(seed=1, **FORM),
    "RandAugment": layers.RandAugment(factor=0.3, seed=1, **FORM),
    "AugMix": layers.AugMix(seed=1, **FORM),
    "Mosaic": layers.Mosaic(seed=1, **FORM),
}
COLORING = {
    "RandomBrightness": layers.RandomBrightness(0.4, seed=1),
    "RandomContrast": layers.RandomContrast((0.7, 0.9), seed=1),
    "RandomSaturation": layers.RandomSaturation((0.2, 0.8), seed=1),
    "RandomHue": layers.RandomHue(1.0, seed=1),
    "RandomColorJitter": layers.RandomColorJitter((0, 255), 0.2, 0.3, (0.3, 0.7), 0.2, seed=1),
    "RandomColors": layers.RandomColors(0.1, 0.4, 0.6, 0.1, 0.1, 0.2, seed=1),
    "RandomColors: a shift of each channel": layers.RandomColors(channel_shift=0.2, seed=1),
    "RandomColors: along the axes of the colours of ImageNet": layers.RandomColors(pca=0.3, seed=1),
    "RandomColorDegeneration": layers.RandomColorDegeneration((0.0, 1.0), seed=1),
    "RandomSharpness": layers.RandomSharpness((0.0, 1.0), seed=1),
    "RandomGrayscale": layers.RandomGrayscale(0.5, seed=1),
    "RandomInvert": layers.RandomInvert((0.5, 0.5), seed=1),
    "RandomPosterization": layers.RandomPosterization((1, 6), seed=1),
    "Solarization": layers.Solarization(0.2, 0.9, seed=1),
    "AutoContrast": layers.AutoContrast(),
    "Equalization": layers.Equalization(),
    "CLAHE": layers.ContrastLimitedAdaptiveHistogramEqualization(),
    "RandomErasing": layers.RandomErasing((1.0, 1.0), seed=1),
    "RandomGaussianBlur": layers.RandomGaussianBlur((1.0, 1.0), 5, (0.8, 1.0), seed=1),
    "SaltAndPepper": layers.SaltAndPepper(0.1, seed=1),
    "Rescaling, GaussianNoise, Rescaling": layers.Pipeline(
        [layers.Rescaling(1 / 255), layers.GaussianNoise(0.1, seed=1), layers.Rescaling(255)]
    ),
}
MIXING = {
    "MixUp": layers.MixUp(0.8, seed=1),
    "CutMix": layers.CutMix((1.0, 1.0), seed=1),
    "SamplePairing": layers.SamplePairing(seed=1),
}


def rows(kinds: dict, images: np.ndarray) -> tuple[np.ndarray, dict, list[str]]:
    """All layers of a kind on copies of a picture with boxes: images, boxes and titles, row by row."""
    data = Dataset(images, boxes=[BOXES] * len(images), box_labels=[[0, 1, 2]] * len(images)).batch(
        len(images)
    )
    made, found, titles = [], [], []
    for name, layer in kinds.items():
        x, y = next(iter(data.map(layer)))
        made += [images[:1], x[1:]]
        found.append(y)
        found[-1]["boxes"][0], found[-1]["labels"][0] = 0, -1
        found[-1]["boxes"][0, :3], found[-1]["labels"][0, :3] = BOXES, [0, 1, 2]
        titles += [name, *[""] * (len(images) - 1)]
    most = max(y["labels"].shape[1] for y in found)
    boxes = {
        "boxes": np.concatenate(
            [np.pad(y["boxes"], ((0, 0), (0, most - y["boxes"].shape[1]), (0, 0))) for y in found]
        ),
        "labels": np.concatenate(
            [
                np.pad(y["labels"], ((0, 0), (0, most - y["labels"].shape[1])), constant_values=-1)
                for y in found
            ]
        ),
    }
    return np.concatenate(made), boxes, titles


def main(folder: Path) -> None:
    images = np.repeat(scene()[None], EACH, 0)
    for name, kinds in (("moving", MOVING), ("coloring", COLORING)):
        x, boxes, titles = rows(kinds, images)
        sheet = Dataset(x, boxes=list(boxes["boxes"]), box_labels=list(boxes["labels"])).batch(len(x))
        show(sheet, folder / f"{name}.png", len(x), EACH, 1, titles)
    (x, y), _ = datasets.digits.load_data()
    x = x.reshape(-1, 8, 8, 1) / np.float32(x.max())
    digits = Dataset(x[:EACH], y[:EACH]).batch(EACH)
    for name, layer in MIXING.items():
        show(digits.map(layer), folder / f"{name.lower()}.png", EACH, EACH, 12)
    print(f"wrote contact sheets to {folder.resolve()}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
