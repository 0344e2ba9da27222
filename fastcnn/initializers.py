"""First values of weights. An initializer is called with a shape and returns an array."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastcnn import registry
from fastcnn.config import floatx, next_seed
from fastcnn.errors import Error, did_you_mean
from fastcnn.registry import Configurable

Array = npt.NDArray[Any]
Shape = Sequence[int]

_DISTRIBUTIONS = ("truncated_normal", "untruncated_normal", "uniform", "normal")

# standard deviation of a standard normal cut off at -2 and 2
_TRUNCATED_STDDEV = 0.87962566103423978


class Initializer(Configurable):
    """Base class; a subclass says in `__call__` which values a shape starts with."""

    kind: ClassVar[str] = "initializer"

    def __call__(self, shape: Shape, dtype: str | None = None) -> Array:
        """An array of `shape`; dtype None means `floatx()`."""
        raise Error(f"{type(self).__name__} must define __call__(self, shape, dtype=None)")

    def clone(self) -> "Initializer":
        """A new initializer of the same configuration; an unseeded one draws other values."""
        return type(self).from_config(self.get_config())


class Zeros(Initializer):
    """All 0."""

    _aliases = ("zero",)

    def __call__(self, shape: Shape, dtype: str | None = None) -> Array:
        return np.zeros(shape, dtype or floatx())


class Ones(Initializer):
    """All 1."""

    _aliases = ("one",)

    def __call__(self, shape: Shape, dtype: str | None = None) -> Array:
        return np.ones(shape, dtype or floatx())


class Constant(Initializer):
    """All `value`, a number, or an array that broadcasts to the shape."""

    def __init__(self, value: Any = 0.0):
        self.value = np.asarray(value) if isinstance(value, (list, tuple)) else value

    def __call__(self, shape: Shape, dtype: str | None = None) -> Array:
        try:
            return np.full(shape, self.value, dtype or floatx())
        except ValueError as problem:
            raise Error(
                f"Constant: a value of shape {np.shape(self.value)} does not fit a weight of shape {tuple(shape)}"
            ) from problem


class Identity(Initializer):
    """`gain` on the diagonal, 0 elsewhere; two-dimensional shapes only."""

    _aliases = ("IdentityInitializer",)

    def __init__(self, gain: float = 1.0):
        self.gain = gain

    def __call__(self, shape: Shape, dtype: str | None = None) -> Array:
        if len(shape) != 2:
            raise Error(f"Identity: expected a shape of two dimensions, got {tuple(shape)}")
        return np.asarray(self.gain * np.eye(shape[0], shape[1]), dtype or floatx())


class _Random(Initializer):
    """Values drawn from a counter-based generator (Philox), in float64, then rounded.

    One initializer gives the same values at every call. With seed None it takes its seed from the stream of
    the process when it is made, so two of them differ, and `set_random_seed` fixes both.
    """

    def __init__(self, seed: int | None = None):
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer))):
            raise Error(f"{type(self).__name__}: seed must be an integer or None, got {seed!r}")
        self.seed = seed
        self._key = next_seed() if seed is None else int(seed) % 2**64

    def _generator(self) -> np.random.Generator:
        return np.random.Generator(np.random.Philox(key=self._key))

    def _uniform(self, shape: Shape, low: float, high: float, dtype: str | None) -> Array:
        return self._generator().uniform(low, high, tuple(shape)).astype(dtype or floatx())

    def _normal(self, shape: Shape, mean: float, stddev: float, dtype: str | None) -> Array:
        return self._generator().normal(mean, stddev, tuple(shape)).astype(dtype or floatx())

    def _truncated_normal(self, shape: Shape, mean: float, stddev: float, dtype: str | None) -> Array:
        """Normal values within 2 standard deviations of the mean; those outside are drawn again."""
        generator = self._generator()
        values = generator.standard_normal(math.prod(shape))
        outside = np.flatnonzero(np.abs(values) > 2)
        while outside.size:
            values[outside] = generator.standard_normal(outside.size)
            outside = outside[np.abs(values[outside]) > 2]
        return (mean + stddev * values).astype(dtype or floatx()).reshape(shape)


class RandomUniform(_Random):
    """Uniform on [minval, maxval)."""

    _aliases = ("uniform",)

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: int | None = None):
        if maxval < minval:
            raise Error(f"RandomUniform: minval {minval} is above maxval {maxval}")
        super().__init__(seed)
        self.minval = minval
        self.maxval = maxval

    def __call__(self, shape: Shape, dtype: str | None = None) -> Array:
        return self._uniform(shape, self.minval, self.maxval, dtype)


class RandomNormal(_Random):
    """Normal with the given mean and standard deviation."""

    _aliases = ("normal",)

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: int | None = None):
        if stddev < 0:
            raise Error(f"{type(self).__name__}: stddev must not be negative, got {stddev}")
        super().__init__(seed)
        self.mean = mean
        self.stddev = stddev

    def __call__(self, shape: Shape, dtype: str | None = None) -> Array:
        return self._normal(shape, self.mean, self.stddev, dtype)


class TruncatedNormal(RandomNormal):
    """Normal, but values further than 2 `stddev` from the mean are drawn again.

    `stddev` is that of the normal before it is cut; what comes out has 0.88 of it.
    """

    def __call__(self, shape: Shape, dtype: str | None = None) -> Array:
        return self._truncated_normal(shape, self.mean, self.stddev, dtype)


class VarianceScaling(_Random):
    """Mean 0 and variance scale / n, where n is `fan_in`, `fan_out` or their average.

    distribution: "truncated_normal" (corrected for the cut, so the variance is as stated),
    "untruncated_normal", or "uniform" on +-sqrt(3 scale / n).
    input_axes, output_axes: the axes whose sizes multiply to `fan_in` and `fan_out`, where `compute_fans` is not
    meant.
    """

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        distribution = distribution.lower()
        if not scale > 0:
            raise Error(f"{type(self).__name__}: scale must be positive, got {scale}")
        _check_choice(type(self).__name__, "mode", mode, ("fan_in", "fan_out", "fan_avg"))
        _check_choice(type(self).__name__, "distribution", distribution, _DISTRIBUTIONS)
        super().__init__(seed)
        self.scale = scale
        self.mode = mode
        self.distribution = "truncated_normal" if distribution == "normal" else distribution
        self.input_axes = None if input_axes is None else tuple(input_axes)
        self.output_axes = None if output_axes is None else tuple(output_axes)

    def between(self, input_axes: Sequence[int], output_axes: Sequence[int]) -> "VarianceScaling":
        """The same values for weights whose inputs and outputs are on these axes, unless it names axes itself."""
        given = self.input_axes is not None and self.output_axes is not None
        other = copy.copy(self)
        if not given:
            other.input_axes, other.output_axes = tuple(input_axes), tuple(output_axes)
        return other

    def __call__(self, shape: Shape, dtype: str | None = None) -> Array:
        fan_in, fan_out = compute_fans(shape)
        fan_in = fan_in if self.input_axes is None else math.prod(shape[axis] for axis in self.input_axes)
        fan_out = fan_out if self.output_axes is None else math.prod(shape[axis] for axis in self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        stddev = math.sqrt(self.scale / max(1.0, fan))
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * stddev
            return self._uniform(shape, -limit, limit, dtype)
        if self.distribution == "untruncated_normal":
            return self._normal(shape, 0.0, stddev, dtype)
        return self._truncated_normal(shape, 0.0, stddev / _TRUNCATED_STDDEV, dtype)


def _check_choice(where: str, argument: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise Error(f"{where}: {argument} {value!r} is unknown{did_you_mean(value, choices)}")


def compute_fans(shape: Shape) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight: the products of the window with the last two dimensions.

    Dense (in, out): in and out. Convolution (kh, kw, in, out): kh kw in and kh kw out. A depthwise kernel
    (kh, kw, in, multiplier) counts `in` though each output reads one channel only, as in Keras. A vector
    counts its length both ways.
    """
    if len(shape) < 2:
        fan = int(math.prod(shape))
        return fan, fan
    window = math.prod(shape[:-2])
    return int(window * shape[-2]), int(window * shape[-1])


