"""Ops that normalise: subtract a mean, divide by a deviation, scale by gamma, shift by beta.

Channels are the last dimension. Variances are biased.
"""

import math
from collections.abc import Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np
from fastcnn_kernels.norm import LARGEST_CHUNK, partial_chunks

from fastcnn import config
from fastcnn.errors import Error
from fastcnn.graph import Fused, Node, Op, apply, operation, update
from fastcnn.ops import reduction
from fastcnn.ops.activation import ActivationGrad, LeakyRelu, Relu, ThresholdRelu
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.elementwise import Add, maximum, rsqrt
from fastcnn.ops.shape import (
    broadcast_to,
    expand_dims,
    known,
    normalize_axes,
    normalize_axis,
    product,
    ravel,
    require_same_dtype,
    reshape,
    swapaxes,
    transpose,
)
from fastcnn.tensor import Constant, Tensor, TensorSpec, Variable

__all__ = [
    "batch_normalization",
    "batch_normalization_training",
    "group_normalization",
    "layer_normalization",
    "normalize",
    "update_moving_average",
]

View = tuple[int, int, int]  # (m, r, c): statistics are taken over r, separately for m and c


@operation
class Rectified(Op):
    """What plans add to a normalisation: y = min(v, upper) where v > 0, else slope v; v the normalised x + residual.

    The residual is one more input, the last.
    """

    slope: float = field(default=1.0, kw_only=True)
    upper: float = field(default=math.inf, kw_only=True)
    residual: bool = field(default=False, kw_only=True)

    @property
    def is_linear(self) -> bool:
        """Whether nothing has been added yet."""
        return not self.residual and (self.slope, self.upper) == (1.0, math.inf)

    def absorb(self, node: Node, reader: Node) -> Fused | None:
        """An addition, then a ReLU."""
        if (self.slope, self.upper) != (1.0, math.inf):
            return None
        if isinstance(reader.operation, Add) and not self.residual:
            (other,) = [x for x in reader.inputs if x is not node.outputs[0]]
            return replace(self, residual=True), [*node.inputs, other]
        bounds = rectifier(reader.operation)
        return None if bounds is None else (replace(self, slope=bounds[0], upper=bounds[1]), node.inputs)

    def split(self, inputs: Sequence[Any]) -> tuple[Sequence[Any], Any]:
        """(the inputs that are always there, the residual as three dimensions, empty if there is none)."""
        if self.residual:
            return inputs[:-1], inputs[-1].reshape(1, -1, inputs[-1].shape[-1])
        return inputs, np.empty((0, 0, 0), inputs[0].dtype)


def rectifier(operation: Op) -> tuple[float, float] | None:
    """(slope, upper bound) of a kind of ReLU that bends at zero; None of other ops."""
    match operation:
        case Relu():
            return 0.0, math.inf
        case LeakyRelu(slope=slope):
            return slope, math.inf
        case ThresholdRelu(max_value=upper, slope=slope, threshold=0.0):
            return slope, math.inf if upper is None else upper
    return None


