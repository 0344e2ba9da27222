"""Arithmetic element by element. Operands of different shapes are repeated to a common one, as NumPy does.

Plain numbers become attributes of an op, not tensors: x + 2, 2 - x, 3 * x are all `Affine`. Comparisons give 1
and 0 in the dtype of their operands and have no gradient.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn import config
from fastcnn.dtypes import standardize_dtype
from fastcnn.errors import Error
from fastcnn.graph import Op, apply, operation
from fastcnn.ops import reduction
from fastcnn.ops import shape as shapes
from fastcnn.ops.core import convert, dtype_kept, op_function, predicate, whole_function
from fastcnn.tensor import Shape, Tensor, TensorSpec

__all__ = [
    "abs",
    "absolute",
    "add",
    "bias_add",
    "ceil",
    "clip",
    "cos",
    "divide",
    "empty_like",
    "equal",
    "exp",
    "expm1",
    "floor",
    "full_like",
    "greater",
    "greater_equal",
    "less",
    "less_equal",
    "log",
    "log1p",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "not_equal",
    "ones_like",
    "power",
    "reciprocal",
    "round",
    "rsqrt",
    "sign",
    "sin",
    "sqrt",
    "square",
    "stop_gradient",
    "subtract",
    "true_divide",
    "where",
    "zeros_like",
]


def require_floating(what: str, *tensors: Tensor) -> None:
    """Arithmetic is for floating-point tensors of one dtype."""
    shapes.require_same_dtype(what, *tensors)
    if tensors[0].dtype not in config.FLOAT_TYPES:
        raise Error(f"{what}: expected float32 or float64, got {tensors[0].dtype}; use ops.cast first")


def flat(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The same memory as one-dimensional arrays."""
    return [array.reshape(-1) for array in arrays]


# --- shapes ----------------------------------------------------------------------------------------------------


def broadcast_shape(what: str, first: Shape, second: Shape) -> Shape:
    """The common shape by NumPy's rules. A dimension that is not known yet is taken to fit."""
    ndim = max(len(first), len(second))
    own, other = (1,) * (ndim - len(first)) + first, (1,) * (ndim - len(second)) + second
    if any(n != m and 1 not in (n, m) and None not in (n, m) for n, m in zip(own, other, strict=True)):
        raise Error(
            f"{what}: shapes {first} and {second} do not fit; dimensions must be equal, or one of them 1"
        )
    return tuple(m if n == 1 or n is None and m != 1 else n for n, m in zip(own, other, strict=True))


@operation
class BroadcastLike(Op):
    """x repeated to the common shape of x and another tensor, whose values do not matter."""

    def infer(self, x: Tensor, like: Tensor) -> TensorSpec:
        return TensorSpec(broadcast_shape("broadcast", x.shape, like.shape), x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor | None, ...]:
        return reduction.sum_to_shape(grads[0], inputs[0].shape), None

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return shapes.BroadcastTo(outputs[0].shape).launch(k, inputs[:1], outputs, scratch)


def operands(what: str, *values: Any) -> list[Tensor]:
    """The values as tensors of one dtype and one shape; whole numbers become floating ones."""
    dtypes = [x.dtype for x in values if isinstance(x, Tensor) and x.dtype in config.FLOAT_TYPES]
    wanted = dtypes[0] if dtypes else None
    tensors = [shapes.floating(convert(value, wanted), wanted) for value in values]
    require_floating(what, *tensors)
    common = tensors[0].shape
    for x in tensors[1:]:
        common = broadcast_shape(what, common, x.shape)
    return [_repeated(x, common, tensors) for x in tensors]


def _repeated(x: Tensor, common: Shape, tensors: Sequence[Tensor]) -> Tensor:
    for other in tensors:
        if x.shape != common and other is not x:
            x = apply(BroadcastLike(), x, other)
    return x


def same_shape(what: str, *tensors: Tensor) -> TensorSpec:
    """The spec that tensors of one dtype and shape share."""
    require_floating(what, *tensors)
    shape = tensors[0].shape
    for x in tensors[1:]:
        if len(x.shape) != len(shape) or any(
            n != m and None not in (n, m) for n, m in zip(shape, x.shape, strict=True)
        ):
            raise Error(f"{what}: shapes {shape} and {x.shape} differ")
        shape = tuple(m if n is None else n for n, m in zip(shape, x.shape, strict=True))
    return TensorSpec(shape, tensors[0].dtype)


def is_number(value: Any) -> bool:
    """Whether a value is a plain number, to be an attribute of an op."""
    return isinstance(value, bool | int | float | np.number | np.bool_)


