"""Values of every loss against the reference and Keras, gradients, reductions, and what wrong targets are told."""

import inspect

import numpy as np
import pytest
import reference

from fastcnn import Error, losses, metrics, ops
from fastcnn.differentiate import value_and_gradient
from fastcnn.losses.base import as_loss
from fastcnn.plan import Function
from fastcnn.registry import deserialize, serialize
from fastcnn.tensor import Tensor


def rng_of(seed=0):
    return np.random.default_rng(seed)


def probabilities(shape, seed=0, axis=-1):
    p = rng_of(seed).uniform(0.05, 1.0, shape)
    return p / p.sum(axis, keepdims=True)


def one_hot(shape, seed=1):
    return np.eye(shape[-1])[rng_of(seed).integers(0, shape[-1], shape[:-1])]


def labels(shape, classes, seed=2):
    return rng_of(seed).integers(0, classes, shape).astype(float)


REAL = (rng_of(3).normal(size=(4, 3, 5)), rng_of(4).normal(size=(4, 3, 5)))
POSITIVE = (np.abs(REAL[0]), np.abs(REAL[1]) + 0.1)
BINARY = (labels((4, 3, 5), 2), rng_of(5).uniform(0.02, 0.98, (4, 3, 5)))
LOGITS = (BINARY[0], REAL[1] * 3)
CLASSES = (one_hot((4, 3, 5)), probabilities((4, 3, 5)))
CLASS_LOGITS = (CLASSES[0], REAL[1] * 3)
SPARSE = (labels((4, 3), 5), CLASSES[1])
SPARSE_LOGITS = (SPARSE[0], CLASS_LOGITS[1])
WITH_255 = (np.where(rng_of(6).random((4, 3)) < 0.4, 255.0, SPARSE[0]), SPARSE[1])

# id: function of fastcnn and of the reference, its arguments, y_true and y_pred
CASES = {
    "mean_squared_error": ({}, REAL),
    "mean_absolute_error": ({}, REAL),
    "mean_absolute_percentage_error": ({}, REAL),
    "mean_squared_logarithmic_error": ({}, POSITIVE),
    "huber": ({"delta": 0.7}, REAL),
    "log_cosh": ({}, REAL),
    "cosine_similarity": ({}, REAL),
    "cosine_similarity along 1": ({"axis": 1}, REAL),
    "poisson": ({}, POSITIVE),
    "kl_divergence": ({}, (probabilities((4, 3, 5), 7), CLASSES[1])),
    "hinge": ({}, (BINARY[0], REAL[1])),
    "hinge of signs": ({}, (2 * BINARY[0] - 1, REAL[1])),
    "squared_hinge": ({}, (BINARY[0], REAL[1])),
    "categorical_hinge": ({}, (CLASSES[0], REAL[1])),
    "binary_crossentropy": ({}, BINARY),
    "binary_crossentropy smoothed": ({"label_smoothing": 0.2}, BINARY),
    "binary_crossentropy of logits": ({"from_logits": True, "label_smoothing": 0.1}, LOGITS),
    "binary_crossentropy along 1": ({"axis": 1}, BINARY),
    "binary_focal_crossentropy": ({}, BINARY),
    "binary_focal_crossentropy balanced": ({"apply_class_balancing": True, "gamma": 1.5, "alpha": 0.3}, BINARY),
    "binary_focal_crossentropy of logits": ({"from_logits": True, "label_smoothing": 0.1}, LOGITS),
    "categorical_crossentropy": ({}, CLASSES),
    "categorical_crossentropy smoothed": ({"label_smoothing": 0.2}, CLASSES),
    "categorical_crossentropy of logits": ({"from_logits": True}, CLASS_LOGITS),
    "categorical_crossentropy along 1": ({"axis": 1}, (CLASSES[0].swapaxes(1, 2), CLASSES[1].swapaxes(1, 2))),
    "categorical_crossentropy of sums that are not 1": ({}, (CLASSES[0], CLASSES[1] * 3)),
    "categorical_focal_crossentropy": ({}, CLASSES),
    "categorical_focal_crossentropy of logits": (
        {"from_logits": True, "alpha": 0.4, "gamma": 1.2, "label_smoothing": 0.1}, CLASS_LOGITS,
    ),
    "sparse_categorical_crossentropy": ({}, SPARSE),
    "sparse_categorical_crossentropy of logits": ({"from_logits": True}, SPARSE_LOGITS),
    "sparse_categorical_crossentropy with an axis of one": ({}, (SPARSE[0][..., None], SPARSE[1])),
    "sparse_categorical_crossentropy along 1": ({"axis": 1}, (SPARSE[0], SPARSE[1].swapaxes(1, 2))),
    "sparse_categorical_crossentropy ignoring 255": ({"ignore_class": 255}, WITH_255),
    "sparse_categorical_crossentropy ignoring a class": ({"ignore_class": 1, "label_smoothing": 0.1}, SPARSE),
    "sparse_categorical_crossentropy of logits ignoring 255": (
        {"from_logits": True, "ignore_class": 255, "label_smoothing": 0.1}, (WITH_255[0], SPARSE_LOGITS[1]),
    ),
}  # fmt: skip


