"""What every layer has from `Layer`: names, weights, building, masks, losses, configurations."""

import json

import numpy as np
import pytest

import fastcnn
from fastcnn import Error, Input, initializers, layers, ops, registry

X = np.arange(8, dtype="float32").reshape(2, 4)


class Nest(layers.Layer):
    """Weights of its own, made in mixed order, and layers in a list and in a dict."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.stack = [layers.Dense(2), layers.Dense(3)]
        self.named = {"a": layers.Dense(1)}

    def build(self, input_shape):
        self.w = self.add_weight((input_shape[-1], 3), "ones", name="w")
        self.fixed = self.add_weight(shape=3, initializer=np.array([1.0, 2.0, 3.0]), trainable=False)
        self.scale = self.add_weight(name="scale")

    def call(self, x):
        return self.stack[1](self.stack[0](x)) + self.named["a"](x) + x @ self.w


# --- names and weights ---------------------------------------------------------------------------------------


def test_weights_to_be_trained_come_first_in_each_layer():
    layer = Nest()
    layer(X)
    assert [w.path for w in layer.weights] == [
        "nest/w", "nest/scale", "nest/variable", "nest/dense/kernel", "nest/dense/bias", "nest/dense_1/kernel",
        "nest/dense_1/bias", "nest/dense_2/kernel", "nest/dense_2/bias",
    ]  # fmt: skip
    assert [w.path for w in layer.non_trainable_weights] == ["nest/variable"]
    assert [w.name for w in layer.trainable_weights][:3] == ["w", "scale", "kernel"]
    np.testing.assert_array_equal(layer.fixed.numpy(), [1, 2, 3])
    assert layer.path == "nest"
    assert layer.count_params() == 12 + 3 + 1 + 10 + 9 + 5


class Holder(layers.Layer):
    """A network that is built with it, and one that was built before."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        inputs = Input((4,))
        self.ready = fastcnn.Model(inputs, layers.Dense(4, name="ready")(inputs))
        self.later = fastcnn.Sequential([layers.Dense(3, name="later")], name="stack")

    def call(self, x):
        return self.later(self.ready(x))


def test_paths_of_weights_name_every_layer_around_them():
    """A network that was functional from the beginning was built by itself, as in Keras."""
    paths = ["ready/kernel", "ready/bias", "holder/stack/later/kernel", "holder/stack/later/bias"]
    inputs = Input((4,))
    model = fastcnn.Model(inputs, Holder(name="holder")(inputs))
    assert [w.path for w in model.weights] == paths
    model = fastcnn.Sequential([Input((4,)), Holder(name="holder")], name="outer")
    assert [w.path for w in model.weights] == [*paths[:2], *(f"outer/{path}" for path in paths[2:])]


def test_forms_of_add_weight():
    layer = layers.Layer()
    assert layer.add_weight().shape == ()
    counter = layer.add_weight((2,), dtype="int32", trainable=False)
    np.testing.assert_array_equal(counter.numpy(), [0, 0])
    assert [w.name for w in layer.weights] == ["variable", "variable_1"]
    assert layer.add_weight(2, lambda shape, dtype: np.full(shape, 7.0)).numpy().tolist() == [7, 7]
    with pytest.raises(Error, match="unknown dimension"):
        layer.add_weight((None, 2))
    with pytest.raises(Error, match="takes the shape first"):
        layer.add_weight("kernel", shape=(2,))


def test_a_layer_is_built_once():
    layer = layers.Dense(3)
    layer.build((None, 4))
    with pytest.raises(Error, match="'dense' is built already, so it takes no new weight 'kernel'"):
        layer.build((None, 4))
    assert len(layer.weights) == 2


def test_call_makes_no_layers():
    class Lazy(layers.Layer):
        def build(self, input_shape):
            pass

        def call(self, x):
            self.inner = layers.Dense(3)
            return self.inner(x)

    with pytest.raises(Error, match=r"call\(\) makes the layer 'dense'.*make layers in the constructor"):
        Lazy()(X)


def test_freezing_shows_on_the_weights():
    layer = layers.BatchNormalization()
    layer.build((None, 3))
    layer.trainable = False
    assert [w.trainable for w in layer.weights] == [False] * 4
    layer.trainable = True
    assert [w.trainable for w in layer.weights] == [True, True, False, False]
    frozen = layers.Dense(2, trainable=False)
    frozen.build((None, 3))
    assert [w.trainable for w in frozen.weights] == [False, False]
    frozen.trainable = True
    assert len(frozen.trainable_weights) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "a/b"}, "name must be a string without '/'"),
        ({"name": 3}, "name must be a string"),
        ({"trainable": "yes"}, "trainable must be True or False"),
        (
            {"dtype": "float16"},
            "dtype 'float16' is not supported; weights and results are float32 or float64",
        ),
        ({"dtype": "mixed_float16"}, "dtype 'mixed_float16' is not supported"),
        ({"dtype": "int32"}, "dtype 'int32' is not supported"),
    ],
)
def test_arguments_of_every_layer(arguments, message):
    with pytest.raises(Error, match=message):
        layers.Dense(2, **arguments)


