"""Layers against Keras on random configurations: configuration, weights, shapes, values and gradients.

Where Keras's own backends disagree, its PyTorch backend is not the measure: average pooling of "same" padding that is
larger at the end, bicubic interpolation, and normalisation over axes that are not the last ones are left out.
"""

import os
import warnings

import numpy as np
import pytest
from layer_harness import backward

import fastcnn
from fastcnn import layers

os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    torch = pytest.importorskip("torch", reason="PyTorch, the backend of Keras here, is not installed")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras runs on another backend"),
]

INITIALIZERS = ("zeros", "he_normal", "glorot_uniform", "orthogonal", "lecun_uniform")
ACTIVATIONS = (None, "relu", "tanh", "gelu", "elu", "silu", "softplus", "hard_sigmoid", "leaky_relu")


class Draw:
    """Random choices from a seed."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def one(self, *values):
        return values[self.rng.integers(len(values))]

    def int(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def sizes(self, low, high, rank):
        """One number for all axes, or a number for each, in a tuple or a list."""
        several = [self.int(low, high) for _ in range(rank)]
        return self.one(several[0], tuple(several), several)

    def shape(self, rank, low=5, high=8, channels=None):
        spatial = [self.int(low, high) for _ in range(rank)]
        return (self.int(1, 3), *spatial, channels or self.int(1, 4))

    def weights(self):
        return {
            "activation": self.one(*ACTIVATIONS), "use_bias": self.one(True, False),
            "bias_initializer": self.one("ones", "zeros"), "bias_regularizer": self.one(None, "l1"),
            "bias_constraint": self.one(None, "non_neg"),
        }  # fmt: skip

    def kernel(self, which="kernel"):
        return {
            f"{which}_initializer": self.one(*INITIALIZERS), f"{which}_regularizer": self.one(None, "l1", "l2"),
            f"{which}_constraint": self.one(None, "max_norm", "unit_norm"),
        }  # fmt: skip

    def window(self, rank, both=False):
        steps = {"strides": self.sizes(1, 3, rank)}
        if both or self.int(0, 1):
            steps = {"dilation_rate": self.sizes(1, 2, rank)}
        return {"kernel_size": self.sizes(1, 3, rank), "padding": self.one("valid", "same"), **steps}


def convolution(rank):
    def make(d):
        groups = d.one(1, 1, 2, 3)
        window = d.window(rank)
        if rank == 1 and d.int(0, 2) == 0:
            window["padding"] = "causal"
        options = {"filters": groups * d.int(1, 3), "groups": groups, **window, **d.weights(), **d.kernel()}
        return options, d.shape(rank, channels=groups * d.int(1, 2))

    return make


def transposed(rank):
    def make(d):
        options = {"filters": d.int(1, 4), **d.window(rank), **d.weights(), **d.kernel()}
        strides = np.broadcast_to(options.get("strides", 1), rank)
        if strides.min() > 1 and d.int(0, 1):
            options["output_padding"] = tuple(int(d.int(0, s - 1)) for s in strides)
        kernel = np.broadcast_to(options["kernel_size"], rank)
        if (kernel < strides).any():  # PyTorch cannot say it
            options["kernel_size"] = tuple(int(max(k, s)) for k, s in zip(kernel, strides, strict=True))
        return options, d.shape(rank, 2, 5)

    return make


def depthwise(rank, separable=False):
    def make(d):
        options = {**d.window(rank), **d.weights(), **d.kernel("depthwise"), "depth_multiplier": d.int(1, 3)}
        if rank == 2 and "strides" in options:
            options["strides"] = d.int(1, 3)
        if separable:
            options |= {"filters": d.int(1, 4), **d.kernel("pointwise")}
        return options, d.shape(rank)

    return make


def pooling(rank, average=False):
    def make(d):
        options = {
            "pool_size": d.sizes(1, 3, rank),
            "padding": "valid" if average else d.one("valid", "same"),
        }
        if d.int(0, 1):
            options["strides"] = d.sizes(1, 3, rank)
        return options, d.shape(rank)

    return make


def over(rank, **choices):
    """Options each from a list, on inputs of this rank."""
    return lambda d: ({name: d.one(*values) for name, values in choices.items()}, d.shape(rank))


def affine(d):
    return {
        "center": d.one(True, False), "scale": d.one(True, False), "epsilon": d.one(1e-3, 1e-5, 0.1),
        "beta_initializer": d.one("zeros", "ones"), "gamma_regularizer": d.one(None, "l2"),
    }  # fmt: skip


def batch_normalization(d):
    rank = d.int(0, 3)
    axis = d.one(*range(1, rank + 2), *range(-1, -rank - 2, -1))
    return {"axis": axis, "momentum": d.one(0.99, 0.5), **affine(d)}, (d.int(2, 4), *d.shape(rank, 2, 4)[1:])


def group_normalization(d):
    groups = d.int(1, 3)
    return {"groups": d.one(groups, -1), **affine(d)}, d.shape(d.int(1, 3), 2, 4, groups * d.int(1, 3))


def layer_normalization(d):
    return {"axis": d.one(-1, (2, 3), [1, 2, 3], (-2, -1)), **affine(d)}, d.shape(2)


def margins(rank, high):
    def make(d):
        pairs = tuple((d.int(0, high), d.int(0, high)) for _ in range(rank))
        numbers = tuple(d.int(0, high) for _ in range(rank))
        name = "padding" if high > 2 else "cropping"
        return {
            name: d.one(d.int(0, high), numbers if rank > 1 else pairs[0], pairs if rank > 1 else 1)
        }, d.shape(rank)

    return make


def merge(count=None, **choices):
    def make(d):
        shape = d.shape(d.int(1, 2), 2, 4)
        shapes = [
            tuple(d.one(n, n, 1) if i else n for i, n in enumerate(shape))
            for _ in range(count or d.int(2, 4))
        ]
        return {name: d.one(*values) for name, values in choices.items()}, shapes

    return make


def concatenate(d):
    shape, axis = d.shape(2, 2, 4), d.int(1, 3)
    sizes = [d.int(1, 4) for _ in range(d.int(2, 4))]
    shapes = [(*shape[:axis], size, *shape[axis + 1 :]) for size in sizes]
    return {"axis": d.one(axis, axis - 4)}, shapes


def dot(d):
    n, k = d.int(1, 3), d.int(1, 4)
    left, right = [n, d.int(1, 3), d.int(1, 3)], [n, d.int(1, 3), d.int(1, 3)]
    axes = (d.int(1, 2), d.int(1, 2))
    left[axes[0]] = right[axes[1]] = k
    return {"axes": axes, "normalize": d.one(True, False)}, [tuple(left), tuple(right)]


def reshape(d):
    shape = (2, 4, 6, 3)
    return {"target_shape": d.one((-1,), (72,), (3, -1), [-1, 8], (2, 6, 6), (4, 3, 6))}, shape


def permute(d):
    return {"dims": tuple(int(i) for i in d.rng.permutation(3) + 1)}, d.shape(2)


def relu(d):
    return {
        "max_value": d.one(None, 1.0, 6.0), "negative_slope": d.one(0.0, 0.1), "threshold": d.one(0.0, 0.3),
    }, d.shape(d.int(0, 2))  # fmt: skip


EQUATIONS = (
    ("abc,cx->abx", (None, 4), "x"), ("abc,cde->abde", (None, 4, 2), "de"), ("...x,xy->...y", 4, "y"),
    ("ab...,bc->ac...", 4, "c"), ("abc,bcx->abx", (3, 4), "bx"), ("...ab,bc->...ac", (3, 4), "c"),
    ("abc,bx->axc", (4, 5), "x"),
)  # fmt: skip


def einsum_dense(d):
    equation, output_shape, bias = d.one(*EQUATIONS)
    options = {name: value for name, value in d.weights().items() if name != "use_bias"}
    bias_axes = {"bias_axes": d.one(None, bias)}
    return {"equation": equation, "output_shape": output_shape, **bias_axes, **options, **d.kernel()}, (
        2,
        3,
        5,
    )


def attention(**choices):
    def make(d):
        n, t, s, size, values = (d.int(1, 4) for _ in range(5))
        query, key = (n, t, size), (n, s, size)
        shapes = d.one([query, key], [query, (n, s, values), key])
        return {"use_scale": d.one(True, False), **{k: d.one(*v) for k, v in choices.items()}}, shapes

    return make


POOLINGS = ("MaxPooling", "AveragePooling")
CASES = {
    "Dense": lambda d: ({"units": d.int(1, 5), **d.weights(), **d.kernel()}, d.shape(d.int(0, 3), 2, 4)),
    "Conv1D": convolution(1), "Conv2D": convolution(2), "Conv3D": convolution(3),
    "Conv1DTranspose": transposed(1), "Conv2DTranspose": transposed(2), "Conv3DTranspose": transposed(3),
    "DepthwiseConv1D": depthwise(1), "DepthwiseConv2D": depthwise(2),
    "SeparableConv1D": depthwise(1, True), "SeparableConv2D": depthwise(2, True),
    "MaxPooling1D": pooling(1), "MaxPooling2D": pooling(2), "MaxPooling3D": pooling(3),
    "AveragePooling1D": pooling(1, True), "AveragePooling2D": pooling(2, True), "AveragePooling3D": pooling(3, True),
    **{f"Global{kind}{n}D": over(n, keepdims=(True, False)) for kind in POOLINGS for n in (1, 2, 3)},
    **{f"Adaptive{kind}{n}D": over(n, output_size=(1, 2, 3, 5)) for kind in POOLINGS for n in (1, 2, 3)},
    "BatchNormalization": batch_normalization, "GroupNormalization": group_normalization,
    "LayerNormalization": layer_normalization, "UnitNormalization": over(2, axis=(-1, 1, (1, 2), [2, 3])),
    "RMSNormalization": over(2, axis=(-1, (2, 3)), epsilon=(1e-6, 0.1)),
    "ReLU": relu, "LeakyReLU": over(1, negative_slope=(0.0, 0.3, 1.0)), "ELU": over(1, alpha=(0.5, 1.0, 2.0)),
    "PReLU": over(2, shared_axes=(None, 1, [1, 2], (3,)), alpha_regularizer=(None, "l2")),
    "Softmax": over(2, axis=(-1, 1, (1, 2), [2, 3], None)), "Activation": over(2, activation=ACTIVATIONS[1:]),
    "Flatten": over(2), "Reshape": reshape, "Permute": permute, "Identity": over(1),
    "RepeatVector": over(0, n=(1, 2, 5)),
    "ZeroPadding1D": margins(1, 3), "ZeroPadding2D": margins(2, 3), "ZeroPadding3D": margins(3, 3),
    "Cropping1D": margins(1, 2), "Cropping2D": margins(2, 2), "Cropping3D": margins(3, 2),
    "UpSampling1D": over(1, size=(1, 2, 3)), "UpSampling3D": over(3, size=(1, 2, (2, 1, 3))),
    "UpSampling2D": over(2, size=(1, 2, (2, 3)), interpolation=("nearest", "bilinear")),
    **{name: merge() for name in ("Add", "Multiply", "Average", "Maximum", "Minimum")}, "Subtract": merge(2),
    "Concatenate": concatenate, "Dot": dot,
    "Dropout": over(2, rate=(0, 0.3), seed=(None, 3)), "SpatialDropout2D": over(2, rate=(0.0, 0.3)),
    "SpatialDropout1D": over(1, rate=(0.0, 0.3)), "SpatialDropout3D": over(3, rate=(0.0, 0.3)),
    "GaussianNoise": over(2, stddev=(0.0, 0.3)), "GaussianDropout": over(2, rate=(0.0, 0.3)),
    "AlphaDropout": over(2, rate=(0.0, 0.3)), "ActivityRegularization": over(2, l1=(0.0, 0.5), l2=(0.0, 0.25)),
    "Rescaling": over(2, scale=(0.5, 2), offset=(0.0, -1)),
    "Normalization": over(2, mean=(1.0,), variance=(2.0,), invert=(True, False)),
    "Resizing": over(
        2, height=(3, 9), width=(4, 8), interpolation=("nearest", "bilinear"), crop_to_aspect_ratio=(True, False)
    ),
    "EinsumDense": einsum_dense,
    "Attention": attention(score_mode=("dot", "concat")), "AdditiveAttention": attention(),
    "CenterCrop": over(2, height=(3, 9), width=(4, 9)),
}  # fmt: skip
DISTURB = [name for name in CASES if "Dropout" in name or "Noise" in name]


def plain(value):
    """A configuration in which both libraries' nested objects look alike."""
    if isinstance(value, dict) and "class_name" in value:
        inner = {name: plain(item) for name, item in value["config"].items()}
        return inner["name"] if value["class_name"] == "DTypePolicy" else (value["class_name"], inner)
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return round(value, 5) if isinstance(value, float) else value


