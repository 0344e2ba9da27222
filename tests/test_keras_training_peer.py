"""Training against Keras: the same code runs with both libraries, on random networks, and must see the same numbers.

Left out is where Keras leaves its own rules: operations that broadcast targets (n,) against predictions (n, 1),
weights of images that only one of its backends takes, and what README.md lists under "Differences from Keras".
"""

import os
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import fastcnn

os.environ.setdefault("KERAS_BACKEND", "torch")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    torch = pytest.importorskip("torch", reason="PyTorch, the backend of Keras here, is not installed")

pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(keras.backend.backend() != "torch", reason="Keras runs on another backend"),
]

# Weights move by a rate times a sign where gradients are rounding errors: methods that divide by the size of the
# gradient repeat float32 runs to a few digits only.
TOLERANCE = 2e-3


def agree(run, *args, rtol=1e-4, atol=1e-5):
    """`run(library, *args)` gives the same plain data with both libraries."""
    compare(plain(run(keras, *args)), plain(run(fastcnn, *args)), "result", rtol, atol)


def plain(value):
    """Tensors as arrays, in any structure."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    return keras.ops.convert_to_numpy(value) if torch.is_tensor(value) else np.asarray(value)


def compare(expected, got, where, rtol, atol):
    if isinstance(expected, dict):
        assert list(expected) == list(got), where
        for key in expected:
            compare(expected[key], got[key], f"{where}[{key!r}]", rtol, atol)
    elif isinstance(expected, list):
        assert len(expected) == len(got), where
        for i, pair in enumerate(zip(expected, got, strict=True)):
            compare(*pair, f"{where}[{i}]", rtol, atol)
    elif isinstance(expected, np.ndarray):
        np.testing.assert_allclose(got, expected, rtol, atol, err_msg=where)
    else:
        assert expected == got, where


class Draw:
    """Random choices from a seed."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def one(self, *values):
        return values[self.rng.integers(len(values))]

    def int(self, low, high):
        return int(self.rng.integers(low, high + 1))

    def numbers(self, *shape):
        return self.rng.normal(size=shape).astype("float32")


# --- networks --------------------------------------------------------------------------------------------------


def body(lib, d, x):
    """A random small convolutional trunk."""
    layers = lib.layers
    for _ in range(d.int(1, 2)):
        kind = d.one("conv", "conv", "depthwise", "separable")
        options = {"padding": d.one("same", "valid"), "use_bias": d.one(True, False)}
        if kind == "depthwise":
            x = layers.DepthwiseConv2D(3, **options)(x)
        elif kind == "separable":
            x = layers.SeparableConv2D(d.int(2, 5), 3, **options)(x)
        else:
            regularizer = d.one(None, "l2", lib.regularizers.L1(1e-3))
            x = layers.Conv2D(d.int(2, 5), d.int(1, 3), kernel_regularizer=regularizer, **options)(x)
        if d.int(0, 1):
            x = layers.BatchNormalization(momentum=d.one(0.99, 0.8))(x)
        x = layers.Activation(d.one("tanh", "softplus", "silu", "sigmoid"))(x)
    if d.int(0, 1):
        x = layers.AveragePooling2D(2)(x)
    return layers.GlobalAveragePooling2D()(x) if d.int(0, 1) else layers.Flatten()(x)


TASKS = {  # activation of the head, its units, loss
    "binary": ("sigmoid", 1, "binary_crossentropy"),
    "classes": ("softmax", 4, "sparse_categorical_crossentropy"),
    "one_hot": ("softmax", 4, "categorical_crossentropy"),
    "numbers": (None, 2, "mse"),
}
METRICS = {
    "binary": ["accuracy", "AUC", "Precision", "mae"],
    "classes": ["accuracy", "SparseCategoricalAccuracy", "sparse_categorical_crossentropy"],
    "one_hot": ["acc", "AUC", "categorical_crossentropy", "Recall", "F1Score"],
    "numbers": ["mae", "mse", "RootMeanSquaredError", "cosine_similarity", "R2Score"],
}
LOSSES = {
    "binary": ["binary_crossentropy", "mse", "BinaryFocalCrossentropy", "squared_hinge"],
    "classes": ["sparse_categorical_crossentropy", "crossentropy"],
    "one_hot": ["categorical_crossentropy", "kld", "CategoricalFocalCrossentropy", "crossentropy", "poisson"],
    "numbers": ["mse", "mae", "huber", "log_cosh", "cosine_similarity"],
}


