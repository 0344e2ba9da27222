"""Utilities, settings, trees, callbacks and optimizers against Keras: the same code runs with both libraries.

What differs on purpose is left out: result types of 64 bits, which fastcnn keeps, and what README.md lists under
"Differences from Keras".
"""

import os
import warnings
from collections import OrderedDict, defaultdict, namedtuple

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


def plain(value):
    """Tensors as arrays, in any structure."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    return keras.ops.convert_to_numpy(value) if torch.is_tensor(value) else np.asarray(value)


def agree(run, *args, rtol=1e-5, atol=1e-6):
    """`run(library, *args)` gives the same plain data with both libraries."""
    compare(plain(run(keras, *args)), plain(run(fastcnn, *args)), "result", rtol, atol)


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


# --- optimizers --------------------------------------------------------------------------------------------------

METHODS = [
    ("Adafactor", {}), ("Adafactor", {"beta_2_decay": -0.5, "clip_threshold": 0.4, "epsilon_2": 0.2}),
    ("Lamb", {}), ("Lamb", {"beta_1": 0.8, "epsilon": 1e-3}),
    ("Ftrl", {}), ("Ftrl", {"l1_regularization_strength": 0.3, "l2_regularization_strength": 0.1, "beta": 0.5}),
    ("Ftrl", {"learning_rate_power": -0.7, "l2_shrinkage_regularization_strength": 0.2}),
    ("Muon", {}), ("Muon", {"nesterov": False, "rms_rate": None, "exclude_layers": ["b$"], "ns_steps": 3}),
]  # fmt: skip
OPTIONS = [
    {}, {"clipnorm": 0.5}, {"global_clipnorm": 0.7}, {"weight_decay": 0.05}, {"loss_scale_factor": 64.0},
    {"use_ema": True, "ema_momentum": 0.8}, {"use_ema": True, "ema_overwrite_frequency": 3},
    {"gradient_accumulation_steps": 3}, {"gradient_accumulation_steps": 2, "loss_scale_factor": 8.0},
]  # fmt: skip
SHAPES = {"a": (3, 4), "b": (4, 2), "c": (5,), "embedding": (6, 2), "kernel": (2, 3, 2, 3)}


def ten_steps(lib, name, arguments, seed):
    """Variables, rate and count after every step; then the averages, and the configuration."""
    rng = np.random.default_rng(seed)
    rate = lib.optimizers.schedules.ExponentialDecay(0.05, 3, 0.7) if seed % 2 else 0.05
    method = getattr(lib.optimizers, name)(rate, **arguments)
    variables = [lib.Variable(rng.normal(size=s).astype("float32"), name=n) for n, s in SHAPES.items()]
    method.build(variables)
    seen = []
    for _ in range(10):
        gradients = [rng.normal(size=v.shape).astype("float32") for v in variables]
        method.apply([torch.from_numpy(g) for g in gradients] if lib is keras else gradients, variables)
        seen.append([float(method.learning_rate), int(method.iterations), *(v.numpy() for v in variables)])
    method.finalize_variable_values(variables)
    config = {k: v for k, v in sorted(method.get_config().items()) if k not in ("learning_rate", "name")}
    return [seen, [v.numpy() for v in variables], config]


@pytest.mark.parametrize(("name", "arguments"), METHODS)
def test_ten_steps(name, arguments):
    for seed, options in enumerate(OPTIONS):
        agree(ten_steps, name, {**arguments, **options}, seed, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_ten_steps_of_scaled_losses(name):
    for seed, options in enumerate(OPTIONS[-5:]):
        agree(ten_steps, name, {"loss_scale_factor": 16.0, **options}, seed, rtol=2e-4, atol=2e-5)


def test_scale_loss():
    agree(lambda lib: lib.optimizers.SGD(0.1, loss_scale_factor=8.0).scale_loss(2.0))


def test_loss_scale_optimizer():
    """The scale after each step, some of which have gradients that overflow."""

    def run(lib):
        inner = lib.optimizers.SGD(0.5, momentum=0.9)
        method = lib.optimizers.LossScaleOptimizer(inner, initial_scale=8.0, dynamic_growth_steps=2)
        variable = lib.Variable(np.ones(3, "float32"))
        method.build([variable])
        seen = []
        for step in range(9):
            gradient = np.full(3, np.inf if step in (3, 6) else float(method.scale_loss(0.1)), "float32")
            method.apply([torch.from_numpy(gradient) if lib is keras else gradient], [variable])
            seen.append([float(method.dynamic_scale), int(method.step_counter), int(method.iterations)])
            seen.append(variable.numpy())
        return seen

    agree(run)


# --- trees -------------------------------------------------------------------------------------------------------

Point = namedtuple("Point", ["x", "y"])
STRUCTURES = [
    1, None, [], [1], (1, [2, {"b": 3, "a": (4, None)}]), {"z": 1, "y": [2, 3]}, Point(1, [2]),
    OrderedDict(b=1, a=2), [[1, 2, 3], [4, [5], [[6]]]], {"a": {}, "b": ()}, ["ab", (None,), 3.5],
]  # fmt: skip


def described(structure):
    """Types and order as well as values, dicts by their keys."""
    if isinstance(structure, dict):
        return [type(structure).__name__, sorted((k, described(v)) for k, v in structure.items())]
    if isinstance(structure, list | tuple):
        return [type(structure).__name__, *map(described, structure)]
    return repr(structure)


@pytest.mark.parametrize("structure", STRUCTURES, ids=str)
def test_tree(structure):
    def run(lib):
        tree = lib.tree
        seen = []
        leaves = tree.flatten(structure)
        parts = tree.traverse(lambda part: seen.append(described(part)), structure)
        tree.traverse(lambda part: seen.append(described(part)), structure, top_down=False)
        results = [
            leaves,
            [[*path] for path, _ in tree.flatten_with_path(structure)],
            tree.pack_sequence_as(structure, range(len(leaves))),
            tree.map_structure(str, structure),
            tree.map_structure(lambda a, b: (a, b), structure, structure),
            tree.map_structure(str, structure, none_is_leaf=False),
            tree.lists_to_tuples(structure),
            tree.is_nested(structure),
            parts,
        ]
        return [*map(described, results), seen]

    agree(run)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, 2], [3, 4]), ([1], (1,)), ([1, 2], [1]), ({"a": 1}, {"a": 2}), ({"a": 1}, {"b": 1}), (1, [1]),
        (Point(1, 2), (1, 2)), ({"a": 1}, OrderedDict(a=2)), ([1, [2]], [1, 2]), ({}, defaultdict(list)),
        (None, 1), ([None], [[]]),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("check", ["assert_same_structure", "assert_same_paths"])
def test_tree_comparisons(a, b, check):
    def run(lib):
        try:
            getattr(lib.tree, check)(a, b)
        except ValueError:
            return "different"
        return "alike"

    agree(run)


def test_tree_shapes_and_shallow_structures():
    def run(lib):
        shapes = lib.tree.map_shape_structure(str, {"a": (None, 3), "b": [(2,), (4, 5)]})
        lengths = lib.tree.map_structure_up_to([None, {"a": None}], len, [[1, 2], {"a": [3]}])
        return [described(shapes), described(lengths)]

    agree(run)


# --- numbers -----------------------------------------------------------------------------------------------------

NAMES = ["bool", "uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "bfloat16", "float32"]


def test_result_types():
    def run(lib):
        kinds = [*NAMES, int, float, None]
        pairs = {f"{a} {b}": lib.backend.result_type(a, b) for a in kinds for b in kinds}
        return {
            **pairs,
            "none": lib.backend.result_type(),
            "three": lib.backend.result_type("uint8", "int8", "float16"),
        }

    for name, expected in run(keras).items():
        got = run(fastcnn)[name]
        assert got == expected or (got, expected) == ("int64", "int32"), (name, got, expected)


@pytest.mark.parametrize(
    "dtype",
    [*NAMES, "int64", "float64", int, float, bool, None, "int", np.float32, np.dtype("uint8"), "string"],
    ids=str,
)
def test_dtypes(dtype):
    agree(lambda lib: lib.utils.standardize_dtype(dtype))
    if dtype is not None:
        agree(lambda lib: [bool(lib.backend.is_float_dtype(dtype)), bool(lib.backend.is_int_dtype(dtype))])


def test_policies():
    def run(lib):
        policy = lib.DTypePolicy("float64")
        names = [
            policy.name,
            policy.compute_dtype,
            policy.variable_dtype,
            policy.quantization_mode,
            repr(policy),
        ]
        config = lib.dtype_policies.serialize(policy)["config"]
        again = lib.dtype_policies.get("float64")
        lib.config.set_dtype_policy("float64")
        built = lib.layers.Dense(2)
        built.build((None, 3))
        lib.config.set_dtype_policy(lib.DTypePolicy("float32"))
        seen = [
            str(built.compute_dtype),
            str(lib.config.dtype_policy().name),
            lib.mixed_precision.global_policy().name,
        ]
        return [names, config, again == policy, seen, lib.layers.Dense(2, dtype=policy).compute_dtype]

    agree(run)


# --- arrays, images, batches ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {}, {"maxlen": 2}, {"maxlen": 5, "padding": "post"}, {"maxlen": 2, "truncating": "post", "value": 9},
        {"dtype": "float32", "value": -1.5}, {"maxlen": 1, "padding": "post", "truncating": "post"},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize(
    "sequences",
    [[[1], [2, 3], [4, 5, 6]], [[], [1]], [[[1, 2]], [[3, 4], [5, 6]]], [np.arange(4), (7, 8)]],
    ids=str,
)
def test_pad_sequences(sequences, options):
    agree(lambda lib: lib.utils.pad_sequences(sequences, **options))
    assert fastcnn.utils.pad_sequences(sequences, **options).dtype == options.get("dtype", "int32")


@pytest.mark.parametrize("axis", [-1, 1])  # 0 fails in Keras
@pytest.mark.parametrize("order", [1, 2, np.inf])
def test_normalize(axis, order):
    x = np.random.default_rng(0).normal(size=(3, 4))
    x[1] = 0
    agree(lambda lib: lib.utils.normalize(x, axis, order))


@pytest.mark.parametrize("labels", [[0, 2, 1], [[0], [2]], [[0, 1], [2, 0]], [[[1]], [[0]]], 3], ids=str)
@pytest.mark.parametrize("classes", [None, 5])
def test_to_categorical(labels, classes):
    agree(lambda lib: lib.utils.to_categorical(labels, classes))


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (11, 17, 4), np.uint8)
    path = tmp_path_factory.mktemp("pictures") / "picture.png"
    image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("color_mode", ["rgb", "rgba", "grayscale"])
@pytest.mark.parametrize(
    "options",
    [
        {}, {"target_size": (5, 9)}, {"target_size": (20, 8), "interpolation": "bilinear"},
        {"target_size": (6, 6), "interpolation": "lanczos", "keep_aspect_ratio": True},
        {"target_size": (7, 30), "interpolation": "box", "keep_aspect_ratio": True},
    ],
    ids=str,
)  # fmt: skip
def test_load_img(picture, color_mode, options):
    def run(lib):
        image = lib.utils.load_img(picture, color_mode, **options)
        return [lib.utils.img_to_array(image), lib.utils.img_to_array(image, "channels_first", "uint8")]

    agree(run)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp"])
def test_save_img(tmp_path, channels, scale, name):
    pytest.importorskip("PIL")
    x = np.random.default_rng(1).uniform(0, 255, (6, 5, channels))

    def run(lib):
        lib.utils.save_img(tmp_path / name, x, scale=scale)
        mode = {1: "grayscale", 3: "rgb", 4: "rgba"}[channels]
        return np.asarray(lib.utils.load_img(tmp_path / name, mode))

    agree(run)


def test_array_to_img():
    pytest.importorskip("PIL")
    flat, deep = np.full((2, 3, 1), 7.0), np.arange(12).reshape(3, 4, 1) * 100.0

    def run(lib):
        images = [lib.utils.array_to_img(flat), lib.utils.array_to_img(deep, scale=False)]
        images.append(lib.utils.array_to_img(np.moveaxis(deep, -1, 0), "channels_first"))
        return [[image.mode, image.size, np.asarray(image)] for image in images]

    agree(run)


@pytest.mark.parametrize("size", [(4, 4), (3, 9), (10, 2)])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])  # bicubic depends on the backend
def test_smart_resize(size, interpolation):
    x = np.random.default_rng(2).uniform(0, 255, (2, 7, 12, 3)).astype("float32")

    def run(lib):
        function = lib.preprocessing.image.smart_resize
        return [function(x, size, interpolation), function(x[0], size, interpolation)]

    agree(run, rtol=1e-4, atol=0.02)


def test_packing_of_batches():
    def run(lib):
        utils = lib.utils
        packed = [utils.pack_x_y_sample_weight(*parts) for parts in [(1,), ([1, 2],), (1, 2), (1, 2, 3)]]
        unpacked = [utils.unpack_x_y_sample_weight(data) for data in [1, (1,), [1, 2], (1, 2, 3)]]
        return [described(packed), described(unpacked)]

    agree(run)


def test_uids():
    def run(lib):
        lib.utils.clear_session()
        return [lib.backend.get_uid("a"), lib.backend.get_uid("a"), lib.backend.get_uid("b")]

    agree(run)


# --- symbolic tensors ----------------------------------------------------------------------------------------------


def test_source_inputs():
    def run(lib):
        a, b = lib.Input((3,), name="a"), lib.Input((3,), name="b")
        c = lib.layers.Dense(2)(lib.layers.Add()([a, b]))
        d = lib.layers.Concatenate()([c, a])
        names = [[x.name for x in lib.utils.get_source_inputs(y)] for y in (a, c, d)]
        return [names, lib.utils.is_keras_tensor(d), lib.utils.is_keras_tensor(np.ones(2))]

    agree(run)


# --- callbacks -----------------------------------------------------------------------------------------------------


def small(lib, optimizer):
    """A linear model on fixed data: no randomness."""
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=(12, 3)).astype("float32"), rng.normal(size=(12, 1)).astype("float32")
    lib.utils.clear_session()
    model = lib.Sequential([lib.Input((3,)), lib.layers.Dense(1)])
    model.compile(optimizer, "mse", metrics=["mae"])
    model.set_weights([np.full((3, 1), 0.3, "float32"), np.zeros(1, "float32")])
    return model, x, y


@pytest.mark.parametrize("swap_on_epoch", [False, True])
def test_swap_ema_weights(swap_on_epoch):
    """Losses of averaged weights, and the weights at the end of each epoch and of all."""

    def run(lib):
        model, x, y = small(lib, lib.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.7))
        weights = []
        watch = lib.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: weights.append(model.get_weights())
        )
        callbacks = [lib.callbacks.SwapEMAWeights(swap_on_epoch), watch]
        history = model.fit(
            x,
            y,
            batch_size=4,
            epochs=4,
            shuffle=False,
            verbose=0,
            validation_data=(x, y),
            callbacks=callbacks,
        )
        evaluated = model.evaluate(x, y, verbose=0, callbacks=[lib.callbacks.SwapEMAWeights()])
        return [dict(sorted(history.history.items())), weights, model.get_weights(), evaluated]

    agree(run)


@pytest.mark.parametrize("watched", ["val_loss", "val_mae", "loss"])
@pytest.mark.parametrize(
    "options",
    [
        {}, {"patience": 2}, {"patience": 1, "min_delta": 0.02}, {"patience": 1, "baseline": 0.5},
        {"start_from_epoch": 3, "restore_best_weights": True}, {"mode": "max", "restore_best_weights": True},
    ],
    ids=str,
)  # fmt: skip
def test_early_stopping(watched, options):
    def run(lib):
        model, x, y = small(lib, lib.optimizers.SGD(0.45, momentum=0.5))
        callback = lib.callbacks.EarlyStopping(watched, **options)
        history = model.fit(
            x,
            y,
            batch_size=5,
            epochs=9,
            shuffle=False,
            verbose=0,
            validation_data=(x[:6], y[:6]),
            callbacks=[callback],
        )
        state = [callback.best, callback.best_epoch, callback.stopped_epoch, callback.wait]
        return [history.epoch, state, model.get_weights()]

    agree(run, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"save_best_only": True}, {"save_best_only": True, "mode": "max"}, {"save_freq": 4}, {"save_freq": 3},
        {"save_best_only": True, "monitor": "mae", "initial_value_threshold": 0.9, "mode": "min"},
        {"save_best_only": True, "monitor": "absent", "mode": "min"},
    ],
    ids=str,
)  # fmt: skip
def test_checkpoints(options, tmp_path):
    """Names of the files that there are in the end."""

    def run(lib):
        folder = tmp_path / lib.__name__
        model, x, y = small(lib, lib.optimizers.SGD(0.45, momentum=0.5))
        name = "e{epoch:02d}-b{batch}-{mae:.2f}" if "save_freq" in options else "e{epoch:02d}-{mae:.2f}"
        callback = lib.callbacks.ModelCheckpoint(folder / f"{name}.keras", **options)
        data = {"batch_size": 5, "epochs": 6, "shuffle": False, "validation_data": (x, y)}
        model.fit(x, y, verbose=0, callbacks=[callback], **data)
        return sorted(path.name for path in folder.glob("*"))

    agree(run)


def network(library):
    """A model with several inputs, shared and nested parts, and functions between layers."""
    layers, ops = library.layers, library.ops
    image, row = library.Input((8, 8, 3), name="image"), library.Input((2,), name="row")
    x = layers.Conv2D(4, 3, padding="same", name="c", kernel_regularizer="l2")(image)
    x = layers.Add(name="s")([x, layers.Conv2D(4, 3, name="d", padding="same", activation="relu")(x)])
    features = [layers.Input((8, 8, 4)), layers.SeparableConv2D(5, 3), layers.LeakyReLU(0.1)]
    inner, q = library.Sequential(features, name="inner"), library.Input((4,))
    shared = library.Model(q, layers.Dense(4, "tanh")(q), name="shared")
    w = ops.mean(x, axis=[1, 2]) * 2.0 + x[:, 0, 0]
    v = ops.concatenate([ops.reshape(inner(x), (-1, 180)), shared(w) + shared(-w), row], axis=-1)
    heads = layers.MultiHeadAttention(2, 3, name="m")(x[:, 0], x[:, 1], use_causal_mask=True)
    y = layers.Dense(2, name="o")(ops.sqrt(ops.square(v) + 1.0))
    return library.Model({"a": image, "b": row}, [y, heads], name="net")


def test_models_that_keras_describes():
    theirs = network(keras)
    rng = np.random.default_rng(0)
    values = [rng.normal(size=w.shape) * 0.3 for w in theirs.get_weights()]
    theirs.set_weights(values)
    given = {"a": rng.normal(size=(3, 8, 8, 3)), "b": rng.normal(size=(3, 2))}
    for mine in (
        fastcnn.models.model_from_json(theirs.to_json()),
        fastcnn.Model.from_config(theirs.get_config()),
    ):
        assert [layer.name for layer in mine.layers] == [layer.name for layer in theirs.layers]
        mine.set_weights(values)
        outputs = zip(theirs.predict(given, verbose=0), mine.predict(given, verbose=0), strict=True)
        for expected, found in outputs:
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
