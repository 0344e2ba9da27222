"""Matrix tiles as plans use them: when they are chosen, that they compute the same, and bfloat16 products."""

from collections.abc import Iterator

import numpy as np
import pytest
from fastcnn_kernels.tile_products import tiles_available
from op_harness import Row, check_threads

import fastcnn
from fastcnn import config, layers, ops
from fastcnn.graph import gradients
from fastcnn.plan import Function
from fastcnn.tensor import TensorSpec

needs_tiles = pytest.mark.skipif(not tiles_available(), reason="this processor has no matrix tiles")


@pytest.fixture(autouse=True)
def settings() -> Iterator[None]:
    yield
    config.set_convolution_algorithm("auto")
    config.set_precision("fast")
    config.set_dtype_policy("float32")


def layer_and_gradients(x, kernel, bias, **options):
    """A fused convolution, and the gradients of a sum of its squares."""
    y = ops.relu(ops.conv2d(x, kernel, bias, **options))
    return [y, *gradients(ops.sum(ops.square(y)), [x, kernel, bias])]


def planned(x, kernel, **options):
    """Names of the convolutions in the plan of a layer and its gradients."""
    specs = [TensorSpec(shape) for shape in (x, kernel, kernel[3:])]
    plan, _ = Function(lambda *xs: layer_and_gradients(*xs, **options)).plan(specs)
    return {node.operation.name for node in plan.nodes if "Conv" in node.operation.name}


@needs_tiles
def test_they_are_chosen_where_there_is_much_to_multiply():
    pointwise, two = (
        ((32, 8, 8, 256), (1, 1, 256, 256)),
        {"AmxConv", "AmxConvInputGrad", "AmxConvKernelGrad"},
    )
    three = {f"Exact{name}" for name in two}
    for precision, names in (("strict", three), ("fast", three), ("faster", two)):
        config.set_precision(precision)
        assert planned(*pointwise) == names
        assert not any("Amx" in name for name in planned((32, 28, 28, 1), (5, 5, 1, 6)))


CASES = [
    pytest.param((3, 7, 9, 5), (3, 3, 5, 6), {}, id="nothing equal"),
    pytest.param((5, 6, 5, 32), (5, 3, 32, 40), {"padding": "same"}, id="whole blocks"),
    pytest.param((2, 9, 8, 20), (2, 3, 20, 16), {"strides": (2, 1)}, id="strides"),
    pytest.param((2, 12, 11, 8), (3, 2, 8, 5), {"dilation_rate": (1, 3), "padding": "same"}, id="dilation"),
    pytest.param((2, 8, 8, 12), (3, 3, 6, 4), {"padding": "same"}, id="groups"),
    pytest.param((1, 1, 1, 1), (1, 1, 1, 1), {}, id="smallest"),
]


