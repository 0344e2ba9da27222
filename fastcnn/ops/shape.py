"""Ops that move numbers without computing new ones: reshape, transpose, slice, pad, join, repeat, gather, resize.

Shapes may hold None while a functional model is being built; kernels are bound only when they are known.
"""

import builtins
import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastcnn_kernels.shape import ResizeGeometry, StridedGeometry, strided_geometry

from fastcnn import config
from fastcnn.dtypes import result_type, standardize_dtype
from fastcnn.errors import Error, OpenDimensionError, did_you_mean
from fastcnn.graph import Op, apply, current_trace, operation
from fastcnn.ops.core import convert, dtype_kept, dtypes_of, op_function
from fastcnn.tensor import Constant, Shape, Tensor, TensorSpec, Variable

__all__ = [
    "broadcast_to",
    "cast",
    "concatenate",
    "expand_dims",
    "flatten",
    "flip",
    "moveaxis",
    "pad",
    "ravel",
    "repeat",
    "reshape",
    "shape",
    "slice",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "take",
    "tile",
    "transpose",
    "unstack",
    "upsample",
]

Axes = tuple[int, ...]


# --- axes and shapes -----------------------------------------------------------------------------------------


def normalize_axis(axis: int, ndim: int, what: str) -> int:
    """axis counted from the front; negative ones count from the end."""
    if not -ndim <= axis < ndim:
        raise Error(f"{what}: axis {axis} is out of range for a tensor of {ndim} dimensions")
    return axis % ndim


def normalize_axes(axis: int | Sequence[int] | None, ndim: int, what: str) -> Axes:
    """Distinct axes in order, counted from the front; None means all."""
    if axis is None:
        return tuple(range(ndim))
    given = [axis] if isinstance(axis, int) else list(axis)
    axes = tuple(sorted(normalize_axis(operator.index(i), ndim, what) for i in given))
    if len(set(axes)) != len(axes):
        raise Error(f"{what}: axis {tuple(given)} names a dimension twice")
    return axes


def known(shape: Sequence[int | None]) -> tuple[int, ...]:
    """The shape, all of whose dimensions a plan has fixed."""
    sizes = [int(n) for n in shape if n is not None]
    if len(sizes) < len(shape):
        raise OpenDimensionError(
            f"dimensions {tuple(shape)} must be known here; give Input all but the batch size, or compute in the "
            "call of a layer, which runs when shapes are known"
        )
    return tuple(sizes)


def product(shape: Sequence[int | None]) -> int | None:
    """Number of elements, None when a dimension is not known."""
    return None if None in shape else math.prod(known(shape))


def contiguous_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Distance between neighbours along each axis, in elements."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def require_same_dtype(what: str, *tensors: Tensor) -> None:
    """All numbers that meet in one op have one dtype."""
    dtypes = sorted({x.dtype for x in tensors})
    if len(dtypes) > 1:
        raise Error(f"{what}: got tensors of {' and '.join(dtypes)}; cast them to one dtype with ops.cast")


def shape(x: Any) -> tuple[int | None, ...]:
    """The dimensions of x; None for those that are open while a functional model is built."""
    return x.shape if isinstance(x, Tensor) else np.shape(x)


# --- the same memory under another shape ---------------------------------------------------------------------