def test_forms_of_dtype():
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float64"}}
    for dtype in ("float64", np.float64, np.dtype("float64"), policy):
        layer = layers.Dense(2, dtype=dtype, autocast=False)
        assert layer.dtype == layer.compute_dtype == layer.variable_dtype == "float64"


# --- calling -------------------------------------------------------------------------------------------------


def test_inputs_by_name_and_training_by_position():
    np.testing.assert_array_equal(layers.Flatten()(inputs=X), X)
    dropped = layers.Dropout(0.5, seed=1)(X, True)
    assert not np.array_equal(dropped, X)
    assert layers.Dense(2)(inputs=Input((4,))).shape == (None, 2)


def test_a_mask_is_given_or_refused_never_dropped():
    class Masked(layers.Layer):
        def call(self, x, mask=None):
            return x if mask is None else x * mask

    np.testing.assert_array_equal(Masked()(X, mask=np.array([True, False, True, True])), X * [1, 0, 1, 1])
    np.testing.assert_array_equal(Masked()(X), X)
    np.testing.assert_array_equal(layers.Flatten()(X, mask=None), X)
    with pytest.raises(Error, match=r"layer 'flatten_1' \(Flatten\): its call\(\) takes no mask"):
        layers.Flatten()(X, mask=np.ones(2))


def test_masks_of_layers_that_take_one():
    x = np.array([[[1.0], [3.0], [50.0]], [[5.0], [7.0], [9.0]]], "float32")
    mask = np.array([[1, 1, 0], [1, 1, 1]], bool)
    np.testing.assert_allclose(layers.GlobalAveragePooling1D()(x, mask=mask), [[2], [7]])
    soft = layers.Softmax()(np.zeros((2, 3), "float32"), mask=mask)
    np.testing.assert_allclose(soft, [[0.5, 0.5, 0], [1 / 3] * 3], rtol=1e-6)
    layer = layers.BatchNormalization(momentum=0.0, epsilon=0.0)
    y = layer(x, training=True, mask=mask)
    np.testing.assert_allclose(layer.moving_mean.numpy(), [5], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance.numpy(), [8], rtol=1e-6)
    np.testing.assert_allclose(y, (x - 5) / np.sqrt(8), rtol=1e-5)
    with pytest.raises(Error, match="does not fit"):
        layer(x, training=True, mask=np.ones(2))


def test_build_gets_the_shape_of_every_input_it_names():
    class Two(layers.Layer):
        def build(self, left_shape, right_shape):
            self.shapes = (left_shape, right_shape)

        def call(self, left, right):
            return left + right

    for call in (lambda layer: layer(X, X[:, :1]), lambda layer: layer(X, right=X[:, :1])):
        layer = Two()
        call(layer)
        assert layer.shapes == ((2, 4), (2, 1))
    layer = Two()
    assert layer(Input((4,)), right=Input((1,))).shape == (None, 4)
    assert layer.shapes == ((None, 4), (None, 1))


def test_build_without_arguments():
    class Plain(layers.Layer):
        def build(self):
            self.w = self.add_weight((), "ones", name="w")

        def call(self, x):
            return x * self.w

    np.testing.assert_array_equal(Plain()(X), X)


def test_losses_of_the_latest_call_on_arrays():
    class Adds(layers.Layer):
        def call(self, x):
            self.add_loss(ops.sum(x))
            return x

    layer = Adds()
    for x in (X, X + 1):
        layer(x)
        assert [float(loss) for loss in layer.losses] == [x.sum()]
    dense = layers.Dense(2, kernel_initializer="ones", kernel_regularizer="l2", activity_regularizer="l1")
    dense(np.ones((2, 3), "float32"))
    np.testing.assert_allclose([float(loss) for loss in dense.losses], [0.06, 0.06], rtol=1e-6)
    with pytest.raises(Error, match="add_loss takes a tensor"):
        layer.add_loss(3.0)


def test_input_and_output_are_missing_attributes_before_the_first_call():
    layer = layers.Dense(2)
    assert not hasattr(layer, "input")
    assert not hasattr(layer, "output")
    with pytest.raises(Error, match="'dense' has not been called"):
        layer.output  # noqa: B018
    x = Input((4,))
    y = layer(x)
    assert layer.input is x
    assert layer.output is y