def targets(d, task, n):
    if task == "binary":
        return d.rng.integers(0, 2, (n, 1)).astype("float32")
    if task == "numbers":
        return d.numbers(n, 2)
    labels = d.rng.integers(0, 4, n)
    return labels if task == "classes" else np.eye(4, dtype="float32")[labels]


def network(lib, seed, tasks):
    """One input, an output for each task; weights from NumPy."""
    d = Draw(seed)
    lib.utils.clear_session()
    inputs = lib.Input((7, 6, 2), name="image")
    trunk = body(lib, d, inputs)
    heads = [
        lib.layers.Dense(TASKS[t][1], activation=TASKS[t][0], name=f"{t}_{i}")(trunk)
        for i, t in enumerate(tasks)
    ]
    model = lib.Model(inputs, heads[0] if len(heads) == 1 else heads)
    values = [0.25 * d.numbers(*w.shape) for w in model.weights]
    model.set_weights(
        [abs(v) if "variance" in w.name else v for v, w in zip(values, model.weights, strict=True)]
    )
    return model


def optimizer(lib, d):
    schedule = lib.optimizers.schedules
    rate = d.one(0.01, 0.02, schedule.ExponentialDecay(0.02, 3, 0.8), schedule.CosineDecay(0.02, 10))
    options = d.one(
        {}, {"clipnorm": 0.5}, {"clipvalue": 0.05}, {"global_clipnorm": 0.5}, {"weight_decay": 0.01}
    )
    options |= d.one({}, {}, {"use_ema": True, "ema_momentum": 0.8})
    name = d.one("SGD", "Adam", "RMSprop", "Adagrad", "AdamW", "Adamax", "Nadam")
    more = {"momentum": 0.9, "nesterov": d.one(True, False)} if name == "SGD" else {"epsilon": 1e-2}
    return getattr(lib.optimizers, name)(rate, **options, **more)


@pytest.mark.parametrize("seed", range(24))
def test_fit_with_one_output(seed):
    """History, evaluate, predict and weights after training with weights, validation, any loss and metric."""

    def run(lib):
        d = Draw(seed)
        task = d.one(*TASKS)
        model = network(lib, seed, [task])
        metrics = list(d.rng.choice(METRICS[task], 2, replace=False))
        weighted = ["mean_squared_logarithmic_error"] if task == "binary" and d.int(0, 1) else None
        model.compile(optimizer(lib, d), d.one(*LOSSES[task]), metrics=metrics, weighted_metrics=weighted)
        n = d.int(9, 14)
        x, y = d.numbers(n, 7, 6, 2), targets(d, task, n)
        options = {"sample_weight": d.rng.random(n).astype("float32")} if d.int(0, 1) else {}
        if task in ("classes", "one_hot") and d.int(0, 1):
            options["class_weight"] = {0: 2.0, 2: 0.5}
            options.pop("sample_weight", None)
        size = d.int(3, 6)
        validation = d.one({}, {"validation_split": 0.25}, {"validation_data": (x[:5], y[:5])})
        history = model.fit(x, y, size, 3, verbose=0, shuffle=False, **options, **validation)
        return {
            "history": history.history, "epoch": history.epoch, "params": history.params,
            "evaluate": model.evaluate(x, y, verbose=0, batch_size=4, return_dict=True),
            "list": model.evaluate(x, y, verbose=0, sample_weight=options.get("sample_weight")),
            "predict": model.predict(x, verbose=0, batch_size=5), "weights": model.get_weights(),
            "batches": [model.test_on_batch(x, y), model.train_on_batch(x, y, return_dict=True)],
        }  # fmt: skip

    agree(run, rtol=TOLERANCE, atol=TOLERANCE)


