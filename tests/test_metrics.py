"""Metrics: hand-computed values, accumulation over batches, weights, shapes, and what bad input gets.

Where a case says so, the numbers are those of Keras's documentation for the same call.
"""

import json
import math

import numpy as np
import pytest

from fastcnn import metrics
from fastcnn.errors import Error
from fastcnn.registry import Configurable

SCORES = np.float32([[0.1, 0.6, 0.3], [0.05, 0.95, 0.0], [0.4, 0.35, 0.25], [0.2, 0.3, 0.5]])
LABELS = np.float32([2, 1, 0, 0])  # right, as the first choice: yes for rows 1 and 2
ONE_HOT = np.eye(3, dtype=np.float32)[[2, 1, 0, 0]]
TWO_ROWS = [[0.1, 0.9, 0.8], [0.05, 0.95, 0]]
TWO_MORE = [[0.05, 0.95, 0], [0.1, 0.8, 0.1]]
RTOL = 1e-6  # float32 inputs, a handful of operations


def value(metric, *batches):
    for batch in batches:
        metric.update_state(*batch)
    return metric.result()


# formulas


@pytest.mark.parametrize(
    ("function", "y_true", "y_pred", "expected"),
    [
        (metrics.accuracy, [[1], [2]], [[0], [2]], [[0], [1]]),
        (metrics.binary_accuracy, [[1], [1], [0], [0]], [[0.98], [1], [0], [0.6]], [[1], [1], [1], [0]]),
        (metrics.binary_accuracy, [[0.0, 1.0]], [[0.5, 0.5]], [[1, 0]]),
        (metrics.categorical_accuracy, ONE_HOT, SCORES, [0, 1, 1, 0]),
        (metrics.sparse_categorical_accuracy, LABELS, SCORES, [0, 1, 1, 0]),
        (metrics.sparse_categorical_accuracy, LABELS[:, None], SCORES, [0, 1, 1, 0]),
        (metrics.mean_squared_error, [[0, 1], [0, 0]], [[1, 1], [1, 3]], [0.5, 5]),
        (metrics.mean_absolute_error, [[0, 1], [0, 0]], [[1, 1], [1, -3]], [0.5, 2]),
        (metrics.mean_absolute_percentage_error, [[2, 4]], [[1, 5]], [37.5]),
        (metrics.mean_squared_logarithmic_error, [[math.e - 1, 0]], [[math.e**3 - 1, 0]], [2]),
        (metrics.huber, [[0, 0]], [[0.5, 3]], [(0.125 + 2.5) / 2]),
        (metrics.log_cosh, [[0.0, 0.0]], [[1.0, -800.0]], [(math.log(math.cosh(1)) + 800 - math.log(2)) / 2]),
        (metrics.cosine_similarity, [[0, 1], [1, 1], [1, 1]], [[1, 0], [2, 2], [-1, -1]], [0, 1, -1]),
        (metrics.cosine_similarity, [[0, 0]], [[1, 1]], [0]),
        (metrics.hinge, [[0, 1]], [[0.5, 0.25]], [(1.5 + 0.75) / 2]),
        (metrics.hinge, [[-1, 1]], [[0.5, 0.25]], [(1.5 + 0.75) / 2]),
        (metrics.squared_hinge, [[0, 1]], [[0.5, 2.0]], [1.125]),
        (metrics.categorical_hinge, [[0, 1, 0]], [[0.4, 0.5, 0.1]], [0.9]),
        (metrics.binary_crossentropy, [[1, 0]], [[0.5, 0.75]], [(math.log(2) + math.log(4)) / 2]),
        (metrics.categorical_crossentropy, [[0, 1]], [[0.75, 0.25]], [math.log(4)]),
        (metrics.sparse_categorical_crossentropy, [1, 0], [[3, 1], [1, 3]], [math.log(4), math.log(4)]),
        (metrics.kl_divergence, [[0.5, 0.5]], [[0.25, 0.75]], [0.5 * math.log(2) + 0.5 * math.log(2 / 3)]),
        (metrics.poisson, [[2.0, 0.0]], [[math.e, 1.0]], [(math.e - 2 + 1) / 2]),
        (metrics.pearson_correlation, [[0, 1, 2], [1, 1, 1]], [[5, 3, 1], [1, 2, 3]], [-1, 0]),
        # variances 2/3 and 2/3, covariance 2/3, means 1 apart
        (metrics.concordance_correlation, [[0, 1, 2]], [[1, 2, 3]], [(4 / 3) / (4 / 3 + 1)]),
    ],
)  # fmt: skip
def test_formula(function, y_true, y_pred, expected):
    got = function(y_true, y_pred)
    assert got.shape == np.shape(expected)
    assert np.allclose(got, expected, rtol=1e-6, atol=1e-6)  # probabilities are kept 1e-7 from 0 and 1


@pytest.mark.parametrize(
    ("k", "expected"), [(1, [0, 1, 1, 0]), (2, [1, 1, 1, 0]), (3, [1] * 4), (9, [1] * 4)]
)
def test_top_k(k, expected):
    assert metrics.sparse_top_k_categorical_accuracy(LABELS, SCORES, k).tolist() == expected
    assert metrics.top_k_categorical_accuracy(ONE_HOT, SCORES, k).tolist() == expected


def test_top_k_ties_count_and_impossible_labels_do_not():
    tied = np.ones((2, 3))
    assert metrics.sparse_top_k_categorical_accuracy([0, 2], tied, 1).tolist() == [1, 1]
    assert metrics.sparse_top_k_categorical_accuracy([3, -1], tied, 3).tolist() == [0, 0]
    assert metrics.sparse_top_k_categorical_accuracy([0], [[np.nan, 1.0]], 2).tolist() == [0]


def test_top_k_from_sorted_ids():
    ranked = [[1, 0, 2], [2, 1, 0]]
    assert metrics.sparse_top_k_categorical_accuracy([0, 0], ranked, 2, from_sorted_ids=True).tolist() == [
        1,
        0,
    ]


