"""Classifiers turned into sliding-window detectors: dense layers become convolutions."""

from __future__ import annotations

from typing import Any

from fastcnn.errors import Error
from fastcnn.layers import (
    AveragePooling2D,
    Conv2D,
    Dense,
    Flatten,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Identity,
    Input,
    MaxPooling2D,
    Reshape,
)
from fastcnn.layers.base import Layer
from fastcnn.models.cloning import _call, _clone_functional, _from_configuration
from fastcnn.models.model import Model
from fastcnn.tensor import Tensor

Window = tuple[int, int]


def to_fully_convolutional(model: Model) -> Model:
    """A copy of a classifier for images of any size, with the same weights.

    At row i and column j, of (n, rows, columns, classes), it gives what the classifier gives for the window that begins
    at row i s and column j s, s being the product of all strides; all windows share their computations. The last
    windows may reach beyond the image by pixels that strides leave out. That is
    exact where no layer pads ("valid"); padded layers see neighbouring pixels where a window by itself has zeros.
    Dense layers behind Flatten become convolutions of the size of the map that was flattened, others 1 x 1; global
    pooling becomes pooling of the map's size. Sermanet et al. 2014, OverFeat.
    """
    network = model._network()
    shape = network.flat_inputs[0].shape
    if len(network.flat_inputs) != 1 or len(shape) != 4:
        raise Error(
            f"to_fully_convolutional: model {model.name!r} must have one input (n, height, width, channels)"
        )
    plans = {id(node.operation): _replacement(node) for node in network.nodes if _is_layer(node)}
    copies: dict[int, Layer] = {}

    def clone(layer: Layer) -> Layer:
        new = plans.get(id(layer))
        copies[id(layer)] = _from_configuration(layer) if new is None else new
        return copies[id(layer)]

    found = _clone_functional(
        model, [Input((None, None, shape[-1]), name=network.flat_inputs[0].name)], clone, _call
    )
    for layer in network.layers:
        if id(layer) in copies:
            _copy_weights(layer, copies[id(layer)])
    return found


def effective_stride(model: Model) -> Window:
    """How many pixels lie between two neighbouring outputs: the products of the strides of all layers in a row."""
    rows = columns = 1
    for layer in model.layers:
        strides = getattr(layer, "strides", (1, 1))
        if isinstance(strides, tuple) and len(strides) == 2:
            rows, columns = rows * strides[0], columns * strides[1]
    return rows, columns


def _is_layer(node: Any) -> bool:
    return isinstance(node.operation, Layer) and bool(node.inputs)


def _replacement(node: Any) -> Layer | None:
    """The layer in place of this one; None if a copy will do."""
    layer, x = node.operation, node.inputs[0]
    window = _window(x)
    if isinstance(layer, Dense):
        return _convolution(layer, window)
    if isinstance(layer, Flatten):
        return Identity(name=layer.name)
    if isinstance(layer, GlobalAveragePooling2D | GlobalMaxPooling2D):
        pool = AveragePooling2D if isinstance(layer, GlobalAveragePooling2D) else MaxPooling2D
        return pool(x.shape[1:3], 1, name=layer.name)
    if isinstance(layer, Reshape) or (window != (1, 1) and layer.weights):
        raise Error(
            f"to_fully_convolutional: layer {layer.name!r} works on flattened features in a way that no convolution "
            "can; put it before Flatten or behind the first Dense"
        )
    return None


def _window(x: Tensor) -> Window:
    """The size of the map that was flattened into x; (1, 1) if none was."""
    while x.ndim == 2 and x.node is not None and x.node.inputs:
        operation, source = x.node.operation, x.node.inputs[0]
        if isinstance(operation, Flatten):
            rows, columns = source.shape[1:3] if source.ndim == 4 else (1, 1)
            return int(rows or 1), int(columns or 1)
        if isinstance(operation, Dense | GlobalAveragePooling2D | GlobalMaxPooling2D):
            break
        x = source
    return 1, 1


def _convolution(layer: Dense, window: Window) -> Conv2D:
    config = layer.get_config()
    shared = (
        "name",
        "activation",
        "use_bias",
        "bias_initializer",
        "bias_regularizer",
        "bias_constraint",
        "dtype",
    )
    options = {name: config[name] for name in shared if name in config}
    return Conv2D(layer.units, window, **options)


def _copy_weights(source: Layer, target: Layer) -> None:
    shapes = [variable.shape for variable in target.weights]
    target.set_weights(
        [array.reshape(shape) for array, shape in zip(source.get_weights(), shapes, strict=True)]
    )
