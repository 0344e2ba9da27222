"""Networks: the part of a functional graph between some input tensors and some output tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from fastcnn import ops, tree
from fastcnn.errors import Error, did_you_mean
from fastcnn.graph import Node, Op, apply
from fastcnn.layers.base import Layer, map_tensors, tensors_in
from fastcnn.ops.core import convert
from fastcnn.registry import deserialize, serialize
from fastcnn.tensor import Constant, Tensor, Variable


class Network:
    """A graph of layers and ops that can be run again on other tensors.

    inputs, outputs: a tensor or nested lists and dicts of tensors.
    """

    def __init__(self, inputs: Any, outputs: Any):
        self.inputs = inputs
        self.outputs = outputs
        self.flat_inputs = list(tensors_in(inputs))
        self.flat_outputs = list(tensors_in(outputs))
        self.sorted_inputs, self.sorted_outputs = tree.flatten(inputs), tree.flatten(outputs)
        if not self.flat_inputs or not self.flat_outputs:
            raise Error(
                "a model needs at least one input and one output tensor, as made by Input() and by layers"
            )
        self.nodes = self._between()
        self.layers = self._layers()
        self._check_names()

    def _between(self) -> list[Node]:
        """The nodes from the inputs to the outputs in order; those of the inputs themselves come first."""
        given = {id(x) for x in self.flat_inputs}
        found: dict[float, Node] = {}
        stack = list(self.flat_outputs)
        while stack:
            tensor = stack.pop()
            if id(tensor) in given or isinstance(tensor, Variable | Constant):
                continue
            if tensor.node is None or not tensor.node.inputs and isinstance(tensor.node.operation, Layer):
                raise Error(
                    f"the outputs depend on {tensor.name or tensor!r}, which is not among the model's inputs; "
                    "add it to `inputs`"
                )
            if tensor.node.serial not in found:
                found[tensor.node.serial] = tensor.node
                stack.extend(tensor.node.inputs)
        sources = {
            x.node.serial: x.node for x in self.flat_inputs if x.node is not None and not x.node.inputs
        }
        return [sources[s] for s in sources] + [found[s] for s in sorted(found)]

    def _layers(self) -> list[Layer]:
        """The layers in Keras's order: those farther from the outputs come first, at equal distance in the order in
        which a depth-first walk from the outputs meets them. Inputs that nothing uses have distance 0.
        """
        met, finished = self._walk()
        distance: dict[float, int] = {}  # of nodes by serial
        of_layer = {
            id(x.node.operation): 0 for x in self.sorted_inputs if x.node is not None and not x.node.inputs
        }
        for node in reversed(finished):
            key = id(node.operation)
            far = max(distance.get(node.serial, 0), of_layer.get(key, 0))
            distance[node.serial] = far
            if isinstance(node.operation, Layer):
                of_layer[key] = far
            for source in _sources(node):
                distance[source.serial] = max(far + 1, distance.get(source.serial, 0))
        layers = {id(node.operation): node.operation for node in self.nodes}
        order = sorted(of_layer, key=lambda key: (-of_layer[key], met.get(key, -1)))
        return [layers[key] for key in order]

    def _walk(self) -> tuple[dict[int, int], list[Node]]:
        """Depth first from the outputs: when each operation was met, and the nodes, sources before readers."""
        inside = {node.serial for node in self.nodes}
        met: dict[int, int] = {}
        done: set[float] = set()
        finished: list[Node] = []
        stack = [(y.node, False) for y in reversed(self.sorted_outputs) if y.node is not None]
        while stack:
            node, is_left = stack.pop()
            if node.serial in done or node.serial not in inside:
                continue
            if is_left:
                done.add(node.serial)
                finished.append(node)
                continue
            met.setdefault(id(node.operation), len(met))
            stack.append((node, True))
            stack += [(source, False) for source in reversed(_sources(node))]
        return met, finished

    def _check_names(self) -> None:
        counts = Counter(layer.name for layer in self.layers)
        twice = [name for name, count in counts.items() if count > 1]
        if twice:
            raise Error(f"layer names must be unique in a model; used twice: {', '.join(twice)}")

    def __call__(self, inputs: Any) -> Any:
        """The outputs for other input tensors, in the structure of `outputs`."""
        given = self._arrange(inputs)
        pairs = enumerate(zip(self.flat_inputs, given, strict=True))
        values = {id(x): _adapt(value, x, number) for number, (x, value) in pairs}

        def lookup(tensor: Tensor) -> Tensor:
            return tensor if isinstance(tensor, Variable | Constant) else values[id(tensor)]

        for node in self.nodes:
            if not node.inputs and isinstance(node.operation, Layer):
                continue
            result = _apply_node(node, lookup)
            values.update(zip(map(id, node.outputs), tensors_in(result), strict=True))
        return map_tensors(self.outputs, lookup)

    def _arrange(self, inputs: Any) -> list[Tensor]:
        """The given tensors in the order of the inputs. A dict may name the inputs' layers."""
        if isinstance(inputs, Mapping) and not isinstance(self.inputs, Mapping):
            names = [x.name or "" for x in self.flat_inputs]
            missing = [name for name in names if name not in inputs]
            if missing:
                raise Error(f"no input named {missing[0]!r} was given{did_you_mean(missing[0], inputs)}")
            return [inputs[name] for name in names]
        if isinstance(inputs, Mapping):
            missing = [name for name in self.inputs if name not in inputs]
            if missing:
                raise Error(f"no input named {missing[0]!r} was given{did_you_mean(missing[0], inputs)}")
            return [tensor for name in self.inputs for tensor in tensors_in(inputs[name])]
        found = list(tensors_in(inputs))
        if len(found) != len(self.flat_inputs):
            raise Error(f"the model has {len(self.flat_inputs)} inputs, {len(found)} were given")
        return found

    # --- configuration ---------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Layers once each, then their calls in order; a tensor is [call number, output number]."""
        position = {node.serial: i for i, node in enumerate(self.nodes)}

        def reference(tensor: Tensor) -> Any:
            if isinstance(tensor, Constant):
                return {"constant": tensor.value.tolist(), "dtype": tensor.dtype}
            if tensor.node is None or tensor.node.serial not in position:
                raise Error(
                    f"{tensor!r} is used in the model but is neither an input nor computed by a layer"
                )
            return {"tensor": [position[tensor.node.serial], tensor.node.outputs.index(tensor)]}

        return {
            "layers": [{**serialize(layer), "name": layer.name} for layer in self.layers],
            "calls": [_call_config(node, reference) for node in self.nodes],
            "inputs": map_tensors(self.inputs, reference),
            "outputs": map_tensors(self.outputs, reference),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Network:
        """Rebuild the layers and call them again as recorded."""
        layers: dict[str, Layer] = {}
        for entry in config["layers"]:
            layer = deserialize("layer", entry)
            layers[layer.name] = layer
        results: list[list[Tensor]] = []

        def resolve(value: Any) -> Any:
            if isinstance(value, dict) and value.keys() == {"tensor"}:
                call, output = value["tensor"]
                return results[call][output]
            if isinstance(value, dict) and value.keys() == {"constant", "dtype"}:
                return convert(value["constant"], value["dtype"])
            if isinstance(value, dict):
                return {key: resolve(item) for key, item in value.items()}
            return type(value)(resolve(item) for item in value) if isinstance(value, list | tuple) else value

        for call in config["calls"]:
            results.append(_repeat_call(call, layers, resolve))
        return cls(resolve(config["inputs"]), resolve(config["outputs"]))


def _sources(node: Node) -> list[Node]:
    """The nodes that a node reads from."""
    return [x.node for x in node.inputs if x.node is not None]


def _apply_node(node: Node, lookup: Any) -> Any:
    if isinstance(node.operation, Layer):
        args, kwargs = map_tensors(node.call, lookup)
        return node.operation(*args, **kwargs)
    return apply(node.operation, *map(lookup, node.inputs))


def _call_config(node: Node, reference: Any) -> dict[str, Any]:
    if isinstance(node.operation, Layer):
        args, kwargs = node.call if node.call is not None else ((), {})
        return {
            "layer": node.operation.name,
            "args": serialize(map_tensors(list(args), reference)),
            "kwargs": serialize(map_tensors(kwargs, reference)),
        }
    return {"op": node.operation.get_config(), "args": [reference(x) for x in node.inputs]}


def _repeat_call(call: dict[str, Any], layers: dict[str, Layer], resolve: Any) -> list[Tensor]:
    args = resolve(call["args"])
    if "op" in call:
        return list(tensors_in(apply(Op.from_config(call["op"]), *args)))
    layer = layers[call["layer"]]
    if not args and not call["kwargs"]:
        return list(layer._calls[0].outputs)  # an InputLayer has made its tensor already
    return list(tensors_in(layer(*args, **resolve(call["kwargs"]))))


def _adapt(value: Tensor, declared: Tensor, number: int) -> Tensor:
    """The tensor in the rank that the input declares: a last axis of one is added or dropped, as Keras does."""
    if value.ndim == declared.ndim - 1 and declared.shape[-1] == 1:
        value = ops.expand_dims(value, -1)
    elif value.ndim == declared.ndim + 1 and value.shape[-1] == 1:
        value = ops.squeeze(value, -1)
    fits = value.ndim == declared.ndim and all(
        a == b or a is None or b is None for a, b in zip(value.shape, declared.shape, strict=True)
    )
    if not fits:
        raise Error(f"input {declared.name or number!r}: expected shape {declared.shape}, got {value.shape}")
    return value
