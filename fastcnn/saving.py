"""Files and registration under the names Keras gives them."""

from typing import Any

from fastcnn.errors import missing_name
from fastcnn.models.saving import FileError, load_model, load_weights, save_model, save_weights
from fastcnn.registry import (
    CustomObjectScope,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    serialize_keras_object,
)

__all__ = [
    "CustomObjectScope",
    "FileError",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
    "serialize_keras_object",
]


def __getattr__(name: str) -> Any:
    instead = {
        "KerasFileEditor": "; model files are safetensors, which the library of that name reads and writes"
    }
    raise missing_name(__name__, name, __all__, instead)
