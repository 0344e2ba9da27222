"""Getting data to the model: arrays, generators and folders of images as batches."""

from fastcnn.data.arrays import Batch, check_finite
from fastcnn.data.batches import (
    ArrayBatches,
    Batches,
    SequenceBatches,
    StreamBatches,
    make_batches,
    split_validation,
)
from fastcnn.data.dataset import Dataset
from fastcnn.data.image_folder import ImageFolder, image_dataset_from_directory
from fastcnn.data.oversampling import smote
from fastcnn.data.pictures import show
from fastcnn.data.sequence import PyDataset, Sequence
from fastcnn.data.splits import split_indices

__all__ = [
    "ArrayBatches",
    "Batch",
    "Batches",
    "Dataset",
    "ImageFolder",
    "PyDataset",
    "Sequence",
    "SequenceBatches",
    "StreamBatches",
    "check_finite",
    "image_dataset_from_directory",
    "make_batches",
    "show",
    "smote",
    "split_indices",
    "split_validation",
]