@operation
class BatchNorm(Rectified):
    """(y, mean, variance) of x (..., c): y = gamma (x - mean) / sqrt(variance + epsilon) + beta.

    Mean and variance (c,) are this batch's, over all dimensions but the last (Ioffe & Szegedy 2015).
    """

    epsilon: float

    def infer(self, x: Tensor, gamma: Tensor, beta: Tensor, *residual: Tensor) -> tuple[TensorSpec, ...]:
        check_channels(self.name, x, gamma, beta)
        statistics = TensorSpec(self.statistics_shape(x.shape), x.dtype)
        return x.spec, statistics, statistics

    def statistics_shape(self, shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return (shape[-1],)

    def view(self, shape: Sequence[int | None]) -> View:
        """x as (m, r, c)."""
        *rest, c = known(shape)
        return 1, math.prod(rest), c

    def group_count(self, c: int) -> int:
        """Channels of a group share their statistics."""
        return c

    def partial(self, kernel: Any, x: TensorSpec) -> TensorSpec:
        """Scratch for a pair of numbers of each chunk of rows and channel: what the kernel writes."""
        m, _, c = view = self.view(x.shape)
        return TensorSpec((m, kernel.parts(view, x.dtype), 2, c), "float64")

    def gradient(
        self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], grads: Any
    ) -> tuple[Tensor | None, ...]:
        (x, gamma, beta), (_, mean, variance), (dy, dmean, dvariance) = inputs, outputs, grads
        dx: Tensor | None = None
        dgamma = dbeta = None
        if dy is not None:
            dx, dgamma, dbeta = apply(self.grad_op(), x, dy, mean, variance, gamma, beta)
        for term in self.statistics_terms(x, mean, dmean, dvariance):
            dx = term if dx is None else dx + term
        return dx, dgamma, dbeta

    def grad_op(self) -> "BatchNormGrad":
        return BatchNormGrad(self.epsilon)

    def parts(self, inputs: Sequence[Tensor], by_image: bool) -> Sequence[Tensor] | None:
        x, gamma, beta, *residual = inputs
        moments = apply(BatchMoments(by_image), x)
        mean, variance = apply(BatchStatistics(math.prod(known(x.shape[:-1]))), moments, gamma)
        rectified = BatchNormInference(
            self.epsilon, slope=self.slope, upper=self.upper, residual=self.residual
        )
        y = apply(rectified, x, mean, variance, gamma, beta, *residual)
        return y, mean, variance

    def statistics_terms(self, x: Tensor, mean: Tensor, dmean: Any, dvariance: Any) -> list[Tensor]:
        """What dx gets where the statistics themselves are used: d mean = 1 / r, d variance = 2 (x - mean) / r."""
        rows, terms = self.view(x.shape)[1], []
        if dmean is not None:
            terms.append(broadcast_to(dmean * (1.0 / rows), x.shape))
        if dvariance is not None:
            terms.append((x - mean) * (dvariance * (2.0 / rows)))
        return terms

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return [self.partial(k.batch_norm_moments, inputs[0])]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        ((x, gamma, beta), residual), (y, mean, variance), (partial,) = self.split(inputs), outputs, scratch
        m, r, c = view = self.view(x.shape)
        rectifier = float(self.slope), float(self.upper)
        x, y, mean, variance = x.reshape(view), y.reshape(view), mean.reshape(m, c), variance.reshape(m, c)
        return [
            k.batch_norm_moments.bind(x, partial),
            k.batch_norm_statistics.bind(partial, mean, variance, r, self.group_count(c)),
            k.batch_norm_forward.bind(
                x, mean, variance, gamma, beta, residual, y, float(self.epsilon), *rectifier
            ),
        ]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 7 * inputs[0].size


