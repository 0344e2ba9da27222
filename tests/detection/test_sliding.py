"""One object an image, key points, and classifiers moved over images."""

import numpy as np
import pytest

import fastcnn
from fastcnn import detection, layers
from fastcnn.detection import (
    KeypointHead,
    KeypointLoss,
    LocalizationHead,
    LocalizationLoss,
    SlidingWindowDetector,
    sliding_windows,
)
from fastcnn.errors import Error
from fastcnn.registry import deserialize, serialize


def lecture_network() -> fastcnn.Model:
    """14 x 14 x 3 -> 5 x 5 convolution, 16 filters -> pooling 2 -> two dense layers of 400 -> 4 classes."""
    return fastcnn.Sequential(
        [
            fastcnn.Input((14, 14, 3)),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(400, activation="relu"),
            layers.Dense(400, activation="relu"),
            layers.Dense(4, activation="softmax"),
        ]
    )


def window_by_window(model: fastcnn.Model, images: np.ndarray, stride: int) -> np.ndarray:
    """Every window by itself."""
    windows = sliding_windows(images, model.input_shape[1:3], stride)
    flat = np.ascontiguousarray(windows).reshape(-1, *windows.shape[3:])
    return model.predict(flat, verbose=0).reshape(*windows.shape[:3], -1)


