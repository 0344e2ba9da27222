"""Layer: weights, and a `call` written with `fastcnn.ops`."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, ClassVar, Self

import numpy as np

from fastcnn import activations, config, initializers
from fastcnn.errors import Error, OpenDimensionError
from fastcnn.graph import Node, Trace, current_trace, tracing
from fastcnn.layers.specification import InputSpec
from fastcnn.plan.function import Function
from fastcnn.registry import Configurable, auto_name, deserialize, is_builtin
from fastcnn.tensor import Shape, Tensor, TensorSpec, Variable

_FIRST = ("name", "trainable", "dtype")  # in a configuration, as in Keras
_MODES = ("training", "mask")  # arguments of `call` that are no inputs


def _shape_first(add_weight: Callable[..., Variable]) -> Callable[..., Variable]:
    """`add_weight` that explains itself when called as in older scripts, add_weight("kernel", shape=...)."""

    @functools.wraps(add_weight)
    def wrapper(self: Layer, *args: Any, **kwargs: Any) -> Variable:
        if args and isinstance(args[0], str):
            raise Error(
                f"{self.name}: add_weight takes the shape first; write add_weight(shape=..., name={args[0]!r})"
            )
        return add_weight(self, *args, **kwargs)

    return wrapper


class NotCalledError(Error, AttributeError):
    """A layer's input or output before its first call; an `AttributeError`, so that `hasattr` says no."""


