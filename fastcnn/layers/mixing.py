"""Layers that make one sample of several, labels included; a pipeline of layers; boxes made equal in number."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastcnn import ops, random
from fastcnn.errors import Error
from fastcnn.layers import arguments, boxes, moves
from fastcnn.layers.augmentation import (
    ImageLayer,
    batch_shape,
    by_image,
    called_now,
    factor_range,
    floating,
)
from fastcnn.layers.base import Layer
from fastcnn.layers.geometric import columns_of
from fastcnn.layers.photometric import chosen_by, rectangles


class _Mixing(ImageLayer):
    """What layers share that mix each sample i of a batch with the sample order[i]."""

    mixes_samples = True

    def _order(self, n: int, seed: Any) -> Any:
        return random.shuffle(np.arange(n, dtype=self.dtype), seed=self.generator if seed is None else seed)

    def _others(self, x: Any, transformation: Any) -> Any:
        return ops.take(x, transformation["permutation_order"], 0)

    def transform_labels(self, labels: Any, transformation: Any, training: bool = True) -> Any:
        """weight labels + (1 - weight) other labels, of one-hot rows (n, classes) or of numbers (n, 1)."""
        if not training or transformation is None:
            return labels
        labels = _mixable(labels, self.dtype)
        weight = ops.reshape(transformation["mix_weight"], (-1, *[1] * (len(labels.shape) - 1)))
        return weight * labels + (1.0 - weight) * self._others(labels, transformation)


def _mixable(labels: Any, dtype: str) -> Any:
    """Labels (n, classes) or (n, 1) as numbers with fractions; an `Error` for class numbers (n,)."""
    if len(labels.shape) < 2:
        raise Error(
            f"labels of shape {tuple(labels.shape)} cannot be mixed; make them one-hot, "
            "as with fastcnn.utils.to_categorical(labels)"
        )
    return floating(labels, dtype)


class MixUp(_Mixing):
    """w x + (1 - w) x', of each image and another one of the batch, and of their labels; w is beta(alpha, alpha).

    Boxes of both images stay, 2 m an image. Zhang et al. 2018, mixup: beyond empirical risk minimization.
    """

    def __init__(
        self, alpha: float = 0.2, data_format: str | None = None, seed: int | None = None, **kwargs: Any
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.alpha = arguments.number("MixUp", "alpha", alpha, 1e-6)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"permutation_order" (n,), "mix_weight" (n,)}."""
        n = batch_shape(data)[0]
        order, use = self._order(n, seed), self.generator if seed is None else seed
        weight = random.beta((n,), self.alpha, self.alpha, dtype=self.dtype, seed=use)
        return {"permutation_order": order, "mix_weight": weight}

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        """The mixtures."""
        images = floating(images, self.dtype)
        if not training:
            return images
        weight = by_image(transformation["mix_weight"])
        return weight * images + (1.0 - weight) * self._others(images, transformation)

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any, training: bool = True
    ) -> Any:
        """Mixed as images are, so of one-hot classes."""
        return self.transform_images(segmentation_masks, transformation, training)

    def transform_bounding_boxes(
        self, bounding_boxes: Any, transformation: Any, training: bool = True
    ) -> Any:
        """The boxes of both images."""
        if not training:
            return bounding_boxes
        return {
            key: ops.concatenate([value, self._others(value, transformation)], 1)
            for key, value in bounding_boxes.items()
        }


class CutMix(_Mixing):
    """A rectangle of every image replaced by that of another one of the batch; labels by the share of the area.

    factor: the rectangle has a share 1 - w of the area, w beta(a, a) with a drawn from `factor`; a number stands for
    (0, number). Yun et al. 2019, CutMix.
    """

    def __init__(
        self, factor: Any = 1.0, seed: int | None = None, data_format: str | None = None, **kwargs: Any
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("CutMix", "factor", factor, 0.0, 1.0)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"permutation_order" (n,), "batch_masks" (n, h, w, 1), "mix_weight" (n, 1, 1, 1)}."""
        if not training:
            return None
        n, h, w, _ = batch_shape(data)
        use = self.generator if seed is None else seed
        alpha = self.draw((1,), *self.factor, seed) + 1e-6
        share = ops.sqrt(1.0 - random.beta((n,), alpha, alpha, dtype=self.dtype, seed=use))
        masks, area = rectangles(self, n, h, w, share, share, seed)
        return {
            "permutation_order": self._order(n, seed),
            "batch_masks": masks,
            "mix_weight": by_image(1.0 - area),
        }

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        """The images with their rectangles replaced."""
        images = floating(images, self.dtype)
        if not training or transformation is None:
            return images
        return chosen_by(transformation["batch_masks"], self._others(images, transformation), images)

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any, training: bool = True
    ) -> Any:
        """The masks with the same rectangles replaced."""
        return self.transform_images(segmentation_masks, transformation, training)

    def transform_bounding_boxes(
        self, bounding_boxes: Any, transformation: Any, training: bool = True
    ) -> Any:
        """An `Error` in training: what a rectangle covers of a box has no box."""
        if training:
            raise Error("CutMix cannot cut bounding boxes; use MixUp or Mosaic")
        return bounding_boxes


class SamplePairing(_Mixing):
    """The mean of each image and another one of the batch, with the label of the first (Inoue 2018).

    factor: how probable it is; a number stands for (0, number).
    """

    def __init__(
        self, factor: Any = (1.0, 1.0), seed: int | None = None, data_format: str | None = None, **kwargs: Any
    ):
        super().__init__(seed=seed, data_format=data_format, **kwargs)
        self.factor = factor_range("SamplePairing", "factor", factor, 0.0, 1.0)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"permutation_order" (n,), "mix_weight" (n,): 0.5, or 1 where the image stays}."""
        if not training:
            return None
        n = batch_shape(data)[0]
        return {
            "permutation_order": self._order(n, seed),
            "mix_weight": 1.0 - 0.5 * self.happens(n, self.factor, seed),
        }

    def transform_images(self, images: Any, transformation: Any = None, training: bool = True) -> Any:
        """The means."""
        images = floating(images, self.dtype)
        if not training or transformation is None:
            return images
        weight = by_image(transformation["mix_weight"])
        return weight * images + (1.0 - weight) * self._others(images, transformation)

    changes_labels = False

    def transform_labels(self, labels: Any, transformation: Any, training: bool = True) -> Any:
        """The labels as they are."""
        return labels


