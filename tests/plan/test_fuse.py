"""Fusion: what becomes one node, that it computes the same, and that weights are prepared when they change."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import layers, ops
from fastcnn.graph import gradients
from fastcnn.plan import Function, chain, run
from fastcnn.tensor import TensorSpec, Variable


def names(function: Function, *arrays: np.ndarray) -> list[str]:
    """The ops of the plan for these arrays."""
    plan, _ = function.plan([TensorSpec(a.shape, str(a.dtype)) for a in arrays])
    return [node.operation.name for node in plan.nodes]


def unfused(monkeypatch: pytest.MonkeyPatch, function: Callable, *arrays: np.ndarray) -> Any:
    """What the function gives when nothing is fused."""
    with monkeypatch.context() as patch:
        patch.setattr(run, "PASSES", [])
        patch.setattr(run, "BLOCK_PASSES", [])
        return Function(function)(*arrays)


def unfused_prediction(monkeypatch: pytest.MonkeyPatch, model: fastcnn.Model, x: np.ndarray) -> np.ndarray:
    """What the model predicts when nothing is fused."""
    plain = fastcnn.models.clone_model(model)
    plain.set_weights(model.get_weights())
    return unfused(monkeypatch, lambda x: plain(x, training=False), x)


def draw(*shape: int, seed: int = 0, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(seed).normal(0.2, 1.0, shape).astype(dtype)


ACTIVATIONS = {
    "relu": ops.relu,
    "relu6": ops.relu6,
    "leaky relu": lambda x: ops.leaky_relu(x, 0.3),
}


@pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS.keys())
def test_normalisation_absorbs_activations_and_gradients(activation, monkeypatch):
    arrays = draw(5, 4, 3, 6), draw(6, seed=1), draw(6, seed=2)

    def body(x, gamma, beta):
        y, mean, variance = ops.batch_normalization_training(x, gamma, beta)
        loss = ops.sum(ops.square(activation(y)))
        return [loss, mean, variance, *gradients(loss, [x, gamma, beta])]

    function = Function(body)
    found = names(function, *arrays)
    assert found.count("BatchNormInference") == found.count("BatchNormInputGrad") == 1
    assert not {"Relu", "LeakyRelu", "ThresholdRelu", "ActivationGrad"} & set(found)
    for a, b in zip(function(*arrays), unfused(monkeypatch, body, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_normalisation_absorbs_a_residual_that_is_there_before(monkeypatch):
    arrays = draw(5, 4, 3, 6), draw(5, 4, 3, 6, seed=3), draw(6, seed=1), draw(6, seed=2)

    def body(x, residual, gamma, beta):
        y, _, _ = ops.batch_normalization_training(x, gamma, beta)
        y = ops.relu(residual + y)
        return [y, *gradients(ops.sum(ops.square(y)), [x, residual, gamma, beta])]

    function = Function(body)
    assert "Add" not in names(function, *arrays) and "Relu" not in names(function, *arrays)
    for a, b in zip(function(*arrays), unfused(monkeypatch, body, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_statistics_wanted_before_the_residual_keep_their_place(monkeypatch):
    """The residual is computed from the statistics: the normalisation cannot wait for it."""
    x, gamma, beta = draw(5, 6), draw(6, seed=1), draw(6, seed=2)

    def body(x, gamma, beta):
        y, mean, _ = ops.batch_normalization_training(x, gamma, beta)
        return ops.relu(y + ops.exp(x - mean))

    np.testing.assert_allclose(
        Function(body)(x, gamma, beta), unfused(monkeypatch, body, x, gamma, beta), rtol=1e-12
    )


LAYERS = {
    "conv": lambda: layers.Conv2D(8, 3, padding="same"),
    "conv without bias": lambda: layers.Conv2D(8, 3, strides=2, use_bias=False, groups=2),
    "depthwise": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
    "transposed": lambda: layers.Conv2DTranspose(5, 3, strides=2),
    "dense": lambda: layers.Dense(7),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS.keys())
@pytest.mark.parametrize("activation", [None, layers.ReLU], ids=["linear", "relu"])
def test_normalisation_is_folded_into_weights_at_inference(make, activation, monkeypatch):
    inputs = layers.Input((7, 6, 4))
    outputs = layers.BatchNormalization()(make()(inputs))
    model = fastcnn.Model(inputs, outputs if activation is None else activation()(outputs))
    for i, variable in enumerate(model.weights):
        variable.assign(np.random.default_rng(i).uniform(0.5, 1.5, variable.shape))
    x = draw(3, 7, 6, 4, dtype="float32")
    folded = model.predict_on_batch(x)
    assert "BatchNorm" not in model.plan(3, training=False)
    np.testing.assert_allclose(folded, unfused_prediction(monkeypatch, model, x), rtol=1e-4, atol=1e-4)


def test_what_is_made_of_weights_is_made_again_when_they_change():
    weight = Variable(np.arange(6.0).reshape(2, 3), dtype="float64", name="weight")
    function = Function(lambda x: ops.matmul(x, ops.exp(ops.reshape(weight, (3, 2)))))
    x = draw(4, 3)

    def check() -> None:
        np.testing.assert_allclose(function(x), x @ np.exp(weight.numpy().reshape(3, 2)), rtol=1e-12)

    check()
    check()
    weight.assign(draw(2, 3, seed=5))
    check()
    values = weight.value
    for i in range(3):
        values[0, i] = 3.0
        check()
    weight.assign_add(np.ones((2, 3)))
    check()


def test_training_between_predictions_is_seen():
    model = fastcnn.Sequential(
        [layers.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten()]
    )
    model.compile("sgd", "mse")
    x = draw(4, 8, 8, 3, dtype="float32")
    for _ in range(3):
        before = model.predict_on_batch(x)
        np.testing.assert_array_equal(before, model.predict_on_batch(x))
        model.train_on_batch(x, np.ones_like(before))
        after = model.predict_on_batch(x)
        assert not np.array_equal(before, after)
        twin = fastcnn.models.clone_model(model)
        twin.set_weights(model.get_weights())
        np.testing.assert_array_equal(after, twin.predict_on_batch(x))


def test_inference_prepares_weights_once():
    model = fastcnn.Sequential([layers.Input((8, 8, 32)), layers.Conv2D(32, 3), layers.BatchNormalization()])
    x = draw(2, 8, 8, 32, dtype="float32")
    model.predict_on_batch(x)
    plan, _ = next(iter(model._step("predict")._functions.values()))._plans.popitem()[1]
    launches = [launch.kernel.__name__ for launch in plan.program.launches]
    assert launches in (["conv_forward"], ["amx_forward"], ["winograd_forward"])


@pytest.mark.parametrize("window", [{}, {"strides": 1, "padding": "same"}])
def test_gradient_of_a_maximum_takes_over_that_of_the_relu_in_front(window):
    def body(x, w):
        y = ops.relu(ops.conv2d(x, w))
        return fastcnn.gradients(ops.sum(ops.square(ops.max_pool(y, 2, **window))), [x, w])

    x, w = draw(2, 8, 8, 3), draw(3, 3, 3, 4)
    plan, _ = Function(body).plan([TensorSpec(x.shape, "float64"), TensorSpec(w.shape, "float64")])
    names = [node.operation.name for node in plan.nodes]
    assert "MaxPoolGrad" in names and "ActivationGrad" not in names

    def apart(x, w):
        y = ops.relu(ops.conv2d(x, w))
        z = y * 1.0  # something between the two
        return fastcnn.gradients(ops.sum(ops.square(ops.max_pool(z, 2, **window))), [x, w])

    for found, expected in zip(Function(body)(x, w), Function(apart)(x, w), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


ALGORITHMS = ["implicit", "columns", "lanes", "winograd", "winograd2", "amx", "amx3"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("first", [True, False], ids=["residual first", "residual last"])
def test_convolution_absorbs_a_residual_and_the_relu_behind_it(algorithm, first, monkeypatch):
    x, w, b = draw(6, 9, 7, 5, dtype="float32"), draw(3, 3, 5, 5, dtype="float32"), draw(5, dtype="float32")

    def body(x, w, b):
        y = ops.conv2d(x, w, b, padding="same", algorithm=algorithm)
        return ops.relu(x + y if first else y + x)

    function = Function(body)
    assert not {"Add", "Relu"} & set(names(function, x, w, b))
    np.testing.assert_allclose(function(x, w, b), unfused(monkeypatch, body, x, w, b), rtol=1e-4, atol=2e-4)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_gradient_of_a_convolution_absorbs_the_other_part_of_a_sum(algorithm, monkeypatch):
    x, w = draw(6, 9, 7, 5, dtype="float32"), draw(3, 3, 5, 5, dtype="float32")

    def body(x, w):
        h = ops.tanh(x)
        y = h + ops.conv2d(h, w, padding="same", algorithm=algorithm)
        return gradients(ops.sum(ops.square(y)), [x, w])

    function = Function(body)
    assert "Add" not in names(function, x, w)
    for a, b in zip(function(x, w), unfused(monkeypatch, body, x, w), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


RESIDUALS = {
    "strided": lambda x, w, v: ops.conv2d(x, w, strides=2) + ops.conv2d(x, v, strides=2),
    "transposed": lambda x, w, v: ops.conv2d_transpose(x, w) + ops.conv2d_transpose(x, v),
    "wanted before": lambda x, w, v: [y := ops.conv2d(x, w), y + ops.conv2d(x, v)],
    "made of the result": lambda x, w, v: (y := ops.conv2d(x, w)) + ops.exp(-ops.square(y)),
    "itself": lambda x, w, v: (y := ops.conv2d(x, w)) + y,
    "of one row": lambda x, w, v: ops.conv2d(x, w) + ops.mean(x, axis=(0, 1, 2)),
    "two in turn": lambda x, w, v: ops.relu(ops.conv2d(x, w) + ops.conv2d(x, v) + ops.conv2d(x, w * v)),
    "before a normalisation": lambda x, w, v: (ops.conv2d(x, w) + ops.conv2d(x, v)) * 2.0 - 1.0,
    "behind a bound": lambda x, w, v: ops.relu(ops.conv2d(x, w)) + ops.conv2d(x, v),
    "depthwise": lambda x, w, v: x[:, 1:-1, 1:-1] + ops.depthwise_conv2d(x, w[..., :1]),
}


@pytest.mark.parametrize("body", RESIDUALS.values(), ids=RESIDUALS.keys())
@pytest.mark.parametrize("images", [3, 64])
def test_residuals_of_all_kinds(body, images, monkeypatch):
    arrays = draw(images, 9, 8, 4), draw(3, 3, 4, 4, seed=1), draw(3, 3, 4, 4, seed=2)
    found, expected = Function(body)(*arrays), unfused(monkeypatch, body, *arrays)
    for a, b in zip(*((v if isinstance(v, list) else [v]) for v in (found, expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_residual_blocks_are_convolutions_alone_at_inference(monkeypatch):
    """With a shortcut as it is and one of its own convolution, in blocks of images and in one piece."""
    inputs = layers.Input((32, 32, 16))
    x = inputs
    for filters, strides in ((16, 1), (32, 2), (32, 1)):
        y = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(filters, 3, strides, padding="same")(x)))
        y = layers.BatchNormalization()(layers.Conv2D(filters, 3, padding="same", use_bias=False)(y))
        shortcut = x if strides == 1 else layers.BatchNormalization()(layers.Conv2D(filters, 1, strides)(x))
        x = layers.ReLU()(layers.Add()([shortcut, y]))
    model = fastcnn.Model(inputs, x)
    for i, variable in enumerate(model.weights):
        low = 0.5 if "variance" in variable.path or "gamma" in variable.path else -0.2
        variable.assign(np.random.default_rng(i).uniform(low, 1.0 if low > 0 else 0.2, variable.shape))
    assert not {"Add", "Relu"} & set(model.plan(64, training=False).replace("|", " ").split())
    for images in (2, 64):
        x = draw(images, 32, 32, 16, dtype="float32")
        expected = unfused_prediction(monkeypatch, model, x)
        np.testing.assert_allclose(model.predict_on_batch(x), expected, rtol=1e-3, atol=1e-3)


# --- moments ---------------------------------------------------------------------------------------------------


def normalised(convolve: Callable) -> Callable:
    """A function of arrays: the mean of a convolution's result, its variance, the normalised result, a gradient."""

    def body(x, w, gamma, beta):
        y, mean, variance = ops.batch_normalization_training(convolve(x, w), gamma, beta)
        return [mean, variance, y, *gradients(ops.sum(ops.square(ops.relu(y))), [w])]

    return body


