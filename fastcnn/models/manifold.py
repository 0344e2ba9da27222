"""Manifold mixup: samples mixed at a layer drawn anew for each batch, and their targets alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import ops, random
from fastcnn.errors import Error, did_you_mean
from fastcnn.graph import current_trace
from fastcnn.models.objective import Mixture, takes_class_numbers
from fastcnn.tensor import Tensor

INPUT = "input"


class ManifoldMixup:
    """w g_k + (1 - w) g_k', of what layer k makes of each sample and of another one; k is drawn for each batch.

    alpha: w is drawn for each batch from beta(alpha, alpha). layers: names of layers, "input" for the inputs; by
    default the inputs and the layers at a quarter and at half of the model. Targets are mixed alike; where they are
    class numbers, the losses for both classes are. For `fit(..., manifold_mixup=...)`; a number stands for its alpha.
    Verma et al. 2019, Manifold mixup: better representations by interpolating hidden states.
    """

    def __init__(self, alpha: float = 2.0, layers: Sequence[str] | None = None, seed: int | None = None):
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not alpha > 0:
            raise Error(f"manifold_mixup: alpha must be a number above 0, got {alpha!r}")
        self.alpha = float(alpha)
        self.layers = None if layers is None else list(layers)
        self.generator = random.SeedGenerator(seed)

    @staticmethod
    def of(value: Any) -> "ManifoldMixup | None":
        """What the argument of `fit` stands for."""
        return value if value is None or isinstance(value, ManifoldMixup) else ManifoldMixup(value)

    def places(self, model: Any) -> list[str]:
        """Names of the layers, of which one is drawn for each batch."""
        names = [layer.name for layer in model.layers if type(layer).__name__ != "InputLayer"]
        if self.layers is None:
            return (
                list(dict.fromkeys([INPUT, names[len(names) // 4], names[len(names) // 2]]))
                if names
                else [INPUT]
            )
        for name in self.layers:
            if name not in (*names, INPUT):
                raise Error(
                    f"manifold_mixup: the model has no layer {name!r}{did_you_mean(name, [*names, INPUT])}"
                )
        if not self.layers:
            raise Error("manifold_mixup: layers is empty; name some, or give None")
        return self.layers

    def begin(self, model: Any, x: Any, y: Any) -> tuple[Any, Any]:
        """Draw for a batch that is being traced: (inputs, mixed; `Mixture`s of targets).

        Layers are mixed as they are called.
        """
        if y is None:
            raise Error("manifold_mixup mixes targets, but there are none")
        inputs = x if isinstance(x, Tensor) else None
        trace = current_trace()
        if inputs is None or trace is None:
            raise Error("manifold_mixup works on models with one array of inputs")
        places = self.places(model)
        order = random.shuffle(np.arange(inputs.spec.dims[0], dtype=inputs.dtype), seed=self.generator)
        weight = random.beta((1,), self.alpha, self.alpha, dtype=inputs.dtype, seed=self.generator)
        chosen = ops.floor(random.uniform((1,), 0.0, float(len(places)), seed=self.generator))

        def mixed(value: Any, share: Any) -> Any:
            own = ops.reshape(share, (1,) * len(value.shape))
            return own * value + (1.0 - own) * ops.take(value, order, 0)

        def after(layer: Any, outputs: Any) -> Any:
            if layer.name not in waiting or not isinstance(outputs, Tensor):
                return outputs
            waiting.discard(layer.name)  # a shared layer mixes where it is called first
            return mixed(outputs, self._share(weight, chosen, places.index(layer.name)))

        waiting = set(places) - {INPUT}
        trace.after = after
        if INPUT in places:
            inputs = mixed(inputs, self._share(weight, chosen, places.index(INPUT)))
        return inputs, _map(y, lambda part: Mixture(part, ops.take(part, order, 0), weight))

    def _share(self, weight: Tensor, chosen: Tensor, place: int) -> Any:
        """The weight where this place was drawn, else 1."""
        here = ops.cast(ops.equal(chosen, float(place)), weight.dtype)
        return 1.0 - here * (1.0 - weight)


def _map(y: Any, function: Any) -> Any:
    if isinstance(y, dict):
        return {key: function(value) for key, value in y.items()}
    return [function(value) for value in y] if isinstance(y, list) else function(y)


def mixed_targets(model: Any, y: Any) -> Any:
    """The mixed targets of `Mixture`s, for a step or a loss of the user's own."""
    losses = model._objective.losses if model._objective is not None else []
    if any(map(takes_class_numbers, losses)):
        raise Error(
            "manifold_mixup mixes targets, which class numbers cannot be in a train_step or compute_loss of your own; "
            "make them one-hot with fastcnn.utils.to_categorical(y) and use the loss 'categorical_crossentropy'"
        )
    return _map(y, Mixture.mixed)