# --- two operands ----------------------------------------------------------------------------------------------


@operation
class Binary(Op):
    """Of two tensors of one shape, by the kernel that `kernel` picks."""

    images = (0, 1)

    def kernel(self, k: Any) -> Any:
        raise Error(f"{self.name} names no kernel")

    def infer(self, x1: Tensor, x2: Tensor) -> TensorSpec:
        return same_shape(self.name.lower(), x1, x2)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [self.kernel(k).bind(*flat(inputs), *flat(outputs))]


@operation
class Add(Binary):
    """x1 + x2."""

    def kernel(self, k: Any) -> Any:
        return k.add

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        return grads[0], grads[0]


@operation
class Subtract(Binary):
    """x1 - x2."""

    def kernel(self, k: Any) -> Any:
        return k.subtract

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        return grads[0], -grads[0]


@operation
class Multiply(Binary):
    """x1 x2."""

    def kernel(self, k: Any) -> Any:
        return k.multiply

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        return grads[0] * inputs[1], grads[0] * inputs[0]


@operation
class Divide(Binary):
    """x1 / x2."""

    def kernel(self, k: Any) -> Any:
        return k.divide

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        dx1 = grads[0] / inputs[1]
        return dx1, -(dx1 * outputs[0])


@operation
class Power(Binary):
    """x1 ** x2. Where x1 <= 0 the gradient of x2, which would need a logarithm, is 0."""

    def kernel(self, k: Any) -> Any:
        return k.power

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        (x1, x2), (y,), (dy,) = inputs, outputs, grads
        logarithm = log(where(x1 > zeros_like(x1), x1, ones_like(x1)))
        return dy * x2 * power(x1, x2 - 1.0), dy * y * logarithm


@operation
class Maximum(Binary):
    """The larger of x1 and x2; NaN if either is. Where they are equal, x1 takes the gradient."""

    def kernel(self, k: Any) -> Any:
        return k.maximum

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        dx1 = grads[0] * (inputs[0] >= inputs[1])
        return dx1, grads[0] - dx1


@operation
class Minimum(Binary):
    """The smaller of x1 and x2; NaN if either is. Where they are equal, x1 takes the gradient."""

    def kernel(self, k: Any) -> Any:
        return k.minimum

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        dx1 = grads[0] * (inputs[0] <= inputs[1])
        return dx1, grads[0] - dx1


@operation
class Comparison(Binary):
    """1 where it holds, else 0; without gradient."""

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[None, ...]:
        return None, None


@operation
class Greater(Comparison):
    """x1 > x2."""

    def kernel(self, k: Any) -> Any:
        return k.greater


@operation
class GreaterEqual(Comparison):
    """x1 >= x2."""

    def kernel(self, k: Any) -> Any:
        return k.greater_equal


@operation
class Equal(Comparison):
    """x1 = x2."""

    def kernel(self, k: Any) -> Any:
        return k.equal


@operation
class Select(Op):
    """x1 where the condition is not 0, else x2."""

    images = (0, 1, 2)

    def infer(self, condition: Tensor, x1: Tensor, x2: Tensor) -> TensorSpec:
        return same_shape("where", condition, x1, x2)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor | None, ...]:
        (condition, _, _), (dy,) = inputs, grads
        nothing = zeros_like(dy)
        return None, apply(Select(), condition, dy, nothing), apply(Select(), condition, nothing, dy)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.select.bind(*flat(inputs), *flat(outputs))]


@operation
class BiasAdd(Op):
    """x + bias, bias (c,) over the last dimension of x (..., c)."""

    images = (0,)

    def infer(self, x: Tensor, bias: Tensor) -> TensorSpec:
        require_floating("bias_add", x, bias)
        if x.ndim < 2 or bias.shape != x.shape[-1:]:
            raise Error(f"bias_add: expected (..., c) and (c,), got {x.shape} and {bias.shape}")
        return x.spec

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        return grads[0], reduction.sum_to_shape(grads[0], inputs[1].shape)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, bias), (y,) = inputs, outputs
        return [k.bias_add.bind(x.reshape(-1, bias.size), bias, y.reshape(-1, bias.size))]


@whole_function(2)
def add(x1: Any, x2: Any) -> Any:
    """x1 + x2."""
    if is_number(x1) or is_number(x2):
        return affine(x2, offset=x1) if is_number(x1) else affine(x1, offset=x2)
    return apply(Add(), *operands("add", x1, x2))