def test_input_spec():
    class Images(layers.Layer):
        def __init__(self):
            super().__init__()
            self.input_spec = layers.InputSpec(ndim=3, axes={-1: 4})

        def call(self, x):
            return x

    assert Images()(np.ones((2, 3, 4))).shape == (2, 3, 4)
    with pytest.raises(Error, match=r"layer 'images_1' .*expected 3 dimensions, got shape \(2, 4\)"):
        Images()(X)
    with pytest.raises(Error, match="expected size 4 along axis -1"):
        Images()(np.ones((2, 3, 5)))
    for options, message in (({"min_ndim": 3}, "at least 3"), ({"max_ndim": 1}, "at most 1")):
        with pytest.raises(Error, match=message):
            layers.InputSpec(**options).check((2, 4))
    with pytest.raises(Error, match="expected size 5 along axis 1"):
        layers.InputSpec(shape=(None, 5)).check((2, 4))
    layers.InputSpec(shape=(None, 4, 1), allow_last_axis_squeeze=True).check((2, 4))


def test_shapes_without_values():
    layer = layers.Conv2D(3, 3, strides=2, padding="same")
    assert layer.compute_output_shape((None, None, None, 4)) == (None, None, None, 3)
    assert layers.Dense(2).compute_output_spec(Input((5, 3))).shape == (None, 5, 2)
    assert layers.Dense(2).compute_mask(X, "mask") == "mask"


def test_build_configuration():
    layer = layers.Dense(2)
    assert layer.get_build_config() is None
    layer(Input((4,)))
    again = layers.Dense(2)
    again.build_from_config(layer.get_build_config())
    assert again.kernel.shape == (4, 2)


# --- configurations ------------------------------------------------------------------------------------------


def test_activations_are_named_in_configurations():
    config = layers.Dense(3, "relu").get_config()
    assert config["activation"] == "relu"
    assert list(config)[:4] == ["name", "trainable", "dtype", "units"]
    assert "activity_regularizer" not in config
    assert layers.Activation(fastcnn.activations.swish).get_config()["activation"] == "silu"
    assert layers.Conv2D(3, 3).get_config()["activation"] == "linear"
    again = layers.Dense.from_config({"units": 3, "activation": "relu", "kernel_initializer": "zeros"})
    assert again.activation is fastcnn.activations.relu
    nested = layers.Dense(3, activation=layers.ReLU(6.0))
    assert layers.Dense.from_config(nested.get_config()).activation.max_value == 6.0
    assert fastcnn.activations.serialize(fastcnn.activations.relu) == "relu"
    assert fastcnn.activations.get(fastcnn.activations.serialize("gelu")) is fastcnn.activations.gelu


def keras_object(module, class_name, /, **config):
    return {"module": f"keras.{module}", "class_name": class_name, "config": config, "registered_name": None}


KERAS_DTYPE = {
    "module": "keras",
    "class_name": "DTypePolicy",
    "config": {"name": "float64"},
    "registered_name": None,
}
KERAS_CONV = {
    "name": "conv2d", "trainable": True, "dtype": KERAS_DTYPE, "filters": 3, "kernel_size": [3, 3],
    "strides": [1, 1], "padding": "valid", "data_format": "channels_last", "dilation_rate": [1, 1], "groups": 1,
    "activation": "relu", "use_bias": True,
    "kernel_initializer": keras_object("initializers", "HeNormal", seed=3, input_axes=None, output_axes=None),
    "bias_initializer": keras_object("initializers", "Zeros"),
    "kernel_regularizer": keras_object("regularizers", "L2", l2=0.5), "bias_regularizer": None,
    "activity_regularizer": None, "kernel_constraint": None,
    "bias_constraint": keras_object("constraints", "NonNeg"),
}  # fmt: skip


def test_configuration_written_by_keras():
    layer = layers.Conv2D.from_config(KERAS_CONV)
    assert (layer.name, layer.dtype, layer.kernel_size) == ("conv2d", "float64", (3, 3))
    assert isinstance(layer.kernel_initializer, initializers.HeNormal)
    assert layer.kernel_initializer.seed == 3
    assert layer.kernel_regularizer.l2 == 0.5
    assert layer.get_config()["activation"] == "relu"
    entry = keras_object("layers", "TimeDistributed", layer=keras_object("layers", "Conv2D", **KERAS_CONV))
    assert layers.deserialize(json.loads(json.dumps(entry))).layer.filters == 3
    dense = {
        "units": 2,
        "quantization_config": None,
        "activation": keras_object("layers", "ReLU", max_value=6),
    }
    assert layers.Dense.from_config(dense).activation.max_value == 6
    with pytest.raises(Error, match="unknown argument quantization_config"):
        layers.Dense.from_config({"units": 2, "quantization_config": {"mode": "int8"}})