@operation
class BatchNormGrad(BatchNorm):
    """(dx, dgamma, dbeta) of a `BatchNorm` from x, dy, its statistics, gamma and beta."""

    def infer(self, *inputs: Tensor) -> tuple[TensorSpec, ...]:
        x, _, _, _, gamma, beta = inputs
        return x.spec, gamma.spec, beta.spec

    def absorb(self, node: Node, reader: Node) -> Fused | None:
        return None

    def parts(self, inputs: Sequence[Tensor], by_image: bool) -> Sequence[Tensor] | None:
        if not by_image:
            return None
        x, dy, mean, variance, gamma, beta = inputs
        rectifier, rows = (self.slope, self.upper), math.prod(known(x.shape[:-1]))
        partial = apply(BatchNormSums(self.epsilon, *rectifier), *inputs)
        dgamma, dbeta, coefficients = apply(
            BatchNormCoefficients(self.epsilon, rows), partial, variance, gamma
        )
        dx = apply(BatchNormInputGrad(*rectifier), x, dy, mean, beta, coefficients)
        return dx, dgamma, dbeta

    def absorb_source(self, node: Node, source: Node) -> Fused | None:
        """The gradient of the ReLU that the normalisation has absorbed: the sign of its input is that of v."""
        x, dy, mean, *rest = node.inputs
        if not isinstance(source.operation, ActivationGrad) or dy is not source.outputs[0]:
            return None
        dz, z = source.inputs
        forward = mean.node  # the normalisation
        if forward is None or z is not forward.outputs[0] or forward.operation.residual:
            return None
        bounds = rectifier(source.operation.activation)
        if bounds != (forward.operation.slope, forward.operation.upper):
            return None
        return replace(self, slope=bounds[0], upper=bounds[1]), [x, dz, mean, *rest]

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        m, _, c = self.view(inputs[0].shape)
        return [self.partial(k.batch_norm_sums, inputs[0]), TensorSpec((m, 3, c), inputs[0].dtype)]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, dy, mean, variance, gamma, beta), (dx, dgamma, dbeta) = inputs, outputs
        (partial, coefficients), rectifier = scratch, (float(self.slope), float(self.upper))
        m, r, c = view = self.view(x.shape)
        x, dy, dx = x.reshape(view), dy.reshape(view), dx.reshape(view)
        mean, variance, epsilon = mean.reshape(m, c), variance.reshape(m, c), float(self.epsilon)
        groups, sums = self.group_count(c), (partial, variance, gamma)
        if (m, groups) == (1, c):
            gradients = [k.batch_norm_gradients.bind(*sums, dgamma, dbeta, coefficients, r, epsilon)]
        else:
            gradients = [
                k.batch_norm_backward_weights.bind(partial, dgamma, dbeta),
                k.batch_norm_coefficients.bind(*sums, coefficients, r, groups, epsilon),
            ]
        return [
            k.batch_norm_sums.bind(x, dy, mean, variance, gamma, beta, partial, epsilon, *rectifier),
            *gradients,
            k.batch_norm_backward_input.bind(x, dy, mean, beta, coefficients, dx, *rectifier),
        ]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 9 * inputs[0].size


# --- the parts of batch normalisation: those that go over the data can be executed image by image --------------


