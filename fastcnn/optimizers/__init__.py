"""How training moves the weights. Names, arguments, defaults and formulas are those of Keras 3."""

from collections.abc import Mapping
from typing import Any

from fastcnn import registry
from fastcnn.errors import Error
from fastcnn.optimizers import schedules
from fastcnn.optimizers.adaptive import Adadelta, Adagrad, Adam, Adamax, AdamW, Nadam, RMSprop
from fastcnn.optimizers.base import Optimizer
from fastcnn.optimizers.descent import SGD, Lion

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
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
