"""Values and gradients (inputs and weights) of every layer that has a counterpart in PyTorch, against it."""

import numpy as np
import pytest
from layer_harness import assert_close, backward, prepared

from fastcnn import layers

torch = pytest.importorskip("torch")
F = torch.nn.functional

pytestmark = pytest.mark.peer

IMAGE, ROW, VECTOR = (2, 7, 6, 4), (2, 9, 4), (3, 5)


def first(x):
    """(n, h, w, c) -> (n, c, h, w)."""
    return x.movedim(-1, 1)


def last(x):
    """(n, c, h, w) -> (n, h, w, c)."""
    return x.movedim(1, -1)


def conv(x, kernel, bias=None, **options):
    """PyTorch's convolution of the right rank, with a kernel (kh, kw, in, out)."""
    function = F.conv2d if x.ndim == 4 else F.conv1d
    weight = kernel.movedim(-1, 0).movedim(-1, 1)
    return last(function(first(x), weight, bias, **options))


def conv_transpose(x, kernel, bias, **options):
    """Kernel (kh, kw, out, in) -> (in, out, kh, kw)."""
    function = F.conv_transpose2d if x.ndim == 4 else F.conv_transpose1d
    weight = kernel.movedim(-1, 0).movedim(-1, 1)
    return last(function(first(x), weight, bias, **options))


def depthwise(x, kernel, bias=None, **options):
    """Kernel (kh, kw, c, mult) -> (c mult, 1, kh, kw)."""
    *size, channels, multiplier = kernel.shape
    weight = kernel.reshape(*size, channels * multiplier, 1).movedim(-2, 0).movedim(-1, 1)
    function = F.conv2d if x.ndim == 4 else F.conv1d
    return last(function(first(x), weight, bias, groups=channels, **options))


def padded(x, *pads):
    """Zeros around the spatial axes; the last axis comes first in `pads`, as in PyTorch."""
    return F.pad(x, (0, 0, *pads))


def separable(x, kernel, pointwise, bias):
    return conv(depthwise(x, kernel, padding=1), pointwise, bias)


def batch_norm(x, gamma, beta, mean, variance, training=False):
    return last(F.batch_norm(first(x), mean.clone(), variance.clone(), gamma, beta, training, 0.01, 1e-3))


def layer_norm(x, gamma, beta):
    return F.layer_norm(x, (x.shape[-1],), gamma, beta, 1e-3)


def group_norm(x, gamma, beta):
    return last(F.group_norm(first(x), 2, gamma, beta, 1e-3))


def upsample(x, mode, size=(3, 2)):
    align = None if mode == "nearest" else False
    return last(F.interpolate(first(x), scale_factor=size, mode=mode, align_corners=align))


