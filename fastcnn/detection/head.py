"""The head of a one-stage detector: a grid of predictions from a map of features."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastcnn import ops
from fastcnn.detection.grids import Grid
from fastcnn.errors import Error
from fastcnn.layers import Layer, arguments, weights
from fastcnn.ops.detection import CLASS_ACTIVATIONS, as_anchors, choice
from fastcnn.tensor import Shape, Tensor


class YOLOHead(Layer):
    """Features (n, rows, columns, channels) -> (n, rows, columns, anchors (5 + classes)): a 1 x 1 convolution.

    For each cell and anchor [Pc, bx, by, bh, bw, c1, ...]: the probability of an object, its centre in the cell from 0
    to 1, its size in cells, and probabilities of the classes. With one anchor and three classes a grid of 3 x 3 is
    3 x 3 x 8, with two anchors 3 x 3 x 16.

    grid: (rows, columns), or one number for both, which the features must have; None takes them as they come.
    anchors: (width, height) in cells of each, of which predicted sizes are multiples; by default one cell.
    class_activation: "softmax", or "sigmoid" for objects of several classes. spread: how far, times a cell, centres
    reach; a little above 1 makes the borders of cells easy. prior: Pc before training, low because most cells are
    empty. Redmon et al. 2016, You only look once; Redmon & Farhadi 2017, YOLO9000.
    """

    def __init__(
        self,
        grid: Any = None,
        anchors: Sequence[Sequence[float]] = ((1.0, 1.0),),
        classes: int = 1,
        class_activation: str = "softmax",
        spread: float = 1.0,
        prior: float = 0.01,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.grid = None if grid is None else arguments.integers("YOLOHead", "grid", grid, 2)
        self.anchors = tuple((float(w), float(h)) for w, h in as_anchors("YOLOHead", anchors))
        self.classes = arguments.integer("YOLOHead", "classes", classes)
        self.class_activation = choice("YOLOHead: class_activation", class_activation, CLASS_ACTIVATIONS)
        self.spread, self.prior = float(spread), float(prior)
        weights.describe(self, "kernel", kernel_initializer)
        if not (0 < self.prior < 1 and 1 <= self.spread < math.inf):
            raise Error(
                f"YOLOHead: prior must lie inside (0, 1) and spread be at least 1; got {prior} and {spread}"
            )

    @property
    def depth(self) -> int:
        """Numbers a cell."""
        return len(self.anchors) * (5 + self.classes)

    def grid_of(self, shape: Shape) -> Grid:
        """The grid of predictions of this shape, (n, rows, columns, depth)."""
        rows, columns = shape[1:3]
        if rows is None or columns is None:
            raise Error(f"YOLOHead: the size of the grid must be known here, got shape {shape}")
        return Grid(rows, columns, self.anchors, self.classes)

    def build(self, input_shape: Shape) -> None:
        channels = input_shape[-1]
        if len(input_shape) != 4 or channels is None:
            raise Error(f"YOLOHead: expected features (n, rows, columns, channels), got shape {input_shape}")
        self.kernel = weights.add(self, "kernel", (1, 1, channels, self.depth))
        bias = np.zeros((len(self.anchors), 5 + self.classes))
        bias[:, 0] = math.log(self.prior / (1 - self.prior))
        self.bias = self.add_weight((self.depth,), bias.reshape(-1), name="bias")
        self.built = True

    def call(self, inputs: Tensor) -> Any:
        found = tuple(inputs.shape[1:3])
        if self.grid is not None and any(n not in (None, m) for n, m in zip(found, self.grid, strict=True)):
            raise Error(
                f"YOLOHead: the features have {found} cells, the grid {self.grid}; change the grid, the size of the "
                "images, or the strides in between"
            )
        raw = ops.conv2d(inputs, self.kernel, self.bias)
        return ops.yolo_activation(raw, self.anchors, self.class_activation, self.spread)
