"""Regions from segmentation, and a classifier for each."""

import numpy as np
import pytest

import fastcnn
from fastcnn import detection, layers, ops
from fastcnn.detection import RCNN, BoxDataset, cut_regions, propose_regions
from fastcnn.errors import Error


def scene(seed: int) -> tuple[np.ndarray, list[list[int]], list[int]]:
    """A light square and a dark bar on grey, a little noisy."""
    rng = np.random.default_rng(seed)
    image = np.full((32, 64, 3), 128.0)
    (x, y), (u, v) = rng.integers(1, 18, 2), rng.integers((34, 1), (40, 24))
    image[y : y + 12, x : x + 12], image[v : v + 7, u : u + 22] = 240, 20
    image += rng.normal(0, 3, image.shape)
    return image.astype(np.uint8), [[x, y, x + 12, y + 12], [u, v, u + 22, v + 7]], [0, 1]


def dataset(count: int) -> BoxDataset:
    scenes = [scene(seed) for seed in range(count)]
    return BoxDataset.from_arrays(*zip(*scenes, strict=True), class_names=("square", "bar"))


def test_segments_are_the_things_in_an_image() -> None:
    image, boxes, _ = scene(0)
    segments = ops.segment_image(image, 300.0, 0.0)
    assert segments.shape == (32, 64) and segments.max() == 2
    for x1, y1, x2, y2 in boxes:
        inside = np.unique(segments[y1:y2, x1:x2])
        assert len(inside) == 1 and (segments == inside[0]).sum() == (x2 - x1) * (y2 - y1)


def test_odd_images() -> None:
    assert ops.segment_image(np.zeros((1, 1))).tolist() == [[0]]
    assert ops.segment_image(np.zeros((3, 4, 5))).max() == 0
    assert propose_regions(np.zeros((6, 9, 3))).tolist() == [[0, 0, 9, 6]]
    for image in (np.zeros((0, 3)), np.full((2, 2), np.nan), np.zeros(3)):
        with pytest.raises(Error, match="finite image"):
            ops.segment_image(image)


def test_objects_are_among_the_proposals() -> None:
    for seed in range(10):
        image, boxes, _ = scene(seed)
        found = propose_regions(image, 300.0)
        assert (detection.iou(found, boxes).max(0) > 0.7).all()
        assert [0, 0, 64, 32] in found.tolist()  # all of it
        np.testing.assert_array_equal(found, propose_regions(image, 300.0))


def test_cut_regions() -> None:
    image = np.zeros((20, 30, 2), np.uint8)
    image[4:12, 10:18] = 200
    cuts = cut_regions(image, [[10, 4, 18, 12]], (8, 8), context=0)
    np.testing.assert_array_equal(cuts, 200)
    assert cut_regions(image, [], (8, 8)).shape == (0, 8, 8, 2)


def classifier() -> fastcnn.Model:
    return fastcnn.Sequential(
        [
            fastcnn.Input((12, 12, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(32, activation="relu"),
            layers.Dense(3, activation="softmax"),
        ]
    )


def test_it_learns() -> None:
    fastcnn.utils.set_random_seed(0)
    detector = RCNN(classifier(), ("square", "bar"), 300.0)
    x, y = detector.regions_of(dataset(40))
    assert x.shape[1:] == (12, 12, 3) and set(y) == {0, 1, 2} and (y == 1).sum() >= 40
    detector.classifier.compile(fastcnn.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    detector.classifier.fit(x, y, epochs=30, verbose=0)
    scenes = [scene(seed) for seed in range(100, 110)]
    truths = [detection.Objects.of(boxes, labels) for _, boxes, labels in scenes]
    found = [detector.predict(image) for image, _, _ in scenes]
    evaluation = detection.evaluate_detections(truths, found, ("square", "bar"))
    assert evaluation.map50 is not None and evaluation.map50 > 0.9


def test_wrong_classifier() -> None:
    with pytest.raises(Error, match="gives 3 probabilities; expected one for nothing and 3"):
        RCNN(classifier(), ("a", "b", "c"))


IMAGE = np.zeros((8, 9, 3), np.uint8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RCNN(None, ("a",)), "the classifier must be a Model"),
        (
            lambda: RCNN(classifier(), ("a", "b")).predict(IMAGE, np.nan),
            r"score_threshold must lie in \[0, 1\]",
        ),
        (lambda: RCNN(classifier(), ("a", "b")).regions_of(dataset(1), -1), "nothing must be at least 0"),
        (lambda: propose_regions(IMAGE, scale=-1), "scale must be a finite number, not negative"),
        (lambda: propose_regions(IMAGE, sigma=np.nan), "sigma must be a finite number"),
        (lambda: propose_regions(IMAGE, smallest="few"), "smallest must be a finite number"),
        (lambda: propose_regions(IMAGE, most=0), "most must be at least 1"),
        (lambda: cut_regions(IMAGE, [[0, 0, 4, 4]], (0, 8)), r"must be \(height, width\)"),
        (lambda: cut_regions(IMAGE, [[0, 0, 4, 4]], 8, context=-1), "context must be a share"),
    ],
)
def test_wrong_arguments(call, message: str) -> None:
    with pytest.raises(Error, match=message):
        call()


def test_one_number_for_both_sides() -> None:
    np.testing.assert_array_equal(*(cut_regions(IMAGE + 7, [[0, 0, 4, 4]], size) for size in (6, (6, 6))))