def function_of(case):
    name = case.split()[0]
    return getattr(losses, name), getattr(reference, name)


def class_of(function):
    return type(as_loss(function))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES)
def test_values(case, dtype):
    function, expected = function_of(case)
    arguments, (y, p) = CASES[case]
    values = function(y.astype(dtype), p.astype(dtype), **arguments)
    assert values.dtype == dtype
    # float32: clipping at 1 - 1e-7 rounds to 1 - 1.19e-7, and logarithms of ratios lose another digit
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(values, expected(y, p, **arguments), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("case", CASES)
def test_gradients(case):
    function, _ = function_of(case)
    arguments, (y, p) = CASES[case]
    forward = Function(lambda p: function(y, p, **arguments))
    weights = rng_of(8).normal(size=forward(p).shape)
    grad = value_and_gradient(lambda p: function(y, p, **arguments) * weights)(p)[1]
    numeric = reference.numeric_gradient(lambda p: float((forward(p) * weights).sum()), p)
    assert reference.relative_error(grad, numeric) < 1e-6


@pytest.mark.parametrize("axis", [None, (1, 2), -1])
def test_overlap(axis):
    y, p = BINARY
    both, missed, false = (a.sum(axis) for a in (y * p, y * (1 - p), (1 - y) * p))
    np.testing.assert_allclose(losses.dice(y, p, axis), 1 - 2 * both / (y.sum(axis) + p.sum(axis) + 1e-7))
    wanted = 1 - both / (both + 0.3 * missed + 0.8 * false + 1e-7)
    np.testing.assert_allclose(losses.tversky(y, p, alpha=0.3, beta=0.8, axis=axis), wanted)
    np.testing.assert_allclose(losses.Tversky(0.3, 0.8, axis=axis)(y, p), wanted.mean())


def test_generalized_cross_entropy():
    y, p = SPARSE[0][:, 0], SPARSE[1][:, 0]
    chosen = p[np.arange(4), y.astype(int)]
    for targets in (y, y[:, None]):
        np.testing.assert_allclose(
            losses.categorical_generalized_cross_entropy(targets, p, 0.7), (1 - chosen**0.7) / 0.7
        )


def test_circle_pulls_classes_apart():
    y, embeddings = np.array([0.0, 0.0, 1.0, 1.0, 2.0]), rng_of(9).normal(size=(5, 3))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    distance = np.maximum(1 - embeddings @ embeddings.T, 0)
    same, other = (y[:, None] == y) & ~np.eye(5, dtype=bool), y[:, None] != y
    near, far = -8 * (0.4 + distance) * (0.4 - distance), 8 * np.maximum(1.4 - distance, 0) * (0.6 - distance)
    sums = [np.where(chosen, np.exp(x), 0).sum(1) for chosen, x in ((same, near), (other, far))]
    wanted = np.log1p(sums[0] * sums[1])  # the last sample has no partner
    np.testing.assert_allclose(losses.circle(y, embeddings, gamma=8), wanted, atol=1e-12)
    assert wanted[4] == 0
    np.testing.assert_allclose(losses.Circle(gamma=8)(y, embeddings), wanted.sum() / 4)
    planned = Function(lambda p: losses.circle(y, p, gamma=8))
    grad = value_and_gradient(lambda p: losses.circle(y, p, gamma=8))(embeddings)[1]
    numeric = reference.numeric_gradient(lambda p: float(planned(p).sum()), embeddings)
    assert reference.relative_error(grad, numeric) < 1e-6


# --- one number ----------------------------------------------------------------------------------------------

WEIGHTS = {
    "none": None,
    "a number a sample": rng_of(10).uniform(0, 2, 4),
    "a column": rng_of(10).uniform(0, 2, (4, 1)),
    "one a value": rng_of(10).uniform(0, 2, (4, 3)),
    "zeros": np.zeros(4),
}


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none", None]
)
def test_reductions(reduction, weights):
    weight = WEIGHTS[weights]
    y, p = REAL
    wanted = reference.reduce_loss(reference.mean_squared_error(y, p), weight, reduction)
    np.testing.assert_allclose(losses.MeanSquaredError(reduction)(y, p, weight), wanted, rtol=1e-12)
    y, p = WITH_255
    values = reference.sparse_categorical_crossentropy(y, p, ignore_class=255)
    mask = reference.valid_labels(y, p, 255)
    assert not mask.all() and mask.any()
    wanted = reference.reduce_loss(values, weight, reduction, mask)
    loss = losses.SparseCategoricalCrossentropy(ignore_class=255, reduction=reduction)
    np.testing.assert_allclose(loss(y, p, weight), wanted, rtol=1e-12)