CASES = {
    "Dense": (layers.Dense, (6,), {}, VECTOR, lambda x, w, b: x @ w + b),
    "Dense on images": (layers.Dense, (6, "relu"), {}, IMAGE, lambda x, w, b: F.relu(x @ w + b)),
    "Conv2D": (layers.Conv2D, (6, (3, 2)), {}, IMAGE, conv),
    "Conv2D strided, grouped": (
        layers.Conv2D, (6, (2, 3), (2, 1)), {"groups": 2, "activation": "relu"}, IMAGE,
        lambda x, w, b: F.relu(conv(x, w, b, stride=(2, 1), groups=2)),
    ),
    "Conv2D dilated, grouped": (
        layers.Conv2D, (6, (2, 3)), {"dilation_rate": (1, 2), "groups": 2}, IMAGE,
        lambda x, w, b: conv(x, w, b, dilation=(1, 2), groups=2),
    ),
    "Conv2D same": (
        layers.Conv2D, (5, (3, 4), 2, "same"), {}, IMAGE,
        lambda x, w, b: conv(padded(x, 1, 1, 1, 1), w, b, stride=2),
    ),
    "Conv2D explicit padding": (
        layers.Conv2D, (5, 3), {"padding": ((2, 0), (1, 3)), "use_bias": False}, IMAGE,
        lambda x, w: conv(padded(x, 1, 3, 2, 0), w),
    ),
    "Conv1D": (layers.Conv1D, (6, 3, 2), {}, ROW, lambda x, w, b: conv(x, w, b, stride=2)),
    "Conv1D causal": (
        layers.Conv1D, (6, 3), {"padding": "causal", "dilation_rate": 2}, ROW,
        lambda x, w, b: conv(padded(x, 4, 0), w, b, dilation=2),
    ),
    "Conv2DTranspose": (
        layers.Conv2DTranspose, (5, (3, 4), 2), {}, IMAGE, lambda x, w, b: conv_transpose(x, w, b, stride=2)
    ),
    "Conv2DTranspose same": (
        layers.Conv2DTranspose, (5, 4, 2, "same"), {}, IMAGE,
        lambda x, w, b: conv_transpose(x, w, b, stride=2, padding=1),
    ),
    "Conv1DTranspose": (
        layers.Conv1DTranspose, (5, 2, 3), {"output_padding": 2}, ROW,
        lambda x, w, b: conv_transpose(x, w, b, stride=3, output_padding=2),
    ),
    "DepthwiseConv2D": (
        layers.DepthwiseConv2D, ((3, 2), (2, 1)), {"depth_multiplier": 3}, IMAGE,
        lambda x, w, b: depthwise(x, w, b, stride=(2, 1)),
    ),
    "DepthwiseConv1D": (
        layers.DepthwiseConv1D, (3,), {"depth_multiplier": 2, "dilation_rate": 2}, ROW,
        lambda x, w, b: depthwise(x, w, b, dilation=2),
    ),
    "SeparableConv2D": (
        layers.SeparableConv2D, (5, 3), {"padding": "same", "depth_multiplier": 2}, IMAGE, separable
    ),
    "SeparableConv1D": (
        layers.SeparableConv1D, (5, 3), {"padding": "same", "depth_multiplier": 2}, ROW, separable
    ),
    "MaxPooling2D": (
        layers.MaxPooling2D, ((3, 2), (2, 1)), {}, IMAGE, lambda x: last(F.max_pool2d(first(x), (3, 2), (2, 1)))
    ),
    "MaxPooling2D padded": (
        layers.MaxPooling2D, (3, 2, ((1, 1), (1, 1))), {}, IMAGE,
        lambda x: last(F.max_pool2d(first(x), 3, 2, padding=1)),
    ),
    "MaxPooling1D": (layers.MaxPooling1D, (3, 2), {}, ROW, lambda x: last(F.max_pool1d(first(x), 3, 2))),
    "AveragePooling2D": (
        layers.AveragePooling2D, ((3, 2), (2, 1)), {}, IMAGE,
        lambda x: last(F.avg_pool2d(first(x), (3, 2), (2, 1))),
    ),
    "AveragePooling2D padded": (
        layers.AveragePooling2D, (3, 2, ((1, 1), (1, 1))), {}, IMAGE,
        lambda x: last(F.avg_pool2d(first(x), 3, 2, padding=1, count_include_pad=False)),
    ),
    "AveragePooling1D": (layers.AveragePooling1D, (3, 2), {}, ROW, lambda x: last(F.avg_pool1d(first(x), 3, 2))),
    "GlobalAveragePooling2D": (layers.GlobalAveragePooling2D, (), {}, IMAGE, lambda x: x.mean((1, 2))),
    "GlobalMaxPooling2D": (layers.GlobalMaxPooling2D, (), {}, IMAGE, lambda x: x.amax((1, 2))),
    "GlobalAveragePooling1D": (layers.GlobalAveragePooling1D, (), {}, ROW, lambda x: x.mean(1)),
    "GlobalMaxPooling1D": (layers.GlobalMaxPooling1D, (), {}, ROW, lambda x: x.amax(1)),
    "AdaptiveAveragePooling2D": (
        layers.AdaptiveAveragePooling2D, ((3, 4),), {}, IMAGE,
        lambda x: last(F.adaptive_avg_pool2d(first(x), (3, 4))),
    ),
    "AdaptiveMaxPooling2D": (
        layers.AdaptiveMaxPooling2D, ((3, 4),), {}, IMAGE,
        lambda x: last(F.adaptive_max_pool2d(first(x), (3, 4))),
    ),
    "AdaptiveAveragePooling1D": (
        layers.AdaptiveAveragePooling1D, (4,), {}, ROW, lambda x: last(F.adaptive_avg_pool1d(first(x), 4))
    ),
    "AdaptiveMaxPooling1D": (
        layers.AdaptiveMaxPooling1D, (4,), {}, ROW, lambda x: last(F.adaptive_max_pool1d(first(x), 4))
    ),
    "BatchNormalization inference": (layers.BatchNormalization, (), {}, IMAGE, batch_norm),
    "BatchNormalization training": (
        layers.BatchNormalization, (), {}, IMAGE, lambda *values: batch_norm(*values, training=True)
    ),
    "LayerNormalization": (layers.LayerNormalization, (), {}, IMAGE, layer_norm),
    "GroupNormalization": (layers.GroupNormalization, (2,), {}, IMAGE, group_norm),
    "UnitNormalization": (layers.UnitNormalization, (), {}, IMAGE, lambda x: F.normalize(x, dim=-1)),
    "ReLU": (layers.ReLU, (), {}, IMAGE, F.relu),
    "ReLU with a slope": (layers.ReLU, (), {"negative_slope": 0.1}, IMAGE, lambda x: F.leaky_relu(x, 0.1)),
    "ReLU6": (layers.ReLU, (1.5,), {}, IMAGE, lambda x: F.hardtanh(x, 0.0, 1.5)),
    "LeakyReLU": (layers.LeakyReLU, (), {}, IMAGE, lambda x: F.leaky_relu(x, 0.3)),
    "PReLU": (
        layers.PReLU, (), {"shared_axes": [1, 2]}, IMAGE, lambda x, a: last(F.prelu(first(x), a.reshape(-1)))
    ),
    "ELU": (layers.ELU, (0.7,), {}, IMAGE, lambda x: F.elu(x, 0.7)),
    "Softmax": (layers.Softmax, (), {}, IMAGE, lambda x: F.softmax(x, -1)),
    "Flatten": (layers.Flatten, (), {}, IMAGE, lambda x: torch.flatten(x, 1)),
    "Permute": (layers.Permute, ((3, 1, 2),), {}, IMAGE, lambda x: x.permute(0, 3, 1, 2)),
    "ZeroPadding2D": (layers.ZeroPadding2D, (((1, 2), (0, 3)),), {}, IMAGE, lambda x: padded(x, 0, 3, 1, 2)),
    "Cropping2D": (layers.Cropping2D, (((1, 2), (0, 3)),), {}, IMAGE, lambda x: x[:, 1:-2, :-3]),
    "UpSampling2D": (layers.UpSampling2D, ((3, 2),), {}, IMAGE, lambda x: upsample(x, "nearest")),
    "UpSampling2D bilinear": (
        layers.UpSampling2D, ((3, 2),), {"interpolation": "bilinear"}, IMAGE, lambda x: upsample(x, "bilinear")
    ),
    "Resizing": (
        layers.Resizing, (5, 9), {}, IMAGE,
        lambda x: last(F.interpolate(first(x), (5, 9), mode="bilinear", align_corners=False)),
    ),
}  # fmt: skip