@needs_tiles
@pytest.mark.parametrize(("algorithm", "error"), [("amx", 3e-5), ("amx3", 3e-6)])
@pytest.mark.parametrize(("x", "kernel", "options"), CASES)
def test_they_give_the_same(x, kernel, options, algorithm, error):
    """Values and gradients, compared with the implicit matrix product in float64."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in (x, kernel, kernel[3:])]
    config.set_convolution_algorithm("implicit")
    expected = Function(lambda *xs: layer_and_gradients(*xs, **options))(*arrays)
    config.set_convolution_algorithm(algorithm)
    config.set_precision("faster")
    found = Function(lambda *xs: layer_and_gradients(*xs, **options))(*(a.astype("float32") for a in arrays))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=error * max(np.abs(b).max(), 1))


TRANSPOSED = [
    pytest.param((3, 5, 4, 5), (3, 2, 6, 5), {"strides": (2, 3)}, id="nothing equal"),
    pytest.param((2, 7, 7, 40), (3, 3, 32, 40), {"strides": 2, "padding": "same"}, id="whole blocks"),
    pytest.param((2, 5, 6, 8), (2, 2, 5, 8), {"dilation_rate": (1, 2)}, id="dilation"),
    pytest.param((1, 1, 1, 1), (1, 1, 1, 1), {}, id="smallest"),
]


@needs_tiles
@pytest.mark.parametrize(("algorithm", "error"), [("amx", 3e-5), ("amx3", 3e-6)])
@pytest.mark.parametrize(("x", "kernel", "options"), TRANSPOSED)
def test_transposed_convolutions_give_the_same(x, kernel, options, algorithm, error):
    def layer(x, kernel, bias):
        y = ops.relu(ops.conv2d_transpose(x, kernel, bias, **options))
        return [y, *gradients(ops.sum(ops.square(y)), [x, kernel, bias])]

    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in (x, kernel, kernel[2:3])]
    config.set_convolution_algorithm("implicit")
    expected = Function(layer)(*arrays)
    config.set_convolution_algorithm(algorithm)
    config.set_precision("faster")
    function = Function(layer)
    found = function(*(a.astype("float32") for a in arrays))
    plan, _ = function.plan([TensorSpec(a.shape) for a in arrays])
    assert any("AmxConvTranspose" in node.operation.name for node in plan.nodes)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=error * max(np.abs(b).max(), 1))


@needs_tiles
@pytest.mark.parametrize("algorithm", ["amx", "amx3"])
def test_same_bits_on_any_number_of_threads(algorithm):
    config.set_convolution_algorithm(algorithm)
    config.set_precision("faster")
    row = Row("conv2d on tiles", lambda *xs: ops.conv2d(*xs, padding="same"), None, {})
    check_threads(row, [(7, 9, 8, 20), (3, 3, 20, 24), (24,)])


def test_float64_is_left_to_others():
    config.set_convolution_algorithm("amx3")
    x, kernel = np.ones((1, 3, 3, 2)), np.full((3, 3, 2, 1), 1 / 3)
    np.testing.assert_allclose(ops.conv2d(x, kernel), [[[[6.0]]]], rtol=1e-15)


# --- the policy mixed_bfloat16 ------------------------------------------------------------------------------


def rounded(x: np.ndarray) -> np.ndarray:
    """To 8 significant bits, ties to even."""
    mantissa, exponent = np.frexp(x.astype("float64"))
    return np.ldexp(np.rint(mantissa * 256) / 256, exponent)


@needs_tiles
def test_products_of_a_mixed_layer_are_of_bfloat16_numbers():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(64, 300)).astype("float32")
    dense = layers.Dense(128, dtype="mixed_bfloat16")
    y = dense(x)
    kernel = dense.get_weights()[0]
    np.testing.assert_allclose(y, rounded(x) @ rounded(kernel), rtol=0, atol=1e-4)
    assert np.abs(y - x.astype("float64") @ kernel).max() > 1e-4
    assert dense.compute_dtype == "bfloat16" and dense.variable_dtype == dense.dtype == "float32"
    assert y.dtype == kernel.dtype == np.float32


@pytest.mark.parametrize("a", [(40, 96), (96, 40)])
def test_products_of_matrices_and_their_gradients(a):
    """All three products of a dense layer, in any order of transposition, near what float32 gives."""
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(200, 96)), rng.normal(size=(96, 40))

    def both(policy):
        config.set_dtype_policy(policy)
        layer = layers.Dense(40, use_bias=False)
        layer.build((None, 96))
        layer.set_weights([w])

        def body(x):
            y = layer(x)
            return [y, *gradients(ops.sum(ops.square(y)), [x, layer.kernel])]

        return Function(body)(x.astype("float32"))

    for found, expected in zip(both("mixed_bfloat16"), both("float32"), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2 * np.abs(expected).max())


def network() -> fastcnn.Model:
    fastcnn.utils.set_random_seed(3)
    return fastcnn.Sequential(
        [
            fastcnn.Input((12, 12, 16)),
            layers.Conv2D(32, 3, padding="same"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(48, 1, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax", dtype="float32"),
        ]
    )


def test_training_under_the_policy_learns_as_float32_does():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(64, 12, 12, 16)).astype("float32"), rng.integers(0, 10, 64)
    losses = {}
    for policy in ("float32", "mixed_bfloat16"):
        config.set_dtype_policy(policy)
        model = network()
        model.compile(fastcnn.optimizers.SGD(0.02), "sparse_categorical_crossentropy")
        losses[policy] = model.fit(x, y, 16, 8, verbose=0, shuffle=False).history["loss"]
        assert all(weight.dtype == np.float32 for weight in model.get_weights())
    np.testing.assert_allclose(losses["mixed_bfloat16"], losses["float32"], rtol=0.05)
    assert losses["mixed_bfloat16"][-1] < 0.5 * losses["mixed_bfloat16"][0]
    if tiles_available():
        assert losses["mixed_bfloat16"] != losses["float32"]


def test_policy_is_saved_and_cloned(tmp_path):
    config.set_dtype_policy("mixed_bfloat16")
    model = network()
    config.set_dtype_policy("float32")
    model.save(tmp_path / "model.safetensors")
    for copy in (
        fastcnn.models.clone_model(model),
        fastcnn.models.load_model(tmp_path / "model.safetensors"),
    ):
        policies = [layer.dtype_policy.name for layer in copy.layers]
        assert policies == ["mixed_bfloat16"] * 5 + ["float32"]
        assert copy.layers[0].get_config()["dtype"] == "mixed_bfloat16"


def test_policies_that_there_are_not():
    with pytest.raises(fastcnn.Error, match="use 'mixed_bfloat16'"):
        config.set_dtype_policy("mixed_float16")
    with pytest.raises(fastcnn.Error, match=r"layer 'dense\w*': dtype 'int8' is not supported"):
        layers.Dense(3, dtype="int8")
