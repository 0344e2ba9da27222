"""Names, configurations, and what may be built from them."""

import gc
import inspect
import json
import types

import numpy as np
import pytest

from fastcnn import constraints, initializers, metrics, registry, schedules
from fastcnn.errors import Error
from fastcnn.registry import Configurable

FAMILIES = {"constraint": constraints, "initializer": initializers, "metric": metrics, "schedule": schedules}
REQUIRED = {
    "ConfusionMatrix": {"num_classes": 3},
    "CosineDecay": {"initial_learning_rate": 0.1, "decay_steps": 10},
    "CosineDecayRestarts": {"initial_learning_rate": 0.1, "first_decay_steps": 10},
    "ExponentialDecay": {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.9},
    "InverseTimeDecay": {"initial_learning_rate": 0.1, "decay_steps": 10, "decay_rate": 0.9},
    "IoU": {"num_classes": 3, "target_class_ids": [0, 2]},
    "MeanIoU": {"num_classes": 3},
    "MeanMetricWrapper": {"fn": metrics.mean_squared_error},
    "OneHotIoU": {"num_classes": 3, "target_class_ids": [1]},
    "OneHotMeanIoU": {"num_classes": 3},
    "PiecewiseConstantDecay": {"boundaries": [3, 6], "values": [0.3, 0.2, 0.1]},
    "PolynomialDecay": {"initial_learning_rate": 0.1, "decay_steps": 10},
    "PrecisionAtRecall": {"recall": 0.5},
    "RecallAtPrecision": {"precision": 0.5},
    "SensitivityAtSpecificity": {"specificity": 0.5},
    "SpecificityAtSensitivity": {"sensitivity": 0.5},
}
MEMBERS = [
    (kind, name)
    for kind in FAMILIES
    for name, member in registry.registry(kind).items()
    if registry.is_builtin(member)  # other tests define classes of their own
]


class Part(Configurable):
    """A family of its own, so that these tests leave the real ones alone."""

    kind = "test part"

    def __init__(self, name=None, trainable=True):
        super().__init__()
        self.name = name or "auto"
        self.trainable = trainable


class Window(Part):
    def __init__(self, size, stride=1, padding="valid", **kwargs):
        super().__init__(**kwargs)
        self.size = size
        self.stride = stride
        self.padding = padding


def twice(x):
    return 2 * x


def function_named(name, module):
    """A function as if defined at the top of `module`."""
    function = types.FunctionType(twice.__code__, {}, name)
    function.__module__, function.__qualname__ = module, name
    return function


def through_json(thing):
    return json.loads(json.dumps(registry.serialize(thing)))


# every registered class


@pytest.mark.parametrize(("kind", "name"), MEMBERS)
def test_round_trip_of_every_class(kind, name):
    cls = registry.registry(kind)[name]
    original = cls(**REQUIRED.get(name, {}))
    twin = FAMILIES[kind].deserialize(through_json(original))
    assert type(twin) is cls
    assert json.dumps(twin.get_config()) == json.dumps(original.get_config())
    assert set(original.get_config()) == set(registry._parameters(cls))
    assert type(cls.from_config(original.get_config())) is cls


@pytest.mark.parametrize(("kind", "name"), [member for member in MEMBERS if member[1] not in REQUIRED])
def test_every_class_is_found_by_its_names(kind, name):
    cls = registry.registry(kind)[name]
    for spelling in (name, registry.snake_case(name), name.upper(), cls):
        assert type(FAMILIES[kind].get(spelling) if kind != "schedule" else None) in (cls, type(None))


