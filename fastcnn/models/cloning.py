"""Copies of models: the same layers and calls, with weights, inputs or single layers of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastcnn.errors import Error
from fastcnn.graph import apply
from fastcnn.layers import Input, InputLayer
from fastcnn.layers.base import Layer, map_tensors, tensors_in
from fastcnn.models.model import Model
from fastcnn.models.sequential import Sequential
from fastcnn.tensor import Constant, Tensor, Variable


def clone_model(
    model: Model, input_tensors: Any = None, clone_function: Callable[[Layer], Layer] | None = None,
    call_function: Callable[..., Any] | None = None, recursive: bool = False,
) -> Model:  # fmt: skip
    """The same architecture with fresh weights; shared layers stay shared.

    input_tensors: symbolic inputs of the copy, in place of new ones like the model's.
    clone_function: `layer -> layer`, the copy of a layer, by default one from its configuration.
    call_function: `(layer, *args, **kwargs) -> outputs`, the call of a copied layer; of functional models only.
    recursive: copy the models inside by `clone_model` too, not by `clone_function`.
    Raises `Error` for a subclassed model with any of these: its structure is its own; without, it is made anew
    from its configuration.
    """

    def clone(layer: Layer) -> Layer:
        if recursive and isinstance(layer, Sequential):
            return clone_model(layer, None, clone_function, None, True)
        if recursive and isinstance(layer, Model) and layer.network is not None:
            return clone_model(layer, None, clone_function, call_function, True)
        copied = (clone_function or _from_configuration)(layer)
        if not isinstance(copied, Layer):
            raise Error(f"clone_model: clone_function must return a layer, got {copied!r} for {layer.name!r}")
        return copied

    if isinstance(model, Sequential):
        if call_function is not None:
            raise Error("clone_model: call_function is for functional models, the model is a Sequential")
        return _clone_sequential(model, input_tensors, clone)
    if model.network is not None and type(model).call is Model.call:
        return _clone_functional(model, input_tensors, clone, call_function or _call)
    if input_tensors is not None or clone_function is not None or call_function is not None:
        raise Error(
            f"clone_model: {type(model).__name__} is a subclass with its own call(), which cannot be taken apart; "
            "use type(model).from_config(model.get_config())"
        )
    return type(model).from_config(model.get_config())


def _from_configuration(layer: Layer) -> Layer:
    return type(layer).from_config(layer.get_config())


def _call(layer: Layer, *args: Any, **kwargs: Any) -> Any:
    return layer(*args, **kwargs)


def _clone_sequential(model: Sequential, input_tensors: Any, clone: Callable[[Layer], Layer]) -> Sequential:
    given = list(tensors_in(input_tensors))
    if len(given) > 1:
        raise Error(f"clone_model: a Sequential has one input, {len(given)} input_tensors were given")
    declared = [layer for layer in model._stack if isinstance(layer, InputLayer)]
    first: list[Any] = given or [_from_configuration(layer) for layer in declared]
    copy = type(model)([*first, *(clone(layer) for layer in model.layers)], model._trainable, model.name)
    if not copy.built and model.network is not None:
        copy.build(model.network.flat_inputs[0].shape)
    return copy


def _clone_functional(
    model: Model, input_tensors: Any, clone: Callable[[Layer], Layer], call: Callable[..., Any]
) -> Model:
    network = model._network()
    given = list(tensors_in(input_tensors)) or [_like(x) for x in network.flat_inputs]
    if len(given) != len(network.flat_inputs):
        raise Error(f"clone_model: the model has {len(network.flat_inputs)} inputs, {len(given)} were given")
    values = dict(zip(map(id, network.flat_inputs), given, strict=True))
    layers = {id(layer): clone(layer) for layer in network.layers if not isinstance(layer, InputLayer)}

    def lookup(tensor: Tensor) -> Tensor:
        return tensor if isinstance(tensor, Variable | Constant) else values[id(tensor)]

    for node in network.nodes:
        if not node.inputs and isinstance(node.operation, Layer):
            continue
        if isinstance(node.operation, Layer):
            args, kwargs = map_tensors(node.call, lookup)
            result = call(layers[id(node.operation)], *args, **kwargs)
        else:
            result = apply(node.operation, *map(lookup, node.inputs))
        values.update(zip(map(id, node.outputs), tensors_in(result), strict=True))
    inputs, outputs = (map_tensors(ends, lookup) for ends in (network.inputs, network.outputs))
    copy = Model(inputs, outputs, name=model.name)
    copy._trainable = model._trainable
    return copy


def _like(tensor: Tensor) -> Tensor:
    return Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