# Activations by name; those that PyTorch has under the same definition. (Its own hardsigmoid takes a sixth in
# float32, in float64 too.)
ACTIVATIONS = {
    "relu": F.relu, "relu6": F.relu6, "elu": F.elu, "selu": F.selu, "celu": F.celu, "gelu": F.gelu, "silu": F.silu,
    "softplus": F.softplus, "softsign": F.softsign, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "hard_sigmoid": lambda x: F.relu6(x + 3) / 6, "hard_silu": F.hardswish, "hard_tanh": F.hardtanh, "mish": F.mish,
    "exponential": torch.exp, "log_sigmoid": F.logsigmoid, "tanh_shrink": F.tanhshrink,
    "soft_shrink": F.softshrink, "hard_shrink": F.hardshrink,
    "softmax": lambda x: F.softmax(x, -1), "log_softmax": lambda x: F.log_softmax(x, -1),
    "glu": lambda x: F.glu(x, -1), "leaky_relu": lambda x: F.leaky_relu(x, 0.2),
}  # fmt: skip


def compare(layer, inputs, function, dtype, training=False):
    """y, dx and dw of a layer against those of a function of PyTorch tensors (inputs, then weights)."""
    y = layer(inputs[0] if len(inputs) == 1 else inputs, training=training)
    xs = [torch.tensor(x, requires_grad=True) for x in inputs]
    ws = [torch.tensor(w.value.copy(), requires_grad=w.trainable) for w in layer.weights]
    expected = function(*xs, *ws)
    dy = np.random.default_rng(9).normal(size=y.shape).astype(dtype)
    expected.backward(torch.tensor(dy))
    terms = 16 * max([x.size for x in inputs])
    assert_close(y, expected.detach().numpy(), dtype, terms=64)
    dxs, dws = backward(layer, inputs, dy, training)
    for mine, theirs in zip([*dxs, *dws], [*xs, *(w for w in ws if w.requires_grad)], strict=True):
        assert_close(mine, theirs.grad.numpy(), dtype, terms=terms)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_layer(name, dtype):
    cls, args, options, shape, function = CASES[name]
    rng = np.random.default_rng(3)
    layer = prepared(cls(*args, dtype=dtype, **options), shape, rng)
    x = rng.normal(size=shape).astype(dtype)
    compare(layer, [x], function, dtype, training="training" in name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name, dtype):
    x = (3 * np.random.default_rng(4).normal(size=(5, 7, 6))).astype(dtype)
    compare(layers.Activation(name, dtype=dtype), [x], ACTIVATIONS[name], dtype)


MERGES = {
    "Add": (layers.Add(), lambda x, y: x + y),
    "Subtract": (layers.Subtract(), lambda x, y: x - y),
    "Multiply": (layers.Multiply(), lambda x, y: x * y),
    "Average": (layers.Average(), lambda x, y: (x + y) / 2),
    "Maximum": (layers.Maximum(), torch.maximum),
    "Minimum": (layers.Minimum(), torch.minimum),
    "Concatenate": (layers.Concatenate(1), lambda x, y: torch.cat([x, y], 1)),
    "Dot": (layers.Dot((2, 2)), lambda x, y: x @ y.mT),
    "Dot normalized": (layers.Dot(2, True), lambda x, y: F.normalize(x, dim=2) @ F.normalize(y, dim=2).mT),
}


@pytest.mark.parametrize("name", MERGES)
def test_merge(name):
    layer, function = MERGES[name]
    rng = np.random.default_rng(5)
    compare(layer, [rng.normal(size=(2, 3, 5)).astype("float32") for _ in range(2)], function, "float32")