def chunk_of_images(shape: Sequence[int | None]) -> int:
    """How many images' sums are taken together: the most that divide the batch and make no more than a chunk."""
    n, *rest = known(shape)
    most = max(1, LARGEST_CHUNK // max(1, math.prod(rest)))
    return max(d for d in range(1, min(n, most) + 1) if n % d == 0)


def partial_sums(x: Tensor, whole_images: bool = True) -> TensorSpec:
    """A pair of numbers of each chunk of rows, or of images, and channel."""
    *rest, c = known(x.shape)
    chunks = rest[0] // chunk_of_images(x.shape) if whole_images else partial_chunks(1, math.prod(rest), c)
    return TensorSpec((chunks, 2, c), "float64")


def in_chunks(arrays: Sequence[Any], partial: Any) -> tuple[list[Any], Any]:
    """The arrays and the partial sums as kernels want them: (chunks, rows, c) and (chunks, 1, 2, c)."""
    chunks, c = partial.shape[0], partial.shape[-1]
    return [array.reshape(chunks, -1, c) for array in arrays], partial.reshape(chunks, 1, 2, c)


@operation
class BatchMoments(Op):
    """Mean and sum of squared differences from it, of each chunk and channel.  x (n, ..., c); see `partial_sums`."""

    whole_images: bool
    narrow = True

    def infer(self, x: Tensor) -> TensorSpec:
        return partial_sums(x, self.whole_images)

    def by_image(self, inputs: Sequence[Any], outputs: Any) -> Sequence[int] | None:
        return (0,) if self.whole_images else None

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        x, partial = inputs[0], outputs[0]
        if self.whole_images:
            (x,), partial = in_chunks([x], partial)
        else:
            x, partial = x.reshape(1, -1, x.shape[-1]), partial[None]
        return [k.batch_norm_moments.bind(x, partial)]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 4 * inputs[0].size


@operation
class BatchStatistics(Op):
    """(mean, variance) (c,) over `rows` rows from `BatchMoments`, in the dtype of gamma."""

    rows: int

    def infer(self, partial: Tensor, gamma: Tensor) -> tuple[TensorSpec, ...]:
        return gamma.spec, gamma.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        partial, (mean, variance) = inputs[0][None], outputs
        return [k.batch_norm_statistics.bind(partial, mean[None], variance[None], self.rows, mean.size)]


@operation
class BatchNormSums(Op):
    """Sums of dv and of dv xhat, of each chunk of images and channel; dv the gradient behind the rectifier."""

    epsilon: float
    slope: float
    upper: float
    images = (0, 1)
    narrow = True

    def infer(self, x: Tensor, *others: Tensor) -> TensorSpec:
        return partial_sums(x)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        x, dy, mean, variance, gamma, beta = inputs
        (x, dy), partial = in_chunks((x, dy), outputs[0])
        constants = float(self.epsilon), float(self.slope), float(self.upper)
        return [k.batch_norm_sums.bind(x, dy, mean[None], variance[None], gamma, beta, partial, *constants)]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 6 * inputs[0].size


@operation
class BatchNormCoefficients(Op):
    """(dgamma, dbeta, the numbers that make dx of dy) from the sums over `rows` rows."""

    epsilon: float
    rows: int

    def infer(self, partial: Tensor, variance: Tensor, gamma: Tensor) -> tuple[TensorSpec, ...]:
        return gamma.spec, gamma.spec, TensorSpec((3, known(gamma.shape)[0]), gamma.dtype)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (partial, variance, gamma), (dgamma, dbeta, coefficients) = inputs, outputs
        sums, gradients = (partial[None], variance[None], gamma), (dgamma, dbeta, coefficients[None])
        return [k.batch_norm_gradients.bind(*sums, *gradients, self.rows, float(self.epsilon))]


@operation
class BatchNormInputGrad(Op):
    """dx from x, dy and the coefficients."""

    slope: float
    upper: float
    images = (0, 1)

    def infer(self, x: Tensor, *others: Tensor) -> TensorSpec:
        return x.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        x, dy, mean, beta, coefficients = inputs
        x, dy, dx = (array.reshape(1, -1, mean.size) for array in (x, dy, outputs[0]))
        rectifier = float(self.slope), float(self.upper)
        return [k.batch_norm_backward_input.bind(x, dy, mean[None], beta, coefficients[None], dx, *rectifier)]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 6 * inputs[0].size


@operation
class GroupNorm(BatchNorm):
    """(y, mean, variance) of x (n, ..., c), statistics (n, c) over each image and group of c / groups neighbouring
    channels (Wu & He 2018)."""

    groups: int

    def statistics_shape(self, shape: Sequence[int | None]) -> tuple[int | None, ...]:
        return shape[0], shape[-1]

    def view(self, shape: Sequence[int | None]) -> View:
        n, *rest, c = known(shape)
        return n, math.prod(rest), c

    def group_count(self, c: int) -> int:
        return self.groups

    def grad_op(self) -> "BatchNormGrad":
        return GroupNormGrad(self.epsilon, self.groups)

    def parts(self, inputs: Sequence[Tensor], by_image: bool) -> Sequence[Tensor] | None:
        return None

    def statistics_terms(self, x: Tensor, mean: Tensor, dmean: Any, dvariance: Any) -> list[Tensor]:
        if dmean is not None or dvariance is not None:
            raise Error("group_normalization: its statistics have no gradient; compute them with ops.moments")
        return []


@operation
class GroupNormGrad(BatchNormGrad):
    """(dx, dgamma, dbeta) of a `GroupNorm` from x, dy, its statistics and gamma."""

    groups: int
    view = GroupNorm.view
    group_count = GroupNorm.group_count
    parts = GroupNorm.parts


@operation
class BatchNormInference(Rectified):
    """y = gamma (x - mean) / sqrt(variance + epsilon) + beta.  x (..., c), the others (c,) and given."""

    epsilon: float

    @property
    def cheap(self) -> bool:  # type: ignore[override]
        return not self.residual

    def by_image(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Sequence[int] | None:
        return (0, 5) if self.residual else (0,)

    def infer(
        self, x: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, beta: Tensor, *residual: Tensor
    ) -> TensorSpec:
        check_channels("batch_normalization", x, mean, variance, gamma, beta)
        return x.spec

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        (x, mean, variance, gamma, beta), (dy,) = inputs, grads
        dx = apply(BatchNormInferenceGrad(self.epsilon), dy, variance, gamma)
        dgamma, dbeta = apply(BatchNormWeightsGrad(self.epsilon), x, dy, mean, variance, gamma, beta)
        scale = (variance + self.epsilon) ** -0.5
        return dx, -(gamma * scale * dbeta), gamma * scale * scale * dgamma * -0.5, dgamma, dbeta

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, mean, variance, gamma, beta), residual = self.split(inputs)
        view = (1, -1, x.shape[-1])
        x, y, mean, variance = x.reshape(view), outputs[0].reshape(view), mean[None], variance[None]
        constants = float(self.epsilon), float(self.slope), float(self.upper)
        return [k.batch_norm_forward.bind(x, mean, variance, gamma, beta, residual, y, *constants)]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 3 * inputs[0].size


@operation
class BatchNormInferenceGrad(Op):
    """dx = gamma dy / sqrt(variance + epsilon)."""

    epsilon: float
    images = (0,)

    def infer(self, dy: Tensor, variance: Tensor, gamma: Tensor) -> TensorSpec:
        return dy.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        dy, variance, gamma = inputs
        view = (1, -1, dy.shape[-1])
        dy, dx = dy.reshape(view), outputs[0].reshape(view)
        return [k.batch_norm_frozen_backward_input.bind(dy, variance[None], gamma, dx, float(self.epsilon))]


@operation
class BatchNormWeightsGrad(Op):
    """dgamma = sum of dy (x - mean) / sqrt(variance + epsilon), dbeta = sum of dy, over all dimensions but the last."""

    epsilon: float

    def infer(self, x: Tensor, dy: Tensor, *channels: Tensor) -> tuple[TensorSpec, ...]:
        return channels[0].spec, channels[0].spec

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return [BatchNorm(self.epsilon).partial(k.batch_norm_sums, inputs[0])]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, dy, mean, variance, gamma, beta), (dgamma, dbeta), (partial,) = inputs, outputs, scratch
        view = (1, -1, x.shape[-1])
        x, dy, mean, variance = x.reshape(view), dy.reshape(view), mean[None], variance[None]
        constants = float(self.epsilon), 1.0, math.inf
        return [
            k.batch_norm_sums.bind(x, dy, mean, variance, gamma, beta, partial, *constants),
            k.batch_norm_backward_weights.bind(partial, dgamma, dbeta),
        ]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 4 * inputs[0].size


