"""Layers that change pictures on CUDA: active in training, passive otherwise, and the pictures of the CPU."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import fastcnn
from fastcnn import layers

spec = importlib.util.spec_from_file_location(
    "picture_results", Path(__file__).with_name("picture_results.py")
)
assert spec is not None and spec.loader is not None
picture_results = importlib.util.module_from_spec(spec)
spec.loader.exec_module(picture_results)

ULP = 255 * np.finfo(np.float32).eps
# Without training these compute constants while they are traced, on the CPU, whose JIT the simulator has switched off.
WITH_CONSTANTS = {"affine", "affine crop", "colors"}


@pytest.mark.parametrize(
    ("name", "training"),
    [(name, True) for name in picture_results.LAYERS]
    + [(name, False) for name in picture_results.LAYERS if name not in WITH_CONSTANTS],
)
def test_pictures_are_those_of_the_cpu(
    name: str, training: bool, on_cuda: None, on_the_cpu: Callable[[str], dict[str, np.ndarray]]
) -> None:
    expected = on_the_cpu("picture_results")[f"{name}|{training}"]
    found = picture_results.changed(name, training)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=0, atol=20 * ULP)


def test_active_only_in_training(on_cuda: None) -> None:
    inputs = fastcnn.Input((5, 4, 3))
    model = fastcnn.Model(
        inputs, layers.RandomFlip("horizontal", seed=1)(layers.RandomTranslation(0.5, 0.5, seed=2)(inputs))
    )
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).uniform(size=(2, 5, 4, 3)).astype(np.float32)
    np.testing.assert_array_equal(model.predict_on_batch(x), x)
    assert model.test_on_batch(x, x) == 0
    assert model.train_on_batch(x, x) > 0
