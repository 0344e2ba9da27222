"""Images, under Keras's names."""

from typing import Any

from fastcnn.errors import missing_name
from fastcnn.utils import array_to_img, img_to_array, load_img, save_img, smart_resize

__all__ = ["array_to_img", "img_to_array", "load_img", "save_img", "smart_resize"]

_GENERATOR = (
    "; read folders with fastcnn.utils.image_dataset_from_directory, and change images in layers or in a PyDataset of "
    "your own"
)


def __getattr__(name: str) -> Any:
    raise missing_name(__name__, name, __all__, {"ImageDataGenerator": _GENERATOR})