def test_a_batch_of_ignored_labels_costs_nothing():
    loss = losses.SparseCategoricalCrossentropy(ignore_class=0)
    assert loss(np.zeros(3), probabilities((3, 2))) == 0


def test_weights_of_a_scalar_loss():
    y, p = BINARY
    value = losses.Dice()(y, p)
    np.testing.assert_allclose(losses.Dice()(y, p, np.array([1.0, 2.0, 0.0, 1.0])), value)


@pytest.mark.parametrize("weight", [0.5, np.float32(0.5), [0.5]], ids=["number", "scalar", "one in a list"])
def test_one_weight_for_all_scales_the_loss(weight):
    y, p = np.zeros((3, 2, 4)), np.arange(24.0).reshape(3, 2, 4)
    for reduction in ("sum_over_batch_size", "sum", "none"):
        loss = losses.MeanSquaredError(reduction=reduction)
        np.testing.assert_allclose(loss(y, p, weight), 0.5 * loss(y, p))


def test_weights_that_do_not_fit():
    y, p = REAL
    for shape in ((5,), (4, 2), (4, 3, 5), (3,)):
        with pytest.raises(
            Error, match=r"loss 'mean_squared_error': sample_weight has shape .*, shape \(4,\)"
        ):
            losses.MeanSquaredError()(y, p, np.ones(shape))


def test_results_are_numpy_numbers():
    value = losses.MeanSquaredError()([[0, 1]], [[0.5, 1.0]])
    assert isinstance(value, np.float32) and value == 0.125
    assert isinstance(losses.MeanSquaredError(dtype="float64")([[0, 1]], [[0.5, 1.0]]), np.float64)
    assert losses.mean_squared_error([0.0, 1.0], [1.0, 1.0]) == 0.5


# --- shapes --------------------------------------------------------------------------------------------------

ELEMENTWISE = [
    losses.MeanSquaredError, losses.MeanAbsoluteError, losses.MeanAbsolutePercentageError,
    losses.MeanSquaredLogarithmicError, losses.Huber, losses.LogCosh, losses.Poisson, losses.Hinge,
    losses.SquaredHinge, losses.BinaryCrossentropy, losses.BinaryFocalCrossentropy,
]  # fmt: skip


@pytest.mark.parametrize("cls", ELEMENTWISE)
def test_a_column_is_expanded_and_nothing_else_broadcast(cls):
    y, p = labels((6,), 2), rng_of().uniform(0.1, 0.9, 6)
    wanted = cls()(y[:, None], p[:, None])
    assert cls()(y, p[:, None]) == wanted == cls()(y[:, None], p)
    for wrong in ((6, 2), (3,), (1, 1), ()):
        with pytest.raises(Error, match="targets of shape"):
            cls()(np.zeros(wrong), p[:, None])


NUMBERS = ELEMENTWISE[:-2]


