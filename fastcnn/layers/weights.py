"""Weights as Keras's constructors describe them: `NAME_initializer`, `NAME_regularizer`, `NAME_constraint`."""

from typing import Any

from fastcnn.layers.base import Layer
from fastcnn.registry import deserialize
from fastcnn.tensor import Shape, Variable


def describe(
    layer: Layer, which: str, initializer: Any, regularizer: Any = None, constraint: Any = None
) -> None:
    """Store the three arguments, names resolved, as the layer's attributes `WHICH_initializer`, ..."""
    setattr(layer, f"{which}_initializer", deserialize("initializer", initializer))
    setattr(layer, f"{which}_regularizer", deserialize("regularizer", regularizer))
    setattr(layer, f"{which}_constraint", deserialize("constraint", constraint))


def add(layer: Layer, which: str, shape: Shape, name: str | None = None) -> Variable:
    """The trainable weight that `describe(layer, which, ...)` described; its name is `which` unless given."""
    return layer.add_weight(
        shape,
        getattr(layer, f"{which}_initializer"),
        regularizer=getattr(layer, f"{which}_regularizer"),
        constraint=getattr(layer, f"{which}_constraint"),
        name=name or which,
    )
