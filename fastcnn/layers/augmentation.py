"""The base of layers that change pictures at random: active in training, passive otherwise.

Called on arrays, and on batches from `Dataset.map`, such a layer is active unless it is told `training=False`; in a
model, while that is trained. It takes images (n, h, w, c) or (h, w, c), or a dict of "images" with any of "labels",
"bounding_boxes" ({"boxes", "labels"}), "segmentation_masks" (n, h, w, c) and "keypoints" (n, m, 2), x and y in pixels,
which follow the images.

What is random is drawn by `get_random_transformation`, the rest are functions of that: `transform_images` and so on.
Numbers depend on (seed, how often it ran, place) alone: on any number of threads the pictures are the same.
"""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from fastcnn import config, ops, random
from fastcnn.data.sources import BOX_FORMATS, check_box_format
from fastcnn.errors import Error
from fastcnn.layers import arguments
from fastcnn.layers.base import Layer
from fastcnn.ops.shape import Squeeze
from fastcnn.tensor import Shape, Tensor

KEYS = ("images", "labels", "bounding_boxes", "segmentation_masks", "keypoints")


def factor_range(
    owner: str, name: str, value: Any, low: float, high: float, least: float | None = None
) -> tuple[float, float]:
    """(lower, upper) of a factor: as given, or from max(-value, least) to value. least: by default `low`."""
    if isinstance(value, list | tuple) and len(value) == 2:
        lower, upper = sorted(arguments.number(owner, name, item, low, high) for item in value)
        return lower, upper
    if isinstance(value, list | tuple):
        raise Error(f"{owner}: {name} must be a number or two, got {value!r}")
    size = abs(arguments.number(owner, name, value, low, high))
    return max(0.0 - size, low if least is None else least), size  # not -size: no -0.0


def value_range_of(owner: str, value: Any) -> tuple[float, float]:
    """(least, largest) of the numbers in images."""
    is_pair = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_finite, value))
    if not is_pair or value[0] == value[1]:
        raise Error(f"{owner}: value_range must be two different numbers, got {value!r}")
    lower, upper = sorted(float(item) for item in value)
    return lower, upper


def _is_finite(value: Any) -> bool:
    return isinstance(value, Real) and math.isfinite(value)


def of_channels(owner: str, name: str, value: Any, channels: int) -> np.ndarray:
    """Numbers, one for all channels or one for each, as float64: () or (channels,)."""
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.size not in (1, channels) or not np.isfinite(numbers).all():
        raise Error(f"{owner}: {name} must be a number or one for each of {channels} channels, got {value!r}")
    return numbers.reshape(-1) if numbers.ndim else numbers


def check_colors(layer: Any, images: Any) -> None:
    """Raise unless images are of red, green and blue."""
    channels = images.shape[-1]
    if channels != 3:
        raise Error(
            f"{type(layer).__name__} needs images of three channels, red, green and blue, got {channels}; "
            "leave it out, or make them three, as by numpy.repeat(x, 3, -1)"
        )


def floating(x: Any, dtype: str) -> Any:
    """x as numbers with fractions."""
    return x if str(x.dtype) in config.FLOAT_TYPES else ops.cast(x, dtype)


