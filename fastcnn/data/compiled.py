"""Layers applied to batches outside of models: one compiled plan a shape, random numbers by the batch's place."""

import threading
from collections.abc import Sequence
from typing import Any, TypeGuard

import numpy as np

from fastcnn.data.arrays import Arrays, Batch
from fastcnn.errors import Error
from fastcnn.ops.random import RandomState
from fastcnn.plan import Function
from fastcnn.registry import Configurable
from fastcnn.tensor import Tensor, TensorSpec

# What a sample's y may hold beside its picture, and what layers of pictures call it.
BOXES = {"boxes": "bounding_boxes/boxes", "labels": "bounding_boxes/labels"}
PLACES = {"segmentation_masks": "segmentation_masks", "keypoints": "keypoints"}
# Datasets may share layers, and with these their random states: no thread may set one between another's set and run.
_ONE_AT_A_TIME = threading.RLock()
COMPUTABLE = ("uint8", "int32", "int64", "bool")


def is_layer(function: Any) -> bool:
    """Whether a function is a layer, to be traced and compiled, rather than one of arrays."""
    return isinstance(function, Configurable) and function.kind == "layer"


def knows_places(layer: Any) -> bool:
    """Whether a layer is one of pictures, and of what goes with them."""
    return hasattr(layer, "mixes_samples")


class Compiled:
    """Layers as a step of a Dataset: active as in training, on all threads, without Python between their parts.

    On the CPU whatever device is set: batches are made ready while the device trains on those before.
    Their random states are set to the place of the batch, so that no batch depends on those before it.
    """

    def __init__(self, layers: Sequence[Any], dataset: Any):
        self.layers = tuple(layers)
        self.dataset = dataset  # knows the number of classes
        self.moves = all(map(knows_places, self.layers))
        self.mixes = any(getattr(layer, "mixes_samples", False) for layer in self.layers)
        self._functions: dict[tuple[str, ...], Function] = {}

    def then(self, layer: Any) -> "Compiled | None":
        """One step with a layer more; None where pictures are to be looked at in between."""
        if not (self.moves and knows_places(layer)):
            return None
        return Compiled((*self.layers, layer), self.dataset)

    def __call__(self, batch: Batch, epoch: int, number: int) -> Batch:
        """The batch after the layer."""
        if not isinstance(batch.x, np.ndarray):
            raise Error(f"Dataset.map: layer {self._name!r} takes one array x, the data have several")
        data = self._inputs(batch)
        keys, arrays = tuple(data), [np.ascontiguousarray(self._computable(array)) for array in data.values()]
        with _ONE_AT_A_TIME:
            function = self._functions.setdefault(
                keys, Function(lambda *xs: self._body(keys, xs), training=True, device="cpu")
            )
            function.plan([_spec(array) for array in arrays])  # the layer is built now, if it was not
            for state in self._states():
                state.assign(np.array([int(state.numpy()[0]), (epoch << 32) + number], np.int64))
            found = function(*arrays)
        return self._outputs(batch, dict(zip(keys, found, strict=True)))

    def _body(self, keys: Sequence[str], tensors: Sequence[Tensor]) -> list[Any]:
        data = _nested(dict(zip(keys, tensors, strict=True)))
        found = data["images"] if list(data) == ["images"] else data
        for layer in self.layers:
            found = layer(found, training=True)
        return [_leaf(found, key) if isinstance(found, dict) else found for key in keys]

    def _computable(self, array: np.ndarray) -> np.ndarray:
        """Whole numbers as they are, if the first layer takes them; others in the format that it computes in."""
        first = self.layers[0]
        stays = first.takes_whole_numbers and str(array.dtype) in COMPUTABLE
        return array if stays else array.astype(first.dtype, copy=False)

    @property
    def _name(self) -> str:
        return ", ".join(layer.name for layer in self.layers)

    def _states(self) -> list[RandomState]:
        every = [variable for layer in self.layers for variable in layer.variables]
        return [variable for variable in every if isinstance(variable, RandomState)]

    def _inputs(self, batch: Batch) -> dict[str, np.ndarray]:
        """The arrays that the layer changes, by the names that layers of pictures give them."""
        data = {"images": batch.x}
        if self.moves and _has_places(batch.y):
            data.update({(BOXES | PLACES)[key]: value for key, value in batch.y.items()})
        elif self.mixes and isinstance(batch.y, np.ndarray):
            data["labels"] = self._one_hot(batch.y)
        return data  # type: ignore[return-value]

    def _one_hot(self, labels: np.ndarray) -> np.ndarray:
        if labels.ndim > 1 and labels.shape[-1] > 1:
            return labels.astype(np.float32)
        flat = labels.reshape(-1)
        if flat.dtype.kind == "f" and (flat != np.rint(flat)).any():
            return labels.reshape(-1, 1).astype(np.float32)  # numbers, not classes: mixed as they are
        return np.eye(self.dataset.classes, dtype=np.float32)[flat.astype(np.intp)]

    def _outputs(self, batch: Batch, found: dict[str, np.ndarray]) -> Batch:
        x = found.pop("images")
        if "labels" in found:
            return batch._replace(x=x, y=found["labels"])
        if not _has_places(batch.y):
            return batch._replace(x=x)
        if not found:
            self._check_size(batch.x, x, ", ".join(batch.y))
            return batch._replace(x=x)
        moved = {key: found[(BOXES | PLACES)[key]] for key in batch.y}
        if "segmentation_masks" in moved and not self.mixes:  # numbers of classes stay whole
            masks = batch.y["segmentation_masks"]
            moved["segmentation_masks"] = moved["segmentation_masks"].astype(masks.dtype, copy=False)
        return batch._replace(x=x, y=moved)

    def _check_size(self, before: Arrays, after: np.ndarray, places: str) -> None:
        """Places in pictures stay as they are where a layer does not move them; their pictures must, too."""
        if isinstance(before, np.ndarray) and after.shape[1:3] != before.shape[1:3]:
            raise Error(
                f"Dataset.map: layer {self._name!r} changes the size of pictures, but not what is placed in them "
                f"({places}); use one that moves it, such as RandomCrop, or a function"
            )


def _has_places(y: Any) -> TypeGuard[dict[str, np.ndarray]]:
    """Whether y says where something is in a picture."""
    return isinstance(y, dict) and bool(y) and set(y) - set(PLACES) in (set(), set(BOXES))


def _spec(array: np.ndarray) -> Any:
    return TensorSpec(array.shape, str(array.dtype))


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key, value in flat.items():
        outer, _, inner = key.partition("/")
        if inner:
            data.setdefault(outer, {})[inner] = value
        else:
            data[outer] = value
    return data


def _leaf(data: Any, key: str) -> Any:
    for part in key.split("/"):
        data = data[part]
    return data
