"""Windows of images and of sequences: cut out, put back, pooled to a given size."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastcnn.errors import Error
from fastcnn.ops.conv import conv, conv2d_transpose
from fastcnn.ops.core import convert, dtype_kept, op_function
from fastcnn.ops.reduction import max as largest
from fastcnn.ops.reduction import mean
from fastcnn.ops.shape import concatenate, floating, known, pad, reshape, take, transpose
from fastcnn.tensor import Tensor

__all__ = ["adaptive_average_pool", "adaptive_max_pool", "extract_sequences", "fold", "unfold"]


def check_format(what: str, data_format: str | None) -> None:
    """Images have their channels last; `Error` for any other format."""
    if data_format not in (None, "channels_last"):
        raise Error(f"{what}: data_format must be 'channels_last', got {data_format!r}")


def _adaptive(
    what: str, reduce: Callable[..., Any], inputs: Any, output_size: Any, data_format: str | None
) -> Tensor:
    """Output cell i of m is `reduce` of the input cells floor(i n / m) to ceil((i + 1) n / m) - 1, on every axis."""
    check_format(what, data_format)
    x = floating(inputs)
    sizes = [output_size] * (x.ndim - 2) if isinstance(output_size, int) else list(output_size)
    for axis, size in enumerate(sizes, 1):
        (n,), before = known(x.shape[axis : axis + 1]), (slice(None),) * axis
        bounds = [(i * n // size, -(-(i + 1) * n // size)) for i in range(size)]
        cells = [reduce(x[(*before, slice(*bound))], axis, keepdims=True) for bound in bounds]
        x = concatenate(cells, axis)
    return x


@op_function
def adaptive_average_pool(
    inputs: Any, output_size: int | Sequence[int], data_format: str | None = None
) -> Any:
    """Means of as many windows as output_size says, on each axis of (n, ..., c)."""
    return _adaptive("adaptive_average_pool", mean, inputs, output_size, data_format)


@op_function
def adaptive_max_pool(inputs: Any, output_size: int | Sequence[int], data_format: str | None = None) -> Any:
    """Largest elements of as many windows as output_size says, on each axis of (n, ..., c)."""
    return _adaptive("adaptive_max_pool", largest, inputs, output_size, data_format)


@dtype_kept
def extract_sequences(x: Any, sequence_length: int, sequence_stride: int) -> Any:
    """Windows of the last axis: (..., n) -> (..., windows, sequence_length)."""
    x = convert(x)
    (n,) = known(x.shape[-1:])
    starts = np.arange(0, n - sequence_length + 1, sequence_stride)
    return take(x, starts[:, None] + np.arange(sequence_length), -1)


def _two(value: int | Sequence[int]) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)


def _taps(kh: int, kw: int, c: int, dtype: str) -> np.ndarray:
    """A kernel (kh, kw, c, c kh kw) that copies: channel by channel, then row by row."""
    taps = np.eye(kh * kw * c, dtype=dtype).reshape(c, kh, kw, c * kh * kw)
    return np.ascontiguousarray(taps.transpose(1, 2, 0, 3))


@op_function
def unfold(x: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1) -> Any:
    """Windows of images with channels in front: (n, c, h, w) -> (n, c kh kw, windows), windows row by row."""
    x = transpose(floating(x), (0, 2, 3, 1))
    (kh, kw), (top, left) = _two(kernel_size), _two(padding)
    (c,) = known(x.shape[-1:])
    x = pad(x, [(0, 0), (top, top), (left, left), (0, 0)])
    kernel = convert(_taps(kh, kw, c, x.dtype))
    y = conv(x, kernel, _two(stride), dilation_rate=_two(dilation))
    rows, columns = known(y.shape[1:3])
    return transpose(reshape(y, (-1, rows * columns, c * kh * kw)), (0, 2, 1))


@op_function
def fold(
    x: Any, output_size: Any, kernel_size: Any, dilation: Any = 1, padding: Any = 0, stride: Any = 1
) -> Any:
    """The sum of the windows that `unfold` cut out, where they lay: (n, c kh kw, windows) -> (n, c, h, w)."""
    x = floating(x)
    size, kernel, steps, border = _two(output_size), _two(kernel_size), _two(stride), _two(padding)
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, _two(dilation), strict=True)]
    counts = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(size, border, spans, steps, strict=True)]
    depth, windows = known(x.shape[1:])
    if counts[0] * counts[1] != windows:
        raise Error(f"fold: images of {size} have {counts[0]} x {counts[1]} such windows, got {windows}")
    c = depth // (kernel[0] * kernel[1])
    cells = reshape(transpose(x, (0, 2, 1)), (-1, *counts, depth))
    weights = convert(_taps(*kernel, c, x.dtype))
    y = conv2d_transpose(cells, weights, strides=steps, padding="valid", dilation_rate=_two(dilation))
    h, w = known(y.shape[1:3])
    rest = [max(n + 2 * p - m, 0) for n, p, m in zip(size, border, (h, w), strict=True)]
    y = pad(y, [(0, 0), (0, rest[0]), (0, rest[1]), (0, 0)])
    top, left = border
    return transpose(y[:, top : top + size[0], left : left + size[1]], (0, 3, 1, 2))
