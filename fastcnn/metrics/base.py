"""What metrics are made of: their state, their base class, and means of values over samples."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastcnn import initializers, registry
from fastcnn.config import floatx
from fastcnn.errors import Error, did_you_mean
from fastcnn.graph import Report, current_trace
from fastcnn.registry import Configurable

Array = npt.NDArray[Any]
Values = npt.ArrayLike
MetricFunction = Callable[..., Any]


def floats(values: Values) -> Array:
    """An array of floating-point numbers; float64 when the values are not floating yet."""
    array = np.asarray(values)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def same_rank(first: Array, second: Array) -> tuple[Array, Array]:
    """Add or drop a last axis of length 1 where ranks differ by one: (n,) against (n, 1) never broadcasts."""
    if first.ndim == second.ndim + 1 and first.shape[-1] == 1:
        return (first, second[..., None]) if second.ndim == 1 else (first[..., 0], second)
    if second.ndim == first.ndim + 1 and second.shape[-1] == 1:
        return (first[..., None], second) if first.ndim == 1 else (first, second[..., 0])
    return first, second


def check_equal_shapes(y_true: Array, y_pred: Array) -> None:
    """Raise `Error` unless each prediction has its target."""
    if y_true.shape != y_pred.shape:
        raise Error(
            f"y_true of shape {y_true.shape} does not go with y_pred of shape {y_pred.shape}; "
            "expected one target for each prediction"
        )


def spread(y_true: Values, y_pred: Values) -> tuple[Array, Array]:
    """As `pair`, but one target may stand for several predicted numbers along an axis: (n, 1) against (n, k)."""
    true, predicted = same_rank(np.asarray(y_true), floats(y_pred))
    fits = true.ndim == predicted.ndim and true.shape[:1] == predicted.shape[:1]
    if fits and all(n in (1, m) for n, m in zip(true.shape, predicted.shape, strict=True)):
        true = np.broadcast_to(true, predicted.shape)
    return pair(true, predicted)


def pair(y_true: Values, y_pred: Values) -> tuple[Array, Array]:
    """Both as floating arrays of one shape."""
    predicted = floats(y_pred)
    true, predicted = same_rank(np.asarray(y_true), predicted)
    check_equal_shapes(true, predicted)
    return true.astype(predicted.dtype, copy=False), predicted


def divide(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, 0 where the denominator is 0."""
    zero = np.zeros(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)))
    return np.divide(numerator, denominator, out=zero, where=np.not_equal(denominator, 0))[()]