@pytest.mark.parametrize("cls", NUMBERS)
def test_one_target_for_several_predicted_numbers(cls):
    y, p = labels((6, 1), 2).astype(float), rng_of().uniform(0.1, 0.9, (6, 3))
    wanted = cls(reduction="none")(np.repeat(y, 3, axis=1), p)
    np.testing.assert_array_equal(cls(reduction="none")(y, p), wanted)
    np.testing.assert_array_equal(cls(reduction="none")(y[:, None], p[:, None]), wanted[:, None])
    cls().check_targets(y, (2, 3))
    np.testing.assert_allclose(getattr(metrics, cls.function.__name__)(y, p), wanted)


@pytest.mark.parametrize("cls", ELEMENTWISE[-2:])
def test_probabilities_have_a_target_each(cls):
    for check in (cls().check_targets, lambda y, shape: cls()(y, np.full(shape, 0.5))):
        with pytest.raises(Error, match=r"targets of shape \(6, 1\).*\(6, 3\)"):
            check(np.zeros((6, 1)), (6, 3))


def test_focal_weights_of_classes():
    y, p, alpha = one_hot((5, 3)), probabilities((5, 3)), [0.2, 0.3, 0.5]
    plain = losses.CategoricalFocalCrossentropy(alpha=1.0, reduction="none")(y, p)
    loss = losses.CategoricalFocalCrossentropy(alpha=alpha, reduction="none")
    np.testing.assert_allclose(loss(y, p), plain * np.array(alpha)[y.argmax(-1)], rtol=1e-12)
    assert loss.get_config()["alpha"] == alpha
    np.testing.assert_allclose(metrics.categorical_focal_crossentropy(y, p, alpha=alpha), loss(y, p))


def test_functions_of_the_user_see_a_column():
    def squared(y_true, y_pred):
        assert y_true.shape == y_pred.shape
        return ops.mean(ops.square(y_true - y_pred), axis=-1)

    class Squared(losses.Loss):
        def call(self, y_true, y_pred):
            return squared(y_true, y_pred)

    y, p = np.array([1.0, 2.0]), np.array([[1.5], [1.0]])
    for loss in (as_loss(squared), Squared()):
        assert loss(y, p) == 0.625
    assert as_loss(squared).name == "squared" and Squared(name="mine").name == "mine"


def test_labels_and_one_hot_rows_are_told_apart():
    one_of_ten = probabilities((6, 10))
    with pytest.raises(
        Error, match=r"\(6,\).*\(6, 10\).*sparse_categorical_crossentropy.*to_categorical\(y, 10\)"
    ):
        losses.CategoricalCrossentropy()(np.zeros(6), one_of_ten)
    with pytest.raises(Error, match=r"\(6, 10\).*look one-hot.*'categorical_crossentropy'"):
        losses.SparseCategoricalCrossentropy()(np.zeros((6, 10)), one_of_ten)
    with pytest.raises(Error, match=r"\(6, 1\) have one class.*binary_crossentropy"):
        losses.CategoricalCrossentropy()(np.zeros((6, 1)), np.ones((6, 1)))


# --- logits --------------------------------------------------------------------------------------------------


def traced(loss, y, activation):
    """The loss of activation(x) and its gradient at x."""
    return value_and_gradient(lambda x: loss(y, activation(x)))


@pytest.mark.parametrize(
    ("name", "y", "activation"),
    [
        ("SparseCategoricalCrossentropy", np.array([0.0, 1.0]), ops.softmax),
        ("CategoricalCrossentropy", np.eye(2), ops.softmax),
        ("BinaryCrossentropy", np.eye(2), ops.sigmoid),
    ],
)
def test_probabilities_are_traced_back_to_logits(name, y, activation):
    """A prediction that is wrong beyond what float32 probabilities can say still has a loss and a gradient."""
    x = np.array([[-60.0, 60.0], [50.0, -50.0]], "float32")
    y = y.astype("float32")
    value, grad = traced(getattr(losses, name)(), y, activation)(x)
    wanted, wanted_grad = traced(getattr(losses, name)(from_logits=True), y, lambda x: x)(x)
    assert value == wanted > 40
    np.testing.assert_array_equal(grad, wanted_grad)


