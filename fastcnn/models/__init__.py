"""Models: Sequential, functional, subclassed; training, summaries and files."""

from fastcnn.models.cloning import clone_model
from fastcnn.models.manifold import ManifoldMixup
from fastcnn.models.model import Model, model_from_json
from fastcnn.models.saving import load_model, save_model
from fastcnn.models.sequential import Sequential

__all__ = [
    "ManifoldMixup",
    "Model",
    "Sequential",
    "clone_model",
    "load_model",
    "model_from_json",
    "save_model",
]
