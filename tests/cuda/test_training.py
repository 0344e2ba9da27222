"""Networks on CUDA: the same losses and weights as on the CPU, and one truth about variables on both."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import fastcnn
from fastcnn import layers, ops
from fastcnn.plan import Function
from fastcnn.tensor import Variable


def script(name: str) -> ModuleType:
    """A script of this folder."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


training_results = script("training_results")


@pytest.mark.parametrize("name", training_results.MODELS)
def test_training_is_that_of_the_cpu(
    name: str, on_cuda: None, on_the_cpu: Callable[[str], dict[str, np.ndarray]]
) -> None:
    expected = on_the_cpu("training_results")
    found = training_results.trained(name)
    np.testing.assert_allclose(found["losses"], expected[f"{name}|losses"], rtol=1e-5)
    for what, value in found.items():
        if what != "losses":  # Adam and RMSprop magnify the last digit of a small gradient
            np.testing.assert_allclose(value, expected[f"{name}|{what}"], rtol=0, atol=2e-4)


def test_training_repeats_bit_for_bit(on_cuda: None) -> None:
    first, second = training_results.trained("lenet", 1), training_results.trained("lenet", 1)
    for what, value in first.items():
        np.testing.assert_array_equal(value, second[what])


def test_dropout_drops_the_same_units_as_on_the_cpu(device: None) -> None:
    def kept(where: str) -> np.ndarray:
        state = ops.RandomState(11)
        return Function(lambda x: ops.dropout(x, 0.5, state), True, where)(np.ones(100, np.float32))

    from fastcnn_kernels.random import philox, unit

    kinds = np.uint64
    words = [w for b in range(25) for w in philox(*map(kinds, (b, 0, 1, 0)), kinds(11), kinds(0))]
    expected = np.array([unit(w, np.float32(0)) >= 0.5 for w in words]) * 2.0
    np.testing.assert_array_equal(kept("cuda"), expected)


# --- variables -------------------------------------------------------------------------------------------------------


def doubling(variable: Variable) -> Function:
    """Doubles the variable and returns x times what it was."""

    def body(x):
        y = x * variable
        variable.assign(variable * 2.0)
        return y

    return Function(body)


ONE = np.ones(2, np.float32)


def test_changes_on_the_device_are_seen_on_the_host(on_cuda: None) -> None:
    variable = Variable([1.0, 3.0])
    double = doubling(variable)
    np.testing.assert_array_equal(double(ONE), [1, 3])
    np.testing.assert_array_equal(double(ONE), [2, 6])
    assert variable.elsewhere is not None
    np.testing.assert_array_equal(variable.numpy(), [4, 12])
    assert variable.elsewhere is None
    assert variable not in Variable.away


def test_changes_on_the_host_are_seen_on_the_device(on_cuda: None) -> None:
    variable = Variable([1.0, 3.0])
    double = doubling(variable)
    double(ONE)
    variable.assign([5.0, 7.0])
    np.testing.assert_array_equal(double(ONE), [5, 7])
    np.testing.assert_array_equal(variable.numpy(), [10, 14])


def test_an_array_in_hand_stays_the_variable(on_cuda: None) -> None:
    variable = Variable([1.0, 3.0])
    values, double = variable.value, doubling(variable)
    double(ONE)
    np.testing.assert_array_equal(values, [2, 6])
    values[:] = 10.0
    np.testing.assert_array_equal(double(ONE), [10, 10])
    np.testing.assert_array_equal(values, [20, 20])


def test_plans_of_one_variable_on_one_device(on_cuda: None) -> None:
    variable = Variable([1.0, 3.0])
    double, read = doubling(variable), Function(lambda x: x + variable)
    np.testing.assert_array_equal(read(ONE), [2, 4])
    double(ONE)
    np.testing.assert_array_equal(read(ONE), [3, 7])


def test_outputs_may_be_inputs_constants_and_variables(on_cuda: None) -> None:
    variable = Variable([1.0, 3.0])
    constant = np.array([[2.0, 4.0]], np.float32)
    function = Function(
        lambda x: [x, ops.reshape(x, (2, 1)), variable, ops.convert_to_tensor(constant), ops.sum(x)]
    )
    x, column, same, fixed, total = function(ONE)
    np.testing.assert_array_equal(x, ONE)
    np.testing.assert_array_equal(column, ONE[:, None])
    np.testing.assert_array_equal(same, [1, 3])
    np.testing.assert_array_equal(fixed, constant)
    assert total == 2.0
    assert total.shape == ()


def test_compile_says_the_device(device: None) -> None:
    model = fastcnn.Sequential([fastcnn.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse", device="cuda")
    model.train_on_batch(np.ones((2, 3)), np.ones((2, 2)))
    assert model.weights[0].elsewhere is not None
    before = model.get_weights()
    model.compile("sgd", "mse")
    np.testing.assert_array_equal(model.get_weights()[0], before[0])
    assert not any(variable in Variable.away for variable in model.weights)


def test_models_are_saved_as_they_are_on_the_device(on_cuda: None, tmp_path: Path) -> None:
    model, (x, y) = training_results.lenet(), training_results.data()
    model.train_on_batch(x, y)
    model.save(tmp_path / "model.safetensors")
    loaded = fastcnn.models.load_model(tmp_path / "model.safetensors")
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert not any(variable.is_exposed for variable in model.weights)


def test_everything_is_fused_as_on_the_cpu(on_cuda: None) -> None:
    plan = training_results.mobilenet().plan(batch_size=2, training=False)
    assert "BatchNorm" not in plan
    assert "conv_forward" in plan
