"""Steps that users write: train_step, test_step, predict_step, compute_metrics, and metrics in losses and layers."""

import numpy as np
import pytest

import fastcnn
from fastcnn import Error, layers, metrics, ops, optimizers
from fastcnn.plan import Function

RNG = np.random.default_rng(0)
X = RNG.normal(size=(14, 3)).astype("float32")
Y = RNG.normal(size=(14, 2)).astype("float32")


class Own(fastcnn.Model):
    """What fit does anyway, written out."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.total = metrics.Mean(name="loss")
        self.distance = metrics.MeanAbsoluteError(name="mae")

    @property
    def metrics(self):
        return [self.total, self.distance]

    def measured(self, x, y, training):
        predicted = self(x, training=training)
        loss = ops.mean(ops.square(y - predicted))
        self.total.update_state(loss, sample_weight=ops.shape(x)[0])
        self.distance.update_state(y, predicted)
        return loss

    def train_step(self, data):
        x, y = data
        grads = fastcnn.gradients(self.measured(x, y, training=True), self.trainable_variables)
        self.optimizer.apply_gradients(zip(grads, self.trainable_variables, strict=True))
        return {metric.name: metric.result() for metric in self.metrics}

    def test_step(self, data):
        self.measured(*data, training=False)
        return {metric.name: metric.result() for metric in self.metrics}


def network(kind, optimizer=None):
    inputs = layers.Input((3,))
    hidden = layers.BatchNormalization()(layers.Dense(4, activation="tanh")(inputs))
    model = kind(inputs, layers.Dense(2)(hidden))
    rng = np.random.default_rng(1)
    model.set_weights([np.abs(rng.normal(size=w.shape)) for w in model.weights])
    model.compile(optimizer or optimizers.Adam(0.01), "mse", metrics=["mae"])
    return model


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}, {"clipnorm": 0.1}], ids=str)
def test_the_usual_step_written_out_is_the_usual_step(options):
    runs = []
    for kind in (fastcnn.Model, Own):
        model = network(kind, optimizers.Adam(0.01, **options))
        history = model.fit(X, Y, 4, 3, verbose=0, shuffle=False, validation_data=(X, Y)).history
        results = [model.evaluate(X, Y, verbose=0), model.test_on_batch(X, Y)]
        results += [model.train_on_batch(X, Y), list(model.train_on_batch(X, Y, return_dict=True).items())]
        runs.append((history, results, model.get_weights(), model.optimizer.iterations))
    (history, results, weights, updates), (own_history, own_results, own_weights, own_updates) = runs
    assert list(history) == list(own_history) and updates == own_updates
    for name in history:
        np.testing.assert_allclose(own_history[name], history[name], rtol=1e-6)
    for found, expected in zip(own_results[:-1], results[:-1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert [name for name, _ in own_results[-1]] == [name for name, _ in results[-1]]
    for found, expected in zip(own_weights, weights, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_logs_with_names_of_their_own_are_those_of_the_last_batch():
    class More(fastcnn.Model):
        def train_step(self, data):
            return {**super().train_step(data), "largest": ops.max(data[0]), "two": 2.0}

    history = network(More).fit(X, Y, 5, verbose=0, shuffle=False).history
    assert set(history) == {"loss", "mae", "largest", "two"} and history["two"] == [2.0]
    assert history["largest"] == [pytest.approx(X[10:].max())]


def test_predict_step():
    class Twice(fastcnn.Model):
        def predict_step(self, data):
            return {"twice": 2.0 * super().predict_step(data)}

    model, plain = network(Twice), network(fastcnn.Model)
    np.testing.assert_allclose(model.predict(X, 4, verbose=0)["twice"], 2 * plain.predict(X, verbose=0))
    np.testing.assert_allclose(model.predict_on_batch(X)["twice"], 2 * plain.predict_on_batch(X))


def test_compute_metrics_may_add_to_the_logs():
    class Added(fastcnn.Model):
        def compute_metrics(self, x, y, y_pred, sample_weight=None):
            return {**super().compute_metrics(x, y, y_pred, sample_weight), "one": 1.0}

    model, plain = network(Added), network(fastcnn.Model)
    history = model.fit(X, Y, 14, verbose=0, validation_data=(X, Y)).history
    expected = plain.fit(X, Y, 14, verbose=0, validation_data=(X, Y)).history
    assert history["one"] == history["val_one"] == [1.0]
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-6)


def test_a_loss_may_keep_its_own_metric():
    class Tracked(fastcnn.Model):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.tracker = metrics.Mean(name="loss")

        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            loss = ops.mean(ops.square(y - y_pred))
            self.tracker.update_state(loss)
            return loss

        @property
        def metrics(self):
            return [self.tracker]

    model = network(Tracked)
    history = model.fit(X, Y, 7, 2, verbose=0, shuffle=False).history
    plain = network(fastcnn.Model).fit(X, Y, 7, 2, verbose=0, shuffle=False).history
    assert list(history) == ["loss"]
    np.testing.assert_allclose(history["loss"], plain["loss"], rtol=1e-6)


def test_a_loss_need_not_know_the_mode():
    class Older(fastcnn.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, allow_empty=False):
            assert not allow_empty
            return 2.0 * super().compute_loss(x, y, y_pred, sample_weight)

    model, plain = network(Older), network(fastcnn.Model)
    assert model.evaluate(X, Y, verbose=0)[0] == 2.0 * plain.evaluate(X, Y, verbose=0)[0]
    history = model.fit(X, Y, 14, verbose=0, validation_data=(X, Y)).history
    assert history["loss"][0] == 2.0 * plain.fit(X, Y, 14, verbose=0).history["loss"][0]


class Watched(layers.Layer):
    def __init__(self):
        super().__init__()
        self.watch = metrics.Mean(name="activation")

    def call(self, x):
        self.watch.update_state(x)
        return x


def test_a_metric_of_a_layer_is_among_those_of_the_model():
    class Net(fastcnn.Model):
        def __init__(self):
            super().__init__()
            self.watched, self.head = Watched(), layers.Dense(2)

        def call(self, x):
            return self.head(self.watched(x))

    model = Net()
    model.compile("sgd", "mse")
    history = model.fit(X, Y, 4, 2, verbose=0).history
    np.testing.assert_allclose(history["activation"], [X.mean()] * 2, rtol=1e-5)
    assert [metric.name for metric in model.metrics] == ["loss", "activation"]
    model.evaluate(X[:3], Y[:3], verbose=0)
    np.testing.assert_allclose(model.watched.watch.result(), X[:3].mean(), rtol=1e-5)


def test_a_metric_of_a_layer_called_on_arrays():
    layer = Watched()
    layer(X)
    layer(X[:2])
    np.testing.assert_allclose(
        layer.watch.result(), (X.sum() + X[:2].sum()) / (X.size + X[:2].size), rtol=1e-5
    )


# --- two networks, two optimizers ------------------------------------------------------------------------------


class Adversaries(fastcnn.Model):
    """A critic that learns to tell x from what a maker makes of noise, and the maker, which sees the new critic."""

    def __init__(self):
        super().__init__()
        self.maker = fastcnn.Sequential([layers.Input((2,)), layers.Dense(3)])
        self.critic = fastcnn.Sequential(
            [
                layers.Input((3,)),
                layers.Dense(4, activation="tanh"),
                layers.BatchNormalization(),
                layers.Dense(1),
            ]
        )
        rng = np.random.default_rng(5)
        for part in (self.maker, self.critic):
            part.set_weights([np.abs(rng.normal(size=w.shape)) for w in part.weights])

    def compile(self, critic_optimizer, maker_optimizer):
        super().compile()
        self.critic_optimizer, self.maker_optimizer = critic_optimizer, maker_optimizer
        self.critic_loss, self.maker_loss = metrics.Mean(name="c"), metrics.Mean(name="m")

    @property
    def metrics(self):
        return [self.critic_loss, self.maker_loss]

    def improve_critic(self, x, noise):
        loss = ops.mean(ops.softplus(self.critic(self.maker(noise)))) + ops.mean(
            ops.softplus(-self.critic(x))
        )
        weights = self.critic.trainable_weights
        self.critic_optimizer.apply(fastcnn.gradients(loss, weights), weights)
        return loss

    def improve_maker(self, noise):
        loss = ops.mean(ops.softplus(-self.critic(self.maker(noise))))
        weights = self.maker.trainable_weights
        self.maker_optimizer.apply(fastcnn.gradients(loss, weights), weights)
        return loss

    def train_step(self, data):
        x, noise = data
        self.critic_loss.update_state(self.improve_critic(x, noise))
        self.maker_loss.update_state(self.improve_maker(noise))
        return {"c": self.critic_loss.result(), "m": self.maker_loss.result()}


def test_what_follows_an_update_sees_it():
    """One plan with two updates against two plans one after the other."""
    noise = RNG.normal(size=(14, 2)).astype("float32")
    together, apart = Adversaries(), Adversaries()
    for model in (together, apart):
        model.compile(optimizers.Adam(0.05), optimizers.SGD(0.1, momentum=0.9))
    history = together.fit(X, noise, 14, 4, verbose=0, shuffle=False).history
    first, second = (
        Function(apart.improve_critic, training=True),
        Function(apart.improve_maker, training=True),
    )
    expected = []
    for _ in range(4):
        losses = []
        for function, optimizer, arrays in (
            (first, apart.critic_optimizer, (X, noise)),
            (second, apart.maker_optimizer, (noise,)),
        ):
            optimizer.before_step()
            losses.append(float(function(*arrays)))
            optimizer.after_step()
        expected.append(losses)
    np.testing.assert_allclose(np.transpose([history["c"], history["m"]]), expected, rtol=1e-5)
    assert together.critic_optimizer.iterations == together.maker_optimizer.iterations == 4
    for found, wanted in zip(together.get_weights(), apart.get_weights(), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


# --- what cannot be meant --------------------------------------------------------------------------------------


def test_an_optimizer_steps_once():
    class Twice(Own):
        def train_step(self, data):
            super().train_step(data)
            return super().train_step(data)

    with pytest.raises(Error, match="applied twice in one step"):
        network(Twice).fit(X, Y, verbose=0)


def test_results_of_metrics_are_not_known_within_the_step():
    class Early(Own):
        def train_step(self, data):
            loss = super().train_step(data)["loss"]
            return {"double": 2 * loss, "root": loss**0.5, "number": float(loss) if self.eager else 0}

        eager = True

    with pytest.raises(Error, match="known after the step"):
        network(Early).fit(X, Y, verbose=0)
    Early.eager = False
    model = network(Early)
    logs = model.train_on_batch(X, Y, return_dict=True)
    assert logs["double"] == 2 * model.total.result() and logs["root"] == model.total.result() ** 0.5
