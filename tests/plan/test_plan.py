"""Plans: memory shared by liveness, caching by shape, fusion, updates in order, thread safety, text."""

import threading

import numpy as np
import pytest

from fastcnn import config, ops
from fastcnn.backend import cpu
from fastcnn.backend.cpu import num_threads, set_num_threads
from fastcnn.graph import Trace, gradients, tracing
from fastcnn.plan import Function, Plan, describe
from fastcnn.plan.memory import LARGE, PAGE, Block, place
from fastcnn.tensor import Tensor, TensorSpec


def test_blocks_alive_together_never_overlap():
    rng = np.random.default_rng(0)
    for _ in range(50):
        blocks = [
            Block(int(rng.integers(1, 5000) * rng.choice([1, 20])), int(b), int(b + rng.integers(0, 6)))
            for b in rng.integers(0, 20, 40)
        ]
        total = place(blocks)
        for i, a in enumerate(blocks):
            assert a.offset % (PAGE if a.nbytes >= LARGE else 64) == 0 and a.offset + a.nbytes <= total
            for b in blocks[:i]:
                if a.overlaps(b):
                    assert a.offset + a.nbytes <= b.offset or b.offset + b.nbytes <= a.offset


def test_memory_is_reused_along_a_chain():
    def body(x):
        for _ in range(20):
            x = ops.exp(x * 0.1)
        return x

    plan, _ = Function(body).plan([TensorSpec((1000,), "float32")])
    assert plan.nbytes <= 4 * 4096


def test_plans_are_cached_by_shape_and_bounded():
    function = Function(lambda x: x + 1.0)
    first, _ = function.plan([TensorSpec((3,), "float32")])
    again, _ = function.plan([TensorSpec((3,), "float32")])
    assert first is again
    for n in range(4, 20):
        function.plan([TensorSpec((n,), "float32")])
    assert len(function._plans) == 8


def test_outputs_that_are_inputs_or_aliases():
    x = np.arange(6.0).reshape(2, 3)
    same, flat = Function(lambda x: (x, ops.reshape(x, (6,))))(x)
    np.testing.assert_array_equal(same, x)
    np.testing.assert_array_equal(flat, x.ravel())


def test_relu_is_absorbed_and_gives_the_same():
    rng = np.random.default_rng(0)
    x, w, b = (rng.normal(size=s).astype("float32") for s in ((2, 5, 6, 3), (3, 3, 3, 4), (4,)))
    function = Function(lambda x, w, b: ops.relu(ops.conv2d(x, w, bias=b)))
    plan, _ = function.plan([TensorSpec(a.shape, "float32") for a in (x, w, b)])
    assert len(plan.nodes) == 1
    plain = Function(lambda x, w, b: ops.conv2d(x, w, bias=b))(x, w, b)
    np.testing.assert_array_equal(function(x, w, b), np.maximum(plain, 0))


def test_relu_is_not_absorbed_when_the_convolution_is_wanted():
    x, w = np.ones((1, 4, 4, 2), "float32"), -np.ones((3, 3, 2, 2), "float32")

    def body(x, w):
        y = ops.conv2d(x, w)
        return y, ops.relu(y)

    y, z = Function(body)(x, w)
    assert (y < 0).all() and (z == 0).all()


def test_description_names_ops_and_memory():
    plan, _ = Function(lambda x: ops.sum(ops.exp(x))).plan([TensorSpec((4, 5), "float32")])
    text = describe(plan, timed=True)
    assert "Exp" in text and "Sum" in text and "arena" in text and "GFLOP/s" in text


def test_one_function_from_many_threads():
    function = Function(lambda x: ops.sum(ops.square(x), axis=1))
    arrays = [np.full((64, 300), float(i), "float32") for i in range(8)]
    results: dict[int, list] = {i: [] for i in range(8)}

    def work(i):
        for _ in range(50):
            results[i].append(function(arrays[i]))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(8):
        assert all((r == 300.0 * i * i).all() for r in results[i])


@pytest.mark.parametrize("n", [0, 1])
def test_plan_without_work(n):
    with tracing(Trace(training=False)):
        x = Tensor((2,))
    plan = Plan([x], [x] * n, [], cpu)
    plan.run()
    assert len(plan.output_arrays) == n


CONVOLUTIONS = [
    pytest.param((2, 7, 6, 3), (3, 2, 3, 5), {"strides": (2, 1), "padding": "same"}, id="strides"),
    pytest.param((2, 9, 8, 4), (3, 3, 2, 6), {"dilation_rate": (2, 1)}, id="dilation and groups"),
    pytest.param((1, 5, 4, 33), (1, 1, 33, 17), {}, id="a matrix product"),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("x", "kernel", "options"), CONVOLUTIONS)
def test_explicit_columns_give_the_same(x, kernel, options, dtype):
    """Values and both gradients, by im2col, product and col2im."""
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(dtype) for shape in (x, kernel, kernel[3:])]

    def body(x, kernel, bias):
        y = ops.relu(ops.conv2d(x, kernel, bias=bias, **options))
        return [y, *gradients(ops.sum(ops.square(y)), [x, kernel, bias])]

    expected = Function(body)(*arrays)
    config.set_convolution_algorithm("columns")
    try:
        by_columns = Function(body)
        results = by_columns(*arrays)
        plan, _ = by_columns.plan([TensorSpec(a.shape, dtype) for a in arrays])
    finally:
        config.set_convolution_algorithm("auto")
    assert {"ColumnsConv", "ColumnsConvInputGrad", "ColumnsConvKernelGrad"} <= {
        n.operation.name for n in plan.nodes
    }
    for a, b in zip(results, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=200 * np.finfo(dtype).eps * np.abs(b).max())


def test_more_threads_than_before_make_a_plan_anew():
    """A plan has memory for as many threads as there were; with fewer it goes on as it is."""
    function = Function(lambda x: ops.relu(x))
    before, specs = num_threads(), [TensorSpec((4, 4))]
    try:
        set_num_threads(1)
        plan, _ = function.plan(specs)
        set_num_threads(3)
        more, _ = function.plan(specs)
        set_num_threads(2)
        assert function.plan(specs)[0] is more is not plan
    finally:
        set_num_threads(before)
