"""The grid of a detector, what it predicts and its loss with the gradient in one pass: 16 images of 26 x 26 cells."""

import numpy as np
import pytest
from fastcnn_kernels import yolo as kernels

from bench.measure import Meter

SHAPE = (16, 26, 26, 3, 25)  # images, rows, columns, anchors, 5 + classes
ANCHORS = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]], np.float32)
TERMS = kernels.Terms(1.0, 1.0, 0.5, 1.0, 0.6, 1.1)
each_classes = pytest.mark.parametrize("classes", ["softmax", "sigmoid"])


def targets(measure: Meter) -> np.ndarray:
    """About 20 objects an image."""
    t = np.zeros(SHAPE, np.float32)
    t[..., 0] = measure.uniform(0, 1, *SHAPE[:4]) < 0.01
    t[..., 1:5], t[..., 5] = 0.5, 1
    return t


@each_classes
def bench_yolo_forward(measure: Meter, classes: str) -> None:
    raw = measure.normal(*SHAPE)
    kernel = getattr(kernels, f"yolo_{classes}_forward")
    measure.kernels(kernel.bind(raw, ANCHORS, np.empty_like(raw), 1.1), flops=raw.size)


@each_classes
def bench_yolo_backward(measure: Meter, classes: str) -> None:
    raw = measure.normal(*SHAPE)
    kernel = getattr(kernels, f"yolo_{classes}_backward")
    launch = kernel.bind(np.ones_like(raw), raw, ANCHORS, np.abs(raw), np.empty_like(raw), 1.1)
    measure.kernels(launch, flops=raw.size)


@pytest.mark.parametrize("box", ["squared", "iou", "ciou"])
def bench_yolo_loss(measure: Meter, box: str) -> None:
    raw, t = measure.normal(*SHAPE), targets(measure)
    loss, draw = np.empty((16, 3), np.float32), np.empty_like(raw)
    slots = np.empty((16, 26 * 26 * 3), np.int32)
    measure.kernels(
        getattr(kernels, f"yolo_{box}_loss").bind(raw, t, ANCHORS, loss, draw, slots, TERMS),
        kernels.yolo_softmax_class_loss.bind(raw, t, loss, draw, 1.0),
        flops=8 * raw.size,
    )


def bench_yolo_loss_backward(measure: Meter) -> None:
    gradient = measure.normal(*SHAPE)
    launch = kernels.yolo_loss_backward.bind(np.ones((16, 3), np.float32), gradient, np.empty_like(gradient))
    measure.kernels(launch, flops=gradient.size)
