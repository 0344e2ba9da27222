"""Regions of feature maps brought to one size, for detectors that look again at what they have proposed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastcnn_kernels.roi import RegionGeometry

from fastcnn.errors import Error
from fastcnn.graph import Op, apply
from fastcnn.ops.core import convert, op_function
from fastcnn.ops.shape import require_same_dtype
from fastcnn.tensor import Tensor, TensorSpec

__all__ = ["roi_align", "roi_pool"]


@dataclass(frozen=True)
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


@dataclass(frozen=True)
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


@dataclass(frozen=True)
class RoiAlignGrad(RoiAlign):
    """dx from dy; the values of x do not matter."""

    def infer(self, dy: Tensor, x: Tensor, regions: Tensor) -> TensorSpec:  # type: ignore[override]
        return x.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        dy, _, regions = inputs
        return [k.roi_align_backward.bind(dy, outputs[0], regions, *self.constants, self.geometry)]


@dataclass(frozen=True)
class RoiPool(Regions):
    """Maxima of cells of regions rounded to whole cells."""

    def gradient(self, inputs: Sequence[Tensor], outputs: Any, grads: Any) -> tuple[Tensor, None]:
        x, regions = inputs
        return apply(RoiPoolGrad(self.size, self.scale), grads[0], x, regions), None

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        return [k.roi_pool_forward.bind(*inputs, outputs[0], self.scale, self.geometry)]


@dataclass(frozen=True)
class RoiPoolGrad(Regions):
    """dx from dy and x."""

    def infer(self, dy: Tensor, x: Tensor, regions: Tensor) -> TensorSpec:  # type: ignore[override]
        return x.spec

    def launch(self, k: Any, inputs: Any, outputs: Any, scratch: Any) -> list:
        dy, x, regions = inputs
        return [k.roi_pool_backward.bind(dy, x, outputs[0], regions, self.scale, self.geometry)]


def _size(what: str, size: Any) -> tuple[int, int]:
    rows, columns = (size, size) if isinstance(size, int) else size
    if min(rows, columns) < 1:
        raise Error(f"{what}: output_size must be positive, got {size!r}")
    return int(rows), int(columns)


@op_function
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
    He et al. 2017, Mask R-CNN.
    """
    if sampling_ratio < 1:
        raise Error(f"roi_align: sampling_ratio must be at least 1, got {sampling_ratio}")
    x = convert(x)
    op = RoiAlign(_size("roi_align", output_size), float(spatial_scale), int(sampling_ratio), bool(aligned))
    return apply(op, x, convert(regions, x.dtype))


@op_function
def roi_pool(x: Any, regions: Any, output_size: int | Sequence[int], spatial_scale: float = 1.0) -> Any:
    """As `roi_align`, but regions are rounded to whole cells, last one included, and each output is a maximum.

    Girshick 2015, Fast R-CNN, section 2.1.
    """
    x = convert(x)
    return apply(RoiPool(_size("roi_pool", output_size), float(spatial_scale)), x, convert(regions, x.dtype))