def test_crossentropies_from_logits_are_stable():
    logits = np.float32([[1000.0, -1000.0], [0.0, 0.0]])
    assert metrics.sparse_categorical_crossentropy(
        [0, 1], logits, from_logits=True
    ).tolist() == pytest.approx([0, math.log(2)])
    assert metrics.sparse_categorical_crossentropy([1], logits[:1], from_logits=True)[0] == 2000
    assert metrics.binary_crossentropy([[1, 1]], logits[:1], from_logits=True)[0] == 500
    probabilities = [[1 / (1 + math.exp(-2)), 1 / (1 + math.exp(1))]]
    assert np.allclose(
        metrics.binary_crossentropy([[1, 0]], [[2.0, -1.0]], from_logits=True),
        metrics.binary_crossentropy([[1, 0]], probabilities),
    )
    assert np.allclose(
        metrics.binary_focal_crossentropy([[1, 0]], [[2.0, -1.0]], from_logits=True),
        metrics.binary_focal_crossentropy([[1, 0]], probabilities),
    )


def test_crossentropy_of_impossible_is_finite():
    assert metrics.categorical_crossentropy([[0, 1]], np.float32([[1, 0]]))[0] == pytest.approx(
        -math.log(1e-7)
    )
    assert metrics.binary_crossentropy([[0.0]], np.float32([[1]]))[0] == pytest.approx(
        -math.log(1e-7), rel=0.02
    )
    # float32 has no number between 1 - 1.2e-7 and 1 - 6e-8, hence 2 %


def test_label_smoothing():
    # targets 0.05 and 0.95 for two classes
    p = np.array([[0.25, 0.75]])
    expected = -0.05 * math.log(0.25) - 0.95 * math.log(0.75)
    assert metrics.categorical_crossentropy([[0, 1]], p, label_smoothing=0.1)[0] == pytest.approx(expected)
    assert metrics.binary_crossentropy([[1]], [[0.75]], label_smoothing=0.1)[0] == pytest.approx(expected)


def test_focal_crossentropies():
    # gamma 2: (1 - 0.75)^2 (-log 0.75)
    focal = 0.0625 * -math.log(0.75)
    assert metrics.binary_focal_crossentropy([[1]], [[0.75]])[0] == pytest.approx(focal)
    balanced = metrics.binary_focal_crossentropy([[0]], [[0.25]], apply_class_balancing=True)
    assert balanced[0] == pytest.approx(0.75 * focal)
    assert metrics.categorical_focal_crossentropy([[0, 1]], [[0.25, 0.75]])[0] == pytest.approx(0.25 * focal)


def test_crossentropy_axis_and_ignore_class():
    scores = np.moveaxis(SCORES, -1, 0)  # classes first
    rows = metrics.sparse_categorical_crossentropy(LABELS, SCORES)
    assert np.allclose(metrics.sparse_categorical_crossentropy(LABELS, scores, axis=0), rows)
    ignored = metrics.sparse_categorical_crossentropy([2, 255, 0, 0], SCORES, ignore_class=255)
    assert np.allclose(ignored, [rows[0], 0, rows[2], rows[3]])


def test_cosine_similarity_over_several_axes():
    x = np.arange(8.0).reshape(2, 2, 2)
    assert np.allclose(metrics.cosine_similarity(x, 3 * x, axis=(1, 2)), [1, 1])


@pytest.mark.parametrize(
    "function",
    [metrics.mean_squared_error, metrics.binary_accuracy, metrics.accuracy, metrics.binary_crossentropy],
)
def test_vector_against_column_is_expanded_never_broadcast(function):
    y_true, y_pred = np.float32([0, 1, 1]), np.float32([[0.2], [0.7], [0.4]])
    assert function(y_true, y_pred).size == 3
    assert np.array_equal(function(y_true, y_pred), function(y_true[:, None], y_pred))
    with pytest.raises(Error, match=r"\(3,\) does not go with y_pred of shape \(3, 2\)"):
        function(y_true, np.ones((3, 2)))


# means


