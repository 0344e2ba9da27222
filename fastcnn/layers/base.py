"""Layer: weights, and a `call` written with `fastcnn.ops`."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar

import numpy as np

from fastcnn import config
from fastcnn.errors import Error
from fastcnn.graph import Node, Trace, current_trace, tracing
from fastcnn.plan.function import Function
from fastcnn.registry import Configurable, auto_name, deserialize
from fastcnn.tensor import Shape, Tensor, Variable


class Layer(Configurable):
    """Base of all layers. A layer of your own is `add_weight` in `build(input_shape)` and `call(self, x)`.

    name: unique name, by default the class's in snake case, numbered; trainable: whether the weights are
    updated by training; dtype: of weights and computation, by default `config.floatx()`;
    activity_regularizer: a penalty on the outputs, a mean over samples, added to the loss; input_shape: without
    the batch, for the first layer of a Sequential.
    """

    kind: ClassVar[str] = "layer"
    structure_version = 0  # grows when a layer is frozen or thawed anywhere, so that plans are made anew

    def __init__(
        self, *, activity_regularizer: Any = None, trainable: bool = True, dtype: Any = None, name: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        self._variables: list[Variable] = []
        self._sublayers: list[Layer] = []
        self._added_losses: list[Any] = []
        self._calls: list[Node] = []  # its nodes in functional models
        self._functions: dict[bool, Function] = {}
        super().__init__()
        self.name = name or auto_name(type(self).__name__)
        self.built = False
        self._trainable = bool(trainable)
        self.dtype = str(np.dtype(dtype)) if dtype is not None else config.floatx()
        self.activity_regularizer = (
            deserialize("regularizer", activity_regularizer) if activity_regularizer else None
        )
        self.given_input_shape = _input_shape_argument(type(self), self.name, kwargs)

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "build" in vars(cls):
            cls.build = _whole_build(cls.build)  # type: ignore[method-assign]

    # --- attributes that are layers or weights belong to the layer -------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("_variables", "_sublayers", "_calls", "_constructor_call") and _holds_state(value):
            if "_variables" not in self.__dict__:
                raise Error(
                    f"{type(self).__name__}: call super().__init__() before assigning layers to self.{name}"
                )
            self._track(value)
        super().__setattr__(name, value)

    def _track(self, value: Any) -> None:
        if isinstance(value, Variable):
            if not any(v is value for v in self._variables):
                self._variables.append(value)
        elif isinstance(value, Layer):
            if not any(layer is value for layer in self._sublayers):
                self._sublayers.append(value)
        elif isinstance(value, Mapping):
            for item in value.values():
                self._track(item)
        elif isinstance(value, list | tuple):
            for item in value:
                self._track(item)

    # --- weights ---------------------------------------------------------------------------------------------

    def add_weight(
        self, shape: Any = None, initializer: Any = None, dtype: Any = None, trainable: bool = True,
        autocast: bool = True, regularizer: Any = None, constraint: Any = None, aggregation: Any = None,
        name: str | None = None,
    ) -> Variable:  # fmt: skip
        """A new weight of this layer. initializer: default `glorot_uniform`."""
        if isinstance(shape, str):  # add_weight("kernel", shape=...) of older scripts
            raise Error(
                f"{self.name}: add_weight takes the shape first; write add_weight(shape=..., name={shape!r})"
            )
        shape = () if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
        if any(n is None for n in shape):
            raise Error(
                f"layer {self.name!r}: weight {name!r} cannot have an unknown dimension, shape {shape}"
            )
        initializer = deserialize("initializer", initializer or "glorot_uniform")
        dtype = str(np.dtype(dtype)) if dtype else self.dtype
        name = name or f"variable_{len(self._variables)}"
        variable = Variable(initializer(shape, dtype=dtype), dtype, trainable, name)
        with naming(self.name) as names:
            variable.path = "/".join([*names, variable.name or ""])
        variable.regularizer = deserialize("regularizer", regularizer) if regularizer else None
        variable.constraint = deserialize("constraint", constraint) if constraint else None
        self._track(variable)
        return variable

    def add_loss(self, loss: Any) -> None:
        """Add a scalar tensor, or a function of no arguments that returns one, to what training minimises."""
        trace = current_trace()
        if isinstance(loss, list | tuple):
            for item in loss:
                self.add_loss(item)
        elif isinstance(loss, Tensor) and trace is not None:
            trace.losses.append(loss)
        elif callable(loss):
            self._added_losses.append(loss)
        else:
            raise Error(f"layer {self.name!r}: add_loss takes a tensor inside call(), or a function")

    @property
    def losses(self) -> list[Any]:
        """Penalties on weights and what `add_loss` was given.

        In `call` and `compute_loss` tensors, with those that layers have added so far in this pass; elsewhere the
        present values of the penalties on weights, and of functions given to `add_loss`.
        """
        trace = current_trace()
        found = [v.regularizer(v) for v in self.trainable_weights if v.regularizer is not None]
        found += [loss() for layer in self.layers_inside for loss in layer._added_losses]
        return found + (trace.losses if trace else [])

    @property
    def layers_inside(self) -> Iterator[Layer]:
        """This layer and all layers in it, each once, outer before inner."""
        seen: set[int] = set()
        stack = [self]
        while stack:
            layer = stack.pop(0)
            if id(layer) not in seen:
                seen.add(id(layer))
                yield layer
                stack[:0] = layer._sublayers

    @property
    def variables(self) -> list[Variable]:
        """Everything the layer keeps: weights and random states."""
        found = {id(v): v for layer in self.layers_inside for v in layer._variables}
        return list(found.values())

    @property
    def weights(self) -> list[Variable]:
        """Trainable and non-trainable weights, in the order they were made (random states are not weights)."""
        return [v for v in self.variables if not getattr(v, "is_state", False)]

    @property
    def trainable_weights(self) -> list[Variable]:
        found = {
            id(v): v
            for layer in self._active_layers()
            for v in layer._variables
            if v.trainable and not getattr(v, "is_state", False)
        }
        return list(found.values())

    def _active_layers(self) -> Iterator[Layer]:
        """The layers inside that are not frozen themselves nor by an outer layer."""
        if self._trainable:
            yield self
            for layer in self._sublayers:
                yield from layer._active_layers()

    @property
    def non_trainable_weights(self) -> list[Variable]:
        trainable = {id(v) for v in self.trainable_weights}
        return [v for v in self.weights if id(v) not in trainable]

    trainable_variables = trainable_weights
    non_trainable_variables = non_trainable_weights

    @property
    def trainable(self) -> bool:
        """Whether training updates this layer. Setting it sets all layers inside, at once (no new compile)."""
        return self._trainable

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers_inside:
            layer._trainable = bool(value)
        Layer.structure_version += 1

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights' values."""
        return [v.numpy() for v in self.weights]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Overwrite all weights. Nothing is changed when the number or any shape does not fit."""
        variables = self.weights
        arrays = [np.asarray(w) for w in weights]
        if len(arrays) != len(variables):
            raise Error(
                f"layer {self.name!r}: set_weights got {len(arrays)} arrays for {len(variables)} weights"
            )
        wrong = [
            f"{v.path}: shape {v.shape}, got {a.shape}"
            for v, a in zip(variables, arrays, strict=True)
            if v.shape != a.shape
        ]
        if wrong:
            raise Error(f"layer {self.name!r}: set_weights got arrays that do not fit: " + "; ".join(wrong))
        for variable, array in zip(variables, arrays, strict=True):
            variable.assign(array)

    def count_params(self) -> int:
        """Number of weights' elements."""
        if not self.built:
            raise Error(
                f"layer {self.name!r} has no weights before it is built; call build(input_shape) first"
            )
        return sum(v.value.size for v in self.weights)

    # --- shape -----------------------------------------------------------------------------------------------

    def build(self, input_shape: Any) -> None:
        """Make the weights for inputs of this shape (batch included). Override in your own layer."""
        self.built = True

    def _build_once(self, shapes: Any) -> None:
        if not self.built:
            self.build(shapes)

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer computes, written with `fastcnn.ops`. Override in your own layer."""
        raise Error(f"{type(self).__name__} defines no call()")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Output shape (batch included) for an input shape, or for a list of them."""
        with tracing(Trace(training=False)):  # not a call of the model being built
            outputs = self(_map(input_shape, lambda shape: Tensor(shape, self.dtype), _is_shape))
        return _map(outputs, lambda y: y.shape, lambda y: isinstance(y, Tensor))

    # --- calling ---------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply to tensors (a model is being described or traced) or to arrays (computed now)."""
        if "_variables" not in self.__dict__:
            raise Error(f"{type(self).__name__}: call super().__init__() in the constructor")
        try:
            if current_trace() is not None:
                return self._call_in_trace(args, kwargs)
            if any(True for _ in tensors_in((args, kwargs))):
                return self._call_symbolically(args, kwargs)
            return self._call_now(args, kwargs)
        except Error as error:
            raise error.at(f"layer {self.name!r} ({type(self).__name__})") from error.__cause__

    def _call_in_trace(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        trace = current_trace()
        assert trace is not None
        self._build_once(_shapes(args[0]) if args else None)
        outer = trace.training
        if kwargs.get("training") is not None:
            trace.training = bool(kwargs["training"])
        trace.scopes.append(self.name)
        try:
            outputs = self.call(*args, **self._call_arguments(kwargs, trace.training))
            self._penalise_activity(outputs)
            return outputs
        finally:
            trace.scopes.pop()
            trace.training = outer

    def _call_arguments(self, kwargs: dict[str, Any], training: bool) -> dict[str, Any]:
        kwargs = {name: value for name, value in kwargs.items() if name not in ("training", "mask")}
        return {**kwargs, "training": training} if _accepts_training(type(self).call) else kwargs

    def _penalise_activity(self, outputs: Any) -> None:
        if self.activity_regularizer is not None:
            for output in tensors_in(outputs):
                samples = (output.shape[0] if output.ndim else None) or 1
                self.add_loss(self.activity_regularizer(output) * (1.0 / samples))

    def _call_symbolically(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Describe the call in a functional model: outputs are tensors whose node is this layer."""
        stand_ins: dict[int, Tensor] = {}

        def stand_in(x: Tensor) -> Tensor:
            return stand_ins.setdefault(id(x), x if isinstance(x, Variable) else Tensor(x.shape, x.dtype))

        inner_args, inner_kwargs = map_tensors((args, kwargs), stand_in)
        with tracing(Trace(training=False)):
            inner = self._call_in_trace(inner_args, inner_kwargs)
        found = list(tensors_in(inner))
        node = Node(self, list(tensors_in((args, kwargs))), [y.spec for y in found], call=(args, kwargs))
        self._calls.append(node)
        replacement = {id(y): new for y, new in zip(found, node.outputs, strict=True)}
        return map_tensors(inner, lambda y: replacement[id(y)])

    def _call_now(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        training = bool(kwargs.pop("training", False) or False)
        if not args:
            raise Error("called without an input")
        arrays = [_as_array(value, self.dtype) for value in _flatten(args)]
        structure = args

        def body(*tensors: Tensor) -> Any:
            remaining = iter(tensors)
            return self(*_unflatten(structure, remaining), **kwargs)

        if kwargs or len(args) > 1 or not isinstance(args[0], np.ndarray):
            return Function(body, training)(*arrays)
        function = self._functions.setdefault(training, Function(lambda x: self(x), training))
        plan_key = Layer.structure_version
        return function(*arrays, key=plan_key)

    @property
    def input(self) -> Any:
        """The tensor (or tensors) of its first call in a functional model."""
        return _single(self._first_call().inputs)

    @property
    def output(self) -> Any:
        """The tensor (or tensors) its first call in a functional model returned."""
        return _single(self._first_call().outputs)

    def _first_call(self) -> Node:
        if not self._calls:
            raise Error(
                f"layer {self.name!r} has not been called in a model yet, so it has no input or output"
            )
        return self._calls[0]

    @property
    def input_shape(self) -> Any:
        return _single([x.shape for x in self._first_call().inputs])

    @property
    def output_shape(self) -> Any:
        return _single([y.shape for y in self._first_call().outputs])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def _input_shape_argument(cls: type, name: str, kwargs: dict[str, Any]) -> Shape | None:
    """What `input_shape`, `input_dim` or `batch_input_shape` said, without the batch."""
    shape = kwargs.pop("input_shape", None)
    if "input_dim" in kwargs:
        shape = (kwargs.pop("input_dim"),)
    if "batch_input_shape" in kwargs:
        shape = tuple(kwargs.pop("batch_input_shape"))[1:]
    if kwargs:
        known = [p for p in inspect.signature(cls).parameters if p != "kwargs"]
        raise Error(
            f"{cls.__name__} {name!r}: unknown argument {', '.join(kwargs)}; it takes {', '.join(known)}"
        )
    return (shape,) if isinstance(shape, int) else tuple(shape) if shape is not None else None


def _holds_state(value: Any) -> bool:
    if isinstance(value, Variable | Layer):
        return True
    if isinstance(value, Mapping):
        return any(_holds_state(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_holds_state(item) for item in value)


_names: ContextVar[tuple[str, ...]] = ContextVar("fastcnn_names", default=())


@contextlib.contextmanager
def naming(name: str) -> Iterator[tuple[str, ...]]:
    """While layers inside that of this name are built: the names from the outermost one to it."""
    trace = current_trace()
    names: tuple[str, ...] = ()
    for inner in (*_names.get(), *(trace.scopes if trace else ()), name):
        names = names if names[-1:] == (inner,) else (*names, inner)  # a build may call the layer itself
    token = _names.set(names)
    try:
        yield names
    finally:
        _names.reset(token)


def _whole_build(build: Callable[..., Any]) -> Callable[..., Any]:
    """A `build` that is no part of the pass in which it happens, and after which the layer is built."""

    @functools.wraps(build)
    def wrapper(self: Layer, *args: Any, **kwargs: Any) -> None:
        with naming(self.name), tracing(None):
            build(self, *args, **kwargs)
        self.built = True

    return wrapper


@functools.cache
def _accepts_training(call: Callable[..., Any]) -> bool:
    parameters = inspect.signature(call).parameters.values()
    return any(p.name == "training" or p.kind is p.VAR_KEYWORD for p in parameters) and call is not Layer.call


# --- nested structures of tensors ------------------------------------------------------------------------------


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dicts, in order."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def map_tensors(value: Any, function: Callable[[Tensor], Any]) -> Any:
    """The same structure with `function` applied to every tensor."""
    return _map(value, function, lambda item: isinstance(item, Tensor))


def _map(value: Any, function: Callable[[Any], Any], is_leaf: Callable[[Any], bool]) -> Any:
    if is_leaf(value):
        return function(value)
    if isinstance(value, Mapping):
        return {key: _map(item, function, is_leaf) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_map(item, function, is_leaf) for item in value)
    return value


def _is_shape(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(n is None or isinstance(n, int) for n in value)


def _shapes(value: Any) -> Any:
    """Shapes in the structure of the inputs, as `build` gets them."""
    return map_tensors(value, lambda x: x.shape)


def _as_array(value: Any, dtype: str) -> np.ndarray:
    try:
        return np.asarray(value, dtype, order="C")
    except (TypeError, ValueError) as problem:
        raise Error(
            f"cannot make an array of {value!r} of type {type(value).__name__}: {problem}"
        ) from problem


def _flatten(value: Any) -> Iterator[Any]:
    """Arrays in nested inputs; numbers and lists of numbers count as arrays."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _flatten(item)
    elif isinstance(value, tuple) or (
        isinstance(value, list) and any(isinstance(v, np.ndarray) for v in value)
    ):
        for item in value:
            yield from _flatten(item)
    else:
        yield value


def _unflatten(value: Any, arrays: Iterator[Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: _unflatten(item, arrays) for key, item in value.items()}
    if isinstance(value, tuple) or (
        isinstance(value, list) and any(isinstance(v, np.ndarray) for v in value)
    ):
        return type(value)(_unflatten(item, arrays) for item in value)
    return next(arrays)


def _single(items: list) -> Any:
    return items[0] if len(items) == 1 else items
