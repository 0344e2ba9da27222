"""What all losses share: values per sample, how they become one number, and what targets they accept."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np

from fastcnn import config, ops, registry
from fastcnn.errors import Error, did_you_mean
from fastcnn.losses.targets import check_elementwise, check_samples, check_spread
from fastcnn.ops.core import convert, op_function
from fastcnn.registry import Configurable
from fastcnn.tensor import Shape, Tensor

REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none")


class Loss(Configurable):
    """How wrong predictions are, as a number to minimise.

    `loss(y_true, y_pred, sample_weight)` takes tensors, in a train step, or arrays, and then returns a NumPy number.
    A loss of your own is a subclass with `call(self, y_true, y_pred)`, written with `fastcnn.ops`, that returns one
    value a sample (or a pixel).

    reduction of the weighted values: "sum_over_batch_size" or "mean", sum / number of values; "sum";
    "mean_with_sample_weight", sum / sum of the weights; "none" or None, the values themselves.
    sample_weight: a number, (n,), (n, 1), or one weight for every value.
    dtype: of the computation on arrays; default, that of y_pred where it is floating, else floatx. Tensors keep theirs.
    """

    kind: ClassVar[str] = "loss"

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size", dtype: str | None = None
    ):
        if reduction is not None and reduction not in REDUCTIONS:
            raise Error(
                f"{type(self).__name__}: unknown reduction {reduction!r}{did_you_mean(str(reduction), REDUCTIONS)}"
            )
        self.name = name or registry.auto_name(type(self).__name__)
        self.reduction = reduction
        self.dtype = None if dtype is None else str(np.dtype(dtype))

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        given = [y_true, y_pred] if sample_weight is None else [y_true, y_pred, sample_weight]
        if any(isinstance(value, Tensor) for value in given):
            return self._reduced(*given)
        dtype = self.dtype or floating(y_pred)
        return op_function(self._reduced)(*(np.array(value, dtype, order="C") for value in given))[()]

    def target_shape(self, shape: Shape) -> Shape:
        """What targets look like for predictions of this shape."""
        return shape

    def _reduced(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        y_pred = convert(y_pred)
        y_true, y_pred = expand_column(like(y_true, y_pred), y_pred)
        try:
            values = convert(self.call(y_true, y_pred), y_pred.dtype)
            weight = None if sample_weight is None else like(sample_weight, values)
            return reduce_values(values, weight, self.mask(y_true, y_pred, values), self.reduction)
        except Error as error:
            raise error.at(f"loss {self.name!r}") from None

    def call(self, y_true: Tensor, y_pred: Tensor) -> Any:
        """One value a sample."""
        raise Error(f"{type(self).__name__} must define call(self, y_true, y_pred)")

    def mask(self, y_true: Tensor, y_pred: Tensor, values: Tensor) -> Tensor | None:
        """1 where a value counts, 0 where it does not, of the shape of the values; None: all count."""
        return None

    def check_targets(self, y: np.ndarray, prediction_shape: Shape) -> None:
        """Refuse targets of a whole data set that do not go with predictions of this shape.

        Raises `Error` with what is wrong, where, and what to do. The first axis, the samples, is not compared.
        """


class _FormulaLoss(Loss):
    """A loss whose values come from a function, with that function's arguments in the constructor."""

    function: ClassVar[Callable[..., Any]]
    default_name: ClassVar[str] = ""  # where it is not the function's

    def __init__(
        self, reduction: str | None = "sum_over_batch_size", name: str | None = None, dtype: str | None = None
    ):
        super().__init__(name or self.default_name or type(self).function.__name__, reduction, dtype)

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if "function" in vars(cls):
            _class_of.setdefault(cls.function, cls)

    def call(self, y_true: Tensor, y_pred: Tensor) -> Any:
        function = type(self).function
        names = list(inspect.signature(function).parameters)[2:]
        return function(
            y_true, y_pred, **{name: getattr(self, name) for name in names if hasattr(self, name)}
        )

    def check_targets(self, y: np.ndarray, prediction_shape: Shape) -> None:
        try:
            self.check_shapes(y.shape, prediction_shape)
            self.check_values(y, prediction_shape)
        except Error as error:
            raise error.at(f"loss {self.name!r}") from None

    def check_shapes(self, targets: Shape, predictions: Shape) -> None:
        """Raise `Error` when the shapes do not go together; the number of samples is not compared."""
        check_elementwise(targets, predictions)

    def check_values(self, y: np.ndarray, prediction_shape: Shape) -> None:
        """Raise `Error` for the first target that means nothing to this loss."""


class _NumberLoss(_FormulaLoss):
    """A loss of numbers, of which one target may stand for several."""

    def check_shapes(self, targets: Shape, predictions: Shape) -> None:
        check_spread(targets, predictions)


_class_of: dict[Callable[..., Any], type[_FormulaLoss]] = {}


class LossFunctionWrapper(Loss):
    """A function of yours, `fn(y_true, y_pred, **arguments)` -> values per sample, as a loss."""

    def __init__(
        self,
        fn: Callable[..., Any],
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: str | None = None,
        **arguments: Any,
    ):
        super().__init__(name or getattr(fn, "__name__", None), reduction, dtype)
        self.fn = fn
        self.arguments = arguments

    def call(self, y_true: Tensor, y_pred: Tensor) -> Any:
        return self.fn(*match_rank(y_true, y_pred), **self.arguments)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **registry.serialize(self.arguments)}


