"""Regions of feature maps brought to one size, for detectors that look again at what they have proposed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from fastcnn_kernels.roi import RegionGeometry

from fastcnn.errors import Error
from fastcnn.graph import Op, apply, operation
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.shape import require_same_dtype
from fastcnn.tensor import Tensor, TensorSpec

__all__ = ["roi_align", "roi_pool"]


@operation
class Regions(Op):
    """x (n, h, w, c), regions (r, 5) -> (r, rows, columns, c)."""

    size: tuple[int, int]
    scale: float

    @property
    def geometry(self) -> RegionGeometry:
        return RegionGeometry(*self.size, 1)

    def infer(self, x: Tensor, regions: Tensor) -> TensorSpec:
        require_same_dtype(self.name, x, regions)
        if x.ndim != 4 or regions.ndim != 2 or regions.shape[1] != 5:
            raise Error(
                f"{self.name}: expected features (n, h, w, c) and regions (r, 5) of image number, x1, y1, x2, y2; got "
                f"{x.shape} and {regions.shape}"
            )
        return TensorSpec((regions.shape[0], *self.size, x.shape[3]), x.dtype)


@operation
class RoiAlign(Regions):
    """Means of bilinear samples."""

    samples: int
    aligned: bool

    @property
    def geometry(self) -> RegionGeometry:
        return RegionGeometry(*self.size, self.samples)

    @property
    def constants(self) -> tuple[float, float, float]:
        """Scale, shift, and the least length of a region."""
        return self.scale, 0.5 if self.aligned else 0.0, 0.0 if self.aligned else 1.0

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, None]:
        x, regions = inputs
        grad = RoiAlignGrad(self.size, self.scale, self.samples, self.aligned)
        return apply(grad, grads[0], x, regions), None

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.roi_align_forward.bind(*inputs, outputs[0], *self.constants, self.geometry)]

    def flops(self, inputs: Any, outputs: Sequence[TensorSpec]) -> int:
        return 8 * self.samples**2 * outputs[0].size


@operation
class RoiAlignGrad(RoiAlign):
    """dx from dy; the values of x do not matter."""

    def infer(self, dy: Tensor, x: Tensor, regions: Tensor) -> TensorSpec:  # type: ignore[override]
        return x.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        dy, _, regions = inputs
        return [k.roi_align_backward.bind(dy, outputs[0], regions, *self.constants, self.geometry)]


@operation
class RoiPool(Regions):
    """Maxima of cells of regions rounded to whole cells."""

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, None]:
        x, regions = inputs
        return apply(RoiPoolGrad(self.size, self.scale), grads[0], x, regions), None

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.roi_pool_forward.bind(*inputs, outputs[0], self.scale, self.geometry)]


@operation
class RoiPoolGrad(Regions):
    """dx from dy and x."""

    def infer(self, dy: Tensor, x: Tensor, regions: Tensor) -> TensorSpec:  # type: ignore[override]
        return x.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        dy, x, regions = inputs
        return [k.roi_pool_backward.bind(dy, x, outputs[0], regions, self.scale, self.geometry)]


def _checked(what: str, regions: Any, size: Any, scale: Any) -> tuple[tuple[int, int], float]:
    """Output size and scale. Values of regions are checked where they are known; in models they are not."""
    size = size.tolist() if isinstance(size, np.ndarray | np.integer) else size
    pair = (size, size) if isinstance(size, int) else size
    if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(hasattr(n, "__index__") for n in pair)):
        raise Error(f"{what}: output_size is one whole number, or (rows, columns); got {size!r}")
    if min(pair) < 1:
        raise Error(f"{what}: output_size must be positive, got {size!r}")
    if not (isinstance(scale, int | float | np.integer | np.floating) and 0 < scale < math.inf):
        raise Error(f"{what}: spatial_scale must be a positive number, cells a pixel; got {scale!r}")
    values = None if isinstance(regions, Tensor) else np.asarray(regions)
    if values is not None and values.dtype.kind == "f" and not np.isfinite(values).all():
        place = np.argwhere(~np.isfinite(values))[0]
        raise Error(
            f"{what}: regions hold {values[tuple(place)]} at {place.tolist()}; leave such regions out, or give them "
            "the image number -1, which makes zeros"
        )
    return (int(pair[0]), int(pair[1])), float(scale)


@op_function
def _at_one_size(op: Regions, x: Any, regions: Any) -> Any:
    x = convert(x)
    return apply(op, x, convert(regions, x.dtype))


def roi_align(
    x: Any,
    regions: Any,
    output_size: int | Sequence[int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 2,
    aligned: bool = True,
) -> Any:
    """Regions of features at one size: (n, h, w, c), (r, 5) -> (r, rows, columns, c), differentiable by the features.

    regions: image number, x1, y1, x2, y2 in pixels, which spatial_scale turns into cells of the features. A region is
    divided into rows x columns cells; each is the mean of sampling_ratio^2 bilinear samples. aligned: the middle of the
    first cell of features is at 0.5; otherwise at 0, and regions are at least one cell long, as in older networks.
    A region of an image that does not exist, number -1 for example, gives zeros; in models one with NaN, too, which in
    an array is an `Error`. He et al. 2017, Mask R-CNN.
    """
    if not (hasattr(sampling_ratio, "__index__") and sampling_ratio >= 1):
        raise Error(f"roi_align: sampling_ratio must be a whole number of at least 1, got {sampling_ratio!r}")
    size, scale = _checked("roi_align", regions, output_size, spatial_scale)
    return _at_one_size(RoiAlign(size, scale, int(sampling_ratio), bool(aligned)), x, regions)


def roi_pool(x: Any, regions: Any, output_size: int | Sequence[int], spatial_scale: float = 1.0) -> Any:
    """As `roi_align`, but regions are rounded to whole cells, last one included, and each output is a maximum.

    Girshick 2015, Fast R-CNN, section 2.1.
    """
    return _at_one_size(RoiPool(*_checked("roi_pool", regions, output_size, spatial_scale)), x, regions)