@pytest.mark.parametrize(
    ("family", "alias", "cls"),
    [
        (initializers, "normal", "RandomNormal"),
        (initializers, "zero", "Zeros"),
        (initializers, "he_normal", "HeNormal"),
        (constraints, "max_norm", "MaxNorm"),
        (constraints, "non_neg", "NonNeg"),
        (metrics, "mse", "MeanSquaredError"),
        (metrics, "MSE", "MeanSquaredError"),
        (metrics, "mae", "MeanAbsoluteError"),
        (metrics, "MAPE", "MeanAbsolutePercentageError"),
        (metrics, "msle", "MeanSquaredLogarithmicError"),
        (metrics, "bce", "BinaryCrossentropy"),
        (metrics, "kld", "KLDivergence"),
        (metrics, "auc", "AUC"),
        (metrics, "f1_score", "F1Score"),
    ],
)
def test_keras_aliases(family, alias, cls):
    assert type(family.get(alias)).__name__ == cls


# configurations


def test_configuration_is_the_constructor_arguments():
    assert Window(3, stride=2).get_config() == {
        "size": 3, "stride": 2, "padding": "valid", "name": "auto", "trainable": True,
    }  # fmt: skip


def test_configuration_follows_attributes():
    window = Window(3)
    window.trainable = False
    assert window.get_config()["trainable"] is False


def test_argument_stored_under_another_name():
    class Renamed(Part):
        def __init__(self, units, depth=2, **kwargs):
            super().__init__(**kwargs)
            self.n = units

    assert Renamed(7).get_config() == {"units": 7, "name": "auto", "trainable": True}
    assert Renamed.from_config(Renamed(7, 3).get_config()).n == 7
    assert Renamed(7, 3).get_config()["depth"] == 3


def test_method_with_the_name_of_an_argument():
    class Scaled(Part):
        def __init__(self, scale):
            super().__init__()
            self.factor = scale

        def scale(self, x):
            return x * self.factor

    assert Scaled(3).get_config() == {"scale": 3}


def test_argument_fixed_by_a_subclass_is_not_in_the_configuration():
    class Window3(Window):
        def __init__(self, **kwargs):
            super().__init__(size=3, **kwargs)

    config = Window3(stride=2, name="w").get_config()
    assert config == {"stride": 2, "name": "w", "trainable": True}
    assert Window3.from_config(config).get_config() == config


def test_positional_arguments_passed_on():
    class Same(Window):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)

    assert Same(5, 2).get_config() == Window(5, 2).get_config()


def test_constructor_signature_is_shown():
    assert str(inspect.signature(Window)) == "(size, stride=1, padding='valid', **kwargs)"


def test_own_get_config_in_the_manner_of_keras():
    class Manner(Window):
        def __init__(self, ratio, **kwargs):
            super().__init__(size=1, **kwargs)
            self.hidden = ratio * 2

        def get_config(self):
            return {**super().get_config(), "ratio": self.hidden / 2}

    assert Manner.from_config(Manner(4).get_config()).hidden == 8


def test_constructor_without_arguments_takes_none():
    class Plain(Part):
        def __init__(self):
            super().__init__()

    with pytest.raises(TypeError):
        Plain(1)
    with pytest.raises(TypeError):
        constraints.NonNeg(1)
    with pytest.raises(Error, match="takes: nothing"):
        constraints.NonNeg.from_config({"max_value": 1})


def test_nested_objects_functions_and_arrays():
    class Outer(Part):
        def __init__(self, parts, weights, activation, options):
            super().__init__()
            self.parts, self.weights, self.activation, self.options = parts, weights, activation, options

    outer = Outer(
        (Window(2), Window(3)), np.float32([[1, 2]]), twice, {"init": initializers.HeNormal(4), "a": None}
    )
    data = through_json(outer)
    assert data["config"]["parts"][0]["class_name"] == "Window"
    assert data["config"]["activation"] == {"kind": "function", "function": "twice"}
    twin = registry.deserialize("test part", data)
    assert [part.size for part in twin.parts] == [2, 3]
    assert twin.weights.dtype == np.float32 and twin.weights.tolist() == [[1, 2]]
    assert twin.activation is twice
    assert twin.options["init"].seed == 4


def test_own_from_config_in_the_manner_of_keras():
    class Wrapper(Part):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def get_config(self):
            return {"inner": registry.serialize_keras_object(self.inner)}

        @classmethod
        def from_config(cls, config):
            return cls(registry.deserialize_keras_object(config.pop("inner")))

    data = through_json(Wrapper(Window(4)))
    for _ in range(2):
        assert registry.deserialize("test part", data).inner.size == 4
    assert registry.deserialize_keras_object([1, {"a": "b"}]) == [1, {"a": "b"}]