class Mosaic(ImageLayer):
    """Four images around a point: each image and three others of the batch, of which each fills a corner.

    The point lies between `center` and 1 - `center` of height and width; the image that fills the top left corner ends
    there, and so on. Boxes of all four follow, 4 m an image, with the label -1 where nothing is left (Bochkovskiy, Wang
    & Liao 2020). Labels (n, classes) are mixed by the shares of the area.
    """

    moves_pixels = True
    mixes_samples = True

    def __init__(
        self, center: float = 0.25, seed: int | None = None, data_format: str | None = None,
        bounding_box_format: str | None = None, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(
            seed=seed, data_format=data_format, bounding_box_format=bounding_box_format, **kwargs
        )
        self.center = arguments.number("Mosaic", "center", center, 0.0, 0.5)

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """{"orders": four of (n,), "rows", "columns" (n,): whole numbers, where the point lies}."""
        if not training:
            return None
        shape = n, h, w, _ = batch_shape(data)
        use, own = self.generator if seed is None else seed, np.arange(n, dtype=self.dtype)
        orders = [own, *(random.shuffle(own, seed=use) for _ in range(3))]
        rows, columns = (
            ops.floor(self.draw((n,), self.center, 1.0 - self.center, seed) * float(size)) for size in (h, w)
        )
        return {"orders": orders, "rows": rows, "columns": columns, "input_shape": shape}

    def _corners(self, drawn: Any) -> list[tuple[Any, int, int, Any, Any]]:
        """(order, is below, is right, pixels moved down, to the right) of the four images."""
        _, h, w, _ = drawn["input_shape"]
        down = drawn["rows"] - float(h), drawn["rows"]
        right = drawn["columns"] - float(w), drawn["columns"]
        places = [(0, 0), (0, 1), (1, 0), (1, 1)]
        return [
            (order, y, x, down[y], right[x]) for order, (y, x) in zip(drawn["orders"], places, strict=True)
        ]

    def _inside(self, drawn: Any, below: int, right: int) -> Any:
        """(n, h, w, 1): 1 in the corner."""
        _, h, w, _ = drawn["input_shape"]
        rows = by_image(drawn["rows"]) <= np.arange(h, dtype=self.dtype).reshape(1, -1, 1, 1)
        columns = by_image(drawn["columns"]) <= np.arange(w, dtype=self.dtype).reshape(1, 1, -1, 1)
        rows, columns = ops.cast(rows, self.dtype), ops.cast(columns, self.dtype)
        return (rows if below else 1.0 - rows) * (columns if right else 1.0 - columns)

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        """The four images, moved and put together."""
        images = floating(images, self.dtype)
        if not training:
            return images
        result = images * 0.0
        for order, below, right, down, across in self._corners(transformation):
            maps = columns_of(1, 0, -across, 0, 1, -down, 0, 0)
            moved = ops.affine_gather(ops.take(images, order, 0), maps, None, "nearest")
            result = result + self._inside(transformation, below, right) * moved
        return result

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any, training: bool = True
    ) -> Any:
        """The masks, put together alike."""
        return self.transform_images(segmentation_masks, transformation, training)

    def transform_labels(self, labels: Any, transformation: Any, training: bool = True) -> Any:
        """Mixtures by area."""
        if not training:
            return labels
        _, h, w, _ = transformation["input_shape"]
        rows, columns = transformation["rows"] / float(h), transformation["columns"] / float(w)
        labels, result = _mixable(labels, self.dtype), 0.0
        for order, below, right, _, _ in self._corners(transformation):
            share = (1.0 - rows if below else rows) * (1.0 - columns if right else columns)
            shape = (-1, *[1] * (len(labels.shape) - 1))
            result = ops.reshape(share, shape) * ops.take(labels, order, 0) + result
        return result

    def transform_bounding_boxes(
        self, bounding_boxes: Any, transformation: Any, training: bool = True
    ) -> Any:
        """The boxes of all four, cut to their corners."""
        if not training:
            return bounding_boxes
        _, h, w, _ = transformation["input_shape"]
        corners = boxes.to_corners(bounding_boxes["boxes"], str(self.bounding_box_format), h, w)
        found, labels = [], []
        for order, *place in self._corners(transformation):
            moved = self._cut(ops.take(corners, order, 0), transformation, *place)
            kept, label = boxes.clip_corners(moved, ops.take(bounding_boxes["labels"], order, 0), h, w)
            found.append(kept)
            labels.append(label)
        every = boxes.from_corners(ops.concatenate(found, 1), str(self.bounding_box_format), h, w)
        return {"boxes": every, "labels": ops.concatenate(labels, 1)}

    def _cut(self, corners: Any, drawn: Any, below: int, right: int, down: Any, across: Any) -> Any:
        """Corners (n, m, 4) moved with an image and kept in its corner of the result."""
        _, h, w, _ = drawn["input_shape"]
        sides = []
        for i, (shift, edge, is_second, size) in enumerate(
            2 * [(across, drawn["columns"], right, w), (down, drawn["rows"], below, h)]
        ):
            place = corners[..., i] + ops.reshape(shift, (-1, 1))
            point = ops.reshape(edge, (-1, 1))
            low, high = (point, float(size)) if is_second else (0.0, point)
            sides.append(ops.minimum(ops.maximum(place, low), high))
        return ops.stack(sides, -1)


