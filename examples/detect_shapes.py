"""A detector of circles, squares and triangles, from nothing: scenes are generated, no data are needed.

Result (one run): mAP50 0.988, mAP50-95 0.796 on 200 new scenes after 1.7 minutes on 2 cores of an Intel Xeon (AVX-512)
that other work was sharing.
"""

import time

import numpy as np

import fastcnn
from fastcnn import detection

CLASSES = ("circle", "square", "triangle")
SIZE = 96  # pixels of an image, height and width
TRAIN, TEST = 1000, 200  # images
MOST = 6  # shapes in one
EPOCHS = 40
BATCH = 16


def inside(shape, x, y):
    """Which points of the square [-1, 1] x [-1, 1] belong to a shape."""
    if shape == "circle":
        return x * x + y * y <= 1
    if shape == "square":
        return np.ones_like(x, bool)
    return np.abs(x) <= (y + 1) / 2  # a triangle on its base


def scene(rng):
    """An image 0..255, boxes (n, 4) in pixels and labels (n,): shapes in any colours on a noisy background."""
    image = rng.uniform(0, 255, 3) + rng.normal(0, 12, (SIZE, SIZE, 3))
    boxes, labels = [], []
    for _ in range(rng.integers(1, MOST + 1)):
        width, height = rng.integers(12, 40, 2)
        left, top = rng.integers(0, SIZE - width), rng.integers(0, SIZE - height)
        box = np.array([left, top, left + width, top + height], np.float32)
        if boxes and detection.iou(box[np.newaxis], np.array(boxes)).max() > 0.1:
            continue
        label = int(rng.integers(len(CLASSES)))
        y, x = np.mgrid[:height, :width] + 0.5
        shape = inside(CLASSES[label], 2 * x / width - 1, 2 * y / height - 1)
        patch = image[top : top + height, left : left + width]
        colour = rng.uniform(0, 255, 3)
        while np.abs(colour - image.mean((0, 1))).max() < 60:
            colour = rng.uniform(0, 255, 3)
        patch[shape] = colour + rng.normal(0, 12, (int(shape.sum()), 3))
        boxes.append(box)
        labels.append(label)
    return np.clip(image, 0, 255).astype(np.uint8), boxes, labels


def scenes(count, seed):
    """A data set of scenes."""
    rng = np.random.default_rng(seed)
    return detection.BoxDataset.from_arrays(
        *zip(*(scene(rng) for _ in range(count)), strict=True), class_names=CLASSES
    )


if __name__ == "__main__":
    fastcnn.utils.set_random_seed(0)
    train, test = scenes(TRAIN, seed=1), scenes(TEST, seed=2)
    print(f"training on {train}; testing on {test}")
    backbone = detection.tiny_backbone((SIZE, SIZE, 3), width=16, blocks=(0, 1, 1))
    detector = detection.Detector(backbone, CLASSES, anchors_per_grid=2)
    start = time.perf_counter()
    detector.fit(train, epochs=EPOCHS, batch_size=BATCH, verbose=2)
    minutes = (time.perf_counter() - start) / 60
    evaluation = detector.evaluate(test)
    print(evaluation)
    print(f"mAP50 {evaluation.map50:.3f} after {minutes:.1f} minutes")
    found = detector.predict(test[0].image)
    print(found)
    found.draw(test[0].image, scale=5).save("detect_shapes.png")
