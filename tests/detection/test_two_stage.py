"""Two stages: what is proposed, what is made of it, and that both are learned together."""

from pathlib import Path

import numpy as np
import pytest

import fastcnn
from fastcnn import detection
from fastcnn.detection import (
    Augmentation,
    BoxDataset,
    DetectionBatches,
    Detector,
    FasterRCNN,
    RegionLoss,
    RoiAlign,
)
from fastcnn.detection.two_stage import RegionBatches, changed, changes, numbered
from fastcnn.errors import Error
from fastcnn.registry import deserialize, serialize

ANCHORS = [(12, 12), (24, 6)]


def shapes(count: int) -> BoxDataset:
    """A light square and a dark bar on grey."""
    rng = np.random.default_rng(count)
    images, boxes = np.full((count, 32, 64, 3), 128, np.uint8), []
    for image in images:
        (x, y), (u, v) = rng.integers(0, 20, 2), rng.integers((34, 0), (40, 26))
        image[y : y + 12, x : x + 12], image[v : v + 6, u : u + 24] = 250, 10
        boxes.append([[x, y, x + 12, y + 12], [u, v, u + 24, v + 6]])
    return BoxDataset.from_arrays(images, boxes, [[0, 1]] * count, ("square", "bar"))


def untrained(**options) -> FasterRCNN:
    backbone = detection.tiny_backbone((32, 64, 3), 8, (0, 1, 0))
    detector = FasterRCNN(backbone, ("square", "bar"), **options)
    return detector


@pytest.fixture(scope="module")
def detector() -> FasterRCNN:
    fastcnn.utils.set_random_seed(0)
    found = untrained(anchors_per_grid=2)
    found.fit(shapes(48), 45, 16, augmentation=Augmentation(scale=(0.9, 1.1)), learning_rate=0.01, verbose=0)
    return found


def test_it_learns(detector: FasterRCNN) -> None:
    evaluation = detector.evaluate(shapes(12))
    assert evaluation.map50 is not None and evaluation.map50 > 0.8
    found = detector.predict(shapes(1)[0].image, 0.5)
    assert set(found.labels.tolist()) == {0, 1}


def test_files(detector: FasterRCNN, tmp_path: Path) -> None:
    detector.save(tmp_path / "two.safetensors")
    again = FasterRCNN.load(tmp_path / "two.safetensors")
    assert again.regions == detector.regions == 48
    image = shapes(1)[0].image
    for a, b in zip(detector.predict(image, 0.01), again.predict(image, 0.01), strict=True):
        assert a[0].tolist() == b[0].tolist() and a[1:] == b[1:]
    with pytest.raises(Error, match="holds a FasterRCNN"):
        Detector.load(tmp_path / "two.safetensors")


def test_changes_and_back() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 50, (2, 30, 2))
    regions, boxes = np.concatenate([corner, corner + rng.uniform(3, 40, corner.shape)], -1)
    np.testing.assert_allclose(changed(regions, changes(regions, boxes)), boxes, rtol=1e-9)
    np.testing.assert_array_equal(changes(regions, regions), 0)
    assert np.isfinite(changed(regions, np.full(regions.shape, 1e3))).all()


def test_regions_and_their_targets() -> None:
    detector = untrained(anchors=ANCHORS)
    source = DetectionBatches(shapes(5), detector.grids, (32, 64, 3), 3)
    batches = RegionBatches(detector, source)
    (x, regions), (grid, wanted) = batches[0]
    r = detector.regions
    assert x.shape == (3, 32, 64, 3) and regions.shape == (3, r, 5) and wanted.shape == (3, r, 5)
    assert grid.shape == (3, *detector.grids[0].shape) and len(batches) == 2
    objects = shapes(5)[1].objects
    assert wanted[1, :2, 0].tolist() == [1, 2]  # the objects come first, and need no change
    np.testing.assert_allclose(regions[1, :2, 1:], objects.boxes)
    np.testing.assert_allclose(wanted[1, :2, 1:], 0, atol=1e-5)
    hits = wanted[1, :, 0] > 0
    np.testing.assert_allclose(
        changed(regions[1, hits, 1:], wanted[1, hits, 1:]),
        objects.boxes[wanted[1, hits, 0].astype(int) - 1],
        atol=1e-3,
    )
    assert hits.sum() <= r // 2 and (regions[1, wanted[1, :, 0] < 0, 0] == -1).all()
    assert numbered(np.ones((1, 4), np.float32), 7, 2).tolist() == [[7, 1, 1, 1, 1], [-1, 0, 0, 0, 0]]


