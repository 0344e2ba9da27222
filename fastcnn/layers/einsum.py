"""Dense layers between axes of one's choice."""

import re
from typing import Any

from fastcnn import activations, ops
from fastcnn.errors import Error
from fastcnn.initializers import VarianceScaling
from fastcnn.layers import weights
from fastcnn.layers.base import Layer
from fastcnn.tensor import Shape, Tensor

_EQUATION = re.compile(
    r"(?P<left>\.\.\.)?([a-zA-Z]+)(?P<right>\.\.\.)?,([a-zA-Z]+)->(?(left)\.\.\.)([a-zA-Z]+)(?(right)\.\.\.)"
)


class EinsumDense(Layer):
    """y = activation(einsum(equation, x, kernel) + bias).

    equation: letters for the axes of x, of the kernel and of y, as in "abc,cx->abx" or "...x,xy->...y"; "..." on the
    left or on the right stands for any other axes. output_shape: without the batch and what "..." stands for; None
    where x says it. bias_axes: letters of y along which the bias has elements of their own; None: no bias.
    """

    shows_activity_regularizer = True

    def __init__(
        self,
        equation: str,
        output_shape: Any,
        activation: Any = None,
        bias_axes: str | None = None,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.equation = equation
        terms = _EQUATION.fullmatch(equation)
        if terms is None:
            raise Error(
                f"EinsumDense: equation {equation!r} is not like 'ab,bc->ac', '...a,ab->...b' or 'ab...,bc->ac...'"
            )
        self._leads = terms["left"] is not None
        self._source, self._weight, self._result = terms[2], terms[4], terms[5]
        unknown = (
            set(self._weight) - set(self._source + self._result),
            set(bias_axes or "") - set(self._result),
        )
        if any(unknown) or not set(self._result) <= set(self._source + self._weight):
            raise Error(
                f"EinsumDense: equation {equation!r} with bias_axes {bias_axes!r} does not say all lengths; letters of "
                "the kernel must be in x or in y, those of y in x or in the kernel, those of the bias in y"
            )
        self.partial_output_shape = (output_shape,) if isinstance(output_shape, int) else tuple(output_shape)
        self.activation = activations.get(activation)
        self.bias_axes = bias_axes
        weights.describe(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)
        weights.describe(self, "bias", bias_initializer, bias_regularizer, bias_constraint)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "output_shape": self.partial_output_shape}

    def build(self, input_shape: Shape) -> None:
        lengths = self._lengths(input_shape)
        if missing := [n for n in self._weight if lengths[n] is None]:
            raise Error(
                f"the length of {missing[0]!r} in {self.equation!r} must be known, got an input of shape {input_shape}"
            )
        shape = tuple(lengths[n] for n in self._weight)
        self.kernel = weights.add(self, "kernel", shape, initializer=self._first_values())
        elided = 0 if self._leads else len(input_shape) - len(self._source)
        self.bias = weights.add(self, "bias", self._bias_shape(lengths, elided)) if self.bias_axes else None
        self.built = True

    def _first_values(self) -> Any:
        """The initializer, told which axes of the kernel are inputs (summed over) and which outputs."""
        initializer = getattr(self, "kernel_initializer", None)
        if not isinstance(initializer, VarianceScaling):
            return initializer
        summed = [i for i, n in enumerate(self._weight) if n not in self._result]
        return initializer.between(summed, [i for i in range(len(self._weight)) if i not in summed])

    def _lengths(self, input_shape: Shape) -> dict[str, int | None]:
        """The length of each letter."""
        size = (input_shape if self._leads else input_shape[:1]) + self.partial_output_shape
        found = _letters(self._source, input_shape, self._leads)
        for letter, length in _letters(self._result, size, self._leads).items():
            if None not in (length, known := found.get(letter)) and length != known:
                raise Error(
                    f"{letter!r} is {known} long in an input of shape {input_shape}, and {length} in output_shape"
                )
            found[letter] = known if length is None else length
        return found

    def _bias_shape(self, lengths: dict[str, int | None], elided: int) -> Shape:
        """From the first letter of the bias on, 1 along axes that it has no elements for."""
        assert self.bias_axes is not None
        first = min(self._result.index(letter) for letter in self.bias_axes)
        return (*(lengths[n] if n in self.bias_axes else 1 for n in self._result[first:]), *(1,) * elided)

    def call(self, inputs: Tensor) -> Tensor:
        y = ops.einsum(self.equation, inputs, self.kernel)
        return self.activation(y if self.bias is None else y + self.bias)


def _letters(letters: str, shape: Shape, from_the_right: bool) -> dict[str, int | None]:
    if len(shape) < len(letters):
        raise Error(f"{letters!r} has more letters than the shape {shape} axes")
    step = -1 if from_the_right else 1
    return dict(zip(letters[::step], shape[::step], strict=False))
