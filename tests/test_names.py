"""Names that Keras scripts look for: those that are here, and what is said about those that are not."""

import pytest

import fastcnn
from fastcnn.tensor import Tensor

PRESENT = """
    DTypePolicy FloatDTypePolicy Initializer Input InputSpec KerasTensor Layer Loss Metric Model Optimizer Regularizer
    Sequential Variable activations backend callbacks config constraints datasets dtype_policies initializers layers
    losses metrics mixed_precision models name_scope ops optimizers preprocessing regularizers saving tree utils
    models.save_model preprocessing.image.load_img preprocessing.image.smart_resize
    preprocessing.sequence.pad_sequences preprocessing.timeseries_dataset_from_array
    preprocessing.image_dataset_from_directory mixed_precision.LossScaleOptimizer mixed_precision.Policy
    saving.serialize_keras_object saving.get_registered_object backend.clear_session backend.get_uid
    callbacks.BackupAndRestore callbacks.RemoteMonitor callbacks.SwapEMAWeights callbacks.TensorBoard
    utils.get_file utils.plot_model utils.model_to_dot utils.is_interactive_logging_enabled
""".split()


@pytest.mark.parametrize("name", PRESENT)
def test_present(name):
    thing = fastcnn
    for part in name.split("."):
        assert part in dir(thing)
        thing = getattr(thing, part)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("applications", "fastcnn has no 'applications'; there are no networks with trained weights"),
        ("Sequentail", "did you mean 'Sequential'"),
        ("Function", r"Model\(inputs, outputs\)"),
        ("layers.LSTM", "recurrent"),
        ("utils.text_dataset_from_directory", "turn it into numbers"),
        ("utils.to_categorica", "did you mean 'to_categorical'"),
        ("callbacks.OrbaxCheckpoint", "BackupAndRestore"),
        ("saving.KerasFileEditor", "safetensors"),
        ("optimizers.MultiOptimizer", "subclass of Optimizer"),
        ("preprocessing.image.ImageDataGenerator", "image_dataset_from_directory"),
    ],
)
def test_absent(name, message):
    *path, last = name.split(".")
    module = fastcnn
    for part in path:
        module = getattr(module, part)
    assert not hasattr(module, last)
    with pytest.raises(AttributeError, match=message):
        getattr(module, last)


def test_private_names_are_looked_up_quietly():
    with pytest.raises(AttributeError, match="module 'fastcnn' has no attribute '__wrapped__'"):
        _ = fastcnn.__wrapped__


def test_name_scopes_are_in_paths():
    with fastcnn.name_scope("outer"):
        layer = fastcnn.layers.Dense(2, name="d")
        layer.build((None, 3))
    assert layer.kernel.path == "outer/d/kernel"


def test_symbolic_tensors_are_recognised():
    x = fastcnn.Input((3,))
    assert isinstance(x, fastcnn.KerasTensor) and fastcnn.KerasTensor is Tensor
    layer = fastcnn.layers.Dense(2)
    y = layer(x)
    assert fastcnn.utils.is_keras_tensor(y) and not fastcnn.utils.is_keras_tensor(layer.kernel)
    assert fastcnn.utils.get_source_inputs(y) == [x] and fastcnn.utils.get_source_inputs(x) == [x]


def test_objects_to_data_and_back_by_registered_names_only():
    data = fastcnn.utils.serialize_keras_object(fastcnn.initializers.HeNormal(seed=3))
    again = fastcnn.utils.deserialize_keras_object(data)
    assert type(again) is fastcnn.initializers.HeNormal and again.seed == 3
    with pytest.raises(fastcnn.Error, match="unknown object 'system'"):
        fastcnn.utils.deserialize_keras_object({"class_name": "system", "module": "os", "config": {}})
