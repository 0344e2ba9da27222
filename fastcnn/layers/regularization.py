"""Layers that disturb their inputs in training only, and penalties on outputs.

Random numbers are a function of (seed, training step, element): the same on any number of threads, and the same
again after reloading. seed None draws one from the process (`fastcnn.utils.set_random_seed`).
"""

from typing import Any

from fastcnn import ops, regularizers
from fastcnn.errors import Error
from fastcnn.layers import arguments
from fastcnn.layers.base import Layer
from fastcnn.tensor import Shape, Tensor


class _Random(Layer):
    """In training `_disturb(inputs)`, otherwise the inputs themselves."""

    def __init__(self, seed: int | None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = None if seed is None else arguments.integer(type(self).__name__, "seed", seed, minimum=0)
        self.random_state = ops.RandomState(self.seed)
        self.random_state.path = f"{self.name}/random_state"

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        described_only = None in inputs.shape  # a functional model is being built: only the shape matters
        return self._disturb(inputs) if training and not described_only else inputs

    def _disturb(self, inputs: Tensor) -> Tensor:
        raise Error(f"{type(self).__name__} does not say what it does in training")


def _noise_shape(owner: str, value: Any) -> Shape | None:
    if value is None:
        return None
    if not isinstance(value, list | tuple):
        raise Error(f"{owner}: noise_shape must be a tuple of integers and None, got {value!r}")
    return tuple(None if n is None else arguments.integer(owner, "noise_shape", n) for n in value)


def _check_noise_shape(noise_shape: Shape | None, shape: Shape) -> None:
    if noise_shape is None:
        return
    pairs = zip(noise_shape, shape, strict=False)
    if len(noise_shape) != len(shape) or any(n not in (None, 1, size) for n, size in pairs):
        raise Error(
            f"noise_shape={noise_shape} does not fit an input of shape {shape}; use 1, None or its own sizes"
        )


class Dropout(_Random):
    """Each element 0 with probability `rate`, else x / (1 - rate), so that the mean is kept (Srivastava et al. 2014).

    noise_shape: of the mask, None where it is the input's: (None, 1, 1, c) drops whole channels of images.
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.rate = arguments.number(type(self).__name__, "rate", rate, 0, 1)
        self.noise_shape = _noise_shape(type(self).__name__, noise_shape)

    def _disturb(self, inputs: Tensor) -> Tensor:
        _check_noise_shape(self.noise_shape, inputs.shape)
        return ops.dropout(inputs, self.rate, self.random_state, self.noise_shape) if self.rate else inputs


class SpatialDropout1D(_Random):
    """Dropout of whole channels of sequences (batch, length, channels) (Tompson et al. 2015)."""

    def __init__(
        self, rate: float, seed: int | None = None, name: str | None = None, dtype: Any = None, **kwargs: Any
    ):
        super().__init__(seed, name=name, dtype=dtype, **kwargs)
        self.rate = arguments.number("SpatialDropout1D", "rate", rate, 0, 1)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        arguments.check_rank(inputs.shape, 1)
        return super().call(inputs, training)

    def _disturb(self, inputs: Tensor) -> Tensor:
        n, _, c = inputs.shape
        return ops.dropout(inputs, self.rate, self.random_state, (n, 1, c)) if self.rate else inputs


class SpatialDropout2D(_Random):
    """Dropout of whole channels of images (batch, height, width, channels) (Tompson et al. 2015)."""

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ):
        super().__init__(seed, name=name, dtype=dtype, **kwargs)
        self.rate = arguments.number("SpatialDropout2D", "rate", rate, 0, 1)
        self.data_format = arguments.data_format("SpatialDropout2D", data_format)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        arguments.check_rank(inputs.shape, 2)
        return super().call(inputs, training)

    def _disturb(self, inputs: Tensor) -> Tensor:
        n, _, _, c = inputs.shape
        return ops.dropout(inputs, self.rate, self.random_state, (n, 1, 1, c)) if self.rate else inputs


class SpatialDropout3D(_Random):
    """Dropout of whole channels of volumes (batch, depth, height, width, channels)."""

    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ):
        super().__init__(seed, name=name, dtype=dtype, **kwargs)
        self.rate = arguments.number("SpatialDropout3D", "rate", rate, 0, 1)
        self.data_format = arguments.data_format("SpatialDropout3D", data_format)

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        arguments.check_rank(inputs.shape, 3)
        return super().call(inputs, training)

    def _disturb(self, inputs: Tensor) -> Tensor:
        n, c = inputs.shape[0], inputs.shape[-1]
        return ops.dropout(inputs, self.rate, self.random_state, (n, 1, 1, 1, c)) if self.rate else inputs


class GaussianNoise(_Random):
    """x + noise of mean 0 and standard deviation `stddev`, from 0 to 1, the inputs being scaled to that order."""

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.stddev = arguments.number("GaussianNoise", "stddev", stddev, 0, 1)

    def _disturb(self, inputs: Tensor) -> Tensor:
        return ops.gaussian_noise(inputs, self.stddev, self.random_state) if self.stddev else inputs


class GaussianDropout(_Random):
    """x times noise of mean 1 and standard deviation sqrt(rate / (1 - rate)), as dropout has."""

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.rate = _below_one("GaussianDropout", rate)

    def _disturb(self, inputs: Tensor) -> Tensor:
        return ops.gaussian_dropout(inputs, self.rate, self.random_state) if self.rate else inputs


class AlphaDropout(_Random):
    """Dropout that keeps mean 0 and variance 1, for networks with SELU: what is dropped takes the value at which
    SELU saturates (Klambauer et al. 2017).
    """

    def __init__(self, rate: float, noise_shape: Any = None, seed: int | None = None, **kwargs: Any):
        super().__init__(seed, **kwargs)
        self.rate = _below_one("AlphaDropout", rate)
        self.noise_shape = _noise_shape("AlphaDropout", noise_shape)

    def _disturb(self, inputs: Tensor) -> Tensor:
        _check_noise_shape(self.noise_shape, inputs.shape)
        return (
            ops.alpha_dropout(inputs, self.rate, self.random_state, self.noise_shape) if self.rate else inputs
        )


def _below_one(owner: str, rate: Any) -> float:
    if arguments.number(owner, "rate", rate, 0, 1) == 1:
        raise Error(f"{owner}: rate must be below 1")
    return float(rate)


class ActivityRegularization(Layer):
    """The inputs; l1 sum |x| + l2 sum x^2 is added to the loss."""

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any):
        penalty = regularizers.L1L2(l1, l2)
        super().__init__(activity_regularizer=kwargs.pop("activity_regularizer", penalty), **kwargs)
        self.l1 = penalty.l1
        self.l2 = penalty.l2

    def call(self, inputs: Tensor) -> Tensor:
        return inputs

    def get_config(self) -> dict[str, Any]:
        """As for every layer; the penalty is told by l1 and l2."""
        return {name: value for name, value in super().get_config().items() if name != "activity_regularizer"}
