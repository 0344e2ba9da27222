"""Files and registration under the names Keras gives them."""

from fastcnn.models.saving import FileError, load_model, load_weights, save_model, save_weights
from fastcnn.registry import CustomObjectScope, custom_object_scope, register_keras_serializable

__all__ = [
    "CustomObjectScope",
    "FileError",
    "custom_object_scope",
    "load_model",
    "load_weights",
    "register_keras_serializable",
    "save_model",
    "save_weights",
]
