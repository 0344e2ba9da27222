"""A model as a list of steps, from which the same network is made for other frameworks."""

from typing import Any, NamedTuple

import fastcnn
from fastcnn.layers import Layer


class Step(NamedTuple):
    """A layer applied to the results of earlier steps, which are named by number; -1 is the model's input."""

    layer: Layer
    sources: list[int]

    @property
    def kind(self) -> str:
        """Name of the layer's class."""
        return type(self.layer).__name__

    @property
    def activation(self) -> str:
        """Name of the activation inside the layer; "linear" where there is none."""
        activation = getattr(self.layer, "activation", None)
        return getattr(activation, "__name__", "linear") if activation is not None else "linear"

    @property
    def weights(self) -> list[Any]:
        """Arrays of the layer, in Keras's layout."""
        return self.layer.get_weights()


def steps_of(model: fastcnn.Model) -> list[Step]:
    """The layers of a model with one input and one output, in the order in which they run."""
    if isinstance(model, fastcnn.Sequential):
        return [Step(layer, [i - 1]) for i, layer in enumerate(model.layers)]
    number: dict[float, int] = {}
    steps: list[Step] = []
    assert model.network is not None
    for node in model.network.nodes:
        if not node.inputs:
            number[node.serial] = -1
            continue
        number[node.serial] = len(steps)
        steps.append(Step(node.operation, [number[x.node.serial] for x in node.inputs if x.node is not None]))
    return steps