class GlorotUniform(VarianceScaling):
    """Uniform on +-sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(1.0, "fan_avg", "uniform", seed, input_axes, output_axes)


class GlorotNormal(VarianceScaling):
    """Truncated normal of variance 2 / (fan_in + fan_out) (Glorot & Bengio 2010)."""

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(1.0, "fan_avg", "truncated_normal", seed, input_axes, output_axes)


class HeUniform(VarianceScaling):
    """Uniform on +-sqrt(6 / fan_in) (He et al. 2015)."""

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(2.0, "fan_in", "uniform", seed, input_axes, output_axes)


class HeNormal(VarianceScaling):
    """Truncated normal of variance 2 / fan_in (He et al. 2015)."""

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(2.0, "fan_in", "truncated_normal", seed, input_axes, output_axes)


class LecunUniform(VarianceScaling):
    """Uniform on +-sqrt(3 / fan_in) (LeCun et al. 1998)."""

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(1.0, "fan_in", "uniform", seed, input_axes, output_axes)


class LecunNormal(VarianceScaling):
    """Truncated normal of variance 1 / fan_in (LeCun et al. 1998; Klambauer et al. 2017)."""

    def __init__(
        self,
        seed: int | None = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ):
        super().__init__(1.0, "fan_in", "truncated_normal", seed, input_axes, output_axes)


class Orthogonal(_Random):
    """A random matrix with orthonormal columns, or rows where those are fewer, times `gain`.

    More than two dimensions are taken as (product of all but the last, last). QR of a normal matrix, with the
    signs of R's diagonal, is uniform over orthogonal matrices (Saxe et al. 2014; Mezzadri 2007).
    """

    _aliases = ("OrthogonalInitializer",)

    def __init__(self, gain: float = 1.0, seed: int | None = None):
        super().__init__(seed)
        self.gain = gain

    def __call__(self, shape: Shape, dtype: str | None = None) -> Array:
        if len(shape) < 2:
            raise Error(f"Orthogonal: expected a shape of at least two dimensions, got {tuple(shape)}")
        rows, columns = math.prod(shape[:-1]), shape[-1]
        q, r = np.linalg.qr(self._generator().standard_normal((max(rows, columns), min(rows, columns))))
        q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
        matrix = q if rows >= columns else q.T
        return np.ascontiguousarray((self.gain * matrix).reshape(shape), dtype or floatx())


zeros = Zeros
ones = Ones
constant = Constant
identity = IdentityInitializer = Identity
random_uniform = RandomUniform
random_normal = RandomNormal
truncated_normal = TruncatedNormal
variance_scaling = VarianceScaling
glorot_uniform = GlorotUniform
glorot_normal = GlorotNormal
he_uniform = HeUniform
he_normal = HeNormal
lecun_uniform = LecunUniform
lecun_normal = LecunNormal
orthogonal = OrthogonalInitializer = Orthogonal

serialize = registry.serialize


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The initializer that `serialize` described."""
    return registry.deserialize("initializer", config, custom_objects)


def get(identifier: Any) -> Callable[..., Array] | None:
    """An initializer from its name, class, configuration, a function (shape, dtype), or the values."""
    if isinstance(identifier, (np.ndarray, np.generic)):
        return Constant(identifier)
    initializer: Callable[..., Array] | None = registry.deserialize("initializer", identifier)
    return initializer
