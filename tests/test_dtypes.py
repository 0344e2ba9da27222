"""Names of number formats, and policies."""

import numpy as np
import pytest

import fastcnn
from fastcnn import backend, dtype_policies, mixed_precision
from fastcnn.config import DTypePolicy
from fastcnn.errors import Error


@pytest.fixture(autouse=True)
def float32_again():
    yield
    fastcnn.config.set_floatx("float32")


@pytest.mark.parametrize(
    ("dtypes", "result"),
    [
        ((), "float32"), (("int8", "uint8"), "int16"), (("int64", "float16"), "float16"), ((int, "uint8"), "uint8"),
        ((float, "int32"), "float32"), ((float, "bfloat16"), "bfloat16"), (("bfloat16", "float16"), "float32"),
        (("float64", "float32"), "float64"), (("bool", int), "int32"), ((None, "int32"), "float32"),
    ],
)  # fmt: skip
def test_result_type(dtypes, result):
    assert backend.result_type(*dtypes) == backend.result_type(*reversed(dtypes)) == result


def test_python_numbers_follow_floatx():
    fastcnn.config.set_floatx("float64")
    assert (backend.result_type(float, int), backend.result_type(int), backend.standardize_dtype(None)) == (
        "float64", "int64", "float64",
    )  # fmt: skip


def test_names():
    assert [backend.standardize_dtype(d) for d in (int, np.float64, np.dtype("int8"), "bfloat16")] == [
        "int32", "float64", "int8", "bfloat16",
    ]  # fmt: skip
    assert (
        backend.is_float_dtype("bfloat16")
        and not backend.is_float_dtype(int)
        and backend.is_int_dtype("uint8")
    )
    with pytest.raises(Error, match="is no dtype; did you mean 'float32'"):
        backend.standardize_dtype("flaot32")
    with pytest.raises(Error, match="cannot be mixed"):
        backend.result_type("string", "int8")


def test_policies():
    policy = DTypePolicy("float64")
    assert (policy.compute_dtype, policy.variable_dtype, policy.quantization_mode) == (
        "float64",
        "float64",
        None,
    )
    assert dtype_policies.deserialize(dtype_policies.serialize(policy)) == policy and hash(policy) == hash(
        DTypePolicy("float64")
    )
    assert dtype_policies.get(None) == DTypePolicy() != policy and dtype_policies.get(policy) is policy
    layer = fastcnn.layers.Dense(2, dtype=policy)
    layer.build((None, 3))
    assert layer.weights[0].numpy().dtype == np.float64


def test_the_policy_is_floatx():
    for given in ("float64", DTypePolicy("float64"), dtype_policies.serialize(DTypePolicy("float64"))):
        mixed_precision.set_global_policy("float32")
        fastcnn.config.set_dtype_policy(given)
        assert mixed_precision.global_policy().name == fastcnn.config.floatx() == "float64"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mixed_float16", "use 'mixed_bfloat16'"),
        ("float23", "did you mean 'float32'"),
        (3, "policy 3"),
    ],
)
def test_policies_that_do_not_exist(name, message):
    for run in (DTypePolicy, fastcnn.config.set_dtype_policy, dtype_policies.get):
        with pytest.raises(Error, match=message):
            run(name)
    assert fastcnn.config.floatx() == "float32"
