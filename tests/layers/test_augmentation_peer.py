"""Layers that change pictures against Keras: what Keras draws, both apply; and the numbers that both draw."""

import copy
import inspect
import os
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import layers

pytestmark = pytest.mark.peer
SHAPE = (4, 13, 11, 3)
CLAHE = "ContrastLimitedAdaptiveHistogramEqualization"


@pytest.fixture(scope="module")
def keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


def images(low: float = 0.0, high: float = 255.0) -> np.ndarray:
    x = np.random.default_rng(1).integers(0, 256, SHAPE)
    return (x * (high - low) / 255.0 + low).astype("float32")


def plain(value: Any) -> Any:
    """What Keras draws, as arrays."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return value


CASES: list[tuple[str, dict[str, Any]]] = [
    *[("RandomFlip", {"mode": mode}) for mode in ("horizontal", "vertical", "horizontal_and_vertical")],
    ("RandomRotation", {"factor": 0.2, "fill_mode": "nearest"}),
    ("RandomRotation", {"factor": (-0.5, 0.1), "fill_mode": "constant", "fill_value": 3.0}),
    ("RandomTranslation", {"height_factor": 0.2, "width_factor": (-0.3, 0.1), "fill_mode": "nearest"}),
    ("RandomTranslation", {"height_factor": 0.2, "width_factor": 0.3, "fill_mode": "constant"}),
    ("RandomZoom", {"height_factor": (-0.3, 0.4), "fill_mode": "nearest"}),
    ("RandomZoom", {"height_factor": 0.3, "width_factor": 0.5, "fill_mode": "constant"}),
    ("RandomShear", {"x_factor": 0.3, "y_factor": (0.1, 0.2), "fill_mode": "nearest"}),
    ("RandomPerspective", {"factor": 0.8, "scale": 0.5}),
    ("RandomBrightness", {"factor": 0.4}),
    ("RandomBrightness", {"factor": (0.1, 0.3), "value_range": (0, 1)}),
    ("RandomContrast", {"factor": 0.4}),
    ("RandomContrast", {"factor": (0.5, 0.9), "value_range": (0, 1)}),
    ("RandomSaturation", {"factor": (0.2, 0.7)}),
    ("RandomHue", {"factor": 0.6}),
    ("RandomHue", {"factor": (0.2, 0.5), "value_range": (0, 1)}),
    ("RandomColorDegeneration", {"factor": 0.7}),
    ("RandomSharpness", {"factor": 0.9}),
    ("RandomGrayscale", {"factor": 0.5}),
    ("RandomInvert", {"factor": 0.6}),
    ("RandomPosterization", {"factor": 5}),
    ("RandomPosterization", {"factor": (3, 3)}),
    ("RandomErasing", {"factor": 0.9}),
    ("RandomErasing", {"fill_value": 7.0, "scale": (0.1, 0.2)}),
    ("RandomGaussianBlur", {"kernel_size": 3, "factor": 0.7}),
    ("Solarization", {"addition_factor": 0.3, "threshold_factor": 0.5}),
    ("Solarization", {"threshold_factor": (0.2, 0.9), "value_range": (-1, 1)}),
    ("AutoContrast", {}),
    ("AutoContrast", {"value_range": (0, 1)}),
    ("Equalization", {}),
    # Limits of whole numbers: on PyTorch, Keras cuts off what is behind the point; and mirrors more than a row wrongly.
    (CLAHE, {"clip_limit": 128.0, "tile_grid_size": (7, 6)}),
    (CLAHE, {"clip_limit": 64.0, "tile_grid_size": (7, 6), "value_range": (0, 1)}),
    (CLAHE, {"clip_limit": 0.0, "tile_grid_size": (2, 2)}),
    ("MixUp", {"alpha": 0.5}),
    ("CutMix", {"factor": 0.9}),
]  # fmt: skip


def equalized(layer: Any, x: np.ndarray, keras: Any) -> np.ndarray:
    """Image by image: of a batch, Keras takes all numbers of a channel together."""
    parts = [layer.transform_images(keras.ops.convert_to_tensor(image[None]), None) for image in x]
    return np.concatenate([plain(part) for part in parts])


@pytest.mark.filterwarnings("ignore:Tensor.T is deprecated")
@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name} {options}" for name, options in CASES])
def test_images(name, options, keras):
    """Every layer does to images what Keras's does with the same random numbers."""
    theirs, ours = (getattr(module.layers, name)(**options) for module in (keras, fastcnn))
    x = images(*options.get("value_range", (0.0, 255.0)))
    given = theirs.get_random_transformation(x)
    drawn = copy.deepcopy(plain(given))  # Keras changes its own in place
    if name == "Equalization":
        expected = equalized(theirs, x, keras)
    else:
        expected = np.asarray(plain(theirs.transform_images(keras.ops.convert_to_tensor(x), given)))
    if isinstance(drawn, dict) and "batch_masks" in drawn:
        drawn["batch_masks"] = drawn["batch_masks"][..., :1]
    found = np.asarray(ours.transform_images(x, drawn))
    scale = max(float(np.abs(expected).max()), 1.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * scale)
    if name in ("MixUp", "CutMix"):
        y = np.eye(4, 5, dtype="float32")
        labels = np.asarray(plain(theirs.transform_labels(keras.ops.convert_to_tensor(y), drawn)))
        np.testing.assert_allclose(ours.transform_labels(y, drawn), labels, rtol=1e-5, atol=1e-6)


def flat(value: Any) -> list[np.ndarray]:
    if isinstance(value, dict):
        return [item for key in sorted(value) for item in flat(value[key])]
    return [np.asarray(value, float)] if hasattr(value, "shape") else []