def check_channels(what: str, x: Tensor, *values: Tensor) -> None:
    """Every one of `values` must have one number for each channel of x, in its dtype."""
    require_same_dtype(what, x, *values)
    if x.ndim < 2 or x.shape[-1] is None:
        raise Error(
            f"{what}: expected a tensor of shape (batch, ..., channels) with known channels, got {x.shape}"
        )
    for value in values:
        if value.shape != (x.shape[-1],):
            raise Error(
                f"{what}: expected {x.shape[-1]} numbers, one for each channel of {x.shape}, got {value.shape}"
            )


def _weights(value: Any, missing: float, length: int, x: Tensor) -> Tensor:
    """gamma or beta as one dimension; None stands for all `missing`."""
    if value is None:
        return Constant(np.full(length, missing, x.dtype))
    weights = convert(value, x.dtype)
    return weights if weights.ndim == 1 else ravel(weights)


def _channels(x: Tensor, what: str) -> int:
    if x.ndim < 2 or x.shape[-1] is None:
        raise Error(
            f"{what}: expected a tensor of shape (batch, ..., channels) with known channels, got {x.shape}"
        )
    return x.shape[-1]


@op_function
def batch_normalization(
    x: Any,
    mean: Any,
    variance: Any,
    axis: int = -1,
    offset: Any = None,
    scale: Any = None,
    epsilon: float = 1e-3,
) -> Any:
    """scale (x - mean) / sqrt(variance + epsilon) + offset along `axis`, with given statistics.

    None: scale is 1, offset is 0.
    """
    x = convert(x)
    axis = normalize_axis(axis, x.ndim, "batch_normalization")
    if axis != x.ndim - 1:
        y = batch_normalization(swapaxes(x, axis, -1), mean, variance, -1, offset, scale, epsilon)
        return swapaxes(y, axis, -1)
    c = _channels(x, "batch_normalization")
    statistics = _weights(mean, 0.0, c, x), _weights(variance, 1.0, c, x)
    return apply(
        BatchNormInference(epsilon), x, *statistics, _weights(scale, 1.0, c, x), _weights(offset, 0.0, c, x)
    )


