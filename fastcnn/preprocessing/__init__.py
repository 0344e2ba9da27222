"""Data before the model, under Keras's names."""

from fastcnn.data.image_folder import image_dataset_from_directory
from fastcnn.preprocessing import image, sequence
from fastcnn.utils import timeseries_dataset_from_array

__all__ = ["image", "image_dataset_from_directory", "sequence", "timeseries_dataset_from_array"]
