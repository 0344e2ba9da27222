"""Convolutions (cross-correlations: kernels are not flipped). Images are (batch, height, width, channels).

A one-dimensional layer is the two-dimensional one on images of height 1.

padding: "valid" (none), "same" (output = ceil(input / stride), an odd cell at the end), or, beyond Keras,
explicit cells ((top, bottom), (left, right)); `Conv1D` also takes "causal" (all cells before). As in Keras strides
and dilation exclude each other, except in depthwise and separable layers.
"""

from typing import Any, ClassVar

from fastcnn import activations, ops
from fastcnn.errors import Error
from fastcnn.layers import arguments, volumes, weights
from fastcnn.layers.base import Layer
from fastcnn.tensor import Shape, Tensor, Variable


class _Convolution(Layer):
    """What all convolutions share: the window, the bias, the activation, and how one dimension becomes two."""

    spatial: ClassVar[int]  # number of spatial axes
    causal: ClassVar[bool] = False  # whether padding may be "causal"
    shows_activity_regularizer = True

    def __init__(
        self,
        kernel_size: Any,
        strides: Any,
        padding: Any,
        data_format: str | None,
        dilation_rate: Any,
        activation: Any,
        use_bias: bool,
        bias: tuple[Any, Any, Any],
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        owner = type(self).__name__
        self.kernel_size = arguments.integers(owner, "kernel_size", kernel_size, self.spatial)
        self.strides = arguments.integers(owner, "strides", strides, self.spatial)
        self.padding = arguments.padding(owner, padding, self.spatial, self.causal)
        self.data_format = arguments.data_format(owner, data_format)
        self.dilation_rate = arguments.integers(owner, "dilation_rate", dilation_rate, self.spatial)
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        weights.describe(self, "bias", *bias)

    def _check_steps(self) -> None:
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise Error(
                f"{type(self).__name__}: strides={self.strides} and dilation_rate={self.dilation_rate} exclude each "
                "other; use one of them, and pooling or a second layer for the other"
            )

    def _add_bias(self, filters: int) -> Variable | None:
        return weights.add(self, "bias", (filters,)) if self.use_bias else None

    def _channels(self, shape: Shape) -> int:
        """Number of channels of the inputs that weights are made for."""
        arguments.check_rank(shape, self.spatial)
        self.input_channels = arguments.known_size(shape, -1, "channels")
        return self.input_channels

    def _image(self, x: Tensor) -> Tensor:
        """(n, length, c) -> (n, 1, length, c); an image as it is."""
        arguments.check_rank(x.shape, self.spatial)
        arguments.check_size(x.shape, -1, self.input_channels, "channels")
        return ops.expand_dims(x, 1) if self.spatial == 1 else x

    def _filter(self, kernel: Variable) -> Tensor:
        """(k, in, out) -> (1, k, in, out); a two-dimensional filter as it is."""
        return ops.expand_dims(kernel, 0) if self.spatial == 1 else kernel

    def _finish(self, y: Tensor) -> Tensor:
        """Back to the layer's own rank, then the activation."""
        return self.activation(ops.squeeze(y, 1) if self.spatial == 1 else y)

    def _window(self) -> dict[str, Any]:
        """Strides, padding and dilation along height and width."""
        return {
            "strides": _plane(self.strides),
            "padding": self._plane_padding(),
            "dilation_rate": _plane(self.dilation_rate),
        }

    def _plane_padding(self) -> Any:
        if self.padding == "causal":
            return (0, 0), ((self.kernel_size[0] - 1) * self.dilation_rate[0], 0)
        explicit = not isinstance(self.padding, str)
        return ((0, 0), *self.padding) if self.spatial == 1 and explicit else self.padding


def _plane(sizes: tuple[int, ...], height: int = 1) -> tuple[int, int]:
    """(height, width) of what was given for one axis or for two."""
    return (height, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


class _Conv(_Convolution):
    """`Conv2D` in any number of dimensions."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        window = (kernel_size, strides, padding, data_format, dilation_rate)
        bias = (bias_initializer, bias_regularizer, bias_constraint)
        super().__init__(
            *window, activation, use_bias, bias, activity_regularizer=activity_regularizer, **kwargs
        )
        owner = type(self).__name__
        self.filters = arguments.integer(owner, "filters", filters)
        self.groups = arguments.integer(owner, "groups", groups)
        if self.filters % self.groups:
            raise Error(
                f"{owner}: filters must be a multiple of groups, got filters={filters}, groups={groups}"
            )
        self._check_steps()
        weights.describe(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)

    def build(self, input_shape: Shape) -> None:
        channels = self._channels(input_shape)
        if channels % self.groups:
            raise Error(f"{channels} channels cannot be divided into groups={self.groups} equal groups")
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = weights.add(self, "kernel", shape)
        self.bias = self._add_bias(self.filters)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        x, kernel = self._image(inputs), self._filter(self.kernel)
        return self._finish(ops.conv2d(x, kernel, self.bias, groups=self.groups, **self._window()))


class Conv1D(_Conv):
    """`Conv2D` along one axis: x (n, length, channels), kernel (k, channels / groups, filters).

    padding may be "causal": an output sees no later input.
    """

    spatial = 1
    causal = True


class Conv2D(_Conv):
    """y[n, oy, ox, f] = activation(sum_{ky, kx, c} x[n, iy, ix, c] kernel[ky, kx, c, f] + bias[f]), where
    iy = oy stride - top + ky dilation, and ix alike.

    x (n, h, w, channels), kernel (kh, kw, channels / groups, filters), bias (filters,) -> (n, oh, ow, filters).
    """

    spatial = 2


class Conv3D(_Conv):
    """`Conv2D` with a third axis in front: x (n, d, h, w, channels), kernel (kd, kh, kw, channels / groups, filters).

    All sizes of the inputs but the batch must be known.
    """

    spatial = 3

    def call(self, inputs: Tensor) -> Tensor:
        steps = (self.strides, self.padding, self.dilation_rate)
        return self._finish(volumes.conv3d(self._image(inputs), self.kernel, self.bias, *steps, self.groups))


class _ConvTranspose(_Convolution):
    """`Conv2DTranspose` in any number of dimensions."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        window = (kernel_size, strides, padding, data_format, dilation_rate)
        bias = (bias_initializer, bias_regularizer, bias_constraint)
        super().__init__(
            *window, activation, use_bias, bias, activity_regularizer=activity_regularizer, **kwargs
        )
        owner = type(self).__name__
        self.filters = arguments.integer(owner, "filters", filters)
        self.output_padding = None
        if output_padding is not None:
            self.output_padding = arguments.integers(owner, "output_padding", output_padding, self.spatial, 0)
            if any(p >= s for p, s in zip(self.output_padding, self.strides, strict=True)):
                raise Error(
                    f"{owner}: output_padding must be smaller than strides, got {self.output_padding} "
                    f"and {self.strides}"
                )
        self._check_steps()
        weights.describe(self, "kernel", kernel_initializer, kernel_regularizer, kernel_constraint)

    def build(self, input_shape: Shape) -> None:
        shape = (*self.kernel_size, self.filters, self._channels(input_shape))
        self.kernel = weights.add(self, "kernel", shape)
        self.bias = self._add_bias(self.filters)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        x, kernel = self._image(inputs), self._filter(self.kernel)
        extra = None if self.output_padding is None else _plane(self.output_padding, height=0)
        return self._finish(
            ops.conv2d_transpose(x, kernel, self.bias, output_padding=extra, **self._window())
        )


class Conv1DTranspose(_ConvTranspose):
    """`Conv2DTranspose` along one axis: x (n, length, channels), kernel (k, filters, channels)."""

    spatial = 1


class Conv2DTranspose(_ConvTranspose):
    """The gradient of a convolution with respect to its input, as a layer that enlarges:
    y[n, iy stride + ky dilation - top, ..., f] += x[n, iy, ..., c] kernel[ky, ..., f, c]; then bias, activation.

    x (n, h, w, channels), kernel (kh, kw, filters, channels), bias (filters,) -> (n, oh, ow, filters).
    "valid": oh = (h - 1) stride + max(kh, stride); "same": oh = h stride. output_padding p (with it "valid" is
    (h - 1) stride + kh + p, "same" (h - 1) stride + kh % 2 + p) adds rows and columns at the end. Explicit
    padding is cropped from (h - 1) stride + kh.
    """

    spatial = 2


class Conv3DTranspose(_ConvTranspose):
    """`Conv2DTranspose` with a third axis in front: x (n, d, h, w, channels), kernel (kd, kh, kw, filters, channels).

    All sizes of the inputs but the batch must be known.
    """

    spatial = 3

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = (1, 1, 1),
        padding: Any = "valid",
        data_format: str | None = None,
        output_padding: Any = None,
        dilation_rate: Any = (1, 1, 1),
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        window = (kernel_size, strides, padding, output_padding, data_format, dilation_rate)
        initializers = (kernel_initializer, bias_initializer)
        penalties = (kernel_regularizer, bias_regularizer, activity_regularizer)
        constraints = (kernel_constraint, bias_constraint)
        super().__init__(
            filters, *window, activation, use_bias, *initializers, *penalties, *constraints, **kwargs
        )

    def call(self, inputs: Tensor) -> Tensor:
        steps = (self.strides, self.padding, self.output_padding, self.dilation_rate)
        return self._finish(volumes.conv3d_transpose(self._image(inputs), self.kernel, self.bias, *steps))


class _DepthwiseConv(_Convolution):
    """`DepthwiseConv2D` in any number of dimensions."""

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        window = (kernel_size, strides, padding, data_format, dilation_rate)
        bias = (bias_initializer, bias_regularizer, bias_constraint)
        super().__init__(
            *window, activation, use_bias, bias, activity_regularizer=activity_regularizer, **kwargs
        )
        self.depth_multiplier = arguments.integer(type(self).__name__, "depth_multiplier", depth_multiplier)
        weights.describe(
            self, "depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint
        )

    def build(self, input_shape: Shape) -> None:
        channels = self._channels(input_shape)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = weights.add(self, "depthwise", shape, "kernel")
        self.bias = self._add_bias(channels * self.depth_multiplier)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        x, kernel = self._image(inputs), self._filter(self.kernel)
        return self._finish(ops.depthwise_conv2d(x, kernel, self.bias, **self._window()))


class DepthwiseConv1D(_DepthwiseConv):
    """`DepthwiseConv2D` along one axis: x (n, length, c), kernel (k, c, mult)."""

    spatial = 1


class DepthwiseConv2D(_DepthwiseConv):
    """Each channel with filters of its own:
    y[n, oy, ox, c mult + m] = activation(sum_{ky, kx} x[n, iy, ix, c] kernel[ky, kx, c, m] + bias[c mult + m]).

    x (n, h, w, c), kernel (kh, kw, c, mult), bias (c mult,) -> (n, oh, ow, c mult); mult is `depth_multiplier`.
    """

    spatial = 2


class _SeparableConv(_Convolution):
    """`SeparableConv2D` in any number of dimensions."""

    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        activity_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **kwargs: Any,
    ):
        window = (kernel_size, strides, padding, data_format, dilation_rate)
        bias = (bias_initializer, bias_regularizer, bias_constraint)
        super().__init__(
            *window, activation, use_bias, bias, activity_regularizer=activity_regularizer, **kwargs
        )
        owner = type(self).__name__
        self.filters = arguments.integer(owner, "filters", filters)
        self.depth_multiplier = arguments.integer(owner, "depth_multiplier", depth_multiplier)
        weights.describe(
            self, "depthwise", depthwise_initializer, depthwise_regularizer, depthwise_constraint
        )
        weights.describe(
            self, "pointwise", pointwise_initializer, pointwise_regularizer, pointwise_constraint
        )

    def build(self, input_shape: Shape) -> None:
        channels, ones = self._channels(input_shape), (1,) * self.spatial
        depthwise = (*self.kernel_size, channels, self.depth_multiplier)
        pointwise = (*ones, channels * self.depth_multiplier, self.filters)
        self.depthwise_kernel = weights.add(self, "depthwise", depthwise, "depthwise_kernel")
        self.pointwise_kernel = weights.add(self, "pointwise", pointwise, "pointwise_kernel")
        self.bias = self._add_bias(self.filters)
        self.built = True

    def call(self, inputs: Tensor) -> Tensor:
        depthwise = self._filter(self.depthwise_kernel)
        y = ops.depthwise_conv2d(self._image(inputs), depthwise, **self._window())
        return self._finish(ops.conv2d(y, self._filter(self.pointwise_kernel), self.bias))


class SeparableConv1D(_SeparableConv):
    """`SeparableConv2D` along one axis: x (n, length, c), kernels (k, c, mult) and (1, c mult, filters)."""

    spatial = 1


class SeparableConv2D(_SeparableConv):
    """A depthwise convolution, then a 1 x 1 convolution that mixes its channels, bias and activation.

    x (n, h, w, c), depthwise_kernel (kh, kw, c, mult), pointwise_kernel (1, 1, c mult, filters) ->
    (n, oh, ow, filters); mult is `depth_multiplier`. (Chollet 2017, Xception)
    """

    spatial = 2


Convolution1D = Conv1D
Convolution2D = Conv2D
Convolution3D = Conv3D
Convolution3DTranspose = Conv3DTranspose
Convolution1DTranspose = Conv1DTranspose
Convolution2DTranspose = Conv2DTranspose
SeparableConvolution1D = SeparableConv1D
SeparableConvolution2D = SeparableConv2D