def as_loss(identifier: Any) -> Loss | None:
    """A loss from its name in any of Keras's spellings, its class, configuration, or a function; None stays None."""
    found = registry.deserialize("loss", identifier)
    if found is None or isinstance(found, Loss):
        return found
    if found in _class_of:
        return _class_of[found]()
    if callable(found):
        return LossFunctionWrapper(found)
    raise Error(f"loss: expected a loss, its name or a function, got {identifier!r}")


# --- arguments of formulas -----------------------------------------------------------------------------------


def loss_function(*aliases: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of the functional form of a loss: registers it, and lets it take arrays, lists and numbers."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        run = op_function(function)

        @functools.wraps(function)
        def wrapper(y_true: Any, y_pred: Any, *args: Any, **kwargs: Any) -> Any:
            if isinstance(y_true, Tensor) or isinstance(y_pred, Tensor):
                y_pred = convert(y_pred)
                return function(like(y_true, y_pred), y_pred, *args, **kwargs)
            dtype = floating(y_pred)
            arrays = (np.array(value, dtype, order="C") for value in (y_true, y_pred))
            return run(*arrays, *args, **kwargs)

        return registry.registered("loss", *aliases)(wrapper)

    return decorate


def floating(value: Any) -> str:
    """The dtype to compute on an array in."""
    dtype = getattr(value, "dtype", None)
    return str(dtype) if dtype in (np.float32, np.float64) else config.floatx()


def like(value: Any, tensor: Tensor) -> Tensor:
    """`value` as a tensor of the dtype of another."""
    converted = convert(value, tensor.dtype)
    return converted if converted.dtype == tensor.dtype else ops.cast(converted, tensor.dtype)


def expand_column(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """(n,) against (n, 1) becomes (n, 1): arithmetic would make (n, n) of them."""
    if y_true.ndim == 1 and y_pred.ndim == 2 and y_pred.shape[-1] == 1:
        return ops.expand_dims(y_true, -1), y_pred
    if y_pred.ndim == 1 and y_true.ndim == 2 and y_true.shape[-1] == 1:
        return y_true, ops.expand_dims(y_pred, -1)
    return y_true, y_pred


def match_rank(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """`expand_column`; and a last axis of length 1 that one side has more than the other is dropped."""
    y_true, y_pred = expand_column(y_true, y_pred)
    if y_true.ndim + 1 == y_pred.ndim and y_pred.shape[-1] == 1:
        return y_true, ops.squeeze(y_pred, -1)
    if y_pred.ndim + 1 == y_true.ndim and y_true.shape[-1] == 1:
        return ops.squeeze(y_true, -1), y_pred
    return y_true, y_pred


def pair(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Targets and predictions of one shape. Raises `Error` for what only broadcasting could bring together."""
    check_samples(y_true.shape, y_pred.shape)
    check_elementwise(y_true.shape, y_pred.shape)
    return match_rank(y_true, y_pred)


def spread(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """As `pair`, but one target may stand for several predicted numbers along an axis: (n, 1) against (n, k)."""
    check_samples(y_true.shape, y_pred.shape)
    check_spread(y_true.shape, y_pred.shape)
    y_true, y_pred = match_rank(y_true, y_pred)
    return ops.broadcast_to(y_true, y_pred.shape), y_pred


# --- from values to a number ---------------------------------------------------------------------------------


def reduce_values(
    values: Tensor, weight: Tensor | None, mask: Tensor | None, reduction: str | None
) -> Tensor:
    """The loss from its values per sample, their weights and their mask. 0 / 0 is 0."""
    if weight is not None and values.ndim:
        weight = align_weight(weight, values.shape)
    factor = weight if mask is None else mask if weight is None else weight * mask
    weighted = values if factor is None else values * factor
    if reduction in (None, "none"):
        return weighted
    if reduction == "sum":
        return ops.sum(weighted)
    divisor = factor if reduction == "mean_with_sample_weight" and weight is not None else mask
    if divisor is None:
        return ops.mean(weighted)
    return divide(ops.sum(weighted), ops.sum(divisor))


def divide(total: Tensor, divisor: Tensor) -> Tensor:
    """total / divisor for scalars, 0 where both are 0."""
    return total / (divisor + like(ops.equal(divisor, 0.0), divisor))


def align_weight(weight: Tensor, shape: Shape) -> Tensor:
    """Weights (), (n,), (n, 1) or of the shape of the values, with axes of length 1 where values share a weight."""
    axes: Sequence[int | None] = weight.shape
    if len(axes) == len(shape) + 1 and axes[-1] == 1:
        axes = axes[:-1]
    axes = (*axes, *[1] * (len(shape) - len(axes)))
    if len(axes) != len(shape) or any(a not in (1, n) for a, n in zip(axes, shape, strict=True)):
        raise Error(
            f"sample_weight has shape {weight.shape}, but there are values of shape {shape} to weigh; "
            f"give one weight a sample, shape {shape[:1]}, or one for each value"
        )
    return weight if tuple(axes) == weight.shape else ops.reshape(weight, axes)
