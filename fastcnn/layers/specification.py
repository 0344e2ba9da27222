"""What a layer expects of its inputs, to be checked before it is built or called."""

from collections.abc import Mapping
from typing import Any

from fastcnn.errors import Error
from fastcnn.tensor import Shape


class InputSpec:
    """Shape of an input: all of it, its number of dimensions, or the sizes of some axes. None fits everything.

    shape: batch included, None where it varies; ndim, min_ndim, max_ndim: number of dimensions;
    axes: axis -> size, an axis from the end being negative; allow_last_axis_squeeze: a last axis of size 1 may be
    missing, or be there in addition.
    """

    def __init__(
        self,
        dtype: Any = None,
        shape: Any = None,
        ndim: int | None = None,
        max_ndim: int | None = None,
        min_ndim: int | None = None,
        axes: Mapping[int, int | None] | None = None,
        allow_last_axis_squeeze: bool = False,
        name: str | None = None,
        optional: bool = False,
    ):
        self.dtype = dtype
        self.shape: Shape | None = None if shape is None else tuple(shape)
        self.ndim = ndim if shape is None else len(shape)
        self.max_ndim = max_ndim
        self.min_ndim = min_ndim
        self.axes = {int(axis): size for axis, size in (axes or {}).items()}
        self.allow_last_axis_squeeze = allow_last_axis_squeeze
        self.name = name
        self.optional = optional

    def check(self, shape: Shape) -> None:
        """Raise `Error` when an input of this shape does not fit."""
        self._check_rank(len(shape), shape)
        sizes = {**dict(enumerate(self.shape or ())), **self.axes}
        for axis, size in sizes.items():
            if size is not None and axis < len(shape) and shape[axis] not in (None, size):
                raise Error(f"expected size {size} along axis {axis}, got shape {shape}")

    def _check_rank(self, rank: int, shape: Shape) -> None:
        fits = self.ndim is None or rank == self.ndim
        if self.shape is not None and self.allow_last_axis_squeeze:
            fits = fits or (rank == len(self.shape) - 1 and self.shape[-1] == 1)
            fits = fits or (rank == len(self.shape) + 1 and shape[-1] == 1)
        if not fits:
            raise Error(f"expected {self.ndim} dimensions, got shape {shape}")
        if self.min_ndim is not None and rank < self.min_ndim:
            raise Error(f"expected at least {self.min_ndim} dimensions, got shape {shape}")
        if self.max_ndim is not None and rank > self.max_ndim:
            raise Error(f"expected at most {self.max_ndim} dimensions, got shape {shape}")

    def get_config(self) -> dict[str, Any]:
        """The constructor arguments."""
        names = ("dtype", "shape", "ndim", "max_ndim", "min_ndim", "axes")
        return {name: getattr(self, name) for name in names}
