"""Graphs: order, gradients for inputs and inner features, shared variables, freezing of gradients."""

import numpy as np
import pytest

import fastcnn
from fastcnn import Error, ops
from fastcnn.graph import Op, Trace, ancestors, apply, gradients, tracing, update
from fastcnn.plan import Function
from fastcnn.tensor import Tensor, Variable


def run(body, *arrays, training=False):
    return Function(body, training)(*arrays)


def test_gradient_of_a_tensor_used_twice_adds_up():
    x = np.array([1.0, -2.0, 3.0])
    (dx,) = run(lambda x: gradients(ops.sum(x * x + 3.0 * x), [x]), x)
    np.testing.assert_allclose(dx, 2 * x + 3)


def test_gradient_of_an_inner_feature():
    x = np.array([0.5, 2.0])

    def body(x):
        inner = x * 3.0
        y = ops.sum(ops.square(inner))
        return gradients(y, [inner, x])

    d_inner, dx = run(body, x)
    np.testing.assert_allclose(d_inner, 6 * x)
    np.testing.assert_allclose(dx, 18 * x)


def test_gradient_of_a_variable_shared_by_two_layers():
    w = Variable(np.array([2.0, 3.0]), "float64")
    x = np.array([1.0, 4.0])
    (dw,) = run(lambda x: gradients(ops.sum(x * w) + ops.sum(w * w), [w]), x)
    np.testing.assert_allclose(dw, x + 2 * w.value)


def test_no_dependence_gives_none():
    def body(x, y):
        grads = gradients(ops.sum(x), [x, y])
        assert grads[1] is None
        return grads[0]

    np.testing.assert_array_equal(run(body, np.ones(2), np.ones(2)), np.ones(2))


def test_stop_gradient():
    (dx,) = run(lambda x: gradients(ops.sum(ops.stop_gradient(x) * x), [x]), np.array([2.0, 5.0]))
    np.testing.assert_array_equal(dx, [2.0, 5.0])


def test_weighted_gradients():
    x, w = np.array([1.0, 2.0]), np.array([10.0, 100.0])
    (dx,) = run(lambda x, w: gradients([x * x], [x], [w]), x, w)
    np.testing.assert_allclose(dx, 2 * x * w)


def test_deep_chains_need_no_recursion():
    def body(x):
        for _ in range(3000):
            x = x + 1.0
        return x

    np.testing.assert_allclose(run(body, np.zeros(3)), np.full(3, 3000.0))


def test_value_and_gradient():
    value, (da, db) = fastcnn.value_and_gradient(lambda a, b: ops.sum(a * a * b), argnums=(0, 1))(
        np.array([1.0, 2.0]), np.array([3.0, 4.0])
    )
    assert value == pytest.approx(19.0)
    np.testing.assert_allclose(da, [6.0, 16.0])
    np.testing.assert_allclose(db, [1.0, 4.0])


def test_symbolic_tensors_refuse_to_be_values():
    x = Tensor((2, 3))
    with pytest.raises(Error, match="Python cannot branch"):
        bool(x)
    with pytest.raises(Error, match=r"fastcnn\.ops"):
        np.asarray(x)


def test_updates_need_a_trace():
    class Nothing(Op):
        pass

    with pytest.raises(Error, match="inside a layer"):
        update(Nothing())
    Op.registry.pop("Nothing")


def test_ancestors_are_in_execution_order():
    with tracing(Trace(training=False)):
        x = Tensor((2,))
        y = ops.exp(x)
        z = y + ops.square(y)
        nodes = ancestors([z])
    assert [n.serial for n in nodes] == sorted(n.serial for n in nodes)
    assert len(nodes) == 3


def test_ops_with_unknown_batch_keep_it_unknown():
    x = Tensor((None, 4, 5, 3))
    assert ops.max_pool(x, 2).shape == (None, 2, 2, 3)
    assert (x * 2.0 + 1.0).shape == (None, 4, 5, 3)
    assert ops.mean(x, axis=(1, 2)).shape == (None, 3)
    assert ops.reshape(x, (-1, 60)).shape[1] == 60


def test_unknown_op_in_a_file():
    with pytest.raises(Error, match="unknown op"):
        Op.from_config({"name": "RunShell"})


def test_apply_returns_a_tuple_for_several_outputs():
    assert apply is not None
    parts = ops.split(np.arange(6.0), 3)
    assert [list(part) for part in parts] == [[0, 1], [2, 3], [4, 5]]
