"""Checks of targets against predictions, made once on the whole data set before anything is trained."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fastcnn.errors import Error
from fastcnn.tensor import Shape

FEW = 64  # labels; Python looks at so many before NumPy has begun
SEEN = 64  # pairs of shapes that have been found good: steps check theirs again and again
CHUNK = 1 << 18  # values looked at in one go: the working memory of a check


def target_form(targets: Sequence[int | None], predictions: Sequence[int | None]) -> int:
    """What targets of a shape are to predictions of another: 0 bits, 1 labels, 2 one-hot rows."""
    if predictions[-1] == 1:
        return 0
    return 1 if len(targets) < len(predictions) or targets[-1] == 1 else 2


def check_samples(targets: Shape, predictions: Shape) -> None:
    """There must be as many targets as predictions."""
    if targets and predictions and not _is_compatible((0, *targets[:1]), (0, *predictions[:1])):
        raise Error(
            f"{_shapes(targets, predictions)}: there are {targets[0]} samples and {predictions[0]} predictions"
        )


@lru_cache(SEEN)
def check_elementwise(targets: Shape, predictions: Shape) -> None:
    """Targets and predictions must have one shape, where a last axis of length 1 may be left out."""
    if _is_compatible(_squeezed(targets, len(predictions)), _squeezed(predictions, len(targets))):
        return
    raise Error(
        f"{_shapes(targets, predictions)}; give one target for each predicted number, {_wanted(predictions)}"
    )


def check_spread(targets: Shape, predictions: Shape) -> None:
    """As `check_elementwise`, but one target may stand for several predicted numbers along an axis."""
    spread = [m if n == 1 else n for n, m in zip(targets[1:], predictions[1:], strict=False)]
    is_whole = len(targets) == len(predictions)
    check_elementwise((*targets[:1], *spread) if is_whole else targets, predictions)


@lru_cache(SEEN)
def check_one_hot(targets: Shape, predictions: Shape, axis: int = -1) -> None:
    """As `check_elementwise`, telling those who give labels what to do."""
    if predictions[axis] == 1:
        raise Error(
            f"predictions of shape {_show(predictions)} have one class, for which the loss is always 0; use the loss "
            "'binary_crossentropy' with a sigmoid, or one unit for each class"
        )
    if _is_compatible(_squeezed(targets, len(predictions)), _squeezed(predictions, len(targets))):
        return
    advice = f"give one-hot rows, {_wanted(predictions)}"
    if _is_compatible(labels_shape(targets, predictions, axis), _without(predictions, axis)):
        advice = (
            "these are class labels: use the loss 'sparse_categorical_crossentropy', "
            f"or y = fastcnn.utils.to_categorical(y, {predictions[axis]})"
        )
    raise Error(f"{_shapes(targets, predictions)}; {advice}")


@lru_cache(SEEN)
def check_labels(targets: Shape, predictions: Shape, axis: int = -1) -> None:
    """There must be one label for each set of class scores along `axis`."""
    wanted = _without(predictions, axis)
    if _is_compatible(labels_shape(targets, predictions, axis), wanted):
        return
    advice = f"give one class number for each prediction, {_wanted(wanted)}"
    if len(targets) == len(predictions) and _is_compatible(_without(targets, axis), wanted):
        advice = "these look one-hot: use the loss 'categorical_crossentropy', or y = y.argmax(-1)"
    raise Error(f"{_shapes(targets, predictions)}; {advice}")


def labels_shape(targets: Shape, predictions: Shape, axis: int) -> Shape:
    """The shape of labels without an axis of length 1 in the place of the classes."""
    one_axis = len(targets) == len(predictions) and targets[axis] == 1 and predictions[axis] != 1
    return _without(targets, axis) if one_axis else targets


def check_classes(y: np.ndarray, classes: int, ignored: int | None) -> None:
    """Labels must be whole numbers from 0 to classes - 1, or the one that is ignored."""
    if y.dtype.kind in "iu" and y.size <= FEW:
        labels = y.ravel().tolist()
        if not labels or (min(labels) >= 0 and max(labels) < classes):
            return

    def wrong(values: np.ndarray) -> np.ndarray:
        bad = (values < 0) | (values >= classes)
        if values.dtype.kind == "f":
            bad |= values != np.floor(values)
        return bad if ignored is None else bad & (values != ignored)

    def complain(value: Any, sample: int) -> str:
        if value != np.floor(value):
            return f"label {value} of sample {sample} is not a whole number; labels are class numbers 0, 1, 2, ..."
        hint = "; does the count start at 1? Then use y - 1" if value == classes else ""
        return (
            f"label {value} of sample {sample} is outside 0..{classes - 1}, the model's {classes} classes"
            f"{hint or '; the last layer needs one unit for each class'}"
        )

    _search(y, wrong, complain)


def check_probabilities(y: np.ndarray) -> None:
    """Targets must lie in [0, 1]."""
    _search(
        y,
        lambda values: ~((values >= 0) & (values <= 1)),
        lambda value, sample: (
            f"target {value} of sample {sample} is outside [0, 1]; "
            "binary targets are 0, 1, or a probability between them"
        ),
    )


def _search(
    y: np.ndarray, wrong: Callable[[np.ndarray], np.ndarray], complain: Callable[[Any, int], str]
) -> None:
    """Raise `Error` for the first value that is wrong."""
    for start, rows in _chunks(y):
        bad = wrong(rows)
        if bad.any():
            index = np.unravel_index(int(np.argmax(bad)), bad.shape)
            raise Error(complain(rows[index].item(), start + int(index[0])))


def _chunks(y: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    step = max(1, CHUNK // max(1, math.prod(y.shape[1:])))
    for start in range(0, len(y), step):
        yield start, np.asarray(y[start : start + step])


# --- shapes ----------------------------------------------------------------------------------------------------


def _squeezed(shape: Shape, other_ndim: int) -> Shape:
    return shape[:-1] if len(shape) == other_ndim + 1 and shape[-1] == 1 else shape


def _without(shape: Shape, axis: int) -> Shape:
    axis %= max(len(shape), 1)
    return (*shape[:axis], *shape[axis + 1 :])


def _is_compatible(a: Sequence[int | None], b: Sequence[int | None]) -> bool:
    """Whether two shapes agree in all axes but the first, as far as they are known."""
    return len(a) == len(b) and (
        a[1:] == b[1:] or all(m == n or m is None or n is None for m, n in zip(a[1:], b[1:], strict=True))
    )


def _shapes(targets: Shape, predictions: Shape) -> str:
    return f"targets of shape {_show(targets)} do not go with predictions of shape {_show(predictions)}"


def _wanted(shape: Shape) -> str:
    return f"shape {_show(('n', *shape[1:]))}"


def _show(shape: Sequence[Any]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
