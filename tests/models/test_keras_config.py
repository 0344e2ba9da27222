"""Models that Keras has described."""

import json

import numpy as np
import pytest

import fastcnn
from fastcnn import Error, layers, models, ops


def tensor(layer, call=0, output=0):
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [layer, call, output]}}


def layer(class_name, name, *calls, module="keras.layers", **config):
    nodes = [{"args": list(call), "kwargs": {}} for call in calls]
    head = {"module": module, "class_name": class_name, "name": name, "inbound_nodes": nodes}
    return {**head, "config": {"name": name, **config}, "registered_name": None}


def function(class_name, *calls, **config):
    return layer(class_name, ops_name(class_name), *calls, module="keras.src.ops.numpy", **config)


def ops_name(class_name):
    return {"GetItem": "get_item"}.get(class_name, class_name.lower())


NOTHING = {"class_name": "__slice__", "config": {"start": None, "stop": None, "step": None}}
CONFIG = {
    "name": "net",
    "trainable": True,
    "layers": [
        layer("InputLayer", "x", batch_shape=[None, 3, 4]),
        layer("Add", "sum", [[tensor("shared", 0), tensor("shared", 1)]]),  # before what it reads
        layer("Dense", "shared", [tensor("x")], [tensor("mean")], units=5, activation="relu"),
        function("Mean", [tensor("x")], axis=[1], keepdims=True),
        function("GetItem", [tensor("sum"), [NOTHING, 0]]),
    ],
    "input_layers": {"x": ["x", 0, 0]},
    "output_layers": [["sum", 0, 0], ["get_item", 0, 0]],
}


def by_hand():
    x, shared = layers.Input((3, 4), name="x"), layers.Dense(5, "relu", name="shared")
    total = layers.Add()([shared(x), shared(ops.mean(x, 1, keepdims=True))])
    return fastcnn.Model({"x": x}, [total, total[:, 0]])


@pytest.mark.parametrize("make", [
    fastcnn.Model.from_config,
    lambda config: models.model_from_json(json.dumps({
        "module": "keras.src.models.functional", "class_name": "Functional", "config": config,
        "registered_name": "Functional", "compile_config": {},
    })),
])  # fmt: skip
def test_keras_describes_a_model(make):
    model, expected = make(CONFIG), by_hand()
    assert model.name == "net" and {x.name for x in model.layers} == {"x", "shared", "sum"}
    expected.set_weights(model.get_weights())
    x = {"x": np.random.default_rng(0).normal(size=(2, 3, 4))}
    for found, wanted in zip(model.predict(x, verbose=0), expected.predict(x, verbose=0), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("change, what", [
    ({"layers": CONFIG["layers"][:2]}, "read what no layer makes"),
    ({"layers": [*CONFIG["layers"], function("Nothing", [tensor("x")])]}, "no 'nothing'"),
    ({"layers": [*CONFIG["layers"], function("Linalg", [tensor("x")])]}, "is no function"),
])  # fmt: skip
def test_descriptions_that_do_not_fit(change, what):
    with pytest.raises(Error, match=what):
        fastcnn.Model.from_config({**CONFIG, **change})
