"""Small tools under Keras's names: arrays, images, files, data sets, names of classes, pictures of models."""

from typing import Any

from fastcnn.config import (
    disable_interactive_logging,
    enable_interactive_logging,
    is_interactive_logging_enabled,
    set_random_seed,
)
from fastcnn.data.image_folder import image_dataset_from_directory
from fastcnn.data.sequence import PyDataset, Sequence
from fastcnn.dtypes import standardize_dtype
from fastcnn.errors import missing_name
from fastcnn.registry import (
    CustomObjectScope,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    reset_names,
    serialize_keras_object,
)
from fastcnn.utils.arrays import normalize, pad_sequences, to_categorical
from fastcnn.utils.batches import (
    pack_x_y_sample_weight,
    timeseries_dataset_from_array,
    unpack_x_y_sample_weight,
)
from fastcnn.utils.files import get_file
from fastcnn.utils.images import (
    array_to_img,
    img_to_array,
    load_img,
    save_img,
    smart_resize,
)
from fastcnn.utils.model_picture import model_to_dot, plot_model
from fastcnn.utils.progress import Progbar
from fastcnn.utils.splitting import split_dataset, train_val_test_split
from fastcnn.utils.tensors import get_source_inputs, is_keras_tensor

__all__ = [
    "CustomObjectScope",
    "Progbar",
    "PyDataset",
    "Sequence",
    "array_to_img",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "disable_interactive_logging",
    "enable_interactive_logging",
    "get_custom_objects",
    "get_file",
    "get_registered_name",
    "get_registered_object",
    "get_source_inputs",
    "image_dataset_from_directory",
    "img_to_array",
    "is_interactive_logging_enabled",
    "is_keras_tensor",
    "load_img",
    "model_to_dot",
    "normalize",
    "pack_x_y_sample_weight",
    "pad_sequences",
    "plot_model",
    "register_keras_serializable",
    "save_img",
    "serialize_keras_object",
    "set_random_seed",
    "smart_resize",
    "split_dataset",
    "standardize_dtype",
    "timeseries_dataset_from_array",
    "to_categorical",
    "train_val_test_split",
    "unpack_x_y_sample_weight",
]


def clear_session(free_memory: bool = True) -> None:
    """Forget the names given so far: the next Conv2D is `conv2d` again. Existing models are not touched."""
    reset_names()


def __getattr__(name: str) -> Any:
    raise missing_name(__name__, name, __all__, _INSTEAD)


_INSTEAD = {
    "text_dataset": "; text is no part of fastcnn: turn it into numbers first",
    "audio_dataset": "; sound is no part of fastcnn: read it as arrays first",
    "FeatureSpace": "; columns of tables are no part of fastcnn: make arrays of numbers first",
    "bounding_boxes": "; boxes are no part of fastcnn",
}