@pytest.mark.parametrize("seed", range(16))
def test_fit_with_several_outputs(seed):
    """Losses, weights and metrics as lists and as dicts."""

    def run(lib):
        d = Draw(seed)
        tasks = [d.one(*TASKS) for _ in range(d.int(2, 3))]
        names = [f"{task}_{i}" for i, task in enumerate(tasks)]
        model = network(lib, seed, tasks)

        def form(values, kind):
            return dict(zip(names, values, strict=True)) if kind == "dict" else values

        loss = [d.one(*LOSSES[task][:2], *[None] * (i > 0)) for i, task in enumerate(tasks)]
        metrics = [d.one(METRICS[t][0], METRICS[t][:2]) for t in tasks]
        kind = d.one("list", "dict")
        model.compile(
            optimizer(lib, d), form(loss, kind if None not in loss else "list"),
            loss_weights=d.one(None, form([0.3, 1.0, 2.0][: len(tasks)], kind if None not in loss else "list")),
            metrics=form(metrics, d.one("list", "dict")),
            weighted_metrics=d.one(None, [[METRICS[t][2]] for t in tasks]),
        )  # fmt: skip
        x, y = d.numbers(9, 7, 6, 2), [targets(d, task, 9) for task in tasks]
        weight = d.one(None, [d.rng.random(9).astype("float32") for _ in tasks])
        data = form(y, "list" if None in loss or weight else d.one("list", "dict"))
        history = model.fit(
            x, data, 4, 2, verbose=0, shuffle=False, sample_weight=weight, validation_data=(x, y)
        )
        return {
            "history": history.history,
            "evaluate": model.evaluate(x, y, verbose=0, return_dict=True),
            "list": model.evaluate(x, y, verbose=0),
            "predict": model.predict(x, verbose=0),
            "weights": model.get_weights(),
        }

    agree(run, rtol=TOLERANCE, atol=TOLERANCE)


# --- losses ----------------------------------------------------------------------------------------------------

LOSS_CLASSES = {  # class -> kind of targets, options
    "BinaryCrossentropy": ("bits", [{}, {"label_smoothing": 0.2}, {"from_logits": True}]),
    "BinaryFocalCrossentropy": (
        "bits",
        [{}, {"apply_class_balancing": True, "gamma": 1.0}, {"from_logits": True}],
    ),
    "CategoricalCrossentropy": ("one_hot", [{}, {"label_smoothing": 0.2}, {"from_logits": True}]),
    "CategoricalFocalCrossentropy": (
        "one_hot",
        [{}, {"alpha": 0.4}, {"alpha": [0.1, 0.2, 0.3, 0.4]}, {"from_logits": True}],
    ),
    "CategoricalGeneralizedCrossEntropy": ("labels", [{}, {"q": 0.3}]),
    "CategoricalHinge": ("one_hot", [{}]),
    "Circle": ("labels", [{}]),
    "CosineSimilarity": ("numbers", [{}, {"axis": 1}]),
    "Dice": ("bits", [{}, {"axis": -1}]),
    "Hinge": ("bits", [{}]),
    "Huber": ("numbers", [{}, {"delta": 0.3}]),
    "KLDivergence": ("one_hot", [{}]),
    "LogCosh": ("numbers", [{}]),
    "MeanAbsoluteError": ("numbers", [{}]),
    "MeanAbsolutePercentageError": ("numbers", [{}]),
    "MeanSquaredError": ("numbers", [{}]),
    "MeanSquaredLogarithmicError": ("numbers", [{}]),
    "Poisson": ("bits", [{}]),
    "SparseCategoricalCrossentropy": ("labels", [{}, {"ignore_class": 1}, {"from_logits": True}]),
    "SquaredHinge": ("bits", [{}]),
    "Tversky": ("bits", [{}, {"alpha": 0.3, "beta": 0.7, "axis": -1}]),
}
REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none")


def test_all_losses_are_compared():
    classes = {name for name in fastcnn.losses.__all__ if name[0].isupper()}
    assert classes - set(LOSS_CLASSES) == {"Loss", "LossFunctionWrapper"}


def pairs(d, kind, shape):
    """Targets and scores in (0, 1); shape (n, ..., classes)."""
    scores = (0.05 + 0.9 * d.rng.random(shape)).astype("float32")
    labels = d.rng.integers(0, shape[-1], shape[:-1])
    made = {
        "bits": lambda: d.rng.integers(0, 2, shape).astype("float32"),
        "one_hot": lambda: np.eye(shape[-1], dtype="float32")[labels],
        "labels": lambda: labels,
        "numbers": lambda: d.rng.random(shape).astype("float32"),
    }
    return made[kind](), scores