@pytest.mark.parametrize(("size", "outputs"), [((14, 14), (1, 1)), ((16, 16), (2, 2)), ((28, 21), (8, 4))])
def test_the_network_of_the_lectures(size, outputs) -> None:
    model = lecture_network()
    convolutional = model.to_fully_convolutional()
    kernels = [layer.kernel.shape for layer in convolutional.layers if hasattr(layer, "kernel")]
    assert kernels == [(5, 5, 3, 16), (5, 5, 16, 400), (1, 1, 400, 400), (1, 1, 400, 4)]
    x = np.random.default_rng(0).normal(size=(2, *size, 3)).astype(np.float32)
    found = convolutional.predict(x, verbose=0)
    assert found.shape == (2, *outputs, 4)
    np.testing.assert_allclose(found, window_by_window(model, x, 2), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", [layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D])
def test_global_pooling_batch_normalisation_and_dropout(pooling) -> None:
    inputs = fastcnn.Input((10, 8, 2))
    x = layers.Conv2D(5, 3, strides=2, use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.Dropout(0.5)(pooling()(x))
    model = fastcnn.Model(inputs, layers.Dense(3)(layers.BatchNormalization()(layers.Dense(6)(x))))
    model.set_weights([np.abs(w) + 0.1 for w in model.get_weights()])
    x = np.random.default_rng(0).normal(size=(1, 15, 14, 2)).astype(np.float32)
    found = model.to_fully_convolutional().predict(x, verbose=0)
    expected = window_by_window(model, x, 2)
    assert found.shape == (
        1,
        4,
        4,
        3,
    )  # the first layer never sees the last row of a window, so one more fits
    np.testing.assert_allclose(
        found[:, : expected.shape[1], : expected.shape[2]], expected, rtol=1e-4, atol=1e-5
    )


def test_what_cannot_be_a_convolution_is_refused() -> None:
    inputs = fastcnn.Input((6, 6, 2))
    normalised = layers.Dense(2)(layers.BatchNormalization()(layers.Flatten()(inputs)))
    with pytest.raises(Error, match="behind the first Dense"):
        fastcnn.Model(inputs, normalised).to_fully_convolutional()
    with pytest.raises(Error, match="one input"):
        fastcnn.Sequential([fastcnn.Input((4,)), layers.Dense(2)]).to_fully_convolutional()


def test_windows() -> None:
    x = np.arange(2 * 5 * 6 * 3).reshape(2, 5, 6, 3)
    windows = sliding_windows(x, (2, 3), (1, 2))
    assert windows.shape == (2, 4, 2, 2, 3, 3)
    np.testing.assert_array_equal(windows[1, 3, 1], x[1, 3:5, 2:5])
    with pytest.raises(Error, match="no windows of 6x6"):
        sliding_windows(x, 6)


def test_sliding_window_detector() -> None:
    """A classifier that knows bright squares by hand: the mean of a window, against a threshold."""
    classifier = fastcnn.Sequential(
        [
            fastcnn.Input((4, 4, 1)),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(2, activation="softmax"),
        ]
    )
    classifier.set_weights(
        [np.array([[1.0, -1.0]] * 4, np.float32) * 20, np.array([-70.0, 70.0], np.float32)]
    )
    detector = SlidingWindowDetector(classifier, ("bright", "nothing"), background="nothing")
    image = np.zeros((12, 20), np.float32)
    image[4:8, 10:14] = 1
    found = detector.predict(image)
    assert found.boxes.tolist() == [[10, 4, 14, 8]] and found.labels.tolist() == [0]
    large = image.repeat(2, 0).repeat(2, 1)
    assert detector.predict(large, scales=(0.5,)).boxes.tolist() == [[20, 8, 28, 16]]
    with pytest.raises(Error, match="the classifier must be a Model"):
        SlidingWindowDetector(None, "abc")
    with pytest.raises(Error, match="score_threshold must be finite"):
        detector.predict(image, score_threshold=np.nan)
    with pytest.raises(Error, match="knows 2 classes, 3 are named"):
        SlidingWindowDetector(classifier, "abc")
    with pytest.raises(Error, match="no class 'none'"):
        SlidingWindowDetector(classifier, ("a", "b"), background="none")


# --- one object an image ---------------------------------------------------------------------------------------


def test_localization_by_hand() -> None:
    y = np.array([[1, 0.5, 0.5, 0.2, 0.4, 0, 1], [0, 9, 9, 9, 9, 0, 0]])
    p = np.array([[0.8, 0.4, 0.5, 0.2, 0.5, 0.25, 0.75], [0.4, 0.1, 0.1, 0.1, 0.1, 0.5, 0.5]])
    values = LocalizationLoss(5, 1, "none")(y, p)
    first = -np.log(0.8) + 5 * (0.01 + 0.01) - np.log(0.75)
    np.testing.assert_allclose(values, [first, -np.log(0.6)], rtol=1e-6)
    np.testing.assert_allclose(
        LocalizationLoss(5, reduction="none")(y[:, :5], p[:, :5])[0], first + np.log(0.75)
    )


def test_keypoints_by_hand() -> None:
    y = np.array([[1, 0.5, 0.5, -9, -9], [0, 3, 3, 3, 3.0]])
    p = np.array([[0.8, 0.4, 0.7, 0.1, 0.1], [0.4, 0, 0, 0, 0]])
    values = KeypointLoss(2, "none")(y, p)
    np.testing.assert_allclose(values, [-np.log(0.8) + 2 * (0.01 + 0.04), -np.log(0.6)], rtol=1e-6)


@pytest.mark.parametrize(
    ("head", "loss"), [(LocalizationHead(2), LocalizationLoss()), (KeypointHead(2), KeypointLoss())]
)
def test_they_learn(head, loss) -> None:
    """A bright spot: where it is; and a second channel that says what."""
    fastcnn.utils.set_random_seed(0)
    again = deserialize("layer", serialize(head))
    rng = np.random.default_rng(0)
    x = np.zeros((200, 8, 8, 2), np.float32)
    place, kind, there = rng.integers(0, 8, (200, 2)), rng.integers(0, 2, 200), rng.uniform(size=200) < 0.8
    x[np.arange(200), place[:, 0], place[:, 1], kind] = there
    centre = (place[:, ::-1] + 0.5) / 8
    if isinstance(head, LocalizationHead):
        y = np.concatenate([there[:, None], centre, np.full((200, 2), 1 / 8), np.eye(2)[kind]], 1)
    else:
        y = np.concatenate([there[:, None], centre, 1 - centre], 1)
    model = fastcnn.Sequential(
        [fastcnn.Input((8, 8, 2)), layers.Flatten(), layers.Dense(64, activation="relu"), again]
    )
    model.compile(fastcnn.optimizers.Adam(0.01), loss)
    model.fit(x, y, epochs=60, verbose=0)
    p = model.predict(x, verbose=0)
    assert p.shape == y.shape and ((p[:, 0] > 0.5) == there).mean() > 0.98
    assert np.abs(p[there, 1:3] - centre[there]).mean() < 0.04


def test_wrong_arguments() -> None:
    with pytest.raises(Error, match="classes must be at least 1"):
        LocalizationHead(0)
    with pytest.raises(Error, match=r"expected features \(n, channels\)"):
        KeypointHead(1)(np.zeros((1, 2, 2, 3)))
    with pytest.raises(Error, match="do not go with"):
        detection.LocalizationLoss()(np.zeros((2, 7)), np.zeros((2, 8)))