def both(name, seed):
    options, shapes = CASES[name](Draw(seed))
    return *both_of(name, options), shapes


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(4))
def test_configuration_and_shape(name, seed):
    theirs, mine, shapes = both(name, seed)
    assert mine.name == theirs.name
    expected, found = plain(theirs.get_config()), plain(mine.get_config())
    expected.pop("quantization_config", None)
    assert found == {**expected, "trainable": True}
    again = type(mine).from_config(theirs.get_config())
    assert plain(again.get_config()) == found
    described = [(None, *s[1:]) for s in shapes] if isinstance(shapes, list) else (None, *shapes[1:])
    assert tuple(mine.compute_output_shape(described)) == tuple(theirs.compute_output_shape(described))


def fill(theirs, mine, rng):
    """The same random weights for both."""
    described = [(w.path, tuple(w.shape), bool(w.trainable)) for w in theirs.weights]
    assert [(w.path, w.shape, w.trainable) for w in mine.weights] == described
    assert mine.count_params() == theirs.count_params()
    values = [np.abs(rng.normal(size=shape)) + 0.3 for _, shape, _ in described]
    theirs.set_weights(values)
    mine.set_weights(values)


def run(layer, given, training):
    takes_mode = type(layer).__name__ in ("BatchNormalization", *DISTURB)
    return layer(given, training=training) if takes_mode else layer(given)


