"""How good predictions are, accumulated batch by batch in NumPy.

A metric is updated with (y_true, y_pred, sample_weight) and says its `result()` over everything since
`reset_state()`. Names, arguments and conventions are those of Keras 3. Sums are kept in float64 whatever the
`dtype`, since a float32 counter stops at 2^24 samples; results are float64 too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fastcnn import registry
from fastcnn.errors import Error
from fastcnn.losses.targets import target_form
from fastcnn.metrics.auc import (
    AUC,
)
from fastcnn.metrics.base import (
    Mean,
    Metric,
    Sum,
)
from fastcnn.metrics.counts import (
    FalseNegatives,
    FalsePositives,
    Precision,
    PrecisionAtRecall,
    Recall,
    RecallAtPrecision,
    SensitivityAtSpecificity,
    SpecificityAtSensitivity,
    TrueNegatives,
    TruePositives,
)
from fastcnn.metrics.formulas import (
    accuracy,
    binary_accuracy,
    binary_crossentropy,
    binary_focal_crossentropy,
    categorical_accuracy,
    categorical_crossentropy,
    categorical_focal_crossentropy,
    categorical_hinge,
    concordance_correlation,
    cosine_similarity,
    hinge,
    huber,
    kl_divergence,
    log_cosh,
    mean_absolute_error,
    mean_absolute_percentage_error,
    mean_squared_error,
    mean_squared_logarithmic_error,
    pearson_correlation,
    poisson,
    sparse_categorical_accuracy,
    sparse_categorical_crossentropy,
    sparse_top_k_categorical_accuracy,
    squared_hinge,
    top_k_categorical_accuracy,
)
from fastcnn.metrics.matrices import (
    BinaryIoU,
    ConfusionMatrix,
    IoU,
    MeanIoU,
    OneHotIoU,
    OneHotMeanIoU,
    confusion_matrix,
)
from fastcnn.metrics.means import (
    Accuracy,
    BinaryAccuracy,
    BinaryCrossentropy,
    CategoricalAccuracy,
    CategoricalCrossentropy,
    CategoricalHinge,
    ConcordanceCorrelation,
    CosineSimilarity,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanMetricWrapper,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    PearsonCorrelation,
    Poisson,
    RootMeanSquaredError,
    SparseCategoricalAccuracy,
    SparseCategoricalCrossentropy,
    SparseTopKCategoricalAccuracy,
    SquaredHinge,
    TopKCategoricalAccuracy,
)
from fastcnn.metrics.scores import (
    F1Score,
    FBetaScore,
    R2Score,
)

__all__ = [
    "AUC",
    "Accuracy",
    "BinaryAccuracy",
    "BinaryCrossentropy",
    "BinaryIoU",
    "CategoricalAccuracy",
    "CategoricalCrossentropy",
    "CategoricalHinge",
    "ConcordanceCorrelation",
    "ConfusionMatrix",
    "CosineSimilarity",
    "F1Score",
    "FBetaScore",
    "FalseNegatives",
    "FalsePositives",
    "Hinge",
    "IoU",
    "KLDivergence",
    "LogCoshError",
    "Mean",
    "MeanAbsoluteError",
    "MeanAbsolutePercentageError",
    "MeanIoU",
    "MeanMetricWrapper",
    "MeanSquaredError",
    "MeanSquaredLogarithmicError",
    "Metric",
    "OneHotIoU",
    "OneHotMeanIoU",
    "PearsonCorrelation",
    "Poisson",
    "Precision",
    "PrecisionAtRecall",
    "R2Score",
    "Recall",
    "RecallAtPrecision",
    "RootMeanSquaredError",
    "SensitivityAtSpecificity",
    "SparseCategoricalAccuracy",
    "SparseCategoricalCrossentropy",
    "SparseTopKCategoricalAccuracy",
    "SpecificityAtSensitivity",
    "SquaredHinge",
    "Sum",
    "TopKCategoricalAccuracy",
    "TrueNegatives",
    "TruePositives",
    "accuracy",
    "binary_accuracy",
    "binary_crossentropy",
    "binary_focal_crossentropy",
    "categorical_accuracy",
    "categorical_crossentropy",
    "categorical_focal_crossentropy",
    "categorical_hinge",
    "concordance_correlation",
    "confusion_matrix",
    "cosine_similarity",
    "deserialize",
    "get",
    "hinge",
    "huber",
    "kl_divergence",
    "log_cosh",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_error",
    "mean_squared_logarithmic_error",
    "pearson_correlation",
    "poisson",
    "resolve",
    "serialize",
    "sparse_categorical_accuracy",
    "sparse_categorical_crossentropy",
    "sparse_top_k_categorical_accuracy",
    "squared_hinge",
    "top_k_categorical_accuracy",
]

serialize = registry.serialize


def deserialize(config: Any, custom_objects: Mapping[str, Any] | None = None) -> Any:
    """The metric that `serialize` described."""
    return registry.deserialize("metric", config, custom_objects)


def get(identifier: Any) -> Any:
    """A metric from its name, class or configuration; a function is returned as it is."""
    return registry.deserialize("metric", identifier)


_BY_SHAPE: dict[str, tuple[type[Metric], type[Metric], type[Metric]]] = {
    "accuracy": (BinaryAccuracy, SparseCategoricalAccuracy, CategoricalAccuracy),
    "crossentropy": (BinaryCrossentropy, SparseCategoricalCrossentropy, CategoricalCrossentropy),
}
_SHORT = {"acc": "accuracy", "ce": "crossentropy"}


def check(identifier: Any) -> None:
    """Raise `Error` when an entry of `compile(metrics=[...])` stands for no metric, whatever the shapes."""
    if not (isinstance(identifier, str) and _family(identifier) in _BY_SHAPE):
        get(identifier)


def _family(identifier: Any) -> str:
    name = identifier.lower() if isinstance(identifier, str) else ""
    return _SHORT.get(name, name)


def resolve(
    identifier: Any, y_true_shape: Sequence[int | None], y_pred_shape: Sequence[int | None]
) -> Metric:
    """The metric that an entry of `compile(metrics=[...])` stands for, given the shapes it will see.

    "accuracy" ("acc") and "crossentropy" ("ce") are the binary one when y_pred has one column, the sparse one
    when y_true has one column or a rank less, else the categorical one. A metric asked for by a string has it as
    its name, so that is what the history says; a function is averaged, under its own name.
    """
    family = _family(identifier)
    if family in _BY_SHAPE:
        return _BY_SHAPE[family][target_form(y_true_shape, y_pred_shape)](name=identifier)
    metric = get(identifier)
    if metric is None:
        raise Error("metrics: expected a metric, its name or a function, got None")
    if not isinstance(metric, Metric):
        metric = MeanMetricWrapper(metric, _name_of(metric))
    if isinstance(identifier, str):
        metric.name = identifier
    return metric


def _name_of(function: Any) -> str:
    name = getattr(function, "name", None) or getattr(function, "__name__", None)
    return registry.snake_case(str(name or type(function).__name__))
