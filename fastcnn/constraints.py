"""Sets that weights are brought back into after each update. A constraint maps an array to an array."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from fastcnn import registry
from fastcnn.config import epsilon
from fastcnn.errors import Error
from fastcnn.registry import Configurable

Array = npt.NDArray[Any]
Axis = int | Sequence[int]


class Constraint(Configurable):
    """Base class; constrains nothing itself."""

    kind: ClassVar[str] = "constraint"

    def __call__(self, w: Array) -> Array:
        """The array nearest to `w`, in the constraint's own sense, that satisfies it."""
        return w


class NonNeg(Constraint):
    """max(w, 0)."""

    def __call__(self, w: Array) -> Array:
        return np.maximum(w, 0)


class _Norm(Constraint):
    """Rescales each vector along `axis` from its Euclidean norm to `_desired(norm)`.

    axis: 0 for the weights into one unit of Dense (in, out); (0, 1, 2) for one filter of Conv2D
    (kh, kw, in, out).
    """

    def __init__(self, axis: Axis = 0):
        self.axis = axis

    def _desired(self, norms: Array) -> Array:
        raise Error(f"{type(self).__name__} must define _desired")

    def __call__(self, w: Array) -> Array:
        w = np.asarray(w)
        axis = self.axis if isinstance(self.axis, int) else tuple(self.axis)
        norms = np.sqrt(np.sum(np.square(w), axis=axis, keepdims=True))
        scaled: Array = w * (self._desired(norms) / (epsilon() + norms))
        return scaled


class UnitNorm(_Norm):
    """Norm 1 along `axis`."""

    def _desired(self, norms: Array) -> Array:
        return np.ones_like(norms)


class MaxNorm(_Norm):
    """Norm at most `max_value` along `axis` (Srivastava et al. 2014)."""

    def __init__(self, max_value: float = 2, axis: Axis = 0):
        if max_value < 0:
            raise Error(f"MaxNorm: max_value must not be negative, got {max_value}")
        super().__init__(axis)
        self.max_value = max_value

    def _desired(self, norms: Array) -> Array:
        return np.minimum(norms, self.max_value)


class MinMaxNorm(_Norm):
    """Norm between `min_value` and `max_value` along `axis`.

    rate: the part of the way that one update goes, 1.0 being all of it:
    desired = (1 - rate) norm + rate clip(norm, min_value, max_value).
    """

    def __init__(self, min_value: float = 0.0, max_value: float = 1.0, rate: float = 1.0, axis: Axis = 0):
        if not 0 <= min_value <= max_value:
            raise Error(f"MinMaxNorm: expected 0 <= min_value <= max_value, got {min_value} and {max_value}")
        super().__init__(axis)
        self.min_value = min_value
        self.max_value = max_value
        self.rate = rate

    def _desired(self, norms: Array) -> Array:
        clipped = np.clip(norms, self.min_value, self.max_value)
        desired: Array = self.rate * clipped + (1 - self.rate) * norms
        return desired


max_norm = MaxNorm
min_max_norm = MinMaxNorm
non_neg = NonNeg
unit_norm = UnitNorm

serialize = registry.serialize


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The constraint that `serialize` described."""
    return registry.deserialize("constraint", config, custom_objects)


def get(identifier: Any) -> Callable[[Array], Array] | None:
    """A constraint from its name, class, configuration, or a function of the weights."""
    constraint: Callable[[Array], Array] | None = registry.deserialize("constraint", identifier)
    return constraint