@whole_function(2)
def subtract(x1: Any, x2: Any) -> Any:
    """x1 - x2."""
    if is_number(x1) or is_number(x2):
        return affine(x2, -1.0, x1) if is_number(x1) else affine(x1, offset=-x2)
    return apply(Subtract(), *operands("subtract", x1, x2))


@whole_function(2)
def multiply(x1: Any, x2: Any) -> Any:
    """x1 x2."""
    if is_number(x1) or is_number(x2):
        return affine(x2, x1) if is_number(x1) else affine(x1, x2)
    return apply(Multiply(), *operands("multiply", x1, x2))


@op_function
def divide(x1: Any, x2: Any) -> Any:
    """x1 / x2. By a plain number it is multiplication with its reciprocal."""
    if is_number(x2):
        return affine(x1, 1.0 / x2 if x2 else np.inf)
    return affine(reciprocal(x2), x1) if is_number(x1) else apply(Divide(), *operands("divide", x1, x2))


true_divide = divide


@whole_function(2)
def power(x1: Any, x2: Any) -> Any:
    """x1 ** x2; NaN where x1 < 0 and x2 is not whole."""
    if not is_number(x2):
        return apply(Power(), *operands("power", x1, x2))
    simple: dict[float, Callable[[Any], Any]] = {
        1.0: convert,
        2.0: square,
        0.5: sqrt,
        -1.0: reciprocal,
        -0.5: rsqrt,
    }
    return simple[x2](x1) if x2 in simple else apply(PowerScalar(float(x2)), shapes.floating(x1))


@whole_function(2)
def maximum(x1: Any, x2: Any) -> Any:
    """The larger of x1 and x2; NaN if either is. Where they are equal, x1 takes the gradient."""
    if is_number(x1) or is_number(x2):
        return clip(x2, x1, None) if is_number(x1) else clip(x1, x2, None)
    return apply(Maximum(), *operands("maximum", x1, x2))


@whole_function(2)
def minimum(x1: Any, x2: Any) -> Any:
    """The smaller of x1 and x2; NaN if either is. Where they are equal, x1 takes the gradient."""
    if is_number(x1) or is_number(x2):
        return clip(x2, None, x1) if is_number(x1) else clip(x1, None, x2)
    return apply(Minimum(), *operands("minimum", x1, x2))


@predicate
def greater(x1: Any, x2: Any) -> Any:
    """1 where x1 > x2, else 0."""
    return apply(Greater(), *operands("greater", x1, x2))


@predicate
def greater_equal(x1: Any, x2: Any) -> Any:
    """1 where x1 >= x2, else 0."""
    return apply(GreaterEqual(), *operands("greater_equal", x1, x2))


@predicate
def less(x1: Any, x2: Any) -> Any:
    """1 where x1 < x2, else 0."""
    return greater(x2, x1)


@predicate
def less_equal(x1: Any, x2: Any) -> Any:
    """1 where x1 <= x2, else 0."""
    return greater_equal(x2, x1)


@predicate
def equal(x1: Any, x2: Any) -> Any:
    """1 where x1 = x2, else 0."""
    return apply(Equal(), *operands("equal", x1, x2))


@predicate
def not_equal(x1: Any, x2: Any) -> Any:
    """0 where x1 = x2, else 1."""
    return 1.0 - equal(x1, x2)


def where(condition: Any, x1: Any = None, x2: Any = None) -> Any:
    """x1 where the condition is not 0, else x2. Of a condition alone, the places where it is not 0."""
    if x1 is None and x2 is None:
        return tuple(indices.astype("int32") for indices in np.nonzero(np.asarray(condition)))
    return chosen(x1, x2, condition)


@whole_function(2)
def chosen(x1: Any, x2: Any, condition: Any) -> Any:
    """x1 where the condition is not 0, else x2."""
    x1, x2 = operands("where", x1, x2)
    return apply(Select(), *operands("where", shapes.cast(convert(condition), x1.dtype), x1, x2))


@whole_function(2)
def bias_add(x: Any, bias: Any) -> Any:
    """x + bias, bias (c,) over the last dimension of x (..., c)."""
    x = convert(x)
    return apply(BiasAdd(), x, convert(bias, x.dtype))


# --- one operand -----------------------------------------------------------------------------------------------