@op_function
def batch_normalization_training(x: Any, scale: Any = None, offset: Any = None, epsilon: float = 1e-3) -> Any:
    """(y, mean, variance): x (..., c) normalised with its own statistics (c,)."""
    x = convert(x)
    c = _channels(x, "batch_normalization_training")
    return apply(BatchNorm(epsilon), x, _weights(scale, 1.0, c, x), _weights(offset, 0.0, c, x))


@op_function
def group_normalization(
    x: Any, groups: int, gamma: Any = None, beta: Any = None, epsilon: float = 1e-3
) -> Any:
    """x (n, ..., c) normalised over each image and group of c / groups channels; groups -1: each channel alone."""
    x = convert(x)
    c = _channels(x, "group_normalization")
    count = c if groups == -1 else groups
    if count < 1 or c % count:
        raise Error(f"group_normalization: groups must divide the {c} channels, got {groups}")
    y, _, _ = apply(GroupNorm(epsilon, count), x, _weights(gamma, 1.0, c, x), _weights(beta, 0.0, c, x))
    return y


# --- over the last dimension ---------------------------------------------------------------------------------


@operation
class LayerNorm(Op):
    """(y, mean, scale) of x (..., c): y = gamma (x - mean) scale + beta, scale = 1 / sqrt(variance + epsilon).

    Statistics are taken over the last dimension (Ba et al. 2016).
    """

    epsilon: float

    def infer(self, x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[TensorSpec, ...]:
        check_channels("layer_normalization", x, gamma, beta)
        statistics = TensorSpec(x.shape[:-1], x.dtype)
        return x.spec, statistics, statistics

    def gradient(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], grads: Any) -> tuple[Tensor, ...]:
        (x, gamma, _), (_, mean, scale) = inputs, outputs
        dx = apply(LayerNormGrad(), x, grads[0], gamma, mean, scale)
        return dx, *apply(LayerNormWeightsGrad(), x, grads[0], mean, scale)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, gamma, beta), (y, mean, scale) = inputs, outputs
        x, y = x.reshape(-1, x.shape[-1]), y.reshape(-1, x.shape[-1])
        flat = mean.reshape(-1), scale.reshape(-1)
        return [k.layer_norm_forward.bind(x, gamma, beta, y, *flat, float(self.epsilon))]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 7 * inputs[0].size


@operation
class LayerNormGrad(Op):
    """dx of a `LayerNorm`."""

    def infer(self, x: Tensor, dy: Tensor, gamma: Tensor, mean: Tensor, scale: Tensor) -> TensorSpec:
        return x.spec

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor | None, ...]:
        """With v = x normalised, g = gamma dy, u what comes in, and P h = h - mean(h) - v mean(v h), dx is scale P g.

        What mean and scale change with x is in the gradient for x.
        """
        x, dy, gamma, mean, scale = inputs
        (u,) = grads
        mean, scale = expand_dims(mean, -1), expand_dims(scale, -1)
        v, g = (x - mean) * scale, gamma * dy

        def average(h: Tensor) -> Tensor:
            found: Tensor = reduction.mean(h, -1, keepdims=True)
            return found

        def project(h: Tensor) -> Tensor:
            return h - average(h) - v * average(v * h)

        pu = scale * project(u)
        to_x = v * average(u * project(g)) + project(average(v * u) * g + average(v * g) * u)
        rows = tuple(range(x.ndim - 1))
        return -1.0 * scale * scale * to_x, gamma * pu, reduction.sum(dy * pu, rows), None, None

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        x, dy, gamma, mean, scale = inputs
        x, dy, dx = (values.reshape(-1, x.shape[-1]) for values in (x, dy, outputs[0]))
        return [k.layer_norm_backward_input.bind(x, dy, gamma, mean.reshape(-1), scale.reshape(-1), dx)]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 9 * inputs[0].size


