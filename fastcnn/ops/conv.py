"""Convolutions of images (n, h, w, c), as cross-correlations: kernels are not flipped.

Output cell (oy, ox) meets input cell (oy stride - top + ky dilation, ...) at tap (ky, kx). Each family has three ops,
the forward pass F(x, kernel) and its gradients I(dy, kernel) = dx and K(x, dy) = dkernel. All three are linear in
either argument, so their gradients are these ops again, to any order.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import Any, ClassVar

import numpy as np
from fastcnn_kernels.conv import (
    ConvGeometry,
    packed_size,
    packed_transposed_size,
)

from fastcnn import config
from fastcnn.errors import Error, did_you_mean
from fastcnn.graph import Fused, Node, Op, apply, operation
from fastcnn.ops import reduction
from fastcnn.ops.chunks import by_chunks
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.cost import LANES, Cost, implicit_cost, implicit_gradient_cost
from fastcnn.ops.epilogue import (
    absorbed,
    accumulated,
    bias_and_residual,
    floor_of,
    keeping,
    moments_as_stored,
    moments_kept,
    moments_of,
    no_bias,
    with_images,
)
from fastcnn.ops.pooling import window_padding
from fastcnn.ops.shape import expand_dims, known, require_same_dtype, reshape, squeeze, tile
from fastcnn.tensor import Shape, Tensor, TensorSpec

__all__ = [
    "conv",
    "conv2d",
    "conv2d_transpose",
    "conv_transpose",
    "depthwise_conv",
    "depthwise_conv2d",
    "separable_conv",
]

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]
Padding = str | Pads
Dims = tuple[int, ...]


def extent(taps: int, dilation: int) -> int:
    """Cells that a dilated kernel spans: (k - 1) d + 1."""
    return (taps - 1) * dilation + 1


def check_images(what: str, x: Tensor, kernel: Tensor, bias: Sequence[Tensor], filters: int | None) -> None:
    """Ranks, dtypes and the bias of a convolution's inputs."""
    require_same_dtype(what, x, kernel, *bias)
    if x.ndim != 4:
        raise Error(f"{what}: expected images of shape (batch, height, width, channels), got {x.shape}")
    if kernel.ndim != 4:
        raise Error(f"{what}: expected a kernel of 4 dimensions, got shape {kernel.shape}")
    if bias and bias[0].shape != (filters,):
        raise Error(f"{what}: expected a bias of shape ({filters},), got {bias[0].shape}")


# --- convolutions ----------------------------------------------------------------------------------------------


