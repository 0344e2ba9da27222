"""Sequential: a stack of layers."""

from __future__ import annotations

from typing import Any, Self

from fastcnn.errors import Error
from fastcnn.graph import tracing
from fastcnn.layers.base import Layer, naming
from fastcnn.layers.core import Input, InputLayer
from fastcnn.models.functional import Network
from fastcnn.models.model import Model
from fastcnn.registry import auto_name, deserialize, serialize
from fastcnn.tensor import Shape, Tensor


class Sequential(Model):
    """Layers applied one after the other. The weights are made when the input shape is known: from an `Input`,
    from the first layer's `input_shape`, from `build`, or from the first data."""

    def __init__(self, layers: Any = None, trainable: bool = True, name: str | None = None):
        super().__init__(name=name)
        self._trainable = trainable
        self._stack: tuple[Layer, ...] = ()
        for layer in layers or ():
            self.add(layer, rebuild=False)
        self._build_if_possible()

    @property
    def layers(self) -> list[Layer]:
        """The layers, without the input."""
        return [layer for layer in self._stack if not isinstance(layer, InputLayer)]

    def add(self, layer: Any, rebuild: bool = True) -> None:
        """Append a layer."""
        if (
            isinstance(layer, Tensor)
            and layer.node is not None
            and isinstance(layer.node.operation, InputLayer)
        ):
            layer = layer.node.operation
        if not isinstance(layer, Layer):
            raise Error(f"Sequential takes layers, got {type(layer).__name__}: {layer!r}")
        if isinstance(layer, InputLayer) and self._stack:
            raise Error(
                f"model {self.name!r}: an Input can only come first, got it after {self._stack[-1].name!r}"
            )
        if any(other.name == layer.name for other in self._stack):
            raise Error(
                f"model {self.name!r}: layer names must be unique, {layer.name!r} is there already; "
                "give the layer another name"
            )
        self._stack = (*self._stack, layer)
        self._changed(rebuild)

    def pop(self, rebuild: bool = True) -> Layer:
        """Take the last layer away and return it."""
        if not self.layers:
            raise Error(f"model {self.name!r} has no layer to pop")
        layer = self._stack[-1]
        self._stack = self._stack[:-1]
        self._changed(rebuild)
        return layer

    def _changed(self, rebuild: bool) -> None:
        self.network = None
        self.built = False
        self._sublayers = list(self._stack)
        self._functions.clear()
        self.reset_plans()
        if rebuild:
            self._build_if_possible()

    def _build_if_possible(self) -> None:
        shape = self._declared_shape()
        if shape is not None and self.layers:
            self._connect(shape)

    def _declared_shape(self) -> Shape | None:
        """Input shape with the batch, if the first layer tells it."""
        if not self._stack:
            return None
        first = self._stack[0]
        if isinstance(first, InputLayer):
            return first._calls[0].outputs[0].shape
        if isinstance(first, Sequential | Model) and first.network is not None:
            return first.network.flat_inputs[0].shape
        return (None, *first.given_input_shape) if first.given_input_shape is not None else None

    def _connect(self, shape: Shape) -> None:
        first = self._stack[0]
        x = (
            first._calls[0].outputs[0]
            if isinstance(first, InputLayer)
            else Input(batch_shape=shape, dtype=self.dtype)
        )
        inputs = x
        for position, layer in enumerate(self.layers):
            try:
                with naming(self.name):
                    x = layer(x)
            except Error as error:
                raise error.at_position(self.name, position) from error.__cause__
        self.network = Network(inputs, x)
        auto_name(
            "functional"
        )  # Keras makes a functional model here, so the next one of a script is functional_1
        self._sublayers = list(self._stack)
        self.built = True

    def build(self, input_shape: Any = None) -> None:
        """Make the weights for inputs of this shape (batch included)."""
        if self.network is None and input_shape is not None and self.layers:
            self._connect(tuple(input_shape))
        elif self.network is None:
            raise Error(
                f"model {self.name!r}: build needs the input shape, batch included, e.g. (None, 28, 28, 1)"
            )

    def _build_once(self, shapes: Any) -> None:
        if self.network is None and self.layers:
            with naming(self.name), tracing(None):
                self._connect((None, *tuple(shapes)[1:]))

    def call(self, inputs: Any) -> Any:
        if self.network is None:
            raise Error(f"model {self.name!r} has no layers to call")
        return self.network(inputs)

    def get_config(self) -> dict[str, Any]:
        shape = self.network.flat_inputs[0].shape if self.network is not None else None
        return {
            "name": self.name,
            "trainable": self._trainable,
            "layers": [serialize(layer) for layer in self._stack],
            "build_input_shape": shape,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        model = cls(name=config["name"])
        for entry in config["layers"]:
            model.add(deserialize("layer", entry, custom_objects), rebuild=False)
        model._trainable = config.get("trainable", True)
        if config.get("build_input_shape") is not None:
            model._connect(tuple(config["build_input_shape"]))
        return model


__all__ = ["Sequential"]