@pytest.mark.parametrize(
    ("metric", "y_true", "y_pred", "weights", "plain", "weighted"),
    [  # Keras's documentation
        (metrics.Accuracy(), [[1], [2], [3], [4]], [[0], [2], [3], [4]], [1, 1, 0, 0], 0.75, 0.5),
        (metrics.BinaryAccuracy(), [[1], [1], [0], [0]], [[0.98], [1], [0], [0.6]], [1, 0, 0, 1], 0.75, 0.5),
        (metrics.CategoricalAccuracy(), [[0, 0, 1], [0, 1, 0]], TWO_ROWS, [0.7, 0.3], 0.5, 0.3),
        (metrics.SparseCategoricalAccuracy(), [[2], [1]], [[0.1, 0.6, 0.3], [0.05, 0.95, 0]], [0.7, 0.3], 0.5, 0.3),
        (metrics.TopKCategoricalAccuracy(k=1), [[0, 0, 1], [0, 1, 0]], TWO_ROWS, [0.7, 0.3], 0.5, 0.3),
        (metrics.SparseTopKCategoricalAccuracy(k=1), [2, 1], TWO_ROWS, [0.7, 0.3], 0.5, 0.3),
        (metrics.MeanSquaredError(), [[0, 1], [0, 0]], [[1, 1], [0, 0]], [1, 0], 0.25, 0.5),
        (metrics.RootMeanSquaredError(), [[0, 1], [0, 0]], [[1, 1], [0, 0]], [1, 0], 0.5, 0.70710677),
        (metrics.MeanAbsoluteError(), [[0, 1], [0, 0]], [[1, 1], [0, 0]], [1, 0], 0.25, 0.5),
        (metrics.MeanSquaredLogarithmicError(), [[0, 1], [0, 0]], [[1, 1], [0, 0]], [1, 0], 0.12011322, 0.24022643),
        (metrics.LogCoshError(), [[0, 1], [0, 0]], [[1, 1], [0, 0]], [1, 0], 0.10844523, 0.21689045),
        (metrics.CosineSimilarity(axis=1), [[0.0, 1.0], [1.0, 1.0]], [[1.0, 0.0], [1.0, 1.0]], [0.3, 0.7], 0.5, 0.7),
        (metrics.Hinge(), [[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]], [1, 0], 1.3, 1.1),
        (metrics.SquaredHinge(), [[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]], [1, 0], 1.86, 1.46),
        (metrics.CategoricalHinge(), [[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]], [1, 0], 1.4, 1.2),
        (metrics.KLDivergence(), [[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]], [1, 0], 0.45814306, 0.9162892),
        (metrics.Poisson(), [[0, 1], [0, 0]], [[1, 1], [0, 0]], [1, 0], 0.49999997, 0.99999994),
        (metrics.BinaryCrossentropy(), [[0, 1], [0, 0]], [[0.6, 0.4], [0.4, 0.6]], [1, 0], 0.81492424, 0.9162905),
        (metrics.CategoricalCrossentropy(), [[0, 1, 0], [0, 0, 1]], TWO_MORE, [0.3, 0.7], 1.1769392, 1.6271976),
        (metrics.SparseCategoricalCrossentropy(), [1, 2], TWO_MORE, [0.3, 0.7], 1.1769392, 1.6271976),
    ],
    ids=lambda case: case.name if isinstance(case, metrics.Metric) else "",
)  # fmt: skip
def test_documented_value(metric, y_true, y_pred, weights, plain, weighted):
    assert value(metric, (y_true, y_pred)) == pytest.approx(plain, rel=2e-6)
    metric.reset_state()
    assert metric.result() == 0
    assert value(metric, (y_true, y_pred, weights)) == pytest.approx(weighted, rel=2e-6)


@pytest.mark.parametrize(
    "make",
    [
        metrics.SparseCategoricalAccuracy,
        metrics.SparseCategoricalCrossentropy,
        lambda: metrics.ConfusionMatrix(3),
    ],
)
def test_batches_of_unequal_size_weigh_by_their_samples(make):
    whole = value(make(), (LABELS, SCORES))
    parts = value(make(), (LABELS[:3], SCORES[:3]), (LABELS[3:], SCORES[3:]))
    assert np.allclose(whole, parts, rtol=RTOL)


def test_mean_and_sum_of_values():
    assert metrics.Mean()([1, 3, 5, 7]) == 4
    assert metrics.Mean()([1, 3, 5, 7], [1, 1, 0, 0]) == 2
    assert metrics.Sum()([1, 3, 5, 7], [1, 1, 0, 0]) == 4
    assert metrics.Sum()([[1, 2], [3, 4]], [1, 10]) == 3 + 70
    loss = metrics.Mean(name="loss")
    assert value(loss, (2.0,), (4.0,)) == 3
    assert float(loss.count) == 2


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        pytest.param([1, 0], 1.5, id="a weight a sample"),
        pytest.param([[1], [0]], 1.5, id="a weight a sample, as a column"),
        pytest.param([[1, 0], [0, 1]], (1 / 2 + 12 / 2) / (1 / 2 + 1 / 2), id="a weight a value"),
        pytest.param(3.0, (1.5 + 11) / 2, id="one weight"),
    ],
)
def test_weights_of_values_with_several_axes(weights, expected):
    assert metrics.Mean()([[1.0, 2.0], [10.0, 12.0]], weights) == pytest.approx(expected)


def test_weights_with_images():
    labels = np.zeros((2, 2, 2))
    scores = np.zeros((2, 2, 2, 3))
    scores[0, ..., 0], scores[1, ..., 1] = 1, 1  # first image all right, second all wrong
    accuracy = metrics.SparseCategoricalAccuracy
    assert accuracy()(labels, scores) == 0.5
    assert accuracy()(labels, scores, [3, 1]) == 0.75
    assert accuracy()(labels, scores, np.stack([np.eye(2), np.zeros((2, 2))])) == 1


def test_zero_weights_and_empty_batches():
    assert metrics.Mean()([1.0, 2.0], [0, 0]) == 0
    assert metrics.SparseCategoricalAccuracy()(np.zeros(0), np.zeros((0, 3))) == 0


def test_counts_beyond_float32():
    metric = metrics.Mean()
    metric.count.assign(2.0**24)
    metric.total.assign(2.0**24)
    metric.update_state([0.0])
    assert float(metric.count) == 2**24 + 1


def test_ignore_class_adds_nothing_and_counts_only_unweighted():
    """As in Keras, whose metric (not its loss) leaves ignored values out of the count only where weights are given."""
    rows = metrics.sparse_categorical_crossentropy([2, 0], SCORES[[0, 2]])
    metric = metrics.SparseCategoricalCrossentropy(ignore_class=-1)
    assert metric([2, -1, 0], SCORES[:3]) == pytest.approx(rows.sum() / 3)
    weighted = metrics.SparseCategoricalCrossentropy(ignore_class=-1)([2, -1, 0], SCORES[:3], [3, 9, 1])
    assert weighted == pytest.approx((3 * rows[0] + rows[1]) / 4)
    assert metrics.SparseCategoricalCrossentropy(ignore_class=-1)([-1, -1], SCORES[:2]) == 0


def test_wrapper_of_a_users_function():
    def largest_error(y_true, y_pred, scale=1.0):
        return scale * np.abs(y_true - y_pred).max(-1)

    metric = metrics.MeanMetricWrapper(largest_error, name="largest", scale=2.0)
    assert metric([[1, 2], [3, 3]], [[1, 5], [3, 4]]) == 4
    assert metric._direction is None


# thresholds


