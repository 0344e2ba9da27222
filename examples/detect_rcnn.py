"""The method from which other detectors came (R-CNN): segments of an image are joined into regions, each of which a
small network classifies by itself. Boxes are only as good as the segments.

    python examples/detect_rcnn.py              # the scenes of detect_shapes.py
    python examples/detect_rcnn.py blood_cells  # photographs, from FASTCNN_DATA

Result (one run): mAP50 0.942, mAP50-95 0.576 on 100 new scenes after 1.4 minutes on 2 cores of an Intel Xeon (AVX-512)
that other work was sharing. Photographs of blood (one run): mAP50 0.501, mAP50-95 0.175 on the test images after 3.0
minutes; platelets 0.415, red cells 0.544, white cells 0.544.
"""

import os
import sys
import time
from pathlib import Path

from detect_shapes import scenes

import fastcnn
from fastcnn import detection, layers

TRAIN, TEST = 300, 100  # generated images
WINDOW = 24  # pixels, height and width that regions are brought to
EPOCHS = 15
SHAPES = 200.0, 1.0, 30  # scale, sigma and smallest size of the segmentation
CELLS = 30.0, 1.6, 60


def blood_cells(split):
    """A part of the photographs."""
    return detection.read_voc(Path(os.environ["FASTCNN_DATA"]) / "bccd", split)


def classifier_of(classes):
    """A network that says of a region which class it is, 0 for nothing."""
    return fastcnn.Sequential(
        [
            fastcnn.Input((WINDOW, WINDOW, 3)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(64, activation="relu"),
            layers.Dense(1 + classes, activation="softmax"),
        ]
    )


if __name__ == "__main__":
    fastcnn.utils.set_random_seed(0)
    if sys.argv[1:] == ["blood_cells"]:
        train, test, segments = blood_cells("train"), blood_cells("test"), CELLS
    else:
        train, test, segments = scenes(TRAIN, seed=1), scenes(TEST, seed=2), SHAPES
    classifier = classifier_of(len(train.class_names))
    detector = detection.RCNN(classifier, train.class_names, *segments)
    start = time.perf_counter()
    x, y = detector.regions_of(train)
    print(f"{len(x)} regions, {(y > 0).sum()} of them objects", flush=True)
    classifier.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    classifier.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=2)
    found = [detector.predict(sample.load(), score_threshold=0.05) for sample in test.samples]
    evaluation = detection.evaluate_detections(
        [sample.objects for sample in test.samples], found, train.class_names
    )
    print(evaluation)
    minutes = (time.perf_counter() - start) / 60
    print(f"mAP50 {evaluation.map50:.3f} after {minutes:.1f} minutes")
