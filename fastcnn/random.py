"""Random arrays and tensors, as keras.random has them: functions of a seed and of how often it was used.

seed: an integer gives the same numbers in every call, a `SeedGenerator` others each time, and None those of a seed that
`utils.set_random_seed` fixes. In a layer's call the numbers are drawn whenever it runs.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn import config, ops
from fastcnn.errors import Error
from fastcnn.graph import apply, current_trace
from fastcnn.ops.random import RandomLogGamma, RandomNormal, RandomState, RandomUniform, check_rate
from fastcnn.plan import Function
from fastcnn.tensor import Constant, Tensor, Variable

__all__ = [
    "SeedGenerator", "beta", "binomial", "categorical", "dirichlet", "dropout", "gamma", "normal", "randint", "shuffle",
    "truncated_normal", "uniform",
]  # fmt: skip

Shape = Sequence[int | None]


class SeedGenerator(RandomState):
    """A seed and a counter. A layer that holds one in an attribute keeps it among its variables, and in files.

    seed: None takes the next one of the process.
    """

    def __init__(self, seed: int | None = None, name: str | None = None, **kwargs: Any):
        if kwargs:
            raise Error(f"SeedGenerator: unknown arguments {', '.join(kwargs)}; it takes seed and name")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer)):
            raise Error(f"SeedGenerator: seed must be an integer or None, got {seed!r}")
        super().__init__(seed, name or "seed_generator_state")
        self.initial_seed = seed

    @property
    def state(self) -> "SeedGenerator":
        """The variable that holds seed and counter: this object."""
        return self

    def next(self, ordered: bool = True) -> np.ndarray:
        """(seed, count) as integers, of which no two are alike; the counter moves on."""
        if current_trace() is not None:
            raise Error("SeedGenerator.next: give the generator itself as seed where a model is traced")
        now = self.numpy()
        self.assign(now + np.array([0, 1]))
        return now

    def get_config(self) -> dict[str, Any]:
        """The arguments that make another one."""
        return {"seed": self.initial_seed}


Seed = int | SeedGenerator | None


class _Draws:
    """The state that numbers are drawn from, and the number of each draw."""

    def __init__(self, seed: Any):
        fixed = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        if not fixed and seed is not None and not isinstance(seed, RandomState):
            raise Error(f"random: seed must be an integer, a SeedGenerator or None, got {seed!r}")
        if fixed:
            self.state: Tensor = Constant(np.array([int(seed) % 2**63, 0], "int64"))
        else:
            self.state = RandomState() if seed is None else seed
        self.count = 0

    def stream(self) -> int:
        """The number of the next draw."""
        if isinstance(self.state, RandomState):
            return self.state.next_stream()
        self.count += 1
        return self.count - 1

    def uniform(self, shape: Shape, low: float, high: float, dtype: str) -> Tensor:
        """Numbers in [low, high)."""
        return apply(RandomUniform(_sizes(shape), dtype, self.stream(), low, high), self.state)

    def normal(self, shape: Shape, mean: float, stddev: float, dtype: str) -> Tensor:
        """Normally distributed numbers."""
        return apply(RandomNormal(_sizes(shape), dtype, self.stream(), mean, stddev), self.state)

    def log_gamma(self, alpha: Tensor) -> Tensor:
        """Logarithms of gamma-distributed numbers, of shape alpha each."""
        return apply(RandomLogGamma(self.stream()), alpha, self.state)


def _sizes(shape: Shape) -> tuple[Any, ...]:
    """The shape as it is; None as a dimension while a functional model is built."""
    return tuple(n if n is None else int(n) for n in shape)


def _drawn(seed: Any, body: Callable[..., Any], *inputs: Any) -> Any:
    """body(draws, *inputs) in the trace that is being recorded, or at once, on arrays."""
    if current_trace() is not None or any(_is_open(x) for x in inputs):
        return body(_Draws(seed), *inputs)
    arrays = [ops.convert_to_tensor(x) for x in inputs]
    return Function(lambda *tensors: body(_Draws(seed), *tensors))(*arrays)


def _is_open(x: Any) -> bool:
    return isinstance(x, Tensor) and not isinstance(x, Variable | Constant)


def _dtype(dtype: Any) -> str:
    return config.floatx() if dtype is None else ops.dtype(np.zeros(0, dtype))


def normal(shape: Shape, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Seed = None) -> Any:
    """Normally distributed numbers."""
    return _drawn(seed, lambda draws: draws.normal(shape, float(mean), float(stddev), _dtype(dtype)))


def uniform(
    shape: Shape, minval: float = 0.0, maxval: float = 1.0, dtype: Any = None, seed: Seed = None
) -> Any:
    """Numbers of equal probability in [minval, maxval); whole ones where dtype is."""
    if not _dtype(dtype).startswith("float"):
        return randint(shape, int(minval), int(maxval), _dtype(dtype), seed)
    return _drawn(seed, lambda draws: draws.uniform(shape, float(minval), float(maxval), _dtype(dtype)))


def truncated_normal(
    shape: Shape, mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: Seed = None
) -> Any:
    """Normally distributed numbers without those further than 2 stddev from the mean: the inverse of the distribution
    of uniform numbers.
    """
    edge = math.erf(math.sqrt(2.0))  # of a normal number to lie within 2 deviations

    def body(draws: _Draws) -> Tensor:
        share = draws.uniform(shape, -edge, edge, _dtype(dtype))
        return ops.erfinv(share) * (math.sqrt(2.0) * stddev) + float(mean)

    return _drawn(seed, body)


def randint(shape: Shape, minval: int, maxval: int, dtype: Any = "int32", seed: Seed = None) -> Any:
    """Whole numbers from minval to maxval - 1."""
    low, high = int(minval), int(maxval)
    if high <= low:
        raise Error(f"randint: maxval must be above minval, got {minval} and {maxval}")

    def body(draws: _Draws) -> Tensor:
        # One draw has 24 bits; a second one makes ranges beyond that complete.
        u = draws.uniform(shape, 0.0, 1.0, "float64") + draws.uniform(shape, 0.0, 2.0**-24, "float64")
        return ops.cast(ops.floor(u * float(high - low) + float(low)), dtype)

    return _drawn(seed, body)


def categorical(logits: Any, num_samples: int, dtype: Any = "int32", seed: Seed = None) -> Any:
    """Classes drawn with probabilities softmax(logits): (n, classes) -> (n, num_samples).

    The class of the largest logit - ln(-ln u), with u uniform (Gumbel 1954).
    """

    def body(draws: _Draws, x: Tensor) -> Tensor:
        n, classes = _sizes(x.shape)
        u = draws.uniform((n, num_samples, classes), 0.0, 1.0, x.dtype)
        scores = ops.expand_dims(x, 1) - ops.log(-ops.log(u))
        return ops.cast(ops.argmax(scores, -1), dtype)

    return _drawn(seed, body, logits)


def shuffle(x: Any, axis: int = 0, seed: Seed = None) -> Any:
    """The entries of x along `axis` in another order."""

    def body(draws: _Draws, x: Tensor) -> Tensor:
        order = ops.argsort(draws.uniform(_sizes([x.shape[axis]]), 0.0, 1.0, "float32"))
        return ops.take(x, order, axis)

    return _drawn(seed, body, x)


def dropout(inputs: Any, rate: float, noise_shape: Any = None, seed: Seed = None) -> Any:
    """inputs with a share `rate` of the elements 0, the others divided by 1 - rate.

    noise_shape: of the choice, which is repeated to the shape of inputs.
    """
    share = check_rate("dropout", rate)

    def body(draws: _Draws, x: Tensor) -> Tensor:
        x = ops.cast(x, config.floatx()) if not x.dtype.startswith("float") else x
        shape = x.shape if noise_shape is None else noise_shape
        sizes = [n if m is None else m for n, m in zip(x.shape, shape, strict=True)]
        kept = ops.cast(draws.uniform(sizes, 0.0, 1.0, x.dtype) >= share, x.dtype)
        return x * kept * (1.0 / (1.0 - share) if share < 1 else 0.0)

    return _drawn(seed, body, inputs)


def _shapes(alpha: Any, shape: Shape, dtype: Any) -> Tensor:
    """The tensor of a distribution's shapes, repeated to the shape of what is drawn."""
    return ops.broadcast_to(ops.cast(ops.convert_to_tensor(alpha), _dtype(dtype)), _sizes(shape))


