"""Images from and to files and arrays; what Keras does with them is in test_keras_utils_peer.py."""

import io
import sys

import numpy as np
import pytest

from fastcnn import utils
from fastcnn.errors import Error

image_module = pytest.importorskip("PIL.Image")


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 3), np.uint8)


def test_there_and_back(pixels, tmp_path):
    utils.save_img(tmp_path / "a.png", pixels, scale=False)
    image = utils.load_img(tmp_path / "a.png")
    array = utils.img_to_array(image)
    assert array.dtype == np.float32 and image.size == (8, 5)
    np.testing.assert_array_equal(array, pixels)
    np.testing.assert_array_equal(utils.img_to_array(image, "channels_first"), np.moveaxis(pixels, -1, 0))


def test_from_memory(pixels):
    memory = io.BytesIO()
    utils.save_img(memory, pixels, file_format="png", scale=False)
    memory.seek(0)
    np.testing.assert_array_equal(utils.img_to_array(utils.load_img(memory)), pixels)


def test_scaling_spans_all_values():
    image = utils.array_to_img(np.array([[[-2.0], [0.0]], [[1.0], [2.0]]]))
    assert np.asarray(image).tolist() == [[0, 127], [191, 255]]
    assert np.asarray(utils.array_to_img(np.full((1, 2, 1), 3.0))).tolist() == [[0, 0]]


def test_size_and_shape_are_kept_apart(pixels, tmp_path):
    utils.save_img(tmp_path / "a.bmp", pixels, scale=False)
    assert utils.load_img(tmp_path / "a.bmp", target_size=(3, 7)).size == (7, 3)
    square = utils.load_img(tmp_path / "a.bmp", target_size=(5, 5), keep_aspect_ratio=True)
    np.testing.assert_array_equal(utils.img_to_array(square), pixels[:, 1:6])


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda path: utils.load_img(path, color_mode="hsv"), "color_mode must be one of"),
        (lambda path: utils.load_img(path, interpolation="bilinea"), "did you mean 'bilinear'"),
        (lambda path: utils.load_img(path), "cannot be read as an image"),
        (lambda path: utils.img_to_array(np.ones(3)), r"got an array of shape \(3,\)"),
        (lambda path: utils.array_to_img(np.ones((2, 2, 2))), r"1, 3 or 4 channels\), got shape \(2, 2, 2\)"),
        (lambda path: utils.array_to_img(np.ones((2, 2, 1)), "NHWC"), "data_format must be"),
        (lambda path: utils.smart_resize(np.ones((2, 2)), (1, 1)), "smart_resize: expected"),
    ],
)
def test_what_is_refused(run, message, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(Error, match=message):
        run(tmp_path / "a.png")


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        utils.load_img(tmp_path / "none.png")


def test_without_pillow(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    for run in (lambda: utils.load_img(tmp_path), lambda: utils.array_to_img(np.ones((2, 2, 1)))):
        with pytest.raises(Error, match=r'needs Pillow: pip install "fastcnn\[data\]"'):
            run()


def test_smart_resize_keeps_shapes():
    x = np.zeros((1, 4, 8, 1), np.float32)
    x[0, :, 2:6] = 1  # the middle square, which is what is left
    assert utils.smart_resize(x, (2, 2)).min() == 1
    assert utils.smart_resize(np.moveaxis(x, -1, 1), (2, 2), data_format="channels_first").shape == (
        1,
        1,
        2,
        2,
    )
