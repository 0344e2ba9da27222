"""Convolutions by definition (cross-correlation: the kernel is not flipped).

Images (n, h, w, c); kernels (kh, kw, cin / groups, f), depthwise (kh, kw, c, mult), transposed
(kh, kw, f, cin). Output cell (oy, ox) meets input cell (iy, ix) at tap (ky, kx):
iy = oy sh - top + ky dh, ix = ox sw - left + kx dw.
Convolutions gather windows of a padded image; their gradients scatter tap by tap and never pad, so that the
two check each other.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from .shape import (
    Array,
    Padding,
    Pair,
    crop,
    effective_kernel,
    float64,
    output_size,
    resolve_padding,
    spatial,
    zero_pad,
)

Tap = tuple[Pair, Pair, Pair]


def windows(
    x: Array, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair
) -> Iterator[tuple[int, int, Array]]:
    """(oy, ox, window (n, kh, kw, c)) for every output cell, zeros outside the image."""
    size = spatial(x)
    oh, ow = output_size(padding, size, kernel, stride, dilation)
    padded = zero_pad(x, resolve_padding(padding, size, kernel, stride, dilation))
    for oy in range(oh):
        for ox in range(ow):
            rows = [oy * stride[0] + ky * dilation[0] for ky in range(kernel[0])]
            columns = [ox * stride[1] + kx * dilation[1] for kx in range(kernel[1])]
            yield oy, ox, padded[:, rows][:, :, columns]


def taps(size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair) -> Iterator[Tap]:
    """((oy, ox), (ky, kx), (iy, ix)) of every product whose input cell lies in the image."""
    (top, _), (left, _) = resolve_padding(padding, size, kernel, stride, dilation)
    oh, ow = output_size(padding, size, kernel, stride, dilation)
    for oy, ox, ky, kx in np.ndindex(oh, ow, *kernel):
        iy = oy * stride[0] - top + ky * dilation[0]
        ix = ox * stride[1] - left + kx * dilation[1]
        if 0 <= iy < size[0] and 0 <= ix < size[1]:
            yield (oy, ox), (ky, kx), (iy, ix)


def group_slices(groups: int, cin: int, filters: int) -> list[tuple[slice, slice]]:
    """(input channels, filters) of each group."""
    ci, f = cin // groups, filters // groups
    return [(slice(g * ci, (g + 1) * ci), slice(g * f, (g + 1) * f)) for g in range(groups)]


def conv2d(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """y[n, oy, ox, f] = sum_{ky, kx, c} x[n, iy, ix, c] w[ky, kx, c, f] + bias[f].

    x (n, h, w, cin), w (kh, kw, cin / groups, f), bias (f,) -> (n, oh, ow, f).
    The filters of group g see the channels of group g only.
    """
    x, w = float64(x), float64(w)
    kernel, filters = (w.shape[0], w.shape[1]), w.shape[3]
    y = np.zeros((x.shape[0], *output_size(padding, spatial(x), kernel, stride, dilation), filters))
    for oy, ox, window in windows(x, kernel, stride, padding, dilation):
        for c, f in group_slices(groups, x.shape[3], filters):
            y[:, oy, ox, f] = np.tensordot(window[..., c], w[..., f], axes=3)
    return y if bias is None else y + float64(bias)


def conv2d_input_gradient(
    dy: ArrayLike,
    w: ArrayLike,
    size: Pair,
    stride: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """dx[n, iy, ix, c] += sum_f dy[n, oy, ox, f] w[ky, kx, c, f] over all taps.

    dy (n, oh, ow, f), w (kh, kw, cin / groups, f), size (h, w) -> (n, h, w, cin).
    """
    dy, w = float64(dy), float64(w)
    cin, filters = w.shape[2] * groups, w.shape[3]
    dx = np.zeros((dy.shape[0], *size, cin))
    for (oy, ox), (ky, kx), (iy, ix) in taps(size, (w.shape[0], w.shape[1]), stride, padding, dilation):
        for c, f in group_slices(groups, cin, filters):
            dx[:, iy, ix, c] += dy[:, oy, ox, f] @ w[ky, kx, :, f].T
    return dx


def conv2d_weight_gradient(
    dy: ArrayLike,
    x: ArrayLike,
    kernel: Pair,
    stride: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Array:
    """dw[ky, kx, c, f] += sum_n x[n, iy, ix, c] dy[n, oy, ox, f] over all taps.

    dy (n, oh, ow, f), x (n, h, w, cin), kernel (kh, kw) -> (kh, kw, cin / groups, f).
    """
    dy, x = float64(dy), float64(x)
    cin, filters = x.shape[3], dy.shape[3]
    dw = np.zeros((*kernel, cin // groups, filters))
    for (oy, ox), (ky, kx), (iy, ix) in taps(spatial(x), kernel, stride, padding, dilation):
        for c, f in group_slices(groups, cin, filters):
            dw[ky, kx, :, f] += x[:, iy, ix, c].T @ dy[:, oy, ox, f]
    return dw


def bias_gradient(dy: ArrayLike) -> Array:
    """dbias[f] = sum over all but the last axis of dy[..., f]."""
    dy = float64(dy)
    return dy.reshape(-1, dy.shape[-1]).sum(0)


def depthwise_conv2d(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
) -> Array:
    """y[n, oy, ox, c mult + m] = sum_{ky, kx} x[n, iy, ix, c] w[ky, kx, c, m] + bias[c mult + m].

    x (n, h, w, c), w (kh, kw, c, mult), bias (c mult,) -> (n, oh, ow, c mult).
    """
    x, w = float64(x), float64(w)
    kh, kw, channels, multiplier = w.shape
    oh, ow = output_size(padding, spatial(x), (kh, kw), stride, dilation)
    y = np.zeros((x.shape[0], oh, ow, channels * multiplier))
    for oy, ox, window in windows(x, (kh, kw), stride, padding, dilation):
        y[:, oy, ox] = (window[..., None] * w).sum(axis=(1, 2)).reshape(x.shape[0], -1)
    return y if bias is None else y + float64(bias)


def depthwise_conv2d_input_gradient(
    dy: ArrayLike,
    w: ArrayLike,
    size: Pair,
    stride: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
) -> Array:
    """dx[n, iy, ix, c] += sum_m dy[n, oy, ox, c mult + m] w[ky, kx, c, m] over all taps.

    dy (n, oh, ow, c mult), w (kh, kw, c, mult), size (h, w) -> (n, h, w, c).
    """
    dy, w = float64(dy), float64(w)
    dy = dy.reshape(*dy.shape[:3], *w.shape[2:])
    dx = np.zeros((dy.shape[0], *size, w.shape[2]))
    for (oy, ox), (ky, kx), (iy, ix) in taps(size, (w.shape[0], w.shape[1]), stride, padding, dilation):
        dx[:, iy, ix] += (dy[:, oy, ox] * w[ky, kx]).sum(-1)
    return dx


def depthwise_conv2d_weight_gradient(
    dy: ArrayLike,
    x: ArrayLike,
    kernel: Pair,
    stride: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
) -> Array:
    """dw[ky, kx, c, m] += sum_n x[n, iy, ix, c] dy[n, oy, ox, c mult + m] over all taps.

    dy (n, oh, ow, c mult), x (n, h, w, c), kernel (kh, kw) -> (kh, kw, c, mult).
    """
    dy, x = float64(dy), float64(x)
    channels, multiplier = x.shape[3], dy.shape[3] // x.shape[3]
    dy = dy.reshape(*dy.shape[:3], channels, multiplier)
    dw = np.zeros((*kernel, channels, multiplier))
    for (oy, ox), (ky, kx), (iy, ix) in taps(spatial(x), kernel, stride, padding, dilation):
        dw[ky, kx] += (x[:, iy, ix, :, None] * dy[:, oy, ox]).sum(0)
    return dw


def separable_conv2d(
    x: ArrayLike,
    depthwise: ArrayLike,
    pointwise: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
) -> Array:
    """A depthwise convolution, then a 1 x 1 convolution and the bias.

    x (n, h, w, c), depthwise (kh, kw, c, mult), pointwise (1, 1, c mult, f), bias (f,) -> (n, oh, ow, f).
    """
    return conv2d(depthwise_conv2d(x, depthwise, None, stride, padding, dilation), pointwise, bias)


def transposed_geometry(
    size: int,
    kernel: int,
    stride: int,
    dilation: int = 1,
    padding: str | Pair = "valid",
    output_padding: int | None = None,
) -> Pair:
    """(output length, cells cropped before) along one axis, as in Keras 3.  k = k_eff, p = output_padding.

    Uncropped, the taps reach (size - 1) s + k cells; output cells beyond their reach are zero.
    valid:    out = (size - 1) s + k + p, p = max(k, s) - k by default; nothing is cropped.
    same:     out = size s, cropped before max((k - s) // 2, 0): the padding of the "same" convolution that
              maps size s cells to size. With p: out = (size - 1) s + k mod 2 + p, cropped before
              max((k - k mod 2 - p) // 2, 0).
    explicit: (before, after) cells are cropped, then p (default 0) cells added at the end.
    """
    k = effective_kernel(kernel, dilation)
    reach = (size - 1) * stride + k
    if padding == "valid":
        return reach + (max(stride - k, 0) if output_padding is None else output_padding), 0
    if padding == "same":
        if output_padding is None:
            return size * stride, max((k - stride) // 2, 0)
        return reach - k + k % 2 + output_padding, max((k - k % 2 - output_padding) // 2, 0)
    if isinstance(padding, str):
        raise ValueError(f"padding must be 'same', 'valid' or (before, after), got {padding!r}")
    return reach - sum(padding) + (output_padding or 0), padding[0]


def transposed_geometries(
    size: Pair,
    kernel: Pair,
    stride: Pair,
    dilation: Pair,
    padding: Padding,
    output_padding: Pair | None,
) -> tuple[Pair, Pair]:
    """((oh, cropped at the top), (ow, cropped at the left)) of a transposed convolution of (h, w) cells."""
    crops = (padding, padding) if isinstance(padding, str) else padding
    extra = output_padding or (None, None)
    axes = zip(size, kernel, stride, dilation, crops, extra, strict=True)
    rows, columns = (transposed_geometry(*axis) for axis in axes)
    return rows, columns


def conv2d_transpose(
    x: ArrayLike,
    w: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = (1, 1),
    padding: Padding = "valid",
    output_padding: Pair | None = None,
    dilation: Pair = (1, 1),
) -> Array:
    """y[n, iy sh + ky dh - top, ix sw + kx dw - left, f] += sum_c x[n, iy, ix, c] w[ky, kx, f, c]; + bias[f].

    x (n, h, w, cin), w (kh, kw, f, cin), bias (f,) -> (n, oh, ow, f); see transposed_geometry for oh, top.
    """
    x, w = float64(x), float64(w)
    kernel, size = (w.shape[0], w.shape[1]), spatial(x)
    (oh, top), (ow, left) = transposed_geometries(size, kernel, stride, dilation, padding, output_padding)
    y = np.zeros((x.shape[0], oh, ow, w.shape[2]))
    for iy, ix, ky, kx in np.ndindex(*size, *kernel):
        oy, ox = iy * stride[0] + ky * dilation[0] - top, ix * stride[1] + kx * dilation[1] - left
        if 0 <= oy < oh and 0 <= ox < ow:
            y[:, oy, ox] += x[:, iy, ix] @ w[ky, kx].T
    return y if bias is None else y + float64(bias)


def conv2d_transpose_gradients(
    dy: ArrayLike,
    x: ArrayLike,
    w: ArrayLike,
    stride: Pair = (1, 1),
    padding: Padding = "valid",
    output_padding: Pair | None = None,
    dilation: Pair = (1, 1),
) -> tuple[Array, Array]:
    """(dx, dw), gathered: x[n, iy, ix] went to y[n, oy, ox] with oy = iy sh + ky dh - top, ox likewise.

    dx[n, iy, ix, c] = sum_{ky, kx, f} dy[n, oy, ox, f] w[ky, kx, f, c];
    dw[ky, kx, f, c] = sum_{n, iy, ix} dy[n, oy, ox, f] x[n, iy, ix, c].
    """
    dy, x, w = float64(dy), float64(x), float64(w)
    kernel, size = (w.shape[0], w.shape[1]), spatial(x)
    (oh, top), (ow, left) = transposed_geometries(size, kernel, stride, dilation, padding, output_padding)
    ends = [(size[i] - 1) * stride[i] + effective_kernel(kernel[i], dilation[i]) for i in range(2)]
    bottom, right = ends[0] - top - oh, ends[1] - left - ow
    full = zero_pad(dy, ((top, max(bottom, 0)), (left, max(right, 0))))
    full = crop(full, ((0, max(-bottom, 0)), (0, max(-right, 0))))
    dx, dw = np.zeros_like(x), np.zeros_like(w)
    for iy, ix, window in windows(full, kernel, stride, "valid", dilation):
        dx[:, iy, ix] = np.tensordot(window, w, axes=3)
        dw += np.tensordot(window, x[:, iy, ix], axes=((0,), (0,)))
    return dx, dw


def im2col(
    x: ArrayLike,
    kernel: Pair,
    stride: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
) -> Array:
    """One row for each output cell (n, oy, ox), one column for each (ky, kx, c), zeros outside the image.

    x (n, h, w, c) -> (n oh ow, kh kw c), so that im2col(x) @ w.reshape(-1, f) is the convolution.
    """
    x = float64(x)
    oh, ow = output_size(padding, spatial(x), kernel, stride, dilation)
    columns = np.zeros((x.shape[0], oh, ow, kernel[0] * kernel[1] * x.shape[3]))
    for oy, ox, window in windows(x, kernel, stride, padding, dilation):
        columns[:, oy, ox] = window.reshape(x.shape[0], -1)
    return columns.reshape(-1, columns.shape[-1])


def col2im(
    columns: ArrayLike,
    shape: tuple[int, int, int, int],
    kernel: Pair,
    stride: Pair = (1, 1),
    padding: Padding = "valid",
    dilation: Pair = (1, 1),
) -> Array:
    """The adjoint of im2col: every column entry is added to the input cell it was copied from.

    columns (n oh ow, kh kw c), shape (n, h, w, c) -> (n, h, w, c).
    """
    n, h, w, c = shape
    oh, ow = output_size(padding, (h, w), kernel, stride, dilation)
    cells = float64(columns).reshape(n, oh, ow, *kernel, c)
    x = np.zeros(shape)
    for (oy, ox), (ky, kx), (iy, ix) in taps((h, w), kernel, stride, padding, dilation):
        x[:, iy, ix] += cells[:, oy, ox, ky, kx]
    return x
