"""What is placed in pictures follows them when their size changes. The pictures themselves: test_preprocessing.py."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastcnn
from fastcnn import layers
from fastcnn.data import Dataset

FORM = {"bounding_box_format": "xyxy"}
LAYERS = {
    "stretched": lambda h, w: layers.Resizing(h, w, **FORM),
    "cropped": lambda h, w: layers.Resizing(h, w, crop_to_aspect_ratio=True, **FORM),
    "padded": lambda h, w: layers.Resizing(h, w, "nearest", pad_to_aspect_ratio=True, **FORM),
    "smooth": lambda h, w: layers.Resizing(h, w, "bicubic", antialias=True, **FORM),
    "middle": lambda h, w: layers.CenterCrop(h, w, **FORM),
}


def scene(h: int, w: int, box: tuple[int, int, int, int]) -> dict[str, Any]:
    """A bright rectangle in two pictures, with its box, its corners and its mask."""
    x1, y1, x2, y2 = box
    image = np.zeros((2, h, w, 1), np.float32)
    image[:, y1:y2, x1:x2] = 1.0
    places = {"boxes": np.tile(np.float32(box), (2, 1, 1)), "labels": np.full((2, 1), 3.0, np.float32)}
    corners = np.tile(np.float32([[x1, y1], [x2, y2]]), (2, 1, 1))
    return {"images": image, "bounding_boxes": places, "segmentation_masks": image, "keypoints": corners}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_boxes_and_points_go_where_the_pixels_go(make, data):
    h, w, to_h, to_w = (data.draw(st.integers(8, 40)) for _ in range(4))
    x1, y1 = data.draw(st.integers(0, w - 3)), data.draw(st.integers(0, h - 3))
    box = x1, y1, data.draw(st.integers(x1 + 2, w)), data.draw(st.integers(y1 + 2, h))
    found = make(to_h, to_w)(scene(h, w, box))
    assert found["images"].shape == found["segmentation_masks"].shape == (2, to_h, to_w, 1)
    rows, columns = np.nonzero(found["segmentation_masks"][1, :, :, 0])
    (moved,), places = found["bounding_boxes"]["boxes"][1], found["keypoints"][1].ravel()
    if rows.size:
        seen = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        np.testing.assert_allclose(moved, seen, atol=1.0 + max(to_h / h, to_w / w))
        assert found["bounding_boxes"]["labels"][1, 0] == 3
        clipped = np.clip(places, 0, [to_w, to_h] * 2)
        np.testing.assert_allclose(clipped, moved, atol=1.0 + max(to_h / h, to_w / w))


def test_a_box_outside_of_the_window_is_marked():
    found = layers.CenterCrop(4, 4, **FORM)(scene(12, 12, (0, 0, 3, 3)))
    assert (found["bounding_boxes"]["labels"] == -1).all() and not found["images"].any()


def test_places_in_a_data_set_follow():
    image = scene(8, 16, (4, 2, 8, 6))["images"]
    data = Dataset(image, boxes=[[[4, 2, 8, 6]]] * 2, box_labels=[[1]] * 2).batch(2)
    x, y = next(iter(data.map(layers.Resizing(16, 16, pad_to_aspect_ratio=True, **FORM))))
    np.testing.assert_allclose(y["boxes"][:, 0], [[4, 6, 8, 10]] * 2)
    assert x.shape == (2, 16, 16, 1)


def test_they_draw_nothing():
    layer = layers.Resizing(4, 4)
    assert not layer.variables and "seed" not in layer.get_config()
    with pytest.raises(fastcnn.errors.Error, match="draws no random numbers"):
        layers.CenterCrop(4, 4, seed=1)
    with pytest.raises(fastcnn.errors.Error, match="bounding_box_format='xyxy'"):
        layers.Resizing(4, 4)(scene(8, 8, (1, 1, 5, 5)))
