"""fastcnn: convolutional networks on a CPU or a CUDA GPU, without a big framework.

Written as Keras is: `Sequential`, `layers`, `compile`, `fit`, `evaluate`, `predict`.
"""

from fastcnn import (
    activations,
    callbacks,
    config,
    constraints,
    datasets,
    initializers,
    layers,
    losses,
    metrics,
    models,
    ops,
    optimizers,
    regularizers,
    saving,
    utils,
)
from fastcnn.backend.cpu import num_threads, set_num_threads
from fastcnn.differentiate import gradient, value_and_gradient
from fastcnn.errors import Error
from fastcnn.graph import gradients
from fastcnn.layers import Input, Layer
from fastcnn.models import Model, Sequential
from fastcnn.tensor import Tensor, Variable
from fastcnn.version import __version__

__all__ = [
    "Error",
    "Input",
    "Layer",
    "Model",
    "Sequential",
    "Tensor",
    "Variable",
    "__version__",
    "activations",
    "callbacks",
    "config",
    "constraints",
    "datasets",
    "gradient",
    "gradients",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "models",
    "num_threads",
    "ops",
    "optimizers",
    "regularizers",
    "saving",
    "set_num_threads",
    "utils",
    "value_and_gradient",
]