@operation
class Correlation(Op):
    """What the ops of this module share: strides, padding and dilation along height and width."""

    strides: Pair
    padding: Padding
    dilation: Pair
    algorithm: str = field(default="auto", kw_only=True)
    weights: ClassVar[tuple[int, ...]] = (1,)

    def pads(self, size: Sequence[int], taps: Sequence[int]) -> Pads:
        """((top, bottom), (left, right)) for an image of `size` and a kernel of `taps`."""
        rows, columns = (
            window_padding(self.padding, i, size[i], extent(taps[i], self.dilation[i]), self.strides[i])
            for i in range(2)
        )
        return rows, columns

    def output_length(self, axis: int, size: int | None, taps: int) -> int | None:
        """floor((size + padding - extent) / stride) + 1."""
        if size is None:
            return None
        span, stride = extent(taps, self.dilation[axis]), self.strides[axis]
        room = size + sum(window_padding(self.padding, axis, size, span, stride)) - span
        if room < 0:
            raise Error(
                f"a kernel of {taps} taps, which span {span} cells, is larger than the padded input, {room + span} "
                f"along dimension {axis + 1}; use padding='same' or a smaller kernel_size"
            )
        return room // stride + 1

    def output_size(self, x: Shape, kernel: Shape) -> Shape:
        """(oh, ow); None where x is not known."""
        taps = known(kernel[:2])
        return tuple(self.output_length(axis, x[1 + axis], taps[axis]) for axis in range(2))

    def geometry(self, x: Shape, taps: Sequence[int], y: Shape) -> ConvGeometry:
        """Of the convolution that makes y of x; depthwise ones have as many groups as channels."""
        n, h, w, c = known(x)
        _, oh, ow, f = known(y)
        (top, _), (left, _) = self.pads((h, w), taps)
        kh, kw, inner = taps
        image, window = (n, h, w, c), (kh, kw, *self.strides, *self.dilation, top, left)
        return ConvGeometry(*image, *window, oh, ow, f, c // inner)


def work(g: ConvGeometry) -> int:
    """Floating-point operations of any of the three passes."""
    return 2 * g.n * g.oh * g.ow * g.f * g.kh * g.kw * (g.c // g.groups)


def check_groups(channels: int | None, inner: int, filters: int) -> None:
    """The channels must be cut into whole groups, of which every one gets as many filters."""
    if channels is not None and (channels % inner or filters % (channels // inner)):
        raise Error(
            f"conv2d: a kernel of {inner} channels / groups and {filters} filters does not fit images of {channels} "
            "channels; groups must divide channels and filters"
        )


@operation
class Conv(Correlation):
    """y = max(x * kernel + bias + residual, lower): x (n,h,w,c), kernel (kh,kw,c/groups,f) -> (n,oh,ow,f).

    bias (f,), if any. Plans put there: a residual like y; moments, a second output, which is `BatchMoments` of y.
    """

    lower: float | None = None
    residual: bool = False
    moments: bool = False

    def infer(self, x: Tensor, kernel: Tensor, *bias: Tensor) -> TensorSpec:
        *_, inner, filters = known(kernel.shape)
        check_images("conv2d", x, kernel, bias, filters)
        check_groups(x.shape[-1], inner, filters)
        return TensorSpec((x.shape[0], *self.output_size(x.shape, kernel.shape), filters), x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        (x, kernel, *bias), (dy,) = inputs, grads
        pads = self.pads(known(x.shape[1:3]), known(kernel.shape[:2]))
        window, by = (self.strides, pads, self.dilation), self.algorithm
        dx = apply(ConvInputGrad(*window, known(x.shape[1:]), algorithm=by), dy, kernel)
        dkernel = apply(ConvKernelGrad(*window, known(kernel.shape), algorithm=by), x, dy)
        return dx, dkernel, *(reduction.sum(dy, (0, 1, 2)) for _ in bias)

    def absorb(self, node: Node, reader: Node) -> Fused | None:
        return accumulated(node, reader) or absorbed(node, reader, known(node.inputs[1].shape[-1:]))

    def join(self, node: Node, reader: Node, k: Any) -> Op | None:
        return moments_as_stored(node, reader, k)

    def moment_parts(self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        """How many rows of moments are written with the results; 0 where that cannot be."""
        return k.conv_forward_moments.parts(self.geometry_of(inputs, outputs), inputs[0].dtype)

    def by_image(self, inputs: Sequence[Any], outputs: Any) -> Sequence[int]:
        return with_images(self, inputs)

    def geometry_of(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> ConvGeometry:
        return self.geometry(inputs[0].shape, known(inputs[1].shape[:3]), outputs[0].shape)

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return work(self.geometry_of(inputs, outputs))

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        return implicit_cost(self.geometry_of(inputs, outputs), ready)

    def prepared(self, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        size = packed_size(self.geometry_of(inputs, outputs), np.dtype(inputs[0].dtype).itemsize)
        return [TensorSpec((size,), inputs[0].dtype)]

    def prepare(self, k: Any, inputs: Any, outputs: Any, prepared: Any) -> list:
        return [k.conv_pack_weights.bind(inputs[1], prepared[0], self.geometry_of(inputs, outputs))]

    def scratch(
        self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> list[TensorSpec]:
        return moments_kept(self, k, inputs, outputs)

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        x, y, (packed, *moments) = inputs[0], outputs[0], scratch
        given, g = (x, packed, *bias_and_residual(self, inputs, y)), self.geometry_of(inputs, outputs)
        rest = y, floor_of(self.lower), g
        forward = keeping(k, "conv_forward", given, moments, rest)
        return [forward, *moments_of(k, moments, outputs)]


@operation
class UnpackedConv(Conv):
    """`Conv`, the same equation and shapes, by kernels that read weights as they are, as those of devices do.

    On a CPU they are first stored anew in the order of the innermost loop: `prepare`, whose launch and memory are
    saved here.
    """

    weights: ClassVar[tuple[int, ...]] = ()

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        return 0.99 * super().cost(inputs, outputs, True)

    def prepared(self, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        return []

    def prepare(self, k: Any, inputs: Any, outputs: Any, prepared: Any) -> list:
        return []

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return super().launch(k, inputs, outputs, [inputs[1], *scratch])


Conv.alternatives = Conv.alternatives | {"unpacked": UnpackedConv}


class Transposed(Correlation):
    """What the ops share that run a convolution backwards, from dy (n,oh,ow,f) and its kernel to (n,h,w,c)."""

    lower: float | None = None
    residual: bool = False

    def placing(self, dy: Shape, kernel: Shape) -> tuple[Shape, Pads]:
        """((h, w, c), padding of the convolution that this runs backwards)."""
        raise Error(f"{self.name} defines no placing")

    def geometry_of(self, inputs: Sequence[Any]) -> ConvGeometry:
        dy, kernel = inputs[0].shape, inputs[1].shape
        shape, pads = self.placing(dy, kernel)
        return replace(self, padding=pads).geometry((dy[0], *shape), known(kernel[:3]), dy)

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return work(self.geometry_of(inputs))

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        g = self.geometry_of(inputs)
        return implicit_cost(g._replace(c=g.f, f=g.c), ready, backwards=True)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        (dy, kernel, *bias), (dx,) = inputs, grads
        _, pads = self.placing(dy.shape, kernel.shape)
        pads = self.exact_pads(known(dx.shape[1:3]), known(kernel.shape[:2]), known(dy.shape[1:3]), pads)
        window, by = (self.strides, pads, self.dilation), self.algorithm
        ddy = apply(Conv(*window, algorithm=by), dx, kernel)
        dkernel = apply(ConvKernelGrad(*window, known(kernel.shape), algorithm=by), dx, dy)
        return ddy, dkernel, *(reduction.sum(dx, (0, 1, 2)) for _ in bias)

    def prepared(self, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        size = packed_transposed_size(self.geometry_of(inputs), np.dtype(inputs[0].dtype).itemsize)
        return [TensorSpec((size,), inputs[0].dtype)]

    def prepare(self, k: Any, inputs: Any, outputs: Any, prepared: Any) -> list:
        return [k.conv_pack_weights_transposed.bind(inputs[1], prepared[0], self.geometry_of(inputs))]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        dy, (dx,), (packed,) = inputs[0], outputs, scratch
        g, more = self.geometry_of(inputs), bias_and_residual(self, inputs, dx)
        return [k.conv_backward_data.bind(dy, packed, *more, dx, floor_of(self.lower), g)]

    def by_image(self, inputs: Sequence[Any], outputs: Any) -> Sequence[int]:
        return with_images(self, inputs)

    def absorb(self, node: Node, reader: Node) -> Fused | None:
        return accumulated(node, reader)

    def exact_pads(self, size: Dims, taps: Dims, out: Dims, pads: Pads) -> Pads:
        """The padding with ends such that the convolution of an image of `size` has `out` cells; may be negative."""
        reach = [(out[i] - 1) * self.strides[i] + extent(taps[i], self.dilation[i]) for i in range(2)]
        rows, columns = ((pads[i][0], reach[i] - size[i] - pads[i][0]) for i in range(2))
        return rows, columns


@operation
class ConvInputGrad(Transposed):
    """dx (n, *shape) of a `Conv`, from dy and the kernel, plus a residual if there is one, put there by plans."""

    shape: Dims  # (h, w, c)
    residual: bool = False

    def infer(self, dy: Tensor, kernel: Tensor) -> TensorSpec:
        return TensorSpec((dy.shape[0], *self.shape), dy.dtype)

    def placing(self, dy: Shape, kernel: Shape) -> tuple[Shape, Pads]:
        return self.shape, self.padding  # type: ignore[return-value]


@operation
class ConvTranspose(Transposed):
    """y[n, iy stride + ky dilation - top, ..., f] += x[n, iy, ..., c] kernel[ky, ..., f, c], then bias and lower.

    x (n,h,w,c), kernel (kh,kw,f,c), bias (f,) if any -> (n,oh,ow,f). `padding` is what is cropped from the cells
    that the taps reach; sizes follow Keras (`transposed_length`).
    """

    output_padding: Pair | None
    lower: float | None = None
    residual: bool = False

    def infer(self, x: Tensor, kernel: Tensor, *bias: Tensor) -> TensorSpec:
        check_images("conv2d_transpose", x, kernel, bias, kernel.shape[-2])
        if x.shape[-1] not in (None, kernel.shape[-1]):
            raise Error(
                f"conv2d_transpose: a kernel of shape {kernel.shape} (kh, kw, filters, channels) does not fit images "
                f"of {x.shape[-1]} channels"
            )
        shape, _ = self.placing(x.shape, kernel.shape)
        return TensorSpec((x.shape[0], *shape), x.dtype)

    def placing(self, dy: Shape, kernel: Shape) -> tuple[Shape, Pads]:
        lengths, pads = [], []
        for axis, taps in enumerate(known(kernel[:2])):
            span, stride = extent(taps, self.dilation[axis]), self.strides[axis]
            extra = None if self.output_padding is None else self.output_padding[axis]
            crop = self.padding if isinstance(self.padding, str) else self.padding[axis]
            length, before = transposed_length(dy[1 + axis], span, stride, crop, extra)
            lengths.append(length)
            pads.append((before, 0))
        return (*lengths, kernel[2]), (pads[0], pads[1])

    def absorb(self, node: Node, reader: Node) -> Fused | None:
        filters = *known(node.inputs[1].shape[-2:-1]), 1
        return accumulated(node, reader) or absorbed(node, reader, filters)


def transposed_length(
    size: int | None, span: int, stride: int, padding: str | Pair, extra: int | None
) -> tuple[int | None, int]:
    """(output length, cells cropped before) of a transposed convolution along one axis, as in Keras 3.

    `size` cells reach (size - 1) stride + span. "valid" crops nothing and adds `extra` cells (default: so many that
    no stride is cut short). "same" has size * stride cells, with `extra` (size - 1) stride + span mod 2 + extra.
    """
    if not isinstance(padding, str):
        before, more = padding[0], (extra or 0) - sum(padding)
    elif padding == "valid":
        before, more = 0, max(stride - span, 0) if extra is None else extra
    else:
        more = stride - span if extra is None else span % 2 + extra - span
        before = max(-more // 2, 0)
    if size is None:
        return None, before
    reach = (size - 1) * stride + span
    if reach + more < 1:
        raise Error(f"conv2d_transpose: padding {padding!r} crops all {reach} cells of the output")
    return reach + more, before


def reduced(k: Any, parts: int, launch: Callable[[Any], Any], dkernel: Any, scratch: Any) -> list:
    """`launch(partials)`, then the sum over the partials; a single part is the result itself."""
    if parts == 1:
        return [launch(dkernel.reshape(1, -1))]
    (partials,) = scratch
    total = k.reduce_sum.bind(partials.reshape(1, parts, -1), dkernel.reshape(1, 1, -1), 1.0)
    return [launch(partials), total]


@operation
class ConvKernelGrad(Correlation):
    """dkernel, of the given shape, of a `Conv`, from x and dy."""

    shape: Dims

    def infer(self, x: Tensor, dy: Tensor) -> TensorSpec:
        return TensorSpec(self.shape, x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, Tensor]:
        (x, dy), (dkernel,) = inputs, grads
        window, by = (self.strides, self.padding, self.dilation), self.algorithm
        dx = apply(ConvInputGrad(*window, known(x.shape[1:]), algorithm=by), dy, dkernel)
        return dx, apply(Conv(*window, algorithm=by), x, dkernel)

    def parts(self, inputs: Sequence[Tensor], by_image: bool) -> Sequence[Tensor] | None:
        return by_chunks(self, inputs) if by_image else None

    def geometry_of(self, inputs: Sequence[Any]) -> ConvGeometry:
        return self.geometry(inputs[0].shape, self.shape[:3], inputs[1].shape)

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return work(self.geometry_of(inputs))

    def cost(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], ready: bool) -> Cost:
        return implicit_gradient_cost(self.geometry_of(inputs))

    def scratch(self, k: Any, inputs: Sequence[TensorSpec], outputs: Any) -> list[TensorSpec]:
        parts = k.conv_backward_weights.parts(self.geometry_of(inputs), inputs[0].dtype)
        return [TensorSpec((parts, math.prod(self.shape)), inputs[0].dtype)] if parts > 1 else []

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, dy), (dkernel,) = inputs, outputs
        g = self.geometry_of(inputs)
        parts = k.conv_backward_weights.parts(g, x.dtype)
        return reduced(k, parts, lambda p: k.conv_backward_weights.bind(x, dy, p, g), dkernel, scratch)


# --- depthwise convolutions ------------------------------------------------------------------------------------


def planes_of(tensors: Sequence[TensorSpec], multiplier: int | None) -> list[TensorSpec]:
    """Scratch for the planes of tensors (..., c, mult), which a multiplier of 1 does not need."""
    return [] if multiplier == 1 else [TensorSpec(x.shape, x.dtype) for x in tensors]


def split(k: Any, tensors: Sequence[Any], planes: Sequence[Any], multiplier: int) -> list:
    """Launches that cut tensors (..., c, mult) into planes (mult, ..., c)."""
    pairs = zip(tensors, planes, strict=False) if multiplier > 1 else ()
    return [k.split_planes.bind(x.reshape(-1, multiplier), p.reshape(multiplier, -1)) for x, p in pairs]


def joined(k: Any, planes: Any, tensor: Any, multiplier: int) -> list:
    """The launch that joins planes (mult, ..., c) to a tensor (..., c, mult)."""
    if multiplier == 1:
        return []
    return [k.join_planes.bind(planes.reshape(multiplier, -1), tensor.reshape(-1, multiplier))]


@operation
class DepthwiseConv(Correlation):
    """y[..., c mult + m] = max(x[..., c] * kernel[..., c, m] + bias, lower), every channel by itself.

    x (n,h,w,c), kernel (kh,kw,c,mult), bias (c mult,) if any -> (n,oh,ow,c mult). moments as of `Conv`.
    """

    lower: float | None = None
    moments: bool = False
    residual: ClassVar[bool] = False
    images = (0,)

    def infer(self, x: Tensor, kernel: Tensor, *bias: Tensor) -> TensorSpec:
        filters = math.prod(known(kernel.shape[-2:]))
        check_images("depthwise_conv2d", x, kernel, bias, filters)
        if x.shape[-1] not in (None, kernel.shape[-2]):
            raise Error(
                f"depthwise_conv2d: a kernel of shape {kernel.shape} (kh, kw, channels, multiplier) does not fit "
                f"images of {x.shape[-1]} channels"
            )
        return TensorSpec((x.shape[0], *self.output_size(x.shape, kernel.shape), filters), x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, ...]:
        (x, kernel, *bias), (dy,) = inputs, grads
        pads = self.pads(known(x.shape[1:3]), known(kernel.shape[:2]))
        dx = apply(DepthwiseInputGrad(self.strides, pads, self.dilation, known(x.shape[1:])), dy, kernel)
        dkernel = apply(DepthwiseKernelGrad(self.strides, pads, self.dilation, known(kernel.shape)), x, dy)
        return dx, dkernel, *(reduction.sum(dy, (0, 1, 2)) for _ in bias)

    def absorb(self, node: Node, reader: Node) -> Fused | None:
        return absorbed(node, reader, known(node.inputs[1].shape[-2:]))

    def join(self, node: Node, reader: Node, k: Any) -> Op | None:
        return moments_as_stored(node, reader, k)

    def moment_parts(self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        """How many rows of moments are written with the results; 0 where that cannot be."""
        if inputs[1].dims[-1] > 1:  # planes
            return 0
        return k.depthwise_forward_moments.parts(self.geometry_of(inputs, outputs), inputs[0].dtype)

    def geometry_of(self, inputs: Sequence[Any], outputs: Sequence[Any]) -> ConvGeometry:
        return self.geometry(inputs[0].shape, (*known(inputs[1].shape[:2]), 1), outputs[0].shape)

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 2 * outputs[0].size * math.prod(known(inputs[1].shape[:2]))

    def scratch(
        self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> list[TensorSpec]:
        if self.moments:
            return moments_kept(self, k, inputs, outputs)
        return planes_of([*inputs[1:], *outputs], inputs[1].shape[-1])

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, *weights), y, multiplier = inputs, outputs[0], inputs[1].shape[-1]
        moments, others = (scratch, ()) if self.moments else ((), scratch)
        *parts, planes = others or (*weights, y)
        given = x, parts[0], no_bias(parts[1:], y)
        rest = planes, floor_of(self.lower), self.geometry_of(inputs, outputs)
        filtered = keeping(k, "depthwise_forward", given, moments, rest)
        launches = [*split(k, weights, parts, multiplier), filtered, *joined(k, planes, y, multiplier)]
        return [*launches, *moments_of(k, moments, outputs)]


@operation
class DepthwiseInputGrad(Correlation):
    """dx (n, *shape) of a `DepthwiseConv`, from dy and the kernel."""

    shape: Dims  # (h, w, c)
    images = (0,)

    def infer(self, dy: Tensor, kernel: Tensor) -> TensorSpec:
        return TensorSpec((dy.shape[0], *self.shape), dy.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, Tensor]:
        (dy, kernel), (dx,) = inputs, grads
        window = (self.strides, self.padding, self.dilation)
        dkernel = apply(DepthwiseKernelGrad(*window, known(kernel.shape)), dx, dy)
        return apply(DepthwiseConv(*window), dx, kernel), dkernel

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 2 * inputs[0].size * math.prod(known(inputs[1].shape[:2]))

    def scratch(
        self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> list[TensorSpec]:
        return planes_of(inputs, inputs[1].shape[-1])

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (dy, kernel), (dx,) = inputs, outputs
        g = self.geometry(dx.shape, (*kernel.shape[:2], 1), dy.shape)
        planes = scratch or inputs
        return [*split(k, inputs, planes, kernel.shape[-1]), k.depthwise_backward_data.bind(*planes, dx, g)]


@operation
class DepthwiseKernelGrad(Correlation):
    """dkernel, of the given shape, of a `DepthwiseConv`, from x and dy."""

    shape: Dims

    def infer(self, x: Tensor, dy: Tensor) -> TensorSpec:
        return TensorSpec(self.shape, x.dtype)

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, Tensor]:
        (x, dy), (dkernel,) = inputs, grads
        window = (self.strides, self.padding, self.dilation)
        dx = apply(DepthwiseInputGrad(*window, known(x.shape[1:])), dy, dkernel)
        return dx, apply(DepthwiseConv(*window), x, dkernel)

    def parts(self, inputs: Sequence[Tensor], by_image: bool) -> Sequence[Tensor] | None:
        return by_chunks(self, inputs) if by_image else None

    def geometry_of(self, inputs: Sequence[Any]) -> ConvGeometry:
        return self.geometry(inputs[0].shape, (*self.shape[:2], 1), inputs[1].shape)

    def flops(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
        return 2 * inputs[1].size * math.prod(self.shape[:2])

    def scratch(
        self, k: Any, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
    ) -> list[TensorSpec]:
        parts = k.depthwise_backward_weights.parts(self.geometry_of(inputs), inputs[0].dtype)
        partials = [TensorSpec((parts, math.prod(self.shape)), inputs[0].dtype)] if parts > 1 else []
        return [*partials, *planes_of([inputs[1], *outputs], self.shape[-1])]

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        (x, dy), (dkernel,) = inputs, outputs
        g, multiplier = self.geometry_of(inputs), self.shape[-1]
        parts = k.depthwise_backward_weights.parts(g, x.dtype)
        planes = scratch[-2:] if multiplier > 1 else (dy, dkernel)

        def products(partials: Any) -> Any:
            return k.depthwise_backward_weights.bind(x, planes[0], partials, g)

        summed = reduced(k, parts, products, planes[1], scratch[: parts > 1])
        return [*split(k, [dy], planes, multiplier), *summed, *joined(k, planes[1], dkernel, multiplier)]


# --- functions -------------------------------------------------------------------------------------------------


def _pair(value: int | Sequence[int], what: str, least: int = 1) -> Pair:
    """Two integers, given as two or as one for both axes."""
    values = (value, value) if isinstance(value, int) else tuple(value)
    if len(values) != 2 or not all(isinstance(n, int) and n >= least for n in values):
        raise Error(f"{what} must be one or two integers of at least {least}, got {value!r}")
    return values[0], values[1]


def _padding(padding: Any, what: str) -> Padding:
    """ "valid", "same" or ((top, bottom), (left, right))."""
    if isinstance(padding, str):
        name = padding.lower()
        if name not in ("same", "valid"):
            raise Error(f"{what}: padding {padding!r} is not known{did_you_mean(padding, ('same', 'valid'))}")
        return name
    pads = tuple(_pair(pair, f"{what}: padding of an axis", 0) for pair in padding)
    if len(pads) != 2:
        raise Error(
            f"{what}: padding must be 'same', 'valid' or ((top, bottom), (left, right)), got {padding}"
        )
    return pads[0], pads[1]


def _window(strides: Any, padding: Any, dilation_rate: Any, what: str) -> tuple[Pair, Padding, Pair]:
    strides, dilation = _pair(strides, f"{what}: strides"), _pair(dilation_rate, f"{what}: dilation_rate")
    return strides, _padding(padding, what), dilation


def _tensors(x: Any, *others: Any) -> list[Tensor]:
    """Tensors of the arguments that are not None; arrays take the dtype of x."""
    first = convert(x)
    return [first, *(convert(other, first.dtype) for other in others if other is not None)]


@op_function
def conv2d(
    x: Any, kernel: Any, bias: Any = None, strides: Any = 1, padding: Any = "valid", dilation_rate: Any = 1,
    groups: int | None = None, algorithm: str = "auto",
) -> Any:  # fmt: skip
    """y[n,oy,ox,f] = sum_{ky,kx,c} x[n,iy,ix,c] kernel[ky,kx,c,f] + bias[f], iy = oy stride - top + ky dilation.

    x (n, h, w, c), kernel (kh, kw, c / groups, f), bias (f,) -> (n, oh, ow, f). padding: "valid", "same" or
    ((top, bottom), (left, right)). The number of groups follows from the kernel; given, it is checked.
    `algorithm`, of this convolution and its gradients: see `config.set_convolution_algorithm`.
    """
    if algorithm not in config.CONVOLUTIONS:
        raise Error(
            f"conv2d: algorithm {algorithm!r} is not known{did_you_mean(algorithm, config.CONVOLUTIONS)}"
        )
    tensors = _tensors(x, kernel, bias)
    channels, inner = tensors[0].shape[-1], tensors[1].shape[-2]
    if groups is not None and channels is not None and inner is not None and inner * groups != channels:
        raise Error(
            f"conv2d: {channels} channels in {groups} groups need a kernel of shape (kh, kw, channels / groups, "
            f"filters), got {tensors[1].shape}"
        )
    window = _window(strides, padding, dilation_rate, "conv2d")
    if algorithm == config.convolution_algorithm() == "auto" and channels and inner and inner < channels:
        check_groups(channels, inner, known(tensors[1].shape)[-1])
        if inner == 1:
            tensors[1] = reshape(tensors[1], (*known(tensors[1].shape)[:2], channels, -1))
            return apply(DepthwiseConv(*window), *tensors)
        tensors[1] = join_groups(tensors[1], channels // inner)
    return apply(Conv(*window, algorithm=algorithm), *tensors)


def join_groups(kernel: Tensor, groups: int) -> Tensor:
    """A kernel with fewer groups that does the same: groups of fewer filters than a vector has lanes become blocks.

    (kh, kw, inner, f) -> (kh, kw, d inner, f): filters of the group g take the channels of the (g mod d)-th part of
    what d groups have together, and the others times zero. That takes d times the multiplications, which is less than
    what half-empty vectors cost. (Infinity times zero is NaN: an infinite channel reaches all that share its block.)
    """
    *_, inner, filters = known(kernel.shape)
    each = filters // groups
    together = min(d for d in range(1, groups + 1) if groups % d == 0 and (d * each >= LANES or d == groups))
    if together == 1:
        return kernel
    own = np.arange(filters) // each % together == np.arange(together * inner)[:, None] // inner
    return tile(kernel, (1, 1, together, 1)) * own.astype(kernel.dtype)


@op_function
def conv2d_transpose(
    x: Any, kernel: Any, bias: Any = None, strides: Any = 1, padding: Any = "valid", output_padding: Any = None,
    dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    """y[n, iy stride + ky dilation - top, ..., f] = sum of x[n, iy, ..., c] kernel[ky, ..., f, c] + bias[f].

    x (n, h, w, c), kernel (kh, kw, f, c), bias (f,) -> (n, oh, ow, f): the gradient of a convolution with respect
    to its input. Sizes as in Keras; explicit padding is cropped from (h - 1) stride + kh.
    """
    extra = None if output_padding is None else _pair(output_padding, "conv2d_transpose: output_padding", 0)
    window = _window(strides, padding, dilation_rate, "conv2d_transpose")
    return apply(ConvTranspose(*window, extra), *_tensors(x, kernel, bias))


@op_function
def depthwise_conv2d(
    x: Any, kernel: Any, bias: Any = None, strides: Any = 1, padding: Any = "valid", dilation_rate: Any = 1
) -> Any:
    """y[n,oy,ox,c mult + m] = sum_{ky,kx} x[n,iy,ix,c] kernel[ky,kx,c,m] + bias[c mult + m].

    x (n, h, w, c), kernel (kh, kw, c, mult), bias (c mult,) -> (n, oh, ow, c mult).
    """
    window = _window(strides, padding, dilation_rate, "depthwise_conv2d")
    return apply(DepthwiseConv(*window), *_tensors(x, kernel, bias))


def _in_plane(function: Any, x: Any, kernels: Sequence[Any], window: dict[str, Any]) -> Any:
    """A function of images applied to images, or to sequences (n, length, c) as images of one row."""
    x, *kernels = _tensors(x, *kernels)
    if x.ndim != 3:
        return function(x, *kernels, **window)
    flat = {name: _row_of(name, value) for name, value in window.items()}
    return squeeze(function(expand_dims(x, 1), *(expand_dims(kernel, 0) for kernel in kernels), **flat), 1)


def _row_of(name: str, value: Any) -> Any:
    """An argument for one axis as one for two, of which the first has length 1."""
    if value is None or isinstance(value, str):
        return value
    along = value if isinstance(value, int) else value[0]
    return {"padding": ((0, 0), along), "output_padding": (0, along)}.get(name, (1, along))


def _check_format(data_format: str | None) -> None:
    if data_format not in (None, "channels_last"):
        raise Error(
            f"data_format {data_format!r} is not supported; use channels_last, (batch, height, width, channels)"
        )


@op_function
def conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    """`conv2d` of images, or the same of sequences (n, length, c) with a kernel (k, c / groups, f)."""
    _check_format(data_format)
    window = {"strides": strides, "padding": padding, "dilation_rate": dilation_rate}
    return _in_plane(conv2d, inputs, [kernel], window)


@op_function
def conv_transpose(
    inputs: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", output_padding: Any = None,
    data_format: str | None = None, dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    """`conv2d_transpose` of images, or the same of sequences (n, length, c) with a kernel (k, f, c)."""
    _check_format(data_format)
    window = {"strides": strides, "padding": padding, "dilation_rate": dilation_rate}
    window["output_padding"] = output_padding
    return _in_plane(conv2d_transpose, inputs, [kernel], window)


@op_function
def depthwise_conv(
    inputs: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", data_format: str | None = None,
    dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    """`depthwise_conv2d` of images, or the same of sequences (n, length, c) with a kernel (k, c, mult)."""
    _check_format(data_format)
    window = {"strides": strides, "padding": padding, "dilation_rate": dilation_rate}
    return _in_plane(depthwise_conv2d, inputs, [kernel], window)


@op_function
def separable_conv(
    inputs: Any, depthwise_kernel: Any, pointwise_kernel: Any, strides: Any = 1, padding: Any = "valid",
    data_format: str | None = None, dilation_rate: Any = 1,
) -> Any:  # fmt: skip
    """`depthwise_conv`, then a convolution with the pointwise kernel (1, 1, c mult, f)."""
    y = depthwise_conv(inputs, depthwise_kernel, strides, padding, data_format, dilation_rate)
    return conv(y, pointwise_kernel)