class ImageLayer(Layer):
    """Base of the layers of this kind. One of your own defines `get_random_transformation` and `transform_images`.

    seed: of its random numbers, None takes the next one of the process; bounding_box_format: of boxes in a dict.
    """

    moves_pixels = False  # boxes and masks follow
    mixes_samples = False  # labels change
    takes_whole_numbers = True
    draws = True  # it has random numbers of its own

    def __init__(
        self, *, seed: int | None = None, data_format: str | None = None, bounding_box_format: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(**kwargs)
        owner = type(self).__name__
        self.seed = None if seed is None else arguments.integer(owner, "seed", seed, minimum=0)
        self.data_format = arguments.data_format(owner, data_format)
        self.bounding_box_format = (
            None if bounding_box_format is None else check_box_format(owner, bounding_box_format)
        )
        if self.draws:
            self.generator = random.SeedGenerator(self.seed)
            self.generator.path = f"{self.name}/seed_generator_state"
        elif seed is not None:
            raise Error(f"{owner} draws no random numbers: leave out seed={seed!r}")

    # --- what subclasses define ------------------------------------------------------------------------------

    def get_random_transformation(self, data: Any, training: bool = True, seed: Any = None) -> Any:
        """What is drawn for a batch, as a dict of tensors with a row an image; None if nothing is."""
        return None

    def transform_images(self, images: Any, transformation: Any, training: bool = True) -> Any:
        """The images after what was drawn."""
        return images

    def transform_labels(self, labels: Any, transformation: Any, training: bool = True) -> Any:
        """The labels after what was drawn: the same, but where samples are mixed."""
        return labels

    def transform_segmentation_masks(
        self, segmentation_masks: Any, transformation: Any, training: bool = True
    ) -> Any:
        """Masks (n, h, w, c) after what was drawn: the same, but where pixels move."""
        return segmentation_masks

    def transform_bounding_boxes(
        self, bounding_boxes: Any, transformation: Any, training: bool = True
    ) -> Any:
        """{"boxes" (n, m, 4), "labels" (n, m)} after what was drawn: the same, but where pixels move."""
        return bounding_boxes

    def transform_keypoints(self, keypoints: Any, transformation: Any, training: bool = True) -> Any:
        """Points (n, m, 2) after what was drawn: the same, but where pixels move. They may then lie outside."""
        return keypoints

    def output_size(self, height: Any, width: Any) -> tuple[Any, Any]:
        """Height and width of the results."""
        return height, width

    # --- what they share -------------------------------------------------------------------------------------

    def call(self, inputs: Any, training: bool = True) -> Any:
        """The images, or the dict, after a transformation drawn now."""
        if not isinstance(inputs, Mapping):
            return self._on_dict({"images": inputs}, training)["images"]
        if "images" not in inputs or set(inputs) - set(KEYS):
            raise Error(f"expected a dict of 'images' with any of {KEYS[1:]}, got {', '.join(inputs)}")
        return self._on_dict(dict(inputs), training)

    def _on_dict(self, data: dict[str, Any], training: bool) -> dict[str, Any]:
        rank = len(data["images"].shape)
        if rank not in (3, 4):
            raise Error(
                f"expected images (batch, height, width, channels) or one image, got {data['images'].shape}"
            )
        if 0 in data["images"].shape:
            raise Error(f"expected at least one image, pixel and channel, got images {data['images'].shape}")
        if rank == 3:
            one = self._on_dict(_mapped(data, _as_batch), training)
            return _mapped(one, lambda x: ops.squeeze(x, 0))
        _check_places(data)
        if None in data["images"].shape:
            return {**data, "images": self._described(data["images"])}
        return self._changed(data, self.get_random_transformation(data, training), training)

    def _changed(self, data: dict[str, Any], drawn: Any, training: bool) -> dict[str, Any]:
        return {key: self._transform(key, value, drawn, training) for key, value in data.items()}

    def _described(self, images: Tensor) -> Tensor:
        """Images while a functional model is being built: only their shape matters."""
        height, width = self.output_size(*images.shape[1:3])
        if (height, width) == tuple(images.shape[1:3]):
            return images
        return ops.resize(images, (height, width))

    def _transform(self, key: str, value: Any, drawn: Any, training: bool) -> Any:
        if key == "bounding_boxes":
            self._check_format()
        if key == "images" and not training:
            value = floating(value, self.dtype)
        return getattr(self, f"transform_{key}")(value, drawn, training=training)

    def _check_format(self) -> None:
        if self.moves_pixels and self.bounding_box_format is None:
            raise Error(
                f"bounding boxes need to know what their numbers mean: {type(self).__name__}(..., "
                f"bounding_box_format='xyxy'); known are {', '.join(BOX_FORMATS)}"
            )

    def _call_now(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """On arrays it is active unless it is told not to be, as in Keras."""
        kwargs = {**kwargs, "training": kwargs.get("training") in (None, True)}
        return called_now(self, super()._call_now, args, kwargs)

    @property
    def changes_labels(self) -> bool:
        """Whether labels have to go through the layer."""
        return type(self).transform_labels is not ImageLayer.transform_labels

    def draw(self, shape: Sequence[Any], low: float, high: float, seed: Any = None) -> Any:
        """Numbers in [low, high) from the layer's generator, or from a seed."""
        return random.uniform(
            tuple(shape), low, high, dtype=self.dtype, seed=self.generator if seed is None else seed
        )

    def happens(self, n: int, factor: tuple[float, float], seed: Any = None) -> Any:
        """1 or 0 for each of n images: it happens with a probability that is itself drawn from `factor`."""
        probability = self.draw((n,), *factor, seed)
        return ops.cast(self.draw((n,), 0.0, 1.0, seed) < probability, self.dtype)

    def get_config(self) -> dict[str, Any]:
        """As for every layer; bounding_box_format only where it is given."""
        found = super().get_config()
        if found.get("bounding_box_format", 0) is None:
            del found["bounding_box_format"]
        return found


def called_now(layer: Any, call: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    """call(args, kwargs), past which labels go that the layer does not change: class numbers stay whole."""
    data = args[0] if args else None
    if not isinstance(data, Mapping) or "labels" not in data or layer.changes_labels:
        return call(args, kwargs)
    rest = {key: value for key, value in data.items() if key != "labels"}
    found = call((rest, *args[1:]), kwargs)
    return {key: value if key == "labels" else found[key] for key, value in data.items()}


def images_in(data: Any) -> Any:
    """The images of what a layer is given."""
    return data["images"] if isinstance(data, Mapping) else data


def batch_shape(data: Any) -> tuple[int, int, int, int]:
    """(n, h, w, c), all known, of images (n, h, w, c) or (h, w, c)."""
    shape: Shape = tuple(images_in(data).shape)
    n, h, w, c = shape if len(shape) == 4 else (1, *shape)
    assert n is not None and h is not None and w is not None and c is not None
    return n, h, w, c


def by_image(numbers: Any) -> Any:
    """(n,) as (n, 1, 1, 1), to go with images."""
    return ops.reshape(numbers, (-1, 1, 1, 1))


def _check_places(data: Mapping[str, Any]) -> None:
    """Raise unless what goes with images (n, h, w, c) is as many, and of the shapes that layers know."""
    n, h, w, _ = data["images"].shape
    shapes = {key: tuple(data[key].shape) for key in ("segmentation_masks", "keypoints") if key in data}
    if "bounding_boxes" in data:
        value = data["bounding_boxes"]
        if not isinstance(value, Mapping) or set(value) != {"boxes", "labels"}:
            raise Error("bounding_boxes must be a dict of 'boxes' (n, m, 4) and 'labels' (n, m)")
        shapes |= {key: tuple(value[key].shape) for key in value}
    m = shapes.get("boxes", (n, None))[1:2]
    wanted = {
        "segmentation_masks": (n, h, w, None),
        "keypoints": (n, None, 2),
        "boxes": (n, *m, 4),
        "labels": (n, *m),
    }
    for key, shape in shapes.items():
        if len(shape) != len(wanted[key]) or any(
            None not in (a, b) and a != b for a, b in zip(shape, wanted[key], strict=True)
        ):
            raise Error(
                f"{key} of shape {shape} do not go with images {tuple(data['images'].shape)}; expected "
                f"({', '.join('any' if size is None else str(size) for size in wanted[key])})"
            )


def _as_batch(x: Any) -> Any:
    """x as a batch of one: the very batch that it was taken out of, if it was."""
    node = getattr(x, "node", None)
    if node is not None and isinstance(node.operation, Squeeze) and node.inputs[0].shape == (1, *x.shape):
        return node.inputs[0]
    return ops.expand_dims(x, 0)


def _mapped(data: Any, function: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _mapped(value, function) for key, value in data.items()}
    return function(data)