def test_a_squeezed_sigmoid_is_traced_back_too():
    x = np.full((2, 3, 3, 1), -60.0, "float32")
    loss = losses.BinaryCrossentropy()
    value, _ = value_and_gradient(lambda x: loss(np.ones((2, 3, 3), "float32"), ops.sigmoid(x)))(x)
    assert value == 60


@pytest.mark.parametrize("activation", [ops.softmax, ops.sigmoid])
@pytest.mark.parametrize(
    "name",
    ["BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy", "CategoricalFocalCrossentropy",
     "SparseCategoricalCrossentropy"],
)  # fmt: skip
def test_logits_that_are_none(name, activation):
    loss = getattr(losses, name)(from_logits=True)
    y = np.array([0.0, 1.0]) if name.startswith("Sparse") else np.eye(2)
    with pytest.raises(
        Error, match=f"from_logits=True, but .* come out of a {activation.__name__}.*leave out"
    ):
        Function(lambda x: loss(y, activation(x)))(np.zeros((2, 2)))


def test_loss_of_symbolic_tensors_is_a_tensor():
    value = losses.MeanSquaredError()(Tensor((None, 3)), Tensor((None, 3)))
    assert isinstance(value, Tensor) and value.shape == ()


# --- checks of whole data sets -------------------------------------------------------------------------------


def test_targets_that_are_fine():
    losses.SparseCategoricalCrossentropy().check_targets(np.arange(10, dtype="uint8"), (32, 10))
    losses.SparseCategoricalCrossentropy().check_targets(np.arange(10)[:, None], (32, 10))
    losses.SparseCategoricalCrossentropy(ignore_class=-1).check_targets(np.array([-1, 3]), (32, 10))
    losses.CategoricalCrossentropy().check_targets(np.eye(10), (32, 10))
    losses.BinaryCrossentropy().check_targets(np.array([True, False]), (32, 1))
    losses.MeanSquaredError().check_targets(np.zeros(7), (32, 1))
    losses.MeanSquaredError().check_targets(np.zeros((7, 4, 4)), (32, 4, 4, 1))
    losses.Circle().check_targets(np.arange(7), (32, 16))
    as_loss(lambda y, p: p).check_targets(np.zeros((3, 9)), (32, 1))


@pytest.mark.parametrize(
    ("loss", "y", "shape", "message"),
    [
        ("sparse_categorical_crossentropy", np.array([0, 9, 10, 11]), (32, 10),
         r"label 10 of sample 2 is outside 0\.\.9, the model's 10 classes.*y - 1"),
        ("sparse_categorical_crossentropy", np.array([0, 3, -1]), (32, 10), r"label -1 of sample 2 is outside 0\.\.9"),
        ("sparse_categorical_crossentropy", np.array([[0.0], [0.5]]), (32, 10), "label 0.5 of sample 1 is not a whole"),
        ("sparse_categorical_crossentropy", np.array([0.0, np.nan]), (32, 10), "label nan of sample 1"),
        ("sparse_categorical_crossentropy", np.eye(10), (32, 10), "look one-hot"),
        ("sparse_categorical_crossentropy", np.eye(4), (32, 10), r"\(4, 4\).*look one-hot"),
        ("sparse_categorical_crossentropy", np.zeros((5, 8, 8)), (32, 4, 4, 10), r"\(5, 8, 8\).*\(32, 4, 4, 10\)"),
        ("categorical_crossentropy", np.arange(10), (32, 10), "to_categorical"),
        ("categorical_crossentropy", np.eye(7), (32, 10), r"\(7, 7\).*\(32, 10\).*one-hot rows, shape \(n, 10\)"),
        ("binary_crossentropy", np.array([0, 1, 2]), (32, 1), r"target 2 of sample 2 is outside \[0, 1\]"),
        ("binary_crossentropy", np.array([[0.0, 1.0], [0.3, -0.1]]), (32, 2), "target -0.1 of sample 1"),
        ("mse", np.zeros(5), (32, 10), r"\(5,\).*\(32, 10\).*shape \(n, 10\)"),
        ("circle", np.zeros((5, 2)), (32, 16), "labels"),
    ],
)  # fmt: skip
def test_targets_that_cannot_be_meant(loss, y, shape, message):
    with pytest.raises(Error, match=message) as caught:
        as_loss(loss).check_targets(y, shape)
    assert str(caught.value).startswith(f"loss '{as_loss(loss).name}': ")