def test_counts_by_hand():
    y_true, y_pred = [0, 1, 1, 0, 1], [0.2, 0.9, 0.4, 0.7, 0.5]
    for cls, expected, low in (
        (metrics.TruePositives, 1, 3),
        (metrics.FalsePositives, 1, 1),
        (metrics.TrueNegatives, 1, 1),
        (metrics.FalseNegatives, 2, 0),
    ):
        assert cls()(y_true, y_pred) == expected  # 0.5 is not above 0.5
        assert cls(thresholds=[0.5, 0.3])(y_true, y_pred).tolist() == [expected, low]
    assert metrics.TruePositives()(y_true, y_pred, [1, 2, 3, 4, 5]) == 2
    assert metrics.FalseNegatives()(y_true, y_pred, [1, 2, 3, 4, 5]) == 8


def test_precision_and_recall_documented():
    y_true, y_pred = [0, 1, 1, 1], [1, 0, 1, 1]
    assert metrics.Precision()(y_true, y_pred) == pytest.approx(2 / 3)
    assert metrics.Recall()(y_true, y_pred) == pytest.approx(2 / 3)
    assert metrics.Precision()(y_true, y_pred, [0, 0, 1, 0]) == 1
    assert metrics.Precision(top_k=2)([0, 0, 1, 1], [1, 1, 1, 1]) == 0
    assert metrics.Precision(top_k=4)([0, 0, 1, 1], [1, 1, 1, 1]) == 0.5


def test_precision_and_recall_without_positives():
    assert metrics.Precision()([1, 1], [0, 0]) == 0
    assert metrics.Recall()([0, 0], [1, 1]) == 0


def test_precision_and_recall_of_a_class_and_top_k():
    # class 1: targets 0 1 0 0, scores .6 .95 .35 .3
    assert metrics.Precision(class_id=1)(ONE_HOT, SCORES) == 0.5
    assert metrics.Recall(class_id=1)(ONE_HOT, SCORES) == 1
    assert metrics.Recall(top_k=2)(ONE_HOT, SCORES) == 0.75
    assert metrics.Precision(top_k=2)(ONE_HOT, SCORES) == 3 / 8
    assert metrics.Precision(top_k=2, thresholds=0.5)(ONE_HOT, SCORES) == 0.5


def test_thresholds_keep_their_order():
    thresholds = [0.7, 0.1, 0.3]
    got = metrics.Recall(thresholds=thresholds)([1, 1, 0], [0.2, 0.8, 0.9])
    assert got.tolist() == [0.5, 1, 0.5]
    weighted = metrics.Recall(thresholds=thresholds)([1, 1, 0], [0.2, 0.8, 0.9], [3, 1, 1])
    assert weighted.tolist() == [0.25, 1, 0.25]


def test_scores_at_a_threshold_are_compared_in_their_own_precision():
    scores = np.float32([0.3, 0.7])  # float32(0.3) is above 0.3
    assert metrics.TruePositives(thresholds=[0.3, 0.7])([1, 1], scores).tolist() == [1, 0]


def test_nan_scores_are_never_positive():
    assert metrics.TruePositives()([1, 1], [np.nan, 0.9]) == 1
    assert metrics.FalseNegatives(thresholds=[0.0, 0.5])([1, 1], [np.nan, 0.9]).tolist() == [1, 1]


def test_sensitivity_and_specificity_documented():
    y_true, y_pred = [0, 0, 0, 1, 1], [0, 0.3, 0.8, 0.3, 0.8]
    assert metrics.SensitivityAtSpecificity(0.5)(y_true, y_pred) == 0.5
    assert metrics.SensitivityAtSpecificity(0.5)(y_true, y_pred, [1, 1, 2, 2, 1]) == pytest.approx(1 / 3)
    assert metrics.SpecificityAtSensitivity(0.5)(y_true, y_pred) == pytest.approx(2 / 3)
    assert metrics.PrecisionAtRecall(0.5)(y_true, y_pred) == 0.5
    assert metrics.RecallAtPrecision(0.8)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9]) == 0.5
    assert metrics.RecallAtPrecision(1.0)([1, 0], [0.2, 0.9]) == 0
    assert metrics.PrecisionAtRecall(0.5, num_thresholds=1)(y_true, y_pred) == 0.5


# areas


def test_auc_documented():
    y_true, y_pred = [0, 0, 1, 1], [0, 0.5, 0.3, 0.9]
    assert metrics.AUC(num_thresholds=3)(y_true, y_pred) == 0.75
    assert metrics.AUC(num_thresholds=3)(y_true, y_pred, [1, 0, 0, 1]) == 1
    assert metrics.AUC(num_thresholds=200)(y_true, y_pred) == 0.75


def exact_auc(y_true, y_pred):
    """The share of (positive, negative) pairs in the right order, ties counting half."""
    positive, negative = y_pred[y_true == 1][:, None], y_pred[y_true == 0]
    return ((positive > negative) + 0.5 * (positive == negative)).mean()


def test_auc_of_the_roc_curve_is_the_share_of_ordered_pairs():
    rng = np.random.default_rng(1)
    y_true = rng.integers(0, 2, 300)
    y_pred = (rng.integers(0, 50, 300) + 15 * y_true) / 65  # few enough values for thresholds to part them
    assert metrics.AUC(num_thresholds=1001)(y_true, y_pred) == pytest.approx(
        exact_auc(y_true, y_pred), rel=1e-12
    )
    assert metrics.AUC(num_thresholds=200)(y_true, y_pred) == pytest.approx(
        exact_auc(y_true, y_pred), rel=1e-12
    )
    logits = np.log(y_pred.clip(1e-6, 1 - 1e-6)) - np.log1p(-y_pred.clip(1e-6, 1 - 1e-6))
    assert metrics.AUC(num_thresholds=1001, from_logits=True)(y_true, logits) == pytest.approx(
        exact_auc(y_true, y_pred), rel=1e-12
    )