class Layer(Configurable):
    """Base of all layers. A layer of your own is `add_weight` in `build(input_shape)` and `call(self, x)`.

    name: unique name, by default the class's in snake case, numbered; trainable: whether the weights are
    updated by training; dtype: of weights and computation, a `DTypePolicy`
    or its name, by default `config.dtype_policy()`;
    activity_regularizer: a penalty on the outputs, a mean over samples, added to the loss; input_shape: without
    the batch, for the first layer of a Sequential.
    """

    kind: ClassVar[str] = "layer"
    structure_version = 0  # grows when a layer is frozen or thawed anywhere, so that plans are made anew
    supports_masking = False  # masks are given to `call(mask=...)` only, never handed on from layer to layer
    shows_activity_regularizer: ClassVar[bool] = False  # in the configuration where it is None, too
    input_spec: InputSpec | list[InputSpec] | None = None  # what inputs must look like, checked at each call
    takes_whole_numbers = False  # in a data set's `map`, which need not make floats of pictures then

    def __init__(
        self, *, activity_regularizer: Any = None, trainable: bool = True, dtype: Any = None, name: str | None = None,
        **kwargs: Any,
    ):  # fmt: skip
        self._variables: list[Variable] = []
        self._learned: list[Variable] = []  # those of them that are trained while nothing is frozen
        self._sublayers: list[Layer] = []
        self._added_losses: list[Any] = []
        self._latest_losses: list[Any] = []  # added in its latest call on arrays
        self._is_building = self._is_complete = False
        self._calls: list[Node] = []  # its nodes in functional models
        self._functions: dict[bool, Function] = {}
        super().__init__()
        self.name = _checked_name(type(self), name) or auto_name(type(self).__name__)
        self.built = False
        self._trainable = _checked_trainable(self.name, trainable)
        self.dtype_policy = _policy(self.name, dtype)
        self.dtype = self.dtype_policy.variable_dtype
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
        if name not in _OWN_LISTS and _holds_state(value):
            if "_variables" not in self.__dict__:
                raise Error(
                    f"{type(self).__name__}: call super().__init__() before assigning layers to self.{name}"
                )
            self._track(value)
        super().__setattr__(name, value)

    def _track(self, value: Any) -> None:
        if isinstance(value, Variable):
            if not any(v is value for v in self._variables):
                self._check_open("weight", value.name or "")
                self._variables.append(value)
                self._follow_training(value)
        elif isinstance(value, Layer):
            if not any(layer is value for layer in self._sublayers):
                self._check_open("layer", value.name)
                self._sublayers.append(value)
        elif isinstance(value, Mapping):
            for item in value.values():
                self._track(item)
        elif isinstance(value, list | tuple):
            for item in value:
                self._track(item)

    def _follow_training(self, variable: Variable) -> None:
        """A weight to be trained rests while its layer is frozen."""
        if variable.trainable:
            self._learned.append(variable)
            variable.trainable = self._trainable

    def _check_open(self, what: str, name: str) -> None:
        """A call that made a layer or a weight would make another one in the next pass."""
        if self._is_complete and current_trace() is not None:
            raise Error(
                f"layer {self.name!r}: call() makes the {what} {name!r}, but the layer is built already; "
                "make layers in the constructor and weights in build()"
            )

    # --- weights ---------------------------------------------------------------------------------------------

    @_shape_first
    def add_weight(
        self, shape: Any = None, initializer: Any = None, dtype: Any = None, trainable: bool = True,
        autocast: bool = True, regularizer: Any = None, constraint: Any = None, aggregation: Any = None,
        overwrite_with_gradient: bool = False, name: str | None = None,
    ) -> Variable:  # fmt: skip
        """A new weight of this layer.

        initializer: a name, an object, a function (shape, dtype) or the values; by default `glorot_uniform`, of
        integers zeros. regularizer: a penalty on the weight, added to the loss; constraint: applied after updates.
        """
        shape = () if shape is None else (shape,) if isinstance(shape, int) else tuple(shape)
        if any(n is None for n in shape):
            raise Error(
                f"layer {self.name!r}: weight {name!r} cannot have an unknown dimension, shape {shape}"
            )
        if self._is_complete:
            raise Error(
                f"layer {self.name!r} is built already, so it takes no new weight {name or ''!r}; "
                "add all weights in the constructor or in build(), which runs once"
            )
        dtype = str(np.dtype(dtype)) if dtype else self.dtype
        initializer = _initializer(initializer, dtype)
        name = name or _numbered("variable", [v.name for v in self._variables])
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
        """What `add_loss` was given, then penalties on weights.

        In `call` and `compute_loss` tensors, with those that layers have added so far in this pass; elsewhere the
        present values of the penalties on weights, and of functions given to `add_loss`, with what was added in
        the latest call on arrays.
        """
        trace = current_trace()
        added = [loss() for layer in self.layers_inside for loss in layer._added_losses]
        penalties = [v.regularizer(v) for v in self.trainable_weights if v.regularizer is not None]
        return added + (trace.losses if trace else self._latest_losses) + penalties

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
        found = {id(v): v for layer in self.layers_inside for v in (*layer._learned, *layer._variables)}
        return list(found.values())

    @property
    def weights(self) -> list[Variable]:
        """All weights: of each layer those to be trained, then its others (random states are not weights)."""
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
            for variable in layer._learned:
                variable.trainable = bool(value)
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
        return sum(v.size for v in self.weights)

    # --- shape -----------------------------------------------------------------------------------------------

    def build(self, *args: Any, **kwargs: Any) -> None:
        """Make the weights for inputs of these shapes (batch included). Override as `build(self, input_shape)`, or with
        `x_shape` and `y_shape` for `call(self, x, y)`.
        """
        self.built = True

    def _build_once(self, shapes: Any) -> None:
        if not self.built:
            self.build(shapes)

    def _build_for(self, args: tuple, kwargs: dict[str, Any]) -> None:
        """Build for these inputs: `build()`, `build(input_shape)`, or `build(x_shape, y_shape)` for call(x, y)."""
        needed, others = _build_parameters(type(self).build)
        if self.built or len(needed) == 1:
            self._build_once(_shapes(args[0]) if args else None)
        elif not needed:
            self.build()
        else:
            given = {**dict(zip(_call_parameters(type(self).call), args, strict=False)), **kwargs}
            shapes = {name: _shapes(given.get(name.removesuffix("_shape"))) for name in needed + others}
            self.build(
                **{name: shape for name, shape in shapes.items() if name in needed or shape is not None}
            )

    def call(self, *args: Any, **kwargs: Any) -> Any:
        """What the layer computes, written with `fastcnn.ops`. Override in your own layer."""
        raise Error(f"{type(self).__name__} defines no call()")

    def compute_output_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Output shape (batch included) for an input shape or a list of them; for several inputs, in their order."""
        shapes = (*args, *kwargs.values())
        with tracing(Trace(training=False)):  # not a call of the model being built
            outputs = self(*_map(shapes, lambda shape: Tensor(shape, self.dtype), _is_shape))
        return _map(outputs, lambda y: y.shape, lambda y: isinstance(y, Tensor))

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Tensors without values, of the shapes and dtypes of the outputs for these inputs."""
        with tracing(Trace(training=False)):
            return self(*map_tensors(args, lambda x: Tensor(x.shape, x.dtype)), **kwargs)

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of the outputs: here, that of the inputs."""
        return previous_mask

    # --- configuration ---------------------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments as plain data, name, trainable and dtype first; activations by their names."""
        config = super().get_config()
        if config.get("activity_regularizer", ()) is None and not self.shows_activity_regularizer:
            del config["activity_regularizer"]
        if "dtype" in config:
            config["dtype"] = self.dtype_policy.name
        if is_builtin(type(self)) and "activation" in config:
            config["activation"] = activations.serialize(getattr(self, "activation", None))
        return {**{key: config[key] for key in _FIRST if key in config}, **config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build a layer from what `get_config` returned, here or in Keras."""
        return super().from_config(
            {name: value for name, value in config.items() if value is not None or name not in _KERAS_ONLY}
        )

    # --- calling ---------------------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Apply to tensors (a model is being described or traced) or to arrays (computed now)."""
        if "_variables" not in self.__dict__:
            raise Error(f"{type(self).__name__}: call super().__init__() in the constructor")
        args, kwargs = _arrange(_call_parameters(type(self).call), args, kwargs)
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
        if self.input_spec is not None and args:
            self._check_inputs(args[0])
        self._build_for(args, kwargs)
        outer = trace.training, trace.mixed
        trace.mixed = self.compute_dtype == "bfloat16"
        if kwargs.get("training") is not None:
            trace.training = bool(kwargs["training"])
        trace.scopes.append(self.name)
        try:
            outputs = self.call(*args, **self._call_arguments(kwargs, trace.training))
            if trace.after is not None:
                outputs = trace.after(self, outputs)
            self._penalise_activity(outputs)
            return outputs
        finally:
            trace.scopes.pop()
            trace.training, trace.mixed = outer

    def _call_arguments(self, kwargs: dict[str, Any], training: bool) -> dict[str, Any]:
        accepted = _accepted_modes(type(self).call)
        if "mask" not in accepted and any(mask is not None for mask in _flat(kwargs.get("mask"))):
            raise Error("its call() takes no mask; multiply by the mask before or after the layer")
        modes = {"training": training, "mask": kwargs.get("mask")}
        given = {name: value for name, value in kwargs.items() if name not in _MODES}
        return {
            **given,
            **{n: modes[n] for n in accepted if n == "training" or modes[n] is not None},
        }

    def _check_inputs(self, inputs: Any) -> None:
        """Compare inputs with `input_spec`."""
        specs = self.input_spec if isinstance(self.input_spec, list | tuple) else [self.input_spec]
        found = list(tensors_in(inputs))
        if len(specs) not in (1, len(found)):
            raise Error(f"expected {len(specs)} inputs, got {len(found)}")
        for i, x in enumerate(found):
            spec = specs[i % len(specs)]
            if spec is not None:
                spec.check(x.shape)

    def _penalise_activity(self, outputs: Any) -> None:
        if self.activity_regularizer is not None:
            for output in tensors_in(outputs):
                samples = (output.shape[0] if output.ndim else None) or 1
                self.add_loss(self.activity_regularizer(output) * (1.0 / samples))

    def _call_symbolically(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Describe the call in a functional model: outputs are tensors whose node is this layer."""
        try:
            inner = self._call_on_stand_ins(args, kwargs)
            specs = [y.spec for y in tensors_in(inner)]
        except (TypeError, Error) as problem:
            if not any(None in x.shape for x in tensors_in((args, kwargs))) or not _wants_sizes(problem):
                raise
            inner, other = (self._call_on_stand_ins(args, kwargs, size) for size in STAND_IN_SIZES)
            specs = [_common(*pair) for pair in zip(tensors_in(inner), tensors_in(other), strict=True)]
        node = Node(self, list(tensors_in((args, kwargs))), specs, call=(args, kwargs))
        self._calls.append(node)
        replacement = {id(y): new for y, new in zip(tensors_in(inner), node.outputs, strict=True)}
        return map_tensors(inner, lambda y: replacement[id(y)])

    def _call_on_stand_ins(self, args: tuple, kwargs: dict[str, Any], size: int | None = None) -> Any:
        """Outputs for tensors like the given ones, with `size` in place of unknown dimensions."""
        stand_ins: dict[int, Tensor] = {}

        def stand_in(x: Tensor) -> Tensor:
            shape = tuple(size if n is None else n for n in x.shape)
            return stand_ins.setdefault(id(x), x if isinstance(x, Variable) else Tensor(shape, x.dtype))

        inner_args, inner_kwargs = map_tensors((args, kwargs), stand_in)
        with tracing(Trace(training=False)):
            return self._call_in_trace(inner_args, inner_kwargs)

    def _call_now(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        training = bool(kwargs.pop("training", False) or False)
        if not args:
            raise Error("called without an input")
        arrays = [_as_array(value, self.dtype) for value in _flatten(args)]
        structure = args

        def body(*tensors: Tensor) -> Any:
            outputs = self(*_unflatten(structure, iter(tensors)), **kwargs)
            trace = current_trace()
            return outputs, trace.losses if trace else []

        if kwargs or len(args) > 1 or not isinstance(args[0], np.ndarray):
            outputs, self._latest_losses = Function(body, training)(*arrays)
            return outputs
        if training not in self._functions:
            self._functions[training] = Function(body, training)
        plan_key = Layer.structure_version
        outputs, self._latest_losses = self._functions[training](*arrays, key=plan_key)
        return outputs

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
            raise NotCalledError(
                f"layer {self.name!r} has not been called in a model yet, so it has no input or output"
            )
        return self._calls[0]

    @property
    def input_shape(self) -> Any:
        return _single([x.shape for x in self._first_call().inputs])

    @property
    def output_shape(self) -> Any:
        return _single([y.shape for y in self._first_call().outputs])

    # --- other names of the same ----------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """Its name, or where weights tell it, the names from the outermost layer to it."""
        return self._variables[0].path.rpartition("/")[0] if self._variables else self.name

    @property
    def compute_dtype(self) -> str:
        """The dtype of what it multiplies."""
        return self.dtype_policy.compute_dtype

    @property
    def variable_dtype(self) -> str:
        """The dtype of its weights, and of its results."""
        return self.dtype

    input_dtype = compute_dtype

    def get_build_config(self) -> dict[str, Any] | None:
        """What `build_from_config` needs: the shape of the first call in a model."""
        return {"input_shape": self.input_shape} if self._calls else None

    def build_from_config(self, config: dict[str, Any] | None) -> None:
        """Make the weights, from what `get_build_config` returned."""
        if config:
            self._build_once(config["input_shape"])

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}, built={self.built}>"


def _input_shape_argument(cls: type, name: str, kwargs: dict[str, Any]) -> Shape | None:
    """What `input_shape`, `input_dim` or `batch_input_shape` said, without the batch."""
    kwargs.pop("autocast", None)  # there is one dtype a layer
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


_OWN_LISTS = ("_variables", "_learned", "_sublayers", "_calls", "_constructor_call", "_latest_losses")
_KERAS_ONLY = ("quantization_config", "lora_rank", "lora_alpha")  # accepted where they say nothing


def _checked_name(cls: type, name: Any) -> str | None:
    if name is not None and (not isinstance(name, str) or "/" in name):
        raise Error(f"{cls.__name__}: name must be a string without '/', got {name!r}")
    return name


def _checked_trainable(name: str, value: Any) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise Error(f"layer {name!r}: trainable must be True or False, got {value!r}")
    return bool(value)


def _policy(name: str, dtype: Any) -> config.DTypePolicy:
    """The policy that a layer's `dtype` stands for: a name, a dtype, or a policy, as an object or as data."""
    if dtype is None:
        return config.dtype_policy()
    if isinstance(dtype, Mapping) and "config" in dtype:
        dtype = dtype["config"].get("name")
    found = getattr(dtype, "name", dtype)
    try:
        found = found if found in config.POLICIES else str(np.dtype(found))
        return config.DTypePolicy(found)
    except (TypeError, Error):
        raise Error(
            f"layer {name!r}: dtype {found!r} is not supported; weights and results are float32 or float64, or with "
            "'mixed_bfloat16' products are of bfloat16 numbers"
        ) from None


def _initializer(initializer: Any, dtype: str) -> Callable[..., Any]:
    if initializer is None:
        initializer = "glorot_uniform" if dtype.startswith("float") else "zeros"
    found = initializers.get(initializer)
    assert found is not None
    return found


def _numbered(stem: str, taken: Sequence[str | None]) -> str:
    """stem, stem_1, stem_2, ...: the first that is free."""
    count = 0
    while (name := f"{stem}_{count}" if count else stem) in taken:
        count += 1
    return name


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
        is_outermost, self._is_building = not self._is_building, True
        try:
            with naming(self.name), tracing(None):
                build(self, *args, **kwargs)
        finally:
            self._is_building = not is_outermost
        self.built = True
        self._is_complete = self._is_complete or is_outermost

    return wrapper


@functools.cache
def _call_parameters(call: Callable[..., Any]) -> tuple[str, ...]:
    """Names of the arguments of `call` that may be given by position."""
    parameters = list(inspect.signature(call).parameters.values())[1:]
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


@functools.cache
def _build_parameters(build: Callable[..., Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The shapes that `build` asks for, one if it takes whatever it is given; and those that it can do without."""
    parameters = list(inspect.signature(build).parameters.values())[1:]
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters):
        return ("input_shape",), ()
    needed = [p.name for p in parameters if p.default is p.empty] or [p.name for p in parameters[:1]]
    return tuple(needed), tuple(p.name for p in parameters if p.name not in needed)


def _arrange(names: tuple[str, ...], args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """Inputs by position, `training` and `mask` by name, however they were given."""
    modes = [i for i, name in enumerate(names[: len(args)]) if name in _MODES]
    if modes:
        kwargs = {**dict(zip(names[modes[0] :], args[modes[0] :], strict=False)), **kwargs}
        args = args[: modes[0]]
    if not args and names and names[0] in kwargs:
        args = (kwargs[names[0]],)
        kwargs = {name: value for name, value in kwargs.items() if name != names[0]}
    return args, kwargs


@functools.cache
def _accepted_modes(call: Callable[..., Any]) -> tuple[str, ...]:
    """Which of `training` and `mask` the function takes. One with **kwargs is told `training`."""
    if call is Layer.call:
        return ()
    parameters = inspect.signature(call).parameters.values()
    names = {p.name for p in parameters}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return tuple(name for name in _MODES if name in names or takes_any)


def _flat(value: Any) -> list[Any]:
    return [item for part in value for item in _flat(part)] if isinstance(value, list | tuple) else [value]


# --- nested structures of tensors ------------------------------------------------------------------------------


# A call() that computes with dimensions is tried with these: what differs between the two is unknown.
STAND_IN_SIZES = (96, 144)


def _wants_sizes(problem: Exception) -> bool:
    """Whether it says that a dimension was not known, to us or to what users compute with it."""
    return isinstance(problem, OpenDimensionError) or "NoneType" in str(problem)


def _common(x: Tensor, y: Tensor) -> TensorSpec:
    return TensorSpec(tuple(n if n == m else None for n, m in zip(x.shape, y.shape, strict=True)), x.dtype)


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
    return _map(value, lambda x: x.shape, lambda item: isinstance(item, Tensor | np.ndarray))


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