def test_the_first_bad_label_of_many_is_named():
    y = np.zeros((300_001, 2), "int16")
    y[299_999, 1] = 77
    with pytest.raises(Error, match="label 77 of sample 299999 is outside"):
        losses.SparseCategoricalCrossentropy().check_targets(y, (32, 2, 10))


# --- names and configuration ---------------------------------------------------------------------------------

NAMES = {
    "mse": "MeanSquaredError", "MSE": "MeanSquaredError", "mean_squared_error": "MeanSquaredError",
    "mae": "MeanAbsoluteError", "MAPE": "MeanAbsolutePercentageError", "msle": "MeanSquaredLogarithmicError",
    "bce": "BinaryCrossentropy", "BCE": "BinaryCrossentropy", "kld": "KLDivergence", "KLD": "KLDivergence",
    "kl_divergence": "KLDivergence", "KLDivergence": "KLDivergence", "huber": "Huber", "Huber": "Huber",
    "huber_loss": "Huber", "log_cosh": "LogCosh", "logcosh": "LogCosh", "LogCosh": "LogCosh",
    "cosine_similarity": "CosineSimilarity", "hinge": "Hinge", "squared_hinge": "SquaredHinge",
    "categorical_hinge": "CategoricalHinge", "poisson": "Poisson", "dice": "Dice", "tversky": "Tversky",
    "categorical_crossentropy": "CategoricalCrossentropy", "CategoricalCrossentropy": "CategoricalCrossentropy",
    "sparse_categorical_crossentropy": "SparseCategoricalCrossentropy", "binary_crossentropy": "BinaryCrossentropy",
    "binary_focal_crossentropy": "BinaryFocalCrossentropy", "circle": "Circle",
    "categorical_focal_crossentropy": "CategoricalFocalCrossentropy",
    "categorical_generalized_cross_entropy": "CategoricalGeneralizedCrossEntropy",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_get_by_name(name):
    assert type(as_loss(name)).__name__ == NAMES[name]


def test_get_is_that_of_keras():
    """Of a name like a function's it gives the function, which does not reduce; compile makes a loss of either."""
    y, p = REAL[0][:, 0], REAL[1][:, 0]
    assert losses.get("mse") is losses.mean_squared_error and losses.get("mse")(y, p).shape == (4,)
    assert (
        type(losses.get("MeanSquaredError"))
        is type(losses.get(losses.MeanSquaredError))
        is losses.MeanSquaredError
    )
    assert losses.get(None) is None and losses.get(abs) is abs
    with pytest.raises(Error, match="loss"):
        losses.get(3)


def test_as_loss_of_other_things():
    assert as_loss(None) is None
    loss = losses.Huber()
    assert as_loss(loss) is loss
    assert type(as_loss(losses.Huber)) is type(as_loss(losses.huber)) is losses.Huber
    with pytest.raises(
        Error, match="unknown loss 'categorical_crosentropy'; did you mean .*'CategoricalCrossentropy'"
    ):
        as_loss("categorical_crosentropy")
    with pytest.raises(Error, match="loss"):
        as_loss(3)


@pytest.mark.parametrize("name", sorted(set(NAMES.values())))
def test_configuration_round_trip(name):
    loss = getattr(losses, name)(reduction="sum", name="mine")
    again = as_loss(serialize(loss))
    assert type(again) is type(loss) and again.get_config() == loss.get_config()
    assert (again.reduction, again.name) == ("sum", "mine")


def test_arguments_survive_the_round_trip():
    for loss in (
        losses.Huber(delta=3.0),
        losses.SparseCategoricalCrossentropy(ignore_class=7, from_logits=True),
    ):
        again = deserialize("loss", serialize(loss))
        assert again.get_config() == loss.get_config()
    assert deserialize("loss", serialize(losses.Huber(delta=3.0))).delta == 3.0


def test_functions_by_configuration():
    def stretched(y_true, y_pred, factor=1.0):
        return ops.mean(ops.abs(y_true - y_pred), axis=-1) * factor

    loss = losses.LossFunctionWrapper(stretched, name="stretched", factor=3.0)
    assert loss(np.zeros((2, 2)), np.ones((2, 2))) == 3
    assert as_loss(serialize(losses.huber)).name == "huber_loss"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.MeanSquaredError(reduction="avg"), "unknown reduction 'avg'"),
        (
            lambda: losses.CategoricalCrossentropy(label_smoothing=1.5),
            r"label_smoothing must lie in \[0, 1\]",
        ),
        (lambda: losses.CategoricalGeneralizedCrossEntropy(q=0.0), r"q must lie in \(0, 1\)"),
        (lambda: losses.Loss()(np.zeros(2), np.zeros(2)), "Loss must define call"),
    ],
)
def test_arguments_that_cannot_work(make, message):
    with pytest.raises(Error, match=message):
        make()