DRAWN: dict[str, list[dict[str, Any]]] = {
    "RandomRotation": [{"factor": (-0.1, 0.3)}],
    "RandomTranslation": [{"height_factor": 0.2, "width_factor": (0, 0.5)}],
    "RandomZoom": [{"height_factor": (-0.2, 0.5)}],
    "RandomShear": [{"x_factor": 0.2, "y_factor": (0.1, 0.3)}],
    "RandomPerspective": [{"factor": (0.2, 0.5), "scale": 0.3}],
    "RandomBrightness": [{"factor": 0.3}],
    "RandomContrast": [{"factor": 0.3}, {"factor": (0.1, 0.6)}],
    "RandomSaturation": [{"factor": (0.1, 0.6)}],
    "RandomHue": [{"factor": 0.4}],
    "RandomColorDegeneration": [{"factor": 0.4}],
    "RandomSharpness": [{"factor": 0.4}],
    "RandomPosterization": [{"factor": 6}, {"factor": (2, 7)}],
    "RandomInvert": [{"factor": 0.4}],
    "Solarization": [{"addition_factor": 0.2, "threshold_factor": (0.3, 0.9)}],
    "MixUp": [{"alpha": 0.3}, {"alpha": 2.0}],
}


@pytest.mark.parametrize(
    ("name", "options"), [(name, case) for name, cases in DRAWN.items() for case in cases]
)
def test_distributions(name, options, keras):
    """The numbers drawn have the mean, the deviation and the ends that Keras's have."""
    x = np.zeros((4000, 2, 3, 3), "float32")
    theirs = plain(getattr(keras.layers, name)(**options, seed=3).get_random_transformation(x))
    ours = getattr(layers, name)(**options, seed=3).get_random_transformation(x)
    for key in set(theirs) & set(ours):
        for a, b in zip(flat(ours[key]), flat(theirs[key]), strict=True):
            width = max(b.max() - b.min(), 1e-6)
            assert abs(a.mean() - b.mean()) < 0.05 * width and abs(a.std() - b.std()) < 0.05 * width
            assert abs(a.min() - b.min()) < 0.05 * width and abs(a.max() - b.max()) < 0.05 * width


@pytest.mark.filterwarnings("ignore:Tensor.T is deprecated")
@pytest.mark.parametrize("index", range(11))
def test_rand_augment(index, keras):
    theirs = keras.layers.RandAugment(num_ops=1, factor=0.4, seed=1)
    ours, x = layers.RandAugment(num_ops=1, factor=0.4), images()
    drawn = theirs.get_random_transformation(x)
    drawn["layer_idxes"] = keras.ops.convert_to_tensor([index])
    own = copy.deepcopy(plain(drawn))
    for name in ("random_shear", "random_translation", "random_rotation"):
        own["transforms"][name]["input_shape"] = SHAPE
        getattr(theirs, name).fill_mode = "nearest"  # PyTorch has no "reflect"
    ours.fill_mode = "nearest"
    # one alone: on PyTorch, Keras's brightness changes the images that the next ones get
    name = list(drawn["transforms"])[index]
    step, numbers = getattr(theirs, name), drawn["transforms"][name]
    if name == "equalization":
        expected = equalized(step, x, keras)
    else:
        expected = plain(step.transform_images(keras.ops.convert_to_tensor(x), numbers))
    np.testing.assert_allclose(ours.transform_images(x, own), expected, atol=0.02)


@pytest.mark.parametrize(
    ("name", "options"),
    [("RandomFlip", {}), ("RandomTranslation", {"height_factor": 0.3, "width_factor": 0.4})],
)
@pytest.mark.parametrize("form", ["xyxy", "rel_xyxy", "xywh", "center_xywh"])
def test_boxes(name, options, form, keras):
    """Where Keras moves boxes as it moves pixels."""
    rng = np.random.default_rng(2)
    corners = np.sort(rng.uniform(0, 11, (4, 5, 2, 2)), 2).reshape(4, 5, 4).astype("float32")
    start = keras.utils.bounding_boxes.convert_format(corners, "xyxy", form, 13, 11)
    boxes = {"boxes": np.array(plain(start)), "labels": np.ones((4, 5), "float32")}
    theirs, ours = (
        getattr(m.layers, name)(**options, bounding_box_format=form, seed=5) for m in (keras, fastcnn)
    )
    drawn = theirs.get_random_transformation(images())
    expected = plain(
        theirs.transform_bounding_boxes({k: keras.ops.convert_to_tensor(v) for k, v in boxes.items()}, drawn)
    )
    found = ours.transform_bounding_boxes(boxes, plain(drawn))
    if name == "RandomFlip":  # Keras clips shares as if they were pixels there, so nothing is clipped
        np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-4)
    else:
        np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=1e-4)
        np.testing.assert_array_equal(found["labels"], expected["labels"])


MADE = {
    **dict(CASES), "RandomCrop": {"height": 3, "width": 4}, "RandomColorJitter": {"hue_factor": 0.1}, "AugMix": {},
    "RandomElasticTransform": {}, "RandAugment": {}, "MaxNumBoundingBoxes": {"max_number": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_arguments_and_configurations(name, keras):
    """The same arguments with the same defaults; layers can be made of what those of Keras tell of themselves."""
    theirs, ours = (getattr(module.layers, name) for module in (keras, fastcnn))
    known = inspect.signature(ours).parameters
    for argument in inspect.signature(theirs).parameters.values():
        if argument.kind is not argument.VAR_KEYWORD and argument.name != "name":
            assert known[argument.name].default == argument.default
    config = theirs(**MADE[name]).get_config()
    found = ours.from_config(config).get_config()
    for key, value in config.items():
        if key != "dtype":
            same = found[key] == value
            assert same or list(found[key]) == list(value), key
