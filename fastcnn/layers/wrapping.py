"""Layers around another layer, and the table of vectors."""

from typing import Any

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.initializers import TruncatedNormal
from fastcnn.layers import arguments, weights
from fastcnn.layers.base import Layer
from fastcnn.layers.normalization import BatchNormalization
from fastcnn.tensor import Shape, Tensor


class Wrapper(Layer):
    """Base of layers that hold another one, `self.layer`, and use it in their `call`."""

    def __init__(self, layer: Any, **kwargs: Any):
        super().__init__(**kwargs)
        if not isinstance(layer, Layer):
            raise Error(f"{type(self).__name__}: expected a layer, got {layer!r}")
        self.layer = layer

    def build(self, input_shape: Any = None) -> None:
        self.layer._build_once(input_shape)
        self.built = True


class TimeDistributed(Wrapper):
    """The same layer at every step of sequences: (batch, steps, ...) -> (batch, steps, what the layer makes of ...).

    The steps are taken as more samples; with batch normalisation inside, in training, they go one after the other,
    each with statistics of its own.
    """

    def build(self, input_shape: Any = None) -> None:
        self.layer._build_once(_one_step(input_shape))
        self.built = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        _one_step(inputs.shape)
        if None in inputs.shape[1:]:
            return self._described(inputs)
        sizes = [n or 0 for n in inputs.shape[1:]]
        if training and any(isinstance(layer, BatchNormalization) for layer in self.layer.layers_inside):
            return ops.stack([self.layer(inputs[:, step]) for step in range(sizes[0])], axis=1)
        y = self.layer(ops.reshape(inputs, (-1, *sizes[1:])))
        return ops.reshape(y, (-1, sizes[0], *y.shape[1:]))

    def _described(self, inputs: Tensor) -> Tensor:
        """A tensor of the output's shape, which is all that is wanted while a functional model is built."""
        y = ops.expand_dims(self.layer(inputs[:, 0]), 1)
        steps = ops.mean(inputs, axis=tuple(range(2, inputs.ndim)))
        return y * ops.expand_dims(steps, tuple(range(2, y.ndim)))


def _one_step(shape: Shape) -> Shape:
    if len(shape) < 3:
        raise Error(f"expected at least 3 dimensions (batch, steps, ...), got shape {shape}")
    return (shape[0], *shape[2:])


class SpectralNormalization(Wrapper):
    """A layer whose kernel is divided by its largest singular value, at each call in training (Miyato et al. 2018).

    The kernel is taken as a matrix (everything else, outputs); `power_iterations` steps bring the estimate of the
    singular vector, the weight `vector_u` (1, outputs), nearer. Gradients take the value as a constant.
    """

    def __init__(self, layer: Any, power_iterations: int = 1, **kwargs: Any):
        super().__init__(layer, **kwargs)
        self.power_iterations = arguments.integer(
            "SpectralNormalization", "power_iterations", power_iterations
        )

    def build(self, input_shape: Any = None) -> None:
        super().build(input_shape)
        self._which = next((name for name in ("kernel", "embeddings") if hasattr(self.layer, name)), "")
        if not self._which:
            raise Error(f"{self.layer.name!r} has neither a kernel nor embeddings to be normalised")
        self.kernel = getattr(self.layer, self._which)
        outputs = self.kernel.shape[-1]
        self.vector_u = self.add_weight(
            (1, outputs), TruncatedNormal(stddev=0.02), trainable=False, name="vector_u"
        )

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training:
            return self.layer(inputs)
        normalized = self._normalize()
        self.kernel.assign(normalized)
        used = self.kernel + ops.stop_gradient(normalized - self.kernel)
        setattr(self.layer, self._which, used)
        try:
            return self.layer(inputs)
        finally:
            setattr(self.layer, self._which, self.kernel)

    def _normalize(self) -> Tensor:
        """kernel / singular value, and a better `vector_u`."""
        matrix = ops.stop_gradient(ops.reshape(self.kernel, (-1, self.kernel.shape[-1])))
        u: Any = self.vector_u
        for _ in range(self.power_iterations):
            v = ops.normalize(ops.matmul(u, ops.transpose(matrix)), epsilon=1e-12)
            u = ops.normalize(ops.matmul(v, matrix), epsilon=1e-12)
        value = ops.sum(ops.matmul(v, matrix) * u)
        self.vector_u.assign(u)
        return ops.stop_gradient(self.kernel) / value


class Embedding(Layer):
    """y[...] = embeddings[x[...]]: a learned vector for each whole number from 0 to input_dim - 1.

    embeddings (input_dim, output_dim). A number out of range gives NaN.
    """

    shows_activity_regularizer = True

    def __init__(
        self,
        input_dim: int,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        **kwargs: Any,
    ):
        values = kwargs.pop("weights", None)
        super().__init__(**kwargs)
        self.input_dim = arguments.integer("Embedding", "input_dim", input_dim)
        self.output_dim = arguments.integer("Embedding", "output_dim", output_dim)
        weights.describe(
            self, "embeddings", embeddings_initializer, embeddings_regularizer, embeddings_constraint
        )
        if mask_zero:
            raise Error("Embedding: mask_zero is not supported; multiply by a mask after the layer")
        self.mask_zero = False
        if values is not None:
            self.build(None)
            self.set_weights(values if isinstance(values, list) else [values])

    def build(self, input_shape: Any = None) -> None:
        if not self.built:
            self.embeddings = weights.add(self, "embeddings", (self.input_dim, self.output_dim))

    def call(self, inputs: Tensor) -> Tensor:
        return ops.take(self.embeddings, inputs, axis=0)
