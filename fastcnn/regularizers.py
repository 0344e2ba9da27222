"""Penalties on weights or outputs, added to the loss. A regularizer maps a tensor to a scalar tensor."""

import math
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from fastcnn import ops, registry
from fastcnn.errors import Error, did_you_mean
from fastcnn.registry import Configurable


class Regularizer(Configurable):
    """Base class; a subclass of yours defines `__call__(self, x)` with `fastcnn.ops`.

    Called on an array, it returns the penalty as a number.
    """

    kind: ClassVar[str] = "regularizer"

    def __call__(self, x: Any) -> Any:
        raise Error(f"{type(self).__name__} must define __call__(self, x)")


def _factor(owner: str, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise Error(f"{owner}: {name} must be a finite number not below 0, got {value!r}")
    return float(value)


class L1(Regularizer):
    """l1 sum |x|."""

    _aliases = ("l1",)

    def __init__(self, l1: float = 0.01):
        self.l1 = _factor("L1", "l1", 0.01 if l1 is None else l1)

    def __call__(self, x: Any) -> Any:
        return self.l1 * ops.sum(ops.abs(x))


class L2(Regularizer):
    """l2 sum x^2. (No factor 1/2: the gradient is 2 l2 x.)"""

    _aliases = ("l2",)

    def __init__(self, l2: float = 0.01):
        self.l2 = _factor("L2", "l2", 0.01 if l2 is None else l2)

    def __call__(self, x: Any) -> Any:
        return self.l2 * ops.sum(ops.square(x))


class L1L2(Regularizer):
    """l1 sum |x| + l2 sum x^2 (the elastic net)."""

    _aliases = ("l1_l2",)

    def __init__(self, l1: float = 0.0, l2: float = 0.0):
        self.l1 = _factor("L1L2", "l1", l1 or 0.0)
        self.l2 = _factor("L1L2", "l2", l2 or 0.0)

    def __call__(self, x: Any) -> Any:
        if not self.l1:
            return self.l2 * ops.sum(ops.square(x))
        penalty = self.l1 * ops.sum(ops.abs(x))
        return penalty + self.l2 * ops.sum(ops.square(x)) if self.l2 else penalty


class OrthogonalRegularizer(Regularizer):
    """factor times the mean |cosine| between two different rows (or columns) of a matrix."""

    _aliases = ("orthogonal_regularizer",)

    def __init__(self, factor: float = 0.01, mode: str = "rows"):
        if mode not in ("rows", "columns"):
            raise Error(
                f"OrthogonalRegularizer: mode {mode!r} is unknown{did_you_mean(mode, ('rows', 'columns'))}"
            )
        self.factor = _factor("OrthogonalRegularizer", "factor", factor)
        self.mode = mode

    def __call__(self, x: Any) -> Any:
        if len(x.shape) != 2 or min(x.shape) < 1:
            raise Error(f"OrthogonalRegularizer: expected a matrix, got shape {tuple(x.shape)}")
        rows = x if self.mode == "rows" else ops.transpose(x)
        count = rows.shape[0]
        if count == 1:
            return 0.0 * ops.sum(x)
        unit = rows * ops.rsqrt(ops.maximum(ops.sum(ops.square(rows), axis=1, keepdims=True), 1e-12))
        cosines = ops.abs(ops.matmul(unit, ops.transpose(unit)))
        off_diagonal = ops.sum(cosines) - ops.sum(ops.square(unit))
        return self.factor / (count * (count - 1)) * off_diagonal


l1 = L1
l2 = L2
l1_l2 = L1L2
orthogonal_regularizer = OrthogonalRegularizer

serialize = registry.serialize


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The regularizer that `serialize` described."""
    return registry.deserialize("regularizer", config, custom_objects)


def get(identifier: Any) -> Callable[[Any], Any] | None:
    """A regularizer from its name, class, configuration, or a function of a tensor."""
    regularizer: Callable[[Any], Any] | None = registry.deserialize("regularizer", identifier)
    return regularizer