def close(actual, expected):
    expected = np.zeros(actual.shape) if expected is None else expected.detach().numpy()
    assert actual.shape == expected.shape
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(
        actual, expected, rtol=1e-5, atol=1e-5 * scale
    )  # parts of Keras are float32 always


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", range(4))
def test_values_and_gradients(name, seed):
    keras.backend.set_floatx("float64")
    fastcnn.config.set_floatx("float64")
    try:
        compare(*both(name, seed), training=name == "BatchNormalization" and seed % 2 == 1)
    finally:
        keras.backend.set_floatx("float32")
        fastcnn.config.set_floatx("float32")


def compare(theirs, mine, shapes, training):
    rng = np.random.default_rng(7)
    several = isinstance(shapes, list)
    xs = [rng.normal(size=shape) for shape in (shapes if several else [shapes])]
    tensors = [torch.tensor(x, requires_grad=True) for x in xs]
    run(theirs, tensors if several else tensors[0], training)
    mine(xs if several else xs[0], training=training)
    fill(theirs, mine, rng)
    expected = run(theirs, tensors if several else tensors[0], training)
    y = mine(xs if several else xs[0], training=training)
    close(y, expected)
    for a, b in zip(mine.non_trainable_weights, theirs.non_trainable_weights, strict=True):
        close(a.numpy(), b.value)
    dy = rng.normal(size=y.shape)
    if expected.requires_grad:
        wanted = [*tensors, *(w.value for w in theirs.trainable_weights)]
        try:
            grads = torch.autograd.grad(expected, wanted, torch.tensor(dy), allow_unused=True)
        except RuntimeError as problem:
            pytest.skip(f"PyTorch cannot differentiate it: {problem}")
        dxs, dws = backward(mine, xs, dy, training)
        for found, grad in zip([*dxs, *dws], grads, strict=True):
            close(found, grad)


