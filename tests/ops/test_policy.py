"""policy_step as an op: what it refuses, that it is the kernel, that nothing goes back through it."""

import numpy as np
import pytest

from fastcnn import ops
from fastcnn.errors import Error
from fastcnn.graph import gradients
from fastcnn.ops.policy import OPERATIONS
from fastcnn.plan import Function


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype("float32")


def test_step_inverts_one_image_and_keeps_the_other():
    x, numbers = images(), np.zeros((2, 8), "float32")
    numbers[1, :2] = -1, 255
    code = [OPERATIONS.index("identity"), OPERATIONS.index("linear")]
    y = ops.policy_step(x, np.array(code, "float32"), numbers)
    np.testing.assert_array_equal(y, [x[0], 255 - x[1]])


def test_no_gradient_goes_through_it():
    x, numbers = images(), np.zeros((2, 8), "float32")
    found = Function(lambda x: gradients(ops.policy_step(x, np.zeros(2, "float32"), numbers), [x]))(x)
    assert found == [None]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: ops.policy_step(x[0], np.zeros(2), np.zeros((2, 8))), "expected images"),
        (lambda x: ops.policy_step(x, np.zeros(2), np.zeros((2, 7))), "expected images"),
        (lambda x: ops.policy_step(x, np.zeros(2), np.zeros((2, 8)), 1.0, 1.0), "low must be below high"),
        (
            lambda x: ops.policy_step(x, np.zeros(2), np.zeros((2, 8)), fill_mode="mirrored"),
            "did you mean 'mirror'",
        ),
        (lambda x: ops.policy_step(x, np.zeros(2), np.zeros((2, 8)), interpolation="cubic"), "interpolation"),
        (lambda x: ops.affine_gather(x, np.zeros((2, 7))[0]), "expected images"),
        (
            lambda x: ops.affine_gather(x, np.zeros((2, 8)), fill_mode=lambda places, n: places),
            "indices from 0",
        ),
        (lambda x: ops.color_matrix(x, np.zeros((2, 3, 3))), "need matrices"),
        (lambda x: ops.hue_saturation(x[..., :2], np.zeros(2), np.zeros(2)), "expected images"),
        (lambda x: ops.equalize(x, 1.0, 0.0), "low < high"),
        (lambda x: ops.equalize(x[0]), "expected images"),
        (lambda x: ops.clahe(x[0]), "expected images"),
        (lambda x: ops.clahe(x, -1.0), "clip_limit of 0 or more"),
        (lambda x: ops.clahe(x, low=1.0, high=1.0), "low < high"),
    ],
)
def test_bad_arguments_are_explained(call, message):
    with pytest.raises(Error, match=message):
        call(images())


def test_border_of_a_function():
    """A border that is a function (places, size) -> indices: here, what numpy.pad calls "wrap"."""
    x = images()
    shift = np.tile(np.array([1, 0, -2, 0, 1, 3, 0, 0], "float32"), (2, 1))
    expected = ops.affine_gather(x, shift, fill_mode="wrap")
    np.testing.assert_array_equal(ops.affine_gather(x, shift, fill_mode=lambda i, n: i % n), expected)
    turned = shift + np.array([-0.1, 0.1, 0, -0.1, 0, 0, 0.01, 0.02], "float32")
    expected = ops.affine_gather(x, turned, (4, 6), fill_mode="wrap")
    found = ops.affine_gather(x, turned, (4, 6), fill_mode=lambda i, n: i % n)
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_bytes_are_read_as_they_are():
    x = images().astype("uint8")
    eye = np.tile(np.array([1, 0, 0, 0, 1, 0, 0, 0], "float32"), (2, 1))
    scale = np.zeros((2, 3, 4), "float32")
    scale[:, [0, 1, 2], [0, 1, 2]] = 1 / 255
    moved = Function(lambda x: ops.color_matrix(ops.affine_gather(x, eye), scale))(x)
    np.testing.assert_allclose(moved, x / 255.0, rtol=1e-6)
