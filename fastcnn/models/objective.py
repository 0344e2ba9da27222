"""What `compile` was told: losses and metrics, matched with the outputs of the model."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastcnn import metrics, ops
from fastcnn.errors import Error, did_you_mean
from fastcnn.losses import Loss
from fastcnn.losses.base import as_loss
from fastcnn.metrics import Mean, Metric
from fastcnn.registry import deserialize
from fastcnn.tensor import Shape, Tensor


def per_output(value: Any, names: Sequence[str], what: str) -> list[Any]:
    """One entry an output of what was given as one thing, a list, or a dict by output name."""
    if isinstance(value, Mapping):
        unknown = [key for key in value if key not in names]
        if unknown:
            raise Error(
                f"{what}: the model has no output {unknown[0]!r}{did_you_mean(str(unknown[0]), names)}"
            )
        return [value.get(name) for name in names]
    if isinstance(value, list | tuple):
        if len(value) != len(names):
            raise Error(f"{what}: {len(value)} given for {len(names)} outputs ({', '.join(names)})")
        return list(value)
    return [value] * len(names)


def revived(argument: str, value: Any) -> Any:
    """An argument of `compile` from its serialized form."""
    kinds = {"optimizer": "optimizer", "loss": "loss", "metrics": "metric", "weighted_metrics": "metric"}
    return _revived(kinds[argument], value) if argument in kinds else value


def _revived(kind: str, value: Any) -> Any:
    if isinstance(value, dict) and not {"class_name", "function"} & value.keys():
        return {key: _revived(kind, item) for key, item in value.items()}
    if isinstance(value, list):
        return [_revived(kind, item) for item in value]
    return deserialize(kind, value) if isinstance(value, dict) else value


@dataclass(frozen=True)
class Mixture:
    """Targets of samples, each mixed with another one: share * own + (1 - share) * other."""

    own: Tensor
    other: Tensor
    share: Tensor  # (1,)

    def mixed(self) -> Any:
        """The mixed targets, where numbers or one-hot classes can be mixed."""
        share = ops.reshape(self.share, (1,) * len(self.own.shape))
        return share * self.own + (1.0 - share) * self.other

    def loss(self, loss: Loss, predictions: Tensor, weights: Tensor | None) -> Any:
        """The loss for the mixed targets; of class numbers both losses mixed, which is the same as of one-hot rows."""
        if not takes_class_numbers(loss):
            return loss(self.mixed(), predictions, weights)
        first, second = (loss(y, predictions, weights) for y in (self.own, self.other))
        share = ops.reshape(self.share, (1,) * len(first.shape))
        return share * first + (1.0 - share) * second


def takes_class_numbers(loss: Any) -> bool:
    """Whether its targets are class numbers."""
    return "Sparse" in type(loss).__name__ or "sparse" in str(getattr(loss, "name", ""))


class Objective:
    """The total loss of a model: the weighted sum of one loss an output."""

    def __init__(self, loss: Any, loss_weights: Any, names: Sequence[str]):
        self.names = list(names)
        given = per_output(loss, names, "compile: loss")
        self.losses: list[Loss | None] = [as_loss(item) for item in given]
        weights = per_output(loss_weights, names, "compile: loss_weights")
        self.weights = [1.0 if weight is None else float(weight) for weight in weights]
        self.parts: list[Tensor] = []  # the latest loss of each output that has one, where there are several

    def total(
        self,
        targets: Sequence[Tensor | Mixture | None],
        predictions: Sequence[Tensor],
        weights: Sequence[Tensor | None],
    ) -> Tensor | None:
        """The sum to minimise, None when no output has a loss; `parts` are then those of several outputs."""
        parts: list[Tensor] = []
        total: Tensor | None = None
        for loss, factor, y, p, w, name in zip(
            self.losses, self.weights, targets, predictions, weights, self.names, strict=True
        ):
            if loss is None:
                continue
            if y is None:
                raise Error(f"output {name!r} has a loss but there is no target y for it")
            value = y.loss(loss, p, w) if isinstance(y, Mixture) else loss(y, p, w)
            parts.append(value)
            weighted = value if factor == 1.0 else value * factor
            total = weighted if total is None else total + weighted
        self.parts = parts if len(parts) > 1 else []
        return total

    def target_shapes(self, shapes: Sequence[Shape]) -> list[Shape]:
        """What targets look like for outputs of these shapes."""
        pairs = zip(self.losses, shapes, strict=True)
        return [shape if loss is None else loss.target_shape(shape) for loss, shape in pairs]

    def check_targets(self, targets: Sequence[np.ndarray | None], shapes: Sequence[Shape]) -> None:
        """Raise `Error` when targets cannot go with outputs of these shapes (labels outside the classes, ...)."""
        for loss, y, shape, name in zip(self.losses, targets, shapes, self.names, strict=True):
            if loss is None or y is None:
                continue
            try:
                loss.check_targets(y, shape)
            except Error as error:
                raise Error(f"output {name!r}: {error}") if len(self.names) > 1 else error from None


class MetricSet:
    """The metrics of every output, made when the first targets and predictions are seen."""

    def __init__(self, given: Any, weighted: Any, names: Sequence[str]):
        self.names = list(names)
        self._given = [_as_list(m) for m in self._split(given, "compile: metrics")]
        self._weighted = [_as_list(m) for m in self._split(weighted, "compile: weighted_metrics")]
        for identifier in itertools.chain(*self._given, *self._weighted):
            metrics.check(identifier)
        self.entries: list[tuple[int, str, Metric, bool]] = []  # output, name in the logs, metric, weighted?
        self.is_built = False

    def _split(self, given: Any, what: str) -> list[Any]:
        if len(self.names) == 1 and not isinstance(given, Mapping):
            return [[metric for item in _as_list(given) for metric in _as_list(item)]]
        if given is None or given == []:
            return [None] * len(self.names)
        return per_output(given, self.names, what)

    def build(self, targets: Sequence[np.ndarray | None], predictions: Sequence[np.ndarray]) -> None:
        """Resolve names such as "accuracy", whose meaning depends on the shapes."""
        if self.is_built:
            return
        several = len(self.names) > 1
        for given, weighted in ((self._given, False), (self._weighted, True)):
            for output, identifiers in enumerate(given):
                y, p = targets[output], predictions[output]
                for identifier in identifiers:
                    shape = y.shape if y is not None else p.shape
                    metric, name = _resolve(identifier, shape, p.shape)
                    name = self._free_name(name, f"{self.names[output]}_" if several else "", weighted)
                    self.entries.append((output, name, metric, weighted))
        self.is_built = True

    def _free_name(self, name: str, prefix: str, weighted: bool) -> str:
        """Its name in the logs: where that is taken, of a weighted one `weighted_NAME`, else numbered."""
        taken = {entry[1] for entry in self.entries}
        if weighted and prefix + name in taken:
            name = f"weighted_{name}"
        choices = itertools.chain([prefix + name], (f"{prefix}{name}_{i}" for i in itertools.count(1)))
        return next(choice for choice in choices if choice not in taken)

    def update(
        self, targets: Sequence[np.ndarray | None], predictions: Sequence[np.ndarray],
        weights: Sequence[np.ndarray | None],
    ) -> None:  # fmt: skip
        """Take one batch into account."""
        self.build(targets, predictions)
        for output, _, metric, weighted in self.entries:
            if targets[output] is not None:
                metric.update_state(
                    targets[output], predictions[output], weights[output] if weighted else None
                )

    def reset(self) -> None:
        for _, _, metric, _ in self.entries:
            metric.reset_state()

    def results(self) -> dict[str, Any]:
        """Name -> value over the batches since the last reset; of several outputs sorted by name, as in Keras."""
        results: dict[str, Any] = {}
        for _, name, metric, _ in self.entries:
            value = metric.result()
            if isinstance(value, Mapping):
                results.update(value)
            else:
                results[name] = float(value) if np.ndim(value) == 0 else value
        return results if len(self.names) == 1 else dict(sorted(results.items()))


def results_of(found: Sequence[Metric]) -> dict[str, Any]:
    """Name -> value of metrics."""
    results: dict[str, Any] = {}
    for metric in found:
        value = metric.result()
        if isinstance(value, Mapping):
            results.update(value)
        else:
            results[metric.name] = float(value) if np.ndim(value) == 0 else value
    return results


def _as_list(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, list | tuple) else [value]


def _resolve(identifier: Any, y_shape: tuple, p_shape: tuple) -> tuple[Metric, str]:
    metric = metrics.resolve(identifier, y_shape, p_shape)
    return metric, identifier if isinstance(identifier, str) else metric.name


class LossTracker:
    """Running means of the total loss and of each output's loss, weighing batches by their size."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.means = [Mean(name=name) for name in self.names]

    def update(self, values: Sequence[float], size: int) -> None:
        for mean, value in zip(self.means, values, strict=True):
            mean.add(value * size, size)

    def reset(self) -> None:
        for mean in self.means:
            mean.clear()

    def results(self) -> dict[str, float]:
        return {name: mean.ratio for name, mean in zip(self.names, self.means, strict=True)}