def masks(d, n, t, s):
    """Masks at random, and what `call` takes beside them."""
    drawn = {
        "attention_mask": d.rng.random((n, t, s)) < 0.5,
        "value_mask": np.maximum(d.rng.random((n, s)) < 0.5, np.arange(s) == 0),
    }
    chosen = {name: value for name, value in drawn.items() if d.int(0, 1)}
    return chosen | {name: True for name in ("use_causal_mask", "return_attention_scores") if d.int(0, 1)}


@pytest.mark.parametrize("seed", range(24))
def test_multi_head_attention(seed):
    d = Draw(seed)
    rank = d.one(1, 1, 2)
    n, features, others = d.int(1, 3), d.int(1, 4), d.int(1, 4)
    t, s = (tuple(d.int(2, 4) for _ in range(rank)) for _ in "ts")
    options = {
        "num_heads": d.int(1, 3), "key_dim": d.int(1, 3), "value_dim": d.one(None, 2), "use_gate": d.one(True, False),
        "use_bias": d.one(True, False), "output_shape": d.one(None, 3, (2, 3)), "name": "heads", "dtype": "float32",
        "attention_axes": d.one(None, tuple(range(1, rank + 1))),
        "sliding_window": d.one(None, 2) if rank == 1 else None,
    }  # fmt: skip
    theirs, mine = keras.layers.MultiHeadAttention(**options), layers.MultiHeadAttention(**options)
    compare_attention(theirs, mine, d, n, t, s, (features, others, others + 1))


@pytest.mark.parametrize("seed", range(12))
def test_group_query_attention(seed):
    d = Draw(seed)
    heads, features = d.int(1, 3), d.int(1, 4)
    options = {
        "head_dim": d.int(1, 3), "num_query_heads": heads * d.int(1, 3), "num_key_value_heads": heads,
        "use_bias": d.one(True, False), "use_gate": d.one(True, False), "sliding_window": d.one(None, 2),
        "kernel_regularizer": d.one(None, "l2"), "seed": d.one(None, 1),
    }  # fmt: skip
    theirs, mine = both_of("GroupQueryAttention", options)
    compare_attention(theirs, mine, d, d.int(1, 3), (d.int(2, 4),), (d.int(2, 4),), (features,) * 3)