def test_an_image_of_background() -> None:
    detector = untrained(anchors=ANCHORS)
    data = BoxDataset.from_arrays(np.zeros((2, 32, 64, 3)), [[], []], [[], []], ("square", "bar"))
    _, (_, wanted) = RegionBatches(detector, DetectionBatches(data, detector.grids, (32, 64, 3), 2))[0]
    assert (wanted[..., 0] <= 0).all()
    detector.fit(data, 1, 2, verbose=0)


def test_loss_by_hand() -> None:
    """Two regions count: one of the first class, one of nothing; a third is none."""
    y = np.zeros((1, 3, 5))
    y[0, :, 0], y[0, 0, 1:] = [1, 0, -1], [0.5, 0, 0, 2]
    p = np.zeros((1, 3, 6))
    huber = 0.5 * 0.25 + (2 - 0.5)
    assert RegionLoss(3.0)(y, p) == pytest.approx((2 * np.log(2) + 3 * huber) / 2)
    y[..., 0] = -1
    assert RegionLoss()(y, p) == 0


def test_layers_and_configurations() -> None:
    layer = deserialize("layer", serialize(RoiAlign(3, 0.5, 1)))
    x, regions = np.ones((2, 8, 8, 4), np.float32), np.zeros((2, 5, 5), np.float32)
    regions[..., 3:] = 8
    y = layer([x, regions])
    assert y.shape == (10, 3, 3, 4)
    np.testing.assert_allclose(y, 1, rtol=1e-6)
    loss = RegionLoss(2.0)
    assert serialize(deserialize("loss", serialize(loss))) == serialize(loss)


def test_wrong_arguments() -> None:
    two = detection.tiny_backbone((32, 64, 3), 8, (0, 0, 0), grids=2)
    with pytest.raises(Error, match="one map of features"):
        FasterRCNN(two, ("a",), anchors=ANCHORS)
    with pytest.raises(Error, match="regions must be at least 1"):
        untrained(regions=0)
    with pytest.raises(Error, match="positive and finite, in pixels"):
        untrained(anchors=[(0, 1)])


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (np.nan, {}, r"regions hold nan at \[1, 3\]"),
        (-np.inf, {}, r"regions hold -inf at \[1, 3\]"),
        (2, {"spatial_scale": np.nan}, "spatial_scale must be a positive number"),
        (2, {"spatial_scale": 0}, "spatial_scale must be a positive number"),
        (2, {"output_size": 2.5}, "output_size is one whole number"),
        (2, {"output_size": (2, 0)}, "output_size must be positive"),
    ],
)
def test_regions_that_are_none(change: float, options: dict, message: str) -> None:
    x, regions = np.ones((2, 5, 6, 3)), np.array([[0, 1, 1, 3, 3], [1, 0, 0, 4, 4.0]])
    regions[1, 3] = change
    arguments = {"output_size": 2, **options}
    for pool in (fastcnn.ops.roi_align, fastcnn.ops.roi_pool):
        with pytest.raises(Error, match=f"{pool.__name__}: {message}"):
            pool(x, regions, **arguments)
        with pytest.raises(Error, match=message):
            fastcnn.gradient(lambda x, pool=pool: fastcnn.ops.sum(pool(x, regions, **arguments)))(x)