CONVOLUTIONS = {
    "same": (lambda x, w, by: ops.conv2d(x, w, padding="same", algorithm=by), 24),
    "strided": (lambda x, w, by: ops.conv2d(x, w, strides=2, algorithm=by), 24),
    "groups": (lambda x, w, by: ops.conv2d(x, w[:, :, :4], padding="same", algorithm=by), 24),
    "depthwise": (lambda x, w, by: ops.depthwise_conv2d(x, w[..., :1], padding="same"), 8),
    "multiplied": (lambda x, w, by: ops.depthwise_conv2d(x, w[..., :2], padding="same"), 16),
    "with a bias and a residual": (
        lambda x, w, by: (
            ops.conv2d(x, w, w[0, 0, 0], padding="same", algorithm=by)
            + ops.conv2d(x, 0.5 * w, padding="same")
        ),
        24,
    ),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS.keys())
@pytest.mark.parametrize("images", [5, 48], ids=["whole", "in blocks"])
def test_moments_of_convolutions(case, algorithm, images, monkeypatch):
    """The statistics are those of the unfused op, however the convolution is computed and cut."""
    convolve, filters = case
    body = normalised(lambda x, w: convolve(x, w, algorithm))
    arrays = draw(images, 21, 19, 8) + 3, draw(3, 3, 8, 24), draw(filters, seed=1), draw(filters, seed=2)
    arrays = [array.astype("float32") for array in arrays]
    monkeypatch.setattr(chain, "WORTH", 1 << 16)
    for a, b in zip(Function(body)(*arrays), unfused(monkeypatch, body, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())


@pytest.mark.parametrize("algorithm", ["implicit", "winograd", "lanes", "amx3"])
def test_moments_are_an_epilogue(algorithm):
    arrays = draw(8, 32, 32, 16), draw(3, 3, 16, 32), draw(32, seed=1), draw(32, seed=2)
    arrays = [array.astype("float32") for array in arrays]
    function = Function(normalised(lambda x, w: ops.conv2d(x, w, padding="same", algorithm=algorithm)))
    plan, _ = function.plan([TensorSpec(a.shape, str(a.dtype)) for a in arrays])
    (forward,) = (node for node in plan.nodes if getattr(node.operation, "moments", False))
    assert len(forward.outputs) == 2
    assert "BatchMoments" not in names(function, *arrays)


def test_moments_of_parts_that_are_many_stay_apart():
    """Of a few pixels each, they would be as large as what they are of."""
    arrays = draw(6, 4, 4, 64), draw(1, 1, 64, 512), draw(512, seed=1), draw(512, seed=2)
    arrays = [array.astype("float32") for array in arrays]
    function = Function(normalised(lambda x, w: ops.conv2d(x, w, algorithm="implicit")))
    assert "BatchMoments" in names(function, *arrays)


def test_blocks_of_few_pixels_take_moments_apart(monkeypatch):
    """The whole has parts enough of many pixels; those of its blocks, or of the last one, would be small."""
    body = normalised(lambda x, w: ops.conv2d(ops.tanh(x), w, algorithm="implicit"))
    arrays = draw(128, 4, 4, 48), draw(1, 1, 48, 64), draw(64, seed=1), draw(64, seed=2)
    arrays = [array.astype("float32") for array in arrays]
    monkeypatch.setattr(chain, "WORTH", 1 << 16)
    monkeypatch.setattr(chain, "CACHE", 1 << 15)
    function = Function(body)
    plan, _ = function.plan([TensorSpec(a.shape, str(a.dtype)) for a in arrays])
    ((forward, launches),) = (step for step in plan.steps if getattr(step[0].operation, "moments", False))
    kernels = {launch.kernel.__name__ for launch in launches}
    assert forward.operation.name == "Conv" and "batch_norm_moments" in kernels
    for a, b in zip(function(*arrays), unfused(monkeypatch, body, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())


def test_moments_of_a_result_that_is_normalised_twice(monkeypatch):
    """Only one of two readers of the result becomes part of the convolution."""

    def body(x, w, gamma, beta):
        y = ops.conv2d(x, w)
        a, b = (ops.batch_normalization_training(y, g, beta)[0] for g in (gamma, 2.0 * gamma))
        return [y, a, b]

    arrays = draw(7, 12, 12, 4), draw(3, 3, 4, 8), draw(8, seed=1), draw(8, seed=2)
    for a, b in zip(Function(body)(*arrays), unfused(monkeypatch, body, *arrays), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_threads_give_the_same_bits_of_moments():
    arrays = draw(48, 32, 32, 3), draw(3, 3, 3, 24), draw(24, seed=1), draw(24, seed=2)
    arrays = [array.astype("float32") for array in arrays]
    before, found = fastcnn.num_threads(), []
    try:
        for threads in (1, 2, 3):
            fastcnn.set_num_threads(threads)
            found.append(Function(normalised(lambda x, w: ops.conv2d(x, w)))(*arrays))
    finally:
        fastcnn.set_num_threads(before)
    for other in found[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(found[0], other, strict=True))
