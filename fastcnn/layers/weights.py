"""Weights as Keras's constructors describe them: `NAME_initializer`, `NAME_regularizer`, `NAME_constraint`."""

from typing import Any

from fastcnn.initializers import Initializer
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


def description(layer: Layer, which: str) -> dict[str, Any]:
    """The three arguments, for a layer inside: with an initializer of its own, which draws other values."""
    names = [f"{which}_{part}" for part in ("initializer", "regularizer", "constraint")]
    first, *others = (getattr(layer, name) for name in names)
    first = first.clone() if isinstance(first, Initializer) else first
    return dict(zip(names, [first, *others], strict=True))


def add(layer: Layer, which: str, shape: Shape, name: str | None = None, initializer: Any = None) -> Variable:
    """The trainable weight that `describe(layer, which, ...)` described; its name is `which` unless given.

    initializer: in place of the one described.
    """
    return layer.add_weight(
        shape,
        initializer or getattr(layer, f"{which}_initializer"),
        regularizer=getattr(layer, f"{which}_regularizer"),
        constraint=getattr(layer, f"{which}_constraint"),
        name=name or which,
    )