@pytest.mark.parametrize("name", LOSS_CLASSES)
def test_loss(name):
    kind, options = LOSS_CLASSES[name]
    d = Draw(len(name))
    shapes = [(5, 4)] if name in ("Circle", "CategoricalGeneralizedCrossEntropy") else [(5, 4), (4, 3, 2, 4)]
    for shape in shapes:
        y, p = pairs(d, kind, shape)
        if shape[1:-1] and kind == "labels":
            weights = [None, d.rng.random(shape[:-1]).astype("float32")]
        elif "axis" in str(options) or name in ("Dice", "Tversky"):
            weights = [None]
        else:
            weights = [None, d.rng.random((shape[0], *[1] * (len(shape) - 2))).astype("float32")]
        for arguments in options:
            scale = 5.0 if arguments.get("from_logits") else 1.0
            for weight in weights:
                for reduction in REDUCTIONS:
                    agree(
                        lambda lib, *given: getattr(lib.losses, name)(**given[0])(*given[1:]),
                        {**arguments, "reduction": reduction}, y, scale * p, weight,
                    )  # fmt: skip


def test_losses_of_certain_predictions():
    """Probabilities of exactly 0 and 1, and beyond."""
    p = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.2, 0.0, 0.8], [1.5, -0.5, 0.1]], "float32")
    one_hot = np.eye(3, dtype="float32")[[1, 2, 0, 0]]
    for name in (
        "binary_crossentropy",
        "categorical_crossentropy",
        "binary_focal_crossentropy",
        "kl_divergence",
    ):
        agree(lambda lib, name=name: getattr(lib.losses, name)(one_hot, p))
    agree(lambda lib: lib.losses.sparse_categorical_crossentropy(np.array([1, 2, 0, 0]), p))


# --- metrics ---------------------------------------------------------------------------------------------------

METRIC_CLASSES = {  # class -> kinds of targets, options
    "AUC": ("bits", [{}, {"curve": "PR"}, {"num_thresholds": 9, "summation_method": "minoring"},
                     {"multi_label": True}, {"thresholds": [0.2, 0.6], "summation_method": "majoring"}]),
    "Accuracy": ("same", [{}]),
    "BinaryAccuracy": ("bits", [{}, {"threshold": 0.3}]),
    "BinaryCrossentropy": ("bits", [{}, {"label_smoothing": 0.1}, {"from_logits": True}]),
    "BinaryIoU": ("bits", [{}, {"target_class_ids": [1], "threshold": 0.3}]),
    "CategoricalAccuracy": ("one_hot", [{}]),
    "CategoricalCrossentropy": ("one_hot", [{}, {"label_smoothing": 0.1}, {"from_logits": True}]),
    "CategoricalHinge": ("one_hot", [{}]),
    "ConcordanceCorrelation": ("numbers", [{}]),
    "CosineSimilarity": ("numbers", [{}]),
    "F1Score": ("one_hot", [{}, {"average": "macro"}, {"average": "micro"}, {"average": "weighted"},
                            {"threshold": 0.4}]),
    "FBetaScore": ("one_hot", [{"beta": 2.0}, {"average": "macro", "beta": 0.5}]),
    "FalseNegatives": ("bits", [{}, {"thresholds": [0.2, 0.7]}]),
    "FalsePositives": ("bits", [{}, {"thresholds": 0.3}]),
    "Hinge": ("bits", [{}]),
    "IoU": ("ids", [{"num_classes": 4, "target_class_ids": [0, 2]}]),
    "KLDivergence": ("one_hot", [{}]),
    "LogCoshError": ("numbers", [{}]),
    "MeanAbsoluteError": ("numbers", [{}]),
    "MeanAbsolutePercentageError": ("numbers", [{}]),
    "MeanIoU": ("ids", [{"num_classes": 4}, {"num_classes": 4, "ignore_class": 1}]),
    "MeanSquaredError": ("numbers", [{}]),
    "MeanSquaredLogarithmicError": ("numbers", [{}]),
    "OneHotIoU": ("one_hot", [{"num_classes": 4, "target_class_ids": [1, 3]}]),
    "OneHotMeanIoU": ("one_hot", [{"num_classes": 4}]),
    "PearsonCorrelation": ("numbers", [{}]),
    "Poisson": ("numbers", [{}]),
    "Precision": ("bits", [{}, {"thresholds": [0.2, 0.7]}, {"top_k": 2}, {"class_id": 1}]),
    "PrecisionAtRecall": ("bits", [{"recall": 0.4}]),
    "R2Score": ("numbers", [{}, {"class_aggregation": None}, {"class_aggregation": "variance_weighted_average"}]),
    "Recall": ("bits", [{}, {"thresholds": [0.2, 0.7]}, {"top_k": 2}, {"class_id": 1}]),
    "RecallAtPrecision": ("bits", [{"precision": 0.4}]),
    "RootMeanSquaredError": ("numbers", [{}]),
    "SensitivityAtSpecificity": ("bits", [{"specificity": 0.4}]),
    "SparseCategoricalAccuracy": ("labels", [{}]),
    "SparseCategoricalCrossentropy": ("labels", [{}, {"ignore_class": 1}, {"from_logits": True}]),
    "SparseTopKCategoricalAccuracy": ("labels", [{"k": 2}]),
    "SpecificityAtSensitivity": ("bits", [{"sensitivity": 0.4}]),
    "SquaredHinge": ("bits", [{}]),
    "TopKCategoricalAccuracy": ("one_hot", [{"k": 2}]),
    "TrueNegatives": ("bits", [{}]),
    "TruePositives": ("bits", [{}]),
}  # fmt: skip
WHOLE_WEIGHTS = ("IoU", "MeanIoU", "BinaryIoU", "OneHotIoU", "OneHotMeanIoU")  # Keras cuts theirs to integers


