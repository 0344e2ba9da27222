"""Random numbers, from states that live in variables: reproducible, whatever the number of threads or the device.

A `RandomState` holds (seed, step). Every run of a traced function first moves the step on, and each draw in it has
a number of its own, its *stream*, so that neither runs nor draws repeat each other. Gradients see the numbers of
their forward.
"""

from collections.abc import Sequence
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from fastcnn import config
from fastcnn.errors import Error, OpenDimensionError
from fastcnn.graph import Op, Trace, apply, current_trace, operation, update
from fastcnn.ops import shape as shapes
from fastcnn.ops.activation import SELU_ALPHA, SELU_SCALE
from fastcnn.ops.core import convert
from fastcnn.ops.elementwise import require_floating, where, zeros_like
from fastcnn.tensor import Shape, Tensor, TensorSpec, Variable

__all__ = [
    "RandomState",
    "alpha_dropout",
    "dropout",
    "gaussian_dropout",
    "gaussian_noise",
    "random_bernoulli",
    "random_log_gamma",
    "random_normal",
    "random_uniform",
]


class RandomState(Variable):
    """(seed, step) as int64. seed None: the next one of the process (`set_random_seed`)."""

    is_state: ClassVar[bool] = True  # kept in files, but no weight

    def __init__(self, seed: int | None = None, name: str = "random_state"):
        value = config.next_seed() if seed is None else int(seed) % 2**63
        super().__init__([value, 0], "int64", trainable=False, name=name)
        self._draws: WeakKeyDictionary[Trace, int] = WeakKeyDictionary()

    def next_stream(self) -> int:
        """The number of a draw among those of the function being traced."""
        trace = current_trace()
        if trace is None:
            raise Error(
                "random numbers can be drawn only inside a layer's call, or while a function is traced"
            )
        if trace not in self._draws:
            update(Advance(), self)  # before all draws and their gradients, which must see one step
        self._draws[trace] = self._draws.get(trace, -1) + 1
        return self._draws[trace]


@operation
class Advance(Op):
    """step += 1."""

    mutates = (0,)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.advance.bind(inputs[0])]


# --- fills -----------------------------------------------------------------------------------------------------


@operation
class RandomFill(Op):
    """A tensor of random numbers; `stream` tells draws from one state apart."""

    shape: tuple[int, ...]
    dtype: str
    stream: int

    def infer(self, state: Tensor) -> TensorSpec:
        return TensorSpec(self.shape, self.dtype)

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[None]:
        return (None,)


@operation
class RandomUniform(RandomFill):
    """Uniform in [low, high)."""

    low: float
    high: float

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.random_uniform.bind(outputs[0].reshape(-1), inputs[0], self.stream, self.low, self.high)]


@operation
class RandomNormal(RandomFill):
    """Normally distributed."""

    mean: float
    stddev: float

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.random_normal.bind(outputs[0].reshape(-1), inputs[0], self.stream, self.mean, self.stddev)]


@operation
class RandomBernoulli(RandomFill):
    """`value` with probability 1 - rate, else 0."""

    rate: float
    value: float

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.random_mask.bind(outputs[0].reshape(-1), inputs[0], self.stream, self.rate, self.value)]


@operation
class RandomLogGamma(Op):
    """Logarithms of gamma-distributed numbers, of a shape alpha each."""

    stream: int

    def infer(self, alpha: Tensor, state: Tensor) -> TensorSpec:
        require_floating("random_log_gamma", alpha)
        return alpha.spec

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[None, None]:
        return None, None

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        alpha, state = inputs
        return [k.random_log_gamma.bind(alpha.reshape(-1), outputs[0].reshape(-1), state, self.stream)]


def _draw(
    op: type[RandomFill], state: RandomState, shape: Sequence[int | None], dtype: str | None, *args: float
) -> Any:
    if None in shape:
        raise OpenDimensionError(
            f"{op.__name__}: the shape {tuple(shape)} must be known; draw inside a layer's call"
        )
    values = map(float, args)
    return apply(op(shapes.known(shape), dtype or config.floatx(), state.next_stream(), *values), state)


def random_uniform(
    shape: Sequence[int | None],
    state: RandomState,
    minval: float = 0.0,
    maxval: float = 1.0,
    dtype: str | None = None,
) -> Any:
    """Numbers uniform in [minval, maxval)."""
    return _draw(RandomUniform, state, shape, dtype, minval, maxval)