# --- against Keras -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras():
    import os

    os.environ.setdefault("KERAS_BACKEND", "torch")
    return pytest.importorskip("keras")


@pytest.mark.peer
def test_functions_against_pytorch():
    torch = pytest.importorskip("torch")
    f, t = torch.nn.functional, torch.tensor
    y, p = (t(a) for a in REAL)
    for value, wanted in (
        (losses.mean_squared_error(*REAL), f.mse_loss(p, y, reduction="none").mean(-1)),
        (losses.mean_absolute_error(*REAL), f.l1_loss(p, y, reduction="none").mean(-1)),
        (losses.huber(*REAL, delta=0.7), f.huber_loss(p, y, reduction="none", delta=0.7).mean(-1)),
        (losses.cosine_similarity(*REAL), -f.cosine_similarity(p, y, dim=-1)),
        (
            losses.binary_crossentropy(*LOGITS, from_logits=True),
            f.binary_cross_entropy_with_logits(t(LOGITS[1]), t(LOGITS[0]), reduction="none").mean(-1),
        ),
        (
            losses.sparse_categorical_crossentropy(*SPARSE_LOGITS, from_logits=True, label_smoothing=0.1),
            f.cross_entropy(
                t(SPARSE_LOGITS[1]).mT, t(SPARSE_LOGITS[0]).long(), reduction="none", label_smoothing=0.1
            ),
        ),
    ):
        np.testing.assert_allclose(value, wanted.numpy(), rtol=1e-10)


ignore_keras = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.mark.peer
@ignore_keras
@pytest.mark.parametrize("case", [case for case in CASES if "ignoring a class" not in case])
def test_functions_against_keras(case, keras):
    arguments, (y, p) = CASES[case]
    if case.startswith("sparse"):  # where Keras has no smoothing
        arguments = {name: value for name, value in arguments.items() if name != "label_smoothing"}
    y, p = y.astype("float32"), p.astype("float32")
    wanted = getattr(keras.losses, case.split()[0])(y, p, **arguments)
    values = function_of(case)[0](y, p, **arguments)
    np.testing.assert_allclose(values, keras.ops.convert_to_numpy(wanted), rtol=1e-4, atol=1e-5)


@pytest.mark.peer
@ignore_keras
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean_with_sample_weight", "sum", "none"])
def test_reductions_against_keras(reduction, weights, keras):
    weight = WEIGHTS[weights]
    for name, arguments, (y, p) in (
        ("MeanAbsoluteError", {}, (REAL[0][:, 0], REAL[1][:, 0])),
        ("SparseCategoricalCrossentropy", {"ignore_class": 2}, (SPARSE[0][:, 0], SPARSE[1][:, 0])),
        ("BinaryCrossentropy", {"label_smoothing": 0.1}, (BINARY[0][:, 0], BINARY[1][:, 0])),
    ):
        if weight is not None and weight.shape == (4, 3):
            continue
        wanted = getattr(keras.losses, name)(**arguments, reduction=reduction)(y, p, weight)
        value = getattr(losses, name)(**arguments, reduction=reduction)(y, p, weight)
        np.testing.assert_allclose(
            np.ravel(value), keras.ops.convert_to_numpy(wanted).ravel(), rtol=1e-5, atol=1e-6
        )


@pytest.mark.peer
def test_signatures_are_those_of_keras(keras):
    def parameters(thing):
        return [
            name for name in inspect.signature(thing).parameters if name not in ("dtype", "label_smoothing")
        ]

    for name in set(NAMES.values()):
        ours, theirs = getattr(losses, name), getattr(keras.losses, name)
        assert parameters(ours) == parameters(theirs), name
        assert ours().name == theirs().name