def test_auc_of_the_precision_recall_curve():
    # Every threshold but the ends separates perfectly, so precision is 1 from recall 0 to 1.
    assert metrics.AUC(curve="PR")([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]) == pytest.approx(1)
    # All scores alike: precision is the share of positives at every recall.
    assert metrics.AUC(curve="PR")([0, 0, 0, 1], [0.4] * 4) == pytest.approx(0.25)


def test_auc_summation_methods_bracket_the_interpolation():
    rng = np.random.default_rng(2)
    y_true, y_pred = rng.integers(0, 2, 50), rng.random(50)
    for curve in ("ROC", "PR", "PRGAIN"):
        low, middle, high = (
            metrics.AUC(20, curve, method)(y_true, y_pred)
            for method in ("minoring", "interpolation", "majoring")
        )
        assert low < middle < high


def test_auc_perfect_inverted_and_one_sided():
    assert metrics.AUC()([0, 1], [0.0, 1.0]) == 1
    assert metrics.AUC()([1, 0], [0.0, 1.0]) == 0
    assert metrics.AUC()([1, 1], [0.3, 0.7]) == 0  # no negatives: the false-positive rate is 0 throughout
    assert metrics.AUC().result() == 0


def test_auc_multi_label():
    rng = np.random.default_rng(3)
    y_true, y_pred = rng.integers(0, 2, (40, 3)), rng.random((40, 3))
    single = [metrics.AUC()(y_true[:, c], y_pred[:, c]) for c in range(3)]
    assert metrics.AUC(multi_label=True)(y_true, y_pred) == pytest.approx(np.mean(single))
    weighted = metrics.AUC(multi_label=True, num_labels=3, label_weights=[1, 0, 3])(y_true, y_pred)
    assert weighted == pytest.approx((single[0] + 3 * single[2]) / 4)
    sample_weight = rng.random(40)
    single = [metrics.AUC()(y_true[:, c], y_pred[:, c], sample_weight) for c in range(3)]
    assert metrics.AUC(multi_label=True)(y_true, y_pred, sample_weight) == pytest.approx(np.mean(single))
    flat = metrics.AUC()(y_true.ravel(), y_pred.ravel())
    assert metrics.AUC()(y_true, y_pred) == pytest.approx(flat)
    columns = metrics.AUC(label_weights=[1, 0, 0])(y_true, y_pred)
    assert columns == pytest.approx(metrics.AUC()(y_true[:, 0], y_pred[:, 0]))


def test_auc_own_thresholds():
    metric = metrics.AUC(thresholds=[0.8, 0.2])
    assert metric.thresholds == [-1e-7, 0.2, 0.8, 1 + 1e-7]
    assert metric.num_thresholds == 4
    twin = metrics.AUC.from_config(json.loads(json.dumps(metric.get_config())))
    assert twin.thresholds == metric.thresholds
    assert metrics.AUC().get_config()["thresholds"] is None


# scores of columns


def test_fbeta_documented():
    y_true = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 0]])
    y_pred = np.array([[0.2, 0.6, 0.7], [0.2, 0.6, 0.6], [0.6, 0.8, 0.0]])
    assert metrics.FBetaScore(beta=2.0, threshold=0.5)(y_true, y_pred) == pytest.approx(
        [5 / 13, 10 / 11, 5 / 6]
    )
    assert metrics.F1Score(threshold=0.5)(y_true, y_pred) == pytest.approx([0.5, 0.8, 2 / 3])


def test_f1_averages():
    y_true = np.eye(3)[[0, 0, 0, 1, 2]]
    y_pred = np.eye(3)[[0, 0, 1, 1, 1]]
    each = [0.8, 0.5, 0]  # (p, r) = (1, 2/3), (1/3, 1), (0, 0)
    assert metrics.F1Score()(y_true, y_pred) == pytest.approx(each)
    assert metrics.F1Score("macro")(y_true, y_pred) == pytest.approx(np.mean(each))
    assert metrics.F1Score("micro")(y_true, y_pred) == pytest.approx(0.6)
    assert metrics.F1Score("weighted")(y_true, y_pred) == pytest.approx((3 * 0.8 + 0.5) / 5)
    assert metrics.F1Score("micro")(y_true, y_pred, [1, 1, 1, 1, 0]) == pytest.approx(0.75)


def test_f1_takes_the_largest_score_and_none_of_a_row_of_zeros():
    assert metrics.F1Score("micro")([[1, 0], [1, 0]], [[0.3, 0.2], [0, 0]]) == pytest.approx(2 / 3)
    assert metrics.F1Score().result() == 0


def test_r2():
    y_true, y_pred = np.array([[1], [4], [3]]), np.array([[2], [4], [4]])
    assert metrics.R2Score()(y_true, y_pred) == pytest.approx(4 / 7)
    assert value(metrics.R2Score(), (y_true[:1], y_pred[:1]), (y_true[1:], y_pred[1:])) == pytest.approx(
        4 / 7
    )
    assert metrics.R2Score()(y_true, np.full((3, 1), 8 / 3)) == pytest.approx(0)
    # doubling a sample is a weight of two
    doubled = metrics.R2Score()(y_true[[0, 0, 1, 2]], y_pred[[0, 0, 1, 2]])
    assert metrics.R2Score()(y_true, y_pred, [2, 1, 1]) == pytest.approx(doubled)


def test_r2_of_several_outputs():
    y_true, y_pred = np.array([[1, 0], [4, 2], [3, 4]]), np.array([[2, 0], [4, 2], [4, 2]])
    each = [4 / 7, 0.5]  # residuals 2 and 4, totals 14/3 and 8
    assert metrics.R2Score(None)(y_true, y_pred) == pytest.approx(each)
    assert metrics.R2Score()(y_true, y_pred) == pytest.approx(np.mean(each))
    weighted = (14 / 3 * each[0] + 8 * each[1]) / (14 / 3 + 8)
    assert metrics.R2Score("variance_weighted_average")(y_true, y_pred) == pytest.approx(weighted)


