"""Where plans run. A backend is a module with the names of `backend.cpu`; the only place that imports kernels.

Scripts look for Keras's settings here, `keras.backend.clear_session` and its like; they are those of `fastcnn.config`.
"""

from fastcnn.backend.selection import device, get, resolved, set_device
from fastcnn.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from fastcnn.dtypes import is_float_dtype, is_int_dtype, result_type, standardize_dtype
from fastcnn.registry import get_uid
from fastcnn.registry import reset_names as clear_session
from fastcnn.tensor import is_keras_tensor

__all__ = [
    "backend",
    "clear_session",
    "device",
    "epsilon",
    "floatx",
    "get",
    "get_uid",
    "image_data_format",
    "is_float_dtype",
    "is_int_dtype",
    "is_keras_tensor",
    "resolved",
    "result_type",
    "set_device",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "standardize_dtype",
]
