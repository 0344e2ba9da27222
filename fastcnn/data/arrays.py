"""What counts as data: NumPy arrays, alone or as a tuple or dict of arrays, checked where they come in."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from fastcnn.errors import Error

Arrays = np.ndarray | tuple[np.ndarray, ...] | dict[str, np.ndarray]

CHUNK_ELEMENTS = 1 << 20
FEW = 1 << 14  # elements: looking at each is as quick as adding them up


class _Parts(NamedTuple):
    """Apart from `Batch` because what is made by NamedTuple itself has no room for a cached property."""

    x: Arrays
    y: Arrays | None = None
    sample_weight: Arrays | None = None


class Batch(_Parts):
    """Inputs, targets and weights of some samples, each one array or a tuple or dict of arrays."""

    @property
    def size(self) -> int:
        """The number of samples."""
        return len(self.arrays[0])

    def named(self) -> Iterator[tuple[str, np.ndarray]]:
        """Every array with the name a user would give it: `x`, `x[1]`, `y['mask']`."""
        for name, arrays in zip(self._fields, self, strict=True):
            yield from each(arrays, name)

    @cached_property
    def arrays(self) -> list[np.ndarray]:
        """Every array, without names: those take time to make."""
        return [array for part in self for array in flat(part)]

    def check_finite(self) -> None:
        """Raise an `Error` that names the array and the first sample holding NaN or infinity."""
        if not all(map(_is_seen_finite, self.arrays)):
            for name, array in self.named():
                check_finite(array, name)

    def rows(self, index: slice | np.ndarray, out: "Batch | None" = None) -> "Batch":
        """The samples at `index`, in the first rows of the buffers `out` (cast to their type) or in new memory.

        Without `out` a slice gives views: nothing is copied.
        """
        buffers = (None, None, None) if out is None else out
        return Batch(*(_zip_map(gather_rows(index), *pair) for pair in zip(self, buffers, strict=True)))


def gather_rows(index: slice | np.ndarray) -> Callable[[np.ndarray, np.ndarray | None], np.ndarray]:
    """A function (array, out) -> array[index], written into the first rows of `out` if that is given."""

    def gather(array: np.ndarray, out: np.ndarray | None) -> np.ndarray:
        if out is None:
            return array[index]
        if isinstance(index, slice) or array.dtype != out.dtype or not array.flags.c_contiguous:
            rows = array[index]
            np.copyto(out[: len(rows)], rows, casting="unsafe")
            return out[: len(rows)]
        # take() would first copy a whole array that is not contiguous; "clip" spares it a buffer
        return np.take(array, index, axis=0, out=out[: len(index)], mode="clip")

    return gather


def _zip_map(
    function: Callable[[np.ndarray, np.ndarray | None], np.ndarray], arrays: Arrays | None, buffers: Any
) -> Any:
    """`function` over two equal structures; buffers may be None throughout."""
    if arrays is None:
        return None
    if isinstance(arrays, dict):
        return {name: function(array, buffers and buffers[name]) for name, array in arrays.items()}
    if isinstance(arrays, tuple):
        return tuple(function(array, buffers and buffers[i]) for i, array in enumerate(arrays))
    return function(arrays, buffers)


def flat(arrays: Arrays | None) -> Sequence[np.ndarray]:
    """The arrays of a structure."""
    if isinstance(arrays, np.ndarray):
        return (arrays,)
    if arrays is None:
        return ()
    return tuple(arrays.values()) if isinstance(arrays, dict) else arrays


def each(arrays: Arrays | None, name: str) -> Iterator[tuple[str, np.ndarray]]:
    """The arrays of a structure, each with its name."""
    if isinstance(arrays, dict):
        yield from ((f"{name}[{key!r}]", array) for key, array in arrays.items())
    elif isinstance(arrays, tuple):
        yield from ((f"{name}[{i}]", array) for i, array in enumerate(arrays))
    elif arrays is not None:
        yield name, arrays


def as_arrays(value: Any, name: str) -> Arrays:
    """`value` as one array, or as a tuple or dict of arrays when it is a list, tuple or dict of such."""
    if isinstance(value, np.ndarray):
        return as_array(value, name)
    if isinstance(value, dict) and value:
        return {key: as_array(item, f"{name}[{key!r}]") for key, item in value.items()}
    if isinstance(value, list | tuple) and value and all(getattr(item, "ndim", 0) > 0 for item in value):
        return tuple(as_array(item, f"{name}[{i}]") for i, item in enumerate(value))
    return as_array(value, name)


def as_array(value: Any, name: str) -> np.ndarray:
    """`value` as an array of numbers with samples along its first axis; no copy where it is one already."""
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise Error(f"{name}: samples differ in shape ({error}); pad or resize them to one shape") from error
    if array.dtype.kind not in "biuf":
        raise Error(
            f"{name}: holds {array.dtype} values of type {type(value).__name__}, expected numbers; "
            "convert it, for example with np.asarray(..., dtype='float32'); samples must have one shape"
        )
    if array.ndim == 0:
        raise Error(f"{name}: is the single number {array}, expected samples along a first axis")
    return array


def as_batch(x: Any, y: Any = None, sample_weight: Any = None) -> Batch:
    """Checked data: numbers, at least one sample, as many in each array."""
    batch = Batch(as_arrays(x, "x"), _optional(y, "y"), _optional(sample_weight, "sample_weight"))
    lengths = [len(array) for array in batch.arrays]
    if not lengths[0] or lengths.count(lengths[0]) != len(lengths):
        _raise_lengths(list(batch.named()))
    return batch


def _optional(value: Any, name: str) -> Arrays | None:
    return None if value is None else as_arrays(value, name)


def _raise_lengths(named: list[tuple[str, np.ndarray]]) -> None:
    first_name, first = named[0]
    if not len(first):
        raise Error(f"{first_name}: there is no sample in the data (shape {first.shape})")
    for name, array in named[1:]:
        if len(array) != len(first):
            raise Error(
                f"{first_name} has {len(first)} samples and {name} has {len(array)} (shapes {first.shape} "
                f"and {array.shape}); they must be equal. A list of arrays means several inputs or outputs: "
                "np.stack samples into one array"
            )


def _is_seen_finite(array: np.ndarray) -> bool:
    """Whether a look at all numbers at once shows that they are finite; False for more than a few."""
    return array.dtype.kind != "f" or (array.size <= FEW and bool(np.isfinite(array).all()))


def check_finite(array: np.ndarray, where: str) -> None:
    """Raise an Error that names the first sample holding NaN or infinity.

    Works through the array in blocks, so that the memory it needs is bounded: a block of finite numbers has a
    finite sum, and only a block that has not is looked at number by number.
    """
    if not array.size or _is_seen_finite(array):
        return
    step = max(1, CHUNK_ELEMENTS * len(array) // array.size)
    for first in range(0, len(array), step):
        block = array[first : first + step]
        with np.errstate(over="ignore", invalid="ignore"):
            suspect = not np.isfinite(block.sum())
        if suspect and not (finite := np.isfinite(block)).all():
            _raise_not_finite(block, finite, first, where)


def _raise_not_finite(block: np.ndarray, finite: np.ndarray, first: int, where: str) -> None:
    place = tuple(int(i) for i in np.argwhere(~finite)[0])
    position = f" at {place[1:]}" if len(place) > 1 else ""
    raise Error(
        f"{where}: sample {first + place[0]} holds {block[place]}{position}, expected finite numbers; "
        "drop such samples or replace the values with np.nan_to_num"
    )