def test_r2_adjusted():
    y_true, y_pred = np.array([[1], [4], [3], [2]]), np.array([[1], [4], [4], [2]])
    plain = metrics.R2Score()(y_true, y_pred)
    assert metrics.R2Score(num_regressors=2)(y_true, y_pred) == pytest.approx(1 - (1 - plain) * 3)
    with pytest.warns(UserWarning, match="3 regressors are too many for 4 samples"):
        assert metrics.R2Score(num_regressors=3)(y_true, y_pred) == plain


# matrices


def test_confusion_matrix_function():
    assert metrics.confusion_matrix([0, 1, 1], [0, 2, 1]).tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    weighted = metrics.confusion_matrix([0, 1, 1], [0, 1, 1], 2, weights=[0.5, 1, 2])
    assert weighted.tolist() == [[0.5, 0], [0, 3]]
    assert metrics.confusion_matrix([], [], 2).tolist() == [[0, 0], [0, 0]]


def test_confusion_matrix_metric():
    expected = [[1, 0, 1], [0, 1, 0], [0, 1, 0]]
    for y_true in (LABELS, LABELS[:, None], ONE_HOT):
        assert metrics.ConfusionMatrix(3)(y_true, SCORES).tolist() == expected
    assert metrics.ConfusionMatrix(3, sparse_y_pred=True)(LABELS, [1, 1, 0, 2]).tolist() == expected
    assert metrics.ConfusionMatrix(3)(LABELS, SCORES, [1, 2, 3, 4]).tolist() == [
        [3, 0, 4],
        [0, 2, 0],
        [0, 1, 0],
    ]
    binary = metrics.ConfusionMatrix(2)([0, 1, 1], [[0.4], [0.6], [0.5]])
    assert binary.tolist() == [[1, 0], [1, 1]]


def test_confusion_matrix_of_images():
    labels = np.array([[[0, 1], [1, 0]]])
    scores = np.zeros((1, 2, 2, 3))
    scores[..., 1] = 1
    assert metrics.ConfusionMatrix(3)(labels, scores).tolist() == [[0, 2, 0], [0, 2, 0], [0, 0, 0]]


def test_confusion_matrix_normalized():
    rows = metrics.ConfusionMatrix(3, normalize="true")(LABELS, SCORES)
    assert rows.tolist() == [[0.5, 0, 0.5], [0, 1, 0], [0, 1, 0]]
    columns = metrics.ConfusionMatrix(3, normalize="pred")(LABELS, SCORES)
    assert columns.tolist() == [[1, 0, 1], [0, 0.5, 0], [0, 0.5, 0]]
    assert metrics.ConfusionMatrix(3, normalize="all")(LABELS, SCORES).sum() == 1
    assert metrics.ConfusionMatrix(3, normalize="true").result().tolist() == [[0] * 3] * 3


def test_iou_documented():
    y_true, y_pred = [0, 0, 1, 1], [0, 1, 0, 1]
    assert metrics.MeanIoU(2)(y_true, y_pred) == pytest.approx(1 / 3)
    assert metrics.MeanIoU(2)(y_true, y_pred, [0.3, 0.3, 0.3, 0.1]) == pytest.approx((1 / 3 + 1 / 7) / 2)
    assert metrics.IoU(2, [0])(y_true, y_pred, [0.3, 0.3, 0.3, 0.1]) == pytest.approx(1 / 3)
    assert metrics.BinaryIoU(threshold=0.3)([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7]) == pytest.approx(1 / 3)
    assert metrics.BinaryIoU([0], 0.5)([0, 1], [0.5, 0.6]) == 0  # a score at the threshold is foreground


def test_iou_of_absent_and_ignored_classes():
    assert metrics.MeanIoU(5)([0, 0, 1], [0, 0, 1]) == 1  # classes 2 to 4 do not occur
    assert metrics.MeanIoU(2, ignore_class=255)([0, 255, 1], [0, 1, 1]) == 1
    assert metrics.MeanIoU(3, ignore_class=2)([0, 2, 1], [0, 1, 1]) == 1
    assert metrics.MeanIoU(2).result() == 0


def test_one_hot_iou():
    y_true = np.eye(3)[[0, 0, 1, 2]]
    y_pred = np.eye(3)[[0, 1, 1, 2]] * 0.8
    assert metrics.OneHotMeanIoU(3)(y_true, y_pred) == pytest.approx((0.5 + 0.5 + 1) / 3)
    assert metrics.OneHotIoU(3, [0, 2])(y_true, y_pred) == pytest.approx(0.75)
    assert metrics.OneHotIoU(3, [0, 2], sparse_y_pred=True)(y_true, [0, 1, 1, 2]) == pytest.approx(0.75)
    images = metrics.MeanIoU(3, sparse_y_true=False, sparse_y_pred=False)
    assert images(y_true.reshape(1, 2, 2, 3), y_pred.reshape(1, 2, 2, 3)) == pytest.approx(2 / 3)


# a user's own


