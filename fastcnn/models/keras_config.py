"""Functional models as Keras describes them, in `get_config()` and `to_json()`."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.layers.base import Layer, tensors_in
from fastcnn.registry import deserialize, snake_case
from fastcnn.tensor import Tensor

Place = tuple[str, int]  # the name of a layer, and the number of its call


def is_from_keras(config: Mapping[str, Any]) -> bool:
    """Whether it has the form of Keras's, not that of `Network.get_config`."""
    return "input_layers" in config


def tensors_of(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The inputs and outputs of the model, its layers made and called as the configuration says.

    A tensor is named there by a layer, the number of its call, and the number of the call's output.
    """
    layers = {entry["name"]: _operation(entry) for entry in config["layers"]}
    made: dict[Place, list[Tensor]] = {}
    waiting: dict[Place, Mapping[str, Any]] = {}
    for entry in config["layers"]:
        if isinstance(layer := layers[entry["name"]], Layer) and not entry["inbound_nodes"]:
            made[entry["name"], 0] = list(layer._calls[0].outputs)
        waiting |= {(entry["name"], i): call for i, call in enumerate(entry["inbound_nodes"])}
    while waiting:
        ready = [place for place, call in waiting.items() if set(_sources(call)) <= made.keys()]
        if not ready:
            raise Error(
                f"the model's layers {sorted({name for name, _ in waiting})} read what no layer makes"
            )
        for place in ready:
            call = _resolved(waiting.pop(place), made)
            made[place] = list(tensors_in(layers[place[0]](*call["args"], **call["kwargs"])))
    return _named(config["input_layers"], made), _named(config["output_layers"], made)


def _operation(entry: Mapping[str, Any]) -> Any:
    """A layer, or a function of `ops` with the arguments that Keras keeps of its call."""
    if not str(entry.get("module")).startswith(("keras.src.ops", "keras.ops")):
        return deserialize("layer", dict(entry))
    options = {name: value for name, value in entry["config"].items() if name != "name"}
    name = snake_case(entry["class_name"])
    if name == "get_item":
        return lambda x, key: x[tuple(key) if isinstance(key, list) else key]
    function = getattr(ops, name)
    if not inspect.isfunction(function):
        raise Error(f"fastcnn.ops.{name}, which the model's {entry['name']!r} calls, is no function")
    return lambda *args, **kwargs: function(*args, **kwargs, **options)


def _sources(value: Any) -> Iterator[Place]:
    """Which calls the tensors in nested arguments come from."""
    if _is(value, "__keras_tensor__"):
        name, call, _ = value["config"]["keras_history"]
        yield name, call
    elif isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _sources(item)


def _resolved(value: Any, made: Mapping[Place, list[Tensor]]) -> Any:
    """Nested arguments with tensors in the place of their names."""
    if _is(value, "__keras_tensor__"):
        name, call, output = value["config"]["keras_history"]
        return made[name, call][output]
    if _is(value, "__slice__"):
        return slice(*(value["config"][part] for part in ("start", "stop", "step")))
    if isinstance(value, Mapping):
        return {key: _resolved(item, made) for key, item in value.items()}
    return [_resolved(item, made) for item in value] if isinstance(value, list | tuple) else value


def _is(value: Any, class_name: str) -> bool:
    return isinstance(value, Mapping) and value.get("class_name") == class_name


def _named(value: Any, made: Mapping[Place, list[Tensor]]) -> Any:
    """Tensors in the structure of [layer, call, output] lists."""
    if isinstance(value, Mapping):
        return {key: _named(item, made) for key, item in value.items()}
    if value and isinstance(value[0], str):
        name, call, output = value
        return made[name, call][output]
    return [_named(item, made) for item in value]
