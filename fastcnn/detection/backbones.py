"""A small backbone: images to one or two maps of features, for a detector that trains on a few processor cores."""

from collections.abc import Sequence
from typing import Any

from fastcnn import layers
from fastcnn.errors import Error
from fastcnn.models import Model


def _unit(x: Any, filters: int, size: int = 3, strides: int = 1) -> Any:
    """Convolution, batch normalisation, leaky ReLU."""
    x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False, kernel_initializer="he_normal")(
        x
    )
    x = layers.BatchNormalization(momentum=0.97)(x)
    return layers.LeakyReLU(0.1)(x)


def _stage(x: Any, filters: int, blocks: int) -> Any:
    """Half the size, then residual blocks."""
    x = _unit(x, filters, strides=2)
    for _ in range(blocks):
        x = layers.Add()([x, _unit(_unit(x, filters), filters)])
    return x


def tiny_backbone(
    input_shape: Sequence[int | None] = (256, 256, 3),
    width: int = 16,
    blocks: Sequence[int] = (0, 1, 1, 2),
    grids: int = 1,
) -> Model:
    """Images (height, width, channels) -> features, each stage half as large and twice as wide as the one before.

    width: channels of the first stage; blocks: residual blocks of each stage. With four stages a cell of the last map
    covers 16 x 16 pixels. grids: 1 gives the last map; 2 also the one before, joined with the last one (Lin et al.
    2017, Feature pyramid networks), the finer one first.
    """
    if grids not in (1, 2) or len(blocks) < 2:
        raise Error(
            f"tiny_backbone: grids must be 1 or 2 and stages at least 2, got {grids} and {len(blocks)}"
        )
    inputs = layers.Input(tuple(input_shape))
    x, maps = inputs, []
    for number, count in enumerate(blocks):
        x = _stage(x, width * 2**number, count)
        maps.append(x)
    last = _unit(maps[-1], width * 2 ** (len(blocks) - 1))
    if grids == 1:
        return Model(inputs, last, name="tiny_backbone")
    if any(n is not None and n % 2 for n in maps[-2].shape[1:3]):
        raise Error(
            f"tiny_backbone: the first of two grids must have an even height and width, got {maps[-2].shape[1:3]}; "
            f"make those of the images multiples of {2 ** len(blocks)}"
        )
    fine = layers.UpSampling2D()(_unit(last, width * 2 ** (len(blocks) - 2), 1))
    joined = _unit(layers.Concatenate()([maps[-2], fine]), width * 2 ** (len(blocks) - 2))
    return Model(inputs, [joined, last], name="tiny_backbone")