class State(np.lib.mixins.NDArrayOperatorsMixin):
    """A number or array that a metric accumulates; behaves as a NumPy array, and is written by `assign`."""

    def __init__(self, value: Array, name: str):
        self.value = value
        self.name = name

    def assign(self, value: Values) -> "State":
        """Overwrite the values. Raises `Error` when the shape differs."""
        array = np.asarray(value)
        if array.shape != self.value.shape:
            raise Error(
                f"{self.name}: cannot assign values of shape {array.shape}; the shape is {self.shape}"
            )
        self.value[...] = array
        return self

    def assign_add(self, value: Values) -> "State":
        """Add to the values."""
        return self.assign(self.value + value)

    def assign_sub(self, value: Values) -> "State":
        """Subtract from the values."""
        return self.assign(self.value - value)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def dtype(self) -> str:
        return str(self.value.dtype)

    def numpy(self) -> Array:
        """A copy of the values."""
        return self.value.copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.value, dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.get("out", ())
        if out:
            kwargs["out"] = tuple(item.value if isinstance(item, State) else item for item in out)
        values = [item.value if isinstance(item, State) else item for item in inputs]
        result = getattr(ufunc, method)(*values, **kwargs)
        return out[0] if len(out) == 1 else result

    def __getitem__(self, index: Any) -> Any:
        return self.value[index]

    def __len__(self) -> int:
        return len(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __format__(self, spec: str) -> str:
        return format(self.value[()], spec)

    def __repr__(self) -> str:
        return f"<State {self.name!r} {self.value}>"


class Later(np.lib.mixins.NDArrayOperatorsMixin):
    """A value that is known when the step that is being traced has run; so is what arithmetic makes of it."""

    def __init__(self, known: Callable[[], Any]):
        self.known = known

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> "Later":
        def known() -> Any:
            return ufunc(*(item.known() if isinstance(item, Later) else item for item in inputs), **kwargs)

        return Later(known)

    def _unknown(self, *args: Any, **kwargs: Any) -> Any:
        raise Error("the result of a metric is known after the step only; return it from the step as it is")

    __array__ = __float__ = __int__ = __bool__ = _unknown


def _told_after_the_run(method: Callable[..., Any]) -> Callable[..., Any]:
    """`update_state` that, in a step or layer that is being traced, waits for the numbers."""

    @functools.wraps(method)
    def update_state(self: Any, *args: Any, **kwargs: Any) -> Any:
        trace = current_trace()
        if trace is None:
            return method(self, *args, **kwargs)
        trace.reports.append(Report(functools.partial(method, self), args, kwargs))

    return update_state


def _known_after_the_run(method: Callable[..., Any]) -> Callable[..., Any]:
    """`result` that, in a step that is being traced, is a `Later`."""

    @functools.wraps(method)
    def result(self: Any) -> Any:
        return method(self) if current_trace() is None else Later(functools.partial(method, self))

    return result


class Metric(Configurable):
    """Base class of metrics.

    A subclass makes its variables in `__init__` with `add_weight`, adds to them in `update_state(y_true, y_pred,
    sample_weight=None)`, and computes a number (an array, a dict of numbers) from them in `result()`.
    In a `train_step` or a layer's `call`, where there are no numbers yet, a metric is updated after each run.
    `_direction` says whether more is better ("up") or less ("down"); callbacks that watch the metric ask.
    """

    kind: ClassVar[str] = "metric"
    _direction: str | None = None
    _variables: list[State]

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        for name, wrap in (("update_state", _told_after_the_run), ("result", _known_after_the_run)):
            if name in vars(cls):
                setattr(cls, name, wrap(vars(cls)[name]))

    def __init__(self, dtype: str | None = None, name: str | None = None):
        super().__init__()
        self.name = name or registry.auto_name(type(self).__name__)
        self.dtype = str(np.dtype(dtype or floatx()))
        self._variables = []

    def add_variable(
        self,
        shape: int | Sequence[int] = (),
        initializer: Any = "zeros",
        dtype: str | None = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> State:
        """A new variable of the metric. `aggregation` is there for Keras scripts; nothing depends on it."""
        if not hasattr(self, "_variables"):
            raise Error(f"{type(self).__name__}: call super().__init__() before making variables")
        dimensions = (shape,) if isinstance(shape, int) else tuple(shape)
        initialize = initializers.get(initializer) or initializers.Zeros()
        value = np.array(initialize(dimensions, dtype=dtype or self.dtype))
        variable = State(value, name or f"variable_{len(self._variables)}")
        self._variables.append(variable)
        return variable

    def add_weight(
        self,
        shape: int | Sequence[int] = (),
        initializer: Any = "zeros",
        dtype: str | None = None,
        name: str | None = None,
    ) -> State:
        """A new variable of the metric; the usual name for `add_variable`."""
        return self.add_variable(shape, initializer, dtype, name=name)

    def _sum(self, name: str, shape: tuple[int, ...] = ()) -> State:
        """A sum over samples, in float64."""
        return self.add_variable(shape, dtype="float64", name=name)

    @property
    def variables(self) -> list[State]:
        """The metric's variables, and those of metrics it holds as attributes."""
        held = [value for value in vars(self).values() if isinstance(value, Metric)]
        return self._variables + [variable for metric in held for variable in metric.variables]

    def reset_state(self) -> None:
        """Forget everything: all variables become 0."""
        for variable in self.variables:
            variable.value.fill(0)

    def update_state(self, *args: Any, **kwargs: Any) -> Any:
        """Take one batch into account."""
        raise Error(
            f"{type(self).__name__} must define update_state(self, y_true, y_pred, sample_weight=None)"
        )

    def result(self) -> Any:
        """The metric's value over everything since `reset_state`."""
        raise Error(f"{type(self).__name__} must define result(self)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.update_state(*args, **kwargs)
        return self.result()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


def _per_sample(
    values: Array, sample_weight: Values | None, reduce: Callable[..., Any]
) -> tuple[Array, Array | None]:
    """One weighted value and one weight a sample. values (n, ...); weights of any leading part of that shape.

    Axes that the weights lack are reduced before weighting, those they have after it, as in Keras.
    """
    weights = None
    if sample_weight is not None:
        values, weights = same_rank(values, np.asarray(sample_weight, np.float64))
        rank = weights.ndim
        if values.ndim > rank:
            values = reduce(values, axis=tuple(range(rank, values.ndim)), dtype=np.float64)
        weights = fit_weights(weights, values.shape)
        values = values * weights
        if rank > 1:
            weights = reduce(weights, axis=tuple(range(1, rank)))
    if values.ndim > 1:
        values = reduce(values, axis=tuple(range(1, values.ndim)), dtype=np.float64)
    return values, weights


def fit_weights(weights: Array, shape: tuple[int, ...]) -> Array:
    """Weights broadcast to `shape`. Raises `Error` when they do not go with it."""
    try:
        return np.broadcast_to(weights, shape)
    except ValueError as problem:
        raise Error(
            f"sample_weight of shape {weights.shape} does not go with values of shape {shape}; "
            "expected one weight for each sample"
        ) from problem


class Sum(Metric):
    """Weighted sum of the values it is updated with."""

    def __init__(self, name: str = "sum", dtype: str | None = None):
        super().__init__(dtype, name)
        self.total = self._sum("total")

    def update_state(self, values: Values, sample_weight: Values | None = None) -> None:
        weighted, _ = _per_sample(np.asarray(values), sample_weight, np.sum)
        self.total.value += weighted.sum(dtype=np.float64)

    def result(self) -> Any:
        return self.total.value[()]


class _Average(Metric):
    """sum(w v) / sum(w) over all samples, 0 before the first."""

    def __init__(self, name: str | None, dtype: str | None):
        super().__init__(dtype, name)
        self.total = self._sum("total")
        self.count = self._sum("count")

    def _add(self, values: Values, sample_weight: Values | None) -> None:
        weighted, weights = _per_sample(np.asarray(values), sample_weight, np.mean)
        self.total.value += weighted.sum(dtype=np.float64)
        self.count.value += weighted.size if weights is None else weights.sum()

    def add(self, total: float, count: float) -> None:
        """Take sums into account that have been made already."""
        for state, number in ((self.total, total), (self.count, count)):
            state.value[()] = state.value.item() + number  # ten times as fast as NumPy's += of one number

    def clear(self) -> None:
        """`reset_state`, of a metric that nobody has given more state: `variables` looks through all attributes."""
        self.total.value[()] = self.count.value[()] = 0.0

    @property
    def ratio(self) -> float:
        """The result as a number of Python's."""
        total, count = self.total.value.item(), self.count.value.item()
        return total / count if count else 0.0

    def result(self) -> Any:
        return divide(self.total.value, self.count.value)


class Mean(_Average):
    """Weighted mean of the values it is updated with."""

    def __init__(self, name: str = "mean", dtype: str | None = None):
        super().__init__(name, dtype)

    def update_state(self, values: Values, sample_weight: Values | None = None) -> None:
        self._add(values, sample_weight)


def check_at_least_one(what: str, value: int) -> None:
    """Raise `Error` for a count below 1."""
    if value < 1:
        raise Error(f"{what} must be at least 1, got {value}")


def expand_weights(sample_weight: Values, shape: tuple[int, ...]) -> Array:
    """Weights with the leading axes of `shape`, spread over its other axes."""
    weights = np.asarray(sample_weight, np.float64)
    if weights.ndim == len(shape) + 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    return fit_weights(weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim)), shape)


def choice(what: str, value: str, choices: Sequence[str]) -> str:
    """The value, if it is one of the choices; else `Error`."""
    if value not in choices:
        raise Error(f"{what} {value!r} is unknown{did_you_mean(value, choices)}")
    return value
