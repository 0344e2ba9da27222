"""Order along an axis: sorted elements, their places, and what is found at places. NaN stands last."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn.graph import Op, apply, operation
from fastcnn.ops.core import convert, dtype_kept
from fastcnn.ops.elementwise import negative
from fastcnn.ops.shape import broadcast_to, cast, floating, known, moveaxis, normalize_axis, ravel
from fastcnn.tensor import Tensor, TensorSpec

__all__ = ["argpartition", "argsort", "sort", "take_along_axis", "top_k"]

FEW = 32  # elements that are selected one by one; for more, all are sorted


@operation
class ArgSort(Op):
    """Places along the last dimension in the order of x, as int32; equal elements keep theirs."""

    def infer(self, x: Tensor) -> TensorSpec:
        return TensorSpec(x.shape, "int32")

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[None]:
        return (None,)

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return [TensorSpec(inputs[0].shape, "int32")]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.argsort_rows.bind(*_rows([*inputs, *outputs, *scratch]))]


@operation
class Select(Op):
    """The first `count` places along the last dimension in the order of x, as int32; equal elements keep theirs."""

    count: int

    def infer(self, x: Tensor) -> TensorSpec:
        return TensorSpec((*x.shape[:-1], self.count), "int32")

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[None]:
        return (None,)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.select_rows.bind(*_rows([*inputs, *outputs]))]


@operation
class Pick(Op):
    """y[..., k] = x[..., index[..., k]]; NaN where there is no such place."""

    def infer(self, x: Tensor, index: Tensor) -> TensorSpec:
        return TensorSpec(index.shape, x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, None]:
        return apply(PickGrad(known(inputs[0].shape)[-1]), grads[0], inputs[1]), None

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.pick_forward.bind(*_rows([*inputs, *outputs]))]


@operation
class PickGrad(Op):
    """dx[..., i] = sum of dy[..., k] over the k with index[..., k] = i."""

    length: int

    def infer(self, dy: Tensor, index: Tensor) -> TensorSpec:
        return TensorSpec((*dy.shape[:-1], self.length), dy.dtype)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.pick_backward.bind(*_rows([*inputs, *outputs]))]


def _rows(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [array.reshape(-1, array.shape[-1]) for array in arrays]


@dtype_kept
def argsort(x: Any, axis: int | None = -1) -> Any:
    """The places of the elements along `axis` (None: of x as one dimension), the smallest first; int32."""
    x = ravel(x) if axis is None else convert(x)
    if not x.ndim:
        return cast(x * 0, "int32")
    place = normalize_axis(-1 if axis is None else axis, x.ndim, "argsort")
    return moveaxis(apply(ArgSort(), moveaxis(x, place, -1)), -1, place)


@dtype_kept
def argpartition(x: Any, kth: int, axis: int | None = -1) -> Any:
    """Places along `axis` such that element number kth is where it is in order, smaller ones before; int32."""
    return argsort(x, axis)


@dtype_kept
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Any:
    """The elements of x at `indices` along `axis` (None: of x as one dimension), all other places being equal."""
    x, places = convert(x), convert(indices)
    if axis is None:
        return take_along_axis(ravel(x), ravel(places), 0)
    axis = normalize_axis(axis, x.ndim, "take_along_axis")
    x, places = moveaxis(x, axis, -1), moveaxis(places, axis, -1)
    pairs = list(zip(x.shape[:-1], places.shape[:-1], strict=True))
    x = broadcast_to(x, (*(m if n == 1 else n for n, m in pairs), x.shape[-1]))
    places = broadcast_to(places, (*(n if m == 1 else m for n, m in pairs), places.shape[-1]))
    return moveaxis(apply(Pick(), x, places), -1, axis)


@dtype_kept
def sort(x: Any, axis: int | None = -1) -> Any:
    """The elements along `axis` (None: of x as one dimension), the smallest first."""
    x = ravel(x) if axis is None else convert(x)
    place = -1 if axis is None else axis
    return take_along_axis(x, argsort(x, place), place)


@dtype_kept
def top_k(x: Any, k: int, sorted: bool = True) -> tuple[Any, Any]:
    """The k largest elements along the last axis, the largest first, and their places, int32."""
    x = convert(x)
    reverse = negative(floating(x, "float64"))  # of equal elements the first is first here too
    length = x.shape[-1]
    few = length is not None and 0 < k <= min(length, FEW)
    places = apply(Select(k), reverse) if few else argsort(reverse)[..., :k]
    return take_along_axis(x, places, -1), places
