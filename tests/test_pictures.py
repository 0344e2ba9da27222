"""Contact sheets: what is drawn where."""

import numpy as np
import pytest

from fastcnn.data import Dataset, show
from fastcnn.errors import Error

pytest.importorskip("PIL")
X = np.random.default_rng(0).integers(0, 256, (10, 12, 8, 3), dtype=np.uint8)


def test_pictures_lie_in_rows(tmp_path):
    sheet = show(Dataset(X, np.arange(10)).batch(4), tmp_path / "sheet.png", count=7, columns=3, scale=2)
    assert sheet.size == (3 * (16 + 4) + 4, 3 * (24 + 4 + 14) + 4) and (tmp_path / "sheet.png").exists()
    pixels = np.asarray(sheet)
    for i in range(7):
        left, top = 4 + i % 3 * 20, 4 + i // 3 * 42 + 14
        np.testing.assert_array_equal(pixels[top : top + 24 : 2, left : left + 16 : 2], X[i])


def test_floats_and_grey():
    grey = np.array(show(X[:2, :, :, :1] / 255.0, scale=1))[18:30, 4:12]
    np.testing.assert_array_equal(grey, np.repeat(X[0, :, :, :1], 3, 2))
    np.testing.assert_array_equal(np.array(show(X.astype("float32"), scale=1))[18:30, 4:12], X[0])


RELATIVE = [1 / 8, 1 / 6, 0.75, 0.75]


@pytest.mark.parametrize(
    ("form", "box"),
    [
        ("xyxy", [1, 2, 6, 9]),
        ("yxyx", [2, 1, 9, 6]),
        ("xywh", [1, 2, 5, 7]),
        ("center_xywh", [3.5, 5.5, 5, 7]),
        ("rel_xyxy", RELATIVE),
    ],
)
def test_boxes_are_drawn(form, box):
    dataset = Dataset(X[:1] * 0, boxes=[[box]], box_labels=[[0]]).batch(1)
    pixels = np.asarray(show(dataset, scale=10, bounding_box_format=form))[18:, 4:]
    red = (pixels == (230, 60, 60)).all(-1)
    rows, columns = np.nonzero(red)
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (20, 10, 89, 59)


def test_masks_and_points_are_drawn():
    masks = np.zeros((1, 12, 8, 1), "uint8")
    masks[0, 3:5, 2:4] = 1
    dataset = Dataset(
        X[:1] * 0, {"segmentation_masks": masks, "keypoints": np.array([[[6.5, 9.5], [-3, 2]]])}
    )
    pixels = np.asarray(show(dataset.batch(1), scale=10))[18:138, 4:84]
    tinted = (pixels == np.array((60, 180, 75)) // 2).all(-1)
    rows, columns = np.nonzero(tinted)
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (30, 20, 49, 39) and tinted.sum() == 400
    rows, columns = np.nonzero((pixels == (230, 60, 60)).all(-1))
    assert abs(rows.mean() - 95) < 1 and abs(columns.mean() - 65) < 1 and len(rows) < 50
    hot = Dataset(X[:1] * 0, {"segmentation_masks": np.eye(2, dtype="uint8")[masks[..., 0]]}).batch(1)
    again = np.asarray(show(hot, scale=10))[18:138, 4:84]
    np.testing.assert_array_equal((again == np.array((60, 180, 75)) // 2).all(-1), tinted)


@pytest.mark.parametrize("box", [[5, 5, 5.01, 5.01], [5, 5, 3, 2], [1e9, 0, 2e9, 4], [np.nan] * 4])
def test_boxes_of_hardly_any_size(box):
    boxes = {"boxes": np.float32([[box]]), "labels": np.zeros((1, 1), int)}
    assert show(Dataset(X[:1], boxes), scale=1).size == (16, 34)


@pytest.mark.parametrize("y", [X, (np.arange(10), np.arange(10))], ids=["pictures", "two arrays"])
def test_targets_that_are_no_labels(y):
    assert show(Dataset(X, y)).size == show(X).size


def test_labels_of_mixtures():
    mixed = np.array([[0.25, 0.75, 0.0]])
    assert np.asarray(show(Dataset(X[:1], mixed, class_names=["a", "b", "c"])))[:14].min() < 255


def test_wrong_shapes():
    with pytest.raises(Error, match="expected images"):
        show(np.zeros((3, 4)))
    with pytest.raises(Error, match="expected images"):
        show(np.zeros((1, 3, 4, 2)))
    with pytest.raises(Error, match="got complex128"):
        show(np.zeros((1, 3, 4, 3), complex))
    with pytest.raises(Error, match="expected a Dataset or an array of images, got a list"):
        show([1])
    with pytest.raises(Error, match=r"show: cannot write .*sheet.png"):
        show(X, "/nowhere/sheet.png")
    with pytest.raises(Error, match="give a file such as sheet.png"):
        show(X, "/nowhere/sheet.abc")
    for options, message in (
        ({"count": 0}, "count must be a whole number from 1 on"), ({"columns": "a"}, "columns must be"),
        ({"scale": 10**6}, "give a smaller count or scale"), ({"scale": 0.5}, "scale must be"),
        ({"titles": ["a"]}, "1 titles for 10 pictures"),
    ):  # fmt: skip
        with pytest.raises(Error, match=message):
            show(X, **options)
    with pytest.raises(Error, match="one array of images x"):
        show(Dataset({"a": X}))
    with pytest.raises(Error, match="show: expected a path.* got 3"):
        show(X, 3)
    with pytest.raises(Error, match="'xyxx' is unknown"):
        show(X, bounding_box_format="xyxx")
