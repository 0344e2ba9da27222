"""Layers with Keras's names, arguments and defaults. One module a family."""

from collections.abc import Mapping
from typing import Any

from fastcnn import registry
from fastcnn.errors import Error, did_you_mean
from fastcnn.layers.activation import ELU, LeakyReLU, PReLU, ReLU, Softmax
from fastcnn.layers.attention import AdditiveAttention, Attention, GroupQueryAttention, MultiHeadAttention
from fastcnn.layers.augmentation import ImageLayer
from fastcnn.layers.base import Layer
from fastcnn.layers.convolutional import (
    Conv1D,
    Conv1DTranspose,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    Conv3DTranspose,
    Convolution1D,
    Convolution1DTranspose,
    Convolution2D,
    Convolution2DTranspose,
    Convolution3D,
    Convolution3DTranspose,
    DepthwiseConv1D,
    DepthwiseConv2D,
    SeparableConv1D,
    SeparableConv2D,
    SeparableConvolution1D,
    SeparableConvolution2D,
)
from fastcnn.layers.core import Activation, Dense, Identity, Input, InputLayer, Lambda
from fastcnn.layers.einsum import EinsumDense
from fastcnn.layers.encoding import CategoryEncoding, Discretization
from fastcnn.layers.geometric import (
    RandomElasticTransform,
    RandomFlip,
    RandomPerspective,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
)
from fastcnn.layers.merging import (
    Add,
    Average,
    Concatenate,
    Dot,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    dot,
    maximum,
    minimum,
    multiply,
    subtract,
)
from fastcnn.layers.mixing import CutMix, MaxNumBoundingBoxes, MixUp, Mosaic, Pipeline, SamplePairing
from fastcnn.layers.normalization import (
    BatchNormalization,
    GroupNormalization,
    LayerNormalization,
    RMSNormalization,
    UnitNormalization,
)
from fastcnn.layers.photometric import (
    AutoContrast,
    ContrastLimitedAdaptiveHistogramEqualization,
    Equalization,
    RandomBrightness,
    RandomColorDegeneration,
    RandomColorJitter,
    RandomContrast,
    RandomErasing,
    RandomGaussianBlur,
    RandomGrayscale,
    RandomHue,
    RandomInvert,
    RandomPosterization,
    RandomSaturation,
    RandomSharpness,
    Solarization,
)
from fastcnn.layers.policies import AugMix, AutoAugment, RandAugment, TrivialAugment
from fastcnn.layers.pooling import (
    AdaptiveAveragePooling1D,
    AdaptiveAveragePooling2D,
    AdaptiveAveragePooling3D,
    AdaptiveMaxPooling1D,
    AdaptiveMaxPooling2D,
    AdaptiveMaxPooling3D,
    AveragePooling1D,
    AveragePooling2D,
    AveragePooling3D,
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAveragePooling1D,
    GlobalAveragePooling2D,
    GlobalAveragePooling3D,
    GlobalAvgPool1D,
    GlobalAvgPool2D,
    GlobalAvgPool3D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    GlobalMaxPool3D,
    GlobalMaxPooling1D,
    GlobalMaxPooling2D,
    GlobalMaxPooling3D,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
    MaxPooling1D,
    MaxPooling2D,
    MaxPooling3D,
)
from fastcnn.layers.preprocessing import Normalization, Rescaling
from fastcnn.layers.recipes import RandomAffine, RandomColors, SaltAndPepper
from fastcnn.layers.regularization import (
    ActivityRegularization,
    AlphaDropout,
    Dropout,
    GaussianDropout,
    GaussianNoise,
    SpatialDropout1D,
    SpatialDropout2D,
    SpatialDropout3D,
)
from fastcnn.layers.reshaping import (
    Cropping1D,
    Cropping2D,
    Cropping3D,
    Flatten,
    Permute,
    RepeatVector,
    Reshape,
    UpSampling1D,
    UpSampling2D,
    UpSampling3D,
    ZeroPadding1D,
    ZeroPadding2D,
    ZeroPadding3D,
)
from fastcnn.layers.sizes import CenterCrop, RandomCrop, Resizing
from fastcnn.layers.specification import InputSpec
from fastcnn.layers.wrapping import Embedding, SpectralNormalization, TimeDistributed, Wrapper