class Positives(metrics.Metric):
    """As in Keras's documentation: made of add_variable, assign and NumPy."""

    def __init__(self, name="positives", **kwargs):
        super().__init__(name=name, **kwargs)
        self.found = self.add_variable(shape=(), initializer="zeros", name="found")
        self.seen = self.add_weight(name="seen", shape=(2,), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        hits = np.logical_and(y_true, y_pred).astype(self.dtype)
        self.found.assign(self.found + np.sum(hits))
        self.seen.assign_add([1, hits.size])

    def result(self):
        return self.found / self.seen[1]


def test_users_metric():
    metric = Positives()
    assert value(metric, ([1, 0], [1, 1]), ([1, 1], [1, 1])) == 0.75
    assert [variable.name for variable in metric.variables] == ["found", "seen"]
    assert metric.seen.numpy().tolist() == [2, 4]
    metric.reset_state()
    assert metric.found == 0 and metric.seen.numpy().tolist() == [0, 0]
    twin = metrics.deserialize(json.loads(json.dumps(metrics.serialize(Positives(name="p")))))
    assert type(twin) is Positives and twin.name == "p"


def test_metric_made_of_metrics():
    class Both(metrics.Metric):
        def __init__(self):
            super().__init__(name="both")
            self.first, self.second = metrics.Mean(), metrics.Sum()

        def update_state(self, values):
            self.first.update_state(values)
            self.second.update_state(values)

        def result(self):
            return {"mean": self.first.result(), "sum": self.second.result()}

    both = Both()
    assert both([1, 3]) == {"mean": 2, "sum": 4}
    assert len(both.variables) == 3
    both.reset_state()
    assert both.result() == {"mean": 0, "sum": 0}


def test_state_is_an_array_to_numpy():
    state = Positives().add_weight(shape=(3,), initializer="ones", name="s")
    assert (state + 1).tolist() == [2, 2, 2] and (2 * state - state / 2).tolist() == [1.5] * 3
    assert np.sum(state) == 3 and np.sqrt(state).tolist() == [1, 1, 1] and len(state) == 3
    assert np.maximum.reduce(state) == 1 and (state > 0).all()
    state += 1
    assert isinstance(state, metrics.base.State) and state.numpy().tolist() == [2, 2, 2]
    state.assign_sub([0, 1, 2])
    assert state[1] == 1 and state.shape == (3,) and state.dtype == "float32" and state.ndim == 1
    assert np.asarray(state, "float64").dtype == np.float64
    number = Positives().found
    number.assign(2.5)
    assert float(number) == 2.5 and int(number) == 2 and bool(number) and f"{number:.2f}" == "2.50"
    assert "found" in repr(number)


def test_result_is_not_the_state():
    metric = metrics.TruePositives(thresholds=[0.2, 0.6])
    before = metric([1], [0.5])
    metric.update_state([1], [0.9])
    assert before.tolist() == [1, 0]
    matrix = metrics.ConfusionMatrix(2, sparse_y_pred=True)
    before = matrix([1], [1])
    matrix.update_state([0], [0])
    assert before.tolist() == [[0, 0], [0, 1]]


# names


@pytest.mark.parametrize(
    ("y_true", "y_pred", "form"),
    [
        pytest.param((8, 1), (8, 1), "Binary", id="one column"),
        pytest.param((8,), (8, 1), "Binary", id="vector and one column"),
        pytest.param((8,), (8, 10), "SparseCategorical", id="vector and scores"),
        pytest.param((8, 1), (8, 10), "SparseCategorical", id="column and scores"),
        pytest.param((8, 10), (8, 10), "Categorical", id="one-hot"),
        pytest.param((None, 4, 4), (None, 4, 4, 3), "SparseCategorical", id="images of labels"),
        pytest.param(
            (None, 4, 4, 1), (None, 4, 4, 3), "SparseCategorical", id="images of labels, with channel"
        ),
        pytest.param((None, 4, 4, 1), (None, 4, 4, 1), "Binary", id="masks"),
    ],
)
def test_resolve_accuracy_and_crossentropy(y_true, y_pred, form):
    for identifier in ("accuracy", "acc", "Accuracy"):
        metric = metrics.resolve(identifier, y_true, y_pred)
        assert type(metric).__name__ == form + "Accuracy"
        assert metric.name == identifier
    for identifier in ("crossentropy", "ce"):
        metric = metrics.resolve(identifier, y_true, y_pred)
        assert type(metric).__name__ == form + "Crossentropy"
        assert metric.name == identifier


def test_resolve_names():
    assert metrics.resolve("mse", (8, 1), (8, 1)).name == "mse"
    assert metrics.resolve("MeanSquaredError", (8, 1), (8, 1)).name == "MeanSquaredError"
    assert metrics.resolve(metrics.MeanSquaredError, (8, 1), (8, 1)).name == "mean_squared_error"
    auc = metrics.AUC(name="area")
    assert metrics.resolve(auc, (8, 1), (8, 1)) is auc
    assert metrics.resolve({"class_name": "AUC", "config": {"name": "a"}}, (8, 1), (8, 1)).name == "a"


def test_resolve_functions():
    def worst(y_true, y_pred):
        return np.abs(y_true - y_pred).max(-1)

    metric = metrics.resolve(worst, (8, 2), (8, 2))
    assert type(metric) is metrics.MeanMetricWrapper and metric.name == "worst"
    assert metric([[0, 1], [2, 2]], [[1, 1], [2, 5]]) == 2
    builtin = metrics.resolve(metrics.mean_squared_error, (8, 2), (8, 2))
    assert builtin.name == "mean_squared_error" and builtin._direction == "down"
    twin = metrics.deserialize(json.loads(json.dumps(metrics.serialize(builtin))))
    assert twin._fn is metrics.mean_squared_error and twin.name == builtin.name


def test_resolve_a_loss_object():
    class TestLoss(Configurable):
        kind = "loss"

        def __init__(self, name="test_loss"):
            super().__init__()
            self.name = name

        def __call__(self, y_true, y_pred):
            return np.float32(7)

    metric = metrics.resolve(TestLoss(), (8, 1), (8, 1))
    assert metric.name == "test_loss" and metric._direction == "down"
    assert metric([1], [1]) == 7


def test_wrapper_keeps_its_arguments():
    metric = metrics.MeanMetricWrapper(metrics.binary_accuracy, threshold=0.9)
    twin = metrics.deserialize(json.loads(json.dumps(metrics.serialize(metric))))
    assert twin([[1.0]], [[0.8]]) == 0 and twin.name == metric.name


@pytest.mark.parametrize(
    ("metric", "direction"),
    [
        (metrics.Accuracy(), "up"),
        (metrics.SparseCategoricalAccuracy(), "up"),
        (metrics.MeanSquaredError(), "down"),
        (metrics.RootMeanSquaredError(), "down"),
        (metrics.KLDivergence(), "down"),
        (metrics.Poisson(), "down"),
        (metrics.CosineSimilarity(), "up"),
        (metrics.AUC(), "up"),
        (metrics.Precision(), "up"),
        (metrics.F1Score(), "up"),
        (metrics.R2Score(), "up"),
        (metrics.MeanIoU(2), "up"),
        (metrics.SpecificityAtSensitivity(0.5), "up"),
        (metrics.TruePositives(), "up"),
        (metrics.FalsePositives(), "down"),
        (metrics.Mean(), None),
        (metrics.ConfusionMatrix(2), None),
    ],
    ids=lambda case: getattr(case, "name", case),
)
def test_direction(metric, direction):
    assert metric._direction == direction


def test_default_names():
    assert metrics.SparseCategoricalAccuracy().name == "sparse_categorical_accuracy"
    assert metrics.LogCoshError().name == "logcosh"
    assert metrics.F1Score().name == "f1_score"
    assert metrics.AUC().name.startswith("auc")
    assert repr(metrics.Mean()) == "<Mean name=mean>"


@pytest.mark.parametrize("name", [name for name in metrics.__all__ if name[0].isupper()])
def test_everything_exported_exists(name):
    assert issubclass(getattr(metrics, name), metrics.Metric)


# bad input


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.get("akkuracy"), "unknown metric 'akkuracy'; did you mean 'Accuracy'"),
        (lambda: metrics.resolve(None, (8,), (8,)), "got None"),
        (lambda: metrics.resolve(3, (8,), (8,)), "got 3 of type int"),
        (lambda: metrics.TopKCategoricalAccuracy(k=0), "k must be at least 1, got 0"),
        (lambda: metrics.Precision(top_k=0), "Precision: top_k must be at least 1"),
        (lambda: metrics.Precision(thresholds=1.5), "Precision: thresholds must be numbers from 0 to 1, got 1.5"),
        (lambda: metrics.Recall(thresholds=[0.5, None]), "Recall: thresholds must be numbers"),
        (lambda: metrics.AUC(num_thresholds=1), "num_thresholds must be at least 2"),
        (lambda: metrics.AUC(curve="POC"), "AUC: curve 'POC' is unknown; did you mean 'ROC'"),
        (lambda: metrics.AUC(summation_method="left"), "summation_method 'left' is unknown"),
        (lambda: metrics.AUC(num_labels=3), "num_labels needs multi_label=True"),
        (lambda: metrics.AUC(multi_label=True)([1, 0], [0.5, 0.2]), r"needs y_pred of shape \(n, labels\), got \(2,\)"),
        (lambda: metrics.SensitivityAtSpecificity(1.5), "SensitivityAtSpecificity: expected a number from 0 to 1"),
        (lambda: metrics.F1Score(average="mean"), "F1Score: average 'mean' is unknown"),
        (lambda: metrics.FBetaScore(beta=0.0), "beta must be positive, got 0.0"),
        (lambda: metrics.F1Score(threshold=0.0), "threshold must be above 0"),
        (lambda: metrics.F1Score()([1, 0], [1, 0]), r"expected y_true and y_pred of shape \(n, classes\), got \(2,\)"),
        (lambda: metrics.R2Score("mean"), "class_aggregation 'mean' is unknown"),
        (lambda: metrics.R2Score(num_regressors=-1), "must not be negative"),
        (lambda: metrics.IoU(2, [2]), r"target_class_ids must be 0 to 1, got \[2\]"),
        (lambda: metrics.ConfusionMatrix(0), "num_classes must be at least 1"),
        (lambda: metrics.ConfusionMatrix(3, normalize="rows"), "normalize 'rows' is unknown"),
        (lambda: metrics.ConfusionMatrix(3)([0, 1], [0, 1]), r"expected scores of shape \(..., 3\), got \(2,\)"),
        (lambda: metrics.ConfusionMatrix(2, sparse_y_pred=True)([0, 2], [0, 1]), "must be 0 to 1; y_true has 0 to 2"),
        (lambda: metrics.Precision(class_id=3)(ONE_HOT, SCORES), r"there is no class 3 in values of shape \(4, 3\)"),
        (lambda: metrics.Precision()(LABELS, SCORES), r"shape \(4,\) does not go with y_pred of shape \(4, 3\)"),
        (lambda: metrics.MeanSquaredError()([[1, 2]], [[1, 2, 3]]), "metric 'mean_squared_error': y_true of shape"),
        (lambda: metrics.SparseCategoricalAccuracy()(ONE_HOT, SCORES), "Are the labels one-hot"),
        (lambda: metrics.SparseCategoricalCrossentropy()([0, 3, 1, 1], SCORES), "from 0 to 3 do not fit 3 scores"),
        (lambda: metrics.Mean()([1.0, 2.0], [1.0, 2.0, 3.0]), r"sample_weight of shape \(3,\) does not go with"),
        (lambda: metrics.AUC()([1, 0], [0.1, 0.2], [1, 2, 3]), r"sample_weight of shape \(3,\) does not go with"),
        (lambda: metrics.Mean().total.assign([1, 2]), r"total: cannot assign values of shape \(2,\)"),
        (lambda: metrics.Metric(name="m").update_state(1, 2), "must define update_state"),
        (lambda: metrics.Metric(name="m").result(), "must define result"),
    ],
)  # fmt: skip
def test_bad_input(make, message):
    with pytest.raises(Error, match=message):
        make()


def test_forgotten_super_init():
    class Forgetful(metrics.Metric):
        def __init__(self):
            self.total = self.add_weight(name="total")

    with pytest.raises(Error, match=r"Forgetful: call super\(\).__init__\(\) before"):
        Forgetful()