@operation
class LayerNormWeightsGrad(Op):
    """(dgamma, dbeta) of a `LayerNorm`."""

    def infer(self, x: Tensor, dy: Tensor, mean: Tensor, scale: Tensor) -> tuple[TensorSpec, ...]:
        spec = TensorSpec(x.shape[-1:], x.dtype)
        return spec, spec

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return [BatchNorm(0.0).partial(k.layer_norm_sums, inputs[0])]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, dy, mean, scale), (dgamma, dbeta), (partial,) = inputs, outputs, scratch
        x, dy = x.reshape(-1, x.shape[-1]), dy.reshape(-1, x.shape[-1])
        return [
            k.layer_norm_sums.bind(x, dy, mean.reshape(-1), scale.reshape(-1), partial),
            k.batch_norm_backward_weights.bind(partial, dgamma, dbeta),
        ]

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 4 * inputs[0].size


@op_function
def layer_normalization(
    x: Any, gamma: Any = None, beta: Any = None, axis: int | Sequence[int] = -1, epsilon: float | None = None
) -> Any:
    """x normalised over `axis`; gamma and beta have the shape of x along it (None: ones, zeros).

    epsilon: added to the variance; default, that of the configuration.
    """
    x, epsilon = convert(x), config.epsilon() if epsilon is None else epsilon
    axes = normalize_axes(axis, x.ndim, "layer_normalization")
    length = product([x.shape[i] for i in axes])
    if length is None or len(axes) == x.ndim:
        raise Error(
            f"layer_normalization: axis {axis} of shape {x.shape} must be known and leave a batch dimension"
        )
    rest = [i for i in range(x.ndim) if i not in axes]
    moved = transpose(x, [*rest, *axes])
    merged = reshape(moved, (*[None] * len(rest), length))
    y, _, _ = apply(
        LayerNorm(epsilon), merged, _weights(gamma, 1.0, length, x), _weights(beta, 0.0, length, x)
    )
    y = reshape(y, (*[None] * len(rest), *known([x.shape[i] for i in axes])))
    return transpose(y, [[*rest, *axes].index(i) for i in range(x.ndim)])


@op_function
def normalize(x: Any, axis: int | Sequence[int] = -1, order: int = 2, epsilon: float | None = None) -> Any:
    """x / max(|x|, epsilon) with the Euclidean length |x| along `axis`; epsilon None: the fuzz factor."""
    if order != 2:
        raise Error(f"normalize: only order 2, the Euclidean length, is supported, got {order!r}")
    x = convert(x)
    smallest = config.epsilon() if epsilon is None else epsilon
    return x * rsqrt(maximum(reduction.sum(x * x, axis, keepdims=True), smallest * smallest))


# --- moving statistics ---------------------------------------------------------------------------------------


@operation
class MovingAverage(Op):
    """moving = momentum moving + (1 - momentum) value, in place, when the traced function runs."""

    momentum: float
    mutates = (1,)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        value, moving = inputs
        return [k.moving_average_update.bind(value.reshape(-1), moving.reshape(-1), float(self.momentum))]


def update_moving_average(moving: Variable, value: Tensor, momentum: float) -> None:
    """Let every run of the function being traced move `moving` a step of 1 - momentum towards `value`."""
    require_same_dtype("update_moving_average", moving, value)
    if moving.shape != value.shape:
        raise Error(f"update_moving_average: {moving.path} has shape {moving.shape}, the value {value.shape}")
    update(MovingAverage(momentum), value, moving)