class MaxNumBoundingBoxes(ImageLayer):
    """Boxes cut or filled up with fill_value to max_number an image; images stay."""

    def __init__(self, max_number: int, fill_value: int = -1, **kwargs: Any):
        super().__init__(**kwargs)
        self.max_number = arguments.integer("MaxNumBoundingBoxes", "max_number", max_number)
        self.fill_value = int(fill_value)

    def transform_bounding_boxes(
        self, bounding_boxes: Any, transformation: Any, training: bool = True
    ) -> Any:
        """{"boxes" (n, max_number, 4), "labels" (n, max_number)}, in training or not."""
        return {key: self._of_number(value) for key, value in bounding_boxes.items()}

    def _of_number(self, value: Any) -> Any:
        value = value[:, : self.max_number]
        missing = self.max_number - int(value.shape[1])
        widths = [(0, 0), (0, missing), *[(0, 0)] * (len(value.shape) - 2)]
        return ops.pad(value, widths, constant_values=float(self.fill_value))


class Pipeline(Layer):
    """Layers one after the other, on images or on dicts of images and what belongs to them.

    fused: layers that follow one another and only move pixels are one gather where their fill modes agree, here as in
    every model; False: each gathers from the picture that the one before has made, as in Keras.
    """

    def __init__(
        self, layers: Sequence[Layer], name: str | None = None, fused: bool = True, **kwargs: Any
    ):  # fmt: skip
        super().__init__(name=name, **kwargs)
        if not isinstance(layers, list | tuple):
            raise Error(f"Pipeline: expected a list of layers, got a {type(layers).__name__}")
        wrong = [type(layer).__name__ for layer in layers if not isinstance(layer, Layer)]
        if wrong:
            raise Error(f"Pipeline: expected layers, got {', '.join(wrong)}")
        self.layers = list(layers)
        self.fused = bool(fused)
        self.takes_whole_numbers = bool(layers) and layers[0].takes_whole_numbers

    @property
    def mixes_samples(self) -> bool:
        """Whether labels change."""
        return any(getattr(layer, "mixes_samples", False) for layer in self.layers)

    @property
    def changes_labels(self) -> bool:
        """Whether labels have to go through the layers."""
        return any(getattr(layer, "changes_labels", False) for layer in self.layers)

    def call(self, inputs: Any, training: bool = True) -> Any:
        """What comes out of the last layer. Of a dict, layers that know no dicts get the images."""
        with contextlib.nullcontext() if self.fused else moves.apart():
            for layer in self.layers:
                if isinstance(inputs, Mapping) and not isinstance(layer, ImageLayer | Pipeline):
                    inputs = _with_images(inputs, layer(inputs["images"], training=training), layer.name)
                else:
                    inputs = layer(inputs, training=training)
        return inputs

    def _call_now(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """On arrays it is active unless it is told not to be."""
        kwargs = {**kwargs, "training": kwargs.get("training") in (None, True)}
        return called_now(self, super()._call_now, args, kwargs)


def _with_images(data: Mapping[str, Any], images: Any, name: str) -> dict[str, Any]:
    """The dict with images that a layer has made, which knows no places; so these must not have moved."""
    places = [key for key in moves.PLACES[1:] if key in data]
    before, after = data["images"].shape[-3:-1], images.shape[-3:-1]
    if places and before != after:
        raise Error(
            f"Pipeline: layer {name!r} makes images {before} of {after}, but does not move what is placed in them "
            f"({', '.join(places)}); use one that does, such as RandomCrop or RandomAffine(size=...)"
        )
    return {**data, "images": images}
