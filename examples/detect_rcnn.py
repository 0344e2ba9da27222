"""The scenes of detect_shapes.py by the method from which the others came (R-CNN): segments are joined into regions,
each of which a small network classifies by itself.

Result (one run): mAP50 0.942, mAP50-95 0.576 on 100 new scenes after 1.4 minutes on 2 cores of an Intel Xeon (AVX-512)
that other work was sharing. Boxes are only as good as the segments.
"""

import time

from detect_shapes import CLASSES, scenes

import fastcnn
from fastcnn import detection, layers

TRAIN, TEST = 300, 100  # images
WINDOW = 24  # pixels, height and width that regions are brought to
EPOCHS = 15
SCALE, SIGMA, SMALLEST = 200.0, 1.0, 30  # of the segmentation

if __name__ == "__main__":
    fastcnn.utils.set_random_seed(0)
    train, test = scenes(TRAIN, seed=1), scenes(TEST, seed=2)
    classifier = fastcnn.Sequential(
        [
            fastcnn.Input((WINDOW, WINDOW, 3)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(64, activation="relu"),
            layers.Dense(1 + len(CLASSES), activation="softmax"),
        ]
    )
    detector = detection.RCNN(classifier, CLASSES, SCALE, SIGMA, SMALLEST)
    start = time.perf_counter()
    x, y = detector.regions_of(train)
    print(f"{len(x)} regions, {(y > 0).sum()} of them objects")
    classifier.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    classifier.fit(x, y, batch_size=64, epochs=EPOCHS, verbose=2)
    found = [detector.predict(sample.image, score_threshold=0.05) for sample in test.samples]
    evaluation = detection.evaluate_detections([sample.objects for sample in test.samples], found, CLASSES)
    print(evaluation)
    minutes = (time.perf_counter() - start) / 60
    print(f"mAP50 {evaluation.map50:.3f} after {minutes:.1f} minutes")
