"""Red and white blood cells and platelets in photographs of a microscope (BCCD, 364 images of 640 x 480).

Result (three runs): mAP50 0.878, 0.872 and 0.878, mAP50-95 0.539, 0.546 and 0.550 on the 72 test images, with the
weights that were best on the validation images (0.883, 0.893 and 0.885); in the third run platelets 0.852, red cells
0.799, white cells 0.984.
Training on 205 images took 12.8 minutes, and 28.4 when other work took most of the time, on 2 cores of an Intel Xeon
(AVX-512) shared with it; 67 images/s on one thread and 54 on two, from photographs to boxes, while others computed.
Many cells in the photographs are not labelled, mostly red ones at the border: finding them counts as wrong.

The data: https://github.com/Shenggan/BCCD_Dataset (MIT licence); its folder with Annotations, JPEGImages and ImageSets
is expected at $FASTCNN_DATA/bccd.
"""

import os
import time
from pathlib import Path

import numpy as np

import fastcnn
from fastcnn import detection

EPOCHS = 100
BATCH = 8
RATE = 2e-3  # of AdamW, to zero along a cosine
SIZE = 288, 384, 3  # the network's input: 0.6 times the photographs
FOLDER = Path(os.environ.get("RUN", "runs/blood_cells"))

# Cells look the same from all sides. Four photographs in one show each cell beside others than its own neighbours.
CHANGES = detection.Augmentation(
    flip_vertical=0.5, scale=(0.7, 1.4), translate=0.15, mosaic=0.3, brightness=0.12, contrast=0.2
)


def speed(detector, images):
    """Images a second, from arrays of photographs to boxes."""
    detector.predict(images)
    start = time.perf_counter()
    detector.predict(images)
    return len(images) / (time.perf_counter() - start)


if __name__ == "__main__":
    fastcnn.utils.set_random_seed(0)
    data = Path(os.environ["FASTCNN_DATA"]) / "bccd"
    train, validation, test = (detection.read_voc(data, split) for split in ("train", "val", "test"))
    print(f"{train}; {len(validation)} images to validate, {len(test)} to test")
    print(f"left out: {train.problems + validation.problems + test.problems}")

    backbone = detection.tiny_backbone(SIZE, width=16, blocks=(0, 1, 1, 2))
    detector = detection.Detector(backbone, train.class_names, anchors_per_grid=5)
    start = time.perf_counter()
    detector.fit(
        train, EPOCHS, BATCH, validation, validation_freq=5, learning_rate=RATE, augmentation=CHANGES, folder=FOLDER,
        resume=True, verbose=2,
    )  # fmt: skip
    minutes = (time.perf_counter() - start) / 60

    detector = detection.Detector.load(FOLDER / "best.safetensors")
    for name, dataset in (("validation", validation), ("test", test)):
        print(f"{name}\n{detector.evaluate(dataset)}")
    found = detector.evaluate(test)
    print(f"test mAP50 {found.map50:.3f}, mAP50-95 {found.map50_95:.3f}; trained in {minutes:.1f} minutes")

    photographs = [sample.load() for sample in test.samples]
    threads = fastcnn.num_threads()
    for count in (1, threads):
        fastcnn.set_num_threads(count)
        print(f"{speed(detector, photographs):.0f} images/s on {count} threads")
    for number in (0, 20, 40, 60):
        detections = detector.predict(photographs[number])
        detections.draw(photographs[number]).save(FOLDER / f"{test[number].name}.png")
        print(f"{test[number].name}: {len(detections)} cells found, {len(test[number].objects)} known")
    known = np.bincount(np.concatenate([s.objects.labels for s in test.samples]), minlength=3)
    print("objects to find:", dict(zip(test.class_names, known.tolist(), strict=True)))
