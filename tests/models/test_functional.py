"""Functional models: several inputs and outputs, shared layers, nesting, configurations."""

import numpy as np
import pytest

import fastcnn as keras
from fastcnn import Error, layers, ops


def two_branches():
    a, b = keras.Input((4,), name="a"), keras.Input((6,), name="b")
    shared = layers.Dense(5, name="shared")
    x = layers.concatenate([shared(a), shared(layers.Dense(4)(b))])
    return keras.Model([a, b], [layers.Dense(1, name="one")(x), ops.relu(x)], name="two")


def data(n=3):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 4)).astype("float32"), rng.normal(size=(n, 6)).astype("float32")]


def test_shared_layer_has_one_set_of_weights():
    model = two_branches()
    assert [layer.name for layer in model.layers].count("shared") == 1
    assert len(model.weights) == 6
    one, two = model.predict(data(), verbose=0)
    assert one.shape == (3, 1) and two.shape == (3, 10)


def test_inputs_by_name():
    model = two_branches()
    x = data()
    by_list = model.predict(x, verbose=0)
    by_name = model.predict({"b": x[1], "a": x[0]}, verbose=0)
    np.testing.assert_array_equal(by_list[0], by_name[0])
    with pytest.raises(Error, match="no input named"):
        model.predict({"a": x[0], "c": x[1]}, verbose=0)


def test_configuration_round_trip_shares_layers_and_keeps_ops():
    model = two_branches()
    twin = keras.Model.from_config(model.get_config())
    assert len(twin.weights) == 6
    twin.set_weights(model.get_weights())
    for a, b in zip(model.predict(data(), verbose=0), twin.predict(data(), verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nested_models():
    inner = keras.Sequential([keras.Input((5,)), layers.Dense(3), layers.BatchNormalization()], name="inner")
    x = keras.Input((5,))
    outer = keras.Model(x, layers.Dense(1)(inner(x)))
    outer.compile("sgd", "mse")
    before = inner.get_weights()
    outer.fit(np.ones((8, 5)), np.zeros(8), verbose=0)
    assert any((a != b).any() for a, b in zip(before, inner.get_weights(), strict=True))
    inner.trainable = False
    assert len(outer.trainable_weights) == 2


def test_inner_features_as_outputs():
    model = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(2, 3, name="conv"), layers.Flatten(), layers.Dense(2)]
    )
    features = keras.Model(model.input, model.get_layer("conv").output)
    assert features.predict(np.ones((1, 6, 6, 1)), verbose=0).shape == (1, 4, 4, 2)


def test_disconnected_graph():
    a, b = keras.Input((4,)), keras.Input((4,))
    with pytest.raises(Error, match="not among the model's inputs"):
        keras.Model(a, layers.add([a, b]))


def test_names_must_be_unique():
    a = keras.Input((4,))
    with pytest.raises(Error, match="twice"):
        keras.Model(a, layers.Dense(2, name="d")(layers.Dense(3, name="d")(a)))


def test_get_layer_suggests():
    with pytest.raises(Error, match="shared"):
        two_branches().get_layer("sharde")


def test_dict_outputs():
    a = keras.Input((4,))
    model = keras.Model(a, {"x": layers.Dense(2, name="x")(a), "y": layers.Dense(3, name="y")(a)})
    model.compile("sgd", {"x": "mse", "y": "mae"}, metrics={"x": ["mae"]})
    history = model.fit(np.ones((4, 4)), {"x": np.zeros((4, 2)), "y": np.zeros((4, 3))}, verbose=0)
    assert {"loss", "x_loss", "y_loss", "x_mae"} == set(history.history)
    assert set(model.predict(np.ones((2, 4)), verbose=0)) == {"x", "y"}


def test_summary_lists_layers_parameters_and_macs():
    lines = []
    model = keras.Sequential(
        [keras.Input((28, 28, 1)), layers.Conv2D(6, 5, padding="same"), layers.Flatten(), layers.Dense(10)]
    )
    model.summary(print_fn=lines.append)
    text = "\n".join(lines)
    assert "conv2d" in text and "(None, 28, 28, 6)" in text and "156" in text
    assert f"{28 * 28 * 6 * 25:,}" in text
    assert "Total params: 47,206" in text


def test_clone_has_fresh_weights_of_the_same_shapes():
    model = two_branches()
    clone = keras.models.clone_model(model)
    assert [w.shape for w in clone.weights] == [w.shape for w in model.weights]
    assert (clone.weights[0].value != model.weights[0].value).any()


def test_multiplications_are_counted_once_per_call_of_a_shared_layer():
    assert two_branches().count_params() == 4 * 5 + 5 + 6 * 4 + 4 + 10 + 1