def test_sequential_written_by_keras():
    entries = [
        keras_object("layers", "InputLayer", batch_shape=[None, 8, 8, 1], dtype="float32", sparse=False,
                     ragged=False, name="input_layer", optional=False),
        keras_object("layers", "Conv2D", **{**KERAS_CONV, "dtype": "float32"}),
    ]  # fmt: skip
    config = {
        "name": "s",
        "trainable": True,
        "dtype": KERAS_DTYPE,
        "layers": entries,
        "build_input_shape": [None, 8, 8, 1],
    }
    assert fastcnn.Sequential.from_config(config).count_params() == 30


def test_objects_of_users_written_by_keras():
    class Halves(initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return np.full(shape, 0.5, dtype)

    entry = {"module": None, "class_name": "Halves", "config": {}, "registered_name": "Mine>Halves"}
    with registry.custom_object_scope({"Mine>Halves": Halves}):
        layer = layers.Dense.from_config({"units": 2, "kernel_initializer": entry})
    assert isinstance(layer.kernel_initializer, Halves)
    array = {"class_name": "__numpy__", "config": {"value": [1.0, 2.0], "dtype": "float32"}}
    np.testing.assert_array_equal(layers.Rescaling.from_config({"scale": array}).scale, [1, 2])
    function = {
        "module": "keras.activations",
        "class_name": "function",
        "config": "relu",
        "registered_name": "relu",
    }
    assert layers.Lambda.from_config({"function": function}).function is fastcnn.activations.relu
    with pytest.raises(Error, match="__lambda__ of Keras has no counterpart"):
        layers.Lambda.from_config(
            {"function": {"module": "builtins", "class_name": "__lambda__", "config": {}}}
        )


def test_layers_that_do_not_exist():
    with pytest.raises(AttributeError, match="no 'LSTM'; recurrent layers are no part of fastcnn, Conv1D"):
        layers.LSTM  # noqa: B018
    with pytest.raises(Error, match="no 'Conv2'; did you mean 'Conv2D'"):
        layers.Conv2  # noqa: B018
    assert not hasattr(layers, "StringLookup")


def test_fans_by_axes():
    limit = np.abs(initializers.VarianceScaling(1.0, "fan_in", "uniform", 1, (0, 1), (2,))((50, 4, 30))).max()
    np.testing.assert_allclose(limit, np.sqrt(3 / 200), rtol=1e-2)
    limit = np.abs(
        initializers.VarianceScaling(1.0, "fan_out", "uniform", 1, (0, 1), (2,))((50, 4, 30))
    ).max()
    np.testing.assert_allclose(limit, np.sqrt(3 / 30), rtol=1e-2)


def test_output_shapes_of_several_inputs_are_asked_for_like_their_outputs():
    class Scaled(layers.Layer):
        def build(self, x_shape, y_shape):
            self.w = self.add_weight((x_shape[-1], y_shape[-1]), "ones")

        def call(self, x, y):
            return ops.matmul(x, self.w) * y

    layer = Scaled()
    assert layer.compute_output_shape((None, 4), (None, 3)) == (None, 3)
    assert layer.compute_output_shape((2, 4), y_shape=(2, 3)) == (2, 3)
    assert layers.Add().compute_output_shape([(2, 3), (2, 3)]) == (2, 3)
    assert layers.Dense(5).compute_output_shape(input_shape=(None, 4)) == (None, 5)


# --- sizes that are open while a functional model is built ------------------------------------------------------


def test_another_batch_inside_of_a_layer():
    """Pixels of all images become a batch, and images again."""

    class Pixels(layers.Layer):
        def call(self, x):
            sizes = ops.shape(x)
            return ops.reshape(2.0 * ops.reshape(x, (-1, sizes[-1])), sizes)

    inputs = Input((2, 3, 4))
    model = fastcnn.Model(inputs, Pixels()(inputs))
    x = np.arange(48.0, dtype="float32").reshape(2, 2, 3, 4)
    assert model.output_shape == (None, 2, 3, 4)
    np.testing.assert_array_equal(model.predict(x, verbose=0), 2 * x)
    with pytest.raises(Error, match="number of elements"):
        ops.reshape(x, (2, 2, 3, 5))


def test_a_penalty_that_computes_with_sizes():
    """Rows as matrices that should be orthogonal, whatever the batch."""

    def orthogonal(x):
        matrices = ops.reshape(x, (-1, 2, 2))
        products = ops.reshape(ops.tensordot(matrices, matrices, axes=(2, 2)), (-1, 2, 2))
        return ops.sum(ops.square(products - ops.eye(2)))

    inputs = Input((3,))
    outputs = layers.Dense(4, kernel_initializer="ones", activity_regularizer=orthogonal)(inputs)
    model = fastcnn.Model(inputs, outputs)
    model.compile("sgd", "mse")
    x = np.ones((1, 3), "float32")
    assert model.evaluate(x, np.full((1, 4), 3.0), verbose=0) == pytest.approx(2 * 17**2 + 2 * 18**2)
