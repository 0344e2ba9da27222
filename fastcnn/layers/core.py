"""The inputs of models, fully connected layers, and functions as layers."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastcnn import activations, config, ops
from fastcnn.errors import Error
from fastcnn.graph import Node
from fastcnn.layers import weights
from fastcnn.layers.arguments import check_size, integer, known_size
from fastcnn.layers.base import Layer
from fastcnn.registry import deserialize, serialize
from fastcnn.tensor import Shape, Tensor, TensorSpec


class InputLayer(Layer):
    """Where a model begins: one tensor, given as data. `Input()` makes one and returns its tensor.

    shape: of one sample, None where it varies; batch_shape: the same with the batch size in front.
    dtype: images of integers are fed as floating-point numbers, so an integer dtype means `floatx()`.
    """

    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        sparse: bool | None = None,
        ragged: bool | None = None,
        batch_shape: Any = None,
        input_tensor: Tensor | None = None,
        optional: bool = False,
        name: str | None = None,
        **kwargs: Any,
    ):
        if sparse or ragged or optional or input_tensor is not None:
            raise Error("Input: sparse, ragged, optional and input_tensor are not supported; give a shape")
        super().__init__(name=name, dtype=_floating(dtype), **kwargs)
        shape = self.given_input_shape if shape is None else shape
        self.batch_shape = _batch_shape(shape, batch_size, batch_shape)
        node = Node(self, [], [TensorSpec(self.batch_shape, self.dtype)])
        node.outputs[0].name = self.name
        self._calls.append(node)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        return inputs

    def get_config(self) -> dict[str, Any]:
        return {"batch_shape": self.batch_shape, "dtype": self.dtype, "name": self.name}


def _floating(dtype: Any) -> str:
    name = str(np.dtype(dtype)) if dtype is not None else config.floatx()
    return name if name in config.FLOAT_TYPES else config.floatx()


def _batch_shape(shape: Any, batch_size: int | None, batch_shape: Any) -> Shape:
    """The shape with the batch, from either way of stating it."""
    if (shape is None) == (batch_shape is None):
        raise Error("Input: give either shape, without the batch, or batch_shape, e.g. Input((28, 28, 1))")
    if batch_shape is not None and batch_size is not None:
        raise Error("Input: batch_shape holds the batch size already; leave out batch_size")
    whole = batch_shape if batch_shape is not None else (batch_size, *_as_tuple(shape))
    return tuple(None if n is None else integer("Input", "shape", n) for n in _as_tuple(whole))


def _as_tuple(shape: Any) -> tuple[Any, ...]:
    return tuple(shape) if isinstance(shape, list | tuple) else (shape,)


def Input(  # noqa: N802  (Keras's name)
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    sparse: bool | None = None,
    ragged: bool | None = None,
    batch_shape: Any = None,
    name: str | None = None,
    tensor: Tensor | None = None,
    optional: bool = False,
) -> Tensor:
    """A symbolic tensor that stands for the data a model will be given: `Input((28, 28, 1))`.

    shape: of one sample, without the batch; None where it varies.
    """
    layer = InputLayer(shape, batch_size, dtype, sparse, ragged, batch_shape, tensor, optional, name)
    return layer._calls[0].outputs[0]


class Dense(Layer):
    """y = activation(x kernel + bias).  x (..., in) -> (..., units); kernel (in, units), bias (units,)."""

    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(activity_regularizer=activity_regularizer, **kwargs)
        self.units = integer(type(self).__name__, "units", units)
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        weights.describe(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        weights.describe(self, "bias", bias_initializer, bias_regularizer, bias_constraint)

    def build(self, input_shape: Shape) -> None:
        _check_has_features(input_shape)
        self.kernel = weights.add(self, "kernel", (known_size(input_shape, -1, "features"), self.units))
        self.bias = weights.add(self, "bias", (self.units,)) if self.use_bias else None
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        _check_has_features(inputs.shape)
        check_size(inputs.shape, -1, self.kernel.shape[0] or 0, "features")
        return self.activation(ops.dense(inputs, self.kernel, self.bias))


def _check_has_features(shape: Shape) -> None:
    if len(shape) < 2:
        raise Error(f"expected (batch, ..., features), got shape {shape}; add an axis, e.g. x[:, None]")


class Activation(Layer):
    """activation(x), of any shape. activation: a name, or a function written with `fastcnn.ops`."""

    def __init__(self, activation: Any, **kwargs: Any):
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, inputs: Tensor) -> Tensor:
        return self.activation(inputs)


class Identity(Layer):
    """The inputs themselves."""

    def call(self, inputs: Any) -> Any:
        return inputs


class Lambda(Layer):
    """function(inputs, **arguments), a function written with `fastcnn.ops` as a layer.

    To be saved with a model, the function needs a name; a lambda has none. output_shape is inferred, whatever
    is given. A function with an argument `training` is told the mode.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Any = None,
        mask: Any = None,
        arguments: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if not callable(function):
            raise Error(f"Lambda: expected a function of tensors, got {function!r}")
        if mask is not None:
            raise Error("Lambda: masks are not supported; multiply by a mask in the function")
        self.function = deserialize(None, function)  # remembers its name, for saving
        self.arguments = dict(arguments or {})

    def call(self, inputs: Any, training: bool = False) -> Any:
        wants_mode = "training" in inspect.signature(self.function).parameters
        mode = {"training": training} if wants_mode else {}
        return self.function(inputs, **{**mode, **self.arguments})

    def get_config(self) -> dict[str, Any]:
        """As for every layer; `output_shape` is left out, being what the layer infers."""
        names = ("function", "arguments", "trainable", "dtype", "name")
        return {name: serialize(getattr(self, name)) for name in names}