def test_all_metrics_are_compared():
    classes = {name for name in fastcnn.metrics.__all__ if name[0].isupper()}
    assert classes - set(METRIC_CLASSES) == {"Metric", "Mean", "Sum", "MeanMetricWrapper", "ConfusionMatrix"}


@pytest.mark.parametrize("name", METRIC_CLASSES)
def test_metric(name):
    """Names, and results after every update and after a reset, with and without weights."""
    kind, options = METRIC_CLASSES[name]
    d = Draw(len(name))
    for arguments in options:
        for weighted in (False, True):
            batches = []
            for n in (5, 3, 8):
                y, p = metric_batch(d, kind, n)
                weight = d.rng.random(y.shape[0] if name != "BinaryIoU" else y.size).astype("float32")
                if name in WHOLE_WEIGHTS:
                    weight = np.ceil(3 * weight)
                flat = name == "BinaryIoU"
                batches.append((y.ravel(), p.ravel(), weight) if flat else (y, p, weight))

            def run(lib, arguments, batches, weighted):
                metric = getattr(lib.metrics, name)(name="m", **arguments)
                results = [metric.name]
                for y, p, weight in batches:
                    metric.update_state(y, p, sample_weight=weight if weighted else None)
                    results.append(np.copy(plain(metric.result())))
                metric.reset_state()
                metric.update_state(*batches[0][:2])
                return [*results, np.copy(plain(metric.result()))]

            agree(run, arguments, batches, weighted)


def metric_batch(d, kind, n):
    if kind in ("ids", "same"):
        return d.rng.integers(0, 4, n), d.rng.integers(0, 4, n)
    return pairs(d, kind, (n, 4))


@pytest.mark.parametrize("name", ["Mean", "Sum"])
def test_running_reductions(name):
    def run(lib):
        d = Draw(0)
        metric = getattr(lib.metrics, name)()
        results = [metric.name, np.copy(plain(metric.result()))]
        for values, weight in [
            ((4,), (4,)),
            ((3, 2), (3,)),
            ((3, 2), (3, 2)),
            ((2, 2, 2), (2, 1)),
            ((), None),
        ]:
            weights = None if weight is None else d.rng.random(weight)
            metric.update_state(d.rng.random(values), sample_weight=weights)
            results.append(np.copy(plain(metric.result())))
        return results

    agree(run)


# --- optimizers ------------------------------------------------------------------------------------------------