def test_serialize_plain_values():
    assert registry.serialize((1, [2.5, None, "a"])) == (1, [2.5, None, "a"])
    assert registry.serialize(np.float32(0.5)) == 0.5
    assert registry.serialize(np.float32) == "float32"
    assert registry.serialize(np.dtype("float64")) == "float64"


@pytest.mark.parametrize("thing", [object(), {1, 2}, lambda x: x, "x".join, Window])
def test_serialize_refuses_what_it_could_not_find_again(thing):
    class Holder(Part):
        def __init__(self, thing):
            super().__init__()
            self.thing = thing

    with pytest.raises(Error, match="Holder: argument 'thing' cannot be saved"):
        Holder(thing).get_config()


def test_wrong_arguments_in_a_configuration():
    with pytest.raises(Error, match="unexpected keyword argument 'valu'.*takes: value"):
        initializers.Constant.from_config({"valu": 3})
    with pytest.raises(Error, match="missing a required argument"):
        metrics.MeanIoU.from_config({})


# names


def test_unknown_name_gives_the_nearest():
    with pytest.raises(Error, match="unknown initializer 'glorot_unifrom'; did you mean 'GlorotUniform'"):
        initializers.get("glorot_unifrom")
    with pytest.raises(Error, match="unknown constraint 'zzz'; known names: .*MaxNorm, .*UnitNorm"):
        constraints.get("zzz")


def test_private_classes_and_bases_have_no_name():
    assert not [name for _, name in MEMBERS if name.startswith("_")]
    for name in ("Initializer", "Metric", "_Random", "Configurable"):
        with pytest.raises(Error, match="unknown"):
            initializers.get(name)


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "numpy>ones", "", "__class__"])
def test_names_are_never_imported(name):
    with pytest.raises(Error, match="unknown"):
        initializers.get({"class_name": name, "config": {}})
    with pytest.raises(Error, match="unknown"):
        initializers.get({"function": name})


def test_users_class_is_registered_by_existing_and_replaced_by_its_next_version():
    def define(value):
        class Mine(Part):
            version = value

        return Mine

    first = define(1)
    assert registry.deserialize("test part", "Mine").version == 1
    second = define(2)
    assert registry.registry("test part")["Mine"] is second
    assert type(registry.deserialize("test part", registry.serialize(first()))) is second


