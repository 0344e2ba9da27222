"""Layers that encode whole numbers and intervals: indicators, counts, bins."""

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.layers import arguments
from fastcnn.layers.base import Layer
from fastcnn.layers.preprocessing import batches_of
from fastcnn.tensor import Tensor

MODES = ("one_hot", "multi_hot", "count")


class CategoryEncoding(Layer):
    """Whole numbers from 0 to num_tokens - 1 as rows of num_tokens numbers.

    output_mode "one_hot": (...) or (..., 1) -> (..., num_tokens), 1 in the place of the number; "multi_hot":
    (..., k) -> (..., num_tokens), 1 in the places of any of k numbers; "count": how many of the k it is, or the sum of
    their weights, which the call then takes as `count_weights` (..., k). Other numbers count nowhere.
    """

    def __init__(
        self,
        num_tokens: int | None = None,
        output_mode: str = "multi_hot",
        sparse: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_tokens = arguments.integer("CategoryEncoding", "num_tokens", num_tokens)
        mode = "multi_hot" if output_mode == "binary" else output_mode
        self.output_mode = arguments.choice("CategoryEncoding", "output_mode", mode, MODES)
        self.sparse = _dense("CategoryEncoding", sparse)

    def call(self, inputs: Tensor, count_weights: Any = None) -> Tensor:
        if count_weights is not None and self.output_mode != "count":
            raise Error(f"count_weights go with output_mode 'count' only, it is {self.output_mode!r}")
        return _encoded(inputs, self.num_tokens, self.output_mode, count_weights)

    def get_config(self) -> dict[str, Any]:
        """As for every layer."""
        return {name: value for name, value in super().get_config().items() if name != "sparse"}


class Discretization(Layer):
    """The number of the interval that holds each number: how many of the ascending boundaries are not above it.

    bin_boundaries: the bounds, k - 1 for k intervals; or num_bins: as many intervals, found by `adapt(data)` so that
    each holds about as many numbers, to `epsilon` of them. output_mode "int": the number of the interval; else that
    number encoded as `CategoryEncoding` does.
    """

    def __init__(
        self,
        bin_boundaries: Any = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if (bin_boundaries is None) == (num_bins is None):
            raise Error("Discretization: give either bin_boundaries, or num_bins and call adapt(data)")
        self.bin_boundaries = None if bin_boundaries is None else _ascending(bin_boundaries)
        self.num_bins = (
            None if num_bins is None else arguments.integer("Discretization", "num_bins", num_bins)
        )
        self.epsilon = arguments.number("Discretization", "epsilon", epsilon, 0, 1)
        self.output_mode = arguments.choice("Discretization", "output_mode", output_mode, ("int", *MODES))
        self.sparse = _dense("Discretization", sparse)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The layer that `get_config` described, with the boundaries that it had found."""
        found = config.get("bin_boundaries") if config.get("num_bins") is not None else None
        layer = super().from_config({**config, "bin_boundaries": None} if found else dict(config))
        layer.bin_boundaries = found or layer.bin_boundaries
        return layer

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Find the boundaries in `data`: an array, or an iterable of batches, of which the first `steps` are used."""
        if self.num_bins is None:
            raise Error(
                f"layer {self.name!r}: bin_boundaries were given, so there is nothing to adapt; give num_bins instead"
            )
        summary = np.zeros((2, 0), "float32")
        for number, batch in enumerate([data] if isinstance(data, np.ndarray) else batches_of(data)):
            if number == steps:
                break
            merged = np.concatenate([_summary(np.asarray(batch, "float32"), self.epsilon), summary], axis=1)
            summary = _compressed(merged[:, np.argsort(merged[0])], self.epsilon)
        if not summary.size:
            raise Error(f"layer {self.name!r}: adapt() was given no data")
        self.bin_boundaries = _compressed(summary, 1.0 / self.num_bins)[0, :-1].tolist()
        Layer.structure_version += 1  # plans hold the boundaries

    def call(self, inputs: Tensor) -> Tensor:
        if self.bin_boundaries is None:
            raise Error("it has no boundaries yet; give bin_boundaries, or call adapt(data) first")
        bins = ops.digitize(inputs, self.bin_boundaries)
        if self.output_mode == "int":
            return bins
        return _encoded(bins, len(self.bin_boundaries) + 1, self.output_mode)


def _dense(owner: str, sparse: bool) -> bool:
    if sparse:
        raise Error(f"{owner}: tensors are dense; sparse must be False")
    return False


def _ascending(bounds: Any) -> list[float]:
    found = np.asarray(bounds, np.float64)
    if found.ndim != 1 or not found.size or (np.diff(found) < 0).any():
        raise Error(f"Discretization: bin_boundaries must be a list of ascending numbers, got {bounds!r}")
    values: list[float] = list(bounds) if isinstance(bounds, list | tuple) else found.tolist()
    return values


def _encoded(x: Tensor, depth: int, mode: str, weights: Any = None) -> Tensor:
    """Whole numbers as `CategoryEncoding` gives them."""
    x = ops.expand_dims(x, 0) if x.ndim == 0 else x
    if mode == "one_hot":
        return ops.one_hot(ops.squeeze(x, -1) if x.ndim > 1 and x.shape[-1] == 1 else x, depth)
    if mode == "multi_hot":
        return ops.multi_hot(x, depth)
    found = ops.one_hot(x, depth)
    return ops.sum(found if weights is None else found * ops.expand_dims(weights, -1), axis=-2)


# --- quantiles of data that comes in batches: (2, k) values, ascending, and how many numbers each stands for ---


def _summary(values: np.ndarray, epsilon: float) -> np.ndarray:
    """Every n-th of the sorted values, about 1 / epsilon of them."""
    ascending = np.sort(values, axis=None)
    step = max(ascending.size / (1.0 / epsilon), 1.0)  # rounded as Keras does, for the same boundaries
    kept = ascending[int(step - 1) :: int(step)]
    return np.stack([kept, np.full_like(kept, step)])


def _compressed(summary: np.ndarray, epsilon: float) -> np.ndarray:
    """1 / epsilon values by linear interpolation, if there are more."""
    if summary.shape[1] * epsilon < 1:
        return summary
    wanted = epsilon + np.arange(0.0, 1.0, epsilon)
    below = summary[1].cumsum()
    share = below / below[-1]
    counts = np.interp(wanted, share, below)
    return np.stack([np.interp(wanted, share, summary[0]), np.diff(counts, prepend=0)]).astype("float32")