METHODS = [
    ("SGD", {}), ("SGD", {"momentum": 0.9}), ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("RMSprop", {}), ("RMSprop", {"momentum": 0.9}), ("RMSprop", {"centered": True, "rho": 0.8}),
    ("Adam", {}), ("Adam", {"amsgrad": True}), ("AdamW", {}), ("Adamax", {}), ("Nadam", {}),
    ("Adagrad", {}), ("Adadelta", {}), ("Lion", {}),
]  # fmt: skip
SCHEDULES = [
    ("ExponentialDecay", (0.1, 3, 0.7), {}),
    ("ExponentialDecay", (0.1, 3, 0.7), {"staircase": True}),
    ("InverseTimeDecay", (0.1, 3, 0.7), {}),
    ("PiecewiseConstantDecay", ([2, 5], [0.1, 0.05, 0.01]), {}),
    ("PolynomialDecay", (0.1, 5), {}),
    ("PolynomialDecay", (0.1, 5, 0.01, 2.0), {"cycle": True}),
    ("CosineDecay", (0.1, 6), {}),
    ("CosineDecay", (0.01, 6), {"warmup_target": 0.1, "warmup_steps": 3, "alpha": 0.1}),
    ("CosineDecayRestarts", (0.1, 3), {}),
    ("CosineDecayRestarts", (0.1, 3), {"t_mul": 1.0, "m_mul": 0.8, "alpha": 0.05}),
]
OPTIONS = [
    {}, {"clipnorm": 0.5}, {"clipvalue": 0.2}, {"global_clipnorm": 0.7}, {"weight_decay": 0.01},
    {"use_ema": True, "ema_momentum": 0.9}, {"use_ema": True, "ema_momentum": 0.8, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 3}, {"gradient_accumulation_steps": 2, "clipnorm": 0.5, "weight_decay": 0.1},
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "options"), SCHEDULES)
def test_schedule(name, arguments, options):
    def run(lib):
        schedule = getattr(lib.optimizers.schedules, name)(*arguments, **options)
        return [*(float(schedule(step)) for step in range(20)), schedule.get_config()]

    agree(run)


@pytest.mark.parametrize(("name", "arguments"), METHODS)
def test_ten_steps(name, arguments):
    """Variables, rate and count after every step; then the averages."""
    for number, options in enumerate(OPTIONS):

        def run(lib, number, options):
            d = Draw(number)
            rate = lib.optimizers.schedules.ExponentialDecay(0.05, 3, 0.7) if number % 2 else 0.05
            method = getattr(lib.optimizers, name)(rate, **arguments, **options)
            variables = [lib.Variable(d.numbers(3, 4), name="a"), lib.Variable(d.numbers(4), name="b")]
            method.build(variables)
            seen = []
            for _ in range(10):
                gradients = [d.numbers(*v.shape) for v in variables]
                if lib is keras:
                    gradients = [torch.from_numpy(g) for g in gradients]
                method.apply(gradients, variables)
                seen.append([float(method.learning_rate), int(method.iterations)])
                seen.append([np.array(v.numpy()) for v in variables])
            method.finalize_variable_values(variables)
            config = sorted(method.get_config().items())
            return [
                seen,
                [np.array(v.numpy()) for v in variables],
                [entry for entry in config if entry[0] not in ("learning_rate", "name")],
            ]

        agree(run, number, options)


# --- callbacks -------------------------------------------------------------------------------------------------


def recorder(lib):
    """A callback that keeps every event with the names and values of its logs."""
    events = []
    hooks = [name for name in dir(lib.callbacks.Callback) if name.startswith("on_")]

    def listen(hook):
        def method(self, *args, logs=None):
            *place, given = args if args and isinstance(args[-1], dict | None) else (*args, logs)
            events.append([hook, *place, {k: v for k, v in (given or {}).items() if k != "outputs"}])

        return method

    only = [hook for hook in hooks if hook not in ("on_batch_begin", "on_batch_end")]
    kind = type("Recorder", (lib.callbacks.Callback,), {hook: listen(hook) for hook in only})
    return SimpleNamespace(callback=kind(), events=events)


def small(lib, optimizer=None, **options):
    """A linear model on fixed data: no randomness, quick in both libraries."""
    d = Draw(5)
    x, y = d.numbers(12, 3), d.numbers(12, 1)
    model = lib.Sequential([lib.Input((3,)), lib.layers.Dense(1)])
    model.set_weights([np.full((3, 1), 0.3, "float32"), np.zeros(1, "float32")])
    model.compile(optimizer or lib.optimizers.SGD(0.1), "mse", metrics=["mae"], **options)
    return model, x, y


