"""What a grid predicts and its loss against their definitions. Gradients are checked with the ops."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from fastcnn_kernels import yolo as kernels
from reference import detection as reference

OnThreads = Callable[[Callable[[], Sequence[np.ndarray]]], Sequence[np.ndarray]]
ANCHORS = np.array([[1.5, 0.8], [0.7, 2.0], [3.0, 3.0]])
SHAPE = (5, 3, 2, 3, 9)  # images, rows, columns, anchors, 5 + classes
TERMS = kernels.Terms(2.0, 1.5, 0.5, 0.7, 0.3, 1.2)


def flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(*x.shape[:3], -1)


def target(rng: np.random.Generator) -> np.ndarray:
    t = np.zeros(SHAPE)
    t[..., 0] = rng.choice([1.0, 0.0, 0.0, -1.0], SHAPE[:4])
    t[..., 1:3], t[..., 3:5] = rng.uniform(0, 1, (*SHAPE[:4], 2)), rng.uniform(0.4, 2.5, (*SHAPE[:4], 2))
    t[..., 5:] = np.eye(4)[rng.integers(4, size=SHAPE[:4])]
    t[3, ..., 0] = 0  # an image of background
    return t


@pytest.mark.parametrize("classes", ["softmax", "sigmoid"])
def test_activation(classes: str, dtype: str, on_threads: OnThreads) -> None:
    """yolo_softmax_forward and yolo_softmax_backward; yolo_sigmoid_forward and yolo_sigmoid_backward."""
    rng = np.random.default_rng(0)
    raw, dy = rng.normal(size=SHAPE).astype(dtype), rng.normal(size=SHAPE).astype(dtype)
    raw[0, 0, 0, 0, 3:5] = 30, -30  # sizes are bounded
    anchors = ANCHORS.astype(dtype)

    def run() -> list[np.ndarray]:
        y, draw = np.full(SHAPE, np.nan, dtype), np.full(SHAPE, np.nan, dtype)
        getattr(kernels, f"yolo_{classes}_forward")(raw, anchors, y, 1.3)
        getattr(kernels, f"yolo_{classes}_backward")(dy, raw, anchors, y, draw, 1.3)
        return [y, draw]

    y, draw = on_threads(run)
    expected = reference.yolo_activation(flat(raw.astype(float)), anchors.astype(float), classes, 1.3)
    np.testing.assert_allclose(
        flat(y), expected, rtol=16 * np.finfo(dtype).eps, atol=16 * np.finfo(dtype).eps
    )
    assert np.isfinite(draw).all() and (draw[0, 0, 0, 0, 3:5] == 0).all()


@pytest.mark.parametrize("classes", ["softmax", "sigmoid"])
@pytest.mark.parametrize("box", ["squared", "iou", "giou", "diou", "ciou"])
def test_loss(box: str, classes: str, dtype: str, on_threads: OnThreads) -> None:
    """yolo_squared_loss, yolo_iou_loss, yolo_giou_loss, yolo_diou_loss, yolo_ciou_loss; yolo_softmax_class_loss,
    yolo_sigmoid_class_loss."""
    rng = np.random.default_rng(1)
    raw, t, anchors = (x.astype(dtype) for x in (rng.normal(size=SHAPE), target(rng), ANCHORS))

    def run() -> list[np.ndarray]:
        loss, draw = np.full((5, 3), np.nan, dtype), np.full(SHAPE, np.nan, dtype)
        slots = np.full((5, 18), -1, np.int32)
        getattr(kernels, f"yolo_{box}_loss")(raw, t, anchors, loss, draw, slots, TERMS)
        getattr(kernels, f"yolo_{classes}_class_loss")(raw, t, loss, draw, TERMS.classes)
        return [loss, draw]

    loss, draw = on_threads(run)
    grids = [flat(x.astype(float)) for x in (t, raw)]
    expected = reference.yolo_loss(*grids, anchors.astype(float), classes, 1.2, box, TERMS[:4], 0.3)
    np.testing.assert_allclose(loss, expected, rtol=256 * np.finfo(dtype).eps, atol=1e-12)
    assert loss[3, 0] == loss[3, 2] == 0 < loss[3, 1]  # background: Pc alone
    assert (draw[3, ..., 1:] == 0).all() and (draw[t[..., 0] < 0] == 0).all()


def test_yolo_loss_backward(dtype: str, on_threads: OnThreads) -> None:
    rng = np.random.default_rng(2)
    gradient, dloss = rng.normal(size=SHAPE).astype(dtype), rng.normal(size=(5, 3)).astype(dtype)

    def run() -> list[np.ndarray]:
        draw = np.full(SHAPE, np.nan, dtype)
        kernels.yolo_loss_backward(dloss, gradient, draw)
        return [draw]

    of_channel = np.array([1, 0, 0, 0, 0, 2, 2, 2, 2])
    expected = gradient * dloss[:, of_channel][:, np.newaxis, np.newaxis, np.newaxis]
    np.testing.assert_array_equal(on_threads(run)[0], expected)
