"""Model: a layer that can be trained, saved and summarised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from fastcnn.errors import Error, did_you_mean
from fastcnn.graph import current_trace
from fastcnn.layers.base import Layer
from fastcnn.models.functional import Network
from fastcnn.models.keras_config import is_from_keras, tensors_of
from fastcnn.models.training import Trainer
from fastcnn.registry import auto_name, deserialize, serialize, snake_case
from fastcnn.tensor import Tensor


class Model(Trainer, Layer):
    """A network with training.

    Three ways to make one: `Model(inputs, outputs)` from symbolic tensors (functional), a subclass that makes
    its layers in the constructor and uses them in `call(self, x)`, and `Sequential`.
    """

    _aliases = ("Functional",)  # Keras's name for those made from tensors

    def __init__(self, *args: Any, **kwargs: Any):
        inputs = args[0] if args else kwargs.pop("inputs", None)
        outputs = args[1] if len(args) > 1 else kwargs.pop("outputs", None)
        if len(args) > 2:
            kwargs.setdefault("name", args[2])
        if (inputs is None) != (outputs is None):
            raise Error("Model: give both inputs and outputs, or neither in a subclass with its own call()")
        prefix = type(self).__name__ if type(self) is not Model or inputs is None else "functional"
        kwargs.setdefault("name", None)
        Layer.__init__(self, **{**kwargs, "name": kwargs["name"] or auto_name(prefix)})
        self.network: Network | None = None
        Trainer.__init__(self)
        if inputs is not None:
            self._set_network(Network(inputs, outputs))

    def _set_network(self, network: Network) -> None:
        self.network = network
        self._sublayers = list(network.layers)
        self.built = True

    # --- structure -------------------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Layer]:
        """The layers directly in this model, in order."""
        return list(self._sublayers)

    @property
    def inputs(self) -> list[Tensor]:
        """In the order of their names where they are a dict."""
        return self._network().sorted_inputs

    @property
    def outputs(self) -> list[Tensor]:
        """In the order of their names where they are a dict."""
        return self._network().sorted_outputs

    @property
    def input(self) -> Any:
        return self._network().inputs

    @property
    def output(self) -> Any:
        return self._network().outputs

    @property
    def input_shape(self) -> Any:
        shapes = [x.shape for x in self.inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def output_shape(self) -> Any:
        shapes = [y.shape for y in self.outputs]
        return shapes[0] if len(shapes) == 1 else shapes

    @property
    def input_names(self) -> list[str]:
        return [x.name or f"input_{i}" for i, x in enumerate(self.inputs)]

    def _known_output_names(self) -> list[str] | None:
        if self.network is None:
            return None
        outputs = self.network.outputs
        return list(outputs) if isinstance(outputs, dict) else _names_behind(self.network.flat_outputs)

    @property
    def output_names(self) -> list[str]:
        """Name of the layer behind each output; numbered where one layer gives several."""
        return _names_behind(self.outputs)

    def _network(self) -> Network:
        if self.network is None:
            raise Error(
                f"model {self.name!r} has no symbolic inputs and outputs yet; give it an Input(shape), "
                "call build(input_shape), or call it on data first"
            )
        return self.network

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer:
        """The layer of that name, or at that position."""
        if (name is None) == (index is None):
            raise Error("get_layer: give either name or index")
        if index is not None:
            if not -len(self.layers) <= index < len(self.layers):
                raise Error(
                    f"get_layer: model {self.name!r} has {len(self.layers)} layers, there is no index {index}"
                )
            return self.layers[index]
        for layer in self.layers:
            if layer.name == name:
                return layer
        hint = did_you_mean(str(name), [layer.name for layer in self.layers])
        raise Error(f"no layer named {name!r} in model {self.name!r}{hint}")

    # --- computing -------------------------------------------------------------------------------------------

    def call(self, inputs: Any) -> Any:
        if self.network is None:
            raise Error(f"{type(self).__name__} defines no call(); write one, or give inputs and outputs")
        return self.network(inputs)

    def build(self, input_shape: Any) -> None:
        """Make all weights for inputs of this shape (batch included, may be None)."""
        if self.network is None and current_trace() is None and type(self).call is not Model.call:
            shapes = input_shape if _is_list_of_shapes(input_shape) else [input_shape]
            inputs = [Tensor(tuple(shape), self.dtype) for shape in shapes]
            self.built = True  # or calling would come back here
            self(inputs if _is_list_of_shapes(input_shape) else inputs[0])
        self.built = True

    # --- configuration ---------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """What `from_config` needs to make the same architecture with fresh weights."""
        if self.network is not None and type(self).__init__ is Model.__init__:
            return {"name": self.name, "trainable": self._trainable, **self.network.get_config()}
        return super().get_config()

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> Self:
        """The model that `get_config` described, here or in Keras, with fresh weights."""
        if is_from_keras(config):
            inputs, outputs = tensors_of(config)
        elif "calls" in config:
            network = Network.from_config(config)
            inputs, outputs = network.inputs, network.outputs
        else:
            return super().from_config(config)
        model = cls(inputs, outputs, name=config["name"])
        model._trainable = config.get("trainable", True)
        return model

    def summary(
        self, line_length: int | None = None, positions: Any = None, print_fn: Callable[[str], Any] | None = None,
        expand_nested: bool = False, show_trainable: bool = False, layer_range: Any = None,
    ) -> None:  # fmt: skip
        """Print layers, output shapes, parameters, multiply-adds and activation memory."""
        from fastcnn.models.summary import summarize

        (print_fn or print)(summarize(self, line_length, expand_nested, show_trainable, layer_range))

    def save(self, filepath: Any, overwrite: bool = True, zipped: Any = None) -> None:
        """Write architecture, weights, and optimizer state to one safetensors file, atomically."""
        from fastcnn.models.saving import save_model

        save_model(self, filepath, overwrite)

    def save_weights(self, filepath: Any, overwrite: bool = True) -> None:
        """Write the weights to a safetensors file, atomically."""
        from fastcnn.models.saving import save_weights

        save_weights(self, filepath, overwrite)

    def load_weights(self, filepath: Any, skip_mismatch: bool = False) -> None:
        """Read weights written by `save` or `save_weights`. All problems are reported at once, none half-done."""
        from fastcnn.models.saving import load_weights

        load_weights(self, filepath, skip_mismatch)

    def to_fully_convolutional(self) -> Model:
        """A copy of this classifier that looks at every window of larger images at once."""
        from fastcnn.models.fully_convolutional import to_fully_convolutional

        return to_fully_convolutional(self)

    def to_json(self) -> str:
        """The architecture as JSON text."""
        import json

        return json.dumps(serialize(self))


def _names_behind(outputs: Sequence[Tensor]) -> list[str]:
    names: list[str] = []
    for i, y in enumerate(outputs):
        name = _name_behind(y) or f"output_{i}"
        names.append(name if name not in names else f"{name}_{i}")
    return names


def _name_behind(y: Tensor) -> str | None:
    """The name of the layer that makes it, or of the function in lower case."""
    if y.node is None:
        return None
    operation = y.node.operation
    return operation.name if isinstance(operation, Layer) else snake_case(operation.name)


def _is_list_of_shapes(shape: Any) -> bool:
    return isinstance(shape, list | tuple) and bool(shape) and isinstance(shape[0], list | tuple)


def model_from_json(json_string: str, custom_objects: dict[str, Any] | None = None) -> Model:
    """The model that `to_json` described, with fresh weights."""
    import json

    return deserialize("layer", json.loads(json_string), custom_objects)