@pytest.mark.parametrize(
    "options", [{}, {"validation_split": 0.25}, {"validation_freq": 2, "validation_split": 0.5}]
)
def test_events_and_logs(options):
    """All hooks in fit, evaluate and predict: order, numbers, and names and order of the logs."""

    def run(lib):
        model, x, y = small(lib)
        seen = recorder(lib)
        model.fit(x, y, 4, 3, verbose=0, shuffle=False, callbacks=[seen.callback], **options)
        model.evaluate(x, y, 5, verbose=0, callbacks=[seen.callback])
        model.predict(x, 5, verbose=0, callbacks=[seen.callback])
        return [seen.events, seen.callback.params]

    agree(run)


CALLBACKS = [
    ("EarlyStopping", {"monitor": "val_loss", "patience": 1, "min_delta": 0.05}),
    (
        "EarlyStopping",
        {"monitor": "val_mae", "patience": 0, "restore_best_weights": True, "start_from_epoch": 2},
    ),
    ("EarlyStopping", {"monitor": "loss", "mode": "max", "patience": 2, "restore_best_weights": True}),
    ("EarlyStopping", {"monitor": "val_loss", "baseline": 0.1, "patience": 3}),
    (
        "ReduceLROnPlateau",
        {"monitor": "val_loss", "factor": 0.5, "patience": 1, "min_delta": 0.3, "cooldown": 1},
    ),
    ("ReduceLROnPlateau", {"monitor": "loss", "mode": "max", "patience": 2, "min_lr": 0.004}),
    ("TerminateOnNaN", {}),
]


@pytest.mark.parametrize(("name", "options"), CALLBACKS)
def test_callback(name, options):
    def run(lib):
        model, x, y = small(lib)
        seen = recorder(lib)
        callback = getattr(lib.callbacks, name)(**options)
        history = model.fit(
            x, y, 4, 10, verbose=0, shuffle=False, validation_split=0.3, callbacks=[callback, seen.callback]
        )
        kept = {
            k: v
            for k, v in vars(callback).items()
            if k in ("stopped_epoch", "best_epoch", "wait", "cooldown")
        }
        rate = float(model.optimizer.learning_rate)
        return [
            history.history,
            history.epoch,
            dict(sorted(kept.items())),
            rate,
            model.get_weights(),
            seen.events,
        ]

    agree(run)


def test_schedulers_and_files(tmp_path):
    """LearningRateScheduler, CSVLogger, ModelCheckpoint: rates, rows, names of files."""

    def run(lib):
        model, x, y = small(lib)
        folder = tmp_path / lib.__name__
        folder.mkdir()
        (folder / "weights").mkdir()
        callbacks = lib.callbacks
        history = model.fit(
            x, y, 4, 6, verbose=0, shuffle=False, validation_split=0.3,
            callbacks=[
                callbacks.LearningRateScheduler(lambda epoch, rate: rate * (0.5 if epoch > 2 else 3.0)),
                callbacks.CSVLogger(str(folder / "log.csv")),
                callbacks.ModelCheckpoint(str(folder / "weights" / "{epoch:02d}.weights.h5"),
                                          save_weights_only=True, save_best_only=True, monitor="val_loss"),
                callbacks.ModelCheckpoint(str(folder / "weights" / "b{batch}.weights.h5"),
                                          save_weights_only=True, save_freq=4),
            ],
        )  # fmt: skip
        rows = [line.split(",") for line in (folder / "log.csv").read_text().splitlines()]
        cells = [[float(cell) for cell in row] for row in rows[1:]]
        return [history.history, rows[0], cells, sorted(path.name for path in (folder / "weights").iterdir())]

    agree(run)


def test_changes_between_fits():
    """A rate set by hand, layers frozen and compiled again, steps, epochs that go on."""

    def run(lib):
        model, x, y = small(lib)
        results = [model.fit(x, y, 4, 2, verbose=0, shuffle=False).history]
        model.optimizer.learning_rate = 0.01
        results.append(model.fit(x, y, 4, 4, initial_epoch=2, verbose=0, shuffle=False).history)
        model.layers[0].trainable = False
        model.compile("sgd", "mae", metrics=["mse"])
        results.append(model.evaluate(x, y, 5, steps=2, verbose=0))
        model.layers[0].trainable = True
        model.compile("adam", "mae", metrics=["mse"])
        results.append(
            model.fit(x, y, verbose=0, shuffle=False, validation_data=(x, y), validation_steps=1).history
        )
        results += [model.get_weights(), int(model.optimizer.iterations), model.count_params()]
        return results

    agree(run, rtol=1e-3)