__all__ = [
    "InputSpec", "Layer", "deserialize", "serialize",
    "Activation", "Dense", "EinsumDense", "Embedding", "Identity", "Input", "InputLayer", "Lambda",
    "SpectralNormalization", "TimeDistributed", "Wrapper",
    "AdditiveAttention", "Attention", "GroupQueryAttention", "MultiHeadAttention",
    "Conv1D", "Conv1DTranspose", "Conv2D", "Conv2DTranspose", "Conv3D", "Conv3DTranspose", "Convolution1D",
    "Convolution1DTranspose", "Convolution2D", "Convolution2DTranspose", "Convolution3D",
    "Convolution3DTranspose", "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D",
    "SeparableConvolution1D", "SeparableConvolution2D",
    "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveAveragePooling3D", "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D", "AdaptiveMaxPooling3D", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
    "AvgPool1D", "AvgPool2D", "AvgPool3D", "GlobalAveragePooling1D", "GlobalAveragePooling2D",
    "GlobalAveragePooling3D", "GlobalAvgPool1D", "GlobalAvgPool2D", "GlobalAvgPool3D", "GlobalMaxPool1D",
    "GlobalMaxPool2D", "GlobalMaxPool3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D",
    "MaxPool1D", "MaxPool2D", "MaxPool3D", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D",
    "BatchNormalization", "GroupNormalization", "LayerNormalization", "RMSNormalization", "UnitNormalization",
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise",
    "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
    "ELU", "LeakyReLU", "PReLU", "ReLU", "Softmax",
    "Add", "Average", "Concatenate", "Dot", "Maximum", "Minimum", "Multiply", "Subtract", "add", "average",
    "concatenate", "dot", "maximum", "minimum", "multiply", "subtract",
    "Cropping1D", "Cropping2D", "Cropping3D", "Flatten", "Permute", "RepeatVector", "Reshape", "UpSampling1D",
    "UpSampling2D", "UpSampling3D", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D",
    "CategoryEncoding", "CenterCrop", "Discretization", "Normalization", "Rescaling", "Resizing",
    "ImageLayer", "RandomCrop", "RandomElasticTransform", "RandomFlip", "RandomPerspective", "RandomRotation",
    "RandomShear", "RandomTranslation", "RandomZoom", "RandomAffine",
    "AutoContrast", "ContrastLimitedAdaptiveHistogramEqualization", "Equalization", "RandomBrightness",
    "RandomColorDegeneration", "RandomColorJitter", "RandomColors", "RandomContrast", "RandomErasing",
    "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPosterization", "RandomSaturation",
    "RandomSharpness", "SaltAndPepper", "Solarization",
    "CutMix", "MaxNumBoundingBoxes", "MixUp", "Mosaic", "Pipeline", "SamplePairing",
    "AugMix", "AutoAugment", "RandAugment", "TrivialAugment",
]  # fmt: skip

serialize = registry.serialize


class MissingLayerError(Error, AttributeError):
    """A layer that Keras has and fastcnn has not; an `AttributeError`, so that `hasattr` says no."""


def __getattr__(name: str) -> Any:
    """Called for names that are not here."""
    if name.startswith("_"):
        raise AttributeError(name)
    hint = next((text for part, text in _INSTEAD.items() if part in name), "")
    raise MissingLayerError(f"fastcnn.layers has no {name!r}{hint or did_you_mean(name, __all__)}")


_RECURRENT = "; recurrent layers are no part of fastcnn, Conv1D with padding='causal' reads sequences too"
_INSTEAD = {
    "LSTM": _RECURRENT,
    "GRU": _RECURRENT,
    "RNN": _RECURRENT,
    "Bidirectional": _RECURRENT,
    "Text": "; turn text into numbers before the model, then use Embedding",
    "String": "; turn text into numbers before the model, then use Embedding",
    "Masking": "; masks are not handed from layer to layer, multiply by a mask instead",
}  # what to use instead of layers whose names contain this


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Layer:
    """The layer that `serialize` described, with fresh weights."""
    layer: Layer = registry.deserialize("layer", config, custom_objects)
    return layer