def random_normal(
    shape: Sequence[int | None],
    state: RandomState,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: str | None = None,
) -> Any:
    """Normally distributed numbers."""
    return _draw(RandomNormal, state, shape, dtype, mean, stddev)


def random_bernoulli(
    shape: Sequence[int | None], state: RandomState, rate: float, value: float = 1.0, dtype: str | None = None
) -> Any:
    """`value` with probability 1 - rate, else 0."""
    return _draw(RandomBernoulli, state, shape, dtype, check_rate("random_bernoulli", rate), value)


def random_log_gamma(alpha: Any, state: RandomState) -> Any:
    """Logarithms of numbers of the gamma distribution with shapes alpha > 0 and scale 1, one for each alpha.

    The softmax of several has the Dirichlet distribution; of two with shapes a and b, the first share is beta(a, b).
    """
    return apply(RandomLogGamma(state.next_stream()), convert(alpha), state)


# --- noise for regularisation ----------------------------------------------------------------------------------


@operation
class Dropout(Op):
    """x / (1 - rate) with probability 1 - rate, else 0, for each element."""

    rate: float
    stream: int

    def infer(self, x: Tensor, state: Tensor) -> TensorSpec:
        require_floating("dropout", x)
        return x.spec

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor | None, ...]:
        return apply(self, grads[0], inputs[1]), None

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, state), (y,) = inputs, outputs
        return [
            k.dropout.bind(x.reshape(-1), y.reshape(-1), state, self.stream, self.rate, kept_scale(self.rate))
        ]


def check_rate(what: str, rate: float) -> float:
    """The share that is dropped, from 0 to 1; `Error` otherwise."""
    if not 0 <= rate <= 1:
        raise Error(f"{what}: rate, the share that is dropped, must lie in [0, 1], got {rate}")
    return float(rate)


def kept_scale(rate: float) -> float:
    """What keeps the mean when a share `rate` of the elements becomes 0."""
    return 1.0 / (1.0 - rate) if rate < 1 else 0.0


def noise_shape_of(x: Tensor, noise_shape: Shape | None) -> Shape:
    """The shape of the mask; None as a dimension: as in x."""
    if noise_shape is None:
        return x.shape
    if len(noise_shape) != x.ndim:
        raise Error(
            f"dropout: noise_shape {tuple(noise_shape)} must have the {x.ndim} dimensions of {x.shape}"
        )
    return tuple(n if m is None else m for n, m in zip(x.shape, noise_shape, strict=True))


def dropout(x: Any, rate: float, state: RandomState, noise_shape: Shape | None = None) -> Any:
    """x with a share `rate` of its elements set to 0, the others divided by 1 - rate.

    noise_shape: that of the mask, which is repeated to that of x: (n, 1, 1, c) drops whole channels.
    """
    x, rate = convert(x), check_rate("dropout", rate)
    shape = noise_shape_of(x, noise_shape)
    if shape == x.shape:
        return apply(Dropout(rate, state.next_stream()), x, state)
    return x * random_bernoulli(shape, state, rate, kept_scale(rate), x.dtype)


def gaussian_noise(x: Any, stddev: float, state: RandomState) -> Any:
    """x + normally distributed noise."""
    x = convert(x)
    return x + random_normal(x.shape, state, 0.0, stddev, x.dtype)


def gaussian_dropout(x: Any, rate: float, state: RandomState) -> Any:
    """x times noise of mean 1 and of the variance rate / (1 - rate), which dropout has."""
    x, rate = convert(x), check_rate("gaussian_dropout", rate)
    if rate == 1:
        raise Error("gaussian_dropout: rate must be below 1, where the noise is infinite")
    return x * random_normal(x.shape, state, 1.0, (rate / (1.0 - rate)) ** 0.5, x.dtype)


def alpha_dropout(x: Any, rate: float, state: RandomState, noise_shape: Shape | None = None) -> Any:
    """x with a share `rate` of its elements set to what SELU saturates at, then moved to mean 0 and variance 1.

    Klambauer et al. 2017, Self-normalizing neural networks.
    """
    x, rate = convert(x), check_rate("alpha_dropout", rate)
    if rate == 1:
        return zeros_like(x)
    low = -SELU_SCALE * SELU_ALPHA
    scale = ((1.0 - rate) * (1.0 + rate * low**2)) ** -0.5
    mask = random_bernoulli(noise_shape_of(x, noise_shape), state, rate, 1.0, x.dtype)
    return where(mask, x, zeros_like(x) + low) * scale - scale * low * rate
