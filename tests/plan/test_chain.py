"""Chains: the same results as one op after the other, whatever the block; what they save; that order is kept."""

from typing import Any

import numpy as np
import pytest

import fastcnn
from fastcnn import layers, ops
from fastcnn.models.step import Batch
from fastcnn.ops import chunks
from fastcnn.plan import Function, chain
from fastcnn.tensor import TensorSpec


@pytest.fixture(autouse=True)
def small_tensors_are_worth_it(monkeypatch):
    monkeypatch.setattr(chain, "WORTH", 1)
    monkeypatch.setattr(chain, "LEAST", 2)
    monkeypatch.setattr(chunks, "CHUNK", 1)
    monkeypatch.setattr(chunks, "WEIGHTS", 0)


def network() -> fastcnn.Model:
    """All kinds of layers that chains know, with branches."""
    fastcnn.utils.set_random_seed(0)
    inputs = layers.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same")(inputs)))
    y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Concatenate()([layers.MaxPooling2D(2)(x), layers.AveragePooling2D(2)(x)])
    x = layers.DepthwiseConv2D(3, padding="same", activation="tanh")(x)
    x = layers.GroupNormalization(4)(layers.Conv2D(12, 1, strides=2)(x))
    x = layers.Dropout(0.25)(layers.Conv2DTranspose(6, 3, strides=2)(layers.LeakyReLU()(x)))
    x = layers.Flatten()(x)
    model = fastcnn.Model(inputs, layers.Dense(5)(layers.BatchNormalization()(layers.Dense(9)(x))))
    loss = fastcnn.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        fastcnn.optimizers.SGD(0.01, momentum=0.9), loss
    )  # Adam would magnify rounding errors of gradients
    return model


def results(n: int, steps: int = 2) -> tuple[list[np.ndarray], Any, Any]:
    """Losses, predictions and weights after some steps with n images, and the plans."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(n, 8, 8, 3)), rng.integers(0, 5, n)
    model = network()
    losses = [model.train_on_batch(x, y) for _ in range(steps)]
    found = [np.array(losses), model.predict_on_batch(x), *model.get_weights()]
    train = model._step("train").planned(Batch(x.astype("float32"), y)).plan
    predict = model._step("predict").planned(Batch(x.astype("float32"))).plan
    return found, train, predict


@pytest.fixture(params=["auto", "implicit"])
def algorithm(request):
    before = fastcnn.config.convolution_algorithm()
    fastcnn.config.set_convolution_algorithm(request.param)
    yield request.param
    fastcnn.config.set_convolution_algorithm(before)


@pytest.mark.parametrize("n", [2, 7, 12, 17, 32])
def test_blocks_give_what_the_whole_batch_gives(n, algorithm, monkeypatch):
    whole: list = []
    with monkeypatch.context() as patch:
        patch.setattr(chain, "WORTH", 1 << 60)
        whole, plain, _ = results(n)
        assert not any(c.block for c in plain.chains)
    for cache in (1 << 12, 1 << 15, 1 << 20):
        monkeypatch.setattr(chain, "CACHE", cache)
        found, train, predict = results(n)
        assert any(c.block for c in train.chains)
        if algorithm == "implicit" and n != 7:  # else weights may be too large to be read for every block
            assert any(c.block for c in predict.chains)
        for a, b in zip(found, whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_threads_give_the_same_bits():
    before, found = fastcnn.num_threads(), []
    try:
        for threads in (1, 2, 3):
            fastcnn.set_num_threads(threads)
            found.append(results(12)[0])
    finally:
        fastcnn.set_num_threads(before)
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_fewer_threads_may_run_a_plan_that_was_made_for_more():
    function, x = Function(lambda x: ops.exp(ops.relu(ops.square(x) * 0.5))), np.ones((64, 500), "float32")
    before = fastcnn.num_threads()
    try:
        for made, run in ((3, 1), (1, 3)):
            fastcnn.set_num_threads(made)
            function.plan([TensorSpec(x.shape, "float32")], key=made)
            fastcnn.set_num_threads(run)
            np.testing.assert_allclose(function(x, key=made), np.exp(0.5 * x), rtol=1e-6)
    finally:
        fastcnn.set_num_threads(before)


def test_what_only_a_chain_reads_needs_memory_for_a_block_a_thread(monkeypatch):
    monkeypatch.setattr(chain, "CACHE", 1 << 14)
    function = Function(lambda x: ops.sum(ops.exp(ops.relu(ops.tanh(x))), axis=(1, 2)))
    shape = (64, 32, 32)
    plan, _ = function.plan([TensorSpec(shape, "float32")])
    (blocked,) = [c for c in plan.chains if c.block]
    assert [node.operation.name for node in blocked.nodes] == ["Tanh", "Relu", "Exp", "Sum"]
    assert plan.nbytes < 1.5 * np.zeros(shape, "float32").nbytes  # the input, and little more


def test_gradients_of_weights_wait_for_the_chain(monkeypatch):
    """They read what the chain computes but are sums over all images: they come behind it, not between."""
    monkeypatch.setattr(chunks, "CHUNK", 1 << 60)

    def body(x, v, w):
        y = ops.relu(ops.conv2d(x, v, padding="same"))
        loss = ops.sum(ops.conv2d(y, w, padding="same"))
        return fastcnn.gradients(loss, [x, v, w])

    plan, _ = Function(body).plan([TensorSpec(s) for s in ((64, 8, 8, 4), (3, 3, 4, 8), (3, 3, 8, 4))])
    kinds = [[node.operation.name.removeprefix("Winograd") for node in c.nodes] for c in plan.chains]
    assert [kind[-1].removeprefix("Lanes") for kind in kinds[-3:]] == [
        "ConvInputGrad", "ConvKernelGrad", "ConvKernelGrad"
    ]  # fmt: skip
    assert "ActivationGrad" in kinds[-3]


def test_changes_of_variables_are_seen_behind_and_not_before():
    """A chain is not formed across an assignment that its nodes see."""
    counter = fastcnn.Variable(np.ones((8, 4)), name="counter")

    def body(x):
        first = ops.exp(x * counter)
        counter.assign(counter * 2.0)
        return first, ops.exp(x * counter)

    x = np.linspace(0, 1, 32).reshape(8, 4).astype("float32")
    function = Function(body)
    for run in range(3):
        first, second = function(x)
        np.testing.assert_allclose(first, np.exp(x * 2.0**run), rtol=1e-5)
        np.testing.assert_allclose(second, np.exp(x * 2.0 ** (run + 1)), rtol=1e-5)


def test_kernel_gradients_are_summed_in_the_chain_and_what_they_read_is_computed_again():
    """Neither the gradient behind a normalisation nor its forward result is kept for the whole batch."""
    fastcnn.utils.set_random_seed(0)
    model = fastcnn.Sequential(
        [
            layers.Input((8, 8, 16)),
            layers.Conv2D(16, 1, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(16, 1, use_bias=False, name="second"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    model.compile("sgd", "mse")
    x, y = np.ones((32, 8, 8, 16), "float32"), np.ones((32, 3), "float32")
    plan = model._step("train").planned(Batch(x, y)).plan
    (found,) = [
        c
        for c in plan.chains
        if any(n.scope.endswith("second") and "Grad" in n.operation.name for n in c.nodes)
    ]
    names = [node.operation.name for node in found.nodes]
    assert found.block and names.index("BatchNormInference") < names.index("ChunkSums")
    inner = {id(x) for node in found.nodes for x in node.inputs} & {
        id(y) for node in found.nodes for y in node.outputs
    }
    assert len(inner) == 2  # what goes into the convolution, and the gradient of what comes out of it
