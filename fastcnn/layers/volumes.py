"""Convolution and pooling of volumes (batch, depth, height, width, channels), made of those of images.

A volume is taken as a batch of images, one for each place along the depth; what lies along the depth is done by
slices and sums. All sizes but the batch must be known.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.ops.conv import extent, transposed_length
from fastcnn.tensor import Tensor

Pair = tuple[int, int]
Sizes = tuple[int, ...]  # three of them


def _sizes(x: Tensor) -> tuple[int, int, int, int]:
    """(depth, height, width, channels)."""
    d, h, w, c = x.shape[1:]
    if d is None or h is None or w is None or c is None:
        raise Error(f"the sizes of volumes must be known, except the batch, got shape {x.shape}")
    return d, h, w, c


def _as_images(x: Tensor) -> Tensor:
    """(n, d, h, w, c) -> (n d, h, w, c)."""
    return ops.reshape(x, (-1, *x.shape[2:]))


def _as_volumes(x: Tensor, depth: int) -> Tensor:
    """(n d, h, w, c) -> (n, d, h, w, c)."""
    return ops.reshape(x, (-1, depth, *x.shape[1:]))


def _in_plane(padding: Any) -> Any:
    return padding if isinstance(padding, str) else padding[1:]


def _margins(padding: Any, size: int, span: int, stride: int) -> Pair:
    """Zeros before and after along the depth, as for images."""
    if not isinstance(padding, str):
        return padding[0]
    total = max((-(-size // stride) - 1) * stride + span - size, 0) if padding == "same" else 0
    return total // 2, total - total // 2


def conv3d(
    x: Tensor, kernel: Tensor, bias: Tensor | None, strides: Sizes, padding: Any, dilation_rate: Sizes, groups: int
) -> Tensor:  # fmt: skip
    """`ops.conv2d` with a third axis in front: kernel (kd, kh, kw, c / groups, filters).

    The images that one output image is made of lie side by side as channels, so one convolution does it all.
    """
    depth, _, _, channels = _sizes(x)
    taps, kh, kw, inner, filters = (int(n or 0) for n in kernel.shape)
    stride, dilation = strides[0], dilation_rate[0]
    span = extent(taps, dilation)
    before, after = _margins(padding, depth, span, stride)
    count = (depth + before + after - span) // stride + 1
    if count < 1:
        raise Error(f"a kernel of depth {span} is larger than the padded input of shape {x.shape}")
    padded = ops.pad(x, ((0, 0), (before, after), (0, 0), (0, 0), (0, 0)))
    slices = [_every(padded, tap * dilation, count, stride) for tap in range(taps)]
    images = _as_images(_side_by_side(slices, groups, channels))
    flat = ops.reshape(ops.transpose(kernel, (1, 2, 0, 3, 4)), (kh, kw, taps * inner, filters))
    y = ops.conv2d(images, flat, bias, strides[1:], _in_plane(padding), dilation_rate[1:])
    return _as_volumes(y, count)


def _every(x: Tensor, first: int, count: int, step: int) -> Tensor:
    return x[:, first : first + (count - 1) * step + 1 : step]


def _side_by_side(slices: list[Tensor], groups: int, channels: int) -> Tensor:
    """Channels of all slices together; those of one group stay neighbours."""
    if groups == 1:
        return ops.concatenate(slices, axis=-1)
    shape = (-1, *slices[0].shape[1:-1], groups, channels // groups)
    joined = ops.concatenate([ops.reshape(part, shape) for part in slices], axis=-1)
    return ops.reshape(joined, (-1, *slices[0].shape[1:-1], channels * len(slices)))


def conv3d_transpose(
    x: Tensor, kernel: Tensor, bias: Tensor | None, strides: Sizes, padding: Any, output_padding: Sizes | None,
    dilation_rate: Sizes,
) -> Tensor:  # fmt: skip
    """`ops.conv2d_transpose` with a third axis in front: kernel (kd, kh, kw, filters, c).

    One convolution makes what every tap along the depth adds; the parts are moved to their places and summed.
    """
    depth, _, _, channels = _sizes(x)
    taps, kh, kw, filters, _ = (int(n or 0) for n in kernel.shape)
    flat = ops.reshape(ops.transpose(kernel, (1, 2, 0, 3, 4)), (kh, kw, taps * filters, channels))
    extra = None if output_padding is None else output_padding[1:]
    window = (strides[1:], _in_plane(padding), extra, dilation_rate[1:])
    y = _as_volumes(ops.conv2d_transpose(_as_images(x), flat, None, *window), depth)
    span = extent(taps, dilation_rate[0])
    crop = padding if isinstance(padding, str) else padding[0]
    more = None if output_padding is None else output_padding[0]
    length, before = transposed_length(depth, span, strides[0], crop, more)
    parts = [
        _placed(y[..., tap * filters : (tap + 1) * filters], strides[0], tap * dilation_rate[0], span)
        for tap in range(taps)
    ]
    cropped = _window_of(reduce(ops.add, parts), before, int(length or 0))
    return cropped if bias is None else ops.add(cropped, bias)


def _placed(part: Tensor, stride: int, first: int, span: int) -> Tensor:
    """Images `stride` places apart along the depth, the first at `first`, zeros between and around."""
    depth, h, w, c = _sizes(part)
    spread = ops.pad(ops.expand_dims(part, 2), ((0, 0), (0, 0), (0, stride - 1), (0, 0), (0, 0), (0, 0)))
    joined = ops.reshape(spread, (-1, depth * stride, h, w, c))[:, : (depth - 1) * stride + 1]
    return ops.pad(joined, ((0, 0), (first, span - 1 - first), (0, 0), (0, 0), (0, 0)))


def _window_of(x: Tensor, first: int, length: int) -> Tensor:
    """`length` places along the depth from `first` on, zeros beyond the end."""
    missing = max(first + length - int(x.shape[1] or 0), 0)
    padded = ops.pad(x, ((0, 0), (0, missing), (0, 0), (0, 0), (0, 0)))
    return padded[:, first : first + length]


def pool3d(pool: Callable[..., Any], x: Tensor, window: Sizes, strides: Sizes, padding: Any) -> Tensor:
    """`ops.max_pool` or `ops.average_pool` with a third axis: windows are products, so planes go first."""
    depth, _, _, channels = _sizes(x)
    planes = pool(_as_images(x), window[1:], strides[1:], _in_plane(padding))
    h, w = planes.shape[1:3]
    columns = ops.reshape(planes, (-1, depth, h * w * channels))
    along = padding if isinstance(padding, str) else (padding[0],)
    y = pool(columns, (window[0],), (strides[0],), along)
    return ops.reshape(y, (-1, y.shape[1], h, w, channels))
