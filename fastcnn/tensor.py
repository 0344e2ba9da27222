"""Symbolic tensors: a shape, a dtype, and the node of the graph that produces the values."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple
from weakref import WeakSet

import numpy as np

from fastcnn.errors import Error, OpenDimensionError
from fastcnn.registry import deserialize

if TYPE_CHECKING:
    from fastcnn.graph import Node

Shape = tuple[int | None, ...]


class TensorSpec(NamedTuple):
    """What is known of a tensor before it has values. A dimension is None until a plan fixes it."""

    shape: Shape
    dtype: str = "float32"

    @property
    def size(self) -> int:
        """Number of elements; every dimension must be known."""
        return math.prod(self.dims)

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape when every dimension is known; `Error` otherwise."""
        if any(n is None for n in self.shape):
            raise OpenDimensionError(f"shape {self.shape} is not known completely yet")
        return tuple(n for n in self.shape if n is not None)

    @property
    def nbytes(self) -> int:
        return self.size * np.dtype(self.dtype).itemsize


class Tensor:
    """A value yet to be computed. Operators (`+`, `*`, `@`, slices) are those of `fastcnn.ops`."""

    __array_priority__ = 1000.0  # so that numpy_array + tensor comes here

    # installed by fastcnn.ops, which is built on this class
    operators: ClassVar[dict[str, Callable[..., Any]]] = {}

    def __init__(self, shape: Shape, dtype: str = "float32", name: str | None = None):
        self.shape: Shape = tuple(None if n is None else int(n) for n in shape)
        self.dtype = str(np.dtype(dtype))
        self.name = name
        self.node: Node | None = None  # what computes it; None for inputs, variables and constants

    @property
    def spec(self) -> TensorSpec:
        return TensorSpec(self.shape, self.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return self.spec.size

    def __repr__(self) -> str:
        name = f" {self.name!r}" if self.name else ""
        return f"<{type(self).__name__}{name} shape={self.shape} dtype={self.dtype}>"

    def __bool__(self) -> bool:
        raise Error(
            f"{self!r} has no value while a model is being traced, so Python cannot branch on it; "
            "use fastcnn.ops.where, or decide from shapes"
        )

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        raise Error(
            f"{self!r} has no value while a model is being traced; use fastcnn.ops instead of NumPy functions"
        )

    def __iter__(self) -> Any:
        if not self.shape or self.shape[0] is None:
            raise Error(f"{self!r} cannot be unpacked: its first dimension is not known")
        return (self[i] for i in range(self.shape[0]))

    def __add__(self, other: Any) -> "Tensor":
        return self.operators["add"](self, other)

    def __radd__(self, other: Any) -> "Tensor":
        return self.operators["add"](other, self)

    def __sub__(self, other: Any) -> "Tensor":
        return self.operators["subtract"](self, other)

    def __rsub__(self, other: Any) -> "Tensor":
        return self.operators["subtract"](other, self)

    def __mul__(self, other: Any) -> "Tensor":
        return self.operators["multiply"](self, other)

    def __rmul__(self, other: Any) -> "Tensor":
        return self.operators["multiply"](other, self)

    def __truediv__(self, other: Any) -> "Tensor":
        return self.operators["divide"](self, other)

    def __rtruediv__(self, other: Any) -> "Tensor":
        return self.operators["divide"](other, self)

    def __pow__(self, other: Any) -> "Tensor":
        return self.operators["power"](self, other)

    def __rpow__(self, other: Any) -> "Tensor":
        return self.operators["power"](other, self)

    def __matmul__(self, other: Any) -> "Tensor":
        return self.operators["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> "Tensor":
        return self.operators["matmul"](other, self)

    def __floordiv__(self, other: Any) -> "Tensor":
        return self.operators["floor_divide"](self, other)

    def __rfloordiv__(self, other: Any) -> "Tensor":
        return self.operators["floor_divide"](other, self)

    def __mod__(self, other: Any) -> "Tensor":
        return self.operators["mod"](self, other)

    def __rmod__(self, other: Any) -> "Tensor":
        return self.operators["mod"](other, self)

    def __and__(self, other: Any) -> "Tensor":
        return self.operators["logical_and"](self, other)

    def __rand__(self, other: Any) -> "Tensor":
        return self.operators["logical_and"](other, self)

    def __or__(self, other: Any) -> "Tensor":
        return self.operators["logical_or"](self, other)

    def __ror__(self, other: Any) -> "Tensor":
        return self.operators["logical_or"](other, self)

    def __xor__(self, other: Any) -> "Tensor":
        return self.operators["logical_xor"](self, other)

    def __rxor__(self, other: Any) -> "Tensor":
        return self.operators["logical_xor"](other, self)

    def __invert__(self) -> "Tensor":
        return self.operators["logical_not"](self)

    def __round__(self, decimals: int = 0) -> "Tensor":
        return self.operators["round"](self, decimals)

    def __neg__(self) -> "Tensor":
        return self.operators["negative"](self)

    def __abs__(self) -> "Tensor":
        return self.operators["abs"](self)

    def __gt__(self, other: Any) -> "Tensor":
        return self.operators["greater"](self, other)

    def __ge__(self, other: Any) -> "Tensor":
        return self.operators["greater_equal"](self, other)

    def __lt__(self, other: Any) -> "Tensor":
        return self.operators["less"](self, other)

    def __le__(self, other: Any) -> "Tensor":
        return self.operators["less_equal"](self, other)

    def __getitem__(self, index: Any) -> "Tensor":
        return self.operators["getitem"](self, index)


class Constant(Tensor):
    """A tensor whose values are known when the graph is made."""

    def __init__(self, value: np.ndarray):
        super().__init__(value.shape, str(value.dtype))
        self.value = self.buffer = self.home = np.ascontiguousarray(value).reshape(value.shape)

    def __array__(self, dtype: Any = None, copy: object = None) -> np.ndarray:
        return np.array(self.value, dtype=dtype)


class Clock:
    """Counts the times that somebody may have changed variables."""

    now: ClassVar[int] = 0  # all of them together: where it stands still, nothing has changed

    def __init__(self) -> None:
        self.ticks = 0

    def tick(self) -> None:
        self.ticks += 1
        Clock.now += 1


class Variable(Tensor):
    """Values that outlive a run: weights, moving statistics, optimizer slots, counters.

    The values are one NumPy array for life, `buffer`; plans hold its address, so it is only ever written in place.
    Plans also keep what they made of it (packed weights, say) until it changes. They see `assign`, and each other's
    updates. Whoever asks for `value` may write to it at any time: plans then trust nothing that they have kept of it.
    """

    away: ClassVar[WeakSet["Variable"]] = WeakSet()  # those whose newest values are on another device

    def __init__(
        self, value: Any = None, dtype: str = "float32", trainable: bool = True, name: str | None = None, *,
        initializer: Any = None, shape: Any = (),
    ):  # fmt: skip
        """value: the first values, or an initializer (or its name) that makes some of this shape."""
        value = value if initializer is None else initializer
        if callable(value) or isinstance(value, str):
            value = deserialize("initializer", value)(tuple(shape), dtype=dtype)
        self.home = np.array(value, dtype=dtype, order="C")
        self.elsewhere: Any = None  # who has newer values than `home`: the mirror on another device
        self.clocks = [Clock()]  # its own, and those of the plans that change it
        self.is_exposed = False
        super().__init__(self.home.shape, dtype, name)
        self.trainable = trainable
        self.path = name or "variable"  # unique within a model: "conv2d/kernel"
        self.regularizer: Callable[[Tensor], Tensor] | None = None
        self.constraint: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def buffer(self) -> np.ndarray:
        """The values, to be read at once."""
        if self.elsewhere is not None:
            self.return_home()
        return self.home

    def move(self, elsewhere: Any) -> None:
        """The newest values are not in `home` any more; `elsewhere.fetch()` will bring them there."""
        self.elsewhere = elsewhere
        Variable.away.add(self)

    def return_home(self) -> None:
        """Bring the newest values to `home`."""
        elsewhere, self.elsewhere = self.elsewhere, None
        Variable.away.discard(self)
        if elsewhere is not None:
            elsewhere.fetch()

    @property
    def value(self) -> np.ndarray:
        """The values, to be read or written. `numpy`, `assign` and `buffer` keep predictions faster."""
        self.is_exposed = True
        self.clocks[0].tick()
        return self.buffer

    @property
    def version(self) -> int:
        """How often the values may have changed."""
        return sum(clock.ticks for clock in self.clocks)

    def numpy(self) -> np.ndarray:
        """A copy of the values."""
        return self.buffer.copy()

    def __array__(self, dtype: Any = None, copy: object = None) -> np.ndarray:
        return np.array(self.buffer, dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        """In a trace a tensor, elsewhere a copy of the values there."""
        if self.operators["is_tracing"]():
            return super().__getitem__(index)
        return self.buffer[index].copy()

    def assign(self, value: Any) -> None:
        """Overwrite all values; in a layer's call, whenever it runs. Raises `Error` when the shape differs."""
        if self.operators["is_tracing"]():
            self.operators["assign"](self, value)
            return
        array = np.asarray(value)
        if array.shape != self.shape:
            raise Error(
                f"{self.path}: cannot assign values of shape {array.shape}; the shape is {self.shape}"
            )
        self.buffer[...] = array
        self.clocks[0].tick()

    def put(self, values: Any) -> None:
        """Overwrite the first values along the first axis, or all of a scalar, without checks."""
        if self.ndim:
            self.buffer[: len(values)] = values
        else:
            self.buffer[...] = values
        self.clocks[0].tick()

    def assign_add(self, value: Any) -> None:
        """Add to the values, as `assign` overwrites them."""
        self.assign(self._now() + value)

    def assign_sub(self, value: Any) -> None:
        """Subtract from the values, as `assign` overwrites them."""
        self.assign(self._now() - value)

    def _now(self) -> Any:
        """The values, or where they are not known yet, itself."""
        return self if self.operators["is_tracing"]() else self.buffer


def is_keras_tensor(x: Any) -> bool:
    """Whether x is a symbolic tensor, as `Input` and layers called on it give."""
    return isinstance(x, Tensor) and not isinstance(x, Variable | Constant)