@operation
class Unary(Op):
    """Of one tensor, by the kernel that `kernel` picks; dx = dy times `derivative` (None: no gradient)."""

    images = (0,)

    def kernel(self, k: Any) -> Any:
        raise Error(f"{self.name} names no kernel")

    def constants(self) -> tuple[float, ...]:
        """What the kernel is told besides the arrays."""
        return ()

    def derivative(self, x: Tensor, y: Tensor) -> Tensor | None:
        """f'(x), of x and y = f(x)."""
        return None

    def infer(self, x: Tensor) -> TensorSpec:
        require_floating(self.name.lower(), x)
        return x.spec

    def gradient(
        self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], grads: Any
    ) -> tuple[Tensor | None]:
        derivative = self.derivative(inputs[0], outputs[0])
        return (None if derivative is None else grads[0] * derivative,)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [self.kernel(k).bind(*flat(inputs), *flat(outputs), *self.constants())]


@operation
class Affine(Unary):
    """scale x + offset."""

    scale: float
    offset: float

    def kernel(self, k: Any) -> Any:
        return k.affine

    def constants(self) -> tuple[float, ...]:
        return self.scale, self.offset

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[Tensor]:
        return (affine(grads[0], self.scale),)


@operation
class PowerScalar(Unary):
    """x ** exponent."""

    exponent: float

    def kernel(self, k: Any) -> Any:
        return k.power_scalar

    def constants(self) -> tuple[float, ...]:
        return (self.exponent,)

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return power(x, self.exponent - 1.0) * self.exponent


@operation
class Clip(Unary):
    """The number in [low, high] nearest to x; None: no bound. What lies on a bound has a gradient."""

    low: float | None
    high: float | None

    def constants(self) -> tuple[float, ...]:
        return -np.inf if self.low is None else self.low, np.inf if self.high is None else self.high

    def kernel(self, k: Any) -> Any:
        return k.clip_forward

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        return (apply(ClipGrad(self), grads[0], inputs[0]),)


@operation
class ClipGrad(Op):
    """dy where low <= x <= high, else 0."""

    clip: Clip
    images = (0, 1)

    def infer(self, dy: Tensor, x: Tensor) -> TensorSpec:
        return x.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.clip_backward.bind(*flat(inputs), *flat(outputs), *self.clip.constants())]


@operation
class Full(Unary):
    """`value` in the shape of x, whose values do not matter."""

    value: float

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.fill.bind(outputs[0].reshape(-1), self.value)]


@operation
class StopGradient(Unary):
    """x itself, without gradient."""

    alias = True


@operation
class Absolute(Unary):
    """|x|."""

    def kernel(self, k: Any) -> Any:
        return k.absolute

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return sign(x)


@operation
class Sign(Unary):
    """-1, 0 or 1."""

    def kernel(self, k: Any) -> Any:
        return k.sign


@operation
class Square(Unary):
    """x x."""

    def kernel(self, k: Any) -> Any:
        return k.square

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return x * 2.0


@operation
class Sqrt(Unary):
    """x ** (1/2)."""

    def kernel(self, k: Any) -> Any:
        return k.sqrt

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return 0.5 / y


@operation
class Rsqrt(Unary):
    """x ** (-1/2)."""

    def kernel(self, k: Any) -> Any:
        return k.rsqrt

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return y * y * y * -0.5


@operation
class Reciprocal(Unary):
    """1 / x."""

    def kernel(self, k: Any) -> Any:
        return k.reciprocal

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return -(y * y)


@operation
class Exp(Unary):
    """e ** x."""

    def kernel(self, k: Any) -> Any:
        return k.exp

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return y


@operation
class Expm1(Unary):
    """e ** x - 1."""

    def kernel(self, k: Any) -> Any:
        return k.expm1

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return y + 1.0


@operation
class Log(Unary):
    """ln x."""

    def kernel(self, k: Any) -> Any:
        return k.log

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return reciprocal(x)


@operation
class Log1p(Unary):
    """ln(1 + x)."""

    def kernel(self, k: Any) -> Any:
        return k.log1p

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return reciprocal(x + 1.0)


@operation
class Sin(Unary):
    """sin x."""

    def kernel(self, k: Any) -> Any:
        return k.sin

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return cos(x)


@operation
class Cos(Unary):
    """cos x."""

    def kernel(self, k: Any) -> Any:
        return k.cos

    def derivative(self, x: Tensor, y: Tensor) -> Tensor:
        return -sin(x)


@operation
class Floor(Unary):
    """The largest whole number <= x."""

    def kernel(self, k: Any) -> Any:
        return k.floor


@operation
class Ceil(Unary):
    """The smallest whole number >= x."""

    def kernel(self, k: Any) -> Any:
        return k.ceil


@operation
class Round(Unary):
    """The nearest whole number; of two, the even one."""

    def kernel(self, k: Any) -> Any:
        return k.round_half_even


