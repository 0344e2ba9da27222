"""Sequences, under Keras's names."""

from fastcnn.utils import pad_sequences

__all__ = ["pad_sequences"]