def gamma(shape: Shape, alpha: Any, dtype: Any = None, seed: Seed = None) -> Any:
    """Numbers of the gamma distribution with shape alpha and scale 1."""
    return _drawn(seed, lambda draws, a: ops.exp(draws.log_gamma(_shapes(a, shape, dtype))), alpha)


def beta(shape: Shape, alpha: Any, beta: Any, dtype: Any = None, seed: Seed = None) -> Any:
    """Numbers in [0, 1] of the beta distribution with shapes alpha and beta: a share of two gamma-distributed ones."""

    def body(draws: _Draws, a: Tensor, b: Tensor) -> Tensor:
        first, second = (draws.log_gamma(_shapes(x, shape, dtype)) for x in (a, b))
        return ops.sigmoid(
            first - second
        )  # of logarithms: numbers of small shapes are smaller than floats are

    return _drawn(seed, body, alpha, beta)


def dirichlet(shape: Shape, alpha: Any, dtype: Any = None, seed: Seed = None) -> Any:
    """Shares along the last axis, of sum 1, of the Dirichlet distribution with all parameters alpha."""
    return _drawn(seed, lambda draws, a: ops.softmax(draws.log_gamma(_shapes(a, shape, dtype))), alpha)


# --- by NumPy --------------------------------------------------------------------------------------------------


def _by_numpy(what: str, seed: Any, *values: Any) -> np.random.Generator:
    """NumPy's generator for a seed. What it draws are arrays."""
    if current_trace() is not None or any(_is_open(value) for value in values):
        raise Error(f"random.{what} works on arrays only; draw outside of models, or from normal and uniform")
    state = (
        (seed.next() if isinstance(seed, SeedGenerator) else [config.next_seed()]) if _moves(seed) else [seed]
    )
    return np.random.Generator(np.random.Philox([int(number) for number in state]))


def _moves(seed: Any) -> bool:
    return seed is None or isinstance(seed, SeedGenerator)


def binomial(
    shape: Shape, counts: Any, probabilities: Any, dtype: Any = None, seed: Seed = None
) -> np.ndarray:
    """How many of `counts` trials succeed, each with the probability given. Outside of models."""
    draws = _by_numpy("binomial", seed, counts, probabilities)
    trials = np.asarray(counts).astype("int64")
    return draws.binomial(trials, np.asarray(probabilities, "float64"), _sizes(shape)).astype(_dtype(dtype))
