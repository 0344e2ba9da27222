"""The networks that whole steps are measured on: four of ten classes, a larger one, and a detector."""

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
    return _residual_network((16, 32, 64), 3, "resnet20")


def resnet18() -> fastcnn.Model:
    """He et al. 2016, table 1, for images of CIFAR's size: no stride and no pooling at the start. 32 x 32 x 3."""
    return _residual_network((64, 128, 256, 512), 2, "resnet18")


def _residual_network(stages: tuple[int, ...], blocks: int, name: str) -> fastcnn.Model:
    inputs = fastcnn.Input((32, 32, 3))
    x = _normalized(inputs, stages[0], 3)
    for filters in stages:
        for number in range(blocks):
            x = _residual_block(x, filters, 2 if filters > stages[0] and number == 0 else 1)
    return fastcnn.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)), name=name)


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


def tiny_detector() -> fastcnn.Model:
    """A grid of 10 x 10 cells, two anchors and three classes, after the pattern of tiny YOLO. 160 x 160 x 3."""
    stages: list[layers.Layer] = []
    for filters in (16, 32, 64, 128):
        stages += [layers.Conv2D(filters, 3, padding="same", use_bias=False), layers.BatchNormalization()]
        stages += [layers.LeakyReLU(0.1), layers.MaxPooling2D(2)]
    head = [layers.Conv2D(256, 3, padding="same", activation="relu"), layers.Conv2D(2 * (5 + 3), 1)]
    return fastcnn.Sequential([fastcnn.Input((160, 160, 3)), *stages, *head], name="tiny_detector")


class Network(NamedTuple):
    """How to make it, the shape of an image, whether it tells ten classes apart."""

    make: Callable[[], fastcnn.Model]
    image: tuple[int, int, int]
    classifies: bool = True


NETWORKS = {
    "LeNet-5": Network(lenet5, (28, 28, 1)),
    "VGG-small": Network(vgg_small, (32, 32, 3)),
    "ResNet-20": Network(resnet20, (32, 32, 3)),
    "MobileNet-small": Network(mobilenet_small, (32, 32, 3)),
    "ResNet-18": Network(resnet18, (32, 32, 3)),
    "tiny detector": Network(tiny_detector, (160, 160, 3), False),
}
