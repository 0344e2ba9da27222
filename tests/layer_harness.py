"""What the tests of layers share: weights at random, and a layer's values and gradients on arrays."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from reference import relative_error

from fastcnn.graph import gradients
from fastcnn.layers.base import Layer
from fastcnn.plan import Function
from fastcnn.registry import deserialize, serialize
from fastcnn.tensor import Tensor


def assert_close(actual: Any, expected: Any, dtype: str = "float32", terms: int = 1) -> None:
    """Equal shapes, and errors below 16 eps sqrt(terms) of the largest value: `terms` numbers were summed."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    scale = max(float(np.max(np.abs(expected), initial=0.0)), 1e-3)
    tolerance = 16 * np.finfo(dtype).eps * np.sqrt(terms) * scale
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance)


def randomize(layer: Layer, rng: np.random.Generator) -> None:
    """Overwrite all weights with normal numbers (variances: with positive ones)."""
    for weight in layer.weights:
        values = rng.normal(size=weight.shape)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)


def prepared(layer: Layer, shape: Any, rng: np.random.Generator) -> Layer:
    """The layer, built for inputs of this shape (or list of shapes), with random weights."""
    layer._build_once(shape)
    randomize(layer, rng)
    return layer


def backward(
    layer: Layer, inputs: Sequence[np.ndarray], dy: np.ndarray, training: bool = False
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Gradients of sum(dy y) for the inputs (several: the layer takes a list) and for the trainable weights."""
    n = len(inputs)

    def body(*tensors: Tensor) -> Any:
        y = layer(tensors[0] if n == 1 else list(tensors[:n]))
        found = gradients(y, [*tensors[:n], *layer.trainable_weights], [tensors[n]])
        return found[:n], found[n:]

    return Function(body, training)(*inputs, dy)


def check_gradients(layer: Layer, inputs: Sequence[np.ndarray], training: bool = False) -> None:
    """Gradients for inputs and weights against central differences in float64, relative error below 1e-6."""
    given = inputs[0] if len(inputs) == 1 else list(inputs)
    dy = np.random.default_rng(7).normal(size=layer(given, training=training).shape)
    dxs, dws = backward(layer, inputs, dy, training)

    def objective() -> float:
        return float((dy * layer(given, training=training)).sum())

    places = [*inputs, *(weight.value for weight in layer.trainable_weights)]
    for place, gradient in zip(places, [*dxs, *dws], strict=True):
        assert relative_error(gradient, _differences(objective, place)) < 1e-6


def _differences(objective: Any, place: np.ndarray, eps: float = 1e-6) -> np.ndarray:
    """Central differences, every element of `place` being moved where it lies."""
    found = np.zeros(place.shape)
    for index in np.ndindex(*place.shape):
        kept = place[index]
        place[index] = kept + eps
        above = objective()
        place[index] = kept - eps
        found[index] = (above - objective()) / (2 * eps)
        place[index] = kept
    return found


def round_trip(layer: Layer) -> Layer:
    """The layer rebuilt from its configuration, which has passed through JSON."""
    data = json.loads(json.dumps(serialize(layer)))
    again = deserialize("layer", data)
    assert type(again) is type(layer)
    assert json.loads(json.dumps(again.get_config())) == data["config"]
    return again