def called_twice():
    x = keras.Input((8, 8, 3), name="image")
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    inner = keras.Sequential([keras.Input((8, 8, 4)), layers.Dense(2, name="deep")], name="inner")
    return keras.Model(x, inner(shared(x) + shared(keras.ops.relu(x))), name="twice")


def test_clone_keeps_sharing_names_and_ops():
    model = called_twice()
    clone = keras.models.clone_model(model)
    assert [w.path for w in clone.weights] == [w.path for w in model.weights]
    assert clone.name == "twice" and clone.get_layer("shared") is not model.get_layer("shared")
    clone.set_weights(model.get_weights())
    x = np.random.default_rng(0).random((2, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(clone.predict(x, verbose=0), model.predict(x, verbose=0))


def test_clone_function_may_return_the_same_layers_and_call_function_add_some():
    model = called_twice()

    def call(layer, *args, **kwargs):
        y = layer(*args, **kwargs)
        return layers.Dropout(0.5)(y) if isinstance(layer, layers.Conv2D) else y

    clone = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    assert clone.get_layer("shared") is model.get_layer("shared")
    assert sum(isinstance(layer, layers.Dropout) for layer in clone.layers) == 2
    assert len(clone.weights) == len(model.weights)


def test_clone_into_models_inside_and_onto_other_inputs():
    model, seen = called_twice(), []

    def clone_function(layer):
        seen.append(layer.name)
        return type(layer).from_config(layer.get_config())

    keras.models.clone_model(model, clone_function=clone_function)
    assert seen == ["shared", "inner"]
    seen.clear()
    image = keras.Input((8, 8, 3), batch_size=5)
    clone = keras.models.clone_model(model, image, clone_function, recursive=True)
    assert seen == ["shared", "deep"] and clone.output_shape == (5, 8, 8, 2)


def test_clone_of_what_cannot_be_taken_apart():
    class Own(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(Error, match=r"Own is a subclass with its own call\(\)"):
        keras.models.clone_model(Own(), clone_function=lambda layer: layer)
    with pytest.raises(Error, match="call_function is for functional models"):
        keras.models.clone_model(keras.Sequential(), call_function=lambda layer, x: layer(x))


class DepthToSpace(layers.Layer):
    """Computes with the dimensions of its input, which a functional model may not know yet."""

    def call(self, x):
        n, h, w, c = ops.shape(x)
        parts = ops.transpose(ops.reshape(x, (n, h, w, 2, 2, c // 4)), (0, 1, 3, 2, 4, 5))
        return ops.reshape(parts, (n, 2 * h, 2 * w, c // 4))


class Ones(layers.Layer):
    def call(self, x):
        return ops.add(ops.ones((ops.shape(x)[0] * 1, 3)), x[:, :3])


def test_a_call_may_compute_with_unknown_dimensions():
    inputs = layers.Input((None, None, 4))
    model = keras.Model(inputs, DepthToSpace()(inputs))
    assert model.output_shape == (None, None, None, 1)
    for h, w in ((2, 3), (5, 1)):
        x = np.arange(4.0 * h * w).reshape(1, h, w, 4)
        assert model.predict(x, verbose=0).shape == (1, 2 * h, 2 * w, 1)
    inputs = layers.Input((4,))
    model = keras.Model(inputs, Ones()(inputs))
    assert model.output_shape == (None, 3)
    np.testing.assert_array_equal(model.predict(np.eye(4), verbose=0), 1 + np.eye(4)[:, :3])


def test_another_mistake_with_unknown_dimensions_is_told_as_it_is():
    class Wrong(layers.Layer):
        def call(self, x):
            return x + None

    with pytest.raises((TypeError, Error)):
        Wrong()(layers.Input((None, 2)))


def test_dicts_are_in_the_order_of_their_names():
    x, y = keras.Input((2,), name="x"), keras.Input((3,), name="y")
    q, p = layers.Dense(4, name="q")(x), layers.Dense(5, name="p")(y)
    model = keras.Model({"second": x, "first": y}, [q, {"z": ops.relu(q), "a": p}])
    assert [t.name for t in model.inputs] == ["y", "x"] and model.output_names == ["q", "p", "relu"]
    assert [y.shape[-1] for y in model.outputs] == [4, 5, 4]
    given = {"second": np.ones((2, 2)), "first": np.ones((2, 3))}
    first, others = model.predict(given, verbose=0)
    np.testing.assert_array_equal(others["z"], np.maximum(first, 0))
    flat = keras.Model([x, y], {"b": q, "a": p})
    assert [layer.name for layer in flat.layers] == ["y", "x", "p", "q"]
    flat.compile("sgd", {"b": "mse", "a": "mae"})
    logs = flat.evaluate(
        [given["second"], given["first"]], {"b": np.ones((2, 4)), "a": np.zeros((2, 5))}, verbose=0
    )
    assert logs[0] == pytest.approx(logs[1] + logs[2])
