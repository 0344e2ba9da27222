"""Manifold mixup as an option of fit: what is mixed where, and that it stays out of everything else."""

import numpy as np
import pytest

import fastcnn
from fastcnn import layers
from fastcnn.errors import Error
from fastcnn.models import ManifoldMixup
from fastcnn.plan import Function

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(12, 5)).astype("float32"), np.eye(3)[np.arange(12) % 3]


def network():
    fastcnn.utils.set_random_seed(3)
    first, second = layers.Dense(7, "tanh", name="first"), layers.Dense(6, name="second")
    model = fastcnn.Sequential([layers.Input((5,)), first, second, layers.Dense(3, "softmax")])
    model.compile("sgd", "categorical_crossentropy")
    return model


@pytest.mark.parametrize("name", ["input", "first", "second"])
def test_outputs_are_those_of_mixtures_at_the_layer(name):
    """With one layer to choose from: the rest of the network, of mixtures of what it makes; targets alike."""
    model, mixup = network(), ManifoldMixup(1.0, [name], seed=4)
    model(X)

    def body(x, y):
        x, y = mixup.begin(model, x, y)
        return model(x), y.mixed()

    found, targets = Function(body, training=True)(X, Y.astype("float32"))
    place = {"input": 0, "first": 1, "second": 2}[name]
    hidden = X
    for layer in model.layers[:place]:
        hidden = layer(hidden)
    # Targets tell the weight and, with it, who was mixed with whom.
    weight = targets.max(1)
    w = float(np.unique(np.round(weight[weight < 0.999], 5))[0]) if (weight < 0.999).any() else 1.0
    candidates = {w, 1 - w}
    for i in range(12):
        best = np.inf
        for j in range(12):
            for share in candidates:
                mixed = share * hidden[i] + (1 - share) * hidden[j]
                out = mixed[None].astype("float32")
                for layer in model.layers[place:]:
                    out = layer(out)
                error = (
                    np.abs(out - found[i]).max()
                    + np.abs(share * Y[i] + (1 - share) * Y[j] - targets[i]).max()
                )
                best = min(best, float(error))
        assert best < 1e-3


def test_fit_and_what_it_leaves_alone():
    plain, mixed = network(), network()
    plain.fit(X, Y, epochs=2, batch_size=4, verbose=0, shuffle=False)
    mixed.fit(X, Y, epochs=2, batch_size=4, verbose=0, shuffle=False, manifold_mixup=2.0)
    assert any((a != b).any() for a, b in zip(plain.get_weights(), mixed.get_weights(), strict=True))
    again = network()
    again.fit(
        X, Y, epochs=2, batch_size=4, verbose=0, shuffle=False, manifold_mixup=ManifoldMixup(2.0, seed=5)
    )
    twin = network()
    twin.fit(
        X, Y, epochs=2, batch_size=4, verbose=0, shuffle=False, manifold_mixup=ManifoldMixup(2.0, seed=5)
    )
    for a, b in zip(again.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    loss = mixed.evaluate(X, Y, verbose=0)
    assert loss == mixed.evaluate(X, Y, verbose=0)
    again.set_weights(plain.get_weights())
    assert again.train_on_batch(X, Y) == plain.train_on_batch(X, Y)


def test_default_places():
    assert ManifoldMixup().places(network()) == ["input", "first", "second"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ManifoldMixup(0), "above 0"),
        (
            lambda: network().fit(X, Y, verbose=0, manifold_mixup=ManifoldMixup(1, ["seconds"])),
            "did you mean 'second'",
        ),
        (lambda: network().fit(X, Y, verbose=0, manifold_mixup=ManifoldMixup(1, [])), "layers is empty"),
    ],
)
def test_errors(call, message):
    with pytest.raises(Error, match=message):
        call()


@pytest.mark.parametrize("weights", [None, np.linspace(0.5, 2, 12)], ids=["alike", "weighted"])
def test_class_numbers_train_as_one_hot_classes_do(weights):
    found = []
    for loss, y in (("categorical_crossentropy", Y), ("sparse_categorical_crossentropy", Y.argmax(1))):
        model = network()
        model.compile("sgd", loss, metrics=["accuracy"])
        mixup = ManifoldMixup(1.0, seed=7)
        log = model.fit(X, y, sample_weight=weights, epochs=2, batch_size=4, verbose=0, manifold_mixup=mixup)
        found.append([*model.get_weights(), *log.history["loss"], *log.history["accuracy"]])
    for one_hot, numbers in zip(*found, strict=True):
        np.testing.assert_allclose(numbers, one_hot, rtol=1e-5, atol=1e-6)


def test_several_outputs_of_either_kind():
    fastcnn.utils.set_random_seed(3)
    x = layers.Input((5,))
    hidden = layers.Dense(6, "tanh")(x)
    outputs = {"a": layers.Dense(3, "softmax", name="a")(hidden), "b": layers.Dense(2, name="b")(hidden)}
    model = fastcnn.Model(x, outputs)
    model.compile("sgd", {"a": "sparse_categorical_crossentropy", "b": "mse"})
    log = model.fit(X, {"a": Y.argmax(1), "b": Y[:, :2]}, verbose=0, manifold_mixup=1.0)
    assert log.history["loss"][0] == pytest.approx(
        log.history["a_loss"][0] + log.history["b_loss"][0], rel=1e-5
    )


class OwnLoss(fastcnn.Sequential):
    def compute_loss(self, x, y, y_pred, sample_weight=None):
        return fastcnn.ops.mean((y - y_pred) ** 2)


def test_losses_of_ones_own_get_mixed_targets():
    layer = layers.Dense(3)
    model = OwnLoss([layers.Input((5,)), layer])
    model.compile("sgd", "mse")
    model.fit(X, Y, verbose=0, manifold_mixup=1.0)
    model.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(Error, match="to_categorical"):
        model.fit(X, Y.argmax(1), verbose=0, manifold_mixup=1.0)
