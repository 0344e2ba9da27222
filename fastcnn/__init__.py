"""fastcnn: convolutional networks on a CPU or a CUDA GPU, without a big framework.

Written as Keras is: `Sequential`, `layers`, `compile`, `fit`, `evaluate`, `predict`.
"""

from typing import Any

from fastcnn import (
    activations,
    backend,
    callbacks,
    config,
    constraints,
    datasets,
    detection,
    dtype_policies,
    initializers,
    layers,
    losses,
    metrics,
    mixed_precision,
    models,
    ops,
    optimizers,
    preprocessing,
    random,
    regularizers,
    saving,
    tree,
    utils,
)
from fastcnn.backend import set_device
from fastcnn.backend.cpu import num_threads, set_num_threads
from fastcnn.config import DTypePolicy
from fastcnn.differentiate import gradient, value_and_gradient
from fastcnn.errors import Error, missing_name
from fastcnn.graph import gradients
from fastcnn.initializers import Initializer
from fastcnn.layers import Input, InputSpec, Layer
from fastcnn.layers.base import naming as name_scope
from fastcnn.losses import Loss
from fastcnn.metrics import Metric
from fastcnn.models import Model, Sequential
from fastcnn.optimizers import Optimizer
from fastcnn.regularizers import Regularizer
from fastcnn.tensor import Tensor, Variable
from fastcnn.version import __version__

KerasTensor = Tensor
FloatDTypePolicy = DTypePolicy

__all__ = [
    "DTypePolicy",
    "Error",
    "FloatDTypePolicy",
    "Initializer",
    "Input",
    "InputSpec",
    "KerasTensor",
    "Layer",
    "Loss",
    "Metric",
    "Model",
    "Optimizer",
    "Regularizer",
    "Sequential",
    "Tensor",
    "Variable",
    "__version__",
    "activations",
    "backend",
    "callbacks",
    "config",
    "constraints",
    "datasets",
    "detection",
    "dtype_policies",
    "gradient",
    "gradients",
    "initializers",
    "layers",
    "losses",
    "metrics",
    "mixed_precision",
    "models",
    "name_scope",
    "num_threads",
    "ops",
    "optimizers",
    "preprocessing",
    "random",
    "regularizers",
    "saving",
    "set_device",
    "set_num_threads",
    "tree",
    "utils",
    "value_and_gradient",
]

_INSTEAD = {
    "applications": "; there are no networks with trained weights, examples/ shows how to build and train some",
    "Function": "; Model(inputs, outputs) is a function of its inputs as well",
    "StatelessScope": "; variables always keep their state",
    "distribution": "; it computes on one machine, on as many threads as set_num_threads says",
    "device": "; set_device chooses one for the plans that follow, compile(device=...) for a model",
    "export": "; model.save writes safetensors, which other libraries read",
    "remat": "; plans reuse memory by themselves",
    "Remat": "; plans reuse memory by themselves",
    "quantizers": "; weights are float32 or float64",
    "Quantizer": "; weights are float32 or float64",
    "wrappers": "; write the few lines that call fit and predict yourself",
    "visualization": "; utils.plot_model draws models, for images use Matplotlib",
}  # part of a name that Keras has -> what to do without it


def __getattr__(name: str) -> Any:
    """Called for names that are not here."""
    raise missing_name(__name__, name, __all__, _INSTEAD)
