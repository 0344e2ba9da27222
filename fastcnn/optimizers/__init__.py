"""How training moves the weights. Names, arguments, defaults and formulas are those of Keras 3."""

from collections.abc import Mapping
from typing import Any

from fastcnn import registry
from fastcnn.errors import Error, missing_name
from fastcnn.optimizers import schedules
from fastcnn.optimizers.adaptive import Adadelta, Adagrad, Adam, Adamax, AdamW, Nadam, RMSprop
from fastcnn.optimizers.base import Optimizer
from fastcnn.optimizers.composed import Adafactor, Ftrl, Lamb
from fastcnn.optimizers.descent import SGD, Lion
from fastcnn.optimizers.loss_scale import LossScaleOptimizer
from fastcnn.optimizers.muon import Muon

__all__ = [
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "Muon",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]

serialize = registry.serialize


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The optimizer that `serialize` described."""
    return registry.deserialize("optimizer", config, custom_objects)


def get(identifier: Any) -> Optimizer:
    """An optimizer from its name ("adam", "Adam"), class or configuration; an optimizer is returned as it is."""
    optimizer = registry.deserialize("optimizer", identifier)
    if not isinstance(optimizer, Optimizer):
        raise Error(
            f"expected an optimizer or its name, got {identifier!r} of type {type(identifier).__name__}"
        )
    return optimizer


def __getattr__(name: str) -> Any:
    instead = {
        "Multi": "; give a method of your own, a subclass of Optimizer, the variables that it should treat apart"
    }
    raise missing_name(__name__, name, __all__, instead)