def test_fastcnns_name_stays_reachable_and_the_users_class_of_that_name_too():
    class HeNormal(initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return np.full(shape, 7.0)

    assert type(initializers.get("he_normal")) is initializers.HeNormal
    assert type(initializers.get(HeNormal())) is HeNormal
    data = registry.serialize(HeNormal())
    assert data["class_name"] == "Custom>HeNormal"
    assert type(initializers.deserialize(data)) is HeNormal
    assert (
        type(initializers.deserialize(registry.serialize(initializers.HeNormal()))) is initializers.HeNormal
    )


def test_users_layer_may_have_an_attribute_called_kind():
    class Sorted(Part):
        kind = "of its own"

        def __init__(self):
            super().__init__()

    assert registry.serialize(Sorted())["kind"] == "test part"
    assert "Sorted" in registry.registry("test part")


def test_register_keras_serializable():
    @registry.register_keras_serializable(package="mine")
    def halve(x):
        return x / 2

    @registry.register_keras_serializable("mine", name="Renamed")
    class Other(Part):
        pass

    assert registry.get_registered_name(halve) == "mine>halve"
    assert registry.get_registered_object("mine>halve") is halve
    assert registry.deserialize("test part", registry.serialize(halve)) is halve
    assert registry.deserialize("test part", "halve") is halve
    assert registry.serialize(Other())["class_name"] == "mine>Renamed"
    assert type(registry.deserialize("test part", registry.serialize(Other()))) is Other
    with pytest.raises(Error, match="get_config"):
        registry.register_keras_serializable()(object)


def test_custom_object_scope():
    def zeros(shape, dtype=None):
        return np.full(shape, -1.0)

    with registry.custom_object_scope({"zeros": zeros, "mine": Window}):
        assert initializers.get("zeros") is zeros
        with registry.CustomObjectScope({"zeros": initializers.Ones}):
            assert type(initializers.get("zeros")) is initializers.Ones
        assert registry.deserialize("test part", {"class_name": "mine", "config": {"size": 4}}).size == 4
    assert type(initializers.get("zeros")) is initializers.Zeros


def test_custom_objects_reach_nested_configurations():
    data = {"class_name": "Custom>Lost", "config": {}}
    metric = {"class_name": "MeanMetricWrapper", "config": {"fn": {"kind": "function", "function": "lost"}}}
    with pytest.raises(Error, match="unknown function 'lost'.*custom_objects"):
        metrics.deserialize(metric)
    assert metrics.deserialize(metric, {"lost": twice})._fn is twice
    with pytest.raises(Error, match="unknown initializer 'Custom>Lost'.*custom_objects"):
        initializers.deserialize(data)
    assert type(initializers.deserialize(data, {"Lost": initializers.Ones})) is initializers.Ones


def test_get_custom_objects_is_live():
    registry.get_custom_objects()["plain_name"] = twice
    try:
        assert initializers.get("plain_name") is twice
    finally:
        del registry.get_custom_objects()["plain_name"]


def test_function_is_forgotten_with_its_last_owner():
    fleeting = function_named("fleeting", "elsewhere")
    data = registry.serialize(initializers.get(fleeting))
    assert initializers.get(data) is fleeting
    with pytest.raises(Error, match="unknown initializer 'fleeting'"):
        initializers.get("fleeting")
    del fleeting
    gc.collect()
    with pytest.raises(Error, match="unknown function 'fleeting'"):
        initializers.get(data)


def test_two_modules_functions_of_one_name_are_not_confused():
    other = function_named("twice", "elsewhere")
    assert registry.serialize(twice)["function"] == "twice"
    with pytest.raises(Error, match="elsewhere and .*test_registry both have a function 'twice'"):
        registry.serialize(other)


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        (3, "got 3 of type int"),
        ({}, "nothing in it"),
        ({"config": {}}, r"'class_name' and 'config'"),
        ({"class_name": 3, "config": {}}, r"'class_name' and 'config'"),
        ({"class_name": "Constant", "config": 3}, "a dict as its 'config'"),
        (
            {"class_name": "MaxNorm", "config": {}, "kind": "constraint"},
            "of kind 'initializer', got 'MaxNorm' of kind 'constraint'",
        ),
    ],
)
def test_deserialize_refuses(identifier, message):
    with pytest.raises(Error, match=message):
        initializers.get(identifier)


def test_name_of_a_class_that_needs_arguments():
    with pytest.raises(Error, match=r"'MeanIoU'.*num_classes.*pass an instance, MeanIoU\(...\)"):
        metrics.get("mean_iou")


def test_none_and_objects_pass_through():
    ones = initializers.Ones()
    assert initializers.get(None) is None
    assert initializers.get(ones) is ones
    assert initializers.get(twice) is twice


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("Conv2D", "conv2d"),
        ("MaxPooling2D", "max_pooling2d"),
        ("BatchNormalization", "batch_normalization"),
        ("F1Score", "f1_score"),
        ("AUC", "auc"),
        ("LeakyReLU", "leaky_re_lu"),
    ],
)
def test_snake_case(name, snake):
    assert registry.snake_case(name) == snake


def test_auto_name_counts():
    registry.reset_names()
    assert [registry.auto_name("Conv2D") for _ in range(3)] == ["conv2d", "conv2d_1", "conv2d_2"]
    assert registry.auto_name("Dense") == "dense"
    registry.reset_names()
    assert registry.auto_name("Conv2D") == "conv2d"