@operation
class Reshape(Op):
    """The same elements in the same order. In `shape`, -1 is whatever is left, None the input's dimension there."""

    shape: Shape
    alias = True
    images = (0,)

    def infer(self, x: Tensor) -> TensorSpec:
        kept = {axis for axis, n in enumerate(self.shape) if n is None}
        if any(axis >= x.ndim for axis in kept) or self.shape.count(-1) > 1:
            raise Error(f"reshape: cannot make {self.shape} of a tensor of shape {x.shape}")
        size = product([n for axis, n in enumerate(x.shape) if axis not in kept])
        rest = math.prod(n for n in self.shape if n is not None and n != -1)
        if size is not None and (size % max(rest, 1) if -1 in self.shape else size != rest):
            # What is kept may be another batch than that of the result: of pixels, say, and not of images.
            raise (OpenDimensionError if None in x.shape else Error)(
                f"reshape: cannot make {self.shape} of a tensor of shape {x.shape}; the number of elements must be kept"
            )
        missing = None if size is None else size // max(rest, 1)
        dims = (
            x.shape[axis] if n is None else missing if n == -1 else n for axis, n in enumerate(self.shape)
        )
        return TensorSpec(tuple(dims), x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        return (reshape(grads[0], inputs[0].shape),)


@operation
class ExpandDims(Op):
    """Dimensions of length 1 inserted, such that they are `axes` of the output."""

    axes: Axes
    alias = True
    images = (0,)

    def infer(self, x: Tensor) -> TensorSpec:
        rest = iter(x.shape)
        dims = (1 if axis in self.axes else next(rest) for axis in range(x.ndim + len(self.axes)))
        return TensorSpec(tuple(dims), x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        return (reshape(grads[0], inputs[0].shape),)


@operation
class Squeeze(Op):
    """Without the dimensions `axes`, which are of length 1."""

    axes: Axes
    alias = True
    images = (0,)

    def infer(self, x: Tensor) -> TensorSpec:
        for axis in self.axes:
            if x.shape[axis] not in (1, None):
                raise Error(f"squeeze: dimension {axis} of shape {x.shape} is not 1")
        return TensorSpec(tuple(n for axis, n in enumerate(x.shape) if axis not in self.axes), x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        return (reshape(grads[0], inputs[0].shape),)


@dtype_kept
def reshape(x: Any, newshape: Sequence[int | None] | int) -> Any:
    """x with shape `newshape`. One entry may be -1 (whatever is left); None keeps the dimension of x there."""
    dims = (newshape,) if isinstance(newshape, int) else tuple(newshape)
    return apply(Reshape(tuple(None if n is None else operator.index(n) for n in dims)), convert(x))


@dtype_kept
def flatten(x: Any) -> Any:
    """x (n, ...) -> (n, everything else)."""
    x = convert(x)
    return expand_dims(x, -1) if x.ndim == 1 else reshape(x, (None, -1))


@dtype_kept
def ravel(x: Any) -> Any:
    """x as one dimension."""
    return reshape(x, (-1,))


@dtype_kept
def expand_dims(x: Any, axis: int | Sequence[int]) -> Any:
    """x with dimensions of length 1 inserted, which become `axis` of the result."""
    x = convert(x)
    count = 1 if isinstance(axis, int) else len(axis)
    return apply(ExpandDims(normalize_axes(axis, x.ndim + count, "expand_dims")), x)


@dtype_kept
def squeeze(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """x without dimensions `axis` of length 1 (None: without all such)."""
    x = convert(x)
    if axis is None:
        return apply(Squeeze(tuple(i for i, n in enumerate(x.shape) if n == 1)), x)
    return apply(Squeeze(normalize_axes(axis, x.ndim, "squeeze")), x)


# --- strided copies ------------------------------------------------------------------------------------------


def copy_launch(k: Any, x: np.ndarray, y: np.ndarray, g: StridedGeometry) -> Any:
    """The launch that copies x into y as the geometry says."""
    return k.strided_copy.bind(x.reshape(-1), y.reshape(-1), g)


@operation
class Transpose(Op):
    """y[i_axes[0], i_axes[1], ...] = x[i_0, i_1, ...]."""

    axes: Axes

    def infer(self, x: Tensor) -> TensorSpec:
        return TensorSpec(tuple(x.shape[axis] for axis in self.axes), x.dtype)

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[Tensor]:
        return (transpose(grads[0], tuple(self.axes.index(axis) for axis in range(len(self.axes)))),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x,), (y,) = inputs, outputs
        strides = contiguous_strides(x.shape)
        sources = tuple(strides[axis] for axis in self.axes)
        return [copy_launch(k, x, y, strided_geometry(y.shape, sources, contiguous_strides(y.shape)))]


@dtype_kept
def transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    """x with its dimensions in the order `axes` (None: reversed)."""
    x = convert(x)
    order = [
        normalize_axis(axis, x.ndim, "transpose") for axis in (range(x.ndim)[::-1] if axes is None else axes)
    ]
    if sorted(order) != list(range(x.ndim)):
        raise Error(f"transpose: axes {axes} must name each of the {x.ndim} dimensions of {x.shape} once")
    return x if order == sorted(order) else apply(Transpose(tuple(order)), x)


@dtype_kept
def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """x with two dimensions exchanged."""
    x = convert(x)
    first, second = normalize_axis(axis1, x.ndim, "swapaxes"), normalize_axis(axis2, x.ndim, "swapaxes")
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return transpose(x, order)


@dtype_kept
def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """x with dimensions `source` moved to the places `destination`; the others keep their order."""
    x = convert(x)
    sources, targets = ([i] if isinstance(i, int) else list(i) for i in (source, destination))
    sources = [normalize_axis(axis, x.ndim, "moveaxis") for axis in sources]
    targets = [normalize_axis(axis, x.ndim, "moveaxis") for axis in targets]
    if len(set(sources)) != len(sources) or len(set(targets)) != len(targets) or len(sources) != len(targets):
        raise Error(
            f"moveaxis: source {source} and destination {destination} must be distinct axes, equally many"
        )
    order = [axis for axis in range(x.ndim) if axis not in sources]
    for target, axis in sorted(zip(targets, sources, strict=True)):
        order.insert(target, axis)
    return transpose(x, order)


@operation
class BroadcastTo(Op):
    """x repeated along new leading dimensions and along those of length 1. None in `shape`: as in x."""

    shape: Shape

    def infer(self, x: Tensor) -> TensorSpec:
        lead = len(self.shape) - x.ndim
        own = (1,) * lead + x.shape
        if lead < 0 or any(
            n not in (1, None, m) and m is not None for n, m in zip(own, self.shape, strict=True)
        ):
            raise Error(f"broadcast_to: a tensor of shape {x.shape} does not fit {self.shape}")
        return TensorSpec(tuple(n if m is None else m for n, m in zip(own, self.shape, strict=True)), x.dtype)

    def by_image(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Sequence[int] | None:
        return (0,) if len(inputs[0].shape) == len(self.shape) and inputs[0].shape[0] != 1 else ()

    def gradient(self, inputs: Any, outputs: Any, grads: Any) -> tuple[Tensor]:
        from fastcnn.ops.reduction import sum_to_shape  # repeating and summing are each other's gradients

        return (sum_to_shape(grads[0], inputs[0].shape),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x,), (y,) = inputs, outputs
        own = (1,) * (y.ndim - x.ndim) + x.shape
        strides = [0 if n == 1 else stride for n, stride in zip(own, contiguous_strides(own), strict=True)]
        return [copy_launch(k, x, y, strided_geometry(y.shape, tuple(strides), contiguous_strides(y.shape)))]


@dtype_kept
def broadcast_to(x: Any, shape: Sequence[int | None]) -> Any:
    """x repeated to `shape`, by NumPy's rules."""
    x = convert(x)
    return x if tuple(shape) == x.shape else apply(BroadcastTo(tuple(shape)), x)


@operation
class Repeat(Op):
    """Every entry along `axis` `times` times."""

    times: int
    axis: int

    def infer(self, x: Tensor) -> TensorSpec:
        dims = [n if axis != self.axis or n is None else n * self.times for axis, n in enumerate(x.shape)]
        return TensorSpec(tuple(dims), x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        from fastcnn.ops.reduction import sum as total  # repeating and summing are each other's gradients

        dims = list(inputs[0].shape)
        dims.insert(self.axis + 1, self.times)
        return (total(reshape(grads[0], dims), self.axis + 1),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x,), (y,) = inputs, outputs
        dims, sources = list(x.shape), list(contiguous_strides(x.shape))
        dims.insert(self.axis + 1, self.times)
        sources.insert(self.axis + 1, 0)
        return [copy_launch(k, x, y, strided_geometry(tuple(dims), tuple(sources), contiguous_strides(dims)))]


@dtype_kept
def repeat(x: Any, repeats: int, axis: int | None = None) -> Any:
    """Every entry of x along `axis` `repeats` times (axis None: of x as one dimension)."""
    x = ravel(convert(x)) if axis is None else convert(x)
    if not isinstance(repeats, int | np.integer) or repeats < 1:
        raise Error(f"repeat: repeats must be a positive integer, got {repeats!r}")
    return apply(Repeat(int(repeats), normalize_axis(axis or 0, x.ndim, "repeat")), x)


@dtype_kept
def tile(x: Any, repeats: int | Sequence[int]) -> Any:
    """x as a whole side by side with itself, `repeats` times along each dimension."""
    x = convert(x)
    times = [repeats] if isinstance(repeats, int) else list(repeats)
    if x.ndim < len(times):
        x = expand_dims(x, tuple(range(len(times) - x.ndim)))
    for axis, count in zip(range(x.ndim)[::-1], reversed(times), strict=False):
        x = concatenate([x] * count, axis) if count != 1 else x
    return x


# --- slices and their places ---------------------------------------------------------------------------------

Step = tuple[int | None, int | None, int]  # start, stop, step of a Python slice


def slice_places(index: Sequence[Step], shape: Sequence[int]) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """(shape, offset, strides) of a slice of a contiguous array, in elements."""
    ranges = [range(n)[builtins.slice(*step)] for step, n in zip(index, shape, strict=True)]
    strides = contiguous_strides(shape)
    offset = sum(r.start * stride for r, stride in zip(ranges, strides, strict=True))
    steps = tuple(r.step * stride for r, stride in zip(ranges, strides, strict=True))
    return tuple(len(r) for r in ranges), offset, steps


@operation
class Slice(Op):
    """x[start:stop:step, ...], one triple for each dimension."""

    index: tuple[Step, ...]

    def infer(self, x: Tensor) -> TensorSpec:
        dims = []
        for step, n in zip(self.index, x.shape, strict=True):
            length = None if n is None else len(range(n)[builtins.slice(*step)])
            if length == 0:
                raise Error(f"slice: {':'.join(map(str, step))} of a dimension of length {n} is empty")
            dims.append(length)
        return TensorSpec(tuple(dims), x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        return (apply(Place(self.index, known(inputs[0].shape), 0.0), grads[0]),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x,), (y,) = inputs, outputs
        dims, offset, strides = slice_places(self.index, x.shape)
        return [copy_launch(k, x, y, strided_geometry(dims, strides, contiguous_strides(dims), offset, 0))]


@operation
class Place(Op):
    """An array of `shape` full of `value`, but with x at the slice `index` of it."""

    index: tuple[Step, ...]
    shape: tuple[int, ...]
    value: float

    def infer(self, x: Tensor) -> TensorSpec:
        return TensorSpec(self.shape, x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        return (apply(Slice(self.index), grads[0]),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x,), (y,) = inputs, outputs
        dims, offset, strides = slice_places(self.index, self.shape)
        g = strided_geometry(dims, contiguous_strides(dims), strides, 0, offset)
        return [k.fill.bind(y.reshape(-1), float(self.value)), copy_launch(k, x, y, g)]


def getitem(x: Tensor, index: Any) -> Any:
    """x[index] for integers, slices, `...` and None, as in NumPy."""
    entries = list(index) if isinstance(index, tuple) else [index]
    steps, squeezed, inserted = _parse_index(x, entries)
    y = x if all(step == (None, None, 1) for step in steps) else apply(Slice(tuple(steps)), x)
    y = apply(Squeeze(tuple(squeezed)), y) if squeezed else y
    return apply(ExpandDims(tuple(inserted)), y) if inserted else y


def _parse_index(x: Tensor, entries: list[Any]) -> tuple[list[Step], list[int], list[int]]:
    """(slice of each dimension, dimensions that an integer removes, new dimensions that None makes)."""
    used = sum(entry is not None and entry is not Ellipsis for entry in entries)
    if used > x.ndim or sum(entry is Ellipsis for entry in entries) > 1:
        raise Error(f"index {tuple(entries)} does not fit a tensor of shape {x.shape}")
    if not any(entry is Ellipsis for entry in entries):
        entries = [*entries, Ellipsis]
    steps: list[Step] = []
    squeezed: list[int] = []
    inserted: list[int] = []
    for entry in entries:
        if entry is None:
            inserted.append(len(steps) - len(squeezed) + len(inserted))
        elif entry is Ellipsis:
            steps += [(None, None, 1)] * (x.ndim - used)
        elif isinstance(entry, builtins.slice):
            steps.append(_slice_step(entry))
        else:
            squeezed.append(len(steps))
            steps.append(_integer_step(entry, x, len(steps)))
    return steps, squeezed, inserted


def _slice_step(entry: Any) -> Step:
    start, stop, step = (
        None if n is None else operator.index(n) for n in (entry.start, entry.stop, entry.step)
    )
    if step == 0:
        raise Error("slice: the step must not be zero")
    return start, stop, 1 if step is None else step


def _integer_step(entry: Any, x: Tensor, axis: int) -> Step:
    if isinstance(entry, bool) or not hasattr(entry, "__index__"):
        raise Error(
            f"a tensor is indexed by integers, slices, ... and None, got {type(entry).__name__}; "
            "use ops.take to gather by an array of indices, ops.where to select by a condition"
        )
    i, n = operator.index(entry), x.shape[axis]
    if n is not None and not -n <= i < n:
        raise Error(f"index {i} is out of range for dimension {axis} of a tensor of shape {x.shape}")
    return i, i + 1 if i != -1 else None, 1


Tensor.operators["getitem"] = getitem


@dtype_kept
def slice(inputs: Any, start_indices: Sequence[int], shape: Sequence[int]) -> Any:
    """The box of `shape` that begins at `start_indices`."""
    x = convert(inputs)
    steps = []
    for axis, (start, length, n) in enumerate(zip(start_indices, shape, x.shape, strict=True)):
        if start < 0 or length < 1 or (n is not None and start + length > n):
            raise Error(
                f"slice: {length} elements from {start} do not fit dimension {axis} of shape {x.shape}"
            )
        steps.append((start, start + length, 1))
    return apply(Slice(tuple(steps)), x)


@dtype_kept
def flip(x: Any, axis: int | Sequence[int] | None = None) -> Any:
    """x in reverse order along `axis` (None: all)."""
    x = convert(x)
    axes = normalize_axes(axis, x.ndim, "flip")
    return apply(Slice(tuple((None, None, -1 if i in axes else 1) for i in range(x.ndim))), x)


@operation
class Pad(Op):
    """x with a border of `value`: (before, after) elements for each dimension."""

    widths: tuple[tuple[int, int], ...]
    value: float

    def infer(self, x: Tensor) -> TensorSpec:
        dims = (
            n if n is None else n + before + after
            for n, (before, after) in zip(x.shape, self.widths, strict=True)
        )
        return TensorSpec(tuple(dims), x.dtype)

    def index(self, shape: Sequence[int]) -> tuple[Step, ...]:
        """Where x lies in the output."""
        return tuple((before, before + n, 1) for n, (before, _) in zip(shape, self.widths, strict=True))

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        return (apply(Slice(self.index(known(inputs[0].shape))), grads[0]),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return Place(self.index(inputs[0].shape), outputs[0].shape, self.value).launch(
            k, inputs, outputs, scratch
        )


@dtype_kept
def pad(
    x: Any,
    pad_width: int | Sequence[int] | Sequence[Sequence[int]],
    mode: str = "constant",
    constant_values: float | None = None,
) -> Any:
    """x with a border of (before, after) elements for each dimension.

    mode "constant" fills it with `constant_values` (0); "reflect" mirrors x without its edge, "symmetric" with it.
    """
    x = convert(x)
    widths = _pad_widths(pad_width, x.ndim)
    if mode == "constant":
        return apply(Pad(widths, float(constant_values or 0.0)), x) if any(map(any, widths)) else x
    if mode not in ("reflect", "symmetric") or constant_values is not None:
        known_modes = ("constant", "reflect", "symmetric")
        raise Error(
            f"pad: mode {mode!r} with constant_values {constant_values!r}{did_you_mean(mode, known_modes)}"
        )
    for axis, (before, after) in enumerate(widths):
        x = _mirror(x, axis, before, after, 1 if mode == "reflect" else 0)
    return x


def _pad_widths(pad_width: Any, ndim: int) -> tuple[tuple[int, int], ...]:
    """(before, after) for each dimension, given as one number, one pair, or a pair for each."""
    try:
        pairs = np.broadcast_to(np.asarray(pad_width), (ndim, 2))
    except ValueError as error:
        raise Error(
            f"pad: pad_width {pad_width} is not a (before, after) pair for each of {ndim} dimensions"
        ) from error
    if pairs.dtype.kind not in "iu" or (pairs < 0).any():
        raise Error(f"pad: pad_width must be non-negative integers, got {pad_width}")
    return tuple((int(before), int(after)) for before, after in pairs)


def _mirror(x: Tensor, axis: int, before: int, after: int, skip: int) -> Tensor:
    """x with its first and last elements along `axis` repeated in reverse, except `skip` at the very edge."""
    n = x.shape[axis]
    if n is not None and max(before, after) > n - skip:
        raise Error(
            f"pad: cannot mirror {max(before, after)} elements of dimension {axis} of shape {x.shape}"
        )
    whole: list[Step] = [(None, None, 1)] * x.ndim

    def part(start: int, stop: int | None) -> Tensor:
        return flip(apply(Slice((*whole[:axis], (start, stop, 1), *whole[axis + 1 :])), x), axis)

    head = [part(skip, skip + before)] if before else []
    tail = [part(-after - skip, -skip or None)] if after else []
    return concatenate([*head, x, *tail], axis) if head or tail else x


# --- joining and cutting -------------------------------------------------------------------------------------


@operation
class Concatenate(Op):
    """The inputs one after another along `axis`."""

    axis: int

    def infer(self, *xs: Tensor) -> TensorSpec:
        require_same_dtype("concatenate", *xs)
        shapes = [x.shape for x in xs]
        same_rank = len({len(dims) for dims in shapes}) == 1
        found = [set(column) - {None} for column in zip(*shapes, strict=same_rank)]
        if not same_rank or any(len(sizes) > 1 for axis, sizes in enumerate(found) if axis != self.axis):
            raise Error(
                f"concatenate: shapes {' and '.join(map(str, shapes))} may differ in dimension {self.axis} only"
            )
        dims = [next(iter(sizes), None) for sizes in found]
        lengths = [x.shape[self.axis] for x in xs]
        dims[self.axis] = None if None in lengths else sum(known(lengths))
        return TensorSpec(tuple(dims), xs[0].dtype)

    def by_image(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> Sequence[int] | None:
        return range(len(inputs)) if self.axis > 0 else None

    def places(self, shapes: Sequence[Sequence[int | None]]) -> list[tuple[Step, ...]]:
        """Where each input lies in the output."""
        places: list[tuple[Step, ...]] = []
        start = 0
        for dims in shapes:
            stop = start + known(dims)[self.axis]
            whole: list[Step] = [(None, None, 1)] * len(dims)
            whole[self.axis] = (start, stop, 1)
            places.append(tuple(whole))
            start = stop
        return places

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        return tuple(apply(Slice(place), grads[0]) for place in self.places([x.shape for x in inputs]))

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        launches = []
        for x, place in zip(inputs, self.places([x.shape for x in inputs]), strict=True):
            dims, offset, strides = slice_places(place, outputs[0].shape)
            g = strided_geometry(dims, contiguous_strides(dims), strides, 0, offset)
            launches.append(copy_launch(k, x, outputs[0], g))
        return launches


@dtype_kept
def concatenate(xs: Sequence[Any], axis: int = 0) -> Any:
    """The tensors one after another along `axis`; all other dimensions agree."""
    if not len(xs):
        raise Error("concatenate: got no tensors")
    tensors = promoted(*xs)
    return apply(Concatenate(normalize_axis(axis, tensors[0].ndim, "concatenate")), *tensors)


@dtype_kept
def stack(x: Sequence[Any], axis: int = 0) -> Any:
    """Tensors of one shape side by side along a new dimension `axis`."""
    return concatenate([expand_dims(item, axis) for item in promoted(*x)], axis)


@dtype_kept
def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> Any:
    """x cut along `axis`: into equal parts, or before each of the given indices. A list."""
    x = convert(x)
    axis = normalize_axis(axis, x.ndim, "split")
    n = x.shape[axis]
    if n is None:
        raise OpenDimensionError(f"split: dimension {axis} of shape {x.shape} must be known")
    if isinstance(indices_or_sections, int):
        if indices_or_sections < 1 or n % indices_or_sections:
            raise Error(
                f"split: dimension {axis} of shape {x.shape} has no {indices_or_sections} equal parts"
            )
        width = n // indices_or_sections
        bounds = list(range(0, n + 1, width))
    else:
        bounds = [0, *(operator.index(i) for i in indices_or_sections), n]
    whole: list[Step] = [(None, None, 1)] * x.ndim
    pairs = zip(bounds[:-1], bounds[1:], strict=True)
    return [apply(Slice((*whole[:axis], (first, last, 1), *whole[axis + 1 :])), x) for first, last in pairs]


@dtype_kept
def unstack(x: Any, num: int | None = None, axis: int = 0) -> Any:
    """The entries of x along `axis`, without that dimension. A list."""
    x = convert(x)
    axis = normalize_axis(axis, x.ndim, "unstack")
    count = x.shape[axis] if num is None else num
    if count is None or x.shape[axis] not in (None, count):
        raise Error(f"unstack: num is {num}, dimension {axis} of shape {x.shape} is {x.shape[axis]}")
    return [squeeze(part, axis) for part in split(x, count, axis)]


# --- dtypes and gathers --------------------------------------------------------------------------------------

DTYPES = ("float32", "float64", "int32", "int64", "uint8", "bool")


@operation
class Cast(Op):
    """x in another dtype; fractions are cut off on the way to an integer."""

    dtype: str

    def infer(self, x: Tensor) -> TensorSpec:
        return TensorSpec(x.shape, self.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor | None]:
        return (cast(grads[0], inputs[0].dtype),) if inputs[0].dtype.startswith("float") else (None,)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.cast.bind(inputs[0].reshape(-1), outputs[0].reshape(-1))]


def cast(x: Any, dtype: Any) -> Any:
    """x in another dtype: float32, float64, int32, int64, uint8 or bool; of an array, in any that NumPy has.

    Fractions are cut off on the way to an integer; what is not 0 is True.
    """
    name = standardize_dtype(dtype)
    if isinstance(x, Tensor) and (current_trace() is not None or not isinstance(x, Variable | Constant)):
        if name not in DTYPES:
            raise Error(f"cast: dtype {name!r} is not supported{did_you_mean(name, DTYPES)}")
        return x if name == x.dtype else apply(Cast(name), x)
    return np.asarray(x).astype(name)


Tensor.operators["cast"] = cast


def floating(x: Any, dtype: str | None = None) -> Tensor:
    """x as a tensor of numbers with fractions; whole ones become `dtype`, default floatx."""
    x = convert(x)
    return x if x.dtype in config.FLOAT_TYPES else cast(x, dtype or config.floatx())


def promoted(*xs: Any) -> list[Tensor]:
    """The tensors, where some are whole or plain numbers, in the dtype that holds all of them."""
    dtypes = [dtype for x in xs for dtype in dtypes_of(x)]
    floats = [dtype for dtype in dtypes if dtype in config.FLOAT_TYPES]
    wanted = floats[0] if floats else result_type(*dtypes)
    tensors = [convert(x, wanted) for x in xs]
    return [x if x.dtype in config.FLOAT_TYPES else cast(x, wanted) for x in tensors]


@operation
class Take(Op):
    """y[i, ...] = x[index[i], ...]; NaN where there is no such row."""

    def infer(self, x: Tensor, index: Tensor) -> TensorSpec:
        return TensorSpec((*index.shape, *x.shape[1:]), x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, None]:
        return apply(TakeGrad(known(inputs[0].shape)), grads[0], inputs[1]), None

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, index), (y,) = inputs, outputs
        width = math.prod(x.shape[1:])
        return [k.take_rows.bind(x.reshape(-1, width), index.reshape(-1), y.reshape(-1, width))]


@operation
class TakeGrad(Op):
    """dx[r] = sum of dy[i] over the i with index[i] = r."""

    shape: tuple[int, ...]

    def infer(self, dy: Tensor, index: Tensor) -> TensorSpec:
        return TensorSpec(self.shape, dy.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, None]:
        return apply(Take(), grads[0], inputs[1]), None

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (dy, index), (dx,) = inputs, outputs
        width = math.prod(self.shape[1:])
        return [k.take_rows_backward.bind(index.reshape(-1), dy.reshape(-1, width), dx.reshape(-1, width))]


@dtype_kept
def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """The entries of x along `axis` (None: of x as one dimension) at `indices`, whole numbers of any shape.

    Negative indices count from the end; an index out of range gives NaN.
    """
    x = ravel(convert(x)) if axis is None else convert(x)
    axis = normalize_axis(axis or 0, x.ndim, "take")
    index = convert(indices)
    if not axis:
        return apply(Take(), x, index)
    y = apply(Take(), moveaxis(x, axis, 0), index)
    return moveaxis(y, tuple(range(index.ndim)), tuple(range(axis, axis + index.ndim)))


# --- resizing images -----------------------------------------------------------------------------------------

INTERPOLATIONS = ("nearest", "bilinear")


def resize_geometry(small: Sequence[int], size: Sequence[int]) -> ResizeGeometry:
    """Geometry of images (n, h, w, c) resized to `size` (height, width)."""
    n, h, w, c = small
    return ResizeGeometry(n, h, w, c, *size)


@operation
class Resize(Op):
    """x (n, h, w, c) -> (n, *size, c), pixels taken for areas (their centres are at halves)."""

    size: tuple[int, int]
    interpolation: str
    images = (0,)

    def output_size(self, h: int | None, w: int | None) -> Shape:
        return self.size

    def infer(self, x: Tensor) -> TensorSpec:
        if x.ndim != 4:
            raise Error(f"resize: expected images of shape (batch, height, width, channels), got {x.shape}")
        n, h, w, c = x.shape
        return TensorSpec((n, *self.output_size(h, w), c), x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        return (apply(ResizeGrad(known(inputs[0].shape[1:3]), self.interpolation), grads[0]),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x,), (y,) = inputs, outputs
        kernel = k.resize_nearest_forward if self.interpolation == "nearest" else k.resize_bilinear_forward
        return [kernel.bind(x, y, resize_geometry(x.shape, y.shape[1:3]))]


@operation
class Upsample(Resize):
    """Resize to `size` times the height and width."""

    def output_size(self, h: int | None, w: int | None) -> Shape:
        return tuple(None if n is None else n * factor for n, factor in zip((h, w), self.size, strict=True))


@operation
class ResizeGrad(Op):
    """Every output pixel's gradient back to the pixels it was made of."""

    size: tuple[int, ...]
    interpolation: str
    images = (0,)

    def infer(self, dy: Tensor) -> TensorSpec:
        return TensorSpec((dy.shape[0], *self.size, dy.shape[3]), dy.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor]:
        h, w = known(inputs[0].shape[1:3])
        return (apply(Resize((h, w), self.interpolation), grads[0]),)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (dy,), (dx,) = inputs, outputs
        kernel = k.resize_nearest_backward if self.interpolation == "nearest" else k.resize_bilinear_backward
        return [kernel.bind(dy, dx, resize_geometry(dx.shape, dy.shape[1:3]))]


def _positive_pair(value: int | Sequence[int], what: str) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(operator.index(n) for n in value)
    if len(pair) != 2 or min(pair) < 1:
        raise Error(f"{what} must be one or two positive integers, got {value}")
    return pair[0], pair[1]


def _check_interpolation(name: str) -> None:
    if name not in INTERPOLATIONS:
        raise Error(f"interpolation {name!r} is not known{did_you_mean(name, INTERPOLATIONS)}")


@op_function
def resize(images: Any, size: int | Sequence[int], interpolation: str = "bilinear") -> Any:
    """Images (n, h, w, c) resized to (height, width) = size; interpolation "nearest" or "bilinear"."""
    _check_interpolation(interpolation)
    return apply(Resize(_positive_pair(size, "resize: size"), interpolation), convert(images))


@op_function
def upsample(images: Any, size: int | Sequence[int], interpolation: str = "nearest") -> Any:
    """Images (n, h, w, c) enlarged `size` = (rows, columns) times; interpolation "nearest" or "bilinear"."""
    _check_interpolation(interpolation)
    return apply(Upsample(_positive_pair(size, "upsample: size"), interpolation), convert(images))