def both_of(name, options):
    keras.backend.clear_session()
    fastcnn.utils.clear_session()
    return getattr(keras.layers, name)(**options), getattr(layers, name)(**options)


def compare_attention(theirs, mine, d, n, t, s, features):
    """Configuration, weights and outputs, with masks, of queries along t and keys along s."""
    assert mine.name == theirs.name and plain(mine.get_config()) == plain(theirs.get_config())
    rank = len(t)
    shapes = [(n, *t, features[0]), (n, *s, features[1]), (n, *s, features[2])][: d.int(2, 3)]
    xs = [d.rng.normal(size=shape).astype("float32") for shape in shapes]
    called = masks(d, n, t[0], s[0]) if rank == 1 else {}
    tensors = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in called.items()}
    theirs(*(torch.tensor(x) for x in xs))
    mine(*xs)
    fill(theirs, mine, d.rng)
    found, expected = mine(*xs, **called), theirs(*(torch.tensor(x) for x in xs), **tensors)
    outputs = (found, expected) if isinstance(expected, tuple) else ([found], [expected])
    for y, other in zip(*outputs, strict=True):
        close(y, other)
    described = mine(*(fastcnn.Input(shape[1:]) for shape in shapes))
    assert described.shape == (None, *outputs[0][0].shape[1:])


def test_softmax_where_everything_is_masked():
    x, mask = np.arange(6, dtype="float32").reshape(2, 3), np.array([[1, 0, 1], [0, 0, 0]], bool)
    expected = keras.layers.Softmax()(torch.tensor(x), mask=torch.tensor(mask))
    close(layers.Softmax()(x, mask=mask), expected)


@pytest.mark.parametrize("mode", ["one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("shape", [(), (4,), (4, 1), (4, 3)])
def test_category_encoding(mode, shape):
    x = np.random.default_rng(0).integers(0, 5, shape)
    options = {"num_tokens": 6, "output_mode": mode, "name": "encoding"}
    theirs, mine = keras.layers.CategoryEncoding(**options), layers.CategoryEncoding(**options)
    np.testing.assert_array_equal(mine(x), theirs(torch.tensor(x)))
    assert plain(mine.get_config()) == plain(theirs.get_config())


@pytest.mark.parametrize("mode", ["int", "one_hot", "multi_hot", "count"])
@pytest.mark.parametrize("shape", [(5,), (5, 1), (5, 3)])
def test_discretization(mode, shape):
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    options = {"bin_boundaries": [-1.0, 0.0, 0.5], "output_mode": mode, "name": "bins"}
    theirs, mine = keras.layers.Discretization(**options), layers.Discretization(**options)
    np.testing.assert_array_equal(mine(x), theirs(torch.tensor(x)))
    assert plain(mine.get_config()) == plain({**theirs.get_config(), "trainable": True})


@pytest.mark.parametrize("n", [3, 50, 1000, 3331])
@pytest.mark.parametrize(("bins", "epsilon"), [(2, 0.01), (5, 0.03), (10, 0.2)])
def test_boundaries_found(n, bins, epsilon):
    x = np.random.default_rng(n).normal(size=(n, 2)).astype("float32")
    batches = [x[: n // 2], x[n // 2 :], x[:1]]
    theirs, mine = (lib.layers.Discretization(num_bins=bins, epsilon=epsilon) for lib in (keras, fastcnn))
    mine.adapt(batches)
    for batch in batches:
        theirs.update_state(batch)  # its adapt() wants TensorFlow
    theirs.finalize_state()
    assert mine.bin_boundaries == theirs.bin_boundaries


def test_every_layer_of_both_has_a_case():
    elsewhere = {
        "CategoryEncoding", "Discretization", "Embedding", "GroupedQueryAttention", "Input", "InputLayer", "InputSpec",
        "Lambda", "Layer", "MultiHeadAttention", "Pipeline", "SpectralNormalization", "TimeDistributed", "Wrapper",
    }  # fmt: skip
    shared = {
        cls.__name__
        for name in layers.__all__
        if isinstance(cls := getattr(layers, name), type) and hasattr(keras.layers, name)
        if not issubclass(cls, layers.ImageLayer)  # compared in test_augmentation_peer.py
    }
    assert shared - elsewhere - set(CASES) == set()
