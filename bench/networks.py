"""The four networks that whole steps are measured on, for ten classes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import fastcnn
from fastcnn import layers


def lenet5() -> fastcnn.Model:
    """LeCun et al. 1998 with ReLU and maxima, as it is written today. 28 x 28 x 1, 61,706 weights."""
    return fastcnn.Sequential(
        [
            fastcnn.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ],
        name="lenet5",
    )


def vgg_small() -> fastcnn.Model:
    """Six 3 x 3 convolutions with batch normalisation (Simonyan & Zisserman 2015, small). 32 x 32 x 3."""
    return fastcnn.Sequential(
        [
            fastcnn.Input((32, 32, 3)),
            *_vgg_stage(32),
            *_vgg_stage(64),
            *_vgg_stage(128),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(10),
        ],
        name="vgg_small",
    )


def _vgg_stage(filters: int) -> list[layers.Layer]:
    stage: list[layers.Layer] = []
    for _ in range(2):
        stage += [layers.Conv2D(filters, 3, padding="same", use_bias=False), layers.BatchNormalization()]
        stage += [layers.ReLU()]
    return [*stage, layers.MaxPooling2D(2)]


def resnet20() -> fastcnn.Model:
    """He et al. 2016, section 4.2, with projections where the size changes. 32 x 32 x 3."""
    inputs = fastcnn.Input((32, 32, 3))
    x = _normalized(inputs, 16, 3)
    for filters in (16, 32, 64):
        for number in range(3):
            x = _residual_block(x, filters, 2 if filters > 16 and number == 0 else 1)
    return fastcnn.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)), name="resnet20")


def _residual_block(x: Any, filters: int, stride: int) -> Any:
    y = _normalized(x, filters, 3, stride)
    y = _normalized(y, filters, 3, activate=False)
    if stride > 1:
        x = _normalized(x, filters, 1, stride, activate=False)
    return layers.ReLU()(layers.Add()([x, y]))


def _normalized(x: Any, filters: int, size: int, stride: int = 1, activate: bool = True) -> Any:
    x = layers.BatchNormalization()(layers.Conv2D(filters, size, stride, padding="same", use_bias=False)(x))
    return layers.ReLU()(x) if activate else x


def mobilenet_small() -> fastcnn.Model:
    """Depthwise-separable blocks (Howard et al. 2017, small). 32 x 32 x 3."""
    inputs = fastcnn.Input((32, 32, 3))
    x = _normalized(inputs, 32, 3)
    for filters, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
        x = _normalized(x, filters, 1)
    return fastcnn.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)), name="mobilenet_small")


class Network(NamedTuple):
    """How to make it, and the shape of an image."""

    make: Callable[[], fastcnn.Model]
    image: tuple[int, int, int]


NETWORKS = {
    "LeNet-5": Network(lenet5, (28, 28, 1)),
    "VGG-small": Network(vgg_small, (32, 32, 3)),
    "ResNet-20": Network(resnet20, (32, 32, 3)),
    "MobileNet-small": Network(mobilenet_small, (32, 32, 3)),
}