def affine(x: Any, scale: float = 1.0, offset: float = 0.0) -> Any:
    """scale x + offset, of plain numbers."""
    x = shapes.floating(x)
    return x if (scale, offset) == (1.0, 0.0) else apply(Affine(float(scale), float(offset)), x)


@whole_function(3)
def clip(x: Any, x_min: float | None, x_max: float | None) -> Any:
    """The number in [x_min, x_max] nearest to x. None: no bound."""
    low, high = (None if bound is None else float(bound) for bound in (x_min, x_max))
    if low is not None and high is not None and low > high:
        raise Error(f"clip: x_min={x_min} is larger than x_max={x_max}")
    return apply(Clip(low, high), shapes.floating(x))


@dtype_kept
def full_like(x: Any, fill_value: Any, dtype: Any = None) -> Any:
    """`fill_value` everywhere, in the shape of x and its dtype or another."""
    x = convert(x)
    if not is_number(fill_value):
        return shapes.cast(full_like(x, 0, "float64") + shapes.cast(fill_value, "float64"), dtype or x.dtype)
    wanted = x.dtype if dtype is None else standardize_dtype(dtype)
    return shapes.cast(apply(Full(float(fill_value)), shapes.floating(x)), wanted)


def zeros_like(x: Any, dtype: Any = None) -> Any:
    """0 everywhere, in the shape of x."""
    return full_like(x, 0.0, dtype)


def ones_like(x: Any, dtype: Any = None) -> Any:
    """1 everywhere, in the shape of x."""
    return full_like(x, 1.0, dtype)


empty_like = zeros_like


@dtype_kept
def stop_gradient(variable: Any) -> Any:
    """The argument itself, as if it were constant."""
    x = convert(variable)
    return apply(StopGradient(), x) if x.dtype in config.FLOAT_TYPES else x


@whole_function()
def negative(x: Any) -> Any:
    """-x."""
    return affine(x, -1.0)


@whole_function()
def absolute(x: Any) -> Any:
    """|x|."""
    return apply(Absolute(), shapes.floating(x))


abs = absolute


@whole_function()
def sign(x: Any) -> Any:
    """-1, 0 or 1 with the sign of x."""
    return apply(Sign(), shapes.floating(x))


@whole_function(least=int)
def square(x: Any) -> Any:
    """x x."""
    return apply(Square(), shapes.floating(x))


@op_function
def sqrt(x: Any) -> Any:
    """The square root; NaN where x < 0."""
    return apply(Sqrt(), shapes.floating(x))


@op_function
def rsqrt(x: Any) -> Any:
    """1 / sqrt(x)."""
    return apply(Rsqrt(), shapes.floating(x))


@op_function
def reciprocal(x: Any) -> Any:
    """1 / x."""
    return apply(Reciprocal(), shapes.floating(x))


@op_function
def exp(x: Any) -> Any:
    """e ** x."""
    return apply(Exp(), shapes.floating(x))


@op_function
def expm1(x: Any) -> Any:
    """e ** x - 1, exact near 0."""
    return apply(Expm1(), shapes.floating(x))


@op_function
def log(x: Any) -> Any:
    """The natural logarithm; -infinity at 0, NaN where x < 0."""
    return apply(Log(), shapes.floating(x))


@op_function
def log1p(x: Any) -> Any:
    """ln(1 + x), exact near 0."""
    return apply(Log1p(), shapes.floating(x))


@op_function
def sin(x: Any) -> Any:
    """sin x, x in radians."""
    return apply(Sin(), shapes.floating(x))


@op_function
def cos(x: Any) -> Any:
    """cos x, x in radians."""
    return apply(Cos(), shapes.floating(x))


@op_function
def floor(x: Any) -> Any:
    """The largest whole number <= x."""
    return apply(Floor(), shapes.floating(x))


@op_function
def ceil(x: Any) -> Any:
    """The smallest whole number >= x."""
    return apply(Ceil(), shapes.floating(x))


@whole_function()
def round(x: Any, decimals: int = 0) -> Any:
    """The nearest multiple of 10 ** -decimals; of two, the even one."""
    x = shapes.floating(x)
    return apply(Round(), x) if decimals == 0 else round(x * 10.0**decimals) * 10.0**-decimals


Tensor.operators.update(
    add=add,
    subtract=subtract,
    multiply=multiply,
    divide=divide,
    power=power,
    negative=negative,
    abs=absolute,
    greater=greater,
    greater_equal=greater_equal,
    less=less,
    less_equal=less_equal,
    ones_like=ones_like,
    round=round,
)
